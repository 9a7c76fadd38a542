//! A task's table mapping: every rule read, every key known or refused.

use std::collections::BTreeSet;

use serde_json::Value as Json;
use tidegate_transform_sdk::PlanError;

use crate::action::{Action, read_action};
use crate::filter::FilterRule;
use crate::locator::{Locator, Names};
use crate::reader::{Reader, complaint, list};

const KEYS: &[&str] = &[
    "rule-type",
    "rule-id",
    "rule-name",
    "rule-action",
    "rule-target",
    "object-locator",
    "load-order",
    "filters",
    "value",
    "old-value",
    "data-type",
    "expression",
    "primary-key-def",
    "before-image-def",
    "parallel-load",
    "lob-settings",
    "source-function",
    "target-function",
    "module",
    "version",
    "config",
];

/// Most rules of a mapping: each is matched with each column of each table.
const RULES_MAX: usize = 5_000;

/// The rules that this module acts on, each list in ascending order of rule-id.
#[derive(Debug)]
pub(crate) struct Mapping {
    pub(crate) selections: Vec<Selection>,
    pub(crate) transformations: Vec<Transformation>,
}

/// A selection rule.
#[derive(Debug)]
pub(crate) struct Selection {
    pub(crate) action: SelectionAction,
    pub(crate) locator: Locator,
    pub(crate) filters: Vec<FilterRule>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SelectionAction {
    Include,
    Exclude,
    Explicit,
}

/// A transformation rule.
#[derive(Debug)]
pub(crate) struct Transformation {
    pub(crate) rule_id: u64,
    pub(crate) target: RuleTarget,
    pub(crate) action: Action,
    pub(crate) locator: Locator,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RuleTarget {
    Schema,
    Table,
    Column,
}

impl Mapping {
    /// # Errors
    /// The first thing that is wrong, with rule-id and key in its path.
    pub(crate) fn parse(text: &str) -> Result<Self, PlanError> {
        let json: Json =
            serde_json::from_str(text).map_err(|error| complaint("table-mappings", format!("the mapping is not JSON: {error}")))?;
        let root = Reader::new("table-mappings".to_owned(), &json)?;
        root.check_keys(&["rules"])?;
        let mut rules = Vec::new();
        let mut seen = BTreeSet::new();
        for (index, rule) in root.items("rules")?.iter().enumerate() {
            let rule = Reader::new(format!("rules[{index}]"), rule)?;
            let rule_id = rule_id(&rule)?;
            if !seen.insert(rule_id) {
                return Err(rule.error("rule-id", format!("the rule-id {rule_id} stands twice; every rule needs one of its own")));
            }
            if rules.len() >= RULES_MAX {
                return Err(rule.error("rule-id", format!("there are more than {RULES_MAX} rules")));
            }
            rules.push((rule_id, rule.with_path(format!("rules[rule-id={rule_id}]"))));
        }
        rules.sort_by_key(|(rule_id, _)| *rule_id);
        let mut mapping = Mapping { selections: Vec::new(), transformations: Vec::new() };
        for (rule_id, rule) in &rules {
            mapping.read_rule(*rule_id, rule)?;
        }
        if mapping.selections.iter().all(|rule| rule.action == SelectionAction::Exclude) {
            let message = "table mappings have no selection rule with include or explicit".to_owned();
            return Err(PlanError { config_path: None, message });
        }
        Ok(mapping)
    }

