//! Typed values as the text that MySQL and MariaDB read back exactly.
//!
//! A value that the column's form cannot hold exactly is an error that names the kind of value, never the value: nothing
//! is clamped, rounded or cut here. What only the server can judge (lengths, character sets, ranges of timestamps) it
//! refuses in strict mode; where it would only warn, the batch fails.

use std::fmt::Write as _;
use std::io::Write as _;

use tidegate_connector::{Unfit, spell};
use tidegate_model::Value;

use super::form::Form;
use super::json::{check_json, check_spelt};
use crate::neutral::date_days;

/// The longest TIME. Source: MySQL manual, "The TIME Type".
const TIME_US_MAX: i64 = 3_020_399_000_000;

/// Days since 1970 of 0001-01-01 and 9999-12-31. The manual promises dates from 1000 on; those from year 1 are kept
/// too (tested), and year 0 is where zero dates begin.
const DAYS: std::ops::RangeInclusive<i64> = -719_162..=2_932_896;

const DAY_US: i64 = 86_400_000_000;

/// Why a value was not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A kind of value for which the task has a policy.
    Unfit(Unfit),
    /// Found and wanted, without the value.
    Misfit(String),
}

impl Refusal {
    fn new(text: impl Into<String>) -> Refusal {
        Refusal::Misfit(text.into())
    }
}

/// Appends the text (or bytes) of a value that is not NULL.
pub(crate) fn put_value(form: &Form, value: &Value<'_>, out: &mut Vec<u8>) -> Result<(), Refusal> {
    match form {
        Form::Int(first, last) => put_integer(integer(value)?, *first, *last, out),
        Form::Year => match integer(value)? {
            year @ (0 | 1901..=2155) => {
                let _ = write!(out, "{year:04}");
                Ok(())
            }
            _ => Err(Refusal::new("found a year out of the range of year")),
        },
        Form::Decimal(precision, scale) => put_decimal(&digits(value)?, *precision, *scale, out),
        Form::Float { has_minus_zero } => put_float(f64::from(single(value)?), *has_minus_zero, out),
        Form::Double { has_minus_zero } => put_float(double(value)?, *has_minus_zero, out),
        Form::Bits(bits) => put_bits(value, *bits, out),
        Form::Date => put_date(value, out),
        Form::DateTime(fraction) => put_datetime(value, *fraction, out),
        Form::Time(fraction) => put_time(value, *fraction, out),
        Form::Char => {
            let text = text(value)?;
            out.extend_from_slice(text.trim_end_matches(' ').as_bytes());
            Ok(())
        }
        Form::Text => {
            out.extend_from_slice(text(value)?.as_bytes());
            Ok(())
        }
        Form::Binary(length) => {
            let bytes = bytes(value)?;
            if bytes.len() as u64 != *length {
                return Err(Refusal::new(format!("found {} bytes, wanted {length}", bytes.len())));
            }
            out.extend_from_slice(bytes);
            Ok(())
        }
        Form::Bytes => {
            out.extend_from_slice(bytes(value)?);
            Ok(())
        }
        Form::Enumeration(labels) => put_label(&text(value)?, labels, out),
        Form::SetOf(labels) => put_labels(&text(value)?, labels, out),
        Form::Json { is_spelt } => put_json(value, *is_spelt, out),
        Form::Uuid => match value {
            Value::Uuid(_) | Value::Text(_) | Value::OwnedText(_) => {
                out.extend_from_slice(spell(value).as_bytes());
                Ok(())
            }
            _ => Err(mismatch(value, "uuid")),
        },
        Form::Address => match value {
            Value::Text(text) => {
                out.extend_from_slice(text.as_bytes());
                Ok(())
            }
            _ => Err(mismatch(value, "an address")),
        },
    }
}

fn put_integer(number: i128, first: i128, last: i128, out: &mut Vec<u8>) -> Result<(), Refusal> {
    if !(first..=last).contains(&number) {
        return Err(Refusal::new(format!("found an integer out of the range {first} to {last}")));
    }
    let _ = write!(out, "{number}");
    Ok(())
}

