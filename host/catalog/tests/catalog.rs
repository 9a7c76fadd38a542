//! The catalog through its public functions: what it keeps, what it refuses, and what two writers do to each other.

#![allow(clippy::unwrap_used, reason = "a test stops where its setup fails")]

mod support;

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_catalog::{
    Catalog, CatalogError, Cleanup, Desired, EndpointSpec, EventCategory, EventFilter, EventSeverity, Failure, HeldLease, Migration,
    ModuleState, ModuleVersion, NewEvent, RequestKind, RequestState, Role, RunPhase, Secret, StageName, StartKind, StopReason,
    TableStatusRecord, TaskDefinition, TaskProgress, TaskStatus, TlsChoice, TlsMode, now_us,
};
use tidegate_model::TenantId;

const CANARY: &str = "canary-4711-password";

fn endpoint(name: &str, role: Role) -> EndpointSpec {
    EndpointSpec {
        password: Secret::new(CANARY),
        tls: TlsChoice { mode: TlsMode::VerifyFull, authorities_pem: Some("pem".to_owned()) },
        dms: json!({ "EngineName": "postgres" }),
        ..support::endpoint(name, role)
    }
}

fn task(name: &str) -> TaskDefinition {
    TaskDefinition { settings: json!({ "load_lanes": 2 }), tags: [("team".to_owned(), "shop".to_owned())].into(), ..support::task(name) }
}

async fn with_task(dir: &Path) -> Catalog {
    let catalog = Catalog::open(dir).await.unwrap();
    catalog.create_endpoint(&endpoint("left", Role::Source)).await.unwrap();
    catalog.create_endpoint(&endpoint("right", Role::Target)).await.unwrap();
    catalog.create_task(&task("orders")).await.unwrap();
    catalog
}

/// Every file of the directory, searched for the canary.
fn check_no_canary(dir: &Path) {
    let mut files = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes()), "{}", path.display());
            files += 1;
        }
    }
    assert!(files >= 2, "database and key are there to be searched");
}

#[tokio::test]
async fn reopened_catalog_finds_everything() {
    let dir = TempDir::new().unwrap();
    let catalog = with_task(dir.path()).await;
    let module = catalog.put_module("mask", b"\0asm bytes".to_vec()).await.unwrap();
    catalog.request_start("orders", StartKind::Start).await.unwrap();
    catalog.set_status("orders", &TaskStatus::Running { phase: RunPhase::Loading }).await.unwrap();
    let progress = TaskProgress { rows_loaded: 7, checkpoint: Some("postgres:0/1".to_owned()), ..TaskProgress::default() };
    catalog.set_progress("orders", &progress).await.unwrap();
    let table = TableStatusRecord { schema: "shop".into(), table: "o".into(), stage: StageName::Loading, ..Default::default() };
    catalog.put_table_statuses("orders", std::slice::from_ref(&table)).await.unwrap();
    catalog.create_resource("certificate", "ID", "name", &json!({ "a": 1 })).await.unwrap();
    let (left, before) = (catalog.get_endpoint("left").await.unwrap(), catalog.get_task("orders").await.unwrap());
    catalog.close().await;

    let catalog = Catalog::open(dir.path()).await.unwrap();

    assert_eq!(catalog.get_endpoint("left").await.unwrap(), left);
    assert_eq!(left.spec, endpoint("left", Role::Source));
    let after = catalog.get_task("orders").await.unwrap();
    assert_eq!(after, before);
    assert_eq!((after.desired, after.run_request), (Desired::Running, 1));
    assert_eq!(after.definition, task("orders"));
    assert_eq!(after.progress, Some(progress));
    assert_eq!(catalog.list_table_statuses("orders").await.unwrap(), [table]);
    assert_eq!(catalog.module_bytes(&module.digest).await.unwrap(), b"\0asm bytes");
    assert_eq!(catalog.get_resource_by_name("certificate", "name").await.unwrap().document, json!({ "a": 1 }));
}

#[tokio::test]
async fn password_is_in_no_file_and_no_debug_text() {
    let dir = TempDir::new().unwrap();
    let catalog = with_task(dir.path()).await;
    let record = catalog.get_endpoint("left").await.unwrap();
    assert_eq!(record.spec.password.reveal(), CANARY);
    assert!(!format!("{record:?}").contains(CANARY));
    // Once with the write-ahead log full, once after it was folded into the database.
    check_no_canary(dir.path());
    catalog.close().await;
    check_no_canary(dir.path());
}

