//! What `SHOW CREATE TABLE` says of a table's parts, in the server's own words: only the same kind of server understands
//! all of them, and `information_schema` prints some of them in a form that no server reads.
//!
//! Read by quotes and parentheses alone, so that words of later versions pass through.

use std::collections::HashMap;

/// The parts of a table, by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Definition {
    pub(super) columns: HashMap<String, ColumnText>,
    /// What follows the index's name.
    pub(super) indexes: HashMap<String, String>,
    /// From the word CHECK on.
    pub(super) checks: HashMap<String, String>,
}

/// A column's part.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ColumnText {
    pub(super) default: Option<String>,
    /// The expression with its parentheses.
    pub(super) generated: Option<String>,
    /// `INVISIBLE`, `SRID 4326`.
    pub(super) attributes: Vec<String>,
}

/// Words that end a default's expression.
const AFTER_DEFAULT: [&str; 12] = [
    "ON",
    "COMMENT",
    "CHECK",
    "INVISIBLE",
    "VISIBLE",
    "AUTO_INCREMENT",
    "COLUMN_FORMAT",
    "STORAGE",
    "WITH",
    "WITHOUT",
    "COMPRESSED",
    "REF_SYSTEM_ID",
];

impl Definition {
    /// Reads the statement; what is not understood is missing in the result.
    pub(super) fn read(statement: &str) -> Definition {
        let mut found = Definition::default();
        let Some(body) = body(statement) else { return found };
        for part in parts(body) {
            found.add(part.trim());
        }
        found
    }

    fn add(&mut self, part: &str) {
        if let Some((name, rest)) = name(part) {
            self.columns.insert(name, ColumnText::read(rest));
            return;
        }
        let Some((head, rest)) = part.split_once('`').map(|(head, _)| (head, &part[head.len()..])) else { return };
        let Some((name, rest)) = name(rest) else { return };
        if head.ends_with("KEY ") {
            self.indexes.insert(name, rest.trim().to_owned());
        } else if head == "CONSTRAINT " && rest.trim_start().starts_with("CHECK") {
            self.checks.insert(name, rest.trim().to_owned());
        }
    }
}

impl ColumnText {
    fn read(text: &str) -> ColumnText {
        let mut found = ColumnText::default();
        let words = words(text);
        let mut words = words.iter().copied().peekable();
        while let Some(word) = words.next() {
            match word.to_ascii_uppercase().as_str() {
                "DEFAULT" => {
                    let mut value: Vec<&str> = words.next().into_iter().collect();
                    while let Some(next) = words.next_if(|next| !AFTER_DEFAULT.contains(&next.to_ascii_uppercase().as_str())) {
                        value.push(next);
                    }
                    found.default = Some(value.join(" ")).filter(|value| !value.eq_ignore_ascii_case("null"));
                }
                "AS" => found.generated = words.next().map(str::to_owned),
                "SRID" => found.attributes.extend(words.next().map(|number| format!("SRID {number}"))),
                "INVISIBLE" => found.attributes.push("INVISIBLE".to_owned()),
                "COMMENT" => {
                    words.next();
                }
                _ => {}
            }
        }
        found
    }
}

/// True when the index is kept and no query uses it.
pub(super) fn is_hidden(index: &str) -> bool {
    words(index).iter().any(|word| matches!(word.to_ascii_uppercase().as_str(), "INVISIBLE" | "IGNORED"))
}

/// Columns that a text names in quotes.
pub(super) fn named_columns<'a>(text: &str, all: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut names: Vec<&str> = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let end = at + step(&text[at..]);
        if first == '`' {
            names.push(&text[at..end]);
        }
        at = end;
    }
    let mut found: Vec<String> =
        all.filter(|column| names.contains(&tidegate_connector::Dialect::MYSQL.identifier(column).as_str())).cloned().collect();
    found.sort();
    found
}

/// The name in quotes at the start, and what follows it.
fn name(text: &str) -> Option<(String, &str)> {
    if !text.starts_with('`') {
        return None;
    }
    let end = step(text);
    let inner = text.get(1..end.saturating_sub(1))?;
    Some((inner.replace("``", "`"), &text[end..]))
}

/// Bytes of what stands at the start: a quoted text or name as a whole, otherwise one letter.
fn step(text: &str) -> usize {
    let Some(quote @ ('\'' | '`' | '"')) = text.chars().next() else { return text.chars().next().map_or(0, char::len_utf8) };
    let mut letters = text.char_indices().skip(1).peekable();
    while let Some((place, letter)) = letters.next() {
        if letter == '\\' && quote != '`' {
            letters.next();
        } else if letter == quote && letters.next_if(|(_, next)| *next == quote).is_none() {
            return place + 1;
        }
    }
    text.len()
}

/// What stands in the first parentheses outside of quotes.
fn body(text: &str) -> Option<&str> {
    let mut at = 0;
    while !text[at..].starts_with('(') {
        at += match step(&text[at..]) {
            0 => return None,
            length => length,
        };
    }
    text[at..].get(1..group(&text[at..])? - 1)
}

/// Bytes of the group in parentheses at the start.
fn group(text: &str) -> Option<usize> {
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(first) = text[at..].chars().next() {
        match first {
            '(' => depth += 1,
            ')' if depth <= 1 => return Some(at + 1),
            ')' => depth -= 1,
            _ => {}
        }
        at += step(&text[at..]);
    }
    None
}

