//! Values of a MySQL source that nobody can read as values of their type: rows at fault, by the policy for these, in the load and in
//! the changes. On the same servers: what MySQL itself has a place for, and documents of JSON that a target would print otherwise.

use std::sync::Arc;

use mysql_async::prelude::Queryable;
use serde_json::{Value, json};
use tidegate_harness::{MysqlFlavour, PostgresVersion};

use crate::unfit_values::{texts, told};
use crate::world::{Source, World};

const SESSION: &str = "set sql_mode = '';";

/// `label` and `texts` have values that nobody can read; of `by_label` one is in the key, and `loose` has no key. The labels of `zeros`
/// are such that index 0 is easily taken for one of them.
async fn make_tables(source: &Source) {
    let make = "create table marker (id int primary key);
        create table label (id int primary key, e enum('a','','b'), v int);
        create table by_label (e enum('a','b') primary key, v int);
        create table loose (e enum('a',''), v int);
        create table zeros (id int primary key, e enum('0','00','x') not null, f enum('０'));
        create table documents (id int primary key, j json);
        create table raw (id int primary key, t varbinary(40)) row_format = dynamic;
        create table texts (id int primary key, t varchar(10) character set utf8mb4) row_format = dynamic;
        insert into raw values (1, 'ok'), (2, x'61ff'), (3, 'fine')";
    source.sql(make).await;
    let rows = "insert into label values (1, 'a', 1), (2, 'nonsense', 2), (3, '', 3), (4, 'b', 4), (5, 'nonsense', 5);
        insert into by_label values ('a', 1); insert into loose values ('a', 1), ('nonsense', 2), ('nonsense', 2), ('', 3);
        insert into zeros values (1, 'nonsense', '０'), (2, '0', null), (3, '00', '０');
        insert into documents values (1, '[1, -1, 1.5, \"12.50\"]'), (2, json_array(cast(12.50 as decimal(10, 2)))), (3, '[1, -0.0]'),
            (4, json_array(cast('2020-02-03' as date), cast(12.5 as decimal(10, 1))))";
    source.sql(&format!("{SESSION} {rows}")).await;
    // Statements check their texts, so the file of a table with bytes becomes that of the table with texts.
    let Source::Mysql(server) = source else { panic!("the source is MySQL") };
    source.sql("alter table texts discard tablespace").await;
    let file = |name: &str| server.data_dir().join(format!("test/{name}.ibd"));
    // Exported, and so written out, for as long as its connection is open.
    let mut exporting = server.client().await;
    exporting.query_drop("flush tables raw for export").await.expect("the server exports tables");
    std::fs::copy(file("raw"), file("texts")).expect("the files are ours");
    drop(exporting);
    source.sql("alter table texts import tablespace; drop table raw").await;
}

async fn change_tables(source: &Source) {
    // A bad row comes, a good one turns bad, a bad one good, a bad one stays so under another key, and one goes.
    let changes = "insert into label values (6, 'nonsense', 6), (7, 'a', 7); update label set e = 'nonsense' where id = 1;
        update label set e = 'b' where id = 2; update label set id = 8 where id = 6; delete from label where id = 5;
        update label set v = 40 where id = 4; update texts set t = 'well' where id = 2; update texts set id = 4 where id = 3;
        update zeros set e = 'nonsense' where id = 2; update zeros set e = 'x' where id = 1; insert into zeros values (4, 'nonsense', null);
        insert into documents values (11, '[2]'), (12, json_array(cast(0.10 as decimal(10, 2)))), (13, '{\"a\": -0.0, \"b\": \"-0\"}'),
            (14, json_array(repeat('x', 300000), cast(1.50 as decimal(10, 2))));
        update documents set j = '[3]' where id = 3; update documents set j = json_array(cast(7.0 as decimal(3, 1))) where id = 1";
    source.sql(&format!("{SESSION} {changes}")).await;
}

fn log() -> Value {
    json!({"row_errors": {"data": "log"}})
}

