//! DMS's names for types.

use tidegate_transform_sdk::{DecimalType, PlanError, ScalarType, SqlType};

use crate::reader::{Reader, list};

/// Names of `data-type`, and in locators.
pub(crate) const NAMES: &[&str] = &[
    "bytes", "date", "time", "datetime", "int1", "int2", "int4", "int8", "uint1", "uint2", "uint4", "uint8", "numeric", "real4", "real8",
    "string", "wstring", "blob", "nclob", "clob", "boolean", "set", "list", "map", "tuple",
];

/// Reads a rule's `data-type`.
///
/// # Errors
/// For unknown types and keys, and numbers that a type does not have.
pub(crate) fn read(rule: &Reader<'_>) -> Result<ScalarType, PlanError> {
    let reader = rule.object("data-type")?;
    reader.check_keys(&["type", "length", "precision", "scale"])?;
    let name = reader.wanted_text("type")?;
    let length = number(&reader, "length")?;
    let precision = number(&reader, "precision")?;
    let scale = number(&reader, "scale")?;
    let (takes_length, takes_precision, takes_scale) = match name {
        "bytes" | "string" | "wstring" => (true, false, false),
        "numeric" => (false, true, true),
        "datetime" | "time" => (false, true, true),
        _ => (false, false, false),
    };
    let has = |value: Option<u32>| value.is_some_and(|value| value > 0);
    for (key, value, takes) in [("length", length, takes_length), ("precision", precision, takes_precision), ("scale", scale, takes_scale)]
    {
        if has(value) && !takes {
            return Err(reader.error(key, format!("the type \"{name}\" has no {key}")));
        }
    }
    let text = |length: Option<u32>| ScalarType::Text(length.filter(|length| *length > 0));
    Ok(match name {
        "bytes" => ScalarType::Bytes(length.filter(|length| *length > 0)),
        "blob" => ScalarType::Bytes(None),
        "string" | "wstring" => text(length),
        "clob" | "nclob" => text(None),
        "date" => ScalarType::Date,
        "time" | "datetime" => {
            // Their fraction has six digits in all three databases, or fewer by the column's own type.
            if precision.or(scale).is_some_and(|digits| digits > 6) {
                return Err(reader.error("precision", "at most 6 digits of a second can be kept"));
            }
            if name == "time" { ScalarType::Time } else { ScalarType::Timestamp }
        }
        "int1" => ScalarType::Int8,
        "int2" => ScalarType::Int16,
        "int4" => ScalarType::Int32,
        "int8" => ScalarType::Int64,
        "uint1" => ScalarType::Uint8,
        "uint2" => ScalarType::Uint16,
        "uint4" => ScalarType::Uint32,
        "uint8" => ScalarType::Uint64,
        "numeric" => ScalarType::Decimal(decimal(&reader, precision, scale)?),
        "real4" => ScalarType::Float32,
        "real8" => ScalarType::Float64,
        "boolean" => ScalarType::Boolean,
        "set" | "list" | "map" | "tuple" => {
            return Err(reader.error("type", format!("the type \"{name}\" is of databases without tables; there is none here")));
        }
        other => return Err(reader.error("type", format!("\"{other}\" is not known; known are {}", list(NAMES)))),
    })
}

fn decimal(reader: &Reader<'_>, precision: Option<u32>, scale: Option<u32>) -> Result<DecimalType, PlanError> {
    match (precision.filter(|digits| *digits > 0), scale) {
        (None, None | Some(0)) => Ok(DecimalType { precision: None, scale: None }),
        (None, Some(_)) => Err(reader.error("precision", "the key \"precision\" is missing; \"scale\" alone says nothing")),
        (Some(digits), scale) if digits <= 1_000 && scale.unwrap_or(0) <= digits => {
            Ok(DecimalType { precision: Some(digits), scale: Some(scale.unwrap_or(0).cast_signed()) })
        }
        (Some(_), _) => Err(reader.error("precision", "at most 1000 digits are possible, and no more after the point than there are")),
    }
}

/// A number or its text; null and "" count as absent.
fn number(reader: &Reader<'_>, key: &str) -> Result<Option<u32>, PlanError> {
    if reader.value(key).is_none() {
        return Ok(None);
    }
    let text = reader.scalar(key)?;
    let parsed = text.trim().parse().map_err(|_| reader.error(key, format!("\"{text}\" is not a whole number from 0 on")))?;
    Ok(Some(parsed))
}

/// The type as DMS calls it, for `$AR_M_SOURCE_COLUMN_DATATYPE`.
pub(crate) fn dms_name(sql_type: &SqlType) -> &'static str {
    crate::locator::names_of(sql_type).first().copied().unwrap_or("clob")
}

/// True when every value of one type is one of the other, in the same family: the host copies such a column.
pub(crate) fn widens(from: &SqlType, to: &ScalarType) -> bool {
    let SqlType::Scalar(from) = from else { return false };
    use ScalarType as T;
    let fits = |from: Option<u32>, to: Option<u32>| to.is_none() || from.is_some_and(|from| to.is_some_and(|to| from <= to));
    match (from, to) {
        (T::Text(from), T::Text(to)) | (T::Bytes(from), T::Bytes(to)) => fits(*from, *to),
        (T::Float32, T::Float32 | T::Float64) | (T::Float64, T::Float64) => true,
        (T::Boolean, T::Boolean) | (T::Date, T::Date) | (T::Time, T::Time) | (T::Timestamp, T::Timestamp) => true,
        (T::Decimal(from), T::Decimal(to)) => match (from.precision, to.precision) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(from_digits), Some(to_digits)) => {
                let (from_scale, to_scale) = (from.scale.unwrap_or(0), to.scale.unwrap_or(0));
                let whole = |digits: u32, scale: i32| i64::from(digits) - i64::from(scale);
                from_scale <= to_scale && whole(from_digits, from_scale) <= whole(to_digits, to_scale)
            }
        },
        (from, to) => match (integer_range(from), integer_range(to)) {
            (Some((from_low, from_high)), Some((to_low, to_high))) => to_low <= from_low && from_high <= to_high,
            _ => false,
        },
    }
}

/// The least and the greatest value of an integer type.
pub(crate) fn integer_range(scalar: &ScalarType) -> Option<(i128, i128)> {
    Some(match scalar {
        ScalarType::Int8 => (i8::MIN.into(), i8::MAX.into()),
        ScalarType::Int16 => (i16::MIN.into(), i16::MAX.into()),
        ScalarType::Int32 => (i32::MIN.into(), i32::MAX.into()),
        ScalarType::Int64 => (i64::MIN.into(), i64::MAX.into()),
        ScalarType::Uint8 => (0, u8::MAX.into()),
        ScalarType::Uint16 => (0, u16::MAX.into()),
        ScalarType::Uint32 => (0, u32::MAX.into()),
        ScalarType::Uint64 => (0, u64::MAX.into()),
        _ => return None,
    })
}
