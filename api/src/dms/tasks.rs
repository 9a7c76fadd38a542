//! Provisioned replication tasks: the older form of the same thing, bound to a replication instance.

use serde_json::json;
use tidegate_catalog::{Migration, Preparation, Role, StartKind, TaskDefinition, TaskRecord, now_us};

use super::arn::{identifier, resource_identifier};
use super::configs::{Endpoints, IDENTIFIER_CHARS_MAX, create_task, delete_task, endpoint_name, of_form};
use super::fault::{Fault, required};
use super::page::{ListRequest, USUAL_PAGE, cut, filtered};
use super::positions::Positions;
use super::progress::{last_failure, stats, stop_reason, task_status};
use super::replications::{start_kind, start_task, stop_task};
use super::shape::replication::ComputeConfig;
use super::shape::seconds;
use super::shape::task::{ReplicationTask, TaskAnswer, TaskRequest, TasksAnswer};
use super::task_echo::{TaskEcho, TaskForm, apply_settings, catalog_name, checked_mappings, find, migration, tell_idle_settings};
use super::{Call, instances, settings, tags};

/// Capacity units of a task whose API has no word for them: none while idle, eight at most. By guess.
const UNITS: (u32, u32) = (0, 8);
const FILTERS: &[&str] = &["replication-task-arn", "replication-task-id", "migration-type", "endpoint-arn", "replication-instance-arn"];

pub(crate) async fn create(call: &Call, request: TaskRequest) -> Result<TaskAnswer, Fault> {
    let name = required(request.replication_task_identifier, "ReplicationTaskIdentifier")?;
    identifier(&name, "ReplicationTaskIdentifier", IDENTIFIER_CHARS_MAX)?;
    let id = resource_identifier(request.resource_identifier)?;
    let (instance, document) = instances::find(call, request.replication_instance_arn).await?;
    let mut echo = TaskEcho {
        form: TaskForm::Task,
        region: call.caller.region.clone(),
        settings: settings::defaults(),
        compute_config: ComputeConfig::default(),
        supplemental_settings: None,
        task_data: request.task_data,
        instance_arn: Some(document.arn(&instance)),
        identifier: name,
    };
    let mut definition = TaskDefinition {
        name: catalog_name(&echo.identifier),
        source: endpoint_name(call, request.source_endpoint_arn, "SourceEndpointArn", Role::Source).await?,
        target: endpoint_name(call, request.target_endpoint_arn, "TargetEndpointArn", Role::Target).await?,
        migration: migration(&required(request.migration_type, "MigrationType")?, "MigrationType")?,
        preparation: Preparation::DropAndCreate,
        table_mappings: checked_mappings(required(request.table_mappings, "TableMappings")?)?,
        settings: json!({}),
        start_position: None,
        stop_position: None,
        min_units: UNITS.0,
        max_units: UNITS.1,
        max_lag_seconds: None,
        tags: tags::checked(request.tags)?,
        dms: json!(null),
    };
    let engine = call.catalog.get_endpoint(&definition.source).await?.spec.engine;
    let positions = Positions { time: request.cdc_start_time, start: request.cdc_start_position, stop: request.cdc_stop_position };
    let points = positions.checked(definition.migration, engine)?;
    (definition.start_position, definition.stop_position) = (points.start, points.stop);
    let settings = settings::merge(settings::defaults(), request.replication_task_settings.as_deref())?;
    apply_settings(&mut definition, &mut echo, settings);
    definition.dms = echo.document();
    let record = create_task(call, id.as_deref(), &definition, &echo.identifier).await?;
    tell_idle_settings(call, &record, &echo).await?;
    answer(call, &record, &echo).await
}

pub(crate) async fn modify(call: &Call, request: TaskRequest) -> Result<TaskAnswer, Fault> {
    let (record, mut echo) = find(call, request.replication_task_arn, TaskForm::Task, "ReplicationTaskArn").await?;
    if record.status.is_active() {
        return Err(Fault::state(format!("Replication Task cannot be modified while it is {} state", task_status(&record.status))));
    }
    if request.replication_task_identifier.is_some_and(|name| name != echo.identifier) {
        return Err(Fault::value("ReplicationTaskIdentifier cannot be changed"));
    }
    let mut definition = record.definition.clone();
    if let Some(text) = request.migration_type {
        definition.migration = migration(&text, "MigrationType")?;
    }
    if let Some(text) = request.table_mappings {
        definition.table_mappings = checked_mappings(text)?;
    }
    let sets = request.replication_task_settings.is_some();
    if let Some(text) = request.replication_task_settings {
        let settings = settings::merge(echo.settings_now(&definition), Some(&text))?;
        apply_settings(&mut definition, &mut echo, settings);
    }
    let positions = Positions { time: request.cdc_start_time, start: request.cdc_start_position, stop: request.cdc_stop_position };
    let engine = call.catalog.get_endpoint(&definition.source).await?.spec.engine;
    let points = positions.checked(definition.migration, engine)?;
    definition.start_position = points.start.or(definition.start_position);
    definition.stop_position = points.stop.or(definition.stop_position);
    echo.task_data = request.task_data.or(echo.task_data);
    definition.dms = echo.document();
    let record = call.catalog.update_task(record.revision, &definition).await?;
    if sets {
        tell_idle_settings(call, &record, &echo).await?;
    }
    answer(call, &record, &echo).await
}

