//! Runs a module on rows in a test, on the machine that compiles it: no WebAssembly, no server.
//!
//! Rows are JSON objects. Text, decimals, JSON and enumerations are strings; dates and times are numbers as the contract
//! counts them; bytes are arrays of numbers. A key with `null` is NULL, a key that is left out is a value that the log
//! does not carry. The host checks more than is checked here: `tidegate module test` runs a module as a task would.

use serde_json::{Map, Value as Json};

use crate::builder::{Cell, ColumnBuilder};
use crate::row::{RowTransform, Rows};
use crate::{
    Batch, BatchResult, BeforeImages, Column, ColumnSchema, ColumnSource, Dialect, PlanError, Planned, RowNeeds, SqlType, TablePlan,
    TableSchema, Transform, Values,
};

/// A source table for a test.
#[derive(Debug, Clone)]
pub struct Table(TableSchema);

/// What a module made of a table and its rows.
#[derive(Debug)]
pub struct Outcome {
    /// The plan; `None` when the module left the table out.
    pub plan: Option<TablePlan>,
    /// One for each row, in order.
    pub rows: Vec<After>,
}

/// What became of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum After {
    /// It stays, in this form. A column that keeps its value in the target is not in it.
    Kept(Json),
    /// The module left it out.
    Dropped,
    /// The module cannot handle it.
    Rejected {
        /// The module's code.
        code: String,
        /// The module's message.
        message: String,
    },
}

impl Table {
    /// A table without columns, from PostgreSQL to PostgreSQL.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self(TableSchema {
            source: Dialect::Postgresql,
            target: Dialect::Postgresql,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            columns: Vec::new(),
            primary_key: Vec::new(),
            unique_keys: Vec::new(),
            before_images: BeforeImages::Full,
            schema_version: 1,
            hints: Vec::new(),
        })
    }

    /// Adds a column of the primary key.
    #[must_use]
    pub fn key(mut self, name: &str, sql_type: SqlType) -> Self {
        self.0.primary_key.push(name.to_owned());
        self.with(name, sql_type, false)
    }

    /// Adds a nullable column.
    #[must_use]
    pub fn column(self, name: &str, sql_type: SqlType) -> Self {
        self.with(name, sql_type, true)
    }

    /// The description, for changes.
    pub fn schema(&mut self) -> &mut TableSchema {
        &mut self.0
    }

    /// Runs a row-by-row module on an array of rows.
    ///
    /// # Errors
    /// The module's own, from its plan, and of a plan that no host takes.
    ///
    /// # Panics
    /// On rows that are not of the table's form, and when the module refuses the batch.
    pub fn run<T: RowTransform>(&self, config: Json, rows: Json) -> Result<Outcome, PlanError> {
        self.run_batch::<Rows<T>>(config, rows)
    }

    /// Runs a batch-by-batch module likewise.
    ///
    /// # Errors
    /// The module's own, from its plan, and of a plan that no host takes.
    ///
    /// # Panics
    /// As for [`Table::run`].
    pub fn run_batch<T: Transform>(&self, config: Json, rows: Json) -> Result<Outcome, PlanError> {
        let Json::Array(rows) = rows else { panic!("rows are an array of objects") };
        let rows: Vec<Map<String, Json>> = rows.iter().map(|row| row.as_object().expect("a row is an object").clone()).collect();
        match T::plan(&self.0, &config.to_string())? {
            Planned::Exclude(_) => Ok(Outcome { plan: None, rows: Vec::new() }),
            Planned::Include(plan, mut work) => {
                refuse_masks(&plan)?;
                let rows = self.rows(&plan, &mut work, &rows);
                Ok(Outcome { plan: Some(plan), rows })
            }
        }
    }

    fn with(mut self, name: &str, sql_type: SqlType, nullable: bool) -> Self {
        let native_type = format!("{sql_type:?}");
        self.0.columns.push(ColumnSchema { name: name.to_owned(), sql_type, native_type, nullable, generated: false });
        self
    }

    fn rows<T: Transform>(&self, plan: &TablePlan, work: &mut T, rows: &[Map<String, Json>]) -> Vec<After> {
        let Some(row_plan) = &plan.rows else { return rows.iter().map(|row| self.kept(plan, row, None)).collect() };
        // An image without a wanted column is not sent, unless the plan takes such images.
        let partial = row_plan.needs.contains(RowNeeds::PARTIAL_IMAGES);
        let is_sent = |row: &Map<String, Json>| partial || row_plan.inputs.iter().all(|input| row.contains_key(input));
        let sent: Vec<_> = rows.iter().filter(|row| is_sent(row)).collect();
        let columns = row_plan.inputs.iter().map(|input| {
            let sql_type =
                &self.0.column(input).unwrap_or_else(|| panic!("the plan reads column \"{input}\", which the table lacks")).sql_type;
            column(sql_type, &sent, input)
        });
        let batch = Batch { rows: sent.len() as u32, kinds: vec![1; sent.len()], columns: columns.collect() };
        let result = work.transform(&batch).unwrap_or_else(|message| panic!("the module refused the batch: {message}"));
        let mut place = 0;
        let judged = rows.iter().map(|row| {
            if !is_sent(row) {
                assert!(!row_plan.needs.contains(RowNeeds::FILTERS), "a row lacks a value that the filter needs: a task would stop");
                return self.kept(plan, row, None);
            }
            place += 1;
            self.judged(plan, row, &result, place - 1)
        });
        judged.collect()
    }

    fn judged(&self, plan: &TablePlan, row: &Map<String, Json>, result: &BatchResult, place: usize) -> After {
        if let Some(error) = result.errors.iter().find(|error| error.row as usize == place) {
            return After::Rejected { code: error.code.clone(), message: error.message.clone() };
        }
        let keeps = result.keep.is_empty() || result.keep[place / 8] >> (place % 8) & 1 == 1;
        if keeps { self.kept(plan, row, Some((result, place))) } else { After::Dropped }
    }

    fn kept(&self, plan: &TablePlan, row: &Map<String, Json>, result: Option<(&BatchResult, usize)>) -> After {
        let mut after = Map::new();
        for column in self.0.columns.iter().filter(|column| !plan.drops.contains(&column.name)) {
            let name = plan.renames.iter().find(|rename| rename.column == column.name).map_or(&column.name, |rename| &rename.to);
            if let Some(value) = row.get(&column.name).filter(|_| plan.outputs.iter().all(|output| output.name != *name)) {
                after.insert(name.clone(), value.clone());
            }
        }
        let mut computed = 0;
        for output in &plan.outputs {
            let value = match &output.source {
                ColumnSource::Constant(text) => text.clone().map(Json::String).or(Some(Json::Null)),
                ColumnSource::CopyOf(column) => row.get(column).cloned(),
                ColumnSource::Masked(_) => unreachable!("such a plan is refused"),
                ColumnSource::Computed => {
                    computed += 1;
                    result.and_then(|(result, place)| json(&result.columns[computed - 1], place))
                }
            };
            if let Some(value) = value {
                after.insert(output.name.clone(), value);
            }
        }
        After::Kept(Json::Object(after))
    }
}

