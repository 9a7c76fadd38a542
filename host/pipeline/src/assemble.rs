//! Turns committed transactions into groups: routes each change, transforms, and reduces to the net effect.
//!
//! A group holds whole transactions and everything that waits, up to a bound in bytes: small when there is no backlog,
//! large when there is. A transaction that is larger than the bound leaves in parts, which the lane collects in one
//! open target transaction.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_connector::{Group, OrderedChange, Step, Strictness};
use tidegate_model::{Change, Position, RowChange, TableName};
use tokio_util::sync::CancellationToken;

use crate::board::{ChangeCounts, InFlight};
use crate::cache::{CacheReader, CommittedTransaction, Entry};
use crate::capture::cache_error;
use crate::header::{ImageHeader, TransactionHeader};
use crate::meter::Stage;
use crate::net::NetBuilder;
use crate::plan::PlannedTable;
use crate::tables::Tables;
use crate::task::TaskError;
use crate::transform::{Headed, Transformer};

/// How often an idle source's position is written to the target. The source keeps its log since the last one, so this
/// bounds what it must send again after a crash; each costs the target one small transaction.
const IDLE_CHECKPOINT_EVERY: Duration = Duration::from_secs(10);

/// Changes that wait for their transformation together. The contract allows 4,096 rows a batch, and an update may be
/// two images.
const TRANSFORM_CHANGES_MAX: usize = 2_048;

/// A stream that brought nothing for so long is taken for level, whatever the log's end is: its last bytes may be
/// none of the task's.
const QUIET_WHEN_LEVEL: Duration = Duration::from_secs(1);

/// Why [`Assembler::ready`] returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Woken {
    /// [`Assembler::next`] has something to do.
    Work,
    /// The stream has come to the place given to [`Assembler::catch_up_to`], or was quiet.
    Level,
}

/// What goes to the lane.
#[derive(Debug)]
pub(crate) enum Assembled {
    /// Steps of a group that is not complete yet.
    Part(Vec<Step>),
    /// The end of a group.
    Complete(CompleteGroup),
}

/// A group with what the board wants to know of it.
#[derive(Debug)]
pub(crate) struct CompleteGroup {
    pub(crate) group: Group,
    pub(crate) counts: HashMap<TableName, ChangeCounts>,
    pub(crate) transactions: u64,
    /// Changes that were routed to a table of the task.
    pub(crate) changes: u64,
    pub(crate) bytes: u64,
}

/// A change that is routed and waits for its transformation.
struct Routed {
    table: Arc<PlannedTable>,
    strictness: Strictness,
    change: Headed,
}

/// See the module's documentation.
pub(crate) struct Assembler {
    cache: CacheReader,
    pub(crate) tables: Tables,
    transformer: Transformer,
    group_bytes_max: usize,
    /// The end of the last group.
    position: Position,
    net: NetBuilder,
    routed: Vec<Routed>,
    routed_bytes: usize,
    counts: HashMap<TableName, ChangeCounts>,
    transactions: u64,
    changes: u64,
    bytes: u64,
    /// The source is idle up to this position since that moment, and the target does not know yet.
    idle_since: Option<(Position, Instant)>,
    /// The log's end when the stream began, until it is reached.
    behind: Option<Position>,
    in_flight: Arc<InFlight>,
    cancel: CancellationToken,
}

impl Assembler {
    pub(crate) fn new(
        cache: CacheReader,
        tables: Tables,
        transformer: Transformer,
        position: Position,
        group_bytes_max: usize,
        in_flight: Arc<InFlight>,
        cancel: CancellationToken,
    ) -> Self {
        Self {
            cache,
            tables,
            transformer,
            group_bytes_max,
            position,
            net: NetBuilder::default(),
            routed: Vec::new(),
            routed_bytes: 0,
            counts: HashMap::new(),
            transactions: 0,
            changes: 0,
            bytes: 0,
            idle_since: None,
            behind: None,
            in_flight,
            cancel,
        }
    }

