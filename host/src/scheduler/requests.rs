//! Answers to what the API asks through the catalog: connection tests, listings, checks, reloads, module verdicts.
//!
//! Each answer is a piece of work of its own, at most four at a time, each bounded in time: an endpoint that never
//! answers holds up neither the tasks nor the other questions for long.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use tidegate_catalog::{
    CatalogError, CheckReport, ConnectionReport, CutOverReport, FindingRecord, ListedTable, ModuleRecord, ModuleState, ReloadPayload,
    RequestKind, RequestRecord, Role, TableListing,
};
use tidegate_connector::Finding;
use tidegate_model::TableName;
use tidegate_pipeline::{Control, Units};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use super::module_test::test_module;
use super::pace::Cost;
use super::verdicts::Verdicts;
use super::{Node, Running, TaskKey, ring_search, row_errors, spec, swap};
use crate::exit::{Failure, chain};
use crate::modules::{BUSY, Pins};
use crate::{connectors, findings};

/// Answers under way at once.
const CONCURRENCY: usize = 4;

/// The longest that an answer may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What is answered, of one tenant the quickest first.
const KINDS: [RequestKind; 9] = [
    RequestKind::ReloadTables,
    RequestKind::CutOver,
    RequestKind::SwapModule,
    RequestKind::ReplayErrors,
    RequestKind::ListErrors,
    RequestKind::TestConnection,
    RequestKind::ListTables,
    RequestKind::CheckTask,
    RequestKind::TestModule,
];

/// Where requests are taken and answered.
pub(super) struct Desk {
    node: Arc<Node>,
    permits: Arc<Semaphore>,
    answers: JoinSet<()>,
    verdicts: Verdicts,
}

impl Desk {
    /// Opens the desk; what a dead process had taken is waiting again.
    pub(super) async fn open(node: Arc<Node>) -> Self {
        if let Err(error) = node.catalog.requeue_taken().await {
            error!(error = chain(&error), "take up requests of the process before");
        }
        Self { node, permits: Arc::new(Semaphore::new(CONCURRENCY)), answers: JoinSet::new(), verdicts: Verdicts::default() }
    }

    /// Takes what waits and can be worked on now.
    pub(super) async fn take(&mut self, running: &HashMap<TaskKey, Running>) {
        while self.answers.try_join_next().is_some() {}
        while let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            let request = match self.node.catalog.take_request(&KINDS).await {
                Ok(Some(request)) => request,
                Ok(None) => break,
                Err(error) => return error!(error = chain(&error), "take request"),
            };
            let node = Arc::new(self.node.of(&request.tenant));
            let control = running.get(&(request.tenant.clone(), request.subject.clone())).map(|running| running.control.clone());
            self.answers.spawn(async move {
                answer(&node, request, control).await;
                drop(permit);
            });
        }
        self.take_modules().await;
    }

    async fn take_modules(&mut self) {
        self.verdicts.settle();
        for digest in self.node.catalog.take_unnamed_modules() {
            forget_unnamed(&self.node, &digest).await;
        }
        if let Err(error) = self.examine_waiting().await {
            error!(error = chain(&error), "read pending modules");
        }
    }

    async fn examine_waiting(&mut self) -> Result<(), CatalogError> {
        let mut waiting = self.node.catalog.pending_modules().await?;
        waiting.retain(|record| self.node.paces.uploads.pause(&record.tenant).is_none());
        if !waiting.is_empty() {
            let tenants = self.node.catalog.list_tenants().await?.len();
            let node = &self.node;
            self.verdicts.start(waiting, tenants, |record| judge(node.of(&record.tenant), record));
        }
        Ok(())
    }

    /// Drops what is under way: the next process answers it.
    pub(super) async fn close(mut self) {
        self.answers.shutdown().await;
        self.verdicts.close().await;
    }
}

async fn answer(node: &Arc<Node>, request: RequestRecord, control: Option<mpsc::Sender<Control>>) {
    let (id, kind) = (request.id, request.kind);
    let worker = Arc::clone(node);
    // In a task of its own, so that a panic is an answer too.
    let work = tokio::spawn(async move {
        let limit = tokio::time::timeout(TIMEOUT, find_answer(&worker, &request, control)).await;
        limit.unwrap_or_else(|_| {
            Err(Failure::failed("timeout", format!("no answer within {} seconds", TIMEOUT.as_secs()))
                .hint("check that the host and port can be reached from here: a firewall may drop packets silently"))
        })
    });
    let result =
        work.await.unwrap_or_else(|_| Err(Failure::failed("bug", "the answer panicked (this is a fault of tidegate: please report it)")));
    match &result {
        Ok(_) => info!(request = id, kind = kind.as_str(), "request answered"),
        Err(failure) => warn!(request = id, kind = kind.as_str(), code = failure.code, "request failed: {}", failure.message),
    }
    if let Err(error) = node.catalog.finish_request(id, result.map_err(Into::into)).await {
        error!(request = id, error = chain(&error), "record answer");
    }
}

