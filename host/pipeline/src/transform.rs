//! Sends row images through the modules that want them, and puts changes together again from what they keep.
//!
//! Modules judge images, not changes; an update is two images. What comes of a change:
//!
//! | before kept | after kept | the target gets |
//! |---|---|---|
//! | yes | yes | update |
//! | yes | no | delete: the row left the filter |
//! | no | yes | insert: the row entered the filter |
//! | no | no | nothing |
//! | unknown | yes | upsert by key |
//! | unknown | no | delete by key, if present |
//!
//! Where deletes are soft, a delete becomes an update to what the modules made of it, and whatever brings a row in may
//! find one there that was deleted before: it replaces it. Within a load's window a delete stays a delete, as if it had
//! come before the load.
//!
//! A row at fault (a module fails on it or refuses it) is told from the others; what becomes of it, the task's policy
//! decides. An old image at fault counts as unknown: the new one alone decides.
//!
//! Tables without row-level work never come here: their rows stay in the source's bytes. Guests that judge changes run on
//! blocking threads, apart from those that do I/O; those that judge rows of a load run on the thread of its lane, which another
//! one takes the place of when they take long.

use std::sync::Arc;

use tidegate_connector::{ColumnOrigin, Image, LoadBatch, OrderedChange, SourceTable, Strictness};
use tidegate_model::{BeforeImages, Cell, ImageKind, Row, RowBatch, RowChange};

use crate::guests::Guests;
use crate::header::ImageHeader;
use crate::images::{Judged, Sent, Unjudged, Verdict, not_logged};
use crate::instances::Instances;
use crate::modules::Modules;
use crate::neighbours::plain;
use crate::net::{is_complete, keeps_key};
use crate::plan::{InputOrigin, PlannedTable};
use crate::rejection::Rejection;
use crate::row_errors::RowErrors;
use crate::task::TaskError;
use crate::units::Units;

/// Changes that one instance works on at once. The contract allows 4,096 rows a batch, and an update may be two images.
const CHANGES_OF_INSTANCE: usize = 2_048;

/// What comes of a change.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are changes: a box for each would cost more than the room")]
pub(crate) enum Transformed {
    /// A change to apply, and whether it must be applied idempotently whatever the table's window says.
    Apply(OrderedChange, bool),
    /// The target has nothing of the row, before and after.
    Nothing,
    /// The row is at fault.
    Rejected(Box<Rejection>),
}

/// What comes of rows of the full load.
#[derive(Debug)]
pub(crate) struct SnapshotRows {
    /// The rows that stay.
    pub(crate) batch: LoadBatch,
    /// The rows at fault.
    pub(crate) rejected: Vec<(Row, Rejection)>,
}

/// A change of the log, and what a module may ask about it.
pub(crate) type Headed = (RowChange, ImageHeader);

/// One worker's modules. Sandboxes are made when they are first needed; changes are worked on by as many as there are units.
pub(crate) struct Transformer {
    instances: Instances,
}

impl Transformer {
    /// With one instance of each module.
    pub(crate) fn new(modules: Arc<Modules>, row_errors: Arc<RowErrors>) -> Self {
        Self::following(modules, row_errors, Units::fixed(1))
    }

    /// With an instance of each module for each unit.
    pub(crate) fn following(modules: Arc<Modules>, row_errors: Arc<RowErrors>, units: Units) -> Self {
        Self { instances: Instances::new(modules, row_errors, units) }
    }

    /// True when so many changes keep all instances busy: no more of them should wait to be transformed together.
    pub(crate) fn is_enough(&self, changes: usize) -> bool {
        changes >= CHANGES_OF_INSTANCE && changes >= CHANGES_OF_INSTANCE * self.instances.allowed()
    }

    /// What the modules make of a table; `None` when they leave it out.
    pub(crate) async fn plan(&mut self, source: Arc<SourceTable>) -> Result<Option<PlannedTable>, TaskError> {
        self.instances.with_first(move |guests| guests.plan(source)).await
    }

    /// What comes of rows of the full load. `read_at_us` is the time of the load that modules may ask for.
    pub(crate) async fn snapshot_rows(
        &mut self,
        table: &Arc<PlannedTable>,
        rows: RowBatch,
        read_at_us: i64,
    ) -> Result<SnapshotRows, TaskError> {
        if table.stages.is_empty() {
            return Ok(SnapshotRows { batch: rows.into(), rejected: Vec::new() });
        }
        let table = table.clone();
        let work = move |guests: &mut Guests| {
            let loaded = guests.judge_loaded(&table, rows, ImageHeader::Loaded { at_us: read_at_us })?;
            let rejected = loaded.rejected.into_iter().map(|(row, rejection)| (row, why(&table, rejection))).collect();
            Ok(SnapshotRows { batch: loaded.batch, rejected })
        };
        self.instances.with_first_here(work).await
    }

