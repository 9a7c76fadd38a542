//! `docs/types.md`, written from the table of types.

use tidegate_model::Engine;

use super::{Fidelity, Kind, RULES, TypeRule, When};

const HEAD: &str = "# How each type arrives

This page is written from the table of types (`host/connector/src/types/rules.rs`); a test fails when the two differ, and
`TIDEGATE_REWRITE=1 cargo test -p tidegate-connector` writes the page anew.

What is loaded and what is streamed arrives the same. A value that cannot be carried over exactly stops its table with its
column's name, or is refused by the check before anything is written; the task's policy may set its row apart instead
([row-errors.md](row-errors.md)). Nothing is rounded, cut, clamped or turned into NULL. What a MySQL or MariaDB source has and nobody can
read, bytes that are no text of their column's character set (`charset_bytes`), is refused in whatever type.

The first rule that matches a column decides. *Exact* says what becomes of values: **yes**, every value of the source's type
arrives; **or refused**, what arrives is exact, and values that the target's type cannot hold stop the table; **as text**, every
value arrives as text, because the target has no such type.

An existing table keeps its own types: its columns take the source's values when they can hold them, and the check says
what does not fit.
";

const POSTGRES: &str = "
Enumerations are made in the table's target schema unless the type's own schema has them there; a domain becomes the type
below it where the target does not have it (its checks held at the source). Composites, ranges of the user's and types of
extensions must be in the target: the check says `type_missing`. `regclass` and the other object identifier types (not `oid`)
are refused into every target (`column_type`): their values are numbers of objects of one database, and the log does not tell the names.
Likewise refused are arrays, composites and ranges over a type without a binary form (`isbn[]`), which PostgreSQL cannot send inside of
others; the type itself goes as the text that the server prints for it. Generated columns stay generated with the same expression, since logs up to PostgreSQL 17 do not
have their values; what the target refuses, and with `\"schema\": \"minimal\"` all of them, is left out and named.

A large value that an update did not touch is not in the log (TOAST); the target keeps the one it has. With `replica
identity full` it is taken from the old row.
";

const MYSQL_TEXTS: &str = "
The source is asked once what each code of a character set is, so that gbk, big5, sjis or koi8r are what that server takes them for. A
code that it has no character for is no text (`charset_bytes`), where the server itself would write `?`. In armscii8, tis620, big5,
cp932, sjis, eucjpms and ujis some characters have several codes: keys that differ in them are one text, of which the check warns
(`key_charset`). MySQL and MariaDB as targets of their own kind keep a column's character set.

Collations are not copied: two keys that a case-insensitive collation holds equal are different in the target, of which the check tells
(`key_collation`), and a key whose case changes is moved. An existing table is refused whose key (`citext`, a nondeterministic collation)
may hold equal what the source tells apart. Generated columns, virtual or stored, arrive as plain columns with their values; from MariaDB 11 and later
they are left out and named (`generated_columns`), since its log has their values in new rows alone (seen with 11.8; 11.0 to 11.7
count as it without having been tried). Invisible columns arrive as columns. `COMPRESSED` columns and system-versioned tables are
refused by the check.
";

const TO_MYSQL: &str = "
Texts of a PostgreSQL source get a binary collation without padding (`utf8mb4_0900_bin`, in MariaDB `utf8mb4_nopad_bin`), so
that no two rows become one. A key has at most 3,072 bytes: texts without a length become `varchar` of what the key's other
columns leave. What goes as text has the text's equality: two values that PostgreSQL holds equal and prints differently (`seg`) are two
keys. A row of more than 65,535 bytes gets `longtext` in place of its widest `varchar` columns. An existing table is
refused whose key may hold equal what the source tells apart (`key_collation`); a key of `citext` or of a nondeterministic collation, whose
texts are different in the target, is told.
";

const TAIL: &str = "
## Names

Identifiers are quoted and kept as they are, in every character. PostgreSQL has names up to 63 bytes, MySQL and MariaDB up to 64
characters: longer ones are refused by the check (`name_too_long`) until a rule renames them. MySQL and MariaDB do not tell columns
apart that differ in case alone (`column_name_clash`).
";

/// The whole page.
pub fn page() -> String {
    let mut text = HEAD.to_owned();
    section(&mut text, "PostgreSQL to PostgreSQL", Engine::Postgres, &[Engine::Postgres], Engine::Postgres);
    text.push_str(POSTGRES);
    section(&mut text, "MySQL to MySQL, MariaDB to MariaDB", Engine::Mysql, &[Engine::Mysql], Engine::Mysql);
    text.push_str("\nIn MariaDB, where it differs:\n\n");
    let own = |engine: Engine| RULES.iter().filter(move |rule| rule.sources == [engine] && rule.targets == [engine]);
    table(
        &mut text,
        own(Engine::Mariadb).filter(|rule| !own(Engine::Mysql).any(|twin| twin.kinds == rule.kinds && twin.note == rule.note)),
    );
    section(&mut text, "MySQL to MariaDB", Engine::Mysql, &[Engine::Mysql], Engine::Mariadb);
    section(&mut text, "MariaDB to MySQL", Engine::Mariadb, &[Engine::Mariadb], Engine::Mysql);
    section(&mut text, "PostgreSQL to MySQL and MariaDB", Engine::Postgres, &[Engine::Postgres], Engine::Mysql);
    text.push_str("\nIn MariaDB, where it differs:\n\n");
    table(&mut text, RULES.iter().filter(|rule| rule.sources == [Engine::Postgres] && rule.targets == [Engine::Mariadb]));
    text.push_str(TO_MYSQL);
    section(&mut text, "MySQL and MariaDB to PostgreSQL", Engine::Mysql, &[Engine::Mysql, Engine::Mariadb], Engine::Postgres);
    text.push_str(MYSQL_TEXTS);
    text.push_str("\n## Computed columns\n\nWhat rules and modules compute has a type of their own choice.\n\n");
    let all = [Engine::Postgres, Engine::Mysql, Engine::Mariadb];
    text.push_str("In MySQL and MariaDB:\n\n");
    table(&mut text, RULES.iter().filter(|rule| rule.sources == all && rule.targets == [Engine::Mysql, Engine::Mariadb]));
    text.push_str("\nIn PostgreSQL:\n\n");
    table(&mut text, RULES.iter().filter(|rule| rule.sources == all && rule.targets == [Engine::Postgres]));
    text.push_str(TAIL);
    text
}

