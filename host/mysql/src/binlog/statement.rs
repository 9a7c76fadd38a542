//! Notices what a logged statement does, as far as that matters: it begins or ends a group, empties a table, takes a
//! table away, or changes rows as text.
//!
//! This is no parser. Table descriptions come from table maps; statements are only cut into words (`words.rs`) and judged
//! by the first of them and the names among them. Whether two names are one table's is a matter of the server.

use tidegate_model::{TableName, Upheaval};

use super::words::{SqlModes, Token, tokens};

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

/// How a server compares the names of databases and tables: `lower_case_table_names`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NameCase {
    /// `T` and `t` are two tables (0).
    Exact,
    /// They are one (1 and 2).
    Folded,
}

impl NameCase {
    pub(crate) fn same(self, one: &TableName, other: &TableName) -> bool {
        self.same_word(&one.schema, &other.schema) && self.same_word(&one.name, &other.name)
    }

    fn same_word(self, one: &str, other: &str) -> bool {
        one == other || (self == NameCase::Folded && one.to_lowercase() == other.to_lowercase())
    }
}

/// In what a statement was said.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Said<'a> {
    /// The session's default database.
    pub(crate) database: &'a str,
    pub(crate) modes: SqlModes,
    pub(crate) names: NameCase,
}

/// True for a statement about tables whose names cannot be read: it stands in the log in the character set of the session
/// that sent it. Names in ASCII are the same in all of them.
pub(crate) fn is_illegible<'s>(text: &[u8], mut scope: impl Iterator<Item = &'s TableName>) -> bool {
    std::str::from_utf8(text).is_err()
        && matches!(
            // The first word stands before any quote.
            tokens(&String::from_utf8_lossy(text), SqlModes::default()).first().map_or("", Token::word),
            "TRUNCATE" | "DROP" | "RENAME" | "ALTER" | "CREATE"
        )
        && scope.any(|table| !table.schema.is_ascii() || !table.name.is_ascii())
}

/// The table to which a statement gives a foreign key with actions.
pub(crate) fn gets_cascade(text: &[u8], said: &Said<'_>) -> Option<TableName> {
    let tokens = tokens(&String::from_utf8_lossy(text), said.modes);
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
    table_at(&tokens, place, said.database).map(|(table, _)| table)
}

/// Judges a statement. `scope` are the tables that matter.
pub(crate) fn judge<'s>(text: &[u8], said: &Said<'_>, scope: impl Iterator<Item = &'s TableName> + Clone) -> Statement {
    let text = String::from_utf8_lossy(text);
    let tokens = tokens(&text, said.modes);
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
        _ if is_of_a_managed_service(&tokens) => Statement::Neutral,
        // SELECT: a stored function that changes rows is logged as its call.
        verb @ ("INSERT" | "UPDATE" | "DELETE" | "REPLACE" | "LOAD" | "WITH" | "CALL" | "DO" | "SELECT" | "IMPORT") => {
            Statement::Dml(verb.to_owned())
        }
        "TRUNCATE" => {
            let start = if word(1) == "TABLE" { 2 } else { 1 };
            match table_at(&tokens, start, said.database) {
                Some((table, _)) => Statement::Truncate(table),
                None => Statement::Neutral,
            }
        }
        "DROP" | "RENAME" | "ALTER" | "CREATE" => ddl(&tokens, said, scope),
        _ => Statement::Neutral,
    }
}

/// What Amazon RDS writes into tables of its own, as text whatever `binlog_format` says: `INSERT INTO
/// mysql.rds_heartbeat2(id, value) values (1, …) ON DUPLICATE KEY UPDATE …`. True only for one that names such a table and
/// calls and reads nothing, so that no other table can change by it; tables of that database have no triggers.
/// Source: the statements that Debezium's schema history leaves out by default (`ddl.filter`).
fn is_of_a_managed_service(tokens: &[Token]) -> bool {
    let place = match (tokens.first().map_or("", Token::word), tokens.get(1).map_or("", Token::word)) {
        ("INSERT" | "REPLACE", "INTO") | ("DELETE", "FROM") => 2,
        _ => return false,
    };
    let Some((table, next)) = table_at(tokens, place, "") else { return false };
    let calls = tokens.iter().enumerate().skip(next).any(|(index, token)| {
        let is_called =
            tokens.get(index + 1) == Some(&Token::Symbol('(')) && !matches!(token.word(), "VALUES" | "VALUE" | "IN" | "AND" | "OR");
        (token.name().is_some() && is_called) || matches!(token.word(), "SELECT" | "TABLE" | "USING" | "JOIN")
    });
    table.schema.eq_ignore_ascii_case("mysql") && table.name.to_ascii_lowercase().starts_with("rds_") && !calls
}

