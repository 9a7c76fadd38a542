//! Swaps the version of a module of a running task, and goes back when the new one fails.
//!
//! ```text
//!   swap ─▶ the run agrees and waits ─▶ versions are kept ─▶ the run goes on with them
//! ```

use std::sync::Arc;

use serde_json::Value;
use tidegate_catalog::{EventCategory, EventSeverity, ListedTable, ModuleVersion, SwapPayload, SwapReport};
use tidegate_pipeline::{Agreed, Control, ModuleReference, ModuleSet, Swap, SwapScope};
use tokio::sync::{mpsc, oneshot};

use super::Node;
use super::requests::TASK_PATIENCE;
use super::versions::{Trial, Versions};
use crate::exit::{Failure, chain};
use crate::modules::pin_of;

/// What is to be kept of a swap.
struct Kept {
    module: String,
    digest: String,
    /// The rules that it concerns.
    references: Vec<ModuleReference>,
    is_share: bool,
}

/// Compiles the wanted version and asks the running task to go on with it. It does so once the catalog has the new versions, so that
/// the next process goes on with those that this one has; a request that is given up before changes nothing.
pub(super) async fn swap(
    node: &Arc<Node>,
    task: &str,
    payload: &Value,
    control: Option<mpsc::Sender<Control>>,
) -> Result<SwapReport, Failure> {
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
    let control = control.ok_or_else(|| not_running(task))?;
    let (agreed, told) = oneshot::channel();
    let scope = share_of_tables.map_or(SwapScope::All, SwapScope::Share);
    let swap = Box::new(Swap { module: module.clone(), compiled, scope, agreed });
    let asked = async {
        control.send(Control::Swap(swap)).await.map_err(|_| not_running(task))?;
        told.await.map_err(|_| not_running(task))?.map_err(|error| Failure::from(&error))
    };
    let agreed = tokio::time::timeout(TASK_PATIENCE, asked).await.unwrap_or_else(|_| {
        let seconds = TASK_PATIENCE.as_secs();
        Err(Failure::failed("not_at_rest", format!("task \"{task}\" did not come to the end of a group within {seconds} seconds"))
            .hint("a long transaction or a lock in the target may hold it up; nothing was swapped: ask again later"))
    })?;
    let kept = Kept { module, digest: record.digest, references, is_share: share_of_tables.is_some() };
    let (node, task) = (Arc::clone(node), task.to_owned());
    // Whatever becomes of the request: what is kept and what runs must not part.
    let going = tokio::spawn(async move { go(&node, &task, kept, agreed).await });
    going.await.unwrap_or_else(|_| Err(Failure::failed("bug", "the swap panicked (this is a fault of tidegate: please report it)")))
}

/// Keeps the new versions and lets the run go on with them.
async fn go(node: &Node, task: &str, kept: Kept, agreed: Agreed) -> Result<SwapReport, Failure> {
    let Kept { module, digest, references, is_share } = kept;
    let tables: Vec<ListedTable> = agreed.tables.into_iter().map(|table| ListedTable { schema: table.schema, table: table.name }).collect();
    let before = Versions::of(node, task).await;
    let mut versions = before.clone();
    before.keep_as_before(node, task).await?;
    if is_share {
        versions.trials.insert(module.clone(), Trial { digest: digest.clone(), tables: tables.clone() });
    } else {
        versions.pins.extend(references.iter().filter_map(pin_of).map(|pin| (pin, digest.clone())));
        versions.trials.remove(&module);
    }
    versions.keep(node, task).await?;
    // From here on nobody can delete the version; before, somebody may have.
    let begun = match node.catalog.get_module(&module, &ModuleVersion::Digest(digest.clone())).await {
        Ok(_) => agreed.go.send(()).map_err(|()| not_running(task)),
        Err(error) => Err(error.into()),
    };
    if let Err(failure) = begun {
        before.keep(node, task).await?;
        return Err(failure);
    }
    let message = format!("module \"{module}\": version {digest} for {} of the task's tables", tables.len());
    node.event(task, EventCategory::ConfigurationChange, EventSeverity::Info, message).await;
    Ok(SwapReport { module, digest, tables })
}

fn not_running(task: &str) -> Failure {
    Failure::failed("not_running", format!("task \"{task}\" is not running, wanted a running task")).hint("start the task first")
}

/// The task went back to the versions before its last swap, for this reason.
pub(super) async fn went_back(node: &Node, task: &str, reason: &str) {
    if let Some(before) = Versions::before_swap(node, task).await
        && let Err(error) = before.keep(node, task).await
    {
        tracing::error!(task, error = chain(&error), "keep the modules' versions before the swap again");
    }
    let message = format!("the new version of a module failed, and the task went back to the one before: {reason}");
    node.event(task, EventCategory::ConfigurationChange, EventSeverity::Warning, message).await;
}
