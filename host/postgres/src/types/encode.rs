//! Typed values as PostgreSQL's binary parameters and COPY fields.
//!
//! Which form a column takes is decided once per table ([`Form::of`]) from the value's type and the column's real type in
//! the target. A value that the column cannot hold exactly is an error that names the kind of value, never the value:
//! nothing is clamped, rounded or cut here. Types without a form of their own travel as text and are converted by the
//! server ([`Form::ViaText`]), which refuses what it cannot read.
//! Source of the forms: PostgreSQL's `*recv` functions (src/backend/utils/adt).

mod interval;
mod numeric;

use bytes::{BufMut, BytesMut};
use tidegate_connector::{Unfit, spell};
use tidegate_model::{SqlType, Value};

pub(crate) use interval::parse_interval;
pub(crate) use numeric::put_numeric;

/// Microseconds from 1970-01-01 to 2000-01-01, where PostgreSQL's timestamps start.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

/// Days from 1970-01-01 to 2000-01-01, where PostgreSQL's dates start.
const POSTGRES_EPOCH_DAYS: i32 = 10_957;

/// Microseconds of a day.
const DAY_US: i64 = 86_400_000_000;

/// In front of the text of a `jsonb`. Source: `jsonb_recv`.
pub(crate) const JSONB_VERSION: u8 = 1;

/// Object id of `text`, the element type of `text[]`. Source: pg_type.dat.
const TEXT_OID: u32 = 25;

/// The binary form that a column's values take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// `boolean`.
    Bool,
    /// `smallint`.
    Int2,
    /// `integer`.
    Int4,
    /// `bigint`.
    Int8,
    /// `real`.
    Float4,
    /// `double precision`.
    Float8,
    /// `numeric`.
    Numeric,
    /// `text` and its kin, and labels of enumerations: the text itself.
    Text,
    /// `bytea`.
    Bytea,
    /// `date`.
    Date,
    /// `time without time zone`.
    Time,
    /// Both `timestamp` types: microseconds since 2000.
    Timestamp,
    /// `interval`.
    Interval,
    /// `json`.
    Json,
    /// `jsonb`.
    Jsonb,
    /// `uuid`.
    Uuid,
    /// `bit` and `bit varying`, of so many bits.
    Bits(u32),
    /// `text[]` out of labels joined by commas.
    TextArray,
    /// Text that the server casts to the column's type.
    ViaText,
}

/// A value that its column's form cannot hold. Never shows the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EncodeError {
    /// A kind of value for which the task has a policy.
    #[error("found {}, which the column's type has not", .0.as_str())]
    Unfit(Unfit),
    /// Found and wanted.
    #[error("{0}")]
    Misfit(String),
}

impl EncodeError {
    fn new(reason: impl Into<String>) -> Self {
        Self::Misfit(reason.into())
    }
}

impl<T: Into<String>> From<T> for EncodeError {
    fn from(reason: T) -> Self {
        Self::new(reason)
    }
}

impl Form {
    /// True where a value is its own text, but for what stands in front of it.
    fn is_text(self) -> bool {
        matches!(self, Form::Text | Form::ViaText | Form::Json | Form::Jsonb)
    }

