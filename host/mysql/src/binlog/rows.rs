//! Rows events: which columns each image has, and the images themselves.

use bytes::{Bytes, BytesMut};
use tidegate_model::{Cell, Row, RowBuilder};

use super::bytes::{Fault, Reader};
use super::cell::{Layout, Written, large_cell, write_cell};

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
    /// Which columns the images have: of an update the one before and the one after, else twice the same.
    present: [&'a [u8]; 2],
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
    let before = reader.take(bytes)?;
    let after = if kind == RowsKind::Update { reader.take(bytes)? } else { before };
    Ok(RowsEvent { table_id, columns, present: [before, after], images: reader.remaining() })
}

/// Which of an update's images is meant; of inserts and deletes both are the only one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Before,
    After,
}

/// A column of the logged table.
#[derive(Debug, Clone)]
pub(crate) struct Logged {
    pub(crate) layout: Layout,
    /// False for a column that no row of ours has: it is passed over, and may be missing.
    pub(crate) is_wanted: bool,
    /// True for a column by which rows are told apart.
    pub(crate) identifies: bool,
    /// True for a column that the server computes.
    pub(crate) is_generated: bool,
}

impl RowsEvent<'_> {
    /// True when every image has every column that is wanted. Also false when the images say which row is meant and all that changed: what
    /// an update leaves out after it (`binlog_row_image` MINIMAL, NOBLOB and FULL_NODUP) is as it was. `None` otherwise: what an insert leaves
    /// out has a default that the log does not tell, and servers may leave out generated columns that did change, since a replica of theirs
    /// computes them itself.
    pub(crate) fn completeness(&self, kind: RowsKind, columns: &[Logged]) -> Option<bool> {
        let lacks = |present: &[u8], matters: fn(&Logged) -> bool| {
            columns.iter().enumerate().any(|(index, column)| column.is_wanted && matters(column) && !is_set(present, index))
        };
        let [before, after] = self.present;
        if !lacks(before, |_| true) && !lacks(after, |_| true) {
            return Some(true);
        }
        let is_known = !lacks(before, |column| column.identifies);
        match kind {
            RowsKind::Write => None,
            RowsKind::Update => (is_known && !lacks(after, |column| column.is_generated)).then_some(false),
            RowsKind::Delete => is_known.then_some(false),
        }
    }

    /// Reads one image: the columns that are wanted. The index of the column at fault comes with the fault. Large cells share
    /// `whole`, in which the image lies.
    pub(crate) fn image(&self, side: Side, reader: &mut Reader<'_>, columns: &[Logged], whole: &Bytes) -> Result<Row, (usize, Fault)> {
        let missing = if side == Side::Before { Cell::Absent } else { Cell::Unchanged };
        image(self.present[side as usize], missing, reader, columns, whole)
    }
}

fn is_set(bits: &[u8], index: usize) -> bool {
    bits.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 1)
}

/// NULLs have a bit for each column that is present; the others that are wanted are `missing`.
pub(super) fn image(
    present: &[u8],
    missing: Cell<'_>,
    reader: &mut Reader<'_>,
    columns: &[Logged],
    whole: &Bytes,
) -> Result<Row, (usize, Fault)> {
    let count = (0..columns.len()).filter(|index| is_set(present, *index)).count();
    let nulls = reader.take(count.div_ceil(8)).map_err(|fault| (0, fault))?;
    let mut builder = RowBuilder::with_capacity(columns.len(), reader.len().min(256));
    let mut place = 0;
    for (index, column) in columns.iter().enumerate() {
        if !is_set(present, index) {
            if column.is_wanted {
                builder.push(missing);
            }
            continue;
        }
        let is_null = is_set(nulls, place);
        place += 1;
        if column.is_wanted
            && !is_null
            && let Some(bytes) = large_cell(&column.layout, reader).map_err(|fault| (index, fault))?
        {
            builder.push_within(Cell::Binary(bytes), whole);
            continue;
        }
        let mut result = Ok(Written::Neutral);
        match (column.is_wanted, is_null) {
            (true, true) => builder.push(Cell::Null),
            (true, false) => builder.push_with(|out| result = write_cell(&column.layout, reader, out)),
            (false, true) => {}
            (false, false) => result = write_cell(&column.layout, reader, &mut BytesMut::new()),
        }
        match result {
            Ok(Written::Text) if column.is_wanted => builder.spell_last(),
            Ok(Written::Text | Written::Neutral) => {}
            // The value was read to its end, so that the row goes on behind it.
            Err(fault) => match fault.of_a_value() {
                Some(fault) if column.is_wanted => builder.spoil_last(fault),
                Some(_) => {}
                None => return Err((index, fault)),
            },
        }
    }
    Ok(builder.finish())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn integers(count: usize) -> Vec<Logged> {
        let layout = Layout::Int { bytes: 4, unsigned: false };
        vec![Logged { layout, is_wanted: true, identifies: false, is_generated: false }; count]
    }

    /// Images of rows with so many integers, none of them NULL.
    fn images(columns: usize, rows: usize) -> Vec<u8> {
        let mut one = vec![0; columns.div_ceil(8)];
        one.extend(std::iter::repeat_n([7, 0, 0, 0], columns).flatten());
        one.repeat(rows)
    }

    fn read_all(bytes: &[u8], columns: &[Logged]) -> Result<usize, (usize, Fault)> {
        let present = vec![0xff; columns.len().div_ceil(8)];
        let (mut reader, mut rows) = (Reader::new(bytes, "rows"), 0);
        while !reader.is_empty() {
            image(&present, Cell::Absent, &mut reader, columns, &Bytes::new())?;
            rows += 1;
        }
        Ok(rows)
    }

    #[test]
    fn a_value_costs_the_same_in_a_wide_table_as_in_a_narrow_one() {
        // As many values in both. The best of several attempts is that of the code, whatever else the machine does.
        let took = |columns: usize, rows: usize| -> Duration {
            let (bytes, columns) = (images(columns, rows), integers(columns));
            let one = || {
                let since = Instant::now();
                assert_eq!(read_all(&bytes, &columns).ok(), Some(rows));
                since.elapsed()
            };
            (0..5).map(|_| one()).min().expect("there are attempts")
        };
        let (narrow, wide) = (took(16, 2_048), took(4_096, 8));
        assert!(wide < narrow * 8, "{narrow:?} in a narrow table, {wide:?} in one that is 256 times as wide");
    }

    #[test]
    fn an_image_that_ends_early_names_its_column_and_nothing_is_read_behind_it() {
        let (columns, mut bytes) = (integers(16), images(16, 3));
        bytes.truncate(bytes.len() - 2);
        assert_eq!(read_all(&bytes, &columns).map_err(|(column, _)| column), Err(15));
        bytes.truncate(bytes.len() / 2);
        assert!(read_all(&bytes, &columns).is_err());
    }
}
