//! What the target remembers: never behind what the source was told, and never trusted when somebody changed it.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use crate::rig::{Rig, times};

fn lsn(text: &str) -> u64 {
    let (high, low) = text.trim_start_matches("postgres:").split_once('/').expect("an LSN has a slash");
    u64::from_str_radix(high, 16).expect("hexadecimal") << 32 | u64::from_str_radix(low, 16).expect("hexadecimal")
}

/// The slot is read first: the checkpoint can only have moved on since.
#[tokio::test(flavor = "multi_thread")]
async fn the_source_never_hears_of_more_than_the_target_has() {
    let rig = Rig::start(20_000, json!({"chunk_rows": 2000})).await;
    let writers = rig.write(3, Duration::from_millis(5));
    rig.host.start_task().await;
    rig.host.wait_task("begun", |task| task["phase"] == "loading" || task["phase"] == "replicating").await;
    let (source, target) = (rig.source.client().await, rig.target.client().await);
    let (mut seen, mut last) = (BTreeSet::new(), 0);
    for poll in 0..times(400) {
        let slot = source.query_opt("select confirmed_flush_lsn::text from pg_replication_slots where slot_name like 'tidegate_t%'", &[]);
        let Some(slot) = slot.await.expect("the query runs").and_then(|row| row.get::<_, Option<String>>(0)) else { continue };
        let row = target.query_one("select position from tidegate.checkpoint where task = 't'", &[]).await.expect("the task began");
        let Some(checkpoint) = row.get::<_, Option<String>>(0) else { continue };
        assert!(lsn(&slot) <= lsn(&checkpoint), "poll {poll}: the slot is at {slot}, the checkpoint at {checkpoint}");
        assert!(lsn(&slot) >= last, "poll {poll}: the slot went back to {slot}");
        last = lsn(&slot);
        seen.insert(slot);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("{} confirmed positions seen", seen.len());
    assert!(seen.len() >= 4, "the slot was seen at {} positions", seen.len());
    println!("{} transactions", writers.stop().await);
    rig.wait_level(&rig.host).await;
    rig.assert_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_records_are_refused_or_begun_anew_and_never_believed() {
    let rig = Rig::replicating(1_000, json!({})).await;
    rig.source.sql("insert into ledger values (1, 1, 'a')").await;
    rig.wait_level(&rig.host).await;

    // Another generation under a running worker: it stops at its next write.
    rig.target.sql("update tidegate.checkpoint set generation = generation + 10 where task = 't'").await;
    rig.source.sql("insert into ledger values (1, 2, 'a')").await;
    let failure = rig.host.wait_failed().await;
    assert_eq!(failure["code"], "fenced", "{failure}");
    rig.host.start_task().await;
    rig.wait_level(&rig.host).await;
    rig.assert_equal().await;

    // A position that the source's log does not reach: as after a source that was set back.
    rig.host.stop_task().await;
    let kept = rig.checkpoint().await;
    rig.target.sql("update tidegate.checkpoint set position = 'postgres:FF/0' where task = 't'").await;
    rig.source.sql("insert into ledger values (1, 3, 'a')").await;
    rig.host.start_task().await;
    let failure = rig.host.wait_failed().await;
    assert_eq!(failure["code"], "source_changed", "{failure}");

    // One that the source has discarded.
    rig.target.sql("update tidegate.checkpoint set position = 'postgres:0/1' where task = 't'").await;
    rig.host.start_task().await;
    let failure = rig.host.wait_failed().await;
    assert_eq!(failure["code"], "position_lost", "{failure}");

    // One that is none.
    rig.target.sql("update tidegate.checkpoint set position = 'tomorrow' where task = 't'").await;
    rig.host.start_task().await;
    let failure = rig.host.wait_failed().await;
    assert_eq!(failure["code"], "checkpoint_unreadable", "{failure}");

    // Another cluster under the source's address; and a record of a version that knew no timelines.
    rig.target.sql(&format!("update tidegate.checkpoint set position = '{kept}' where task = 't'")).await;
    let identity = rig.target.value("select source_identity from tidegate.checkpoint where task = 't'").await;
    rig.target.sql("update tidegate.checkpoint set source_identity = 'postgres:1/1:postgres' where task = 't'").await;
    rig.host.start_task().await;
    let failure = rig.host.wait_failed().await;
    assert_eq!(failure["code"], "source_changed", "{failure}");
    let older = identity.replace("/1:", ":");
    assert_ne!(older, identity);
    rig.target.sql(&format!("update tidegate.checkpoint set source_identity = '{older}' where task = 't'")).await;
    rig.host.start_task().await;
    rig.wait_level(&rig.host).await;
    assert_eq!(rig.target.value("select source_identity from tidegate.checkpoint where task = 't'").await, identity);
    rig.assert_equal().await;

    // None: the task begins anew.
    rig.host.stop_task().await;
    rig.target.sql("delete from tidegate.checkpoint where task = 't'").await;
    rig.source.sql("insert into ledger values (1, 4, 'a')").await;
    rig.host.start_task().await;
    rig.wait_level(&rig.host).await;
    rig.assert_equal().await;
}
