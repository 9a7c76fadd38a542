//! What a quiet tenant notices of another one that floods the same node.
//!
//! ```text
//!   source ── task of tenant "quiet", one row at a time ──▶ target    latency = seen in the target - committed at the source
//!          └─ tasks of tenant "flood", all at once       ──▶ target    more than their units apply
//! ```
//!
//! First the quiet one is alone, then the other writes for as long as the second phase takes. Both have tasks of the same
//! names, and the node has few units. Each has a database server of its own: what a flood does to a server that is not its
//! own is not the node's to bound.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_postgres::Client;

use crate::{PostgresServer, PostgresVersion, Tenant, Tidegate, wait_for};

/// Long enough for a task to begin, in a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// Rows of one transaction of the flood.
const FLOOD_BATCH: u32 = 500;

/// Waiting rows from which on it is a flood.
const FLOODED: u64 = 2_000;

/// How often it is looked how much waits.
const LOOK: Duration = Duration::from_millis(100);

/// How long and how much.
#[derive(Debug, Clone, Copy)]
pub struct FloodPlan {
    /// Rows of the quiet tenant in each phase.
    pub rows_each_phase: u32,
    /// Time between two rows.
    pub interval: Duration,
    /// Tasks of the other tenant.
    pub flood_tasks: u32,
    /// What the other tenant's writers wait between two transactions.
    pub flood_interval: Duration,
    /// Waiting rows of the flood from which on its writers pause: what is asked is what the node does, and databases of two tenants that
    /// share a disk and processors meet there, too.
    pub flood_waiting_most: u64,
    /// Units of the node.
    pub units: u32,
    /// The objective of every task.
    pub max_lag_seconds: u32,
}

/// What was measured.
#[derive(Debug, Clone)]
pub struct FloodReport {
    /// Milliseconds of each row while nothing else ran.
    pub alone_ms: Vec<f64>,
    /// The same while the other tenant wrote more than its units apply.
    pub beside_ms: Vec<f64>,
    /// Rows of the flood that were written while the second phase took.
    pub flood_rows: u64,
    /// Rows of the flood that waited at the end of the second phase.
    pub flood_waiting: u64,
    /// Units that the tasks of the flood wanted and had then, together.
    pub flood_units: (u64, u64),
}

/// Runs both phases on servers of its own.
pub async fn measure(plan: FloodPlan) -> FloodReport {
    let (calm, storm) = tokio::join!(PostgresServer::start(PostgresVersion::V17), PostgresServer::start(PostgresVersion::V17));
    for server in [&calm, &storm] {
        server.sql("create database origin").await;
        server.sql("create database copy").await;
    }
    calm.sql_in("origin", "create table calm (id integer primary key)").await;
    let dir = tempfile::tempdir().expect("a directory can be made");
    let host = Tidegate::serve_with(dir.path(), &[("TIDEGATE_UNITS", &plan.units.to_string())]).await;
    let quiet = Tenant::create(&host, "quiet", &[]).await;
    let flood = Tenant::create(&host, "flood", &[]).await;
    join(&quiet, &calm).await;
    join(&flood, &storm).await;
    begin(&quiet, "shop-0", "calm", plan.max_lag_seconds).await;
    for number in 0..plan.flood_tasks {
        storm.sql_in("origin", &format!("create table storm_{number} (id bigserial primary key, note text not null)")).await;
        begin(&flood, &format!("shop-{number}"), &format!("storm_{number}"), plan.max_lag_seconds).await;
    }
    wait_replicating(&quiet, "shop-0").await;
    for number in 0..plan.flood_tasks {
        wait_replicating(&flood, &format!("shop-{number}")).await;
    }

    let (writer, reader) = (calm.client_for("origin").await, calm.client_for("copy").await);
    let alone_ms = phase(&writer, &reader, 0, &plan).await;
    let valve = Arc::new(Valve::default());
    let mut writers = JoinSet::new();
    for number in 0..plan.flood_tasks {
        let (client, valve) = (storm.client_for("origin").await, Arc::clone(&valve));
        writers.spawn(async move { pour(&client, number, plan.flood_interval, &valve).await });
    }
    let measured = async {
        wait_for("the flood to be more than its units apply", PATIENCE, async || {
            let waiting = valve.waiting.load(Ordering::Acquire);
            if waiting >= FLOODED { Ok(()) } else { Err(waiting) }
        })
        .await;
        phase(&writer, &reader, plan.rows_each_phase, &plan).await
    };
    let beside_ms = tokio::select! {
        beside_ms = measured => beside_ms,
        never = valve.watch(&flood, &plan) => match never {},
    };
    let (flood_waiting, wanted, granted) = standing(&flood, plan.flood_tasks).await;
    valve.is_over.store(true, Ordering::Release);
    let flood_rows = writers.join_all().await.into_iter().sum();
    FloodReport { alone_ms, beside_ms, flood_rows, flood_waiting, flood_units: (wanted, granted) }
}

