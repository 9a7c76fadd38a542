//! Runs tenants' modules: WebAssembly components of the package `tidegate:transform` in a sandbox.
//!
//! ```text
//!   bytes ─▶ Engine::compile ─▶ Compiled ─▶ Sandbox::new ─▶ plan (once a table) ─▶ transform (each batch)
//! ```
//!
//! A [`Sandbox`] belongs to one task and one worker. It lets a module use so much memory and so much of its thread's
//! CPU time, and gives it nothing else: no clock, no randomness, no file, no network. A module can be wrong, slow,
//! greedy or hostile: the call ends with a [`SandboxError`], and nothing that comes back is believed before it has
//! been checked. Calls are synchronous and belong on threads (of 2 MiB stack or more) apart from those that do I/O.
//!
//! After an error that does not leave it usable ([`SandboxError::leaves_usable`]) a sandbox answers nothing more until
//! [`Sandbox::replace`] has given it a fresh instance, which plans its tables again by itself.

mod artefact;
mod batch;
mod budget;
mod builtin;
mod compile;
mod contract;
mod contract_version;
mod convert;
mod engine;
mod error;
#[cfg(test)]
mod fuzz;
mod guest;
mod helper;
mod input;
mod layout;
mod life;
mod memory;
mod plan;
mod plan_check;
mod plan_size;
mod resident;
mod result;
mod sandbox;
mod share;
mod slots;
mod threads;
mod told;
mod usage;

pub use artefact::ArtefactCache;
pub use batch::{Batch, BatchBuilder, BatchError, ROWS_MAX};
pub use builtin::builtin_rules;
pub use compile::{Compiled, MODULE_BYTES_CEILING, MODULE_BYTES_MAX, SandboxCount, digest_of};
pub use contract_version::{CONTRACT_PACKAGE, CONTRACT_VERSIONS, CONTRACT_WIT};
pub use engine::{Engine, EngineSettings};
pub use error::{ModuleError, SandboxError};
pub use guest::Limits;
pub use helper::{HelperLimits, helper_main};
pub use input::{BEFORE_PREFIX, Header, InputSource};
pub use plan::{ColumnOrigin, Output, OutputSource, PlanInput, PlanOutcome, Rename, RowPlan, TablePlan, TargetColumn, TextLayout};
pub use result::{BatchResult, RowError};
pub use sandbox::{ModuleInfo, Sandbox};
pub use share::TenantShare;
pub use threads::{HowToWait, run_on_guest_thread, thread_cpu, waiting_by};
pub use told::{LogLevel, LogLine};
pub use usage::Usage;
