//! Tasks without changes sleep: no connection to the target, and the first change wakes them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tidegate_harness::{MysqlFlavour, PostgresServer, PostgresVersion, wait_for};

use crate::world::{Source, World};

/// Tasks that sleep beside each other, each with a stream of its own.
const TASKS: usize = 4;

/// A task gives up its last unit twenty seconds after its last change, and its connections some seconds later.
const PATIENCE: Duration = Duration::from_secs(120);

/// Sessions of tasks on the target.
async fn sessions(target: &Source) -> u64 {
    let query = match target {
        Source::Postgres(_) => "select count(*) from pg_stat_activity where application_name like 'tidegate%'",
        // Each holds a lock of its token's name as long as it lives; connections of this test hold none.
        Source::Mysql(_) => "select count(*) from tidegate.session where is_used_lock(token) is not null",
    };
    target.value(query).await.parse().expect("a count is a number")
}

/// Moves the source's log by 80 MB without a change for the tasks.
async fn move_log(world: &World) {
    match world.source.as_ref() {
        Source::Postgres(_) => {
            world.source_sql("select pg_logical_emit_message(false, 'test', repeat('x', 1000000)) from generate_series(1, 80)").await;
        }
        Source::Mysql(_) => {
            let rows: Vec<String> = (0..10).map(|id| format!("insert into elsewhere values ({id}, repeat('x', 8000000))")).collect();
            world.source_sql(&rows.join("; ")).await;
        }
    }
}

/// The place that each task has in the target.
async fn checkpoints(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    for number in 0..TASKS {
        found.push(world.task(&format!("sleeper{number}")).await["progress"]["checkpoint"].to_string());
    }
    found
}

/// A source that moves on without changes for the tasks keeps none of its log for them: their places follow, in small steps
/// of time while they are awake, and of bytes while they sleep.
async fn places_follow_a_log_that_moves(world: &World) {
    let before = checkpoints(world).await;
    move_log(world).await;
    wait_for("the places to follow", PATIENCE, async || {
        let now = checkpoints(world).await;
        if now.iter().zip(&before).all(|(now, before)| now != before) { Ok(()) } else { Err(now) }
    })
    .await;
    if let Source::Postgres(_) = world.source.as_ref() {
        let held =
            "select max(pg_current_wal_lsn() - confirmed_flush_lsn)::int8 from pg_replication_slots where slot_name like 'tidegate%'";
        wait_for("the source to be told", PATIENCE, async || {
            let bytes: u64 = world.source.value(held).await.parse().expect("a count is a number");
            if bytes < 64 << 20 { Ok(()) } else { Err(bytes) }
        })
        .await;
    }
}

