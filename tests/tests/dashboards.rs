//! Dashboards and rules against the metrics of a running server with a running task, in a real Prometheus.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_harness::process::root_dir;
use tidegate_harness::prometheus::{Prometheus, promtool};
use tidegate_harness::{PostgresServer, PostgresVersion, Tidegate, wait_for};

/// How long a step may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

const BOARDS: [&str; 3] = ["fleet", "task", "tenant"];

fn dashboards() -> PathBuf {
    root_dir().join("dashboards")
}

/// Every expression of a dashboard's panels with its variables filled in, and the panel that it is from.
fn expressions(board: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(dashboards().join(format!("{board}.json"))).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let filled = |text: &str| text.replace("$__rate_interval", "30s").replace("$tenant", "default").replace("$task", "shop");
    let panels = document["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| {
        let title = panel["title"].as_str().unwrap();
        panel["targets"].as_array().unwrap().iter().map(move |target| (title, target["expr"].as_str().unwrap()))
    });
    let mut found: Vec<(String, String)> = targets.map(|(title, expression)| (format!("{board}: {title}"), filled(expression))).collect();
    // Variables are filled from series too: label_values(SERIES, LABEL).
    for variable in document["templating"]["list"].as_array().unwrap() {
        if let Some(query) = variable["query"]["query"].as_str() {
            let (series, _) = query.strip_prefix("label_values(").unwrap().rsplit_once(", ").unwrap();
            found.push((format!("{board}: variable {}", variable["name"]), filled(series)));
        }
    }
    assert!(found.len() > 8, "{board} has {} expressions", found.len());
    found
}

async fn endpoint(host: &Tidegate, server: &PostgresServer, name: &str, role: &str) {
    let body = json!({"name": name, "role": role, "engine": "postgres", "host": "127.0.0.1", "port": server.port(), "username": "postgres",
                      "password": "", "database": name, "tls": {"mode": "disable"}});
    host.post("/v1/endpoints", &body).await.ok();
}

async fn started_task(host: &Tidegate, name: &str, schema: &str) {
    let rules = json!({"rules": [{"rule-type": "selection", "rule-id": "1", "rule-name": "all", "rule-action": "include",
                                  "object-locator": {"schema-name": schema, "table-name": "%"}}]});
    let body = json!({"name": name, "source": "from", "target": "to", "migration_type": "full-load-and-cdc", "table_mappings": rules,
                      "max_lag_seconds": 20});
    host.post("/v1/tasks", &body).await.ok();
    host.post(&format!("/v1/tasks/{name}/start"), &json!({})).await.ok();
}

async fn world() -> (PostgresServer, Tidegate) {
    let server = PostgresServer::start(PostgresVersion::V17).await;
    server.sql("create database \"from\"").await;
    server.sql("create database \"to\"").await;
    server
        .sql_in("from", "create table t (id int primary key, text text); insert into t select i, 'x' from generate_series(1, 2000) i")
        .await;
    let host = Tidegate::serve_in_own_dir().await;
    endpoint(&host, &server, "from", "source").await;
    endpoint(&host, &server, "to", "target").await;
    started_task(&host, "shop", "public").await;
    (server, host)
}

/// The alerts of a name that fire.
async fn firing(prometheus: &Prometheus, alert: &str) -> Vec<Value> {
    prometheus.query(&format!("ALERTS{{alertname=\"{alert}\", alertstate=\"firing\"}}")).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_returns_data_and_an_alert_fires() {
    let (server, host) = world().await;
    let prometheus = Prometheus::scraping(&host, &dashboards().join("rules.yml")).await;
    wait_for("the task to follow its source", PATIENCE, async || {
        let task = host.get("/v1/tasks/shop").await.ok();
        assert_ne!(task["status"], "failed", "{task}\n{}", host.log());
        if task["phase"] == "replicating" { Ok(()) } else { Err(task.to_string()) }
    })
    .await;
    assert!(firing(&prometheus, "TidegateTaskFailed").await.is_empty());

    let mut left: Vec<(String, String)> = BOARDS.iter().flat_map(|board| expressions(board)).collect();
    let mut round = 0;
    wait_for("every query of the dashboards to return data", PATIENCE, async || {
        round += 1;
        server.sql_in("from", &format!("insert into t select i, 'y' from generate_series({0} * 10000, {0} * 10000 + 99) i", round)).await;
        let mut without = Vec::new();
        for (panel, expression) in &left {
            let samples = prometheus.query(expression).await.unwrap_or_else(|error| panic!("{panel}: {error}"));
            if samples.is_empty() {
                without.push((panel.clone(), expression.clone()));
            }
        }
        left = without;
        // The rate is told with the first decision after rows were applied.
        let rate = prometheus.query("tidegate_task_unit_rows_per_second{task=\"shop\"} > 0").await.unwrap();
        if left.is_empty() && !rate.is_empty() { Ok(()) } else { Err(format!("without data: {left:#?}; rate: {rate:?}")) }
    })
    .await;
    check_figures(&prometheus).await;

    started_task(&host, "lost", "no_such_schema").await;
    wait_for("the alert of a failed task to fire", PATIENCE, async || {
        let alerts = firing(&prometheus, "TidegateTaskFailed").await;
        if alerts.is_empty() { Err(host.get("/v1/tasks/lost").await.body.to_string()) } else { Ok(()) }
    })
    .await;
    check_names(&host).await;
}

/// The new series say what is so, and are not merely there.
async fn check_figures(prometheus: &Prometheus) {
    let value = async |expression: &str| {
        let samples = prometheus.query(expression).await.unwrap();
        samples[0]["value"][1].as_str().unwrap().parse::<f64>().unwrap()
    };
    assert_eq!(value("tidegate_task_lag_objective_seconds{task=\"shop\"}").await, 20.0);
    // As many as the load had, until the stream is measured.
    assert!((1.0..=4.0).contains(&value("tidegate_task_units_granted{task=\"shop\"}").await));
    assert_eq!(value("tidegate_task_units_max{task=\"shop\"}").await, 4.0);
    assert!(value("tidegate_changes_captured_total{task=\"shop\"}").await >= 100.0);
    assert!(value("tidegate_bytes_captured_total{task=\"shop\"}").await > 1_000.0);
    assert!(value("tidegate_task_unit_rows_per_second{task=\"shop\"}").await > 0.0);
    assert!(value("sum(tidegate_capacity_decisions_total{task=\"shop\"})").await >= 1.0);
    // An idle stream waits for its source nearly all the time.
    let waited = value("tidegate_task_busy_ratio{task=\"shop\", stage=\"source\"}").await;
    assert!((0.1..=1.05).contains(&waited), "{waited}");
}

/// Every metric that the server exports is documented.
async fn check_names(host: &Tidegate) {
    let metrics = host.get("/metrics").await.ok();
    let exported: BTreeSet<&str> =
        metrics.as_str().unwrap().lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let document = std::fs::read_to_string(root_dir().join("docs/metrics.md")).unwrap();
    let missing: Vec<&&str> = exported.iter().filter(|name| !document.contains(&format!("`{name}`"))).collect();
    assert!(exported.len() > 20 && missing.is_empty(), "of {} metrics these are not documented: {missing:?}", exported.len());
}

#[test]
fn rules_are_sound_and_say_what_their_tests_want() {
    for arguments in [&["check", "rules", "rules.yml"][..], &["test", "rules", "rules_test.yml"]] {
        let output = promtool(&dashboards(), arguments);
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && said.contains("SUCCESS"), "{said}");
    }
}
