//! What others put upon tables of a PostgreSQL target, views, rights, indexes, outlives a changed definition.

use std::time::Duration;

use serde_json::json;
use tidegate_harness::{MysqlFlavour, PostgresVersion, wait_for};

use crate::world::{Source, World};

const PATIENCE: Duration = Duration::from_secs(120);

async fn wait_value(world: &World, query: &str, wanted: &str) {
    wait_for(query, PATIENCE, async || {
        let task = world.task("t").await;
        assert_ne!(task["status"], "failed", "{}\n{}", task["failure"], world.host.log());
        match world.target.try_rows(query).await {
            Ok(rows) if rows.len() == 1 && rows[0][0].as_deref() == Some(wanted) => Ok(()),
            found => Err(found),
        }
    })
    .await;
}

async fn outlive_a_changed_definition(source: Source, version: PostgresVersion) {
    let world = World::start(source, version).await;
    world
        .source_sql(
            "create table item (id integer primary key, n integer, constraint small check (n < 100)); insert into item values (1, 10)",
        )
        .await;
    world
        .target
        .sql("create schema copy; create table copy.item (old integer); create view copy.before as select old from copy.item")
        .await;
    world.create_task("t", "full-load-and-cdc", "drop-and-create", json!({})).await;
    let findings = world.host.post("/v1/tasks/t/check", &json!({})).await.ok();
    let text = findings.to_string();
    assert!(findings["passed"] == false && text.contains("dependent_objects") && text.contains("view copy.before"), "{findings:#}");
    world.target.sql("drop view copy.before").await;
    world.start_task("t").await;
    world.wait_phase("t", "replicating").await;

    world
        .target
        .sql(
            "create role reader; grant select on copy.item to reader; create index by_n on copy.item (n); \
             create view copy.seen as select n + 1 as more from copy.item; \
             create function copy.all_items() returns setof copy.item language sql as 'select * from copy.item'",
        )
        .await;
    // The condition that the target has would refuse the last change.
    world.source_sql("alter table item drop constraint small; alter table item add column label varchar(20) default 'new'").await;
    world.source_sql("update item set n = 2000 where id = 1").await;
    wait_value(&world, "select concat(n, label) from copy.item", "2000new").await;
    wait_value(&world, "select more from copy.seen", "2001").await;
    let kept = "select has_table_privilege('reader', 'copy.item', 'select') and to_regclass('copy.by_n') is not null";
    wait_value(&world, kept, "t").await;

    // A type that the server does not change under a view: nothing is dropped, and the task says what is in its way.
    let retype = if let Source::Postgres(_) = *world.source { "alter column n type varchar(20)" } else { "modify n varchar(20)" };
    world.source_sql(&format!("alter table item {retype}")).await;
    world.source_sql("update item set n = 'thirty' where id = 1").await;
    let failure = world.wait_failed("t").await;
    assert_eq!(failure["code"], "dependent_objects", "{failure}");
    for name in ["view copy.seen", "function copy.all_items()"] {
        assert!(failure["message"].as_str().is_some_and(|text| text.contains(name)), "{failure}");
    }
    world.target.sql("drop view copy.seen; drop function copy.all_items()").await;
    world.start_task("t").await;
    wait_value(&world, "select concat(n, label) from copy.item", "thirtynew").await;
    world.source_sql("delete from item").await;
    wait_value(&world, "select count(*) from copy.item", "0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn views_rights_and_indexes_of_others_outlive_a_changed_definition_from_postgres() {
    outlive_a_changed_definition(Source::postgres(PostgresVersion::V18).await, PostgresVersion::V15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn views_rights_and_indexes_of_others_outlive_a_changed_definition_from_mariadb() {
    outlive_a_changed_definition(Source::mysql(MysqlFlavour::Mariadb1011).await, PostgresVersion::V18).await;
}
