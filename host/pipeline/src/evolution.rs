//! What a change of a table's definition is, and what follows from it.
//!
//! The log describes a table before its first row and after each change. The difference between two descriptions is
//! the schema change. What rows that were there hold from then on no description tells: a new column's default, what a
//! retyped column was converted to. So a table whose definition changed is loaded again, which is right whatever happened.
//!
//! A [`Definition`] is stored in the target for each table that is loaded there, so that a change is noticed
//! that came while nobody followed the log, too.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidegate_connector::types::base_name;
use tidegate_connector::{ColumnOrigin, ConnectorError, Lineage, SourceTable, TargetTable};
use tidegate_model::{Engine, SqlType, TableName, Upheaval};

use crate::partition_watch::Parts;
use crate::plan::PlannedTable;
use crate::settings::{DdlAction, DdlPolicy};
use crate::task::TaskError;

/// As much of a table's description as makes its rows comparable with those of another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Definition {
    /// The table's number, where the source has such.
    table: Option<u32>,
    columns: Vec<DefinedColumn>,
    /// Names of the columns that identify rows; empty for the whole row.
    identity: Vec<String>,
    /// The table's name in the target, for when the source no longer has it: schema and table.
    target: Option<(String, String)>,
    /// Its partitions, where the source's log does not tell what happens to them and they were looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parts: Option<Parts>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct DefinedColumn {
    name: String,
    /// The column's number, where the source has such.
    number: Option<u16>,
    native_type: String,
    generated: bool,
    /// `None` for a definition that was stored.
    #[serde(skip)]
    sql_type: Option<SqlType>,
}

impl Definition {
    /// The definition that a description tells.
    pub(crate) fn of(table: &SourceTable) -> Definition {
        let (schema, lineage) = (&table.schema, table.lineage.as_ref());
        let columns = schema.columns.iter().enumerate().map(|(place, column)| DefinedColumn {
            name: column.name.clone(),
            number: lineage.and_then(|lineage| lineage.columns.get(place).copied()),
            native_type: column.native_type.clone(),
            generated: column.generated,
            sql_type: Some(column.sql_type.clone()),
        });
        let identity = schema.identity.iter().filter(|_| !schema.is_keyless()).filter_map(|index| schema.columns.get(*index));
        Definition {
            table: lineage.map(|lineage| lineage.table),
            columns: columns.collect(),
            identity: identity.map(|column| column.name.clone()).collect(),
            target: None,
            parts: None,
        }
    }

    /// The same, with partitions that were found.
    pub(crate) fn with_parts(&self, parts: Parts) -> Definition {
        Definition { parts: Some(parts), ..self.clone() }
    }

    /// The same with the partitions of another definition of the table; `None` when it has these already.
    pub(crate) fn with_parts_of(&self, now: &Definition) -> Option<Definition> {
        now.parts.as_ref().filter(|parts| self.parts.as_ref() != Some(parts)).map(|parts| self.with_parts(parts.clone()))
    }

    /// The same, of rows that are in this table of the target.
    pub(crate) fn in_target(self, name: &TableName) -> Definition {
        Definition { target: Some((name.schema.clone(), name.name.clone())), ..self }
    }

    /// The table of the target that has the rows.
    pub(crate) fn target(&self) -> Option<TableName> {
        self.target.as_ref().map(|(schema, name)| TableName::new(schema, name))
    }

    /// The form in which it is stored.
    pub(crate) fn to_text(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers have a form in JSON")
    }

    /// # Errors
    /// For a text that is none.
    pub(crate) fn parse(text: &str) -> Result<Definition, ConnectorError> {
        serde_json::from_str(text).map_err(|error| {
            ConnectorError::definite("checkpoint_unreadable", "read a table's definition in the task's records at the target")
                .hint("run the version that wrote it, or reload the task")
                .caused_by(error)
        })
    }

    /// The table's own numbers, where the source has such.
    pub(crate) fn lineage(&self) -> Option<Lineage> {
        let columns = self.columns.iter().map(|column| column.number.unwrap_or(0)).collect();
        self.table.map(|table| Lineage { table, columns })
    }

    /// The same column, whatever its name; in a source without numbers, whatever its past.
    fn same_column(&self, column: &DefinedColumn) -> Option<&DefinedColumn> {
        self.columns.iter().find(|known| match (known.number, column.number) {
            (Some(known), Some(number)) => known == number,
            _ => known.name == column.name,
        })
    }

