//! Changes of tables that are not in the stream yet: each table's own queue, in memory up to a small budget, then in
//! segment files.
//!
//! ```text
//!   assembler ──set aside──▶ [ begin mark, change, change, end │ begin mark, ... ] ──when the table is loaded──▶ assembler
//! ```
//!
//! Nothing here is durable. The source keeps its log for these tables, so a new run fills the queues again.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{BufMut, Bytes};
use tidegate_model::{Change, RowSink, TableName};

use super::Shared;
use super::mark::{put_mark, take_mark};
use super::rope::Rope;
use super::spill::{Block, Spill};
use super::transaction::take;
use crate::header::TransactionHeader;

/// Bytes of one table's changes that make a block on disk.
const BLOCK_BYTES: usize = 256 << 10;

/// Bytes of all tables' changes that wait in memory for their block to fill up.
const TAILS_BYTES_MAX: usize = 8 << 20;

/// Tags of records.
const BEGIN: u8 = 1;
const CHANGE: u8 = 2;
const END: u8 = 3;

/// What a table's queue gives back, in the order in which it was set aside.
#[derive(Debug)]
pub(crate) enum Item {
    /// Changes of this transaction follow.
    Begin(TransactionHeader),
    /// A change of the table.
    Change {
        change: Change,
        /// Its number in the transaction.
        number: u64,
        /// What it took.
        bytes: usize,
    },
    /// The transaction has no more changes of this table.
    End,
}

/// See the module's documentation.
pub(crate) struct Aside {
    spill: Spill,
    shared: Arc<Shared>,
    queues: HashMap<TableName, Queue>,
    /// Tables with changes of the transaction that is being set aside.
    touched: Vec<TableName>,
    tails_bytes: usize,
}

#[derive(Default)]
struct Queue {
    reading: Option<(Bytes, usize)>,
    blocks: VecDeque<Block>,
    tail: Rope,
    in_transaction: bool,
}

impl Aside {
    pub(super) fn open(dir: &Path, shared: Arc<Shared>) -> io::Result<Self> {
        let spill = Spill::open(&dir.join("aside"), shared.disk_bytes.clone())?;
        Ok(Self { spill, shared, queues: HashMap::new(), touched: Vec::new(), tails_bytes: 0 })
    }

    /// Sets a change of a transaction aside and returns the bytes that it takes.
    pub(crate) fn push(&mut self, table: &TableName, transaction: &TransactionHeader, number: u64, change: &Change) -> io::Result<usize> {
        if !self.queues.contains_key(table) {
            self.queues.insert(table.clone(), Queue::default());
        }
        let queue = self.queues.get_mut(table).expect("it was added above");
        let before = queue.tail.len();
        if !std::mem::replace(&mut queue.in_transaction, true) {
            let buffer = queue.tail.buffer();
            buffer.put_u8(BEGIN);
            put_mark(&transaction.mark, buffer);
            buffer.put_i64_le(transaction.committed_at_us);
            self.touched.push(table.clone());
        }
        queue.tail.buffer().put_u8(CHANGE);
        queue.tail.buffer().put_u64_le(number);
        change.write_to(&mut queue.tail);
        let bytes = queue.tail.len() - before;
        self.grown(table, bytes)?;
        Ok(bytes)
    }

    /// The transaction that was set aside has no more changes.
    pub(crate) fn end_transaction(&mut self) -> io::Result<()> {
        for table in std::mem::take(&mut self.touched) {
            let Some(queue) = self.queues.get_mut(&table).filter(|queue| queue.in_transaction) else { continue };
            queue.in_transaction = false;
            queue.tail.buffer().put_u8(END);
            self.grown(&table, 1)?;
        }
        Ok(())
    }

    /// The oldest of what is set aside for a table.
    pub(crate) fn next(&mut self, table: &TableName) -> io::Result<Option<Item>> {
        let Some(queue) = self.queues.get_mut(table) else { return Ok(None) };
        loop {
            if let Some((bytes, at)) = &mut queue.reading {
                if let Some(item) = read(bytes, at)? {
                    return Ok(Some(item));
                }
                self.shared.memory_bytes.fetch_sub(bytes.len(), Ordering::Relaxed);
                queue.reading = None;
            }
            let bytes = match queue.blocks.pop_front() {
                Some(block) => {
                    let bytes = block.read()?;
                    self.shared.memory_bytes.fetch_add(bytes.len(), Ordering::Relaxed);
                    bytes
                }
                None if queue.tail.is_empty() => return Ok(None),
                None => {
                    self.tails_bytes -= queue.tail.len();
                    std::mem::take(&mut queue.tail).to_bytes()
                }
            };
            queue.reading = Some((bytes, 0));
        }
    }

    /// True when nothing is set aside for a table.
    pub(crate) fn is_empty(&self, table: &TableName) -> bool {
        self.queues.get(table).is_none_or(|queue| {
            queue.blocks.is_empty() && queue.tail.is_empty() && queue.reading.as_ref().is_none_or(|(bytes, at)| *at == bytes.len())
        })
    }

    /// Forgets what is set aside for a table.
    pub(crate) fn forget(&mut self, table: &TableName) {
        let Some(queue) = self.queues.remove(table) else { return };
        let reading = queue.reading.as_ref().map_or(0, |(bytes, _)| bytes.len());
        self.tails_bytes -= queue.tail.len();
        self.shared.memory_bytes.fetch_sub(queue.tail.len() + reading, Ordering::Relaxed);
        self.touched.retain(|touched| touched != table);
    }

