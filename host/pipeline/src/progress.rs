//! What a run tells about itself while it runs. Readers may be late, never wrong.

use std::sync::Arc;

use tidegate_connector::Finding;
use tidegate_model::{Position, TableName, TxMark};

use crate::ModuleProgress;
pub use crate::meter::StageSeconds;

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// Checking endpoints, reading descriptions, planning tables.
    #[default]
    Preparing,
    /// Copying existing rows; changes wait in the cache.
    Loading,
    /// Applying the changes that arrived meanwhile.
    CatchingUp,
    /// Following the log.
    Replicating,
}

/// What a table is doing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum TableStage {
    /// Not started.
    #[default]
    BeforeLoad,
    /// Copying.
    Loading,
    /// Copied (or never loaded), changes are applied.
    Completed,
    /// Out of the task.
    Failed(String),
    /// It came later, and the policy for new tables leaves it out.
    LeftOut,
}

/// Counters of one table. All since the task began to run in this process, but for what the load's marks remember.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TableProgress {
    /// The stage.
    pub stage: TableStage,
    /// Name in the target.
    pub target: Option<TableName>,
    /// Rows by the source's estimate.
    pub rows_estimate: u64,
    /// Rows loaded so far.
    pub rows_loaded: u64,
    /// Chunks planned.
    pub chunks_total: u32,
    /// Chunks loaded.
    pub chunks_loaded: u32,
    /// Changes captured, by kind.
    pub inserts: u64,
    /// See `inserts`.
    pub updates: u64,
    /// See `inserts`.
    pub deletes: u64,
    /// Changes that reached the target, by kind.
    pub applied_inserts: u64,
    /// See `applied_inserts`.
    pub applied_updates: u64,
    /// See `applied_inserts`.
    pub applied_deletes: u64,
    /// Rows that went to the error table, or were ignored, since the task began to run in this process.
    pub rejected: u64,
    /// Rows that were written with values cut to the task's limit, likewise.
    pub cut: u64,
    /// When its load started and ended, microseconds since 1970.
    pub load_started_us: Option<i64>,
    /// See `load_started_us`.
    pub load_ended_us: Option<i64>,
}

/// Tables with their counters, in the order in which they appeared. A clone shares with its original what has not changed since: a run of
/// a hundred thousand tables is looked at several times a second, and few of them move.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TableViews(Arc<Vec<Arc<(TableName, TableProgress)>>>);

impl TableViews {
    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True for none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = (&TableName, &TableProgress)> {
        self.0.iter().map(|table| (&table.0, &table.1))
    }

    /// Those that are new or say something else than before. Tables keep their places within a run; where it begins anew inside the
    /// pipeline, all of them may be told once more.
    pub fn changed_since(&self, before: &TableViews) -> impl Iterator<Item = (&TableName, &TableProgress)> {
        let changed = self.0.iter().enumerate().filter(|(place, table)| before.0.get(*place) != Some(*table));
        changed.map(|(_, table)| (&table.0, &table.1))
    }

    /// Adds a table at the end.
    pub(crate) fn push(&mut self, name: TableName) {
        Arc::make_mut(&mut self.0).push(Arc::new((name, TableProgress::default())));
    }

    /// The counters of the table at a place.
    pub(crate) fn at(&mut self, place: usize) -> &mut TableProgress {
        &mut Arc::make_mut(&mut Arc::make_mut(&mut self.0)[place]).1
    }
}

impl FromIterator<(TableName, TableProgress)> for TableViews {
    fn from_iter<I: IntoIterator<Item = (TableName, TableProgress)>>(tables: I) -> Self {
        Self(Arc::new(tables.into_iter().map(Arc::new).collect()))
    }
}

