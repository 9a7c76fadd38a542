//! Row images on their way through the modules of their table: what a batch takes from them, and what its answer adds.

use std::collections::HashMap;
use std::ops::Range;

use tidegate_connector::{ColumnOrigin, Image, Unfit};
use tidegate_model::{Cell, ImageKind, Row, RowsBuilder, SqlType, Value};
use tidegate_sandbox::{BatchBuilder, BatchResult};

use crate::header::ImageHeader;
use crate::plan::{InputOrigin, PlannedTable, Stage};
use crate::rejection::Rejection;
use crate::task::TaskError;

/// What the modules say of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Kept,
    Dropped,
    /// A filter's input is not in the image.
    Unknown,
    /// The row is at fault.
    Rejected,
}

/// An image for the modules to judge.
#[derive(Debug)]
pub(crate) struct Unjudged {
    pub(crate) kind: ImageKind,
    pub(crate) row: Row,
    /// Of an update, the old row as far as the log has it, when a module asks for it.
    pub(crate) before: Option<Row>,
    pub(crate) header: ImageHeader,
}

/// An image after all stages.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) verdict: Verdict,
    pub(crate) image: Image,
    /// What is wrong with it; there when the verdict is `Rejected`.
    pub(crate) rejection: Option<Box<Rejection>>,
}

/// What becomes of rows of the full load.
#[derive(Debug)]
pub(crate) struct LoadedRows {
    /// The images that stay.
    pub(crate) images: Vec<Image>,
    /// The rows at fault, and why; a row without a reason lacks a value.
    pub(crate) rejected: Vec<(Row, Option<Box<Rejection>>)>,
}

/// What is to be judged.
#[derive(Debug)]
pub(crate) enum Sent {
    /// Rows of the full load, which all have this header.
    Loaded(Vec<Row>, ImageHeader),
    /// Images of changes.
    Changed(Vec<Unjudged>),
}

impl Sent {
    fn len(&self) -> usize {
        match self {
            Sent::Loaded(rows, _) => rows.len(),
            Sent::Changed(images) => images.len(),
        }
    }

    fn row(&self, place: usize) -> &Row {
        match self {
            Sent::Loaded(rows, _) => &rows[place],
            Sent::Changed(images) => &images[place].row,
        }
    }

    fn kind(&self, place: usize) -> ImageKind {
        match self {
            Sent::Loaded(..) => ImageKind::Snapshot,
            Sent::Changed(images) => images[place].kind,
        }
    }

    fn header(&self, place: usize) -> &ImageHeader {
        match self {
            Sent::Loaded(_, header) => header,
            Sent::Changed(images) => &images[place].header,
        }
    }

    fn before(&self, place: usize) -> Option<&Row> {
        match self {
            Sent::Loaded(..) => None,
            Sent::Changed(images) => images[place].before.as_ref(),
        }
    }

    /// The rows alone, in order.
    fn into_rows(self) -> impl Iterator<Item = Row> {
        let (loaded, changed) = match self {
            Sent::Loaded(rows, _) => (rows, Vec::new()),
            Sent::Changed(images) => (Vec::new(), images),
        };
        loaded.into_iter().chain(changed.into_iter().map(|image| image.row))
    }
}

/// The images of one table, and what is known of each by now.
pub(crate) struct Images<'a> {
    table: &'a PlannedTable,
    sent: Sent,
    verdicts: Vec<Verdict>,
    rejections: HashMap<usize, Box<Rejection>>,
    /// The cells that modules have computed. In an update, one that could not be computed stays unchanged in the target.
    computed: RowsBuilder,
}

impl<'a> Images<'a> {
    pub(crate) fn new(table: &'a PlannedTable, sent: Sent) -> Self {
        let computed = RowsBuilder::new(sent.len(), table.computed);
        Self { table, verdicts: vec![Verdict::Kept; sent.len()], sent, rejections: HashMap::new(), computed }
    }

    pub(crate) fn len(&self) -> usize {
        self.verdicts.len()
    }

