//! Many rows made at once.

use bytes::BytesMut;

use super::{Cell, CellKind, LARGE, Row, Span};

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
        Some(span.cell(&self.bytes, &[]))
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
        let end = u32::try_from(self.bytes.len()).ok().filter(|end| *end != LARGE).ok_or(RowsTooLarge)?;
        self.set(row, cell, Span { kind: CellKind::Binary, start, end });
        Ok(())
    }

    /// The rows, in order.
    pub fn finish(self) -> impl Iterator<Item = Row> {
        let bytes = self.bytes.freeze();
        let (spans, cells) = (self.spans, self.cells);
        let rows = spans.len().checked_div(cells).unwrap_or(0);
        (0..rows).map(move |row| Row { bytes: bytes.clone(), spans: spans[row * cells..(row + 1) * cells].into(), large: None })
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
    use super::super::tests::row;
    use super::*;

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
}
