//! PG-091 and SN-010: as many tables as hardly anybody has. Nothing that is done for each of them may look at all of them.

use std::time::{Duration, Instant};

use serde_json::json;
use tidegate_harness::{PostgresServer, PostgresVersion, wait_for};

use crate::world::{Source, World};

/// Generous for a debug build.
const PATIENCE: Duration = Duration::from_secs(7200);

/// How many tables: `TIDEGATE_TABLES`, or the whole number.
fn tables(usual: u32) -> u32 {
    std::env::var("TIDEGATE_TABLES").map_or(usual, |text| text.parse().expect("TIDEGATE_TABLES is a number"))
}

fn table(number: u32) -> String {
    format!("t_{number:06}")
}

/// Runs a statement for each of the tables, `%s` standing for the name; a transaction for each thousand of them.
async fn for_each(world: &World, count: u32, statement: &str) {
    world
        .source_sql(&format!(
            "do $$ begin for i in 1..{count} loop execute format('{statement}', 't_' || lpad(i::text, 6, '0')); \
             if i % 1000 = 0 then commit; end if; end loop; end $$"
        ))
        .await;
}

/// Waits for a phase; the figures so far are printed.
async fn wait_phase(world: &World, what: &str, wanted: &str) {
    let since = Instant::now();
    wait_for(what, PATIENCE, async || {
        let task = world.task("many").await;
        assert_ne!(task["status"], "failed", "{}\n{}", task["failure"], world.host.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
        if task["phase"] == wanted { Ok(()) } else { Err(task["phase"].clone()) }
    })
    .await;
    println!(
        "{what}: {:.1} s, host {} MiB, peak {} MiB",
        since.elapsed().as_secs_f64(),
        world.host.rss_bytes() >> 20,
        world.peak_rss_bytes() >> 20
    );
}

/// A row into some of the tables, the first and the last among them, which arrive.
async fn rows_arrive(world: &World, count: u32, id: u32) {
    let since = Instant::now();
    let some: Vec<String> = (1..=count).filter(|number| *number == 1 || number % (count / 50) == 0).map(table).collect();
    let inserts: Vec<String> = some.iter().map(|table| format!("insert into {table} values ({id})")).collect();
    world.source_sql(&inserts.join("; ")).await;
    for table in &some {
        wait_for("the row", PATIENCE, async || {
            let found = world.target.value(&format!("select count(*) from copy.{table} where id = {id}")).await;
            if found == "1" { Ok(()) } else { Err((table, world.task("many").await["phase"].clone())) }
        })
        .await;
    }
    println!("rows of {} tables: {:.1} s", some.len(), since.elapsed().as_secs_f64());
}

/// Every row of every table, one number for each side. A statement locks what it reads, so it reads some tables.
async fn rows(of: &Source, schema: &str, count: u32) -> String {
    let sql = format!("select count(*) from pg_tables where schemaname = '{schema}' and tablename like 't\\_%'");
    let tables = of.value(&sql).await;
    let mut sum = 0;
    for first in (1..=count).step_by(200) {
        let some: Vec<String> =
            (first..=count.min(first + 199)).map(|number| format!("select id from {schema}.{}", table(number))).collect();
        let part = of.value(&format!("select coalesce(sum(id), 0) from ({}) every", some.join(" union all "))).await;
        sum += part.parse::<u64>().expect("a sum of small numbers");
    }
    format!("{tables} tables, sum {sum}")
}

/// What both sides have.
async fn assert_equal(world: &World, count: u32) -> String {
    let wanted = rows(&world.source, "public", count).await;
    assert!(wanted.starts_with(&format!("{count} tables")), "{wanted}");
    assert_eq!(rows(&world.target, "copy", count).await, wanted);
    wanted
}

/// Tables at a source; every `with_rows`th of them has a row.
async fn world_of(count: u32, with_rows: Option<u32>) -> World {
    let settings = ["max_locks_per_transaction=2048", "shared_buffers=256MB", "max_wal_size=8GB"];
    let source = PostgresServer::start_with(PostgresVersion::V17, &settings).await;
    let world = World::start(Source::Postgres(source), PostgresVersion::V17).await;
    for_each(&world, count, "create table %s (id integer primary key)").await;
    if let Some(every) = with_rows {
        for_each(&world, count, &format!("insert into %s select 1 where {every} = 1 or random() * {every} < 1")).await;
    }
    println!("{count} tables");
    world
}

/// Tables are prepared, planned and finished many at once: whatever of that is done when the host dies, each is loaded once.
#[tokio::test(flavor = "multi_thread")]
async fn kills_amid_the_load_of_many_tables_end_equal() {
    const COUNT: u32 = 500;
    let mut world = world_of(COUNT, Some(2)).await;
    world.create_task("many", "full-load-and-cdc", "drop-and-create", json!({})).await;
    world.start_task("many").await;
    for wanted in [1, COUNT / 3, COUNT * 2 / 3] {
        wait_for("some of the tables are loaded", PATIENCE, async || {
            if !world.target.has_table("tidegate", "table_state").await {
                return Err("no table yet".to_owned());
            }
            let loaded = "select count(*) from tidegate.table_state where state in ('catching_up', 'loaded')";
            let loaded = world.target.value(loaded).await;
            if loaded.parse::<u32>().expect("a count") >= wanted { Ok(()) } else { Err(loaded) }
        })
        .await;
        world.kill_and_restart().await;
    }
    rows_arrive(&world, COUNT, 2).await;
    world.wait_phase("many", "replicating").await;
    assert_equal(&world, COUNT).await;
}

async fn many(count: u32, with_rows: bool) {
    let mut world = world_of(count, with_rows.then_some(1)).await;
    let before = world.host.rss_bytes();
    world.create_task("many", "full-load-and-cdc", "drop-and-create", json!({})).await;
    world.start_task("many").await;
    wait_phase(&world, "until the load began", "loading").await;
    wait_phase(&world, "load", "replicating").await;
    rows_arrive(&world, count, 2).await;
    let since = Instant::now();
    world.kill_and_restart().await;
    rows_arrive(&world, count, 3).await;
    println!("from the kill until they were there: {:.1} s", since.elapsed().as_secs_f64());
    let wanted = assert_equal(&world, count).await;
    println!(
        "{wanted}; {} bytes of the host's memory for a table",
        (world.peak_rss_bytes() - before.min(world.peak_rss_bytes())) / u64::from(count)
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes long, and gigabytes of disk"]
async fn thirty_thousand_tables_in_one_publication_are_loaded_and_followed() {
    many(tables(30_000), true).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes long, and gigabytes of disk"]
async fn a_hundred_thousand_empty_tables_are_made_and_followed() {
    many(tables(100_000), false).await;
}
