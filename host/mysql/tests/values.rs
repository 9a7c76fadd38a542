//! Snapshot and stream make the same neutral cells of the same value, and these are the server's own values.

mod support;

use mysql_async::prelude::Queryable;
use support::{Bench, FLAVOURS, follow, inserted};
use tidegate_connector::{ErrorClass, Source, Unfit};
use tidegate_model::{Cell, Engine, Row, Value, ValueFault};

const COLUMNS: &str = "id int primary key, t1 tinyint, t2 tinyint unsigned, m mediumint, mu mediumint unsigned, bu bigint unsigned, b bigint, \
    d decimal(65,30), d2 decimal(5,0), f float, g double, bi bit(12), y year, da date, ti time, ti1 time(1), ti2 time(2), ti4 time(4), ti6 time(6), \
    dt datetime, dt6 datetime(6), ts timestamp null, ts3 timestamp(3) null, c char(5), vc varchar(300), \
    l1 varchar(20) character set latin1, u16 varchar(20) character set utf16, u3 text character set utf8mb3, lc longtext, \
    bn binary(6), vb varbinary(300), bl mediumblob, e enum('','a,b','it''s','é') character set latin1, \
    s set('x','y','z'), j json, g1 point, l2 char(3) character set latin1 collate latin1_bin, \
    inv int default 7 invisible, gv int generated always as (id + 1) virtual, gs int generated always as (id + 2) stored";
const NAMES: &str = "id,t1,t2,m,mu,bu,b,d,d2,f,g,bi,y,da,ti,ti1,ti2,ti4,ti6,dt,dt6,ts,ts3,c,vc,l1,u16,u3,lc,bn,vb,bl,e,s,j,g1,l2";

fn value_rows() -> Vec<String> {
    let nines = format!("-{}.{}", "9".repeat(35), "9".repeat(30));
    let long = "é".repeat(300);
    vec![
        format!(
            "1,-128,255,-8388608,16777215,18446744073709551615,-9223372036854775808,{nines},-7,16777216,1e300,b'101010101010',1901,'1000-01-01',\
             '-838:59:59','-00:00:00.5','-00:00:01.10','-12:34:56.7891','-00:00:00.000001','9999-12-31 23:59:59','1969-12-31 23:59:59.999999',\
             '1970-01-01 00:00:01','2038-01-19 03:14:07.999','ab  ','ab  ','€ü','😀','ä','{long}',x'010200000000',x'0100',x'00ff','','x,z','{{\"b\": 1, \"a\": [1.5, null, \"x\\\\n\"]}}',\
             st_geomfromtext('POINT(1 2)'),'a'"
        ),
        "2,127,0,8388607,0,0,9223372036854775807,0.5,0,0.1,-0.1,b'1',0,'9999-12-31','838:59:59','00:00:00.9','23:59:59.99','00:00:00.0001','00:00:00',\
         '1000-01-01 00:00:00','2024-02-29 12:00:00.5','2024-06-01 00:00:00','2024-06-01 00:00:00.001','','','','','','',x'000000000000',x'','','it''s','','{}',null,''"
            .to_owned(),
        format!("3{}", ",null".repeat(36)),
        "4,0,1,0,1,1,0,-0.000000000000000000000000000001,99999,3.4028234e38,0,b'0',2155,'2000-02-29','00:00:00','00:00:00','-00:00:00.01','00:00:00','00:00:00.999999',\
         '2000-01-01 00:00:00','2000-01-01 00:00:00','2000-01-01 00:00:00','2000-01-01 00:00:00','é','x','y','z','w','v',x'ffffffffffff',x'ff',x'','é','x,y,z','[]',null,'é'"
            .to_owned(),
    ]
}

