//! Reads typed values out of PostgreSQL's cells, binary and text.
//!
//! A value that the neutral types cannot hold (an infinite date, a year that does not fit) is an error that says so:
//! never NULL, never another value. Cells of types that this file does not know are passed through by the pipeline
//! and only refused here, when somebody asks for their value.
//! Source of the binary forms: the `*_send` functions of PostgreSQL 14 to 18, which have not changed in that time.

use std::borrow::Cow;

use tidegate_connector::{CellDecoder, CellError, CellForm, Reading, Unfit};
use tidegate_model::{Cell, Value};

use super::{Form, array, calendar, numeric, printed};

/// Reads the cells of one version of a table.
#[derive(Debug, Clone)]
pub(crate) struct PostgresDecoder {
    columns: Vec<(String, Form)>,
}

impl PostgresDecoder {
    pub(crate) fn new(columns: Vec<(String, Form)>) -> Self {
        Self { columns }
    }
}

/// Why a value could not be read; becomes a [`CellError`] with the column's name.
pub(crate) type Reason = Cow<'static, str>;

impl CellDecoder for PostgresDecoder {
    fn decode<'a>(&self, column: usize, cell: Cell<'a>) -> Result<Value<'a>, CellError> {
        let Some((name, form)) = self.columns.get(column) else {
            return Err(CellError {
                column: format!("#{column}"),
                reason: "the row has more cells than the table has columns".into(),
                unfit: None,
            });
        };
        let read = match cell {
            Cell::Faulty(fault) => return Err(CellError::unread(name, fault)),
            Cell::Null => Ok(Value::Null),
            Cell::Binary(bytes) => from_binary(form, bytes),
            Cell::Text(bytes) => from_text(form, bytes),
            Cell::Unchanged | Cell::Absent => Err("the source did not send the value".into()),
        };
        // Well-formed, and yet an infinity or beyond what the neutral form counts.
        let is_moment = matches!(
            (form, cell),
            (Form::Date, Cell::Binary([_, _, _, _])) | (Form::Timestamp | Form::TimestampTz, Cell::Binary([_, _, _, _, _, _, _, _]))
        );
        let unfit = is_moment.then_some(Unfit::Moment);
        read.map_err(|reason| CellError { column: name.clone(), reason: reason.into_owned(), unfit })
    }

    fn reading(&self, column: usize) -> Reading {
        match self.columns.get(column) {
            None | Some((_, Form::Opaque)) => Reading::Nothing,
            Some((_, form)) if has_foreign(form) => Reading::BinaryForm,
            Some(_) => Reading::Value,
        }
    }

    fn form(&self, column: usize) -> CellForm {
        match self.columns.get(column).map(|(_, form)| form) {
            Some(Form::Text | Form::Json) => CellForm::Utf8,
            Some(Form::Int2) => CellForm::Int16Be,
            Some(Form::Int4) => CellForm::Int32Be,
            Some(Form::Int8) => CellForm::Int64Be,
            _ => CellForm::Decoded,
        }
    }
}

/// True for values that are made of those of a type that is not known here.
fn has_foreign(form: &Form) -> bool {
    match form {
        Form::Foreign => true,
        Form::Array(inner) | Form::Range(inner) | Form::Multirange(inner) => has_foreign(inner),
        Form::Composite(fields) => fields.iter().any(|(_, form)| has_foreign(form)),
        _ => false,
    }
}

/// Reads the binary (send) form.
pub(crate) fn from_binary<'a>(form: &Form, bytes: &'a [u8]) -> Result<Value<'a>, Reason> {
    Ok(match form {
        Form::Bool => match bytes {
            [0] => Value::Bool(false),
            [1] => Value::Bool(true),
            _ => return Err("boolean is not one byte of 0 or 1".into()),
        },
        Form::Int2 => Value::Int(i16::from_be_bytes(fixed(bytes)?).into()),
        Form::Int4 => Value::Int(i32::from_be_bytes(fixed(bytes)?).into()),
        Form::Int8 => Value::Int(i64::from_be_bytes(fixed(bytes)?)),
        Form::Float4 => Value::Float32(f32::from_be_bytes(fixed(bytes)?)),
        Form::Float8 => Value::Float64(f64::from_be_bytes(fixed(bytes)?)),
        Form::Numeric => Value::OwnedText(numeric::text(bytes)?),
        Form::Text => Value::Text(utf8(bytes)?),
        Form::Bytea => Value::Bytes(bytes),
        Form::Date => Value::Date(calendar::days(i32::from_be_bytes(fixed(bytes)?))?),
        Form::Time => Value::Time(i64::from_be_bytes(fixed(bytes)?)),
        Form::Timestamp => Value::Timestamp(calendar::micros(i64::from_be_bytes(fixed(bytes)?))?),
        Form::TimestampTz => Value::TimestampTz(calendar::micros(i64::from_be_bytes(fixed(bytes)?))?),
        Form::Interval => Value::OwnedText(calendar::interval(bytes)?),
        Form::Json => Value::Json(utf8(bytes)?),
        Form::Jsonb => match bytes.split_first() {
            Some((1, text)) => Value::Json(utf8(text)?),
            _ => return Err("jsonb is not of version 1".into()),
        },
        Form::Uuid => Value::Uuid(fixed(bytes)?),
        Form::Bit => Value::OwnedBytes(right_aligned(bits(bytes)?)),
        Form::Array(element) => Value::OwnedText(array::json(element, bytes)?),
        Form::Spelled(_)
        | Form::Composite(_)
        | Form::Range(_)
        | Form::Multirange(_)
        | Form::Pairs
        | Form::Money(_)
        | Form::Unsent
        | Form::Foreign => Value::OwnedText(printed::printed(form, bytes)?),
        Form::Opaque => return Err("the binary form of its type is passed through and not read".into()),
    })
}

