//! One column's stored bytes, turned into its neutral cell.
//!
//! A [`Layout`] is worked out once for each column of a table map; reading a cell is then one `match`.

use bytes::{BufMut, BytesMut};
use tidegate_model::{LARGE_BYTES, SqlType};

use super::bytes::{Fault, Reader};
use super::decimal::decimal_text;
use super::json::write_json;
use super::table_map::WireColumn;
use crate::charset::Charset;
use crate::neutral;

/// How a column's bytes are laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Layout {
    Int {
        bytes: usize,
        unsigned: bool,
    },
    Float,
    Double,
    Decimal {
        precision: u8,
        scale: u8,
    },
    Bits {
        bytes: usize,
    },
    Year,
    Date,
    Time {
        fraction: usize,
    },
    DateTime {
        fraction: usize,
    },
    Timestamp {
        fraction: usize,
    },
    /// Before MySQL 5.6 and MariaDB's `mysql56_temporal_format=OFF`: no fractions can be told from the event.
    OldTime,
    OldDateTime,
    OldTimestamp,
    /// Text after a length of so many bytes.
    Text {
        prefix: usize,
        charset: Charset,
    },
    /// Bytes after a length of so many bytes, right-padded with zeros to `pad`.
    Bytes {
        prefix: usize,
        pad: usize,
    },
    /// MariaDB's UUID, stored with its parts in reverse order for the versions 1 to 5.
    Uuid,
    Inet {
        bytes: usize,
    },
    Enumeration {
        bytes: usize,
        labels: Vec<String>,
    },
    SetOf {
        bytes: usize,
        labels: Vec<String>,
    },
    Json,
}

/// Layout and neutral type of a column, from the event alone.
///
/// # Errors
/// For types and character sets that are not supported.
pub(crate) fn layout_of(column: &WireColumn) -> Result<(Layout, SqlType), Fault> {
    let wire = column.wire;
    let int = |bytes, signed, unsigned| (Layout::Int { bytes, unsigned: column.unsigned }, if column.unsigned { unsigned } else { signed });
    let fraction = |fsp: u8| if fsp <= 6 { Ok(usize::from(fsp)) } else { Err(Fault::Malformed("column metadata")) };
    let prefix = if wire.length > 255 { 2 } else { 1 };
    Ok(match wire.code {
        1 => int(1, SqlType::Int8, SqlType::UInt8),
        2 => int(2, SqlType::Int16, SqlType::UInt16),
        9 => int(3, SqlType::Int32, SqlType::UInt32),
        3 => int(4, SqlType::Int32, SqlType::UInt32),
        8 => int(8, SqlType::Int64, SqlType::UInt64),
        4 => (Layout::Float, SqlType::Float32),
        5 => (Layout::Double, SqlType::Float64),
        7 => (Layout::OldTimestamp, SqlType::TimestampTz),
        10 | 14 => (Layout::Date, SqlType::Date),
        11 => (Layout::OldTime, SqlType::Time),
        12 => (Layout::OldDateTime, SqlType::Timestamp),
        13 => (Layout::Year, SqlType::Int16),
        16 => {
            let bits = u32::from(wire.second) * 8 + u32::from(wire.first);
            (Layout::Bits { bytes: bits.div_ceil(8) as usize }, SqlType::Bits(bits))
        }
        17 => (Layout::Timestamp { fraction: fraction(wire.first)? }, SqlType::TimestampTz),
        18 => (Layout::DateTime { fraction: fraction(wire.first)? }, SqlType::Timestamp),
        19 => (Layout::Time { fraction: fraction(wire.first)? }, SqlType::Time),
        246 => {
            let decimal = SqlType::Decimal { precision: Some(wire.first.into()), scale: Some(wire.second.into()) };
            (Layout::Decimal { precision: wire.first, scale: wire.second }, decimal)
        }
        245 => (Layout::Json, SqlType::Json),
        247 => {
            let layout = Layout::Enumeration { bytes: usize::from(wire.length), labels: column.labels.clone() };
            (layout, SqlType::Enumeration(column.labels.clone()))
        }
        248 => {
            let layout = Layout::SetOf { bytes: usize::from(wire.length), labels: column.labels.clone() };
            (layout, SqlType::SetOf(column.labels.clone()))
        }
        15 | 253 | 254 => match charset(column)? {
            Charset::Binary => {
                let pad = if wire.code == 254 { usize::from(wire.length) } else { 0 };
                (Layout::Bytes { prefix, pad }, SqlType::Bytes { bytes_max: Some(wire.length.into()) })
            }
            charset => {
                let chars_max = Some(u32::from(wire.length) / charset.bytes_per_char());
                (Layout::Text { prefix, charset }, SqlType::Text { chars_max })
            }
        },
        249..=252 if (1..=4).contains(&wire.first) => match charset(column)? {
            Charset::Binary => (Layout::Bytes { prefix: usize::from(wire.first), pad: 0 }, SqlType::Bytes { bytes_max: None }),
            charset => (Layout::Text { prefix: usize::from(wire.first), charset }, SqlType::Text { chars_max: None }),
        },
        242 | 255 if (1..=4).contains(&wire.first) => {
            (Layout::Bytes { prefix: usize::from(wire.first), pad: 0 }, SqlType::Bytes { bytes_max: None })
        }
        140 | 141 => return Err(Fault::value("column_compressed", "a COMPRESSED column, which is not supported")),
        code => return Err(Fault::value("column_type", format!("column type code {code}, which is not supported"))),
    })
}

