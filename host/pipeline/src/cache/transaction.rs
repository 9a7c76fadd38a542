//! Transactions in the change cache: open ones that grow, committed ones that are read once, in order.

use std::collections::HashSet;
use std::io;

use bytes::{BufMut, Bytes};
use tidegate_connector::TxId;
use tidegate_model::{Change, RowSink, TxMark};

use super::mark::{put_mark, take_mark};
use super::rope::Rope;
use super::spill::{Block, Spill};

/// Bytes of changes that one block on disk holds, about: what a reader of a large transaction keeps in memory.
const BLOCK_BYTES: usize = 1 << 20;

/// A step of a transaction with the subtransaction that made it.
type Step = (TxId, Change);

/// A transaction whose commit was not seen yet.
pub(crate) struct OpenTransaction {
    tx: TxId,
    tail: Vec<Step>,
    tail_bytes: usize,
    blocks: Vec<Block>,
    aborted: HashSet<TxId>,
    changes: u64,
    bytes: u64,
}

impl OpenTransaction {
    pub(crate) fn new(tx: TxId) -> Self {
        Self { tx, tail: Vec::new(), tail_bytes: 0, blocks: Vec::new(), aborted: HashSet::new(), changes: 0, bytes: 0 }
    }

    /// Adds a change and returns the bytes of memory that it takes.
    pub(crate) fn push(&mut self, sub: TxId, change: Change) -> usize {
        let bytes = change.bytes_held() + size_of::<TxId>();
        self.tail_bytes += bytes;
        self.changes += 1;
        self.bytes += bytes as u64;
        self.tail.push((sub, change));
        bytes
    }

    /// Voids what a subtransaction did, both before and (PostgreSQL numbers are not used again) after this call.
    pub(crate) fn abort(&mut self, sub: TxId) {
        self.aborted.insert(sub);
    }

    /// Bytes of memory held.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.tail_bytes
    }

    /// True when part of it is on disk.
    pub(crate) fn is_spilled(&self) -> bool {
        !self.blocks.is_empty()
    }

    /// Moves what is in memory to disk and returns the bytes that came free.
    pub(crate) fn spill(&mut self, spill: &mut Spill) -> io::Result<usize> {
        let mut buffer = Rope::with_capacity(BLOCK_BYTES.min(self.tail_bytes) + 4096);
        for (sub, change) in self.tail.drain(..) {
            buffer.buffer().put_u64_le(sub.0);
            change.write_to(&mut buffer);
            if buffer.len() >= BLOCK_BYTES {
                self.blocks.push(spill.append(&buffer)?);
                buffer.clear();
            }
        }
        if !buffer.is_empty() {
            self.blocks.push(spill.append(&buffer)?);
        }
        self.tail = Vec::new();
        Ok(std::mem::take(&mut self.tail_bytes))
    }

    /// The transaction, complete and final.
    pub(crate) fn commit(mut self, mark: TxMark, committed_at_us: i64) -> CommittedTransaction {
        self.tail.retain(|(sub, _)| !self.aborted.contains(sub));
        CommittedTransaction {
            mark,
            committed_at_us,
            memory_bytes: self.tail_bytes,
            // Rolled-back parts on disk cannot be told without reading them: they count until the transaction is applied.
            changes: if self.blocks.is_empty() { self.tail.len() as u64 } else { self.changes },
            bytes: self.bytes,
            aborted: self.aborted,
            blocks: self.blocks.into(),
            tail: self.tail,
        }
    }

    /// Its number in the stream.
    pub(crate) fn id(&self) -> TxId {
        self.tx
    }
}

/// A committed transaction that waits to be applied.
#[derive(Debug)]
pub(crate) struct CommittedTransaction {
    pub(crate) mark: TxMark,
    pub(crate) committed_at_us: i64,
    memory_bytes: usize,
    changes: u64,
    bytes: u64,
    aborted: HashSet<TxId>,
    blocks: std::collections::VecDeque<Block>,
    tail: Vec<Step>,
}

impl CommittedTransaction {
    /// Bytes of memory held while it waits.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// Changes in it.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// Bytes of its changes, in memory and on disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// True when part of it is on disk.
    pub(crate) fn is_spilled(&self) -> bool {
        !self.blocks.is_empty()
    }

    /// The next changes in order, at most about a block's worth where they come from disk; `None` at the end.
    pub(crate) fn next_part(&mut self) -> io::Result<Option<Vec<Change>>> {
        if let Some(block) = self.blocks.pop_front() {
            let bytes = block.read()?;
            let mut input = &bytes[..];
            let mut part = Vec::new();
            while !input.is_empty() {
                let (sub, change) = read_step(&mut input, &bytes)
                    .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "segment block cannot be read"))?;
                if !self.aborted.contains(&sub) {
                    part.push(change);
                }
            }
            return Ok(Some(part));
        }
        if self.tail.is_empty() {
            return Ok(None);
        }
        Ok(Some(std::mem::take(&mut self.tail).into_iter().map(|(_, change)| change).collect()))
    }

    /// Writes a transaction that is wholly in memory, in the form that [`CommittedTransaction::read_from`] reads.
    pub(super) fn write_to(&self, out: &mut Rope) {
        let buffer = out.buffer();
        put_mark(&self.mark, buffer);
        buffer.put_i64_le(self.committed_at_us);
        buffer.put_u32_le(self.tail.len() as u32);
        for (_, change) in &self.tail {
            change.write_to(out);
        }
    }

    /// Reads the next transaction of a run.
    pub(crate) fn read_from(input: &mut &[u8], whole: &Bytes) -> Option<CommittedTransaction> {
        let mark = take_mark(input)?;
        let committed_at_us = i64::from_le_bytes(take(input)?);
        let count = take_u32(input)?;
        let mut tail = Vec::new();
        let mut memory_bytes = 0;
        for _ in 0..count {
            let change = Change::read_from(input, whole)?;
            memory_bytes += change.bytes_held();
            tail.push((TxId(0), change));
        }
        let (changes, bytes) = (tail.len() as u64, memory_bytes as u64);
        Some(CommittedTransaction {
            mark,
            committed_at_us,
            memory_bytes,
            changes,
            bytes,
            aborted: HashSet::new(),
            blocks: Default::default(),
            tail,
        })
    }
}

fn read_step(input: &mut &[u8], whole: &Bytes) -> Option<Step> {
    let sub = TxId(u64::from_le_bytes(take(input)?));
    Some((sub, Change::read_from(input, whole)?))
}

fn take_u32(input: &mut &[u8]) -> Option<u32> {
    take(input).map(u32::from_le_bytes)
}

pub(super) fn take<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = input.split_first_chunk::<N>()?;
    *input = rest;
    Some(*head)
}
