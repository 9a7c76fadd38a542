//! Side-by-side runs against the tools that people use today, on private servers, in one run on one machine.
//!
//! Questions: how long does a full load take against `psql COPY | psql COPY`, and how long does a backlog take against
//! PostgreSQL's native logical replication? Sizes are rows and transactions (`--rows`, `--transactions`); the answers
//! are rows/s, MB/s, the ratio of the two wall times (above 1: Tidegate is faster), and the peak memory of the process.
//! Nothing here asserts on time. Output is one JSON line a measurement on stdout, and a table on stderr. `modules` and
//! `neighbour` ask what tenants' modules cost; `burst`, `idle` and `flood` what capacity does. Each has a file of its own.

mod bare_readers;
mod burst;
mod catch_up;
mod flood;
mod full_load;
mod guest_load;
mod guest_row;
mod host;
mod idle;
mod measured;
mod tidegate;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tidegate_harness::neighbour::{MISDEEDS, NeighbourPlan, UPLOADS, measure as measure_neighbour};

use bare_readers::Engine;
use measured::Measurement;

/// The misdeed that no module does, every misdeed, and none.
const ALL_UPLOADS: &str = "uploads";
const ALL: &str = "all";
const NONE: &str = "none";

/// Compares Tidegate with `psql` and with native logical replication.
#[derive(Parser)]
struct Arguments {
    /// Rows of the table that is loaded.
    #[arg(long, default_value_t = 2_000_000)]
    rows: u64,
    /// Transactions of the backlog; each inserts, updates and deletes ten rows in all.
    #[arg(long, default_value_t = 50_000)]
    transactions: u64,
    /// Times each measurement is repeated; the best of each is compared.
    #[arg(long, default_value_t = 3, global = true)]
    repeat: u32,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Subcommand)]
enum Part {
    /// What a module costs: ns a row in the process, and as a share of a full load.
    Modules {
        /// Also measure this module, with this configuration: PATH.wasm or PATH.wasm=CONFIG.
        #[arg(long = "module")]
        modules: Vec<String>,
        /// Rows of the table that is loaded; 0 leaves the loads out.
        #[arg(long, default_value_t = 2_000_000)]
        load_rows: u64,
        /// Only loads without a module and those whose case has this in its name, and nothing but loads.
        #[arg(long)]
        load_case: Option<String>,
    },
    /// How a task at zero units takes a burst.
    Burst {
        /// Changes.
        #[arg(long, default_value_t = 500_000)]
        changes: u64,
        /// Milliseconds each way to the target.
        #[arg(long, default_value_t = 10)]
        delay_ms: u64,
        /// The most units of the task.
        #[arg(long, default_value_t = 8)]
        max_units: u32,
    },
    /// What tasks cost that have nothing to do.
    Idle {
        /// The kind of source; PostgreSQL starts a process for each task.
        #[arg(long, value_enum, default_value_t = Engine::Mariadb)]
        source: Engine,
        /// Tasks.
        #[arg(long, default_value_t = 1_000)]
        tasks: usize,
        /// Seconds for which nothing happens.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// First changes, each of another task.
        #[arg(long, default_value_t = 100)]
        wakes: usize,
    },
    /// The readers that `idle` compares with.
    #[command(hide = true)]
    BareReaders {
        #[arg(long, value_enum)]
        source: Engine,
        #[arg(long)]
        port: u16,
        #[arg(long)]
        count: usize,
    },
    /// What a quiet tenant notices of another one that floods the node.
    Flood {
        /// Rows of each phase.
        #[arg(long, default_value_t = 500)]
        rows: u32,
        /// Tasks of the other tenant.
        #[arg(long, default_value_t = 4)]
        tasks: u32,
        /// Units of the node.
        #[arg(long, default_value_t = 4)]
        units: u32,
    },
    /// What a task notices of hostile modules in the same process.
    Neighbour {
        /// Rows of each phase; a hostile one goes on until every misdeed had its turn.
        #[arg(long, default_value_t = 5_000)]
        phase_rows: u32,
        /// Pairs of a quiet and a hostile phase.
        #[arg(long, default_value_t = 3)]
        pairs: u32,
        /// The strangers' databases and clients share the processors with everything else.
        #[arg(long)]
        strangers_push: bool,
        /// Which misdeeds there are, for finding out what it is that a neighbour notices: names out of the hostile collection (`slow to compile` is
        /// an upload there), `uploads` for all of these, `none`.
        #[arg(long, value_delimiter = ',', value_parser = misdeed, default_value = "all")]
        misdeeds: Vec<String>,
        /// Hostile tasks at a time.
        #[arg(long, default_value_t = 4)]
        at_once: usize,
        /// Where to write each row's milliseconds: `phase,number,ms`.
        #[arg(long)]
        rows_to: Option<PathBuf>,
    },
}

