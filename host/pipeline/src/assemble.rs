//! Turns committed transactions into groups: routes each change, transforms, and reduces to the net effect.
//!
//! ```text
//!   transaction ──▶ tables in the stream ─────────────────────────────┐
//!        └────────▶ tables that are loading ─▶ set aside ─(loaded)───▶├─▶ group
//! ```
//!
//! A group holds whole transactions and everything that waits, up to a bound in bytes: small when there is no backlog,
//! large when there is. A transaction that is larger than the bound leaves in parts, which the lane collects in one
//! open target transaction.
//!
//! Changes of a table that is loading are set aside. Once it is loaded, each group also takes some of what was set
//! aside, and stores with it how far the table is; when nothing is left, the table is in the stream.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tidegate_connector::{Group, Step, Strictness};
use tidegate_model::change::RelationId;
use tidegate_model::{Change, Position, TableName, TableState, TxMark};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::board::{ChangeCounts, InFlight};
use crate::cache::{Aside, CacheReader, CommittedTransaction, Entry};
use crate::capture::cache_error;
use crate::control_tables::Recovery;
use crate::error_log::ErrorLog;
use crate::header::{ImageHeader, TransactionHeader};
use crate::large_values::Oversize;
use crate::load::LoadEvent;
use crate::meter::Stage;
use crate::neighbours::row_bytes;
use crate::net::NetBuilder;
use crate::plan::PlannedTable;
use crate::rest::{Rest, collected, wait_until};
use crate::row_errors::RowErrors;
use crate::run_settings::BatchPolicy;
use crate::tables::{Place, Route, Tables};
use crate::task::TaskError;
use crate::transform::{Headed, Transformer};
use crate::units::Units;

/// How often an idle source's position is written to the target. The source keeps its log since the last one, so this
/// bounds what it must send again after a crash; each costs the target one small transaction.
const IDLE_CHECKPOINT_EVERY: Duration = Duration::from_secs(10);

/// How long a place in the log may wait for the target when there is nothing to write there but the place: while all
/// tables load, for example.
const EMPTY_CHECKPOINT_EVERY: Duration = Duration::from_secs(1);

/// A stream that brought nothing for so long is taken for level, whatever the log's end is: its last bytes may be
/// none of the task's.
const QUIET_WHEN_LEVEL: Duration = Duration::from_secs(1);

/// Why [`Assembler::ready`] returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Woken {
    /// [`Assembler::next`] has something to do.
    Work,
    /// The last of the tables that were loading is loaded.
    AllLoaded,
    /// The stream has come to the place given to [`Assembler::catch_up_to`], or was quiet.
    Level,
}

/// What goes to the lane.
#[derive(Debug)]
pub(crate) enum Assembled {
    /// Steps of a group that is not complete yet.
    Part(Vec<Step>),
    /// The end of a group.
    Complete(Box<CompleteGroup>),
}

/// A group with what the board wants to know of it.
#[derive(Debug)]
pub(crate) struct CompleteGroup {
    pub(crate) group: Group,
    /// Once the group is in the target, the source may discard its log up to here.
    pub(crate) confirm: Position,
    pub(crate) counts: HashMap<TableName, ChangeCounts>,
    pub(crate) transactions: u64,
    /// The commit time of its last transaction, microseconds since 1970; `None` for none.
    pub(crate) newest_us: Option<i64>,
    /// Changes that were routed to a table of the task.
    pub(crate) changes: u64,
    pub(crate) bytes: u64,
}

/// Where a change comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum From {
    Stream,
    /// The checkpoint covers its transaction.
    StreamAgain,
    /// It was set aside before.
    Aside,
}

/// A change that is routed and waits for its transformation.
pub(crate) struct Routed {
    pub(crate) table: Arc<PlannedTable>,
    pub(crate) strictness: Strictness,
    pub(crate) transaction: Arc<TransactionHeader>,
    pub(crate) change: Headed,
    /// Its values above the task's limit.
    pub(crate) oversize: Option<Oversize>,
}

/// Where an assembler begins.
pub(crate) struct Beginning {
    /// The checkpoint in the target.
    pub(crate) checkpoint: Position,
    /// Where the stream starts: there, or earlier for tables that have a place of their own.
    pub(crate) stream: Position,
}

