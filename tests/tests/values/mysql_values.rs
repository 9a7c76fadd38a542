//! Every type of MySQL and MariaDB, and every change that replicas get wrong, into PostgreSQL 17, MySQL 9.7 and MariaDB 10.11.
//!
//! A row is loaded, its twin is streamed: both print the same in PostgreSQL, and what they print is written here. In the others they
//! equal the source's.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_harness::{MysqlFlavour, MysqlServer, PostgresVersion, TablePair, compare_databases, wait_for};

use crate::elsewhere::{beside, is_mysql};
use crate::world::{Source, World};

/// A column: its type, a value as SQL, the type in the target and the text there.
type Kind = (&'static str, &'static str, &'static str, &'static str);

const NINES: &str = "-99999999999999999999999999999999999.999999999999999999999999999999";

/// What both servers have. Several values of one type are several columns.
const KINDS: &[Kind] = &[
    ("tinyint", "-128", "smallint", "-128"),
    ("tinyint(1)", "127", "smallint", "127"),
    ("boolean", "true", "smallint", "1"),
    ("tinyint unsigned", "255", "smallint", "255"),
    ("smallint", "-32768", "smallint", "-32768"),
    ("smallint unsigned", "65535", "integer", "65535"),
    ("mediumint", "-8388608", "integer", "-8388608"),
    ("mediumint unsigned", "16777215", "bigint", "16777215"),
    ("int", "-2147483648", "integer", "-2147483648"),
    ("int unsigned zerofill", "42", "bigint", "42"),
    ("int unsigned", "4294967295", "bigint", "4294967295"),
    ("bigint", "-9223372036854775808", "bigint", "-9223372036854775808"),
    ("bigint unsigned", "18446744073709551615", "numeric(20,0)", "18446744073709551615"),
    ("decimal(65,30)", NINES, "numeric(65,30)", NINES),
    ("decimal(5,2) unsigned", "999.90", "numeric(5,2)", "999.90"),
    ("decimal(30,0)", "-7", "numeric(30,0)", "-7"),
    ("float", "16777216", "real", "1.6777216e+07"),
    ("float", "3.4028234e38", "real", "3.4028235e+38"),
    ("float", "0.1", "real", "0.1"),
    ("double", "1.7976931348623157e308", "double precision", "1.7976931348623157e+308"),
    ("double", "-0.1", "double precision", "-0.1"),
    ("bit(1)", "b'1'", "bit(1)", "1"),
    ("bit(12)", "b'101010101010'", "bit(12)", "101010101010"),
    ("bit(64)", "18446744073709551615", "bit(64)", "1111111111111111111111111111111111111111111111111111111111111111"),
    ("year", "0", "smallint", "0"),
    ("year", "2155", "smallint", "2155"),
    ("date", "'1000-01-01'", "date", "1000-01-01"),
    ("date", "'9999-12-31'", "date", "9999-12-31"),
    ("time", "'-838:59:59'", "interval(0)", "-838:59:59"),
    ("time(1)", "'-00:00:00.5'", "interval(1)", "-00:00:00.5"),
    ("time(2)", "'-01:02:03.45'", "interval(2)", "-01:02:03.45"),
    ("time(3)", "'838:59:58.999'", "interval(3)", "838:59:58.999"),
    ("time(4)", "'-01:02:03.4567'", "interval(4)", "-01:02:03.4567"),
    ("time(6)", "'-01:02:03.456789'", "interval(6)", "-01:02:03.456789"),
    ("datetime", "'9999-12-31 23:59:59'", "timestamp(0) without time zone", "9999-12-31 23:59:59"),
    ("datetime(6)", "'1969-12-31 23:59:59.999999'", "timestamp(6) without time zone", "1969-12-31 23:59:59.999999"),
    ("datetime(1)", "'1000-01-01 00:00:00.5'", "timestamp(1) without time zone", "1000-01-01 00:00:00.5"),
    ("timestamp null", "'1970-01-01 00:00:01'", "timestamp(0) with time zone", "1970-01-01 00:00:01+00"),
    ("timestamp(6) null", "'2038-01-19 03:14:07.999999'", "timestamp(6) with time zone", "2038-01-19 03:14:07.999999+00"),
    ("char(5)", "'ab  '", "character varying(5)", "ab"),
    ("varchar(10)", "'ab  '", "character varying(10)", "ab  "),
    ("varchar(10)", "''", "character varying(10)", ""),
    ("varchar(10) character set latin1", "'€é'", "character varying(10)", "€é"),
    ("varchar(10) character set utf16", "'😀'", "character varying(10)", "😀"),
    ("varchar(10) character set ucs2", "'ж'", "character varying(10)", "ж"),
    ("varchar(10) character set gbk", "'中文'", "character varying(10)", "中文"),
    ("char(10) character set cp932", "'日本①'", "character varying(10)", "日本①"),
    ("text character set ujis", "'丂語'", "text", "丂語"),
    ("varchar(10) character set cp1251", "'Слово'", "character varying(10)", "Слово"),
    ("varchar(10) character set swe7", "'Åå'", "character varying(10)", "Åå"),
    ("enum('x','Їжак') character set koi8u", "'Їжак'", "text", "Їжак"),
    ("text character set utf8mb3", "'ä\\n\\\\N'", "text", "ä\n\\N"),
    ("longtext", "repeat('é', 3)", "text", "ééé"),
    ("enum('','a,b','it''s','é') character set latin1", "'é'", "text", "é"),
    ("enum('','a')", "''", "text", ""),
    ("set('x','y','z')", "'x,z'", "text[]", "{x,z}"),
    ("set('x','y')", "''", "text[]", "{}"),
    ("binary(6)", "x'010200000000'", "bytea", "\\x010200000000"),
    ("varbinary(6)", "x'010200'", "bytea", "\\x010200"),
    ("blob", "x'00ff5c'", "bytea", "\\x00ff5c"),
    ("tinyblob", "x''", "bytea", "\\x"),
    ("mediumtext", "'m'", "text", "m"),
    ("tinytext", "'t'", "text", "t"),
    ("year(4)", "1901", "smallint", "1901"),
    ("float(7,3)", "1234.5", "real", "1234.5"),
    ("float unsigned", "0.1", "real", "0.1"),
    ("double(10,2) unsigned", "12345678.25", "double precision", "12345678.25"),
    (
        "linestring",
        "st_geomfromtext('LINESTRING(1 2,3 4)')",
        "bytea",
        "\\x00000000010200000002000000000000000000f03f000000000000004000000000000008400000000000001040",
    ),
    (
        "polygon",
        "st_geomfromtext('POLYGON((0 0,1 0,1 1,0 0))')",
        "bytea",
        "\\x000000000103000000010000000400000000000000000000000000000000000000000000000000f03f0000000000000000000000000000f03f000000000000f03f00000000000000000000000000000000",
    ),
    (
        "multipoint",
        "st_geomfromtext('MULTIPOINT(1 2,3 4)')",
        "bytea",
        "\\x000000000104000000020000000101000000000000000000f03f0000000000000040010100000000000000000008400000000000001040",
    ),
    (
        "multilinestring",
        "st_geomfromtext('MULTILINESTRING((1 2,3 4))')",
        "bytea",
        "\\x00000000010500000001000000010200000002000000000000000000f03f000000000000004000000000000008400000000000001040",
    ),
    (
        "multipolygon",
        "st_geomfromtext('MULTIPOLYGON(((0 0,1 0,1 1,0 0)))')",
        "bytea",
        "\\x000000000106000000010000000103000000010000000400000000000000000000000000000000000000000000000000f03f0000000000000000000000000000f03f000000000000f03f00000000000000000000000000000000",
    ),
    (
        "geometrycollection",
        "st_geomfromtext('GEOMETRYCOLLECTION(POINT(1 2))')",
        "bytea",
        "\\x000000000107000000010000000101000000000000000000f03f0000000000000040",
    ),
];

