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
    assert_eq!(problem["hint"], "build it anew");
    let module = api.get("/v1/modules/mask").await.json;
    assert_eq!((&module["latest"], &module["versions"][0]["hint"]), (&json!(null), &json!("build it anew")));
}

#[tokio::test]
async fn an_upload_waits_no_longer_than_it_is_told() {
    let api = Api::new().await;
    // Nobody gives a verdict.
    let request = Request::put("/v1/modules/mask?wait_seconds=0").body(Body::from(&b"\0asm one"[..])).unwrap();
    assert_eq!(api.request(request).await.expect(StatusCode::ACCEPTED).json["state"], "pending");
    let request = Request::put("/v1/modules/mask?wait_seconds=61").body(Body::from(&b"\0asm one"[..])).unwrap();
    api.request(request).await.expect_problem(StatusCode::BAD_REQUEST, "out_of_range");
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

#[tokio::test]
async fn an_alias_is_made_moved_and_shown() {
    let api = Api::new().await;
    let _host = FakeHost::start(&api.catalog, Mood::Willing);
    let path = "/v1/modules/mask/aliases/stable";
    api.send(Method::PUT, path, &json!({ "version": "latest" })).await.expect_problem(StatusCode::NOT_FOUND, "module_not_found");
    let one = upload(&api, "mask", b"\0asm one").await.json["digest"].clone();
    let two = upload(&api, "mask", b"\0asm two").await.json["digest"].clone();
    let alias = api.send(Method::PUT, path, &json!({ "version": one })).await.expect(StatusCode::OK).json;
    assert_eq!((&alias["alias"], &alias["digest"]), (&json!("stable"), &one));
    api.send(Method::PUT, path, &json!({ "version": "latest" })).await.expect(StatusCode::OK);
    let module = api.get("/v1/modules/mask").await.json;
    assert_eq!(module["aliases"][0]["digest"], two);
    api.send(Method::PUT, path, &json!({})).await.expect_problem(StatusCode::BAD_REQUEST, "missing_key");
    api.send(Method::PUT, path, &json!({ "version": "latest", "x": 1 })).await.expect_problem(StatusCode::BAD_REQUEST, "unknown_key");
    for name in ["latest", "Stable", "a--b"] {
        let path = format!("/v1/modules/mask/aliases/{name}");
        api.send(Method::PUT, &path, &json!({ "version": "latest" })).await.expect_problem(StatusCode::BAD_REQUEST, "name_form");
    }

    let version = format!("/v1/modules/mask/versions/{}", two.as_str().unwrap());
    let problem = api.bare(Method::DELETE, &version).await.expect_problem(StatusCode::CONFLICT, "module_version_in_use").json;
    assert!(problem["detail"].as_str().unwrap().ends_with("is used by alias \"stable\""), "{problem}");
    api.bare(Method::DELETE, path).await.expect(StatusCode::NO_CONTENT);
    api.bare(Method::DELETE, path).await.expect_problem(StatusCode::NOT_FOUND, "module_alias_not_found");
    api.bare(Method::DELETE, &version).await.expect(StatusCode::NO_CONTENT);
    assert_eq!(api.get("/v1/modules/mask").await.json["latest"], one);
}

#[tokio::test]
async fn limits_are_shown_with_what_they_come_to() {
    let api = Api::new().await;
    let _host = FakeHost::start(&api.catalog, Mood::Willing);
    let path = "/v1/modules/mask/limits";
    api.get(path).await.expect_problem(StatusCode::NOT_FOUND, "module_not_found");
    upload(&api, "mask", b"\0asm one").await.expect(StatusCode::CREATED);
    let shown = api.get(path).await.expect(StatusCode::OK).json;
    // The server's ceiling for a row is tighter than its own default.
    assert_eq!(
        (&shown["limits"]["memory_mib"], &shown["effective"]["memory_mib"], &shown["effective"]["row_cpu_us"]),
        (&json!(null), &json!(64), &json!(50))
    );
    let shown = api.send(Method::PUT, path, &json!({ "memory_mib": 500, "output_mib": 2 })).await.expect(StatusCode::OK).json;
    assert_eq!(
        (&shown["limits"]["memory_mib"], &shown["effective"]["memory_mib"], &shown["effective"]["output_mib"]),
        (&json!(500), &json!(128), &json!(2))
    );
    for (body, code) in [
        (json!({ "memory_mib": 0 }), "out_of_range"),
        (json!({ "memory": 1 }), "unknown_key"),
        (json!({ "memory_mib": "1" }), "wrong_type"),
    ] {
        api.send(Method::PUT, path, &body).await.expect_problem(StatusCode::BAD_REQUEST, code);
    }
}
