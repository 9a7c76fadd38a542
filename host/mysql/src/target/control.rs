//! What the target remembers of tasks: database `tidegate`, in the tables `fence`, `checkpoint`, `selection`, `table_state`,
//! `definition`, `chunk`, `session`, `row_error` and `object`, all InnoDB.
//!
//! The fence has a table of its own: many transactions share its row while a lane moves the checkpoint beside them.

use std::collections::HashMap;

use tidegate_connector::{Chunk, ChunkRecord, ConnectorError, Dialect, LoadPlan, TableRecord};
use tidegate_model::{Fence, Position, TableName, TableState, TaskId, Window};

use super::session::{Server, text};
use crate::connect::{rows, run};

/// In MySQL, names of tables compare by bytes; positions of MySQL have no bound.
const CONTROL_SQL: [&str; 10] = [
    "create database if not exists tidegate character set utf8mb4 collate utf8mb4_bin",
    "create table if not exists tidegate.fence (
        task varchar(63) not null primary key, generation bigint not null) engine = InnoDB character set utf8mb4 collate utf8mb4_bin",
    "create table if not exists tidegate.checkpoint (
        task varchar(63) not null primary key, position longtext null, source_identity longtext null,
        updated_at datetime(6) null) engine = InnoDB character set utf8mb4 collate utf8mb4_bin",
    "create table if not exists tidegate.selection (
        task varchar(63) not null primary key, selection longtext not null) engine = InnoDB character set utf8mb4 collate utf8mb4_bin",
    "create table if not exists tidegate.table_state (
        task varchar(63) not null, schema_name varchar(64) not null, table_name varchar(64) not null, state varchar(16) not null,
        window_low longtext null, window_high longtext null, reason longtext null, updated_at datetime(6) null,
        primary key (task, schema_name, table_name)) engine = InnoDB character set utf8mb4 collate utf8mb4_bin",
    "create table if not exists tidegate.definition (
        task varchar(63) not null, schema_name varchar(64) not null, table_name varchar(64) not null, definition longtext not null,
        primary key (task, schema_name, table_name)) engine = InnoDB character set utf8mb4 collate utf8mb4_bin",
    "create table if not exists tidegate.chunk (
        task varchar(63) not null, schema_name varchar(64) not null, table_name varchar(64) not null, chunk_index bigint not null,
        bounds longtext not null, window_low longtext null, window_high longtext null, row_count bigint null, loaded_at datetime(6) null,
        primary key (task, schema_name, table_name, chunk_index)) engine = InnoDB character set utf8mb4 collate utf8mb4_bin",
    "create table if not exists tidegate.session (
        task varchar(63) not null, generation bigint not null, token varchar(64) not null primary key)
        engine = InnoDB character set utf8mb4 collate utf8mb4_bin",
    super::rejected::TABLE_SQL,
    super::objects::TABLE_SQL,
];

/// Tables of ours.
pub(crate) const CONTROL_TABLES: usize = CONTROL_SQL.len() - 1;

/// Rows of a chunk plan that one statement stores.
const CHUNKS_PER_STATEMENT: usize = 500;

pub(crate) async fn create_tables(server: &mut Server) -> Result<(), ConnectorError> {
    if count_tables(server).await? == CONTROL_TABLES {
        return Ok(());
    }
    for sql in CONTROL_SQL {
        run(&mut server.conn, "create the control tables in database \"tidegate\"", sql).await?;
    }
    Ok(())
}

/// How many of the control tables are there.
pub(crate) async fn count_tables(server: &mut Server) -> Result<usize, ConnectorError> {
    let sql = "select count(*) from information_schema.tables where table_schema = 'tidegate' \
               and table_name in ('fence', 'checkpoint', 'selection', 'table_state', 'definition', 'chunk', 'session', 'row_error', 'object')";
    let found: Vec<usize> = rows(&mut server.conn, "look for the control tables", sql).await?;
    Ok(found.first().copied().unwrap_or(0))
}

/// Position and identity of the source.
pub(crate) async fn read_checkpoint(server: &mut Server, task: &TaskId) -> Result<(Option<Position>, Option<String>), ConnectorError> {
    let sql = format!("select position, source_identity from tidegate.checkpoint where task = {}", text(task));
    let found: Vec<(Option<String>, Option<String>)> = rows(&mut server.conn, "read the checkpoint", &sql).await?;
    let (position, identity) = found.into_iter().next().unwrap_or_default();
    Ok((position.as_deref().map(parse_position).transpose()?, identity))
}

/// What [`save_selection`] stored.
pub(crate) async fn read_selection(server: &mut Server, task: &TaskId) -> Result<Option<String>, ConnectorError> {
    let sql = format!("select selection from tidegate.selection where task = {}", text(task));
    Ok(rows(&mut server.conn, "read the rules that select tables", &sql).await?.into_iter().next())
}