const MYSQL_KINDS: &[Kind] = &[
    ("json", "'{\"b\": 1, \"a\": [1.5, null, \"x\\\\n\"]}'", "jsonb", "{\"a\": [1.5, null, \"x\\n\"], \"b\": 1}"),
    (
        "json",
        "json_array(cast(1.10 as decimal(10,2)), cast('2020-01-02 03:04:05.678' as datetime(6)), cast('-01:02:03' as time), cast(18446744073709551615 as unsigned))",
        "jsonb",
        "[1.10, \"2020-01-02 03:04:05.678000\", \"-01:02:03.000000\", 18446744073709551615]",
    ),
    ("json", "'null'", "jsonb", "null"),
    ("vector(3)", "string_to_vector('[1,2.5,-3]')", "bytea", "\\x0000803f00002040000040c0"),
    ("geometry", "st_geomfromtext('POINT(1 2)')", "bytea", "\\x000000000101000000000000000000f03f0000000000000040"),
];

const SCALED: &str = "-123456789012345678901234567.12345678901234567890123456789012345678";

const MARIADB_KINDS: &[Kind] = &[
    ("decimal(65,38)", SCALED, "numeric(65,38)", SCALED),
    ("json", "'{\"b\":  1, \"a\":2, \"a\": 3}'", "json", "{\"b\":  1, \"a\":2, \"a\": 3}"),
    ("uuid", "'123e4567-e89b-12d3-a456-426614174000'", "uuid", "123e4567-e89b-12d3-a456-426614174000"),
    ("inet6", "'2001:db8::'", "text", "2001:db8::"),
    ("inet4", "'10.0.0.0'", "text", "10.0.0.0"),
    ("point", "point(1, 2)", "bytea", "\\x000000000101000000000000000000f03f0000000000000040"),
    ("varchar(10) character set latin1", "'é'", "character varying(10)", "é"),
    ("varchar(10) character set utf8mb4", "'é'", "character varying(10)", "é"),
];

