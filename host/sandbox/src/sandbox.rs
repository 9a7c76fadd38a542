//! One running module.
//!
//! ```text
//!   new ─▶ live ──trap, limit, cancellation──▶ ended ──replace──▶ live (tables are planned again when they are used)
//!             ├──────────worn, at the next batch──────────────────┤
//!             └──between calls, when others need its slot──▶ given up ──the next call──▶ live
//! ```

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tidegate_model::{SqlType, TableSchema};
use wasmtime::{Store, Trap};

use crate::batch::Batch;
use crate::budget::{Budget, Stop};
use crate::compile::Compiled;
use crate::contract::TransformModule;
use crate::contract::tidegate::transform::types as wit;
use crate::convert;
use crate::engine::Engine;
use crate::error::SandboxError;
use crate::guest::{Guest, Limits, MESSAGE_BYTES_MAX, Refused};
use crate::input::InputSource;
use crate::plan::{Output, PlanInput, PlanOutcome, TablePlan};
use crate::plan_check;
use crate::plan_size::{PlanRoom, Size};
use crate::resident::{Inside, Live, Pace, Place};
use crate::result::{BatchResult, Wanted};
use crate::slots::Wish;
use crate::threads::give_way;
use crate::told::{LogLine, Told, cut};
use crate::usage::Usage;

/// Most bytes of a configuration.
const CONFIG_BYTES_MAX: usize = 1 << 20;
/// Most tables planned in one sandbox.
const TABLES_MAX: usize = 10_000;
/// Memory that the answers of `describe` and `plan` may make the host allocate, however much a batch's answer may have: a plan that renames
/// each of 4,096 columns, the most that a database of today has, takes 0.7 MiB.
const ANSWER_BYTES_MAX: usize = 2 << 20;
/// Bytes of the JSON schema of a configuration, which the catalog keeps with each version of a module.
const CONFIG_SCHEMA_BYTES_MAX: usize = 64 << 10;
/// What the runtime says when an answer is larger than `set_hostcall_fuel` allows; its type is not public. Source:
/// wasmtime 48, `HostcallFuelExhausted`; the test of an answer of 20 MiB notices another wording.
const OUTPUT_CAUSE: &str = "fuel allocated for hostcalls has been exhausted";
/// A call that took longer is no ordinary one, unless it had many rows: the next one of its instance gives way.
const ORDINARY: Duration = Duration::from_millis(1);

/// The same for each row. The slowest module that was measured, an example in JavaScript as it was at first, took 50 µs.
const ORDINARY_ROW: Duration = Duration::from_micros(100);

/// An instance is replaced after so many batches, so much time, or when it holds three quarters of the memory that it
/// may have: interpreters leak.
const WORN_BATCHES: u64 = 100_000;
const WORN_AGE: Duration = Duration::from_secs(3600);
/// An instance that needs so much memory from the start is not replaced for it all the time.
const WORN_MEMORY_BATCHES: u64 = 64;
/// Fuel of a call where fuel is metered: never used up, since the clock stops a call long before.
pub(crate) const FUEL: u64 = u64::MAX / 2;

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

/// A module for one task on one worker. Its calls run on the caller's thread.
pub struct Sandbox {
    pub(crate) engine: Engine,
    pub(crate) compiled: Compiled,
    pub(crate) limits: Limits,
    pub(crate) state: State,
    pub(crate) tables: HashMap<u32, PlannedTable>,
    room: PlanRoom,
    pub(crate) cancel: Arc<AtomicBool>,
    pub(crate) usage: Usage,
    pub(crate) told: Told,
    /// The configuration planned with last: a task's tables mostly share it.
    config: Arc<str>,
    pub(crate) wish: Wish,
    /// Where the instance is between calls.
    pub(crate) place: Arc<Place>,
}

pub(crate) enum State {
    /// During a call.
    Live(Box<Live>),
    /// Between calls: the instance is in the sandbox's [`Place`], unless others needed its slot.
    Resting,
    /// The error that ended the instance.
    Ended(SandboxError),
}

/// What is needed to check the batches and answers of a table, and to plan it again.
pub(crate) struct PlannedTable {
    schema: TableSchema,
    target: tidegate_model::Engine,
    config: Arc<str>,
    /// Without its notes, which are for people.
    plan: TablePlan,
    size: Size,
    input_types: Vec<SqlType>,
    computed: Vec<Output>,
    /// The present instance knows the plan.
    pub(crate) known: bool,
}

