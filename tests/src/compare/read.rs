//! Reads a table's description and its rows from either database.

use std::hash::{DefaultHasher, Hash, Hasher};

use futures_util::StreamExt;
use mysql_async::prelude::Queryable;
use tokio_postgres::SimpleQueryMessage;

use super::Database;
use super::canonical::{Kind, canonical, kind_across_engines, kind_within_engine};

/// A column as the database's catalog describes it.
#[derive(Debug, Clone)]
pub(super) struct ColumnInfo {
    pub(super) name: String,
    /// In lower case, with length and precision.
    sql_type: String,
    in_key: bool,
}

/// Columns of a table in order; none when there is no such table.
pub(super) async fn described(database: &Database<'_>, (schema, name): &(String, String)) -> Vec<ColumnInfo> {
    let rows = match database {
        Database::Postgres(server) => {
            let query = format!(
                "select a.attname, format_type(a.atttypid, a.atttypmod), coalesce(a.attnum = any (i.indkey::int2[]), false)
                 from pg_attribute a left join pg_index i on i.indrelid = a.attrelid and i.indisprimary
                 where a.attrelid = to_regclass({}) and a.attnum > 0 and not a.attisdropped order by a.attnum",
                literal(&format!("{}.{}", quoted(schema, '"'), quoted(name, '"')))
            );
            server.rows(&query).await
        }
        Database::Mysql(server) => {
            let query = format!(
                "select column_name, column_type, if(column_key = 'PRI', 't', 'f') from information_schema.columns
                 where table_schema = {} and table_name = {} order by ordinal_position",
                literal(schema),
                literal(name)
            );
            server.rows(&query).await
        }
    };
    let column = |mut row: Vec<Option<String>>| {
        let mut next = || row.remove(0).unwrap_or_default();
        ColumnInfo { name: next(), sql_type: next().to_lowercase(), in_key: next() == "t" }
    };
    rows.into_iter().map(column).collect()
}

#[derive(Debug)]
struct ReadColumn {
    name: String,
    source_type: String,
    target_type: String,
    kind: Kind,
    in_key: bool,
}

/// Reads the columns that two tables share, in the source's order and in canonical form.
#[derive(Debug)]
pub(super) struct TableReader {
    columns: Vec<ReadColumn>,
    spells_spans: bool,
}

impl TableReader {
    pub(super) fn new(columns: &[(ColumnInfo, ColumnInfo)], source: &Database<'_>, target: &Database<'_>) -> TableReader {
        let kind = match (source, target) {
            (Database::Postgres(_), Database::Postgres(_)) | (Database::Mysql(_), Database::Mysql(_)) => kind_within_engine,
            (Database::Postgres(_), Database::Mysql(_)) | (Database::Mysql(_), Database::Postgres(_)) => kind_across_engines,
        };
        let column = |(source, target): &(ColumnInfo, ColumnInfo)| ReadColumn {
            name: source.name.clone(),
            source_type: source.sql_type.clone(),
            target_type: target.sql_type.clone(),
            kind: kind(&source.sql_type, &target.sql_type),
            in_key: source.in_key,
        };
        let spells_spans = matches!((source, target), (Database::Postgres(_), Database::Mysql(_)));
        TableReader { columns: columns.iter().map(column).collect(), spells_spans }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| column.name.as_str())
    }

    /// Calls `each` for every row, in no order, while the rows arrive.
    pub(super) async fn each_row(
        &self,
        database: &Database<'_>,
        (schema, name): &(String, String),
        is_target: bool,
        mut each: impl FnMut(ReadRow<'_>),
    ) {
        let mut give = |texts: Vec<Option<String>>| {
            let values = self.columns.iter().zip(texts).map(|(column, text)| text.map(|text| canonical(column.kind, text)));
            each(ReadRow { reader: self, values: values.collect() });
        };
        match database {
            Database::Postgres(server) => {
                let columns: Vec<String> = self.columns.iter().map(|column| column.postgres_text(is_target)).collect();
                let query = format!("select {} from {}.{}", columns.join(", "), quoted(schema, '"'), quoted(name, '"'));
                let client = server.client().await;
                // Spans stand in MySQL as ISO 8601 texts.
                let spans = if self.spells_spans { "iso_8601" } else { "postgres" };
                let settings = format!(
                    "set timezone = 'UTC'; set datestyle = 'ISO, YMD'; set bytea_output = 'hex'; set extra_float_digits = 1;
                     set intervalstyle = '{spans}'"
                );
                client.batch_execute(&settings).await.expect("settings can be set");
                let stream = client.simple_query_raw(&query).await.unwrap_or_else(|error| panic!("{query}\n{error:?}"));
                let mut stream = std::pin::pin!(stream);
                while let Some(message) = stream.next().await {
                    if let SimpleQueryMessage::Row(row) = message.unwrap_or_else(|error| panic!("{query}\n{error:?}")) {
                        give((0..row.len()).map(|index| row.get(index).map(str::to_owned)).collect());
                    }
                }
            }
            Database::Mysql(server) => {
                let columns: Vec<String> = self.columns.iter().map(|column| column.mysql_text(is_target)).collect();
                let query = format!("select {} from {}.{}", columns.join(", "), quoted(schema, '`'), quoted(name, '`'));
                let mut client = server.client().await;
                client.query_drop("set time_zone = '+00:00'").await.expect("settings can be set");
                let rows = client.query_iter(&query).await.unwrap_or_else(|error| panic!("{query}\n{error}"));
                let for_each = rows.for_each_and_drop(|row: mysql_async::Row| give(row.unwrap().into_iter().map(text).collect()));
                for_each.await.unwrap_or_else(|error| panic!("{query}\n{error}"));
                client.disconnect().await.expect("the connection is idle");
            }
        }
    }
}