/// The parts between commas that stand in no parentheses.
fn parts(text: &str) -> Vec<&str> {
    let (mut found, mut start, mut at) = (Vec::new(), 0, 0);
    while let Some(first) = text[at..].chars().next() {
        let length = if first == '(' { group(&text[at..]).unwrap_or(text.len() - at) } else { step(&text[at..]) };
        if first == ',' {
            found.push(&text[start..at]);
            start = at + 1;
        }
        at += length;
    }
    found.push(&text[start..]);
    found
}

/// Words; a group in parentheses belongs to the word that it stands behind. The marks of versions are none.
fn words(text: &str) -> Vec<&str> {
    let (mut found, mut start, mut at) = (Vec::new(), 0, 0);
    while at <= text.len() {
        let first = text[at..].chars().next();
        if first.is_none_or(char::is_whitespace) {
            let word = &text[start..at];
            if !word.is_empty() && !word.starts_with("/*!") && word != "*/" {
                found.push(word);
            }
            let Some(first) = first else { break };
            at += first.len_utf8();
            start = at;
        } else {
            at += if first == Some('(') { group(&text[at..]).unwrap_or(text.len() - at) } else { step(&text[at..]) };
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const MYSQL: &str = "CREATE TABLE `odd (x` (\n  `id` bigint unsigned NOT NULL AUTO_INCREMENT,\n  \
        `a` varchar(20) CHARACTER SET latin1 COLLATE latin1_bin NOT NULL DEFAULT 'it''s, (DEFAULT 5' COMMENT 'a, DEFAULT 7',\n  \
        `b` datetime(3) DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),\n  `n` int DEFAULT NULL /*!80023 INVISIBLE */,\n  \
        `g` int GENERATED ALWAYS AS ((`id` + 1)) VIRTUAL COMMENT 'g',\n  `e` json DEFAULT (json_array(_utf8mb4'a)',1)),\n  \
        `p` point NOT NULL /*!80003 SRID 4326 */,\n  PRIMARY KEY (`id`),\n  UNIQUE KEY `u` (`a`(10) DESC),\n  \
        KEY `f``x` ((lower(`a`))) USING BTREE COMMENT 'IGNORED' /*!80000 INVISIBLE */,\n  FULLTEXT KEY `ft` (`a`) /*!50100 WITH PARSER `ngram` */ ,\n  \
        CONSTRAINT `fk` FOREIGN KEY (`n`) REFERENCES `p` (`id`),\n  CONSTRAINT `c` CHECK ((`n` > 1)) /*!80016 NOT ENFORCED */\n) ENGINE=InnoDB";

    #[test]
    fn parts_are_read_in_the_servers_words() {
        let found = Definition::read(MYSQL);
        assert_eq!(found.columns["a"].default.as_deref(), Some("'it''s, (DEFAULT 5'"));
        assert_eq!(found.columns["b"].default.as_deref(), Some("CURRENT_TIMESTAMP(3)"));
        assert_eq!(found.columns["n"], ColumnText { attributes: vec!["INVISIBLE".into()], ..ColumnText::default() });
        assert_eq!(found.columns["g"].generated.as_deref(), Some("((`id` + 1))"));
        assert_eq!(found.columns["e"].default.as_deref(), Some("(json_array(_utf8mb4'a)',1))"));
        assert_eq!(found.columns["p"].attributes, ["SRID 4326"]);
        assert_eq!(found.indexes["u"], "(`a`(10) DESC)");
        assert_eq!(found.indexes["f`x"], "((lower(`a`))) USING BTREE COMMENT 'IGNORED' /*!80000 INVISIBLE */");
        assert!(is_hidden(&found.indexes["f`x"]) && !is_hidden("(`a`) COMMENT 'IGNORED it'"));
        assert_eq!(found.indexes["ft"], "(`a`) /*!50100 WITH PARSER `ngram` */");
        assert_eq!(found.checks["c"], "CHECK ((`n` > 1)) /*!80016 NOT ENFORCED */");
        assert_eq!((found.columns.len(), found.indexes.len(), found.checks.len()), (7, 3, 1));
    }

    #[test]
    fn a_cut_statement_is_read_without_panic() {
        for end in 0..MYSQL.len() {
            if MYSQL.is_char_boundary(end) {
                Definition::read(&MYSQL[..end]);
            }
        }
        let mariadb = Definition::read(
            "x (\n `t` timestamp NOT NULL DEFAULT current_timestamp() ON UPDATE current_timestamp(),\n `d` date DEFAULT (curdate() + interval 1 day),\n `h` int(11) INVISIBLE DEFAULT 5\n)",
        );
        assert_eq!(mariadb.columns["t"].default.as_deref(), Some("current_timestamp()"));
        assert_eq!(mariadb.columns["d"].default.as_deref(), Some("(curdate() + interval 1 day)"));
        assert_eq!((mariadb.columns["h"].default.as_deref(), mariadb.columns["h"].attributes.len()), (Some("5"), 1));
    }

    #[test]
    fn names_in_texts_name_no_columns() {
        let all = ["a".to_owned(), "b".to_owned(), "c`d".to_owned()];
        assert_eq!(named_columns("(concat(`a`,'`b`',`c``d`))", all.iter()), ["a", "c`d"]);
    }
}
