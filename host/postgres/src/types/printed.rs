//! Values as the text that the server prints for them, with the pinned settings of our sessions (dates in ISO, instants in UTC,
//! lengths of time in ISO 8601), also inside of composites, ranges and `hstore`, which are made of values of other types.
//!
//! Sources: the `*_out` and `*_send` functions of PostgreSQL: `rowtypes.c`, `arrayfuncs.c`, `float.c`, `tsvector.c`, and
//! `hstore_io.c` of contrib. An amount of `money` is printed as a plain number, whatever the locale's signs.

use std::fmt::Write;

use tidegate_model::position::uuid_text;

use super::calendar::{self, date_text, time_text};
use super::decode::{Reason, bits, fixed, utf8};
use super::{Form, numeric, ranges};

const DAY_US: i64 = 86_400_000_000;

/// Days from 1970-01-01 to 2000-01-01.
const EPOCH_DAYS: i64 = 10_957;

/// PostgreSQL's own limit on an array's dimensions, MAXDIM.
const DIMENSIONS_MAX: usize = 6;

/// The text of a value's binary form.
pub(crate) fn printed(form: &Form, bytes: &[u8]) -> Result<String, Reason> {
    Ok(match form {
        Form::Bool => if bytes == [1] { "t" } else { "f" }.to_owned(),
        Form::Int2 => i16::from_be_bytes(fixed(bytes)?).to_string(),
        Form::Int4 => i32::from_be_bytes(fixed(bytes)?).to_string(),
        Form::Int8 => i64::from_be_bytes(fixed(bytes)?).to_string(),
        // The exponents from which on the server writes powers of ten.
        Form::Float4 => float(format!("{:e}", f32::from_be_bytes(fixed(bytes)?)), 6),
        Form::Float8 => double(f64::from_be_bytes(fixed(bytes)?)),
        Form::Numeric => numeric::text(bytes)?,
        Form::Text | Form::Json => utf8(bytes)?.to_owned(),
        Form::Jsonb => utf8(bytes.split_first().ok_or("jsonb has no version")?.1)?.to_owned(),
        // Of a type that is not known here, the bytes that its own functions read.
        Form::Bytea | Form::Foreign => bytes.iter().fold(String::from("\\x"), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        }),
        Form::Date => match i32::from_be_bytes(fixed(bytes)?) {
            i32::MAX => "infinity".to_owned(),
            i32::MIN => "-infinity".to_owned(),
            days => in_era(i64::from(days) + EPOCH_DAYS, "")?,
        },
        Form::Time => time_text(i64::from_be_bytes(fixed(bytes)?)),
        Form::Timestamp => moment(i64::from_be_bytes(fixed(bytes)?), "")?,
        Form::TimestampTz => moment(i64::from_be_bytes(fixed(bytes)?), "+00")?,
        Form::Interval => calendar::interval(bytes)?,
        Form::Uuid => uuid_text(&fixed(bytes)?),
        Form::Bit => bit_text(bytes)?,
        Form::Array(element) => array(element, bytes)?,
        Form::Spelled(kind) => kind.text(bytes)?,
        Form::Composite(fields) => composite(fields, bytes)?,
        Form::Range(bound) => ranges::range(bound, bytes)?,
        Form::Multirange(bound) => ranges::multirange(bound, bytes)?,
        Form::Pairs => pairs(bytes)?,
        Form::Money(digits) => money(i64::from_be_bytes(fixed(bytes)?), *digits),
        Form::Unsent => return Err("found the binary form of a type that has none".into()),
        Form::Opaque => return Err("the binary form of its type is passed through and not read".into()),
    })
}

/// Appends a text that stands among others in a composite or a range: in double quotes where it is empty or has a blank, a
/// quote, a backslash or one of the letters that part the others; quotes and backslashes inside are doubled.
pub(super) fn push_quoted(text: &str, parting: &str, out: &mut String) {
    if needs_quotes(text, parting) { enclose(text, |letter| letter, out) } else { out.push_str(text) }
}

fn needs_quotes(text: &str, parting: &str) -> bool {
    let parts = |letter: char| letter.is_ascii_whitespace() || matches!(letter, '\u{b}' | '"' | '\\') || parting.contains(letter);
    text.is_empty() || text.contains(parts)
}

/// The text in double quotes, with `escape` before quotes and backslashes.
fn enclose(text: &str, escape: fn(char) -> char, out: &mut String) {
    out.push('"');
    for letter in text.chars() {
        if matches!(letter, '"' | '\\') {
            out.push(escape(letter));
        }
        out.push(letter);
    }
    out.push('"');
}

/// The text of a double.
pub(super) fn double(number: f64) -> String {
    float(format!("{number:e}"), 15)
}

