//! Large values by the task's setting and by rules of tables: cut and told, refused, or left out; loaded and streamed.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_harness::{MysqlFlavour, PostgresVersion, wait_for};

use crate::world::{Source, World};

const PATIENCE: Duration = Duration::from_secs(120);

/// The error table: what stands there of each row, by table and key.
async fn told(world: &World, task: &str) -> BTreeMap<String, Vec<String>> {
    let page = world.host.get(&format!("/v1/tasks/{task}/errors?limit=100")).await.ok();
    let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in page["errors"].as_array().expect("a list of entries") {
        let key = entry["key"]["id"].as_i64().map_or("keyless".to_owned(), |id| id.to_string());
        told.entry(format!("{}:{key}", entry["table"].as_str().unwrap_or(""))).or_default().push(entry["code"].to_string());
    }
    told
}

fn entries(wanted: &[(&str, &str, usize)]) -> BTreeMap<String, Vec<String>> {
    wanted.iter().map(|(row, code, count)| ((*row).to_owned(), vec![format!("\"{code}\""); *count])).collect()
}

fn texts(rows: Vec<Vec<Option<String>>>) -> Vec<String> {
    let one = |row: Vec<Option<String>>| row.into_iter().map(|value| value.unwrap_or("NULL".into())).collect::<Vec<_>>().join(" ");
    rows.into_iter().map(one).collect()
}

/// Null while nothing was told of it.
async fn table_of(world: &World, task: &str, table: &str) -> Value {
    let tables = world.host.get(&format!("/v1/tasks/{task}/tables")).await.ok();
    tables["tables"].as_array().expect("a list of tables").iter().find(|found| found["table"] == table).cloned().unwrap_or_default()
}

/// The figures of tables are told once a second.
async fn wait_cut(world: &World, task: &str, table: &str, wanted: u64) {
    wait_for(&format!("{wanted} rows of {table} to be cut"), PATIENCE, async || {
        let found = table_of(world, task, table).await["cut"].clone();
        if found == json!(wanted) { Ok(()) } else { Err(found) }
    })
    .await;
}

