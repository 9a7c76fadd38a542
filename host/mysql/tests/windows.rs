//! A snapshot taken amid writers, joined with the stream at its window, is the table: nothing lost, nothing doubled.

mod cuts;
mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use support::{Bench, Committed, FLAVOURS, follow, read_all, read_chunks, scope};
use tidegate_connector::{ErrorClass, Source, StreamEvent};
use tidegate_harness::{MysqlFlavour, wait_for};
use tidegate_model::position::GtidSet;
use tidegate_model::{Cell, Change, Engine, Row, RowChange, Window};

/// How long a server may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Rows of the table, by key or, for keyless tables, by content, with their counts.
type Rows = BTreeMap<Vec<u8>, (Row, i64)>;

fn key(row: &Row, keyed: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    for cell in row.cells().take(if keyed { 1 } else { usize::MAX }) {
        if let Cell::Binary(value) = cell {
            bytes.extend_from_slice(value);
        }
    }
    bytes
}

/// Applies as a target does: covered by low, skipped; up to high, idempotently; later, strictly.
fn apply(rows: &mut Rows, done: &[Committed], window: &Window, keyed: bool) {
    for committed in done.iter().filter(|committed| !window.low.covers(&committed.mark)) {
        let strict = !window.high.covers(&committed.mark);
        assert!(keyed || strict, "a keyless table has an exact window");
        for (_, change) in &committed.changes {
            let change = match change {
                Change::Row { change, .. } => change,
                Change::Truncate { .. } => {
                    rows.clear();
                    continue;
                }
                Change::Unlogged { .. } => panic!("rows only"),
            };
            let (old, new) = match change {
                RowChange::Insert { new } => (None, Some(new)),
                RowChange::Update { old, new } => (old.as_ref(), Some(new)),
                RowChange::Delete { old } => (Some(old), None),
            };
            if let Some(old) = old {
                match rows.get_mut(&key(old, keyed)) {
                    Some((row, _)) if strict && keyed => assert_eq!(row, old, "the old row is the one that is there"),
                    None if strict => panic!("a strict change met no row"),
                    _ => {}
                }
                if let Some((_, count)) = rows.get_mut(&key(old, keyed)) {
                    *count -= 1;
                    if *count == 0 {
                        rows.remove(&key(old, keyed));
                    }
                }
            }
            if let Some(new) = new {
                let found = rows.entry(key(new, keyed)).or_insert((new.clone(), 0));
                assert!(!(strict && keyed && found.1 != 0), "a strict insert met a row");
                *found = (new.clone(), if keyed { 1 } else { found.1 + 1 });
            }
        }
    }
}

/// Waits until the writers have done so many statements more.
async fn more(written: &AtomicU64, statements: u64) {
    let wanted = written.load(Ordering::Relaxed) + statements;
    wait_for("the writers", PATIENCE, async || match written.load(Ordering::Relaxed) {
        done if done >= wanted => Ok(()),
        done => Err(done),
    })
    .await;
}

