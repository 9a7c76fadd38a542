//! Large values: which columns hold them, and what of them the target gets.
//!
//! ```text
//!   row of the source ─▶ limit ─┬─ within the limit, or no limit ───────────▶ modules ─▶ target
//!                               ├─ text and bytes above it: cut ────────────▶ modules ─▶ target, told in the error table
//!                               └─ JSON, arrays, … above it: row at fault ──▶ error table
//! ```
//!
//! The limit holds before any module sees the row, as if the source had no more: what a module computes agrees with what
//! the target has. A key is never cut, because rows could not be told apart. What is cut is a function of the value alone,
//! so that the old image of a keyless row, cut likewise, is the row that the target has. A cut value whose type has a
//! grammar would be none of that type, so it is never made.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value as Json;
use tidegate_connector::types::base_name;
use tidegate_connector::{ColumnOrigin, Finding, RowId, SourceTable, TargetTable, UnfitPolicy};
use tidegate_model::{Cell, Column, Engine, Row, RowBatch, RowBuilder, RowChange, SqlType, TableName};

use crate::characters::Characters;
use crate::load_rules::rule_id;
use crate::rejection::{Rejection, row_id};
use crate::task::TaskError;

/// What of large values the target gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum LargeValues {
    /// All of them. DMS: full LOB mode.
    #[default]
    Full,
    /// Up to so many bytes of each, above zero. DMS: limited LOB mode.
    Limited {
        /// Bytes of text in UTF-8, or of the value itself.
        bytes_max: usize,
    },
    /// NULL in place of each value. DMS: `SupportLobs` `false`.
    Excluded,
}

/// What a task wants of values that are large, or that the target has no place for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ValueSettings {
    /// For tables without a rule of their own.
    pub large: LargeValues,
    /// For values without a place in the target's types.
    pub unfit: UnfitPolicy,
    /// Characters that are replaced in text columns; `None`: none.
    pub characters: Option<Arc<Characters>>,
}

/// The `lob-settings` of a mapping's rules of the type `table-settings`, by table.
///
/// # Errors
/// `TaskError::Plan` (`lob_settings`) for the first rule that is not of the form, with its id.
pub(crate) fn of_tables(document: &Json) -> Result<HashMap<TableName, LargeValues>, TaskError> {
    let mut found = HashMap::new();
    for rule in document["rules"].as_array().into_iter().flatten().filter(|rule| rule["rule-type"] == "table-settings") {
        let Some(settings) = rule.get("lob-settings").filter(|settings| !settings.is_null()) else { continue };
        let locator = &rule["object-locator"];
        let name = |key: &str| locator[key].as_str().unwrap_or_default();
        let large = of_rule(settings).map_err(|what| TaskError::Plan {
            code: "lob_settings",
            message: format!("rule {} of the type table-settings: {what}", rule_id(rule)),
            hint: Some("{\"mode\": \"limited\", \"bulk-max-size\": \"32\"} cuts values above 32 KB; other modes: unlimited, none".into()),
        })?;
        if let Some(large) = large {
            found.insert(TableName::new(name("schema-name"), name("table-name")), large);
        }
    }
    Ok(found)
}

/// `None` leaves it to the task's setting.
fn of_rule(settings: &Json) -> Result<Option<LargeValues>, String> {
    let size_kb = match &settings["bulk-max-size"] {
        Json::Null => None,
        Json::Number(number) => Some(number.as_u64().ok_or("\"bulk-max-size\" is no whole number of KB")?),
        Json::String(text) if text.trim().is_empty() => None,
        Json::String(text) => Some(text.trim().parse().map_err(|_| "\"bulk-max-size\" is no whole number of KB")?),
        _ => return Err("\"bulk-max-size\" is no whole number of KB".into()),
    };
    match settings["mode"].as_str() {
        Some("unlimited") => Ok(Some(LargeValues::Full)),
        Some("none") => Ok(None),
        Some("limited") => match size_kb.filter(|size_kb| *size_kb > 0) {
            Some(size_kb) => {
                Ok(Some(LargeValues::Limited { bytes_max: usize::try_from(size_kb).unwrap_or(usize::MAX).saturating_mul(1024) }))
            }
            None => Err("the mode \"limited\" needs \"bulk-max-size\" above zero".into()),
        },
        _ => Err("\"mode\" is none of limited, unlimited, none".into()),
    }
}

