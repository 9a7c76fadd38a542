//! PostgreSQL as a source (pgoutput, exported snapshots) and as a target (COPY, set-based apply).
//!
//! `connect` opens sessions with pinned settings, `wire` speaks the replication protocol, which the driver cannot;
//! `pgoutput` decodes the log and `types` the values. Errors of the server become classes in `fault`, without the row
//! values that its messages may quote.

mod collation;
mod connect;
mod fault;
pub mod pgoutput;
pub mod source;
pub mod target;
mod types;
mod wire;
