//! Values that a target's types have no place for: NULL where the task says so, rows at fault otherwise, and never
//! another value; loaded and streamed. On the same servers: characters that a task replaces.

use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_harness::{MysqlFlavour, PostgresVersion};

use crate::world::{Source, World};

/// Codes of the error table's entries by table and key.
pub(crate) async fn told(world: &World, task: &str) -> Vec<String> {
    let page = world.host.get(&format!("/v1/tasks/{task}/errors?limit=100")).await.ok();
    let one = |entry: &Value| format!("{} {} {}", entry["table"], entry["key"], entry["code"]).replace('"', "");
    let mut told: Vec<String> = page["errors"].as_array().expect("a list of entries").iter().map(one).collect();
    told.sort();
    told
}

pub(crate) async fn texts(world: &World, query: &str) -> Vec<String> {
    let one = |row: Vec<Option<String>>| row.into_iter().map(|value| value.unwrap_or("NULL".into())).collect::<Vec<_>>().join(" | ");
    world.target.rows(query).await.into_iter().map(one).collect()
}

/// `b` becomes `a`, `x` goes, and what Latin-9 does not have becomes `?`: in keys, in old and new images, and only in texts.
fn replacements() -> Value {
    json!({"replace": {"0062": "0061", "0078": ""}, "character_set": "iso-8859-15", "replace_others": "003F"})
}

/// Texts are keys of `words` and identify the rows of `loose`, which has no key. `heap` is what a table needs at this source
/// to tell its rows whole.
async fn make_words(source: &Source, heap: &str) {
    let make = "create table words (word varchar(40) primary key, note text, doc json, n integer); create table loose (word varchar(40), n integer)";
    source.sql(&format!("{make}; {heap}")).await;
    let sql = "insert into words values ('bob', 'xé€日', '{\"b\": \"x\"}', 1), ('cob', 'plain', null, 2), ('dob', null, null, 3);
        insert into loose values ('bx', 1), ('bx', 1), ('b', 2)";
    source.sql(sql).await;
}

async fn change_words(source: &Source) {
    source
        .sql(
            "insert into words values ('new日b', 'b', null, 4); update words set n = 10 where word = 'bob';
             update words set word = 'mob', note = '日b' where word = 'cob'; delete from words where word = 'dob';
             delete from loose where word = 'b'; update loose set word = 'bxb' where n = 1",
        )
        .await;
}

