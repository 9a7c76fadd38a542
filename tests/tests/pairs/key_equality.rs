//! Unique keys whose texts source and target do not hold equal alike, told by the check of each pair.

use serde_json::{Value, json};
use tidegate_harness::{MysqlFlavour, PostgresVersion};

use super::{TURN, worlds};
use crate::world::{Source, World};

/// Case is nothing in the first two columns, or blanks at the end in the second one; the third one tells all texts apart, and the last one
/// is in no key.
const IN_POSTGRES: &str = "create extension citext;
    create collation folding (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
    create table keyed (id int primary key, first citext unique, second text collate folding unique, third text unique, fourth citext)";

fn of_mysql(exact: &str) -> String {
    format!(
        "create table keyed (id int primary key, first varchar(50) collate utf8mb4_general_ci unique,
           second varchar(50) collate utf8mb4_bin unique, third varchar(50) collate {exact} unique, fourth varchar(50) collate utf8mb4_general_ci)"
    )
}

/// Makes the table that a task finds in its target. The index upon the last column has a collation of its own.
async fn prepare(name: &str, target: &Source) {
    let sql = match name {
        "postgres" => {
            "create schema copy; create extension citext;
             create collation folding (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
             create collation otherwise (provider = icu, locale = 'und-u-ks-level1', deterministic = false);
             create table copy.keyed (id int primary key, first text unique, second text collate folding unique, third citext unique, fourth text);
             create unique index on copy.keyed (fourth collate otherwise)"
                .to_owned()
        }
        engine => {
            let exact = if engine == "mysql" { "utf8mb4_0900_bin" } else { "utf8mb4_nopad_bin" };
            format!(
                "create database copy;
                 create table copy.keyed (id int primary key, first varchar(50) collate {exact} unique, second varchar(50) collate utf8mb4_bin unique,
                   third varchar(50) collate utf8mb4_general_ci unique, fourth varchar(50) collate utf8mb4_unicode_ci unique)"
            )
        }
    };
    target.sql(&sql).await;
}

/// What the check of a task says.
async fn findings(world: &World, task: &str, preparation: &str, settings: Value) -> Vec<Value> {
    world.create_task(task, "full-load", preparation, settings).await;
    let answer = world.host.post(&format!("/v1/tasks/{task}/check"), &json!({})).await.ok();
    answer["findings"].as_array().expect("a list of findings").clone()
}

/// Findings about keys, in the order of the columns' names: each with how bad it is.
async fn told(world: &World, task: &str, preparation: &str, settings: Value) -> Vec<String> {
    of_keys(&findings(world, task, preparation, settings).await)
}

fn of_keys(findings: &[Value]) -> Vec<String> {
    let of_keys = findings.iter().filter(|finding| finding["code"] == "key_collation");
    let one = |finding: &Value| {
        let (object, severity) = (finding["object"].as_str().unwrap_or_default(), finding["severity"].as_str().unwrap_or_default());
        let column = object.strip_prefix("column \"").and_then(|rest| rest.split('"').next()).unwrap_or(object);
        assert!(object.ends_with("table \"copy.keyed\""), "{finding}");
        format!("{column} {severity}")
    };
    let mut told: Vec<String> = of_keys.map(one).collect();
    told.sort();
    told
}

/// `made`: what is told of tables that the task makes in PostgreSQL, MySQL and MariaDB; `kept`: of those that are there.
async fn check(source: Source, definition: &str, made: [&[&str]; 3], kept: [&[&str]; 3]) {
    let _turn = TURN.lock().await;
    source.sql(definition).await;
    for (index, (name, world)) in worlds(source).await.iter().enumerate() {
        prepare(name, &world.target).await;
        assert_eq!(told(world, "made", "drop-and-create", json!({})).await, made[index], "made in {name}");
        assert_eq!(told(world, "kept", "truncate-before-load", json!({})).await, kept[index], "kept in {name}");
        if *name == "postgres" {
            // Without the source's objects, a collation is not carried, while a type is.
            let plain: &[&str] = if made[index].is_empty() { &["second info"] } else { made[index] };
            assert_eq!(told(world, "plain", "drop-and-create", json!({"schema": "minimal"})).await, plain, "plainly made in {name}");
        }
    }
}

const APART: &[&str] = &["first info", "second info"];

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_postgres_that_hold_texts_equal_otherwise_are_told() {
    let in_mysql: &[&str] = &["first info", "fourth error", "second warning", "third error"];
    let kept: [&[&str]; 3] = [&["first info", "fourth error", "third error"], in_mysql, in_mysql];
    check(Source::postgres(PostgresVersion::V17).await, IN_POSTGRES, [&[], APART, APART], kept).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_mysql_that_hold_texts_equal_otherwise_are_told() {
    let in_mysql: &[&str] = &["first info", "fourth error", "third error"];
    let kept: [&[&str]; 3] = [&["first info", "fourth error", "second error", "third error"], in_mysql, in_mysql];
    check(Source::mysql(MysqlFlavour::Mysql97).await, &of_mysql("utf8mb4_0900_bin"), [APART, &[], APART], kept).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_mariadb_that_hold_texts_equal_otherwise_are_told() {
    let in_mysql: &[&str] = &["first info", "fourth error", "third error"];
    let kept: [&[&str]; 3] = [&["first info", "fourth error", "second error", "third error"], in_mysql, in_mysql];
    check(Source::mysql(MysqlFlavour::Mariadb118).await, &of_mysql("utf8mb4_nopad_bin"), [APART, APART, &[]], kept).await;
}

/// Indexes have collations of their own, elements of arrays are equal by theirs, and some indexes refuse rows without identifying any.
const WITH_INDEXES: &str = "create extension citext;
    create collation folding (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
    create table keyed (id int primary key, by_index text, twice text unique, exact text collate folding, late text unique, list citext[] unique,
      part text unique);
    create unique index on keyed (by_index collate folding); create unique index on keyed (twice collate folding);
    create unique index on keyed (exact collate \"C\"); create unique index same on keyed (lower(by_index))";

#[tokio::test(flavor = "multi_thread")]
async fn keys_by_indexes_that_have_collations_of_their_own_or_hold_for_some_rows_are_told() {
    let _turn = TURN.lock().await;
    let source = Source::postgres(PostgresVersion::V17).await;
    source.sql(WITH_INDEXES).await;
    for (name, world) in worlds(source).await.iter() {
        let made = told(world, "made", "drop-and-create", json!({})).await;
        let (wanted, target): (&[&str], &str) = match *name {
            "postgres" => (
                &[],
                "create schema copy; create extension citext;
                 create collation folding (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
                 create table copy.keyed (id int primary key, by_index text, twice text collate folding unique, exact text collate folding unique,
                   late citext unique deferrable, list text[], part citext);
                 create unique index on copy.keyed (by_index collate folding); create unique index on copy.keyed (list) where id > 5;
                 create unique index on copy.keyed (part) where id > 5; create unique index same on copy.keyed (lower(by_index));
                 create unique index by_lower on copy.keyed (lower(late::text))",
            ),
            "mysql" => (
                &["by_index info", "list info", "twice info"],
                "create database copy; create table copy.keyed (id int primary key, by_index varchar(50), twice varchar(50), exact varchar(50),
                   late varchar(50), list varchar(50), part varchar(50), unique by_lower ((lower(late)))) collate utf8mb4_0900_bin",
            ),
            _ => (
                &["by_index info", "list info", "twice info"],
                "create database copy; create table copy.keyed (id int primary key, by_index varchar(50), twice varchar(50), exact varchar(50),
                   late varchar(50), list varchar(50), part varchar(50), unique by_lower (late(3))) collate utf8mb4_nopad_bin",
            ),
        };
        assert_eq!(made, wanted, "made in {name}");
        world.target.sql(target).await;
        let findings = findings(world, "kept", "truncate-before-load", json!({})).await;
        let wanted: &[&str] = if *name == "postgres" { &["exact error", "late error", "list info", "part error"] } else { &[] };
        assert_eq!(of_keys(&findings), wanted, "kept in {name}");
        let of_indexes: Vec<&Value> = findings.iter().filter(|finding| finding["code"] == "unique_index").collect();
        assert_eq!(of_indexes.len(), 1, "{findings:?}");
        let found = of_indexes[0]["found"].as_str().unwrap_or_default();
        assert!(found.ends_with(": \"by_lower\"") && of_indexes[0]["severity"] == "warning", "{name}: {found}");
    }
}
