//! Notices what a logged statement does, as far as that matters: it begins or ends a group, empties a table, takes a
//! table away, or changes rows as text.
//!
//! This is no parser. Table descriptions come from table maps; statements are only cut into words, with comments
//! skipped, executable comments opened and quotes honoured, and judged by their first words and the names in them.

use tidegate_model::{TableName, Upheaval};

/// What a statement does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Statement {
    Begin,
    Commit,
    Rollback,
    /// Takes back what the group did since a savepoint; logged only where rows were logged that it takes back.
    RollbackTo,
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
    Breaks(Vec<(TableName, Upheaval)>),
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

/// True for a statement about tables whose names cannot be read: it stands in the log in the character set of the session
/// that sent it. Names in ASCII are the same in all of them.
pub(crate) fn is_illegible<'s>(text: &[u8], mut scope: impl Iterator<Item = &'s TableName>) -> bool {
    std::str::from_utf8(text).is_err()
        && matches!(
            tokens(&String::from_utf8_lossy(text)).first().map_or("", Token::word),
            "TRUNCATE" | "DROP" | "RENAME" | "ALTER" | "CREATE"
        )
        && scope.any(|table| !table.schema.is_ascii() || !table.name.is_ascii())
}

/// The table to which a statement gives a foreign key with actions.
pub(crate) fn gets_cascade(text: &[u8], database: &str) -> Option<TableName> {
    let tokens = tokens(&String::from_utf8_lossy(text));
    let words: Vec<&str> = tokens.iter().map(Token::word).collect();
    let acts = words
        .windows(3)
        .any(|three| three[0] == "ON" && matches!(three[1], "DELETE" | "UPDATE") && (three[2] == "CASCADE" || three[2] == "SET"));
    if words.first() != Some(&"ALTER") || !words.contains(&"REFERENCES") || !acts {
        return None;
    }
    let mut place = words.iter().take(5).position(|word| *word == "TABLE")? + 1;
    while matches!(words.get(place), Some(&"IF" | &"EXISTS")) {
        place += 1;
    }
    table_at(&tokens, place, database).map(|(table, _)| table)
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
        "ROLLBACK" if tokens.iter().any(|token| token.word() == "TO") => Statement::RollbackTo,
        "ROLLBACK" => Statement::Rollback,
        "XA" => match word(1) {
            "START" | "BEGIN" => Statement::XaStart,
            "COMMIT" | "ROLLBACK" => {
                let name = text.trim().splitn(3, char::is_whitespace).nth(2).unwrap_or_default().trim().to_owned();
                Statement::XaFinish { commit: word(1) == "COMMIT", name }
            }
            _ => Statement::Neutral,
        },
        // SELECT: a stored function that changes rows is logged as its call.
        verb @ ("INSERT" | "UPDATE" | "DELETE" | "REPLACE" | "LOAD" | "WITH" | "CALL" | "DO" | "SELECT" | "IMPORT") => {
            Statement::Dml(verb.to_owned())
        }
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
    let in_scope = |found: &TableName| scope.clone().find(|table| same(table, found)).cloned();
    if words.first() == Some(&"DROP") && matches!(words.get(1), Some(&"DATABASE" | &"SCHEMA")) {
        let gone: Vec<&str> = tokens.iter().skip(2).filter_map(Token::name).collect();
        let tables = scope.clone().filter(|table| gone.iter().any(|name| name.eq_ignore_ascii_case(&table.schema)));
        return breaks(tables.map(|table| (table.clone(), Upheaval::Dropped)).collect());
    }
    let Some(place) = words.iter().take(5).position(|word| matches!(*word, "TABLE" | "TABLES")) else { return Statement::Neutral };
    match words.first().copied().unwrap_or_default() {
        "DROP" | "RENAME" if words.get(1) != Some(&"TEMPORARY") => {
            let upheaval = if words[0] == "DROP" { Upheaval::Dropped } else { Upheaval::Renamed };
            breaks(names(tokens, place + 1, database).iter().filter_map(in_scope).map(|table| (table, upheaval)).collect())
        }
        "CREATE" if words.get(1) == Some(&"OR") && !words[..place].contains(&"TEMPORARY") => {
            let table = first_table(tokens, place + 1, database).and_then(|(table, _)| in_scope(&table));
            breaks(table.map(|table| (table, Upheaval::Dropped)).into_iter().collect())
        }
        "ALTER" => alter(tokens, place, database, in_scope),
        _ => Statement::Neutral,
    }
}