    /// The places of the images that a stage can judge; the others of those that were kept so far are unknown to it from
    /// now on, or at fault.
    pub(crate) fn ready(&mut self, stage: &Stage, range: Range<usize>) -> Vec<usize> {
        let mut ready = Vec::with_capacity(range.len());
        for place in range.filter(|place| self.verdicts[*place] == Verdict::Kept).collect::<Vec<_>>() {
            if stage.partial_images || stage.inputs.iter().all(|input| self.is_there(place, &input.origin)) {
                ready.push(place);
            } else if stage.filters {
                self.verdicts[place] = Verdict::Unknown;
            } else if self.may_have_changed(place, stage) {
                self.reject(place, Rejection::by_host(not_logged(self.table)));
            }
        }
        ready
    }

    pub(crate) fn reject(&mut self, place: usize, rejection: Rejection) {
        self.verdicts[place] = Verdict::Rejected;
        self.rejections.insert(place, Box::new(rejection));
    }

    pub(crate) fn set_unknown(&mut self, place: usize) {
        self.verdicts[place] = Verdict::Unknown;
    }

    /// Takes the module's answer about an image, which is at `row` of its batch. A row with an error has none.
    pub(crate) fn take(&mut self, stage: &Stage, result: &BatchResult, row: usize, place: usize) -> Result<(), TaskError> {
        if !result.keeps(row) {
            self.verdicts[place] = Verdict::Dropped;
            return Ok(());
        }
        for ((cell, _), column) in stage.outputs.iter().zip(result.columns()) {
            match column.value(row) {
                _ if column.is_absent(row) => self.computed.set_unchanged(place, *cell),
                Value::Null => self.computed.set_null(place, *cell),
                value => {
                    let set = self.computed.set_with(place, *cell, |out| value.write_neutral(out));
                    set.map_err(|error| row_error(self.table, "batch", error.to_string()))?;
                }
            }
        }
        Ok(())
    }

    /// Appends an image to a batch.
    pub(crate) fn push(&self, stage: &Stage, place: usize, builder: &mut BatchBuilder) -> Result<(), TaskError> {
        let (table, row) = (self.table, self.sent.row(place));
        builder.push_kind(self.sent.kind(place));
        let decode = |index: usize, cell| match table.source.decoder.decode(index, cell) {
            Ok(value) if is_zero_date(table, index, &value) => Ok(Value::Null),
            Ok(value) => Ok(value),
            Err(error) if error.unfit.is_some_and(|found| table.target.unfit.is_null(found)) => Ok(Value::Null),
            Err(error) => Err(row_error(table, "value_not_representable", error.to_string())),
        };
        for (column, input) in stage.inputs.iter().enumerate() {
            let value = match &input.origin {
                origin if stage.partial_images && !self.has(place, origin) => {
                    builder.push_absent(column);
                    continue;
                }
                InputOrigin::Column(ColumnOrigin::Source(index)) => decode(*index, row.cell(*index).unwrap_or(Cell::Absent))?,
                InputOrigin::Column(ColumnOrigin::Computed(cell)) => match self.computed.cell(place, *cell) {
                    Some(Cell::Binary(bytes)) => Value::from_neutral(&input.sql_type, bytes)
                        .map_err(|error| row_error(table, "value_not_representable", error.to_string()))?,
                    _ => Value::Null,
                },
                InputOrigin::Column(ColumnOrigin::Constant(None)) => Value::Null,
                InputOrigin::Column(ColumnOrigin::Constant(Some(text))) => Value::Text(text),
                InputOrigin::Before(index) => decode(*index, self.before(place, *index))?,
                InputOrigin::Header(header) => {
                    let value = self.sent.header(place).value(*header);
                    value.ok_or_else(|| TaskError::Panicked("an image without a header came to a module that reads it".into()))?
                }
            };
            builder.push_value(column, &value).map_err(|error| row_error(table, "value_not_representable", error.to_string()))?;
        }
        Ok(())
    }

    /// What became of rows of the load.
    pub(crate) fn finish_loaded(self) -> LoadedRows {
        let Self { table, sent, verdicts, mut rejections, computed } = self;
        let mut computed = (table.computed > 0).then(|| computed.finish());
        let mut loaded = LoadedRows { images: Vec::with_capacity(verdicts.len()), rejected: Vec::new() };
        for (place, (row, verdict)) in sent.into_rows().zip(verdicts).enumerate() {
            let computed = computed.as_mut().and_then(Iterator::next);
            match verdict {
                Verdict::Kept => loaded.images.push(Image { row, computed }),
                Verdict::Dropped => {}
                Verdict::Unknown | Verdict::Rejected => loaded.rejected.push((row, rejections.remove(&place))),
            }
        }
        loaded
    }

