//! `tidegate.object`: what the task built on which table, under which name, and what it could not build.
//!
//! A row of the kind `table` says that the task created the table: only such tables get objects. States: `built`;
//! `refused` by the server when the table was created, and not told yet; `omitted`, told. `made_name` is the object's
//! name, for pieces of columns their text.

use std::collections::HashMap;

use tidegate_connector::{ConnectorError, Dialect};
use tidegate_model::{Fence, TableName, TaskId};

use crate::connect::{rows, run};
use crate::target::session::{Server, text};

pub(crate) const TABLE_SQL: &str = "create table if not exists tidegate.object (
        task varchar(63) not null, schema_name varchar(64) not null, table_name varchar(64) not null, kind varchar(32) not null,
        name varchar(255) not null, state varchar(8) not null, made_name longtext null, reason longtext null,
        primary key (task, schema_name, table_name, kind, name)) engine = InnoDB character set utf8mb4 collate utf8mb4_bin";

/// The kind of the rows that say who made a table.
const TABLE: &str = "table";

/// Characters of a name that a record keeps.
const NAME_CHARS_MAX: usize = 255;

const READ: &str = "read what was built";
const NOTE: &str = "note what was built";

/// What became of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    Built(String),
    /// Not told yet.
    Refused(String),
    Omitted(String),
}

/// A task's records by table, kind and name.
pub(super) struct Records(HashMap<(TableName, String, String), State>);

impl Records {
    pub(super) async fn read(server: &mut Server, fence: &Fence) -> Result<Records, ConnectorError> {
        let sql = format!(
            "select schema_name, table_name, kind, name, state, made_name, reason from tidegate.object where task = {}",
            text(&fence.task)
        );
        type Row = (String, String, String, String, String, Option<String>, Option<String>);
        let found: Vec<Row> = rows(&mut server.conn, READ, &sql).await?;
        let records = found.into_iter().map(|(schema, table, kind, name, state, made, reason)| {
            let state = match state.as_str() {
                "built" => State::Built(made.unwrap_or_default()),
                "refused" => State::Refused(reason.unwrap_or_default()),
                _ => State::Omitted(reason.unwrap_or_default()),
            };
            ((TableName::new(schema, table), kind, name), state)
        });
        Ok(Records(records.collect()))
    }

    pub(super) fn get(&self, table: &TableName, kind: &str, name: &str) -> Option<&State> {
        self.0.get(&(table.clone(), kind.to_owned(), kept(name)))
    }

    pub(super) fn is_ours(&self, table: &TableName) -> bool {
        self.get(table, TABLE, "").is_some()
    }
}

fn kept(name: &str) -> String {
    name.chars().take(NAME_CHARS_MAX).collect()
}

pub(super) fn place(fence: &Fence, table: &TableName) -> String {
    let literal = |text: &str| Dialect::MYSQL.literal(text);
    format!("task = {} and schema_name = {} and table_name = {}", text(&fence.task), literal(&table.schema), literal(&table.name))
}

/// Notes what became of objects of a table: kind, name, state.
pub(super) async fn note(
    server: &mut Server,
    fence: &Fence,
    table: &TableName,
    objects: &[(&str, &str, State)],
) -> Result<(), ConnectorError> {
    if objects.is_empty() {
        return Ok(());
    }
    let literal = |text: &str| Dialect::MYSQL.literal(text);
    let values = objects.iter().map(|(kind, name, state)| {
        let (state, made, reason) = match state {
            State::Built(made) => ("built", literal(made), "null".to_owned()),
            State::Refused(reason) => ("refused", "null".to_owned(), literal(reason)),
            State::Omitted(reason) => ("omitted", "null".to_owned(), literal(reason)),
        };
        let (schema, table) = (literal(&table.schema), literal(&table.name));
        format!("({}, {schema}, {table}, {}, {}, '{state}', {made}, {reason})", text(&fence.task), literal(kind), literal(&kept(name)))
    });
    let sql = format!(
        "replace into tidegate.object (task, schema_name, table_name, kind, name, state, made_name, reason) values {}",
        values.collect::<Vec<_>>().join(", ")
    );
    run(&mut server.conn, NOTE, &sql).await
}

/// Notes that the task makes the table, and forgets what was noted of one that had its name. Before the table is made:
/// one that is made and not noted would be the user's.
pub(super) async fn note_created(server: &mut Server, fence: &Fence, table: &TableName) -> Result<(), ConnectorError> {
    run(&mut server.conn, NOTE, &format!("delete from tidegate.object where {}", place(fence, table))).await?;
    note(server, fence, table, &[(TABLE, "", State::Built(String::new()))]).await
}

pub(super) async fn forget(server: &mut Server, fence: &Fence, table: &TableName, kind: &str, name: &str) -> Result<(), ConnectorError> {
    let (kind, name) = (Dialect::MYSQL.literal(kind), Dialect::MYSQL.literal(&kept(name)));
    let sql = format!("delete from tidegate.object where {} and kind = {kind} and name = {name}", place(fence, table));
    run(&mut server.conn, NOTE, &sql).await
}

/// What was built of these kinds: table, kind, name, the name in the target.
pub(super) async fn built(
    server: &mut Server,
    task: &TaskId,
    kinds: &[&str],
) -> Result<Vec<(TableName, String, String, String)>, ConnectorError> {
    let kinds: Vec<String> = kinds.iter().map(|kind| Dialect::MYSQL.literal(kind)).collect();
    let sql = format!(
        "select schema_name, table_name, kind, name, coalesce(made_name, '') from tidegate.object where task = {} and state = 'built' \
         and kind in ({}) order by field(kind, {})",
        text(task),
        kinds.join(", "),
        kinds.join(", ")
    );
    let found: Vec<(String, String, String, String, String)> = rows(&mut server.conn, READ, &sql).await?;
    Ok(found.into_iter().map(|(schema, table, kind, name, made)| (TableName::new(schema, table), kind, name, made)).collect())
}
