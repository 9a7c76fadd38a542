//! The messages.

use tidegate_model::Lsn;

use super::reader::{Malformed, Reader};
use super::tuple::Tuple;
use crate::types::calendar::EPOCH_US;

/// A column as a Relation message has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RelationColumn {
    /// Part of the replica identity. With identity FULL every column is flagged.
    pub(crate) key: bool,
    pub(crate) name: String,
    pub(crate) type_oid: u32,
    pub(crate) modifier: i32,
}

/// A table's description at the place in the log where it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RelationMessage {
    pub(crate) oid: u32,
    pub(crate) schema: String,
    pub(crate) name: String,
    /// `pg_class.relreplident`: d default, n nothing, f full, i index.
    pub(crate) replica_identity: u8,
    pub(crate) columns: Vec<RelationColumn>,
}

/// The old image of an update or delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OldTuple<'a> {
    /// Identity columns alone.
    Key(Tuple<'a>),
    /// Everything.
    Full(Tuple<'a>),
}

impl<'a> OldTuple<'a> {
    pub(crate) fn tuple(&self) -> Tuple<'a> {
        match self {
            OldTuple::Key(tuple) | OldTuple::Full(tuple) => *tuple,
        }
    }
}

/// One message. `xid` is there inside stream blocks: the (sub)transaction of the change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    Begin {
        xid: u32,
    },
    Commit {
        end: Lsn,
        committed_at_us: i64,
    },
    Relation {
        xid: Option<u32>,
        relation: RelationMessage,
    },
    Insert {
        xid: Option<u32>,
        oid: u32,
        new: Tuple<'a>,
    },
    Update {
        xid: Option<u32>,
        oid: u32,
        old: Option<OldTuple<'a>>,
        new: Tuple<'a>,
    },
    Delete {
        xid: Option<u32>,
        oid: u32,
        old: OldTuple<'a>,
    },
    Truncate {
        xid: Option<u32>,
        oids: Vec<u32>,
    },
    StreamStart {
        xid: u32,
    },
    StreamStop,
    StreamCommit {
        xid: u32,
        end: Lsn,
        committed_at_us: i64,
    },
    StreamAbort {
        xid: u32,
        sub_xid: u32,
    },
    /// A logical message of a transaction.
    Logical {
        prefix: &'a str,
        content: &'a [u8],
    },
    /// Origin, Type and messages outside of transactions: nothing for us.
    Ignored,
}

impl Message<'_> {
    /// True for a change of rows.
    pub(crate) fn changes_rows(&self) -> bool {
        matches!(self, Message::Insert { .. } | Message::Update { .. } | Message::Delete { .. } | Message::Truncate { .. })
    }
}

/// Decodes one message; `in_stream` says whether it stands between Stream Start and Stream Stop.
pub(crate) fn decode(bytes: &[u8], in_stream: bool) -> Result<Message<'_>, Malformed> {
    let mut reader = Reader::new(bytes);
    let tag = reader.u8()?;
    let message = match tag {
        b'B' => begin(&mut reader)?,
        b'C' => commit(&mut reader)?,
        b'S' => {
            let xid = reader.u32()?;
            reader.u8()?;
            Message::StreamStart { xid }
        }
        b'E' => Message::StreamStop,
        b'c' => stream_commit(&mut reader)?,
        b'A' => Message::StreamAbort { xid: reader.u32()?, sub_xid: reader.u32()? },
        b'O' | b'Y' => return Ok(Message::Ignored),
        b'M' => logical(&mut reader, in_stream)?,
        b'R' | b'I' | b'U' | b'D' | b'T' => {
            let xid = if in_stream { Some(reader.u32()?) } else { None };
            change(tag, xid, &mut reader)?
        }
        _ => return Err(Malformed("unknown kind of message")),
    };
    if reader.is_empty() { Ok(message) } else { Err(Malformed("bytes after its end")) }
}

fn logical<'a>(reader: &mut Reader<'a>, in_stream: bool) -> Result<Message<'a>, Malformed> {
    if in_stream {
        reader.u32()?;
    }
    let is_transactional = reader.u8()? & 1 == 1;
    reader.u64()?;
    let prefix = reader.text()?;
    let length = reader.u32()? as usize;
    let content = reader.take(length)?;
    Ok(if is_transactional { Message::Logical { prefix, content } } else { Message::Ignored })
}

