//! Makes what the catalog says is wanted come true: runs, stops, clean-ups, and answers to requests.
//!
//! ```text
//!   catalog ──list──▶ decide ──▶ start worker | stop worker | settle | clean up
//!      ▲                              │
//!      └── status, progress, events ──┘        requests: tests, listings, checks, reloads, module verdicts
//! ```
//!
//! One loop owns the set of workers; each worker owns its run. The loop looks at everything every half second and
//! whenever the catalog wakes it; nothing depends on a wake-up. A worker that panics fails its task and nothing else.
//! At shutdown workers stop after the group that is under way, and the wish to run stays in the catalog.

mod cleanup;
mod connect;
mod decide;
mod lease;
mod module_test;
mod pace;
mod pool;
mod report;
mod requests;
mod row_errors;
mod spec;
mod steering;
mod swap;
mod versions;
mod worker;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tidegate_catalog::{Catalog, CatalogError, EventCategory, EventSeverity, NewEvent, TaskRecord, TaskStatus, now_us};
use tidegate_model::TenantId;
use tidegate_pipeline::Control;
use tokio::sync::mpsc;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::exit::{Failure, chain};
use crate::metric;
use crate::modules::ModuleStore;
use decide::{Action, Worker, decide};
use pace::{Pace, Pause};
pub(crate) use pool::Pool;

/// How often the catalog is looked at when nothing wakes the loop.
const POLL: Duration = Duration::from_millis(500);

/// Reload requests that one worker has not taken yet.
const CONTROL_QUEUE: usize = 16;

/// What every worker needs.
#[derive(Clone)]
pub(crate) struct Node {
    /// As the worker's tenant sees it.
    pub(crate) catalog: Catalog,
    pub(crate) modules: ModuleStore,
    /// Holds a directory for each task's waiting changes.
    pub(crate) spool_dir: PathBuf,
    /// This process's name in leases.
    pub(crate) name: String,
    /// The node's units.
    pub(crate) pool: Arc<Pool>,
    pub(crate) paces: Paces,
}

/// Who has to wait because of what failed.
#[derive(Clone)]
pub(crate) struct Paces {
    /// Starts of a task, by its id and the revision of its definition.
    starts: Arc<Pace<(String, i64)>>,
    /// Examinations of a tenant's uploads.
    uploads: Arc<Pace<TenantId>>,
}

impl Default for Paces {
    fn default() -> Self {
        let second = Duration::from_secs(1);
        Self { starts: Arc::new(Pace::new(2, 5 * second, 300 * second)), uploads: Arc::new(Pace::new(20, 2 * second, 10 * second)) }
    }
}

impl Node {
    /// The same node, for the work of one tenant.
    pub(crate) fn of(&self, tenant: &TenantId) -> Node {
        Node { catalog: self.catalog.of(tenant), ..self.clone() }
    }

    /// Whose work it is.
    pub(crate) fn tenant(&self) -> &str {
        self.catalog.tenant().as_str()
    }

    /// Records an event of a task; a catalog that cannot take it is logged and stops nothing.
    pub(crate) async fn event(&self, task: &str, category: EventCategory, severity: EventSeverity, message: impl Into<String>) {
        let event = NewEvent { task: Some(task.to_owned()), category, severity, message: message.into() };
        if let Err(error) = self.catalog.append_event(&event).await {
            error!(tenant = self.tenant(), task, error = chain(&error), "record event");
        }
    }

    /// Records that a task failed.
    pub(crate) async fn fail(&self, task: &str, failure: Failure) {
        error!(tenant = self.tenant(), task, code = failure.code, hint = failure.hint, "task failed: {}", failure.message);
        let message = match &failure.hint {
            Some(hint) => format!("{}; {hint}", failure.message),
            None => failure.message.clone(),
        };
        self.event(task, EventCategory::Failure, EventSeverity::Error, message).await;
        self.settle(task, TaskStatus::Failed(failure.into())).await;
    }

    /// Records that a start waits.
    async fn put_off(&self, task: &str, pause: Pause) {
        let seconds = pause.left.as_secs() + 1;
        let message = format!(
            "the task failed {} times in a row and was not changed since: it starts in {seconds} s; a change of the task starts it at once",
            pause.failures
        );
        info!(tenant = self.tenant(), task, seconds, "start put off");
        self.event(task, EventCategory::StateChange, EventSeverity::Warning, message).await;
    }

    /// Records a status; a catalog that cannot take it is logged, and the loop decides again from what it says then.
    pub(crate) async fn settle(&self, task: &str, status: TaskStatus) {
        match self.catalog.set_status(task, &status).await {
            Ok(_) | Err(CatalogError::NotFound { .. }) => {}
            Err(error) => error!(tenant = self.tenant(), task, status = status.name(), error = chain(&error), "record status"),
        }
    }
}

