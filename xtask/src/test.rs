//! `cargo xtask test`: what CI runs, in the order in which a failure is cheapest.
//!
//! A failing step does not keep the later ones from running, except where they need it. The last line says how many
//! tests passed and failed; a failing step that is no test counts as one.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::command::{self, cargo, text};
use crate::{examples, guests, setup};

/// Counts over all steps.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

/// Runs all steps.
///
/// # Errors
/// That something failed; what, has been printed.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let mut report = Report::default();
    let ready = report.step("setup", || setup::run(root)) && report.step("guests", || guests::build(root));
    report.step("examples", || examples::build(root));
    report.step("format", || command::run(cargo(root).args(["fmt", "--all", "--check"])));
    report.step("format of guests", || command::run(cargo(&root.join("guest-transforms")).args(["fmt", "--all", "--check"])));
    if ready {
        if let Some(lints) = report.build(root) {
            let mut tests = workspace(root, lints, &["test", "--no-fail-fast"]);
            tests.env("RUST_TEST_THREADS", test_threads());
            report.tests("tests", tests);
        }
        report.tests("tests of guests", guest_tests(root));
    }
    report.print();
    if report.counts.failed == 0 { Ok(()) } else { Err("the run failed".to_owned()) }
}

/// Whether a build of the workspace lints what it compiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lints {
    Deny,
    Off,
}

/// A command of cargo's on the whole workspace.
///
/// `cargo clippy` only checks, and shares nothing with a build: every package of ours and of others would be read twice. Its
/// driver is the compiler itself with more lints, so that it lints and compiles at once when it stands in the compiler's place.
/// What that costs is the optimisation that `rustc` does on its own before LLVM, which an unoptimised build has little of.
fn workspace(root: &Path, lints: Lints, words: &[&str]) -> Command {
    let mut command = cargo(root);
    command.args(words).args(["--workspace", "--locked"]);
    if lints == Lints::Deny {
        // Not by the environment: tests that call cargo on a tenant's project would have it, too.
        command.arg("--config").arg(format!("build.rustc-workspace-wrapper = {:?}", clippy_driver()));
        // What `cargo clippy -- -D warnings` hands to its driver.
        command.env("CLIPPY_ARGS", ["-D", "warnings"].map(|word| format!("{word}__CLIPPY_HACKERY__")).concat());
    }
    command
}

/// Tests of one program that run at once: one more than there are cores, because many wait for a server or a limit of time.
fn test_threads() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::env::var("RUST_TEST_THREADS").unwrap_or_else(|_| (cores + 1).to_string())
}

/// Beside the compiler; a program of rustup's with that name would first look for it, for each package.
fn clippy_driver() -> PathBuf {
    let beside = command::said("rustc", &["--print", "sysroot"]).map(|sysroot| Path::new(sysroot.trim()).join("bin/clippy-driver"));
    beside.filter(|driver| driver.exists()).unwrap_or_else(|| "clippy-driver".into())
}

/// Guests are tested on this machine, in a target folder of their own: what they share with the host is only the contract.
fn guest_tests(root: &Path) -> Command {
    let mut command = cargo(&root.join("guest-transforms"));
    command.args(["test", "--workspace", "--locked", "--no-fail-fast"]).env("CARGO_TARGET_DIR", root.join("target/guests-test"));
    command
}

#[derive(Debug, Default)]
struct Report {
    counts: Counts,
    lines: Vec<String>,
}

impl Report {
    fn step(&mut self, name: &str, work: impl FnOnce() -> Result<(), String>) -> bool {
        eprintln!("\n=== {name}");
        let since = Instant::now();
        let result = work();
        if let Err(error) = &result {
            eprintln!("xtask: {error}");
            self.counts.failed += 1;
        }
        self.line(name, since.elapsed(), if result.is_ok() { "ok" } else { "FAILED" });
        result.is_ok()
    }

    /// Lints and builds everything, the binary that the scenarios start too, and says how; what a lint refuses is built
    /// without lints, so that it is tested all the same.
    fn build(&mut self, root: &Path) -> Option<Lints> {
        let mut built = |name, lints| self.step(name, || command::run(&mut workspace(root, lints, &["build", "--all-targets"])));
        if built("lints and build", Lints::Deny) {
            return Some(Lints::Deny);
        }
        built("build", Lints::Off).then_some(Lints::Off)
    }

    /// Runs `cargo test`, passes its output on, and counts.
    fn tests(&mut self, name: &str, mut command: Command) {
        eprintln!("\n=== {name}");
        let since = Instant::now();
        let (counts, succeeded) = counted(&mut command).unwrap_or_else(|error| {
            eprintln!("xtask: {error}");
            (Counts::default(), false)
        });
        self.counts.passed += counts.passed;
        // A crash or a compiler's error leaves no count.
        self.counts.failed += if succeeded { 0 } else { counts.failed.max(1) };
        self.counts.ignored += counts.ignored;
        self.line(name, since.elapsed(), &format!("{} passed, {} failed, {} ignored", counts.passed, counts.failed, counts.ignored));
    }

    fn line(&mut self, name: &str, time: Duration, outcome: &str) {
        self.lines.push(format!("{name:<18} {:>7.1} s  {outcome}", time.as_secs_f64()));
    }

    fn print(&self) {
        println!("\n{}", self.lines.join("\n"));
        println!("{} passed, {} failed", self.counts.passed, self.counts.failed);
    }
}

fn counted(command: &mut Command) -> Result<(Counts, bool), String> {
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(|error| format!("start {}: {error}", text(command)))?;
    let output = child.stdout.take().ok_or("the test run has no output")?;
    let mut counts = Counts::default();
    for line in BufReader::new(output).split(b'\n') {
        let line = line.map_err(|error| format!("read the output of {}: {error}", text(command)))?;
        let line = String::from_utf8_lossy(&line);
        // A closed terminal is no reason to stop counting.
        let _ = writeln!(std::io::stdout(), "{line}");
        counts.add(&line);
    }
    let status = child.wait().map_err(|error| format!("wait for {}: {error}", text(command)))?;
    Ok((counts, status.success()))
}

impl Counts {
    /// Adds a line like `test result: ok. 8 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 14.21s`.
    fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else { return };
        let of =
            |word: &str| result.split([';', '.']).find_map(|part| part.trim().strip_suffix(word)?.trim().parse::<u64>().ok()).unwrap_or(0);
        self.passed += of("passed");
        self.failed += of("failed");
        self.ignored += of("ignored");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_test_programs_are_added_up() {
        let mut counts = Counts::default();
        counts.add("test result: ok. 8 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 14.21s");
        counts.add("test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 8 filtered out; finished in 1.07s");
        counts.add("test a_test ... ok");
        assert_eq!(counts, Counts { passed: 12, failed: 2, ignored: 1 });
    }
}
