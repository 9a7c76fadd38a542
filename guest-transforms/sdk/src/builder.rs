//! Builds columns of any type for an answer.

use std::borrow::Cow;

use crate::column::push_bytes;
use crate::{Column, ScalarType, SqlType, Values, VarValues};

/// One value on its way into an answer. Made with `into()` from text, numbers, truth values, bytes and options of them.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell<'a> {
    /// NULL.
    Null,
    /// Text; also decimals, JSON and whatever else travels as text.
    Text(Cow<'a, str>),
    /// Bytes.
    Bytes(Cow<'a, [u8]>),
    /// An integer, or a date or time as the contract counts it.
    Int(i64),
    /// An unsigned integer.
    UInt(u64),
    /// A float.
    Float(f64),
    /// A truth value.
    Bool(bool),
}

macro_rules! cells {
    ($($from:ty => |$value:ident| $cell:expr;)*) => {$(
        impl<'a> From<$from> for Cell<'a> {
            fn from($value: $from) -> Self {
                $cell
            }
        }
    )*};
}

cells! {
    &'a str => |text| Cell::Text(Cow::Borrowed(text));
    String => |text| Cell::Text(Cow::Owned(text));
    &'a [u8] => |bytes| Cell::Bytes(Cow::Borrowed(bytes));
    Vec<u8> => |bytes| Cell::Bytes(Cow::Owned(bytes));
    i32 => |number| Cell::Int(i64::from(number));
    i64 => |number| Cell::Int(number);
    u32 => |number| Cell::UInt(u64::from(number));
    u64 => |number| Cell::UInt(number);
    f64 => |number| Cell::Float(number);
    bool => |flag| Cell::Bool(flag);
}

impl<'a, T: Into<Cell<'a>>> From<Option<T>> for Cell<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Cell::Null, Into::into)
    }
}

/// A value that a column's type has no place for. The value itself is not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Misfit {
    /// What the column takes.
    pub wanted: &'static str,
}

/// Builds a column, one value a row.
#[derive(Debug)]
pub struct ColumnBuilder {
    rows: usize,
    len: usize,
    nulls: Vec<u8>,
    absent: Vec<u8>,
    values: Values,
}

impl ColumnBuilder {
    /// For a column of this type in a batch of so many rows.
    pub fn new(sql_type: &SqlType, rows: u32) -> Self {
        Self { rows: rows as usize, len: 0, nulls: Vec::new(), absent: Vec::new(), values: empty(sql_type, rows as usize) }
    }

    /// Count of values so far.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True before the first value.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The next row's value.
    ///
    /// # Errors
    /// [`Misfit`] when the type has no place for it; nothing was added then.
    pub fn push<'a>(&mut self, cell: impl Into<Cell<'a>>) -> Result<(), Misfit> {
        match (&mut self.values, cell.into()) {
            (_, Cell::Null) => return self.push_without(Without::Null),
            (Values::Bool8(list), Cell::Bool(flag)) => list.push(u8::from(flag)),
            (Values::Int32(list), Cell::Int(number)) => list.push(i32::try_from(number).map_err(|_| misfit("32-bit integers"))?),
            (Values::Int32(list), Cell::UInt(number)) => list.push(i32::try_from(number).map_err(|_| misfit("32-bit integers"))?),
            (Values::Int64(list), Cell::Int(number)) => list.push(number),
            (Values::Int64(list), Cell::UInt(number)) => list.push(i64::try_from(number).map_err(|_| misfit("64-bit signed integers"))?),
            (Values::Uint64(list), Cell::UInt(number)) => list.push(number),
            (Values::Uint64(list), Cell::Int(number)) => list.push(u64::try_from(number).map_err(|_| misfit("unsigned integers"))?),
            (Values::Float64(list), Cell::Float(number)) => list.push(number),
            (Values::Utf8(var), Cell::Text(text)) => push_span(var, text.as_bytes())?,
            (Values::Binary(var), Cell::Bytes(bytes)) => push_span(var, &bytes)?,
            (values, _) => return Err(misfit(takes(values))),
        }
        self.len += 1;
        Ok(())
    }

    /// The next row's column stays in the target as it is.
    pub fn push_absent(&mut self) {
        // Only a value can be a misfit.
        let _ = self.push_without(Without::Absent);
    }

    /// Takes the last value away.
    pub fn pop(&mut self) {
        let Some(row) = self.len.checked_sub(1) else { return };
        self.len = row;
        for bitmap in [&mut self.nulls, &mut self.absent] {
            if let Some(byte) = bitmap.get_mut(row / 8) {
                *byte &= !(1 << (row % 8));
            }
        }
        match &mut self.values {
            Values::Bool8(list) => list.truncate(row),
            Values::Int32(list) => list.truncate(row),
            Values::Int64(list) => list.truncate(row),
            Values::Uint64(list) => list.truncate(row),
            Values::Float64(list) => list.truncate(row),
            Values::Strings(list) => list.truncate(row),
            Values::Utf8(var) | Values::Binary(var) => {
                var.offsets.truncate(row + 1);
                var.data.truncate(var.offsets.last().copied().unwrap_or(0) as usize);
            }
        }
    }

    /// The column.
    pub fn finish(self) -> Column {
        Column { nulls: self.nulls, absent: self.absent, values: self.values }
    }

    fn push_without(&mut self, what: Without) -> Result<(), Misfit> {
        let bitmap = match what {
            Without::Null => &mut self.nulls,
            Without::Absent => &mut self.absent,
        };
        bitmap.resize(self.rows.div_ceil(8), 0);
        bitmap[self.len / 8] |= 1 << (self.len % 8);
        match &mut self.values {
            Values::Bool8(list) => list.push(0),
            Values::Int32(list) => list.push(0),
            Values::Int64(list) => list.push(0),
            Values::Uint64(list) => list.push(0),
            Values::Float64(list) => list.push(0.0),
            Values::Strings(list) => list.push(String::new()),
            Values::Utf8(var) | Values::Binary(var) => var.offsets.push(var.data.len() as u32),
        }
        self.len += 1;
        Ok(())
    }
}

