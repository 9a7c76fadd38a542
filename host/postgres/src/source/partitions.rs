//! Partitions of a table, as rules name them.

use std::collections::HashSet;

use tidegate_connector::{ConnectorError, SourceTable, TableCut};
use tidegate_model::TableName;
use tokio_postgres::Client;

use super::catalog::get;
use crate::fault::pg_error;

const PARTITIONED: &str = "select count(*) > 0 from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
    where n.nspname = $1 and c.relname = $2 and c.relkind = 'p'";

/// Leaves that are, or lie in, partitions of these names; a name without leaves comes alone.
const NAMED: &str = "select w.name::pg_catalog.text, l.relid::pg_catalog.oid, p.relid is not null from pg_catalog.unnest($3::pg_catalog.text[]) w (name) \
    left join (select t.relid, x.relname from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace, \
      lateral pg_catalog.pg_partition_tree(c.oid) t join pg_catalog.pg_class x on x.oid = t.relid \
      where n.nspname = $1 and c.relname = $2 and c.relkind = 'p' and t.level > 0) p on p.relname = w.name \
    left join lateral pg_catalog.pg_partition_tree(p.relid) l on l.isleaf";

/// True for the root of a partitioned table.
pub(crate) async fn is_partitioned(client: &Client, table: &TableName) -> Result<bool, ConnectorError> {
    let attempted = format!("look for partitions of table \"{table}\"");
    let row = client.query_one(PARTITIONED, &[&table.schema, &table.name]).await.map_err(|error| pg_error(&attempted, error))?;
    get(&row, 0, &attempted)
}

/// Numbers of the leaves that lie in the named partitions, at any level.
pub(crate) async fn named(client: &Client, table: &SourceTable, cut: &TableCut, names: &[String]) -> Result<HashSet<u32>, ConnectorError> {
    let name = &table.schema.name;
    let attempted = format!("look for partitions of table \"{name}\"");
    let rows = client.query(NAMED, &[&name.schema, &name.name, &names]).await.map_err(|error| pg_error(&attempted, error))?;
    let mut leaves = HashSet::new();
    for row in &rows {
        let (wanted, leaf, is_there): (String, Option<u32>, bool) =
            (get(row, 0, &attempted)?, get(row, 1, &attempted)?, get(row, 2, &attempted)?);
        if !is_there {
            return Err(cut.refused(name, &format!("the table has no partition \"{wanted}\"")));
        }
        leaves.extend(leaf);
    }
    Ok(leaves)
}