/// Reads the text (output) form under the pinned session settings. The server sends it only for types without a
/// binary form; the simple types are read all the same, the rest is refused.
fn from_text<'a>(form: &Form, bytes: &'a [u8]) -> Result<Value<'a>, Reason> {
    let text = utf8(bytes)?;
    Ok(match form {
        Form::Bool => match text {
            "t" | "true" => Value::Bool(true),
            "f" | "false" => Value::Bool(false),
            _ => return Err("text is neither t nor f".into()),
        },
        Form::Int2 | Form::Int4 | Form::Int8 => Value::Int(text.parse().map_err(|_| "text is no integer")?),
        Form::Float4 => Value::Float32(text.parse().map_err(|_| "text is no number")?),
        Form::Float8 => Value::Float64(text.parse().map_err(|_| "text is no number")?),
        Form::Numeric => Value::Decimal(text),
        Form::Text | Form::Spelled(_) | Form::Unsent | Form::Opaque => Value::Text(text),
        Form::Composite(_) | Form::Range(_) | Form::Multirange(_) | Form::Pairs => Value::Text(text),
        Form::Json | Form::Jsonb => Value::Json(text),
        Form::Bytea => Value::OwnedBytes(hex(text.strip_prefix("\\x").ok_or("text does not start with \\x")?)?),
        Form::Date => Value::Date(calendar::parse_date(text)?),
        Form::Time => Value::Time(calendar::parse_time(text)?),
        Form::Timestamp => Value::Timestamp(calendar::parse_timestamp(text)?),
        Form::TimestampTz => {
            let local = text.strip_suffix("+00").ok_or("text is not in UTC, to which the session's time zone is pinned")?;
            Value::TimestampTz(calendar::parse_timestamp(local)?)
        }
        Form::Uuid => {
            let digits: String = text.chars().filter(|letter| *letter != '-').collect();
            Value::Uuid(fixed(&hex(&digits)?)?)
        }
        Form::Bit => Value::OwnedBytes(bits_of_text(text)?),
        Form::Interval | Form::Array(_) | Form::Money(_) | Form::Foreign => {
            return Err("the text form of its type is passed through and not read".into());
        }
    })
}

pub(crate) fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Reason> {
    bytes.try_into().map_err(|_| format!("found {} bytes, wanted {N}", bytes.len()).into())
}

pub(crate) fn utf8(bytes: &[u8]) -> Result<&str, Reason> {
    std::str::from_utf8(bytes).map_err(|_| "text is not UTF-8".into())
}

fn hex(text: &str) -> Result<Vec<u8>, Reason> {
    let error = || Reason::from("text is not of whole hexadecimal bytes");
    let digit = |letter: u8| char::from(letter).to_digit(16).ok_or_else(error);
    if !text.len().is_multiple_of(2) {
        return Err(error());
    }
    text.as_bytes().chunks_exact(2).map(|pair| Ok((digit(pair[0])? << 4 | digit(pair[1])?) as u8)).collect()
}

/// Count of bits and the bytes that hold them, the first bit highest.
pub(crate) fn bits(bytes: &[u8]) -> Result<(usize, &[u8]), Reason> {
    let error = || Reason::from("bit string's length does not fit its bytes");
    let (head, rest) = bytes.split_first_chunk::<4>().ok_or_else(error)?;
    let count = usize::try_from(i32::from_be_bytes(*head)).map_err(|_| error())?;
    if rest.len() == count.div_ceil(8) { Ok((count, rest)) } else { Err(error()) }
}

