//! Values of a test as JSON, both ways.
//!
//! | types | JSON |
//! |---|---|
//! | integers, floats, boolean | number, truth value (NaN and infinities: text) |
//! | decimal, text, enumeration, set, interval, other; json and arrays as their text | string |
//! | date, time, timestamps | string: `2024-02-29`, `12:30:00.5`, `2024-02-29T12:30:00.5`, with `Z` where it is UTC |
//! | uuid, bytes, bits | string: hexadecimal with hyphens, `\x00ff`, `0101` |
//!
//! Errors name the form that is wanted and never repeat the value.

use serde_json::Value as Json;
use tidegate_model::{SqlType, Value};

const US_PER_SECOND: i64 = 1_000_000;
const US_PER_DAY: i64 = 86_400 * US_PER_SECOND;

/// A value of a column of this type.
///
/// # Errors
/// The form that is wanted.
pub(super) fn from_json(sql_type: &SqlType, json: &Json) -> Result<Value<'static>, &'static str> {
    if json.is_null() {
        return Ok(Value::Null);
    }
    let text = json.as_str();
    let found = match sql_type {
        SqlType::Boolean => return json.as_bool().map(Value::Bool).ok_or("true or false"),
        SqlType::Int8 | SqlType::Int16 | SqlType::Int32 | SqlType::Int64 => return json.as_i64().map(Value::Int).ok_or("a whole number"),
        SqlType::UInt8 | SqlType::UInt16 | SqlType::UInt32 | SqlType::UInt64 => {
            return json.as_u64().map(Value::UInt).ok_or("a whole number from 0");
        }
        SqlType::Float32 => return float(json).map(|number| Value::Float32(number as f32)).ok_or("a number"),
        SqlType::Float64 => return float(json).map(Value::Float64).ok_or("a number"),
        // Numbers are taken by their digits: "1.10" and 1.1 differ, and a test may ask for either.
        SqlType::Decimal { .. } => json.as_number().map(ToString::to_string).or(text.map(str::to_owned)).map(Value::OwnedText),
        SqlType::Date => text.and_then(days).map(Value::Date),
        SqlType::Time => text.and_then(time_us).map(Value::Time),
        SqlType::Timestamp => text.and_then(timestamp_us).map(Value::Timestamp),
        SqlType::TimestampTz => text.and_then(|text| timestamp_us(text.strip_suffix('Z')?)).map(Value::TimestampTz),
        SqlType::Uuid => text.and_then(|text| hex(&text.replace('-', ""))?.try_into().ok()).map(Value::Uuid),
        SqlType::Bytes { .. } => text.and_then(|text| hex(text.strip_prefix("\\x")?)).map(Value::OwnedBytes),
        SqlType::Bits(count) => text.filter(|text| text.len() == *count as usize).and_then(bits).map(Value::OwnedBytes),
        SqlType::Json | SqlType::Array(_) => match json {
            Json::String(text) => Some(Value::OwnedText(text.clone())),
            other => Some(Value::OwnedText(other.to_string())),
        },
        SqlType::Text { .. } | SqlType::Interval | SqlType::Enumeration(_) | SqlType::SetOf(_) | SqlType::Other(_) => {
            text.map(|text| Value::OwnedText(text.to_owned()))
        }
    };
    found.ok_or(match sql_type {
        SqlType::Decimal { .. } => "a number or a string of digits",
        SqlType::Date => "a string like 2024-02-29",
        SqlType::Time => "a string like 12:30:00.5",
        SqlType::Timestamp => "a string like 2024-02-29T12:30:00.5",
        SqlType::TimestampTz => "a string like 2024-02-29T12:30:00.5Z",
        SqlType::Uuid => "a string of 32 hexadecimal digits",
        SqlType::Bytes { .. } => "a string like \\x00ff",
        SqlType::Bits(_) => "a string of 0 and 1, as long as the type says",
        _ => "a string",
    })
}

