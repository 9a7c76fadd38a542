//! Batches of row images on their way into a module: columns, each in its layout.
//!
//! The caller pushes a kind and then one value for each column, row by row. The buffers that grow here are the ones
//! that are copied into the module's memory; nothing is turned round in between.

use std::ops::Range;

use tidegate_model::{Cell, ImageKind, SqlType, Value};

use crate::contract::tidegate::transform::types as wit;
use crate::layout::{Layout, bit, bitmap_bytes, set_bit};
use crate::plan::TextLayout;

/// Most rows of a batch.
pub const ROWS_MAX: usize = 4096;

/// A value or a row that does not fit the batch. The caller built it wrong, or a source sent a value that is not of
/// its column's type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The value has no place in the column's layout.
    #[error("input column {column}: the value is not of the column's type, or out of its range")]
    ValueForm {
        /// Index of the column.
        column: usize,
    },
    /// A row got too few or too many values.
    #[error("input column {column} has {found} values in {rows} rows")]
    Uneven {
        /// Index of the column.
        column: usize,
        /// Values found.
        found: usize,
        /// Rows begun.
        rows: usize,
    },
    /// Above [`ROWS_MAX`] rows or 4 GiB of values in a column.
    #[error("the batch is too large")]
    TooLarge,
}

/// A finished batch.
#[derive(Debug, Clone)]
pub struct Batch {
    pub(crate) wit: wit::Batch,
    types: Vec<SqlType>,
    text: TextLayout,
    bytes: usize,
}

/// Builds a [`Batch`].
#[derive(Debug)]
pub struct BatchBuilder {
    batch: Batch,
    counts: Vec<usize>,
}

impl BatchBuilder {
    /// For input columns of these types, in the order of [`crate::RowPlan::inputs`].
    pub fn new(types: &[SqlType], text: TextLayout) -> Self {
        let column = |sql_type| wit::Column { nulls: Vec::new(), absent: Vec::new(), values: empty_values(Layout::of(sql_type), text) };
        let wit = wit::Batch { rows: 0, kinds: Vec::new(), columns: types.iter().map(column).collect() };
        Self { batch: Batch { wit, types: types.to_vec(), text, bytes: 0 }, counts: vec![0; types.len()] }
    }

    /// Rows begun.
    pub fn rows(&self) -> usize {
        self.batch.wit.kinds.len()
    }

    /// Bytes of values so far.
    pub fn bytes(&self) -> usize {
        self.batch.bytes
    }

    /// Begins a row.
    #[inline]
    pub fn push_kind(&mut self, kind: ImageKind) {
        self.batch.wit.kinds.push(kind as u8);
    }

    /// Adds the next value of a column.
    ///
    /// # Errors
    /// [`BatchError`] when the value does not fit the column's type; the batch must then be thrown away.
    #[inline]
    pub fn push_value(&mut self, column: usize, value: &Value<'_>) -> Result<(), BatchError> {
        let form = BatchError::ValueForm { column };
        let (Some(target), Some(count)) = (self.batch.wit.columns.get_mut(column), self.counts.get_mut(column)) else { return Err(form) };
        let bytes = match (&mut target.values, value) {
            (values, Value::Null) => {
                set_bit(&mut target.nulls, *count);
                push_empty(values)
            }
            // The most frequent one, without the other cases.
            (wit::Values::Utf8(var), Value::Text(text)) => push_span(var, text.as_bytes()),
            (values, value) => push_value(values, value).ok_or(form)?,
        };
        *count += 1;
        self.batch.bytes += bytes;
        Ok(())
    }

