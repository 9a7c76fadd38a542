//! Two hosts that were started by mistake for the same task.

use serde_json::json;
use tidegate_harness::{MysqlFlavour, PostgresVersion};

use crate::world::{Source, World, seed};

async fn started_twice(source: Source, target: Source) {
    let seed = seed();
    println!("seed {seed}");
    let first = World::between(source, target).await;
    first.prepare_workload(seed, 2_000).await;
    first.create_task("twice", "full-load-and-cdc", "drop-and-create", json!({})).await;
    first.start_task("twice").await;
    let workload = first.run_workload(seed, 2).await;
    first.wait_phase("twice", "replicating").await;

    let second = first.second_host().await;
    second.create_task("twice", "full-load-and-cdc", "drop-and-create", json!({})).await;
    second.start_task("twice").await;
    let failure = first.wait_failed("twice").await;
    assert_eq!(failure["code"], "fenced", "{failure}");
    assert!(failure["message"].as_str().unwrap_or_default().contains("another worker took over"), "{failure}");

    workload.stop().await;
    second.wait_level("twice").await;
    let comparison = second.compare().await;
    assert_eq!(comparison.differences, 0, "{comparison}");
}

#[tokio::test(flavor = "multi_thread")]
async fn second_worker_fences_the_first() {
    started_twice(Source::postgres(PostgresVersion::V15).await, Source::postgres(PostgresVersion::V17).await).await;
}

/// MySQL and MariaDB end the older stream by themselves, since both readers have one server id; the fence does not wait for that.
#[tokio::test(flavor = "multi_thread")]
async fn second_worker_fences_the_first_from_mysql_to_mariadb() {
    started_twice(Source::mysql(MysqlFlavour::Mysql97).await, Source::mysql(MysqlFlavour::Mariadb118).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn second_worker_fences_the_first_from_mariadb_to_mysql() {
    started_twice(Source::mysql(MysqlFlavour::Mariadb1011).await, Source::mysql(MysqlFlavour::Mysql97).await).await;
}
