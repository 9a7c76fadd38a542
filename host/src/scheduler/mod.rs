//! Makes what the catalog says is wanted come true: runs, stops, clean-ups, and answers to requests.
//!
//! ```text
//!   catalog ─changes─▶ decide ──▶ start worker | stop worker | settle | clean up
//!      ▲                              │
//!      └── status, progress, events ──┘        requests: tests, listings, checks, reloads, module verdicts
//! ```
//!
//! One loop owns the set of workers; each worker owns its run. Every half second, and whenever the catalog wakes it, the loop
//! reads in one query what changed of all tasks, and decides about all it knows; nothing depends on a wake-up. Before it acts
//! it reads the task once more. A worker that panics fails its task and nothing else.
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
mod ring;
mod ring_search;
mod row_errors;
mod spec;
mod steering;
mod swap;
mod turn;
mod verdicts;
mod versions;
mod worker;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_catalog::history::INTERVAL_SECONDS;
use tidegate_catalog::{
    Catalog, CatalogError, EventCategory, EventSeverity, NewEvent, TaskDefinition, TaskRecord, TaskStatus, TenantQuotas, now_us,
};
use tidegate_model::TenantId;
use tidegate_pipeline::{Control, Planes};
use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, info};

use crate::exit::{Failure, chain};
use crate::metric;
use crate::modules::ModuleStore;
use decide::{Action, Work, Worker, decide};
pub(crate) use lease::Leases;
use pace::{Pace, Pause};
pub(crate) use pool::Pool;
use pool::Share;
pub(crate) use turn::Turns;
use worker::Orders;

/// How often the catalog is looked at when nothing wakes the loop.
const POLL: Duration = Duration::from_millis(500);

/// How often it is said that tasks which rest still do: as often as their history has points.
const TELL_RESTS: Duration = Duration::from_secs(INTERVAL_SECONDS as u64);

/// How often every task is looked at though nothing changed: leases of other processes end by time.
const LOOK_AT_ALL: Duration = Duration::from_secs(2);

/// How often tenants' quotas are read, and their totals told.
const SHARE_OUT: Duration = Duration::from_secs(1);

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
    /// The tasks that this process has the right to work on.
    pub(crate) leases: Arc<Leases>,
    /// Who starts now, of those that are to.
    pub(crate) turns: Turns,
    /// The threads that runs are worked on by.
    pub(crate) planes: Planes,
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
            "the task failed {} and was not changed since: it starts in {seconds} s; a change of the task starts it at once",
            if pause.failures == 1 { "once".to_owned() } else { format!("{} times in a row", pause.failures) }
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
pub(crate) struct Running {
    handle: Id,
    work: Work,
    stop: CancellationToken,
    control: mpsc::Sender<Control>,
    /// The definition as it is now: bounds and objective change while the task runs.
    definition: watch::Sender<Arc<TaskDefinition>>,
}

/// A task among those of all tenants: the tenant's name and its own.
pub(crate) type TaskKey = (TenantId, String);

/// The loop's own state.
pub(crate) struct Scheduler {
    node: Arc<Node>,
    workers: JoinSet<()>,
    running: HashMap<TaskKey, Running>,
    /// Every task as it was at its last change, without its progress.
    known: HashMap<TaskKey, TaskRecord>,
    /// The number of the last change that was read.
    seen: i64,
    /// When tenants' shares were looked at last.
    shared_at: Option<Instant>,
    /// When it was said last that tasks rest.
    rests_told_at: Instant,
    /// When every task was looked at last; `None` when a run has ended since.
    looked_at: Option<Instant>,
}

impl Scheduler {
    pub(crate) fn new(node: Node) -> Self {
        Self {
            node: Arc::new(node),
            workers: JoinSet::new(),
            running: HashMap::new(),
            known: HashMap::new(),
            seen: 0,
            shared_at: None,
            rests_told_at: Instant::now(),
            looked_at: None,
        }
    }

    /// Runs until `shutdown`, then until every worker has stopped.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let mut work = self.node.catalog.work();
        let mut requests = requests::Desk::open(Arc::clone(&self.node)).await;
        let keeper = AbortOnDropHandle::new(tokio::spawn(Arc::clone(&self.node.leases).keep()));
        while !shutdown.is_cancelled() {
            work.mark_unchanged();
            self.step(&shutdown).await;
            requests.take(&self.running).await;
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
        drop(keeper);
        requests.close().await;
    }