/// `1.5e-5` with the shortest digits as the server writes it: `1.5e-05`; plain from 0.0001 up to the power `plain_below`.
fn float(scientific: String, plain_below: i32) -> String {
    let (sign, unsigned) = scientific.strip_prefix('-').map_or(("", &scientific[..]), |rest| ("-", rest));
    let Some((mantissa, Ok(exponent))) = unsigned.split_once('e').map(|(mantissa, exponent)| (mantissa, exponent.parse::<i32>())) else {
        return if unsigned == "inf" { format!("{sign}Infinity") } else { "NaN".to_owned() };
    };
    if !(-4..plain_below).contains(&exponent) {
        let direction = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{mantissa}e{direction}{:02}", exponent.unsigned_abs());
    }
    let digits = mantissa.replace('.', "");
    let Ok(whole) = usize::try_from(exponent + 1) else {
        return format!("{sign}0.{}{digits}", "0".repeat(exponent.unsigned_abs() as usize - 1));
    };
    match digits.split_at_checked(whole) {
        None | Some((_, "")) => format!("{sign}{digits:0<whole$}"),
        Some(("", fraction)) => format!("{sign}0.{fraction}"),
        Some((whole, fraction)) => format!("{sign}{whole}.{fraction}"),
    }
}

/// `0044-03-15 12:00:00 BC`: the day, what follows it, and the era.
fn in_era(days: i64, rest: &str) -> Result<String, Reason> {
    let text = date_text(i32::try_from(days).map_err(|_| Reason::from("date is out of range"))?);
    let is_before = text.starts_with('-') || text.starts_with("0000-");
    if !is_before {
        return Ok(format!("{text}{rest}"));
    }
    // Year 0 is 1 BC, year -1 is 2 BC.
    let (year, day) = text.trim_start_matches('-').split_at_checked(text.trim_start_matches('-').len() - 6).ok_or("date is cut off")?;
    let year: u32 = year.parse().map_err(|_| "date has no year")?;
    Ok(format!("{:04}{day}{rest} BC", year + 1))
}

fn moment(since_2000: i64, zone: &str) -> Result<String, Reason> {
    match since_2000 {
        i64::MAX => return Ok("infinity".to_owned()),
        i64::MIN => return Ok("-infinity".to_owned()),
        _ => {}
    }
    in_era(since_2000.div_euclid(DAY_US) + EPOCH_DAYS, &format!(" {}{zone}", time_text(since_2000.rem_euclid(DAY_US))))
}

pub(super) fn bit_text(bytes: &[u8]) -> Result<String, Reason> {
    let (count, bytes) = bits(bytes)?;
    Ok((0..count).map(|index| if bytes[index / 8] & (0x80 >> (index % 8)) == 0 { '0' } else { '1' }).collect())
}

fn money(amount: i64, digits: u8) -> String {
    let (sign, digits) = (if amount < 0 { "-" } else { "" }, usize::from(digits));
    let all = format!("{:0>width$}", amount.unsigned_abs(), width = digits + 1);
    let (whole, fraction) = all.split_at(all.len() - digits);
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

/// A number off the front.
pub(super) fn take_i32(rest: &mut &[u8]) -> Result<i32, Reason> {
    let (head, after) = rest.split_first_chunk::<4>().ok_or("value is cut off")?;
    *rest = after;
    Ok(i32::from_be_bytes(*head))
}

/// A length and that many bytes; `None` for NULL.
pub(super) fn take_value<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, Reason> {
    let length = take_i32(rest)?;
    if length == -1 {
        return Ok(None);
    }
    let length = usize::try_from(length).map_err(|_| "value has a negative length")?;
    let (value, after) = rest.split_at_checked(length).ok_or("value is cut off")?;
    *rest = after;
    Ok(Some(value))
}

/// `(1,"a b",)`: fields with the object ids of their types.
fn composite(fields: &[(u32, Form)], bytes: &[u8]) -> Result<String, Reason> {
    let mut rest = bytes;
    if usize::try_from(take_i32(&mut rest)?) != Ok(fields.len()) {
        return Err("the composite type has another count of fields than when it was described".into());
    }
    let mut text = String::from("(");
    for (index, (oid, form)) in fields.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        if take_i32(&mut rest)?.cast_unsigned() != *oid {
            return Err("the composite type has a field of another type than when it was described".into());
        }
        if let Some(value) = take_value(&mut rest)? {
            push_quoted(&printed(form, value)?, "(),", &mut text);
        }
    }
    text.push(')');
    if rest.is_empty() { Ok(text) } else { Err("composite is longer than its fields".into()) }
}

/// `{1,NULL,"a b"}`, with bounds where one is not 1: `[0:1]={1,2}`.
fn array(element: &Form, bytes: &[u8]) -> Result<String, Reason> {
    let mut rest = bytes;
    let dimensions =
        usize::try_from(take_i32(&mut rest)?).ok().filter(|count| *count <= DIMENSIONS_MAX).ok_or("array has too many dimensions")?;
    let (_has_null, _element_oid) = (take_i32(&mut rest)?, take_i32(&mut rest)?);
    let (mut lengths, mut bounds, mut shifted) = (Vec::new(), String::new(), false);
    for _ in 0..dimensions {
        let (length, lower) = (take_i32(&mut rest)?, take_i32(&mut rest)?);
        shifted |= lower != 1;
        let _ = write!(bounds, "[{lower}:{}]", i64::from(lower) + i64::from(length) - 1);
        lengths.push(usize::try_from(length).map_err(|_| "array has a negative length")?);
    }
    let mut text = if shifted { format!("{bounds}=") } else { String::new() };
    if lengths.is_empty() {
        text.push_str("{}");
    } else {
        push_level(element, &lengths, &mut rest, &mut text)?;
    }
    if rest.is_empty() { Ok(text) } else { Err("array has bytes after its last element".into()) }
}

