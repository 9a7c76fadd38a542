//! Comparisons by the column's type.
//!
//! Integers and decimals are compared exactly, text byte by byte, dates and times as instants; NaN equals itself and
//! is above every number, as PostgreSQL has it.

use std::cmp::Ordering;

use tidegate_transform_sdk::{Column, ScalarType, SqlType};

use crate::calendar::{DAY_US, parse_time, parse_timestamp};

/// How a column is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparer {
    Integer,
    Decimal,
    Float,
    Text,
    /// Enumerations: equal or not, but whether by label or by number differs between databases.
    Label,
    Boolean,
    Date,
    Time,
    Timestamp,
    Uuid,
}

/// An operand of a column's type.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Comparand {
    Integer(i128),
    Decimal(String),
    Float(f64),
    Text(String),
    Boolean(bool),
    Micros(i64),
    Uuid([u8; 16]),
}

impl Comparer {
    /// `None` for types that cannot be filtered by.
    pub(crate) fn of(sql_type: &SqlType) -> Option<Self> {
        let SqlType::Scalar(scalar) = sql_type else { return None };
        Some(match scalar {
            ScalarType::Boolean => Comparer::Boolean,
            ScalarType::Int8 | ScalarType::Int16 | ScalarType::Int32 | ScalarType::Int64 => Comparer::Integer,
            ScalarType::Uint8 | ScalarType::Uint16 | ScalarType::Uint32 | ScalarType::Uint64 => Comparer::Integer,
            ScalarType::Float32 | ScalarType::Float64 => Comparer::Float,
            ScalarType::Decimal(_) => Comparer::Decimal,
            ScalarType::Text(_) => Comparer::Text,
            ScalarType::Enumeration(_) | ScalarType::SetOf(_) => Comparer::Label,
            ScalarType::Date => Comparer::Date,
            ScalarType::Time => Comparer::Time,
            ScalarType::Timestamp | ScalarType::TimestampTz => Comparer::Timestamp,
            ScalarType::Uuid => Comparer::Uuid,
            ScalarType::Bytes(_) | ScalarType::Interval | ScalarType::Json | ScalarType::Bits(_) | ScalarType::Other(_) => return None,
        })
    }

    /// True when values can be above and below each other.
    pub(crate) fn has_order(self) -> bool {
        self != Comparer::Label
    }

    /// `None` when the text is no value of the type.
    pub(crate) fn parse(self, text: &str) -> Option<Comparand> {
        let trimmed = text.trim();
        Some(match self {
            Comparer::Integer => Comparand::Integer(trimmed.parse().ok()?),
            Comparer::Decimal => Comparand::Decimal(decimal_parts(trimmed).map(|_| trimmed.to_owned())?),
            Comparer::Float => Comparand::Float(trimmed.parse().ok()?),
            Comparer::Text | Comparer::Label => Comparand::Text(text.to_owned()),
            Comparer::Boolean => Comparand::Boolean(match trimmed.to_ascii_lowercase().as_str() {
                "true" | "t" | "1" => true,
                "false" | "f" | "0" => false,
                _ => return None,
            }),
            Comparer::Date | Comparer::Timestamp => Comparand::Micros(parse_timestamp(trimmed)?),
            Comparer::Time => Comparand::Micros(parse_time(trimmed)?),
            Comparer::Uuid => Comparand::Uuid(parse_uuid(trimmed)?),
        })
    }

    /// The value of a row against an operand; `None` when there is no value.
    pub(crate) fn compare(self, column: &Column, row: usize, operand: &Comparand) -> Option<Ordering> {
        match operand {
            Comparand::Integer(wanted) => {
                let found = column.int(row).map(i128::from).or_else(|| column.uint(row).map(i128::from))?;
                Some(found.cmp(wanted))
            }
            Comparand::Decimal(wanted) => compare_decimals(column.text(row)?, wanted),
            Comparand::Float(wanted) => Some(compare_floats(column.float(row)?, *wanted)),
            Comparand::Text(wanted) => Some(column.text(row)?.as_bytes().cmp(wanted.as_bytes())),
            Comparand::Boolean(wanted) => Some(column.boolean(row)?.cmp(wanted)),
            Comparand::Micros(wanted) => {
                let found = column.int(row)?;
                Some(if self == Comparer::Date { (found.saturating_mul(DAY_US)).cmp(wanted) } else { found.cmp(wanted) })
            }
            Comparand::Uuid(wanted) => Some(column.bytes(row)?.cmp(wanted)),
        }
    }
}