/// See the module's documentation.
pub(crate) struct Assembler {
    cache: CacheReader,
    pub(crate) aside: Aside,
    pub(crate) tables: Tables,
    pub(crate) loads: mpsc::UnboundedReceiver<LoadEvent>,
    pub(crate) transformer: Transformer,
    pub(crate) row_errors: Arc<RowErrors>,
    pub(crate) error_log: ErrorLog,
    recovery: Option<Recovery>,
    pub(crate) group_bytes_max: usize,
    pub(crate) batch: BatchPolicy,
    /// The last group took everything that waited.
    pub(crate) drained: bool,
    /// Nothing is to come: the stream is at the task's stop position.
    pub(crate) has_ended: bool,
    /// The end of the log when every table was loaded.
    pub(crate) loaded_at: Option<Position>,
    units: Units,
    /// Everything up to here is in a group, sent or in the making.
    pub(crate) position: Position,
    /// The end of the last group that was sent.
    sent: Position,
    pub(crate) sent_at: Instant,
    /// The stream repeats what is before `position`, and has come up to here; `None` when it is past it. Until then a
    /// table with nothing set aside may still miss changes.
    pub(crate) repeats: Option<Position>,
    pub(crate) net: NetBuilder,
    /// Parts of the group in the making were sent.
    has_parts: bool,
    pub(crate) routed: Vec<Routed>,
    pub(crate) routed_bytes: usize,
    pub(crate) aside_bytes: usize,
    counts: HashMap<TableName, ChangeCounts>,
    transactions: u64,
    newest_us: Option<i64>,
    pub(crate) changes: u64,
    pub(crate) bytes: u64,
    /// The source is idle up to this position since that moment, and the target does not know yet.
    pub(crate) idle_since: Option<(Position, Instant)>,
    /// The log's end when the stream began, until it is reached.
    pub(crate) behind: Option<Position>,
    /// When the stream is to rest.
    pub(crate) rest: Rest,
    pub(crate) in_flight: Arc<InFlight>,
    /// How far the log has moved since the stream began, and how far it had when the last group was sent.
    log_bytes: Arc<AtomicU64>,
    log_bytes_sent: u64,
    pub(crate) cancel: CancellationToken,
}

/// What an assembler is made of.
pub(crate) struct Parts {
    pub(crate) cache: CacheReader,
    pub(crate) aside: Aside,
    pub(crate) tables: Tables,
    /// What loads tell.
    pub(crate) loads: mpsc::UnboundedReceiver<LoadEvent>,
    pub(crate) transformer: Transformer,
    pub(crate) row_errors: Arc<RowErrors>,
    /// What tells DMS's control table of each checkpoint.
    pub(crate) recovery: Option<Recovery>,
    pub(crate) group_bytes_max: usize,
    pub(crate) batch: BatchPolicy,
    pub(crate) units: Units,
    pub(crate) in_flight: Arc<InFlight>,
    pub(crate) log_bytes: Arc<AtomicU64>,
    pub(crate) cancel: CancellationToken,
}

impl Assembler {
    pub(crate) fn new(parts: Parts, beginning: Beginning) -> Self {
        let Parts {
            cache,
            aside,
            tables,
            loads,
            transformer,
            row_errors,
            recovery,
            group_bytes_max,
            batch,
            units,
            in_flight,
            log_bytes,
            cancel,
        } = parts;
        let Beginning { checkpoint, stream } = beginning;
        Self {
            cache,
            aside,
            tables,
            loads,
            transformer,
            row_errors,
            error_log: ErrorLog::default(),
            recovery,
            group_bytes_max,
            batch,
            drained: false,
            has_ended: false,
            loaded_at: None,
            units,
            repeats: (!stream.covers_position(&checkpoint)).then_some(stream),
            sent: checkpoint.clone(),
            sent_at: Instant::now(),
            position: checkpoint,
            net: NetBuilder::default(),
            has_parts: false,
            routed: Vec::new(),
            routed_bytes: 0,
            aside_bytes: 0,
            counts: HashMap::new(),
            transactions: 0,
            newest_us: None,
            changes: 0,
            bytes: 0,
            idle_since: None,
            behind: None,
            rest: Rest::default(),
            in_flight,
            log_bytes,
            log_bytes_sent: 0,
            cancel,
        }
    }

    /// Where the source's log must be kept from, as things stand in the target.
    pub(crate) fn confirmable(&self) -> Position {
        self.tables.keep_from(&self.sent)
    }

    /// From here on, which is what it answers, changes of these tables are set aside until they are loaded. Only while nothing is on its way to the
    /// lane.
    pub(crate) fn load_beside(&mut self, tables: &[Arc<PlannedTable>]) -> Position {
        for table in tables {
            self.aside.forget(&table.source.schema.name);
            self.tables.insert(table.clone(), Place::Loading { since: self.position.clone() });
        }
        self.position.clone()
    }

    /// True when nothing is in the making.
    pub(crate) fn is_sent(&self) -> bool {
        self.sent == self.position
    }

    /// The end of the last group that was sent: the checkpoint in the target, while nothing is on its way there.
    pub(crate) fn sent(&self) -> &Position {
        &self.sent
    }

