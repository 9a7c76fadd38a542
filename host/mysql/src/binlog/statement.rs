//! Notices what a logged statement does, as far as that matters: it begins or ends a group, empties a table, takes a
//! table away, or changes rows as text.
//!
//! This is no parser. Table descriptions come from table maps; statements are only cut into words, with comments
//! skipped, executable comments opened and quotes honoured, and judged by their first words and the names in them.

use tidegate_model::TableName;

/// What a statement does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Statement {
    Begin,
    Commit,
    Rollback,
    /// Changes nothing for us: savepoints, comments, grants, DDL of other objects.
    Neutral,
    XaStart,
    /// XA COMMIT or XA ROLLBACK; the rest of the text names the transaction.
    XaFinish {
        commit: bool,
        name: String,
    },
    /// Rows changed by text.
    Dml(String),
    Truncate(TableName),
    /// DDL of tables of the scope that takes them away or moves rows without logging them.
    Breaks {
        table: TableName,
        how: &'static str,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// Upper case.
    Word(String, String),
    Quoted(String),
    Text,
    Symbol(char),
}

impl Token {
    fn word(&self) -> &str {
        match self {
            Token::Word(upper, _) => upper,
            Token::Quoted(_) | Token::Text | Token::Symbol(_) => "",
        }
    }

    fn name(&self) -> Option<&str> {
        match self {
            Token::Word(_, name) | Token::Quoted(name) => Some(name),
            Token::Text | Token::Symbol(_) => None,
        }
    }
}

/// Judges a statement. `scope` are the tables that matter.
pub(crate) fn judge<'s>(text: &[u8], database: &str, scope: impl Iterator<Item = &'s TableName> + Clone) -> Statement {
    let text = String::from_utf8_lossy(text);
    let tokens = tokens(&text);
    let word = |index: usize| tokens.get(index).map_or("", Token::word);
    match word(0) {
        "BEGIN" => Statement::Begin,
        "START" if word(1) == "TRANSACTION" => Statement::Begin,
        "COMMIT" => Statement::Commit,
        "ROLLBACK" if !tokens.iter().any(|token| token.word() == "TO") => Statement::Rollback,
        "XA" => match word(1) {
            "START" | "BEGIN" => Statement::XaStart,
            "COMMIT" | "ROLLBACK" => {
                let name = text.trim().splitn(3, char::is_whitespace).nth(2).unwrap_or_default().trim().to_owned();
                Statement::XaFinish { commit: word(1) == "COMMIT", name }
            }
            _ => Statement::Neutral,
        },
        verb @ ("INSERT" | "UPDATE" | "DELETE" | "REPLACE" | "LOAD" | "WITH" | "CALL" | "DO" | "IMPORT") => Statement::Dml(verb.to_owned()),
        "TRUNCATE" => {
            let start = if word(1) == "TABLE" { 2 } else { 1 };
            match table_at(&tokens, start, database) {
                Some((table, _)) => Statement::Truncate(table),
                None => Statement::Neutral,
            }
        }
        "DROP" | "RENAME" | "ALTER" | "CREATE" => ddl(&tokens, database, scope),
        _ => Statement::Neutral,
    }
}

fn ddl<'s>(tokens: &[Token], database: &str, scope: impl Iterator<Item = &'s TableName> + Clone) -> Statement {
    let words: Vec<&str> = tokens.iter().map(Token::word).collect();
    let has = |wanted: &str| words.contains(&wanted);
    let table_place = words.iter().take(5).position(|word| matches!(*word, "TABLE" | "TABLES"));
    let how = match words.first().copied().unwrap_or_default() {
        "DROP" if matches!(words.get(1), Some(&"DATABASE" | &"SCHEMA")) => {
            let gone = tokens.iter().skip(2).filter_map(Token::name).collect::<Vec<_>>();
            let table = scope.clone().find(|table| gone.iter().any(|name| name.eq_ignore_ascii_case(&table.schema)));
            return table.map_or(Statement::Neutral, |table| Statement::Breaks { table: table.clone(), how: "DROP DATABASE" });
        }
        "DROP" if table_place.is_some() && words.get(1) != Some(&"TEMPORARY") => "DROP TABLE",
        "RENAME" if table_place.is_some() => "RENAME TABLE",
        "CREATE" if table_place.is_some() && words.get(1) == Some(&"OR") && !has("TEMPORARY") => "CREATE OR REPLACE TABLE",
        "ALTER" if table_place.is_some() && alter_breaks(&words) => "ALTER TABLE that renames it or moves whole partitions",
        _ => return Statement::Neutral,
    };
    // ALTER and CREATE name one table first; DROP and RENAME may name many, and a name anywhere counts.
    let first_only = how.starts_with("ALTER") || how.starts_with("CREATE");
    let mut index = table_place.map_or(0, |place| place + 1);
    while index < tokens.len() {
        if let Some((found, next)) = table_at(tokens, index, database) {
            let same =
                |table: &&TableName| table.schema.eq_ignore_ascii_case(&found.schema) && table.name.eq_ignore_ascii_case(&found.name);
            if let Some(table) = scope.clone().find(same) {
                return Statement::Breaks { table: table.clone(), how };
            }
            index = next;
            let option = matches!(tokens[next - 1].word(), "IF" | "NOT" | "EXISTS" | "ONLINE" | "IGNORE");
            if first_only && !option && !how.starts_with("ALTER") {
                break;
            }
        } else {
            index += 1;
        }
    }
    Statement::Neutral
}

