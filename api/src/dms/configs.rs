//! Replication configs: what should be replicated, and within which capacity.

use std::collections::HashMap;

use serde_json::json;
use tidegate_catalog::{CatalogError, Cleanup, EndpointRecord, Preparation, Role, TaskDefinition, TaskRecord, TaskStatus};

use super::arn::{identifier, resource_identifier};
use super::endpoint_spec::EndpointEcho;
use super::fault::{Fault, missing, required};
use super::page::{ListRequest, USUAL_PAGE, cut, filtered};
use super::shape::replication::{ComputeConfig, ConfigAnswer, ConfigRequest, ConfigsAnswer, ReplicationConfig};
use super::shape::seconds;
use super::task_echo::{TaskEcho, TaskForm, apply_settings, catalog_name, checked_mappings, find, migration, tell_idle_settings};
use super::{Call, endpoints, settings, tags};

pub(crate) const IDENTIFIER_CHARS_MAX: usize = 255;
/// Sizes that DMS offers, in DCU.
const CAPACITY_UNITS: [i64; 11] = [1, 2, 4, 8, 16, 32, 64, 128, 192, 256, 384];
pub(crate) const FILTERS: &[&str] = &["replication-config-arn", "replication-config-id"];

pub(crate) async fn create(call: &Call, request: ConfigRequest) -> Result<ConfigAnswer, Fault> {
    let name = required(request.replication_config_identifier, "ReplicationConfigIdentifier")?;
    identifier(&name, "ReplicationConfigIdentifier", IDENTIFIER_CHARS_MAX)?;
    let id = resource_identifier(request.resource_identifier)?;
    let compute = checked_compute(request.compute_config.ok_or_else(|| missing("ComputeConfig"))?)?;
    let mut echo = TaskEcho {
        form: TaskForm::Config,
        region: call.caller.region.clone(),
        settings: settings::defaults(),
        compute_config: compute,
        supplemental_settings: request.supplemental_settings,
        task_data: None,
        instance_arn: None,
        identifier: name,
    };
    let mut definition = TaskDefinition {
        name: catalog_name(&echo.identifier),
        source: endpoint_name(call, request.source_endpoint_arn, "SourceEndpointArn", Role::Source).await?,
        target: endpoint_name(call, request.target_endpoint_arn, "TargetEndpointArn", Role::Target).await?,
        migration: migration(&required(request.replication_type, "ReplicationType")?, "ReplicationType")?,
        preparation: Preparation::DropAndCreate,
        table_mappings: checked_mappings(required(request.table_mappings, "TableMappings")?)?,
        settings: json!({}),
        start_position: None,
        stop_position: None,
        min_units: 0,
        max_units: 0,
        max_lag_seconds: None,
        tags: tags::checked(request.tags)?,
        dms: json!(null),
    };
    apply_units(&mut definition, &echo.compute_config);
    let settings = settings::merge(settings::defaults(), request.replication_settings.as_deref())?;
    apply_settings(&mut definition, &mut echo, settings);
    definition.dms = echo.document();
    let record = create_task(call, id.as_deref(), &definition, &echo.identifier).await?;
    tell_idle_settings(call, &record, &echo).await?;
    let endpoints = Endpoints::load(call).await?;
    Ok(ConfigAnswer { replication_config: shown(call, &record, &echo, &endpoints) })
}