/// A worker as the loop sees it.
struct Running {
    handle: Id,
    run_request: i64,
    stop: CancellationToken,
    control: mpsc::Sender<Control>,
}

/// A task among those of all tenants: the tenant's name and its own.
pub(crate) type TaskKey = (TenantId, String);

/// The loop's own state.
pub(crate) struct Scheduler {
    node: Arc<Node>,
    workers: JoinSet<()>,
    running: HashMap<TaskKey, Running>,
}

impl Scheduler {
    pub(crate) fn new(node: Node) -> Self {
        Self { node: Arc::new(node), workers: JoinSet::new(), running: HashMap::new() }
    }

    /// Runs until `shutdown`, then until every worker has stopped.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let mut work = self.node.catalog.work();
        let mut requests = requests::Desk::open(Arc::clone(&self.node)).await;
        while !shutdown.is_cancelled() {
            work.mark_unchanged();
            self.step(&shutdown).await;
            requests.take(&self.controls()).await;
            metric::record_memory();
            tokio::select! {
                () = shutdown.cancelled() => {}
                Some(ended) = self.workers.join_next_with_id() => self.forget(ended),
                _ = work.changed() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
        self.running.values().for_each(|worker| worker.stop.cancel());
        while let Some(ended) = self.workers.join_next_with_id().await {
            self.forget(ended);
        }
        requests.close().await;
    }

    /// Looks at every task once.
    async fn step(&mut self, shutdown: &CancellationToken) {
        while let Some(ended) = self.workers.try_join_next_with_id() {
            self.forget(ended);
        }
        let tasks = match self.node.catalog.list_all_tasks().await {
            Ok(tasks) => tasks,
            Err(error) => {
                error!(error = chain(&error), "read tasks");
                return;
            }
        };
        metric::record_tasks(&tasks);
        for record in tasks {
            let worker = self
                .running
                .get(&key_of(&record))
                .map(|running| Worker { run_request: running.run_request, stopping: running.stop.is_cancelled() });
            if let Some(action) = decide(&record, worker, &self.node.name, now_us()) {
                self.act(record, action, shutdown).await;
            }
        }
    }

    async fn act(&mut self, record: TaskRecord, action: Action, shutdown: &CancellationToken) {
        let key = key_of(&record);
        let (tenant, name) = (record.tenant.clone(), record.definition.name.as_str().to_owned());
        let node = Arc::new(self.node.of(&tenant));
        match action {
            Action::Stop => {
                info!(%tenant, task = name, "stop task");
                self.running.get(&key).inspect(|running| running.stop.cancel());
            }
            Action::Settle(status) => node.settle(&name, status).await,
            Action::Start(begin) => {
                if let Some(pause) = node.paces.starts.pause(&start_key(&record)) {
                    if pause.is_new {
                        node.put_off(&name, pause).await;
                    }
                    return;
                }
                info!(%tenant, task = name, ?begin, "start task");
                let (control, commands) = mpsc::channel(CONTROL_QUEUE);
                let stop = shutdown.child_token();
                let (run_request, token) = (record.run_request, stop.clone());
                let handle = self.workers.spawn(worker::supervise(node, record, begin, commands, token)).id();
                self.running.insert(key, Running { handle, run_request, stop, control });
            }
            Action::Clean(cleanup) => {
                info!(%tenant, task = name, "delete task");
                let (control, _) = mpsc::channel(1);
                let stop = shutdown.child_token();
                let (run_request, token) = (record.run_request, stop.clone());
                let handle = self.workers.spawn(cleanup::clean(node, record, cleanup, token)).id();
                self.running.insert(key, Running { handle, run_request, stop, control });
            }
        }
    }

    fn forget(&mut self, ended: Result<(Id, ()), tokio::task::JoinError>) {
        let handle = match ended {
            Ok((handle, ())) => handle,
            Err(error) => {
                error!("a task's supervisor panicked; the task is taken up again");
                error.id()
            }
        };
        self.running.retain(|_, running| running.handle != handle);
    }

    fn controls(&self) -> HashMap<TaskKey, mpsc::Sender<Control>> {
        self.running.iter().map(|(key, running)| (key.clone(), running.control.clone())).collect()
    }
}

/// A task that was changed may fail for another reason.
fn start_key(record: &TaskRecord) -> (String, i64) {
    (record.id.clone(), record.revision)
}

fn key_of(record: &TaskRecord) -> TaskKey {
    (record.tenant.clone(), record.definition.name.as_str().to_owned())
}
