//! What is done with one table before its first row.

use std::sync::Arc;

use tidegate_connector::{ConnectorError, Dialect, ErrorClass, TablePreparation, TargetTable};
use tidegate_model::Fence;
use tokio_postgres::GenericClient;

use super::plan::TablePlan;
use super::real::{RealTable, read_real};
use super::session::may_act_as_replica;
use super::{ddl, fit, labels, objects, others};
use crate::connect::pg_error;

/// See `Target::prepare_table`. Inside a transaction that holds the fence and the right to prepare.
pub(crate) async fn prepare(
    tx: &impl GenericClient,
    fence: &Fence,
    table: &Arc<TargetTable>,
    preparation: TablePreparation,
) -> Result<(), ConnectorError> {
    let mut found = read_real(tx, &table.name).await?;
    if let Some(real) = &found
        && preparation != TablePreparation::DropAndCreate
        && labels::add_missing(tx, table, real).await?
    {
        found = read_real(tx, &table.name).await?;
    }
    match (&found, preparation) {
        (None, _) => create(tx, fence, table).await?,
        (Some(_), TablePreparation::Keep) => {}
        (Some(real), TablePreparation::DropAndCreate) => {
            if !is_changed_in_place(tx, fence, table, real).await? {
                let drop = format!("drop table {}", Dialect::POSTGRES.table(&table.name));
                ddl::run(tx, table, &drop, &drop).await?;
                create(tx, fence, table).await?;
            }
        }
        (Some(real), TablePreparation::Truncate) => {
            // A table that does not fit keeps its rows.
            TablePlan::new(table, real)?;
            empty(tx, table).await?;
        }
        (Some(real), TablePreparation::Fit) => {
            empty(tx, table).await?;
            fit::fit_columns(tx, table, real).await?;
        }
    }
    if found.is_none() || preparation != TablePreparation::Keep {
        // New columns may be of types that were there before.
        if let Some(real) = read_real(tx, &table.name).await? {
            labels::add_missing(tx, table, &real).await?;
        }
    }
    Ok(())
}

async fn create(tx: &impl GenericClient, fence: &Fence, table: &TargetTable) -> Result<(), ConnectorError> {
    ddl::create_table(tx, table).await?;
    objects::note_created(tx, fence, &[&table.name]).await
}

/// TRUNCATE is refused while a foreign key refers to the table, even where it does not fire.
async fn empty(tx: &impl GenericClient, table: &TargetTable) -> Result<(), ConnectorError> {
    let name = Dialect::POSTGRES.table(&table.name);
    let is_referenced = objects::is_referenced_by_others(tx, &[&table.name]).await?;
    let sql = if is_referenced && may_act_as_replica(tx).await? {
        format!("set local session_replication_role = replica; delete from {name}; set local session_replication_role = origin")
    } else {
        format!("truncate {name}")
    };
    ddl::run(tx, table, &format!("empty {name}"), &sql).await
}

/// A table that the task made, and on which somebody has put something since, is not dropped when it is loaded again, but emptied and
/// fitted. False where that is not needed, or not possible and nothing depends on the table.
async fn is_changed_in_place(
    tx: &impl GenericClient,
    fence: &Fence,
    table: &Arc<TargetTable>,
    real: &RealTable,
) -> Result<bool, ConnectorError> {
    let is_ours = objects::is_created(tx, fence, &table.name).await?;
    if !is_ours || others::with_additions(tx, fence, &[real.oid]).await?.is_empty() {
        return Ok(false);
    }
    let failed = |error| pg_error("change a table in place", error);
    tx.batch_execute("savepoint in_place").await.map_err(failed)?;
    let error = match change_in_place(tx, fence, table, real).await {
        Ok(()) => return Ok(true),
        Err(error) if error.class() == ErrorClass::Transient => return Err(error),
        Err(error) => error,
    };
    tx.batch_execute("rollback to savepoint in_place").await.map_err(failed)?;
    let dependents = others::dependents(tx, &[real.oid]).await?.remove(&real.oid).unwrap_or_default();
    if dependents.is_empty() {
        return Ok(false);
    }
    let (name, list) = (&table.name, dependents.join(", "));
    let text =
        format!("table \"{name}\" cannot be dropped, because of what depends on it ({list}), nor changed in place: {}", error.chain());
    let error = ConnectorError::table(&table.source.schema.name, "dependent_objects", text);
    Err(error.hint("drop what depends on the table, resume the task, and make it again when the table is loaded"))
}

async fn change_in_place(tx: &impl GenericClient, fence: &Fence, table: &Arc<TargetTable>, real: &RealTable) -> Result<(), ConnectorError> {
    objects::release(tx, fence, &[(table.clone(), TablePreparation::Fit)]).await?;
    empty(tx, table).await?;
    fit::fit_columns(tx, table, real).await?;
    if let Some(real) = read_real(tx, &table.name).await? {
        labels::add_missing(tx, table, &real).await?;
    }
    if let Some(real) = read_real(tx, &table.name).await? {
        TablePlan::new(table, &real)?;
        if let Some(found) = fit::other_type(tx, table, &real).await? {
            return Err(ConnectorError::table(&table.source.schema.name, "column_type", found));
        }
    }
    Ok(())
}
