//! What a log may hold and a stream refuses, since its rows do not tell what happened.

use tidegate_connector::ConnectorError;

use super::Assembler;
use crate::binlog::event::RawEvent;

impl Assembler {
    /// A group that was rolled back after changes of tables without transactions, which stand in the log. Without ours it only moves on.
    pub(super) fn rollback(&mut self, event: &RawEvent) -> Result<(), ConnectorError> {
        if self.group.as_ref().is_some_and(|group| group.touched) {
            let text = format!("a rolled-back group with changes of tables without transactions {}", self.place());
            return Err(ConnectorError::definite("rollback_logged", text).hint("convert the tables to InnoDB, then reload them"));
        }
        self.commit(event)
    }

    /// What was rolled back to a savepoint is cut out of the log, unless the group also changed what cannot be rolled
    /// back: then the rows stay in the log, with this statement behind them.
    pub(super) fn rollback_to(&mut self) -> Result<(), ConnectorError> {
        if !self.group_mut()?.touched {
            return Ok(());
        }
        let text = format!("rows that were rolled back to a savepoint stand in the log {}", self.place());
        Err(ConnectorError::definite("rollback_logged", text)
            .hint("convert tables without transactions to InnoDB, then load the task again"))
    }

    pub(super) fn partial_json(&self) -> ConnectorError {
        let text = format!("partial JSON update {}", self.place());
        ConnectorError::definite("partial_json", text).hint("set persist binlog_row_value_options = ''")
    }

    pub(super) fn statement_format(&self, verb: &str) -> ConnectorError {
        let text = format!("{verb} was logged as text instead of rows {}", self.place());
        ConnectorError::definite("binlog_format", text).hint("set binlog_format to ROW for every session, then load the task again")
    }
}
