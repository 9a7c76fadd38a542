//! The end of a task: what it made at its source and in its target goes, then its record. Rows in the target stay.

use std::sync::Arc;

use tidegate_catalog::{CatalogError, Cleanup, EventCategory, EventSeverity, TaskRecord};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::Node;
use super::connect::{FIRST_PATIENCE, Retry, connect};
use super::versions::Versions;
use crate::exit::{Failure, chain};
use crate::metric;

/// Cleans up and removes the record. A failure keeps the task, unless the user said that it must go anyway.
pub(crate) async fn clean(node: Arc<Node>, record: TaskRecord, cleanup: Cleanup, stop: CancellationToken) {
    let task = record.definition.name.as_str();
    let lease = match node.leases.acquire(&node.catalog, task, &stop).await {
        Ok(Some(lease)) => lease,
        // Another process deletes it, or the catalog does not answer: the loop asks again.
        Ok(None) => return,
        Err(error) => return error!(task, error = chain(&error), "take lease"),
    };
    match (remove_traces(&node, &record, &stop).await, cleanup) {
        (Ok(Traces::Unknown), _) => {}
        (Ok(Traces::Gone), _) => remove(&node, task).await,
        (Err(failure), Cleanup::BestEffort) => {
            let message = format!("deleted without cleaning up: {}", failure.message);
            node.event(task, EventCategory::Deletion, EventSeverity::Warning, message).await;
            remove(&node, task).await;
        }
        (Err(failure), Cleanup::Required) => {
            let message = format!("clean up before deletion: {}", failure.message);
            let hint = failure.hint.unwrap_or_else(|| "delete with best effort if the server is gone for good".to_owned());
            node.fail(task, Failure { message, hint: Some(hint), ..failure }).await;
        }
    }
    lease.release().await;
}

/// What is left of a task outside the catalog.
enum Traces {
    Gone,
    /// Stopped before it was known.
    Unknown,
}

async fn remove_traces(node: &Node, record: &TaskRecord, stop: &CancellationToken) -> Result<Traces, Failure> {
    // A task that never began made nothing anywhere: its servers need not even exist.
    if record.run_begun == 0 {
        return Ok(Traces::Gone);
    }
    let Some(ends) = connect(node, record, Some(FIRST_PATIENCE), stop).await? else { return Ok(Traces::Unknown) };
    let id = &record.outside_name();
    let retry = Retry { node, task: id.as_str(), deadline: Some(Instant::now() + FIRST_PATIENCE), stop };
    let source = retry.until_done("release the source's log", || ends.source.end_capture(id)).await?;
    let target = retry.until_done("forget the task in the target", || ends.target.forget_task(id)).await?;
    Ok(if source.is_some() && target.is_some() { Traces::Gone } else { Traces::Unknown })
}

async fn remove(node: &Node, task: &str) {
    node.event(task, EventCategory::Deletion, EventSeverity::Info, "task deleted").await;
    metric::clear_task(node.tenant(), task);
    Versions::forget(node, task).await;
    match node.catalog.remove_task(task).await {
        Ok(()) | Err(CatalogError::NotFound { .. }) => {}
        Err(error) => error!(task, error = chain(&error), "remove task"),
    }
}
