//! Keeps DMS's control tables in the target, for a task that asks for them.
//!
//! ```text
//!   attempt ─▶ create what is missing, list the suspended tables ─┐
//!   progress (watch) ─▶ keeper ─▶ status and history ─────────────┴─▶ a session of its own, never that of a lane
//!   rejected row ─▶ exception ─▶ in the transaction of the rows around it (`exceptions.rs`)
//! ```
//!
//! Status and history tell of the work and are no part of it: a write that fails is tried again later, and holds nothing up.
//! A run that sleeps writes its last word and closes its connection.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tidegate_connector::{ConnectorError, ControlRow, ControlTable, ControlTables, ControlValue, ControlWrite, ErrorClass, Target};
use tidegate_model::{Engine, Position, TaskId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::attempt::Attempt;
use crate::board::now_us;
use crate::exceptions::Exceptions;
use crate::figures::Figures;
use crate::history::{History, Slot, SlotKind};
use crate::run::{Held, Watched};
use crate::standing::Standing;
use crate::units::Units;
use crate::{Phase, Progress};

/// How often the keeper looks at the run.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often the status is written when it says the same, and when the run sleeps: as often as an idle run moves its checkpoint.
const WRITE_EVERY: Duration = Duration::from_secs(10);
const WRITE_EVERY_ASLEEP: Duration = Duration::from_secs(300);

/// How long the end of a run waits for its last word: a target that is gone must not hold up a stop.
const LAST_WORD_TIMEOUT: Duration = Duration::from_secs(5);

/// Rows of the history that wait for a target that does not take them; then the oldest goes.
const WAITING_MAX: usize = 64;

const MIB: u64 = 1 << 20;

/// Which of DMS's control tables a task asks for. The table of exceptions is always among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlTableSettings {
    /// Their schema (MySQL, MariaDB: database); `None`: where DMS has them in a database of the target's kind. DMS: `ControlSchema`.
    pub schema: Option<String>,
    /// The task's name in them.
    pub task_name: String,
    /// The name of the machine that the task runs on.
    pub server_name: String,
    /// DMS: `StatusTableEnabled`.
    pub status: bool,
    /// DMS: `SuspendedTablesTableEnabled`.
    pub suspended_tables: bool,
    /// DMS: `HistoryTableEnabled`.
    pub history: bool,
    /// Rows at fault of loads have a table of their own, and are not in that of exceptions. DMS: `FullLoadExceptionTableEnabled`.
    pub full_load_exceptions: bool,
    /// The checkpoint, in the transactions that move it. DMS: `TaskRecoveryTableEnabled`.
    pub recovery: bool,
    /// How long a slot of the history is. DMS: `HistoryTimeslotInMinutes`.
    pub history_minutes: u32,
}

impl ControlTableSettings {
    /// The tables, in a database of this kind.
    pub(crate) fn tables(&self, engine: Engine) -> ControlTables {
        let wanted = [
            (ControlTable::ApplyExceptions, true),
            (ControlTable::FullLoadExceptions, self.full_load_exceptions),
            (ControlTable::Status, self.status),
            (ControlTable::SuspendedTables, self.suspended_tables),
            (ControlTable::History, self.history),
            (ControlTable::TxnState, self.recovery),
        ];
        let schema = self.schema.as_deref().unwrap_or_else(|| ControlTables::default_schema(engine));
        ControlTables { schema: schema.into(), tables: wanted.into_iter().filter(|(_, is_on)| *is_on).map(|(table, _)| table).collect() }
    }

    /// What tells the checkpoint in a database of this kind; `None` where nobody wants to know.
    pub(crate) fn recovery(&self, engine: Engine) -> Option<Recovery> {
        self.recovery.then(|| Recovery {
            schema: self.tables(engine).schema,
            server_name: self.server_name.clone(),
            task_name: self.task_name.clone(),
        })
    }

