//! The actions of transformation rules, as written.

use serde_json::Value as Json;
use tidegate_transform_sdk::{PlanError, ScalarType};

use crate::data_type;
use crate::expression::Expression;
use crate::mask::Mask;
use crate::names::AnyNames;
use crate::reader::{Reader, kind, list};

const NAME_ACTIONS: &[&str] = &[
    "rename",
    "convert-lowercase",
    "convert-uppercase",
    "add-prefix",
    "remove-prefix",
    "replace-prefix",
    "add-suffix",
    "remove-suffix",
    "replace-suffix",
];
const OTHER_ACTIONS: &[&str] = &[
    "remove-column",
    "include-column",
    "define-primary-key",
    "add-column",
    "change-data-type",
    "add-before-image-columns",
    "data-masking-digits-mask",
    "data-masking-digits-randomize",
    "data-masking-hash-mask",
];

/// What a transformation does.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    Name(NameAction),
    RemoveColumn,
    IncludeColumn,
    DefinePrimaryKey(Vec<String>),
    AddColumn { name: String, expression: String, data_type: ScalarType },
    ChangeDataType(ScalarType),
    BeforeImages(BeforeImageRule),
    Mask(Mask),
}

/// Which columns get one for the value before an update, and what those are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BeforeImageRule {
    pub(crate) prefix: String,
    pub(crate) suffix: String,
    pub(crate) filter: BeforeImageFilter,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BeforeImageFilter {
    KeyOnly,
    NonLob,
    All,
}

/// A change of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NameAction {
    Rename(String),
    /// An expression that gives the new name.
    Compute(String),
    Lowercase,
    Uppercase,
    AddPrefix(String),
    RemovePrefix(String),
    ReplacePrefix {
        old: String,
        new: String,
    },
    AddSuffix(String),
    RemoveSuffix(String),
    ReplaceSuffix {
        old: String,
        new: String,
    },
}

/// # Errors
/// For unknown actions, and keys that the action lacks or has no use for.
pub(crate) fn read_action(rule: &Reader<'_>, name: &str) -> Result<Action, PlanError> {
    let value = || rule.wanted_text("value").map(str::to_owned);
    let secret = || rule.text("value").map(|text| text.map(str::to_owned));
    let only = |keys: &[&str]| {
        let all = ["value", "old-value", "expression", "data-type", "primary-key-def", "before-image-def"];
        let foreign: Vec<&str> = all.into_iter().filter(|key| !keys.contains(key)).collect();
        rule.check_absent(&foreign, &format!("a rule with the action \"{name}\""))
    };
    Ok(match name {
        "remove-column" => Action::RemoveColumn,
        "include-column" => Action::IncludeColumn,
        "define-primary-key" => read_primary_key(rule)?,
        "add-column" => {
            only(&["value", "expression", "data-type"])?;
            let expression = read_expression(rule)?
                .ok_or_else(|| rule.error("expression", "the key \"expression\" is missing or empty: what is the column to hold?"))?;
            Action::AddColumn { name: value()?, expression, data_type: data_type::read(rule)? }
        }
        "change-data-type" => {
            only(&["data-type"])?;
            Action::ChangeDataType(data_type::read(rule)?)
        }
        "add-before-image-columns" => {
            only(&["before-image-def"])?;
            read_before_images(rule)?
        }
        "data-masking-digits-mask" => {
            only(&["value"])?;
            let text = value()?;
            let mut letters = text.chars();
            match (letters.next(), letters.next()) {
                (Some(letter), None) => Action::Mask(Mask::Digits(letter)),
                _ => return Err(rule.error("value", "one character is wanted, by which digits are replaced")),
            }
        }
        "data-masking-digits-randomize" => {
            only(&["value"])?;
            Action::Mask(Mask::Randomize(secret()?))
        }
        "data-masking-hash-mask" => {
            only(&["value"])?;
            Action::Mask(Mask::Hash(secret()?))
        }
        name if NAME_ACTIONS.contains(&name) => {
            only(&["value", "old-value", "expression"])?;
            Action::Name(read_name_action(rule, name)?)
        }
        other => {
            let known = list(&[NAME_ACTIONS, OTHER_ACTIONS].concat());
            return Err(rule.error("rule-action", format!("\"{other}\" is not known; known are {known}")));
        }
    })
}

