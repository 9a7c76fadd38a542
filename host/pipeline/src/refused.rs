//! Tells rows that the target refuses from the others, by asking it: steps are tried in transactions that are rolled
//! back, until the rows at fault are known.
//!
//! Only errors that concern a row alone count (a value out of range, a check constraint): of what has to do with other
//! rows, a part of a batch says nothing about the whole. Deletes are not in question, and stay where they are.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tidegate_connector::{
    ConnectorError, Group, Image, Lane, LoadBatch, NetChange, OrderedChange, RejectedOperation, RowFault, RowId, Step, Strictness,
    TargetTable,
};
use tidegate_model::{Row, TableName};

use crate::halving::Halving;
use crate::rejection::{Rejection, row_id};
use crate::row_errors::{Rejected, RowErrors};
use crate::task::TaskError;

/// Rounds of finding rows and trying again: each finds every row at fault for its first reason.
pub(crate) const ROUNDS_MAX: usize = 8;

/// Rows of one step of a chunk that is taken apart.
const ROWS_MAX: usize = 4_096;

/// True when rows that the target refuses so are to be found.
pub(crate) fn is_findable(row_errors: &RowErrors, error: &TaskError) -> Option<RowFault> {
    let TaskError::Connector(error) = error else { return None };
    error.row_fault().filter(|fault| row_errors.isolates(*fault))
}

/// Takes the rows out of the group that the target refuses; they go to the error table with it. `error` is what the
/// group failed with. Answers the rows.
///
/// # Errors
/// `error` itself when no row is at fault alone, and what the task's policy makes of the rows found.
pub(crate) async fn take_out(
    lane: &mut dyn Lane,
    group: &mut Group,
    error: ConnectorError,
    row_errors: &RowErrors,
) -> Result<Vec<(TableName, RowId)>, TaskError> {
    let Some(at_fault) = error.table_name().cloned() else { return Err(error.into()) };
    let mut before = Vec::new();
    let mut found = Vec::new();
    for step in &mut group.steps {
        let is_concerned = match &*step {
            Step::Net { table, .. } | Step::Ordered { table, .. } => table.source.schema.name == at_fault,
            Step::Truncate { tables } => tables.iter().any(|table| table.source.schema.name == at_fault),
        };
        if !is_concerned {
            continue;
        }
        match step {
            Step::Net { table, strictness, changes } => {
                let (rest, refused) = of_net(lane, &before, table, *strictness, std::mem::take(changes)).await?;
                *changes = rest;
                for (change, error) in refused {
                    let (operation, image) = match change {
                        NetChange::Insert(image) => (RejectedOperation::Insert, image),
                        NetChange::Update(image) | NetChange::Replace(image) => (RejectedOperation::Update, image),
                        NetChange::Delete(image) => (RejectedOperation::Delete, image),
                    };
                    found.push(Refused::of(table, operation, image, error, row_errors));
                }
            }
            Step::Ordered { table, strictness, changes } => {
                let (rest, refused) = of_ordered(lane, &before, table, *strictness, std::mem::take(changes)).await?;
                *changes = rest;
                for (change, error) in refused {
                    let (operation, image) = match change {
                        OrderedChange::Insert(image) => (RejectedOperation::Insert, image),
                        OrderedChange::Update { old, new } => {
                            if let Some(old) = old.filter(|old| row_id(&table.source, &old.row) != row_id(&table.source, &new.row)) {
                                found.push(Refused {
                                    table: table.clone(),
                                    operation: RejectedOperation::Delete,
                                    row: old.row,
                                    error: copy_of(&error),
                                    statement: None,
                                });
                            }
                            (RejectedOperation::Update, new)
                        }
                        OrderedChange::Delete(image) => (RejectedOperation::Delete, image),
                    };
                    found.push(Refused::of(table, operation, image, error, row_errors));
                }
            }
            Step::Truncate { .. } => {}
        }
        before.push(step.clone());
    }
    if found.is_empty() {
        return Err(error.into());
    }
    enter(group, found, row_errors)
}

