//! Defaults as the two servers' catalogs print them, in one form.

use tidegate_connector::Dialect;
use tidegate_model::objects::{ColumnDefault, DefaultValue};

fn expression(text: &str) -> ColumnDefault {
    let plain = text.trim().to_ascii_lowercase();
    let digits = |name: &str| {
        let rest = plain.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')')?;
        if rest.is_empty() { Some(None) } else { rest.parse().ok().map(Some) }
    };
    let now = ["current_timestamp", "now", "localtimestamp", "localtime"].into_iter().find_map(digits);
    let value = match plain.as_str() {
        "current_timestamp" => Some(DefaultValue::CurrentTimestamp(None)),
        "curdate()" | "current_date()" | "(curdate())" | "current_date" => Some(DefaultValue::CurrentDate),
        "uuid()" | "(uuid())" => Some(DefaultValue::NewUuid),
        _ => now.map(DefaultValue::CurrentTimestamp),
    };
    ColumnDefault { value, native: Some(format!("({})", text.replace("\\'", "'"))), sequences: Vec::new(), columns: Vec::new() }
}

fn constant(text: String) -> ColumnDefault {
    ColumnDefault { value: Some(DefaultValue::Constant(text)), native: None, sequences: Vec::new(), columns: Vec::new() }
}

/// A default of MySQL's catalog.
pub(super) fn mysql_default(text: &str, is_expression: bool) -> ColumnDefault {
    if is_expression || text.eq_ignore_ascii_case("current_timestamp") { expression(text) } else { constant(text.to_owned()) }
}

/// A default of MariaDB's catalog; none for NULL.
pub(super) fn mariadb_default(text: &str) -> Option<ColumnDefault> {
    if text.eq_ignore_ascii_case("null") {
        return None;
    }
    let is_number = text.parse::<f64>().is_ok() && !text.eq_ignore_ascii_case("nan") && !text.to_ascii_lowercase().contains("inf");
    if is_number || text.starts_with("b'") {
        return Some(constant(text.to_owned()));
    }
    Some(unquoted(text).map_or_else(|| expression(text), constant))
}

/// The text of a literal in quotes; `None` when it is more than that.
fn unquoted(text: &str) -> Option<String> {
    let inner = text.strip_prefix('\'')?.strip_suffix('\'')?;
    let mut plain = String::with_capacity(inner.len());
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' => plain.push(letters.next().filter(|next| *next == '\'')?),
            '\\' => plain.push(match letters.next()? {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                '0' => return None,
                other => other,
            }),
            other => plain.push(other),
        }
    }
    Some(plain)
}

/// The constant in the form that other engines read for values of its type.
pub(super) fn typed(mut default: ColumnDefault, data_type: &str, column_type: &str) -> ColumnDefault {
    let Some(DefaultValue::Constant(text)) = &default.value else { return default };
    match data_type {
        "bit" => {
            let digits = text.strip_prefix("b'").and_then(|rest| rest.strip_suffix('\'')).map(str::to_owned);
            let width: usize = column_type.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap_or(1);
            default.native = Some(text.clone());
            default.value = digits.map(|digits| DefaultValue::Constant(format!("{digits:0>width$}")));
        }
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => {
            default.native = Some(Dialect::MYSQL.literal(text)).filter(|_| !text.starts_with("0x")).or_else(|| Some(text.clone()));
            default.value = None;
        }
        _ => {}
    }
    default
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(default: Option<ColumnDefault>) -> Option<DefaultValue> {
        default.and_then(|default| default.value)
    }

    #[test]
    fn both_servers_defaults_have_one_meaning() {
        let text = |text: &str| Some(DefaultValue::Constant(text.to_owned()));
        assert_eq!(value(Some(mysql_default("it's \\", false))), text("it's \\"));
        assert_eq!(value(mariadb_default("'it\\'s \\\\'")), text("it's \\"));
        assert_eq!(value(mariadb_default("'it''s'")), text("it's"));
        assert_eq!(value(mariadb_default("-1.50")), text("-1.50"));
        assert_eq!(value(mariadb_default("NULL")), None);
        assert_eq!(value(mariadb_default("'NULL'")), text("NULL"));
        for now in ["current_timestamp()", "CURRENT_TIMESTAMP"] {
            assert_eq!(value(mariadb_default(now)), Some(DefaultValue::CurrentTimestamp(None)), "{now}");
            assert_eq!(value(Some(mysql_default(now, true))), Some(DefaultValue::CurrentTimestamp(None)), "{now}");
        }
        assert_eq!(value(Some(mysql_default("CURRENT_TIMESTAMP(3)", true))), Some(DefaultValue::CurrentTimestamp(Some(3))));
        assert_eq!(value(Some(mysql_default("uuid()", true))), Some(DefaultValue::NewUuid));
        assert_eq!(value(Some(mysql_default("(1 + 2)", true))), None);
        assert_eq!(value(mariadb_default("'a' + 'b'")), None);
    }

    #[test]
    fn bits_are_padded_on_the_left_and_bytes_stay_behind() {
        let bits = typed(constant("b'101'".into()), "bit", "bit(8)");
        assert_eq!(bits.value, Some(DefaultValue::Constant("00000101".into())));
        assert_eq!(typed(constant("0x61".into()), "binary", "binary(1)").value, None);
    }
}
