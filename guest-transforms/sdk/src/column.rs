//! Typed views of a batch's columns, and builders for the answer.

use crate::{Batch, Column, Values, VarValues};

impl Batch {
    /// The indexes of the rows.
    pub fn row_numbers(&self) -> std::ops::Range<usize> {
        0..self.rows as usize
    }
}

impl Column {
    /// True when the value is NULL.
    pub fn is_null(&self, row: usize) -> bool {
        bit(&self.nulls, row)
    }

    /// True when the log does not carry the value.
    pub fn is_absent(&self, row: usize) -> bool {
        bit(&self.absent, row)
    }

    /// True when there is a value to read.
    pub fn has_value(&self, row: usize) -> bool {
        !self.is_null(row) && !self.is_absent(row)
    }

    /// Text of a column that travels as text; `None` for NULL, an absent value, or another layout.
    pub fn text(&self, row: usize) -> Option<&str> {
        match &self.values {
            Values::Utf8(var) if self.has_value(row) => std::str::from_utf8(span(var, row)?).ok(),
            Values::Strings(list) if self.has_value(row) => list.get(row).map(String::as_str),
            _ => None,
        }
    }

    /// The texts of the column, for whoever reads many of them: that they are UTF-8 is looked at once.
    pub fn texts(&self) -> Texts<'_> {
        let data = match &self.values {
            Values::Utf8(var) => std::str::from_utf8(&var.data).ok().map(|data| (data, var.offsets.as_slice())),
            _ => None,
        };
        Texts { column: self, data }
    }

    /// Bytes of a column that travels as bytes or text, likewise.
    pub fn bytes(&self, row: usize) -> Option<&[u8]> {
        match &self.values {
            Values::Utf8(var) | Values::Binary(var) if self.has_value(row) => span(var, row),
            _ => None,
        }
    }

    /// Any integer, date or time of 32 or 64 bits, signed, likewise.
    pub fn int(&self, row: usize) -> Option<i64> {
        match &self.values {
            Values::Int32(list) if self.has_value(row) => list.get(row).map(|number| i64::from(*number)),
            Values::Int64(list) if self.has_value(row) => list.get(row).copied(),
            _ => None,
        }
    }

    /// An unsigned 64-bit integer, likewise.
    pub fn uint(&self, row: usize) -> Option<u64> {
        match &self.values {
            Values::Uint64(list) if self.has_value(row) => list.get(row).copied(),
            _ => None,
        }
    }

    /// A float, likewise.
    pub fn float(&self, row: usize) -> Option<f64> {
        match &self.values {
            Values::Float64(list) if self.has_value(row) => list.get(row).copied(),
            _ => None,
        }
    }

    /// A truth value, likewise.
    pub fn boolean(&self, row: usize) -> Option<bool> {
        match &self.values {
            Values::Bool8(list) if self.has_value(row) => list.get(row).map(|byte| *byte != 0),
            _ => None,
        }
    }
}

/// See [`Column::texts`].
#[derive(Debug, Clone, Copy)]
pub struct Texts<'a> {
    column: &'a Column,
    data: Option<(&'a str, &'a [u32])>,
}

impl<'a> Texts<'a> {
    /// As [`Column::text`].
    pub fn get(&self, row: usize) -> Option<&'a str> {
        let Some((data, offsets)) = self.data else { return self.column.text(row) };
        if !self.column.has_value(row) {
            return None;
        }
        let ends = offsets.get(row..row + 2)?;
        data.get(ends[0] as usize..ends[1] as usize)
    }
}

fn bit(bitmap: &[u8], row: usize) -> bool {
    bitmap.get(row / 8).is_some_and(|byte| byte >> (row % 8) & 1 == 1)
}

fn set_bit(bitmap: &mut Vec<u8>, row: usize, rows: usize) {
    bitmap.resize(rows.div_ceil(8), 0);
    bitmap[row / 8] |= 1 << (row % 8);
}

fn span(var: &VarValues, row: usize) -> Option<&[u8]> {
    let (start, end) = (*var.offsets.get(row)?, *var.offsets.get(row + 1)?);
    var.data.get(start as usize..end as usize)
}

/// Which rows stay.
pub struct Keep {
    bits: Vec<u8>,
    rows: usize,
}

impl Keep {
    /// Every row stays.
    pub fn all(rows: u32) -> Self {
        Self { bits: Vec::new(), rows: rows as usize }
    }

    /// The row goes.
    pub fn drop_row(&mut self, row: usize) {
        if self.bits.is_empty() {
            self.bits = vec![0xff; self.rows.div_ceil(8)];
        }
        if let Some(byte) = self.bits.get_mut(row / 8) {
            *byte &= !(1 << (row % 8));
        }
    }

    /// The bitmap of [`crate::BatchResult`].
    pub fn into_bits(self) -> Vec<u8> {
        self.bits
    }
}

/// Builds a column of text for an answer.
pub struct TextBuilder {
    rows: usize,
    nulls: Vec<u8>,
    absent: Vec<u8>,
    offsets: Vec<u32>,
    data: Vec<u8>,
}

