//! One run of a task, from the checks to its end.

use std::path::PathBuf;
use std::sync::Arc;

use tidegate_connector::{ConnectorError, Finding, Source, TablePreparation, Target};
use tidegate_model::{Position, TableName, TaskId};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{MigrationType, PipelineLimits, Progress};

/// Everything that defines a run, besides its connectors.
#[derive(Clone)]
pub struct TaskSpec {
    /// The task.
    pub id: TaskId,
    /// What it does.
    pub migration: MigrationType,
    /// What to do with existing target tables before the load.
    pub preparation: TablePreparation,
    /// The table-mapping JSON, as the tenant gave it.
    pub table_mappings: String,
    /// Where a CDC task starts; `None`: now. A stored checkpoint wins.
    pub start_position: Option<Position>,
    /// Bounds.
    pub limits: PipelineLimits,
    /// A directory of this run's own for segment files; emptied at the start.
    pub spool_dir: PathBuf,
    /// The built-in rules module and the tenant's modules, compiled.
    pub modules: Arc<crate::task::Modules>,
}

/// Compiled modules: replaced by the sandbox's types when they land.
#[derive(Default)]
pub struct Modules;

/// What a running task can be asked.
#[derive(Debug)]
pub enum Control {
    /// Load these tables (names at the source) again.
    Reload(Vec<TableName>),
}

/// Why a run ended without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopCause {
    /// Cancelled by its token.
    Cancelled,
    /// A full-load task has copied everything.
    FullLoadFinished,
}

/// The end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Why it ended.
    pub cause: StopCause,
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// The checks found errors; nothing was written.
    #[error("{} of the checks failed", .0.len())]
    ChecksFailed(Vec<Finding>),
    /// A connector failed for good.
    #[error(transparent)]
    Connector(#[from] ConnectorError),
}

/// Everything that would stop the task or falsify its target. Writes nothing, anywhere.
///
/// # Errors
/// When a check itself could not be done, for example because an endpoint cannot be reached.
pub async fn check(_spec: &TaskSpec, _source: &dyn Source, _target: &dyn Target) -> Result<Vec<Finding>, TaskError> {
    Ok(Vec::new())
}

/// Runs the task until it ends, fails or is cancelled. Transient errors are retried inside, with growing pauses.
///
/// # Errors
/// [`TaskError`] when it cannot go on. Whatever was committed in the target stays a state that the source had.
pub async fn run(
    _spec: TaskSpec,
    _source: Arc<dyn Source>,
    _target: Arc<dyn Target>,
    _progress: watch::Sender<Progress>,
    _control: mpsc::Receiver<Control>,
    _cancel: CancellationToken,
) -> Result<Outcome, TaskError> {
    Ok(Outcome { cause: StopCause::Cancelled })
}
