//! Tasks of the project: `cargo xtask guests` builds the WebAssembly modules that the host includes.

mod guests;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(root) = Path::new(env!("CARGO_MANIFEST_DIR")).parent() else { return ExitCode::FAILURE };
    let result = match std::env::args().nth(1).as_deref() {
        Some("guests") => guests::build(root),
        _ => Err("usage: cargo xtask guests".to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}
