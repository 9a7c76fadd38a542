//! One server of each kind, each a source and a target, and one host with the tasks between them.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use serde_json::{Value, json};
use tidegate_harness::process::Answer;
use tidegate_harness::{Database, MysqlFlavour, MysqlServer, PostgresServer, PostgresVersion, Tidegate};
use tokio::sync::RwLock;

use super::kinds::{Engine, Reach};

pub(super) struct Rig {
    postgres: PostgresServer,
    mysql: MysqlServer,
    mariadb: MysqlServer,
    /// Requests share it; who kills it has it alone until it is up again.
    host: RwLock<Tidegate>,
}

impl Rig {
    pub(super) async fn start() -> Rig {
        let (postgres, mysql, mariadb, host) = tokio::join!(
            // Transactions that the log tells before their end, as large ones are.
            PostgresServer::start_with(PostgresVersion::V17, &["logical_decoding_work_mem=64kB"]),
            MysqlServer::start(MysqlFlavour::Mysql97),
            MysqlServer::start(MysqlFlavour::Mariadb118),
            Tidegate::serve_in_own_dir(),
        );
        let rig = Rig { postgres, mysql, mariadb, host: RwLock::new(host) };
        for engine in Engine::ALL {
            for role in ["source", "target"] {
                rig.post("/v1/endpoints", &rig.endpoint(engine, role)).await.ok();
            }
        }
        rig
    }

    fn endpoint(&self, engine: Engine, role: &str) -> Value {
        let mut endpoint = json!({"name": format!("{}-{role}", engine.name()), "role": role, "engine": engine.name(), "host": "127.0.0.1",
            "username": "repl", "password": "repl", "tls": "disable"});
        match engine {
            Engine::Postgres => {
                endpoint["port"] = json!(self.postgres.port());
                endpoint["username"] = json!("postgres");
                endpoint["database"] = json!("postgres");
            }
            Engine::Mysql => endpoint["port"] = json!(self.mysql.port()),
            Engine::Mariadb => endpoint["port"] = json!(self.mariadb.port()),
        }
        endpoint
    }