    /// Adds the next values of a column of text, out of cells that are their text in UTF-8. What is checked of the text is checked of
    /// all of it at once.
    ///
    /// # Errors
    /// [`BatchError`] for a cell without a value, a text that is not UTF-8 and a column that is not of text; the column must then be
    /// [cleared](BatchBuilder::clear_column).
    pub fn push_texts<'a>(&mut self, column: usize, cells: impl Iterator<Item = Cell<'a>>) -> Result<(), BatchError> {
        let form = BatchError::ValueForm { column };
        let (Some(target), Some(count)) = (self.batch.wit.columns.get_mut(column), self.counts.get_mut(column)) else { return Err(form) };
        let wit::Values::Utf8(var) = &mut target.values else { return Err(form) };
        let (first, known) = (var.data.len(), var.offsets.len());
        for cell in cells {
            match cell {
                Cell::Binary(bytes) | Cell::Text(bytes) => var.data.extend_from_slice(bytes),
                Cell::Null => set_bit(&mut target.nulls, *count),
                Cell::Unchanged | Cell::Absent | Cell::Faulty(_) => return Err(form),
            }
            // As for single values, an offset beyond u32 is never read.
            var.offsets.push(var.data.len() as u32);
            *count += 1;
        }
        let (added, offsets) = (&var.data[first..], &var.offsets[known..]);
        if !added.is_ascii() {
            let text = std::str::from_utf8(added).map_err(|_| form.clone())?;
            if !offsets.iter().all(|offset| text.is_char_boundary((*offset as usize).wrapping_sub(first))) {
                return Err(form);
            }
        }
        self.batch.bytes += added.len() + 4 * offsets.len();
        Ok(())
    }

    /// Adds the next values of a column of signed integers. `read` makes the number of a cell's bytes.
    ///
    /// # Errors
    /// [`BatchError`] for a cell without a value, bytes that `read` refuses and a column of another layout; the column must then be
    /// [cleared](BatchBuilder::clear_column).
    pub fn push_integers<'a>(
        &mut self,
        column: usize,
        cells: impl Iterator<Item = Cell<'a>>,
        read: impl Fn(&[u8]) -> Option<i64>,
    ) -> Result<(), BatchError> {
        let form = BatchError::ValueForm { column };
        let (Some(target), Some(count)) = (self.batch.wit.columns.get_mut(column), self.counts.get_mut(column)) else { return Err(form) };
        let first = *count;
        for cell in cells {
            let number = match cell {
                Cell::Binary(bytes) => read(bytes).ok_or_else(|| form.clone())?,
                Cell::Null => {
                    set_bit(&mut target.nulls, *count);
                    0
                }
                Cell::Text(_) | Cell::Unchanged | Cell::Absent | Cell::Faulty(_) => return Err(form),
            };
            match &mut target.values {
                wit::Values::Int32(list) => list.push(i32::try_from(number).map_err(|_| form.clone())?),
                wit::Values::Int64(list) => list.push(number),
                _ => return Err(form),
            }
            *count += 1;
        }
        self.batch.bytes += 8 * (*count - first);
        Ok(())
    }

    /// Takes the values of a column out again that were added since it was cleared or the builder was new.
    pub fn clear_column(&mut self, column: usize) {
        if let (Some(target), Some(count)) = (self.batch.wit.columns.get_mut(column), self.counts.get_mut(column)) {
            target.nulls.clear();
            target.absent.clear();
            clear_values(&mut target.values);
            *count = 0;
        }
    }

    /// Adds a place for a value that the log does not carry.
    pub fn push_absent(&mut self, column: usize) {
        if let Some(target) = self.batch.wit.columns.get_mut(column) {
            set_bit(&mut target.absent, self.counts[column]);
            self.counts[column] += 1;
            self.batch.bytes += push_empty(&mut target.values);
        }
    }

    /// The batch.
    ///
    /// # Errors
    /// [`BatchError`] when a row lacks a value or has one too many, or the batch is too large.
    pub fn finish(mut self) -> Result<Batch, BatchError> {
        let rows = self.rows();
        if rows > ROWS_MAX || self.batch.bytes > u32::MAX as usize {
            return Err(BatchError::TooLarge);
        }
        if let Some((column, found)) = self.counts.iter().copied().enumerate().find(|(_, found)| *found != rows) {
            return Err(BatchError::Uneven { column, found, rows });
        }
        self.batch.wit.rows = rows as u32;
        for column in &mut self.batch.wit.columns {
            for bitmap in [&mut column.nulls, &mut column.absent] {
                if !bitmap.is_empty() {
                    bitmap.resize(bitmap_bytes(rows), 0);
                }
            }
        }
        Ok(self.batch)
    }
}

impl Batch {
    /// Count of rows.
    pub fn rows(&self) -> usize {
        self.wit.kinds.len()
    }

