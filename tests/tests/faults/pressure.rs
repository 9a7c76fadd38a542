//! A target that is slower than the source, and transactions that are larger than memory should hold.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tidegate_harness::{Direction, Fault};

use crate::rig::{MARIADB_TO_MYSQL, MYSQL_TO_MARIADB, POSTGRES, Pair, Rig, Writers, seed, times};

const MIB: u64 = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_slow_target_cannot_take_waits_on_disk_and_memory_stays_bounded() {
    let rig = Rig::replicating(100, json!({"cache_mib": 8})).await;
    let before = rig.host.process.rss_bytes();
    rig.to_target.set(Fault::Rate(Direction::Up, 400_000));
    // 64 MB in transactions of a hundred rows.
    let burst = "do $$ begin for i in 1..1600 loop insert into fill select i * 1000 + g, g, repeat('z', 400) from generate_series(1, 100) g; \
                 commit; end loop; end $$";
    rig.source.sql(burst).await;
    rig.host.wait_task("writing to disk", |task| task["progress"]["cache_bytes_disk"].as_u64() > Some(20 * MIB)).await;
    let full = rig.host.task().await["progress"].clone();
    rig.to_target.set(Fault::Pass);
    rig.wait_level(&rig.host).await;
    let peak = rig.host.process.peak_rss_bytes();
    println!("{} MiB before, peak {} MiB, {} bytes on disk", before / MIB, peak / MIB, full["cache_bytes_disk"]);
    assert!(full["cache_bytes_memory"].as_u64() < Some(12 * MIB), "{full}");
    assert!(peak < before + 150 * MIB, "memory rose from {} to {} MiB", before / MIB, peak / MIB);
    rig.host.wait_task("done with its disk", |task| task["progress"]["cache_bytes_disk"] == 0).await;
    rig.assert_equal().await;
}

async fn a_large_transaction_is_killed(pair: Pair, rows: u64, kills: u64) {
    let mut random = StdRng::seed_from_u64(seed());
    let mut rig = Rig::replicating_between(pair, 100, json!({"cache_mib": 8})).await;
    let mut session = rig.source.session().await;
    let (kept, void) = (rig.source.series(1, rows), rig.source.series(1, rows / 5));
    let large = format!(
        "begin; insert into ledger select 50, g, repeat('w', 100) from {kept}; savepoint s; \
         insert into ledger select 51, g, 'void' from {void}; rollback to s; commit"
    );
    let writing = tokio::spawn(async move { session.run(&large).await });
    for _ in 0..kills {
        tokio::time::sleep(Duration::from_millis(random.random_range(100..2000))).await;
        rig.host.kill_and_restart().await;
    }
    writing.await.expect("the writer does not panic").expect("the transaction commits");
    rig.wait_level(&rig.host).await;
    rig.assert_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_transaction_that_is_killed_again_and_again_arrives_once() {
    a_large_transaction_is_killed(POSTGRES, 100_000, times(4)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_transaction_that_is_killed_again_and_again_arrives_once_from_mysql_to_mariadb() {
    a_large_transaction_is_killed(MYSQL_TO_MARIADB, 30_000, times(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_transaction_that_is_killed_again_and_again_arrives_once_from_mariadb_to_mysql() {
    a_large_transaction_is_killed(MARIADB_TO_MYSQL, 30_000, times(2)).await;
}

/// How long a target stands still: `TIDEGATE_LONG_SECONDS`, or ten minutes.
fn standstill() -> Duration {
    let seconds = std::env::var("TIDEGATE_LONG_SECONDS").map_or(600, |text| text.parse().expect("TIDEGATE_LONG_SECONDS is a number"));
    Duration::from_secs(seconds)
}

/// Ends the writers, and compares when everything is there. Memory must not have followed the backlog.
async fn goes_on_in_bounds(rig: &Rig, writers: Writers, before: u64) {
    let waited = rig.host.task().await["progress"].clone();
    println!("{} transactions; {} bytes on disk", writers.stop().await, waited["cache_bytes_disk"]);
    rig.wait_level(&rig.host).await;
    rig.assert_equal().await;
    let peak = rig.host.process.peak_rss_bytes();
    println!("{} MiB before, peak {} MiB", before / MIB, peak / MIB);
    assert!(peak < before + 150 * MIB, "memory rose from {} to {} MiB", before / MIB, peak / MIB);
}

/// PG-068: the target answers, and a statement waits. The source hears all the while that its reader lives.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes as long as the target stands still, ten minutes"]
async fn a_target_that_is_locked_for_ten_minutes_breaks_no_connection() {
    let rig = Rig::replicating(100, json!({"cache_mib": 8})).await;
    let before = rig.host.process.rss_bytes();
    let reader = "select active_pid::text from pg_replication_slots where slot_name like 'tidegate_t%'";
    let (walsender, reconnects) = (rig.source.value(reader).await, rig.host.reconnects().await);
    let holder = rig.target.postgres().client().await;
    holder.batch_execute("begin; lock table copy.ledger in access exclusive mode").await.expect("nobody else locks");
    let writers = rig.write(2, Duration::from_millis(20));
    let since = Instant::now();
    while since.elapsed() < standstill() {
        writers.wait_more(20).await;
        assert_eq!(rig.source.value(reader).await, walsender, "after {:?}", since.elapsed());
    }
    holder.batch_execute("rollback").await.expect("the server is up");
    goes_on_in_bounds(&rig, writers, before).await;
    assert_eq!((rig.source.value(reader).await, rig.host.reconnects().await), (walsender, reconnects));
}

/// PG-068: nothing comes from the target. It is given up again and again until it answers.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes as long as the target stands still, ten minutes"]
async fn a_target_that_answers_nothing_for_ten_minutes_costs_neither_rows_nor_memory() {
    let rig = Rig::replicating(100, json!({"cache_mib": 8})).await;
    let before = rig.host.process.rss_bytes();
    rig.to_target.set(Fault::Hold(Direction::Both));
    let writers = rig.write(2, Duration::from_millis(20));
    let since = Instant::now();
    while since.elapsed() < standstill() {
        writers.wait_more(20).await;
        assert_ne!(rig.host.task().await["status"], "failed");
    }
    println!("{} attempts", rig.host.reconnects().await);
    rig.to_target.set(Fault::Pass);
    goes_on_in_bounds(&rig, writers, before).await;
}