/// Why a row has no value.
enum Without {
    Null,
    Absent,
}

fn misfit(wanted: &'static str) -> Misfit {
    Misfit { wanted }
}

fn push_span(var: &mut VarValues, bytes: &[u8]) -> Result<(), Misfit> {
    let end = u32::try_from(var.data.len() + bytes.len()).map_err(|_| misfit("4 GiB a batch"))?;
    push_bytes(&mut var.data, bytes);
    var.offsets.push(end);
    Ok(())
}

fn takes(values: &Values) -> &'static str {
    match values {
        Values::Bool8(_) => "truth values",
        Values::Int32(_) | Values::Int64(_) => "integers",
        Values::Uint64(_) => "unsigned integers",
        Values::Float64(_) => "floats",
        Values::Utf8(_) | Values::Strings(_) => "text",
        Values::Binary(_) => "bytes",
    }
}

/// The layout that the contract gives to a type.
fn empty(sql_type: &SqlType, rows: usize) -> Values {
    let var = || {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        VarValues { offsets, data: Vec::new() }
    };
    let SqlType::Scalar(scalar) = sql_type else { return Values::Utf8(var()) };
    match scalar {
        ScalarType::Boolean => Values::Bool8(Vec::with_capacity(rows)),
        ScalarType::Int8 | ScalarType::Int16 | ScalarType::Int32 | ScalarType::Uint8 | ScalarType::Uint16 | ScalarType::Date => {
            Values::Int32(Vec::with_capacity(rows))
        }
        ScalarType::Int64 | ScalarType::Uint32 | ScalarType::Time | ScalarType::Timestamp | ScalarType::TimestampTz => {
            Values::Int64(Vec::with_capacity(rows))
        }
        ScalarType::Uint64 => Values::Uint64(Vec::with_capacity(rows)),
        ScalarType::Float32 | ScalarType::Float64 => Values::Float64(Vec::with_capacity(rows)),
        ScalarType::Bytes(_) | ScalarType::Uuid | ScalarType::Bits(_) => Values::Binary(var()),
        ScalarType::Decimal(_)
        | ScalarType::Text(_)
        | ScalarType::Interval
        | ScalarType::Json
        | ScalarType::Enumeration(_)
        | ScalarType::SetOf(_)
        | ScalarType::Other(_) => Values::Utf8(var()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_back_as_they_were_pushed() {
        let mut text = ColumnBuilder::new(&SqlType::text(), 4);
        text.push("é").unwrap();
        text.push(None::<String>).unwrap();
        text.push("gone").unwrap();
        text.pop();
        text.push(Some("x".to_owned())).unwrap();
        text.push_absent();
        let text = text.finish();
        assert_eq!((text.text(0), text.text(1), text.text(2), text.text(3)), (Some("é"), None, Some("x"), None));
        assert!(text.is_null(1) && text.is_absent(3) && !text.is_null(3));

        let mut numbers = ColumnBuilder::new(&SqlType::int32(), 2);
        numbers.push(-7).unwrap();
        numbers.push(Some(8_u64)).unwrap();
        let numbers = numbers.finish();
        assert_eq!((numbers.int(0), numbers.int(1)), (Some(-7), Some(8)));
    }

    #[test]
    fn a_value_without_a_place_is_told_and_adds_nothing() {
        let mut numbers = ColumnBuilder::new(&SqlType::int32(), 1);
        assert_eq!(numbers.push(1_i64 << 40), Err(Misfit { wanted: "32-bit integers" }));
        assert_eq!(numbers.push("1"), Err(Misfit { wanted: "integers" }));
        assert!(numbers.is_empty());
    }

    #[test]
    fn popping_a_null_clears_its_bit() {
        let mut flags = ColumnBuilder::new(&SqlType::boolean(), 1);
        flags.push(Cell::Null).unwrap();
        flags.pop();
        flags.push(true).unwrap();
        assert_eq!(flags.finish().boolean(0), Some(true));
    }
}