/// The layout for a column that the catalog knows as `wanted`: MariaDB's UUID and INET types come as plain bytes, its
/// JSON as text. `None` when the two do not describe the same column.
pub(crate) fn layout_as(layout: Layout, found: &SqlType, wanted: &SqlType) -> Option<Layout> {
    let bytes = match (&layout, found) {
        (Layout::Bytes { prefix: 1, pad }, SqlType::Bytes { .. }) => *pad,
        _ => 0,
    };
    match wanted {
        SqlType::Uuid if bytes == 16 => Some(Layout::Uuid),
        SqlType::Other(name) if name == "inet6" && bytes == 16 => Some(Layout::Inet { bytes }),
        SqlType::Other(name) if name == "inet4" && bytes == 4 => Some(Layout::Inet { bytes }),
        SqlType::Json if matches!(layout, Layout::Text { .. }) => Some(layout),
        SqlType::Bytes { bytes_max: None } if matches!(layout, Layout::Bytes { .. }) => Some(layout),
        wanted if wanted == found => Some(layout),
        _ => None,
    }
}

fn charset(column: &WireColumn) -> Result<Charset, Fault> {
    column.charset.clone().ok_or(Fault::Malformed("character sets"))?
}

/// What was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    Neutral,
    /// The server's own text, in place of a date that no calendar has.
    Text,
}

/// Reads one cell that is not NULL and appends its neutral form. After the [fault of a value](Fault::of_a_value) the cell is read,
/// and a part of it may be appended.
pub(crate) fn write_cell(layout: &Layout, reader: &mut Reader<'_>, out: &mut BytesMut) -> Result<Written, Fault> {
    match layout {
        Layout::Int { bytes, unsigned } => {
            let number = reader.uint_le(*bytes)?;
            let shift = 64 - 8 * *bytes as u32;
            if *unsigned { out.put_u64_le(number) } else { out.put_i64_le((number << shift) as i64 >> shift) }
        }
        Layout::Float => out.extend_from_slice(reader.take(4)?),
        Layout::Double => out.extend_from_slice(reader.take(8)?),
        Layout::Decimal { precision, scale } => out.extend_from_slice(decimal_text(reader, *precision, *scale)?.as_bytes()),
        Layout::Bits { bytes } => out.extend_from_slice(reader.take(*bytes)?),
        Layout::Year => {
            let year = i64::from(reader.u8()?);
            out.put_i64_le(if year == 0 { 0 } else { year + 1900 });
        }
        Layout::Date => {
            let packed = reader.uint_le(3)? as u32;
            return put_date(out, packed >> 9, packed >> 5 & 15, packed & 31, None);
        }
        Layout::Time { fraction } => out.put_i64_le(time(reader, *fraction)?),
        Layout::DateTime { fraction } => return datetime(reader, *fraction, out),
        Layout::Timestamp { fraction } => {
            let seconds = reader.uint_be(4)? as i64;
            let us = fraction_us(reader, *fraction)?;
            return put_timestamp(out, seconds, us);
        }
        Layout::OldTime => {
            let number = reader.uint_le(3)? as i64;
            let number = number << 40 >> 40;
            let parts = number.unsigned_abs() as u32;
            out.put_i64_le(neutral::time_us(number < 0, parts / 10_000, parts / 100 % 100, parts % 100, 0)?);
        }
        Layout::OldDateTime => {
            let number = reader.u64()?;
            let (date, clock) = ((number / 1_000_000) as u32, (number % 1_000_000) as u32);
            let clock = neutral::time_us(false, clock / 10_000, clock / 100 % 100, clock % 100, 0)?;
            return put_date(out, date / 10_000, date / 100 % 100, date % 100, Some(clock));
        }
        Layout::OldTimestamp => return put_timestamp(out, reader.u32()?.into(), 0),
        Layout::Text { prefix, charset } => {
            let length = reader.uint_le(*prefix)? as usize;
            charset.write_utf8(reader.take(length)?, out)?;
        }
        Layout::Bytes { prefix, pad } => {
            let length = reader.uint_le(*prefix)? as usize;
            out.extend_from_slice(reader.take(length)?);
            out.put_bytes(0, pad.saturating_sub(length));
        }
        Layout::Uuid => out.extend_from_slice(&uuid_in_order(padded::<16>(reader)?)),
        Layout::Inet { bytes: 4 } => out.extend_from_slice(std::net::Ipv4Addr::from(padded::<4>(reader)?).to_string().as_bytes()),
        Layout::Inet { .. } => out.extend_from_slice(std::net::Ipv6Addr::from(padded::<16>(reader)?).to_string().as_bytes()),
        Layout::Enumeration { bytes, labels } => {
            let index = reader.uint_le(*bytes)?;
            out.extend_from_slice(neutral::enum_label(labels, index)?.as_bytes());
        }
        Layout::SetOf { bytes, labels } => {
            let bits = reader.uint_le(*bytes)?;
            out.extend_from_slice(neutral::set_text(labels, bits)?.as_bytes());
        }
        Layout::Json => {
            let length = reader.uint_le(4)? as usize;
            write_json(reader.take(length)?, out)?;
        }
    }
    Ok(Written::Neutral)
}

