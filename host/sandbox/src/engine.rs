//! The WebAssembly engine: one for each process.
//!
//! It holds the settings that every compiled artefact depends on, the pool of slots in which modules run, and the
//! thread that drives the clock by which running modules are stopped. Proposals that the contract does not need are
//! off, floats are canonical so that a replayed batch gives the same bytes, and traps carry no row data.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use wasmtime::component::Linker;
use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails};

use crate::budget::Pacer;
use crate::compile::MODULE_BYTES_MAX;
use crate::error::SandboxError;
use crate::guest::{Guest, link_host};
use crate::memory::MemoryPool;
use crate::slots::{Slots, reserve_of};

/// How often running modules are checked against their budget.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// The same while a call that is made to rest is awake. Its thread gives way to whoever wakes up, but one that has just given way to another
/// waits for the end of a module's turn, which the kernel makes some milliseconds long. So such a call rests before that.
const TICK_WHEN_RESTING: Duration = Duration::from_micros(200);

/// Core instances, memories and tables that one component may have: a JavaScript component has three memories and two
/// dozen core instances.
pub(crate) const CORE_INSTANCES: u32 = 100;
pub(crate) const MEMORIES: u32 = 4;
pub(crate) const TABLES: u32 = 20;
/// Elements of all its tables: function tables of large interpreters have about ten thousand.
pub(crate) const TABLE_ELEMENTS: usize = 100_000;

/// What the process gives to modules altogether. What does not fit waits, and costs nobody but the one who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineSettings {
    /// Sandboxes of tenants' modules that can be at work at once; an eighth as many of built-in ones can, beside them. Each reserves up to
    /// 16 GiB of address space (not of memory).
    pub slots: u32,
    /// The most that one memory of a module can grow to, whatever its limits say.
    pub memory_bytes_max: usize,
    /// The most that all memories of all sandboxes hold together; tenants' modules leave an eighth of it to built-in ones. A growth beyond it
    /// is refused.
    pub total_memory_bytes_max: usize,
    /// Largest upload.
    pub module_bytes_max: usize,
    /// Stack of a module; a deeper recursion traps. The threads that call modules need 1 MiB more than this.
    pub stack_bytes_max: usize,
    /// How long a sandbox waits for a slot.
    pub slot_patience: Duration,
    /// Counts the fuel that calls use, in [`crate::Usage::fuel`]. Off by default; `ARCHITECTURE.md` says why.
    pub meters_fuel: bool,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            slots: 128,
            memory_bytes_max: 512 << 20,
            total_memory_bytes_max: 1 << 30,
            module_bytes_max: MODULE_BYTES_MAX,
            stack_bytes_max: 512 << 10,
            slot_patience: Duration::from_secs(5),
            meters_fuel: false,
        }
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
    settings: EngineSettings,
    memory: Arc<MemoryPool>,
    slots: Arc<Slots>,
    pacer: Pacer,
}

impl Engine {
    /// Starts the engine and its clock thread.
    ///
    /// # Errors
    /// [`SandboxError::Start`] when the pool's address space cannot be reserved.
    pub fn new(settings: EngineSettings) -> Result<Self, SandboxError> {
        Self::with(settings, config(settings.meters_fuel))
    }

    /// The same with what compiled code depends on.
    pub(crate) fn with(settings: EngineSettings, mut config: Config) -> Result<Self, SandboxError> {
        let mut pool = PoolingAllocationConfig::new();
        let slots = settings.slots.saturating_add(reserve_of(settings.slots));
        pool.total_component_instances(slots)
            .total_core_instances(slots.saturating_mul(CORE_INSTANCES))
            .total_memories(slots.saturating_mul(MEMORIES))
            .total_tables(slots.saturating_mul(TABLES))
            .max_core_instances_per_component(CORE_INSTANCES)
            .max_memories_per_component(MEMORIES)
            .max_tables_per_component(TABLES)
            .max_memory_size(settings.memory_bytes_max)
            .table_elements(TABLE_ELEMENTS)
            .max_unused_warm_slots(slots / 4);
        config.max_wasm_stack(settings.stack_bytes_max);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let start = |error: wasmtime::Error| SandboxError::Start(format!("{error:#}"));
        let wasm = wasmtime::Engine::new(&config).map_err(start)?;
        let mut linker = Linker::new(&wasm);
        link_host(&mut linker).map_err(start)?;
        let pacer = Pacer::default();
        let ticker = Ticker::start(&wasm, pacer.clone())?;
        let memory = Arc::new(MemoryPool::new(settings.total_memory_bytes_max));
        let slots = Arc::new(Slots::new(settings.slots));
        Ok(Self { shared: Arc::new(Shared { wasm, linker, ticker, settings, memory, slots, pacer }) })
    }

    /// Linear memory that all sandboxes hold now, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.shared.memory.used()
    }

    /// Sandboxes that hold a slot: of tenants' modules, and of built-in ones.
    pub fn sandboxes(&self) -> (usize, usize) {
        self.shared.slots.held()
    }

    /// How often an idle sandbox gave up its instance because somebody needed a slot or memory.
    pub fn given_up(&self) -> u64 {
        self.shared.slots.given_up()
    }

    /// Calls of modules that are under way, resting ones too.
    pub fn calls(&self) -> usize {
        self.shared.ticker.state.active.load(Ordering::Acquire)
    }

    /// What the engine was started with.
    pub fn settings(&self) -> &EngineSettings {
        &self.shared.settings
    }

    /// True when both are one engine: code that is linked for one cannot run in another.
    pub(crate) fn is(&self, other: &Engine) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    pub(crate) fn pacer(&self) -> Pacer {
        self.shared.pacer.clone()
    }

    pub(crate) fn memory_pool(&self) -> Arc<MemoryPool> {
        Arc::clone(&self.shared.memory)
    }

    pub(crate) fn slots(&self) -> &Arc<Slots> {
        &self.shared.slots
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
pub(crate) fn config(meters_fuel: bool) -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .epoch_interruption(true)
        .consume_fuel(meters_fuel)
        .concurrency_support(false)
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .wasm_custom_page_sizes(false)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .generate_address_map(true);
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
    fn start(engine: &wasmtime::Engine, pacer: Pacer) -> Result<Self, SandboxError> {
        let state = Arc::new(TickerState::default());
        let (shared, engine, paces) = (Arc::clone(&state), engine.clone(), pacer.clone());
        let run = move || {
            while !shared.stopped.load(Ordering::Acquire) {
                if shared.active.load(Ordering::Acquire) == 0 {
                    std::thread::park();
                    continue;
                }
                if pacer.awake() == 0 {
                    let since = Instant::now();
                    std::thread::park_timeout(TICK);
                    if since.elapsed() < TICK {
                        // A call has woken up, and may run for a while. Or it is the end.
                        continue;
                    }
                } else {
                    std::thread::sleep(TICK_WHEN_RESTING);
                }
                engine.increment_epoch();
            }
        };
        let thread = std::thread::Builder::new()
            .name("sandbox-clock".to_owned())
            .spawn(run)
            .map_err(|error| SandboxError::Start(format!("start the clock thread: {error}")))?;
        paces.set_clock(thread.thread().clone());
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
