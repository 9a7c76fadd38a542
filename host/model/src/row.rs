//! Rows in the source's own encoding: one shared buffer and a span for each cell.
//!
//! A row is copied once, out of the network buffer, and then only shared. Who wants a typed value asks the table's
//! decoder (`connector::CellDecoder`) for it; who passes a cell through copies its bytes. A large cell is not even copied
//! once: it keeps the network buffer that it came in, and whoever holds the row shares it.

mod batch;
mod fault;
mod rows;

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use crate::Value;

pub use batch::{NegativeLength, RowBatch};
pub use fault::ValueFault;
pub use rows::{RowsBuilder, RowsTooLarge};

/// A cell from so many bytes on has a buffer of its own. As large as the parts in which rows travel to targets, so that
/// what is smaller is copied into those. Chosen by guess.
pub const LARGE_BYTES: usize = 256 << 10;

/// In a span's end: the cell is the large one with the number in the span's start.
const LARGE: u32 = u32::MAX;

/// What a cell holds, without its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CellKind {
    /// SQL NULL.
    Null,
    /// The source did not send the value because the change left it as it was (PostgreSQL: an unchanged TOASTed
    /// value; MySQL: a row image that is not full). It is not NULL.
    Unchanged,
    /// The source's log does not carry the value at all (a key-only before image). It is not NULL either.
    Absent,
    /// Bytes in the table's [`RowEncoding`](crate::schema::RowEncoding).
    Binary,
    /// Bytes in the server's own text form; PostgreSQL sends it for types without a binary form.
    Text,
    /// A value that nobody can read: the number of its [`ValueFault`].
    Faulty,
}

