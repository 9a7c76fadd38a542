//! Endpoints: create, modify, delete, describe.

use tidegate_catalog::{CatalogError, EndpointRecord};

use super::arn::{Arn, Kind, identifier, resource_identifier};
use super::endpoint_spec::{ENGINES, EndpointEcho, changed, created, shown};
use super::fault::{Fault, required, shortened};
use super::page::{ListRequest, USUAL_PAGE, cut, filtered};
use super::shape::endpoint::{ConnectionRequest, EndpointAnswer, EndpointRequest, EndpointType, EndpointTypesAnswer, EndpointsAnswer};
use super::{Call, certificates, connections, tags};

const IDENTIFIER_CHARS_MAX: usize = 255;
const FILTERS: &[&str] = &["endpoint-arn", "endpoint-type", "endpoint-id", "engine-name"];

pub(crate) async fn create(call: &Call, mut request: EndpointRequest) -> Result<EndpointAnswer, Fault> {
    let name = required(request.endpoint_identifier.take(), "EndpointIdentifier")?;
    identifier(&name, "EndpointIdentifier", IDENTIFIER_CHARS_MAX)?;
    let id = resource_identifier(request.resource_identifier.take())?;
    let tags = tags::checked(request.tags.take())?;
    let authorities_pem = authorities_pem(call, &request).await?;
    let spec = created(request, name, &call.caller.region, tags, authorities_pem)?;
    let made = match &id {
        Some(id) => call.catalog.create_endpoint_with_id(id, &spec).await,
        None => call.catalog.create_endpoint(&spec).await,
    };
    let record = made.map_err(|error| already_exists(error, &spec.name))?;
    Ok(EndpointAnswer { endpoint: shown(&record, &call.caller, "active") })
}

pub(crate) async fn modify(call: &Call, mut request: EndpointRequest) -> Result<EndpointAnswer, Fault> {
    let (record, mut echo) = find(call, request.endpoint_arn.take()).await?;
    refuse_while_running(call, &record).await?;
    if let Some(name) = request.endpoint_identifier.take() {
        identifier(&name, "EndpointIdentifier", IDENTIFIER_CHARS_MAX)?;
        echo.identifier = name;
    }
    let authorities_pem = authorities_pem(call, &request).await?;
    let spec = changed(record.spec, echo, request, authorities_pem)?;
    let updated = call.catalog.update_endpoint(&record.id, record.revision, &spec).await;
    let record = updated.map_err(|error| already_exists(error, &spec.name))?;
    Ok(EndpointAnswer { endpoint: shown(&record, &call.caller, "active") })
}

/// The PEM of the certificate that the request names; an empty ARN takes the certificate away.
async fn authorities_pem(call: &Call, request: &EndpointRequest) -> Result<Option<String>, Fault> {
    match request.certificate_arn.as_deref().filter(|arn| !arn.is_empty()) {
        Some(arn) => Ok(Some(certificates::pem(call, arn).await?)),
        None => Ok(None),
    }
}

/// DMS refuses to change an endpoint under a running task: the task would not notice until its next start.
async fn refuse_while_running(call: &Call, record: &EndpointRecord) -> Result<(), Fault> {
    let name = &record.spec.name;
    let tasks = call.catalog.list_tasks().await?;
    match tasks.iter().find(|task| task.status.is_active() && (task.definition.source == *name || task.definition.target == *name)) {
        Some(task) => {
            Err(Fault::state(format!("Endpoint {name} cannot be modified while task {} is {}", task.definition.name, task.status.name())))
        }
        None => Ok(()),
    }
}

pub(crate) async fn delete(call: &Call, request: ConnectionRequest) -> Result<EndpointAnswer, Fault> {
    let (record, _) = find(call, request.endpoint_arn).await?;
    call.catalog.delete_endpoint(&record.spec.name).await?;
    connections::forget_endpoint(call, &record.id).await?;
    Ok(EndpointAnswer { endpoint: shown(&record, &call.caller, "deleting") })
}

pub(crate) async fn describe(call: &Call, request: ListRequest) -> Result<EndpointsAnswer, Fault> {
    let records = call.catalog.list_endpoints().await?;
    let all: Vec<_> = records.iter().map(|record| shown(record, &call.caller, "active")).collect();
    let kept = filtered(all, request.filters.as_deref(), FILTERS, "Endpoints", |endpoint, name| match name {
        "endpoint-arn" => vec![endpoint.endpoint_arn.clone()],
        "endpoint-type" => vec![endpoint.endpoint_type.to_owned()],
        "endpoint-id" => vec![endpoint.endpoint_identifier.clone(), endpoint.endpoint_identifier.to_ascii_lowercase()],
        _ => vec![endpoint.engine_name.clone()],
    })?;
    let page = cut(kept, &request, USUAL_PAGE)?;
    Ok(EndpointsAnswer { marker: page.marker, endpoints: page.items })
}

pub(crate) async fn describe_types(request: ListRequest) -> Result<EndpointTypesAnswer, Fault> {
    let all: Vec<EndpointType> = ENGINES
        .iter()
        .flat_map(|engine| ["source", "target"].map(|side| (engine, side)))
        .map(|(engine, side)| EndpointType {
            engine_name: engine.name,
            supports_cdc: true,
            endpoint_type: side,
            engine_display_name: engine.display_name,
        })
        .collect();
    let kept = filtered(all, request.filters.as_deref(), &["engine-name", "endpoint-type"], "Endpoint types", |kind, name| match name {
        "engine-name" => vec![kind.engine_name.to_owned()],
        _ => vec![kind.endpoint_type.to_owned()],
    })?;
    let page = cut(kept, &request, USUAL_PAGE)?;
    Ok(EndpointTypesAnswer { marker: page.marker, supported_endpoint_types: page.items })
}

/// The endpoint behind the required member `EndpointArn`.
pub(crate) async fn find(call: &Call, arn: Option<String>) -> Result<(EndpointRecord, EndpointEcho), Fault> {
    find_named(call, arn, "EndpointArn").await
}

/// The endpoint behind an ARN.
///
/// # Errors
/// `ResourceNotFoundFault`; faults that name the member.
pub(crate) async fn find_named(call: &Call, arn: Option<String>, member: &str) -> Result<(EndpointRecord, EndpointEcho), Fault> {
    let text = required(arn, member)?;
    let arn = Arn::parse_kind(&text, Kind::Endpoint, member)?;
    match call.catalog.get_endpoint_by_id(&arn.id).await {
        Ok(record) => {
            let echo = EndpointEcho::of(&record, &call.caller);
            Ok((record, echo))
        }
        Err(CatalogError::NotFound { .. }) => Err(Fault::not_found(format!("Endpoint {} not found.", shortened(&text)))),
        Err(error) => Err(error.into()),
    }
}

fn already_exists(error: CatalogError, name: &str) -> Fault {
    match error {
        CatalogError::AlreadyExists { .. } => {
            Fault::exists(format!("An endpoint with the identifier {name}, or with this ResourceIdentifier, already exists."))
        }
        other => other.into(),
    }
}