fn integer(value: &Value<'_>) -> Result<i128, Refusal> {
    match value {
        Value::Bool(flag) => Ok(i128::from(*flag)),
        Value::Int(number) => Ok(i128::from(*number)),
        Value::UInt(number) => Ok(i128::from(*number)),
        Value::Decimal(text) | Value::Text(text) => whole(text),
        Value::OwnedText(text) => whole(text),
        _ => Err(mismatch(value, "an integer")),
    }
}

fn whole(text: &str) -> Result<i128, Refusal> {
    if is_unbounded(text) {
        return Err(Refusal::Unfit(Unfit::NotFinite));
    }
    let text = text.split_once('.').filter(|(_, rest)| rest.bytes().all(|digit| digit == b'0')).map_or(text, |(whole, _)| whole);
    text.parse().map_err(|_| Refusal::new("found a text or a decimal that is no integer"))
}

fn is_unbounded(text: &str) -> bool {
    matches!(text, "NaN" | "Infinity" | "-Infinity")
}

fn digits(value: &Value<'_>) -> Result<String, Refusal> {
    match value {
        Value::Bool(_) | Value::Int(_) | Value::UInt(_) => Ok(integer(value)?.to_string()),
        Value::Float32(number) if !number.is_finite() => Err(Refusal::Unfit(Unfit::NotFinite)),
        Value::Float64(number) if !number.is_finite() => Err(Refusal::Unfit(Unfit::NotFinite)),
        Value::Float32(_) | Value::Float64(_) | Value::Decimal(_) | Value::Text(_) | Value::OwnedText(_) => Ok(spell(value).into_owned()),
        _ => Err(mismatch(value, "a decimal")),
    }
}

fn put_decimal(text: &str, precision: u32, scale: u32, out: &mut Vec<u8>) -> Result<(), Refusal> {
    if is_unbounded(text) {
        return Err(Refusal::Unfit(Unfit::NotFinite));
    }
    let (sign, rest) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (whole, fraction) = rest.split_once('.').unwrap_or((rest, ""));
    let is_plain = |part: &str| part.bytes().all(|digit| digit.is_ascii_digit());
    if !is_plain(whole) || !is_plain(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return Err(Refusal::new("found a text that is no decimal"));
    }
    let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
    if whole.len() > precision.saturating_sub(scale) as usize || fraction.len() > scale as usize {
        return Err(Refusal::new(format!("found a number that does not fit decimal({precision},{scale})")));
    }
    let whole = if whole.is_empty() { "0" } else { whole };
    let point = if fraction.is_empty() { "" } else { "." };
    let _ = write!(out, "{sign}{whole}{point}{fraction}");
    Ok(())
}

/// With an exponent, or the server would take it for a decimal first.
fn put_float(number: f64, has_minus_zero: bool, out: &mut Vec<u8>) -> Result<(), Refusal> {
    if !number.is_finite() {
        return Err(Refusal::Unfit(Unfit::NotFinite));
    }
    if number == 0.0 && number.is_sign_negative() && !has_minus_zero {
        return Err(Refusal::new("found -0, whose sign MariaDB does not keep"));
    }
    let _ = write!(out, "{number:e}");
    Ok(())
}

fn single(value: &Value<'_>) -> Result<f32, Refusal> {
    if let Value::Float32(number) = value {
        return Ok(*number);
    }
    let wide = double(value)?;
    let narrow = wide as f32;
    if f64::from(narrow) == wide || wide.is_nan() { Ok(narrow) } else { Err(Refusal::new("found a number that float cannot hold exactly")) }
}

fn double(value: &Value<'_>) -> Result<f64, Refusal> {
    match value {
        Value::Float32(number) => Ok(f64::from(*number)),
        Value::Float64(number) => Ok(*number),
        Value::Bool(_) | Value::Int(_) | Value::UInt(_) => {
            let whole = integer(value)?;
            let number = whole as f64;
            if number as i128 == whole { Ok(number) } else { Err(Refusal::new("found an integer that double cannot hold exactly")) }
        }
        Value::Text(text) => text.parse().map_err(|_| Refusal::new("found a text that is no number")),
        Value::OwnedText(text) => text.parse().map_err(|_| Refusal::new("found a text that is no number")),
        _ => Err(mismatch(value, "a float")),
    }
}