/// A change that the target did not take.
pub(crate) struct Refused {
    pub(crate) table: Arc<TargetTable>,
    pub(crate) operation: RejectedOperation,
    pub(crate) row: Row,
    pub(crate) error: ConnectorError,
    /// What the target was asked, for people.
    pub(crate) statement: Option<String>,
}

impl Refused {
    /// What the target was to do with the image. A delete that would have stayed in the target is filed as what it was, so that
    /// modules see it as that in a replay.
    pub(crate) fn of(
        table: &Arc<TargetTable>,
        asked: RejectedOperation,
        image: Image,
        error: ConnectorError,
        row_errors: &RowErrors,
    ) -> Self {
        let statement = row_errors.statement(table, asked, &image);
        let operation = if image.is_deleted { RejectedOperation::Delete } else { asked };
        Self { table: table.clone(), operation, row: image.row, error, statement }
    }
}

/// Decides about rows of the group, which goes to the error table with them. Answers them.
///
/// # Errors
/// What the task's policy makes of them.
pub(crate) fn enter(group: &mut Group, found: Vec<Refused>, row_errors: &RowErrors) -> Result<Vec<(TableName, RowId)>, TaskError> {
    let position = Some(group.to.to_string());
    let mut ids = Vec::new();
    for Refused { table, operation, row, error, statement } in found {
        let source = table.source.as_ref();
        let fault = error.row_fault().unwrap_or(RowFault::Value);
        let rejected = Rejected { table: source, operation, position: position.clone(), row: &row };
        let entry = row_errors.reject(&rejected, Rejection::by_target(fault, error).of_statement(statement))?;
        group.rejected.retain(|other| other.table != entry.table || other.row_id != entry.row_id);
        // An entry that stays keeps its number, or a replay would meet it again and again.
        group.resolved.retain(|other| other.table != entry.table || other.row_id != Some(entry.row_id));
        ids.push((entry.table.clone(), entry.row_id));
        group.rejected.push(entry);
    }
    Ok(ids)
}

/// The rows of a load that the target refuses, with its reasons.
///
/// # Errors
/// What else went wrong.
pub(crate) async fn of_load(
    lane: &mut dyn Lane,
    table: &Arc<TargetTable>,
    batch: &LoadBatch,
    into: &mut HashMap<RowId, ConnectorError>,
) -> Result<(), TaskError> {
    let mut images = batch.images().peekable();
    while images.peek().is_some() {
        let changes: Vec<NetChange> = images.by_ref().take(ROWS_MAX).map(NetChange::Insert).collect();
        let step = Step::Net { table: table.clone(), strictness: Strictness::Idempotent, changes };
        let error = match lane.probe(std::slice::from_ref(&step)).await {
            Ok(()) => continue,
            Err(error) if error.row_fault().is_some() => error,
            Err(error) => return Err(error.into()),
        };
        let Step::Net { strictness, changes, .. } = step else { return Err(error.into()) };
        let (_, refused) = of_net(lane, &[], table, strictness, changes).await?;
        for (change, error) in refused {
            if let NetChange::Insert(image) = change
                && let Some(id) = row_id(&table.source, &image.row)
            {
                into.insert(id, error);
            }
        }
    }
    Ok(())
}

type Sorted<T> = (Vec<T>, Vec<(T, ConnectorError)>);

/// Sorts changes of one step that is known to fail, or may be.
async fn of_net(
    lane: &mut dyn Lane,
    before: &[Step],
    table: &Arc<TargetTable>,
    strictness: Strictness,
    changes: Vec<NetChange>,
) -> Result<Sorted<NetChange>, TaskError> {
    let (mut rest, candidates): (Vec<_>, Vec<_>) = changes.into_iter().partition(|change| matches!(change, NetChange::Delete(_)));
    let mut refused: HashMap<usize, ConnectorError> = HashMap::new();
    let mut halving = Halving::default();
    let mut range = 0..candidates.len();
    loop {
        let changes = rest.iter().chain(&candidates[range.clone()]).cloned().collect();
        let mut steps = before.to_vec();
        steps.push(Step::Net { table: table.clone(), strictness, changes });
        match lane.probe(&steps).await {
            Ok(()) => {}
            Err(error) if error.row_fault().is_none() => return Err(error.into()),
            Err(error) => {
                if !halving.split(range.clone()) {
                    refused.insert(range.start, error);
                }
            }
        }
        match halving.next() {
            Some(next) => range = next,
            None => break,
        }
    }
    let mut out = Vec::new();
    for (index, change) in candidates.into_iter().enumerate() {
        match refused.remove(&index) {
            Some(error) => out.push((change, error)),
            None => rest.push(change),
        }
    }
    Ok((rest, out))
}

