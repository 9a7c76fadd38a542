//! `/v1/tasks/{name}/modules/{module}/swap`: another version of a module, without loading the tables again.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tidegate_catalog::{ModuleVersion, RequestKind, RequestState, SwapPayload, TaskStatus};

use crate::fields::{Fields, key_problem, wrong_type};
use crate::keys::Scoped;
use crate::problem::Problem;

/// The host compiles the version and waits for the task to rest; it gives up after 30 seconds.
const PATIENCE: Duration = Duration::from_secs(35);

pub(crate) async fn swap(
    Scoped(state): Scoped,
    Path((name, module)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let mut fields = Fields::of_body(&headers, &body)?;
    let version = fields.text("version")?.unwrap_or_else(|| "latest".to_owned());
    let share_of_tables = match fields.value("share_of_tables") {
        None => None,
        Some(value) => match value.as_f64() {
            Some(share) if share > 0.0 && share < 1.0 => Some(share),
            Some(_) => return Err(key_problem("out_of_range", "share_of_tables", "\"share_of_tables\" is not between 0 and 1")),
            None => return Err(wrong_type("share_of_tables", &value, "a number")),
        },
    };
    fields.finish()?;
    let task = state.catalog.get_task(&name).await?;
    if !matches!(task.status, TaskStatus::Running { .. }) {
        let detail = format!("task \"{name}\" is {}, wanted running", task.status.name());
        return Err(Problem::new(StatusCode::CONFLICT, "task_not_running", detail).object(format!("task \"{name}\"")));
    }
    // Once: whatever the name stands for when the host comes to it, the answer's digest is the one that was meant.
    let version = state.catalog.get_module(&module, &ModuleVersion::new(&version)).await?.digest;
    let payload = json!(SwapPayload { module, version, share_of_tables });
    let request = state.catalog.submit_request(RequestKind::SwapModule, &name, &payload).await?;
    match state.catalog.wait_for_request(request.id, PATIENCE).await?.state {
        RequestState::Succeeded(report) => Ok(Json(report)),
        RequestState::Failed(failure) => Err(Problem::from_failure(failure).object(format!("task \"{name}\""))),
        RequestState::Waiting | RequestState::Taken => Err(Problem::no_answer(&format!("the swap in task \"{name}\""))),
    }
}
