//! The change cache: everything captured and not yet applied, in memory up to a budget, then on disk.
//!
//! ```text
//!   capture ──▶ open transactions ──commit──▶ queue of committed transactions ──▶ apply
//!                     │ budget used up              │ budget used up
//!                     ▼                             ▼
//!               blocks of one                 runs of many whole
//!               large transaction             small transactions
//! ```
//!
//! One side writes ([`CacheWriter`], owned by capture), one side reads ([`CacheReader`], owned by apply). Order is
//! commit order; transactions that never commit leave no trace. Memory counts both open and committed transactions.

mod aside;
mod mark;
mod rope;
mod spill;
mod transaction;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tidegate_connector::TxId;
use tidegate_model::{Change, Position, TxMark};
use tokio::sync::Notify;

pub(crate) use aside::{Aside, Item};
use rope::Rope;
use spill::{Block, Spill};
pub(crate) use transaction::CommittedTransaction;
use transaction::OpenTransaction;

use crate::settings::CacheMemory;
use crate::units::Units;

/// Bytes at which a run of small transactions on disk is closed.
const RUN_BYTES: usize = 256 << 10;

/// What the reader gets.
#[derive(Debug)]
pub(crate) enum Entry {
    /// A committed transaction.
    Transaction(CommittedTransaction),
    /// Everything up to here was in the entries before.
    Idle(Position),
    /// Nothing comes any more: the stream is at the task's stop position.
    End,
}

enum Slot {
    Entry(Entry),
    Run { block: Block, oldest_us: i64 },
}

struct Shared {
    slots: Mutex<VecDeque<Slot>>,
    arrived: Notify,
    memory_bytes: AtomicUsize,
    disk_bytes: Arc<AtomicU64>,
    /// Of committed transactions.
    changes: AtomicU64,
}

/// What a committed transaction brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Arrived {
    pub(crate) changes: u64,
    pub(crate) bytes: u64,
}

/// Memory and disk that the cache takes right now, and changes of committed transactions in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct CacheSize {
    pub(crate) memory_bytes: u64,
    pub(crate) disk_bytes: u64,
    pub(crate) changes: u64,
}

/// What the cache may hold in memory, which follows the task's units.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    pub(crate) memory: CacheMemory,
    pub(crate) units: Units,
}

impl Budget {
    fn bytes(&self) -> usize {
        self.units.cache_bytes(self.memory)
    }

    #[cfg(test)]
    fn fixed(bytes: usize) -> Self {
        Self { memory: CacheMemory::Fixed(bytes), units: Units::fixed(1) }
    }
}

/// Makes an empty cache over a directory of its own.
pub(crate) fn open(dir: &Path, budget: Budget) -> io::Result<(CacheWriter, CacheReader)> {
    let disk_bytes = Arc::new(AtomicU64::new(0));
    let spill = Spill::open(dir, disk_bytes.clone())?;
    let shared = Arc::new(Shared {
        slots: Mutex::new(VecDeque::new()),
        arrived: Notify::new(),
        memory_bytes: AtomicUsize::new(0),
        disk_bytes,
        changes: AtomicU64::new(0),
    });
    let writer = CacheWriter {
        shared: shared.clone(),
        spill,
        memory_bytes_max: budget.bytes(),
        budget,
        open: HashMap::new(),
        run: Rope::default(),
        run_oldest_us: 0,
    };
    Ok((writer, CacheReader { shared, run: None }))
}

/// The side that capture owns.
pub(crate) struct CacheWriter {
    shared: Arc<Shared>,
    spill: Spill,
    budget: Budget,
    /// What the budget was at the last flush.
    memory_bytes_max: usize,
    open: HashMap<TxId, OpenTransaction>,
    run: Rope,
    run_oldest_us: i64,
}

impl CacheWriter {
    /// Adds a step of a transaction.
    pub(crate) fn push(&mut self, tx: TxId, sub: TxId, change: Change) -> io::Result<()> {
        let bytes = self.open.entry(tx).or_insert_with(|| OpenTransaction::new(tx)).push(sub, change);
        self.shared.memory_bytes.fetch_add(bytes, Ordering::Relaxed);
        if self.over_budget() { self.spill_largest_open() } else { Ok(()) }
    }

    /// Voids a subtransaction, or the whole transaction when `sub` is `tx`.
    pub(crate) fn abort(&mut self, tx: TxId, sub: TxId) {
        if tx == sub {
            self.forget(tx);
        } else if let Some(open) = self.open.get_mut(&tx) {
            open.abort(sub);
        }
    }

