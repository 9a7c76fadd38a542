//! What a run is made of and how it ends.

use std::path::PathBuf;

use tidegate_connector::{ConnectorError, ErrorClass, Finding, Severity, TablePreparation};
use tidegate_model::{Position, StartPoint, StopPoint, TableName, TaskId};
use tidegate_sandbox::SandboxError;
use tokio::sync::oneshot;

use crate::{
    ControlTableSettings, DdlAction, DdlPolicy, MigrationType, ModuleSet, PipelineLimits, ReplayReport, RowErrorPolicy, RunSettings,
    SchemaScope, Swap, TableErrorPolicy, Units, ValueSettings,
};

/// Everything that defines a run, besides its connectors.
#[derive(Clone)]
pub struct TaskSpec {
    /// The task.
    pub id: TaskId,
    /// What it does.
    pub migration: MigrationType,
    /// What to do with existing target tables before the load.
    pub preparation: TablePreparation,
    /// Where a CDC task starts; `None`: now. A stored checkpoint wins.
    pub start_position: Option<StartPoint>,
    /// Where it stops; `None`: never by itself.
    pub stop_position: Option<StopPoint>,
    /// How much of the tables' definitions the target gets.
    pub schema: SchemaScope,
    /// Bounds.
    pub limits: PipelineLimits,
    /// What follows when a table cannot go on.
    pub on_table_error: TableErrorPolicy,
    /// What follows when a table's definition changes at the source.
    pub ddl: DdlPolicy,
    /// A directory of this run's own for segment files; emptied at the start.
    pub spool_dir: PathBuf,
    /// The table-mapping rules with the modules that interpret them.
    pub modules: ModuleSet,
    /// What happens with rows at fault.
    pub row_errors: RowErrorPolicy,
    /// DMS's control tables in the target; `None` for none.
    pub control_tables: Option<ControlTableSettings>,
    /// How its runs begin, wait, retry and end.
    pub run: RunSettings,
    /// What happens with values that are large, or that the target has no place for.
    pub values: ValueSettings,
    /// How many lanes may work, as that changes.
    pub units: Units,
}

/// What a running task can be asked.
#[derive(Debug)]
pub enum Control {
    /// Load tables again.
    Reload {
        /// Their names at the source.
        tables: Vec<TableName>,
        /// Told when the target has taken note: from then on the tables are loaded whatever happens to this process.
        /// Dropped without a word when the run ends before.
        noted: oneshot::Sender<()>,
    },
    /// Go on with another version of a module.
    Swap(Box<Swap>),
    /// Replay rejected rows.
    Replay {
        /// Names of their tables at the source; empty for every table.
        tables: Vec<TableName>,
        /// Told what came of it. Dropped without a word when the run ends before.
        done: oneshot::Sender<Result<ReplayReport, TaskError>>,
    },
    /// Come to the source's present end of the log, build what waited for that, and move the counters.
    CutOver {
        /// Told when it is done. Dropped without a word when the run ends before.
        done: oneshot::Sender<Result<CutOver, ConnectorError>>,
    },
}

/// The target is ready to take the source's place, if nobody wrote to the source since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutOver {
    /// The end of the source's log when it was asked for; all before it is in the target.
    pub position: Position,
    /// Counters (sequences, identities, auto-increments) that were moved on.
    pub counters_moved: u64,
}

/// Why a run ended without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopCause {
    /// Cancelled by its token.
    Cancelled,
    /// A full-load task has copied everything.
    FullLoadFinished,
    /// A task that captures has copied everything, and was to stop there. Changes that came meanwhile are not applied.
    LoadedBeforeChanges,
    /// The same, with the changes that came meanwhile.
    LoadedWithChanges,
    /// The task came to its stop position: a position, or a place in the binary log.
    AtPosition,
    /// The source's clock came to it.
    AtServerTime,
    /// The commit times of the log came to it.
    AtCommitTime,
}

/// The end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Why it ended.
    pub cause: StopCause,
}

