//! Finds the built-in rules module, which is compiled by `cargo xtask guests` before the host.

use std::path::{Path, PathBuf};

fn main() {
    println!("cargo:rerun-if-env-changed=TIDEGATE_RULES_WASM");
    let path = std::env::var_os("TIDEGATE_RULES_WASM")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/guests/rules.wasm"), PathBuf::from);
    println!("cargo:rerun-if-changed={}", path.display());
    match path.canonicalize() {
        Ok(path) => println!("cargo:rustc-env=TIDEGATE_RULES_WASM_PATH={}", path.display()),
        Err(error) => {
            eprintln!("the rules module {} cannot be read ({error}): run `cargo xtask guests` first", path.display());
            std::process::exit(1);
        }
    }
}
