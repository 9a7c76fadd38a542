//! Applies groups, each in one transaction that ends by moving the checkpoint.
//!
//! ```text
//!   small group   begin + statements + checkpoint │ commit       2 round trips
//!   large group   begin + statements │ … │ checkpoint │ commit
//! ```
//!
//! COMMIT is sent only when the counts of all statements were right. Whatever fails, the transaction is rolled back, and
//! the lane can be used again; a session that cannot be rolled back is replaced.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tidegate_connector::{Applied, ConnectorError, Dialect, Group, Image, Lane, LoopMark, ServerSettings, Step, TargetTable};
use tidegate_model::{Engine, Fence};

use super::batch::{Batch, Expected};
use super::plans::Plans;
use super::session::{LOCK_TIMEOUT_S, open};
use super::writer::Writer;
use super::{control, net, ordered, rejected, sql};
use crate::loopback;

/// Seconds that a statement of a group that is written before its turn waits for a lock: the least that there is.
const AHEAD_LOCK_TIMEOUT_S: u32 = 1;

/// Rows that are looked for at once.
const LOOKED_FOR_MAX: usize = 256;

/// How long a rollback may take before the session is given up.
const ROLLBACK_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that applies groups.
pub(crate) struct MysqlLane {
    settings: ServerSettings,
    fence: Fence,
    plans: Arc<Plans>,
    /// The statement that marks a transaction, where the task has a mark.
    mark_sql: Option<String>,
    writer: Option<Writer>,
    /// BEGIN was sent or waits to be.
    is_begun: bool,
    /// The transaction has its mark.
    is_marked: bool,
    /// A call is running; still true at the next one when it was cancelled.
    is_busy: bool,
    /// The session waits for locks only briefly.
    is_hasty: bool,
    /// Rows of the parts of the open group that were applied.
    rows: u64,
}

impl MysqlLane {
    pub(crate) async fn new(
        settings: ServerSettings,
        fence: Fence,
        plans: Arc<Plans>,
        mark: Option<LoopMark>,
    ) -> Result<MysqlLane, ConnectorError> {
        let writer = Some(Writer::new(open(&settings, &fence).await?));
        let mark_sql = mark.as_ref().map(loopback::mark_sql);
        Ok(MysqlLane {
            settings,
            fence,
            plans,
            mark_sql,
            writer,
            is_begun: false,
            is_marked: false,
            is_busy: false,
            is_hasty: false,
            rows: 0,
        })
    }

    /// Takes the session, a new one where there is none, with the group's transaction begun.
    async fn begun(&mut self, is_ahead: bool) -> Result<Writer, ConnectorError> {
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            // Its transaction took the first steps of the group with it: going on would commit the rest without them.
            None if self.is_begun => {
                self.is_begun = false;
                let text = "the connection inside the transaction of a group is gone";
                return Err(ConnectorError::transient("connection_lost", text));
            }
            None => {
                self.is_hasty = false;
                Writer::new(open(&self.settings, &self.fence).await?)
            }
        };
        if !self.is_begun {
            if std::mem::replace(&mut self.is_hasty, is_ahead) != is_ahead {
                wait_for_locks(&mut writer.batch, is_ahead);
            }
            writer.batch.begin();
            self.is_begun = true;
            self.is_marked = false;
        }
        Ok(writer)
    }

    async fn run_steps(&mut self, steps: &[Step], is_ahead: bool) -> Result<Writer, ConnectorError> {
        self.is_busy = true;
        let mut writer = self.begun(is_ahead).await?;
        if let Some(sql) = self.mark_sql.as_ref().filter(|_| !steps.is_empty() && !self.is_marked) {
            writer.batch.push(sql.as_bytes(), Expected::Anything("mark a transaction"));
            self.is_marked = true;
        }
        for step in steps {
            match run_step(&mut writer, &self.plans, step).await {
                Ok(rows) => self.rows += rows,
                Err(error) => {
                    self.writer = Some(writer);
                    return Err(error);
                }
            }
        }
        Ok(writer)
    }

    async fn run_parts(&mut self, steps: &[Step], is_ahead: bool) -> Result<(), ConnectorError> {
        let mut writer = self.run_steps(steps, is_ahead).await?;
        let done = writer.flush().await;
        self.writer = Some(writer);
        self.is_busy = done.is_err();
        done
    }

    async fn look_for(&mut self, before: &[Step], table: &Arc<TargetTable>, rows: &[Image]) -> Result<Vec<usize>, ConnectorError> {
        let mut writer = self.run_steps(before, false).await?;
        let found = count_rows(&mut writer, &self.plans, table, rows).await;
        self.writer = Some(writer);
        let counts = found?;
        Ok((0..rows.len()).filter(|index| counts[*index] == 0).collect())
    }

    async fn run_group(&mut self, group: &Group) -> Result<Applied, ConnectorError> {
        let mut writer = self.run_steps(&group.steps, false).await?;
        writer.batch.hold_fence(&self.fence);
        // Tens of thousands of tables may come to their place together.
        for (table, state) in &group.tables {
            let sql = control::save_table_sql(&self.fence, table, state);
            if let Err(error) = writer.push(sql.as_bytes(), Expected::Anything("store a table's state")).await {
                self.writer = Some(writer);
                return Err(error);
            }
        }
        if !group.resolved.is_empty() || !group.rejected.is_empty() {
            let written = match writer.flush().await {
                Ok(()) => match writer.session() {
                    Ok(session) => rejected::write(session, &self.fence, &group.resolved, &group.rejected).await,
                    Err(error) => Err(error),
                },
                Err(error) => Err(error),
            };
            if let Err(error) = written {
                self.writer = Some(writer);
                return Err(error);
            }
        }
        for write in &group.control {
            for sql in write.statements(Engine::Mysql) {
                writer.batch.push(sql.as_bytes(), Expected::Anything("write to a control table"));
            }
        }
        writer.batch.move_checkpoint(&self.fence, &group.from, &group.to);
        let sent = writer.flush().await;
        let started = Instant::now();
        let done = match sent {
            Ok(()) => match writer.session() {
                Ok(session) => session.commit().await,
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        self.writer = Some(writer);
        done?;
        self.is_begun = false;
        self.is_busy = false;
        let rows = std::mem::take(&mut self.rows);
        Ok(Applied { rows, commit_us: u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX) })
    }

    /// Rolls back what is open, so that the next group starts clean.
    async fn abandon(&mut self) {
        self.rows = 0;
        self.is_begun = false;
        self.is_busy = false;
        let Some(mut writer) = self.writer.take() else { return };
        writer.batch.take();
        // What was not sent may have been the setting.
        self.is_hasty = false;
        wait_for_locks(&mut writer.batch, false);
        let Ok(session) = writer.session() else { return };
        if let Ok(Ok(())) = tokio::time::timeout(ROLLBACK_TIMEOUT, session.rollback()).await {
            self.writer = Some(writer);
        }
    }
}

