//! `cargo xtask generator`: random schemas and workloads, for as long as one wants.

use std::path::Path;
use std::process::Command;

use crate::command::{cargo, run};
use crate::{guests, setup};

/// Random schemas and workloads, `rounds` times.
///
/// # Errors
/// The step that failed; what differs has been printed, with the command that repeats it.
pub(crate) fn generator(root: &Path, rounds: u32, seed: Option<u64>, pairs: Option<&str>) -> Result<(), String> {
    let mut test = ready(root, "generator", "random_schemas")?;
    test.env("TIDEGATE_ROUNDS", rounds.to_string());
    if let Some(seed) = seed {
        test.env("TIDEGATE_SEED", seed.to_string());
    }
    if let Some(pairs) = pairs {
        test.env("TIDEGATE_PAIRS", pairs);
    }
    run(&mut test)
}

/// Everything is built as for the suite, whose binary these tests start.
fn ready(root: &Path, test: &str, filter: &str) -> Result<Command, String> {
    setup::run(root)?;
    guests::build(root)?;
    run(cargo(root).args(["build", "--package", "tidegate"]))?;
    let mut command = cargo(root);
    command.args(["test", "--package", "tidegate-harness", "--test", test, filter, "--", "--nocapture", "--ignored"]);
    Ok(command)
}
