//! The columns that rules add or change, and what computes them.
//!
//! For each column of the source that stays: the lowest change-data-type and the lowest mask that hit it. Then the added
//! columns, then those for values before an update, which get the type and the mask of the column that they are of.

use std::collections::BTreeSet;

use tidegate_transform_sdk::{
    BeforeImages, ColumnSchema, ColumnSource, OutputColumn, PlanError, ScalarType, SqlType, TablePlan, TableSchema,
};

use crate::action::{Action, BeforeImageFilter, BeforeImageRule};
use crate::data_type::widens;
use crate::expression::{Complaint, Evaluator, Expression};
use crate::mapping::{Mapping, RuleTarget, Transformation};
use crate::mask::Mask;
use crate::names::RowNames;
use crate::work::{Input, Output, Start, Step, Work};

/// Writes added and changed columns into a table's plan, and what computes them into its work.
///
/// # Errors
/// For what cannot be computed, with the rule that asks for it.
pub(crate) fn apply(mapping: &Mapping, schema: &TableSchema, plan: &mut TablePlan, work: &mut Work) -> Result<(), PlanError> {
    let of_table =
        |rule: &&Transformation| rule.target == RuleTarget::Column && rule.locator.matches_table(&schema.namespace, &schema.name);
    let mut columns = Columns { rules: mapping.transformations.iter().filter(of_table).collect(), schema, plan, work };
    for column in &schema.columns {
        columns.change(column)?;
    }
    columns.add_all()?;
    columns.add_before_images()?;
    if columns.work.soft_deletes {
        columns.plan.hints.push(("soft-deletes".to_owned(), "true".to_owned()));
    }
    Ok(())
}

/// What happens to the values of one column, and by which rules.
struct Treatment<'a> {
    steps: Vec<Step>,
    mask: Option<&'a Transformation>,
    /// The type in the end.
    sql_type: SqlType,
}

struct Columns<'a> {
    rules: Vec<&'a Transformation>,
    schema: &'a TableSchema,
    plan: &'a mut TablePlan,
    work: &'a mut Work,
}

impl<'a> Columns<'a> {
    fn table(&self) -> String {
        format!("{}.{}", self.schema.namespace, self.schema.name)
    }

