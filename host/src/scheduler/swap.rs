//! Swaps the version of a module of a running task, and goes back when the new one fails.
//!
//! ```text
//!   swap ─▶ the run agrees and waits ─▶ versions are kept ─▶ the run goes on with them
//!                                                              ├─ one fails ─▶ the run waits ─▶ the version before is kept ─▶ it goes on
//!                                                              └─ none does for ten minutes ─▶ the version before is let go
//! ```

use std::time::Duration;

use serde_json::Value;
use tidegate_catalog::{CatalogError, EventCategory, EventSeverity, ListedTable, ModuleVersion, SwapPayload, SwapReport};
use tidegate_pipeline::{Agreed, Control, ModuleReference, ModuleSet, Swap, SwapScope, TRIAL, Undone};
use tokio::sync::{Mutex, mpsc, oneshot};

use super::Node;
use super::requests::TASK_PATIENCE;
use super::versions::{Before, OneBefore, Trial, Versions};
use crate::exit::{Failure, chain};
use crate::modules::pin_of;

/// The run counts from a moment later, and tells a failure in the last one.
const SURELY_OVER: Duration = Duration::from_secs(30);

/// Each change reads what there is and writes it anew.
static CHANGING: Mutex<()> = Mutex::const_new(());

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
    // Whatever becomes of the request: what is kept and what runs must not part.
    tokio::spawn(go(node.clone(), task.to_owned(), kept, agreed))
        .await
        .unwrap_or_else(|_| Err(Failure::failed("bug", "the swap panicked (this is a fault of tidegate: please report it)")))
}

/// Keeps the new versions and lets the run go on with them.
async fn go(node: Node, task: String, kept: Kept, agreed: Agreed) -> Result<SwapReport, Failure> {
    let (node, task) = (&node, task.as_str());
    let Kept { module, digest, references, is_share } = kept;
    let tables: Vec<ListedTable> = agreed.tables.into_iter().map(|table| ListedTable { schema: table.schema, table: table.name }).collect();
    {
        let _changing = CHANGING.lock().await;
        let (pinned, mut before) = (Versions::of(node, task).await, Before::of(node, task).await);
        let pins: Vec<String> = references.iter().filter_map(pin_of).collect();
        let stood = before.0.remove(&module).filter(|_| agreed.follows_trial).map(|before| before.pins);
        let of_module = || pinned.pins.iter().filter(|(pin, _)| pins.contains(pin)).map(|(pin, digest)| (pin.clone(), digest.clone()));
        let stood = stood.unwrap_or_else(|| of_module().collect());
        before.0.insert(module.clone(), OneBefore { on_trial: digest.clone(), pins: stood });
        before.keep(node, task).await?;
        let mut versions = pinned.clone();
        if is_share {
            versions.trials.insert(module.clone(), Trial { digest: digest.clone(), tables: tables.clone() });
        } else {
            versions.pins.extend(pins.into_iter().map(|pin| (pin, digest.clone())));
            versions.trials.remove(&module);
        }
        versions.keep(node, task).await?;
        // From here on nobody can delete the version; before, somebody may have.
        let begun = match node.catalog.get_module(&module, &ModuleVersion::Digest(digest.clone())).await {
            Ok(_) => agreed.go.send(()).map_err(|()| not_running(task)),
            Err(error) => Err(error.into()),
        };
        if let Err(failure) = begun {
            // What it would have gone back to is kept until the next run: harmless.
            pinned.keep(node, task).await?;
            return Err(failure);
        }
    }
    let message = format!("module \"{module}\": version {digest} for {} of the task's tables", tables.len());
    node.event(task, EventCategory::ConfigurationChange, EventSeverity::Info, message).await;
    tokio::spawn(watch_trial(node.clone(), task.to_owned(), module.clone(), digest.clone(), agreed.undone));
    Ok(SwapReport { module, digest, tables })
}

/// Records how a version's trial ends. The run ends or the module has another new version: then that is somebody else's business.
async fn watch_trial(node: Node, task: String, module: String, digest: String, undone: oneshot::Receiver<Undone>) {
    let done = match tokio::time::timeout(TRIAL + SURELY_OVER, undone).await {
        Ok(Err(_)) => return,
        Ok(Ok(undone)) => went_back(&node, &task, &module, undone).await,
        Err(_) => stood(&node, &task, &module, &digest).await,
    };
    if let Err(error) = done {
        tracing::error!(task, module, error = chain(&error), "keep the modules' versions after a trial");
    }
}

/// The task has the module's version before the trial again.
async fn went_back(node: &Node, task: &str, module: &str, undone: Undone) -> Result<(), CatalogError> {
    let kept = {
        let _changing = CHANGING.lock().await;
        let (mut versions, mut before) = (Versions::of(node, task).await, Before::of(node, task).await);
        versions.trials.remove(module);
        versions.pins.extend(before.0.remove(module).into_iter().flat_map(|before| before.pins));
        let kept = versions.keep(node, task).await;
        if kept.is_ok() { before.keep(node, task).await } else { kept }
    };
    let message = format!("the new version of module \"{module}\" failed, and the task went back to the one before: {}", undone.reason);
    node.event(task, EventCategory::ConfigurationChange, EventSeverity::Warning, message).await;
    // A run that ended meanwhile does not wait.
    let _ = undone.recorded.send(());
    kept
}

/// Nothing goes back to the version before any more.
async fn stood(node: &Node, task: &str, module: &str, digest: &str) -> Result<(), CatalogError> {
    let _changing = CHANGING.lock().await;
    let mut before = Before::of(node, task).await;
    if before.0.get(module).is_none_or(|before| before.on_trial != digest) {
        return Ok(());
    }
    before.0.remove(module);
    before.keep(node, task).await
}

fn not_running(task: &str) -> Failure {
    Failure::failed("not_running", format!("task \"{task}\" is not running, wanted a running task")).hint("start the task first")
}