/// As a host does.
fn refuse_masks(plan: &TablePlan) -> Result<(), PlanError> {
    let masked = plan.outputs.iter().find_map(|output| match &output.source {
        ColumnSource::Masked(mask) => Some(&mask.column),
        ColumnSource::Computed | ColumnSource::CopyOf(_) | ColumnSource::Constant(_) => None,
    });
    match masked {
        None => Ok(()),
        Some(column) => Err(PlanError::new(format!("column \"{column}\" is to be masked by the host, which no host does yet"))),
    }
}

impl Outcome {
    /// The rows that stay.
    pub fn kept(&self) -> Vec<Json> {
        let kept = self.rows.iter().filter_map(|row| match row {
            After::Kept(row) => Some(row.clone()),
            After::Dropped | After::Rejected { .. } => None,
        });
        kept.collect()
    }

    /// The indexes of the rows that the module left out.
    pub fn dropped(&self) -> Vec<usize> {
        self.rows.iter().enumerate().filter(|(_, row)| **row == After::Dropped).map(|(index, _)| index).collect()
    }

    /// Index and code of the rows that the module cannot handle.
    pub fn rejected(&self) -> Vec<(usize, &str)> {
        let rejected = self.rows.iter().enumerate().filter_map(|(index, row)| match row {
            After::Rejected { code, .. } => Some((index, code.as_str())),
            After::Kept(_) | After::Dropped => None,
        });
        rejected.collect()
    }
}

