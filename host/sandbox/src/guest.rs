//! What the host keeps for one running module: its limits, its budget, and what it logged and counted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use wasmtime::ResourceLimiter;

use crate::budget::{Budget, Pacer};
use crate::contract::tidegate::transform::host;
use crate::contract::tidegate::transform::types;
use crate::engine::MemoryPool;

/// Log lines kept between two calls of [`crate::Sandbox::take_logs`]; more are counted and dropped.
pub(crate) const LOG_LINES_MAX: usize = 100;
/// Bytes kept of a log line.
const LOG_LINE_BYTES_MAX: usize = 1024;
/// Distinct counters of a module.
const COUNTERS_MAX: usize = 32;
/// Bytes kept of a counter's name.
const COUNTER_NAME_BYTES_MAX: usize = 64;
/// Bytes kept of a module's messages.
pub(crate) const MESSAGE_BYTES_MAX: usize = 4096;
/// Table elements over all tables: function tables of large interpreters have about ten thousand.
const TABLE_ELEMENTS_MAX: usize = 100_000;

/// What a module may use. The defaults are those of a tenant without an agreement of its own; `docs/modules-limits.md`
/// gives their reasons. The stack is the engine's ([`crate::EngineSettings`]), and rows out are never more than rows in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory, summed over all memories of the module. At most the engine's own limit.
    pub memory_bytes_max: usize,
    /// CPU time of `describe` and of `plan` for one table.
    pub plan_cpu: Duration,
    /// CPU time of `transform`, before rows are counted.
    pub transform_cpu: Duration,
    /// CPU time of `transform` for each row of the batch.
    pub transform_cpu_per_row: Duration,
    /// Memory that returned values may make the host allocate in one call.
    pub result_bytes_max: usize,
    /// Sandboxes of one module version in this process at once.
    pub instances_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes_max: 64 << 20,
            plan_cpu: Duration::from_secs(1),
            transform_cpu: Duration::from_millis(250),
            transform_cpu_per_row: Duration::from_micros(100),
            result_bytes_max: 16 << 20,
            instances_max: 32,
        }
    }
}

impl Limits {
    /// The smaller of each.
    #[must_use]
    pub fn tightest(&self, other: &Limits) -> Limits {
        Limits {
            memory_bytes_max: self.memory_bytes_max.min(other.memory_bytes_max),
            plan_cpu: self.plan_cpu.min(other.plan_cpu),
            transform_cpu: self.transform_cpu.min(other.transform_cpu),
            transform_cpu_per_row: self.transform_cpu_per_row.min(other.transform_cpu_per_row),
            result_bytes_max: self.result_bytes_max.min(other.result_bytes_max),
            instances_max: self.instances_max.min(other.instances_max),
        }
    }
}

/// How much a log line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Every step.
    Trace,
    /// For the author.
    Debug,
    /// For the tenant.
    Info,
    /// Something to look at.
    Warn,
    /// Something failed.
    Error,
}

/// A line that a module logged, cut to 1 KiB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// How much it matters.
    pub level: LogLevel,
    /// The text.
    pub message: String,
}

/// The data of a sandbox's store.
pub(crate) struct Guest {
    pub(crate) budget: Budget,
    /// Over all memories; the most since the start is the same, since memories never shrink.
    pub(crate) memory_bytes: usize,
    pub(crate) memory_bytes_max: usize,
    pub(crate) pool: Arc<MemoryPool>,
    pub(crate) pacer: Pacer,
    /// Set when growth was refused: the trap that usually follows is the limit's.
    pub(crate) refused: Option<Refused>,
    pub(crate) logs: Vec<LogLine>,
    pub(crate) logs_dropped: u64,
    pub(crate) counts: BTreeMap<String, u64>,
    table_elements: usize,
}

/// Why a memory did not grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The module has as much as it may have.
    ByLimit,
    /// All modules of the process together have as much as there is.
    ByPool,
}

impl Guest {
    pub(crate) fn new(limits: &Limits, cancel: Arc<AtomicBool>, pool: Arc<MemoryPool>, pacer: Pacer) -> Self {
        Self {
            budget: Budget::new(limits.plan_cpu, Duration::ZERO, cancel),
            memory_bytes: 0,
            memory_bytes_max: limits.memory_bytes_max,
            pool,
            pacer,
            refused: None,
            logs: Vec::new(),
            logs_dropped: 0,
            counts: BTreeMap::new(),
            table_elements: 0,
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.pool.give_back(self.memory_bytes);
    }
}

impl ResourceLimiter for Guest {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.memory_bytes.saturating_sub(current).saturating_add(desired);
        if total > self.memory_bytes_max {
            self.refused = Some(Refused::ByLimit);
            return Ok(false);
        }
        if !self.pool.take(total.saturating_sub(self.memory_bytes)) {
            self.refused = Some(Refused::ByPool);
            return Ok(false);
        }
        self.memory_bytes = total.max(self.memory_bytes);
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        // The engine's own limit for a single memory, or the memory's declared maximum.
        self.refused.get_or_insert(Refused::ByLimit);
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.table_elements.saturating_sub(current).saturating_add(desired);
        let fits = total <= TABLE_ELEMENTS_MAX;
        if fits {
            self.table_elements = total;
        }
        Ok(fits)
    }

    fn instances(&self) -> usize {
        100
    }

    fn tables(&self) -> usize {
        20
    }

    fn memories(&self) -> usize {
        4
    }
}

impl types::Host for Guest {}

impl host::Host for Guest {
    fn log(&mut self, level: host::Level, message: String) {
        if self.logs.len() >= LOG_LINES_MAX {
            self.logs_dropped += 1;
            return;
        }
        let level = match level {
            host::Level::Trace => LogLevel::Trace,
            host::Level::Debug => LogLevel::Debug,
            host::Level::Info => LogLevel::Info,
            host::Level::Warn => LogLevel::Warn,
            host::Level::Error => LogLevel::Error,
        };
        self.logs.push(LogLine { level, message: cut(&message, LOG_LINE_BYTES_MAX) });
    }

    fn count(&mut self, name: String, delta: u64) {
        let name = cut(&name, COUNTER_NAME_BYTES_MAX);
        if let Some(total) = self.counts.get_mut(&name) {
            *total = total.saturating_add(delta);
        } else if self.counts.len() < COUNTERS_MAX {
            self.counts.insert(name, delta);
        }
    }
}

/// The first `bytes_max` bytes of a text, cut between two characters. A copy: a text that a module gave may take as much memory as an
/// answer may have, and one that is only made shorter keeps it.
pub(crate) fn cut(text: &str, bytes_max: usize) -> String {
    text[..text.floor_char_boundary(bytes_max)].to_owned()
}
