//! What MySQL's JSON would change in a document without a word: numbers that its doubles do not hold, and members whose
//! name comes twice, of which it keeps the last. Blanks and the order of members are no part of a document.

use std::collections::HashSet;

use crate::binlog::json::double_text;

/// Depth of documents. Source: MySQL manual, "The JSON Data Type" (error 3157 beyond it).
const DEPTH_MAX: usize = 100;

/// `is_spelt`: numbers are to keep their digits too, and not only what they are worth.
///
/// # Errors
/// Found and wanted, without the value.
pub(crate) fn check_json(text: &str, is_spelt: bool) -> Result<(), &'static str> {
    let mut open: Vec<HashSet<&str>> = Vec::new();
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'{' | b'[' => {
                open.push(HashSet::new());
                if open.len() > DEPTH_MAX {
                    return Err("found a JSON document of more than 100 levels");
                }
                at += 1;
            }
            b'}' | b']' => {
                open.pop();
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
                if is_name && open.last_mut().is_some_and(|names| !names.insert(name)) {
                    return Err("found a JSON document with a member twice");
                }
                at = end;
            }
            b'-' | b'0'..=b'9' => {
                let length = bytes[at..].iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte)).count();
                let number = &text[at..at + length];
                if !is_kept(number) {
                    return Err("found a number in a JSON document that MySQL would round");
                }
                if is_spelt && !keeps_digits(number) {
                    return Err("found a decimal in a JSON document of which MySQL would keep a double, with other digits");
                }
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
            assert_eq!(check_json(kept, false), Ok(()), "{kept}");
        }
        for changed in
            [r#"{"a": 1, "a": 2}"#, r#"{"a": 1, "\u0061": 2}"#, "[12345678901234567890123]", "0.1234567890123456789", "1e400", "\"open"]
        {
            assert!(check_json(changed, false).is_err(), "{changed}");
        }
        assert!(check_json(&format!("{}{}", "[".repeat(101), "]".repeat(101)), false).is_err());
    }

    #[test]
    fn decimals_whose_digits_a_double_does_not_print_are_found_in_the_servers_own_documents() {
        for kept in ["[12.5, -1, 100.0, -0.0, 1e15, 0.0000001, 1.5e300, 18446744073709551615]", r#"{"12.50": "12.50"}"#] {
            assert_eq!(check_json(kept, true), Ok(()), "{kept}");
        }
        for changed in ["[12.50]", "0.10", "[1.0, 1.00]", "0.00", "1000000000000000.5", "0.000000000000000000001"] {
            assert!(check_json(changed, true).is_err(), "{changed}");
        }
    }
}