fn compare_floats(found: f64, wanted: f64) -> Ordering {
    found.partial_cmp(&wanted).unwrap_or_else(|| found.is_nan().cmp(&wanted.is_nan()))
}

/// Sign and digits of a decimal: whole part without leading zeros, fraction without trailing ones.
#[derive(Debug, PartialEq, Eq)]
enum DecimalParts<'a> {
    NegativeInfinity,
    Finite { negative: bool, whole: &'a str, fraction: &'a str },
    PositiveInfinity,
    NaN,
}

fn decimal_parts(text: &str) -> Option<DecimalParts<'_>> {
    match text {
        "NaN" => return Some(DecimalParts::NaN),
        "Infinity" => return Some(DecimalParts::PositiveInfinity),
        "-Infinity" => return Some(DecimalParts::NegativeInfinity),
        _ => {}
    }
    let negative = text.starts_with('-');
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(whole) || !all_digits(fraction) || whole.len() + fraction.len() == 0 {
        return None;
    }
    let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
    let zero = whole.is_empty() && fraction.is_empty();
    Some(DecimalParts::Finite { negative: negative && !zero, whole, fraction })
}

fn compare_decimals(left: &str, right: &str) -> Option<Ordering> {
    use DecimalParts::{Finite, NaN, NegativeInfinity, PositiveInfinity};
    let rank = |parts: &DecimalParts<'_>| match parts {
        NegativeInfinity => 0,
        Finite { .. } => 1,
        PositiveInfinity => 2,
        NaN => 3,
    };
    let (left, right) = (decimal_parts(left)?, decimal_parts(right)?);
    let (Finite { negative, whole, fraction }, Finite { negative: other_negative, whole: other_whole, fraction: other_fraction }) =
        (&left, &right)
    else {
        return Some(rank(&left).cmp(&rank(&right)));
    };
    let size = whole.len().cmp(&other_whole.len()).then_with(|| whole.cmp(other_whole)).then_with(|| fraction.cmp(other_fraction));
    Some(match (negative, other_negative) {
        (false, true) => Ordering::Greater,
        (true, false) => Ordering::Less,
        (false, false) => size,
        (true, true) => size.reverse(),
    })
}

fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let text = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(text);
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').map(|byte| char::from(byte).to_digit(16)).try_fold(
        Vec::with_capacity(32),
        |mut digits, digit| {
            digits.push(digit? as u8);
            Some(digits)
        },
    )?;
    let mut bytes = [0; 16];
    if digits.len() != 32 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair[0] << 4 | pair[1];
    }
    Some(bytes)
}

#[cfg(test)]
mod compare_tests {
    use super::*;

    #[test]
    fn decimals_are_compared_exactly() {
        let cases = [
            ("1.10", "1.1", Ordering::Equal),
            ("-0", "0.00", Ordering::Equal),
            ("10", "9.999999999999999999999999999999", Ordering::Greater),
            ("0.1", "0.09", Ordering::Greater),
            ("-2", "-10", Ordering::Greater),
            ("-2", "1", Ordering::Less),
            ("007", "7", Ordering::Equal),
            ("123456789012345678901234567890.1", "123456789012345678901234567890.2", Ordering::Less),
            ("NaN", "Infinity", Ordering::Greater),
            ("-Infinity", "-99999", Ordering::Less),
            ("NaN", "NaN", Ordering::Equal),
        ];
        for (left, right, wanted) in cases {
            assert_eq!(compare_decimals(left, right), Some(wanted), "{left} and {right}");
            assert_eq!(compare_decimals(right, left), Some(wanted.reverse()), "{right} and {left}");
        }
        assert_eq!(compare_decimals("1e5", "1"), None);
    }

    #[test]
    fn uuids_are_read_with_and_without_hyphens() {
        let wanted = Some([0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff]);
        assert_eq!(parse_uuid("00112233-4455-6677-8899-AABBCCDDEEFF"), wanted);
        assert_eq!(parse_uuid("00112233445566778899aabbccddeeff"), wanted);
        assert_eq!(parse_uuid("0011"), None);
    }
}
