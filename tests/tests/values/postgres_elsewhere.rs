//! Every value of every type of PostgreSQL into MySQL and MariaDB: equal, or a row at fault that is listed here.

use std::sync::Arc;

use serde_json::json;
use tidegate_harness::{MysqlFlavour, PostgresVersion, TablePair, compare_databases};

use crate::postgres_kinds::{KINDS, KNOWN, MADE, ROLE};
use crate::world::{Source, World};

/// Values that neither target has a place for, by type, and why.
const UNFIT: &[(&str, &[&str], &str)] = &[
    ("numeric", &["'NaN'", "'Infinity'", "'-Infinity'"], "no number"),
    ("numeric", &["(repeat('9', 1000) || '.' || repeat('1', 1000))::numeric", "1e131071"], "more than 65 digits"),
    ("real", &["'NaN'", "'Infinity'"], "no number"),
    ("double precision", &["'NaN'", "'-Infinity'"], "no number"),
    ("date", &["'infinity'", "'-infinity'", "'4713-01-01 BC'", "'0044-03-15 BC'", "'5874897-12-31'"], "years 1 to 9999"),
    ("timestamp", &["'infinity'", "'-infinity'", "'4713-01-01 BC'", "'294276-12-31 23:59:59.999999'"], "years 1 to 9999"),
    ("timestamptz", &["'infinity'", "'-infinity'", "'294276-12-31 23:59:59.999999+00'"], "years 1 to 9999"),
    ("timestamptz[]", &["'{infinity,2020-01-01 00:00:00.5+00}'"], "years 1 to 9999"),
    ("integer[]", &["'[0:1][2:3]={{1,NULL},{3,4}}'"], "arrays of JSON begin at one place"),
    ("json", &[r#"'"\ud800"'"#], "half a character"),
];

/// The same of MySQL, which reads documents, alone.
const UNFIT_IN_MYSQL: &[(&str, &[&str], &str)] = &[
    ("json[]", &[r#"array['{"a": 1,  "a":2}', 'null']::json[]"#], "one member of a name"),
    ("json", &[r#"'{"b": 1,  "a":2, "a":3, "x":"\u0041"}'"#], "one member of a name"),
    ("jsonb", &[r#"'{"n":1.10,"big":123456789012345678901234567890,"a":1,"a":2}'"#], "numbers are doubles"),
];

/// The same of MariaDB alone.
const UNFIT_IN_MARIADB: &[(&str, &[&str], &str)] =
    &[("real", &["'-0'"], "a zero has no sign"), ("double precision", &["'-0'"], "a zero has no sign")];

/// Types that go as the digits of their binary form, of which the check warns: not as their texts are.
const AS_BYTES: [&str; 2] = ["note", "note[]"];

/// Each value in a row of its own: the number of the row, the number of its column, type and value.
fn cases() -> Vec<(usize, usize, &'static str, &'static str)> {
    let each = KINDS.iter().enumerate().flat_map(|(column, (kind, values))| values.iter().map(move |value| (column, *kind, *value)));
    each.enumerate().map(|(row, (column, kind, value))| (row, column, kind, value)).collect()
}

/// A row as a failure shall name it: its id, type and value.
fn named(id: usize) -> String {
    let (_, _, kind, value) = cases()[id % 1000];
    format!("{id} {kind} {value}")
}

/// The column of a type.
fn column(kind: &str) -> String {
    format!("c{}", KINDS.iter().position(|(name, _)| *name == kind).expect("a type of the list"))
}

/// Ids of the rows in the task's list of rows at fault.
async fn at_fault(world: &World, task: &str) -> Vec<usize> {
    let (mut ids, mut after) = (Vec::new(), json!(0));
    while !after.is_null() {
        let page = world.host.get(&format!("/v1/tasks/{task}/errors?limit=100&after={after}")).await.ok();
        let entries = page["errors"].as_array().expect("a list of entries");
        for entry in entries {
            assert_eq!(entry["code"], "value_refused", "{entry}");
            ids.push(entry["key"]["id"].as_u64().expect("the key is a number") as usize);
        }
        after = page["next"].clone();
    }
    ids.sort_unstable();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn every_postgres_value_is_equal_in_mysql_and_mariadb_or_a_row_at_fault() {
    let source = Arc::new(Source::postgres(PostgresVersion::V15).await);
    let columns: Vec<String> = KINDS.iter().enumerate().map(|(index, (kind, _))| format!("c{index} {kind}")).collect();
    source
        .sql(&format!(
            "{KNOWN} {ROLE} {MADE} create table marker (id integer primary key); create table kinds (id integer primary key, {})",
            columns.join(", ")
        ))
        .await;
    let insert = |from: usize| {
        let one = |(row, column, _, value): &(usize, usize, &str, &str)| {
            format!("insert into kinds (id, c{column}) values ({}, {value});", from + row)
        };
        cases().iter().map(one).collect::<String>()
    };
    source.sql(&format!("{} insert into kinds select 2000 + g from generate_series(0, {}) g", insert(0), cases().len() - 1)).await;
    let mut worlds = Vec::new();
    for (flavour, task, more) in
        [(MysqlFlavour::Mysql97, "to-mysql", UNFIT_IN_MYSQL), (MysqlFlavour::Mariadb1011, "to-mariadb", UNFIT_IN_MARIADB)]
    {
        let world = World::with(source.clone(), Arc::new(Source::mysql(flavour).await)).await;
        world.create_task(task, "full-load-and-cdc", "drop-and-create", json!({"row_errors": {"data": "log"}})).await;
        world.start_task(task).await;
        let is_unfit = |(_, _, kind, value): &(usize, usize, &str, &str)| {
            UNFIT.iter().chain(more).any(|(of, values, _)| of == kind && values.contains(value))
        };
        let unfit: Vec<usize> = cases().iter().filter(|case| is_unfit(case)).map(|(row, ..)| *row).collect();
        assert_eq!(unfit.len(), UNFIT.iter().chain(more).map(|(_, values, _)| values.len()).sum::<usize>(), "each is a value of the list");
        worlds.push((world, task, unfit));
    }
    for (world, task, _) in &worlds {
        world.wait_phase(task, "replicating").await;
    }
    let update =
        |(row, column, _, value): &(usize, usize, &str, &str)| format!("update kinds set c{column} = {value} where id = {};", 2000 + row);
    source.sql(&format!("{} {}", insert(1000), cases().iter().map(update).collect::<String>())).await;
    for (world, task, unfit) in &worlds {
        world.wait_level(task).await;
        let found: Vec<String> = at_fault(world, task).await.into_iter().map(named).collect();
        let wanted: Vec<String> = [0, 1000, 2000].iter().flat_map(|from| unfit.iter().map(move |row| named(from + row))).collect();
        assert_eq!(found, wanted, "{task}");
    }
    // What is at fault goes, also where its earlier state stands, and all the rest is equal.
    let gone: Vec<String> = worlds.iter().flat_map(|(.., unfit)| unfit).map(|row| format!("id % 1000 = {row}")).collect();
    source.sql(&format!("delete from kinds where {}", gone.join(" or "))).await;
    for (world, task, _) in &worlds {
        world.wait_level(task).await;
        let pair = AS_BYTES.iter().fold(TablePair::new(("public", "kinds"), ("copy", "kinds")), |pair, kind| pair.without(&column(kind)));
        let found = compare_databases(&source.database(), &world.target.database(), &[pair]).await;
        assert!(found.differences == 0 && found.rows > 350, "{found}");
        let bytes = format!("select {0} from copy.kinds where {0} is not null order by id", column("note"));
        let bytes: Vec<String> = world.target.rows(&bytes).await.into_iter().flatten().flatten().collect();
        assert_eq!(bytes, [r"\x616263", r"\x"].repeat(3));
    }
}
