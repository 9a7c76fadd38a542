//! Two tasks between two databases, one in each direction, and two more to a third one behind them: a change arrives once, and
//! nothing goes round.

use serde_json::{Value, json};
use tidegate_harness::wait_for;

use crate::pair::PATIENCE;
use crate::world::{Source, World};

/// Rows of a transaction that PostgreSQL streams before its commit.
const MANY: u32 = 2_000;

/// From the world's source to its target, and back.
const TASKS: [&str; 2] = ["there", "back"];

pub(crate) async fn changes_of_two_directions_arrive_once_and_nothing_goes_round(world: &mut World) {
    let word = |source: &Source| if matches!(source, Source::Postgres(_)) { "schema" } else { "database" };
    for side in [&world.source, &world.target] {
        side.sql(&format!("create {} both_ways", word(side))).await;
    }
    world
        .source_sql(
            "create table both_ways.t (id int primary key, note varchar(100)); create table both_ways.beacon (id int primary key);
             insert into both_ways.t values (2, 'a'), (4, 'a')",
        )
        .await;
    let back_from = world.target.endpoint_at("back-source", "source", world.target.port());
    let back_to = world.source.endpoint_at("back-target", "target", world.source.port());
    for endpoint in [back_from, back_to] {
        world.host.post("/v1/endpoints", &endpoint).await.ok();
    }
    create(world, "there", ["source", "target"], "full-load-and-cdc", json!({"source_mark": "loop_b", "target_mark": "loop_a"})).await;
    create(world, "back", ["back-source", "back-target"], "cdc", json!({"source_mark": "loop_a", "target_mark": "loop_b"})).await;
    for task in TASKS {
        world.start_task(task).await;
        world.wait_phase(task, "replicating").await;
    }
    wait_both(world, "2a 4a").await;
    world.source_sql("insert into both_ways.t values (6, 'a')").await;
    world.target.sql("insert into both_ways.t values (1, 'b')").await;
    wait_both(world, "1b 2a 4a 6a").await;

    // Each side changes what the other one wrote, while nobody carries it.
    world.host.kill().await;
    world.source_sql("insert into both_ways.t values (8, 'a'); update both_ways.t set note = 'a1' where id = 1").await;
    world.target.sql("insert into both_ways.t values (3, 'b'); update both_ways.t set note = 'b2' where id = 2").await;
    world.target.sql("delete from both_ways.t where id = 4").await;
    world.host.restart().await;
    wait_both(world, "1a1 2b2 3b 6a 8a").await;

    for side in [&world.source, &world.target].into_iter().filter(|side| matches!(&***side, Source::Postgres(_))) {
        side.sql("alter system set logical_decoding_work_mem = '64kB'").await;
        side.sql("select pg_reload_conf()").await;
    }
    let before = count(world, 1).await;
    for (side, from, note) in [(&world.source, 10_000, "many of a"), (&world.target, 20_000, "many of b")] {
        let rows: Vec<String> = (from..from + MANY).map(|id| format!("({id}, '{note}')")).collect();
        side.sql(&format!("insert into both_ways.t values {}", rows.join(", "))).await;
    }
    world.source_sql("update both_ways.t set note = 'a6' where id = 6; delete from both_ways.t where id = 8").await;
    world.target.sql("update both_ways.t set note = 'b3' where id = 3").await;
    let after = count(world, 2).await;
    let captured: Vec<u64> = (0..2).map(|task| after[task] - before[task]).collect();
    assert_eq!(captured, [u64::from(MANY) + 2, u64::from(MANY) + 1], "each task has captured what was written at its own source");
    for side in [&world.source, &world.target] {
        let sum = side.value("select concat(count(*), ' ', min(id), ' ', max(id)) from both_ways.t where id >= 10000").await;
        assert_eq!(sum, format!("{} 10000 {}", 2 * MANY, 19_999 + MANY));
    }
    wait_both(world, "1a1 2b2 3b3 6a6").await;
    changes_go_on_through_a_database_in_the_middle(world).await;
    for task in TASKS.iter().chain(&ONWARD) {
        world.stop_task(task).await;
    }
}

/// From the world's target to a third database, and back. It is at the source's server, whose log has the marks of both.
const ONWARD: [&str; 2] = ["onward", "home"];