    /// Bytes of values.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A part of the batch, for finding the rows that a module fails on.
    pub fn slice(&self, rows: Range<usize>) -> Batch {
        let rows = rows.start.min(self.rows())..rows.end.min(self.rows());
        let columns: Vec<_> = self.wit.columns.iter().map(|column| slice_column(column, rows.clone())).collect();
        let bytes = columns.iter().map(|column| values_bytes(&column.values)).sum();
        let kinds = self.wit.kinds.get(rows).map(<[u8]>::to_vec).unwrap_or_default();
        let wit = wit::Batch { rows: kinds.len() as u32, kinds, columns };
        Batch { wit, types: self.types.clone(), text: self.text, bytes }
    }

    /// An empty builder with this batch's buffers.
    pub fn into_builder(mut self) -> BatchBuilder {
        self.wit.rows = 0;
        self.wit.kinds.clear();
        self.bytes = 0;
        for column in &mut self.wit.columns {
            column.nulls.clear();
            column.absent.clear();
            clear_values(&mut column.values);
        }
        let counts = vec![0; self.types.len()];
        BatchBuilder { batch: self, counts }
    }

    pub(crate) fn has_form(&self, types: &[SqlType], text: TextLayout) -> bool {
        self.types == types && self.text == text
    }
}

fn empty_values(layout: Layout, text: TextLayout) -> wit::Values {
    let empty = || wit::VarValues { offsets: vec![0], data: Vec::new() };
    match (layout, text) {
        (Layout::Bool8, _) => wit::Values::Bool8(Vec::new()),
        (Layout::Int32, _) => wit::Values::Int32(Vec::new()),
        (Layout::Int64, _) => wit::Values::Int64(Vec::new()),
        (Layout::UInt64, _) => wit::Values::Uint64(Vec::new()),
        (Layout::Float64, _) => wit::Values::Float64(Vec::new()),
        (Layout::Utf8, TextLayout::Buffers) => wit::Values::Utf8(empty()),
        (Layout::Utf8, TextLayout::Strings) => wit::Values::Strings(Vec::new()),
        (Layout::Binary, _) => wit::Values::Binary(empty()),
    }
}

fn clear_values(values: &mut wit::Values) {
    match values {
        wit::Values::Bool8(list) => list.clear(),
        wit::Values::Int32(list) => list.clear(),
        wit::Values::Int64(list) => list.clear(),
        wit::Values::Uint64(list) => list.clear(),
        wit::Values::Float64(list) => list.clear(),
        wit::Values::Utf8(var) | wit::Values::Binary(var) => {
            var.offsets.truncate(1);
            var.data.clear();
        }
        wit::Values::Strings(list) => list.clear(),
    }
}

/// Adds the 0 or the empty span of a null or absent value; its size.
fn push_empty(values: &mut wit::Values) -> usize {
    match values {
        wit::Values::Bool8(list) => list.push(0),
        wit::Values::Int32(list) => list.push(0),
        wit::Values::Int64(list) => list.push(0),
        wit::Values::Uint64(list) => list.push(0),
        wit::Values::Float64(list) => list.push(0.0),
        wit::Values::Utf8(var) | wit::Values::Binary(var) => {
            push_span(var, &[]);
        }
        wit::Values::Strings(list) => list.push(String::new()),
    }
    8
}

/// Adds a value; its size, or `None` when the layout has no place for it.
#[inline]
fn push_value(values: &mut wit::Values, value: &Value<'_>) -> Option<usize> {
    match (values, value) {
        (wit::Values::Bool8(list), Value::Bool(flag)) => list.push(u8::from(*flag)),
        (wit::Values::Int32(list), Value::Int(number)) => list.push(i32::try_from(*number).ok()?),
        (wit::Values::Int32(list), Value::UInt(number)) => list.push(i32::try_from(*number).ok()?),
        (wit::Values::Int32(list), Value::Date(days)) => list.push(*days),
        (wit::Values::Int64(list), Value::Int(number)) => list.push(*number),
        (wit::Values::Int64(list), Value::UInt(number)) => list.push(i64::try_from(*number).ok()?),
        (wit::Values::Int64(list), Value::Time(us) | Value::Timestamp(us) | Value::TimestampTz(us)) => list.push(*us),
        (wit::Values::Uint64(list), Value::UInt(number)) => list.push(*number),
        (wit::Values::Uint64(list), Value::Int(number)) => list.push(u64::try_from(*number).ok()?),
        (wit::Values::Float64(list), Value::Float32(number)) => list.push(f64::from(*number)),
        (wit::Values::Float64(list), Value::Float64(number)) => list.push(*number),
        (wit::Values::Utf8(var), value) => return Some(push_span(var, value.as_text()?.as_bytes())),
        (wit::Values::Strings(list), value) => {
            let text = value.as_text()?;
            list.push(text.to_owned());
            return Some(text.len() + 8);
        }
        (wit::Values::Binary(var), Value::Bytes(bytes) | Value::Bits(bytes)) => return Some(push_span(var, bytes)),
        (wit::Values::Binary(var), Value::OwnedBytes(bytes)) => return Some(push_span(var, bytes)),
        (wit::Values::Binary(var), Value::Uuid(bytes)) => return Some(push_span(var, bytes)),
        _ => return None,
    }
    Some(8)
}

