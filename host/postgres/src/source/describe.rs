//! Descriptions of tables, from the catalog (now) and from the log (then).
//!
//! The catalog is read now, while a Relation message describes the past. So columns, types, modifiers and identity
//! flags come from the message, and the catalog only adds what the message cannot say: key order, nullability, names
//! of types, labels of enumerations. The primary key is never inferred from the flags: with identity FULL every column
//! is flagged.
//!
//! Generated columns are left out of both: up to PostgreSQL 17 the log does not carry them, so a copy of them would go
//! stale with the first update. The check of a task names them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tidegate_connector::{ConnectorError, Lineage, SourceTable};
use tidegate_model::schema::RowEncoding;
use tidegate_model::{BeforeImages, Column, Engine, TableName, TableSchema};
use tokio_postgres::Client;

use super::catalog::{self, TableFacts};
use crate::pgoutput::RelationMessage;
use crate::types::decode::PostgresDecoder;
use crate::types::{TypeEntry, below_domain, resolve};

/// How often tables are read before it is left to the caller to wait: a type that is replaced again within milliseconds is rare (by guess).
const READS_MAX: u32 = 5;

/// What `format_type` calls a type that is not there. One that a user named so would be quoted.
const GONE: &str = "???";

/// A column, from whichever side it comes.
struct ColumnWanted<'a> {
    name: &'a str,
    type_oid: u32,
    modifier: i32,
    nullable: bool,
    collation: Option<String>,
}

/// Descriptions of the tables with these names, in any order, as the catalog has them at one moment; those that do not exist are left out.
pub(crate) async fn from_catalog(client: &Client, names: &[TableName]) -> Result<Vec<Arc<SourceTable>>, ConnectorError> {
    for _ in 0..READS_MAX {
        if let Some(described) = from_facts(client, &catalog::tables_by_name(client, names).await?).await? {
            return Ok(described);
        }
    }
    let found = format!("a column's type went while the source's tables were looked at, {READS_MAX} times in a row");
    Err(ConnectorError::transient("tables_changing", found))
}

/// `None` when a type went that a column had: the table was altered after its facts were read.
async fn from_facts(client: &Client, tables: &[TableFacts]) -> Result<Option<Vec<Arc<SourceTable>>>, ConnectorError> {
    let used: Vec<u32> = tables.iter().flat_map(|table| table.columns.iter().map(|column| column.type_oid)).collect();
    let types = catalog::types(client, used).await?;
    let all = tables.iter().flat_map(|table| &table.columns).map(|column| (column.type_oid, column.modifier)).collect();
    let natives = native_names(client, &types, all).await?;
    if natives.values().any(|name| name == GONE) {
        return Ok(None);
    }
    let mut described = Vec::with_capacity(tables.len());
    for table in tables {
        let wanted: Vec<ColumnWanted<'_>> = table
            .columns
            .iter()
            .filter(|column| !column.generated)
            .map(|column| ColumnWanted {
                name: &column.name,
                type_oid: column.type_oid,
                modifier: column.modifier,
                nullable: column.nullable,
                collation: column.collation.clone(),
            })
            .collect();
        let (columns, decoder) = columns(&types, &natives, &wanted);
        let names: Vec<&str> = wanted.iter().map(|column| column.name).collect();
        let key = |index: Option<Vec<String>>| index.and_then(|key| places(&names, &key)).unwrap_or_default();
        let primary_key = key(index_names(table, |index| index.primary));
        let usable = |index: &catalog::IndexFacts| index.immediate;
        let identity = match table.replica_identity {
            b'd' => key(index_names(table, |index| index.primary && usable(index))),
            b'i' => key(index_names(table, |index| index.replica_identity && usable(index))),
            b'f' if primary_key.is_empty() => (0..names.len()).collect(),
            b'f' => primary_key.clone(),
            _ => Vec::new(),
        };
        let before_images = before_images(table.replica_identity, &identity);
        described.push(Arc::new(SourceTable {
            schema: TableSchema {
                name: table.name.clone(),
                engine: Engine::Postgres,
                unique_keys: unique_keys(table, &names),
                columns,
                primary_key,
                identity,
                before_images,
                encoding: RowEncoding::Postgres,
                version: 1,
            },
            decoder: Arc::new(decoder),
            rows_estimate: table.rows_estimate,
            lineage: Some(lineage(table, &names)),
        }));
    }
    Ok(Some(described))
}

