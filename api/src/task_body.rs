//! Reads and checks what a user says about a task: form and names only. What the databases have to say to it is found
//! by the check, which the host does.

use std::collections::BTreeMap;

use axum::http::HeaderMap;
use serde_json::{Map, Value};
use tidegate_capacity::{UNITS_MAX, UnitBounds};
use tidegate_catalog::{Migration, Preparation, TaskDefinition};
use tidegate_model::{StartPoint, StopPoint};

use crate::fields::{Fields, key_problem, missing, one_of, wrong_type};
use crate::name::checked_name;
use crate::problem::Problem;
use crate::settings_body::settings;

const MIGRATIONS: [(&str, Migration); 3] =
    [("full-load", Migration::FullLoad), ("cdc", Migration::Cdc), ("full-load-and-cdc", Migration::FullLoadAndCdc)];
const PREPARATIONS: [(&str, Preparation); 3] = [
    ("do-nothing", Preparation::DoNothing),
    ("drop-and-create", Preparation::DropAndCreate),
    ("truncate-before-load", Preparation::TruncateBeforeLoad),
];

/// Units a task may grow to when it does not say.
const UNITS_DEFAULT: u32 = 4;

const TAGS_MAX: usize = 50;
const TAG_CHARS_MAX: usize = 256;

/// The body of a creation.
pub(crate) fn new_definition(headers: &HeaderMap, body: &[u8]) -> Result<TaskDefinition, Problem> {
    let mut fields = Fields::of_body(headers, body)?;
    let definition = TaskDefinition {
        name: checked_name("name", fields.required_text("name")?)?,
        source: fields.required_text("source")?,
        target: fields.required_text("target")?,
        migration: one_of("migration_type", &fields.required_text("migration_type")?, &MIGRATIONS)?,
        preparation: preparation(&mut fields)?.unwrap_or(Preparation::DoNothing),
        table_mappings: table_mappings(&mut fields)?.ok_or_else(|| missing("table_mappings"))?,
        settings: settings(&mut fields)?.unwrap_or_else(|| Value::Object(Map::new())),
        start_position: fields.text("start_position")?,
        stop_position: fields.text("stop_position")?,
        min_units: units(&mut fields, "min_units", 0)?.unwrap_or(0),
        max_units: units(&mut fields, "max_units", 1)?.unwrap_or(UNITS_DEFAULT),
        max_lag_seconds: max_lag_seconds(&mut fields)?,
        tags: tags(&mut fields)?.unwrap_or_default(),
        dms: Value::Null,
    };
    fields.finish()?;
    checked(definition)
}

/// The body of a change: keys that are absent stay as they are, null clears what can be absent.
pub(crate) fn changed_definition(old: &TaskDefinition, headers: &HeaderMap, body: &[u8]) -> Result<TaskDefinition, Problem> {
    let mut fields = Fields::of_body(headers, body)?;
    for key in ["source", "target", "migration_type", "preparation", "table_mappings", "settings", "min_units", "max_units", "tags"] {
        if fields.is_null(key) {
            return Err(missing(key));
        }
    }
    let clears_position = fields.is_null("start_position");
    let clears_stop = fields.is_null("stop_position");
    let clears_lag = fields.is_null("max_lag_seconds");
    let definition = TaskDefinition {
        name: old.name.clone(),
        source: fields.text("source")?.unwrap_or_else(|| old.source.clone()),
        target: fields.text("target")?.unwrap_or_else(|| old.target.clone()),
        migration: match fields.text("migration_type")? {
            Some(text) => one_of("migration_type", &text, &MIGRATIONS)?,
            None => old.migration,
        },
        preparation: preparation(&mut fields)?.unwrap_or(old.preparation),
        table_mappings: table_mappings(&mut fields)?.unwrap_or_else(|| old.table_mappings.clone()),
        settings: settings(&mut fields)?.unwrap_or_else(|| old.settings.clone()),
        start_position: fields.text("start_position")?.or_else(|| old.start_position.clone().filter(|_| !clears_position)),
        stop_position: fields.text("stop_position")?.or_else(|| old.stop_position.clone().filter(|_| !clears_stop)),
        min_units: units(&mut fields, "min_units", 0)?.unwrap_or(old.min_units),
        max_units: units(&mut fields, "max_units", 1)?.unwrap_or(old.max_units),
        max_lag_seconds: max_lag_seconds(&mut fields)?.or(old.max_lag_seconds.filter(|_| !clears_lag)),
        tags: tags(&mut fields)?.unwrap_or_else(|| old.tags.clone()),
        dms: old.dms.clone(),
    };
    fields.finish()?;
    checked(definition)
}

