//! Dates, times and intervals: PostgreSQL counts from 2000-01-01, the neutral form from 1970-01-01.

use std::fmt::Write;

use super::decode::{Reason, fixed};

/// Days from 1970-01-01 to 2000-01-01.
const EPOCH_DAYS: i32 = 10_957;
/// Microseconds from 1970-01-01 to 2000-01-01, where PostgreSQL starts counting.
/// Source: PostgreSQL manual, "Logical Replication Message Formats", message Begin.
pub(crate) const EPOCH_US: i64 = 946_684_800_000_000;
const DAY_US: i64 = 86_400_000_000;

/// Days since 1970 of a date's binary value.
pub(crate) fn days(since_2000: i32) -> Result<i32, Reason> {
    match since_2000 {
        i32::MAX => Err("infinity has no place in the target's calendar".into()),
        i32::MIN => Err("-infinity has no place in the target's calendar".into()),
        days => days.checked_add(EPOCH_DAYS).ok_or_else(|| "date is out of range".into()),
    }
}

/// Microseconds since 1970 of a timestamp's binary value.
pub(crate) fn micros(since_2000: i64) -> Result<i64, Reason> {
    match since_2000 {
        i64::MAX => Err("infinity has no place in the target's calendar".into()),
        i64::MIN => Err("-infinity has no place in the target's calendar".into()),
        us => us.checked_add(EPOCH_US).ok_or_else(|| "timestamp is after the year 294246, the last that the neutral form holds".into()),
    }
}

/// An interval in ISO 8601 as PostgreSQL prints it with `intervalstyle = iso_8601`.
pub(crate) fn interval(bytes: &[u8]) -> Result<String, Reason> {
    let bytes: [u8; 16] = fixed(bytes)?;
    let us = i64::from_be_bytes(fixed(&bytes[..8])?);
    let days = i32::from_be_bytes(fixed(&bytes[8..12])?);
    let months = i32::from_be_bytes(fixed(&bytes[12..])?);
    match (months, days, us) {
        (i32::MAX, i32::MAX, i64::MAX) => return Err("infinity is no length of time".into()),
        (i32::MIN, i32::MIN, i64::MIN) => return Err("-infinity is no length of time".into()),
        (0, 0, 0) => return Ok("PT0S".into()),
        _ => {}
    }
    let mut out = String::from("P");
    let mut part = |number: i64, unit: char| {
        if number != 0 {
            out.push_str(&number.to_string());
            out.push(unit);
        }
    };
    part(i64::from(months / 12), 'Y');
    part(i64::from(months % 12), 'M');
    part(i64::from(days), 'D');
    if us != 0 {
        out.push('T');
        let (hours, minutes, rest) = (us / 3_600_000_000, us / 60_000_000 % 60, us % 60_000_000);
        if hours != 0 {
            out.push_str(&format!("{hours}H"));
        }
        if minutes != 0 {
            out.push_str(&format!("{minutes}M"));
        }
        if rest != 0 {
            let sign = if rest < 0 { "-" } else { "" };
            out.push_str(&format!("{sign}{}", rest.unsigned_abs() / 1_000_000));
            push_fraction(&mut out, rest.unsigned_abs() % 1_000_000);
            out.push('S');
        }
    }
    Ok(out)
}

/// `2024-01-31` of days since 1970; years before 1 in ISO 8601's way, year 0 being 1 BC.
pub(crate) fn date_text(days: i32) -> String {
    let (year, month, day) = civil(i64::from(days));
    let sign = if year < 0 { "-" } else { "" };
    format!("{sign}{:04}-{month:02}-{day:02}", year.unsigned_abs())
}

/// `12:00:00.5` of microseconds since midnight.
pub(crate) fn time_text(us: i64) -> String {
    let us = us.unsigned_abs();
    let mut out = format!("{:02}:{:02}:{:02}", us / 3_600_000_000, us / 60_000_000 % 60, us / 1_000_000 % 60);
    push_fraction(&mut out, us % 1_000_000);
    out
}

/// `2024-01-31T12:00:00.5` of microseconds since 1970.
pub(crate) fn timestamp_text(us: i64) -> String {
    // A 64-bit count of microseconds has fewer than 2^31 days.
    let days = i32::try_from(us.div_euclid(DAY_US)).unwrap_or(i32::MAX);
    format!("{}T{}", date_text(days), time_text(us.rem_euclid(DAY_US)))
}

