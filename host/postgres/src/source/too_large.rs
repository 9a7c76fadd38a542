//! Rows that the server has and cannot send.
//!
//! A message of PostgreSQL is made in one allocation, and those end at 1 GB (`MaxAllocSize`). So a row whose values are more
//! together cannot be sent, nor can an update with its old row (`replica identity full`), nor a value whose text in another
//! encoding is: the server refuses them each time they are asked for, and says neither of which table nor of which column.
//! The tables are asked then, since what is too large is still there most of the time.

use tidegate_connector::{ConnectorError, Dialect, ErrorClass};
use tidegate_model::TableName;
use tokio_postgres::{Client, Error};

use crate::fault::{ROW_TOO_LARGE, pg_error};

/// The search reads tables that may be large, and a task that stops shall not wait for it for ever.
const PATIENCE: &str = "60s";

/// Bytes from which on a value is worth naming. A text may become four times as long in another encoding.
const SUSPECT_BYTES: i64 = 200 << 20;

/// Columns whose values may be large, in an order that stays.
const COLUMNS: &str = "select a.attname::pg_catalog.text, t.typname::pg_catalog.text from pg_catalog.pg_attribute a \
    join pg_catalog.pg_type t on t.oid = a.atttypid join pg_catalog.pg_class c on c.oid = a.attrelid \
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
    where n.nspname = $1::pg_catalog.text::pg_catalog.name and c.relname = $2::pg_catalog.text::pg_catalog.name \
    and a.attnum > 0 and not a.attisdropped and a.attlen = -1 order by a.attnum";

/// A value that is above [`SUSPECT_BYTES`].
struct Suspect {
    table: TableName,
    column: String,
    bytes: i64,
}

/// The error with the table and the column that have the largest value; as it is when it is another error.
pub(crate) async fn explained(client: &Client, tables: &[TableName], error: ConnectorError) -> ConnectorError {
    if error.code() != ROW_TOO_LARGE {
        return error;
    }
    let found = largest(client, tables).await.unwrap_or_else(|failed| {
        tracing::warn!(error = failed.chain(), "look for the row that the server cannot send");
        None
    });
    let Some(Suspect { table, column, bytes }) = found else { return error };
    let message = format!("{}; the largest value is in column \"{column}\" of table \"{table}\", {bytes} bytes", error.chain());
    let told = match error.class() {
        ErrorClass::TableDefinite => ConnectorError::table(&table, ROW_TOO_LARGE, message),
        _ => ConnectorError::definite(ROW_TOO_LARGE, message),
    };
    match error.hint_text() {
        Some(hint) => told.hint(hint),
        None => told,
    }
}

async fn largest(client: &Client, tables: &[TableName]) -> Result<Option<Suspect>, ConnectorError> {
    let attempted = "look for the largest value";
    let failed = |error| pg_error(attempted, error);
    client.batch_execute(&format!("set statement_timeout = '{PATIENCE}'")).await.map_err(failed)?;
    let mut largest: Option<Suspect> = None;
    for table in tables {
        let columns = client.query(COLUMNS, &[&table.schema, &table.name]).await.map_err(failed)?;
        if columns.is_empty() {
            continue;
        }
        let named: Vec<(String, String)> =
            columns.iter().map(|row| Ok::<_, Error>((row.try_get(0)?, row.try_get(1)?))).collect::<Result<_, _>>().map_err(failed)?;
        let sizes: Vec<String> = named.iter().map(|(column, type_name)| format!("max({})", size_sql(column, type_name))).collect();
        let sql = format!("select array[{}]::pg_catalog.int8[] from {}", sizes.join(", "), Dialect::POSTGRES.table(table));
        let row = client.query_one(sql.as_str(), &[]).await.map_err(failed)?;
        let sizes: Vec<Option<i64>> = row.try_get(0).map_err(failed)?;
        for ((column, _), bytes) in named.into_iter().zip(sizes) {
            let bytes = bytes.unwrap_or_default();
            if bytes >= SUSPECT_BYTES && largest.as_ref().is_none_or(|other| other.bytes < bytes) {
                largest = Some(Suspect { table: table.clone(), column, bytes });
            }
        }
    }
    Ok(largest)
}

/// Bytes of a value, without reading it where its type allows that.
fn size_sql(column: &str, type_name: &str) -> String {
    let column = Dialect::POSTGRES.identifier(column);
    match type_name {
        "text" | "varchar" | "bpchar" | "bytea" => format!("pg_catalog.octet_length({column})"),
        // Of what is compressed, the compressed size.
        _ => format!("pg_catalog.pg_column_size({column})"),
    }
}
