//! Descriptions of tables from `information_schema`.
//!
//! Columns stand in ordinal order, invisible ones included: the order of the binary log's row images.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tidegate_connector::{ConnectorError, Dialect, NeutralDecoder, SourceTable};
use tidegate_model::schema::RowEncoding;
use tidegate_model::{BeforeImages, Column, Engine, SqlType, TableName, TableSchema};

use crate::charset::Collations;
use crate::connect::{row, rows, run};
use crate::fault;

/// Databases of the servers themselves, and the one with this product's own records of tasks.
const SYSTEM_SCHEMAS: &str = "('mysql', 'information_schema', 'performance_schema', 'sys', 'tidegate')";

/// What `information_schema.tables` has of tables that can be replicated.
const TABLES: &str =
    "select table_schema, table_name from information_schema.tables where table_type in ('BASE TABLE', 'SYSTEM VERSIONED')";

/// Names of all tables that the user may see.
pub(crate) async fn table_names(conn: &mut Conn) -> Result<Vec<TableName>, ConnectorError> {
    let sql = format!("{TABLES} and table_schema not in {SYSTEM_SCHEMAS} order by 1, 2");
    let names: Vec<(String, String)> = rows(conn, "list tables", &sql).await?;
    Ok(names.into_iter().map(|(schema, name)| TableName { schema, name }).collect())
}

/// See `Source::existing_tables`. The server opens each table that it tells of, and looks at no other one only when one name is asked
/// for at a time.
pub(crate) async fn existing_tables(conn: &mut Conn, names: &[TableName]) -> Result<Vec<TableName>, ConnectorError> {
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        let sql = format!("{TABLES} and table_schema not in {SYSTEM_SCHEMAS} and {}", place(name));
        let alike: Vec<(String, String)> = rows(conn, "look for a table", &sql).await?;
        // The server compares without regard to letter case.
        found.extend(alike.into_iter().map(|(schema, name)| TableName { schema, name }).filter(|alike| alike == name));
    }
    Ok(found)
}

/// True when the user may see tables of MariaDB's engine Aria, the server's own ones aside. It opens each table for that.
pub(crate) async fn has_tables_of_aria(conn: &mut Conn) -> Result<bool, ConnectorError> {
    let what = "look for tables of Aria";
    run(conn, what, &format!("set session lock_wait_timeout = {LOCK_WAIT_S}")).await?;
    let sql = format!("select count(*) from information_schema.tables where engine = 'Aria' and table_schema not in {SYSTEM_SCHEMAS}");
    Ok(row::<u64>(conn, what, &sql).await? > 0)
}

/// The condition for a table's rows in `information_schema`.
fn place(table: &TableName) -> String {
    format!("table_schema = {} and table_name = {}", Dialect::MYSQL.literal(&table.schema), Dialect::MYSQL.literal(&table.name))
}

/// The character set of each collation id.
pub(crate) async fn collations(conn: &mut Conn, engine: Engine) -> Result<Collations, ConnectorError> {
    let what = "list collations";
    let mut pairs: Vec<(Option<u64>, Option<String>)> =
        rows(conn, what, "select id, character_set_name from information_schema.collations").await?;
    // Since MariaDB 10.10, collations that fit several character sets have their ids here.
    if engine == Engine::Mariadb
        && let Ok(more) =
            rows(conn, what, "select id, character_set_name from information_schema.collation_character_set_applicability").await
    {
        pairs.extend(more);
    }
    Ok(Collations::new(pairs.into_iter().filter_map(|(id, name)| Some((u32::try_from(id?).ok()?, name?)))))
}

/// How long a description waits at once for somebody who changes or locks the table. Whoever comes after waits for us meanwhile.
const LOCK_WAIT_S: u32 = 2;

/// After so long it is a lock rather than a change. The rest of the task does not wait for it.
const CHANGED_MAX: Duration = Duration::from_secs(20);

/// Name, data type, column type, nullable, extra, greatest length, collation.
type FoundRow = (String, String, String, String, Option<String>, Option<u64>, Option<String>);

struct FoundColumn {
    name: String,
    data_type: String,
    column_type: String,
    nullable: String,
    extra: String,
    chars_max: Option<u64>,
    collation: Option<String>,
}