fn without(table: &str, id: &str) -> Value {
    json!({"rule-type": "selection", "rule-id": id, "rule-name": id, "rule-action": "exclude",
        "object-locator": {"schema-name": "test", "table-name": table}})
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_nobody_can_read_are_rows_at_fault_in_the_load_and_in_the_changes() {
    let source = Arc::new(Source::mysql(MysqlFlavour::Mysql97).await);
    make_tables(&source).await;
    let to_postgres = World::with(source.clone(), Arc::new(Source::postgres(PostgresVersion::V17).await)).await;
    let to_mysql = World::with(source.clone(), Arc::new(Source::mysql(MysqlFlavour::Mysql97).await)).await;
    let to_mariadb = World::with(source.clone(), Arc::new(Source::mysql(MysqlFlavour::Mariadb1011).await)).await;
    for world in [&to_postgres, &to_mysql, &to_mariadb] {
        world.create_task("logs", "full-load-and-cdc", "drop-and-create", log()).await;
        world.start_task("logs").await;
        world.wait_phase("logs", "replicating").await;
    }
    change_tables(&source).await;
    source.sql(&format!("{SESSION} update loose set v = 4 where e = 'a'; insert into loose values ('a', 5)")).await;
    for world in [&to_postgres, &to_mysql, &to_mariadb] {
        world.wait_level("logs").await;
    }

    // Whether the target has something under the key before is not known of the one that moved.
    let labels = ["label {id:1} enum_empty", "label {id:6} enum_empty", "label {id:8} enum_empty"];
    let in_others = ["2 | b | 2", "3 |  | 3", "4 | b | 40", "7 | a | 7"];
    for world in [&to_postgres, &to_mariadb] {
        let found = texts(world, "select id, e, v from copy.label where id <> 1 order by id").await;
        assert_eq!(found, in_others);
        // Its state before.
        assert_eq!(texts(world, "select id, e, v from copy.label where id = 1").await, ["1 | a | 1"]);
        assert_eq!(texts(world, "select id, t from copy.texts order by id").await, ["1 | ok", "2 | well", "4 | fine"]);
        let told = told(world, "logs").await;
        assert_eq!(told.iter().filter(|entry| entry.starts_with("label")).collect::<Vec<_>>(), labels.iter().collect::<Vec<_>>());
        let zeros: Vec<&String> = told.iter().filter(|entry| entry.starts_with("zeros")).collect();
        assert_eq!(zeros, ["zeros {id:2} enum_empty", "zeros {id:4} enum_empty"]);
        assert_eq!(texts(world, "select e, v from copy.loose order by v").await, [" | 3", "a | 4", "a | 5"]);
        assert!(told.contains(&"loose {v:2} enum_empty".to_owned()), "{told:?}");
        assert!(told.iter().all(|entry| !entry.starts_with("texts")), "{told:?}");
    }
    let documents = |told: &[String]| told.iter().filter(|entry| entry.starts_with("documents")).cloned().collect::<Vec<_>>();
    assert_eq!(documents(&told(&to_postgres, "logs").await), ["documents {id:13} value_refused"]);
    let found = texts(&to_postgres, "select id, j from copy.documents where id < 14 order by id").await;
    assert_eq!(found, ["1 | [7.0]", "2 | [12.50]", "3 | [3]", "4 | [\"2020-02-03\", 12.5]", "11 | [2]", "12 | [0.10]"]);
    assert_eq!(documents(&told(&to_mariadb, "logs").await), Vec::<String>::new());
    let found = texts(&to_mariadb, "select id, j from copy.documents order by id").await;
    assert_eq!(found[1..3], ["2 | [12.50]", "3 | [3]"]);

    // MySQL has a place for all of it, but for decimals in large documents.
    assert_eq!(told(&to_mysql, "logs").await, ["documents {id:14} value_refused"]);
    let large = "select right(j, 7) from copy.documents where id = 14";
    assert_eq!(to_postgres.target.value(&large.replace("right(j", "right(j::text")).await, ", 1.50]");
    assert_eq!(to_mariadb.target.value(large).await, ", 1.50]");
    let found = texts(&to_mysql, "select id, e + 0, v from copy.label order by id").await;
    assert_eq!(found, ["1 | 0 | 1", "2 | 3 | 2", "3 | 2 | 3", "4 | 3 | 40", "7 | 1 | 7", "8 | 0 | 6"]);
    assert_eq!(
        texts(&to_mysql, "select id, e + 0, f + 0 from copy.zeros order by id").await,
        ["1 | 3 | 1", "2 | 0 | NULL", "3 | 2 | 1", "4 | 0 | NULL"]
    );
    let found = texts(&to_mysql, "select id, j from copy.documents order by id").await;
    assert_eq!(found[..5], ["1 | [7.0]", "2 | [12.50]", "3 | [3]", "4 | [\"2020-02-03\", 12.5]", "11 | [2]"]);
    assert_eq!(found[5..], ["12 | [0.10]", "13 | {\"a\": -0.0, \"b\": \"-0\"}"]);
    source.sql(&format!("{SESSION} delete from loose where e + 0 = 0 limit 1; update loose set v = 9 where e + 0 = 0")).await;
    to_mysql.wait_level("logs").await;
    assert_eq!(texts(&to_mysql, "select e + 0, v from copy.loose order by v").await, ["2 | 3", "1 | 4", "1 | 5", "0 | 9"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_policy_decides_about_a_value_that_nobody_can_read_and_a_key_of_such_stops() {
    let source = Arc::new(Source::mysql(MysqlFlavour::Mysql97).await);
    make_tables(&source).await;
    let world = World::with(source.clone(), Arc::new(Source::postgres(PostgresVersion::V17).await)).await;
    let only = |table: &str| {
        let others = ["label", "by_label", "loose", "zeros", "documents", "texts"].into_iter().filter(|other| *other != table);
        others.enumerate().map(|(number, other)| without(other, &format!("{}", 10 + number))).collect::<Vec<_>>()
    };
    for (table, code) in [("label", "enum_empty"), ("texts", "charset_bytes")] {
        let task = format!("stops-{table}");
        world.create_task_with(&task, "full-load", "drop-and-create", json!({}), only(table)).await;
        world.start_task(&task).await;
        let failure = world.wait_failed(&task).await;
        assert_eq!(failure["code"], code, "{failure}");
        assert!(failure["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{failure}");
        assert!(failure["message"].as_str().is_some_and(|message| message.contains(table)), "{failure}");
    }
    world.create_task_with("ignores", "full-load", "drop-and-create", json!({"row_errors": {"data": "ignore"}}), only("label")).await;
    world.start_task("ignores").await;
    world.wait_stopped("ignores").await;
    assert_eq!(texts(&world, "select id from copy.label order by id").await, ["1", "3", "4"]);
    assert_eq!(told(&world, "ignores").await, Vec::<String>::new());

    // The column that has the values is none of the target's, so that nobody has to read them.
    let leaves_out = json!({"rule-type": "transformation", "rule-id": "8", "rule-name": "8", "rule-target": "column", "rule-action": "remove-column",
        "object-locator": {"schema-name": "test", "table-name": "label", "column-name": "e"}});
    let rules = only("label").into_iter().chain([leaves_out]).collect();
    world.create_task_with("without", "full-load", "drop-and-create", json!({}), rules).await;
    world.start_task("without").await;
    world.wait_stopped("without").await;
    assert_eq!(texts(&world, "select count(*) from copy.label").await, ["5"]);

    // A rule reads them: its module never sees them.
    let upper = json!({"rule-type": "transformation", "rule-id": "9", "rule-name": "9", "rule-target": "column", "rule-action": "add-column",
        "object-locator": {"schema-name": "test", "table-name": "label"}, "value": "upper_e", "expression": "upper($e)", "data-type": {"type": "string", "length": 9}});
    let rules = only("label").into_iter().chain([upper]).collect();
    world.create_task_with("reads", "full-load", "drop-and-create", log(), rules).await;
    world.start_task("reads").await;
    world.wait_stopped("reads").await;
    assert_eq!(texts(&world, "select id, upper_e from copy.label order by id").await, ["1 | A", "3 | ", "4 | B"]);
    assert_eq!(told(&world, "reads").await, ["label {id:2} enum_empty", "label {id:5} enum_empty"]);

    let suspends = json!({"row_errors": {"data": "suspend-table"}});
    world.create_task_with("suspends", "full-load-and-cdc", "drop-and-create", suspends, only("label")).await;
    world.start_task("suspends").await;
    world.wait_level("suspends").await;
    let tables = world.host.get("/v1/tasks/suspends/tables").await.ok();
    let stages: Vec<String> =
        tables["tables"].as_array().into_iter().flatten().map(|table| format!("{} {}", table["table"], table["stage"])).collect();
    assert_eq!(stages, ["\"label\" \"failed\"", "\"marker\" \"completed\""], "{tables}");
    world.stop_task("suspends").await;

    for (task, change) in [
        ("key-of-a-new-row", "insert into by_label values ('nonsense', 2)"),
        ("key-of-a-moved-row", "delete from by_label where e + 0 = 0; update by_label set e = 'nonsense'"),
    ] {
        world.create_task_with(task, "full-load-and-cdc", "drop-and-create", log(), only("by_label")).await;
        world.start_task(task).await;
        world.wait_phase(task, "replicating").await;
        source.sql(&format!("{SESSION} {change}")).await;
        assert_eq!(world.wait_failed(task).await["code"], "enum_empty", "{task}");
        assert_eq!(texts(&world, "select e, v from copy.by_label").await, ["a | 1"], "{task}");
        source.sql(&format!("{SESSION} delete from by_label where e + 0 = 0; replace into by_label values ('a', 1)")).await;
    }
    source.sql(&format!("{SESSION} insert into by_label values ('nonsense', 3)")).await;
    let ignores = json!({"row_errors": {"data": "ignore"}});
    world.create_task_with("key-of-a-loaded-row", "full-load", "drop-and-create", ignores, only("by_label")).await;
    world.start_task("key-of-a-loaded-row").await;
    assert_eq!(world.wait_failed("key-of-a-loaded-row").await["code"], "enum_empty");
}
