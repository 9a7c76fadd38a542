//! What do tasks cost that have nothing to do, and how soon is the first change after that in the target?
//!
//! The source is MariaDB, whose readers cost it little, so that a thousand of them fit on one machine; each task has a table
//! of its own. Sizes are tasks (`--tasks`), seconds of quiet (`--seconds`) and first changes (`--wakes`). Answers are bytes
//! of resident memory a task, the share of a core that the process takes, and milliseconds from the commit of a change to its
//! sight in the target, polled each millisecond.

use std::time::{Duration, Instant};

use serde_json::json;
use tidegate_harness::neighbour::NeighbourReport;
use tidegate_harness::{MysqlFlavour, MysqlServer, PostgresServer, PostgresVersion, Tidegate};

use crate::host::{postgres, start, task, wait, wait_asleep};

/// Tasks that begin together: each needs a handful of connections until it sleeps.
const BATCH: usize = 50;

/// Starts the tasks and prints what they cost.
pub(crate) async fn measure(tasks: usize, seconds: u64, wakes: usize) {
    let connections = tasks + 200;
    let source = MysqlServer::start_with(MysqlFlavour::Mariadb118, &[&format!("--max-connections={connections}")]).await;
    let target = PostgresServer::start_with(PostgresVersion::V17, &["max_connections=400"]).await;
    let host = Tidegate::serve_in_own_dir().await;
    let tables: Vec<String> = (0..tasks).map(|number| format!("create table t{number} (id integer primary key)")).collect();
    source.sql(&tables.join("; ")).await;
    let from = json!({"name": "source", "role": "source", "engine": "mariadb", "host": source.host(), "port": source.port(),
        "username": "repl", "password": "repl", "tls": "disable"});
    host.post("/v1/endpoints", &from).await.ok();
    host.post("/v1/endpoints", &postgres("target", "target", target.port())).await.ok();
    let before = host.rss_bytes();
    let names: Vec<String> = (0..tasks).map(|number| format!("t{number}")).collect();
    for batch in names.chunks(BATCH) {
        start(&host, &batch.iter().map(|name| task(name, "test", name, 1)).collect::<Vec<_>>()).await;
        for name in batch {
            wait(&host, name, "follow its source", |task| task["phase"] == "replicating").await;
        }
        eprintln!("{} tasks follow their source", batch.last().expect("a batch has tasks"));
    }
    for name in &names {
        wait_asleep(&host, name).await;
    }
    let (cpu, since) = (host.cpu_time(), Instant::now());
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let cores = (host.cpu_time() - cpu).as_secs_f64() / since.elapsed().as_secs_f64();
    let bytes = host.rss_bytes().saturating_sub(before);

    let reader = target.client().await;
    let mut waits = Vec::new();
    for name in names.iter().step_by((tasks / wakes.max(1)).max(1)).take(wakes) {
        source.sql(&format!("insert into {name} values (1)")).await;
        let since = Instant::now();
        let query = format!("select 1 from copy.{name} where id = 1");
        while reader.query_opt(&query, &[]).await.expect("the table can be read").is_none() {
            assert!(since.elapsed() < Duration::from_secs(60), "the first change of {name} arrives within a minute");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        waits.push(since.elapsed().as_secs_f64() * 1e3);
    }
    println!(
        "{}",
        json!({"work": "idle", "tasks": tasks, "bytes_each": bytes / tasks.max(1) as u64, "cores": cores, "wakes": waits.len(),
            "wake_ms_p50": NeighbourReport::percentile(&waits, 50.0), "wake_ms_p99": NeighbourReport::percentile(&waits, 99.0)})
    );
}
