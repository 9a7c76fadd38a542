//! What a run tells goes to the catalog and to the metrics, about once a second while anything happens.
//!
//! The catalog stores it when a phase begins, at the end, and every few seconds in between; readers of this process get the
//! latest numbers all the time. A run that rests (no units, nothing waits, nothing moved) is not looked at until something
//! moves: it only says from time to time that it still rests.

use std::time::{Duration, Instant};

use tidegate_catalog::{
    Catalog, CatalogError, ModuleLogLine, ModuleNumbers, RunPhase, StageName, TableStatusRecord, TaskDefinition, TaskProgress, TaskStatus,
    now_us,
};
use tidegate_connector::{Finding, LOG_HELD_WARNED_BYTES};
use tidegate_model::TableName;
use tidegate_pipeline::{ModuleLine, ModuleProgress, Phase, Progress, TableProgress, TableStage};

use super::steering::Steering;
use crate::metric;

/// How often numbers that move are stored. What a process that dies had not stored, the next one does not know; its counters
/// begin anew in any case.
const STORE_INTERVAL: Duration = Duration::from_secs(5);

/// What people want to know of a view, beside its numbers.
pub(crate) struct News {
    /// The phase, when it is another one than before.
    pub(crate) entered: Option<Phase>,
    /// Why the run had to take up its connections again since the view before.
    pub(crate) trouble: Option<String>,
    /// Bytes of log that the source keeps for the task, when they passed what people are warned of.
    pub(crate) log_held: Option<u64>,
    /// Objects that could not be carried, found since the view before.
    pub(crate) not_carried: Vec<Finding>,
    /// What people should know of how the run goes, found since the view before.
    pub(crate) notices: Vec<String>,
}

/// What was written last, to write only what changed.
pub(crate) struct Report {
    tenant: String,
    task: String,
    steering: Steering,
    sampled_at: Instant,
    written: Progress,
    phase: Option<Phase>,
    at: Instant,
    /// When numbers were stored last.
    stored_at: Option<Instant>,
    /// Nothing happened between the last two views, and nothing waits.
    still: bool,
}

impl Report {
    pub(crate) fn new(tenant: &str, task: &str, steering: Steering) -> Self {
        Self {
            tenant: tenant.to_owned(),
            task: task.to_owned(),
            steering,
            sampled_at: Instant::now(),
            written: Progress::default(),
            phase: None,
            at: Instant::now(),
            stored_at: None,
            still: false,
        }
    }

    /// Writes a view of the run. Answers what is worth an event.
    ///
    /// # Errors
    /// The catalog's; what was not written is written the next time.
    pub(crate) async fn write(&mut self, catalog: &Catalog, now: &Progress) -> Result<News, CatalogError> {
        let elapsed = self.at.elapsed().as_secs_f64();
        let sampled = std::mem::replace(&mut self.sampled_at, Instant::now());
        let decided = self.steering.observe(now, sampled.elapsed().as_secs_f64());
        let capacity = self.steering.status(now);
        if let Some(capacity) = &capacity {
            metric::record_capacity(&self.tenant, &self.task, capacity, decided.map(|plan| plan.reason.kind()));
        }
        let entered = (self.phase != Some(now.phase)).then_some(now.phase);
        let still = now.is_still_as(&self.written);
        // What a rest begins with stays for as long as it lasts.
        let falls_asleep = still && !self.still;
        let told = TaskProgress { capacity, ..self.numbers(now, elapsed) };
        if entered.is_some() || falls_asleep || self.stored_at.is_none_or(|stored| stored.elapsed() >= STORE_INTERVAL && !still) {
            catalog.set_progress(&self.task, &told).await?;
            self.stored_at = Some(Instant::now());
        } else {
            catalog.tell_progress(&self.task, told);
        }
        let changed: Vec<TableStatusRecord> =
            now.tables.changed_since(&self.written.tables).map(|(name, progress)| table_status(name, progress)).collect();
        if !changed.is_empty() {
            catalog.put_table_statuses(&self.task, &changed).await?;
        }
        if let Some(phase) = entered {
            catalog.set_status(&self.task, &TaskStatus::Running { phase: run_phase(phase) }).await?;
            self.phase = entered;
        }
        let trouble = (now.reconnects > self.written.reconnects).then(|| now.last_error.clone()).flatten();
        let passed = |bytes| bytes > LOG_HELD_WARNED_BYTES;
        let log_held = (passed(now.log_held_bytes) && !passed(self.written.log_held_bytes)).then_some(now.log_held_bytes);
        // An attempt that begins anew keeps the list, so it only grows.
        let not_carried = now.not_carried.get(self.written.not_carried.len()..).unwrap_or_default().to_vec();
        let notices = now.notices.get(self.written.notices.len()..).unwrap_or_default().to_vec();
        metric::record_progress(&self.tenant, &self.task, &self.written, now);
        self.written = now.clone();
        self.at = Instant::now();
        self.still = still;
        Ok(News { entered, trouble, log_held, not_carried, notices })
    }

