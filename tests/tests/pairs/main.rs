//! Every source into every target: nine pairs, with the workload running while the load runs, and values of every type that
//! the pairs carry across engines.
//!
//! One test for each source, with a host for each of its three targets; they take turns, because each starts four servers.

#[path = "../scenarios/world.rs"]
#[allow(dead_code, reason = "the scenarios use the rest")]
mod world;

mod values;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tidegate_harness::{MysqlFlavour, PostgresVersion};
use tokio::sync::Mutex;

use world::{Source, World, seed};

/// Held by the test whose turn it is.
static TURN: Mutex<()> = Mutex::const_new(());

/// A host for each target, on the same source.
async fn worlds(source: Source) -> Vec<(&'static str, World)> {
    let source = Arc::new(source);
    let targets = [
        ("postgres", Source::postgres(PostgresVersion::V17).await),
        ("mysql", Source::mysql(MysqlFlavour::Mysql97).await),
        ("mariadb", Source::mysql(MysqlFlavour::Mariadb118).await),
    ];
    let mut worlds = Vec::new();
    for (name, target) in targets {
        worlds.push((name, World::with(source.clone(), Arc::new(target)).await));
    }
    worlds
}

async fn equal_in_every_target(source: Source) {
    let _turn = TURN.lock().await;
    let seed = seed();
    println!("seed {seed}");
    let worlds = worlds(source).await;
    let (_, first) = &worlds[0];
    first.prepare_workload(seed, 6_000).await;
    let workload = first.run_workload(seed, 2).await;
    for (name, world) in &worlds {
        let settings = json!({"chunk_rows": 1000, "load_lanes": 2});
        world.create_task(&format!("to-{name}"), "full-load-and-cdc", "drop-and-create", settings).await;
        world.start_task(&format!("to-{name}")).await;
    }
    for (name, world) in &worlds {
        world.wait_phase(&format!("to-{name}"), "replicating").await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let transactions = workload.stop().await;
    for (name, world) in &worlds {
        world.wait_level(&format!("to-{name}")).await;
        let comparison = world.compare().await;
        println!("to {name}: {transactions} transactions, {comparison}");
        assert!(transactions > 100, "{transactions}");
        assert_eq!(comparison.differences, 0, "to {name}: {comparison}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_equals_each_of_its_targets() {
    equal_in_every_target(Source::postgres(PostgresVersion::V17).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_equals_each_of_its_targets() {
    equal_in_every_target(Source::mysql(MysqlFlavour::Mysql97).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_equals_each_of_its_targets() {
    equal_in_every_target(Source::mysql(MysqlFlavour::Mariadb1011).await).await;
}
