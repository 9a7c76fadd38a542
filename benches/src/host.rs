//! A server with tasks between databases of the bench, driven over HTTP.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_harness::{Tidegate, wait_for};

/// Long enough for a thousand tasks to begin.
const PATIENCE: Duration = Duration::from_secs(600);

/// An endpoint of a PostgreSQL server.
pub(crate) fn postgres(name: &str, role: &str, port: u16) -> Value {
    json!({"name": name, "role": role, "engine": "postgres", "host": "127.0.0.1", "port": port, "username": "postgres",
        "password": "none", "database": "postgres", "tls": "disable"})
}

/// A task over one table of `schema`, which becomes one of the schema `copy`, between the endpoints `source` and `target`.
pub(crate) fn task(name: &str, schema: &str, table: &str, units_max: u32) -> Value {
    let rules = json!([
        {"rule-type": "selection", "rule-id": "1", "rule-name": "1", "rule-action": "include",
            "object-locator": {"schema-name": schema, "table-name": table}},
        {"rule-type": "transformation", "rule-id": "2", "rule-name": "2", "rule-target": "schema", "rule-action": "rename",
            "object-locator": {"schema-name": schema}, "value": "copy"}]);
    json!({"name": name, "source": "source", "target": "target", "migration_type": "full-load-and-cdc", "preparation": "drop-and-create",
        "table_mappings": {"rules": rules}, "min_units": 0, "max_units": units_max, "max_lag_seconds": 30})
}

/// Creates tasks and starts them.
pub(crate) async fn start(host: &Tidegate, tasks: &[Value]) {
    for task in tasks {
        host.post("/v1/tasks", task).await.ok();
        host.post(&format!("/v1/tasks/{}/start", task["name"].as_str().expect("a task has a name")), &json!({})).await.ok();
    }
}

/// Waits until a task says so.
pub(crate) async fn wait(host: &Tidegate, task: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    wait_for(&format!("task {task} to {what}"), PATIENCE, async || {
        let found = host.get(&format!("/v1/tasks/{task}")).await.ok();
        assert_ne!(found["status"], "failed", "{}", found["failure"]);
        if is_so(&found) { Ok(found) } else { Err((found["phase"].clone(), found["progress"]["units"].clone())) }
    })
    .await
}

/// Waits until a task follows its source and has no unit any more.
pub(crate) async fn wait_asleep(host: &Tidegate, task: &str) {
    wait(host, task, "sleep", |task| task["phase"] == "replicating" && task["progress"]["units"] == 0).await;
}
