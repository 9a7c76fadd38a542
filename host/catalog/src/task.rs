//! Tasks: what the user wants, and what the host reports. The functions on [`crate::Catalog`] are in `task_store`.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidegate_model::{TaskId, TenantId};

use crate::capacity::CapacityStatus;

/// What a task does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Migration {
    /// Copy the rows that are there, once.
    FullLoad,
    /// Follow the log.
    Cdc,
    /// Copy, then follow.
    FullLoadAndCdc,
}

impl Migration {
    /// DMS's spelling: `full-load`, `cdc`, `full-load-and-cdc`.
    pub fn as_str(self) -> &'static str {
        match self {
            Migration::FullLoad => "full-load",
            Migration::Cdc => "cdc",
            Migration::FullLoadAndCdc => "full-load-and-cdc",
        }
    }
}

/// A text that names no such thing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{found}\" is none of {wanted}")]
pub struct UnknownName {
    found: String,
    wanted: &'static str,
}

impl FromStr for Migration {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        [Migration::FullLoad, Migration::Cdc, Migration::FullLoadAndCdc]
            .into_iter()
            .find(|migration| migration.as_str() == text)
            .ok_or_else(|| UnknownName { found: text.chars().take(100).collect(), wanted: "full-load, cdc, full-load-and-cdc" })
    }
}

/// What happens to existing target tables before a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preparation {
    /// They are used as they are; missing ones are created.
    DoNothing,
    /// They are dropped and created.
    DropAndCreate,
    /// They are emptied; missing ones are created.
    TruncateBeforeLoad,
}

impl Preparation {
    /// `do-nothing`, `drop-and-create` or `truncate-before-load`.
    pub fn as_str(self) -> &'static str {
        match self {
            Preparation::DoNothing => "do-nothing",
            Preparation::DropAndCreate => "drop-and-create",
            Preparation::TruncateBeforeLoad => "truncate-before-load",
        }
    }
}

impl FromStr for Preparation {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        [Preparation::DoNothing, Preparation::DropAndCreate, Preparation::TruncateBeforeLoad]
            .into_iter()
            .find(|preparation| preparation.as_str() == text)
            .ok_or_else(|| UnknownName {
                found: text.chars().take(100).collect(),
                wanted: "do-nothing, drop-and-create, truncate-before-load",
            })
    }
}

/// What a user says about a task.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskDefinition {
    /// Its name; it cannot be changed, since slots and control rows carry it.
    pub name: TaskId,
    /// Name of the source endpoint.
    pub source: String,
    /// Name of the target endpoint.
    pub target: String,
    /// What it does.
    pub migration: Migration,
    /// What happens to existing target tables.
    pub preparation: Preparation,
    /// The table-mapping JSON, exactly as given.
    pub table_mappings: String,
    /// The settings, a JSON object as given: native keys, or a DMS settings document under [`TaskDefinition::dms`].
    pub settings: Value,
    /// Where a CDC task starts; `None`: now.
    pub start_position: Option<String>,
    /// Where the task stops by itself; `None`: nowhere.
    pub stop_position: Option<String>,
    /// Capacity units that it always has.
    pub min_units: u32,
    /// Capacity units that it never exceeds.
    pub max_units: u32,
    /// The tenant's objective.
    pub max_lag_seconds: Option<u32>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// What the DMS API has to echo. Stored in clear: it must not hold secrets.
    pub dms: Value,
}

/// What the user wants of a task. The host makes it so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Desired {
    /// Not running.
    Stopped,
    /// Running; which run is told by [`TaskRecord::run_request`] and how by [`TaskRecord::start_kind`].
    Running,
    /// Gone: slot, publication and control rows are removed, then the record.
    Deleted(Cleanup),
}

/// What a deletion does when source or target cannot be cleaned up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cleanup {
    /// The deletion fails and the task stays.
    Required,
    /// The task goes anyway, for servers that are gone for good.
    BestEffort,
}

/// How a run begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartKind {
    /// From the checkpoint in the target if there is one, else from the beginning.
    Start,
    /// From the checkpoint in the target.
    Resume,
    /// All tables are loaded again.
    Reload,
}

/// The phase of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunPhase {
    /// Checks and plans.
    #[default]
    Preparing,
    /// Copies rows.
    Loading,
    /// Applies what changed meanwhile.
    CatchingUp,
    /// Follows the log.
    Replicating,
}

/// Why a task is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopReason {
    /// The user asked.
    Requested,
    /// A full-load task has copied everything.
    FullLoadFinished,
    /// A task that captures has copied everything; changes that came meanwhile are not applied.
    AfterFullLoad,
    /// The same, with the changes that came meanwhile.
    AfterCachedChanges,
    /// It came to its stop position: a position, or a place in the binary log.
    AtPosition,
    /// The source's clock came to it.
    AtServerTime,
    /// The commit times of the log came to it.
    AtCommitTime,
}

/// Why something failed: a stable code, one sentence, and what to do about it. Never row values or passwords.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Stable, lower case with underscores.
    pub code: String,
    /// What was found and what was wanted.
    pub message: String,
    /// The command that fixes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Failure {
    /// A failure with a hint or without.
    pub fn new(code: impl Into<String>, message: impl Into<String>, hint: Option<String>) -> Failure {
        Failure { code: code.into(), message: message.into(), hint }
    }
}

/// What a task is doing, by the host's last word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum TaskStatus {
    /// Never started.
    Created,
    /// A start was asked for; set by `request_start` itself.
    Starting,
    /// A worker has it.
    Running {
        /// Where it is.
        phase: RunPhase,
    },
    /// A stop was asked for; set by `request_stop` itself.
    Stopping,
    /// Not running, can be started.
    Stopped {
        /// Why.
        reason: StopReason,
    },
    /// Not running, because it could not go on.
    Failed(Failure),
    /// Being cleaned up; set by `request_delete` itself.
    Deleting,
}