    /// Takes note of how far the stream must come to be level.
    pub(crate) fn catch_up_to(&mut self, end: Position) {
        self.behind = Some(end);
    }

    fn rest_between(&self, usual: Duration) -> Duration {
        self.units.rest_between(usual, self.log_bytes.load(Ordering::Relaxed).saturating_sub(self.log_bytes_sent))
    }

    /// Waits until there is something to do. Safe to cancel.
    pub(crate) async fn ready(&mut self) -> Woken {
        if self.rests_when_idle() {
            return Woken::Work;
        }
        if self.can_catch_up() {
            return Woken::Work;
        }
        let may_be_level = self.behind.is_some() && self.tables.all_in_stream() && self.repeats.is_none();
        if may_be_level && let Some(end) = &self.behind {
            let idle = self.idle_since.as_ref().map(|(position, _)| position);
            if self.position.covers_position(end) || idle.is_some_and(|idle| idle.covers_position(end)) {
                return Woken::Level;
            }
        }
        let now = Instant::now();
        let quiet = may_be_level.then(|| now + QUIET_WHEN_LEVEL);
        let idle = self.idle_since.as_ref().map(|(_, since)| *since + self.rest_between(IDLE_CHECKPOINT_EVERY));
        let unsent = (self.position != self.sent).then(|| self.sent_at + self.rest_between(EMPTY_CHECKPOINT_EVERY));
        let due = [quiet, idle, unsent].into_iter().flatten().min();
        let collects_until = self.collects_until();
        tokio::select! {
            Some(event) = self.loads.recv() => self.take_notes(event),
            () = collected(&self.cache, collects_until, self.batch.changes_min) => Woken::Work,
            () = wait_until(due) => if quiet.is_some() && due == quiet { Woken::Level } else { Woken::Work },
        }
    }

    /// The stream is level; [`Woken::Level`] comes once.
    pub(crate) fn level(&mut self) {
        self.behind = None;
    }

    /// Sends the next group out of what waits, if anything does. Not safe to cancel: a group in the making would be
    /// lost. It notices the run's cancellation by itself.
    pub(crate) async fn next(&mut self, out: &mpsc::Sender<Assembled>) -> Result<(), TaskError> {
        self.aside_bytes = 0;
        let in_flight = self.in_flight.clone();
        let making = in_flight.meter.enter(Stage::Assemble);
        self.drained = true;
        while let Some(entry) = self.cache.try_next().map_err(cache_error)? {
            match entry {
                Entry::Idle(position) => {
                    self.repeated(|repeats| *repeats = repeats.union(&position));
                    // What was delivered before it is in this group or an earlier one.
                    let since = self.idle_since.take().map_or_else(Instant::now, |(_, since)| since);
                    self.idle_since = Some((position, since));
                }
                Entry::End => {
                    // Whatever the stream was to repeat has come.
                    self.repeats = None;
                    self.has_ended = true;
                }
                Entry::Transaction(transaction) => {
                    self.transaction(transaction, out).await?;
                    let held = self.held_bytes() + self.aside_bytes;
                    let is_full = held >= self.units.group_bytes(self.group_bytes_max);
                    if self.has_parts || is_full || self.batch.changes_max.is_some_and(|most| self.changes >= most) {
                        self.drained = false;
                        break;
                    }
                }
            }
        }
        let every = self.rest_between(IDLE_CHECKPOINT_EVERY);
        let due = self.rests_when_idle() || self.idle_since.as_ref().is_some_and(|(_, since)| since.elapsed() >= every);
        if due && let Some((position, _)) = self.idle_since.take() {
            self.position = self.position.union(&position);
        }
        let caught_up = self.catch_up(out).await?;
        self.transform().await?;
        drop(making);
        self.complete(caught_up, out).await;
        Ok(())
    }

    async fn complete(&mut self, tables: Vec<(TableName, TableState)>, out: &mpsc::Sender<Assembled>) {
        let steps = self.net.take_steps();
        if steps.is_empty() && tables.is_empty() && !self.has_parts {
            let early = !self.has_ended && self.sent_at.elapsed() < self.rest_between(EMPTY_CHECKPOINT_EVERY);
            if self.position == self.sent || early {
                return;
            }
        }
        self.has_parts = false;
        self.sent_at = Instant::now();
        self.log_bytes_sent = self.log_bytes.load(Ordering::Relaxed);
        let from = std::mem::replace(&mut self.sent, self.position.clone());
        let (resolved, rejected) = self.error_log.take();
        let control = self.recovery.iter().map(|recovery| recovery.write(&self.position)).collect();
        let complete = CompleteGroup {
            group: Group { from, to: self.position.clone(), steps, tables, resolved, rejected, control },
            confirm: self.tables.keep_from(&self.position),
            counts: std::mem::take(&mut self.counts),
            changes: std::mem::take(&mut self.changes),
            transactions: std::mem::take(&mut self.transactions),
            newest_us: self.newest_us.take(),
            bytes: std::mem::take(&mut self.bytes),
        };
        self.tables.passed(&self.position);
        // A closed channel means that the lane failed; its own error is the one to tell.
        let _ = out.send(Assembled::Complete(Box::new(complete))).await;
    }

