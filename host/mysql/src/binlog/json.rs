//! MySQL's binary JSON, turned into the text that the server itself prints for it.
//!
//! The snapshot reads JSON columns as the server's text, so the text made here must be the same to the byte: blanks
//! after `:` and `,`, doubles with the shortest digits and `.0`, opaque values as MySQL spells them. Format: the
//! server's sql-common/json_binary.h.

use bytes::BytesMut;

use super::bytes::{Fault, Reader};
use super::decimal::decimal_text;

/// The server refuses deeper documents (`JSON_DOCUMENT_MAX_DEPTH` is 100).
const DEPTH_MAX: u32 = 120;

/// Appends the text of a document.
pub(crate) fn write_json(document: &[u8], out: &mut BytesMut) -> Result<(), Fault> {
    let Some((kind, data)) = document.split_first() else {
        // The server stores a JSON null that came from a non-strict NULL as no bytes at all.
        out.extend_from_slice(b"null");
        return Ok(());
    };
    // Values of a forged document may share bytes, which would multiply the output; no true one grows this much.
    let length_max = out.len() + 1024 + document.len().saturating_mul(16);
    Writer { out, length_max }.value(*kind, data, 0)
}

const BROKEN: Fault = Fault::Malformed("json document");

struct Writer<'o> {
    out: &'o mut BytesMut,
    length_max: usize,
}

impl Writer<'_> {
    fn value(&mut self, kind: u8, data: &[u8], depth: u32) -> Result<(), Fault> {
        if depth > DEPTH_MAX || self.out.len() > self.length_max {
            return Err(BROKEN);
        }
        let mut reader = Reader::new(data, "json document");
        match kind {
            0 | 1 => self.container(data, kind == 1, true, depth),
            2 | 3 => self.container(data, kind == 3, false, depth),
            4 => self.literal(reader.u8()?),
            5 => self.display(i16::from_le_bytes(reader.array()?)),
            6 => self.display(reader.u16()?),
            7 => self.display(i32::from_le_bytes(reader.array()?)),
            8 => self.display(reader.u32()?),
            9 => self.display(i64::from_le_bytes(reader.array()?)),
            10 => self.display(reader.u64()?),
            11 => {
                let text = double_text(f64::from_le_bytes(reader.array()?))?;
                self.display(text)
            }
            12 => {
                let length = varlen(&mut reader)?;
                let text = std::str::from_utf8(reader.take(length)?).map_err(|_| BROKEN)?;
                self.string(text);
                Ok(())
            }
            15 => self.opaque(&mut reader),
            _ => Err(BROKEN),
        }
    }

    fn display(&mut self, value: impl std::fmt::Display) -> Result<(), Fault> {
        self.out.extend_from_slice(value.to_string().as_bytes());
        Ok(())
    }

    fn literal(&mut self, number: u8) -> Result<(), Fault> {
        self.out.extend_from_slice(match number {
            0 => b"null",
            1 => b"true",
            2 => b"false",
            _ => return Err(BROKEN),
        });
        Ok(())
    }

    /// An object or array: counts, key entries, value entries, then keys and values at offsets from `data`'s start.
    fn container(&mut self, data: &[u8], large: bool, object: bool, depth: u32) -> Result<(), Fault> {
        let width = if large { 4 } else { 2 };
        let mut reader = Reader::new(data, "json document");
        let count = reader.uint_le(width)? as usize;
        let size = reader.uint_le(width)? as usize;
        let data = data.get(..size).ok_or(BROKEN)?;
        let header = 2 * width;
        let keys_size = if object { count.checked_mul(width + 2).ok_or(BROKEN)? } else { 0 };
        let values_size = count.checked_mul(width + 1).ok_or(BROKEN)?;
        let mut keys = Reader::new(data.get(header..header + keys_size).ok_or(BROKEN)?, "json keys");
        let values_start = header + keys_size;
        let mut values = Reader::new(data.get(values_start..values_start + values_size).ok_or(BROKEN)?, "json values");
        self.out.extend_from_slice(if object { b"{" } else { b"[" });
        for index in 0..count {
            if index > 0 {
                self.out.extend_from_slice(b", ");
            }
            if object {
                let (offset, length) = (keys.uint_le(width)? as usize, usize::from(keys.u16()?));
                let key = offset.checked_add(length).and_then(|end| data.get(offset..end)).ok_or(BROKEN)?;
                self.string(std::str::from_utf8(key).map_err(|_| BROKEN)?);
                self.out.extend_from_slice(b": ");
            }
            let kind = values.u8()?;
            let entry = values.take(width)?;
            let inline = matches!(kind, 4..=6) || (large && matches!(kind, 7 | 8));
            let value = if inline {
                entry
            } else {
                let offset = Reader::new(entry, "json values").uint_le(width)? as usize;
                data.get(offset..).ok_or(BROKEN)?
            };
            self.value(kind, value, depth + 1)?;
        }
        self.out.extend_from_slice(if object { b"}" } else { b"]" });
        Ok(())
    }

    fn string(&mut self, text: &str) {
        self.out.extend_from_slice(b"\"");
        for letter in text.chars() {
            match letter {
                '"' => self.out.extend_from_slice(b"\\\""),
                '\\' => self.out.extend_from_slice(b"\\\\"),
                '\u{8}' => self.out.extend_from_slice(b"\\b"),
                '\u{c}' => self.out.extend_from_slice(b"\\f"),
                '\n' => self.out.extend_from_slice(b"\\n"),
                '\r' => self.out.extend_from_slice(b"\\r"),
                '\t' => self.out.extend_from_slice(b"\\t"),
                control if u32::from(control) < 0x20 => {
                    self.out.extend_from_slice(format!("\\u{:04x}", u32::from(control)).as_bytes());
                }
                other => self.out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        self.out.extend_from_slice(b"\"");
    }

    /// A value of a column type that JSON has not: its field type, then its bytes.
    fn opaque(&mut self, reader: &mut Reader<'_>) -> Result<(), Fault> {
        let field_type = reader.u8()?;
        let length = varlen(reader)?;
        let bytes = reader.take(length)?;
        let mut value = Reader::new(bytes, "json opaque value");
        match field_type {
            // NEWDECIMAL.
            246 => {
                let (precision, scale) = (value.u8()?, value.u8()?);
                let text = decimal_text(&mut value, precision, scale)?;
                self.display(text)
            }
            // DATE, TIME, DATETIME and TIMESTAMP, packed in 64 bits.
            10 => {
                let text = packed_date(value.u64()?);
                self.display(format_args!("\"{text}\""))
            }
            11 => {
                let packed = i64::from_le_bytes(value.array()?);
                let (sign, packed) = (if packed < 0 { "-" } else { "" }, packed.unsigned_abs());
                let clock = packed_clock(packed, (packed >> 24 >> 12) % 1024);
                self.display(format_args!("\"{sign}{clock}\""))
            }
            7 | 12 => {
                let packed = value.u64()?;
                let (date, clock) = (packed_date(packed), packed_clock(packed, (packed >> 24 >> 12) % 32));
                self.display(format_args!("\"{date} {clock}\""))
            }
            other => {
                let text = format!("base64:type{other}:{}", base64_text(bytes));
                self.string(&text);
                Ok(())
            }
        }
    }
}

fn packed_date(packed: u64) -> String {
    let days = packed >> 24 >> 17;
    let months = days >> 5;
    format!("{:04}-{:02}-{:02}", months / 13, months % 13, days % 32)
}

fn packed_clock(packed: u64, hours: u64) -> String {
    let clock = packed >> 24;
    format!("{hours:02}:{:02}:{:02}.{:06}", (clock >> 6) % 64, clock % 64, packed & 0xff_ffff)
}

/// A length in groups of seven bits, the low ones first.
fn varlen(reader: &mut Reader<'_>) -> Result<usize, Fault> {
    let mut length = 0_u64;
    for shift in (0..35).step_by(7) {
        let byte = reader.u8()?;
        length |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return usize::try_from(length).map_err(|_| BROKEN);
        }
    }
    Err(BROKEN)
}