/// The value as JSON.
pub(super) fn to_json(sql_type: &SqlType, value: &Value<'_>) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(flag) => (*flag).into(),
        Value::Int(number) => (*number).into(),
        Value::UInt(number) => (*number).into(),
        // The shortest text that gives the same 32 bits, not the 64-bit number next to it.
        Value::Float32(number) => number.to_string().parse::<f64>().map_or_else(|_| Json::from(number.to_string()), of_float),
        Value::Float64(number) => of_float(*number),
        Value::Decimal(text) | Value::Text(text) | Value::Json(text) => (*text).into(),
        Value::OwnedText(text) => text.as_str().into(),
        Value::Date(days) => spell_date(i64::from(*days)).into(),
        Value::Time(us) => spell_time(*us).into(),
        Value::Timestamp(us) => spell_timestamp(*us).into(),
        Value::TimestampTz(us) => format!("{}Z", spell_timestamp(*us)).into(),
        Value::Uuid(bytes) => {
            let digits = spell_hex(bytes);
            format!("{}-{}-{}-{}-{}", &digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]).into()
        }
        Value::Bytes(bytes) | Value::Bits(bytes) => spell_bytes(sql_type, bytes),
        Value::OwnedBytes(bytes) => spell_bytes(sql_type, bytes),
    }
}

/// A copy that borrows nothing.
pub(super) fn owned(value: Value<'_>) -> Value<'static> {
    match value {
        Value::Decimal(text) | Value::Text(text) | Value::Json(text) => Value::OwnedText(text.to_owned()),
        Value::Bytes(bytes) | Value::Bits(bytes) => Value::OwnedBytes(bytes.to_owned()),
        Value::OwnedText(text) => Value::OwnedText(text),
        Value::OwnedBytes(bytes) => Value::OwnedBytes(bytes),
        Value::Null => Value::Null,
        Value::Bool(flag) => Value::Bool(flag),
        Value::Int(number) => Value::Int(number),
        Value::UInt(number) => Value::UInt(number),
        Value::Float32(number) => Value::Float32(number),
        Value::Float64(number) => Value::Float64(number),
        Value::Date(days) => Value::Date(days),
        Value::Time(us) => Value::Time(us),
        Value::Timestamp(us) => Value::Timestamp(us),
        Value::TimestampTz(us) => Value::TimestampTz(us),
        Value::Uuid(bytes) => Value::Uuid(bytes),
    }
}

fn float(json: &Json) -> Option<f64> {
    match json {
        Json::String(text) if ["NaN", "inf", "-inf"].contains(&text.as_str()) => text.parse().ok(),
        other => other.as_f64(),
    }
}

fn of_float(number: f64) -> Json {
    serde_json::Number::from_f64(number).map_or_else(|| number.to_string().into(), Json::Number)
}

fn spell_bytes(sql_type: &SqlType, bytes: &[u8]) -> Json {
    match sql_type {
        SqlType::Bits(count) => {
            let all: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
            all[all.len().saturating_sub(*count as usize)..].into()
        }
        _ => format!("\\x{}", spell_hex(bytes)).into(),
    }
}

fn spell_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|digit| digit.to_digit(16).map(|digit| digit as u8)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// Padded on the left to whole bytes.
fn bits(text: &str) -> Option<Vec<u8>> {
    let padding = text.len().next_multiple_of(8) - text.len();
    let padded: Vec<char> = std::iter::repeat_n('0', padding).chain(text.chars()).collect();
    padded.chunks(8).map(|byte| byte.iter().try_fold(0_u8, |sum, bit| Some(sum << 1 | bit.to_digit(2)? as u8))).collect()
}

/// Days since 1970-01-01 of a date of the proleptic Gregorian calendar; years may be negative.
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_from_civil.
fn days(text: &str) -> Option<i32> {
    let mut parts = text.rsplitn(3, '-');
    let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
    let (day, month, year): (i64, i64, i64) = (day.parse().ok()?, month.parse().ok()?, year.parse().ok()?);
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
    // A date that does not exist reads back as another one.
    let exists = (-9999..=999_999).contains(&year) && civil(days) == (year, month, day);
    exists.then(|| i32::try_from(days).ok()).flatten()
}

/// The inverse of [`days`], of the same source.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted_month + 2) / 5 + 1)
}

