//! Tuples: the row images inside change messages.

use bytes::Bytes;
use tidegate_model::{Cell, LARGE_BYTES, Row, RowBuilder};

use super::reader::{Malformed, Reader};

/// A row image whose lengths were checked, still in the message's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tuple<'a> {
    count: usize,
    cells: &'a [u8],
}

impl<'a> Tuple<'a> {
    /// Walks over a tuple, and leaves the reader behind it.
    pub(crate) fn read(reader: &mut Reader<'a>) -> Result<Tuple<'a>, Malformed> {
        let count = usize::from(reader.u16()?);
        let start = reader.rest();
        for _ in 0..count {
            next_cell(reader)?;
        }
        Ok(Tuple { count, cells: &start[..start.len() - reader.rest().len()] })
    }

    /// Count of cells.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The row. With `key` flags (one a column) it is a key tuple: columns outside the key are absent, whatever the
    /// message says of them (it says NULL). Large cells share `message`, in which the tuple lies.
    pub(crate) fn row(&self, key: &[bool], message: &Bytes) -> Result<Row, Malformed> {
        let mut reader = Reader::new(self.cells);
        let mut builder = RowBuilder::with_capacity(self.count, self.cells.len().min(LARGE_BYTES));
        for index in 0..self.count {
            let cell = next_cell(&mut reader)?;
            let outside_key = !key.is_empty() && !key.get(index).copied().unwrap_or_default();
            builder.push_within(if outside_key { Cell::Absent } else { cell }, message);
        }
        Ok(builder.finish())
    }
}

fn next_cell<'a>(reader: &mut Reader<'a>) -> Result<Cell<'a>, Malformed> {
    match reader.u8()? {
        b'n' => Ok(Cell::Null),
        b'u' => Ok(Cell::Unchanged),
        kind @ (b'b' | b't') => {
            let length = usize::try_from(reader.i32()?).map_err(|_| Malformed("negative length of a cell"))?;
            let bytes = reader.take(length)?;
            Ok(if kind == b'b' { Cell::Binary(bytes) } else { Cell::Text(bytes) })
        }
        _ => Err(Malformed("unknown kind of cell")),
    }
}