async fn a_limit_cuts(target: Source) {
    let world = World::between(Source::postgres(PostgresVersion::V17).await, target).await;
    // Stored outside of the row, so that the log leaves them out when they do not change.
    world
        .source_sql(
            "create table docs (id integer primary key, note text, data bytea, doc jsonb, name text);
             alter table docs alter note set storage external, alter data set storage external;
             create table heap (note text, n integer); alter table heap replica identity full;
             create table marker (id integer primary key);
             insert into docs values (1, 'short', '\\x01', '{}', 'one'),
                (2, 'a' || repeat('é', 2000), decode(repeat('00ff', 1500), 'hex'), null, 'two'),
                (3, 'x', null, jsonb_build_object('k', repeat('j', 3000)), 'three');
             insert into heap select repeat('h', 3000) || n, n from generate_series(1, 3) n;
             insert into heap values (repeat('h', 3000) || 'other', 1)",
        )
        .await;
    let settings = json!({"large_values": {"mode": "limited", "max_kib": 1}, "row_errors": {"truncation": "log"}});
    world.create_task("limited", "full-load-and-cdc", "drop-and-create", settings).await;
    world.start_task("limited").await;
    world.wait_level("limited").await;
    let docs = "select id, octet_length(note), octet_length(data), left(cast(doc as char(20)), 20), name from copy.docs order by id";
    let heap = "select octet_length(note), n from copy.heap order by n";
    assert_eq!(texts(world.target.rows(docs).await), ["1 5 1 {} one", "2 1023 1024 NULL two"]);
    assert_eq!(texts(world.target.rows(heap).await), ["1024 1", "1024 1", "1024 2", "1024 3"]);
    let loaded = [("docs:2", "value_cut", 1), ("docs:3", "value_too_large", 1), ("heap:keyless", "value_cut", 3)];
    assert_eq!(told(&world, "limited").await, entries(&loaded));
    wait_cut(&world, "limited", "docs", 1).await;
    wait_cut(&world, "limited", "heap", 4).await;

    // A cut row is a row like any other: it is updated, moved, made whole and deleted.
    world
        .source_sql(
            "insert into docs select id, repeat('b', 2000 + id), '\\x02', '{}', 'new' from generate_series(4, 7) id;
             update docs set name = 'renamed' where id = 2;
             update docs set note = 'whole again' where id = 4;
             delete from docs where id = 5;
             update docs set id = 16 where id = 6;
             update docs set doc = '{\"k\": 1}' where id = 3;
             update docs set doc = jsonb_build_object('k', repeat('j', 3000)) where id = 1;
             delete from heap where n = 2; delete from heap where note like '%other'; update heap set n = 9 where n = 3",
        )
        .await;
    world.wait_level("limited").await;
    assert_eq!(
        texts(world.target.rows(docs).await),
        ["1 5 1 {} one", "2 1023 1024 NULL renamed", "3 1 NULL {\"k\": 1} three", "4 11 1 {} new", "7 1024 1 {} new", "16 1024 1 {} new"]
    );
    assert_eq!(texts(world.target.rows(heap).await), ["1024 1", "1024 9"]);
    let streamed = [
        ("docs:1", "value_too_large", 1),
        ("docs:2", "value_cut", 1),
        ("docs:7", "value_cut", 1),
        ("docs:16", "value_cut", 1),
        ("heap:keyless", "value_cut", 4),
    ];
    assert_eq!(told(&world, "limited").await, entries(&streamed));

    // Started again, it still knows which rows it has cut.
    world.stop_task("limited").await;
    world.start_task("limited").await;
    world.source_sql("update docs set note = 'fits' where id in (7, 16); delete from heap where n = 9").await;
    world.wait_level("limited").await;
    assert_eq!(
        told(&world, "limited").await,
        entries(&[("docs:1", "value_too_large", 1), ("docs:2", "value_cut", 1), ("heap:keyless", "value_cut", 4)])
    );
    world.stop_task("limited").await;

    let stops = json!({"large_values": {"mode": "limited", "max_kib": 1}});
    world.create_task("stops", "full-load", "drop-and-create", stops).await;
    world.start_task("stops").await;
    let failure = world.wait_failed("stops").await;
    assert!(["value_cut", "value_too_large"].contains(&failure["code"].as_str().unwrap_or("")), "{failure}");
    let suspends = json!({"large_values": {"mode": "limited", "max_kib": 1}, "row_errors": {"truncation": "suspend-table"}});
    world.create_task("suspends", "full-load-and-cdc", "drop-and-create", suspends).await;
    world.start_task("suspends").await;
    wait_for("both tables to be suspended", PATIENCE, async || {
        let stages =
            (table_of(&world, "suspends", "docs").await["stage"].clone(), table_of(&world, "suspends", "heap").await["stage"].clone());
        if stages == (json!("failed"), json!("failed")) { Ok(()) } else { Err(stages) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_cuts_text_and_bytes_refuses_documents_and_tells_of_each_row() {
    a_limit_cuts(Source::mysql(MysqlFlavour::Mariadb1011).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_cuts_and_tells_the_same_in_postgres() {
    a_limit_cuts(Source::postgres(PostgresVersion::V17).await).await;
}

async fn left_out_values_are_null(target: Source) {
    let world = World::between(Source::mysql(MysqlFlavour::Mysql97).await, target).await;
    world
        .source_sql(
            "create table docs (id int primary key, note longtext, small text, doc json);
             create table whole (id int primary key, note longtext);
             create table part (id int primary key, note longtext);
             create table heap (note longtext, n int);
             create table refused (id int primary key, note longtext not null);
             create table marker (id int primary key);
             insert into docs values (1, repeat('n', 3000), repeat('s', 3000), '{\"k\": 1}');
             insert into whole values (1, repeat('w', 3000)); insert into part values (1, repeat('p', 3000));
             insert into heap values (repeat('h', 3000), 1), (repeat('i', 3000), 2)",
        )
        .await;
    let rule = |id: &str, table: &str, settings: Value| {
        json!({"rule-type": "table-settings", "rule-id": id, "rule-name": id, "lob-settings": settings,
            "object-locator": {"schema-name": "test", "table-name": table}})
    };
    let rules = vec![
        rule("10", "whole", json!({"mode": "unlimited", "bulk-max-size": "0"})),
        rule("11", "part", json!({"mode": "limited", "bulk-max-size": "1"})),
    ];
    let settings = json!({"large_values": {"mode": "excluded"}, "row_errors": {"truncation": "ignore"}});
    world.create_task_with("left-out", "full-load-and-cdc", "drop-and-create", settings, rules).await;
    let findings = world.host.post("/v1/tasks/left-out/check", &json!({})).await.ok();
    let errors: Vec<&Value> =
        findings["findings"].as_array().expect("a list of findings").iter().filter(|finding| finding["severity"] == "error").collect();
    assert_eq!(errors.len(), 1, "{findings}");
    assert_eq!(errors[0]["code"], "lob_not_null");
    assert!(errors[0]["object"].as_str().is_some_and(|object| object.contains("test.refused")), "{findings}");

    world.source_sql("drop table refused").await;
    world.start_task("left-out").await;
    world.wait_phase("left-out", "replicating").await;
    world
        .source_sql(
            "insert into docs select id + 1, note, small, doc from docs; update docs set note = 'new', small = 'new' where id = 1;
             insert into whole select id + 1, note from whole; insert into part select id + 1, note from part;
             delete from heap where n = 1; insert into heap values (null, 3)",
        )
        .await;
    world.wait_level("left-out").await;
    let docs = "select id, note, length(small), doc from copy.docs order by id";
    assert_eq!(texts(world.target.rows(docs).await), ["1 NULL 3 NULL", "2 NULL 3000 NULL"]);
    assert_eq!(texts(world.target.rows("select id, length(note) from copy.whole order by id").await), ["1 3000", "2 3000"]);
    assert_eq!(texts(world.target.rows("select id, length(note) from copy.part order by id").await), ["1 1024", "2 1024"]);
    assert_eq!(texts(world.target.rows("select note, n from copy.heap order by n").await), ["NULL 2", "NULL 3"]);
    assert_eq!(told(&world, "left-out").await, entries(&[]), "the policy is to ignore it");
    wait_cut(&world, "left-out", "part", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn left_out_values_are_null_and_tables_may_have_rules_of_their_own() {
    left_out_values_are_null(Source::postgres(PostgresVersion::V17).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn left_out_values_are_null_in_mysql_too() {
    left_out_values_are_null(Source::mysql(MysqlFlavour::Mysql97).await).await;
}
