//! The run's own counters, from which [`Progress`](crate::Progress) is published.
//!
//! Writers are the stages; each adds at batch or change granularity. One publisher copies the whole at intervals.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidegate_model::{Position, RowChange, TableName, TxMark};
use tokio::sync::Notify;

use crate::cache::Arrived;
use crate::meter::{Meter, Stage};
use crate::{ModuleProgress, Phase, Progress, StageSeconds, TableProgress, TableViews};

/// Counts of row changes by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ChangeCounts {
    pub(crate) inserts: u64,
    pub(crate) updates: u64,
    pub(crate) deletes: u64,
}

impl ChangeCounts {
    /// Counts one change.
    pub(crate) fn add(&mut self, change: &RowChange) {
        match change {
            RowChange::Insert { .. } => self.inserts += 1,
            RowChange::Update { .. } => self.updates += 1,
            RowChange::Delete { .. } => self.deletes += 1,
        }
    }

    /// All kinds together.
    pub(crate) fn total(&self) -> u64 {
        self.inserts + self.updates + self.deletes
    }
}

/// The counters.
#[derive(Debug, Default)]
pub(crate) struct Board {
    state: Mutex<State>,
    stirred: Notify,
    log_moved: Notify,
    /// How long stages had work, but for making groups, which [`InFlight`] measures.
    pub(crate) meter: Meter,
}

#[derive(Debug, Default)]
struct State {
    progress: Progress,
    index: HashMap<TableName, usize>,
}

impl Board {
    /// A copy of everything, for publication.
    pub(crate) fn snapshot(&self) -> Progress {
        self.read(Progress::clone)
    }

    /// Looks at the figures.
    pub(crate) fn read<R>(&self, look: impl FnOnce(&Progress) -> R) -> R {
        look(&self.state.lock().expect("no holder of this lock panics").progress)
    }

    /// Waits until a figure changed since the last wait, or may have. For one waiter; safe to cancel.
    pub(crate) async fn stirred(&self) {
        self.stirred.notified().await;
    }

    /// Says that the source's log has moved.
    pub(crate) fn log_moves(&self) {
        self.log_moved.notify_one();
    }

    /// Waits until the source's log has moved since the last wait. For one waiter; safe to cancel.
    pub(crate) async fn log_moved(&self) {
        self.log_moved.notified().await;
    }

    /// Changes general figures.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Progress)) {
        self.with(|state| change(&mut state.progress));
    }

    /// Changes one table's figures; the table appears with its first change.
    pub(crate) fn table(&self, name: &TableName, change: impl FnOnce(&mut TableProgress)) {
        self.with(|state| {
            let index = match state.index.get(name) {
                Some(index) => *index,
                None => {
                    state.progress.tables.push(name.clone());
                    let index = state.progress.tables.len() - 1;
                    state.index.insert(name.clone(), index);
                    index
                }
            };
            change(state.progress.tables.at(index));
        });
    }

    /// Changes one module's figures; the module appears with its first change.
    pub(crate) fn module(&self, name: &str, change: impl FnOnce(&mut ModuleProgress)) {
        self.with(|state| {
            let modules = &mut state.progress.modules;
            let index = modules.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
                modules.push((name.to_owned(), ModuleProgress::default()));
                modules.len() - 1
            });
            change(&mut modules[index].1);
        });
    }

    /// Counts a rejected row, for its table and for the module at fault.
    pub(crate) fn rejected(&self, table: &TableName, module: Option<&str>) {
        self.table(table, |progress| progress.rejected += 1);
        self.update(|progress| progress.rows_rejected += 1);
        if let Some(module) = module {
            self.module(module, |progress| progress.rejected += 1);
        }
    }

    /// Counts a row of which the target has a part.
    pub(crate) fn cut(&self, table: &TableName) {
        self.table(table, |progress| progress.cut += 1);
        self.update(|progress| progress.rows_cut += 1);
    }

    /// Removes what an earlier attempt said about tables that are no longer in the task.
    pub(crate) fn start_attempt(&self) {
        self.with(|state| {
            state.progress.phase = Phase::Preparing;
            state.progress.tables = TableViews::default();
            state.index.clear();
        });
    }

    /// Adds the changes of committed transactions, and the time that it took to decode what brought them. Nothing stirs
    /// where there is neither.
    pub(crate) fn arrived(&self, arrived: Arrived, decoded: Duration) {
        if arrived == Arrived::default() && decoded.is_zero() {
            return;
        }
        self.update(|progress| {
            progress.time.decode += decoded.as_secs_f64();
            progress.changes_captured += arrived.changes;
            progress.bytes_captured += arrived.bytes;
        });
    }

    /// Notes the newest transaction that was read.
    pub(crate) fn read_up_to(&self, mark: TxMark, committed_at_us: i64) {
        self.update(|progress| progress.last_read = Some((mark, committed_at_us)));
    }

    /// Adds captured changes.
    pub(crate) fn captured(&self, table: &TableName, counts: ChangeCounts) {
        self.table(table, |progress| {
            progress.inserts += counts.inserts;
            progress.updates += counts.updates;
            progress.deletes += counts.deletes;
        });
    }

    /// Adds changes that are durable in the target.
    pub(crate) fn applied(&self, table: &TableName, counts: ChangeCounts) {
        self.table(table, |progress| {
            progress.applied_inserts += counts.inserts;
            progress.applied_updates += counts.updates;
            progress.applied_deletes += counts.deletes;
        });
        self.update(|progress| progress.changes_applied += counts.total());
    }

    /// Counts rows that a loader committed.
    pub(crate) fn chunk_loaded(&self, table: &TableName, rows: u64) {
        self.table(table, |progress| {
            progress.chunks_loaded += 1;
            progress.rows_loaded += rows;
        });
        self.update(|progress| progress.rows_loaded += rows);
    }

    /// A count that moves whenever rows become durable in the target.
    pub(crate) fn rows_brought(&self) -> u64 {
        self.read(|progress| progress.rows_loaded + progress.transactions_applied)
    }

    /// Notes the durable checkpoint.
    pub(crate) fn checkpoint(&self, position: &Position) {
        self.update(|progress| progress.checkpoint = Some(position.clone()));
    }

    fn with<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        let done = work(&mut self.state.lock().expect("no holder of this lock panics"));
        self.stirred.notify_one();
        done
    }
}

