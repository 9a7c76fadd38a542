//! XA transactions: told once, as one transaction at the place of their COMMIT, wherever the stream begins.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row as Answer};
use support::{Bench, Committed, follow, inserted};
use tidegate_connector::Source;
use tidegate_harness::{MysqlFlavour, wait_for};
use tidegate_model::{Cell, Change, Engine, LogPlace, Position, Row, RowChange};
use tokio::task::JoinSet;

const FLAVOURS: [(MysqlFlavour, Engine); 3] =
    [(MysqlFlavour::Mariadb1011, Engine::Mariadb), (MysqlFlavour::Mariadb118, Engine::Mariadb), (MysqlFlavour::Mysql97, Engine::Mysql)];

fn number(row: &Row, index: usize) -> i64 {
    match row.cell(index) {
        Some(Cell::Binary(bytes)) => i64::from_le_bytes(bytes.try_into().expect("an integer has eight bytes")),
        other => panic!("cell {index}: {other:?}"),
    }
}

/// What transactions with changes do, each in one text: `+key` inserts, `~key` updates, `-key` deletes.
fn told(done: &[Committed]) -> Vec<String> {
    let step = |change: &Change| match change {
        Change::Row { change: RowChange::Insert { new }, .. } => format!("+{}", number(new, 0)),
        Change::Row { change: RowChange::Update { new, .. }, .. } => format!("~{}", number(new, 0)),
        Change::Row { change: RowChange::Delete { old }, .. } => format!("-{}", number(old, 0)),
        other => format!("{other:?}"),
    };
    let text = |committed: &Committed| committed.changes.iter().map(|(_, change)| step(change)).collect::<Vec<_>>().join(" ");
    done.iter().map(text).filter(|text| !text.is_empty()).collect()
}

/// A transaction that is prepared, and its session.
struct Prepared {
    name: &'static str,
    session: Conn,
}

