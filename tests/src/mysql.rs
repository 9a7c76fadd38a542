//! Private MySQL and MariaDB servers.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder, Row, Value};

use crate::binaries::{mysql_prefix, running_as_root};
use crate::instance::{Instance, Signal};
use crate::keyring::Keyring;
use crate::lease::Lease;
use crate::template::{copy, run, template};

/// How long a start or a stop may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Run once, when a template is made.
const FIRST_STATEMENTS: &str = "create user if not exists repl@'%' identified by 'repl';
grant all on *.* to repl@'%' with grant option;
create database if not exists test;
";

/// The servers that are tested against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MysqlFlavour {
    /// MariaDB 10.11.
    Mariadb1011,
    /// MariaDB 11.8.
    Mariadb118,
    /// MySQL 9.7.
    Mysql97,
}

impl MysqlFlavour {
    /// The name of its directory below the server cache.
    fn directory(self) -> &'static str {
        match self {
            MysqlFlavour::Mariadb1011 => "mariadb-10.11",
            MysqlFlavour::Mariadb118 => "mariadb-11.8",
            MysqlFlavour::Mysql97 => "mysql-9.7",
        }
    }

    /// How its version begins.
    fn version(self) -> &'static str {
        match self {
            MysqlFlavour::Mariadb1011 => "10.11.",
            MysqlFlavour::Mariadb118 => "11.8.",
            MysqlFlavour::Mysql97 => "9.7.",
        }
    }

    /// True for MariaDB.
    pub fn is_mariadb(self) -> bool {
        match self {
            MysqlFlavour::Mariadb1011 | MysqlFlavour::Mariadb118 => true,
            MysqlFlavour::Mysql97 => false,
        }
    }

    fn server(self) -> &'static str {
        if self.is_mariadb() { "mariadbd" } else { "mysqld" }
    }
}

/// A running server, ready for replication: user and password `repl` with all privileges, database `test`. Row binlog
/// with full images and metadata, GTIDs.
#[derive(Debug)]
pub struct MysqlServer {
    instance: Instance,
    lease: Lease,
    flavour: MysqlFlavour,
    options: Vec<String>,
    keyring: Option<Keyring>,
}

impl MysqlServer {
    /// Starts a server with the usual options.
    pub async fn start(flavour: MysqlFlavour) -> MysqlServer {
        Self::start_with(flavour, &[]).await
    }

    /// Starts a server with options of its own, each `--name=value`. They come last and win.
    pub async fn start_with(flavour: MysqlFlavour, options: &[&str]) -> MysqlServer {
        Self::start_on(flavour, options, |_| None).await
    }

    /// The same with a keyring, which MySQL needs for whatever it is told to encrypt; MariaDB has none.
    pub async fn start_with_keyring(flavour: MysqlFlavour, options: &[&str]) -> MysqlServer {
        let plugins = plugin_dir(&mysql_prefix(flavour.directory(), flavour.server(), flavour.version()));
        Self::start_on(flavour, options, |dir| Some(Keyring::new(dir.join("keyring"), &plugins))).await
    }

    async fn start_on(flavour: MysqlFlavour, options: &[&str], keyring: impl Fn(&Path) -> Option<Keyring>) -> MysqlServer {
        let prefix = mysql_prefix(flavour.directory(), flavour.server(), flavour.version());
        let program = prefix.join("usr/sbin").join(flavour.server());
        let ready = template(flavour.directory(), &program, |draft| create(flavour, draft)).await;
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        for attempt in 1.. {
            let instance = Instance::new(flavour.directory());
            copy(&ready.join("data"), &instance.dir().join("data"));
            let lease = Lease::take().await;
            let keyring = keyring(instance.dir());
            let mut server = MysqlServer { instance, lease, flavour, options: options.clone(), keyring };
            match server.launch().await {
                Ok(()) => return server,
                Err(log) if log.contains("Address already in use") && attempt < 5 => {}
                Err(log) => panic!("{flavour:?} did not start:\n{log}"),
            }
        }
        unreachable!("the loop returns or panics")
    }

