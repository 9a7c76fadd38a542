//! MySQL and MariaDB as targets: rows by LOAD DATA, groups by sets, and the task's records in the same transactions.
//!
//! Control tables live in database `tidegate` ([`control`]). A table is prepared once: created or checked, and planned
//! from its real columns ([`plan`]). Values travel inside of statements, as text that the server reads back exactly; the
//! counts and warnings of every statement are compared before COMMIT.

mod batch;
mod check;
mod control;
mod ddl;
mod dms_tables;
mod encode;
mod fault;
mod fit;
mod form;
mod json;
mod keys;
mod lane;
mod load_data;
mod loader;
mod net;
mod objects;
mod ordered;
mod plan;
mod plans;
mod real;
mod rejected;
pub(crate) mod session;
mod sql;
mod takeover;
mod writer;

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tidegate_connector::{
    BuildStage, Chunk, ConnectorError, ControlTables, ControlWrite, CountersSet, Dialect, Finding, Lane, LoadPlan, Loader, LoopMark,
    RejectedId, ServerSettings, StoredRejection, TablePreparation, Target, TargetTable, TaskRecord, WithheldKey,
};
use tidegate_model::{Engine, Fence, Position, TableName, TableState, TaskId, Window};

use self::lane::MysqlLane;
use self::loader::MysqlLoader;
use self::plan::TablePlan;
use self::plans::Plans;
use self::session::{Server, open};
use crate::loopback;

/// Sessions for control work that are kept for the next call.
const IDLE_SESSIONS_MAX: usize = 4;

/// Tables that are prepared while one transaction holds the fence.
const PREPARED_TOGETHER: usize = 64;

/// A MySQL or MariaDB server that a task writes to.
pub struct MysqlTarget {
    settings: ServerSettings,
    plans: Arc<Plans>,
    mark: Option<LoopMark>,
    idle: Mutex<Vec<(Fence, Server)>>,
}

impl MysqlTarget {
    /// Connects once, to find out that it can be done.
    ///
    /// # Errors
    /// Transient when the server cannot be reached; definite when it refuses the user, is another engine or too old.
    pub async fn connect(settings: ServerSettings) -> Result<Self, ConnectorError> {
        if settings.engine == Engine::Postgres {
            return Err(ConnectorError::definite("engine_mismatch", "the endpoint's engine is postgres, wanted mysql or mariadb"));
        }
        let server = Server::connect(&settings).await?;
        check::version(server.facts())?;
        Ok(Self { settings, plans: Arc::default(), mark: None, idle: Mutex::default() })
    }

    /// The same, which marks its transactions.
    pub fn marking(self, mark: Option<LoopMark>) -> Self {
        Self { mark, ..self }
    }

    async fn session(&self, fence: &Fence) -> Result<Server, ConnectorError> {
        let kept = {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.retain(|(holder, _)| holder == fence);
            idle.pop()
        };
        if let Some((_, mut server)) = kept {
            use mysql_async::prelude::Queryable;
            if server.conn.ping().await.is_ok() {
                return Ok(server);
            }
        }
        open(&self.settings, fence).await
    }

    /// Keeps a session that has no transaction open.
    fn keep(&self, fence: &Fence, server: Server) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_SESSIONS_MAX {
            idle.push((fence.clone(), server));
        }
    }

    /// Makes the table what the preparation asks for, given what is there.
    async fn make(
        &self,
        server: &mut Server,
        fence: &Fence,
        table: &Arc<TargetTable>,
        preparation: TablePreparation,
        found: Option<&real::RealTable>,
    ) -> Result<(), ConnectorError> {
        let name = Dialect::MYSQL.table(&table.name);
        match (found, preparation) {
            (None, _) => {
                ddl::create_database(server, table).await?;
                objects::create(server, fence, table).await
            }
            (Some(_), TablePreparation::Keep) => Ok(()),
            (Some(_), TablePreparation::DropAndCreate) => {
                // What cannot be created must not be dropped.
                ddl::create_sql(table, server.facts())?;
                let sql = format!("drop table {name}");
                ddl::execute(server, table, &sql, &sql).await?;
                objects::create(server, fence, table).await
            }
            (Some(real), TablePreparation::Truncate) => {
                // A table that does not fit keeps its rows.
                TablePlan::new(table, real, server.facts())?;
                let sql = format!("truncate table {name}{}", loopback::note(self.mark.as_ref()));
                ddl::execute(server, table, &sql, &sql).await
            }
            (Some(real), TablePreparation::Fit) => {
                let fit = fit::fit_sql(table, real, server.facts())?;
                let sql = format!("truncate table {name}{}", loopback::note(self.mark.as_ref()));
                ddl::execute(server, table, &sql, &sql).await?;
                let Some(fit) = fit else { return Ok(()) };
                ddl::execute(server, table, &format!("fit table {name} to its changed definition"), &fit).await?;
                objects::forget_pieces(server, fence, &table.name).await
            }
        }
    }
}