fn read_name_action(rule: &Reader<'_>, name: &str) -> Result<NameAction, PlanError> {
    let value = || rule.wanted_text("value").map(str::to_owned);
    let old = || rule.wanted_text("old-value").map(str::to_owned);
    // A replacement by nothing is a removal.
    let new = || rule.text("value").map(|text| text.unwrap_or_default().to_owned());
    if name != "rename" {
        rule.check_absent(&["expression"], &format!("a rule with the action \"{name}\""))?;
    }
    Ok(match name {
        "rename" => match read_expression(rule)? {
            Some(expression) => {
                rule.check_absent(&["value"], "a rule that has an \"expression\"")?;
                NameAction::Compute(expression)
            }
            None => NameAction::Rename(value()?),
        },
        "convert-lowercase" => NameAction::Lowercase,
        "convert-uppercase" => NameAction::Uppercase,
        "add-prefix" => NameAction::AddPrefix(value()?),
        "remove-prefix" => NameAction::RemovePrefix(value()?),
        "replace-prefix" => NameAction::ReplacePrefix { old: old()?, new: new()? },
        "add-suffix" => NameAction::AddSuffix(value()?),
        "remove-suffix" => NameAction::RemoveSuffix(value()?),
        _ => NameAction::ReplaceSuffix { old: old()?, new: new()? },
    })
}

/// The text of an expression that can be read; what its names stand for is asked when its table is known.
fn read_expression(rule: &Reader<'_>) -> Result<Option<String>, PlanError> {
    let Some(text) = rule.text("expression")? else { return Ok(None) };
    Expression::parse(text, &AnyNames).map_err(|complaint| rule.error("expression", complaint.to_string()))?;
    Ok(Some(text.to_owned()))
}

fn read_before_images(rule: &Reader<'_>) -> Result<Action, PlanError> {
    let definition = rule.object("before-image-def")?;
    definition.check_keys(&["column-prefix", "column-suffix", "column-filter"])?;
    // Only a missing prefix is the default: an empty one is meant.
    let prefix = if definition.has("column-prefix") { definition.text("column-prefix")?.unwrap_or_default() } else { "BI_" };
    let suffix = definition.text("column-suffix")?.unwrap_or_default();
    if prefix.is_empty() && suffix.is_empty() {
        return Err(definition.error("column-prefix", "prefix and suffix are both empty: the columns would have the names of others"));
    }
    let filter = match definition.text("column-filter")? {
        None | Some("pk-only") => BeforeImageFilter::KeyOnly,
        Some("non-lob") => BeforeImageFilter::NonLob,
        Some("all") => BeforeImageFilter::All,
        Some(other) => {
            return Err(definition.error("column-filter", format!("\"{other}\" is none of \"pk-only\", \"non-lob\", \"all\"")));
        }
    };
    Ok(Action::BeforeImages(BeforeImageRule { prefix: prefix.to_owned(), suffix: suffix.to_owned(), filter }))
}

fn read_primary_key(rule: &Reader<'_>) -> Result<Action, PlanError> {
    let definition = rule.object("primary-key-def")?;
    definition.check_keys(&["name", "origin", "columns"])?;
    definition.text("name")?;
    match definition.text("origin")? {
        None | Some("primary-key") => {}
        Some("unique-index") => return Err(definition.error("origin", "the origin \"unique-index\" is not supported yet")),
        Some(other) => return Err(definition.error("origin", format!("\"{other}\" is none of \"primary-key\", \"unique-index\""))),
    }
    let columns = definition.items("columns")?;
    if columns.is_empty() {
        return Err(definition.error("columns", "at least one column name is wanted"));
    }
    let name = |column: &Json| {
        column.as_str().map(str::to_owned).ok_or_else(|| definition.error("columns", format!("a name is wanted, found {}", kind(column))))
    };
    Ok(Action::DefinePrimaryKey(columns.iter().map(name).collect::<Result<_, _>>()?))
}
