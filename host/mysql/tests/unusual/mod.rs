//! Logs and connections of unusual kinds: encrypted, longer than 32 bits count, silent.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use tidegate_connector::{ChangeStream, ErrorClass, Source, StreamEvent};
use tidegate_harness::{Direction, Fault, MysqlFlavour, MysqlServer, Proxy, wait_for};
use tidegate_model::{Cell, Change, Engine, LogPlace, Position, RowChange, TxMark};
use tidegate_mysql::MysqlSource;

use super::support::{Bench, FLAVOURS, follow, inserted, scope, settings, table_name};
use super::{log_files, number, numbers};

/// MY-052: nothing of the rows stands in the log's files, of which each begins with this mark.
async fn an_encrypted_log_reads_like_a_plain_one(bench: Bench, mark: &[u8], another_key: &[&str]) {
    bench.run(&["create table e (id int primary key, v varchar(40))"]).await;
    let start = bench.source.log_end().await.expect("log end");
    let mut stream = bench.stream(&["e"], &start).await;
    bench
        .run(&["insert into e values (1, 'nobody reads this')", "flush binary logs", "insert into e values (2, 'nobody reads this')"])
        .await;
    bench.run(another_key).await;
    bench.run(&["insert into e values (3, 'nobody reads this')"]).await;
    let end = bench.source.log_end().await.expect("log end");
    let done = follow(&mut *stream, &start, &end).await.expect("the stream goes on");
    assert_eq!(numbers(&inserted(&done)), [1, 2, 3]);
    let mut middle = start.clone();
    middle.advance(&done[0].mark);
    let mut resumed = bench.stream(&["e"], &middle).await;
    let rest = follow(&mut *resumed, &middle, &end).await.expect("the stream goes on");
    assert_eq!(numbers(&inserted(&rest)), [2, 3]);
    let files = log_files(&bench).await;
    assert!(files.len() >= 2, "{files:?}");
    for path in files {
        let file = std::fs::read(&path).expect("the server's file can be read");
        assert!(file.starts_with(mark), "{}: {:?}", path.display(), file.get(..4));
        assert!(!file.windows(6).any(|part| part == b"nobody"), "{}", path.display());
    }
}

#[tokio::test]
async fn an_encrypted_log_of_mysql_reads_like_a_plain_one() {
    let server = MysqlServer::start_with_keyring(MysqlFlavour::Mysql97, &["--binlog-encryption=ON"]).await;
    let bench = Bench::on(server, Engine::Mysql).await;
    an_encrypted_log_reads_like_a_plain_one(bench, b"\xfdbin", &["alter instance rotate binlog master key"]).await;
}

#[tokio::test]
#[ignore = "needs a plugin out of Debian's package mariadb-server 10.11: TIDEGATE_MARIADB_PLUGINS is the directory of file_key_management.so"]
async fn an_encrypted_log_of_mariadb_reads_like_a_plain_one() {
    let plugins = std::env::var("TIDEGATE_MARIADB_PLUGINS").expect("TIDEGATE_MARIADB_PLUGINS is a directory");
    let file = std::env::temp_dir().join(format!("tidegate-keys-{}", std::process::id()));
    std::fs::write(&file, "1;000102030405060708090a0b0c0d0e0f\n").expect("the temporary directory is writable");
    let (plugins, keys) = (format!("--plugin-dir={plugins}"), format!("--file-key-management-filename={}", file.display()));
    let options = [plugins.as_str(), "--plugin-load-add=file_key_management", &keys, "--encrypt-binlog=ON"];
    let server = MysqlServer::start_with(MysqlFlavour::Mariadb1011, &options).await;
    std::fs::remove_file(&file).expect("it was written just now");
    an_encrypted_log_reads_like_a_plain_one(Bench::on(server, Engine::Mariadb).await, b"\xfebin", &[]).await;
}

