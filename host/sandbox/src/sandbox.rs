//! One running module.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use wasmtime::{PoolConcurrencyLimitError, Store, Trap, UpdateDeadline};

use crate::batch::Batch;
use crate::budget::{Budget, Stop};
use crate::compile::Compiled;
use crate::contract::TransformModule;
use crate::convert;
use crate::engine::Engine;
use crate::error::SandboxError;
use crate::guest::{Guest, Limits, LogLine, cut};
use crate::input::InputSource;
use crate::plan::{Output, PlanInput, PlanOutcome, RowPlan};
use crate::plan_check;
use crate::result::{BatchResult, Wanted};
use tidegate_model::SqlType;

/// Most bytes of a configuration.
const CONFIG_BYTES_MAX: usize = 1 << 20;
/// Most tables planned in one sandbox.
const TABLES_MAX: usize = 10_000;
/// Bytes kept of a module's messages.
const MESSAGE_BYTES_MAX: usize = 4096;
/// A sandbox is replaced after so many batches, so much time, or above this share of its memory: interpreters leak.
const WORN_BATCHES: u64 = 100_000;
const WORN_AGE: Duration = Duration::from_secs(3600);

/// What a module says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleInfo {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// JSON Schema of its configuration.
    pub config_schema: Option<String>,
}

/// What a sandbox has used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Calls of `transform`.
    pub batches: u64,
    /// Rows in them.
    pub rows: u64,
    /// CPU time of all calls.
    pub cpu: Duration,
    /// Linear memory held.
    pub memory_bytes: usize,
}

/// One instance of a module, for one task on one worker. Its calls run on the caller's thread.
pub struct Sandbox {
    engine: Engine,
    store: Store<Guest>,
    module: TransformModule,
    limits: Limits,
    tables: HashMap<u32, PlannedTable>,
    cancel: Arc<AtomicBool>,
    started: Instant,
    usage: Usage,
    ended: Option<SandboxError>,
}

/// What is needed to check the batches and answers of a table.
struct PlannedTable {
    input_types: Vec<SqlType>,
    computed: Vec<Output>,
    rows: Option<RowPlan>,
}