    /// Where exceptions are told.
    pub(crate) fn exceptions(&self, engine: Engine) -> Exceptions {
        let of_loads = if self.full_load_exceptions { ControlTable::FullLoadExceptions } else { ControlTable::ApplyExceptions };
        Exceptions { schema: self.tables(engine).schema, task_name: self.task_name.clone(), of_loads, engine }
    }
}

/// Tells the checkpoint in `awsdms_txn_state`, in the transaction that moves it.
#[derive(Debug, Clone)]
pub(crate) struct Recovery {
    schema: Arc<str>,
    server_name: String,
    task_name: String,
}

impl Recovery {
    pub(crate) fn write(&self, checkpoint: &Position) -> ControlWrite {
        let text = |text: &str| ControlValue::Text(text.to_owned());
        let values = vec![text(&self.server_name), text(&self.task_name), ControlValue::Now, text(&checkpoint.to_string())];
        ControlWrite::Replace(ControlRow { schema: self.schema.clone(), table: ControlTable::TxnState, values })
    }
}

impl Attempt<'_> {
    /// Makes the control tables that the task asks for, and brings the list of suspended tables level: every suspension
    /// and every return of a table begins an attempt.
    pub(crate) async fn keep_control_tables(&self, standing: &Standing) -> Result<(), ConnectorError> {
        let Some(settings) = &self.spec.control_tables else { return Ok(()) };
        let tables = settings.tables(self.target.engine());
        self.target.create_control_tables(&standing.fence, &tables).await?;
        self.watched.has_control_tables.store(true, Ordering::Relaxed);
        if !settings.suspended_tables {
            return Ok(());
        }
        let still = ControlWrite::StillSuspended {
            schema: tables.schema.clone(),
            task: settings.task_name.clone(),
            tables: standing.suspended.iter().map(|(table, _)| table.clone()).collect(),
        };
        let text = |text: &str| ControlValue::Text(text.to_owned());
        let rows = standing.suspended.iter().map(|(table, reason)| {
            // The column has room for the code; the sentence is in `tidegate.table_state` and in the API.
            let code = reason.split_once(": ").map_or(reason.as_str(), |(code, _)| code);
            let (server, task) = (text(&settings.server_name), text(&settings.task_name));
            let values = vec![server, task, text(&table.schema), text(&table.name), text(code), ControlValue::Now];
            ControlWrite::Add(ControlRow { schema: tables.schema.clone(), table: ControlTable::SuspendedTables, values })
        });
        let writes: Vec<ControlWrite> = std::iter::once(still).chain(rows).collect();
        self.target.write_control_tables(&standing.fence, &writes).await
    }
}

/// Writes status and history while a run goes on.
pub(crate) struct Keeper {
    task: TaskId,
    settings: ControlTableSettings,
    tables: ControlTables,
    target: Arc<dyn Target>,
    watched: Arc<Watched>,
    units: Units,
    history: Option<History>,
    /// Rows of the history that are not in the target yet.
    waiting: Vec<ControlWrite>,
    /// What the status said last, when, and of what.
    said: Option<(&'static str, Instant, Figures)>,
    /// The code of the last failure, so that each is told once.
    failed: Option<&'static str>,
}

impl Keeper {
    pub(crate) fn new(task: TaskId, settings: ControlTableSettings, target: Arc<dyn Target>, watched: Arc<Watched>, units: Units) -> Self {
        let tables = settings.tables(target.engine());
        let history = settings.history.then(|| History::new(settings.history_minutes, now_us()));
        Self { task, settings, tables, target, watched, units, history, waiting: Vec::new(), said: None, failed: None }
    }