const SESSION: &str = "set sql_mode = ''; set time_zone = '+00:00'; set names utf8mb4; ";

/// Values that a target has no place for, and why.
const NOT_IN_MYSQL: &[(&str, &str)] = &[("'{\"b\":  1, \"a\":2, \"a\": 3}'", "documents have one member of a name")];

/// Leaves out the columns of the table `kinds` that the target has no place for.
fn without(columns: &[usize]) -> Vec<Value> {
    let rule = |column: &usize| {
        json!({"rule-type": "transformation", "rule-id": (10 + column).to_string(), "rule-name": column.to_string(), "rule-target": "column",
            "rule-action": "remove-column", "object-locator": {"schema-name": "test", "table-name": "kinds", "column-name": format!("c{column}")}})
    };
    columns.iter().map(rule).collect()
}

async fn check_equal(world: &World, (table, schema): (&str, &str), without: &[usize], rows: u64) {
    let pair = TablePair::new(("test", table), (schema, table));
    let pair = without.iter().fold(pair, |pair, column| pair.without(&format!("c{column}")));
    let found = compare_databases(&world.source.database(), &world.target.database(), &[pair]).await;
    assert_eq!(found.to_string(), format!("1 tables, {rows} rows, 0 differences"), "{table}");
}

async fn types_arrive(flavour: MysqlFlavour, kinds: &[Kind]) {
    let world = World::start(Source::mysql(flavour).await, PostgresVersion::V17).await;
    let columns: Vec<String> = kinds.iter().enumerate().map(|(index, kind)| format!("c{index} {}", kind.0)).collect();
    let values: Vec<&str> = kinds.iter().map(|kind| kind.1).collect();
    let names: Vec<String> = (0..kinds.len()).map(|index| format!("c{index}")).collect();
    let row = |id: u32| format!("insert into kinds (id, {}) values ({id}, {})", names.join(", "), values.join(", "));
    let assignments: Vec<String> = names.iter().zip(&values).map(|(name, value)| format!("{name} = {value}")).collect();
    // The computed columns are copied as plain ones; what the target cannot see is copied too.
    world
        .source_sql(&format!(
            "{SESSION} create table marker (id integer primary key);
             create table kinds (id int primary key, {}, hidden int invisible default 4,
                 half int generated always as (id div 2) virtual, twice int generated always as (id * 2) stored);
             {}; insert into kinds (id) values (2), (3)",
            columns.join(", "),
            row(1)
        ))
        .await;
    world.create_task("types", "full-load-and-cdc", "drop-and-create", json!({})).await;
    world.start_task("types").await;
    let others = beside(&world).await;
    let left_out = |other: &World| -> Vec<usize> {
        let is_unfit = |value: &str| is_mysql(other) && NOT_IN_MYSQL.iter().any(|(unfit, _)| *unfit == value);
        (0..kinds.len()).filter(|index| is_unfit(kinds[*index].1)).collect()
    };
    for (other, task) in &others {
        other.create_task_with(task, "full-load-and-cdc", "drop-and-create", json!({}), without(&left_out(other))).await;
        other.start_task(task).await;
    }
    world.wait_phase("types", "replicating").await;
    for (other, task) in &others {
        other.wait_phase(task, "replicating").await;
    }
    world
        .source_sql(&format!(
            "{SESSION} {}; update kinds set {} where id = 3; insert into kinds (id) values (12)",
            row(11),
            assignments.join(", ")
        ))
        .await;
    world.wait_level("types").await;
    for (other, task) in &others {
        other.wait_level(task).await;
        check_equal(other, ("kinds", "copy"), &left_out(other), 5).await;
    }

    let read: Vec<String> = names.iter().map(|name| format!("{name}::text")).collect();
    let print = "set timezone = 'UTC'; set intervalstyle = 'postgres'; set bytea_output = 'hex'; set extra_float_digits = 1;";
    let rows = world.target.rows(&format!("{print} select id, {} from copy.kinds order by id", read.join(", "))).await;
    let types =
        "select format_type(atttypid, atttypmod) from pg_attribute where attrelid = 'copy.kinds'::regclass and attnum > 1 order by attnum";
    let types = world.target.rows(types).await;
    assert_eq!(rows.iter().map(|row| row[0].clone().unwrap_or_default()).collect::<Vec<_>>(), ["1", "2", "3", "11", "12"]);
    let mut faults = Vec::new();
    for (index, (kind, value, wanted_type, wanted)) in kinds.iter().enumerate() {
        if types[index][0].as_deref() != Some(wanted_type) {
            faults.push(format!("{kind} became {:?}, wanted {wanted_type}", types[index][0]));
        }
        for row in &rows {
            let wanted = if ["2", "12"].contains(&row[0].as_deref().unwrap_or_default()) { None } else { Some(*wanted) };
            if row[index + 1].as_deref() != wanted {
                faults.push(format!("{kind} {value} in row {:?} is {:?}, wanted {wanted:?}", row[0], row[index + 1]));
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    let rest = world.target.rows("select id, hidden, half, twice from copy.kinds order by id").await;
    let rest: Vec<Vec<&str>> = rest.iter().map(|row| row.iter().map(|text| text.as_deref().unwrap_or("NULL")).collect()).collect();
    assert_eq!(rest, [["1", "4", "0", "2"], ["2", "4", "1", "4"], ["3", "4", "1", "6"], ["11", "4", "5", "22"], ["12", "4", "6", "24"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mariadb_type_arrives_by_its_documented_conversion() {
    types_arrive(MysqlFlavour::Mariadb1011, &[KINDS, MARIADB_KINDS].concat()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mysql_type_arrives_by_its_documented_conversion() {
    types_arrive(MysqlFlavour::Mysql97, &[KINDS, MYSQL_KINDS].concat()).await;
}

const TABLES: &str = "
create table marker (id integer primary key);
create table composite (a int, b int, c varchar(10), primary key (b, a)); insert into composite values (1, 1, 'x'), (1, 2, 'y'), (2, 1, 'z');
create table keyless (a int, b varchar(10), f float); insert into keyless values (1, null, 0.1), (1, null, 0.1), (2, 'x', 16777216);
create table counted (id int primary key, v int); insert into counted values (1, 1), (2, 2), (3, 3);
create table cleared (id int auto_increment primary key, v int); insert into cleared (v) values (1), (2);
create table compressed (id int primary key, b text, n int unsigned, e enum('a', 'b'));
create table folded (name varchar(20) primary key, v int); insert into folded values ('a', 1), ('B', 2);
create table large (id int primary key, b longblob); insert into large values (1, repeat('a', 17000000));
create table unique_swap (id int primary key, u int unique); insert into unique_swap values (1, 1), (2, 2);
create table replaced (id int primary key, v int); insert into replaced values (1, 1), (2, 2);
";

const CHANGES: &[&str] = &[
    "begin; update composite set a = 3 where a = 2; update composite set c = 'w' where b = 2; update composite set a = 9, b = 9 where c = 'x'; commit",
    "begin; delete from keyless limit 1; update keyless set b = 'y' where a = 2; insert into keyless values (3, '', 3.4e38), (3, '', 3.4e38); commit",
    "update counted set id = id - 1 order by id",
    "begin; insert into cleared (v) values (3); commit; truncate cleared; insert into cleared (v) values (7)",
    "insert into compressed values (1, repeat('x', 3000), 4294967295, 'b'), (2, repeat('y', 3000), 0, 'a'); update compressed set b = 'q' where id = 1;
     update compressed set b = repeat('z', 5000) where id = 2; insert into compressed values (3, 'gone', 3, 'a'); delete from compressed where id = 3",
    "begin; update folded set name = 'A' where name = 'a'; update folded set name = 'b ' where name = 'B'; commit",
    "update large set b = repeat('b', 17000000); insert into large values (2, repeat('c', 18000000))",
    "begin; update unique_swap set u = 99 where id = 1; update unique_swap set u = 1 where id = 2; update unique_swap set u = 2 where id = 1; commit",
    "begin; replace into replaced values (1, 11); insert into replaced values (2, 5) on duplicate key update v = 22; insert ignore into replaced values (1, 0);
     savepoint s; insert into replaced values (3, 3); rollback to s; insert into replaced values (4, 4); commit",
];

/// Each table's rows as one text each, the same in both dialects.
const READS: &[(&str, &str, &[&str])] = &[
    ("composite", "concat_ws('|', a, b, c)", &["1|2|w", "3|1|z", "9|9|x"]),
    ("keyless", "concat_ws('|', a, coalesce(b, 'NULL'), f)", &["1|NULL|0.1", "2|y|1.6777216e+07", "3||3.4e+38", "3||3.4e+38"]),
    ("counted", "concat_ws('|', id, v)", &["0|1", "1|2", "2|3"]),
    ("cleared", "concat_ws('|', id, v)", &["1|7"]),
    ("compressed", "concat_ws('|', id, length(b), left(b, 1), n, e)", &["1|1|q|4294967295|b", "2|5000|z|0|a"]),
    ("folded", "concat_ws('|', name, v)", &["A|1", "b |2"]),
    ("large", "concat_ws('|', id, length(b), encode(substring(b from 16999999 for 1), 'escape'))", &["1|17000000|b", "2|18000000|c"]),
    ("unique_swap", "concat_ws('|', id, u)", &["1|2", "2|1"]),
    ("replaced", "concat_ws('|', id, v)", &["1|11", "2|22", "4|4"]),
];

async fn changes_arrive(flavour: MysqlFlavour, options: &[&str], session: &str) {
    let world = World::start(Source::Mysql(MysqlServer::start_with(flavour, options).await), PostgresVersion::V17).await;
    world.source_sql(TABLES).await;
    world.create_task("changes", "full-load-and-cdc", "drop-and-create", json!({})).await;
    world.start_task("changes").await;
    let others = beside(&world).await;
    for (other, task) in &others {
        other.create_task(task, "full-load-and-cdc", "drop-and-create", json!({})).await;
        other.start_task(task).await;
    }
    world.wait_phase("changes", "replicating").await;
    for (other, task) in &others {
        other.wait_phase(task, "replicating").await;
    }
    for change in CHANGES {
        world.source_sql(&format!("{session} {change}")).await;
    }
    world.wait_level("changes").await;
    for (other, task) in &others {
        other.wait_level(task).await;
        for (table, _, rows) in READS.iter().filter(|(table, ..)| *table != "large") {
            check_equal(other, (table, "copy"), &[], rows.len() as u64).await;
        }
        // Above what MariaDB makes digits of.
        let digests = |schema: &str| format!("select id, length(b), sha2(b, 256) from {schema}.large order by id");
        assert_eq!(other.target.rows(&digests("copy")).await, other.source.rows(&digests("test")).await, "{task}");
    }
    for (table, row, wanted) in READS {
        let found = world.target.rows(&format!("select {row} from copy.{table} order by 1")).await;
        let found: Vec<&str> = found.iter().map(|row| row[0].as_deref().unwrap_or("NULL")).collect();
        assert_eq!(found, *wanted, "table {table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mariadb_change_arrives_from_a_compressed_log() {
    let options = ["--log-bin-compress=ON", "--log-bin-compress-min-len=10", "--max-allowed-packet=64M"];
    changes_arrive(MysqlFlavour::Mariadb1011, &options, "set gtid_domain_id = 7;").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mysql_change_arrives_from_a_compressed_log() {
    let session = "set session binlog_transaction_compression = ON; set gtid_next = 'AUTOMATIC:some_tag';";
    changes_arrive(MysqlFlavour::Mysql97, &["--max-allowed-packet=64M"], session).await;
}

/// Values and statements that cannot be carried over, each in a table of its own: what is done, and what the failure says.
const STOPS: &[(&str, &str, &str, &[&str])] = &[
    ("zero", "insert into zero values (1, '0000-00-00')", "zero_date", &["test.zero", "\"d\""]),
    ("month", "insert into month values (1, '2020-00-00')", "zero_date", &["test.month", "\"d\""]),
    ("label", "insert into label values (1, 'nonsense')", "enum_empty", &["test.label", "\"e\""]),
    ("partial", "set session binlog_row_image = MINIMAL; insert into partial (id) values (2)", "row_image", &["test.partial"]),
    (
        "statement",
        "set session binlog_format = STATEMENT; insert into statement values (1)",
        "binlog_format",
        &["INSERT", "\"binlog.000001\" before position", "GTID"],
    ),
    ("nul", "insert into nul values (1, char(0))", "value_refused", &["nul", "\"t\""]),
];

const STOP_TABLES: &str = "create table zero (id int primary key, d date); create table month (id int primary key, d datetime not null);
create table label (id int primary key, e enum('a')); create table partial (id int primary key, a int, b int); insert into partial values (1, 1, 1);
create table statement (id int primary key); create table nul (id int primary key, t varchar(5));";

/// True where a target has a place for what cannot be carried over into PostgreSQL.
fn has_place(world: &World, table: &str) -> bool {
    match table {
        "zero" | "month" | "nul" => matches!(*world.target, Source::Mysql(_)),
        "label" => is_mysql(world),
        _ => false,
    }
}

/// Waits until a query of the target answers this.
async fn wait_target(world: &World, query: &str, wanted: &str) {
    wait_for(query, Duration::from_secs(120), async || {
        let found = world.target.value(query).await;
        if found == wanted { Ok(()) } else { Err(found) }
    })
    .await;
}

async fn stops(flavour: MysqlFlavour) {
    let first = World::start(Source::mysql(flavour).await, PostgresVersion::V17).await;
    first.source_sql(STOP_TABLES).await;
    let mut worlds: Vec<World> = beside(&first).await.into_iter().map(|(world, _)| world).collect();
    worlds.insert(0, first);
    for (table, change, code, words) in STOPS {
        let only = json!({"rule-type": "selection", "rule-id": "1", "rule-name": "one", "rule-action": "include",
            "object-locator": {"schema-name": "test", "table-name": table}});
        let body = json!({"name": table, "source": "source", "target": "target", "migration_type": "full-load-and-cdc",
            "preparation": "drop-and-create", "table_mappings": {"rules": [only]}});
        for world in &worlds {
            world.host.post("/v1/tasks", &body).await.ok();
            world.start_task(table).await;
        }
        for world in &worlds {
            world.wait_phase(table, "replicating").await;
        }
        worlds[0].source_sql(&format!("{SESSION} {change}")).await;
        for world in &worlds {
            if has_place(world, table) {
                wait_target(world, &format!("select count(*) from test.{table}"), "1").await;
                check_equal(world, (table, "test"), &[], 1).await;
                world.stop_task(table).await;
                continue;
            }
            let failure: Value = world.wait_failed(table).await;
            assert_eq!(failure["code"], *code, "{table}: {failure}");
            let message = failure["message"].as_str().unwrap_or_default();
            for word in *words {
                assert!(message.contains(word), "{table}: {failure} does not say {word}");
            }
            assert!(failure["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{table}: {failure} has no hint");
            let rows = if *table == "partial" { "1" } else { "0" };
            assert_eq!(world.target.value(&format!("select count(*) from test.{table}")).await, rows, "{table}");
        }
    }
    for world in &worlds {
        assert_eq!(world.target.value("select a from test.partial").await, "1", "absent columns are not written as NULL");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_mariadb_cannot_carry_over_stops_with_its_name() {
    stops(MysqlFlavour::Mariadb1011).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_mysql_cannot_carry_over_stops_with_its_name() {
    stops(MysqlFlavour::Mysql97).await;
}