async fn changes_go_on_through_a_database_in_the_middle(world: &World) {
    let [onward, home] = ONWARD;
    let word = if matches!(&*world.source, Source::Postgres(_)) { "schema" } else { "database" };
    world.source_sql(&format!("create {word} third_way")).await;
    let ends = ["back-source", "back-target"];
    create_of(
        world,
        onward,
        ["both_ways", "third_way"],
        ends,
        "full-load-and-cdc",
        json!({"source_mark": "loop_c", "target_mark": "loop_d"}),
    )
    .await;
    world.start_task(onward).await;
    world.wait_phase(onward, "replicating").await;
    let ends = ["source", "target"];
    create_of(world, home, ["third_way", "both_ways"], ends, "cdc", json!({"source_mark": "loop_d", "target_mark": "loop_c"})).await;
    world.start_task(home).await;
    world.wait_phase(home, "replicating").await;
    let before = captured(world, &ONWARD, [0, 0]).await;
    world.source_sql("insert into both_ways.t values (101, 'a')").await;
    world.target.sql("insert into both_ways.t values (102, 'b')").await;
    world.source_sql("insert into third_way.t values (103, 'c')").await;
    wait_three(world, "101a 102b 103c").await;
    world.source_sql("update both_ways.t set note = 'a1' where id = 103; update third_way.t set note = 'c1' where id = 101").await;
    world.target.sql("delete from both_ways.t where id = 102").await;
    wait_three(world, "101c1 103a1").await;
    // Behind all of it in each log: one from either end to the other.
    world.source_sql("insert into both_ways.beacon values (901); insert into third_way.beacon values (902)").await;
    for schema in ["both_ways", "third_way"] {
        wait_for("both beacons", PATIENCE, async || {
            let found = world.source.value(&format!("select count(*) from {schema}.beacon where id > 900")).await;
            if found == "2" { Ok(()) } else { Err(found) }
        })
        .await;
    }
    let after = captured(world, &ONWARD, [1, 1]).await;
    // An update may be written to a target as a delete and an insert.
    let carried = [after[0] - before[0], after[1] - before[1]];
    assert!(matches!(carried, [4 | 5, 2]), "each carries what did not come from where it goes: {carried:?}");
}

/// Waits until all three have these rows between 100 and 200.
async fn wait_three(world: &World, wanted: &str) {
    let sides = [(&world.source, "both_ways"), (&world.target, "both_ways"), (&world.source, "third_way")];
    for (side, schema) in sides {
        wait_for(&format!("rows {wanted} in {schema}"), PATIENCE, async || {
            let rows = side.try_rows(&format!("select concat(id, note) from {schema}.t where id between 100 and 200 order by id")).await?;
            let found = rows.into_iter().flatten().flatten().collect::<Vec<_>>().join(" ");
            let mut failures = Vec::new();
            for task in TASKS.iter().chain(&ONWARD) {
                failures.push(world.task(task).await["failure"].clone());
            }
            if found == wanted { Ok(()) } else { Err(format!("{found} {failures:?}")) }
        })
        .await;
    }
}

async fn create(world: &World, name: &str, ends: [&str; 2], migration: &str, loopback: Value) {
    create_of(world, name, ["both_ways", "both_ways"], ends, migration, loopback).await;
}

async fn create_of(world: &World, name: &str, schemas: [&str; 2], ends: [&str; 2], migration: &str, loopback: Value) {
    let settings = json!({"loopback": loopback, "target_schema": schemas[1]});
    let task = json!({"name": name, "source": ends[0], "target": ends[1], "migration_type": migration, "settings": settings,
        "table_mappings": {"rules": [{"rule-type": "selection", "rule-id": "1", "rule-name": "1", "rule-action": "include",
            "object-locator": {"schema-name": schemas[0], "table-name": "%"}}]}});
    world.host.post("/v1/tasks", &task).await.ok();
}

/// Waits until both sides have these rows, and no others below 10,000.
async fn wait_both(world: &World, wanted: &str) {
    for side in [&world.source, &world.target] {
        wait_for(&format!("rows {wanted}"), PATIENCE, async || {
            let rows = side.try_rows("select concat(id, note) from both_ways.t where id < 10000 order by id").await?;
            let found = rows.into_iter().flatten().flatten().collect::<Vec<_>>().join(" ");
            let failures: Vec<Value> = vec![world.task("there").await["failure"].clone(), world.task("back").await["failure"].clone()];
            if found == wanted { Ok(()) } else { Err(format!("{found} {failures:?}")) }
        })
        .await;
    }
}

/// Changes of `t` that each task has captured, with everything counted that was written before: a row is sent there, one back
/// and one there again, and each task's figures have it.
async fn count(world: &World, round: u32) -> Vec<u64> {
    let sides = [(&world.source, &world.target), (&world.target, &world.source), (&world.source, &world.target)];
    for (leg, (from, to)) in sides.into_iter().enumerate() {
        let id = 10 * round + leg as u32;
        from.sql(&format!("insert into both_ways.beacon values ({id})")).await;
        wait_for(&format!("beacon {id}"), PATIENCE, async || {
            let rows = to.try_rows(&format!("select id from both_ways.beacon where id = {id}")).await?;
            if rows.is_empty() {
                Err(format!("{} {}", world.task("there").await["failure"], world.task("back").await["failure"]))
            } else {
                Ok(())
            }
        })
        .await;
    }
    captured(world, &TASKS, [2 * u64::from(round), u64::from(round)]).await
}

/// Changes of `t` that each task has captured, once it has so many of `beacon`.
async fn captured(world: &World, tasks: &[&str; 2], beacons: [u64; 2]) -> Vec<u64> {
    let mut captured = Vec::new();
    for (task, beacons) in tasks.iter().zip(beacons) {
        let told = wait_for(&format!("figures of {task}"), PATIENCE, async || {
            let tables = world.host.get(&format!("/v1/tasks/{task}/tables")).await.ok();
            let of = |name: &str, key: &str| {
                let found = tables["tables"].as_array()?.iter().find(|table| table["table"] == name)?;
                found[key].as_u64()
            };
            let changes = |name: &str| ["inserts", "updates", "deletes"].iter().filter_map(|key| of(name, key)).sum::<u64>();
            if changes("beacon") >= beacons { Ok(changes("t")) } else { Err(tables.to_string()) }
        })
        .await;
        captured.push(told);
    }
    captured
}
