//! PostgreSQL as a source (pgoutput, exported snapshots) and as a target (COPY, set-based apply).

mod connect;
mod fault;
pub mod pgoutput;
pub mod source;
pub mod target;
mod tls;
mod types;
mod wire;