#[inline]
fn push_span(var: &mut wit::VarValues, bytes: &[u8]) -> usize {
    var.data.extend_from_slice(bytes);
    // `finish` refuses a batch whose bytes exceed u32, before anybody reads the offsets.
    var.offsets.push(var.data.len() as u32);
    bytes.len() + 4
}

fn slice_column(column: &wit::Column, rows: Range<usize>) -> wit::Column {
    let values = match &column.values {
        wit::Values::Bool8(list) => wit::Values::Bool8(list[rows.clone()].to_vec()),
        wit::Values::Int32(list) => wit::Values::Int32(list[rows.clone()].to_vec()),
        wit::Values::Int64(list) => wit::Values::Int64(list[rows.clone()].to_vec()),
        wit::Values::Uint64(list) => wit::Values::Uint64(list[rows.clone()].to_vec()),
        wit::Values::Float64(list) => wit::Values::Float64(list[rows.clone()].to_vec()),
        wit::Values::Utf8(var) => wit::Values::Utf8(slice_var(var, rows.clone())),
        wit::Values::Binary(var) => wit::Values::Binary(slice_var(var, rows.clone())),
        wit::Values::Strings(list) => wit::Values::Strings(list[rows.clone()].to_vec()),
    };
    wit::Column { nulls: slice_bitmap(&column.nulls, rows.clone()), absent: slice_bitmap(&column.absent, rows), values }
}

fn slice_var(var: &wit::VarValues, rows: Range<usize>) -> wit::VarValues {
    let offsets = &var.offsets[rows.start..=rows.end];
    let first = offsets[0];
    let last = offsets[offsets.len() - 1];
    wit::VarValues {
        offsets: offsets.iter().map(|offset| offset - first).collect(),
        data: var.data[first as usize..last as usize].to_vec(),
    }
}

fn slice_bitmap(bitmap: &[u8], rows: Range<usize>) -> Vec<u8> {
    if bitmap.is_empty() {
        return Vec::new();
    }
    let mut part = vec![0; bitmap_bytes(rows.len())];
    for (to, from) in rows.enumerate() {
        if bit(bitmap, from) {
            set_bit(&mut part, to);
        }
    }
    part
}

