//! What stands behind a column's type: default, AUTO_INCREMENT, ON UPDATE, comment, and the expression of a generated
//! column. Pure: for each of them the spellings to try, the most faithful first.

use tidegate_connector::{ColumnOrigin, Dialect, TargetTable};
use tidegate_model::objects::{ColumnDefault, ColumnObjects, Counter, CounterKind, DefaultValue, Generated, Sequence};
use tidegate_model::{Column, Engine, SqlType};

use super::conditions::is_number;
use super::expression::is_repeatable;
use super::kind::Kind;
use crate::target::session::Facts;

/// Characters of a column's comment. Source: MySQL manual, "CREATE TABLE Statement".
const COMMENT_CHARS_MAX: usize = 1_024;

/// Characters of a table's comment. Source: likewise.
const TABLE_COMMENT_CHARS_MAX: usize = 2_048;

/// A part of a column's definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) kind: Kind,
    /// The name that its record has.
    pub(crate) name: String,
    pub(crate) attempts: Vec<String>,
    /// Why there is nothing to attempt.
    pub(crate) why_not: &'static str,
}

impl Piece {
    fn new(kind: Kind, name: &str, attempts: Vec<String>) -> Piece {
        Piece { kind, name: name.to_owned(), attempts, why_not: "a value of another form than the target's" }
    }

    fn without(kind: Kind, name: &str, why_not: &'static str) -> Piece {
        Piece { kind, name: name.to_owned(), attempts: Vec::new(), why_not }
    }
}

/// The pieces of a column; `type_sql` is the type that it gets.
pub(crate) fn pieces(table: &TargetTable, index: usize, type_sql: &str, facts: &Facts) -> Vec<Piece> {
    let name = &table.columns[index].name;
    let mut pieces = Vec::new();
    if !table.objects.wanted.columns.is_empty() {
        pieces.extend(lost_collation(table, index, type_sql));
    }
    let Some(column) = objects_of(table, name) else { return pieces };
    if let Some(found) = &column.generated {
        pieces.push(match generated(table, column) {
            Some(generated) => {
                let kept = if generated.stored { "stored" } else { "virtual" };
                Piece::new(Kind::Generated, name, vec![format!("generated always as {} {kept}", generated.expression)])
            }
            None if table.primary_key.contains(&index) => {
                Piece::without(Kind::Generated, name, "a generated column in the primary key, which arrives with its values as a plain one")
            }
            None if found.columns.is_empty() => Piece::without(
                Kind::Generated,
                name,
                "a generated column without a column in its expression, which arrives with its values as a plain one",
            ),
            None => Piece::without(
                Kind::Generated,
                name,
                "an expression that may depend on the session: it arrives with its values as a plain column",
            ),
        });
    }
    for attribute in &column.attributes {
        pieces.push(Piece::new(Kind::Attribute, &format!("{name} {attribute}"), vec![attribute.to_lowercase()]));
    }
    if counts(table, column).is_some() && counted(table) == Some(name.as_str()) {
        pieces.push(Piece::new(Kind::Counter, name, vec!["auto_increment".to_owned()]));
    }
    if let Some(default) = column.default.as_ref().filter(|_| counts(table, column).is_none()) {
        pieces.push(match &default.value {
            Some(DefaultValue::NextValue(_)) => {
                Piece::without(Kind::Default, name, "the next value of a sequence, which the target has not")
            }
            _ => Piece::new(Kind::Default, name, defaults(table, index, default, type_sql, facts)),
        });
    }
    if column.on_update_now {
        let now = format!("on update current_timestamp{}", fraction(type_sql));
        pieces.push(Piece::new(Kind::Default, &format!("{name} on update"), vec![now]));
    }
    if let Some(comment) = column.comment.as_ref().filter(|comment| !comment.is_empty()) {
        pieces.push(match comment.chars().count() {
            0..=COMMENT_CHARS_MAX => Piece::new(Kind::Comment, name, vec![format!("comment {}", Dialect::MYSQL.literal(comment))]),
            _ => Piece::without(Kind::Comment, name, "a comment of more than 1,024 characters"),
        });
    }
    pieces
}