/// How a column's values can be made smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Text, between two characters.
    Text,
    /// Bytes, anywhere.
    Bytes,
    /// Not at all: a part of a value is no value.
    Whole,
}

/// The kind of a column with large values; `None` for other columns. Source: the AWS DMS user guide, data types of the
/// sources: those that become BLOB, CLOB or NCLOB.
fn kind(engine: Engine, column: &Column) -> Option<Kind> {
    let name = base_name(&column.native_type);
    let is = |names: &[&str]| names.contains(&name.as_str());
    match (engine, &column.sql_type) {
        (Engine::Postgres, SqlType::Text { chars_max: None }) => (name != "name").then_some(Kind::Text),
        (Engine::Postgres, SqlType::Bytes { .. }) => Some(Kind::Bytes),
        (Engine::Mysql | Engine::Mariadb, SqlType::Text { .. }) => is(&["mediumtext", "longtext"]).then_some(Kind::Text),
        (Engine::Mysql | Engine::Mariadb, SqlType::Bytes { .. }) if is(&["mediumblob", "longblob"]) => Some(Kind::Bytes),
        // Geometry and vectors: all that is left of unbounded bytes.
        (Engine::Mysql | Engine::Mariadb, SqlType::Bytes { bytes_max: None }) => (!is(&["tinyblob", "blob"])).then_some(Kind::Whole),
        (_, SqlType::Json | SqlType::Array(_)) => Some(Kind::Whole),
        (_, SqlType::Other(_)) => is(&["xml", "tsvector", "hstore", "path", "polygon", "geometry", "geography"]).then_some(Kind::Whole),
        _ => None,
    }
}

/// What happens to values of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Treatment {
    Limit(Kind, usize),
    LeaveOut,
}

/// What happens to the large values of one table; nothing at all for most.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct LargePlan {
    /// Indexes of source columns.
    columns: Vec<(usize, Treatment)>,
    findings: Vec<Finding>,
}

/// Rows of a full load, within the task's limit.
#[derive(Debug)]
pub(crate) struct LimitedRows {
    pub(crate) rows: RowBatch,
    /// Of these, the ones that were cut.
    pub(crate) cut: HashMap<RowId, Oversize>,
    /// Rows at fault.
    pub(crate) too_large: Vec<(Row, Rejection)>,
}

/// Values of a row that are above the limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Oversize {
    /// Columns and the bytes that their values have.
    values: Vec<(usize, usize)>,
    /// Their values were cut; otherwise one of them cannot be, and the row is as it was.
    pub(crate) is_cut: bool,
}

impl LargePlan {
    pub(crate) fn new(large: LargeValues, source: &SourceTable, target: &TargetTable) -> LargePlan {
        let schema = &source.schema;
        let mut plan = LargePlan::default();
        if large == LargeValues::Full {
            return plan;
        }
        for (index, column) in schema.columns.iter().enumerate() {
            let Some(kind) = kind(schema.engine, column) else { continue };
            let is_key = is_key(source, target, index);
            let object = || format!("column \"{}\" of table \"{}\"", column.name, schema.name);
            match large {
                LargeValues::Full => {}
                LargeValues::Limited { .. } if is_key => {}
                LargeValues::Limited { bytes_max } => plan.columns.push((index, Treatment::Limit(kind, bytes_max))),
                LargeValues::Excluded if is_key => plan.findings.push(
                    Finding::error(
                        "lob_in_key",
                        object(),
                        "a large-value type in a key",
                        "values that the task's settings do not leave out",
                    )
                    .fix("a table-settings rule with \"lob-settings\": {\"mode\": \"unlimited\"} for the table"),
                ),
                LargeValues::Excluded => {
                    let mut fed = target.columns.iter().filter(|to| to.origin == ColumnOrigin::Source(index));
                    if fed.any(|to| !to.nullable) {
                        plan.findings.push(
                            Finding::error(
                                "lob_not_null",
                                object(),
                                "NOT NULL",
                                "a column that may be NULL, since large values are left out",
                            )
                            .fix("a remove-column rule for the column, or a table-settings rule with \"lob-settings\" for the table"),
                        );
                    }
                    plan.columns.push((index, Treatment::LeaveOut));
                }
            }
        }
        plan
    }

