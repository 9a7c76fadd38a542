//! A MariaDB and a PostgreSQL shop are copied into one PostgreSQL while customers keep buying: `cargo xtask demo`.
//!
//! ```text
//!   MariaDB 10.11  (shop) ──┐                    ┌─▶ from_mariadb    e-mail addresses masked by a module
//!                           ├─▶ tidegate serve ──┤
//!   PostgreSQL 17  (shop) ──┘                    └─▶ from_postgres   in PostgreSQL 18
//! ```
//!
//! Everything is private: servers with directories and ports of their own, which are gone when the demo ends, however it
//! ends. It ends with 0 only when source and target were equal, row by row.

mod live;
mod proof;
mod shop;
mod source;
mod tasks;

use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt;
use serde_json::Value;
use tidegate_harness::{MysqlFlavour, MysqlServer, PostgresServer, PostgresVersion, Tidegate};
use tokio::signal::unix::{Signal, SignalKind, signal};

use live::{LiveTable, grouped};
use source::{CLERKS, Clerks, Source};
use tasks::{MARIADB, POSTGRES};

/// How long a load, or the catching up at the end, may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(300);

const USAGE: &str = "usage: tidegate-demo [--seed N] [--seconds N]
  --seed N      the same seed makes the same rows and transactions (default: a random one)
  --seconds N   how long the clerks go on when both copies are loaded (default: 20)";

#[tokio::main]
async fn main() -> ExitCode {
    let (seed, seconds) = match arguments(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(message) => {
            eprintln!("{message}\n{USAGE}");
            return ExitCode::FAILURE;
        }
    };
    // The harness panics with a sentence when a server does not start; where in the code is of no use here.
    std::panic::set_hook(Box::new(|panic| {
        let _ = writeln!(std::io::stderr(), "\ndemo: {}", panic.payload_as_str().unwrap_or("it ended in an unknown way"));
    }));
    let interrupted = tokio::spawn(first_interrupt());
    // However the demo ends, what it started is dropped here.
    let demo = AssertUnwindSafe(demo(seed, seconds)).catch_unwind();
    let ended = tokio::select! {
        ended = demo => ended,
        _ = interrupted => {
            println!("\nInterrupted: everything that was started has been stopped and removed.");
            return ExitCode::FAILURE;
        }
    };
    match ended {
        Ok(Ok(0)) => ExitCode::SUCCESS,
        Ok(Ok(_)) => ExitCode::FAILURE,
        Ok(Err(message)) => {
            eprintln!("\ndemo: {message}");
            ExitCode::FAILURE
        }
        Err(_) => ExitCode::FAILURE,
    }
}

/// Returns at the first Ctrl-C, closed terminal or request to end; the second one ends the process at once.
async fn first_interrupt() {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let mut signals = kinds.map(|kind| signal(kind).expect("a signal handler can be set"));
    any(&mut signals).await;
    tokio::spawn(async move {
        any(&mut signals).await;
        // The servers' watchdogs clean up after us.
        std::process::exit(1);
    });
}

async fn any([interrupt, terminate, hangup]: &mut [Signal; 3]) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}

/// The whole demo; returns the number of differences.
async fn demo(seed: u64, seconds: u64) -> Result<u64, String> {
    let since = Instant::now();
    println!("Tidegate copies two shops into one PostgreSQL while customers keep buying.  seed {seed}\n");

    println!("1  Private servers, gone at the end");
    let (mariadb, postgres, target) = tokio::join!(
        MysqlServer::start(MysqlFlavour::Mariadb1011),
        PostgresServer::start(PostgresVersion::V17),
        PostgresServer::start(PostgresVersion::V18),
    );
    let host = Tidegate::serve_in_own_dir().await;
    println!("    MariaDB 10.11     127.0.0.1:{}   source", mariadb.port());
    println!("    PostgreSQL 17     127.0.0.1:{}   source", postgres.port());
    println!("    PostgreSQL 18     127.0.0.1:{}   target", target.port());
    println!("    tidegate serve    {}   try /v1/tasks, /metrics, /openapi.json\n", host.url());

    let result = replicate(seed, seconds, &mariadb, &postgres, &target, &host).await;
    if result.is_err() {
        eprintln!("\n{}", last_lines(&host.log(), 20));
    }
    let differences = result?;
    println!("\n{differences} differences");
    println!("\n{} s in all. Next: \"A first task in five minutes\" in README.md", since.elapsed().as_secs());
    Ok(differences)
}

