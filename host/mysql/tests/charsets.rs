//! Every code of every character set arrives as the text that the server makes of it, by load and by log; codes without a
//! character are values at fault in both.

mod support;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use support::{Bench, FLAVOURS, follow, inserted, scope, stop};
use tidegate_connector::{ErrorClass, Secret, Severity, Source};
use tidegate_model::{Cell, Engine, Row, ValueFault};
use tidegate_mysql::MysqlSource;

/// Names, and the most bytes of a code.
const ONE: [&str; 25] = [
    "armscii8", "ascii", "cp1250", "cp1251", "cp1256", "cp1257", "cp850", "cp852", "cp866", "dec8", "geostd8", "greek", "hebrew", "hp8",
    "keybcs2", "koi8r", "koi8u", "latin1", "latin2", "latin5", "latin7", "macce", "macroman", "swe7", "tis620",
];
const TWO: [&str; 6] = ["big5", "cp932", "euckr", "gb2312", "gbk", "sjis"];
const THREE: [&str; 2] = ["eucjpms", "ujis"];

/// Lists of bytes, one for each place of a code.
type Places = Vec<Vec<u8>>;

/// What codes a character set may have.
fn places(charset: &str) -> Vec<Places> {
    let every: Vec<u8> = (0..=255).collect();
    let high: Vec<u8> = (0x80..=0xff).collect();
    let (odd, even): (Vec<u8>, Vec<u8>) = ((0x81..=0xfe).collect(), (0x30..=0x39).collect());
    let mut all = vec![vec![every.clone()]];
    if !ONE.contains(&charset) {
        all.push(vec![high.clone(), every]);
    }
    if THREE.contains(&charset) {
        all.push(vec![vec![0x8f], high.clone(), high]);
    }
    if charset == "gb18030" {
        // Each first byte is a statement of its own.
        all.extend(odd.iter().map(|first| vec![vec![*first], even.clone(), odd.clone(), even.clone()]));
    }
    all
}

/// `select` of codes as bytes, with numbers of rows of neighbouring codes.
fn codes(places: &[Vec<u8>]) -> String {
    let digits = (1..16).fold("select 0".to_owned(), |sql, digit| format!("{sql} union all select {digit}"));
    let list = |bytes: &[u8]| bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(",");
    let terms: Vec<String> =
        (0..places.len()).map(|place| format!("p{place}.n * {}", 256_u64.pow((places.len() - 1 - place) as u32))).collect();
    let from: Vec<String> = (0..places.len()).map(|place| format!("bytes p{place}")).collect();
    let among: Vec<String> = places.iter().enumerate().map(|(place, bytes)| format!("p{place}.n in ({})", list(bytes))).collect();
    format!(
        "with digits (n) as ({digits}), bytes (n) as (select h.n * 16 + l.n from digits h cross join digits l), \
         codes (n, code) as (select n, unhex(lpad(hex(n), {}, '0')) from (select {} n from {} where {}) numbers)",
        2 * places.len(),
        terms.join(" + "),
        from.join(" cross join "),
        among.join(" and ")
    )
}

async fn run(conn: &mut Conn, sql: &str) {
    conn.query_drop(sql).await.unwrap_or_else(|error| panic!("{}: {error}", &sql[..sql.len().min(300)]));
}

fn text(row: &Row, index: usize) -> String {
    match row.cell(index) {
        Some(Cell::Binary(bytes)) => String::from_utf8(bytes.to_vec()).expect("UTF-8"),
        other => panic!("{other:?}"),
    }
}

/// Fills a table with rows of many codes each, and another with the codes that the server stores and has no character for.
async fn fill(conn: &mut Conn, charset: &str) {
    run(conn, &format!("create table t_{charset} (id bigint primary key, c longtext character set {charset})")).await;
    run(conn, &format!("create table lossy_{charset} (id bigint primary key, c varchar(10) character set {charset})")).await;
    for places in places(charset) {
        let stored = format!("convert(code using {charset})");
        let read = format!("convert({stored} using utf8mb4)");
        let one = format!("char_length({read}) = 1 and hex({stored}) = hex(code)");
        let with = codes(&places);
        let base = (places.len() as u64) << 40;
        let sql = format!(
            "insert into t_{charset} {with} select {base} + n div 256, group_concat({stored} order by n separator '') from codes \
             where {one} and (hex({read}) <> '3F' or n = 63) group by n div 256"
        );
        run(conn, &sql).await;
        // Of codes of four bytes, those with the greatest first byte have no character.
        if places.len() == 4 && places[0] != [0xfe] {
            continue;
        }
        let sql = format!(
            "insert into lossy_{charset} {with} select {base} + n, {stored} from codes where {one} and hex({read}) = '3F' and n <> 63 limit 1"
        );
        run(conn, &sql).await;
    }
}

