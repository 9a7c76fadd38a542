//! The error table `tidegate.row_error`: rows of tasks that did not reach the target, one entry for each row.

use mysql_async::prelude::Queryable;
use mysql_async::{Row, Value};
use tidegate_connector::{CUT, ConnectorError, Dialect, RejectedId, RejectedOperation, RejectedRow, Resolved, RowId, StoredRejection};
use tidegate_model::{Fence, TableName, TaskId};

use super::session::{Server, text};
use super::{control, dms_tables};
use crate::connect::{rows, run};
use crate::fault::driver;

/// Part of the control tables' definition.
pub(crate) const TABLE_SQL: &str = "create table if not exists tidegate.row_error (
    task varchar(63) not null, schema_name varchar(64) not null, table_name varchar(64) not null, row_id char(64) not null,
    number bigint not null auto_increment, row_key longtext null, operation varchar(16) not null, position longtext null,
    module varchar(255) null, digest varchar(100) null, code varchar(255) not null, message longtext not null, image longtext null,
    `stored` longblob null, is_logged tinyint not null, times bigint not null default 1, happened_at datetime(6) not null,
    primary key (task, schema_name, table_name, row_id), unique key (number))
    engine = InnoDB character set utf8mb4 collate utf8mb4_bin";

const COLUMNS: &str =
    "schema_name, table_name, row_id, row_key, operation, position, module, digest, code, message, image, `stored`, is_logged";

/// Inside a transaction: settles entries, then writes new ones.
pub(crate) async fn write(
    server: &mut Server,
    fence: &Fence,
    resolved: &[Resolved],
    rejected: &[RejectedRow],
) -> Result<(), ConnectorError> {
    for entry in resolved {
        let row = entry.row_id.map_or_else(String::new, |id| format!(" and row_id = '{}'", id.to_hex()));
        let sql = format!("delete from tidegate.row_error where {}{row}", place(&fence.task, &entry.table));
        run(&mut server.conn, "settle entries of the error table", &sql).await?;
    }
    for row in rejected {
        run(&mut server.conn, "write a row of the error table", &insert_sql(&fence.task, row)).await?;
    }
    dms_tables::tell(server, rejected).await
}

fn insert_sql(task: &TaskId, row: &RejectedRow) -> String {
    let literal = |text: &str| Dialect::MYSQL.literal(text);
    let or_null = |text: &Option<String>| text.as_deref().map_or_else(|| "null".to_owned(), literal);
    let stored = row.stored.as_ref().filter(|bytes| !bytes.is_empty());
    let stored = stored
        .map_or_else(|| "null".to_owned(), |bytes| format!("x'{}'", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()));
    let values = [
        literal(&row.table.schema),
        literal(&row.table.name),
        literal(&row.row_id.to_hex()),
        or_null(&row.key),
        literal(row.operation.as_str()),
        or_null(&row.position),
        or_null(&row.module),
        or_null(&row.digest),
        literal(&row.code),
        literal(&row.message),
        or_null(&row.image),
        stored,
        u8::from(row.is_logged).to_string(),
    ];
    let updates: Vec<String> = COLUMNS.split(", ").zip(&values).skip(3).map(|(column, value)| format!("{column} = {value}")).collect();
    format!(
        "insert into tidegate.row_error (task, {COLUMNS}, happened_at) values ({}, {}, utc_timestamp(6)) \
         on duplicate key update {}, times = times + 1, happened_at = utc_timestamp(6)",
        text(task),
        values.join(", "),
        updates.join(", ")
    )
}

/// Forgets entries: of a table, or of the whole task.
pub(crate) async fn forget(server: &mut Server, task: &TaskId, table: Option<&TableName>) -> Result<(), ConnectorError> {
    let of = table.map_or_else(|| format!("task = {}", text(task)), |table| place(task, table));
    run(&mut server.conn, "forget entries of the error table", &format!("delete from tidegate.row_error where {of}")).await
}