/// The code of a run that failed because a module used up its time, memory, stack or output.
pub const MODULE_EXHAUSTED: &str = "module_exhausted";

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// The checks found errors; nothing was written.
    #[error("{}", summary(.0))]
    ChecksFailed(Vec<Finding>),
    /// A connector failed.
    #[error(transparent)]
    Connector(#[from] ConnectorError),
    /// The rules or a module failed. Never shows a row.
    #[error("module \"{module}\"{}", table.as_ref().map(|table| format!(" on table \"{table}\"")).unwrap_or_default())]
    Module {
        /// The module's name; `rules` for the built-in one.
        module: String,
        /// The table, where one is concerned.
        table: Option<TableName>,
        /// What happened.
        #[source]
        source: Box<SandboxError>,
    },
    /// The rules, or what the modules planned, do not make sense together with this source.
    #[error("{message}")]
    Plan {
        /// Stable code.
        code: &'static str,
        /// Object, found, wanted.
        message: String,
        /// What the user can do about it.
        hint: Option<String>,
    },
    /// A row cannot be replicated, by a module's own word or by the shape of its change.
    #[error("{message}")]
    Row {
        /// Stable code.
        code: &'static str,
        /// Table, column and reason; never the row.
        message: String,
        /// What the user can do about it.
        hint: Option<String>,
    },
    /// The policy for rows takes a table out of the task. Never leaves [`run`](crate::run).
    #[error("table \"{table}\" is taken out of the task")]
    SuspendTable {
        /// The table, by its name at the source.
        table: TableName,
        /// What happened.
        #[source]
        cause: Box<TaskError>,
    },
    /// A table's definition changed at the source, and what the task's policy says to it. Leaves [`run`](crate::run)
    /// only where the policy is to stop.
    #[error("{0}")]
    Definition(ConnectorError, DdlAction),
    /// A stage of the run panicked.
    #[error("a stage of the run panicked: {0}")]
    Panicked(String),
    /// The run was cancelled in the middle of a transaction, which was rolled back. Never leaves [`run`](crate::run).
    #[error("the run was cancelled")]
    Cancelled,
}

impl TaskError {
    /// What to do about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            TaskError::Connector(error) => error.class(),
            TaskError::Definition(..) => ErrorClass::TaskDefinite,
            TaskError::Panicked(_) => ErrorClass::Bug,
            TaskError::ChecksFailed(_)
            | TaskError::Module { .. }
            | TaskError::Plan { .. }
            | TaskError::Row { .. }
            | TaskError::SuspendTable { .. }
            | TaskError::Cancelled => ErrorClass::TaskDefinite,
        }
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            TaskError::ChecksFailed(_) => "checks_failed",
            TaskError::Connector(error) | TaskError::Definition(error, _) => error.code(),
            TaskError::Module { source, .. } if source.exhausts() => MODULE_EXHAUSTED,
            TaskError::Module { .. } => "module_failed",
            TaskError::Plan { code, .. } | TaskError::Row { code, .. } => code,
            TaskError::SuspendTable { cause, .. } => cause.code(),
            TaskError::Panicked(_) => "bug",
            TaskError::Cancelled => "cancelled",
        }
    }

    /// True when a table was gone by the time it was looked at: it was dropped or renamed just then, and the next attempt
    /// asks for tables anew.
    pub(crate) fn is_miss(&self) -> bool {
        let TaskError::ChecksFailed(findings) = self else { return self.code() == "table_missing" };
        let mut errors = findings.iter().filter(|finding| finding.severity == Severity::Error).peekable();
        errors.peek().is_some() && errors.all(|finding| finding.code == "object_missing")
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<&str> {
        match self {
            TaskError::Connector(error) | TaskError::Definition(error, _) => error.hint_text(),
            TaskError::Plan { hint, .. } | TaskError::Row { hint, .. } => hint.as_deref(),
            TaskError::ChecksFailed(findings) => findings.iter().find_map(|finding| finding.fix.as_deref()),
            TaskError::Module { source, .. } if matches!(**source, SandboxError::BeyondShare { .. } | SandboxError::NoneAllowed) => {
                Some("ask the operator for more of what the message names, or make the module use less; then resume the task")
            }
            TaskError::Module { source, .. } if source.exhausts() => {
                Some("make the module use less, or raise its limits (PUT /v1/modules/NAME/limits)")
            }
            TaskError::Module { .. } => Some("correct what is named in the table mappings or the module, then check the task again"),
            TaskError::SuspendTable { cause, .. } => cause.hint(),
            TaskError::Panicked(_) | TaskError::Cancelled => None,
        }
    }

    /// The message and its causes as one sentence.
    pub fn chain(&self) -> String {
        match self {
            TaskError::Connector(error) | TaskError::Definition(error, _) => error.chain(),
            other => {
                let mut text = other.to_string();
                let mut cause = std::error::Error::source(other);
                while let Some(error) = cause {
                    text.push_str(": ");
                    text.push_str(&error.to_string());
                    cause = error.source();
                }
                text
            }
        }
    }
}

fn summary(findings: &[Finding]) -> String {
    let errors: Vec<String> =
        findings.iter().filter(|finding| finding.severity == tidegate_connector::Severity::Error).map(ToString::to_string).collect();
    format!("the checks found {}: {}", count(errors.len(), "problem"), errors.join("; "))
}

fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_went_away_before_the_checks_is_no_failed_check() {
        let gone = || Finding::error("object_missing", "table \"a.b\"", "nothing", "a table that the user may see");
        let other = Finding::error("wal_level", "setting", "replica", "logical");
        assert!(TaskError::ChecksFailed(vec![gone(), gone()]).is_miss());
        assert!(!TaskError::ChecksFailed(vec![gone(), other]).is_miss());
        assert!(!TaskError::ChecksFailed(Vec::new()).is_miss());
    }
}