#[tokio::test]
async fn every_code_of_every_character_set_is_the_servers_own_text_or_a_fault() {
    for (flavour, engine) in FLAVOURS {
        let bench = Bench::start(flavour, engine).await;
        let mut conn = bench.conn().await;
        run(&mut conn, "set sql_mode = '', group_concat_max_len = 1048576").await;
        let there: Vec<String> =
            conn.query("select character_set_name from information_schema.character_sets order by 1").await.expect("a plain statement");
        let listed: Vec<&str> = ONE.iter().chain(&TWO).chain(&THREE).chain(&["gb18030"]).copied().collect();
        let unicode = ["binary", "ucs2", "utf16", "utf16le", "utf32", "utf8", "utf8mb3", "utf8mb4"];
        for name in &there {
            assert!(listed.contains(&name.as_str()) || unicode.contains(&name.as_str()), "{engine:?} has {name}");
        }
        let charsets: Vec<&str> = listed.into_iter().filter(|name| there.iter().any(|found| found == name)).collect();
        assert_eq!(charsets.len(), if engine == Engine::Mysql { 34 } else { 33 }, "{engine:?} {there:?}");
        let (mut codes, mut faulty) = (0, Vec::new());
        for charset in charsets {
            let start = bench.source.log_end().await.expect("log end");
            fill(&mut conn, charset).await;
            let end = bench.source.log_end().await.expect("log end");
            let table = format!("t_{charset}");
            let mut stream = bench.stream(&[&table], &start).await;
            let streamed = inserted(&follow(&mut *stream, &start, &end).await.expect("the stream goes on"));
            let read = bench.snapshot(&table, 1_000_000).await;
            let wanted: Vec<(i64, String)> =
                conn.query(format!("select id, convert(c using utf8mb4) from {table} order by id")).await.expect("a plain statement");
            assert!(read.len() == wanted.len() && streamed.len() == wanted.len(), "{engine:?} {charset}: {} rows", wanted.len());
            let mut letters = 0;
            for ((row, logged), (id, wanted)) in read.iter().zip(&streamed).zip(&wanted) {
                assert!(text(row, 1) == *wanted, "{engine:?} {charset}: the load of row {id:x} differs");
                assert_eq!(row, logged, "{engine:?} {charset}: the log of row {id:x} differs");
                letters += wanted.chars().count();
            }
            let least = match charset {
                "gb18030" => 1_048_576 + 63_000,
                name if TWO.contains(&name) || THREE.contains(&name) => 7_000,
                "swe7" => 127,
                _ => 128,
            };
            assert!(letters >= least, "{engine:?} {charset}: {letters} characters");
            codes += letters;
            if check_faulty(&bench, &mut conn, charset).await {
                faulty.push(charset);
            }
        }
        println!("{engine:?}: {codes} codes; codes without a character in {faulty:?}");
        assert!(faulty.len() >= 5, "{engine:?} stores codes without a character in {faulty:?}");
    }
}

/// A code that the server stores and has no character for is a value at fault in both ways. False when there is none.
async fn check_faulty(bench: &Bench, conn: &mut Conn, charset: &str) -> bool {
    let table = format!("lossy_{charset}");
    // Of some codes the server stores nothing.
    run(conn, &format!("delete from {table} where length(c) = 0")).await;
    let ids: Vec<i64> = conn.query(format!("select id from {table} order by id")).await.expect("a plain statement");
    let start = bench.source.log_end().await.expect("log end");
    let mut stream = bench.stream(&[&table], &start).await;
    run(conn, &format!("update {table} set id = id + 1")).await;
    let end = bench.source.log_end().await.expect("log end");
    let streamed = inserted(&follow(&mut *stream, &start, &end).await.expect("the stream goes on"));
    let read = bench.snapshot(&table, 1000).await;
    assert_eq!((read.len(), &read), (ids.len(), &streamed), "{charset}");
    assert!(read.iter().all(|row| row.cell(1) == Some(Cell::Faulty(ValueFault::CharsetBytes))), "{charset} {read:?}");
    !ids.is_empty()
}

