//! What a task notices of hostile modules in the same process.
//!
//! ```text
//!   source ── task "neighbour" (no module) ──▶ target       a row at a time; latency = commit in the target - insert
//!   theirs ── tasks with hostile modules   ──▶ theirs       restarted whenever they fail
//!   uploads: too large, foreign imports, garbage            refused again and again
//! ```
//!
//! Quiet and hostile phases alternate on the same servers, so that what the machine does meanwhile meets both.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::instance::keep_to;
use crate::process::root_dir;
use crate::{PostgresServer, PostgresVersion, Tidegate, wait_for};

/// Longest wait for a task's phase, in a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// What the modules of the hostile tasks do.
pub const MISDEEDS: [&str; 3] = ["loop", "memory", "recursion"];

/// How long and how much.
#[derive(Debug, Clone)]
pub struct NeighbourPlan {
    /// Rows of the neighbour in each phase.
    pub rows_each_phase: u32,
    /// Time between two rows.
    pub interval: Duration,
    /// Pairs of a quiet and a hostile phase.
    pub pairs: u32,
    /// Which of [`MISDEEDS`] there are.
    pub misdeeds: Vec<String>,
    /// Whether a stranger uploads what is refused.
    pub uploads: bool,
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

/// What was measured.
#[derive(Debug, Clone)]
pub struct NeighbourReport {
    /// Milliseconds of each row while nothing else ran, in their order.
    pub quiet_ms: Vec<f64>,
    /// The same beside the hostile tasks.
    pub beside_ms: Vec<f64>,
    /// Times that hostile tasks failed and were started again.
    pub failures: u64,
    /// Uploads refused.
    pub refused: u64,
    /// Resident memory of the process before the hostile tasks, and its peak.
    pub rss_before_bytes: u64,
    /// See above.
    pub rss_peak_bytes: u64,
    /// Sessions were scheduled as groups: the plan asked for something else, and this user may not switch it.
    pub has_autogroups: bool,
}

impl NeighbourReport {
    /// A percentile of latencies, 0 to 100.
    pub fn percentile(latencies: &[f64], percent: f64) -> f64 {
        let mut sorted = latencies.to_vec();
        sorted.sort_by(f64::total_cmp);
        let place = (sorted.len() as f64 * percent / 100.0).ceil() as usize;
        sorted.get(place.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(f64::NAN)
    }

    /// A line for each row: phase, number and milliseconds.
    pub fn rows(&self) -> String {
        let lines = |phase: &'static str, latencies: &[f64]| -> Vec<String> {
            latencies.iter().enumerate().map(|(number, ms)| format!("{phase},{number},{ms:.3}\n")).collect()
        };
        [lines("quiet", &self.quiet_ms), lines("beside", &self.beside_ms)].concat().concat()
    }

    /// For people.
    pub fn text(&self) -> String {
        let line = |name: &str, latencies: &[f64]| {
            let at = |percent| Self::percentile(latencies, percent);
            format!(
                "{name:<22} {:>5} rows  p50 {:>7.1} ms  p99 {:>7.1} ms  most {:>7.1} ms\n",
                latencies.len(),
                at(50.0),
                at(99.0),
                at(100.0)
            )
        };
        let note = if self.has_autogroups { "sessions are scheduled as groups: see docs/performance.md\n" } else { "" };
        format!(
            "{note}{}{}p99 moves by {:+.1} %; {} hostile tasks failed and were started again, {} uploads refused; resident {} MiB before, {} MiB at the peak\n",
            line("alone", &self.quiet_ms),
            line("beside hostile modules", &self.beside_ms),
            (Self::percentile(&self.beside_ms, 99.0) / Self::percentile(&self.quiet_ms, 99.0) - 1.0) * 100.0,
            self.failures,
            self.refused,
            self.rss_before_bytes >> 20,
            self.rss_peak_bytes >> 20,
        )
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
        quiet_ms: Vec::new(),
        beside_ms: Vec::new(),
        failures: 0,
        refused: 0,
        rss_before_bytes: scene.host.rss_bytes(),
        rss_peak_bytes: 0,
        has_autogroups: plan.strangers_elsewhere && autogroups.is_none(),
    };
    let mut next = 1;
    for pair in 0..plan.pairs {
        let quiet = scene.write_rows(&plan, &mut next).await;
        report.quiet_ms.extend(quiet);
        let stop = tokio::sync::watch::Sender::new(false);
        let (beside, (failures, refused)) = tokio::join!(
            async {
                let beside = scene.write_rows(&plan, &mut next).await;
                stop.send_replace(true);
                beside
            },
            Arc::clone(&scene).misbehave_aside(&plan, pair, stop.subscribe())
        );
        report.beside_ms.extend(beside);
        report.failures += failures;
        report.refused += refused;
    }
    report.rss_peak_bytes = scene.host.peak_rss_bytes();
    drop(autogroups);
    report
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
        let settings = format!("[modules]\ntotal_memory_mib = {}\n", plan.total_memory_mib);
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
        source.sql("create table probe (id integer primary key, sent timestamptz not null default clock_timestamp())").await;
        theirs[0].sql("create table bait (id integer primary key); insert into bait select generate_series(1, 1000)").await;
        let hostile = std::fs::read(root_dir().join("target/guests/hostile.wasm")).expect("the guests are built; run cargo xtask guests");
        host.put_bytes("/v1/modules/hostile", hostile).await.ok();
        let scene = Scene { source, target, theirs, host, _data: data };
        scene.create_task("neighbour", ["source", "target"], "probe", vec![]).await;
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

