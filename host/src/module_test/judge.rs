//! Plans a table with a module and sends rows through it, as a task would, and shows what comes of each.
//!
//! A batch that fails is tried again row by row, so that one bad row does not hide what becomes of the others. A
//! sandbox that broke is replaced; after a few breaks, or some seconds, the rest is not tried.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Map, Value as Json};
use tidegate_model::{ImageKind, SqlType, TableSchema, Value};
use tidegate_sandbox::{
    BatchBuilder, BatchResult, ColumnOrigin, Compiled, Engine, Header, InputSource, Limits, OutputSource, PlanInput, PlanOutcome, Sandbox,
    SandboxError, TablePlan, Usage,
};

use super::report::{Logged, Outcome, RowReport};
use super::stop::Stop;
use super::table::Sample;
use super::value::to_json;
use crate::exit::Failure;

/// Sandboxes that may break before the rest of the rows is not tried.
const BREAKS_MAX: u32 = 20;
/// Time after which the rest of the rows is not tried.
const TIME_MAX: Duration = Duration::from_secs(15);

/// What a module is run with.
pub(crate) struct Bench<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) module: &'a Compiled,
    pub(crate) limits: Limits,
    pub(crate) target: tidegate_model::Engine,
    pub(crate) config: &'a str,
    /// Ends the test before it is done.
    pub(crate) stop: Stop,
}

/// What came of it.
pub(super) struct Judged {
    pub(super) outcome: PlanOutcome,
    pub(super) rows: Vec<RowReport>,
    pub(super) logs: Vec<Logged>,
    pub(super) counters: BTreeMap<String, u64>,
    pub(super) usage: Usage,
}

/// Why a row has no result.
struct Trouble {
    code: String,
    message: String,
}

struct Run<'a> {
    bench: &'a Bench<'a>,
    sample: &'a Sample,
    sandbox: Option<Sandbox>,
    breaks: u32,
    started: Instant,
    logs: Vec<Logged>,
    counters: BTreeMap<String, u64>,
    usage: Usage,
}

impl Bench<'_> {
    /// Runs the module.
    ///
    /// # Errors
    /// A failure of code `module_plan` when it refuses the table or its configuration, `module_start` when it does not
    /// even start.
    pub(super) fn judge(&self, sample: &Sample) -> Result<Judged, Failure> {
        let mut run = Run {
            bench: self,
            sample,
            sandbox: None,
            breaks: 0,
            started: Instant::now(),
            logs: Vec::new(),
            counters: BTreeMap::new(),
            usage: Usage::default(),
        };
        let outcome = run.plan().map_err(|error| match &error {
            error if error.is_transient() => Failure::environment("sandbox_slots", error.to_string()).hint("try again"),
            SandboxError::Start(_) => Failure::failed("module_start", error.to_string()),
            _ => Failure::failed("module_plan", error.to_string()),
        })?;
        let rows = match &outcome {
            PlanOutcome::Exclude(_) => Vec::new(),
            PlanOutcome::Include(plan) => run.rows(plan),
        };
        run.retire();
        Ok(Judged { outcome, rows, logs: run.logs, counters: run.counters, usage: run.usage })
    }
}

