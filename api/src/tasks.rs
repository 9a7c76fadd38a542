//! `/v1/tasks`: what is replicated, and whether it runs.
//!
//! Starting and stopping are answered at once with the task in `starting` or `stopping`; the host does the rest.
//! Deleting waits a while for the host to clean up slot, publication and control rows.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tidegate_catalog::{
    CatalogError, Cleanup, EventCategory, ListedTable, Migration, ReloadPayload, RequestKind, RequestState, Role, StartKind,
    TaskDefinition, TaskStatus,
};
use tidegate_model::{Engine, StartPoint, StopPoint};
use tokio::time::Instant;

use crate::events::record;
use crate::fields::{Fields, key_problem, missing, wrong_type};
use crate::keys::Scoped;
use crate::name::{PathName, QueryFields};
use crate::problem::Problem;
use crate::state::ApiState;
use crate::task_body::{changed_definition, new_definition};
use crate::task_view;

/// How long a deletion may take before the caller is told that it goes on.
const DELETE_PATIENCE: Duration = Duration::from_secs(30);

/// Checks ask both servers about every table.
const CHECK_PATIENCE: Duration = Duration::from_secs(60);

/// A running worker takes a reload at its next turn.
const RELOAD_PATIENCE: Duration = Duration::from_secs(30);

/// The host waits a while for the source's end by itself.
const CUT_OVER_PATIENCE: Duration = Duration::from_secs(40);

/// A waiter looks again after this long even when nobody woke it.
const POLL: Duration = Duration::from_millis(500);

/// Tables in one reload.
const RELOAD_TABLES_MAX: usize = 1_000;

pub(crate) async fn create(Scoped(state): Scoped, headers: HeaderMap, body: Bytes) -> Result<Response, Problem> {
    let definition = new_definition(&headers, &body)?;
    check_endpoints(&state, &definition).await?;
    let task = state.catalog.create_task(&definition).await?;
    let name = definition.name.as_str();
    record(&state, Some(name), EventCategory::Creation, format!("task \"{name}\" was created")).await;
    Ok((StatusCode::CREATED, Json(task_view::task(&task))).into_response())
}

pub(crate) async fn list(Scoped(state): Scoped, mut query: QueryFields) -> Result<Json<Value>, Problem> {
    let view = match query.text("view").as_deref() {
        None | Some("full") => task_view::task,
        Some("summary") => task_view::summary,
        Some(_) => return Err(key_problem("unknown_value", "view", "\"view\" is none of full, summary")),
    };
    query.finish()?;
    let tasks: Vec<Value> = state.catalog.list_tasks().await?.iter().map(view).collect();
    Ok(Json(json!({ "tasks": tasks })))
}

pub(crate) async fn get(Scoped(state): Scoped, PathName(name): PathName) -> Result<Json<Value>, Problem> {
    Ok(Json(task_view::task(&state.catalog.get_task(&name).await?)))
}

pub(crate) async fn patch(
    Scoped(state): Scoped,
    PathName(name): PathName,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let task = state.catalog.get_task(&name).await?;
    let definition = changed_definition(&task.definition, &headers, &body)?;
    check_endpoints(&state, &definition).await?;
    let code = if task.status.is_active() { "task_active" } else { "changed_meanwhile" };
    let task = state.catalog.update_task(task.revision, &definition).await.map_err(|error| Problem::from(error).conflict_code(code))?;
    record(&state, Some(&name), EventCategory::ConfigurationChange, format!("task \"{name}\" was changed")).await;
    Ok(Json(task_view::task(&task)))
}

/// 204 when it is gone, 202 while the host still cleans up, the host's failure when it could not.
pub(crate) async fn delete(Scoped(state): Scoped, PathName(name): PathName, mut query: QueryFields) -> Result<Response, Problem> {
    let cleanup = match query.text("cleanup").as_deref() {
        None | Some("required") => Cleanup::Required,
        Some("best-effort") => Cleanup::BestEffort,
        Some(_) => return Err(key_problem("unknown_value", "cleanup", "\"cleanup\" is none of required, best-effort")),
    };
    query.finish()?;
    state.catalog.request_delete(&name, cleanup).await.map_err(|error| Problem::from(error).conflict_code("task_active"))?;
    record(&state, Some(&name), EventCategory::Deletion, format!("deletion of task \"{name}\" was asked for")).await;
    let deadline = Instant::now() + DELETE_PATIENCE;
    let mut news = state.catalog.news();
    loop {
        news.mark_unchanged();
        let task = match state.catalog.get_task(&name).await {
            Err(CatalogError::NotFound { .. }) => return Ok(StatusCode::NO_CONTENT.into_response()),
            other => other?,
        };
        if let TaskStatus::Failed(failure) = task.status {
            let problem = Problem::from_failure(failure).object(format!("task \"{name}\""));
            return Err(problem.hint_unless_given("if its servers are gone for good, delete it with ?cleanup=best-effort"));
        }
        let now = Instant::now();
        if now >= deadline {
            return Ok((StatusCode::ACCEPTED, Json(task_view::task(&task))).into_response());
        }
        // Either outcome means: look again.
        let _ = tokio::time::timeout(POLL.min(deadline - now), news.changed()).await;
    }
}

