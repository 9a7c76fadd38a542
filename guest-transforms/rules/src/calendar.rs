//! Dates and times as text and back: `YYYY-MM-DD`, `HH:MM:SS[.ffffff]`, and both with a blank between them.

/// Microseconds of a day.
pub(crate) const DAY_US: i64 = 86_400_000_000;

/// `YYYY-MM-DD`, or with ` HH:MM:SS[.ffffff]` (a `T` between them and a final `Z` or `+00` are taken too).
pub(crate) fn parse_timestamp(text: &str) -> Option<i64> {
    let (date, time) = match text.split_once([' ', 'T']) {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let days = parse_date(date)?;
    let time = match time {
        None => 0,
        Some(time) => {
            let time = time.strip_suffix('Z').or_else(|| time.strip_suffix("+00:00")).or_else(|| time.strip_suffix("+00")).unwrap_or(time);
            parse_time(time).filter(|us| (0..=DAY_US).contains(us))?
        }
    };
    days.checked_mul(DAY_US)?.checked_add(time)
}

/// Days since 1970-01-01.
pub(crate) fn parse_date(text: &str) -> Option<i64> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let mut parts = digits.split('-');
    let mut next = |len_min: usize, len_max: usize| number(parts.next()?, len_min, len_max);
    let (year, month, day) = (next(4, 6)?, next(2, 2)?, next(2, 2)?);
    let year = if negative { -year } else { year };
    if parts.next().is_some() || !(1..=12).contains(&month) || day < 1 || day > days_of_month(year, month) {
        return None;
    }
    Some(days_from_civil(year, month, day))
}

fn days_of_month(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar.
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// `[-]H+:MM:SS[.ffffff]` in microseconds.
pub(crate) fn parse_time(text: &str) -> Option<i64> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (clock, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let mut parts = clock.split(':');
    let mut next = |len_min: usize, len_max: usize| number(parts.next()?, len_min, len_max);
    let (hours, minutes, seconds) = (next(1, 3)?, next(2, 2)?, next(2, 2)?);
    if parts.next().is_some() || minutes > 59 || seconds > 59 {
        return None;
    }
    let us = number(fraction, 1, 6)? * 10_i64.pow(6 - fraction.len() as u32);
    let total = ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + us;
    Some(if negative { -total } else { total })
}

fn number(text: &str, len_min: usize, len_max: usize) -> Option<i64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if digits && (len_min..=len_max).contains(&text.len()) { text.parse().ok() } else { None }
}

/// `YYYY-MM-DD` of days since 1970-01-01.
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
pub(crate) fn date_text(days: i64) -> String {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let sign = if year < 0 { "-" } else { "" };
    format!("{sign}{:04}-{month:02}-{day:02}", year.abs())
}

/// `[-]HH:MM:SS`, with the fraction that there is.
pub(crate) fn time_text(us: i64) -> String {
    let sign = if us < 0 { "-" } else { "" };
    let us = us.unsigned_abs();
    let (seconds, fraction) = (us / 1_000_000, us % 1_000_000);
    let clock = format!("{sign}{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if fraction == 0 { clock } else { format!("{clock}.{:06}", fraction).trim_end_matches('0').to_owned() }
}

/// Both, with a blank between them.
pub(crate) fn timestamp_text(us: i64) -> String {
    format!("{} {}", date_text(us.div_euclid(DAY_US)), time_text(us.rem_euclid(DAY_US)))
}

#[cfg(test)]
mod calendar_tests {
    use super::*;

    #[test]
    fn dates_and_times_are_read() {
        let cases = [
            ("1970-01-01", Some(0)),
            ("1969-12-31 23:59:59.999999", Some(-1)),
            ("2000-03-01", Some(11_017 * DAY_US)),
            ("2024-02-29", Some(19_782 * DAY_US)),
            ("2023-02-29", None),
            ("2024-13-01", None),
            ("2024-1-1", None),
            ("1970-01-01 00:00:00.5", Some(500_000)),
            ("1970-01-01T00:00:01Z", Some(1_000_000)),
            ("1970-01-01 24:00:01", None),
            ("1970-01-01 00:60:00", None),
            ("0001-01-01", Some(-719_162 * DAY_US)),
            ("soon", None),
        ];
        for (text, wanted) in cases {
            assert_eq!(parse_timestamp(text), wanted, "{text}");
        }
        assert_eq!(parse_time("-838:59:59"), Some(-3_020_399_000_000));
    }

    #[test]
    fn what_is_written_reads_back() {
        for us in [0, -1, 1, 500_000, DAY_US - 1, 1_709_210_096_789_012, -62_135_596_800_000_000, 253_402_300_799_999_999] {
            assert_eq!(parse_timestamp(&timestamp_text(us)), Some(us), "{us}");
        }
        assert_eq!(time_text(-3_020_399_000_000), "-838:59:59");
        assert_eq!(timestamp_text(1_709_210_096_780_000), "2024-02-29 12:34:56.78");
    }
}
