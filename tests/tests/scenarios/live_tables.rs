//! Tables that come to a running task, and go: added, loaded again, suspended, left out. The others stream on.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tidegate_harness::{MysqlFlavour, PostgresVersion, wait_for};

use crate::world::{Source, World, seed};

const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until a query on the target answers `wanted`. In MySQL and MariaDB a table that is loaded again is away for a moment.
async fn wait_target(world: &World, query: &str, wanted: &str) {
    wait_for(query, PATIENCE, async || {
        let found = world.target.try_rows(query).await;
        let task = world.task("live").await;
        assert_ne!(task["status"], "failed", "{}", task["failure"]);
        match found.as_deref() {
            Ok([row]) if row[0].as_deref() == Some(wanted) => Ok(()),
            _ => Err(found),
        }
    })
    .await;
}

/// What the target remembers of a table; empty for nothing.
async fn state(world: &World, table: &str) -> String {
    let query = format!("select coalesce(max(state), '') from tidegate.table_state where table_name = '{table}'");
    world.target.value(&query).await
}

/// A rule that leaves a table out.
fn without(world: &World, table: &str) -> Value {
    // Every rule needs an id of its own.
    let id = table.bytes().fold(1_000_u32, |id, byte| id.wrapping_mul(31).wrapping_add(byte.into()) % 1_000_000);
    json!({"rule-type": "selection", "rule-id": (id + 1_000).to_string(), "rule-name": "not yet", "rule-action": "exclude",
        "object-locator": {"schema-name": world.source.schema(), "table-name": table}})
}

/// Gives a running task other mappings.
async fn select(world: &World, task: &str, more: Vec<Value>) {
    let mappings = world.mappings(more);
    world.host.patch(&format!("/v1/tasks/{task}"), &json!({"table_mappings": mappings})).await.ok();
}

/// Something at the source that keeps a load of the table `big` from its rows until it is let go.
enum Hold {
    /// An open transaction that has written to the table: a snapshot waits for its end.
    Postgres(tokio_postgres::Client),
    /// A lock that readers wait for.
    Mysql(mysql_async::Conn),
}

impl Hold {
    async fn take(source: &Source) -> Hold {
        use mysql_async::prelude::Queryable;
        match source {
            Source::Postgres(server) => {
                let client = server.client().await;
                client.batch_execute("begin; insert into big values (-1, 'before')").await.expect("the row is new");
                Hold::Postgres(client)
            }
            Source::Mysql(server) => {
                let mut conn = server.client().await;
                conn.query_drop("use test").await.expect("the database exists");
                conn.query_drop("lock tables big write").await.expect("nobody else locks");
                Hold::Mysql(conn)
            }
        }
    }

    /// Writes once more and lets go.
    async fn let_go(self) {
        use mysql_async::prelude::Queryable;
        match self {
            Hold::Postgres(client) => client.batch_execute("insert into big values (-2, 'after'); commit").await.expect("the row is new"),
            Hold::Mysql(mut conn) => {
                conn.query_drop("insert into big values (-1, 'before'), (-2, 'after')").await.expect("the rows are new");
                conn.query_drop("unlock tables").await.expect("it was locked");
            }
        }
    }
}

/// 20,000 numbers, as a table for the clause FROM.
fn numbers(source: &Source) -> &'static str {
    match source {
        Source::Postgres(_) => "generate_series(1, 20000) n(seq)",
        Source::Mysql(_) => {
            "(with recursive n(seq) as (select 1 union all select seq + 1 from n where seq < 900) \
            select a.seq * 900 + b.seq seq from n a, n b limit 20000) n"
        }
    }
}

/// A task that streams `small` and not `big`, which has 20,000 rows.
async fn streaming_small(source: Source) -> World {
    streaming_small_into(source, Source::postgres(PostgresVersion::V17).await).await
}

async fn streaming_small_into(source: Source, target: Source) -> World {
    let numbers = numbers(&source);
    let world = World::between(source, target).await;
    world.source_sql("create table small (id integer primary key); create table big (id integer primary key, v varchar(20))").await;
    world.source_sql(&format!("insert into big select seq, 'old' from {numbers}")).await;
    let not_big = vec![without(&world, "big")];
    // No table goes here: one that is only left out must not be taken for one that went.
    let settings = json!({"chunk_rows": 1000, "ddl": {"drop_table": "stop", "rename_table": "stop"}});
    world.create_task_with("live", "full-load-and-cdc", "drop-and-create", settings, not_big).await;
    world.start_task("live").await;
    world.wait_phase("live", "replicating").await;
    world
}

const SUM: &str = "select concat(count(*), ' ', sum(id), ' ', sum(case when v = 'new' then 1 else 0 end)) from copy.big";