fn push_fraction(out: &mut String, us: u64) {
    if us != 0 {
        let _ = write!(out, ".{us:06}");
        let digits = out.trim_end_matches('0').len();
        out.truncate(digits);
    }
}

/// Proleptic Gregorian date of days since 1970. Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn civil(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month as u32, day as u32)
}

/// The inverse of [`civil`].
fn days_of_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - 719_468
}

/// A date as the server prints it with `datestyle = ISO`.
pub(crate) fn parse_date(text: &str) -> Result<i32, Reason> {
    let error = || Reason::from("text is no date of the form YYYY-MM-DD");
    if text.ends_with("infinity") {
        return Err("infinity has no place in the target's calendar".into());
    }
    let (text, before_christ) = match text.strip_suffix(" BC") {
        Some(text) => (text, true),
        None => (text, false),
    };
    let mut fields = text.split('-').map(number);
    let (Some(Some(year)), Some(Some(month)), Some(Some(day)), None) = (fields.next(), fields.next(), fields.next(), fields.next()) else {
        return Err(error());
    };
    let year = if before_christ { 1 - year } else { year };
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return Err(error());
    }
    i32::try_from(days_of_civil(year, month, day)).map_err(|_| error())
}

/// A time of day, likewise.
pub(crate) fn parse_time(text: &str) -> Result<i64, Reason> {
    let error = || Reason::from("text is no time of the form HH:MM:SS.ffffff");
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let mut fields = whole.split(':').map(number);
    let (Some(Some(hours)), Some(Some(minutes)), Some(Some(seconds)), None) = (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(error());
    };
    if fraction.is_empty() || fraction.len() > 6 || hours > 24 || minutes > 59 || seconds > 60 {
        return Err(error());
    }
    let us = number(&format!("{fraction:0<6}")).ok_or_else(error)?;
    Ok(((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + us)
}

/// A timestamp without a zone, likewise.
pub(crate) fn parse_timestamp(text: &str) -> Result<i64, Reason> {
    if text.ends_with("infinity") {
        return Err("infinity has no place in the target's calendar".into());
    }
    let (text, era) = match text.strip_suffix(" BC") {
        Some(text) => (text, " BC"),
        None => (text, ""),
    };
    let (date, time) = text.split_once(' ').ok_or("text is no timestamp of the form YYYY-MM-DD HH:MM:SS")?;
    let days = i64::from(parse_date(&format!("{date}{era}"))?);
    days.checked_mul(DAY_US).and_then(|us| us.checked_add(parse_time(time).ok()?)).ok_or_else(|| "timestamp is out of range".into())
}

fn number(digits: &str) -> Option<i64> {
    let plain = !digits.is_empty() && digits.len() <= 9 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_read_back() {
        for (days, text) in [(0, "1970-01-01"), (-719_528, "0000-01-01"), (11_016, "2000-02-29"), (-1, "1969-12-31")] {
            assert_eq!(date_text(days), text);
        }
        assert_eq!(parse_date("0001-01-01 BC"), Ok(-719_528));
        assert_eq!(parse_date("2000-02-29"), Ok(11_016));
        assert!(parse_date("2000-13-01").is_err() && parse_date("infinity").is_err() && parse_date("2000-1").is_err());
    }

    #[test]
    fn intervals_are_iso_8601_as_the_server_writes_it() {
        let bytes = |us: i64, days: i32, months: i32| {
            let mut bytes = us.to_be_bytes().to_vec();
            bytes.extend(days.to_be_bytes());
            bytes.extend(months.to_be_bytes());
            bytes
        };
        assert_eq!(interval(&bytes(0, 0, 0)).as_deref(), Ok("PT0S"));
        assert_eq!(interval(&bytes(-14_706_789_000, 3, -14)).as_deref(), Ok("P-1Y-2M3DT-4H-5M-6.789S"));
        assert_eq!(interval(&bytes(500_000, 0, 0)).as_deref(), Ok("PT0.5S"));
        assert!(interval(&bytes(i64::MAX, i32::MAX, i32::MAX)).is_err());
    }
}
