//! `tidegate module new`: writes a project that builds and passes its own tests.
//!
//! The files are the template and the examples of `guest-transforms`, which are built and tested where they lie. A Rust
//! project carries the SDK's sources and the contract with it: it needs nothing that is not in the registry.

use std::path::Path;

use crate::cli::Language;
use crate::exit::Failure;

/// The name that the template has where the project's name goes.
const TEMPLATE_NAME: &str = "tidegate-module-template";

/// A file of a project: its path there, and its text.
type File = (&'static str, &'static [u8]);

macro_rules! guest {
    ($path:literal) => {
        include_bytes!(concat!("../../guest-transforms/", $path))
    };
}

const WIT: &[u8] = guest!("wit/transform.wit");

const RUST: [File; 7] = [
    (".cargo/config.toml", guest!("template/.cargo/config.toml")),
    ("Cargo.toml", guest!("template/Cargo.toml")),
    ("Cargo.lock", guest!("Cargo.lock")),
    ("src/lib.rs", guest!("template/src/lib.rs")),
    ("README.md", guest!("template/README.md")),
    ("config.json", guest!("template/config.json")),
    ("rows.json", guest!("template/rows.json")),
];

const SDK: [File; 11] = [
    ("tidegate/wit/transform.wit", WIT),
    ("tidegate/sdk/Cargo.toml", guest!("sdk/Cargo.toml")),
    ("tidegate/sdk/src/lib.rs", guest!("sdk/src/lib.rs")),
    ("tidegate/sdk/src/builder.rs", guest!("sdk/src/builder.rs")),
    ("tidegate/sdk/src/column.rs", guest!("sdk/src/column.rs")),
    ("tidegate/sdk/src/config.rs", guest!("sdk/src/config.rs")),
    ("tidegate/sdk/src/glue.rs", guest!("sdk/src/glue.rs")),
    ("tidegate/sdk/src/plan.rs", guest!("sdk/src/plan.rs")),
    ("tidegate/sdk/src/row.rs", guest!("sdk/src/row.rs")),
    ("tidegate/sdk/src/schema.rs", guest!("sdk/src/schema.rs")),
    ("tidegate/sdk/src/testing.rs", guest!("sdk/src/testing.rs")),
];

const PYTHON: [File; 6] = [
    ("app.py", guest!("examples/convert-currency/app.py")),
    ("build.sh", guest!("examples/convert-currency/build.sh")),
    ("README.md", guest!("examples/convert-currency/README.md")),
    ("config.json", guest!("examples/convert-currency/config.json")),
    ("rows.json", guest!("examples/convert-currency/rows.json")),
    ("wit/transform.wit", WIT),
];

const JAVASCRIPT: [File; 9] = [
    ("module.js", guest!("examples/split-name/module.js")),
    ("columns.js", guest!("examples/split-name/columns.js")),
    ("build.mjs", guest!("examples/split-name/build.mjs")),
    ("build.sh", guest!("examples/split-name/build.sh")),
    ("package.json", guest!("examples/split-name/package.json")),
    ("README.md", guest!("examples/split-name/README.md")),
    ("config.json", guest!("examples/split-name/config.json")),
    ("rows.json", guest!("examples/split-name/rows.json")),
    ("wit/transform.wit", WIT),
];

const C: [File; 9] = [
    ("module.c", guest!("examples/redact/module.c")),
    ("build.sh", guest!("examples/redact/build.sh")),
    ("README.md", guest!("examples/redact/README.md")),
    ("config.json", guest!("examples/redact/config.json")),
    ("rows.json", guest!("examples/redact/rows.json")),
    ("bindings/transform_module.c", guest!("examples/redact/bindings/transform_module.c")),
    ("bindings/transform_module.h", guest!("examples/redact/bindings/transform_module.h")),
    ("bindings/transform_module_component_type.o", guest!("examples/redact/bindings/transform_module_component_type.o")),
    ("wit/transform.wit", WIT),
];

