//! Rare states of a source: logs that a crash or a loss left behind, numbers that go back, a server that takes another one's
//! place, statements that look like something else.

mod support;
mod unusual;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use support::{Bench, FLAVOURS, follow, inserted, scope, settings, stop, table_name};
use tidegate_connector::conformance::{notes, task};
use tidegate_connector::{CaptureScope, ErrorClass, Finding, Severity, Source, TablePreparation, Target};
use tidegate_harness::{MysqlFlavour, MysqlServer, wait_for};
use tidegate_model::{Cell, Change, Engine, Position, Row, TableName, TaskId};
use tidegate_mysql::MysqlSource;
use tidegate_mysql::target::MysqlTarget;

/// Bytes of an event's header: time, code, server, size, end and flags. Source: MySQL's binlog_event.h.
const HEADER: usize = 19;
const ROTATE: u8 = 4;
const XID: u8 = 16;
const INCIDENT: u8 = 26;
const MYSQL_GTID: u8 = 33;
const MARIADB_GTID: u8 = 162;

fn number(row: &Row, index: usize) -> i64 {
    match row.cell(index) {
        Some(Cell::Binary(bytes)) => i64::from_le_bytes(bytes.try_into().expect("an integer has eight bytes")),
        other => panic!("cell {index}: {other:?}"),
    }
}

fn numbers(rows: &[Row]) -> Vec<i64> {
    rows.iter().map(|row| number(row, 0)).collect()
}

/// The events of a log's file, behind its magic number.
fn events(file: &[u8]) -> Vec<Vec<u8>> {
    let (mut all, mut at) = (Vec::new(), 4);
    while at < file.len() {
        let size = u32::from_le_bytes(file[at + 9..at + 13].try_into().expect("four bytes")) as usize;
        all.push(file[at..at + size].to_vec());
        at += size;
    }
    all
}

/// Appends an event at its new place: its end and its checksum are made anew.
fn append(file: &mut Vec<u8>, mut event: Vec<u8>) {
    let end = u32::try_from(file.len() + event.len()).expect("the file is small");
    event[13..17].copy_from_slice(&end.to_le_bytes());
    let checked = event.len() - 4;
    let checksum = crc32fast::hash(&event[..checked]);
    event[checked..].copy_from_slice(&checksum.to_le_bytes());
    file.extend(event);
}

/// Ends a finished file of the log as a crash would have: without the event that leads on to the next file, in the middle of
/// a transaction. That is the file's last one once more, under the number after its own, which its server gives again.
fn end_in_half_a_transaction(path: &Path) {
    let file = std::fs::read(path).expect("the server's file can be read");
    let all = events(&file);
    let last = all.iter().rposition(|event| matches!(event[4], MYSQL_GTID | MARIADB_GTID)).expect("a transaction stands in the file");
    let mut cut = file[..file.len() - all.last().expect("a file has events").len()].to_vec();
    assert_eq!(all.last().map(|event| event[4]), Some(ROTATE));
    for event in &all[last..] {
        if event[4] == XID {
            break;
        }
        let mut event = event.clone();
        let sequence = match event[4] {
            MYSQL_GTID => Some(HEADER + 17),
            MARIADB_GTID => Some(HEADER),
            _ => None,
        };
        if let Some(at) = sequence {
            let next = u64::from_le_bytes(event[at..at + 8].try_into().expect("eight bytes")) + 1;
            event[at..at + 8].copy_from_slice(&next.to_le_bytes());
        }
        append(&mut cut, event);
    }
    std::fs::write(path, cut).expect("the server's file can be written");
}

/// Puts in front of a finished file's last event that events were lost.
fn tell_of_a_loss(path: &Path) {
    let file = std::fs::read(path).expect("the server's file can be read");
    let last = events(&file).pop().expect("a file has events");
    let mut told = file[..file.len() - last.len()].to_vec();
    // LOST_EVENTS (1), and a message without letters.
    let mut incident = last[..HEADER].to_vec();
    incident[4] = INCIDENT;
    incident[9..13].copy_from_slice(&(HEADER as u32 + 3 + 4).to_le_bytes());
    incident.extend([1, 0, 0, 0, 0, 0, 0]);
    append(&mut told, incident);
    append(&mut told, last);
    std::fs::write(path, told).expect("the server's file can be written");
}