    /// The form of values of type `value_type` for a built-in type by its name in `pg_type`, e.g. `int4`.
    pub(crate) fn of(value_type: &SqlType, type_name: &str) -> Form {
        use SqlType as T;
        let is_integer =
            matches!(value_type, T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::UInt8 | T::UInt16 | T::UInt32 | T::UInt64 | T::Boolean);
        let is_float = matches!(value_type, T::Float32 | T::Float64);
        match type_name {
            "bool" if is_integer => Form::Bool,
            "int2" if is_integer => Form::Int2,
            "int4" if is_integer => Form::Int4,
            "int8" if is_integer => Form::Int8,
            "float4" if is_float => Form::Float4,
            "float8" if is_float => Form::Float8,
            "numeric" if is_integer || is_float || matches!(value_type, T::Decimal { .. }) => Form::Numeric,
            "text" | "varchar" | "bpchar" => Form::Text,
            "bytea" if matches!(value_type, T::Bytes { .. }) => Form::Bytea,
            "date" if matches!(value_type, T::Date) => Form::Date,
            "time" if matches!(value_type, T::Time) => Form::Time,
            "timestamp" if matches!(value_type, T::Timestamp) => Form::Timestamp,
            "timestamptz" if matches!(value_type, T::TimestampTz) => Form::Timestamp,
            "interval" if matches!(value_type, T::Time | T::Interval) => Form::Interval,
            "json" if matches!(value_type, T::Json) => Form::Json,
            "jsonb" if matches!(value_type, T::Json | T::Array(_)) => Form::Jsonb,
            "uuid" if matches!(value_type, T::Uuid) => Form::Uuid,
            "_text" if matches!(value_type, T::SetOf(_)) => Form::TextArray,
            "bit" | "varbit" => match value_type {
                T::Bits(bits) => Form::Bits(*bits),
                _ => Form::ViaText,
            },
            _ => Form::ViaText,
        }
    }
}

/// Appends the binary form of a value that is not NULL, without a length.
///
/// # Errors
/// The column's form cannot hold the value.
pub(crate) fn put_value(form: Form, value: &Value<'_>, out: &mut BytesMut) -> Result<(), EncodeError> {
    match form {
        Form::Bool => out.put_u8(u8::from(truth(value)?)),
        Form::Int2 => out.put_i16(narrowed(value, "smallint")?),
        Form::Int4 => out.put_i32(narrowed(value, "integer")?),
        Form::Int8 => out.put_i64(narrowed(value, "bigint")?),
        Form::Float4 => out.put_f32(single(value)?),
        Form::Float8 => out.put_f64(double(value)?),
        Form::Numeric => put_numeric(&digits(value)?, out)?,
        Form::Text | Form::ViaText | Form::Json => put_text(&spell(value), out)?,
        Form::Jsonb => {
            let text = spell(value);
            if has_zero_escape(&text) {
                return Err(EncodeError::new("found a JSON text with \\u0000, which json can hold and jsonb cannot"));
            }
            if has_negative_zero(&text) {
                return Err(EncodeError::new("found a negative zero in a JSON text, which json can hold and jsonb cannot"));
            }
            out.put_u8(JSONB_VERSION);
            put_text(&text, out)?;
        }
        Form::Bytea => match value {
            Value::Bytes(bytes) => out.put_slice(bytes),
            Value::OwnedBytes(bytes) => out.put_slice(bytes),
            _ => return Err(mismatch(value, "bytea")),
        },
        Form::Date => out.put_i32(date(value)?),
        Form::Time => match value {
            Value::Time(us) if (0..=DAY_US).contains(us) => out.put_i64(*us),
            Value::Time(_) => return Err(EncodeError::new("found a time that is negative or above 24 hours, wanted a time of day")),
            _ => return Err(mismatch(value, "time")),
        },
        Form::Timestamp => match value {
            Value::Timestamp(us) | Value::TimestampTz(us) => out.put_i64(timestamp(*us)?),
            Value::Text(text) if is_odd_date(text) => return Err(EncodeError::Unfit(Unfit::ZeroDate)),
            _ => return Err(mismatch(value, "timestamp")),
        },
        Form::Interval => match value {
            Value::Time(us) => put_interval(*us, 0, 0, out),
            _ => {
                let text = value.as_text().ok_or_else(|| mismatch(value, "interval"))?;
                let (us, days, months) = parse_interval(text)?;
                put_interval(us, days, months, out);
            }
        },
        Form::Uuid => match value {
            Value::Uuid(bytes) => out.put_slice(bytes),
            _ => return Err(mismatch(value, "uuid")),
        },
        Form::Bits(bits) => match value {
            Value::Bits(bytes) => put_bits(bits, bytes, out)?,
            Value::OwnedBytes(bytes) => put_bits(bits, bytes, out)?,
            _ => return Err(mismatch(value, "bit string")),
        },
        Form::TextArray => put_labels(value.as_text().ok_or_else(|| mismatch(value, "set"))?, out)?,
    }
    Ok(())
}