/// A table as the catalog has it.
#[derive(Debug, Clone)]
pub(crate) struct Described {
    pub(crate) table: Arc<SourceTable>,
    /// Columns that the table has and its description has not, since the log does not have all their values.
    pub(crate) unlogged: Vec<String>,
}

impl Described {
    /// Rows that were logged before still have the columns that were not described then and are gone now.
    pub(crate) fn after(mut self, before: Option<&Described>) -> Described {
        let gone = before.map_or(&[][..], |before| &before.unlogged).iter();
        let gone = gone.filter(|name| self.table.schema.column_index(name).is_none() && !self.unlogged.contains(name));
        let gone: Vec<String> = gone.cloned().collect();
        self.unlogged.extend(gone);
        self
    }
}

/// True when the server logs generated columns of new rows alone, whatever `binlog_row_image` says: MariaDB 11.8 leaves
/// them out of updates and deletes, and 10.11 does not; of the versions between nothing is known, and they count as
/// the newer one. Nothing can tell such a column's value after an update. No primary key of MariaDB has one.
fn omits_generated(conn: &Conn, engine: Engine) -> bool {
    engine == Engine::Mariadb && conn.server_version().0 >= 11
}

/// Describes one table; `version` is the number that its description gets.
pub(crate) async fn describe(conn: &mut Conn, engine: Engine, table: &TableName, version: u32) -> Result<Described, ConnectorError> {
    let what = format!("describe table \"{table}\"");
    let found = match hold(conn, table, &what).await {
        Ok(()) => described(conn, engine, table, version, &what).await,
        Err(error) => Err(error),
    };
    // Whatever else is asked by this connection waits for locks as the server has it.
    let let_go = run(conn, &what, "rollback; set session lock_wait_timeout = default").await;
    let found = found?;
    let_go.map(|()| found)
}

/// Keeps a table from being changed until the transaction ends: columns and keys are asked for by different statements, and MySQL shows what a
/// change has done so far, so that a table which was being renamed or made had columns and no key. Where that cannot be, because the
/// table may not be read or stays locked, it is described as it is found, and the log tells of what became of it.
async fn hold(conn: &mut Conn, table: &TableName, what: &str) -> Result<(), ConnectorError> {
    let sql =
        format!("set session lock_wait_timeout = {LOCK_WAIT_S}; start transaction; select 1 from {} limit 0", Dialect::MYSQL.table(table));
    let begun = Instant::now();
    loop {
        let error = match conn.query_drop(&sql).await {
            Ok(()) => return Ok(()),
            Err(error @ mysql_async::Error::Server(_)) => fault::driver(what, error),
            Err(error) => return Err(fault::driver(what, error)),
        };
        match error.code() {
            "lock_wait" if begun.elapsed() < CHANGED_MAX => {}
            "table_missing" => return Err(missing(table)),
            _ => return Ok(()),
        }
    }
}

fn missing(table: &TableName) -> ConnectorError {
    ConnectorError::table(table, "table_missing", format!("table \"{table}\" is not there or may not be read"))
}

async fn described(conn: &mut Conn, engine: Engine, table: &TableName, version: u32, what: &str) -> Result<Described, ConnectorError> {
    let place = place(table);
    let sql = format!(
        "select column_name, data_type, column_type, is_nullable, extra, character_maximum_length, collation_name \
         from information_schema.columns where {place} order by ordinal_position"
    );
    let found = rows::<FoundRow>(conn, what, &sql).await?;
    if found.is_empty() {
        return Err(missing(table));
    }
    let json = json_columns(conn, engine, table, what).await?;
    let omits_generated = omits_generated(conn, engine);
    let (mut columns, mut unlogged) = (Vec::with_capacity(found.len()), Vec::new());
    for (name, data_type, column_type, nullable, extra, chars_max, collation) in found {
        let extra = extra.unwrap_or_default().to_ascii_uppercase();
        let found = FoundColumn { name, data_type: data_type.to_ascii_lowercase(), column_type, nullable, extra, chars_max, collation };
        let column = column(table, found, &json)?;
        if column.generated && omits_generated {
            unlogged.push(column.name);
        } else {
            columns.push(column);
        }
    }
    let keys = keys(conn, &place, what, &columns).await?;
    let estimate: Option<u64> = row(conn, what, &format!("select max(table_rows) from information_schema.tables where {place}")).await?;
    let primary_key = keys.primary;
    let identity = if primary_key.is_empty() { (0..columns.len()).collect() } else { primary_key.clone() };
    let schema = TableSchema {
        name: table.clone(),
        engine,
        columns,
        primary_key,
        unique_keys: keys.unique,
        identity,
        before_images: BeforeImages::Full,
        encoding: RowEncoding::Neutral,
        version,
    };
    Ok(Described { table: Arc::new(source_table(schema, estimate.unwrap_or(0))), unlogged })
}

