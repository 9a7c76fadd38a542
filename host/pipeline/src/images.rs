//! Row images on their way through the modules of their table: what a batch takes from them, and what its answer adds.

use std::collections::HashMap;
use std::ops::Range;

use tidegate_connector::{CellForm, ColumnOrigin, Image, LoadBatch, Unfit, spell};
use tidegate_model::{Cell, ComputedCells, Engine, ImageKind, Row, RowBatch, RowsBuilder, SqlType, Value};
use tidegate_sandbox::{BatchBuilder, BatchResult};

use crate::header::ImageHeader;
use crate::net::unread;
use crate::plan::{Input, InputOrigin, PlannedTable, Reading, Stage, constant};
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
    /// The rows that stay.
    pub(crate) batch: LoadBatch,
    /// The rows at fault, and why; a row without a reason lacks a value.
    pub(crate) rejected: Vec<(Row, Option<Box<Rejection>>)>,
}

/// What is to be judged.
#[derive(Debug)]
pub(crate) enum Sent {
    /// Rows of the full load, which all have this header.
    Loaded(RowBatch, ImageHeader),
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

    #[inline]
    fn cell(&self, place: usize, index: usize) -> Option<Cell<'_>> {
        match self {
            Sent::Loaded(rows, _) => rows.cell(place, index),
            Sent::Changed(images) => images[place].row.cell(index),
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
}

/// The images of one table, and what is known of each by now.
pub(crate) struct Images<'a> {
    table: &'a PlannedTable,
    sent: Sent,
    verdicts: Vec<Verdict>,
    rejections: HashMap<usize, Box<Rejection>>,
    /// The cells that modules have computed. In an update, one that could not be computed stays unchanged in the target.
    computed: Vec<ComputedCells>,
}

impl<'a> Images<'a> {
    pub(crate) fn new(table: &'a PlannedTable, sent: Sent) -> Self {
        let computed = vec![ComputedCells::default(); table.computed];
        Self { table, verdicts: vec![Verdict::Kept; sent.len()], sent, rejections: HashMap::new(), computed }
    }

    pub(crate) fn len(&self) -> usize {
        self.verdicts.len()
    }

