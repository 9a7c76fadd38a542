//! Two tenants in one catalog: each sees its own, under the same names, and nothing of the other.

#![allow(clippy::unwrap_used, reason = "a test stops where its setup fails")]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_catalog::{
    Catalog, CatalogError, Cleanup, EndpointSpec, EventCategory, EventFilter, EventSeverity, KeyKind, KeyOwner, ModuleLimits, ModuleState,
    ModuleVersion, NewEvent, RequestKind, RequestState, Role, Secret, StageName, StartKind, TableStatusRecord, TaskDefinition,
    TaskProgress, TaskStatus, TenantQuotas, now_us,
};
use tidegate_model::TenantId;

fn endpoint(name: &str, role: Role, host: &str) -> EndpointSpec {
    let password = Secret::new(format!("secret of {host}"));
    EndpointSpec { host: host.to_owned(), password, database: None, ..support::endpoint(name, role) }
}

fn task(name: &str, module: Option<&str>) -> TaskDefinition {
    let rules: Vec<Value> = module.iter().map(|module| json!({ "rule-type": "module", "module": module })).collect();
    TaskDefinition { table_mappings: json!({ "rules": rules }).to_string(), ..support::task(name) }
}

/// A catalog with the task `shop` for each of two tenants, under the same ids, on endpoints of the same names.
async fn two_tenants(dir: &std::path::Path) -> (Catalog, Catalog, Catalog) {
    let all = Catalog::open(dir).await.unwrap();
    let [one, two] = ["default", "acme"].map(|name| all.of(&TenantId::new(name).unwrap()));
    for (catalog, host) in [(&one, "one.example"), (&two, "two.example")] {
        catalog.create_endpoint_with_id("LEFT", &endpoint("left", Role::Source, host)).await.unwrap();
        catalog.create_endpoint_with_id("RIGHT", &endpoint("right", Role::Target, host)).await.unwrap();
        catalog.create_task_with_id("SHOP", &task("shop", None)).await.unwrap();
    }
    (all, one, two)
}

fn event(message: &str) -> NewEvent {
    NewEvent {
        task: Some("shop".to_owned()),
        category: EventCategory::StateChange,
        severity: EventSeverity::Info,
        message: message.to_owned(),
    }
}

fn is_missing<T>(result: Result<T, CatalogError>) -> bool {
    matches!(result, Err(CatalogError::NotFound { .. }))
}

#[tokio::test]
async fn equal_names_and_ids_of_two_tenants_are_two_objects() {
    let dir = tempfile::tempdir().unwrap();
    let (all, one, two) = two_tenants(dir.path()).await;
    let endpoints = (one.get_endpoint("left").await.unwrap(), two.get_endpoint_by_id("LEFT").await.unwrap());
    assert_eq!((endpoints.0.spec.host.as_str(), endpoints.1.spec.host.as_str()), ("one.example", "two.example"));
    assert_eq!(endpoints.1.spec.password.reveal(), "secret of two.example");

    two.request_start("shop", StartKind::Start).await.unwrap();
    assert_eq!(one.get_task("shop").await.unwrap().status, TaskStatus::Created);
    assert_eq!(two.get_task_by_id("SHOP").await.unwrap().status, TaskStatus::Starting);
    let until = now_us() + 60_000_000;
    assert_eq!(two.acquire_lease("shop", "node", until).await.unwrap(), Some(1));
    assert_eq!(one.acquire_lease("shop", "other", until).await.unwrap(), Some(1), "the lease is another task's");

    let progress = TaskProgress { rows_loaded: 7, at_us: now_us(), ..TaskProgress::default() };
    two.set_progress("shop", &progress).await.unwrap();
    assert_eq!(one.get_task("shop").await.unwrap().progress, None);
    assert_eq!((one.history("shop").await.unwrap().points.len(), two.history("shop").await.unwrap().points.len()), (0, 1));

    let table = TableStatusRecord {
        schema: "s".to_owned(),
        table: "t".to_owned(),
        target_schema: None,
        target_table: None,
        stage: StageName::Loading,
        failure: None,
        rows_estimate: 0,
        rows_loaded: 0,
        chunks_total: 0,
        chunks_loaded: 0,
        inserts: 0,
        updates: 0,
        deletes: 0,
        ddls: 0,
        applied_inserts: 0,
        applied_updates: 0,
        applied_deletes: 0,
        applied_ddls: 0,
        rejected: 0,
        cut: 0,
        load_started_us: None,
        load_ended_us: None,
        updated_us: now_us(),
    };
    two.put_table_statuses("shop", &[table]).await.unwrap();
    assert_eq!((one.list_table_statuses("shop").await.unwrap().len(), two.list_table_statuses("shop").await.unwrap().len()), (0, 1));

    let tasks = all.changed_tasks(0).await.unwrap().0;
    let mut outside: Vec<String> = tasks.iter().map(|task| task.outside_name().to_string()).collect();
    outside.sort();
    assert_eq!(outside, ["acme--shop", "shop"], "their slots, control rows and files would meet");

    one.request_delete("shop", Cleanup::Required).await.unwrap();
    one.remove_task("shop").await.unwrap();
    assert_eq!((two.list_tasks().await.unwrap().len(), two.list_table_statuses("shop").await.unwrap().len()), (1, 1));
    assert_eq!(two.history("shop").await.unwrap().points.len(), 1);
}

