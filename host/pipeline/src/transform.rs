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
//! Tables without row-level work never come here: their rows stay in the source's bytes. Guests run on blocking
//! threads, apart from those that do I/O.

use std::sync::Arc;

use tidegate_connector::{ColumnOrigin, Image, OrderedChange, SourceTable};
use tidegate_model::{ImageKind, Row, RowChange};

use crate::assemble::plain;
use crate::guests::{Guests, Judged, Verdict};
use crate::modules::Modules;
use crate::net::is_complete;
use crate::plan::PlannedTable;
use crate::task::TaskError;

/// A change to apply, and whether it must be applied idempotently whatever the table's window says.
pub(crate) type Transformed = (OrderedChange, bool);

/// One worker's modules. Sandboxes are made when they are first needed.
pub(crate) struct Transformer {
    modules: Arc<Modules>,
    guests: Option<Box<Guests>>,
}

impl Transformer {
    pub(crate) fn new(modules: Arc<Modules>) -> Self {
        Self { modules, guests: None }
    }

    /// What the modules make of a table; `None` when they leave it out.
    pub(crate) async fn plan(&mut self, source: Arc<SourceTable>) -> Result<Option<PlannedTable>, TaskError> {
        self.with_guests(move |guests| guests.plan(source)).await
    }

    /// The images of rows of the full load that stay.
    pub(crate) async fn snapshot_rows(&mut self, table: &Arc<PlannedTable>, rows: Vec<Row>) -> Result<Vec<Image>, TaskError> {
        if table.stages.is_empty() {
            return Ok(rows.into_iter().map(|row| Image { row, computed: None }).collect());
        }
        let table = table.clone();
        self.with_guests(move |guests| {
            let judged = guests.judge(&table, rows.into_iter().map(|row| (ImageKind::Snapshot, row)).collect())?;
            judged.into_iter().filter_map(|judged| kept_or_unknown(&table, judged).transpose()).collect()
        })
        .await
    }

    /// What the target gets for each change, in the same order; `None` for nothing.
    pub(crate) async fn changes(
        &mut self,
        table: &Arc<PlannedTable>,
        changes: Vec<RowChange>,
    ) -> Result<Vec<Option<Transformed>>, TaskError> {
        if table.stages.is_empty() {
            return Ok(changes.into_iter().map(|change| Some((plain(change), false))).collect());
        }
        let table = table.clone();
        self.with_guests(move |guests| {
            let olds = sends_old_images(&table);
            let mut judged = guests.judge(&table, images(&table, &changes, olds))?.into_iter();
            changes.into_iter().map(|change| compose(&table, change, olds, &mut judged)).collect()
        })
        .await
    }

    /// Runs `work` with the guests on a blocking thread. When the future is dropped meanwhile, the work ends by
    /// itself, within the guests' time limits, and its guests are dropped.
    async fn with_guests<R: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Guests) -> Result<R, TaskError> + Send + 'static,
    ) -> Result<R, TaskError> {
        let mut guests = self.guests.take().unwrap_or_else(|| Box::new(Guests::new(self.modules.clone())));
        let (guests, result) = tokio::task::spawn_blocking(move || {
            let result = work(&mut guests);
            (guests, result)
        })
        .await
        .map_err(|error| TaskError::Panicked(error.to_string()))?;
        self.guests = Some(guests);
        result
    }
}

/// Old images matter to a filter, and to a key that modules compute; else they would only cost time.
fn sends_old_images(table: &PlannedTable) -> bool {
    let computed_key = table.target.identity.iter().any(|index| matches!(table.target.columns[*index].origin, ColumnOrigin::Computed(_)));
    computed_key || table.stages.iter().any(|stage| stage.filters)
}

/// An update without an old image did not change the identity. When the modules read nothing else, its old image
/// would be judged like the new one.
fn old_judged_as_new(table: &PlannedTable) -> bool {
    let identity = &table.source.schema.identity;
    table.stages.iter().flat_map(|stage| &stage.inputs).all(|input| match &input.origin {
        ColumnOrigin::Source(index) => identity.contains(index),
        ColumnOrigin::Computed(_) | ColumnOrigin::Constant(_) => true,
    })
}

