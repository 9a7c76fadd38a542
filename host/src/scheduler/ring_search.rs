//! Looks for rings that a task is part of: its tenant's tasks and endpoints out of the catalog, and what each task on a way back calls the
//! tables that come to it. [`ring`] decides.
//!
//! Tables need not be there yet for that: a table that comes to a database is described as it was where it came from, under its new name.
//! Only names are looked at that way, so a module that goes by columns may be told others than it will see; a task that cannot plan a table
//! is no part of a ring.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tidegate_catalog::{CatalogError, Desired, EndpointSpec, Migration, Role, TaskRecord};
use tidegate_connector::{Finding, Source, SourceTable};
use tidegate_model::{Engine, TableName, TableSchema};
use tidegate_pipeline::{Naming, TaskSpec, Units, selected_tables};
use tokio::time::Instant;

use super::ring::{self, Leg, Names, Place, TASKS_MAX};
use super::{Node, spec};
use crate::modules::Pins;

/// Tables of the task that are followed: enough to tell that tasks meet, and few enough for tasks of 30,000.
const TABLES_MAX: usize = 1_000;

/// How long names are asked for. What is known by then is decided by: a check has 30 seconds for everything.
const PATIENCE: Duration = Duration::from_secs(5);

/// A task that goes on carrying changes.
struct Carrier<'a> {
    record: &'a TaskRecord,
    target: Engine,
}

/// What the check of a task says about rings.
///
/// # Errors
/// The catalog's.
pub(super) async fn findings(node: &Node, record: &TaskRecord, spec: &TaskSpec, source: &dyn Source) -> Result<Vec<Finding>, CatalogError> {
    let endpoints: HashMap<String, EndpointSpec> =
        node.catalog.list_endpoints().await?.into_iter().map(|endpoint| (endpoint.spec.name.clone(), endpoint.spec)).collect();
    let target = endpoints.get(&record.definition.target).map(Place::of);
    let is_read = |endpoint: &EndpointSpec| endpoint.role == Role::Source && Some(Place::of(endpoint)) == target;
    // Nearly always nobody reads the target, and nothing else need be looked at.
    if !spec.migration.captures() || !endpoints.values().any(is_read) {
        return Ok(Vec::new());
    }
    let records = node.catalog.list_tasks().await?;
    let (carriers, legs): (Vec<_>, Vec<_>) = records.iter().filter_map(|record| carrier(record, &endpoints)).unzip();
    let Some(of) = carriers.iter().position(|carrier| carrier.record.id == record.id) else { return Ok(Vec::new()) };
    let around = ring::around(&legs, of);
    if around.is_empty() {
        return Ok(Vec::new());
    }
    let Ok(tables) = selected_tables(spec, source, TABLES_MAX).await else { return Ok(Vec::new()) };
    let names = names(node, &carriers, &legs, of, &around, tables).await;
    Ok(ring::rings(&legs, &names, of).iter().map(|ring| ring.finding(&legs)).collect())
}

/// `None` for a task that carries nothing after its load, or whose settings do not read.
fn carrier<'a>(record: &'a TaskRecord, endpoints: &'a HashMap<String, EndpointSpec>) -> Option<(Carrier<'a>, Leg)> {
    let definition = &record.definition;
    let (source, target) = (endpoints.get(&definition.source)?, endpoints.get(&definition.target)?);
    let carries = definition.migration != Migration::FullLoad && !matches!(record.desired, Desired::Deleted(_));
    let marks = spec::settings(record).ok()?.loopback().ok()?;
    let leg = Leg { task: definition.name.to_string(), from: Place::of(source), to: Place::of(target), marks };
    carries.then_some((Carrier { record, target: target.engine }, leg))
}

/// What each leg calls the tables that come to it from the task's own. Tables that come back go no further.
async fn names(
    node: &Node,
    carriers: &[Carrier<'_>],
    legs: &[Leg],
    of: usize,
    around: &[usize],
    tables: Vec<Arc<SourceTable>>,
) -> Vec<Names> {
    let deadline = Instant::now() + PATIENCE;
    let mut names = vec![Names::new(); legs.len()];
    let mut arrived: HashMap<Place, Vec<Arc<SourceTable>>> = HashMap::from([(legs[of].from.clone(), tables)]);
    let mut asked = vec![of];
    for _ in 0..TASKS_MAX {
        let mut next: HashMap<Place, Vec<Arc<SourceTable>>> = HashMap::new();
        for leg in asked {
            let Some(here) = arrived.get(&legs[leg].from) else { continue };
            let Some(mut naming) = naming(node, &carriers[leg]).await else { continue };
            for table in here {
                if Instant::now() > deadline {
                    return names;
                }
                let name = &table.schema.name;
                if names[leg].contains_key(name) {
                    continue;
                }
                let Ok(Some(called)) = naming.in_target(table.clone()).await else { continue };
                names[leg].insert(name.clone(), called.clone());
                if legs[leg].to != legs[of].from {
                    next.entry(legs[leg].to.clone()).or_default().push(renamed(table, called, carriers[leg].target));
                }
            }
        }
        if next.is_empty() {
            break;
        }
        (arrived, asked) = (next, around.to_vec());
    }
    names
}

/// The names that a task gives; `None` when its definition does not read, which its own check says.
async fn naming(node: &Node, carrier: &Carrier<'_>) -> Option<Naming> {
    let mappings = &carrier.record.definition.table_mappings;
    let modules = node.modules.of_catalog(mappings, &node.catalog, &mut Pins::new()).await.ok()?;
    let spec = spec::task_spec(carrier.record, modules, &node.spool_dir, Units::fixed(1)).ok()?;
    Some(Naming::of(&spec, carrier.target))
}

/// A table as the next database has it, as far as names go.
fn renamed(table: &SourceTable, name: TableName, engine: Engine) -> Arc<SourceTable> {
    let schema = TableSchema { name, engine, ..table.schema.clone() };
    Arc::new(SourceTable { schema, lineage: None, ..table.clone() })
}
