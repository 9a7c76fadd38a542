//! A target, a hand-made source table, and rows for it.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tidegate_connector::{
    Chunk, ColumnOrigin, ConnectorError, Group, Image, Lane, NeutralDecoder, ServerSettings, SourceTable, Step, Target, TargetColumn,
    TargetTable, TlsMode,
};
use tidegate_harness::{PostgresServer, PostgresVersion};
use tidegate_model::schema::RowEncoding;
use tidegate_model::{
    BeforeImages, Cell, Column, Engine, Fence, Lsn, Position, Row, RowBuilder, SqlType, TableName, TableSchema, TaskId, Value, Window,
};
use tidegate_postgres::target::PostgresTarget;

/// Numbers databases, for servers that several tests share.
static NEXT_DATABASE: AtomicU32 = AtomicU32::new(0);

/// A private server, a target on it, and a task that was taken over at position 0.
pub(crate) struct Bench {
    pub(crate) target: PostgresTarget,
    pub(crate) fence: Fence,
    pub(crate) sql: tokio_postgres::Client,
    pub(crate) settings: ServerSettings,
    _server: PostgresServer,
}

impl Bench {
    pub(crate) async fn new() -> Bench {
        let server = PostgresServer::start(PostgresVersion::V15).await;
        let database = format!("bench_{}_{}", std::process::id(), NEXT_DATABASE.fetch_add(1, Ordering::Relaxed));
        let admin = connect(&server, "postgres").await;
        admin.batch_execute(&format!("create database {database}")).await.expect("the user may create databases");
        let settings = ServerSettings {
            engine: Engine::Postgres,
            host: server.host().to_owned(),
            port: server.port(),
            user: "postgres".into(),
            password: Default::default(),
            database: Some(database.clone()),
            tls: TlsMode::Disable,
        };
        let sql = connect(&server, &database).await;
        let target = PostgresTarget::connect(settings.clone()).await.expect("the target connects");
        let fence = target.take_over(&task()).await.expect("nobody else has the task").fence;
        target.begin_task(&fence, &at(0), "source", &[]).await.expect("the fence holds");
        Bench { target, fence, sql, settings, _server: server }
    }

    pub(crate) async fn lane(&self) -> Box<dyn Lane> {
        self.target.lane(&self.fence).await.expect("the lane connects")
    }

    pub(crate) async fn prepare(&self, table: &Arc<TargetTable>) -> Result<(), ConnectorError> {
        self.target.prepare_table(&self.fence, table, tidegate_connector::TablePreparation::Keep).await
    }

    /// The one value of a query, as text.
    pub(crate) async fn one(&self, sql: &str) -> String {
        let row =
            self.sql.query_one(&format!("select coalesce((select string_agg(answer::text, '|') from ({sql}) answer), '')"), &[]).await;
        row.expect("the query runs").get(0)
    }
}

async fn connect(server: &PostgresServer, database: &str) -> tokio_postgres::Client {
    let text = format!("host={} port={} user=postgres dbname={database}", server.host(), server.port());
    let (sql, connection) = tokio_postgres::connect(&text, tokio_postgres::NoTls).await.expect("the server accepts connections");
    tokio::spawn(connection);
    sql
}

pub(crate) fn task() -> TaskId {
    TaskId::new("shop").expect("a name of the form")
}

pub(crate) fn at(lsn: u64) -> Position {
    Position::Postgres(Lsn(lsn))
}

pub(crate) fn window(lsn: u64) -> Window {
    Window { low: at(lsn), high: at(lsn) }
}

pub(crate) fn chunk(index: u32) -> Chunk {
    Chunk { index, bounds: format!("part {index}") }
}

pub(crate) fn group(from: u64, to: u64, steps: Vec<Step>) -> Group {
    Group { from: at(from), to: at(to), steps }
}

/// Columns by name, type and whether they may be NULL; the first `key` of them are the key.
pub(crate) fn table(name: &str, columns: &[(&str, SqlType, bool)], key: usize) -> Arc<TargetTable> {
    encoded_table(name, columns, key, RowEncoding::Neutral, &[])
}

/// Likewise, with the source's native types and its encoding.
pub(crate) fn encoded_table(
    name: &str,
    columns: &[(&str, SqlType, bool)],
    key: usize,
    encoding: RowEncoding,
    natives: &[&str],
) -> Arc<TargetTable> {
    let engine = if encoding == RowEncoding::Postgres { Engine::Postgres } else { Engine::Mysql };
    let source_columns = columns.iter().enumerate().map(|(index, (name, sql_type, nullable))| Column {
        name: (*name).into(),
        sql_type: sql_type.clone(),
        native_type: natives.get(index).copied().unwrap_or_default().into(),
        nullable: *nullable,
        generated: false,
    });
    let schema = TableSchema {
        name: TableName::new("app", name),
        engine,
        columns: source_columns.collect(),
        primary_key: (0..key).collect(),
        unique_keys: Vec::new(),
        identity: (0..key).collect(),
        before_images: BeforeImages::Full,
        encoding,
        version: 1,
    };
    let decoder = NeutralDecoder::new(columns.iter().map(|(name, sql_type, _)| ((*name).to_owned(), sql_type.clone())));
    let target_columns = columns.iter().enumerate().map(|(index, (name, sql_type, nullable))| TargetColumn {
        name: (*name).into(),
        sql_type: sql_type.clone(),
        nullable: *nullable,
        origin: ColumnOrigin::Source(index),
    });
    Arc::new(TargetTable {
        name: TableName::new("app", name),
        columns: target_columns.collect(),
        primary_key: (0..key).collect(),
        identity: (0..key).collect(),
        source: Arc::new(SourceTable { schema, decoder: Arc::new(decoder), rows_estimate: 0 }),
    })
}

/// `id bigint`, `note text`.
pub(crate) fn notes(name: &str) -> Arc<TargetTable> {
    table(name, &[("id", SqlType::Int64, false), ("note", SqlType::Text { chars_max: None }, true)], 1)
}

/// A cell for [`image`].
pub(crate) enum In<'a> {
    Is(Value<'a>),
    Unchanged,
    Absent,
}

pub(crate) fn image(cells: &[In<'_>]) -> Image {
    let mut builder = RowBuilder::default();
    for cell in cells {
        match cell {
            In::Is(Value::Null) => builder.push(Cell::Null),
            In::Is(value) => builder.push_with(|out| value.write_neutral(out)),
            In::Unchanged => builder.push(Cell::Unchanged),
            In::Absent => builder.push(Cell::Absent),
        }
    }
    Image { row: builder.finish(), computed: None }
}

/// A row of [`notes`].
pub(crate) fn note(id: i64, text: &str) -> Image {
    image(&[In::Is(Value::Int(id)), In::Is(Value::Text(text))])
}

/// A row of [`notes`] of which only the key is known.
pub(crate) fn only_id(id: i64) -> Image {
    image(&[In::Is(Value::Int(id)), In::Absent])
}

/// Cells in PostgreSQL's binary form.
pub(crate) fn binary(cells: &[Option<&[u8]>]) -> Image {
    let mut builder = RowBuilder::default();
    for cell in cells {
        builder.push(cell.map_or(Cell::Null, Cell::Binary));
    }
    let row: Row = builder.finish();
    Image { row, computed: None }
}
