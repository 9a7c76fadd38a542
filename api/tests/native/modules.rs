//! Modules: uploads wait for the host's verdict.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use serde_json::json;

use crate::fake_host::{FakeHost, Mood};
use crate::{Answer, Api, task};

async fn upload(api: &Api, name: &str, bytes: &[u8]) -> Answer {
    api.request(Request::put(format!("/v1/modules/{name}")).body(Body::from(bytes.to_vec())).unwrap()).await
}

#[tokio::test]
async fn accepted_module_is_listed_by_its_digest() {
    let api = Api::new().await;
    let _host = FakeHost::start(&api.catalog, Mood::Willing);
    let first = upload(&api, "mask", b"\0asm one").await.expect(StatusCode::CREATED).json;
    let second = upload(&api, "mask", b"\0asm two").await.expect(StatusCode::CREATED).json;
    assert_eq!((&first["state"], &first["size_bytes"], &first["info"]), (&json!("ready"), &json!(8), &json!({ "exports": 2 })));
    let module = api.get("/v1/modules/mask").await.expect(StatusCode::OK).json;
    assert_eq!(module["latest"], second["digest"]);
    assert_eq!(module["versions"], json!([second, first]));
    assert_eq!(api.get("/v1/modules").await.json["modules"], json!([module]));
}

#[tokio::test]
async fn rejected_module_is_an_error_with_the_hosts_words() {
    let api = Api::new().await;
    let _host = FakeHost::start(&api.catalog, Mood::Failing);
    let problem = upload(&api, "mask", b"\0asm one").await.expect_problem(StatusCode::UNPROCESSABLE_ENTITY, "module_rejected").json;
    assert_eq!((&problem["detail"], &problem["object"]), (&json!("found a core module, wanted a component"), &json!("module \"mask\"")));
    assert_eq!(api.get("/v1/modules/mask").await.json["latest"], json!(null));
}

#[tokio::test]
async fn bytes_that_are_no_webassembly_are_refused_before_the_host_sees_them() {
    let api = Api::new().await;
    upload(&api, "mask", b"").await.expect_problem(StatusCode::UNPROCESSABLE_ENTITY, "not_a_component");
    upload(&api, "mask", b"#!/bin/sh").await.expect_problem(StatusCode::UNPROCESSABLE_ENTITY, "not_a_component");
    for name in ["Mask", "..%2f..%2fcatalog", "a--b", "%00"] {
        upload(&api, name, b"\0asm").await.expect_problem(StatusCode::BAD_REQUEST, "name_form");
    }
    api.get("/v1/modules/mask").await.expect_problem(StatusCode::NOT_FOUND, "module_not_found");
}

#[tokio::test]
async fn module_larger_than_the_limit_is_refused() {
    let api = Api::new().await;
    upload(&api, "mask", &vec![0; (24 << 20) + 1]).await.expect_problem(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large");
}

#[tokio::test]
async fn module_of_a_task_is_not_deleted() {
    let api = Api::with_task().await;
    let _host = FakeHost::start(&api.catalog, Mood::Willing);
    let mut masked = task("masked");
    masked["table_mappings"]["rules"].as_array_mut().unwrap().push(json!({
        "rule-type": "module", "rule-id": "2", "rule-name": "2", "module": "mask",
        "object-locator": { "schema-name": "shop", "table-name": "%" },
    }));
    let missing = api.send(Method::POST, "/v1/tasks", &masked).await.expect_problem(StatusCode::NOT_FOUND, "module_not_found").json;
    assert_eq!(missing["object"], "module \"mask\"");
    upload(&api, "mask", b"\0asm one").await.expect(StatusCode::CREATED);
    api.send(Method::POST, "/v1/tasks", &masked).await.expect(StatusCode::CREATED);
    api.bare(Method::DELETE, "/v1/modules/mask").await.expect_problem(StatusCode::CONFLICT, "module_in_use");
    api.bare(Method::DELETE, "/v1/tasks/masked").await.expect(StatusCode::NO_CONTENT);
    api.bare(Method::DELETE, "/v1/modules/mask").await.expect(StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn more_uploads_than_turns_all_get_theirs() {
    let api = std::sync::Arc::new(Api::new().await);
    let _host = FakeHost::start(&api.catalog, Mood::Willing);
    let mut uploads = tokio::task::JoinSet::new();
    for index in 0..20 {
        let api = std::sync::Arc::clone(&api);
        uploads.spawn(async move { upload(&api, "mask", format!("\0asm {index}").as_bytes()).await.status });
    }
    assert!(uploads.join_all().await.iter().all(|status| *status == StatusCode::CREATED));
    assert_eq!(api.get("/v1/modules/mask").await.json["versions"].as_array().unwrap().len(), 20);
}
