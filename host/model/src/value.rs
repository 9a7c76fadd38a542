//! Typed values, independent of any engine, and their neutral binary form.
//!
//! The neutral form is what the MySQL source puts into rows and what computed columns travel in. Each
//! [`SqlType`](crate::schema::SqlType) has one form:
//!
//! | types | bytes |
//! |---|---|
//! | boolean | 1: 0 or 1 |
//! | int8 to int64, year | 8: `i64`, little-endian |
//! | uint8 to uint64 | 8: `u64`, little-endian |
//! | float32, float64 | 4, 8: IEEE 754, little-endian |
//! | date | 4: `i32`, days since 1970-01-01 |
//! | time | 8: `i64`, microseconds; may be negative or above 24 h |
//! | timestamp, timestamp-tz | 8: `i64`, microseconds since 1970-01-01 00:00:00 (UTC) |
//! | uuid | 16 |
//! | bytes, bits | as they are; bits big-endian, left-padded to whole bytes |
//! | decimal, text, json, interval, enumeration, set, arrays, other | UTF-8 text |
//!
//! A date or timestamp that no calendar has (MySQL's `0000-00-00`) is a cell of the kind `Text` with the server's text.

use bytes::BufMut;

use crate::schema::SqlType;

/// A value borrowed from a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// SQL NULL.
    Null,
    /// A truth value.
    Bool(bool),
    /// A signed integer of any width.
    Int(i64),
    /// An unsigned integer of any width.
    UInt(u64),
    /// A 32-bit float; kept apart from 64 bits, because its shortest text differs.
    Float32(f32),
    /// A 64-bit float.
    Float64(f64),
    /// Decimal digits as text: `-12.50`, `NaN`, `Infinity`.
    Decimal(&'a str),
    /// Text in UTF-8.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds; may be negative or above 24 hours.
    Time(i64),
    /// Microseconds since 1970-01-01 00:00:00, without a zone.
    Timestamp(i64),
    /// Microseconds since 1970-01-01 00:00:00 UTC.
    TimestampTz(i64),
    /// JSON text.
    Json(&'a str),
    /// A UUID.
    Uuid([u8; 16]),
    /// Bits, big-endian, left-padded to whole bytes; the column's type says how many count.
    Bits(&'a [u8]),
    /// Text that had to be made; otherwise like [`Value::Text`], [`Value::Decimal`] or [`Value::Json`] as the column's type says.
    OwnedText(String),
    /// Bytes that had to be made.
    OwnedBytes(Vec<u8>),
}

/// Neutral bytes that are not of the form that their type asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{length} bytes are no {wanted}")]
pub struct NeutralError {
    /// Length of what was found; the bytes themselves are a tenant's data and never shown.
    pub length: usize,
    /// The form that the column's type asks for.
    pub wanted: &'static str,
}

impl<'a> Value<'a> {
    /// Reads the neutral form of a value of type `sql_type`.
    ///
    /// # Errors
    /// [`NeutralError`] when the length or the UTF-8 does not fit the type.
    #[inline]
    pub fn from_neutral(sql_type: &SqlType, bytes: &'a [u8]) -> Result<Value<'a>, NeutralError> {
        Ok(match sql_type {
            SqlType::Boolean => match bytes {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                _ => return Err(NeutralError { length: bytes.len(), wanted: "boolean" }),
            },
            SqlType::Int8 | SqlType::Int16 | SqlType::Int32 | SqlType::Int64 => Value::Int(i64::from_le_bytes(fixed(bytes, "integer")?)),
            SqlType::UInt8 | SqlType::UInt16 | SqlType::UInt32 | SqlType::UInt64 => {
                Value::UInt(u64::from_le_bytes(fixed(bytes, "integer")?))
            }
            SqlType::Float32 => Value::Float32(f32::from_le_bytes(fixed(bytes, "float")?)),
            SqlType::Float64 => Value::Float64(f64::from_le_bytes(fixed(bytes, "float")?)),
            SqlType::Decimal { .. } => Value::Decimal(utf8(bytes, "decimal")?),
            SqlType::Text { .. }
            | SqlType::Interval
            | SqlType::Enumeration(_)
            | SqlType::SetOf(_)
            | SqlType::Other(_)
            | SqlType::Array(_) => Value::Text(utf8(bytes, "text")?),
            SqlType::Bytes { .. } => Value::Bytes(bytes),
            SqlType::Date => Value::Date(i32::from_le_bytes(fixed(bytes, "date")?)),
            SqlType::Time => Value::Time(i64::from_le_bytes(fixed(bytes, "time")?)),
            SqlType::Timestamp => Value::Timestamp(i64::from_le_bytes(fixed(bytes, "timestamp")?)),
            SqlType::TimestampTz => Value::TimestampTz(i64::from_le_bytes(fixed(bytes, "timestamp")?)),
            SqlType::Json => Value::Json(utf8(bytes, "json")?),
            SqlType::Uuid => Value::Uuid(fixed(bytes, "uuid")?),
            SqlType::Bits(_) => Value::Bits(bytes),
        })
    }

    /// Appends the neutral form. NULL appends nothing: it is a cell kind, not a value.
    #[inline]
    pub fn write_neutral(&self, out: &mut impl BufMut) {
        match self {
            Value::Null => {}
            Value::Bool(flag) => out.put_u8(u8::from(*flag)),
            Value::Int(number) => out.put_slice(&number.to_le_bytes()),
            Value::UInt(number) => out.put_slice(&number.to_le_bytes()),
            Value::Float32(number) => out.put_slice(&number.to_le_bytes()),
            Value::Float64(number) => out.put_slice(&number.to_le_bytes()),
            Value::Decimal(text) | Value::Text(text) | Value::Json(text) => out.put_slice(text.as_bytes()),
            Value::Bytes(bytes) | Value::Bits(bytes) => out.put_slice(bytes),
            Value::Date(days) => out.put_slice(&days.to_le_bytes()),
            Value::Time(us) | Value::Timestamp(us) | Value::TimestampTz(us) => out.put_slice(&us.to_le_bytes()),
            Value::Uuid(bytes) => out.put_slice(bytes),
            Value::OwnedText(text) => out.put_slice(text.as_bytes()),
            Value::OwnedBytes(bytes) => out.put_slice(bytes),
        }
    }

    /// The text of a textual value, borrowed or owned.
    #[inline]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Decimal(text) | Value::Text(text) | Value::Json(text) => Some(text),
            Value::OwnedText(text) => Some(text),
            _ => None,
        }
    }
}

fn fixed<const N: usize>(bytes: &[u8], wanted: &'static str) -> Result<[u8; N], NeutralError> {
    bytes.try_into().map_err(|_| NeutralError { length: bytes.len(), wanted })
}

fn utf8<'a>(bytes: &'a [u8], wanted: &'static str) -> Result<&'a str, NeutralError> {
    std::str::from_utf8(bytes).map_err(|_| NeutralError { length: bytes.len(), wanted })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neutral_form_reads_back_as_written() {
        let cases: Vec<(SqlType, Value<'_>)> = vec![
            (SqlType::Boolean, Value::Bool(true)),
            (SqlType::Int16, Value::Int(-5)),
            (SqlType::UInt64, Value::UInt(u64::MAX)),
            (SqlType::Float32, Value::Float32(16_777_216.0)),
            (SqlType::Decimal { precision: None, scale: None }, Value::Decimal("-1.10")),
            (SqlType::Text { chars_max: None }, Value::Text("é")),
            (SqlType::Date, Value::Date(-719_162)),
            (SqlType::Time, Value::Time(-3_020_399_000_000)),
            (SqlType::Uuid, Value::Uuid([7; 16])),
            (SqlType::Bits(12), Value::Bits(&[0x0a, 0xbc])),
        ];
        for (sql_type, value) in cases {
            let mut bytes = Vec::new();
            value.write_neutral(&mut bytes);
            assert_eq!(Value::from_neutral(&sql_type, &bytes).as_ref(), Ok(&value));
        }
    }

    #[test]
    fn wrong_length_or_encoding_is_an_error() {
        assert!(Value::from_neutral(&SqlType::Int32, &[1, 2]).is_err());
        assert!(Value::from_neutral(&SqlType::Boolean, &[2]).is_err());
        assert!(Value::from_neutral(&SqlType::Json, &[0xff]).is_err());
    }
}
