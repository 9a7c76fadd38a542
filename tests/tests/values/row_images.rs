//! Sessions of MySQL and MariaDB that log parts of rows: `binlog_row_image` is a session's own.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_harness::{MysqlFlavour, PostgresVersion, wait_for};

use crate::world::{Source, World};

const PATIENCE: Duration = Duration::from_secs(180);

const TABLES: &str = "create table plain (id int primary key, a int, b varchar(9) default 'x', big longtext, j json, g int,
    at timestamp(6) not null default current_timestamp(6) on update current_timestamp(6));
create trigger follows before update on plain for each row set new.g = coalesce(new.a, -1) * 2;
create table pair (b int, v varchar(9), a int, w blob, primary key (a, b));
create table keyless (a int, b int, t text);
create table parent (id int primary key);
create table child (id int primary key, parent int, note text, foreign key (parent) references parent (id) on update cascade on delete set null);";

/// Every column of every insert is named: what one leaves out, no log tells.
const ROWS: &str =
    "insert into plain select seq, seq, 'b', repeat('l', seq * 1000), json_object('n', seq), seq * 2, now(6) from (SEQUENCE) s;
insert into pair select seq, 'v', seq + 100, 'w' from (SEQUENCE) s; insert into keyless select seq % 5, seq % 3, 't' from (SEQUENCE) s;
insert into parent values (1), (2), (3); insert into child select seq, seq % 3 + 1, 'n' from (SEQUENCE) s;";

const SEQUENCE: &str = "with recursive q(seq) as (select 1 union all select seq + 1 from q where seq < 20) select seq from q";

/// `N` is another number in each round.
const CHANGES: &str = "update plain set a = N where id = 1; update plain set b = null where id = 2; update plain set big = 'short' where id = 3;
update plain set big = repeat('m', 70000) where id = 4; update plain set j = json_object('n', N) where id = 5;
update plain set id = 1000 + N where id = 6 + N; update plain set id = 2000 + N, b = 'moved', big = null where id = 9 + N;
update plain set a = a where id = 12; delete from plain where id = 12 + N;
update pair set v = 'N' where a = 101; update pair set w = null where b = 2; update pair set b = b + 100 + N where a = 103; delete from pair where b = 3 + N;
update keyless set t = 'N' where a = 1; update keyless set a = N where b = 2 limit 1; delete from keyless where a = 4 limit 1;
begin; insert into plain values (3000 + N, 1, 'i', 'large', '{}', 1, now(6)); update plain set a = 2 where id = 3000 + N; update plain set big = 'z' where id = 3000 + N;
update plain set id = 4000 + N where id = 3000 + N; update plain set b = 'w' where id = 4000 + N; update pair set v = 'in' where a = 110; delete from pair where a = 110; commit;";

/// Cascades are in the log of MySQL alone.
const CASCADES: &str = "update parent set id = 10 + N where id = N; delete from parent where id = 10 + N;";

/// What a row prints, at MySQL and MariaDB and at PostgreSQL.
const READS: &[(&str, &str, &str)] = &[
    (
        "plain",
        "concat_ws('|', id, a, coalesce(b, 'NULL'), coalesce(length(big), 'NULL'), left(big, 1), json_extract(j, '$.n'), g, unix_timestamp(at))",
        "concat_ws('|', id, a, coalesce(b, 'NULL'), coalesce(length(big)::text, 'NULL'), left(big, 1), j::json->>'n', g, round(extract(epoch from at), 6))",
    ),
    ("pair", "concat_ws('|', a, b, v, coalesce(length(w), 'NULL'))", "concat_ws('|', a, b, v, coalesce(length(w)::text, 'NULL'))"),
    ("keyless", "concat_ws('|', a, b, t)", "concat_ws('|', a, b, t)"),
    ("child", "concat_ws('|', id, coalesce(parent, 'NULL'), note)", "concat_ws('|', id, coalesce(parent::text, 'NULL'), note)"),
];

async fn read(server: &Source, schema: &str, table: &str, row: &str) -> Vec<String> {
    let rows = server.rows(&format!("select {row} from {schema}.{table}")).await;
    let mut rows: Vec<String> = rows.into_iter().map(|row| row[0].clone().unwrap_or_default()).collect();
    rows.sort();
    rows
}

async fn partial_images_arrive(flavour: MysqlFlavour, target: Source, images: &[&str]) {
    let world = World::between(Source::mysql(flavour).await, target).await;
    world.source_sql(TABLES).await;
    world.source_sql(&ROWS.replace("SEQUENCE", SEQUENCE)).await;
    world.source_sql("create table marker (id int primary key)").await;
    if flavour.is_mariadb() {
        world
            .source_sql("drop table child; create table child (id int, parent int, note text); insert into child values (1, 1, 'n')")
            .await;
    }
    world.create_task("partial", "full-load-and-cdc", "drop-and-create", json!({})).await;
    world.start_task("partial").await;
    world.wait_phase("partial", "replicating").await;
    for (round, image) in images.iter().enumerate() {
        let mut changes = CHANGES.replace('N', &(round + 1).to_string());
        // `N` in NULL.
        changes = changes.replace(&format!("{}ULL", round + 1), "NULL");
        if !flavour.is_mariadb() {
            changes += &CASCADES.replace('N', &(round + 1).to_string());
        }
        world.source_sql(&format!("set session binlog_row_image = '{image}'; {changes}")).await;
        world.wait_level("partial").await;
        for (table, mysql, postgres) in READS {
            let of_target = if matches!(&*world.target, Source::Postgres(_)) { postgres } else { mysql };
            let (wanted, found) = (read(&world.source, "test", table, mysql).await, read(&world.target, "copy", table, of_target).await);
            assert!(!wanted.is_empty(), "table {table} is empty");
            assert_eq!(found, wanted, "{image}: table {table}");
        }
    }
    needs_of_rules_stop(&world).await;
}