#[tokio::test]
async fn both_ways_of_reading_make_the_same_cells() {
    for (flavour, engine) in FLAVOURS {
        let bench = Bench::start(flavour, engine).await;
        bench.run(&["set global binlog_row_metadata = 'FULL'", &format!("create table v ({COLUMNS})")]).await;
        let start = bench.source.log_end().await.expect("log end");
        let mut stream = bench.stream(&["v"], &start).await;
        for row in value_rows() {
            bench.run(&["set sql_mode = ''", &format!("insert into v ({NAMES}) values ({row})")]).await;
        }
        let end = bench.source.log_end().await.expect("log end");
        let streamed = inserted(&follow(&mut *stream, &start, &end).await.expect("the stream goes on"));
        let read = bench.snapshot("v", 2).await;
        let table = bench.table("v").await;
        assert_eq!(read.len(), 4);
        assert_eq!(streamed.len(), 4);
        for (index, (one, two)) in read.iter().zip(&streamed).enumerate() {
            for (place, column) in table.schema.columns.iter().enumerate() {
                assert_eq!(one.cell(place), two.cell(place), "{engine:?} row {index} column {}", column.name);
            }
        }
        check_text(&bench, &read).await;
        check_doubled_hour(&bench).await;
    }
}

/// Half past two comes twice in the night when summer ends. What a TIMESTAMP holds is the instant, whatever the server's
/// and other sessions' zones are.
async fn check_doubled_hour(bench: &Bench) {
    bench
        .run(&[
            "insert into mysql.time_zone (time_zone_id, use_leap_seconds) values (9001, 'N')",
            "insert into mysql.time_zone_name (name, time_zone_id) values ('Test/Autumn', 9001)",
            "insert into mysql.time_zone_transition_type (time_zone_id, transition_type_id, `offset`, is_dst, abbreviation) \
             values (9001, 0, 7200, 1, 'CEST'), (9001, 1, 3600, 0, 'CET')",
            "insert into mysql.time_zone_transition (time_zone_id, transition_time, transition_type_id) \
             values (9001, 1648342800, 0), (9001, 1667091600, 1)",
            "set global time_zone = 'Test/Autumn'",
            "create table autumn (id int primary key, s timestamp(3) null)",
        ])
        .await;
    let start = bench.source.log_end().await.expect("log end");
    let mut stream = bench.stream(&["autumn"], &start).await;
    let rows = "insert into autumn values (1, '2022-10-30 00:30:00'), (2, '2022-10-30 01:30:00.001')";
    bench.run(&["set time_zone = '+00:00'", rows]).await;
    bench.run(&["set time_zone = 'Test/Autumn'", "insert into autumn values (3, '2022-10-30 01:30:00'), (4, '2022-10-30 03:30:00')"]).await;
    let mut conn = bench.conn().await;
    let seen: Vec<String> =
        conn.query("select date_format(s, '%H:%i') from autumn where id < 3 order by id").await.expect("a plain statement");
    assert_eq!(seen, ["02:30", "02:30"], "the zone is in force");
    let end = bench.source.log_end().await.expect("log end");
    let streamed = inserted(&follow(&mut *stream, &start, &end).await.expect("the stream goes on"));
    let read = bench.snapshot("autumn", 1000).await;
    assert_eq!(read, streamed, "{:?}", bench.engine);
    let table = bench.table("autumn").await;
    let instants: Vec<Value<'_>> =
        read.iter().map(|row| table.decoder.decode(1, row.cell(1).expect("a cell")).expect("well formed")).collect();
    let seconds = [1_667_089_800_000_000, 1_667_093_400_001_000, 1_667_086_200_000_000, 1_667_097_000_000_000];
    assert_eq!(instants, seconds.map(Value::TimestampTz));
    bench.run(&["set global time_zone = 'SYSTEM'"]).await;
}

