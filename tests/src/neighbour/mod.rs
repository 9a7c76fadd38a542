//! What a task notices of hostile modules in the same process.
//!
//! ```text
//!   source ── task "neighbour" with modules of its own ──▶ target     a row at a time; latency = commit in the target - insert
//!   theirs ── tasks with hostile modules, some at a time ──▶ theirs   restarted whenever they fail
//!   uploads: too large, foreign imports, garbage, slow to compile     refused again and again
//! ```
//!
//! Quiet and hostile phases alternate on the same servers, so that what the machine does meanwhile meets both. A hostile phase ends when every
//! misdeed had its turn.

mod misdeeds;
mod report;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::instance::keep_to;
use crate::process::root_dir;
pub use misdeeds::{MISDEEDS, UPLOADS};
pub use report::{NeighbourReport, Turns};

use crate::{PostgresServer, PostgresVersion, Tidegate, wait_for};

/// Longest wait for a task's phase, in a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// Least time of a turn, in which tasks that failed are started again.
const TURN: Duration = Duration::from_secs(2);

/// A task that showed nothing by then has had its turn, too.
const TURN_AT_MOST: Duration = Duration::from_secs(90);

/// Of so many rows of the neighbour its module leaves one out.
const FILTERED: u32 = 50;

/// CPU seconds that the server gives to compiling an upload. The code of the modules that are taken needs a fraction.
const COMPILE_CPU_SECONDS: u32 = 5;

/// How long and how much.
#[derive(Debug, Clone)]
pub struct NeighbourPlan {
    /// Rows of the neighbour in each phase; more in a hostile one whose misdeeds take longer.
    pub rows_each_phase: u32,
    /// Time between two rows.
    pub interval: Duration,
    /// Pairs of a quiet and a hostile phase.
    pub pairs: u32,
    /// Which of [`MISDEEDS`] there are.
    pub misdeeds: Vec<String>,
    /// How many of them run at a time.
    pub at_once: usize,
    /// Which of [`UPLOADS`] a stranger uploads.
    pub uploads: Vec<&'static str>,
    /// The server's `modules.total_memory_mib`.
    pub total_memory_mib: u32,
    /// The strangers' databases and clients have the last processor for themselves, and everything else, with the server, has the others: what
    /// is asked is what goes on within the process, and elsewhere they have machines of their own. [`Autogroups`] are off for the same reason.
    pub strangers_elsewhere: bool,
}

impl NeighbourPlan {
    /// The processors of everything else, and the strangers' one.
    fn processors(&self) -> Option<(String, String)> {
        let count =
            std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default().lines().filter(|line| line.starts_with("processor")).count();
        (self.strangers_elsewhere && count > 1).then(|| (format!("0-{}", count - 2), (count - 1).to_string()))
    }
}

/// Where Linux puts the processes of each terminal session into a group, of which each gets the same share whatever its threads are: a
/// PostgreSQL connection is a session, so one thread of the process that gives way to all others counts as much as a neighbour's connection
/// on the same processor, where elsewhere it is on another machine. See sched(7), "The autogroup feature".
struct Autogroups {
    before: Vec<u8>,
}

impl Autogroups {
    const SETTING: &str = "/proc/sys/kernel/sched_autogroup_enabled";

    /// Switches them off on this machine until this is dropped, which a killed process does not come to; `None` where there are none, or this
    /// user may not.
    fn off() -> Option<Self> {
        let before = std::fs::read(Self::SETTING).ok()?;
        std::fs::write(Self::SETTING, "0\n").ok()?;
        Some(Self { before })
    }
}

impl Drop for Autogroups {
    fn drop(&mut self) {
        if let Err(error) = std::fs::write(Self::SETTING, &self.before) {
            eprintln!("{} cannot be written: {error}", Self::SETTING);
        }
    }
}