/// One cell of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell<'a> {
    /// SQL NULL.
    Null,
    /// See [`CellKind::Unchanged`].
    Unchanged,
    /// See [`CellKind::Absent`].
    Absent,
    /// Bytes in the table's encoding.
    Binary(&'a [u8]),
    /// Bytes in the server's text form.
    Text(&'a [u8]),
    /// A value that nobody can read. It is never taken for another one: whoever needs it has a row at fault.
    Faulty(ValueFault),
}

impl Cell<'_> {
    /// True when the cell says what the column holds, if only that nobody can read it.
    #[inline]
    pub fn is_known(&self) -> bool {
        matches!(self, Cell::Null | Cell::Binary(_) | Cell::Text(_) | Cell::Faulty(_))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Span {
    kind: CellKind,
    start: u32,
    end: u32,
}

impl Span {
    #[inline]
    fn cell<'a>(self, buffer: &'a [u8], large: &'a [Bytes]) -> Cell<'a> {
        let bytes = || if self.end == LARGE { &large[self.start as usize][..] } else { &buffer[self.start as usize..self.end as usize] };
        match self.kind {
            CellKind::Null => Cell::Null,
            CellKind::Unchanged => Cell::Unchanged,
            CellKind::Absent => Cell::Absent,
            CellKind::Binary => Cell::Binary(bytes()),
            CellKind::Text => Cell::Text(bytes()),
            CellKind::Faulty => faulty(bytes()),
        }
    }
}

fn faulty(number: &[u8]) -> Cell<'static> {
    Cell::Faulty(number.first().and_then(|number| ValueFault::by_number(*number)).expect("only the builders write it"))
}

/// One row image: as many cells as the table description it belongs to has columns, in the same order.
///
/// Its bytes may lie in a buffer that it shares with other rows; equal rows have equal cells, wherever those lie.
#[derive(Debug, Clone)]
pub struct Row {
    bytes: Bytes,
    spans: Box<[Span]>,
    /// Bytes of large cells. Few rows have any, so the others pay no more than a pointer.
    large: Option<Arc<Vec<Bytes>>>,
}

impl PartialEq for Row {
    fn eq(&self, other: &Row) -> bool {
        self.len() == other.len() && self.cells().eq(other.cells())
    }
}

impl Eq for Row {}

impl Row {
    /// Count of cells.
    #[inline]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// True for a table without columns.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The cell at `index`; `None` past the end.
    #[inline]
    pub fn cell(&self, index: usize) -> Option<Cell<'_>> {
        Some(self.spans.get(index)?.cell(&self.bytes, self.large.as_ref().map_or(&[], |large| &large[..])))
    }

    /// The bytes of a large cell, to be shared; `None` for every other.
    #[inline]
    pub fn large_cell(&self, index: usize) -> Option<&Bytes> {
        let large = self.large.as_ref()?;
        let span = self.spans.get(index).filter(|span| span.end == LARGE)?;
        large.get(span.start as usize)
    }

    /// True when a cell is large.
    #[inline]
    pub fn has_large(&self) -> bool {
        self.large.is_some()
    }

    /// All cells in order.
    pub fn cells(&self) -> impl ExactSizeIterator<Item = Cell<'_>> {
        (0..self.len()).map(|index| self.cell(index).expect("index is below len"))
    }

    /// Bytes of memory that the row holds, its own structure included.
    pub fn bytes_held(&self) -> usize {
        let small = self.spans.iter().filter(|span| span.end != LARGE).map(|span| (span.end - span.start) as usize);
        let cells = small.sum::<usize>() + self.large.iter().flat_map(|large| large.iter()).map(Bytes::len).sum::<usize>();
        cells + self.spans.len() * size_of::<Span>() + size_of::<Self>()
    }

    /// The row with each cell of `self` that is not known (unchanged, absent) taken from `earlier`, where that one is known.
    pub fn filled_from(&self, earlier: &Row) -> Row {
        if self.cells().all(|cell| cell.is_known()) {
            return self.clone();
        }
        let mut builder = RowBuilder::with_capacity(self.len(), self.bytes.len() + earlier.bytes.len());
        for (index, cell) in self.cells().enumerate() {
            let known_earlier = earlier.cell(index).filter(Cell::is_known);
            let from = if !cell.is_known() && known_earlier.is_some() { earlier } else { self };
            builder.push_of(from, index);
        }
        builder.finish()
    }

    /// A row of values in their neutral form; what is not known is [`Cell::Unchanged`].
    pub fn neutral<'a>(values: impl ExactSizeIterator<Item = Option<Value<'a>>>) -> Row {
        let mut builder = RowBuilder::with_capacity(values.len(), 64);
        for value in values {
            match value {
                None => builder.push(Cell::Unchanged),
                Some(Value::Null) => builder.push(Cell::Null),
                Some(value) => builder.push_with(|out| value.write_neutral(out)),
            }
        }
        builder.finish()
    }

    /// Writes the row in the form that [`Row::read_from`] reads: for the change cache's segment files, which live no
    /// longer than the process, so the form may change between versions.
    pub fn write_to(&self, out: &mut impl RowSink) {
        out.buffer().put_u32_le(self.spans.len() as u32);
        for (index, (span, cell)) in self.spans.iter().zip(self.cells()).enumerate() {
            let buffer = out.buffer();
            buffer.put_u8(span.kind as u8);
            match cell {
                Cell::Binary(bytes) | Cell::Text(bytes) => {
                    buffer.put_u32_le(bytes.len() as u32);
                    match self.large_cell(index) {
                        Some(large) => out.put_large(large),
                        None => buffer.put_slice(bytes),
                    }
                }
                Cell::Faulty(fault) => buffer.put_u8(fault as u8),
                Cell::Null | Cell::Unchanged | Cell::Absent => {}
            }
        }
    }

    /// Reads what [`Row::write_to`] wrote and moves `input` past it; `None` when `input` is cut or no such form. Large cells
    /// share `whole`, where `input` lies in it.
    pub fn read_from(input: &mut &[u8], whole: &Bytes) -> Option<Row> {
        let count = take_u32(input)? as usize;
        // Each cell takes at least one byte, which bounds the allocation by the input.
        if count > input.len() {
            return None;
        }
        let mut builder = RowBuilder::with_capacity(count, 64);
        for _ in 0..count {
            let (kind, rest) = input.split_first()?;
            *input = rest;
            match *kind {
                kind if kind == CellKind::Null as u8 => builder.push(Cell::Null),
                kind if kind == CellKind::Unchanged as u8 => builder.push(Cell::Unchanged),
                kind if kind == CellKind::Absent as u8 => builder.push(Cell::Absent),
                kind if kind == CellKind::Binary as u8 => builder.push_within(Cell::Binary(take_bytes(input)?), whole),
                kind if kind == CellKind::Text as u8 => builder.push_within(Cell::Text(take_bytes(input)?), whole),
                kind if kind == CellKind::Faulty as u8 => {
                    let (number, rest) = input.split_first()?;
                    *input = rest;
                    builder.push(Cell::Faulty(ValueFault::by_number(*number)?));
                }
                _ => return None,
            }
        }
        Some(builder.finish())
    }
}

