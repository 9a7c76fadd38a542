//! The error table `tidegate.row_error`: rows of tasks that did not reach the target, one entry for each row.

use std::time::UNIX_EPOCH;

use tidegate_connector::{CUT, ConnectorError, RejectedId, RejectedOperation, RejectedRow, Resolved, RowId, StoredRejection};
use tidegate_model::{Fence, TableName, TaskId};
use tokio_postgres::{GenericClient, Row};

use super::{control, dms_tables};
use crate::connect::pg_error;

/// Part of the control tables' definition.
pub(crate) const TABLE_SQL: &str = "
create table if not exists tidegate.row_error (
    task text not null, schema_name text not null, table_name text not null, row_id text not null,
    number bigint generated always as identity, key text, operation text not null, position text, module text, digest text,
    code text not null, message text not null, image text, stored bytea, is_logged boolean not null,
    times bigint not null default 1, happened_at timestamptz not null default clock_timestamp(),
    primary key (task, schema_name, table_name, row_id));
create index if not exists row_error_number on tidegate.row_error (task, number);";

const COLUMNS: &str = "schema_name, table_name, row_id, key, operation, position, module, digest, code, message, image, stored, is_logged";

/// Inside a transaction that holds the fence: settles entries, then writes new ones.
pub(crate) async fn write(
    client: &impl GenericClient,
    fence: &Fence,
    resolved: &[Resolved],
    rejected: &[RejectedRow],
) -> Result<(), ConnectorError> {
    let task = fence.task.as_str();
    let failed = |error| pg_error("settle entries of the error table", error);
    for entry in resolved {
        let row_id = entry.row_id.map(RowId::to_hex);
        let sql = "delete from tidegate.row_error where task = $1 and schema_name = $2 and table_name = $3 \
                   and ($4::text is null or row_id = $4)";
        client.execute(sql, &[&task, &entry.table.schema, &entry.table.name, &row_id]).await.map_err(failed)?;
    }
    if rejected.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "insert into tidegate.row_error (task, {COLUMNS}) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) \
         on conflict (task, schema_name, table_name, row_id) do update set ({COLUMNS}, times, happened_at) = \
         (excluded.schema_name, excluded.table_name, excluded.row_id, excluded.key, excluded.operation, excluded.position, \
         excluded.module, excluded.digest, excluded.code, excluded.message, excluded.image, excluded.stored, excluded.is_logged, \
         row_error.times + 1, clock_timestamp())"
    );
    let failed = |error| pg_error("write a row of the error table", error);
    let statement = client.prepare(&sql).await.map_err(failed)?;
    for row in rejected {
        let (row_id, operation) = (row.row_id.to_hex(), row.operation.as_str());
        // The one character that PostgreSQL's text does not have.
        let (message, code) = (row.message.replace('\0', ""), row.code.replace('\0', ""));
        client
            .execute(
                &statement,
                &[
                    &task,
                    &row.table.schema,
                    &row.table.name,
                    &row_id,
                    &row.key,
                    &operation,
                    &row.position,
                    &row.module,
                    &row.digest,
                    &code,
                    &message,
                    &row.image,
                    &row.stored,
                    &row.is_logged,
                ],
            )
            .await
            .map_err(failed)?;
    }
    dms_tables::tell(client, rejected).await
}

/// Forgets entries: of a table, or of the whole task.
pub(crate) async fn forget(client: &impl GenericClient, task: &TaskId, table: Option<&TableName>) -> Result<(), ConnectorError> {
    let sql = "delete from tidegate.row_error where task = $1 and ($2::text is null or (schema_name = $2 and table_name = $3))";
    let (schema, name) = (table.map(|table| &table.schema), table.map(|table| &table.name));
    let done = client.execute(sql, &[&task.as_str(), &schema, &name]).await;
    done.map(|_| ()).map_err(|error| pg_error("forget entries of the error table", error))
}

/// Every entry's name; at most `max` that are not of cut rows.
pub(crate) async fn ids(client: &impl GenericClient, fence: &Fence, max: u32) -> Result<Vec<RejectedId>, ConnectorError> {
    control::checkpoint(client, fence).await?;
    let sql = "(select schema_name, table_name, row_id, false from tidegate.row_error where task = $1 and code <> $2 limit $3) \
               union all select schema_name, table_name, row_id, true from tidegate.row_error where task = $1 and code = $2";
    let rows = client.query(sql, &[&fence.task.as_str(), &CUT, &(i64::from(max) + 1)]).await;
    let rows = rows.map_err(|error| pg_error("read the error table", error))?;
    if rows.iter().filter(|row| !row.get::<_, bool>(3)).count() > max as usize {
        return Err(too_many(&fence.task, max));
    }
    let named = |row: &Row| {
        let table = TableName::new(row.get::<_, String>(0), row.get::<_, String>(1));
        Ok(RejectedId { table, row_id: row_id(row.get(2))?, is_cut: row.get(3) })
    };
    rows.iter().map(named).collect()
}

/// Logged entries after a number.
pub(crate) async fn page(client: &impl GenericClient, task: &TaskId, after: i64, max: u32) -> Result<Vec<StoredRejection>, ConnectorError> {
    let failed = |error| pg_error("read the error table", error);
    let exists: bool = client.query_one("select to_regclass('tidegate.row_error') is not null", &[]).await.map_err(failed)?.get(0);
    if !exists {
        return Ok(Vec::new());
    }
    let sql = format!(
        "select {COLUMNS}, number, times, happened_at from tidegate.row_error \
         where task = $1 and is_logged and number > $2 order by number limit $3"
    );
    let rows = client.query(&sql, &[&task.as_str(), &after, &i64::from(max)]).await.map_err(failed)?;
    rows.iter().map(stored).collect()
}

fn stored(row: &Row) -> Result<StoredRejection, ConnectorError> {
    let happened: std::time::SystemTime = row.get(15);
    let since = happened.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(StoredRejection {
        number: row.get(13),
        times: row.get::<_, i64>(14).unsigned_abs(),
        at_us: i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        row: RejectedRow {
            table: TableName::new(row.get::<_, String>(0), row.get::<_, String>(1)),
            row_id: row_id(row.get(2))?,
            key: row.get(3),
            operation: RejectedOperation::named(row.get(4)).ok_or_else(|| control::unknown_text("operation"))?,
            position: row.get(5),
            module: row.get(6),
            digest: row.get(7),
            code: row.get(8),
            message: row.get(9),
            image: row.get(10),
            stored: row.get(11),
            is_logged: row.get(12),
            exception: None,
        },
    })
}

fn row_id(text: &str) -> Result<RowId, ConnectorError> {
    RowId::from_hex(text).ok_or_else(|| control::unknown_text("row id"))
}

fn too_many(task: &TaskId, max: u32) -> ConnectorError {
    let message = format!("the error table has more than {max} rows of task \"{task}\"");
    ConnectorError::definite("too_many_rejected_rows", message).hint("correct what the entries name, then reload the tables concerned")
}