/// What the cells say is what the server prints.
async fn check_text(bench: &Bench, rows: &[tidegate_model::Row]) {
    let table = bench.table("v").await;
    let mut conn = bench.conn().await;
    for column in ["t1", "bu", "b", "d", "y", "c", "vc", "l1", "u16", "u3", "lc", "e", "s", "j", "inv", "gv", "gs"] {
        let sql = format!("select cast({column} as char character set utf8mb4) from v order by id");
        let wanted: Vec<Option<String>> = conn.query(sql).await.expect("a plain statement");
        let place = table.schema.column_index(column).expect("a column of the table");
        for (row, wanted) in rows.iter().zip(wanted) {
            let value = table.decoder.decode(place, row.cell(place).expect("a cell for each column")).expect("well formed");
            let found = match &value {
                Value::Null => None,
                Value::Int(number) if column == "y" => Some(format!("{number:04}")),
                Value::Int(number) => Some(number.to_string()),
                Value::UInt(number) => Some(number.to_string()),
                other => Some(other.as_text().expect("a text").to_owned()),
            };
            assert_eq!(found, wanted, "column {column}");
        }
    }
    let place = table.schema.column_index("ti2").expect("a column of the table");
    assert_eq!(table.decoder.decode(place, rows[0].cell(place).expect("a cell")), Ok(Value::Time(-1_100_000)));
    let place = table.schema.column_index("bn").expect("a column of the table");
    assert_eq!(table.decoder.decode(place, rows[0].cell(place).expect("a cell")), Ok(Value::Bytes(&[1, 2, 0, 0, 0, 0])));
}

const JSON: [&str; 25] = [
    "cast(1.0 as json)",
    "cast('1e2' as json)",
    "cast('[1.0, -0.0, 1e15, 1e-7, 0.1, 123456789012345678901234567890, 18446744073709551615, -9223372036854775808]' as json)",
    "json_array(cast(12.50 as decimal(10,2)), cast(-1 as decimal(30,0)))",
    "json_array(cast(0.00 as decimal(65,2)), 1)",
    "json_array(cast(-0.10 as decimal(65,2)), 1)",
    "json_array(cast(100.000 as decimal(65,3)), 1)",
    "json_array(cast(12.5 as decimal(65,1)), cast(7 as decimal(65,0)))",
    "json_array(cast(12345678901234567890123456789012345.012345678901234567890123456789 as decimal(65,30)))",
    "json_array(cast(99999999999999999999999999999999999999999999999999999999999999999 as decimal(65,0)))",
    "json_array(cast(0 as decimal(65,0)), cast(0.000000001 as decimal(30,9)), cast(123456789.123456789 as decimal(18,9)))",
    "json_array(cast('2020-02-03' as date), cast('-12:34:56.789' as time(3)), cast('2020-02-03 04:05:06.7' as datetime(1)), timestamp('2021-01-01'))",
    "json_object('b', 2, 'a', json_array(true, false, null), '', json_object())",
    "json_array(x'0001ff', b'101')",
    "json_array(cast(repeat('x', 100) as binary))",
    "json_quote(concat('é😀\"\\\\', char(1, 31, 10, 9, 127 using utf8mb4), '/'))",
    "json_array('a', repeat('long ', 20000))",
    "cast('\"plain\"' as json)",
    // The last member of a name wins, by the server's own rule; names are in its order.
    "cast('{\"b\": 1, \"a\": 2, \"b\": 3}' as json)",
    "json_array(char(0 using utf8mb4), json_object(char(0 using utf8mb4), 1))",
    // The deepest that the server takes.
    "cast(concat(repeat('[', 100), repeat(']', 100)) as json)",
    "cast(concat(repeat('{\"a\":', 99), '[1]', repeat('}', 99)) as json)",
    "cast('null' as json)",
    "json_array(st_geomfromtext('POINT(1 2)'))",
    "json_array(1.5e300, 2.5e-20, 3.141592653589793, 1.7976931348623157e308, 5e-324, 100000.0, 1234567890123456.0)",
];

