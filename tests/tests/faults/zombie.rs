//! A worker that stands still while another takes its task over, and then wakes up.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tidegate_harness::{Direction, Fault, Proxy, wait_for};

use crate::rig::{INNODB_TRX_AGE, MARIADB_TO_MYSQL, MYSQL_TO_MARIADB, PATIENCE, POSTGRES, Pair, Rig, seed, times};

/// EO-004: the worker freezes while its COMMIT is on the way, on a connection that stays half open until its successor has applied ten
/// thousand changes, and that group among them.
async fn a_commit_comes_late(rig: &mut Rig) {
    let mut holder = rig.target.session().await;
    holder.run("begin; select n from copy.counter where writer = 1 and id = 1 for update").await.expect("the server is up");
    rig.write_one(1, 2).await;
    let waiting = if rig.target.is_postgres() {
        "select count(*) from pg_locks where not granted"
    } else {
        "select count(*) from information_schema.innodb_trx where trx_state = 'LOCK WAIT'"
    };
    wait_for("the group to wait for the lock", PATIENCE, async || {
        tokio::time::sleep(INNODB_TRX_AGE).await;
        if rig.target.value(waiting).await == "0" { Err(()) } else { Ok(()) }
    })
    .await;
    rig.to_target.set(Fault::Hold(Direction::Up));
    let taken = rig.to_target.bytes_taken_up();
    holder.run("rollback").await.expect("the server is up");
    wait_for("the COMMIT", PATIENCE, async || match rig.to_target.bytes_taken_up() {
        now if now > taken => Ok(()),
        now => Err(now),
    })
    .await;
    rig.host.process.sigstop();

    let past = Proxy::to_port(rig.target.port()).await;
    let half_open = std::mem::replace(&mut rig.to_target, past);
    let successor = rig.another_host().await;
    successor.start_task().await;
    let numbers = rig.source.series(1, 10_000);
    rig.source.sql(&format!("insert into ledger select 2, g, 'by the successor' from {numbers}")).await;
    rig.wait_level(&successor).await;
    half_open.set(Fault::Pass);
    let stopped = std::mem::replace(&mut rig.host, successor);
    stopped.process.sigcont();
    let failure = stopped.wait_failed().await;
    assert_eq!(failure["code"], "fenced", "{failure}");
    rig.assert_equal().await;
    rig.write_one(1, 3).await;
    rig.wait_level(&rig.host).await;
    rig.assert_equal().await;
}

async fn workers_stand_still(pair: Pair, rounds: u64) {
    let mut random = StdRng::seed_from_u64(seed());
    let mut rig = Rig::replicating_between(pair, 1_000, json!({})).await;
    let writers = rig.write(3, Duration::from_millis(3));
    for _ in 0..rounds {
        writers.wait_more(100).await;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..300))).await;
        rig.host.process.sigstop();
        let successor = rig.another_host().await;
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
    a_commit_comes_late(&mut rig).await;
    assert_eq!(rig.host.task().await["status"], "running");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_wakes_up_after_a_take_over_is_fenced_and_changes_nothing() {
    workers_stand_still(POSTGRES, times(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_wakes_up_after_a_take_over_is_fenced_and_changes_nothing_from_mysql_to_mariadb() {
    workers_stand_still(MYSQL_TO_MARIADB, times(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_wakes_up_after_a_take_over_is_fenced_and_changes_nothing_from_mariadb_to_mysql() {
    workers_stand_still(MARIADB_TO_MYSQL, times(1)).await;
}