/// The images that the modules judge, in the order in which [`compose`] takes their verdicts.
fn images(table: &PlannedTable, changes: &[RowChange], olds: bool) -> Vec<(ImageKind, Row)> {
    let mut images = Vec::with_capacity(changes.len() * 2);
    for change in changes {
        match change {
            RowChange::Insert { new } => images.push((ImageKind::Insert, new.clone())),
            RowChange::Delete { old } if olds => images.push((ImageKind::Delete, old.clone())),
            RowChange::Delete { .. } => {}
            RowChange::Update { old, new } => {
                let new = old.as_ref().map_or_else(|| new.clone(), |old| new.filled_from(old));
                if let Some(old) = old.as_ref().filter(|_| olds) {
                    images.push((ImageKind::UpdateBefore, old.clone()));
                }
                images.push((ImageKind::UpdateAfter, new));
            }
        }
    }
    debug_assert!(!table.stages.is_empty());
    images
}

fn compose(
    table: &PlannedTable,
    change: RowChange,
    olds: bool,
    judged: &mut impl Iterator<Item = Judged>,
) -> Result<Option<Transformed>, TaskError> {
    let mut next = || judged.next().ok_or_else(|| TaskError::Panicked("fewer verdicts than images".into()));
    match change {
        RowChange::Insert { .. } => Ok(kept_or_unknown(table, next()?)?.map(|image| (OrderedChange::Insert(image), false))),
        RowChange::Delete { old } if !olds => Ok(Some((OrderedChange::Delete(Image { row: old, computed: None }), false))),
        RowChange::Delete { .. } => {
            let old = next()?;
            Ok(match old.verdict {
                Verdict::Kept => Some((OrderedChange::Delete(old.image), false)),
                Verdict::Dropped => None,
                Verdict::Unknown => Some((OrderedChange::Delete(old.image), true)),
            })
        }
        RowChange::Update { old, .. } => {
            let before = match &old {
                Some(_) if olds => Some(next()?),
                Some(old) => Some(Judged { verdict: Verdict::Kept, image: Image { row: old.clone(), computed: None } }),
                None => None,
            };
            compose_update(table, before, next()?, olds)
        }
    }
}

fn compose_update(table: &PlannedTable, before: Option<Judged>, after: Judged, olds: bool) -> Result<Option<Transformed>, TaskError> {
    let verdict_before = match &before {
        Some(before) => before.verdict,
        None if !olds => Verdict::Kept,
        None if old_judged_as_new(table) => after.verdict,
        None => Verdict::Unknown,
    };
    let old = before.map(|before| before.image);
    Ok(match (verdict_before, after.verdict) {
        (Verdict::Kept, Verdict::Kept) => Some((OrderedChange::Update { old, new: after.image }, false)),
        (Verdict::Unknown, Verdict::Kept) => Some((OrderedChange::Update { old, new: after.image }, true)),
        (Verdict::Kept, Verdict::Dropped) => Some((OrderedChange::Delete(old.unwrap_or(after.image)), false)),
        (Verdict::Unknown, Verdict::Dropped) => Some((OrderedChange::Delete(old.unwrap_or(after.image)), true)),
        (Verdict::Dropped, Verdict::Dropped) => None,
        (Verdict::Dropped, Verdict::Kept) if is_complete(&after.image) => Some((OrderedChange::Insert(after.image), false)),
        (Verdict::Dropped, Verdict::Kept) | (_, Verdict::Unknown) => return Err(not_logged(table)),
    })
}

fn kept_or_unknown(table: &PlannedTable, judged: Judged) -> Result<Option<Image>, TaskError> {
    match judged.verdict {
        Verdict::Kept => Ok(Some(judged.image)),
        Verdict::Dropped => Ok(None),
        Verdict::Unknown => Err(not_logged(table)),
    }
}

/// The source left a large value out of its log that the rules need.
fn not_logged(table: &PlannedTable) -> TaskError {
    let name = &table.source.schema.name;
    TaskError::Row {
        code: "value_not_logged",
        message: format!("table \"{name}\": the log lacks a value that the rules need to decide about a row"),
        hint: Some(format!(
            "alter table {} replica identity full, then reload the table",
            tidegate_connector::Dialect::POSTGRES.table(name)
        )),
    }
}
