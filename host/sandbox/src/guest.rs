//! What the host keeps for one running module: its limits, its budget, and what it logged and counted.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use wasmtime::component::{Linker, WasmStr};
use wasmtime::{ResourceLimiter, StoreContextMut};

use crate::budget::{Budget, Pacer};
use crate::contract::tidegate::transform::host;
use crate::engine::{CORE_INSTANCES, Engine, MEMORIES, TABLE_ELEMENTS, TABLES};
use crate::error::{QUOTA, SHARE, SandboxError};
use crate::memory::{MemoryPool, NoMemory};
use crate::share::TenantShare;
use crate::slots::Slots;
use crate::told::{LogLevel, Told};

/// Bytes kept of a module's messages.
pub(crate) const MESSAGE_BYTES_MAX: usize = 4096;

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

/// The data of a sandbox's store.
pub(crate) struct Guest {
    pub(crate) budget: Budget,
    /// Over all memories; the most since the start is the same, since memories never shrink.
    pub(crate) memory_bytes: usize,
    pub(crate) memory_bytes_max: usize,
    pub(crate) pool: Arc<MemoryPool>,
    /// Of whom there may be memory to have.
    slots: Arc<Slots>,
    share: Option<TenantShare>,
    pub(crate) pacer: Pacer,
    /// Set when growth was refused: the trap that usually follows is the limit's.
    pub(crate) refused: Option<Refused>,
    pub(crate) told: Told,
    table_elements: usize,
    /// Set when a table had no room: where an instance cannot be made for it, that is why.
    pub(crate) lacks_elements: bool,
}

/// Why a memory did not grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The module has as much as it may have.
    ByLimit,
    /// All modules of the process together, or those of the tenant, have as much as there is for them.
    ByPool(NoMemory),
    /// There can never be so many bytes.
    ForEver(usize),
}

impl Guest {
    pub(crate) fn new(limits: &Limits, cancel: Arc<AtomicBool>, engine: &Engine, share: Option<TenantShare>) -> Self {
        Self {
            budget: Budget::new(limits.plan_cpu, Duration::ZERO, cancel),
            memory_bytes: 0,
            memory_bytes_max: limits.memory_bytes_max,
            pool: engine.memory_pool(),
            slots: Arc::clone(engine.slots()),
            share,
            pacer: engine.pacer(),
            refused: None,
            told: Told::default(),
            table_elements: 0,
            lacks_elements: false,
        }
    }

    /// Takes memory, of idle sandboxes where there is none.
    fn take(&self, bytes: usize) -> Result<(), NoMemory> {
        let share = self.share.as_ref();
        loop {
            match self.pool.take(share, bytes) {
                Err(lack) if self.slots.clear_memory(share, lack) => {}
                Err(lack) => {
                    share.filter(|_| lack != NoMemory::OfAll).inspect(|share| share.refused());
                    return Err(lack);
                }
                Ok(()) => return Ok(()),
            }
        }
    }

    /// The error of a memory that would be larger than any can be.
    pub(crate) fn beyond_share(&self, call: &'static str, bytes: usize) -> SandboxError {
        let (bytes_max, bound) = self.pool.most_of_one(self.share.as_ref());
        SandboxError::BeyondShare { call, bytes, bytes_max, bound }
    }

    /// The error of a memory that all modules, or the tenant's, had no more of.
    pub(crate) fn no_memory(&self, lack: NoMemory) -> SandboxError {
        let bytes = self.share.as_ref().map_or(0, TenantShare::memory_bytes);
        match lack {
            NoMemory::OfAll => SandboxError::Crowded { bytes_max: self.pool.bytes_max },
            NoMemory::AboveQuota => SandboxError::TenantMemory { bytes, bound: QUOTA },
            NoMemory::AboveShare => SandboxError::TenantMemory { bytes, bound: SHARE },
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.pool.give_back(self.share.as_ref(), self.memory_bytes);
    }
}

impl ResourceLimiter for Guest {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.memory_bytes.saturating_sub(current).saturating_add(desired);
        if total > self.memory_bytes_max {
            self.refused = Some(Refused::ByLimit);
            return Ok(false);
        }
        if total > self.pool.most_of_one(self.share.as_ref()).0 {
            self.share.as_ref().inspect(|share| share.refused());
            self.refused = Some(Refused::ForEver(total));
            return Ok(false);
        }
        if let Err(lack) = self.take(total.saturating_sub(self.memory_bytes)) {
            self.refused = Some(Refused::ByPool(lack));
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
        let fits = total <= TABLE_ELEMENTS;
        if fits {
            self.table_elements = total;
        }
        self.lacks_elements |= !fits;
        Ok(fits)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES as usize
    }

    fn tables(&self) -> usize {
        TABLES as usize
    }

    fn memories(&self) -> usize {
        MEMORIES as usize
    }
}

/// What a module may ask of its host. Texts are read where they stand, in the module's memory, so that the host never holds more of one than
/// it keeps; only one that is not UTF-8 there is converted as a whole first.
///
/// # Errors
/// Never: the names are those of the contract.
pub(crate) fn link_host(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut host = linker.instance("tidegate:transform/host@1.0.0")?;
    host.func_wrap("log", |mut store: StoreContextMut<'_, Guest>, (level, message): (host::Level, WasmStr)| {
        hear(&mut store, &message, |told, message| told.log(level.into(), message))
    })?;
    host.func_wrap("count", |mut store: StoreContextMut<'_, Guest>, (name, delta): (WasmStr, u64)| {
        hear(&mut store, &name, |told, name| told.count(name, delta))
    })
}

/// The text is borrowed from the store that also has what was told.
fn hear(store: &mut StoreContextMut<'_, Guest>, text: &WasmStr, tell: impl FnOnce(&mut Told, &str)) -> wasmtime::Result<()> {
    let mut told = std::mem::take(&mut store.data_mut().told);
    let heard = text.to_str(&*store).map(|text| tell(&mut told, &text));
    store.data_mut().told = told;
    heard
}

impl From<host::Level> for LogLevel {
    fn from(level: host::Level) -> Self {
        match level {
            host::Level::Trace => LogLevel::Trace,
            host::Level::Debug => LogLevel::Debug,
            host::Level::Info => LogLevel::Info,
            host::Level::Warn => LogLevel::Warn,
            host::Level::Error => LogLevel::Error,
        }
    }
}
