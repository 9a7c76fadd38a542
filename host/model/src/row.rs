//! Rows in the source's own encoding: one shared buffer and a span for each cell.
//!
//! A row is copied once, out of the network buffer, and then only shared. Who wants a typed value asks the table's
//! decoder (`connector::CellDecoder`) for it; who passes a cell through copies its bytes.

use bytes::{BufMut, Bytes, BytesMut};

/// What a cell holds, without its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CellKind {
    /// SQL NULL.
    Null,
    /// The source did not send the value because the change left it as it was (PostgreSQL: an unchanged TOASTed
    /// value). It is not NULL.
    Unchanged,
    /// The source's log does not carry the value at all (a key-only before image). It is not NULL either.
    Absent,
    /// Bytes in the table's [`RowEncoding`](crate::schema::RowEncoding).
    Binary,
    /// Bytes in the server's own text form; PostgreSQL sends it for types without a binary form.
    Text,
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
}

impl Cell<'_> {
    /// True when the cell says what the column holds: NULL or bytes.
    #[inline]
    pub fn is_known(&self) -> bool {
        matches!(self, Cell::Null | Cell::Binary(_) | Cell::Text(_))
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
    fn cell(self, buffer: &[u8]) -> Cell<'_> {
        let bytes = || &buffer[self.start as usize..self.end as usize];
        match self.kind {
            CellKind::Null => Cell::Null,
            CellKind::Unchanged => Cell::Unchanged,
            CellKind::Absent => Cell::Absent,
            CellKind::Binary => Cell::Binary(bytes()),
            CellKind::Text => Cell::Text(bytes()),
        }
    }
}

/// One row image: as many cells as the table description it belongs to has columns, in the same order.
///
/// Its bytes may lie in a buffer that it shares with other rows; equal rows have equal cells, wherever those lie.
#[derive(Debug, Clone)]
pub struct Row {
    bytes: Bytes,
    spans: Box<[Span]>,
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
        Some(self.spans.get(index)?.cell(&self.bytes))
    }

    /// All cells in order.
    pub fn cells(&self) -> impl ExactSizeIterator<Item = Cell<'_>> {
        (0..self.len()).map(|index| self.cell(index).expect("index is below len"))
    }

    /// Bytes of memory that the row holds, its own structure included.
    pub fn bytes_held(&self) -> usize {
        let cells: usize = self.spans.iter().map(|span| (span.end - span.start) as usize).sum();
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
            let chosen = if cell.is_known() { cell } else { known_earlier.unwrap_or(cell) };
            builder.push(chosen);
        }
        builder.finish()
    }

    /// Writes the row in the form that [`Row::read_from`] reads: for the change cache's segment files, which live no
    /// longer than the process, so the form may change between versions.
    pub fn write_to(&self, out: &mut BytesMut) {
        out.put_u32_le(self.spans.len() as u32);
        for (span, cell) in self.spans.iter().zip(self.cells()) {
            out.put_u8(span.kind as u8);
            if let Cell::Binary(bytes) | Cell::Text(bytes) = cell {
                out.put_u32_le(bytes.len() as u32);
                out.put_slice(bytes);
            }
        }
    }

    /// Reads what [`Row::write_to`] wrote and moves `input` past it; `None` when `input` is cut or no such form.
    pub fn read_from(input: &mut &[u8]) -> Option<Row> {
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
                kind if kind == CellKind::Binary as u8 => builder.push(Cell::Binary(take_bytes(input)?)),
                kind if kind == CellKind::Text as u8 => builder.push(Cell::Text(take_bytes(input)?)),
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

/// Builds a row cell by cell.
#[derive(Debug, Default)]
pub struct RowBuilder {
    bytes: BytesMut,
    spans: Vec<Span>,
}

impl RowBuilder {
    /// A builder with room for `cells` cells and `bytes` bytes.
    pub fn with_capacity(cells: usize, bytes: usize) -> Self {
        Self { bytes: BytesMut::with_capacity(bytes), spans: Vec::with_capacity(cells) }
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
        }
    }

    /// Appends a binary cell whose bytes `write` appends to the row's buffer, without a copy in between.
    #[inline]
    pub fn push_with(&mut self, write: impl FnOnce(&mut BytesMut)) {
        let start = self.offset();
        write(&mut self.bytes);
        let end = self.offset();
        self.spans.push(Span { kind: CellKind::Binary, start, end });
    }

    /// Says of the last cell that its bytes are text in the server's own form.
    #[inline]
    pub fn spell_last(&mut self) {
        if let Some(span) = self.spans.last_mut() {
            span.kind = CellKind::Text;
        }
    }

    /// The finished row.
    pub fn finish(self) -> Row {
        Row { bytes: self.bytes.freeze(), spans: self.spans.into_boxed_slice() }
    }

    #[inline]
    fn push_empty(&mut self, kind: CellKind) {
        let at = self.offset();
        self.spans.push(Span { kind, start: at, end: at });
    }

    #[inline]
    fn offset(&self) -> u32 {
        u32::try_from(self.bytes.len()).expect("a row is smaller than 4 GiB")
    }
}

