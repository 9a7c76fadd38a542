//! Values of SQLite's storage classes, and their comparison.

use std::cmp::Ordering;

use super::node::Affinity;
use super::number::{Prefix, exact_integer, prefix, real_text, truncated};

/// Bytes of one block of rows, above which its rows fail: a row of 4 MiB may pass through a few functions.
pub(crate) const ARENA_BYTES_MAX: usize = 24 << 20;

/// Why a row has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    IntegerOverflow,
    TooLarge,
    NotUtf8,
    /// A number of the source that 64 bits cannot hold exactly.
    NumberPrecision,
    NotANumber,
    Clock,
    Pattern,
    Format,
}

impl Failure {
    pub(crate) fn code(self) -> &'static str {
        match self {
            Failure::IntegerOverflow => "integer-overflow",
            Failure::TooLarge => "value-too-large",
            Failure::NotUtf8 => "text-not-utf8",
            Failure::NumberPrecision => "number-precision",
            Failure::NotANumber => "not-a-number",
            Failure::Clock => "clock",
            Failure::Pattern => "pattern-too-long",
            Failure::Format => "format-unknown",
        }
    }

    pub(crate) fn message(self) -> &'static str {
        match self {
            Failure::IntegerOverflow => "an integer is beyond 64 bits",
            Failure::TooLarge => "a value became too large",
            Failure::NotUtf8 => "bytes that are taken as text are not UTF-8",
            Failure::NumberPrecision => "a number has more digits than expressions can compute with (15, or 64 bits for integers)",
            Failure::NotANumber => "a number is NaN or infinite, which expressions cannot compute with",
            Failure::Clock => "a date function was asked for the present time or the local time zone, which would differ on a replay",
            Failure::Pattern => "a pattern is longer than 1,000 characters",
            Failure::Format => "a format or modifier is not supported",
        }
    }
}

/// A part of the block's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

/// A value; text and blobs lie in an [`Arena`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value {
    Null,
    Integer(i64),
    Real(f64),
    Text(Span),
    Blob(Span),
    Failed(Failure),
}

/// A number, or nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Number {
    Null,
    Integer(i64),
    Real(f64),
}

/// The bytes of texts and blobs of one block of rows. Texts are UTF-8.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    bytes: Vec<u8>,
}

impl Arena {
    /// Forgets everything after the first `length` bytes.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.bytes.truncate(length);
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Everything that is in it, if anything is.
    pub(crate) fn all(&self) -> Option<&[u8]> {
        (!self.bytes.is_empty()).then_some(self.bytes.as_slice())
    }

    pub(crate) fn bytes(&self, span: Span) -> &[u8] {
        &self.bytes[span.start as usize..span.end as usize]
    }

    pub(crate) fn text(&self, span: Span) -> &str {
        std::str::from_utf8(self.bytes(span)).unwrap_or_default()
    }

    /// Appends bytes that were checked or made here.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> Result<Span, Failure> {
        let start = self.bytes.len();
        if start + bytes.len() > ARENA_BYTES_MAX {
            return Err(Failure::TooLarge);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(Span { start: start as u32, end: self.bytes.len() as u32 })
    }

    pub(crate) fn add_text(&mut self, text: &str) -> Value {
        self.add(text.as_bytes()).map_or_else(Value::Failed, Value::Text)
    }

    pub(crate) fn add_blob(&mut self, bytes: &[u8]) -> Value {
        self.add(bytes).map_or_else(Value::Failed, Value::Blob)
    }

    /// Appends a part of itself, changed byte by byte.
    pub(crate) fn add_mapped(&mut self, span: Span, map: impl Fn(u8) -> u8) -> Value {
        let start = self.bytes.len();
        if start + (span.end - span.start) as usize > ARENA_BYTES_MAX {
            return Value::Failed(Failure::TooLarge);
        }
        self.bytes.extend_from_within(span.start as usize..span.end as usize);
        for byte in &mut self.bytes[start..] {
            *byte = map(*byte);
        }
        Value::Text(Span { start: start as u32, end: self.bytes.len() as u32 })
    }