async fn join(tenant: &Tenant, server: &PostgresServer) {
    for (name, role, database) in [("source", "source", "origin"), ("target", "target", "copy")] {
        let endpoint = json!({"name": name, "role": role, "engine": "postgres", "host": "127.0.0.1", "port": server.port(),
            "username": "postgres", "password": "none", "database": database, "tls": "disable"});
        tenant.post("/v1/endpoints", &endpoint).await.ok();
    }
}

async fn begin(tenant: &Tenant, name: &str, table: &str, max_lag_seconds: u32) {
    let rules = json!({"rules": [{"rule-type": "selection", "rule-id": "1", "rule-name": "1", "rule-action": "include",
        "object-locator": {"schema-name": "public", "table-name": table}}]});
    let task = json!({"name": name, "source": "source", "target": "target", "migration_type": "full-load-and-cdc",
        "table_mappings": rules, "min_units": 0, "max_units": 8, "max_lag_seconds": max_lag_seconds});
    tenant.post("/v1/tasks", &task).await.ok();
    tenant.post(&format!("/v1/tasks/{name}/start"), &json!({})).await.ok();
}

async fn wait_replicating(tenant: &Tenant, name: &str) {
    wait_for(&format!("task {name} to follow its source"), PATIENCE, async || {
        let task = tenant.get(&format!("/v1/tasks/{name}")).await.ok();
        assert_ne!(task["status"], "failed", "{}", task["failure"]);
        if task["phase"] == "replicating" { Ok(()) } else { Err(task["phase"].clone()) }
    })
    .await;
}

/// What the writers of the flood heed.
#[derive(Default)]
struct Valve {
    waiting: AtomicU64,
    is_closed: AtomicBool,
    is_over: AtomicBool,
}

impl Valve {
    /// Closes while more waits than the plan says, until it is dropped.
    async fn watch(&self, flood: &Tenant, plan: &FloodPlan) -> Infallible {
        loop {
            let (waiting, ..) = standing(flood, plan.flood_tasks).await;
            self.waiting.store(waiting, Ordering::Release);
            self.is_closed.store(waiting >= plan.flood_waiting_most, Ordering::Release);
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Writes until the flood is over; the rows.
async fn pour(client: &Client, number: u32, interval: Duration, valve: &Valve) -> u64 {
    let statement = format!("insert into storm_{number} (note) select repeat('x', 100) from generate_series(1, {FLOOD_BATCH})");
    let mut rows = 0;
    while !valve.is_over.load(Ordering::Acquire) {
        if valve.is_closed.load(Ordering::Acquire) {
            tokio::time::sleep(LOOK).await;
            continue;
        }
        client.batch_execute(&statement).await.expect("the flood can be written");
        rows += u64::from(FLOOD_BATCH);
        tokio::time::sleep(interval).await;
    }
    rows
}

/// Changes that wait, units wanted and units granted, of all tasks of the flood.
async fn standing(flood: &Tenant, tasks: u32) -> (u64, u64, u64) {
    let mut sums = (0, 0, 0);
    for number in 0..tasks {
        let task = flood.get(&format!("/v1/tasks/shop-{number}")).await.ok();
        assert_ne!(task["status"], "failed", "{}", task["failure"]);
        let capacity: &Value = &task["progress"]["capacity"];
        sums.0 += capacity["changes_waiting"].as_u64().unwrap_or(0);
        sums.1 += capacity["units_wanted"].as_u64().unwrap_or(0);
        sums.2 += task["progress"]["units"].as_u64().unwrap_or(0);
    }
    sums
}

/// Milliseconds from each commit to its sight, in their order.
async fn phase(writer: &Client, reader: &Client, from: u32, plan: &FloodPlan) -> Vec<f64> {
    let mut waits = Vec::new();
    for id in from..from + plan.rows_each_phase {
        writer.batch_execute(&format!("insert into calm values ({id})")).await.expect("a row can be written");
        let since = Instant::now();
        let query = format!("select 1 from calm where id = {id}");
        while reader.query_opt(&query, &[]).await.expect("the table can be read").is_none() {
            assert!(since.elapsed() < PATIENCE, "row {id} does not arrive");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        waits.push(since.elapsed().as_secs_f64() * 1e3);
        tokio::time::sleep(plan.interval).await;
    }
    waits
}