    /// Always `127.0.0.1`.
    pub fn host(&self) -> &str {
        "127.0.0.1"
    }

    /// The server's port; it stays the same over restarts.
    pub fn port(&self) -> u16 {
        self.lease.port
    }

    /// What kind of server it is.
    pub fn flavour(&self) -> MysqlFlavour {
        self.flavour
    }

    /// Connection URL of the database `test`.
    pub fn url(&self) -> String {
        format!("mysql://repl:repl@127.0.0.1:{}/test", self.lease.port)
    }

    /// A connection to the database `test`.
    pub async fn client(&self) -> Conn {
        let mut tried = self.connect().await;
        // A machine that is busy drops connections that it has no time for.
        for _ in 0..3 {
            if tried.is_err() {
                tokio::time::sleep(Duration::from_millis(300)).await;
                tried = self.connect().await;
            }
        }
        tried.unwrap_or_else(|error| panic!("connect: {error}\n{}", self.instance.log_tail()))
    }

    /// Runs statements, separated by semicolons, on a connection of their own; panics when one fails.
    pub async fn sql(&self, statements: &str) {
        let mut client = self.client().await;
        let result = client.query_iter(statements).await;
        let mut result = result.unwrap_or_else(|error| panic!("{statements}\n{error}"));
        // Every statement's result has to be read for the next one to run.
        while !result.is_empty() {
            result.collect::<Row>().await.unwrap_or_else(|error| panic!("{statements}\n{error}"));
        }
        drop(result);
        client.disconnect().await.unwrap_or_else(|error| panic!("disconnect: {error}"));
    }

    /// Rows of a query, every value as the server's own text; bytes that are not UTF-8 are replaced.
    pub async fn rows(&self, query: &str) -> Vec<Vec<Option<String>>> {
        self.try_rows(query).await.unwrap_or_else(|error| panic!("{query}\n{error}"))
    }

    /// The same for a query that the server may refuse, with what it says then.
    pub async fn try_rows(&self, query: &str) -> Result<Vec<Vec<Option<String>>>, String> {
        let rows: Vec<Row> = self.client().await.query(query).await.map_err(|error| error.to_string())?;
        Ok(rows.into_iter().map(|row| row.unwrap().into_iter().map(text).collect()).collect())
    }

    /// The first value of a query's first row; panics when there is none.
    pub async fn value(&self, query: &str) -> String {
        let rows = self.rows(query).await;
        rows.first().and_then(|row| row.first()?.clone()).unwrap_or_else(|| panic!("no value from: {query}"))
    }

    /// Ends the server with SIGKILL, as a crash would.
    pub async fn kill(&mut self) {
        self.instance.kill();
    }

    /// Shuts down in order.
    pub async fn stop(&mut self) {
        self.instance.signal(Signal::Term);
        self.instance.ended(PATIENCE).await;
    }

    /// Starts again, after a stop if it is running. Same data, same port.
    pub async fn restart(&mut self) {
        if self.instance.running() {
            self.stop().await;
        } else {
            self.instance.kill();
        }
        if let Err(log) = self.launch().await {
            panic!("{:?} did not start again:\n{log}", self.flavour);
        }
    }

    /// What the server wrote to its log.
    pub fn log(&self) -> String {
        self.instance.log()
    }

    /// The server's data directory; the binlogs are `binlog.*` in it.
    pub fn data_dir(&self) -> PathBuf {
        self.instance.dir().join("data")
    }