impl Sandbox {
    /// Starts an instance. Limits of the module's own ([`Compiled::limited`]) stand in place of `limits`. Waits for a
    /// slot as long as the engine's settings say.
    ///
    /// # Errors
    /// [`SandboxError::NoSlot`], [`SandboxError::TenantSandboxes`] and [`SandboxError::Instances`] when there is no slot, none within the
    /// tenant's share, or none within the module's limit; [`SandboxError::Memory`] when it needs more memory than it may have,
    /// [`SandboxError::Start`] or [`SandboxError::Trap`] otherwise.
    pub fn new(engine: &Engine, module: &Compiled, limits: Limits) -> Result<Self, SandboxError> {
        let limits = module.limits_or(limits);
        let mut sandbox = Self {
            engine: engine.clone(),
            wish: Wish { share: module.share().cloned(), count: module.count().clone(), instances_max: limits.instances_max },
            compiled: module.clone(),
            limits,
            state: State::Resting,
            tables: HashMap::new(),
            room: PlanRoom::default(),
            cancel: Arc::new(AtomicBool::new(false)),
            usage: Usage { fuel: engine.settings().meters_fuel.then_some(0), ..Usage::default() },
            told: Told::default(),
            config: Arc::from(""),
            place: Arc::default(),
        };
        sandbox.replace()?;
        Ok(sandbox)
    }

