//! XA transactions: those with rows of the scope are refused, the others pass.

use tidegate_connector::ConnectorError;
use tidegate_model::TableName;

use super::{Assembler, Taken};
use crate::binlog::event::RawEvent;
use crate::stream::names::xa_prepared;

impl Assembler {
    /// An XA transaction of this name was prepared without rows of the scope.
    pub(crate) fn pass(&mut self, name: String) {
        self.prepared_elsewhere.insert(name);
    }

    pub(super) fn xa_prepare(&mut self, event: &RawEvent) -> Result<(), ConnectorError> {
        let (one_phase, name) = xa_prepared(&event.body).map_err(|fault| self.decode(None, None, &fault))?;
        if !one_phase {
            self.prepared_elsewhere.insert(name);
        }
        self.commit(event)
    }

    pub(super) fn xa_finish(&mut self, event: &RawEvent, commit: bool, name: &str) -> Result<Taken, ConnectorError> {
        // A prepared transaction whose rows were all seen here and are none of ours may end either way. One that was
        // prepared before this stream may hold rows of ours.
        let name = name.to_ascii_lowercase();
        if !self.prepared_elsewhere.remove(&name) && commit {
            return Ok(Taken::LookUp(name));
        }
        self.commit(event).map(|()| Taken::Done)
    }

    /// A transaction that was prepared before the stream began, and that the log's files do not tell to be of other tables.
    pub(crate) fn xa_unknown(&self) -> ConnectorError {
        let text = format!("XA COMMIT of a transaction that was prepared before this stream began {}", self.place());
        ConnectorError::definite("xa_unsupported", text).hint("end all XA transactions (XA RECOVER lists them), then load the task again")
    }

    pub(super) fn xa_rows(&self, table: &TableName) -> ConnectorError {
        let text = format!("table \"{table}\" was changed by an XA transaction {}", self.place());
        ConnectorError::table(table, "xa_unsupported", text)
            .hint("XA transactions on replicated tables are not supported: take the table out of the task, or reload it")
    }
}