    async fn launch(&mut self) -> Result<(), String> {
        let data = self.data_dir();
        let mut command = server(self.flavour, &data);
        let (dir, port) = (self.instance.dir(), self.port());
        command.args([
            format!("--port={port}"),
            // Unique among the servers that run at the same time, as the port is.
            format!("--server-id={port}"),
            format!("--socket={}", dir.join("sock").display()),
            format!("--pid-file={}", dir.join("server.pid").display()),
            format!("--log-bin={}", data.join("binlog").display()),
        ]);
        command.args(["--bind-address=127.0.0.1", "--binlog-row-image=FULL", "--binlog-row-metadata=FULL"]);
        // What the server wrote stays in the operating system when the server is killed, so nothing needs an fsync.
        command.args(["--innodb-flush-log-at-trx-commit=2", "--sync-binlog=0"]);
        if self.flavour.is_mariadb() {
            command.args(["--gtid-strict-mode=ON", "--binlog-format=ROW"]);
        } else {
            command.args(["--gtid-mode=ON", "--enforce-gtid-consistency=ON"]);
        }
        command.args(&self.options);
        if let Some(keyring) = &self.keyring {
            keyring.give(&mut command);
        }
        self.instance.spawn(command);
        let since = Instant::now();
        while self.instance.running() && since.elapsed() < PATIENCE {
            if self.connect().await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        Err(self.instance.log_tail())
    }

    async fn connect(&self) -> Result<Conn, mysql_async::Error> {
        let options = OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(self.port()).prefer_socket(false);
        Conn::new(options.user(Some("repl")).pass(Some("repl")).db_name(Some("test"))).await
    }
}

/// The server's program with what it needs wherever it is installed, and small sizes.
fn server(flavour: MysqlFlavour, data: &Path) -> Command {
    let prefix = mysql_prefix(flavour.directory(), flavour.server(), flavour.version());
    let usr = prefix.join("usr");
    let mut command = Command::new(usr.join("sbin").join(flavour.server()));
    // A server that starts deletes what it takes for leftovers in there, which would be the temporary tables of others. It may run as another user.
    let temporary = data.with_file_name("tmp");
    std::fs::create_dir_all(&temporary).expect("a directory can be made beside the data");
    std::fs::set_permissions(&temporary, Permissions::from_mode(0o777)).expect("its permissions can be set");
    command.args([
        "--no-defaults".to_owned(),
        format!("--basedir={}", usr.display()),
        format!("--lc-messages-dir={}", share_dir(flavour, &usr).display()),
        format!("--datadir={}", data.display()),
        format!("--tmpdir={}", temporary.display()),
    ]);
    command.args(["--innodb-buffer-pool-size=64M", "--character-set-server=utf8mb4"]);
    if flavour.is_mariadb() {
        command.arg("--innodb-log-file-size=32M");
    } else {
        command.args(["--innodb-redo-log-capacity=64M", "--mysqlx=OFF", "--secure-file-priv=", "--log-error-verbosity=2"]);
        // A third of the CPU time of a start. MariaDB is without it unless told otherwise.
        command.arg("--performance-schema=OFF");
    }
    if prefix != Path::new("/") {
        command.arg(format!("--plugin-dir={}", plugin_dir(&prefix).display()));
    }
    if running_as_root() {
        command.arg("--user=root");
    }
    command
}

fn plugin_dir(prefix: &Path) -> PathBuf {
    prefix.join("usr/lib/mysql/plugin")
}

/// Messages, character sets and the system tables' statements.
fn share_dir(flavour: MysqlFlavour, usr: &Path) -> PathBuf {
    let mariadb = usr.join("share/mariadb");
    if flavour.is_mariadb() && mariadb.exists() { mariadb } else { usr.join("share/mysql") }
}

async fn create(flavour: MysqlFlavour, draft: PathBuf) {
    let data = draft.join("data");
    if flavour.is_mariadb() {
        bootstrap_mariadb(flavour, &draft, &data);
    } else {
        run(server(flavour, &data).args(["--initialize-insecure", "--skip-log-bin"]));
    }
    // Without binlog, so that a copy begins with an empty one.
    let statements = draft.join("first.sql");
    std::fs::write(&statements, FIRST_STATEMENTS).expect("the template's directory is writable");
    let options = vec!["--skip-log-bin".to_owned(), format!("--init-file={}", statements.display())];
    let instance = Instance::new(flavour.directory());
    copy(&data, &instance.dir().join("data"));
    std::fs::remove_dir_all(&data).expect("the template's directory is writable");
    let mut first = MysqlServer { instance, lease: Lease::take().await, flavour, options, keyring: None };
    if let Err(log) = first.launch().await {
        panic!("{flavour:?} did not start for the first time:\n{log}");
    }
    first.stop().await;
    copy(&first.data_dir(), &data);
    // A copy shall be a server of its own: it makes a new UUID when it finds none.
    let _ = std::fs::remove_file(data.join("auto.cnf"));
}

/// What `mariadb-install-db` does, without the programs that it looks for.
fn bootstrap_mariadb(flavour: MysqlFlavour, draft: &Path, data: &Path) {
    let prefix = mysql_prefix(flavour.directory(), flavour.server(), flavour.version());
    let share = share_dir(flavour, &prefix.join("usr"));
    // The files' names changed from mysql_* to mariadb_* in 11.0; the system's directory holds either.
    let name = if share.join("mariadb_system_tables.sql").exists() { "mariadb" } else { "mysql" };
    let files = [
        format!("{name}_system_tables.sql"),
        format!("{name}_performance_tables.sql"),
        format!("{name}_system_tables_data.sql"),
        "fill_help_tables.sql".to_owned(),
        "maria_add_gis_sp_bootstrap.sql".to_owned(),
        format!("{name}_sys_schema.sql"),
    ];
    let mut statements = "create database if not exists mysql;\nuse mysql;\nset @auth_root_socket=NULL;\n".to_owned();
    for file in files {
        let path = share.join(file);
        statements += &std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()));
    }
    let input = draft.join("bootstrap.sql");
    std::fs::write(&input, statements).expect("the template's directory is writable");
    std::fs::create_dir_all(data.join("mysql")).expect("the template's directory is writable");
    let input = std::fs::File::open(&input).expect("it was written just now");
    run(server(flavour, data).args(["--bootstrap", "--enforce-storage-engine=", "--max-allowed-packet=8M"]).stdin(input));
}

