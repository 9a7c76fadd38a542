//! The WebAssembly engine: one for each process.
//!
//! It holds the settings that every compiled artefact depends on, the pool of slots in which modules run, and the
//! thread that drives the clock by which running modules are stopped. Proposals that the contract does not need are
//! off, floats are canonical so that a replayed batch gives the same bytes, and traps carry no row data.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails};

use crate::contract::TransformModule;
use crate::error::SandboxError;
use crate::guest::Guest;

/// How often running modules are checked against their budget.
const TICK: Duration = Duration::from_millis(10);

/// The size of the pool. What does not fit waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineSettings {
    /// Sandboxes that can exist at once. Each reserves up to 16 GiB of address space (not of memory).
    pub slots: u32,
    /// The most that one memory of a module can grow to, whatever its task's limit says.
    pub memory_bytes_max: usize,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self { slots: 32, memory_bytes_max: 64 << 20 }
    }
}

/// The engine. Cloning shares it.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    wasm: wasmtime::Engine,
    linker: Linker<Guest>,
    ticker: Ticker,
}

impl Engine {
    /// Starts the engine and its clock thread.
    ///
    /// # Errors
    /// [`SandboxError::Start`] when the pool's address space cannot be reserved.
    pub fn new(settings: EngineSettings) -> Result<Self, SandboxError> {
        let mut pool = PoolingAllocationConfig::new();
        let slots = settings.slots;
        pool.total_component_instances(slots)
            .total_core_instances(slots.saturating_mul(8))
            .total_memories(slots.saturating_mul(4))
            .total_tables(slots.saturating_mul(8))
            .max_core_instances_per_component(100)
            .max_memories_per_component(4)
            .max_tables_per_component(20)
            .max_memory_size(settings.memory_bytes_max)
            .table_elements(100_000)
            .max_unused_warm_slots(slots / 4);
        let mut config = config();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let start = |error: wasmtime::Error| SandboxError::Start(format!("{error:#}"));
        let wasm = wasmtime::Engine::new(&config).map_err(start)?;
        let mut linker = Linker::new(&wasm);
        TransformModule::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest).map_err(start)?;
        let ticker = Ticker::start(&wasm)?;
        Ok(Self { shared: Arc::new(Shared { wasm, linker, ticker }) })
    }

    pub(crate) fn wasm(&self) -> &wasmtime::Engine {
        &self.shared.wasm
    }

    pub(crate) fn linker(&self) -> &Linker<Guest> {
        &self.shared.linker
    }

    /// Keeps the clock ticking while the guard lives.
    pub(crate) fn running(&self) -> Running<'_> {
        let ticker = &self.shared.ticker;
        if ticker.state.active.fetch_add(1, Ordering::AcqRel) == 0
            && let Some(thread) = &ticker.thread
        {
            thread.thread().unpark();
        }
        Running { ticker }
    }
}

/// The settings that compiled code depends on; the same in the process that compiles and in the one that runs.
pub(crate) fn config() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .epoch_interruption(true)
        .consume_fuel(false)
        .concurrency_support(false)
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .wasm_custom_page_sizes(false)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .generate_address_map(true)
        .max_wasm_stack(512 << 10);
    config
}

/// The thread that moves the epoch on while modules run, and sleeps otherwise.
struct Ticker {
    state: Arc<TickerState>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct TickerState {
    active: AtomicUsize,
    stopped: AtomicBool,
}

impl Ticker {
    fn start(engine: &wasmtime::Engine) -> Result<Self, SandboxError> {
        let state = Arc::new(TickerState::default());
        let (shared, engine) = (Arc::clone(&state), engine.clone());
        let run = move || {
            while !shared.stopped.load(Ordering::Acquire) {
                if shared.active.load(Ordering::Acquire) == 0 {
                    std::thread::park();
                } else {
                    std::thread::sleep(TICK);
                    engine.increment_epoch();
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("sandbox-clock".to_owned())
            .spawn(run)
            .map_err(|error| SandboxError::Start(format!("start the clock thread: {error}")))?;
        Ok(Self { state, thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // The thread only sleeps and counts; it cannot panic, and there is nobody to tell.
            let _ = thread.join();
        }
    }
}

/// A module is running.
pub(crate) struct Running<'a> {
    ticker: &'a Ticker,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.ticker.state.active.fetch_sub(1, Ordering::AcqRel);
    }
}
