//! Where the server programs are. `cargo xtask setup` puts them there; nothing is downloaded by a test.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The directory of the servers' programs and of the templates of their data: `TIDEGATE_SERVERS`, or
/// `/var/cache/tidegate-servers` for root (whose PostgreSQL runs as `nobody` and could not read below `/root`), or
/// `~/.cache/tidegate-servers`.
pub fn cache_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("TIDEGATE_SERVERS") {
        return dir.into();
    }
    if running_as_root() {
        return "/var/cache/tidegate-servers".into();
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    cache.or(home).expect("HOME is set for a user who runs tests").join("tidegate-servers")
}

/// True for root, who may not run PostgreSQL and must tell MySQL so.
pub(crate) fn running_as_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    // The owner of our own entry in /proc is our effective user.
    std::fs::metadata("/proc/self").is_ok_and(|entry| entry.uid() == 0)
}

/// The directory that holds `postgres` and `initdb` of the server in a directory of the cache.
pub(crate) fn postgres_bin(directory: &str, major: u32) -> PathBuf {
    let prefix = cache_dir().join(directory);
    let places = [prefix.join("bin"), prefix.join(format!("usr/lib/postgresql/{major}/bin"))];
    first_with(&places, "postgres", directory)
}

/// The prefix (`/usr` below it) of a MySQL or MariaDB server: its private directory, or the system's own when its
/// version begins with `version`.
pub(crate) fn mysql_prefix(directory: &str, server: &str, version: &str) -> PathBuf {
    let prefix = cache_dir().join(directory);
    if prefix.join("usr/sbin").join(server).exists() {
        return prefix;
    }
    let system = Path::new("/usr/sbin").join(server);
    let said = Command::new(&system).arg("--version").output().map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    if said.is_ok_and(|said| said.contains(&format!("Ver {version}"))) {
        return "/".into();
    }
    missing(&format!("{server} {version}"), &[prefix.join("usr/sbin"), "/usr/sbin".into()])
}

fn first_with(places: &[PathBuf], program: &str, what: &str) -> PathBuf {
    places.iter().find(|place| place.join(program).exists()).cloned().unwrap_or_else(|| missing(what, places))
}

fn missing(what: &str, places: &[PathBuf]) -> ! {
    panic!("{what} is not installed: looked in {places:?}; install the test servers with: cargo xtask setup")
}

/// A command that PostgreSQL and PgBouncer accept to run as: they refuse root.
pub(crate) fn unprivileged(program: &Path) -> Command {
    let mut command = if running_as_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    // A session's own settings must not reach the server.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("PG") || name.starts_with("LC_") || name == "LANG") {
            command.env_remove(name);
        }
    }
    command.env("HOME", "/tmp").env("LC_ALL", "C").env("TZ", "UTC").current_dir("/");
    command
}
