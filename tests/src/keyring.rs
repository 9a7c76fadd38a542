//! A MySQL server's keyring, without which it encrypts nothing, made so that no other server gets one.
//!
//! A server looks for the list of components that it loads before anything else beside its program, and a component for its settings
//! beside its library. So the server is told another name of its program, and another directory of its plugins.
//! Source: MySQL manual, "Keyring Component Installation" and "Using the component_keyring_file File-Based Keyring Component".

use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const COMPONENT: &str = "component_keyring_file";

/// A directory with what a server with a keyring looks for.
#[derive(Debug)]
pub(crate) struct Keyring(PathBuf);

impl Keyring {
    /// Made in `place`, with the component out of `plugins`.
    pub(crate) fn new(place: PathBuf, plugins: &Path) -> Keyring {
        let write = |name: &str, text: String| {
            let path = place.join(name);
            std::fs::write(&path, text).unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
        };
        std::fs::create_dir(&place).unwrap_or_else(|error| panic!("create {}: {error}", place.display()));
        write("mysqld.my", format!(r#"{{"components": "file://{COMPONENT}"}}"#));
        write(&format!("{COMPONENT}.cnf"), format!(r#"{{"path": "{}", "read_only": false}}"#, place.join("keys").display()));
        let library = plugins.join(format!("{COMPONENT}.so"));
        assert!(library.exists(), "{} does not exist; install the test servers with: cargo xtask setup", library.display());
        symlink(&library, place.join(format!("{COMPONENT}.so"))).unwrap_or_else(|error| panic!("link {}: {error}", library.display()));
        Keyring(place)
    }

    /// Lets a server that is about to start use it.
    pub(crate) fn give(&self, command: &mut Command) {
        command.arg0(self.0.join("mysqld")).arg(format!("--plugin-dir={}", self.0.display()));
    }
}
