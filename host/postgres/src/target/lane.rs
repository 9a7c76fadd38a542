//! Applies groups, each in one transaction that ends by moving the checkpoint.
//!
//! ```text
//!   small group   begin + statements │ checkpoint + commit              2 round trips
//!   large group   begin │ copy │ delete + update + insert │ checkpoint + commit
//!   empty group   begin + checkpoint + commit                           1 round trip
//! ```
//!
//! BEGIN waits for the first statement and travels with it. Whatever fails, the transaction is rolled back, and the
//! lane can be used again; a session that cannot be rolled back is replaced.

use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tidegate_connector::{Applied, ConnectorError, Group, Image, Lane, LoopMark, NetChange, ServerSettings, Step, Strictness, TargetTable};
use tidegate_model::{Fence, TableName};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, Statement};

use super::plan::TablePlan;
use super::plans::Plans;
use super::rows::{Call, Shape};
use super::session::{act_as_replica, begin_ahead_sql, begin_sql, mark_sql, move_sql, open, table_error};
use super::{control, dms_tables, net, objects, ordered, rejected, statements};
use crate::connect::pg_error;

/// Prepared statements that a lane keeps; beyond that it starts over. A table needs three to a dozen.
const STATEMENTS_MAX: usize = 200;

/// Staging tables that a lane keeps: each used one is emptied at COMMIT.
const STAGES_MAX: usize = 64;

/// Statements that are on their way at once.
const PIPELINE_MAX: usize = 256;

/// How long a rollback may take before the session is given up.
const ROLLBACK_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that applies groups.
pub(crate) struct PostgresLane {
    server: ServerSettings,
    fence: Fence,
    plans: Arc<Plans>,
    mark: Option<LoopMark>,
    session: Option<LaneSession>,
    /// Rows of the parts of the open group that were applied.
    rows: u64,
}

impl PostgresLane {
    pub(crate) async fn new(
        server: ServerSettings,
        fence: Fence,
        plans: Arc<Plans>,
        mark: Option<LoopMark>,
    ) -> Result<PostgresLane, ConnectorError> {
        let session = LaneSession::open(&server, &fence, mark.as_ref()).await?;
        Ok(PostgresLane { server, fence, plans, mark, session: Some(session), rows: 0 })
    }

    /// The session, a new one where there is none. A session that ended inside a transaction took the first steps of
    /// its group with it: going on with a new one would commit the rest, and the checkpoint, without them.
    async fn session(&mut self) -> Result<&mut LaneSession, ConnectorError> {
        if self.session.as_ref().is_none_or(|session| session.client.is_closed()) {
            self.rows = 0;
            if self.session.take().is_some_and(|session| session.is_begun) {
                let text = "the target closed the connection inside the transaction of a group";
                return Err(ConnectorError::transient("connection_failed", text));
            }
            self.session = Some(LaneSession::open(&self.server, &self.fence, self.mark.as_ref()).await?);
        }
        Ok(self.session.as_mut().expect("a session was opened above"))
    }

    async fn run_steps(&mut self, steps: &[Step]) -> Result<(), ConnectorError> {
        let plans = Arc::clone(&self.plans);
        let session = self.session().await?;
        session.is_busy = true;
        let mut rows = 0;
        for step in steps {
            rows += session.run_step(&plans, step).await?;
        }
        session.is_busy = false;
        self.rows += rows;
        Ok(())
    }

    async fn look_for(&mut self, before: &[Step], table: &Arc<TargetTable>, rows: &[Image]) -> Result<Vec<usize>, ConnectorError> {
        self.run_steps(before).await?;
        let plans = Arc::clone(&self.plans);
        let session = self.session().await?;
        session.is_busy = true;
        let plan = plans.get(&session.client, table).await?;
        let calls = rows.iter().map(|row| Call::lock(&plan, row)).collect::<Result<Vec<_>, _>>()?;
        let counts = session.call_all(&plan, calls).await?;
        Ok((0..rows.len()).filter(|index| counts[*index] == 0).collect())
    }