#[async_trait]
impl Target for MysqlTarget {
    fn engine(&self) -> Engine {
        self.settings.engine
    }

    async fn check(
        &self,
        task: &TaskId,
        tables: &[Arc<TargetTable>],
        preparation: TablePreparation,
    ) -> Result<Vec<Finding>, ConnectorError> {
        let mut server = Server::connect(&self.settings).await?;
        check::check(&mut server, task, tables, preparation).await
    }

    async fn known_task(&self, task: &TaskId) -> Result<Option<Option<Position>>, ConnectorError> {
        let mut server = Server::connect(&self.settings).await?;
        control::known_task(&mut server, task).await
    }

    async fn table_state(&self, fence: &Fence, table: &TableName) -> Result<TableState, ConnectorError> {
        let mut server = self.session(fence).await?;
        let state = control::table_state(&mut server, fence, table).await?;
        self.keep(fence, server);
        Ok(state)
    }

    async fn take_over(&self, task: &TaskId) -> Result<TaskRecord, ConnectorError> {
        let record = takeover::take_over(&self.settings, task).await?;
        if let Some(mark) = &self.mark {
            let mut server = self.session(&record.fence).await?;
            loopback::create_table(&mut server, mark).await?;
            self.keep(&record.fence, server);
        }
        Ok(record)
    }

    async fn begin_task(
        &self,
        fence: &Fence,
        position: &Position,
        source_identity: &str,
        tables: &[(TableName, TableState)],
    ) -> Result<(), ConnectorError> {
        let mut server = self.session(fence).await?;
        server.begin_fenced(fence).await?;
        control::begin_task(&mut server, fence, position, source_identity).await?;
        for (table, state) in tables {
            control::save_table(&mut server, fence, table, state).await?;
        }
        server.commit().await?;
        self.keep(fence, server);
        Ok(())
    }

    async fn save_identity(&self, fence: &Fence, source_identity: &str) -> Result<(), ConnectorError> {
        let mut server = self.session(fence).await?;
        server.begin_fenced(fence).await?;
        control::save_identity(&mut server, fence, source_identity).await?;
        server.commit().await?;
        self.keep(fence, server);
        Ok(())
    }

    async fn save_selection(&self, fence: &Fence, selection: &str) -> Result<(), ConnectorError> {
        let mut server = self.session(fence).await?;
        server.begin_fenced(fence).await?;
        control::save_selection(&mut server, fence, selection).await?;
        server.commit().await?;
        self.keep(fence, server);
        Ok(())
    }

    async fn forget_table(&self, fence: &Fence, table: &TableName) -> Result<(), ConnectorError> {
        let mut server = self.session(fence).await?;
        server.begin_fenced(fence).await?;
        control::forget_table(&mut server, fence, table).await?;
        server.commit().await?;
        self.keep(fence, server);
        Ok(())
    }

    async fn save_table(&self, fence: &Fence, table: &TableName, state: &TableState) -> Result<(), ConnectorError> {
        let mut server = self.session(fence).await?;
        server.begin_fenced(fence).await?;
        control::save_table(&mut server, fence, table, state).await?;
        server.commit().await?;
        self.keep(fence, server);
        Ok(())
    }

    async fn save_chunks(&self, fence: &Fence, table: &TableName, chunks: &[Chunk]) -> Result<(), ConnectorError> {
        let mut server = self.session(fence).await?;
        server.begin_fenced(fence).await?;
        control::save_chunks(&mut server, fence, table, chunks).await?;
        server.commit().await?;
        self.keep(fence, server);
        Ok(())
    }

