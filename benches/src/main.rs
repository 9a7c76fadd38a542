//! Side-by-side runs against the tools that people use today, on private servers, in one run on one machine.
//!
//! Questions: how long does a full load take against `psql COPY | psql COPY`, and how long does a backlog take against
//! PostgreSQL's native logical replication? Sizes are rows and transactions (`--rows`, `--transactions`); the answers
//! are rows/s, MB/s, the ratio of the two wall times (above 1: Tidegate is faster), and the peak memory of the process.
//! Nothing here asserts on time. Output is one JSON line a measurement on stdout, and a table on stderr.

mod catch_up;
mod full_load;
mod measured;
mod tidegate;

use clap::Parser;

use measured::Measurement;

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
    #[arg(long, default_value_t = 3)]
    repeat: u32,
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    let mut measurements = Vec::new();
    measurements.extend(full_load::measure(arguments.rows, arguments.repeat).await);
    measurements.extend(catch_up::measure(arguments.transactions, arguments.repeat).await);
    for measurement in &measurements {
        println!("{}", measurement.json());
    }
    eprintln!("\n{}", Measurement::table(&measurements));
}
