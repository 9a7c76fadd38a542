//! Tables of the target as SQL, by the table of types.

use tidegate_connector::types::{Spelling, Typed, choose};
use tidegate_connector::{ColumnOrigin, ConnectorError, Dialect, TargetTable};
use tidegate_model::{Column, SqlType, TableName};

use super::fault::{self, misfit};
use super::objects::{Kind, column_sql, table_tail};
use super::session::{Facts, Server};
use crate::connect::row;

/// Bytes that a key may have. Source: MySQL manual, "InnoDB Limits" (row format DYNAMIC, pages of 16 KB).
pub(crate) const KEY_BYTES_MAX: u32 = 3_072;

/// Bytes of a row without its texts and blobs. Source: MySQL manual, "Limits on Table Column Count and Row Size".
const ROW_BYTES_MAX: u64 = 65_535;

/// Bytes of a row that other columns than varchar may take, at the most that we leave for them.
const ROW_BYTES_OTHERS: u64 = 2_000;

/// Bytes of a character of utf8mb4.
const CHAR_BYTES: u32 = 4;

/// True when there is such a database. CREATE DATABASE IF NOT EXISTS would not do instead: in MySQL it waits for everybody who has
/// written to a table of the database, and everybody else waits behind it.
pub(crate) async fn has_database(server: &mut Server, name: &str) -> Result<bool, ConnectorError> {
    let name = server.facts().folded(&TableName::new(name, "")).schema;
    let sql = format!("select count(*) from information_schema.schemata where schema_name = {}", Dialect::MYSQL.literal(&name));
    let count: u64 = row(&mut server.conn, &format!("look for database \"{name}\""), &sql).await?;
    Ok(count > 0)
}

/// Creates the database that the table needs. The caller holds the fence.
pub(crate) async fn create_database(server: &mut Server, table: &TargetTable) -> Result<(), ConnectorError> {
    if has_database(server, &table.name.schema).await? {
        return Ok(());
    }
    let schema = Dialect::MYSQL.identifier(&table.name.schema);
    let sql = format!("create database if not exists {schema} character set utf8mb4 collate {}", server.facts().binary_collation());
    execute(server, table, &format!("create database {schema}"), &sql).await
}

/// Runs a statement that creates the table.
pub(crate) async fn execute_create(server: &mut Server, table: &TargetTable, sql: &str) -> Result<(), ConnectorError> {
    execute(server, table, &format!("create table \"{}\"", table.name), sql).await
}

pub(crate) async fn execute(server: &mut Server, table: &TargetTable, attempted: &str, sql: &str) -> Result<(), ConnectorError> {
    use mysql_async::prelude::Queryable;
    server.conn.query_drop(sql).await.map_err(|error| fault::of_table(&table.source.schema.name, attempted, error))
}

/// `create table …` with its primary key.
pub(crate) fn create_sql(table: &TargetTable, facts: &Facts) -> Result<String, ConnectorError> {
    Ok(create_sql_with(table, &column_types(table, facts)?, &[], facts))
}

/// The types of a table's columns.
pub(crate) fn column_types(table: &TargetTable, facts: &Facts) -> Result<Vec<String>, ConnectorError> {
    let mut types = (0..table.columns.len()).map(|index| column_type(table, index, facts)).collect::<Result<Vec<_>, _>>()?;
    shrink(&mut types, table);
    Ok(types)
}

/// The same with what else belongs to the columns, in their order.
pub(crate) fn create_sql_with(table: &TargetTable, types: &[String], pieces: &[Vec<(Kind, String)>], facts: &Facts) -> String {
    let mut parts = Vec::with_capacity(types.len() + 1);
    for (index, (column, type_sql)) in table.columns.iter().zip(types).enumerate() {
        let is_nullable = column.nullable && !table.primary_key.contains(&index);
        // The table's own collation need not be said, and then is not printed.
        let own = table.objects.wanted.collation.as_ref().and_then(|collation| type_sql.strip_suffix(&format!(" collate {collation}")));
        let type_sql = own.unwrap_or(type_sql);
        let definition = column_sql(type_sql, is_nullable, pieces.get(index).map_or(&[], Vec::as_slice), facts);
        parts.push(format!("{} {definition}", Dialect::MYSQL.identifier(&column.name)));
    }
    if !table.primary_key.is_empty() {
        let names = table.primary_key.iter().filter_map(|index| table.columns.get(*index)).map(|column| column.name.as_str());
        parts.push(format!("primary key ({})", Dialect::MYSQL.identifiers(names)));
    }
    format!("create table {} ({}) engine = InnoDB{}", Dialect::MYSQL.table(&table.name), parts.join(", "), table_tail(table, facts))
}

/// True for columns of the primary key and of what identifies rows.
pub(crate) fn is_key(table: &TargetTable, index: usize) -> bool {
    table.primary_key.contains(&index) || table.identity.contains(&index) || in_unique_key(table, index) || in_foreign_key(table, index)
}

/// A column with a value of another table's key is no longer than that.
fn in_foreign_key(table: &TargetTable, index: usize) -> bool {
    let keys = table.objects.wanted.foreign_keys.iter().filter(|key| key.enforced && key.valid);
    keys.into_iter().any(|key| key.columns.contains(&table.columns[index].name))
}

pub(crate) fn in_unique_key(table: &TargetTable, index: usize) -> bool {
    match table.columns[index].origin {
        ColumnOrigin::Source(at) => table.source.schema.unique_keys.iter().any(|key| key.contains(&at)),
        ColumnOrigin::Computed(_) | ColumnOrigin::Constant(_) => false,
    }
}

