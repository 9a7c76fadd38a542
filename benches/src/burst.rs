//! How does a task at zero units take a burst: when do its units rise, does the forecast come true, when is it at zero again?
//!
//! Sizes are changes (`--changes`, in transactions of a hundred) and the delay of each way to the target in milliseconds
//! (`--delay-ms`), which makes a backlog that a fast machine would not have. Answers are seconds since the burst began, and
//! for each decision that saw a backlog the seconds that it forecast and that it took.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidegate_harness::{Direction, Fault, PostgresServer, PostgresVersion, Proxy, Tidegate};

use crate::host::{postgres, start, task, wait, wait_asleep};

/// Changes of one transaction.
const OF_TRANSACTION: u64 = 100;

/// How often the task is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A task that is not at zero by then stays as it is.
const PATIENCE: Duration = Duration::from_secs(1_800);

struct Look {
    at: f64,
    lag: f64,
    units: u64,
    waiting: u64,
    objective: Option<f64>,
    level: Option<f64>,
}

impl Look {
    fn of(since: Instant, lag: &Value) -> Look {
        let capacity = &lag["capacity"];
        Look {
            at: since.elapsed().as_secs_f64(),
            lag: lag["lag_seconds"].as_f64().unwrap_or_default(),
            units: capacity["units_granted"].as_u64().unwrap_or_default(),
            waiting: capacity["changes_waiting"].as_u64().unwrap_or_default(),
            objective: capacity["objective_seconds"].as_f64(),
            level: capacity["level_seconds"].as_f64(),
        }
    }
}

/// Runs the burst and prints what came of it.
pub(crate) async fn measure(changes: u64, delay_ms: u64, units_max: u32) {
    let source = PostgresServer::start(PostgresVersion::V17).await;
    let target = PostgresServer::start(PostgresVersion::V17).await;
    let proxy = Proxy::to_port(target.port()).await;
    let host = Tidegate::serve_in_own_dir().await;
    source.sql("create table burst (id bigint primary key, account integer not null, note text not null)").await;
    host.post("/v1/endpoints", &postgres("source", "source", source.port())).await.ok();
    host.post("/v1/endpoints", &postgres("target", "target", proxy.port())).await.ok();
    start(&host, &[task("burst", "public", "burst", units_max)]).await;
    wait_asleep(&host, "burst").await;
    proxy.set(Fault::Delay(Direction::Both, delay_ms));

    let writer = source.client().await;
    let transactions = changes / OF_TRANSACTION;
    let since = Instant::now();
    let writing = tokio::spawn(async move {
        let sql = format!(
            "do $$ begin for t in 0..{transactions} - 1 loop insert into burst select t * {OF_TRANSACTION} + g, t, 'note ' || g \
             from generate_series(1, {OF_TRANSACTION}) g; commit; end loop; end $$"
        );
        writer.batch_execute(&sql).await.expect("the burst can be written");
        since.elapsed().as_secs_f64()
    });
    let mut looks: Vec<Look> = Vec::new();
    loop {
        let look = Look::of(since, &host.get("/v1/tasks/burst/lag").await.ok());
        let is_over = writing.is_finished() && look.units == 0 && looks.iter().any(|look| look.units > 0);
        looks.push(look);
        if is_over || since.elapsed() > PATIENCE {
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let written = writing.await.expect("the writer ends well");
    wait(&host, "burst", "be level", |task| task["progress"]["lag_seconds"] == 0.0).await;
    let found: u64 = target.value("select count(*) from copy.burst").await.parse().expect("a count is a number");
    println!("{}", report(changes, delay_ms, written, found, &looks));
}

fn report(changes: u64, delay_ms: u64, written: f64, found: u64, looks: &[Look]) -> Value {
    let first = |is_so: &dyn Fn(&Look) -> bool| looks.iter().find(|look| is_so(look)).map(|look| look.at);
    let last = |is_so: &dyn Fn(&Look) -> bool| looks.iter().rev().find(|look| is_so(look)).map(|look| look.at);
    let late = last(&|look| look.lag > 30.0);
    let behind = last(&|look| look.waiting > 0);
    // Forecasts suppose that what arrives stays as it is, so those made while the burst came say nothing.
    let forecast = |of: fn(&Look) -> Option<f64>, came: Option<f64>| -> Vec<Value> {
        let made = looks.iter().filter(|look| look.at > written + 10.0 && came.is_some_and(|came| look.at < came));
        let pairs = made.filter_map(|look| Some((look.at, of(look).filter(|seconds| *seconds > 0.0)?)));
        pairs.step_by(20).map(|(at, seconds)| json!({"at": at, "forecast": seconds, "took": came.map(|came| came - at)})).collect()
    };
    json!({
        "work": "burst", "changes": changes, "delay_ms": delay_ms, "found": found, "written_seconds": written,
        "units_rise_seconds": first(&|look| look.units > 0),
        "units_peak": looks.iter().map(|look| look.units).max(),
        "units_peak_seconds": looks.iter().max_by_key(|look| (look.units, std::cmp::Reverse((look.at * 1e3) as u64))).map(|look| look.at),
        "lag_peak_seconds": looks.iter().map(|look| look.lag).fold(0.0, f64::max),
        "objective_met_seconds": late,
        "objective_forecasts": forecast(|look| look.objective, late),
        "level_seconds": behind,
        "level_forecasts": forecast(|look| look.level, behind),
        "units_zero_seconds": looks.last().filter(|look| look.units == 0).map(|look| look.at),
    })
}
