//! Changes as a source's log tells them.

use bytes::{BufMut, Bytes};

use crate::row::{Row, RowSink};

/// What a row image is; the numbers are those of the module contract (`batch.kinds`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ImageKind {
    /// A row of the full load.
    Snapshot = 0,
    /// The row of an insert.
    Insert = 1,
    /// The row before an update.
    UpdateBefore = 2,
    /// The row after an update.
    UpdateAfter = 3,
    /// The row of a delete.
    Delete = 4,
}

/// A change of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowChange {
    /// A new row, complete.
    Insert {
        /// The row.
        new: Row,
    },
    /// A changed row.
    Update {
        /// The old row as far as the log has it. `None`: the identity columns did not change.
        old: Option<Row>,
        /// The new row; cells may be `Unchanged`.
        new: Row,
    },
    /// A removed row.
    Delete {
        /// The old row; columns outside the identity may be `Absent`.
        old: Row,
    },
}

/// A description of a table within one stream: a new number for each table and each version of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelationId(pub u32);

/// What happened to a table beside its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Upheaval {
    /// The table is gone; another may have its name by now.
    Dropped = 1,
    /// The table has another name, or another table has its name.
    Renamed = 2,
    /// Rows came or went with a partition, a tablespace or an exchange of tables.
    Moved = 3,
    /// A column came; rows that were there have something in it.
    ColumnAdded = 4,
    /// A column is gone.
    ColumnDropped = 5,
    /// A column has another name, and another may have its name.
    ColumnRenamed = 6,
    /// Values of a column were converted.
    ColumnRetyped = 7,
}

/// One step of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A row changed.
    Row {
        /// The table, as announced before in the stream.
        relation: RelationId,
        /// What happened.
        change: RowChange,
    },
    /// Tables were emptied, all at once.
    Truncate {
        /// The tables that the task replicates among those truncated.
        relations: Vec<RelationId>,
    },
    /// A table's rows are others than before, and the log does not tell which.
    Unlogged {
        /// The table, as announced before in the stream.
        relation: RelationId,
        /// Why.
        upheaval: Upheaval,
    },
}

impl Change {
    /// Bytes of memory that the change holds.
    pub fn bytes_held(&self) -> usize {
        size_of::<Self>()
            + match self {
                Change::Row { change: RowChange::Insert { new }, .. } => new.bytes_held(),
                Change::Row { change: RowChange::Update { old, new }, .. } => new.bytes_held() + old.as_ref().map_or(0, Row::bytes_held),
                Change::Row { change: RowChange::Delete { old }, .. } => old.bytes_held(),
                Change::Truncate { relations } => relations.len() * size_of::<RelationId>(),
                Change::Unlogged { .. } => 0,
            }
    }

    /// Writes the change in the form that [`Change::read_from`] reads, for the change cache's segment files.
    pub fn write_to(&self, out: &mut impl RowSink) {
        let buffer = out.buffer();
        match self {
            Change::Row { relation, change } => {
                let (tag, first, second) = match change {
                    RowChange::Insert { new } => (1, new, None),
                    RowChange::Update { old: None, new } => (2, new, None),
                    RowChange::Update { old: Some(old), new } => (3, new, Some(old)),
                    RowChange::Delete { old } => (4, old, None),
                };
                buffer.put_u8(tag);
                buffer.put_u32_le(relation.0);
                first.write_to(out);
                if let Some(second) = second {
                    second.write_to(out);
                }
            }
            Change::Unlogged { relation, upheaval } => {
                buffer.put_u8(6);
                buffer.put_u32_le(relation.0);
                buffer.put_u8(*upheaval as u8);
            }
            Change::Truncate { relations } => {
                buffer.put_u8(5);
                buffer.put_u32_le(relations.len() as u32);
                for relation in relations {
                    buffer.put_u32_le(relation.0);
                }
            }
        }
    }

    /// Reads what [`Change::write_to`] wrote and moves `input` past it; `None` when `input` is cut or no such form. Large
    /// cells share `whole`, where `input` lies in it.
    pub fn read_from(input: &mut &[u8], whole: &Bytes) -> Option<Change> {
        let (tag, rest) = input.split_first()?;
        *input = rest;
        let number = take_u32(input)?;
        let relation = RelationId(number);
        let change = match tag {
            1 => RowChange::Insert { new: Row::read_from(input, whole)? },
            2 => RowChange::Update { old: None, new: Row::read_from(input, whole)? },
            3 => {
                let new = Row::read_from(input, whole)?;
                RowChange::Update { old: Some(Row::read_from(input, whole)?), new }
            }
            4 => RowChange::Delete { old: Row::read_from(input, whole)? },
            5 => {
                let relations = (0..number).map(|_| take_u32(input).map(RelationId)).collect::<Option<Vec<_>>>()?;
                return Some(Change::Truncate { relations });
            }
            6 => {
                let (upheaval, rest) = input.split_first()?;
                *input = rest;
                let upheaval = match upheaval {
                    1 => Upheaval::Dropped,
                    2 => Upheaval::Renamed,
                    3 => Upheaval::Moved,
                    4 => Upheaval::ColumnAdded,
                    5 => Upheaval::ColumnDropped,
                    6 => Upheaval::ColumnRenamed,
                    7 => Upheaval::ColumnRetyped,
                    _ => return None,
                };
                return Some(Change::Unlogged { relation, upheaval });
            }
            _ => return None,
        };
        Some(Change::Row { relation, change })
    }
}

fn take_u32(input: &mut &[u8]) -> Option<u32> {
    let (head, rest) = input.split_first_chunk::<4>()?;
    *input = rest;
    Some(u32::from_le_bytes(*head))
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::row::{Cell, RowBuilder};

    #[test]
    fn a_change_read_back_is_the_change_written() {
        let row = |text: &[u8]| {
            let mut builder = RowBuilder::default();
            builder.push(Cell::Binary(text));
            builder.push(Cell::Unchanged);
            builder.finish()
        };
        let relation = RelationId(7);
        let changes = [
            Change::Row { relation, change: RowChange::Insert { new: row(b"a") } },
            Change::Row { relation, change: RowChange::Update { old: None, new: row(b"b") } },
            Change::Row { relation, change: RowChange::Update { old: Some(row(b"a")), new: row(b"b") } },
            Change::Row { relation, change: RowChange::Delete { old: row(b"b") } },
            Change::Truncate { relations: vec![RelationId(1), RelationId(2)] },
            Change::Unlogged { relation, upheaval: Upheaval::Moved },
            Change::Unlogged { relation, upheaval: Upheaval::ColumnRetyped },
        ];
        let mut out = BytesMut::new();
        for change in &changes {
            change.write_to(&mut out);
        }
        let mut input = &out[..];
        for change in &changes {
            assert_eq!(Change::read_from(&mut input, &Bytes::new()).as_ref(), Some(change));
        }
        assert!(input.is_empty());
        assert_eq!(Change::read_from(&mut input, &Bytes::new()), None);
    }
}