/// Creates and starts a task over the table `pair` without the rows whose `v` is `hidden`, into a schema of the task's name.
async fn start_filtered(world: &World, name: &str, settings: Value) {
    let filter = json!({"rule-type": "selection", "rule-id": "1", "rule-name": "1", "rule-action": "include",
        "object-locator": {"schema-name": "test", "table-name": "pair"},
        "filters": [{"filter-type": "source", "column-name": "v", "filter-conditions": [{"filter-operator": "noteq", "value": "hidden"}]}]});
    let body = json!({"name": name, "source": "source", "target": "target", "migration_type": "full-load-and-cdc",
        "preparation": "drop-and-create", "settings": settings, "table_mappings": {"rules": [filter, {"rule-type": "transformation", "rule-id": "2", "rule-name": "2",
            "rule-target": "schema", "rule-action": "rename", "object-locator": {"schema-name": "test"}, "value": name}]}});
    world.host.post("/v1/tasks", &body).await.ok();
    world.start_task(name).await;
    world.wait_phase(name, "replicating").await;
}

/// A filter must know the old row, which a session keeps to itself.
async fn needs_of_rules_stop(world: &World) {
    start_filtered(world, "filtered", json!({})).await;
    world.source_sql("set session binlog_row_image = 'MINIMAL'; update pair set w = 'hidden' where a = 120").await;
    let failure: Value = world.wait_failed("filtered").await;
    assert_eq!(failure["code"], "value_not_logged", "{failure}");
    assert!(failure["hint"].as_str().is_some_and(|hint| hint.contains("binlog_row_image")), "{failure}");
}

/// What a filter cannot decide about for want of values in the log is a row at fault, and nothing else is.
async fn undecided_rows_are_at_fault(flavour: MysqlFlavour, target: Source) {
    let world = World::between(Source::mysql(flavour).await, target).await;
    world.source_sql("create table pair (id int primary key, v varchar(9), n int, w blob)").await;
    world.source_sql("insert into pair values (1,'v',1,'w'), (2,'v',2,'w'), (3,'v',3,'w'), (4,'v',4,'w'), (5,'v',5,'w'), (6,'hidden',6,'w'), (7,'hidden',7,'w')").await;
    for (task, data) in [("logged", "log"), ("ignored", "ignore"), ("suspended", "suspend-table")] {
        start_filtered(&world, task, json!({"row_errors": {"data": data}})).await;
    }
    let minimal =
        "set session binlog_row_image = 'MINIMAL'; update pair set n = 10 where id = 1; update pair set v = 'hidden' where id = 2;
        update pair set v = 'seen' where id = 3; delete from pair where id in (4, 7); update pair set v = 'seen', n = 60 where id = 6";
    let other = "set session binlog_row_image = 'NOBLOB'; update pair set n = 50, v = 'seen' where id = 5";
    world.source_sql(&format!("{minimal}; {other}")).await;
    let text = if matches!(&*world.target, Source::Postgres(_)) { "convert_from(w, 'UTF8')" } else { "convert(w using utf8mb4)" };
    let arrived = async |task: &str, wanted: &[&str]| {
        let query = format!("select concat_ws('|', id, v, n, {text}) from {task}.pair order by id");
        wait_for(&format!("the rows of {task} to be {wanted:?}"), PATIENCE, async || {
            let state = world.task(task).await;
            assert_ne!(state["status"], "failed", "{}\n{}", state["failure"], world.host.log());
            let found: Vec<String> = world.target.rows(&query).await.into_iter().filter_map(|mut row| row.remove(0)).collect();
            if found == wanted { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
    };
    for task in ["logged", "ignored"] {
        // The first, the third and the sixth are as they were.
        arrived(task, &["1|v|1|w", "3|v|3|w", "5|seen|50|w"]).await;
    }
    let entries = "select concat_ws(' ', code, count(*)) from tidegate.row_error where task like '%logged' group by code";
    assert_eq!(world.target.value(entries).await, "value_not_logged 3");
    let state = "select state from tidegate.table_state where task like '%suspended'";
    wait_for("the table to be suspended", PATIENCE, async || match world.target.value(state).await {
        state if state == "suspended" => Ok(()),
        state => Err(state),
    })
    .await;

    // Whole rows settle what was left behind.
    world.source_sql("set session binlog_row_image = 'FULL'; update pair set n = n + 1 where id in (1, 3, 6)").await;
    for task in ["logged", "ignored"] {
        arrived(task, &["1|v|11|w", "3|seen|4|w", "5|seen|50|w", "6|seen|61|w"]).await;
    }
    assert_eq!(world.target.value("select count(*) from tidegate.row_error").await, "0", "in one transaction with the last row");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_filter_cannot_decide_about_are_at_fault_from_mysql() {
    undecided_rows_are_at_fault(MysqlFlavour::Mysql97, Source::postgres(PostgresVersion::V17).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_filter_cannot_decide_about_are_at_fault_from_mariadb() {
    undecided_rows_are_at_fault(MysqlFlavour::Mariadb118, Source::mysql(MysqlFlavour::Mysql97).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_and_deletes_of_partial_row_images_arrive_from_mysql() {
    partial_images_arrive(MysqlFlavour::Mysql97, Source::postgres(PostgresVersion::V17).await, &["MINIMAL", "NOBLOB"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_and_deletes_of_partial_row_images_arrive_from_mariadb() {
    let images = ["MINIMAL", "NOBLOB", "FULL_NODUP"];
    partial_images_arrive(MysqlFlavour::Mariadb118, Source::mysql(MysqlFlavour::Mariadb1011).await, &images).await;
}
