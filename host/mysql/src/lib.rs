//! MySQL and MariaDB as sources (snapshot by key ranges, changes from the binary log) and as targets ([`target`]).
//!
//! ```text
//!   connect ── catalog
//!      └── raw (large packets) ──┬── snapshot ──▶ neutral rows, each reader with its window
//!                                └── stream ────▶ wire ─▶ binlog (decoders) ─▶ assemble ─▶ StreamEvents
//! ```
//!
//! Both ways of reading make the same neutral cells of the same value. Positions are GTIDs; a file and an offset are
//! never stored. What cannot be replicated exactly (zero dates, rows logged as text, incomplete images, prepared XA
//! transactions, compressed columns) is an error that names its place, never a guess.

mod binlog;
mod catalog;
mod charset;
mod check;
mod connect;
mod fault;
mod log_place;
mod loopback;
mod neutral;
mod objects;
mod raw;
mod snapshot;
mod source;
mod stream;
pub mod target;

pub use source::MysqlSource;
