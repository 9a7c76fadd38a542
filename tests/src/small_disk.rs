//! A disk of its own for one directory of a server: a file system in memory that only this server sees, and that goes with it.

use std::path::Path;
use std::process::Command;

use crate::binaries::running_as_root;
use crate::template::run;

/// Mounts in the names of this process alone, then becomes the command.
const MOUNT: &str = r#"mount -t tmpfs -o "size=$1,mode=0700" tmpfs "$2" && chown --reference "$2/.." "$2" && shift 2 && exec "$@""#;

/// See the module's documentation.
#[derive(Debug, Clone)]
pub(crate) struct SmallDisk {
    directory: &'static str,
    bytes: u64,
}

impl SmallDisk {
    /// For a directory of the server's data.
    pub(crate) fn new(directory: &'static str, bytes: u64) -> SmallDisk {
        assert!(running_as_root(), "only root mounts file systems");
        SmallDisk { directory, bytes }
    }

    /// The same command, which will see the disk.
    pub(crate) fn around(&self, command: Command, data: &Path) -> Command {
        let mut around = Command::new("unshare");
        around.args(["--mount", "sh", "-c", MOUNT, "mount"]).arg(self.bytes.to_string()).arg(data.join(self.directory));
        around.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => around.env(name, value),
                None => around.env_remove(name),
            };
        }
        around.current_dir(command.get_current_dir().unwrap_or(Path::new("/")));
        around
    }

    /// Gives the disk of a server that runs another size.
    pub(crate) fn resize(&self, process: u32, data: &Path, bytes: u64) {
        let size = format!("remount,size={bytes}");
        run(Command::new("nsenter")
            .args(["--mount", "--target", &process.to_string(), "mount", "-o", &size])
            .arg(data.join(self.directory)));
    }
}
