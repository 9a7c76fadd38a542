//! The OpenAPI document against the router, and the answers against the document's schemas.

use std::collections::BTreeSet;

use axum::http::{Method, StatusCode};
use serde_json::Value;

use crate::fake_host::{FakeHost, Mood};
use crate::{Api, task};

#[tokio::test]
async fn every_route_is_documented_and_every_documented_route_exists() {
    let document = Api::new().await.get("/openapi.json").await.expect(StatusCode::OK).json;
    assert_eq!(document["openapi"], "3.1.0");
    let routed: BTreeSet<String> =
        tidegate_api::listed_routes().iter().map(|(method, path)| format!("{} {path}", method.as_str().to_lowercase())).collect();
    let documented: BTreeSet<String> = operations(&document).map(|(method, path, _)| format!("{method} {path}")).collect();
    assert_eq!(routed, documented);
}

#[tokio::test]
async fn every_documented_route_answers_as_a_route() {
    let api = Api::with_task().await;
    let _host = FakeHost::start(&api.catalog, Mood::Willing);
    let document = api.get("/openapi.json").await.json;
    for (method, path, _) in operations(&document) {
        let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
        let answer = api.bare(method, &path.replace("{name}", "nobody")).await;
        assert!(!["path_not_found", "method_not_allowed"].contains(&answer.json["code"].as_str().unwrap_or("")), "{path}: {}", answer.text);
    }
}

#[tokio::test]
async fn operations_have_distinct_ids_and_refer_to_what_is_there() {
    let document = Api::new().await.get("/openapi.json").await.json;
    let ids: Vec<&str> = operations(&document).map(|(_, _, operation)| operation["operationId"].as_str().unwrap()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    check_references(&document, &document);
}

#[tokio::test]
async fn answers_have_the_documented_keys() {
    let api = Api::with_task().await;
    let _host = FakeHost::start(&api.catalog, Mood::Willing);
    let document = api.get("/openapi.json").await.json;
    for (path, schema) in [
        ("/v1/endpoints/left", "Endpoint"),
        ("/v1/endpoints/left/tables", "TableListing"),
        ("/v1/tasks/orders", "Task"),
        ("/v1/tasks/orders/lag", "Lag"),
        ("/v1/tasks/orders/history", "History"),
        ("/v1/tasks/orders/tables", "Tables"),
        ("/v1/tasks/orders/events", "Events"),
        ("/v1/tasks/nobody", "Problem"),
        ("/healthz", "Health"),
    ] {
        check_keys(&document, schema, &api.get(path).await.json);
    }
    for (path, schema) in [("/v1/endpoints/left/test", "ConnectionTest"), ("/v1/tasks/orders/check", "CheckReport")] {
        check_keys(&document, schema, &api.bare(Method::POST, path).await.json);
    }
    check_keys(&document, "NewTask", &task("orders"));
}

fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    paths.iter().flat_map(|(path, methods)| {
        methods.as_object().unwrap().iter().map(move |(method, operation)| (method.as_str(), path.as_str(), operation))
    })
}

/// Every key of the answer is documented, and every required one is there.
fn check_keys(document: &Value, schema: &str, answer: &Value) {
    let schema_document = &document["components"]["schemas"][schema];
    let known = schema_document["properties"].as_object().unwrap();
    let given = answer.as_object().unwrap();
    for key in given.keys() {
        assert!(known.contains_key(key), "{schema}: key {key} is not documented");
    }
    for key in schema_document["required"].as_array().into_iter().flatten() {
        assert!(given.contains_key(key.as_str().unwrap()), "{schema}: key {key} is missing in {answer}");
    }
}

fn check_references(document: &Value, part: &Value) {
    match part {
        Value::Object(entries) => {
            if let Some(reference) = entries.get("$ref").and_then(Value::as_str) {
                assert!(document.pointer(reference.strip_prefix('#').unwrap()).is_some(), "{reference}");
            }
            entries.values().for_each(|value| check_references(document, value));
        }
        Value::Array(items) => items.iter().for_each(|value| check_references(document, value)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
