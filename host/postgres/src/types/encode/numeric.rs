//! Decimal text as PostgreSQL's `numeric`: groups of four digits, a weight, a sign and a display scale.

use bytes::{BufMut, BytesMut};

use super::EncodeError;

/// Signs of the binary form. Source: src/backend/utils/adt/numeric.c.
const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NOT_A_NUMBER: u16 = 0xc000;
const INFINITE: u16 = 0xd000;
const NEGATIVE_INFINITE: u16 = 0xf000;

/// Digits on either side of the point that the binary form can hold. Source: PostgreSQL manual, "Numeric Types".
const DIGITS_MAX: i64 = 131_072 + 16_383;

/// Appends the binary form of `-12.50`, `1e-7`, `NaN`, `Infinity` or `-Infinity`.
///
/// # Errors
/// The text is no decimal, or has more digits than PostgreSQL keeps.
pub(crate) fn put_numeric(text: &str, out: &mut BytesMut) -> Result<(), EncodeError> {
    let (negative, rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let special = match rest.to_ascii_lowercase().as_str() {
        "nan" => Some(NOT_A_NUMBER),
        "infinity" | "inf" => Some(if negative { NEGATIVE_INFINITE } else { INFINITE }),
        _ => None,
    };
    if let Some(sign) = special {
        put_header(0, 0, sign, 0, out);
        return Ok(());
    }
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().map_err(|_| no_decimal())?),
        None => (rest, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return Err(no_decimal());
    }
    if exponent.abs() > DIGITS_MAX || (whole.len() + fraction.len()) as i64 > DIGITS_MAX {
        return Err(EncodeError::new("found a decimal with more digits than PostgreSQL keeps"));
    }
    let scale = (fraction.len() as i64 - exponent).max(0);
    let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).map(|byte| byte - b'0').collect();
    put_digits(&digits, whole.len() as i64 + exponent, scale, negative, out)
}

/// `point` is the count of digits before the decimal point; it may be negative or beyond the digits.
fn put_digits(digits: &[u8], point: i64, scale: i64, negative: bool, out: &mut BytesMut) -> Result<(), EncodeError> {
    let too_large = || EncodeError::new("found a decimal with more digits than PostgreSQL keeps");
    let scale = u16::try_from(scale).ok().filter(|scale| *scale <= 16_383).ok_or_else(too_large)?;
    let Some(first) = digits.iter().position(|digit| *digit != 0) else {
        put_header(0, 0, POSITIVE, scale, out);
        return Ok(());
    };
    let last = digits.iter().rposition(|digit| *digit != 0).expect("one digit is not zero");
    // Place of a digit: 0 for the ones, negative after the point. A group's place is the floor of a fourth of that.
    let place = |index: usize| point - 1 - index as i64;
    let weight = place(first).div_euclid(4);
    let lowest = place(last).div_euclid(4);
    let mut groups = Vec::with_capacity((weight - lowest + 1) as usize);
    for group in (lowest..=weight).rev() {
        let mut number = 0u16;
        for offset in (0..4).rev() {
            let index = point - 1 - (group * 4 + offset);
            let digit = usize::try_from(index).ok().and_then(|index| digits.get(index)).copied().unwrap_or(0);
            number = number * 10 + u16::from(digit);
        }
        groups.push(number);
    }
    let count = i16::try_from(groups.len()).map_err(|_| too_large())?;
    let weight = i16::try_from(weight).map_err(|_| too_large())?;
    put_header(count, weight, if negative { NEGATIVE } else { POSITIVE }, scale, out);
    for group in groups {
        out.put_u16(group);
    }
    Ok(())
}

fn put_header(count: i16, weight: i16, sign: u16, scale: u16, out: &mut BytesMut) {
    out.put_i16(count);
    out.put_i16(weight);
    out.put_u16(sign);
    out.put_u16(scale);
}

fn no_decimal() -> EncodeError {
    EncodeError::new("found a text that is no decimal, wanted numeric")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<u16> {
        let mut out = BytesMut::new();
        put_numeric(text, &mut out).unwrap();
        out.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect()
    }

    #[test]
    fn groups_weight_and_scale_are_those_of_postgres() {
        assert_eq!(words("0"), [0, 0, 0, 0]);
        assert_eq!(words("0.00"), [0, 0, 0, 2]);
        assert_eq!(words("1"), [1, 0, 0, 0, 1]);
        assert_eq!(words("-12.50"), [2, 0, 0x4000, 2, 12, 5000]);
        assert_eq!(words("10000"), [1, 1, 0, 0, 1]);
        assert_eq!(words("0.0001"), [1, 0xffff, 0, 4, 1]);
        assert_eq!(words("0.00001"), [1, 0xfffe, 0, 5, 1000]);
        assert_eq!(words("123456789.1"), [4, 2, 0, 1, 1, 2345, 6789, 1000]);
        assert_eq!(words("1e-7"), words("0.0000001"));
        assert_eq!(words("1.5e3"), words("1500"));
        assert_eq!(words("NaN"), [0, 0, 0xc000, 0]);
        assert_eq!(words("-Infinity"), [0, 0, 0xf000, 0]);
    }

    #[test]
    fn what_is_no_decimal_is_refused() {
        for text in ["", "-", ".", "1,5", "0x10", "1e", "1e999999999", "--1", "1.2.3"] {
            assert!(put_numeric(text, &mut BytesMut::new()).is_err(), "{text}");
        }
    }

    #[test]
    fn any_decimal_reads_back_as_written() {
        // A small linear generator is enough to visit lengths around the groups of four.
        let mut state = 7u64;
        let mut next = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % bound
        };
        for _ in 0..20_000 {
            let mut whole: String = (0..=next(14)).map(|_| char::from(b'0' + next(10) as u8)).collect();
            whole = whole.trim_start_matches('0').to_owned();
            if whole.is_empty() {
                whole.push('0');
            }
            let fraction: String = (0..next(14)).map(|_| char::from(b'0' + next(10) as u8)).collect();
            let is_zero = whole == "0" && fraction.bytes().all(|byte| byte == b'0');
            let sign = if next(2) == 0 || is_zero { "" } else { "-" };
            let text = if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") };
            let mut out = BytesMut::new();
            put_numeric(&text, &mut out).unwrap();
            assert_eq!(crate::types::numeric::text(&out).as_deref(), Ok(text.as_str()));
        }
    }
}
