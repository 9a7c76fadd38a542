//! The sandboxes of one worker: plans tables with them and judges row images. Runs on a blocking thread.
//!
//! A batch that a module fails on is sent once more, to a fresh sandbox, because a limit on time can strike by chance.
//! Fails it again, and the task goes on without rows at fault, then it is halved until those rows are found; each
//! sandbox that trapped is replaced.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use tidegate_connector::{ConnectorError, RowFault, SourceTable};
use tidegate_model::{RowBatch, SqlType};
use tidegate_sandbox::{Batch, BatchBuilder, BatchResult, PlanInput, PlanOutcome, Sandbox, SandboxError, TextLayout, Usage};

use crate::board::now_us;
use crate::halving::Halving;
use crate::header::ImageHeader;
use crate::images::{Images, Judged, LoadedRows, Sent, row_error};
use crate::known_tables::KnownTables;
use crate::modules::Modules;
use crate::plan::{Draft, PlannedTable, Stage};
use crate::rejection::Rejection;
use crate::row_errors::{RowErrors, is_of_rows};
use crate::task::TaskError;

/// The code of an error that says that the process has no room for another sandbox now.
pub(crate) const NO_ROOM: &str = "sandbox_slots";

/// The code of an error that says that the tenant's modules have what they may have of it.
const TENANT_SHARE: &str = "sandbox_share";

/// True for the code of an error that says that a further sandbox cannot be had now.
pub(crate) fn is_no_room(code: &str) -> bool {
    code == NO_ROOM || code == TENANT_SHARE
}

/// Images in one call of a module: a call costs about a microsecond, so more brings little and holds more memory. A power of two, for
/// which answers are found by their rows' places as they are.
const BATCH_ROWS: usize = 1_024;

/// Bytes of values that a batch's buffers may have held to be kept for the next one.
const SPARE_BYTES_MAX: usize = 1 << 20;

/// Tables that one sandbox knows; then a fresh one takes its place, which learns those that come. A sandbox has a limit of its own, and what
/// a module keeps of each table is in the memory that it may have.
const TABLES_OF_SANDBOX: usize = 4_096;

/// The code of a row error by which a module that takes partial images says that this one lacks what it must know.
const NOT_LOGGED: &str = "not-logged";

/// The code of the rules module for values that a mask cannot be applied to.
const MASK_FAILED: &str = "mask-failed";

/// See the module's documentation.
pub(crate) struct Guests {
    modules: Arc<Modules>,
    row_errors: Arc<RowErrors>,
    sandboxes: HashMap<usize, Guest>,
    /// The buffers of each module's last batch.
    spares: HashMap<usize, Spare>,
    known: KnownTables,
}

/// Empty buffers for columns of these types.
struct Spare {
    types: Vec<SqlType>,
    layout: TextLayout,
    builder: BatchBuilder,
}

struct Guest {
    sandbox: Sandbox,
    /// Tables that this sandbox knows.
    tables: HashSet<u32>,
}

impl Guests {
    pub(crate) fn new(modules: Arc<Modules>, row_errors: Arc<RowErrors>) -> Self {
        Self { modules, row_errors, sandboxes: HashMap::new(), spares: HashMap::new(), known: KnownTables::default() }
    }

    /// What the modules make of a table; `None` when one leaves it out.
    pub(crate) fn plan(&mut self, source: Arc<SourceTable>) -> Result<Option<PlannedTable>, TaskError> {
        self.forget_gone();
        let planned = self.plan_anew(source)?;
        planned.iter().for_each(|planned| self.known.hold(planned));
        Ok(planned)
    }

    fn plan_anew(&mut self, source: Arc<SourceTable>) -> Result<Option<PlannedTable>, TaskError> {
        let number = self.known.number(&source);
        let mut draft = Draft::new(source.clone());
        for module in self.modules.clone().of_table(&source.schema.name) {
            match self.plan_in(module, number, &source, &draft)? {
                PlanOutcome::Exclude(_) => return Ok(None),
                PlanOutcome::Include(plan) => draft.apply(module, &self.modules.module(module).name, &plan)?,
            }
        }
        if let Some(schema) = self.modules.target_schema() {
            draft.move_to(schema);
        }
        draft.finish(self.modules.values_of(&source.schema.name)).map(Some)
    }

