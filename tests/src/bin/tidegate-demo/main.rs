//! The demo: MariaDB and PostgreSQL are copied into PostgreSQL while writers work on both, through a module that was
//! uploaded before.
//!
//! ```text
//!   MariaDB 10.11 ──▶ task "shop" ─┐  mask-email.wasm   ┌─▶ schema shop ┐
//!                                  ├──────────────────▶ │               ├ PostgreSQL 18
//!   PostgreSQL 17 ──▶ task "bank" ─┘                    └─▶ schema bank ┘
//! ```
//!
//! Started by `cargo xtask demo`, which builds the binary and the module. Servers, ports and directories are its own;
//! they are gone when it ends, also after Ctrl-C or a kill. Ends with 0 when there was no difference, else with 1.

mod check;
mod show;

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidegate_harness::{
    Database, MysqlFlavour, MysqlServer, PostgresServer, PostgresVersion, Tidegate, Workload, WorkloadPlan, process, wait_for,
};

/// First rows of each source, over seven tables.
const FIRST_ROWS: u64 = 60_000;

/// Transactions per second of each source.
const RATE: u32 = 200;

const WRITERS: usize = 3;

/// How long the target may take to become level after the writers stopped, on a slow machine with a debug build.
const LEVEL: Duration = Duration::from_secs(300);

/// Configuration of the module, and what the check repeats.
const MASK_KEY: &str = "a secret of the demo";

/// A source with its task, named alike.
struct Stream<'a> {
    task: &'static str,
    engine: &'static str,
    schema: &'static str,
    source: Database<'a>,
    port: u16,
    user: &'static str,
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let seconds = std::env::args().nth(1).map_or(Ok(20), |text| text.parse());
    let Ok(seconds) = seconds else {
        eprintln!("usage: tidegate-demo [SECONDS]");
        return 2.into();
    };
    // Both ends of the race drop what the demo started before the process ends.
    let differences = tokio::select! {
        differences = demo(Duration::from_secs(seconds)) => differences,
        _ = tokio::signal::ctrl_c() => {
            println!("\ninterrupted; servers and files of the demo are removed");
            return 130.into();
        }
    };
    u8::from(differences > 0).into()
}

async fn demo(time: Duration) -> u64 {
    println!("starting MariaDB 10.11 and PostgreSQL 17 as sources, PostgreSQL 18 as target");
    let (shop, bank, target) = tokio::join!(
        MysqlServer::start(MysqlFlavour::Mariadb1011),
        PostgresServer::start(PostgresVersion::V17),
        PostgresServer::start(PostgresVersion::V18)
    );
    let streams = [
        Stream { task: "shop", engine: "mariadb", schema: "test", source: Database::Mysql(&shop), port: shop.port(), user: "repl" },
        Stream {
            task: "bank",
            engine: "postgres",
            schema: "public",
            source: Database::Postgres(&bank),
            port: bank.port(),
            user: "postgres",
        },
    ];
    let seed = std::env::var("TIDEGATE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(20_260);
    println!("writing {FIRST_ROWS} rows to each source (seed {seed})");
    for (stream, plan) in streams.iter().zip(plans(seed)) {
        plan.prepare(&stream.source).await;
        check::create_marker(&stream.source).await;
    }

    let data = tempfile::tempdir().expect("the temporary directory is writable");
    let host = Tidegate::serve(data.path()).await;
    println!("tidegate serve is ready at {}", host.url());
    upload_module(&host).await;
    endpoint(&host, "target", "target", "postgres", target.port(), "postgres").await;
    for stream in &streams {
        endpoint(&host, stream.task, "source", stream.engine, stream.port, stream.user).await;
        create_task(&host, stream).await;
    }

    let mut workloads = Vec::new();
    for (stream, plan) in streams.iter().zip(plans(seed)) {
        workloads.push(plan.start(&stream.source, WRITERS).await);
        host.post(&format!("/v1/tasks/{}/start", stream.task), &json!({})).await.ok();
    }
    println!("both tasks are started while {WRITERS} writers work on each source\n");
    let since = Instant::now();
    show::head();
    watch(&host, &streams, &workloads, since, time).await;

    let mut written = Vec::new();
    for workload in workloads {
        written.push(workload.stop().await);
    }
    println!("\nthe writers stopped after {} and {} transactions; waiting until the target is level", written[0], written[1]);
    for stream in &streams {
        check::write_marker(&stream.source).await;
    }
    wait_until_level(&host, &streams, &target, since).await;
    finish(&streams, &target, &host).await
}

/// The two sources' workloads differ, or a mix-up of the sources would go unseen.
fn plans(seed: u64) -> [WorkloadPlan; 2] {
    [seed, seed + 1].map(|seed| WorkloadPlan::new(seed, FIRST_ROWS).rate(RATE))
}

async fn upload_module(host: &Tidegate) {
    let path = process::root_dir().join("target/guests/mask-email.wasm");
    let module = read(&path);
    let bytes = module.len();
    let answer = host.put_bytes("/v1/modules/mask-email", module).await.ok();
    println!("uploaded module mask-email, {} kB, {}", bytes / 1000, answer["digest"].as_str().unwrap_or("digest not told"));
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("read {}: {error}; build it with: cargo xtask guests", path.display()))
}

