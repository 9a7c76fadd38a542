//! How far a task is, in DMS's words and numbers.

use tidegate_catalog::{RunPhase, StageName, StartKind, StopReason, TableStatusRecord, TaskRecord, TaskStatus};

use super::connections::told;
use super::shape::replication::{ProvisionData, Stats, TableStatistics};
use super::shape::seconds;

/// `Replication.Status`.
pub(crate) fn replication_status(status: &TaskStatus) -> &'static str {
    match status {
        TaskStatus::Created => "created",
        TaskStatus::Starting => "initializing",
        TaskStatus::Running { phase: RunPhase::Preparing } => "fetching_metadata",
        TaskStatus::Running { phase: RunPhase::Loading | RunPhase::CatchingUp | RunPhase::Replicating } => "running",
        TaskStatus::Stopping => "stopping",
        TaskStatus::Stopped { .. } => "stopped",
        TaskStatus::Failed(_) => "failed",
        TaskStatus::Deleting => "deleting",
    }
}

/// `ReplicationTask.Status`.
pub(crate) fn task_status(status: &TaskStatus) -> &'static str {
    match status {
        TaskStatus::Created => "ready",
        TaskStatus::Starting | TaskStatus::Running { phase: RunPhase::Preparing } => "starting",
        TaskStatus::Running { phase: RunPhase::Loading | RunPhase::CatchingUp | RunPhase::Replicating } => "running",
        TaskStatus::Stopping => "stopping",
        TaskStatus::Stopped { .. } => "stopped",
        TaskStatus::Failed(_) => "failed",
        TaskStatus::Deleting => "deleting",
    }
}

/// `StopReason`: set while the task stands still after a run.
pub(crate) fn stop_reason(status: &TaskStatus) -> Option<&'static str> {
    match status {
        TaskStatus::Stopped { reason: StopReason::Requested } => Some("Stop Reason NORMAL"),
        TaskStatus::Stopped { reason: StopReason::FullLoadFinished } => Some("Stop Reason FULL_LOAD_ONLY_FINISHED"),
        TaskStatus::Stopped { reason: StopReason::AfterFullLoad } => Some("Stop Reason STOPPED_AFTER_FULL_LOAD"),
        TaskStatus::Stopped { reason: StopReason::AfterCachedChanges } => Some("Stop Reason STOPPED_AFTER_CACHED_EVENTS"),
        TaskStatus::Stopped { reason: StopReason::AtServerTime } => Some("Stop Reason STOPPED_AT_SERVER_TIME"),
        TaskStatus::Stopped { reason: StopReason::AtCommitTime } => Some("Stop Reason STOPPED_AT_COMMIT_TIME"),
        TaskStatus::Stopped { reason: StopReason::AtPosition } => Some("Stop Reason STOPPED_AT_POSITION"),
        TaskStatus::Failed(_) => Some("Stop Reason FATAL_ERROR"),
        TaskStatus::Created | TaskStatus::Starting | TaskStatus::Running { .. } | TaskStatus::Stopping | TaskStatus::Deleting => None,
    }
}

/// Why the task failed, and which tables are out of it.
pub(crate) fn failures(status: &TaskStatus, tables: &[TableStatusRecord]) -> Vec<String> {
    let tables = tables.iter().filter_map(|table| Some(format!("table {}: {}", table.name(), table.failure.as_deref()?)));
    last_failure(status).into_iter().chain(tables).collect()
}

/// The text of `LastFailureMessage`.
pub(crate) fn last_failure(status: &TaskStatus) -> Option<String> {
    match status {
        TaskStatus::Failed(failure) => Some(told(failure)),
        _ => None,
    }
}

/// `StartReplicationType` of the last start; `None` before the first.
pub(crate) fn start_type(record: &TaskRecord) -> Option<&'static str> {
    if record.run_request == 0 {
        return None;
    }
    Some(match record.start_kind {
        StartKind::Start => "start-replication",
        StartKind::Resume => "resume-processing",
        StartKind::Reload => "reload-target",
    })
}

/// One capacity unit is shown as one DCU. Nothing is provisioned before the first start.
pub(crate) fn provision(record: &TaskRecord) -> Option<ProvisionData> {
    let started = record.started_at_us?;
    let runs = matches!(record.status, TaskStatus::Running { .. } | TaskStatus::Stopping);
    Some(ProvisionData {
        provision_state: if runs { "provisioned" } else { "deprovisioned" },
        provisioned_capacity_units: if runs { record.progress.as_ref().map_or(0, |progress| progress.units) } else { 0 },
        date_provisioned: runs.then(|| seconds(started)),
        is_new_provisioning_available: false,
    })
}

