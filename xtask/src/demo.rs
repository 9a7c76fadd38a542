//! `cargo xtask demo`: builds what the demo needs and runs it. What it shows is in `tests/src/bin/tidegate-demo.rs`.

use std::path::Path;

use crate::command::{cargo, run};
use crate::{guests, setup};

/// Runs the demo.
///
/// # Errors
/// The step that failed, or that the demo found differences.
pub(crate) fn run_demo(root: &Path, release: bool, seconds: u32) -> Result<(), String> {
    setup::run(root)?;
    guests::build(root)?;
    let profile: &[&str] = if release { &["--release"] } else { &[] };
    // One build for both: the same features, and nothing is compiled twice.
    run(cargo(root).args(["build", "--package", "tidegate", "--package", "tidegate-harness"]).args(profile))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    let built = target.join(if release { "release" } else { "debug" });
    let mut demo = std::process::Command::new(built.join("tidegate-demo"));
    run(demo.arg(seconds.to_string()).env("TIDEGATE_BIN", built.join("tidegate")).current_dir(root))
}