async fn log_files(bench: &Bench) -> Vec<std::path::PathBuf> {
    let listed = bench.server.rows("show binary logs").await;
    listed.into_iter().map(|row| bench.server.data_dir().join(row[0].as_deref().expect("a file has a name"))).collect()
}

#[tokio::test]
async fn half_a_transaction_is_void_and_a_loss_stops_the_stream() {
    for (flavour, engine) in FLAVOURS {
        let bench = Bench::start(flavour, engine).await;
        bench.run(&["create table h (id int primary key)"]).await;
        let start = bench.source.log_end().await.expect("log end");
        bench.run(&["insert into h values (1)", "flush binary logs", "insert into h values (2)", "insert into h values (3)"]).await;
        let files = log_files(&bench).await;
        end_in_half_a_transaction(&files[files.len() - 2]);
        let end = bench.source.log_end().await.expect("log end");
        let mut stream = bench.stream(&["h"], &start).await;
        let done = follow(&mut *stream, &start, &end).await.expect("the stream goes on");
        assert_eq!(numbers(&inserted(&done)), [1, 2, 3], "{engine:?}");
        let mut middle = start.clone();
        middle.advance(&done[0].mark);
        let mut resumed = bench.stream(&["h"], &middle).await;
        let rest = follow(&mut *resumed, &middle, &end).await.expect("the stream goes on");
        assert_eq!(numbers(&inserted(&rest)), [2, 3], "{engine:?}");
        bench.run(&["flush binary logs", "insert into h values (4)"]).await;
        tell_of_a_loss(&files[files.len() - 1]);
        let mut stream = bench.stream(&["h"], &middle).await;
        let error = stop(&mut *stream).await;
        assert_eq!((error.class(), error.code()), (ErrorClass::TaskDefinite, "incident"), "{engine:?} {}", error.chain());
        assert!(error.hint_text().is_some(), "{}", error.chain());
    }
}

/// Without `gtid_strict_mode`, MariaDB gives any number to a transaction.
#[tokio::test]
async fn numbers_that_go_back_are_refused_and_those_of_other_servers_followed() {
    let (flavour, engine) = FLAVOURS[0];
    let bench = Bench::start(flavour, engine).await;
    bench.run(&["create table n (id int primary key)", "insert into n values (1)"]).await;
    let start = bench.source.log_end().await.expect("log end");
    let mut stream = bench.stream(&["n"], &start).await;
    bench.run(&["set server_id = 77", "insert into n values (2)"]).await;
    bench.run(&["set gtid_domain_id = 5", "set server_id = 78", "insert into n values (3)"]).await;
    bench.run(&["set gtid_seq_no = 500", "insert into n values (4)"]).await;
    let end = bench.source.log_end().await.expect("log end");
    let done = follow(&mut *stream, &start, &end).await.expect("the stream goes on");
    assert_eq!(numbers(&inserted(&done)), [2, 3, 4]);
    bench.run(&["set global gtid_strict_mode = off"]).await;
    bench.run(&["set gtid_seq_no = 20", "insert into n values (5)"]).await;
    let error = stop(&mut *stream).await;
    assert_eq!((error.class(), error.code()), (ErrorClass::TaskDefinite, "gtid_order"), "{}", error.chain());
    assert!(error.hint_text().is_some_and(|hint| hint.contains("gtid_strict_mode")), "{}", error.chain());
    // Nobody who comes later gets past it either.
    let error = match bench.source.open_stream(&scope(&["n"]), &end).await {
        Ok(mut stream) => stop(&mut *stream).await,
        Err(error) => error,
    };
    assert_eq!(error.class(), ErrorClass::TaskDefinite, "{}", error.chain());
    println!("resumed: {}", error.code());
}

