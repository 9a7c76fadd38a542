//! Values of columns by their type, and the making of a column of another type.
//!
//! A value that a type cannot hold is a [`Misfit`] and fails its row; nothing is cut or clamped. Only results of
//! expressions are rounded to the digits of a decimal, because they are computed in 64-bit floats anyway.

use tidegate_transform_sdk::{Column, DecimalType, ScalarType, SqlType, Values, VarValues};

use crate::calendar::{DAY_US, date_text, parse_date, parse_time, parse_timestamp, time_text, timestamp_text};
use crate::data_type::integer_range;
use crate::expression::real_text;

/// A value as its column has it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Exact<'a> {
    Integer(i128),
    Decimal(&'a str),
    Single(f32),
    Double(f64),
    /// A double that an expression computed.
    Computed(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
    Boolean(bool),
    /// Days since 1970-01-01.
    Date(i64),
    /// Microseconds.
    Time(i64),
    /// Microseconds since 1970-01-01.
    Timestamp(i64),
    Uuid(&'a [u8]),
}

/// Why a value has no place in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Misfit {
    Kind,
    Range,
    Length,
    Digits,
}

impl Misfit {
    pub(crate) fn code(self) -> &'static str {
        match self {
            Misfit::Kind => "value-not-of-type",
            Misfit::Range => "value-out-of-range",
            Misfit::Length => "value-too-long",
            Misfit::Digits => "value-would-lose-digits",
        }
    }

    pub(crate) fn message(self) -> &'static str {
        match self {
            Misfit::Kind => "a value cannot be read as the wanted type",
            Misfit::Range => "a value is out of the range of the wanted type",
            Misfit::Length => "a value is longer than the wanted type allows",
            Misfit::Digits => "a value has more digits than the wanted type keeps",
        }
    }
}

/// A value of a column that has one in this row.
pub(crate) fn read<'a>(column: &'a Column, row: usize, sql_type: &SqlType) -> Option<Exact<'a>> {
    use ScalarType as T;
    let SqlType::Scalar(scalar) = sql_type else { return column.text(row).map(Exact::Text) };
    Some(match scalar {
        T::Boolean => Exact::Boolean(column.boolean(row)?),
        T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::Uint8 | T::Uint16 | T::Uint32 => Exact::Integer(column.int(row)?.into()),
        T::Uint64 => Exact::Integer(column.uint(row)?.into()),
        T::Float32 => Exact::Single(column.float(row)? as f32),
        T::Float64 => Exact::Double(column.float(row)?),
        T::Decimal(_) => Exact::Decimal(column.text(row)?),
        T::Bytes(_) | T::Bits(_) => Exact::Bytes(column.bytes(row)?),
        T::Date => Exact::Date(column.int(row)?),
        T::Time => Exact::Time(column.int(row)?),
        T::Timestamp | T::TimestampTz => Exact::Timestamp(column.int(row)?),
        T::Uuid => Exact::Uuid(column.bytes(row)?),
        T::Text(_) | T::Interval | T::Json | T::Enumeration(_) | T::SetOf(_) | T::Other(_) => Exact::Text(column.text(row)?),
    })
}

