//! A host process without databases: answers the catalog's requests and moves tasks through their states.
//!
//! It does to the catalog what the real host does, so that the wire protocol can be tested in milliseconds. An endpoint
//! whose host name is `unreachable.test` cannot be connected to; a task that reads from it fails.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_api::{ApiState, Contract, ModuleRules};
use tidegate_catalog::{
    Catalog, CatalogError, ConnectionReport, EventCategory, EventSeverity, Failure, ListedTable, Migration, ModuleLimits, NewEvent,
    RequestKind, RequestRecord, RunPhase, StageName, StopReason, TableListing, TableStatusRecord, TaskProgress, TaskRecord, TaskStatus,
    now_us,
};
use tokio::task::JoinHandle;

/// Source tables of every fake task: name and rows.
pub(crate) const TABLES: [(&str, u64); 3] = [("customers", 40), ("orders", 100), ("order_lines", 250)];

/// A catalog in a directory of its own, an API state over it, and the fake host; all gone on drop.
pub(crate) struct FakeHost {
    pub(crate) state: ApiState,
    worker: JoinHandle<()>,
    _data_dir: TempDir,
}

impl FakeHost {
    pub(crate) async fn start() -> Self {
        let data_dir = tempfile::tempdir().expect("create a data directory");
        let catalog = Catalog::open(data_dir.path()).await.expect("open a new catalog");
        let state = ApiState {
            catalog: catalog.clone(),
            prometheus: PrometheusBuilder::new().build_recorder().handle(),
            contract: Contract { package: "tidegate:transform", versions: &["1.0.0"], wit: "" },
            version: "test",
            ready: Arc::new(AtomicBool::new(true)),
            modules: ModuleRules { upload_bytes_max: 1 << 20, defaults: ModuleLimits::default(), ceilings: ModuleLimits::default() },
            keys_required: false,
        };
        let worker = tokio::spawn(async move {
            let mut work = catalog.work();
            loop {
                work.mark_unchanged();
                let is_done = turn(&catalog).await.expect("the catalog takes what its host does");
                if is_done {
                    work.changed().await.expect("the catalog is open");
                }
            }
        });
        Self { state, worker, _data_dir: data_dir }
    }
}

impl Drop for FakeHost {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

/// Answers what is asked and moves every task by a step; `true` when nothing was left to do.
async fn turn(catalog: &Catalog) -> Result<bool, CatalogError> {
    let mut is_done = true;
    for kind in [
        RequestKind::TestConnection,
        RequestKind::ListTables,
        RequestKind::CheckTask,
        RequestKind::ReloadTables,
        RequestKind::TestModule,
        RequestKind::CutOver,
    ] {
        while let Some(request) = catalog.take_request(&[kind]).await? {
            let outcome = outcome(catalog, &request).await;
            catalog.finish_request(request.id, outcome).await?;
        }
    }
    for task in catalog.list_tasks().await? {
        is_done &= !advance(catalog, &task).await?;
    }
    Ok(is_done)
}

async fn outcome(catalog: &Catalog, request: &RequestRecord) -> Result<Value, Failure> {
    match request.kind {
        RequestKind::TestConnection | RequestKind::ListTables => {
            let endpoint = catalog.get_endpoint_by_id(&request.subject).await.map_err(|error| failure(&error.to_string()))?;
            if endpoint.spec.host == "unreachable.test" {
                return Err(failure("server \"unreachable.test\" cannot be reached"));
            }
            Ok(match request.kind {
                RequestKind::TestConnection => json!(ConnectionReport { version: "17.0".into() }),
                _ => json!(TableListing { schemas: vec!["public".into(), "shop".into()], tables: listed() }),
            })
        }
        RequestKind::CheckTask => Ok(json!({"findings": []})),
        RequestKind::ReloadTables | RequestKind::TestModule | RequestKind::CutOver => Ok(Value::Null),
        RequestKind::SwapModule => Err(failure("no modules here")),
        RequestKind::ListErrors => Ok(json!({"errors": []})),
        RequestKind::ReplayErrors => Ok(json!({"replayed": 0, "rejected": 0, "left": 0})),
    }
}

fn listed() -> Vec<ListedTable> {
    TABLES.iter().map(|(table, _)| ListedTable { schema: "shop".into(), table: (*table).into() }).collect()
}

fn failure(message: &str) -> Failure {
    Failure { code: "connection_refused".into(), message: message.into(), hint: Some("start the server".into()) }
}

/// One step of a task's life; `false` when there is none.
async fn advance(catalog: &Catalog, task: &TaskRecord) -> Result<bool, CatalogError> {
    let name = task.definition.name.as_str();
    match &task.status {
        TaskStatus::Starting => {
            let source = catalog.get_endpoint(&task.definition.source).await?;
            if source.spec.host == "unreachable.test" {
                let failure = failure("server \"unreachable.test\" cannot be reached");
                catalog.set_status(name, &TaskStatus::Failed(failure)).await?;
                return Ok(true);
            }
            catalog.set_run_begun(name, task.run_request).await?;
            catalog.put_table_statuses(name, &tables(StageName::BeforeLoad)).await?;
            catalog.set_status(name, &TaskStatus::Running { phase: RunPhase::Preparing }).await?;
            let message = "task started".to_owned();
            let event = NewEvent { task: Some(name.into()), category: EventCategory::StateChange, severity: EventSeverity::Info, message };
            catalog.append_event(&event).await?;
        }
        TaskStatus::Running { phase: RunPhase::Preparing } => {
            catalog.put_table_statuses(name, &tables(StageName::Loading)).await?;
            catalog.set_status(name, &TaskStatus::Running { phase: RunPhase::Loading }).await?;
        }
        TaskStatus::Running { phase: RunPhase::Loading } => {
            catalog.put_table_statuses(name, &tables(StageName::Completed)).await?;
            let next = match task.definition.migration {
                Migration::FullLoad => TaskStatus::Stopped { reason: StopReason::FullLoadFinished },
                Migration::Cdc | Migration::FullLoadAndCdc => TaskStatus::Running { phase: RunPhase::CatchingUp },
            };
            catalog.set_status(name, &next).await?;
        }
        TaskStatus::Running { phase: RunPhase::CatchingUp } => {
            let progress = TaskProgress {
                phase: RunPhase::Replicating,
                checkpoint: Some("postgres:0/16B3748".into()),
                units: 2,
                at_us: now_us(),
                ..TaskProgress::default()
            };
            catalog.set_progress(name, &progress).await?;
            catalog.set_status(name, &TaskStatus::Running { phase: RunPhase::Replicating }).await?;
        }
        TaskStatus::Stopping => {
            catalog.set_status(name, &TaskStatus::Stopped { reason: StopReason::Requested }).await?;
        }
        TaskStatus::Deleting => catalog.remove_task(name).await?,
        TaskStatus::Created | TaskStatus::Running { phase: RunPhase::Replicating } | TaskStatus::Stopped { .. } | TaskStatus::Failed(_) => {
            return Ok(false);
        }
    }
    Ok(true)
}

fn tables(stage: StageName) -> Vec<TableStatusRecord> {
    let now = now_us();
    let one = |(table, rows): &(&str, u64)| TableStatusRecord {
        schema: "shop".into(),
        table: (*table).into(),
        stage,
        rows_estimate: *rows,
        rows_loaded: if stage == StageName::Completed { *rows } else { 0 },
        load_started_us: (stage != StageName::BeforeLoad).then_some(now),
        load_ended_us: (stage == StageName::Completed).then_some(now),
        updated_us: now,
        ..TableStatusRecord::default()
    };
    TABLES.iter().map(one).collect()
}