/// The task's place is a set of transactions, not a place in one server's files.
#[tokio::test]
async fn a_replica_that_has_our_transactions_goes_on_as_the_source() {
    for (flavour, engine) in FLAVOURS {
        let first = Bench::start(flavour, engine).await;
        let options: &[&str] = if flavour.is_mariadb() { &["--log-slave-updates=ON"] } else { &[] };
        let server = MysqlServer::start_with(flavour, options).await;
        let second = Bench { source: MysqlSource::connect(settings(&server, engine)).await.expect("it lets us in"), server, engine };
        first.run(&["create table f (id int primary key)"]).await;
        let start = first.source.log_end().await.expect("log end");
        let port = first.server.port();
        let follows = match engine {
            Engine::Mysql => format!(
                "change replication source to source_host = '127.0.0.1', source_port = {port}, source_user = 'repl', \
                 source_password = 'repl', source_auto_position = 1, get_source_public_key = 1"
            ),
            _ => format!(
                "change master to master_host = '127.0.0.1', master_port = {port}, master_user = 'repl', master_password = 'repl', \
                 master_use_gtid = slave_pos"
            ),
        };
        let (begin, end_it) = if engine == Engine::Mysql { ("start replica", "stop replica") } else { ("start slave", "stop slave") };
        second.run(&[&follows, begin]).await;
        first.run(&["insert into f values (1)"]).await;
        let seen = first.source.log_end().await.expect("log end");
        let mut stream = first.stream(&["f"], &start).await;
        let done = follow(&mut *stream, &start, &seen).await.expect("the stream goes on");
        first.run(&["insert into f values (2)"]).await;
        wait_for("the replica to have the row", Duration::from_secs(60), async || {
            match second.server.try_rows("select count(*) from f").await {
                Ok(rows) if rows[0][0].as_deref() == Some("2") => Ok(()),
                other => Err(other),
            }
        })
        .await;
        drop(stream);
        second.run(&[end_it, "insert into f values (3)"]).await;
        let end = second.source.log_end().await.expect("log end");
        let mut taken = second.stream(&["f"], &seen).await;
        let rest = follow(&mut *taken, &seen, &end).await.expect("the stream goes on");
        assert_eq!((numbers(&inserted(&done)), numbers(&inserted(&rest))), (vec![1], vec![2, 3]), "{engine:?}");
        // Whoever still follows the old one has what the new one lacks.
        first.run(&["insert into f values (4)"]).await;
        let astray = first.source.log_end().await.expect("log end");
        let error = match second.source.open_stream(&scope(&["f"]), &astray).await {
            Ok(mut stream) => stop(&mut *stream).await,
            Err(error) => error,
        };
        assert_eq!((error.class(), error.code()), (ErrorClass::TaskDefinite, "source_changed"), "{engine:?} {}", error.chain());
    }
}

/// What the stream tells of the tables in scope, one word for each change.
async fn told(bench: &Bench, tables: &[&str], start: &Position) -> Vec<String> {
    let end = bench.source.log_end().await.expect("log end");
    let mut stream = bench.stream(tables, start).await;
    let done = follow(&mut *stream, start, &end).await.expect("the stream goes on");
    let changes = done.iter().flat_map(|committed| &committed.changes);
    changes
        .map(|(table, change)| match change {
            Change::Row { .. } => format!("{} row", table.name),
            Change::Truncate { .. } => format!("{} emptied", table.name),
            Change::Unlogged { upheaval, .. } => format!("{} {upheaval:?}", table.name),
        })
        .collect()
}

