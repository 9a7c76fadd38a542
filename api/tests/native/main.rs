//! The native API, driven through its router, with a host that answers from the catalog.

#![allow(clippy::unwrap_used, reason = "a test stops where its setup fails")]

mod bad_input;
mod console;
mod documented;
mod endpoints;
mod fake_host;
mod history;
mod module_test;
mod modules;
mod server;
mod tasks;
mod tenants;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_api::{ApiState, Contract, ModuleRules};
use tidegate_catalog::{Catalog, ModuleLimits};
use tower::ServiceExt;

const LIMITS: ModuleLimits = ModuleLimits {
    memory_mib: Some(64),
    plan_cpu_ms: Some(1000),
    batch_cpu_ms: Some(250),
    row_cpu_us: Some(100),
    output_mib: Some(16),
    instances: Some(32),
};

/// What the server allows to modules here.
const MODULES: ModuleRules = ModuleRules {
    upload_bytes_max: 24 << 20,
    defaults: LIMITS,
    ceilings: ModuleLimits { memory_mib: Some(128), row_cpu_us: Some(50), ..LIMITS },
};

/// An API on a catalog of its own.
pub(crate) struct Api {
    pub(crate) catalog: Catalog,
    pub(crate) ready: Arc<AtomicBool>,
    pub(crate) router: Router,
    _dir: TempDir,
}

/// An answer, with its body as text and, if it is, as JSON.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content_type: String,
    pub(crate) text: String,
    pub(crate) json: Value,
}

impl Api {
    pub(crate) async fn new() -> Api {
        Self::with_keys_required(false).await
    }

    /// As a server beyond loopback has it, or as one that is reached by loopback alone.
    pub(crate) async fn with_keys_required(keys_required: bool) -> Api {
        let dir = TempDir::new().unwrap();
        let catalog = Catalog::open(dir.path()).await.unwrap();
        let ready = Arc::new(AtomicBool::new(true));
        let prometheus = PrometheusBuilder::new().build_recorder().handle();
        let state = ApiState {
            catalog: catalog.clone(),
            prometheus,
            contract: Contract { package: "tidegate:transform", versions: &["1.0.0"], wit: "" },
            version: "0.0.0-test",
            ready: Arc::clone(&ready),
            modules: MODULES,
            keys_required,
        };
        Api { catalog, ready, router: tidegate_api::router(state), _dir: dir }
    }

    /// With a source `left`, a target `right` and a task `orders`.
    pub(crate) async fn with_task() -> Api {
        let api = Api::new().await;
        for (name, role) in [("left", "source"), ("right", "target")] {
            api.send(Method::POST, "/v1/endpoints", &endpoint(name, role)).await.expect(StatusCode::CREATED);
        }
        api.send(Method::POST, "/v1/tasks", &task("orders")).await.expect(StatusCode::CREATED);
        api
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.request(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn bare(&self, method: Method, path: &str) -> Answer {
        self.request(Request::builder().method(method).uri(path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: &Value) -> Answer {
        let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
        self.request(request.body(Body::from(body.to_string())).unwrap()).await
    }

    pub(crate) async fn request(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let content_type = response.headers().get(header::CONTENT_TYPE).map_or("", |value| value.to_str().unwrap()).to_owned();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Answer { status, content_type, text, json }
    }
}

impl Answer {
    #[track_caller]
    pub(crate) fn expect(self, status: StatusCode) -> Answer {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// An error in the one form that all errors have.
    #[track_caller]
    pub(crate) fn expect_problem(self, status: StatusCode, code: &str) -> Answer {
        assert_eq!((self.status, self.json["code"].as_str()), (status, Some(code)), "{}", self.text);
        assert_eq!(self.content_type, "application/problem+json");
        assert_eq!(self.json["status"], status.as_u16());
        assert_eq!(self.json["type"], format!("urn:tidegate:problem:{code}"));
        for key in ["title", "detail"] {
            assert!(self.json[key].as_str().is_some_and(|text| !text.is_empty()), "{}", self.text);
        }
        self
    }
}

pub(crate) fn endpoint(name: &str, role: &str) -> Value {
    json!({
        "name": name, "role": role, "engine": "postgres", "host": "db.example", "port": 5433,
        "username": "repl", "password": "secret", "database": "shop", "tls": { "mode": "disable" },
    })
}

pub(crate) fn task(name: &str) -> Value {
    json!({
        "name": name, "source": "left", "target": "right", "migration_type": "full-load-and-cdc",
        "table_mappings": { "rules": [selection()] }, "settings": { "load_lanes": 2 }, "tags": { "team": "shop" },
    })
}

pub(crate) fn selection() -> Value {
    json!({
        "rule-type": "selection", "rule-id": "1", "rule-name": "1", "rule-action": "include",
        "object-locator": { "schema-name": "shop", "table-name": "%" },
    })
}
