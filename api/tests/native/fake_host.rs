//! Stands for the host process: answers what the catalog asks, as it is told to.

use serde_json::{Value, json};
use tidegate_catalog::{Catalog, Cleanup, Desired, Failure, ModuleState, RequestKind, RunPhase, StopReason, TaskRecord, TaskStatus};
use tokio::task::JoinHandle;

/// What the fake host does with whatever it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Everything works.
    Willing,
    /// Everything fails.
    Failing,
}

/// Works until it is dropped.
pub(crate) struct FakeHost(JoinHandle<()>);

impl FakeHost {
    pub(crate) fn start(catalog: &Catalog, mood: Mood) -> FakeHost {
        let catalog = catalog.clone();
        FakeHost(tokio::spawn(async move {
            let mut work = catalog.work();
            loop {
                work.mark_unchanged();
                turn(&catalog, mood).await;
                work.changed().await.unwrap();
            }
        }))
    }
}

impl Drop for FakeHost {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn turn(catalog: &Catalog, mood: Mood) {
    for kind in [
        RequestKind::TestConnection,
        RequestKind::ListTables,
        RequestKind::CheckTask,
        RequestKind::ReloadTables,
        RequestKind::TestModule,
        RequestKind::CutOver,
    ] {
        while let Some(request) = catalog.take_request(&[kind]).await.unwrap() {
            let outcome = match mood {
                Mood::Willing => Ok(result_of(kind)),
                Mood::Failing => Err(failure()),
            };
            catalog.finish_request(request.id, outcome).await.unwrap();
        }
    }
    for module in catalog.pending_modules().await.unwrap() {
        let state = match mood {
            Mood::Willing => ModuleState::Ready,
            Mood::Failing => ModuleState::Rejected {
                message: "found a core module, wanted a component".to_owned(),
                hint: Some("build it anew".to_owned()),
            },
        };
        catalog.set_module_state(&module.digest, &state, &json!({ "exports": 2 })).await.unwrap();
    }
    for task in catalog.list_tasks().await.unwrap() {
        step(catalog, mood, &task).await;
    }
}

async fn step(catalog: &Catalog, mood: Mood, task: &TaskRecord) {
    let name = task.definition.name.as_str();
    match (task.desired, &task.status, mood) {
        (Desired::Running, TaskStatus::Starting, Mood::Willing) => {
            catalog.set_status(name, &TaskStatus::Running { phase: RunPhase::Replicating }).await.unwrap();
        }
        (Desired::Running, TaskStatus::Starting, Mood::Failing) => {
            catalog.set_status(name, &TaskStatus::Failed(failure())).await.unwrap();
        }
        (Desired::Stopped, TaskStatus::Stopping, _) => {
            catalog.set_status(name, &TaskStatus::Stopped { reason: StopReason::Requested }).await.unwrap();
        }
        (Desired::Deleted(Cleanup::Required), _, Mood::Failing) => {
            catalog.set_status(name, &TaskStatus::Failed(failure())).await.unwrap();
        }
        (Desired::Deleted(_), _, _) => catalog.remove_task(name).await.unwrap(),
        (Desired::Running | Desired::Stopped, _, _) => {}
    }
}

fn result_of(kind: RequestKind) -> Value {
    match kind {
        RequestKind::TestConnection => json!({ "version": "PostgreSQL 18.0" }),
        RequestKind::ListTables => json!({ "schemas": ["shop"], "tables": [{ "schema": "shop", "table": "orders" }] }),
        RequestKind::CheckTask => json!({ "findings": [{
            "severity": "error", "code": "wal_level", "object": "setting \"wal_level\"", "found": "replica", "wanted": "logical",
            "fix": "ALTER SYSTEM SET wal_level = logical",
        }] }),
        RequestKind::ReloadTables => Value::Null,
        RequestKind::TestModule => json!({ "rows": [{ "row": 0, "outcome": "kept", "before": { "id": 1 }, "after": { "id": 1 } }] }),
        RequestKind::SwapModule => json!({ "module": "mask", "digest": "sha256:0", "tables": [] }),
        RequestKind::ListErrors => json!({ "errors": [] }),
        RequestKind::ReplayErrors => json!({ "replayed": 0, "rejected": 0, "left": 0 }),
        RequestKind::CutOver => json!({ "position": "postgres:0/1", "counters_moved": 2 }),
    }
}

fn failure() -> Failure {
    Failure::new("unreachable", "server \"db.example:5433\" does not answer", Some("check host and port".to_owned()))
}