/// A description with its decoder.
pub(crate) fn source_table(schema: TableSchema, rows_estimate: u64) -> SourceTable {
    let columns = schema.columns.iter().map(|column| (column.name.clone(), column.sql_type.clone()));
    SourceTable { decoder: Arc::new(NeutralDecoder::new(columns)), schema, rows_estimate, lineage: None }
}

/// MariaDB's JSON is LONGTEXT with a check of its own.
async fn json_columns(conn: &mut Conn, engine: Engine, table: &TableName, what: &str) -> Result<Vec<String>, ConnectorError> {
    if engine != Engine::Mariadb {
        return Ok(Vec::new());
    }
    let sql = format!(
        "select constraint_name from information_schema.check_constraints where constraint_schema = {} and table_name = {} \
         and lower(check_clause) = concat('json_valid(`', lower(constraint_name), '`)')",
        Dialect::MYSQL.literal(&table.schema),
        Dialect::MYSQL.literal(&table.name)
    );
    rows(conn, what, &sql).await
}

fn column(table: &TableName, found: FoundColumn, json: &[String]) -> Result<Column, ConnectorError> {
    let is_json = found.data_type == "longtext" && json.contains(&found.name);
    let sql_type = if is_json { Some(SqlType::Json) } else { sql_type(&found) };
    let Some(sql_type) = sql_type else {
        return Err(ConnectorError::table(
            table,
            "column_type",
            format!("table \"{table}\" column \"{}\" has type \"{}\", which is not supported", found.name, found.data_type),
        )
        .hint("take the table out of the task"));
    };
    Ok(Column {
        name: found.name,
        sql_type,
        native_type: if is_json { "json".to_owned() } else { found.column_type },
        collation: found.collation,
        nullable: found.nullable.eq_ignore_ascii_case("yes"),
        generated: found.extra.contains("GENERATED") && !found.extra.contains("DEFAULT_GENERATED"),
    })
}

fn sql_type(found: &FoundColumn) -> Option<SqlType> {
    let text = found.column_type.to_ascii_lowercase();
    let unsigned = text.contains("unsigned");
    let int = |signed, other| if unsigned { other } else { signed };
    let chars_max = || found.chars_max.and_then(|length| u32::try_from(length).ok());
    Some(match found.data_type.as_str() {
        "tinyint" => int(SqlType::Int8, SqlType::UInt8),
        "smallint" => int(SqlType::Int16, SqlType::UInt16),
        "mediumint" | "int" | "integer" => int(SqlType::Int32, SqlType::UInt32),
        "bigint" => int(SqlType::Int64, SqlType::UInt64),
        "float" => SqlType::Float32,
        "double" | "real" => SqlType::Float64,
        "decimal" | "numeric" => {
            let mut numbers = arguments(&text);
            SqlType::Decimal { precision: numbers.next(), scale: Some(numbers.next().unwrap_or(0) as i32) }
        }
        "bit" => SqlType::Bits(arguments(&text).next().unwrap_or(1)),
        "year" => SqlType::Int16,
        "date" => SqlType::Date,
        "time" => SqlType::Time,
        "datetime" => SqlType::Timestamp,
        "timestamp" => SqlType::TimestampTz,
        "char" | "varchar" => SqlType::Text { chars_max: chars_max() },
        "tinytext" | "text" | "mediumtext" | "longtext" => SqlType::Text { chars_max: None },
        "binary" | "varbinary" => SqlType::Bytes { bytes_max: chars_max() },
        "tinyblob" | "blob" | "mediumblob" | "longblob" | "vector" | "geometry" | "point" | "linestring" | "polygon" | "multipoint"
        | "multilinestring" | "multipolygon" | "geometrycollection" | "geomcollection" => SqlType::Bytes { bytes_max: None },
        "enum" => SqlType::Enumeration(labels(&found.column_type)),
        "set" => SqlType::SetOf(labels(&found.column_type)),
        "json" => SqlType::Json,
        "uuid" => SqlType::Uuid,
        "inet4" | "inet6" => SqlType::Other(found.data_type.clone()),
        _ => return None,
    })
}