type StateRow = (String, String, String, Option<String>, Option<String>, Option<String>, Option<String>);
type ChunkRow = (String, String, u32, String, Option<String>, Option<String>, Option<u64>);

pub(crate) async fn read_tables(server: &mut Server, task: &TaskId) -> Result<Vec<TableRecord>, ConnectorError> {
    let what = "read the task's tables";
    let sql = format!(
        "select schema_name, table_name, state, window_low, window_high, reason, definition from tidegate.table_state \
         left join tidegate.definition using (task, schema_name, table_name) where task = {} order by 1, 2",
        text(task)
    );
    let mut tables = Vec::new();
    for row in rows::<StateRow>(&mut server.conn, what, &sql).await? {
        let (table, definition) = (TableName::new(row.0.clone(), row.1.clone()), row.6.clone());
        tables.push(TableRecord { table, state: state_of(row)?, chunks: Vec::new(), definition });
    }
    let places: HashMap<TableName, usize> = tables.iter().enumerate().map(|(place, record)| (record.table.clone(), place)).collect();
    let sql = format!(
        "select schema_name, table_name, chunk_index, bounds, window_low, window_high, row_count from tidegate.chunk \
         where task = {} order by 1, 2, 3",
        text(task)
    );
    for (schema, name, index, bounds, low, high, count) in rows::<ChunkRow>(&mut server.conn, what, &sql).await? {
        let name = TableName::new(schema, name);
        let loaded = window_of(low, high)?.zip(count);
        if let Some(place) = places.get(&name) {
            tables[*place].chunks.push(ChunkRecord { chunk: Chunk { index, bounds }, loaded });
        }
    }
    Ok(tables)
}

/// What is known of a task; `None` also where the control tables are missing.
pub(crate) async fn known_task(server: &mut Server, task: &TaskId) -> Result<Option<Option<Position>>, ConnectorError> {
    if count_tables(server).await? < CONTROL_TABLES {
        return Ok(None);
    }
    let sql = format!("select position from tidegate.checkpoint where task = {}", text(task));
    let found: Vec<Option<String>> = rows(&mut server.conn, "look for the task", &sql).await?;
    found.into_iter().next().map(|position| position.as_deref().map(parse_position).transpose()).transpose()
}

/// # Errors
/// `Fenced` when the stored generation is another.
pub(crate) async fn checkpoint(server: &mut Server, fence: &Fence) -> Result<Option<Position>, ConnectorError> {
    let sql = format!(
        "select c.position from tidegate.fence f left join tidegate.checkpoint c on c.task = f.task where f.task = {} and f.generation = {}",
        text(&fence.task),
        fence.generation
    );
    let found: Vec<Option<String>> = rows(&mut server.conn, "read the checkpoint", &sql).await?;
    let row = found.into_iter().next().ok_or_else(|| ConnectorError::fenced(fence.task.as_str(), fence.generation))?;
    row.as_deref().map(parse_position).transpose()
}

pub(crate) async fn table_state(server: &mut Server, fence: &Fence, table: &TableName) -> Result<TableState, ConnectorError> {
    checkpoint(server, fence).await?;
    let sql = format!(
        "select schema_name, table_name, state, window_low, window_high, reason, null from tidegate.table_state where {}",
        place(fence, table)
    );
    let found = rows::<StateRow>(&mut server.conn, "read a table's state", &sql).await?;
    found.into_iter().next().map_or(Ok(TableState::Waiting), state_of)
}

/// Stores the first checkpoint and forgets tables and chunks.
pub(crate) async fn begin_task(server: &mut Server, fence: &Fence, position: &Position, identity: &str) -> Result<(), ConnectorError> {
    let what = "store the first checkpoint";
    let task = text(&fence.task);
    let literal = |text: &str| Dialect::MYSQL.literal(text);
    for sql in [
        format!("delete from tidegate.chunk where task = {task}"),
        format!("delete from tidegate.selection where task = {task}"),
        format!("delete from tidegate.table_state where task = {task}"),
        format!("delete from tidegate.definition where task = {task}"),
        format!("delete from tidegate.row_error where task = {task}"),
        format!("delete from tidegate.object where task = {task}"),
        format!(
            "insert into tidegate.checkpoint (task, position, source_identity, updated_at) values ({task}, {}, {}, utc_timestamp(6)) \
             on duplicate key update position = {}, source_identity = {}, updated_at = utc_timestamp(6)",
            literal(&position.to_string()),
            literal(identity),
            literal(&position.to_string()),
            literal(identity)
        ),
    ] {
        run(&mut server.conn, what, &sql).await?;
    }
    Ok(())
}