fn put_bits(value: &Value<'_>, bits: u32, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let bytes = match value {
        Value::Bits(bytes) | Value::Bytes(bytes) => *bytes,
        Value::OwnedBytes(bytes) => bytes,
        Value::Bool(_) | Value::Int(_) | Value::UInt(_) => return put_integer(integer(value)?, 0, (1 << bits) - 1, out),
        _ => return Err(mismatch(value, "a bit string")),
    };
    let mut number = 0_u128;
    for byte in bytes {
        if number >> 64 != 0 {
            return Err(Refusal::new(format!("found a bit string of more than {bits} bits")));
        }
        number = number << 8 | u128::from(*byte);
    }
    if number >> bits != 0 {
        return Err(Refusal::new(format!("found a bit string of more than {bits} bits")));
    }
    let _ = write!(out, "{number}");
    Ok(())
}

fn put_date(value: &Value<'_>, out: &mut Vec<u8>) -> Result<(), Refusal> {
    match value {
        Value::Date(i32::MIN | i32::MAX) => Err(Refusal::Unfit(Unfit::Moment)),
        Value::Date(days) => in_range(i64::from(*days)).map(|()| out.extend_from_slice(spell(value).as_bytes())),
        _ => put_calendar_text(value, false, 0, out),
    }
}

fn put_datetime(value: &Value<'_>, fraction: u32, out: &mut Vec<u8>) -> Result<(), Refusal> {
    match value {
        Value::Timestamp(i64::MIN | i64::MAX) | Value::TimestampTz(i64::MIN | i64::MAX) => Err(Refusal::Unfit(Unfit::Moment)),
        Value::Timestamp(us) | Value::TimestampTz(us) => {
            in_range(us.div_euclid(DAY_US))?;
            fits_fraction(*us, fraction)?;
            out.extend_from_slice(spell(&Value::Timestamp(*us)).as_bytes());
            Ok(())
        }
        Value::Date(_) => {
            put_date(value, out)?;
            out.extend_from_slice(b" 00:00:00");
            Ok(())
        }
        _ => put_calendar_text(value, true, fraction, out),
    }
}

fn put_time(value: &Value<'_>, fraction: u32, out: &mut Vec<u8>) -> Result<(), Refusal> {
    match value {
        Value::Time(us) if us.abs() > TIME_US_MAX => Err(Refusal::new("found a time beyond 838:59:59")),
        Value::Time(us) => {
            fits_fraction(*us, fraction)?;
            out.extend_from_slice(spell(value).as_bytes());
            Ok(())
        }
        _ => Err(mismatch(value, "a time")),
    }
}

fn in_range(days: i64) -> Result<(), Refusal> {
    if DAYS.contains(&days) { Ok(()) } else { Err(Refusal::Unfit(Unfit::Moment)) }
}

/// The server rounds to its digits without a word.
fn fits_fraction(us: i64, digits: u32) -> Result<(), Refusal> {
    if us % 10_i64.pow(6 - digits.min(6)) == 0 {
        Ok(())
    } else {
        Err(Refusal::new(format!("found a time with more than {digits} digits after the second")))
    }
}

