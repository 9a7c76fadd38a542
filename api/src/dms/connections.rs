//! Connection tests and schema lists: questions that the host process answers through the catalog.
//!
//! A connection is a pair of instance and endpoint; the pair is kept as a resource, its state is the newest
//! connection test of the endpoint. Schemas are those of the newest finished listing.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidegate_catalog::{EndpointRecord, Failure, RequestKind, RequestRecord, RequestState, ResourceRecord, TableListing};

use super::Call;
use super::endpoint_spec::EndpointEcho;
use super::fault::Fault;
use super::instances::{InstanceDocument, RESOURCE as INSTANCE};
use super::page::{ListRequest, USUAL_PAGE, cut, filtered};
use super::shape::endpoint::{
    Connection, ConnectionAnswer, ConnectionRequest, ConnectionsAnswer, RefreshAnswer, RefreshSchemasStatus, SchemasAnswer,
};
use super::shape::seconds;
use super::{endpoints, instances};

/// The kind of the catalog's resources.
const RESOURCE: &str = "dms-connection";
/// How long DescribeSchemas waits for a listing when there is none yet. A client's read timeout is 60 s.
const LISTING_PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Serialize, Deserialize)]
struct Pair {
    endpoint_id: String,
    instance_id: String,
}

impl Pair {
    fn id(&self) -> String {
        format!("{}.{}", self.endpoint_id, self.instance_id)
    }

    fn of(record: &ResourceRecord) -> Option<Self> {
        serde_json::from_value(record.document.clone()).ok()
    }
}

pub(crate) async fn test(call: &Call, request: ConnectionRequest) -> Result<ConnectionAnswer, Fault> {
    let (instance, document) = instances::find(call, request.replication_instance_arn).await?;
    let (endpoint, _) = endpoints::find(call, request.endpoint_arn).await?;
    let pair = Pair { endpoint_id: endpoint.id.clone(), instance_id: instance.id.clone() };
    let stored = serde_json::to_value(&pair).expect("a pair has string keys only");
    call.catalog.put_resource(RESOURCE, &pair.id(), &pair.id(), &stored).await?;
    let asked = call.catalog.submit_request(RequestKind::TestConnection, &endpoint.id, &Value::Null).await?;
    Ok(ConnectionAnswer { connection: shown(call, (&instance, &document), &endpoint, Some(&asked)) })
}

pub(crate) async fn describe(call: &Call, request: ListRequest) -> Result<ConnectionsAnswer, Fault> {
    let mut all = Vec::new();
    for pair in call.catalog.list_resources(RESOURCE).await?.iter().filter_map(Pair::of) {
        // A half of the pair may be deleted between two statements: then the connection is gone, too.
        let (Ok(endpoint), Ok(instance)) =
            (call.catalog.get_endpoint_by_id(&pair.endpoint_id).await, call.catalog.get_resource(INSTANCE, &pair.instance_id).await)
        else {
            continue;
        };
        let latest = call.catalog.latest_request(RequestKind::TestConnection, &endpoint.id).await?;
        let document = InstanceDocument::of(&instance)?;
        all.push(shown(call, (&instance, &document), &endpoint, latest.as_ref()));
    }
    let known = ["endpoint-arn", "replication-instance-arn"];
    let kept = filtered(all, request.filters.as_deref(), &known, "Connections", |connection, name| match name {
        "endpoint-arn" => vec![connection.endpoint_arn.clone()],
        _ => vec![connection.replication_instance_arn.clone()],
    })?;
    let page = cut(kept, &request, USUAL_PAGE)?;
    Ok(ConnectionsAnswer { marker: page.marker, connections: page.items })
}

pub(crate) async fn delete(call: &Call, request: ConnectionRequest) -> Result<ConnectionAnswer, Fault> {
    let (instance, document) = instances::find(call, request.replication_instance_arn).await?;
    let (endpoint, _) = endpoints::find(call, request.endpoint_arn).await?;
    let pair = Pair { endpoint_id: endpoint.id.clone(), instance_id: instance.id.clone() };
    call.catalog.delete_resource(RESOURCE, &pair.id()).await.map_err(|error| match error {
        tidegate_catalog::CatalogError::NotFound { .. } => {
            Fault::not_found("There is no connection of this endpoint and this replication instance.")
        }
        other => other.into(),
    })?;
    let connection = shown(call, (&instance, &document), &endpoint, None);
    Ok(ConnectionAnswer { connection: Connection { status: "deleting", ..connection } })
}

/// Forgets the connections of an endpoint that is gone.
pub(crate) async fn forget_endpoint(call: &Call, endpoint_id: &str) -> Result<(), Fault> {
    forget(call, |pair| pair.endpoint_id == endpoint_id).await
}

/// Forgets the connections of an instance that is gone.
pub(crate) async fn forget_instance(call: &Call, instance_id: &str) -> Result<(), Fault> {
    forget(call, |pair| pair.instance_id == instance_id).await
}

