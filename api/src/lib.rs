//! The control plane: native REST under `/v1`, the DMS wire protocol on `POST /`, the web console on `GET /`, metrics and health.
//!
//! ```text
//!   request ─▶ guard (host, body) ─▶ key ─▶ handler ─▶ catalog ─▶ (host process) ─▶ catalog ─▶ answer
//! ```
//!
//! It reads and writes the catalog and nothing else: what takes work (testing a connection, checking a task, cleaning
//! up) is a request or a desired state there, which the host process carries out. Every error is
//! `application/problem+json` with a stable code; unknown keys are refused; passwords go in and never come out.

mod characters;
mod console;
pub mod dms;
mod endpoint_body;
mod endpoints;
mod events;
mod fields;
mod guard;
mod health;
mod history;
mod keys;
mod loopback;
mod module_test;
mod modules;
mod name;
pub mod problem;
mod routes;
mod row_errors;
pub mod serve;
mod settings_body;
mod state;
mod swap;
mod task_body;
mod task_view;
mod tasks;

pub use routes::{listed_routes, router};
pub use serve::serve;
pub use state::{ApiState, Contract, ModuleRules};