pub(crate) async fn save_identity(server: &mut Server, fence: &Fence, identity: &str) -> Result<(), ConnectorError> {
    let (identity, task) = (Dialect::MYSQL.literal(identity), text(&fence.task));
    let sql = format!("update tidegate.checkpoint set source_identity = {identity} where task = {task}");
    run(&mut server.conn, "store the source's identity", &sql).await
}

pub(crate) async fn save_selection(server: &mut Server, fence: &Fence, selection: &str) -> Result<(), ConnectorError> {
    let (selection, task) = (Dialect::MYSQL.literal(selection), text(&fence.task));
    let sql = format!(
        "insert into tidegate.selection (task, selection) values ({task}, {selection}) on duplicate key update selection = {selection}"
    );
    run(&mut server.conn, "store the rules that select tables", &sql).await
}

pub(crate) async fn forget_table(server: &mut Server, fence: &Fence, table: &TableName) -> Result<(), ConnectorError> {
    for of in ["table_state", "definition", "chunk"] {
        let sql = format!("delete from tidegate.{of} where {}", place(fence, table));
        run(&mut server.conn, "forget a table", &sql).await?;
    }
    Ok(())
}

pub(crate) async fn save_table(server: &mut Server, fence: &Fence, table: &TableName, state: &TableState) -> Result<(), ConnectorError> {
    run(&mut server.conn, "store a table's state", &save_table_sql(fence, table, state)).await?;
    if *state == TableState::Waiting {
        forget_chunks(server, fence, table).await?;
    }
    Ok(())
}

pub(crate) async fn save_definition(server: &mut Server, fence: &Fence, table: &TableName, definition: &str) -> Result<(), ConnectorError> {
    let definition = Dialect::MYSQL.literal(definition);
    let sql = format!(
        "insert into tidegate.definition (task, schema_name, table_name, definition) values ({}, {}, {}, {definition}) \
         on duplicate key update definition = {definition}",
        text(&fence.task),
        Dialect::MYSQL.literal(&table.schema),
        Dialect::MYSQL.literal(&table.name)
    );
    run(&mut server.conn, "store a table's definition", &sql).await
}

/// Stores a table's state.
pub(crate) fn save_table_sql(fence: &Fence, table: &TableName, state: &TableState) -> String {
    let (word, window, reason) = match state {
        TableState::Waiting => ("waiting", None, None),
        TableState::Loading => ("loading", None, None),
        TableState::CatchingUp { window } => ("catching_up", Some(window), None),
        TableState::Loaded { window } => ("loaded", window.as_ref(), None),
        TableState::Suspended { reason } => ("suspended", None, Some(reason.as_str())),
        TableState::LeftOut => ("left_out", None, None),
    };
    let literal = |text: Option<String>| text.map_or_else(|| "null".to_owned(), |text| Dialect::MYSQL.literal(&text));
    let low = literal(window.map(|window| window.low.to_string()));
    let high = literal(window.map(|window| window.high.to_string()));
    let reason = literal(reason.map(str::to_owned));
    format!(
        "insert into tidegate.table_state (task, schema_name, table_name, state, window_low, window_high, reason, updated_at) \
         values ({}, {}, {}, '{word}', {low}, {high}, {reason}, utc_timestamp(6)) on duplicate key update state = '{word}', \
         window_low = {low}, window_high = {high}, reason = {reason}, updated_at = utc_timestamp(6)",
        text(&fence.task),
        Dialect::MYSQL.literal(&table.schema),
        Dialect::MYSQL.literal(&table.name)
    )
}

pub(crate) async fn save_chunks(server: &mut Server, fence: &Fence, table: &TableName, chunks: &[Chunk]) -> Result<(), ConnectorError> {
    forget_chunks(server, fence, table).await?;
    super::rejected::forget(server, &fence.task, Some(table)).await?;
    save_table(server, fence, table, &TableState::Loading).await?;
    let (task, schema, name) = (text(&fence.task), Dialect::MYSQL.literal(&table.schema), Dialect::MYSQL.literal(&table.name));
    for part in chunks.chunks(CHUNKS_PER_STATEMENT) {
        let values: Vec<String> = part
            .iter()
            .map(|chunk| format!("({task}, {schema}, {name}, {}, {})", chunk.index, Dialect::MYSQL.literal(&chunk.bounds)))
            .collect();
        let sql = format!("insert into tidegate.chunk (task, schema_name, table_name, chunk_index, bounds) values {}", values.join(", "));
        run(&mut server.conn, "store the plan of a table's chunks", &sql).await?;
    }
    Ok(())
}

/// Definition, chunks, and the marks of those that have no rows.
pub(crate) async fn save_plan(server: &mut Server, fence: &Fence, plan: &LoadPlan) -> Result<(), ConnectorError> {
    save_definition(server, fence, &plan.table, &plan.definition).await?;
    let chunks: Vec<Chunk> = plan.chunks.iter().map(|record| record.chunk.clone()).collect();
    save_chunks(server, fence, &plan.table, &chunks).await?;
    for ChunkRecord { chunk, loaded } in &plan.chunks {
        if let Some((window, rows)) = loaded {
            mark_chunk(server, fence, &plan.table, chunk, window, *rows, false).await?;
        }
    }
    Ok(())
}