    /// The transaction is final: it joins the queue. Answers what it brought.
    pub(crate) fn commit(&mut self, tx: TxId, mark: TxMark, committed_at_us: i64) -> io::Result<Arrived> {
        let mut open = self.open.remove(&tx).unwrap_or_else(|| OpenTransaction::new(tx));
        // What is left of each in memory would add up: nothing moves it once it waits in the queue.
        if open.is_spilled() && self.over_budget() {
            let freed = open.spill(&mut self.spill)?;
            self.shared.memory_bytes.fetch_sub(freed, Ordering::Relaxed);
        }
        let transaction = open.commit(mark, committed_at_us);
        let arrived = Arrived { changes: transaction.changes(), bytes: transaction.bytes() };
        self.shared.changes.fetch_add(arrived.changes, Ordering::Relaxed);
        let waits_behind_run = !self.run.is_empty();
        if transaction.is_spilled() || (!waits_behind_run && !self.over_budget()) {
            self.close_run()?;
            self.enqueue(Slot::Entry(Entry::Transaction(transaction)));
            return Ok(arrived);
        }
        if self.run.is_empty() {
            self.run_oldest_us = committed_at_us;
        }
        transaction.write_to(&mut self.run);
        self.shared.memory_bytes.fetch_sub(transaction.memory_bytes(), Ordering::Relaxed);
        if self.run.len() >= RUN_BYTES {
            self.close_run()?;
        }
        Ok(arrived)
    }

    /// Notes that the source has nothing more up to `position`.
    pub(crate) fn idle(&mut self, position: Position) -> io::Result<()> {
        self.close_run()?;
        {
            let mut slots = self.shared.slots.lock().expect("no holder of this lock panics");
            if let Some(Slot::Entry(Entry::Idle(last))) = slots.back_mut() {
                *last = position;
                return Ok(());
            }
        }
        self.enqueue(Slot::Entry(Entry::Idle(position)));
        Ok(())
    }

    /// Notes that nothing is to come.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        self.close_run()?;
        self.enqueue(Slot::Entry(Entry::End));
        Ok(())
    }

    /// Makes everything that was committed visible to the reader, and looks at the budget: what is over one that became
    /// smaller stays until it is read, and what comes goes to disk. Called after each burst of events.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.memory_bytes_max = self.budget.bytes();
        self.close_run()
    }

    fn over_budget(&self) -> bool {
        self.shared.memory_bytes.load(Ordering::Relaxed) > self.memory_bytes_max
    }

    fn spill_largest_open(&mut self) -> io::Result<()> {
        // A transaction of a few bytes is not worth a block: the committed ones are what fills the memory then.
        const WORTH_A_BLOCK: usize = 64 << 10;
        let Some(largest) =
            self.open.values_mut().max_by_key(|open| open.memory_bytes()).filter(|open| open.memory_bytes() >= WORTH_A_BLOCK)
        else {
            return Ok(());
        };
        let freed = largest.spill(&mut self.spill)?;
        tracing::debug!(tx = largest.id().0, bytes = freed, "moved a transaction's changes to disk");
        self.shared.memory_bytes.fetch_sub(freed, Ordering::Relaxed);
        Ok(())
    }

    fn forget(&mut self, tx: TxId) {
        if let Some(open) = self.open.remove(&tx) {
            self.shared.memory_bytes.fetch_sub(open.memory_bytes(), Ordering::Relaxed);
        }
    }

    fn close_run(&mut self) -> io::Result<()> {
        if self.run.is_empty() {
            return Ok(());
        }
        let block = self.spill.append(&self.run)?;
        self.run.clear();
        self.enqueue(Slot::Run { block, oldest_us: self.run_oldest_us });
        Ok(())
    }

    fn enqueue(&self, slot: Slot) {
        self.shared.slots.lock().expect("no holder of this lock panics").push_back(slot);
        self.shared.arrived.notify_one();
    }
}

/// A run of small transactions that is being read.
struct OpenRun {
    bytes: Bytes,
    at: usize,
}

/// The side that apply owns.
pub(crate) struct CacheReader {
    shared: Arc<Shared>,
    run: Option<OpenRun>,
}