/// Microseconds since 1970 on this machine's clock: for lag and for times shown to people, never for decisions about data.
pub(crate) fn now_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX))
}

/// What is between the change cache and the target.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    /// Commit times, oldest first, microseconds since 1970.
    commits_us: Mutex<VecDeque<i64>>,
    changes: AtomicU64,
    bytes: AtomicU64,
    /// How long making groups took.
    pub(crate) meter: Meter,
}

impl InFlight {
    /// A group begins with this commit.
    pub(crate) fn began(&self, oldest_us: i64) {
        self.commits_us.lock().expect("no holder of this lock panics").push_back(oldest_us);
    }

    /// The oldest group is in the target.
    pub(crate) fn ended(&self) {
        self.commits_us.lock().expect("no holder of this lock panics").pop_front();
    }

    /// The oldest commit in flight.
    pub(crate) fn oldest_us(&self) -> Option<i64> {
        self.commits_us.lock().expect("no holder of this lock panics").front().copied()
    }

    /// Changes left the cache for a group.
    pub(crate) fn took(&self, changes: u64, bytes: u64) {
        self.changes.fetch_add(changes, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A group with so much is in the target.
    pub(crate) fn landed(&self, changes: u64, bytes: u64) {
        self.changes.fetch_sub(changes, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Changes and bytes on their way.
    pub(crate) fn size(&self) -> (u64, u64) {
        (self.changes.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

/// Age in seconds of a commit; 0 for none. The clocks of source and host may differ: never negative.
pub(crate) fn age_seconds(commit_us: Option<i64>, now_us: i64) -> f64 {
    commit_us.map_or(0.0, |commit_us| now_us.saturating_sub(commit_us).max(0) as f64 / 1e6)
}

/// Where the time of a run went, from the meters of its parts; `told` has what those who did the work said of it.
pub(crate) fn stage_seconds(board: &Board, in_flight: &InFlight, told: &StageSeconds) -> StageSeconds {
    let (lanes, groups) = (&board.meter, &in_flight.meter);
    let of_changes = groups.seconds(Stage::Transform);
    let (decode, commit) = (told.decode, told.commit);
    StageSeconds {
        lanes: lanes.seconds(Stage::Lane),
        source: (lanes.seconds(Stage::Source) - decode).max(0.0),
        decode,
        store: lanes.seconds(Stage::Store),
        assemble: (groups.seconds(Stage::Assemble) - of_changes).max(0.0),
        transform: lanes.seconds(Stage::Transform) + of_changes,
        conflicts: lanes.seconds(Stage::Conflict),
        write: (lanes.seconds(Stage::Target) - commit).max(0.0),
        commit,
    }
}
