//! Private PostgreSQL servers.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tokio_postgres::{Client, NoTls};

use crate::binaries::{postgres_bin, running_as_root, unprivileged};
use crate::certificate;
use crate::instance::{Instance, Signal, set_mode};
use crate::lease::Lease;
use crate::shared_memory;
use crate::small_disk::SmallDisk;
use crate::template::{copy, run, template};

/// How long a start or a stop may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// Settings of every server; a test's own come after these and win. Without fsync a server that is killed still loses
/// nothing, since the operating system survives; a test that wants the real thing passes `fsync=on`. Memory that processes
/// share is files of its own directory: those in `/dev/shm` would stay there, and in memory, when the server is killed.
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
wal_level = logical
max_wal_senders = 50
max_replication_slots = 50
max_connections = 200
shared_buffers = 64MB
fsync = off
dynamic_shared_memory_type = mmap
max_wal_size = 2GB
";

/// The versions that are tested against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PostgresVersion {
    /// PostgreSQL 15.
    V15,
    /// PostgreSQL 17.
    V17,
    /// PostgreSQL 17 with PostGIS and pgvector, which databases have to create.
    V17Extended,
    /// PostgreSQL 18.
    V18,
}

impl PostgresVersion {
    /// The major version's number.
    pub fn major(self) -> u32 {
        match self {
            PostgresVersion::V15 => 15,
            PostgresVersion::V17 | PostgresVersion::V17Extended => 17,
            PostgresVersion::V18 => 18,
        }
    }

    /// The name of its directory, and of its template.
    fn directory(self) -> String {
        let extended = if self == PostgresVersion::V17Extended { "-extended" } else { "" };
        format!("postgresql-{}{extended}", self.major())
    }
}

/// A running PostgreSQL, ready for logical replication: user `postgres`, no password, database `postgres`.
#[derive(Debug)]
pub struct PostgresServer {
    instance: Instance,
    lease: Lease,
    version: PostgresVersion,
    bin: PathBuf,
    settings: Vec<String>,
    slots_disk: Option<SmallDisk>,
}

impl PostgresServer {
    /// Starts a server with the usual settings.
    pub async fn start(version: PostgresVersion) -> PostgresServer {
        Self::start_with(version, &[]).await
    }

    /// Starts a server with settings of `postgresql.conf` of its own, each `name=value`.
    pub async fn start_with(version: PostgresVersion, settings: &[&str]) -> PostgresServer {
        Self::start_on(version, settings, |_| {}, None).await
    }

    /// The same with a disk of so many bytes for its replication slots and what decoding puts on disk for them, which lives as long as the
    /// server runs. Only root may do so.
    pub async fn start_with_slots_disk(version: PostgresVersion, settings: &[&str], bytes: u64) -> PostgresServer {
        Self::start_on(version, settings, |_| {}, Some(SmallDisk::new("pg_replslot", bytes))).await
    }

    /// Gives the disk of [`PostgresServer::start_with_slots_disk`] another size.
    pub fn resize_slots_disk(&self, bytes: u64) {
        let disk = self.slots_disk.as_ref().expect("the server was started with such a disk");
        disk.resize(self.instance.process_id().expect("the server runs"), &self.data_dir(), bytes);
    }