fn section(text: &mut String, title: &str, source: Engine, sources: &[Engine], target: Engine) {
    text.push_str(&format!("\n## {title}\n\n"));
    let all = [Engine::Postgres, Engine::Mysql, Engine::Mariadb];
    let is_shown = |rule: &&TypeRule| {
        let from = rule.sources.contains(&source) || rule.sources.iter().any(|engine| sources.contains(engine));
        // Rules for every source stand in a section of their own, but for those that carry a pair's main types.
        let is_of_pair = rule.sources != all || (target == Engine::Postgres && source != Engine::Postgres && rule.note.starts_with('`'));
        let is_exact = rule.sources.len() == 1 && rule.sources == rule.targets;
        from && rule.targets.contains(&target) && is_of_pair && is_exact == (source == target)
    };
    table(text, RULES.iter().filter(is_shown));
}

fn table<'a>(text: &mut String, rules: impl Iterator<Item = &'a TypeRule>) {
    text.push_str("| source | target | values | exact | note |\n|---|---|---|---|---|\n");
    for rule in rules {
        let note = if rule.note == super::rules::COMPUTED { "" } else { rule.note };
        let exact = match rule.fidelity {
            Fidelity::Lossless | Fidelity::Checked | Fidelity::AsText => rule.fidelity.as_str(),
        };
        text.push_str(&format!("| {} | {} | {} | {exact} | {note} |\n", source(rule), target(rule), rule.converter.as_str()));
    }
}

fn source(rule: &TypeRule) -> String {
    let names: Vec<String> = if rule.names.is_empty() {
        rule.kinds.iter().map(|kind| kind_name(*kind).to_owned()).collect()
    } else {
        rule.names.iter().map(|name| format!("`{name}`")).collect()
    };
    let names = if names.is_empty() { "every type".to_owned() } else { names.join(", ") };
    match rule.when {
        When::Always => names,
        When::Key => format!("{names} in a key"),
        When::LengthUpTo(most) => format!("{names} of up to {most}"),
        When::DigitsUpTo(digits, scale) => format!("{names} of up to ({digits},{scale})"),
        When::Unbounded => format!("{names} without precision"),
    }
}

fn target(rule: &TypeRule) -> String {
    let shown = rule.becomes.replace("{native}", "the same").replace("{kept}", "").replace("{bin}", "");
    let shown = shown.replace("{fsp0}", "(n)").replace("{fsp6}", "(n)").replace("{labels}", "…").replace("{key}", "n");
    let shown = shown.replace("{n}", "n").replace("{p}", "p").replace("{s}", "s");
    let shown = shown.replace(" character set ascii collate ascii_bin", "");
    if shown == "the same" { shown } else { format!("`{shown}`") }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Boolean => "boolean",
        Kind::Int8 => "8-bit integer",
        Kind::Int16 => "16-bit integer",
        Kind::Int32 => "32-bit integer",
        Kind::Int64 => "64-bit integer",
        Kind::UInt8 => "8-bit unsigned",
        Kind::UInt16 => "16-bit unsigned",
        Kind::UInt32 => "32-bit unsigned",
        Kind::UInt64 => "64-bit unsigned",
        Kind::Float32 => "single float",
        Kind::Float64 => "double float",
        Kind::Decimal => "decimal",
        Kind::Text => "text",
        Kind::Bytes => "bytes",
        Kind::Date => "date",
        Kind::Time => "time",
        Kind::Timestamp => "timestamp",
        Kind::TimestampTz => "timestamp with zone",
        Kind::Interval => "interval",
        Kind::Json => "JSON",
        Kind::Uuid => "UUID",
        Kind::Enumeration => "enumeration",
        Kind::SetOf => "set",
        Kind::Bits => "bits",
        Kind::Array => "array",
        Kind::Other => "any other type",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_types_is_what_the_table_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/types.md");
        if std::env::var_os("TIDEGATE_REWRITE").is_some() {
            std::fs::write(path, page()).expect("the page can be written");
        }
        let found = std::fs::read_to_string(path).expect("the page is there");
        assert!(found == page(), "docs/types.md is out of date: TIDEGATE_REWRITE=1 cargo test -p tidegate-connector");
    }
}