    /// What the check says about it.
    pub(crate) fn findings(&self) -> impl Iterator<Item = Finding> + '_ {
        self.findings.iter().cloned()
    }

    /// The row as the target gets it; `None`: as it is. Says what was above the limit.
    pub(crate) fn row(&self, row: &Row) -> (Option<Row>, Option<Oversize>) {
        let (mut values, mut is_cut, mut changes) = (Vec::new(), true, false);
        for (index, treatment) in &self.columns {
            let cell = row.cell(*index);
            match (treatment, cell) {
                (Treatment::LeaveOut, Some(Cell::Unchanged | Cell::Binary(_) | Cell::Text(_) | Cell::Faulty(_))) => changes = true,
                (Treatment::Limit(kind, bytes_max), Some(Cell::Binary(bytes) | Cell::Text(bytes))) if bytes.len() > *bytes_max => {
                    values.push((*index, bytes.len()));
                    is_cut &= *kind != Kind::Whole;
                }
                _ => {}
            }
        }
        let oversize = (!values.is_empty()).then_some(Oversize { values, is_cut });
        if !changes && oversize.as_ref().is_none_or(|oversize| !oversize.is_cut) {
            return (None, oversize);
        }
        (Some(self.made_smaller(row)), oversize)
    }

    fn made_smaller(&self, row: &Row) -> Row {
        let mut builder = RowBuilder::with_capacity(row.len(), 256);
        let mut treated = self.columns.iter().peekable();
        for (index, cell) in row.cells().enumerate() {
            let treatment = treated.next_if(|(at, _)| *at == index).map(|(_, treatment)| *treatment);
            let smaller = match (treatment, cell) {
                (Some(Treatment::LeaveOut), Cell::Unchanged | Cell::Binary(_) | Cell::Text(_) | Cell::Faulty(_)) => Some(Cell::Null),
                (Some(Treatment::Limit(kind, most)), Cell::Binary(bytes)) if bytes.len() > most => {
                    Some(Cell::Binary(&bytes[..end(kind, bytes, most)]))
                }
                (Some(Treatment::Limit(kind, most)), Cell::Text(bytes)) if bytes.len() > most => {
                    Some(Cell::Text(&bytes[..end(kind, bytes, most)]))
                }
                _ => None,
            };
            match smaller {
                Some(cell) => builder.push(cell),
                None => builder.push_of(row, index),
            }
        }
        builder.finish()
    }

    /// The change as the target gets it. What its old image has above the limit is cut and not told: it was, when it came.
    pub(crate) fn change(&self, change: RowChange) -> (RowChange, Option<Oversize>) {
        if self.columns.is_empty() {
            return (change, None);
        }
        let old_row = |row: Row| self.row(&row).0.unwrap_or(row);
        let new_row = |row: Row| {
            let (smaller, oversize) = self.row(&row);
            (smaller.unwrap_or(row), oversize)
        };
        match change {
            RowChange::Insert { new } => {
                let (new, oversize) = new_row(new);
                (RowChange::Insert { new }, oversize)
            }
            RowChange::Update { old, new } => {
                let (new, oversize) = new_row(new);
                (RowChange::Update { old: old.map(old_row), new }, oversize)
            }
            RowChange::Delete { old } => (RowChange::Delete { old: old_row(old) }, None),
        }
    }

    /// Rows of a full load as the target gets them.
    pub(crate) fn rows(&self, source: &SourceTable, rows: RowBatch) -> LimitedRows {
        let mut limited = LimitedRows { rows, cut: HashMap::new(), too_large: Vec::new() };
        if !self.concerns(&limited.rows) {
            return limited;
        }
        let empty = RowBatch::with_capacity(limited.rows.cells(), limited.rows.len(), 0);
        for row in std::mem::replace(&mut limited.rows, empty).iter() {
            let (smaller, oversize) = self.row(&row);
            let row = smaller.unwrap_or(row);
            match oversize {
                Some(oversize) if !oversize.is_cut => limited.too_large.push((row, oversize.rejection(source))),
                Some(oversize) => {
                    if let Some(id) = row_id(source, &row) {
                        limited.cut.insert(id, oversize);
                    }
                    limited.rows.push_row(&row);
                }
                None => limited.rows.push_row(&row),
            }
        }
        limited
    }

    /// True when a value of these rows is above the limit, or left out.
    fn concerns(&self, rows: &RowBatch) -> bool {
        self.columns.iter().any(|(index, treatment)| {
            (0..rows.len()).any(|row| match (treatment, rows.cell(row, *index)) {
                (Treatment::LeaveOut, cell) => cell != Some(Cell::Null),
                (Treatment::Limit(_, most), Some(Cell::Binary(bytes) | Cell::Text(bytes))) => bytes.len() > *most,
                (Treatment::Limit(..), _) => false,
            })
        })
    }

    /// True when the row tells the value of every column that may be cut.
    pub(crate) fn is_told(&self, row: &Row) -> bool {
        self.columns.iter().all(|(index, _)| row.cell(*index).is_some_and(|cell| cell.is_known()))
    }
}

