//! PostgreSQL as a target: rows by COPY, groups by sets, and the task's records in the same transactions.
//!
//! Control tables live in schema `tidegate` ([`control`]). A table is prepared once: created or checked, and planned
//! from its real columns ([`plan`]). Loaders and lanes share the plans and have connections of their own.

mod check;
mod control;
mod copy;
mod ddl;
mod dms_tables;
mod fit;
mod keys;
mod labels;
mod lane;
mod loader;
mod many;
mod net;
mod objects;
mod ordered;
mod others;
mod plan;
mod plans;
mod prepare;
mod real;
mod rejected;
mod rows;
mod session;
mod statements;

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tidegate_connector::{
    BuildStage, Chunk, ConnectorError, ControlTables, ControlWrite, CountersSet, Dialect, Finding, Lane, LoadPlan, Loader, LoopMark,
    RejectedId, ServerSettings, StoredRejection, TablePreparation, Target, TargetTable, TaskRecord, WithheldKey,
};
use tidegate_model::{Engine, Fence, Position, TableName, TableState, TaskId, Window};
use tokio_postgres::{Client, Transaction};

use self::lane::PostgresLane;
use self::loader::PostgresLoader;
use self::plans::Plans;
use self::session::{LOCK_TIMEOUT, open};
use crate::connect::{client, pg_error, unpooled_client};

/// Sessions for control work that are kept for the next call.
const IDLE_SESSIONS_MAX: usize = 4;

/// Lets one preparation at a time create schemas and types, which `if not exists` alone does not make safe. "prepare" in ASCII.
const PREPARE_LOCK: i64 = 0x0070_7265_7061_7265;

/// A PostgreSQL database that a task writes to.
pub struct PostgresTarget {
    server: ServerSettings,
    plans: Arc<Plans>,
    mark: Option<LoopMark>,
    idle: Mutex<Vec<(Fence, Client)>>,
}

impl PostgresTarget {
    /// Connects once, to find out that it can be done.
    ///
    /// # Errors
    /// Transient when the server cannot be reached; definite when it refuses the user, is too old, or is a pooler that lends sessions for
    /// transactions.
    pub async fn connect(server: ServerSettings) -> Result<Self, ConnectorError> {
        let session = unpooled_client(&server, "connect").await?;
        check::version(&session).await?;
        Ok(Self { server, plans: Arc::default(), mark: None, idle: Mutex::default() })
    }

    /// The same, which marks its transactions.
    pub fn marking(self, mark: Option<LoopMark>) -> Self {
        Self { mark, ..self }
    }

    async fn session(&self, fence: &Fence) -> Result<Client, ConnectorError> {
        let kept = {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.retain(|(holder, session)| holder == fence && !session.is_closed());
            idle.pop()
        };
        match kept {
            Some((_, session)) => Ok(session),
            None => open(&self.server, "task", fence).await,
        }
    }

    /// A transaction that holds the fence and the right to prepare tables.
    async fn preparing<'a>(&self, session: &'a mut Client, fence: &Fence) -> Result<Transaction<'a>, ConnectorError> {
        let tx = fenced(session, fence).await?;
        let lock = format!(
            "set local lock_timeout = '{LOCK_TIMEOUT}'; select pg_advisory_xact_lock({PREPARE_LOCK}){}",
            session::mark_sql(self.mark.as_ref())
        );
        tx.batch_execute(&lock).await.map_err(|error| pg_error("take turns to prepare tables", error))?;
        Ok(tx)
    }

    /// Keeps a session that has no transaction open.
    fn keep(&self, fence: &Fence, session: Client) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_SESSIONS_MAX {
            idle.push((fence.clone(), session));
        }
    }
}

/// A transaction that holds the fence. Dropped, it is rolled back.
async fn fenced<'a>(session: &'a mut Client, fence: &Fence) -> Result<Transaction<'a>, ConnectorError> {
    let tx = session.transaction().await.map_err(|error| pg_error("begin a transaction", error))?;
    control::hold_fence(&tx, fence).await?;
    Ok(tx)
}

async fn commit(tx: Transaction<'_>) -> Result<(), ConnectorError> {
    tx.commit().await.map_err(|error| pg_error("commit", error))
}

#[async_trait]
impl Target for PostgresTarget {
    fn engine(&self) -> Engine {
        Engine::Postgres
    }

    async fn check(
        &self,
        task: &TaskId,
        tables: &[Arc<TargetTable>],
        preparation: TablePreparation,
    ) -> Result<Vec<Finding>, ConnectorError> {
        let mut session = client(&self.server, "check").await?;
        check::check(&mut session, task, tables, preparation).await
    }

    async fn known_task(&self, task: &TaskId) -> Result<Option<Option<Position>>, ConnectorError> {
        let session = client(&self.server, "check").await?;
        control::known_task(&session, task).await
    }

    async fn table_state(&self, fence: &Fence, table: &TableName) -> Result<TableState, ConnectorError> {
        let session = self.session(fence).await?;
        let state = control::table_state(&session, fence, table).await?;
        self.keep(fence, session);
        Ok(state)
    }

