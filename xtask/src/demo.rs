//! `cargo xtask demo`: builds what the demo needs and becomes it. What it shows is in `tests/src/bin/tidegate-demo`.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::command::{cargo, run, text};
use crate::{guests, setup};

/// Runs the demo; returns only when it cannot be started.
///
/// # Errors
/// The step that failed.
pub(crate) fn run_demo(root: &Path, release: bool, seconds: u32, seed: Option<u64>) -> Result<(), String> {
    setup::run(root)?;
    guests::build(root)?;
    let profile: &[&str] = if release { &["--release"] } else { &[] };
    // One build for both: the same features, and nothing is compiled twice.
    let packages = ["build", "--package", "tidegate", "--package", "tidegate-harness", "--bin", "tidegate", "--bin", "tidegate-demo"];
    run(cargo(root).args(packages).args(profile))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    let built = target.join(if release { "release" } else { "debug" });
    let mut demo = Command::new(built.join("tidegate-demo"));
    demo.arg("--seconds").arg(seconds.to_string());
    if let Some(seed) = seed {
        demo.arg("--seed").arg(seed.to_string());
    }
    // In our place: Ctrl-C must not return the prompt before the demo has cleaned up.
    let error = demo.env("TIDEGATE_BIN", built.join("tidegate")).current_dir(root).exec();
    Err(format!("start {}: {error}", text(&demo)))
}