    /// A standby of this server, which was started with `wal_keep_size` so that it still has its first log. Both begin as
    /// copies of one data directory. `slot` is a physical slot of this server. Settings can be changed by ALTER SYSTEM.
    pub async fn standby(&self, slot: &str, settings: &[&str]) -> PostgresServer {
        let mut lines = vec![
            format!("primary_conninfo = 'host=127.0.0.1 port={} user=postgres dbname=postgres'", self.port()),
            format!("primary_slot_name = '{slot}'"),
        ];
        lines.extend(settings.iter().map(|setting| (*setting).to_owned()));
        let settings: Vec<&str> = self.settings.iter().map(String::as_str).collect();
        Self::start_on(
            self.version,
            &settings,
            |data| {
                let path = data.join("postgresql.auto.conf");
                let before = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()));
                std::fs::write(&path, before + &lines.join("\n") + "\n")
                    .unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
                std::fs::write(data.join("standby.signal"), "").unwrap_or_else(|error| panic!("write standby.signal: {error}"));
            },
            None,
        )
        .await
    }

    /// Starts a server on a new data directory that `prepare` has changed.
    async fn start_on(
        version: PostgresVersion,
        settings: &[&str],
        prepare: impl Fn(&Path),
        slots_disk: Option<SmallDisk>,
    ) -> PostgresServer {
        let name = version.directory();
        let bin = postgres_bin(&name, version.major());
        let ready = template(&name, &bin.join("postgres"), |draft| create(bin.clone(), draft)).await;
        let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        for attempt in 1.. {
            let instance = Instance::new(&name);
            copy(&ready.join("data"), &instance.dir().join("data"));
            let lease = Lease::take().await;
            prepare(&instance.dir().join("data"));
            let mut server =
                PostgresServer { instance, lease, version, bin: bin.clone(), settings: settings.clone(), slots_disk: slots_disk.clone() };
            match server.launch().await {
                Ok(()) => return server,
                Err(log) if log.contains("Address already in use") && attempt < 5 => {}
                Err(log) if log.contains(shared_memory::NO_ROOM) && attempt < 5 => {
                    shared_memory::remove_abandoned(owner(&server.data_dir()))
                }
                Err(log) => panic!("PostgreSQL {} did not start:\n{log}", version.major()),
            }
        }
        unreachable!("the loop returns or panics")
    }

    /// The same server, which keeps to these processors, for one that stands for a machine of its own in a measurement.
    pub fn keeping_to(self, processors: &str) -> PostgresServer {
        self.instance.keep_to(processors);
        self
    }

    /// Always `127.0.0.1`.
    pub fn host(&self) -> &str {
        "127.0.0.1"
    }

    /// The server's port; it stays the same over restarts.
    pub fn port(&self) -> u16 {
        self.lease.port
    }

    /// Connection URL of the database `postgres`.
    pub fn url(&self) -> String {
        self.url_for("postgres")
    }

    /// Connection URL of another database.
    pub fn url_for(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.lease.port)
    }

    /// A connection to the database `postgres`.
    pub async fn client(&self) -> Client {
        self.client_for("postgres").await
    }

    /// A connection to another database.
    pub async fn client_for(&self, database: &str) -> Client {
        self.connect(database).await.unwrap_or_else(|error| panic!("connect to {database:?}: {error:?}\n{}", self.instance.log_tail()))
    }

    /// Runs statements, separated by semicolons, on a connection of their own; panics when one fails.
    pub async fn sql(&self, statements: &str) {
        self.sql_in("postgres", statements).await;
    }

    /// The same in another database.
    pub async fn sql_in(&self, database: &str, statements: &str) {
        let result = self.client_for(database).await.batch_execute(statements).await;
        result.unwrap_or_else(|error| panic!("{statements}\n{error:?}"));
    }

    /// Rows of a query, every value as the server's own text.
    pub async fn rows(&self, query: &str) -> Vec<Vec<Option<String>>> {
        self.try_rows(query).await.unwrap_or_else(|error| panic!("{query}\n{error}"))
    }

    /// The same for a query that the server may refuse, with what it says then.
    pub async fn try_rows(&self, query: &str) -> Result<Vec<Vec<Option<String>>>, String> {
        let client = self.client().await;
        let messages = client.simple_query(query).await.map_err(|error| format!("{error:?}"))?;
        let rows = messages.iter().filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        Ok(rows.map(|row| (0..row.len()).map(|index| row.get(index).map(str::to_owned)).collect()).collect())
    }

    /// The only value of a query's only row; panics when there is none.
    pub async fn value(&self, query: &str) -> String {
        let rows = self.rows(query).await;
        rows.first().and_then(|row| row.first()?.clone()).unwrap_or_else(|| panic!("no value from: {query}"))
    }

    /// Ends server and connections with SIGKILL, as a crash would.
    pub async fn kill(&mut self) {
        self.instance.kill();
        shared_memory::remove(self.instance.dir());
        // Its process id may belong to somebody else when the server starts again, which it would take for itself.
        let _ = std::fs::remove_file(self.instance.dir().join("data/postmaster.pid"));
    }

    /// Shuts down in order, breaking connections ("fast").
    pub async fn stop(&mut self) {
        self.instance.signal(Signal::Interrupt);
        self.instance.ended(PATIENCE).await;
    }

    /// Starts again, after a stop if it is running. Same data, same port.
    pub async fn restart(&mut self) {
        if self.instance.running() {
            self.stop().await;
        } else {
            self.kill().await;
        }
        if let Err(log) = self.launch().await {
            panic!("PostgreSQL did not start again:\n{log}");
        }
    }

    /// What the server wrote to its log.
    pub fn log(&self) -> String {
        self.instance.log()
    }

    /// The server's data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.instance.dir().join("data")
    }

    /// Gives the server a new key and a certificate for 127.0.0.1, by a new authority whose PEM is returned. With `ssl = on` it is shown
    /// to whoever connects after the server read its configuration again.
    pub fn certify(&self) -> String {
        certificate::write(&self.data_dir())
    }

    /// Starts the process and waits until it lets us in; otherwise the end of its log.
    async fn launch(&mut self) -> Result<(), String> {
        let mut command = unprivileged(&self.bin.join("postgres"));
        if let Some(disk) = &self.slots_disk {
            command = disk.around(command, &self.data_dir());
        }
        command.arg("-D").arg(self.data_dir()).arg("-p").arg(self.port().to_string());
        for setting in &self.settings {
            command.arg("-c").arg(setting);
        }
        self.instance.spawn(command);
        let since = Instant::now();
        while self.instance.running() && since.elapsed() < PATIENCE {
            if self.connect("postgres").await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(self.instance.log_tail())
    }

    async fn connect(&self, database: &str) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::connect(&self.url_for(database), NoTls).await?;
        // Ends with the client; its error is the client's error too.
        tokio::spawn(connection);
        Ok(client)
    }
}