/// Bytes a row that a builder has room for before it grows. Chosen by guess.
const TEXT_BYTES: usize = 24;

impl TextBuilder {
    /// For a batch of so many rows.
    pub fn new(rows: u32) -> Self {
        let rows = rows as usize;
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Self { rows, nulls: Vec::new(), absent: Vec::new(), offsets, data: Vec::with_capacity(rows * TEXT_BYTES) }
    }

    /// The texts of a column, each after `change`, which works on a copy and cannot make it longer or shorter; NULL and
    /// absent values stay so. `None` for a column that does not travel as text.
    ///
    /// The copy is made of the whole column at once, which is what makes it faster than a `push` for each row.
    pub fn changed(column: &Column, mut change: impl FnMut(&mut str)) -> Option<Column> {
        let Values::Utf8(var) = &column.values else { return None };
        let mut data = String::from_utf8(var.data.clone()).ok()?;
        let mut rest = data.as_mut_str();
        for (row, ends) in var.offsets.windows(2).enumerate() {
            let (text, later) = rest.split_at_mut_checked(ends[1].checked_sub(ends[0])? as usize)?;
            if column.has_value(row) {
                change(text);
            }
            rest = later;
        }
        let values = Values::Utf8(VarValues { offsets: var.offsets.clone(), data: data.into_bytes() });
        Some(Column { nulls: column.nulls.clone(), absent: column.absent.clone(), values })
    }

    /// The next row's text.
    pub fn push(&mut self, text: &str) {
        push_bytes(&mut self.data, text.as_bytes());
        self.close();
    }

    /// The next row's text: this one after `change`, which works on the copy.
    pub fn push_changed(&mut self, text: &str, change: impl FnOnce(&mut str)) {
        let start = self.data.len();
        push_bytes(&mut self.data, text.as_bytes());
        // What was copied was text.
        if let Ok(copy) = std::str::from_utf8_mut(&mut self.data[start..]) {
            change(copy);
        }
        self.close();
    }

    /// The next row is NULL.
    pub fn push_null(&mut self) {
        set_bit(&mut self.nulls, self.offsets.len() - 1, self.rows);
        self.close();
    }

    /// The next row's column stays in the target as it is.
    pub fn push_absent(&mut self) {
        set_bit(&mut self.absent, self.offsets.len() - 1, self.rows);
        self.close();
    }

    /// The column.
    pub fn finish(self) -> Column {
        let values = Values::Utf8(VarValues { offsets: self.offsets, data: self.data });
        Column { nulls: self.nulls, absent: self.absent, values }
    }

    fn close(&mut self) {
        self.offsets.push(self.data.len() as u32);
    }
}

/// Bytes up to this many are copied in steps: a copy of a length that the compiler does not know is a call of the engine,
/// which costs as much as a hundred bytes of them.
const SHORT: usize = 64;

/// Appends a copy.
pub(crate) fn push_bytes(data: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.len() > SHORT {
        data.extend_from_slice(bytes);
        return;
    }
    data.reserve(bytes.len());
    let (eights, rest) = bytes.as_chunks::<8>();
    eights.iter().for_each(|eight| data.extend_from_slice(eight));
    let (fours, rest) = rest.as_chunks::<4>();
    fours.iter().for_each(|four| data.extend_from_slice(four));
    rest.iter().for_each(|byte| data.push(*byte));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_text_reads_back() {
        let mut builder = TextBuilder::new(10);
        for row in 0..10 {
            match row % 3 {
                0 => builder.push_null(),
                1 => builder.push_changed("éa", str::make_ascii_uppercase),
                _ => builder.push_absent(),
            }
        }
        let column = builder.finish();
        assert_eq!((column.is_null(9), column.is_null(8), column.is_absent(8)), (true, false, true));
        assert_eq!((column.text(7), column.text(8), column.text(9), column.text(10)), (Some("éA"), None, None, None));
        let texts = column.texts();
        assert_eq!((0..11).map(|row| texts.get(row)).collect::<Vec<_>>(), (0..11).map(|row| column.text(row)).collect::<Vec<_>>());
        assert_eq!(column.nulls.len(), 2);
        let changed = TextBuilder::changed(&column, str::make_ascii_lowercase).expect("a column of text");
        assert_eq!((changed.text(7), changed.text(8), changed.is_null(9)), (Some("éa"), None, true));
    }

    #[test]
    fn bytes_of_every_length_are_copied_whole() {
        let long: Vec<u8> = (0..100).collect();
        for end in 0..=long.len() {
            let mut data = vec![7];
            push_bytes(&mut data, &long[..end]);
            assert_eq!(data[1..], long[..end]);
        }
    }

    #[test]
    fn keep_drops_only_what_it_is_told() {
        let mut keep = Keep::all(9);
        keep.drop_row(8);
        assert_eq!(keep.into_bits(), [0xff, 0xfe]);
        assert!(Keep::all(9).into_bits().is_empty());
    }
}