fn values_bytes(values: &wit::Values) -> usize {
    match values {
        wit::Values::Bool8(list) => list.len() * 8,
        wit::Values::Int32(list) => list.len() * 8,
        wit::Values::Int64(list) => list.len() * 8,
        wit::Values::Uint64(list) => list.len() * 8,
        wit::Values::Float64(list) => list.len() * 8,
        wit::Values::Utf8(var) | wit::Values::Binary(var) => var.data.len() + 4 * (var.offsets.len() - 1),
        wit::Values::Strings(list) => list.iter().map(|text| text.len() + 8).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder() -> BatchBuilder {
        BatchBuilder::new(&[SqlType::Int32, SqlType::Text { chars_max: None }], TextLayout::Buffers)
    }

    #[test]
    fn a_slice_holds_the_rows_of_its_range() {
        let mut builder = builder();
        for row in 0..20 {
            builder.push_kind(ImageKind::Insert);
            builder.push_value(0, &Value::Int(row)).unwrap();
            if row % 3 == 0 {
                builder.push_value(1, &Value::Null).unwrap();
            } else {
                builder.push_value(1, &Value::OwnedText(row.to_string())).unwrap();
            }
        }
        let batch = builder.finish().unwrap();
        let part = batch.slice(9..12);
        assert_eq!(part.rows(), 3);
        assert!(matches!(&part.wit.columns[0].values, wit::Values::Int32(list) if list == &[9, 10, 11]));
        assert_eq!(part.wit.columns[1].nulls, [0b001]);
        let wit::Values::Utf8(var) = &part.wit.columns[1].values else { panic!("text travels as utf8") };
        assert_eq!((var.offsets.as_slice(), var.data.as_slice()), ([0, 0, 2, 4].as_slice(), b"1011".as_slice()));
        assert_eq!(batch.slice(20..30).rows(), 0);
    }

    #[test]
    fn values_of_another_type_and_uneven_rows_are_refused() {
        let mut wrong = builder();
        wrong.push_kind(ImageKind::Insert);
        assert_eq!(wrong.push_value(0, &Value::Text("7")), Err(BatchError::ValueForm { column: 0 }));
        assert_eq!(wrong.push_value(0, &Value::Int(1 << 40)), Err(BatchError::ValueForm { column: 0 }));
        assert_eq!(wrong.push_value(5, &Value::Null), Err(BatchError::ValueForm { column: 5 }));
        let mut short = builder();
        short.push_kind(ImageKind::Insert);
        short.push_value(0, &Value::Int(1)).unwrap();
        assert!(matches!(short.finish(), Err(BatchError::Uneven { column: 1, found: 0, rows: 1 })));
    }

    #[test]
    fn cells_of_a_column_are_the_values_pushed_one_by_one() {
        let texts = [Cell::Binary("é".as_bytes()), Cell::Null, Cell::Text(b""), Cell::Binary(b"ab")];
        let numbers = [1i32, -1, i32::MAX, 0].map(i32::to_be_bytes);
        let read = |bytes: &[u8]| bytes.try_into().ok().map(|bytes| i64::from(i32::from_be_bytes(bytes)));
        let (mut at_once, mut singly) = (builder(), builder());
        for (row, text) in texts.iter().enumerate() {
            at_once.push_kind(ImageKind::Snapshot);
            singly.push_kind(ImageKind::Snapshot);
            let number = if row == 1 { Value::Null } else { Value::Int(read(&numbers[row]).unwrap()) };
            singly.push_value(0, &number).unwrap();
            let text =
                if let Cell::Binary(bytes) | Cell::Text(bytes) = text { Value::Text(str::from_utf8(bytes).unwrap()) } else { Value::Null };
            singly.push_value(1, &text).unwrap();
        }
        let cells = |row: usize| if row == 1 { Cell::Null } else { Cell::Binary(&numbers[row]) };
        // What failed before leaves nothing behind.
        assert!(at_once.push_integers(0, [cells(0), Cell::Binary(b"x")].into_iter(), read).is_err());
        at_once.clear_column(0);
        at_once.push_integers(0, (0..4).map(cells), read).unwrap();
        for halves in [[&b"\xc3"[..], b"\xa9"], [b"a", b"\xff"]] {
            assert!(at_once.push_texts(1, halves.into_iter().map(Cell::Binary)).is_err());
            at_once.clear_column(1);
        }
        assert!(at_once.push_texts(1, [Cell::Unchanged].into_iter()).is_err());
        at_once.clear_column(1);
        at_once.push_texts(1, texts.into_iter()).unwrap();
        let (at_once, singly) = (at_once.finish().unwrap(), singly.finish().unwrap());
        assert_eq!(format!("{:?}", at_once.wit), format!("{:?}", singly.wit));
        assert!(builder().push_texts(0, texts.into_iter()).is_err() && builder().push_integers(1, [Cell::Null].into_iter(), read).is_err());
    }

    #[test]
    fn a_reused_builder_is_empty() {
        let mut first = builder();
        first.push_kind(ImageKind::Insert);
        first.push_value(0, &Value::Null).unwrap();
        first.push_value(1, &Value::Text("x")).unwrap();
        let again = first.finish().unwrap().into_builder();
        let batch = again.finish().unwrap();
        assert_eq!((batch.rows(), batch.bytes()), (0, 0));
        assert!(batch.wit.columns.iter().all(|column| column.nulls.is_empty()));
    }
}
