//! The whole program over HTTP against real servers: load, follow, stop, kill, reload, delete.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_harness::{MysqlFlavour, MysqlServer, PostgresServer, PostgresVersion, Tidegate, process, wait_for};

/// How long replication may take to become level on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn selection(schema: &str) -> Value {
    json!({"rule-type": "selection", "rule-id": "1", "rule-name": "all", "rule-action": "include",
           "object-locator": {"schema-name": schema, "table-name": "%"}})
}

async fn create_endpoint(host: &Tidegate, name: &str, role: &str, engine: &str, port: u16, database: &str) {
    let (username, password) = if engine == "postgres" { ("postgres", "") } else { ("repl", "repl") };
    let body = json!({"name": name, "role": role, "engine": engine, "host": "127.0.0.1", "port": port, "username": username,
                      "password": password, "database": database, "tls": {"mode": "disable"}});
    host.post("/v1/endpoints", &body).await.ok();
}

async fn create_task(host: &Tidegate, name: &str, migration: &str, rules: Value) {
    let body = json!({"name": name, "source": "from", "target": "to", "migration_type": migration, "table_mappings": {"rules": rules}});
    host.post("/v1/tasks", &body).await.ok();
}

async fn start(host: &Tidegate, task: &str, how: &str) {
    host.post(&format!("/v1/tasks/{task}/{how}"), &json!({})).await.ok();
}

/// Waits until the task has the status; a failure is shown as it is.
async fn wait_for_status(host: &Tidegate, task: &str, wanted: &str) -> Value {
    wait_for(&format!("task {task} to be {wanted}"), PATIENCE, async || {
        let shown = host.get(&format!("/v1/tasks/{task}")).await.ok();
        assert!(wanted == "failed" || shown["status"] != "failed", "{shown}\n{}", host.log());
        if shown["status"] == wanted { Ok(shown) } else { Err(format!("{shown}\n{}", host.log())) }
    })
    .await
}

/// Waits until a query gives the same in both databases, and returns that.
async fn wait_for_equal(host: &Tidegate, server: &PostgresServer, query: &str) -> String {
    wait_for("source and target to be equal", PATIENCE, async || {
        let source = one_text(server, "from", query).await;
        let target = one_text(server, "to", query).await;
        match (source, target) {
            (Ok(source), Ok(target)) if source == target => Ok(source),
            other => Err(format!("{other:?}\n{}", host.log())),
        }
    })
    .await
}

/// The only value of a query; a table that is not there yet is an error like any other.
async fn one_text(server: &PostgresServer, database: &str, query: &str) -> Result<String, String> {
    let client = server.client_for(database).await;
    let row = client.query_one(query, &[]).await.map_err(|error| error.to_string())?;
    row.try_get::<_, Option<String>>(0).map(Option::unwrap_or_default).map_err(|error| error.to_string())
}

/// Every row of the table, in order, as one text.
const ALL_ROWS: &str = "select md5(string_agg(t::text, ',' order by id)) || ' ' || count(*) from public.orders t";

async fn two_databases() -> PostgresServer {
    let server = PostgresServer::start(PostgresVersion::V17).await;
    server.sql("create database \"from\"").await;
    server.sql("create database \"to\"").await;
    server
        .sql_in(
            "from",
            "create table orders (id int primary key, customer text, amount numeric(10,2), placed timestamptz default now());
             insert into orders select i, 'customer ' || i, i / 7.0 from generate_series(1, 20000) i",
        )
        .await;
    server
}