#[tokio::test]
async fn json_text_is_the_servers_own() {
    let (flavour, engine) = FLAVOURS[1];
    let bench = Bench::start(flavour, engine).await;
    bench.run(&["create table j (id int primary key, j json)"]).await;
    let start = bench.source.log_end().await.expect("log end");
    let mut stream = bench.stream(&["j"], &start).await;
    for (index, expression) in JSON.iter().enumerate() {
        bench.run(&[&format!("insert into j values ({index}, {expression})")]).await;
    }
    // Many values, and a long one: 21 MB of text.
    let many = r#"concat('[', repeat('{"k": 1.5, "s": "text", "n": null},', 30000), '"', repeat('ü', 10000000), '"]')"#;
    bench.run(&[&format!("insert into j values ({}, {many})", JSON.len())]).await;
    let end = bench.source.log_end().await.expect("log end");
    let streamed = inserted(&follow(&mut *stream, &start, &end).await.unwrap_or_else(|error| panic!("{}", error.chain())));
    let read = bench.snapshot("j", 1000).await;
    let text = |row: &tidegate_model::Row| match row.cell(1) {
        Some(tidegate_model::Cell::Binary(bytes)) => String::from_utf8(bytes.to_vec()).expect("UTF-8"),
        other => panic!("{other:?}"),
    };
    assert_eq!(read.len(), JSON.len() + 1);
    let (long, same) = (text(&streamed[JSON.len()]), text(&read[JSON.len()]));
    assert!(long == same && long.len() > 20_000_000, "{} bytes in the stream, {} in the snapshot", long.len(), same.len());
    for (index, expression) in JSON.iter().enumerate() {
        assert_eq!(text(&streamed[index]), text(&read[index]), "{expression}");
    }
}

#[tokio::test]
async fn mariadb_types_of_its_own_read_alike() {
    let (flavour, engine) = FLAVOURS[0];
    let bench = Bench::start(flavour, engine).await;
    bench
        .run(&["create table u (id int primary key, u uuid, i6 inet6, i4 inet4, j json, g geometry, l varchar(9) character set latin1)"])
        .await;
    let start = bench.source.log_end().await.expect("log end");
    let mut stream = bench.stream(&["u"], &start).await;
    bench
        .run(&[
            "insert into u values (1, '123e4567-e89b-12d3-a456-426655440000', '2001:db8::', '10.0.0.0', '{\"a\":  1}', point(1,2), 'é')",
            "insert into u values (2, '018f3a4e-7c1b-7d2e-9abc-0123456789ab', '::1', '1.2.3.4', '[]', null, '')",
            "insert into u values (3, '00000000-0000-0000-0000-000000000000', '::ffff:1.2.3.4', '0.0.0.0', 'null', null, null)",
            "insert into u values (4, 'ffffffff-ffff-ffff-ffff-ffffffffffff', '::', null, null, null, null)",
            "insert into u values (5, '6ccd780c-baba-4026-9564-5b8c656024db', '1:0:0:2::3', null, null, null, null)",
        ])
        .await;
    let end = bench.source.log_end().await.expect("log end");
    let streamed = inserted(&follow(&mut *stream, &start, &end).await.expect("the stream goes on"));
    assert_eq!(bench.snapshot("u", 1000).await, streamed);
    assert_eq!(streamed.len(), 5);
    check_old_temporal(&bench).await;
}

/// The format of times before 5.6, which MariaDB still writes when told so: its log does not tell the digits of fractions.
async fn check_old_temporal(bench: &Bench) {
    bench
        .run(&[
            "set global mysql56_temporal_format = off",
            "create table old (id int primary key, t time, d datetime, s timestamp null)",
            "create table old_fraction (id int primary key, t time(3))",
            "set global mysql56_temporal_format = on",
        ])
        .await;
    let start = bench.source.log_end().await.expect("log end");
    let mut stream = bench.stream(&["old"], &start).await;
    bench
        .run(&[
            "set time_zone = '+00:00'",
            "insert into old values (1, '-838:59:59', '1000-01-01 00:00:00', '1970-01-01 00:00:01'), (2, '-00:00:01', \
             '9999-12-31 23:59:59', '2038-01-19 03:14:07'), (3, '838:59:59', '2024-02-29 12:00:00', null)",
        ])
        .await;
    let end = bench.source.log_end().await.expect("log end");
    let streamed = inserted(&follow(&mut *stream, &start, &end).await.expect("the stream goes on"));
    assert_eq!(bench.snapshot("old", 1000).await, streamed);
    assert_eq!(streamed.len(), 3);
    let mut stream = bench.stream(&["old_fraction"], &end).await;
    bench.run(&["insert into old_fraction values (1, '-00:00:00.5')"]).await;
    let error = support::stop(&mut *stream).await;
    assert_eq!((error.class(), error.code()), (ErrorClass::TableDefinite, "old_temporal"), "{}", error.chain());
    assert!(error.hint_text().is_some_and(|hint| hint.contains("mysql56_temporal_format")), "{}", error.chain());
}