#[cfg(unix)]
#[tokio::test]
async fn key_and_database_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new().unwrap();
    let _catalog = with_task(dir.path()).await;
    for file in ["catalog.key", "catalog.sqlite", "catalog.sqlite-wal"] {
        let mode = std::fs::metadata(dir.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[tokio::test]
async fn lost_or_foreign_key_is_named_at_open() {
    let dir = TempDir::new().unwrap();
    with_task(dir.path()).await.close().await;
    let key = dir.path().join("catalog.key");
    std::fs::write(&key, [7; 32]).unwrap();
    assert!(matches!(Catalog::open(dir.path()).await.err(), Some(CatalogError::Key { .. })));
    std::fs::write(&key, [7; 31]).unwrap();
    assert!(matches!(Catalog::open(dir.path()).await.err(), Some(CatalogError::Key { .. })));
    std::fs::remove_file(&key).unwrap();
    assert!(matches!(Catalog::open(dir.path()).await.err(), Some(CatalogError::Key { .. })));
    assert!(!key.exists(), "no new key hides that the old one is lost");
}

#[tokio::test]
async fn used_objects_are_not_deleted() {
    let dir = TempDir::new().unwrap();
    let catalog = with_task(dir.path()).await;
    catalog.put_module("mask", b"one".to_vec()).await.unwrap();
    let mut masked = task("masked");
    masked.table_mappings = json!({ "rules": [{ "rule-type": "module", "module": "mask" }] }).to_string();
    catalog.create_task(&masked).await.unwrap();

    for name in ["left", "right"] {
        let error = catalog.delete_endpoint(name).await.unwrap_err();
        assert!(matches!(error, CatalogError::InUse { .. }), "{error}");
        assert!(error.to_string().contains("task \"masked\""), "{error}");
    }
    assert!(matches!(catalog.delete_module("mask").await, Err(CatalogError::InUse { .. })));

    for name in ["masked", "orders"] {
        catalog.request_delete(name, Cleanup::Required).await.unwrap();
        catalog.remove_task(name).await.unwrap();
    }
    catalog.delete_module("mask").await.unwrap();
    catalog.delete_endpoint("left").await.unwrap();
    assert!(matches!(catalog.delete_endpoint("left").await, Err(CatalogError::NotFound { kind: "endpoint", .. })));
    assert_eq!(std::fs::read_dir(dir.path().join("modules")).unwrap().count(), 0);
}

#[tokio::test]
async fn task_needs_its_endpoints_and_modules() {
    let dir = TempDir::new().unwrap();
    let catalog = with_task(dir.path()).await;
    let elsewhere = TaskDefinition { target: "nowhere".to_owned(), ..task("other") };
    assert!(matches!(catalog.create_task(&elsewhere).await, Err(CatalogError::NotFound { kind: "endpoint", .. })));
    let mut masked = task("other");
    masked.table_mappings = json!({ "rules": [{ "rule-type": "module", "module": "mask" }] }).to_string();
    assert!(matches!(catalog.create_task(&masked).await, Err(CatalogError::NotFound { kind: "module", .. })));
    assert!(matches!(catalog.get_task("other").await, Err(CatalogError::NotFound { .. })), "nothing is left of a refused task");
    assert!(matches!(catalog.create_task(&task("orders")).await, Err(CatalogError::AlreadyExists { .. })));
}

#[tokio::test]
async fn renamed_endpoint_keeps_its_tasks() {
    let dir = TempDir::new().unwrap();
    let catalog = with_task(dir.path()).await;
    let left = catalog.get_endpoint("left").await.unwrap();
    let renamed = EndpointSpec { name: "west".to_owned(), ..left.spec.clone() };
    catalog.update_endpoint(&left.id, left.revision, &renamed).await.unwrap();
    assert_eq!(catalog.get_task("orders").await.unwrap().definition.source, "west");
    assert_eq!(catalog.get_endpoint_by_id(&left.id).await.unwrap().spec.password.reveal(), CANARY);
    let late = catalog.update_endpoint(&left.id, left.revision, &left.spec).await;
    assert!(matches!(late, Err(CatalogError::Conflict { .. })), "the second of two writers learns of the first");
}

#[tokio::test]
async fn task_states_allow_only_what_makes_sense() {
    let dir = TempDir::new().unwrap();
    let catalog = with_task(dir.path()).await;
    let running = TaskStatus::Running { phase: RunPhase::Replicating };
    let stopped = TaskStatus::Stopped { reason: StopReason::Requested };

    assert!(matches!(catalog.request_stop("orders").await, Err(CatalogError::Conflict { .. })));
    assert!(!catalog.set_status("orders", &running).await.unwrap(), "nobody wants it to run");
    let started = catalog.request_start("orders", StartKind::Reload).await.unwrap();
    assert_eq!((started.status, started.desired), (TaskStatus::Starting, Desired::Running));
    assert!(matches!(catalog.request_start("orders", StartKind::Start).await, Err(CatalogError::Conflict { .. })));
    assert!(catalog.set_status("orders", &running).await.unwrap());
    assert!(matches!(catalog.request_delete("orders", Cleanup::Required).await, Err(CatalogError::Conflict { .. })));
    assert!(matches!(catalog.remove_task("orders").await, Err(CatalogError::Conflict { .. })));
    assert_eq!(catalog.request_stop("orders").await.unwrap().status, TaskStatus::Stopping);
    assert!(!catalog.set_status("orders", &running).await.unwrap(), "a late word does not hide the stop");
    assert!(catalog.set_status("orders", &stopped).await.unwrap());
    let record = catalog.get_task("orders").await.unwrap();
    assert_eq!((record.status, record.desired), (stopped, Desired::Stopped));
    assert!(record.stopped_at_us >= record.started_at_us);
}

#[tokio::test]
async fn failed_task_is_not_wanted_any_more() {
    let dir = TempDir::new().unwrap();
    let catalog = with_task(dir.path()).await;
    let failed = TaskStatus::Failed(Failure::new("slot_lost", "slot is gone", None));
    catalog.request_start("orders", StartKind::Start).await.unwrap();
    catalog.set_status("orders", &failed).await.unwrap();
    assert_eq!(catalog.get_task("orders").await.unwrap().desired, Desired::Stopped);
    // A deletion that failed keeps the task, and it can be asked for again.
    let asked = catalog.request_delete("orders", Cleanup::BestEffort).await.unwrap();
    assert_eq!((asked.desired, asked.status), (Desired::Deleted(Cleanup::BestEffort), TaskStatus::Deleting));
    catalog.set_status("orders", &failed).await.unwrap();
    assert_eq!(catalog.get_task("orders").await.unwrap().status, failed);
    catalog.request_delete("orders", Cleanup::Required).await.unwrap();
    catalog.remove_task("orders").await.unwrap();
    assert!(matches!(catalog.get_task("orders").await, Err(CatalogError::NotFound { .. })));
}

/// The API told a caller that the task does not exist whose deletion it had just taken.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_is_answered_with_its_task_however_fast_it_is_carried_out() {
    let dir = TempDir::new().unwrap();
    let catalog = with_task(dir.path()).await;
    let host = catalog.clone();
    let host = tokio::spawn(async move {
        loop {
            // Refused until it is asked for.
            let _ = host.remove_task("orders").await;
        }
    });
    for round in 0..200 {
        let asked = catalog.request_delete("orders", Cleanup::BestEffort).await;
        assert_eq!(asked.unwrap_or_else(|error| panic!("round {round}: {error}")).status, TaskStatus::Deleting);
        while catalog.get_task("orders").await.is_ok() {
            tokio::task::yield_now().await;
        }
        catalog.create_task(&task("orders")).await.unwrap();
    }
    host.abort();
}

#[tokio::test]
async fn begun_reload_is_resumed_and_not_repeated() {
    let dir = TempDir::new().unwrap();
    let catalog = with_task(dir.path()).await;
    let record = catalog.request_start("orders", StartKind::Reload).await.unwrap();
    assert_eq!(record.next_start(), StartKind::Reload);
    catalog.set_run_begun("orders", record.run_request).await.unwrap();
    assert_eq!(catalog.get_task("orders").await.unwrap().next_start(), StartKind::Resume);
}

#[tokio::test]
async fn running_task_takes_only_live_changes() {
    let dir = TempDir::new().unwrap();
    let catalog = with_task(dir.path()).await;
    let record = catalog.request_start("orders", StartKind::Start).await.unwrap();
    let wider = TaskDefinition { max_units: 8, ..task("orders") };
    let record = catalog.update_task(record.revision, &wider).await.unwrap();
    assert_eq!(record.definition.max_units, 8);
    let other = TaskDefinition { migration: Migration::Cdc, ..wider.clone() };
    assert!(matches!(catalog.update_task(record.revision, &other).await, Err(CatalogError::Conflict { .. })));
    assert!(matches!(catalog.update_task(record.revision - 1, &wider).await, Err(CatalogError::Conflict { .. })));
}

#[tokio::test]
async fn running_task_goes_on_with_changed_mappings() {
    let dir = TempDir::new().unwrap();
    let catalog = with_task(dir.path()).await;
    let before = catalog.request_start("orders", StartKind::Reload).await.unwrap();
    let change = |number: u32| TaskDefinition { settings: json!({ "load_lanes": number }), ..task("orders") };
    // The reload has not begun: it is still to come.
    let record = catalog.update_task(before.revision, &change(5)).await.unwrap();
    assert_eq!((record.run_request, record.next_start()), (before.run_request + 1, StartKind::Reload));
    catalog.set_run_begun("orders", record.run_request).await.unwrap();
    let record = catalog.update_task(record.revision, &change(6)).await.unwrap();
    assert_eq!((record.run_request, record.next_start()), (before.run_request + 2, StartKind::Resume));
    let record = catalog.request_stop("orders").await.unwrap();
    assert!(matches!(catalog.update_task(record.revision, &change(7)).await, Err(CatalogError::Conflict { .. })));
}

#[tokio::test]
async fn latest_module_is_the_newest_that_was_not_rejected() {
    let dir = TempDir::new().unwrap();
    let catalog = Catalog::open(dir.path()).await.unwrap();
    let one = catalog.put_module("mask", b"one".to_vec()).await.unwrap();
    let two = catalog.put_module("mask", b"two".to_vec()).await.unwrap();
    assert_eq!(one.state, ModuleState::Pending);
    assert_eq!(catalog.pending_modules().await.unwrap().len(), 2);
    catalog.set_module_state(&one.digest, &ModuleState::Ready, &Value::Null).await.unwrap();
    let rejected = ModuleState::Rejected { message: "is a core module, wanted a component".to_owned(), hint: None };
    catalog.set_module_state(&two.digest, &rejected, &Value::Null).await.unwrap();
    assert_eq!(catalog.get_module("mask", &ModuleVersion::Latest).await.unwrap().digest, one.digest);
    assert_eq!(catalog.get_module("mask", &ModuleVersion::Digest(two.digest.clone())).await.unwrap().state, rejected);
    // The same bytes again: rejected ones are looked at anew, accepted ones stay accepted and become the latest.
    assert_eq!(catalog.put_module("mask", b"two".to_vec()).await.unwrap().state, ModuleState::Pending);
    assert_eq!(catalog.put_module("mask", b"one".to_vec()).await.unwrap().state, ModuleState::Ready);
    assert_eq!(catalog.get_module("mask", &ModuleVersion::Latest).await.unwrap().digest, one.digest);
}

#[tokio::test]
async fn module_digest_is_no_path_and_is_checked() {
    let dir = TempDir::new().unwrap();
    let catalog = Catalog::open(dir.path()).await.unwrap();
    for digest in ["sha256:../../catalog.key", "sha256:", "../catalog.key", "sha256:zz"] {
        assert!(matches!(catalog.module_bytes(digest).await, Err(CatalogError::NotFound { .. })), "{digest}");
    }
    let module = catalog.put_module("mask", b"one".to_vec()).await.unwrap();
    let hex = module.digest.strip_prefix("sha256:").unwrap();
    std::fs::write(dir.path().join("modules").join(hex), b"two").unwrap();
    assert!(matches!(catalog.module_bytes(&module.digest).await, Err(CatalogError::Corrupt { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_writers_lose_nothing() {
    let dir = TempDir::new().unwrap();
    let catalog = with_task(dir.path()).await;
    // A second handle stands for a second process: nothing is shared but the file.
    let other = Catalog::open(dir.path()).await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..8 {
        let catalog = if writer % 2 == 0 { catalog.clone() } else { other.clone() };
        writers.spawn(async move {
            for round in 0..20 {
                let table = TableStatusRecord { schema: "s".into(), table: format!("t{writer}-{round}"), ..Default::default() };
                catalog.put_table_statuses("orders", &[table]).await.unwrap();
                catalog.set_progress("orders", &TaskProgress { rows_loaded: round, ..Default::default() }).await.unwrap();
                catalog.submit_request(RequestKind::CheckTask, "orders", &json!([writer, round])).await.unwrap();
            }
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    assert_eq!(catalog.list_table_statuses("orders").await.unwrap().len(), 160);
    let mut taken = 0;
    while let Some(request) = other.take_request(&[RequestKind::CheckTask]).await.unwrap() {
        assert_eq!(request.state, RequestState::Taken);
        taken += 1;
    }
    assert_eq!(taken, 160);
}

#[tokio::test]
async fn request_is_answered_once_and_its_waiter_woken() {
    let dir = TempDir::new().unwrap();
    let catalog = with_task(dir.path()).await;
    let mut work = catalog.work();
    work.mark_unchanged();
    let request = catalog.submit_request(RequestKind::TestConnection, "E1", &Value::Null).await.unwrap();
    let again = catalog.submit_request(RequestKind::TestConnection, "E1", &Value::Null).await.unwrap();
    assert_eq!(request.id, again.id);
    assert!(work.has_changed().unwrap());

    let host = catalog.clone();
    let waiter = tokio::spawn(async move { host.wait_for_request(request.id, std::time::Duration::from_secs(20)).await.unwrap() });
    assert!(catalog.take_request(&[RequestKind::ListTables]).await.unwrap().is_none());
    assert_eq!(catalog.take_request(&[RequestKind::TestConnection]).await.unwrap().unwrap().id, request.id);
    assert!(catalog.take_request(&[RequestKind::TestConnection]).await.unwrap().is_none());
    // The host died and another one starts.
    assert_eq!(catalog.requeue_taken().await.unwrap(), 1);
    let taken = catalog.take_request(&[RequestKind::TestConnection]).await.unwrap().unwrap();
    catalog.finish_request(taken.id, Err(Failure::new("password", "password refused", Some("try another".into())))).await.unwrap();

    let answered = waiter.await.unwrap();
    assert!(matches!(&answered.state, RequestState::Failed(failure) if failure.code == "password"));
    assert_eq!(catalog.latest_request(RequestKind::TestConnection, "E1").await.unwrap().unwrap(), answered);
    assert_eq!(catalog.forget_requests(RequestKind::TestConnection, "E1").await.unwrap(), 1);
}

#[tokio::test]
async fn finished_requests_are_bounded() {
    let dir = TempDir::new().unwrap();
    let catalog = Catalog::open(dir.path()).await.unwrap();
    let mut first = None;
    for _ in 0..15 {
        let request = catalog.submit_request(RequestKind::TestConnection, "E1", &Value::Null).await.unwrap();
        first.get_or_insert(request.id);
        catalog.finish_request(request.id, Ok(json!({ "version": "18" }))).await.unwrap();
    }
    assert!(matches!(catalog.get_request(first.unwrap()).await, Err(CatalogError::NotFound { .. })));
    assert_eq!(catalog.forget_requests(RequestKind::TestConnection, "E1").await.unwrap(), 10);
}

#[tokio::test]
async fn events_are_listed_by_task_and_bounded() {
    let dir = TempDir::new().unwrap();
    let catalog = Catalog::open(dir.path()).await.unwrap();
    let event = |task: Option<&str>, message: String| NewEvent {
        task: task.map(str::to_owned),
        category: EventCategory::StateChange,
        severity: EventSeverity::Info,
        message,
    };
    for round in 0..3 {
        catalog.append_event(&event(Some("orders"), format!("o{round}"))).await.unwrap();
        catalog.append_event(&event(None, format!("n{round}"))).await.unwrap();
    }
    let filter = EventFilter { task: Some("orders".to_owned()), ..EventFilter::default() };
    let listed = catalog.list_events(&filter, 10).await.unwrap();
    assert_eq!(listed.iter().map(|event| &*event.message).collect::<Vec<_>>(), ["o0", "o1", "o2"]);
    let later = EventFilter { after_seq: Some(listed[1].seq), ..filter.clone() };
    assert_eq!(catalog.list_events(&later, 10).await.unwrap(), listed[2..]);
    assert_eq!(catalog.list_events(&EventFilter::default(), 10).await.unwrap().len(), 6);
    assert_eq!(catalog.latest_events(None, 2).await.unwrap().last().unwrap().message, "n2");
    let future = EventFilter { since_us: Some(now_us() + 1_000_000), ..EventFilter::default() };
    assert!(catalog.list_events(&future, 10).await.unwrap().is_empty());
    let long = catalog.append_event(&event(None, "x".repeat(100_000))).await.unwrap();
    let stored = catalog.list_events(&EventFilter { after_seq: Some(long - 1), ..EventFilter::default() }, 1).await.unwrap();
    assert_eq!(stored[0].message.len(), 4_000);
}

#[tokio::test]
async fn lease_has_one_holder() {
    let dir = TempDir::new().unwrap();
    let catalog = with_task(dir.path()).await;
    let (past, later) = (now_us() - 1, now_us() + 60_000_000);
    let held = |generation| [HeldLease { tenant: TenantId::default(), task: "orders".into(), generation }];
    let first = catalog.acquire_lease("orders", "a", past).await.unwrap().unwrap();
    assert_eq!(catalog.renew_leases("a", &held(first), later).await.unwrap(), []);
    assert!(catalog.get_task("orders").await.unwrap().lease.until_us >= later);
    assert_eq!(catalog.acquire_lease("orders", "b", later).await.unwrap(), None, "its owner is alive");
    assert_eq!(catalog.renew_leases("a", &held(first), past).await.unwrap(), []);
    let second = catalog.acquire_lease("orders", "b", later).await.unwrap().expect("the first one ran out");
    assert!(second > first);
    assert_eq!(catalog.renew_leases("a", &held(first), later).await.unwrap(), held(first));
    assert_eq!(catalog.renew_leases("a", &[], later).await.unwrap(), [], "a host without leases is alive all the same");
    catalog.release_lease("orders", first).await.unwrap();
    assert_eq!(catalog.get_task("orders").await.unwrap().lease.owner.as_deref(), Some("b"));
    catalog.release_lease("orders", second).await.unwrap();
    assert_eq!(catalog.get_task("orders").await.unwrap().lease.owner, None);
    assert_eq!(catalog.renew_leases("b", &held(second), later).await.unwrap(), held(second), "what was given back is not renewed");
    assert_eq!(catalog.acquire_lease("nobody", "a", later).await.unwrap(), None);
}

#[tokio::test]
async fn resources_have_unique_names_within_a_kind() {
    let dir = TempDir::new().unwrap();
    let catalog = Catalog::open(dir.path()).await.unwrap();
    catalog.create_resource("certificate", "A", "one", &json!(1)).await.unwrap();
    assert!(matches!(catalog.create_resource("certificate", "B", "one", &json!(2)).await, Err(CatalogError::AlreadyExists { .. })));
    catalog.create_resource("subnet-group", "A", "one", &json!(3)).await.unwrap();
    catalog.put_resource("tags", "arn", "arn", &json!({ "k": "v" })).await.unwrap();
    catalog.put_resource("tags", "arn", "arn", &json!({})).await.unwrap();
    assert_eq!(catalog.get_resource("tags", "arn").await.unwrap().document, json!({}));
    catalog.update_resource("certificate", "A", "two", &json!(4)).await.unwrap();
    assert_eq!(catalog.list_resources("certificate").await.unwrap()[0].name, "two");
    catalog.delete_resource("certificate", "A").await.unwrap();
    assert!(matches!(catalog.delete_resource("certificate", "A").await, Err(CatalogError::NotFound { .. })));
    assert!(matches!(catalog.update_resource("certificate", "A", "x", &json!(5)).await, Err(CatalogError::NotFound { .. })));
}
