//! One round: tables, tasks, steps, and the comparison.

use std::fmt::Write;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use serde_json::json;
use tidegate_harness::{TablePair, compare_databases};

use super::kinds::{Engine, Reach};
use super::plan::{Plan, State, Step};
use super::rig::{Pair, Rig, Session};
use super::tables::COMPUTED;
use super::text::named;

/// How long a target may take to become equal: a debug build on a busy machine, and several loads of changed tables.
const PATIENCE: Duration = Duration::from_secs(150);

/// Steps between two comparisons.
const STEPS: u32 = 25;

/// Comparisons in a round.
const PARTS: u32 = 2;

pub(super) struct Round<'a> {
    rig: &'a Rig,
    seed: u64,
    schema: String,
}

impl<'a> Round<'a> {
    pub(super) fn new(rig: &'a Rig, seed: u64) -> Round<'a> {
        Round { rig, seed, schema: format!("round{seed}") }
    }

    /// Runs every source beside the others; panics with what differs and how to see it again.
    pub(super) async fn run(&self) {
        let since = Instant::now();
        let [one, other, third] = Engine::ALL.map(|source| self.run_source(source));
        let reports = tokio::join!(one, other, third);
        println!("round of seed {} in {:.1} s: {}, {}, {}", self.seed, since.elapsed().as_secs_f32(), reports.0, reports.1, reports.2);
    }

    async fn run_source(&self, source: Engine) -> String {
        let pairs: Vec<Pair> = targets(source).into_iter().map(|target| Pair::new(source, target, &self.schema)).collect();
        if pairs.is_empty() {
            return format!("{} rests", source.name());
        }
        let mut run = SourceRun::begin(self, source, pairs).await;
        for part in 0..PARTS {
            for _ in 0..STEPS {
                run.step().await;
            }
            run.settle(i64::from(part)).await;
            println!("{} is level after {} steps, {:.1} s", source.name(), run.steps, run.since.elapsed().as_secs_f32());
        }
        let report = format!("{} {} steps, {} refused, {} cells", source.name(), run.steps, run.refused, run.rows);
        assert!(run.refused * 3 < run.steps, "the source refuses too much: {report}\n{}", run.statements);
        for pair in &run.pairs {
            self.rig.remove(pair).await;
        }
        self.rig.drop_schema(source, &self.schema).await;
        report
    }
}

/// The targets that `TIDEGATE_PAIRS` leaves a source.
fn targets(source: Engine) -> Vec<Engine> {
    let wanted = std::env::var("TIDEGATE_PAIRS").ok();
    let has = |target: &Engine| {
        let name = format!("{}-{}", source.name(), target.name());
        wanted.as_ref().is_none_or(|wanted| wanted.split(',').any(|wanted| wanted.trim() == name))
    };
    Engine::ALL.into_iter().filter(has).collect()
}

/// A source at work in a round.
struct SourceRun<'a> {
    round: &'a Round<'a>,
    source: Engine,
    pairs: Vec<Pair>,
    plan: Plan,
    session: Session,
    /// Everything that the source was told, for the report.
    statements: String,
    steps: u32,
    refused: u32,
    rows: u64,
    since: Instant,
}

