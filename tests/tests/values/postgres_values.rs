//! Every type of PostgreSQL from 15 to 17, and every change that replicas get wrong, from there into every kind of target.
//!
//! Between PostgreSQL servers the source's text of a value is the measure: what the target prints must be the same, whether the
//! row was loaded, inserted while the task ran, or updated then. Into the others, the harness tells what is equal.

use serde_json::{Value, json};
use tidegate_harness::{PostgresServer, PostgresVersion, TablePair, compare_databases};

use crate::elsewhere::{beside, is_mysql};
use crate::postgres_kinds::{KINDS, KNOWN, MADE, ROLE};
use crate::world::{Source, World};

/// How both sides print values, whatever the role's own settings are.
const PRINT: &str = "set datestyle = 'ISO, YMD'; set intervalstyle = 'postgres'; set extra_float_digits = 1; set bytea_output = 'hex'; \
                     set timezone = 'UTC'; ";

fn columns() -> Vec<String> {
    (0..KINDS.len()).map(|index| format!("c{index}")).collect()
}

/// The statement's list of values for row `row`.
fn values(row: usize) -> String {
    KINDS.iter().map(|(_, values)| values.get(row).copied().unwrap_or("null")).collect::<Vec<_>>().join(", ")
}

async fn world(settings: &[&str]) -> World {
    World::start(Source::Postgres(PostgresServer::start_with(PostgresVersion::V15, settings).await), PostgresVersion::V17).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_postgres_type_arrives_unchanged() {
    let world = world(&[]).await;
    let rows = KINDS.iter().map(|(_, values)| values.len()).max().expect("there are types");
    world.target.sql(KNOWN).await;
    let kinds: Vec<String> = KINDS.iter().enumerate().map(|(index, (kind, _))| format!("c{index} {kind}")).collect();
    world
        .source_sql(&format!(
            "{KNOWN} {ROLE} {MADE}
             create table marker (id integer primary key);
             create table kinds (id integer primary key, {})",
            kinds.join(", ")
        ))
        .await;
    for row in 0..=rows {
        let values = values(row);
        world.source_sql(&format!("insert into kinds values ({row}, {values}); insert into kinds values (2000 + {row})")).await;
    }
    world.target.sql(ROLE).await;
    world.create_task("types", "full-load-and-cdc", "drop-and-create", json!({})).await;
    world.start_task("types").await;
    world.wait_phase("types", "replicating").await;
    for row in 0..=rows {
        let (names, values) = (columns().join(", "), values(row));
        world
            .source_sql(&format!(
                "insert into kinds values (1000 + {row}, {values}); update kinds set ({names}) = ({values}) where id = 2000 + {row}"
            ))
            .await;
    }
    world.wait_level("types").await;

    let read = |schema: &str| {
        let names: Vec<String> = columns().iter().map(|name| format!("{name}::text")).collect();
        format!("{PRINT} select id::text, {} from {schema}.kinds order by id", names.join(", "))
    };
    let Source::Postgres(source) = &*world.source else { unreachable!("the source is PostgreSQL") };
    let (wanted, found) = (source.rows(&read("public")).await, world.target.rows(&read("copy")).await);
    assert_eq!(found.len(), 3 * (rows + 1));
    assert_eq!(found.len(), wanted.len());
    let mut faults = Vec::new();
    for (wanted, found) in wanted.iter().zip(&found) {
        for (index, (kind, _)) in KINDS.iter().enumerate() {
            if wanted[index + 1] != found[index + 1] {
                faults.push(format!("{kind} in row {:?}: {:?}, wanted {:?}", wanted[0], found[index + 1], wanted[index + 1]));
            }
        }
    }
    assert!(faults.is_empty(), "{} values differ:\n{}", faults.len(), faults.join("\n"));

    // The kinds of the columns are those that docs/types.md tells of.
    let kinds =
        "select format_type(atttypid, atttypmod) from pg_attribute where attrelid = 'copy.kinds'::regclass and attnum > 1 order by attnum";
    let kinds = world.target.rows(&format!("set search_path = public; {kinds}")).await;
    for ((wanted, _), found) in KINDS.iter().zip(&kinds) {
        let wanted = match *wanted {
            "mood" | "mood[]" | "pair" | "small_amount" | "amount[]" | "weak_isbn" => continue,
            "timestamp" => "timestamp without time zone",
            "timestamp(3)" => "timestamp(3) without time zone",
            "timestamptz" => "timestamp with time zone",
            "timestamptz[]" => "timestamp with time zone[]",
            "time" => "time without time zone",
            "timetz" => "time with time zone",
            "char(5)" => "character(5)",
            "varchar(10)" => "character varying(10)",
            "citext" => "text",
            same => same,
        };
        assert_eq!(found[0].as_deref(), Some(wanted));
    }
    let of_users = |kind: &str| KINDS.iter().position(|(name, _)| *name == kind).and_then(|index| kinds[index][0].clone());
    assert_eq!(of_users("mood").as_deref(), Some("copy.mood"));
    assert_eq!(of_users("pair").as_deref(), Some("pair"));
    assert_eq!(of_users("small_amount").as_deref(), Some("numeric(12,2)"));
    assert_eq!(of_users("weak_isbn").as_deref(), Some("isbn"));
}

/// Tables that exist before the task starts, with rows.
const TABLES: &str = "
create table marker (id integer primary key);
create table toast (id int primary key, a text, b text, c int[], d bytea, e jsonb);
alter table toast alter a set storage external, alter c set storage external, alter d set storage external, alter e set storage external;
insert into toast select g, repeat('x', 9000), 'b', array_fill(g, array[3000]), decode(repeat('ab', 9000), 'hex'),
       jsonb_build_object('k', repeat('j', 9000)) from generate_series(1, 9) g;
create table toast_full (like toast including all); alter table toast_full replica identity full;
insert into toast_full select * from toast;
create table by_index (a int primary key, b text not null, c int);
create unique index by_index_b on by_index (b); alter table by_index replica identity using index by_index_b;
insert into by_index values (1, 'k1', 1), (2, 'k2', 2), (3, 'k3', 3);
create table full_keyed (b text, a int primary key); alter table full_keyed replica identity full;
insert into full_keyed values ('x', 1), ('x', 2), (null, 3);
create table duplicates (a int, b text, j json, p point, f float8); alter table duplicates replica identity full;
insert into duplicates select 1, null, '{\"a\": 1}', '(1,NaN)', 'NaN' from generate_series(1, 4);
create table composite (a int, b int, c text, primary key (b, a));
insert into composite values (1, 1, 'x'), (1, 2, 'y'), (2, 1, 'z');
create table odd_keys (n numeric, f float8, ch char(5), ts timestamptz, primary key (n, f, ch, ts));
insert into odd_keys values (1.0, 0, 'ab', '2020-01-01'), (2.50, '1e-300', 'c', '9999-12-31');
create table minus_keys (f float8, r real, v int, primary key (f, r)); insert into minus_keys values (0, '-0', 1), ('-0', 1, 2), (2, 0, 3);
create table endless_keys (ts timestamptz primary key, v int); insert into endless_keys values ('infinity', 1), ('-infinity', 2);
create table cleared_1 (id int primary key, v text); create table cleared_2 (id serial primary key, v text);
insert into cleared_1 select g, 'old' from generate_series(1, 100) g; insert into cleared_2 (v) select 'old' from generate_series(1, 100);
create table part (id int, k int, v text, primary key (id, k)) partition by list (k);
create table part_1 partition of part for values in (1);
create table part_2 (v text, junk int, k int not null, id int not null);
alter table part_2 drop column junk; alter table part attach partition part_2 for values in (2);
insert into part values (1, 1, 'a'), (2, 2, 'b'), (3, 1, 'c');
create table swaps (id int primary key, u int unique deferrable initially deferred);
insert into swaps values (1, 1), (2, 2), (3, 3);
create table computed (id int primary key, a int, twice int generated always as (a * 2) stored, b text);
insert into computed (id, a, b) values (1, 10, 'x');
create table gone (drop_me int, id int primary key, also int, v text); alter table gone drop drop_me, drop also;
insert into gone values (1, 'v');
create table streamed (id int primary key, v text);
create table always (id int generated always as identity primary key, v text); insert into always (v) values ('one'), ('two');
create table large_kinds (id int primary key, note text, t text[], u uuid[], d date[], i int8[], h hstore, x xml, n numeric, v text);
alter table large_kinds alter t set storage external, alter u set storage external, alter d set storage external,
       alter i set storage external, alter h set storage external, alter x set storage external, alter n set storage external,
       alter v set storage external;
insert into large_kinds select g, 'a', array_fill('t' || g, array[1500]), array_fill('123e4567-e89b-12d3-a456-426614174000'::uuid, array[500]),
       array_fill(date '2024-02-29', array[2000]), array_fill(g::int8, array[1000]), hstore('k', repeat('h', 9000)),
       ('<a>' || repeat('x', 9000) || '</a>')::xml, (repeat('9', 6000) || '.' || repeat('7', 6000))::numeric, null from generate_series(1, 4) g;
create type key_kind as enum ('x', 'y z'); create collation blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
create table more_keys (c citext, i inet, e key_kind, u uuid, b bytea, k text collate blind, v int, primary key (c, i, e, u, b, k));
insert into more_keys select c, '10.0.0.1/8', 'x', '123e4567-e89b-12d3-a456-426614174000', '\\x00ff', k, v
       from (values ('AbC', 'Key', 1), ('d', 'key', 2), ('e', 'Other', 3), ('f', 'Last', 4)) w(c, k, v);
";

/// The widest table that there is.
fn wide() -> String {
    let columns: Vec<String> = (1..1_600).map(|number| format!("c{number} smallint")).collect();
    format!(
        "create table wide (id int primary key, {}); insert into wide (id, c1, c1599) select g, g, -g from generate_series(1, 30) g",
        columns.join(", ")
    )
}

/// Changes while the task runs, each group one transaction.
const CHANGES: &[&str] = &[
    "update toast set b = 'c' where id = 1; update toast set id = 12, b = 'd' where id = 2; update toast set a = 'short' where id = 3;
     update toast set b = 'e' where id = 3; update toast set id = 13 where id = 3; update toast set b = 'f' where id = 13;
     update toast set a = repeat('y', 9000) where id = 4; update toast set b = 'g' where id = 4; update toast set id = id + 20 where id in (4, 5);
     update toast set b = null where id = 25; delete from toast where id = 6; insert into toast values (6, repeat('new', 4000), 'b');
     update toast set b = 'again' where id = 6",
    "update toast_full set b = 'c' where id = 1; update toast_full set id = 12 where id = 2; delete from toast_full where id = 3;
     update toast_full set b = 'd' where id = 12",
    "update by_index set a = 5 where a = 1; update by_index set b = 'other' where a = 2; delete from by_index where a = 3;
     update by_index set c = 7 where a = 5; update by_index set a = 6 where a = 5; insert into by_index values (1, 'k1-new', 1)",
    "update full_keyed set b = 'y' where a = 1; update full_keyed set a = 9 where a = 3; delete from full_keyed where a = 2",
    "delete from duplicates where ctid = (select min(ctid) from duplicates); insert into duplicates values (2, 'two', 'null', '(0,0)', 1)",
    "update duplicates set a = 7 where ctid = (select min(ctid) from duplicates)",
    "update composite set a = 3 where a = 2; update composite set c = 'changed' where a = 1 and b = 2; update composite set a = 9, b = 9 where c = 'x';
     update composite set b = b + 10; delete from composite where a = 3",
    "update odd_keys set ts = ts + interval '1 second' where n = 1.00; update odd_keys set n = 2.5000, f = 0 where n = 2.5;
     update endless_keys set v = v + 1; update endless_keys set ts = '2020-01-01' where v = 3; insert into endless_keys values ('-infinity', 9);
     update minus_keys set v = 4 where f = 0; update minus_keys set r = '-0' where f = 2; delete from minus_keys where f = 0 and r = 1",
    "insert into cleared_1 values (1000, 'before'); truncate cleared_1, cleared_2 restart identity; insert into cleared_1 values (1, 'after');
     insert into cleared_2 (v) values ('after'); update cleared_2 set v = 'after all'",
    "update part set k = 2 where id = 1; update part set v = 'moved' where id = 1; insert into part values (4, 1, 'd'); update part set k = 1 where id = 2;
     delete from part where id = 3",
    "update swaps set u = 3 - u where id in (1, 2)",
    "update swaps set id = id + 1 where id = 3; update swaps set u = 30 where id = 4; insert into swaps values (3, 3)",
    "update computed set a = 11; insert into computed (id, a, b) values (2, 5, 'y')",
    "update gone set v = 'w'; insert into gone values (2, 'x')",
    "insert into streamed select g, repeat('a', 200) from generate_series(1, 700) g; savepoint a;
     insert into streamed select g, repeat('b', 200) from generate_series(1001, 1700) g; update streamed set v = 'gone' where id < 100;
     rollback to a; insert into streamed values (9999, 'kept'); savepoint b; delete from streamed where id = 700; release b",
    "insert into always (v) values ('three'); insert into always overriding system value values (70, 'seventy'); update always set v = 'ONE' where id = 1",
    "update large_kinds set note = 'b' where id = 1; update large_kinds set v = repeat('v', 9000) where id = 2;
     update large_kinds set note = 'c' where id = 2; update large_kinds set id = 30 where id = 3; update large_kinds set h = null where id = 1;
     update large_kinds set note = 'd' where id = 1; update large_kinds set i = '{1}', note = 'e' where id = 4",
    "update more_keys set v = v + 10; update more_keys set c = 'ABC' where v = 11; update more_keys set k = 'KEY' where c = 'd';
     update more_keys set e = 'y z', i = '10.0.0.2/8' where c = 'e'; update more_keys set v = v + 1 where i = '10.0.0.2/8'",
    // The key is another and is equal all the same.
    "delete from more_keys where c = 'f'; insert into more_keys select 'F', i, 'x', u, b, 'LAST', 99 from more_keys where c = 'd';
     delete from odd_keys where n = 1; insert into odd_keys values (1.0000, 0, 'ab', '2020-01-01 00:00:01');
     delete from minus_keys where f = 0; insert into minus_keys values ('-0', 0, 5)",
    "update wide set c1599 = 7, c800 = id where id % 2 = 0; insert into wide (id, c2) select g, g from generate_series(100, 130) g;
     update wide set id = 1000 where id = 3; delete from wide where id < 3",
];

const TABLE_NAMES: &[&str] = &[
    "toast",
    "toast_full",
    "by_index",
    "full_keyed",
    "duplicates",
    "composite",
    "odd_keys",
    "endless_keys",
    "minus_keys",
    "cleared_1",
    "cleared_2",
    "part",
    "swaps",
    "gone",
    "streamed",
    "prepared",
    "always",
    "computed",
    "while_streaming",
    "large_kinds",
    "more_keys",
    "wide",
];

async fn check_equal(world: &World, table: &str) {
    let read = |schema: &str| format!("{PRINT} select row(t.*)::text from {schema}.{table} t order by 1");
    let Source::Postgres(source) = &*world.source else { unreachable!("the source is PostgreSQL") };
    let (wanted, found) = (source.rows(&read("public")).await, world.target.rows(&read("copy")).await);
    let short = |rows: &[Vec<Option<String>>]| {
        rows.iter().flatten().map(|row| row.clone().map(|text| text.chars().take(200).collect::<String>())).collect::<Vec<_>>()
    };
    assert!(wanted == found, "table {table} has {:#?}\nwanted {:#?}", short(&found), short(&wanted));
}

/// What MySQL and MariaDB have no place for, and why. A table, or a column of it.
const NOT_IN_MYSQL: &[(&str, &str, &str)] = &[
    ("wide", "", "1,600 columns are refused, `too_many_columns`"),
    ("endless_keys", "", "they have no infinite moments"),
    ("duplicates", "f", "they have no NaN"),
    ("computed", "twice", "generated columns of another engine are left out and named, `generated_columns`"),
    ("large_kinds", "n", "their decimals have at most 65 digits"),
];

/// The same of MariaDB alone.
const NOT_IN_MARIADB: &[(&str, &str, &str)] = &[("minus_keys", "", "it has no zero with a sign")];

/// What a target of one world beside the first has no place for.
fn not_in(world: &World) -> Vec<(&'static str, &'static str, &'static str)> {
    if is_mysql(world) { NOT_IN_MYSQL.to_vec() } else { [NOT_IN_MYSQL, NOT_IN_MARIADB].concat() }
}

/// Rules that leave it out.
fn rules_of(world: &World) -> Vec<Value> {
    let rule = |(number, (table, column, _)): (usize, (&str, &str, &str))| {
        let id = (10 + number).to_string();
        let (kind, action) = if column.is_empty() { ("selection", "exclude") } else { ("transformation", "remove-column") };
        let mut rule = json!({"rule-type": kind, "rule-id": id, "rule-name": id, "rule-action": action,
            "object-locator": {"schema-name": "public", "table-name": table}});
        if !column.is_empty() {
            rule["rule-target"] = json!("column");
            rule["object-locator"]["column-name"] = json!(column);
        }
        rule
    };
    not_in(world).into_iter().enumerate().map(rule).collect()
}

/// Compares what MySQL and MariaDB have a place for.
async fn check_elsewhere(world: &World, tables: &[&str]) {
    for table in tables {
        let left_out: Vec<&str> = not_in(world).into_iter().filter(|(name, ..)| name == table).map(|(_, column, _)| column).collect();
        if left_out.contains(&"") {
            continue;
        }
        let pair = left_out.into_iter().fold(TablePair::new(("public", table), ("copy", table)), TablePair::without);
        let found = compare_databases(&world.source.database(), &world.target.database(), &[pair]).await;
        assert_eq!(found.differences, 0, "{found}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_postgres_change_arrives() {
    let world = world(&["logical_decoding_work_mem=64kB", "max_prepared_transactions=10"]).await;
    let mut others = beside(&world).await;
    world.target.sql("create extension hstore").await;
    world.source_sql(&format!("create extension hstore; create extension citext; {TABLES} {}", wide())).await;
    world.source_sql("create table prepared (id int primary key, v text); create table while_streaming (id int primary key, v text)").await;
    world.create_task("changes", "full-load-and-cdc", "drop-and-create", json!({})).await;

    let findings = world.host.post("/v1/tasks/changes/check", &json!({})).await.ok()["findings"].clone();
    assert!(!findings.to_string().contains("generated_columns"), "{findings}");
    let partitioned = findings.as_array().and_then(|all| all.iter().find(|finding| finding["code"] == "partitioned"));
    assert!(partitioned.is_some_and(|finding| finding["object"].to_string().contains("part")), "{findings}");

    // PG-044: a table without columns has nothing to tell a row by.
    world.source_sql("create table bare ()").await;
    let refused = world.host.post("/v1/tasks/changes/check", &json!({})).await.ok();
    let told = refused["findings"][0]["found"].to_string();
    assert!(refused["passed"] == false && told.contains("public.bare") && told.contains("no column is left"), "{refused}");
    // An array of a type without a binary form can be sent by nobody.
    world.source_sql("drop table bare; create extension isn; create table listed (id int primary key, i isbn[])").await;
    let refused = world.host.post("/v1/tasks/changes/check", &json!({})).await.ok();
    let told = refused["findings"].as_array().and_then(|all| all.iter().find(|finding| finding["code"] == "column_type"));
    let names = ["column \\\"i\\\" of table \\\"public.listed\\\"", "parts of type isbn", "alter column"];
    assert!(refused["passed"] == false && told.is_some_and(|told| names.iter().all(|name| told.to_string().contains(name))), "{refused}");
    world.source_sql("drop table listed").await;
    for (other, task) in &others {
        other.create_task_with(task, "full-load-and-cdc", "drop-and-create", json!({}), rules_of(other)).await;
        other.start_task(task).await;
    }

    world.start_task("changes").await;
    world.wait_phase("changes", "replicating").await;
    for (other, task) in &others {
        other.wait_phase(task, "replicating").await;
    }
    for change in CHANGES {
        world.source_sql(&format!("begin; {change}; commit")).await;
    }
    // Three transactions, each too large for the source's memory, at the same time: nothing of them is shown before they end. One is rolled back.
    let Source::Postgres(source) = &*world.source else { unreachable!("the source is PostgreSQL") };
    let (one, two, three) = (source.client().await, source.client().await, source.client().await);
    for client in [&one, &two, &three] {
        client.batch_execute("begin").await.expect("a transaction can begin");
    }
    for (client, start) in [(&one, 1), (&two, 10_001), (&three, 20_001), (&one, 5_001), (&two, 15_001), (&three, 25_001)] {
        let text = format!("insert into while_streaming select g, repeat('s', 200) from generate_series({start}, {start} + 900) g");
        client.batch_execute(&text).await.expect("rows can be inserted");
    }
    world.wait_level("changes").await;
    assert_eq!(world.target.value("select count(*) from copy.while_streaming").await, "0");
    two.batch_execute("rollback").await.expect("it can be rolled back");
    three.batch_execute("commit").await.expect("it can be committed");
    one.batch_execute("commit").await.expect("it can be committed");
    // Prepared work is shown when it is committed, once; what is rolled back, never.
    world.source_sql("begin; insert into prepared values (1001, 'p'); prepare transaction 'g1'").await;
    world.source_sql("begin; insert into prepared values (1002, 'p'); prepare transaction 'g2'").await;
    world.wait_level("changes").await;
    assert_eq!(world.target.value("select count(*) from copy.prepared").await, "0");
    for (other, task) in &others {
        other.wait_level(task).await;
        assert_eq!(other.target.value("select count(*) from copy.prepared").await, "0");
    }
    let mut world = world;
    world.kill_and_restart().await;
    for (other, _) in &mut others {
        other.kill_and_restart().await;
    }
    world.source_sql("commit prepared 'g1'").await;
    world.source_sql("rollback prepared 'g2'").await;
    world.source_sql("update prepared set v = 'q'").await;
    world.wait_level("changes").await;
    for table in TABLE_NAMES.iter().copied() {
        check_equal(&world, table).await;
    }
    for (other, task) in &others {
        other.wait_level(task).await;
        check_elsewhere(other, TABLE_NAMES).await;
    }
    assert_eq!(world.target.value("select count(*) from copy.streamed").await, "700");
    assert_eq!(world.target.value("select count(*) from copy.while_streaming").await, "3604");
    let own =
        "select attnum::text || attgenerated::text from pg_attribute where attrelid = 'copy.computed'::regclass and attname = 'twice'";
    assert_eq!(world.target.value(own).await, "3s", "a generated column is one in the target too, in its place");

    // The same again after a restart: everything that was learned of the tables is learned anew.
    world.kill_and_restart().await;
    for (other, _) in &mut others {
        other.kill_and_restart().await;
    }
    world.source_sql("update toast set b = 'after'; update by_index set a = a + 100; update part set k = 3 - k; truncate cleared_1").await;
    world.wait_level("changes").await;
    let again = ["toast", "by_index", "part", "cleared_1"];
    for table in again {
        check_equal(&world, table).await;
    }
    for (other, task) in &others {
        other.wait_level(task).await;
        check_elsewhere(other, &again).await;
    }
    world.wait_phase("changes", "replicating").await;

    // PG-015: without its index the log tells no row of the table any more, and the source refuses updates.
    world.source_sql("drop index by_index_b; insert into by_index values (50, 'k50', 50)").await;
    for (world, task) in [(&world, "changes")].into_iter().chain(others.iter().map(|(other, task)| (other, *task))) {
        let failure = world.wait_failed(task).await;
        assert!(failure["code"] == "no_replica_identity" && failure.to_string().contains("public.by_index"), "{failure}");
    }
}