/// MY-070: an idle stream lives as long as its heartbeats come, and the server's address answers nothing from some moment on.
async fn a_connection_without_heartbeats_is_given_up(heartbeat: Option<Duration>, flavour: MysqlFlavour, engine: Engine) {
    let bench = Bench::start(flavour, engine).await;
    let proxy = Proxy::to_port(bench.server.port()).await;
    let through = tidegate_connector::ServerSettings { port: proxy.port(), ..settings(&bench.server, engine) };
    let source = MysqlSource::connect(through).await.expect("it lets us in");
    let (source, period) = match heartbeat {
        Some(period) => (source.with_heartbeat(period), period),
        None => (source, Duration::from_secs(30)),
    };
    bench.run(&["create table q (id int primary key)"]).await;
    let start = bench.source.log_end().await.expect("log end");
    let mut stream = source.open_stream(&scope(&["q"]), &start).await.expect("the position is there");
    let idle = Instant::now();
    let mut heartbeats = 0;
    while heartbeats < 5 || idle.elapsed() < 5 * period {
        let events = stream.next_events().await.expect("an idle stream lives");
        heartbeats += events.iter().filter(|event| matches!(event, StreamEvent::Idle { .. })).count();
    }
    proxy.set(Fault::Hold(Direction::Both));
    let silent = Instant::now();
    bench.run(&["insert into q values (1)"]).await;
    let error = loop {
        match stream.next_events().await {
            // What was on its way already.
            Ok(events) => assert!(events.iter().all(|event| matches!(event, StreamEvent::Idle { .. })), "{events:?}"),
            Err(error) => break error,
        }
    };
    println!("{engine:?}: given up after {:?}", silent.elapsed());
    assert_eq!((error.class(), error.code()), (ErrorClass::Transient, "source_silent"), "{engine:?} {}", error.chain());
    assert!(silent.elapsed() > 2 * period && silent.elapsed() < 5 * period + Duration::from_secs(20), "{:?}", silent.elapsed());
    proxy.set(Fault::Pass);
    let end = bench.source.log_end().await.expect("log end");
    let mut again = source.open_stream(&scope(&["q"]), &start).await.expect("the position is there");
    let done = follow(&mut *again, &start, &end).await.expect("the stream goes on");
    assert_eq!(numbers(&inserted(&done)), [1], "{engine:?}");
}

async fn connections_without_heartbeats_are_given_up(heartbeat: Option<Duration>) {
    let [one, two] = FLAVOURS.map(|(flavour, engine)| a_connection_without_heartbeats_is_given_up(heartbeat, flavour, engine));
    tokio::join!(one, two);
}

#[tokio::test]
async fn a_stream_without_heartbeats_is_given_up_and_taken_up_again() {
    connections_without_heartbeats_are_given_up(Some(Duration::from_secs(1))).await;
}

#[tokio::test]
#[ignore = "takes five minutes: as many heartbeats as there are in production"]
async fn a_stream_without_heartbeats_is_given_up_after_two_minutes() {
    connections_without_heartbeats_are_given_up(None).await;
}

/// Rows of the large transaction, and the bytes of each: together more than 32 bits count.
const ROWS: u64 = 115;
const ROW_BYTES: usize = 40_000_000;
const FOUR_GIB: u64 = 1 << 32;

/// A transaction as it was read: no row is kept.
#[derive(Debug)]
struct Seen {
    mark: TxMark,
    place: LogPlace,
    large: u64,
    small: u64,
}

/// Reads until `until` is covered, or as many rows were read.
async fn read(stream: &mut dyn ChangeStream, from: &Position, until: &Position, rows_max: u64) -> Vec<Seen> {
    let (mut position, mut rows, mut done) = (from.clone(), 0, Vec::new());
    let mut relations = BTreeMap::new();
    let (mut large, mut small) = (0_u64, 0_u64);
    while !position.covers_position(until) && rows < rows_max {
        let events = tokio::time::timeout(Duration::from_secs(900), stream.next_events()).await.expect("the stream is not silent");
        for event in events.expect("the stream goes on") {
            match event {
                StreamEvent::Relation { id, table } => drop(relations.insert(id, table.schema.name.clone())),
                StreamEvent::Change { change: Change::Row { relation, change: RowChange::Insert { new } }, .. } => {
                    rows += 1;
                    if relations[&relation] == table_name("small") {
                        small += 1;
                        continue;
                    }
                    large += 1;
                    assert_eq!(number(&new, 0).unsigned_abs(), large, "rows come in order");
                    let Some(Cell::Binary(value)) = new.cell(1) else { panic!("a value") };
                    assert!(value.len() == ROW_BYTES && value.iter().all(|byte| *byte == b'x'), "row {large}");
                }
                StreamEvent::Commit { mark, place, .. } => {
                    position.advance(&mark);
                    let place = place.expect("a binary log has places");
                    done.push(Seen { mark, place, large: std::mem::take(&mut large), small: std::mem::take(&mut small) });
                }
                StreamEvent::Idle { position: idle } => position = position.union(&idle),
                other => panic!("{other:?}"),
            }
        }
    }
    done
}

