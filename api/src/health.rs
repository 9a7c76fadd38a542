//! `/healthz`, `/readyz`, `/metrics`: for whoever watches the process.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::problem::Problem;
use crate::state::ApiState;

/// The process answers.
pub(crate) async fn alive(State(state): State<ApiState>) -> Json<Value> {
    Json(json!({ "status": "alive", "version": state.version }))
}

/// The catalog answers and the host's scheduler runs.
pub(crate) async fn ready(State(state): State<ApiState>) -> Result<Json<Value>, Problem> {
    let not_ready = |detail: &str| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", detail);
    if state.catalog.ping().await.is_err() {
        return Err(not_ready("the catalog does not answer").object("catalog"));
    }
    if !state.is_ready() {
        return Err(not_ready("the scheduler does not run").object("scheduler"));
    }
    Ok(Json(json!({ "status": "ready", "version": state.version })))
}

pub(crate) async fn metrics(State(state): State<ApiState>) -> Response {
    let mut response = state.prometheus.render().into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
    response
}