pub(crate) async fn modify(call: &Call, request: ConfigRequest) -> Result<ConfigAnswer, Fault> {
    let (record, mut echo) = find(call, request.replication_config_arn, TaskForm::Config, "ReplicationConfigArn").await?;
    if request.replication_config_identifier.is_some_and(|name| name != echo.identifier) {
        return Err(Fault::value("ReplicationConfigIdentifier cannot be changed"));
    }
    // More than DMS allows: capacity bounds may be changed while the replication runs.
    let touches_more = request.source_endpoint_arn.is_some()
        || request.target_endpoint_arn.is_some()
        || request.replication_type.is_some()
        || request.table_mappings.is_some()
        || request.replication_settings.is_some();
    if record.status.is_active() && touches_more {
        return Err(Fault::state(format!(
            "Replication Config {} cannot be modified while its replication is in {} state",
            echo.identifier,
            super::progress::replication_status(&record.status)
        )));
    }
    let mut definition = record.definition.clone();
    if let Some(arn) = request.source_endpoint_arn {
        definition.source = endpoint_name(call, Some(arn), "SourceEndpointArn", Role::Source).await?;
    }
    if let Some(arn) = request.target_endpoint_arn {
        definition.target = endpoint_name(call, Some(arn), "TargetEndpointArn", Role::Target).await?;
    }
    if let Some(text) = request.replication_type {
        definition.migration = migration(&text, "ReplicationType")?;
    }
    if let Some(text) = request.table_mappings {
        definition.table_mappings = checked_mappings(text)?;
    }
    if let Some(compute) = request.compute_config {
        echo.compute_config = checked_compute(compute)?;
        apply_units(&mut definition, &echo.compute_config);
    }
    let sets = request.replication_settings.is_some();
    if let Some(text) = request.replication_settings {
        let settings = settings::merge(echo.settings_now(&definition), Some(&text))?;
        apply_settings(&mut definition, &mut echo, settings);
    }
    echo.supplemental_settings = request.supplemental_settings.or(echo.supplemental_settings);
    definition.dms = echo.document();
    let record = call.catalog.update_task(record.revision, &definition).await?;
    if sets {
        tell_idle_settings(call, &record, &echo).await?;
    }
    let endpoints = Endpoints::load(call).await?;
    Ok(ConfigAnswer { replication_config: shown(call, &record, &echo, &endpoints) })
}

pub(crate) async fn delete(call: &Call, request: ConfigRequest) -> Result<ConfigAnswer, Fault> {
    let (record, echo) = find(call, request.replication_config_arn, TaskForm::Config, "ReplicationConfigArn").await?;
    let endpoints = Endpoints::load(call).await?;
    let answer = ConfigAnswer { replication_config: shown(call, &record, &echo, &endpoints) };
    delete_task(call, &record, &format!("Replication Config {}", echo.identifier)).await?;
    Ok(answer)
}

pub(crate) async fn describe(call: &Call, request: ListRequest) -> Result<ConfigsAnswer, Fault> {
    let endpoints = Endpoints::load(call).await?;
    let all: Vec<_> = of_form(call, TaskForm::Config).await?.iter().map(|(record, echo)| shown(call, record, echo, &endpoints)).collect();
    let kept = filtered(all, request.filters.as_deref(), FILTERS, "Replication Configs", |config, name| match name {
        "replication-config-arn" => vec![config.replication_config_arn.clone()],
        _ => vec![config.replication_config_identifier.clone()],
    })?;
    let page = cut(kept, &request, USUAL_PAGE)?;
    Ok(ConfigsAnswer { marker: page.marker, replication_configs: page.items })
}

/// Every task of a form, by name.
pub(crate) async fn of_form(call: &Call, form: TaskForm) -> Result<Vec<(TaskRecord, TaskEcho)>, Fault> {
    let records = call.catalog.list_tasks().await?;
    let with_echo = records.into_iter().map(|record| {
        let echo = TaskEcho::of(&record, &call.caller);
        (record, echo)
    });
    Ok(with_echo.filter(|(_, echo)| echo.form == form).collect())
}

/// Creates a task whose identifier and id must be new.
pub(crate) async fn create_task(call: &Call, id: Option<&str>, definition: &TaskDefinition, identifier: &str) -> Result<TaskRecord, Fault> {
    let made = match id {
        Some(id) => call.catalog.create_task_with_id(id, definition).await,
        None => call.catalog.create_task(definition).await,
    };
    made.map_err(|error| match error {
        CatalogError::AlreadyExists { .. } => Fault::exists(format!("{identifier}, or its ResourceIdentifier, already exists.")),
        other => other.into(),
    })
}

