//! What the target remembers of tasks: schema `tidegate`, in the tables `checkpoint`, `selection`, `table_state`, `definition`, `chunk` and
//! `object`, and in `row_error`, which [`super::rejected`] knows.
//!
//! A take-over locks the task's checkpoint row `for update`, so it waits for every transaction that holds the fence
//! (`for key share`) and for a lane that is about to commit; it ends sessions of older workers that hold it up.

use std::collections::HashMap;
use std::time::Duration;

use tidegate_connector::{Chunk, ChunkRecord, ConnectorError, Dialect, ServerSettings, TableRecord, TaskRecord};
use tidegate_model::{Fence, Position, TableName, TableState, TaskId, Window};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, GenericClient, Row};

use super::rejected;
use super::session::task_tag;
use crate::connect::{client, pg_error};

/// Makes two workers that create the control tables at once take turns. Any number that nobody else uses: "tidegate" in ASCII.
const CONTROL_LOCK: i64 = 0x7469_6465_6761_7465;

const CONTROL_SQL: &str = "
create schema if not exists tidegate;
create table if not exists tidegate.checkpoint (
    task text primary key, generation bigint not null, position text, source_identity text,
    updated_at timestamptz not null default now()) with (fillfactor = 50);
create table if not exists tidegate.selection (task text primary key, selection text not null);
create table if not exists tidegate.table_state (
    task text not null, schema_name text not null, table_name text not null, state text not null,
    window_low text, window_high text, reason text, updated_at timestamptz not null default now(),
    primary key (task, schema_name, table_name));
create table if not exists tidegate.definition (
    task text not null, schema_name text not null, table_name text not null, definition text not null,
    primary key (task, schema_name, table_name));
create table if not exists tidegate.chunk (
    task text not null, schema_name text not null, table_name text not null, chunk_index bigint not null, bounds text not null,
    window_low text, window_high text, row_count bigint, loaded_at timestamptz,
    primary key (task, schema_name, table_name, chunk_index));
create table if not exists tidegate.object (
    task text not null, schema_name text not null, table_name text not null, kind text not null, name text not null,
    state text not null, made_name text, reason text, updated_at timestamptz not null default now(),
    primary key (task, schema_name, table_name, kind, name));";

/// Attempts to lock the checkpoint row, each of a second: an older worker's session that does not end within this
/// time is one that its server cannot end.
const TAKE_ATTEMPTS: u32 = 30;

pub(crate) async fn take_over(server: &ServerSettings, task: &TaskId) -> Result<TaskRecord, ConnectorError> {
    let mut session = client(server, &format!("take {}", task_tag(task))).await?;
    create_tables(&mut session).await?;
    for _ in 0..TAKE_ATTEMPTS {
        match raise(&mut session, task).await {
            Ok(record) => {
                end_older_sessions(&session, task, record.fence.generation).await?;
                return Ok(record);
            }
            Err(Raise::Locked) => {
                let current = generation(&session, task).await?;
                end_older_sessions(&session, task, current.unwrap_or(0).saturating_add(1)).await?;
            }
            Err(Raise::Failed(error)) => return Err(error),
        }
    }
    Err(ConnectorError::transient("object_busy", format!("take over task \"{task}\": another session holds its checkpoint row"))
        .hint("end the sessions whose application_name starts with \"tidegate\" and names the task"))
}

async fn create_tables(session: &mut Client) -> Result<(), ConnectorError> {
    let attempted = "create schema \"tidegate\"";
    let found = "select count(*) = 7 from unnest(array['checkpoint', 'selection', 'table_state', 'definition', 'chunk', 'row_error', 'object']) name \
                 where to_regclass('tidegate.' || name) is not null";
    let exist: bool = session.query_one(found, &[]).await.map_err(|error| pg_error(attempted, error))?.get(0);
    if exist {
        return Ok(());
    }
    let sql = format!("begin; select pg_advisory_xact_lock({CONTROL_LOCK}); {CONTROL_SQL} {} commit", rejected::TABLE_SQL);
    session.batch_execute(&sql).await.map_err(|error| pg_error(attempted, error))
}

enum Raise {
    Locked,
    Failed(ConnectorError),
}

