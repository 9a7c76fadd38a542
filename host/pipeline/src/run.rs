//! A run of a task, and the checks before it.
//!
//! ```text
//!   run ─▶ checks ─▶ attempt ─┬─▶ ended, cancelled, definite error ──▶ caller
//!                       ▲     │
//!                       └─────┘ transient error: a growing pause, then all over from the target's checkpoint
//! ```
//!
//! There is one way to recover from anything: forget what is in memory, ask the target how far it is, and go on from
//! there. A broken connection, a killed process and a restart all take it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_connector::{
    CaptureScope, ConnectorError, ErrorClass, Finding, Severity, Source, SourceTable, TablePreparation, Target, TargetTable,
    is_table_of_dms,
};
use tidegate_model::{Fence, Position, TableName};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::attempt::{Attempt, Ended};
use crate::board::{Board, InFlight, age_seconds, now_us, stage_seconds};
use crate::cache::CacheGauge;
use crate::control_tables::Keeper;
use crate::exceptions::Exceptions;
use crate::log_held;
use crate::partition_watch::KnownParts;
use crate::plan::PlannedTable;
use crate::plane::{self, Plane};
use crate::policy::RowErrorPolicy;
use crate::row_errors::RowErrors;
use crate::run_settings::{NoTables, Pauses};
use crate::schema::attach;
use crate::silence::silence;
use crate::swap::{Swapped, Undone};
use crate::table_errors::TableErrors;
use crate::task::{Control, Outcome, StopCause, TaskError, TaskSpec};
use crate::transform::Transformer;
use crate::unfit::unfit_finding;
use crate::units::Units;
use crate::{Phase, Progress};

/// Attempts in a row that may end because a table is not there: it may have gone, or have gone and come back, between the
/// list of tables and the look at it. The next attempt's list knows.
const MISSES_MAX: u32 = 4;

/// For more names than this, one list of all tables is asked for: a source may have to be asked for each name.
const ASKED_BY_NAME_MAX: usize = 16;

/// How long a dead connection may go unnoticed: MySQL's heartbeats are waited for the longest.
const UNNOTICED_MAX: Duration = Duration::from_secs(120);

/// How often progress is published.
const PUBLISH_EVERY: Duration = Duration::from_millis(200);

/// Everything that would stop the task or falsify its target. Writes nothing, anywhere.
///
/// # Errors
/// When a check itself could not be done, for example because an endpoint cannot be reached.
pub async fn check(spec: &TaskSpec, source: &dyn Source, target: &dyn Target) -> Result<Vec<Finding>, TaskError> {
    let tables = plan_tables(spec, source, target).await?.tables;
    let known = target.known_task(&spec.id).await?;
    let mut findings = check_tables(spec, source, target, &tables, preparation_when(spec, known.is_some())).await?;
    if let Some(Some(position)) = known.filter(|_| spec.migration.captures()) {
        findings.extend(check_position(spec, source, &tables, &position).await?);
    }
    Ok(findings)
}

/// What the checks of a task that began before must not stumble over is what it made itself.
pub(crate) fn preparation_when(spec: &TaskSpec, known: bool) -> TablePreparation {
    if known { TablePreparation::Keep } else { spec.preparation }
}

/// A task that goes on needs the log from its checkpoint on.
async fn check_position(
    spec: &TaskSpec,
    source: &dyn Source,
    tables: &[Arc<PlannedTable>],
    position: &Position,
) -> Result<Option<Finding>, TaskError> {
    let scope = CaptureScope { task: spec.id.clone(), tables: tables.iter().map(|table| table.source.schema.name.clone()).collect() };
    match source.check_position(&scope, position).await {
        Ok(()) => Ok(None),
        Err(error) if error.class() == ErrorClass::Transient => Err(error.into()),
        Err(error) => {
            let found = Finding::error(error.code(), format!("task \"{}\"", spec.id), error.chain(), format!("the log from {position} on"));
            Ok(Some(match error.hint_text() {
                Some(hint) => found.fix(hint),
                None => found,
            }))
        }
    }
}

