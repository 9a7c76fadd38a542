//! A server of either dialect, as a source or a target of the faults.

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use serde_json::{Value, json};
use tidegate_harness::{Database, MysqlFlavour, MysqlServer, PostgresServer, PostgresVersion, wait_for};

use crate::rig::PATIENCE;

/// The servers that the faults are tried on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Postgres(PostgresVersion),
    Mysql(MysqlFlavour),
}

/// One that runs.
pub(crate) enum Server {
    Postgres(PostgresServer),
    Mysql(MysqlServer),
}

impl Server {
    pub(crate) async fn start(kind: Kind, options: &[&str]) -> Server {
        match kind {
            Kind::Postgres(version) => Server::Postgres(PostgresServer::start_with(version, options).await),
            Kind::Mysql(flavour) => Server::Mysql(MysqlServer::start_with(flavour, options).await),
        }
    }

    /// A fault that only PostgreSQL has.
    pub(crate) fn postgres(&self) -> &PostgresServer {
        match self {
            Server::Postgres(server) => server,
            Server::Mysql(server) => panic!("{:?} is no PostgreSQL server", server.flavour()),
        }
    }

    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self, Server::Postgres(_))
    }

    pub(crate) fn port(&self) -> u16 {
        match self {
            Server::Postgres(server) => server.port(),
            Server::Mysql(server) => server.port(),
        }
    }

    /// The schema, or database, where the tables of a source are.
    pub(crate) fn schema(&self) -> &'static str {
        match self {
            Server::Postgres(_) => "public",
            Server::Mysql(_) => "test",
        }
    }

    /// An endpoint whose name is its role, by the port of a proxy.
    pub(crate) fn endpoint(&self, role: &str, port: u16) -> Value {
        let mut endpoint = json!({"name": role, "role": role, "host": "127.0.0.1", "port": port, "tls": "disable"});
        let login = match self {
            Server::Postgres(_) => json!({"engine": "postgres", "username": "postgres", "password": "none", "database": "postgres"}),
            Server::Mysql(server) => {
                let engine = if server.flavour().is_mariadb() { "mariadb" } else { "mysql" };
                json!({"engine": engine, "username": "repl", "password": "repl"})
            }
        };
        endpoint.as_object_mut().expect("an object").extend(login.as_object().expect("an object").clone());
        endpoint
    }

    pub(crate) async fn sql(&self, statements: &str) {
        match self {
            Server::Postgres(server) => server.sql(statements).await,
            Server::Mysql(server) => server.sql(statements).await,
        }
    }

    pub(crate) async fn value(&self, query: &str) -> String {
        match self {
            Server::Postgres(server) => server.value(query).await,
            Server::Mysql(server) => server.value(query).await,
        }
    }

    /// The same for a query that the server may refuse.
    pub(crate) async fn try_value(&self, query: &str) -> Result<String, String> {
        let rows = match self {
            Server::Postgres(server) => server.try_rows(query).await,
            Server::Mysql(server) => server.try_rows(query).await,
        };
        Ok(rows?.into_iter().flatten().next().flatten().unwrap_or_default())
    }

    pub(crate) async fn rows(&self, query: &str) -> Vec<Vec<Option<String>>> {
        match self {
            Server::Postgres(server) => server.rows(query).await,
            Server::Mysql(server) => server.rows(query).await,
        }
    }

    pub(crate) async fn has_table(&self, schema: &str, table: &str) -> bool {
        let sql = format!("select count(*) from information_schema.tables where table_schema = '{schema}' and table_name = '{table}'");
        self.value(&sql).await != "0"
    }

    pub(crate) async fn kill(&mut self) {
        match self {
            Server::Postgres(server) => server.kill().await,
            Server::Mysql(server) => server.kill().await,
        }
    }

    pub(crate) async fn stop(&mut self) {
        match self {
            Server::Postgres(server) => server.stop().await,
            Server::Mysql(server) => server.stop().await,
        }
    }

    pub(crate) async fn restart(&mut self) {
        match self {
            Server::Postgres(server) => server.restart().await,
            Server::Mysql(server) => server.restart().await,
        }
    }

    pub(crate) fn log(&self) -> String {
        match self {
            Server::Postgres(server) => server.log(),
            Server::Mysql(server) => server.log(),
        }
    }

    pub(crate) fn data_dir(&self) -> std::path::PathBuf {
        match self {
            Server::Postgres(server) => server.data_dir(),
            Server::Mysql(server) => server.data_dir(),
        }
    }

    pub(crate) fn database(&self) -> Database<'_> {
        match self {
            Server::Postgres(server) => Database::Postgres(server),
            Server::Mysql(server) => Database::Mysql(server),
        }
    }

    /// A source of the rows `g` from one number to another, to select from.
    pub(crate) fn series(&self, first: u64, last: u64) -> String {
        match self {
            Server::Postgres(_) => format!("generate_series({first}, {last}) g"),
            Server::Mysql(server) if server.flavour().is_mariadb() => format!("(select seq as g from seq_{first}_to_{last}) as numbers"),
            Server::Mysql(_) => {
                format!(
                    "(with recursive r (g) as (select {first} union all select g + 1 from r where g < {last}) select g from r) as numbers"
                )
            }
        }
    }

    /// A session of its own.
    pub(crate) async fn session(&self) -> Session {
        match self {
            Server::Postgres(server) => Session::Postgres(server.client().await),
            Server::Mysql(server) => Session::Mysql(server.client().await),
        }
    }

    /// How to connect when the server is not borrowed.
    pub(crate) fn url(&self) -> String {
        match self {
            Server::Postgres(server) => server.url(),
            Server::Mysql(server) => server.url(),
        }
    }

    /// The name of an engine at the head of a position.
    pub(crate) fn position_kind(&self) -> &'static str {
        match self {
            Server::Postgres(_) => "postgres",
            Server::Mysql(server) if server.flavour().is_mariadb() => "mariadb",
            Server::Mysql(_) => "mysql",
        }
    }
}

