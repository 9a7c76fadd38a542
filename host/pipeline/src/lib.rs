//! From a source's rows and log to a target: full load, capture, change cache, transform, group, apply.
//!
//! The entry points are [`run`] (one task until it ends, fails or is cancelled) and [`check`] (everything that would
//! stop it, before anything is written). Neither knows a driver, an API or a catalog: the caller gives connectors and
//! compiled modules, watches [`Progress`], and stops a run by its cancellation token.

mod board;
mod cache;
mod capture;
mod net;
pub mod progress;
mod relations;

pub mod settings;
pub mod task;

pub use progress::{Phase, Progress, TableProgress, TableStage};
pub use settings::{MigrationType, PipelineLimits};
pub use task::{Control, Outcome, StopCause, TaskError, TaskSpec, check, run};
