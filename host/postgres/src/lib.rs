//! PostgreSQL as a source (pgoutput, exported snapshots) and as a target (COPY, set-based apply).

mod connect;
pub mod source;
pub mod target;
