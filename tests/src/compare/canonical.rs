//! One text for one value, whatever database it was read from.

use serde_json::Value;

/// How the texts of a column are made comparable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The same type on both sides, or text: as it is.
    Exact,
    /// Whole and decimal numbers, and booleans.
    Number,
    /// Single precision.
    Float4,
    /// Double precision.
    Float8,
    /// Bytes as hexadecimal digits.
    Bytes,
    /// MySQL's BIT: a whole number, or bits.
    Bits,
    /// Date with time of day, in UTC when it has a zone.
    Timestamp,
    /// MySQL's TIME: a time of day, or a span.
    Time,
    /// A JSON document.
    Json,
    /// MySQL's SET: members in order, with or without the braces of an array.
    Members,
}

/// The kind for a pair of types in databases of one engine, each type as its catalog writes it, in lower case.
pub(crate) fn kind_within_engine(source: &str, target: &str) -> Kind {
    // MySQL and MariaDB spell one double differently.
    let is_float = !source.ends_with("[]") && ["double", "float"].iter().any(|name| source.starts_with(name));
    if source == target && !is_float { Kind::Exact } else { kind_across_engines(source, target) }
}

/// The same for databases of two engines, where equal names mean nothing.
pub(crate) fn kind_across_engines(source: &str, target: &str) -> Kind {
    let base = |text: &str| text.split(['(', ' ']).next().unwrap_or_default().to_owned();
    if target == "bytea" {
        return Kind::Bytes;
    }
    if ["json", "jsonb"].contains(&target) || source.ends_with("[]") {
        return Kind::Json;
    }
    if source.starts_with("bit varying") {
        return Kind::Exact;
    }
    match base(source).as_str() {
        "tinyint" | "smallint" | "mediumint" | "int" | "integer" | "bigint" | "decimal" | "numeric" | "money" | "boolean" | "year" => {
            Kind::Number
        }
        "float" | "real" => Kind::Float4,
        "double" => Kind::Float8,
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" | "bytea" => Kind::Bytes,
        "bit" => Kind::Bits,
        "datetime" | "timestamp" => Kind::Timestamp,
        "time" => Kind::Time,
        "json" | "jsonb" => Kind::Json,
        "set" => Kind::Members,
        _ => Kind::Exact,
    }
}

/// The canonical form of a value's text. A text that is not of its kind stays as it is, and so differs.
pub(crate) fn canonical(kind: Kind, text: String) -> String {
    let changed = match kind {
        Kind::Exact => None,
        Kind::Number => number(&text),
        Kind::Float4 => text.parse::<f64>().ok().map(|float| format!("{}", float as f32)),
        Kind::Float8 => text.parse::<f64>().ok().map(|float| format!("{float}")),
        Kind::Bytes => Some(text.strip_prefix("\\x").unwrap_or(&text).to_ascii_lowercase()),
        Kind::Bits => bits(&text),
        Kind::Timestamp => Some(without_trailing_zeros(text.strip_suffix("+00").unwrap_or(&text))),
        Kind::Time => Some(without_trailing_zeros(&text)),
        Kind::Json => serde_json::from_str::<Value>(&with_numbers_as_texts(&text)).ok().map(|document| document.to_string()),
        Kind::Members => Some(text.trim_matches(['{', '}']).to_owned()),
    };
    changed.unwrap_or(text)
}

fn number(text: &str) -> Option<String> {
    match text {
        "t" | "true" => return Some("1".to_owned()),
        "f" | "false" => return Some("0".to_owned()),
        _ => {}
    }
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
    if !digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let digits = without_trailing_zeros(digits);
    let digits = digits.trim_start_matches('0');
    let digits = if digits.is_empty() || digits.starts_with('.') { format!("0{digits}") } else { digits.to_owned() };
    Some(if digits == "0" { digits } else { format!("{sign}{digits}") })
}