pub(crate) async fn start(Scoped(state): Scoped, PathName(name): PathName) -> Result<Response, Problem> {
    begin(&state, &name, StartKind::Start).await
}

pub(crate) async fn resume(Scoped(state): Scoped, PathName(name): PathName) -> Result<Response, Problem> {
    if state.catalog.get_task(&name).await?.status == TaskStatus::Created {
        return Err(Problem::new(StatusCode::CONFLICT, "task_never_started", format!("task \"{name}\" was never started"))
            .object(format!("task \"{name}\""))
            .hint(format!("POST /v1/tasks/{name}/start")));
    }
    begin(&state, &name, StartKind::Resume).await
}

pub(crate) async fn reload(Scoped(state): Scoped, PathName(name): PathName) -> Result<Response, Problem> {
    if state.catalog.get_task(&name).await?.definition.migration == Migration::Cdc {
        return Err(Problem::new(StatusCode::CONFLICT, "task_does_not_load", format!("task \"{name}\" is a cdc task and loads nothing"))
            .object(format!("task \"{name}\"")));
    }
    begin(&state, &name, StartKind::Reload).await
}

async fn begin(state: &ApiState, name: &str, kind: StartKind) -> Result<Response, Problem> {
    let task = state.catalog.request_start(name, kind).await.map_err(|error| Problem::from(error).conflict_code("task_active"))?;
    record(state, Some(name), EventCategory::StateChange, format!("start of task \"{name}\" was asked for")).await;
    Ok((StatusCode::ACCEPTED, Json(task_view::task(&task))).into_response())
}

pub(crate) async fn stop(Scoped(state): Scoped, PathName(name): PathName) -> Result<Response, Problem> {
    let task = state.catalog.request_stop(&name).await.map_err(|error| Problem::from(error).conflict_code("task_not_running"))?;
    record(&state, Some(&name), EventCategory::StateChange, format!("stop of task \"{name}\" was asked for")).await;
    Ok((StatusCode::ACCEPTED, Json(task_view::task(&task))).into_response())
}

/// Findings are a result; only a check that could not be done is an error.
pub(crate) async fn check(Scoped(state): Scoped, PathName(name): PathName) -> Result<Json<Value>, Problem> {
    state.catalog.get_task(&name).await?;
    let request = state.catalog.submit_request(RequestKind::CheckTask, &name, &Value::Null).await?;
    match state.catalog.wait_for_request(request.id, CHECK_PATIENCE).await?.state {
        RequestState::Succeeded(report) => {
            let findings = report["findings"].clone();
            let passed = findings.as_array().is_some_and(|findings| findings.iter().all(|finding| finding["severity"] != "error"));
            Ok(Json(json!({ "passed": passed, "findings": findings })))
        }
        RequestState::Failed(failure) => Err(Problem::from_failure(failure).object(format!("task \"{name}\""))),
        RequestState::Waiting | RequestState::Taken => Err(Problem::no_answer(&format!("the check of task \"{name}\""))),
    }
}

pub(crate) async fn lag(Scoped(state): Scoped, PathName(name): PathName) -> Result<Json<Value>, Problem> {
    Ok(Json(task_view::lag(&state.catalog.get_task(&name).await?)))
}

pub(crate) async fn tables(Scoped(state): Scoped, PathName(name): PathName) -> Result<Json<Value>, Problem> {
    Ok(Json(task_view::tables(&state.catalog.list_table_statuses(&name).await?)))
}

pub(crate) async fn reload_tables(
    Scoped(state): Scoped,
    PathName(name): PathName,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let tables = tables_named(&headers, &body)?;
    let task = state.catalog.get_task(&name).await?;
    if !matches!(task.status, TaskStatus::Running { .. }) {
        let detail = format!("task \"{name}\" is {}, wanted running", task.status.name());
        return Err(Problem::new(StatusCode::CONFLICT, "task_not_running", detail).object(format!("task \"{name}\"")));
    }
    // Before the first report nothing is known of the task's tables, and nothing is refused.
    let known = state.catalog.list_table_statuses(&name).await?;
    let is_known = |wanted: &ListedTable| known.iter().any(|table| table.schema == wanted.schema && table.table == wanted.table);
    if let Some(unknown) = tables.iter().find(|table| !known.is_empty() && !is_known(table)) {
        let object = format!("table \"{}.{}\"", unknown.schema, unknown.table);
        let detail = format!("{object} is not in task \"{name}\", wanted a table of the task by its name at the source");
        let problem = Problem::new(StatusCode::NOT_FOUND, "table_not_found", detail).object(object);
        return Err(problem.hint(format!("GET /v1/tasks/{name}/tables lists them")));
    }
    let payload = json!(ReloadPayload { tables });
    let request = state.catalog.submit_request(RequestKind::ReloadTables, &name, &payload).await?;
    record(&state, Some(&name), EventCategory::Table, format!("reload of tables of task \"{name}\" was asked for")).await;
    match state.catalog.wait_for_request(request.id, RELOAD_PATIENCE).await?.state {
        RequestState::Succeeded(_) => Ok((StatusCode::ACCEPTED, Json(payload)).into_response()),
        RequestState::Failed(failure) => Err(Problem::from_failure(failure).object(format!("task \"{name}\""))),
        RequestState::Waiting | RequestState::Taken => Err(Problem::no_answer(&format!("the reload of task \"{name}\""))),
    }
}