    /// Takes note of how far the stream must come to be level.
    pub(crate) fn catch_up_to(&mut self, end: Position) {
        self.behind = Some(end);
    }

    /// Waits until there is something to do. Safe to cancel.
    pub(crate) async fn ready(&self) -> Woken {
        if let Some(end) = &self.behind {
            let idle = self.idle_since.as_ref().map(|(position, _)| position);
            if self.position.covers_position(end) || idle.is_some_and(|idle| idle.covers_position(end)) {
                return Woken::Level;
            }
            let arrived = tokio::time::timeout(QUIET_WHEN_LEVEL, self.cache.arrived()).await;
            return if arrived.is_ok() { Woken::Work } else { Woken::Level };
        }
        match &self.idle_since {
            Some((_, since)) => {
                let due = tokio::time::Instant::from_std(*since + IDLE_CHECKPOINT_EVERY);
                tokio::select! {
                    () = self.cache.arrived() => {}
                    () = tokio::time::sleep_until(due) => {}
                }
            }
            None => self.cache.arrived().await,
        }
        Woken::Work
    }

    /// The stream is level; [`Woken::Level`] comes once.
    pub(crate) fn level(&mut self) {
        self.behind = None;
    }

    /// Sends the next group out of what waits, if anything does. Not safe to cancel: a group in the making would be
    /// lost. It notices the run's cancellation by itself.
    pub(crate) async fn next(&mut self, out: &tokio::sync::mpsc::Sender<Assembled>) -> Result<(), TaskError> {
        let from = self.position.clone();
        let in_flight = self.in_flight.clone();
        let making = in_flight.meter.enter(Stage::Assemble);
        while let Some(entry) = self.cache.try_next().map_err(cache_error)? {
            match entry {
                Entry::Idle(position) => {
                    // What was delivered before it is in this group or an earlier one.
                    let since = self.idle_since.take().map_or_else(Instant::now, |(_, since)| since);
                    self.idle_since = Some((position, since));
                }
                Entry::Transaction(transaction) => {
                    self.transaction(transaction, out).await?;
                    if self.held_bytes() >= self.group_bytes_max {
                        break;
                    }
                }
            }
        }
        self.transform().await?;
        let due = self.idle_since.as_ref().is_some_and(|(_, since)| since.elapsed() >= IDLE_CHECKPOINT_EVERY);
        if due && let Some((position, _)) = self.idle_since.take() {
            self.position = self.position.union(&position);
        }
        let steps = self.net.take_steps();
        if self.position == from {
            return Ok(());
        }
        let group = Group { from, to: self.position.clone(), steps };
        let complete = CompleteGroup {
            group,
            counts: std::mem::take(&mut self.counts),
            changes: std::mem::take(&mut self.changes),
            transactions: std::mem::take(&mut self.transactions),
            bytes: std::mem::take(&mut self.bytes),
        };
        self.tables.passed(&self.position);
        drop(making);
        // A closed channel means that the lane failed; its own error is the one to tell.
        let _ = out.send(Assembled::Complete(complete)).await;
        Ok(())
    }

    fn held_bytes(&self) -> usize {
        self.net.bytes() + self.routed_bytes
    }