fn take_u32(input: &mut &[u8]) -> Option<u32> {
    let (head, rest) = input.split_first_chunk::<4>()?;
    *input = rest;
    Some(u32::from_le_bytes(*head))
}

fn take_bytes<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = take_u32(input)? as usize;
    let (head, rest) = input.split_at_checked(length)?;
    *input = rest;
    Some(head)
}

/// Where [`Row::write_to`] writes to.
pub trait RowSink {
    /// Takes what is small, at its end.
    fn buffer(&mut self) -> &mut BytesMut;
    /// Takes a large cell, behind what was put before.
    fn put_large(&mut self, bytes: &Bytes);
}

impl RowSink for BytesMut {
    fn buffer(&mut self) -> &mut BytesMut {
        self
    }

    fn put_large(&mut self, bytes: &Bytes) {
        self.extend_from_slice(bytes);
    }
}

/// Builds a row cell by cell.
#[derive(Debug, Default)]
pub struct RowBuilder {
    bytes: BytesMut,
    spans: Vec<Span>,
    large: Vec<Bytes>,
}

impl RowBuilder {
    /// A builder with room for `cells` cells and `bytes` bytes.
    pub fn with_capacity(cells: usize, bytes: usize) -> Self {
        Self { bytes: BytesMut::with_capacity(bytes), spans: Vec::with_capacity(cells), large: Vec::new() }
    }

    /// Appends a copy of `cell`.
    ///
    /// # Panics
    /// When the row would exceed 4 GiB, which no supported server can send.
    #[inline]
    pub fn push(&mut self, cell: Cell<'_>) {
        match cell {
            Cell::Null => self.push_empty(CellKind::Null),
            Cell::Unchanged => self.push_empty(CellKind::Unchanged),
            Cell::Absent => self.push_empty(CellKind::Absent),
            Cell::Binary(bytes) => self.push_with(|out| out.extend_from_slice(bytes)),
            Cell::Text(bytes) => {
                self.push_with(|out| out.extend_from_slice(bytes));
                self.spans.last_mut().expect("a span was pushed above").kind = CellKind::Text;
            }
            Cell::Faulty(fault) => {
                self.push_with(|out| out.put_u8(fault as u8));
                self.spans.last_mut().expect("a span was pushed above").kind = CellKind::Faulty;
            }
        }
    }

    /// Appends a cell whose bytes lie in `whole`: a large one shares it, another is copied.
    #[inline]
    pub fn push_within(&mut self, cell: Cell<'_>, whole: &Bytes) {
        match cell {
            Cell::Binary(bytes) | Cell::Text(bytes) if bytes.len() >= LARGE_BYTES && lies_in(bytes, whole) => {
                self.push_large(whole.slice_ref(bytes), matches!(cell, Cell::Text(_)));
            }
            cell => self.push(cell),
        }
    }

    /// Appends the cell of a row; a large one is shared.
    ///
    /// # Panics
    /// When the row has no such cell.
    pub fn push_of(&mut self, row: &Row, index: usize) {
        let cell = row.cell(index).expect("the caller counts the cells");
        match row.large_cell(index) {
            Some(large) => self.push_large(large.clone(), matches!(cell, Cell::Text(_))),
            None => self.push(cell),
        }
    }

