//! The stream loses nothing, doubles nothing, and stops with a cause where it cannot go on.

mod support;

use std::time::Duration;

use mysql_async::prelude::Queryable;
use support::{Bench, FLAVOURS, follow, inserted, scope, settings, stop, table_name};
use tidegate_connector::{ErrorClass, LoopMark, Source, StreamEvent};
use tidegate_harness::{MysqlFlavour, wait_for};
use tidegate_model::{Cell, Change, Engine, Position, Row, RowChange, TableName};
use tidegate_mysql::MysqlSource;

fn number(row: &Row, index: usize) -> i64 {
    match row.cell(index) {
        Some(Cell::Binary(bytes)) => i64::from_le_bytes(bytes.try_into().expect("an integer has eight bytes")),
        other => panic!("cell {index}: {other:?}"),
    }
}

#[tokio::test]
async fn a_stream_resumed_anywhere_gives_each_transaction_once() {
    for (flavour, engine) in FLAVOURS {
        let bench = Bench::start(flavour, engine).await;
        bench.run(&["create table r (id int primary key, v int)", "create table other (id int)"]).await;
        let start = bench.source.log_end().await.expect("log end");
        for id in 0..20 {
            bench.run(&["begin", &format!("insert into r values ({id}, 0)"), &format!("insert into other values ({id})"), "commit"]).await;
        }
        let mut conn = bench.conn().await;
        for sql in [
            "start transaction",
            "insert into r values (100, 1)",
            "savepoint a",
            "insert into r values (101, 1)",
            "rollback to a",
            "commit",
        ] {
            conn.query_drop(sql).await.expect("a plain statement");
        }
        bench.run(&["update r set id = 200 where id = 100", "delete from r where id = 200", "flush binary logs", "truncate table r"]).await;
        let end = bench.source.log_end().await.expect("log end");
        let mut whole = bench.stream(&["r"], &start).await;
        let all = follow(&mut *whole, &start, &end).await.expect("the stream goes on");
        let rows = inserted(&all);
        assert_eq!(rows.len(), 22, "{engine:?}");
        assert!(all.iter().flat_map(|committed| &committed.changes).all(|(table, _)| *table == table_name("r")));
        let last = |index: usize| &all[all.len() - index].changes;
        assert!(matches!(&last(1)[..], [(_, Change::Truncate { .. })]));
        assert!(matches!(&last(2)[..], [(_, Change::Row { change: RowChange::Delete { old }, .. })] if number(old, 0) == 200));
        let [(_, Change::Row { change: RowChange::Update { old: Some(old), new }, .. })] = &last(3)[..] else { panic!("an update") };
        assert_eq!((number(old, 0), number(new, 0)), (100, 200));
        let mut position = start.clone();
        for committed in &all {
            position.advance(&committed.mark);
        }
        assert_eq!(position, end);
        let mut middle = start.clone();
        for committed in all.iter().take(7) {
            middle.advance(&committed.mark);
        }
        let mut resumed = bench.stream(&["r"], &middle).await;
        let rest = follow(&mut *resumed, &middle, &end).await.expect("the stream goes on");
        assert_eq!(inserted(&rest), rows[rows.len() - inserted(&rest).len()..]);
        assert_eq!(rest.len() + 7, all.len());
        marked_transactions_are_left_out_whole(&bench).await;
    }
}

