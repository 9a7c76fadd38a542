//! PostgreSQL as a source: tables and snapshots over ordinary connections, the log over a replication connection.
//!
//! ```text
//!   begin_capture   publication ─▶ slot (consistent point P) ─▶ snapshot at P ─▶ readers import it
//!   open_stream     slot and publication checked against the checkpoint ─▶ pgoutput from there
//! ```
//!
//! Needs PostgreSQL 14 or later, and `wal_level = logical` to capture changes. It never writes into the customer's
//! tables, and refuses whatever would make the customer's own statements fail.
//! Source of the behaviour: PostgreSQL manual, "Logical Decoding", "Logical Replication", "Streaming Replication
//! Protocol", and "Snapshot Synchronization Functions".

mod capture;
mod catalog;
mod check;
mod describe;
mod history;
mod loopback;
mod names;
mod objects;
mod partitions;
mod range;
mod relations;
mod rows;
mod slot;
mod snapshot;
mod stream;
mod too_large;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use tidegate_connector::{
    CaptureScope, CaptureStart, ChangeStream, ConnectorError, Finding, Lineage, LoopMark, Partition, ServerSettings, Snapshot, Source,
    SourceTable,
};
use tidegate_model::{Engine, LogPlace, Position, TableName, TableObjects, TaskId};
use tokio_postgres::Client;

pub(crate) use self::loopback::MARK_PREFIX;
use crate::connect;
use crate::fault::pg_error;

/// A PostgreSQL database to read from.
#[derive(Debug)]
pub struct PostgresSource {
    server: ServerSettings,
    left_out: Option<LoopMark>,
}

impl PostgresSource {
    /// Checks that the server can be reached with these settings.
    ///
    /// # Errors
    /// Transient when it cannot be reached; definite when it refuses the user, the password or the database.
    pub async fn connect(server: ServerSettings) -> Result<Self, ConnectorError> {
        connect::unpooled_client(&server, "test").await?;
        Ok(Self { server, left_out: None })
    }

    /// The same, whose streams leave out transactions with this mark.
    pub fn leaving_out(self, mark: Option<LoopMark>) -> Self {
        Self { left_out: mark, ..self }
    }

    async fn client(&self) -> Result<Client, ConnectorError> {
        connect::client(&self.server, "catalog").await
    }
}

#[async_trait]
impl Source for PostgresSource {
    fn engine(&self) -> Engine {
        Engine::Postgres
    }

    async fn identity(&self) -> Result<String, ConnectorError> {
        Ok(history::of_session(&self.client().await?).await?.to_string())
    }

    async fn succeeds(&self, before: &str, places: &[Position]) -> Result<(), ConnectorError> {
        history::check(&self.server, before, places).await
    }

    async fn table_names(&self) -> Result<Vec<TableName>, ConnectorError> {
        catalog::table_names(&self.client().await?).await
    }

    async fn existing_tables(&self, names: &[TableName]) -> Result<Vec<TableName>, ConnectorError> {
        catalog::existing_tables(&self.client().await?, names).await
    }

    async fn describe(&self, tables: &[TableName]) -> Result<Vec<Arc<SourceTable>>, ConnectorError> {
        let described = describe::from_catalog(&self.client().await?, tables).await?;
        let described: HashMap<&TableName, &Arc<SourceTable>> = described.iter().map(|table| (&table.schema.name, table)).collect();
        tables
            .iter()
            .map(|name| {
                described.get(name).copied().cloned().ok_or_else(|| {
                    ConnectorError::table(name, "table_missing", format!("found no table \"{name}\" that the user may see"))
                        .hint("check its spelling: names are case-sensitive; a partition is named by its root")
                })
            })
            .collect()
    }

    async fn describe_objects(&self, tables: &[TableName]) -> Result<Vec<TableObjects>, ConnectorError> {
        objects::describe(&self.client().await?, tables).await
    }

    async fn check(&self, task: &TaskId, tables: &[Arc<SourceTable>], cdc: bool) -> Result<Vec<Finding>, ConnectorError> {
        check::check(&self.server, task, tables, cdc).await
    }

    async fn begin_capture(&self, scope: &CaptureScope) -> Result<CaptureStart, ConnectorError> {
        capture::begin(&self.server, scope).await
    }

    async fn extend_capture(&self, scope: &CaptureScope, added: &[TableName]) -> Result<(), ConnectorError> {
        capture::extend(&self.client().await?, scope, added).await
    }

    async fn open_stream(&self, scope: &CaptureScope, from: &Position) -> Result<Box<dyn ChangeStream>, ConnectorError> {
        Ok(Box::new(capture::open_stream(&self.server, scope, from, self.left_out.clone()).await?))
    }

    async fn check_position(&self, scope: &CaptureScope, from: &Position) -> Result<(), ConnectorError> {
        capture::check_position(&self.client().await?, scope, from).await.map(|_| ())
    }

    async fn snapshot(&self, scope: &CaptureScope) -> Result<Box<dyn Snapshot>, ConnectorError> {
        capture::snapshot(&self.server, scope).await
    }

    async fn log_end(&self) -> Result<Position, ConnectorError> {
        catalog::log_end(&self.client().await?).await.map(Position::Postgres)
    }

    /// With `synchronous_commit = off`, a session's own choice too, a client hears of a commit before it is in the log's safe part.
    async fn end_of_commits(&self) -> Result<Position, ConnectorError> {
        catalog::end_of_commits(&self.client().await?).await.map(Position::Postgres)
    }

    async fn adopt_capture(&self, scope: &CaptureScope, from: &Position) -> Result<(), ConnectorError> {
        capture::adopt(&self.server, scope, from).await
    }

    async fn clock_us(&self) -> Result<i64, ConnectorError> {
        let attempted = "read the server's clock";
        let sql = "select (extract(epoch from pg_catalog.clock_timestamp()) * 1000000)::pg_catalog.int8";
        let row = self.client().await?.query_one(sql, &[]).await.map_err(|error| pg_error(attempted, error))?;
        catalog::get(&row, 0, attempted)
    }

    async fn position_of(&self, place: &LogPlace) -> Result<Option<Position>, ConnectorError> {
        let text = format!("\"{place}\" is a place in a binary log, wanted an LSN of a PostgreSQL source");
        Err(ConnectorError::definite("position_lost", text))
    }

    /// A slot streams from its own place on: there is no log that could be read for its times.
    async fn position_at(&self, _task: &TaskId, _time_us: i64) -> Result<Position, ConnectorError> {
        let text = "PostgreSQL's log cannot be read by time";
        Err(ConnectorError::definite("start_time_unknown", text).hint("give the LSN of a slot as start_position"))
    }

    async fn log_held(&self, task: &TaskId) -> Result<Option<u64>, ConnectorError> {
        slot::log_held(&self.client().await?, &names::capture_name(task)).await
    }

    async fn table_exists(&self, lineage: &Lineage) -> Result<bool, ConnectorError> {
        catalog::table_exists(&self.client().await?, lineage.table).await
    }

    async fn partitions(&self, tables: &[TableName]) -> Result<Vec<Partition>, ConnectorError> {
        catalog::partitions(&self.client().await?, tables).await
    }

    async fn end_capture(&self, task: &TaskId) -> Result<(), ConnectorError> {
        capture::end(&self.client().await?, &names::capture_name(task)).await
    }
}
