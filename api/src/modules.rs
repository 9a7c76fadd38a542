//! `/v1/modules`: tenants' WebAssembly components. The host compiles them; an upload waits for its verdict.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tidegate_catalog::{CatalogError, EventCategory, ModuleRecord, ModuleState, ModuleVersion};
use tokio::time::Instant;

use crate::events::record;
use crate::name::{PathName, checked_name};
use crate::problem::Problem;
use crate::state::ApiState;

/// Compiling an interpreter of 15 MiB takes tens of seconds on a small machine.
const VERDICT_PATIENCE: Duration = Duration::from_secs(60);

/// A waiter looks again after this long even when nobody woke it.
const POLL: Duration = Duration::from_millis(500);

/// First bytes of every WebAssembly binary, module or component.
const WASM_MAGIC: &[u8] = b"\0asm";

pub(crate) async fn put(State(state): State<ApiState>, PathName(name): PathName, body: Bytes) -> Result<Response, Problem> {
    checked_name("name", name.clone())?;
    if !body.starts_with(WASM_MAGIC) {
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "not_a_component", "the body does not begin like a WebAssembly binary")
            .object(format!("module \"{name}\""))
            .hint("send the component's bytes as they are: curl -T module.wasm"));
    }
    let module = state.catalog.put_module(&name, body.into()).await?;
    let module = await_verdict(&state, &module).await?;
    match &module.state {
        ModuleState::Ready => {
            record(&state, None, EventCategory::Creation, format!("module \"{name}\" has version {}", module.digest)).await;
            Ok((StatusCode::CREATED, Json(version_view(&module))).into_response())
        }
        ModuleState::Rejected { message } => {
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "module_rejected", message.clone()).object(format!("module \"{name}\"")))
        }
        ModuleState::Pending => Ok((StatusCode::ACCEPTED, Json(version_view(&module))).into_response()),
    }
}

pub(crate) async fn list(State(state): State<ApiState>) -> Result<Json<Value>, Problem> {
    let versions = state.catalog.list_modules().await?;
    let modules: Vec<Value> = versions.chunk_by(|one, two| one.name == two.name).map(view).collect();
    Ok(Json(json!({ "modules": modules })))
}

pub(crate) async fn get(State(state): State<ApiState>, PathName(name): PathName) -> Result<Json<Value>, Problem> {
    Ok(Json(view(&state.catalog.module_versions(&name).await?)))
}

pub(crate) async fn delete(State(state): State<ApiState>, PathName(name): PathName) -> Result<StatusCode, Problem> {
    state.catalog.delete_module(&name).await?;
    record(&state, None, EventCategory::Deletion, format!("module \"{name}\" was deleted")).await;
    Ok(StatusCode::NO_CONTENT)
}

async fn await_verdict(state: &ApiState, module: &ModuleRecord) -> Result<ModuleRecord, CatalogError> {
    let version = ModuleVersion::Digest(module.digest.clone());
    let deadline = Instant::now() + VERDICT_PATIENCE;
    let mut news = state.catalog.news();
    loop {
        news.mark_unchanged();
        let module = state.catalog.get_module(&module.name, &version).await?;
        let now = Instant::now();
        if module.state != ModuleState::Pending || now >= deadline {
            return Ok(module);
        }
        // Either outcome means: look again.
        let _ = tokio::time::timeout(POLL.min(deadline - now), news.changed()).await;
    }
}

/// A module by its versions, newest first; there is at least one.
fn view(versions: &[ModuleRecord]) -> Value {
    let latest = versions.iter().find(|version| !matches!(version.state, ModuleState::Rejected { .. }));
    let listed: Vec<Value> = versions.iter().map(version_view).collect();
    json!({ "name": versions.first().map(|version| &version.name), "latest": latest.map(|version| &version.digest), "versions": listed })
}

fn version_view(version: &ModuleRecord) -> Value {
    let (state, message) = match &version.state {
        ModuleState::Pending => ("pending", None),
        ModuleState::Ready => ("ready", None),
        ModuleState::Rejected { message } => ("rejected", Some(message)),
    };
    json!({
        "name": version.name,
        "digest": version.digest,
        "state": state,
        "message": message,
        "size_bytes": version.bytes_len,
        "info": version.info,
        "uploaded_at_us": version.uploaded_at_us,
    })
}
