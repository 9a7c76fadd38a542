//! Rows at fault: by a module, and by the target. The module `picky` traps on notes with "bomb" and refuses those with
//! "refuse"; the target's table `priced` takes no negative amount.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_harness::process::root_dir;
use tidegate_harness::{MysqlFlavour, PostgresVersion, wait_for};

use crate::world::{Source, World};

const PATIENCE: Duration = Duration::from_secs(120);

/// The module with another behaviour, which makes it another version.
pub(crate) fn picky(behaviour: u8) -> Vec<u8> {
    let mut bytes = std::fs::read(root_dir().join("target/guests/picky.wasm")).expect("the guests are built; run cargo xtask guests");
    let marker = b"picky-behaviour:";
    let at: Vec<usize> = (0..bytes.len() - marker.len()).filter(|at| bytes[*at..].starts_with(marker)).collect();
    assert_eq!(at.len(), 1, "the marker stands in the module's data once");
    bytes[at[0] + marker.len()] = behaviour;
    bytes
}

pub(crate) fn picky_rule(schema: &str) -> Value {
    json!({"rule-type": "module", "rule-id": "7", "rule-name": "picky", "module": "picky",
        "object-locator": {"schema-name": schema, "table-name": "item%"}})
}

fn is_bad(note: &str) -> bool {
    note.contains("bomb") || note.contains("refuse")
}

/// What the source has, kept by the test itself.
#[derive(Default)]
struct Model {
    notes: BTreeMap<i64, String>,
    amounts: BTreeMap<i64, i64>,
}

impl Model {
    async fn note(&mut self, world: &World, id: i64, note: &str) {
        let sql = match self.notes.insert(id, note.to_owned()) {
            None => format!("insert into item values ({id}, '{note}')"),
            Some(_) => format!("update item set note = '{note}' where id = {id}"),
        };
        world.source_sql(&sql).await;
    }

    async fn move_note(&mut self, world: &World, from: i64, to: i64, note: &str) {
        self.notes.remove(&from);
        self.notes.insert(to, note.to_owned());
        world.source_sql(&format!("update item set id = {to}, note = '{note}' where id = {from}")).await;
    }

    async fn remove_note(&mut self, world: &World, id: i64) {
        self.notes.remove(&id);
        world.source_sql(&format!("delete from item where id = {id}")).await;
    }

    async fn amount(&mut self, world: &World, id: i64, amount: i64) {
        let sql = match self.amounts.insert(id, amount) {
            None => format!("insert into priced values ({id}, {amount})"),
            Some(_) => format!("update priced set amount = {amount} where id = {id}"),
        };
        world.source_sql(&sql).await;
    }