fn time_us(text: &str) -> Option<i64> {
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = clock.split(':').map(str::parse::<u32>);
    let (hours, minutes, seconds) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    let fits =
        parts.next().is_none() && minutes < 60 && seconds < 60 && fraction.len() <= 6 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let us: i64 = format!("{fraction:0<6}").parse().ok()?;
    fits.then_some(sign * ((i64::from(hours) * 3600 + i64::from(minutes) * 60 + i64::from(seconds)) * US_PER_SECOND + us))
}

fn timestamp_us(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(['T', ' '])?;
    let time = time_us(time).filter(|us| (0..US_PER_DAY).contains(us))?;
    Some(i64::from(days(date)?) * US_PER_DAY + time)
}

fn spell_date(days: i64) -> String {
    let (year, month, day) = civil(days);
    // The sign is not one of the four digits.
    let sign = if year < 0 { "-" } else { "" };
    format!("{sign}{:04}-{month:02}-{day:02}", year.unsigned_abs())
}

fn spell_time(us: i64) -> String {
    let (sign, us) = (if us < 0 { "-" } else { "" }, us.unsigned_abs());
    let (seconds, fraction) = (us / US_PER_SECOND as u64, us % US_PER_SECOND as u64);
    let clock = format!("{sign}{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if fraction == 0 { clock } else { format!("{clock}.{}", format!("{fraction:06}").trim_end_matches('0')) }
}

fn spell_timestamp(us: i64) -> String {
    format!("{}T{}", spell_date(us.div_euclid(US_PER_DAY)), spell_time(us.rem_euclid(US_PER_DAY)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::module_test::sql_type::parse;

    #[test]
    fn values_read_back_as_they_are_shown() {
        let cases = [
            ("boolean", json!(true)),
            ("int64", json!(i64::MIN)),
            ("uint64", json!(u64::MAX)),
            ("float32", json!(0.1)),
            ("float64", json!(-2.5e300)),
            ("float64", json!("NaN")),
            ("decimal(10,2)", json!("-1.10")),
            ("text", json!("é\u{0}")),
            ("json", json!("{\"a\": 1}")),
            ("date", json!("2024-02-29")),
            ("date", json!("1969-12-31")),
            ("date", json!("-0044-03-15")),
            ("date", json!("9999-12-31")),
            ("time", json!("-838:59:59.000001")),
            ("timestamp", json!("1969-12-31T23:59:59.5")),
            ("timestamp-tz", json!("2000-01-01T00:00:00Z")),
            ("uuid", json!("00112233-4455-6677-8899-aabbccddeeff")),
            ("bytes", json!("\\x00ff")),
            ("bits(12)", json!("010111111111")),
            ("text", json!(null)),
        ];
        for (sql_type, value) in cases {
            let sql_type = parse(sql_type).unwrap();
            let read = from_json(&sql_type, &value).unwrap_or_else(|wanted| panic!("{sql_type:?}: {wanted}"));
            assert_eq!(to_json(&sql_type, &read), value, "{sql_type:?}");
        }
        assert_eq!(to_json(&SqlType::Date, &Value::Date(0)), json!("1970-01-01"));
        assert_eq!(to_json(&SqlType::Date, &Value::Date(19_782)), json!("2024-02-29"));
    }

    #[test]
    fn values_of_another_form_are_refused_with_the_form_that_is_wanted() {
        let cases = [
            ("int64", json!("7")),
            ("int64", json!(1.5)),
            ("uint8", json!(-1)),
            ("date", json!("2023-02-29")),
            ("date", json!("2024-13-01")),
            ("timestamp", json!("2024-01-01")),
            ("timestamp", json!("2024-01-01T25:00:00")),
            ("timestamp-tz", json!("2024-01-01T00:00:00")),
            ("time", json!("1:2")),
            ("uuid", json!("0011")),
            ("bytes", json!("00")),
            ("bits(3)", json!("01")),
            ("bits(2)", json!("02")),
            ("text", json!(7)),
        ];
        for (sql_type, value) in cases {
            assert!(from_json(&parse(sql_type).unwrap(), &value).is_err(), "{sql_type} {value}");
        }
    }
}
