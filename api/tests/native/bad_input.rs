//! What bad input gets: each its code, and the object that is at fault.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};

use crate::{Api, endpoint, selection, task};

/// Sets a key, at a JSON pointer's path; a value of `null` with the marker removes it.
fn with(mut body: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    body.pointer_mut(parent).unwrap()[key] = value;
    body
}

fn without(mut body: Value, key: &str) -> Value {
    body.as_object_mut().unwrap().remove(key).unwrap();
    body
}

#[tokio::test]
async fn endpoint_bodies_are_checked_key_by_key() {
    let api = Api::new().await;
    let good = endpoint("left", "source");
    let cases = [
        (json!([]), "wrong_type", "body"),
        (json!({}), "missing_key", "key \"name\""),
        (without(good.clone(), "host"), "missing_key", "key \"host\""),
        (without(good.clone(), "database"), "missing_key", "key \"database\""),
        (with(good.clone(), "/nmae", json!("x")), "unknown_key", "key \"nmae\""),
        (with(good.clone(), "/tls/verify", json!(true)), "unknown_key", "key \"tls.verify\""),
        (with(good.clone(), "/name", json!("Left")), "name_form", "key \"name\""),
        (with(good.clone(), "/name", json!(7)), "wrong_type", "key \"name\""),
        (with(good.clone(), "/role", json!("both")), "unknown_value", "key \"role\""),
        (with(good.clone(), "/engine", json!("oracle")), "unknown_value", "key \"engine\""),
        (with(good.clone(), "/port", json!(0)), "out_of_range", "key \"port\""),
        (with(good.clone(), "/port", json!(65536)), "out_of_range", "key \"port\""),
        (with(good.clone(), "/port", json!("5432")), "wrong_type", "key \"port\""),
        (with(good.clone(), "/port", json!(1.5)), "wrong_type", "key \"port\""),
        (with(good.clone(), "/host", json!("")), "host_form", "key \"host\""),
        (with(good.clone(), "/host", json!("/tmp")), "host_form", "key \"host\""),
        (with(good.clone(), "/host", json!("one,two")), "host_form", "key \"host\""),
        (with(good.clone(), "/username", json!("")), "text_form", "key \"username\""),
        (with(good.clone(), "/password", json!("a\u{0}b")), "text_form", "key \"password\""),
        (with(good.clone(), "/tls/mode", json!("prefer")), "unknown_value", "key \"tls.mode\""),
        (
            with(good.clone(), "/tls/authorities_pem", json!("-----BEGIN PRIVATE KEY-----")),
            "certificate_form",
            "key \"tls.authorities_pem\"",
        ),
    ];
    for (body, code, object) in cases {
        let answer = api.send(Method::POST, "/v1/endpoints", &body).await.expect_problem(StatusCode::BAD_REQUEST, code);
        assert_eq!(answer.json["object"], object, "{}", answer.text);
    }
    assert_eq!(api.get("/v1/endpoints").await.json["endpoints"], json!([]));
}