    /// Keeps the tables until the run has ended, and says so in them.
    pub(crate) async fn run(mut self, mut view: watch::Receiver<Progress>, ended: CancellationToken) {
        let mut units = self.units.clone();
        loop {
            tokio::select! {
                biased;
                () = ended.cancelled() => break,
                changed = view.changed() => if changed.is_err() { break },
                // Whoever publishes rests while the run sleeps.
                () = units.changed() => {}
            }
            let now = Figures::of(&view.borrow_and_update());
            // A target that does not answer must not hold up the end.
            tokio::select! {
                biased;
                () = ended.cancelled() => break,
                () = async { self.look(&now).await; tokio::time::sleep(LOOK_EVERY).await } => {}
            }
        }
        let now = Figures::of(&view.borrow());
        let _ = tokio::time::timeout(LAST_WORD_TIMEOUT, self.last_word(&now)).await;
    }

    async fn look(&mut self, now: &Figures) {
        let slots = self.history.as_mut().map(|history| history.look(now_us(), now)).unwrap_or_default();
        self.wait_with(slots);
        let is_asleep = self.units.is_asleep();
        let every = if is_asleep { WRITE_EVERY_ASLEEP } else { WRITE_EVERY };
        let status = status_word(now.phase).filter(|_| self.settings.status);
        // Of a run that has fallen asleep nobody hears for long.
        let is_news =
            |(said, at, of): &(&str, Instant, Figures), word: &str| *said != word || at.elapsed() >= every || (is_asleep && of != now);
        let due = status.filter(|word| self.said.as_ref().is_none_or(|said| is_news(said, word)));
        if due.is_none() && self.waiting.is_empty() {
            return;
        }
        let done = self.write(due.map(|word| self.status_row(word, now))).await;
        if done && let Some(word) = due {
            self.said = Some((word, Instant::now(), now.clone()));
        }
        if is_asleep {
            self.target.close_idle();
        }
    }

    async fn last_word(&mut self, now: &Figures) {
        let slots = self.history.take().map(|history| history.end(now_us(), now)).unwrap_or_default();
        self.wait_with(slots);
        let status = self.settings.status.then(|| self.status_row(NOT_RUNNING, now));
        if status.is_some() || !self.waiting.is_empty() {
            self.write(status).await;
        }
    }

    fn wait_with(&mut self, slots: Vec<Slot>) {
        let rows = slots.into_iter().map(|slot| ControlWrite::Add(self.history_row(&slot))).collect::<Vec<_>>();
        self.waiting.extend(rows);
        let surplus = self.waiting.len().saturating_sub(WAITING_MAX);
        self.waiting.drain(..surplus);
    }

    /// Writes the status and what waits. False where nothing of it is in the target for sure.
    async fn write(&mut self, status: Option<ControlWrite>) -> bool {
        if !self.watched.has_control_tables.load(Ordering::Relaxed) {
            return false;
        }
        let held = self.watched.fence.lock().expect("no holder of this lock panics").clone();
        // While a take-over is on its way the fence may be another by now.
        let Some(Held { fence, unsure: false }) = held else { return false };
        let writes: Vec<ControlWrite> = self.waiting.iter().cloned().chain(status).collect();
        let mut done = self.target.write_control_tables(&fence, &writes).await;
        if done.as_ref().is_err_and(|error| matches!(error.class(), ErrorClass::TaskDefinite | ErrorClass::TableDefinite)) {
            // Somebody may have dropped a table.
            done = match self.target.create_control_tables(&fence, &self.tables).await {
                Ok(()) => self.target.write_control_tables(&fence, &writes).await,
                Err(error) => Err(error),
            };
        }
        match done {
            Ok(()) => {
                self.waiting.clear();
                self.failed = None;
                true
            }
            Err(error) => {
                self.tell(&error);
                false
            }
        }
    }

    /// Once for each kind of failure: another worker's fence and lost connections are told by the run itself.
    fn tell(&mut self, error: &ConnectorError) {
        let is_own = !matches!(error.class(), ErrorClass::Fenced | ErrorClass::Transient);
        if is_own && self.failed.replace(error.code()) != Some(error.code()) {
            let text = format!("the control tables cannot be written: {}", error.chain());
            tracing::warn!(task = %self.task, code = error.code(), "{text}");
            self.watched.board.update(|progress| progress.notices.push(text));
        }
    }