struct Scene {
    source: PostgresServer,
    target: PostgresServer,
    /// The hostile tasks' source and target.
    theirs: [PostgresServer; 2],
    host: Tidegate,
    _data: tempfile::TempDir,
}

/// Measures it. Panics when a server or the binary does not do what it should.
pub async fn measure(plan: NeighbourPlan) -> NeighbourReport {
    let autogroups = if plan.strangers_elsewhere { Autogroups::off() } else { None };
    let scene = Arc::new(Scene::start(&plan).await);
    let mut report = NeighbourReport {
        ceiling_mib: plan.total_memory_mib,
        rss_before_bytes: scene.host.rss_bytes(),
        has_autogroups: plan.strangers_elsewhere && autogroups.is_none(),
        ..NeighbourReport::default()
    };
    let mut next = 1;
    for _ in 0..plan.pairs {
        let (enough, all_had_their_turn) = (watch::Sender::new(false), watch::Sender::new(true));
        report.quiet_ms.extend(scene.write_rows(&plan, &mut next, &enough, all_had_their_turn.subscribe()).await);
        enough.send_replace(false);
        all_had_their_turn.send_replace(false);
        let (beside, strangers) = tokio::join!(
            scene.write_rows(&plan, &mut next, &enough, all_had_their_turn.subscribe()),
            Arc::clone(&scene).misbehave_aside(&plan, enough.subscribe(), all_had_their_turn.clone())
        );
        report.beside_ms.extend(beside);
        for (misdeed, turns) in strangers.misdeeds {
            let sum = report.misdeeds.entry(misdeed).or_default();
            *sum = Turns { turns: sum.turns + turns.turns, failures: sum.failures + turns.failures, code: turns.code.or(sum.code.take()) };
        }
        strangers.refused.into_iter().for_each(|(upload, count)| *report.refused.entry(upload).or_default() += count);
        report.taken.extend(strangers.taken);
    }
    report.rss_peak_bytes = scene.host.peak_rss_bytes();
    scene.check_rows(next - 1).await;
    drop(autogroups);
    report
}

/// What came of the strangers' doing in one phase.
#[derive(Debug, Default)]
struct Strangers {
    misdeeds: BTreeMap<String, Turns>,
    refused: BTreeMap<&'static str, u64>,
    taken: Vec<&'static str>,
}

