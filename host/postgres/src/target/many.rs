//! The same for many tables at once: a task of tens of thousands of them must not send a dozen requests for each.
//!
//! ```text
//!   read all ─▶ create what is missing, in one message ─▶ read again ─▶ plans
//!           └─▶ everything else: one table after the other, as ever
//! ```

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tidegate_connector::{ChunkRecord, ConnectorError, Dialect, LoadPlan, TablePreparation, TargetTable};
use tidegate_model::{Fence, TableName, TableState};
use tokio_postgres::GenericClient;

use super::ddl::{self, Rich, Wanted, wanted_type};
use super::plan::TablePlan;
use super::real::{RealTable, read_all};
use super::{control, labels, objects, others, plans};
use crate::connect::pg_error;

/// Tables that one transaction prepares: each takes a lock for itself and for each of its indexes, and a server has room for some
/// thousands.
pub(crate) const TOGETHER: usize = 64;

type Preparation = (Arc<TargetTable>, TablePreparation);

/// Prepares those of the tables that are missing, are to be dropped, or stay as they are; returns their plans, and the other tables.
/// Inside a transaction that holds the fence and the right to prepare.
pub(crate) async fn prepare<'a>(
    tx: &impl GenericClient,
    fence: &Fence,
    tables: &'a [Preparation],
) -> Result<(Vec<TablePlan>, Vec<&'a Preparation>), ConnectorError> {
    let reals = read_all(tx, &names(tables)).await?;
    let drops = tables.iter().filter(|(_, preparation)| *preparation == TablePreparation::DropAndCreate);
    let dropped: Vec<u32> = drops.filter_map(|(table, _)| reals.get(&table.name)).map(|real| real.oid).collect();
    let with_additions = others::with_additions(tx, fence, &dropped).await?;
    let (mut new, mut alone, mut plans) = (Vec::new(), Vec::new(), Vec::new());
    for prepared in tables {
        let (table, preparation) = prepared;
        match (reals.get(&table.name), preparation) {
            (Some(real), TablePreparation::DropAndCreate) if with_additions.contains(&real.oid) => alone.push(prepared),
            (None, _) | (Some(_), TablePreparation::DropAndCreate) => new.push(prepared),
            (Some(real), TablePreparation::Keep) if labels::missing(table, real).is_empty() => {
                plans.push(plans::plan_of(tx, table, real).await?);
            }
            (Some(_), TablePreparation::Keep | TablePreparation::Truncate | TablePreparation::Fit) => alone.push(prepared),
        }
    }
    alone.extend(create(tx, fence, &new, &reals).await?);
    let made: Vec<&Arc<TargetTable>> =
        new.iter().map(|(table, _)| table).filter(|table| !alone.iter().any(|(other, _)| other.name == table.name)).collect();
    let reals = read_all(tx, &made.iter().map(|table| &table.name).collect::<Vec<_>>()).await?;
    for table in made {
        let is_complete = reals.get(&table.name).filter(|real| labels::missing(table, real).is_empty());
        plans.push(match (is_complete, reals.get(&table.name)) {
            (Some(real), _) => plans::plan_of(tx, table, real).await?,
            // New columns may be of types that were there before.
            (None, Some(real)) => {
                labels::add_missing(tx, table, real).await?;
                plans::learn(tx, table).await?
            }
            (None, None) => plans::learn(tx, table).await?,
        });
    }
    Ok((plans, alone))
}

/// Creates tables whose types the target knows, in one message; `reals` are dropped before. Returns the others: all of them, where the server
/// refuses any, so that each is told by its own error.
async fn create<'a>(
    tx: &impl GenericClient,
    fence: &Fence,
    new: &[&'a Preparation],
    reals: &HashMap<TableName, RealTable>,
) -> Result<Vec<&'a Preparation>, ConnectorError> {
    let failed = |error| pg_error("create tables", error);
    tx.batch_execute("savepoint many").await.map_err(failed)?;
    let Ok(known) = known_types(tx, new).await else {
        // A modifier that the server's type does not take is an error.
        tx.batch_execute("rollback to savepoint many").await.map_err(failed)?;
        return Ok(new.to_vec());
    };
    let (mut together, mut alone, mut sql) = (Vec::new(), Vec::new(), String::new());
    for prepared in new {
        let table = &prepared.0;
        let types: Option<Vec<String>> = (0..table.columns.len())
            .map(|index| match wanted_type(table, index) {
                Wanted::Neutral(text) => Some(text),
                Wanted::Native(column) => known.contains(&column.native_type).then(|| column.native_type.clone()),
            })
            .collect();
        let Some(types) = types else {
            alone.push(*prepared);
            continue;
        };
        if reals.contains_key(&table.name) {
            sql.push_str(&format!("drop table {}; ", Dialect::POSTGRES.table(&table.name)));
        }
        sql.push_str(&ddl::create_sql(table, &types, Rich::Whole));
        sql.push_str("; ");
        together.push(*prepared);
    }
    let mut schemas = HashSet::new();
    for (table, _) in together.iter().filter(|(table, _)| schemas.insert(&table.name.schema)) {
        ddl::create_schema(tx, &table.name.schema, table).await?;
    }
    tx.batch_execute("savepoint many").await.map_err(failed)?;
    if tx.batch_execute(&sql).await.is_err() {
        tx.batch_execute("rollback to savepoint many").await.map_err(failed)?;
        return Ok(new.to_vec());
    }
    let made: Vec<&TableName> = together.iter().map(|(table, _)| &table.name).collect();
    objects::note_created(tx, fence, &made).await?;
    Ok(alone)
}