/// A text of the form that we write ourselves: `2024-01-31`, with ` 12:00:00.5` behind it where there is a time.
fn put_calendar_text(value: &Value<'_>, has_time: bool, fraction: u32, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let Value::Text(text) = value else { return Err(mismatch(value, "a date")) };
    let form: String = text.chars().map(|letter| if letter.is_ascii_digit() { '0' } else { letter }).collect();
    let (day, time) = form.split_at_checked(10).ok_or_else(|| Refusal::new("found a text that is no date"))?;
    let (clock, digits) = time.split_once('.').unwrap_or((time, ""));
    let is_time =
        matches!(clock, "" | " 00:00:00" | "T00:00:00") && digits.len() <= fraction as usize && digits.bytes().all(|digit| digit == b'0');
    if day != "0000-00-00" || !is_time || (!has_time && !time.is_empty()) {
        return Err(Refusal::new("found a text that is no date of the form 2024-01-31 or 2024-01-31 12:00:00"));
    }
    // Dates with zeros are MySQL's and MariaDB's own; the session takes them. Others that no calendar has it does not.
    let part = |from: usize, to: usize| text.get(from..to).and_then(|digits| digits.parse::<u32>().ok()).unwrap_or(0);
    let (year, month, day) = (part(0, 4), part(5, 7), part(8, 10));
    if month != 0 && day != 0 && year != 0 && matches!(date_days(year, month, day), Ok(None)) {
        return Err(Refusal::Unfit(Unfit::ZeroDate));
    }
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

fn text<'a>(value: &'a Value<'_>) -> Result<std::borrow::Cow<'a, str>, Refusal> {
    match value {
        // Bytes have no text that another type would read back.
        Value::Bytes(_) | Value::OwnedBytes(_) => Err(mismatch(value, "a text")),
        _ => Ok(spell(value)),
    }
}

fn bytes<'a>(value: &'a Value<'_>) -> Result<&'a [u8], Refusal> {
    match value {
        Value::Bytes(bytes) | Value::Bits(bytes) => Ok(bytes),
        Value::OwnedBytes(bytes) => Ok(bytes),
        Value::Uuid(bytes) => Ok(bytes),
        _ => Err(mismatch(value, "bytes")),
    }
}

/// A text that is no label but a number would be taken for the label's place.
fn put_label(text: &str, labels: &[String], out: &mut Vec<u8>) -> Result<(), Refusal> {
    if !labels.iter().any(|label| label == text) {
        return Err(Refusal::new("found a label that the target's enumeration has not"));
    }
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

/// A text that stands for index 0 of an enumeration with these labels: one that is none of them, and the number 0. MySQL takes it in
/// every mode and without a warning, as it must for files, while it refuses the number itself in strict mode. `None` where a label
/// may be equal to it by the column's collation.
pub(crate) fn error_value(labels: &[String]) -> Option<&'static str> {
    // Of more than five digits the server reads no number.
    const ZEROS: [&str; 5] = ["0", "00", "000", "0000", "00000"];
    let may_be_zeros = |label: &&String| {
        label.chars().any(char::is_numeric) && !label.chars().any(|letter| letter.is_alphabetic() || ('1'..='9').contains(&letter))
    };
    let likely: Vec<&String> = labels.iter().filter(may_be_zeros).collect();
    if likely.iter().any(|label| !label.is_ascii()) {
        return None;
    }
    // Other characters of a label may count for nothing.
    let count = |label: &str| label.bytes().filter(|letter| *letter == b'0').count();
    ZEROS.into_iter().find(|zeros| likely.iter().all(|label| count(label) != zeros.len()))
}

fn put_labels(text: &str, labels: &[String], out: &mut Vec<u8>) -> Result<(), Refusal> {
    if !text.is_empty() && text.split(',').any(|part| !labels.iter().any(|label| label == part)) {
        return Err(Refusal::new("found a label that the target's set has not"));
    }
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

fn put_json(value: &Value<'_>, is_spelt: bool, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let text = value.as_text().ok_or_else(|| mismatch(value, "a JSON text"))?;
    if is_spelt { check_spelt(text) } else { check_json(text) }.map_err(Refusal::new)?;
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

fn mismatch(value: &Value<'_>, wanted: &str) -> Refusal {
    let found = match value {
        Value::Null => "NULL",
        Value::Bool(_) => "a boolean",
        Value::Int(_) | Value::UInt(_) => "an integer",
        Value::Float32(_) | Value::Float64(_) => "a float",
        Value::Decimal(_) => "a decimal",
        Value::Text(_) | Value::OwnedText(_) => "a text",
        Value::Bytes(_) | Value::OwnedBytes(_) => "bytes",
        Value::Date(_) => "a date",
        Value::Time(_) => "a time",
        Value::Timestamp(_) | Value::TimestampTz(_) => "a timestamp",
        Value::Json(_) => "a JSON text",
        Value::Uuid(_) => "a UUID",
        Value::Bits(_) => "a bit string",
    };
    let mut text = String::new();
    let _ = write!(text, "found {found}, wanted {wanted}");
    Refusal::Misfit(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(form: &Form, value: Value<'_>) -> Result<String, Refusal> {
        let mut out = Vec::new();
        put_value(form, &value, &mut out).map(|()| String::from_utf8_lossy(&out).into_owned())
    }

    #[test]
    fn values_out_of_range_are_refused_and_never_clamped() {
        let tiny = Form::Int(-128, 127);
        assert_eq!(put(&tiny, Value::Int(-128)).as_deref(), Ok("-128"));
        assert!(put(&tiny, Value::Int(128)).is_err());
        assert!(put(&Form::Int(0, 255), Value::Int(-1)).is_err());
        assert_eq!(put(&Form::Year, Value::Int(0)).as_deref(), Ok("0000"));
        assert!(put(&Form::Year, Value::Int(1900)).is_err());
        assert_eq!(put(&Form::Decimal(5, 2), Value::Decimal("-012.500")).as_deref(), Ok("-12.5"));
        assert!(put(&Form::Decimal(5, 2), Value::Decimal("1000")).is_err());
        assert!(put(&Form::Decimal(5, 2), Value::Decimal("1.239")).is_err());
        assert_eq!(put(&Form::Decimal(5, 2), Value::Decimal("NaN")), Err(Refusal::Unfit(Unfit::NotFinite)));
        let float = Form::Float { has_minus_zero: true };
        let double = |has_minus_zero: bool| Form::Double { has_minus_zero };
        assert_eq!(put(&float, Value::Float32(0.1)).as_deref(), Ok("1.0000000149011612e-1"));
        assert!(put(&float, Value::Float64(0.1)).is_err());
        assert_eq!(put(&double(true), Value::Float64(f64::INFINITY)), Err(Refusal::Unfit(Unfit::NotFinite)));
        assert_eq!(put(&double(true), Value::Float64(-0.0)).as_deref(), Ok("-0e0"));
        assert_eq!(put(&double(false), Value::Float64(0.0)).as_deref(), Ok("0e0"));
        assert!(put(&double(false), Value::Float64(-0.0)).is_err());
        assert_eq!(put(&Form::Bits(12), Value::Bits(&[0x0a, 0xbc])).as_deref(), Ok("2748"));
        assert!(put(&Form::Bits(12), Value::Bits(&[0x1a, 0xbc])).is_err());
        assert_eq!(put(&Form::Bits(64), Value::Bits(&[0xff; 8])).as_deref(), Ok("18446744073709551615"));
        assert!(put(&Form::Binary(3), Value::Bytes(&[1, 2])).is_err());
    }

    #[test]
    fn times_that_the_server_would_round_are_refused() {
        assert_eq!(put(&Form::DateTime(3), Value::Timestamp(1_500_000)).as_deref(), Ok("1970-01-01 00:00:01.5"));
        assert!(put(&Form::DateTime(0), Value::Timestamp(1_500_000)).is_err());
        assert!(put(&Form::Time(6), Value::Time(TIME_US_MAX + 1)).is_err());
        assert_eq!(put(&Form::Time(0), Value::Time(-TIME_US_MAX)).as_deref(), Ok("-838:59:59"));
        assert_eq!(put(&Form::Date, Value::Date(-719_162)).as_deref(), Ok("0001-01-01"));
        assert!(put(&Form::Date, Value::Date(-719_163)).is_err());
        assert!(put(&Form::Date, Value::Date(2_932_897)).is_err());
        assert_eq!(put(&Form::Date, Value::Date(i32::MAX)), Err(Refusal::Unfit(Unfit::Moment)));
        assert_eq!(put(&Form::Date, Value::Text("2020-02-29")).as_deref(), Ok("2020-02-29"));
        assert!(put(&Form::Date, Value::Text("29.2.2020")).is_err());
    }

    #[test]
    fn a_label_that_is_a_number_is_no_place_in_the_list() {
        let labels = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(put(&Form::Enumeration(labels.clone()), Value::Text("b")).as_deref(), Ok("b"));
        assert!(put(&Form::Enumeration(labels.clone()), Value::Text("1")).is_err());
        assert!(put(&Form::SetOf(labels.clone()), Value::Text("a,1")).is_err());
        assert_eq!(put(&Form::SetOf(labels), Value::Text("")).as_deref(), Ok(""));
    }
}