    async fn transaction(
        &mut self,
        mut transaction: CommittedTransaction,
        out: &tokio::sync::mpsc::Sender<Assembled>,
    ) -> Result<(), TaskError> {
        let header = Arc::new(TransactionHeader { mark: transaction.mark.clone(), committed_at_us: transaction.committed_at_us });
        // A source may send again what was applied before: the checkpoint knows.
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
            if seen {
                continue;
            }
            for change in part {
                self.change(change, &header, number).await?;
                number += 1;
                if self.held_bytes() >= self.group_bytes_max {
                    self.transform().await?;
                    if self.net.bytes() >= self.group_bytes_max {
                        let in_flight = self.in_flight.clone();
                        let _waiting = in_flight.meter.pause(Stage::Assemble);
                        let _ = out.send(Assembled::Part(self.net.take_steps())).await;
                    }
                }
            }
        }
        self.cache.release(&transaction);
        if !seen {
            self.in_flight.took(self.changes - changes, self.bytes - bytes);
            self.transactions += 1;
            self.position.advance(&header.mark);
        }
        Ok(())
    }

    async fn change(&mut self, change: Change, transaction: &Arc<TransactionHeader>, number: u64) -> Result<(), TaskError> {
        let mark = &transaction.mark;
        match change {
            Change::Row { relation, change } => {
                let Some((table, strictness)) = self.tables.route(relation, mark, &mut self.transformer).await? else { return Ok(()) };
                self.counts.entry(table.source.schema.name.clone()).or_default().add(&change);
                let bytes = row_bytes(&change);
                self.changes += 1;
                self.bytes += bytes as u64;
                self.routed_bytes += bytes;
                let header = if table.reads_headers() {
                    ImageHeader::Logged { transaction: transaction.clone(), number }
                } else {
                    ImageHeader::None
                };
                self.routed.push(Routed { table, strictness, change: (change, header) });
                if self.routed.len() >= TRANSFORM_CHANGES_MAX { self.transform().await } else { Ok(()) }
            }
            Change::Truncate { relations } => {
                self.transform().await?;
                let mut tables = Vec::new();
                for relation in relations {
                    if let Some((table, _)) = self.tables.route(relation, mark, &mut self.transformer).await? {
                        tables.push(table.target.clone());
                    }
                }
                if !tables.is_empty() {
                    self.net.truncate(tables);
                }
                Ok(())
            }
        }
    }

    /// Sends what is routed through the modules and into the net effect, in order.
    async fn transform(&mut self) -> Result<(), TaskError> {
        self.routed_bytes = 0;
        let mut routed = std::mem::take(&mut self.routed).into_iter().peekable();
        while let Some(first) = routed.next() {
            // Neighbours of one table and strictness go together; order between tables does not matter to the net
            // effect, but order within a table does, so only neighbours do.
            let (table, strictness) = (first.table, first.strictness);
            let mut changes = vec![first.change];
            while let Some(next) = routed.next_if(|next| Arc::ptr_eq(&next.table, &table) && next.strictness == strictness) {
                changes.push(next.change);
            }
            // Without modules it takes no time, and looking at the clock for every few changes would.
            let transforming = (!table.stages.is_empty()).then(|| self.in_flight.meter.enter(Stage::Transform));
            let changes = self.transformer.changes(&table, strictness, changes).await?;
            drop(transforming);
            for (change, loose) in changes.into_iter().flatten() {
                let strictness = if loose { Strictness::Idempotent } else { strictness };
                self.net.add(&table.target, strictness, change)?;
            }
        }
        Ok(())
    }
}

fn row_bytes(change: &RowChange) -> usize {
    match change {
        RowChange::Insert { new: row } | RowChange::Delete { old: row } => row.bytes_held(),
        RowChange::Update { old, new } => new.bytes_held() + old.as_ref().map_or(0, |old| old.bytes_held()),
    }
}

/// A change as it is before any module saw it: what tables without row-level rules use.
pub(crate) fn plain(change: RowChange) -> OrderedChange {
    let image = |row| tidegate_connector::Image { row, computed: None };
    match change {
        RowChange::Insert { new } => OrderedChange::Insert(image(new)),
        RowChange::Delete { old } => OrderedChange::Delete(image(old)),
        RowChange::Update { old: None, new } => OrderedChange::Update { old: None, new: image(new) },
        RowChange::Update { old: Some(old), new } => {
            let new = new.filled_from(&old);
            OrderedChange::Update { old: Some(image(old)), new: image(new) }
        }
    }
}
