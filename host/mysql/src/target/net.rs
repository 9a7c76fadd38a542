//! Net changes of one table as sets: deletes, then updates, then inserts.
//!
//! An update whose row is known completely is a delete and an insert of many rows at once, which also lets rows exchange
//! the values of a unique key. Updates that do not know every column, and those of tables with columns of their own, are
//! statements of one row each, many on their way at once. Nothing is ever written by ON DUPLICATE KEY UPDATE: it would
//! update whatever row has a value of any unique key in common.

use std::sync::Arc;

use tidegate_connector::{ConnectorError, ErrorClass, Image, NetChange, Strictness};

use super::batch::Expected;
use super::plan::TablePlan;
use super::sql;
use super::writer::Writer;

/// Applies the changes and returns the rows touched.
pub(crate) async fn apply(
    writer: &mut Writer,
    plan: &Arc<TablePlan>,
    strictness: Strictness,
    changes: &[NetChange],
) -> Result<u64, ConnectorError> {
    let work = Work::new(plan, strictness, changes)?;
    // Rows that may be there, and rows that must be.
    writer.delete_all(plan, &work.maybe_gone, false).await?;
    writer.delete_all(plan, &work.gone, true).await?;
    for image in &work.changed {
        let set: Vec<usize> = plan.known(image).into_iter().filter(|column| !plan.identity.contains(column)).collect();
        if let Some(statement) = sql::update_row(plan, &set, image, image)? {
            let is_loose = strictness == Strictness::Idempotent;
            writer.push(&statement, Expected::Rows { plan: plan.clone(), verb: "update", wanted: Some(1), is_loose }).await?;
        }
    }
    writer.insert_all(plan, &work.new).await?;
    Ok((work.maybe_gone.len() + work.gone.len() + work.changed.len() + work.new.len()) as u64)
}

#[derive(Default)]
struct Work<'a> {
    maybe_gone: Vec<&'a Image>,
    gone: Vec<&'a Image>,
    changed: Vec<&'a Image>,
    new: Vec<&'a Image>,
}

impl<'a> Work<'a> {
    fn new(plan: &TablePlan, strictness: Strictness, changes: &'a [NetChange]) -> Result<Work<'a>, ConnectorError> {
        let is_loose = strictness == Strictness::Idempotent && !plan.identity.is_empty();
        let mut work = Work::default();
        for change in changes {
            match change {
                NetChange::Insert(image) => {
                    if is_loose {
                        work.maybe_gone.push(image);
                    }
                    work.new.push(image);
                }
                NetChange::Replace(image) => {
                    work.leaves(is_loose).push(image);
                    work.new.push(image);
                }
                NetChange::Delete(image) => work.leaves(is_loose).push(image),
                NetChange::Update(image) => {
                    let is_complete = plan.known(image).len() == plan.columns.len();
                    // In a snapshot's window the row may be missing, so a complete one is written in any case.
                    if is_complete && (is_loose || !plan.has_more_columns) {
                        work.leaves(is_loose).push(image);
                        work.new.push(image);
                    } else {
                        work.changed.push(image);
                    }
                }
            }
        }
        if plan.identity.is_empty() && work.new.len() < changes.len() {
            let message = format!("table \"{}\" is keyless: found net changes other than inserts", plan.table.name);
            return Err(ConnectorError::new(ErrorClass::Bug, "keyless_net_change", message));
        }
        Ok(work)
    }

    fn leaves(&mut self, is_loose: bool) -> &mut Vec<&'a Image> {
        if is_loose { &mut self.maybe_gone } else { &mut self.gone }
    }
}
