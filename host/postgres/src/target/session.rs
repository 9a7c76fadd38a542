//! Sessions of a task on the target, and the fence as SQL.
//!
//! Each session's name carries the task and the generation (`tidegate lane shop 7`), so that whoever takes the task
//! over can find and end what an older worker left behind. The name is a courtesy; the fence is the generation in
//! `tidegate.checkpoint`, which every writing transaction checks inside itself.

use sha2::{Digest, Sha256};
use tidegate_connector::{ConnectorError, Dialect, LoopMark, RowFault, ServerSettings};
use tidegate_model::{Fence, Position, TableName, TaskId};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, GenericClient, SimpleQueryMessage};

use crate::connect::{client, pg_error};
use crate::fault::{INDEX_ENTRY_TOO_LARGE, ROW_TOO_LARGE};
use crate::source::MARK_PREFIX;

/// Characters of a task's name that fit into a session's name: 63 less `tidegate `, the longest purpose and a generation.
const TASK_CHARS_MAX: usize = 28;

/// How long a statement waits for a lock that somebody else's session holds on our tables.
pub(crate) const LOCK_TIMEOUT: &str = "30s";

/// How long a statement of a group that is written before its turn waits for a lock: longer than most commits take,
/// and short beside what a standstill of all lanes costs. Chosen by guess.
const AHEAD_LOCK_TIMEOUT: &str = "500ms";

/// The task's name in the names of its sessions: the name itself, or its start and a digest.
pub(crate) fn task_tag(task: &TaskId) -> String {
    let name = task.as_str();
    if name.len() <= TASK_CHARS_MAX {
        return name.to_owned();
    }
    let digest: String = Sha256::digest(name.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{}~{digest}", &name[..TASK_CHARS_MAX - 17])
}

/// A session of a task's worker.
pub(crate) async fn open(server: &ServerSettings, purpose: &str, fence: &Fence) -> Result<Client, ConnectorError> {
    client(server, &format!("{purpose} {} {}", task_tag(&fence.task), fence.generation)).await
}

/// Stops foreign keys and ordinary triggers from firing on this session, as PostgreSQL's own replication does: the
/// source's have fired already. Without the right to do so constraints are deferred instead; the check warns.
pub(crate) async fn act_as_replica(client: &Client) -> Result<bool, ConnectorError> {
    match client.batch_execute("set session_replication_role = replica").await {
        Ok(()) => Ok(true),
        Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => Ok(false),
        Err(error) => Err(pg_error("set session_replication_role", error)),
    }
}

/// Whether [`act_as_replica`] would succeed, asked without doing it.
pub(crate) async fn may_act_as_replica(client: &impl GenericClient) -> Result<bool, ConnectorError> {
    let failed = |error| pg_error("look for the right to set session_replication_role", error);
    let sql = "select coalesce((select rolsuper from pg_roles where rolname = current_user), false), \
               current_setting('server_version_num')::int >= 150000";
    let row = client.query_one(sql, &[]).await.map_err(failed)?;
    let (is_super, has_grants): (bool, bool) = (row.get(0), row.get(1));
    if is_super || !has_grants {
        return Ok(is_super);
    }
    let sql = "select has_parameter_privilege('session_replication_role', 'set')";
    Ok(client.query_one(sql, &[]).await.map_err(failed)?.get(0))
}

/// What follows the opening of a transaction, so that its mark comes before its rows: see [`LoopMark`].
pub(crate) fn mark_sql(mark: Option<&LoopMark>) -> String {
    mark.map_or_else(String::new, |mark| {
        let (prefix, mark) = (Dialect::POSTGRES.literal(MARK_PREFIX), Dialect::POSTGRES.literal(mark.as_str()));
        format!("; select pg_catalog.pg_logical_emit_message(true, {prefix}, {mark})")
    })
}

/// Opens a transaction. Without the replica role, constraints that may wait are checked at its end.
pub(crate) fn begin_sql(is_replica: bool) -> &'static str {
    if is_replica { "begin" } else { "begin; set constraints all deferred" }
}

/// Likewise, for a transaction that is written before its turn: what it waits for may be held by one whose turn is later.
pub(crate) fn begin_ahead_sql(is_replica: bool) -> String {
    format!("{}; set local lock_timeout = '{AHEAD_LOCK_TIMEOUT}'", begin_sql(is_replica))
}

/// Returns a row while the fence holds, and keeps it so until the transaction ends. Many may hold it at once, and a
/// lane may move the position beside them; a take-over (`for update`) waits.
pub(crate) fn fence_sql(fence: &Fence) -> String {
    let task = Dialect::POSTGRES.literal(fence.task.as_str());
    format!("select 1 from tidegate.checkpoint where task = {task} and generation = {} for key share", fence.generation)
}

