//! Swaps the version of a module of a running task, and goes back when the new one fails.

use serde_json::Value;
use tidegate_catalog::{EventCategory, EventSeverity, ListedTable, ModuleVersion, SwapPayload, SwapReport};
use tidegate_pipeline::{Control, ModuleReference, ModuleSet, Swap, SwapScope};
use tokio::sync::{mpsc, oneshot};

use super::Node;
use super::versions::{Trial, Versions};
use crate::exit::Failure;
use crate::modules::pin_of;

/// Compiles the wanted version and asks the running task to go on with it. The versions that the next process goes on with
/// follow when it does: one that dies in between goes on with the old version.
pub(super) async fn swap(node: &Node, task: &str, payload: &Value, control: Option<mpsc::Sender<Control>>) -> Result<SwapReport, Failure> {
    let SwapPayload { module, version, share_of_tables } = serde_json::from_value(payload.clone())
        .map_err(|error| Failure::failed("payload", format!("swap of a module of task \"{task}\": {error}")))?;
    let mappings = node.catalog.get_task(task).await?.definition.table_mappings;
    let references = ModuleSet::references(&mappings).map_err(|error| Failure::from(&error))?;
    let references: Vec<_> = references.into_iter().filter(|reference| reference.name == module).collect();
    let Some(first) = references.first() else {
        return Err(Failure::failed("module_not_used", format!("task \"{task}\" has no rule for module \"{module}\"")));
    };
    if references.iter().all(ModuleReference::names_digest) {
        let message = format!("every rule of task \"{task}\" for module \"{module}\" names a version, the first one {}", first.version);
        return Err(Failure::failed("version_named", message).hint("change the version in the table mappings"));
    }
    let (record, compiled) = node.modules.of_version(&module, &ModuleVersion::new(&version), &node.catalog).await?;
    let not_running =
        || Failure::failed("not_running", format!("task \"{task}\" is not running, wanted a running task")).hint("start the task first");
    let control = control.ok_or_else(not_running)?;
    let (done, told) = oneshot::channel();
    let scope = share_of_tables.map_or(SwapScope::All, SwapScope::Share);
    control.send(Control::Swap(Box::new(Swap { module: module.clone(), compiled, scope, done }))).await.map_err(|_| not_running())?;
    let tables = told.await.map_err(|_| not_running())?.map_err(|error| Failure::from(&error))?;
    let tables: Vec<ListedTable> = tables.into_iter().map(|table| ListedTable { schema: table.schema, table: table.name }).collect();
    let mut versions = Versions::of(node, task).await;
    versions.keep_as_before(node, task).await?;
    if share_of_tables.is_none() {
        versions.pins.extend(references.iter().filter_map(pin_of).map(|pin| (pin, record.digest.clone())));
        versions.trials.remove(&module);
    } else {
        versions.trials.insert(module.clone(), Trial { digest: record.digest.clone(), tables: tables.clone() });
    }
    versions.keep(node, task).await?;
    let message = format!("module \"{module}\": version {} for {} of the task's tables", record.digest, tables.len());
    node.event(task, EventCategory::ConfigurationChange, EventSeverity::Info, message).await;
    Ok(SwapReport { module, digest: record.digest, tables })
}

/// The task went back to the versions before its last swap, for this reason.
pub(super) async fn went_back(node: &Node, task: &str, reason: &str) {
    if let Some(before) = Versions::before_swap(node, task).await
        && let Err(error) = before.keep(node, task).await
    {
        tracing::error!(task, error = crate::exit::chain(&error), "keep the modules' versions before the swap again");
    }
    let message = format!("the new version of a module failed, and the task went back to the one before: {reason}");
    node.event(task, EventCategory::ConfigurationChange, EventSeverity::Warning, message).await;
}
