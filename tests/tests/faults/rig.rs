//! Two servers, each behind a proxy with faults, the binary, and writers that outlive a dead server.
//!
//! `ledger` has no key and is only added to, so a transaction that is lost or applied twice shows; `counter` is
//! updated in the same transactions, so half a transaction shows.
//!
//! Every fault meets three pairs, in which each engine is once the source and once the target; those between MySQL and
//! MariaDB are met less often, for the time they take.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_harness::{MysqlFlavour, PostgresVersion, Proxy, TablePair, Tidegate, compare_databases, wait_for};
use tokio::task::JoinHandle;

use crate::server::{Kind, Server, Session};

/// MySQL and MariaDB answer from `innodb_trx` with what they last found, until nobody has asked for 0.1 seconds.
/// Source: `CACHE_MIN_IDLE_TIME` of InnoDB's trx0i_s.cc.
pub(crate) const INNODB_TRX_AGE: Duration = Duration::from_millis(120);

/// Source and target.
pub(crate) type Pair = (Kind, Kind);

pub(crate) const POSTGRES: Pair = (Kind::Postgres(PostgresVersion::V15), Kind::Postgres(PostgresVersion::V17));
pub(crate) const POSTGRES_TO_MYSQL: Pair = (Kind::Postgres(PostgresVersion::V15), Kind::Mysql(MysqlFlavour::Mysql97));
pub(crate) const MYSQL_TO_MARIADB: Pair = (Kind::Mysql(MysqlFlavour::Mysql97), Kind::Mysql(MysqlFlavour::Mariadb118));
pub(crate) const MARIADB_TO_MYSQL: Pair = (Kind::Mysql(MysqlFlavour::Mariadb1011), Kind::Mysql(MysqlFlavour::Mysql97));

/// Generous for a debug build on a busy machine of two cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Counters that each writer moves.
const COUNTERS: u64 = 20;

/// A count for a test that repeats a fault.
pub(crate) fn times(usual: u64) -> u64 {
    let factor = std::env::var("TIDEGATE_FAULTS").map_or(1, |text| text.parse().expect("TIDEGATE_FAULTS is a number"));
    usual * factor
}

/// A seed that a failing test prints; `TIDEGATE_SEED` repeats it.
pub(crate) fn seed() -> u64 {
    let now = || std::time::UNIX_EPOCH.elapsed().expect("the clock is past 1970").as_micros() as u64;
    let seed = std::env::var("TIDEGATE_SEED").map_or_else(|_| now(), |text| text.parse().expect("TIDEGATE_SEED is a number"));
    println!("seed {seed}");
    seed
}

/// A binary between the two servers' proxies.
pub(crate) struct Host {
    pub(crate) process: Tidegate,
    _data: TempDir,
}

/// See the module's documentation.
pub(crate) struct Rig {
    pub(crate) source: Server,
    pub(crate) target: Server,
    pub(crate) to_source: Proxy,
    pub(crate) to_target: Proxy,
    pub(crate) host: Host,
}

impl Rig {
    /// Everything with the tables made and a task `t` created, not started.
    pub(crate) async fn between(pair: Pair, rows: u64, settings: Value) -> Rig {
        Rig::with(pair, &[], rows, settings).await
    }

    /// The same with options of the target's.
    pub(crate) async fn with((source, target): Pair, options: &[&str], rows: u64, settings: Value) -> Rig {
        let usual: &[&str] = match source {
            Kind::Postgres(_) => &["logical_decoding_work_mem=64kB"],
            Kind::Mysql(MysqlFlavour::Mysql97) => &["--cte-max-recursion-depth=1000000"],
            Kind::Mysql(_) => &[],
        };
        let (source, target) = tokio::join!(Server::start(source, usual), Server::start(target, options));
        let (to_source, to_target) = (Proxy::to_port(source.port()).await, Proxy::to_port(target.port()).await);
        let identity = if source.is_postgres() { "alter table ledger replica identity full; " } else { "" };
        let (writers, counters, filled) = (source.series(0, 9), source.series(0, COUNTERS - 1), source.series(1, rows));
        source
            .sql(&format!(
                "create table ledger (writer integer not null, entry bigint not null, note text); {identity}\
                 create table counter (writer integer, id integer, n bigint not null, primary key (writer, id)); \
                 create table fill (id bigint primary key, a integer not null, note text not null); create table marker (id integer primary key); \
                 insert into counter select w.g, i.g, 0 from (select g from {writers}) as w cross join (select g from {counters}) as i; \
                 insert into fill select g, mod(g, 1000), concat('row ', g) from {filled}"
            ))
            .await;
        let host = Host::start(&source, &target, &to_source, &to_target, settings).await;
        Rig { source, target, to_source, to_target, host }
    }

