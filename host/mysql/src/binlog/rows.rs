//! Rows events: which columns each image has, and the images themselves.

use tidegate_model::{Cell, Row, RowBuilder};

use super::bytes::{Fault, Reader};
use super::cell::{Layout, write_cell};

/// What a rows event does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowsKind {
    Write,
    Update,
    Delete,
}

/// The head of a rows event.
#[derive(Debug)]
pub(crate) struct RowsEvent<'a> {
    pub(crate) table_id: u64,
    /// Count of columns in the logged table.
    pub(crate) columns: usize,
    /// True when every image has every column.
    pub(crate) full: bool,
    /// The images; still compressed in MariaDB's compressed events.
    pub(crate) images: &'a [u8],
}

/// Reads the head. `version` 2 has extra row information between the flags and the count.
pub(crate) fn rows_event(body: &[u8], kind: RowsKind, version: u8) -> Result<RowsEvent<'_>, Fault> {
    let mut reader = Reader::new(body, "rows event");
    let table_id = reader.uint_le(6)?;
    reader.u16()?;
    if version == 2 {
        let extra = usize::from(reader.u16()?);
        reader.take(extra.checked_sub(2).ok_or(Fault::Malformed("rows event"))?)?;
    }
    let columns = reader.count()?;
    let bytes = columns.div_ceil(8);
    let mut full = all_set(reader.take(bytes)?, columns);
    if kind == RowsKind::Update {
        full &= all_set(reader.take(bytes)?, columns);
    }
    Ok(RowsEvent { table_id, columns, full, images: reader.remaining() })
}

fn all_set(bits: &[u8], count: usize) -> bool {
    (0..count).all(|index| bits[index / 8] >> (index % 8) & 1 == 1)
}

/// Reads one image that has every column. The index of the column at fault comes with the fault.
pub(crate) fn image(reader: &mut Reader<'_>, layouts: &[Layout]) -> Result<Row, (usize, Fault)> {
    let nulls = reader.take(layouts.len().div_ceil(8)).map_err(|fault| (0, fault))?;
    let mut builder = RowBuilder::with_capacity(layouts.len(), reader.len().min(256));
    for (index, layout) in layouts.iter().enumerate() {
        if nulls[index / 8] >> (index % 8) & 1 == 1 {
            builder.push(Cell::Null);
            continue;
        }
        let mut result = Ok(());
        builder.push_with(|out| result = write_cell(layout, reader, out));
        result.map_err(|fault| (index, fault))?;
    }
    Ok(builder.finish())
}
