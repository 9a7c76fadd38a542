//! ISO 8601 durations as PostgreSQL's months, days and microseconds.

use super::EncodeError;

/// Microseconds, days and months of `P1Y2M3DT4H5M6.7S`, each part with a sign of its own, or of an infinity.
///
/// # Errors
/// The text has another form, or a part is out of range.
pub(crate) fn parse_interval(text: &str) -> Result<(i64, i32, i32), EncodeError> {
    match text {
        "infinity" => return Ok((i64::MAX, i32::MAX, i32::MAX)),
        "-infinity" => return Ok((i64::MIN, i32::MIN, i32::MIN)),
        _ => {}
    }
    parts(text).ok_or_else(|| EncodeError::new("found a text that is no ISO 8601 duration, wanted interval"))
}

fn parts(text: &str) -> Option<(i64, i32, i32)> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let mut rest = rest.strip_prefix('P')?;
    let (mut us, mut days, mut months) = (0i64, 0i32, 0i32);
    let mut in_time = false;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        if let Some(time) = rest.strip_prefix('T') {
            if in_time || time.is_empty() {
                return None;
            }
            in_time = true;
            rest = time;
            continue;
        }
        let end = rest.find(|letter: char| letter.is_ascii_alphabetic())?;
        let (number, unit) = (&rest[..end], rest.as_bytes()[end]);
        rest = &rest[end + 1..];
        let whole = || number.parse::<i64>().ok()?.checked_mul(sign);
        match (in_time, unit) {
            (false, b'Y') => months = months.checked_add(i32::try_from(whole()?.checked_mul(12)?).ok()?)?,
            (false, b'M') => months = months.checked_add(i32::try_from(whole()?).ok()?)?,
            (false, b'W') => days = days.checked_add(i32::try_from(whole()?.checked_mul(7)?).ok()?)?,
            (false, b'D') => days = days.checked_add(i32::try_from(whole()?).ok()?)?,
            (true, b'H') => us = us.checked_add(whole()?.checked_mul(3_600_000_000)?)?,
            (true, b'M') => us = us.checked_add(whole()?.checked_mul(60_000_000)?)?,
            (true, b'S') => us = us.checked_add(seconds(number)?.checked_mul(sign)?)?,
            _ => return None,
        }
    }
    Some((us, days, months))
}

/// Microseconds of `-6.789`, exactly; more than six digits after the point are refused.
fn seconds(text: &str) -> Option<i64> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = rest.split_once('.').unwrap_or((rest, ""));
    if fraction.len() > 6 || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction: i64 = format!("{fraction:0<6}").parse().ok()?;
    let us = whole.parse::<i64>().ok()?.checked_mul(1_000_000)?.checked_add(fraction)?;
    Some(if negative { -us } else { us })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_months_days_and_microseconds() {
        assert_eq!(parse_interval("P1Y2M3DT4H5M6.789S"), Ok((14_706_789_000, 3, 14)));
        assert_eq!(parse_interval("P-1Y-2M3DT-4H-5M-6S"), Ok((-14_706_000_000, 3, -14)));
        assert_eq!(parse_interval("PT-0.000001S"), Ok((-1, 0, 0)));
        assert_eq!(parse_interval("PT0S"), Ok((0, 0, 0)));
        assert_eq!(parse_interval("-P1D"), Ok((0, -1, 0)));
        assert_eq!(parse_interval("infinity"), Ok((i64::MAX, i32::MAX, i32::MAX)));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "P", "1 day", "PT", "P1H", "PT1D", "P1.5D", "PT1.1234567S", "P99999999999Y", "PTT1S", "P1"] {
            assert!(parse_interval(text).is_err(), "{text}");
        }
    }
}
