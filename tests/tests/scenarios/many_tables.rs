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

/// Every row of every table, one number for each side.
async fn rows(of: &Source, schema: &str) -> String {
    let name = "create or replace function pg_temp.rows() returns text language plpgsql as $$ declare n bigint; all_rows bigint := 0; \
        tables bigint := 0; t record; begin for t in select oid::regclass as name from pg_class where relkind = 'r' and relname like 't\\_%' \
        and relnamespace = current_setting('my.schema')::regnamespace loop execute format('select coalesce(sum(id), 0) from %s', t.name) into n; \
        all_rows := all_rows + n; tables := tables + 1; end loop; return tables || ' tables, sum ' || all_rows; end $$";
    let Source::Postgres(server) = of else { panic!("both are PostgreSQL") };
    let client = server.client().await;
    client
        .batch_execute(&format!("set my.schema = '{schema}'; set max_parallel_workers_per_gather = 0; {name}"))
        .await
        .expect("a plain function");
    client.query_one("select pg_temp.rows()", &[]).await.expect("every table can be read").get(0)
}

async fn many(count: u32, with_rows: bool) {
    let settings = ["max_locks_per_transaction=2048", "shared_buffers=256MB", "max_wal_size=8GB"];
    let source = PostgresServer::start_with(PostgresVersion::V17, &settings).await;
    let mut world = World::start(Source::Postgres(source), PostgresVersion::V17).await;
    for_each(&world, count, "create table %s (id integer primary key)").await;
    if with_rows {
        for_each(&world, count, "insert into %s values (1)").await;
    }
    println!("{count} tables");
    let before = world.host.rss_bytes();
    world.create_task("many", "full-load-and-cdc", "drop-and-create", json!({})).await;
    world.start_task("many").await;
    wait_phase(&world, "until the load began", "loading").await;
    wait_phase(&world, "load", "replicating").await;
    rows_arrive(&world, count, 2).await;
    world.kill_and_restart().await;
    wait_phase(&world, "restart", "replicating").await;
    rows_arrive(&world, count, 3).await;
    let wanted = rows(&world.source, "public").await;
    assert!(wanted.starts_with(&format!("{count} tables")), "{wanted}");
    assert_eq!(rows(&world.target, "copy").await, wanted);
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