    fn grown(&mut self, table: &TableName, bytes: usize) -> io::Result<()> {
        self.tails_bytes += bytes;
        self.shared.memory_bytes.fetch_add(bytes, Ordering::Relaxed);
        if self.queues.get(table).is_some_and(|queue| queue.tail.len() >= BLOCK_BYTES) {
            return self.move_to_disk(&table.clone());
        }
        if self.tails_bytes < TAILS_BYTES_MAX {
            return Ok(());
        }
        let largest = self.queues.iter().max_by_key(|(_, queue)| queue.tail.len()).map(|(table, _)| table.clone());
        largest.map_or(Ok(()), |table| self.move_to_disk(&table))
    }

    fn move_to_disk(&mut self, table: &TableName) -> io::Result<()> {
        let Some(queue) = self.queues.get_mut(table) else { return Ok(()) };
        queue.blocks.push_back(self.spill.append(&queue.tail)?);
        self.tails_bytes -= queue.tail.len();
        self.shared.memory_bytes.fetch_sub(queue.tail.len(), Ordering::Relaxed);
        queue.tail = Rope::default();
        Ok(())
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        let tables: Vec<TableName> = self.queues.keys().cloned().collect();
        tables.iter().for_each(|table| self.forget(table));
    }
}

/// The record at `at`, which moves past it; `None` at the end.
fn read(bytes: &Bytes, at: &mut usize) -> io::Result<Option<Item>> {
    let mut input = &bytes[*at..];
    let length = input.len();
    let Some((tag, rest)) = input.split_first() else { return Ok(None) };
    input = rest;
    let item = match *tag {
        BEGIN => take_mark(&mut input)
            .zip(take(&mut input).map(i64::from_le_bytes))
            .map(|(mark, committed_at_us)| Item::Begin(TransactionHeader { mark, committed_at_us })),
        CHANGE => take(&mut input).map(u64::from_le_bytes).and_then(|number| {
            let change = Change::read_from(&mut input, bytes)?;
            Some(Item::Change { change, number, bytes: length - input.len() })
        }),
        END => Some(Item::End),
        _ => None,
    };
    *at += length - input.len();
    item.map(Some).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "changes that were set aside cannot be read"))
}

#[cfg(test)]
mod tests {
    use tidegate_model::change::RelationId;
    use tidegate_model::{Cell, Lsn, RowBuilder, RowChange, TxMark};

    use super::*;
    use crate::cache::{self, Budget};

    fn insert(number: u64, padding: usize) -> Change {
        let mut builder = RowBuilder::default();
        builder.push(Cell::Binary(&number.to_le_bytes()));
        builder.push(Cell::Binary(&vec![b'x'; padding]));
        Change::Row { relation: RelationId(1), change: RowChange::Insert { new: builder.finish() } }
    }

    fn header(number: u64) -> TransactionHeader {
        TransactionHeader { mark: TxMark::Postgres { end: Lsn(number) }, committed_at_us: number as i64 }
    }

    /// What a table gets back, as text.
    fn items(aside: &mut Aside, table: &TableName) -> Vec<String> {
        let next = || aside.next(table).unwrap();
        let text = |item| match item {
            Item::Begin(TransactionHeader { mark, committed_at_us }) => format!("{mark} {committed_at_us}"),
            Item::Change { change, number, .. } => format!("{number} {change:?}"),
            Item::End => "end".to_owned(),
        };
        std::iter::from_fn(next).map(text).collect()
    }

    #[test]
    fn each_table_gets_its_own_changes_back_by_transaction() {
        let dir = tempfile::tempdir().unwrap();
        let (_writer, reader) = cache::open(dir.path(), Budget::fixed(1 << 20)).unwrap();
        let mut aside = reader.open_aside(dir.path()).unwrap();
        let tables = [TableName::new("s", "a"), TableName::new("s", "b")];
        let mut wanted = [Vec::new(), Vec::new()];
        for number in 0..3_000_u64 {
            for (place, table) in tables.iter().enumerate() {
                let count = (number + place as u64) % 3;
                for step in 0..count {
                    let change = insert(number * 10 + step, 200);
                    assert!(aside.push(table, &header(number), step, &change).unwrap() > 200);
                    if step == 0 {
                        wanted[place].push(format!("{} {number}", header(number).mark));
                    }
                    wanted[place].push(format!("{step} {change:?}"));
                }
                if count > 0 {
                    wanted[place].push("end".to_owned());
                }
            }
            aside.end_transaction().unwrap();
        }
        assert!(reader.gauge().size().disk_bytes > 0);
        for (table, wanted) in tables.iter().zip(wanted) {
            assert!(!aside.is_empty(table));
            assert_eq!(items(&mut aside, table), wanted);
            assert!(aside.is_empty(table));
        }
        assert_eq!(reader.gauge().size(), cache::CacheSize::default());
    }

    #[test]
    fn what_is_forgotten_takes_neither_memory_nor_disk() {
        let dir = tempfile::tempdir().unwrap();
        let (_writer, reader) = cache::open(dir.path(), Budget::fixed(1 << 20)).unwrap();
        let mut aside = reader.open_aside(dir.path()).unwrap();
        let table = TableName::new("s", "a");
        for number in 0..5_000 {
            aside.push(&table, &header(1), number, &insert(number, 300)).unwrap();
        }
        assert!(reader.gauge().size().memory_bytes <= (BLOCK_BYTES + 1_000) as u64, "{:?}", reader.gauge().size());
        assert!(aside.next(&table).unwrap().is_some());
        aside.forget(&table);
        aside.end_transaction().unwrap();
        assert!(aside.is_empty(&table));
        assert_eq!(reader.gauge().size(), cache::CacheSize::default());
    }
}
