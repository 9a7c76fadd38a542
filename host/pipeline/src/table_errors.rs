//! What follows an error that concerns one table: it is loaded again, leaves the task until it is, or ends the run.

use std::sync::Arc;

use tidegate_connector::{ConnectorError, ErrorClass};
use tidegate_model::{Engine, Fence, TableName, TableState, Upheaval};

use crate::attempt::{Attempt, Ended};
use crate::evolution::{self, DROPPED, Definition, LABELS_ADDED, differences, only_labels};
use crate::plan::PlannedTable;
use crate::settings::{DdlAction, TableErrorPolicy};
use crate::task::TaskError;

/// Codes of table errors after which loading the table from its first row helps: an update of a row that the load
/// missed does not tell the whole row (`incomplete_image`), or the table was rewritten since it was cut into chunks.
const LOAD_AGAIN: [&str; 2] = ["incomplete_image", "chunks_outdated"];

/// Code of changes that do not find what they must: an insert finds its row in the target, an update or a delete none.
pub(crate) const CONFLICT: &str = "target_diverged";

/// What went wrong with one table in this run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TableErrors {
    /// In all.
    errors: u32,
    /// Conflicts among them.
    conflicts: u32,
}

impl TableErrors {
    /// One more.
    pub(crate) fn count(&mut self, is_conflict: bool) {
        self.errors += 1;
        self.conflicts += u32::from(is_conflict);
    }
}

impl Attempt<'_> {
    /// What follows an error. Where an interrupted load cannot be finished as it was begun, and where a definition
    /// changed, the next attempt loads the table from its first row; where the policy says so, it goes on without the
    /// table. Other errors stay what they are.
    pub(crate) async fn or_go_on(&self, fence: &Fence, planned: &[Arc<PlannedTable>], error: TaskError) -> Result<Ended, TaskError> {
        let error = match self.watched.row_errors.or_suspension(error) {
            TaskError::SuspendTable { table, cause } => return self.suspend(fence, &table, cause.code(), cause.chain()).await,
            other => other,
        };
        let (cause, wanted) = match &error {
            TaskError::Definition(cause, action) => (cause, Some(*action)),
            TaskError::Connector(cause) => (cause, None),
            _ => return Err(error),
        };
        let concerned = |table: &&Arc<PlannedTable>| cause.table_name() == Some(&table.source.schema.name);
        let Some(table) = planned.iter().find(concerned) else { return Err(error) };
        let name = &table.source.schema.name;
        if LOAD_AGAIN.contains(&cause.code()) {
            self.start_over(fence, name).await?;
            let text = format!("table \"{name}\" must be loaded again: {}", cause.chain());
            return Err(ConnectorError::transient("load_again", text).into());
        }
        if cause.class() != ErrorClass::TableDefinite {
            return Err(error);
        }
        if wanted != Some(DdlAction::Stop) && self.source.existing_tables(std::slice::from_ref(name)).await?.is_empty() {
            // Whatever it was that failed, there is nothing left to work on.
            if cause.code() == DROPPED {
                self.watched.dropped.lock().expect("no holder of this lock panics").insert(name.clone(), table.target.name.clone());
            }
            return Ok(Ended::TablesChanged);
        }
        let suspends = self.spec.on_table_error == TableErrorPolicy::Suspend;
        let (action, only_labels) = match wanted {
            Some(action) => (Some(action), cause.code() == LABELS_ADDED),
            None => {
                let (action, only_labels) = self.action_if_changed(table).await?;
                (action.or(suspends.then_some(DdlAction::SuspendTable)), only_labels)
            }
        };
        match action {
            // A target that can take labels does so when the next attempt prepares the table.
            Some(DdlAction::Apply) if only_labels && self.target.engine() == Engine::Postgres => {
                tracing::warn!(task = %self.spec.id, table = %name, code = cause.code(), "{}", cause.chain());
                Ok(Ended::TablesChanged)
            }
            None | Some(DdlAction::Stop) => Err(error),
            Some(DdlAction::SuspendTable) => self.suspend(fence, name, cause.code(), cause.chain()).await,
            Some(DdlAction::Apply | DdlAction::Ignore) => {
                tracing::warn!(task = %self.spec.id, table = %name, code = cause.code(), "table is loaded again: {}", cause.chain());
                self.start_over(fence, name).await?;
                Ok(Ended::TablesChanged)
            }
        }
    }

    /// Takes a table out of the task until it is loaded again.
    ///
    /// # Errors
    /// When the table was at fault as often as the task allows.
    async fn suspend(&self, fence: &Fence, table: &TableName, code: &'static str, text: String) -> Result<Ended, TaskError> {
        let is_conflict = code == CONFLICT;
        let TableErrors { errors, conflicts } = self.watched.count_table_error(table, is_conflict);
        if is_conflict && self.spec.row_errors.conflicts_max.is_some_and(|most| conflicts >= most) {
            let error = ConnectorError::definite(code, format!("{text}; conflict {conflicts} of table \"{table}\" in this run"));
            return Err(error.hint("correct the cause, then reload the table; the setting row_errors.conflicts_max allows no more").into());
        }
        if self.spec.run.table_errors_max.is_some_and(|most| errors >= most) {
            let error = ConnectorError::definite(code, format!("{text}; {errors} errors of table \"{table}\" in this run"));
            return Err(error.hint("correct the cause, then resume the task; the setting table_errors_max allows no more").into());
        }
        tracing::error!(task = %self.spec.id, table = %table, code, "table is suspended: {text}");
        let reason = format!("{code}: {text}");
        self.target.save_table(fence, table, &TableState::Suspended { reason }).await?;
        Ok(Ended::TablesChanged)
    }

    /// What the policy says to a definition that is another by now, which may be why anything failed; and whether nothing but
    /// labels of enumerations came.
    async fn action_if_changed(&self, table: &PlannedTable) -> Result<(Option<DdlAction>, bool), TaskError> {
        let now = self.source.describe(std::slice::from_ref(&table.source.schema.name)).await?;
        let changes = now.first().map(|now| differences(&Definition::of(&table.source), &Definition::of(now))).unwrap_or_default();
        let name = std::slice::from_ref(&table.source.schema.name);
        let moved = !self.look_at_partitions(name).await?.moved.is_empty();
        let of_partitions = moved.then(|| evolution::upheaval_action(Upheaval::Moved, &self.spec.ddl));
        let action = evolution::action(&changes, &self.spec.ddl).max(of_partitions).filter(|action| *action != DdlAction::Ignore);
        Ok((action, only_labels(&changes) && !moved))
    }
}
