//! The history of a task's numbers, and the short view of the list.

use axum::http::{Method, StatusCode};
use serde_json::json;
use tidegate_catalog::{CapacityStatus, RunPhase, TaskProgress};

use crate::Api;
use crate::fake_host::{FakeHost, Mood};

#[tokio::test]
async fn history_has_points_and_changes_with_their_reasons() {
    let api = Api::with_task().await;
    let observed = |second: i64, wanted: u32, reason: &str| TaskProgress {
        phase: RunPhase::Replicating,
        lag_seconds: 2.5,
        rows_per_second: 40.0,
        units: 1,
        at_us: second * 1_000_000,
        capacity: Some(CapacityStatus { units_wanted: wanted, reason: reason.to_owned(), ..CapacityStatus::default() }),
        ..TaskProgress::default()
    };
    for (second, wanted, reason) in [(100, 1, "steady"), (103, 3, "more-arrives"), (105, 3, "more-arrives"), (110, 3, "steady")] {
        api.catalog.set_progress("orders", &observed(second, wanted, reason)).await.unwrap();
    }
    let history = api.get("/v1/tasks/orders/history").await.expect(StatusCode::OK).json;
    assert_eq!(history["interval_seconds"], 5);
    assert_eq!(history["points"].as_array().unwrap().len(), 3, "{history}");
    assert_eq!(
        history["points"][2],
        json!({"at_us": 110_000_000, "lag_seconds": 2.5, "rows_per_second": 40.0, "bytes_per_second": 0.0,
                                            "changes_waiting": 0, "units": 1, "units_wanted": 3})
    );
    let reasons: Vec<_> = history["changes"].as_array().unwrap().iter().map(|change| (&change["wanted"], &change["reason"])).collect();
    assert_eq!(json!(reasons), json!([[1, "steady"], [3, "more-arrives"]]));
    let later = api.get("/v1/tasks/orders/history?after_us=105000000").await.expect(StatusCode::OK).json;
    assert_eq!((later["points"].as_array().unwrap().len(), later["changes"].as_array().unwrap().len()), (1, 2));
    api.get("/v1/tasks/nobody/history").await.expect_problem(StatusCode::NOT_FOUND, "task_not_found");
    api.get("/v1/tasks/orders/history?after_us=x").await.expect_problem(StatusCode::BAD_REQUEST, "out_of_range");

    let _host = FakeHost::start(&api.catalog, Mood::Willing);
    api.bare(Method::DELETE, "/v1/tasks/orders?cleanup=best-effort").await.expect(StatusCode::NO_CONTENT);
    api.send(Method::POST, "/v1/tasks", &crate::task("orders")).await.expect(StatusCode::CREATED);
    let anew = api.get("/v1/tasks/orders/history").await.expect(StatusCode::OK).json;
    assert_eq!(anew["points"], json!([]), "a task of the same name is another task");
}

#[tokio::test]
async fn summary_of_tasks_leaves_out_what_is_long() {
    let api = Api::with_task().await;
    let full = api.get("/v1/tasks").await.expect(StatusCode::OK).json["tasks"][0].clone();
    let mut summary = api.get("/v1/tasks?view=summary").await.expect(StatusCode::OK).json["tasks"][0].clone();
    for key in ["table_mappings", "settings", "settings_without_effect", "tags"] {
        assert!(summary.get(key).is_none(), "{key}");
        summary[key] = full[key].clone();
    }
    assert_eq!(summary, full);
    api.get("/v1/tasks?view=short").await.expect_problem(StatusCode::BAD_REQUEST, "unknown_value");
}