impl Exact<'_> {
    /// The value as text.
    pub(crate) fn text(&self) -> Result<std::borrow::Cow<'_, str>, Misfit> {
        use std::borrow::Cow;
        Ok(match self {
            Exact::Integer(number) => Cow::Owned(number.to_string()),
            Exact::Decimal(text) | Exact::Text(text) => Cow::Borrowed(text),
            Exact::Single(number) => Cow::Owned(float_text(number.is_finite(), format!("{number:?}"), f64::from(*number))),
            Exact::Double(number) => Cow::Owned(float_text(number.is_finite(), format!("{number:?}"), *number)),
            Exact::Computed(number) => Cow::Owned(real_text(*number)),
            Exact::Bytes(bytes) => Cow::Borrowed(std::str::from_utf8(bytes).map_err(|_| Misfit::Kind)?),
            Exact::Boolean(flag) => Cow::Borrowed(if *flag { "true" } else { "false" }),
            Exact::Date(days) => Cow::Owned(date_text(*days)),
            Exact::Time(us) => Cow::Owned(time_text(*us)),
            Exact::Timestamp(us) => Cow::Owned(timestamp_text(*us)),
            Exact::Uuid(bytes) => Cow::Owned(uuid_text(bytes)),
        })
    }

    fn integer(&self) -> Result<i128, Misfit> {
        match self {
            Exact::Integer(number) => Ok(*number),
            Exact::Boolean(flag) => Ok(i128::from(*flag)),
            Exact::Single(number) => whole(f64::from(*number)),
            Exact::Double(number) | Exact::Computed(number) => whole(*number),
            Exact::Decimal(text) | Exact::Text(text) => {
                let digits = Digits::parse(text.trim()).ok_or(Misfit::Kind)?;
                if digits.fraction.bytes().any(|digit| digit != b'0') {
                    return Err(Misfit::Digits);
                }
                let number: i128 = if digits.whole.is_empty() { 0 } else { digits.whole.parse().map_err(|_| Misfit::Range)? };
                Ok(if digits.negative { -number } else { number })
            }
            Exact::Bytes(_) | Exact::Date(_) | Exact::Time(_) | Exact::Timestamp(_) | Exact::Uuid(_) => Err(Misfit::Kind),
        }
    }

    fn double(&self) -> Result<f64, Misfit> {
        match self {
            Exact::Integer(number) => Ok(*number as f64),
            Exact::Boolean(flag) => Ok(f64::from(u8::from(*flag))),
            Exact::Single(number) => Ok(f64::from(*number)),
            Exact::Double(number) | Exact::Computed(number) => Ok(*number),
            Exact::Decimal(text) | Exact::Text(text) => text.trim().parse().map_err(|_| Misfit::Kind),
            Exact::Bytes(_) | Exact::Date(_) | Exact::Time(_) | Exact::Timestamp(_) | Exact::Uuid(_) => Err(Misfit::Kind),
        }
    }

    fn decimal(&self, wanted: DecimalType) -> Result<String, Misfit> {
        let is_computed = matches!(self, Exact::Computed(_));
        let text = match self {
            Exact::Integer(number) => number.to_string(),
            Exact::Boolean(flag) => u8::from(*flag).to_string(),
            Exact::Decimal(text) | Exact::Text(text) => text.trim().to_owned(),
            Exact::Single(number) => finite(f64::from(*number), format!("{number}"))?,
            Exact::Double(number) => finite(*number, format!("{number}"))?,
            // Fifteen digits, as the expression would show them, without an exponent.
            Exact::Computed(number) => finite(*number, format!("{}", format!("{number:.14e}").parse::<f64>().unwrap_or(*number)))?,
            Exact::Bytes(_) | Exact::Date(_) | Exact::Time(_) | Exact::Timestamp(_) | Exact::Uuid(_) => return Err(Misfit::Kind),
        };
        if wanted.precision.is_none() && matches!(text.as_str(), "NaN" | "Infinity" | "-Infinity") {
            return Ok(text);
        }
        Digits::parse(&text).ok_or(Misfit::Kind)?.fitted(wanted, is_computed)
    }

    fn date(&self) -> Result<i64, Misfit> {
        match self {
            Exact::Date(days) => Ok(*days),
            Exact::Timestamp(us) if us.rem_euclid(DAY_US) == 0 => Ok(us.div_euclid(DAY_US)),
            Exact::Timestamp(_) => Err(Misfit::Digits),
            Exact::Text(text) => match parse_date(text.trim()) {
                Some(days) => Ok(days),
                None => Exact::Timestamp(parse_timestamp(text.trim()).ok_or(Misfit::Kind)?).date(),
            },
            _ => Err(Misfit::Kind),
        }
    }

    fn timestamp(&self) -> Result<i64, Misfit> {
        match self {
            Exact::Timestamp(us) => Ok(*us),
            Exact::Date(days) => days.checked_mul(DAY_US).ok_or(Misfit::Range),
            Exact::Text(text) => parse_timestamp(text.trim()).ok_or(Misfit::Kind),
            _ => Err(Misfit::Kind),
        }
    }

    fn time(&self) -> Result<i64, Misfit> {
        match self {
            Exact::Time(us) => Ok(*us),
            Exact::Text(text) => parse_time(text.trim()).ok_or(Misfit::Kind),
            _ => Err(Misfit::Kind),
        }
    }

    fn boolean(&self) -> Result<bool, Misfit> {
        match self {
            Exact::Boolean(flag) => Ok(*flag),
            Exact::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "t" | "1" => Ok(true),
                "false" | "f" | "0" => Ok(false),
                _ => Err(Misfit::Kind),
            },
            other => match other.integer()? {
                0 => Ok(false),
                1 => Ok(true),
                _ => Err(Misfit::Range),
            },
        }
    }
}

/// Rust's shortest text, with PostgreSQL's words for what is no number.
fn float_text(is_finite: bool, text: String, number: f64) -> String {
    match (is_finite, number.is_nan(), number < 0.0) {
        (true, _, _) => text,
        (false, true, _) => "NaN".to_owned(),
        (false, false, true) => "-Infinity".to_owned(),
        (false, false, false) => "Infinity".to_owned(),
    }
}