/// Lengths, blanks at the end, labels and names in other character sets; and a change of the character set between rows.
#[tokio::test]
async fn columns_labels_and_names_in_other_character_sets_read_alike() {
    for (flavour, engine) in FLAVOURS {
        let bench = Bench::start(flavour, engine).await;
        for (charset, word) in [
            ("gbk", "中文"),
            ("cp932", "日本"),
            ("ujis", "丂語"),
            ("cp1251", "Слово"),
            ("koi8u", "Їжак"),
            ("swe7", "ÅÄÖ"),
            ("big5", "中文"),
            ("euckr", "한글"),
        ] {
            let table = format!("w_{charset}");
            bench
                .run(&[&format!(
                    "create table {table} (id int primary key, `{word}` char(7), v varchar(300), t text, e enum('x', '{word}', 'it''s'), \
                     s set('{word}', 'b')) character set {charset}"
                )])
                .await;
            let start = bench.source.log_end().await.expect("log end");
            let mut stream = bench.stream(&[&table], &start).await;
            bench
                .run(&[
                    &format!(
                        "insert into {table} values (1, '{word} ', '{word} ', '{word}', '{word}', '{word},b'), (2, '', '', '', 'x', '')"
                    ),
                    &format!("insert into {table} values (3, null, null, null, null, null)"),
                    &format!("update {table} set v = concat(v, '{word}') where id = 1"),
                    // Behind the change, the same bytes would be another text.
                    &format!("alter table {table} modify v varchar(300) character set utf8mb4, modify t text character set utf8mb4"),
                    &format!("insert into {table} values (4, '{word}', '😀{word}', '', 'it''s', 'b')"),
                ])
                .await;
            let end = bench.source.log_end().await.expect("log end");
            let streamed = inserted(&follow(&mut *stream, &start, &end).await.expect("the stream goes on"));
            let read = bench.snapshot(&table, 1000).await;
            let described = bench.table(&table).await;
            assert_eq!(described.schema.columns[1].name, word);
            assert_eq!((streamed.len(), read.len()), (5, 4), "{engine:?} {charset}");
            let known = |id: usize| if id == 0 { &streamed[3] } else { &streamed[id] };
            // The last image of each row; the first row was updated, behind the two others.
            assert_eq!([&read[0], &read[1], &read[2]], [known(0), known(1), known(2)], "{engine:?} {charset}");
            assert_eq!(read[3], streamed[4], "{engine:?} {charset}");
            assert_eq!(text(&read[0], 2), format!("{word} {word}"));
            assert_eq!([text(&read[0], 1), text(&read[0], 4), text(&read[0], 5)], [word.to_owned(), word.to_owned(), format!("{word},b")]);
            assert_eq!(text(&read[3], 2), format!("😀{word}"));
        }
    }
}

/// The server tells with the rows in which character set they come, whatever it was when the table was described.
#[tokio::test]
async fn a_load_reads_a_table_whose_character_set_changed_since_it_was_described() {
    for (flavour, engine) in FLAVOURS {
        let bench = Bench::start(flavour, engine).await;
        bench
            .run(&["create table turned (id int primary key, v varchar(9) character set gbk)", "insert into turned values (1, '中')"])
            .await;
        for charset in ["utf8mb4", "big5", "gbk"] {
            let described = bench.table("turned").await;
            bench.run(&[&format!("alter table turned modify v varchar(9) character set {charset}")]).await;
            let snapshot = bench.source.snapshot(&scope(&["turned"])).await.expect("a snapshot");
            let read = support::read_all(&*snapshot, described, 1000).await.expect("the table can be read");
            assert_eq!(text(&read[0].1[0], 1), "中", "{engine:?} {charset}");
        }
    }
}