impl Sandbox {
    /// Starts an instance.
    ///
    /// # Errors
    /// [`SandboxError::NoSlot`] when the pool is full, [`SandboxError::Memory`] when the module needs more memory than
    /// `limits` allow, [`SandboxError::Start`] or [`SandboxError::Trap`] otherwise.
    pub fn new(engine: &Engine, module: &Compiled, limits: Limits) -> Result<Self, SandboxError> {
        let cancel = Arc::new(AtomicBool::new(false));
        let mut store = Store::new(engine.wasm(), Guest::new(&limits, Arc::clone(&cancel)));
        store.limiter(|guest| guest);
        store.set_hostcall_fuel(limits.result_bytes_max);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|context| match context.data().budget.check() {
            Ok(()) => Ok(UpdateDeadline::Continue(1)),
            Err(stop) => Err(wasmtime::Error::new(stop)),
        });
        let running = engine.running();
        let instance = module.pre().instantiate(&mut store);
        drop(running);
        let module = match instance {
            Ok(module) => module,
            Err(error) if error.is::<PoolConcurrencyLimitError>() => return Err(SandboxError::NoSlot),
            Err(error) if error.is::<Trap>() || error.is::<Stop>() || store.data().memory_refused => {
                return Err(failure("start", &error, store.data()));
            }
            Err(error) => return Err(SandboxError::Start(format!("{error:#}"))),
        };
        Ok(Self {
            engine: engine.clone(),
            store,
            module,
            limits,
            tables: HashMap::new(),
            cancel,
            started: Instant::now(),
            usage: Usage::default(),
            ended: None,
        })
    }

    /// Setting the flag stops a running call within about 10 ms, and every later one.
    pub fn cancel_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.cancel)
    }

    /// Asks the module who it is.
    ///
    /// # Errors
    /// [`SandboxError`] as for every call.
    pub fn describe(&mut self) -> Result<ModuleInfo, SandboxError> {
        let info =
            self.call("describe", self.limits.plan_cpu, |module, store| module.tidegate_transform_transformer().call_describe(store))?;
        let short = |text| cut(text, MESSAGE_BYTES_MAX);
        Ok(ModuleInfo { name: short(info.name), version: short(info.version), config_schema: info.config_schema })
    }

    /// Asks what to do with a table. `table` is a number of the caller's choice that names it in later calls; planning
    /// it again replaces the plan. The answer has been checked against the schema.
    ///
    /// # Errors
    /// [`SandboxError::Plan`] when the module refuses the configuration or its plan does not fit the table.
    pub fn plan(&mut self, table: u32, input: &PlanInput<'_>, config: &str) -> Result<PlanOutcome, SandboxError> {
        if config.len() > CONFIG_BYTES_MAX {
            return Err(SandboxError::plan(format!("the configuration has {} bytes, more than {CONFIG_BYTES_MAX}", config.len())));
        }
        if self.tables.len() >= TABLES_MAX && !self.tables.contains_key(&table) {
            return Err(SandboxError::plan(format!("more than {TABLES_MAX} tables in one task")));
        }
        let schema = convert::schema_to_wit(input);
        let outcome = self.call("plan", self.limits.plan_cpu, |module, store| {
            module.tidegate_transform_transformer().call_plan(store, table, &schema, config)
        })?;
        let outcome = outcome.map_err(|error| SandboxError::Plan {
            config_path: error.config_path.map(|path| cut(path, MESSAGE_BYTES_MAX)),
            message: cut(error.message, MESSAGE_BYTES_MAX),
        })?;
        let outcome = convert::outcome_from_wit(outcome);
        self.tables.remove(&table);
        if let PlanOutcome::Include(plan) = &outcome {
            plan_check::check(plan, input.schema)?;
            let input_types = plan
                .rows
                .iter()
                .flat_map(|rows| &rows.inputs)
                .filter_map(|name| InputSource::find(name, input.schema).map(|source| source.sql_type(input.schema)));
            let planned =
                PlannedTable { input_types: input_types.collect(), computed: plan.computed().cloned().collect(), rows: plan.rows.clone() };
            self.tables.insert(table, planned);
        }
        Ok(outcome)
    }

    /// Passes a batch through the module. The answer has been checked.
    ///
    /// # Errors
    /// [`SandboxError`]; see [`SandboxError::leaves_usable`]. A limit's verdict may differ between two runs.
    pub fn transform(&mut self, table: u32, batch: &Batch) -> Result<BatchResult, SandboxError> {
        let misuse = |problem| SandboxError::Misuse { table, problem };
        let planned = self.tables.get(&table).ok_or(misuse("it has no plan"))?;
        let rows = planned.rows.as_ref().ok_or(misuse("its plan has no row-level work"))?;
        if !batch.has_form(&planned.input_types, rows.text_layout) {
            return Err(misuse("the batch has other columns than the plan asks for"));
        }
        let count = batch.rows();
        let cpu = self.limits.transform_cpu + self.limits.transform_cpu_per_row * count as u32;
        let answer =
            self.call("transform", cpu, |module, store| module.tidegate_transform_transformer().call_transform(store, table, &batch.wit))?;
        self.usage.batches += 1;
        self.usage.rows += count as u64;
        let answer = answer.map_err(|message| SandboxError::Module(cut(message, MESSAGE_BYTES_MAX)))?;
        let planned = self.tables.get(&table).ok_or(misuse("it has no plan"))?;
        let (filters, partial_images) = planned.rows.as_ref().map_or((false, false), |rows| (rows.filters, rows.partial_images));
        let wanted = Wanted { rows: count, input_bytes: batch.bytes(), computed: &planned.computed, filters, partial_images };
        BatchResult::check(answer, &wanted)
    }

    /// Tells the module that the table left the task or has a new schema.
    ///
    /// # Errors
    /// [`SandboxError`] as for every call.
    pub fn forget(&mut self, table: u32) -> Result<(), SandboxError> {
        self.tables.remove(&table);
        self.call("forget", self.limits.plan_cpu, |module, store| module.tidegate_transform_transformer().call_forget(store, table))
    }

    /// What the module logged since the last time, and how many lines were dropped.
    pub fn take_logs(&mut self) -> (Vec<LogLine>, u64) {
        let guest = self.store.data_mut();
        (std::mem::take(&mut guest.logs), std::mem::take(&mut guest.logs_dropped))
    }

    /// What the module counted since the last time.
    pub fn take_counts(&mut self) -> Vec<(String, u64)> {
        let counts = &mut self.store.data_mut().counts;
        // The names stay, so that a module cannot have more than its number of counters by waiting.
        counts.iter_mut().filter(|(_, total)| **total > 0).map(|(name, total)| (name.clone(), std::mem::take(total))).collect()
    }

    /// What it has used so far.
    pub fn usage(&self) -> Usage {
        Usage { memory_bytes: self.store.data().memory_bytes, ..self.usage }
    }

    /// True when it should be replaced before the next batch, although nothing is wrong.
    pub fn is_worn(&self) -> bool {
        let memory = self.store.data().memory_bytes > self.limits.memory_bytes_max / 4 * 3;
        memory || self.usage.batches >= WORN_BATCHES || self.started.elapsed() >= WORN_AGE
    }

    fn call<R>(
        &mut self,
        name: &'static str,
        cpu: Duration,
        run: impl FnOnce(&TransformModule, &mut Store<Guest>) -> wasmtime::Result<R>,
    ) -> Result<R, SandboxError> {
        if let Some(ended) = &self.ended {
            return Err(SandboxError::Start(format!("an earlier call ended it: {ended}")));
        }
        let budget = Budget::new(cpu, Arc::clone(&self.cancel));
        budget.check().map_err(|stop| stopped(name, stop))?;
        let guest = self.store.data_mut();
        guest.budget = budget;
        guest.memory_refused = false;
        self.store.set_epoch_deadline(1);
        let answer = {
            let _running = self.engine.running();
            run(&self.module, &mut self.store)
        };
        self.usage.cpu += self.store.data().budget.cpu_used();
        answer.map_err(|error| {
            let error = failure(name, &error, self.store.data());
            self.ended = Some(error.clone());
            error
        })
    }
}

fn failure(call: &'static str, error: &wasmtime::Error, guest: &Guest) -> SandboxError {
    if let Some(stop) = error.downcast_ref::<Stop>() {
        return stopped(call, *stop);
    }
    if guest.memory_refused {
        return SandboxError::Memory { call, bytes_max: guest.memory_bytes_max };
    }
    // The cause first, then where in the module: a deep recursion fills the rest.
    SandboxError::Trap { call, message: cut(format!("{}; {error}", error.root_cause()), MESSAGE_BYTES_MAX) }
}

fn stopped(call: &'static str, stop: Stop) -> SandboxError {
    match stop {
        Stop::Cpu { used, allowed } => SandboxError::Timeout { call, clock: "CPU", used, allowed },
        Stop::Wall { used, allowed } => SandboxError::Timeout { call, clock: "wall-clock", used, allowed },
        Stop::Cancelled => SandboxError::Cancelled,
    }
}