fn column(sql_type: &SqlType, rows: &[&Map<String, Json>], name: &str) -> Column {
    let mut column = ColumnBuilder::new(sql_type, rows.len() as u32);
    for row in rows {
        match row.get(name) {
            None => column.push_absent(),
            Some(value) => column.push(cell(value)).unwrap_or_else(|misfit| panic!("column \"{name}\" takes {}", misfit.wanted)),
        }
    }
    column.finish()
}

fn cell(value: &Json) -> Cell<'_> {
    match value {
        Json::Null => Cell::Null,
        Json::Bool(flag) => Cell::Bool(*flag),
        Json::String(text) => Cell::from(text.as_str()),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Cell::Int(number),
            (None, Some(number)) => Cell::UInt(number),
            (None, None) => Cell::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::Array(bytes) => Cell::Bytes(bytes.iter().map(|byte| byte.as_u64().unwrap_or(0) as u8).collect::<Vec<_>>().into()),
        Json::Object(_) => panic!("a value is no object; JSON columns are text"),
    }
}

/// A value of an answer; `None` when it stays as it is in the target.
fn json(column: &Column, row: usize) -> Option<Json> {
    if column.is_absent(row) {
        return None;
    }
    if column.is_null(row) {
        return Some(Json::Null);
    }
    Some(match &column.values {
        Values::Bool8(list) => Json::Bool(list[row] != 0),
        Values::Int32(list) => list[row].into(),
        Values::Int64(list) => list[row].into(),
        Values::Uint64(list) => list[row].into(),
        Values::Float64(list) => list[row].into(),
        Values::Strings(list) => list[row].clone().into(),
        Values::Utf8(_) => column.text(row).unwrap_or_else(|| panic!("row {row} has text that is not UTF-8")).into(),
        Values::Binary(_) => column.bytes(row).unwrap_or_default().to_vec().into(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Input, Output, Plan, Rejection, Row};

    /// Joins two columns, rejects what is too long, and leaves out what is empty when it filters.
    struct Join {
        parts: [Input; 2],
        joined: Output,
        filters: bool,
    }

    impl RowTransform for Join {
        type Config = bool;

        fn plan(plan: &mut Plan<'_>, filters: bool) -> Result<Self, PlanError> {
            let parts = [plan.read_text("a")?, plan.read_text("b")?];
            plan.rename("id", "number");
            plan.drop("b");
            if filters {
                plan.filters();
            }
            let joined = plan.add("joined", SqlType::text(), &parts);
            Ok(Self { parts, joined, filters })
        }

        fn row(&mut self, row: &mut Row<'_>) -> Result<(), Rejection> {
            let [a, b] = self.parts.map(|part| row.text(part).unwrap_or_default());
            match a.len() + b.len() {
                0 if self.filters => row.discard(),
                0..5 => row.set(self.joined, format!("{a}{b}")),
                _ => return Err(Rejection::new("too-long", "more than four bytes")),
            }
            Ok(())
        }
    }

    fn table() -> Table {
        Table::new("s", "t").key("id", SqlType::int32()).column("a", SqlType::text()).column("b", SqlType::text())
    }

    #[test]
    fn rows_are_kept_dropped_and_rejected() {
        let rows = json!([{"id": 1, "a": "x", "b": null}, {"id": 2, "a": "", "b": ""}, {"id": 3, "a": "long", "b": "er"}]);
        let outcome = table().run::<Join>(json!(true), rows).unwrap();
        assert_eq!(outcome.kept(), [json!({"number": 1, "a": "x", "joined": "x"})]);
        assert_eq!((outcome.dropped(), outcome.rejected()), (vec![1], vec![(2, "too-long")]));
    }

    #[test]
    fn an_output_whose_input_is_not_in_the_log_stays_as_it_is() {
        let rows = json!([{"id": 1, "a": "x"}, {"id": 2, "a": "x", "b": "y"}]);
        let outcome = table().run::<Join>(json!(false), rows).unwrap();
        assert_eq!(outcome.kept(), [json!({"number": 1, "a": "x"}), json!({"number": 2, "a": "x", "joined": "xy"})]);
    }

    #[test]
    fn a_column_of_another_type_is_refused_by_name() {
        let table = Table::new("s", "t").column("a", SqlType::int32());
        let message = table.run::<Join>(json!(true), json!([])).unwrap_err().message;
        assert!(message.contains("column \"a\" of table \"t\"") && message.contains("not text"), "{message}");
        assert!(table.run::<Join>(json!("x"), json!([])).unwrap_err().message.contains("expected a boolean"));
    }
}
