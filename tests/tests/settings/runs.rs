//! How runs begin, wait, retry and end.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_harness::{Fault, MysqlFlavour, PostgresVersion, Proxy, wait_for};

use crate::control_tables::control_tables_tell_what_a_task_does;
use crate::loopback::changes_of_two_directions_arrive_once_and_nothing_goes_round;
use crate::pair::Pair;
use crate::policies::row_policies_do_what_their_names_say;
use crate::positions::postgres_positions_start_and_stop_tasks_exactly;
use crate::ranges::tables_are_cut_at_boundaries_and_no_row_is_lost_or_doubled;
use crate::world::{Source, World};

const PATIENCE: Duration = Duration::from_secs(120);

/// A task of one schema of the source, whose tables go to the schema `NAME_copy`.
pub(crate) async fn create(world: &World, name: &str, schema: &str, settings: Value, more: Value) {
    let mut task = json!({"name": name, "source": "source", "target": "target", "migration_type": "full-load-and-cdc",
        "table_mappings": {"rules": [{"rule-type": "selection", "rule-id": "1", "rule-name": "1", "rule-action": "include",
            "object-locator": {"schema-name": schema, "table-name": "%"}}]}});
    task["settings"] = settings;
    task["settings"]["target_schema"] = json!(format!("{schema}_copy"));
    for (key, value) in more.as_object().into_iter().flatten() {
        task[key] = value.clone();
    }
    world.host.post("/v1/tasks", &task).await.ok();
}

/// Waits until a query of the target answers this.
pub(crate) async fn wait_target(world: &World, query: &str, wanted: &str) {
    wait_for(query, PATIENCE, async || match world.target.try_rows(query).await {
        Ok(rows) => {
            let found = rows.first().and_then(|row| row.first().cloned().flatten()).unwrap_or_default();
            if found == wanted { Ok(()) } else { Err(found) }
        }
        Err(error) => Err(error),
    })
    .await;
}