#[tokio::test]
async fn statements_are_told_of_the_table_that_the_session_meant() {
    for (flavour, engine) in FLAVOURS {
        let bench = Bench::start(flavour, engine).await;
        bench
            .run(&[
                "create table orders (id int primary key, v int, w int)",
                "create table `Orders` like orders",
                "create table `odd\"na``me` (id int primary key)",
                "create table mysql.rds_heartbeat2 (id int not null primary key, value bigint)",
            ])
            .await;
        let start = bench.source.log_end().await.expect("log end");
        let file = bench.server.data_dir().join("rows.txt");
        std::fs::write(&file, "1\t10\t100\n2\t20\t200\n").expect("the server's directory is ours");
        let load = format!("load data infile '{}' into table orders", file.display());
        bench.run(&[&load]).await;
        // Another table, whose name differs in case alone.
        bench.run(&["insert into `Orders` values (7, 7, 7)", "truncate table `Orders`", "alter table `Orders` drop column v"]).await;
        bench.run(&["rename table `Orders` to `ORDERS`", "drop table `ORDERS`", "drop database if exists `Test`"]).await;
        bench.run(&["set sql_mode = 'ANSI_QUOTES'", "truncate table \"odd\"\"na`me\"", "alter table \"orders\" drop column \"w\""]).await;
        bench
            .run(&[
                "set sql_mode = 'NO_BACKSLASH_ESCAPES'",
                r"alter table orders comment '\', drop column v",
                "set sql_mode = ''",
                r#"alter table orders comment "\", drop column v, comment '""#,
            ])
            .await;
        // A table of the session's own before the one of that name.
        bench
            .run(&[
                "create temporary table orders (a int, b int)",
                "insert into orders values (1, 1)",
                "truncate orders",
                "alter table orders drop column b",
                "drop table orders",
            ])
            .await;
        // What a managed service writes of its own.
        bench
            .run(&[
                "set binlog_format = 'STATEMENT'",
                "INSERT INTO mysql.rds_heartbeat2(id, value) values (1,1483041015005) ON DUPLICATE KEY UPDATE value = 1483041015005",
            ])
            .await;
        if engine == Engine::Mariadb {
            bench
                .run(&[
                    "create sequence counter",
                    "insert into orders select nextval(counter) + 100",
                    "select setval(counter, 500)",
                    "do nextval(counter)",
                    "set statement lock_wait_timeout = 5 for truncate `odd\"na``me`",
                ])
                .await;
        }
        bench.run(&["insert into orders values (3)"]).await;
        let mut wanted = vec!["orders row", "orders row", "odd\"na`me emptied", "orders ColumnDropped", "orders ColumnDropped"];
        wanted.extend(if engine == Engine::Mariadb { &["orders row", "odd\"na`me emptied", "orders row"][..] } else { &["orders row"] });
        assert_eq!(told(&bench, &["orders", "odd\"na`me"], &start).await, wanted, "{engine:?}");
        let listed: BTreeSet<String> = bench.source.table_names().await.expect("a list").into_iter().map(|name| name.name).collect();
        assert_eq!(listed, BTreeSet::from(["odd\"na`me".to_owned(), "orders".to_owned()]), "{engine:?}: a sequence is no table");
        assert_eq!(bench.source.existing_tables(&[table_name("counter")]).await.expect("an answer"), []);
        let end = bench.source.log_end().await.expect("log end");
        let mut stream = bench.stream(&["orders"], &end).await;
        std::fs::write(&file, "4\n").expect("the server's directory is ours");
        bench.run(&["set binlog_format = 'STATEMENT'", &load]).await;
        let error = stop(&mut *stream).await;
        assert_eq!(error.code(), "binlog_format", "{engine:?} {}", error.chain());
    }
}