async fn forget_chunks(server: &mut Server, fence: &Fence, table: &TableName) -> Result<(), ConnectorError> {
    run(&mut server.conn, "forget a table's chunks", &format!("delete from tidegate.chunk where {}", place(fence, table))).await
}

pub(crate) async fn chunk_mark(
    server: &mut Server,
    fence: &Fence,
    table: &TableName,
    chunk: &Chunk,
) -> Result<Option<(Window, u64)>, ConnectorError> {
    checkpoint(server, fence).await?;
    let sql = format!("select window_low, window_high, row_count from tidegate.chunk where {}", chunk_place(fence, table, chunk));
    let found: Vec<(Option<String>, Option<String>, Option<u64>)> = rows(&mut server.conn, "read a chunk's mark", &sql).await?;
    let Some((low, high, count)) = found.into_iter().next() else { return Ok(None) };
    Ok(window_of(low, high)?.zip(count))
}

/// Marks a chunk as loaded; once only, unless rows replace those that are there.
pub(crate) async fn mark_chunk(
    server: &mut Server,
    fence: &Fence,
    table: &TableName,
    chunk: &Chunk,
    window: &Window,
    count: u64,
    replace: bool,
) -> Result<(), ConnectorError> {
    let once = if replace { "" } else { " and loaded_at is null" };
    let sql = format!(
        "update tidegate.chunk set window_low = {}, window_high = {}, row_count = {count}, loaded_at = utc_timestamp(6) where {}{once}",
        Dialect::MYSQL.literal(&window.low.to_string()),
        Dialect::MYSQL.literal(&window.high.to_string()),
        chunk_place(fence, table, chunk)
    );
    run(&mut server.conn, "mark a chunk", &sql).await?;
    if server.conn.affected_rows() == 1 {
        return Ok(());
    }
    let message = format!("chunk {} of table \"{table}\" is not in the stored plan, or was loaded before", chunk.index);
    Err(ConnectorError::table(table, "chunk_unknown", message).hint("reload the table"))
}

pub(crate) async fn forget_task(server: &mut Server, task: &TaskId) -> Result<(), ConnectorError> {
    if count_tables(server).await? < CONTROL_TABLES {
        return Ok(());
    }
    let what = "forget a task";
    run(&mut server.conn, what, "start transaction").await?;
    for table in ["fence", "chunk", "table_state", "definition", "selection", "checkpoint", "session", "row_error", "object"] {
        run(&mut server.conn, what, &format!("delete from tidegate.{table} where task = {}", text(task))).await?;
    }
    server.commit().await
}

fn place(fence: &Fence, table: &TableName) -> String {
    format!(
        "task = {} and schema_name = {} and table_name = {}",
        text(&fence.task),
        Dialect::MYSQL.literal(&table.schema),
        Dialect::MYSQL.literal(&table.name)
    )
}

fn chunk_place(fence: &Fence, table: &TableName, chunk: &Chunk) -> String {
    format!("{} and chunk_index = {} and bounds = {}", place(fence, table), chunk.index, Dialect::MYSQL.literal(&chunk.bounds))
}

fn state_of((_, _, word, low, high, reason, _): StateRow) -> Result<TableState, ConnectorError> {
    Ok(match word.as_str() {
        "waiting" => TableState::Waiting,
        "loading" => TableState::Loading,
        "catching_up" => TableState::CatchingUp { window: window_of(low, high)?.ok_or_else(|| unknown_text("window"))? },
        "loaded" => TableState::Loaded { window: window_of(low, high)? },
        "left_out" => TableState::LeftOut,
        "suspended" => TableState::Suspended { reason: reason.unwrap_or_default() },
        _ => return Err(unknown_text("table state")),
    })
}

fn window_of(low: Option<String>, high: Option<String>) -> Result<Option<Window>, ConnectorError> {
    match (low, high) {
        (Some(low), Some(high)) => Ok(Some(Window { low: parse_position(&low)?, high: parse_position(&high)? })),
        _ => Ok(None),
    }
}

fn parse_position(text: &str) -> Result<Position, ConnectorError> {
    text.parse().map_err(|error: tidegate_model::position::PositionError| unknown_text("position").caused_by(error))
}

pub(crate) fn unknown_text(what: &str) -> ConnectorError {
    ConnectorError::definite("checkpoint_unreadable", format!("found a {what} in database \"tidegate\" that is none"))
        .hint("restore the database \"tidegate\", or delete the task's rows in it and load the task again")
}
