//! Tables that come while a task runs, or between its runs, and its policy for them.
//!
//! A table that the rules select and of which the target has no record is new at the source, or the rules are. The target
//! remembers by which rules the task selected its tables when it last began: as long as they are the same, the table is new, and
//! `create_table` decides. What it leaves out has a record of its own, so that it stays out, whatever dies, until somebody asks to load
//! it, the table goes, or the rules let go of it.

use std::collections::HashSet;

use tidegate_connector::ConnectorError;
use tidegate_model::{Fence, TableName, TableState};

use crate::TableStage;
use crate::attempt::Attempt;
use crate::settings::DdlAction;

/// Why a table that came is not in the task.
const LEFT_OUT: &str = "is new at the source and is left out (settings.ddl.create_table) until it is loaded on request";

impl Attempt<'_> {
    /// True where a table that comes while the task runs is loaded.
    pub(crate) fn takes_newcomers(&self) -> bool {
        self.spec.ddl.create_table == DdlAction::Apply
    }

    /// Leaves a table that came out of the task from now on.
    pub(crate) async fn leave_out(&self, fence: &Fence, table: &TableName) -> Result<(), ConnectorError> {
        self.target.save_table(fence, table, &TableState::LeftOut).await?;
        let notice = format!("table \"{table}\" {LEFT_OUT}");
        tracing::warn!(task = %self.spec.id, table = %table, "{notice}");
        self.watched.board.update(|progress| progress.notices.push(notice));
        self.watched.board.table(table, |progress| progress.stage = TableStage::LeftOut);
        self.watched.left_out.lock().expect("no holder of this lock panics").insert(table.clone());
        Ok(())
    }

    /// What this attempt found left out takes the place of what earlier ones knew.
    pub(crate) fn found_left_out(&self, tables: HashSet<TableName>) {
        tables.iter().for_each(|table| self.watched.board.table(table, |progress| progress.stage = TableStage::LeftOut));
        *self.watched.left_out.lock().expect("no holder of this lock panics") = tables;
    }

    /// Tables that are left out and that the source no longer has: one that comes by such a name is new again.
    pub(crate) async fn forget_left_out(&self, fence: &Fence, now: &HashSet<TableName>) -> Result<Vec<TableName>, ConnectorError> {
        let gone: Vec<TableName> = {
            let left_out = self.watched.left_out.lock().expect("no holder of this lock panics");
            left_out.iter().filter(|table| !now.contains(table)).cloned().collect()
        };
        for table in &gone {
            self.target.forget_table(fence, table).await?;
            self.watched.left_out.lock().expect("no holder of this lock panics").remove(table);
        }
        Ok(gone)
    }

    /// Lets tables of these that are left out be loaded by the next attempt. True when there are any.
    pub(crate) async fn take_in(&self, fence: &Fence, tables: impl Iterator<Item = &TableName>) -> Result<bool, ConnectorError> {
        let wanted: Vec<TableName> = {
            let left_out = self.watched.left_out.lock().expect("no holder of this lock panics");
            tables.filter(|table| left_out.contains(table)).cloned().collect()
        };
        for table in &wanted {
            self.start_over(fence, table).await?;
        }
        Ok(!wanted.is_empty())
    }
}