impl Run<'_> {
    fn plan(&mut self) -> Result<PlanOutcome, SandboxError> {
        self.retire();
        let mut sandbox = Sandbox::new(self.bench.engine, self.bench.module, self.bench.limits)?;
        self.bench.stop.ends(sandbox.cancel_flag());
        let outcome = sandbox.plan(0, &PlanInput { schema: &self.sample.schema, target: self.bench.target }, self.bench.config);
        self.sandbox = Some(sandbox);
        outcome
    }

    /// Keeps what the sandbox said and used, and drops it.
    fn retire(&mut self) {
        let Some(mut sandbox) = self.sandbox.take() else { return };
        let (lines, dropped) = sandbox.take_logs();
        self.logs.extend(lines.into_iter().map(Logged::from));
        if dropped > 0 {
            self.logs.push(Logged::dropped(dropped));
        }
        for (name, count) in sandbox.take_counts() {
            *self.counters.entry(name).or_default() += count;
        }
        self.usage.add(&sandbox.usage());
    }

    fn rows(&mut self, plan: &TablePlan) -> Vec<RowReport> {
        let all: Vec<usize> = (0..self.sample.rows.len()).filter(|row| self.sample.rows[*row].is_ok()).collect();
        let whole = match plan.rows {
            Some(_) if !all.is_empty() => self.transform(plan, &all).ok(),
            _ => None,
        };
        (0..self.sample.rows.len())
            .map(|row| match &self.sample.rows[row] {
                Err(problem) => self.failed(row, Trouble { code: "value_not_representable".to_owned(), message: problem.clone() }),
                Ok(values) if plan.rows.is_none() => self.kept(row, values, plan, None),
                Ok(_) => match (&whole, all.binary_search(&row)) {
                    (Some(result), Ok(place)) => self.shown(row, plan, result, place),
                    _ => self.alone(row, plan),
                },
            })
            .collect()
    }

    fn alone(&mut self, row: usize, plan: &TablePlan) -> RowReport {
        if self.breaks >= BREAKS_MAX || self.bench.stop.is_set() || self.started.elapsed() > TIME_MAX {
            let message = "not tried: the module failed on too many rows before this one, or took too long".to_owned();
            return self.failed(row, Trouble { code: "not_tried".to_owned(), message });
        }
        match self.transform(plan, &[row]) {
            Ok(result) => self.shown(row, plan, &result, 0),
            Err(trouble) => self.failed(row, trouble),
        }
    }

    fn transform(&mut self, plan: &TablePlan, rows: &[usize]) -> Result<BatchResult, Trouble> {
        let trouble = |error: SandboxError| Trouble { code: error.code().to_owned(), message: error.to_string() };
        let batch = self.batch(plan, rows)?;
        if self.sandbox.is_none() {
            self.plan().map_err(trouble)?;
        }
        let Some(sandbox) = &mut self.sandbox else { return Err(trouble(SandboxError::NoSlot)) };
        sandbox.transform(0, &batch).map_err(|error| {
            if !error.leaves_usable() {
                self.breaks += 1;
                self.retire();
            }
            trouble(error)
        })
    }

    fn batch(&self, plan: &TablePlan, rows: &[usize]) -> Result<tidegate_sandbox::Batch, Trouble> {
        let unfit =
            |error: tidegate_sandbox::BatchError| Trouble { code: "value_not_representable".to_owned(), message: error.to_string() };
        let wanted =
            plan.rows.as_ref().ok_or_else(|| Trouble { code: "bug".to_owned(), message: "the plan has no row-level work".to_owned() })?;
        let schema = &self.sample.schema;
        let inputs: Vec<InputSource> = wanted.inputs.iter().filter_map(|name| InputSource::find(name, schema)).collect();
        let types: Vec<SqlType> = inputs.iter().map(|input| input.sql_type(schema)).collect();
        let mut builder = BatchBuilder::new(&types, wanted.text_layout);
        for values in rows.iter().filter_map(|row| self.sample.rows[*row].as_ref().ok()) {
            builder.push_kind(ImageKind::Snapshot);
            for (column, input) in inputs.iter().enumerate() {
                // A test sends what a full load sends. When it read the row would differ from test to test: 1970.
                let value = match input {
                    InputSource::Column(index) => &values[*index],
                    InputSource::Before(_) => &Value::Null,
                    InputSource::Header(Header::Timestamp | Header::CommitTimestamp) => &Value::TimestampTz(0),
                    InputSource::Header(Header::StreamPosition | Header::ChangeSequence) => &Value::Text(""),
                };
                builder.push_value(column, value).map_err(unfit)?;
            }
        }
        builder.finish().map_err(unfit)
    }

    fn shown(&self, row: usize, plan: &TablePlan, result: &BatchResult, place: usize) -> RowReport {
        if let Some(error) = result.errors().iter().find(|error| error.row == place) {
            return self.failed(row, Trouble { code: error.code.clone(), message: error.message.clone() });
        }
        match &self.sample.rows[row] {
            Ok(values) if result.keeps(place) => self.kept(row, values, plan, Some((result, place))),
            _ => self.report(row, Outcome::Dropped),
        }
    }

    fn kept(&self, row: usize, values: &[Value<'static>], plan: &TablePlan, result: Option<(&BatchResult, usize)>) -> RowReport {
        let after = after(&self.sample.schema, values, plan, result);
        RowReport { after: Some(after), ..self.report(row, Outcome::Kept) }
    }

    fn failed(&self, row: usize, trouble: Trouble) -> RowReport {
        RowReport { code: Some(trouble.code), message: Some(trouble.message), ..self.report(row, Outcome::Failed) }
    }

    fn report(&self, row: usize, outcome: Outcome) -> RowReport {
        let schema = &self.sample.schema;
        let before = self.sample.rows[row].as_ref().ok().map(|values| {
            let cells = schema.columns.iter().zip(values).map(|(column, value)| (column.name.clone(), to_json(&column.sql_type, value)));
            cells.collect::<Map<_, _>>()
        });
        RowReport { row, outcome, before, after: None, code: None, message: None }
    }
}

