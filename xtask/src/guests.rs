//! Builds the modules of `guest-transforms` into `target/guests/*.wasm`, as components.
//!
//! ```text
//!   scripts/wasm-cargo (finds or makes the target) ─▶ core modules ─▶ wit-component ─▶ target/guests/NAME.wasm
//! ```
//!
//! The host includes `rules.wasm` at its own build, so this runs before any `cargo build` of the workspace. When neither
//! the sources nor the compiler changed, it does nothing.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Cargo's file name of each module and the name it is known by. `hostile` and `picky` are for tests, `bench-rewrite` is for
/// the bench.
const GUESTS: &[(&str, &str)] = &[
    ("tidegate_rules", "rules"),
    ("tidegate_mask_email", "mask-email"),
    ("tidegate_hostile", "hostile"),
    ("tidegate_picky", "picky"),
    ("tidegate_bench_rewrite", "bench-rewrite"),
];
const TARGET: &str = "wasm32-unknown-unknown";
/// Finds or makes the target, and knows the compiler's flags.
const SCRIPT: &str = "xtask/scripts/wasm-cargo";

/// Builds what is not up to date. `root` is the workspace's folder.
///
/// # Errors
/// A sentence about the step that failed.
pub(crate) fn build(root: &Path) -> Result<(), String> {
    let sources = root.join("guest-transforms");
    let out = root.join("target/guests");
    let stamp = out.join("inputs");
    let inputs = inputs(&sources, &root.join(SCRIPT))?;
    let complete = GUESTS.iter().all(|(_, name)| wasm_path(&out, name).metadata().is_ok_and(|file| file.len() > 0));
    if complete && std::fs::read_to_string(&stamp).is_ok_and(|found| found == inputs) {
        return Ok(());
    }
    let cargo_target = root.join("target/guests-build");
    compile(root, &sources, &cargo_target)?;
    std::fs::create_dir_all(&out).map_err(|error| format!("create {}: {error}", out.display()))?;
    for (file, name) in GUESTS {
        let core = cargo_target.join(TARGET).join("release").join(format!("{file}.wasm"));
        componentize(&core, &wasm_path(&out, name))?;
    }
    std::fs::write(&stamp, inputs).map_err(|error| format!("write {}: {error}", stamp.display()))
}

fn wasm_path(out: &Path, name: &str) -> PathBuf {
    out.join(format!("{name}.wasm"))
}

fn compile(root: &Path, sources: &Path, cargo_target: &Path) -> Result<(), String> {
    let script = root.join(SCRIPT);
    let status = Command::new("bash")
        .arg(&script)
        .args(["build", "--release", "--locked"])
        .current_dir(sources)
        .env("CARGO_TARGET_DIR", cargo_target)
        .env("WASM_TARGET", TARGET)
        // A coverage or sanitizer run of the host must not reach the guests.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .status()
        .map_err(|error| format!("run {}: {error}", script.display()))?;
    if status.success() { Ok(()) } else { Err(format!("the guests in {} do not build: {status}", sources.display())) }
}

fn componentize(core: &Path, component: &Path) -> Result<(), String> {
    let bytes = std::fs::read(core).map_err(|error| format!("read {}: {error}", core.display()))?;
    let encoded = wit_component::ComponentEncoder::default()
        .validate(true)
        .module(&bytes)
        .and_then(|encoder| encoder.encode())
        .map_err(|error| format!("make {} a component: {error:#}", core.display()))?;
    if std::fs::read(component).is_ok_and(|found| found == encoded) {
        // An untouched file spares the host a rebuild.
        return Ok(());
    }
    // Renamed into place, so that a build of the host beside this one never includes half a module.
    let part = component.with_extension("part");
    std::fs::write(&part, encoded)
        .and_then(|()| std::fs::rename(&part, component))
        .map_err(|error| format!("write {}: {error}", component.display()))
}

/// A text that changes with the compiler, its flags and every file that goes into a guest.
fn inputs(sources: &Path, script: &Path) -> Result<String, String> {
    let version = Command::new("rustc").arg("-vV").output().map_err(|error| format!("run rustc -vV: {error}"))?;
    let mut hasher = DefaultHasher::new();
    version.stdout.hash(&mut hasher);
    for path in files(sources)?.into_iter().chain([script.to_owned()]) {
        path.strip_prefix(sources).unwrap_or(&path).hash(&mut hasher);
        std::fs::read(&path).map_err(|error| format!("read {}: {error}", path.display()))?.hash(&mut hasher);
    }
    Ok(format!("{:016x}\n", hasher.finish()))
}

pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let fail = |error: std::io::Error| format!("read {}: {error}", folder.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        if path.is_dir() {
            if !path.ends_with("target") {
                found.extend(files(&path)?);
            }
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
