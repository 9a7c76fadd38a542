//! Connecting to a task's endpoints, with patience.

use std::sync::Arc;
use std::time::Duration;

use tidegate_catalog::{EventCategory, EventSeverity, TaskRecord};
use tidegate_connector::{ConnectorError, ErrorClass, Source, Target};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Node, spec};
use crate::connectors;
use crate::exit::Failure;

const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// A task that never ran gives up after this: its user sits before the screen and the address may be wrong.
/// A task that did run waits for as long as its servers are away.
pub(crate) const FIRST_PATIENCE: Duration = Duration::from_secs(30);

/// Both ends of a task.
pub(crate) struct Ends {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) target: Arc<dyn Target>,
}

/// Connects to both endpoints of a task; `None` when stopped meanwhile. Transient errors are tried again until
/// `patience` ends, and shown as events.
///
/// # Errors
/// The failure that is left, with `source` or `target` in its message.
pub(crate) async fn connect(
    node: &Node,
    record: &TaskRecord,
    patience: Option<Duration>,
    stop: &CancellationToken,
) -> Result<Option<Ends>, Failure> {
    let definition = &record.definition;
    let source = spec::server_settings(&node.catalog.get_endpoint(&definition.source).await?.spec);
    let target = spec::server_settings(&node.catalog.get_endpoint(&definition.target).await?.spec);
    let loopback = spec::settings(record)?.loopback()?;
    let deadline = patience.map(|patience| Instant::now() + patience);
    let retry = Retry { node, task: definition.name.as_str(), deadline, stop };
    let role = format!("source endpoint \"{}\"", definition.source);
    let Some(source) = retry.until_done(&role, || connectors::source_of(source.clone(), loopback.as_ref())).await? else { return Ok(None) };
    let role = format!("target endpoint \"{}\"", definition.target);
    let Some(target) = retry.until_done(&role, || connectors::target_of(target.clone(), loopback.as_ref())).await? else { return Ok(None) };
    Ok(Some(Ends { source, target }))
}

/// Tries again what failed for a reason that may pass.
pub(crate) struct Retry<'a> {
    pub(crate) node: &'a Node,
    pub(crate) task: &'a str,
    pub(crate) deadline: Option<Instant>,
    pub(crate) stop: &'a CancellationToken,
}

impl Retry<'_> {
    /// Does it until it succeeds, fails definitely, or patience ends; `None` when stopped. `what` begins the message.
    ///
    /// # Errors
    /// The failure that is left.
    pub(crate) async fn until_done<T, F>(&self, what: &str, attempt: impl Fn() -> F) -> Result<Option<T>, Failure>
    where
        F: Future<Output = Result<T, ConnectorError>>,
    {
        let (mut pause, mut told) = (PAUSE_MIN, false);
        loop {
            let error = tokio::select! {
                () = self.stop.cancelled() => return Ok(None),
                result = attempt() => match result {
                    Ok(done) => return Ok(Some(done)),
                    Err(error) => error,
                },
            };
            let out_of_patience = self.deadline.is_some_and(|deadline| Instant::now() + pause > deadline);
            if error.class() != ErrorClass::Transient || out_of_patience {
                let failure = Failure::from(&error);
                return Err(Failure { message: format!("{what}: {}", failure.message), ..failure });
            }
            warn!(task = self.task, code = error.code(), "{what}: {}; trying again", error.chain());
            if !told {
                told = true;
                let message = format!("{what}: {}; trying again", error.chain());
                self.node.event(self.task, EventCategory::StateChange, EventSeverity::Warning, message).await;
            }
            tokio::select! {
                () = self.stop.cancelled() => return Ok(None),
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}
