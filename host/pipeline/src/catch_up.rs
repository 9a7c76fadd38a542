//! How a table that was loaded beside the stream gets level with it: each group takes some of what was set aside for it.

use std::sync::Arc;

use tidegate_model::{Position, TableName, TableState};
use tokio::sync::mpsc;

use crate::assemble::{Assembled, Assembler, From, Woken};
use crate::cache::Item;
use crate::capture::cache_error;
use crate::load::LoadEvent;
use crate::task::TaskError;

/// How much faster a table catches up than changes are set aside, so that it does catch up.
const CATCH_UP_FACTOR: usize = 2;

impl Assembler {
    /// Tables that are loaded by now come forward together: each group costs the target a transaction.
    pub(crate) fn take_notes(&mut self, event: LoadEvent) -> Woken {
        let mut woken = self.take_note(event);
        while woken == Woken::Work
            && let Ok(event) = self.loads.try_recv()
        {
            woken = self.take_note(event);
        }
        woken
    }

    fn take_note(&mut self, event: LoadEvent) -> Woken {
        match event {
            LoadEvent::Table { table, window } => {
                self.tables.loaded(&table, window);
                Woken::Work
            }
            LoadEvent::AllLoaded { log_end } if !self.tables.any_loading() => {
                self.loaded_at = Some(log_end.clone());
                self.behind = Some(log_end);
                Woken::AllLoaded
            }
            LoadEvent::AllLoaded { .. } => Woken::Work,
        }
    }

    /// True when a table that is loaded can come forward: something is set aside for it, or nothing is and the stream is
    /// past what it repeats, so that nothing will be.
    pub(crate) fn can_catch_up(&self) -> bool {
        !self.holds_changes()
            && self.tables.any_catching_up()
            && (self.repeats.is_none() || self.tables.catching_up().iter().any(|table| !self.aside.is_empty(table)))
    }

    /// Adds some of what was set aside for tables that are loaded by now, and returns how far those tables are.
    pub(crate) async fn catch_up(&mut self, out: &mpsc::Sender<Assembled>) -> Result<Vec<(TableName, TableState)>, TaskError> {
        if self.holds_changes() {
            return Ok(Vec::new());
        }
        let enough = CATCH_UP_FACTOR * self.group_bytes_max.max(self.aside_bytes);
        let (changes, bytes) = (self.changes, self.bytes);
        let mut taken = 0;
        let mut caught_up = Vec::new();
        for table in self.tables.catching_up().clone() {
            let of_this = if taken < enough { self.take_aside(&table, enough - taken, out).await? } else { 0 };
            taken += of_this;
            let joins = self.repeats.is_none() && self.aside.is_empty(&table);
            if joins {
                self.tables.join(&table, &self.position);
                self.aside.forget(&table);
                tracing::info!(table = %table, position = %self.position, "table is in the stream");
            }
            if joins || of_this > 0 {
                caught_up.extend(self.tables.state(&table).map(|state| (table, state)));
            }
        }
        self.in_flight.took(self.changes - changes, self.bytes - bytes);
        Ok(caught_up)
    }

    /// Adds whole transactions of what was set aside for a table until that is `enough`, and returns its bytes.
    async fn take_aside(&mut self, table: &TableName, enough: usize, out: &mpsc::Sender<Assembled>) -> Result<usize, TaskError> {
        let mut taken = 0;
        let mut of = None;
        while let Some(item) = self.aside.next(table).map_err(cache_error)? {
            match (item, &of) {
                (Item::Begin(transaction), _) => of = Some(Arc::new(transaction)),
                (Item::Change { change, number, bytes }, Some(transaction)) => {
                    if self.cancel.is_cancelled() {
                        return Err(TaskError::Cancelled);
                    }
                    taken += bytes;
                    let transaction = transaction.clone();
                    self.change(change, &transaction, number, From::Aside).await?;
                    self.send_part_when_full(out).await?;
                }
                (Item::End, Some(transaction)) => {
                    self.tables.advance(table, &transaction.mark);
                    of = None;
                    if taken >= enough {
                        break;
                    }
                }
                (Item::Change { .. } | Item::End, None) => {
                    return Err(TaskError::Panicked("changes that were set aside have no transaction".into()));
                }
            }
        }
        Ok(taken)
    }

    /// The stream has come this far in repeating what is before the checkpoint.
    pub(crate) fn repeated(&mut self, advance: impl FnOnce(&mut Position)) {
        if let Some(repeats) = &mut self.repeats {
            advance(repeats);
            if repeats.covers_position(&self.position) {
                self.repeats = None;
            }
        }
    }
}