    /// Between two PostgreSQL servers, with the task started and following the log.
    pub(crate) async fn replicating(rows: u64, settings: Value) -> Rig {
        Rig::replicating_between(POSTGRES, rows, settings).await
    }

    /// The same between others.
    pub(crate) async fn replicating_between(pair: Pair, rows: u64, settings: Value) -> Rig {
        let rig = Rig::between(pair, rows, settings).await;
        rig.host.start_task().await;
        rig.host.wait_phase("replicating").await;
        rig
    }

    /// Another host with a catalog of its own, by the same proxies.
    pub(crate) async fn another_host(&self) -> Host {
        Host::start(&self.source, &self.target, &self.to_source, &self.to_target, json!({})).await
    }

    /// Writers with connections of their own, past the proxy.
    pub(crate) fn write(&self, writers: u32, pause: Duration) -> Writers {
        Writers::start(&self.source, writers, pause)
    }

    /// One transaction with an entry of the ledger and a count.
    pub(crate) async fn write_one(&self, writer: u32, entry: u64) {
        let sql = "begin; insert into ledger values ({w}, {e}, 'x'); update counter set n = n + 1 where writer = 1 and id = 1; commit";
        self.source.sql(&sql.replace("{w}", &writer.to_string()).replace("{e}", &entry.to_string())).await;
    }

    /// Waits until everything that was committed at the source before this call is in the target. A load that begins anew
    /// may bring the marker before it brings other tables, so it counts only when all are loaded.
    pub(crate) async fn wait_level(&self, host: &Host) {
        let marker = self.source.value("select coalesce(max(id), 0) + 1 from marker").await;
        self.source.sql(&format!("insert into marker values ({marker})")).await;
        wait_for("the marker row", PATIENCE, async || {
            let task = host.task().await;
            assert_ne!(task["status"], "failed", "{}\n{}", task["failure"], host.process.log());
            // A task that begins anew makes the table anew, too.
            let found = self.target.try_value(&format!("select count(*) from copy.marker where id = {marker}")).await;
            let is_there = task["phase"] == "replicating" && found.as_deref() == Ok("1");
            if is_there { Ok(()) } else { Err((task["phase"].clone(), found)) }
        })
        .await;
    }

    /// Every table has the same rows in both databases, equal rows as often.
    pub(crate) async fn assert_equal(&self) {
        let pairs = ["ledger", "counter", "fill"].map(|table| TablePair::new((self.source.schema(), table), ("copy", table)));
        let comparison = compare_databases(&self.source.database(), &self.target.database(), &pairs).await;
        println!("{comparison}");
        if comparison.differences > 0 {
            let doubled = "select count(*) - (select count(*) from (select distinct writer, entry from copy.ledger) d) from copy.ledger";
            panic!("{comparison}; {} ledger entries doubled", self.target.value(doubled).await);
        }
    }

    /// The checkpoint as the target has it.
    pub(crate) async fn checkpoint(&self) -> String {
        self.target.value("select position from tidegate.checkpoint where task = 't'").await
    }

    /// Where the target keeps the generation of the task's worker: with the checkpoint, or beside it.
    pub(crate) fn fence_table(&self) -> &'static str {
        if self.target.is_postgres() { "tidegate.checkpoint" } else { "tidegate.fence" }
    }

    pub(crate) async fn generation(&self) -> String {
        self.target.value(&format!("select generation from {} where task = 't'", self.fence_table())).await
    }

    /// Waits for an entry of the ledger in the target.
    pub(crate) async fn wait_in_target(&self, writer: u32, entry: u64) {
        wait_for("the ledger entry", PATIENCE, async || {
            let found = self.target.value(&format!("select count(*) from copy.ledger where writer = {writer} and entry = {entry}")).await;
            if found == "0" { Err(found) } else { Ok(()) }
        })
        .await;
    }
}

impl Host {
    /// A binary with a catalog of its own, and the task `t` in it.
    pub(crate) async fn start(source: &Server, target: &Server, to_source: &Proxy, to_target: &Proxy, settings: Value) -> Host {
        let data = tempfile::tempdir().expect("a temporary directory can be made");
        let process = Tidegate::serve(data.path()).await;
        for endpoint in [source.endpoint("source", to_source.port()), target.endpoint("target", to_target.port())] {
            process.post("/v1/endpoints", &endpoint).await.ok();
        }
        let schema = source.schema();
        let rules = json!([
            {"rule-type": "selection", "rule-id": "1", "rule-name": "all", "rule-action": "include",
                "object-locator": {"schema-name": schema, "table-name": "%"}},
            {"rule-type": "transformation", "rule-id": "2", "rule-name": "copy", "rule-target": "schema", "rule-action": "rename",
                "object-locator": {"schema-name": schema}, "value": "copy"}]);
        let task = json!({"name": "t", "source": "source", "target": "target", "migration_type": "full-load-and-cdc",
            "preparation": "drop-and-create", "table_mappings": {"rules": rules}, "settings": settings});
        process.post("/v1/tasks", &task).await.ok();
        Host { process, _data: data }
    }

