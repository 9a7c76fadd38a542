//! Keys whose texts source and target do not hold equal alike.

use tidegate_connector::{ColumnOrigin, Dialect, Finding, TargetTable, TextEquality, foreign_key_parts, key_equality};
use tidegate_model::Engine;
use tidegate_model::objects::Index;

use super::object;
use crate::target::real::RealTable;

/// Columns of all unique keys. `kept` is the table that stays; without one, it is made with the source's keys.
pub(super) fn check_keys(table: &TargetTable, kept: Option<&RealTable>, findings: &mut Vec<Finding>) {
    let schema = &table.source.schema;
    for (index, wanted) in table.columns.iter().enumerate() {
        let origin = match wanted.origin {
            ColumnOrigin::Source(at) => Some(at),
            ColumnOrigin::Computed(_) | ColumnOrigin::Constant(_) => None,
        };
        let in_key = match kept {
            Some(real) => real.unique_keys.iter().chain(&real.other_keys).any(|key| key.contains(&wanted.name)),
            None => table.primary_key.contains(&index) || schema.unique_keys.iter().any(|key| origin.is_some_and(|at| key.contains(&at))),
        };
        let Some(source) = origin.map_or(Some(TextEquality::Exact), |at| TextEquality::at_source(schema, at)) else { continue };
        if !in_key {
            continue;
        }
        let target = match kept {
            Some(real) => TextEquality::of(Engine::Postgres, real.folded_by(&wanted.name)),
            None => made(table, index, source),
        };
        let object = format!("column \"{}\" of {}", wanted.name, object(&table.name));
        let (name, column) = (Dialect::POSTGRES.table(&table.name), Dialect::POSTGRES.identifier(&wanted.name));
        let fix =
            format!("alter table {name} alter column {column} type text collate \"C\", and unique indexes with another collation likewise");
        findings.extend(key_equality(&object, source, target, &fix));
    }
    findings.extend(kept.and_then(|real| foreign_key_parts(table, Engine::Postgres, &real.expression_keys, &object(&table.name))));
}

/// In a column that is made here: the type `citext` is the same in the target, while a collation comes with the table's other objects, of which an
/// index may have one of its own.
fn made<'a>(table: &TargetTable, index: usize, source: TextEquality<'a>) -> TextEquality<'a> {
    let wanted = &table.columns[index];
    let is_same = match wanted.origin {
        ColumnOrigin::Source(at) => table.source.schema.columns.get(at).is_some_and(|column| column.sql_type == wanted.sql_type),
        ColumnOrigin::Computed(_) | ColumnOrigin::Constant(_) => false,
    };
    let has_collation = || table.objects.wanted.columns.iter().any(|found| found.column == wanted.name && found.collation.is_some());
    let has_index = || {
        let folds = |index: &Index| index.unique && index.native.as_ref().is_some_and(|native| native.contains(" COLLATE "));
        table.objects.wanted.indexes.iter().any(|index| folds(index) && index.columns.contains(&wanted.name))
    };
    match source {
        TextEquality::Folded { name, .. }
            if table.source.schema.engine == Engine::Postgres && is_same && (name == "citext" || has_collation() || has_index()) =>
        {
            source
        }
        TextEquality::Exact | TextEquality::Padded(_) | TextEquality::Folded { .. } => TextEquality::Exact,
    }
}