async fn find_answer(node: &Node, request: &RequestRecord, control: Option<mpsc::Sender<Control>>) -> Result<Value, Failure> {
    match request.kind {
        RequestKind::TestConnection => document(&test_connection(node, &request.subject).await?),
        RequestKind::ListTables => document(&list_tables(node, &request.subject).await?),
        RequestKind::CheckTask => document(&check_task(node, &request.subject).await?),
        RequestKind::SwapModule => document(&swap::swap(node, &request.subject, &request.payload, control).await?),
        RequestKind::ListErrors => document(&row_errors::list(node, &request.subject, &request.payload).await?),
        RequestKind::ReplayErrors => document(&row_errors::replay(&request.subject, &request.payload, control).await?),
        RequestKind::CutOver => document(&cut_over(&request.subject, control).await?),
        RequestKind::ReloadTables => reload_tables(&request.subject, &request.payload, control).await,
        RequestKind::TestModule => test_module(node, &request.subject, &request.payload).await,
    }
}

fn document(answer: &impl Serialize) -> Result<Value, Failure> {
    serde_json::to_value(answer).map_err(|error| Failure::failed("bug", error.to_string()))
}

async fn test_connection(node: &Node, endpoint: &str) -> Result<ConnectionReport, Failure> {
    let endpoint = node.catalog.get_endpoint_by_id(endpoint).await?.spec;
    let settings = spec::server_settings(&endpoint);
    let version = match endpoint.role {
        Role::Source => connectors::source(settings).await.map_err(|error| Failure::from(&error))?.engine(),
        Role::Target => connectors::target(settings).await.map_err(|error| Failure::from(&error))?.engine(),
    };
    Ok(ConnectionReport { version: version.as_str().to_owned() })
}

/// Targets are listed too: every engine that can be a target can be read.
async fn list_tables(node: &Node, endpoint: &str) -> Result<TableListing, Failure> {
    let settings = spec::server_settings(&node.catalog.get_endpoint_by_id(endpoint).await?.spec);
    let source = connectors::source(settings).await.map_err(|error| Failure::from(&error))?;
    let mut names = source.table_names().await.map_err(|error| Failure::from(&error))?;
    names.sort();
    let schemas: BTreeSet<String> = names.iter().map(|name| name.schema.clone()).collect();
    let tables = names.into_iter().map(|name| ListedTable { schema: name.schema, table: name.name }).collect();
    Ok(TableListing { schemas: schemas.into_iter().collect(), tables })
}

async fn check_task(node: &Node, task: &str) -> Result<CheckReport, Failure> {
    let record = node.catalog.get_task(task).await?;
    let definition = &record.definition;
    let source = spec::server_settings(&node.catalog.get_endpoint(&definition.source).await?.spec);
    let target = spec::server_settings(&node.catalog.get_endpoint(&definition.target).await?.spec);
    let modules = node.modules.of_catalog(&definition.table_mappings, &node.catalog, &mut Pins::new()).await?;
    // A check writes nothing, so its directory is never made.
    let spec = spec::task_spec(&record, modules, &node.spool_dir, Units::fixed(1))?;
    let (source, target) = tokio::join!(connectors::source(source), connectors::target(target));
    let mut found = Vec::new();
    found.extend(source.as_ref().err().map(|error| findings::from_error(&format!("source endpoint \"{}\"", definition.source), error)));
    found.extend(target.as_ref().err().map(|error| findings::from_error(&format!("target endpoint \"{}\"", definition.target), error)));
    if let (Ok(source), Ok(target)) = (source, target) {
        let checked = tidegate_pipeline::check(&spec, source.as_ref(), target.as_ref()).await;
        found.extend(checked.unwrap_or_else(|error| findings::from_task_error(&error)));
        found.extend(ring_search::findings(node, &record, &spec, source.as_ref()).await?);
    }
    found.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    Ok(CheckReport { findings: found.into_iter().map(finding_record).collect() })
}