    /// Appends two parts of itself, one after the other, as text.
    pub(crate) fn add_both(&mut self, left: Span, right: Span) -> Value {
        let start = self.bytes.len();
        let size = (left.end - left.start + right.end - right.start) as usize;
        if start + size > ARENA_BYTES_MAX {
            return Value::Failed(Failure::TooLarge);
        }
        self.bytes.extend_from_within(left.start as usize..left.end as usize);
        self.bytes.extend_from_within(right.start as usize..right.end as usize);
        Value::Text(Span { start: start as u32, end: self.bytes.len() as u32 })
    }

    /// A part of a span, counted from its start.
    pub(crate) fn part(&self, span: Span, range: std::ops::Range<usize>) -> Span {
        let start = span.start + range.start as u32;
        Span { start, end: (span.start + range.end as u32).min(span.end).max(start) }
    }
}

impl Value {
    pub(crate) fn truth(value: bool) -> Value {
        Value::Integer(i64::from(value))
    }

    /// True, false, or neither (NULL).
    pub(crate) fn is_true(self, arena: &Arena) -> Option<bool> {
        match self {
            Value::Null | Value::Failed(_) => None,
            Value::Integer(number) => Some(number != 0),
            Value::Real(number) => Some(number != 0.0),
            Value::Text(span) | Value::Blob(span) => Some(prefix(arena.bytes(span)).real() != 0.0),
        }
    }

    /// What arithmetic makes of the value.
    pub(crate) fn number(self, arena: &Arena) -> Number {
        match self {
            Value::Null | Value::Failed(_) => Number::Null,
            Value::Integer(number) => Number::Integer(number),
            Value::Real(number) => Number::Real(number),
            Value::Text(span) | Value::Blob(span) => {
                let prefix = prefix(arena.bytes(span));
                match prefix.integer() {
                    Some(number) if !prefix.is_real => Number::Integer(number),
                    _ => Number::Real(prefix.real()),
                }
            }
        }
    }

    /// As `CAST(… AS INTEGER)`; 0 for NULL.
    pub(crate) fn integer(self, arena: &Arena) -> i64 {
        match self {
            Value::Null | Value::Failed(_) => 0,
            Value::Integer(number) => number,
            Value::Real(number) => truncated(number),
            Value::Text(span) | Value::Blob(span) => prefix(arena.bytes(span)).clamped(),
        }
    }

    /// As `CAST(… AS REAL)`; 0 for NULL.
    pub(crate) fn real(self, arena: &Arena) -> f64 {
        match self {
            Value::Null | Value::Failed(_) => 0.0,
            Value::Integer(number) => number as f64,
            Value::Real(number) => number,
            Value::Text(span) | Value::Blob(span) => prefix(arena.bytes(span)).real(),
        }
    }

    /// The value as text, NULL as NULL.
    pub(crate) fn to_text(self, arena: &mut Arena) -> Value {
        match self {
            Value::Null | Value::Text(_) | Value::Failed(_) => self,
            Value::Integer(number) => {
                let mut digits = itoa_buffer();
                let text = write_integer(number, &mut digits);
                arena.add(text).map_or_else(Value::Failed, Value::Text)
            }
            Value::Real(number) => arena.add_text(&real_text(number)),
            Value::Blob(span) if std::str::from_utf8(arena.bytes(span)).is_ok() => Value::Text(span),
            Value::Blob(_) => Value::Failed(Failure::NotUtf8),
        }
    }

    /// The value's text or bytes; `None` for NULL.
    pub(crate) fn span(self, arena: &mut Arena) -> Result<Option<Span>, Failure> {
        match self {
            Value::Null => Ok(None),
            Value::Failed(failure) => Err(failure),
            Value::Text(span) | Value::Blob(span) => Ok(Some(span)),
            Value::Integer(_) | Value::Real(_) => match self.to_text(arena) {
                Value::Text(span) => Ok(Some(span)),
                Value::Failed(failure) => Err(failure),
                _ => Ok(None),
            },
        }
    }