async fn raise(session: &mut Client, task: &TaskId) -> Result<TaskRecord, Raise> {
    let attempted = format!("take over task \"{task}\"");
    let failed = |error: tokio_postgres::Error| {
        if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) { Raise::Locked } else { Raise::Failed(pg_error(&attempted, error)) }
    };
    let name = task.as_str();
    let tx = session.transaction().await.map_err(failed)?;
    tx.batch_execute("set local lock_timeout = '1s'").await.map_err(failed)?;
    tx.execute("insert into tidegate.checkpoint (task, generation) values ($1, 0) on conflict do nothing", &[&name])
        .await
        .map_err(failed)?;
    tx.query_one("select 1 from tidegate.checkpoint where task = $1 for update", &[&name]).await.map_err(failed)?;
    let sql = "update tidegate.checkpoint set generation = generation + 1, updated_at = clock_timestamp() where task = $1 \
               returning generation, position, source_identity";
    let row = tx.query_one(sql, &[&name]).await.map_err(failed)?;
    let tables = read_tables(&tx, task).await.map_err(Raise::Failed)?;
    let selection = tx.query_opt("select selection from tidegate.selection where task = $1", &[&name]).await.map_err(failed)?;
    let position = row.get::<_, Option<String>>(1).map(|text| parse_position(&text)).transpose().map_err(Raise::Failed)?;
    tx.commit().await.map_err(failed)?;
    Ok(TaskRecord {
        fence: Fence { task: task.clone(), generation: row.get(0) },
        checkpoint: position,
        source_identity: row.get(2),
        selection: selection.map(|row| row.get(0)),
        tables,
    })
}

async fn generation(session: &Client, task: &TaskId) -> Result<Option<i64>, ConnectorError> {
    let row = session.query_opt("select generation from tidegate.checkpoint where task = $1", &[&task.as_str()]).await;
    Ok(row.map_err(|error| pg_error("read the checkpoint", error))?.map(|row| row.get(0)))
}

/// Ends the task's sessions of generations below `generation`. The right to do so follows from the same user.
async fn end_older_sessions(session: &Client, task: &TaskId, generation: i64) -> Result<(), ConnectorError> {
    let sql = "with older as materialized (
        select pid from pg_stat_activity
        where datname = current_database() and usename = current_user and pid <> pg_backend_pid()
          and case when application_name ~ '^tidegate [a-z]+ [^ ]+ [0-9]{1,18}$'
              then split_part(application_name, ' ', 3) = $1 and split_part(application_name, ' ', 4)::bigint < $2 else false end)
        select pg_terminate_backend(pid) from older";
    session.query(sql, &[&task_tag(task), &generation]).await.map_err(|error| pg_error("end sessions of an older worker", error))?;
    tokio::time::sleep(Duration::from_millis(20)).await;
    Ok(())
}

async fn read_tables(client: &impl GenericClient, task: &TaskId) -> Result<Vec<TableRecord>, ConnectorError> {
    let failed = |error| pg_error("read the task's tables", error);
    let sql = "select schema_name, table_name, state, window_low, window_high, reason, d.definition from tidegate.table_state \
         left join tidegate.definition d using (task, schema_name, table_name) where task = $1 order by 1, 2";
    let mut tables = Vec::new();
    for row in client.query(sql, &[&task.as_str()]).await.map_err(failed)? {
        tables.push(TableRecord {
            table: TableName::new(row.get::<_, String>(0), row.get::<_, String>(1)),
            state: state_of(&row)?,
            chunks: Vec::new(),
            definition: row.get(6),
        });
    }
    let places: HashMap<TableName, usize> = tables.iter().enumerate().map(|(place, record)| (record.table.clone(), place)).collect();
    let sql = "select schema_name, table_name, chunk_index, bounds, window_low, window_high, row_count from tidegate.chunk \
               where task = $1 order by 1, 2, 3";
    for row in client.query(sql, &[&task.as_str()]).await.map_err(failed)? {
        let name = TableName::new(row.get::<_, String>(0), row.get::<_, String>(1));
        let index = u32::try_from(row.get::<_, i64>(2)).map_err(|_| unknown_text("chunk index"))?;
        let window = window_of(row.get(4), row.get(5))?;
        let loaded = window.zip(row.get::<_, Option<i64>>(6)).map(|(window, rows)| (window, rows.unsigned_abs()));
        let chunk = Chunk { index, bounds: row.get(3) };
        if let Some(place) = places.get(&name) {
            tables[*place].chunks.push(ChunkRecord { chunk, loaded });
        }
    }
    Ok(tables)
}

/// True when there is a row of the task; false also where the control tables are missing.
pub(crate) async fn known_task(client: &impl GenericClient, task: &TaskId) -> Result<Option<Option<Position>>, ConnectorError> {
    let failed = |error| pg_error("look for the task", error);
    let exists: bool = client.query_one("select to_regclass('tidegate.checkpoint') is not null", &[]).await.map_err(failed)?.get(0);
    if !exists {
        return Ok(None);
    }
    let row = client.query_opt("select position from tidegate.checkpoint where task = $1", &[&task.as_str()]).await.map_err(failed)?;
    row.map(|row| row.get::<_, Option<String>>(0).map(|text| parse_position(&text)).transpose()).transpose()
}