fn after(schema: &TableSchema, values: &[Value<'static>], plan: &TablePlan, result: Option<(&BatchResult, usize)>) -> Map<String, Json> {
    let of_source = |index: usize| to_json(&schema.columns[index].sql_type, &values[index]);
    let mut row = Map::new();
    for column in plan.target_columns(schema) {
        let value = match column.origin {
            ColumnOrigin::Source(index) => of_source(index),
            ColumnOrigin::Output { output, .. } => match &plan.outputs[output].source {
                OutputSource::CopyOf(name) => schema.column_index(name).map_or(Json::Null, of_source),
                OutputSource::Constant(text) => text.clone().map_or(Json::Null, Json::String),
                OutputSource::Computed => {
                    let place = plan.outputs[..output].iter().filter(|output| output.source == OutputSource::Computed).count();
                    result.map_or(Json::Null, |(result, row)| to_json(&column.sql_type, &result.columns()[place].value(row)))
                }
            },
        };
        row.insert(column.name, value);
    }
    row
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate_sandbox::EngineSettings;

    use super::*;
    use crate::module_test::table::given;

    #[test]
    fn a_test_that_is_stopped_ends_in_the_middle_of_a_call_and_tries_no_further_row() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/guests/hostile.wasm");
        let bytes = std::fs::read(path).expect("the guests are built; run cargo xtask guests");
        let engine = Engine::new(EngineSettings::default()).unwrap();
        let module = engine.compile(&bytes).unwrap();
        let limits = Limits { transform_cpu: Duration::from_secs(600), ..Limits::default() };
        let rows: Vec<_> = (1..=100).map(|id| json!({"id": id, "note": "a"})).collect();
        let sample = given(&json!({}), &rows.into()).unwrap();
        let stop = Stop::default();
        let bench = Bench { engine: &engine, module: &module, limits, target: tidegate_model::Engine::Postgres, config: "loop", stop };
        // Sooner or later than the call begins: it must end either way.
        let later = bench.stop.clone();
        let stopper = std::thread::spawn(move || later.set());
        let judged = bench.judge(&sample);
        stopper.join().unwrap();
        match judged {
            Ok(judged) => assert!(judged.rows.iter().all(|row| row.code.as_deref() == Some("not_tried")), "{:?}", judged.rows),
            Err(failure) => assert_eq!((failure.code.as_str(), failure.message.contains("cancelled")), ("module_plan", true)),
        }
    }
}
