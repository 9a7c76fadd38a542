//! Keeps one [`Transform`] for each table and passes calls on to it.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::{Batch, BatchResult, PlanError, PlanOutcome, RowNeeds, RowPlan, TablePlan, TableSchema, TextLayout, Transform};

/// What a module wants done with a table.
pub enum Planned<T> {
    /// The table does not take part; the reason, if there is one to tell.
    Exclude(Option<String>),
    /// The table takes part, and its rows (if the plan has `rows`) are passed to this value.
    Include(TablePlan, T),
}

/// The tables of a module.
pub struct Tables<T>(RefCell<BTreeMap<u32, T>>);

impl<T> Tables<T> {
    /// No tables.
    pub const fn new() -> Self {
        Self(RefCell::new(BTreeMap::new()))
    }
}

impl<T> Default for Tables<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Plans a table and keeps its value.
///
/// # Errors
/// The module's own.
pub fn plan<T: Transform>(tables: &Tables<T>, table: u32, schema: &TableSchema, config: &str) -> Result<PlanOutcome, PlanError> {
    forget(tables, table);
    match T::plan(schema, config)? {
        Planned::Exclude(reason) => Ok(PlanOutcome::Exclude(reason)),
        Planned::Include(plan, work) => {
            tables.0.borrow_mut().insert(table, work);
            Ok(PlanOutcome::Include(plan))
        }
    }
}

/// Passes a batch to the table's value.
///
/// # Errors
/// The module's own, or that the table was never planned.
pub fn transform<T: Transform>(tables: &Tables<T>, table: u32, batch: &Batch) -> Result<BatchResult, String> {
    match tables.0.borrow_mut().get_mut(&table) {
        Some(work) => work.transform(batch),
        None => Err(format!("table {table} was not planned")),
    }
}

/// Drops the table's value.
pub fn forget<T>(tables: &Tables<T>, table: u32) {
    tables.0.borrow_mut().remove(&table);
}

/// A plan that takes the table as it is.
pub fn unchanged() -> TablePlan {
    TablePlan {
        target_namespace: None,
        target_name: None,
        renames: Vec::new(),
        drops: Vec::new(),
        outputs: Vec::new(),
        primary_key: None,
        rows: None,
        notes: Vec::new(),
        hints: Vec::new(),
    }
}

/// Row-level work on these source columns, text in buffers.
pub fn row_plan<S: Into<String>>(inputs: impl IntoIterator<Item = S>, needs: RowNeeds) -> RowPlan {
    RowPlan { inputs: inputs.into_iter().map(Into::into).collect(), needs, text: TextLayout::Buffers }
}