/// Text of a value of the text protocol.
fn text(value: Value) -> Option<String> {
    match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        other => Some(other.as_sql(true)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check_life(flavour: MysqlFlavour) {
        let mut server = MysqlServer::start_with(flavour, &["--max-connections=77"]).await;
        server.sql("create table kept (id int primary key, note text); insert into kept values (7, null)").await;
        let dir = server.data_dir();

        server.kill().await;
        assert!(server.connect().await.is_err());
        server.restart().await;
        server.restart().await;

        assert_eq!(server.rows("select * from kept").await, [[Some("7".to_owned()), None]]);
        assert!(server.value("select version()").await.starts_with(flavour.version()));
        let settings = server.rows("select @@log_bin, @@binlog_format, @@binlog_row_image, @@binlog_row_metadata, @@max_connections").await;
        assert_eq!(settings[0].iter().flatten().collect::<Vec<_>>(), ["1", "ROW", "FULL", "FULL", "77"]);
        let process = server.instance.process_id().expect("it runs");
        drop(server);
        assert!(!dir.exists() && !Path::new(&format!("/proc/{process}")).exists());
    }

    #[tokio::test]
    async fn a_killed_mariadb_10_11_starts_again_and_is_removed_in_the_end() {
        check_life(MysqlFlavour::Mariadb1011).await;
    }

    #[tokio::test]
    async fn a_killed_mariadb_11_8_starts_again_and_is_removed_in_the_end() {
        check_life(MysqlFlavour::Mariadb118).await;
    }

    #[tokio::test]
    async fn a_killed_mysql_9_7_starts_again_and_is_removed_in_the_end() {
        check_life(MysqlFlavour::Mysql97).await;
    }

    #[tokio::test]
    async fn two_mysql_servers_have_identities_of_their_own() {
        let (one, two) = (MysqlServer::start(MysqlFlavour::Mysql97).await, MysqlServer::start(MysqlFlavour::Mysql97).await);
        assert_ne!(one.value("select @@server_uuid").await, two.value("select @@server_uuid").await);
        assert_eq!(one.value("select @@gtid_executed").await, "", "no transaction of the template is left");
    }
}
