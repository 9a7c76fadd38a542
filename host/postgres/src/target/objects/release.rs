//! Takes away what stands in the way of a load: foreign keys between tables that are to be dropped, and on tables that
//! are loaded again what this task built and a load cannot stand.

use std::collections::HashSet;
use std::sync::Arc;

use tidegate_connector::{ConnectorError, Dialect, TablePreparation, TargetTable};
use tidegate_model::{Fence, TableName};
use tokio_postgres::GenericClient;

use super::sql::Kind;
use crate::connect::pg_error;

/// Foreign keys from one table to another.
const REFERENCES: &str = "select n.nspname::text, c.relname::text, k.conname::text, rn.nspname::text, r.relname::text from pg_constraint k \
    join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace \
    join pg_class r on r.oid = k.confrelid join pg_namespace rn on rn.oid = r.relnamespace \
    join unnest($1::text[], $2::text[]) w(s, t) on w.s = rn.nspname and w.t = r.relname \
    where k.contype = 'f' and k.conparentid = 0 and k.conrelid <> k.confrelid";

struct Reference {
    from: TableName,
    constraint: String,
}

async fn references(client: &impl GenericClient, tables: &[&TableName]) -> Result<Vec<Reference>, ConnectorError> {
    let schemas: Vec<&str> = tables.iter().map(|table| table.schema.as_str()).collect();
    let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
    let rows = client.query(REFERENCES, &[&schemas, &names]).await.map_err(|error| pg_error("look for foreign keys", error))?;
    let found =
        rows.iter().map(|row| Reference { from: TableName::new(row.get::<_, String>(0), row.get::<_, String>(1)), constraint: row.get(2) });
    Ok(found.collect())
}

/// True when a table that is not among them has a foreign key to one of these tables: TRUNCATE is refused then,
/// whatever the session's role.
pub(crate) async fn is_referenced_by_others(client: &impl GenericClient, tables: &[&TableName]) -> Result<bool, ConnectorError> {
    Ok(references(client, tables).await?.iter().any(|reference| !tables.contains(&&reference.from)))
}

/// See `Target::release_tables`. Inside a transaction of the caller that holds the fence.
pub(crate) async fn release(
    tx: &impl GenericClient,
    fence: &Fence,
    tables: &[(Arc<TargetTable>, TablePreparation)],
) -> Result<(), ConnectorError> {
    let of = |wanted: &[TablePreparation]| -> Vec<&TableName> {
        tables.iter().filter(|(_, preparation)| wanted.contains(preparation)).map(|(table, _)| &table.name).collect()
    };
    let dropped = of(&[TablePreparation::DropAndCreate]);
    let is_dropped: HashSet<&TableName> = dropped.iter().copied().collect();
    for reference in references(tx, &dropped).await? {
        if is_dropped.contains(&reference.from) {
            drop_constraint(tx, &reference.from, &reference.constraint).await?;
        } else {
            drop_built(tx, fence, &reference.from, &[Kind::ForeignKey], Some(&reference.constraint)).await?;
        }
    }
    let emptied = of(&[TablePreparation::Truncate, TablePreparation::Fit]);
    let fitted = of(&[TablePreparation::Fit]);
    if emptied.is_empty() {
        return Ok(());
    }
    // A unique index may be what a foreign key of another table stands on, so these go first.
    for reference in references(tx, &emptied).await? {
        drop_built(tx, fence, &reference.from, &[Kind::ForeignKey], Some(&reference.constraint)).await?;
    }
    for table in emptied {
        drop_built(tx, fence, table, &[Kind::ForeignKey, Kind::Exclusion, Kind::Unique], None).await?;
    }
    // A condition may be another one with the changed definition, or none.
    for table in fitted {
        drop_built(tx, fence, table, &[Kind::Check], None).await?;
    }
    Ok(())
}

/// Drops what the task built of these kinds, or of these only the one with this name in the target.
async fn drop_built(
    tx: &impl GenericClient,
    fence: &Fence,
    table: &TableName,
    kinds: &[Kind],
    only: Option<&str>,
) -> Result<(), ConnectorError> {
    let sql = "delete from tidegate.object where task = $1 and schema_name = $2 and table_name = $3 and kind = any($4) and state = 'built' \
               and ($5::text is null or made_name = $5) returning made_name";
    let kinds: Vec<&str> = kinds.iter().map(|kind| kind.text()).collect();
    let rows = tx.query(sql, &[&fence.task.as_str(), &table.schema, &table.name, &kinds, &only]).await;
    for row in rows.map_err(|error| pg_error("forget what was built", error))? {
        let Some(made) = row.get::<_, Option<String>>(0) else { continue };
        let is_constraint = "select 1 from pg_constraint where conname = $1 and conrelid = to_regclass($2)";
        let found = tx.query_opt(is_constraint, &[&made, &Dialect::POSTGRES.table(table)]).await;
        if found.map_err(|error| pg_error("look for a constraint", error))?.is_some() {
            drop_constraint(tx, table, &made).await?;
        } else {
            let index = Dialect::POSTGRES.table(&TableName::new(table.schema.clone(), made));
            let done = tx.batch_execute(&format!("drop index if exists {index}")).await;
            done.map_err(|error| pg_error(&format!("drop index {index}"), error))?;
        }
    }
    Ok(())
}

async fn drop_constraint(tx: &impl GenericClient, table: &TableName, constraint: &str) -> Result<(), ConnectorError> {
    let sql =
        format!("alter table {} drop constraint if exists {}", Dialect::POSTGRES.table(table), Dialect::POSTGRES.identifier(constraint));
    tx.batch_execute(&sql).await.map_err(|error| pg_error(&format!("drop constraint \"{constraint}\" of table \"{table}\""), error))
}