fn begin(reader: &mut Reader<'_>) -> Result<Message<'static>, Malformed> {
    reader.u64()?;
    reader.i64()?;
    Ok(Message::Begin { xid: reader.u32()? })
}

fn commit(reader: &mut Reader<'_>) -> Result<Message<'static>, Malformed> {
    reader.u8()?;
    reader.u64()?;
    Ok(Message::Commit { end: Lsn(reader.u64()?), committed_at_us: since_1970(reader.i64()?)? })
}

fn stream_commit(reader: &mut Reader<'_>) -> Result<Message<'static>, Malformed> {
    let xid = reader.u32()?;
    reader.u8()?;
    reader.u64()?;
    Ok(Message::StreamCommit { xid, end: Lsn(reader.u64()?), committed_at_us: since_1970(reader.i64()?)? })
}

fn change<'a>(tag: u8, xid: Option<u32>, reader: &mut Reader<'a>) -> Result<Message<'a>, Malformed> {
    Ok(match tag {
        b'R' => Message::Relation { xid, relation: relation(reader)? },
        b'I' => {
            let oid = reader.u32()?;
            expect(reader, b'N')?;
            Message::Insert { xid, oid, new: Tuple::read(reader)? }
        }
        b'U' => {
            let oid = reader.u32()?;
            let old = match reader.u8()? {
                b'N' => None,
                kind => {
                    let old = old_tuple(kind, reader)?;
                    expect(reader, b'N')?;
                    Some(old)
                }
            };
            Message::Update { xid, oid, old, new: Tuple::read(reader)? }
        }
        b'D' => {
            let oid = reader.u32()?;
            let kind = reader.u8()?;
            Message::Delete { xid, oid, old: old_tuple(kind, reader)? }
        }
        _ => {
            let count = reader.u32()? as usize;
            // Options: cascade and restart identity. Both were done at the source; the list has every table.
            reader.u8()?;
            // Each takes four bytes, which bounds the allocation by the message.
            if count > reader.rest().len() / 4 {
                return Err(Malformed("more tables than bytes"));
            }
            let oids = (0..count).map(|_| reader.u32()).collect::<Result<Vec<_>, _>>()?;
            Message::Truncate { xid, oids }
        }
    })
}

fn relation(reader: &mut Reader<'_>) -> Result<RelationMessage, Malformed> {
    let oid = reader.u32()?;
    let schema = match reader.text()? {
        "" => "pg_catalog",
        schema => schema,
    };
    let name = reader.text()?;
    let replica_identity = reader.u8()?;
    let count = reader.u16()?;
    let mut columns = Vec::new();
    for _ in 0..count {
        let key = reader.u8()? & 1 == 1;
        let name = reader.text()?.to_owned();
        columns.push(RelationColumn { key, name, type_oid: reader.u32()?, modifier: reader.i32()? });
    }
    Ok(RelationMessage { oid, schema: schema.to_owned(), name: name.to_owned(), replica_identity, columns })
}

fn old_tuple<'a>(kind: u8, reader: &mut Reader<'a>) -> Result<OldTuple<'a>, Malformed> {
    match kind {
        b'K' => Ok(OldTuple::Key(Tuple::read(reader)?)),
        b'O' => Ok(OldTuple::Full(Tuple::read(reader)?)),
        _ => Err(Malformed("unknown kind of tuple")),
    }
}

fn expect(reader: &mut Reader<'_>, wanted: u8) -> Result<(), Malformed> {
    if reader.u8()? == wanted { Ok(()) } else { Err(Malformed("unknown kind of tuple")) }
}

fn since_1970(us: i64) -> Result<i64, Malformed> {
    us.checked_add(EPOCH_US).ok_or(Malformed("clock out of range"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_model::Cell;

    fn bytes(parts: &[&[u8]]) -> Vec<u8> {
        parts.concat()
    }

    #[test]
    fn changes_carry_a_transaction_inside_a_stream_block_alone() {
        let tail: &[u8] = b"\0\0\0\x07N\0\x02nb\0\0\0\x01x";
        let outside = bytes(&[b"I", tail]);
        let inside = bytes(&[b"I\0\0\0\x2a", tail]);
        assert!(matches!(decode(&outside, false), Ok(Message::Insert { xid: None, oid: 7, new }) if new.len() == 2));
        assert!(matches!(decode(&inside, true), Ok(Message::Insert { xid: Some(42), oid: 7, .. })));
        assert!(decode(&inside, false).is_err());
    }

    #[test]
    fn key_tuples_have_no_values_outside_the_key() {
        let message = b"D\0\0\0\x07K\0\x03nb\0\0\0\x01kn";
        let Ok(Message::Delete { old: OldTuple::Key(tuple), .. }) = decode(message, false) else { panic!("a delete by key") };
        let row = tuple.row(&[false, true, false], &bytes::Bytes::new()).expect("checked");
        let cells: Vec<_> = row.cells().collect();
        assert_eq!(cells, [Cell::Absent, Cell::Binary(b"k"), Cell::Absent]);
    }

    #[test]
    fn cut_messages_are_errors() {
        let whole = b"U\0\0\0\x07O\0\x01t\0\0\0\x02abN\0\x02ub\0\0\0\0";
        assert!(matches!(decode(whole, false), Ok(Message::Update { old: Some(OldTuple::Full(_)), .. })));
        for cut in 0..whole.len() {
            assert!(decode(&whole[..cut], false).is_err(), "cut at {cut}");
        }
        assert!(decode(&bytes(&[whole, b"x"]), false).is_err());
        assert!(decode(b"T\xff\xff\xff\xff\0", false).is_err());
        assert!(decode(b"I\0\0\0\x07N\0\x01b\xff\xff\xff\xff", false).is_err());
    }
}
