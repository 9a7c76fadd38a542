//! The command line: words, flags and their environment variables. What they mean is in the modules of the commands.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

const EXIT_CODES: &str = "\
Exit codes:
    0  done
    1  the task failed, or a check found errors
    2  arguments, configuration file or task file are not right
    3  the machine or the server asked does not give what is needed (directory, port, no answer)
  130  stopped by a signal before its end; the same command goes on

Data goes to standard output, everything else to standard error.";

/// The hidden command in whose process modules are compiled.
pub(crate) const COMPILE_COMMAND: &str = "compile-module";

/// Replicates databases: copies what is there, follows the log, applies every transaction exactly once.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, about, after_help = EXIT_CODES, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) log: LogArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How much is logged, and how.
#[derive(Debug, Clone, Args)]
pub(crate) struct LogArgs {
    /// Least severity that is logged [default: info for serve, warn otherwise].
    #[arg(long, global = true, env = "TIDEGATE_LOG_LEVEL", value_name = "LEVEL")]
    pub(crate) log_level: Option<LogLevel>,
    /// Form of a log line [default: human].
    #[arg(long, global = true, env = "TIDEGATE_LOG_FORMAT", value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
}

/// Least severity that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogLevel {
    /// What failed.
    Error,
    /// And what is surprising.
    Warn,
    /// And what happened.
    Info,
    /// And why.
    Debug,
    /// And everything else.
    Trace,
}

/// Form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve the API and run the tasks that it is given, until a signal.
    Serve(ServeArgs),
    /// Run one task in the foreground, without a server.
    Run(TaskFileArgs),
    /// Check everything that would stop a task, and write nothing.
    Check(TaskFileArgs),
    /// Tasks of a running server.
    Task(TaskArgs),
    /// Modules of a running server.
    Module(ModuleArgs),
    /// Tenants and keys, for whoever runs the server; works on its data directory, whether it runs or not.
    Tenant(TenantArgs),
    /// Capacity: how a load would be served.
    Capacity(CapacityArgs),
    /// Compile a module from standard input; started by tidegate itself, which sets its limits.
    #[command(hide = true, name = COMPILE_COMMAND)]
    CompileModule,
}

/// Flags of `serve`; each is also an environment variable and a key of the configuration file, in this order of precedence.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ServeArgs {
    /// Address and port of the API; beyond loopback only with API keys (`tenant key`) [default: 127.0.0.1:8080].
    #[arg(long, env = "TIDEGATE_LISTEN", value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<String>,
    /// Directory of the catalog, the modules and the waiting changes; made when missing.
    #[arg(long, env = "TIDEGATE_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Configuration file (TOML) with the same keys as these flags, underscores for hyphens.
    #[arg(long, env = "TIDEGATE_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Capacity units of this node: one is a lane, 64 MiB for waiting changes and a sandbox instance of a task [default: four
    /// for each core, as far as half of the memory holds their changes].
    #[arg(long, env = "TIDEGATE_UNITS", value_name = "COUNT")]
    pub(crate) units: Option<u32>,
}

/// Flags of the commands that take a task file.
#[derive(Debug, Clone, Args)]
pub(crate) struct TaskFileArgs {
    /// The task, as JSON.
    #[arg(value_name = "TASK.json")]
    pub(crate) file: PathBuf,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Directory for waiting changes and compiled modules [default: tidegate in the user's cache directory].
    #[arg(long, env = "TIDEGATE_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

/// Where the server is that the client commands talk to.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServerArgs {
    /// URL of the server.
    #[arg(long, global = true, env = "TIDEGATE_SERVER", value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub(crate) server: String,
    /// Key of a tenant, for a server that has keys. The environment is the better place: others see a command line.
    #[arg(long, global = true, env = "TIDEGATE_KEY", value_name = "KEY", hide_env_values = true)]
    pub(crate) key: Option<String>,
    /// Print the server's answer as JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// Tasks of a running server.
#[derive(Debug, Args)]
pub(crate) struct TaskArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(subcommand)]
    pub(crate) command: TaskCommand,
}