pub(crate) async fn delete(call: &Call, request: TaskRequest) -> Result<TaskAnswer, Fault> {
    let (record, echo) = find(call, request.replication_task_arn, TaskForm::Task, "ReplicationTaskArn").await?;
    let shown = answer(call, &record, &echo).await?;
    delete_task(call, &record, &format!("Replication Task {}", echo.identifier)).await?;
    Ok(TaskAnswer { replication_task: ReplicationTask { status: "deleting", ..shown.replication_task } })
}

pub(crate) async fn start(call: &Call, request: TaskRequest) -> Result<TaskAnswer, Fault> {
    let (record, echo) = find(call, request.replication_task_arn, TaskForm::Task, "ReplicationTaskArn").await?;
    let kind = start_kind(&required(request.start_replication_task_type, "StartReplicationTaskType")?, "StartReplicationTaskType")?;
    if record.status.is_active() {
        return Err(Fault::state(format!(
            "Replication Task {} is in {} state and cannot start",
            echo.identifier,
            task_status(&record.status)
        )));
    }
    let kind = allowed_start(&record, kind)?;
    let positions = Positions { time: request.cdc_start_time, start: request.cdc_start_position, stop: request.cdc_stop_position };
    let record = start_task(call, record, kind, positions).await?;
    answer(call, &record, &echo).await
}

/// A full-load or cdc task may be started anew; a task of both may only be resumed or reloaded after its first run.
fn allowed_start(record: &TaskRecord, kind: StartKind) -> Result<StartKind, Fault> {
    let first = record.run_request == 0;
    match (kind, record.definition.migration) {
        (StartKind::Start, _) if first => Ok(StartKind::Start),
        (StartKind::Start, Migration::FullLoad) => Ok(StartKind::Reload),
        (StartKind::Start, Migration::Cdc) => Ok(StartKind::Start),
        (StartKind::Start, Migration::FullLoadAndCdc) => {
            Err(Fault::combination("Start Type : START_REPLICATION, valid only for tasks running for the first time"))
        }
        (StartKind::Resume, _) if first => {
            Err(Fault::combination("Start Type : RESUME_PROCESSING, not valid for tasks running for the first time"))
        }
        (StartKind::Reload, _) if first => {
            Err(Fault::combination("Start Type : RELOAD_TARGET, not valid for tasks running for the first time"))
        }
        (StartKind::Reload, Migration::Cdc) => Err(Fault::combination("Start Type : RELOAD_TARGET, not valid for the migration type cdc")),
        (StartKind::Resume | StartKind::Reload, _) => Ok(kind),
    }
}

pub(crate) async fn stop(call: &Call, request: TaskRequest) -> Result<TaskAnswer, Fault> {
    let (record, echo) = find(call, request.replication_task_arn, TaskForm::Task, "ReplicationTaskArn").await?;
    let record = stop_task(call, &record, &format!("Replication Task {}", echo.identifier)).await?;
    answer(call, &record, &echo).await
}

pub(crate) async fn describe(call: &Call, request: ListRequest) -> Result<TasksAnswer, Fault> {
    let endpoints = Endpoints::load(call).await?;
    let all = of_form(call, TaskForm::Task).await?;
    let kept = filtered(all, request.filters.as_deref(), FILTERS, "Tasks", |(record, echo), name| match name {
        "replication-task-arn" => vec![echo.arn(record)],
        "replication-task-id" => vec![echo.identifier.clone()],
        "migration-type" => vec![record.definition.migration.as_str().to_owned()],
        "endpoint-arn" => vec![endpoints.arn(call, &record.definition.source), endpoints.arn(call, &record.definition.target)],
        _ => echo.instance_arn.iter().cloned().collect(),
    })?;
    let page = cut(kept, &request, USUAL_PAGE)?;
    let mut replication_tasks = Vec::with_capacity(page.items.len());
    for (record, echo) in &page.items {
        let mut task = shown(call, record, echo, &endpoints).await?;
        if request.without_settings == Some(true) {
            (task.table_mappings, task.replication_task_settings) = (None, None);
        }
        replication_tasks.push(task);
    }
    Ok(TasksAnswer { marker: page.marker, replication_tasks })
}

async fn answer(call: &Call, record: &TaskRecord, echo: &TaskEcho) -> Result<TaskAnswer, Fault> {
    Ok(TaskAnswer { replication_task: shown(call, record, echo, &Endpoints::load(call).await?).await? })
}

async fn shown(call: &Call, record: &TaskRecord, echo: &TaskEcho, endpoints: &Endpoints) -> Result<ReplicationTask, Fault> {
    let definition = &record.definition;
    let tables = call.catalog.list_table_statuses(definition.name.as_str()).await?;
    Ok(ReplicationTask {
        replication_task_identifier: echo.identifier.clone(),
        source_endpoint_arn: endpoints.arn(call, &definition.source),
        target_endpoint_arn: endpoints.arn(call, &definition.target),
        replication_instance_arn: echo.instance_arn.clone().unwrap_or_default(),
        migration_type: definition.migration.as_str(),
        table_mappings: Some(definition.table_mappings.clone()),
        replication_task_settings: Some(echo.settings_now(definition).to_string()),
        status: task_status(&record.status),
        last_failure_message: last_failure(&record.status),
        stop_reason: stop_reason(&record.status),
        replication_task_creation_date: seconds(record.created_at_us),
        replication_task_start_date: record.started_at_us.map(seconds),
        cdc_start_position: definition.start_position.clone(),
        cdc_stop_position: definition.stop_position.clone(),
        recovery_checkpoint: record.progress.as_ref().and_then(|progress| progress.checkpoint.clone()),
        replication_task_arn: echo.arn(record),
        replication_task_stats: stats(record, &tables, now_us()),
        task_data: echo.task_data.clone(),
    })
}