impl TaskStatus {
    /// The state's name: `created`, `starting`, `running`, `stopping`, `stopped`, `failed`, `deleting`.
    pub fn name(&self) -> &'static str {
        match self {
            TaskStatus::Created => "created",
            TaskStatus::Starting => "starting",
            TaskStatus::Running { .. } => "running",
            TaskStatus::Stopping => "stopping",
            TaskStatus::Stopped { .. } => "stopped",
            TaskStatus::Failed(_) => "failed",
            TaskStatus::Deleting => "deleting",
        }
    }

    /// True while a worker has the task, or is about to take it or to leave it.
    pub fn is_active(&self) -> bool {
        match self {
            TaskStatus::Starting | TaskStatus::Running { .. } | TaskStatus::Stopping | TaskStatus::Deleting => true,
            TaskStatus::Created | TaskStatus::Stopped { .. } | TaskStatus::Failed(_) => false,
        }
    }
}

/// What a module used and did in a run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ModuleNumbers {
    /// Its name; `rules` is the built-in one.
    pub name: String,
    /// Row images that it judged.
    pub rows: u64,
    /// Calls of its row function.
    pub batches: u64,
    /// CPU time of all its calls, those that planned tables too.
    pub cpu_seconds: f64,
    /// Fuel of all its calls; `None` where it is not metered.
    pub fuel: Option<u64>,
    /// The most linear memory that one sandbox held.
    pub memory_bytes_peak: u64,
    /// Calls that trapped, overran a limit or answered malformed.
    pub failures: u64,
    /// Rows that it was at fault for, or that it refused itself.
    pub rejected: u64,
    /// What it counted by names of its own, at most 32.
    pub counters: BTreeMap<String, u64>,
    /// The lines that it logged last, at most 20, oldest first.
    pub log: Vec<ModuleLogLine>,
    /// Lines that are not among these.
    pub log_lines_dropped: u64,
}

/// A line that a module logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleLogLine {
    /// When the host took it, microseconds since 1970.
    pub at_us: i64,
    /// `trace`, `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// The text, at most 1 KiB.
    pub message: String,
}

/// Numbers of a run, written by the host about once a second.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskProgress {
    /// The phase.
    pub phase: RunPhase,
    /// The checkpoint in the target, in its text form.
    pub checkpoint: Option<String>,
    /// Age of the oldest change that is captured and not applied; 0 when level.
    pub lag_seconds: f64,
    /// Rows loaded in this run.
    pub rows_loaded: u64,
    /// Changes applied in this run.
    pub changes_applied: u64,
    /// Transactions applied in this run.
    pub transactions_applied: u64,
    /// Row data written to the target in this run.
    pub bytes_written: u64,
    /// Throughput of the last seconds.
    pub rows_per_second: f64,
    /// Throughput of the last seconds.
    pub bytes_per_second: f64,
    /// Changes that wait in memory.
    pub cache_bytes_memory: u64,
    /// Changes that wait on disk.
    pub cache_bytes_disk: u64,
    /// Times that a connection was lost and the work taken up again.
    pub reconnects: u64,
    /// Rows that went to the error table, or were ignored, in this run.
    pub rows_rejected: u64,
    /// Rows that were written with values cut to the task's limit, in this run.
    pub rows_cut: u64,
    /// What modules used and did in this run.
    pub modules: Vec<ModuleNumbers>,
    /// Capacity units in use.
    pub units: u32,
    /// The capacity plan; absent before the first.
    pub capacity: Option<CapacityStatus>,
    /// When this was measured, microseconds since 1970.
    pub at_us: i64,
}

/// Which host works on a task. The generation grows with each new holder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lease {
    /// The holder.
    pub owner: Option<String>,
    /// Until when, unless renewed; microseconds since 1970.
    pub until_us: i64,
    /// Raised by each holder that takes it.
    pub generation: i64,
}

/// A task.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRecord {
    /// Whose it is.
    pub tenant: TenantId,
    /// 26 characters of `A-Z0-9`, never reused; the last part of its ARN.
    pub id: String,
    /// What the user said.
    pub definition: TaskDefinition,
    /// Raised by each change of the definition.
    pub revision: i64,
    /// What the user wants.
    pub desired: Desired,
    /// Raised by each start. A host that serves an older one stops and takes the new one.
    pub run_request: i64,
    /// How the run of `run_request` begins; see [`TaskRecord::next_start`].
    pub start_kind: StartKind,
    /// The last `run_request` whose beginning the host has carried out (tables dropped for a reload, position taken).
    pub run_begun: i64,
    /// What is.
    pub status: TaskStatus,
    /// Numbers of the current or last run.
    pub progress: Option<TaskProgress>,
    /// Who works on it.
    pub lease: Lease,
    /// Microseconds since 1970.
    pub created_at_us: i64,
    /// Last change of the definition.
    pub updated_at_us: i64,
    /// Last start.
    pub started_at_us: Option<i64>,
    /// Last stop or failure.
    pub stopped_at_us: Option<i64>,
}

impl TaskRecord {
    /// The task's name at its source, in its target, among files and in the log, where it meets other tenants' tasks.
    pub fn outside_name(&self) -> TaskId {
        self.definition.name.outside(&self.tenant)
    }

    /// How a worker that takes the task now begins: as the user asked, but once. A host that died during a reload
    /// goes on with it and does not start it over.
    pub fn next_start(&self) -> StartKind {
        if self.run_begun >= self.run_request { StartKind::Resume } else { self.start_kind }
    }
}