#[tokio::test]
async fn what_belongs_to_another_tenant_is_not_found() {
    let dir = tempfile::tempdir().unwrap();
    let (_, one, two) = two_tenants(dir.path()).await;
    let mut definition = task("only-mine", None);
    one.create_endpoint(&endpoint("mine", Role::Source, "one.example")).await.unwrap();
    definition.source = "mine".to_owned();
    let mine = one.create_task(&definition).await.unwrap();
    one.append_event(&event("of one")).await.unwrap();
    let request = one.submit_request(RequestKind::CheckTask, "only-mine", &Value::Null).await.unwrap();
    one.put_module("mask", b"bytes".to_vec()).await.unwrap();
    one.create_resource("certificate", "C", "mine", &Value::Null).await.unwrap();

    assert!(is_missing(two.get_task("only-mine").await));
    assert!(is_missing(two.get_task_by_id(&mine.id).await));
    assert!(is_missing(two.request_start("only-mine", StartKind::Start).await));
    assert!(is_missing(two.request_delete("only-mine", Cleanup::BestEffort).await));
    assert!(is_missing(two.history("only-mine").await));
    assert!(is_missing(two.get_endpoint("mine").await));
    assert!(is_missing(two.delete_endpoint("mine").await));
    assert!(is_missing(two.create_task(&definition).await), "a task on another tenant's endpoint");
    assert!(is_missing(two.get_request(request.id).await));
    assert!(is_missing(two.wait_for_request(request.id, Duration::ZERO).await));
    assert_eq!(two.latest_request(RequestKind::CheckTask, "only-mine").await.unwrap(), None);
    assert!(is_missing(two.module_versions("mask").await));
    assert!(is_missing(two.delete_module("mask").await));
    assert!(is_missing(two.put_module_limits("mask", &ModuleLimits::default()).await));
    assert!(is_missing(two.get_resource("certificate", "C").await));
    assert_eq!(two.list_events(&EventFilter::default(), 10).await.unwrap(), []);
    assert_eq!(two.latest_events(None, 10).await.unwrap(), []);
    assert_eq!((one.list_tasks().await.unwrap().len(), two.list_tasks().await.unwrap().len()), (2, 1));
    assert_eq!((one.list_endpoints().await.unwrap().len(), two.list_endpoints().await.unwrap().len()), (3, 2));
}

