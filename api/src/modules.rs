//! `/v1/modules`: tenants' WebAssembly components, their versions, aliases and limits.
//!
//! The host compiles and examines; an upload is stored, and its request waits for the verdict, up to a bound. Nothing
//! is compiled or even parsed here.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tidegate_catalog::{CatalogError, EventCategory, ModuleAlias, ModuleLimits, ModuleRecord, ModuleState, ModuleVersion};
use tokio::time::Instant;

use crate::events::record;
use crate::fields::{Fields, key_problem};
use crate::keys::Scoped;
use crate::name::{PathName, PathNames, QueryFields, checked_name};
use crate::problem::Problem;
use crate::state::ApiState;

/// Seconds that an upload waits for its verdict: compiling an interpreter of 15 MiB takes tens of them on a small machine.
const VERDICT_PATIENCE_S: i64 = 60;

/// A waiter looks again after this long even when nobody woke it.
const POLL: Duration = Duration::from_millis(500);

/// First bytes of every WebAssembly binary, module or component.
const WASM_MAGIC: &[u8] = b"\0asm";

pub(crate) async fn put(Scoped(state): Scoped, PathName(name): PathName, mut query: QueryFields, body: Bytes) -> Result<Response, Problem> {
    checked_name("name", name.clone())?;
    let patience = query.number("wait_seconds", 0, VERDICT_PATIENCE_S)?.unwrap_or(VERDICT_PATIENCE_S);
    query.finish()?;
    if !body.starts_with(WASM_MAGIC) {
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "not_a_component", "the body does not begin like a WebAssembly binary")
            .object(format!("module \"{name}\""))
            .hint("send the component's bytes as they are: curl -T module.wasm"));
    }
    let module = state.catalog.put_module(&name, body.into()).await?;
    let module = await_verdict(&state, &module, Duration::from_secs(patience.unsigned_abs())).await?;
    match &module.state {
        ModuleState::Ready => {
            record(&state, None, EventCategory::Creation, format!("module \"{name}\" has version {}", module.digest)).await;
            Ok((StatusCode::CREATED, Json(version_view(&module))).into_response())
        }
        ModuleState::Rejected { message, hint } => {
            let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "module_rejected", message.clone());
            let problem = problem.object(format!("module \"{name}\""));
            Err(hint.iter().fold(problem, |problem, hint| problem.hint(hint)))
        }
        ModuleState::Pending => Ok((StatusCode::ACCEPTED, Json(version_view(&module))).into_response()),
    }
}

pub(crate) async fn list(Scoped(state): Scoped) -> Result<Json<Value>, Problem> {
    let versions = state.catalog.list_modules().await?;
    let mut modules = Vec::new();
    for versions in versions.chunk_by(|one, two| one.name == two.name) {
        modules.push(view(&state, versions).await?);
    }
    Ok(Json(json!({ "modules": modules })))
}

pub(crate) async fn get(Scoped(state): Scoped, PathName(name): PathName) -> Result<Json<Value>, Problem> {
    Ok(Json(view(&state, &state.catalog.module_versions(&name).await?).await?))
}

