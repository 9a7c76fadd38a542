//! Another version of a module in a running task.
//!
//! ```text
//!   asked ─▶ the stream rests ─▶ plan every table anew ─▶ same tables? ─ no ─▶ refused, with the difference
//!                                                            └ yes ─▶ agreed ─▶ who asked keeps the versions and says go
//!   go ─▶ the attempt ends at its checkpoint, the next one has the new version
//!   the new version fails within its trial ─▶ the next attempt has the old one again
//! ```
//!
//! The rows that the new version failed on were not committed, so the old one judges them again: going back loses nothing.

use std::collections::HashSet;
use std::sync::Arc;

use tidegate_connector::{ErrorClass, Source, Target};
use tidegate_model::TableName;
use tidegate_sandbox::Compiled;
use tokio::sync::oneshot;

use crate::ModuleSet;
use crate::plan::PlannedTable;
use crate::run::plan_tables;
use crate::task::{TaskError, TaskSpec};
use crate::trial::Trials;

/// What is asked.
#[derive(Debug)]
pub struct Swap {
    /// The module's name in the table mappings.
    pub module: String,
    /// The new version.
    pub compiled: Compiled,
    /// Which tables get it.
    pub scope: SwapScope,
    /// Told when the next attempt can begin with the new version, or why it cannot. Dropped without a word when the run ends before.
    /// Nothing is swapped for somebody who has gone.
    pub agreed: oneshot::Sender<Result<Agreed, TaskError>>,
}

/// A run is ready to go on with another version, and waits.
#[derive(Debug)]
pub struct Agreed {
    /// The tables that get it.
    pub tables: Vec<TableName>,
    /// Told when it is recorded that the task has the new version: the run goes on with it, unless it has ended. Dropped without a
    /// word, it goes on as before.
    pub go: oneshot::Sender<()>,
    /// A version of the module is on trial already: a failure brings back the one before that.
    pub follows_trial: bool,
    /// Hears if the new version fails its trial. Ends without a word when the run does, or when the module has another new version.
    pub undone: oneshot::Receiver<Undone>,
}

/// A run goes back to a module's version before.
#[derive(Debug)]
pub struct Undone {
    /// What the new version did.
    pub reason: String,
    /// Told when that is recorded: only then the run goes on. Dropped without a word, it goes on too.
    pub recorded: oneshot::Sender<()>,
}

/// What the next attempt begins with.
pub(crate) struct Swapped {
    pub(crate) module: String,
    pub(crate) modules: ModuleSet,
    /// Those that get the new version.
    pub(crate) tables: HashSet<TableName>,
    pub(crate) undone: oneshot::Sender<Undone>,
}

/// Which tables a new version is for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SwapScope {
    /// Every table of the module.
    All,
    /// The first of them by name: this share, between 0 and 1, and at least one.
    Share(f64),
}

/// Tables that a module's version is for, among those of its rule.
#[derive(Debug, Clone, Default)]
pub(crate) enum VersionTables {
    /// All of them.
    #[default]
    All,
    /// These alone: the new version, on trial.
    Only(Arc<HashSet<TableName>>),
    /// All but these: the old version beside one on trial.
    Except(Arc<HashSet<TableName>>),
}

impl VersionTables {
    pub(crate) fn has(&self, table: &TableName) -> bool {
        match self {
            VersionTables::All => true,
            VersionTables::Only(tables) => tables.contains(table),
            VersionTables::Except(tables) => !tables.contains(table),
        }
    }
}

