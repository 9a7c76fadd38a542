//! Tests of modules: what is asked of the host, and that nothing of it stays.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use tidegate_catalog::{ModuleTestPayload, RequestKind, TestRows};

use crate::Api;
use crate::fake_host::{FakeHost, Mood};

const PATH: &str = "/v1/modules/mask/test";

async fn ask(api: &Api, body: &Value) -> crate::Answer {
    api.send(Method::POST, PATH, body).await
}

#[tokio::test]
async fn the_hosts_report_is_the_answer_and_the_request_is_deleted() {
    let api = Api::new().await;
    let _host = FakeHost::start(&api.catalog, Mood::Willing);
    let report = ask(&api, &json!({"rows": [{"id": 1}]})).await.expect(StatusCode::OK).json;
    assert_eq!(report["rows"][0]["after"], json!({"id": 1}));
    // The catalog's ids grow by one: there is no other request than the first.
    assert!(api.catalog.get_request(1).await.is_err(), "the request with the tenant's rows is still there");
}

#[tokio::test]
async fn a_failed_test_is_a_problem_and_is_deleted_too() {
    let api = Api::new().await;
    let _host = FakeHost::start(&api.catalog, Mood::Failing);
    let problem = ask(&api, &json!({"rows": [{"id": 1}]})).await.expect_problem(StatusCode::BAD_GATEWAY, "unreachable").json;
    assert_eq!(problem["object"], "module \"mask\"");
    assert!(api.catalog.get_request(1).await.is_err());
}

#[tokio::test]
async fn equal_tests_do_not_share_a_request() {
    let api = Api::new().await;
    let payload = ModuleTestPayload {
        version: "latest".to_owned(),
        config: "{}".to_owned(),
        target: "postgres".to_owned(),
        rows: TestRows::Given { table: Value::Null, rows: json!([{"id": 1}]) },
    };
    let first = api.catalog.submit_module_test("mask", &payload).await.unwrap();
    let second = api.catalog.submit_module_test("mask", &payload).await.unwrap();
    assert_ne!(first, second);
    let taken = api.catalog.take_request(&[RequestKind::TestModule]).await.unwrap().unwrap();
    assert_eq!((taken.id, serde_json::from_value::<ModuleTestPayload>(taken.payload).unwrap()), (first, payload));
    // A host that starts anew finds none of them: nobody waits for the answers any more.
    api.catalog.requeue_taken().await.unwrap();
    assert!(api.catalog.take_request(&[RequestKind::TestModule]).await.unwrap().is_none());
}

#[tokio::test]
async fn a_body_that_does_not_fit_is_refused_with_its_key() {
    let api = Api::with_task().await;
    let source = |endpoint: &str, limit: u32| json!({"source": {"endpoint": endpoint, "schema": "s", "table": "t", "limit": limit}});
    for (body, code) in [
        (json!({}), "missing_key"),
        (json!({"rows": {}}), "wrong_type"),
        (json!({"rows": [], "source": {}}), "conflicting_keys"),
        (json!({"table": {}, "source": {}}), "conflicting_keys"),
        (json!({"source": {}}), "missing_key"),
        (source("left", 0), "out_of_range"),
        (source("left", 1001), "out_of_range"),
        (json!({"rows": [], "target": "oracle"}), "unknown_value"),
        (json!({"rows": [], "secret": 1}), "unknown_key"),
    ] {
        ask(&api, &body).await.expect_problem(StatusCode::BAD_REQUEST, code);
    }
    ask(&api, &source("nobody", 1)).await.expect_problem(StatusCode::NOT_FOUND, "endpoint_not_found");
    ask(&api, &source("right", 1)).await.expect_problem(StatusCode::BAD_REQUEST, "endpoint_role");
}

#[tokio::test]
async fn the_contract_is_told() {
    let contract = Api::new().await.get("/v1/contract").await.expect(StatusCode::OK).json;
    assert_eq!((&contract["package"], &contract["versions"]), (&json!("tidegate:transform"), &json!(["1.0.0"])));
}