/// A snapshot of a run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Progress {
    /// The phase.
    pub phase: Phase,
    /// Tables by their names at the source.
    pub tables: TableViews,
    /// Modules by their names; `rules` is the built-in one.
    pub modules: Vec<(String, ModuleProgress)>,
    /// Rows that went to the error table, or were ignored.
    pub rows_rejected: u64,
    /// Rows that were written with values cut to the task's limit.
    pub rows_cut: u64,
    /// The checkpoint in the target.
    pub checkpoint: Option<Position>,
    /// Rows loaded and changes applied since the start of this run.
    pub rows_loaded: u64,
    /// See `rows_loaded`.
    pub changes_applied: u64,
    /// Bytes of row data written to the target.
    pub bytes_written: u64,
    /// Those of `bytes_written` that full loads wrote.
    pub bytes_loaded: u64,
    /// The last transaction that was read from the source's log, with its commit time in microseconds since 1970.
    pub last_read: Option<(TxMark, i64)>,
    /// The commit time of the last transaction that is in the target, likewise.
    pub last_applied_us: Option<i64>,
    /// Age of the oldest change that is captured and not applied, in seconds; 0 when level.
    pub lag_seconds: f64,
    /// Changes that wait, in memory and on disk.
    pub cache_bytes_memory: u64,
    /// See `cache_bytes_memory`.
    pub cache_bytes_disk: u64,
    /// Transactions applied since the start of this run.
    pub transactions_applied: u64,
    /// The last transient error, while the run tries again or after it recovered.
    pub last_error: Option<String>,
    /// What people should know of how the run goes; grows.
    pub notices: Vec<String>,
    /// Objects of the source's tables that could not be carried, found by this run; grows.
    pub not_carried: Vec<Finding>,
    /// Times that a connection was lost and the work taken up again.
    pub reconnects: u64,
    /// Changes of committed transactions captured since the start of this run; after a lost connection some come again.
    pub changes_captured: u64,
    /// Bytes that the captured changes take in memory.
    pub bytes_captured: u64,
    /// Changes that are captured and not applied: in the cache, and in groups on their way.
    pub changes_waiting: u64,
    /// Bytes of changes in groups on their way to the target.
    pub bytes_in_flight: u64,
    /// Bytes of log that the source keeps for the task, at the last look; 0 before, and where it keeps none for tasks.
    pub log_held_bytes: u64,
    /// Where the time went.
    pub time: StageSeconds,
}

impl Progress {
    /// True when the run follows its source, nothing waits, and nothing but time has passed since `before`.
    pub fn is_still_as(&self, before: &Progress) -> bool {
        let counts = |view: &Progress| {
            [
                view.rows_loaded,
                view.changes_captured,
                view.changes_applied,
                view.transactions_applied,
                view.bytes_written,
                view.rows_rejected,
                view.rows_cut,
                view.reconnects,
                view.not_carried.len() as u64,
                view.notices.len() as u64,
                view.log_held_bytes,
            ]
        };
        (self.phase, before.phase) == (Phase::Replicating, Phase::Replicating)
            && self.changes_waiting + self.bytes_in_flight + self.cache_bytes_memory + self.cache_bytes_disk == 0
            && counts(self) == counts(before)
            && self.checkpoint == before.checkpoint
            && self.tables == before.tables
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_time_may_pass_in_a_rest() {
        let before = Progress { phase: Phase::Replicating, changes_captured: 5, changes_applied: 5, ..Progress::default() };
        let mut later = before.clone();
        later.time.source += 9.0;
        assert!(later.is_still_as(&before));
        for moved in [
            Progress { changes_captured: 6, ..later.clone() },
            Progress { changes_waiting: 1, ..later.clone() },
            Progress { phase: Phase::Loading, ..later.clone() },
            Progress { reconnects: 1, ..later.clone() },
            Progress { tables: [(TableName::new("s", "t"), TableProgress::default())].into_iter().collect(), ..later.clone() },
        ] {
            assert!(!moved.is_still_as(&before), "{moved:?}");
        }
        let waits = Progress { changes_waiting: 1, ..before };
        assert!(!waits.is_still_as(&waits), "what waits will move");
    }

    #[test]
    fn a_view_of_tables_stays_as_it_was_and_tells_those_that_moved_since() {
        let mut tables: TableViews = ["a", "b"].map(|name| (TableName::new("s", name), TableProgress::default())).into_iter().collect();
        let before = tables.clone();
        assert_eq!(tables, before);
        tables.at(1).rows_loaded = 2;
        tables.push(TableName::new("s", "c"));
        let changed: Vec<(&str, u64)> =
            tables.changed_since(&before).map(|(name, table)| (name.name.as_str(), table.rows_loaded)).collect();
        assert_eq!(changed, [("b", 2), ("c", 0)]);
        assert_eq!((before.len(), before.iter().map(|(_, table)| table.rows_loaded).sum::<u64>()), (2, 0));
    }
}
