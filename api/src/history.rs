//! `/v1/tasks/{name}/history`: the last hour in points, and every change of units with its reason.

use axum::Json;
use serde_json::{Value, json};
use tidegate_catalog::history::INTERVAL_SECONDS;

use crate::keys::Scoped;
use crate::name::{PathName, QueryFields};
use crate::problem::Problem;

/// With `after_us`: only points after it. Changes are few and always told in full, since a late one may be completed.
pub(crate) async fn get(Scoped(state): Scoped, PathName(name): PathName, mut query: QueryFields) -> Result<Json<Value>, Problem> {
    let after_us = query.number("after_us", 0, i64::MAX)?.unwrap_or(-1);
    query.finish()?;
    let history = state.catalog.history(&name).await?;
    let points: Vec<_> = history.points.iter().filter(|point| point.at_us > after_us).collect();
    Ok(Json(json!({ "task": name, "interval_seconds": INTERVAL_SECONDS, "points": points, "changes": history.changes })))
}