/// The server's `my_gcvt` with the shortest digits: plain between 1e-15 and 1e15, otherwise with an exponent that has
/// no plus sign; a JSON double always shows that it is one.
pub(crate) fn double_text(number: f64) -> Result<String, Fault> {
    if !number.is_finite() {
        return Err(BROKEN);
    }
    let scientific = format!("{:e}", number.abs());
    let (mantissa, exponent) = scientific.split_once('e').ok_or(BROKEN)?;
    let exponent: i32 = exponent.parse().map_err(|_| BROKEN)?;
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let sign = if number.is_sign_negative() { "-" } else { "" };
    // `decpt` of dtoa: the place of the point counted from the first digit.
    let point = exponent + 1;
    if number != 0.0 && !(-14..=15).contains(&point) {
        return Ok(format!("{sign}{mantissa}e{exponent}"));
    }
    Ok(if number == 0.0 {
        format!("{sign}0.0")
    } else if point <= 0 {
        format!("{sign}0.{}{digits}", "0".repeat(point.unsigned_abs() as usize))
    } else {
        let point = point as usize;
        match digits.split_at_checked(point) {
            Some((whole, "")) => format!("{sign}{whole}.0"),
            Some((whole, part)) => format!("{sign}{whole}.{part}"),
            None => format!("{sign}{digits}{}.0", "0".repeat(point - digits.len())),
        }
    })
}

/// Base 64 with padding and, like the server's own, a line break after each 76 letters.
fn base64_text(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4 + bytes.len() / 57);
    for (index, chunk) in bytes.chunks(3).enumerate() {
        if index > 0 && index.is_multiple_of(19) {
            text.push('\n');
        }
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place > chunk.len() { '=' } else { char::from(letter) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(document: &[u8]) -> Result<String, Fault> {
        let mut out = BytesMut::new();
        write_json(document, &mut out)?;
        Ok(String::from_utf8(out.to_vec()).expect("JSON is UTF-8"))
    }

    #[test]
    fn doubles_print_as_the_server_prints_them() {
        let cases = [
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (100.0, "100.0"),
            (0.1, "0.1"),
            (1e15, "1e15"),
            (123_456_789_012_345.0, "123456789012345.0"),
            (1e-7, "0.0000001"),
            (1.5e300, "1.5e300"),
            (2.5e-20, "2.5e-20"),
        ];
        for (number, wanted) in cases {
            assert_eq!(double_text(number).as_deref(), Ok(wanted));
        }
    }

    #[test]
    fn containers_and_literals_print_with_blanks() {
        // {"a": true, "b": [1, null]}
        let document = [0, 2, 0, 32, 0, 18, 0, 1, 0, 19, 0, 1, 0, 4, 1, 0, 2, 20, 0, b'a', b'b', 2, 0, 10, 0, 5, 1, 0, 4, 0, 0, 0, 0];
        assert_eq!(text(&document).as_deref(), Ok("{\"a\": true, \"b\": [1, null]}"));
        for cut in 1..30 {
            assert!(text(&document[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn base64_breaks_lines_as_the_server_does() {
        assert_eq!(base64_text(b"ab"), "YWI=");
        assert_eq!(base64_text(&[0; 58]).split('\n').next().map(str::len), Some(76));
        assert!(!base64_text(&[0; 57]).contains('\n'));
    }
}
