//! The wire protocol of AWS DMS: `POST /` with `X-Amz-Target: AmazonDMSv20160101.<Operation>`, JSON 1.1.
//!
//! An unmodified AWS CLI, boto3 or Terraform works with `--endpoint-url`. An operation reads and writes the catalog
//! and nothing else: what needs a database (test a connection, list schemas, run a task) is asked of the host process
//! through the catalog, and later answers tell how far it is.
//!
//! ```text
//!   request ─▶ signature (tenant), caller (region) ─▶ dispatch ─▶ operation ─▶ catalog
//!   answer  ◀─ 200 + members, or 400/500 + __type and message
//! ```
//!
//! A replication config and a provisioned task are the same catalog task; what DMS wants back and the catalog does not
//! know (identifiers as typed, the full settings document, tags of endpoints) lies in its `dms` document.

mod account;
mod arn;
mod caller;
mod certificates;
mod configs;
mod connections;
mod endpoint_spec;
mod endpoints;
mod fault;
mod instances;
mod lobs;
mod mappings;
mod page;
mod positions;
mod progress;
mod replications;
pub(crate) mod settings;
mod shape;
mod signature;
mod tables;
mod tags;
mod task_echo;
mod tasks;
mod unsupported;

use std::future::Future;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use rand::Rng;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tidegate_catalog::{Catalog, now_us};
use tidegate_model::TenantId;

use caller::Caller;
use fault::Fault;
use signature::Signature;

/// Before the operation's name in `X-Amz-Target`.
const TARGET_PREFIX: &str = "AmazonDMSv20160101.";

/// One request: who asks, and where the facts are.
pub(crate) struct Call {
    pub(crate) catalog: Catalog,
    pub(crate) caller: Caller,
}

/// `POST /` of the DMS API. Merge it with routes that leave this method and path alone.
pub fn router(state: crate::ApiState) -> Router {
    Router::new().route("/", post(serve)).with_state(state)
}

async fn serve(State(state): State<crate::ApiState>, uri: Uri, headers: HeaderMap, body: Result<Bytes, BytesRejection>) -> Response {
    let caller = Caller::from_headers(&headers);
    let operation = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or("");
    let tenant = match &body {
        Ok(body) => tenant(&state, &uri, &headers, body).await,
        Err(rejection) => Err(Fault::serialization(rejection.body_text())),
    };
    let outcome = match (tenant, operation.strip_prefix(TARGET_PREFIX), body) {
        (Err(fault), _, _) => Err(fault),
        (Ok(_), None, _) => Err(Fault::unknown_operation(operation)),
        (Ok(_), Some(_), Err(rejection)) => Err(Fault::serialization(rejection.body_text())),
        (Ok(tenant), Some(operation), Ok(body)) => {
            let call = Call { catalog: state.catalog.of(&tenant), caller: caller.clone() };
            dispatch(&call, operation, &body).await
        }
    };
    match outcome {
        Ok(members) => answer(StatusCode::OK, shape::without_nulls(members).to_string().into_bytes(), None),
        Err(fault) => {
            tracing::debug!(operation, access_key = caller.access_key, code = fault.code(), "refuse a DMS request");
            answer(fault.status(), fault.body(), Some(fault.code()))
        }
    }
}

