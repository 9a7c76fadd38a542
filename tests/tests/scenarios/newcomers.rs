//! Tables that come while a task runs or between its runs, where its policy for new tables is to leave them out.

use std::time::Duration;

use serde_json::json;
use tidegate_harness::{MysqlFlavour, PostgresVersion, wait_for};

use crate::world::{Source, World};

const PATIENCE: Duration = Duration::from_secs(180);

/// Waits until a query at the target answers this one value.
async fn wait_value(world: &World, query: &str, wanted: &str) {
    wait_for(&format!("{query} to be {wanted}"), PATIENCE, async || {
        let task = world.task("new").await;
        assert_ne!(task["status"], "failed", "{}\n{}", task["failure"], world.host.log());
        let found = world.target.try_rows(query).await?;
        if found == [[Some(wanted.to_owned())]] { Ok(()) } else { Err(format!("{found:?} {}", task["phase"])) }
    })
    .await;
}

/// Waits until so many tables are recorded as left out.
async fn wait_left_out(world: &World, count: u32) {
    wait_value(world, "select count(*) from tidegate.table_state where state = 'left_out'", &count.to_string()).await;
}

/// Of three tables that come one by one, the first while the task runs, the second while it is stopped, the third with another rule.
async fn new_tables_stay_left_out(source: Source, target: Source) {
    let mut world = World::between(source, target).await;
    world.source_sql("create table t (id integer primary key); insert into t values (1)").await;
    world.create_task("new", "full-load-and-cdc", "drop-and-create", json!({"ddl": {"create_table": "ignore"}})).await;
    world.start_task("new").await;
    world.wait_phase("new", "replicating").await;
    world.source_sql("create table late (id integer primary key); insert into late values (1)").await;
    wait_left_out(&world, 1).await;
    world.kill_and_restart().await;
    world.source_sql("insert into late values (2); insert into t values (2)").await;
    wait_value(&world, "select count(*) from copy.t", "2").await;

    world.stop_task("new").await;
    world.source_sql("create table asleep (id integer primary key); insert into asleep values (1)").await;
    world.start_task("new").await;
    wait_left_out(&world, 2).await;
    for table in ["late", "asleep"] {
        assert!(!world.target.has_table("copy", table).await, "{table}");
    }

    // One that goes is forgotten, and new when it comes again.
    world.source_sql("drop table late; insert into t values (3)").await;
    wait_left_out(&world, 1).await;
    world.source_sql("create table late (id integer primary key); insert into late values (7)").await;
    wait_left_out(&world, 2).await;

    // Asked for, it comes in, and stays in.
    let reload = json!({"tables": [{"schema": world.source.schema(), "table": "late"}]});
    world.host.post("/v1/tasks/new/tables/reload", &reload).await.ok();
    wait_value(&world, "select count(*) from copy.late", "1").await;
    world.kill_and_restart().await;
    world.source_sql("insert into late values (8)").await;
    wait_value(&world, "select count(*) from copy.late", "2").await;
    wait_left_out(&world, 1).await;

    // A table that another rule selects is not new: it is loaded, and what was left out stays out.
    world.stop_task("new").await;
    world.source_sql("create table third (id integer primary key); insert into third values (1)").await;
    let rule = json!({"rule-type": "selection", "rule-id": "3", "rule-name": "named", "rule-action": "include",
        "object-locator": {"schema-name": world.source.schema(), "table-name": "third"}});
    world.host.patch("/v1/tasks/new", &json!({"table_mappings": world.mappings(vec![rule])})).await.ok();
    world.start_task("new").await;
    wait_value(&world, "select count(*) from copy.third", "1").await;
    wait_left_out(&world, 1).await;
    assert!(!world.target.has_table("copy", "asleep").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_tables_stay_left_out_from_postgres() {
    new_tables_stay_left_out(Source::postgres(PostgresVersion::V15).await, Source::postgres(PostgresVersion::V17).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_tables_stay_left_out_from_mysql_to_mysql() {
    new_tables_stay_left_out(Source::mysql(MysqlFlavour::Mysql97).await, Source::mysql(MysqlFlavour::Mysql97).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_tables_stay_left_out_from_mariadb_to_mariadb() {
    new_tables_stay_left_out(Source::mysql(MysqlFlavour::Mariadb118).await, Source::mysql(MysqlFlavour::Mariadb1011).await).await;
}
