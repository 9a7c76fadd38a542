//! Loads chunks: rows and the chunk's mark in one transaction that holds the fence.
//!
//! LOAD DATA LOCAL where the server takes files, statements of many rows where it does not, or where a row needs one. Rows that replace others
//! (chunks of a resumed load) are deleted by their key and inserted, never by REPLACE, which would also delete rows
//! that have nothing but a value of another unique key in common.

use std::sync::Arc;

use async_trait::async_trait;
use tidegate_connector::{Chunk, ConnectorError, ErrorClass, Image, LoadBatch, Loader, LoopMark, RejectedRow, ServerSettings, TargetTable};
use tidegate_model::{Fence, Window};

use super::load_data::LoadData;
use super::plan::TablePlan;
use super::plans::Plans;
use super::session::{Server, open};
use super::writer::Writer;
use super::{control, rejected};
use crate::connect::run;
use crate::loopback;

/// A connection that loads. What is not finished is rolled back: at the next chunk, or by the end of the connection.
pub(crate) struct MysqlLoader {
    settings: ServerSettings,
    fence: Fence,
    plans: Arc<Plans>,
    mark: Option<LoopMark>,
    /// Between chunks.
    session: Option<Server>,
    load: Option<Load>,
    /// A chunk was begun and not finished; also after an error and after a call that was cancelled.
    is_open: bool,
}

struct Load {
    plan: Arc<TablePlan>,
    chunk: Chunk,
    replace: bool,
    way: Way,
    rejected: Vec<RejectedRow>,
}

enum Way {
    File(Box<LoadData>),
    Statements { writer: Box<Writer>, rows: u64 },
}

impl Way {
    async fn by_statements(self) -> Result<Way, ConnectorError> {
        let Way::File(file) = self else { return Ok(self) };
        let (session, rows) = file.finish().await?;
        Ok(Way::Statements { writer: Box::new(Writer::new(session)), rows })
    }
}

impl MysqlLoader {
    pub(crate) async fn new(
        settings: ServerSettings,
        fence: Fence,
        plans: Arc<Plans>,
        mark: Option<LoopMark>,
    ) -> Result<MysqlLoader, ConnectorError> {
        let session = open(&settings, &fence).await?;
        Ok(MysqlLoader { settings, fence, plans, mark, session: Some(session), load: None, is_open: false })
    }

    async fn start(&self, mut session: Server, table: &Arc<TargetTable>, chunk: &Chunk, replace: bool) -> Result<Load, ConnectorError> {
        session.begin_fenced(&self.fence).await?;
        if let Some(mark) = &self.mark {
            run(&mut session.conn, "mark a transaction", &loopback::mark_sql(mark)).await?;
        }
        let plan = self.plans.get(&mut session, table).await?;
        let by_key = replace && !plan.primary_key.is_empty();
        let way = if session.facts().takes_files && !by_key {
            Way::File(Box::new(LoadData::start(session, plan.clone())))
        } else {
            Way::Statements { writer: Box::new(Writer::new(session)), rows: 0 }
        };
        Ok(Load { plan, chunk: chunk.clone(), replace, way, rejected: Vec::new() })
    }

    async fn end(&self, load: Load, window: &Window) -> Result<(Server, u64), ConnectorError> {
        let Load { plan, chunk, replace, way, rejected } = load;
        let (mut session, count) = match way {
            Way::File(file) => file.finish().await?,
            Way::Statements { mut writer, rows } => {
                writer.flush().await?;
                (writer.into_session()?, rows)
            }
        };
        rejected::write(&mut session, &self.fence, &[], &rejected).await?;
        control::mark_chunk(&mut session, &self.fence, &plan.table.source.schema.name, &chunk, window, count, replace).await?;
        session.commit().await?;
        Ok((session, count))
    }
}

#[async_trait]
impl Loader for MysqlLoader {
    async fn begin(&mut self, table: &Arc<TargetTable>, chunk: &Chunk, replace: bool) -> Result<(), ConnectorError> {
        // A chunk that was not finished is void, and its connection with it.
        self.load = None;
        if std::mem::replace(&mut self.is_open, true) {
            self.session = None;
        }
        let session = match self.session.take() {
            Some(session) => session,
            None => open(&self.settings, &self.fence).await?,
        };
        self.load = Some(self.start(session, table, chunk, replace).await?);
        Ok(())
    }

    async fn write(&mut self, batch: LoadBatch) -> Result<(), ConnectorError> {
        // Taken out, so that a write that fails or is cancelled leaves no half chunk that could be finished.
        let Some(mut load) = self.load.take() else { return Err(no_chunk()) };
        if matches!(load.way, Way::File(_)) && batch.loaded().any(|loaded| load.plan.has_decimal_document(&loaded)) {
            // Such rows seldom come alone: the rest of the chunk goes the same way.
            load.way = load.way.by_statements().await?;
        }
        match &mut load.way {
            Way::File(file) => {
                for loaded in batch.loaded() {
                    file.add(&loaded).await?;
                }
            }
            Way::Statements { writer, rows } => {
                let images: Vec<Image> = batch.images().collect();
                let images: Vec<&Image> = images.iter().collect();
                if load.replace && !load.plan.primary_key.is_empty() {
                    writer.delete_all(&load.plan, &images, false).await?;
                }
                writer.insert_all(&load.plan, &images).await?;
                *rows += images.len() as u64;
            }
        }
        self.load = Some(load);
        Ok(())
    }

    async fn reject(&mut self, mut rows: Vec<RejectedRow>) -> Result<(), ConnectorError> {
        self.load.as_mut().ok_or_else(no_chunk)?.rejected.append(&mut rows);
        Ok(())
    }

    async fn finish(&mut self, window: &Window) -> Result<u64, ConnectorError> {
        let Some(load) = self.load.take() else { return Err(no_chunk()) };
        let (session, rows) = self.end(load, window).await?;
        self.session = Some(session);
        self.is_open = false;
        Ok(rows)
    }
}

fn no_chunk() -> ConnectorError {
    ConnectorError::new(ErrorClass::Bug, "no_chunk", "found no open chunk, wanted one that was begun")
}
