//! The row-by-row form of a module, over the contract's batches.

use serde::de::DeserializeOwned;

use crate::builder::{Cell, ColumnBuilder};
use crate::column::Keep;
use crate::config::parse_config;
use crate::plan::{Computed, Finished, Input, Output, Plan};
use crate::{Batch, BatchResult, ModuleInfo, PlanError, Planned, RowError, TableSchema, Transform};

/// A module that looks at one row after the other: the work on one table.
pub trait RowTransform: Sized + 'static {
    /// The tenant's configuration. Let it `deny_unknown_fields`: a misspelt key is then told.
    type Config: DeserializeOwned;

    /// JSON Schema of the configuration, for the tenant's tools.
    fn config_schema() -> Option<&'static str> {
        None
    }

    /// What to do with a table, and the value that does it. Must depend on its arguments alone.
    ///
    /// # Errors
    /// [`PlanError`] when the configuration does not fit the table.
    fn plan(plan: &mut Plan<'_>, config: Self::Config) -> Result<Self, PlanError>;

    /// Reads a row's inputs and sets its outputs. An output that is not set is NULL.
    ///
    /// # Errors
    /// A [`Rejection`] for a row that cannot be handled: it goes to the task's error table.
    fn row(&mut self, row: &mut Row<'_>) -> Result<(), Rejection>;
}

/// A row that a module cannot handle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// A short code for statistics, e.g. `no-such-country`.
    pub code: String,
    /// What is wrong, for the tenant. Not the place for values of rows.
    pub message: String,
}

impl Rejection {
    /// A rejection with a short code for statistics and a sentence for the tenant.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into() }
    }
}

/// What a row is an image of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A row that was there when the copy began.
    Snapshot,
    /// A new row.
    Insert,
    /// A row before an update.
    UpdateBefore,
    /// A row after an update.
    UpdateAfter,
    /// A row that was deleted; its log may hold the key alone.
    Delete,
}

/// One row image: inputs to read, outputs to set.
#[derive(Debug)]
pub struct Row<'a> {
    batch: &'a Batch,
    index: usize,
    outputs: &'a mut [ColumnBuilder],
    discarded: bool,
    misfit: Option<String>,
}

impl<'a> Row<'a> {
    /// What it is an image of.
    pub fn kind(&self) -> Kind {
        match self.batch.kinds.get(self.index) {
            Some(1) => Kind::Insert,
            Some(2) => Kind::UpdateBefore,
            Some(3) => Kind::UpdateAfter,
            Some(4) => Kind::Delete,
            _ => Kind::Snapshot,
        }
    }

    /// Text, also of decimals, JSON and enumerations. `None`: NULL, not in the log, or a column of another type; so
    /// for all of these.
    pub fn text(&self, input: Input) -> Option<&'a str> {
        self.batch.columns[input.0].text(self.index)
    }

    /// Bytes.
    pub fn bytes(&self, input: Input) -> Option<&'a [u8]> {
        self.batch.columns[input.0].bytes(self.index)
    }

    /// An integer of up to 64 bits, a date in days, a time in microseconds.
    pub fn int(&self, input: Input) -> Option<i64> {
        self.batch.columns[input.0].int(self.index)
    }

    /// An unsigned 64-bit integer.
    pub fn uint(&self, input: Input) -> Option<u64> {
        self.batch.columns[input.0].uint(self.index)
    }

    /// A float.
    pub fn float(&self, input: Input) -> Option<f64> {
        self.batch.columns[input.0].float(self.index)
    }

    /// A truth value.
    pub fn boolean(&self, input: Input) -> Option<bool> {
        self.batch.columns[input.0].boolean(self.index)
    }

    /// True for NULL.
    pub fn is_null(&self, input: Input) -> bool {
        self.batch.columns[input.0].is_null(self.index)
    }

    /// True when the log lacks the value: an update did not change it. Outputs made from it keep their value in the
    /// target, whatever is set.
    pub fn is_absent(&self, input: Input) -> bool {
        self.batch.columns[input.0].is_absent(self.index)
    }

    /// Sets an output. A value that its type has no place for rejects the row.
    pub fn set<'v>(&mut self, output: Output, value: impl Into<Cell<'v>>) {
        let column = &mut self.outputs[output.0];
        if column.len() > self.index {
            column.pop();
        }
        if let Err(misfit) = column.push(value) {
            self.misfit = Some(format!("output {} takes {}, something else was set", output.0, misfit.wanted));
        }
    }

    /// Leaves the row out of the target. The plan must say that the module filters.
    pub fn discard(&mut self) {
        self.discarded = true;
    }
}

