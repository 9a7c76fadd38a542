//! What a user does over HTTP: upload a module, create endpoints and tasks, check and start them.

use serde_json::{Value, json};
use tidegate_harness::{MysqlServer, PostgresServer, Tidegate, process};

/// A task of the demo and its schema in the target.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Task {
    pub(crate) name: &'static str,
    pub(crate) target_schema: &'static str,
    source: &'static str,
    masked: bool,
}

/// From MariaDB, with the customers' addresses masked.
pub(crate) const MARIADB: Task = Task { name: "mariadb-shop", target_schema: "from_mariadb", source: "mariadb", masked: true };

/// From PostgreSQL, as it is.
pub(crate) const POSTGRES: Task = Task { name: "postgres-shop", target_schema: "from_postgres", source: "postgres", masked: false };

/// The module's key; the proof computes pseudonyms with it once more.
pub(crate) const MASK_KEY: &str = "a secret of the demo";

/// Rows of a chunk of the load; small, so that the counts that are shown move.
const CHUNK_ROWS: u32 = 10_000;

/// Uploads the module that masks addresses.
pub(crate) async fn upload_module(host: &Tidegate) -> Result<(), String> {
    let path = process::root_dir().join("target/guests/mask-email.wasm");
    let module = std::fs::read(&path).map_err(|error| format!("read {}: {error}; build it with: cargo xtask guests", path.display()))?;
    let kilobytes = module.len() / 1000;
    ok(host.put_bytes("/v1/modules/mask-email", module).await)?;
    println!("    PUT  /v1/modules/mask-email           a WebAssembly component of {kilobytes} kB");
    Ok(())
}

/// Creates and tests the three endpoints.
pub(crate) async fn create_endpoints(
    host: &Tidegate,
    mariadb: &MysqlServer,
    postgres: &PostgresServer,
    target: &PostgresServer,
) -> Result<(), String> {
    let endpoints = [
        ("mariadb", json!({"role": "source", "engine": "mariadb", "port": mariadb.port(), "username": "repl", "password": "repl"})),
        (
            "postgres",
            json!({"role": "source", "engine": "postgres", "port": postgres.port(), "username": "postgres", "database": "postgres"}),
        ),
        ("copy", json!({"role": "target", "engine": "postgres", "port": target.port(), "username": "postgres", "database": "postgres"})),
    ];
    for (name, mut body) in endpoints {
        body["name"] = json!(name);
        body["host"] = json!("127.0.0.1");
        body["tls"] = json!("disable");
        ok(host.post("/v1/endpoints", &body).await)?;
        println!("    POST /v1/endpoints                    {name}, a {}", text(&body["role"]));
    }
    Ok(())
}

/// Creates a task, runs its checks, prints what they found, and starts it.
pub(crate) async fn create(host: &Tidegate, task: Task) -> Result<(), String> {
    let mut rules = vec![
        json!({"rule-type": "selection", "rule-id": "1", "rule-name": "shop", "rule-action": "include",
            "object-locator": {"schema-name": "shop", "table-name": "%"}}),
        json!({"rule-type": "transformation", "rule-id": "2", "rule-name": "schema", "rule-target": "schema", "rule-action": "rename",
            "object-locator": {"schema-name": "shop"}, "value": task.target_schema}),
    ];
    if task.masked {
        rules.push(json!({"rule-type": "module", "rule-id": "3", "rule-name": "mask", "module": "mask-email",
            "object-locator": {"schema-name": "shop", "table-name": "customers"}, "config": {"columns": ["email"], "key": MASK_KEY}}));
    }
    let body = json!({"name": task.name, "source": task.source, "target": "copy", "migration_type": "full-load-and-cdc",
        "preparation": "drop-and-create", "table_mappings": {"rules": rules}, "settings": {"chunk_rows": CHUNK_ROWS}});
    ok(host.post("/v1/tasks", &body).await)?;
    let how = if task.masked { ", e-mail addresses through the module" } else { "" };
    println!("    POST /v1/tasks                        {}: shop.* to {}.*{how}", task.name, task.target_schema);
    check(host, task).await
}

async fn check(host: &Tidegate, task: Task) -> Result<(), String> {
    let path = format!("/v1/tasks/{}/check", task.name);
    let report = ok(host.post(&path, &json!({})).await)?;
    let findings = report["findings"].as_array().cloned().unwrap_or_default();
    let counts = match findings.len() {
        0 => String::new(),
        1 => ", 1 finding".to_owned(),
        count => format!(", {count} findings"),
    };
    let passed = report["passed"] == true;
    println!("    POST {path:<32} {}{counts}", if passed { "passed" } else { "not passed" });
    for finding in &findings {
        let [severity, object, found, wanted] = ["severity", "object", "found", "wanted"].map(|key| text(&finding[key]));
        println!("         {severity}: {object}: {found}; wanted: {wanted}");
    }
    if passed { Ok(()) } else { Err(format!("the checks of task {} found errors", task.name)) }
}

/// Starts a task.
pub(crate) async fn start(host: &Tidegate, task: Task) -> Result<(), String> {
    ok(host.post(&format!("/v1/tasks/{}/start", task.name), &json!({})).await)?;
    Ok(())
}

/// The task as the API shows it; an error when it failed.
pub(crate) async fn show(host: &Tidegate, task: Task) -> Result<Value, String> {
    let shown = ok(host.get(&format!("/v1/tasks/{}", task.name)).await)?;
    if shown["status"] == "failed" {
        let [message, hint] = ["message", "hint"].map(|key| text(&shown["failure"][key]));
        return Err(format!("task {} failed: {message}; {hint}", task.name));
    }
    Ok(shown)
}

fn ok(answer: process::Answer) -> Result<Value, String> {
    if (200..300).contains(&answer.status) { Ok(answer.body) } else { Err(format!("the API answered {}: {}", answer.status, answer.body)) }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
