//! Transactions stay whole: a reader of the target never sees a sum that the source never had.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use tidegate_harness::{MysqlFlavour, PostgresVersion};

use crate::world::{Source, World, seed};

async fn sums_stay_whole(source: Source) {
    let seed = seed();
    println!("seed {seed}");
    let world = World::start(source, PostgresVersion::V17).await;
    world.prepare_workload(seed, 2_000).await;
    let wanted = world.source_sum().await;
    world.create_task("sums", "full-load-and-cdc", "drop-and-create", json!({})).await;
    world.set_units("sums", 4).await;
    world.start_task("sums").await;
    world.wait_phase("sums", "replicating").await;

    let stop = Arc::new(AtomicBool::new(false));
    let reader = world.target_client().await;
    let query = world.target_sum_query();
    let stopped = stop.clone();
    let polling = tokio::spawn(async move {
        let mut polls = 0_u64;
        while !stopped.load(Ordering::Relaxed) {
            let sum: i64 = reader.query_one(&query, &[]).await.expect("the sum can be read").get(0);
            assert_eq!(sum, wanted, "poll {polls}");
            polls += 1;
        }
        polls
    });
    let workload = world.run_workload(seed, 4).await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    let transactions = workload.stop().await;
    world.wait_level("sums").await;
    stop.store(true, Ordering::Relaxed);
    let polls = polling.await.expect("every poll saw the sum");
    println!("{transactions} transactions, {polls} polls");
    assert!(polls > 100 && transactions > 100, "{polls} polls, {transactions} transactions");
    let comparison = world.compare().await;
    assert_eq!(comparison.differences, 0, "{comparison}");
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_never_see_half_a_transaction_from_postgres() {
    sums_stay_whole(Source::postgres(PostgresVersion::V18).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_never_see_half_a_transaction_from_mariadb() {
    sums_stay_whole(Source::mysql(MysqlFlavour::Mariadb1011).await).await;
}