/// MySQL takes this setting only when its data is made; MariaDB at every start.
#[tokio::test]
async fn names_that_a_server_folds_mean_one_table() {
    let server = MysqlServer::start_with(MysqlFlavour::Mariadb1011, &["--lower-case-table-names=1"]).await;
    let settings = settings(&server, Engine::Mariadb);
    let bench = Bench { source: MysqlSource::connect(settings.clone()).await.expect("it lets us in"), server, engine: Engine::Mariadb };
    bench.run(&["create table Orders (id int primary key, v int)", "create table `Café` (id int primary key)"]).await;
    let names: Vec<String> = bench.source.table_names().await.expect("a list").into_iter().map(|name| name.name).collect();
    assert_eq!(names, ["café", "orders"]);
    assert_eq!(bench.source.existing_tables(&[table_name("Orders")]).await.expect("an answer"), [], "it has another name");
    let start = bench.source.log_end().await.expect("log end");
    bench.run(&["insert into ORDERS values (1, 1)", "truncate TEST.OrDers", "insert into `CAFÉ` values (1)", "truncate `CAFÉ`"]).await;
    bench.run(&["alter table ORDERS drop column V", "rename table ORDERS to elsewhere"]).await;
    let wanted = ["orders row", "orders emptied", "café row", "café emptied", "orders ColumnDropped", "orders Renamed"];
    assert_eq!(told(&bench, &["orders", "café"], &start).await, wanted);
    let target = MysqlTarget::connect(settings).await.expect("it lets us in");
    let tables = [notes("Twice"), notes("twice"), notes("once")];
    let findings = target.check(&task(), &tables, TablePreparation::DropAndCreate).await.expect("the check can be done");
    let refused: Vec<_> = findings.iter().filter(|finding| finding.severity == Severity::Error).map(|finding| finding.code).collect();
    assert_eq!(refused, ["table_name_clash"], "{findings:?}");
    assert_eq!(tables[0].name, TableName::new("app", "Twice"));
}

#[tokio::test]
async fn a_limit_on_the_time_of_statements_does_not_cut_off_a_load() {
    for (flavour, engine) in FLAVOURS {
        let bench = Bench::start(flavour, engine).await;
        bench.run(&["create table t (id int primary key, v varchar(200))", "insert into t values (0, repeat('v', 200))"]).await;
        for doubling in 0..15 {
            bench.run(&[&format!("insert into t select id + {}, v from t", 1 << doubling)]).await;
        }
        let limit = if engine == Engine::Mysql { "max_execution_time = 1" } else { "max_statement_time = 0.001" };
        bench.run(&[&format!("set global {limit}")]).await;
        assert_eq!(bench.snapshot("t", 100_000).await.len(), 1 << 15, "{engine:?}");
    }
}

/// MY-072: a task's successor has the server id of its worker before, and the server ends that one's stream. Other tasks read on.
#[tokio::test]
async fn a_successors_stream_ends_the_older_one_of_its_task_and_no_other() {
    for (flavour, engine) in FLAVOURS {
        let bench = Bench::start(flavour, engine).await;
        bench.run(&["create table t (id bigint primary key)"]).await;
        let start = bench.source.log_end().await.expect("log end");
        let other = CaptureScope { task: TaskId::new("other").expect("a task name"), ..scope(&["t"]) };
        let mut other = bench.source.open_stream(&other, &start).await.expect("the position is there");
        let mut older = bench.stream(&["t"], &start).await;
        let mut successor = bench.stream(&["t"], &start).await;
        bench.run(&["insert into t values (1)"]).await;
        let end = bench.source.log_end().await.expect("log end");
        for stream in [&mut other, &mut successor] {
            let done = follow(&mut **stream, &start, &end).await.expect("the stream goes on");
            assert_eq!(numbers(&inserted(&done)), [1], "{engine:?}");
        }
        let error = stop(&mut *older).await;
        assert_eq!((error.class(), error.code()), (ErrorClass::Transient, "stream_replaced"), "{engine:?} {}", error.chain());
    }
}