fn checked(definition: TaskDefinition) -> Result<TaskDefinition, Problem> {
    if let Err(error) = UnitBounds::new(definition.min_units, definition.max_units) {
        let key = if definition.min_units > definition.max_units { "min_units" } else { "max_units" };
        return Err(key_problem("out_of_range", key, format!("\"{key}\": {error}")));
    }
    if let Some(position) = &definition.stop_position {
        if definition.migration == Migration::FullLoad {
            let detail = "a full-load task ends with its load, wanted migration type cdc or full-load-and-cdc";
            return Err(key_problem("stop_position_not_used", "stop_position", detail));
        }
        position.parse::<StopPoint>().map_err(|error| key_problem("position_form", "stop_position", error.to_string()))?;
    }
    let Some(position) = &definition.start_position else { return Ok(definition) };
    if definition.migration != Migration::Cdc {
        let detail = format!("a {} task takes its position itself, wanted migration type cdc", definition.migration.as_str());
        return Err(key_problem("start_position_not_used", "start_position", detail));
    }
    position.parse::<StartPoint>().map_err(|error| key_problem("position_form", "start_position", error.to_string()))?;
    Ok(definition)
}

fn preparation(fields: &mut Fields) -> Result<Option<Preparation>, Problem> {
    fields.text("preparation")?.map(|text| one_of("preparation", &text, &PREPARATIONS)).transpose()
}

/// Table mappings come as a JSON document or as its text; a text is kept as it is, to the last blank.
fn table_mappings(fields: &mut Fields) -> Result<Option<String>, Problem> {
    const PATH: &str = "table_mappings";
    let (text, document) = match fields.value(PATH) {
        None => return Ok(None),
        Some(Value::String(text)) => {
            let document = serde_json::from_str(&text).map_err(|error| {
                let detail = format!("\"{PATH}\" is not JSON at line {}, column {}", error.line(), error.column());
                key_problem("json_syntax", PATH, detail)
            })?;
            (text, document)
        }
        Some(document) => (document.to_string(), document),
    };
    let rules = match document.get("rules") {
        Some(Value::Array(rules)) if document.is_object() => rules,
        Some(other) => return Err(wrong_type("table_mappings.rules", other, "an array")),
        None => return Err(missing("table_mappings.rules")),
    };
    let selects = |rule: &Value| {
        rule.get("rule-type").and_then(Value::as_str) == Some("selection")
            && matches!(rule.get("rule-action").and_then(Value::as_str), Some("include" | "explicit"))
    };
    if !rules.iter().any(selects) {
        return Err(key_problem("no_selection_rule", "table_mappings.rules", "no rule selects a table").hint(
            "add {\"rule-type\":\"selection\",\"rule-id\":\"1\",\"rule-name\":\"1\",\"rule-action\":\"include\",\
             \"object-locator\":{\"schema-name\":\"shop\",\"table-name\":\"%\"}}",
        ));
    }
    Ok(Some(text))
}

fn units(fields: &mut Fields, key: &'static str, least: u64) -> Result<Option<u32>, Problem> {
    let number = fields.number(key, least, u64::from(UNITS_MAX))?;
    Ok(number.map(|number| u32::try_from(number).expect("the bounds are checked")))
}

fn max_lag_seconds(fields: &mut Fields) -> Result<Option<u32>, Problem> {
    let number = fields.number("max_lag_seconds", 1, 86_400)?;
    Ok(number.map(|number| u32::try_from(number).expect("the bounds are checked")))
}

fn tags(fields: &mut Fields) -> Result<Option<BTreeMap<String, String>>, Problem> {
    let Some(value) = fields.value("tags") else { return Ok(None) };
    let Value::Object(given) = value else { return Err(wrong_type("tags", &value, "an object of strings")) };
    if given.len() > TAGS_MAX {
        return Err(key_problem("too_many_tags", "tags", format!("{} tags, wanted at most {TAGS_MAX}", given.len())));
    }
    let mut tags = BTreeMap::new();
    for (key, value) in given {
        let Value::String(text) = value else { return Err(wrong_type("tags", &value, "an object of strings")) };
        if key.is_empty() || key.chars().count() > TAG_CHARS_MAX || text.chars().count() > TAG_CHARS_MAX {
            return Err(key_problem("tag_form", "tags", format!("a tag is empty or has more than {TAG_CHARS_MAX} characters")));
        }
        tags.insert(key, text);
    }
    Ok(Some(tags))
}