/// Asks for the removal of a task that does not run. The host cleans up at source and target before the task goes.
pub(crate) async fn delete_task(call: &Call, record: &TaskRecord, what: &str) -> Result<(), Fault> {
    if record.status.is_active() && record.status != TaskStatus::Deleting {
        return Err(Fault::state(format!("{what} is in {} state and cannot be deleted, stop it first", record.status.name())));
    }
    // A task that never ran has left nothing behind, so nothing can be in the way of removing it.
    let cleanup = if record.run_request == 0 { Cleanup::BestEffort } else { Cleanup::Required };
    call.catalog.request_delete(record.definition.name.as_str(), cleanup).await?;
    Ok(())
}

/// Endpoints by name, for the ARNs of tasks.
pub(crate) struct Endpoints(HashMap<String, EndpointRecord>);

impl Endpoints {
    pub(crate) async fn load(call: &Call) -> Result<Self, Fault> {
        let records = call.catalog.list_endpoints().await?;
        Ok(Self(records.into_iter().map(|record| (record.spec.name.clone(), record)).collect()))
    }

    pub(crate) fn arn(&self, call: &Call, name: &str) -> String {
        self.0.get(name).map(|record| EndpointEcho::of(record, &call.caller).arn(record)).unwrap_or_default()
    }
}

/// The catalog's name of an endpoint that must be of this side.
pub(crate) async fn endpoint_name(call: &Call, arn: Option<String>, member: &str, role: Role) -> Result<String, Fault> {
    let (record, echo) = endpoints::find_named(call, arn, member).await?;
    if record.spec.role == role {
        return Ok(record.spec.name);
    }
    Err(Fault::combination(format!(
        "{member} must be a {} endpoint, {} is a {} endpoint",
        role.as_str(),
        echo.identifier,
        record.spec.role.as_str()
    )))
}

fn checked_compute(mut compute: ComputeConfig) -> Result<ComputeConfig, Fault> {
    let max = compute.max_capacity_units.ok_or_else(|| missing("ComputeConfig.MaxCapacityUnits"))?;
    let min = compute.min_capacity_units.unwrap_or(1);
    for (member, units) in [("MaxCapacityUnits", max), ("MinCapacityUnits", min)] {
        if !CAPACITY_UNITS.contains(&units) {
            return Err(Fault::value(format!(
                "ComputeConfig.{member} must be one of 1, 2, 4, 8, 16, 32, 64, 128, 192, 256, 384, found: {units}"
            )));
        }
    }
    if min > max {
        return Err(Fault::combination(format!("ComputeConfig.MinCapacityUnits {min} is greater than MaxCapacityUnits {max}")));
    }
    if compute.multi_az == Some(true) && compute.availability_zone.is_some() {
        return Err(Fault::combination("ComputeConfig.AvailabilityZone cannot be given when MultiAZ is true"));
    }
    compute.min_capacity_units = Some(min);
    Ok(compute)
}

fn apply_units(definition: &mut TaskDefinition, compute: &ComputeConfig) {
    let units = |units: Option<i64>| units.and_then(|units| u32::try_from(units).ok()).unwrap_or(1);
    definition.min_units = units(compute.min_capacity_units);
    definition.max_units = units(compute.max_capacity_units);
}

fn shown(call: &Call, record: &TaskRecord, echo: &TaskEcho, endpoints: &Endpoints) -> ReplicationConfig {
    let definition = &record.definition;
    let compute_config = ComputeConfig {
        min_capacity_units: Some(definition.min_units.into()),
        max_capacity_units: Some(definition.max_units.into()),
        ..echo.compute_config.clone()
    };
    ReplicationConfig {
        replication_config_identifier: echo.identifier.clone(),
        replication_config_arn: echo.arn(record),
        source_endpoint_arn: endpoints.arn(call, &definition.source),
        target_endpoint_arn: endpoints.arn(call, &definition.target),
        replication_type: definition.migration.as_str(),
        compute_config,
        replication_settings: echo.settings_now(definition).to_string(),
        supplemental_settings: echo.supplemental_settings.clone(),
        table_mappings: definition.table_mappings.clone(),
        replication_config_create_time: seconds(record.created_at_us),
        replication_config_update_time: seconds(record.updated_at_us),
        is_read_only: false,
    }
}