    /// Writes the rows of one phase and waits until all are there; the milliseconds that each took.
    async fn write_rows(&self, plan: &NeighbourPlan, next: &mut u32) -> Vec<f64> {
        let client = self.source.client().await;
        let first = *next;
        let mut ticks = tokio::time::interval(plan.interval);
        for _ in 0..plan.rows_each_phase {
            ticks.tick().await;
            client.execute(&format!("insert into probe (id) values ({next})"), &[]).await.expect("a row can be inserted");
            *next += 1;
        }
        let wanted = plan.rows_each_phase.to_string();
        wait_for("the neighbour's rows", PATIENCE, async || {
            let found = self.target.value(&format!("select count(*) from probe where id >= {first}")).await;
            if found == wanted { Ok(()) } else { Err(found) }
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

    /// [`misbehave`](Self::misbehave) on a thread of its own, elsewhere where the plan says so.
    async fn misbehave_aside(self: Arc<Self>, plan: &NeighbourPlan, round: u32, stop: tokio::sync::watch::Receiver<bool>) -> (u64, u64) {
        let (told, counts) = tokio::sync::oneshot::channel();
        let (plan, elsewhere) = (plan.clone(), plan.processors());
        std::thread::spawn(move || {
            if let Some((_, theirs)) = elsewhere {
                let thread = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
                assert!(keep_to(&theirs, thread, false), "one's own thread can be bound to processors");
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
            // Nobody waits any more when the measurement has failed.
            let _ = told.send(runtime.block_on(self.misbehave(&plan, round, stop)));
        });
        counts.await.expect("the strangers do not panic")
    }

    /// Keeps hostile tasks and uploads going until told to stop; how often they failed, and how often they were refused.
    async fn misbehave(&self, plan: &NeighbourPlan, round: u32, stop: tokio::sync::watch::Receiver<bool>) -> (u64, u64) {
        for misdeed in &plan.misdeeds {
            self.restart(&task_of(misdeed)).await;
        }
        let (mut failures, mut refused, mut bait) = (0, 0, 1_000_000 * (round + 1));
        while !*stop.borrow() {
            let since = Instant::now();
            for misdeed in &plan.misdeeds {
                let name = task_of(misdeed);
                if self.host.get(&format!("/v1/tasks/{name}")).await.ok()["status"] == "failed" {
                    failures += 1;
                    self.start_task(&name).await;
                }
            }
            // For those tasks that are through their load.
            bait += 1;
            self.theirs[0].sql(&format!("insert into bait values ({bait})")).await;
            let uploads = [b"\0asm\x0d\0\x01\0\x07\xff".to_vec(), b"\0asm\x01\0\0\0".to_vec(), vec![0; 25 << 20]];
            for body in uploads.into_iter().filter(|_| plan.uploads) {
                let answer = self.host.try_put_bytes("/v1/modules/refused", body).await;
                refused += u64::from(answer.is_none_or(|answer| answer.status >= 400));
            }
            // At a pace at which an impatient tenant might try.
            tokio::time::sleep(Duration::from_millis(500).saturating_sub(since.elapsed())).await;
        }
        for misdeed in &plan.misdeeds {
            // It may have failed by itself.
            self.host.post(&format!("/v1/tasks/{}/stop", task_of(misdeed)), &json!({})).await;
        }
        wait_for("the hostile tasks to end", PATIENCE, async || {
            for misdeed in &plan.misdeeds {
                let status = self.host.get(&format!("/v1/tasks/{}", task_of(misdeed))).await.ok()["status"].clone();
                if status != "failed" && status != "stopped" {
                    return Err(status);
                }
            }
            Ok(())
        })
        .await;
        (failures, refused)
    }

    async fn restart(&self, name: &str) {
        let status = self.host.get(&format!("/v1/tasks/{name}")).await.ok()["status"].clone();
        assert!(status == "created" || status == "failed" || status == "stopped", "{name} is {status}");
        self.start_task(name).await;
    }
}

fn task_of(misdeed: &str) -> String {
    format!("hostile-{misdeed}")
}