/// Answered when the target has everything that the source had when it was asked, and its counters are behind it.
pub(crate) async fn cut_over(Scoped(state): Scoped, PathName(name): PathName) -> Result<Json<Value>, Problem> {
    let task = state.catalog.get_task(&name).await?;
    if !matches!(task.status, TaskStatus::Running { .. }) {
        let detail = format!("task \"{name}\" is {}, wanted running", task.status.name());
        return Err(Problem::new(StatusCode::CONFLICT, "task_not_running", detail).object(format!("task \"{name}\"")));
    }
    let request = state.catalog.submit_request(RequestKind::CutOver, &name, &Value::Null).await?;
    record(&state, Some(&name), EventCategory::StateChange, format!("cut-over of task \"{name}\" was asked for")).await;
    match state.catalog.wait_for_request(request.id, CUT_OVER_PATIENCE).await?.state {
        RequestState::Succeeded(report) => Ok(Json(report)),
        RequestState::Failed(failure) => Err(Problem::from_failure(failure).object(format!("task \"{name}\""))),
        RequestState::Waiting | RequestState::Taken => Err(Problem::no_answer(&format!("the cut-over of task \"{name}\""))),
    }
}

fn tables_named(headers: &HeaderMap, body: &[u8]) -> Result<Vec<ListedTable>, Problem> {
    tables_or_none(headers, body)?.ok_or_else(|| missing("tables"))
}

/// The tables of a body, none for all of them.
pub(crate) fn tables_or_all(headers: &HeaderMap, body: &[u8]) -> Result<Vec<ListedTable>, Problem> {
    Ok(tables_or_none(headers, body)?.unwrap_or_default())
}

fn tables_or_none(headers: &HeaderMap, body: &[u8]) -> Result<Option<Vec<ListedTable>>, Problem> {
    let mut fields = Fields::of_body(headers, body)?;
    let given = match fields.value("tables") {
        Some(Value::Array(given)) => given,
        Some(other) => return Err(wrong_type("tables", &other, "an array")),
        None => return fields.finish().map(|()| None),
    };
    fields.finish()?;
    if given.is_empty() || given.len() > RELOAD_TABLES_MAX {
        let detail = format!("\"tables\" has {} entries, wanted 1 to {RELOAD_TABLES_MAX}", given.len());
        return Err(key_problem("out_of_range", "tables", detail));
    }
    given
        .into_iter()
        .map(|value| {
            let mut fields = Fields::of_value(value, "tables[]")?;
            let listed = ListedTable { schema: fields.required_text("schema")?, table: fields.required_text("table")? };
            fields.finish()?;
            Ok(listed)
        })
        .collect::<Result<Vec<_>, _>>()
        .map(Some)
}

/// Both endpoints exist and are on the right side, and a start position is one of the source's kind.
async fn check_endpoints(state: &ApiState, definition: &TaskDefinition) -> Result<(), Problem> {
    for (key, name, role) in [("source", &definition.source, Role::Source), ("target", &definition.target, Role::Target)] {
        let endpoint = state.catalog.get_endpoint(name).await?;
        if endpoint.spec.role != role {
            let detail = format!("endpoint \"{name}\" is a {}, wanted a {}", endpoint.spec.role.as_str(), role.as_str());
            return Err(Problem::bad_request("endpoint_role", detail).object(format!("key \"{key}\"")));
        }
        if role == Role::Source {
            check_points(definition, endpoint.spec.engine)?;
        }
    }
    Ok(())
}

/// A start and a stop position are of the source's kind. That they read was checked with the body.
fn check_points(definition: &TaskDefinition, engine: Engine) -> Result<(), Problem> {
    let starts = definition.start_position.as_deref().and_then(|text| text.parse::<StartPoint>().ok());
    let stops = definition.stop_position.as_deref().and_then(|text| text.parse::<StopPoint>().ok());
    let keys = [
        ("start_position", starts.is_none_or(|point| point.fits(engine))),
        ("stop_position", stops.is_none_or(|point| point.fits(engine))),
    ];
    match keys.iter().find(|(_, fits)| !fits) {
        None => Ok(()),
        Some((key, _)) => {
            let detail = format!("\"{key}\" is none that a source of the kind {} has", engine.as_str());
            Err(key_problem("position_form", key, detail))
        }
    }
}
