//! Source filters: which rows of a table are in.
//!
//! Filters of a rule must all let a row through; of the conditions of one filter, one must. A comparison with NULL lets
//! nothing through, `noteq` included, as in SQL.

use tidegate_transform_sdk::{Column, PlanError, TableSchema};

use crate::compare::{Comparand, Comparer};
use crate::reader::{Reader, list};

const OPERATORS: &[&str] = &["lte", "ste", "gte", "eq", "noteq", "between", "notbetween", "null", "notnull"];

/// A filter as written.
#[derive(Debug)]
pub(crate) struct FilterRule {
    path: String,
    column: String,
    conditions: Vec<Condition<String>>,
}

/// One condition; operands are text as written, or values of the column's type.
#[derive(Debug, Clone, PartialEq)]
enum Condition<V> {
    AtMost(V),
    AtLeast(V),
    Equal(V),
    NotEqual(V),
    Between(V, V),
    NotBetween(V, V),
    Null,
    NotNull,
}

impl FilterRule {
    /// # Errors
    /// For unknown keys and operators, missing operands, and more than one negative condition.
    pub(crate) fn read(reader: &Reader<'_>) -> Result<Self, PlanError> {
        reader.check_keys(&["filter-type", "column-name", "filter-conditions"])?;
        let kind = reader.wanted_text("filter-type")?;
        if kind != "source" {
            return Err(reader.error("filter-type", format!("\"{kind}\" is not \"source\"")));
        }
        let column = reader.wanted_text("column-name")?.to_owned();
        let conditions = reader.objects("filter-conditions")?;
        if conditions.is_empty() {
            return Err(reader.error("filter-conditions", "at least one condition is wanted"));
        }
        let conditions = conditions.iter().map(read_condition).collect::<Result<Vec<_>, _>>()?;
        let negative = |condition: &&Condition<String>| match condition {
            Condition::NotEqual(_) | Condition::NotBetween(..) | Condition::NotNull => true,
            Condition::AtMost(_) | Condition::AtLeast(_) | Condition::Equal(_) | Condition::Between(..) | Condition::Null => false,
        };
        if conditions.iter().filter(negative).count() > 1 {
            let message = "at most one of noteq, notbetween and notnull may stand in a filter: its conditions are alternatives";
            return Err(reader.error("filter-conditions", message));
        }
        let path = reader.error("column-name", "").config_path.unwrap_or_default();
        Ok(Self { path, column, conditions })
    }
}

fn read_condition(reader: &Reader<'_>) -> Result<Condition<String>, PlanError> {
    reader.check_keys(&["filter-operator", "value", "start-value", "end-value"])?;
    let operator = reader.wanted_text("filter-operator")?;
    let value = || reader.scalar("value");
    let range = || Ok::<_, PlanError>((reader.scalar("start-value")?, reader.scalar("end-value")?));
    Ok(match operator {
        "lte" | "ste" => Condition::AtMost(value()?),
        "gte" => Condition::AtLeast(value()?),
        "eq" => Condition::Equal(value()?),
        "noteq" => Condition::NotEqual(value()?),
        "between" => range().map(|(start, end)| Condition::Between(start, end))?,
        "notbetween" => range().map(|(start, end)| Condition::NotBetween(start, end))?,
        "null" => Condition::Null,
        "notnull" => Condition::NotNull,
        other => return Err(reader.error("filter-operator", format!("\"{other}\" is not known; known are {}", list(OPERATORS)))),
    })
}

/// The filters of a table, ready for its batches.
#[derive(Debug)]
pub(crate) struct RowFilter {
    inputs: Vec<String>,
    /// One of the sets must let a row through: every filter of it.
    sets: Vec<Vec<CompiledFilter>>,
}

#[derive(Debug)]
struct CompiledFilter {
    input: usize,
    comparer: Comparer,
    conditions: Vec<Condition<Comparand>>,
}

impl RowFilter {
    /// `None` without filters.
    ///
    /// # Errors
    /// For columns that do not exist or cannot be compared, and operands that are not of the column's type.
    pub(crate) fn compile(sets: &[&[FilterRule]], schema: &TableSchema) -> Result<Option<Self>, PlanError> {
        if sets.is_empty() {
            return Ok(None);
        }
        let mut filter = RowFilter { inputs: Vec::new(), sets: Vec::new() };
        for set in sets {
            let set = set.iter().map(|rule| filter.compile_rule(rule, schema)).collect::<Result<_, _>>()?;
            filter.sets.push(set);
        }
        Ok(Some(filter))
    }

