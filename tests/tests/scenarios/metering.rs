//! What a module used, counted and logged in a task, in the API and as metrics.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_harness::{MysqlFlavour, PostgresVersion, wait_for};

use crate::row_errors::{picky_rule, upload};
use crate::world::{Source, World};

const PATIENCE: Duration = Duration::from_secs(60);

/// The figures of the module in the task, when it has refused so many rows.
async fn figures(world: &World, rejected: u64) -> Value {
    wait_for("the rejected rows", PATIENCE, async || {
        let task = world.task("metered").await;
        assert_ne!(task["status"], "failed", "{}", task["failure"]);
        let of_module = task["progress"]["modules"].as_array().and_then(|all| all.iter().find(|module| module["name"] == "picky")).cloned();
        of_module.filter(|module| module["rejected"] == rejected).ok_or(task["progress"]["modules"].clone())
    })
    .await
}

/// The series of the module in the task by the end of its name, and what its last label is.
async fn series(world: &World) -> Vec<(String, f64)> {
    let text = world.host.get("/metrics").await.ok();
    let ours = text.as_str().expect("metrics are text").lines().filter(|line| line.contains("task=\"metered\",module=\"picky\""));
    let read = |line: &str| {
        let (name, rest) = line.strip_prefix("tidegate_module_")?.split_once('{')?;
        let (labels, value) = rest.rsplit_once(' ')?;
        let counter = labels.split_once("counter=\"").map_or("", |(_, counter)| counter.trim_end_matches("\"}"));
        Some((format!("{name} {counter}").trim_end().to_owned(), value.parse().ok()?))
    };
    ours.map(|line| read(line).expect("a line of a module's metric")).collect()
}

fn value(series: &[(String, f64)], name: &str) -> f64 {
    series.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("no {name} among {series:?}")).1
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_module_uses_counts_and_logs_is_in_the_api_and_in_metrics() {
    let servers = (Source::postgres(PostgresVersion::V15).await, Source::postgres(PostgresVersion::V17).await);
    let world = World::configured(Arc::new(servers.0), Arc::new(servers.1), "[modules]\nmeter_fuel = true\n").await;
    world.source_sql("create table item (id int primary key, note text); create table marker (id int primary key)").await;
    world.source_sql("insert into item values (1, 'a'), (2, 'refuse'), (3, 'b')").await;
    upload(&world, b'1').await;
    let settings = json!({"row_errors": {"data": "log"}});
    world.create_task_with("metered", "full-load-and-cdc", "drop-and-create", settings, vec![picky_rule("public")]).await;
    world.start_task("metered").await;
    world.wait_phase("metered", "replicating").await;
    let loaded = figures(&world, 1).await;
    assert_eq!((&loaded["rows"], &loaded["batches"], &loaded["failures"]), (&json!(3), &json!(1), &json!(0)), "{loaded}");

    world.source_sql("begin; insert into item values (4, 'c'); insert into item values (5, 'd'); commit").await;
    world.wait_level("metered").await;
    // It traps, is asked again, and traps again.
    world.source_sql("insert into item values (6, 'a bomb')").await;
    let all = figures(&world, 2).await;
    assert_eq!((&all["rows"], &all["batches"], &all["failures"]), (&json!(7), &json!(4), &json!(2)), "{all}");
    // What it counted before it trapped is counted.
    assert_eq!(all["counters"], json!({"notes": 7, "refused": 1}));
    let lines = all["log"].as_array().expect("lines");
    assert_eq!(
        lines.iter().map(|line| (&line["level"], &line["message"])).collect::<Vec<_>>(),
        [(&json!("warn"), &json!("a note asks to be refused"))]
    );
    assert_eq!(all["log_lines_dropped"], 0);
    let number = |name: &str| all[name].as_f64().unwrap_or_else(|| panic!("no number {name} in {all}"));
    assert!(number("cpu_seconds") > 0.0 && number("fuel") > loaded["fuel"].as_f64().unwrap_or(f64::MAX), "{all}");
    assert!(number("memory_bytes_peak") >= 65_536.0, "{all}");

    world.stop_task("metered").await;
    let shown = series(&world).await;
    for (metric, wanted) in [
        ("rows_total", 7.0),
        ("batches_total", 4.0),
        ("failures_total", 2.0),
        ("rows_rejected_total", 2.0),
        ("fuel_total", number("fuel")),
        ("counter_total notes", 7.0),
        ("counter_total refused", 1.0),
        // The task does not run.
        ("cpu_seconds", 0.0),
        ("memory_peak_bytes", 0.0),
    ] {
        assert!(value(&shown, metric).total_cmp(&wanted).is_eq(), "{metric} is not {wanted}: {shown:?}");
    }
    // The API keeps what the last run used.
    assert_eq!(figures(&world, 2).await, all);
}

/// `again` makes the log of the source describe the table anew, and nothing that makes the task load it again; the plan before it is of no
/// use then.
async fn check_that_a_replaced_plan_is_forgotten(source: Source, again: &str) {
    let world = World::start(source, PostgresVersion::V17).await;
    world.source_sql("create table item (id int primary key, note text); create table marker (id int primary key)").await;
    upload(&world, b'9').await;
    let rule = picky_rule(world.source.schema());
    let settings = json!({"ddl": {"add_column": "ignore"}});
    world.create_task_with("metered", "full-load-and-cdc", "drop-and-create", settings, vec![rule]).await;
    world.start_task("metered").await;
    world.wait_phase("metered", "replicating").await;
    // Figures are published some time after the rows are there.
    let insert = async |ids: RangeInclusive<u32>, counters: Value| {
        for id in ids {
            world.source_sql(&format!("insert into item (id, note) values ({id}, 'a note')")).await;
            world.wait_target_count("item", id.into()).await;
        }
        wait_for("what it counted", PATIENCE, async || {
            let found = figures(&world, 0).await["counters"].clone();
            if found == counters { Ok(()) } else { Err(found) }
        })
        .await;
    };
    insert(1..=5, json!({"notes": 5})).await;
    world.source_sql(again).await;
    // It is told between two of its batches, and not at once.
    insert(6..=10, json!({"notes": 10, "forgotten": 1})).await;
    let task = world.task("metered").await;
    assert_eq!(task["progress"]["reconnects"], 0, "the same instance heard of both plans: {task}");
}

/// The log has more of old rows from then on.
#[tokio::test(flavor = "multi_thread")]
async fn a_module_is_told_to_forget_a_table_whose_plan_was_replaced() {
    check_that_a_replaced_plan_is_forgotten(Source::postgres(PostgresVersion::V17).await, "alter table item replica identity full").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_is_told_to_forget_a_table_of_mysql_whose_plan_was_replaced() {
    check_that_a_replaced_plan_is_forgotten(Source::mysql(MysqlFlavour::Mysql97).await, "alter table item add column more int").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_is_told_to_forget_a_table_of_mariadb_whose_plan_was_replaced() {
    check_that_a_replaced_plan_is_forgotten(Source::mysql(MysqlFlavour::Mariadb118).await, "alter table item add column more int").await;
}
