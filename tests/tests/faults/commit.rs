//! A COMMIT whose answer never arrives, and a connection that ends between the parts of one transaction.

use std::time::Duration;

use serde_json::json;
use tidegate_harness::{Direction, Fault, wait_for};

use crate::rig::{INNODB_TRX_AGE, MARIADB_TO_MYSQL, MYSQL_TO_MARIADB, PATIENCE, POSTGRES, Pair, Rig, times};

/// The last bytes that come down for a small group are the answer to its COMMIT: of PostgreSQL some 20, of MySQL and MariaDB 11.
async fn answers_to_commits_are_lost(rig: &Rig, rounds: u64) {
    let answer = if rig.target.is_postgres() { 20 } else { 11 };
    let (mut swallowed, mut bytes) = (0, 0);
    for round in 0..rounds {
        // Statements are prepared in the first group, so the second is the measure.
        for warm in [1, 2] {
            let before = rig.to_target.bytes_down();
            rig.write_one(77, 1_000_000 * warm + round).await;
            rig.wait_in_target(77, 1_000_000 * warm + round).await;
            wait_for("the answer", PATIENCE, async || match rig.to_target.bytes_down() {
                now if now > before + 20 => Ok(()),
                now => Err(now),
            })
            .await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            bytes = rig.to_target.bytes_down() - before;
        }
        rig.to_target.set(Fault::SwallowAfter(bytes - 1 - round % answer));
        let before = rig.checkpoint().await;
        rig.write_one(77, round).await;
        let committed = wait_for("the commit without an answer", Duration::from_secs(9), async || {
            if rig.checkpoint().await == before { Err(()) } else { Ok(()) }
        });
        swallowed += u64::from(tokio::time::timeout(Duration::from_secs(6), committed).await.is_ok());
        rig.to_target.set(Fault::Cut);
        tokio::time::sleep(Duration::from_millis(20)).await;
        rig.to_target.set(Fault::Pass);
        rig.wait_level(&rig.host).await;
    }
    println!("{swallowed} of {rounds} answers to a COMMIT were lost");
    assert!(swallowed * 2 >= rounds, "the fault met {swallowed} of {rounds} commits");
    rig.assert_equal().await;
    // The host reports once a second.
    wait_for("every lost connection to be counted", PATIENCE, async || match rig.host.reconnects().await {
        counted if counted >= rounds => Ok(()),
        counted => Err(counted),
    })
    .await;
}

/// Ends the sessions of the target that have written rows and wait for more; tells how many.
async fn end_open_sessions(rig: &Rig) -> u64 {
    if rig.target.is_postgres() {
        let end = "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name like 'tidegate lane t %' \
                   and state = 'idle in transaction' and xact_start < clock_timestamp() - interval '50 ms'";
        return rig.target.value(end).await.parse().expect("a count");
    }
    // `tidegate.session` has the names of the locks that the task's sessions hold.
    let open = "select t.trx_mysql_thread_id from information_schema.innodb_trx t join tidegate.session s on is_used_lock(s.token) = \
                t.trx_mysql_thread_id where t.trx_query is null and t.trx_rows_modified > 0";
    tokio::time::sleep(INNODB_TRX_AGE).await;
    let mut ended = 0;
    for id in rig.target.rows(open).await.iter().flatten().flatten() {
        // It may have ended by itself.
        let mut session = rig.target.session().await;
        ended += u64::from(session.run(&format!("kill {id}")).await.is_ok());
    }
    ended
}

/// A transaction that is larger than a group leaves in parts, which the lane collects in one open transaction. Its
/// session is ended between two of them: the parts before must not be lost.
async fn sessions_end_between_parts(rig: &Rig, rows: u64, wanted: u64) {
    let numbers = rig.source.series(1001, 1000 + rows);
    rig.source.sql(&format!("insert into fill select g, mod(g, 1000), repeat('y', 300) from {numbers}")).await;
    if !rig.target.is_postgres() {
        // The target waits for the next part most of the time.
        rig.to_target.set(Fault::Rate(Direction::Up, 3_000_000));
    }
    let mut ended = 0;
    let began = std::time::Instant::now();
    while ended < wanted && began.elapsed() < PATIENCE {
        if rig.target.value("select count(*) from copy.fill").await != "100" {
            break;
        }
        ended += end_open_sessions(rig).await;
    }
    println!("{ended} sessions ended inside the transaction");
    rig.to_target.set(Fault::Pass);
    rig.wait_level(&rig.host).await;
    rig.assert_equal().await;
    assert!(ended > 0, "no session was met between two parts");
}

async fn replicating(pair: Pair) -> Rig {
    Rig::replicating_between(pair, 100, json!({})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_whose_commit_answer_is_lost_is_applied_once() {
    answers_to_commits_are_lost(&replicating(POSTGRES).await, times(12)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_transaction_whose_session_ends_between_its_parts_arrives_whole() {
    sessions_end_between_parts(&replicating(POSTGRES).await, 60_000, times(4)).await;
}

async fn lost_answers_and_ended_sessions(pair: Pair) {
    let rig = replicating(pair).await;
    sessions_end_between_parts(&rig, 30_000, times(2)).await;
    answers_to_commits_are_lost(&rig, times(4)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_answers_and_ended_sessions_neither_lose_nor_double_from_mysql_to_mariadb() {
    lost_answers_and_ended_sessions(MYSQL_TO_MARIADB).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_answers_and_ended_sessions_neither_lose_nor_double_from_mariadb_to_mysql() {
    lost_answers_and_ended_sessions(MARIADB_TO_MYSQL).await;
}