/// Whose request it is: without keys the default tenant's, otherwise that of the key which signed it.
async fn tenant(state: &crate::ApiState, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Result<TenantId, Fault> {
    if !state.wants_keys().await? {
        return Ok(TenantId::default());
    }
    let signature = Signature::of(headers)?;
    let (tenant, secret) = state.catalog.signing_key(signature.access_key).await?.ok_or_else(Fault::unknown_key)?;
    signature.check(&secret, uri, headers, body, now_us() / 1_000_000)?;
    Ok(tenant)
}

fn answer(status: StatusCode, body: Vec<u8>, error: Option<&'static str>) -> Response {
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.1"));
    let id = HeaderValue::from_str(&request_id()).expect("hexadecimal digits and hyphens make a header value");
    headers.insert("x-amzn-requestid", id);
    if let Some(code) = error {
        headers.insert("x-amzn-errortype", HeaderValue::from_static(code));
    }
    response
}

/// A random UUID, the form of AWS's request ids.
fn request_id() -> String {
    let mut bytes: [u8; 16] = rand::rng().random();
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

async fn dispatch(call: &Call, operation: &str, body: &[u8]) -> Result<Value, Fault> {
    match operation {
        "CreateEndpoint" => run(body, |request| endpoints::create(call, request)).await,
        "ModifyEndpoint" => run(body, |request| endpoints::modify(call, request)).await,
        "DeleteEndpoint" => run(body, |request| endpoints::delete(call, request)).await,
        "DescribeEndpoints" => run(body, |request| endpoints::describe(call, request)).await,
        "DescribeEndpointTypes" => run(body, endpoints::describe_types).await,

        "CreateReplicationInstance" => run(body, |request| instances::create(call, request)).await,
        "ModifyReplicationInstance" => run(body, |request| instances::modify(call, request)).await,
        "DeleteReplicationInstance" => run(body, |request| instances::delete(call, request)).await,
        "DescribeReplicationInstances" => run(body, |request| instances::describe(call, request)).await,

        "TestConnection" => run(body, |request| connections::test(call, request)).await,
        "DescribeConnections" => run(body, |request| connections::describe(call, request)).await,
        "DeleteConnection" => run(body, |request| connections::delete(call, request)).await,
        "RefreshSchemas" => run(body, |request| connections::refresh_schemas(call, request)).await,
        "DescribeRefreshSchemasStatus" => run(body, |request| connections::describe_refresh(call, request)).await,
        "DescribeSchemas" => run(body, |request| connections::describe_schemas(call, request)).await,

        "CreateReplicationConfig" => run(body, |request| configs::create(call, request)).await,
        "ModifyReplicationConfig" => run(body, |request| configs::modify(call, request)).await,
        "DeleteReplicationConfig" => run(body, |request| configs::delete(call, request)).await,
        "DescribeReplicationConfigs" => run(body, |request| configs::describe(call, request)).await,
        "StartReplication" => run(body, |request| replications::start(call, request)).await,
        "StopReplication" => run(body, |request| replications::stop(call, request)).await,
        "DescribeReplications" => run(body, |request| replications::describe(call, request)).await,
        "DescribeReplicationTableStatistics" => run(body, |request| tables::describe_of_config(call, request)).await,
        "ReloadReplicationTables" => run(body, |request| tables::reload_of_config(call, request)).await,

        "CreateReplicationTask" => run(body, |request| tasks::create(call, request)).await,
        "ModifyReplicationTask" => run(body, |request| tasks::modify(call, request)).await,
        "DeleteReplicationTask" => run(body, |request| tasks::delete(call, request)).await,
        "DescribeReplicationTasks" => run(body, |request| tasks::describe(call, request)).await,
        "StartReplicationTask" => run(body, |request| tasks::start(call, request)).await,
        "StopReplicationTask" => run(body, |request| tasks::stop(call, request)).await,
        "DescribeTableStatistics" => run(body, |request| tables::describe_of_task(call, request)).await,
        "ReloadTables" => run(body, |request| tables::reload_of_task(call, request)).await,

        "ImportCertificate" => run(body, |request| certificates::import(call, request)).await,
        "DescribeCertificates" => run(body, |request| certificates::describe(call, request)).await,
        "DeleteCertificate" => run(body, |request| certificates::delete(call, request)).await,

        "AddTagsToResource" => run(body, |request| tags::add(call, request)).await,
        "RemoveTagsFromResource" => run(body, |request| tags::remove(call, request)).await,
        "ListTagsForResource" => run(body, |request| tags::list(call, request)).await,
        "DescribeAccountAttributes" => run(body, |request| account::attributes(call, request)).await,
        "DescribeEvents" => run(body, |request| account::events(call, request)).await,

        known if unsupported::OPERATIONS.contains(&known) => Err(Fault::unsupported(known)),
        other => Err(Fault::unknown_operation(other)),
    }
}

async fn run<I, O, F>(body: &[u8], operation: impl FnOnce(I) -> F) -> Result<Value, Fault>
where
    I: DeserializeOwned,
    O: Serialize,
    F: Future<Output = Result<O, Fault>>,
{
    let body = if body.iter().all(u8::is_ascii_whitespace) { b"{}" } else { body };
    let request = serde_json::from_slice(body).map_err(|error| Fault::serialization(refusal(&error)))?;
    let members = operation(request).await?;
    Ok(serde_json::to_value(members).expect("answers have string keys and finite numbers"))
}

/// What is told of a body that does not parse: never the value that was found, which may be a password.
fn refusal(error: &serde_json::Error) -> String {
    let what = if error.is_data() { "a member has another type than the service's model says" } else { "the body is not JSON" };
    format!("{what}: line {}, column {}", error.line(), error.column())
}
