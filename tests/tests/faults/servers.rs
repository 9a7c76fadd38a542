//! Servers that are killed and come back, during the load and during the stream, while writers go on.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tidegate_harness::{Direction, Fault, wait_for};

use crate::rig::{MARIADB_TO_MYSQL, MYSQL_TO_MARIADB, PATIENCE, POSTGRES, Pair, Rig, seed, times};

/// Waits until a part of `fill` is in the target.
async fn wait_amid_the_load(rig: &Rig) {
    wait_for("a part of the load", PATIENCE, async || {
        let task = rig.host.task().await;
        assert_ne!(task["status"], "failed", "{}\n{}", task["failure"], rig.host.process.log());
        let counts = "select concat(count(loaded_at), ' of ', count(*)) from tidegate.chunk where table_name = 'fill'";
        let found = rig.target.try_value(counts).await?;
        let (loaded, all) = found.split_once(" of ").expect("two counts");
        assert!(loaded == "0" || loaded != all, "the load is over");
        if loaded == "0" { Err(found) } else { Ok(()) }
    })
    .await;
}

async fn servers_are_killed(pair: Pair, rows: u64, rounds: u64) {
    let mut random = StdRng::seed_from_u64(seed());
    let mut rig = Rig::between(pair, rows, json!({"chunk_rows": 2000, "load_lanes": 2})).await;
    // The first two rounds meet the load.
    rig.to_target.set(Fault::Rate(Direction::Up, 50_000));
    rig.host.start_task().await;
    let writers = rig.write(3, Duration::from_millis(10));
    let mut reconnects = 0;
    for round in 0..rounds {
        if round < 2 {
            wait_amid_the_load(&rig).await;
        } else {
            tokio::time::sleep(Duration::from_millis(random.random_range(100..1500))).await;
        }
        // The target in even rounds, the source in odd ones.
        let down = if round % 2 == 0 { &mut rig.target } else { &mut rig.source };
        down.kill().await;
        tokio::time::sleep(Duration::from_millis(random.random_range(100..1000))).await;
        let task = rig.host.task().await;
        assert!(task["status"] == "running" || task["status"] == "starting", "{task}");
        let down = if round % 2 == 0 { &mut rig.target } else { &mut rig.source };
        down.restart().await;
        if round == 0 {
            continue;
        }
        rig.to_target.set(Fault::Pass);
        rig.wait_level(&rig.host).await;
        let now = rig.host.reconnects().await;
        println!("round {round}: {now} reconnects");
        assert!(now >= reconnects, "the count of reconnects fell from {reconnects} to {now}");
        reconnects = now;
    }
    println!("{} transactions", writers.stop().await);
    rig.wait_level(&rig.host).await;
    rig.assert_equal().await;
    assert!(reconnects >= rounds / 2, "{reconnects} reconnects");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_servers_that_come_back_end_equal() {
    servers_are_killed(POSTGRES, 60_000, times(8)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_servers_that_come_back_end_equal_from_mysql_to_mariadb() {
    servers_are_killed(MYSQL_TO_MARIADB, 30_000, times(4)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_servers_that_come_back_end_equal_from_mariadb_to_mysql() {
    servers_are_killed(MARIADB_TO_MYSQL, 30_000, times(4)).await;
}