/// What only MySQL and MariaDB have.
impl Server {
    /// The transactions that its log has had.
    pub(crate) async fn gtids(&self) -> String {
        let variable = if self.position_kind() == "mariadb" { "gtid_binlog_pos" } else { "gtid_executed" };
        self.value(&format!("select replace(@@global.{variable}, '\n', '')")).await
    }

    /// Leaves nothing of the log but its newest file. A file that a reader still has stays until the server knows that it is gone.
    pub(crate) async fn discard_log(&self) {
        self.sql("flush binary logs").await;
        wait_for("one file of the log", PATIENCE, async || {
            let files = self.rows("show binary logs").await;
            let newest = files.last().and_then(|file| file[0].clone()).expect("the server has a log");
            self.sql(&format!("purge binary logs to '{newest}'")).await;
            if files.len() == 1 { Ok(()) } else { Err(files) }
        })
        .await;
    }
}

/// A connection that runs statements.
pub(crate) enum Session {
    Postgres(tokio_postgres::Client),
    Mysql(Conn),
}

impl Session {
    /// Connects by [`Server::url`].
    pub(crate) async fn connect(url: &str) -> Result<Session, String> {
        if !url.starts_with("postgres") {
            return Conn::from_url(format!("{url}?prefer_socket=false")).await.map(Session::Mysql).map_err(|error| error.to_string());
        }
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.map_err(|error| format!("{error:?}"))?;
        tokio::spawn(connection);
        Ok(Session::Postgres(client))
    }

    /// Runs statements, separated by semicolons.
    pub(crate) async fn run(&mut self, statements: &str) -> Result<(), String> {
        match self {
            Session::Postgres(client) => client.batch_execute(statements).await.map_err(|error| format!("{error:?}")),
            Session::Mysql(conn) => conn.query_drop(statements).await.map_err(|error| error.to_string()),
        }
    }
}