    fn read_rule(&mut self, rule_id: u64, rule: &Reader<'_>) -> Result<(), PlanError> {
        rule.check_keys(KEYS)?;
        rule.text("rule-name")?;
        match rule.wanted_text("rule-type")? {
            "selection" => self.selections.push(read_selection(rule)?),
            "transformation" => self.transformations.push(read_transformation(rule_id, rule)?),
            "table-settings" => check_table_settings(rule)?,
            "validation" => check_validation(rule)?,
            "module" => check_module(rule)?,
            streaming @ ("object-mapping" | "post-processing") => {
                return Err(rule.error("rule-type", format!("rules of type \"{streaming}\" are for other targets than databases")));
            }
            other => {
                let known = list(&["selection", "transformation", "table-settings", "validation", "module"]);
                return Err(rule.error("rule-type", format!("\"{other}\" is not known; known are {known}")));
            }
        }
        Ok(())
    }
}

fn rule_id(rule: &Reader<'_>) -> Result<u64, PlanError> {
    let found = match rule.value("rule-id") {
        Some(Json::String(text)) => text.trim().parse().ok(),
        Some(Json::Number(number)) => number.as_u64(),
        None => return Err(rule.error("rule-id", "the key \"rule-id\" is missing")),
        Some(_) => None,
    };
    found.ok_or_else(|| rule.error("rule-id", "a number is wanted, such as \"1\""))
}

/// Keys of other kinds of rules than the one at hand.
fn check_only(rule: &Reader<'_>, own: &[&str], what: &str) -> Result<(), PlanError> {
    let common = ["rule-type", "rule-id", "rule-name", "object-locator"];
    let foreign: Vec<&str> = KEYS.iter().copied().filter(|key| !own.contains(key) && !common.contains(key)).collect();
    rule.check_absent(&foreign, what)
}

fn read_selection(rule: &Reader<'_>) -> Result<Selection, PlanError> {
    check_only(rule, &["rule-action", "load-order", "filters"], "a selection rule")?;
    let action = match rule.wanted_text("rule-action")? {
        "include" => SelectionAction::Include,
        "exclude" => SelectionAction::Exclude,
        "explicit" => SelectionAction::Explicit,
        other => {
            return Err(rule.error("rule-action", format!("\"{other}\" is none of \"include\", \"exclude\", \"explicit\"")));
        }
    };
    let names = if action == SelectionAction::Explicit { Names::Exact } else { Names::Patterns };
    let locator = Locator::read(rule, names)?;
    locator.check_has(rule, true, false)?;
    if rule.value("load-order").is_some() {
        let order = rule.scalar("load-order")?;
        if order.parse::<i32>().is_err() {
            return Err(rule.error("load-order", "a whole number up to 2147483647 is wanted"));
        }
    }
    let filters = rule.objects("filters")?.iter().map(FilterRule::read).collect::<Result<Vec<_>, _>>()?;
    if action != SelectionAction::Include && !filters.is_empty() {
        return Err(rule.error("filters", "filters need the rule-action \"include\""));
    }
    Ok(Selection { action, locator, filters })
}

fn read_transformation(rule_id: u64, rule: &Reader<'_>) -> Result<Transformation, PlanError> {
    let name = rule.wanted_text("rule-action")?;
    let own = ["rule-action", "rule-target", "value", "old-value", "primary-key-def", "expression", "data-type", "before-image-def"];
    check_only(rule, &own, "a transformation rule")?;
    let target = match rule.wanted_text("rule-target")? {
        "schema" => RuleTarget::Schema,
        "table" => RuleTarget::Table,
        "column" => RuleTarget::Column,
        target @ ("table-tablespace" | "index-tablespace") => {
            let message =
                format!("\"{target}\" is of Oracle: a task's tables are in PostgreSQL, MySQL or MariaDB and have no tablespace to rename");
            return Err(rule.error("rule-target", message));
        }
        other => return Err(rule.error("rule-target", format!("\"{other}\" is none of \"schema\", \"table\", \"column\""))),
    };
    let action = read_action(rule, name)?;
    let fits = match &action {
        Action::Name(_) => true,
        Action::DefinePrimaryKey(_) => target == RuleTarget::Table,
        Action::RemoveColumn
        | Action::IncludeColumn
        | Action::AddColumn { .. }
        | Action::ChangeDataType(_)
        | Action::BeforeImages(_)
        | Action::Mask(_) => target == RuleTarget::Column,
    };
    if !fits {
        return Err(rule.error("rule-target", format!("the action \"{name}\" is for another rule-target")));
    }
    let locator = Locator::read(rule, Names::Patterns)?;
    let of_column = target == RuleTarget::Column && !matches!(action, Action::AddColumn { .. } | Action::BeforeImages(_));
    locator.check_has(rule, target != RuleTarget::Schema, of_column)?;
    if matches!(action, Action::DefinePrimaryKey(_)) && locator.table_has_wildcards() {
        return Err(rule.error("object-locator", "the action \"define-primary-key\" needs exact names of schema and table"));
    }
    Ok(Transformation { rule_id, target, action, locator })
}

/// Read by the loader; here only its form counts.
fn check_table_settings(rule: &Reader<'_>) -> Result<(), PlanError> {
    check_only(rule, &["parallel-load", "lob-settings"], "a rule of type table-settings")?;
    let locator = Locator::read(rule, Names::Exact)?;
    locator.check_has(rule, true, false)?;
    if rule.value("parallel-load").is_some() {
        let load = rule.object("parallel-load")?;
        load.check_keys(&["type", "partitions", "subpartitions", "columns", "boundaries"])?;
    }
    if rule.value("lob-settings").is_some() {
        rule.object("lob-settings")?.check_keys(&["mode", "bulk-max-size"])?;
    }
    Ok(())
}

/// Read by the validation; here only its form counts.
fn check_validation(rule: &Reader<'_>) -> Result<(), PlanError> {
    check_only(rule, &["rule-target", "rule-action", "source-function", "target-function"], "a rule of type validation")?;
    let action = rule.wanted_text("rule-action")?;
    if action != "override-validation-function" {
        return Err(rule.error("rule-action", format!("\"{action}\" is not \"override-validation-function\"")));
    }
    Locator::read(rule, Names::Patterns)?.check_has(rule, true, true)
}

/// Read by the host, which runs the named module after this one.
fn check_module(rule: &Reader<'_>) -> Result<(), PlanError> {
    check_only(rule, &["module", "version", "config"], "a rule of type module")?;
    rule.wanted_text("module")?;
    rule.text("version")?;
    Locator::read(rule, Names::Patterns).map(drop)
}

impl Transformation {
    /// A complaint about a key of this rule.
    pub(crate) fn error(&self, key: &str, message: impl Into<String>) -> PlanError {
        complaint(&format!("rules[rule-id={}].{key}", self.rule_id), message.into())
    }
}
