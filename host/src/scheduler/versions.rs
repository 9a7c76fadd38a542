//! Which versions of its modules a task goes on with, over restarts, in the catalog.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tidegate_catalog::{CatalogError, ListedTable, ModuleVersion, StartKind, TASK_PINS, TASK_PINS_BEFORE, TaskRecord};
use tidegate_model::TableName;
use tidegate_pipeline::ModuleSet;

use super::Node;
use crate::exit::Failure;
use crate::modules::Pins;

/// The versions of a task's modules.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Versions {
    /// What `latest` and aliases stand for.
    pub(super) pins: Pins,
    /// By the name of a module: another version, which some of its tables have.
    pub(super) trials: BTreeMap<String, Trial>,
}

/// A version that some tables have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Trial {
    pub(super) digest: String,
    pub(super) tables: Vec<ListedTable>,
}

impl Versions {
    /// Those of a task; none before it first ran.
    pub(super) async fn of(node: &Node, task: &str) -> Self {
        read(node, TASK_PINS, task).await.unwrap_or_default()
    }

    /// Keeps them as those that the task goes on with.
    pub(super) async fn keep(&self, node: &Node, task: &str) -> Result<(), CatalogError> {
        node.catalog.put_resource(TASK_PINS, task, task, &json!(self)).await.map(drop)
    }

    /// Forgets them with their task.
    pub(super) async fn forget(node: &Node, task: &str) {
        // Only a task that ran has any, and only one that swapped those before.
        let _ = node.catalog.delete_resource(TASK_PINS, task).await;
        let _ = node.catalog.delete_resource(TASK_PINS_BEFORE, task).await;
    }
}

/// By the name of a module with a new version on trial: what it goes back to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Before(pub(super) BTreeMap<String, OneBefore>);

/// What a module goes back to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct OneBefore {
    /// The version on trial.
    pub(super) on_trial: String,
    /// What the rules for the module stood for, for all its tables.
    pub(super) pins: Pins,
}

impl Before {
    pub(super) async fn of(node: &Node, task: &str) -> Self {
        read(node, TASK_PINS_BEFORE, task).await.unwrap_or_default()
    }

    pub(super) async fn keep(&self, node: &Node, task: &str) -> Result<(), CatalogError> {
        node.catalog.put_resource(TASK_PINS_BEFORE, task, task, &json!(self)).await.map(drop)
    }
}

async fn read<T: DeserializeOwned>(node: &Node, kind: &str, task: &str) -> Option<T> {
    let known = node.catalog.get_resource(kind, task).await.ok()?;
    serde_json::from_value(known.document).ok()
}

/// A task keeps the versions that it began with: a new upload takes effect when all its tables are loaded again, never
/// in the middle of its rows.
pub(super) async fn pinned_modules(node: &Node, record: &TaskRecord, begin: StartKind) -> Result<ModuleSet, Failure> {
    let task = record.definition.name.as_str();
    // `start` also lets a stopped task go on; only the first start and a reload begin anew.
    let anew = begin == StartKind::Reload || record.run_begun == 0;
    let mut versions = if anew { Versions::default() } else { Versions::of(node, task).await };
    // No version is on trial in a new run, so there is none to go back to.
    let _ = node.catalog.delete_resource(TASK_PINS_BEFORE, task).await;
    let mappings = &record.definition.table_mappings;
    let mut modules = node.modules.of_catalog(mappings, &node.catalog, &mut versions.pins).await?;
    let references = ModuleSet::references(mappings).map_err(|error| Failure::from(&error))?;
    versions.trials.retain(|name, _| references.iter().any(|reference| reference.name == *name));
    for (name, trial) in &versions.trials {
        let compiled = node.modules.of_version(name, &ModuleVersion::Digest(trial.digest.clone()), &node.catalog).await?.1;
        let tables: HashSet<TableName> = trial.tables.iter().map(|table| TableName::new(&table.schema, &table.table)).collect();
        modules = modules.with_version(name, &compiled, Some(Arc::new(tables)));
    }
    versions.keep(node, task).await?;
    Ok(modules)
}