/// Cells of many rows in one buffer, set in any order: two allocations for all of them, and one for each row.
#[derive(Debug)]
pub struct RowsBuilder {
    bytes: BytesMut,
    spans: Vec<Span>,
    cells: usize,
}

/// The cells of a [`RowsBuilder`] do not fit into 4 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("rows of more than 4 GiB together")]
pub struct RowsTooLarge;

impl RowsBuilder {
    /// A builder of `rows` rows of `cells` cells, which are [`Cell::Unchanged`] until they are set.
    pub fn new(rows: usize, cells: usize) -> Self {
        let unchanged = Span { kind: CellKind::Unchanged, start: 0, end: 0 };
        Self { bytes: BytesMut::new(), spans: vec![unchanged; rows * cells], cells }
    }

    /// What a cell holds by now; `None` outside of the rows.
    #[inline]
    pub fn cell(&self, row: usize, cell: usize) -> Option<Cell<'_>> {
        let span = self.spans.get(row * self.cells + cell).filter(|_| cell < self.cells)?;
        Some(span.cell(&self.bytes))
    }

    /// Makes a cell NULL. A place outside of the rows is left alone, here and below.
    pub fn set_null(&mut self, row: usize, cell: usize) {
        self.set(row, cell, Span { kind: CellKind::Null, start: 0, end: 0 });
    }

    /// Makes a cell [`Cell::Unchanged`] again.
    pub fn set_unchanged(&mut self, row: usize, cell: usize) {
        self.set(row, cell, Span { kind: CellKind::Unchanged, start: 0, end: 0 });
    }

    /// Gives a cell the bytes that `write` appends.
    ///
    /// # Errors
    /// [`RowsTooLarge`]; the cell is as it was.
    #[inline]
    pub fn set_with(&mut self, row: usize, cell: usize, write: impl FnOnce(&mut BytesMut)) -> Result<(), RowsTooLarge> {
        let start = u32::try_from(self.bytes.len()).map_err(|_| RowsTooLarge)?;
        write(&mut self.bytes);
        let end = u32::try_from(self.bytes.len()).map_err(|_| RowsTooLarge)?;
        self.set(row, cell, Span { kind: CellKind::Binary, start, end });
        Ok(())
    }

    /// The rows, in order.
    pub fn finish(self) -> impl Iterator<Item = Row> {
        let bytes = self.bytes.freeze();
        let (spans, cells) = (self.spans, self.cells);
        let rows = spans.len().checked_div(cells).unwrap_or(0);
        (0..rows).map(move |row| Row { bytes: bytes.clone(), spans: spans[row * cells..(row + 1) * cells].into() })
    }

    #[inline]
    fn set(&mut self, row: usize, cell: usize, to: Span) {
        if let Some(span) = self.spans.get_mut(row * self.cells + cell).filter(|_| cell < self.cells) {
            *span = to;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[Cell<'_>]) -> Row {
        let mut builder = RowBuilder::default();
        for cell in cells {
            builder.push(*cell);
        }
        builder.finish()
    }

    #[test]
    fn a_row_read_back_is_the_row_written() {
        let all = row(&[Cell::Null, Cell::Unchanged, Cell::Absent, Cell::Binary(b""), Cell::Text(b"x"), Cell::Binary(&[0; 300])]);
        let mut out = BytesMut::new();
        all.write_to(&mut out);
        let mut input = &out[..];
        assert_eq!(Row::read_from(&mut input).as_ref(), Some(&all));
        assert!(input.is_empty());
        for cut in 0..out.len() {
            assert_eq!(Row::read_from(&mut &out[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn rows_of_one_buffer_are_those_built_alone() {
        let mut builder = RowsBuilder::new(3, 2);
        builder.set_with(1, 1, |out| out.extend_from_slice(b"later")).unwrap();
        builder.set_with(0, 0, |out| out.extend_from_slice(b"first")).unwrap();
        builder.set_null(1, 0);
        builder.set_with(2, 0, |out| out.extend_from_slice(b"")).unwrap();
        builder.set_null(3, 0);
        builder.set_null(0, 2);
        assert_eq!((builder.cell(1, 1), builder.cell(0, 1)), (Some(Cell::Binary(b"later")), Some(Cell::Unchanged)));
        assert_eq!((builder.cell(0, 2), builder.cell(3, 0)), (None, None));
        let alone = [
            row(&[Cell::Binary(b"first"), Cell::Unchanged]),
            row(&[Cell::Null, Cell::Binary(b"later")]),
            row(&[Cell::Binary(b""), Cell::Unchanged]),
        ];
        let rows: Vec<Row> = builder.finish().collect();
        assert_eq!(rows, alone);
        assert_ne!(rows[0], rows[1]);
        assert_eq!(rows.iter().map(Row::bytes_held).sum::<usize>(), alone.iter().map(Row::bytes_held).sum());
        assert_eq!(RowsBuilder::new(5, 0).finish().count(), 0);
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