/// Runs the task until it ends, fails or is cancelled. Transient errors are retried inside, with growing pauses.
///
/// # Errors
/// [`TaskError`] when it cannot go on. Whatever was committed in the target stays a state that the source had.
pub async fn run(
    spec: TaskSpec,
    source: Arc<dyn Source>,
    target: Arc<dyn Target>,
    progress: watch::Sender<Progress>,
    mut control: mpsc::Receiver<Control>,
    cancel: CancellationToken,
) -> Result<Outcome, TaskError> {
    let exceptions = spec.control_tables.as_ref().map(|tables| tables.exceptions(target.engine()));
    let watched = Arc::new(Watched::new(spec.row_errors, exceptions));
    let publisher = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(publish(watched.clone(), spec.units.clone(), progress.clone())));
    let watch = log_held::watch(spec.id.clone(), source.clone(), spec.units.clone(), watched.board.clone());
    let log_watch = spec.migration.captures().then(|| tokio_util::task::AbortOnDropHandle::new(tokio::spawn(watch)));
    let ended = CancellationToken::new();
    let keeper = spec.control_tables.clone().map(|tables| {
        let keeper = Keeper::new(spec.id.clone(), tables, target.clone(), watched.clone(), spec.units.clone());
        tokio_util::task::AbortOnDropHandle::new(tokio::spawn(keeper.run(progress.subscribe(), ended.clone())))
    });
    let mut pauses = Pauses::new(spec.run.retry);
    let mut spec = spec;
    let mut misses = 0;
    let result = loop {
        let brought = watched.board.rows_brought();
        let began = Instant::now();
        plane::enter(Plane::Control).await;
        watched.board.start_attempt();
        let attempt = Attempt { spec: &spec, source: &source, target: &target, watched: &watched, cancel: &cancel };
        let result = tokio::select! {
            result = attempt.run(&mut control) => result,
            silent = silence(&spec, source.as_ref(), target.as_ref(), &watched) => Err(silent),
        };
        if cancel.is_cancelled() {
            break Ok(Outcome { cause: StopCause::Cancelled });
        }
        let is_miss = result.as_ref().is_err_and(TaskError::is_miss);
        misses = if is_miss { misses + 1 } else { 0 };
        match result {
            Ok(Ended::TablesChanged) if watched.board.rows_brought() != brought => pauses.reset(),
            // Without rows in between, a table that changes again and again must not keep the source busy.
            Ok(Ended::TablesChanged) => {
                tokio::select! {
                    () = cancel.cancelled() => break Ok(Outcome { cause: StopCause::Cancelled }),
                    () = tokio::time::sleep(pauses.grow()) => {}
                }
            }
            Ok(Ended::Swapped(swapped)) => {
                let Swapped { module, modules, tables, undone } = *swapped;
                watched.row_errors.begin_trial(&module, tables, &spec.modules, undone);
                spec.modules = modules;
            }
            Ok(Ended::Run(outcome)) => break Ok(outcome),
            Err(error) if let Some(trial) = watched.row_errors.fails_trial(&error) => {
                let (task, module, reason) = (&spec.id, &trial.module, error.chain());
                tracing::warn!(%task, module, code = error.code(), "{reason}; going back to the module's version before");
                spec.modules = spec.modules.with_versions_of(module, &trial.before);
                let (recorded, done) = oneshot::channel();
                // Before its rows are written again: the next process must not begin with the version that failed.
                if trial.undone.send(Undone { reason, recorded }).is_ok() {
                    tokio::select! {
                        () = cancel.cancelled() => {}
                        _ = done => {}
                    }
                }
            }
            Err(error) if error.class() == ErrorClass::Transient || is_miss && misses <= MISSES_MAX => {
                // A short pause is enough again.
                if watched.board.rows_brought() != brought || watched.had_recovered(began.elapsed(), &error, spec.run.retry.pause_max) {
                    pauses.reset();
                }
                let Some(pause) = pauses.after_failure(Instant::now()) else { break Err(error) };
                tracing::warn!(task = %spec.id, code = error.code(), pause_ms = pause.as_millis() as u64, "{}; trying again", error.chain());
                watched.board.update(|progress| {
                    progress.reconnects += 1;
                    progress.last_error = Some(error.chain());
                });
                tokio::select! {
                    () = cancel.cancelled() => break Ok(Outcome { cause: StopCause::Cancelled }),
                    () = tokio::time::sleep(pause) => {}
                }
            }
            Err(error) => break Err(error),
        }
    };
    drop((publisher, log_watch));
    progress.send_replace(watched.snapshot());
    ended.cancel();
    if let Some(keeper) = keeper {
        // A panic in it is no reason to end otherwise.
        let _ = keeper.await;
    }
    result
}

