//! Another version of a module in a running task. See `row_errors` for what the versions of `picky` do.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_harness::{MysqlFlavour, PostgresVersion, wait_for};

use crate::row_errors::{errors, picky, picky_rule, upload};
use crate::world::{Source, World};

const PATIENCE: Duration = Duration::from_secs(120);

async fn started(policy: &str) -> World {
    started_with(policy, |_| vec![picky_rule("public")]).await
}

/// The same with rules that are made when the first version is uploaded, of its digest.
async fn started_with(policy: &str, rules: impl FnOnce(String) -> Vec<Value>) -> World {
    started_into(Source::postgres(PostgresVersion::V17).await, policy, rules).await
}

async fn started_into(target: Source, policy: &str, rules: impl FnOnce(String) -> Vec<Value>) -> World {
    let world = World::between(Source::postgres(PostgresVersion::V15).await, target).await;
    world
        .source_sql(
            "create table item_a (id integer primary key, note text); create table item_b (id integer primary key, note text);
             create table marker (id integer primary key);
             insert into item_a values (1, 'a'), (2, 'a bomb'); insert into item_b values (1, 'b')",
        )
        .await;
    let rules = rules(upload(&world, b'1').await);
    let settings = json!({"row_errors": {"data": policy}});
    world.create_task_with("swaps", "full-load-and-cdc", "do-nothing", settings, rules).await;
    world.start_task("swaps").await;
    world
}

async fn swap(world: &World, body: &Value) -> Value {
    world.host.post("/v1/tasks/swaps/modules/picky/swap", body).await.ok()
}

