//! Errors of writing.

use mysql_async::Error;
use tidegate_connector::{ConnectorError, RowFault, TargetTable};
use tidegate_model::TableName;

use super::plan::TablePlan;
use crate::fault::driver;

/// What to do about a target that is not what the source had.
pub(crate) const DIVERGED_HINT: &str = "somebody else writes to the target's table; stop that, then reload the table";

/// An error of work on one table: what the server refuses about rows or definitions concerns that table alone. The
/// server's text is left out, because it holds values. Numbers: MySQL's "Server Error Message Reference".
///
/// `table` is the name at the source, by which the pipeline knows the table.
pub(crate) fn of_table(table: &TableName, attempted: &str, error: Error) -> ConnectorError {
    let Error::Server(told) = &error else { return driver(attempted, error) };
    let code = match told.code {
        1062 | 1586 => "target_diverged",
        1264 | 1366 | 1367 | 1292 | 1411 | 1416 | 3140..=3147 | 3150..=3157 | 4025 | 4078 => "value_refused",
        1406 | 1265 => "value_too_long",
        1048 | 1364 => "null_refused",
        3819 => "check_violated",
        1451 | 1452 | 1217 | 1216 => "foreign_key_violated",
        1644 => "trigger_refused",
        1050
        | 1051
        | 1054
        | 1059..=1061
        | 1063
        | 1067..=1069
        | 1071
        | 1074
        | 1075
        | 1089
        | 1101
        | 1103
        | 1105
        | 1113
        | 1115
        | 1117
        | 1118
        | 1136
        | 1146
        | 1163
        | 1170..=1173
        | 1253
        | 1273
        | 1280
        | 1291
        | 1439
        | 1470
        | 3750 => "table_definition",
        1142 | 1143 | 1044 | 1227 | 1370 => "missing_privilege",
        1153 => "packet_too_large",
        _ => {
            let error = driver(attempted, error);
            return if error.is_contention() { error.at_table(table) } else { error };
        }
    };
    let message = format!("{attempted}: the server answered error {} ({})", told.code, told.state);
    let error = ConnectorError::table(table, code, message);
    let error = match code {
        "value_refused" => error.of_a_row(RowFault::Value),
        "value_too_long" => error.of_a_row(RowFault::Truncation),
        "null_refused" | "check_violated" => error.of_a_row(RowFault::Constraint),
        // Keys have to do with other rows, and the rest with no row at all.
        _ => error,
    };
    match code {
        "target_diverged" => error.hint(DIVERGED_HINT),
        "packet_too_large" => error.hint("set global max_allowed_packet = 1073741824 on the target, then start the task again"),
        "missing_privilege" => error.hint("run the check of the task: it prints the grants that are missing"),
        "value_refused" | "value_too_long" => {
            error.hint("widen the target's column, or take the column out of the task, and reload the table")
        }
        _ => error,
    }
}

/// The server changed values to make them fit.
pub(crate) fn altered(plan: &TablePlan, count: u16) -> ConnectorError {
    let message = format!("table \"{}\" of the target: the server would change {count} values to make them fit", plan.table.name);
    ConnectorError::table(&plan.table.source.schema.name, "value_altered", message)
        .of_a_row(RowFault::Truncation)
        .hint("widen the target's columns, or let the table be created anew")
}

/// The server left rows out for a check of the table.
pub(crate) fn violated(plan: &TablePlan, count: u64) -> ConnectorError {
    let message = format!("table \"{}\" of the target: {count} rows violate a check of the table", plan.table.name);
    ConnectorError::table(&plan.table.source.schema.name, "check_violated", message).of_a_row(RowFault::Constraint)
}

/// An image that lacks values where a whole row is needed.
pub(crate) fn incomplete(plan: &TablePlan) -> ConnectorError {
    let message = format!("table \"{}\": found a row without all of its values, wanted a complete row", plan.table.name);
    ConnectorError::table(&plan.table.source.schema.name, "incomplete_image", message).hint("reload the table")
}

pub(crate) fn misfit(table: &TargetTable, code: &'static str, found: String) -> ConnectorError {
    ConnectorError::table(&table.source.schema.name, code, format!("table \"{}\" of the target: {found}", table.name))
}
