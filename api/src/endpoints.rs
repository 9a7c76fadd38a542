//! `/v1/endpoints`: where databases are and how to reach them.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tidegate_catalog::{EndpointRecord, EventCategory, RequestKind, RequestState};

use crate::endpoint_body::{changed_spec, new_spec};
use crate::events::record;
use crate::keys::Scoped;
use crate::name::PathName;
use crate::problem::Problem;
use crate::state::ApiState;

/// How long a connection test may take before the caller is told to ask again.
const TEST_PATIENCE: Duration = Duration::from_secs(30);

/// Listing the tables of a large database takes longer than connecting to it.
const LISTING_PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn create(Scoped(state): Scoped, headers: HeaderMap, body: Bytes) -> Result<Response, Problem> {
    let spec = new_spec(&headers, &body)?;
    let endpoint = state.catalog.create_endpoint(&spec).await?;
    record(&state, None, EventCategory::Creation, format!("endpoint \"{}\" was created", spec.name)).await;
    Ok((StatusCode::CREATED, Json(view(&endpoint))).into_response())
}

pub(crate) async fn list(Scoped(state): Scoped) -> Result<Json<Value>, Problem> {
    let endpoints: Vec<Value> = state.catalog.list_endpoints().await?.iter().map(view).collect();
    Ok(Json(json!({ "endpoints": endpoints })))
}

pub(crate) async fn get(Scoped(state): Scoped, PathName(name): PathName) -> Result<Json<Value>, Problem> {
    Ok(Json(view(&state.catalog.get_endpoint(&name).await?)))
}

pub(crate) async fn patch(
    Scoped(state): Scoped,
    PathName(name): PathName,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let endpoint = state.catalog.get_endpoint(&name).await?;
    let spec = changed_spec(&endpoint.spec, &headers, &body)?;
    let endpoint = state
        .catalog
        .update_endpoint(&endpoint.id, endpoint.revision, &spec)
        .await
        .map_err(|error| Problem::from(error).conflict_code("changed_meanwhile"))?;
    record(&state, None, EventCategory::ConfigurationChange, format!("endpoint \"{name}\" was changed")).await;
    Ok(Json(view(&endpoint)))
}

pub(crate) async fn delete(Scoped(state): Scoped, PathName(name): PathName) -> Result<StatusCode, Problem> {
    state.catalog.delete_endpoint(&name).await?;
    record(&state, None, EventCategory::Deletion, format!("endpoint \"{name}\" was deleted")).await;
    Ok(StatusCode::NO_CONTENT)
}

/// A test that fails is a result, not an error of the request.
pub(crate) async fn test(Scoped(state): Scoped, PathName(name): PathName) -> Result<Json<Value>, Problem> {
    match ask(&state, &name, RequestKind::TestConnection, TEST_PATIENCE).await? {
        RequestState::Succeeded(report) => Ok(Json(json!({ "status": "successful", "version": report["version"] }))),
        RequestState::Failed(failure) => Ok(Json(json!({ "status": "failed", "failure": failure }))),
        RequestState::Waiting | RequestState::Taken => Err(Problem::no_answer(&format!("the test of endpoint \"{name}\""))),
    }
}

pub(crate) async fn tables(Scoped(state): Scoped, PathName(name): PathName) -> Result<Json<Value>, Problem> {
    match ask(&state, &name, RequestKind::ListTables, LISTING_PATIENCE).await? {
        RequestState::Succeeded(listing) => Ok(Json(listing)),
        RequestState::Failed(failure) => Err(Problem::from_failure(failure).object(format!("endpoint \"{name}\""))),
        RequestState::Waiting | RequestState::Taken => Err(Problem::no_answer(&format!("the listing of endpoint \"{name}\""))),
    }
}

async fn ask(state: &ApiState, name: &str, kind: RequestKind, patience: Duration) -> Result<RequestState, Problem> {
    let endpoint = state.catalog.get_endpoint(name).await?;
    let request = state.catalog.submit_request(kind, &endpoint.id, &Value::Null).await?;
    Ok(state.catalog.wait_for_request(request.id, patience).await?.state)
}

/// What is shown of an endpoint: everything but its password.
fn view(endpoint: &EndpointRecord) -> Value {
    let spec = &endpoint.spec;
    json!({
        "id": endpoint.id,
        "name": spec.name,
        "role": spec.role,
        "engine": spec.engine.as_str(),
        "host": spec.host,
        "port": spec.port,
        "username": spec.username,
        "database": spec.database,
        "tls": { "mode": spec.tls.mode, "authorities_pem": spec.tls.authorities_pem },
        "created_at_us": endpoint.created_at_us,
        "updated_at_us": endpoint.updated_at_us,
    })
}