impl CacheReader {
    /// The next entry, when there is one.
    pub(crate) fn try_next(&mut self) -> io::Result<Option<Entry>> {
        loop {
            if let Some(run) = &mut self.run {
                let mut input = &run.bytes[run.at..];
                if input.is_empty() {
                    self.run = None;
                    continue;
                }
                let length = input.len();
                let transaction = CommittedTransaction::read_from(&mut input, &run.bytes)
                    .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "run of transactions cannot be read"))?;
                run.at += length - input.len();
                self.shared.memory_bytes.fetch_add(transaction.memory_bytes(), Ordering::Relaxed);
                return Ok(Some(Entry::Transaction(transaction)));
            }
            let slot = self.shared.slots.lock().expect("no holder of this lock panics").pop_front();
            match slot {
                None => return Ok(None),
                Some(Slot::Entry(entry)) => return Ok(Some(entry)),
                Some(Slot::Run { block, .. }) => self.run = Some(OpenRun { bytes: block.read()?, at: 0 }),
            }
        }
    }

    /// Waits until there may be an entry. Safe to cancel.
    pub(crate) async fn arrived(&self) {
        loop {
            let arrived = self.shared.arrived.notified();
            if self.run.is_some() || !self.shared.slots.lock().expect("no holder of this lock panics").is_empty() {
                return;
            }
            arrived.await;
        }
    }

    /// Waits until committed transactions with so many changes are in the cache. Safe to cancel.
    pub(crate) async fn holds(&self, changes: u64) {
        loop {
            let arrived = self.shared.arrived.notified();
            if self.shared.changes.load(Ordering::Relaxed) >= changes {
                return;
            }
            arrived.await;
        }
    }

    /// The reader is done with a transaction: its memory and its changes no longer count.
    pub(crate) fn release(&self, transaction: &CommittedTransaction) {
        self.shared.memory_bytes.fetch_sub(transaction.memory_bytes(), Ordering::Relaxed);
        self.shared.changes.fetch_sub(transaction.changes(), Ordering::Relaxed);
    }

    /// Queues for changes of tables that are not in the stream yet, counted with the cache.
    pub(crate) fn open_aside(&self, dir: &Path) -> io::Result<Aside> {
        Aside::open(dir, self.shared.clone())
    }

    /// A view of the cache's size and age for whoever reports them.
    pub(crate) fn gauge(&self) -> CacheGauge {
        CacheGauge(self.shared.clone())
    }
}

/// Watches a cache.
#[derive(Clone)]
pub(crate) struct CacheGauge(Arc<Shared>);

impl CacheGauge {
    /// Memory and disk in use.
    pub(crate) fn size(&self) -> CacheSize {
        CacheSize {
            memory_bytes: self.0.memory_bytes.load(Ordering::Relaxed) as u64,
            disk_bytes: self.0.disk_bytes.load(Ordering::Relaxed),
            changes: self.0.changes.load(Ordering::Relaxed),
        }
    }