/// Appends text.
pub(crate) fn put_text(text: &str, out: &mut BytesMut) -> Result<(), EncodeError> {
    check_text(text)?;
    out.put_slice(text.as_bytes());
    Ok(())
}

/// True for a text that goes into a column of the form as it is.
pub(crate) fn is_kept(form: Form, text: &str) -> bool {
    form.is_text() && check_text(text).is_ok() && !(form == Form::Jsonb && (has_zero_escape(text) || has_negative_zero(text)))
}

/// PostgreSQL keeps every text but one with a NUL byte.
fn check_text(text: &str) -> Result<(), EncodeError> {
    if text.as_bytes().contains(&0) {
        return Err(EncodeError::new("found a NUL character, which PostgreSQL's text types cannot hold"));
    }
    Ok(())
}

/// True for a JSON document with a number that is zero and has a sign. `jsonb` holds numbers as `numeric`, which has no such zero.
fn has_negative_zero(json: &str) -> bool {
    let bytes = json.as_bytes();
    let is_number = |letter: &&u8| letter.is_ascii_digit() || b".eE+-".contains(letter);
    // The mantissa alone decides.
    let is_zero = |at: usize| {
        bytes[at + 1..].iter().take_while(is_number).take_while(|letter| !b"eE".contains(letter)).all(|letter| b"0.".contains(letter))
    };
    // Most documents have none, in texts or out of them.
    if !json.match_indices("-0").any(|(at, _)| is_zero(at)) {
        return false;
    }
    let (mut in_text, mut at) = (false, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            b'"' => in_text = !in_text,
            b'-' if !in_text && bytes[..at].last().is_none_or(|before| !b"eE".contains(before)) && is_zero(at) => return true,
            _ => {}
        }
        at += 1;
    }
    false
}

/// True for a JSON document with `\u0000` in a text, which is no escaped backslash before `u0000`.
fn has_zero_escape(json: &str) -> bool {
    let mut rest = json;
    while let Some((_, escape)) = rest.split_once('\\') {
        if escape.starts_with("u0000") {
            return true;
        }
        // The letter after a backslash is never the start of another escape.
        let mut letters = escape.chars();
        letters.next();
        rest = letters.as_str();
    }
    false
}

fn truth(value: &Value<'_>) -> Result<bool, EncodeError> {
    match value {
        Value::Bool(flag) => Ok(*flag),
        Value::Int(0) | Value::UInt(0) => Ok(false),
        Value::Int(1) | Value::UInt(1) => Ok(true),
        Value::Int(_) | Value::UInt(_) => Err(EncodeError::new("found an integer other than 0 and 1, wanted a boolean")),
        _ => Err(mismatch(value, "boolean")),
    }
}

fn narrowed<T: TryFrom<i128>>(value: &Value<'_>, wanted: &str) -> Result<T, EncodeError> {
    let number = match value {
        Value::Bool(flag) => i128::from(*flag),
        Value::Int(number) => i128::from(*number),
        Value::UInt(number) => i128::from(*number),
        _ => return Err(mismatch(value, wanted)),
    };
    T::try_from(number).map_err(|_| EncodeError::new(format!("found an integer out of the range of {wanted}")))
}

fn single(value: &Value<'_>) -> Result<f32, EncodeError> {
    match value {
        Value::Float32(number) => Ok(*number),
        Value::Float64(number) => {
            let narrow = *number as f32;
            if f64::from(narrow) == *number || number.is_nan() {
                Ok(narrow)
            } else {
                Err(EncodeError::new("found a number that real cannot hold exactly"))
            }
        }
        _ => Err(mismatch(value, "real")),
    }
}

