//! `/v1/modules/{name}/test`: a module on rows, before it touches anything. And `/v1/contract`: what modules are built for.
//!
//! The host runs the test; what it answers holds row values, goes to whoever asked, and is deleted from the catalog.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tidegate_catalog::{Failure, ModuleTestPayload, Role, TestRows};

use crate::fields::{Fields, key_problem, missing, one_of, wrong_type};
use crate::keys::Scoped;
use crate::name::PathName;
use crate::problem::Problem;
use crate::state::ApiState;

/// The host gives up after 30 seconds; it may have other questions to answer first.
const PATIENCE: Duration = Duration::from_secs(60);

/// Rows that are taken from a table when nothing is said, and at most.
const ROWS_SAMPLED: u64 = 10;
const ROWS_SAMPLED_MAX: u64 = 1_000;

/// Failures that the request itself is the reason for.
const OF_THE_REQUEST: [&str; 5] = ["module_plan", "module_start", "module_rejected", "test_rows", "target"];

pub(crate) async fn test(Scoped(state): Scoped, PathName(name): PathName, headers: HeaderMap, body: Bytes) -> Result<Json<Value>, Problem> {
    let mut fields = Fields::of_body(&headers, &body)?;
    let payload = ModuleTestPayload {
        version: fields.text("version")?.unwrap_or_else(|| "latest".to_owned()),
        config: fields.value("config").map_or_else(|| "{}".to_owned(), |config| config.to_string()),
        target: target(fields.text("target")?)?,
        rows: rows(&state, &mut fields).await?,
    };
    fields.finish()?;
    let id = state.catalog.submit_module_test(&name, &payload).await?;
    match state.catalog.module_test_answer(id, PATIENCE).await? {
        Some(Ok(report)) => Ok(Json(report)),
        Some(Err(failure)) => Err(problem(failure).object(format!("module \"{name}\""))),
        None => Err(Problem::no_answer(&format!("the test of module \"{name}\""))),
    }
}

/// What modules are built for.
pub(crate) async fn contract(Scoped(state): Scoped) -> Json<Value> {
    let contract = &state.contract;
    Json(json!({ "package": contract.package, "versions": contract.versions, "wit": contract.wit }))
}

fn target(text: Option<String>) -> Result<String, Problem> {
    let Some(text) = text else { return Ok("postgres".to_owned()) };
    let words = ["postgres", "mysql", "mariadb"].map(|word| (word, word));
    one_of("target", &text, &words).map(str::to_owned)
}

async fn rows(state: &ApiState, fields: &mut Fields) -> Result<TestRows, Problem> {
    let (rows, table, source) = (fields.value("rows"), fields.value("table"), fields.value("source"));
    match (rows, source) {
        (Some(rows), None) if rows.is_array() => Ok(TestRows::Given { table: table.unwrap_or(Value::Null), rows }),
        (Some(rows), None) => Err(wrong_type("rows", &rows, "an array of objects")),
        (None, Some(source)) if table.is_none() => sample(state, Fields::of_value(source, "source")?).await,
        (None, None) => Err(missing("rows").hint("send \"rows\", or \"source\" to take them from a table")),
        (_, Some(_)) => {
            Err(key_problem("conflicting_keys", "source", "\"source\" stands beside \"rows\" or \"table\", wanted one of them"))
        }
    }
}

async fn sample(state: &ApiState, mut source: Fields) -> Result<TestRows, Problem> {
    let name = source.required_text("endpoint")?;
    let (schema, table) = (source.required_text("schema")?, source.required_text("table")?);
    let limit = source.number("limit", 1, ROWS_SAMPLED_MAX)?.unwrap_or(ROWS_SAMPLED);
    source.finish()?;
    let endpoint = state.catalog.get_endpoint(&name).await?;
    if endpoint.spec.role != Role::Source {
        return Err(key_problem("endpoint_role", "source.endpoint", format!("endpoint \"{name}\" is a target, wanted a source")));
    }
    // The bounds above fit.
    let limit = u32::try_from(limit).unwrap_or(u32::MAX);
    Ok(TestRows::Sample { endpoint: endpoint.id, schema, table, limit })
}

fn problem(failure: Failure) -> Problem {
    let status = match failure.code.as_str() {
        "not_found" => StatusCode::NOT_FOUND,
        code if OF_THE_REQUEST.contains(&code) => StatusCode::UNPROCESSABLE_ENTITY,
        _ => return Problem::from_failure(failure),
    };
    let problem = Problem::new(status, failure.code, failure.message);
    match failure.hint {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}