/// PostgreSQL pads bit strings on the right, the neutral form on the left.
fn right_aligned((count, bytes): (usize, &[u8])) -> Vec<u8> {
    let shift = (8 - count % 8) % 8;
    let mut carried = 0u8;
    let mut moved = Vec::with_capacity(bytes.len());
    for byte in bytes {
        moved.push(if shift == 0 { *byte } else { carried << (8 - shift) | byte >> shift });
        carried = *byte;
    }
    moved
}

fn bits_of_text(text: &str) -> Result<Vec<u8>, Reason> {
    let mut out = vec![0u8; text.len().div_ceil(8)];
    let last = out.len() * 8;
    for (index, letter) in text.bytes().enumerate() {
        let place = last - text.len() + index;
        match letter {
            b'0' => {}
            b'1' => out[place / 8] |= 0x80 >> (place % 8),
            _ => return Err("text is not of the digits 0 and 1".into()),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bit_strings_are_padded_on_the_left() {
        assert_eq!(from_binary(&Form::Bit, &[0, 0, 0, 5, 0b0010_1000]), Ok(Value::OwnedBytes(vec![0b0_0101])));
        assert_eq!(
            from_binary(&Form::Bit, &[0, 0, 0, 12, 0xab, 0xc0]).map(|value| format!("{value:?}")),
            Ok(format!("{:?}", Value::OwnedBytes(vec![0x0a, 0xbc])))
        );
        assert_eq!(from_text(&Form::Bit, b"101010111100"), Ok(Value::OwnedBytes(vec![0x0a, 0xbc])));
        assert!(from_binary(&Form::Bit, &[0, 0, 0, 9, 0xff]).is_err());
        assert!(from_binary(&Form::Bit, &[0xff, 0xff, 0xff, 0xff]).is_err());
    }

    #[test]
    fn what_a_plain_form_says_is_what_is_decoded() {
        let cells: [&[u8]; 6] = [b"text", b"", &[0xff; 2], &[0xff, 0, 0, 1], &[0x80, 0, 0, 0, 0, 0, 0, 1], b"{}"];
        for form in [Form::Text, Form::Json, Form::Int2, Form::Int4, Form::Int8, Form::Bool, Form::Numeric] {
            let decoder = PostgresDecoder::new(vec![("c".to_owned(), form.clone())]);
            for bytes in cells {
                let decoded = decoder.decode(0, Cell::Binary(bytes));
                let same = match decoder.form(0) {
                    CellForm::Decoded => continue,
                    CellForm::Utf8 => decoded.is_ok_and(|value| value.as_text().map(str::as_bytes) == Some(bytes)),
                    integer => decoded.ok() == integer.integer(bytes).map(Value::Int),
                };
                assert!(same || std::str::from_utf8(bytes).is_err(), "{form:?}, {} bytes", bytes.len());
            }
        }
    }

    #[test]
    fn values_outside_the_neutral_range_are_errors_that_say_so() {
        for (form, bytes) in [
            (Form::Date, i32::MAX.to_be_bytes().to_vec()),
            (Form::Timestamp, i64::MIN.to_be_bytes().to_vec()),
            (Form::TimestampTz, i64::MAX.to_be_bytes().to_vec()),
        ] {
            let reason = from_binary(&form, &bytes).expect_err("infinity has no neutral form");
            assert!(reason.contains("infinity"), "{reason}");
        }
    }

    #[test]
    fn text_and_binary_forms_of_one_value_are_the_same_value() {
        let cases: Vec<(Form, Vec<u8>, &str)> = vec![
            (Form::Bool, vec![1], "t"),
            (Form::Int8, (-5i64).to_be_bytes().to_vec(), "-5"),
            (Form::Float8, 0.1f64.to_be_bytes().to_vec(), "0.1"),
            (Form::Bytea, vec![0, 255, 92], "\\x00ff5c"),
            (Form::Date, (-1i32).to_be_bytes().to_vec(), "1999-12-31"),
            (Form::Time, 86_400_000_000i64.to_be_bytes().to_vec(), "24:00:00"),
            (Form::Timestamp, (-1i64).to_be_bytes().to_vec(), "1999-12-31 23:59:59.999999"),
            (Form::TimestampTz, 1_500_000i64.to_be_bytes().to_vec(), "2000-01-01 00:00:01.5+00"),
            (Form::Uuid, (0u8..16).collect(), "00010203-0405-0607-0809-0a0b0c0d0e0f"),
        ];
        for (form, binary, text) in cases {
            let mut one = Vec::new();
            let mut two = Vec::new();
            from_binary(&form, &binary).expect("binary reads").write_neutral(&mut one);
            from_text(&form, text.as_bytes()).expect("text reads").write_neutral(&mut two);
            assert_eq!(one, two, "{form:?}");
        }
    }
}
