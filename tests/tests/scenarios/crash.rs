//! Kills at random moments, and what must hold after each restart and at the end.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_harness::{MysqlFlavour, PostgresVersion};

use crate::world::{Source, World, seed};

/// Kills of each run when `TIDEGATE_KILLS` does not say, and of those into the other targets.
const KILLS: u32 = 50;
const KILLS_BESIDE: u32 = 15;

fn kills(usual: u32) -> u32 {
    std::env::var("TIDEGATE_KILLS").map_or(usual, |text| text.parse().expect("TIDEGATE_KILLS is a number"))
}

/// Where the task is, by what the target remembers of it.
async fn moment(world: &World) -> &'static str {
    if !world.target.has_table("tidegate", "table_state").await {
        return "start";
    }
    let states = world.target.rows("select state from tidegate.table_state").await;
    match states.iter().flatten().filter(|state| state.as_deref() != Some("loaded")).count() {
        _ if states.is_empty() => "start",
        0 => "stream",
        _ => "load",
    }
}

/// The host is killed at random moments of load, catch-up and stream while four writers work at the source; in the end
/// every row is there once, and each ledger entry too.
async fn crash_points(source: Source, target: Source, kills: u32) {
    let seed = seed();
    println!("seed {seed}, {kills} kills");
    let mut random = StdRng::seed_from_u64(seed);
    let mut world = World::between(source, target).await;
    world.prepare_workload(seed, 60_000).await;
    world.create_task("crash", "full-load-and-cdc", "drop-and-create", serde_json::json!({"chunk_rows": 2000, "load_lanes": 3})).await;
    // Groups are under way on several lanes whenever they wait.
    world.set_units("crash", 4).await;
    world.start_task("crash").await;
    let workload = world.run_workload(seed, 4).await;
    let mut moments = BTreeMap::<&str, u32>::new();
    for kill in 0..kills {
        if kill == kills / 3 {
            // The kills so far met start and load; the rest meet catch-up and stream.
            world.wait_phase("crash", "replicating").await;
        }
        // Every fifth is so early that it meets the recovery from the one before.
        let pause = if kill % 5 == 4 { random.random_range(5..80) } else { random.random_range(50..700) };
        tokio::time::sleep(Duration::from_millis(pause)).await;
        *moments.entry(moment(&world).await).or_default() += 1;
        world.kill_and_restart().await;
    }
    println!("killed while {moments:?}");
    let transactions = workload.stop().await;
    world.wait_level("crash").await;
    let comparison = world.compare().await;
    println!("{transactions} transactions, {comparison}");
    assert!(transactions > u64::from(kills), "the workload went on while the host was killed");
    assert_eq!(comparison.differences, 0, "{comparison}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_crash_point_ends_equal_from_postgres() {
    crash_points(Source::postgres(PostgresVersion::V15).await, Source::postgres(PostgresVersion::V17).await, kills(KILLS)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_crash_point_ends_equal_from_mariadb() {
    crash_points(Source::mysql(MysqlFlavour::Mariadb1011).await, Source::postgres(PostgresVersion::V17).await, kills(KILLS)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_crash_point_ends_equal_from_mysql() {
    crash_points(Source::mysql(MysqlFlavour::Mysql97).await, Source::postgres(PostgresVersion::V17).await, kills(KILLS)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_crash_point_ends_equal_from_postgres_to_mysql() {
    let target = Source::mysql(MysqlFlavour::Mysql97).await;
    crash_points(Source::postgres(PostgresVersion::V17).await, target, kills(KILLS_BESIDE)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_crash_point_ends_equal_from_mysql_to_mariadb() {
    let target = Source::mysql(MysqlFlavour::Mariadb118).await;
    crash_points(Source::mysql(MysqlFlavour::Mysql97).await, target, kills(KILLS_BESIDE)).await;
}
