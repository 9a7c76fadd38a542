//! Changes that do not find in the target what the source had, for tasks that go on without them: an insert whose row is there already, an
//! update whose row is not. Deletes are another matter ([`crate::missing_deletes`]).
//!
//! A group is tried as it is first, which costs nothing while the target is what the source had. When it is not, the target is asked which
//! rows of the group it has, and the group is gone through with them, change by change. So nothing is tried in parts, of which a part may
//! miss what another one brings: values of other unique keys that clash stay an error of the table.
//!
//! What is left out goes to the error table. A later change that tells the whole row brings the target level.

use std::collections::HashMap;
use std::sync::Arc;

use tidegate_connector::{
    ConnectorError, Group, Image, Lane, NetChange, OrderedChange, RejectedOperation, RowFault, RowId, Step, Strictness, TargetTable,
};
use tidegate_model::TableName;

use crate::net::{is_complete, key};
use crate::policy::ConflictAction;
use crate::refused::{self, Refused};
use crate::rejection::row_id;
use crate::row_errors::RowErrors;
use crate::table_errors::CONFLICT;
use crate::task::TaskError;

/// Takes out of the group, or changes, what of a table is in conflict. Answers the rows that were taken out; `None` when no change is, or
/// one whose policy is to stop.
///
/// # Errors
/// What the target says, and what the policy makes of the rows found.
pub(crate) async fn settle(
    lane: &mut dyn Lane,
    group: &mut Group,
    name: &TableName,
    row_errors: &RowErrors,
) -> Result<Option<Vec<(TableName, RowId)>>, TaskError> {
    let Some(table) = table_of(&group.steps, name) else { return Ok(None) };
    let mut walk = Walk { present: present(lane, &table, &group.steps).await?, table, row_errors, refused: Vec::new(), is_settled: false };
    let Some(steps) = group.steps.iter().map(|step| walk.step(step)).collect::<Option<Vec<Step>>>() else { return Ok(None) };
    if !walk.is_settled {
        return Ok(None);
    }
    group.steps = steps;
    refused::enter(group, walk.refused, row_errors).map(Some)
}

/// The table, where all steps that concern it know it in one form, and by a key.
fn table_of(steps: &[Step], name: &TableName) -> Option<Arc<TargetTable>> {
    let mut tables = steps.iter().filter_map(|step| match step {
        Step::Net { table, .. } | Step::Ordered { table, .. } => Some(table).filter(|table| table.source.schema.name == *name),
        Step::Truncate { .. } => None,
    });
    let first = tables.next().filter(|table| !table.identity.is_empty() && !table.source.schema.primary_key.is_empty())?;
    tables.all(|other| Arc::ptr_eq(other, first)).then(|| first.clone())
}

/// Which rows of the steps the target has before them, by their keys.
async fn present(lane: &mut dyn Lane, table: &Arc<TargetTable>, steps: &[Step]) -> Result<HashMap<Box<[u8]>, bool>, ConnectorError> {
    let mut images: Vec<Image> = Vec::new();
    for step in steps {
        match step {
            Step::Net { table: of, changes, .. } if Arc::ptr_eq(of, table) => images.extend(changes.iter().map(|change| match change {
                NetChange::Insert(image) | NetChange::Update(image) | NetChange::Delete(image) | NetChange::Replace(image) => image.clone(),
            })),
            Step::Ordered { table: of, changes, .. } if Arc::ptr_eq(of, table) => {
                for change in changes {
                    match change {
                        OrderedChange::Insert(image) | OrderedChange::Delete(image) => images.push(image.clone()),
                        OrderedChange::Update { old, new } => images.extend(old.iter().chain([new]).cloned()),
                    }
                }
            }
            Step::Net { .. } | Step::Ordered { .. } | Step::Truncate { .. } => {}
        }
    }
    // Each key once: a row is asked for by its key.
    let mut places = HashMap::new();
    images.retain(|image| {
        let next = places.len();
        key(table, image).is_some_and(|key| match places.entry(key) {
            std::collections::hash_map::Entry::Occupied(_) => false,
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(next);
                true
            }
        })
    });
    let missing = lane.missing(&[], table, &images).await?;
    let mut is_there = vec![true; images.len()];
    missing.into_iter().for_each(|place| is_there[place] = false);
    Ok(places.into_iter().map(|(key, place)| (key, is_there[place])).collect())
}

/// Goes through the steps as the target would.
struct Walk<'a> {
    table: Arc<TargetTable>,
    row_errors: &'a RowErrors,
    present: HashMap<Box<[u8]>, bool>,
    refused: Vec<Refused>,
    is_settled: bool,
}

/// What becomes of a change.
enum Verdict {
    Stays,
    /// It is made to hold.
    Forced,
    LeftOut,
}

