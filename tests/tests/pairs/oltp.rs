//! The usual benchmarks as a load: pgbench's own script and sysbench's `oltp_read_write`, while each source replicates.
//!
//! The nine pairs of the suite have a few seconds of sysbench beside their workload; `cargo xtask oltp` runs two minutes
//! against each source, into its three targets at once.

use std::process::Stdio;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use tidegate_harness::{MysqlFlavour, PostgresVersion, TablePair, compare_databases, wait_for};
use tokio::process::Command;

use crate::world::{Source, World};
use crate::{TURN, worlds};

/// Seconds of load when `TIDEGATE_OLTP_SECONDS` does not say.
const SECONDS: u64 = 120;

/// How long targets may take to become level: several times the load, since everything runs on one machine.
const PATIENCE: Duration = Duration::from_secs(900);

const CLIENTS: u32 = 4;

/// How much, and for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) seconds: u64,
    /// Transactions per second of each benchmark; 0 is as many as there can be.
    pub(crate) rate: u64,
    /// Tables of sysbench.
    pub(crate) tables: u32,
    /// Rows of each of them.
    pub(crate) rows: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Benchmark {
    Pgbench,
    Sysbench,
}

impl Benchmark {
    fn name(self) -> &'static str {
        match self {
            Benchmark::Pgbench => "pgbench",
            Benchmark::Sysbench => "sysbench",
        }
    }

    /// What a source has to bear.
    fn of(source: &Source) -> &'static [Benchmark] {
        match source {
            Source::Postgres(_) => &[Benchmark::Pgbench, Benchmark::Sysbench],
            Source::Mysql(_) => &[Benchmark::Sysbench],
        }
    }

    /// Makes the tables and their rows.
    pub(crate) async fn prepare(self, source: &Source, load: Load) {
        match self {
            Benchmark::Pgbench => {
                // One unit of scale: 100,000 accounts.
                output(pgbench(source).args(["--initialize", "--quiet", "--scale=1", "postgres"])).await;
                // It has no key.
                source.sql("alter table pgbench_history replica identity full").await;
            }
            Benchmark::Sysbench => {
                output(sysbench(source, load).arg("prepare")).await;
            }
        }
    }

    /// The tables, and what became of them.
    pub(crate) fn tables(self, source: &Source, load: Load) -> Vec<TablePair> {
        let names: Vec<String> = match self {
            Benchmark::Pgbench => ["accounts", "branches", "history", "tellers"].map(|name| format!("pgbench_{name}")).into(),
            Benchmark::Sysbench => (1..=load.tables).map(|number| format!("sbtest{number}")).collect(),
        };
        names.iter().map(|name| TablePair::new((source.schema(), name), ("copy", name))).collect()
    }

    /// Runs the load and returns how many transactions there were by the benchmark's own count.
    pub(crate) async fn run(self, source: &Source, load: Load) -> u64 {
        let time = format!("--time={}", load.seconds);
        match self {
            Benchmark::Pgbench => {
                let mut command = pgbench(source);
                command.args(["--jobs=2", &format!("--client={CLIENTS}"), &time]);
                // A rate of nothing is refused.
                command.args((load.rate > 0).then(|| format!("--rate={}", load.rate))).arg("postgres");
                count_after("number of transactions actually processed:", &output(&mut command).await)
            }
            Benchmark::Sysbench => {
                let mut command = sysbench(source, load);
                command.args([format!("--threads={CLIENTS}"), time, format!("--rate={}", load.rate)]).arg("run");
                count_after("transactions:", &output(&mut command).await)
            }
        }
    }
}

fn pgbench(source: &Source) -> Command {
    let mut command = Command::new("pgbench");
    command.args(["--host=127.0.0.1", "--username=postgres", &format!("--port={}", source.port())]);
    command
}