    /// Commit time of the oldest transaction that waits, microseconds since 1970.
    pub(crate) fn oldest_us(&self) -> Option<i64> {
        self.0.slots.lock().expect("no holder of this lock panics").iter().find_map(|slot| match slot {
            Slot::Entry(Entry::Transaction(transaction)) => Some(transaction.committed_at_us),
            Slot::Run { oldest_us, .. } => Some(*oldest_us),
            Slot::Entry(Entry::Idle(_) | Entry::End) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_model::change::RelationId;
    use tidegate_model::{Cell, Lsn, RowBuilder, RowChange};

    fn insert(number: u64, padding: usize) -> Change {
        let mut builder = RowBuilder::default();
        builder.push(Cell::Binary(&number.to_le_bytes()));
        builder.push(Cell::Binary(&vec![b'x'; padding]));
        Change::Row { relation: RelationId(1), change: RowChange::Insert { new: builder.finish() } }
    }

    fn mark(number: u64) -> TxMark {
        TxMark::Postgres { end: Lsn(number) }
    }

    /// A cache over a directory that lives as long as the last value.
    fn cache(memory_bytes_max: usize) -> (CacheWriter, CacheReader, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let (writer, reader) = open(dir.path(), Budget::fixed(memory_bytes_max)).unwrap();
        (writer, reader, dir)
    }

    /// Everything in the cache: each transaction's mark and its changes.
    fn drain(reader: &mut CacheReader) -> Vec<(TxMark, Vec<Change>)> {
        let mut all = Vec::new();
        while let Some(entry) = reader.try_next().unwrap() {
            if let Entry::Transaction(mut transaction) = entry {
                let mut changes = Vec::new();
                while let Some(part) = transaction.next_part().unwrap() {
                    changes.extend(part);
                }
                reader.release(&transaction);
                all.push((transaction.mark.clone(), changes));
            }
        }
        all
    }

    #[test]
    fn any_budget_gives_back_the_same_transactions_in_commit_order() {
        for budget in [0, 4_000, 300_000, usize::MAX] {
            let (mut writer, mut reader, _dir) = cache(budget);
            let mut wanted = Vec::new();
            for number in 0..200_u64 {
                let tx = TxId(number);
                let changes: Vec<_> = (0..number % 7).map(|step| insert(number * 10 + step, 100)).collect();
                changes.iter().for_each(|change| writer.push(tx, tx, change.clone()).unwrap());
                writer.commit(tx, mark(number), 0).unwrap();
                wanted.push((mark(number), changes));
            }
            writer.flush().unwrap();
            assert_eq!(drain(&mut reader), wanted, "budget {budget}");
            assert_eq!(reader.gauge().size(), CacheSize::default(), "budget {budget}");
        }
    }

    #[test]
    fn interleaved_large_transactions_keep_their_changes_and_lose_what_was_rolled_back() {
        let (mut writer, mut reader, _dir) = cache(200_000);
        let (one, two, void, sub) = (TxId(1), TxId(2), TxId(3), TxId(4));
        for number in 0..2_000 {
            writer.push(one, one, insert(number, 200)).unwrap();
            writer.push(two, if number % 2 == 0 { two } else { sub }, insert(number, 200)).unwrap();
            writer.push(void, void, insert(number, 200)).unwrap();
        }
        writer.abort(two, sub);
        writer.abort(void, void);
        writer.commit(two, mark(20), 0).unwrap();
        writer.commit(one, mark(30), 0).unwrap();
        assert!(reader.gauge().size().memory_bytes <= 400_000 && reader.gauge().size().disk_bytes > 0, "{:?}", reader.gauge().size());
        let all = drain(&mut reader);
        assert_eq!(
            all.iter().map(|(mark, changes)| (mark.clone(), changes.len())).collect::<Vec<_>>(),
            [(mark(20), 1_000), (mark(30), 2_000)]
        );
        assert_eq!(reader.gauge().size(), CacheSize::default());
    }

    #[test]
    fn a_backlog_of_transactions_that_go_to_disk_leaves_nothing_of_each_in_memory() {
        const BUDGET: usize = 200_000;
        let (mut writer, mut reader, _dir) = cache(BUDGET);
        for number in 0..300 {
            (0..100).for_each(|step| writer.push(TxId(number), TxId(number), insert(step, 900)).unwrap());
            writer.commit(TxId(number), mark(number), 0).unwrap();
            writer.flush().unwrap();
            let held = reader.gauge().size().memory_bytes as usize;
            assert!(held <= BUDGET + 100_000, "{held} bytes after {number} transactions");
        }
        let all = drain(&mut reader);
        assert!(all.iter().enumerate().all(|(number, (found, changes))| *found == mark(number as u64) && changes.len() == 100));
        assert_eq!((all.len(), reader.gauge().size()), (300, CacheSize::default()));
    }

    #[test]
    fn memory_follows_the_units_of_a_running_task() {
        const UNIT: usize = 100_000;
        let dir = tempfile::tempdir().unwrap();
        let (granted, units) = tokio::sync::watch::channel(0);
        let budget = Budget { memory: CacheMemory::EachUnit(UNIT), units: Units::following(units) };
        let (mut writer, mut reader) = open(dir.path(), budget).unwrap();
        let mut number = 0;
        // Small transactions, until memory holds no more of them; answers what it holds then.
        let mut fill = |writer: &mut CacheWriter, reader: &CacheReader| {
            let disk_bytes = reader.gauge().size().disk_bytes;
            while reader.gauge().size().disk_bytes == disk_bytes {
                number += 1;
                writer.push(TxId(number), TxId(number), insert(number, 1_000)).unwrap();
                writer.commit(TxId(number), mark(number), 0).unwrap();
                writer.flush().unwrap();
            }
            reader.gauge().size().memory_bytes as usize
        };
        for (units, wanted) in [(0, UNIT), (1, UNIT), (4, 4 * UNIT), (2, 4 * UNIT)] {
            granted.send_replace(units);
            writer.flush().unwrap();
            let held = fill(&mut writer, &reader);
            assert!((wanted - 5_000..wanted + 5_000).contains(&held), "{held} bytes with {units} units");
        }
        let all = drain(&mut reader);
        assert!(all.iter().map(|(found, _)| found.clone()).eq((1..=all.len() as u64).map(mark)), "in order, and none is missing");
        assert!(all.len() > 4 * UNIT / 1_250 && reader.gauge().size() == CacheSize::default());
        assert!((2 * UNIT - 5_000..2 * UNIT + 5_000).contains(&fill(&mut writer, &reader)), "once it is read, the smaller budget holds");
    }

    #[test]
    fn idle_positions_do_not_pile_up() {
        let (mut writer, mut reader, _dir) = cache(1_000);
        for number in 0..5 {
            writer.idle(Position::Postgres(Lsn(number))).unwrap();
        }
        assert!(matches!(reader.try_next().unwrap(), Some(Entry::Idle(Position::Postgres(Lsn(4))))));
        assert!(reader.try_next().unwrap().is_none());
    }
}