fn finite(number: f64, text: String) -> Result<String, Misfit> {
    if number.is_finite() { Ok(text) } else { Err(Misfit::Range) }
}

fn whole(number: f64) -> Result<i128, Misfit> {
    if number.trunc() != number {
        return Err(if number.is_finite() { Misfit::Digits } else { Misfit::Range });
    }
    // Within 128 bits a whole double is exact.
    if number.abs() < 1e38 { Ok(number as i128) } else { Err(Misfit::Range) }
}

/// A decimal taken apart; whole part without leading zeros.
struct Digits<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
}

impl<'a> Digits<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let negative = text.starts_with('-');
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all = |part: &str| part.bytes().all(|digit| digit.is_ascii_digit());
        let fits = all(whole) && all(fraction) && whole.len() + fraction.len() > 0;
        fits.then(|| Self { negative, whole: whole.trim_start_matches('0'), fraction })
    }

    fn fitted(&self, wanted: DecimalType, rounds: bool) -> Result<String, Misfit> {
        let Some(precision) = wanted.precision else { return Ok(self.joined(self.whole, self.fraction)) };
        let scale = usize::try_from(wanted.scale.unwrap_or(0)).unwrap_or(0);
        let (kept, lost) = self.fraction.split_at(scale.min(self.fraction.len()));
        let mut digits = format!("{}{kept}{}", self.whole, "0".repeat(scale - kept.len()));
        if lost.bytes().any(|digit| digit != b'0') {
            if !rounds {
                return Err(Misfit::Digits);
            }
            if lost.as_bytes()[0] >= b'5' {
                digits = crate::expression::incremented(&digits);
            }
        }
        let digits = digits.trim_start_matches('0');
        if digits.len() > precision as usize {
            return Err(Misfit::Range);
        }
        let padded = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = padded.split_at(padded.len() - scale);
        Ok(self.joined(whole, fraction))
    }

    fn joined(&self, whole: &str, fraction: &str) -> String {
        let whole = if whole.is_empty() { "0" } else { whole };
        let is_zero = whole.bytes().chain(fraction.bytes()).all(|digit| digit == b'0');
        let sign = if self.negative && !is_zero { "-" } else { "" };
        if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
    }
}

/// `8-4-4-4-12` hexadecimal digits.
pub(crate) fn uuid_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// Makes a column of a type, row by row.
pub(crate) struct Builder {
    scalar: ScalarType,
    rows: usize,
    done: usize,
    nulls: Vec<u8>,
    absent: Vec<u8>,
    values: Values,
}

impl Builder {
    /// For types that rules make: those of `data-type`, and whatever a mask leaves as it is.
    pub(crate) fn new(scalar: &ScalarType, rows: usize) -> Self {
        use ScalarType as T;
        let var = || VarValues { offsets: vec![0], data: Vec::new() };
        let values = match scalar {
            T::Boolean => Values::Bool8(Vec::with_capacity(rows)),
            T::Int8 | T::Int16 | T::Int32 | T::Uint8 | T::Uint16 | T::Date => Values::Int32(Vec::with_capacity(rows)),
            T::Int64 | T::Uint32 | T::Time | T::Timestamp | T::TimestampTz => Values::Int64(Vec::with_capacity(rows)),
            T::Uint64 => Values::Uint64(Vec::with_capacity(rows)),
            T::Float32 | T::Float64 => Values::Float64(Vec::with_capacity(rows)),
            T::Bytes(_) | T::Uuid | T::Bits(_) => Values::Binary(var()),
            T::Decimal(_) | T::Text(_) | T::Interval | T::Json | T::Enumeration(_) | T::SetOf(_) | T::Other(_) => Values::Utf8(var()),
        };
        Self { scalar: scalar.clone(), rows, done: 0, nulls: Vec::new(), absent: Vec::new(), values }
    }

    pub(crate) fn push_null(&mut self) {
        mark(&mut self.nulls, self.done, self.rows);
        self.push_nothing();
    }

    pub(crate) fn push_absent(&mut self) {
        mark(&mut self.absent, self.done, self.rows);
        self.push_nothing();
    }

    fn push_nothing(&mut self) {
        match &mut self.values {
            Values::Bool8(list) => list.push(0),
            Values::Int32(list) => list.push(0),
            Values::Int64(list) => list.push(0),
            Values::Uint64(list) => list.push(0),
            Values::Float64(list) => list.push(0.0),
            Values::Utf8(var) | Values::Binary(var) => var.offsets.push(var.data.len() as u32),
            Values::Strings(list) => list.push(String::new()),
        }
        self.done += 1;
    }

