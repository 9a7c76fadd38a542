//! Quoting of identifiers and text literals: differences between dialects as data, the algorithm once.

use tidegate_model::TableName;

/// How a kind of database spells names and texts in SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// Around an identifier; doubled inside it.
    identifier_quote: char,
    /// True where a backslash inside a literal escapes (MySQL without NO_BACKSLASH_ESCAPES).
    backslash_escapes: bool,
}

impl Dialect {
    /// PostgreSQL, with `standard_conforming_strings` on (its default, and pinned on our sessions).
    pub const POSTGRES: Dialect = Dialect { identifier_quote: '"', backslash_escapes: false };
    /// MySQL and MariaDB without ANSI_QUOTES and NO_BACKSLASH_ESCAPES (pinned on our sessions).
    pub const MYSQL: Dialect = Dialect { identifier_quote: '`', backslash_escapes: true };

    /// A quoted identifier. Any name is safe: `weird"name` becomes `"weird""name"`.
    pub fn identifier(&self, name: &str) -> String {
        let quote = self.identifier_quote;
        let mut text = String::with_capacity(name.len() + 2);
        text.push(quote);
        for letter in name.chars() {
            if letter == quote {
                text.push(quote);
            }
            text.push(letter);
        }
        text.push(quote);
        text
    }

    /// A quoted `schema.table`.
    pub fn table(&self, table: &TableName) -> String {
        format!("{}.{}", self.identifier(&table.schema), self.identifier(&table.name))
    }

    /// A text literal with its quotes.
    pub fn literal(&self, value: &str) -> String {
        let mut text = String::with_capacity(value.len() + 2);
        text.push('\'');
        for letter in value.chars() {
            if letter == '\'' || (letter == '\\' && self.backslash_escapes) {
                text.push(letter);
            }
            text.push(letter);
        }
        text.push('\'');
        text
    }

    /// Quoted identifiers joined by a comma and a blank.
    pub fn identifiers<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> String {
        names.into_iter().map(|name| self.identifier(name)).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_inside_names_and_texts_are_doubled() {
        assert_eq!(Dialect::POSTGRES.identifier(r#"a"b"#), r#""a""b""#);
        assert_eq!(Dialect::MYSQL.identifier("a`b"), "`a``b`");
        assert_eq!(Dialect::POSTGRES.literal(r"o'clock \n"), r"'o''clock \n'");
        assert_eq!(Dialect::MYSQL.literal(r"o'clock \n"), r"'o''clock \\n'");
        assert_eq!(Dialect::POSTGRES.table(&TableName::new("s", "T.a")), r#""s"."T.a""#);
    }
}