    /// Judges images of a table, in order.
    pub(crate) fn judge<'a>(&mut self, table: &'a PlannedTable, sent: Sent) -> Result<impl Iterator<Item = Judged> + use<'a>, TaskError> {
        self.judged(table, sent)?.finish()
    }

    /// Judges rows of the full load, which all have this header.
    pub(crate) fn judge_loaded(&mut self, table: &PlannedTable, rows: RowBatch, header: ImageHeader) -> Result<LoadedRows, TaskError> {
        self.judged(table, Sent::Loaded(rows, header))?.finish_loaded()
    }

    fn judged<'a>(&mut self, table: &'a PlannedTable, sent: Sent) -> Result<Images<'a>, TaskError> {
        self.forget_gone();
        let mut images = Images::new(table, sent);
        for stage in &table.stages {
            for start in (0..images.len()).step_by(BATCH_ROWS) {
                let end = images.len().min(start + BATCH_ROWS);
                self.run_stage(table, stage, &mut images, start..end)?;
            }
        }
        Ok(images)
    }

    /// Makes sure of a sandbox for each of the table's stages, which has planned it.
    pub(crate) fn make_ready(&mut self, table: &PlannedTable) -> Result<(), TaskError> {
        let number = self.known.number(&table.source);
        if table.stages.iter().all(|stage| self.knows(stage, number)) { Ok(()) } else { self.plan_again(table) }
    }

    fn knows(&self, stage: &Stage, table: u32) -> bool {
        self.sandboxes.get(&stage.module).is_some_and(|guest| guest.tables.contains(&table))
    }

    /// Tells the sandboxes about tables whose plans are gone.
    fn forget_gone(&mut self) {
        for number in self.known.gone() {
            let modules: Vec<usize> =
                self.sandboxes.iter_mut().filter_map(|(module, guest)| guest.tables.remove(&number).then_some(*module)).collect();
            for module in modules {
                let Some(guest) = self.sandboxes.get_mut(&module) else { continue };
                let before = guest.sandbox.usage();
                let outcome = guest.sandbox.forget(number);
                self.note(module, &before, outcome.as_ref().err());
                // Its state is gone with the sandbox, too.
                if outcome.is_err() {
                    self.sandboxes.remove(&module);
                }
            }
        }
    }

    fn plan_in(&mut self, module: usize, number: u32, source: &SourceTable, draft: &Draft) -> Result<PlanOutcome, TaskError> {
        let modules = self.modules.clone();
        if self.sandboxes.get(&module).is_some_and(|guest| guest.tables.len() >= TABLES_OF_SANDBOX) {
            self.sandboxes.remove(&module);
        }
        let guest = self.guest(module).map_err(|error| failed(&modules, module, Some(source), error))?;
        let input = PlanInput { schema: draft.view(), target: modules.target };
        let before = guest.sandbox.usage();
        let outcome = guest.sandbox.plan(number, &input, &modules.module(module).config);
        guest.tables.insert(number);
        self.note(module, &before, outcome.as_ref().err());
        outcome.map_err(|error| {
            self.sandboxes.remove(&module);
            failed(&modules, module, Some(source), error)
        })
    }

    fn guest(&mut self, module: usize) -> Result<&mut Guest, SandboxError> {
        match self.sandboxes.entry(module) {
            std::collections::hash_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let of = self.modules.module(module);
                let sandbox = Sandbox::new(self.modules.engine(), &of.compiled, *self.modules.limits())?;
                // What its start took.
                self.row_errors.board.module(&of.name, |progress| progress.used(&sandbox.usage(), false));
                Ok(entry.insert(Guest { sandbox, tables: HashSet::new() }))
            }
        }
    }

    fn run_stage(&mut self, table: &PlannedTable, stage: &Stage, images: &mut Images<'_>, range: Range<usize>) -> Result<(), TaskError> {
        let mut sent = images.ready(stage, range);
        let batch = match self.batch(table, stage, images, &sent) {
            Ok(batch) => batch,
            // One image spoils the batch's buffers: each is tried alone, and the batch is made of the others.
            Err(_) => {
                sent.retain(|place| match self.batch(table, stage, images, std::slice::from_ref(place)) {
                    Ok(_) => true,
                    Err(error) => {
                        images.reject(*place, Rejection::by_host(error));
                        false
                    }
                });
                self.batch(table, stage, images, &sent)?
            }
        };
        if sent.is_empty() {
            return Ok(());
        }
        for (rows, outcome) in self.transform(table, stage, &batch)? {
            let first = rows.start;
            match outcome {
                Ok(result) => {
                    let errors = result.errors().to_vec();
                    images.take(stage, result, &sent[rows]);
                    for error in errors {
                        if error.code == NOT_LOGGED {
                            images.set_unknown(sent[first + error.row]);
                            continue;
                        }
                        let rejection = self.refused_by_module(table, stage, &error.code, &error.message);
                        images.reject(sent[first + error.row], rejection);
                    }
                }
                Err(error) => images.reject(sent[first], self.failed_on_row(stage, error)),
            }
        }
        self.keep(stage, batch);
        Ok(())
    }

    /// The batch of the images at these places.
    fn batch(&mut self, table: &PlannedTable, stage: &Stage, images: &Images<'_>, places: &[usize]) -> Result<Batch, TaskError> {
        let of_stage =
            |spare: &Spare| spare.layout == stage.text_layout && spare.types.iter().eq(stage.inputs.iter().map(|input| &input.sql_type));
        let spare = self.spares.remove(&stage.module).filter(of_stage).map(|spare| spare.builder);
        let mut builder = spare.unwrap_or_else(|| BatchBuilder::new(&types(stage), stage.text_layout));
        images.fill(stage, places, &mut builder)?;
        builder.finish().map_err(|error| row_error(table, "batch", error.to_string()))
    }

    fn keep(&mut self, stage: &Stage, batch: Batch) {
        if batch.bytes() <= SPARE_BYTES_MAX {
            let spare = Spare { types: types(stage), layout: stage.text_layout, builder: batch.into_builder() };
            self.spares.insert(stage.module, spare);
        }
    }

    /// The module's answers to all rows of the batch, or its failure for single ones.
    fn transform(&mut self, table: &PlannedTable, stage: &Stage, batch: &Batch) -> Result<Vec<Part>, TaskError> {
        let all = 0..batch.rows();
        let error = match self.try_transform(table, stage, batch) {
            Ok(result) => return Ok(vec![(all, Ok(result))]),
            Err(error) => error,
        };
        // Whatever was left in a sandbox that failed may be why it failed.
        self.sandboxes.remove(&stage.module);
        if !is_of_rows(&error) {
            return Err(error);
        }
        let error = match self.try_transform(table, stage, batch) {
            Ok(result) => return Ok(vec![(all, Ok(result))]),
            Err(error) if is_of_rows(&error) && self.row_errors.isolates(RowFault::Value) && !self.is_on_trial(table, stage) => error,
            Err(error) => return Err(error),
        };
        self.row_errors.bisects(&error)?;
        let mut parts = Vec::new();
        let mut halving = Halving::default();
        if !halving.split(all) {
            parts.push((0..1, Err(error)));
        }
        while let Some(range) = halving.next() {
            match self.try_transform(table, stage, &batch.slice(range.clone())) {
                Ok(result) => parts.push((range, Ok(result))),
                Err(error) if !is_of_rows(&error) => return Err(error),
                Err(error) => {
                    if !halving.split(range.clone()) {
                        parts.push((range, Err(error)));
                    }
                }
            }
        }
        Ok(parts)
    }

    /// A module on trial that fails is swapped back rather than its rows set apart.
    fn is_on_trial(&self, table: &PlannedTable, stage: &Stage) -> bool {
        self.row_errors.trials.concern(&self.modules.module(stage.module).name, &table.source.schema.name)
    }

    fn refused_by_module(&self, table: &PlannedTable, stage: &Stage, code: &str, message: &str) -> Rejection {
        let name = &self.modules.module(stage.module).name;
        let refused = format!("module \"{name}\" refused a row with the code \"{code}\"");
        Rejection {
            fault: if code == MASK_FAILED { RowFault::Mask } else { RowFault::Value },
            code: code.to_owned(),
            message: message.to_owned(),
            module: Some(self.named(stage)),
            stops_as: row_error(table, "module_row_error", refused),
            statement: None,
        }
    }

    fn failed_on_row(&self, stage: &Stage, error: TaskError) -> Rejection {
        let (code, message) = match &error {
            TaskError::Module { source, .. } => (source.code().to_owned(), source.to_string()),
            other => (other.code().to_owned(), other.chain()),
        };
        Rejection { fault: RowFault::Value, code, message, module: Some(self.named(stage)), stops_as: error, statement: None }
    }

    fn named(&self, stage: &Stage) -> (String, String) {
        let module = self.modules.module(stage.module);
        (module.name.clone(), format!("sha256:{}", module.compiled.digest()))
    }

    fn try_transform(&mut self, table: &PlannedTable, stage: &Stage, batch: &Batch) -> Result<BatchResult, TaskError> {
        let number = self.known.number(&table.source);
        if !self.knows(stage, number) {
            self.plan_again(table)?;
        }
        let modules = self.modules.clone();
        let guest = self.guest(stage.module).map_err(|error| failed(&modules, stage.module, Some(&table.source), error))?;
        let before = guest.sandbox.usage();
        let result = guest.sandbox.transform(number, batch);
        let is_used_up = result.as_ref().is_err_and(|error| !error.leaves_usable());
        let is_worn = guest.sandbox.is_worn();
        self.note(stage.module, &before, result.as_ref().err());
        if is_used_up || is_worn {
            self.sandboxes.remove(&stage.module);
        }
        result.map_err(|error| failed(&modules, stage.module, Some(&table.source), error))
    }

    /// Adds what a call of a module used, counted and logged to its figures, whether it failed or not.
    fn note(&mut self, module: usize, before: &Usage, error: Option<&SandboxError>) {
        let Some(Guest { sandbox, .. }) = self.sandboxes.get_mut(&module) else { return };
        let used = sandbox.usage().since(before);
        let (counts, (lines, dropped)) = (sandbox.take_counts(), sandbox.take_logs());
        // A configuration that it refuses, and a plan that does not fit, are answers.
        let is_failure = error.is_some_and(|error| !matches!(error, SandboxError::Plan { .. }));
        self.row_errors.board.module(&self.modules.module(module).name, |progress| {
            progress.used(&used, is_failure);
            progress.counted(counts);
            progress.logged(lines, dropped, now_us());
        });
    }

    /// A fresh sandbox must plan as the first one did.
    fn plan_again(&mut self, table: &PlannedTable) -> Result<(), TaskError> {
        let again = self.plan_anew(table.source.clone())?;
        self.known.hold(table);
        let same = again.is_some_and(|again| {
            let plans = |table: &PlannedTable| (table.stages.clone(), table.target.columns.clone(), table.soft_deletes);
            plans(&again) == plans(table)
        });
        if same {
            return Ok(());
        }
        Err(TaskError::Plan {
            code: "plan_not_deterministic",
            message: format!("a module planned table \"{}\" differently than before", table.source.schema.name),
            hint: Some("a module's plan must depend on its arguments alone".into()),
        })
    }
}

/// Rows of a batch, and the module's answer to them or its failure on the one that they are.
type Part = (Range<usize>, Result<BatchResult, TaskError>);

fn types(stage: &Stage) -> Vec<SqlType> {
    stage.inputs.iter().map(|input| input.sql_type.clone()).collect()
}

fn failed(modules: &Modules, module: usize, table: Option<&SourceTable>, error: SandboxError) -> TaskError {
    if error.is_transient() {
        let code = if error.is_of_tenant() { TENANT_SHARE } else { NO_ROOM };
        return ConnectorError::transient(code, error.to_string()).into();
    }
    TaskError::Module {
        module: modules.module(module).name.clone(),
        table: table.map(|table| table.schema.name.clone()),
        source: Box::new(error),
    }
}