    /// Setting the flag stops a running call within about 5 ms, and every later one.
    pub fn cancel_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.cancel)
    }

    /// Asks the module who it is.
    ///
    /// # Errors
    /// [`SandboxError`] as for every call.
    pub fn describe(&mut self) -> Result<ModuleInfo, SandboxError> {
        let info = self.held(|sandbox| {
            let cpu = sandbox.limits.plan_cpu;
            sandbox.call("describe", cpu, |module, store| module.tidegate_transform_transformer().call_describe(store))
        })?;
        if let Some(schema) = info.config_schema.as_ref().filter(|schema| schema.len() > CONFIG_SCHEMA_BYTES_MAX) {
            let bytes = schema.len();
            let what = format!("the schema of its configuration has {bytes} bytes, more than {CONFIG_SCHEMA_BYTES_MAX}");
            return Err(SandboxError::malformed(what));
        }
        let short = |text: String| cut(&text, MESSAGE_BYTES_MAX);
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
        let outcome = self.held(|sandbox| sandbox.call_plan(table, input, config))?;
        self.unplan(table);
        if let PlanOutcome::Include(plan) = &outcome {
            plan_check::check(plan, input.schema)?;
            let size = Size::of(plan, input.schema);
            self.room.take(size).map_err(|problem| SandboxError::plan(format!("table \"{}\": {problem}", input.schema.name)))?;
            let input_types = plan
                .rows
                .iter()
                .flat_map(|rows| &rows.inputs)
                .filter_map(|name| InputSource::find(name, input.schema).map(|source| source.sql_type(input.schema)));
            let planned = PlannedTable {
                schema: input.schema.clone(),
                target: input.target,
                config: self.shared_config(config),
                input_types: input_types.collect(),
                computed: plan.computed().cloned().collect(),
                plan: TablePlan { notes: Vec::new(), ..plan.clone() },
                size,
                known: true,
            };
            self.tables.insert(table, planned);
        }
        Ok(outcome)
    }

    fn unplan(&mut self, table: u32) {
        if let Some(planned) = self.tables.remove(&table) {
            self.room.give_back(planned.size);
        }
    }

    fn call_plan(&mut self, table: u32, input: &PlanInput<'_>, config: &str) -> Result<PlanOutcome, SandboxError> {
        let schema = convert::schema_to_wit(input);
        let outcome = self.call("plan", self.limits.plan_cpu, |module, store| {
            module.tidegate_transform_transformer().call_plan(store, table, &schema, config)
        })?;
        let outcome = outcome.map_err(|error| SandboxError::Plan {
            config_path: error.config_path.map(|path| cut(&path, MESSAGE_BYTES_MAX)),
            message: cut(&error.message, MESSAGE_BYTES_MAX),
        })?;
        convert::outcome_from_wit(outcome, input.schema)
    }

    fn shared_config(&mut self, config: &str) -> Arc<str> {
        if *self.config != *config {
            self.config = Arc::from(config);
        }
        Arc::clone(&self.config)
    }

    /// Makes sure that the present instance knows a table, and that it plans it as the one before did.
    fn plan_again(&mut self, table: u32) -> Result<(), SandboxError> {
        let Some(planned) = self.tables.get(&table).filter(|planned| !planned.known) else { return Ok(()) };
        let (schema, config) = (planned.schema.clone(), Arc::clone(&planned.config));
        let input = PlanInput { schema: &schema, target: planned.target };
        let mut outcome = self.call_plan(table, &input, &config)?;
        if let PlanOutcome::Include(plan) = &mut outcome {
            plan.notes.clear();
        }
        match (self.tables.get_mut(&table), outcome) {
            (Some(planned), PlanOutcome::Include(plan)) if plan == planned.plan => {
                planned.known = true;
                Ok(())
            }
            _ => Err(SandboxError::Changed { table }),
        }
    }

    /// Passes a batch through the module. The answer has been checked. A worn instance is replaced before.
    ///
    /// # Errors
    /// [`SandboxError`]; see [`SandboxError::leaves_usable`]. A limit's verdict may differ between two runs.
    pub fn transform(&mut self, table: u32, batch: &Batch) -> Result<BatchResult, SandboxError> {
        let misuse = |problem| SandboxError::Misuse { table, problem };
        let planned = self.tables.get(&table).ok_or(misuse("it has no plan"))?;
        let rows = planned.plan.rows.as_ref().ok_or(misuse("its plan has no row-level work"))?;
        if !batch.has_form(&planned.input_types, rows.text_layout) {
            return Err(misuse("the batch has other columns than the plan asks for"));
        }
        let answer = self.held(|sandbox| sandbox.call_transform(table, batch))?;
        let answer = answer.map_err(|message| SandboxError::Module(cut(&message, MESSAGE_BYTES_MAX)))?;
        let planned = self.tables.get(&table).ok_or(misuse("it has no plan"))?;
        let count = batch.rows();
        let (filters, partial_images) = planned.plan.rows.as_ref().map_or((false, false), |rows| (rows.filters, rows.partial_images));
        let wanted = Wanted { rows: count, input_bytes: batch.bytes(), computed: &planned.computed, filters, partial_images };
        let result = BatchResult::check(answer, &wanted)?;
        self.usage.rows_rejected += result.errors().len() as u64;
        self.usage.rows_dropped += result.dropped() as u64;
        self.usage.output_bytes += result.bytes() as u64;
        Ok(result)
    }

    fn call_transform(&mut self, table: u32, batch: &Batch) -> Result<Result<wit::BatchResult, String>, SandboxError> {
        if self.is_worn() {
            self.renew()?;
        }
        self.plan_again(table)?;
        let count = batch.rows();
        let cpu = self.limits.transform_cpu + self.limits.transform_cpu_per_row * count as u32;
        self.usage.batches += 1;
        self.usage.rows += count as u64;
        self.usage.input_bytes += batch.bytes() as u64;
        if let State::Live(live) = &mut self.state {
            live.batches += 1;
        }
        let before = self.usage.cpu;
        let answer =
            self.call("transform", cpu, |module, store| module.tidegate_transform_transformer().call_transform(store, table, &batch.wit))?;
        let used = self.usage.cpu.saturating_sub(before);
        if let State::Live(live) = &mut self.state {
            let took_long = used > ORDINARY.max(ORDINARY_ROW * count as u32);
            live.pace = match (took_long, live.store.data().budget.is_exact()) {
                (false, _) => Pace::Ordinary,
                (true, false) => Pace::Doubtful,
                (true, true) => Pace::Slow,
            };
        }
        Ok(answer)
    }

    /// Tells the module that the table left the task or has a new schema. An instance that never heard of the table is not told, and
    /// none is started for it.
    ///
    /// # Errors
    /// [`SandboxError`] as for every call.
    pub fn forget(&mut self, table: u32) -> Result<(), SandboxError> {
        // Of a table that the module left out there is no plan here.
        let is_known = self.tables.get(&table).is_none_or(|planned| planned.known);
        self.unplan(table);
        let cpu = self.limits.plan_cpu;
        self.with_live(|sandbox| match sandbox.state {
            State::Live(_) if is_known => {
                sandbox.call("forget", cpu, |module, store| module.tidegate_transform_transformer().call_forget(store, table))
            }
            State::Live(_) | State::Resting | State::Ended(_) => Ok(()),
        })
    }

    /// What the module logged since the last time, and how many lines were dropped.
    pub fn take_logs(&mut self) -> (Vec<LogLine>, u64) {
        self.hear();
        self.told.take_lines()
    }

    /// What the module counted since the last time, over all its instances.
    pub fn take_counts(&mut self) -> Vec<(String, u64)> {
        self.hear();
        self.told.take_counts()
    }

    /// What it has used so far, over all its instances.
    pub fn usage(&self) -> Usage {
        let memory_bytes = if self.is_given_up() { 0 } else { self.usage.memory_bytes };
        Usage { memory_bytes, ..self.usage }
    }

    /// What it may use: the module's own limits, or those that it was started with.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// True when the instance is replaced before the next batch, although nothing is wrong.
    pub fn is_worn(&self) -> bool {
        let is_worn = |live: &Live| {
            let full = live.store.data().memory_bytes > self.limits.memory_bytes_max / 4 * 3 && live.batches >= WORN_MEMORY_BATCHES;
            full || live.batches >= WORN_BATCHES || live.started.elapsed() >= WORN_AGE
        };
        match &self.state {
            State::Live(live) => is_worn(live),
            State::Resting => matches!(&*self.place.lock(), Inside::Live(live) if is_worn(live)),
            State::Ended(_) => false,
        }
    }

    fn call<R>(
        &mut self,
        name: &'static str,
        cpu: Duration,
        run: impl FnOnce(&TransformModule, &mut Store<Guest>) -> wasmtime::Result<R>,
    ) -> Result<R, SandboxError> {
        let meters_fuel = self.engine.settings().meters_fuel;
        let live = match &mut self.state {
            State::Live(live) => live,
            State::Ended(error) => return Err(SandboxError::Start(format!("an earlier call ended it: {error}"))),
            State::Resting => return Err(SandboxError::Start("it rests".to_owned())),
        };
        let mut budget = Budget::new(cpu, live.usual, Arc::clone(&self.cancel));
        if self.compiled.count().is_suspect() {
            budget.rest_from_now_on(&self.engine.pacer());
        } else if matches!(live.pace, Pace::Unknown | Pace::Slow) {
            give_way();
        }
        if live.pace != Pace::Ordinary {
            budget.ask_clock();
        }
        if budget.is_cancelled() {
            return Err(SandboxError::Cancelled);
        }
        let guest = live.store.data_mut();
        guest.budget = budget;
        guest.refused = None;
        live.store.set_hostcall_fuel(answer_bytes_max(name, &self.limits));
        live.store.set_epoch_deadline(1);
        if meters_fuel {
            live.store.set_fuel(FUEL).map_err(|error| SandboxError::Start(format!("{error:#}")))?;
        }
        let answer = {
            let _running = self.engine.running();
            run(&live.module, &mut live.store)
        };
        let budget = &mut live.store.data_mut().budget;
        budget.end();
        let used = budget.cpu_used();
        self.usage.cpu += used;
        if answer.is_ok() {
            live.usual = (live.usual * 3 + used) / 4;
        }
        if let (Some(total), Ok(left)) = (&mut self.usage.fuel, live.store.get_fuel()) {
            *total += FUEL.saturating_sub(left);
        }
        let result = match answer {
            Ok(answer) => Ok(answer),
            Err(error) => Err(match &self.state {
                State::Live(live) => self.failure(name, &error, live.store.data()),
                State::Ended(error) => error.clone(),
                State::Resting => SandboxError::Start("it rests".to_owned()),
            }),
        };
        self.note_memory();
        match &result {
            // A plan says nothing about batches.
            Ok(_) if name == "transform" => self.compiled.count().answered(),
            Err(error) if error.exhausts() => self.compiled.count().exhausted(),
            Ok(_) | Err(_) => {}
        }
        result.inspect_err(|error| {
            self.usage.failures += 1;
            self.end(error.clone());
        })
    }

    pub(crate) fn failure(&self, call: &'static str, error: &wasmtime::Error, guest: &Guest) -> SandboxError {
        if let Some(stop) = error.downcast_ref::<Stop>() {
            return stopped(call, *stop);
        }
        match guest.refused {
            Some(Refused::ByLimit) => return SandboxError::Memory { call, bytes_max: guest.memory_bytes_max },
            Some(Refused::ByPool(lack)) => return guest.no_memory(lack),
            Some(Refused::ForEver(bytes)) => return guest.beyond_share(call, bytes),
            None => {}
        }
        if error.downcast_ref::<Trap>() == Some(&Trap::StackOverflow) {
            return SandboxError::Stack { call, bytes_max: self.engine.settings().stack_bytes_max };
        }
        let cause = error.root_cause().to_string();
        if cause.contains(OUTPUT_CAUSE) {
            return SandboxError::Output { call, bytes_max: answer_bytes_max(call, &self.limits) };
        }
        // The cause first, then where in the module: a deep recursion fills the rest.
        SandboxError::Trap { call, message: cut(&format!("{cause}; {error}"), MESSAGE_BYTES_MAX) }
    }
}

/// What a call may make the host allocate for its answer, and for each line and name that it passes meanwhile.
pub(crate) fn answer_bytes_max(call: &str, limits: &Limits) -> usize {
    if call == "transform" { limits.result_bytes_max } else { limits.result_bytes_max.min(ANSWER_BYTES_MAX) }
}

fn stopped(call: &'static str, stop: Stop) -> SandboxError {
    match stop {
        Stop::Cpu { used, allowed } => SandboxError::Timeout { call, clock: "CPU", used, allowed },
        Stop::Wall { used, allowed } => SandboxError::Timeout { call, clock: "wall-clock", used, allowed },
        Stop::Cancelled => SandboxError::Cancelled,
    }
}
