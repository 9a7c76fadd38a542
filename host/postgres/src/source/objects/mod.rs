//! What tables have beside their columns and primary keys, from the catalog.
//!
//! The server's own texts are taken where it prints them (`pg_get_expr`, `pg_get_indexdef`, `pg_get_constraintdef`):
//! with an empty search path they name everything in full. `pg_depend` tells which columns and sequences they use.
//! Source: PostgreSQL manual, "System Catalogs" and "System Catalog Information Functions".

mod columns;
mod constraints;
mod sequences;

use std::collections::HashMap;

use tidegate_connector::ConnectorError;
use tidegate_model::TableName;
use tidegate_model::objects::{OtherObject, TableObjects};
use tokio_postgres::Client;

use super::catalog::{get, tables_by_name};
use crate::fault::pg_error;

const ATTEMPTED: &str = "describe indexes, constraints and defaults";

const OTHERS: &str = "select t.tgrelid::pg_catalog.oid, 'trigger', t.tgname::pg_catalog.text from pg_catalog.pg_trigger t \
      where t.tgrelid = any($1) and not t.tgisinternal and t.tgparentid = 0 \
    union all select p.polrelid, 'row security policy', p.polname from pg_catalog.pg_policy p where p.polrelid = any($1) \
    union all select r.ev_class, 'rule', r.rulename from pg_catalog.pg_rewrite r where r.ev_class = any($1) and r.rulename <> '_RETURN' \
    union all select s.stxrelid, 'statistics object', s.stxname from pg_catalog.pg_statistic_ext s where s.stxrelid = any($1) \
    union all select c.oid, 'partitioning', c.relname from pg_catalog.pg_class c where c.oid = any($1) and c.relkind = 'p' \
    union all select i.inhrelid, 'inheritance', c.relname from pg_catalog.pg_inherits i join pg_catalog.pg_class c on c.oid = i.inhparent \
      where i.inhrelid = any($1) \
    order by 1, 2, 3";

/// The tables that are described, and where each stands in the answer.
struct Tables {
    oids: Vec<u32>,
    places: HashMap<u32, usize>,
    objects: Vec<TableObjects>,
}

impl Tables {
    /// The objects of the table with this number.
    fn of(&mut self, oid: u32) -> Option<&mut TableObjects> {
        self.places.get(&oid).and_then(|place| self.objects.get_mut(*place))
    }
}

/// See `Source::describe_objects`.
pub(crate) async fn describe(client: &Client, names: &[TableName]) -> Result<Vec<TableObjects>, ConnectorError> {
    let facts = tables_by_name(client, names).await?;
    let mut tables = Tables { oids: Vec::new(), places: HashMap::new(), objects: vec![TableObjects::default(); names.len()] };
    let oids: HashMap<&TableName, u32> = facts.iter().map(|facts| (&facts.name, facts.oid)).collect();
    for (place, name) in names.iter().enumerate() {
        if let Some(oid) = oids.get(name) {
            tables.oids.push(*oid);
            tables.places.insert(*oid, place);
        }
    }
    columns::read(client, &mut tables).await?;
    constraints::read_indexes(client, &mut tables).await?;
    constraints::read_constraints(client, &mut tables).await?;
    sequences::read(client, names, &mut tables).await?;
    for row in client.query(OTHERS, &[&tables.oids]).await.map_err(|error| pg_error(ATTEMPTED, error))? {
        let kind = match get::<String>(&row, 1, ATTEMPTED)?.as_str() {
            "trigger" => "trigger",
            "row security policy" => "row security policy",
            "rule" => "rule",
            "statistics object" => "statistics object",
            "partitioning" => "partitioning",
            _ => "inheritance",
        };
        let other = OtherObject { kind, name: get(&row, 2, ATTEMPTED)? };
        if let Some(objects) = tables.of(get(&row, 0, ATTEMPTED)?) {
            objects.others.push(other);
        }
    }
    Ok(tables.objects)
}
