//! Where tables are cut for their load, and which begin first.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use serde_json::{Value, json};
use tidegate_harness::wait_for;

use crate::runs::wait_target;
use crate::world::{Source, World};

const PATIENCE: Duration = Duration::from_secs(120);

fn select(table: &str, schema: &str, id: u32, order: u32) -> Value {
    json!({"rule-type": "selection", "rule-id": id, "rule-name": id.to_string(), "rule-action": "include", "load-order": order,
        "object-locator": {"schema-name": schema, "table-name": table}})
}

fn cut(schema: &str, columns: Value, boundaries: Value) -> Value {
    json!({"rule-type": "table-settings", "rule-id": "9", "rule-name": "9",
        "object-locator": {"schema-name": schema, "table-name": "cut_rows"},
        "parallel-load": {"type": "ranges", "columns": columns, "boundaries": boundaries}})
}

async fn create(world: &World, name: &str, rules: Vec<Value>) {
    let task = json!({"name": name, "source": "source", "target": "target", "migration_type": "full-load-and-cdc",
        "settings": {"target_schema": name, "load_lanes": 1}, "table_mappings": {"rules": rules}});
    world.host.post("/v1/tasks", &task).await.ok();
}

/// The state of one table of the task `cuts`.
async fn table(world: &World, name: &str) -> Value {
    let tables = world.host.get("/v1/tasks/cuts/tables").await.ok();
    tables["tables"].as_array().into_iter().flatten().find(|found| found["table"] == name).cloned().unwrap_or_default()
}

/// A row that is inserted and not committed.
enum Held {
    Postgres(tokio_postgres::Client),
    Mysql(mysql_async::Conn),
}

impl Held {
    async fn insert(target: &Source, row: &str) -> Held {
        match target {
            Source::Postgres(server) => {
                let client = server.client().await;
                client.batch_execute(&format!("begin; {row}")).await.expect("a row can be held");
                Held::Postgres(client)
            }
            Source::Mysql(server) => {
                let mut conn = server.client().await;
                conn.query_drop("begin").await.expect("a transaction can begin");
                conn.query_drop(row).await.expect("a row can be held");
                Held::Mysql(conn)
            }
        }
    }

    async fn give_up(self) {
        match self {
            Held::Postgres(client) => client.batch_execute("rollback").await.expect("the row can be given up"),
            Held::Mysql(mut conn) => conn.query_drop("rollback").await.expect("the row can be given up"),
        }
    }
}

/// Rows on the boundaries, between and outside of them, and with NULL in each column of the cut, once each in the target,
/// though the load is killed when one part is in.
pub(crate) async fn tables_are_cut_at_boundaries_and_no_row_is_lost_or_doubled(world: &mut World) {
    let schema = world.source.schema();
    world.source_sql("create table cut_rows (id int primary key, region varchar(10), grade int)").await;
    world.source_sql("create table first_rows (id int primary key)").await;
    let mut rows = Vec::new();
    for region in ["'AA'", "'EU'", "'eu'", "'US'", "'ZZ'", "null"] {
        for grade in ["-5", "99", "100", "101", "899", "900", "901", "null"] {
            rows.push(format!("({}, {region}, {grade})", rows.len() + 1));
        }
    }
    world.source_sql(&format!("insert into cut_rows values {}", rows.join(", "))).await;
    let boundaries = json!([["EU", "100"], ["EU", "900"], ["US", 100]]);
    let selected = || vec![select("cut_rows", schema, 1, 1), select("first_rows", schema, 2, 7)];
    let with = |rule: Value| selected().into_iter().chain([rule]).collect::<Vec<_>>();
    create(world, "cuts", with(cut(schema, json!(["region", "grade"]), boundaries))).await;
    create(world, "wrong", with(cut(schema, json!(["id"]), json!([["10"], ["many"]])))).await;
    create(world, "unsorted", with(cut(schema, json!(["id"]), json!([["10"], ["9"]])))).await;
    create(world, "nowhere", with(cut(schema, json!(["nowhere"]), json!([["9"]])))).await;
    // The last part, rows with NULL, cannot be written: a row of it is there, and its key is not free.
    world.target.sql("create schema cuts; create table cuts.cut_rows (id int primary key, region varchar(10), grade int)").await;
    let held = Held::insert(&world.target, "insert into cuts.cut_rows values (41, 'held', 0)").await;
    for name in ["cuts", "wrong", "unsorted", "nowhere"] {
        world.start_task(name).await;
    }
    let no_value = "rule 9 of the type table-settings, parallel-load: boundary 2: no value of column \"id\"";
    for (name, code, named) in [
        ("wrong", "parallel_load", no_value),
        ("unsorted", "parallel_load", "boundary 2 does not lie behind"),
        ("nowhere", "checks_failed", "the column \"nowhere\""),
    ] {
        let failure = world.wait_failed(name).await;
        let message = failure["message"].as_str().unwrap_or_default();
        assert!(failure["code"] == code && message.contains(named) && !message.contains("many"), "{failure}");
    }
    wait_for("four of five parts", PATIENCE, async || {
        let found = table(world, "cut_rows").await;
        if found["chunks_total"] == 5 && found["chunks_loaded"] == 4 { Ok(()) } else { Err(found) }
    })
    .await;
    let started = async |name: &str| table(world, name).await["load_started_us"].as_i64().expect("its load has begun");
    assert!(started("first_rows").await < started("cut_rows").await, "the higher load-order comes first");
    // A row goes from the part that is not in to one that is.
    world.source_sql("update cut_rows set region = 'AA', grade = 1 where id = 42").await;
    world.kill_and_restart().await;
    held.give_up().await;
    world.source_sql("insert into cut_rows values (1000, null, 5)").await;
    world.wait_phase("cuts", "replicating").await;
    wait_target(world, "select concat(count(*), ' ', count(distinct id)) from cuts.cut_rows", &format!("{0} {0}", rows.len() + 1)).await;
    assert_eq!(world.target.value("select concat(region, grade) from cuts.cut_rows where id = 42").await, "AA1");
}