/// What the publisher looks at while stages write to it.
pub(crate) struct Watched {
    pub(crate) board: Arc<Board>,
    pub(crate) row_errors: Arc<RowErrors>,
    pub(crate) in_flight: std::sync::Mutex<Arc<InFlight>>,
    pub(crate) cache: std::sync::Mutex<Option<CacheGauge>>,
    /// The fence of the last attempt. A further attempt of this run goes on only while nobody else holds the task.
    pub(crate) fence: std::sync::Mutex<Option<Held>>,
    /// What somebody asked to load again and the target does not know of yet; kept over attempts.
    pub(crate) reloads: std::sync::Mutex<Vec<Reload>>,
    /// Tables of which the log said in this run that they were dropped, with their names in the target.
    pub(crate) dropped: std::sync::Mutex<HashMap<TableName, TableName>>,
    /// Tables that the policy for new ones leaves out.
    pub(crate) left_out: std::sync::Mutex<HashSet<TableName>>,
    /// An attempt of this run found tables to load.
    pub(crate) loads: std::sync::atomic::AtomicBool,
    /// The partitions of the task's tables.
    pub(crate) parts: KnownParts,
    /// The control tables that the task asks for are in the target.
    pub(crate) has_control_tables: std::sync::atomic::AtomicBool,
    /// How often each table was at fault in this run.
    pub(crate) table_errors: std::sync::Mutex<HashMap<TableName, TableErrors>>,
}

/// A request to load tables again.
pub(crate) struct Reload {
    pub(crate) tables: Vec<TableName>,
    /// Told when the target knows.
    pub(crate) noted: oneshot::Sender<()>,
}

/// What a run knows of its own hold on the task.
#[derive(Clone)]
pub(crate) struct Held {
    /// The fence of the last attempt that is known to have taken the task over.
    pub(crate) fence: Fence,
    /// A take-over was asked for since, and no answer came: it may hold the next generation.
    pub(crate) unsure: bool,
}

impl Watched {
    fn new(policy: RowErrorPolicy, exceptions: Option<Exceptions>) -> Self {
        let board = Arc::<Board>::default();
        Self {
            row_errors: Arc::new(RowErrors::new(policy, board.clone()).telling(exceptions)),
            board,
            in_flight: std::sync::Mutex::default(),
            cache: std::sync::Mutex::default(),
            fence: std::sync::Mutex::default(),
            reloads: std::sync::Mutex::default(),
            dropped: std::sync::Mutex::default(),
            left_out: std::sync::Mutex::default(),
            loads: std::sync::atomic::AtomicBool::default(),
            parts: KnownParts::default(),
            has_control_tables: std::sync::atomic::AtomicBool::default(),
            table_errors: std::sync::Mutex::default(),
        }
    }

    /// Counts an error of a table; returns how many it had in this run.
    pub(crate) fn count_table_error(&self, table: &TableName, is_conflict: bool) -> TableErrors {
        let mut errors = self.table_errors.lock().expect("no holder of this lock panics");
        let found = errors.entry(table.clone()).or_default();
        found.count(is_conflict);
        *found
    }

