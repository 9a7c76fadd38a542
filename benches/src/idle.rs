//! What do tasks cost that have nothing to do, beyond what their source's protocol costs, and how soon is the first change
//! after that in the target?
//!
//! First as many bare readers of the source's log are measured ([`bare_readers`](crate::bare_readers)), then the tasks. Each task
//! has a table of its own. Sizes are tasks (`--tasks`), seconds of quiet (`--seconds`) and first changes (`--wakes`). Answers are bytes
//! of resident memory a task, shares of a core, seconds from the first start to the last task's first look at its log and from
//! the first stop to the last task's end, and milliseconds from the commit of a change to its sight in the target, polled each millisecond.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidegate_harness::neighbour::NeighbourReport;
use tidegate_harness::{MysqlFlavour, MysqlServer, PostgresServer, PostgresVersion, Tidegate, wait_for};

use crate::bare_readers::{BareReaders, Engine, slot};
use crate::host::{postgres, start, task, wait_asleep};
use crate::tidegate::{cpu_time, resident};

/// Long enough for a thousand tasks to begin or to end.
const PATIENCE: Duration = Duration::from_secs(900);

/// The source; a task's table is in the schema that it names.
enum Source {
    Mariadb(MysqlServer),
    Postgres(PostgresServer),
}

impl Source {
    async fn start(engine: Engine, tasks: usize) -> Source {
        // A start needs a few connections beside the one that a sleeping task keeps.
        let connections = tasks + 200;
        match engine {
            Engine::Mariadb => {
                Source::Mariadb(MysqlServer::start_with(MysqlFlavour::Mariadb1011, &[&format!("--max-connections={connections}")]).await)
            }
            Engine::Postgres => {
                let settings = [
                    format!("max_connections={connections}"),
                    format!("max_wal_senders={}", tasks + 20),
                    format!("max_replication_slots={}", tasks + 20),
                ];
                let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
                Source::Postgres(PostgresServer::start_with(PostgresVersion::V17, &settings).await)
            }
        }
    }

    fn schema(&self) -> &'static str {
        match self {
            Source::Mariadb(_) => "test",
            Source::Postgres(_) => "public",
        }
    }

    fn port(&self) -> u16 {
        match self {
            Source::Mariadb(server) => server.port(),
            Source::Postgres(server) => server.port(),
        }
    }

    fn endpoint(&self) -> Value {
        match self {
            Source::Mariadb(server) => json!({"name": "source", "role": "source", "engine": "mariadb", "host": server.host(),
                "port": server.port(), "username": "repl", "password": "repl", "tls": "disable"}),
            Source::Postgres(server) => postgres("source", "source", server.port()),
        }
    }

    async fn sql(&self, sql: &str) {
        match self {
            Source::Mariadb(server) => server.sql(sql).await,
            Source::Postgres(server) => server.client().await.batch_execute(sql).await.expect("the source takes the statements"),
        }
    }

    /// CPU and memory of bare readers over the same time.
    async fn bare(&self, engine: Engine, count: usize, seconds: u64) -> (f64, u64) {
        if engine == Engine::Postgres {
            self.sql("create publication bare").await;
            for number in 0..count {
                self.sql(&format!("select pg_create_logical_replication_slot('{}', 'pgoutput')", slot(number))).await;
            }
        }
        let readers = BareReaders::start(engine, self.port(), count);
        let cpu = || cpu_time(readers.process_id()).unwrap_or_default();
        let (before, since) = (cpu(), Instant::now());
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let cores = (cpu() - before).as_secs_f64() / since.elapsed().as_secs_f64();
        let bytes = resident(readers.process_id()).unwrap_or_default();
        drop(readers);
        if engine == Engine::Postgres {
            let gone = "select pg_drop_replication_slot(slot_name) from pg_replication_slots where not active and slot_name like 'bare%'";
            let Source::Postgres(server) = self else { unreachable!("the engine is PostgreSQL") };
            wait_for("the readers' slots to go", PATIENCE, async || {
                self.sql(gone).await;
                let left = server.value("select count(*) from pg_replication_slots").await;
                if left == "0" { Ok(()) } else { Err(left) }
            })
            .await;
        }
        (cores, bytes)
    }
}

/// Waits until all tasks are so, asking for all of them at once.
async fn all(host: &Tidegate, what: &str, is_so: impl Fn(&Value) -> bool) {
    wait_for(what, PATIENCE, async || {
        let found = host.get("/v1/tasks?view=summary").await.ok();
        let tasks = found["tasks"].as_array().expect("a list").clone();
        if let Some(failed) = tasks.iter().find(|task| task["status"] == "failed") {
            panic!("{}", failed["failure"]);
        }
        let left = tasks.iter().filter(|task| !is_so(task)).count();
        if left == 0 {
            return Ok(());
        }
        // Such a list is work for the server that is measured.
        tokio::time::sleep(Duration::from_millis(450)).await;
        Err(left)
    })
    .await;
}

/// Starts the tasks and prints what they cost.
pub(crate) async fn measure(engine: Engine, tasks: usize, seconds: u64, wakes: usize) {
    let source = Source::start(engine, tasks).await;
    let target = PostgresServer::start_with(PostgresVersion::V17, &["max_connections=400"]).await;
    let (bare_cores, bare_bytes) = source.bare(engine, tasks, seconds).await;
    eprintln!("{tasks} bare readers take {bare_cores:.4} of a core");
    let host = Tidegate::serve_in_own_dir().await;
    let tables: Vec<String> = (0..tasks).map(|number| format!("create table t{number} (id integer primary key)")).collect();
    source.sql(&tables.join("; ")).await;
    host.post("/v1/endpoints", &source.endpoint()).await.ok();
    host.post("/v1/endpoints", &postgres("target", "target", target.port())).await.ok();
    let before = host.rss_bytes();
    let names: Vec<String> = (0..tasks).map(|number| format!("t{number}")).collect();
    let since = Instant::now();
    start(&host, &names.iter().map(|name| task(name, source.schema(), name, 1)).collect::<Vec<_>>()).await;
    all(&host, "all tasks to follow their source", |task| task["phase"] == "replicating").await;
    let start_seconds = since.elapsed().as_secs_f64();
    eprintln!("{tasks} tasks follow their source after {start_seconds:.1} s");
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
    let since = Instant::now();
    for name in &names {
        host.post(&format!("/v1/tasks/{name}/stop"), &json!({})).await.ok();
    }
    all(&host, "all tasks to stop", |task| task["status"] == "stopped").await;
    let stop_seconds = since.elapsed().as_secs_f64();
    println!(
        "{}",
        json!({"work": "idle", "source": engine.name(), "tasks": tasks, "start_seconds": start_seconds, "stop_seconds": stop_seconds,
            "bytes_each": bytes / tasks.max(1) as u64, "bare_bytes_each": bare_bytes / tasks.max(1) as u64,
            "cores": cores, "bare_cores": bare_cores, "cores_beyond_protocol": cores - bare_cores, "wakes": waits.len(),
            "wake_ms_p50": NeighbourReport::percentile(&waits, 50.0), "wake_ms_p99": NeighbourReport::percentile(&waits, 99.0)})
    );
}