    /// # Errors
    /// When the value is none of the type; the row then holds NULL.
    pub(crate) fn push(&mut self, value: &Exact<'_>) -> Result<(), Misfit> {
        let pushed = self.try_push(value);
        match pushed {
            Ok(()) => self.done += 1,
            Err(_) => self.push_null(),
        }
        pushed
    }

    /// The same for text that is known to be UTF-8, without reading it again where its length alone decides.
    pub(crate) fn push_utf8(&mut self, bytes: &[u8]) -> Result<(), Misfit> {
        let is_short = match &self.scalar {
            ScalarType::Text(most) => most.is_none_or(|most| bytes.len() <= most as usize),
            _ => false,
        };
        let appended = match &mut self.values {
            Values::Utf8(var) if is_short => append(var, bytes),
            _ => return self.push(&std::str::from_utf8(bytes).map_or(Exact::Bytes(bytes), Exact::Text)),
        };
        match appended {
            Ok(()) => self.done += 1,
            Err(_) => self.push_null(),
        }
        appended
    }

    fn try_push(&mut self, value: &Exact<'_>) -> Result<(), Misfit> {
        match &mut self.values {
            Values::Bool8(list) => list.push(u8::from(value.boolean()?)),
            Values::Int32(list) => {
                let number = match &self.scalar {
                    ScalarType::Date => value.date()?.into(),
                    scalar => ranged(value.integer()?, scalar)?,
                };
                list.push(i32::try_from(number).map_err(|_| Misfit::Range)?);
            }
            Values::Int64(list) => list.push(match &self.scalar {
                ScalarType::Time => value.time()?,
                ScalarType::Timestamp | ScalarType::TimestampTz => value.timestamp()?,
                scalar => i64::try_from(ranged(value.integer()?, scalar)?).map_err(|_| Misfit::Range)?,
            }),
            Values::Uint64(list) => list.push(u64::try_from(value.integer()?).map_err(|_| Misfit::Range)?),
            Values::Float64(list) => {
                let number = value.double()?;
                let number = if matches!(self.scalar, ScalarType::Float32) { single(number)? } else { number };
                list.push(number);
            }
            Values::Utf8(var) => match &self.scalar {
                ScalarType::Decimal(wanted) => {
                    let wanted = DecimalType { precision: wanted.precision, scale: wanted.scale };
                    append(var, value.decimal(wanted)?.as_bytes())?;
                }
                ScalarType::Text(Some(most)) => {
                    let text = value.text()?;
                    if text.len() > *most as usize && text.chars().count() > *most as usize {
                        return Err(Misfit::Length);
                    }
                    append(var, text.as_bytes())?;
                }
                _ => append(var, value.text()?.as_bytes())?,
            },
            Values::Binary(var) => {
                let owned;
                let bytes = match value {
                    Exact::Bytes(bytes) | Exact::Uuid(bytes) => *bytes,
                    other => {
                        owned = other.text()?;
                        owned.as_bytes()
                    }
                };
                if matches!(&self.scalar, ScalarType::Bytes(Some(most)) if bytes.len() > *most as usize) {
                    return Err(Misfit::Length);
                }
                append(var, bytes)?;
            }
            Values::Strings(_) => return Err(Misfit::Kind),
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Column {
        Column { nulls: self.nulls, absent: self.absent, values: self.values }
    }
}

fn mark(bitmap: &mut Vec<u8>, row: usize, rows: usize) {
    bitmap.resize(rows.div_ceil(8), 0);
    bitmap[row / 8] |= 1 << (row % 8);
}

fn append(var: &mut VarValues, bytes: &[u8]) -> Result<(), Misfit> {
    let end = u32::try_from(var.data.len() + bytes.len()).map_err(|_| Misfit::Length)?;
    var.data.extend_from_slice(bytes);
    var.offsets.push(end);
    Ok(())
}

fn ranged(number: i128, scalar: &ScalarType) -> Result<i128, Misfit> {
    match integer_range(scalar) {
        Some((low, high)) if (low..=high).contains(&number) => Ok(number),
        _ => Err(Misfit::Range),
    }
}

/// The nearest 32-bit float, widened again.
fn single(number: f64) -> Result<f64, Misfit> {
    let narrow = number as f32;
    if narrow.is_infinite() && number.is_finite() { Err(Misfit::Range) } else { Ok(f64::from(narrow)) }
}