    /// True for an attempt that had nothing left to bring to the target for longer than the longest pause when it failed: of a source at
    /// rest, no row tells that an interruption is over.
    fn had_recovered(&self, lasted: Duration, error: &TaskError, pause_max: Duration) -> bool {
        let unnoticed = if error.code().ends_with("_silent") { UNNOTICED_MAX } else { Duration::ZERO };
        let now = self.snapshot();
        now.phase == Phase::Replicating && now.changes_waiting == 0 && lasted > pause_max + unnoticed
    }

    fn snapshot(&self) -> Progress {
        let mut progress = self.board.snapshot();
        let on_the_way = self.in_flight.lock().expect("no holder of this lock panics").clone();
        let in_flight = on_the_way.oldest_us();
        let cache = self.cache.lock().expect("no holder of this lock panics").clone();
        let size = cache.as_ref().map(CacheGauge::size).unwrap_or_default();
        progress.cache_bytes_memory = size.memory_bytes;
        progress.cache_bytes_disk = size.disk_bytes;
        let (changes, bytes) = on_the_way.size();
        progress.changes_waiting = size.changes + changes;
        progress.bytes_in_flight = bytes;
        progress.time = stage_seconds(&self.board, &on_the_way, &progress.time);
        progress.lag_seconds = age_seconds(in_flight.or_else(|| cache.and_then(|cache| cache.oldest_us())), now_us());
        progress
    }
}

/// Publishes views: many a second while the run is awake, and none while it sleeps and nothing happens.
async fn publish(watched: Arc<Watched>, mut units: Units, progress: watch::Sender<Progress>) {
    let mut ticks = tokio::time::interval(PUBLISH_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = watched.snapshot();
        let rests = units.is_asleep() && now.is_still_as(&progress.borrow());
        if !rests {
            progress.send_replace(now);
            continue;
        }
        tokio::select! {
            () = watched.board.stirred() => {}
            () = units.changed() => {}
        }
    }
}

/// What the rules make of a source.
pub(crate) struct Selection {
    /// The tables that the rules select, planned, in the source's order.
    pub(crate) tables: Vec<Arc<PlannedTable>>,
    /// All tables that the source has; where the rules name each table, and few, only those.
    pub(crate) names: HashSet<TableName>,
}

/// Plans the tables that the rules select.
pub(crate) async fn plan_tables(spec: &TaskSpec, source: &dyn Source, target: &dyn Target) -> Result<Selection, TaskError> {
    let mut names = table_names(spec, source).await?;
    let mut looked_at: Vec<TableName> = names.iter().filter(|name| spec.modules.selected().may_have(name)).cloned().collect();
    if looked_at.is_empty() {
        // What is wrong with a mapping, the rules module says when it is asked about a table.
        names = source.table_names().await?;
        looked_at.extend(names.iter().find(|name| !is_table_of_dms(&name.name)).cloned());
    }
    let described = match source.describe(&looked_at).await {
        Err(error) if error.class() == ErrorClass::TableDefinite && is_gone(source, &error).await? => {
            return Err(ConnectorError::transient("tables_changing", "a table went while the source's tables were looked at").into());
        }
        described => described?,
    };
    let row_errors = Arc::new(RowErrors::new(spec.row_errors, Arc::default()));
    let mut transformer = Transformer::new(spec.modules.for_target(target.engine(), spec.values.clone()), row_errors);
    let mut planned = Vec::new();
    for table in described {
        if let Some(table) = transformer.plan(table).await? {
            planned.push(table);
        }
    }
    if planned.is_empty() && spec.run.no_tables == NoTables::Fail {
        return Err(TaskError::Plan {
            code: "no_tables",
            message: format!("the table mappings select none of the {} tables that the source's user can see", names.len()),
            hint: Some("compare the rules' schema-name and table-name with the source: names are case-sensitive".into()),
        });
    }
    attach(spec.schema, source, target.engine(), &mut planned).await?;
    let planned = planned.into_iter().map(Arc::new).collect::<Vec<_>>();
    refuse_shared_targets(&planned)?;
    Ok(Selection { tables: planned, names: names.into_iter().collect() })
}

