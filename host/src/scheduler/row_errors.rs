//! Answers about rows that a task rejected: what its error table in the target has, and their replay.

use serde_json::Value;
use tidegate_catalog::{ErrorListing, ErrorRecord, ErrorsPayload, ReloadPayload, ReplayCounts};
use tidegate_connector::StoredRejection;
use tidegate_model::TableName;
use tidegate_pipeline::{Control, ReplayReport};
use tokio::sync::{mpsc, oneshot};

use super::{Node, spec};
use crate::connectors;
use crate::exit::Failure;

/// Entries of the task's error table, read from the target whether the task runs or not.
pub(super) async fn list(node: &Node, task: &str, payload: &Value) -> Result<ErrorListing, Failure> {
    let ErrorsPayload { after, limit } = read(task, payload)?;
    let task = node.catalog.get_task(task).await?;
    let settings = spec::server_settings(&node.catalog.get_endpoint(&task.definition.target).await?.spec);
    let target = connectors::target(settings).await.map_err(|error| Failure::from(&error))?;
    let rows = target.rejected_rows(&task.outside_name(), after, limit).await.map_err(|error| Failure::from(&error))?;
    Ok(ErrorListing { errors: rows.into_iter().map(record).collect() })
}

/// Asks the running task, whose stream rests meanwhile.
pub(super) async fn replay(task: &str, payload: &Value, control: Option<mpsc::Sender<Control>>) -> Result<ReplayCounts, Failure> {
    let ReloadPayload { tables } = read(task, payload)?;
    let tables = tables.into_iter().map(|table| TableName::new(table.schema, table.table)).collect();
    let not_running = || {
        Failure::failed("not_running", format!("task \"{task}\" is not running, wanted a running task to replay rows"))
            .hint("start the task first")
    };
    let control = control.ok_or_else(not_running)?;
    let (done, told) = oneshot::channel();
    control.send(Control::Replay { tables, done }).await.map_err(|_| not_running())?;
    let report = told.await.map_err(|_| not_running())?;
    let ReplayReport { replayed, rejected, left } = report.map_err(|error| Failure::from(&error))?;
    Ok(ReplayCounts { replayed, rejected, left })
}

fn read<T: serde::de::DeserializeOwned>(task: &str, payload: &Value) -> Result<T, Failure> {
    serde_json::from_value(payload.clone()).map_err(|error| Failure::failed("payload", format!("errors of task \"{task}\": {error}")))
}

fn record(entry: StoredRejection) -> ErrorRecord {
    let StoredRejection { number, row, times, at_us } = entry;
    ErrorRecord {
        number,
        schema: row.table.schema,
        table: row.table.name,
        key: row.key.and_then(|key| serde_json::from_str(&key).ok()).unwrap_or(Value::Null),
        operation: row.operation.as_str().to_owned(),
        position: row.position,
        module: row.module,
        digest: row.digest,
        code: row.code,
        message: row.message,
        replayable: row.stored.is_some(),
        times,
        at_us,
    }
}