/// Changes of `small` arrive while `big`, which is held at the source, is still to be loaded.
async fn small_streams_while_big_is_held(world: &World, hold: Hold, from: u32) {
    wait_for("big to be on its way", PATIENCE, async || {
        let found = state(world, "big").await;
        if matches!(found.as_str(), "waiting" | "loading") { Ok(()) } else { Err(found) }
    })
    .await;
    for id in from..from + 3 {
        world.source_sql(&format!("insert into small values ({id})")).await;
        wait_target(world, &format!("select count(*) from copy.small where id = {id}"), "1").await;
    }
    let found = state(world, "big").await;
    assert!(matches!(found.as_str(), "waiting" | "loading"), "big is {found}");
    hold.let_go().await;
    // Until then the target's table may be missing.
    wait_for("big to be loaded", PATIENCE, async || {
        let found = state(world, "big").await;
        if found == "loaded" { Ok(()) } else { Err(found) }
    })
    .await;
}

async fn an_added_table_and_a_reload_hold_nobody_up(source: Source) -> World {
    an_added_table_and_a_reload_hold_nobody_up_into(source, Source::postgres(PostgresVersion::V17).await).await
}

async fn an_added_table_and_a_reload_hold_nobody_up_into(source: Source, target: Source) -> World {
    let world = streaming_small_into(source, target).await;
    let hold = Hold::take(&world.source).await;
    select(&world, "live", Vec::new()).await;
    small_streams_while_big_is_held(&world, hold, 1).await;
    world.source_sql("update big set v = 'new' where id % 10 = 0 and id > 0").await;
    let expected = world.source.value(SUM_AT_SOURCE).await;
    wait_target(&world, SUM, &expected).await;
    world.wait_phase("live", "replicating").await;

    world.source_sql("delete from big where id < 0").await;
    wait_target(&world, "select count(*) from copy.big where id < 0", "0").await;
    // Rows that only a load brings back: the log has nothing of them.
    world.target.sql("delete from copy.big where id % 2 = 0").await;
    let hold = Hold::take(&world.source).await;
    world.host.post("/v1/tasks/live/tables/reload", &json!({"tables": [{"schema": world.source.schema(), "table": "big"}]})).await.ok();
    small_streams_while_big_is_held(&world, hold, 10).await;
    world.source_sql("delete from big where id % 7 = 0; update big set v = 'new' where id % 3 = 0").await;
    let expected = world.source.value(SUM_AT_SOURCE).await;
    wait_target(&world, SUM, &expected).await;
    world.wait_phase("live", "replicating").await;
    wait_target(&world, "select count(*) from copy.small", "6").await;
    assert_eq!(state(&world, "big").await, "loaded");
    world
}

/// SN-004: MySQL's and MariaDB's readers hold the table for one chunk each, and TRUNCATE gets its turn between two of them.
async fn big_is_emptied_while_it_loads(world: &World) {
    let chunks = async |of: &str| {
        let sql = format!("select count(*) from tidegate.chunk where table_name = 'big' and {of}");
        world.target.value(&sql).await.parse::<u32>().expect("a count")
    };
    for attempt in 1.. {
        world.host.post("/v1/tasks/live/tables/reload", &json!({"tables": [{"schema": "test", "table": "big"}]})).await.ok();
        wait_for("big to be loaded in part", PATIENCE, async || {
            let found = (state(world, "big").await, chunks("loaded_at is not null").await);
            if found.0 == "loading" && found.1 > 0 { Ok(()) } else { Err(found) }
        })
        .await;
        world
            .source_sql("truncate table big; insert into big values (1, 'new'), (15000, 'new'); update big set v = 'newer' where id = 1")
            .await;
        let left = chunks("loaded_at is null").await;
        let expected = world.source.value(SUM_AT_SOURCE).await;
        wait_target(world, SUM, &expected).await;
        world.wait_phase("live", "replicating").await;
        wait_target(world, SUM, &expected).await;
        println!("{left} chunks were not loaded when the table had been emptied");
        if left > 0 {
            break;
        }
        assert!(attempt < 4, "the load was always over before the table was emptied");
        let refill = format!("truncate table big; insert into big select seq, 'old' from {}", numbers(&world.source));
        world.source_sql(&refill).await;
        wait_target(world, "select count(*) from copy.big", "20000").await;
    }
}

const SUM_AT_SOURCE: &str = "select concat(count(*), ' ', sum(id), ' ', sum(case when v = 'new' then 1 else 0 end)) from big";

/// PG-080 as the whole product: the transaction that holds the load has written to the table before it was added.
#[tokio::test(flavor = "multi_thread")]
async fn an_added_table_and_a_reload_hold_nobody_up_from_postgres_15() {
    an_added_table_and_a_reload_hold_nobody_up(Source::postgres(PostgresVersion::V15).await).await;
}

