//! Puts neighbouring changes of a table through the modules and into the net effect, and sees to the rows at fault.
//!
//! ```text
//!   changes ─▶ modules ─▶ net effect
//!                 └─ row at fault ─▶ error table        a later change of that row:
//!                                                          tells it whole ─▶ applied idempotently, entry settled
//!                                                          does not       ─▶ error table again
//! ```

use std::sync::Arc;

use tidegate_connector::{OrderedChange, RejectedOperation, Strictness};
use tidegate_model::{Row, RowChange, TxMark};

use crate::assemble::Assembler;
use crate::header::TransactionHeader;
use crate::large_values::Oversize;
use crate::meter::Stage;
use crate::plan::PlannedTable;
use crate::rejection::{Rejection, row_ids};
use crate::row_errors::Rejected;
use crate::task::TaskError;
use crate::transform::{Headed, Transformed};

impl Assembler {
    /// Sends what is routed through the modules and into the net effect, in order.
    pub(crate) async fn transform(&mut self) -> Result<(), TaskError> {
        self.routed_bytes = 0;
        let mut routed = std::mem::take(&mut self.routed).into_iter().peekable();
        while let Some(first) = routed.next() {
            // Neighbours of one table and strictness go together; order between tables does not matter to the net
            // effect, but order within a table does, so only neighbours do.
            let (table, strictness) = (first.table, first.strictness);
            let (mut changes, mut transactions) = (vec![(first.change, first.oversize)], vec![first.transaction]);
            while let Some(next) = routed.next_if(|next| Arc::ptr_eq(&next.table, &table) && next.strictness == strictness) {
                changes.push((next.change, next.oversize));
                transactions.push(next.transaction);
            }
            self.transform_neighbours(&table, strictness, changes, &transactions).await?;
        }
        Ok(())
    }

    async fn transform_neighbours(
        &mut self,
        table: &Arc<PlannedTable>,
        strictness: Strictness,
        changes: Vec<(Headed, Option<Oversize>)>,
        transactions: &[Arc<TransactionHeader>],
    ) -> Result<(), TaskError> {
        let name = &table.source.schema.name;
        // Only rows at fault need more of a change than what comes of it.
        let is_watched = self.row_errors.has_table(name) || self.row_errors.has_cut(name);
        let kept = (!table.stages.is_empty() || is_watched || changes.iter().any(|(_, oversize)| oversize.is_some()))
            .then(|| changes.iter().map(|((change, _), oversize)| (change.clone(), oversize.clone())).collect::<Vec<_>>());
        // What cannot be cut is at fault before any module sees it.
        let is_too_large = |oversize: &Option<Oversize>| oversize.as_ref().is_some_and(|oversize| !oversize.is_cut);
        let changes = changes.into_iter().filter(|(_, oversize)| !is_too_large(oversize)).map(|(headed, _)| headed).collect();
        // Without modules it takes no time, and looking at the clock for every few changes would.
        let transforming = (!table.stages.is_empty()).then(|| self.in_flight.meter.enter(Stage::Transform));
        let transformed = self.transformer.changes(table, strictness, changes).await?;
        drop(transforming);
        // Within a load's window modules are asked otherwise; how changes are applied is another question.
        let strictness = if self.row_errors.is_upsert() { Strictness::Idempotent } else { strictness };
        let Some(kept) = kept else {
            self.row_errors.accepted(transformed.len() as u64);
            for outcome in transformed {
                if let Transformed::Apply(change, loose) = outcome {
                    self.net.add(&table.target, if loose { Strictness::Idempotent } else { strictness }, change)?;
                }
            }
            return Ok(());
        };
        let mut transformed = transformed.into_iter();
        for ((change, oversize), transaction) in kept.into_iter().zip(transactions) {
            let mark = &transaction.mark;
            let outcome = match oversize.as_ref().filter(|oversize| !oversize.is_cut) {
                Some(oversize) => Transformed::Rejected(Box::new(oversize.rejection(&table.source))),
                None => transformed.next().ok_or_else(|| TaskError::Panicked("fewer outcomes than changes".into()))?,
            };
            let is_kept = matches!(&outcome, Transformed::Apply(OrderedChange::Insert(_) | OrderedChange::Update { .. }, _));
            // Rejected rows of this very batch are known as well.
            let rejected_before =
                self.row_errors.has_table(name) && row_ids(&table.source, &change).is_some_and(|ids| self.row_errors.knows(name, &ids));
            match outcome {
                Transformed::Rejected(rejection) => self.reject(table, &change, mark, *rejection)?,
                outcome if rejected_before => {
                    if self.after_rejection(table, &change, mark, outcome)? {
                        self.see_cut(table, &change, oversize.as_ref().filter(|_| is_kept), mark)?;
                    }
                }
                Transformed::Apply(apply, loose) => {
                    self.see_cut(table, &change, oversize.as_ref().filter(|_| is_kept), mark)?;
                    self.row_errors.accepted(1);
                    self.net.add(&table.target, if loose { Strictness::Idempotent } else { strictness }, apply)?;
                }
                Transformed::Nothing => {
                    self.see_cut(table, &change, None, mark)?;
                    self.row_errors.accepted(1);
                }
            }
        }
        Ok(())
    }

