//! Typed values as text: what a value becomes in a text column of another engine, and what PostgreSQL reads under
//! `datestyle = ISO` and UTC.

use std::borrow::Cow;

use tidegate_model::Value;

/// Microseconds of a second, a minute, an hour and a day.
const SECOND_US: i64 = 1_000_000;
const MINUTE_US: i64 = 60 * SECOND_US;
const HOUR_US: i64 = 60 * MINUTE_US;
const DAY_US: i64 = 24 * HOUR_US;

/// The text of a value; empty for NULL, which is not a text.
pub fn spell<'a>(value: &'a Value<'_>) -> Cow<'a, str> {
    match value {
        Value::Null => Cow::Borrowed(""),
        Value::Bool(flag) => Cow::Borrowed(if *flag { "true" } else { "false" }),
        Value::Int(number) => number.to_string().into(),
        Value::UInt(number) => number.to_string().into(),
        Value::Float32(number) => float(f64::from(*number), number.to_string()),
        Value::Float64(number) => float(*number, number.to_string()),
        Value::Decimal(text) | Value::Text(text) | Value::Json(text) => Cow::Borrowed(text),
        Value::OwnedText(text) => Cow::Borrowed(text),
        Value::Bytes(bytes) => hex(bytes).into(),
        Value::OwnedBytes(bytes) => hex(bytes).into(),
        Value::Date(days) => date(*days),
        Value::Time(us) => time(*us).into(),
        Value::Timestamp(us) => timestamp(*us, ""),
        Value::TimestampTz(us) => timestamp(*us, "+00"),
        Value::Uuid(bytes) => uuid(bytes).into(),
        Value::Bits(bytes) => bytes.iter().map(|byte| format!("{byte:08b}")).collect::<String>().into(),
    }
}

/// Rust writes the shortest digits that read back as the same number, as PostgreSQL does; only infinities differ.
fn float(number: f64, text: String) -> Cow<'static, str> {
    if number.is_nan() {
        Cow::Borrowed("NaN")
    } else if number.is_infinite() {
        Cow::Borrowed(if number > 0.0 { "Infinity" } else { "-Infinity" })
    } else {
        text.into()
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 + bytes.len() * 2);
    text.push_str("\\x");
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
        }
    }
    text
}

fn date(days: i32) -> Cow<'static, str> {
    match days {
        i32::MAX => Cow::Borrowed("infinity"),
        i32::MIN => Cow::Borrowed("-infinity"),
        _ => {
            let (day, era) = day_text(i64::from(days));
            format!("{day}{era}").into()
        }
    }
}

fn timestamp(us: i64, zone: &str) -> Cow<'static, str> {
    match us {
        i64::MAX => Cow::Borrowed("infinity"),
        i64::MIN => Cow::Borrowed("-infinity"),
        _ => {
            let (day, era) = day_text(us.div_euclid(DAY_US));
            format!("{day} {}{zone}{era}", time(us.rem_euclid(DAY_US))).into()
        }
    }
}

/// `-838:59:59.5`; hours may pass 24.
fn time(us: i64) -> String {
    let sign = if us < 0 { "-" } else { "" };
    let us = us.unsigned_abs();
    let (hours, rest) = (us / HOUR_US as u64, us % HOUR_US as u64);
    let (minutes, rest) = (rest / MINUTE_US as u64, rest % MINUTE_US as u64);
    let (seconds, fraction) = (rest / SECOND_US as u64, rest % SECOND_US as u64);
    let text = format!("{sign}{hours:02}:{minutes:02}:{seconds:02}");
    if fraction == 0 { text } else { format!("{text}.{fraction:06}").trim_end_matches('0').to_owned() }
}

/// Year, month and day in the proleptic Gregorian calendar, and ` BC` for years before 1.
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
fn day_text(days: i64) -> (String, &'static str) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (year, suffix) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    (format!("{year:04}-{month:02}-{day:02}"), suffix)
}

fn uuid(bytes: &[u8; 16]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_spelled_as_postgres_spells_them() {
        let cases = [
            (Value::Float32(0.1), "0.1"),
            (Value::Float64(f64::NEG_INFINITY), "-Infinity"),
            (Value::Bytes(&[0, 255]), "\\x00ff"),
            (Value::Date(0), "1970-01-01"),
            (Value::Date(-719_163), "0001-12-31 BC"),
            (Value::Date(2_932_897), "10000-01-01"),
            (Value::Time(-3_020_399_500_000), "-838:59:59.5"),
            (Value::Timestamp(-1), "1969-12-31 23:59:59.999999"),
            (Value::TimestampTz(951_782_400_000_000), "2000-02-29 00:00:00+00"),
            (Value::Uuid([0x12; 16]), "12121212-1212-1212-1212-121212121212"),
        ];
        for (value, text) in cases {
            assert_eq!(spell(&value), text);
        }
    }
}