impl ReadColumn {
    fn sql_type(&self, is_target: bool) -> &str {
        if is_target { &self.target_type } else { &self.source_type }
    }

    fn postgres_text(&self, is_target: bool) -> String {
        let name = quoted(&self.name, '"');
        // Only where a number may stand on the other side must bits be told from it.
        if self.kind == Kind::Bits && self.sql_type(is_target).starts_with("bit") {
            format!("'B' || {name}::text")
        } else if self.kind == Kind::Json && self.sql_type(is_target).ends_with("[]") {
            format!("to_json({name})::text")
        } else if self.sql_type(is_target) == "money" {
            // The text has the locale's signs.
            format!("{name}::numeric::text")
        } else if self.sql_type(is_target) == "inet" {
            // A cast has the length of the mask even where it says nothing; the server's own text has not.
            format!("case when {name} is not null then format('%s', {name}) end")
        } else {
            format!("{name}::text")
        }
    }

    fn mysql_text(&self, is_target: bool) -> String {
        let name = quoted(&self.name, '`');
        let sql_type = self.sql_type(is_target);
        if sql_type.starts_with("bit") {
            format!("{name} + 0")
        } else if sql_type.starts_with("float") {
            // The text of a FLOAT is rounded to six digits.
            format!("cast({name} as double)")
        } else if self.kind == Kind::Bytes || is_opaque(sql_type) {
            format!("hex({name})")
        } else {
            format!("cast({name} as char character set utf8mb4)")
        }
    }
}

/// Types of MySQL whose values are bytes.
fn is_opaque(sql_type: &str) -> bool {
    ["blob", "binary", "geom", "point", "linestring", "polygon", "vector"].iter().any(|part| sql_type.contains(part))
}

fn text(value: mysql_async::Value) -> Option<String> {
    match value {
        mysql_async::Value::NULL => None,
        mysql_async::Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        other => Some(other.as_sql(true)),
    }
}

/// A row in canonical form.
pub(super) struct ReadRow<'a> {
    reader: &'a TableReader,
    values: Vec<Option<String>>,
}

impl ReadRow<'_> {
    /// Two differently begun hashes, so that a chance collision does not hide a difference.
    pub(super) fn hash(&self) -> u128 {
        u128::from(hash(&(0_u8, &self.values))) << 64 | u128::from(hash(&(1_u8, &self.values)))
    }

    pub(super) fn column_hashes(&self) -> Vec<u64> {
        self.values.iter().map(hash).collect()
    }

    /// The primary key's values, or a name for the whole row where there is no key.
    pub(super) fn key(&self) -> String {
        let columns = self.reader.columns.iter().zip(&self.values);
        let parts: Vec<&str> = columns.filter(|(column, _)| column.in_key).map(|(_, value)| value.as_deref().unwrap_or("NULL")).collect();
        if parts.is_empty() { format!("#{:032x}", self.hash()) } else { format!("({})", parts.join(", ")) }
    }
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn quoted(name: &str, quote: char) -> String {
    format!("{quote}{}{quote}", name.replace(quote, &format!("{quote}{quote}")))
}

/// A text literal for catalog queries; test tables have no backslash in their names.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
