//! The built-in module: table-mapping rules as users of AWS DMS have them.
//!
//! The configuration is the task's table-mapping JSON. Selection is decided on source names, then filters, then
//! transformations, whose locators match source names too. For each object and kind of action the lowest `rule-id` wins,
//! but a column that any rule removes is removed. A table without filters costs nothing per row.
//!
//! ```text
//!   mapping   JSON -> rules, every key known or refused
//!   pattern   % _ [ab] [a-d] in locators
//!   select    is the table in, and with which filters
//!   rename    names, dropped columns and key of the target
//!   filter    typed comparisons on batches
//! ```

mod compare;
mod filter;
mod locator;
mod mapping;
mod pattern;
mod reader;
mod rename;
mod select;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::rc::Rc;

use tidegate_transform_sdk::{
    Batch, BatchResult, Keep, ModuleInfo, PlanError, Planned, RowNeeds, TableSchema, Transform, row_plan, unchanged,
};

use crate::filter::RowFilter;
use crate::mapping::Mapping;

/// The work on one table: its filter, if it has one.
pub struct Rules {
    filter: Option<RowFilter>,
}

impl Transform for Rules {
    fn describe() -> ModuleInfo {
        ModuleInfo { name: "rules".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned(), config_schema: None }
    }

    fn plan(schema: &TableSchema, config: &str) -> Result<Planned<Self>, PlanError> {
        let mapping = parsed(config)?;
        let filters = match select::select(&mapping, &schema.namespace, &schema.name) {
            select::Selected::No => return Ok(Planned::Exclude(None)),
            select::Selected::Yes { filters } => filters,
        };
        let mut plan = unchanged();
        rename::apply(&mapping, schema, &mut plan);
        let filter = RowFilter::compile(&filters, schema)?;
        if let Some(filter) = &filter {
            plan.rows = Some(row_plan(filter.inputs().to_vec(), RowNeeds::FILTERS | RowNeeds::DETERMINISTIC));
        }
        Ok(Planned::Include(plan, Rules { filter }))
    }

    fn transform(&mut self, batch: &Batch) -> Result<BatchResult, String> {
        let mut keep = Keep::all(batch.rows);
        if let Some(filter) = &self.filter {
            for row in batch.row_numbers().filter(|row| !filter.keeps(&batch.columns, *row)) {
                keep.drop_row(row);
            }
        }
        Ok(BatchResult { keep: keep.into_bits(), columns: Vec::new(), errors: Vec::new() })
    }
}

thread_local! {
    /// The mapping read last: `plan` is asked for each table with the same text, which may have a megabyte.
    static LAST: RefCell<Option<(String, Rc<Mapping>)>> = const { RefCell::new(None) };
}

fn parsed(config: &str) -> Result<Rc<Mapping>, PlanError> {
    LAST.with(|last| {
        if let Some((text, mapping)) = last.borrow().as_ref()
            && text == config
        {
            return Ok(Rc::clone(mapping));
        }
        let mapping = Rc::new(Mapping::parse(config)?);
        *last.borrow_mut() = Some((config.to_owned(), Rc::clone(&mapping)));
        Ok(mapping)
    })
}

tidegate_transform_sdk::export_transform!(Rules);