/// The codes are asked for once for all tables and both ways, need no right, and a question that failed is asked again.
#[tokio::test]
async fn a_character_set_is_learned_once_without_rights_and_after_a_failure() {
    for (flavour, engine) in FLAVOURS {
        let mut bench = Bench::start(flavour, engine).await;
        bench
            .run(&[
                "create table one (id int primary key, v varchar(9) character set gbk)",
                "create table two (id int primary key, v varchar(9) character set gbk, w text character set gbk)",
                "insert into one values (1, '中')",
                "create user plain identified by 'plain'",
                "grant select on test.* to plain",
                "grant replication slave, replication client on *.* to plain",
                "set global log_output = 'TABLE'",
                "set global general_log = 1",
            ])
            .await;
        if engine == Engine::Mariadb {
            bench.run(&["grant binlog monitor, slave monitor on *.* to plain"]).await;
        }
        let mut wanted = support::settings(&bench.server, engine);
        (wanted.user, wanted.password) = ("plain".to_owned(), Secret::new("plain"));
        bench.source = MysqlSource::connect(wanted).await.expect("the source can be opened");
        let start = bench.source.log_end().await.expect("log end");
        let mut stream = bench.stream(&["two"], &start).await;
        bench.run(&["insert into two values (1, '文', '中')", "alter user plain account lock"]).await;
        let error = stop(&mut *stream).await;
        assert_eq!((error.class(), error.code()), (ErrorClass::TaskDefinite, "password_refused"), "{engine:?} {}", error.chain());
        bench.run(&["alter user plain account unlock", "truncate table mysql.general_log"]).await;

        let mut stream = bench.stream(&["one", "two"], &start).await;
        bench.run(&["insert into one values (2, '文')"]).await;
        let end = bench.source.log_end().await.expect("log end");
        let streamed = inserted(&follow(&mut *stream, &start, &end).await.expect("the stream goes on"));
        let read = [bench.snapshot("two", 1000).await, bench.snapshot("one", 1000).await].concat();
        assert_eq!([&streamed[0], &streamed[1]], [&read[0], &read[2]], "{engine:?}");
        assert_eq!([text(&read[0], 1), text(&read[0], 2), text(&read[1], 1)], ["文", "中", "中"].map(str::to_owned), "{engine:?}");
        let asked: Vec<String> = bench
            .conn()
            .await
            .query("select cast(argument as char) from mysql.general_log where argument like '%unhex(lpad%' and argument not like '%general_log%' and command_type = 'Query'")
            .await
            .expect("a plain statement");
        // One question for codes of one byte, one for those of two.
        assert_eq!(asked.len(), 2, "{engine:?} {}", asked.len());
    }
}

/// One character may have two codes, which are two keys at the source and one text.
#[tokio::test]
async fn keys_of_character_sets_that_repeat_characters_are_told_by_the_check() {
    for (flavour, engine) in FLAVOURS {
        let bench = Bench::start(flavour, engine).await;
        bench
            .run(&[
                "create table twice (a varchar(9) character set cp932 collate cp932_bin primary key, b varchar(9) character set gbk unique, \
                 c varchar(9) character set cp932, d varchar(9) character set cp1251 unique)",
                // Both are ≒.
                "insert into twice (a) values (convert(x'81e0' using cp932)), (convert(x'8790' using cp932))",
            ])
            .await;
        let read = bench.snapshot("twice", 1000).await;
        assert_eq!([text(&read[0], 0), text(&read[1], 0)], ["≒", "≒"], "{engine:?}");
        let found = bench.source.check(&scope(&[]).task, &[bench.table("twice").await], true).await.expect("the check can be done");
        let told: Vec<_> = found.iter().filter(|finding| finding.code == "key_charset").collect();
        assert_eq!(told.len(), 1, "{engine:?} {found:?}");
        assert!(told[0].severity == Severity::Warning && told[0].object.contains("\"a\"") && told[0].fix.is_some(), "{told:?}");
        assert!(found.iter().all(|finding| finding.severity != Severity::Error), "{found:?}");
        let mut tables = Vec::new();
        for charset in ONE.iter().chain(&TWO).chain(&THREE).chain(["gb18030"].iter().filter(|_| engine == Engine::Mysql)) {
            bench.run(&[&format!("create table key_{charset} (v varchar(9) character set {charset} primary key)")]).await;
            tables.push(bench.table(&format!("key_{charset}")).await);
        }
        let found = bench.source.check(&scope(&[]).task, &tables, true).await.expect("the check can be done");
        let told: Vec<_> = found.iter().filter(|finding| finding.code == "key_charset").map(|finding| &finding.found).collect();
        let names: Vec<&str> = told.iter().filter_map(|found| found.split(' ').nth(2)).collect();
        assert_eq!(names, ["armscii8", "tis620", "big5", "cp932", "sjis", "eucjpms", "ujis"], "{engine:?}");
    }
}