/// On the servers of another test.
async fn marked_transactions_are_left_out_whole(bench: &Bench) {
    let columns = "(session bigint unsigned not null primary key, transactions bigint unsigned not null)";
    bench
        .run(&[
            "create database tidegate",
            "create database awsdms_control",
            "create table awsdms_control.awsdms_txn_state (task_name varchar(128) primary key, checkpoint varchar(1024))",
        ])
        .await;
    for mark in ["a", "b"] {
        bench.run(&[&format!("create table tidegate.loopback_{mark} {columns}")]).await;
    }
    let start = bench.source.log_end().await.expect("log end");
    for (mark, id) in [("b", 301), ("a", 302)] {
        let marked = format!("insert into tidegate.loopback_{mark} values (1, 1)");
        let truncated = format!("truncate table r /* tidegate loopback {mark} */");
        bench.run(&["start transaction", &marked, &format!("insert into r values ({id}, 1)"), "commit", &truncated]).await;
    }
    bench
        .run(&[
            "update tidegate.loopback_a set transactions = 2",
            "replace into awsdms_control.awsdms_txn_state values ('back', 'a place')",
            "insert into r values (303, 1)",
        ])
        .await;
    let end = bench.source.log_end().await.expect("log end");
    let source = MysqlSource::connect(settings(&bench.server, bench.engine)).await.expect("the harness's server lets us in");
    let source = source.leaving_out(LoopMark::new("b"));
    let mut stream = source.open_stream(&scope(&["r"]), &start).await.expect("the position is there");
    let done = follow(&mut *stream, &start, &end).await.expect("the stream goes on");
    let told: Vec<String> = done
        .iter()
        .map(|committed| match &committed.changes[..] {
            [(_, Change::Row { change: RowChange::Insert { new }, .. })] => number(new, 0).to_string(),
            [(_, Change::Truncate { .. })] => "truncated".into(),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(told, ["302", "truncated", "303"], "what concerns no table of ours is told as a place: {:?}", bench.engine);
}

#[tokio::test]
async fn compressed_logs_read_like_plain_ones() {
    for (flavour, engine) in FLAVOURS {
        let bench = Bench::start(flavour, engine).await;
        bench.run(&["create table k (id int primary key, v longtext)"]).await;
        let start = bench.source.log_end().await.expect("log end");
        let mut stream = bench.stream(&["k"], &start).await;
        let on = if engine == Engine::Mysql { "set binlog_transaction_compression = on" } else { "set global log_bin_compress = on" };
        bench
            .run(&[on, "begin", "insert into k values (1, repeat('a', 100000))", "insert into k values (2, repeat('b', 50000))", "commit"])
            .await;
        bench.run(&[on, "update k set v = repeat('c', 70000)", "delete from k where id = 1"]).await;
        bench
            .run(&[if engine == Engine::Mysql { "do 1" } else { "set global log_bin_compress = off" }, "insert into k values (9, 'plain')"])
            .await;
        let end = bench.source.log_end().await.expect("log end");
        let done = follow(&mut *stream, &start, &end).await.expect("the stream goes on");
        let length = |row: &Row| match row.cell(1) {
            Some(Cell::Binary(bytes)) => bytes.len(),
            other => panic!("{other:?}"),
        };
        let lengths: Vec<(i64, usize)> = inserted(&done).iter().map(|row| (number(row, 0), length(row))).collect();
        assert_eq!(lengths, [(1, 100_000), (2, 50_000), (1, 70_000), (2, 70_000), (9, 5)], "{engine:?}");
    }
}

#[tokio::test]
async fn tagged_gtids_are_followed_and_resumed() {
    let (flavour, engine) = FLAVOURS[1];
    let bench = Bench::start(flavour, engine).await;
    bench.run(&["create table g (id int primary key)"]).await;
    let start = bench.source.log_end().await.expect("log end");
    let mut stream = bench.stream(&["g"], &start).await;
    bench.run(&["set gtid_next = 'automatic:blue'", "insert into g values (1)", "insert into g values (2)"]).await;
    bench
        .run(&["set gtid_next = 'automatic:blue_2'", "insert into g values (3)", "set gtid_next = 'automatic'", "insert into g values (4)"])
        .await;
    let end = bench.source.log_end().await.expect("log end");
    let done = follow(&mut *stream, &start, &end).await.expect("the stream goes on");
    assert_eq!(inserted(&done).iter().map(|row| number(row, 0)).collect::<Vec<_>>(), [1, 2, 3, 4]);
    let mut middle = start.clone();
    middle.advance(&done[0].mark);
    middle.advance(&done[1].mark);
    assert!(middle.to_string().contains("blue"), "{middle}");
    let mut resumed = bench.stream(&["g"], &middle).await;
    let rest = follow(&mut *resumed, &middle, &end).await.expect("the stream goes on");
    assert_eq!(inserted(&rest).iter().map(|row| number(row, 0)).collect::<Vec<_>>(), [3, 4]);
}

#[tokio::test]
async fn changes_that_rows_do_not_tell_stop_the_stream() {
    for (flavour, engine) in FLAVOURS {
        let bench = Bench::start(flavour, engine).await;
        let cases: [(&str, &[&str], &str); 2] = [
            ("s0", &["set binlog_format = 'STATEMENT'", "insert into s0 values (7, 7)"], "binlog_format"),
            (
                "s5",
                &["set global binlog_row_metadata = 'MINIMAL'", "update s5 set v = 9", "set global binlog_row_metadata = 'FULL'"],
                "row_metadata",
            ),
        ];
        for (name, statements, code) in cases {
            bench.run(&[&format!("create table {name} (id int primary key, v int)"), &format!("insert into {name} values (1, 1)")]).await;
            let start = bench.source.log_end().await.expect("log end");
            let mut stream = bench.stream(&[name], &start).await;
            bench.run(statements).await;
            let error = stop(&mut *stream).await;
            assert_eq!(error.code(), code, "{engine:?} {}", error.chain());
            assert!(error.class() != ErrorClass::Transient && error.chain().contains("position"), "{}", error.chain());
            assert!(error.hint_text().is_some(), "{code} has a hint");
        }
    }
}

#[tokio::test]
async fn statements_that_move_rows_are_told_in_their_place() {
    for (flavour, engine) in FLAVOURS {
        let bench = Bench::start(flavour, engine).await;
        bench
            .run(&["create table m (id int primary key, v int)", "create table _m_gho like m", "create table n (id int primary key)"])
            .await;
        let start = bench.source.log_end().await.expect("log end");
        let mut stream = bench.stream(&["m", "n"], &start).await;
        bench.run(&["insert into m values (1, 1)", "alter table m change v w int", "insert into _m_gho values (1, 1)"]).await;
        bench.run(&["rename table m to _m_del, _m_gho to m", "insert into m values (2, 2)", "drop table n", "rename table m to q"]).await;
        let end = bench.source.log_end().await.expect("log end");
        let done = follow(&mut *stream, &start, &end).await.expect("the stream goes on");
        let told: Vec<String> = done
            .iter()
            .flat_map(|committed| &committed.changes)
            .map(|(table, change)| match change {
                Change::Unlogged { upheaval, .. } => format!("{} {upheaval:?}", table.name),
                Change::Row { .. } | Change::Truncate { .. } => format!("{} row", table.name),
            })
            .collect();
        assert_eq!(told, ["m row", "m ColumnRenamed", "m Renamed", "m row", "n Dropped", "m Renamed"], "{engine:?}");
    }
}

#[tokio::test]
async fn an_altered_table_gets_a_new_description() {
    for (flavour, engine) in FLAVOURS {
        let bench = Bench::start(flavour, engine).await;
        bench.run(&["create table a (id int primary key, e enum('a','b'))"]).await;
        let start = bench.source.log_end().await.expect("log end");
        bench.run(&["insert into a values (1, 'a')", "alter table a modify e enum('b','a'), add column x int unsigned first"]).await;
        bench.run(&["insert into a values (5, 2, 'a')", "create table unrelated (id int)"]).await;
        let end = bench.source.log_end().await.expect("log end");
        let mut stream = bench.stream(&["a"], &start).await;
        let (mut versions, mut position) = (Vec::new(), start);
        while !position.covers_position(&end) {
            for event in stream.next_events().await.expect("the stream goes on") {
                match event {
                    StreamEvent::Relation { table, .. } => versions.push((table.schema.version, table.schema.columns.len())),
                    StreamEvent::Commit { mark, .. } => position.advance(&mark),
                    _ => {}
                }
            }
        }
        assert_eq!(versions, [(1, 2), (2, 3)], "{engine:?}");
    }
}

#[tokio::test]
async fn a_row_beyond_the_servers_packet_limit_is_read() {
    for (flavour, engine) in FLAVOURS {
        let bench = Bench::start(flavour, engine).await;
        bench.run(&["set global max_allowed_packet = 67108864", "create table big (id int primary key, v longblob)"]).await;
        let start = bench.source.log_end().await.expect("log end");
        let mut stream = bench.stream(&["big"], &start).await;
        bench.run(&["insert into big values (1, repeat('x', 40000000))", "update big set v = repeat('y', 40000000)"]).await;
        let end = bench.source.log_end().await.expect("log end");
        let streamed = inserted(&follow(&mut *stream, &start, &end).await.expect("the stream goes on"));
        assert_eq!(bench.snapshot("big", 10).await, streamed[1..]);
    }
}

#[tokio::test]
async fn positions_of_another_history_are_refused() {
    for (flavour, engine) in FLAVOURS {
        let bench = Bench::start(flavour, engine).await;
        bench.run(&["create table p (id int primary key)", "insert into p values (1)"]).await;
        let end = bench.source.log_end().await.expect("log end");
        let ahead: Position = match engine {
            Engine::Mysql => "mysql:3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5".parse().expect("well formed"),
            _ => {
                let text = end.to_string();
                let (head, last) = text.rsplit_once('-').expect("a GTID has hyphens");
                format!("{head}-{}", last.parse::<u64>().expect("a number") + 1000).parse().expect("well formed")
            }
        };
        let error = bench.source.open_stream(&support::scope(&["p"]), &ahead).await.err().expect("another history");
        assert_eq!(error.code(), "source_changed", "{engine:?} {}", error.chain());
        let before: Position = if engine == Engine::Mysql { "mysql:".parse() } else { "mariadb:".parse() }.expect("well formed");
        bench.run(&["flush binary logs", "insert into p values (2)", "flush binary logs"]).await;
        let mut conn = bench.conn().await;
        // A log goes when its file is older than the second that is named.
        wait_for("the older logs to be purged", Duration::from_secs(90), async || {
            conn.query_drop("purge binary logs before now()").await.expect("a plain statement");
            let logs: Vec<mysql_async::Row> = conn.query("show binary logs").await.expect("a plain statement");
            if logs.len() == 1 { Ok(()) } else { Err(logs.len()) }
        })
        .await;
        let error = bench.source.open_stream(&support::scope(&["p"]), &before).await.err().expect("purged");
        assert_eq!((error.class(), error.code()), (ErrorClass::TaskDefinite, "position_lost"), "{engine:?} {}", error.chain());
    }
}

/// What a session may do to its own log, each in a table of its own: the stream stops before a row is wrong.
#[tokio::test]
async fn what_a_session_hides_or_takes_back_stops_the_stream() {
    const WRITES: &str = "create function writes() returns int deterministic begin insert into h3 values (7, 7, null, null); return 1; end";
    for (flavour, engine) in FLAVOURS {
        let bench = Bench::start(flavour, engine).await;
        bench.run(&["create table plain (id int primary key) engine = MyISAM"]).await;
        if engine == Engine::Mysql {
            bench.run(&["set global log_bin_trust_function_creators = on"]).await;
        }
        let mut cases: Vec<(&str, &str, &[&str], &str)> = vec![
            // Whether what it computes changed is not logged.
            (
                "h0",
                "id int primary key",
                &["alter table h0 add g int as (v + 1)", "set binlog_row_image = 'MINIMAL'", "update h0 set b = 'other'"],
                "row_image",
            ),
            ("h2", "id int not null unique", &["set binlog_row_image = 'MINIMAL'", "update h2 set v = 9"], "row_image"),
            ("h1", "id int primary key", &["set binlog_row_image = 'MINIMAL'", "insert into h1 (id) values (3)"], "row_image"),
            ("h3", "id int primary key", &[WRITES, "set binlog_format = 'STATEMENT'", "select writes()"], "binlog_format"),
        ];
        match engine {
            Engine::Mysql => cases.extend([(
                "h5",
                "id int primary key",
                &["set binlog_row_value_options = 'PARTIAL_JSON'", "update h5 set j = json_set(j, '$.a', 2)"][..],
                "partial_json",
            )]),
            // MySQL logs cascades, and with GTIDs does not let a transaction change tables of both kinds.
            _ => cases.extend([
                (
                    "h6",
                    "id int primary key",
                    &[
                        "create table parent (id int primary key)",
                        "alter table h6 add foreign key (v) references parent (id) on delete set null",
                    ][..],
                    "cascade_not_logged",
                ),
                (
                    "h5",
                    "id int primary key",
                    &[
                        "begin",
                        "insert into h5 (id) values (2)",
                        "savepoint a",
                        "insert into h5 (id) values (3)",
                        "insert into plain values (1)",
                        "rollback to a",
                        "commit",
                    ][..],
                    "rollback_logged",
                ),
            ]),
        }
        for (name, key, statements, code) in cases {
            bench
                .run(&[
                    &format!("create table {name} ({key}, v int default 4, b blob, j json)"),
                    &format!("insert into {name} values (1, null, 'blob', '{{\"a\": 1, \"b\": \"{}\"}}')", "x".repeat(200)),
                ])
                .await;
            let start = bench.source.log_end().await.expect("log end");
            let mut stream = bench.stream(&[name], &start).await;
            bench.run(statements).await;
            let error = tokio::time::timeout(Duration::from_secs(60), stop(&mut *stream))
                .await
                .unwrap_or_else(|_| panic!("{engine:?} {name} went unnoticed"));
            assert_eq!(error.code(), code, "{engine:?} {name} {}", error.chain());
            assert!(error.class() != ErrorClass::Transient && error.chain().contains("position"), "{}", error.chain());
            assert!(error.hint_text().is_some(), "{code} has a hint");
        }
        if engine == Engine::Mariadb {
            // It logs whole rows of a table without any key, whatever the session wants.
            bench.run(&["create table keyless (id int, v int)", "insert into keyless values (1, 1)"]).await;
            let start = bench.source.log_end().await.expect("log end");
            bench.run(&["set binlog_row_image = 'MINIMAL'", "update keyless set v = 9"]).await;
            let end = bench.source.log_end().await.expect("log end");
            let mut stream = bench.stream(&["keyless"], &start).await;
            let done = follow(&mut *stream, &start, &end).await.expect("the stream goes on");
            assert_eq!(inserted(&done), bench.snapshot("keyless", 1000).await);
        }
        // The name stands in the log in the session's own letters.
        bench.run(&["create table `café` (id int primary key)", "insert into `café` values (1)"]).await;
        let start = bench.source.log_end().await.expect("log end");
        let mut stream = bench.stream(&["café"], &start).await;
        let mut conn = bench.conn().await;
        conn.query_drop("set names latin1").await.expect("a plain statement");
        conn.query_drop(&b"truncate table caf\xe9"[..]).await.expect("the table is there");
        let error = tokio::time::timeout(Duration::from_secs(60), stop(&mut *stream))
            .await
            .unwrap_or_else(|_| panic!("{engine:?} the name went unnoticed"));
        assert_eq!(error.code(), "statement_charset", "{engine:?} {}", error.chain());
    }
}

/// Tables and statements whose rows come in groups of another form. What the stream tells is what the tables hold.
#[tokio::test]
async fn rows_of_every_kind_of_table_and_statement_arrive() {
    const TABLES: [&str; 5] = ["parts", "one", "two", "plain", "child"];
    for (flavour, engine) in FLAVOURS {
        let bench = Bench::start(flavour, engine).await;
        // Only MySQL, from 9.6 on, logs the rows that a cascade changes.
        let cascade = if engine == Engine::Mysql { "on delete cascade on update cascade" } else { "" };
        bench
            .run(&[
                "create table parts (id int primary key, v int) partition by hash (id) partitions 3",
                "create table one (id int primary key, v int)",
                "create table two (id int primary key, v int)",
                "create table plain (id int primary key, v int) engine = MyISAM",
                "create table parent (id int primary key)",
                &format!("create table child (id int primary key, v int, foreign key (v) references parent (id) {cascade})"),
                "create table other (id int primary key)",
                "create trigger copies after insert on one for each row insert into two values (new.id, new.v)",
            ])
            .await;
        let start = bench.source.log_end().await.expect("log end");
        bench
            .run(&[
                "insert into parts values (1, 1), (2, 2), (3, 3), (4, 4)",
                "update parts set v = v + 1",
                "update parts set id = id + 10 where id in (1, 2)",
                "delete from parts where id = 3",
                "insert into one values (1, 1), (2, 2), (3, 3)",
                "update one join two using (id) set one.v = one.v + 10, two.v = two.v + 20 where id < 3",
                "delete one, two from one join two using (id) where id = 3",
                "insert into plain values (1, 1), (2, 2)",
                "update plain set v = 5 where id = 1",
                "delete from plain where id = 2",
                "create temporary table passing (id int)",
                "insert into passing values (1)",
                "create table made (id int primary key) select id from parts",
                "create table alike like parts",
                "xa start 'elsewhere'",
                "insert into other values (1)",
                "xa end 'elsewhere'",
                "xa prepare 'elsewhere'",
                "xa commit 'elsewhere'",
                "insert into parent values (1), (2)",
                "insert into child values (10, 1), (11, 1), (12, 2)",
            ])
            .await;
        if engine == Engine::Mysql {
            bench.run(&["delete from parent where id = 1", "update parent set id = 3 where id = 2"]).await;
        }
        let end = bench.source.log_end().await.expect("log end");
        let mut stream = bench.stream(&TABLES, &start).await;
        let done = follow(&mut *stream, &start, &end).await.expect("the stream goes on");
        let mut told: std::collections::BTreeMap<(String, i64), i64> = std::collections::BTreeMap::new();
        for (table, change) in done.iter().flat_map(|committed| &committed.changes) {
            let Change::Row { change, .. } = change else { panic!("only rows: {change:?}") };
            let (old, new) = match change {
                RowChange::Insert { new } => (None, Some(new)),
                RowChange::Update { old, new } => (old.as_ref(), Some(new)),
                RowChange::Delete { old } => (Some(old), None),
            };
            if let Some(old) = old {
                assert_eq!(told.remove(&(table.name.clone(), number(old, 0))), Some(number(old, 1)), "{engine:?} {}", table.name);
            }
            if let Some(new) = new {
                told.insert((table.name.clone(), number(new, 0)), number(new, 1));
            }
        }
        let mut held = std::collections::BTreeMap::new();
        for table in TABLES {
            for row in bench.snapshot(table, 1000).await {
                held.insert((table.to_owned(), number(&row, 0)), number(&row, 1));
            }
        }
        assert_eq!(told, held, "{engine:?}");
        assert_eq!(held.len(), if engine == Engine::Mysql { 3 + 2 + 2 + 1 + 1 } else { 3 + 2 + 2 + 1 + 3 });
    }
}

/// MariaDB 11.8 logs generated columns of inserts alone: nothing tells their values after an update.
#[tokio::test]
async fn generated_columns_that_the_log_leaves_out_are_no_columns_of_the_table() {
    for (flavour, wanted) in [
        (MysqlFlavour::Mariadb1011, "c: 5, v: 6, twice: 12; c: 5, v: 7, twice: 14; c: 5, v: 7, twice: 14"),
        (MysqlFlavour::Mariadb118, "c: 5, v: 6; c: 5, v: 7; c: 5, v: 7"),
    ] {
        let bench = Bench::start(flavour, Engine::Mariadb).await;
        bench.run(&["create table t (twice int generated always as (v * 2) stored, c int, v int, id int primary key)"]).await;
        let start = bench.source.log_end().await.expect("log end");
        bench
            .run(&[
                "insert into t (id, c, v) values (1, 5, 6), (2, null, null)",
                "update t set v = 7 where id = 1",
                "delete from t where id = 1",
            ])
            .await;
        let table = bench.source.describe(&[TableName::new("test", "t")]).await.expect("the table is there").remove(0);
        let place = |name: &str| table.schema.column_index(name);
        let shown = |row: &Row| {
            let names = ["c", "v", "twice"].into_iter();
            names.filter_map(|name| Some(format!("{name}: {}", number(row, place(name)?)))).collect::<Vec<_>>().join(", ")
        };
        let end = bench.source.log_end().await.expect("log end");
        let mut stream = bench.stream(&["t"], &start).await;
        let done = follow(&mut *stream, &start, &end).await.expect("the stream goes on");
        let rows = done.iter().flat_map(|committed| &committed.changes).filter_map(|(_, change)| match change {
            Change::Row { change: RowChange::Insert { new }, .. } if number(new, place("id").expect("the key")) == 2 => None,
            Change::Row { change: RowChange::Insert { new } | RowChange::Update { new, .. }, .. } => Some(shown(new)),
            Change::Row { change: RowChange::Delete { old }, .. } => Some(shown(old)),
            _ => None,
        });
        assert_eq!(rows.collect::<Vec<_>>().join("; "), wanted, "{flavour:?}");
        assert_eq!(bench.snapshot("t", 1000).await.len(), 1);
    }
}