fn misdeed(name: &str) -> Result<String, String> {
    let names: Vec<&str> = MISDEEDS.iter().map(|(misdeed, _)| *misdeed).chain(UPLOADS).chain([ALL_UPLOADS, ALL, NONE]).collect();
    if names.contains(&name) { Ok(name.to_owned()) } else { Err(format!("known are {}", names.join(", "))) }
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    match &arguments.part {
        None => compare(&arguments).await,
        Some(Part::Modules { modules, load_rows, load_case }) => {
            let given: Vec<(PathBuf, String)> = modules
                .iter()
                .map(|text| text.split_once('=').map_or((text.into(), "{}".to_owned()), |(path, config)| (path.into(), config.to_owned())))
                .collect();
            if load_case.is_none() {
                guest_row::measure(&given);
            }
            if *load_rows > 0 {
                guest_load::measure(*load_rows, arguments.repeat, load_case.as_deref().unwrap_or_default()).await;
            }
        }
        Some(Part::Burst { changes, delay_ms, max_units }) => burst::measure(*changes, *delay_ms, *max_units).await,
        Some(Part::Idle { source, tasks, seconds, wakes }) => idle::measure(*source, *tasks, *seconds, *wakes).await,
        Some(Part::BareReaders { source, port, count }) => bare_readers::read(*source, *port, *count).await,
        Some(Part::Flood { rows, tasks, units }) => flood::measure(*rows, *tasks, *units).await,
        Some(Part::Neighbour { phase_rows, pairs, strangers_push, misdeeds, at_once, rows_to }) => {
            let is_named = |name: &str| misdeeds.iter().any(|misdeed| misdeed == name || misdeed == ALL);
            // The optimised binary, unless another is named.
            let plan = NeighbourPlan {
                rows_each_phase: *phase_rows,
                interval: Duration::from_millis(5),
                pairs: *pairs,
                misdeeds: MISDEEDS.iter().filter(|(misdeed, _)| is_named(misdeed)).map(|(misdeed, _)| (*misdeed).to_owned()).collect(),
                at_once: (*at_once).max(1),
                uploads: UPLOADS.into_iter().filter(|upload| is_named(upload) || is_named(ALL_UPLOADS)).collect(),
                total_memory_mib: 256,
                strangers_elsewhere: !strangers_push,
            };
            let report = measure_neighbour(plan).await;
            if let Some(path) = rows_to {
                std::fs::write(path, report.rows()).expect("the rows can be written");
            }
            eprintln!("{}", report.text());
        }
    }
}

async fn compare(arguments: &Arguments) {
    let mut measurements = Vec::new();
    measurements.extend(full_load::measure(arguments.rows, arguments.repeat).await);
    measurements.extend(catch_up::measure(arguments.transactions, arguments.repeat).await);
    for measurement in &measurements {
        println!("{}", measurement.json());
    }
    eprintln!("\n{}", Measurement::table(&measurements));
}