impl<'a> SourceRun<'a> {
    /// Makes the tables and starts the tasks.
    async fn begin(round: &'a Round<'a>, source: Engine, pairs: Vec<Pair>) -> SourceRun<'a> {
        let (rig, schema) = (round.rig, &round.schema);
        rig.sql(source, &format!("create schema {schema}")).await;
        let session = rig.session(source, schema).await;
        let plan = Plan::new(round.seed, source);
        let mut run = SourceRun {
            round,
            source,
            pairs,
            plan,
            session,
            statements: String::new(),
            steps: 0,
            refused: 0,
            rows: 0,
            since: Instant::now(),
        };
        if source.is_postgres() {
            run.tell("create type mood as enum ('so so', 'a,b', 'it''s', '')").await;
        }
        run.tell(&format!("create table {} (id integer primary key)", marker(source))).await;
        for step in run.plan.begin() {
            for statement in &step.statements {
                run.tell(statement).await;
            }
        }
        for (index, pair) in run.pairs.iter().enumerate() {
            let lanes = 1 + (round.seed.wrapping_add(index as u64)) % 4;
            let settings = json!({"chunk_rows": 1000, "load_lanes": lanes, "ddl": {"drop_table": "apply"}});
            rig.create_task(pair, settings).await;
            rig.host.post(&format!("/v1/tasks/{}/start", pair.task), &json!({})).await.ok();
        }
        run
    }

    /// A statement that may not be refused.
    async fn tell(&mut self, statement: &str) {
        self.note(statement);
        if let Err(error) = self.session.run(statement).await {
            panic!("{error}\n{statement}\n{}", self.report(None));
        }
    }

    fn note(&mut self, statement: &str) {
        writeln!(self.statements, "{statement};").expect("a string takes everything");
    }

    async fn step(&mut self) {
        let Step { statements, is_transaction } = self.plan.step();
        self.steps += 1;
        for (index, statement) in statements.iter().enumerate() {
            self.note(statement);
            let Err(error) = self.session.run(statement).await else { continue };
            self.note(&format!("-- refused: {}", error.replace('\n', " ")));
            self.refused += 1;
            assert!(is_transaction || index == 0, "half of a step was refused: {error}\n{}", self.report(None));
            if is_transaction {
                self.tell("rollback").await;
            }
            self.plan.undo();
            return;
        }
    }

    /// Waits until every target has what the source has, and looks again when a later change has arrived.
    async fn settle(&mut self, part: i64) {
        for look in 0..2 {
            let id = part * 2 + look;
            self.tell(&format!("insert into {} values ({id})", marker(self.source))).await;
            for index in 0..self.pairs.len() {
                self.wait_equal(index, id).await;
            }
        }
    }

    async fn wait_equal(&mut self, index: usize, id: i64) {
        let rig = self.round.rig;
        let since = Instant::now();
        let pair = &self.pairs[index];
        let mut seen = String::from("nothing");
        loop {
            let task = rig.task(pair).await;
            assert_ne!(task["status"], "failed", "{}\n{}", task["failure"], self.report(Some(pair)));
            let query = format!("select count(*) from {}.{} where id = {id}", pair.copy, marker(pair.target));
            let arrived = rig.try_rows(pair.target, &query).await.is_ok_and(|rows| rows[0][0].as_deref() == Some("1"));
            if arrived {
                match differences(rig, pair, self.plan.state()).await {
                    Ok(rows) => {
                        self.rows += rows;
                        return;
                    }
                    Err(found) => seen = found,
                }
            }
            assert!(
                since.elapsed() < PATIENCE,
                "after {} s {} (phase {}) is not equal: marker {id} arrived: {arrived}, {seen}\n{}",
                PATIENCE.as_secs(),
                pair.task,
                task["phase"],
                self.report(Some(pair))
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Everything that is needed to see a failure again.
    fn report(&self, pair: Option<&Pair>) -> String {
        let seed = self.round.seed;
        let pairs = pair.map_or_else(|| format!("{0}-postgres,{0}-mysql,{0}-mariadb", self.source.name()), |pair| pair.task.clone());
        let path = tidegate_harness::process::root_dir().join(format!("target/generator-{seed}-{}.log", self.source.name()));
        // What the host says is long, and the statements are what one looks for first.
        std::fs::write(&path, self.round.rig.host.log()).unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
        format!(
            "statements at the source:\n{}\nthe host's log is in {}\nseed {seed}; again: TIDEGATE_SEED={seed} TIDEGATE_ROUNDS=1 TIDEGATE_PAIRS={pairs} \
             cargo test -p tidegate-harness --test generator random_schemas -- --ignored",
            self.statements,
            path.display()
        )
    }
}

/// A table that goes everywhere, whose rows tell that what was before them has arrived.
fn marker(engine: Engine) -> String {
    named(engine, &format!("{}marker", Reach::EVERYWHERE.prefix()))
}

/// The computed column's values are not in the log: it is made again where the target understands the expression.
fn may_lack_computed(pair: &Pair) -> bool {
    pair.source == Engine::Mariadb || pair.source.is_postgres() && !pair.target.is_postgres()
}

/// Counts the rows of a target that is equal, or says what is not.
async fn differences(rig: &Rig, pair: &Pair, state: &State) -> Result<u64, String> {
    let mut pairs = Vec::new();
    for table in state.tables.iter().filter(|table| table.reach.has(pair.target)) {
        let mut wanted = rig.columns(pair.source, &pair.schema, &table.name).await;
        let found = rig.columns(pair.target, &pair.copy, &table.name).await;
        let mut compared = TablePair::new((&pair.schema, &table.name), (&pair.copy, &table.name));
        if may_lack_computed(pair) && !found.iter().any(|name| name == COMPUTED) {
            wanted.retain(|name| name != COMPUTED);
            compared = compared.without(COMPUTED);
        }
        if wanted != found {
            return Err(format!("table {:?} has the columns {found:?}, wanted {wanted:?}", table.name));
        }
        pairs.push(compared);
    }
    for (name, reach) in &state.dropped {
        if reach.has(pair.target) && !rig.columns(pair.target, &pair.copy, name).await.is_empty() {
            return Err(format!("table {name:?} was dropped and is there"));
        }
    }
    let (source, target) = (rig.database(pair.source), rig.database(pair.target));
    // A table that is loaded again goes away while it is read, and the comparison panics.
    let compared = AssertUnwindSafe(compare_databases(&source, &target, &pairs)).catch_unwind().await;
    let comparison = compared.map_err(|_| "a table went away while it was read".to_owned())?;
    if comparison.differences == 0 { Ok(comparison.rows) } else { Err(comparison.to_string()) }
}
