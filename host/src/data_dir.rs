//! Directories that one process owns.
//!
//! A directory is private (mode 0700: it holds compiled code and tenants' rows) and locked for as long as its owner
//! lives. The lock is the kernel's, so a killed process leaves none behind; the file's text, the owner's process id,
//! is only for the message that the second one gets.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::exit::Failure;

const LOCK_FILE: &str = "lock";

/// A directory that this process owns until the value is dropped.
#[derive(Debug)]
pub(crate) struct OwnedDir {
    path: PathBuf,
    _lock: File,
}

impl OwnedDir {
    /// Makes the directory when missing, and locks it.
    ///
    /// # Errors
    /// An environment failure; of code `data_dir_in_use`, with the owner's process id, when it is locked.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        make_private(path)?;
        let failure =
            |error: std::io::Error| Failure::environment("data_dir", format!("lock data directory \"{}\": {error}", path.display()));
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join(LOCK_FILE))
            .map_err(failure)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use(path, &mut file)),
            Err(TryLockError::Error(error)) => return Err(failure(error)),
        }
        file.set_len(0).and_then(|()| write!(file, "{}", std::process::id())).and_then(|()| file.rewind()).map_err(failure)?;
        Ok(Self { path: path.to_owned(), _lock: file })
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn in_use(path: &Path, file: &mut File) -> Failure {
    let mut owner = String::new();
    // A text that cannot be read only makes the message shorter.
    let known = file.read_to_string(&mut owner).is_ok_and(|_| owner.trim().parse::<u32>().is_ok());
    let owner = if known { format!("process {}", owner.trim()) } else { "another process".to_owned() };
    Failure::environment("data_dir_in_use", format!("data directory \"{}\" is in use by {owner}", path.display()))
        .hint("stop that process, or give this one a directory of its own with --data-dir")
}

/// Makes a directory, and those above it, that only this user may enter.
///
/// # Errors
/// An environment failure that names the directory.
pub(crate) fn make_private(path: &Path) -> Result<(), Failure> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| Failure::environment("data_dir", format!("make directory \"{}\": {error}", path.display())))
}

/// A directory of this run alone, for changes that wait: removed on drop, and what killed runs left is removed first.
#[derive(Debug)]
pub(crate) struct RunDir {
    owned: OwnedDir,
}

impl RunDir {
    /// Makes `parent/<process id>`.
    ///
    /// # Errors
    /// An environment failure that names the directory.
    pub(crate) fn create(parent: &Path) -> Result<Self, Failure> {
        make_private(parent)?;
        remove_abandoned(parent);
        Ok(Self { owned: OwnedDir::open(&parent.join(std::process::id().to_string()))? })
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        self.owned.path()
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next run.
        let _ = std::fs::remove_dir_all(self.owned.path());
    }
}

fn remove_abandoned(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let path = entry.path();
        // Ours to remove only when the kernel says that its owner is gone.
        if path.is_dir() && OwnedDir::open(&path).is_ok() {
            let _ = std::fs::remove_dir_all(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_owner_learns_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        let first = OwnedDir::open(&dir.path().join("data")).unwrap();

        let failure = OwnedDir::open(first.path()).unwrap_err();

        assert_eq!(failure.code, "data_dir_in_use");
        assert!(failure.message.contains(&format!("process {}", std::process::id())), "{}", failure.message);
        let path = first.path().to_owned();
        drop(first);
        assert!(OwnedDir::open(&path).is_ok());
    }

    #[test]
    fn a_run_removes_its_directory_and_those_of_dead_runs() {
        let dir = tempfile::tempdir().unwrap();
        let dead = dir.path().join("999999999");
        std::fs::create_dir(&dead).unwrap();
        std::fs::write(dead.join("segment"), "x").unwrap();

        let run = RunDir::create(dir.path()).unwrap();

        assert!(!dead.exists());
        let path = run.path().to_owned();
        assert!(path.is_dir());
        drop(run);
        assert!(!path.exists());
    }
}