async fn wait_note(world: &World, table: &str, id: i64, wanted: &str) {
    wait_for(&format!("{table} {id} to be {wanted}"), PATIENCE, async || {
        let task = world.task("swaps").await;
        assert_ne!(task["status"], "failed", "{}\n{}", task["failure"], world.host.log());
        match world.target.rows(&format!("select note from copy.{table} where id = {id}")).await.first() {
            Some(row) if row[0].as_deref() == Some(wanted) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

async fn a_corrected_version_is_tried_and_replays(target: Source) {
    let mut world = started_into(target, "log", |_| vec![picky_rule("public")]).await;
    world.wait_level("swaps").await;
    assert_eq!(errors(&world, "swaps").await.len(), 1);

    let corrected = upload(&world, b'2').await;
    let tried = swap(&world, &json!({"share_of_tables": 0.5})).await;
    assert_eq!(tried, json!({"module": "picky", "digest": corrected, "tables": [{"schema": "public", "table": "item_a"}]}));
    world.source_sql("insert into item_a values (3, 'bomb three'); insert into item_b values (3, 'quiet')").await;
    wait_note(&world, "item_a", 3, "BOMB THREE").await;
    wait_note(&world, "item_b", 3, "QUIET").await;
    // The next process knows which tables have it, and nobody deletes it meanwhile.
    world.kill_and_restart().await;
    world.source_sql("insert into item_a values (6, 'bomb six'); insert into item_b values (6, 'quiet six')").await;
    wait_note(&world, "item_a", 6, "BOMB SIX").await;
    wait_note(&world, "item_b", 6, "QUIET SIX").await;
    upload(&world, b'3').await;
    let deleted = world.host.delete(&format!("/v1/modules/picky/versions/{corrected}")).await;
    assert_eq!((deleted.status, &deleted.body["code"]), (409, &json!("module_version_in_use")));

    let all = swap(&world, &json!({"version": corrected})).await;
    assert_eq!(all["tables"].as_array().map(Vec::len), Some(2));
    world.source_sql("insert into item_b values (4, 'bomb four')").await;
    wait_note(&world, "item_b", 4, "BOMB FOUR").await;
    let replayed = world.host.post("/v1/tasks/swaps/errors/replay", &json!({})).await.ok();
    assert_eq!(replayed, json!({"replayed": 1, "rejected": 0, "left": 0}));
    wait_note(&world, "item_a", 2, "A BOMB").await;

    // The next process has it too.
    world.kill_and_restart().await;
    world.source_sql("insert into item_a values (5, 'bomb five')").await;
    wait_note(&world, "item_a", 5, "BOMB FIVE").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrected_version_is_tried_on_some_tables_and_then_replays_what_the_old_one_failed_on() {
    a_corrected_version_is_tried_and_replays(Source::postgres(PostgresVersion::V17).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrected_version_is_tried_on_some_tables_and_then_replays_what_the_old_one_failed_on_in_mysql_and_mariadb() {
    let [mysql, mariadb] = [MysqlFlavour::Mysql97, MysqlFlavour::Mariadb118]
        .map(|flavour| async move { a_corrected_version_is_tried_and_replays(Source::mysql(flavour).await).await });
    tokio::join!(mysql, mariadb);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_fails_is_swapped_back_and_one_that_plans_otherwise_is_refused() {
    let mut world = started("log").await;
    world.wait_level("swaps").await;
    upload(&world, b'4').await;
    let refused = world.host.post("/v1/tasks/swaps/modules/picky/swap", &json!({})).await;
    let problem = refused.body;
    assert!(problem["code"] == "plan_differs" && problem["detail"].as_str().is_some_and(|text| text.contains("more")), "{problem}");

    upload(&world, b'3').await;
    swap(&world, &json!({})).await;
    world.source_sql("insert into item_a values (3, 'three')").await;
    wait_note(&world, "item_a", 3, "THREE").await;
    // The worker tells the catalog after the row is there.
    wait_for("the event of the return", Duration::from_secs(90), async || {
        let events = world.host.get("/v1/tasks/swaps/events").await.ok();
        let told = events["events"].as_array().unwrap().iter().any(|event| event["message"].as_str().unwrap_or("").contains("went back"));
        if told { Ok(()) } else { Err(events) }
    })
    .await;
    world.kill_and_restart().await;
    world.source_sql("insert into item_b values (4, 'four')").await;
    wait_note(&world, "item_b", 4, "FOUR").await;
    assert_eq!(errors(&world, "swaps").await.len(), 1, "the rows that the new version failed on are none of the old one's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_to_an_alias_brings_the_version_that_it_stands_for_at_the_request() {
    let mut world = started("log").await;
    world.wait_level("swaps").await;
    let corrected = upload(&world, b'2').await;
    let broken = upload(&world, b'3').await;
    let point = async |digest: &str| world.host.put("/v1/modules/picky/aliases/stable", &json!({"version": digest})).await.ok();
    point(&corrected).await;
    let unknown = world.host.post("/v1/tasks/swaps/modules/picky/swap", &json!({"version": "steady"})).await;
    assert_eq!((unknown.status, &unknown.body["object"]), (404, &json!("module alias \"picky@steady\"")), "{}", unknown.body);

    let swapped = swap(&world, &json!({"version": "stable"})).await;
    assert_eq!((&swapped["digest"], swapped["tables"].as_array().map(Vec::len)), (&json!(corrected), Some(2)));
    // What the alias stands for later is nothing to the task.
    point(&broken).await;
    for (restarts, id) in [(false, 3), (true, 4)] {
        if restarts {
            world.kill_and_restart().await;
        }
        world.source_sql(&format!("insert into item_a values ({id}, 'bomb {id}')")).await;
        wait_note(&world, "item_a", id, &format!("BOMB {id}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_whose_request_was_given_up_changes_nothing() {
    let world = started("log").await;
    world.wait_level("swaps").await;
    upload(&world, b'2').await;
    let holder = world.target_client().await;
    holder.batch_execute("begin; lock table copy.item_b in access exclusive mode").await.expect("nobody else locks");
    world.source_sql("insert into item_b values (3, 'three')").await;
    wait_for("a group to wait for the lock", PATIENCE, async || {
        let waiting = world.target.value("select count(*) from pg_locks where not granted and relation = 'copy.item_b'::regclass").await;
        if waiting == "0" { Err(waiting) } else { Ok(()) }
    })
    .await;
    let given_up = world.host.post("/v1/tasks/swaps/modules/picky/swap", &json!({})).await;
    assert_eq!(given_up.body["code"], "not_at_rest", "{}", given_up.body);
    holder.batch_execute("rollback").await.expect("the session is there");
    wait_note(&world, "item_b", 3, "THREE").await;
    world.source_sql("insert into item_a values (3, 'bomb three')").await;
    wait_for("the old version to fail on the row", PATIENCE, async || match errors(&world, "swaps").await.len() {
        2 => Ok(()),
        count => Err(count),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_name_a_version_keep_it_in_a_swap() {
    let named = |table: &str, version: Value| {
        let mut rule = picky_rule("public");
        rule["object-locator"]["table-name"] = json!(table);
        rule["version"] = version;
        rule
    };
    let mut world = started_with("log", |digest| {
        let mut second = named("item_a", json!(digest));
        second["rule-id"] = json!("8");
        second["rule-name"] = json!("named");
        vec![named("item_b", json!("latest")), second]
    })
    .await;
    world.wait_level("swaps").await;
    upload(&world, b'2').await;
    let swapped = swap(&world, &json!({})).await;
    assert_eq!(swapped["tables"], json!([{"schema": "public", "table": "item_b"}]));
    for (restarts, id) in [(false, 3), (true, 4)] {
        if restarts {
            world.kill_and_restart().await;
        }
        world.source_sql(&format!("insert into item_a values ({id}, 'bomb'); insert into item_b values ({id}, 'bomb')")).await;
        wait_note(&world, "item_b", id, "BOMB").await;
        wait_for("the named version to fail on the row", PATIENCE, async || match errors(&world, "swaps").await.len() as i64 {
            count if count == id - 1 => Ok(()),
            count => Err(count),
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_failure_takes_back_its_own_modules_version_and_the_next_process_has_the_one_before() {
    let mut world = World::start(Source::postgres(PostgresVersion::V15).await, PostgresVersion::V17).await;
    world
        .source_sql(
            "create table item_a (id integer primary key, note text); create table item_b (id integer primary key, note text);
             create table other (id integer primary key, note text); create table marker (id integer primary key)",
        )
        .await;
    let first = upload(&world, b'2').await;
    let mut other = picky_rule("public");
    for (key, value) in [("rule-id", "8"), ("rule-name", "other"), ("module", "other")] {
        other[key] = json!(value);
    }
    other["object-locator"]["table-name"] = json!("other");
    world.host.put_bytes("/v1/modules/other", picky(b'1')).await.ok();
    // With the policy to stop, what no trial catches ends the task.
    world.create_task_with("swaps", "full-load-and-cdc", "do-nothing", json!({}), vec![picky_rule("public"), other]).await;
    world.start_task("swaps").await;
    world.wait_level("swaps").await;

    let went_back = async |world: &World| {
        let events = world.host.get("/v1/tasks/swaps/events").await.ok();
        let is_return = |event: &&Value| event["message"].as_str().is_some_and(|text| text.contains("went back"));
        events["events"].as_array().expect("events are a list").iter().filter(is_return).count()
    };
    upload(&world, b'1').await;
    for round in 1..=2_i64 {
        // A share of the tables, then all: the failure of a table of the share takes back both.
        swap(&world, &json!({"share_of_tables": 0.5})).await;
        swap(&world, &json!({})).await;
        let deleted = world.host.delete(&format!("/v1/modules/picky/versions/{first}")).await;
        assert_eq!((deleted.status, &deleted.body["code"]), (409, &json!("module_version_in_use")));
        if round == 1 {
            world.host.put_bytes("/v1/modules/other", picky(b'2')).await.ok();
            world.host.post("/v1/tasks/swaps/modules/other/swap", &json!({})).await.ok();
        }
        // Equal failures are told apart: the second return is recorded as the first one was.
        world.source_sql(&format!("insert into item_a values ({round}, 'bomb')")).await;
        wait_note(&world, "item_a", round, "BOMB").await;
        assert_eq!(went_back(&world).await as i64, round, "a return is recorded before its rows are written");
        world.source_sql(&format!("insert into other values ({round}, 'bomb')")).await;
        wait_note(&world, "other", round, "BOMB").await;
    }
    world.kill_and_restart().await;
    world.source_sql("insert into item_b values (3, 'bomb'); insert into other values (3, 'bomb')").await;
    wait_note(&world, "item_b", 3, "BOMB").await;
    wait_note(&world, "other", 3, "BOMB").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_row_is_to_modules_what_its_change_was_and_a_delete_that_stays_stays() {
    let world = World::start(Source::postgres(PostgresVersion::V15).await, PostgresVersion::V17).await;
    world
        .source_sql(
            "create table item_a (id integer primary key, note text); alter table item_a replica identity full;
             create table marker (id integer primary key); insert into item_a values (1, 'refuse 1')",
        )
        .await;
    upload(&world, b'1').await;
    let added = |id: &str, name: &str, expression: &str| {
        json!({"rule-type": "transformation", "rule-id": id, "rule-name": id, "rule-target": "column", "rule-action": "add-column",
            "object-locator": {"schema-name": "public", "table-name": "item_a"}, "value": name, "expression": expression,
            "data-type": {"type": "clob"}})
    };
    let before = json!({"rule-type": "transformation", "rule-id": "14", "rule-name": "14", "rule-target": "column",
        "rule-action": "add-before-image-columns", "object-locator": {"schema-name": "public", "table-name": "item_a", "column-name": "note"},
        "before-image-def": {"column-filter": "all"}});
    let rules = vec![
        picky_rule("public"),
        added("11", "mark", "operation_indicator('D', 'U', 'I')"),
        added("12", "operation", "$AR_H_OPERATION"),
        added("13", "place", "$AR_H_STREAM_POSITION || $AR_H_CHANGE_SEQ"),
        added("15", "at", "strftime('%s', $AR_H_COMMIT_TIMESTAMP)"),
        before,
    ];
    world.create_task_with("swaps", "full-load-and-cdc", "do-nothing", json!({"row_errors": {"data": "log"}}), rules).await;
    world.start_task("swaps").await;
    world.wait_level("swaps").await;
    let refusing = upload(&world, b'1').await;
    let taking = upload(&world, b'2').await;
    world.source_sql("insert into item_a values (2, 'refuse 2'), (3, 'fine'), (5, 'fine')").await;
    world.source_sql("update item_a set note = 'refuse 3' where id = 3").await;
    world.wait_level("swaps").await;
    swap(&world, &json!({"version": taking})).await;
    // This one is in the target before the version that refuses it comes back.
    world.source_sql("insert into item_a values (4, 'refuse 4')").await;
    wait_note(&world, "item_a", 4, "REFUSE 4").await;
    swap(&world, &json!({"version": refusing})).await;
    world.source_sql("delete from item_a where id = 4").await;
    world.wait_level("swaps").await;
    let mut operations: Vec<_> = errors(&world, "swaps").await.iter().map(|entry| entry["operation"].to_string()).collect();
    operations.sort();
    assert_eq!(operations, ["\"delete\"", "\"insert\"", "\"load\"", "\"update\""]);
    swap(&world, &json!({"version": taking})).await;
    let began = world.target.value("select extract(epoch from clock_timestamp())::bigint").await;
    let replayed = world.host.post("/v1/tasks/swaps/errors/replay", &json!({})).await.ok();
    assert_eq!(replayed, json!({"replayed": 4, "rejected": 0, "left": 0}));
    let rows = world
        .target
        .rows(&format!(
            "select id::text, note, mark, operation, place, \"BI_note\", (at::bigint >= {began} - 1)::text from copy.item_a where id <= 4 order by id"
        ))
        .await;
    let row = |id: &str, note: &str, mark: &str, operation: &str, before: Option<&str>| {
        let texts = [id, note, mark, operation, ""].map(|text| Some(text.to_owned()));
        texts.into_iter().chain([before.map(str::to_owned), Some("true".to_owned())]).collect::<Vec<_>>()
    };
    assert_eq!(
        rows,
        [
            row("1", "REFUSE 1", "I", "INSERT", None),
            row("2", "REFUSE 2", "I", "INSERT", None),
            row("3", "REFUSE 3", "U", "UPDATE", None),
            row("4", "REFUSE 4", "D", "DELETE", Some("refuse 4")),
        ]
    );
}