    /// The owner says something else from now on.
    pub(crate) fn obey(&mut self, definition: &TaskDefinition) {
        self.steering.obey(definition);
        self.still = false;
    }

    /// True while there is nothing to look at until something happens.
    pub(crate) fn rests(&self) -> bool {
        self.still && self.steering.is_at_rest()
    }

    /// Something happened: the rest counts as what it was, and the next view covers the time from now on.
    pub(crate) fn wake(&mut self) {
        self.steering.rested(std::mem::replace(&mut self.sampled_at, Instant::now()).elapsed().as_secs_f64());
        (self.at, self.still) = (Instant::now(), false);
    }

    /// The next view is the last: it is stored whatever it says.
    pub(crate) fn end(&mut self) {
        self.stored_at = None;
    }

    fn numbers(&self, now: &Progress, elapsed: f64) -> TaskProgress {
        let rate = |before: u64, after: u64| if elapsed > 0.0 { after.saturating_sub(before) as f64 / elapsed } else { 0.0 };
        let before = &self.written;
        TaskProgress {
            phase: run_phase(now.phase),
            checkpoint: now.checkpoint.as_ref().map(ToString::to_string),
            lag_seconds: now.lag_seconds,
            rows_loaded: now.rows_loaded,
            changes_applied: now.changes_applied,
            transactions_applied: now.transactions_applied,
            bytes_written: now.bytes_written,
            rows_per_second: rate(before.rows_loaded + before.changes_applied, now.rows_loaded + now.changes_applied),
            bytes_per_second: rate(before.bytes_written, now.bytes_written),
            cache_bytes_memory: now.cache_bytes_memory,
            cache_bytes_disk: now.cache_bytes_disk,
            reconnects: now.reconnects,
            rows_rejected: now.rows_rejected,
            rows_cut: now.rows_cut,
            modules: now.modules.iter().map(|(name, module)| module_numbers(name, module)).collect(),
            units: self.steering.granted(),
            capacity: None,
            at_us: now_us(),
        }
    }
}

impl Drop for Report {
    /// However the run ended.
    fn drop(&mut self) {
        metric::clear_modules(&self.tenant, &self.task, &self.written);
    }
}

fn module_numbers(name: &str, module: &ModuleProgress) -> ModuleNumbers {
    ModuleNumbers {
        name: name.to_owned(),
        rows: module.rows,
        batches: module.batches,
        cpu_seconds: module.cpu.as_secs_f64(),
        fuel: module.fuel,
        memory_bytes_peak: module.memory_bytes_peak,
        failures: module.failures,
        rejected: module.rejected,
        counters: module.counters.iter().map(|(name, count)| (name.to_string(), *count)).collect(),
        log: module.lines.iter().map(module_line).collect(),
        log_lines_dropped: module.lines_dropped,
    }
}

fn module_line(line: &ModuleLine) -> ModuleLogLine {
    ModuleLogLine { at_us: line.at_us, level: line.level.as_str().to_owned(), message: line.message.to_string() }
}

/// The word for a phase that events use.
pub(crate) fn run_phase(phase: Phase) -> RunPhase {
    match phase {
        Phase::Preparing => RunPhase::Preparing,
        Phase::Loading => RunPhase::Loading,
        Phase::CatchingUp => RunPhase::CatchingUp,
        Phase::Replicating => RunPhase::Replicating,
    }
}

fn table_status(name: &TableName, progress: &TableProgress) -> TableStatusRecord {
    let (stage, failure) = match &progress.stage {
        TableStage::BeforeLoad => (StageName::BeforeLoad, None),
        TableStage::Loading => (StageName::Loading, None),
        TableStage::Completed => (StageName::Completed, None),
        TableStage::Failed(reason) => (StageName::Failed, Some(reason.clone())),
        TableStage::LeftOut => (StageName::LeftOut, None),
    };
    TableStatusRecord {
        schema: name.schema.clone(),
        table: name.name.clone(),
        target_schema: progress.target.as_ref().map(|target| target.schema.clone()),
        target_table: progress.target.as_ref().map(|target| target.name.clone()),
        stage,
        failure,
        rows_estimate: progress.rows_estimate,
        rows_loaded: progress.rows_loaded,
        chunks_total: progress.chunks_total,
        chunks_loaded: progress.chunks_loaded,
        inserts: progress.inserts,
        updates: progress.updates,
        deletes: progress.deletes,
        ddls: 0,
        applied_inserts: progress.applied_inserts,
        applied_updates: progress.applied_updates,
        applied_deletes: progress.applied_deletes,
        applied_ddls: 0,
        rejected: progress.rejected,
        cut: progress.cut,
        load_started_us: progress.load_started_us,
        load_ended_us: progress.load_ended_us,
        updated_us: now_us(),
    }
}