async fn sleep_and_wake(source: Source, target: Source) {
    let world = Arc::new(World::between(source, target).await);
    world.source_sql("create table marker (id integer primary key); create table t (id integer primary key)").await;
    if let Source::Mysql(_) = world.source.as_ref() {
        world.source_sql("create table elsewhere (id integer primary key, v longtext)").await;
    }
    let schema = world.source.schema();
    for number in 0..TASKS {
        let rules = json!({"rules": [
            {"rule-type": "selection", "rule-id": "1", "rule-name": "t", "rule-action": "include",
                "object-locator": {"schema-name": schema, "table-name": "t"}},
            {"rule-type": "transformation", "rule-id": "2", "rule-name": "copy", "rule-target": "schema", "rule-action": "rename",
                "object-locator": {"schema-name": schema}, "value": format!("copy{number}")}]});
        let name = format!("sleeper{number}");
        let task = json!({"name": name, "source": "source", "target": "target", "migration_type": "full-load-and-cdc",
            "preparation": "drop-and-create", "table_mappings": rules, "min_units": 0, "max_units": 2});
        world.host.post("/v1/tasks", &task).await.ok();
        world.start_task(&name).await;
        world.wait_phase(&name, "replicating").await;
    }
    for round in 0..2 {
        wait_for("all tasks to sleep", PATIENCE, async || match sessions(&world.target).await {
            0 => Ok(()),
            sessions => Err(sessions),
        })
        .await;
        for number in 0..TASKS {
            let task = world.task(&format!("sleeper{number}")).await;
            assert_eq!((&task["status"], &task["progress"]["units"]), (&json!("running"), &json!(0)), "{task}");
        }
        if round == 1 {
            places_follow_a_log_that_moves(&world).await;
        }
        world.source_sql(&format!("insert into t values ({round})")).await;
        let began = Instant::now();
        let mut woken = Vec::new();
        for number in 0..TASKS {
            wait_for("the first change", PATIENCE, async || {
                let found = world.target.value(&format!("select count(*) from copy{number}.t where id = {round}")).await;
                if found == "1" { Ok(()) } else { Err(found) }
            })
            .await;
            woken.push(began.elapsed().as_millis());
        }
        println!("round {round}: the first change was there after {woken:?} ms");
        // The figure that counts is taken by `bench -- idle`; a machine that runs many tests at once gets room.
        assert!(woken.iter().all(|ms| *ms < 5_000), "{woken:?}");
        wait_for("units to be granted again", PATIENCE, async || {
            let units = world.task("sleeper0").await["progress"]["units"].clone();
            if units == json!(1) { Ok(()) } else { Err(units) }
        })
        .await;
        if round == 0 {
            // A task that was stopped asleep goes on where it was.
            world.stop_task("sleeper0").await;
            world.start_task("sleeper0").await;
            world.wait_phase("sleeper0", "replicating").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_without_changes_hold_no_connection_to_postgres_and_wake_at_the_first() {
    sleep_and_wake(Source::postgres(PostgresVersion::V17).await, Source::postgres(PostgresVersion::V17).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_without_changes_hold_no_connection_to_mysql_and_wake_at_the_first() {
    sleep_and_wake(Source::mysql(MysqlFlavour::Mariadb1011).await, Source::mysql(MysqlFlavour::Mysql97).await).await;
}

/// The task goes on, so only who reads the events or the metric learns that the source's disk fills up.
#[tokio::test(flavor = "multi_thread")]
async fn log_that_a_source_keeps_for_a_transaction_left_open_is_told() {
    let source = PostgresServer::start_with(PostgresVersion::V17, &["wal_init_zero=off"]).await;
    let world = World::between(Source::Postgres(source), Source::postgres(PostgresVersion::V17).await).await;
    world.source_sql("create table marker (id integer primary key); create table t (id integer primary key)").await;
    world.create_task("watched", "full-load-and-cdc", "drop-and-create", json!({})).await;
    // A task that is awake looks every minute.
    world.set_units("watched", 1).await;
    world.start_task("watched").await;
    world.wait_phase("watched", "replicating").await;
    let Source::Postgres(server) = world.source.as_ref() else { unreachable!("the source is PostgreSQL") };
    let open = server.client().await;
    open.batch_execute("begin; insert into t values (1)").await.expect("a row can be inserted");
    for id in 2..=70 {
        world.source_sql(&format!("insert into t values ({id}); select pg_switch_wal()")).await;
    }
    wait_for("the warning", PATIENCE, async || {
        let events = world.host.get("/v1/tasks/watched/events").await.ok().to_string();
        if events.contains("MiB of its log for the task, wanted at most 1024 MiB") { Ok(()) } else { Err(events) }
    })
    .await;
    let metrics = world.host.get("/metrics").await.ok();
    let line = metrics.as_str().expect("a text").lines().find(|line| line.starts_with("tidegate_task_log_held_bytes{")).expect("the gauge");
    let bytes: f64 = line.rsplit(' ').next().expect("a value").parse().expect("a number");
    assert!(bytes > f64::from(1 << 30), "{line}");
    let findings = world.host.post("/v1/tasks/watched/check", &json!({})).await.ok().to_string();
    assert!(findings.contains("log_held"), "{findings}");
    open.batch_execute("commit").await.expect("the transaction can be ended");
    wait_for("every row", PATIENCE, async || {
        let found = world.target.value("select count(*) from copy.t").await;
        if found == "70" { Ok(()) } else { Err(found) }
    })
    .await;
}
