//! Arrays as JSON array text. Dimensions become nested arrays; lower bounds other than 1 have no place in JSON, so an
//! array that has them is an error rather than another array.

use std::fmt::Write;

use tidegate_model::Value;

use super::Form;
use super::calendar::{date_text, time_text, timestamp_text};
use super::decode::{Reason, from_binary};
use super::printed::{bit_text, take_i32, take_value};

/// PostgreSQL's own limit, MAXDIM.
const DIMENSIONS_MAX: usize = 6;

/// The JSON text of an array's binary form.
pub(crate) fn json(element: &Form, bytes: &[u8]) -> Result<String, Reason> {
    let mut rest = bytes;
    let dimensions = usize::try_from(take_i32(&mut rest)?).map_err(|_| "array has a negative count of dimensions")?;
    let _has_null = take_i32(&mut rest)?;
    let _element_oid = take_i32(&mut rest)?;
    if dimensions > DIMENSIONS_MAX {
        return Err("array has more than 6 dimensions".into());
    }
    let mut lengths = Vec::with_capacity(dimensions);
    for _ in 0..dimensions {
        lengths.push(usize::try_from(take_i32(&mut rest)?).map_err(|_| "array has a negative length")?);
        if take_i32(&mut rest)? != 1 {
            return Err("array starts at another index than 1, which JSON cannot say".into());
        }
    }
    let mut out = String::with_capacity(bytes.len());
    if lengths.is_empty() {
        out.push_str("[]");
    } else {
        push_level(element, &lengths, &mut rest, &mut out)?;
    }
    if rest.is_empty() { Ok(out) } else { Err("array has bytes after its last element".into()) }
}

fn push_level(element: &Form, lengths: &[usize], rest: &mut &[u8], out: &mut String) -> Result<(), Reason> {
    let Some((length, inner)) = lengths.split_first() else {
        return push_element(element, rest, out);
    };
    // Every element takes four bytes at least, so a length that the bytes cannot hold ends soon.
    if *length > rest.len() {
        return Err("array's lengths do not fit its bytes".into());
    }
    out.push('[');
    for index in 0..*length {
        if index > 0 {
            out.push(',');
        }
        push_level(element, inner, rest, out)?;
    }
    out.push(']');
    Ok(())
}

fn push_element(element: &Form, rest: &mut &[u8], out: &mut String) -> Result<(), Reason> {
    let Some(bytes) = take_value(rest)? else {
        out.push_str("null");
        return Ok(());
    };
    if *element == Form::Bit {
        push_text(&bit_text(bytes)?, out);
        return Ok(());
    }
    match from_binary(element, bytes)? {
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if flag { "true" } else { "false" }),
        Value::Int(number) => drop(write!(out, "{number}")),
        Value::UInt(number) => drop(write!(out, "{number}")),
        Value::Float32(number) if number.is_finite() => drop(write!(out, "{number:?}")),
        Value::Float64(number) if number.is_finite() => drop(write!(out, "{number:?}")),
        Value::Float32(number) => push_text(special(number.into()), out),
        Value::Float64(number) => push_text(special(number), out),
        Value::Date(days) => push_text(&date_text(days), out),
        Value::Time(us) => push_text(&time_text(us), out),
        Value::Timestamp(us) => push_text(&timestamp_text(us), out),
        Value::TimestampTz(us) => push_text(&format!("{}Z", timestamp_text(us)), out),
        Value::Uuid(bytes) => push_text(&tidegate_model::position::uuid_text(&bytes), out),
        Value::Json(text) => out.push_str(text),
        Value::Bytes(bytes) | Value::Bits(bytes) => push_hex(bytes, out),
        Value::OwnedBytes(bytes) => push_hex(&bytes, out),
        Value::OwnedText(text) if *element == Form::Numeric && text.ends_with(|last: char| last.is_ascii_digit()) => out.push_str(&text),
        Value::OwnedText(text) => push_text(&text, out),
        Value::Text(text) | Value::Decimal(text) => push_text(text, out),
    }
    Ok(())
}

/// JSON has no such numbers; the texts are PostgreSQL's.
fn special(number: f64) -> &'static str {
    match number {
        _ if number.is_nan() => "NaN",
        _ if number > 0.0 => "Infinity",
        _ => "-Infinity",
    }
}

fn push_hex(bytes: &[u8], out: &mut String) {
    out.push_str("\"\\\\x");
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
    out.push('"');
}

fn push_text(text: &str, out: &mut String) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            // The short forms are those that PostgreSQL's own `to_json` writes.
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            letter if u32::from(letter) < 0x20 => drop(write!(out, "\\u{:04x}", u32::from(letter))),
            letter => out.push(letter),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[i32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn dimensions_nest_and_null_stays_null() {
        let bytes = words(&[2, 1, 23, 2, 1, 2, 1, 4, 1, -1, 4, 3, 4, 4]);
        assert_eq!(json(&Form::Int4, &bytes).as_deref(), Ok("[[1,null],[3,4]]"));
        assert_eq!(json(&Form::Int4, &words(&[0, 0, 23])).as_deref(), Ok("[]"));
    }

    #[test]
    fn what_json_cannot_say_or_bytes_do_not_hold_is_an_error() {
        let cases: [&[i32]; 6] = [
            &[1, 0, 23, 1, 0, 4, 7],
            &[1, 0, 23, i32::MAX, 1],
            &[7, 0, 23],
            &[-1, 0, 23],
            &[1, 0, 23, 1, 1, 4],
            &[1, 0, 23, 1, 1, 4, 7, 7],
        ];
        for case in cases {
            assert!(json(&Form::Int4, &words(case)).is_err(), "{case:?}");
        }
    }
}