fn breaks(mut tables: Vec<(TableName, Upheaval)>) -> Statement {
    tables.sort();
    tables.dedup();
    if tables.is_empty() { Statement::Neutral } else { Statement::Breaks(tables) }
}

fn same(one: &TableName, two: &TableName) -> bool {
    one.schema.eq_ignore_ascii_case(&two.schema) && one.name.eq_ignore_ascii_case(&two.name)
}

/// `ALTER TABLE`: a name, and clauses with commas between them.
fn alter(tokens: &[Token], place: usize, database: &str, in_scope: impl Fn(&TableName) -> Option<TableName>) -> Statement {
    let Some((named, next)) = first_table(tokens, place + 1, database) else { return Statement::Neutral };
    let mut found = Vec::new();
    // With IGNORE, rows that trip over a new unique key go without a trace.
    if tokens[..place].iter().any(|token| token.word() == "IGNORE") {
        found.push((named.clone(), Upheaval::Moved));
    }
    for clause in clauses(&tokens[next..]) {
        let Some(upheaval) = clause_upheaval(clause) else { continue };
        found.push((named.clone(), upheaval));
        // The table on the other side of an exchange, or one that becomes a partition.
        if upheaval == Upheaval::Moved
            && let Some(other) = clause.iter().position(|token| token.word() == "TABLE")
            && let Some((other, _)) = table_at(clause, other + 1, database)
        {
            found.push((other, Upheaval::Moved));
        }
    }
    breaks(found.into_iter().filter_map(|(table, upheaval)| Some((in_scope(&table)?, upheaval))).collect())
}

/// What stands between the commas that are in no parentheses. Options before the first clause are cut off.
fn clauses(tokens: &[Token]) -> Vec<&[Token]> {
    let mut start = 0;
    while let Some(token) = tokens.get(start) {
        match token.word() {
            "WAIT" => start += 2,
            "NOWAIT" => start += 1,
            _ => break,
        }
    }
    let (mut found, mut depth) = (Vec::new(), 0_usize);
    for (index, token) in tokens.iter().enumerate().skip(start) {
        match token {
            Token::Symbol('(') => depth += 1,
            Token::Symbol(')') => depth = depth.saturating_sub(1),
            Token::Symbol(',') if depth == 0 => {
                found.push(&tokens[start..index]);
                start = index + 1;
            }
            Token::Word(..) | Token::Quoted(_) | Token::Text | Token::Symbol(_) => {}
        }
    }
    found.push(tokens.get(start..).unwrap_or_default());
    found
}

/// What a clause does to rows that are there; `None` where they stay what they are. Sources: MySQL manual, "ALTER TABLE
/// Statement"; MariaDB's documentation, "ALTER TABLE".
fn clause_upheaval(clause: &[Token]) -> Option<Upheaval> {
    /// What `ADD` and `DROP` may be followed by where that is no column.
    const NO_COLUMN: [&str; 14] = [
        "INDEX",
        "KEY",
        "UNIQUE",
        "PRIMARY",
        "FOREIGN",
        "FULLTEXT",
        "SPATIAL",
        "VECTOR",
        "CONSTRAINT",
        "CHECK",
        "PERIOD",
        "SYSTEM",
        "PARTITION",
        "PARTITIONS",
    ];
    let word = |index: usize| clause.get(index).map_or("", Token::word);
    let of_column = !NO_COLUMN.contains(&word(1));
    match word(0) {
        "ADD" => of_column.then_some(Upheaval::ColumnAdded),
        "DROP" if word(1) == "PARTITION" => Some(Upheaval::Moved),
        "DROP" => of_column.then_some(Upheaval::ColumnDropped),
        "CHANGE" => Some(Upheaval::ColumnRenamed),
        "MODIFY" => Some(Upheaval::ColumnRetyped),
        "RENAME" => match word(1) {
            "COLUMN" => Some(Upheaval::ColumnRenamed),
            "INDEX" | "KEY" => None,
            _ => Some(Upheaval::Renamed),
        },
        "CONVERT" if word(1) == "TO" => Some(Upheaval::ColumnRetyped),
        "TRUNCATE" | "EXCHANGE" | "DISCARD" | "IMPORT" | "CONVERT" => Some(Upheaval::Moved),
        _ => None,
    }
}

