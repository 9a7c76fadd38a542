//! Rows of a full load: many rows of one table in one buffer.
//!
//! ```text
//!   bytes    length cell  length cell … │ length cell  length cell … │   a row is a run of cells
//!   starts   ^            ^               ^            ^              ^   and the end of the last one
//! ```
//!
//! Each cell stands behind its length: four bytes, big-endian, -1 for NULL. That is the form of a row in PostgreSQL's binary COPY
//! (manual, "COPY", "Binary Format"), so that neighbouring cells come and leave in one piece, whatever their count. Nothing is
//! allocated for a row. What has no place in that form (a large cell, a spelled or an unknown one) lies apart.

use std::ops::Range;

use bytes::Bytes;

use super::{Cell, CellKind, LARGE_BYTES, Row, RowBuilder, ValueFault, faulty, lies_in};

/// Bytes of a length.
const HEAD: usize = 4;

/// The length of NULL. What is below counts the cells that lie apart, from `i32::MIN` on.
const NULL: i32 = -1;

/// A cell that is said to have fewer than no bytes: the bytes are no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a cell with a negative length")]
pub struct NegativeLength;

/// Rows with equally many cells each.
#[derive(Debug, Clone)]
pub struct RowBatch {
    rows: usize,
    cells: usize,
    bytes: Vec<u8>,
    /// Of each cell of each row its place in `bytes`, and in the end that of the next one.
    starts: Vec<u32>,
    /// Columns whose cells are text in the server's own form; empty when none are.
    spelled: Vec<bool>,
    apart: Vec<(CellKind, Bytes)>,
    apart_bytes: usize,
}

impl RowBatch {
    /// No rows yet, with room for `rows` rows of `cells` cells and for `bytes` bytes with lengths.
    pub fn with_capacity(cells: usize, rows: usize, bytes: usize) -> Self {
        let mut starts = Vec::with_capacity(rows * cells + 1);
        starts.push(0);
        let bytes = Vec::with_capacity(bytes);
        Self { rows: 0, cells, bytes, starts, spelled: Vec::new(), apart: Vec::new(), apart_bytes: 0 }
    }

    /// No rows yet. The cells of the columns with a flag will be text in the server's own form.
    #[must_use]
    pub fn with_spelled(mut self, flags: &[bool]) -> Self {
        if flags.contains(&true) {
            flags.clone_into(&mut self.spelled);
        }
        self
    }

    /// Count of rows.
    #[inline]
    pub fn len(&self) -> usize {
        self.rows
    }

    /// True without rows.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Count of cells of each row.
    #[inline]
    pub fn cells(&self) -> usize {
        self.cells
    }

    /// Bytes of memory that the rows hold.
    #[inline]
    pub fn bytes_held(&self) -> usize {
        self.bytes.len() + self.starts.len() * size_of::<u32>() + self.apart_bytes
    }

