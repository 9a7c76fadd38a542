//! Values of every type, loaded and streamed, into MySQL and MariaDB.

use std::sync::Arc;

use serde_json::json;
use tidegate_harness::{MysqlFlavour, MysqlServer, PostgresVersion, TablePair, compare_databases};

use crate::TURN;
use crate::world::{Source, World};

/// A column of PostgreSQL: its type, a value, and its types in MySQL and MariaDB.
const POSTGRES: &[(&str, &str, &str, &str)] = &[
    ("boolean", "true", "tinyint(1)", "tinyint(1)"),
    ("smallint", "-32768", "smallint", "smallint(6)"),
    ("integer", "2147483647", "int", "int(11)"),
    ("bigint", "-9223372036854775808", "bigint", "bigint(20)"),
    ("numeric(20,6)", "-12345678901234.567890", "decimal(20,6)", "decimal(20,6)"),
    ("numeric(5,-2)", "12345", "decimal(7,0)", "decimal(7,0)"),
    ("numeric(3,5)", "0.00123", "decimal(5,5)", "decimal(5,5)"),
    ("numeric", "1.10", "decimal(65,30)", "decimal(65,30)"),
    ("numeric(70,2)", "'1234567890123456789012345678901234567890123456789012345678901234567.25'", "longtext", "longtext"),
    ("real", "0.1", "float", "float"),
    ("real", "'3.4028235e38'", "float", "float"),
    ("double precision", "'1.7976931348623157e308'", "double", "double"),
    ("double precision", "'5e-324'", "double", "double"),
    ("date", "'0001-01-01'", "date", "date"),
    ("date", "'9999-12-31'", "date", "date"),
    ("timestamp", "'9999-12-31 23:59:59.999999'", "datetime(6)", "datetime(6)"),
    ("timestamp(3)", "'2020-01-01 00:00:00.124'", "datetime(3)", "datetime(3)"),
    ("timestamptz", "'1850-01-01 00:00:00+00'", "datetime(6)", "datetime(6)"),
    ("time", "'24:00:00'", "time(6)", "time(6)"),
    ("interval", "'-1 year -2 mons +3 days -04:05:06.789'", "varchar(64)", "varchar(64)"),
    ("integer[]", "'{{1,NULL},{3,4}}'", "json", "longtext"),
    ("text[]", r#"array['a,b', '"q"', '\', '', null]"#, "json", "longtext"),
    ("mood", "'it''s'", "enum('so so','a,b','it''s','')", "enum('so so','a,b','it''s','')"),
    ("mood", "''", "enum('so so','a,b','it''s','')", "enum('so so','a,b','it''s','')"),
    ("json", r#"'{"b": 1,  "a":2, "x":"\u0041"}'"#, "json", "longtext"),
    ("jsonb", r#"'{"n":1.10,"a":[1,null,"ü"]}'"#, "json", "longtext"),
    ("jsonb", "'null'", "json", "longtext"),
    ("bit(5)", "B'00101'", "bit(5)", "bit(5)"),
    ("inet", "'10.0.0.1/8'", "longtext", "longtext"),
    ("inet", "'2001:db8::1/64'", "longtext", "longtext"),
    ("cidr", "'10.0.0.1/32'", "longtext", "longtext"),
    ("macaddr", "'08:00:2b:01:02:03'", "longtext", "longtext"),
    ("timetz", "'23:59:59.999999-15:59:59'", "longtext", "longtext"),
    ("bit varying", "repeat('10', 35)::bit varying", "longtext", "longtext"),
    ("oid", "4294967295", "longtext", "longtext"),
    ("int4range", "'[1,10)'", "longtext", "longtext"),
    ("int8range", "'empty'", "longtext", "longtext"),
    ("numrange", "'(1.10,)'", "longtext", "longtext"),
    ("daterange", "'[0044-03-15 BC,infinity)'", "longtext", "longtext"),
    ("tsrange", "'(,2020-01-01 00:00:00.5]'", "longtext", "longtext"),
    ("tstzrange", "'[2020-01-01 01:00:00+01,9999-12-31 23:59:59+00)'", "longtext", "longtext"),
    ("int4multirange", "'{[1,3),[5,)}'", "longtext", "longtext"),
    ("tsmultirange", "'{[2020-01-01,2020-01-02)}'", "longtext", "longtext"),
    ("xml", "'<a b=\"ü\">1 &lt; 2</a>'", "longtext", "longtext"),
    ("pg_lsn", "'16/B374D848'", "longtext", "longtext"),
    ("money", "'-1234.50'", "decimal(21,2)", "decimal(21,2)"),
    ("hstore", r#"'a=>1, "b c"=>"\"", gone=>NULL'"#, "longtext", "longtext"),
    ("point", "'(1,-2.5)'", "longtext", "longtext"),
    ("tsvector", "'it''s:1A,2 other'", "longtext", "longtext"),
    ("span", "'[0.1,1e20)'", "longtext", "longtext"),
    ("pair", r#"row(7, 'a "b\', array[0.1, null], '2024-02-29')::pair"#, "longtext", "longtext"),
    ("pair_domain", "row(null, '', '{}', null)", "longtext", "longtext"),
    ("mood[]", "array['a,b', null]::mood[]", "json", "longtext"),
    ("inet[]", "'{10.0.0.1/8,NULL}'", "json", "longtext"),
    ("citext", "'Case'", "longtext", "longtext"),
    ("ltree", "'Top.Science'", "longtext", "longtext"),
    ("lquery", "'Top.*{2,}.!a|b'", "longtext", "longtext"),
    ("ltxtquery", "'Europe & !Russia@*'", "longtext", "longtext"),
    ("tsquery", "'fat & (rat | !cat:*A) <-> it''''s'", "longtext", "longtext"),
    ("tsquery[]", "'{a & b,NULL}'", "json", "longtext"),
    ("cube", "'(1,2),(3,4.5)'", "longtext", "longtext"),
    ("cube[]", "array['(1),(2)'::cube, null]", "json", "longtext"),
    ("isbn", "'0-393-04002-X'", "longtext", "longtext"),
    ("ean13", "'978-0-393-04002-9'", "longtext", "longtext"),
    ("weak_isbn", "'0-393-04002-X'", "longtext", "longtext"),
    ("seg", "'1.50 .. 2.5'", "longtext", "longtext"),
    ("query_int", "'1&(2|!3)'", "longtext", "longtext"),
    ("aclitem", "'=r/postgres'", "longtext", "longtext"),
    ("macaddr8", "'08:00:2b:01:02:03:04:05'", "longtext", "longtext"),
    ("xid8", "'18446744073709551615'", "longtext", "longtext"),
    ("tid", "'(4294967295,65535)'", "longtext", "longtext"),
    ("jsonpath", "'$.\"a\"[*] ? (@ > 1)'", "longtext", "longtext"),
    ("\"char\"", "'\\377'", "longtext", "longtext"),
    ("name", "'Name'", "longtext", "longtext"),
    ("refcursor", "'cur'", "longtext", "longtext"),
    ("pg_snapshot", "'10:20:10,14,15'", "longtext", "longtext"),
    ("int2vector", "'1 -2'", "longtext", "longtext"),
    ("datemultirange", "'{[2020-01-01,2020-02-01),[2021-01-01,)}'", "longtext", "longtext"),
    ("spot", r"'\x0001ff'", "longtext", "longtext"),
    ("spot[]", r"array['\x00']::spot[]", "json", "longtext"),
    ("uuid", "'123e4567-e89b-12d3-a456-426614174000'", "char(36)", "char(36)"),
    // Of no version that MariaDB's own type knows.
    ("uuid", "'b6dd4fae-0183-b18a-6eca-69eed36f259f'", "char(36)", "char(36)"),
    ("char(5)", "'ab'", "char(5)", "char(5)"),
    ("varchar(10)", "'ab  '", "varchar(10)", "varchar(10)"),
    ("text", r"E'\r\n\t\\.\n\\N''\x1a'", "longtext", "longtext"),
    ("text", "U&'\\+10FFFF'", "longtext", "longtext"),
    ("text", "''", "longtext", "longtext"),
    ("bytea", r"'\x00ff5c270d0a091a'", "longblob", "longblob"),
    ("bytea", r"'\x'", "longblob", "longblob"),
];

/// Columns of MySQL and MariaDB: type and value.
const COMMON: &[(&str, &str)] = &[
    ("tinyint", "-128"),
    ("tinyint(1)", "127"),
    ("smallint unsigned", "65535"),
    ("mediumint", "-8388608"),
    ("int unsigned zerofill", "42"),
    ("bigint unsigned", "18446744073709551615"),
    ("decimal(65,30)", "-99999999999999999999999999999999999.999999999999999999999999999999"),
    ("float", "16777216"),
    ("float", "3.4028234e38"),
    ("double", "1.7976931348623157e308"),
    ("bit(12)", "b'101010101010'"),
    ("bit(64)", "18446744073709551615"),
    ("year", "0"),
    ("year", "2155"),
    ("date", "'1000-01-01'"),
    ("time", "'-838:59:59'"),
    ("time(6)", "'-01:02:03.456789'"),
    ("datetime(6)", "'1969-12-31 23:59:59.999999'"),
    ("timestamp(6) null", "'2038-01-19 03:14:07.999999'"),
    ("char(5)", "'ab  '"),
    ("varchar(10)", "'ab  '"),
    ("varchar(10) character set latin1", "'€é'"),
    ("varchar(10) character set utf16", "'😀'"),
    ("varchar(10) character set gbk", "'中文'"),
    ("char(10) character set cp932", "'日本①'"),
    ("text character set ujis", "'丂語'"),
    ("varchar(10) character set cp1251 collate cp1251_bin", "'Слово'"),
    ("varchar(10) character set swe7", "'Åå'"),
    ("enum('x','Їжак') character set koi8u", "'Їжак'"),
    ("text character set utf8mb3", "'ä\\n\\\\N\\t\\0'"),
    ("longtext", "repeat('é', 3)"),
    ("enum('','a,b','it''s','é') character set latin1", "'é'"),
    ("enum('','a')", "''"),
    ("set('x','y','z')", "'x,z'"),
    ("set('x','y')", "''"),
    ("binary(6)", "x'010200000000'"),
    ("varbinary(6)", "x'010200'"),
    ("blob", "x'00ff5c270d0a091a'"),
    ("json", "'{\"b\": 1, \"a\": [1.5, null, \"x\\\\n\"]}'"),
    ("point", "st_geomfromtext('POINT(1 2)')"),
    ("linestring", "st_geomfromtext('LINESTRING(1 2,3 4)')"),
    ("polygon", "st_geomfromtext('POLYGON((0 0,1 0,1 1,0 0))')"),
    ("multipoint", "st_geomfromtext('MULTIPOINT(1 2,3 4)')"),
    ("multilinestring", "st_geomfromtext('MULTILINESTRING((1 2,3 4))')"),
    ("multipolygon", "st_geomfromtext('MULTIPOLYGON(((0 0,1 0,1 1,0 0)))')"),
    ("geometrycollection", "st_geomfromtext('GEOMETRYCOLLECTION(POINT(1 2))')"),
    ("year(4)", "1901"),
    ("float(7,3)", "1234.5"),
    ("double unsigned", "0.1"),
];

const MYSQL: &[(&str, &str)] = &[("vector(3)", "string_to_vector('[1,2.5,-3]')")];

const MARIADB: &[(&str, &str)] = &[
    ("decimal(65,38)", "-123456789012345678901234567.12345678901234567890123456789012345678"),
    ("uuid", "'123e4567-e89b-12d3-a456-426614174000'"),
    ("inet6", "'2001:db8::'"),
    ("inet4", "'10.0.0.0'"),
    ("vector(3)", "vec_fromtext('[1,2.5,-3]')"),
];

const SESSION: &str = "set sql_mode = ''; set time_zone = '+00:00'; set names utf8mb4; ";

/// Row 1 and NULLs are loaded, their twins are streamed and updated: all equal.
async fn arrive(source: Arc<Source>, target: Source, name: &str, columns: &[(String, String)], session: &str) -> World {
    let world = World::with(source, Arc::new(target)).await;
    let definitions: Vec<String> = columns.iter().enumerate().map(|(index, (kind, _))| format!("c{index} {kind}")).collect();
    let values: Vec<&str> = columns.iter().map(|(_, value)| value.as_str()).collect();
    let row = |id: u32| format!("insert into {name} values ({id}, {})", values.join(", "));
    let nulls = |id: u32| format!("insert into {name} (id) values ({id})");
    world
        .source_sql(&format!(
            "{session}
             create table {name} (id int primary key, {}); {}; {}; insert into {name} (id) values (0)",
            definitions.join(", "),
            row(1),
            nulls(2)
        ))
        .await;
    world.create_task(name, "full-load-and-cdc", "drop-and-create", json!({})).await;
    world.start_task(name).await;
    world.wait_phase(name, "replicating").await;
    let sets: Vec<String> = values.iter().enumerate().map(|(index, value)| format!("c{index} = {value}")).collect();
    world
        .source_sql(&format!(
            "{session} {}; {}; {}; update {name} set {} where id = 5; delete from {name} where id = 0",
            row(3),
            nulls(4),
            nulls(5),
            sets.join(", ")
        ))
        .await;
    world.wait_level(name).await;
    let pair = TablePair::new((world.source.schema(), name), ("copy", name));
    let comparison = compare_databases(&world.source.database(), &world.target.database(), &[pair]).await;
    assert_eq!(comparison.to_string(), "1 tables, 5 rows, 0 differences", "{name}");
    world
}

fn owned(columns: &[(&str, &str)]) -> Vec<(String, String)> {
    columns.iter().map(|(kind, value)| ((*kind).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_of_postgres_arrives_in_mysql_and_mariadb() {
    let _turn = TURN.lock().await;
    let source = Arc::new(Source::postgres(PostgresVersion::V17).await);
    source
        .sql(
            "create type mood as enum ('so so', 'a,b', 'it''s', ''); create table marker (id integer primary key);
             create extension hstore; create extension citext; create extension ltree; create extension cube; create extension isn;
             create extension seg; create extension intarray; create domain weak_isbn as isbn;
             create type spot; create function spot_in(cstring) returns spot language internal immutable strict as 'byteain';
             create function spot_out(spot) returns cstring language internal immutable strict as 'byteaout';
             create function spot_recv(internal) returns spot language internal immutable strict as 'bytearecv';
             create function spot_send(spot) returns bytea language internal immutable strict as 'byteasend';
             create type spot (input = spot_in, output = spot_out, receive = spot_recv, send = spot_send, like = bytea);
             create type span as range (subtype = float8); create type pair as (n int, t text, f float8[], d date);
             create domain pair_domain as pair",
        )
        .await;
    let columns: Vec<(String, String)> = POSTGRES.iter().map(|(kind, value, _, _)| ((*kind).to_owned(), (*value).to_owned())).collect();
    for flavour in [MysqlFlavour::Mysql97, MysqlFlavour::Mariadb1011] {
        let is_mariadb = flavour.is_mariadb();
        let name = if is_mariadb { "to-mariadb" } else { "to-mysql" }.replace('-', "");
        let world = arrive(source.clone(), Source::mysql(flavour).await, &name, &columns, "").await;
        let sql = format!(
            "select column_type from information_schema.columns where table_schema = 'copy' and table_name = '{name}' \
             and column_name <> 'id' order by ordinal_position"
        );
        let found: Vec<String> = world.target.rows(&sql).await.into_iter().flatten().flatten().collect();
        let wanted: Vec<&str> = POSTGRES.iter().map(|kind| if is_mariadb { kind.3 } else { kind.2 }).collect();
        assert_eq!(found, wanted);
        let findings = world.host.post(&format!("/v1/tasks/{name}/check"), &json!({})).await.ok()["findings"].clone();
        let of_table = |found: &&serde_json::Value| found["code"] == "type_as_bytes" && found["object"].to_string().contains(&name);
        let told: Vec<&serde_json::Value> = findings.as_array().into_iter().flatten().filter(of_table).collect();
        assert!(told.len() == 2 && told.iter().all(|found| found["found"].to_string().contains("type public.spot")), "{findings}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_of_mysql_arrives_in_mysql_and_mariadb() {
    let _turn = TURN.lock().await;
    let source = Arc::new(Source::mysql(MysqlFlavour::Mysql97).await);
    source.sql("create table marker (id integer primary key)").await;
    let columns: Vec<(String, String)> = owned(COMMON).into_iter().chain(owned(MYSQL)).collect();
    for (name, flavour) in [("tomysql", MysqlFlavour::Mysql97), ("tomariadb", MysqlFlavour::Mariadb1011)] {
        arrive(source.clone(), Source::mysql(flavour).await, name, &columns, SESSION).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_of_mariadb_arrives_in_every_kind_of_target() {
    let _turn = TURN.lock().await;
    let source = Arc::new(Source::mysql(MysqlFlavour::Mariadb118).await);
    source.sql("create table marker (id integer primary key)").await;
    let columns: Vec<(String, String)> = owned(COMMON).into_iter().chain(owned(MARIADB)).collect();
    // PostgreSQL has no texts with a zero character.
    let without = columns.iter().filter(|(_, value)| !value.contains("\\0")).cloned().collect::<Vec<_>>();
    let world = arrive(source.clone(), Source::postgres(PostgresVersion::V17).await, "topostgres", &without, SESSION).await;
    let sql = "select format_type(atttypid, atttypmod) from pg_attribute where attrelid = 'copy.topostgres'::regclass order by attnum desc limit 4";
    let found: Vec<String> = world.target.rows(sql).await.into_iter().flatten().flatten().collect();
    assert_eq!(found, ["bytea", "text", "text", "uuid"]);
    source.sql("drop table topostgres").await;
    for (name, flavour) in [("tomysql", MysqlFlavour::Mysql97), ("tomariadb", MysqlFlavour::Mariadb118)] {
        arrive(source.clone(), Source::mysql(flavour).await, name, &columns, SESSION).await;
    }
}

/// Of the text of a document alone, the server would make doubles of decimals, with other digits.
#[tokio::test(flavor = "multi_thread")]
async fn documents_with_decimals_arrive_in_mysql_to_the_last_digit() {
    let _turn = TURN.lock().await;
    let server = async |files: &str| Source::Mysql(MysqlServer::start_with(MysqlFlavour::Mysql97, &[files]).await);
    let world = World::between(Source::mysql(MysqlFlavour::Mysql97).await, server("--local-infile=ON").await).await;
    let decimal = |text: &str| format!("cast({text} as decimal(65, {}))", text.split_once('.').map_or(0, |(_, digits)| digits.len()));
    let documents = [
        format!("cast({} as json)", decimal("12.50")),
        format!("json_array(1, {}, json_array({}, '1.50'), {})", decimal("-0.10"), decimal("0.00"), decimal("100.000")),
        format!(r#"json_object('a.b', {}, 'q"\\\\[0]', json_object('ü', json_array(null, {})))"#, decimal("3.10"), decimal("-7.70")),
        format!(
            "json_array({}, {})",
            decimal("12345678901234567890123456789012345.012345678901234567890123456789"),
            decimal(&"9".repeat(65))
        ),
        format!("json_array({}, {}, 1.5e0, 1e300)", decimal("12.5"), decimal("7")),
        // Beside a large value, which goes another way.
        format!("json_array({}, 'x')", decimal("1.10")),
    ];
    let rows = |from: usize| -> Vec<String> {
        let large = |index: usize| if index == 5 { "repeat('x', 300000)" } else { "null" };
        documents.iter().enumerate().map(|(index, document)| format!("({}, {document}, {})", from + index, large(index))).collect()
    };
    // The first ones go by a file.
    let plain: Vec<String> = (1..=9_000).map(|id| format!("({id}, '[{id}, 0.5]', null)")).collect();
    world
        .source_sql(&format!(
            "set names utf8mb4; create table marker (id int primary key); create table doc (id int primary key, j json, t longtext);
             create table heap (id int, j json, t longtext);
             insert into doc values {}; insert into doc values {}; insert into doc values (20000, '[1]', null);
             insert into heap values {}; insert into heap values {}",
            plain.join(", "),
            rows(10_000).join(", "),
            rows(1).join(", "),
            rows(1).join(", ")
        ))
        .await;
    world.create_task("decimals", "full-load-and-cdc", "drop-and-create", json!({})).await;
    world.start_task("decimals").await;
    world.wait_phase("decimals", "replicating").await;
    let both = async |wanted: &str| {
        world.wait_level("decimals").await;
        for table in ["doc", "heap"] {
            let columns = "id, cast(j as char), json_length(j), json_type(json_extract(j, '$[1]')), length(t)";
            let read = |schema: &str| format!("select {columns} from {schema}.{table} order by id, cast(j as char)");
            let (found, known) = (world.target.rows(&read("copy")).await, world.source.rows(&read("test")).await);
            // Of decimals that doubles print alike the type is another one.
            let differ: Vec<_> =
                found.iter().zip(&known).filter(|(found, known)| found[..3] != known[..3] || found[4] != known[4]).collect();
            assert!(found.len() == known.len() && differ.is_empty(), "{wanted}: {differ:?}");
        }
    };
    both("loaded").await;
    let exact = "select json_type(j) from copy.doc where id = 10000";
    assert_eq!(world.target.value(exact).await, "DECIMAL");
    let change = format!(
        "insert into doc values {}; update doc set j = json_array({}) where id = 20000; update doc set t = 'y' where id between 10000 and 10003;
         delete from doc where id = 10001; delete from heap where id in (1, 3); update heap set j = json_array({}) where id = 2;
         delete from heap where id = 6 limit 1",
        rows(30_000).join(", "),
        decimal("20.20"),
        decimal("0.50")
    );
    world.source_sql(&format!("set names utf8mb4; {change}")).await;
    both("streamed").await;
}