    fn hits(&self, name: &str, sql_type: &SqlType) -> Vec<&'a Transformation> {
        let hit = |rule: &&Transformation| rule.locator.matches_column(&self.schema.namespace, &self.schema.name, name, sql_type);
        self.rules.iter().copied().filter(hit).collect()
    }

    /// The name that a source column has in the target; `None` when it is dropped.
    fn target_name(&self, column: &str) -> Option<String> {
        if self.plan.drops.iter().any(|drop| drop == column) {
            return None;
        }
        let renamed = self.plan.renames.iter().find(|rename| rename.column == column);
        Some(renamed.map_or(column, |rename| &rename.to).to_owned())
    }

    /// Conversion and mask of a column, each by the lowest rule that hits it.
    fn treatment(&self, name: &str, sql_type: &SqlType, may_convert: bool, above: u64) -> Result<Treatment<'a>, PlanError> {
        let hits = self.hits(name, sql_type);
        let mut treatment = Treatment { steps: Vec::new(), mask: None, sql_type: sql_type.clone() };
        let conversion = hits.iter().find_map(|rule| match &rule.action {
            Action::ChangeDataType(scalar) if may_convert => Some((rule, scalar)),
            _ => None,
        });
        if let Some((rule, scalar)) = conversion {
            check_conversion(rule, name, sql_type, scalar)?;
            treatment.steps.push(Step::Convert(scalar.clone()));
            treatment.sql_type = SqlType::Scalar(scalar.clone());
        }
        let after = conversion.map_or(above, |(rule, _)| rule.rule_id);
        let mask = hits.iter().find_map(|rule| match &rule.action {
            Action::Mask(mask) => Some((rule, mask)),
            _ => None,
        });
        if let Some((rule, mask)) = mask {
            if rule.rule_id < after {
                let message = format!("the column \"{name}\" gets its type by rule {after}; a mask needs a larger rule-id than that");
                return Err(rule.error("rule-id", message));
            }
            if !mask.takes(&treatment.sql_type) {
                let message =
                    format!("the column \"{name}\" of table \"{}\" is none of those that the mask is for: {}", self.table(), mask.types());
                return Err(rule.error("rule-action", message));
            }
            let step = Step::Mask(mask.clone());
            treatment.sql_type = SqlType::Scalar(step.scalar(&treatment.sql_type));
            treatment.steps.push(step);
            treatment.mask = Some(rule);
        }
        Ok(treatment)
    }

    /// A column of the source whose type or values change.
    fn change(&mut self, column: &ColumnSchema) -> Result<(), PlanError> {
        let Some(name) = self.target_name(&column.name) else { return Ok(()) };
        let treatment = self.treatment(&column.name, &column.sql_type, true, 0)?;
        if treatment.steps.is_empty() {
            return Ok(());
        }
        if let (Some(rule), Some(Step::Mask(mask))) = (treatment.mask, treatment.steps.last()) {
            self.check_mask(rule, mask, column)?;
        }
        if let ([Step::Convert(scalar)], true) = (treatment.steps.as_slice(), converts_in_host(&treatment.steps, &column.sql_type)) {
            // Every value fits the wider type, so that the host copies it and nothing is computed.
            let sql_type = SqlType::Scalar(scalar.clone());
            self.plan.outputs.push(OutputColumn {
                name,
                sql_type,
                nullable: column.nullable,
                source: ColumnSource::CopyOf(column.name.clone()),
            });
            return Ok(());
        }
        let index = self.work.input(input_of(column, column.name.clone()));
        let label = format!("column \"{}\" of table \"{}\"", column.name, self.table());
        self.push(
            name,
            treatment.sql_type,
            column.nullable,
            Output { label, start: Start::Input(index), steps: treatment.steps, nullable: column.nullable },
        );
        Ok(())
    }

    fn push(&mut self, name: String, sql_type: SqlType, nullable: bool, output: Output) {
        self.plan.outputs.push(OutputColumn { name, sql_type, nullable, source: ColumnSource::Computed });
        self.work.outputs.push(output);
    }

    /// A mask must not make two keys one.
    fn check_mask(&mut self, rule: &Transformation, mask: &Mask, column: &ColumnSchema) -> Result<(), PlanError> {
        let keys = std::iter::once(&self.schema.primary_key).chain(&self.schema.unique_keys);
        let is_key = keys.into_iter().any(|key| key.contains(&column.name))
            || self.plan.primary_key.as_ref().is_some_and(|key| key.contains(&column.name));
        if is_key && !mask.keeps_apart() {
            let message = format!(
                "the column \"{}\" of table \"{}\" is part of a key, and two keys could become one; use data-masking-hash-mask",
                column.name,
                self.table()
            );
            return Err(rule.error("rule-action", message));
        }
        let secret = matches!(mask, Mask::Digits(_) | Mask::Hash(Some(_)) | Mask::Randomize(Some(_)));
        if !secret {
            self.plan.notes.push(format!(
                "rule {} masks column \"{}\" without a secret: who guesses a value can check it; give the rule a \"value\" that is secret",
                rule.rule_id, column.name
            ));
        }
        if let SqlType::Scalar(ScalarType::Text(Some(chars))) = &column.sql_type
            && matches!(mask, Mask::Hash(_))
            && *chars < crate::mask::HASH_CHARS
        {
            self.plan.notes.push(format!(
                "column \"{}\" becomes {} characters long for the hash of rule {}",
                column.name,
                crate::mask::HASH_CHARS,
                rule.rule_id
            ));
        }
        Ok(())
    }

    /// Columns that rules add; of several rules for one name, the lowest counts.
    fn add_all(&mut self) -> Result<(), PlanError> {
        let mut taken: BTreeSet<String> = self.schema.columns.iter().filter_map(|column| self.target_name(&column.name)).collect();
        let mut added = BTreeSet::new();
        for rule in self.rules.clone() {
            let Action::AddColumn { name, expression, data_type } = &rule.action else { continue };
            if added.contains(name) {
                self.plan.notes.push(format!("rule {} adds column \"{name}\", which a rule with a lower rule-id has added", rule.rule_id));
                continue;
            }
            if !taken.insert(name.clone()) {
                return Err(rule.error("value", format!("table \"{}\" has a column \"{name}\" already", self.table())));
            }
            added.insert(name.clone());
            self.add(rule, name, expression, data_type)?;
        }
        Ok(())
    }

    fn add(&mut self, rule: &Transformation, name: &str, text: &str, data_type: &ScalarType) -> Result<(), PlanError> {
        let expression =
            Expression::parse(text, &RowNames(self.schema)).map_err(|complaint| rule.error("expression", complaint.to_string()))?;
        if let Some(character) = expression.indicator_at {
            if self.schema.primary_key.is_empty() && self.plan.primary_key.is_none() {
                let message =
                    format!("operation_indicator keeps deleted rows, and table \"{}\" has no primary key to find them by", self.table());
                return Err(rule.error("expression", Complaint::new(character, message).to_string()));
            }
            self.work.soft_deletes = true;
        }
        let treatment = self.treatment(name, &SqlType::Scalar(data_type.clone()), false, rule.rule_id)?;
        let in_key = self.plan.primary_key.as_ref().is_some_and(|key| key.iter().any(|column| column == name));
        let nullable = !in_key;
        let source = expression.as_input().and_then(|input| self.schema.columns.iter().find(|column| column.name == input));
        let label = format!("rule {}, column \"{name}\"", rule.rule_id);
        if let Some(column) = source {
            // The column itself: exact, whatever digits it has, and not by way of SQLite's values.
            if treatment.steps.is_empty() && widens(&column.sql_type, data_type) {
                let source = ColumnSource::CopyOf(column.name.clone());
                self.plan.outputs.push(OutputColumn { name: name.to_owned(), sql_type: treatment.sql_type, nullable, source });
                return Ok(());
            }
            let index = self.work.input(input_of(column, column.name.clone()));
            let steps = std::iter::once(Step::Convert(data_type.clone())).chain(treatment.steps).collect();
            self.push(name.to_owned(), treatment.sql_type, nullable, Output { label, start: Start::Input(index), steps, nullable });
            return Ok(());
        }
        let inputs: Vec<usize> = expression.inputs.iter().map(|input| self.work.input(self.named(input))).collect::<Vec<_>>();
        let evaluator = Evaluator::new(&expression);
        let start = Start::Expression { expression: Box::new(expression), inputs, evaluator, scalar: data_type.clone() };
        self.push(name.to_owned(), treatment.sql_type, nullable, Output { label, start, steps: treatment.steps, nullable });
        Ok(())
    }

    /// An input of an expression: a column, or a header.
    fn named(&self, name: &str) -> Input {
        match self.schema.columns.iter().find(|column| column.name == name) {
            Some(column) => input_of(column, name.to_owned()),
            None => {
                let is_time = name.ends_with("TIMESTAMP");
                let scalar = if is_time { ScalarType::TimestampTz } else { ScalarType::Text(None) };
                Input { name: name.to_owned(), sql_type: SqlType::Scalar(scalar), is_header: true }
            }
        }
    }

    /// One column for each that the rule is about, with the value before an update.
    fn add_before_images(&mut self) -> Result<(), PlanError> {
        let found = self.rules.iter().find_map(|rule| match &rule.action {
            Action::BeforeImages(definition) => Some((*rule, definition)),
            _ => None,
        });
        let Some((rule, definition)) = found else { return Ok(()) };
        for column in &self.schema.columns {
            let Some(target) = self.target_name(&column.name) else { continue };
            let is_hit = rule.locator.matches_column(&self.schema.namespace, &self.schema.name, &column.name, &column.sql_type);
            if is_hit && definition.takes(column, self.schema) {
                self.add_before_image(rule, definition, column, &target)?;
            }
        }
        Ok(())
    }

    fn add_before_image(
        &mut self,
        rule: &Transformation,
        definition: &BeforeImageRule,
        column: &ColumnSchema,
        target: &str,
    ) -> Result<(), PlanError> {
        let in_key = self.schema.primary_key.contains(&column.name);
        if !matches!(self.schema.before_images, BeforeImages::Full) && !in_key {
            let message = format!(
                "the source does not log the old value of column \"{}\" of table \"{}\"; log whole rows (PostgreSQL: alter table … replica \
                 identity full), or use the column-filter \"pk-only\"",
                column.name,
                self.table()
            );
            return Err(rule.error("before-image-def.column-filter", message));
        }
        let name = format!("{}{target}{}", definition.prefix, definition.suffix);
        let mut kept = self.schema.columns.iter().filter_map(|column| self.target_name(&column.name));
        if kept.any(|other| other == name) || self.plan.outputs.iter().any(|output| output.name == name) {
            return Err(rule.error("before-image-def", format!("table \"{}\" has a column \"{name}\" already", self.table())));
        }
        let treatment = self.treatment(&column.name, &column.sql_type, true, 0)?;
        let index = self.work.input(input_of(column, format!("$BEFORE.{}", column.name)));
        let label = format!("rule {}, column \"{name}\"", rule.rule_id);
        self.push(name, treatment.sql_type, true, Output { label, start: Start::Input(index), steps: treatment.steps, nullable: true });
        Ok(())
    }
}

