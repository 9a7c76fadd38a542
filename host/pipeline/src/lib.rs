//! From a source's rows and log to a target: full load, capture, change cache, transform, group, apply.
//!
//! The entry points are [`run`] (one task until it ends, fails or is cancelled) and [`check`] (everything that would
//! stop it, before anything is written). Neither knows a driver, an API or a catalog: the caller gives connectors and
//! compiled modules, watches [`Progress`], and stops a run by its cancellation token.

mod apply;
mod assemble;
mod attempt;
mod backfill;
mod board;
mod cache;
mod capture;
mod carry;
mod catalog_watch;
mod catch_up;
mod characters;
mod conflicts;
mod control_tables;
mod error_log;
mod error_rate;
mod evolution;
mod exceptions;
mod figures;
mod flight;
mod gate;
mod guests;
mod halving;
mod header;
mod history;
mod images;
mod instances;
mod known_tables;
mod lanes;
mod large_values;
mod load;
mod load_rules;
mod log_held;
mod meter;
mod missing_deletes;
mod module_progress;
mod modules;
mod naming;
mod neighbours;
mod net;
mod newcomers;
mod partition_watch;
mod plan;
mod plane;
mod policy;
mod progress;
mod refused;
mod rejection;
mod relations;
mod replay;
mod rest;
mod row_errors;
mod run;
mod run_settings;
mod schema;
mod selected_names;
mod settings;
mod silence;
mod standing;
mod stop_at;
mod swap;
mod table_errors;
mod tables;
mod task;
#[cfg(test)]
mod test_tables;
mod transform;
mod trial;
mod unfit;
mod units;
mod upheaval;
mod write_order;

pub use characters::{CharacterSet, Characters};
pub use control_tables::ControlTableSettings;
pub use large_values::{LargeValues, ValueSettings};
pub use module_progress::{ModuleLine, ModuleProgress};
pub use modules::{ModuleReference, ModuleSet, RULES};
pub use naming::{Naming, selected_tables};
pub use plane::{Planes, drive};
pub use policy::{ConflictAction, MissingDelete, RowAction, RowErrorPolicy};
pub use progress::{Phase, Progress, StageSeconds, TableProgress, TableStage, TableViews};
pub use replay::ReplayReport;
pub use run::{check, run};
pub use run_settings::{AfterLoad, BatchPolicy, NoTables, PrimaryKeys, RetryPolicy, RunSettings, TransactionWait};
pub use settings::{
    CacheMemory, DdlAction, DdlPolicy, MigrationType, PipelineLimits, SchemaScope, TableErrorPolicy, UnknownMigrationType,
    UnknownSchemaScope,
};
pub use swap::{Agreed, Swap, SwapScope, Undone};
pub use task::{Control, CutOver, MODULE_EXHAUSTED, Outcome, StopCause, TaskError, TaskSpec};
pub use trial::TRIAL;
pub use units::Units;
