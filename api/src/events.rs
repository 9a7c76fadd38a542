//! `/v1/events` and `/v1/tasks/{name}/events`: what happened.

use axum::Json;
use serde_json::{Value, json};
use tidegate_catalog::{EventCategory, EventFilter, EventSeverity, NewEvent};
use tracing::warn;

use crate::keys::Scoped;
use crate::name::{PathName, QueryFields};
use crate::problem::Problem;
use crate::state::ApiState;

/// Events in one answer, unless the caller asks for fewer or more.
const LIMIT_DEFAULT: i64 = 100;
const LIMIT_MAX: i64 = 1_000;

pub(crate) async fn list(Scoped(state): Scoped, query: QueryFields) -> Result<Json<Value>, Problem> {
    page(&state, None, query).await
}

pub(crate) async fn of_task(Scoped(state): Scoped, PathName(name): PathName, query: QueryFields) -> Result<Json<Value>, Problem> {
    state.catalog.get_task(&name).await?;
    page(&state, Some(name), query).await
}

/// With `after_seq` or `since_us`: onwards from there. Without: the newest ones. Always oldest first.
async fn page(state: &ApiState, task: Option<String>, mut query: QueryFields) -> Result<Json<Value>, Problem> {
    let after_seq = query.number("after_seq", 0, i64::MAX)?;
    let since_us = query.number("since_us", 0, i64::MAX)?;
    let limit = query.number("limit", 1, LIMIT_MAX)?.unwrap_or(LIMIT_DEFAULT);
    query.finish()?;
    let limit = u32::try_from(limit).expect("the bounds are checked");
    let events = if after_seq.is_none() && since_us.is_none() {
        state.catalog.latest_events(task.as_deref(), limit).await?
    } else {
        state.catalog.list_events(&EventFilter { task, after_seq, since_us, until_us: None }, limit).await?
    };
    let last_seq = events.last().map(|event| event.seq).or(after_seq);
    Ok(Json(json!({ "events": events, "last_seq": last_seq })))
}

/// Records what a user did. An event that cannot be written does not undo what happened.
pub(crate) async fn record(state: &ApiState, task: Option<&str>, category: EventCategory, message: String) {
    let event = NewEvent { task: task.map(str::to_owned), category, severity: EventSeverity::Info, message };
    if let Err(error) = state.catalog.append_event(&event).await {
        warn!(%error, "an event was not recorded");
    }
}