pub(crate) async fn table_state(client: &impl GenericClient, fence: &Fence, table: &TableName) -> Result<TableState, ConnectorError> {
    checkpoint(client, fence).await?;
    let sql = "select schema_name, table_name, state, window_low, window_high, reason from tidegate.table_state \
               where task = $1 and schema_name = $2 and table_name = $3";
    let row = client.query_opt(sql, &[&fence.task.as_str(), &table.schema, &table.name]).await;
    match row.map_err(|error| pg_error("read a table's state", error))? {
        Some(row) => state_of(&row),
        None => Ok(TableState::Waiting),
    }
}

fn state_of(row: &Row) -> Result<TableState, ConnectorError> {
    Ok(match row.get::<_, &str>(2) {
        "waiting" => TableState::Waiting,
        "loading" => TableState::Loading,
        "catching_up" => TableState::CatchingUp { window: window_of(row.get(3), row.get(4))?.ok_or_else(|| unknown_text("window"))? },
        "loaded" => TableState::Loaded { window: window_of(row.get(3), row.get(4))? },
        "left_out" => TableState::LeftOut,
        "suspended" => TableState::Suspended { reason: row.get::<_, Option<String>>(5).ok_or_else(|| unknown_text("reason"))? },
        _ => return Err(unknown_text("table state")),
    })
}

fn window_of(low: Option<&str>, high: Option<&str>) -> Result<Option<Window>, ConnectorError> {
    match (low, high) {
        (Some(low), Some(high)) => Ok(Some(Window { low: parse_position(low)?, high: parse_position(high)? })),
        (None, None) => Ok(None),
        _ => Err(unknown_text("window")),
    }
}

fn parse_position(text: &str) -> Result<Position, ConnectorError> {
    text.parse()
        .map_err(|cause| ConnectorError::definite("checkpoint_unreadable", "read a position in schema \"tidegate\"").caused_by(cause))
}

pub(crate) fn unknown_text(what: &str) -> ConnectorError {
    ConnectorError::definite("checkpoint_unreadable", format!("found a {what} in schema \"tidegate\" that this version does not know"))
        .hint("run the version that wrote it, or a later one")
}

/// Inside a transaction of the caller: holds the fence until its end.
pub(crate) async fn hold_fence(client: &impl GenericClient, fence: &Fence) -> Result<(), ConnectorError> {
    let sql = "select 1 from tidegate.checkpoint where task = $1 and generation = $2 for key share";
    let row = client.query_opt(sql, &[&fence.task.as_str(), &fence.generation]).await;
    match row.map_err(|error| pg_error("check the fence", error))? {
        Some(_) => Ok(()),
        None => Err(ConnectorError::fenced(fence.task.as_str(), fence.generation)),
    }
}

pub(crate) async fn begin_task(tx: &impl GenericClient, fence: &Fence, position: &Position, identity: &str) -> Result<(), ConnectorError> {
    let failed = |error| pg_error("store the first checkpoint", error);
    let task = fence.task.as_str();
    let sql = "update tidegate.checkpoint set position = $3, source_identity = $4, updated_at = clock_timestamp() where task = $1 and generation = $2";
    let moved = tx.execute(sql, &[&task, &fence.generation, &position.to_string(), &identity]).await.map_err(failed)?;
    if moved != 1 {
        return Err(ConnectorError::fenced(task, fence.generation));
    }
    for table in ["selection", "table_state", "definition", "chunk", "object"] {
        tx.execute(&format!("delete from tidegate.{table} where task = $1"), &[&task]).await.map_err(failed)?;
    }
    rejected::forget(tx, &fence.task, None).await
}

pub(crate) async fn save_identity(client: &impl GenericClient, fence: &Fence, identity: &str) -> Result<(), ConnectorError> {
    let sql = "update tidegate.checkpoint set source_identity = $3 where task = $1 and generation = $2";
    let done = client.execute(sql, &[&fence.task.as_str(), &fence.generation, &identity]).await;
    match done.map_err(|error| pg_error("store the source's identity", error))? {
        0 => Err(ConnectorError::fenced(fence.task.as_str(), fence.generation)),
        _ => Ok(()),
    }
}

pub(crate) async fn save_selection(client: &impl GenericClient, fence: &Fence, selection: &str) -> Result<(), ConnectorError> {
    let sql =
        "insert into tidegate.selection (task, selection) values ($1, $2) on conflict (task) do update set selection = excluded.selection";
    let done = client.execute(sql, &[&fence.task.as_str(), &selection]).await;
    done.map(|_| ()).map_err(|error| pg_error("store the rules that select tables", error))
}