fn double(value: &Value<'_>) -> Result<f64, EncodeError> {
    match value {
        Value::Float32(number) => Ok(f64::from(*number)),
        Value::Float64(number) => Ok(*number),
        _ => Err(mismatch(value, "double precision")),
    }
}

fn digits<'a>(value: &'a Value<'_>) -> Result<std::borrow::Cow<'a, str>, EncodeError> {
    match value {
        Value::Bool(flag) => Ok(if *flag { "1".into() } else { "0".into() }),
        Value::Int(_) | Value::UInt(_) | Value::Float32(_) | Value::Float64(_) => Ok(spell(value)),
        _ => value.as_text().map(Into::into).ok_or_else(|| mismatch(value, "numeric")),
    }
}

fn date(value: &Value<'_>) -> Result<i32, EncodeError> {
    match value {
        // The two ends are PostgreSQL's infinities, in both forms.
        Value::Date(days @ (i32::MIN | i32::MAX)) => Ok(*days),
        Value::Date(days) => days.checked_sub(POSTGRES_EPOCH_DAYS).ok_or(EncodeError::Unfit(Unfit::Moment)),
        Value::Text(text) if is_odd_date(text) => Err(EncodeError::Unfit(Unfit::ZeroDate)),
        _ => Err(mismatch(value, "date")),
    }
}

fn timestamp(us: i64) -> Result<i64, EncodeError> {
    match us {
        i64::MIN | i64::MAX => Ok(us),
        _ => us.checked_sub(POSTGRES_EPOCH_US).ok_or(EncodeError::Unfit(Unfit::Moment)),
    }
}

/// The text in place of a date that MySQL and MariaDB have and no calendar has.
fn is_odd_date(text: &str) -> bool {
    let form = |(place, letter): (usize, u8)| if matches!(place, 4 | 7) { letter == b'-' } else { letter.is_ascii_digit() };
    text.len() >= 10 && text.bytes().take(10).enumerate().all(form)
}

fn put_interval(us: i64, days: i32, months: i32, out: &mut BytesMut) {
    out.put_i64(us);
    out.put_i32(days);
    out.put_i32(months);
}

/// PostgreSQL pads bits at the end, the neutral form at the start.
fn put_bits(bits: u32, bytes: &[u8], out: &mut BytesMut) -> Result<(), EncodeError> {
    let wanted = bits.div_ceil(8) as usize;
    if bytes.len() != wanted {
        return Err(EncodeError::new(format!("found a bit string of {} bytes, wanted {wanted}", bytes.len())));
    }
    let pad = (wanted as u32 * 8) - bits;
    if pad > 0 && bytes.first().is_some_and(|first| first >> (8 - pad) != 0) {
        return Err(EncodeError::new(format!("found a bit string of more than {bits} bits")));
    }
    let count = i32::try_from(bits).map_err(|_| EncodeError::new("found a bit string that is too long"))?;
    out.put_i32(count);
    for (index, byte) in bytes.iter().enumerate() {
        let next = bytes.get(index + 1).copied().unwrap_or(0);
        let shifted = (u16::from(*byte) << 8 | u16::from(next)) << pad;
        out.put_u8((shifted >> 8) as u8);
    }
    Ok(())
}

fn put_labels(text: &str, out: &mut BytesMut) -> Result<(), EncodeError> {
    let labels: Vec<&str> = if text.is_empty() { Vec::new() } else { text.split(',').collect() };
    out.put_i32(i32::from(!labels.is_empty()));
    out.put_i32(0);
    out.put_u32(TEXT_OID);
    if labels.is_empty() {
        return Ok(());
    }
    out.put_i32(labels.len() as i32);
    out.put_i32(1);
    for label in labels {
        out.put_i32(label.len() as i32);
        put_text(label, out)?;
    }
    Ok(())
}

