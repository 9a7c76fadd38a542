//! The sandboxes of one worker: plans tables with them and judges row images. Runs on a blocking thread.
//!
//! A batch that a module fails on is sent once more, to a fresh sandbox, because a limit on time can strike by chance.
//! Fails it again, and the task goes on without rows at fault, then it is halved until those rows are found; each
//! sandbox that trapped is replaced.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use tidegate_connector::{ColumnOrigin, ConnectorError, Image, RowFault, SourceTable};
use tidegate_model::{Cell, ImageKind, Row, RowBuilder, SqlType, Value};
use tidegate_sandbox::{Batch, BatchBuilder, BatchResult, PlanInput, PlanOutcome, Sandbox, SandboxError};

use crate::halving::Halving;
use crate::header::ImageHeader;
use crate::modules::Modules;
use crate::plan::{Draft, InputOrigin, PlannedTable, Stage};
use crate::rejection::Rejection;
use crate::row_errors::RowErrors;
use crate::task::TaskError;

/// Images in one call of a module: a call costs about a microsecond, so more brings little and holds more memory.
const BATCH_ROWS: usize = 1_024;

/// The code of a row error by which a module that takes partial images says that this one lacks what it must know.
const NOT_LOGGED: &str = "not-logged";

/// What the modules say of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Kept,
    Dropped,
    /// A filter's input is not in the image.
    Unknown,
    /// The row is at fault.
    Rejected,
}

/// An image for the modules to judge.
#[derive(Debug)]
pub(crate) struct Unjudged {
    pub(crate) kind: ImageKind,
    pub(crate) row: Row,
    /// Of an update, the old row as far as the log has it, when a module asks for it.
    pub(crate) before: Option<Row>,
    pub(crate) header: ImageHeader,
}

/// An image after all stages.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) verdict: Verdict,
    pub(crate) image: Image,
    /// What is wrong with it; there when the verdict is `Rejected`.
    pub(crate) rejection: Option<Box<Rejection>>,
}

/// See the module's documentation.
pub(crate) struct Guests {
    modules: Arc<Modules>,
    row_errors: Arc<RowErrors>,
    sandboxes: HashMap<usize, Guest>,
    /// Descriptions that were planned here, by their address; held so that an address is not used again.
    planned: HashMap<usize, Planned>,
    next_table: u32,
}

/// A description and the number under which sandboxes know it.
struct Planned {
    _held: Arc<SourceTable>,
    number: u32,
}

struct Guest {
    sandbox: Sandbox,
    /// Tables that this sandbox knows.
    tables: Vec<u32>,
}

/// An image on its way through the stages.
struct Working {
    image: Unjudged,
    verdict: Verdict,
    computed: Vec<Computed>,
    rejection: Option<Box<Rejection>>,
}

#[derive(Clone)]
enum Computed {
    Absent,
    Null,
    Bytes(Vec<u8>),
}

impl Guests {
    pub(crate) fn new(modules: Arc<Modules>, row_errors: Arc<RowErrors>) -> Self {
        Self { modules, row_errors, sandboxes: HashMap::new(), planned: HashMap::new(), next_table: 0 }
    }

    /// What the modules make of a table; `None` when one leaves it out.
    pub(crate) fn plan(&mut self, source: Arc<SourceTable>) -> Result<Option<PlannedTable>, TaskError> {
        let number = self.number(&source);
        let mut draft = Draft::new(source.clone());
        for module in self.modules.clone().of_table(&source.schema.name) {
            match self.plan_in(module, number, &source, &draft)? {
                PlanOutcome::Exclude(_) => return Ok(None),
                PlanOutcome::Include(plan) => draft.apply(module, &self.modules.module(module).name, &plan)?,
            }
        }
        draft.finish().map(Some)
    }

    /// Judges images of a table, in order.
    pub(crate) fn judge(&mut self, table: &PlannedTable, images: Vec<Unjudged>) -> Result<Vec<Judged>, TaskError> {
        let mut working: Vec<Working> = images
            .into_iter()
            .map(|image| Working { image, verdict: Verdict::Kept, computed: vec![Computed::Absent; table.computed], rejection: None })
            .collect();
        for stage in &table.stages {
            for batch in working.chunks_mut(BATCH_ROWS) {
                self.run_stage(table, stage, batch)?;
            }
        }
        Ok(working.into_iter().map(|image| image.finish(table)).collect())
    }

    fn number(&mut self, source: &Arc<SourceTable>) -> u32 {
        let next = &mut self.next_table;
        self.planned
            .entry(Arc::as_ptr(source) as usize)
            .or_insert_with(|| {
                *next += 1;
                Planned { _held: source.clone(), number: *next }
            })
            .number
    }

