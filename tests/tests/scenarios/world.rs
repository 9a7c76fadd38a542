//! A scenario's world: a source, a target, the binary, and one task between them over HTTP.

use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_harness::{
    Comparison, Database, MysqlFlavour, MysqlServer, PostgresServer, PostgresVersion, Tidegate, Workload, WorkloadPlan, compare_databases,
    wait_for,
};

/// Generous for a debug build on a busy machine of two cores.
const PATIENCE: Duration = Duration::from_secs(180);

/// A seed that a failing test prints; `TIDEGATE_SEED` repeats it.
pub(crate) fn seed() -> u64 {
    let now = || std::time::UNIX_EPOCH.elapsed().expect("the clock is past 1970").as_micros() as u64;
    std::env::var("TIDEGATE_SEED").map_or_else(|_| now(), |text| text.parse().expect("TIDEGATE_SEED is a number"))
}

/// A source server; a target is one, too.
pub(crate) enum Source {
    Postgres(PostgresServer),
    Mysql(MysqlServer),
}

impl Source {
    /// A digest of the bytes in a column, the same at every server: MySQL 9.7 has no `md5`.
    pub(crate) fn digest(&self, column: &str) -> String {
        match self {
            Source::Postgres(_) => format!("encode(sha256({column}), 'hex')"),
            Source::Mysql(_) => format!("sha2({column}, 256)"),
        }
    }

    pub(crate) async fn postgres(version: PostgresVersion) -> Source {
        Source::Postgres(PostgresServer::start(version).await)
    }

    pub(crate) async fn mysql(flavour: MysqlFlavour) -> Source {
        Source::Mysql(MysqlServer::start(flavour).await)
    }

    /// The schema (or database) that scenarios use.
    pub(crate) fn schema(&self) -> &'static str {
        match self {
            Source::Postgres(_) => "public",
            Source::Mysql(_) => "test",
        }
    }

    pub(crate) fn port(&self) -> u16 {
        match self {
            Source::Postgres(server) => server.port(),
            Source::Mysql(server) => server.port(),
        }
    }

    pub(crate) async fn sql(&self, statements: &str) {
        match self {
            Source::Postgres(server) => server.sql(statements).await,
            Source::Mysql(server) => server.sql(statements).await,
        }
    }

    pub(crate) async fn value(&self, query: &str) -> String {
        match self {
            Source::Postgres(server) => server.value(query).await,
            Source::Mysql(server) => server.value(query).await,
        }
    }

    pub(crate) async fn rows(&self, query: &str) -> Vec<Vec<Option<String>>> {
        match self {
            Source::Postgres(server) => server.rows(query).await,
            Source::Mysql(server) => server.rows(query).await,
        }
    }

    pub(crate) async fn try_rows(&self, query: &str) -> Result<Vec<Vec<Option<String>>>, String> {
        match self {
            Source::Postgres(server) => server.try_rows(query).await,
            Source::Mysql(server) => server.try_rows(query).await,
        }
    }

    /// True when there is such a table.
    pub(crate) async fn has_table(&self, schema: &str, table: &str) -> bool {
        let sql = format!("select count(*) from information_schema.tables where table_schema = '{schema}' and table_name = '{table}'");
        self.value(&sql).await != "0"
    }

    /// `role` is the endpoint's name, too.
    fn endpoint(&self, role: &str) -> Value {
        self.endpoint_at(role, role, self.port())
    }

    /// The server by another port, where a proxy listens.
    pub(crate) fn endpoint_at(&self, name: &str, role: &str, port: u16) -> Value {
        match self {
            Source::Postgres(server) => json!({"name": name, "role": role, "engine": "postgres", "host": server.host(),
                "port": port, "username": "postgres", "password": "none", "database": "postgres", "tls": "disable"}),
            Source::Mysql(server) => json!({"name": name, "role": role, "engine": engine(server.flavour()), "host": server.host(),
                "port": port, "username": "repl", "password": "repl", "tls": "disable"}),
        }
    }

    pub(crate) fn database(&self) -> Database<'_> {
        match self {
            Source::Postgres(server) => Database::Postgres(server),
            Source::Mysql(server) => Database::Mysql(server),
        }
    }
}

fn engine(flavour: MysqlFlavour) -> &'static str {
    if flavour.is_mariadb() { "mariadb" } else { "mysql" }
}

/// See the module's documentation.
pub(crate) struct World {
    pub(crate) source: std::sync::Arc<Source>,
    pub(crate) target: std::sync::Arc<Source>,
    pub(crate) host: Tidegate,
    _data: TempDir,
}