pub(crate) async fn events(world: &World, name: &str) -> String {
    world.host.get(&format!("/v1/tasks/{name}/events?limit=200")).await.ok().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_begin_wait_retry_and_end_as_their_settings_say() {
    let mut world = World::start(Source::postgres(PostgresVersion::V17).await, PostgresVersion::V17).await;
    stops_after_the_load_before_or_after_the_changes_that_came_meanwhile(&world).await;
    tokio::join!(
        a_task_without_tables_waits_for_one_and_its_rows_go_to_the_target_schema(&world),
        changes_within_an_interval_become_one_group(&world),
        so_many_changes_do_not_wait_for_the_interval(&world),
        retries_end_at_their_count_or_time(&world),
        interruptions_of_a_task_at_rest_are_counted_apart(&world),
        the_last_allowed_table_error_stops_the_task(&world),
        the_last_allowed_conflict_stops_a_task_that_suspends_tables(&world),
    );
    postgres_positions_start_and_stop_tasks_exactly(&world).await;
    tables_are_cut_at_boundaries_and_no_row_is_lost_or_doubled(&mut world).await;
    changes_of_two_directions_arrive_once_and_nothing_goes_round(&mut world).await;
    let pair = Pair::of(&world);
    tokio::join!(control_tables_tell_what_a_task_does(&pair), row_policies_do_what_their_names_say(&pair));
    open_transactions_hold_up_the_start_and_are_told_or_end_it(&world).await;
}

/// What is done in the target is the same in the other dialect.
async fn the_same_into(flavour: MysqlFlavour) {
    let mut world = World::between(Source::postgres(PostgresVersion::V17).await, Source::mysql(flavour).await).await;
    postgres_positions_start_and_stop_tasks_exactly(&world).await;
    tables_are_cut_at_boundaries_and_no_row_is_lost_or_doubled(&mut world).await;
    let pair = Pair::of(&world);
    tokio::join!(control_tables_tell_what_a_task_does(&pair), row_policies_do_what_their_names_say(&pair));
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_control_tables_row_policies_and_boundaries_are_the_same_in_mysql() {
    the_same_into(MysqlFlavour::Mysql97).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_control_tables_row_policies_and_boundaries_are_the_same_in_mariadb() {
    the_same_into(MysqlFlavour::Mariadb118).await;
}

async fn stops_after_the_load_before_or_after_the_changes_that_came_meanwhile(world: &World) {
    for (name, reason, rows) in [("stop-before-changes", "after-full-load", "100"), ("stop-after-changes", "after-cached-changes", "101")] {
        let schema = name.replace('-', "_");
        world.source_sql(&format!("create schema {schema}; create table {schema}.t (id int primary key, note text)")).await;
        world.source_sql(&format!("insert into {schema}.t select n, 'loaded' from generate_series(1, 100) n")).await;
        world.target.sql(&format!("create schema {schema}_copy; create table {schema}_copy.t (id int primary key, note text)")).await;
        create(world, name, &schema, json!({"after_load": name}), json!({})).await;
        // Nobody can write to the target's table until the change has come.
        let blocker = world.target_client().await;
        blocker.batch_execute(&format!("begin; lock table {schema}_copy.t in exclusive mode")).await.expect("the table can be locked");
        world.start_task(name).await;
        world.wait_phase(name, "loading").await;
        let mine = format!("pg_stat_activity where wait_event_type = 'Lock' and query ilike '%{schema}_copy%'");
        wait_target(world, &format!("select (count(*) > 0)::text from {mine}"), "true").await;
        world.source_sql(&format!("insert into {schema}.t values (101, 'came meanwhile')")).await;
        blocker.batch_execute("rollback").await.expect("the lock can be given up");
        world.wait_stopped(name).await;
        assert_eq!(world.task(name).await["stop_reason"], reason, "{}", world.host.log());
        assert_eq!(world.target.value(&format!("select count(*) from {schema}_copy.t")).await, rows, "{name}");
        world.start_task(name).await;
        wait_target(world, &format!("select count(*) from {schema}_copy.t"), "101").await;
        world.wait_phase(name, "replicating").await;
        world.stop_task(name).await;
    }
}

async fn a_task_without_tables_waits_for_one_and_its_rows_go_to_the_target_schema(world: &World) {
    create(world, "early", "later", json!({}), json!({})).await;
    world.start_task("early").await;
    assert_eq!(world.wait_failed("early").await["code"], "no_tables");
    create(world, "patient", "later", json!({"no_tables": "wait"}), json!({})).await;
    world.start_task("patient").await;
    world.wait_phase("patient", "replicating").await;
    world.source_sql("create schema later; create table later.t (id int primary key); insert into later.t values (1), (2)").await;
    wait_target(world, "select count(*) from later_copy.t", "2").await;
}

async fn changes_within_an_interval_become_one_group(world: &World) {
    world.source_sql("create schema rare; create table rare.t (id int primary key)").await;
    create(world, "rare", "rare", json!({"batch": {"interval_seconds": 6}}), json!({})).await;
    world.start_task("rare").await;
    world.wait_phase("rare", "replicating").await;
    world.source_sql("insert into rare.t values (1)").await;
    wait_target(world, "select count(*) from rare_copy.t", "1").await;
    for id in 2..=4 {
        world.source_sql(&format!("insert into rare.t values ({id})")).await;
    }
    wait_target(world, "select count(*) from rare_copy.t", "4").await;
    assert_eq!(world.target.value("select count(distinct xmin::text) from rare_copy.t where id > 1").await, "1");
}

async fn so_many_changes_do_not_wait_for_the_interval(world: &World) {
    world.source_sql("create schema many; create table many.t (id int primary key)").await;
    create(world, "many", "many", json!({"batch": {"interval_seconds": 3_600, "changes_min": 3}}), json!({})).await;
    world.start_task("many").await;
    world.wait_phase("many", "replicating").await;
    for id in 1..=6 {
        world.source_sql(&format!("insert into many.t values ({id})")).await;
    }
    // The first may have come while nothing had to wait; of the others, three make a group.
    wait_target(world, "select (count(*) > 2)::text from many_copy.t", "true").await;
    world.stop_task("many").await;
}

async fn retries_end_at_their_count_or_time(world: &World) {
    let proxy = Proxy::to_port(world.target.port()).await;
    world.create_target_endpoint("proxied", proxy.port()).await;
    world.source_sql("create schema tried; create table tried.t (id int primary key)").await;
    let retry = json!({"retry": {"count_max": 2, "pause_seconds": 1}});
    create(world, "tried", "tried", retry, json!({"target": "proxied"})).await;
    let retry = json!({"retry": {"give_up_seconds": 3, "pause_seconds": 1}});
    create(world, "impatient", "tried", retry, json!({"target": "proxied"})).await;
    for name in ["tried", "impatient"] {
        world.start_task(name).await;
        world.wait_phase(name, "replicating").await;
    }
    proxy.set(Fault::Cut);
    world.source_sql("insert into tried.t values (1)").await;
    let failure = world.wait_failed("tried").await;
    let impatient = world.wait_failed("impatient").await;
    // Nothing but the time ends it, of which the first pause takes a part.
    assert!(world.task("impatient").await["progress"]["reconnects"].as_u64() >= Some(1), "{impatient}");
    assert_eq!(world.task("tried").await["progress"]["reconnects"], 2, "{failure}");
    proxy.set(Fault::Pass);
    world.start_task("tried").await;
    wait_target(world, "select count(*) from tried_copy.t", "1").await;
}

/// No row says that an interruption is over. The time between the two is what this is about.
async fn interruptions_of_a_task_at_rest_are_counted_apart(world: &World) {
    let proxy = Proxy::to_port(world.source.port()).await;
    world.host.post("/v1/endpoints", &world.source.endpoint_at("resting-source", "source", proxy.port())).await.ok();
    world.source_sql("create schema resting; create table resting.t (id int primary key)").await;
    let retry = json!({"retry": {"give_up_seconds": 8, "pause_seconds": 1, "pause_seconds_max": 1}});
    create(world, "resting", "resting", retry, json!({"source": "resting-source"})).await;
    world.start_task("resting").await;
    for _ in 0..2 {
        world.wait_phase("resting", "replicating").await;
        tokio::time::sleep(Duration::from_millis(8_500)).await;
        let reconnects = world.task("resting").await["progress"]["reconnects"].as_u64();
        proxy.set(Fault::Cut);
        wait_for("the interruption to be noticed", PATIENCE, async || {
            let task = world.task("resting").await;
            assert_ne!(task["status"], "failed", "{}", task["failure"]);
            let found = task["progress"]["reconnects"].as_u64();
            if found > reconnects { Ok(()) } else { Err(found) }
        })
        .await;
        proxy.set(Fault::Pass);
    }
    world.source_sql("insert into resting.t values (1)").await;
    wait_target(world, "select count(*) from resting_copy.t", "1").await;
}

async fn the_last_allowed_table_error_stops_the_task(world: &World) {
    world.source_sql("create schema bad; create table bad.t (id int primary key); create table bad.u (id int primary key)").await;
    create(world, "bad", "bad", json!({"table_errors": "suspend-table", "table_errors_max": 2}), json!({})).await;
    world.start_task("bad").await;
    world.wait_phase("bad", "replicating").await;
    for (id, suspended) in [(1, true), (2, false)] {
        world.target.sql(&format!("insert into bad_copy.t values ({id})")).await;
        world.source_sql(&format!("insert into bad.t values ({id})")).await;
        if !suspended {
            break;
        }
        wait_for("table bad.t to be suspended", PATIENCE, async || {
            let tables = world.host.get("/v1/tasks/bad/tables").await.ok().to_string();
            if tables.contains("\"failed\":1") { Ok(()) } else { Err(tables) }
        })
        .await;
        let table = json!({"tables": [{"schema": "bad", "table": "t"}]});
        world.host.post("/v1/tasks/bad/tables/reload", &table).await.ok();
        wait_for("table bad.t to be loaded again", PATIENCE, async || {
            let tables = world.host.get("/v1/tasks/bad/tables").await.ok().to_string();
            let task = world.task("bad").await;
            assert_ne!(task["status"], "failed", "{}", task["failure"]);
            let is_loaded = tables.contains("\"failed\":0") && task["phase"] == "replicating";
            if is_loaded { Ok(()) } else { Err(format!("{} {tables}", task["phase"])) }
        })
        .await;
    }
    let failure = world.wait_failed("bad").await;
    assert!(failure["message"].as_str().unwrap_or_default().contains("2 errors of table \"bad.t\""), "{failure}");
}

async fn the_last_allowed_conflict_stops_a_task_that_suspends_tables(world: &World) {
    world.source_sql("create schema met; create table met.t (id int primary key)").await;
    create(world, "met", "met", json!({"table_errors": "suspend-table", "row_errors": {"conflicts_max": 1}}), json!({})).await;
    world.start_task("met").await;
    world.wait_phase("met", "replicating").await;
    world.target.sql("insert into met_copy.t values (1)").await;
    world.source_sql("insert into met.t values (1)").await;
    let failure = world.wait_failed("met").await;
    assert!(failure["message"].as_str().unwrap_or_default().contains("conflict 1 of table \"met.t\""), "{failure}");
}

async fn open_transactions_hold_up_the_start_and_are_told_or_end_it(world: &World) {
    world.source_sql("create schema held; create table held.t (id int primary key)").await;
    let Source::Postgres(server) = &*world.source else { panic!("the source is PostgreSQL") };
    let open = server.client().await;
    open.batch_execute("begin; insert into held.t values (1)").await.expect("a transaction can be open");
    create(world, "strict", "held", json!({"transaction_wait": {"seconds": 1, "then": "fail"}}), json!({})).await;
    world.start_task("strict").await;
    assert_eq!(world.wait_failed("strict").await["code"], "transactions_open");
    create(world, "told", "held", json!({"transaction_wait": {"seconds": 1}}), json!({})).await;
    world.start_task("told").await;
    wait_for("the event about open transactions", PATIENCE, async || {
        let told = events(world, "told").await;
        if told.contains("the start waits for transactions that are open") { Ok(()) } else { Err(told) }
    })
    .await;
    open.batch_execute("commit").await.expect("the transaction can be committed");
    wait_target(world, "select count(*) from held_copy.t", "1").await;
}
