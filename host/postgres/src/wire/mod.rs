//! A replication connection: what the ordinary driver cannot speak.
//!
//! Start-up with `replication=database`, password exchange, simple queries (`CREATE_REPLICATION_SLOT`,
//! `START_REPLICATION`), and then the two-way copy stream. Frames are bounded, malformed ones are errors, and every
//! method can be cancelled while it waits: bytes that arrived or wait to be sent stay in the connection.
//! Source: PostgreSQL manual, "Frontend/Backend Protocol" and "Streaming Replication Protocol".

mod frame;
mod replication;
mod startup;

pub(crate) use frame::WireConnection;
pub(crate) use replication::{CopyMessage, SlotKind};