    async fn run_group(&mut self, group: &Group) -> Result<Applied, ConnectorError> {
        self.run_steps(&group.steps).await?;
        let fence = self.fence.clone();
        let session = self.session().await?;
        if !group.resolved.is_empty() || !group.rejected.is_empty() {
            session.is_busy = true;
            session.begin().await?;
            rejected::write(&session.client, &fence, &group.resolved, &group.rejected).await?;
        }
        if !group.control.is_empty() {
            session.is_busy = true;
            session.begin().await?;
            dms_tables::write(&session.client, &group.control).await?;
        }
        let begin = if session.is_begun { String::new() } else { format!("{}; ", begin_sql(session.is_replica)) };
        session.is_begun = true;
        session.is_busy = true;
        let started = Instant::now();
        let states = if group.tables.is_empty() {
            String::new()
        } else {
            control::save_states_sql(&fence, group.tables.iter().map(|(table, state)| (table, state))) + "; "
        };
        let sql = format!("{begin}{states}{}; commit", move_sql(&fence, &group.from, &group.to));
        if let Err(error) = session.client.simple_query(&sql).await {
            return Err(session.why_not_moved(&fence, group, error).await);
        }
        session.is_begun = false;
        session.is_busy = false;
        session.stages_made.clear();
        session.stages_used.clear();
        let rows = std::mem::take(&mut self.rows);
        Ok(Applied { rows, commit_us: u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX) })
    }

    /// Rows of a group may have exchanged the values of a unique key, which an UPDATE trips over at the first of them:
    /// a second attempt deletes those rows first and inserts them with their new values.
    fn may_swap_keys(&mut self, group: &Group) -> bool {
        let updates = |step: &Step| match step {
            Step::Net { changes, .. } => changes.iter().any(|change| matches!(change, NetChange::Update(_))),
            Step::Ordered { .. } | Step::Truncate { .. } => false,
        };
        match &mut self.session {
            Some(session) if group.steps.iter().any(updates) => {
                session.replaces_updates = true;
                true
            }
            _ => false,
        }
    }

    /// Rolls back what is open, so that the next group starts clean.
    async fn abandon(&mut self) {
        self.rows = 0;
        let Some(mut session) = self.session.take() else { return };
        if session.client.is_closed() {
            return;
        }
        if let Ok(Ok(())) = tokio::time::timeout(ROLLBACK_TIMEOUT, session.client.batch_execute("rollback")).await {
            session.is_begun = false;
            session.is_busy = false;
            session.is_in_parts = false;
            session.is_ahead = false;
            for made in session.stages_made.drain() {
                session.stages.remove(&made);
            }
            session.stages_used.clear();
            self.session = Some(session);
        }
    }
}

#[async_trait]
impl Lane for PostgresLane {
    async fn add_steps(&mut self, steps: Vec<Step>) -> Result<(), ConnectorError> {
        if self.session.as_ref().is_some_and(|session| session.is_busy) {
            // An earlier call was cancelled half-way.
            self.abandon().await;
        }
        self.session().await?.is_in_parts = true;
        let done = self.run_steps(&steps).await;
        if done.is_err() {
            self.abandon().await;
        }
        done
    }

    async fn probe(&mut self, steps: &[Step]) -> Result<(), ConnectorError> {
        if self.session.as_ref().is_some_and(|session| session.is_busy) {
            self.abandon().await;
        }
        let done = self.run_steps(steps).await;
        self.abandon().await;
        done
    }

    async fn missing(&mut self, before: &[Step], table: &Arc<TargetTable>, rows: &[Image]) -> Result<Vec<usize>, ConnectorError> {
        if self.session.as_ref().is_some_and(|session| session.is_busy) {
            self.abandon().await;
        }
        let found = self.look_for(before, table, rows).await;
        self.abandon().await;
        found
    }