    async fn take_over(&self, task: &TaskId) -> Result<TaskRecord, ConnectorError> {
        control::take_over(&self.server, task).await
    }

    async fn begin_task(
        &self,
        fence: &Fence,
        position: &Position,
        source_identity: &str,
        tables: &[(TableName, TableState)],
    ) -> Result<(), ConnectorError> {
        let mut session = self.session(fence).await?;
        let tx = session.transaction().await.map_err(|error| pg_error("begin a transaction", error))?;
        control::begin_task(&tx, fence, position, source_identity).await?;
        // What was known of their chunks is forgotten by now.
        many::save_states(&tx, fence, tables).await?;
        commit(tx).await?;
        self.keep(fence, session);
        Ok(())
    }

    async fn save_identity(&self, fence: &Fence, source_identity: &str) -> Result<(), ConnectorError> {
        let session = self.session(fence).await?;
        control::save_identity(&session, fence, source_identity).await?;
        self.keep(fence, session);
        Ok(())
    }

    async fn save_selection(&self, fence: &Fence, selection: &str) -> Result<(), ConnectorError> {
        let mut session = self.session(fence).await?;
        let tx = fenced(&mut session, fence).await?;
        control::save_selection(&tx, fence, selection).await?;
        commit(tx).await?;
        self.keep(fence, session);
        Ok(())
    }

    async fn forget_table(&self, fence: &Fence, table: &TableName) -> Result<(), ConnectorError> {
        let mut session = self.session(fence).await?;
        let tx = fenced(&mut session, fence).await?;
        control::forget_table(&tx, fence, table).await?;
        commit(tx).await?;
        self.keep(fence, session);
        Ok(())
    }

    async fn save_table(&self, fence: &Fence, table: &TableName, state: &TableState) -> Result<(), ConnectorError> {
        let mut session = self.session(fence).await?;
        let tx = fenced(&mut session, fence).await?;
        control::save_table(&tx, fence, table, state).await?;
        commit(tx).await?;
        self.keep(fence, session);
        Ok(())
    }

    async fn save_chunks(&self, fence: &Fence, table: &TableName, chunks: &[Chunk]) -> Result<(), ConnectorError> {
        let mut session = self.session(fence).await?;
        let tx = fenced(&mut session, fence).await?;
        control::save_chunks(&tx, fence, table, chunks).await?;
        commit(tx).await?;
        self.keep(fence, session);
        Ok(())
    }

    async fn save_tables(&self, fence: &Fence, tables: &[(TableName, TableState)]) -> Result<(), ConnectorError> {
        let mut session = self.session(fence).await?;
        let tx = fenced(&mut session, fence).await?;
        many::save_states(&tx, fence, tables).await?;
        commit(tx).await?;
        self.keep(fence, session);
        Ok(())
    }

    async fn save_plans(&self, fence: &Fence, plans: &[LoadPlan]) -> Result<(), ConnectorError> {
        let mut session = self.session(fence).await?;
        let tx = fenced(&mut session, fence).await?;
        many::save_plans(&tx, fence, plans).await?;
        commit(tx).await?;
        self.keep(fence, session);
        Ok(())
    }

    async fn prepare_tables(&self, fence: &Fence, tables: &[(Arc<TargetTable>, TablePreparation)]) -> Result<(), ConnectorError> {
        for together in tables.chunks(many::TOGETHER) {
            let mut session = self.session(fence).await?;
            let tx = self.preparing(&mut session, fence).await?;
            let (plans, alone) = many::prepare(&tx, fence, together).await?;
            commit(tx).await?;
            plans.into_iter().for_each(|plan| self.plans.put(Arc::new(plan)));
            self.keep(fence, session);
            for (table, preparation) in alone {
                self.prepare_table(fence, table, *preparation).await?;
            }
        }
        Ok(())
    }

    async fn prepare_table(&self, fence: &Fence, table: &Arc<TargetTable>, preparation: TablePreparation) -> Result<(), ConnectorError> {
        let mut session = self.session(fence).await?;
        let tx = self.preparing(&mut session, fence).await?;
        prepare::prepare(&tx, fence, table, preparation).await?;
        let plan = plans::learn(&tx, table).await?;
        commit(tx).await?;
        self.plans.put(Arc::new(plan));
        self.keep(fence, session);
        Ok(())
    }

    async fn withhold_key(&self, fence: &Fence, table: &Arc<TargetTable>) -> Result<Option<WithheldKey>, ConnectorError> {
        let mut session = self.session(fence).await?;
        let tx = fenced(&mut session, fence).await?;
        let key = keys::withhold(&tx, table).await?;
        commit(tx).await?;
        self.keep(fence, session);
        Ok(key)
    }

    async fn return_key(&self, fence: &Fence, table: &Arc<TargetTable>, key: &WithheldKey) -> Result<(), ConnectorError> {
        let mut session = self.session(fence).await?;
        let tx = fenced(&mut session, fence).await?;
        keys::give_back(&tx, table, key).await?;
        commit(tx).await?;
        self.keep(fence, session);
        Ok(())
    }

