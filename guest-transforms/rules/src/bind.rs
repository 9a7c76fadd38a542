//! A batch's columns as values of expressions.
//!
//! Booleans are 0 and 1; dates and times are text as SQLite's date functions read it; decimals are integers where they
//! are whole, doubles otherwise, and fail where a double would not keep their digits.

use std::ops::Range;

use tidegate_transform_sdk::{Column, ScalarType, SqlType, Values};

use crate::calendar::{date_text, time_text, timestamp_text};
use crate::expression::{Arena, Failure, Value};
use crate::typed::uuid_text;

/// Significant digits that a double keeps whatever they are. Source: IEEE 754, binary64.
const DOUBLE_DIGITS: usize = 15;

/// The values of a column in some rows; NULL where there is none.
pub(crate) fn bind(column: &Column, sql_type: &SqlType, rows: Range<usize>, arena: &mut Arena) -> Vec<Value> {
    rows.map(|row| if column.has_value(row) { one(column, sql_type, row, arena).unwrap_or(Value::Null) } else { Value::Null }).collect()
}

fn one(column: &Column, sql_type: &SqlType, row: usize, arena: &mut Arena) -> Option<Value> {
    use ScalarType as T;
    let SqlType::Scalar(scalar) = sql_type else { return text(column, row, arena) };
    Some(match scalar {
        T::Boolean => Value::Integer(i64::from(column.boolean(row)?)),
        T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::Uint8 | T::Uint16 | T::Uint32 => Value::Integer(column.int(row)?),
        T::Uint64 => i64::try_from(column.uint(row)?).map_or(Value::Failed(Failure::NumberPrecision), Value::Integer),
        T::Float32 | T::Float64 => {
            let number = column.float(row)?;
            if number.is_finite() { Value::Real(number) } else { Value::Failed(Failure::NotANumber) }
        }
        T::Decimal(_) => decimal(column.text(row)?),
        T::Date => arena.add_text(&date_text(column.int(row)?)),
        T::Time => arena.add_text(&time_text(column.int(row)?)),
        T::Timestamp | T::TimestampTz => arena.add_text(&timestamp_text(column.int(row)?)),
        T::Bytes(_) | T::Bits(_) => arena.add_blob(column.bytes(row)?),
        T::Uuid => arena.add_text(&uuid_text(column.bytes(row)?)),
        T::Text(_) | T::Interval | T::Json | T::Enumeration(_) | T::SetOf(_) | T::Other(_) => return text(column, row, arena),
    })
}

fn text(column: &Column, row: usize, arena: &mut Arena) -> Option<Value> {
    // The host has checked that a column of text is UTF-8.
    Some(match &column.values {
        Values::Utf8(_) => arena.add(column.bytes(row)?).map_or_else(Value::Failed, Value::Text),
        _ => arena.add_text(column.text(row)?),
    })
}

fn decimal(text: &str) -> Value {
    let digits = text.trim_start_matches(['-', '+']);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if !whole.bytes().chain(fraction.bytes()).all(|digit| digit.is_ascii_digit()) {
        return Value::Failed(Failure::NotANumber);
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() {
        let sign = if text.starts_with('-') { "-" } else { "" };
        let integer = format!("{sign}{}", if whole.is_empty() { "0" } else { whole }).parse();
        return integer.map_or(Value::Failed(Failure::NumberPrecision), Value::Integer);
    }
    let significant = format!("{whole}{fraction}").trim_start_matches('0').len();
    match text.parse() {
        Ok(number) if significant <= DOUBLE_DIGITS => Value::Real(number),
        _ => Value::Failed(Failure::NumberPrecision),
    }
}

/// Rows of a block so that its texts stay within about half a megabyte: the block's values stay in the processor's cache,
/// and a few functions over long texts within the module's memory.
pub(crate) fn block_rows(columns: impl Iterator<Item = usize>, rows: usize) -> usize {
    const BLOCK_ROWS_MAX: usize = 256;
    const BLOCK_BYTES: usize = 512 << 10;
    let bytes: usize = columns.sum();
    let of_row = bytes / rows.max(1) + 1;
    (BLOCK_BYTES / of_row).clamp(1, BLOCK_ROWS_MAX)
}

/// Bytes of text and blobs in a column.
pub(crate) fn var_bytes(column: &Column) -> usize {
    match &column.values {
        Values::Utf8(var) | Values::Binary(var) => var.data.len(),
        Values::Strings(list) => list.iter().map(String::len).sum(),
        Values::Bool8(_) | Values::Int32(_) | Values::Int64(_) | Values::Uint64(_) | Values::Float64(_) => 0,
    }
}
