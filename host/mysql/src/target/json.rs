//! What MySQL's JSON would change in a document without a word: numbers that its doubles do not hold, and members whose
//! name comes twice, of which it keeps the last. Blanks and the order of members are no part of a document.

use std::collections::HashSet;

use crate::binlog::json::double_text;

/// Depth of documents. Source: MySQL manual, "The JSON Data Type" (error 3157 beyond it).
const DEPTH_MAX: usize = 100;

/// Decimals of one document that are set apart: each costs the server a copy of it. By guess.
const DECIMALS_MAX: usize = 1_000;

const RESPELT: &str = "found a decimal in a JSON document of which MySQL would keep a double, with other digits";

/// Digits of a decimal in all, and after the point.
const DIGITS_MAX: (usize, usize) = (65, 30);

/// A decimal that only its own type prints as it stands here, and where in the document it stands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Decimal<'a> {
    pub(crate) path: String,
    pub(crate) digits: &'a str,
    pub(crate) precision: usize,
    pub(crate) scale: usize,
}

/// What is open at a place of a document.
enum Open<'a> {
    /// The names so far, and the last one of them.
    Object(HashSet<&'a str>, &'a str),
    /// The number of the element.
    Array(usize),
}

/// # Errors
/// Found and wanted, without the value.
pub(crate) fn check_json(text: &str) -> Result<(), &'static str> {
    scan(text, |number, _| if is_kept(number) { Ok(()) } else { Err("found a number in a JSON document that MySQL would round") })
}

/// Of a document that MySQL itself printed, and that it is to print so again.
///
/// # Errors
/// As for [`check_json`], and for decimals of which the server would make doubles with other digits.
pub(crate) fn check_spelt(text: &str) -> Result<(), &'static str> {
    // A number that keeps its digits is not rounded either.
    scan(text, |number, _| if keeps_digits(number) { Ok(()) } else { Err(RESPELT) })
}

/// The decimals of a document that MySQL itself printed, of which it would make doubles with other digits.
///
/// # Errors
/// As for [`check_json`], and for decimals that are too many or too long.
pub(crate) fn decimals(text: &str) -> Result<Vec<Decimal<'_>>, &'static str> {
    let mut found = Vec::new();
    scan(text, |digits, open| {
        if keeps_digits(digits) {
            return Ok(());
        }
        let (whole, fraction) = digits.strip_prefix('-').unwrap_or(digits).split_once('.').unwrap_or((digits, ""));
        let (precision, scale) = (whole.len() + fraction.len(), fraction.len());
        let is_plain = [whole, fraction].iter().all(|part| part.trim_start_matches('-').bytes().all(|digit| digit.is_ascii_digit()));
        if !is_plain || precision > DIGITS_MAX.0 || scale > DIGITS_MAX.1 || found.len() == DECIMALS_MAX {
            return Err(RESPELT);
        }
        found.push(Decimal { path: path(open), digits, precision, scale });
        Ok(())
    })?;
    Ok(found)
}

/// Source of the form: MySQL manual, "JSON Path Syntax".
fn path(open: &[Open<'_>]) -> String {
    let mut path = "$".to_owned();
    for open in open {
        match open {
            Open::Object(_, name) => path.extend([".", name]),
            Open::Array(index) => path.push_str(&format!("[{index}]")),
        }
    }
    path
}

/// Calls `judge` for each number of the document with what is open around it.
fn scan<'a>(text: &'a str, mut judge: impl FnMut(&'a str, &[Open<'a>]) -> Result<(), &'static str>) -> Result<(), &'static str> {
    let mut open: Vec<Open<'a>> = Vec::new();
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            letter @ (b'{' | b'[') => {
                open.push(if letter == b'{' { Open::Object(HashSet::new(), "") } else { Open::Array(0) });
                if open.len() > DEPTH_MAX {
                    return Err("found a JSON document of more than 100 levels");
                }
                at += 1;
            }
            b'}' | b']' => {
                open.pop();
                at += 1;
            }
            b',' => {
                if let Some(Open::Array(index)) = open.last_mut() {
                    *index += 1;
                }
                at += 1;
            }
            b'"' => {
                let end = end_of_string(bytes, at).ok_or("found a text that is no JSON")?;
                let is_name = bytes[end..].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':');
                // Two spellings of one name are taken for two; the server would join them.
                let name = &text[at..end];
                if is_name && name.contains("\\u") {
                    return Err("found a member of a JSON document whose name is spelt with \\u");
                }
                if is_name && let Some(Open::Object(names, last)) = open.last_mut() {
                    *last = name;
                    if !names.insert(name) {
                        return Err("found a JSON document with a member twice");
                    }
                }
                at = end;
            }
            b'-' | b'0'..=b'9' => {
                let length = bytes[at..].iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte)).count();
                judge(&text[at..at + length], &open)?;
                at += length;
            }
            _ => at += 1,
        }
    }
    Ok(())
}