    /// `CAST`.
    pub(crate) fn cast(self, to: Affinity, arena: &mut Arena) -> Value {
        if matches!(self, Value::Null | Value::Failed(_)) {
            return self;
        }
        match to {
            Affinity::Text => self.to_text(arena),
            Affinity::Blob | Affinity::None => match self.to_text_of_number(arena) {
                Value::Text(span) => Value::Blob(span),
                other => other,
            },
            Affinity::Integer => Value::Integer(self.integer(arena)),
            Affinity::Real => Value::Real(self.real(arena)),
            Affinity::Numeric => match self {
                Value::Text(span) | Value::Blob(span) => {
                    let prefix = prefix(arena.bytes(span));
                    numeric(&prefix).unwrap_or_else(|| Value::Real(prefix.real()))
                }
                other => other,
            },
        }
    }

    fn to_text_of_number(self, arena: &mut Arena) -> Value {
        match self {
            Value::Integer(_) | Value::Real(_) => self.to_text(arena),
            other => other,
        }
    }

    /// What a comparison with this affinity takes for the value.
    fn with_affinity(self, affinity: Affinity, arena: &mut Arena, other: Value) -> Value {
        match (affinity, self) {
            (Affinity::Integer | Affinity::Real | Affinity::Numeric, Value::Text(span)) => {
                let prefix = prefix(arena.bytes(span));
                match prefix.integer() {
                    _ if !prefix.is_whole => self,
                    Some(number) if !prefix.is_real => Value::Integer(number),
                    _ => Value::Real(prefix.real()),
                }
            }
            (Affinity::Text, Value::Integer(_) | Value::Real(_)) if matches!(other, Value::Text(_)) => self.to_text(arena),
            _ => self,
        }
    }

    /// `None` when one of them is NULL.
    pub(crate) fn compare(self, other: Value, affinity: Affinity, arena: &mut Arena) -> Option<Ordering> {
        if self == Value::Null || other == Value::Null {
            return None;
        }
        let (left, right) = (self.with_affinity(affinity, arena, other), other.with_affinity(affinity, arena, self));
        Some(left.order(right, arena))
    }

    /// The order of all values: NULL, numbers, text, blobs.
    pub(crate) fn order(self, other: Value, arena: &Arena) -> Ordering {
        match (self, other) {
            (Value::Integer(left), Value::Integer(right)) => left.cmp(&right),
            (Value::Real(left), Value::Real(right)) => left.partial_cmp(&right).unwrap_or(Ordering::Equal),
            (Value::Integer(left), Value::Real(right)) => integer_and_real(left, right),
            (Value::Real(left), Value::Integer(right)) => integer_and_real(right, left).reverse(),
            (Value::Text(left), Value::Text(right)) | (Value::Blob(left), Value::Blob(right)) => arena.bytes(left).cmp(arena.bytes(right)),
            (left, right) => left.class().cmp(&right.class()),
        }
    }

    fn class(self) -> u8 {
        match self {
            Value::Failed(_) | Value::Null => 0,
            Value::Integer(_) | Value::Real(_) => 1,
            Value::Text(_) => 2,
            Value::Blob(_) => 3,
        }
    }
}

/// `CAST(… AS NUMERIC)` of a text: an integer where it is one, however it is written.
fn numeric(prefix: &Prefix<'_>) -> Option<Value> {
    match prefix.integer() {
        Some(number) if !prefix.is_real => Some(Value::Integer(number)),
        _ => exact_integer(prefix.real()).map(Value::Integer),
    }
}

fn integer_and_real(integer: i64, real: f64) -> Ordering {
    // Above 2^53 a double does not tell integers apart: compare whole numbers, then the fraction.
    if real < -9_223_372_036_854_775_808.0 {
        return Ordering::Greater;
    }
    if real >= 9_223_372_036_854_775_808.0 {
        return Ordering::Less;
    }
    let whole = real as i64;
    integer.cmp(&whole).then_with(|| (whole as f64).partial_cmp(&real).unwrap_or(Ordering::Equal))
}

/// Room for the digits of any 64-bit integer.
pub(crate) fn itoa_buffer() -> [u8; 20] {
    [0; 20]
}

/// The decimal digits of an integer.
pub(crate) fn write_integer(number: i64, buffer: &mut [u8; 20]) -> &[u8] {
    let mut rest = number.unsigned_abs();
    let mut at = buffer.len();
    loop {
        at -= 1;
        buffer[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        at -= 1;
        buffer[at] = b'-';
    }
    &buffer[at..]
}
