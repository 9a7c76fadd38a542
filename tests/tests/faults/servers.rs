//! Servers that are killed and come back, during the load and during the stream, while writers go on.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use crate::rig::{Rig, seed, times};

#[tokio::test(flavor = "multi_thread")]
async fn killed_servers_that_come_back_end_equal() {
    let mut random = StdRng::seed_from_u64(seed());
    let mut rig = Rig::start(60_000, json!({"chunk_rows": 2000, "load_lanes": 2})).await;
    rig.host.start_task().await;
    let writers = rig.write(3, Duration::from_millis(10));
    let mut reconnects = 0;
    for round in 0..times(8) {
        tokio::time::sleep(Duration::from_millis(random.random_range(100..1500))).await;
        // The target in even rounds, the source in odd ones; the first two meet the load.
        let down = if round % 2 == 0 { &mut rig.target } else { &mut rig.source };
        down.kill().await;
        tokio::time::sleep(Duration::from_millis(random.random_range(100..1000))).await;
        let task = rig.host.task().await;
        assert!(task["status"] == "running" || task["status"] == "starting", "{task}");
        let down = if round % 2 == 0 { &mut rig.target } else { &mut rig.source };
        down.restart().await;
        rig.wait_level(&rig.host).await;
        let now = rig.host.reconnects().await;
        println!("round {round}: {now} reconnects");
        assert!(now >= reconnects, "the count of reconnects fell from {reconnects} to {now}");
        reconnects = now;
    }
    println!("{} transactions", writers.stop().await);
    rig.wait_level(&rig.host).await;
    rig.assert_equal().await;
    assert!(reconnects >= times(8) / 2, "{reconnects} reconnects");
}