impl Scene {
    async fn start(plan: &NeighbourPlan) -> Scene {
        let elsewhere = plan.processors();
        if let Some((ours, _)) = &elsewhere {
            // What is started from here on keeps to them, too.
            assert!(keep_to(ours, std::process::id(), true), "one's own process can be bound to processors");
        }
        let source = PostgresServer::start(PostgresVersion::V17).await;
        let target = PostgresServer::start_with(PostgresVersion::V17, &["track_commit_timestamp=on"]).await;
        let stranger = async || {
            let server = PostgresServer::start(PostgresVersion::V17).await;
            match &elsewhere {
                Some((_, theirs)) => server.keeping_to(theirs),
                None => server,
            }
        };
        let theirs = [stranger().await, stranger().await];
        let data = tempfile::tempdir().expect("a temporary directory can be made");
        let config = data.path().join("tidegate.toml");
        let settings = format!("[modules]\ntotal_memory_mib = {}\ncompile_cpu_s = {COMPILE_CPU_SECONDS}\n", plan.total_memory_mib);
        std::fs::write(&config, settings).expect("the configuration can be written");
        let host = Tidegate::serve_with(&data.path().join("data"), &[("TIDEGATE_CONFIG", &config.to_string_lossy())]).await;
        let endpoints = [
            ("source", "source", &source),
            ("target", "target", &target),
            ("theirs", "source", &theirs[0]),
            ("theirs-too", "target", &theirs[1]),
        ];
        for (name, role, server) in endpoints {
            let endpoint = json!({"name": name, "role": role, "engine": "postgres", "host": server.host(), "port": server.port(),
                "username": "postgres", "password": "none", "database": "postgres", "tls": "disable"});
            host.post("/v1/endpoints", &endpoint).await.ok();
        }
        source
            .sql("create table probe (id integer primary key, number integer, note text, sent timestamptz not null default clock_timestamp())")
            .await;
        theirs[0].sql("create table bait (id integer primary key); insert into bait select generate_series(1, 1000)").await;
        for (name, file) in [("hostile", "hostile"), ("rewrite", "bench-rewrite")] {
            let file = root_dir().join(format!("target/guests/{file}.wasm"));
            let bytes = std::fs::read(file).expect("the guests are built; run cargo xtask guests");
            host.put_bytes(&format!("/v1/modules/{name}"), bytes).await.ok();
        }
        let scene = Scene { source, target, theirs, host, _data: data };
        scene.create_task("neighbour", ["source", "target"], "probe", neighbours_rules()).await;
        for misdeed in &plan.misdeeds {
            let rules = vec![
                json!({"rule-type": "transformation", "rule-id": "2", "rule-name": "2", "rule-target": "schema", "rule-action": "rename",
                    "object-locator": {"schema-name": "public"}, "value": misdeed}),
                json!({"rule-type": "module", "rule-id": "3", "rule-name": "3", "module": "hostile", "config": misdeed,
                    "object-locator": {"schema-name": "public", "table-name": "bait"}}),
            ];
            scene.create_task(&task_of(misdeed), ["theirs", "theirs-too"], "bait", rules).await;
        }
        scene.start_task("neighbour").await;
        wait_for("the neighbour to replicate", PATIENCE, async || {
            let task = scene.host.get("/v1/tasks/neighbour").await.ok();
            assert_ne!(task["status"], "failed", "{}", task["failure"]);
            if task["phase"] == "replicating" { Ok(()) } else { Err(task["phase"].clone()) }
        })
        .await;
        scene
    }

    async fn create_task(&self, name: &str, [source, target]: [&str; 2], table: &str, more: Vec<Value>) {
        let mut rules = vec![json!({"rule-type": "selection", "rule-id": "1", "rule-name": "1", "rule-action": "include",
            "object-locator": {"schema-name": "public", "table-name": table}})];
        rules.extend(more);
        let task = json!({"name": name, "source": source, "target": target, "migration_type": "full-load-and-cdc",
            "preparation": "drop-and-create", "table_mappings": {"rules": rules}, "settings": {"load_lanes": 1}});
        self.host.post("/v1/tasks", &task).await.ok();
    }

    async fn start_task(&self, name: &str) {
        self.host.post(&format!("/v1/tasks/{name}/start"), &json!({})).await.ok();
    }

    /// Writes the rows of a phase, until there are enough and the other side is done, and waits until all are there; the milliseconds that
    /// each took.
    async fn write_rows(
        &self,
        plan: &NeighbourPlan,
        next: &mut u32,
        enough: &watch::Sender<bool>,
        is_done: watch::Receiver<bool>,
    ) -> Vec<f64> {
        let client = self.source.client().await;
        let first = *next;
        let mut ticks = tokio::time::interval(plan.interval);
        let wanted = |id: u32| !id.is_multiple_of(FILTERED);
        while *next - first < plan.rows_each_phase || !*is_done.borrow() {
            ticks.tick().await;
            let number = if wanted(*next) { i64::from(*next) } else { -1 };
            let sql = format!("insert into probe (id, number, note) values ({next}, {number}, 'note {next}')");
            client.execute(&sql, &[]).await.expect("a row can be inserted");
            *next += 1;
            if *next - first == plan.rows_each_phase {
                enough.send_replace(true);
            }
        }
        let count = (first..*next).filter(|id| wanted(*id)).count().to_string();
        wait_for("the neighbour's rows", PATIENCE, async || {
            let found = self.target.value(&format!("select count(*) from probe where id >= {first}")).await;
            if found == count { Ok(()) } else { Err(found) }
        })
        .await;
        let rows = self
            .target
            .rows(&format!(
                "select 1000 * extract(epoch from pg_xact_commit_timestamp(xmin) - sent) from probe where id >= {first} order by id"
            ))
            .await;
        rows.iter().map(|row| row[0].as_deref().expect("commits have times").parse().expect("a latency is a number")).collect()
    }