/// The numbers between the parentheses of a type.
fn arguments(text: &str) -> impl Iterator<Item = u32> {
    let inside = text.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map_or("", |(inside, _)| inside);
    inside.split(',').filter_map(|number| number.trim().parse().ok()).collect::<Vec<_>>().into_iter()
}

/// The labels of `enum('a','b''c')`. The server escapes quotes by doubling and control characters by a backslash.
pub(crate) fn labels(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != '\'' {
            continue;
        }
        let mut label = String::new();
        while let Some(letter) = letters.next() {
            match letter {
                '\'' if letters.next_if_eq(&'\'').is_some() => label.push('\''),
                '\'' => break,
                '\\' => match letters.next() {
                    Some('n') => label.push('\n'),
                    Some('r') => label.push('\r'),
                    Some('t') => label.push('\t'),
                    Some('0') => label.push('\0'),
                    Some(other) => label.push(other),
                    None => break,
                },
                other => label.push(other),
            }
        }
        all.push(label);
    }
    all
}

struct Keys {
    primary: Vec<usize>,
    unique: Vec<Vec<usize>>,
}

async fn keys(conn: &mut Conn, place: &str, what: &str, columns: &[Column]) -> Result<Keys, ConnectorError> {
    // Without a column name, a part is an expression; such a key is of no use to anybody but its server.
    let sql = format!(
        "select index_name, column_name, sub_part from information_schema.statistics where {place} and non_unique = 0 \
         order by index_name, seq_in_index"
    );
    let parts: Vec<(String, Option<String>, Option<u64>)> = rows(conn, what, &sql).await?;
    let mut keys: Vec<(String, Option<Vec<usize>>)> = Vec::new();
    for (name, column, prefix) in parts {
        // A unique prefix is no unique column; the primary key identifies rows even so, as the log says it.
        let usable = prefix.is_none() || name.eq_ignore_ascii_case("primary");
        let index = column.filter(|_| usable).and_then(|column| columns.iter().position(|found| found.name == column));
        if keys.last().is_none_or(|(last, _)| *last != name) {
            keys.push((name, Some(Vec::new())));
        }
        if let Some((_, parts)) = keys.last_mut() {
            *parts = parts.take().zip(index).map(|(mut parts, index)| {
                parts.push(index);
                parts
            });
        }
    }
    let mut found = Keys { primary: Vec::new(), unique: Vec::new() };
    for (name, parts) in keys {
        match parts {
            Some(parts) if name.eq_ignore_ascii_case("primary") => found.primary = parts,
            Some(parts) => found.unique.push(parts),
            None => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_with_their_escapes() {
        assert_eq!(labels(r"enum('','a,b','it''s','back\\slash','x\ny')"), ["", "a,b", "it's", r"back\slash", "x\ny"]);
    }

    #[test]
    fn types_become_neutral_types() {
        let typed = |data_type: &str, column_type: &str, chars_max| {
            let (name, nullable, extra, collation) = (String::new(), String::new(), String::new(), None);
            sql_type(&FoundColumn {
                name,
                data_type: data_type.into(),
                column_type: column_type.into(),
                nullable,
                extra,
                chars_max,
                collation,
            })
        };
        assert_eq!(typed("int", "int(10) unsigned zerofill", None), Some(SqlType::UInt32));
        assert_eq!(typed("decimal", "decimal(65,30)", None), Some(SqlType::Decimal { precision: Some(65), scale: Some(30) }));
        assert_eq!(typed("bit", "bit(12)", None), Some(SqlType::Bits(12)));
        assert_eq!(typed("varchar", "varchar(9)", Some(9)), Some(SqlType::Text { chars_max: Some(9) }));
        assert_eq!(typed("inet6", "inet6", None), Some(SqlType::Other("inet6".into())));
        assert_eq!(typed("sql_variant", "sql_variant", None), None);
    }
}
