//! Settings of `tidegate serve`: flags before environment variables before the configuration file before defaults.
//!
//! Everything is checked here, so that a wrong setting ends the process before anything is opened.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::cli::{LogArgs, LogFormat, LogLevel, ServeArgs};
use crate::exit::Failure;
use crate::machine::Machine;
use crate::module_settings::{ModuleSettings, ModulesForm};

/// The address that is listened on when none is given.
const LISTEN_DEFAULT: &str = "127.0.0.1:8080";

/// With that a thread weighs about a tenth of one that follows a log, when both want the same processor. Source: sched_prio_to_weight of Linux.
const CONTROL_NICENESS: u8 = 10;

/// See setpriority(2).
const NICENESS_MAX: u8 = 19;

/// Checked settings of `serve`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServeSettings {
    /// Beyond loopback only for a server with keys, which whoever opens the catalog checks.
    pub(crate) listen: SocketAddr,
    /// May not exist yet.
    pub(crate) data_dir: PathBuf,
    /// At least one.
    pub(crate) units: u32,
    /// By how much the threads that prepare, load and answer requests are nicer than those that follow logs, 0 to 19.
    pub(crate) control_niceness: u8,
    pub(crate) log_level: LogLevel,
    pub(crate) log_format: LogFormat,
    pub(crate) modules: ModuleSettings,
}

/// The configuration file. An unknown key is refused by name.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSettings {
    listen: Option<String>,
    data_dir: Option<PathBuf>,
    units: Option<u32>,
    control_niceness: Option<u8>,
    log_level: Option<LogLevel>,
    log_format: Option<LogFormat>,
    #[serde(default)]
    modules: ModulesForm,
}

impl ServeSettings {
    /// Joins what was given and checks it.
    ///
    /// # Errors
    /// A usage failure that names the setting.
    pub(crate) fn new(args: ServeArgs, log: &LogArgs) -> Result<Self, Failure> {
        let file = args.config.as_deref().map_or_else(|| Ok(FileSettings::default()), read_file)?;
        let listen = args.listen.or(file.listen).unwrap_or_else(|| LISTEN_DEFAULT.to_owned());
        let data_dir = args.data_dir.or(file.data_dir).ok_or_else(|| {
            Failure::usage("no_data_dir", "no data directory is given")
                .hint("add --data-dir DIR, set TIDEGATE_DATA_DIR, or write data_dir = \"DIR\" into the configuration file")
        })?;
        let units = args.units.or(file.units).unwrap_or_else(|| Machine::look().units());
        if units == 0 {
            return Err(Failure::usage("units", "units is 0, wanted at least 1: a node without units could not run a task"));
        }
        let control_niceness = file.control_niceness.unwrap_or(CONTROL_NICENESS);
        if control_niceness > NICENESS_MAX {
            let message = format!("control_niceness is {control_niceness}, wanted 0 to {NICENESS_MAX}");
            return Err(Failure::usage("control_niceness", message));
        }
        Ok(Self {
            listen: address(&listen)?,
            data_dir,
            units,
            control_niceness,
            log_level: log.log_level.or(file.log_level).unwrap_or(LogLevel::Info),
            log_format: log.log_format.or(file.log_format).unwrap_or(LogFormat::Human),
            modules: ModuleSettings::new(file.modules)?,
        })
    }
}

fn read_file(path: &Path) -> Result<FileSettings, Failure> {
    let name = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::usage("config_file", format!("read configuration file \"{name}\": {error}")))?;
    toml::from_str(&text)
        .map_err(|error| Failure::usage("config_file", format!("configuration file \"{name}\": {}", error.to_string().trim_end())))
}

/// The address; of a name that stands for several the first, and one beyond loopback before any other, so that no name
/// makes a server look more private than it is.
fn address(text: &str) -> Result<SocketAddr, Failure> {
    let addresses: Vec<SocketAddr> = text
        .to_socket_addrs()
        .map_err(|error| {
            Failure::usage("listen", format!("listen address \"{text}\": {error}, wanted ADDRESS:PORT like {LISTEN_DEFAULT}"))
        })?
        .collect();
    let open = addresses.iter().find(|address| !address.ip().is_loopback());
    open.or(addresses.first()).copied().ok_or_else(|| Failure::usage("listen", format!("listen address \"{text}\" stands for no address")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> LogArgs {
        LogArgs { log_level: None, log_format: None }
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.toml");
        std::fs::write(&path, "listen = \"127.0.0.1:9000\"\ndata_dir = \"/srv/a\"\nunits = 3\nlog_format = \"json\"\n").unwrap();
        let args = ServeArgs { config: Some(path), data_dir: Some("/srv/b".into()), ..ServeArgs::default() };

        let settings = ServeSettings::new(args, &log()).unwrap();

        assert_eq!(settings.listen.port(), 9000);
        assert_eq!(settings.data_dir, PathBuf::from("/srv/b"));
        assert_eq!(settings.control_niceness, 10);
        assert_eq!((settings.units, settings.log_level, settings.log_format), (3, LogLevel::Info, LogFormat::Json));
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.toml");
        std::fs::write(&path, "data_dir = \"/srv/a\"\nlissten = \"127.0.0.1:9000\"\n").unwrap();

        let failure = ServeSettings::new(ServeArgs { config: Some(path), ..ServeArgs::default() }, &log()).unwrap_err();

        assert!(failure.message.contains("lissten") && failure.message.contains("t.toml"), "{}", failure.message);
    }

    #[test]
    fn addresses_outside_loopback_are_told_apart() {
        for (text, loopback) in [
            ("0.0.0.0:8080", false),
            ("[::]:8080", false),
            ("192.0.2.1:1", false),
            ("127.0.0.1:8080", true),
            ("[::1]:1", true),
            ("localhost:0", true),
        ] {
            assert_eq!(address(text).unwrap().ip().is_loopback(), loopback, "{text}");
        }
        assert_eq!(address("8080").unwrap_err().code, "listen");
    }

    #[test]
    fn a_niceness_that_there_is_not_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.toml");
        let with = |niceness: u8| {
            std::fs::write(&path, format!("data_dir = \"/srv/a\"\ncontrol_niceness = {niceness}\n")).unwrap();
            ServeSettings::new(ServeArgs { config: Some(path.clone()), ..ServeArgs::default() }, &log())
        };
        assert_eq!(with(19).unwrap().control_niceness, 19);
        assert_eq!(with(20).unwrap_err().code, "control_niceness");
    }

    #[test]
    fn no_data_directory_and_no_units_are_refused() {
        assert_eq!(ServeSettings::new(ServeArgs::default(), &log()).unwrap_err().code, "no_data_dir");
        let args = ServeArgs { data_dir: Some("d".into()), units: Some(0), ..ServeArgs::default() };
        assert_eq!(ServeSettings::new(args, &log()).unwrap_err().code, "units");
    }
}
