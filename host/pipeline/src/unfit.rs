//! Columns in which the NULL that a task wants for values without a place cannot be written.

use tidegate_connector::{ColumnOrigin, Finding, TargetTable, Unfit};
use tidegate_model::{Engine, SqlType};

/// Columns of a table that are NOT NULL and may meet values for which the task wants NULL: each such value is a row at
/// fault. A warning, because most such columns never meet one.
pub(crate) fn unfit_finding(table: &TargetTable, target: Engine) -> Option<Finding> {
    let source = table.source.schema.engine;
    let meets = |sql_type: &SqlType| {
        let into_mysql = source == Engine::Postgres && target != Engine::Postgres;
        let found = match sql_type {
            SqlType::Date | SqlType::Timestamp | SqlType::TimestampTz if into_mysql => Unfit::Moment,
            SqlType::Date | SqlType::Timestamp | SqlType::TimestampTz if source != Engine::Postgres && target == Engine::Postgres => {
                Unfit::ZeroDate
            }
            SqlType::Decimal { .. } | SqlType::Float32 | SqlType::Float64 if into_mysql => Unfit::NotFinite,
            _ => return false,
        };
        table.unfit.is_null(found)
    };
    let columns: Vec<String> = table
        .columns
        .iter()
        .filter(|column| !column.nullable && matches!(column.origin, ColumnOrigin::Source(_)) && meets(&column.sql_type))
        .map(|column| format!("\"{}\"", column.name))
        .collect();
    if columns.is_empty() {
        return None;
    }
    Some(Finding::warning(
        "unfit_not_null",
        format!("table \"{}\"", table.source.schema.name),
        format!("NOT NULL columns {}", columns.join(", ")),
        "columns that may be NULL, for values without a place in the target; one that meets such a column is a row at fault",
    ))
}