    /// A cell; `None` outside of the rows.
    #[inline]
    pub fn cell(&self, row: usize, index: usize) -> Option<Cell<'_>> {
        let framed = self.framed(row, index)?;
        // The most frequent one, without a look at its length or at the other cases.
        match framed.get(HEAD..) {
            Some(bytes) if !bytes.is_empty() && self.apart.is_empty() && self.spelled.is_empty() => Some(Cell::Binary(bytes)),
            _ => self.cell_of(framed, index),
        }
    }

    fn cell_of<'a>(&'a self, framed: &'a [u8], index: usize) -> Option<Cell<'a>> {
        let (head, bytes) = framed.split_first_chunk::<HEAD>()?;
        Some(match i32::from_be_bytes(*head) {
            NULL => Cell::Null,
            0.. if self.spelled.get(index) == Some(&true) => Cell::Text(bytes),
            0.. => Cell::Binary(bytes),
            number => self.cell_apart(number)?,
        })
    }

    /// True when the rows have a cell that lies apart: a large, unknown or faulty one, or text in a column that is not spelled throughout.
    #[inline]
    pub fn has_apart(&self) -> bool {
        !self.apart.is_empty()
    }

    /// The bytes of a large cell, to be shared; `None` for every other.
    #[inline]
    pub fn large_cell(&self, row: usize, index: usize) -> Option<&Bytes> {
        if self.apart.is_empty() {
            return None;
        }
        self.apart.get(place_apart(self.length(row, index)?)?).map(|(_, bytes)| bytes).filter(|bytes| bytes.len() >= LARGE_BYTES)
    }

    /// Neighbouring binary cells of a row, each behind its length; `None` where one of them is of another kind or lies apart.
    #[inline]
    pub fn run(&self, row: usize, cells: Range<usize>) -> Option<&[u8]> {
        if cells.end > self.cells || self.spelled.get(cells.clone()).is_some_and(|flags| flags.contains(&true)) {
            return None;
        }
        if !self.apart.is_empty() && cells.clone().any(|index| self.length(row, index).is_none_or(|length| length < NULL)) {
            return None;
        }
        let first = row * self.cells;
        let (start, end) = (*self.starts.get(first + cells.start)?, *self.starts.get(first + cells.end)?);
        self.bytes.get(start as usize..end as usize)
    }

    /// The row at this place, alone. Large cells are shared.
    ///
    /// # Panics
    /// When there is none.
    pub fn row(&self, row: usize) -> Row {
        assert!(row < self.rows, "found {} rows, wanted number {row}", self.rows);
        let bytes = self.run(row, 0..self.cells).map_or(0, <[u8]>::len);
        let mut builder = RowBuilder::with_capacity(self.cells, bytes);
        for index in 0..self.cells {
            match (self.cell(row, index).expect("the row has that cell"), self.large_cell(row, index)) {
                (cell, Some(large)) => builder.push_large(large.clone(), matches!(cell, Cell::Text(_))),
                (cell, None) => builder.push(cell),
            }
        }
        builder.finish()
    }

    /// All rows, in order, each alone.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Row> + '_ {
        (0..self.rows).map(|row| self.row(row))
    }

    /// Appends a row whose cells lie in `whole` from `at` on, each behind its length, and says where it ends; `None`, and no row, when
    /// `whole` ends before. Large cells share `whole`.
    ///
    /// # Errors
    /// [`NegativeLength`], and no row.
    ///
    /// # Panics
    /// When all rows together would exceed 4 GiB, likewise below.
    pub fn push_framed(&mut self, whole: &Bytes, at: usize) -> Result<Option<usize>, NegativeLength> {
        let (known, first) = (self.starts.len(), self.bytes.len());
        let (mut end, mut has_large) = (at, false);
        for _ in 0..self.cells {
            let Some(head) = whole.get(end..).and_then(<[u8]>::first_chunk::<HEAD>) else {
                self.starts.truncate(known);
                return Ok(None);
            };
            let length = match i32::from_be_bytes(*head) {
                NULL => 0,
                length => match usize::try_from(length) {
                    Ok(length) => length,
                    Err(_) => {
                        self.starts.truncate(known);
                        return Err(NegativeLength);
                    }
                },
            };
            has_large |= length >= LARGE_BYTES;
            end += HEAD + length;
            self.starts.push(offset(first + end - at));
        }
        if end > whole.len() {
            self.starts.truncate(known);
            return Ok(None);
        }
        if has_large {
            self.starts.truncate(known);
            self.push_large_framed(whole, at);
        } else {
            self.bytes.extend_from_slice(&whole[at..end]);
            self.rows += 1;
        }
        Ok(Some(end))
    }

    /// Appends a copy of a row. Large cells are shared.
    ///
    /// # Panics
    /// When the row has another count of cells.
    pub fn push_row(&mut self, row: &Row) {
        for (index, cell) in row.cells().enumerate() {
            match row.large_cell(index) {
                Some(large) => self.push_apart(kind(cell), large.clone()),
                None => self.push(cell),
            }
        }
        self.end_row();
    }

    /// Appends a copy of the next cell of a row.
    pub fn push(&mut self, cell: Cell<'_>) {
        match cell {
            Cell::Null => self.push_null(),
            Cell::Binary(bytes) => self.push_with(|out| out.extend_from_slice(bytes)),
            Cell::Text(bytes) => self.push_apart(CellKind::Text, Bytes::copy_from_slice(bytes)),
            Cell::Unchanged | Cell::Absent => self.push_apart(kind(cell), Bytes::new()),
            Cell::Faulty(fault) => self.push_apart(CellKind::Faulty, Bytes::copy_from_slice(&[fault as u8])),
        }
    }

    /// Appends a cell whose bytes lie in `whole`: a large one shares it, another is copied.
    pub fn push_within(&mut self, cell: Cell<'_>, whole: &Bytes) {
        match cell {
            Cell::Binary(bytes) | Cell::Text(bytes) if bytes.len() >= LARGE_BYTES && lies_in(bytes, whole) => {
                self.push_apart(kind(cell), whole.slice_ref(bytes));
            }
            cell => self.push(cell),
        }
    }

    /// Appends a binary cell whose bytes `write` appends, without a copy in between.
    #[inline]
    pub fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; HEAD]);
        write(&mut self.bytes);
        let length = self.bytes.len() - start - HEAD;
        if length >= LARGE_BYTES {
            let large = self.bytes.split_off(start + HEAD);
            self.bytes.truncate(start);
            return self.push_apart(CellKind::Binary, large.into());
        }
        self.bytes[start..start + HEAD].copy_from_slice(&(length as i32).to_be_bytes());
        self.starts.push(offset(self.bytes.len()));
    }

    /// Puts a faulty cell in the place of the last one, of which perhaps a part was written.
    ///
    /// # Panics
    /// Without a cell.
    pub fn spoil_last(&mut self, fault: ValueFault) {
        self.starts.pop();
        let start = *self.starts.last().expect("a cell was pushed") as usize;
        let head = self.bytes[start..].first_chunk::<HEAD>().expect("each cell has a length");
        if place_apart(i32::from_be_bytes(*head)).is_some()
            && let Some((_, bytes)) = self.apart.pop()
        {
            self.apart_bytes -= bytes.len() + size_of::<(CellKind, Bytes)>();
        }
        self.bytes.truncate(start);
        self.push(Cell::Faulty(fault));
    }

    /// Ends a row.
    ///
    /// # Panics
    /// When it has another count of cells than the rows should have.
    #[inline]
    pub fn end_row(&mut self) {
        self.rows += 1;
        assert_eq!(self.starts.len(), self.rows * self.cells + 1, "each row has as many cells as its table has columns");
    }

    /// A cell behind its length.
    #[inline]
    fn framed(&self, row: usize, index: usize) -> Option<&[u8]> {
        if index >= self.cells {
            return None;
        }
        let place = row * self.cells + index;
        let (start, end) = (*self.starts.get(place)?, *self.starts.get(place + 1)?);
        self.bytes.get(start as usize..end as usize)
    }

    fn length(&self, row: usize, index: usize) -> Option<i32> {
        self.framed(row, index)?.first_chunk::<HEAD>().map(|head| i32::from_be_bytes(*head))
    }

    fn cell_apart(&self, number: i32) -> Option<Cell<'_>> {
        let (kind, bytes) = self.apart.get(place_apart(number)?)?;
        Some(match kind {
            CellKind::Null => Cell::Null,
            CellKind::Unchanged => Cell::Unchanged,
            CellKind::Absent => Cell::Absent,
            CellKind::Binary => Cell::Binary(bytes),
            CellKind::Text => Cell::Text(bytes),
            CellKind::Faulty => faulty(bytes),
        })
    }

    fn push_null(&mut self) {
        self.bytes.extend_from_slice(&NULL.to_be_bytes());
        self.starts.push(offset(self.bytes.len()));
    }

    fn push_apart(&mut self, kind: CellKind, bytes: Bytes) {
        let number = i32::try_from(self.apart.len()).expect("a batch has fewer than 2^31 cells apart") + i32::MIN;
        self.apart_bytes += bytes.len() + size_of::<(CellKind, Bytes)>();
        self.apart.push((kind, bytes));
        self.bytes.extend_from_slice(&number.to_be_bytes());
        self.starts.push(offset(self.bytes.len()));
    }

    /// As [`RowBatch::push_framed`], cell by cell, of a row that was walked over.
    fn push_large_framed(&mut self, whole: &Bytes, mut at: usize) {
        for index in 0..self.cells {
            let head = whole[at..].first_chunk::<HEAD>().expect("the row was walked over");
            at += HEAD;
            let Ok(length) = usize::try_from(i32::from_be_bytes(*head)) else {
                self.push_null();
                continue;
            };
            let bytes = &whole[at..at + length];
            at += length;
            if length < LARGE_BYTES {
                self.push(Cell::Binary(bytes));
            } else {
                let is_spelled = self.spelled.get(index) == Some(&true);
                self.push_apart(if is_spelled { CellKind::Text } else { CellKind::Binary }, whole.slice_ref(bytes));
            }
        }
        self.end_row();
    }
}