fn alter_breaks(words: &[&str]) -> bool {
    let partition = words.contains(&"PARTITION") && ["TRUNCATE", "EXCHANGE", "DROP"].iter().any(|verb| words.contains(verb));
    let tablespace = words.contains(&"TABLESPACE") && ["DISCARD", "IMPORT"].iter().any(|verb| words.contains(verb));
    let renames = words.windows(2).any(|pair| pair[0] == "RENAME" && !matches!(pair[1], "COLUMN" | "INDEX" | "KEY"));
    partition || tablespace || renames
}

/// The table named at `index` and the index after it.
fn table_at(tokens: &[Token], index: usize, database: &str) -> Option<(TableName, usize)> {
    let first = tokens.get(index)?.name()?;
    if tokens.get(index + 1) == Some(&Token::Symbol('.'))
        && let Some(second) = tokens.get(index + 2).and_then(Token::name)
    {
        return Some((TableName::new(first, second), index + 3));
    }
    Some((TableName::new(database, first), index + 1))
}

fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut letters = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        let rest = &text[at..];
        match letter {
            _ if letter.is_whitespace() => {}
            '#' => skip_line(&mut letters),
            '-' if rest.starts_with("-- ") || rest == "--" || rest.starts_with("--\n") || rest.starts_with("--\t") => {
                skip_line(&mut letters)
            }
            '/' if rest.starts_with("/*") => {
                let executable = rest.starts_with("/*!") || rest.starts_with("/*M!");
                letters.next();
                if executable {
                    while letters.peek().is_some_and(|(_, next)| matches!(next, '!' | 'M') || next.is_ascii_digit()) {
                        letters.next();
                    }
                } else {
                    let end = rest.get(2..).and_then(|inside| inside.find("*/")).map_or(text.len(), |length| at + length + 4);
                    while letters.peek().is_some_and(|(next, _)| *next < end) {
                        letters.next();
                    }
                }
            }
            // The end of an executable comment.
            '*' if rest.starts_with("*/") => drop(letters.next()),
            '`' | '"' => found.push(Token::Quoted(quoted(&mut letters, letter))),
            '\'' => {
                quoted(&mut letters, letter);
                found.push(Token::Text);
            }
            _ if letter.is_alphanumeric() || matches!(letter, '_' | '$') => {
                let mut word = String::from(letter);
                while let Some((_, next)) = letters.next_if(|(_, next)| next.is_alphanumeric() || matches!(next, '_' | '$')) {
                    word.push(next);
                }
                found.push(Token::Word(word.to_ascii_uppercase(), word));
            }
            symbol => found.push(Token::Symbol(symbol)),
        }
    }
    found
}

fn skip_line(letters: &mut std::iter::Peekable<std::str::CharIndices<'_>>) {
    for (_, letter) in letters.by_ref() {
        if letter == '\n' {
            return;
        }
    }
}

/// What stands between quotes; a doubled quote is one, and a backslash escapes outside identifiers.
fn quoted(letters: &mut std::iter::Peekable<std::str::CharIndices<'_>>, quote: char) -> String {
    let mut inside = String::new();
    while let Some((_, letter)) = letters.next() {
        if letter == '\\' && quote == '\'' {
            inside.extend(letters.next().map(|(_, next)| next));
        } else if letter != quote {
            inside.push(letter);
        } else if letters.next_if(|(_, next)| *next == quote).is_some() {
            inside.push(quote);
        } else {
            break;
        }
    }
    inside
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(text: &str) -> Statement {
        let scope = [TableName::new("shop", "orders"), TableName::new("shop", "odd`name")];
        judge(text.as_bytes(), "shop", scope.iter())
    }

    #[test]
    fn statements_are_judged_by_what_they_do() {
        let orders = || TableName::new("shop", "orders");
        let breaks = |how| Statement::Breaks { table: orders(), how };
        let cases = [
            ("BEGIN", Statement::Begin),
            ("/* hi */ commit", Statement::Commit),
            ("ROLLBACK TO `s`", Statement::Neutral),
            ("# Dum", Statement::Neutral),
            ("truncate/**/table `shop`.`orders`", Statement::Truncate(orders())),
            ("TRUNCATE orders", Statement::Truncate(orders())),
            ("TRUNCATE \"odd`name\"", Statement::Truncate(TableName::new("shop", "odd`name"))),
            ("/*!80000 insert into t values ('x') */", Statement::Dml("INSERT".into())),
            ("DROP TABLE IF EXISTS `a`,`shop`.`orders` /* generated by server */", breaks("DROP TABLE")),
            ("DROP TEMPORARY TABLE orders", Statement::Neutral),
            ("DROP TABLE other.orders", Statement::Neutral),
            ("rename table t to _t_del, _t_gho to orders", breaks("RENAME TABLE")),
            ("ALTER TABLE orders ADD COLUMN rename_me int", Statement::Neutral),
            ("ALTER TABLE orders RENAME COLUMN a TO b", Statement::Neutral),
            ("alter table orders rename to o2", breaks("ALTER TABLE that renames it or moves whole partitions")),
            ("CREATE OR REPLACE TABLE orders (a int)", breaks("CREATE OR REPLACE TABLE")),
            ("CREATE TABLE orders (a int)", Statement::Neutral),
            ("drop database shop", breaks("DROP DATABASE")),
            ("XA START X'61',X'',1", Statement::XaStart),
            ("grant all on *.* to x", Statement::Neutral),
        ];
        for (text, wanted) in cases {
            assert_eq!(judged(text), wanted, "{text}");
        }
    }
}