/// Runs a [`RowTransform`] on batches.
pub struct Rows<T> {
    work: T,
    computed: Vec<Computed>,
    filters: bool,
}

impl<T: RowTransform> Transform for Rows<T> {
    fn describe() -> ModuleInfo {
        let name = std::any::type_name::<T>().rsplit("::").next().unwrap_or_default();
        ModuleInfo { name: name.to_owned(), version: "0".to_owned(), config_schema: T::config_schema().map(str::to_owned) }
    }

    fn plan(schema: &TableSchema, config: &str) -> Result<Planned<Self>, PlanError> {
        let mut plan = Plan::of(schema);
        let work = T::plan(&mut plan, parse_config(config)?)?;
        Ok(match plan.finish() {
            Finished::Excluded(reason) => Planned::Exclude(Some(reason)),
            Finished::Included { plan, computed, filters } => Planned::Include(plan, Self { work, computed, filters }),
        })
    }

    fn transform(&mut self, batch: &Batch) -> Result<BatchResult, String> {
        let mut outputs: Vec<_> = self.computed.iter().map(|computed| ColumnBuilder::new(&computed.sql_type, batch.rows)).collect();
        let mut keep = Keep::all(batch.rows);
        let mut errors = Vec::new();
        for index in batch.row_numbers() {
            if self.has_work(batch, index) {
                let mut row = Row { batch, index, outputs: &mut outputs, discarded: false, misfit: None };
                let verdict = self.work.row(&mut row);
                let discarded = row.discarded;
                let verdict = match row.misfit.take() {
                    Some(message) if verdict.is_ok() && !discarded => Err(Rejection::new("output-form", message)),
                    _ => verdict,
                };
                match verdict {
                    Err(Rejection { code, message }) => errors.push(RowError { row: index as u32, code, message }),
                    Ok(()) if discarded && !self.filters => {
                        return Err("a row was discarded, but the plan does not say that the module filters".to_owned());
                    }
                    Ok(()) if discarded => keep.drop_row(index),
                    Ok(()) => {}
                }
            }
            self.close(batch, index, &mut outputs);
        }
        Ok(BatchResult { keep: keep.into_bits(), columns: outputs.into_iter().map(ColumnBuilder::finish).collect(), errors })
    }
}

impl<T> Rows<T> {
    /// False when every output keeps its value in the target anyway.
    fn has_work(&self, batch: &Batch, row: usize) -> bool {
        self.filters || self.computed.iter().any(|computed| !lacks_input(computed, batch, row))
    }

    /// Gives each output its one value for the row.
    fn close(&self, batch: &Batch, row: usize, outputs: &mut [ColumnBuilder]) {
        for (computed, column) in self.computed.iter().zip(outputs) {
            let absent = lacks_input(computed, batch, row);
            if absent && column.len() > row {
                column.pop();
            }
            if absent {
                column.push_absent();
            } else if column.len() == row {
                // Every type has NULL.
                let _ = column.push(Cell::Null);
            }
        }
    }
}

fn lacks_input(computed: &Computed, batch: &Batch, row: usize) -> bool {
    computed.from.iter().any(|input| batch.columns[*input].is_absent(row))
}
