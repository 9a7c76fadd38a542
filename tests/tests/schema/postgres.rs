//! From PostgreSQL to PostgreSQL: the catalogues of both sides are equal, whatever happens in between.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_harness::catalogue::{catalogue, differences, positions};
use tidegate_harness::{Database, PostgresServer, PostgresVersion, TablePair, compare_databases, wait_for};

use crate::rich::{RICH, TRIPPING};
use crate::world::{Source, World};

const PATIENCE: Duration = Duration::from_secs(180);

const TABLES: [&str; 8] = ["customer", "Order", "item", "a", "b", "swap", "filler", "marker"];

fn source(world: &World) -> &PostgresServer {
    let Source::Postgres(server) = &*world.source else { unreachable!("the source is PostgreSQL") };
    server
}

fn target(world: &World) -> &PostgresServer {
    let Source::Postgres(server) = &*world.target else { unreachable!("the target is PostgreSQL") };
    server
}

/// A task over the schema `shop`, which keeps its name.
async fn create(world: &World, name: &str, migration: &str, preparation: &str, settings: Value) {
    let rules = json!([{"rule-type": "selection", "rule-id": "1", "rule-name": "all", "rule-action": "include",
        "object-locator": {"schema-name": "shop", "table-name": "%"}}]);
    let task = json!({"name": name, "source": "source", "target": "target", "migration_type": migration, "preparation": preparation,
        "table_mappings": {"rules": rules}, "settings": settings});
    world.host.post("/v1/tasks", &task).await.ok();
}

/// Brings the target to the source's end and moves its counters.
async fn cut_over(world: &World, task: &str) -> Value {
    world.wait_phase(task, "replicating").await;
    wait_for("the cut-over", PATIENCE, async || {
        let answer = world.host.post(&format!("/v1/tasks/{task}/cut-over"), &json!({})).await;
        if answer.status == 200 { Ok(answer.body) } else { Err((answer.body, world.task(task).await, world.host.log())) }
    })
    .await
}

async fn check_rows(world: &World) {
    let pairs: Vec<TablePair> = TABLES.iter().map(|table| TablePair::new(("shop", table), ("shop", table))).collect();
    let found = compare_databases(&Database::Postgres(source(world)), &Database::Postgres(target(world)), &pairs).await;
    assert_eq!(found.differences, 0, "{found}");
}

async fn check_catalogues(world: &World) {
    let (wanted, found) = (catalogue(source(world), "shop").await, catalogue(target(world), "shop").await);
    let differences = differences(&wanted, &found);
    assert!(differences.is_empty(), "{}\n{}", differences.join("\n"), omitted(world).await.join("\n"));
}

async fn check_positions(world: &World) {
    let (wanted, found) = (positions(source(world), "shop").await, positions(target(world), "shop").await);
    assert_eq!(differences(&wanted, &found), Vec::<String>::new());
}

/// What the target remembers as not carried.
async fn omitted(world: &World) -> Vec<String> {
    let rows =
        target(world).rows("select kind || ' ' || name || ': ' || reason from tidegate.object where state = 'omitted' order by 1").await;
    rows.into_iter().filter_map(|mut row| row.remove(0)).collect()
}