impl World {
    /// Starts everything and creates the endpoints `source` and `target`.
    pub(crate) async fn start(source: Source, target: PostgresVersion) -> World {
        World::between(source, Source::postgres(target).await).await
    }

    /// The same with a target of any kind.
    pub(crate) async fn between(source: Source, target: Source) -> World {
        World::with(std::sync::Arc::new(source), std::sync::Arc::new(target)).await
    }

    /// The same with servers that other worlds use, too.
    pub(crate) async fn with(source: std::sync::Arc<Source>, target: std::sync::Arc<Source>) -> World {
        World::configured(source, target, "").await
    }

    /// The same with a configuration file.
    pub(crate) async fn configured(source: std::sync::Arc<Source>, target: std::sync::Arc<Source>, settings: &str) -> World {
        let data = tempfile::tempdir().expect("a temporary directory can be made");
        let config = data.path().join("tidegate.toml");
        std::fs::write(&config, settings).expect("the configuration can be written");
        let host = Tidegate::serve_with(&data.path().join("data"), &[("TIDEGATE_CONFIG", &config.to_string_lossy())]).await;
        host.post("/v1/endpoints", &source.endpoint("source")).await.ok();
        host.post("/v1/endpoints", &target.endpoint("target")).await.ok();
        World { source, target, host, _data: data }
    }

    /// Another host with a catalog of its own, between the same databases.
    pub(crate) async fn second_host(&self) -> World {
        World::with(self.source.clone(), self.target.clone()).await
    }

    pub(crate) async fn source_sql(&self, statements: &str) {
        self.source.sql(statements).await;
    }

    /// Creates a task over every table of the scenario's schema, which becomes the schema `copy` in the target.
    pub(crate) async fn create_task(&self, name: &str, migration: &str, preparation: &str, settings: Value) {
        self.create_task_with(name, migration, preparation, settings, Vec::new()).await;
    }

    /// The same with more rules.
    pub(crate) async fn create_task_with(&self, name: &str, migration: &str, preparation: &str, settings: Value, more: Vec<Value>) {
        let task = json!({"name": name, "source": "source", "target": "target", "migration_type": migration, "preparation": preparation,
            "table_mappings": self.mappings(more), "settings": settings});
        self.host.post("/v1/tasks", &task).await.ok();
    }

    /// Another endpoint for the target's server, by the port of a proxy.
    pub(crate) async fn create_target_endpoint(&self, name: &str, port: u16) {
        self.host.post("/v1/endpoints", &self.target.endpoint_at(name, "target", port)).await.ok();
    }

    /// Lets a task run on exactly so many units.
    pub(crate) async fn set_units(&self, name: &str, units: u32) {
        self.host.patch(&format!("/v1/tasks/{name}"), &json!({"min_units": units, "max_units": units})).await.ok();
    }

    /// Stops a task and waits until it has stopped.
    pub(crate) async fn stop_task(&self, name: &str) {
        self.host.post(&format!("/v1/tasks/{name}/stop"), &json!({})).await.ok();
        self.wait_stopped(name).await;
    }

    /// Table mappings that select every table of the scenario's schema, which becomes the schema `copy`, and more rules.
    pub(crate) fn mappings(&self, more: Vec<Value>) -> Value {
        let schema = self.source.schema();
        let mut rules = vec![
            json!({"rule-type": "selection", "rule-id": "1", "rule-name": "all", "rule-action": "include",
                "object-locator": {"schema-name": schema, "table-name": "%"}}),
            json!({"rule-type": "transformation", "rule-id": "2", "rule-name": "copy", "rule-target": "schema", "rule-action": "rename",
                "object-locator": {"schema-name": schema}, "value": "copy"}),
        ];
        rules.extend(more);
        json!({"rules": rules})
    }

    /// Names of the workload's tables.
    pub(crate) fn workload_tables(&self) -> Vec<String> {
        WorkloadPlan::table_pairs(self.source.schema(), "copy").iter().map(|pair| pair.source_table().to_owned()).collect()
    }

    pub(crate) async fn start_task(&self, name: &str) {
        self.host.post(&format!("/v1/tasks/{name}/start"), &json!({})).await.ok();
    }

    pub(crate) async fn task(&self, name: &str) -> Value {
        self.host.get(&format!("/v1/tasks/{name}")).await.ok()
    }

    /// Waits for a phase of the running task; panics when the task fails.
    pub(crate) async fn wait_phase(&self, name: &str, phase: &str) {
        wait_for(&format!("task {name} to be {phase}"), PATIENCE, async || {
            let task = self.task(name).await;
            assert_ne!(task["status"], "failed", "{}\n{}", task["failure"], self.host.log());
            if task["phase"] == phase { Ok(()) } else { Err(task["status"].clone()) }
        })
        .await;
    }

