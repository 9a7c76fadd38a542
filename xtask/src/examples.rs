//! Builds the examples in other languages than Rust into `target/guests/*.wasm`, each with its own `build.sh`.
//!
//! Their compilers come from the ordinary registries: Debian, PyPI, npm. Where a language is not on the machine and
//! cannot be installed, its example is skipped: the reason is said, and lies in `target/guests/NAME.skipped` for the
//! tests to say again. A build that fails is a failure. What is up to date is left alone.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::process::Command;

use crate::command::run;
use crate::guests::files;
use crate::setup;

/// An example and what must be on the machine for it.
struct Example {
    name: &'static str,
    /// Programs, with the Debian packages that have them.
    programs: &'static [(&'static str, &'static str)],
    /// Files likewise.
    files: &'static [(&'static str, &'static str)],
}

const EXAMPLES: [Example; 3] = [
    Example { name: "redact", programs: &[("clang", "clang"), ("wasm-ld", "lld")], files: &[("/usr/lib/wasm32-wasi/libc.a", "wasi-libc")] },
    Example { name: "convert-currency", programs: &[("python3", "python3-venv")], files: &[] },
    Example { name: "split-name", programs: &[("node", "nodejs"), ("npm", "npm")], files: &[] },
];

/// Builds what is not up to date.
///
/// # Errors
/// A sentence about the example that does not build.
pub(crate) fn build(root: &Path) -> Result<(), String> {
    let out = root.join("target/guests");
    std::fs::create_dir_all(&out).map_err(|error| format!("create {}: {error}", out.display()))?;
    EXAMPLES.iter().try_for_each(|example| example.build(root, &out))
}

impl Example {
    fn build(&self, root: &Path, out: &Path) -> Result<(), String> {
        let sources = root.join("guest-transforms/examples").join(self.name);
        let (wasm, stamp) = (out.join(format!("{}.wasm", self.name)), out.join(format!("{}.inputs", self.name)));
        let skipped = out.join(format!("{}.skipped", self.name));
        let inputs = inputs(&sources, &root.join("guest-transforms/wit"))?;
        if wasm.exists() && std::fs::read_to_string(&stamp).is_ok_and(|found| found == inputs) {
            return Ok(());
        }
        let write = |path: &Path, text: &str| std::fs::write(path, text).map_err(|error| format!("write {}: {error}", path.display()));
        if let Err(reason) = self.prepare() {
            eprintln!("xtask: example {} is skipped: {reason}", self.name);
            // An older build would be tested as if it were this one.
            let _ = std::fs::remove_file(&wasm);
            return write(&skipped, &reason);
        }
        let tools = root.join("target/example-tools").join(self.name);
        run(Command::new("bash").arg(sources.join("build.sh")).arg(&wasm).env("TOOLS", tools))
            .map_err(|error| format!("example {}: {error}", self.name))?;
        let _ = std::fs::remove_file(&skipped);
        write(&stamp, &inputs)
    }

    /// Makes sure of the language's own tools.
    fn prepare(&self) -> Result<(), String> {
        let programs = self.programs.iter().filter(|(program, _)| !setup::on_path(program));
        let files = self.files.iter().filter(|(file, _)| !Path::new(file).exists());
        let missing: Vec<&str> = programs.chain(files).map(|(_, package)| *package).collect();
        if missing.is_empty() { Ok(()) } else { setup::install(&missing) }
    }
}

/// A text that changes with every file that goes into the example.
fn inputs(sources: &Path, wit: &Path) -> Result<String, String> {
    let mut hasher = DefaultHasher::new();
    for folder in [sources, wit] {
        for path in files(folder)?.iter().filter(|path| !path.components().any(|part| part.as_os_str() == "build")) {
            path.strip_prefix(folder).unwrap_or(path).hash(&mut hasher);
            std::fs::read(path).map_err(|error| format!("read {}: {error}", path.display()))?.hash(&mut hasher);
        }
    }
    Ok(format!("{:016x}\n", hasher.finish()))
}