async fn everything_arrives(version: PostgresVersion) {
    let mut world = World::start(Source::postgres(version).await, PostgresVersion::V18).await;
    world.source_sql(RICH).await;
    // PG-040: what is computed when it is read is in no log and in no row.
    let has_virtual = version == PostgresVersion::V18;
    if has_virtual {
        world
            .source_sql(
                "create table shop.virt (id int primary key, a int, twice int generated always as (a * 2) virtual, b text);
                 insert into shop.virt (id, a, b) values (1, 1, 'a'), (2, null, 'b'), (3, 3, 'c')",
            )
            .await;
    }
    create(&world, "all", "full-load-and-cdc", "drop-and-create", json!({})).await;
    let findings = world.host.post("/v1/tasks/all/check", &json!({})).await.ok();
    assert!(findings["passed"] == true && !findings.to_string().contains("not_carried"), "{findings}");
    world.host.post("/v1/tasks/all/start", &json!({})).await.ok();
    world.wait_phase("all", "replicating").await;
    check_catalogues(&world).await;

    for change in TRIPPING {
        world.source_sql(&format!("begin; {change}; commit")).await;
    }
    if has_virtual {
        world.source_sql("update shop.virt set a = 5 where id = 2; delete from shop.virt where id = 1; insert into shop.virt (id, b) values (4, 'd')").await;
    }
    let done = cut_over(&world, "all").await;
    if has_virtual {
        let rows = "select id, a, twice, b from shop.virt order by id";
        assert_eq!(world.target.rows(rows).await, world.source.rows(rows).await);
        assert_eq!(world.target.value("select twice from shop.virt where id = 2").await, "10");
    }
    assert!(done["counters_moved"].as_u64().is_some_and(|moved| moved > 0), "{done}");
    check_rows(&world).await;
    check_catalogues(&world).await;
    // The rows that were written by hand are above their sequences, here as there: the target's stand behind them.
    assert_eq!(world.target.value("select nextval(pg_get_serial_sequence('shop.customer', 'id'))").await, "100001");
    world.source_sql("select setval(pg_get_serial_sequence('shop.customer', 'id'), 100001)").await;
    let order = "select nextval(pg_get_serial_sequence('shop.\"Order\"', 'id')) > 7777";
    assert_eq!(world.target.value(order).await, "t");
    world
        .source_sql(
            "select setval(pg_get_serial_sequence('shop.\"Order\"', 'id'), 8000); select nextval('shop.circle'), nextval('shop.unused')",
        )
        .await;
    world.source_sql("insert into shop.item (sku) values ('burnt'); delete from shop.item where sku = 'burnt'").await;

    // A stop moves them too.
    world.host.post("/v1/tasks/all/stop", &json!({})).await.ok();
    world.wait_stopped("all").await;
    check_positions(&world).await;

    // A table that others refer to is loaded again, all are loaded again, and a kill changes nothing.
    world.host.post("/v1/tasks/all/start", &json!({})).await.ok();
    world.wait_phase("all", "replicating").await;
    let list = json!({"tables": [{"schema": "shop", "table": "customer"}, {"schema": "shop", "table": "swap"}]});
    world.host.post("/v1/tasks/all/tables/reload", &list).await.ok();
    cut_over(&world, "all").await;
    check_catalogues(&world).await;
    world.kill_and_restart().await;
    cut_over(&world, "all").await;
    check_catalogues(&world).await;
    world.host.post("/v1/tasks/all/stop", &json!({})).await.ok();
    world.wait_stopped("all").await;
    world.host.post("/v1/tasks/all/reload", &json!({})).await.ok();
    cut_over(&world, "all").await;
    check_rows(&world).await;
    check_catalogues(&world).await;
    check_positions(&world).await;
    assert_eq!(omitted(&world).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_schema_arrives_from_postgres_15() {
    everything_arrives(PostgresVersion::V15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_schema_arrives_from_postgres_17() {
    everything_arrives(PostgresVersion::V17).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_schema_arrives_from_postgres_18() {
    everything_arrives(PostgresVersion::V18).await;
}

/// The host is killed while indexes are built; the next one goes on behind the last.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_build_goes_on() {
    let mut world = World::start(Source::postgres(PostgresVersion::V17).await, PostgresVersion::V17).await;
    let columns: Vec<String> = (0..30).map(|number| format!("c{number} int default {number}")).collect();
    let indexes: Vec<String> = (0..30).map(|number| format!("create index wide_c{number} on shop.wide (c{number})")).collect();
    world
        .source_sql(&format!(
            "create schema shop; create table shop.wide (id int primary key, u int unique, {}); {};
             insert into shop.wide (id, u) select g, -g from generate_series(1, 60000) g;
             create table shop.child (id int primary key, wide int references shop.wide); insert into shop.child values (1, 1)",
            columns.join(", "),
            indexes.join("; ")
        ))
        .await;
    create(&world, "all", "full-load-and-cdc", "drop-and-create", json!({})).await;
    world.host.post("/v1/tasks/all/start", &json!({})).await.ok();
    let mut kills = 0;
    for wanted in [3, 9, 20] {
        let built = wait_for("some indexes", PATIENCE, async || {
            let known = target(&world).rows("select to_regclass('tidegate.object')::text").await;
            if known != [[Some("tidegate.object".to_owned())]] {
                return Err(0);
            }
            let built = world.target.value("select count(*) from tidegate.object where kind = 'index'").await.parse().unwrap_or(0);
            if built >= wanted { Ok(built) } else { Err(built) }
        })
        .await;
        kills += u32::from(built < 30);
        world.kill_and_restart().await;
    }
    assert!(kills >= 2, "the builds were too fast to be killed: {kills}");
    cut_over(&world, "all").await;
    check_catalogues(&world).await;
    assert_eq!(world.target.value("select count(*) from shop.wide").await, "60000");
}

/// DMS's minimum, and tables of the user, which nobody changes.
#[tokio::test(flavor = "multi_thread")]
async fn a_setting_and_the_users_own_tables_keep_objects_away() {
    let world = World::start(Source::postgres(PostgresVersion::V17).await, PostgresVersion::V17).await;
    world.source_sql(RICH).await;
    create(&world, "least", "full-load", "drop-and-create", json!({"schema": "minimal"})).await;
    let findings = world.host.post("/v1/tasks/least/check", &json!({})).await.ok();
    assert!(findings.to_string().contains("generated_columns"), "{findings}");
    world.host.post("/v1/tasks/least/start", &json!({})).await.ok();
    world.wait_stopped("least").await;
    let least = catalogue(target(&world), "shop").await;
    let more = |line: &&String| {
        line.starts_with("sequence") || line.contains("FOREIGN KEY") || line.contains("CHECK") || line.contains("identity a")
    };
    assert_eq!(least.iter().find(more), None);
    assert!(least.iter().filter(|line| line.starts_with("index")).all(|line| line.contains("_pkey")), "{least:#?}");

    // The same tables are now the user's: a task that keeps definitions adds nothing to them but positions.
    world
        .target
        .sql("alter table shop.filler add constraint own unique (v); alter table shop.item alter id add generated by default as identity")
        .await;
    let before = catalogue(target(&world), "shop").await;
    create(&world, "keep", "full-load-and-cdc", "truncate-before-load", json!({})).await;
    world.host.post("/v1/tasks/keep/start", &json!({})).await.ok();
    cut_over(&world, "keep").await;
    assert_eq!(differences(&before, &catalogue(target(&world), "shop").await), Vec::<String>::new());
    assert_eq!(world.target.value("select nextval(pg_get_serial_sequence('shop.item', 'id'))").await, "41");
    let bad = world.host.patch("/v1/tasks/least", &json!({"settings": {"schema": "some"}})).await;
    assert!(bad.status == 400 && bad.body.to_string().contains("none of full, minimal"), "{} {}", bad.status, bad.body);
}

/// As where two tables exchanged their names at the source: their keys keep theirs, and one stands in the way of the other's in the target.
#[tokio::test(flavor = "multi_thread")]
async fn generated_columns_stand_in_their_places_where_the_name_of_the_key_is_taken() {
    let world = World::start(Source::postgres(PostgresVersion::V17).await, PostgresVersion::V17).await;
    world
        .source_sql(
            "create schema shop;
             create table shop.one (n int, twice int generated always as (n * 2) stored, id int constraint taken primary key);
             insert into shop.one (n, id) values (21, 1)",
        )
        .await;
    world.target.sql("create schema shop; create table shop.another (id int constraint taken primary key)").await;
    create(&world, "all", "full-load", "drop-and-create", json!({})).await;
    world.host.post("/v1/tasks/all/start", &json!({})).await.ok();
    world.wait_stopped("all").await;
    let columns = "select string_agg(attname, ',' order by attnum) from pg_attribute where attrelid = 'shop.one'::regclass and attnum > 0";
    assert_eq!(world.target.value(columns).await, "n,twice,id");
    assert_eq!(world.target.value("select twice from shop.one where id = 1").await, "42");
}

/// Renames are applied to every object; what uses a dropped or renamed column in a text of its own is listed.
#[tokio::test(flavor = "multi_thread")]
async fn renames_reach_every_object_and_the_rest_is_listed() {
    let world = World::start(Source::postgres(PostgresVersion::V17).await, PostgresVersion::V17).await;
    world
        .source_sql(
            "create table parent (id int generated always as identity primary key, code text not null unique, gone int);
             create table child (id serial primary key, parent int references parent on delete cascade, code text, n int default 5, gone int,
                constraint bounded check (n between 0 and 9), constraint odd check (length(code) > 0), constraint lost check (gone > 0));
             create index child_n on child (n desc, code); create index child_part on child (code) where n > 3; create index child_gone on child (gone);
             create table outside (id int primary key); alter table child add column o int references outside;
             create trigger t after insert on child for each row execute function suppress_redundant_updates_trigger();
             alter table child disable trigger t;
             insert into parent (code) values ('a'), ('b'); insert into child (parent, code) values (1, 'x'), (2, 'y');
             create table marker (id integer primary key)",
        )
        .await;
    let locator = |table: &str, column: &str| json!({"schema-name": "public", "table-name": table, "column-name": column});
    let rule = |id: u32, target: &str, action: &str, locator: Value, value: &str| {
        json!({"rule-type": "transformation", "rule-id": id.to_string(), "rule-name": id.to_string(), "rule-target": target, "rule-action": action,
            "object-locator": locator, "value": value})
    };
    let rules = vec![
        json!({"rule-type": "selection", "rule-id": "9", "rule-name": "9", "rule-action": "exclude",
            "object-locator": {"schema-name": "public", "table-name": "outside"}}),
        rule(10, "table", "rename", json!({"schema-name": "public", "table-name": "child"}), "kid"),
        rule(11, "column", "rename", locator("child", "n"), "number"),
        rule(12, "column", "rename", locator("parent", "code"), "token"),
        json!({"rule-type": "transformation", "rule-id": "13", "rule-name": "13", "rule-target": "column", "rule-action": "remove-column",
            "object-locator": locator("child", "gone")}),
    ];
    world.create_task_with("renamed", "full-load-and-cdc", "drop-and-create", json!({}), rules).await;
    let findings = world.host.post("/v1/tasks/renamed/check", &json!({})).await.ok();
    let listed = ["child_part", "child_gone", "lost", "child_o_fkey", "trigger"];
    for name in listed {
        assert!(findings.to_string().contains(name), "{name}: {findings}");
    }
    world.start_task("renamed").await;
    world.wait_phase("renamed", "replicating").await;
    world.source_sql("insert into child (parent, code) values (1, 'z'); delete from parent where id = 2").await;
    world.wait_level("renamed").await;
    let found = catalogue(target(&world), "copy").await;
    let wanted = [
        "constraint kid bounded CHECK (((number >= 0) AND (number <= 9))) valid t",
        "constraint kid odd CHECK ((length(code) > 0)) valid t",
        "constraint kid child_parent_fkey FOREIGN KEY (parent) REFERENCES copy.parent(id) ON DELETE CASCADE valid t",
        "constraint parent parent_code_key UNIQUE (token) valid t",
        "index CREATE INDEX child_n ON copy.kid USING btree (number DESC, code) valid true",
        "column kid.number integer default 5 identity  generated  collate - comment -",
        "column kid.id integer not null default nextval('copy.child_id_seq'::regclass) identity  generated  collate - comment -",
    ];
    for line in wanted {
        assert!(found.iter().any(|found| found == line), "{line}\n{found:#?}\n{:#?}", omitted(&world).await);
    }
    let events = world.host.get("/v1/tasks/renamed/events?limit=1000").await.ok().to_string();
    for name in listed {
        assert!(events.contains(name), "{name}: {events}");
    }
    assert_eq!(world.target.value("select string_agg(code, ',' order by code) from copy.kid").await, "x,z");
}
