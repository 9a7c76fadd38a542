//! XA transactions, whose changes the log has in front of their PREPARE, and which end in a group of their own, perhaps files later.
//!
//! The changes are handed out as they come, as those of a transaction that stays open. The group of the PREPARE is then an empty one with
//! a number of its own, and the COMMIT ends the open transaction as its own, or ROLLBACK voids it. Where the PREPARE came before the
//! stream began, its group is read again at the COMMIT. The definitions of its tables are those of then: servers let nobody change a
//! table with rows of a prepared transaction (tried on MySQL 9.7, MariaDB 10.11 and 11.8, also after its session had ended).

use tidegate_connector::{ConnectorError, StreamEvent, TxId};
use tidegate_model::TableName;

use super::{Assembler, Taken};
use crate::binlog::event::{Kind, RawEvent};
use crate::stream::names::xa_prepared;

/// What a transaction holds that is prepared.
#[derive(Debug, Clone, Copy)]
pub(super) enum Prepared {
    /// No changes of the scope.
    Nothing,
    /// Changes that were handed out as those of this transaction.
    Held(TxId),
}

/// The state of a group that is read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replaying {
    No,
    /// Its GTID did not come yet.
    Awaited,
    Begun,
}

impl Assembler {
    /// An XA transaction of this name was prepared without rows of the scope.
    pub(crate) fn pass(&mut self, name: String) {
        self.prepared.insert(name, Prepared::Nothing);
    }

    pub(super) fn xa_prepare(&mut self, event: &RawEvent) -> Result<(), ConnectorError> {
        let (one_phase, name) = xa_prepared(&event.body).map_err(|fault| self.decode(None, None, &fault))?;
        if !one_phase {
            let fresh = self.new_tx();
            let group = self.group_mut()?;
            let prepared = if group.touched {
                group.touched = false;
                Prepared::Held(std::mem::replace(&mut group.id, fresh))
            } else {
                Prepared::Nothing
            };
            // One that its server lost in a crash leaves its name to another.
            if let Some(Prepared::Held(lost)) = self.prepared.insert(name, prepared) {
                self.out.push(StreamEvent::Abort { tx: lost, sub: lost });
            }
        }
        self.commit(event)
    }

    pub(super) fn xa_finish(&mut self, event: &RawEvent, commit: bool, name: &str) -> Result<Taken, ConnectorError> {
        let name = name.to_ascii_lowercase();
        match (self.prepared.remove(&name), commit) {
            (Some(Prepared::Held(tx)), true) => {
                let group = self.group_mut()?;
                (group.id, group.touched) = (tx, true);
            }
            (Some(Prepared::Held(tx)), false) => self.out.push(StreamEvent::Abort { tx, sub: tx }),
            (Some(Prepared::Nothing), _) | (None, false) => {}
            (None, true) => return Ok(Taken::LookUp(name)),
        }
        self.commit(event).map(|()| Taken::Done)
    }

    /// The changes of the group that is open, a COMMIT's, are about to be read again.
    pub(crate) fn begin_replay(&mut self) -> Result<(), ConnectorError> {
        self.group_mut()?.began = true;
        // Numbers of tables are those of then.
        self.maps.clear();
        self.replaying = Replaying::Awaited;
        Ok(())
    }

    /// Takes an event of a group that is read again. [`Taken::Replayed`] with its PREPARE: then the COMMIT is to be given again.
    pub(crate) fn replay(&mut self, name: &str, event: &RawEvent) -> Result<Taken, ConnectorError> {
        let taken = match (Kind::of(event.code), self.replaying) {
            // What stands in front of every dump.
            (Some(Kind::Passive), Replaying::Awaited) | (Some(Kind::Heartbeat), _) => Taken::Done,
            (Some(Kind::MysqlGtid | Kind::MysqlTaggedGtid | Kind::MariadbGtid), Replaying::Awaited) => {
                self.replaying = Replaying::Begun;
                Taken::Done
            }
            // The statements that made the rows. Another file or format has no place in a group.
            (Some(Kind::Passive), Replaying::Begun) if !matches!(event.code, 3 | 4 | 15) => Taken::Done,
            (Some(Kind::TableMap), Replaying::Begun) => self.table_map(event)?,
            (Some(Kind::Rows { kind, version, compressed }), Replaying::Begun) => {
                self.rows(event, kind, version, compressed)?;
                Taken::Done
            }
            (Some(Kind::PartialUpdate), Replaying::Begun) => return Err(self.partial_json()),
            (Some(Kind::Query { compressed }), Replaying::Begun) => self.query(event, compressed)?,
            (Some(Kind::XaPrepare), Replaying::Begun) => {
                let found = xa_prepared(&event.body).map_err(|fault| self.decode(None, None, &fault))?;
                if found != (false, name.to_owned()) {
                    return Err(self.broken("a prepared XA transaction of another name than its COMMIT"));
                }
                self.maps.clear();
                self.replaying = Replaying::No;
                let group = self.group_mut()?;
                let prepared = if group.touched { Prepared::Held(group.id) } else { Prepared::Nothing };
                self.prepared.insert(found.1, prepared);
                Taken::Replayed
            }
            _ => return Err(self.broken(&format!("event of kind {} in a prepared XA transaction", event.code))),
        };
        // Nothing in front of its PREPARE ends the group.
        if self.group.is_none() {
            return Err(self.broken("a prepared XA transaction that ends before its PREPARE"));
        }
        Ok(taken)
    }

    /// A transaction that was prepared before the stream began, and of which the log's files do not tell.
    pub(crate) fn xa_unknown(&self) -> ConnectorError {
        let text = format!("XA COMMIT of a transaction whose PREPARE is not in the log any more, or that ended before {}", self.place());
        ConnectorError::definite("xa_unsupported", text).hint("end all XA transactions (XA RECOVER lists them), then load the task again")
    }

    /// A table that is another by now than when its rows were prepared.
    pub(super) fn xa_changed(&self, table: &TableName) -> ConnectorError {
        let text = format!("table \"{table}\" changed its definition between XA PREPARE and XA COMMIT {}", self.place());
        ConnectorError::table(table, "xa_unsupported", text).hint("reload the table")
    }
}
