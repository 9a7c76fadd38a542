//! A target, a hand-made source table, and rows for it.

#![allow(dead_code, unused_imports, reason = "each test file uses its own part")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use tidegate_connector::conformance;
pub(crate) use tidegate_connector::conformance::{In, at, chunk, encoded_table, group, image, loaded, notes, table, task, window};
use tidegate_connector::{ConnectorError, Dialect, Image, Lane, ServerSettings, Target, TargetTable, TlsMode};
use tidegate_harness::{PostgresServer, PostgresVersion};
use tidegate_model::{Cell, Engine, Fence, Row, RowBuilder, TableName};
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

    /// Takes the task over again after a fact that gave it to another worker.
    pub(crate) async fn renew(&mut self) {
        self.fence = self.target.take_over(&task()).await.expect("the target takes the task over").fence;
        self.target.begin_task(&self.fence, &at(0), "source", &[]).await.expect("the fence holds");
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

#[async_trait]
impl conformance::Bench for Bench {
    fn target(&self) -> &dyn Target {
        &self.target
    }

    fn fence(&self) -> &Fence {
        &self.fence
    }

    async fn rows(&self, table: &str, columns: &[&str]) -> Vec<String> {
        let texts: Vec<String> = columns.iter().map(|column| format!("coalesce(({column})::text, 'NULL')")).collect();
        let query = format!("select concat_ws(',', {}) from {}", texts.join(", "), conformance::Bench::name(self, table));
        let mut rows: Vec<String> = self.sql.query(&query, &[]).await.expect("the query runs").iter().map(|row| row.get(0)).collect();
        rows.sort();
        rows
    }

    async fn run(&self, sql: &str) {
        self.sql.batch_execute(sql).await.expect("the statement runs");
    }

    fn name(&self, table: &str) -> String {
        Dialect::POSTGRES.table(&TableName::new("app", table))
    }

    async fn raise_generation(&self) {
        self.sql.batch_execute("update tidegate.checkpoint set generation = generation + 1").await.expect("the statement runs");
    }

    async fn end_lanes(&self) {
        let end = "select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name like 'tidegate lane%' \
                   and datname = current_database()";
        self.sql.query(end, &[]).await.expect("the query runs");
    }
}

/// Cells in PostgreSQL's binary form.
pub(crate) fn binary(cells: &[Option<&[u8]>]) -> Image {
    let mut builder = RowBuilder::default();
    for cell in cells {
        builder.push(cell.map_or(Cell::Null, Cell::Binary));
    }
    let row: Row = builder.finish();
    Image::new(row, None)
}