/// Where a value ends that may have so many bytes.
fn end(kind: Kind, bytes: &[u8], bytes_max: usize) -> usize {
    if bytes.len() <= bytes_max {
        return bytes.len();
    }
    match kind {
        Kind::Whole => bytes.len(),
        Kind::Bytes => bytes_max,
        // Bytes of UTF-8 that go on with a character begin with 10.
        Kind::Text => (0..=bytes_max).rev().find(|at| bytes[*at] & 0xc0 != 0x80).unwrap_or(0),
    }
}

/// True for a column of any key, at the source or in the target. Where the whole row identifies, no column is a key.
fn is_key(source: &SourceTable, target: &TargetTable, index: usize) -> bool {
    let schema = &source.schema;
    let of_target = |at: &usize| target.columns.get(*at).is_some_and(|column| column.origin == ColumnOrigin::Source(index));
    schema.primary_key.contains(&index)
        || schema.unique_keys.iter().any(|key| key.contains(&index))
        || (!schema.is_keyless() && schema.identity.contains(&index))
        || target.primary_key.iter().any(of_target)
        || target.identity.iter().any(of_target)
}

impl Oversize {
    /// The row's fault, when it cannot be cut.
    pub(crate) fn rejection(&self, table: &SourceTable) -> Rejection {
        let told = self.told(table);
        let error = TaskError::Row {
            code: "value_too_large",
            message: format!(
                "table \"{}\": {told}, more than the task's limit, and part of it would be no value of its type",
                table.schema.name
            ),
            hint: Some("raise the limit (settings.large_values, or lob-settings of a table-settings rule), then reload the table".into()),
        };
        Rejection::of_size(error)
    }

    /// How the task ends when it shall not go on with cut values.
    pub(crate) fn stop(&self, table: &SourceTable) -> TaskError {
        TaskError::Row {
            code: tidegate_connector::CUT,
            message: format!("table \"{}\": {}, more than the task's limit", table.schema.name, self.told(table)),
            hint: Some(
                "raise the limit (settings.large_values), or let such values be cut and told: settings.row_errors.truncation \"log\""
                    .into(),
            ),
        }
    }

    /// Names of columns and sizes of values.
    pub(crate) fn told(&self, table: &SourceTable) -> String {
        let one = |(index, bytes): &(usize, usize)| {
            let name = table.schema.columns.get(*index).map_or("", |column| column.name.as_str());
            format!("column \"{name}\" has a value of {bytes} bytes")
        };
        self.values.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
#[path = "large_values_tests.rs"]
mod tests;
