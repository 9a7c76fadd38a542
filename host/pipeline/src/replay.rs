//! Replays rejected rows from their stored images, after a module or a rule was corrected.
//!
//! What an entry of the error table stores is the newest state of its row: every later change of the row either replaced
//! the entry or settled it. So the image can be put through the present modules and applied, idempotently, at the
//! checkpoint where the stream rests, in one transaction with the end of the entry. Keyless tables, images that are not
//! whole, and tables whose description has changed since need a reload of the table instead.

use std::sync::Arc;

use tidegate_connector::{
    CUT, Group, Image, NetChange, OrderedChange, RejectedOperation, RejectedRow, Resolved, Step, StoredRejection, Strictness, Target,
};
use tidegate_model::{RowChange, TableName, TaskId};

use crate::apply::Stream;
use crate::assemble::Assembler;
use crate::board::now_us;
use crate::header::ImageHeader;
use crate::net::is_complete;
use crate::plan::PlannedTable;
use crate::rejection::stored_row;
use crate::row_errors::Rejected;
use crate::task::TaskError;
use crate::transform::{Transformed, has_computed_key};

/// Entries that are replayed in one transaction.
const PAGE_ROWS: u32 = 500;

/// What came of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReplayReport {
    /// Rows that are in the target now, or rightly gone from it.
    pub replayed: u64,
    /// Rows that were rejected again.
    pub rejected: u64,
    /// Rows that cannot be replayed: their tables must be loaded again.
    pub left: u64,
}

/// Replays the entries of these tables; of every table when none is named. The stream must rest.
///
/// # Errors
/// Of the target; what was replayed until then stays so.
pub(crate) async fn replay(
    task: &TaskId,
    tables: &[TableName],
    target: &dyn Target,
    stream: &mut Stream,
    assembler: &mut Assembler,
) -> Result<ReplayReport, TaskError> {
    let mut report = ReplayReport::default();
    let mut after = 0;
    loop {
        let page = target.rejected_rows(task, after, PAGE_ROWS).await?;
        let Some(last) = page.last() else { break };
        after = last.number;
        let wanted = page.into_iter().filter(|entry| tables.is_empty() || tables.contains(&entry.row.table));
        let mut by_table: Vec<(TableName, Vec<StoredRejection>)> = Vec::new();
        for entry in wanted {
            match by_table.iter_mut().find(|(table, _)| *table == entry.row.table) {
                Some((_, entries)) => entries.push(entry),
                None => by_table.push((entry.row.table.clone(), vec![entry])),
            }
        }
        for (table, entries) in by_table {
            replay_table(&table, entries, stream, assembler, &mut report).await?;
        }
    }
    // The stream rests, so nothing was made ahead of what is known now.
    stream.refused.clear();
    Ok(report)
}

async fn replay_table(
    name: &TableName,
    entries: Vec<StoredRejection>,
    stream: &mut Stream,
    assembler: &mut Assembler,
    report: &mut ReplayReport,
) -> Result<(), TaskError> {
    let Some(planned) = assembler.tables.planned(name).filter(|planned| !planned.target.identity.is_empty()) else {
        report.left += entries.len() as u64;
        return Ok(());
    };
    let at_us = now_us();
    let (mut changes, mut resolved, mut cut) = (Vec::new(), Vec::new(), Vec::new());
    for entry in entries {
        // What was cut is no row at fault.
        if entry.row.code == CUT {
            continue;
        }
        let Some(change) = change_of(&planned, &entry) else {
            report.left += 1;
            continue;
        };
        // Its characters were replaced before it was kept.
        let (change, oversize) = planned.large.change(change);
        match (oversize, &change) {
            (Some(oversize), _) if !oversize.is_cut => {
                report.rejected += 1;
                continue;
            }
            (Some(oversize), RowChange::Insert { new }) => {
                let rejected = Rejected { table: &planned.source, operation: entry.row.operation, position: entry.row.position, row: new };
                cut.extend(assembler.row_errors.cut(&rejected, &oversize)?);
            }
            _ => {}
        }
        changes.push((change, ImageHeader::replayed(entry.row.operation, at_us)));
        resolved.push(Resolved { table: name.clone(), row_id: Some(entry.row.row_id) });
    }
    let rows: Vec<RowChange> = changes.iter().map(|(change, _)| change.clone()).collect();
    let mut net = Vec::new();
    let mut settled = Vec::new();
    // As in the stream, where a delete that stays was rejected: within a load's window none is kept.
    let transformed = assembler.transformer.changes(&planned, Strictness::Strict, changes).await?;
    for ((outcome, change), entry) in transformed.into_iter().zip(rows).zip(resolved) {
        match outcome {
            Transformed::Apply(OrderedChange::Insert(image), _) => net.push(NetChange::Replace(image)),
            // A delete that stays in the target. Where the log had its key alone, nobody knows the row that would stay.
            Transformed::Apply(OrderedChange::Update { new, .. }, _) if is_complete(&new) => net.push(NetChange::Replace(new)),
            Transformed::Apply(OrderedChange::Update { new, .. }, _) => net.push(NetChange::Delete(new)),
            Transformed::Apply(OrderedChange::Delete(image), _) => net.push(NetChange::Delete(image)),
            Transformed::Nothing if !has_computed_key(&planned) => {
                let (RowChange::Insert { new: row } | RowChange::Delete { old: row } | RowChange::Update { new: row, .. }) = change;
                net.push(NetChange::Delete(Image::new(row, None)));
            }
            Transformed::Nothing => {
                report.left += 1;
                continue;
            }
            Transformed::Rejected(_) => {
                report.rejected += 1;
                continue;
            }
        }
        settled.push(entry);
    }
    if settled.is_empty() {
        return Ok(());
    }
    let at = assembler.sent().clone();
    let step = Step::Net { table: planned.target.clone(), strictness: Strictness::Idempotent, changes: net };
    // A row that is rejected again keeps the entry that it has.
    cut.retain(|entry| settled.iter().any(|other| other.row_id == Some(entry.row_id)));
    let cut_ids: Vec<_> = cut.iter().map(|entry| entry.row_id).collect();
    let mut group = Group { resolved: settled, rejected: cut, ..Group::new(at.clone(), at, vec![step]) };
    stream.whole(&mut group).await?;
    let is_again = |row: &RejectedRow| row.code != CUT || !cut_ids.contains(&row.row_id);
    let again = |entry: &Resolved| group.rejected.iter().any(|row| Some(row.row_id) == entry.row_id && is_again(row));
    let ids: Vec<_> = group.resolved.iter().filter(|entry| !again(entry)).filter_map(|entry| entry.row_id).collect();
    report.replayed += ids.len() as u64;
    report.rejected += group.rejected.iter().filter(|row| is_again(row)).count() as u64;
    assembler.row_errors.resolved(name, &ids);
    Ok(())
}

/// What brings the target level about an entry's row; `None` when the entry does not tell.
fn change_of(planned: &Arc<PlannedTable>, entry: &StoredRejection) -> Option<RowChange> {
    let row = stored_row(&planned.source, entry.row.stored.as_deref()?)?;
    Some(match entry.row.operation {
        RejectedOperation::Load | RejectedOperation::Insert | RejectedOperation::Update => RowChange::Insert { new: row },
        RejectedOperation::Delete => RowChange::Delete { old: row },
    })
}