/// The first name of a table from `index` on, behind what may stand before it, and the index after it.
fn first_table(tokens: &[Token], index: usize, database: &str) -> Option<(TableName, usize)> {
    let between = tokens.iter().skip(index).take_while(|token| matches!(token.word(), "IF" | "NOT" | "EXISTS")).count();
    table_at(tokens, index + between, database)
}

/// Everything from `index` on that may be a table's name, in order. Keywords are among them: they are no table's name,
/// or one is quoted.
fn names(tokens: &[Token], index: usize, database: &str) -> Vec<TableName> {
    const BETWEEN: [&str; 10] = ["IF", "NOT", "EXISTS", "TO", "AS", "ONLINE", "IGNORE", "WAIT", "NOWAIT", "RESTRICT"];
    let mut named = Vec::new();
    let mut index = index;
    while index < tokens.len() {
        match table_at(tokens, index, database) {
            Some((table, next)) => {
                if next != index + 1 || !BETWEEN.contains(&tokens[index].word()) {
                    named.push(table);
                }
                index = next;
            }
            None => index += 1,
        }
    }
    named
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
    fn names_in_another_character_set_are_not_guessed() {
        let scope = [TableName::new("shop", "café")];
        assert!(is_illegible(b"truncate table caf\xe9", scope.iter()));
        assert!(!is_illegible("truncate table café".as_bytes(), scope.iter()));
        assert!(!is_illegible(b"grant all on caf\xe9.* to x", scope.iter()));
        assert!(!is_illegible(b"truncate table caf\xe9", [TableName::new("shop", "orders")].iter()));
    }

    #[test]
    fn foreign_keys_with_actions_are_seen() {
        let cases = [
            ("alter table child add foreign key (p) references parent (id) on delete cascade", true),
            ("ALTER TABLE IF EXISTS `shop`.`child` ADD CONSTRAINT c FOREIGN KEY (p) REFERENCES parent (id) ON UPDATE SET NULL", true),
            ("alter table child add foreign key (p) references parent (id) on delete restrict", false),
            ("alter table child drop foreign key c, comment 'references on delete cascade'", false),
            ("create table child (p int references parent (id) on delete cascade)", false),
        ];
        for (text, acts) in cases {
            let found = gets_cascade(text.as_bytes(), "shop");
            assert_eq!(found, acts.then(|| TableName::new("shop", "child")), "{text}");
        }
    }

    #[test]
    fn statements_are_judged_by_what_they_do() {
        let orders = || TableName::new("shop", "orders");
        let breaks = |upheaval| Statement::Breaks(vec![(orders(), upheaval)]);
        let cases = [
            ("BEGIN", Statement::Begin),
            ("/* hi */ commit", Statement::Commit),
            ("ROLLBACK TO `s`", Statement::RollbackTo),
            ("rollback", Statement::Rollback),
            ("SAVEPOINT `s`", Statement::Neutral),
            ("SELECT `shop`.`f`(1)", Statement::Dml("SELECT".into())),
            ("# Dum", Statement::Neutral),
            ("truncate/**/table `shop`.`orders`", Statement::Truncate(orders())),
            ("TRUNCATE orders", Statement::Truncate(orders())),
            ("TRUNCATE \"odd`name\"", Statement::Truncate(TableName::new("shop", "odd`name"))),
            ("/*!80000 insert into t values ('x') */", Statement::Dml("INSERT".into())),
            ("DROP TABLE IF EXISTS `a`,`shop`.`orders` /* generated by server */", breaks(Upheaval::Dropped)),
            ("DROP TEMPORARY TABLE orders", Statement::Neutral),
            ("DROP TABLE other.orders", Statement::Neutral),
            ("rename table t to _t_del, _t_gho to orders", breaks(Upheaval::Renamed)),
            (
                "rename /* gh-ost */ table `shop`.`orders` to `shop`.`_orders_del`, `shop`.`_orders_gho` to `shop`.`orders`",
                breaks(Upheaval::Renamed),
            ),
            ("RENAME TABLE IF EXISTS orders TO archive.orders", breaks(Upheaval::Renamed)),
            (
                "drop table orders, `odd``name`",
                Statement::Breaks(vec![(TableName::new("shop", "odd`name"), Upheaval::Dropped), (orders(), Upheaval::Dropped)]),
            ),
            ("ALTER TABLE orders ADD COLUMN rename_me int", breaks(Upheaval::ColumnAdded)),
            ("alter table `shop`.`orders` add (a int, b int)", breaks(Upheaval::ColumnAdded)),
            ("ALTER TABLE orders ADD `index` int", breaks(Upheaval::ColumnAdded)),
            ("ALTER TABLE orders ADD INDEX i (a, b), ADD UNIQUE KEY (c), ENGINE=InnoDB", Statement::Neutral),
            ("ALTER TABLE orders ADD PRIMARY KEY (a), DROP KEY k, DROP FOREIGN KEY f", Statement::Neutral),
            (
                "ALTER TABLE orders DROP a, ADD a int DEFAULT (concat('x', 'y')), COMMENT 'drop me'",
                Statement::Breaks(vec![(orders(), Upheaval::ColumnAdded), (orders(), Upheaval::ColumnDropped)]),
            ),
            ("alter table orders drop column if exists a", breaks(Upheaval::ColumnDropped)),
            ("ALTER TABLE orders WAIT 5 MODIFY a bigint", breaks(Upheaval::ColumnRetyped)),
            ("ALTER TABLE IF EXISTS orders CONVERT TO CHARACTER SET utf8mb4", breaks(Upheaval::ColumnRetyped)),
            ("ALTER TABLE orders RENAME COLUMN a TO b", breaks(Upheaval::ColumnRenamed)),
            ("ALTER TABLE orders CHANGE a b int", breaks(Upheaval::ColumnRenamed)),
            ("ALTER TABLE orders RENAME INDEX a TO b", Statement::Neutral),
            ("ALTER TABLE orders ALTER COLUMN a SET DEFAULT 3", Statement::Neutral),
            ("ALTER TABLE other ADD COLUMN orders int", Statement::Neutral),
            ("alter table orders rename to o2", breaks(Upheaval::Renamed)),
            ("alter table p exchange partition p0 with table orders", breaks(Upheaval::Moved)),
            ("alter table orders drop partition p0", breaks(Upheaval::Moved)),
            ("alter table orders add partition (partition p1 values less than (10))", Statement::Neutral),
            ("ALTER IGNORE TABLE orders ADD UNIQUE (a)", breaks(Upheaval::Moved)),
            ("CREATE OR REPLACE TABLE orders (a int)", breaks(Upheaval::Dropped)),
            ("CREATE OR REPLACE TABLE other as select * from orders", Statement::Neutral),
            ("CREATE TABLE orders (a int)", Statement::Neutral),
            ("drop database other", Statement::Neutral),
            ("XA START X'61',X'',1", Statement::XaStart),
            ("grant all on *.* to x", Statement::Neutral),
        ];
        for (text, wanted) in cases {
            assert_eq!(judged(text), wanted, "{text}");
        }
    }
}