/// Every entry's name; at most `max` that are not of cut rows.
pub(crate) async fn ids(server: &mut Server, fence: &Fence, max: u32) -> Result<Vec<RejectedId>, ConnectorError> {
    control::checkpoint(server, fence).await?;
    let is_cut = format!("code = {}", Dialect::MYSQL.literal(CUT));
    let (task, limit) = (text(&fence.task), u64::from(max) + 1);
    // Those first that are bounded.
    let sql = format!(
        "(select schema_name, table_name, row_id, 0 from tidegate.row_error where task = {task} and not {is_cut} limit {limit}) \
         union all (select schema_name, table_name, row_id, 1 from tidegate.row_error where task = {task} and {is_cut})"
    );
    let found: Vec<(String, String, String, bool)> = rows(&mut server.conn, "read the error table", &sql).await?;
    if found.iter().filter(|(.., is_cut)| !is_cut).count() > max as usize {
        let message = format!("the error table has more than {max} rows of task \"{}\"", fence.task);
        return Err(ConnectorError::definite("too_many_rejected_rows", message)
            .hint("correct what the entries name, then reload the tables concerned"));
    }
    let named = |(schema, name, id, is_cut): (String, String, String, bool)| {
        Ok(RejectedId { table: TableName::new(schema, name), row_id: row_id(&id)?, is_cut })
    };
    found.into_iter().map(named).collect()
}

/// Logged entries after a number.
pub(crate) async fn page(server: &mut Server, task: &TaskId, after: i64, max: u32) -> Result<Vec<StoredRejection>, ConnectorError> {
    if control::count_tables(server).await? < control::CONTROL_TABLES {
        return Ok(Vec::new());
    }
    let sql = format!(
        "select {COLUMNS}, number, times, timestampdiff(microsecond, '1970-01-01', happened_at) from tidegate.row_error \
         where task = {} and is_logged = 1 and number > {after} order by number limit {max}",
        text(task)
    );
    let found: Vec<Row> = server.conn.query(sql).await.map_err(|error| driver("read the error table", error))?;
    found.into_iter().map(stored).collect()
}

fn stored(mut row: Row) -> Result<StoredRejection, ConnectorError> {
    let broken = || control::unknown_text("row of the error table");
    let kept = bytes_of(&mut row, 11)?;
    let mut optional = |index: usize| -> Result<Option<String>, ConnectorError> {
        bytes_of(&mut row, index)?.map(|bytes| String::from_utf8(bytes).map_err(|_| broken())).transpose()
    };
    let (schema, name, id) = (optional(0)?, optional(1)?, optional(2)?);
    let (key, operation, position, module, digest) = (optional(3)?, optional(4)?, optional(5)?, optional(6)?, optional(7)?);
    let (code, message, image) = (optional(8)?, optional(9)?, optional(10)?);
    let numbers = [optional(13)?, optional(14)?, optional(15)?].map(|text| text.and_then(|text| text.parse::<i64>().ok()));
    let [Some(number), Some(times), Some(at_us)] = numbers else { return Err(broken()) };
    let table = TableName::new(schema.ok_or_else(broken)?, name.ok_or_else(broken)?);
    Ok(StoredRejection {
        number,
        times: times.unsigned_abs(),
        at_us,
        row: RejectedRow {
            table,
            row_id: row_id(&id.ok_or_else(broken)?)?,
            key,
            operation: operation.as_deref().and_then(RejectedOperation::named).ok_or_else(broken)?,
            position,
            module,
            digest,
            code: code.ok_or_else(broken)?,
            message: message.ok_or_else(broken)?,
            image,
            stored: kept,
            // Only logged entries are read.
            is_logged: true,
            exception: None,
        },
    })
}

fn bytes_of(row: &mut Row, index: usize) -> Result<Option<Vec<u8>>, ConnectorError> {
    match row.take::<Value, _>(index) {
        Some(Value::NULL) => Ok(None),
        Some(Value::Bytes(bytes)) => Ok(Some(bytes)),
        Some(Value::Int(number)) => Ok(Some(number.to_string().into_bytes())),
        Some(Value::UInt(number)) => Ok(Some(number.to_string().into_bytes())),
        _ => Err(control::unknown_text("value in the error table")),
    }
}

fn place(task: &TaskId, table: &TableName) -> String {
    format!(
        "task = {} and schema_name = {} and table_name = {}",
        text(task),
        Dialect::MYSQL.literal(&table.schema),
        Dialect::MYSQL.literal(&table.name)
    )
}

fn row_id(text: &str) -> Result<RowId, ConnectorError> {
    RowId::from_hex(text).ok_or_else(|| control::unknown_text("row id"))
}