    /// The neighbour's modules did their work on every row.
    async fn check_rows(&self, last: u32) {
        let wrong = format!(
            "select count(*) from generate_series(1, {last}) id full join probe p using (id) \
             where (id % {FILTERED} <> 0) <> (p.id is not null) \
             or p.id is not null and (p.note, p.label) is distinct from ('NOTE ' || id, case when id >= 50 then 'big' else 'small' end)"
        );
        assert_eq!(self.target.value(&wrong).await, "0", "rows of the neighbour are not as its modules make them");
    }

    /// [`misbehave`](Self::misbehave) on a thread of its own, elsewhere where the plan says so.
    async fn misbehave_aside(
        self: Arc<Self>,
        plan: &NeighbourPlan,
        enough: watch::Receiver<bool>,
        all_had_their_turn: watch::Sender<bool>,
    ) -> Strangers {
        let (told, strangers) = tokio::sync::oneshot::channel();
        let (plan, elsewhere) = (plan.clone(), plan.processors());
        std::thread::spawn(move || {
            if let Some((_, theirs)) = elsewhere {
                let thread = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
                assert!(keep_to(&theirs, thread, false), "one's own thread can be bound to processors");
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
            // Nobody waits any more when the measurement has failed.
            let _ = told.send(runtime.block_on(self.misbehave(&plan, &enough, &all_had_their_turn)));
        });
        strangers.await.expect("the strangers do not panic")
    }

    /// Hostile tasks, some at a time, and uploads beside them, until the neighbour has enough rows and everyone had a turn.
    async fn misbehave(&self, plan: &NeighbourPlan, enough: &watch::Receiver<bool>, all_had_their_turn: &watch::Sender<bool>) -> Strangers {
        let (mut strangers, mut uploaded) = (Strangers::default(), Strangers::default());
        let over = watch::Sender::new(false);
        let tasks = async {
            loop {
                for some in plan.misdeeds.chunks(plan.at_once) {
                    self.take_turn(some, &mut strangers).await;
                    if *enough.borrow() && *all_had_their_turn.borrow() {
                        break;
                    }
                }
                if plan.misdeeds.is_empty() {
                    tokio::time::sleep(TURN).await;
                }
                all_had_their_turn.send_replace(true);
                if *enough.borrow() {
                    break;
                }
            }
            over.send_replace(true);
        };
        let uploads = async {
            self.upload_until(&plan.uploads, over.subscribe(), &mut uploaded).await;
        };
        tokio::join!(tasks, uploads);
        Strangers { misdeeds: strangers.misdeeds, ..uploaded }
    }

    /// Some hostile tasks run, and are started again whenever they fail.
    async fn take_turn(&self, misdeeds: &[String], strangers: &mut Strangers) {
        for misdeed in misdeeds {
            self.begin_turn(&task_of(misdeed)).await;
            strangers.misdeeds.entry(misdeed.clone()).or_default().turns += 1;
        }
        let begun = Instant::now();
        let mut shown: Vec<bool> = vec![false; misdeeds.len()];
        while begun.elapsed() < TURN || !shown.iter().all(|shown| *shown) && begun.elapsed() < TURN_AT_MOST {
            let since = Instant::now();
            for (misdeed, shown) in misdeeds.iter().zip(&mut shown) {
                let name = task_of(misdeed);
                let task = self.host.get(&format!("/v1/tasks/{name}")).await.ok();
                if task["status"] == "failed" {
                    let turns = strangers.misdeeds.entry(misdeed.clone()).or_default();
                    turns.failures += 1;
                    turns.code = task["failure"]["code"].as_str().map(str::to_owned);
                    self.start_task(&name).await;
                }
                *shown |= task["status"] == "failed" || task["phase"] == "replicating";
            }
            // For those tasks that are through their load.
            self.theirs[0].sql("insert into bait select max(id) + 1 from bait").await;
            // At a pace at which an impatient tenant might try.
            tokio::time::sleep(Duration::from_millis(500).saturating_sub(since.elapsed())).await;
        }
        for misdeed in misdeeds {
            // It may have failed by itself.
            self.host.post(&format!("/v1/tasks/{}/stop", task_of(misdeed)), &json!({})).await;
        }
        wait_for("the hostile tasks to end", PATIENCE, async || {
            for misdeed in misdeeds {
                let status = self.host.get(&format!("/v1/tasks/{}", task_of(misdeed))).await.ok()["status"].clone();
                if status != "failed" && status != "stopped" {
                    return Err((misdeed.clone(), status));
                }
            }
            Ok(())
        })
        .await;
    }

    /// One upload after the other, a new one each half second at most, and each at least once.
    async fn upload_until(&self, uploads: &[&'static str], over: watch::Receiver<bool>, uploaded: &mut Strangers) {
        for (number, name) in uploads.iter().copied().cycle().enumerate() {
            if *over.borrow() && number >= uploads.len() {
                break;
            }
            let since = Instant::now();
            if self.is_taken(misdeeds::upload(name)).await {
                uploaded.taken.push(name);
            } else {
                *uploaded.refused.entry(name).or_default() += 1;
            }
            tokio::time::sleep(Duration::from_millis(500).saturating_sub(since.elapsed())).await;
        }
    }

    async fn is_taken(&self, bytes: Vec<u8>) -> bool {
        // The server hangs up on what it will not read.
        let Some(answer) = self.host.try_put_bytes("/v1/modules/refused", bytes).await else { return false };
        if answer.status != 202 {
            return answer.status < 400;
        }
        let digest = &answer.body["digest"];
        wait_for("the verdict about an upload", PATIENCE, async || {
            let module = self.host.get("/v1/modules/refused").await.ok();
            let versions = module["versions"].as_array().cloned().unwrap_or_default();
            match versions.iter().find(|version| version["digest"] == *digest).map(|version| version["state"].clone()) {
                Some(state) if state == "ready" => Ok(true),
                Some(state) if state == "rejected" => Ok(false),
                other => Err(other),
            }
        })
        .await
    }

    /// A changed task starts at once, however often it failed before.
    async fn begin_turn(&self, name: &str) {
        let task = self.host.get(&format!("/v1/tasks/{name}")).await.ok();
        assert!(["created", "failed", "stopped"].iter().any(|status| task["status"] == *status), "{name} is {}", task["status"]);
        let lag = if task["max_lag_seconds"] == 30 { 31 } else { 30 };
        self.host.patch(&format!("/v1/tasks/{name}"), &json!({"max_lag_seconds": lag})).await.ok();
        self.start_task(name).await;
    }
}

/// The neighbour's own: the rules add a column, and a module of a tenant filters and rewrites.
fn neighbours_rules() -> Vec<Value> {
    vec![
        json!({"rule-type": "transformation", "rule-id": "2", "rule-name": "2", "rule-target": "column", "rule-action": "add-column",
            "object-locator": {"schema-name": "public", "table-name": "probe"}, "value": "label",
            "expression": "case when $id >= 50 then 'big' else 'small' end", "data-type": {"type": "string", "length": 5}}),
        json!({"rule-type": "module", "rule-id": "3", "rule-name": "3", "module": "rewrite", "config": "filter rewrite",
            "object-locator": {"schema-name": "public", "table-name": "probe"}}),
    ]
}

fn task_of(misdeed: &str) -> String {
    format!("hostile-{misdeed}")
}
