//! Whether a generated column's expression gives the same value in every session, so that the target may compute it from
//! the values that were replicated.
//!
//! Servers take expressions that depend on the session's zone, mode and character sets. Only what is known not to is
//! computed at the target; every other generated column becomes a plain one with the source's values.

use tidegate_model::{Column, SqlType};

/// Functions that depend on nothing but their arguments.
const FUNCTIONS: &[&str] = &[
    "abs",
    "ceil",
    "ceiling",
    "char_length",
    "character_length",
    "coalesce",
    "concat",
    "concat_ws",
    "crc32",
    "floor",
    "greatest",
    "hex",
    "if",
    "ifnull",
    "in",
    "json_extract",
    "json_length",
    "json_unquote",
    "lcase",
    "least",
    "left",
    "length",
    "lower",
    "lpad",
    "ltrim",
    "md5",
    "mid",
    "nullif",
    "octet_length",
    "quarter",
    "replace",
    "reverse",
    "right",
    "rpad",
    "rtrim",
    "sha1",
    "sha2",
    "sign",
    "substr",
    "substring",
    "trim",
    "ucase",
    "upper",
    "year",
    "month",
    "dayofmonth",
    "hour",
    "minute",
    "second",
];

/// Words that are no functions.
const WORDS: &[&str] = &[
    "and", "between", "both", "case", "else", "end", "false", "from", "in", "is", "leading", "not", "null", "or", "then", "trailing",
    "true", "when", "xor",
];

const SIGNS: &[char] = &['(', ')', ',', '=', '<', '>', '!', '.'];

/// True when the server computes what the source's did, whatever the session. `named` are the columns of the expression.
pub(super) fn is_repeatable(expression: &str, named: &[&Column]) -> bool {
    // Its value as a calendar depends on the zone.
    if named.iter().any(|column| column.sql_type == SqlType::TimestampTz) {
        return false;
    }
    let is_signed_number = |column: &&Column| {
        matches!(column.sql_type, SqlType::Int8 | SqlType::Int16 | SqlType::Int32 | SqlType::Int64 | SqlType::Decimal { .. })
            && !column.native_type.to_ascii_lowercase().contains("unsigned")
    };
    // Texts are read as numbers with warnings or errors, differences of unsigned numbers by the mode.
    let may_calculate = named.iter().all(is_signed_number);
    let mut rest = expression.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '`' | '\'' => quoted(rest),
            '+' | '-' | '*' if may_calculate => 1,
            _ if SIGNS.contains(&first) => 1,
            '0'..='9' => rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '.').unwrap_or(rest.len()),
            '_' | 'a'..='z' | 'A'..='Z' => {
                let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(rest.len());
                let (word, next) = (rest[..end].to_ascii_lowercase(), rest[end..].trim_start().chars().next());
                let is_known = match next {
                    // The character set before a text.
                    Some('\'') => word.starts_with('_'),
                    Some('(') => FUNCTIONS.contains(&word.as_str()) || WORDS.contains(&word.as_str()),
                    _ => WORDS.contains(&word.as_str()),
                };
                if !is_known {
                    return false;
                }
                end
            }
            _ => return false,
        };
        rest = rest[length..].trim_start();
    }
    true
}

/// Bytes of a quoted text or name.
fn quoted(text: &str) -> usize {
    let quote = text.chars().next().unwrap_or('\'');
    let mut letters = text.char_indices().skip(1).peekable();
    while let Some((place, letter)) = letters.next() {
        if letter == '\\' && quote == '\'' {
            letters.next();
        } else if letter == quote && letters.next_if(|(_, next)| *next == quote).is_none() {
            return place + 1;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(sql_type: SqlType, native: &str) -> Column {
        Column { name: "c".into(), sql_type, native_type: native.into(), collation: None, nullable: true, generated: false }
    }

    #[test]
    fn only_what_depends_on_no_session_is_repeatable() {
        let (int, unsigned) = (column(SqlType::Int32, "int"), column(SqlType::UInt32, "int unsigned"));
        let (text, instant) = (column(SqlType::Text { chars_max: Some(9) }, "varchar(9)"), column(SqlType::TimestampTz, "timestamp"));
        let cases: [(&str, &[&Column], bool); 14] = [
            ("((`c` + 1) * 2)", &[&int], true),
            ("(`c` - 1)", &[&unsigned], false),
            ("(`c` + 1)", &[&text], false),
            ("(`c` / 2)", &[&int], false),
            ("concat(`c`,_utf8mb4' it\\'s (now())',lower(`c`))", &[&text], true),
            ("(case when (`c` > 5) then _utf8mb4'x' else NULL end)", &[&int], true),
            ("json_unquote(json_extract(`c`,_utf8mb4'$.a'))", &[&column(SqlType::Json, "json")], true),
            ("year(`c`)", &[&column(SqlType::Timestamp, "datetime")], true),
            ("year(`c`)", &[&instant], false),
            ("date_format(`c`,_utf8mb4'%Y')", &[&column(SqlType::Date, "date")], false),
            ("cast(`c` as char)", &[&int], false),
            ("(`c` || 1)", &[&int], false),
            ("unix_timestamp()", &[], false),
            ("current_user", &[], false),
        ];
        for (expression, named, wanted) in cases {
            assert_eq!(is_repeatable(expression, named), wanted, "{expression}");
        }
    }
}