/// Neither way stops at such a value: its row is told to be at fault, and the others are as they are.
#[tokio::test]
async fn values_that_nobody_can_read_are_faults_of_their_cells_in_both_ways() {
    for (flavour, engine) in FLAVOURS {
        let bench = Bench::start(flavour, engine).await;
        bench.run(&["create table label (id int primary key, e enum('a','','b'), after varchar(9))"]).await;
        // What is in a table cannot be had by statements, which check their texts: the file of a table with bytes becomes that of one
        // with texts. Large texts are read another way than small ones.
        bench
            .run(&[
                "create table raw (id int primary key, a varbinary(40), b varbinary(60), c varbinary(40), d longblob) row_format = dynamic",
                "insert into raw values (1, 'ok', 'ok', x'0041', 'ok'), (2, x'61ff62', 'b', x'0042', 'd'), (3, 'a', x'62ff', x'0043', 'd'), \
                 (4, 'a', 'b', x'd83d', 'd'), (5, 'a', 'b', x'0044', concat(repeat('x', 300000), x'ff')), (6, '', null, '', null)",
            ])
            .await;
        let texts = "create table texts (id int primary key, a varchar(10) character set utf8mb4, b varchar(20) character set utf8mb3, \
            c varchar(20) character set ucs2, d longtext character set utf8mb4) row_format = dynamic";
        bench.run(&[texts, "alter table texts discard tablespace"]).await;
        let file = |name: &str| bench.server.data_dir().join(format!("test/{name}.ibd"));
        let mut exporting = bench.conn().await;
        exporting.query_drop("flush tables raw for export").await.expect("the server exports tables");
        std::fs::copy(file("raw"), file("texts")).expect("the files are ours");
        exporting.query_drop("unlock tables").await.expect("a plain statement");
        bench.run(&["alter table texts import tablespace", "analyze table texts"]).await;

        let start = bench.source.log_end().await.expect("log end");
        let mut stream = bench.stream(&["label", "texts"], &start).await;
        bench
            .run(&[
                "set sql_mode = ''",
                "insert into label values (1, 'a', 'x'), (2, 'nonsense', 'y'), (3, '', 'z')",
                "update texts set id = id + 10",
            ])
            .await;
        let end = bench.source.log_end().await.expect("log end");
        let streamed = inserted(&follow(&mut *stream, &start, &end).await.expect("the stream goes on"));
        let read = [bench.snapshot("label", 1000).await, bench.snapshot("texts", 1000).await].concat();
        assert_eq!(read, streamed, "{engine:?}");
        let faults = |rows: &[Row]| -> Vec<(usize, usize, ValueFault)> {
            let fault = |row: &Row, column| match row.cell(column) {
                Some(Cell::Faulty(fault)) => Some(fault),
                _ => None,
            };
            let of_row = |(place, row): (usize, &Row)| {
                (0..row.len()).filter_map(|column| Some((place, column, fault(row, column)?))).collect::<Vec<_>>()
            };
            rows.iter().enumerate().flat_map(of_row).collect()
        };
        let (labels, texts) = read.split_at(3);
        assert_eq!(faults(labels), [(1, 1, ValueFault::EnumEmpty)], "{engine:?}");
        let wanted = [(1, 1), (2, 2), (3, 3), (4, 4)].map(|(row, column)| (row, column, ValueFault::CharsetBytes));
        assert_eq!(faults(texts), wanted, "{engine:?}");
        assert_eq!((labels[1].cell(2), labels[2].cell(1)), (Some(Cell::Binary(b"y")), Some(Cell::Binary(b""))), "{engine:?}");
        assert_eq!((texts[1].cell(3), texts[4].cell(3)), (Some(Cell::Binary(b"B")), Some(Cell::Binary(b"D"))), "{engine:?}");
        let described = bench.table("label").await;
        let error = described.decoder.decode(1, labels[1].cell(1).expect("a cell")).expect_err("nobody can read it");
        assert_eq!((error.column.as_str(), error.unfit.map(Unfit::code)), ("e", Some("enum_empty")));
    }
}

