//! A target on a private server, for the facts that all targets share and for those of MySQL and MariaDB alone.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tidegate_connector::conformance::{self, at, task};
use tidegate_connector::{ConnectorError, Dialect, Lane, Secret, ServerSettings, TablePreparation, Target, TargetTable, TlsMode};
use tidegate_harness::{MysqlFlavour, MysqlServer};
use tidegate_model::{Engine, Fence, TableName};
use tidegate_mysql::target::MysqlTarget;

/// A private server, a target on it, and a task that was taken over at position 0.
pub(crate) struct Bench {
    pub(crate) target: MysqlTarget,
    pub(crate) fence: Fence,
    pub(crate) server: MysqlServer,
}

impl Bench {
    pub(crate) async fn start(flavour: MysqlFlavour, options: &[&str]) -> Bench {
        let server = MysqlServer::start_with(flavour, options).await;
        let target = MysqlTarget::connect(settings(&server)).await.expect("the target connects");
        let fence = target.take_over(&task()).await.expect("nobody else has the task").fence;
        target.begin_task(&fence, &at(0), "source", &[]).await.expect("the fence holds");
        Bench { target, fence, server }
    }

    /// Takes the task over again after a fact that gave it to another worker.
    pub(crate) async fn renew(&mut self) {
        self.fence = self.target.take_over(&task()).await.expect("the target takes the task over").fence;
        self.target.begin_task(&self.fence, &at(0), "source", &[]).await.expect("the fence holds");
    }

    pub(crate) async fn lane(&self) -> Box<dyn Lane> {
        self.target.begin_task(&self.fence, &at(0), "source", &[]).await.expect("the fence holds");
        self.target.lane(&self.fence).await.expect("the lane connects")
    }

    pub(crate) async fn prepare(&self, table: &Arc<TargetTable>) -> Result<(), ConnectorError> {
        self.target.prepare_table(&self.fence, table, TablePreparation::Keep).await
    }
}

pub(crate) fn settings(server: &MysqlServer) -> ServerSettings {
    ServerSettings {
        engine: if server.flavour().is_mariadb() { Engine::Mariadb } else { Engine::Mysql },
        host: server.host().to_owned(),
        port: server.port(),
        user: "repl".into(),
        password: Secret::new("repl"),
        database: None,
        tls: TlsMode::Disable,
    }
}

#[async_trait]
impl conformance::Bench for Bench {
    fn target(&self) -> &dyn Target {
        &self.target
    }

    fn fence(&self) -> &Fence {
        &self.fence
    }

    async fn rows(&self, table: &str, columns: &[&str]) -> Vec<String> {
        let query = format!("select {} from {}", columns.join(", "), conformance::Bench::name(self, table));
        let mut rows: Vec<String> = self
            .server
            .rows(&query)
            .await
            .into_iter()
            .map(|row| row.into_iter().map(|cell| cell.unwrap_or_else(|| "NULL".into())).collect::<Vec<_>>().join(","))
            .collect();
        rows.sort();
        rows
    }

    async fn run(&self, sql: &str) {
        self.server.sql(sql).await;
    }

    fn name(&self, table: &str) -> String {
        Dialect::MYSQL.table(&TableName::new("app", table))
    }

    async fn raise_generation(&self) {
        self.server.sql("set session innodb_lock_wait_timeout = 5; update tidegate.fence set generation = generation + 1").await;
    }

    async fn end_lanes(&self) {
        let mut admin: Conn = self.server.client().await;
        let others = "select id from information_schema.processlist where id <> connection_id() and user = 'repl'";
        let ended = async {
            loop {
                let ids: Vec<u64> = admin.query(others).await.expect("the query runs");
                if ids.is_empty() {
                    return;
                }
                for id in ids {
                    // It may be gone by now.
                    let _ = admin.query_drop(format!("kill {id}")).await;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), ended).await.expect("sessions that are killed end");
    }
}