fn push_level(element: &Form, lengths: &[usize], rest: &mut &[u8], out: &mut String) -> Result<(), Reason> {
    let Some((length, inner)) = lengths.split_first() else {
        match take_value(rest)? {
            None => out.push_str("NULL"),
            Some(value) => {
                let text = printed(element, value)?;
                // The word NULL stands in quotes, so that it is none.
                if needs_quotes(&text, "{},") || text.eq_ignore_ascii_case("null") {
                    enclose(&text, |_| '\\', out);
                } else {
                    out.push_str(&text);
                }
            }
        }
        return Ok(());
    };
    if *length > rest.len() {
        return Err("array's lengths do not fit its bytes".into());
    }
    out.push('{');
    for index in 0..*length {
        if index > 0 {
            out.push(',');
        }
        push_level(element, inner, rest, out)?;
    }
    out.push('}');
    Ok(())
}

/// `"name"=>"value", "other"=>NULL` of `hstore`.
fn pairs(bytes: &[u8]) -> Result<String, Reason> {
    let mut rest = bytes;
    let count = take_i32(&mut rest)?;
    let mut text = String::new();
    let push = |value: &[u8], text: &mut String| utf8(value).map(|value| enclose(value, |_| '\\', text));
    for index in 0..count {
        if index > 0 {
            text.push_str(", ");
        }
        push(take_value(&mut rest)?.ok_or("hstore has a name that is NULL")?, &mut text)?;
        text.push_str("=>");
        match take_value(&mut rest)? {
            Some(value) => push(value, &mut text)?,
            None => text.push_str("NULL"),
        }
    }
    if rest.is_empty() { Ok(text) } else { Err("hstore is longer than its pairs".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(bytes: &[u8]) -> Vec<u8> {
        [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
    }

    fn words(words: &[i32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn floats_are_printed_as_the_server_prints_them() {
        // What PostgreSQL 17 prints for these.
        for (number, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (100_000.0, "100000"),
            (123_456_789_012_345.0, "123456789012345"),
            (1e15, "1e+15"),
            (1.5e300, "1.5e+300"),
            (0.1, "0.1"),
            (-12.5, "-12.5"),
            (0.000_123, "0.000123"),
            (0.000_012_3, "1.23e-05"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(printed(&Form::Float8, &number.to_be_bytes()).as_deref(), Ok(text));
        }
        for (number, text) in [(16_777_216_f32, "1.6777216e+07"), (999_999.0, "999999"), (0.1, "0.1"), (1e6, "1e+06")] {
            assert_eq!(printed(&Form::Float4, &number.to_be_bytes()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn amounts_have_the_digits_of_their_currency() {
        for (amount, digits, text) in
            [(123_450, 2, "1234.50"), (-5, 2, "-0.05"), (0, 2, "0.00"), (7, 0, "7"), (i64::MIN, 3, "-9223372036854775.808")]
        {
            assert_eq!(printed(&Form::Money(digits), &i64::to_be_bytes(amount)).as_deref(), Ok(text));
        }
    }

    #[test]
    fn values_of_several_parts_are_quoted_as_the_server_quotes_them() {
        let fields = vec![(23, Form::Int4), (25, Form::Text), (25, Form::Text), (25, Form::Text)];
        let bytes = [words(&[4, 23, 4, 7, 25]), value(b"a \"b\\"), words(&[25, -1, 25]), value(b"")].concat();
        assert_eq!(printed(&Form::Composite(fields.clone()), &bytes).as_deref(), Ok(r#"(7,"a ""b\\",,"")"#));
        assert!(printed(&Form::Composite(fields[..3].to_vec()), &bytes).is_err(), "a field more");
        let other = vec![(23, Form::Int4), (1043, Form::Text), (25, Form::Text), (25, Form::Text)];
        assert!(printed(&Form::Composite(other), &bytes).is_err(), "a field of another type");
        let bytes = [words(&[1, 1, 25, 4, 0]), value(b"a,\"b"), words(&[-1]), value(b"null"), value(b"c")].concat();
        assert_eq!(printed(&Form::Array(Box::new(Form::Text)), &bytes).as_deref(), Ok(r#"[0:3]={"a,\"b",NULL,"null",c}"#));
        let bytes = [words(&[2]), value(b"a\""), value(b"1"), value(b"b"), words(&[-1])].concat();
        assert_eq!(printed(&Form::Pairs, &bytes).as_deref(), Ok(r#""a\""=>"1", "b"=>NULL"#));
        for end in 0..bytes.len() {
            assert!(printed(&Form::Pairs, &bytes[..end]).is_err(), "{end}");
        }
    }
}