/// What to do with tasks.
#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// All tasks with their states.
    List,
    /// One task.
    Show {
        /// Name of the task.
        task: String,
    },
    /// Start a task, or let it go on where it stopped.
    Start {
        /// Name of the task.
        task: String,
    },
    /// Stop a task; it keeps its place.
    Stop {
        /// Name of the task.
        task: String,
    },
    /// Bring the target to the source's end, build what waited, and move sequences and auto-increments; writers rest.
    CutOver {
        /// Name of the task.
        task: String,
    },
    /// Delete a task and what it made at its source; the target keeps its rows.
    Delete {
        /// Name of the task.
        task: String,
    },
}

/// Modules of a running server.
#[derive(Debug, Args)]
pub(crate) struct ModuleArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(subcommand)]
    pub(crate) command: ModuleCommand,
}

/// What to do with modules.
#[derive(Debug, Subcommand)]
pub(crate) enum ModuleCommand {
    /// Write a new project with everything that it needs, and a test. Needs no server.
    New {
        /// Name of the module, and of the folder.
        name: String,
        /// Language of the module.
        #[arg(long, value_enum, default_value = "rust")]
        language: Language,
    },
    /// Run a module on rows and show them before and after. Nothing is written. Exit code 1 when rows fail.
    Test(ModuleTestArgs),
    /// Upload a module.
    Push {
        /// Name under which rules find it.
        name: String,
        /// The WebAssembly component, or the core module that `cargo build` or clang made.
        file: PathBuf,
    },
    /// All modules.
    List,
}

/// A language that a module can be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    /// With the SDK: the fastest modules.
    Rust,
    /// With componentize-py from PyPI.
    Python,
    /// With componentize-js from npm.
    Javascript,
    /// With clang and wasi-libc.
    C,
}

/// Flags of `module test`.
#[derive(Debug, Clone, Args)]
#[command(group = clap::ArgGroup::new("from").required(true).args(["rows", "source"]))]
pub(crate) struct ModuleTestArgs {
    /// A module's file (run here, without being uploaded), or the name of an uploaded one, or NAME@VERSION.
    pub(crate) module: String,
    /// The module's configuration: JSON, or a file of it.
    #[arg(long, value_name = "JSON|FILE", default_value = "{}")]
    pub(crate) config: String,
    /// Rows: a file with a JSON array of objects.
    #[arg(long, value_name = "FILE")]
    pub(crate) rows: Option<PathBuf>,
    /// Columns and key of the rows, as JSON or a file of it; without it they are found out from the rows.
    #[arg(long, value_name = "JSON|FILE", requires = "rows")]
    pub(crate) columns: Option<String>,
    /// Take the first rows of a table of this endpoint of the server.
    #[arg(long, value_name = "ENDPOINT", requires = "table")]
    pub(crate) source: Option<String>,
    /// The table at the source.
    #[arg(long, value_name = "SCHEMA.TABLE", requires = "source")]
    pub(crate) table: Option<String>,
    /// How many rows are taken from the table.
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) limit: u32,
    /// Kind of database that the module is told the rows go to.
    #[arg(long, value_name = "ENGINE", default_value = "postgres")]
    pub(crate) target: String,
    /// Directory for compiled modules [default: tidegate in the user's cache directory].
    #[arg(long, env = "TIDEGATE_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

/// Tenants and keys.
#[derive(Debug, Args)]
pub(crate) struct TenantArgs {
    /// Directory of the server's catalog.
    #[arg(long, global = true, env = "TIDEGATE_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Print the result as JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: TenantCommand,
}

/// What to do with tenants and keys.
#[derive(Debug, Subcommand)]
pub(crate) enum TenantCommand {
    /// All tenants with their quotas.
    List,
    /// Create a tenant.
    Create {
        /// Name of the tenant.
        name: String,
        #[command(flatten)]
        quotas: QuotaArgs,
    },
    /// Change quotas of a tenant; those that are not named stay.
    Set {
        /// Name of the tenant.
        name: String,
        #[command(flatten)]
        quotas: QuotaArgs,
    },
    /// Delete a tenant that has no tasks, endpoints and modules any more, with its keys.
    Delete {
        /// Name of the tenant.
        name: String,
    },
    /// Make a key and print it, once. From the first key on nobody is served without one.
    Key {
        /// Whose key; the default tenant has what was there before there were tenants.
        #[arg(required_unless_present = "operator")]
        name: Option<String>,
        /// For the AWS CLI and SDKs: an access key and its secret.
        #[arg(long)]
        sigv4: bool,
        /// A key for /metrics, of no tenant.
        #[arg(long, conflicts_with_all = ["name", "sigv4"])]
        operator: bool,
    },
    /// All keys, without their secrets.
    Keys,
    /// Delete a key; requests with it are refused from then on.
    Revoke {
        /// What `keys` shows as its id.
        id: String,
    },
}

