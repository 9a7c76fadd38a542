//! Tasks of the project, started with `cargo xtask`. See `cargo xtask --help`.
//!
//! It builds with few packages and without the modules in `target/guests`, since it is what makes them: nothing of
//! the workspace's other packages may be imported here.

mod command;
mod demo;
mod examples;
mod guests;
mod long_runs;
mod setup;
mod test;

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tasks of the project.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what tests and demo need: private database servers, client programs, Python packages.
    Setup,
    /// Build the WebAssembly modules into target/guests.
    Guests,
    /// Build the example modules in C, Python and JavaScript too, with compilers from Debian, PyPI and npm.
    Examples,
    /// Run everything that CI runs: setup, guests, format, lints, build, tests.
    #[command(alias = "ci")]
    Test,
    /// Replicate MariaDB and PostgreSQL into PostgreSQL under load, live, on private servers.
    Demo {
        /// Use the optimised binary: the first build takes several minutes longer.
        #[arg(long)]
        release: bool,
        /// How long the workload goes on when both copies are loaded, in seconds.
        #[arg(long, default_value_t = 20)]
        seconds: u32,
        /// The same seed makes the same rows and transactions.
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Random schemas and workloads in all nine pairs, round after round, each compared with its source.
    Generator {
        /// Rounds; the n-th has the seed plus n, and is the same alone.
        #[arg(long, default_value_t = 20)]
        rounds: u32,
        /// Transactions and changed definitions of a round at each source.
        #[arg(long, default_value_t = 50)]
        steps: u32,
        /// Where the seeds begin; the clock without it.
        #[arg(long)]
        seed: Option<u64>,
        /// Some of the pairs: `postgres-mysql,mariadb-postgres`.
        #[arg(long)]
        pairs: Option<String>,
    },
    /// pgbench and sysbench as the load of each source while it replicates to all three targets, compared at the end.
    Oltp {
        /// How long the load goes on, in seconds, at each source after the other.
        #[arg(long, default_value_t = 120)]
        seconds: u32,
        /// Transactions per second of each benchmark; 0 is as many as there can be.
        #[arg(long, default_value_t = 0)]
        rate: u32,
        /// One source alone: `postgres`, `mysql` or `mariadb`.
        #[arg(long)]
        source: Option<String>,
    },
    /// Compare with `psql` and with native replication on private servers; `-- modules` and `-- neighbour` measure what
    /// tenants' modules cost; `-- --help` shows the options.
    Bench {
        /// Passed to the benchmark.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder of the workspace");
    match run(root, Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(root: &Path, task: Task) -> Result<(), String> {
    match task {
        Task::Setup => setup::run(root),
        Task::Guests => guests::build(root),
        Task::Examples => guests::build(root).and_then(|()| examples::build(root)),
        Task::Test => test::run(root),
        Task::Demo { release, seconds, seed } => demo::run_demo(root, release, seconds, seed),
        Task::Generator { rounds, steps, seed, pairs } => long_runs::generator(root, rounds, steps, seed, pairs.as_deref()),
        Task::Oltp { seconds, rate, source } => long_runs::oltp(root, seconds, rate, source.as_deref()),
        Task::Bench { arguments } => bench(root, &arguments),
    }
}

/// Always the optimised binary: the debug build's speed says nothing.
fn bench(root: &Path, arguments: &[String]) -> Result<(), String> {
    setup::run(root)?;
    guests::build(root)?;
    command::run(command::cargo(root).args(["build", "--release", "--package", "tidegate", "--package", "tidegate-benches"]))?;
    let mut run = command::cargo(root);
    run.args(["run", "--quiet", "--release", "--package", "tidegate-benches", "--"]).args(arguments);
    if std::env::var_os("TIDEGATE_BIN").is_none() {
        run.env("TIDEGATE_BIN", root.join("target/release/tidegate"));
    }
    command::run(&mut run)
}