fn sysbench(source: &Source, load: Load) -> Command {
    let mut command = Command::new("sysbench");
    command.args(["oltp_read_write".to_owned(), format!("--tables={}", load.tables), format!("--table-size={}", load.rows)]);
    let port = source.port();
    match source {
        Source::Postgres(_) => {
            command.args(["--db-driver=pgsql", "--pgsql-host=127.0.0.1", "--pgsql-user=postgres", "--pgsql-db=postgres"]);
            command.arg(format!("--pgsql-port={port}"))
        }
        Source::Mysql(_) => {
            command.args(["--db-driver=mysql", "--mysql-host=127.0.0.1", "--mysql-user=repl", "--mysql-password=repl", "--mysql-db=test"]);
            command.arg(format!("--mysql-port={port}"))
        }
    };
    command
}

/// Runs a program to its end and returns what it printed.
async fn output(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}; install it with: cargo xtask setup"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?} ended with {}\n{said}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    said
}

/// The whole number behind a label, which may stand anywhere in a line.
fn count_after(label: &str, said: &str) -> u64 {
    let line = said.lines().find_map(|line| line.trim().strip_prefix(label)).unwrap_or_else(|| panic!("no {label} in:\n{said}"));
    let digits: String = line.trim().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("no count behind {label} in:\n{said}"))
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Runs one source's benchmarks while it replicates into every kind of target.
async fn equal_under_load(source: Source) {
    let _turn = TURN.lock().await;
    let load = Load {
        seconds: number("TIDEGATE_OLTP_SECONDS").unwrap_or(SECONDS),
        rate: number("TIDEGATE_OLTP_RATE").unwrap_or(0),
        tables: 4,
        rows: 5000,
    };
    let benchmarks = Benchmark::of(&source);
    for benchmark in benchmarks {
        benchmark.prepare(&source, load).await;
    }
    source.sql("create table marker (id integer primary key)").await;
    let worlds = worlds(source).await;
    for (name, world) in &worlds {
        world.create_task(name, "full-load-and-cdc", "drop-and-create", json!({})).await;
        world.start_task(name).await;
    }
    for (name, world) in &worlds {
        world.wait_phase(name, "replicating").await;
    }
    let source = &worlds[0].1.source;
    let loads = benchmarks.iter().map(async |benchmark| (benchmark.name(), benchmark.run(source, load).await));
    let counts = join_all(loads).await;
    let ended = Instant::now();
    source.sql("insert into marker values (1)").await;
    let levels = worlds.iter().map(async |(name, world)| {
        wait_marker(name, world).await;
        ended.elapsed()
    });
    let levels = join_all(levels).await;
    for ((name, world), level) in worlds.iter().zip(levels) {
        let pairs: Vec<TablePair> = benchmarks.iter().flat_map(|benchmark| benchmark.tables(source, load)).collect();
        let comparison = compare_databases(&source.database(), &world.target.database(), &pairs).await;
        println!("to {name}: {counts:?} transactions in {} s, level {:.1} s after them, {comparison}", load.seconds, level.as_secs_f32());
        assert_eq!(comparison.differences, 0, "to {name}: {comparison}");
    }
    for (name, count) in counts {
        assert!(count > load.seconds, "{count} transactions of {name} are hardly a load");
    }
}

/// Waits for the row that was inserted when the load had ended.
async fn wait_marker(name: &str, world: &World) {
    wait_for(&format!("the end of the load in {name}"), PATIENCE, async || {
        let task = world.task(name).await;
        assert_ne!(task["status"], "failed", "{}\n{}", task["failure"], world.host.log());
        let found = world.target.value("select count(*) from copy.marker").await;
        if found == "1" { Ok(()) } else { Err(task["phase"].clone()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes; run by cargo xtask oltp"]
async fn postgres_under_pgbench_and_sysbench_equals_its_targets() {
    equal_under_load(Source::postgres(PostgresVersion::V17).await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes; run by cargo xtask oltp"]
async fn mysql_under_sysbench_equals_its_targets() {
    equal_under_load(Source::mysql(MysqlFlavour::Mysql97).await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes; run by cargo xtask oltp"]
async fn mariadb_under_sysbench_equals_its_targets() {
    equal_under_load(Source::mysql(MysqlFlavour::Mariadb118).await).await;
}
