//! Connections that are cut again and again, and connections that fall silent.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tidegate_harness::{Direction, Fault, Proxy};

use crate::rig::{MARIADB_TO_MYSQL, MYSQL_TO_MARIADB, POSTGRES, Pair, Rig, seed, times};

async fn cut(proxy: &Proxy) {
    proxy.set(Fault::Cut);
    tokio::time::sleep(Duration::from_millis(5)).await;
    proxy.set(Fault::Pass);
}

/// Cuts both connections in so many moments. Where nothing arrives between two cuts, the task waits longer before it tries
/// again, so further ones follow until it has lost its connections often enough.
async fn cut_again_and_again(rig: &Rig, random: &mut StdRng, rounds: u64) {
    let enough = rig.host.reconnects().await + rounds.div_ceil(12);
    let mut round = 0;
    while round < rounds || rig.host.reconnects().await < enough {
        assert!(round < 20 * rounds, "connections are not lost again and again");
        tokio::time::sleep(Duration::from_millis(random.random_range(20..500))).await;
        if random.random_bool(0.4) {
            cut(&rig.to_source).await;
        }
        if random.random_bool(0.7) {
            cut(&rig.to_target).await;
        }
        round += 1;
    }
}

/// Cuts meet take-overs and the load, then commits and the start of the stream. A take-over whose answer is lost is this
/// run's own, and no other worker's.
async fn connections_are_cut(pair: Pair, rounds: u64) {
    let mut random = StdRng::seed_from_u64(seed());
    let rig = Rig::between(pair, 30_000, json!({"chunk_rows": 2000, "load_lanes": 2})).await;
    rig.host.start_task().await;
    let writers = rig.write(2, Duration::from_millis(10));
    cut_again_and_again(&rig, &mut random, rounds / 2).await;
    rig.host.wait_phase("replicating").await;
    cut_again_and_again(&rig, &mut random, rounds / 2).await;
    println!("{} transactions", writers.stop().await);
    rig.wait_level(&rig.host).await;
    rig.assert_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_cut_every_few_hundred_milliseconds_end_equal() {
    connections_are_cut(POSTGRES, times(60)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_cut_every_few_hundred_milliseconds_end_equal_from_mysql_to_mariadb() {
    connections_are_cut(MYSQL_TO_MARIADB, times(12)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_cut_every_few_hundred_milliseconds_end_equal_from_mariadb_to_mysql() {
    connections_are_cut(MARIADB_TO_MYSQL, times(12)).await;
}

/// A source that answers nothing while its connection stands is given up after a minute. One of MySQL or MariaDB is by the
/// heartbeats that do not come: see the connector's tests.
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
async fn target_falls_silent(pair: Pair) {
    let rig = Rig::replicating_between(pair, 100, json!({})).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_target_is_noticed_within_90_seconds() {
    target_falls_silent(POSTGRES).await;
}

/// Both wait most of the time.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_mysql_or_mariadb_target_is_noticed_within_90_seconds() {
    tokio::join!(target_falls_silent(MARIADB_TO_MYSQL), target_falls_silent(MYSQL_TO_MARIADB));
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

/// MY-069: what the source sent is not what arrives. The event is refused by its checksum, not applied, and right when it is read again.
async fn an_event_is_damaged(pair: Pair) {
    let rig = Rig::replicating_between(pair, 100, json!({})).await;
    rig.to_source.set(Fault::FlipBit("as it was written"));
    rig.source.sql("insert into ledger values (6, 1, 'as it was written')").await;
    let failure = rig.host.wait_failed().await;
    assert_eq!(failure["code"], "checksum", "{failure}");
    assert!(!failure.to_string().contains("written"), "{failure}");
    assert_eq!(rig.target.value("select count(*) from copy.ledger").await, "0");
    rig.to_source.set(Fault::Pass);
    rig.host.start_task().await;
    rig.wait_level(&rig.host).await;
    rig.assert_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bit_that_is_flipped_on_its_way_from_mysql_or_mariadb_stops_the_task() {
    tokio::join!(an_event_is_damaged(MYSQL_TO_MARIADB), an_event_is_damaged(MARIADB_TO_MYSQL));
}
