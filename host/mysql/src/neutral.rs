//! Neutral cells of the kinds that need arithmetic: both the snapshot and the binlog make them here, so that the same
//! value always becomes the same bytes.

use crate::binlog::bytes::Fault;

/// Microseconds of a day.
const DAY_US: i64 = 86_400_000_000;

/// Days since 1970-01-01; `None` for what no calendar has: dates with a zero part, and days that their month has not
/// (ALLOW_INVALID_DATES). Those travel as the server's own text, for their target to judge.
pub(crate) fn date_days(year: u32, month: u32, day: u32) -> Result<Option<i32>, Fault> {
    if year == 0 || month == 0 || day == 0 {
        return Ok(None);
    }
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let month_days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => 0,
    };
    if day > month_days || year > 9999 {
        return Ok(None);
    }
    // Howard Hinnant's days_from_civil: years start in March, eras have 400 years.
    let shifted = i64::from(year) - i64::from(month <= 2);
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let month_from_march = (i64::from(month) + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    i32::try_from(era * 146_097 + day_of_era - 719_468).map(Some).map_err(|_| Fault::Malformed("date"))
}

/// The server's text of a date that no calendar has, with its time of day where the type has one.
pub(crate) fn odd_date(year: u32, month: u32, day: u32, clock: Option<i64>) -> String {
    let mut text = format!("{year:04}-{month:02}-{day:02}");
    if let Some(us) = clock {
        let seconds = us / 1_000_000;
        text.push_str(&format!(" {:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60));
        if us % 1_000_000 != 0 {
            let digits = format!("{:06}", us % 1_000_000);
            text.push('.');
            text.push_str(digits.trim_end_matches('0'));
        }
    }
    text
}

/// Microseconds of a time of day or duration.
pub(crate) fn time_us(negative: bool, hours: u32, minutes: u32, seconds: u32, us: u32) -> Result<i64, Fault> {
    if minutes > 59 || seconds > 59 || us > 999_999 || hours > 1_000_000 {
        return Err(Fault::Malformed("time"));
    }
    let total = ((i64::from(hours) * 60 + i64::from(minutes)) * 60 + i64::from(seconds)) * 1_000_000 + i64::from(us);
    Ok(if negative { -total } else { total })
}

/// Microseconds since 1970 of a date and time.
pub(crate) fn datetime_us(days: i32, time: i64) -> Result<i64, Fault> {
    if (0..DAY_US).contains(&time) { Ok(i64::from(days) * DAY_US + time) } else { Err(Fault::Malformed("datetime")) }
}

/// The labels of a SET value, joined by commas.
pub(crate) fn set_text(labels: &[String], bits: u64) -> Result<String, Fault> {
    if labels.len() < 64 && bits >> labels.len() != 0 {
        return Err(Fault::Malformed("set value"));
    }
    let chosen = labels.iter().enumerate().filter(|(index, _)| bits >> index & 1 == 1).map(|(_, label)| label.as_str());
    Ok(chosen.collect::<Vec<_>>().join(","))
}

/// The label of an ENUM value, which counts from one.
///
/// # Errors
/// `enum_empty` for index 0, which the server stores for values that it did not know.
pub(crate) fn enum_label(labels: &[String], index: u64) -> Result<&str, Fault> {
    if index == 0 {
        return Err(Fault::value("enum_empty", "the enumeration's error value (index 0)"));
    }
    let index = usize::try_from(index - 1).map_err(|_| Fault::Malformed("enumeration value"))?;
    labels.get(index).map(String::as_str).ok_or(Fault::Malformed("enumeration value"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (date, days) in
            [((1970, 1, 1), 0), ((2000, 2, 29), 11016), ((1969, 12, 31), -1), ((1, 1, 1), -719_162), ((9999, 12, 31), 2_932_896)]
        {
            assert_eq!(date_days(date.0, date.1, date.2), Ok(Some(days)));
        }
    }

    #[test]
    fn dates_outside_the_calendar_have_no_days_and_keep_their_text() {
        for (year, month, day) in [(0, 0, 0), (2020, 0, 0), (2020, 2, 31), (2019, 2, 29), (2020, 13, 1), (1900, 2, 29)] {
            assert_eq!(date_days(year, month, day), Ok(None));
        }
        assert_eq!(odd_date(0, 0, 0, None), "0000-00-00");
        assert_eq!(odd_date(2020, 0, 7, Some(0)), "2020-00-07 00:00:00");
        assert_eq!(odd_date(0, 0, 0, Some(86_399_120_000)), "0000-00-00 23:59:59.12");
    }

    #[test]
    fn enum_index_zero_is_no_label() {
        let labels = vec![String::new(), "a".to_owned()];
        assert_eq!(enum_label(&labels, 1), Ok(""));
        assert!(matches!(enum_label(&labels, 0), Err(Fault::Value { code: "enum_empty", .. })));
        assert!(enum_label(&labels, 3).is_err());
        assert_eq!(set_text(&labels, 2).as_deref(), Ok("a"));
        assert!(set_text(&labels, 4).is_err());
    }
}
