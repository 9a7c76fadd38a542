//! Runs of replication configs: start, stop, describe. What is shared with provisioned tasks is here, too.

use tidegate_catalog::{Migration, StartKind, TaskRecord, TaskStatus, now_us};
use tidegate_model::{Engine, Position};

use super::Call;
use super::configs::{Endpoints, FILTERS, of_form};
use super::fault::{Fault, required, shortened};
use super::page::{ListRequest, USUAL_PAGE, cut, filtered};
use super::progress::{failures, provision, replication_status, start_type, stats, stop_reason};
use super::shape::replication::{Replication, ReplicationAnswer, ReplicationsAnswer, StartRequest};
use super::shape::{Timestamp, seconds};
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

/// Where a run should start and stop, as a request says it.
pub(crate) struct Positions {
    pub(crate) time: Option<Timestamp>,
    pub(crate) start: Option<String>,
    pub(crate) stop: Option<String>,
}

/// Starts a task that the caller has found startable.
///
/// # Errors
/// Faults about positions; `InvalidResourceStateFault` when somebody else started it meanwhile.
pub(crate) async fn start_task(call: &Call, record: TaskRecord, kind: StartKind, positions: Positions) -> Result<TaskRecord, Fault> {
    if let Some(position) = start_position(call, &record, positions).await? {
        if record.run_request > 0 {
            return Err(Fault::combination(
                "CdcStartPosition is valid only for the first start: later the checkpoint in the target counts",
            ));
        }
        let mut definition = record.definition.clone();
        definition.start_position = Some(position);
        call.catalog.update_task(record.revision, &definition).await?;
    }
    Ok(call.catalog.request_start(record.definition.name.as_str(), kind).await?)
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

/// The start position in the catalog's form, checked against the task's type and source.
pub(crate) async fn start_position(call: &Call, record: &TaskRecord, positions: Positions) -> Result<Option<String>, Fault> {
    let engine = call.catalog.get_endpoint(&record.definition.source).await?.spec.engine;
    checked_positions(positions, record.definition.migration, engine)
}

/// The same before there is a task.
pub(crate) fn checked_positions(positions: Positions, migration: Migration, engine: Engine) -> Result<Option<String>, Fault> {
    if positions.time.is_some() {
        return Err(Fault::value("CdcStartTime is not supported, give CdcStartPosition"));
    }
    if positions.stop.as_deref().is_some_and(|stop| !stop.is_empty()) {
        return Err(Fault::value("CdcStopPosition is not supported yet"));
    }
    let Some(text) = positions.start.filter(|text| !text.trim().is_empty()) else { return Ok(None) };
    if migration != Migration::Cdc {
        return Err(Fault::combination("CdcStartPosition is valid only for the migration type cdc"));
    }
    // A bare LSN is what DMS wants for PostgreSQL; the form with the engine's name is what RecoveryCheckpoint shows.
    let named = if engine == Engine::Postgres && !text.contains(':') { format!("postgres:{text}") } else { text.clone() };
    let position: Option<Position> = named.parse().ok();
    let wanted = match (engine, position) {
        (Engine::Postgres, Some(Position::Postgres(_)))
        | (Engine::Mysql, Some(Position::Mysql(_)))
        | (Engine::Mariadb, Some(Position::Mariadb(_))) => {
            return Ok(Some(named));
        }
        (Engine::Postgres, _) => "an LSN like 4AF/B00000D0",
        (Engine::Mysql, _) => "executed GTIDs like mysql:3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5",
        (Engine::Mariadb, _) => "GTIDs like mariadb:0-1-100",
    };
    Err(Fault::value(format!("CdcStartPosition for this source must be {wanted}, found: {}", shortened(&text))))
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
        recovery_checkpoint: record.progress.as_ref().and_then(|progress| progress.checkpoint.clone()),
        replication_create_time: seconds(record.created_at_us),
        replication_update_time: seconds(record.updated_at_us),
        replication_last_stop_time: record.stopped_at_us.map(seconds),
        is_read_only: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(start: &str, engine: Engine) -> Option<String> {
        let positions = Positions { time: None, start: Some(start.into()), stop: None };
        checked_positions(positions, Migration::Cdc, engine).unwrap_or_default()
    }

    #[test]
    fn start_positions_fit_their_source() {
        assert_eq!(check("4AF/B00000D0", Engine::Postgres).as_deref(), Some("postgres:4AF/B00000D0"));
        assert_eq!(check("postgres:0/10", Engine::Postgres).as_deref(), Some("postgres:0/10"));
        assert_eq!(check("mariadb:0-1-100", Engine::Mariadb).as_deref(), Some("mariadb:0-1-100"));
        for (text, engine) in [
            ("x", Engine::Postgres),
            ("mariadb:0-1-100", Engine::Postgres),
            ("mysql-bin.000024:373", Engine::Mysql),
            ("0/10", Engine::Mariadb),
        ] {
            assert_eq!(check(text, engine), None, "{text}");
        }
    }
}