async fn forget(call: &Call, wanted: impl Fn(&Pair) -> bool) -> Result<(), Fault> {
    for pair in call.catalog.list_resources(RESOURCE).await?.iter().filter_map(Pair::of).filter(|pair| wanted(pair)) {
        match call.catalog.delete_resource(RESOURCE, &pair.id()).await {
            Ok(()) | Err(tidegate_catalog::CatalogError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

pub(crate) async fn refresh_schemas(call: &Call, request: ConnectionRequest) -> Result<RefreshAnswer, Fault> {
    let (instance, document) = instances::find(call, request.replication_instance_arn).await?;
    let (endpoint, echo) = endpoints::find(call, request.endpoint_arn).await?;
    let asked = call.catalog.submit_request(RequestKind::ListTables, &endpoint.id, &Value::Null).await?;
    Ok(RefreshAnswer { refresh_schemas_status: refreshed(&echo.arn(&endpoint), Some(document.arn(&instance)), &asked) })
}

pub(crate) async fn describe_refresh(call: &Call, request: ConnectionRequest) -> Result<RefreshAnswer, Fault> {
    let (endpoint, echo) = endpoints::find(call, request.endpoint_arn).await?;
    let latest = call.catalog.latest_request(RequestKind::ListTables, &endpoint.id).await?;
    let latest = latest.ok_or_else(|| Fault::not_found(format!("The schemas of endpoint {} were never refreshed.", echo.identifier)))?;
    Ok(RefreshAnswer { refresh_schemas_status: refreshed(&echo.arn(&endpoint), None, &latest) })
}

pub(crate) async fn describe_schemas(call: &Call, request: ConnectionRequest) -> Result<SchemasAnswer, Fault> {
    let (endpoint, echo) = endpoints::find(call, request.endpoint_arn).await?;
    let latest = match call.catalog.latest_request(RequestKind::ListTables, &endpoint.id).await? {
        Some(latest) => latest,
        None => call.catalog.submit_request(RequestKind::ListTables, &endpoint.id, &Value::Null).await?,
    };
    let schemas = match call.catalog.wait_for_request(latest.id, LISTING_PATIENCE).await?.state {
        RequestState::Succeeded(listing) => {
            serde_json::from_value::<TableListing>(listing).map(|listing| listing.schemas).map_err(|error| {
                tracing::error!(endpoint = echo.identifier, %error, "stored table listing does not read back");
                Fault::internal()
            })?
        }
        RequestState::Failed(failure) => {
            return Err(Fault::state(format!("The schemas of endpoint {} cannot be listed: {}", echo.identifier, told(&failure))));
        }
        RequestState::Waiting | RequestState::Taken => {
            return Err(Fault::state(format!("The schemas of endpoint {} are being refreshed.", echo.identifier)));
        }
    };
    let list = ListRequest { max_records: request.max_records, marker: request.marker, ..ListRequest::default() };
    let page = cut(schemas, &list, USUAL_PAGE)?;
    Ok(SchemasAnswer { marker: page.marker, schemas: page.items })
}

fn shown(
    call: &Call,
    instance: (&ResourceRecord, &InstanceDocument),
    endpoint: &EndpointRecord,
    latest: Option<&RequestRecord>,
) -> Connection {
    let echo = EndpointEcho::of(endpoint, &call.caller);
    let (status, failure) = match latest.map(|request| &request.state) {
        Some(RequestState::Succeeded(_)) => ("successful", None),
        Some(RequestState::Failed(failure)) => ("failed", Some(told(failure))),
        Some(RequestState::Waiting | RequestState::Taken) | None => ("testing", None),
    };
    Connection {
        replication_instance_arn: instance.1.arn(instance.0),
        endpoint_arn: echo.arn(endpoint),
        status,
        last_failure_message: failure,
        endpoint_identifier: echo.identifier,
        replication_instance_identifier: instance.0.name.clone(),
    }
}

fn refreshed(endpoint_arn: &str, instance_arn: Option<String>, request: &RequestRecord) -> RefreshSchemasStatus {
    let (status, failure) = match &request.state {
        RequestState::Succeeded(_) => ("successful", None),
        RequestState::Failed(failure) => ("failed", Some(told(failure))),
        RequestState::Waiting | RequestState::Taken => ("refreshing", None),
    };
    RefreshSchemasStatus {
        endpoint_arn: endpoint_arn.to_owned(),
        replication_instance_arn: instance_arn,
        status,
        last_refresh_date: request.finished_at_us.map(seconds),
        last_failure_message: failure,
    }
}

/// A failure as one text: what happened, and what to do.
pub(crate) fn told(failure: &Failure) -> String {
    match &failure.hint {
        Some(hint) => format!("{}; {hint}", failure.message),
        None => failure.message.clone(),
    }
}