/// Moves the checkpoint. Fails with a division by zero when the fence or the position is another, which takes the
/// transaction with it, so that it can travel in one message with COMMIT.
pub(crate) fn move_sql(fence: &Fence, from: &Position, to: &Position) -> String {
    let literal = |text: &str| Dialect::POSTGRES.literal(text);
    format!(
        "with moved as (update tidegate.checkpoint set position = {}, updated_at = clock_timestamp() where task = {} and generation = {} \
         and position is not distinct from {} returning 1) select 1 / (select count(*) from moved)",
        literal(&to.to_string()),
        literal(fence.task.as_str()),
        fence.generation,
        literal(&from.to_string()),
    )
}

/// Begins a transaction that holds the fence.
pub(crate) async fn begin_fenced(client: &Client, fence: &Fence, is_replica: bool, mark: Option<&LoopMark>) -> Result<(), ConnectorError> {
    let attempted = "begin a transaction under the fence";
    let sql = format!("{}; {}", begin_sql(is_replica), fence_sql(fence));
    let answer = client.simple_query(&sql).await.map_err(|error| pg_error(attempted, error))?;
    if answer.iter().any(|message| matches!(message, SimpleQueryMessage::Row(_))) {
        if mark.is_some() {
            let sql = mark_sql(mark);
            client.batch_execute(sql.trim_start_matches("; ")).await.map_err(|error| pg_error(attempted, error))?;
        }
        return Ok(());
    }
    client.batch_execute("rollback").await.map_err(|error| pg_error("roll back", error))?;
    Err(ConnectorError::fenced(fence.task.as_str(), fence.generation))
}

/// Rows that the last statement of a simple query touched.
pub(crate) fn rows_of(messages: &[SimpleQueryMessage]) -> u64 {
    let counts = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::CommandComplete(count) => Some(*count),
        _ => None,
    });
    counts.last().unwrap_or(0)
}

/// An error of work on one table: what the server refuses about rows or definitions concerns that table alone.
///
/// `table` is the name at the source, by which the pipeline knows the table.
pub(crate) fn table_error(table: &TableName, attempted: &str, error: tokio_postgres::Error) -> ConnectorError {
    let class = error.code().map(|code| code.code().get(..2).unwrap_or_default().to_owned());
    let is_duplicate = error.code() == Some(&SqlState::UNIQUE_VIOLATION);
    let row_fault = error.code().and_then(|code| row_fault(code.code()));
    let is_missing_right = error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE);
    let error = pg_error(attempted, error);
    if is_duplicate {
        return ConnectorError::table(table, "target_diverged", error.chain()).hint(DIVERGED_HINT);
    }
    if error.code() == ROW_TOO_LARGE {
        return ConnectorError::table(table, ROW_TOO_LARGE, error.chain())
            .of_a_row(RowFault::Value)
            .hint("PostgreSQL holds no row above 1 GB: make the value smaller at the source, limit large values, or leave the column out");
    }
    if error.code() == INDEX_ENTRY_TOO_LARGE {
        return ConnectorError::table(table, INDEX_ENTRY_TOO_LARGE, error.chain()).of_a_row(RowFault::Value).hint(
            "an entry of a B-tree index of PostgreSQL has at most 2,704 bytes: make the value shorter at the source, drop the index in the \
             target, or give the table another key with a rule (define-primary-key)",
        );
    }
    match class.as_deref() {
        Some("22" | "23" | "2B" | "42" | "44" | "P0" | "0A") => {
            let hint = error.hint_text().map(str::to_owned);
            let told = ConnectorError::table(table, error.code(), error.chain());
            let told = match row_fault {
                Some(fault) => told.of_a_row(fault),
                None => told,
            };
            match hint {
                Some(hint) if is_missing_right => told.hint(hint),
                _ => told,
            }
        }
        _ if error.is_contention() => error.at_table(table),
        _ => error,
    }
}

/// What the server says of one row alone. Unique and foreign keys have to do with other rows, and the form of COPY data
/// with none. Source: PostgreSQL manual, "PostgreSQL Error Codes".
fn row_fault(sqlstate: &str) -> Option<RowFault> {
    match sqlstate {
        "22001" | "22003" | "22026" => Some(RowFault::Truncation),
        "23502" | "23514" => Some(RowFault::Constraint),
        "22P04" | "22023" => None,
        _ if sqlstate.starts_with("22") => Some(RowFault::Value),
        _ => None,
    }
}

/// What to do about a target that is not what the source had.
pub(crate) const DIVERGED_HINT: &str = "somebody else writes to the target's table; stop that, then reload the table";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_names_fit_into_63_bytes_and_tell_tasks_apart() {
        let long = |last: char| TaskId::new(format!("{}{last}", "a".repeat(62))).unwrap();
        let name = format!("tidegate load {} {}", task_tag(&long('x')), i64::MAX);
        assert!(name.len() <= 63, "{}", name.len());
        assert_ne!(task_tag(&long('x')), task_tag(&long('y')));
        assert_eq!(task_tag(&TaskId::new("shop-1").unwrap()), "shop-1");
    }
}
