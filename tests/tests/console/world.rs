//! A PostgreSQL server with a source and a target database, a Tidegate, and what the tests ask of both.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_harness::{Browser, PostgresServer, PostgresVersion, Tidegate};

/// How long a step may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// A table whose name is a program where it is taken for markup.
pub(crate) const HOSTILE: &str = "<script>alert(1)</script><img src=x onerror=alert(2)>";

/// As long as PostgreSQL's names get.
pub(crate) const LONG: &str = "a_name_as_long_as_names_get_in_postgresql_which_is_63_characters";

pub(crate) const ORDERS: i64 = 30_000;

pub(crate) struct World {
    pub(crate) server: PostgresServer,
    pub(crate) host: Tidegate,
}

impl World {
    /// A task `shop` that was not started yet, and a task `lost` whose schema does not exist.
    pub(crate) async fn start() -> World {
        let server = PostgresServer::start(PostgresVersion::V17).await;
        server.sql("create database shop").await;
        server.sql("create database copy").await;
        server
            .sql_in(
                "shop",
                &format!(
                    "create table orders (id int primary key, text text);
                     insert into orders select i, repeat('x', 50) from generate_series(1, {ORDERS}) i;
                     create table picky (id int primary key);
                     insert into picky select generate_series(1, 20);
                     create table \"{HOSTILE}\" (id int primary key);
                     create table {} (id int primary key)",
                    &LONG[..63]
                ),
            )
            .await;
        // The target refuses one row for the row alone.
        server.sql_in("copy", "create table picky (id int primary key check (id <> 13))").await;
        let host = Tidegate::serve_in_own_dir().await;
        for (name, role) in [("shop", "source"), ("copy", "target")] {
            endpoint(&host, name, role, server.port()).await;
        }
        let loud = json!({"rule-type": "transformation", "rule-id": "2", "rule-name": "loud", "rule-target": "column",
                          "object-locator": {"schema-name": "public", "table-name": "orders"}, "rule-action": "add-column",
                          "value": "loud", "expression": "upper($text)", "data-type": {"type": "string", "length": 60}});
        task(&host, "shop", &[selection("public"), loud]).await;
        task(&host, "lost", &[selection("no_such_schema")]).await;
        World { server, host }
    }

    /// Rows of a table in the source and in the target.
    pub(crate) async fn counts(&self, table: &str) -> (i64, i64) {
        let count = async |database: &str| -> i64 {
            let client = self.server.client_for(database).await;
            client.query_one(&format!("select count(*) from {table}"), &[]).await.unwrap().get(0)
        };
        (count("shop").await, count("copy").await)
    }
}

pub(crate) async fn endpoint(host: &Tidegate, name: &str, role: &str, port: u16) {
    let body = json!({"name": name, "role": role, "engine": "postgres", "host": "127.0.0.1", "port": port, "username": "postgres",
                      "password": "", "database": name, "tls": {"mode": "disable"}});
    host.post("/v1/endpoints", &body).await.ok();
}

pub(crate) fn selection(schema: &str) -> Value {
    json!({"rule-type": "selection", "rule-id": "1", "rule-name": "all", "rule-action": "include",
           "object-locator": {"schema-name": schema, "table-name": "%"}})
}

pub(crate) async fn task(host: &Tidegate, name: &str, rules: &[Value]) {
    let body = json!({"name": name, "source": "shop", "target": "copy", "migration_type": "full-load-and-cdc",
                      "table_mappings": {"rules": rules}, "settings": {"chunk_rows": 5000, "row_errors": {"data": "log"}},
                      "tags": {"team": "<b>shop</b>"}});
    host.post("/v1/tasks", &body).await.ok();
}

/// A button of the page by its words, as an expression.
pub(crate) fn button(words: &str) -> String {
    format!(
        "[...document.querySelectorAll('button')].find((node) => node.checkVisibility() && node.textContent.startsWith({}))",
        json!(words)
    )
}

/// Puts the focus on a button and presses Enter, as somebody without a mouse does.
pub(crate) async fn press_button(browser: &Browser, words: &str) {
    let found = button(words);
    browser
        .wait_until(&format!("the button \"{words}\""), PATIENCE, &format!("{found} && !{found}.disabled"), "document.body.innerText")
        .await;
    browser.evaluate(&format!("{found}.focus(); 0")).await;
    browser.press("Enter").await;
}

/// Waits until the page's main part says something.
pub(crate) async fn wait_text(browser: &Browser, text: &str) {
    let condition = format!("document.getElementById('main').innerText.includes({})", json!(text));
    browser.wait_until(&format!("the page to say \"{text}\""), PATIENCE, &condition, "document.body.innerText").await;
}

/// Waits until the task's badge says something.
pub(crate) async fn wait_state(browser: &Browser, words: &str) {
    let condition = format!("document.querySelector('.title .badge')?.textContent.includes({})", json!(words));
    browser.wait_until(&format!("the task to be {words}"), PATIENCE, &condition, "document.body.innerText").await;
}