    async fn write_ahead(&mut self, steps: &[Step]) -> Result<(), ConnectorError> {
        if self.session.as_ref().is_some_and(|session| session.is_busy) {
            self.abandon().await;
        }
        let session = self.session().await?;
        if !session.is_replica {
            // Foreign keys and triggers fire: what they read and do would lack the groups before.
            let text = "the target's role may not set session_replication_role, so its groups are written in turn";
            return Err(ConnectorError::definite("written_in_turn", text));
        }
        session.is_ahead = true;
        let done = self.run_steps(steps).await;
        if done.is_err() {
            self.abandon().await;
        }
        done
    }

    async fn roll_back(&mut self) {
        if self.session.as_ref().is_some_and(|session| session.is_begun) {
            self.abandon().await;
        }
    }

    async fn apply(&mut self, group: &Group) -> Result<Applied, ConnectorError> {
        if self.session.as_ref().is_some_and(|session| session.is_busy) {
            self.abandon().await;
        }
        let is_whole = self.session.as_ref().is_none_or(|session| !session.is_begun);
        let mut done = self.run_group(group).await;
        if done.is_err() {
            self.abandon().await;
        }
        if is_whole && done.as_ref().is_err_and(|error| error.code() == "target_diverged") && self.may_swap_keys(group) {
            done = self.run_group(group).await;
            if done.is_err() {
                self.abandon().await;
            }
        }
        if let Some(session) = &mut self.session {
            session.replaces_updates = false;
            session.is_in_parts = false;
            session.is_ahead = false;
        }
        done
    }
}

/// One session of a lane, with what it has prepared.
pub(crate) struct LaneSession {
    pub(crate) client: Client,
    pub(crate) is_replica: bool,
    /// What follows BEGIN in a transaction with rows.
    mark_sql: String,
    /// Steps are parts of a group that cannot be applied a second time.
    is_in_parts: bool,
    /// The transaction comes before its turn: it waits for locks only briefly.
    is_ahead: bool,
    /// BEGIN was sent.
    is_begun: bool,
    /// A call is running; still true at the next one when it was cancelled.
    is_busy: bool,
    /// Complete updates are deletes and inserts.
    pub(crate) replaces_updates: bool,
    statements: HashMap<Shape, Statement>,
    /// Plans with a staging table in this session, those made in this transaction, and those with rows in it.
    stages: HashSet<u64>,
    stages_made: HashSet<u64>,
    stages_used: HashSet<u64>,
}

impl LaneSession {
    async fn open(server: &ServerSettings, fence: &Fence, mark: Option<&LoopMark>) -> Result<LaneSession, ConnectorError> {
        let client = open(server, "lane", fence).await?;
        let is_replica = act_as_replica(&client).await?;
        Ok(LaneSession {
            client,
            is_replica,
            mark_sql: mark_sql(mark),
            is_in_parts: false,
            is_ahead: false,
            is_begun: false,
            is_busy: false,
            replaces_updates: false,
            statements: HashMap::new(),
            stages: HashSet::new(),
            stages_made: HashSet::new(),
            stages_used: HashSet::new(),
        })
    }

