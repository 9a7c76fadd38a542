//! Where tasks start in their source's log, and where they stop by themselves.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_harness::{MysqlFlavour, MysqlServer, PostgresVersion, wait_for};

use crate::keys::keys_come_behind_the_rows;
use crate::loopback::changes_of_two_directions_arrive_once_and_nothing_goes_round;
use crate::ranges::tables_are_cut_at_boundaries_and_no_row_is_lost_or_doubled;
use crate::runs::wait_target;
use crate::world::{Source, World};

const PATIENCE: Duration = Duration::from_secs(120);

/// A task over the table `t`, whose copy is in the schema of the task's name.
async fn create(world: &World, name: &str, migration: &str, more: Value) {
    let mut task = json!({"name": name, "source": "source", "target": "target", "migration_type": migration,
        "settings": {"target_schema": name},
        "table_mappings": {"rules": [{"rule-type": "selection", "rule-id": "1", "rule-name": "1", "rule-action": "include",
            "object-locator": {"schema-name": world.source.schema(), "table-name": "t"}}]}});
    for (key, value) in more.as_object().into_iter().flatten() {
        task[key] = value.clone();
    }
    world.host.post("/v1/tasks", &task).await.ok();
}

async fn insert(world: &World, ids: impl IntoIterator<Item = u32>) {
    for id in ids {
        world.source_sql(&format!("insert into t values ({id})")).await;
    }
}

/// Waits until the task has stopped by itself for this reason, with exactly these rows in the target.
async fn ends_with(world: &World, name: &str, reason: &str, rows: &str) {
    world.wait_stopped(name).await;
    assert_eq!(world.task(name).await["stop_reason"], reason, "{name}\n{}", world.host.log());
    let listed = match &*world.target {
        Source::Postgres(_) => format!("select string_agg(id::text, ',' order by id) from \"{name}\".t"),
        Source::Mysql(_) => format!("select group_concat(id order by id) from `{name}`.t"),
    };
    let found = world.target.value(&listed).await;
    assert_eq!(found, rows, "{name}\n{}", world.host.log());
}

/// The source's clock as `2026-11-26T09:00:00.123456`, so many seconds from now.
async fn clock(world: &World, seconds: u32) -> String {
    let sql = match &*world.source {
        Source::Postgres(_) => {
            format!("select to_char(clock_timestamp() at time zone 'utc' + interval '{seconds} seconds', 'YYYY-MM-DD\"T\"HH24:MI:SS.US')")
        }
        Source::Mysql(_) => format!("select date_format(utc_timestamp(6) + interval {seconds} second, '%Y-%m-%dT%H:%i:%s.%f')"),
    };
    world.source.value(&sql).await
}

/// Waits until the source's clock is past a time.
async fn past(world: &World, time: &str) {
    wait_for("the source's clock", PATIENCE, async || {
        let now = clock(world, 0).await;
        if now.as_str() > time { Ok(()) } else { Err(now) }
    })
    .await;
}

/// The file and the offset at which the source's binary log ends, and the position there.
async fn end_of_log(world: &World) -> (String, u64, String) {
    let Source::Mysql(server) = &*world.source else { panic!("only MySQL and MariaDB have a binary log") };
    let is_mariadb = server.flavour().is_mariadb();
    let status = if is_mariadb { "show master status" } else { "show binary log status" };
    let row = world.source.rows(status).await.remove(0);
    let text = |index: usize| row[index].clone().expect("the server tells");
    let (kind, variable) = if is_mariadb { ("mariadb", "gtid_binlog_pos") } else { ("mysql", "gtid_executed") };
    let gtids = world.source.value(&format!("select replace(@@global.{variable}, '\n', '')")).await;
    (text(0), text(1).parse().expect("an offset"), format!("{kind}:{gtids}"))
}

/// A running task has the row `last`, gets a stop position behind it, and is started when the log has more.
async fn stops_by_its_commit_times(world: &World, name: &str, last: u32, rows: &str) {
    wait_target(world, &format!("select count(*) from {name}.t where id = {last}"), "1").await;
    world.stop_task(name).await;
    let now = clock(world, 0).await;
    world.host.patch(&format!("/v1/tasks/{name}"), &json!({"stop_position": format!("commit_time:{now}")})).await.ok();
    past(world, &clock(world, 1).await).await;
    insert(world, [last + 1]).await;
    world.start_task(name).await;
    ends_with(world, name, "at-commit-time", rows).await;
}