/// Those of the source's types that the target knows by the same names.
async fn known_types(tx: &impl GenericClient, new: &[&Preparation]) -> Result<HashSet<String>, ConnectorError> {
    let wanted = new.iter().flat_map(|(table, _)| (0..table.columns.len()).map(move |index| wanted_type(table, index)));
    let natives: HashSet<&str> = wanted
        .filter_map(|wanted| match wanted {
            Wanted::Native(column) => Some(column.native_type.as_str()),
            Wanted::Neutral(_) => None,
        })
        .collect();
    if natives.is_empty() {
        return Ok(HashSet::new());
    }
    let natives: Vec<&str> = natives.into_iter().collect();
    let rows = tx.query("select w from unnest($1::text[]) w where to_regtype(w) is not null", &[&natives]).await;
    Ok(rows.map_err(|error| pg_error("find the types of columns", error))?.iter().map(|row| row.get(0)).collect())
}

fn names(tables: &[Preparation]) -> Vec<&TableName> {
    tables.iter().map(|(table, _)| &table.name).collect()
}

/// States that one statement stores.
const STATES: usize = 1_000;

/// Stores the states of tables, each of which is named once.
pub(crate) async fn save_states(tx: &impl GenericClient, fence: &Fence, tables: &[(TableName, TableState)]) -> Result<(), ConnectorError> {
    for some in tables.chunks(STATES) {
        let sql = control::save_states_sql(fence, some.iter().map(|(table, state)| (table, state)));
        tx.batch_execute(&sql).await.map_err(|error| pg_error("store tables' states", error))?;
    }
    Ok(())
}

/// See `Target::save_plans`. Inside a transaction that holds the fence.
pub(crate) async fn save_plans(tx: &impl GenericClient, fence: &Fence, plans: &[LoadPlan]) -> Result<(), ConnectorError> {
    let failed = |error| pg_error("store the plans of loads", error);
    let task = fence.task.as_str();
    let schemas: Vec<&str> = plans.iter().map(|plan| plan.table.schema.as_str()).collect();
    let names: Vec<&str> = plans.iter().map(|plan| plan.table.name.as_str()).collect();
    let definitions: Vec<&str> = plans.iter().map(|plan| plan.definition.as_str()).collect();
    let sql = "insert into tidegate.definition (task, schema_name, table_name, definition) \
        select $1, x.* from unnest($2::text[], $3::text[], $4::text[]) x \
        on conflict (task, schema_name, table_name) do update set definition = excluded.definition";
    tx.execute(sql, &[&task, &schemas, &names, &definitions]).await.map_err(failed)?;
    for old in ["chunk", "row_error"] {
        let sql = format!(
            "delete from tidegate.{old} o using unnest($2::text[], $3::text[]) x(s, t) \
             where o.task = $1 and o.schema_name = x.s and o.table_name = x.t"
        );
        tx.execute(&sql, &[&task, &schemas, &names]).await.map_err(failed)?;
    }
    let states: Vec<_> = plans.iter().map(|plan| (plan.table.clone(), TableState::Loading)).collect();
    save_states(tx, fence, &states).await?;
    let chunks = || plans.iter().flat_map(|plan| plan.chunks.iter().map(move |record| (&plan.table, record)));
    let schemas: Vec<&str> = chunks().map(|(table, _)| table.schema.as_str()).collect();
    let names: Vec<&str> = chunks().map(|(table, _)| table.name.as_str()).collect();
    let indexes: Vec<i64> = chunks().map(|(_, record)| i64::from(record.chunk.index)).collect();
    let bounds: Vec<&str> = chunks().map(|(_, record)| record.chunk.bounds.as_str()).collect();
    let loaded = |record: &ChunkRecord| record.loaded.clone().map(|(window, rows)| (window.low.to_string(), window.high.to_string(), rows));
    let marks: Vec<_> = chunks().map(|(_, record)| loaded(record)).collect();
    let lows: Vec<Option<&str>> = marks.iter().map(|mark| mark.as_ref().map(|(low, ..)| low.as_str())).collect();
    let highs: Vec<Option<&str>> = marks.iter().map(|mark| mark.as_ref().map(|(_, high, _)| high.as_str())).collect();
    let counts: Vec<Option<i64>> =
        marks.iter().map(|mark| mark.as_ref().map(|(.., rows)| i64::try_from(*rows).unwrap_or(i64::MAX))).collect();
    let sql = "insert into tidegate.chunk (task, schema_name, table_name, chunk_index, bounds, window_low, window_high, row_count, loaded_at) \
        select $1, x.*, case when x.n is not null then clock_timestamp() end \
        from unnest($2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::bigint[]) x(s, t, i, b, l, h, n)";
    tx.execute(sql, &[&task, &schemas, &names, &indexes, &bounds, &lows, &highs, &counts]).await.map(|_| ()).map_err(failed)
}