/// What stands behind the columns of a table that is created.
pub(crate) fn table_tail(table: &TargetTable, facts: &Facts) -> String {
    let wanted = &table.objects.wanted;
    let collation = match &wanted.collation {
        Some(collation) => format!(" collate {collation}"),
        None => format!(" character set utf8mb4 collate {}", facts.binary_collation()),
    };
    let comment = wanted.comment.as_ref().filter(|comment| has_room(comment));
    format!("{collation}{}", comment.map(|comment| format!(" comment = {}", Dialect::MYSQL.literal(comment))).unwrap_or_default())
}

/// True for a table's comment that fits.
pub(crate) fn has_room(comment: &str) -> bool {
    !comment.is_empty() && comment.chars().count() <= TABLE_COMMENT_CHARS_MAX
}

/// A column's definition behind its name.
pub(crate) fn column_sql(type_sql: &str, is_nullable: bool, pieces: &[(Kind, String)], facts: &Facts) -> String {
    let null = if is_nullable { "null" } else { "not null" };
    let generated = pieces.iter().find(|(kind, _)| *kind == Kind::Generated).map(|(_, text)| text);
    let mut sql = match generated {
        // NULL is spelled out: some servers take a timestamp without it for NOT NULL.
        None => format!("{type_sql} {null}"),
        // MariaDB has no NOT NULL for generated columns.
        Some(text) if is_nullable || facts.engine == Engine::Mariadb => format!("{type_sql} {text}"),
        Some(text) => format!("{type_sql} {text} not null"),
    };
    for (_, text) in pieces.iter().filter(|(kind, _)| *kind != Kind::Generated) {
        sql.push(' ');
        sql.push_str(text);
    }
    sql
}

fn objects_of<'a>(table: &'a TargetTable, column: &str) -> Option<&'a ColumnObjects> {
    table.objects.wanted.columns.iter().find(|found| found.column == column)
}

/// The source's column of a target's.
pub(super) fn source_column<'a>(table: &'a TargetTable, column: &str) -> Option<&'a Column> {
    let wanted = table.columns.iter().find(|wanted| wanted.name == column)?;
    match wanted.origin {
        ColumnOrigin::Source(at) => table.source.schema.columns.get(at),
        ColumnOrigin::Computed(_) | ColumnOrigin::Constant(_) => None,
    }
}

/// The expression that the target may compute by itself.
fn generated<'a>(table: &TargetTable, column: &'a ColumnObjects) -> Option<&'a Generated> {
    let found = column.generated.as_ref()?;
    let named: Vec<&Column> = found.columns.iter().filter_map(|name| source_column(table, name)).collect();
    let in_key = table.primary_key.iter().chain(&table.identity).any(|index| table.columns[*index].name == column.column);
    let is_whole = named.len() == found.columns.len() && !named.is_empty();
    (is_whole && !in_key && is_repeatable(&found.expression, &named)).then_some(found)
}

/// A collation of the other kind of server that the column does not get.
fn lost_collation(table: &TargetTable, index: usize, type_sql: &str) -> Option<Piece> {
    let wanted = &table.columns[index];
    let source = source_column(table, &wanted.name).filter(|source| source.sql_type == wanted.sql_type)?;
    // PostgreSQL describes no collation that MySQL could have; what becomes of its own, the task's plan tells.
    let collation = source.collation.as_deref().filter(|_| table.source.schema.engine != Engine::Postgres)?;
    let is_binary = ["utf8mb4_0900_bin", "utf8mb4_nopad_bin", "binary"].contains(&collation);
    let is_kept = type_sql.contains(&format!("collate {collation}")) || !type_sql.contains(" collate ");
    (!is_kept && !is_binary).then(|| {
        Piece::without(Kind::Collation, &wanted.name, "a collation that the target may not have: texts are compared byte for byte")
    })
}