async fn endpoint(host: &Tidegate, name: &str, role: &str, engine: &str, port: u16, user: &str) {
    let mut body = json!({"name": name, "role": role, "engine": engine, "host": "127.0.0.1", "port": port, "username": user,
        "password": if user == "repl" { "repl" } else { "" }, "tls": {"mode": "disable"}});
    if engine == "postgres" {
        body["database"] = "postgres".into();
    }
    host.post("/v1/endpoints", &body).await.ok();
}

async fn create_task(host: &Tidegate, stream: &Stream<'_>) {
    let rules = json!([
        {"rule-type": "selection", "rule-id": "1", "rule-name": "everything", "rule-action": "include",
         "object-locator": {"schema-name": stream.schema, "table-name": "%"}},
        {"rule-type": "transformation", "rule-id": "2", "rule-name": "schema", "rule-target": "schema", "rule-action": "rename",
         "object-locator": {"schema-name": stream.schema}, "value": stream.task},
        {"rule-type": "module", "rule-id": "3", "rule-name": "mask", "module": "mask-email",
         "object-locator": {"schema-name": stream.schema, "table-name": "accounts"}, "config": {"columns": ["email"], "key": MASK_KEY}},
    ]);
    let body = json!({"name": stream.task, "source": stream.task, "target": "target", "migration_type": "full-load-and-cdc",
        "preparation": "drop-and-create", "table_mappings": {"rules": rules}});
    host.post("/v1/tasks", &body).await.ok();
}

/// Prints a line for each task and second.
async fn watch(host: &Tidegate, streams: &[Stream<'_>], workloads: &[Workload], since: Instant, time: Duration) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.tick().await;
    while since.elapsed() < time {
        ticks.tick().await;
        for (stream, workload) in streams.iter().zip(workloads) {
            show::line(since, stream.engine, &task(host, stream.task).await, Some(workload.committed()));
        }
    }
}

async fn wait_until_level(host: &Tidegate, streams: &[Stream<'_>], target: &PostgresServer, since: Instant) {
    for stream in streams {
        let mut shown = Instant::now();
        wait_for(&format!("task {} to become level", stream.task), LEVEL, async || {
            let state = task(host, stream.task).await;
            if check::marker_arrived(target, stream.task).await {
                show::line(since, stream.engine, &state, None);
                return Ok(());
            }
            if shown.elapsed() > Duration::from_secs(1) {
                show::line(since, stream.engine, &state, None);
                shown = Instant::now();
            }
            Err(state["progress"].clone())
        })
        .await;
    }
}

/// The task as the API shows it; panics with the host's log when it failed.
async fn task(host: &Tidegate, name: &str) -> Value {
    let task = host.get(&format!("/v1/tasks/{name}")).await.ok();
    assert_ne!(task["status"], "failed", "task {name} failed: {}\n{}", task["failure"], host.log());
    task
}

async fn finish(streams: &[Stream<'_>], target: &PostgresServer, host: &Tidegate) -> u64 {
    println!("\ncomparing source and target row by row");
    let (mut tables, mut rows, mut differences) = (0, 0, 0);
    for stream in streams {
        let found = check::compare(stream, target).await;
        println!("  {:<9} {found}", stream.engine);
        let masks = check::wrong_masks(stream, target).await;
        println!("  {:<9} {} masked e-mail addresses, {} not as the module computes them", stream.engine, masks.checked, masks.wrong);
        tables += found.tables;
        rows += found.rows;
        differences += found.differences + masks.wrong;
    }
    println!("\n{tables} tables, {rows} rows, {differences} differences (peak memory of tidegate: {} MiB)", host.peak_rss_bytes() >> 20);
    differences
}