    fn row(&self, table: ControlTable, values: impl IntoIterator<Item = ControlValue>) -> ControlRow {
        let names = [&self.settings.server_name, &self.settings.task_name].map(|name| ControlValue::Text(name.clone()));
        ControlRow { schema: self.tables.schema.clone(), table, values: names.into_iter().chain(values).collect() }
    }

    fn status_row(&self, word: &'static str, now: &Figures) -> ControlWrite {
        let moment = |us: Option<i64>| us.map_or(ControlValue::Null, ControlValue::Moment);
        let mib = |bytes: u64| ControlValue::Count(bytes.div_ceil(MIB));
        let tail = now.checkpoint.as_ref().map(|position| position.to_string());
        let current = now.read.as_ref().map(|(mark, _)| mark.to_string());
        let text = |text: Option<String>| text.map_or(ControlValue::Null, ControlValue::Text);
        // What waits began so long ago; level, the target is where it was read.
        let waits_since = (now.lag_seconds > 0.0).then(|| now_us() - (now.lag_seconds * 1e6) as i64);
        ControlWrite::Replace(self.row(
            ControlTable::Status,
            [
                ControlValue::Text(word.to_owned()),
                ControlValue::Now,
                ControlValue::Count(now.changes_waiting),
                mib(now.bytes_disk),
                mib(now.bytes_memory),
                text(current.or_else(|| tail.clone())),
                moment(now.read.as_ref().map(|(_, committed_at_us)| *committed_at_us)),
                text(tail),
                moment(waits_since.or(now.applied_us)),
                moment(now.applied_us),
            ],
        ))
    }

    fn history_row(&self, slot: &Slot) -> ControlRow {
        let word = match slot.kind {
            SlotKind::FullLoad => FULL_LOAD,
            SlotKind::ChangeProcessing => CHANGE_PROCESSING,
        };
        self.row(
            ControlTable::History,
            [
                ControlValue::Text(word.to_owned()),
                ControlValue::Moment(slot.end_us),
                ControlValue::Count(slot.minutes),
                slot.latency_seconds.map_or(ControlValue::Null, ControlValue::Count),
                ControlValue::Count(slot.records),
                ControlValue::Count(slot.volume_mib),
            ],
        )
    }
}

/// DMS's words, as its tables have them; its guide writes the second with "(CDC)" behind it.
const FULL_LOAD: &str = "FULL LOAD";
const CHANGE_PROCESSING: &str = "CHANGE PROCESSING";
const NOT_RUNNING: &str = "NOT RUNNING";

/// What the status says in a phase; `None` where the last word stands.
fn status_word(phase: Phase) -> Option<&'static str> {
    match phase {
        Phase::Preparing => None,
        Phase::Loading => Some(FULL_LOAD),
        Phase::CatchingUp | Phase::Replicating => Some(CHANGE_PROCESSING),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_exceptions_is_there_whenever_one_is_asked_for() {
        let settings = |schema: Option<&str>, history| ControlTableSettings {
            schema: schema.map(str::to_owned),
            task_name: "t".into(),
            server_name: "s".into(),
            status: false,
            suspended_tables: false,
            history,
            recovery: false,
            full_load_exceptions: false,
            history_minutes: 5,
        };
        let tables = settings(None, true).tables(Engine::Mysql);
        assert_eq!((&*tables.schema, &tables.tables[..]), ("awsdms_control", &[ControlTable::ApplyExceptions, ControlTable::History][..]));
        assert_eq!(&*settings(None, false).tables(Engine::Postgres).schema, "public");
        assert_eq!(&*settings(Some("ops"), false).tables(Engine::Postgres).schema, "ops");
    }
}
