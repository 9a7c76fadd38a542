//! `cargo xtask generator` and `cargo xtask oltp`: random schemas and workloads, and the usual benchmarks, for as long as
//! one wants.

use std::path::Path;
use std::process::Command;

use crate::command::{cargo, run};
use crate::{guests, setup};

/// Random schemas and workloads, `rounds` times.
///
/// # Errors
/// The step that failed; what differs has been printed, with the command that repeats it.
pub(crate) fn generator(root: &Path, rounds: u32, steps: u32, seed: Option<u64>, pairs: Option<&str>) -> Result<(), String> {
    let mut test = ready(root, "generator", "random_schemas")?;
    test.env("TIDEGATE_ROUNDS", rounds.to_string()).env("TIDEGATE_STEPS", steps.to_string());
    if let Some(seed) = seed {
        test.env("TIDEGATE_SEED", seed.to_string());
    }
    if let Some(pairs) = pairs {
        test.env("TIDEGATE_PAIRS", pairs);
    }
    run(&mut test)
}

/// pgbench and sysbench against one source after the other.
///
/// # Errors
/// The step that failed; what differs has been printed.
pub(crate) fn oltp(root: &Path, seconds: u32, rate: u32, source: Option<&str>) -> Result<(), String> {
    if let Some(other) = source.filter(|source| !["postgres", "mysql", "mariadb"].contains(source)) {
        return Err(format!("the sources are postgres, mysql and mariadb, not {other}"));
    }
    let filter = source.map_or("_equals_its_targets".to_owned(), |source| format!("{source}_under_"));
    let mut test = ready(root, "pairs", &filter)?;
    if let Some(programs) = setup::pgbench(root)? {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let all = std::iter::once(programs).chain(std::env::split_paths(&path));
        test.env("PATH", std::env::join_paths(all).map_err(|error| format!("PATH: {error}"))?);
    }
    test.env("TIDEGATE_OLTP_SECONDS", seconds.to_string()).env("TIDEGATE_OLTP_RATE", rate.to_string());
    run(&mut test)
}

/// Everything is built as for the suite, whose binary these tests start.
fn ready(root: &Path, test: &str, filter: &str) -> Result<Command, String> {
    setup::run(root)?;
    guests::build(root)?;
    run(cargo(root).args(["build", "--package", "tidegate"]))?;
    let mut command = cargo(root);
    command.args(["test", "--package", "tidegate-harness", "--test", test, filter, "--", "--nocapture", "--include-ignored"]);
    Ok(command)
}