    fn plan_in(&mut self, module: usize, number: u32, source: &SourceTable, draft: &Draft) -> Result<PlanOutcome, TaskError> {
        let modules = self.modules.clone();
        let guest = self.guest(module).map_err(|error| failed(&modules, module, Some(source), error))?;
        let input = PlanInput { schema: draft.view(), target: modules.target };
        let outcome = guest.sandbox.plan(number, &input, &modules.module(module).config);
        guest.tables.push(number);
        outcome.map_err(|error| {
            self.sandboxes.remove(&module);
            failed(&modules, module, Some(source), error)
        })
    }

    fn guest(&mut self, module: usize) -> Result<&mut Guest, SandboxError> {
        match self.sandboxes.entry(module) {
            std::collections::hash_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let sandbox = Sandbox::new(self.modules.engine(), &self.modules.module(module).compiled, *self.modules.limits())?;
                Ok(entry.insert(Guest { sandbox, tables: Vec::new() }))
            }
        }
    }

    fn run_stage(&mut self, table: &PlannedTable, stage: &Stage, images: &mut [Working]) -> Result<(), TaskError> {
        let types: Vec<SqlType> = stage.inputs.iter().map(|input| input.sql_type.clone()).collect();
        let mut sent = Vec::with_capacity(images.len());
        for (index, image) in images.iter_mut().enumerate().filter(|(_, image)| image.verdict == Verdict::Kept) {
            if stage.partial_images || stage.inputs.iter().all(|input| image.has(table, &input.origin)) {
                sent.push(index);
            } else if stage.filters {
                image.verdict = Verdict::Unknown;
            } else if image.may_have_changed(table, stage) {
                image.reject(Rejection::by_host(not_logged(table)));
            }
        }
        let batch = match batch(table, stage, &types, images, &sent) {
            Ok(batch) => batch,
            // One image spoils the batch's buffers: each is tried alone, and the batch is made of the others.
            Err(_) => {
                sent.retain(|index| match batch_of_one(table, stage, &types, &images[*index]) {
                    Ok(()) => true,
                    Err(rejection) => {
                        images[*index].reject(rejection);
                        false
                    }
                });
                batch(table, stage, &types, images, &sent).map_err(|rejection| rejection.stops_as)?
            }
        };
        if sent.is_empty() {
            return Ok(());
        }
        for (rows, outcome) in self.transform(table, stage, &batch)? {
            let first = rows.start;
            match outcome {
                Ok(result) => {
                    for (place, index) in sent[rows].iter().enumerate() {
                        images[*index].take(stage, &result, place);
                    }
                    for error in result.errors() {
                        if error.code == NOT_LOGGED {
                            images[sent[first + error.row]].verdict = Verdict::Unknown;
                            continue;
                        }
                        let rejection = self.refused_by_module(table, stage, &error.code, &error.message);
                        images[sent[first + error.row]].reject(rejection);
                    }
                }
                Err(error) => images[sent[first]].reject(self.failed_on_row(stage, error)),
            }
        }
        Ok(())
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
            Err(error) if is_of_rows(&error) && self.row_errors.isolates(RowFault::Value) && !self.row_errors.is_on_trial() => error,
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

    fn refused_by_module(&self, table: &PlannedTable, stage: &Stage, code: &str, message: &str) -> Rejection {
        let name = &self.modules.module(stage.module).name;
        let refused = format!("module \"{name}\" refused a row with the code \"{code}\"");
        Rejection {
            fault: RowFault::Value,
            code: code.to_owned(),
            message: message.to_owned(),
            module: Some(self.named(stage)),
            stops_as: row_error(table, "module_row_error", refused),
        }
    }

    fn failed_on_row(&self, stage: &Stage, error: TaskError) -> Rejection {
        let (code, message) = match &error {
            TaskError::Module { source, .. } => (source.code().to_owned(), source.to_string()),
            other => (other.code().to_owned(), other.chain()),
        };
        Rejection { fault: RowFault::Value, code, message, module: Some(self.named(stage)), stops_as: error }
    }

    fn named(&self, stage: &Stage) -> (String, String) {
        let module = self.modules.module(stage.module);
        (module.name.clone(), format!("sha256:{}", module.compiled.digest()))
    }

    fn try_transform(&mut self, table: &PlannedTable, stage: &Stage, batch: &Batch) -> Result<BatchResult, TaskError> {
        let number = self.number(&table.source);
        let known = self.sandboxes.get(&stage.module).is_some_and(|guest| guest.tables.contains(&number));
        if !known {
            self.plan_again(table)?;
        }
        let modules = self.modules.clone();
        let guest = self.guest(stage.module).map_err(|error| failed(&modules, stage.module, Some(&table.source), error))?;
        let before = guest.sandbox.usage();
        let result = guest.sandbox.transform(number, batch);
        let after = guest.sandbox.usage();
        let is_used_up = result.as_ref().is_err_and(|error| !error.leaves_usable());
        let is_worn = guest.sandbox.is_worn();
        self.row_errors.board.module(&modules.module(stage.module).name, |progress| {
            progress.batches += 1;
            progress.rows += batch.rows() as u64;
            progress.cpu_us += u64::try_from(after.cpu.saturating_sub(before.cpu).as_micros()).unwrap_or(u64::MAX);
            progress.memory_bytes_peak = progress.memory_bytes_peak.max(after.memory_bytes as u64);
            progress.failures += u64::from(result.is_err());
        });
        if is_used_up || is_worn {
            self.sandboxes.remove(&stage.module);
        }
        result.map_err(|error| failed(&modules, stage.module, Some(&table.source), error))
    }

    /// A fresh sandbox must plan as the first one did.
    fn plan_again(&mut self, table: &PlannedTable) -> Result<(), TaskError> {
        let again = self.plan(table.source.clone())?;
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

/// The batch of the images at these places.
// A rejection is made once for a row at fault, and boxing it would cost every reader of it a word.
#[allow(clippy::result_large_err)]
fn batch(table: &PlannedTable, stage: &Stage, types: &[SqlType], images: &[Working], places: &[usize]) -> Result<Batch, Rejection> {
    let mut builder = BatchBuilder::new(types, stage.text_layout);
    for place in places {
        images[*place].push(table, stage, &mut builder).map_err(Rejection::by_host)?;
    }
    builder.finish().map_err(|error| Rejection::by_host(row_error(table, "batch", error.to_string())))
}

#[allow(clippy::result_large_err)]
fn batch_of_one(table: &PlannedTable, stage: &Stage, types: &[SqlType], image: &Working) -> Result<(), Rejection> {
    let mut builder = BatchBuilder::new(types, stage.text_layout);
    image.push(table, stage, &mut builder).map_err(Rejection::by_host)
}

/// True when the module failed in its row function, by what it was given there.
pub(crate) fn is_of_rows(error: &TaskError) -> bool {
    let TaskError::Module { source, .. } = error else { return false };
    match source.as_ref() {
        SandboxError::Trap { call, .. }
        | SandboxError::Stack { call, .. }
        | SandboxError::Output { call, .. }
        | SandboxError::Timeout { call, .. }
        | SandboxError::Memory { call, .. } => *call == "transform",
        SandboxError::Malformed { .. } | SandboxError::Module(_) => true,
        SandboxError::Plan { .. }
        | SandboxError::Cancelled
        | SandboxError::NoSlot
        | SandboxError::Instances { .. }
        | SandboxError::Crowded { .. }
        | SandboxError::Changed { .. }
        | SandboxError::Start(_)
        | SandboxError::Misuse { .. } => false,
    }
}

impl Working {
    fn reject(&mut self, rejection: Rejection) {
        self.verdict = Verdict::Rejected;
        self.rejection = Some(Box::new(rejection));
    }

    /// Takes the module's answer at a place of its batch. A row with an error has none.
    fn take(&mut self, stage: &Stage, result: &BatchResult, place: usize) {
        if !result.keeps(place) {
            self.verdict = Verdict::Dropped;
            return;
        }
        for ((cell, _), column) in stage.outputs.iter().zip(result.columns()) {
            self.computed[*cell] = match column.value(place) {
                _ if column.is_absent(place) => Computed::Absent,
                Value::Null => Computed::Null,
                value => {
                    let mut bytes = Vec::new();
                    value.write_neutral(&mut bytes);
                    Computed::Bytes(bytes)
                }
            };
        }
    }

    fn has(&self, table: &PlannedTable, origin: &InputOrigin) -> bool {
        match origin {
            InputOrigin::Column(ColumnOrigin::Source(index)) => is_known(self.image.row.cell(*index)),
            InputOrigin::Column(ColumnOrigin::Computed(cell)) => !matches!(self.computed[*cell], Computed::Absent),
            InputOrigin::Column(ColumnOrigin::Constant(_)) | InputOrigin::Header(_) => true,
            InputOrigin::Before(index) => is_known(Some(self.before(table, *index))),
        }
    }

    /// True for an update that may have changed some of what the modules read, while the log lacks the rest: what they
    /// would make of it cannot be known, and what they made of the row before may be wrong now.
    fn may_have_changed(&self, table: &PlannedTable, stage: &Stage) -> bool {
        self.image.kind == ImageKind::UpdateAfter
            && !stage.outputs.is_empty()
            && stage.inputs.iter().any(|input| match &input.origin {
                InputOrigin::Column(ColumnOrigin::Source(index)) => {
                    !table.source.schema.identity.contains(index) && self.has(table, &input.origin)
                }
                InputOrigin::Column(ColumnOrigin::Constant(_)) => false,
                InputOrigin::Column(ColumnOrigin::Computed(_)) | InputOrigin::Before(_) | InputOrigin::Header(_) => {
                    self.has(table, &input.origin)
                }
            })
    }

    /// A source column's cell before the change.
    fn before(&self, table: &PlannedTable, index: usize) -> Cell<'_> {
        let cell = match (self.image.kind, &self.image.before) {
            (ImageKind::Snapshot | ImageKind::Insert, _) => return Cell::Null,
            (ImageKind::UpdateBefore | ImageKind::Delete, _) => self.image.row.cell(index),
            (ImageKind::UpdateAfter, Some(old)) => old.cell(index),
            // Without an old image, the columns that identify the row are as they were.
            (ImageKind::UpdateAfter, None) if table.source.schema.identity.contains(&index) => self.image.row.cell(index),
            (ImageKind::UpdateAfter, None) => None,
        };
        cell.unwrap_or(Cell::Absent)
    }

    fn push(&self, table: &PlannedTable, stage: &Stage, builder: &mut BatchBuilder) -> Result<(), TaskError> {
        builder.push_kind(self.image.kind);
        let decode = |index: usize, cell| {
            let decoded = table.source.decoder.decode(index, cell);
            decoded.map_err(|error| row_error(table, "value_not_representable", error.to_string()))
        };
        for (column, input) in stage.inputs.iter().enumerate() {
            let value = match &input.origin {
                origin if !self.has(table, origin) => {
                    builder.push_absent(column);
                    continue;
                }
                InputOrigin::Column(ColumnOrigin::Source(index)) => decode(*index, self.image.row.cell(*index).unwrap_or(Cell::Absent))?,
                InputOrigin::Column(ColumnOrigin::Computed(cell)) => match &self.computed[*cell] {
                    Computed::Bytes(bytes) => Value::from_neutral(&input.sql_type, bytes)
                        .map_err(|error| row_error(table, "value_not_representable", error.to_string()))?,
                    Computed::Null | Computed::Absent => Value::Null,
                },
                InputOrigin::Column(ColumnOrigin::Constant(None)) => Value::Null,
                InputOrigin::Column(ColumnOrigin::Constant(Some(text))) => Value::Text(text),
                InputOrigin::Before(index) => decode(*index, self.before(table, *index))?,
                InputOrigin::Header(header) => {
                    let value = self.image.header.value(*header);
                    value.ok_or_else(|| TaskError::Panicked("an image without a header came to a module that reads it".into()))?
                }
            };
            builder.push_value(column, &value).map_err(|error| row_error(table, "value_not_representable", error.to_string()))?;
        }
        Ok(())
    }

    fn finish(self, table: &PlannedTable) -> Judged {
        let computed = (table.computed > 0).then(|| {
            let mut builder = RowBuilder::with_capacity(self.computed.len(), 64);
            for cell in &self.computed {
                builder.push(match cell {
                    // In an update, a computed cell that could not be computed keeps its value in the target.
                    Computed::Absent => Cell::Unchanged,
                    Computed::Null => Cell::Null,
                    Computed::Bytes(bytes) => Cell::Binary(bytes),
                });
            }
            builder.finish()
        });
        Judged { verdict: self.verdict, image: Image { row: self.image.row, computed }, rejection: self.rejection }
    }
}

fn is_known(cell: Option<Cell<'_>>) -> bool {
    cell.is_some_and(|cell| cell.is_known())
}

/// The source left a large value out of its log that the rules need.
pub(crate) fn not_logged(table: &PlannedTable) -> TaskError {
    let name = &table.source.schema.name;
    TaskError::Row {
        code: "value_not_logged",
        message: format!("table \"{name}\": the log lacks a value that the rules need to decide about a row"),
        hint: Some(format!(
            "alter table {} replica identity full, then reload the table",
            tidegate_connector::Dialect::POSTGRES.table(name)
        )),
    }
}

fn failed(modules: &Modules, module: usize, table: Option<&SourceTable>, error: SandboxError) -> TaskError {
    if error.is_transient() {
        return ConnectorError::transient("sandbox_slots", error.to_string()).into();
    }
    TaskError::Module {
        module: modules.module(module).name.clone(),
        table: table.map(|table| table.schema.name.clone()),
        source: Box::new(error),
    }
}

fn row_error(table: &PlannedTable, code: &'static str, reason: String) -> TaskError {
    TaskError::Row { code, message: format!("table \"{}\": {reason}", table.source.schema.name), hint: None }
}