#[tokio::test]
async fn equal_bytes_of_two_tenants_have_a_verdict_each_and_outlive_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let (all, one, two) = two_tenants(dir.path()).await;
    let digest = one.put_module("mask", b"bytes".to_vec()).await.unwrap().digest;
    two.put_module("other", b"bytes".to_vec()).await.unwrap();
    let pending = all.pending_modules().await.unwrap();
    let of: Vec<(&str, &str)> = pending.iter().map(|record| (record.tenant.as_str(), record.name.as_str())).collect();
    assert_eq!(of, [("default", "mask"), ("acme", "other")]);

    // Its message has the name of the tenant's own module, which is nobody else's business.
    let rejected = ModuleState::Rejected { message: "module \"mask\": no".to_owned(), hint: None };
    one.set_module_state(&digest, &rejected, &Value::Null).await.unwrap();
    let version = ModuleVersion::Digest(digest.clone());
    assert_eq!(two.get_module("other", &version).await.unwrap().state, ModuleState::Pending);

    assert!(is_missing(two.create_task(&task("uses", Some("mask"))).await), "a rule names another tenant's module");
    two.create_task(&task("uses", Some("other"))).await.unwrap();
    one.delete_module("mask").await.unwrap();
    assert_eq!(two.module_bytes(&digest).await.unwrap(), b"bytes");
}

#[tokio::test]
async fn a_tenant_that_asks_a_lot_holds_up_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let (all, one, two) = two_tenants(dir.path()).await;
    for number in 0..5 {
        one.submit_request(RequestKind::TestConnection, &format!("E{number}"), &Value::Null).await.unwrap();
    }
    let asked = two.submit_request(RequestKind::TestConnection, "LEFT", &Value::Null).await.unwrap();

    let first = all.take_request(&[RequestKind::TestConnection]).await.unwrap().unwrap();
    let second = all.take_request(&[RequestKind::TestConnection]).await.unwrap().unwrap();

    assert_eq!((first.tenant.as_str(), first.subject.as_str()), ("default", "E0"));
    assert_eq!((second.tenant.as_str(), second.id), ("acme", asked.id));
    assert_eq!(all.requeue_taken().await.unwrap(), 2);
    // Whoever works for all of them finishes under any handle, and the answer is the asker's.
    one.finish_request(asked.id, Ok(json!({ "version": "postgres" }))).await.unwrap();
    assert!(matches!(two.get_request(asked.id).await.unwrap().state, RequestState::Succeeded(_)));
    assert!(is_missing(one.get_request(asked.id).await));
}

/// Each request is answered before the next one is taken, so that no tenant ever has more taken than another.
#[tokio::test]
async fn the_tenant_whose_turn_was_longest_ago_is_next_whatever_it_asks() {
    let dir = tempfile::tempdir().unwrap();
    let (all, one, two) = two_tenants(dir.path()).await;
    all.create_tenant(two.tenant(), &TenantQuotas::default()).await.unwrap();
    for number in 0..4 {
        one.submit_request(RequestKind::TestConnection, &format!("E{number}"), &Value::Null).await.unwrap();
    }
    two.submit_request(RequestKind::CheckTask, "LATE", &Value::Null).await.unwrap();
    two.submit_request(RequestKind::ListTables, "LATER", &Value::Null).await.unwrap();
    let kinds = [RequestKind::TestConnection, RequestKind::ListTables, RequestKind::CheckTask];
    let mut served = Vec::new();
    while let Some(request) = all.take_request(&kinds).await.unwrap() {
        all.finish_request(request.id, Ok(Value::Null)).await.unwrap();
        served.push(request.subject);
    }
    // Of one tenant the first kind comes first.
    assert_eq!(served, ["E0", "LATER", "E1", "LATE", "E2", "E3"]);
    // What was served is remembered, by a process that starts as well.
    let again = Catalog::open(dir.path()).await.unwrap();
    one.submit_request(RequestKind::TestConnection, "E0", &Value::Null).await.unwrap();
    two.submit_request(RequestKind::CheckTask, "LATE", &Value::Null).await.unwrap();
    assert_eq!(again.take_request(&kinds).await.unwrap().unwrap().subject, "LATE");
}

