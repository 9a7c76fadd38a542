//! Net changes of one table as sets: deletes, then updates, then inserts.
//!
//! An update whose row is known completely is a delete and an insert of many rows at once, which also lets rows exchange
//! the values of a unique key. Updates that do not know every column, and those of tables with columns of their own, are
//! statements of one row each, many on their way at once. Nothing is ever written by ON DUPLICATE KEY UPDATE: it would
//! update whatever row has a value of any unique key in common.
//!
//! Rows that are updated one by one may exchange the values of a unique key, too. Then each waits for the row that has its
//! value, and one row of each circle is put aside: the values that its image lacks are kept in the session meanwhile.

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
    let is_loose = strictness == Strictness::Idempotent;
    if work.changed.len() > 1 && plan.has_more_keys && !plan.has_more_columns {
        update_in_turn(writer, plan, &work.changed, is_loose).await?;
    } else {
        update_all(writer, plan, &work.changed, is_loose).await?;
    }
    writer.insert_all(plan, &work.new).await?;
    Ok((work.maybe_gone.len() + work.gone.len() + work.changed.len() + work.new.len()) as u64)
}

async fn update_all(writer: &mut Writer, plan: &Arc<TablePlan>, images: &[&Image], is_loose: bool) -> Result<(), ConnectorError> {
    for image in images {
        let set: Vec<usize> = plan.known(image).into_iter().filter(|column| !plan.identity.contains(column)).collect();
        if let Some(statement) = sql::update_row(plan, &set, image, image)? {
            let expected = Expected::Rows { plan: plan.clone(), verb: "update", wanted: Some(1), is_loose };
            writer.push_row(plan, image, &statement, expected).await?;
        }
    }
    Ok(())
}

/// Updates rows that may exchange values of a unique key. An update that ran before changes nothing when it runs again,
/// and one that is refused leaves the transaction as it was.
async fn update_in_turn(writer: &mut Writer, plan: &Arc<TablePlan>, images: &[&Image], is_loose: bool) -> Result<(), ConnectorError> {
    writer.flush().await?;
    update_all(writer, plan, images, is_loose).await?;
    match writer.flush().await {
        Err(error) if error.code() == TAKEN => {}
        done => return done,
    }
    let mut waiting: Vec<&Image> = images.to_vec();
    let mut aside: Vec<&Image> = Vec::new();
    while !waiting.is_empty() {
        let mut taken = Vec::new();
        for image in &waiting {
            update_all(writer, plan, &[image], is_loose).await?;
            match writer.flush().await {
                Err(error) if error.code() == TAKEN => taken.push(*image),
                done => done?,
            }
        }
        if taken.len() == waiting.len() {
            let image = taken.remove(0);
            writer.put_aside(plan, image, aside.len()).await?;
            aside.push(image);
        }
        waiting = taken;
    }
    for (number, image) in aside.into_iter().enumerate() {
        writer.bring_back(plan, image, number).await?;
    }
    Ok(())
}

/// A value of a unique key that another row has; also a row that is not there, which goes on to be one.
const TAKEN: &str = "target_diverged";

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
