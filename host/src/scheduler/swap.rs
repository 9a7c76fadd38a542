//! Swaps the version of a module of a running task, and goes back when the new one fails.

use serde_json::{Value, json};
use tidegate_catalog::{EventCategory, EventSeverity, ListedTable, ModuleState, ModuleVersion, SwapPayload, SwapReport};
use tidegate_pipeline::{Control, ModuleSet, Swap, SwapScope};
use tokio::sync::{mpsc, oneshot};

use super::Node;
use super::worker::PINS;
use crate::exit::Failure;
use crate::modules::{Pins, pin_of};

/// The kind of the catalog's resource that holds the pins of a task before its last swap.
pub(super) const PINS_BEFORE: &str = "task-modules-before";

/// Compiles the wanted version and asks the running task to go on with it. The pins follow when it does: a process that
/// dies in between goes on with the old version.
pub(super) async fn swap(node: &Node, task: &str, payload: &Value, control: Option<mpsc::Sender<Control>>) -> Result<SwapReport, Failure> {
    let SwapPayload { module, version, share_of_tables } = serde_json::from_value(payload.clone())
        .map_err(|error| Failure::failed("payload", format!("swap of a module of task \"{task}\": {error}")))?;
    let mappings = node.catalog.get_task(task).await?.definition.table_mappings;
    let references = ModuleSet::references(&mappings).map_err(|error| Failure::from(&error))?;
    match references.iter().find(|reference| reference.name == module) {
        None => return Err(Failure::failed("module_not_used", format!("task \"{task}\" has no rule for module \"{module}\""))),
        Some(reference) if reference.version.starts_with("sha256:") => {
            let message = format!("a rule of task \"{task}\" names {} of module \"{module}\"", reference.version);
            return Err(Failure::failed("version_named", message).hint("change the version in the table mappings"));
        }
        Some(_) => {}
    }
    let record = node.catalog.get_module(&module, &ModuleVersion::new(&version)).await?;
    if let ModuleState::Rejected { message, hint } = record.state {
        return Err(Failure { hint, ..Failure::failed("module_rejected", format!("module \"{module}\" was rejected: {message}")) });
    }
    let limits = node.modules.limits(node.catalog.module_limits(&module).await?);
    let bytes = node.catalog.module_bytes(&record.digest).await?;
    let compiled = node.modules.examine(&module, bytes).await?.0.limited(limits);
    let not_running =
        || Failure::failed("not_running", format!("task \"{task}\" is not running, wanted a running task")).hint("start the task first");
    let control = control.ok_or_else(not_running)?;
    let (done, told) = oneshot::channel();
    let scope = share_of_tables.map_or(SwapScope::All, SwapScope::Share);
    control.send(Control::Swap(Box::new(Swap { module: module.clone(), compiled, scope, done }))).await.map_err(|_| not_running())?;
    let tables = told.await.map_err(|_| not_running())?.map_err(|error| Failure::from(&error))?;
    let mut pins = pins(node, PINS, task).await;
    node.catalog.put_resource(PINS_BEFORE, task, task, &json!(pins)).await?;
    // On trial on some tables, a version is not what the task goes on with after a restart.
    if share_of_tables.is_none() {
        let of_module = references.iter().filter(|reference| reference.name == module);
        pins.extend(of_module.filter_map(pin_of).map(|pin| (pin, record.digest.clone())));
        node.catalog.put_resource(PINS, task, task, &json!(pins)).await?;
    }
    let message = format!("module \"{module}\": version {} for {} of the task's tables", record.digest, tables.len());
    node.event(task, EventCategory::ConfigurationChange, EventSeverity::Info, message).await;
    let tables = tables.into_iter().map(|table| ListedTable { schema: table.schema, table: table.name }).collect();
    Ok(SwapReport { module, digest: record.digest, tables })
}

/// The task went back to the versions before its last swap, for this reason.
pub(super) async fn went_back(node: &Node, task: &str, reason: &str) {
    let before = pins(node, PINS_BEFORE, task).await;
    if !before.is_empty()
        && let Err(error) = node.catalog.put_resource(PINS, task, task, &json!(before)).await
    {
        tracing::error!(task, error = crate::exit::chain(&error), "pin the modules' versions before the swap again");
    }
    let message = format!("the new version of a module failed, and the task went back to the one before: {reason}");
    node.event(task, EventCategory::ConfigurationChange, EventSeverity::Warning, message).await;
}

async fn pins(node: &Node, kind: &str, task: &str) -> Pins {
    let known = node.catalog.get_resource(kind, task).await.ok();
    known.and_then(|resource| serde_json::from_value(resource.document).ok()).unwrap_or_default()
}