    async fn save_tables(&self, fence: &Fence, tables: &[(TableName, TableState)]) -> Result<(), ConnectorError> {
        let mut server = self.session(fence).await?;
        server.begin_fenced(fence).await?;
        for (table, state) in tables {
            control::save_table(&mut server, fence, table, state).await?;
        }
        server.commit().await?;
        self.keep(fence, server);
        Ok(())
    }

    async fn save_plans(&self, fence: &Fence, plans: &[LoadPlan]) -> Result<(), ConnectorError> {
        let mut server = self.session(fence).await?;
        server.begin_fenced(fence).await?;
        for plan in plans {
            control::save_plan(&mut server, fence, plan).await?;
        }
        server.commit().await?;
        self.keep(fence, server);
        Ok(())
    }

    async fn save_definition(&self, fence: &Fence, table: &TableName, definition: &str) -> Result<(), ConnectorError> {
        let mut server = self.session(fence).await?;
        server.begin_fenced(fence).await?;
        control::save_definition(&mut server, fence, table, definition).await?;
        server.commit().await?;
        self.keep(fence, server);
        Ok(())
    }

    async fn drop_table(&self, fence: &Fence, table: &TableName) -> Result<(), ConnectorError> {
        let mut holder = self.session(fence).await?;
        holder.begin_fenced(fence).await?;
        let mut server = self.session(fence).await?;
        let sql = format!("drop table if exists {}", Dialect::MYSQL.table(table));
        crate::connect::run(&mut server.conn, "drop a table that was dropped at the source", &sql).await?;
        holder.commit().await?;
        self.keep(fence, holder);
        self.keep(fence, server);
        Ok(())
    }

    async fn prepare_table(&self, fence: &Fence, table: &Arc<TargetTable>, preparation: TablePreparation) -> Result<(), ConnectorError> {
        self.prepare_tables(fence, &[(table.clone(), preparation)]).await
    }

    /// DDL commits by itself, so another session holds the fence meanwhile; a worker that takes over ends both.
    async fn prepare_tables(&self, fence: &Fence, tables: &[(Arc<TargetTable>, TablePreparation)]) -> Result<(), ConnectorError> {
        for some in tables.chunks(PREPARED_TOGETHER) {
            let mut holder = self.session(fence).await?;
            holder.begin_fenced(fence).await?;
            let mut server = self.session(fence).await?;
            server.define(true).await?;
            let mut made = Vec::with_capacity(some.len());
            for (table, preparation) in some {
                let found = real::read_real(&mut server, &table.name).await?;
                self.make(&mut server, fence, table, *preparation, found.as_ref()).await?;
                made.push(plans::learn(&mut server, table).await?);
            }
            server.define(false).await?;
            holder.commit().await?;
            made.into_iter().for_each(|plan| self.plans.put(Arc::new(plan)));
            self.keep(fence, holder);
            self.keep(fence, server);
        }
        Ok(())
    }

    async fn withhold_key(&self, fence: &Fence, table: &Arc<TargetTable>) -> Result<Option<WithheldKey>, ConnectorError> {
        let mut holder = self.session(fence).await?;
        holder.begin_fenced(fence).await?;
        let mut server = self.session(fence).await?;
        let key = keys::withhold(&mut server, table).await?;
        holder.commit().await?;
        self.keep(fence, holder);
        self.keep(fence, server);
        Ok(key)
    }

    async fn return_key(&self, fence: &Fence, table: &Arc<TargetTable>, key: &WithheldKey) -> Result<(), ConnectorError> {
        let mut holder = self.session(fence).await?;
        holder.begin_fenced(fence).await?;
        let mut server = self.session(fence).await?;
        server.define(true).await?;
        keys::give_back(&mut server, table, key).await?;
        server.define(false).await?;
        holder.commit().await?;
        self.keep(fence, holder);
        self.keep(fence, server);
        Ok(())
    }

    async fn release_tables(&self, fence: &Fence, tables: &[(Arc<TargetTable>, TablePreparation)]) -> Result<(), ConnectorError> {
        let mut holder = self.session(fence).await?;
        holder.begin_fenced(fence).await?;
        let mut server = self.session(fence).await?;
        objects::release(&mut server, fence, tables).await?;
        holder.commit().await?;
        self.keep(fence, holder);
        self.keep(fence, server);
        Ok(())
    }