    /// The columns that rows are filtered by.
    pub(crate) fn inputs(&self) -> &[String] {
        &self.inputs
    }

    /// True when the log lacks a value that the row would be judged by.
    pub(crate) fn lacks(&self, columns: &[Column], row: usize) -> bool {
        columns.iter().take(self.inputs.len()).any(|column| column.is_absent(row))
    }

    /// True when the row is in.
    pub(crate) fn keeps(&self, columns: &[Column], row: usize) -> bool {
        self.sets.iter().any(|set| set.iter().all(|filter| filter.keeps(columns, row)))
    }

    fn compile_rule(&mut self, rule: &FilterRule, schema: &TableSchema) -> Result<CompiledFilter, PlanError> {
        let error = |message: String| PlanError { config_path: Some(rule.path.clone()), message };
        let column = schema.columns.iter().find(|column| column.name == rule.column);
        let table = format!("{}.{}", schema.namespace, schema.name);
        let column = column.ok_or_else(|| error(format!("table \"{table}\" has no column \"{}\"", rule.column)))?;
        let comparer = Comparer::of(&column.sql_type).ok_or_else(|| {
            error(format!("column \"{}\" of table \"{table}\" is {}, which cannot be filtered by", rule.column, column.native_type))
        })?;
        let operand = |text: &String| {
            comparer.parse(text).ok_or_else(|| {
                error(format!("the value \"{text}\" is not of the type {} of column \"{}\"", column.native_type, rule.column))
            })
        };
        let mut conditions = Vec::with_capacity(rule.conditions.len());
        for condition in &rule.conditions {
            if !comparer.has_order() && condition.needs_order() {
                let message = format!("column \"{}\" is {}, whose values have no order here", rule.column, column.native_type);
                return Err(error(message));
            }
            conditions.push(condition.map(&operand)?);
        }
        let input = self.inputs.iter().position(|name| *name == rule.column).unwrap_or_else(|| {
            self.inputs.push(rule.column.clone());
            self.inputs.len() - 1
        });
        Ok(CompiledFilter { input, comparer, conditions })
    }
}

impl CompiledFilter {
    fn keeps(&self, columns: &[Column], row: usize) -> bool {
        let Some(column) = columns.get(self.input) else { return false };
        if column.is_null(row) {
            return self.conditions.contains(&Condition::Null);
        }
        self.conditions.iter().any(|condition| {
            let order = |operand: &Comparand| self.comparer.compare(column, row, operand);
            match condition {
                Condition::AtMost(max) => order(max).is_some_and(|found| found.is_le()),
                Condition::AtLeast(min) => order(min).is_some_and(|found| found.is_ge()),
                Condition::Equal(wanted) => order(wanted).is_some_and(|found| found.is_eq()),
                Condition::NotEqual(unwanted) => order(unwanted).is_some_and(|found| found.is_ne()),
                Condition::Between(min, max) => {
                    order(min).is_some_and(|found| found.is_ge()) && order(max).is_some_and(|found| found.is_le())
                }
                Condition::NotBetween(min, max) => {
                    order(min).is_some_and(|found| found.is_lt()) || order(max).is_some_and(|found| found.is_gt())
                }
                Condition::Null => false,
                Condition::NotNull => true,
            }
        })
    }
}

impl<V> Condition<V> {
    fn needs_order(&self) -> bool {
        match self {
            Condition::AtMost(_) | Condition::AtLeast(_) | Condition::Between(..) | Condition::NotBetween(..) => true,
            Condition::Equal(_) | Condition::NotEqual(_) | Condition::Null | Condition::NotNull => false,
        }
    }

    fn map<W, E>(&self, convert: &impl Fn(&V) -> Result<W, E>) -> Result<Condition<W>, E> {
        Ok(match self {
            Condition::AtMost(value) => Condition::AtMost(convert(value)?),
            Condition::AtLeast(value) => Condition::AtLeast(convert(value)?),
            Condition::Equal(value) => Condition::Equal(convert(value)?),
            Condition::NotEqual(value) => Condition::NotEqual(convert(value)?),
            Condition::Between(start, end) => Condition::Between(convert(start)?, convert(end)?),
            Condition::NotBetween(start, end) => Condition::NotBetween(convert(start)?, convert(end)?),
            Condition::Null => Condition::Null,
            Condition::NotNull => Condition::NotNull,
        })
    }
}