    async fn run_step(&mut self, plans: &Plans, step: &Step) -> Result<u64, ConnectorError> {
        match step {
            Step::Net { table, strictness, changes } => {
                let plan = plans.get(&self.client, table).await?;
                let updates = |change: &NetChange| matches!(change, NetChange::Update(_));
                let may_stage = plan.columns.len() <= net::STAGED_COLUMNS_MAX;
                if self.is_in_parts && plan.has_secondary_keys && may_stage && changes.iter().any(updates) {
                    return self.apply_or_replace(&plan, *strictness, changes).await;
                }
                net::apply(self, &plan, *strictness, changes).await
            }
            Step::Ordered { table, strictness, changes } => {
                let plan = plans.get(&self.client, table).await?;
                ordered::apply(self, &plan, *strictness, changes).await
            }
            Step::Truncate { tables } => {
                let Some(first) = tables.first() else { return Ok(0) };
                self.begin().await?;
                let names: Vec<String> = tables.iter().map(|table| tidegate_connector::Dialect::POSTGRES.table(&table.name)).collect();
                let own: Vec<&TableName> = tables.iter().map(|table| &table.name).collect();
                // MySQL empties a table that others refer to when it is told not to look; PostgreSQL never does.
                let sql = if self.is_replica && objects::is_referenced_by_others(&self.client, &own).await? {
                    names.iter().map(|name| format!("delete from {name}")).collect::<Vec<_>>().join("; ")
                } else {
                    format!("truncate {}", names.join(", "))
                };
                let done = self.client.batch_execute(&sql).await;
                done.map_err(|error| table_error(&first.source.schema.name, &format!("truncate {}", names.join(", ")), error))?;
                Ok(0)
            }
        }
    }

    /// As [`net::apply`], and once more with rows deleted and inserted instead of updated when they trip over each other.
    async fn apply_or_replace(&mut self, plan: &TablePlan, strictness: Strictness, changes: &[NetChange]) -> Result<u64, ConnectorError> {
        let failed = |error| pg_error("guard a step of a group", error);
        // Before the savepoint, so that the staging table outlives it.
        self.stage(plan).await?;
        self.client.batch_execute("savepoint step").await.map_err(failed)?;
        let mut done = net::apply(self, plan, strictness, changes).await;
        if done.as_ref().is_err_and(|error| error.code() == "target_diverged") {
            self.client.batch_execute("rollback to savepoint step").await.map_err(failed)?;
            self.replaces_updates = true;
            done = net::apply(self, plan, strictness, changes).await;
            self.replaces_updates = false;
        }
        if done.is_ok() {
            self.client.batch_execute("release savepoint step").await.map_err(failed)?;
        }
        done
    }

    /// Sends BEGIN unless it was sent.
    pub(crate) async fn begin(&mut self) -> Result<(), ConnectorError> {
        if self.is_begun {
            return Ok(());
        }
        self.is_begun = true;
        if self.stages.len() > STAGES_MAX {
            self.client.batch_execute("discard temp").await.map_err(|error| pg_error("drop staging tables", error))?;
            self.stages.clear();
        }
        self.client.batch_execute(&self.begin_sql()).await.map_err(|error| pg_error("begin a transaction", error))
    }

    fn begin_sql(&self) -> String {
        let begin = if self.is_ahead { begin_ahead_sql(self.is_replica) } else { begin_sql(self.is_replica).to_owned() };
        begin + &self.mark_sql
    }

    /// Makes the plan's staging table ready and empty.
    pub(crate) async fn stage(&mut self, plan: &TablePlan) -> Result<(), ConnectorError> {
        self.begin().await?;
        let sql = if !self.stages.contains(&plan.id) {
            statements::create_stage(plan)
        } else if self.stages_used.contains(&plan.id) {
            format!("truncate {}", statements::stage_name(plan))
        } else {
            String::new()
        };
        if !sql.is_empty() {
            let attempted = format!("stage rows of table \"{}\"", plan.table.name);
            self.client.batch_execute(&sql).await.map_err(|error| table_error(&plan.table.source.schema.name, &attempted, error))?;
        }
        if self.stages.insert(plan.id) {
            self.stages_made.insert(plan.id);
        }
        self.stages_used.insert(plan.id);
        Ok(())
    }

