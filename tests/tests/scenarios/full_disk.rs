//! PG-114: the disk of the source is full of what decoding puts there for its replication slots.
//!
//! A transaction that is still open was streamed to the task while it was made. A server that is read again from that transaction's
//! beginning, and whose reader has all until later, keeps its changes meanwhile: above `logical_decoding_work_mem` on disk.

use std::time::Duration;

use serde_json::json;
use tidegate_harness::{PostgresServer, PostgresVersion, wait_for};

use crate::world::{Source, World};

const PATIENCE: Duration = Duration::from_secs(120);
const MIB: u64 = 1 << 20;

fn server(world: &World) -> &PostgresServer {
    match &*world.source {
        Source::Postgres(server) => server,
        Source::Mysql(server) => panic!("{:?} has no slots", server.flavour()),
    }
}

async fn check(version: PostgresVersion) {
    let source = PostgresServer::start_with_slots_disk(version, &["logical_decoding_work_mem=64kB"], 4 * MIB).await;
    let mut world = World::start(Source::Postgres(source), PostgresVersion::V17).await;
    world
        .source_sql(
            "create table big (id integer primary key, note text not null); create table small (id integer primary key); \
             create table marker (id integer primary key)",
        )
        .await;
    world.create_task("full", "full-load-and-cdc", "drop-and-create", json!({})).await;
    world.start_task("full").await;
    world.wait_level("full").await;

    // 100,000 rows in an open transaction, and behind them others that are committed, applied and confirmed.
    let open = server(&world).client().await;
    open.batch_execute("begin; insert into big select g, repeat('x', 100) from generate_series(1, 100000) g").await.expect("rows are new");
    let behind = world.source.value("select pg_current_wal_insert_lsn()").await;
    world.source_sql("insert into small values (1)").await;
    world.wait_level("full").await;
    wait_for("the slot to be confirmed", PATIENCE, async || {
        let found = world.source.value(&format!("select confirmed_flush_lsn > '{behind}' from pg_replication_slots")).await;
        if found == "t" { Ok(()) } else { Err(found) }
    })
    .await;

    world.kill_and_restart().await;
    wait_for("the full disk to be told", PATIENCE, async || {
        let events = world.host.get("/v1/tasks/full/events?limit=100").await.ok().to_string();
        let task = world.task("full").await;
        assert_ne!(task["status"], "failed", "{}", task["failure"]);
        if events.contains("53100") && events.contains("No space left on device") { Ok(()) } else { Err(events) }
    })
    .await;
    world.source_sql("insert into small values (2)").await;
    assert_eq!(world.task("full").await["status"], "running");
    server(&world).resize_slots_disk(256 * MIB);
    world.wait_level("full").await;
    assert_eq!(world.target.value("select count(*) from copy.big").await, "0", "the transaction is open");
    open.batch_execute("commit").await.expect("rows are new");
    world.wait_level("full").await;
    for table in ["big", "small"] {
        let digest = |schema: &str| format!("select count(*) || ' ' || md5(string_agg(t::text, ',' order by id)) from {schema}.{table} t");
        assert_eq!(world.target.value(&digest("copy")).await, world.source.value(&digest("public")).await, "{version:?} {table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "only root can give a server a small disk"]
async fn a_source_without_room_for_spilled_changes_is_told_and_goes_on_when_there_is_room() {
    for version in [PostgresVersion::V15, PostgresVersion::V18] {
        check(version).await;
    }
}