    /// What the target gets for each change, in the same order.
    pub(crate) async fn changes(
        &mut self,
        table: &Arc<PlannedTable>,
        strictness: Strictness,
        changes: Vec<Headed>,
    ) -> Result<Vec<Transformed>, TaskError> {
        if table.stages.is_empty() {
            return Ok(changes.into_iter().map(|(change, _)| Transformed::Apply(plain(change), false)).collect());
        }
        let (table, planned) = (table.clone(), table.clone());
        let ready = move |guests: &mut Guests| guests.make_ready(&planned);
        let work = move |guests: &mut Guests, changes: Vec<Headed>| {
            let sends = Sends::of(&table, strictness);
            let is_lacking = |change: &RowChange| lacks_what_modules_read(&table, change, sends);
            let judged = changes.iter().filter(|(change, _)| !is_lacking(change));
            let mut judged = guests.judge(&table, Sent::Changed(images(&table, judged, sends)))?;
            let composed = changes.into_iter().map(|(change, _)| match is_lacking(&change) {
                true => Ok(Transformed::Rejected(Box::new(why(&table, None)))),
                false => compose(&table, change, sends, &mut judged),
            });
            composed.map(|composed| Ok(softened(&table, composed?))).collect()
        };
        self.instances.in_pieces(changes, ready, work).await
    }
}

/// Which images the modules see beside the new ones.
#[derive(Debug, Clone, Copy)]
struct Sends {
    /// Old images matter to a filter, and to a key that modules compute; else they would only cost time.
    olds: bool,
    /// Deletes are updates.
    soft_deletes: bool,
}

impl Sends {
    fn of(table: &PlannedTable, strictness: Strictness) -> Self {
        let computed_key = has_computed_key(table);
        // A row that was deleted while its table was loaded may never have been in the target, and need not be.
        let soft_deletes = table.soft_deletes && strictness == Strictness::Strict;
        Self { olds: computed_key || table.stages.iter().any(|stage| stage.filters), soft_deletes }
    }

    fn deletes(self) -> bool {
        self.olds || self.soft_deletes
    }
}

/// True when rows cannot be found in the target without what modules compute.
pub(crate) fn has_computed_key(table: &PlannedTable) -> bool {
    table.target.identity.iter().any(|index| matches!(table.target.columns[*index].origin, ColumnOrigin::Computed(_)))
}

/// True when the log has a part of a row: of a source that promised whole ones, and whose sessions may decide otherwise.
fn is_partial(row: &Row) -> bool {
    row.cells().any(|cell| cell == Cell::Absent)
}

/// True for a change of which modules are to see values before it that the log lacks: what they would make of it cannot be known.
fn lacks_what_modules_read(table: &PlannedTable, change: &RowChange, sends: Sends) -> bool {
    let promised = table.source.schema.before_images == BeforeImages::Full && table.reads_before();
    match change {
        RowChange::Insert { .. } => false,
        RowChange::Update { old, .. } => promised && old.as_ref().is_some_and(is_partial),
        RowChange::Delete { old } => promised && sends.soft_deletes && is_partial(old),
    }
}

/// True for a row of a table without a key of which the log has a part: others may look the same, and one of them be in the target.
fn is_ambiguous(table: &PlannedTable, old: &Row) -> bool {
    table.source.schema.is_keyless() && is_partial(old)
}

/// An update without an old image did not change the identity. When the modules read nothing else, its old image
/// would be judged like the new one.
fn old_judged_as_new(table: &PlannedTable) -> bool {
    let identity = &table.source.schema.identity;
    table.stages.iter().flat_map(|stage| &stage.inputs).all(|input| match &input.origin {
        InputOrigin::Column(ColumnOrigin::Source(index)) => identity.contains(index),
        InputOrigin::Column(ColumnOrigin::Computed(_) | ColumnOrigin::Constant(_)) => true,
        InputOrigin::Before(_) | InputOrigin::Header(_) => false,
    })
}

/// The images that the modules judge, in the order in which [`compose`] takes their verdicts.
fn images<'a>(table: &PlannedTable, changes: impl Iterator<Item = &'a Headed>, sends: Sends) -> Vec<Unjudged> {
    let reads_before = table.reads_before();
    let mut images = Vec::with_capacity(changes.size_hint().1.unwrap_or_default() * 2);
    for (change, header) in changes {
        let image = |kind, row: &Row| Unjudged { kind, row: row.clone(), before: None, header: header.clone() };
        match change {
            RowChange::Insert { new } => images.push(image(header.kind_of_row(), new)),
            RowChange::Delete { old } if sends.deletes() => images.push(image(ImageKind::Delete, old)),
            RowChange::Delete { .. } => {}
            RowChange::Update { old, new } => {
                let new = old.as_ref().map_or_else(|| new.clone(), |old| new.filled_from(old));
                if let Some(old) = old.as_ref().filter(|_| sends.olds) {
                    images.push(image(ImageKind::UpdateBefore, old));
                }
                let before = old.clone().filter(|_| reads_before);
                images.push(Unjudged { before, ..image(ImageKind::UpdateAfter, &new) });
            }
        }
    }
    debug_assert!(!table.stages.is_empty());
    images
}

