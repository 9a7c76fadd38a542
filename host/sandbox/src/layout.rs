//! Which layout a column of each type travels in.

use tidegate_model::SqlType;
pub(crate) use tidegate_model::column::bit;

/// The cases of `values` in the contract, without `strings`, which is another spelling of [`Layout::Utf8`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    Bool8,
    Int32,
    Int64,
    UInt64,
    Float64,
    Utf8,
    Binary,
}

impl Layout {
    pub(crate) fn of(sql_type: &SqlType) -> Layout {
        match sql_type {
            SqlType::Boolean => Layout::Bool8,
            SqlType::Int8 | SqlType::Int16 | SqlType::Int32 | SqlType::UInt8 | SqlType::UInt16 | SqlType::Date => Layout::Int32,
            SqlType::Int64 | SqlType::UInt32 | SqlType::Time | SqlType::Timestamp | SqlType::TimestampTz => Layout::Int64,
            SqlType::UInt64 => Layout::UInt64,
            SqlType::Float32 | SqlType::Float64 => Layout::Float64,
            SqlType::Bytes { .. } | SqlType::Uuid | SqlType::Bits(_) => Layout::Binary,
            SqlType::Decimal { .. }
            | SqlType::Text { .. }
            | SqlType::Interval
            | SqlType::Json
            | SqlType::Enumeration(_)
            | SqlType::SetOf(_)
            | SqlType::Array(_)
            | SqlType::Other(_) => Layout::Utf8,
        }
    }
}

/// Sets bit `row`, growing the bitmap up to it.
pub(crate) fn set_bit(bitmap: &mut Vec<u8>, row: usize) {
    if bitmap.len() <= row / 8 {
        bitmap.resize(row / 8 + 1, 0);
    }
    bitmap[row / 8] |= 1 << (row % 8);
}

/// Bytes of a bitmap for `rows` rows.
pub(crate) fn bitmap_bytes(rows: usize) -> usize {
    rows.div_ceil(8)
}