/// What becomes of it, by `document`, the column of JSON as the target spells it.
async fn check_words(world: &World, document: &str) {
    let words = texts(world, &format!("select word, note, {document}, n from copy.words order by n")).await;
    assert_eq!(words, ["moa | ?a | NULL | 2", "new?a | a | NULL | 4", "aoa | é€? | b:x | 10"]);
    assert_eq!(texts(world, "select word, n from copy.loose").await, ["aa | 1", "aa | 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_without_a_place_in_mysql_become_null_or_rows_at_fault() {
    let world = World::between(Source::postgres(PostgresVersion::V17).await, Source::mysql(MysqlFlavour::Mysql97).await).await;
    let rows = |from: u32| {
        format!(
            "insert into odd values ({}, 1.5, 2.5, '2024-02-29', '9999-12-31 23:59:59', '2024-01-01 00:00:00+00', 1),
                ({}, 'NaN', '-Infinity', 'infinity', '-infinity', 'infinity', 2),
                ({}, null, 'NaN', '0044-03-15 BC', '10000-01-01', '0001-01-01 00:00:00+00 BC', 3),
                ({}, 0, 0, '2024-01-01', '2024-01-01', '2024-01-01 00:00:00+00', 'NaN')",
            from,
            from + 1,
            from + 2,
            from + 3
        )
    };
    world
        .source_sql(&format!(
            "create table odd (id integer primary key, n numeric, f double precision, d date, t timestamp, z timestamptz,
                must real not null);
             create table heap (n integer, f double precision); alter table heap replica identity full;
             create table marker (id integer primary key);
             {}; insert into heap values (1, 'NaN'), (2, 0.5), (3, 'NaN')",
            rows(1)
        ))
        .await;
    make_words(&world.source, "alter table loose replica identity full").await;
    let nulls =
        json!({"unfit_values": {"not_finite": "null", "moments": "null"}, "row_errors": {"data": "log"}, "characters": replacements()});
    world.create_task("nulls", "full-load-and-cdc", "drop-and-create", nulls).await;
    let findings = world.host.post("/v1/tasks/nulls/check", &json!({})).await.ok();
    let warned = findings["findings"].as_array().expect("a list of findings").iter().find(|finding| finding["code"] == "unfit_not_null");
    assert!(warned.is_some_and(|finding| finding["found"].as_str().is_some_and(|found| found.contains("\"must\""))), "{findings}");
    let warned = findings["findings"].as_array().into_iter().flatten().filter(|finding| finding["code"] == "characters_in_key").count();
    assert_eq!(warned, 1, "{findings}");
    world.start_task("nulls").await;
    world.wait_phase("nulls", "replicating").await;
    change_words(&world.source).await;
    world.source_sql(&format!("{}; update odd set n = 'NaN' where id = 1; delete from heap where n = 1", rows(11))).await;
    world.wait_level("nulls").await;
    let found = texts(&world, "select id, n + 0e0, f, d, t, z, must from copy.odd order by id").await;
    let whole = |id: u32, n: &str| format!("{id} | {n} | 2.5 | 2024-02-29 | 9999-12-31 23:59:59.000000 | 2024-01-01 00:00:00.000000 | 1");
    let nothing = |id: u32, must: u32| format!("{id} | NULL | NULL | NULL | NULL | NULL | {must}");
    assert_eq!(found, [whole(1, "NULL"), nothing(2, 2), nothing(3, 3), whole(11, "1.5"), nothing(12, 2), nothing(13, 3)]);
    assert_eq!(texts(&world, "select n, f from copy.heap order by n").await, ["2 | 0.5", "3 | NULL"]);
    check_words(&world, "concat('b:', doc->>'$.b')").await;
    assert_eq!(told(&world, "nulls").await, ["odd {id:14} value_refused", "odd {id:4} value_refused"]);
    world.stop_task("nulls").await;

    world.create_task("errors", "full-load", "drop-and-create", json!({})).await;
    world.start_task("errors").await;
    let failure = world.wait_failed("errors").await;
    assert_eq!(failure["code"], "value_refused", "{failure}");
    assert!(failure["hint"].as_str().is_some_and(|hint| hint.contains("unfit_values")), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn zero_dates_stay_between_their_own_servers_and_are_null_in_others() {
    let source = Arc::new(Source::mysql(MysqlFlavour::Mariadb1011).await);
    let own = World::with(source.clone(), Arc::new(Source::mysql(MysqlFlavour::Mysql97).await)).await;
    let other = World::with(source.clone(), Arc::new(Source::postgres(PostgresVersion::V17).await)).await;
    let rows = |from: u32| {
        format!(
            "set sql_mode = ''; insert into zeros values ({}, '0000-00-00', '0000-00-00 00:00:00', '0000-00-00 00:00:00'),
                ({}, '2020-00-00', '2020-05-00 01:02:03.50', null), ({}, '2020-02-29', '1000-01-01', '2020-01-01 00:00:00')",
            from,
            from + 1,
            from + 2
        )
    };
    own.source_sql(&format!(
        "set time_zone = '+00:00';
         create table zeros (id int primary key, d date, t datetime(2), s timestamp null);
         create table by_date (d date primary key, v int);
         create table labels (id int primary key, e enum('a',''));
         create table marker (id int primary key);
         set sql_mode = ''; insert into labels values (1, 'nonsense'), (2, '');
         {}; insert into by_date values ('0000-00-00', 1), ('2020-01-01', 2)",
        rows(1)
    ))
    .await;
    make_words(&own.source, "alter table words convert to character set utf8mb4").await;
    let nulls = json!({"unfit_values": {"zero_dates": "null"}, "row_errors": {"data": "log"}, "characters": replacements()});
    own.create_task("own", "full-load-and-cdc", "drop-and-create", json!({})).await;
    other.create_task("other", "full-load-and-cdc", "drop-and-create", nulls).await;
    for (world, task) in [(&own, "own"), (&other, "other")] {
        world.start_task(task).await;
        world.wait_phase(task, "replicating").await;
    }
    change_words(&own.source).await;
    let changes = "set sql_mode = ''; update zeros set d = '0000-00-00' where id = 3; update by_date set v = 3 where d = '2020-01-01';
        update labels set e = 'nonsense' where id = 2; insert into labels values (3, 'a')";
    own.source_sql(&format!("set time_zone = '+00:00'; {}; {changes}", rows(11))).await;
    own.wait_level("own").await;
    other.wait_level("other").await;

    let found = texts(&own, "select id, cast(d as char), cast(t as char), cast(s as char) from copy.zeros order by id").await;
    let zero = |id: u32| format!("{id} | 0000-00-00 | 0000-00-00 00:00:00.00 | 0000-00-00 00:00:00");
    let part = |id: u32| format!("{id} | 2020-00-00 | 2020-05-00 01:02:03.50 | NULL");
    let whole = |id: u32, day: &str| format!("{id} | {day} | 1000-01-01 00:00:00.00 | 2020-01-01 00:00:00");
    assert_eq!(found, [zero(1), part(2), whole(3, "0000-00-00"), zero(11), part(12), whole(13, "2020-02-29")]);
    assert_eq!(texts(&own, "select cast(d as char), v from copy.by_date order by d").await, ["0000-00-00 | 1", "2020-01-01 | 3"]);

    let found = texts(&other, "select id, d, t, s at time zone 'UTC' from copy.zeros order by id").await;
    let whole = |id: u32, day: &str| format!("{id} | {day} | 1000-01-01 00:00:00 | 2020-01-01 00:00:00");
    let nothing = |id: u32| format!("{id} | NULL | NULL | NULL");
    assert_eq!(found, [nothing(1), nothing(2), whole(3, "NULL"), nothing(11), nothing(12), whole(13, "2020-02-29")]);
    assert_eq!(texts(&other, "select d, v from copy.by_date").await, ["2020-01-01 | 3"]);
    check_words(&other, "'b:' || (doc ->> 'b')").await;
    assert_eq!(texts(&own, "select word from copy.words where n = 10").await, ["bob"], "only where the task says so");
    // Index 0 of an enumeration is such a value, too.
    assert_eq!(texts(&own, "select id, e + 0 from copy.labels order by id").await, ["1 | 0", "2 | 0", "3 | 1"]);
    assert_eq!(texts(&other, "select id, e from copy.labels order by id").await, ["2 | ", "3 | a"]);
    assert_eq!(told(&other, "other").await, ["by_date {d:0000-00-00} zero_date", "labels {id:1} enum_empty", "labels {id:2} enum_empty"]);
}
