//! `/v1/tasks/{name}/errors`: rows that a task rejected, and their replay.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tidegate_catalog::{ErrorsPayload, EventCategory, ReloadPayload, RequestKind, RequestState, TaskStatus};

use crate::events::record;
use crate::keys::Scoped;
use crate::name::{PathName, QueryFields};
use crate::problem::Problem;
use crate::tasks::tables_or_all;

/// The host reads the target, which may be far away.
const LIST_PATIENCE: Duration = Duration::from_secs(35);
/// A running worker replays at its next turn; the host gives up after 30 seconds.
const REPLAY_PATIENCE: Duration = Duration::from_secs(35);

/// Entries of one answer, unless asked for fewer.
const LIMIT: i64 = 100;
const LIMIT_MAX: i64 = 1_000;

pub(crate) async fn list(Scoped(state): Scoped, PathName(name): PathName, mut query: QueryFields) -> Result<Json<Value>, Problem> {
    let limit = query.number("limit", 1, LIMIT_MAX)?.unwrap_or(LIMIT);
    let after = query.number("after", 0, i64::MAX)?.unwrap_or(0);
    query.finish()?;
    state.catalog.get_task(&name).await?;
    let payload = json!(ErrorsPayload { after, limit: u32::try_from(limit).expect("the bounds are checked") });
    let request = state.catalog.submit_request(RequestKind::ListErrors, &name, &payload).await?;
    match state.catalog.wait_for_request(request.id, LIST_PATIENCE).await?.state {
        RequestState::Succeeded(listing) => {
            let errors = listing["errors"].clone();
            let is_full = errors.as_array().is_some_and(|errors| i64::try_from(errors.len()) == Ok(limit));
            let next = errors.as_array().and_then(|errors| errors.last()).filter(|_| is_full).map(|last| last["number"].clone());
            Ok(Json(json!({ "errors": errors, "next": next })))
        }
        RequestState::Failed(failure) => Err(Problem::from_failure(failure).object(format!("task \"{name}\""))),
        RequestState::Waiting | RequestState::Taken => Err(Problem::no_answer(&format!("the error table of task \"{name}\""))),
    }
}

pub(crate) async fn replay(
    Scoped(state): Scoped,
    PathName(name): PathName,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let tables = tables_or_all(&headers, &body)?;
    let task = state.catalog.get_task(&name).await?;
    if !matches!(task.status, TaskStatus::Running { .. }) {
        let detail = format!("task \"{name}\" is {}, wanted running", task.status.name());
        return Err(Problem::new(StatusCode::CONFLICT, "task_not_running", detail).object(format!("task \"{name}\"")));
    }
    let request = state.catalog.submit_request(RequestKind::ReplayErrors, &name, &json!(ReloadPayload { tables })).await?;
    record(&state, Some(&name), EventCategory::Table, format!("replay of rejected rows of task \"{name}\" was asked for")).await;
    match state.catalog.wait_for_request(request.id, REPLAY_PATIENCE).await?.state {
        RequestState::Succeeded(report) => Ok(Json(report)),
        RequestState::Failed(failure) => Err(Problem::from_failure(failure).object(format!("task \"{name}\""))),
        RequestState::Waiting | RequestState::Taken => Err(Problem::no_answer(&format!("the replay of task \"{name}\""))),
    }
}