    fn push_large(&mut self, bytes: Bytes, is_text: bool) {
        let number = u32::try_from(self.large.len()).expect("a row has fewer than 2^32 cells");
        self.large.push(bytes);
        self.spans.push(Span { kind: if is_text { CellKind::Text } else { CellKind::Binary }, start: number, end: LARGE });
    }

    /// Appends a binary cell whose bytes `write` appends to the row's buffer, without a copy in between.
    #[inline]
    pub fn push_with(&mut self, write: impl FnOnce(&mut BytesMut)) {
        let start = self.offset();
        write(&mut self.bytes);
        let end = self.offset();
        if (end - start) as usize >= LARGE_BYTES {
            let large = self.bytes.split_off(start as usize).freeze();
            return self.push_large(large, false);
        }
        self.spans.push(Span { kind: CellKind::Binary, start, end });
    }

    /// Says of the last cell that its bytes are text in the server's own form.
    #[inline]
    pub fn spell_last(&mut self) {
        if let Some(span) = self.spans.last_mut() {
            span.kind = CellKind::Text;
        }
    }

    /// Puts a faulty cell in the place of the last one, of which perhaps a part was written.
    pub fn spoil_last(&mut self, fault: ValueFault) {
        match self.spans.pop() {
            Some(span) if span.end == LARGE => self.large.truncate(span.start as usize),
            Some(span) => self.bytes.truncate(span.start as usize),
            None => {}
        }
        self.push(Cell::Faulty(fault));
    }

    /// The finished row.
    pub fn finish(self) -> Row {
        let large = (!self.large.is_empty()).then(|| Arc::new(self.large));
        Row { bytes: self.bytes.freeze(), spans: self.spans.into_boxed_slice(), large }
    }

    #[inline]
    fn push_empty(&mut self, kind: CellKind) {
        let at = self.offset();
        self.spans.push(Span { kind, start: at, end: at });
    }

    #[inline]
    fn offset(&self) -> u32 {
        u32::try_from(self.bytes.len()).ok().filter(|at| *at != LARGE).expect("a row is smaller than 4 GiB")
    }
}

/// A part of a buffer, to be shared; `None` when the part lies elsewhere.
pub fn shared_part(whole: &Bytes, part: &[u8]) -> Option<Bytes> {
    lies_in(part, whole).then(|| whole.slice_ref(part))
}

