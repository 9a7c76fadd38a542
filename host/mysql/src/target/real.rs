//! A table of the target as it really is, read from `information_schema`.

use tidegate_connector::{ConnectorError, Dialect};
use tidegate_model::TableName;

use super::session::Server;
use crate::catalog::labels;
use crate::connect::rows;

/// A column as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RealColumn {
    pub(crate) name: String,
    /// Without lengths, in lower case.
    pub(crate) data_type: String,
    /// As DDL spells it.
    pub(crate) column_type: String,
    pub(crate) nullable: bool,
    /// A default, an AUTO_INCREMENT, or nothing because it may be NULL.
    pub(crate) fills_itself: bool,
    pub(crate) is_generated: bool,
    /// ON UPDATE CURRENT_TIMESTAMP.
    pub(crate) bumps_itself: bool,
    pub(crate) charset: Option<String>,
    pub(crate) collation: Option<String>,
    pub(crate) length: Option<u64>,
    pub(crate) precision: Option<u64>,
    pub(crate) scale: Option<u64>,
    /// Digits of a second's fraction.
    pub(crate) fraction: u32,
    /// Of enumerations and sets.
    pub(crate) labels: Vec<String>,
}

/// A table as it is.
#[derive(Debug, Clone)]
pub(crate) struct RealTable {
    /// An ordinary table, no view or sequence.
    pub(crate) is_table: bool,
    /// `InnoDB`, `MyISAM`, …
    pub(crate) storage: String,
    pub(crate) columns: Vec<RealColumn>,
    /// Columns of unique indexes over whole columns; the primary key first.
    pub(crate) unique_keys: Vec<Vec<String>>,
    /// Names of unique indexes over parts of columns and expressions.
    pub(crate) partial_keys: Vec<String>,
    /// Unique indexes in all, those over parts of columns and expressions too.
    pub(crate) unique_count: usize,
}

type FoundColumn = (String, String, String, String, Option<String>, Option<String>);
type FoundSize = (Option<String>, Option<String>, Option<u64>, Option<u64>, Option<u64>, Option<u64>);

/// Reads a table's description; `None` when there is none.
pub(crate) async fn read_real(server: &mut Server, table: &TableName) -> Result<Option<RealTable>, ConnectorError> {
    let what = format!("describe table \"{table}\" of the target");
    let folded = server.facts().folded(table);
    let place =
        format!("table_schema = {} and table_name = {}", Dialect::MYSQL.literal(&folded.schema), Dialect::MYSQL.literal(&folded.name));
    let sql = format!("select table_type, engine from information_schema.tables where {place}");
    let found: Vec<(String, Option<String>)> = rows(&mut server.conn, &what, &sql).await?;
    let Some((kind, storage)) = found.into_iter().next() else { return Ok(None) };
    // The driver makes tuples of up to twelve values.
    let sql = format!(
        "select column_name, data_type, column_type, is_nullable, column_default, extra from information_schema.columns \
         where {place} order by ordinal_position"
    );
    let names = rows::<FoundColumn>(&mut server.conn, &what, &sql).await?;
    let sql = format!(
        "select character_set_name, collation_name, character_maximum_length, numeric_precision, numeric_scale, datetime_precision \
         from information_schema.columns where {place} order by ordinal_position"
    );
    let sizes = rows::<FoundSize>(&mut server.conn, &what, &sql).await?;
    let columns = names.into_iter().zip(sizes).map(|(found, size)| column(found, size)).collect();
    let sql = format!(
        "select index_name, column_name, sub_part from information_schema.statistics where {place} and non_unique = 0 \
         order by index_name <> 'PRIMARY', index_name, seq_in_index"
    );
    let parts: Vec<(String, Option<String>, Option<u64>)> = rows(&mut server.conn, &what, &sql).await?;
    let mut keys: Vec<(String, Option<Vec<String>>)> = Vec::new();
    for (name, column, prefix) in parts {
        if keys.last().is_none_or(|(last, _)| *last != name) {
            keys.push((name, Some(Vec::new())));
        }
        if let Some((_, columns)) = keys.last_mut() {
            // An expression, or a part of a column, tells no rows apart that the whole column does.
            *columns = columns.take().zip(column.filter(|_| prefix.is_none())).map(|(mut columns, column)| {
                columns.push(column);
                columns
            });
        }
    }
    let is_table = kind == "BASE TABLE" || kind == "SYSTEM VERSIONED";
    let unique_count = keys.len();
    let partial_keys = keys.iter().filter(|(_, columns)| columns.is_none()).map(|(name, _)| name.clone()).collect();
    let unique_keys = keys.into_iter().filter_map(|(_, columns)| columns).collect();
    Ok(Some(RealTable { is_table, storage: storage.unwrap_or_default(), columns, unique_keys, partial_keys, unique_count }))
}

fn column(found: FoundColumn, size: FoundSize) -> RealColumn {
    let (name, data_type, column_type, nullable, default, extra) = found;
    let (charset, collation, length, precision, scale, fraction) = size;
    let extra = extra.unwrap_or_default().to_ascii_uppercase();
    let nullable = nullable.eq_ignore_ascii_case("yes");
    let data_type = data_type.to_ascii_lowercase();
    let labels = if matches!(data_type.as_str(), "enum" | "set") { labels(&column_type) } else { Vec::new() };
    RealColumn {
        fills_itself: nullable || default.is_some() || extra.contains("AUTO_INCREMENT") || extra.contains("DEFAULT_GENERATED"),
        is_generated: extra.contains("GENERATED") && !extra.contains("DEFAULT_GENERATED"),
        bumps_itself: extra.contains("ON UPDATE"),
        fraction: fraction.and_then(|digits| u32::try_from(digits).ok()).unwrap_or(0),
        name,
        data_type,
        column_type,
        nullable,
        charset,
        collation,
        length,
        precision,
        scale,
        labels,
    }
}