fn owner(path: &Path) -> u32 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).unwrap_or_else(|error| panic!("look at {}: {error}", path.display())).uid()
}

async fn create(bin: PathBuf, draft: PathBuf) {
    let data = draft.join("data");
    std::fs::create_dir(&data).unwrap_or_else(|error| panic!("create {}: {error}", data.display()));
    set_mode(&data, 0o700);
    if running_as_root() {
        run(Command::new("chown").arg("nobody:nogroup").arg(&data));
    }
    run(unprivileged(&bin.join("initdb")).arg("-D").arg(&data).args([
        "-U",
        "postgres",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--locale=C",
        "--no-sync",
    ]));
    let path = data.join("postgresql.conf");
    let settings = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()));
    std::fs::write(&path, settings + SETTINGS).unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_killed_server_starts_again_with_its_data_and_is_removed_in_the_end() {
        for version in [PostgresVersion::V15, PostgresVersion::V17, PostgresVersion::V18] {
            let mut server = PostgresServer::start_with(version, &["wal_sender_timeout=5s"]).await;
            server.sql("create table kept (id int primary key); insert into kept values (7)").await;
            let (port, dir) = (server.port(), server.data_dir());

            server.kill().await;
            assert!(server.connect("postgres").await.is_err());
            server.restart().await;
            server.restart().await;

            assert_eq!(server.port(), port);
            assert_eq!(server.rows("select id, null from kept").await, [[Some("7".to_owned()), None]]);
            assert_eq!(server.value("show wal_sender_timeout").await, "5s");
            assert_eq!(server.value("show wal_level").await, "logical");
            assert!(server.value("show server_version").await.starts_with(&version.major().to_string()));
            let process = server.instance.process_id().expect("it runs");
            drop(server);
            assert!(!dir.exists() && !Path::new(&format!("/proc/{process}")).exists());
        }
    }
}