fn lies_in(part: &[u8], whole: &Bytes) -> bool {
    let (start, at) = (whole.as_ptr() as usize, part.as_ptr() as usize);
    at >= start && at + part.len() <= start + whole.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn row(cells: &[Cell<'_>]) -> Row {
        let mut builder = RowBuilder::default();
        for cell in cells {
            builder.push(*cell);
        }
        builder.finish()
    }

    #[test]
    fn a_row_read_back_is_the_row_written() {
        let faulty = Cell::Faulty(ValueFault::CharsetBytes);
        let all = row(&[Cell::Null, Cell::Unchanged, faulty, Cell::Absent, Cell::Binary(b""), Cell::Text(b"x"), Cell::Binary(&[0; 300])]);
        let mut out = BytesMut::new();
        all.write_to(&mut out);
        let mut input = &out[..];
        let whole = Bytes::new();
        assert_eq!(Row::read_from(&mut input, &whole).as_ref(), Some(&all));
        assert!(input.is_empty());
        for cut in 0..out.len() {
            assert_eq!(Row::read_from(&mut &out[..cut], &whole), None, "cut at {cut}");
        }
    }

    #[test]
    fn a_spoilt_cell_leaves_nothing_of_its_value_and_is_not_filled_from_an_earlier_row() {
        for length in [3, LARGE_BYTES] {
            let mut builder = RowBuilder::default();
            builder.push(Cell::Binary(b"key"));
            builder.push_with(|out| out.resize(out.len() + length, b'x'));
            builder.spoil_last(ValueFault::EnumEmpty);
            builder.push(Cell::Unchanged);
            let spoilt = builder.finish();
            let faulty = Cell::Faulty(ValueFault::EnumEmpty);
            assert_eq!(spoilt, row(&[Cell::Binary(b"key"), faulty, Cell::Unchanged]));
            let earlier = row(&[Cell::Binary(b"key"), Cell::Binary(b"a"), Cell::Binary(b"b")]);
            assert_eq!(spoilt.filled_from(&earlier), row(&[Cell::Binary(b"key"), faulty, Cell::Binary(b"b")]));
            assert!(!spoilt.has_large() && spoilt.bytes_held() < LARGE_BYTES);

            let mut batch = RowBatch::with_capacity(3, 1, 0);
            batch.push(Cell::Binary(b"key"));
            batch.push_with(|out| out.resize(out.len() + length, b'x'));
            batch.spoil_last(ValueFault::EnumEmpty);
            batch.push(Cell::Unchanged);
            batch.end_row();
            assert_eq!((batch.row(0), batch.run(0, 0..2)), (spoilt, None));
            assert!(batch.bytes_held() < LARGE_BYTES);
        }
    }

    #[test]
    fn large_cells_share_their_buffer_wherever_the_row_goes() {
        let whole = Bytes::from(vec![b'x'; LARGE_BYTES + 10]);
        let part = &whole[3..];
        let mut builder = RowBuilder::default();
        builder.push(Cell::Binary(b"key"));
        builder.push_within(Cell::Text(part), &whole);
        builder.push_with(|out| out.extend_from_slice(part));
        builder.push_within(Cell::Binary(part), &whole);
        builder.push(Cell::Null);
        let row = builder.finish();
        let at = |row: &Row, index| row.large_cell(index).map(|bytes| bytes.as_ptr());
        assert_eq!(at(&row, 1), Some(part.as_ptr()));
        assert_eq!(row.cell(1), Some(Cell::Text(part)));
        assert_eq!((row.cell(2), row.cell(3)), (Some(Cell::Binary(part)), Some(Cell::Binary(part))));
        assert_eq!((row.large_cell(0), row.large_cell(4), row.has_large()), (None, None, true));
        assert!(row.bytes_held() > 3 * part.len());
        assert_eq!(shared_part(&whole, &part[5..]).map(|bytes| bytes.as_ptr()), Some(part[5..].as_ptr()));
        assert_eq!(shared_part(&whole, b"elsewhere"), None);

        let later = self::row(&[Cell::Binary(b"new"), Cell::Unchanged, Cell::Null, Cell::Unchanged, Cell::Null]);
        let filled = later.filled_from(&row);
        assert_eq!((at(&filled, 1), at(&filled, 3)), (at(&row, 1), at(&row, 3)));

        let mut out = BytesMut::new();
        row.write_to(&mut out);
        let written = out.freeze();
        let read = Row::read_from(&mut &written[..], &written).expect("what was written");
        assert_eq!(read, row);
        assert!(lies_in(read.large_cell(2).expect("it is large"), &written));
        assert_eq!(Row::read_from(&mut &written[..], &Bytes::new()).as_ref(), Some(&row), "copied where it lies elsewhere");
    }

    #[test]
    fn unknown_cells_are_filled_from_the_earlier_row_and_known_ones_are_kept() {
        let later = row(&[Cell::Unchanged, Cell::Null, Cell::Binary(b"new"), Cell::Absent, Cell::Unchanged]);
        let earlier = row(&[Cell::Binary(b"old"), Cell::Binary(b"old"), Cell::Binary(b"old"), Cell::Text(b"t"), Cell::Absent]);
        assert_eq!(
            later.filled_from(&earlier),
            row(&[Cell::Binary(b"old"), Cell::Null, Cell::Binary(b"new"), Cell::Text(b"t"), Cell::Unchanged])
        );
    }
}