/// The source's column when the target's has its type.
fn same_source(table: &TargetTable, index: usize) -> Option<&Column> {
    let wanted = &table.columns[index];
    match wanted.origin {
        ColumnOrigin::Source(at) => table.source.schema.columns.get(at).filter(|column| column.sql_type == wanted.sql_type),
        ColumnOrigin::Computed(_) | ColumnOrigin::Constant(_) => None,
    }
}

pub(crate) fn column_type(table: &TargetTable, index: usize, facts: &Facts) -> Result<String, ConnectorError> {
    let wanted = &table.columns[index];
    let source = same_source(table, index);
    let in_key = is_key(table, index);
    let typed = Typed {
        source: table.source.schema.engine,
        target: facts.engine,
        sql_type: &wanted.sql_type,
        native: source.map_or("", |column| column.native_type.as_str()),
        in_key,
    };
    let rule = choose(&typed).ok_or_else(|| {
        misfit(table, "column_type", format!("found no type for column \"{}\" of type {:?}", wanted.name, wanted.sql_type))
            .hint("take the column out of the task with a remove-column rule")
    })?;
    let binary = format!(" character set utf8mb4 collate {}", facts.binary_collation());
    let collation = source.and_then(|column| column.collation.as_deref());
    let kept = match collation {
        Some(collation) if typed.source == typed.target => format!(" collate {collation}"),
        // Of the other kind of server, only collations that both have always had mean the same in both.
        Some(collation) if !in_key && is_common(collation) => format!(" collate {collation}"),
        _ => binary.clone(),
    };
    let labels = match &wanted.sql_type {
        SqlType::Enumeration(labels) | SqlType::SetOf(labels) => {
            labels.iter().map(|label| Dialect::MYSQL.literal(label)).collect::<Vec<_>>().join(",")
        }
        _ => String::new(),
    };
    let with = Spelling { key_length: key_length(table, index), binary, kept, labels };
    Ok(rule.spell(&typed, &with))
}

fn is_common(collation: &str) -> bool {
    matches!(collation, "utf8mb4_general_ci" | "utf8mb4_unicode_ci" | "utf8mb4_bin")
}

/// Characters (or bytes) that a key column without a useful length may have: the columns of the widest key share what
/// the others leave. A length of the source's own that fits is kept.
fn key_length(table: &TargetTable, index: usize) -> u32 {
    let sql_type = &table.columns[index].sql_type;
    let unit = if matches!(sql_type, SqlType::Bytes { .. }) { 1 } else { CHAR_BYTES };
    let bytes_of = |index: &usize| match &table.columns[*index].sql_type {
        SqlType::Text { chars_max: Some(chars) } if chars * CHAR_BYTES <= KEY_BYTES_MAX => (chars * CHAR_BYTES, 0),
        SqlType::Bytes { bytes_max: Some(bytes) } if *bytes <= KEY_BYTES_MAX => (*bytes, 0),
        SqlType::Text { .. } | SqlType::Bytes { .. } | SqlType::Other(_) => (0, 1),
        SqlType::Decimal { .. } => (30, 0),
        SqlType::Uuid => (36, 0),
        SqlType::Interval => (64, 0),
        _ => (8, 0),
    };
    let mut keys = vec![table.primary_key.clone(), table.identity.clone()];
    if !keys.iter().any(|key| key.contains(&index)) && in_foreign_key(table, index) {
        // As long as the key of the other table may be, which has its columns for itself.
        let place = |name: &String| table.columns.iter().position(|column| column.name == *name);
        keys = table.objects.wanted.foreign_keys.iter().map(|key| key.columns.iter().filter_map(place).collect()).collect();
        keys.retain(|key| key.contains(&index));
    }
    let share = keys.iter().map(|key| {
        let (fixed, open) = key.iter().map(bytes_of).fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
        KEY_BYTES_MAX.saturating_sub(fixed) / open.max(1)
    });
    let share = share.min().unwrap_or(KEY_BYTES_MAX) / unit;
    match sql_type {
        SqlType::Text { chars_max: Some(length) } | SqlType::Bytes { bytes_max: Some(length) } => (*length).min(share.max(1)),
        _ => share.max(1),
    }
}

/// Turns the widest varchar columns into texts until the row fits. Only columns whose type we chose; those of one engine
/// fitted at the source.
fn shrink(types: &mut [String], table: &TargetTable) {
    if table.source.schema.engine != tidegate_model::Engine::Postgres {
        return;
    }
    let width = |type_sql: &str| -> u64 {
        let length = type_sql.strip_prefix("varchar(").or_else(|| type_sql.strip_prefix("char("));
        let length = length.and_then(|rest| rest.split_once(')')).and_then(|(digits, _)| digits.parse::<u64>().ok());
        length.map_or(0, |length| length * u64::from(CHAR_BYTES) + 2)
    };
    loop {
        let total: u64 = types.iter().map(|type_sql| width(type_sql)).sum::<u64>() + types.len() as u64 * 12 + ROW_BYTES_OTHERS;
        if total <= ROW_BYTES_MAX {
            return;
        }
        let candidates = (0..types.len()).filter(|index| !is_key(table, *index) && types[*index].starts_with("varchar("));
        let Some(widest) = candidates.max_by_key(|index| width(&types[*index])) else { return };
        let rest = types[widest].split_once(')').map(|(_, rest)| rest.to_owned()).unwrap_or_default();
        types[widest] = format!("longtext{rest}");
    }
}