/// The sequence of a column that counts: of an identity, an AUTO_INCREMENT, or a default from a sequence of its own.
pub(super) fn counts<'a>(table: &'a TargetTable, column: &ColumnObjects) -> Option<&'a Sequence> {
    let sequences = &table.objects.wanted.sequences;
    match (&column.counter, &column.default) {
        (Some(Counter { sequence, .. }), _) => sequences.iter().find(|found| found.name == *sequence),
        (None, Some(ColumnDefault { value: Some(DefaultValue::NextValue(sequence)), .. })) => {
            sequences.iter().find(|found| found.name == *sequence && found.owner.as_ref() == Some(&column.column))
        }
        (None, _) => None,
    }
}

/// True for whole numbers that go upwards.
pub(super) fn may_count(table: &TargetTable, column: &ColumnObjects) -> bool {
    let is_whole = table.columns.iter().any(|wanted| wanted.name == column.column && wanted.sql_type.is_integer());
    is_whole && counts(table, column).is_some_and(|sequence| sequence.increment > 0 && !sequence.cycle)
}

/// The column that counts from the start: the first of the primary key.
pub(crate) fn counted(table: &TargetTable) -> Option<&str> {
    let first = table.primary_key.first().and_then(|index| table.columns.get(*index))?;
    let column = objects_of(table, &first.name)?;
    may_count(table, column).then_some(first.name.as_str())
}

/// What a counter cannot do here, by the name of its record.
pub(super) fn counter_losses(table: &TargetTable, column: &ColumnObjects) -> Vec<(String, &'static str)> {
    let mut lost = Vec::new();
    let Some(sequence) = counts(table, column) else { return lost };
    if !may_count(table, column) {
        return vec![(
            column.column.clone(),
            "a counter that goes downwards, in a circle, or in a column of another type than whole numbers",
        )];
    }
    if column.counter.as_ref().is_some_and(|counter| counter.kind == CounterKind::Always) {
        lost.push((format!("{} always", column.column), "GENERATED ALWAYS: an AUTO_INCREMENT may be written by everybody"));
    }
    if sequence.increment != 1 {
        lost.push((format!("{} step", column.column), "a step of its own: every AUTO_INCREMENT of a server has the same"));
    }
    lost
}

/// `(3)` of `datetime(3) …`.
fn fraction(type_sql: &str) -> &str {
    let Some(rest) = type_sql.strip_prefix("datetime").or_else(|| type_sql.strip_prefix("timestamp")) else { return "" };
    rest.split_once(')').filter(|_| rest.starts_with('(')).map_or("", |(digits, _)| &rest[..=digits.len()])
}

fn defaults(table: &TargetTable, index: usize, default: &ColumnDefault, type_sql: &str, facts: &Facts) -> Vec<String> {
    let sql_type = &table.columns[index].sql_type;
    let is_postgres = table.source.schema.engine == Engine::Postgres;
    let mut values: Vec<String> = default.native.iter().cloned().collect();
    match &default.value {
        Some(DefaultValue::Constant(text)) => values.extend(constant(text, sql_type, is_postgres).map(|value| {
            // In MySQL, texts and documents without a length take an expression alone.
            let is_long = ["longtext", "mediumtext", "text", "tinytext", "json", "longblob", "mediumblob", "blob", "tinyblob"]
                .iter()
                .any(|long| type_sql.split(['(', ' ']).next() == Some(long));
            if is_long && facts.engine == Engine::Mysql { format!("({value})") } else { value }
        })),
        Some(DefaultValue::CurrentTimestamp(_)) => match sql_type {
            // The column has UTC, whatever the session's zone.
            SqlType::TimestampTz if is_postgres => {
                values.push(format!("(utc_timestamp{})", if fraction(type_sql).is_empty() { "()" } else { fraction(type_sql) }));
            }
            SqlType::Timestamp | SqlType::TimestampTz => values.push(format!("current_timestamp{}", fraction(type_sql))),
            SqlType::Date => values.push("(curdate())".to_owned()),
            _ => {}
        },
        Some(DefaultValue::CurrentDate) if *sql_type == SqlType::Date => values.push("(curdate())".to_owned()),
        Some(DefaultValue::NewUuid) if matches!(sql_type, SqlType::Uuid | SqlType::Text { .. }) => values.push("(uuid())".to_owned()),
        Some(DefaultValue::CurrentDate | DefaultValue::NewUuid | DefaultValue::NextValue(_)) | None => {}
    }
    values.into_iter().map(|value| format!("default {value}")).collect()
}

