//! Changes applied one after the other: of keyless tables, and of rows whose identity changes.

use std::sync::Arc;

use tidegate_connector::{ConnectorError, Image, OrderedChange, Strictness};

use super::batch::Expected;
use super::fault::incomplete;
use super::plan::TablePlan;
use super::sql;
use super::writer::Writer;

/// Applies the changes in order and returns the rows touched.
pub(crate) async fn apply(
    writer: &mut Writer,
    plan: &Arc<TablePlan>,
    strictness: Strictness,
    changes: &[OrderedChange],
) -> Result<u64, ConnectorError> {
    // Without an identity nothing tells a row that is there from its equal, so there is no idempotent form.
    let is_strict = strictness == Strictness::Strict || plan.identity.is_empty();
    for change in changes {
        match change {
            OrderedChange::Insert(new) if is_strict => writer.insert_all(plan, &[new]).await?,
            OrderedChange::Update { old, new } if is_strict => {
                if let Some(statement) = sql::update_row(plan, &plan.known(new), new, old.as_ref().unwrap_or(new))? {
                    writer.push_row(plan, new, &statement, Expected::rows(plan, "update", Some(1))).await?;
                }
            }
            OrderedChange::Delete(old) => {
                let wanted = is_strict.then_some(1);
                writer.push(&sql::delete_row(plan, old)?, Expected::rows(plan, "delete", wanted)).await?;
            }
            OrderedChange::Insert(new) => replace(writer, plan, &[new], new).await?,
            OrderedChange::Update { old, new } => update(writer, plan, old.as_ref().unwrap_or(new), new).await?,
        }
    }
    Ok(changes.len() as u64)
}

/// An update that may have happened already, wholly or not at all.
async fn update(writer: &mut Writer, plan: &Arc<TablePlan>, old: &Image, new: &Image) -> Result<(), ConnectorError> {
    let set = plan.known(new);
    if set.len() == plan.columns.len() {
        return replace(writer, plan, &[old, new], new).await;
    }
    let found = writer.ask(&sql::lock_row(plan, old)?, Expected::rows(plan, "select", None)).await?;
    let from = if found == 1 {
        // The identity was free when the source made this change, so a row that has it now came later and comes again.
        if identity(plan, old)? != identity(plan, new)? {
            writer.push(&sql::delete_row(plan, new)?, Expected::rows(plan, "delete", None)).await?;
        }
        old
    } else {
        new
    };
    let Some(statement) = sql::update_row(plan, &set, new, from)? else { return Err(incomplete(plan)) };
    let expected = Expected::Rows { plan: plan.clone(), verb: "update", wanted: Some(1), is_loose: true };
    writer.push_row(plan, new, &statement, expected).await
}

async fn replace(writer: &mut Writer, plan: &Arc<TablePlan>, gone: &[&Image], new: &Image) -> Result<(), ConnectorError> {
    for image in gone {
        writer.push(&sql::delete_row(plan, image)?, Expected::rows(plan, "delete", None)).await?;
    }
    writer.insert_all(plan, &[new]).await
}

fn identity(plan: &TablePlan, image: &Image) -> Result<Vec<Vec<u8>>, ConnectorError> {
    let mut all = Vec::with_capacity(plan.identity.len());
    for column in &plan.identity {
        let mut out = Vec::new();
        plan.put_cell(*column, image, &mut out)?;
        all.push(out);
    }
    Ok(all)
}