/// Likewise for changes whose order counts: finds the first that fails after those before it, leaves it out, and goes on.
async fn of_ordered(
    lane: &mut dyn Lane,
    before: &[Step],
    table: &Arc<TargetTable>,
    strictness: Strictness,
    mut changes: Vec<OrderedChange>,
) -> Result<Sorted<OrderedChange>, TaskError> {
    let mut refused = Vec::new();
    let mut good = 0;
    while let Some(mut error) = failure_of(lane, before, table, strictness, &changes).await? {
        // Invariant: the first `good` changes pass, the first `bad` ones do not.
        let mut bad = changes.len();
        while bad - good > 1 {
            let middle = good + (bad - good) / 2;
            match failure_of(lane, before, table, strictness, &changes[..middle]).await? {
                Some(earlier) => (bad, error) = (middle, earlier),
                None => good = middle,
            }
        }
        refused.push((changes.remove(bad - 1), error));
    }
    Ok((changes, refused))
}

async fn failure_of(
    lane: &mut dyn Lane,
    before: &[Step],
    table: &Arc<TargetTable>,
    strictness: Strictness,
    changes: &[OrderedChange],
) -> Result<Option<ConnectorError>, TaskError> {
    let mut steps = before.to_vec();
    steps.push(Step::Ordered { table: table.clone(), strictness, changes: changes.to_vec() });
    match lane.probe(&steps).await {
        Ok(()) => Ok(None),
        Err(error) if error.row_fault().is_some() => Ok(Some(error)),
        Err(error) => Err(error.into()),
    }
}

fn copy_of(error: &ConnectorError) -> ConnectorError {
    let copy = ConnectorError::new(error.class(), error.code(), error.chain());
    match error.row_fault() {
        Some(fault) => copy.of_a_row(fault),
        None => copy,
    }
}

/// The fault of a row that the target refused with this error.
pub(crate) fn rejection(error: &ConnectorError) -> Rejection {
    Rejection::by_target(error.row_fault().unwrap_or(RowFault::Value), copy_of(error))
}

/// True when a change of the steps concerns one of the rows.
pub(crate) fn touches(steps: &[Step], rows: &HashSet<(TableName, RowId)>) -> bool {
    let is_one =
        |table: &TargetTable, row: &Row| row_id(&table.source, row).is_none_or(|id| rows.contains(&(table.source.schema.name.clone(), id)));
    steps.iter().any(|step| match step {
        Step::Net { table, changes, .. } => {
            has_one(table, rows)
                && changes.iter().any(|change| match change {
                    NetChange::Insert(image) | NetChange::Update(image) | NetChange::Delete(image) | NetChange::Replace(image) => {
                        is_one(table, &image.row)
                    }
                })
        }
        Step::Ordered { table, changes, .. } => {
            has_one(table, rows)
                && changes.iter().any(|change| match change {
                    OrderedChange::Insert(image) | OrderedChange::Delete(image) => is_one(table, &image.row),
                    OrderedChange::Update { old, new } => {
                        is_one(table, &new.row) || old.as_ref().is_some_and(|old| is_one(table, &old.row))
                    }
                })
        }
        Step::Truncate { .. } => false,
    })
}

fn has_one(table: &TargetTable, rows: &HashSet<(TableName, RowId)>) -> bool {
    rows.iter().any(|(name, _)| *name == table.source.schema.name)
}