    /// What became of the images, in their order.
    pub(crate) fn finish(self) -> impl Iterator<Item = Judged> {
        let Self { table, sent, verdicts, mut rejections, computed } = self;
        let mut computed = (table.computed > 0).then(|| computed.finish());
        sent.into_rows().zip(verdicts).enumerate().map(move |(place, (row, verdict))| Judged {
            verdict,
            image: Image { row, computed: computed.as_mut().and_then(Iterator::next) },
            rejection: if verdict == Verdict::Rejected { rejections.remove(&place) } else { None },
        })
    }

    /// As [`Images::has`], without a look at what is always there: a row of the load has all of its cells. The first look at a row is a
    /// wait for memory, and there is one when its values are decoded.
    fn is_there(&self, place: usize, origin: &InputOrigin) -> bool {
        let is_whole = matches!(self.sent, Sent::Loaded(..)) && matches!(origin, InputOrigin::Column(ColumnOrigin::Source(_)));
        is_whole || self.has(place, origin)
    }

    fn has(&self, place: usize, origin: &InputOrigin) -> bool {
        match origin {
            InputOrigin::Column(ColumnOrigin::Source(index)) => is_known(self.sent.row(place).cell(*index)),
            InputOrigin::Column(ColumnOrigin::Computed(cell)) => is_known(self.computed.cell(place, *cell)),
            InputOrigin::Column(ColumnOrigin::Constant(_)) | InputOrigin::Header(_) => true,
            InputOrigin::Before(index) => is_known(Some(self.before(place, *index))),
        }
    }

    /// True for an update that may have changed some of what the modules read, while the log lacks the rest: what they
    /// would make of it cannot be known, and what they made of the row before may be wrong now.
    fn may_have_changed(&self, place: usize, stage: &Stage) -> bool {
        self.sent.kind(place) == ImageKind::UpdateAfter
            && !stage.outputs.is_empty()
            && stage.inputs.iter().any(|input| match &input.origin {
                InputOrigin::Column(ColumnOrigin::Source(index)) => {
                    !self.table.source.schema.identity.contains(index) && self.has(place, &input.origin)
                }
                InputOrigin::Column(ColumnOrigin::Constant(_)) => false,
                InputOrigin::Column(ColumnOrigin::Computed(_)) | InputOrigin::Before(_) | InputOrigin::Header(_) => {
                    self.has(place, &input.origin)
                }
            })
    }

    /// A source column's cell before the change.
    fn before(&self, place: usize, index: usize) -> Cell<'_> {
        let row = self.sent.row(place);
        let cell = match (self.sent.kind(place), self.sent.before(place)) {
            (ImageKind::Snapshot | ImageKind::Insert, _) => return Cell::Null,
            (ImageKind::UpdateBefore | ImageKind::Delete, _) => row.cell(index),
            (ImageKind::UpdateAfter, Some(old)) => old.cell(index),
            // Without an old image, the columns that identify the row are as they were.
            (ImageKind::UpdateAfter, None) if self.table.source.schema.identity.contains(&index) => row.cell(index),
            (ImageKind::UpdateAfter, None) => None,
        };
        cell.unwrap_or(Cell::Absent)
    }
}

/// True for a date that no calendar has, where the task wants NULL for it.
fn is_zero_date(table: &PlannedTable, index: usize, value: &Value<'_>) -> bool {
    let is_date = |column: &tidegate_model::Column| matches!(column.sql_type, SqlType::Date | SqlType::Timestamp | SqlType::TimestampTz);
    matches!(value, Value::Text(_))
        && table.target.unfit.is_null(Unfit::ZeroDate)
        && table.source.schema.columns.get(index).is_some_and(is_date)
}

fn is_known(cell: Option<Cell<'_>>) -> bool {
    cell.is_some_and(|cell| cell.is_known())
}

/// The source left a large value out of its log that the rules need.
pub(crate) fn not_logged(table: &PlannedTable) -> TaskError {
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

pub(crate) fn row_error(table: &PlannedTable, code: &'static str, reason: String) -> TaskError {
    TaskError::Row { code, message: format!("table \"{}\": {reason}", table.source.schema.name), hint: None }
}