/// Commits the large transaction, and a small one that stands behind it in the same file: the server begins another one when both are written.
async fn commit_both(bench: &Bench, mut large: mysql_async::Conn, engine: Engine) {
    bench
        .run(match engine {
            Engine::Mariadb => &["set global binlog_commit_wait_count = 2", "set global binlog_commit_wait_usec = 60000000"],
            _ => &["set global binlog_group_commit_sync_delay = 1000000"],
        })
        .await;
    let id = large.id();
    let committing = tokio::spawn(async move { large.query_drop("commit").await });
    wait_for("the commit to begin", Duration::from_secs(60), async || {
        let sql = format!("select concat_ws(' ', command, state, info) from information_schema.processlist where id = {id}");
        let found = bench.server.value(&sql).await;
        if found.contains("commit") { Ok(()) } else { Err(found) }
    })
    .await;
    bench.run(&["insert into small values (1, 'stands behind it')"]).await;
    committing.await.expect("it ends").expect("there is room on the disk");
    if engine == Engine::Mariadb {
        bench.run(&["set global binlog_commit_wait_count = 0"]).await;
    }
    bench.run(&["insert into small values (2, 'in the next file')"]).await;
}

/// The last bytes of a file.
fn tail(path: &Path) -> Vec<u8> {
    let mut file = std::fs::File::open(path).expect("the server's file can be read");
    let mut bytes = Vec::new();
    file.seek(SeekFrom::End(-4096)).and_then(|_| file.read_to_end(&mut bytes)).expect("the server's file can be read");
    bytes
}

/// MY-049: events tell their end in 32 bits.
#[tokio::test]
#[ignore = "writes 10 GB to the disk and takes ten minutes"]
async fn a_log_file_above_4_gib_is_followed_resumed_and_looked_up() {
    for (flavour, engine) in FLAVOURS {
        let bench = Bench::start(flavour, engine).await;
        bench
            .run(&[
                "set global max_allowed_packet = 67108864",
                "create table large (id int primary key, v longblob) row_format = compressed",
                "create table small (id int primary key, v varchar(40))",
            ])
            .await;
        let start = bench.source.log_end().await.expect("log end");
        let mut conn = bench.conn().await;
        conn.query_drop("begin").await.expect("a plain statement");
        let rows = format!("(with recursive n(seq) as (select 1 union all select seq + 1 from n where seq < {ROWS}) select seq from n) n");
        let sql = format!("insert into large select seq, repeat('x', {ROW_BYTES}) from {rows} order by seq");
        conn.query_drop(sql).await.expect("there is room on the disk");
        commit_both(&bench, conn, engine).await;
        let end = bench.source.log_end().await.expect("log end");
        let file = log_files(&bench).await.into_iter().find(|path| path.metadata().is_ok_and(|file| file.len() > FOUR_GIB));
        let file = file.expect("a file is larger than 32 bits count");
        let bytes = file.metadata().expect("the file is there").len();
        assert!(tail(&file).windows(16).any(|part| part == b"stands behind it"), "the small transaction stands in another file");

        // A reader that ends in the middle, and starts again.
        let tables = ["large", "small"];
        drop(read(&mut *bench.stream(&tables, &start).await, &start, &end, ROWS - 5).await);
        let done = read(&mut *bench.stream(&tables, &start).await, &start, &end, u64::MAX).await;
        println!("{engine:?}: a file of {bytes} bytes, {done:?}");
        assert_eq!(done.iter().map(|one| (one.large, one.small)).collect::<Vec<_>>(), [(ROWS, 0), (0, 1), (0, 1)], "{engine:?}");
        // A stop there is looked up, however much of the file a task has already: the server has begun another file.
        let behind = LogPlace { file: done[0].place.file.clone(), offset: bytes + 1_000 };
        let mut whole_file = start.clone();
        done[..2].iter().for_each(|one| whole_file.advance(&one.mark));
        assert_eq!(bench.source.position_of(&behind).await.expect("the file is in the log"), Some(whole_file), "{engine:?}");
        let mut position = start.clone();
        for (number, one) in done.iter().enumerate() {
            position.advance(&one.mark);
            let found = bench.source.position_of(&one.place).await.expect("the place is in the log");
            assert_eq!(found, Some(position.clone()), "{engine:?} {}", one.place);
            let name = file.file_name().and_then(|name| name.to_str()).expect("a plain name");
            assert_eq!(one.place.file == name, number < 2, "{}", one.place);
            assert!(number == 2 || one.place.offset > FOUR_GIB && one.place.offset <= bytes, "{} in {bytes}", one.place);
            let mut resumed = bench.stream(&tables, &position).await;
            let rest = read(&mut *resumed, &position, &end, u64::MAX).await;
            assert_eq!(rest.len(), done.len() - number - 1, "{engine:?} from {position}");
            assert!(rest.iter().all(|one| one.small == 1 && one.large == 0), "{rest:?}");
        }
        assert_eq!(position, end);
    }
}