#[tokio::test]
async fn dates_that_no_calendar_has_are_the_servers_text_in_both_ways() {
    for (flavour, engine) in FLAVOURS {
        let bench = Bench::start(flavour, engine).await;
        bench.run(&["create table odd (id int primary key, d date, t datetime, f datetime(3), s timestamp null)"]).await;
        let start = bench.source.log_end().await.expect("log end");
        let mut stream = bench.stream(&["odd"], &start).await;
        let modes = "set sql_mode = 'ALLOW_INVALID_DATES'";
        let rows = "insert into odd values (1, '0000-00-00', '2020-00-07 01:02:03', '0000-00-00 00:00:00.120', '0000-00-00 00:00:00'), \
            (2, '2021-02-31', '2021-04-31 00:00:00', null, null)";
        bench.run(&[modes, rows]).await;
        let end = bench.source.log_end().await.expect("log end");
        let streamed = inserted(&follow(&mut *stream, &start, &end).await.expect("the stream goes on"));
        let read = bench.snapshot("odd", 1000).await;
        assert_eq!(read, streamed, "{engine:?}");
        let texts = |row: &tidegate_model::Row| {
            let one = |cell| match cell {
                tidegate_model::Cell::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                other => format!("{other:?}"),
            };
            row.cells().skip(1).map(one).collect::<Vec<_>>()
        };
        assert_eq!(texts(&read[0]), ["0000-00-00", "2020-00-07 01:02:03", "0000-00-00 00:00:00.12", "0000-00-00 00:00:00"], "{engine:?}");
        assert_eq!(texts(&read[1]), ["2021-02-31", "2021-04-31 00:00:00", "Null", "Null"], "{engine:?}");
    }
}

/// A definition that changes between its description and the read of its rows is told as the table's own fault, whatever
/// has changed: whoever loads it describes it anew.
#[tokio::test]
async fn a_read_of_a_table_that_changed_since_names_the_table() {
    for (flavour, engine) in FLAVOURS {
        let bench = Bench::start(flavour, engine).await;
        let mut changes = vec![("alter table c0 rename column v to w", "column_missing"), ("drop table c1", "table_missing")];
        if engine == Engine::Mysql {
            // MySQL does this at once, and does not refuse snapshots that are older.
            changes.push(("alter table c2 drop column v, add column v datetime default '2001-02-03'", "table_changed"));
        }
        for (index, (change, code)) in changes.into_iter().enumerate() {
            let name = format!("c{index}");
            bench.run(&[&format!("create table {name} (id int primary key, v int)"), &format!("insert into {name} values (1, 1)")]).await;
            let described = bench.table(&name).await;
            let snapshot = bench.source.snapshot(&support::scope(&[&name])).await.expect("a snapshot");
            bench.run(&[change]).await;
            let error = support::read_all(&*snapshot, described, 1000).await.expect_err("the definition is another");
            assert_eq!((error.class(), error.code()), (ErrorClass::TableDefinite, code), "{engine:?} {}", error.chain());
            assert!(error.table_name().is_some_and(|table| table.name == name), "{engine:?} {}", error.chain());
        }
    }
}

