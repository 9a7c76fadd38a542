//! Tenants on one server and on the same databases: equal names meet nowhere, and nobody drowns in another one's flood.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_harness::flood::{self, FloodPlan};
use tidegate_harness::neighbour::NeighbourReport;
use tidegate_harness::{PostgresServer, PostgresVersion, Tenant, Tidegate, tenant, wait_for};
use tokio::process::Command;

use crate::dms::python;

/// Generous for a debug build on a busy machine of two cores.
const PATIENCE: Duration = Duration::from_secs(120);

/// A tenant with the task `shop` from the database `origin` to a schema of its own in a target database.
struct Shop {
    tenant: Tenant,
    target: &'static str,
    schema: &'static str,
}

impl Shop {
    async fn open(host: &Tidegate, server: &PostgresServer, name: &str, target: &'static str, schema: &'static str) -> Shop {
        let tenant = Tenant::create(host, name, &[]).await;
        for (name, role, database) in [("source", "source", "origin"), ("target", "target", target)] {
            let endpoint = json!({"name": name, "role": role, "engine": "postgres", "host": "127.0.0.1", "port": server.port(),
                "username": "postgres", "password": "canary-database", "database": database, "tls": "disable"});
            tenant.post("/v1/endpoints", &endpoint).await.ok();
        }
        let rules = json!({"rules": [
            {"rule-type": "selection", "rule-id": "1", "rule-name": "1", "rule-action": "include",
                "object-locator": {"schema-name": "public", "table-name": "%"}},
            {"rule-type": "transformation", "rule-id": "2", "rule-name": "2", "rule-target": "schema", "rule-action": "rename",
                "object-locator": {"schema-name": "public"}, "value": schema}]});
        let task = json!({"name": "shop", "source": "source", "target": "target", "migration_type": "full-load-and-cdc",
            "preparation": "drop-and-create", "table_mappings": rules, "min_units": 0, "max_units": 2});
        tenant.post("/v1/tasks", &task).await.ok();
        tenant.post("/v1/tasks/shop/start", &json!({})).await.ok();
        Shop { tenant, target, schema }
    }

    async fn wait_level(&self, server: &PostgresServer) {
        let digest = "select concat(count(*), ' ', md5(string_agg(concat(id, ':', note), ',' order by id)))";
        let wanted = value(server, "origin", &format!("{digest} from public.item")).await;
        wait_for(&format!("{}.{} to equal its source", self.target, self.schema), PATIENCE, async || {
            let task = self.tenant.get("/v1/tasks/shop").await.ok();
            assert_ne!(task["status"], "failed", "{}", task["failure"]);
            if task["phase"] != "replicating" {
                return Err(task["phase"].to_string());
            }
            let found = value(server, self.target, &format!("{digest} from {}.item", self.schema)).await;
            if found == wanted { Ok(()) } else { Err(found) }
        })
        .await;
    }
}

async fn value(server: &PostgresServer, database: &str, query: &str) -> String {
    server.client_for(database).await.query_one(query, &[]).await.expect("the query answers").get(0)
}

async fn slots(server: &PostgresServer) -> String {
    server.value("select coalesce(string_agg(slot_name, ' ' order by slot_name), '') from pg_replication_slots").await
}

