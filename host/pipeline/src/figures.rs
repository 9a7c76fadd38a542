//! What of a run's progress DMS's control tables tell, taken without its lists of tables and modules.

use tidegate_model::{Position, TxMark};

use crate::{Phase, Progress};

/// Counts are since the run began.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Figures {
    pub(crate) phase: Phase,
    pub(crate) rows_loaded: u64,
    pub(crate) bytes_loaded: u64,
    pub(crate) changes_applied: u64,
    pub(crate) bytes_applied: u64,
    pub(crate) lag_seconds: f64,
    pub(crate) changes_waiting: u64,
    pub(crate) bytes_disk: u64,
    pub(crate) bytes_memory: u64,
    pub(crate) checkpoint: Option<Position>,
    /// The last transaction read, with its commit time.
    pub(crate) read: Option<(TxMark, i64)>,
    /// The commit time of the last transaction applied.
    pub(crate) applied_us: Option<i64>,
}

impl Figures {
    /// Of a view of the run.
    pub(crate) fn of(progress: &Progress) -> Self {
        Self {
            phase: progress.phase,
            rows_loaded: progress.rows_loaded,
            bytes_loaded: progress.bytes_loaded,
            changes_applied: progress.changes_applied,
            bytes_applied: progress.bytes_written.saturating_sub(progress.bytes_loaded),
            lag_seconds: progress.lag_seconds,
            changes_waiting: progress.changes_waiting,
            bytes_disk: progress.cache_bytes_disk,
            bytes_memory: progress.cache_bytes_memory + progress.bytes_in_flight,
            checkpoint: progress.checkpoint.clone(),
            read: progress.last_read.clone(),
            applied_us: progress.last_applied_us,
        }
    }
}