/// The server answers each question about a table by the definition of its time, so columns of one and keys of another would make a table that
/// never was: a renamed one lost its key.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_changes_while_it_is_described_is_described_as_it_was_at_one_time() {
    for (flavour, engine) in FLAVOURS {
        let bench = Bench::start(flavour, engine).await;
        bench.run(&["create table t (id int primary key, doc json)"]).await;
        let mut conn = bench.conn().await;
        // A change begins with a description, so that both go on.
        let (describing, mut described) = tokio::sync::mpsc::channel::<()>(1);
        let changes = tokio::spawn(async move {
            let statements = [
                "rename table t to u",
                "rename table u to t",
                "alter table t rename column id to code",
                "drop table t",
                "create table t (id int primary key, doc json)",
            ];
            let mut next = statements.iter().cycle();
            while let (Some(()), Some(sql)) = (described.recv().await, next.next()) {
                conn.query_drop(*sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
            }
        });
        let (mut found, mut gone) = (0, 0);
        while found < 300 || gone < 20 {
            // Full: one waits already.
            let _ = describing.try_send(());
            match bench.source.describe(&[table_name("t")]).await {
                Ok(tables) => {
                    let schema = &tables[0].schema;
                    let names: Vec<&str> = schema.columns.iter().map(|column| column.name.as_str()).collect();
                    assert!(names == ["id", "doc"] || names == ["code", "doc"], "{names:?}");
                    assert_eq!((&schema.primary_key[..], &schema.identity[..]), (&[0][..], &[0][..]), "{engine:?} {names:?}");
                    assert_eq!(schema.columns[1].native_type, "json");
                    found += 1;
                }
                Err(error) => {
                    assert_eq!(error.code(), "table_missing", "{error}");
                    gone += 1;
                }
            }
        }
        drop(describing);
        changes.await.expect("the changes do not fail");
    }
}

/// MariaDB leaves tables out of an answer whose locks it waited for too long: one that was locked had no columns, or no key.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_locked_for_longer_than_one_wait_is_described_whole() {
    for (flavour, engine) in FLAVOURS {
        let bench = Bench::start(flavour, engine).await;
        bench.run(&["create table t (id int primary key, doc json)"]).await;
        let mut locker = bench.conn().await;
        locker.query_drop("lock tables t write").await.expect("it can be locked");
        let name = [table_name("t")];
        let describing = bench.source.describe(&name);
        tokio::pin!(describing);
        // The wait is what this is about.
        if let Ok(early) = tokio::time::timeout(Duration::from_secs(3), &mut describing).await {
            panic!("{engine:?} {:?}", early.map(|tables| tables[0].schema.clone()));
        }
        locker.query_drop("unlock tables").await.expect("it can be let go");
        let tables = describing.await.unwrap_or_else(|error| panic!("{engine:?} {}", error.chain()));
        let schema = &tables[0].schema;
        assert_eq!((schema.columns.len(), &schema.primary_key[..]), (2, &[0][..]), "{engine:?}");
    }
}

/// A table that is being changed is missing from MariaDB's answer after the time for locks: its cascades would be, too, which the log does not tell.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_cannot_see_a_table_of_mariadb_says_so() {
    let bench = Bench::start(MysqlFlavour::Mariadb1011, Engine::Mariadb).await;
    let child = "create table c (id int primary key, p int, foreign key (p) references p (id) on delete cascade)";
    bench.run(&["create table p (id int primary key)", child, "create table z (id int primary key)"]).await;
    let table = bench.table("c").await;
    let checked = async || bench.source.check(&scope(&["c"]).task, std::slice::from_ref(&table), true).await;
    let cascade = |findings: Vec<Finding>| findings.iter().any(|finding| finding.code == "cascade_not_logged");
    assert!(cascade(checked().await.expect("the check can be done")));
    let mut locker = bench.conn().await;
    locker.query_drop("lock tables z write").await.expect("it can be locked");
    let mut changer = bench.conn().await;
    // It has the lock of c, and waits for that of z.
    let changing = tokio::spawn(async move { changer.query_drop("rename table c to d, z to y").await.expect("it is done in the end") });
    wait_for("the change to wait", Duration::from_secs(60), async || {
        let sql = "select count(*) from information_schema.processlist where info like 'rename%' and state like 'Waiting%'";
        let waiting = bench.server.value(sql).await;
        if waiting == "1" { Ok(()) } else { Err(waiting) }
    })
    .await;
    assert_eq!(checked().await.map_err(|error| error.code()).map(cascade), Err("lock_wait"));
    locker.query_drop("unlock tables").await.expect("it can be let go");
    changing.await.expect("it is done");
}
