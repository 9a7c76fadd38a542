//! Connections that are cut again and again, and connections that fall silent.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tidegate_harness::{Direction, Fault, Proxy};

use crate::rig::{Rig, seed, times};

async fn cut(proxy: &Proxy) {
    proxy.set(Fault::Cut);
    tokio::time::sleep(Duration::from_millis(5)).await;
    proxy.set(Fault::Pass);
}

/// Cuts meet take-overs, loads, commits and the start of the stream alike. A take-over whose answer is lost is this
/// run's own, and no other worker's.
#[tokio::test(flavor = "multi_thread")]
async fn connections_cut_every_few_hundred_milliseconds_end_equal() {
    let mut random = StdRng::seed_from_u64(seed());
    let rig = Rig::start(30_000, json!({"chunk_rows": 2000, "load_lanes": 2})).await;
    rig.host.start_task().await;
    let writers = rig.write(2, Duration::from_millis(10));
    for _ in 0..times(60) {
        tokio::time::sleep(Duration::from_millis(random.random_range(20..500))).await;
        if random.random_bool(0.4) {
            cut(&rig.to_source).await;
        }
        if random.random_bool(0.7) {
            cut(&rig.to_target).await;
        }
    }
    println!("{} transactions", writers.stop().await);
    rig.wait_level(&rig.host).await;
    rig.assert_equal().await;
    assert!(rig.host.reconnects().await > 5);
}

/// A source that answers nothing while its connection stands is given up after a minute.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_source_is_noticed_within_80_seconds() {
    let rig = Rig::replicating(100, json!({})).await;
    let before = rig.host.reconnects().await;
    let silent = Instant::now();
    rig.to_source.set(Fault::Hold(Direction::Both));
    rig.source.sql("insert into ledger values (5, 1, 'while silent')").await;
    while rig.host.reconnects().await == before {
        assert!(silent.elapsed() < Duration::from_secs(80), "the silence was not noticed");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!("noticed after {} s", silent.elapsed().as_secs());
    rig.to_source.set(Fault::Pass);
    rig.wait_level(&rig.host).await;
    rig.assert_equal().await;
}

/// A target that answers nothing, in the middle of a group or before one, is given up when a new connection gets no
/// answer either.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_target_is_noticed_within_90_seconds() {
    let rig = Rig::replicating(100, json!({})).await;
    let before = rig.host.reconnects().await;
    let silent = Instant::now();
    rig.to_target.set(Fault::Hold(Direction::Both));
    rig.source.sql("insert into ledger values (5, 1, 'while silent')").await;
    while rig.host.reconnects().await == before {
        assert!(silent.elapsed() < Duration::from_secs(90), "the silence was not noticed");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!("noticed after {} s", silent.elapsed().as_secs());
    rig.to_target.set(Fault::Pass);
    rig.wait_level(&rig.host).await;
    rig.assert_equal().await;
}

/// A reload that is asked for while the target is away is not forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_meets_a_cut_is_still_done() {
    let rig = Rig::replicating(100, json!({})).await;
    rig.target.sql("update copy.fill set note = 'changed by somebody' where id < 50").await;
    rig.to_target.set(Fault::Cut);
    let tables = json!({"tables": [{"schema": "public", "table": "fill"}]});
    // The answer comes when the target knows of the request, so not before the cut is over.
    let asking = rig.host.process.post("/v1/tasks/t/tables/reload", &tables);
    let mending = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        rig.to_target.set(Fault::Pass);
    };
    let (asked, ()) = tokio::join!(asking, mending);
    asked.ok();
    tidegate_harness::wait_for("the table as it was", crate::rig::PATIENCE, async || {
        let wrong = rig.target.value("select count(*) from copy.fill where note = 'changed by somebody'").await;
        if wrong == "0" { Ok(()) } else { Err(wrong) }
    })
    .await;
    rig.wait_level(&rig.host).await;
    rig.assert_equal().await;
}
