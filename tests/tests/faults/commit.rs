//! A COMMIT whose answer never arrives, and a connection that ends between the parts of one transaction.

use std::time::Duration;

use serde_json::json;
use tidegate_harness::{Fault, wait_for};

use crate::rig::{PATIENCE, Rig, times};

/// The last bytes that come down for a small group are the answer to its COMMIT.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_whose_commit_answer_is_lost_is_applied_once() {
    let rounds = times(12);
    let rig = Rig::replicating(100, json!({})).await;
    let mut swallowed = 0;
    let write = async |round: u64| {
        let sql = "begin; insert into ledger values (77, {}, 'x'); update counter set n = n + 1 where writer = 1 and id = 1; commit";
        rig.source.sql(&sql.replace("{}", &round.to_string())).await;
    };
    let mut bytes = 0;
    for round in 0..rounds {
        // Statements are prepared in the first group, so the second is the measure.
        for warm in [1, 2] {
            let before = rig.to_target.bytes_down();
            write(1_000_000 * warm + round).await;
            rig.wait_in_target(77, 1_000_000 * warm + round).await;
            wait_for("the answer", PATIENCE, async || match rig.to_target.bytes_down() {
                now if now > before + 20 => Ok(()),
                now => Err(now),
            })
            .await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            bytes = rig.to_target.bytes_down() - before;
        }
        rig.to_target.set(Fault::SwallowAfter(bytes - 1 - round % 20));
        let before = rig.checkpoint().await;
        write(round).await;
        let committed = wait_for("the commit without an answer", Duration::from_secs(3), async || {
            if rig.checkpoint().await == before { Err(()) } else { Ok(()) }
        });
        swallowed += u64::from(tokio::time::timeout(Duration::from_secs(2), committed).await.is_ok());
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

/// A transaction that is larger than a group leaves in parts, which the lane collects in one open transaction. Its
/// session is ended between two of them: the parts before must not be lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_transaction_whose_session_ends_between_its_parts_arrives_whole() {
    let rig = Rig::replicating(100, json!({})).await;
    rig.source.sql("insert into fill select g, g % 1000, repeat('y', 300) from generate_series(1001, 61000) g").await;
    let mut ended = 0;
    let admin = rig.target.client().await;
    let end = "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name like 'tidegate lane t %' \
               and state = 'idle in transaction' and xact_start < clock_timestamp() - interval '50 ms'";
    let began = std::time::Instant::now();
    while ended < times(4) as i64 && began.elapsed() < PATIENCE {
        if rig.target.value("select count(*) from copy.fill").await != "100" {
            break;
        }
        ended += admin.query_one(end, &[]).await.expect("the query runs").get::<_, i64>(0);
    }
    println!("{ended} sessions ended inside the transaction");
    rig.wait_level(&rig.host).await;
    rig.assert_equal().await;
    assert!(ended > 0, "no session was met between two parts");
}
