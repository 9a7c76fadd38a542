//! What the tests of this package share: a server with a source on it, and both ways of reading its rows.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};
use tidegate_connector::{
    CaptureScope, ChangeStream, Chunk, ConnectorError, Secret, ServerSettings, Snapshot, Source, SourceTable, StreamEvent, TlsMode,
};
use tidegate_harness::{MysqlFlavour, MysqlServer};
use tidegate_model::{Change, Engine, Position, Row, RowChange, TableName, TaskId, Window};
use tidegate_mysql::MysqlSource;

/// The servers that every test runs on.
pub(crate) const FLAVOURS: [(MysqlFlavour, Engine); 2] =
    [(MysqlFlavour::Mariadb1011, Engine::Mariadb), (MysqlFlavour::Mysql97, Engine::Mysql)];

/// A private server and a source on it.
pub(crate) struct Bench {
    pub(crate) server: MysqlServer,
    pub(crate) engine: Engine,
    pub(crate) source: MysqlSource,
}

impl Bench {
    pub(crate) async fn start(flavour: MysqlFlavour, engine: Engine) -> Bench {
        Bench::on(MysqlServer::start(flavour).await, engine).await
    }

    /// The same on a server that was started in its own way.
    pub(crate) async fn on(server: MysqlServer, engine: Engine) -> Bench {
        let source = MysqlSource::connect(settings(&server, engine)).await.expect("the harness's server lets us in");
        Bench { server, engine, source }
    }

    /// A connection of the workload's own.
    pub(crate) async fn conn(&self) -> Conn {
        let opts = OptsBuilder::default()
            .ip_or_hostname(self.server.host().to_owned())
            .tcp_port(self.server.port())
            .user(Some("repl"))
            .pass(Some("repl"))
            .db_name(Some("test"))
            .prefer_socket(false)
            .max_allowed_packet(Some(1 << 30));
        let mut conn = Conn::new(opts).await.expect("the harness's server lets us in");
        conn.query_drop("set names utf8mb4").await.expect("a plain statement");
        conn
    }

    pub(crate) async fn run(&self, statements: &[&str]) {
        let mut conn = self.conn().await;
        for sql in statements {
            conn.query_drop(*sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
    }

    pub(crate) async fn table(&self, name: &str) -> Arc<SourceTable> {
        self.source.describe(&[table_name(name)]).await.expect("the table was just made").remove(0)
    }

    pub(crate) async fn stream(&self, tables: &[&str], from: &Position) -> Box<dyn ChangeStream> {
        self.source.open_stream(&scope(tables), from).await.expect("the position is there")
    }

    /// All rows of a table, in chunks of `rows_wanted`.
    pub(crate) async fn snapshot(&self, name: &str, rows_wanted: u64) -> Vec<Row> {
        self.try_snapshot(name, rows_wanted).await.expect("the table reads").into_iter().flat_map(|(_, rows)| rows).collect()
    }

    pub(crate) async fn try_snapshot(&self, name: &str, rows_wanted: u64) -> Result<Vec<(Window, Vec<Row>)>, ConnectorError> {
        let snapshot = self.source.snapshot(&scope(&[name])).await?;
        read_all(&*snapshot, self.table(name).await, rows_wanted).await
    }
}

pub(crate) async fn read_all(
    snapshot: &dyn Snapshot,
    table: Arc<SourceTable>,
    rows_wanted: u64,
) -> Result<Vec<(Window, Vec<Row>)>, ConnectorError> {
    let chunks = snapshot.chunks(&table, rows_wanted).await?;
    read_chunks(snapshot, table, chunks).await
}

pub(crate) async fn read_chunks(
    snapshot: &dyn Snapshot,
    table: Arc<SourceTable>,
    chunks: Vec<Chunk>,
) -> Result<Vec<(Window, Vec<Row>)>, ConnectorError> {
    let mut all = Vec::new();
    for chunk in chunks {
        let mut reader = snapshot.read(table.clone(), &chunk).await?;
        let mut rows = Vec::new();
        while let Some(more) = reader.next_rows().await? {
            rows.extend(more.iter());
        }
        all.push((reader.window(), rows));
    }
    Ok(all)
}

pub(crate) fn settings(server: &MysqlServer, engine: Engine) -> ServerSettings {
    ServerSettings {
        engine,
        host: server.host().to_owned(),
        port: server.port(),
        user: "repl".into(),
        password: Secret::new("repl"),
        database: None,
        tls: TlsMode::Disable,
    }
}

pub(crate) fn table_name(name: &str) -> TableName {
    TableName::new("test", name)
}

pub(crate) fn scope(tables: &[&str]) -> CaptureScope {
    CaptureScope { task: TaskId::new("bench").expect("a task name"), tables: tables.iter().map(|name| table_name(name)).collect() }
}

/// One committed transaction: its changes, and the position after it.
pub(crate) struct Committed {
    pub(crate) mark: tidegate_model::TxMark,
    pub(crate) changes: Vec<(TableName, Change)>,
}

/// Follows a stream until `until` is covered.
pub(crate) async fn follow(stream: &mut dyn ChangeStream, from: &Position, until: &Position) -> Result<Vec<Committed>, ConnectorError> {
    let mut position = from.clone();
    let mut relations = BTreeMap::new();
    let mut open: BTreeMap<_, Vec<(TableName, Change)>> = BTreeMap::new();
    let mut done = Vec::new();
    while !position.covers_position(until) {
        let events = tokio::time::timeout(Duration::from_secs(60), stream.next_events()).await.expect("the stream is not silent")?;
        assert!(!events.is_empty(), "a batch has at least one event");
        for event in events {
            match event {
                StreamEvent::Relation { id, table } => drop(relations.insert(id, table.schema.name.clone())),
                StreamEvent::Change { tx, change, .. } => {
                    let id = match &change {
                        Change::Row { relation, .. } | Change::Unlogged { relation, .. } => *relation,
                        Change::Truncate { relations } => relations[0],
                    };
                    let table = relations.get(&id).expect("a relation comes before its first change").clone();
                    open.entry(tx).or_default().push((table, change));
                }
                StreamEvent::Commit { tx, mark, committed_at_us, .. } => {
                    assert!(committed_at_us > 1_600_000_000_000_000, "commit times are microseconds");
                    assert!(!position.covers(&mark), "no transaction comes twice");
                    position.advance(&mark);
                    done.push(Committed { mark, changes: open.remove(&tx).unwrap_or_default() });
                }
                StreamEvent::Abort { tx, .. } => drop(open.remove(&tx)),
                StreamEvent::Idle { position: idle } => position = position.union(&idle),
            }
        }
    }
    Ok(done)
}

/// The first error that a stream ends with.
pub(crate) async fn stop(stream: &mut dyn ChangeStream) -> ConnectorError {
    for _ in 0..1000 {
        match tokio::time::timeout(Duration::from_secs(30), stream.next_events()).await.expect("the stream is not silent") {
            Ok(_) => {}
            Err(error) => return error,
        }
    }
    panic!("the stream did not stop");
}

/// New rows of inserts and updates, in order.
pub(crate) fn inserted(done: &[Committed]) -> Vec<Row> {
    let changes = done.iter().flat_map(|committed| &committed.changes);
    changes
        .filter_map(|(_, change)| match change {
            Change::Row { change: RowChange::Insert { new } | RowChange::Update { new, .. }, .. } => Some(new.clone()),
            _ => None,
        })
        .collect()
}