pub(crate) async fn delete(Scoped(state): Scoped, PathName(name): PathName) -> Result<StatusCode, Problem> {
    state.catalog.delete_module(&name).await?;
    record(&state, None, EventCategory::Deletion, format!("module \"{name}\" was deleted")).await;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn delete_version(Scoped(state): Scoped, PathNames(name, digest): PathNames) -> Result<StatusCode, Problem> {
    state.catalog.delete_module_version(&name, &digest).await?;
    record(&state, None, EventCategory::Deletion, format!("version {digest} of module \"{name}\" was deleted")).await;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn put_alias(
    Scoped(state): Scoped,
    PathNames(name, alias): PathNames,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    checked_name("alias", alias.clone())?;
    if alias == "latest" {
        return Err(key_problem("name_form", "alias", "\"latest\" is the newest upload that was not rejected, wanted another name"));
    }
    let mut fields = Fields::of_body(&headers, &body)?;
    let version = ModuleVersion::new(&fields.required_text("version")?);
    fields.finish()?;
    let moved = state.catalog.put_module_alias(&name, &alias, &version).await?;
    record(&state, None, EventCategory::ConfigurationChange, format!("alias \"{alias}\" of module \"{name}\" is {}", moved.digest)).await;
    Ok(Json(alias_view(&moved)))
}

pub(crate) async fn delete_alias(Scoped(state): Scoped, PathNames(name, alias): PathNames) -> Result<StatusCode, Problem> {
    state.catalog.delete_module_alias(&name, &alias).await?;
    record(&state, None, EventCategory::Deletion, format!("alias \"{alias}\" of module \"{name}\" was deleted")).await;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn get_limits(Scoped(state): Scoped, PathName(name): PathName) -> Result<Json<Value>, Problem> {
    state.catalog.module_versions(&name).await?;
    Ok(Json(limits_view(&state, state.catalog.module_limits(&name).await?).await?))
}

/// Replaces all of a module's limits: a key that is absent or null is the server's default again.
pub(crate) async fn put_limits(
    Scoped(state): Scoped,
    PathName(name): PathName,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let mut fields = Fields::of_body(&headers, &body)?;
    let mut number = |key, most: u32| -> Result<Option<u32>, Problem> {
        let number = fields.number(key, 1, u64::from(most))?;
        Ok(number.map(|number| u32::try_from(number).expect("the bounds are checked")))
    };
    let limits = ModuleLimits {
        memory_mib: number("memory_mib", 512)?,
        plan_cpu_ms: number("plan_cpu_ms", 60_000)?,
        batch_cpu_ms: number("batch_cpu_ms", 60_000)?,
        row_cpu_us: number("row_cpu_us", 1_000_000)?,
        output_mib: number("output_mib", 64)?,
        instances: number("instances", 10_000)?,
    };
    fields.finish()?;
    state.catalog.put_module_limits(&name, &limits).await?;
    record(&state, None, EventCategory::ConfigurationChange, format!("limits of module \"{name}\" were set")).await;
    Ok(Json(limits_view(&state, limits).await?))
}

async fn await_verdict(state: &ApiState, module: &ModuleRecord, patience: Duration) -> Result<ModuleRecord, CatalogError> {
    let version = ModuleVersion::Digest(module.digest.clone());
    let deadline = Instant::now() + patience;
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
async fn view(state: &ApiState, versions: &[ModuleRecord]) -> Result<Value, CatalogError> {
    let latest = versions.iter().find(|version| !matches!(version.state, ModuleState::Rejected { .. }));
    let listed: Vec<Value> = versions.iter().map(version_view).collect();
    let name = versions.first().map_or("", |version| version.name.as_str());
    let aliases: Vec<Value> = state.catalog.module_aliases(name).await?.iter().map(alias_view).collect();
    Ok(json!({ "name": name, "latest": latest.map(|version| &version.digest), "versions": listed, "aliases": aliases }))
}

fn alias_view(alias: &ModuleAlias) -> Value {
    json!({ "alias": alias.alias, "digest": alias.digest, "moved_at_us": alias.moved_at_us })
}

async fn limits_view(state: &ApiState, own: ModuleLimits) -> Result<Value, CatalogError> {
    let of_tenant = state.catalog.quotas().await?.module_ceilings;
    Ok(json!({ "limits": own, "effective": state.modules.effective(own).tightest(of_tenant) }))
}

fn version_view(version: &ModuleRecord) -> Value {
    let (state, message, hint) = match &version.state {
        ModuleState::Pending => ("pending", None, None),
        ModuleState::Ready => ("ready", None, None),
        ModuleState::Rejected { message, hint } => ("rejected", Some(message), hint.as_ref()),
    };
    json!({
        "name": version.name,
        "digest": version.digest,
        "state": state,
        "message": message,
        "hint": hint,
        "size_bytes": version.bytes_len,
        "info": version.info,
        "uploaded_at_us": version.uploaded_at_us,
    })
}