    pub(super) fn database(&self, engine: Engine) -> Database<'_> {
        match engine {
            Engine::Postgres => Database::Postgres(&self.postgres),
            Engine::Mysql => Database::Mysql(&self.mysql),
            Engine::Mariadb => Database::Mysql(&self.mariadb),
        }
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.host.read().await.post(path, body).await
    }

    pub(super) async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.host.read().await.patch(path, body).await
    }

    /// Ends the host with SIGKILL and starts it again.
    pub(super) async fn kill_host(&self) {
        self.host.write().await.restart().await;
    }

    pub(super) async fn log(&self) -> String {
        self.host.read().await.log()
    }

    pub(super) async fn sql(&self, engine: Engine, statements: &str) {
        match self.database(engine) {
            Database::Postgres(server) => server.sql(statements).await,
            Database::Mysql(server) => server.sql(statements).await,
        }
    }

    pub(super) async fn try_rows(&self, engine: Engine, query: &str) -> Result<Vec<Vec<Option<String>>>, String> {
        match self.database(engine) {
            Database::Postgres(server) => server.try_rows(query).await,
            Database::Mysql(server) => server.try_rows(query).await,
        }
    }

    /// Names of a table's columns in their order; none without the table.
    pub(super) async fn columns(&self, engine: Engine, schema: &str, table: &str) -> Vec<String> {
        let text = |text: &str| text.replace('\'', "''");
        let query = format!(
            "select column_name from information_schema.columns where table_schema = '{}' and table_name = '{}' order by ordinal_position",
            text(schema),
            text(table)
        );
        let rows = self.try_rows(engine, &query).await.unwrap_or_else(|error| panic!("{query}\n{error}"));
        rows.into_iter().flatten().flatten().collect()
    }

    /// Creates a task over the tables of a source's schema that go to a target.
    pub(super) async fn create_task(&self, pair: &Pair, settings: Value) {
        let mut rules: Vec<Value> = Vec::new();
        for prefix in Reach::prefixes_to(pair.target) {
            let id = (rules.len() + 1).to_string();
            rules.push(json!({"rule-type": "selection", "rule-id": id, "rule-name": id, "rule-action": "include",
                "object-locator": {"schema-name": pair.schema, "table-name": format!("{prefix}%")}}));
        }
        rules.push(
            json!({"rule-type": "transformation", "rule-id": "99", "rule-name": "99", "rule-target": "schema", "rule-action": "rename",
            "object-locator": {"schema-name": pair.schema}, "value": pair.copy}),
        );
        let task = json!({"name": pair.task, "source": format!("{}-source", pair.source.name()), "target": format!("{}-target", pair.target.name()),
            "migration_type": "full-load-and-cdc", "preparation": "drop-and-create", "table_mappings": {"rules": rules}, "settings": settings});
        self.post("/v1/tasks", &task).await.ok();
    }

    pub(super) async fn task(&self, pair: &Pair) -> Value {
        self.host.read().await.get(&format!("/v1/tasks/{}", pair.task)).await.ok()
    }

    /// Ends a task and removes what is left of it in both databases.
    pub(super) async fn remove(&self, pair: &Pair) {
        let path = format!("/v1/tasks/{}", pair.task);
        self.post(&format!("{path}/stop"), &json!({})).await.ok();
        let stopped = async || {
            let task = self.task(pair).await;
            if task["status"] == "stopped" || task["status"] == "failed" { Ok(()) } else { Err(task["status"].clone()) }
        };
        tidegate_harness::wait_for(&format!("task {} to stop", pair.task), Duration::from_secs(180), stopped).await;
        let deleted = self.host.read().await.delete(&path).await;
        // 202 would say that it is not gone yet, and the next round has a task of this name.
        assert_eq!(deleted.status, 204, "{}: {}", pair.task, deleted.body);
        self.drop_schema(pair.target, &pair.copy).await;
    }

    pub(super) async fn drop_schema(&self, engine: Engine, schema: &str) {
        let cascade = if engine.is_postgres() { " cascade" } else { "" };
        self.sql(engine, &format!("drop schema if exists {schema}{cascade}")).await;
    }

    /// A connection to a source in a round's schema, which does not wait long for the other one's locks.
    pub(super) async fn session(&self, engine: Engine, schema: &str) -> Session {
        let mut session = match self.database(engine) {
            Database::Postgres(server) => Session::Postgres(server.client().await),
            Database::Mysql(server) => Session::Mysql(server.client().await),
        };
        let begin = match engine {
            Engine::Postgres => format!("set search_path = {schema}; set timezone = 'UTC'; set lock_timeout = '3s'"),
            // Without a mode, so that what does not fit is cut by the source itself.
            Engine::Mysql | Engine::Mariadb => format!(
                "use {schema}; set sql_mode = ''; set time_zone = '+00:00'; set names utf8mb4; set lock_wait_timeout = 3;
                 set innodb_lock_wait_timeout = 3"
            ),
        };
        session.run(&begin).await.unwrap_or_else(|error| panic!("{begin}\n{error}"));
        session
    }
}

/// A source with a target, in one round.
pub(super) struct Pair {
    pub(super) source: Engine,
    pub(super) target: Engine,
    pub(super) task: String,
    /// The schema (or database) at the source.
    pub(super) schema: String,
    /// Its copy's name in the target.
    pub(super) copy: String,
}

impl Pair {
    pub(super) fn new(source: Engine, target: Engine, schema: &str) -> Pair {
        let (from, to) = (source.name(), target.name());
        Pair { source, target, task: format!("{from}-{to}"), schema: schema.to_owned(), copy: format!("{schema}_of_{from}") }
    }
}

/// A connection that runs strings of statements.
pub(super) enum Session {
    Postgres(tokio_postgres::Client),
    Mysql(mysql_async::Conn),
}

impl Session {
    pub(super) async fn run(&mut self, statements: &str) -> Result<(), String> {
        match self {
            Session::Postgres(client) => client
                .batch_execute(statements)
                .await
                .map_err(|error| error.as_db_error().map_or_else(|| format!("{error:?}"), ToString::to_string)),
            Session::Mysql(client) => client.query_drop(statements).await.map_err(|error| error.to_string()),
        }
    }
}
