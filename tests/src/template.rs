//! Data directories that are made once and copied: creating one takes seconds, copying it a fraction of one.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::binaries::cache_dir;
use crate::instance::set_mode;

/// Returns the template `name` for this version of `program` (any file that it depends on), after making it with
/// `create` if it is not there yet.
///
/// `create` gets an empty directory, which becomes the template when it returns. Only one process does it; the
/// others wait.
pub(crate) async fn template<F: Future<Output = ()>>(name: &str, program: &Path, create: impl FnOnce(PathBuf) -> F) -> PathBuf {
    let templates = cache_dir().join("templates");
    std::fs::create_dir_all(&templates).unwrap_or_else(|error| panic!("create {}: {error}", templates.display()));
    let program = std::fs::metadata(program).unwrap_or_else(|error| panic!("read {}: {error}", program.display()));
    // Another build of the server makes its own template. The number changes when the way of creating it does.
    let ready = templates.join(format!("{name}-{}-{}-3", program.size(), program.mtime()));
    if ready.exists() {
        return ready;
    }
    let _lock = lock(&templates.join(format!("{name}.lock"))).await;
    if ready.exists() {
        return ready;
    }
    let draft = templates.join(format!("{name}.new"));
    remove(&draft);
    std::fs::create_dir(&draft).unwrap_or_else(|error| panic!("create {}: {error}", draft.display()));
    set_mode(&draft, 0o755);
    create(draft.clone()).await;
    std::fs::rename(&draft, &ready).unwrap_or_else(|error| panic!("rename {}: {error}", draft.display()));
    ready
}

/// Copies a template's data directory, with its owners.
pub(crate) fn copy(from: &Path, to: &Path) {
    run(Command::new("cp").args(["-a", "--reflink=auto", "--sparse=auto"]).arg(from).arg(to));
}

/// Runs a command to its end and panics with what it said when it failed.
pub(crate) fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("start {:?}: {error}", command.get_program()));
    let said = || format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} ended with {}:\n{}", output.status, said());
}

async fn lock(path: &Path) -> File {
    let file = OpenOptions::new().create(true).append(true).open(path).unwrap_or_else(|error| panic!("open {}: {error}", path.display()));
    let path = path.to_owned();
    let locked = tokio::task::spawn_blocking(move || file.lock().map(|()| file)).await.expect("taking a lock does not panic");
    locked.unwrap_or_else(|error| panic!("lock {}: {error}", path.display()))
}

fn remove(dir: &Path) {
    if dir.exists() {
        std::fs::remove_dir_all(dir).unwrap_or_else(|error| panic!("remove {}: {error}", dir.display()));
    }
}
