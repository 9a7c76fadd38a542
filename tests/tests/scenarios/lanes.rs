//! Several lanes at once: faster where the way to the target is long, and never out of order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidegate_harness::{Direction, Fault, MysqlFlavour, PostgresVersion, Proxy, wait_for};

use crate::world::{Source, World};

/// One way to the target.
const DELAY_MS: u64 = 10;

/// Transactions of the backlogs for one lane and for eight, of about 200 kB each.
const BACKLOGS: [u64; 2] = [120, 320];

const TABLES: &str = "create table entry (id bigint primary key); \
    create table body (id bigint primary key, content text not null); alter table body alter content set storage external; \
    create table counter (id integer primary key, n bigint not null); insert into counter values (1, 0); create table marker (id integer primary key)";

/// Writes transactions `from + 1` to `to`, each with a row of `entry` and some of `body`.
async fn write_backlog(world: &World, from: u64, to: u64) {
    world
        .source_sql(&format!(
            "do $$ begin for t in {from} + 1 .. {to} loop \
               insert into entry values (t); \
               insert into body select t * 100 + g, repeat(md5(t::text || g), 320) from generate_series(1, 20) g; \
               commit; end loop; end $$"
        ))
        .await;
}

/// Starts the task on so many lanes and returns how many transactions a second it applies of the backlog that waits.
async fn apply_backlog(world: &World, proxy: &Proxy, lanes: u32, from: u64, to: u64) -> f64 {
    world.set_units("slow", lanes).await;
    let stop = Arc::new(AtomicBool::new(false));
    let (reader, stopped) = (world.target_client().await, stop.clone());
    let reading = tokio::spawn(async move {
        let (mut first, mut polls) = (None, 0_u64);
        loop {
            let row = reader.query_one("select count(*), coalesce(max(id), 0) from copy.entry", &[]).await.expect("entries are counted");
            let (count, last): (i64, i64) = (row.get(0), row.get(1));
            assert_eq!(count, last, "poll {polls}: a transaction is there without one before it");
            polls += 1;
            let now = Instant::now();
            let seen = u64::try_from(count).expect("counts are not negative");
            if seen > from {
                let (since, earlier) = *first.get_or_insert((now, seen));
                if seen == to {
                    return ((seen - earlier) as f64 / (now - since).as_secs_f64(), polls);
                }
            }
            assert!(!stopped.load(Ordering::Relaxed), "the backlog is applied before the reader is told to stop: {seen} of {to}");
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    });
    proxy.set(Fault::Delay(Direction::Both, DELAY_MS));
    world.start_task("slow").await;
    world.wait_target_count("entry", to).await;
    let (rate, polls) = reading.await.expect("every poll saw the transactions in order");
    proxy.set(Fault::Pass);
    stop.store(true, Ordering::Relaxed);
    println!("{lanes} lanes: {rate:.0} transactions/s, {polls} polls");
    rate
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_lanes_over_a_slow_link_are_four_times_as_fast_as_one_and_in_order() {
    let world = World::start(Source::postgres(PostgresVersion::V17).await, PostgresVersion::V17).await;
    let proxy = Proxy::to_port(world.target.port()).await;
    world.create_target_endpoint("slow", proxy.port()).await;
    world.source_sql(TABLES).await;
    let task = json!({"name": "slow", "source": "source", "target": "slow", "migration_type": "full-load-and-cdc",
        "preparation": "drop-and-create", "table_mappings": world.mappings(Vec::new())});
    world.host.post("/v1/tasks", &task).await.ok();
    world.start_task("slow").await;
    world.wait_phase("slow", "replicating").await;
    world.stop_task("slow").await;
    let [few, more] = BACKLOGS;
    write_backlog(&world, 0, few).await;
    let one = apply_backlog(&world, &proxy, 1, 0, few).await;
    world.stop_task("slow").await;
    write_backlog(&world, few, few + more).await;
    let eight = apply_backlog(&world, &proxy, 8, few, few + more).await;
    assert!(eight >= 4.0 * one, "8 lanes: {eight:.0} transactions/s, 1 lane: {one:.0}");
    let wanted = world.source.value("select count(*) || md5(string_agg(content, '' order by id)) from body").await;
    assert_eq!(world.target.value("select count(*) || md5(string_agg(content, '' order by id)) from copy.body").await, wanted);
}

/// One way to the target where a test is about what lanes wait for: so long that the machine's load does not matter.
const FAR_MS: u64 = 100;

/// Runs the task, a run of its own because what is shown is its last minute, and waits until its limit is named.
async fn limit_named(world: &World, proxy: &Proxy, backlog: impl Future<Output = ()>, wanted: &str) -> Value {
    world.start_task("slow").await;
    world.wait_phase("slow", "replicating").await;
    proxy.set(Fault::Delay(Direction::Both, FAR_MS));
    backlog.await;
    let lag = wait_for(&format!("{wanted} to be named"), Duration::from_secs(120), async || {
        let lag = world.host.get("/v1/tasks/slow/lag").await.ok();
        if lag["limited_by"] == wanted { Ok(lag) } else { Err(format!("{lag:#}\n{}", world.host.log())) }
    })
    .await;
    proxy.set(Fault::Pass);
    world.wait_level("slow").await;
    world.stop_task("slow").await;
    lag
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_one_row_are_named_as_the_limit_and_those_of_many_name_the_target() {
    let world = World::start(Source::postgres(PostgresVersion::V17).await, PostgresVersion::V17).await;
    let proxy = Proxy::to_port(world.target.port()).await;
    world.create_target_endpoint("slow", proxy.port()).await;
    world.source_sql(TABLES).await;
    world.source_sql("insert into body values (0, '')").await;
    let task = json!({"name": "slow", "source": "source", "target": "slow", "migration_type": "full-load-and-cdc", "min_units": 4,
        "max_units": 4, "preparation": "drop-and-create", "table_mappings": world.mappings(Vec::new())});
    world.host.post("/v1/tasks", &task).await.ok();

    let one_row =
        "do $$ begin for t in 1..200 loop update body set content = repeat(md5(t::text), 6400) where id = 0; commit; end loop; end $$";
    let lag = limit_named(&world, &proxy, world.source_sql(one_row), "conflicts").await;
    assert_eq!(lag["units_would_help"], false, "{lag:#}");
    assert!(lag["explanation"].as_str().is_some_and(|text| text.contains("more units would not help")), "{lag:#}");
    let minute = &lag["capacity"]["last_minute"];
    assert!(["decode", "conflicts", "write"].iter().all(|part| minute[part].as_f64().is_some_and(|work| work > 0.0)), "{minute:#}");

    let lag = limit_named(&world, &proxy, write_backlog(&world, 0, 200), "write").await;
    assert!(lag["capacity"]["last_minute"]["conflicts"].as_f64().is_some_and(|work| work < 0.1), "{lag:#}");
    let query = |table: &str| format!("select count(*) || md5(string_agg(content, '' order by id)) from {table}");
    assert_eq!(world.target.value(&query("copy.body")).await, world.source.value(&query("body")).await);
}

/// What waits of a task, in memory and on disk, once everything up to transaction `last` of [`write_backlog`] is captured.
async fn waiting(world: &World, last: u64) -> (u64, u64) {
    wait_for("the backlog to be captured", Duration::from_secs(180), async || {
        let lag = world.host.get("/v1/tasks/held/lag").await.ok();
        let figure = |name: &str| lag[name].as_u64().unwrap_or_default();
        // A row of `entry` and twenty of `body`.
        if lag["capacity"]["changes_waiting"] == last * 21 {
            Ok((figure("cache_bytes_memory"), figure("cache_bytes_disk")))
        } else {
            Err(format!("{lag:#}"))
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_for_waiting_changes_follows_the_units_of_a_running_task() {
    const UNIT: u64 = 64 << 20;
    const FIRST: u64 = 500;
    const ALL: u64 = 740;
    let world = World::start(Source::postgres(PostgresVersion::V17).await, PostgresVersion::V17).await;
    world.source_sql(TABLES).await;
    world.create_task("held", "full-load-and-cdc", "drop-and-create", json!({})).await;
    world.set_units("held", 1).await;
    world.start_task("held").await;
    world.wait_phase("held", "replicating").await;
    // The target takes nothing for a while.
    let holder = world.target_client().await;
    holder.batch_execute("begin; lock table copy.entry, copy.body in access exclusive mode").await.expect("the tables can be locked");

    // 100 MiB: what is on its way to the target in groups, up to 24 MiB of it, is not among what waits.
    write_backlog(&world, 0, FIRST).await;
    let (memory, disk) = waiting(&world, FIRST).await;
    assert!(memory <= UNIT + (2 << 20) && disk > 0, "one unit: {memory} bytes in memory, {disk} on disk");
    world.set_units("held", 3).await;
    wait_for("three units", Duration::from_secs(60), async || {
        let units = world.host.get("/v1/tasks/held/lag").await.ok()["capacity"]["units_granted"].clone();
        if units == 3 { Ok(()) } else { Err(units) }
    })
    .await;
    write_backlog(&world, FIRST, ALL).await;
    let (more, _) = waiting(&world, ALL).await;
    assert!(more > memory + UNIT / 2 && more <= 3 * UNIT + (2 << 20), "three units: {more} bytes in memory, {memory} with one");

    holder.batch_execute("rollback").await.expect("the locks can be given back");
    world.wait_target_count("entry", ALL).await;
    let query = |table: &str| format!("select count(*) || md5(string_agg(content, '' order by id)) from {table}");
    assert_eq!(world.target.value(&query("copy.body")).await, world.source.value(&query("body")).await);
    let task = world.task("held").await;
    assert_eq!((&task["status"], &task["progress"]["reconnects"]), (&json!("running"), &json!(0)), "{task:#}");
}

/// Rows that share no key, and pass values of a unique key on to each other from one group to the next: the log's keys do
/// not tell that the groups meet, only the target does.
async fn values_change_hands(target: Source) {
    const ROWS: u32 = 6_000;
    let world = World::between(Source::postgres(PostgresVersion::V17).await, target).await;
    world
        .source_sql(&format!(
            "create table hand (id integer primary key, u integer not null unique, pad text not null); \
             create table marker (id integer primary key); \
             insert into hand select g, g, repeat('x', 900) from generate_series(1, {ROWS} * 2) g"
        ))
        .await;
    world.create_task("hands", "full-load-and-cdc", "drop-and-create", json!({})).await;
    world.set_units("hands", 8).await;
    world.start_task("hands").await;
    world.wait_phase("hands", "replicating").await;
    world.stop_task("hands").await;
    // The value that row t gives up, row t + ROWS takes 300 transactions later.
    world
        .source_sql(&format!(
            "do $$ begin for t in 1..{ROWS} loop update hand set u = 1000000 + t where id = t; \
             if t > 300 then update hand set u = t - 300 where id = {ROWS} + t; end if; commit; end loop; end $$"
        ))
        .await;
    world.start_task("hands").await;
    world.wait_level("hands").await;
    let wanted = world.source.rows("select id, u from hand order by id").await;
    assert_eq!(world.target.rows("select id, u from copy.hand order by id").await, wanted);
    let task = world.task("hands").await;
    assert_eq!(task["progress"]["reconnects"], 0, "{task}");
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_a_unique_key_change_hands_between_lanes_in_postgres() {
    values_change_hands(Source::postgres(PostgresVersion::V17).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_a_unique_key_change_hands_between_lanes_in_mysql() {
    values_change_hands(Source::mysql(MysqlFlavour::Mysql97).await).await;
}
