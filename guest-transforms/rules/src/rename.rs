//! Names, columns and key of the target table.

use tidegate_transform_sdk::{Rename, TablePlan, TableSchema};

use crate::mapping::{Action, Mapping, NameAction, RuleTarget, Transformation};

/// Writes what the transformation rules say about a table into its plan.
pub(crate) fn apply(mapping: &Mapping, schema: &TableSchema, plan: &mut TablePlan) {
    let (namespace, table) = (schema.namespace.as_str(), schema.name.as_str());
    let rules = |target| mapping.transformations.iter().filter(move |rule| rule.target == target);
    let schema_rule = rules(RuleTarget::Schema).find_map(|rule| name_action(rule).filter(|_| rule.locator.matches_schema(namespace)));
    plan.target_namespace = changed(schema_rule, namespace);
    let table_rule = rules(RuleTarget::Table).find_map(|rule| name_action(rule).filter(|_| rule.locator.matches_table(namespace, table)));
    plan.target_name = changed(table_rule, table);
    plan.primary_key = rules(RuleTarget::Table).find_map(|rule| match &rule.action {
        Action::DefinePrimaryKey(columns) if rule.locator.matches_table(namespace, table) => Some(columns.clone()),
        _ => None,
    });
    let column_rules: Vec<_> = rules(RuleTarget::Column).filter(|rule| rule.locator.matches_table(namespace, table)).collect();
    apply_to_columns(&column_rules, schema, plan);
}

fn apply_to_columns(rules: &[&Transformation], schema: &TableSchema, plan: &mut TablePlan) {
    // One include-column rule for the table means that only listed columns stay.
    let listed_only = rules.iter().any(|rule| rule.action == Action::IncludeColumn);
    for column in &schema.columns {
        let hits =
            || rules.iter().filter(|rule| rule.locator.matches_column(&schema.namespace, &schema.name, &column.name, &column.sql_type));
        let renaming = hits().find_map(|rule| name_action(rule).map(|action| (rule.rule_id, action)));
        // A column that somebody asked to remove must not reach the target because of a rule with a lower number.
        let removing = hits().find(|rule| rule.action == Action::RemoveColumn);
        if let Some(removal) = removing {
            plan.drops.push(column.name.clone());
            if let Some((rule_id, _)) = renaming.filter(|(rule_id, _)| *rule_id < removal.rule_id) {
                plan.notes.push(format!(
                    "column \"{}\" is removed by rule {}, although rule {rule_id} has a lower rule-id",
                    column.name, removal.rule_id
                ));
            }
        } else if listed_only && !hits().any(|rule| rule.action == Action::IncludeColumn) {
            plan.drops.push(column.name.clone());
        } else if let Some(to) = changed(renaming.map(|(_, action)| action), &column.name) {
            plan.renames.push(Rename { column: column.name.clone(), to });
        }
    }
}

fn name_action(rule: &Transformation) -> Option<&NameAction> {
    match &rule.action {
        Action::Name(action) => Some(action),
        Action::RemoveColumn | Action::IncludeColumn | Action::DefinePrimaryKey(_) => None,
    }
}

/// The new name, if there is an action and it changes anything.
fn changed(action: Option<&NameAction>, name: &str) -> Option<String> {
    action.map(|action| action.applied_to(name)).filter(|new| new != name)
}

impl NameAction {
    fn applied_to(&self, name: &str) -> String {
        match self {
            NameAction::Rename(new) => new.clone(),
            NameAction::Lowercase => name.to_lowercase(),
            NameAction::Uppercase => name.to_uppercase(),
            NameAction::AddPrefix(prefix) => format!("{prefix}{name}"),
            NameAction::RemovePrefix(prefix) => name.strip_prefix(prefix.as_str()).unwrap_or(name).to_owned(),
            NameAction::ReplacePrefix { old, new } => {
                name.strip_prefix(old.as_str()).map_or_else(|| name.to_owned(), |rest| format!("{new}{rest}"))
            }
            NameAction::AddSuffix(suffix) => format!("{name}{suffix}"),
            NameAction::RemoveSuffix(suffix) => name.strip_suffix(suffix.as_str()).unwrap_or(name).to_owned(),
            NameAction::ReplaceSuffix { old, new } => {
                name.strip_suffix(old.as_str()).map_or_else(|| name.to_owned(), |rest| format!("{rest}{new}"))
            }
        }
    }
}