    fn has(&self, name: &str) -> bool {
        self.columns.iter().any(|column| column.name == name)
    }
}

/// A difference between two definitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SchemaChange {
    Added {
        column: String,
    },
    Dropped {
        column: String,
    },
    Renamed {
        was: String,
        is: String,
    },
    /// Another column has the name.
    Replaced {
        column: String,
    },
    Retyped {
        column: String,
        was: String,
        is: String,
    },
    /// An enumeration has more labels than before; rows that were there keep theirs.
    LabelsAdded {
        column: String,
    },
    /// Rows are identified by other columns.
    Identity {
        was: String,
        is: String,
    },
    /// The same columns stand in another order.
    Reordered,
    /// Another table has the name.
    Recreated,
    /// The table has other rows because of what was done to a partition.
    Moved {
        what: String,
    },
}

impl fmt::Display for SchemaChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SchemaChange::Added { column } => write!(f, "column \"{column}\" is new"),
            SchemaChange::Dropped { column } => write!(f, "column \"{column}\" is gone"),
            SchemaChange::Renamed { was, is } => write!(f, "column \"{was}\" is \"{is}\""),
            SchemaChange::Replaced { column } => write!(f, "column \"{column}\" is another one than before"),
            SchemaChange::Retyped { column, was, is } => write!(f, "column \"{column}\" was {was} and is {is}"),
            SchemaChange::LabelsAdded { column } => write!(f, "the type of column \"{column}\" has more labels"),
            SchemaChange::Identity { was, is } => write!(f, "rows were identified by ({was}) and are by ({is})"),
            SchemaChange::Reordered => write!(f, "its columns have another order"),
            SchemaChange::Recreated => write!(f, "another table has its name"),
            SchemaChange::Moved { what } => f.write_str(what),
        }
    }
}

/// What makes rows of two definitions lead to different target tables. Generated columns that the log does not carry,
/// the order of columns (see [`differences_in_catalog`]), and facts that only help (nullability, spelling) do not.
pub(crate) fn differences(before: &Definition, now: &Definition) -> Vec<SchemaChange> {
    if before.table.zip(now.table).is_some_and(|(before, now)| before != now) {
        return vec![SchemaChange::Recreated];
    }
    let mut changes = Vec::new();
    for column in &now.columns {
        let name = || column.name.clone();
        let Some(known) = before.same_column(column) else {
            let replaced = before.has(&column.name);
            changes.push(if replaced { SchemaChange::Replaced { column: name() } } else { SchemaChange::Added { column: name() } });
            continue;
        };
        if known.name != column.name {
            changes.push(SchemaChange::Renamed { was: known.name.clone(), is: name() });
        }
        if has_more_labels(known, column) {
            changes.push(SchemaChange::LabelsAdded { column: name() });
        } else if is_retyped(known, column) {
            let (was, is) = (known.native_type.clone(), column.native_type.clone());
            changes.push(SchemaChange::Retyped { column: name(), was, is });
        }
    }
    let gone = before.columns.iter().filter(|known| !known.generated && now.same_column(known).is_none() && !now.has(&known.name));
    changes.extend(gone.map(|known| SchemaChange::Dropped { column: known.name.clone() }));
    let renamed = |name: &String| {
        let known = before.columns.iter().find(|column| column.name == *name);
        known.and_then(|known| now.same_column(known)).map_or_else(|| name.clone(), |column| column.name.clone())
    };
    if before.identity.iter().map(renamed).ne(now.identity.iter().cloned()) {
        changes.push(SchemaChange::Identity { was: before.identity.join(", "), is: now.identity.join(", ") });
    }
    let moved = before.parts.as_ref().zip(now.parts.as_ref()).and_then(|(before, now)| now.moved_since(before));
    changes.extend(moved.map(|what| SchemaChange::Moved { what }));
    changes
}

/// The differences of two definitions that are both the catalog's, with another order of columns: no row of the log tells it, and a
/// table that was made before the columns moved and read behind that would keep the old one.
pub(crate) fn differences_in_catalog(before: &Definition, now: &Definition) -> Vec<SchemaChange> {
    let mut changes = differences(before, now);
    if is_reordered(before, now) {
        changes.push(SchemaChange::Reordered);
    }
    changes
}

