//! Numbers as SQLite reads and writes them.
//! Source: SQLite, "Datatypes In SQLite" and "The CAST expression"; src/util.c for what a prefix of a text is worth.

/// What a text says as a number: its longest numeric prefix, after blanks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Prefix<'a> {
    /// Sign, digits, point and exponent; empty without any.
    pub(crate) text: &'a str,
    /// Has a point or an exponent.
    pub(crate) is_real: bool,
    /// Nothing but blanks follows.
    pub(crate) is_whole: bool,
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

/// The numeric prefix of a text.
pub(crate) fn prefix(text: &[u8]) -> Prefix<'_> {
    let start = text.iter().take_while(|byte| is_space(**byte)).count();
    let rest = &text[start..];
    let digits = |from: usize| rest[from.min(rest.len())..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let sign = usize::from(matches!(rest.first(), Some(b'+' | b'-')));
    let whole = digits(sign);
    let mut end = sign + whole;
    let mut is_real = false;
    let mut fraction = 0;
    if rest.get(end) == Some(&b'.') {
        fraction = digits(end + 1);
        if whole + fraction > 0 {
            is_real = true;
            end += 1 + fraction;
        }
    }
    if whole + fraction == 0 {
        return Prefix { text: "", is_real: false, is_whole: false };
    }
    if matches!(rest.get(end), Some(b'e' | b'E')) {
        let exponent_sign = usize::from(matches!(rest.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits(end + 1 + exponent_sign);
        if exponent > 0 {
            is_real = true;
            end += 1 + exponent_sign + exponent;
        }
    }
    let is_whole = rest[end..].iter().all(|byte| is_space(*byte));
    // All of it is ASCII.
    Prefix { text: std::str::from_utf8(&rest[..end]).unwrap_or_default(), is_real, is_whole }
}

impl Prefix<'_> {
    /// The integer part, or `None` when it is beyond 64 bits.
    pub(crate) fn integer(&self) -> Option<i64> {
        let end = self.text.find(['.', 'e', 'E']).unwrap_or(self.text.len());
        let digits = &self.text[..end];
        if digits.bytes().any(|byte| byte.is_ascii_digit()) { parse_integer(digits) } else { Some(0) }
    }

    /// As `CAST(… AS INTEGER)`: the nearest there is.
    pub(crate) fn clamped(&self) -> i64 {
        self.integer().unwrap_or(if self.text.starts_with('-') { i64::MIN } else { i64::MAX })
    }

    pub(crate) fn real(&self) -> f64 {
        parse_real(self.text).unwrap_or(0.0)
    }
}

/// Decimal digits with a sign; `None` beyond 64 bits.
pub(crate) fn parse_integer(text: &str) -> Option<i64> {
    text.parse().ok()
}

/// Digits with sign, point and exponent.
pub(crate) fn parse_real(text: &str) -> Option<f64> {
    text.parse().ok()
}

/// The integer that a double is, if it is one that a double tells apart from its neighbours.
/// Source: SQLite's rule for numeric affinity (sqlite3VdbeIntegerAffinity): not the two ends of the range.
pub(crate) fn exact_integer(real: f64) -> Option<i64> {
    let is_inside = real > -9_223_372_036_854_775_808.0 && real < 9_223_372_036_854_775_807.0;
    // The cast is exact inside the range for a whole number.
    (is_inside && real.trunc() == real).then_some(real as i64)
}

/// A double cut to an integer, or the nearest there is.
pub(crate) fn truncated(real: f64) -> i64 {
    // Rust's cast saturates; NaN is never a value here.
    real as i64
}

/// As SQLite writes a double: fifteen digits, always with a point.
pub(crate) fn real_text(real: f64) -> String {
    general(real, 15, true)
}

/// `%.{digits}g`; with `keeps_point` at least one digit after the point stays.
pub(crate) fn general(real: f64, digits: usize, keeps_point: bool) -> String {
    if real.is_infinite() {
        return if real < 0.0 { "-Inf".to_owned() } else { "Inf".to_owned() };
    }
    let sign = if real < 0.0 { "-" } else { "" };
    let scientific = format!("{:.*e}", digits - 1, real.abs());
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let mantissa: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let significant = mantissa.trim_end_matches('0');
    let significant = if significant.is_empty() { "0" } else { significant };
    let with_point = |whole: &str, fraction: &str| match (fraction.is_empty(), keeps_point) {
        (true, true) => format!("{whole}.0"),
        (true, false) => whole.to_owned(),
        (false, _) => format!("{whole}.{fraction}"),
    };
    if exponent < -4 || exponent >= digits as i32 {
        let (sign_of_exponent, size) = if exponent < 0 { ('-', -exponent) } else { ('+', exponent) };
        return format!("{sign}{}e{sign_of_exponent}{size:02}", with_point(&significant[..1], &significant[1..]));
    }
    if exponent < 0 {
        let zeros = "0".repeat((-exponent - 1) as usize);
        return format!("{sign}{}", with_point("0", &format!("{zeros}{significant}")));
    }
    let whole_digits = exponent as usize + 1;
    if significant.len() <= whole_digits {
        let zeros = "0".repeat(whole_digits - significant.len());
        return format!("{sign}{}", with_point(&format!("{significant}{zeros}"), ""));
    }
    format!("{sign}{}", with_point(&significant[..whole_digits], &significant[whole_digits..]))
}

/// A double with so many digits after the point, halves away from zero.
pub(crate) fn fixed(real: f64, decimals: usize) -> String {
    // Rust rounds the exact value, exact halves to even; only those differ, and their expansion ends with a 5.
    let exact = format!("{:.*}", decimals + 40, real.abs());
    let cut = exact.len() - 40;
    let (kept, rest) = exact.split_at(cut);
    let rounded = if rest.as_bytes()[0] >= b'5' { incremented(kept) } else { kept.to_owned() };
    let rounded = rounded.trim_end_matches('.').to_owned();
    let is_zero = rounded.bytes().all(|byte| matches!(byte, b'0' | b'.'));
    if real < 0.0 && !is_zero { format!("-{rounded}") } else { rounded }
}

/// One more in the last digit.
pub(crate) fn incremented(digits: &str) -> String {
    let mut bytes = digits.as_bytes().to_vec();
    for byte in bytes.iter_mut().rev() {
        match byte {
            b'9' => *byte = b'0',
            b'0'..=b'8' => {
                *byte += 1;
                return String::from_utf8(bytes).unwrap_or_default();
            }
            _ => {}
        }
    }
    format!("1{}", String::from_utf8(bytes).unwrap_or_default())
}