fn mismatch(value: &Value<'_>, wanted: &str) -> EncodeError {
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
    EncodeError::new(format!("found {found}, wanted {wanted}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(form: Form, value: Value<'_>) -> Result<Vec<u8>, EncodeError> {
        let mut out = BytesMut::new();
        put_value(form, &value, &mut out).map(|()| out.to_vec())
    }

    #[test]
    fn integers_out_of_range_are_refused_and_never_clamped() {
        assert_eq!(put(Form::Int2, Value::Int(-32_768)), Ok(vec![0x80, 0]));
        assert!(put(Form::Int2, Value::Int(32_768)).is_err());
        assert!(put(Form::Int4, Value::UInt(u64::from(u32::MAX))).is_err());
        assert!(put(Form::Int8, Value::UInt(u64::MAX)).is_err());
        assert_eq!(put(Form::Bool, Value::Int(1)), Ok(vec![1]));
        assert!(put(Form::Bool, Value::Int(2)).is_err());
        assert!(put(Form::Float4, Value::Float64(0.1)).is_err());
        assert_eq!(put(Form::Float4, Value::Float64(0.5)), Ok(0.5f32.to_be_bytes().to_vec()));
    }

    #[test]
    fn nul_in_text_is_refused_without_showing_the_text() {
        for form in [Form::Text, Form::Json, Form::Jsonb, Form::ViaText, Form::TextArray] {
            let error = put(form, Value::Text("secret\0")).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{form:?}");
        }
    }

    #[test]
    fn times_count_from_the_year_2000() {
        assert_eq!(put(Form::Date, Value::Date(10_957)), Ok(vec![0; 4]));
        assert_eq!(put(Form::Date, Value::Date(i32::MAX)), Ok(i32::MAX.to_be_bytes().to_vec()));
        assert_eq!(put(Form::Timestamp, Value::Timestamp(POSTGRES_EPOCH_US + 1)), Ok(vec![0, 0, 0, 0, 0, 0, 0, 1]));
        assert!(put(Form::Timestamp, Value::Timestamp(i64::MIN + 1)).is_err());
        assert!(put(Form::Time, Value::Time(-1)).is_err());
        assert_eq!(
            put(Form::Interval, Value::Time(-1)).map(|bytes| bytes[..9].to_vec()),
            Ok(vec![255, 255, 255, 255, 255, 255, 255, 255, 0])
        );
    }

    #[test]
    fn bits_move_from_the_right_edge_to_the_left() {
        assert_eq!(put(Form::Bits(12), Value::Bits(&[0x0a, 0xbc])), Ok(vec![0, 0, 0, 12, 0xab, 0xc0]));
        assert_eq!(put(Form::Bits(8), Value::Bits(&[0x81])), Ok(vec![0, 0, 0, 8, 0x81]));
        assert_eq!(put(Form::Bits(1), Value::Bits(&[1])), Ok(vec![0, 0, 0, 1, 0x80]));
        assert!(put(Form::Bits(12), Value::Bits(&[0xff, 0xff])).is_err());
        assert!(put(Form::Bits(12), Value::Bits(&[0xff])).is_err());
    }

    #[test]
    fn set_becomes_an_array_of_its_labels() {
        let empty = put(Form::TextArray, Value::Text("")).unwrap();
        assert_eq!(empty, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 25]);
        let two = put(Form::TextArray, Value::Text("a,b")).unwrap();
        assert_eq!(two[..4], [0, 0, 0, 1]);
        assert_eq!(two[12..20], [0, 0, 0, 2, 0, 0, 0, 1]);
        assert_eq!(two[20..], [0, 0, 0, 1, b'a', 0, 0, 0, 1, b'b']);
    }

    #[test]
    fn types_without_a_form_travel_as_text() {
        assert_eq!(Form::of(&SqlType::Text { chars_max: None }, "inet"), Form::ViaText);
        assert_eq!(Form::of(&SqlType::Text { chars_max: None }, "int4"), Form::ViaText);
        assert_eq!(Form::of(&SqlType::UInt64, "numeric"), Form::Numeric);
        assert_eq!(Form::of(&SqlType::Timestamp, "timestamptz"), Form::ViaText);
    }
}