async fn postgres_pair(data: &Path) -> (PostgresServer, Tidegate) {
    let server = two_databases().await;
    let host = Tidegate::serve(data).await;
    create_endpoint(&host, "from", "source", "postgres", server.port(), "from").await;
    create_endpoint(&host, "to", "target", "postgres", server.port(), "to").await;
    (server, host)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_loads_follows_and_goes_on_after_a_kill() {
    let data = tempfile::tempdir().unwrap();
    let (server, mut host) = postgres_pair(data.path()).await;
    create_task(&host, "shop", "full-load-and-cdc", json!([selection("public")])).await;

    start(&host, "shop", "start").await;
    wait_for_status(&host, "shop", "running").await;
    wait_for_equal(&host, &server, ALL_ROWS).await;
    server.sql_in("from", "update orders set amount = 0 where id <= 100; delete from orders where id > 19990").await;
    wait_for_equal(&host, &server, ALL_ROWS).await;

    host.kill().await;
    server.sql_in("from", "insert into orders select i, 'while away', 1 from generate_series(30001, 30500) i").await;
    host.restart().await;
    assert!(wait_for_equal(&host, &server, ALL_ROWS).await.ends_with(" 20490"));
    assert!(host.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_stops_resumes_reloads_and_leaves_nothing_behind() {
    let data = tempfile::tempdir().unwrap();
    let (server, host) = postgres_pair(data.path()).await;
    create_task(&host, "shop", "full-load-and-cdc", json!([selection("public")])).await;
    start(&host, "shop", "start").await;
    wait_for_equal(&host, &server, ALL_ROWS).await;

    start(&host, "shop", "stop").await;
    let stopped = wait_for_status(&host, "shop", "stopped").await;
    assert_eq!(stopped["stop_reason"], "requested", "{stopped}");
    server.sql_in("from", "insert into orders values (50000, 'while stopped', 2)").await;
    start(&host, "shop", "resume").await;
    wait_for_equal(&host, &server, ALL_ROWS).await;

    let reload = json!({"tables": [{"schema": "public", "table": "orders"}]});
    server.sql_in("to", "delete from orders where id < 1000").await;
    host.post("/v1/tasks/shop/tables/reload", &reload).await.ok();
    wait_for_equal(&host, &server, ALL_ROWS).await;

    start(&host, "shop", "stop").await;
    wait_for_status(&host, "shop", "stopped").await;
    host.delete("/v1/tasks/shop").await.ok();
    wait_for("the task to be gone", PATIENCE, async || {
        let answer = host.get("/v1/tasks/shop").await;
        if answer.status == 404 { Ok(()) } else { Err(answer.body) }
    })
    .await;
    assert_eq!(one_text(&server, "from", "select count(*)::text from pg_replication_slots").await.unwrap(), "0");
    assert_eq!(one_text(&server, "from", "select count(*)::text from pg_publication").await.unwrap(), "0");
    assert_eq!(one_text(&server, "to", "select count(*)::text from tidegate.checkpoint").await.unwrap(), "0");
    assert_eq!(one_text(&server, "to", "select count(*)::text from orders").await.unwrap(), "20001");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_starts_before_its_database_waits_and_says_so() {
    let data = tempfile::tempdir().unwrap();
    let (mut server, mut host) = postgres_pair(data.path()).await;
    create_task(&host, "shop", "full-load-and-cdc", json!([selection("public")])).await;
    start(&host, "shop", "start").await;
    wait_for_equal(&host, &server, ALL_ROWS).await;
    host.kill().await;
    server.stop().await;

    host.restart().await;

    wait_for("an event about the database", PATIENCE, async || {
        let events = host.get("/v1/tasks/shop/events").await.ok().to_string();
        if events.contains("trying again") { Ok(()) } else { Err(format!("{events}\n{}", host.log())) }
    })
    .await;
    server.restart().await;
    server.sql_in("from", "insert into orders values (70000, 'after the pause', 4)").await;
    wait_for_equal(&host, &server, ALL_ROWS).await;
    wait_for_status(&host, "shop", "running").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_begins_anew_from_the_rows_of_now() {
    let data = tempfile::tempdir().unwrap();
    let (server, host) = postgres_pair(data.path()).await;
    create_task(&host, "shop", "full-load-and-cdc", json!([selection("public")])).await;
    host.patch("/v1/tasks/shop", &json!({"preparation": "truncate-before-load"})).await.ok();
    start(&host, "shop", "start").await;
    wait_for_equal(&host, &server, ALL_ROWS).await;
    start(&host, "shop", "stop").await;
    wait_for_status(&host, "shop", "stopped").await;
    server.sql_in("to", "delete from orders where id % 2 = 0; insert into orders values (-1, 'stray', 0)").await;
    server.sql_in("from", "delete from orders where id <= 10").await;

    start(&host, "shop", "reload").await;

    assert!(wait_for_equal(&host, &server, ALL_ROWS).await.ends_with(" 19990"));
    server.sql_in("from", "insert into orders values (60000, 'after the reload', 3)").await;
    wait_for_equal(&host, &server, ALL_ROWS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_load_ends_by_itself_and_shows_its_tables() {
    let data = tempfile::tempdir().unwrap();
    let (server, host) = postgres_pair(data.path()).await;
    create_task(&host, "copy", "full-load", json!([selection("public")])).await;

    start(&host, "copy", "start").await;

    let stopped = wait_for_status(&host, "copy", "stopped").await;
    assert_eq!(stopped["stop_reason"], "full-load-finished", "{stopped}");
    assert_eq!(stopped["progress"]["rows_loaded"], 20000, "{stopped}");
    let tables = host.get("/v1/tasks/copy/tables").await.ok();
    assert_eq!((&tables["completed"], &tables["tables"][0]["rows_loaded"]), (&json!(1), &json!(20000)), "{tables}");
    wait_for_equal(&host, &server, ALL_ROWS).await;
    let metrics = host.get("/metrics").await.ok();
    assert!(metrics.to_string().contains("tidegate_rows_loaded_total{tenant=\\\"default\\\",task=\\\"copy\\\"} 20000"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_hosts_with_the_same_task_one_gives_up() {
    let (data, other_data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (server, first) = postgres_pair(data.path()).await;
    let second = Tidegate::serve(other_data.path()).await;
    create_endpoint(&second, "from", "source", "postgres", server.port(), "from").await;
    create_endpoint(&second, "to", "target", "postgres", server.port(), "to").await;
    for host in [&first, &second] {
        create_task(host, "shop", "full-load-and-cdc", json!([selection("public")])).await;
    }
    start(&first, "shop", "start").await;
    wait_for_equal(&first, &server, ALL_ROWS).await;

    start(&second, "shop", "start").await;

    let failed = wait_for_status(&first, "shop", "failed").await;
    assert!(failed["failure"]["message"].as_str().unwrap().contains("another worker took over"), "{failed}");
    server.sql_in("from", "update orders set amount = amount + 1 where id % 3 = 0").await;
    wait_for_equal(&second, &server, ALL_ROWS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_is_copied_through_an_uploaded_module() {
    let data = tempfile::tempdir().unwrap();
    let (source, target) = tokio::join!(MysqlServer::start(MysqlFlavour::Mariadb1011), PostgresServer::start(PostgresVersion::V17));
    source.sql("create table people (id int primary key, email varchar(100)); insert into people values (1, 'ada@example.org')").await;
    target.sql("create database \"to\"").await;
    let host = Tidegate::serve(data.path()).await;
    create_endpoint(&host, "from", "source", "mariadb", source.port(), "test").await;
    create_endpoint(&host, "to", "target", "postgres", target.port(), "to").await;
    let module = std::fs::read(process::root_dir().join("target/guests/mask-email.wasm")).expect("run `cargo xtask guests` first");
    host.put_bytes("/v1/modules/mask-email", module).await.ok();
    let masked = json!({"rule-type": "module", "rule-id": "7", "rule-name": "mask", "module": "mask-email", "config": {"columns": ["email"], "key": "k"},
                        "object-locator": {"schema-name": "test", "table-name": "people"}});
    create_task(&host, "people", "full-load-and-cdc", json!([selection("test"), masked])).await;

    start(&host, "people", "start").await;
    wait_for_status(&host, "people", "running").await;
    source.sql("insert into people values (2, 'bob@example.org')").await;

    let emails = wait_for("both rows to arrive", PATIENCE, async || {
        match one_text(&target, "to", "select string_agg(email, ',' order by id) from test.people").await {
            Ok(emails) if emails.contains(',') => Ok(emails),
            other => Err(format!("{other:?}\n{}", host.log())),
        }
    })
    .await;
    let pseudonyms: Vec<&str> = emails.split(',').collect();
    let masked = |text: &&str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(pseudonyms.len() == 2 && pseudonyms.iter().all(masked), "{emails}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_found_before_anything_is_written() {
    let data = tempfile::tempdir().unwrap();
    let server = PostgresServer::start_with(PostgresVersion::V17, &["wal_level=replica"]).await;
    server.sql("create database \"from\"").await;
    server.sql("create database \"to\"").await;
    server.sql_in("from", "create table orders (id int primary key)").await;
    let host = Tidegate::serve(data.path()).await;
    create_endpoint(&host, "from", "source", "postgres", server.port(), "from").await;
    create_endpoint(&host, "to", "target", "postgres", server.port(), "to").await;
    create_task(&host, "shop", "cdc", json!([selection("public")])).await;

    let report = host.post("/v1/tasks/shop/check", &json!({})).await.ok();
    assert!(report.to_string().contains("wal_level"), "{report}");
    start(&host, "shop", "start").await;

    let failed = wait_for_status(&host, "shop", "failed").await;
    assert_eq!(failed["failure"]["code"], "checks_failed", "{failed}");
    assert!(failed["failure"]["hint"].as_str().is_some_and(|hint| hint.contains("wal_level")), "{failed}");
    assert_eq!(one_text(&server, "to", "select count(*)::text from pg_namespace where nspname = 'tidegate'").await.unwrap(), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_test_tells_a_wrong_password_from_a_wrong_port() {
    let data = tempfile::tempdir().unwrap();
    let server = MysqlServer::start(MysqlFlavour::Mariadb1011).await;
    let host = Tidegate::serve(data.path()).await;
    let body = json!({"name": "from", "role": "source", "engine": "mariadb", "host": "127.0.0.1", "port": server.port(), "username": "repl",
                      "password": "wrong-canary", "database": "test", "tls": {"mode": "disable"}});
    host.post("/v1/endpoints", &body).await.ok();

    let refused = test_connection(&host).await;
    assert_eq!(refused["status"], "failed", "{refused}");
    assert!(refused.to_string().contains("repl") && !refused.to_string().contains("wrong-canary"), "{refused}");
    host.patch("/v1/endpoints/from", &json!({"port": 1})).await.ok();
    let unreachable = test_connection(&host).await;
    assert_eq!(unreachable["status"], "failed", "{unreachable}");
    assert!(unreachable["failure"]["code"] != refused["failure"]["code"], "{unreachable}");

    host.patch("/v1/endpoints/from", &json!({"port": server.port(), "password": "repl"})).await.ok();
    let reached = test_connection(&host).await;
    assert_ne!(reached["status"], "failed", "{reached}");
    let listing = host.get("/v1/endpoints/from/tables").await.ok();
    assert!(listing["schemas"].is_array(), "{listing}");
    assert!(!host.log().contains("wrong-canary"));
}

async fn test_connection(host: &Tidegate) -> Value {
    host.post("/v1/endpoints/from/test", &json!({})).await.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_task_shows_its_plan_and_obeys_new_bounds() {
    let data = tempfile::tempdir().unwrap();
    let (server, host) = postgres_pair(data.path()).await;
    create_task(&host, "shop", "full-load-and-cdc", json!([selection("public")])).await;
    start(&host, "shop", "start").await;
    wait_for_equal(&host, &server, ALL_ROWS).await;
    let capacity = async |what: &str, fine: &dyn Fn(&Value) -> bool| {
        wait_for(what, PATIENCE, async || {
            let lag = host.get("/v1/tasks/shop/lag").await.ok();
            if fine(&lag["capacity"]) { Ok(lag) } else { Err(format!("{lag:#}\n{}", host.log())) }
        })
        .await
    };
    capacity("a plan within the bounds", &|plan| plan["units_max"] == 4 && plan["units_wanted"].as_u64().is_some_and(|units| units <= 4))
        .await;

    let patched = host.patch("/v1/tasks/shop", &json!({"min_units": 2, "max_units": 9, "max_lag_seconds": 7})).await.ok();
    assert_eq!(patched["status"], "running", "the task goes on: {patched}");
    capacity("the plan to obey", &|plan| plan["units_max"] == 9 && plan["max_lag_seconds"] == 7.0 && plan["units_wanted"] == 2).await;

    server.sql_in("from", "insert into orders select i, 'burst', 1 from generate_series(100001, 130000) i").await;
    wait_for_equal(&host, &server, ALL_ROWS).await;
    let lag = capacity("the burst to be measured and gone", &|plan| {
        plan["unit_rows_per_second"].as_f64().is_some_and(|rows| rows > 0.0) && plan["changes_waiting"] == 0 && plan["bytes_waiting"] == 0
    })
    .await;
    let minute = &lag["capacity"]["last_minute"];
    let work = |part: &str| minute[part].as_f64().unwrap();
    assert!(["store", "assemble", "write", "commit"].iter().all(|part| work(part) > 0.0), "{minute:#}");
    // One lane cannot have more work than there is time.
    assert!(work("write") + work("commit") <= 1.05 && work("lanes") <= 1.05 * 9.0, "{minute:#}");
}