pub(crate) async fn forget_table(tx: &impl GenericClient, fence: &Fence, table: &TableName) -> Result<(), ConnectorError> {
    for of in ["table_state", "definition", "chunk"] {
        let sql = format!("delete from tidegate.{of} where task = $1 and schema_name = $2 and table_name = $3");
        let done = tx.execute(&sql, &[&fence.task.as_str(), &table.schema, &table.name]).await;
        done.map_err(|error| pg_error("forget a table", error))?;
    }
    Ok(())
}

pub(crate) async fn save_table(
    tx: &impl GenericClient,
    fence: &Fence,
    table: &TableName,
    state: &TableState,
) -> Result<(), ConnectorError> {
    tx.batch_execute(&save_states_sql(fence, std::iter::once((table, state))))
        .await
        .map_err(|error| pg_error("store a table's state", error))?;
    if *state == TableState::Waiting {
        forget_chunks(tx, fence, table).await?;
    }
    Ok(())
}

pub(crate) async fn save_definition(
    tx: &impl GenericClient,
    fence: &Fence,
    table: &TableName,
    definition: &str,
) -> Result<(), ConnectorError> {
    let sql = "insert into tidegate.definition (task, schema_name, table_name, definition) values ($1, $2, $3, $4) \
               on conflict (task, schema_name, table_name) do update set definition = excluded.definition";
    let done = tx.execute(sql, &[&fence.task.as_str(), &table.schema, &table.name, &definition]).await;
    done.map(|_| ()).map_err(|error| pg_error("store a table's definition", error))
}

/// A state as it is stored: its word, its window, its reason.
pub(crate) fn words(state: &TableState) -> (&'static str, Option<&Window>, Option<&str>) {
    match state {
        TableState::Waiting => ("waiting", None, None),
        TableState::Loading => ("loading", None, None),
        TableState::CatchingUp { window } => ("catching_up", Some(window), None),
        TableState::Loaded { window } => ("loaded", window.as_ref(), None),
        TableState::Suspended { reason } => ("suspended", None, Some(reason.as_str())),
        TableState::LeftOut => ("left_out", None, None),
    }
}

/// Stores the states of tables, each of which is named once; at least one.
pub(crate) fn save_states_sql<'a>(fence: &Fence, tables: impl Iterator<Item = (&'a TableName, &'a TableState)>) -> String {
    let literal = |text: &str| Dialect::POSTGRES.literal(text);
    let or_null = |text: Option<String>| text.map_or_else(|| "null".to_owned(), |text| literal(&text));
    let values = tables.map(|(table, state)| {
        let (word, window, reason) = words(state);
        let names = [fence.task.as_str(), &table.schema, &table.name, word].map(literal).join(", ");
        let (low, high) = (window.map(|window| window.low.to_string()), window.map(|window| window.high.to_string()));
        format!("({names}, {}, {}, {})", or_null(low), or_null(high), or_null(reason.map(str::to_owned)))
    });
    format!(
        "insert into tidegate.table_state (task, schema_name, table_name, state, window_low, window_high, reason) values {} \
         on conflict (task, schema_name, table_name) do update set state = excluded.state, window_low = excluded.window_low, \
         window_high = excluded.window_high, reason = excluded.reason, updated_at = clock_timestamp()",
        values.collect::<Vec<_>>().join(", ")
    )
}

pub(crate) async fn save_chunks(tx: &impl GenericClient, fence: &Fence, table: &TableName, chunks: &[Chunk]) -> Result<(), ConnectorError> {
    forget_chunks(tx, fence, table).await?;
    rejected::forget(tx, &fence.task, Some(table)).await?;
    save_table(tx, fence, table, &TableState::Loading).await?;
    let indexes: Vec<i64> = chunks.iter().map(|chunk| i64::from(chunk.index)).collect();
    let bounds: Vec<&str> = chunks.iter().map(|chunk| chunk.bounds.as_str()).collect();
    let sql = "insert into tidegate.chunk (task, schema_name, table_name, chunk_index, bounds) \
               select $1, $2, $3, i, b from unnest($4::bigint[], $5::text[]) c(i, b)";
    tx.execute(sql, &[&fence.task.as_str(), &table.schema, &table.name, &indexes, &bounds])
        .await
        .map_err(|error| pg_error("store the plan of a table's chunks", error))?;
    Ok(())
}

