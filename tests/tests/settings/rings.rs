//! Tasks whose changes come back to where they were made are told by the check and at their first start.

use serde_json::{Value, json};
use tidegate_harness::{MysqlFlavour, PostgresVersion};

use crate::runs::events;
use crate::world::{Source, World};

const NOBODY: [(String, String); 0] = [];

const WITHOUT_END: &str =
    "come back to where they were made: an update goes round without end, and so does an insert unless it meets its own row";

/// A `cdc` task over all tables of a schema, with these settings.
async fn create(world: &World, name: &str, ends: [&str; 2], schema: &str, tables: &str, settings: Value) {
    let task = json!({"name": name, "source": ends[0], "target": ends[1], "migration_type": "cdc", "settings": settings,
        "table_mappings": {"rules": [{"rule-type": "selection", "rule-id": "1", "rule-name": "1", "rule-action": "include",
            "object-locator": {"schema-name": schema, "table-name": tables}}]}});
    world.host.post("/v1/tasks", &task).await.ok();
}

async fn set_marks(world: &World, task: &str, loopback: Value) {
    world.host.patch(&format!("/v1/tasks/{task}"), &json!({"settings": {"loopback": loopback}})).await.ok();
}

/// Of the check's warnings of rings: the other tasks, and what was found.
async fn rings(world: &World, task: &str) -> Vec<(String, String)> {
    let report = world.host.post(&format!("/v1/tasks/{task}/check"), &json!({})).await.ok();
    let findings = report["findings"].as_array().expect("findings").iter().filter(|finding| finding["code"] == "loop");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    findings
        .map(|finding| {
            assert_eq!(finding["severity"], "warning", "{finding}");
            assert!(text(&finding["fix"]).contains("settings.loopback"), "{finding}");
            (text(&finding["object"]), text(&finding["found"]))
        })
        .collect()
}

fn opposite(task: &str, tables: &str, what: &str) -> [(String, String); 1] {
    [(format!("task \"{task}\""), format!("it goes in the opposite direction: changes of {tables} {what}"))]
}

async fn tasks_that_send_changes_round_are_told(source: Source) {
    let world = World::start(source, PostgresVersion::V17).await;
    let word = if matches!(&*world.source, Source::Postgres(_)) { "schema" } else { "database" };
    for schema in ["duo", "tri"] {
        world.source_sql(&format!("create {word} {schema}; create table {schema}.t (id int primary key)")).await;
        world.target.sql(&format!("create schema {schema}; create table {schema}.t (id int primary key)")).await;
    }
    world.source_sql("create table duo.u (id int primary key); create table duo.alone (id int primary key)").await;
    world.target.sql("create schema duo_copy; create table duo_copy.t (id int primary key)").await;
    world.target.sql("create database third").await;
    let (here, there) = (world.source.port(), world.target.port());
    let third = |name: &str, role: &str| {
        let mut endpoint = world.target.endpoint_at(name, role, there);
        endpoint["database"] = json!("third");
        endpoint
    };
    let back = [world.target.endpoint_at("back-source", "source", there), world.source.endpoint_at("back-target", "target", here)];
    for endpoint in back.into_iter().chain([third("third-source", "source"), third("third-target", "target")]) {
        world.host.post("/v1/endpoints", &endpoint).await.ok();
    }
    let (forth, back) = (["source", "target"], ["back-source", "back-target"]);

    create(&world, "there", forth, "duo", "%", json!({})).await;
    assert_eq!(rings(&world, "there").await, NOBODY, "nobody reads the target");
    create(&world, "beside", back, "tri", "%", json!({})).await;
    create(&world, "loads", back, "duo", "t", json!({})).await;
    world.host.patch("/v1/tasks/loads", &json!({"migration_type": "full-load"})).await.ok();
    create(&world, "onward", ["back-source", "third-target"], "duo", "%", json!({})).await;
    for task in ["there", "beside", "loads", "onward"] {
        assert_eq!(rings(&world, task).await, NOBODY, "{task}: other tables, one load, or one way");
    }

    // Two directions: the tables that both have, of which only one is in the target yet, and none once marks fit.
    create(&world, "back", back, "duo", "%", json!({})).await;
    let all = "\"duo.alone\", \"duo.t\", \"duo.u\"";
    assert_eq!(rings(&world, "there").await, opposite("back", all, WITHOUT_END));
    assert_eq!(rings(&world, "back").await, opposite("there", "\"duo.t\"", WITHOUT_END));
    world.start_task("there").await;
    world.wait_phase("there", "replicating").await;
    let told = events(&world, "there").await;
    assert!(told.contains("check [loop] task \\\"back\\\": found it goes in the opposite direction"), "{told}");
    world.stop_task("there").await;
    // It has made the other tables.
    set_marks(&world, "there", json!({})).await;
    assert_eq!(rings(&world, "back").await, opposite("there", all, WITHOUT_END), "one of them has no marks");
    set_marks(&world, "back", json!({})).await;
    for task in ["there", "back", "onward"] {
        assert_eq!(rings(&world, task).await, NOBODY, "{task}: each leaves out what the other wrote");
    }
    set_marks(&world, "back", json!({"target_mark": "other"})).await;
    let once = "that were made in one of the databases come back to it, over what was made there since";
    assert_eq!(rings(&world, "back").await, opposite("there", all, once), "one of them leaves nothing out");

    // Under other names: only what comes back as what it is.
    create(&world, "copy", forth, "duo", "t", json!({"target_schema": "duo_copy"})).await;
    create(&world, "copy-of-copy", back, "duo_copy", "%", json!({"target_schema": "elsewhere"})).await;
    assert_eq!(rings(&world, "copy").await, NOBODY);
    create(&world, "copy-back", back, "duo_copy", "%", json!({"target_schema": "duo"})).await;
    assert_eq!(rings(&world, "copy").await, opposite("copy-back", "\"duo.t\"", WITHOUT_END));
    assert_eq!(rings(&world, "copy-of-copy").await, NOBODY);

    // Three databases, in the last of which there is no table yet.
    create(&world, "one", forth, "tri", "%", json!({})).await;
    world.host.delete("/v1/tasks/beside").await;
    create(&world, "two", ["back-source", "third-target"], "tri", "%", json!({})).await;
    assert_eq!(rings(&world, "one").await, NOBODY);
    create(&world, "three", ["third-source", "back-target"], "tri", "%", json!({})).await;
    let ring = ("tasks \"two\", \"three\"".to_owned(), format!("they and this task make a ring: changes of \"tri.t\" {WITHOUT_END}"));
    assert_eq!(rings(&world, "one").await, [ring]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_send_changes_round_are_told_between_postgres_databases() {
    tasks_that_send_changes_round_are_told(Source::postgres(PostgresVersion::V17).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_send_changes_round_are_told_from_mysql() {
    tasks_that_send_changes_round_are_told(Source::mysql(MysqlFlavour::Mysql97).await).await;
}