/// What a project's own manifest needs beside the template's, which is a member of a workspace.
const RUST_WORKSPACE: &str = "
[workspace]

[profile.release]
opt-level = 3
lto = true
codegen-units = 1
panic = \"abort\"
strip = true
";

/// Writes the project into a new folder of the module's name; the folder.
///
/// # Errors
/// A usage failure for a name that no module can have or a folder that is there already; an environment failure when a
/// file cannot be written.
pub(crate) fn create(name: &str, language: Language) -> Result<String, Failure> {
    if tidegate_model::TaskId::new(name).is_err() {
        let message = format!("module name \"{name}\" is not of the form [a-z][a-z0-9-]{{0,62}} without double or trailing hyphen");
        return Err(Failure::usage("name_form", message));
    }
    let folder = Path::new(name);
    let failed = |path: &Path, error: std::io::Error| Failure::environment("project", format!("write \"{}\": {error}", path.display()));
    match std::fs::create_dir(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(Failure::usage("folder_exists", format!("folder \"{name}\" is there already, wanted a new one")));
        }
        Err(error) => return Err(failed(folder, error)),
    }
    for (file, bytes) in files(name, language) {
        let path = folder.join(file);
        let write = || {
            std::fs::create_dir_all(path.parent().unwrap_or(folder))?;
            std::fs::write(&path, &bytes)?;
            if file.ends_with(".sh") { executable(&path) } else { Ok(()) }
        };
        write().map_err(|error| failed(&path, error))?;
    }
    Ok(name.to_owned())
}

fn executable(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mut permissions = path.metadata()?.permissions();
    permissions.set_mode(permissions.mode() | 0o111);
    std::fs::set_permissions(path, permissions)
}

fn files(name: &str, language: Language) -> Vec<(&'static str, Vec<u8>)> {
    let as_is = |files: &[File]| files.iter().map(|(path, bytes)| (*path, bytes.to_vec())).collect::<Vec<_>>();
    let (mut files, ignored) = match language {
        Language::Rust => {
            let mut files: Vec<_> = RUST.iter().map(|(path, bytes)| (*path, rust(name, path, bytes))).collect();
            files.extend(as_is(&SDK));
            (files, "target/\n")
        }
        Language::Python => (as_is(&PYTHON), "build/\n*.wasm\n__pycache__/\n"),
        Language::Javascript => (as_is(&JAVASCRIPT), "build/\n*.wasm\n"),
        Language::C => (as_is(&C), "*.wasm\n"),
    };
    files.push((".gitignore", ignored.into()));
    files
}

/// A file of the template with the project's name and its own place for the SDK.
fn rust(name: &str, path: &str, bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes);
    // The lock file lists what the workspace needs: Cargo takes its versions and drops the rest.
    if path == "Cargo.lock" {
        return bytes.to_vec();
    }
    let text = text.replace(TEMPLATE_NAME, name).replace(&TEMPLATE_NAME.replace('-', "_"), &name.replace('-', "_"));
    match path {
        "Cargo.toml" => format!("{}{RUST_WORKSPACE}", text.replace("../sdk", "tidegate/sdk")).into(),
        _ => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A source file of the SDK that is not copied would break every new project.
    #[test]
    fn every_file_of_the_sdk_goes_into_a_project() {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-transforms/sdk/src");
        let there = std::fs::read_dir(sources).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        let copied = SDK.iter().filter_map(|(path, _)| path.strip_prefix("tidegate/sdk/src/").map(str::to_owned));
        assert_eq!(copied.collect::<BTreeSet<_>>(), there.collect::<BTreeSet<_>>());
    }

    #[test]
    fn a_rust_project_has_its_own_name_everywhere() {
        for (path, bytes) in files("my-module", Language::Rust).iter().filter(|(path, _)| *path != "Cargo.lock") {
            let text = String::from_utf8_lossy(bytes);
            assert!(!text.contains(TEMPLATE_NAME) && !text.contains("module_template") && !text.contains("../sdk"), "{path}");
        }
    }
}
