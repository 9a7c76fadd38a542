//! Primary keys that are built after the rows.

use std::sync::Arc;

use tidegate_connector::{ConnectorError, Dialect, TargetTable, WithheldKey};
use tokio_postgres::GenericClient;

use super::ddl::run;
use super::session::{LOCK_TIMEOUT, table_error};

/// Name and definition of a table's primary key.
const KEY: &str = "select conname::text, pg_get_constraintdef(oid) from pg_constraint where conrelid = to_regclass($1) and contype = 'p'";

/// Drops the key, inside the caller's transaction; what brings it back.
pub(crate) async fn withhold(client: &impl GenericClient, table: &Arc<TargetTable>) -> Result<Option<WithheldKey>, ConnectorError> {
    let name = Dialect::POSTGRES.table(&table.name);
    let attempted = format!("drop the primary key of table \"{}\" for its load", table.name);
    let found = client.query_opt(KEY, &[&name]).await.map_err(|error| table_error(&table.source.schema.name, &attempted, error))?;
    let Some(row) = found else { return Ok(None) };
    let (constraint, definition): (String, String) = (row.get(0), row.get(1));
    let constraint = Dialect::POSTGRES.identifier(&constraint);
    run(client, table, &attempted, &format!("set local lock_timeout = '{LOCK_TIMEOUT}'; alter table {name} drop constraint {constraint}"))
        .await?;
    Ok(Some(WithheldKey(format!("constraint {constraint} {definition}"))))
}

/// Adds the key, inside the caller's transaction.
pub(crate) async fn give_back(client: &impl GenericClient, table: &Arc<TargetTable>, key: &WithheldKey) -> Result<(), ConnectorError> {
    let sql = format!("set local lock_timeout = '{LOCK_TIMEOUT}'; alter table {} add {}", Dialect::POSTGRES.table(&table.name), key.0);
    run(client, table, &format!("build the primary key of table \"{}\" after its load", table.name), &sql).await
}