async fn prepare(bench: &Bench, name: &'static str, statements: &[&str]) -> Prepared {
    let mut session = bench.conn().await;
    let [start, end, prepare] = ["start", "end", "prepare"].map(|step| format!("xa {step} '{name}', 'branch', 7"));
    for sql in [&[&start[..]], statements, &[&end, &prepare]].concat() {
        session.query_drop(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    Prepared { name, session }
}

/// Commits or rolls back, by another session where the server crashed. (While a session ends by itself, MariaDB may log a COMMIT by
/// another one that it does not do, and the row is gone at the source.)
async fn finish(bench: &Bench, verb: &str, prepared: Prepared) {
    let Prepared { name, mut session } = prepared;
    let sql = format!("xa {verb} '{name}', 'branch', 7");
    if session.query_drop(&sql).await.is_err() {
        bench.run(&[&sql]).await;
    }
}

/// Everything that happens to XA transactions. `pause` comes between steps.
async fn history(bench: &mut Bench, pause: impl AsyncFn(&mut Bench)) {
    let first = prepare(bench, "first", &["insert into x values (1, 0)", "update x set v = 1 where id = 1"]).await;
    let second = prepare(bench, "second", &["insert into x values (2, 0), (3, 0)", "insert into other values (2)"]).await;
    pause(bench).await;
    let void = prepare(bench, "void", &["insert into x values (4, 0)"]).await;
    let away = prepare(bench, "away", &["insert into other values (5)"]).await;
    bench.run(&["insert into x values (6, 0)"]).await;
    finish(bench, "commit", second).await;
    finish(bench, "rollback", void).await;
    pause(bench).await;
    finish(bench, "commit", away).await;
    finish(bench, "commit", first).await;
    // A name may be used again.
    let first =
        prepare(bench, "first", &["delete from x where id = 1", "savepoint a", "insert into x values (7, 0)", "rollback to a"]).await;
    pause(bench).await;
    finish(bench, "commit", first).await;
    let second = prepare(bench, "second", &["insert into x values (8, 0)"]).await;
    finish(bench, "rollback", second).await;
    bench.run(&["xa start 'one'", "insert into x values (9, 0)", "xa end 'one'", "xa commit 'one' one phase"]).await;
}

const HISTORY: [&str; 5] = ["+6", "+2 +3", "+1 ~1", "-1", "+9"];

async fn create(bench: &Bench) -> Position {
    bench.run(&["create table x (id int primary key, v int)", "create table other (id int primary key)"]).await;
    bench.source.log_end().await.expect("log end")
}

/// The stream that begins at any place of the log tells what the rest of it tells.
async fn check_every_start(bench: &Bench, start: &Position) {
    let end = bench.source.log_end().await.expect("log end");
    let mut stream = bench.stream(&["x"], start).await;
    let all = follow(&mut *stream, start, &end).await.expect("the stream goes on");
    assert_eq!(told(&all), HISTORY, "{:?}", bench.server.flavour());
    let mut held = BTreeMap::new();
    for change in all.iter().flat_map(|committed| &committed.changes).map(|(_, change)| change) {
        match change {
            Change::Row { change: RowChange::Insert { new } | RowChange::Update { new, .. }, .. } => {
                held.insert(number(new, 0), number(new, 1))
            }
            Change::Row { change: RowChange::Delete { old }, .. } => held.remove(&number(old, 0)),
            other => panic!("only rows: {other:?}"),
        };
    }
    let rows: BTreeMap<i64, i64> = bench.snapshot("x", 1000).await.iter().map(|row| (number(row, 0), number(row, 1))).collect();
    assert_eq!(held, rows);
    let mut position = start.clone();
    for (index, committed) in all.iter().enumerate() {
        position.advance(&committed.mark);
        let mut stream = bench.stream(&["x"], &position).await;
        let rest = follow(&mut *stream, &position, &end).await.unwrap_or_else(|error| panic!("from {position}: {}", error.chain()));
        assert_eq!(told(&rest), told(&all[index + 1..]), "{:?} from {position}", bench.server.flavour());
    }
    assert_eq!(position, end, "the GTIDs of PREPARE, COMMIT and ROLLBACK are all told");
}

#[tokio::test]
async fn xa_transactions_are_told_once_at_their_commit_from_wherever_the_stream_begins() {
    for (flavour, engine) in FLAVOURS {
        let mut bench = Bench::start(flavour, engine).await;
        let start = create(&bench).await;
        history(&mut bench, async |_| {}).await;
        check_every_start(&bench, &start).await;
    }
}

#[tokio::test]
async fn files_of_the_log_and_crashes_of_the_server_may_lie_between_prepare_and_commit() {
    for (flavour, engine) in FLAVOURS {
        let mut bench = Bench::start(flavour, engine).await;
        let start = create(&bench).await;
        history(&mut bench, async |bench| {
            bench.run(&["flush binary logs"]).await;
            bench.server.kill().await;
            bench.server.restart().await;
        })
        .await;
        check_every_start(&bench, &start).await;
    }
}

#[tokio::test]
async fn compressed_xa_transactions_are_told_like_others() {
    for (flavour, engine) in FLAVOURS {
        let mut bench = Bench::start(flavour, engine).await;
        let on: &[&str] = match engine {
            Engine::Mysql => &["set global binlog_transaction_compression = on"],
            _ => &["set global log_bin_compress = on", "set global log_bin_compress_min_len = 10"],
        };
        bench.run(on).await;
        let start = create(&bench).await;
        history(&mut bench, async |_| {}).await;
        check_every_start(&bench, &start).await;
    }
}

/// More than a batch of the stream, more events than the server is asked for at a time, and tables between its rows.
#[tokio::test]
async fn a_large_xa_transaction_is_told_whole() {
    for (flavour, engine) in FLAVOURS {
        for compressed in [false, true] {
            let bench = Bench::start(flavour, engine).await;
            let start = create(&bench).await;
            bench.run(&["create table wide (id int primary key, v varchar(2000))"]).await;
            let mut conn = bench.conn().await;
            if compressed {
                let on =
                    if engine == Engine::Mysql { "set binlog_transaction_compression = on" } else { "set global log_bin_compress = on" };
                conn.query_drop(on).await.expect("a plain statement");
            }
            conn.query_drop("xa start 'large'").await.expect("a plain statement");
            for id in 0..3000 {
                conn.query_drop(format!("insert into wide values ({id}, repeat('{}', 2000))", id % 10)).await.expect("a plain statement");
            }
            for sql in
                ["insert into other values (1)", "update wide set v = 'short' where id >= 2990", "xa end 'large'", "xa prepare 'large'"]
            {
                conn.query_drop(sql).await.expect("a plain statement");
            }
            bench.run(&["insert into x values (1, 1)"]).await;
            let middle = bench.source.log_end().await.expect("log end");
            conn.query_drop("xa commit 'large'").await.expect("it is prepared");
            let end = bench.source.log_end().await.expect("log end");
            for (from, others) in [(&start, 1), (&middle, 0)] {
                let mut stream = bench.stream(&["x", "wide"], from).await;
                let done = follow(&mut *stream, from, &end).await.expect("the stream goes on");
                let changes: Vec<usize> = done.iter().map(|committed| committed.changes.len()).filter(|count| *count > 0).collect();
                assert_eq!(changes, [vec![1; others], vec![3010]].concat(), "{flavour:?} {compressed}");
                let wide = &inserted(&done[done.len() - 1..]);
                assert!(wide[..3000].iter().enumerate().all(|(index, row)| number(row, 0) == index as i64));
            }
        }
    }
}

/// A snapshot sees nothing of a prepared transaction; the log behind it has its COMMIT.
#[tokio::test]
async fn what_is_prepared_before_a_snapshot_and_committed_after_it_comes_in_the_stream() {
    for (flavour, engine) in FLAVOURS {
        let bench = Bench::start(flavour, engine).await;
        create(&bench).await;
        let across = prepare(&bench, "across", &["insert into x values (1, 0)"]).await;
        let before = prepare(&bench, "before", &["insert into x values (2, 0)"]).await;
        finish(&bench, "commit", before).await;
        let chunks = bench.try_snapshot("x", 1000).await.expect("the table reads");
        let [(window, rows)] = &chunks[..] else { panic!("one chunk") };
        assert_eq!(rows.iter().map(|row| number(row, 0)).collect::<Vec<_>>(), [2], "{flavour:?}");
        finish(&bench, "commit", across).await;
        let end = bench.source.log_end().await.expect("log end");
        let mut stream = bench.stream(&["x"], &window.low).await;
        let done = follow(&mut *stream, &window.low, &end).await.expect("the stream goes on");
        assert_eq!(told(&done), ["+1"], "{flavour:?}");
    }
}

/// Each place in the log's file has the transactions that are complete before it, and a stream from there has the others.
#[tokio::test]
async fn places_of_the_log_lie_between_prepare_and_commit_too() {
    for (flavour, engine) in FLAVOURS {
        let bench = Bench::start(flavour, engine).await;
        create(&bench).await;
        bench.run(&["flush binary logs"]).await;
        let a = prepare(&bench, "a", &["insert into x values (1, 0)"]).await;
        let b = prepare(&bench, "b", &["insert into x values (2, 0)"]).await;
        finish(&bench, "commit", b).await;
        finish(&bench, "commit", a).await;
        let end = bench.source.log_end().await.expect("log end");
        let mut conn = bench.conn().await;
        let files: Vec<Answer> = conn.query("show binary logs").await.expect("a plain statement");
        let file: String = files.last().and_then(|row| row.get(0)).expect("the log has files");
        let events: Vec<Answer> = conn.query(format!("show binlog events in '{file}'")).await.expect("a plain statement");
        let begins = events.iter().filter(|event| event.get::<String, _>(2).is_some_and(|kind| kind == "Gtid"));
        let places: Vec<u64> = begins.map(|event| event.get(1).expect("an offset")).collect();
        assert_eq!(places.len(), 4, "{flavour:?}");
        for (offset, rest) in places.into_iter().zip([&["+2", "+1"][..], &["+2", "+1"], &["+2", "+1"], &["+1"]]) {
            let place = LogPlace { file: file.clone(), offset };
            let from = bench.source.position_of(&place).await.expect("the place is there").expect("the log is that long");
            let mut stream = bench.stream(&["x"], &from).await;
            let done = follow(&mut *stream, &from, &end).await.unwrap_or_else(|error| panic!("{flavour:?} {place}: {}", error.chain()));
            assert_eq!(told(&done), rest, "{flavour:?} {place}");
        }
    }
}

#[tokio::test]
async fn servers_let_nobody_change_a_table_with_rows_of_a_prepared_transaction() {
    for (flavour, engine) in FLAVOURS {
        let bench = Bench::start(flavour, engine).await;
        create(&bench).await;
        // Its session has ended.
        drop(prepare(&bench, "held", &["insert into x values (1, 0)"]).await);
        for sql in
            ["truncate table x", "alter table x add column z int", "alter table x modify v bigint", "rename table x to y", "drop table x"]
        {
            let mut conn = bench.conn().await;
            conn.query_drop("set lock_wait_timeout = 1, innodb_lock_wait_timeout = 1").await.expect("a plain statement");
            assert!(conn.query_drop(sql).await.is_err(), "{flavour:?} {sql}");
        }
    }
}

/// What the log does not tell, or no longer.
#[tokio::test]
async fn xa_transactions_of_which_the_log_does_not_tell_stop_the_stream() {
    for (flavour, engine) in FLAVOURS {
        let bench = Bench::start(flavour, engine).await;
        create(&bench).await;
        let stop = async |from: &Position| {
            let end = bench.source.log_end().await.expect("log end");
            let mut stream = bench.stream(&["x"], from).await;
            follow(&mut *stream, from, &end).await.err().unwrap_or_else(|| panic!("{flavour:?} went on")).code()
        };
        let mut session = bench.conn().await;
        for sql in
            ["set session binlog_format = 'statement'", "xa start 't'", "insert into x values (2, 0)", "xa end 't'", "xa prepare 't'"]
        {
            session.query_drop(sql).await.expect("a plain statement");
        }
        let middle = bench.source.log_end().await.expect("log end");
        session.query_drop("xa commit 't'").await.expect("it is prepared");
        assert_eq!(stop(&middle).await, "binlog_format");
        let purged = prepare(&bench, "purged", &["insert into x values (3, 0)"]).await;
        bench.run(&["flush binary logs"]).await;
        let middle = bench.source.log_end().await.expect("log end");
        let mut conn = bench.conn().await;
        wait_for("the older logs to be purged", Duration::from_secs(90), async || {
            conn.query_drop("purge binary logs before now()").await.expect("a plain statement");
            let logs: Vec<Answer> = conn.query("show binary logs").await.expect("a plain statement");
            if logs.len() == 1 { Ok(()) } else { Err(logs.len()) }
        })
        .await;
        finish(&bench, "commit", purged).await;
        assert_eq!(stop(&middle).await, "xa_unsupported");
    }
}

/// A snapshot among writers: what the log has up to its window's low it has, and nothing from behind the high.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn windows_of_snapshots_hold_among_xa_transactions() {
    for (flavour, engine) in FLAVOURS {
        let bench = Arc::new(Bench::start(flavour, engine).await);
        bench.run(&["create table keyed (id int primary key)", "create table keyless (id int)"]).await;
        let start = bench.source.log_end().await.expect("log end");
        let stop = Arc::new(AtomicBool::new(false));
        let mut writers = JoinSet::new();
        for writer in 0..6 {
            let (bench, stop) = (bench.clone(), stop.clone());
            writers.spawn(async move {
                let (mut conn, mut other) = (bench.conn().await, bench.conn().await);
                let mut id = writer;
                while !stop.load(Ordering::Relaxed) {
                    for sql in [
                        format!("xa start '{id}'"),
                        format!("insert into keyed values ({id})"),
                        format!("insert into keyless values ({id})"),
                        format!("xa end '{id}'"),
                        format!("xa prepare '{id}'"),
                    ] {
                        conn.query_drop(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
                    }
                    let commit = format!("xa commit '{id}'");
                    if writer % 2 == 0 {
                        conn.query_drop(&commit).await.expect("it is prepared");
                    } else {
                        // By another session, as after a loss of the connection.
                        conn.disconnect().await.expect("a session may end");
                        while other.query_drop(&commit).await.is_err() {}
                        conn = bench.conn().await;
                    }
                    id += 6;
                }
            });
        }
        let mut snapshots = Vec::new();
        for _ in 0..40 {
            for table in ["keyed", "keyless"] {
                for (window, rows) in bench.try_snapshot(table, 1_000_000).await.expect("the table reads") {
                    snapshots.push((table, window, rows.iter().map(|row| number(row, 0)).collect::<BTreeSet<i64>>()));
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
        while let Some(ended) = writers.join_next().await {
            ended.expect("a writer does not fail");
        }
        let end = bench.source.log_end().await.expect("log end");
        let mut stream = bench.stream(&["keyed", "keyless"], &start).await;
        let done = follow(&mut *stream, &start, &end).await.expect("the stream goes on");
        // While a session ends, MariaDB may log a COMMIT by another one that it does not do: such a row is nowhere.
        let held: BTreeSet<i64> = bench.snapshot("keyed", 1_000_000).await.iter().map(|row| number(row, 0)).collect();
        let (mut lost, mut early) = (0, 0);
        for (table, window, rows) in &snapshots {
            for committed in done.iter().filter(|committed| !committed.changes.is_empty()) {
                let Change::Row { change: RowChange::Insert { new }, .. } = &committed.changes[0].1 else { panic!("an insert") };
                let is_there = rows.contains(&number(new, 0));
                lost += u32::from(window.low.covers(&committed.mark) && !is_there && held.contains(&number(new, 0)));
                early += u32::from(is_there && !window.high.covers(&committed.mark));
            }
            assert!(*table == "keyed" || window.low == window.high, "a keyless table has an exact window");
        }
        assert!(snapshots.iter().any(|(_, _, rows)| !rows.is_empty()), "the writers write");
        assert_eq!((lost, early), (0, 0), "{flavour:?}");
    }
}