/// True when columns of both definitions do not follow each other alike. Where columns have numbers they do not move.
fn is_reordered(before: &Definition, now: &Definition) -> bool {
    let names = |of: &Definition, other: &Definition| -> Vec<String> {
        let common = of.columns.iter().filter(|column| column.number.is_none() && other.has(&column.name));
        common.map(|column| column.name.clone()).collect()
    };
    names(before, now) != names(now, before)
}

/// True when nothing but labels came to an enumeration of a source that has numbers: the same column of the same type, which is
/// not converted.
fn has_more_labels(known: &DefinedColumn, column: &DefinedColumn) -> bool {
    let is_same = known.number.is_some() && known.number == column.number && known.native_type == column.native_type;
    let (Some(before), Some(now)) = (known.sql_type.as_ref().and_then(SqlType::labels), column.sql_type.as_ref().and_then(SqlType::labels))
    else {
        return false;
    };
    let mut rest = now.iter();
    is_same && before.len() < now.len() && before.iter().all(|label| rest.any(|other| other == label))
}

/// Without numbers, descriptions come from the catalog and from the log, and spell types differently; there the log tells
/// of a conversion in its place. A stored definition is the catalog's, and so is what it is compared with: another type by the same
/// name is one that the stream has not come to yet, and lengths are spelled as the server's version does it.
fn is_retyped(known: &DefinedColumn, column: &DefinedColumn) -> bool {
    let types = known.sql_type.as_ref().zip(column.sql_type.as_ref()).is_some_and(|(known, now)| known != now);
    let natives = if known.number.is_some() && column.number.is_some() {
        known.native_type != column.native_type
    } else {
        known.sql_type.is_none() && base_name(&known.native_type) != base_name(&column.native_type)
    };
    types || natives
}

/// What follows from these changes together: the most careful of what is wanted for each. `None` for no changes.
pub(crate) fn action(changes: &[SchemaChange], policy: &DdlPolicy) -> Option<DdlAction> {
    let added = changes.iter().any(|change| matches!(change, SchemaChange::Added { .. }));
    let dropped = changes.iter().any(|change| matches!(change, SchemaChange::Dropped { .. }));
    let of = |change: &SchemaChange| match change {
        SchemaChange::Added { .. } => policy.add_column,
        SchemaChange::Dropped { .. } => policy.drop_column,
        SchemaChange::Renamed { .. } => policy.rename_column,
        SchemaChange::Retyped { .. } | SchemaChange::LabelsAdded { .. } | SchemaChange::Reordered => policy.retype_column,
        // The rows that were there are others: that cannot be ignored.
        SchemaChange::Replaced { .. } => policy.rename_column.max(DdlAction::Apply),
        SchemaChange::Identity { .. } => policy.retype_column.max(DdlAction::Apply),
        SchemaChange::Recreated => policy.rename_table.max(DdlAction::Apply),
        SchemaChange::Moved { .. } => policy.truncate_table,
    };
    // Without numbers, it may be the same column by another name.
    let rename = (added && dropped).then_some(policy.rename_column);
    changes.iter().map(of).chain(rename).max()
}

/// What follows from an upheaval.
pub(crate) fn upheaval_action(upheaval: Upheaval, policy: &DdlPolicy) -> DdlAction {
    match upheaval {
        Upheaval::Dropped => policy.drop_table,
        Upheaval::Renamed => policy.rename_table,
        Upheaval::Moved => policy.truncate_table,
        Upheaval::ColumnAdded => policy.add_column,
        Upheaval::ColumnDropped => policy.drop_column,
        Upheaval::ColumnRenamed => policy.rename_column,
        Upheaval::ColumnRetyped => policy.retype_column,
    }
}

/// The end of an attempt at an upheaval; `None` when it is to be ignored. What goes by a table's name after the table is
/// gone is another table's, so that ends the attempt in any case.
pub(crate) fn upheaved(table: &TableName, upheaval: Upheaval, policy: &DdlPolicy) -> Option<TaskError> {
    let what = match upheaval {
        Upheaval::Dropped => "was dropped",
        Upheaval::Renamed => "was renamed",
        Upheaval::Moved => "got or lost rows with a partition or a tablespace",
        Upheaval::ColumnAdded => "got a column",
        Upheaval::ColumnDropped => "lost a column",
        Upheaval::ColumnRenamed => "has a column by another name",
        Upheaval::ColumnRetyped => "has a column that was converted",
    };
    let code = match upheaval {
        Upheaval::Dropped => DROPPED,
        Upheaval::Renamed => RENAMED,
        _ => "table_changed",
    };
    let action = upheaval_action(upheaval, policy);
    let is_gone = matches!(upheaval, Upheaval::Dropped | Upheaval::Renamed);
    (is_gone || action != DdlAction::Ignore)
        .then(|| definition_error(table, code, format!("table \"{table}\" {what} at the source"), action))
}

