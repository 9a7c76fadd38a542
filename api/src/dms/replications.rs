//! Runs of replication configs: start, stop, describe. What is shared with provisioned tasks is here, too.

use tidegate_catalog::{StartKind, StopReason, TaskRecord, TaskStatus, now_us};

use super::Call;
use super::configs::{Endpoints, FILTERS, of_form};
use super::fault::{Fault, required, shortened};
use super::page::{ListRequest, USUAL_PAGE, cut, filtered};
use super::positions::Positions;
use super::progress::{failures, provision, replication_status, start_type, stats, stop_reason};
use super::shape::replication::{Replication, ReplicationAnswer, ReplicationsAnswer, StartRequest};
use super::shape::seconds;
use super::task_echo::{TaskEcho, TaskForm, find};

pub(crate) async fn start(call: &Call, request: StartRequest) -> Result<ReplicationAnswer, Fault> {
    let (record, echo) = find(call, request.replication_config_arn, TaskForm::Config, "ReplicationConfigArn").await?;
    let kind = start_kind(&required(request.start_replication_type, "StartReplicationType")?, "StartReplicationType")?;
    if record.status.is_active() {
        return Err(Fault::state(format!(
            "Replication for Replication Config: {} is in {} state and cannot start",
            echo.identifier,
            replication_status(&record.status).to_ascii_uppercase()
        )));
    }
    let first = record.run_request == 0;
    match kind {
        StartKind::Start if !first => {
            return Err(Fault::combination("Start Type : START_REPLICATION, valid only for replications running for the first time"));
        }
        StartKind::Resume if first => return Err(never_ran("RESUME_PROCESSING")),
        StartKind::Reload if first => return Err(never_ran("RELOAD_TARGET")),
        StartKind::Start | StartKind::Resume | StartKind::Reload => {}
    }
    let positions = Positions { time: request.cdc_start_time, start: request.cdc_start_position, stop: request.cdc_stop_position };
    let record = start_task(call, record, kind, positions).await?;
    Ok(ReplicationAnswer { replication: shown(call, &record, &echo, &Endpoints::load(call).await?).await? })
}

fn never_ran(kind: &str) -> Fault {
    Fault::combination(format!("Start Type : {kind}, not valid for replications running for the first time"))
}

pub(crate) async fn stop(call: &Call, request: StartRequest) -> Result<ReplicationAnswer, Fault> {
    let (record, echo) = find(call, request.replication_config_arn, TaskForm::Config, "ReplicationConfigArn").await?;
    let record = stop_task(call, &record, &format!("Replication for Replication Config: {}", echo.identifier)).await?;
    Ok(ReplicationAnswer { replication: shown(call, &record, &echo, &Endpoints::load(call).await?).await? })
}

pub(crate) async fn describe(call: &Call, request: ListRequest) -> Result<ReplicationsAnswer, Fault> {
    let all = of_form(call, TaskForm::Config).await?;
    let kept = filtered(all, request.filters.as_deref(), FILTERS, "Replications", |(record, echo), name| match name {
        "replication-config-arn" => vec![echo.arn(record)],
        _ => vec![echo.identifier.clone()],
    })?;
    let page = cut(kept, &request, USUAL_PAGE)?;
    let endpoints = Endpoints::load(call).await?;
    let mut replications = Vec::with_capacity(page.items.len());
    for (record, echo) in &page.items {
        replications.push(shown(call, record, echo, &endpoints).await?);
    }
    Ok(ReplicationsAnswer { marker: page.marker, replications })
}

/// The three words of DMS.
pub(crate) fn start_kind(text: &str, member: &str) -> Result<StartKind, Fault> {
    match text {
        "start-replication" => Ok(StartKind::Start),
        "resume-processing" => Ok(StartKind::Resume),
        "reload-target" => Ok(StartKind::Reload),
        other => Err(Fault::value(format!(
            "{member} must be start-replication, resume-processing or reload-target, found: {}",
            shortened(other)
        ))),
    }
}

/// Starts a task that the caller has found startable.
///
/// # Errors
/// Faults about positions; `InvalidResourceStateFault` when somebody else started it meanwhile.
pub(crate) async fn start_task(call: &Call, record: TaskRecord, kind: StartKind, positions: Positions) -> Result<TaskRecord, Fault> {
    let engine = call.catalog.get_endpoint(&record.definition.source).await?.spec.engine;
    let points = positions.checked(record.definition.migration, engine)?;
    let mut definition = record.definition.clone();
    if let Some(position) = points.start {
        if record.run_request > 0 {
            return Err(Fault::combination(
                "CdcStartPosition is valid only for the first start: later the checkpoint in the target counts",
            ));
        }
        definition.start_position = Some(position);
    }
    if points.stop.is_some() {
        definition.stop_position = points.stop;
    } else if has_stopped_by_itself(&record.status) {
        // A start behind the stop position means to go on.
        definition.stop_position = None;
    }
    if definition != record.definition {
        call.catalog.update_task(record.revision, &definition).await?;
    }
    Ok(call.catalog.request_start(record.definition.name.as_str(), kind).await?)
}

fn has_stopped_by_itself(status: &TaskStatus) -> bool {
    matches!(status, TaskStatus::Stopped { reason: StopReason::AtPosition | StopReason::AtServerTime | StopReason::AtCommitTime })
}

/// Stops a task.
///
/// # Errors
/// `InvalidResourceStateFault` unless it starts or runs.
pub(crate) async fn stop_task(call: &Call, record: &TaskRecord, what: &str) -> Result<TaskRecord, Fault> {
    if !matches!(record.status, TaskStatus::Starting | TaskStatus::Running { .. }) {
        return Err(Fault::state(format!("{what} is in {} state and cannot be stopped", record.status.name().to_ascii_uppercase())));
    }
    Ok(call.catalog.request_stop(record.definition.name.as_str()).await?)
}

async fn shown(call: &Call, record: &TaskRecord, echo: &TaskEcho, endpoints: &Endpoints) -> Result<Replication, Fault> {
    let definition = &record.definition;
    let tables = call.catalog.list_table_statuses(definition.name.as_str()).await?;
    Ok(Replication {
        replication_config_identifier: echo.identifier.clone(),
        replication_config_arn: echo.arn(record),
        source_endpoint_arn: endpoints.arn(call, &definition.source),
        target_endpoint_arn: endpoints.arn(call, &definition.target),
        replication_type: definition.migration.as_str(),
        status: replication_status(&record.status),
        provision_data: provision(record),
        stop_reason: stop_reason(&record.status),
        failure_messages: failures(&record.status, &tables),
        replication_stats: stats(record, &tables, now_us()),
        start_replication_type: start_type(record),
        cdc_start_position: definition.start_position.clone(),
        cdc_stop_position: definition.stop_position.clone(),
        recovery_checkpoint: record.progress.as_ref().and_then(|progress| progress.checkpoint.clone()),
        replication_create_time: seconds(record.created_at_us),
        replication_update_time: seconds(record.updated_at_us),
        replication_last_stop_time: record.stopped_at_us.map(seconds),
        is_read_only: false,
    })
}
