//! Sandboxes and verdicts when there are fewer than are wanted: whoever has the most waits.

use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_harness::process::root_dir;
use tidegate_harness::{PostgresServer, PostgresVersion, Tenant, Tidegate, wait_for};

use crate::row_errors::picky;

/// Generous for a debug build on a busy machine of two cores.
const PATIENCE: Duration = Duration::from_secs(120);

/// A host with so many sandboxes for tenants' modules, between two servers.
struct Scene {
    source: PostgresServer,
    target: PostgresServer,
    host: Tidegate,
    operator: Tenant,
    _data: TempDir,
}

impl Scene {
    async fn start(sandboxes: u32) -> Scene {
        Scene::with(&format!("sandboxes = {sandboxes}")).await
    }

    /// With these settings of modules.
    async fn with(settings: &str) -> Scene {
        let source = PostgresServer::start(PostgresVersion::V17).await;
        let target = PostgresServer::start(PostgresVersion::V17).await;
        let data = tempfile::tempdir().expect("a temporary directory can be made");
        let config = data.path().join("tidegate.toml");
        std::fs::write(&config, format!("[modules]\n{settings}\n")).expect("the configuration can be written");
        let host = Tidegate::serve_with(&data.path().join("data"), &[("TIDEGATE_CONFIG", &config.to_string_lossy())]).await;
        let operator = Tenant::operator(&host).await;
        Scene { source, target, host, operator, _data: data }
    }

    /// A tenant with the endpoints of both servers.
    async fn tenant(&self, name: &str) -> Tenant {
        let tenant = Tenant::create(&self.host, name, &[]).await;
        for (name, role, server) in [("source", "source", &self.source), ("target", "target", &self.target)] {
            let endpoint = json!({"name": name, "role": role, "engine": "postgres", "host": server.host(), "port": server.port(),
                "username": "postgres", "password": "none", "database": "postgres", "tls": "disable"});
            tenant.post("/v1/endpoints", &endpoint).await.ok();
        }
        tenant
    }

    /// The sum of a metric's series that have this label.
    async fn metric(&self, name: &str, label: &str) -> f64 {
        let text = self.operator.get("/metrics").await.ok();
        let ours = text.as_str().expect("metrics are text").lines().filter(|line| line.starts_with(name) && line.contains(label));
        ours.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }
}

fn locator(table: &str) -> Value {
    json!({"schema-name": "public", "table-name": table})
}

fn guest(name: &str) -> Vec<u8> {
    std::fs::read(root_dir().join("target/guests").join(name)).expect("the guests are built; run cargo xtask guests")
}

fn module_rule(name: &str, table: &str, config: Value) -> Value {
    json!({"rule-type": "module", "rule-id": "7", "rule-name": "7", "module": name, "object-locator": locator(table), "config": config})
}

/// A task that copies a table into the schema of the task's name, and keeps its sandboxes when it has nothing to do.
async fn start_task(tenant: &Tenant, name: &str, table: &str, filters: Value, more: Option<Value>) {
    let mut rules = vec![
        json!({"rule-type": "selection", "rule-id": "1", "rule-name": "1", "rule-action": "include", "object-locator": locator(table),
            "filters": filters}),
        json!({"rule-type": "transformation", "rule-id": "2", "rule-name": "2", "rule-target": "schema", "rule-action": "rename",
            "object-locator": {"schema-name": "public"}, "value": name}),
    ];
    rules.extend(more);
    let task = json!({"name": name, "source": "source", "target": "target", "migration_type": "full-load-and-cdc",
        "preparation": "drop-and-create", "table_mappings": {"rules": rules}, "settings": {"load_lanes": 1},
        "min_units": 1, "max_units": 1});
    tenant.post("/v1/tasks", &task).await.ok();
    tenant.post(&format!("/v1/tasks/{name}/start"), &json!({})).await.ok();
}