/// The bytes of a large cell whose neutral form is the stored one, read; `None`, with nothing read, for every other.
pub(crate) fn large_cell<'a>(layout: &Layout, reader: &mut Reader<'a>) -> Result<Option<&'a [u8]>, Fault> {
    let (prefix, charset) = match layout {
        Layout::Text { prefix, charset: charset @ Charset::Utf8 { .. } } => (*prefix, Some(charset)),
        Layout::Bytes { prefix, pad: 0 } => (*prefix, None),
        _ => return Ok(None),
    };
    let mut ahead = reader.clone();
    let length = ahead.uint_le(prefix)? as usize;
    if length < LARGE_BYTES {
        return Ok(None);
    }
    let bytes = ahead.take(length)?;
    // What is no text, `write_cell` tells.
    if charset.is_some_and(|charset| charset.check_utf8(bytes).is_err()) {
        return Ok(None);
    }
    *reader = ahead;
    Ok(Some(bytes))
}

/// A date, or with a clock a date and time of day.
fn put_date(out: &mut BytesMut, year: u32, month: u32, day: u32, clock: Option<i64>) -> Result<Written, Fault> {
    let Some(days) = neutral::date_days(year, month, day)? else {
        out.extend_from_slice(neutral::odd_date(year, month, day, clock).as_bytes());
        return Ok(Written::Text);
    };
    match clock {
        Some(clock) => out.put_i64_le(neutral::datetime_us(days, clock)?),
        None => out.put_i32_le(days),
    }
    Ok(Written::Neutral)
}

/// Bytes after a one-byte length; the log leaves out zeros at the end.
fn padded<const N: usize>(reader: &mut Reader<'_>) -> Result<[u8; N], Fault> {
    let length = usize::from(reader.u8()?);
    let bytes = reader.take(length)?;
    let mut all = [0; N];
    all.get_mut(..length).ok_or_else(|| reader.fault())?.copy_from_slice(bytes);
    Ok(all)
}

/// MariaDB stores UUIDs of the versions 1 to 5 with their parts reversed, so that they sort by time
/// (plugin/type_uuid/sql_type_uuid.h).
fn uuid_in_order(stored: [u8; 16]) -> [u8; 16] {
    if stored[6] & 0x80 == 0 || stored[8] == 0 || stored[8] >= 0x60 {
        return stored;
    }
    let mut uuid = [0; 16];
    uuid[..4].copy_from_slice(&stored[12..]);
    uuid[4..6].copy_from_slice(&stored[10..12]);
    uuid[6..8].copy_from_slice(&stored[8..10]);
    uuid[8..10].copy_from_slice(&stored[6..8]);
    uuid[10..].copy_from_slice(&stored[..6]);
    uuid
}

/// Microseconds of a fraction with so many digits.
fn fraction_us(reader: &mut Reader<'_>, digits: usize) -> Result<u32, Fault> {
    let number = reader.uint_be(digits.div_ceil(2))? as u32;
    Ok(match digits {
        0 => 0,
        1 | 2 => number * 10_000,
        3 | 4 => number * 100,
        _ => number,
    })
}