    /// Looks at every task once.
    async fn step(&mut self, shutdown: &CancellationToken) {
        while let Some(ended) = self.workers.try_join_next_with_id() {
            self.forget(ended);
        }
        let (changed, seen) = match self.node.catalog.changed_tasks(self.seen).await {
            Ok(changed) => changed,
            Err(error) => return error!(error = chain(&error), "read changed tasks"),
        };
        self.seen = seen;
        let is_news = !changed.is_empty();
        changed.into_iter().for_each(|record| self.note(record));
        if is_news || self.looked_at.is_none_or(|at| at.elapsed() >= LOOK_AT_ALL) {
            self.looked_at = Some(Instant::now());
            let due: Vec<TaskKey> =
                self.known.iter().filter(|(key, record)| self.decided(key, record).is_some()).map(|(key, _)| key.clone()).collect();
            for key in &due {
                self.act_on(key, shutdown).await;
            }
            metric::record_tasks(self.known.values());
        }
        if self.rests_told_at.elapsed() >= TELL_RESTS {
            self.rests_told_at = Instant::now();
            self.node.catalog.tell_rests(now_us());
        }
        if self.shared_at.is_none_or(|at| at.elapsed() >= SHARE_OUT) {
            self.shared_at = Some(Instant::now());
            self.share_out().await;
        }
    }

    /// Takes note of a task as it is now; its run, if there is one, goes on with the new bounds.
    fn note(&mut self, record: TaskRecord) {
        let key = key_of(&record);
        if let Some(running) = self.running.get(&key)
            && **running.definition.borrow() != record.definition
        {
            running.definition.send_replace(Arc::new(record.definition.clone()));
        }
        self.known.insert(key, TaskRecord { progress: None, ..record });
    }

    fn decided(&self, key: &TaskKey, record: &TaskRecord) -> Option<Action> {
        let running = self.running.get(key);
        let worker = running.map(|running| Worker { work: running.work, stopping: running.stop.is_cancelled() });
        decide(record, worker, &self.node.name, now_us())
    }

    /// Decides about one task from what the catalog says right now: renewals of a lease elsewhere are no changes, and nobody
    /// tells of a task that was removed.
    async fn act_on(&mut self, key: &TaskKey, shutdown: &CancellationToken) {
        match self.node.catalog.of(&key.0).get_task(&key.1).await {
            Ok(record) => {
                let action = self.decided(key, &record);
                self.note(record.clone());
                if let Some(action) = action {
                    self.act(record, action, shutdown).await;
                }
            }
            Err(CatalogError::NotFound { .. }) => drop(self.known.remove(key)),
            Err(error) => error!(tenant = %key.0, task = key.1, error = chain(&error), "read task"),
        }
    }

    /// Tells the pool what tenants may have, and the metrics what they and the process have.
    async fn share_out(&self) {
        let tenants = match self.node.catalog.list_tenants().await {
            Ok(tenants) => tenants,
            Err(error) => return error!(error = chain(&error), "read tenants"),
        };
        metric::record_memory();
        let modules = &self.node.modules;
        metric::record_sandboxes(modules.engine(), tenants.iter().zip(&modules.share_out(&tenants)));
        metric::record_tenants(&tenants, self.known.values(), &self.node.pool.units_of_tenants());
        let share = |quotas: TenantQuotas| Share { weight: quotas.weight.unwrap_or(1), quota: quotas.units };
        self.node.pool.share(tenants.into_iter().map(|tenant| (tenant.name.to_string(), share(tenant.quotas))).collect());
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
                let (work, token) = (Work::Run(record.run_request), stop.clone());
                let (definition, bounds) = watch::channel(Arc::new(record.definition.clone()));
                let orders = Orders { control: commands, definition: bounds };
                let handle = self.workers.spawn(worker::supervise(node, record, begin, orders, token)).id();
                self.running.insert(key, Running { handle, work, stop, control, definition });
            }
            Action::Clean(cleanup) => {
                info!(%tenant, task = name, "delete task");
                let (control, _) = mpsc::channel(1);
                let stop = shutdown.child_token();
                let (work, token) = (Work::CleanUp(cleanup), stop.clone());
                let (definition, _) = watch::channel(Arc::new(record.definition.clone()));
                let handle = self.workers.spawn(cleanup::clean(node, record, cleanup, token)).id();
                self.running.insert(key, Running { handle, work, stop, control, definition });
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
        self.looked_at = None;
    }
}

/// A task that was changed may fail for another reason.
fn start_key(record: &TaskRecord) -> (String, i64) {
    // Two tenants may have chosen one id.
    (format!("{}/{}", record.tenant, record.id), record.revision)
}

fn key_of(record: &TaskRecord) -> TaskKey {
    (record.tenant.clone(), record.definition.name.as_str().to_owned())
}