async fn wait_replicating(tenant: &Tenant, name: &str) {
    wait_for(&format!("task {name} to replicate"), PATIENCE, async || {
        let task = tenant.get(&format!("/v1/tasks/{name}")).await.ok();
        assert_ne!(task["status"], "failed", "{}", task["failure"]);
        if task["phase"] == "replicating" { Ok(()) } else { Err(task["phase"].clone()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_tasks_with_filters_than_sandboxes_all_replicate() {
    const TASKS: usize = 6;
    // One for tenants' modules, and one for the built-in rules.
    let scene = Scene::start(1).await;
    let tenant = scene.tenant("default").await;
    scene
        .source
        .sql("create table item (id int primary key, amount int); insert into item select i, i - 10 from generate_series(1, 20) i")
        .await;
    let positive = json!([{"filter-type": "source", "column-name": "amount",
        "filter-conditions": [{"filter-operator": "gte", "value": "1"}]}]);
    let names: Vec<String> = (0..TASKS).map(|number| format!("copy{number}")).collect();
    for name in &names {
        start_task(&tenant, name, "item", positive.clone(), None).await;
    }
    for name in &names {
        wait_replicating(&tenant, name).await;
    }
    for round in 1..=5 {
        let id = 100 * round;
        scene.source.sql(&format!("insert into item values ({id}, 1), ({}, -1)", id + 1)).await;
        for name in &names {
            let found = format!("select concat(count(*), ' ', count(*) filter (where amount < 1)) from {name}.item");
            wait_for(&format!("round {round} in {name}"), PATIENCE, async || {
                let found = scene.target.value(&found).await;
                if found == format!("{} 0", 10 + round) { Ok(()) } else { Err(found) }
            })
            .await;
        }
    }
    wait_for("idle sandboxes that were given up", PATIENCE, async || {
        let held = scene.metric("tidegate_sandboxes{", "built-in").await;
        let given_up = scene.metric("tidegate_sandboxes_given_up_total ", "").await;
        assert!(held <= 2.0, "{held} sandboxes with two slots");
        if held == 2.0 && given_up >= TASKS as f64 { Ok(()) } else { Err((held, given_up)) }
    })
    .await;
    for name in &names {
        let task = tenant.get(&format!("/v1/tasks/{name}")).await.ok();
        assert_eq!((&task["status"], &task["progress"]["reconnects"]), (&json!("running"), &json!(0)), "{task}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_at_its_share_of_sandboxes_is_held_and_its_neighbours_tasks_go_on() {
    let scene = Scene::start(4).await;
    let (greedy, modest) = (scene.tenant("greedy").await, scene.tenant("modest").await);
    scene.source.sql("create table probe (id int primary key, email text); create table bait (id int primary key)").await;
    scene.source.sql("insert into bait select generate_series(1, 10)").await;
    modest.put_bytes("/v1/modules/mask-email", guest("mask-email.wasm")).await.ok();
    greedy.put_bytes("/v1/modules/hostile", guest("hostile.wasm")).await.ok();
    // Each call runs for two seconds, and rests four times as long for each of them that runs.
    greedy.put("/v1/modules/hostile/limits", &json!({"batch_cpu_ms": 2000})).await.ok();
    let mask = json!({"columns": ["email"], "key": "a key of the test's own, long enough"});
    start_task(&modest, "masked", "probe", json!([]), Some(module_rule("mask-email", "probe", mask))).await;
    let some = json!([{"filter-type": "source", "column-name": "id", "filter-conditions": [{"filter-operator": "gte", "value": "1"}]}]);
    start_task(&modest, "filtered", "probe", some, None).await;
    for name in ["masked", "filtered"] {
        wait_replicating(&modest, name).await;
    }
    for number in 0..5 {
        start_task(&greedy, &format!("loops{number}"), "bait", json!([]), Some(module_rule("hostile", "bait", json!("loop")))).await;
    }
    wait_for("the greedy tenant to be refused a fourth sandbox", PATIENCE, async || {
        let held = scene.metric("tidegate_tenant_sandboxes{", "\"greedy\"").await;
        let refused = scene.metric("tidegate_tenant_sandbox_refusals_total", "\"greedy\"").await;
        if held == 3.0 && refused >= 1.0 { Ok(()) } else { Err((held, refused)) }
    })
    .await;
    for id in 1..=10 {
        scene.source.sql(&format!("insert into probe values ({id}, 'ada@example.org')")).await;
        for name in ["masked", "filtered"] {
            wait_for(&format!("row {id} in {name}"), PATIENCE, async || {
                let found = scene.target.value(&format!("select count(*) from {name}.probe")).await;
                if found == id.to_string() { Ok(()) } else { Err(found) }
            })
            .await;
        }
        let held = scene.metric("tidegate_tenant_sandboxes{", "\"greedy\"").await;
        assert!(held <= 3.0, "{held} of 4 sandboxes");
    }
    assert_eq!(scene.metric("tidegate_tenant_sandbox_refusals_total", "\"modest\"").await, 0.0);
    for name in ["masked", "filtered"] {
        let task = modest.get(&format!("/v1/tasks/{name}")).await.ok();
        assert_eq!((&task["status"], &task["progress"]["reconnects"]), (&json!("running"), &json!(0)), "{task}");
    }
    wait_for("an event that says why a task waits", PATIENCE, async || {
        let events = greedy.get("/v1/events").await.ok().to_string();
        if events.contains("3 sandboxes of the tenant's modules are at work in this process, which is its share") {
            Ok(())
        } else {
            Err(events)
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_whose_module_needs_more_memory_than_its_tenant_can_ever_have_fails_with_the_setting() {
    let scene = Scene::with("total_memory_mib = 32").await;
    let tenant = scene.tenant("greedy").await;
    scene.source.sql("create table bait (id int primary key); insert into bait select generate_series(1, 10)").await;
    tenant.put_bytes("/v1/modules/hostile", guest("hostile.wasm")).await.ok();
    let rule = module_rule("hostile", "bait", json!("memory"));
    start_task(&tenant, "bomb", "bait", json!([]), Some(rule)).await;
    let failure = wait_for("the task to fail", PATIENCE, async || {
        let task = tenant.get("/v1/tasks/bomb").await.ok();
        if task["status"] == "failed" { Ok(task["failure"].clone()) } else { Err(task) }
    })
    .await;
    let message = failure["message"].as_str().unwrap_or_default();
    // Three quarters of seven eighths.
    let wanted =
        "a sandbox can never have more than 22020096 here: the tenant's share of what there is for modules (`modules.total_memory_mib`)";
    assert!(failure["code"] == "module_exhausted" && message.contains(wanted), "{failure}");
    assert!(failure["hint"].as_str().is_some_and(|hint| hint.starts_with("ask the operator")), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upload_of_a_tenant_does_not_wait_for_many_of_another_one() {
    const MANY: u8 = 12;
    let scene = Scene::start(4).await;
    let (many, one) = (scene.tenant("many").await, scene.tenant("one").await);
    for version in 0..MANY {
        let answer = many.put_bytes(&format!("/v1/modules/m{version}?wait_seconds=0"), picky(b'A' + version)).await;
        assert_eq!(answer.status, 202, "{answer:?}");
    }
    let answer = one.put_bytes("/v1/modules/mine", picky(b'1')).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let modules = many.get("/v1/modules").await.ok();
    let pending = modules.to_string().matches("\"pending\"").count();
    assert!(pending >= usize::from(MANY) / 2, "{pending} of {MANY} wait still: {modules}");
}
