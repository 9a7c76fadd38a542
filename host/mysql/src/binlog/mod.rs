//! Our own decoder of binary log events, over raw bytes.
//!
//! What events mean is read here and not by a driver, because one that skips an event it does not know loses rows. Each module reads
//! one thing, checks every length, and panics on no bytes.

pub(crate) mod bytes;
pub(crate) mod cell;
mod decimal;
pub(crate) mod event;
pub(crate) mod json;
pub(crate) mod payload;
pub(crate) mod rows;
pub(crate) mod statement;
pub(crate) mod table_map;
pub(crate) mod words;

#[cfg(test)]
mod hostile_bytes;