/// Nothing since 1970 stands for the zero timestamp.
fn put_timestamp(out: &mut BytesMut, seconds: i64, us: u32) -> Result<Written, Fault> {
    if seconds == 0 && us == 0 {
        return put_date(out, 0, 0, 0, Some(0));
    }
    if us > 999_999 {
        return Err(Fault::Malformed("timestamp"));
    }
    out.put_i64_le(seconds * 1_000_000 + i64::from(us));
    Ok(Written::Neutral)
}

/// TIME: an offset whole part and, for negative values, a fraction that counts from the next lower second.
fn time(reader: &mut Reader<'_>, digits: usize) -> Result<i64, Fault> {
    let bytes = digits.div_ceil(2);
    let raw = reader.uint_be(3 + bytes)? as i64 - (0x80_0000 << (8 * bytes));
    let (negative, size) = (raw < 0, raw.unsigned_abs());
    let clock = (size >> (8 * bytes)) as u32;
    let part = (size & ((1 << (8 * bytes)) - 1)) as u32;
    let us = match bytes {
        0 => 0,
        1 => part * 10_000,
        2 => part * 100,
        _ => part,
    };
    neutral::time_us(negative, clock >> 12 & 1023, clock >> 6 & 63, clock & 63, us)
}

fn datetime(reader: &mut Reader<'_>, digits: usize, out: &mut BytesMut) -> Result<Written, Fault> {
    let packed = reader.uint_be(5)?.checked_sub(0x80_0000_0000).ok_or(Fault::Malformed("datetime"))?;
    let us = fraction_us(reader, digits)?;
    let (date, clock) = ((packed >> 17) as u32, (packed & 0x1_ffff) as u32);
    let clock = neutral::time_us(false, clock >> 12, clock >> 6 & 63, clock & 63, us)?;
    put_date(out, (date >> 5) / 13, (date >> 5) % 13, date & 31, Some(clock))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(layout: &Layout, bytes: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut out = BytesMut::new();
        let mut reader = Reader::new(bytes, "cell");
        write_cell(layout, &mut reader, &mut out)?;
        assert!(reader.is_empty());
        Ok(out.to_vec())
    }

    fn us(layout: &Layout, bytes: &[u8]) -> i64 {
        i64::from_le_bytes(cell(layout, bytes).expect("well formed").try_into().expect("eight bytes"))
    }

    #[test]
    fn negative_times_with_fractions_are_exact() {
        // Comments in the server's my_time.cc: -00:00:01.10 is 7FFFFE F6, -00:00:00.01 is 7FFFFF FF.
        assert_eq!(us(&Layout::Time { fraction: 2 }, &[0x7f, 0xff, 0xff, 0xff]), -10_000);
        assert_eq!(us(&Layout::Time { fraction: 2 }, &[0x7f, 0xff, 0xfe, 0xf6]), -1_100_000);
        assert_eq!(us(&Layout::Time { fraction: 0 }, &[0x80, 0x00, 0x01]), 1_000_000);
        assert_eq!(us(&Layout::Time { fraction: 6 }, &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff]), -1);
    }

    #[test]
    fn integers_keep_their_sign() {
        assert_eq!(us(&Layout::Int { bytes: 3, unsigned: false }, &[0xff, 0xff, 0xff]), -1);
        assert_eq!(us(&Layout::Int { bytes: 3, unsigned: true }, &[0xff, 0xff, 0xff]), 0xff_ffff);
        assert_eq!(us(&Layout::Year, &[0]), 0);
        assert_eq!(us(&Layout::Year, &[255]), 2155);
    }

    #[test]
    fn fixed_bytes_get_their_zeros_back() {
        assert_eq!(cell(&Layout::Bytes { prefix: 1, pad: 6 }, &[2, 1, 2]), Ok(vec![1, 2, 0, 0, 0, 0]));
        assert_eq!(cell(&Layout::Inet { bytes: 4 }, &[1, 10]), Ok(b"10.0.0.0".to_vec()));
    }

    #[test]
    fn zero_dates_are_the_servers_text() {
        let text = |layout: &Layout, bytes: &[u8]| {
            let mut out = BytesMut::new();
            assert_eq!(write_cell(layout, &mut Reader::new(bytes, "cell"), &mut out), Ok(Written::Text));
            String::from_utf8(out.to_vec()).expect("text")
        };
        assert_eq!(text(&Layout::Date, &[0, 0, 0]), "0000-00-00");
        assert_eq!(text(&Layout::DateTime { fraction: 0 }, &[0x80, 0, 0, 0, 0]), "0000-00-00 00:00:00");
        assert_eq!(text(&Layout::Timestamp { fraction: 0 }, &[0; 4]), "0000-00-00 00:00:00");
    }
}