/// An unmodified boto3 with these keys: the ARNs of its replication configs, or the code of the refusal.
async fn boto3(host: &Tidegate, access_key: &str, secret: &str) -> String {
    const SCRIPT: &str = "
import boto3, botocore, sys
client = boto3.client('dms', endpoint_url=sys.argv[1], region_name='eu-central-1', aws_access_key_id=sys.argv[2], aws_secret_access_key=sys.argv[3])
try:
    print(' '.join(found['ReplicationConfigArn'] for found in client.describe_replication_configs()['ReplicationConfigs']))
except botocore.exceptions.ClientError as error:
    print(error.response['Error']['Code'])
";
    let output = Command::new(python().await).args(["-c", SCRIPT, &host.url(), access_key, secret]).output().await.expect("python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_of_one_name_between_the_same_servers_meet_nowhere() {
    let server = PostgresServer::start(PostgresVersion::V17).await;
    for database in ["origin", "one", "two"] {
        server.sql(&format!("create database {database}")).await;
    }
    server.sql_in("origin", "create table item (id integer primary key, note text)").await;
    server.sql_in("origin", "insert into item select i, 'loaded' from generate_series(1, 2000) i").await;
    let host = Tidegate::serve_in_own_dir().await;
    // Two of them share even the target database, where each has its place in the same tables.
    let shops = [
        Shop::open(&host, &server, "default", "one", "copy").await,
        Shop::open(&host, &server, "acme", "two", "copy").await,
        Shop::open(&host, &server, "globex", "two", "other").await,
    ];
    for shop in &shops {
        shop.wait_level(&server).await;
    }
    assert_eq!(slots(&server).await, "tidegate_acme__shop tidegate_globex__shop tidegate_shop");
    server.sql_in("origin", "update item set note = 'changed' where id % 3 = 0; delete from item where id % 7 = 0").await;
    for shop in &shops {
        shop.wait_level(&server).await;
    }
    let places = "select string_agg(task, ' ' order by task) from tidegate.checkpoint";
    assert_eq!(value(&server, "one", places).await, "shop");
    assert_eq!(value(&server, "two", places).await, "acme--shop globex--shop");
    check_keys(&host, &shops[1]).await;

    // The end of one is not the end of another.
    let [default, acme, globex] = shops;
    for shop in [&default, &globex] {
        shop.tenant.post("/v1/tasks/shop/stop", &json!({})).await.ok();
        wait_for("the task to stop", PATIENCE, async || match shop.tenant.get("/v1/tasks/shop").await.ok()["status"].clone() {
            status if status == "stopped" => Ok(()),
            status => Err(status),
        })
        .await;
        shop.tenant.delete("/v1/tasks/shop").await.ok();
        assert_eq!(shop.tenant.get("/v1/tasks/shop").await.status, 404);
    }
    assert_eq!(slots(&server).await, "tidegate_acme__shop");
    server.sql_in("origin", "insert into item select i, 'later' from generate_series(5000, 5099) i").await;
    acme.wait_level(&server).await;
    assert_eq!(value(&server, "two", places).await, "acme--shop");
    let log = host.log();
    for secret in [default.tenant.key(), acme.tenant.key(), globex.tenant.key(), "canary-database"] {
        assert!(!log.contains(secret), "a secret is in the log");
    }
}

/// A key opens its own tenant's, by signature too, and the operator's the figures of all.
async fn check_keys(host: &Tidegate, acme: &Shop) {
    assert_eq!(host.get("/v1/tasks").await.status, 401);
    assert_eq!(host.get("/").await.status, 200, "the console asks for the key itself");
    assert_eq!(acme.tenant.get("/metrics").await.status, 403);
    let metrics = Tenant::operator(host).await.get("/metrics").await.ok();
    let text = metrics.as_str().expect("metrics are text");
    let rows = |tenant: &str| {
        let series = format!("tidegate_tenant_rows_written_total{{tenant=\"{tenant}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&series)).unwrap_or_else(|| panic!("no {series} in {text}"));
        line.parse::<u64>().expect("a counter is a whole number")
    };
    assert!(rows("default") >= 2000 && rows("acme") >= 2000 && rows("globex") >= 2000, "{text}");
    assert!(text.contains("tidegate_tenant_tasks{tenant=\"acme\",status=\"running\"} 1"), "{text}");

    let key: Value = serde_json::from_str(&tenant::command(host, &["tenant", "key", "acme", "--sigv4", "--json"]).await).expect("JSON");
    let (id, secret) = (key["access_key_id"].as_str().expect("a text"), key["secret_access_key"].as_str().expect("a text"));
    let found = boto3(host, id, secret).await;
    assert!(found.starts_with("arn:aws:dms:") && !found.contains(' ') && !found.contains(":123456789012:"), "{found}");
    assert_eq!(boto3(host, id, "wrong").await, "InvalidSignatureException");
    assert_eq!(boto3(host, "TGAKNOBODY", secret).await, "UnrecognizedClientException");
    assert!(!host.log().contains(secret), "a secret is in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_floods_the_node_leaves_the_lag_of_another_within_its_objective() {
    let plan = FloodPlan {
        rows_each_phase: 40,
        interval: Duration::from_millis(20),
        flood_tasks: 3,
        flood_interval: Duration::from_millis(25),
        flood_waiting_most: 100_000,
        units: 2,
        max_lag_seconds: 10,
    };
    let report = flood::measure(plan).await;
    let at = |latencies: &[f64], percent| NeighbourReport::percentile(latencies, percent);
    println!(
        "alone p50 {:.0} ms, p99 {:.0} ms; beside p50 {:.0} ms, p99 {:.0} ms; the flood has {} rows waiting and {:?} units",
        at(&report.alone_ms, 50.0),
        at(&report.alone_ms, 99.0),
        at(&report.beside_ms, 50.0),
        at(&report.beside_ms, 99.0),
        report.flood_waiting,
        report.flood_units
    );
    assert!(report.flood_waiting > 0, "the other tenant did not flood: {report:?}");
    assert!(at(&report.beside_ms, 99.0) < f64::from(plan.max_lag_seconds) * 1e3, "{report:?}");
}