    fn held_bytes(&self) -> usize {
        self.net.bytes() + self.routed_bytes
    }

    async fn transaction(&mut self, mut transaction: CommittedTransaction, out: &mpsc::Sender<Assembled>) -> Result<(), TaskError> {
        let header = Arc::new(TransactionHeader { mark: transaction.mark.clone(), committed_at_us: transaction.committed_at_us });
        // A source may send again what was applied before, and is asked to where a table needs it.
        let seen = self.position.covers(&header.mark);
        let (changes, bytes) = (self.changes, self.bytes);
        if !seen && self.transactions == 0 {
            self.in_flight.began(transaction.committed_at_us);
        }
        let mut number = 0;
        while let Some(part) = transaction.next_part().map_err(cache_error)? {
            if self.cancel.is_cancelled() {
                return Err(TaskError::Cancelled);
            }
            if seen && self.tables.all_in_stream() {
                continue;
            }
            for change in part {
                self.change(change, &header, number, if seen { From::StreamAgain } else { From::Stream }).await?;
                number += 1;
                self.send_part_when_full(out).await?;
            }
        }
        self.aside.end_transaction().map_err(cache_error)?;
        self.cache.release(&transaction);
        self.repeated(|repeats| repeats.advance(&header.mark));
        if !seen {
            self.in_flight.took(self.changes - changes, self.bytes - bytes);
            self.transactions += 1;
            self.newest_us = Some(transaction.committed_at_us);
            self.position.advance(&header.mark);
        }
        Ok(())
    }

    pub(crate) async fn send_part_when_full(&mut self, out: &mpsc::Sender<Assembled>) -> Result<(), TaskError> {
        if self.held_bytes() < self.group_bytes_max {
            return Ok(());
        }
        self.transform().await?;
        if self.net.bytes() >= self.group_bytes_max {
            self.has_parts = true;
            let in_flight = self.in_flight.clone();
            let _waiting = in_flight.meter.pause(Stage::Assemble);
            let _ = out.send(Assembled::Part(self.net.take_steps())).await;
        }
        Ok(())
    }

    pub(crate) async fn change(
        &mut self,
        change: Change,
        transaction: &Arc<TransactionHeader>,
        number: u64,
        from: From,
    ) -> Result<(), TaskError> {
        let mark = &transaction.mark;
        match change {
            Change::Row { relation, change } => match self.route(relation, mark, from).await? {
                Route::Skip => Ok(()),
                Route::Aside(table) => self.set_aside(&table, transaction, number, &Change::Row { relation, change }),
                Route::Apply(table, strictness) => {
                    self.counts.entry(table.source.schema.name.clone()).or_default().add(&change);
                    let (change, oversize) = table.large.change(table.characters.change(change));
                    let bytes = row_bytes(&change);
                    self.changes += 1;
                    self.bytes += bytes as u64;
                    self.routed_bytes += bytes;
                    let header = if table.reads_headers() {
                        ImageHeader::Logged { transaction: transaction.clone(), number }
                    } else {
                        ImageHeader::None
                    };
                    self.routed.push(Routed { table, strictness, transaction: transaction.clone(), change: (change, header), oversize });
                    if self.transformer.is_enough(self.routed.len()) { self.transform().await } else { Ok(()) }
                }
            },
            Change::Unlogged { relation, upheaval } => self.unlogged(relation, upheaval, transaction, number, from).await,
            Change::Truncate { relations } => self.truncate(relations, transaction, number, from).await,
        }
    }

    pub(crate) async fn route(&mut self, relation: RelationId, mark: &TxMark, from: From) -> Result<Route, TaskError> {
        match from {
            From::Stream => self.tables.route(relation, mark, false, &mut self.transformer).await,
            From::StreamAgain => self.tables.route(relation, mark, true, &mut self.transformer).await,
            From::Aside => self.tables.route_aside(relation, mark, &mut self.transformer).await,
        }
    }

    pub(crate) fn set_aside(
        &mut self,
        table: &PlannedTable,
        transaction: &TransactionHeader,
        number: u64,
        change: &Change,
    ) -> Result<(), TaskError> {
        self.aside_bytes += self.aside.push(&table.source.schema.name, transaction, number, change).map_err(cache_error)?;
        Ok(())
    }
}
