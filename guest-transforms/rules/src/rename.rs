//! Names, columns and key of the target table.

use tidegate_transform_sdk::{ColumnSchema, PlanError, Rename, TablePlan, TableSchema};

use crate::action::{Action, NameAction};
use crate::expression::{Complaint, Evaluator, Expression, Image, Value};
use crate::mapping::{Mapping, RuleTarget, Transformation};
use crate::names::ObjectNames;

/// Most characters of a computed name; servers have their own, lower bounds.
const NAME_CHARS_MAX: usize = 255;

/// Writes what the transformation rules say about names, dropped columns and the key into a table's plan.
///
/// # Errors
/// For a name that cannot be computed.
pub(crate) fn apply(mapping: &Mapping, schema: &TableSchema, plan: &mut TablePlan) -> Result<(), PlanError> {
    let (namespace, table) = (schema.namespace.as_str(), schema.name.as_str());
    let rules = |target| mapping.transformations.iter().filter(move |rule| rule.target == target);
    let schema_rule = rules(RuleTarget::Schema).find(|rule| name_action(rule).is_some() && rule.locator.matches_schema(namespace));
    plan.target_namespace = changed(schema_rule, namespace, schema, None)?;
    let table_rule = rules(RuleTarget::Table).find(|rule| name_action(rule).is_some() && rule.locator.matches_table(namespace, table));
    plan.target_name = changed(table_rule, table, schema, None)?;
    plan.primary_key = rules(RuleTarget::Table).find_map(|rule| match &rule.action {
        Action::DefinePrimaryKey(columns) if rule.locator.matches_table(namespace, table) => Some(columns.clone()),
        _ => None,
    });
    let column_rules: Vec<_> = rules(RuleTarget::Column).filter(|rule| rule.locator.matches_table(namespace, table)).collect();
    apply_to_columns(&column_rules, schema, plan)
}

fn apply_to_columns(rules: &[&Transformation], schema: &TableSchema, plan: &mut TablePlan) -> Result<(), PlanError> {
    // One include-column rule for the table means that only listed columns stay.
    let includes = |rule: &Transformation| matches!(rule.action, Action::IncludeColumn);
    let listed_only = rules.iter().any(|rule| includes(rule));
    for column in &schema.columns {
        let hits = || {
            let matches =
                |rule: &Transformation| rule.locator.matches_column(&schema.namespace, &schema.name, &column.name, &column.sql_type);
            rules.iter().copied().filter(move |rule| matches(rule))
        };
        let renaming = hits().find(|rule| name_action(rule).is_some());
        // A column that somebody asked to remove must not reach the target because of a rule with a lower number.
        let removing = hits().find(|rule| matches!(rule.action, Action::RemoveColumn));
        if let Some(removal) = removing {
            plan.drops.push(column.name.clone());
            if let Some(rule) = renaming.filter(|rule| rule.rule_id < removal.rule_id) {
                plan.notes.push(format!(
                    "column \"{}\" is removed by rule {}, although rule {} has a lower rule-id",
                    column.name, removal.rule_id, rule.rule_id
                ));
            }
        } else if listed_only && !hits().any(includes) {
            plan.drops.push(column.name.clone());
        } else if let Some(to) = changed(renaming, &column.name, schema, Some(column))? {
            plan.renames.push(Rename { column: column.name.clone(), to });
        }
    }
    Ok(())
}

fn name_action(rule: &Transformation) -> Option<&NameAction> {
    match &rule.action {
        Action::Name(action) => Some(action),
        Action::RemoveColumn
        | Action::IncludeColumn
        | Action::DefinePrimaryKey(_)
        | Action::AddColumn { .. }
        | Action::ChangeDataType(_)
        | Action::BeforeImages(_)
        | Action::Mask(_) => None,
    }
}

/// The new name, if there is an action and it changes anything.
fn changed(
    rule: Option<&Transformation>,
    name: &str,
    schema: &TableSchema,
    column: Option<&ColumnSchema>,
) -> Result<Option<String>, PlanError> {
    let Some(rule) = rule else { return Ok(None) };
    let new = match name_action(rule) {
        None => return Ok(None),
        Some(NameAction::Compute(text)) => computed(text, schema, column).map_err(|message| rule.error("expression", message))?,
        Some(action) => action.applied_to(name),
    };
    Ok(Some(new).filter(|new| new != name))
}

/// The name that an expression gives.
fn computed(text: &str, schema: &TableSchema, column: Option<&ColumnSchema>) -> Result<String, String> {
    let expression = Expression::parse(text, &ObjectNames { schema, column }).map_err(|complaint| complaint.to_string())?;
    // The variable is none of those that a name is made of.
    if let Some(character) = expression.indicator_at {
        return Err(Complaint::new(character, "a name cannot depend on what a change does").to_string());
    }
    let mut evaluator = Evaluator::new(&expression);
    let (values, arena) = evaluator.run(&expression, Image { kinds: &[0] }, |_, _| vec![Value::Null]);
    match values.first() {
        Some(Value::Text(span)) => match arena.text(*span) {
            "" => Err("the expression gives an empty name".to_owned()),
            name if name.chars().count() > NAME_CHARS_MAX => {
                Err(format!("the expression gives a name of more than {NAME_CHARS_MAX} characters"))
            }
            name => Ok(name.to_owned()),
        },
        Some(Value::Failed(failure)) => Err(failure.message().to_owned()),
        _ => Err("the expression gives no text, and a name is one".to_owned()),
    }
}

impl NameAction {
    fn applied_to(&self, name: &str) -> String {
        match self {
            NameAction::Rename(new) => new.clone(),
            // Computed where table and column are known.
            NameAction::Compute(_) => name.to_owned(),
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