    /// The places of the images that a stage can judge; the others of those that were kept so far are unknown to it from
    /// now on, or at fault.
    pub(crate) fn ready(&mut self, stage: &Stage, range: Range<usize>) -> Vec<usize> {
        let mut ready = Vec::with_capacity(range.len());
        let takes_all = stage.partial_images || stage.inputs.iter().all(|input| self.is_everywhere(&input.origin));
        for place in range {
            if self.verdicts[place] != Verdict::Kept {
                continue;
            }
            if takes_all || stage.inputs.iter().all(|input| self.has(place, &input.origin)) {
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

    /// Takes the module's answer about the images at these places, in the order of its batch. A row with an error has none.
    pub(crate) fn take(&mut self, stage: &Stage, mut result: BatchResult, places: &[usize]) {
        let columns = result.take_columns();
        for (_, place) in places.iter().enumerate().filter(|(row, _)| !result.keeps(*row)) {
            self.verdicts[*place] = Verdict::Dropped;
        }
        let all = self.len();
        for ((cell, _), column) in stage.outputs.iter().zip(columns) {
            self.computed[*cell].take(column, places, all, |row| result.keeps(row) && !result.failed(row));
        }
    }

    /// Appends the images at these places to a batch, column by column.
    pub(crate) fn fill(&self, stage: &Stage, places: &[usize], builder: &mut BatchBuilder) -> Result<(), TaskError> {
        places.iter().for_each(|place| builder.push_kind(self.sent.kind(*place)));
        for (column, input) in stage.inputs.iter().enumerate() {
            // Who looks for the row at fault sends one alone, and wants to know what is wrong.
            if places.len() > 1 && input.reading == Reading::AsIs && self.fill_plainly(&input.origin, places, column, builder) {
                continue;
            }
            for place in places {
                if stage.partial_images && !self.has(*place, &input.origin) {
                    builder.push_absent(column);
                    continue;
                }
                let value = self.value(*place, input)?;
                builder.push_value(column, &value).map_err(|error| row_error(self.table, "value_not_representable", error.to_string()))?;
            }
        }
        Ok(())
    }

    /// Appends cells of a load that are plain texts or numbers without a look at each as a value. False when they are not, and then
    /// nothing is appended.
    fn fill_plainly(&self, origin: &InputOrigin, places: &[usize], column: usize, builder: &mut BatchBuilder) -> bool {
        let (InputOrigin::Column(ColumnOrigin::Source(index)), Sent::Loaded(rows, _)) = (origin, &self.sent) else { return false };
        let cells = places.iter().map(|place| rows.cell(*place, *index).unwrap_or(Cell::Absent));
        let pushed = match self.table.source.decoder.form(*index) {
            CellForm::Decoded => return false,
            CellForm::Utf8 => builder.push_texts(column, cells),
            // One loop for each form, so that none asks for the form again.
            CellForm::Int16Be => builder.push_integers(column, cells, |bytes| CellForm::Int16Be.integer(bytes)),
            CellForm::Int32Be => builder.push_integers(column, cells, |bytes| CellForm::Int32Be.integer(bytes)),
            CellForm::Int64Be => builder.push_integers(column, cells, |bytes| CellForm::Int64Be.integer(bytes)),
            CellForm::Int64Le => builder.push_integers(column, cells, |bytes| CellForm::Int64Le.integer(bytes)),
        };
        if pushed.is_err() {
            builder.clear_column(column);
        }
        pushed.is_ok()
    }

    /// What an image has for an input, as a value of the type that the module sees.
    fn value<'b>(&'b self, place: usize, input: &'b Input) -> Result<Value<'b>, TaskError> {
        let value = self.own_value(place, input)?;
        let is_written = matches!(value, Value::Null) || value.as_text().is_some();
        Ok(if is_written || input.reading == Reading::AsIs { value } else { Value::OwnedText(spell(&value).into_owned()) })
    }

    fn own_value<'b>(&'b self, place: usize, input: &'b Input) -> Result<Value<'b>, TaskError> {
        let table = self.table;
        let decode = |index: usize, cell| match table.source.decoder.decode(index, cell) {
            Ok(value) if is_zero_date(table, index, &value) => Ok(Value::Null),
            Ok(value) => Ok(value),
            Err(error) if error.unfit.is_some_and(|found| table.target.unfit.is_null(found)) => Ok(Value::Null),
            Err(error) => Err(match error.unfit {
                Some(found @ Unfit::Unread(_)) => unread(&table.source, error, found).into(),
                _ => row_error(table, "value_not_representable", error.to_string()),
            }),
        };
        match &input.origin {
            InputOrigin::Column(ColumnOrigin::Source(index)) => decode(*index, self.sent.cell(place, *index).unwrap_or(Cell::Absent)),
            InputOrigin::Column(ColumnOrigin::Computed(cell)) => Ok(self.computed[*cell].value(place).unwrap_or(Value::Null)),
            InputOrigin::Column(ColumnOrigin::Constant(None)) => Ok(Value::Null),
            InputOrigin::Column(ColumnOrigin::Constant(Some(text))) => constant(text, &input.sql_type)
                .ok_or_else(|| row_error(table, "value_not_representable", "a constant is no value of its column's type".into())),
            InputOrigin::Before(index) => decode(*index, self.before(place, *index)),
            InputOrigin::Header(header) => {
                let value = self.sent.header(place).value(*header);
                value.ok_or_else(|| TaskError::Panicked("an image without a header came to a module that reads it".into()))
            }
        }
    }

    /// What became of rows of the load.
    pub(crate) fn finish_loaded(self) -> Result<LoadedRows, TaskError> {
        let Self { sent, verdicts, mut rejections, computed, .. } = self;
        let Sent::Loaded(rows, _) = sent else { return Err(TaskError::Panicked("images of changes were judged as loaded rows".into())) };
        let mut rejected = Vec::new();
        let is_whole = verdicts.iter().all(|verdict| *verdict == Verdict::Kept);
        let kept = (!is_whole).then(|| {
            let mut kept = Vec::with_capacity(verdicts.len());
            for (place, verdict) in verdicts.iter().enumerate() {
                match verdict {
                    Verdict::Kept => kept.push(place as u32),
                    Verdict::Dropped => {}
                    Verdict::Unknown | Verdict::Rejected => rejected.push((rows.row(place), rejections.remove(&place))),
                }
            }
            kept
        });
        Ok(LoadedRows { batch: LoadBatch { rows, kept, computed }, rejected })
    }

    /// What became of the images of changes, in their order.
    pub(crate) fn finish(self) -> Result<impl Iterator<Item = Judged>, TaskError> {
        let Self { table, sent, verdicts, mut rejections, computed } = self;
        let Sent::Changed(images) = sent else { return Err(TaskError::Panicked("loaded rows were judged as images of changes".into())) };
        let mut rows = RowsBuilder::new(images.len(), computed.len());
        for (cell, computed) in computed.iter().enumerate() {
            for place in 0..images.len() {
                match computed.value(place) {
                    None => {}
                    Some(Value::Null) => rows.set_null(place, cell),
                    Some(value) => {
                        let set = rows.set_with(place, cell, |out| value.write_neutral(out));
                        set.map_err(|error| row_error(table, "batch", error.to_string()))?;
                    }
                }
            }
        }
        let mut computed = (!computed.is_empty()).then(|| rows.finish());
        Ok(images.into_iter().zip(verdicts).enumerate().map(move |(place, (image, verdict))| Judged {
            verdict,
            image: Image::new(image.row, computed.as_mut().and_then(Iterator::next)),
            rejection: if verdict == Verdict::Rejected { rejections.remove(&place) } else { None },
        }))
    }

    /// True for what every image has, so that none has to be asked: a row of the load has all of its cells.
    fn is_everywhere(&self, origin: &InputOrigin) -> bool {
        match origin {
            InputOrigin::Column(ColumnOrigin::Source(_)) => matches!(self.sent, Sent::Loaded(..)),
            InputOrigin::Column(ColumnOrigin::Constant(_)) | InputOrigin::Header(_) => true,
            InputOrigin::Column(ColumnOrigin::Computed(_)) | InputOrigin::Before(_) => false,
        }
    }

    fn has(&self, place: usize, origin: &InputOrigin) -> bool {
        match origin {
            InputOrigin::Column(ColumnOrigin::Source(index)) => is_known(self.sent.cell(place, *index)),
            InputOrigin::Column(ColumnOrigin::Computed(cell)) => self.computed[*cell].value(place).is_some(),
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
        let cell = match (self.sent.kind(place), self.sent.before(place)) {
            // The error table keeps no old row.
            (ImageKind::UpdateAfter, None) if matches!(self.sent.header(place), ImageHeader::Replayed { .. }) => return Cell::Null,
            (ImageKind::Snapshot | ImageKind::Insert, _) => return Cell::Null,
            (ImageKind::UpdateBefore | ImageKind::Delete, _) => self.sent.cell(place, index),
            (ImageKind::UpdateAfter, Some(old)) => old.cell(index),
            // Without an old image, the columns that identify the row are as they were.
            (ImageKind::UpdateAfter, None) if self.table.source.schema.identity.contains(&index) => self.sent.cell(place, index),
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
    let hint = match table.source.schema.engine {
        Engine::Postgres => {
            let name = tidegate_connector::Dialect::POSTGRES.table(name);
            format!("alter table {name} replica identity full, then reload the table")
        }
        Engine::Mysql | Engine::Mariadb => "set binlog_row_image to FULL for every session, then reload the table".to_owned(),
    };
    TaskError::Row {
        code: "value_not_logged",
        message: format!("table \"{name}\": the log lacks a value that the rules need to decide about a row"),
        hint: Some(hint),
    }
}

pub(crate) fn row_error(table: &PlannedTable, code: &'static str, reason: String) -> TaskError {
    TaskError::Row { code, message: format!("table \"{}\": {reason}", table.source.schema.name), hint: None }
}
