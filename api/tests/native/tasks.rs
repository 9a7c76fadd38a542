//! Tasks from creation to deletion, and what their states refuse.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use tidegate_catalog::{CapacityStatus, RunPhase, StageName, StageShares, TableStatusRecord, TaskProgress};

use crate::fake_host::{FakeHost, Mood};
use crate::{Api, selection, task};

/// Waits until the task has the status; panics with the last one seen.
async fn await_status(api: &Api, name: &str, wanted: &str) -> Value {
    let mut news = api.catalog.news();
    let mut last = Value::Null;
    let waiting = async {
        loop {
            news.mark_unchanged();
            last = api.get(&format!("/v1/tasks/{name}")).await.expect(StatusCode::OK).json;
            if last["status"] == wanted {
                return;
            }
            news.changed().await.unwrap();
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), waiting).await;
    assert!(waited.is_ok(), "task {name} did not become {wanted}: {last}");
    last
}

#[tokio::test]
async fn task_lives_from_creation_to_deletion() {
    let api = Api::with_task().await;
    let created = api.get("/v1/tasks/orders").await.expect(StatusCode::OK).json;
    assert_eq!((&created["status"], &created["preparation"], &created["max_units"]), (&json!("created"), &json!("do-nothing"), &json!(4)));
    assert_eq!(created["settings"], json!({ "load_lanes": 2 }));
    assert_eq!(api.get("/v1/tasks").await.json["tasks"], json!([created]));
    api.bare(Method::POST, "/v1/tasks/orders/resume").await.expect_problem(StatusCode::CONFLICT, "task_never_started");
    api.bare(Method::POST, "/v1/tasks/orders/stop").await.expect_problem(StatusCode::CONFLICT, "task_not_running");

    let started = api.bare(Method::POST, "/v1/tasks/orders/start").await.expect(StatusCode::ACCEPTED).json;
    assert_eq!(started["status"], "starting", "the answer never shows the state before");
    api.bare(Method::POST, "/v1/tasks/orders/start").await.expect_problem(StatusCode::CONFLICT, "task_active");
    let _host = FakeHost::start(&api.catalog, Mood::Willing);
    let running = await_status(&api, "orders", "running").await;
    assert_eq!(running["phase"], "replicating");
    let refused = api.bare(Method::POST, "/v1/tasks/orders/start").await.expect_problem(StatusCode::CONFLICT, "task_active").json;
    assert_eq!(refused["object"], "task \"orders\"");
    api.bare(Method::DELETE, "/v1/tasks/orders").await.expect_problem(StatusCode::CONFLICT, "task_active");

    api.bare(Method::POST, "/v1/tasks/orders/stop").await.expect(StatusCode::ACCEPTED);
    assert_eq!(await_status(&api, "orders", "stopped").await["stop_reason"], "requested");
    api.bare(Method::POST, "/v1/tasks/orders/resume").await.expect(StatusCode::ACCEPTED);
    await_status(&api, "orders", "running").await;
    api.bare(Method::POST, "/v1/tasks/orders/stop").await.expect(StatusCode::ACCEPTED);
    await_status(&api, "orders", "stopped").await;
    api.bare(Method::DELETE, "/v1/tasks/orders").await.expect(StatusCode::NO_CONTENT);
    api.get("/v1/tasks/orders").await.expect_problem(StatusCode::NOT_FOUND, "task_not_found");
    let events = api.get("/v1/events?limit=1000").await.expect(StatusCode::OK).json;
    assert!(events["events"].as_array().unwrap().iter().any(|event| event["task"] == "orders" && event["category"] == "deletion"));
}

