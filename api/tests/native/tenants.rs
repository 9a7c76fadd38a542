//! Keys and tenants: who is let in, and what they see.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};
use tidegate_catalog::{KeyKind, KeyOwner, TenantQuotas};
use tidegate_model::TenantId;

use crate::{Answer, Api, endpoint, task};

/// A tenant with a key.
struct Guest<'a> {
    api: &'a Api,
    key: String,
}

impl<'a> Guest<'a> {
    async fn new(api: &'a Api, name: &str, quotas: TenantQuotas) -> Guest<'a> {
        let tenant = TenantId::new(name).unwrap();
        if tenant != TenantId::default() {
            api.catalog.create_tenant(&tenant, &quotas).await.unwrap();
        }
        Guest { api, key: key(api, &KeyOwner::Tenant(tenant)).await }
    }

    async fn upload(&self, path: &str) -> Answer {
        let request = Request::put(path).header(header::AUTHORIZATION, format!("Bearer {}", self.key));
        self.api.request(request.body(Body::from(&b"\0asm\x0d\0\x01\0"[..])).unwrap()).await
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> Answer {
        ask(self.api, method, path, Some(&format!("Bearer {}", self.key)), body).await
    }

    /// With a source `left`, a target `right` and a task `orders`.
    async fn settle(&self) {
        for (name, role) in [("left", "source"), ("right", "target")] {
            self.send(Method::POST, "/v1/endpoints", &endpoint(name, role)).await.expect(StatusCode::CREATED);
        }
        self.send(Method::POST, "/v1/tasks", &task("orders")).await.expect(StatusCode::CREATED);
    }
}

async fn key(api: &Api, owner: &KeyOwner) -> String {
    api.catalog.create_key(owner, KeyKind::Bearer).await.unwrap().secret.reveal().to_owned()
}

async fn ask(api: &Api, method: Method, path: &str, authorization: Option<&str>, body: &Value) -> Answer {
    let mut request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
    if let Some(text) = authorization {
        request = request.header(header::AUTHORIZATION, text);
    }
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    api.request(request.body(body).unwrap()).await
}

#[tokio::test]
async fn the_first_key_closes_the_door_for_those_without_one() {
    let api = Api::with_task().await;
    api.get("/v1/tasks/orders").await.expect(StatusCode::OK);
    api.get("/metrics").await.expect(StatusCode::OK);
    let guest = Guest::new(&api, "default", TenantQuotas::default()).await;
    let operator = key(&api, &KeyOwner::Operator).await;

    for (method, path) in tidegate_api::listed_routes() {
        let path = path.replace("{name}", "orders").replace("{alias}", "a").replace("{module}", "m").replace("{version}", "v");
        let open = ["/openapi.json", "/healthz", "/readyz"].contains(&path.as_str());
        for header in [None, Some("Bearer "), Some("Bearer tgk_AAAA_bbbb"), Some("Basic dXNlcg=="), Some(&guest.key)] {
            let answer = ask(&api, method.clone(), &path, header, &Value::Null).await;
            if open {
                answer.expect(StatusCode::OK);
            } else {
                let known = header.is_some_and(|text| text.starts_with("Bearer "));
                answer.expect_problem(StatusCode::UNAUTHORIZED, if known { "key_unknown" } else { "key_wanted" });
            }
        }
    }
    let refused = ask(&api, Method::GET, "/v1/tasks", Some("Bearer tgk_SECRETID_canary4711"), &Value::Null).await;
    assert!(!refused.text.contains("canary4711"), "{}", refused.text);
    for path in ["/", "/console/main.js"] {
        api.get(path).await.expect(StatusCode::OK);
    }
    guest.send(Method::GET, "/v1/tasks/orders", &Value::Null).await.expect(StatusCode::OK);
    guest.send(Method::GET, "/metrics", &Value::Null).await.expect_problem(StatusCode::FORBIDDEN, "key_of_tenant");
    let operator = format!("Bearer {operator}");
    ask(&api, Method::GET, "/metrics", Some(&operator), &Value::Null).await.expect(StatusCode::OK);
    ask(&api, Method::GET, "/v1/tasks", Some(&operator), &Value::Null).await.expect_problem(StatusCode::FORBIDDEN, "key_of_operator");

    for record in api.catalog.list_keys().await.unwrap() {
        api.catalog.delete_key(&record.id).await.unwrap();
    }
    api.get("/v1/tasks/orders").await.expect(StatusCode::OK);
}

#[tokio::test]
async fn a_server_beyond_loopback_wants_keys_even_when_there_are_none() {
    let api = Api::with_keys_required(true).await;
    for path in ["/v1/tasks", "/metrics"] {
        let request = Request::get(path).header(header::HOST, "tidegate.example").body(Body::empty()).unwrap();
        api.request(request).await.expect_problem(StatusCode::UNAUTHORIZED, "key_wanted");
    }
    let signed = "AWS4-HMAC-SHA256 Credential=TGAKX/20260101/eu-central-1/dms/aws4_request, SignedHeaders=host, Signature=00";
    for (header, code) in [(None, "MissingAuthenticationTokenException"), (Some(signed), "IncompleteSignatureException")] {
        let answer = ask(&api, Method::POST, "/", header, &json!({}))
            .await
            .expect(StatusCode::from_u16(if header.is_none() { 403 } else { 400 }).unwrap());
        assert_eq!(answer.json["__type"], code, "{}", answer.text);
    }
    // With keys the name by which the server is reached is nobody's business.
    let guest = Guest::new(&api, "acme", TenantQuotas::default()).await;
    let request = Request::get("/v1/tasks").header(header::HOST, "tidegate.example");
    let request = request.header(header::AUTHORIZATION, format!("bearer {}", guest.key)).body(Body::empty()).unwrap();
    api.request(request).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn what_another_tenant_has_is_not_there() {
    let api = Api::new().await;
    let one = Guest::new(&api, "default", TenantQuotas::default()).await;
    let two = Guest::new(&api, "acme", TenantQuotas::default()).await;
    one.settle().await;
    two.send(Method::GET, "/v1/tasks", &Value::Null).await.expect(StatusCode::OK);
    let missing = two.send(Method::POST, "/v1/tasks", &task("orders")).await;
    missing.expect_problem(StatusCode::NOT_FOUND, "endpoint_not_found");
    let routes: Vec<_> = tidegate_api::listed_routes().into_iter().filter(|(_, path)| path.contains("{name}")).collect();
    for (method, path) in routes {
        let name = if path.starts_with("/v1/endpoints") { "left" } else { "orders" };
        let filled = path.replace("{name}", name).replace("{alias}", "stable").replace("{module}", "m").replace("{version}", "v");
        let body = match (&method, path) {
            (&Method::GET | &Method::DELETE, _) => Value::Null,
            (_, path) if path.ends_with("/aliases/{alias}") => json!({"version": "latest"}),
            (_, path) if path.ends_with("/tables/reload") => json!({"tables": [{"schema": "s", "table": "t"}]}),
            (_, path) if path.ends_with("/swap") => json!({"version": "latest"}),
            // An upload makes a module of the tenant's own, and a test of one is answered by the host.
            (&Method::PUT, "/v1/modules/{name}") | (_, "/v1/modules/{name}/test") => continue,
            (&Method::PATCH | &Method::PUT | &Method::POST, _) => json!({}),
            other => panic!("{other:?}"),
        };
        let answer = two.send(method.clone(), &filled, &body).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {path}: {}", answer.text);
    }
    let events = two.send(Method::GET, "/v1/events", &Value::Null).await.expect(StatusCode::OK);
    assert_eq!(events.json["events"], json!([]));
    one.send(Method::GET, "/v1/tasks/orders", &Value::Null).await.expect(StatusCode::OK);
    one.send(Method::GET, "/v1/endpoints/left", &Value::Null).await.expect(StatusCode::OK);

    two.settle().await;
    let changed = two.send(Method::PATCH, "/v1/tasks/orders", &json!({"max_units": 2})).await.expect(StatusCode::OK);
    assert_eq!(changed.json["max_units"], 2);
    let kept = one.send(Method::GET, "/v1/tasks/orders", &Value::Null).await;
    assert_ne!(kept.json["max_units"], 2);
}

#[tokio::test]
async fn a_quota_is_refused_by_its_name() {
    let api = Api::new().await;
    let quotas = TenantQuotas {
        tasks: Some(1),
        units: Some(2),
        modules: Some(0),
        module_ceilings: tidegate_catalog::ModuleLimits { memory_mib: Some(8), ..Default::default() },
        ..TenantQuotas::default()
    };
    let guest = Guest::new(&api, "acme", quotas).await;
    guest.settle().await;
    guest.send(Method::POST, "/v1/tasks", &task("second")).await.expect_problem(StatusCode::FORBIDDEN, "quota_tasks");
    let greedy = json!({"min_units": 3, "max_units": 4});
    let refused = guest.send(Method::PATCH, "/v1/tasks/orders", &greedy).await.expect_problem(StatusCode::FORBIDDEN, "quota_units");
    assert!(refused.json["detail"].as_str().unwrap().contains("wanted at most 2"), "{}", refused.text);
    guest.upload("/v1/modules/mask").await.expect_problem(StatusCode::FORBIDDEN, "quota_modules");
    api.catalog.set_tenant_quotas(&TenantId::new("acme").unwrap(), &TenantQuotas { modules: None, ..quotas }).await.unwrap();
    guest.upload("/v1/modules/mask?wait_seconds=0").await.expect(StatusCode::ACCEPTED);
    let limits = guest.send(Method::GET, "/v1/modules/mask/limits", &Value::Null).await.expect(StatusCode::OK);
    assert_eq!(limits.json["effective"]["memory_mib"], 8, "the tenant's ceiling is tighter than the server's");
}