/// The description of a table as a Relation message has it, with the catalog's help.
pub(crate) async fn from_message(client: &Client, message: &RelationMessage, version: u32) -> Result<SourceTable, ConnectorError> {
    let facts = catalog::table_by_oid(client, message.oid).await?;
    let types = catalog::types(client, message.columns.iter().map(|column| column.type_oid).collect()).await?;
    let known = |name: &str| facts.as_ref().and_then(|facts| facts.columns.iter().find(|column| column.name == name));
    let wanted: Vec<ColumnWanted<'_>> = message
        .columns
        .iter()
        .map(|column| ColumnWanted {
            name: &column.name,
            type_oid: column.type_oid,
            modifier: column.modifier,
            nullable: known(&column.name).is_none_or(|column| column.nullable),
            collation: known(&column.name).and_then(|column| column.collation.clone()),
        })
        .collect();
    let natives = native_names(client, &types, wanted.iter().map(|column| (column.type_oid, column.modifier)).collect()).await?;
    let (columns, decoder) = columns(&types, &natives, &wanted);
    let names: Vec<&str> = wanted.iter().map(|column| column.name).collect();
    let flagged: Vec<usize> = (0..names.len()).filter(|place| message.columns[*place].key).collect();
    let catalog_key = |choose: fn(&catalog::IndexFacts) -> bool| {
        facts.as_ref().and_then(|facts| index_names(facts, choose)).and_then(|key| places(&names, &key))
    };
    // The order of a key is the catalog's, as long as the catalog still has the key that the message flags.
    let ordered = |key: Option<Vec<usize>>| {
        key.filter(|key| {
            let mut sorted = key.clone();
            sorted.sort_unstable();
            sorted == flagged
        })
        .unwrap_or_else(|| flagged.clone())
    };
    let catalog_primary = catalog_key(|index| index.primary);
    let (primary_key, identity) = match message.replica_identity {
        b'd' => {
            let key = ordered(catalog_primary);
            (key.clone(), key)
        }
        b'i' => (catalog_primary.unwrap_or_default(), ordered(catalog_key(|index| index.replica_identity))),
        b'f' => {
            let key = catalog_primary.unwrap_or_default();
            let identity = if key.is_empty() { (0..names.len()).collect() } else { key.clone() };
            (key, identity)
        }
        _ => (catalog_primary.unwrap_or_default(), Vec::new()),
    };
    let before_images = before_images(message.replica_identity, &identity);
    Ok(SourceTable {
        schema: TableSchema {
            name: TableName::new(message.schema.clone(), message.name.clone()),
            engine: Engine::Postgres,
            unique_keys: facts.as_ref().map(|facts| unique_keys(facts, &names)).unwrap_or_default(),
            columns,
            primary_key,
            identity,
            before_images,
            encoding: RowEncoding::Postgres,
            version,
        },
        decoder: Arc::new(decoder),
        lineage: facts.as_ref().map(|facts| lineage(facts, &names)),
        rows_estimate: facts.map_or(0, |facts| facts.rows_estimate),
    })
}

/// The names of types with their modifiers, as DDL spells them, each asked for once. A domain is named by the type below it: its checks held
/// at the source, and a target may not have it.
async fn native_names(
    client: &Client,
    types: &HashMap<u32, TypeEntry>,
    used: Vec<(u32, i32)>,
) -> Result<HashMap<(u32, i32), String>, ConnectorError> {
    let bases: HashSet<(u32, i32)> = used.into_iter().map(|(oid, modifier)| below_domain(types, oid, modifier)).collect();
    let bases: Vec<(u32, i32)> = bases.into_iter().collect();
    let natives = catalog::type_names(client, &bases).await?;
    Ok(bases.into_iter().zip(natives).collect())
}

fn columns(
    types: &HashMap<u32, TypeEntry>,
    natives: &HashMap<(u32, i32), String>,
    wanted: &[ColumnWanted<'_>],
) -> (Vec<Column>, PostgresDecoder) {
    let mut columns = Vec::with_capacity(wanted.len());
    let mut forms = Vec::with_capacity(wanted.len());
    for column in wanted {
        let base = below_domain(types, column.type_oid, column.modifier);
        let native_type = natives.get(&base).expect("every column's type was asked for").clone();
        let (sql_type, form) = resolve(types, base.0, base.1, &native_type);
        forms.push((column.name.to_owned(), form));
        let name = column.name.to_owned();
        let named = |oid: u32| types.get(&oid).is_some_and(|entry| entry.name == "citext");
        let is_citext =
            named(base.0) || types.get(&base.0).is_some_and(|entry| entry.element != 0 && named(below_domain(types, entry.element, -1).0));
        let collation = if is_citext { Some("citext".to_owned()) } else { column.collation.clone() };
        columns.push(Column { name, sql_type, native_type, collation, nullable: column.nullable, generated: false });
    }
    (columns, PostgresDecoder::new(forms))
}

/// The numbers of a table and of its columns by their names. A message names columns in the order of their numbers: where
/// the catalog's numbers do not rise, names have changed since, and no number can be told.
fn lineage(table: &TableFacts, names: &[&str]) -> Lineage {
    let number = |name: &&str| table.columns.iter().find(|column| column.name == **name).map_or(0, |column| column.number.unsigned_abs());
    let mut columns: Vec<u16> = names.iter().map(number).collect();
    if !columns.is_sorted_by(|one, next| one < next) {
        columns.fill(0);
    }
    Lineage { table: table.oid, columns }
}

/// How much of an old row the log has. A table without any column is full with nothing.
fn before_images(replica_identity: u8, identity: &[usize]) -> BeforeImages {
    match replica_identity {
        b'f' => BeforeImages::Full,
        _ if identity.is_empty() => BeforeImages::None,
        _ => BeforeImages::KeyOnly,
    }
}

/// Column names of the first index that `choose` takes, in key order.
fn index_names(table: &TableFacts, choose: impl Fn(&catalog::IndexFacts) -> bool) -> Option<Vec<String>> {
    let index = table.indexes.iter().find(|index| choose(index))?;
    index
        .columns
        .iter()
        .map(|number| table.columns.iter().find(|column| column.number == *number).map(|column| column.name.clone()))
        .collect()
}

fn unique_keys(table: &TableFacts, names: &[&str]) -> Vec<Vec<usize>> {
    let others = table.indexes.iter().filter(|index| !index.primary);
    others
        .filter_map(|index| {
            let name = |number: &i16| table.columns.iter().find(|column| column.number == *number).map(|column| column.name.clone());
            places(names, &index.columns.iter().map(name).collect::<Option<Vec<_>>>()?)
        })
        .collect()
}

fn places(names: &[&str], wanted: &[String]) -> Option<Vec<usize>> {
    wanted.iter().map(|name| names.iter().position(|have| have == name)).collect()
}