fn compose(
    table: &PlannedTable,
    change: RowChange,
    sends: Sends,
    judged: &mut impl Iterator<Item = Judged>,
) -> Result<Transformed, TaskError> {
    let mut next = || judged.next().ok_or_else(|| TaskError::Panicked("fewer verdicts than images".into()));
    match change {
        RowChange::Insert { .. } => {
            let Judged { verdict, image, rejection } = next()?;
            Ok(match verdict {
                Verdict::Kept => Transformed::Apply(OrderedChange::Insert(image), false),
                Verdict::Dropped => Transformed::Nothing,
                Verdict::Unknown | Verdict::Rejected => Transformed::Rejected(Box::new(why(table, rejection))),
            })
        }
        RowChange::Delete { old } if !sends.deletes() => Ok(Transformed::Apply(OrderedChange::Delete(Image::new(old, None)), false)),
        RowChange::Delete { .. } => {
            let old = next()?;
            Ok(match old.verdict {
                Verdict::Kept if sends.soft_deletes => {
                    let new = Image { is_deleted: true, ..old.image };
                    Transformed::Apply(OrderedChange::Update { old: None, new }, false)
                }
                Verdict::Kept => Transformed::Apply(OrderedChange::Delete(old.image), false),
                Verdict::Dropped => Transformed::Nothing,
                // What the row would hold from now on cannot be said.
                Verdict::Unknown | Verdict::Rejected if sends.soft_deletes => Transformed::Rejected(Box::new(why(table, old.rejection))),
                Verdict::Rejected if has_computed_key(table) => Transformed::Rejected(Box::new(why(table, old.rejection))),
                Verdict::Unknown if is_ambiguous(table, &old.image.row) => Transformed::Rejected(Box::new(why(table, None))),
                Verdict::Unknown | Verdict::Rejected => Transformed::Apply(OrderedChange::Delete(old.image), true),
            })
        }
        RowChange::Update { old, .. } => {
            let before = match &old {
                Some(_) if sends.olds => Some(next()?),
                Some(old) => {
                    let image = Image::new(old.clone(), None);
                    Some(Judged { verdict: Verdict::Kept, image, rejection: None })
                }
                None => None,
            };
            Ok(compose_update(table, before, next()?, sends.olds))
        }
    }
}

/// Where rows stay after their delete, a row may come to a key that one of those has.
fn softened(table: &PlannedTable, transformed: Transformed) -> Transformed {
    let Transformed::Apply(change, loose) = transformed else { return transformed };
    let takes_key = match &change {
        OrderedChange::Insert(_) => true,
        OrderedChange::Update { old: Some(old), new } => !keeps_key(&table.target, old, new),
        OrderedChange::Update { old: None, .. } | OrderedChange::Delete(_) => false,
    };
    Transformed::Apply(change, loose || (table.soft_deletes && takes_key))
}

fn compose_update(table: &PlannedTable, before: Option<Judged>, after: Judged, olds: bool) -> Transformed {
    use Verdict::{Dropped, Kept, Rejected, Unknown};
    let verdict_before = match &before {
        Some(before) => before.verdict,
        None if !olds => Kept,
        None if old_judged_as_new(table) => after.verdict,
        None => Unknown,
    };
    if matches!(after.verdict, Unknown | Rejected) {
        return Transformed::Rejected(Box::new(why(table, after.rejection)));
    }
    if verdict_before == Rejected && has_computed_key(table) {
        return Transformed::Rejected(Box::new(why(table, before.and_then(|before| before.rejection))));
    }
    let old = before.map(|before| before.image);
    if let Some(old) = old.as_ref().filter(|old| verdict_before == Unknown && is_partial(&old.row)) {
        // It may be a row that the target lacks, and the log does not tell all of it.
        let is_lost = after.verdict == Kept && !is_complete(&after.image);
        if is_lost || is_ambiguous(table, &old.row) {
            return Transformed::Rejected(Box::new(why(table, None)));
        }
    }
    match (verdict_before, after.verdict) {
        (Kept, Kept) => Transformed::Apply(OrderedChange::Update { old, new: after.image }, false),
        (Unknown | Rejected, Kept) => Transformed::Apply(OrderedChange::Update { old, new: after.image }, true),
        (Kept, _) => Transformed::Apply(OrderedChange::Delete(old.unwrap_or(after.image)), false),
        (Unknown | Rejected, _) => Transformed::Apply(OrderedChange::Delete(old.unwrap_or(after.image)), true),
        (Dropped, Kept) if is_complete(&after.image) => Transformed::Apply(OrderedChange::Insert(after.image), false),
        (Dropped, Kept) => Transformed::Rejected(Box::new(why(table, None))),
        (Dropped, _) => Transformed::Nothing,
    }
}

/// What is wrong with a row; a verdict without a reason means that the log lacks a value.
fn why(table: &PlannedTable, rejection: Option<Box<Rejection>>) -> Rejection {
    rejection.map_or_else(|| Rejection::by_host(not_logged(table)), |rejection| *rejection)
}