    /// Every good row is in the target as the source has it; every bad one is in the error table, once.
    async fn check(&self, world: &World, task: &str) {
        let found = texts(world, "select concat(id, ''), note from copy.item order by id").await;
        for (id, note) in self.notes.iter().filter(|(_, note)| !is_bad(note)) {
            assert_eq!(found.get(id), Some(&note.to_uppercase()), "note {id}");
        }
        let amounts = texts(world, "select concat(id, ''), concat(amount, '') from copy.priced order by id").await;
        for (id, amount) in self.amounts.iter().filter(|(_, amount)| **amount >= 0) {
            assert_eq!(amounts.get(id), Some(&amount.to_string()), "amount {id}");
        }
        let bad = self.notes.iter().filter(|(_, note)| is_bad(note)).map(|(id, _)| ("item".to_owned(), *id));
        let negative = self.amounts.iter().filter(|(_, amount)| **amount < 0).map(|(id, _)| ("priced".to_owned(), *id));
        let wanted: BTreeSet<(String, i64)> = bad.chain(negative).collect();
        let entries = errors(world, task).await;
        let named: Vec<(String, i64)> = entries
            .iter()
            .filter(|entry| entry["operation"] != "delete")
            .map(|entry| (text(&entry["table"]), entry["key"]["id"].as_i64().expect("the key is a number")))
            .collect();
        assert_eq!(named.len(), named.iter().collect::<BTreeSet<_>>().len(), "each row once: {named:?}");
        assert_eq!(named.into_iter().collect::<BTreeSet<_>>(), wanted);
        // What the target has beside that is an old state of a bad row.
        let known: BTreeSet<i64> =
            entries.iter().filter(|entry| entry["table"] == "item").filter_map(|entry| entry["key"]["id"].as_i64()).collect();
        for id in found.keys() {
            assert!(self.notes.get(id).is_some_and(|note| !is_bad(note)) || known.contains(id), "row {id} is in the target alone");
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

async fn texts(world: &World, query: &str) -> BTreeMap<i64, String> {
    let rows = world.target.rows(query).await;
    let one = |row: &Vec<Option<String>>| {
        let id = row[0].as_deref().and_then(|id| id.parse().ok()).expect("the id is a number");
        (id, row[1].clone().unwrap_or_default())
    };
    rows.iter().map(one).collect()
}

/// Every entry of the error table, by pages.
pub(crate) async fn errors(world: &World, task: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let mut after = json!(0);
    loop {
        let page = world.host.get(&format!("/v1/tasks/{task}/errors?limit=5&after={after}")).await.ok();
        all.extend(page["errors"].as_array().cloned().unwrap_or_default());
        after = page["next"].clone();
        if after.is_null() {
            return all;
        }
    }
}

pub(crate) async fn upload(world: &World, behaviour: u8) -> String {
    let version = world.host.put_bytes("/v1/modules/picky", picky(behaviour)).await.ok();
    text(&version["digest"])
}

async fn prepared(source: Source) -> (World, Model) {
    prepared_into(source, Source::postgres(PostgresVersion::V17).await).await
}

async fn prepared_into(source: Source, target: Source) -> (World, Model) {
    let world = World::between(source, target).await;
    let mut model = Model { notes: (1..=2_500).map(|id| (id, format!("note {id}"))).collect(), ..Model::default() };
    model.notes.insert(500, "a bomb".into());
    model.notes.insert(1_700, "bomb again".into());
    model.notes.extend([(7, "refuse me".to_owned()), (8, "refuse me too".to_owned())]);
    model.amounts = (1..=50).map(|id| (id, if id % 20 == 0 { -id } else { id })).collect();
    let notes: Vec<String> = model.notes.iter().map(|(id, note)| format!("({id}, '{note}')")).collect();
    let amounts: Vec<String> = model.amounts.iter().map(|(id, amount)| format!("({id}, {amount})")).collect();
    let sql = format!(
        "create table item (id integer primary key, note varchar(100)); create table priced (id integer primary key, amount integer);
         create table marker (id integer primary key);
         insert into item values {}; insert into priced values {}",
        notes.join(", "),
        amounts.join(", ")
    );
    world.source_sql(&sql).await;
    let target = "create schema copy; create table copy.priced (id integer primary key, amount integer, constraint priced_amount_check check (amount >= 0))";
    world.target.sql(target).await;
    (world, model)
}

async fn logged_once_over_kills(source: Source, target: Source) {
    let (mut world, mut model) = prepared_into(source, target).await;
    upload(&world, b'1').await;
    let rule = picky_rule(world.source.schema());
    let settings = json!({"row_errors": {"data": "log"}, "chunk_rows": 1_000, "load_lanes": 2});
    world.create_task_with("rows", "full-load-and-cdc", "do-nothing", settings, vec![rule]).await;
    world.start_task("rows").await;
    wait_for("the load to begin", PATIENCE, async || {
        let begun = world
            .target
            .value("select count(*) from information_schema.tables where table_schema = 'tidegate' and table_name = 'row_error'")
            .await;
        if begun == "1" { Ok(()) } else { Err(begun) }
    })
    .await;
    world.kill_and_restart().await;
    world.wait_level("rows").await;
    model.check(&world, "rows").await;

    // A good row turns bad and keeps its old state; a bad one turns good; a bad one goes; keys change both ways.
    model.note(&world, 10, "now a bomb").await;
    model.note(&world, 500, "harmless").await;
    model.remove_note(&world, 1_700).await;
    model.move_note(&world, 20, 9_020, "moved with a bomb").await;
    model.move_note(&world, 7, 9_007, "moved and well").await;
    model.note(&world, 9_100, "refuse the new one").await;
    model.amount(&world, 20, 21).await;
    model.amount(&world, 30, -1).await;
    model.amount(&world, 99, -99).await;
    model.amount(&world, 100, 100).await;
    world.kill_and_restart().await;
    model.amount(&world, 30, 31).await;
    model.note(&world, 8, "well").await;
    model.note(&world, 9_101, "refuse another").await;
    world.wait_level("rows").await;
    model.check(&world, "rows").await;
    let of_old_key = errors(&world, "rows").await.into_iter().find(|entry| entry["key"]["id"] == 20 && entry["table"] == "item");
    assert_eq!(of_old_key.expect("the old key of a rejected move is known")["operation"], "delete");

    // The catalog hears of it once a second.
    wait_for("the module's use to be shown", PATIENCE, async || {
        let task = world.task("rows").await;
        let module = task["progress"]["modules"].as_array().and_then(|modules| modules.iter().find(|module| module["name"] == "picky"));
        let used = module.is_some_and(|module| module["rows"].as_u64() > Some(0) && module["cpu_seconds"].as_f64() > Some(0.0));
        if used { Ok(()) } else { Err(task.to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_rows_of_postgres_are_logged_once_over_kills_and_the_others_replicated() {
    logged_once_over_kills(Source::postgres(PostgresVersion::V15).await, Source::postgres(PostgresVersion::V17).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_rows_of_postgres_are_logged_once_over_kills_in_mysql() {
    logged_once_over_kills(Source::postgres(PostgresVersion::V17).await, Source::mysql(MysqlFlavour::Mysql97).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_rows_of_mariadb_are_logged_once_over_kills_and_the_others_replicated() {
    logged_once_over_kills(Source::mysql(MysqlFlavour::Mariadb118).await, Source::postgres(PostgresVersion::V17).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_rows_of_mysql_are_logged_once_over_kills_in_mariadb() {
    logged_once_over_kills(Source::mysql(MysqlFlavour::Mysql97).await, Source::mysql(MysqlFlavour::Mariadb118).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_policy_does_what_its_name_says() {
    let (world, model) = prepared(Source::postgres(PostgresVersion::V15).await).await;
    upload(&world, b'1').await;
    let rule = || vec![picky_rule(world.source.schema())];
    let settings = |policy: &str| json!({"row_errors": {"data": policy}});

    world.create_task_with("stops", "full-load", "do-nothing", json!({}), rule()).await;
    world.start_task("stops").await;
    let failure = world.wait_failed("stops").await;
    assert!(["module_failed", "module_row_error", "constraint_violated"].contains(&text(&failure["code"]).as_str()), "{failure}");

    world.target.sql("drop table if exists copy.item, copy.marker; truncate copy.priced").await;
    world.create_task_with("ignores", "full-load", "do-nothing", settings("ignore"), rule()).await;
    world.start_task("ignores").await;
    world.wait_stopped("ignores").await;
    let good = model.notes.values().filter(|note| !is_bad(note)).count().to_string();
    assert_eq!(world.target.value("select count(*) from copy.item").await, good);
    assert_eq!(errors(&world, "ignores").await, Vec::<Value>::new());
    let kept = "select count(*) filter (where image is null and stored is null) || ' of ' || count(*) from tidegate.row_error where task = 'ignores'";
    assert_eq!(world.target.value(kept).await, "6 of 6", "only their keys are known");

    world.target.sql("drop table copy.item, copy.marker; truncate copy.priced").await;
    world.create_task_with("suspends", "full-load-and-cdc", "do-nothing", settings("suspend-table"), rule()).await;
    world.start_task("suspends").await;
    world.wait_level("suspends").await;
    let tables = world.host.get("/v1/tasks/suspends/tables").await.ok();
    let stages: Vec<(String, String)> =
        tables["tables"].as_array().unwrap().iter().map(|table| (text(&table["table"]), text(&table["stage"]))).collect();
    let wanted = [("item", "failed"), ("marker", "completed"), ("priced", "failed")];
    assert_eq!(stages, wanted.map(|(table, stage)| (table.to_owned(), stage.to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_bad_rows_stop_the_task_and_a_rule_that_fails_at_the_second_try_is_tried_afresh() {
    let (mut world, _) = prepared(Source::postgres(PostgresVersion::V15).await).await;
    upload(&world, b'1').await;
    let settings = json!({"row_errors": {"data": "log", "consecutive_max": 1}});
    world.create_task_with("many", "full-load-and-cdc", "do-nothing", settings, vec![picky_rule("public")]).await;
    world.start_task("many").await;
    world.wait_level("many").await;
    world.source_sql("insert into item values (9001, 'refuse'), (9002, 'refuse')").await;
    assert_eq!(world.wait_failed("many").await["code"], "too_many_rejected_rows");
    a_rule_that_fails_when_it_is_asked_again(&mut world).await;
}

/// EO-011: all that a module could know of an earlier try is its instance's memory, and that goes with a failure and with an attempt.
/// So whoever fails only when asked again is asked by a fresh one, whose answer is the first one's.
async fn a_rule_that_fails_when_it_is_asked_again(world: &mut World) {
    upload(world, b'5').await;
    let settings = json!({"row_errors": {"data": "log"}, "chunk_rows": 1000});
    world.create_task_with("again", "full-load-and-cdc", "drop-and-create", settings, vec![picky_rule("public")]).await;
    world.start_task("again").await;
    world.wait_level("again").await;
    for id in 10_000..10_010 {
        world.source_sql(&format!("insert into item values ({id}, 'note {id}'); update item set note = 'bomb' where id = {id} - 1")).await;
        match id {
            10_005 => world.kill_and_restart().await,
            // What was on the way is judged a second time; then a batch for each of these.
            10_006.. => world.wait_level("again").await,
            _ => {}
        }
    }
    let digest =
        |note: &str, schema: &str| format!("select count(*) || ' ' || md5(string_agg(id || {note}, ',' order by id)) from {schema}.item");
    let wanted = world.source.value(&digest("upper(note)", "public")).await;
    assert_eq!(world.target.value(&digest("note", "copy")).await, wanted);
    assert_eq!(errors(world, "again").await, Vec::<Value>::new());
    wait_for("the failures to be shown", PATIENCE, async || {
        let metrics = text(&world.host.get("/metrics").await.ok());
        let is_ours = |line: &&str| line.starts_with("tidegate_module_failures_total{") && line.contains("task=\"again\"");
        let failures = metrics.lines().find(is_ours).and_then(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
        if failures.is_some_and(|failures| failures >= 3.0) { Ok(()) } else { Err(failures) }
    })
    .await;
}

async fn replay_brings(target: Source) {
    let (world, mut model) = prepared_into(Source::mysql(MysqlFlavour::Mariadb118).await, target).await;
    world.create_task("again", "full-load-and-cdc", "do-nothing", json!({"row_errors": {"data": "log"}})).await;
    world.start_task("again").await;
    world.wait_level("again").await;
    model.amount(&world, 30, -3).await;
    world.wait_level("again").await;
    let before = world.host.post("/v1/tasks/again/errors/replay", &json!({})).await.ok();
    assert_eq!(before, json!({"replayed": 0, "rejected": 3, "left": 0}));
    world.target.sql("alter table copy.priced drop constraint priced_amount_check").await;
    let after = world.host.post("/v1/tasks/again/errors/replay", &json!({})).await.ok();
    assert_eq!(after, json!({"replayed": 3, "rejected": 0, "left": 0}));
    assert_eq!(errors(&world, "again").await, Vec::<Value>::new());
    model.amount(&world, 30, 4).await;
    world.wait_level("again").await;
    let found = texts(&world, "select concat(id, ''), concat(amount, '') from copy.priced order by id").await;
    assert!(found.iter().map(|(id, amount)| (*id, amount.clone())).eq(model.amounts.iter().map(|(id, amount)| (*id, amount.to_string()))));
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_brings_what_the_corrected_target_takes() {
    replay_brings(Source::postgres(PostgresVersion::V17).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_brings_what_the_corrected_target_takes_in_mysql() {
    replay_brings(Source::mysql(MysqlFlavour::Mysql97).await).await;
}

/// `wanted`: the code, and what else is in the message.
async fn check_that_a_refused_soft_delete_is_filed_and_replayed(source: Source, target: Source, wanted: (&str, &str)) {
    let world = World::between(source, target).await;
    let images = if matches!(*world.source, Source::Postgres(_)) { "alter table item replica identity full;" } else { "" };
    world
        .source_sql(&format!(
            "create table item (id integer primary key, note text); {images}
             create table marker (id integer primary key); insert into item values (1, 'one'), (2, 'two'), (4, 'four')"
        ))
        .await;
    let mark = json!({"rule-type": "transformation", "rule-id": "11", "rule-name": "11", "rule-target": "column", "rule-action": "add-column",
        "object-locator": {"schema-name": world.source.schema(), "table-name": "item"}, "value": "mark",
        "expression": "operation_indicator('D', 'U', 'I')", "data-type": {"type": "string", "length": 1}});
    let settings = json!({"row_errors": {"data": "log", "update_conflict": "log"}});
    world.create_task_with("stays", "full-load-and-cdc", "drop-and-create", settings, vec![mark]).await;
    world.start_task("stays").await;
    world.wait_level("stays").await;
    world.target.sql("alter table copy.item add constraint alive check (mark is null or mark <> 'D')").await;
    // One that is refused, and one without a row that could stay.
    world.target.sql("delete from copy.item where id = 4").await;
    world.source_sql("delete from item where id in (1, 4)").await;
    // Within a transaction a row is written once, with what came last.
    world.source_sql("begin; update item set note = 'changed' where id = 2; delete from item where id = 2; commit").await;
    world.source_sql("begin; insert into item values (3, 'three'); delete from item where id = 3; commit").await;
    world.wait_level("stays").await;
    let found = || async { world.target.rows("select concat_ws(' ', id, note, mark) from copy.item order by id").await.concat() };
    let rows = |texts: &[&str]| texts.iter().map(|text| Some((*text).to_owned())).collect::<Vec<_>>();
    assert_eq!(found().await, rows(&["1 one I", "2 two I"]), "the target has what it had");
    let entries = errors(&world, "stays").await;
    assert_eq!(entries.iter().map(|entry| text(&entry["operation"])).collect::<Vec<_>>(), ["delete"; 4], "{entries:?}");
    // Row 4 is missed or refused, as changes come together; its code tells which.
    let refused = entries.iter().filter(|entry| entry["key"]["id"] != 4);
    for (code, message) in refused.map(|entry| (text(&entry["code"]), text(&entry["message"]))) {
        assert!(code == wanted.0 && message.contains("\"copy.item\"") && message.contains(wanted.1), "{code}: {message}");
    }
    let replay = async || world.host.post("/v1/tasks/stays/errors/replay", &json!({})).await.ok();
    assert_eq!(replay().await, json!({"replayed": 0, "rejected": 4, "left": 0}));
    world.target.sql("alter table copy.item drop constraint alive").await;
    assert_eq!(replay().await, json!({"replayed": 4, "rejected": 0, "left": 0}));
    assert_eq!(found().await, rows(&["1 one D", "2 changed D", "3 three D", "4 four D"]));
    assert_eq!(errors(&world, "stays").await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_that_stays_and_that_the_target_refuses_is_filed_and_replayed_as_a_delete() {
    let servers = (Source::postgres(PostgresVersion::V17).await, Source::postgres(PostgresVersion::V17).await);
    check_that_a_refused_soft_delete_is_filed_and_replayed(servers.0, servers.1, ("constraint_violated", "\"alive\"")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_that_stays_and_that_mysql_refuses_is_filed_and_replayed_as_a_delete() {
    let servers = (Source::postgres(PostgresVersion::V17).await, Source::mysql(MysqlFlavour::Mysql97).await);
    check_that_a_refused_soft_delete_is_filed_and_replayed(servers.0, servers.1, ("check_violated", "error 3819")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_that_stays_and_that_mariadb_refuses_is_filed_and_replayed_as_a_delete() {
    let servers = (Source::mysql(MysqlFlavour::Mysql97).await, Source::mysql(MysqlFlavour::Mariadb118).await);
    // The code that MariaDB has for a value that is no JSON, too.
    check_that_a_refused_soft_delete_is_filed_and_replayed(servers.0, servers.1, ("value_refused", "error 4025")).await;
}