    async fn build_objects(&self, fence: &Fence, tables: &[Arc<TargetTable>], stage: BuildStage) -> Result<Vec<Finding>, ConnectorError> {
        let mut holder = self.session(fence).await?;
        holder.begin_fenced(fence).await?;
        let mut server = self.session(fence).await?;
        server.define(true).await?;
        let (findings, changed) = objects::build(&mut server, fence, tables, stage).await?;
        for table in &changed {
            // A unique index, or a column that changes by itself, changes how rows are written.
            self.plans.put(Arc::new(plans::learn(&mut server, table).await?));
        }
        server.define(false).await?;
        holder.commit().await?;
        self.keep(fence, holder);
        self.keep(fence, server);
        Ok(findings)
    }

    async fn set_counters(&self, fence: &Fence, tables: &[Arc<TargetTable>]) -> Result<CountersSet, ConnectorError> {
        let mut holder = self.session(fence).await?;
        holder.begin_fenced(fence).await?;
        let mut server = self.session(fence).await?;
        server.define(true).await?;
        let set = objects::set_counters(&mut server, tables).await?;
        server.define(false).await?;
        holder.commit().await?;
        self.keep(fence, holder);
        self.keep(fence, server);
        Ok(set)
    }

    fn close_idle(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    async fn loader(&self, fence: &Fence) -> Result<Box<dyn Loader>, ConnectorError> {
        Ok(Box::new(MysqlLoader::new(self.settings.clone(), fence.clone(), Arc::clone(&self.plans), self.mark.clone()).await?))
    }

    async fn lane(&self, fence: &Fence) -> Result<Box<dyn Lane>, ConnectorError> {
        Ok(Box::new(MysqlLane::new(self.settings.clone(), fence.clone(), Arc::clone(&self.plans), self.mark.clone()).await?))
    }

    async fn checkpoint(&self, fence: &Fence) -> Result<Option<Position>, ConnectorError> {
        let mut server = self.session(fence).await?;
        let position = control::checkpoint(&mut server, fence).await?;
        self.keep(fence, server);
        Ok(position)
    }

    async fn chunk_mark(&self, fence: &Fence, table: &TableName, chunk: &Chunk) -> Result<Option<(Window, u64)>, ConnectorError> {
        let mut server = self.session(fence).await?;
        let mark = control::chunk_mark(&mut server, fence, table, chunk).await?;
        self.keep(fence, server);
        Ok(mark)
    }

    async fn rejected_ids(&self, fence: &Fence, max: u32) -> Result<Vec<RejectedId>, ConnectorError> {
        let mut server = self.session(fence).await?;
        let ids = rejected::ids(&mut server, fence, max).await?;
        self.keep(fence, server);
        Ok(ids)
    }

    async fn rejected_rows(&self, task: &TaskId, after: i64, max: u32) -> Result<Vec<StoredRejection>, ConnectorError> {
        let mut server = Server::connect(&self.settings).await?;
        rejected::page(&mut server, task, after, max).await
    }

    async fn check_control_tables(&self, tables: &ControlTables) -> Result<Vec<Finding>, ConnectorError> {
        let mut server = Server::connect(&self.settings).await?;
        dms_tables::check(&mut server, tables).await
    }

    async fn create_control_tables(&self, fence: &Fence, tables: &ControlTables) -> Result<(), ConnectorError> {
        let mut server = self.session(fence).await?;
        let missing = dms_tables::missing(&mut server, tables).await?;
        if !missing.is_empty() {
            let mut holder = self.session(fence).await?;
            holder.begin_fenced(fence).await?;
            dms_tables::create(&mut server, tables, &missing).await?;
            holder.commit().await?;
            self.keep(fence, holder);
        }
        self.keep(fence, server);
        Ok(())
    }

    async fn write_control_tables(&self, fence: &Fence, writes: &[ControlWrite]) -> Result<(), ConnectorError> {
        let mut server = self.session(fence).await?;
        server.begin_fenced(fence).await?;
        dms_tables::write(&mut server, writes).await?;
        server.commit().await?;
        self.keep(fence, server);
        Ok(())
    }

    async fn forget_task(&self, task: &TaskId) -> Result<(), ConnectorError> {
        let mut server = Server::connect(&self.settings).await?;
        control::forget_task(&mut server, task).await
    }
}