/// A constant as SQL; `None` when its text means something else here, or may.
fn constant(text: &str, sql_type: &SqlType, is_postgres: bool) -> Option<String> {
    let literal = || Dialect::MYSQL.literal(text);
    let is_bits = |text: &str| !text.is_empty() && text.chars().all(|letter| letter == '0' || letter == '1');
    let is_calendar = || text.len() <= 26 && text.chars().all(|letter| letter.is_ascii_digit() || "-: .".contains(letter));
    match sql_type {
        SqlType::Bits(_) => is_bits(text).then(|| format!("b'{text}'")),
        _ if !is_postgres => Some(literal()),
        SqlType::Boolean => match text {
            "true" | "t" => Some("1".to_owned()),
            "false" | "f" => Some("0".to_owned()),
            _ => None,
        },
        SqlType::Int8
        | SqlType::Int16
        | SqlType::Int32
        | SqlType::Int64
        | SqlType::UInt8
        | SqlType::UInt16
        | SqlType::UInt32
        | SqlType::UInt64
        | SqlType::Float32
        | SqlType::Float64
        | SqlType::Decimal { .. } => is_number(text).then(|| text.to_owned()),
        SqlType::Text { .. } | SqlType::Enumeration(_) | SqlType::Json => Some(literal()),
        SqlType::Uuid => (text.len() == 36).then(|| Dialect::MYSQL.literal(&text.to_ascii_lowercase())),
        SqlType::Date | SqlType::Time | SqlType::Timestamp => is_calendar().then(literal),
        SqlType::Array(_) => (text == "{}").then(|| "'[]'".to_owned()),
        // In PostgreSQL's own form, or in the source's zone.
        SqlType::TimestampTz | SqlType::Bytes { .. } | SqlType::Interval | SqlType::SetOf(_) | SqlType::Other(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_of_postgresql_become_what_they_mean_or_nothing() {
        let of = |text, sql_type: SqlType| constant(text, &sql_type, true);
        assert_eq!(of("true", SqlType::Boolean).as_deref(), Some("1"));
        assert_eq!(of("0.50", SqlType::Decimal { precision: None, scale: None }).as_deref(), Some("0.50"));
        assert_eq!(of("NaN", SqlType::Float64), None);
        assert_eq!(of(r"it's \", SqlType::Text { chars_max: None }).as_deref(), Some(r"'it''s \\'"));
        assert_eq!(of("2020-01-31", SqlType::Date).as_deref(), Some("'2020-01-31'"));
        assert_eq!(of("2020-01-31 BC", SqlType::Date), None);
        assert_eq!(of("2020-01-01 00:00:00+02", SqlType::TimestampTz), None);
        assert_eq!(of("101", SqlType::Bits(3)).as_deref(), Some("b'101'"));
        assert_eq!(of("{}", SqlType::Array(Box::new(SqlType::Int32))).as_deref(), Some("'[]'"));
        assert_eq!(of("{1}", SqlType::Array(Box::new(SqlType::Int32))), None);
        assert_eq!(of(r"\x61", SqlType::Bytes { bytes_max: None }), None);
    }

    #[test]
    fn digits_of_a_second_are_the_types() {
        assert_eq!(fraction("datetime(3)"), "(3)");
        assert_eq!(fraction("timestamp"), "");
        assert_eq!(fraction("varchar(30) collate x"), "");
    }
}
