//! Rows of a full load on their way to the target, and what a target asks of a row whichever way it came.

use std::ops::Range;

use bytes::Bytes;
use tidegate_model::value::NeutralError;
use tidegate_model::{Cell, ComputedCells, Row, RowBatch, SqlType, Value};

use crate::Image;

/// Rows of a load, and what modules made of them.
#[derive(Debug, Clone)]
pub struct LoadBatch {
    /// In the source table's encoding.
    pub rows: RowBatch,
    /// Places of the rows that are to be written, in order; `None`: all of them.
    pub kept: Option<Vec<u32>>,
    /// For each computed cell of the table its values, by the rows' places.
    pub computed: Vec<ComputedCells>,
}

impl From<RowBatch> for LoadBatch {
    fn from(rows: RowBatch) -> Self {
        Self { rows, kept: None, computed: Vec::new() }
    }
}

impl LoadBatch {
    /// Count of rows that are to be written.
    pub fn len(&self) -> usize {
        self.kept.as_ref().map_or(self.rows.len(), Vec::len)
    }

    /// True when nothing is to be written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Places of the rows that are to be written, in order.
    #[inline]
    pub fn places(&self) -> impl Iterator<Item = usize> + '_ {
        let all = if self.kept.is_some() { 0 } else { self.rows.len() };
        (0..all).chain(self.kept.iter().flatten().map(|place| *place as usize))
    }

    /// The rows that are to be written.
    #[inline]
    pub fn loaded(&self) -> impl Iterator<Item = Loaded<'_>> {
        self.places().map(|place| Loaded { batch: self, place })
    }

    /// Leaves out rows that do not satisfy `keep`.
    pub fn retain(&mut self, mut keep: impl FnMut(Loaded<'_>) -> bool) {
        let left = self.loaded().filter(|loaded| keep(*loaded)).map(|loaded| loaded.place as u32).collect();
        self.kept = Some(left);
    }

    /// The rows that are to be written, each as an image of its own.
    pub fn images(&self) -> impl Iterator<Item = Image> + '_ {
        self.loaded().map(|loaded| loaded.image())
    }
}

/// One row of a load.
#[derive(Debug, Clone, Copy)]
pub struct Loaded<'a> {
    batch: &'a LoadBatch,
    place: usize,
}

impl<'a> Loaded<'a> {
    /// Neighbouring cells as they came, see [`RowBatch::run`].
    #[inline]
    pub fn run(&self, cells: Range<usize>) -> Option<&'a [u8]> {
        self.batch.rows.run(self.place, cells)
    }

    /// Its place among the rows of its batch.
    pub fn place(&self) -> usize {
        self.place
    }

    /// The row alone.
    pub fn row(&self) -> Row {
        self.batch.rows.row(self.place)
    }

    /// The row as an image of its own.
    pub fn image(&self) -> Image {
        let computed = (!self.batch.computed.is_empty()).then(|| {
            let values = self.batch.computed.iter().map(|cells| cells.value(self.place));
            Row::neutral(values)
        });
        Image::new(self.row(), computed)
    }
}

/// What a target reads of a row that it writes.
pub trait ImageCells: Sync {
    /// The source's cell; `None` beyond the row's end.
    fn cell(&self, index: usize) -> Option<Cell<'_>>;

    /// The bytes of a large cell of the source, to be shared; `None` for every other.
    fn large_cell(&self, index: usize) -> Option<&Bytes>;

    /// The value of a computed cell of that type; `None` for one that is not known.
    ///
    /// # Errors
    /// [`NeutralError`] for bytes that are no value of the type.
    fn computed(&self, index: usize, sql_type: &SqlType) -> Result<Option<Value<'_>>, NeutralError>;
}

impl ImageCells for Image {
    #[inline]
    fn cell(&self, index: usize) -> Option<Cell<'_>> {
        self.row.cell(index)
    }

    #[inline]
    fn large_cell(&self, index: usize) -> Option<&Bytes> {
        self.row.large_cell(index)
    }

    fn computed(&self, index: usize, sql_type: &SqlType) -> Result<Option<Value<'_>>, NeutralError> {
        match self.computed.as_ref().and_then(|row| row.cell(index)) {
            None | Some(Cell::Unchanged | Cell::Absent | Cell::Faulty(_)) => Ok(None),
            Some(Cell::Null) => Ok(Some(Value::Null)),
            Some(Cell::Binary(bytes) | Cell::Text(bytes)) => Value::from_neutral(sql_type, bytes).map(Some),
        }
    }
}

impl ImageCells for Loaded<'_> {
    #[inline]
    fn cell(&self, index: usize) -> Option<Cell<'_>> {
        self.batch.rows.cell(self.place, index)
    }

    #[inline]
    fn large_cell(&self, index: usize) -> Option<&Bytes> {
        self.batch.rows.large_cell(self.place, index)
    }

    #[inline]
    fn computed(&self, index: usize, _: &SqlType) -> Result<Option<Value<'_>>, NeutralError> {
        Ok(self.batch.computed.get(index).and_then(|cells| cells.value(self.place)))
    }
}

#[cfg(test)]
mod tests {
    use tidegate_model::{RowBuilder, ValueColumn, Values};

    use super::*;

    fn batch() -> LoadBatch {
        let row = |id: u8| {
            let mut builder = RowBuilder::default();
            builder.push(Cell::Binary(&[id]));
            builder.finish()
        };
        let values = Values::Utf8(vec![0, 1, 1, 3], "abc".into());
        let column = ValueColumn { sql_type: SqlType::Text { chars_max: None }, nulls: vec![0b010], absent: vec![], values };
        let mut computed = ComputedCells::default();
        computed.take(column, &[0, 1, 2], 3, |_| true);
        LoadBatch { rows: (0..3).map(row).collect(), kept: None, computed: vec![computed] }
    }

    #[test]
    fn an_image_says_the_same_as_its_row_of_the_batch() {
        let batch = batch();
        let sql_type = SqlType::Text { chars_max: None };
        for (loaded, image) in batch.loaded().zip(batch.images()) {
            assert_eq!(image.cell(0), loaded.cell(0));
            assert_eq!(image.computed(0, &sql_type), loaded.computed(0, &sql_type));
            assert_eq!((image.cell(1), loaded.cell(1)), (None, None));
            assert_eq!((image.computed(1, &sql_type), loaded.computed(1, &sql_type)), (Ok(None), Ok(None)));
        }
        assert!(LoadBatch::from(batch.rows).images().all(|image| image.computed.is_none()));
    }

    #[test]
    fn rows_that_are_left_out_are_not_written() {
        let mut batch = batch();
        batch.retain(|loaded| loaded.place() != 1);
        assert_eq!((batch.len(), batch.places().collect::<Vec<_>>()), (2, vec![0, 2]));
        batch.retain(|loaded| loaded.cell(0) == Some(Cell::Binary(&[2])));
        assert_eq!(batch.len(), 1);
        assert!(batch.loaded().all(|loaded| loaded.computed(0, &SqlType::Json) == Ok(Some(Value::Text("bc")))));
        batch.retain(|_| false);
        assert!(batch.is_empty());
    }
}
