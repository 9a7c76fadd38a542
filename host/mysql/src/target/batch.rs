//! Statements that travel together, each with what its answer must be.

use std::sync::Arc;

use tidegate_connector::{ConnectorError, ErrorClass};
use tidegate_model::{Fence, Position};

use super::fault::{self, DIVERGED_HINT};
use super::plan::TablePlan;
use super::session::{fence_sql, move_sql};

/// What the server answered to a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Rows found (update), touched (insert, delete) or returned (select).
    pub(crate) rows: u64,
    pub(crate) warnings: u16,
}

/// What a statement is for, and which count of rows is right.
#[derive(Debug, Clone)]
pub(crate) enum Expected {
    /// No count, no table.
    Anything(&'static str),
    /// The fence's row.
    Fenced(Fence),
    /// The checkpoint's row.
    Moved(Fence),
    /// Rows of a table.
    Rows {
        plan: Arc<TablePlan>,
        verb: &'static str,
        /// `None` for any count.
        wanted: Option<u64>,
        /// Fewer rows than wanted mean that an image was not complete, rather than that the target is another.
        is_loose: bool,
    },
}

impl Expected {
    pub(crate) fn check(&self, answer: &Answer) -> Result<(), ConnectorError> {
        match self {
            Expected::Anything(_) => Ok(()),
            Expected::Fenced(fence) | Expected::Moved(fence) if answer.rows != 1 => {
                Err(ConnectorError::fenced(fence.task.as_str(), fence.generation))
            }
            Expected::Fenced(_) | Expected::Moved(_) => Ok(()),
            Expected::Rows { plan, verb, wanted, is_loose } => {
                // Each warning is a value that was cut, rounded or replaced to fit. A delete writes none.
                if answer.warnings > 0 && *verb != "delete" {
                    return Err(fault::altered(plan, answer.warnings));
                }
                match wanted {
                    Some(wanted) if *wanted != answer.rows && *is_loose => Err(fault::incomplete(plan)),
                    Some(wanted) if *wanted != answer.rows => Err(diverged(plan, verb, answer.rows, *wanted)),
                    _ => Ok(()),
                }
            }
        }
    }

    pub(crate) fn failed(&self, error: mysql_async::Error) -> ConnectorError {
        match self {
            Expected::Anything(what) => crate::fault::driver(what, error),
            Expected::Fenced(_) => crate::fault::driver("hold the fence", error),
            Expected::Moved(_) => crate::fault::driver("move the checkpoint", error),
            Expected::Rows { plan, verb, .. } => {
                fault::of_table(&plan.table.source.schema.name, &format!("{verb} rows of table \"{}\"", plan.table.name), error)
            }
        }
    }

    pub(crate) fn too_large(&self, packet_bytes_max: usize) -> ConnectorError {
        match self {
            Expected::Rows { plan, .. } => ConnectorError::table(
                &plan.table.source.schema.name,
                "packet_too_large",
                format!("table \"{}\" of the target: found a row larger than a packet of {packet_bytes_max} bytes", plan.table.name),
            )
            .hint("set global max_allowed_packet = 1073741824 on the target, then start the task again"),
            Expected::Anything(_) | Expected::Fenced(_) | Expected::Moved(_) => {
                ConnectorError::new(ErrorClass::Bug, "packet_too_large", "found a control statement larger than a packet")
            }
        }
    }
}

/// Another count than expected means that the target is not what the source had.
pub(crate) fn diverged(plan: &TablePlan, verb: &str, found: u64, wanted: u64) -> ConnectorError {
    let message = format!("table \"{}\" of the target: found {found} rows to {verb}, wanted {wanted}", plan.table.name);
    ConnectorError::table(&plan.table.source.schema.name, "target_diverged", message).hint(DIVERGED_HINT)
}

/// Statements in order.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    sql: Vec<u8>,
    expected: Vec<Expected>,
}

impl Batch {
    pub(crate) fn push(&mut self, sql: &[u8], expected: Expected) {
        if !self.sql.is_empty() {
            self.sql.extend_from_slice(b";\n");
        }
        self.sql.extend_from_slice(sql);
        self.expected.push(expected);
    }

    pub(crate) fn begin(&mut self) {
        self.push(b"start transaction", Expected::Anything("begin a transaction"));
    }

    pub(crate) fn hold_fence(&mut self, fence: &Fence) {
        self.push(fence_sql(fence).as_bytes(), Expected::Fenced(fence.clone()));
    }

    pub(crate) fn move_checkpoint(&mut self, fence: &Fence, from: &Position, to: &Position) {
        self.push(move_sql(&fence.task, from, to).as_bytes(), Expected::Moved(fence.clone()));
    }

    pub(crate) fn bytes(&self) -> usize {
        self.sql.len()
    }

    pub(crate) fn statements(&self) -> usize {
        self.expected.len()
    }

    pub(crate) fn take(&mut self) -> (Vec<u8>, Vec<Expected>) {
        (std::mem::take(&mut self.sql), std::mem::take(&mut self.expected))
    }
}
