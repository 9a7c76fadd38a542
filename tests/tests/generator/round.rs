//! One round: tables, tasks, steps, and the comparison.

use std::fmt::Write;
use std::time::{Duration, Instant};

use serde_json::json;
use tidegate_harness::{TablePair, compare_while_loading};

use super::disturb::Disturbance;
use super::kinds::{Engine, Reach};
use super::plan::{Plan, Side, State, Step};
use super::rig::{Pair, Rig, Session};
use super::tables::COMPUTED;
use super::text::named;

/// How long a target may take to become equal: a debug build on a busy machine, and several loads of changed tables.
const PATIENCE: Duration = Duration::from_secs(300);

/// Between two comparisons that found a difference: they cost the same machine that has to make it go away.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Comparisons in a round.
const PARTS: u32 = 2;

pub(super) struct Round<'a> {
    rig: &'a Rig,
    seed: u64,
    /// At each source.
    steps: u32,
    schema: String,
}

impl<'a> Round<'a> {
    pub(super) fn new(rig: &'a Rig, seed: u64, steps: u32) -> Round<'a> {
        Round { rig, seed, steps, schema: format!("round{seed}") }
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
            for _ in 0..self.steps.div_ceil(PARTS) {
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
    disturbance: Disturbance,
    first: Session,
    second: Session,
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
        let (first, second) = (rig.session(source, schema).await, rig.session(source, schema).await);
        let mut run = SourceRun {
            round,
            source,
            pairs,
            plan: Plan::new(round.seed, source),
            disturbance: Disturbance::new(round.seed.wrapping_mul(3).wrapping_add(source as u64)),
            first,
            second,
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
            rig.post(&format!("/v1/tasks/{}/start", pair.task), &json!({})).await.ok();
        }
        run
    }

    /// A statement that may not be refused.
    async fn tell(&mut self, statement: &str) {
        self.note(statement);
        if let Err(error) = self.first.run(statement).await {
            panic!("{error}\n{statement}\n{}", self.report(None).await);
        }
    }

    fn session(&mut self, side: Side) -> &mut Session {
        match side {
            Side::First => &mut self.first,
            Side::Second => &mut self.second,
        }
    }

    fn note(&mut self, statement: &str) {
        writeln!(self.statements, "{statement};").expect("a string takes everything");
    }

    async fn step(&mut self) {
        match self.disturbance.step(self.round.rig, &self.pairs, self.plan.state()).await {
            Ok(None) => {}
            Ok(Some(what)) => self.note(&format!("-- {what}")),
            Err(failed) => panic!("{failed}\n{}", self.report(None).await),
        }
        let step = self.plan.step();
        self.take(step).await;
    }

    async fn take(&mut self, Step { statements, by, is_transaction }: Step) {
        self.steps += 1;
        let mark = if by == Side::First { "" } else { "/* second */ " };
        for (index, statement) in statements.iter().enumerate() {
            self.note(&format!("{mark}{statement}"));
            let Err(error) = self.session(by).run(statement).await else { continue };
            self.note(&format!("-- refused: {}", error.replace('\n', " ")));
            self.refused += 1;
            if is_transaction {
                self.note(&format!("{mark}rollback"));
                self.session(by).run("rollback").await.expect("a session can roll back");
            } else if index > 0 {
                panic!("half of a step was refused: {error}\n{}", self.report(None).await);
            }
            self.plan.refuse(by);
            return;
        }
    }

    /// Waits until every target has what the source has, and looks again when a later change has arrived.
    async fn settle(&mut self, part: i64) {
        if let Some(step) = self.plan.close() {
            self.take(step).await;
        }
        self.disturbance.end(self.round.rig, &self.pairs).await;
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
        let mut pause = Duration::from_millis(100);
        loop {
            let task = rig.task(pair).await;
            if task["status"] == "failed" {
                panic!("{} failed: {}\n{}", pair.task, task["failure"], self.report(Some(pair)).await);
            }
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
                pause = (pause * 2).min(PAUSE_MAX);
            }
            if since.elapsed() > PATIENCE {
                let (waited, name, phase) = (PATIENCE.as_secs(), &pair.task, &task["phase"]);
                let report = self.report(Some(pair)).await;
                panic!("after {waited} s {name} (phase {phase}) is not equal: marker {id} arrived: {arrived}, {seen}\n{report}");
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Everything that is needed to see a failure again.
    async fn report(&self, pair: Option<&Pair>) -> String {
        let (seed, steps) = (self.round.seed, self.round.steps);
        let pairs = pair.map_or_else(|| format!("{0}-postgres,{0}-mysql,{0}-mariadb", self.source.name()), |pair| pair.task.clone());
        let path = tidegate_harness::process::root_dir().join(format!("target/generator-{seed}-{}.log", self.source.name()));
        // What the host says is long, and the statements are what one looks for first.
        std::fs::write(&path, self.round.rig.log().await).unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
        format!(
            "statements at the source:\n{}\nthe host's log is in {}\nseed {seed}; again: cargo xtask generator --seed {seed} --rounds 1 --steps {steps} --pairs {pairs}",
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
    // The logs of the others say at the statement's place only that a table was dropped: who begins behind it keeps the rows.
    let dropped = if pair.source.is_postgres() { &state.dropped[..] } else { &[] };
    for (name, reach) in dropped {
        if reach.has(pair.target) && !rig.columns(pair.target, &pair.copy, name).await.is_empty() {
            return Err(format!("table {name:?} was dropped and is there"));
        }
    }
    let (source, target) = (rig.database(pair.source), rig.database(pair.target));
    compare_while_loading(&source, &target, &pairs).await.map(|comparison| comparison.rows)
}