fn finding_record(finding: Finding) -> FindingRecord {
    FindingRecord {
        severity: findings::severity_name(finding.severity).to_owned(),
        code: finding.code.to_owned(),
        object: finding.object,
        found: finding.found,
        wanted: finding.wanted,
        fix: finding.fix,
    }
}

async fn reload_tables(task: &str, payload: &Value, control: Option<mpsc::Sender<Control>>) -> Result<Value, Failure> {
    let payload: ReloadPayload = serde_json::from_value(payload.clone())
        .map_err(|error| Failure::failed("payload", format!("reload of task \"{task}\": {error}")))?;
    let tables = payload.tables.into_iter().map(|table| TableName::new(table.schema, table.table)).collect();
    let not_running = || {
        Failure::failed("not_running", format!("task \"{task}\" is not running, wanted a running task to load tables again"))
            .hint("start the task first")
    };
    let control = control.ok_or_else(not_running)?;
    let (noted, taken) = oneshot::channel();
    control.send(Control::Reload { tables, noted }).await.map_err(|_| not_running())?;
    // An answer before the target has taken note would promise what a stop could still prevent.
    taken.await.map_err(|_| not_running())?;
    Ok(Value::Null)
}

/// How long a running task may take to come to the end of its source's log, or to a rest; below [`TIMEOUT`], whose words would be
/// about endpoints.
pub(super) const TASK_PATIENCE: Duration = Duration::from_secs(25);

async fn cut_over(task: &str, control: Option<mpsc::Sender<Control>>) -> Result<CutOverReport, Failure> {
    let not_running = || {
        Failure::failed("not_running", format!("task \"{task}\" is not running, wanted a running task to cut over"))
            .hint("start the task first")
    };
    let control = control.ok_or_else(not_running)?;
    let (done, answer) = oneshot::channel();
    control.send(Control::CutOver { done }).await.map_err(|_| not_running())?;
    match tokio::time::timeout(TASK_PATIENCE, answer).await {
        Ok(Ok(Ok(done))) => Ok(CutOverReport { position: done.position.to_string(), counters_moved: done.counters_moved }),
        Ok(Ok(Err(error))) => Err(Failure::from(&error)),
        Ok(Err(_)) => Err(not_running()),
        Err(_) => {
            let seconds = TASK_PATIENCE.as_secs();
            Err(Failure::failed(
                "not_level",
                format!("task \"{task}\" did not come to the end of the source's log within {seconds} seconds"),
            )
            .hint("see that its load is finished and its lag is small, and that nobody writes to the source; then ask again"))
        }
    }
}

/// Deletes the code of a module, unless somebody has uploaded it again.
async fn forget_unnamed(node: &Node, digest: &str) {
    match node.catalog.names_module(digest).await {
        Ok(false) => node.modules.forget(digest).await,
        Ok(true) => {}
        Err(error) => error!(digest, error = chain(&error), "look for the names of a module"),
    }
}

/// Compiles a pending version and records the verdict.
async fn judge(node: Node, record: ModuleRecord) {
    let verdict = match node.catalog.module_bytes(&record.digest).await {
        Ok(bytes) => node.modules.examine(&record.name, &record.tenant, bytes).await,
        Err(error) => Err(error.into()),
    };
    let (state, about) = match verdict {
        Ok((_, info)) => {
            info!(module = record.name, digest = record.digest, "module is ready");
            node.paces.uploads.done(&record.tenant);
            (ModuleState::Ready, json!({"name": info.name, "version": info.version, "config_schema": info.config_schema}))
        }
        // Stays pending, and is looked at again.
        Err(failure) if failure.code == BUSY => {
            warn!(module = record.name, digest = record.digest, "module not examined yet: {}", failure.message);
            return;
        }
        Err(failure) => {
            warn!(module = record.name, digest = record.digest, "module rejected: {}", failure.message);
            node.paces.uploads.failed(record.tenant.clone(), Cost::Little);
            (ModuleState::Rejected { message: failure.message, hint: failure.hint }, Value::Null)
        }
    };
    match node.catalog.set_module_state(&record.digest, &state, &about).await {
        Ok(()) => {}
        // Deleted meanwhile.
        Err(CatalogError::NotFound { .. }) => forget_unnamed(&node, &record.digest).await,
        Err(error) => error!(module = record.name, error = chain(&error), "record the module's verdict"),
    }
}