fn end_of_string(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match bytes.get(at)? {
            b'\\' => at += 2,
            b'"' => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// Integers of 64 bits are kept, other numbers become doubles.
fn is_kept(number: &str) -> bool {
    if number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok() {
        return true;
    }
    let Ok(float) = number.parse::<f64>() else { return true };
    float.is_finite() && significant(&format!("{float:e}")) == significant(number)
}

/// True where the server prints what it makes of the number as it stands here.
fn keeps_digits(number: &str) -> bool {
    let is_whole = number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok();
    is_whole || number.parse().is_ok_and(|double: f64| double_text(double).is_ok_and(|text| text == number))
}

/// Sign, digits without zeros at either end, and the place of the first one.
fn significant(number: &str) -> Option<(bool, String, i64)> {
    let (negative, number) = number.strip_prefix('-').map_or((false, number), |rest| (true, rest));
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent: i64 = exponent.parse().ok()?;
    let all = format!("{whole}{fraction}");
    let leading = all.len() - all.trim_start_matches('0').len();
    let digits = all.trim_matches('0');
    if digits.is_empty() {
        return Some((negative, String::new(), 0));
    }
    Some((negative, digits.to_owned(), exponent + whole.len() as i64 - leading as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_would_change_is_found() {
        for kept in [
            r#"{"a": 1.10, "b": [18446744073709551615, -9223372036854775808, 1e300, 0.1, -0.0, 100, 5E-324]}"#,
            r#"[{"a": 1}, {"a": 2}]"#,
            r#"{"a": {"a": "a"}, "b": "\"a\":"}"#,
            r#""1234567890123456789012345""#,
            "null",
        ] {
            assert_eq!(check_json(kept), Ok(()), "{kept}");
        }
        for changed in
            [r#"{"a": 1, "a": 2}"#, r#"{"a": 1, "\u0061": 2}"#, "[12345678901234567890123]", "0.1234567890123456789", "1e400", "\"open"]
        {
            assert!(check_json(changed).is_err(), "{changed}");
        }
        assert!(check_json(&format!("{}{}", "[".repeat(101), "]".repeat(101))).is_err());
    }

    #[test]
    fn decimals_whose_digits_a_double_does_not_print_are_found_in_the_servers_own_documents() {
        for kept in ["[12.5, -1, 100.0, -0.0, 1e15, 0.0000001, 1.5e300, 18446744073709551615]", r#"{"12.50": "12.50"}"#] {
            assert_eq!((decimals(kept), check_spelt(kept)), (Ok(vec![]), Ok(())), "{kept}");
        }
        let told = |text| {
            decimals(text).map(|all| all.iter().map(|one| format!("{} {} {} {}", one.path, one.digits, one.precision, one.scale)).collect())
        };
        let found: Result<Vec<String>, _> = told(r#"{"a": [1, "x,]", {"b \" c": -12.50}, 0.10], "d": [[], [7]], "e": 1000000000000000.5}"#);
        assert_eq!(found.unwrap(), [r#"$."a"[2]."b \" c" -12.50 4 2"#, r#"$."a"[3] 0.10 3 2"#, r#"$."e" 1000000000000000.5 17 1"#]);
        assert_eq!(told("12345678901234567890123").unwrap(), ["$ 12345678901234567890123 23 0"]);
        let long = format!("[0.{}]", "0".repeat(31));
        for changed in [&long, "[1.00e2]", &format!("[{}]", vec!["1.50"; 1_001].join(", ")), &"1".repeat(66)] {
            assert!(decimals(changed).is_err() && check_spelt(changed).is_err(), "{changed}");
        }
    }
}
