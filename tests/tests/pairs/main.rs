//! Every source into every target: nine pairs, with the workload running while the load runs and sysbench beside the
//! stream, and values of every type that the pairs carry across engines.
//!
//! One test for each source, with a host for each of its three targets; they take turns, because each starts four servers.

#[path = "../scenarios/world.rs"]
#[allow(dead_code, reason = "the scenarios use the rest")]
mod world;

mod key_equality;
mod oltp;
mod values;

use std::sync::Arc;

use serde_json::json;
use tidegate_harness::{MysqlFlavour, PostgresVersion, compare_databases};
use tokio::sync::Mutex;

use oltp::{Benchmark, Load};
use world::{Source, World, seed};

/// Held by the test whose turn it is.
static TURN: Mutex<()> = Mutex::const_new(());

/// What a debug build follows in three targets on two busy cores.
const SYSBENCH: Load = Load { seconds: 3, rate: 30, tables: 2, rows: 300 };

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
    Benchmark::Sysbench.prepare(&first.source, SYSBENCH).await;
    let workload = first.run_workload(seed, 2).await;
    for (name, world) in &worlds {
        let settings = json!({"chunk_rows": 1000, "load_lanes": 2});
        world.create_task(&format!("to-{name}"), "full-load-and-cdc", "drop-and-create", settings).await;
        world.start_task(&format!("to-{name}")).await;
    }
    for (name, world) in &worlds {
        world.wait_phase(&format!("to-{name}"), "replicating").await;
    }
    let sysbench = Benchmark::Sysbench.run(&first.source, SYSBENCH).await;
    let transactions = workload.stop().await;
    for (name, world) in &worlds {
        world.wait_level(&format!("to-{name}")).await;
        let pairs = Benchmark::Sysbench.tables(&world.source, SYSBENCH);
        let of_sysbench = compare_databases(&world.source.database(), &world.target.database(), &pairs).await;
        let comparison = world.compare().await;
        println!("to {name}: {transactions} transactions, {comparison}; {sysbench} of sysbench, {of_sysbench}");
        assert!(transactions > 100 && sysbench > 0, "{transactions} and {sysbench} transactions");
        assert_eq!(comparison.differences, 0, "to {name}: {comparison}");
        assert_eq!(of_sysbench.differences, 0, "to {name}: {of_sysbench}");
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
