//! Labels of enumerations. A source's enumeration gets labels without a word in its log, and a row with one is refused by a
//! target whose type lacks it; so the target's type gets them when its table is prepared, at their places.

use std::collections::HashSet;

use tidegate_connector::{ColumnOrigin, ConnectorError, Dialect, TargetTable};
use tidegate_model::Cell;
use tidegate_model::schema::RowEncoding;
use tokio_postgres::GenericClient;

use super::real::{RealColumn, RealTable};
use super::session::table_error;
use crate::connect::pg_error;

/// A label that a type of the target lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    /// The type's name as SQL.
    type_sql: String,
    label: String,
    /// The label that comes next at the source; `None` for the last one.
    before: Option<String>,
}

/// What the types of a table's columns lack, each label after the one that it is put in front of.
pub(crate) fn missing(table: &TargetTable, real: &RealTable) -> Vec<Missing> {
    let mut all = Vec::new();
    for (wanted, found, type_sql) in enumerations(table, real) {
        let mut next: Option<&String> = None;
        for label in wanted.iter().rev() {
            if !found.labels.contains(label) {
                let one = Missing { type_sql: type_sql.clone(), label: label.clone(), before: next.cloned() };
                if !all.contains(&one) {
                    all.push(one);
                }
            }
            next = Some(label);
        }
    }
    all
}

/// The table as it is once the labels are added.
pub(crate) fn completed(table: &TargetTable, real: &RealTable) -> RealTable {
    let mut real = real.clone();
    let lists: Vec<(String, Vec<String>)> =
        enumerations(table, &real).into_iter().map(|(wanted, found, _)| (found.name.clone(), wanted.to_vec())).collect();
    for (name, wanted) in lists {
        let column = real.columns.iter_mut().find(|column| column.name == name);
        let column = column.expect("the column was found in this table");
        let more: Vec<String> = wanted.into_iter().filter(|label| !column.labels.contains(label)).collect();
        column.labels.extend(more);
    }
    real
}

/// True when the session's role owns each of the types.
pub(crate) async fn may_add(client: &impl GenericClient, missing: &[Missing]) -> Result<bool, ConnectorError> {
    let types: Vec<&str> = missing.iter().map(|missing| missing.type_sql.as_str()).collect();
    let sql = "select coalesce(bool_and(pg_has_role(t.typowner, 'usage')), true) from unnest($1::text[]) w left join pg_type t on t.oid = to_regtype(w)";
    let row = client.query_one(sql, &[&types]).await;
    Ok(row.map_err(|error| pg_error("look for the right to add labels to types", error))?.get(0))
}

/// Adds what is missing, where the role may; true when that changed something. The labels can be used after the caller's
/// transaction.
pub(crate) async fn add_missing(client: &impl GenericClient, table: &TargetTable, real: &RealTable) -> Result<bool, ConnectorError> {
    let missing = missing(table, real);
    if missing.is_empty() || !may_add(client, &missing).await? {
        return Ok(false);
    }
    for Missing { type_sql, label, before } in &missing {
        let literal = |text: &str| Dialect::POSTGRES.literal(text);
        let place = before.as_ref().map(|next| format!(" before {}", literal(next))).unwrap_or_default();
        let attempted = format!("add a label to type {type_sql}");
        let sql = format!("alter type {type_sql} add value if not exists {}{place}", literal(label));
        client.batch_execute(&sql).await.map_err(|error| table_error(&table.source.schema.name, &attempted, error))?;
    }
    Ok(true)
}

/// Columns whose values are labels here and at the source: the source's labels, the column, the type that has the labels.
fn enumerations<'a>(table: &'a TargetTable, real: &'a RealTable) -> Vec<(&'a [String], &'a RealColumn, String)> {
    if table.source.schema.encoding != RowEncoding::Postgres {
        return Vec::new();
    }
    let of = |wanted: &'a tidegate_connector::TargetColumn| {
        let ColumnOrigin::Source(at) = wanted.origin else { return None };
        let labels = table.source.schema.columns.get(at)?.sql_type.labels()?;
        let found = real.columns.iter().find(|column| column.name == wanted.name)?;
        let type_sql = if found.type_kind == b'e' {
            format!("{}.{}", Dialect::POSTGRES.identifier(&found.type_schema), Dialect::POSTGRES.identifier(&found.type_name))
        } else {
            found.native.strip_suffix("[]").filter(|_| found.element_kind == b'e')?.to_owned()
        };
        Some((labels, found, type_sql))
    };
    table.columns.iter().filter_map(of).collect()
}

/// The labels that a column of the target takes.
#[derive(Debug)]
pub(crate) struct Labels {
    known: HashSet<Vec<u8>>,
    in_array: bool,
}

impl Labels {
    /// Of a column that takes labels, or arrays of them.
    pub(crate) fn of(column: &RealColumn) -> Labels {
        Labels { known: column.labels.iter().map(|label| label.clone().into_bytes()).collect(), in_array: column.type_kind != b'e' }
    }

    /// False when a cell's label, or one in its array, is not among them. A form that is not an array's is the server's to refuse.
    pub(crate) fn has(&self, cell: Cell<'_>) -> bool {
        match cell {
            Cell::Binary(bytes) if self.in_array => {
                array_elements(bytes).is_none_or(|all| all.iter().all(|label| self.known.contains(*label)))
            }
            Cell::Binary(bytes) | Cell::Text(bytes) if !self.in_array => self.known.contains(bytes),
            _ => true,
        }
    }
}

/// The elements of an array that are not NULL, in its binary form: the count of dimensions, a flag, the elements' type, two
/// numbers for each dimension, then each element behind its length.
fn array_elements(bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let number = |at: usize| Some(i32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let mut at = 12 + 8 * usize::try_from(number(0)?).ok().filter(|dimensions| *dimensions <= 6)?;
    let mut elements = Vec::new();
    while at < bytes.len() {
        let length = number(at)?;
        at += 4;
        if let Ok(length) = usize::try_from(length) {
            elements.push(bytes.get(at..at.checked_add(length)?)?);
            at += length;
        }
    }
    Some(elements)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_an_array_are_found_and_cut_ones_are_left_to_the_server() {
        let mut bytes = vec![0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 64, 0, 0, 0, 0, 3, 0, 0, 0, 1];
        bytes.extend([0, 0, 0, 2, b'a', b'b', 255, 255, 255, 255, 0, 0, 0, 0]);
        assert_eq!(array_elements(&bytes), Some(vec![&b"ab"[..], b""]));
        assert_eq!(array_elements(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0]), Some(Vec::new()));
        for cut in [3, 21, 25] {
            assert_eq!(array_elements(&bytes[..cut]), None, "{cut}");
        }
        let labels = Labels { known: [b"ab".to_vec(), Vec::new()].into(), in_array: true };
        assert!(labels.has(Cell::Binary(&bytes)) && labels.has(Cell::Null) && labels.has(Cell::Unchanged));
        bytes[25] = b'c';
        assert!(!labels.has(Cell::Binary(&bytes)));
    }
}