/// PG-105: a slot is made while a transaction is open, and waits for it. What a role allows its statements is no limit for that.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes as long as the transaction is open, ten minutes"]
async fn a_transaction_of_ten_minutes_holds_up_the_added_table_alone_and_no_stop() {
    let seconds = std::env::var("TIDEGATE_LONG_SECONDS").map_or(600, |text| text.parse().expect("TIDEGATE_LONG_SECONDS is a number"));
    let source = Source::postgres(PostgresVersion::V15).await;
    source.sql("alter role postgres set statement_timeout = '20s'").await;
    let world = streaming_small(source).await;
    let hold = Hold::take(&world.source).await;
    select(&world, "live", Vec::new()).await;
    let since = Instant::now();
    let (mut id, mut stopped_at) = (100, Instant::now());
    while since.elapsed() < Duration::from_secs(seconds) {
        id += 1;
        world.source_sql(&format!("insert into small values ({id})")).await;
        wait_target(&world, &format!("select count(*) from copy.small where id = {id}"), "1").await;
        let found = state(&world, "big").await;
        assert!(matches!(found.as_str(), "" | "waiting" | "loading"), "big is {found}");
        if stopped_at.elapsed() > Duration::from_secs(seconds / 4) {
            stopped_at = Instant::now();
            world.stop_task("live").await;
            println!("{id}: stopped in {:?}", stopped_at.elapsed());
            world.start_task("live").await;
        }
    }
    println!("{} rows meanwhile; the task: {}", id - 100, world.task("live").await["progress"]);
    small_streams_while_big_is_held(&world, hold, 1).await;
    let expected = world.source.value(SUM_AT_SOURCE).await;
    wait_target(&world, SUM, &expected).await;
    world.wait_phase("live", "replicating").await;
    wait_target(&world, "select count(*) from copy.small", &(id - 100 + 3).to_string()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_added_table_and_a_reload_hold_nobody_up_from_postgres_18() {
    an_added_table_and_a_reload_hold_nobody_up(Source::postgres(PostgresVersion::V18).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_added_table_and_a_reload_hold_nobody_up_from_postgres_to_mysql() {
    let (source, target) = tokio::join!(Source::postgres(PostgresVersion::V17), Source::mysql(MysqlFlavour::Mysql97));
    an_added_table_and_a_reload_hold_nobody_up_into(source, target).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_added_table_and_a_reload_hold_nobody_up_from_mysql_to_mariadb() {
    let (source, target) = tokio::join!(Source::mysql(MysqlFlavour::Mysql97), Source::mysql(MysqlFlavour::Mariadb1011));
    let world = an_added_table_and_a_reload_hold_nobody_up_into(source, target).await;
    big_is_emptied_while_it_loads(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_added_table_and_a_reload_hold_nobody_up_from_mariadb() {
    let world = an_added_table_and_a_reload_hold_nobody_up(Source::mysql(MysqlFlavour::Mariadb1011).await).await;
    big_is_emptied_while_it_loads(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_added_table_and_a_reload_hold_nobody_up_from_mysql() {
    let world = an_added_table_and_a_reload_hold_nobody_up(Source::mysql(MysqlFlavour::Mysql97).await).await;
    big_is_emptied_while_it_loads(&world).await;
}

/// Half of the workload's tables are added while four writers work, the host is killed again and again until they are
/// loaded, and a reload of others meets the next kills.
async fn kills_while_tables_are_added(source: Source, target: Source) {
    let seed = seed();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut world = World::between(source, target).await;
    world.prepare_workload(seed, 30_000).await;
    let (first, later): (Vec<_>, Vec<_>) = world.workload_tables().into_iter().enumerate().partition(|(place, _)| place % 2 == 0);
    let out = later.iter().map(|(_, table)| without(&world, table)).collect();
    let settings = json!({"chunk_rows": 1000, "load_lanes": 2});
    world.create_task_with("live", "full-load-and-cdc", "drop-and-create", settings, out).await;
    world.start_task("live").await;
    world.wait_phase("live", "replicating").await;
    let workload = world.run_workload(seed, 4).await;
    let mut states = std::collections::BTreeMap::<String, u32>::new();
    for round in 0..12 {
        match round {
            0 => select(&world, "live", Vec::new()).await,
            6 => {
                world.wait_phase("live", "replicating").await;
                let schema = world.source.schema();
                let tables: Vec<_> = first.iter().map(|(_, table)| json!({"schema": schema, "table": table})).collect();
                world.host.post("/v1/tasks/live/tables/reload", &json!({"tables": tables})).await.ok();
            }
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(50..1500))).await;
        for row in world.target.rows("select distinct state from tidegate.table_state").await {
            *states.entry(row[0].clone().expect("a state")).or_default() += 1;
        }
        world.kill_and_restart().await;
    }
    println!("killed while {states:?}");
    let transactions = workload.stop().await;
    world.wait_level("live").await;
    let comparison = world.compare().await;
    println!("{transactions} transactions, {comparison}");
    assert!(states.keys().any(|state| state == "loading"), "no kill met a load: {states:?}");
    assert_eq!(comparison.differences, 0, "{comparison}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_while_tables_are_added_end_equal_from_postgres() {
    kills_while_tables_are_added(Source::postgres(PostgresVersion::V15).await, Source::postgres(PostgresVersion::V17).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_while_tables_are_added_end_equal_from_postgres_to_mariadb() {
    kills_while_tables_are_added(Source::postgres(PostgresVersion::V17).await, Source::mysql(MysqlFlavour::Mariadb1011).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_while_tables_are_added_end_equal_from_mariadb() {
    kills_while_tables_are_added(Source::mysql(MysqlFlavour::Mariadb1011).await, Source::postgres(PostgresVersion::V17).await).await;
}

/// PG-081 in our own words: what happens to a table while it is not in the task is in the target once it is again.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_left_out_for_a_while_misses_nothing() {
    let world = streaming_small(Source::postgres(PostgresVersion::V18).await).await;
    select(&world, "live", Vec::new()).await;
    wait_for("big to be loaded", PATIENCE, async || {
        let found = state(&world, "big").await;
        if found == "loaded" { Ok(()) } else { Err(found) }
    })
    .await;
    // By rules that name each table that they want.
    let mut only_small = world.mappings(Vec::new());
    only_small["rules"][0]["object-locator"]["table-name"] = json!("small");
    world.host.patch("/v1/tasks/live", &json!({"table_mappings": only_small})).await.ok();
    wait_for("the publication to be without big", PATIENCE, async || {
        let found = world.source.value("select string_agg(tablename, ' ') from pg_publication_tables").await;
        if found == "small" { Ok(()) } else { Err(found) }
    })
    .await;
    world.source_sql("delete from big where id <= 10; insert into big values (30000, 'new'); insert into small values (1)").await;
    wait_target(&world, "select count(*) from copy.small", "1").await;
    assert_eq!(world.target.value("select count(*) from copy.big").await, "20000");
    select(&world, "live", Vec::new()).await;
    let expected = world.source.value(SUM_AT_SOURCE).await;
    wait_target(&world, SUM, &expected).await;
}

async fn a_table_that_cannot_go_on_is_suspended_alone(target: Source) {
    let world = World::between(Source::postgres(PostgresVersion::V15).await, target).await;
    world.source_sql("create table small (id integer primary key); create table big (id integer primary key, v varchar(20))").await;
    world.source_sql("insert into big values (1, 'old')").await;
    world.create_task("live", "full-load-and-cdc", "drop-and-create", json!({"table_errors": "suspend-table"})).await;
    world.start_task("live").await;
    world.wait_phase("live", "replicating").await;
    world.target.sql("alter table copy.big add constraint short check (v <> 'bad')").await;
    world.source_sql("begin; insert into big values (2, 'bad'); insert into small values (1); commit; insert into small values (2)").await;
    wait_target(&world, "select count(*) from copy.small", "2").await;
    assert_eq!(state(&world, "big").await, "suspended");
    assert_eq!(world.target.value("select count(*) from copy.big").await, "1");
    // The catalog hears of it once a second.
    wait_for("the failure to be shown", PATIENCE, async || {
        let tables = world.host.get("/v1/tasks/live/tables").await.ok();
        let shown = tables["tables"].as_array().expect("tables").iter().find(|table| table["table"] == "big").cloned();
        match shown.as_ref().and_then(|table| table["failure"].as_str()) {
            Some(failure) => {
                assert!(!failure.contains("bad"), "{failure}");
                Ok(())
            }
            None => Err(format!("{shown:?}")),
        }
    })
    .await;

    world.target.sql("alter table copy.big drop constraint short").await;
    world.source_sql("insert into big values (3, 'new')").await;
    world.host.post("/v1/tasks/live/tables/reload", &json!({"tables": [{"schema": "public", "table": "big"}]})).await.ok();
    wait_target(&world, "select count(*) from copy.big", "3").await;
    world.source_sql("insert into big values (4, 'new')").await;
    wait_target(&world, "select count(*) from copy.big", "4").await;
    assert_eq!(world.task("live").await["status"], "running");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_cannot_go_on_is_suspended_alone_and_comes_back_with_a_reload() {
    a_table_that_cannot_go_on_is_suspended_alone(Source::postgres(PostgresVersion::V17).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_cannot_go_on_is_suspended_alone_in_mysql_and_mariadb() {
    tokio::join!(async { a_table_that_cannot_go_on_is_suspended_alone(Source::mysql(MysqlFlavour::Mysql97).await).await }, async {
        a_table_that_cannot_go_on_is_suspended_alone(Source::mysql(MysqlFlavour::Mariadb118).await).await
    },);
}