/// A JSON text with its numbers as texts of their exact value, which a parser would round to doubles.
fn with_numbers_as_texts(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (taken, is_number) = match first {
            '"' => (1 + string_end(&rest[1..]), false),
            '-' | '0'..='9' => (rest.find(|c: char| !matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E')).unwrap_or(rest.len()), true),
            _ => (first.len_utf8(), false),
        };
        let (token, behind) = rest.split_at(taken);
        match is_number.then(|| exact(token)).flatten() {
            // No text of a document's own begins like this.
            Some(number) => out += &format!("\"number \\u0000{number}\""),
            None => out += token,
        }
        rest = behind;
    }
    out
}

/// The length of what is left of a string, with its closing quote.
fn string_end(text: &str) -> usize {
    let mut is_escaped = false;
    let end = text.bytes().position(|byte| {
        let ends = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        ends
    });
    end.map_or(text.len(), |end| end + 1)
}

/// `-12.50` and `-125e-1` are `-125e-1`. The sign of a zero counts.
fn exact(number: &str) -> Option<String> {
    let (sign, number) = number.strip_prefix('-').map_or(("", number), |number| ("-", number));
    let (digits, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_end_matches('0');
    let exponent = exponent.parse::<i64>().ok()? - fraction.len() as i64 + (digits.len() - significant.len()) as i64;
    let significant = significant.trim_start_matches('0');
    Some(if significant.is_empty() { format!("{sign}0") } else { format!("{sign}{significant}e{exponent}") })
}

/// The reader asks MySQL for the number; PostgreSQL's bit string is the only text marked with `B`.
fn bits(text: &str) -> Option<String> {
    match text.strip_prefix('B') {
        Some(bits) => u128::from_str_radix(bits, 2).ok().map(|number| number.to_string()),
        None => number(text),
    }
}

/// Drops zeros at the end of a fraction, and its point when nothing is left of it.
fn without_trailing_zeros(text: &str) -> String {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_have_one_form_and_others_do_not() {
        let equal = [
            (Kind::Number, "1.50", "1.5"),
            (Kind::Number, "-0.00", "0"),
            (Kind::Number, "0100", "100"),
            (Kind::Number, "t", "1"),
            (Kind::Float4, "0.10000000149011612", "0.1"),
            (Kind::Float8, "1e300", "1E+300"),
            (kind_within_engine("double", "double"), "4.45933814363098e-10", "0.000000000445933814363098"),
            (Kind::Bits, "5", "B000101"),
            (Kind::Timestamp, "2024-01-01 00:00:00.500000", "2024-01-01 00:00:00.5+00"),
            (Kind::Json, "{\"b\":1,\"a\":[]}", "{\"a\": [], \"b\": 1}"),
            (Kind::Json, "[1.0, 12.50, 1e3, -0.0, \"\\\"1.0\\\\\"]", "[1, 1.25E+1, 1000, -0, \"\\\"1.0\\\\\"]"),
            (Kind::Members, "a,b", "{a,b}"),
        ];
        for (kind, one, other) in equal {
            assert_eq!(canonical(kind, one.to_owned()), canonical(kind, other.to_owned()), "{kind:?} {one} {other}");
        }
        let different = [
            (Kind::Exact, "1.50", "1.5"),
            (Kind::Number, "100", "1"),
            (Kind::Number, "-1", "1"),
            (Kind::Float8, "0.1", "0.10000000149011612"),
            (Kind::Timestamp, "2024-01-01 00:00:10", "2024-01-01 00:00:1"),
            (Kind::Bits, "101", "B101"),
            (Kind::Json, "[12345678901234567890.1]", "[12345678901234567890.2]"),
            (Kind::Json, "{\"a\": 0.1}", "{\"a\": 0.10000000000000000555}"),
            (Kind::Json, "[\"1.0\"]", "[\"1\"]"),
            (Kind::Json, "[1]", "[\"1\"]"),
            (Kind::Json, "[0]", "[-0.0]"),
        ];
        for (kind, one, other) in different {
            assert_ne!(canonical(kind, one.to_owned()), canonical(kind, other.to_owned()), "{kind:?} {one} {other}");
        }
    }
}