    /// Waits until the task fails and returns its failure.
    pub(crate) async fn wait_failed(&self, name: &str) -> Value {
        wait_for(&format!("task {name} to fail"), PATIENCE, async || {
            let task = self.task(name).await;
            if task["status"] == "failed" { Ok(task["failure"].clone()) } else { Err(task["status"].clone()) }
        })
        .await
    }

    /// Waits until the task has stopped by itself.
    pub(crate) async fn wait_stopped(&self, name: &str) {
        wait_for(&format!("task {name} to stop"), PATIENCE, async || {
            let task = self.task(name).await;
            assert_ne!(task["status"], "failed", "{}\n{}", task["failure"], self.host.log());
            if task["status"] == "stopped" { Ok(()) } else { Err(task["status"].clone()) }
        })
        .await;
    }

    /// Kills the host with SIGKILL and starts it again on the same data directory.
    pub(crate) async fn kill_and_restart(&mut self) {
        self.host.kill().await;
        self.host.restart().await;
    }

    /// Tables of the seeded workload with their first rows, and the marker table of [`World::wait_level`].
    pub(crate) async fn prepare_workload(&self, seed: u64, rows: u64) {
        self.plan(seed, rows).prepare(&self.source.database()).await;
        self.source.sql("create table marker (id integer primary key)").await;
    }

    /// Runs writers until stopped.
    pub(crate) async fn run_workload(&self, seed: u64, writers: usize) -> Workload {
        self.plan(seed, 0).start(&self.source.database(), writers).await
    }

    fn plan(&self, seed: u64, rows: u64) -> WorkloadPlan {
        WorkloadPlan::new(seed, rows)
    }

    /// Waits until everything that was committed at the source before this call is in the target. The marker row must
    /// come by the log: one that a load brought says nothing about the changes behind it.
    pub(crate) async fn wait_level(&self, task: &str) {
        self.wait_phase(task, "replicating").await;
        let marker = self.source.value("select coalesce(max(id), 0) + 1 from marker").await;
        self.source.sql(&format!("insert into marker values ({marker})")).await;
        wait_for("the marker row", PATIENCE, async || {
            let state = self.task(task).await;
            assert_ne!(state["status"], "failed", "{}\n{}", state["failure"], self.host.log());
            if !self.target.has_table("copy", "marker").await {
                return Err(state["phase"].clone());
            }
            let found = self.target.value(&format!("select count(*) from copy.marker where id = {marker}")).await;
            if found == "1" { Ok(()) } else { Err(state["phase"].clone()) }
        })
        .await;
    }

    /// Waits until a target table of the schema `copy` has so many rows.
    pub(crate) async fn wait_target_count(&self, table: &str, wanted: u64) {
        wait_for(&format!("{wanted} rows in {table}"), PATIENCE * 2, async || {
            let found = self.target.value(&format!("select count(*) from copy.{table}")).await;
            if found == wanted.to_string() { Ok(()) } else { Err(found) }
        })
        .await;
    }

    /// One row of the target as text.
    pub(crate) async fn target_row(&self, query: &str) -> Vec<String> {
        let client = self.target_client().await;
        client.batch_execute("set search_path = copy").await.expect("the schema exists");
        let rows = client.simple_query(query).await.expect("the query runs");
        rows.iter()
            .find_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => {
                    Some((0..row.len()).map(|index| row.get(index).unwrap_or("NULL").to_owned()).collect())
                }
                _ => None,
            })
            .expect("the query returns a row")
    }

    pub(crate) async fn target_client(&self) -> tokio_postgres::Client {
        match &*self.target {
            Source::Postgres(server) => server.client().await,
            Source::Mysql(server) => panic!("{:?} is no PostgreSQL server", server.flavour()),
        }
    }

    pub(crate) fn peak_rss_bytes(&self) -> u64 {
        self.host.peak_rss_bytes()
    }

    /// The sum that every state of the source has.
    pub(crate) async fn source_sum(&self) -> i64 {
        let sum = self.source.value(&WorkloadPlan::sum_query(self.source.schema())).await;
        sum.parse().expect("the sum is a whole number")
    }

    /// The same question to the target.
    pub(crate) fn target_sum_query(&self) -> String {
        WorkloadPlan::sum_query("copy")
    }

    /// Compares every table of the workload, row by row.
    pub(crate) async fn compare(&self) -> Comparison {
        let pairs = WorkloadPlan::table_pairs(self.source.schema(), "copy");
        compare_databases(&self.source.database(), &self.target.database(), &pairs).await
    }
}