    pub(crate) async fn start_task(&self) {
        self.process.post("/v1/tasks/t/start", &json!({})).await.ok();
    }

    pub(crate) async fn stop_task(&self) {
        self.process.post("/v1/tasks/t/stop", &json!({})).await.ok();
        self.wait_task("stopped", |task| task["status"] == "stopped").await;
    }

    pub(crate) async fn task(&self) -> Value {
        self.process.get("/v1/tasks/t").await.ok()
    }

    /// Connections that were lost and made again, in this run.
    pub(crate) async fn reconnects(&self) -> u64 {
        self.task().await["progress"]["reconnects"].as_u64().unwrap_or(0)
    }

    pub(crate) async fn kill_and_restart(&mut self) {
        self.process.kill().await;
        self.process.restart().await;
    }

    /// Waits for a phase; panics when the task fails.
    pub(crate) async fn wait_phase(&self, phase: &str) {
        self.wait_task(phase, |task| task["phase"] == phase).await;
    }

    /// Waits for a state; panics when the task fails.
    pub(crate) async fn wait_task(&self, what: &str, is_there: impl Fn(&Value) -> bool) {
        wait_for(&format!("the task to be {what}"), PATIENCE, async || {
            let task = self.task().await;
            assert_ne!(task["status"], "failed", "{}\n{}", task["failure"], self.process.log());
            if is_there(&task) { Ok(()) } else { Err((task["status"].clone(), task["phase"].clone(), task["progress"].clone())) }
        })
        .await;
    }

    /// Waits until the task fails and returns its failure.
    pub(crate) async fn wait_failed(&self) -> Value {
        wait_for("the task to fail", PATIENCE, async || {
            let task = self.task().await;
            if task["status"] == "failed" { Ok(task["failure"].clone()) } else { Err((task["status"].clone(), task["phase"].clone())) }
        })
        .await
    }
}

/// Writers that connect again when their server dies. What became of a commit without an answer, the source knows.
pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    committed: Arc<AtomicU64>,
    running: Vec<JoinHandle<()>>,
}

impl Writers {
    fn start(source: &Server, writers: u32, pause: Duration) -> Writers {
        let (stop, committed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let url = source.url();
        let running = (0..writers).map(|writer| tokio::spawn(write(url.clone(), writer, pause, stop.clone(), committed.clone()))).collect();
        Writers { stop, committed, running }
    }

    /// Waits for more committed transactions.
    pub(crate) async fn wait_more(&self, count: u64) {
        let wanted = self.committed.load(Ordering::SeqCst) + count;
        wait_for("the writers to go on", PATIENCE, async || {
            let committed = self.committed.load(Ordering::SeqCst);
            if committed >= wanted { Ok(()) } else { Err(committed) }
        })
        .await;
    }

    /// Ends the writers and returns how many transactions they know to be committed.
    pub(crate) async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        for writer in self.running {
            writer.await.expect("a writer goes on until it is stopped");
        }
        self.committed.load(Ordering::SeqCst)
    }
}

async fn write(url: String, writer: u32, pause: Duration, stop: Arc<AtomicBool>, committed: Arc<AtomicU64>) {
    // Entries of a writer start where no earlier one of the same number did.
    let mut entry = std::time::UNIX_EPOCH.elapsed().expect("the clock is past 1970").as_micros() as u64;
    let mut session = None;
    let mut failing_since: Option<Instant> = None;
    while !stop.load(Ordering::SeqCst) {
        entry += 1;
        let id = entry % COUNTERS;
        let sql = format!(
            "begin; insert into ledger values ({writer}, {entry}, repeat('x', {})); \
             update counter set n = n + 1 where writer = {writer} and id = {id}; commit",
            entry % 300
        );
        let done = match &mut session {
            None => Session::connect(&url).await.map(|connected| {
                session = Some(connected);
                false
            }),
            Some(connected) => connected.run(&sql).await.map(|()| true),
        };
        match done {
            Ok(wrote) => {
                committed.fetch_add(u64::from(wrote), Ordering::SeqCst);
                failing_since = None;
            }
            Err(error) => {
                session = None;
                let since = failing_since.get_or_insert_with(Instant::now).elapsed();
                assert!(since < PATIENCE, "writer {writer} failed for {} s: {error}", since.as_secs());
            }
        }
        tokio::time::sleep(pause).await;
    }
}
