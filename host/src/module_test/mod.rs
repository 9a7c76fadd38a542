//! Tries a module on rows before it touches anything: what `tidegate module test` and `POST /v1/modules/{name}/test` do.
//!
//! ```text
//!   rows given ──────┐
//!   table sampled ───┴─▶ Sample ─▶ Bench::judge (plan, transform) ─▶ Report: plan, each row before and after
//! ```
//!
//! The module runs in the sandbox with a task's limits, and its plan and answers pass the same checks. Nothing is
//! written anywhere. Row values are in the report alone: not in logs, not in errors.

mod judge;
mod report;
pub(crate) mod sample;
mod sql_type;
mod stop;
pub(crate) mod table;
mod value;

pub(crate) use judge::Bench;
pub(crate) use report::{Report, lines};
pub(crate) use stop::Stop;
use table::Sample;
use tidegate_sandbox::ModuleInfo;

use crate::exit::Failure;

/// Runs a module on a sample. Takes a while: not for threads that do I/O.
///
/// # Errors
/// When the module does not start, or refuses the table or its configuration.
pub(crate) fn run(bench: &Bench<'_>, info: ModuleInfo, sample: &Sample) -> Result<Report, Failure> {
    let judged = bench.judge(sample)?;
    Ok(Report::new(info, bench.module.digest(), &sample.schema, judged))
}

/// The kind of database that a word means.
///
/// # Errors
/// A usage failure that lists the words.
pub(crate) fn target_engine(name: &str) -> Result<tidegate_model::Engine, Failure> {
    table::engine(name).ok_or_else(|| Failure::usage("target", format!("target \"{name}\" is none of postgres, mysql, mariadb")))
}
