//! Decoder of pgoutput, PostgreSQL's logical replication messages, protocol version 2.
//!
//! Bytes in, messages out; every length is checked, and what does not fit is an error, never a panic. Nothing here
//! talks to a server or knows a catalog. Inside a stream block (between Stream Start and Stream Stop) change messages
//! carry the number of their (sub)transaction, outside they do not, so the caller says where it is.
//! Source: PostgreSQL manual, "Logical Replication Message Formats".

mod message;
mod reader;
mod tuple;

pub(crate) use message::{Message, OldTuple, RelationMessage, decode};
pub(crate) use reader::Malformed;
pub(crate) use tuple::Tuple;

/// Fuzzing door: decodes bytes as a message would be, inside and outside a stream block, and reads its rows.
/// Returns whether either was well formed.
pub fn probe(bytes: &[u8]) -> bool {
    [false, true].into_iter().any(|in_stream| match decode(bytes, in_stream) {
        Ok(Message::Insert { new, .. }) => new.row(&[], &bytes::Bytes::new()).is_ok(),
        Ok(Message::Update { old, new, .. }) => {
            old.is_none_or(|old| old.tuple().row(&[], &bytes::Bytes::new()).is_ok()) && new.row(&[], &bytes::Bytes::new()).is_ok()
        }
        Ok(Message::Delete { old, .. }) => old.tuple().row(&[true], &bytes::Bytes::new()).is_ok(),
        Ok(_) => true,
        Err(_) => false,
    })
}