#[tokio::test]
async fn task_bodies_are_checked_key_by_key() {
    let api = Api::with_task().await;
    let good = task("second");
    let exclude = with(selection(), "/rule-action", json!("exclude"));
    let cases = [
        (without(good.clone(), "migration_type"), "missing_key", "key \"migration_type\""),
        (with(good.clone(), "/migration_type", json!("full_load")), "unknown_value", "key \"migration_type\""),
        (with(good.clone(), "/preparation", json!("destroy")), "unknown_value", "key \"preparation\""),
        (with(good.clone(), "/source", json!("right")), "endpoint_role", "key \"source\""),
        (with(good.clone(), "/target", json!("left")), "endpoint_role", "key \"target\""),
        (without(good.clone(), "table_mappings"), "missing_key", "key \"table_mappings\""),
        (with(good.clone(), "/table_mappings", json!("{")), "json_syntax", "key \"table_mappings\""),
        (with(good.clone(), "/table_mappings", json!({})), "missing_key", "key \"table_mappings.rules\""),
        (with(good.clone(), "/table_mappings/rules", json!({})), "wrong_type", "key \"table_mappings.rules\""),
        (with(good.clone(), "/table_mappings/rules", json!([])), "no_selection_rule", "key \"table_mappings.rules\""),
        (with(good.clone(), "/table_mappings/rules", json!([exclude])), "no_selection_rule", "key \"table_mappings.rules\""),
        (with(good.clone(), "/settings/load_lane", json!(2)), "unknown_key", "key \"settings.load_lane\""),
        (with(good.clone(), "/settings/load_lanes", json!(0)), "out_of_range", "key \"settings.load_lanes\""),
        (with(good.clone(), "/settings", json!([])), "wrong_type", "key \"settings\""),
        (with(good.clone(), "/settings/control_tables", json!({"schema": ""})), "name_form", "key \"settings.control_tables.schema\""),
        (with(good.clone(), "/settings/control_tables", json!({"state": true})), "unknown_key", "key \"settings.control_tables.state\""),
        (with(good.clone(), "/settings/control_tables", json!({"status": 1})), "wrong_type", "key \"settings.control_tables.status\""),
        (with(good.clone(), "/min_units", json!(5)), "out_of_range", "key \"min_units\""),
        (with(good.clone(), "/max_units", json!(-1)), "wrong_type", "key \"max_units\""),
        (with(good.clone(), "/tags", json!({ "a": 1 })), "wrong_type", "key \"tags\""),
        (with(good.clone(), "/start_position", json!("postgres:0/1")), "start_position_not_used", "key \"start_position\""),
        (
            with(with(good.clone(), "/migration_type", json!("cdc")), "/start_position", json!("0/1")),
            "position_form",
            "key \"start_position\"",
        ),
        (
            with(with(good.clone(), "/migration_type", json!("cdc")), "/start_position", json!("mariadb:0-1-1")),
            "position_form",
            "key \"start_position\"",
        ),
    ];
    for (body, code, object) in cases {
        let answer = api.send(Method::POST, "/v1/tasks", &body).await.expect_problem(StatusCode::BAD_REQUEST, code);
        assert_eq!(answer.json["object"], object, "{}", answer.text);
    }
    let nowhere = with(good.clone(), "/source", json!("nowhere"));
    let answer = api.send(Method::POST, "/v1/tasks", &nowhere).await.expect_problem(StatusCode::NOT_FOUND, "endpoint_not_found");
    assert_eq!(answer.json["object"], "endpoint \"nowhere\"");
    api.send(Method::POST, "/v1/tasks", &task("orders")).await.expect_problem(StatusCode::CONFLICT, "task_exists");
    assert_eq!(api.get("/v1/tasks").await.json["tasks"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn broken_bodies_and_queries_are_named() {
    let api = Api::with_task().await;
    let deep = "[".repeat(100_000);
    for (content_type, body, status, code) in [
        ("text/plain", "{}", StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type"),
        ("application/json", "", StatusCode::BAD_REQUEST, "json_syntax"),
        ("application/json", "{\"name\": }", StatusCode::BAD_REQUEST, "json_syntax"),
        ("application/json", &deep, StatusCode::BAD_REQUEST, "json_syntax"),
    ] {
        let request = Request::post("/v1/endpoints").header(header::CONTENT_TYPE, content_type);
        api.request(request.body(Body::from(body.to_owned())).unwrap()).await.expect_problem(status, code);
    }
    for (path, code) in [
        ("/v1/events?limit=0", "out_of_range"),
        ("/v1/events?limit=x", "out_of_range"),
        ("/v1/events?limits=1", "unknown_key"),
        ("/v1/tasks/orders/events?after_seq=-1", "out_of_range"),
    ] {
        api.get(path).await.expect_problem(StatusCode::BAD_REQUEST, code);
    }
    api.bare(Method::DELETE, "/v1/tasks/orders?cleanup=none").await.expect_problem(StatusCode::BAD_REQUEST, "unknown_value");
    let reload = json!({ "tables": [{ "schema": "a", "name": "b" }] });
    let answer = api.send(Method::POST, "/v1/tasks/orders/tables/reload", &reload).await;
    assert_eq!(answer.expect_problem(StatusCode::BAD_REQUEST, "missing_key").json["object"], "key \"tables[].table\"");
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems_too() {
    let api = Api::new().await;
    api.get("/v1/nothing").await.expect_problem(StatusCode::NOT_FOUND, "path_not_found");
    api.get("/v1/endpoints/%ff").await.expect_problem(StatusCode::NOT_FOUND, "path_not_found");
    api.bare(Method::PUT, "/v1/endpoints").await.expect_problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed");
    api.bare(Method::DELETE, "/healthz").await.expect_problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed");
}

#[tokio::test]
async fn bodies_beyond_the_limit_are_refused() {
    let api = Api::new().await;
    let request = || Request::post("/v1/endpoints").header(header::CONTENT_TYPE, "application/json");
    let large = request().body(Body::from(vec![b' '; (1 << 20) + 1])).unwrap();
    api.request(large).await.expect_problem(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large");
    // A length that is announced is refused before the first byte is read.
    let announced = request().header(header::CONTENT_LENGTH, "10000000000").body(Body::empty()).unwrap();
    api.request(announced).await.expect_problem(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large");
    let packed = request().header(header::CONTENT_ENCODING, "gzip").body(Body::empty()).unwrap();
    api.request(packed).await.expect_problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "body_encoded");
}

#[tokio::test]
async fn foreign_web_pages_are_refused() {
    let api = Api::new().await;
    let refused = [
        (header::HOST, "evil.example"),
        (header::HOST, "127.0.0.1.evil.example"),
        (header::ORIGIN, "https://evil.example"),
        (header::ORIGIN, "null"),
    ];
    for (name, value) in refused {
        for path in ["/healthz", "/v1/tasks"] {
            let request = Request::get(path).header(name.clone(), value).body(Body::empty()).unwrap();
            let code = if name == header::HOST { "host_not_allowed" } else { "origin_not_allowed" };
            api.request(request).await.expect_problem(StatusCode::FORBIDDEN, code);
        }
        // The DMS side of the router is behind the same guard.
        let request = Request::post("/").header(name.clone(), value).body(Body::from("{}")).unwrap();
        api.request(request).await.expect(StatusCode::FORBIDDEN);
    }
    for (name, value) in [(header::HOST, "localhost:8080"), (header::HOST, "[::1]:1"), (header::ORIGIN, "http://127.0.0.1:8080")] {
        api.request(Request::get("/healthz").header(name, value).body(Body::empty()).unwrap()).await.expect(StatusCode::OK);
    }
}
