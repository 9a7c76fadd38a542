//! The source: a server that was found to be what its endpoint says.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mysql_async::Conn;
use tidegate_connector::{
    CaptureScope, CaptureStart, ChangeStream, ConnectorError, Finding, Lineage, LoopMark, Partition, ServerSettings, Snapshot, Source,
    SourceTable,
};
use tidegate_model::{Engine, LogPlace, Position, TableName, TableObjects, TaskId};

use crate::connect::{Connector, row};
use crate::snapshot::{SourceSnapshot, position, wait_executed};
use crate::stream::wire::HEARTBEAT;
use crate::stream::{ChangeReader, check_position};
use crate::{catalog, check, log_place, objects};

/// A MySQL or MariaDB server as a source.
#[derive(Debug)]
pub struct MysqlSource {
    connector: Connector,
    engine: Engine,
    heartbeat: Duration,
    left_out: Option<LoopMark>,
}

/// The shortest time between two heartbeats: a server that is busy may be late.
const HEARTBEAT_MIN: Duration = Duration::from_secs(1);

impl MysqlSource {
    /// Logs in and looks what the server is.
    ///
    /// # Errors
    /// `engine_mismatch` when `server.engine` is another kind than the server; the errors of a login.
    pub async fn connect(server: ServerSettings) -> Result<Self, ConnectorError> {
        if server.engine == Engine::Postgres {
            return Err(ConnectorError::definite("engine_mismatch", "the endpoint's engine is postgres, wanted mysql or mariadb"));
        }
        let connector = Connector::new(&server)?;
        let mut conn = connector.open().await?;
        let version: String = row(&mut conn, "read the server's version", "select version()").await?;
        let engine = if version.to_ascii_lowercase().contains("mariadb") { Engine::Mariadb } else { Engine::Mysql };
        let _ = conn.disconnect().await;
        if engine != server.engine {
            let text = format!("the endpoint's engine is {}, found {} {version}", server.engine.as_str(), engine.as_str());
            return Err(ConnectorError::definite("engine_mismatch", text).hint(format!("set the endpoint's engine to {}", engine.as_str())));
        }
        Ok(Self { connector, engine, heartbeat: HEARTBEAT, left_out: None })
    }

    /// The same with streams in which an idle server says as often as this that it lives, instead of every 30 s, and which are given up
    /// after the fourfold of it without a word. Less than a second counts as one.
    pub fn with_heartbeat(self, heartbeat: Duration) -> Self {
        Self { heartbeat: heartbeat.clamp(HEARTBEAT_MIN, HEARTBEAT), ..self }
    }

    /// The same, whose streams leave out transactions with this mark.
    pub fn leaving_out(self, mark: Option<LoopMark>) -> Self {
        Self { left_out: mark, ..self }
    }

    async fn end_of_log(&self, conn: &mut Conn) -> Result<Position, ConnectorError> {
        let sql = match self.engine {
            // What this server itself has in its log; gtid_current_pos would mix in what it got as a replica.
            Engine::Mariadb => "select @@global.gtid_binlog_pos",
            Engine::Mysql | Engine::Postgres => "select @@global.gtid_executed",
        };
        let gtids: String = row(conn, "read the end of the log", sql).await?;
        position(self.engine, &gtids)
    }

    fn new_snapshot(&self) -> Box<dyn Snapshot> {
        Box::new(SourceSnapshot::new(self.connector.clone(), self.engine))
    }
}

#[async_trait]
impl Source for MysqlSource {
    fn engine(&self) -> Engine {
        self.engine
    }

    async fn identity(&self) -> Result<String, ConnectorError> {
        Ok(self.engine.as_str().to_owned())
    }

    async fn succeeds(&self, before: &str, _places: &[Position]) -> Result<(), ConnectorError> {
        let now = self.engine.as_str();
        if before == now {
            return Ok(());
        }
        let text = format!("the source is \"{now}\", and the task began on \"{before}\"");
        Err(ConnectorError::definite("source_changed", text)
            .hint("connect the endpoint to the database that the task began on, or reload the task"))
    }

    async fn table_names(&self) -> Result<Vec<TableName>, ConnectorError> {
        let mut conn = self.connector.open().await?;
        catalog::table_names(&mut conn).await
    }