#[tokio::test]
async fn quotas_refuse_what_goes_beyond_them_and_name_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let (all, one, two) = two_tenants(dir.path()).await;
    let acme = two.tenant().clone();
    let quotas =
        TenantQuotas { tasks: Some(2), units: Some(3), modules: Some(1), module_mib: Some(1), weight: Some(2), ..TenantQuotas::default() };
    all.create_tenant(&acme, &quotas).await.unwrap();
    let named = |result: Result<(), CatalogError>| match result {
        Err(CatalogError::Quota { quota, limit, wanted, .. }) => (quota, limit, wanted),
        other => panic!("{other:?}"),
    };
    let with_min = |name: &str, min_units| TaskDefinition { min_units, ..task(name, None) };
    assert_eq!(named(two.create_task(&with_min("greedy", 4)).await.map(drop)), ("units", 3, 4));
    two.create_task(&with_min("second", 2)).await.unwrap();
    assert_eq!(named(two.create_task(&task("third", None)).await.map(drop)), ("tasks", 2, 3));
    assert_eq!(named(two.update_task(1, &with_min("shop", 2)).await.map(drop)), ("units", 3, 4));
    two.update_task(1, &with_min("shop", 1)).await.unwrap();

    two.put_module("mask", vec![0; 600_000]).await.unwrap();
    assert_eq!(named(two.put_module("other", vec![1]).await.map(drop)), ("modules", 1, 2));
    assert_eq!(named(two.put_module("mask", vec![1; 600_000]).await.map(drop)), ("module_bytes", 1, 2));
    two.put_module("mask", vec![0; 600_000]).await.unwrap();
    two.put_module("mask", vec![1; 400_000]).await.unwrap();

    for name in ["a", "b", "c"] {
        one.create_task(&with_min(name, 9)).await.unwrap();
    }
    assert_eq!(two.quotas().await.unwrap(), quotas);
    all.set_tenant_quotas(&acme, &TenantQuotas::default()).await.unwrap();
    two.create_task(&task("third", None)).await.unwrap();
    assert!(matches!(all.delete_tenant(&acme).await, Err(CatalogError::InUse { .. })));
    assert!(matches!(all.delete_tenant(&TenantId::default()).await, Err(CatalogError::Conflict { .. })));
}

#[tokio::test]
async fn keys_open_for_their_owner_until_they_are_deleted_and_are_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (all, _, two) = two_tenants(dir.path()).await;
    let acme = KeyOwner::Tenant(two.tenant().clone());
    assert!(is_missing(all.create_key(&acme, KeyKind::Bearer).await), "the tenant is not there yet");
    all.create_tenant(two.tenant(), &TenantQuotas::default()).await.unwrap();
    assert!(!all.has_keys().await.unwrap());
    let bearer = all.create_key(&acme, KeyKind::Bearer).await.unwrap();
    let operator = all.create_key(&KeyOwner::Operator, KeyKind::Bearer).await.unwrap();
    let signing = all.create_key(&acme, KeyKind::Signing).await.unwrap();

    assert_eq!(all.owner_of_bearer(&bearer.secret).await.unwrap(), Some(acme.clone()));
    assert_eq!(all.owner_of_bearer(&operator.secret).await.unwrap(), Some(KeyOwner::Operator));
    let of_other = bearer.secret.reveal().replace(&bearer.id, &operator.id);
    for wrong in ["", "tgk_", "tgk__", &of_other, &bearer.secret.reveal()[..50], &format!("{}x", bearer.secret.reveal()), &signing.id] {
        assert_eq!(all.owner_of_bearer(&Secret::new(wrong)).await.unwrap(), None);
    }
    let (tenant, secret) = all.signing_key(&signing.id).await.unwrap().unwrap();
    assert_eq!((&tenant, secret.reveal()), (two.tenant(), signing.secret.reveal()));
    assert!(all.signing_key(&bearer.id).await.unwrap().is_none());

    let kinds: Vec<(KeyOwner, &str)> = all.list_keys().await.unwrap().into_iter().map(|key| (key.owner, key.kind.as_str())).collect();
    assert_eq!(kinds, [(KeyOwner::Operator, "bearer"), (acme.clone(), "bearer"), (acme, "sigv4")]);
    all.delete_key(&bearer.id).await.unwrap();
    assert_eq!(all.owner_of_bearer(&bearer.secret).await.unwrap(), None);
    let secrets = [&bearer, &operator, &signing].map(|key| key.secret.reveal().rsplit('_').next().unwrap().to_owned());
    all.close().await;
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap_or_default();
        for secret in &secrets {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "a secret lies in the data directory");
        }
    }
}
