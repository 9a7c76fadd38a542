//! What tests and the demo stand on: private servers, a proxy with faults, the real binary, workloads, comparison.
//!
//! Every server is the test's own: its own data directory, its own port, gone when the value is dropped, and gone as
//! well when the test's process is killed (see [`instance`]). Nothing that was running before is used or touched. The
//! programs come from `cargo xtask setup`; a missing one is a panic that says so, never a test that passes silently.
//!
//! These are tools for tests: what a test cannot go on without panics here, with the server's log in the message.

mod binaries;
pub mod browser;
pub mod catalogue;
mod certificate;
pub mod compare;
pub mod flood;
mod instance;
mod keyring;
mod lease;
pub mod mysql;
pub mod neighbour;
pub mod pooler;
pub mod postgres;
pub mod process;
pub mod prometheus;
pub mod proxy;
mod shared_memory;
mod small_disk;
mod template;
pub mod tenant;
pub mod upload;
pub mod wait;
pub mod workload;

pub use binaries::cache_dir;
pub use browser::Browser;
pub use compare::{Comparison, Database, TablePair, compare_databases, compare_while_loading};
pub use mysql::{MysqlFlavour, MysqlServer};
pub use postgres::{PostgresServer, PostgresVersion};
pub use process::Tidegate;
pub use proxy::{Direction, Fault, Proxy};
pub use tenant::Tenant;
pub use wait::wait_for;
pub use workload::{Workload, WorkloadPlan};