impl BeforeImageRule {
    fn takes(&self, column: &ColumnSchema, schema: &TableSchema) -> bool {
        match self.filter {
            BeforeImageFilter::KeyOnly => schema.primary_key.contains(&column.name),
            BeforeImageFilter::All => true,
            // Source: DMS's types; text and bytes without a bound are CLOB and BLOB there, and so is JSON.
            BeforeImageFilter::NonLob => {
                !matches!(column.sql_type, SqlType::Scalar(ScalarType::Text(None) | ScalarType::Bytes(None) | ScalarType::Json))
            }
        }
    }
}

fn input_of(column: &ColumnSchema, name: String) -> Input {
    Input { name, sql_type: column.sql_type.clone(), is_header: false }
}

fn converts_in_host(steps: &[Step], from: &SqlType) -> bool {
    matches!(steps, [Step::Convert(scalar)] if widens(from, scalar))
}

/// Conversions that no value survives are refused now; the others fail row by row.
fn check_conversion(rule: &Transformation, name: &str, from: &SqlType, to: &ScalarType) -> Result<(), PlanError> {
    use ScalarType as T;
    let SqlType::Scalar(from) = from else {
        return match to {
            T::Text(_) => Ok(()),
            _ => Err(rule.error("data-type", format!("the column \"{name}\" is an array, which only becomes text"))),
        };
    };
    let family = |scalar: &ScalarType| match scalar {
        T::Boolean | T::Decimal(_) | T::Float32 | T::Float64 => "number",
        T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::Uint8 | T::Uint16 | T::Uint32 | T::Uint64 => "number",
        T::Date | T::Timestamp | T::TimestampTz => "day",
        T::Time => "time",
        T::Bytes(_) | T::Bits(_) => "bytes",
        T::Text(_) | T::Interval | T::Json | T::Uuid | T::Enumeration(_) | T::SetOf(_) | T::Other(_) => "text",
    };
    match (family(from), family(to)) {
        // Text may say anything, and everything has a text.
        ("text", _) | (_, "text") => Ok(()),
        (left, right) if left == right => Ok(()),
        _ => Err(rule.error("data-type", format!("values of the column \"{name}\" cannot become values of that type"))),
    }
}