impl FromIterator<Row> for RowBatch {
    /// # Panics
    /// When the rows have different counts of cells.
    fn from_iter<I: IntoIterator<Item = Row>>(rows: I) -> Self {
        let mut rows = rows.into_iter().peekable();
        let mut batch = RowBatch::with_capacity(rows.peek().map_or(0, Row::len), rows.size_hint().0, 0);
        rows.for_each(|row| batch.push_row(&row));
        batch
    }
}

fn kind(cell: Cell<'_>) -> CellKind {
    match cell {
        Cell::Null => CellKind::Null,
        Cell::Unchanged => CellKind::Unchanged,
        Cell::Absent => CellKind::Absent,
        Cell::Binary(_) => CellKind::Binary,
        Cell::Text(_) => CellKind::Text,
        Cell::Faulty(_) => CellKind::Faulty,
    }
}

#[inline]
fn place_apart(length: i32) -> Option<usize> {
    (length < NULL).then(|| (length.wrapping_sub(i32::MIN)) as usize)
}

#[inline]
fn offset(at: usize) -> u32 {
    u32::try_from(at).expect("rows of a batch are smaller than 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::super::tests::row;
    use super::*;

    fn framed(cells: &[Option<&[u8]>]) -> Vec<u8> {
        let one = |cell: &Option<&[u8]>| match cell {
            None => vec![0xff; 4],
            Some(bytes) => [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat(),
        };
        cells.iter().flat_map(one).collect()
    }

    #[test]
    fn rows_read_back_as_they_were_pushed() {
        let large = vec![b'x'; LARGE_BYTES];
        let rows = [
            row(&[Cell::Null, Cell::Binary(b""), Cell::Text(b"0000-00-00")]),
            row(&[Cell::Binary(b"abc"), Cell::Unchanged, Cell::Absent]),
            row(&[Cell::Binary(&large), Cell::Text(&large), Cell::Binary(b"z")]),
        ];
        let batch: RowBatch = rows.clone().into_iter().collect();
        assert_eq!(batch.iter().collect::<Vec<_>>(), rows);
        assert_eq!((batch.len(), batch.cells(), batch.cell(3, 0), batch.cell(0, 3)), (3, 3, None, None));
        assert!(batch.large_cell(0, 2).is_none() && batch.large_cell(2, 2).is_none() && batch.large_cell(1, 1).is_none());
        let shared = |index| batch.large_cell(2, index).map(|bytes| bytes.as_ptr());
        assert_eq!(shared(1), rows[2].large_cell(1).map(|bytes| bytes.as_ptr()));
        assert_eq!(shared(0), batch.row(2).large_cell(0).map(|bytes| bytes.as_ptr()));
        assert!(batch.bytes_held() > 2 * LARGE_BYTES);
        assert_eq!(RowBatch::from_iter([row(&[]), row(&[])]).len(), 2, "rows without cells count, too");
    }

    #[test]
    fn framed_rows_come_and_leave_in_one_piece() {
        let first = framed(&[Some(b"ab"), None, Some(b"")]);
        let second = framed(&[None, Some(b"c"), Some(b"de")]);
        let whole = Bytes::from([&b"__"[..], &first, &second].concat());
        let mut batch = RowBatch::with_capacity(3, 2, 64).with_spelled(&[false, false, false]);
        assert_eq!(batch.push_framed(&whole, 2), Ok(Some(2 + first.len())));
        for cut in 2 + first.len()..whole.len() {
            assert_eq!(batch.push_framed(&whole.slice(..cut), 2 + first.len()), Ok(None), "cut at {cut}");
        }
        assert_eq!(batch.push_framed(&whole, 2 + first.len()), Ok(Some(whole.len())));
        let rows =
            [row(&[Cell::Binary(b"ab"), Cell::Null, Cell::Binary(b"")]), row(&[Cell::Null, Cell::Binary(b"c"), Cell::Binary(b"de")])];
        assert_eq!(batch.iter().collect::<Vec<_>>(), rows);
        assert_eq!((batch.run(0, 0..3), batch.run(1, 0..3)), (Some(&first[..]), Some(&second[..])));
        assert_eq!(batch.run(1, 1..2), Some(&framed(&[Some(b"c")])[..]));
        assert_eq!((batch.run(1, 2..2), batch.run(0, 2..4), batch.run(2, 0..3)), (Some(&b""[..]), None, None));
        let negative = Bytes::from([&(-2i32).to_be_bytes()[..], &second].concat());
        assert_eq!(batch.push_framed(&negative, 0), Err(NegativeLength));
        assert_eq!(batch.len(), 2, "what is no row leaves nothing behind");
        assert_eq!(batch.row(1), rows[1]);
    }

    #[test]
    fn cells_that_are_spelled_or_lie_apart_are_in_no_run() {
        let large = vec![b'x'; LARGE_BYTES];
        let whole = Bytes::from(framed(&[Some(b"a"), Some(b"b"), Some(&large), None]));
        let mut batch = RowBatch::with_capacity(4, 1, 64).with_spelled(&[false, true, false, false]);
        assert_eq!(batch.push_framed(&whole, 0), Ok(Some(whole.len())));
        assert_eq!(batch.row(0), row(&[Cell::Binary(b"a"), Cell::Text(b"b"), Cell::Binary(&large), Cell::Null]));
        assert_eq!(batch.large_cell(0, 2).map(|bytes| bytes.as_ptr()), Some(whole[14..].as_ptr()));
        assert_eq!((batch.run(0, 0..2), batch.run(0, 2..3), batch.run(0, 1..2)), (None, None, None));
        assert_eq!((batch.run(0, 0..1), batch.run(0, 3..4)), (Some(&b"\0\0\0\x01a"[..]), Some(&[0xff; 4][..])));
    }
}