/// Quotas of a tenant: a number, or `none` for no bound.
#[derive(Debug, Clone, Args)]
pub(crate) struct QuotaArgs {
    /// Share of a node's units relative to other tenants' when they are short [default: 1].
    #[arg(long, value_name = "NUMBER")]
    pub(crate) weight: Option<Bound>,
    /// Most units of all its tasks together.
    #[arg(long, value_name = "COUNT|none")]
    pub(crate) units: Option<Bound>,
    /// Most tasks.
    #[arg(long, value_name = "COUNT|none")]
    pub(crate) tasks: Option<Bound>,
    /// Most modules, by name.
    #[arg(long, value_name = "COUNT|none")]
    pub(crate) modules: Option<Bound>,
    /// Most bytes of all versions of its modules, MiB.
    #[arg(long, value_name = "MIB|none")]
    pub(crate) module_mib: Option<Bound>,
    /// Most sandboxes of all its modules together on a node.
    #[arg(long, value_name = "COUNT|none")]
    pub(crate) sandboxes: Option<Bound>,
    /// Most memory of all its sandboxes together on a node, MiB.
    #[arg(long, value_name = "MIB|none")]
    pub(crate) sandbox_memory_mib: Option<Bound>,
    /// Most memory of an instance of any of its modules, MiB.
    #[arg(long, value_name = "MIB|none")]
    pub(crate) module_memory_mib: Option<Bound>,
    /// Most CPU time of any of its modules for a batch before its rows are counted, milliseconds.
    #[arg(long, value_name = "MS|none")]
    pub(crate) module_batch_cpu_ms: Option<Bound>,
    /// Most CPU time of any of its modules for a row, microseconds.
    #[arg(long, value_name = "US|none")]
    pub(crate) module_row_cpu_us: Option<Bound>,
    /// Most instances of any of its modules at once.
    #[arg(long, value_name = "COUNT|none")]
    pub(crate) module_instances: Option<Bound>,
}

/// A quota as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bound(pub(crate) Option<u32>);

impl std::str::FromStr for Bound {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Bound(None)),
            number => number.parse().map(|number| Bound(Some(number))).map_err(|_| "wanted a whole number, or none".to_owned()),
        }
    }
}

/// Capacity.
#[derive(Debug, Args)]
pub(crate) struct CapacityArgs {
    #[command(subcommand)]
    pub(crate) command: CapacityCommand,
}

/// What to do about capacity.
#[derive(Debug, Subcommand)]
pub(crate) enum CapacityCommand {
    /// Replay load traces in virtual time against the capacity policy, three other policies and the optimum.
    Simulate(SimulateArgs),
}

/// Flags of `capacity simulate`.
#[derive(Debug, Clone, Args)]
pub(crate) struct SimulateArgs {
    /// Names of traces (diurnal, flash-crowd, nightly-batch, ramp, sawtooth, rare-bursts, recorded), or files of lines SECOND,ROWS (.csv) or {"second": 1, "rows": 2} (.jsonl) [default: every named trace].
    #[arg(value_name = "TRACE")]
    pub(crate) traces: Vec<String>,
    /// The most units of the task.
    #[arg(long, value_name = "COUNT", default_value_t = 16)]
    pub(crate) max_units: u32,
    /// The longest lag that is all right.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    pub(crate) max_lag_seconds: f64,
    /// Rows that one unit applies in a second.
    #[arg(long, value_name = "ROWS", default_value_t = 2_000.0)]
    pub(crate) rows_per_unit: f64,
    /// How units add up: twice the units do 2 to the power of this as much, 0.1 to 1.
    #[arg(long, value_name = "EXPONENT", default_value_t = 1.0)]
    pub(crate) scaling: f64,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Write an SVG chart of each trace into this directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) charts: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