async fn binlog_positions_start_and_stop_tasks_exactly(world: &mut World) {
    world.source_sql("create table t (id int primary key)").await;
    insert(world, 1..=2).await;
    let (file, offset, gtids_two) = end_of_log(world).await;
    let place_two = format!("{file}:{offset}");
    insert(world, 3..=4).await;
    world.source_sql("flush binary logs").await;
    let (file, offset, gtids_four) = end_of_log(world).await;
    let place_four = format!("{file}:{offset}");
    // A whole second lies between: MariaDB's log tells no less.
    let before = clock(world, 0).await;
    past(world, &clock(world, 1).await).await;
    let time = clock(world, 0).await;
    past(world, &clock(world, 1).await).await;
    insert(world, 5..=6).await;

    create(world, "places", "cdc", json!({"start_position": place_two, "stop_position": place_four})).await;
    create(world, "gtids", "cdc", json!({"start_position": &gtids_two, "stop_position": gtids_four})).await;
    let (from, until) = (format!("time:{time}"), clock(world, 0).await);
    create(world, "times", "cdc", json!({"start_position": from, "stop_position": format!("server_time:{until}")})).await;
    create(world, "early", "cdc", json!({"start_position": "time:1971-01-01T00:00:00Z", "stop_position": format!("commit_time:{before}")}))
        .await;
    create(world, "ahead", "cdc", json!({"start_position": format!("{file}:99999999")})).await;
    for name in ["places", "gtids", "times", "early", "ahead"] {
        world.start_task(name).await;
    }
    ends_with(world, "places", "at-position", "3,4").await;
    ends_with(world, "gtids", "at-position", "3,4").await;
    ends_with(world, "times", "at-server-time", "5,6").await;
    ends_with(world, "early", "at-commit-time", "1,2,3,4").await;
    assert_eq!(world.wait_failed("ahead").await["code"], "position_ahead");

    // A place that the log has not reached: the transaction that passes it is behind it.
    let (file, offset, _) = end_of_log(world).await;
    create(world, "coming", "full-load-and-cdc", json!({"stop_position": format!("{file}:{}", offset + 1)})).await;
    create(world, "clocked", "cdc", json!({"start_position": gtids_two})).await;
    world.start_task("coming").await;
    world.start_task("clocked").await;
    world.wait_phase("coming", "replicating").await;
    world.wait_phase("clocked", "replicating").await;
    insert(world, [7]).await;
    ends_with(world, "coming", "at-position", "1,2,3,4,5,6").await;
    world.kill_and_restart().await;
    stops_by_its_commit_times(world, "clocked", 7, "3,4,5,6,7").await;

    // A start without the stop position goes on from there.
    world.host.patch("/v1/tasks/coming", &json!({"stop_position": null})).await.ok();
    world.start_task("coming").await;
    wait_target(world, "select count(*) from coming.t", "8").await;
}

async fn from_a_binary_log(flavour: MysqlFlavour) {
    let mut world = World::start(Source::mysql(flavour).await, PostgresVersion::V17).await;
    binlog_positions_start_and_stop_tasks_exactly(&mut world).await;
    tables_are_cut_at_boundaries_and_no_row_is_lost_or_doubled(&mut world).await;
    keys_come_behind_the_rows(&mut world).await;
    changes_of_two_directions_arrive_once_and_nothing_goes_round(&mut world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_positions_start_and_stop_tasks_exactly() {
    from_a_binary_log(MysqlFlavour::Mysql97).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_positions_start_and_stop_tasks_exactly() {
    from_a_binary_log(MysqlFlavour::Mariadb118).await;
}

/// MY-051: into a target of the other kind, and over the end of the file numbers of six digits.
async fn between_binary_logs(source: MysqlFlavour, target: MysqlFlavour) {
    let mut server = MysqlServer::start(source).await;
    server.stop().await;
    // The server takes the number behind the highest that it finds.
    std::fs::write(server.data_dir().join("binlog.999998"), "").expect("the data directory is writable");
    server.restart().await;
    let mut world = World::between(Source::Mysql(server), Source::mysql(target).await).await;
    assert!(end_of_log(&world).await.0.ends_with(".999999"));
    binlog_positions_start_and_stop_tasks_exactly(&mut world).await;
    assert!(end_of_log(&world).await.0.ends_with(".1000000"));
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_positions_start_and_stop_tasks_into_mariadb_exactly() {
    between_binary_logs(MysqlFlavour::Mysql97, MysqlFlavour::Mariadb118).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_positions_start_and_stop_tasks_into_mysql_exactly() {
    between_binary_logs(MysqlFlavour::Mariadb1011, MysqlFlavour::Mysql97).await;
}

/// On the servers of another test.
pub(crate) async fn postgres_positions_start_and_stop_tasks_exactly(world: &World) {
    world
        .source_sql(
            "create table t (id int primary key); create publication tidegate_slotted for table t with (publish_via_partition_root = true)",
        )
        .await;
    world.source_sql("select pg_create_logical_replication_slot('tidegate_slotted', 'pgoutput')").await;
    let lsn = async || world.source.value("select pg_current_wal_lsn()").await;
    insert(world, 1..=2).await;
    let two = lsn().await;
    insert(world, 3..=4).await;
    let four = lsn().await;
    insert(world, 5..=6).await;
    let more = json!({"start_position": format!("postgres:{two}"), "stop_position": format!("postgres:{four}")});
    create(world, "slotted", "cdc", more).await;
    create(world, "clocked", "full-load-and-cdc", json!({})).await;
    world.start_task("slotted").await;
    world.start_task("clocked").await;
    ends_with(world, "slotted", "at-position", "3,4").await;
    world.wait_phase("clocked", "replicating").await;
    insert(world, [7]).await;
    stops_by_its_commit_times(world, "clocked", 7, "1,2,3,4,5,6,7").await;
    // Nothing is written any more: the clock alone ends it.
    create(world, "quiet", "full-load-and-cdc", json!({"stop_position": format!("server_time:{}", clock(world, 1).await)})).await;
    world.start_task("quiet").await;
    ends_with(world, "quiet", "at-server-time", "1,2,3,4,5,6,7,8").await;
}