async fn replicate(
    seed: u64,
    seconds: u64,
    mariadb: &MysqlServer,
    postgres: &PostgresServer,
    target: &PostgresServer,
    host: &Tidegate,
) -> Result<u64, String> {
    let sources = [Source::Mariadb(mariadb), Source::Postgres(postgres)];
    // Two different shops: a mix-up of the sources would show.
    let seeds = [seed, seed.wrapping_add(1_000_000)];
    print!("2  Two shops, {} rows each ... ", grouped(shop::FIRST_ROWS));
    let _ = std::io::stdout().flush();
    let since = Instant::now();
    let filled = tokio::join!(sources[0].prepare(seeds[0]), sources[1].prepare(seeds[1]));
    filled.0.and(filled.1)?;
    println!("filled in {:.0} s\n", since.elapsed().as_secs_f64());

    println!("3  A module, three endpoints and two tasks, over HTTP");
    tasks::upload_module(host).await?;
    tasks::create_endpoints(host, mariadb, postgres, target).await?;
    for task in [MARIADB, POSTGRES] {
        tasks::create(host, task).await?;
    }

    println!("\n4  Copied and followed while {} clerks write to the shops", CLERKS * 2);
    let mut clerks = Clerks::default();
    for (source, seed) in sources.into_iter().zip(seeds) {
        clerks.employ(source, seed).await;
    }
    for task in [MARIADB, POSTGRES] {
        tasks::start(host, task).await?;
    }
    let mut table = LiveTable::new();
    let replicating = |tasks: &[Value]| tasks.iter().all(|task| task["phase"] == "replicating");
    watch(host, &mut table, &mut clerks, PATIENCE, replicating).await?;
    let until = Instant::now() + Duration::from_secs(seconds);
    watch(host, &mut table, &mut clerks, PATIENCE + Duration::from_secs(seconds), |_| Instant::now() >= until).await?;

    clerks.stop().await?;
    println!("\n5  Clerks stopped after {} transactions", grouped(clerks.committed()));
    let since = Instant::now();
    for (source, task) in sources.into_iter().zip([MARIADB, POSTGRES]) {
        source.write_marker().await?;
        wait_level(host, target, task).await?;
    }
    println!(
        "    both copies level {:.1} s later; tidegate took {} MiB of memory at most",
        since.elapsed().as_secs_f64(),
        host.peak_rss_bytes() >> 20
    );

    println!("\n6  Source and target, row by row");
    let mut differences = proof::compare(sources[0], target, MARIADB, Some(("customers", "email"))).await;
    differences += proof::check_masked(sources[0], target, MARIADB).await;
    differences += proof::compare(sources[1], target, POSTGRES, None).await;
    Ok(differences)
}

/// Shows both tasks once a second until `done` says so.
async fn watch(
    host: &Tidegate,
    table: &mut LiveTable,
    clerks: &mut Clerks,
    patience: Duration,
    done: impl Fn(&[Value]) -> bool,
) -> Result<(), String> {
    let since = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        let shown = [tasks::show(host, MARIADB).await?, tasks::show(host, POSTGRES).await?];
        table.show(&shown, clerks.committed());
        clerks.check()?;
        if done(&shown) {
            return Ok(());
        }
        if since.elapsed() > patience {
            return Err(format!("a task did not come further within {} s", patience.as_secs()));
        }
    }
}

/// Waits for the marker row: everything that was committed before it is then in the target.
async fn wait_level(host: &Tidegate, target: &PostgresServer, task: tasks::Task) -> Result<(), String> {
    let since = Instant::now();
    let query = format!("select count(*) from {}.markers", task.target_schema);
    while target.value(&query).await != "1" {
        tasks::show(host, task).await?;
        if since.elapsed() > PATIENCE {
            return Err(format!("the last row of task {} did not arrive within {} s", task.name, PATIENCE.as_secs()));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

fn arguments(mut words: impl Iterator<Item = String>) -> Result<(u64, u64), String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64);
    // Six digits: short enough to type again.
    let (mut seed, mut seconds) = (now % 1_000_000, 20);
    while let Some(word) = words.next() {
        let place = match word.as_str() {
            "--seed" => &mut seed,
            "--seconds" => &mut seconds,
            other => return Err(format!("{other:?} is no option")),
        };
        let number = words.next().ok_or_else(|| format!("{word} wants a number"))?;
        *place = number.parse().map_err(|_| format!("{word} wants a number, found {number:?}"))?;
    }
    Ok((seed, seconds))
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