/// Agrees on a swap with who asked. Answers what to go on with; `None` when it is refused, or nobody waits for it.
///
/// # Errors
/// Those that end the attempt whatever is asked.
pub(crate) async fn agree(
    spec: &TaskSpec,
    planned: &[Arc<PlannedTable>],
    source: &dyn Source,
    target: &dyn Target,
    swap: Swap,
    trials: &Trials,
) -> Result<Option<Swapped>, TaskError> {
    // Who asked during a long transaction may have given up meanwhile, and was told that nothing happens.
    if swap.agreed.is_closed() {
        return Ok(None);
    }
    let (modules, tables) = match swapped(spec, planned, source, target, &swap).await {
        Ok(swapped) => swapped,
        Err(error) if matches!(error.class(), ErrorClass::Transient | ErrorClass::Fenced) => return Err(error),
        Err(error) => {
            drop(swap.agreed.send(Err(error)));
            return Ok(None);
        }
    };
    let Swap { module, agreed, .. } = swap;
    let ((go, gone), (undone, hears)) = (oneshot::channel(), oneshot::channel());
    let agreement = Agreed { tables: tables.clone(), go, follows_trial: trials.has(&module), undone: hears };
    if agreed.send(Ok(agreement)).is_err() || gone.await.is_err() {
        return Ok(None);
    }
    tracing::info!(task = %spec.id, module, tables = tables.len(), "a module's version is swapped");
    Ok(Some(Swapped { module, modules, tables: tables.into_iter().collect(), undone }))
}

/// The modules with the new version, and the tables that get it.
///
/// # Errors
/// When the task does not use the module, or its plans lead to other target tables: that would need a reload.
async fn swapped(
    spec: &TaskSpec,
    planned: &[Arc<PlannedTable>],
    source: &dyn Source,
    target: &dyn Target,
    swap: &Swap,
) -> Result<(ModuleSet, Vec<TableName>), TaskError> {
    let mut tables: Vec<TableName> =
        planned.iter().map(|table| &table.source.schema.name).filter(|name| spec.modules.swaps(&swap.module, name)).cloned().collect();
    if tables.is_empty() {
        return Err(refused("module_not_used", format!("no table of the task uses module \"{}\"", swap.module)));
    }
    tables.sort();
    let scope = match swap.scope {
        SwapScope::All => None,
        SwapScope::Share(share) => {
            let count = (tables.len() as f64 * share).ceil().max(1.0) as usize;
            tables.truncate(count);
            Some(Arc::new(tables.iter().cloned().collect::<HashSet<_>>()))
        }
    };
    let modules = spec.modules.with_version(&swap.module, &swap.compiled, scope);
    let spec = TaskSpec { modules, ..spec.clone() };
    let again = plan_tables(&spec, source, target).await?.tables;
    if let Some(difference) = difference(planned, &again) {
        let message = format!("module \"{}\" of digest {}: {difference}", swap.module, swap.compiled.digest());
        return Err(refused("plan_differs", message));
    }
    Ok((spec.modules, tables))
}

fn difference(before: &[Arc<PlannedTable>], after: &[Arc<PlannedTable>]) -> Option<String> {
    for old in before {
        let name = &old.source.schema.name;
        let Some(new) = after.iter().find(|new| new.source.schema.name == *name) else {
            return Some(format!("the new version leaves out table \"{name}\""));
        };
        let (old, new) = (&old.target, &new.target);
        let what = if old.name != new.name {
            format!("is called \"{}\" and was \"{}\"", new.name, old.name)
        } else if old.columns != new.columns {
            let named = |table: &tidegate_connector::TargetTable| {
                table.columns.iter().map(|column| format!("{} {:?}", column.name, column.sql_type)).collect::<Vec<_>>().join(", ")
            };
            format!("has the columns ({}) and had ({})", named(new), named(old))
        } else if old.primary_key != new.primary_key || old.identity != new.identity {
            "has another key".to_owned()
        } else {
            continue;
        };
        return Some(format!("table \"{name}\" of the target {what}"));
    }
    let is_new = |table: &&Arc<PlannedTable>| !before.iter().any(|old| old.source.schema.name == table.source.schema.name);
    after.iter().find(is_new).map(|table| format!("the new version takes in table \"{}\"", table.source.schema.name))
}

fn refused(code: &'static str, message: String) -> TaskError {
    TaskError::Plan { code, message, hint: Some("reload the task: its tables are loaded again through the latest versions".into()) }
}