/// `ReplicationStats`.
pub(crate) fn stats(record: &TaskRecord, tables: &[TableStatusRecord], now_us: i64) -> Stats {
    let Some(started) = record.started_at_us else { return Stats::default() };
    let count = |stage: StageName| tables.iter().filter(|table| table.stage == stage).count();
    let stopped = (!record.status.is_active()).then_some(record.stopped_at_us).flatten();
    let loads = record.definition.migration.as_str().starts_with("full-load");
    let queued = count(StageName::BeforeLoad);
    let loading = count(StageName::Loading);
    let load_started = tables.iter().filter_map(|table| table.load_started_us).min();
    let load_ended = tables.iter().filter_map(|table| table.load_ended_us).max().filter(|_| queued + loading == 0);
    Stats {
        full_load_progress_percent: if loads { load_percent(tables) } else { 0 },
        elapsed_time_millis: (stopped.unwrap_or(now_us) - started).max(0) / 1000,
        tables_loaded: if loads { count(StageName::Completed) } else { 0 },
        tables_loading: loading,
        tables_queued: queued,
        tables_errored: count(StageName::Failed),
        fresh_start_date: (record.start_kind != StartKind::Resume).then(|| seconds(started)),
        start_date: Some(seconds(started)),
        stop_date: stopped.map(seconds),
        full_load_start_date: load_started.map(seconds),
        full_load_finish_date: load_ended.map(seconds),
    }
}

/// Rows loaded of rows estimated. Estimates may be low or missing: 100 only when every table is done.
fn load_percent(tables: &[TableStatusRecord]) -> i64 {
    let is_done = |table: &TableStatusRecord| matches!(table.stage, StageName::Completed | StageName::Failed | StageName::LeftOut);
    if tables.is_empty() {
        return 0;
    }
    if tables.iter().all(is_done) {
        return 100;
    }
    let weight = |table: &TableStatusRecord| u128::from(table.rows_estimate.max(table.rows_loaded).max(1));
    let whole: u128 = tables.iter().map(weight).sum();
    let loaded: u128 = tables.iter().map(|table| if is_done(table) { weight(table) } else { u128::from(table.rows_loaded) }).sum();
    i64::try_from(loaded * 100 / whole).unwrap_or(99).min(99)
}

/// A row of the table statistics.
pub(crate) fn table_statistics(table: &TableStatusRecord) -> TableStatistics {
    TableStatistics {
        schema_name: table.schema.clone(),
        table_name: table.table.clone(),
        inserts: table.inserts,
        deletes: table.deletes,
        updates: table.updates,
        ddls: table.ddls,
        applied_inserts: table.applied_inserts,
        applied_deletes: table.applied_deletes,
        applied_updates: table.applied_updates,
        applied_ddls: table.applied_ddls,
        full_load_rows: table.rows_loaded,
        full_load_condtnl_chk_failed_rows: 0,
        full_load_error_rows: 0,
        full_load_start_time: table.load_started_us.map(seconds),
        full_load_end_time: table.load_ended_us.map(seconds),
        full_load_reloaded: false,
        last_update_time: (table.updated_us > 0).then(|| seconds(table.updated_us)),
        table_state: match table.stage {
            StageName::BeforeLoad => "Before load",
            StageName::Loading => "Full load",
            StageName::Completed => "Table completed",
            StageName::Failed => "Table error",
            // What DMS calls a table that is not loaded because somebody said so.
            StageName::LeftOut => "Table cancelled",
        },
        validation_pending_records: 0,
        validation_failed_records: 0,
        validation_suspended_records: 0,
        validation_state: "Not enabled",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(stage: StageName, rows_loaded: u64, rows_estimate: u64) -> TableStatusRecord {
        TableStatusRecord { stage, rows_loaded, rows_estimate, ..TableStatusRecord::default() }
    }

    #[test]
    fn load_is_at_100_percent_only_when_every_table_is_done() {
        assert_eq!(load_percent(&[]), 0);
        assert_eq!(load_percent(&[table(StageName::BeforeLoad, 0, 0)]), 0);
        assert_eq!(load_percent(&[table(StageName::Loading, 500, 100)]), 99);
        assert_eq!(load_percent(&[table(StageName::Completed, 50, 50), table(StageName::Loading, 25, 50)]), 75);
        assert_eq!(load_percent(&[table(StageName::Completed, 0, 0), table(StageName::Failed, 1, 9)]), 100);
    }
}
