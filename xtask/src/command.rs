//! Runs other programs.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The cargo that started us, in the workspace's folder.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

/// Runs a program to its end; its output is ours.
///
/// # Errors
/// A sentence with the program and how it ended.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|error| format!("start {}: {error}", text(command)))?;
    if status.success() { Ok(()) } else { Err(format!("{} ended with {status}", text(command))) }
}

/// Runs a program that uses the network, three times at most.
///
/// # Errors
/// That of the last run.
pub(crate) fn run_patiently(command: &mut Command) -> Result<(), String> {
    for pause in [3, 10] {
        match run(command) {
            Ok(()) => return Ok(()),
            Err(error) => eprintln!("xtask: {error}; again in {pause} s"),
        }
        std::thread::sleep(Duration::from_secs(pause));
    }
    run(command)
}

/// What a program writes to stdout, or `None` when it is not there or fails.
pub(crate) fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The command as one would type it.
pub(crate) fn text(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