/// Rare columns: keys that nobody named, collations with large numbers, all members of a set, coordinates in degrees.
#[tokio::test]
async fn rare_columns_read_alike() {
    for (flavour, engine) in FLAVOURS {
        let bench = Bench::start(flavour, engine).await;
        let members: Vec<String> = (0..64).map(|member| format!("'m{member}'")).collect();
        let (collation, point, vector) = match engine {
            Engine::Mysql => ("utf8mb4_0900_ai_ci", "st_geomfromtext('POINT(10 20)', 4326)", ("vector(3)", "to_vector('[1,2.5,-3]')")),
            // Vectors came with 11.7: the pairs' values have them.
            _ => ("utf8mb4_uca1400_ai_ci", "point(10, 20)", ("varbinary(12)", "x'0000803f00002040000040c0'")),
        };
        let columns = format!(
            "u varchar(9) collate {collation}, l varchar(9) character set latin1, s set({}), b bit(64), g geometry, \
             m mediumint unsigned zerofill, v {}",
            members.join(", "),
            vector.0
        );
        bench.run(&[&format!("create table w (id int primary key, {columns})")]).await;
        if engine == Engine::Mysql {
            bench.run(&["set sql_generate_invisible_primary_key = on", "create table gipk (v int)"]).await;
        }
        let start = bench.source.log_end().await.expect("log end");
        bench
            .run(&[
                &format!("insert into w values (1, 'é', 'é', {}, b'{}', {point}, 7, {})", u64::MAX, "1".repeat(64), vector.1),
                "insert into w values (2, '', '', 0, b'0', null, 0, null)",
            ])
            .await;
        if engine == Engine::Mysql {
            bench.run(&["insert into gipk values (5), (5)"]).await;
        }
        let end = bench.source.log_end().await.expect("log end");
        for table in if engine == Engine::Mysql { &["w", "gipk"][..] } else { &["w"] } {
            let mut stream = bench.stream(&[table], &start).await;
            let streamed = inserted(&follow(&mut *stream, &start, &end).await.expect("the stream goes on"));
            assert_eq!(streamed.len(), 2);
            assert_eq!(bench.snapshot(table, 1000).await, streamed, "{engine:?} {table}");
        }
        let described = bench.table("w").await;
        let first = &bench.snapshot("w", 1000).await[0];
        let text = |name: &str| {
            let place = described.schema.column_index(name).expect("a column of the table");
            described.decoder.decode(place, first.cell(place).expect("a cell")).expect("well formed").as_text().map(str::to_owned)
        };
        assert_eq!((text("u").as_deref(), text("l").as_deref()), (Some("é"), Some("é")));
        assert_eq!(text("s").map(|all| all.split(',').count()), Some(64));
        let place = described.schema.column_index("v").expect("a column of the table");
        let floats: Vec<u8> = [1.0_f32, 2.5, -3.0].iter().flat_map(|number| number.to_le_bytes()).collect();
        assert_eq!(described.decoder.decode(place, first.cell(place).expect("a cell")), Ok(Value::Bytes(&floats)), "{engine:?}");
    }
}

/// The same number meant another label before the change; the log says which.
#[tokio::test]
async fn labels_are_those_in_force_when_a_row_was_logged() {
    for (flavour, engine) in FLAVOURS {
        let bench = Bench::start(flavour, engine).await;
        bench.run(&["create table labels (id int primary key, e enum('a','b'), s set('x','y'))"]).await;
        let start = bench.source.log_end().await.expect("log end");
        bench
            .run(&[
                "insert into labels values (1, 'a', 'x')",
                "alter table labels modify e enum('b','a'), modify s set('y','x')",
                "insert into labels values (2, 'a', 'x')",
            ])
            .await;
        let end = bench.source.log_end().await.expect("log end");
        let mut stream = bench.stream(&["labels"], &start).await;
        let streamed = inserted(&follow(&mut *stream, &start, &end).await.expect("the stream goes on"));
        assert_eq!(streamed.len(), 2);
        for row in &streamed {
            let label = |index| match row.cell(index) {
                Some(tidegate_model::Cell::Binary(bytes)) => String::from_utf8(bytes.to_vec()).expect("UTF-8"),
                other => panic!("{other:?}"),
            };
            assert_eq!((label(1), label(2)), ("a".to_owned(), "x".to_owned()), "{engine:?}");
        }
    }
}