/// Code of the error for a table that was dropped.
pub(crate) const DROPPED: &str = "table_dropped";
/// Code of the error for a table that has another name.
pub(crate) const RENAMED: &str = "table_renamed";

/// The end of an attempt at a table that was emptied.
pub(crate) fn truncated(table: &TableName, action: DdlAction) -> TaskError {
    definition_error(table, "table_truncated", format!("table \"{table}\" was emptied at the source"), action)
}

/// Code of the error for enumerations that have more labels, when nothing else changed: what is in the target stays right.
pub(crate) const LABELS_ADDED: &str = "labels_added";

/// True when nothing but labels of enumerations came.
pub(crate) fn only_labels(changes: &[SchemaChange]) -> bool {
    !changes.is_empty() && changes.iter().all(|change| matches!(change, SchemaChange::LabelsAdded { .. }))
}

/// The first change because of which rows that were read before it are to be read again. Labels that came are in none of them, and a
/// target that takes labels gets them with the first change that has one.
pub(crate) fn outdates(before: &Definition, now: &Definition, target: Engine) -> Option<SchemaChange> {
    let is_met = |change: &SchemaChange| matches!(change, SchemaChange::LabelsAdded { .. }) && target == Engine::Postgres;
    differences_in_catalog(before, now).into_iter().find(|change| !is_met(change))
}

/// The end of an attempt at a definition that changed.
pub(crate) fn changed(table: &TableName, changes: &[SchemaChange], action: DdlAction) -> TaskError {
    let told = changes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let code = if only_labels(changes) { LABELS_ADDED } else { "table_changed" };
    definition_error(table, code, format!("the definition of table \"{table}\" changed at the source: {told}"), action)
}

fn definition_error(table: &TableName, code: &'static str, text: String, action: DdlAction) -> TaskError {
    let hint = "reload the table; to let the target follow such changes by itself, set their kind to \"apply\" in settings.ddl";
    TaskError::Definition(ConnectorError::table(table, code, text).hint(hint), action)
}

/// The plan for a target that lacks what these changes brought, because they are ignored; `None` when a key cannot do
/// without.
pub(crate) fn as_before(planned: &PlannedTable, changes: &[SchemaChange], before: &Arc<Definition>) -> Option<PlannedTable> {
    let brought = |name: &str| {
        changes.iter().any(|change| match change {
            SchemaChange::Added { column } | SchemaChange::Renamed { is: column, .. } => column == name,
            SchemaChange::Dropped { .. }
            | SchemaChange::Replaced { .. }
            | SchemaChange::LabelsAdded { .. }
            | SchemaChange::Retyped { .. }
            | SchemaChange::Identity { .. }
            | SchemaChange::Reordered
            | SchemaChange::Recreated
            | SchemaChange::Moved { .. } => false,
        })
    };
    let source = &planned.source.schema;
    let stays = |origin: &ColumnOrigin| match origin {
        ColumnOrigin::Source(index) => source.columns.get(*index).is_none_or(|column| !brought(&column.name)),
        ColumnOrigin::Computed(_) | ColumnOrigin::Constant(_) => true,
    };
    let target = &planned.target;
    let mut places = Vec::with_capacity(target.columns.len());
    let mut columns = Vec::with_capacity(target.columns.len());
    for column in &target.columns {
        places.push(stays(&column.origin).then_some(columns.len()));
        if stays(&column.origin) {
            columns.push(column.clone());
        }
    }
    let moved = |indexes: &[usize]| indexes.iter().map(|index| places.get(*index).copied().flatten()).collect::<Option<Vec<usize>>>();
    let (primary_key, identity) = (moved(&target.primary_key)?, moved(&target.identity)?);
    let target = TargetTable {
        name: target.name.clone(),
        columns,
        primary_key,
        identity,
        source: target.source.clone(),
        objects: target.objects.clone(),
        unfit: target.unfit,
        computed: target.computed.clone(),
    };
    Some(planned.with_target(Arc::new(target), before.clone()))
}

#[cfg(test)]
#[path = "evolution_tests.rs"]
mod tests;