impl Walk<'_> {
    /// What stays of a step; `None` for a conflict that stops the task.
    fn step(&mut self, step: &Step) -> Option<Step> {
        match step {
            Step::Net { table, strictness, changes } if Arc::ptr_eq(table, &self.table) => {
                let mut kept = Vec::with_capacity(changes.len());
                for change in changes {
                    kept.extend(self.net(change, *strictness)?);
                }
                Some(Step::Net { table: table.clone(), strictness: *strictness, changes: kept })
            }
            Step::Ordered { table, strictness, changes } if Arc::ptr_eq(table, &self.table) => {
                let mut kept = Vec::with_capacity(changes.len());
                for change in changes {
                    self.ordered(change, *strictness, &mut kept)?;
                }
                Some(Step::Ordered { table: table.clone(), strictness: *strictness, changes: kept })
            }
            Step::Truncate { tables } => {
                if tables.iter().any(|table| table.source.schema.name == self.table.source.schema.name) {
                    self.present.values_mut().for_each(|is_there| *is_there = false);
                }
                Some(step.clone())
            }
            Step::Net { .. } | Step::Ordered { .. } => Some(step.clone()),
        }
    }

    fn net(&mut self, change: &NetChange, strictness: Strictness) -> Option<Option<NetChange>> {
        let is_strict = strictness == Strictness::Strict;
        Some(match change {
            NetChange::Insert(image) => match self.arrives(image, is_strict)? {
                Verdict::Stays => Some(change.clone()),
                Verdict::Forced => Some(NetChange::Replace(image.clone())),
                Verdict::LeftOut => None,
            },
            NetChange::Update(image) | NetChange::Replace(image) => match self.changes(None, image, is_strict)? {
                Verdict::Stays => Some(change.clone()),
                Verdict::Forced => Some(NetChange::Insert(image.clone())),
                Verdict::LeftOut => None,
            },
            NetChange::Delete(image) => {
                self.set(image, false);
                Some(change.clone())
            }
        })
    }

    fn ordered(&mut self, change: &OrderedChange, strictness: Strictness, kept: &mut Vec<OrderedChange>) -> Option<()> {
        let is_strict = strictness == Strictness::Strict;
        match change {
            OrderedChange::Insert(image) => match self.arrives(image, is_strict)? {
                Verdict::Stays => kept.push(change.clone()),
                Verdict::Forced => kept.push(OrderedChange::Update { old: None, new: image.clone() }),
                Verdict::LeftOut => {}
            },
            OrderedChange::Update { old, new } => {
                let (came_from, came_to) = (old.as_ref().is_some_and(|old| self.has(old)), self.has(new));
                match self.changes(old.as_ref(), new, is_strict)? {
                    Verdict::Stays => kept.push(change.clone()),
                    Verdict::Forced if came_to => {
                        // The row that it comes to is in its way, or what it becomes.
                        kept.extend(old.clone().filter(|old| came_from && self.is_another(old, new)).map(OrderedChange::Delete));
                        kept.push(OrderedChange::Update { old: None, new: new.clone() });
                    }
                    Verdict::Forced => kept.push(OrderedChange::Insert(new.clone())),
                    Verdict::LeftOut => {}
                }
            }
            OrderedChange::Delete(image) => {
                self.set(image, false);
                kept.push(change.clone());
            }
        }
        Some(())
    }

    /// An insert.
    fn arrives(&mut self, image: &Image, is_strict: bool) -> Option<Verdict> {
        if !is_strict || !self.has(image) {
            self.set(image, true);
            return Some(Verdict::Stays);
        }
        self.judge(RejectedOperation::Insert, None, image)
    }

    /// An update, of a row with this old image or with the key of the new one.
    fn changes(&mut self, old: Option<&Image>, new: &Image, is_strict: bool) -> Option<Verdict> {
        let moves = old.filter(|old| self.is_another(old, new));
        let is_clear = self.has(old.unwrap_or(new)) && !(moves.is_some() && self.has(new));
        if !is_strict || is_clear {
            if let Some(old) = moves {
                self.set(old, false);
            }
            self.set(new, true);
            return Some(Verdict::Stays);
        }
        self.judge(RejectedOperation::Update, moves, new)
    }

    /// What the policy is for a change in conflict; `old` is the row that it moves away from.
    fn judge(&mut self, operation: RejectedOperation, old: Option<&Image>, new: &Image) -> Option<Verdict> {
        let verdict = match self.row_errors.on_conflict(operation) {
            ConflictAction::Stop => return None,
            ConflictAction::Upsert if !is_complete(new) => return None,
            ConflictAction::Upsert => {
                if let Some(old) = old {
                    self.set(old, false);
                }
                self.set(new, true);
                Verdict::Forced
            }
            ConflictAction::Log | ConflictAction::Ignore => {
                if let Some(old) = old.filter(|old| self.has(old)) {
                    self.leave_out(RejectedOperation::Delete, old);
                }
                self.leave_out(operation, new);
                Verdict::LeftOut
            }
        };
        self.is_settled = true;
        Some(verdict)
    }

    fn leave_out(&mut self, operation: RejectedOperation, image: &Image) {
        let of = &self.table.source.schema.name;
        let found = match operation {
            RejectedOperation::Load | RejectedOperation::Insert => "has the row of an insert already",
            RejectedOperation::Update if image.is_deleted => "has not the row of a delete that is to stay there",
            RejectedOperation::Update => "has not the row of an update, or the one that it becomes already",
            RejectedOperation::Delete => "keeps a row whose key an update changed",
        };
        let error = ConnectorError::table(of, CONFLICT, format!("table \"{}\" of the target: {found}", self.table.name));
        let error = error.of_a_row(RowFault::Conflict);
        self.refused.push(Refused::of(&self.table, operation, image.clone(), error, self.row_errors));
    }

    fn has(&self, image: &Image) -> bool {
        key(&self.table, image).is_some_and(|key| self.present.get(&key).copied().unwrap_or(false))
    }

    fn set(&mut self, image: &Image, is_there: bool) {
        if let Some(key) = key(&self.table, image) {
            self.present.insert(key, is_there);
        }
    }

    fn is_another(&self, old: &Image, new: &Image) -> bool {
        row_id(&self.table.source, &old.row) != row_id(&self.table.source, &new.row) || key(&self.table, old) != key(&self.table, new)
    }
}