    async fn existing_tables(&self, names: &[TableName]) -> Result<Vec<TableName>, ConnectorError> {
        let mut conn = self.connector.open().await?;
        catalog::existing_tables(&mut conn, names).await
    }

    async fn describe(&self, tables: &[TableName]) -> Result<Vec<Arc<SourceTable>>, ConnectorError> {
        let mut conn = self.connector.open().await?;
        let mut described = Vec::with_capacity(tables.len());
        for table in tables {
            described.push(catalog::describe(&mut conn, self.engine, table, 1).await?.table);
        }
        Ok(described)
    }

    async fn describe_objects(&self, tables: &[TableName]) -> Result<Vec<TableObjects>, ConnectorError> {
        let mut conn = self.connector.open().await?;
        objects::describe(&mut conn, self.engine, tables).await
    }

    async fn check(&self, _task: &TaskId, tables: &[Arc<SourceTable>], cdc: bool) -> Result<Vec<Finding>, ConnectorError> {
        check::check(&self.connector, self.engine, tables, cdc).await
    }

    /// The server keeps its log by time, so there is nothing to make: the position is read before any snapshot, and
    /// the stream from it has every later change.
    async fn begin_capture(&self, _scope: &CaptureScope) -> Result<CaptureStart, ConnectorError> {
        let mut conn = self.connector.open().await?;
        let position = self.end_of_log(&mut conn).await?;
        let _ = conn.disconnect().await;
        Ok(CaptureStart { position, snapshot: self.new_snapshot() })
    }

    /// The log is there for everybody.
    async fn adopt_capture(&self, _scope: &CaptureScope, from: &Position) -> Result<(), ConnectorError> {
        check_position(&mut self.connector.open().await?, self.engine, from).await
    }

    /// The binary log has every table.
    async fn extend_capture(&self, _scope: &CaptureScope, _added: &[TableName]) -> Result<(), ConnectorError> {
        Ok(())
    }

    async fn open_stream(&self, scope: &CaptureScope, from: &Position) -> Result<Box<dyn ChangeStream>, ConnectorError> {
        let reader = ChangeReader::open(&self.connector, self.engine, scope, from, self.heartbeat).await?;
        Ok(Box::new(reader.leaving_out(self.left_out.as_ref())))
    }

    async fn check_position(&self, _scope: &CaptureScope, from: &Position) -> Result<(), ConnectorError> {
        check_position(&mut self.connector.open().await?, self.engine, from).await
    }

    /// Views of MariaDB wait for the log themselves.
    async fn wait_shown(&self, position: &Position) -> Result<(), ConnectorError> {
        if self.engine == Engine::Mariadb { Ok(()) } else { wait_executed(&self.connector, position).await }
    }

    async fn snapshot(&self, _scope: &CaptureScope) -> Result<Box<dyn Snapshot>, ConnectorError> {
        Ok(self.new_snapshot())
    }

    async fn log_end(&self) -> Result<Position, ConnectorError> {
        let mut conn = self.connector.open().await?;
        self.end_of_log(&mut conn).await
    }

    async fn clock_us(&self) -> Result<i64, ConnectorError> {
        let mut conn = self.connector.open().await?;
        // The session's time zone does not matter: a timestamp is seconds since 1970.
        row(&mut conn, "read the server's clock", "select cast(unix_timestamp(sysdate(6)) * 1000000 as signed)").await
    }

    async fn position_of(&self, place: &LogPlace) -> Result<Option<Position>, ConnectorError> {
        log_place::position_of(&mut self.connector.open().await?, self.engine, place).await
    }

    async fn position_at(&self, task: &TaskId, time_us: i64) -> Result<Position, ConnectorError> {
        let end = self.log_end().await?;
        log_place::position_at(&self.connector, self.engine, task, time_us, end).await
    }

    async fn log_held(&self, _task: &TaskId) -> Result<Option<u64>, ConnectorError> {
        Ok(None)
    }

    /// Tables have no such numbers here; the binary log tells what becomes of them.
    async fn table_exists(&self, _lineage: &Lineage) -> Result<bool, ConnectorError> {
        Ok(false)
    }

    /// The log has the statements.
    async fn partitions(&self, _tables: &[TableName]) -> Result<Vec<Partition>, ConnectorError> {
        Ok(Vec::new())
    }

    async fn end_capture(&self, _task: &TaskId) -> Result<(), ConnectorError> {
        Ok(())
    }
}
