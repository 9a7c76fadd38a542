//! Loads chunks: COPY and the chunk's mark in one transaction that holds the fence.

use std::sync::Arc;

use async_trait::async_trait;
use tidegate_connector::{Chunk, ConnectorError, LoadBatch, Loader, LoopMark, RejectedRow, ServerSettings, TargetTable};
use tidegate_model::{Fence, Window};
use tokio_postgres::Client;

use super::copy::{CopyRows, StageMark};
use super::plan::TablePlan;
use super::plans::Plans;
use super::session::{act_as_replica, begin_fenced, open, rows_of, table_error};
use super::{control, rejected, statements};
use crate::connect::pg_error;

const LOADED: StageMark = StageMark { operation: b'I', mask: 0 };

/// A connection that loads. What is not finished is rolled back: at the next chunk, or by the end of the connection.
pub(crate) struct PostgresLoader {
    server: ServerSettings,
    fence: Fence,
    plans: Arc<Plans>,
    mark: Option<LoopMark>,
    session: Option<Session>,
    load: Option<Load>,
    /// A chunk was begun and not finished; also after an error and after a call that was cancelled.
    is_open: bool,
}

struct Session {
    client: Client,
    is_replica: bool,
}

struct Load {
    plan: Arc<TablePlan>,
    chunk: Chunk,
    replace: bool,
    is_staged: bool,
    rows: CopyRows,
    rejected: Vec<RejectedRow>,
}

impl PostgresLoader {
    pub(crate) async fn new(
        server: ServerSettings,
        fence: Fence,
        plans: Arc<Plans>,
        mark: Option<LoopMark>,
    ) -> Result<PostgresLoader, ConnectorError> {
        let mut loader = PostgresLoader { server, fence, plans, mark, session: None, load: None, is_open: false };
        loader.session = Some(loader.connect().await?);
        Ok(loader)
    }

    async fn connect(&self) -> Result<Session, ConnectorError> {
        let client = open(&self.server, "load", &self.fence).await?;
        let is_replica = act_as_replica(&client).await?;
        Ok(Session { client, is_replica })
    }

    async fn start(&mut self, session: &Session, table: &Arc<TargetTable>, chunk: &Chunk, replace: bool) -> Result<Load, ConnectorError> {
        let client = &session.client;
        begin_fenced(client, &self.fence, session.is_replica, self.mark.as_ref()).await?;
        let plan = self.plans.get(client, table).await?;
        let replace_by_key = replace && !plan.primary_key.is_empty();
        let is_staged = replace_by_key || !plan.is_direct();
        let sql = if is_staged {
            let name = statements::stage_name(&plan);
            let create = format!("drop table if exists {name}; {}", statements::create_stage(&plan));
            let attempted = format!("stage rows of table \"{}\"", plan.table.name);
            client.batch_execute(&create).await.map_err(|error| table_error(&plan.table.source.schema.name, &attempted, error))?;
            format!("copy {name} from stdin (format binary)")
        } else {
            statements::copy_table(&plan)
        };
        let rows = CopyRows::start(client, &plan, &sql).await?;
        Ok(Load { plan, chunk: chunk.clone(), replace, is_staged, rows, rejected: Vec::new() })
    }

    async fn end(&mut self, session: &Session, load: Load, window: &Window) -> Result<u64, ConnectorError> {
        let Load { plan, chunk, replace, is_staged, rows, rejected } = load;
        let source_name = &plan.table.source.schema.name;
        let mut count = rows.finish().await?;
        if is_staged {
            let by_key = replace && !plan.primary_key.is_empty();
            let insert = if by_key { statements::replace_staged(&plan) } else { statements::insert_staged(&plan, "'I'") };
            let attempted = format!("load rows into table \"{}\"", plan.table.name);
            let told = session.client.simple_query(&insert).await.map_err(|error| table_error(source_name, &attempted, error))?;
            if !by_key {
                count = rows_of(&told);
            }
        }
        rejected::write(&session.client, &self.fence, &[], &rejected).await?;
        control::mark_chunk(&session.client, &self.fence, source_name, &chunk, window, count, replace).await?;
        session.client.batch_execute("commit").await.map_err(|error| pg_error("commit a chunk", error))?;
        Ok(count)
    }
}

#[async_trait]
impl Loader for PostgresLoader {
    async fn begin(&mut self, table: &Arc<TargetTable>, chunk: &Chunk, replace: bool) -> Result<(), ConnectorError> {
        // A chunk that was not finished is void, and its connection with it.
        self.load = None;
        if std::mem::replace(&mut self.is_open, true) {
            self.session = None;
        }
        let session = match self.session.take().filter(|session| !session.client.is_closed()) {
            Some(session) => session,
            None => self.connect().await?,
        };
        self.load = Some(self.start(&session, table, chunk, replace).await?);
        self.session = Some(session);
        Ok(())
    }

    async fn write(&mut self, batch: LoadBatch) -> Result<(), ConnectorError> {
        // Taken out, so that a write that fails or is cancelled leaves no half chunk that could be finished.
        let Some(mut load) = self.load.take() else { return Err(no_chunk()) };
        let mark = load.is_staged.then_some(LOADED);
        if let Err(error) = load.rows.add_loaded(&load.plan, &batch, mark).await {
            self.session = None;
            return Err(error);
        }
        self.load = Some(load);
        Ok(())
    }

    async fn reject(&mut self, mut rows: Vec<RejectedRow>) -> Result<(), ConnectorError> {
        self.load.as_mut().ok_or_else(no_chunk)?.rejected.append(&mut rows);
        Ok(())
    }

    async fn finish(&mut self, window: &Window) -> Result<u64, ConnectorError> {
        let (Some(load), Some(session)) = (self.load.take(), self.session.take()) else { return Err(no_chunk()) };
        let rows = self.end(&session, load, window).await?;
        self.session = Some(session);
        self.is_open = false;
        Ok(rows)
    }
}

fn no_chunk() -> ConnectorError {
    ConnectorError::new(tidegate_connector::ErrorClass::Bug, "no_chunk", "found no open chunk, wanted one that was begun")
}
