//! A worker that stands still while another takes its task over, and then wakes up.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use crate::rig::{Host, Rig, seed, times};

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_wakes_up_after_a_take_over_is_fenced_and_changes_nothing() {
    let mut random = StdRng::seed_from_u64(seed());
    let mut rig = Rig::replicating(1_000, json!({})).await;
    let writers = rig.write(3, Duration::from_millis(3));
    for _ in 0..times(2) {
        writers.wait_more(100).await;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..300))).await;
        rig.host.process.sigstop();
        let successor = Host::start(&rig.to_source, &rig.to_target, json!({})).await;
        successor.start_task().await;
        writers.wait_more(300).await;
        rig.wait_level(&successor).await;
        let stopped = std::mem::replace(&mut rig.host, successor);
        stopped.process.sigcont();
        let failure = stopped.wait_failed().await;
        assert_eq!(failure["code"], "fenced", "{failure}");
        writers.wait_more(100).await;
        rig.wait_level(&rig.host).await;
    }
    println!("{} transactions", writers.stop().await);
    rig.wait_level(&rig.host).await;
    rig.assert_equal().await;
    assert_eq!(rig.host.task().await["status"], "running");
}