    /// Runs statements in order, many on their way at once, and returns the rows that each touched.
    pub(crate) async fn call_all(&mut self, plan: &TablePlan, calls: Vec<Call>) -> Result<Vec<u64>, ConnectorError> {
        self.prepare(plan, &calls).await?;
        let failed = |error| table_error(&plan.table.source.schema.name, &format!("apply changes to table \"{}\"", plan.table.name), error);
        let mut counts = Vec::with_capacity(calls.len());
        let mut calls = calls.into_iter().peekable();
        while calls.peek().is_some() {
            let client = &self.client;
            let mut running: Vec<Running<'_>> = Vec::new();
            let begins = !self.is_begun;
            if begins {
                let sql = self.begin_sql();
                running.push(Box::pin(async move { client.batch_execute(&sql).await.map(|()| 0) }));
                self.is_begun = true;
            }
            for call in calls.by_ref().take(PIPELINE_MAX) {
                let statement = self.statements.get(&call.shape).expect("every shape was prepared above").clone();
                running.push(Box::pin(async move { client.execute_raw(&statement, call.values).await }));
            }
            let done = in_order(running).await.map_err(failed)?;
            counts.extend(done.into_iter().skip(usize::from(begins)));
        }
        Ok(counts)
    }

    /// Runs SQL texts in order, all on their way at once, and returns the rows that each touched.
    pub(crate) async fn run_all(&mut self, plan: &TablePlan, texts: &[String]) -> Result<Vec<u64>, ConnectorError> {
        let client = &self.client;
        let running = texts.iter().map(|sql| -> Running<'_> {
            Box::pin(async move { client.simple_query(sql).await.map(|told| super::session::rows_of(&told)) })
        });
        let running = running.collect();
        let attempted = format!("apply changes to table \"{}\"", plan.table.name);
        in_order(running).await.map_err(|error| table_error(&plan.table.source.schema.name, &attempted, error))
    }

    async fn prepare(&mut self, plan: &TablePlan, calls: &[Call]) -> Result<(), ConnectorError> {
        if self.statements.len() > STATEMENTS_MAX {
            self.statements.clear();
        }
        for call in calls {
            if self.statements.contains_key(&call.shape) {
                continue;
            }
            let attempted = format!("prepare changes of table \"{}\"", plan.table.name);
            let statement = self.client.prepare_typed(&call.shape.sql(plan), &call.shape.types(plan)).await;
            let statement = statement.map_err(|error| table_error(&plan.table.source.schema.name, &attempted, error))?;
            self.statements.insert(call.shape.clone(), statement);
        }
        Ok(())
    }

    /// Division by zero is how the checkpoint's move says that there was nothing to move; whether it was that, the
    /// stored row tells.
    async fn why_not_moved(&mut self, fence: &Fence, group: &Group, error: Error) -> ConnectorError {
        let attempted = "move the checkpoint and commit";
        if error.code() != Some(&SqlState::DIVISION_BY_ZERO) {
            return pg_error(attempted, error);
        }
        // A successor ends this session too, maybe right now: then the next attempt learns what happened.
        if let Err(ended) = self.client.batch_execute("rollback").await {
            return pg_error("ask why the checkpoint did not move", ended);
        }
        match control::checkpoint(&self.client, fence).await {
            Ok(Some(stored)) if stored == group.from => pg_error(attempted, error),
            Ok(_) => ConnectorError::fenced(fence.task.as_str(), fence.generation),
            Err(told) => told,
        }
    }
}

type Running<'a> = Pin<Box<dyn Future<Output = Result<u64, Error>> + Send + 'a>>;

/// Polls futures so that their requests are sent in this order, and waits for all of them; the first error in order wins.
async fn in_order(mut running: Vec<Running<'_>>) -> Result<Vec<u64>, Error> {
    let mut results: Vec<Option<Result<u64, Error>>> = running.iter().map(|_| None).collect();
    poll_fn(|context| {
        let mut is_pending = false;
        for (future, result) in running.iter_mut().zip(results.iter_mut()) {
            if result.is_none() {
                match future.as_mut().poll(context) {
                    Poll::Ready(done) => *result = Some(done),
                    Poll::Pending => is_pending = true,
                }
            }
        }
        if is_pending { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    results.into_iter().flatten().collect()
}