#[async_trait]
impl Lane for MysqlLane {
    async fn add_steps(&mut self, steps: Vec<Step>) -> Result<(), ConnectorError> {
        if self.is_busy {
            // An earlier call was cancelled half-way.
            self.abandon().await;
        }
        let done = self.run_parts(&steps, false).await;
        if done.is_err() {
            self.abandon().await;
        }
        done
    }

    async fn probe(&mut self, steps: &[Step]) -> Result<(), ConnectorError> {
        if self.is_busy {
            self.abandon().await;
        }
        let done = self.run_parts(steps, false).await;
        self.abandon().await;
        done
    }

    async fn missing(&mut self, before: &[Step], table: &Arc<TargetTable>, rows: &[Image]) -> Result<Vec<usize>, ConnectorError> {
        if self.is_busy {
            self.abandon().await;
        }
        let found = self.look_for(before, table, rows).await;
        self.abandon().await;
        found
    }

    async fn write_ahead(&mut self, steps: &[Step]) -> Result<(), ConnectorError> {
        if self.is_busy {
            self.abandon().await;
        }
        let done = self.run_parts(steps, true).await;
        if done.is_err() {
            self.abandon().await;
        }
        done
    }

    async fn roll_back(&mut self) {
        if self.is_begun {
            self.abandon().await;
        }
    }

    async fn apply(&mut self, group: &Group) -> Result<Applied, ConnectorError> {
        if self.is_busy {
            self.abandon().await;
        }
        let done = self.run_group(group).await;
        if done.is_err() {
            self.abandon().await;
        }
        done
    }
}

/// For the session, from the next statement on: a transaction cannot set it for itself alone.
fn wait_for_locks(batch: &mut Batch, is_ahead: bool) {
    let seconds = if is_ahead { AHEAD_LOCK_TIMEOUT_S } else { LOCK_TIMEOUT_S };
    batch
        .push(format!("set session innodb_lock_wait_timeout = {seconds}").as_bytes(), Expected::Anything("set how long to wait for locks"));
}

/// How many rows each image identifies.
async fn count_rows(writer: &mut Writer, plans: &Plans, table: &Arc<TargetTable>, rows: &[Image]) -> Result<Vec<u64>, ConnectorError> {
    let plan = plans.get(writer.session()?, table).await?;
    let mut counts = Vec::with_capacity(rows.len());
    for some in rows.chunks(LOOKED_FOR_MAX) {
        let statements = some.iter().map(|row| sql::lock_row(&plan, row)).collect::<Result<Vec<_>, _>>()?;
        counts.extend(writer.ask_all(&statements, &Expected::rows(&plan, "select", None)).await?);
    }
    Ok(counts)
}

async fn run_step(writer: &mut Writer, plans: &Plans, step: &Step) -> Result<u64, ConnectorError> {
    match step {
        Step::Net { table, strictness, changes } => {
            let plan = plans.get(writer.session()?, table).await?;
            net::apply(writer, &plan, *strictness, changes).await
        }
        Step::Ordered { table, strictness, changes } => {
            let plan = plans.get(writer.session()?, table).await?;
            ordered::apply(writer, &plan, *strictness, changes).await
        }
        // TRUNCATE would commit what came before it.
        Step::Truncate { tables } => {
            for table in tables {
                let plan = plans.get(writer.session()?, table).await?;
                let sql = format!("delete from {}", Dialect::MYSQL.table(&table.name));
                writer.push(sql.as_bytes(), Expected::rows(&plan, "delete", None)).await?;
            }
            Ok(0)
        }
    }
}