fn ddl<'s>(tokens: &[Token], said: &Said<'_>, scope: impl Iterator<Item = &'s TableName> + Clone) -> Statement {
    let database = said.database;
    let words: Vec<&str> = tokens.iter().map(Token::word).collect();
    let in_scope = |found: &TableName| scope.clone().find(|table| said.names.same(table, found)).cloned();
    if words.first() == Some(&"DROP") && matches!(words.get(1), Some(&"DATABASE" | &"SCHEMA")) {
        let gone: Vec<&str> = tokens.iter().skip(2).filter_map(Token::name).collect();
        let tables = scope.clone().filter(|table| gone.iter().any(|name| said.names.same_word(name, &table.schema)));
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
        // The name that it takes may be another table's, which went before.
        if upheaval == Upheaval::Renamed
            && let between =
                usize::from(clause.get(1).is_some_and(|token| matches!(token.word(), "TO" | "AS") || *token == Token::Symbol('=')))
            && let Some((taken, _)) = table_at(clause, 1 + between, database)
        {
            found.push((taken, Upheaval::Renamed));
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: Said<'_> =
        Said { database: "shop", modes: SqlModes { ansi_quotes: false, no_backslash_escapes: false }, names: NameCase::Exact };

    fn judged_as(text: &str, said: &Said<'_>) -> Statement {
        let scope = [TableName::new("shop", "orders"), TableName::new("shop", "odd`name")];
        judge(text.as_bytes(), said, scope.iter())
    }

    fn judged(text: &str) -> Statement {
        judged_as(text, &SAID)
    }

    #[test]
    fn quotes_are_read_as_the_session_meant_them() {
        let dropped = || Statement::Breaks(vec![(TableName::new("shop", "orders"), Upheaval::ColumnDropped)]);
        let truncated = |name: &str| Statement::Truncate(TableName::new("shop", name));
        let said = |bits: u64| Said { modes: SqlModes::of(bits), ..SAID };
        let (plain, ansi, literal) = (said(0), said(1 << 2), said(1 << 20));
        let cases = [
            // Without backslash escapes the text ends before the comma, and a column goes.
            (r"alter table orders comment '\', drop column a", &literal, dropped()),
            (r"alter table orders comment '\', drop column a' , comment 'x'", &plain, Statement::Neutral),
            (r#"alter table orders comment "\", drop column a"#, &literal, dropped()),
            (r#"alter table orders comment "\", drop column a""#, &plain, Statement::Neutral),
            (r#"alter table orders comment "', drop column b, '""#, &plain, Statement::Neutral),
            (r#"alter table "orders" drop column "a\""#, &ansi, dropped()),
            (r#"TRUNCATE "odd`name""#, &ansi, truncated("odd`name")),
            (r#"truncate "a""b""#, &ansi, truncated("a\"b")),
            (r#"TRUNCATE "orders""#, &plain, Statement::Neutral),
            (r"truncate `a\`", &plain, truncated(r"a\")),
        ];
        for (text, said, wanted) in cases {
            assert_eq!(judged_as(text, said), wanted, "{text} {:?}", said.modes);
        }
    }

    #[test]
    fn names_are_compared_as_the_server_compares_them() {
        let folded = Said { names: NameCase::Folded, ..SAID };
        let (orders, shouted) = (TableName::new("shop", "orders"), TableName::new("Shop", "ORDERS"));
        let dropped = Statement::Breaks(vec![(orders.clone(), Upheaval::Dropped)]);
        for text in ["drop table ORDERS", "drop table Shop.orders", "drop database SHOP"] {
            assert_eq!(judged_as(text, &SAID), Statement::Neutral, "{text}");
        }
        assert_eq!(judged_as("drop table ORDERS", &folded), dropped);
        assert_eq!(judged_as("drop table Shop.orders", &folded), dropped);
        assert!(NameCase::Folded.same(&orders, &shouted) && !NameCase::Exact.same(&orders, &shouted));
        assert!(NameCase::Folded.same(&TableName::new("s", "café"), &TableName::new("s", "CAFÉ")));
    }

    #[test]
    fn heartbeats_of_a_managed_service_change_no_table_of_ours() {
        let cases = [
            ("INSERT INTO mysql.rds_heartbeat2(id, value) values (1,1483041015005) ON DUPLICATE KEY UPDATE value = 1483041015005", true),
            ("DELETE FROM mysql.rds_sysinfo where name = 'innodb_txn_key'", true),
            ("INSERT INTO mysql.rds_sysinfo(name, value) values ('innodb_txn_key', 'Thu Nov 3')", true),
            ("INSERT INTO mysql.rds_heartbeat2(id, value) values (1, shop.writes())", false),
            ("INSERT INTO mysql.rds_heartbeat2(id, value) values (1, `shop`.`writes`())", false),
            ("INSERT INTO mysql.rds_heartbeat2 select * from t", false),
            ("INSERT INTO mysql.user(id) values (1)", false),
            ("INSERT INTO rds_heartbeat2(id) values (1)", false),
            ("DELETE FROM mysql.rds_sysinfo using mysql.rds_sysinfo, orders", false),
            ("DELETE mysql.rds_sysinfo, orders from mysql.rds_sysinfo, orders", false),
            ("DELETE FROM mysql.rds_sysinfo, orders using mysql.rds_sysinfo join orders", false),
        ];
        for (text, is_passed) in cases {
            assert_eq!(judged(text) == Statement::Neutral, is_passed, "{text}");
        }
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
            let found = gets_cascade(text.as_bytes(), &SAID);
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
            ("alter table o2 rename to orders", breaks(Upheaval::Renamed)),
            ("alter table o2 rename = orders", breaks(Upheaval::Renamed)),
            ("alter table o2 engine = innodb, rename `shop`.`orders`", breaks(Upheaval::Renamed)),
            ("alter table o2 rename column orders to a", Statement::Neutral),
            ("set statement lock_wait_timeout = (select 5 for update), sql_mode = '' for truncate orders", Statement::Truncate(orders())),
            ("SET STATEMENT max_statement_time=1 FOR INSERT INTO orders VALUES (1)", Statement::Dml("INSERT".into())),
            ("set statement max_statement_time=1 for alter table orders drop a", breaks(Upheaval::ColumnDropped)),
            ("set @a = 1", Statement::Neutral),
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