    /// Keeps what the error table says of rows that were cut: a new one is named, one that is whole again or gone is not
    /// any more.
    fn see_cut(&mut self, table: &PlannedTable, change: &RowChange, oversize: Option<&Oversize>, mark: &TxMark) -> Result<(), TaskError> {
        let name = &table.source.schema.name;
        if oversize.is_none() && !self.row_errors.has_cut(name) {
            return Ok(());
        }
        let mut was_cut = false;
        // Without a key an entry is about every row with the same values, of which this change may leave some.
        let ids = if table.source.schema.is_keyless() { None } else { row_ids(&table.source, change) };
        for id in ids.unwrap_or_default() {
            if self.row_errors.forget_cut(name, id) {
                self.error_log.resolve(name, id);
                was_cut = true;
            }
        }
        let (operation, row) = match change {
            RowChange::Insert { new } => (RejectedOperation::Insert, new.clone()),
            RowChange::Update { old: None, new } => (RejectedOperation::Update, new.clone()),
            RowChange::Update { old: Some(old), new } => (RejectedOperation::Update, new.filled_from(old)),
            RowChange::Delete { .. } => return Ok(()),
        };
        let rejected = Rejected { table: &table.source, operation, position: Some(mark.to_string()), row: &row };
        let entry = match oversize {
            Some(oversize) => self.row_errors.cut(&rejected, oversize)?,
            // The log leaves out what did not change: what was cut is still so.
            None if was_cut && !table.large.is_told(&row) => self.row_errors.name_cut(&rejected, "a value was cut before".into()),
            None => None,
        };
        if let Some(entry) = entry {
            self.error_log.reject(entry);
        }
        Ok(())
    }

    /// A change of a row that the target lacks or has in an old state. One that tells the whole row, or removes it, is
    /// made to hold whatever the target has; another one would leave the row half old, and is rejected too. True for the
    /// first.
    fn after_rejection(
        &mut self,
        table: &Arc<PlannedTable>,
        change: &RowChange,
        mark: &TxMark,
        outcome: Transformed,
    ) -> Result<bool, TaskError> {
        let name = &table.source.schema.name;
        let is_whole = match change {
            RowChange::Insert { .. } | RowChange::Delete { .. } => true,
            RowChange::Update { old, new } => whole(old.as_ref(), new),
        };
        if !is_whole {
            let message = format!(
                "table \"{name}\": a change before this one was rejected, and this one does not tell the whole row: \
                 the log leaves out large values that did not change"
            );
            let error = TaskError::Row { code: "rejected_before", message, hint: Some("reload the table".into()) };
            self.reject(table, change, mark, Rejection::by_host(error))?;
            return Ok(false);
        }
        let ids = row_ids(&table.source, change).unwrap_or_default();
        let apply = match outcome {
            Transformed::Apply(apply, _) => apply,
            // The rules leave the row out now; an older state of it may be in the target.
            Transformed::Nothing | Transformed::Rejected(_) => match plain(change.clone()) {
                OrderedChange::Insert(image) | OrderedChange::Delete(image) => OrderedChange::Delete(image),
                OrderedChange::Update { old, new } => OrderedChange::Delete(old.unwrap_or(new)),
            },
        };
        self.row_errors.accepted(1);
        self.row_errors.resolved(name, &ids);
        ids.into_iter().for_each(|id| self.error_log.resolve(name, id));
        self.net.add(&table.target, Strictness::Idempotent, apply)?;
        Ok(true)
    }

    /// Sends a change's row to the error table; where the key changes, what the target has under the old one too.
    fn reject(&mut self, table: &PlannedTable, change: &RowChange, mark: &TxMark, rejection: Rejection) -> Result<(), TaskError> {
        let Some(ids) = row_ids(&table.source, change) else { return Err(rejection.stops_as) };
        let source = table.source.as_ref();
        let position = Some(mark.to_string());
        let filled: Row;
        let (operation, row) = match change {
            RowChange::Insert { new } => (RejectedOperation::Insert, new),
            RowChange::Delete { old } => (RejectedOperation::Delete, old),
            RowChange::Update { old: None, new } => (RejectedOperation::Update, new),
            RowChange::Update { old: Some(old), new } => {
                filled = new.filled_from(old);
                (RejectedOperation::Update, &filled)
            }
        };
        if let (RowChange::Update { old: Some(old), .. }, [_, _]) = (change, ids.as_slice()) {
            let gone = Rejected { table: source, operation: RejectedOperation::Delete, position: position.clone(), row: old };
            let same = rejection.copied();
            // The policy has its say about the row itself, below.
            let gone = self.row_errors.reject(&gone, same);
            let entry = self.row_errors.reject(&Rejected { table: source, operation, position, row }, rejection)?;
            self.error_log.reject(gone?);
            self.error_log.reject(entry);
            return Ok(());
        }
        let entry = self.row_errors.reject(&Rejected { table: source, operation, position, row }, rejection)?;
        self.error_log.reject(entry);
        Ok(())
    }
}

/// True when the new row is known to its last cell.
fn whole(old: Option<&Row>, new: &Row) -> bool {
    let is_known = |row: &Row| row.cells().all(|cell| cell.is_known());
    match old {
        Some(old) => is_known(&new.filled_from(old)),
        None => is_known(new),
    }
}

pub(crate) fn row_bytes(change: &RowChange) -> usize {
    match change {
        RowChange::Insert { new: row } | RowChange::Delete { old: row } => row.bytes_held(),
        RowChange::Update { old, new } => new.bytes_held() + old.as_ref().map_or(0, |old| old.bytes_held()),
    }
}

/// A change as it is before any module saw it: what tables without row-level rules use.
pub(crate) fn plain(change: RowChange) -> OrderedChange {
    let image = |row| tidegate_connector::Image::new(row, None);
    match change {
        RowChange::Insert { new } => OrderedChange::Insert(image(new)),
        RowChange::Delete { old } => OrderedChange::Delete(image(old)),
        RowChange::Update { old: None, new } => OrderedChange::Update { old: None, new: image(new) },
        RowChange::Update { old: Some(old), new } => {
            let new = new.filled_from(&old);
            OrderedChange::Update { old: Some(image(old)), new: image(new) }
        }
    }
}