#[tokio::test]
async fn deletion_that_cannot_clean_up_keeps_the_task_unless_told_otherwise() {
    let api = Api::with_task().await;
    let _host = FakeHost::start(&api.catalog, Mood::Failing);
    api.bare(Method::POST, "/v1/tasks/orders/start").await.expect(StatusCode::ACCEPTED);
    let failed = await_status(&api, "orders", "failed").await;
    assert_eq!(failed["failure"]["code"], "unreachable");
    api.bare(Method::DELETE, "/v1/tasks/orders").await.expect_problem(StatusCode::BAD_GATEWAY, "unreachable");
    await_status(&api, "orders", "failed").await;
    api.bare(Method::DELETE, "/v1/tasks/orders?cleanup=best-effort").await.expect(StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn table_mappings_given_as_text_come_back_to_the_last_blank() {
    let api = Api::with_task().await;
    let text = format!("{{ \"rules\" : [ {} ] }}\n", selection());
    let mut body = task("verbatim");
    body["table_mappings"] = json!(text);
    let created = api.send(Method::POST, "/v1/tasks", &body).await.expect(StatusCode::CREATED).json;
    assert_eq!(created["table_mappings"], json!(text));
}

#[tokio::test]
async fn changes_keep_what_they_do_not_name() {
    let api = Api::with_task().await;
    let change = json!({ "max_units": 9, "max_lag_seconds": 5, "settings": { "chunk_rows": 1000 } });
    let changed = api.send(Method::PATCH, "/v1/tasks/orders", &change).await.expect(StatusCode::OK).json;
    assert_eq!((&changed["max_units"], &changed["max_lag_seconds"], &changed["tags"]), (&json!(9), &json!(5), &json!({ "team": "shop" })));
    assert_eq!(changed["settings"], json!({ "chunk_rows": 1000 }));
    let cleared = api.send(Method::PATCH, "/v1/tasks/orders", &json!({ "max_lag_seconds": null })).await.expect(StatusCode::OK).json;
    assert_eq!(cleared["max_lag_seconds"], json!(null));

    api.bare(Method::POST, "/v1/tasks/orders/start").await.expect(StatusCode::ACCEPTED);
    api.send(Method::PATCH, "/v1/tasks/orders", &json!({ "max_units": 2 })).await.expect(StatusCode::OK);
    let refused = api.send(Method::PATCH, "/v1/tasks/orders", &json!({ "migration_type": "cdc" })).await;
    refused.expect_problem(StatusCode::CONFLICT, "task_active");
}

#[tokio::test]
async fn check_tells_findings_and_whether_they_stop_the_task() {
    let api = Api::with_task().await;
    let host = FakeHost::start(&api.catalog, Mood::Willing);
    let report = api.bare(Method::POST, "/v1/tasks/orders/check").await.expect(StatusCode::OK).json;
    assert_eq!((&report["passed"], &report["findings"][0]["code"]), (&json!(false), &json!("wal_level")));
    drop(host);
    let _host = FakeHost::start(&api.catalog, Mood::Failing);
    api.bare(Method::POST, "/v1/tasks/orders/check").await.expect_problem(StatusCode::BAD_GATEWAY, "unreachable");
}

#[tokio::test]
async fn tables_and_lag_show_what_the_host_wrote() {
    let api = Api::with_task().await;
    let lag = api.get("/v1/tasks/orders/lag").await.expect(StatusCode::OK).json;
    assert_eq!((&lag["lag_seconds"], &lag["age_seconds"]), (&json!(null), &json!(null)), "nothing measured is not zero");
    let progress = TaskProgress { lag_seconds: 1.5, checkpoint: Some("postgres:0/1".into()), at_us: 1, ..TaskProgress::default() };
    api.catalog.set_progress("orders", &progress).await.unwrap();
    let record =
        |table: &str, stage| TableStatusRecord { schema: "shop".into(), table: table.into(), stage, rows_loaded: 3, ..Default::default() };
    let tables = [record("a", StageName::Loading), record("b", StageName::Completed)];
    api.catalog.put_table_statuses("orders", &tables).await.unwrap();

    let lag = api.get("/v1/tasks/orders/lag").await.json;
    assert_eq!((&lag["lag_seconds"], &lag["checkpoint"]), (&json!(1.5), &json!("postgres:0/1")));
    assert!(lag["age_seconds"].as_i64().unwrap() > 1_000_000, "numbers of a dead host show their age");
    let shown = api.get("/v1/tasks/orders/tables").await.json;
    assert_eq!((&shown["loading"], &shown["completed"], &shown["failed"]), (&json!(1), &json!(1), &json!(0)));
    assert_eq!((&shown["tables"][0]["table"], &shown["tables"][0]["rows_loaded"]), (&json!("a"), &json!(3)));
}

/// A stream that is behind because its lane spends its time in `commit` and `write`.
fn behind(write: f64, commit: f64) -> TaskProgress {
    let last_minute =
        StageShares { seconds: 60.0, lanes: write + commit, source: 0.8, store: 0.1, write, commit, ..StageShares::default() };
    let capacity = CapacityStatus {
        units_max: 4,
        max_lag_seconds: 30.0,
        units_wanted: 4,
        units_needed: 6,
        units_granted: 1,
        reason: "at-maximum".into(),
        explanation: "the objective needs 6 units, more than the task may have".into(),
        changes_waiting: 90_000,
        objective_seconds: None,
        last_minute,
        ..CapacityStatus::default()
    };
    TaskProgress { phase: RunPhase::Replicating, lag_seconds: 80.0, at_us: 1, capacity: Some(capacity), ..TaskProgress::default() }
}

#[tokio::test]
async fn lag_names_the_limiting_part_and_whether_units_would_help() {
    let api = Api::with_task().await;
    let cases = [
        (0.2, 0.75, 0.1, 0.0, "commit", true, "6 units would meet the objective, 1 work"),
        (0.1, 0.1, 0.7, 0.0, "assemble", false, "more units would not help"),
        (0.7, 0.2, 0.1, 2.1, "conflicts", false, "more units would not help"),
    ];
    for (write, commit, assemble, conflicts, part, help, words) in cases {
        let mut progress = behind(write, commit);
        let minute = &mut progress.capacity.as_mut().unwrap().last_minute;
        (minute.assemble, minute.conflicts) = (assemble, conflicts);
        api.catalog.set_progress("orders", &progress).await.unwrap();
        let lag = api.get("/v1/tasks/orders/lag").await.expect(StatusCode::OK).json;
        assert_eq!((&lag["limited_by"], &lag["units_would_help"]), (&json!(part), &json!(help)), "{lag:#}");
        assert!(lag["explanation"].as_str().is_some_and(|text| text.contains(words)), "{lag:#}");
        assert_eq!((&lag["capacity"]["units_needed"], &lag["capacity"]["objective_seconds"]), (&json!(6), &json!(null)), "{lag:#}");
        assert_eq!(lag["capacity"]["last_minute"]["commit"], json!(commit), "{lag:#}");
        assert_eq!(lag["capacity"]["last_minute"]["conflicts"], json!(conflicts), "{lag:#}");
    }
}

#[tokio::test]
async fn units_taken_back_because_changes_take_turns_leave_that_named_as_the_limit() {
    let api = Api::with_task().await;
    // One unit waits for nobody; what the plan learnt from more of them still holds.
    let mut progress = behind(0.8, 0.1);
    progress.capacity.as_mut().unwrap().reason = "conflicts-are-limit".into();
    api.catalog.set_progress("orders", &progress).await.unwrap();
    let lag = api.get("/v1/tasks/orders/lag").await.expect(StatusCode::OK).json;
    assert_eq!((&lag["limited_by"], &lag["units_would_help"]), (&json!("conflicts"), &json!(false)), "{lag:#}");
}

#[test]
fn every_reason_of_a_plan_is_documented() {
    let document: serde_json::Value = serde_json::from_str(include_str!("../../openapi.json")).unwrap();
    let documented = &document["components"]["schemas"]["Capacity"]["properties"]["reason"]["enum"];
    assert_eq!(documented, &json!(tidegate_capacity::Reason::KINDS));
}

#[tokio::test]
async fn tables_of_a_running_task_are_reloaded() {
    let api = Api::with_task().await;
    let body = json!({ "tables": [{ "schema": "shop", "table": "orders" }] });
    api.send(Method::POST, "/v1/tasks/orders/tables/reload", &body).await.expect_problem(StatusCode::CONFLICT, "task_not_running");
    let _host = FakeHost::start(&api.catalog, Mood::Willing);
    api.bare(Method::POST, "/v1/tasks/orders/start").await.expect(StatusCode::ACCEPTED);
    await_status(&api, "orders", "running").await;
    assert_eq!(api.send(Method::POST, "/v1/tasks/orders/tables/reload", &body).await.expect(StatusCode::ACCEPTED).json, body);
}

#[tokio::test]
async fn events_are_paged_forward() {
    let api = Api::with_task().await;
    for units in 1..=5 {
        api.send(Method::PATCH, "/v1/tasks/orders", &json!({ "max_units": units })).await.expect(StatusCode::OK);
    }
    let mut after = 0;
    let mut seen = Vec::new();
    loop {
        let page = api.get(&format!("/v1/tasks/orders/events?after_seq={after}&limit=2")).await.expect(StatusCode::OK).json;
        let events = page["events"].as_array().unwrap();
        if events.is_empty() {
            break;
        }
        seen.extend(events.iter().map(|event| event["category"].as_str().unwrap().to_owned()));
        after = page["last_seq"].as_i64().unwrap();
    }
    assert_eq!(seen, [&["creation"][..], &["configuration-change"; 5]].concat());
    api.get("/v1/tasks/nobody/events").await.expect_problem(StatusCode::NOT_FOUND, "task_not_found");
}

#[tokio::test]
async fn settings_of_dms_without_effect_are_listed_with_the_task() {
    let api = Api::with_task().await;
    assert_eq!(api.get("/v1/tasks/orders").await.json["settings_without_effect"], json!([]));
    let record = api.catalog.get_task("orders").await.unwrap();
    let mut definition = record.definition;
    definition.dms = json!({"settings": {"TTSettings": {"EnableTT": true}, "ChangeProcessingTuning": {"MemoryLimitTotal": 7}}});
    api.catalog.update_task(record.revision, &definition).await.unwrap();
    let listed = api.get("/v1/tasks/orders").await.json["settings_without_effect"].clone();
    assert_eq!(listed, json!([{"key": "TTSettings.EnableTT", "reason": "no log of rows is written to S3"}]));
}