    async fn release_tables(&self, fence: &Fence, tables: &[(Arc<TargetTable>, TablePreparation)]) -> Result<(), ConnectorError> {
        let mut session = self.session(fence).await?;
        let tx = fenced(&mut session, fence).await?;
        let lock = format!("set local lock_timeout = '{LOCK_TIMEOUT}'");
        tx.batch_execute(&lock).await.map_err(|error| pg_error("bound the wait for locks", error))?;
        objects::release(&tx, fence, tables).await?;
        commit(tx).await?;
        self.keep(fence, session);
        Ok(())
    }

    async fn build_objects(&self, fence: &Fence, tables: &[Arc<TargetTable>], stage: BuildStage) -> Result<Vec<Finding>, ConnectorError> {
        let mut session = self.session(fence).await?;
        let (findings, changed) = objects::build(&mut session, fence, tables, stage).await?;
        for table in &changed {
            // An identity or a generated column changes how rows are written.
            self.plans.put(Arc::new(plans::learn(&session, table).await?));
        }
        self.keep(fence, session);
        Ok(findings)
    }

    async fn set_counters(&self, fence: &Fence, tables: &[Arc<TargetTable>]) -> Result<CountersSet, ConnectorError> {
        let session = self.session(fence).await?;
        control::checkpoint(&session, fence).await?;
        let moved = objects::set_counters(&session, tables).await?;
        self.keep(fence, session);
        Ok(CountersSet { moved, refused: Vec::new() })
    }

    fn close_idle(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    async fn save_definition(&self, fence: &Fence, table: &TableName, definition: &str) -> Result<(), ConnectorError> {
        let mut session = self.session(fence).await?;
        let tx = fenced(&mut session, fence).await?;
        control::save_definition(&tx, fence, table, definition).await?;
        commit(tx).await?;
        self.keep(fence, session);
        Ok(())
    }

    async fn drop_table(&self, fence: &Fence, table: &TableName) -> Result<(), ConnectorError> {
        let mut session = self.session(fence).await?;
        let tx = fenced(&mut session, fence).await?;
        let name = Dialect::POSTGRES.table(table);
        let sql = format!("set local lock_timeout = '{LOCK_TIMEOUT}'; drop table if exists {name}");
        tx.batch_execute(&sql).await.map_err(|error| session::table_error(table, &format!("drop table {name}"), error))?;
        commit(tx).await?;
        self.keep(fence, session);
        Ok(())
    }

    async fn loader(&self, fence: &Fence) -> Result<Box<dyn Loader>, ConnectorError> {
        Ok(Box::new(PostgresLoader::new(self.server.clone(), fence.clone(), Arc::clone(&self.plans), self.mark.clone()).await?))
    }

    async fn lane(&self, fence: &Fence) -> Result<Box<dyn Lane>, ConnectorError> {
        Ok(Box::new(PostgresLane::new(self.server.clone(), fence.clone(), Arc::clone(&self.plans), self.mark.clone()).await?))
    }

    async fn checkpoint(&self, fence: &Fence) -> Result<Option<Position>, ConnectorError> {
        let session = self.session(fence).await?;
        let position = control::checkpoint(&session, fence).await?;
        self.keep(fence, session);
        Ok(position)
    }

    async fn chunk_mark(&self, fence: &Fence, table: &TableName, chunk: &Chunk) -> Result<Option<(Window, u64)>, ConnectorError> {
        let session = self.session(fence).await?;
        let mark = control::chunk_mark(&session, fence, table, chunk).await?;
        self.keep(fence, session);
        Ok(mark)
    }

    async fn rejected_ids(&self, fence: &Fence, max: u32) -> Result<Vec<RejectedId>, ConnectorError> {
        let session = self.session(fence).await?;
        let ids = rejected::ids(&session, fence, max).await?;
        self.keep(fence, session);
        Ok(ids)
    }

    async fn rejected_rows(&self, task: &TaskId, after: i64, max: u32) -> Result<Vec<StoredRejection>, ConnectorError> {
        let session = client(&self.server, "errors").await?;
        rejected::page(&session, task, after, max).await
    }

    async fn check_control_tables(&self, tables: &ControlTables) -> Result<Vec<Finding>, ConnectorError> {
        let session = client(&self.server, "check").await?;
        dms_tables::check(&session, tables).await
    }

    async fn create_control_tables(&self, fence: &Fence, tables: &ControlTables) -> Result<(), ConnectorError> {
        let mut session = self.session(fence).await?;
        let tx = fenced(&mut session, fence).await?;
        dms_tables::create(&tx, tables).await?;
        commit(tx).await?;
        self.keep(fence, session);
        Ok(())
    }

    async fn write_control_tables(&self, fence: &Fence, writes: &[ControlWrite]) -> Result<(), ConnectorError> {
        let mut session = self.session(fence).await?;
        let tx = fenced(&mut session, fence).await?;
        dms_tables::write(&tx, writes).await?;
        commit(tx).await?;
        self.keep(fence, session);
        Ok(())
    }

    async fn forget_task(&self, task: &TaskId) -> Result<(), ConnectorError> {
        control::forget_task(&self.server, task).await
    }
}