async fn join(keyed: bool) {
    for (flavour, engine) in FLAVOURS {
        let bench = Arc::new(Bench::start(flavour, engine).await);
        let definition = if keyed { "id int primary key, v bigint, w int" } else { "id int, v bigint, w int, index (id)" };
        bench.run(&[&format!("create table w ({definition})")]).await;
        let mut conn = bench.conn().await;
        for start in (0..400).step_by(100) {
            let values: Vec<String> = (start..start + 100).map(|id| format!("({id}, 0, 0)")).collect();
            conn.query_drop(format!("insert into w values {}", values.join(","))).await.expect("a plain statement");
        }
        conn.query_drop("analyze table w").await.expect("a plain statement");
        let stop = Arc::new(AtomicBool::new(false));
        let written = Arc::new(AtomicU64::new(0));
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..8_u64 {
            let (bench, stop, written) = (bench.clone(), stop.clone(), written.clone());
            writers.spawn(async move {
                let mut conn = bench.conn().await;
                let mut state = writer * 7919 + 1;
                while !stop.load(Ordering::Relaxed) {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    // Each writer has keys of its own, so that inserts never meet a row.
                    let id = (state >> 33) % 50 * 8 + writer;
                    let sql = match state >> 60 {
                        0..=3 => format!("delete from w where id = {id}"),
                        4..=7 => format!(
                            "insert ignore into w select {id}, {}, {writer} from dual where not exists (select 1 from w where id = {id})",
                            state >> 40
                        ),
                        _ => format!("update w set v = v + 1 where id = {id}"),
                    };
                    // A deadlock is the server's answer to some of these; the next statement goes on.
                    let _ = conn.query_drop(sql).await;
                    written.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 0..6 {
            more(&written, 100).await;
            let start = bench.source.begin_capture(&scope(&["w"])).await.expect("capture begins");
            let table = bench.table("w").await;
            let parts = if keyed && round % 2 == 1 {
                // Rows go from one range to another while they are read.
                let cut = cuts::rule(cuts::ranges(&["v"], &[&["1"], &["2"], &["4"]]));
                let chunks = start.snapshot.cut(&table, &cut, 60).await.expect("the table is cut");
                read_chunks(&*start.snapshot, table, chunks).await.expect("the table reads")
            } else {
                read_all(&*start.snapshot, table, 60).await.expect("the table reads")
            };
            assert!(!keyed || parts.len() > 1, "{} chunks", parts.len());
            more(&written, 50).await;
            // Reading writers' table under a lock names the very state of one position.
            let mut locker = bench.conn().await;
            locker.query_drop("lock tables w read").await.expect("a plain statement");
            let end = bench.source.log_end().await.expect("log end");
            let wanted: Vec<(i64, i64, i64)> = locker.query("select id, v, w from w").await.expect("a plain statement");
            locker.query_drop("unlock tables").await.expect("a plain statement");
            let mut stream = bench.stream(&["w"], &start.position).await;
            let done = follow(&mut *stream, &start.position, &end).await.expect("the stream goes on");
            let mut rows = Rows::new();
            let window = parts.iter().map(|(window, _)| window.clone()).reduce(|one, two| one.joined(&two)).expect("one chunk at least");
            assert!(window.low.covers_position(&start.position), "nothing between the capture's start and the snapshot is missed");
            for (_, chunk) in &parts {
                for row in chunk {
                    let found = rows.entry(key(row, keyed)).or_insert((row.clone(), 0));
                    // The target replaces what another range brought.
                    *found = (row.clone(), if keyed { 1 } else { found.1 + 1 });
                }
            }
            // `end` is what is compared with, so later transactions that came in the same batch are left out.
            let upto: Vec<Committed> = done.into_iter().filter(|committed| end.covers(&committed.mark)).collect();
            apply(&mut rows, &upto, &window, keyed);
            let mut found: Vec<(i64, i64, i64)> = Vec::new();
            for (row, count) in rows.values() {
                let number = |index| match row.cell(index) {
                    Some(Cell::Binary(bytes)) => i64::from_le_bytes(bytes.try_into().expect("eight bytes")),
                    other => panic!("{other:?}"),
                };
                for _ in 0..*count {
                    found.push((number(0), number(1), number(2)));
                }
            }
            let mut wanted = wanted;
            wanted.sort_unstable();
            found.sort_unstable();
            assert_eq!(found, wanted, "{engine:?} keyed {keyed}");
        }
        stop.store(true, Ordering::Relaxed);
        while writers.join_next().await.is_some() {}
        if keyed {
            cuts::every_row_is_in_one_part(&bench).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keyed_table_joins_the_stream_exactly() {
    join(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keyless_table_joins_the_stream_exactly() {
    join(false).await;
}

/// Waits until a statement of somebody who is logged in waits for a table.
async fn wait_for_waiting(bench: &Bench, statement: &str) {
    let sql =
        format!("select count(*) from information_schema.processlist where state like 'Waiting for table%' and info like '{statement}%'");
    wait_for("the statement to wait", PATIENCE, async || {
        let found = bench.server.value(&sql).await;
        if found == "0" { Err("nobody waits") } else { Ok(()) }
    })
    .await;
}

/// SN-004: a reader that has begun holds its table; what a later one sees is joined with the stream at its own window.
#[tokio::test]
async fn a_table_that_is_emptied_between_two_of_its_chunks_is_what_it_is_at_the_source() {
    for (flavour, engine) in FLAVOURS {
        let bench = Bench::start(flavour, engine).await;
        bench.run(&["create table e (id int primary key, v varchar(2000))"]).await;
        for start in (0..3_000).step_by(500) {
            let values: Vec<String> = (start..start + 500).map(|id| format!("({id}, repeat('x', 1500))")).collect();
            bench.run(&[&format!("insert into e values {}", values.join(","))]).await;
        }
        bench.run(&["analyze table e"]).await;
        let start = bench.source.begin_capture(&scope(&["e"])).await.expect("capture begins");
        let table = bench.table("e").await;
        let chunks = start.snapshot.chunks(&table, 1_500).await.expect("the table is cut");
        assert!(chunks.len() > 1, "{engine:?} {} chunks", chunks.len());

        // More than the reader takes at a time, so it is in the middle.
        let mut reader = start.snapshot.read(table.clone(), &chunks[0]).await.expect("a reader");
        let first = reader.next_rows().await.expect("rows").expect("the chunk has rows");
        assert!(first.len() < 500, "{engine:?} {}", first.len());
        let mut first: Vec<Row> = first.iter().collect();
        let mut other = bench.conn().await;
        let emptied = tokio::spawn(async move { other.query_drop("truncate table e").await });
        wait_for_waiting(&bench, "truncate table e").await;
        while let Some(more) = reader.next_rows().await.expect("the table is held") {
            first.extend(more.iter());
        }
        let mut window = reader.window();
        drop(reader);
        emptied.await.expect("no panic").expect("nobody holds the table any more");
        bench.run(&["insert into e values (1, 'new'), (2900, 'new')", "update e set v = 'newer' where id = 1"]).await;

        let mut rows: Rows = first.into_iter().map(|row| (key(&row, true), (row, 1))).collect();
        assert!(rows.len() > 1_000, "{engine:?} {}", rows.len());
        for (read, more) in read_chunks(&*start.snapshot, table, chunks[1..].to_vec()).await.expect("the table reads") {
            window = window.joined(&read);
            rows.extend(more.into_iter().map(|row| (key(&row, true), (row, 1))));
        }
        let end = bench.source.log_end().await.expect("log end");
        let mut stream = bench.stream(&["e"], &start.position).await;
        let done = follow(&mut *stream, &start.position, &end).await.expect("the stream goes on");
        apply(&mut rows, &done, &window, true);
        let wanted: Rows = bench.snapshot("e", 1_000).await.into_iter().map(|row| (key(&row, true), (row, 1))).collect();
        assert_eq!((rows.len(), rows == wanted), (2, true), "{engine:?}");
    }
}

/// SN-003: between the view of a reader and its rows. The view has none of the table that there is now.
#[tokio::test]
async fn a_table_that_is_rewritten_under_a_readers_view_is_refused_and_not_read_empty() {
    for (flavour, engine) in FLAVOURS {
        let bench = Bench::start(flavour, engine).await;
        for (index, statement) in
            ["truncate table NAME", "alter table NAME add column w int default 5, algorithm = copy"].iter().enumerate()
        {
            let name = format!("r{index}");
            bench
                .run(&[&format!("create table {name} (id int primary key, v int)"), &format!("insert into {name} values (1, 1), (2, 2)")])
                .await;
            let start = bench.source.begin_capture(&scope(&[&name])).await.expect("capture begins");
            let table = bench.table(&name).await;
            let chunks = start.snapshot.chunks(&table, 1_000).await.expect("the table is cut");
            let mut holder = bench.conn().await;
            holder.query_drop(format!("lock tables {name} write")).await.expect("nobody else locks");
            let mut reader = start.snapshot.read(table, &chunks[0]).await.expect("a view needs no table");
            wait_for_waiting(&bench, "select").await;
            holder.query_drop(statement.replace("NAME", &name)).await.expect("the table is locked by this session");
            holder.query_drop("unlock tables").await.expect("a plain statement");
            let error = reader.next_rows().await.expect_err("the view is older than the table");
            assert_eq!((error.class(), error.code()), (ErrorClass::Transient, "table_changed"), "{engine:?} {}", error.chain());
        }
    }
}

/// SN-020: a server gives up a client that does not read for `net_write_timeout` seconds. Ours may pause for longer; a connection that
/// ends all the same is an error, and never the end of the table.
#[tokio::test]
async fn a_read_that_pauses_for_longer_than_the_servers_timeout_is_whole_and_a_cut_one_is_an_error() {
    async fn check(flavour: MysqlFlavour, engine: Engine) {
        let bench = Bench::start(flavour, engine).await;
        bench.run(&["create table p (id int primary key, v longtext)", "set global net_write_timeout = 1"]).await;
        // More than the sockets between hold.
        let values: Vec<String> = (0..30).map(|id| format!("({id}, repeat('x', 1000000))")).collect();
        bench.run(&[&format!("insert into p values {}", values.join(","))]).await;
        let table = bench.table("p").await;
        let snapshot = bench.source.snapshot(&scope(&["p"])).await.expect("a snapshot");
        let chunks = snapshot.chunks(&table, 1_000).await.expect("the table is cut");
        let reading = "select coalesce(max(id), 0) from information_schema.processlist where info like 'select %`p`%' and time >= 3";
        for cut in [false, true] {
            let mut reader = snapshot.read(table.clone(), &chunks[0]).await.expect("a reader");
            let mut rows = reader.next_rows().await.expect("rows").expect("the table has rows").len();
            let session = wait_for("the server to wait for its client", PATIENCE, async || match bench.server.value(reading).await {
                none if none == "0" => Err("no session"),
                session => Ok(session),
            })
            .await;
            if cut {
                bench.run(&[&format!("kill {session}")]).await;
            }
            let ended = loop {
                match reader.next_rows().await {
                    Ok(Some(more)) => rows += more.len(),
                    ended => break ended,
                }
            };
            match ended {
                Ok(_) => assert!(!cut && rows == 30, "{engine:?} {rows} rows, cut: {cut}"),
                Err(error) => assert!(cut && rows < 30 && error.class() == ErrorClass::Transient, "{engine:?} {}", error.chain()),
            }
        }
    }
    let [one, two] = FLAVOURS.map(|(flavour, engine)| check(flavour, engine));
    tokio::join!(one, two);
}

/// How many transactions are executed, by the server's own text.
fn count(executed: &str) -> u64 {
    let set: GtidSet = executed.parse().expect("the server's own form");
    set.iter().flat_map(|(_, ranges)| ranges).map(|(first, last)| last - first + 1).sum()
}

async fn text(conn: &mut Conn, sql: &str) -> String {
    conn.query_first(sql).await.expect("a plain statement").expect("never NULL")
}

/// A view of MySQL has an exact window where no session owns a GTID after it: no row may be in it whose transaction is not entered by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mysql_shows_no_row_of_a_transaction_whose_gtid_is_neither_owned_nor_executed() {
    let bench = Arc::new(Bench::start(MysqlFlavour::Mysql97, Engine::Mysql).await);
    // Commits in groups keep transactions visible and not entered for longer: 19 of 2,569 views met some amid these writers.
    let delay = "set global binlog_group_commit_sync_delay = 3000";
    bench.run(&["create table g (id bigint auto_increment primary key)", delay]).await;
    let mut conn = bench.conn().await;
    let before = count(&text(&mut conn, "select @@global.gtid_executed").await);
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let (bench, stop) = (bench.clone(), stop.clone());
        writers.spawn(async move {
            let mut conn = bench.conn().await;
            while !stop.load(Ordering::Relaxed) {
                // One row a transaction, and moments in which nobody commits.
                conn.query_drop("insert into g values ()").await.expect("a plain statement");
                tokio::time::sleep(Duration::from_millis(8)).await;
            }
        });
    }
    let (mut exact, mut others) = (0, 0);
    let since = Instant::now();
    while exact < 100 {
        assert!(since.elapsed() < PATIENCE, "{exact} views while nobody committed, {others} others");
        conn.query_drop("start transaction with consistent snapshot, read only").await.expect("a plain statement");
        let owned = text(&mut conn, "select @@global.gtid_owned").await.matches('#').count() as u64;
        let executed = count(&text(&mut conn, "select @@global.gtid_executed").await) - before;
        let rows: u64 = conn.query_first("select count(*) from g").await.expect("a plain statement").expect("a count");
        conn.query_drop("rollback").await.expect("a plain statement");
        assert!(rows <= executed + owned, "{rows} rows, {executed} transactions executed, {owned} owned");
        if owned == 0 {
            exact += 1;
        } else {
            others += 1;
        }
    }
    stop.store(true, Ordering::Relaxed);
    while writers.join_next().await.is_some() {}
}

#[tokio::test]
async fn a_window_of_mysql_ends_at_its_view_where_nobody_commits_and_covers_who_does() {
    let bench = Arc::new(Bench::start(MysqlFlavour::Mysql97, Engine::Mysql).await);
    bench.run(&["create table o (id int primary key)", "insert into o values (1)"]).await;
    let window = async || bench.try_snapshot("o", 1_000).await.expect("the table reads").remove(0).0;
    let now = async || bench.source.log_end().await.expect("log end");
    let at_rest = window().await;
    assert_eq!((&at_rest.low, &at_rest.high), (&now().await, &now().await));

    // From its flush to its commit a transaction takes a second.
    bench.run(&["set global binlog_group_commit_sync_delay = 1000000"]).await;
    let beside = bench.clone();
    let commit = tokio::spawn(async move { beside.run(&["insert into o values (2)"]).await });
    wait_for("the transaction to have a GTID", PATIENCE, async || match bench.server.value("select @@global.gtid_owned").await {
        none if none.is_empty() => Err("nobody owns one"),
        owned => Ok(owned),
    })
    .await;
    let amid = window().await;
    commit.await.expect("the row is committed");
    assert!(amid.high.covers_position(&now().await), "{amid:?}");
}

/// A server that waits for a replica has a transaction in its log long before the engine shows it. A stream from such a position does not bring
/// it, and a view without it would lose it.
#[tokio::test(flavor = "multi_thread")]
async fn a_view_has_all_that_the_log_of_mariadb_had_before_it() {
    for (flavour, engine) in FLAVOURS.into_iter().filter(|(_, engine)| *engine == Engine::Mariadb) {
        let bench = Bench::start(flavour, engine).await;
        bench
            .run(&["create table keyed (id int primary key)", "create table keyless (id int)", "create table mixed (id int primary key)"])
            .await;
        bench.run(&["create table other_engine (id int) engine = Aria transactional = 1"]).await;
        bench.run(&["set global rpl_semi_sync_master_timeout = 2000", "set global rpl_semi_sync_master_wait_point = 'AFTER_SYNC'"]).await;
        for table in ["keyed", "keyless"] {
            // It no longer waits once it has waited in vain.
            bench.run(&["set global rpl_semi_sync_master_enabled = off", "set global rpl_semi_sync_master_enabled = on"]).await;
            let before = bench.source.log_end().await.expect("log end");
            let mut writer = bench.conn().await;
            let sql = format!("insert into {table} values (1)");
            let writing = tokio::spawn(async move { writer.query_drop(sql).await.expect("it ends in the end") });
            wait_for("the transaction in the log", PATIENCE, async || {
                let now = bench.source.log_end().await.expect("log end");
                if now == before { Err(now) } else { Ok(()) }
            })
            .await;
            let start = bench.source.begin_capture(&scope(&[table])).await.expect("capture begins");
            assert!(!writing.is_finished(), "{flavour:?}: the transaction waits between log and engine");
            let parts = read_all(&*start.snapshot, bench.table(table).await, 60).await.expect("the table reads");
            let [(window, rows)] = &parts[..] else { panic!("{} chunks", parts.len()) };
            assert_eq!(rows.len(), 1, "{flavour:?} {table}: {window:?} begins before {}", start.position);
            assert!(window.low.covers_position(&start.position), "{flavour:?} {table}: {window:?} begins before {}", start.position);
            writing.await.expect("it ends");
        }
    }
}

/// The same of MySQL, where it is the caller who heard of a transaction by the log: a table is added, or loaded again, while that is waiting.
#[tokio::test(flavor = "multi_thread")]
async fn a_view_of_mysql_is_waited_for_until_it_has_what_the_log_has_told() {
    let bench = Bench::start(MysqlFlavour::Mysql97, Engine::Mysql).await;
    bench.run(&["create table t (id int primary key)", "install plugin rpl_semi_sync_source soname 'semisync_source.so'"]).await;
    bench.run(&["set global rpl_semi_sync_source_timeout = 2000", "set global rpl_semi_sync_source_enabled = on"]).await;
    let start = bench.source.log_end().await.expect("log end");
    let mut stream = bench.stream(&["t"], &start).await;
    let mut writer = bench.conn().await;
    let writing = tokio::spawn(async move { writer.query_drop("insert into t values (1)").await.expect("it ends in the end") });
    let heard = wait_for("the transaction in the stream", PATIENCE, async || {
        let events = stream.next_events().await.expect("the stream goes on");
        let marks = events.iter().find_map(|event| match event {
            StreamEvent::Commit { mark, .. } => Some(mark.clone()),
            _ => None,
        });
        marks.ok_or(())
    })
    .await;
    let mut seen = start.clone();
    seen.advance(&heard);
    let executed = bench.source.log_end().await.expect("log end");
    assert!(!executed.covers(&heard) && !writing.is_finished(), "the engine does not show what the stream brought: {executed}");
    // A target may be there already, and whoever goes on from it is no stranger.
    bench.source.check_position(&scope(&["t"]), &seen).await.expect("the position is the server's own");
    bench.source.wait_shown(&seen).await.expect("it is shown in the end");
    let snapshot = bench.source.snapshot(&scope(&["t"])).await.expect("a snapshot");
    let parts = read_all(&*snapshot, bench.table("t").await, 60).await.expect("the table reads");
    let rows: usize = parts.iter().map(|(_, rows)| rows.len()).sum();
    assert!(rows == 1 && parts[0].0.low.covers(&heard), "{:?}", parts[0].0);
    writing.await.expect("it ends");
}

/// Whoever touches a table of Aria, if only to read it, commits in one phase, which MariaDB's snapshots know nothing of: a view is behind the
/// table's writers then, whose locks last until the engine has what they wrote.
#[tokio::test(flavor = "multi_thread")]
async fn a_view_of_mariadb_waits_for_writers_where_there_are_tables_of_aria() {
    let bench = Bench::start(MysqlFlavour::Mariadb1011, Engine::Mariadb).await;
    bench.run(&["create table g (id bigint auto_increment primary key)", "insert into g values (1)"]).await;
    let table = bench.table("g").await;
    let snapshot = async || bench.source.snapshot(&scope(&["g"])).await.expect("a snapshot");
    let mut writer = bench.conn().await;
    writer.query_drop("begin; insert into g values (2)").await.expect("plain statements");
    let free = snapshot().await;
    let parts = read_all(&*free, table.clone(), 60).await.expect("nobody is waited for");
    assert_eq!(parts[0].1.len(), 1);

    bench.run(&["create table a (id int) engine = Aria transactional = 1"]).await;
    let behind = snapshot().await;
    let reading = read_all(&*behind, table.clone(), 60);
    tokio::pin!(reading);
    wait_for("the reader to wait for the lock", PATIENCE, async || {
        tokio::select! {
            read = &mut reading => panic!("nobody was waited for: {:?}", read.map(|parts| parts.len())),
            waiting = bench.server.value("select count(*) from information_schema.processlist where info like 'lock tables%' and state like 'Waiting%'") => {
                if waiting == "1" { Ok(()) } else { Err(waiting) }
            }
        }
    })
    .await;
    writer.query_drop("commit").await.expect("a plain statement");
    let parts = reading.await.expect("the table reads");
    let [(window, rows)] = &parts[..] else { panic!("{} chunks", parts.len()) };
    assert_eq!((rows.len(), &window.low), (2, &window.high));
    assert_eq!(window.low, bench.source.log_end().await.expect("log end"));
}
