//! Comparisons by the column's type.
//!
//! Integers and decimals are compared exactly, text byte by byte, dates and times as instants; NaN equals itself and
//! is above every number, as PostgreSQL has it.

use std::cmp::Ordering;

use tidegate_transform_sdk::{Column, ScalarType, SqlType};

/// Microseconds of a day.
const DAY_US: i64 = 86_400_000_000;

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

/// `YYYY-MM-DD`, or with ` HH:MM:SS[.ffffff]` (a `T` between them and a final `Z` or `+00` are taken too).
fn parse_timestamp(text: &str) -> Option<i64> {
    let (date, time) = match text.split_once([' ', 'T']) {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let days = parse_date(date)?;
    let time = match time {
        None => 0,
        Some(time) => {
            let time = time.strip_suffix('Z').or_else(|| time.strip_suffix("+00:00")).or_else(|| time.strip_suffix("+00")).unwrap_or(time);
            parse_time(time).filter(|us| (0..=DAY_US).contains(us))?
        }
    };
    days.checked_mul(DAY_US)?.checked_add(time)
}

fn parse_date(text: &str) -> Option<i64> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let mut parts = digits.split('-');
    let mut next = |len_min: usize, len_max: usize| number(parts.next()?, len_min, len_max);
    let (year, month, day) = (next(4, 6)?, next(2, 2)?, next(2, 2)?);
    let year = if negative { -year } else { year };
    if parts.next().is_some() || !(1..=12).contains(&month) || day < 1 || day > days_of_month(year, month) {
        return None;
    }
    Some(days_from_civil(year, month, day))
}

fn days_of_month(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar.
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// `[-]H+:MM:SS[.ffffff]` in microseconds.
fn parse_time(text: &str) -> Option<i64> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (clock, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let mut parts = clock.split(':');
    let mut next = |len_min: usize, len_max: usize| number(parts.next()?, len_min, len_max);
    let (hours, minutes, seconds) = (next(1, 3)?, next(2, 2)?, next(2, 2)?);
    if parts.next().is_some() || minutes > 59 || seconds > 59 {
        return None;
    }
    let us = number(fraction, 1, 6)? * 10_i64.pow(6 - fraction.len() as u32);
    let total = ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + us;
    Some(if negative { -total } else { total })
}

fn number(text: &str, len_min: usize, len_max: usize) -> Option<i64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if digits && (len_min..=len_max).contains(&text.len()) { text.parse().ok() } else { None }
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
    fn dates_and_times_are_read() {
        let cases = [
            ("1970-01-01", Some(0)),
            ("1969-12-31 23:59:59.999999", Some(-1)),
            ("2000-03-01", Some(11_017 * DAY_US)),
            ("2024-02-29", Some(19_782 * DAY_US)),
            ("2023-02-29", None),
            ("2024-13-01", None),
            ("2024-1-1", None),
            ("1970-01-01 00:00:00.5", Some(500_000)),
            ("1970-01-01T00:00:01Z", Some(1_000_000)),
            ("1970-01-01 24:00:01", None),
            ("1970-01-01 00:60:00", None),
            ("0001-01-01", Some(-719_162 * DAY_US)),
            ("soon", None),
        ];
        for (text, wanted) in cases {
            assert_eq!(parse_timestamp(text), wanted, "{text}");
        }
        assert_eq!(parse_time("-838:59:59"), Some(-3_020_399_000_000));
    }

    #[test]
    fn uuids_are_read_with_and_without_hyphens() {
        let wanted = Some([0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff]);
        assert_eq!(parse_uuid("00112233-4455-6677-8899-AABBCCDDEEFF"), wanted);
        assert_eq!(parse_uuid("00112233445566778899aabbccddeeff"), wanted);
        assert_eq!(parse_uuid("0011"), None);
    }
}
