//! Endpoints: what goes in, what comes out, and that passwords do not.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::fake_host::{FakeHost, Mood};
use crate::{Api, endpoint, task};

#[tokio::test]
async fn endpoint_lives_from_creation_to_deletion() {
    let api = Api::new().await;
    let created = api.send(Method::POST, "/v1/endpoints", &endpoint("left", "source")).await.expect(StatusCode::CREATED).json;
    assert_eq!(api.get("/v1/endpoints/left").await.expect(StatusCode::OK).json, created);
    assert_eq!(api.get("/v1/endpoints").await.json["endpoints"], json!([created]));
    api.send(Method::POST, "/v1/endpoints", &endpoint("left", "source")).await.expect_problem(StatusCode::CONFLICT, "endpoint_exists");

    let changed = api.send(Method::PATCH, "/v1/endpoints/left", &json!({ "host": "other.example" })).await.expect(StatusCode::OK).json;
    assert_eq!((&changed["host"], &changed["port"]), (&json!("other.example"), &json!(5433)));
    assert_eq!(api.catalog.get_endpoint("left").await.unwrap().spec.password.reveal(), "secret", "an absent key stays");

    api.bare(Method::DELETE, "/v1/endpoints/left").await.expect(StatusCode::NO_CONTENT);
    api.get("/v1/endpoints/left").await.expect_problem(StatusCode::NOT_FOUND, "endpoint_not_found");
}

#[tokio::test]
async fn tls_is_verified_unless_said_otherwise() {
    let api = Api::new().await;
    let mut body = endpoint("left", "source");
    body.as_object_mut().unwrap().remove("tls");
    body.as_object_mut().unwrap().remove("port");
    let created = api.send(Method::POST, "/v1/endpoints", &body).await.expect(StatusCode::CREATED).json;
    assert_eq!((&created["tls"]["mode"], &created["port"]), (&json!("verify-full"), &json!(5432)));
}

#[tokio::test]
async fn connection_test_reports_success_and_failure_as_results() {
    let api = Api::with_task().await;
    let host = FakeHost::start(&api.catalog, Mood::Willing);
    let good = api.bare(Method::POST, "/v1/endpoints/left/test").await.expect(StatusCode::OK).json;
    assert_eq!(good, json!({ "status": "successful", "version": "PostgreSQL 18.0" }));
    let listing = api.get("/v1/endpoints/left/tables").await.expect(StatusCode::OK).json;
    assert_eq!(listing["tables"], json!([{ "schema": "shop", "table": "orders" }]));
    drop(host);

    let _host = FakeHost::start(&api.catalog, Mood::Failing);
    let failed = api.bare(Method::POST, "/v1/endpoints/left/test").await.expect(StatusCode::OK).json;
    assert_eq!((&failed["status"], &failed["failure"]["code"]), (&json!("failed"), &json!("unreachable")));
    let problem = api.get("/v1/endpoints/left/tables").await.expect_problem(StatusCode::BAD_GATEWAY, "unreachable").json;
    assert_eq!(problem["hint"], "check host and port");
    api.bare(Method::POST, "/v1/endpoints/nobody/test").await.expect_problem(StatusCode::NOT_FOUND, "endpoint_not_found");
}

#[tokio::test]
async fn used_endpoint_is_not_deleted() {
    let api = Api::with_task().await;
    let problem = api.bare(Method::DELETE, "/v1/endpoints/right").await.expect_problem(StatusCode::CONFLICT, "endpoint_in_use").json;
    assert_eq!(problem["object"], "endpoint \"right\"");
    assert!(problem["hint"].as_str().unwrap().contains("task \"orders\""));
}

/// The canary stands in every place where a password can be put, rightly or wrongly.
#[tokio::test]
async fn password_is_in_no_answer() {
    const CANARY: &str = "canary-4711-password";
    let api = Api::with_task().await;
    let _host = FakeHost::start(&api.catalog, Mood::Failing);
    let mut answers = Vec::new();
    let mut secret = endpoint("vault", "source");
    secret["password"] = json!(CANARY);
    answers.push(api.send(Method::POST, "/v1/endpoints", &secret).await.expect(StatusCode::CREATED));
    answers.push(api.send(Method::POST, "/v1/endpoints", &secret).await);
    answers.push(api.send(Method::PATCH, "/v1/endpoints/vault", &json!({ "password": CANARY })).await.expect(StatusCode::OK));
    let mut uses = task("vault-task");
    uses["source"] = json!("vault");
    answers.push(api.send(Method::POST, "/v1/tasks", &uses).await.expect(StatusCode::CREATED));
    for (key, value) in [
        ("password", json!([CANARY])),
        ("password", json!({ CANARY: 1 })),
        ("port", json!(CANARY)),
        ("tls", json!(CANARY)),
        ("role", json!(CANARY)),
        ("engine", json!(CANARY)),
        ("tls", json!({ "mode": CANARY })),
        ("host", json!(format!("postgres://repl:{CANARY}@db"))),
        ("passwort", json!(CANARY)),
    ] {
        let mut body = secret.clone();
        body[key] = value;
        let answer = api.send(Method::POST, "/v1/endpoints", &body).await;
        assert!(answer.status.is_client_error(), "{}", answer.text);
        answers.push(answer);
    }
    for path in ["/v1/endpoints", "/v1/endpoints/vault", "/v1/tasks", "/v1/tasks/vault-task", "/v1/events", "/v1/tasks/vault-task/events"] {
        answers.push(api.get(path).await.expect(StatusCode::OK));
    }
    for path in ["/v1/endpoints/vault/test", "/v1/tasks/vault-task/check", "/v1/tasks/vault-task/start"] {
        answers.push(api.bare(Method::POST, path).await);
    }
    answers.push(api.get("/v1/endpoints/vault/tables").await);
    answers.push(api.get("/metrics").await);
    for answer in &answers {
        // The one place where it is the sender's own key name; keys are shown, values are not.
        assert!(!answer.text.contains(CANARY) && !answer.text.contains("\"secret\""), "{}", answer.text);
    }
    assert_eq!(answers.iter().filter(|answer| answer.json == Value::Null && answer.content_type.contains("json")).count(), 0);
}
