//! A task's life between its first load and its deletion.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_harness::{MysqlFlavour, PostgresVersion, wait_for};

use crate::world::{Source, World, seed};

/// How long a step may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

async fn post(world: &World, path: &str) -> Value {
    world.host.post(path, &json!({})).await.ok()
}

async fn stop(world: &World, task: &str) {
    post(world, &format!("/v1/tasks/{task}/stop")).await;
    world.wait_stopped(task).await;
}

/// Loads tables again while writers work, twice; stops, resumes, restarts; the end is equal.
async fn tables_load_again(source: Source, target: Source) {
    let seed = seed();
    println!("seed {seed}");
    let schema = source.schema();
    let mut world = World::between(source, target).await;
    world.prepare_workload(seed, 3_000).await;
    world.create_task("again", "full-load-and-cdc", "drop-and-create", json!({"chunk_rows": 1000})).await;
    world.start_task("again").await;
    let workload = world.run_workload(seed, 2).await;
    world.wait_phase("again", "replicating").await;
    // What the target lost by somebody's hand comes back.
    let sum = world.source_sum().await.to_string();
    let first = world.source.value("select min(id) from ledger").await;
    // Rows that no change of the source names; others would stop the task as a target that somebody else writes to.
    let accounts = (["update copy.accounts set balance = 0", "delete from copy.ledger"], ["accounts", "ledger"]);
    let stray = ["insert into copy.composite (id, part) values (-7, 'stray')", "insert into copy.keyless values (-7, 'stray')"];
    for (damages, tables) in [accounts, (stray, ["composite", "keyless"])] {
        for (damage, table) in damages.iter().zip(tables) {
            // One lock at a time, so that nobody waits for two.
            let sql = match &*world.target {
                Source::Postgres(_) => format!("begin; lock table copy.{table} in access exclusive mode; {damage}; commit"),
                Source::Mysql(_) => format!("lock tables copy.{table} write; {damage}; unlock tables"),
            };
            world.target.sql(&sql).await;
        }
        let list: Vec<Value> = tables.iter().map(|table| json!({"schema": schema, "table": table})).collect();
        world.host.post("/v1/tasks/again/tables/reload", &json!({"tables": list})).await.ok();
        wait_for("the tables to be loaded again", PATIENCE, async || {
            let shown = world.host.get("/v1/tasks/again/tables").await.ok();
            let all = "concat((select count(*) from copy.ledger where id = FIRST), (select count(*) from copy.composite where id = -7), \
                       (select count(*) from copy.keyless where id = -7))";
            let is_back = value(&world, &format!("select {}", all.replace("FIRST", &first))).await == "100";
            let is_whole = value(&world, &world.target_sum_query()).await == sum;
            if is_back && is_whole && shown["before_load"] == 0 && shown["loading"] == 0 {
                Ok(())
            } else {
                Err((is_back, is_whole, world.task("again").await, world.host.log()))
            }
        })
        .await;
    }
    let answer = world.host.post("/v1/tasks/again/tables/reload", &json!({"tables": [{"schema": schema, "table": "nowhere"}]})).await;
    assert!(
        answer.status == 404 && answer.body["code"] == "table_not_found" && answer.body["detail"].to_string().contains("nowhere"),
        "{} {}",
        answer.status,
        answer.body
    );
    stop(&world, "again").await;
    post(&world, "/v1/tasks/again/resume").await;
    world.wait_phase("again", "replicating").await;
    assert!(world.host.terminate().await.success());
    world.host.restart().await;
    world.wait_phase("again", "replicating").await;
    let transactions = workload.stop().await;
    world.wait_level("again").await;
    let comparison = world.compare().await;
    println!("{transactions} transactions, {comparison}");
    assert_eq!(comparison.differences, 0, "{comparison}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_loaded_again_while_writers_work_on_postgres() {
    tables_load_again(Source::postgres(PostgresVersion::V15).await, Source::postgres(PostgresVersion::V17).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_loaded_again_while_writers_work_on_mariadb() {
    tables_load_again(Source::mysql(MysqlFlavour::Mariadb1011).await, Source::postgres(PostgresVersion::V17).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_loaded_again_while_writers_work_on_postgres_into_mysql() {
    tables_load_again(Source::postgres(PostgresVersion::V17).await, Source::mysql(MysqlFlavour::Mysql97).await).await;
}

/// The only value of a query at the target.
async fn value(world: &World, query: &str) -> String {
    world.target.value(query).await
}

async fn task_types_and_preparations(target: Source) {
    let world = World::between(Source::postgres(PostgresVersion::V15).await, target).await;
    let list = match &*world.target {
        Source::Postgres(_) => "select string_agg(v, ',') from copy.items",
        Source::Mysql(_) => "select group_concat(v) from copy.items",
    };
    world
        .source_sql("create table marker (id integer primary key); create table items (id int primary key, v text); insert into items values (1, 'loaded')")
        .await;

    // A full load ends by itself and leaves no slot.
    world.create_task("load", "full-load", "do-nothing", json!({})).await;
    world.start_task("load").await;
    world.wait_stopped("load").await;
    assert_eq!(world.task("load").await["stop_reason"], "full-load-finished");
    assert_eq!(world.source.value("select count(*) from pg_replication_slots").await, "0");
    assert_eq!(value(&world, list).await, "loaded");

    // Do nothing keeps table and rows; the row that is there already stands in the way, by name.
    world.target.sql("update copy.items set v = 'kept'; alter table copy.items add column extra text").await;
    world.create_task("keep", "full-load", "do-nothing", json!({})).await;
    let findings = post(&world, "/v1/tasks/keep/check").await;
    assert!(findings.to_string().contains("table_not_empty"), "{findings}");
    world.start_task("keep").await;
    let failure = world.wait_failed("keep").await;
    assert!(failure["message"].as_str().is_some_and(|text| text.contains("items")), "{failure}");
    assert_eq!(value(&world, "select v from copy.items").await, "kept");

    // Truncate keeps the table and empties it.
    world.create_task("truncate", "full-load", "truncate-before-load", json!({})).await;
    world.start_task("truncate").await;
    world.wait_stopped("truncate").await;
    assert_eq!(value(&world, "select concat(v, coalesce(extra, '-')) from copy.items").await, "loaded-");

    // Drop and create makes it anew.
    world.create_task("anew", "full-load", "drop-and-create", json!({})).await;
    world.start_task("anew").await;
    world.wait_stopped("anew").await;
    let extra = "select count(*) from information_schema.columns where table_schema = 'copy' and table_name = 'items'";
    assert_eq!(value(&world, extra).await, "2");

    // Changes only: what was there before stays away.
    world.target.sql("truncate table copy.items; truncate table copy.marker").await;
    world.create_task("changes", "cdc", "do-nothing", json!({})).await;
    world.start_task("changes").await;
    world.wait_phase("changes", "replicating").await;
    world.source_sql("insert into items values (2, 'new')").await;
    world.wait_level("changes").await;
    assert_eq!(value(&world, list).await, "new");

    // Deleting a task takes with it what it made at both ends, and no rows.
    stop(&world, "changes").await;
    assert_eq!(value(&world, "select count(*) from tidegate.checkpoint where task = 'changes'").await, "1");
    assert_eq!(world.source.value("select count(*) from pg_publication").await, "1");
    let answer = world.host.delete("/v1/tasks/changes").await;
    assert!((200..300).contains(&answer.status), "{}", answer.body);
    wait_for("the task to be gone", PATIENCE, async || match world.host.get("/v1/tasks/changes").await {
        answer if answer.status == 404 => Ok(()),
        answer => Err(answer.body),
    })
    .await;
    assert_eq!(value(&world, "select count(*) from tidegate.checkpoint where task = 'changes'").await, "0");
    assert_eq!(world.source.value("select count(*) from pg_publication").await, "0");
    assert_eq!(world.source.value("select count(*) from pg_replication_slots").await, "0");
    assert_eq!(value(&world, list).await, "new");
}

#[tokio::test(flavor = "multi_thread")]
async fn task_types_and_preparations_do_what_they_say() {
    task_types_and_preparations(Source::postgres(PostgresVersion::V17).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn task_types_and_preparations_do_what_they_say_in_mariadb() {
    task_types_and_preparations(Source::mysql(MysqlFlavour::Mariadb1011).await).await;
}