async fn forget_chunks(tx: &impl GenericClient, fence: &Fence, table: &TableName) -> Result<(), ConnectorError> {
    let sql = "delete from tidegate.chunk where task = $1 and schema_name = $2 and table_name = $3";
    let done = tx.execute(sql, &[&fence.task.as_str(), &table.schema, &table.name]).await;
    done.map(|_| ()).map_err(|error| pg_error("forget a table's chunks", error))
}

pub(crate) async fn checkpoint(client: &impl GenericClient, fence: &Fence) -> Result<Option<Position>, ConnectorError> {
    let sql = "select position from tidegate.checkpoint where task = $1 and generation = $2";
    let row =
        client.query_opt(sql, &[&fence.task.as_str(), &fence.generation]).await.map_err(|error| pg_error("read the checkpoint", error))?;
    let row = row.ok_or_else(|| ConnectorError::fenced(fence.task.as_str(), fence.generation))?;
    row.get::<_, Option<&str>>(0).map(parse_position).transpose()
}

pub(crate) async fn chunk_mark(
    client: &impl GenericClient,
    fence: &Fence,
    table: &TableName,
    chunk: &Chunk,
) -> Result<Option<(Window, u64)>, ConnectorError> {
    checkpoint(client, fence).await?;
    let sql = "select window_low, window_high, row_count from tidegate.chunk where task = $1 and schema_name = $2 and table_name = $3 \
               and chunk_index = $4 and bounds = $5";
    let index = i64::from(chunk.index);
    let row = client.query_opt(sql, &[&fence.task.as_str(), &table.schema, &table.name, &index, &chunk.bounds]).await;
    let Some(row) = row.map_err(|error| pg_error("read a chunk's mark", error))? else { return Ok(None) };
    let window = window_of(row.get(0), row.get(1))?;
    Ok(window.zip(row.get::<_, Option<i64>>(2)).map(|(window, rows)| (window, rows.unsigned_abs())))
}

/// Marks a chunk as loaded; once only, unless rows replace those that are there.
pub(crate) async fn mark_chunk(
    client: &impl GenericClient,
    fence: &Fence,
    table: &TableName,
    chunk: &Chunk,
    window: &Window,
    rows: u64,
    replace: bool,
) -> Result<(), ConnectorError> {
    let sql = "update tidegate.chunk set window_low = $6, window_high = $7, row_count = $8, loaded_at = clock_timestamp() \
               where task = $1 and schema_name = $2 and table_name = $3 and chunk_index = $4 and bounds = $5 and (loaded_at is null or $9)";
    let (index, count) = (i64::from(chunk.index), i64::try_from(rows).unwrap_or(i64::MAX));
    let (low, high) = (window.low.to_string(), window.high.to_string());
    let task = fence.task.as_str();
    // With their types told, one request does.
    let texts = [task, &table.schema, &table.name, &chunk.bounds, &low, &high];
    let [task, schema, name, bounds, low, high] = texts.each_ref().map(|text| (text as &(dyn ToSql + Sync), Type::TEXT));
    let (index, count) = ((&index as &(dyn ToSql + Sync), Type::INT8), (&count as &(dyn ToSql + Sync), Type::INT8));
    let replace = (&replace as &(dyn ToSql + Sync), Type::BOOL);
    let marked = client.execute_typed(sql, &[task, schema, name, index, bounds, low, high, count, replace]).await;
    if marked.map_err(|error| pg_error("mark a chunk", error))? == 1 {
        return Ok(());
    }
    let message = format!("chunk {} of table \"{table}\" is not in the stored plan, or was loaded before", chunk.index);
    Err(ConnectorError::table(table, "chunk_unknown", message).hint("reload the table"))
}

pub(crate) async fn forget_task(server: &ServerSettings, task: &TaskId) -> Result<(), ConnectorError> {
    let mut session = client(server, &format!("forget {}", task_tag(task))).await?;
    let failed = |error| pg_error("forget a task", error);
    let exists: bool = session.query_one("select to_regclass('tidegate.checkpoint') is not null", &[]).await.map_err(failed)?.get(0);
    if !exists {
        return Ok(());
    }
    // An earlier version made fewer of them.
    create_tables(&mut session).await?;
    let tx = session.transaction().await.map_err(failed)?;
    for table in ["chunk", "table_state", "definition", "object", "selection", "checkpoint"] {
        tx.execute(&format!("delete from tidegate.{table} where task = $1"), &[&task.as_str()]).await.map_err(failed)?;
    }
    // A task that an earlier version left behind never had one.
    let errors: bool = tx.query_one("select to_regclass('tidegate.row_error') is not null", &[]).await.map_err(failed)?.get(0);
    if errors {
        rejected::forget(&tx, task, None).await?;
    }
    tx.commit().await.map_err(failed)
}
