//! The built-in module: table-mapping rules as users of AWS DMS have them.
//!
//! The configuration is the task's table-mapping JSON. Selection is decided on source names, then filters, then
//! transformations, whose locators match source names too. For each object and kind of action the lowest `rule-id` wins,
//! but a column that any rule removes is removed. A table without filters and computed columns costs nothing per row.
//!
//! ```text
//!   mapping, action    JSON -> rules, every key known or refused
//!   pattern            % _ [ab] [a-d] in locators
//!   select             is the table in, and with which filters
//!   rename             names, dropped columns and key of the target
//!   columns            columns that are added or changed, and what computes them
//!   filter             typed comparisons on batches
//!   expression         SQLite's scalar expressions, a block of rows at a time
//!   work, typed, mask  computed columns on batches
//! ```

mod action;
mod bind;
mod calendar;
#[cfg(test)]
mod column_tests;
mod columns;
mod compare;
mod data_type;
mod expression;
mod filter;
mod locator;
mod mapping;
mod mask;
mod names;
mod pattern;
mod reader;
mod rename;
mod select;
#[cfg(test)]
mod tests;
mod typed;
mod work;

use std::cell::RefCell;
use std::rc::Rc;

use tidegate_transform_sdk::{
    Batch, BatchResult, Keep, ModuleInfo, PlanError, Planned, RowError, RowNeeds, TableSchema, Transform, row_plan, unchanged,
};

use crate::filter::RowFilter;
use crate::mapping::Mapping;
use crate::work::{Input, NOT_LOGGED, Work};

/// The work on one table: its filter, if it has one, and its computed columns.
pub struct Rules {
    filter: Option<RowFilter>,
    work: Work,
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
        rename::apply(&mapping, schema, &mut plan)?;
        let filter = RowFilter::compile(&filters, schema)?;
        let mut work = Work::default();
        // The filter's inputs come first: it knows them by their place.
        for name in filter.iter().flat_map(RowFilter::inputs) {
            if let Some(column) = schema.columns.iter().find(|column| column.name == *name) {
                work.input(Input { name: name.clone(), sql_type: column.sql_type.clone(), is_header: false });
            }
        }
        columns::apply(&mapping, schema, &mut plan, &mut work)?;
        let mut needs = RowNeeds::DETERMINISTIC;
        if filter.is_some() {
            needs |= RowNeeds::FILTERS;
        }
        if !work.outputs.is_empty() {
            // What an image lacks matters to each column by itself.
            needs |= RowNeeds::PARTIAL_IMAGES;
        }
        if filter.is_some() || !work.outputs.is_empty() {
            plan.rows = Some(row_plan(work.inputs.iter().map(|input| input.name.clone()), needs));
        }
        Ok(Planned::Include(plan, Rules { filter, work }))
    }

    fn transform(&mut self, batch: &Batch) -> Result<BatchResult, String> {
        let mut keep = Keep::all(batch.rows);
        let mut dropped = vec![false; batch.rows as usize];
        let mut errors = Vec::new();
        if let Some(filter) = &self.filter {
            for row in batch.row_numbers() {
                if filter.lacks(&batch.columns, row) {
                    errors.push(unknown(row));
                } else if !filter.keeps(&batch.columns, row) {
                    keep.drop_row(row);
                    dropped[row] = true;
                }
            }
        }
        let columns = self.work.run(batch, &mut errors);
        // Nobody wants what would have come of a row that is out.
        errors.retain(|error| !dropped[error.row as usize]);
        Ok(BatchResult { keep: keep.into_bits(), columns, errors })
    }
}

fn unknown(row: usize) -> RowError {
    RowError { row: row as u32, code: NOT_LOGGED.to_owned(), message: "the log lacks a value that the filter compares".to_owned() }
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