/// Names of all tables that the source has; where the rules name each table, and few, those of them that it has.
pub(crate) async fn table_names(spec: &TaskSpec, source: &dyn Source) -> Result<Vec<TableName>, ConnectorError> {
    match spec.modules.selected().exact() {
        Some(names) if names.len() <= ASKED_BY_NAME_MAX => source.existing_tables(names).await,
        _ => source.table_names().await,
    }
}

async fn is_gone(source: &dyn Source, error: &ConnectorError) -> Result<bool, ConnectorError> {
    match error.table_name() {
        Some(name) => Ok(source.existing_tables(std::slice::from_ref(name)).await?.is_empty()),
        None => Ok(false),
    }
}

/// Two source tables must not meet in one target table: their rows would overwrite each other.
fn refuse_shared_targets(planned: &[Arc<PlannedTable>]) -> Result<(), TaskError> {
    let mut seen = HashMap::new();
    for table in planned {
        if let Some(other) = seen.insert(&table.target.name, &table.source.schema.name) {
            return Err(TaskError::Plan {
                code: "target_shared",
                message: format!(
                    "tables \"{other}\" and \"{}\" both become \"{}\" in the target",
                    table.source.schema.name, table.target.name
                ),
                hint: Some("rename one of them by a rule".into()),
            });
        }
    }
    Ok(())
}

/// Runs both ends' checks on planned tables.
pub(crate) async fn check_tables(
    spec: &TaskSpec,
    source: &dyn Source,
    target: &dyn Target,
    tables: &[Arc<PlannedTable>],
    preparation: TablePreparation,
) -> Result<Vec<Finding>, TaskError> {
    let sources: Vec<Arc<SourceTable>> = tables.iter().map(|table| table.source.clone()).collect();
    let targets: Vec<Arc<TargetTable>> = tables.iter().map(|table| table.target.clone()).collect();
    let mut findings = source.check(&spec.id, &sources, spec.migration.captures()).await?;
    findings.extend(target.check(&spec.id, &targets, preparation).await?);
    if let Some(control_tables) = &spec.control_tables {
        findings.extend(target.check_control_tables(&control_tables.tables(target.engine())).await?);
    }
    findings.extend(named_tables_of_dms(spec));
    findings.extend(tables.iter().flat_map(|table| table.findings(spec.migration.captures())));
    findings.extend(sources.iter().filter_map(|table| spec.modules.loads().finding(table)));
    findings.extend(tables.iter().filter_map(|table| unfit_finding(&table.target, target.engine())));
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    Ok(findings)
}

/// Tables that rules name and that are left out all the same.
fn named_tables_of_dms(spec: &TaskSpec) -> impl Iterator<Item = Finding> {
    let named = spec.modules.selected().exact().unwrap_or_default().iter().filter(|table| is_table_of_dms(&table.name));
    named.map(|table| {
        let found = "a control table of DMS: it is not replicated";
        Finding::warning("control_table_left_out", format!("table \"{table}\""), found, "tables of the user's own")
    })
}

/// Fails when a finding is an error. The others were news when the task began; when it goes on they are not.
pub(crate) fn refuse_errors(spec: &TaskSpec, findings: Vec<Finding>, begins: bool) -> Result<(), TaskError> {
    if findings.iter().any(|finding| finding.severity == Severity::Error) {
        return Err(TaskError::ChecksFailed(findings));
    }
    for finding in findings.iter().filter(|_| begins) {
        tracing::warn!(task = %spec.id, code = finding.code, "{finding}");
    }
    Ok(())
}
