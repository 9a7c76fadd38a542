//! What the target remembers: never behind what the source was told, and never trusted when somebody changed it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::rig::{MARIADB_TO_MYSQL, MYSQL_TO_MARIADB, PATIENCE, POSTGRES, POSTGRES_TO_MYSQL, Pair, Rig, times};

/// Fewer positions would show little.
const SEEN_MIN: usize = 4;

fn lsn(text: &str) -> u64 {
    let (high, low) = text.trim_start_matches("postgres:").split_once('/').expect("an LSN has a slash");
    u64::from_str_radix(high, 16).expect("hexadecimal") << 32 | u64::from_str_radix(low, 16).expect("hexadecimal")
}

/// Numbers polls: so many, and on until `seen` is enough, since a busy disk lets a position move seldom.
struct Polls {
    least: u64,
    begun: Instant,
    done: u64,
}

impl Polls {
    fn new(least: u64) -> Polls {
        Polls { least, begun: Instant::now(), done: 0 }
    }

    fn next(&mut self, seen: usize) -> Option<u64> {
        if self.done >= self.least && (seen >= SEEN_MIN || self.begun.elapsed() > PATIENCE) {
            return None;
        }
        self.done += 1;
        Some(self.done)
    }
}

async fn write_while_it_loads(rig: &Rig) -> crate::rig::Writers {
    let writers = rig.write(3, Duration::from_millis(5));
    rig.host.start_task().await;
    rig.host.wait_task("begun", |task| task["phase"] == "loading" || task["phase"] == "replicating").await;
    writers
}

/// The slot is read first: the checkpoint can only have moved on since.
async fn confirmed_positions_stay_behind(pair: Pair, polls: u64) {
    let rig = Rig::between(pair, 20_000, json!({"chunk_rows": 2000})).await;
    let writers = write_while_it_loads(&rig).await;
    let source = rig.source.postgres().client().await;
    let (mut seen, mut last) = (BTreeSet::new(), 0);
    let mut polls = Polls::new(polls);
    while let Some(poll) = polls.next(seen.len()) {
        let slot = source.query_opt("select confirmed_flush_lsn::text from pg_replication_slots where slot_name like 'tidegate_t%'", &[]);
        let Some(slot) = slot.await.expect("the query runs").and_then(|row| row.get::<_, Option<String>>(0)) else { continue };
        let rows = rig.target.rows("select position from tidegate.checkpoint where task = 't'").await;
        let Some(checkpoint) = rows.into_iter().flatten().next().flatten() else { continue };
        assert!(lsn(&slot) <= lsn(&checkpoint), "poll {poll}: the slot is at {slot}, the checkpoint at {checkpoint}");
        assert!(lsn(&slot) >= last, "poll {poll}: the slot went back to {slot}");
        last = lsn(&slot);
        seen.insert(slot);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("{} confirmed positions seen", seen.len());
    assert!(seen.len() >= SEEN_MIN, "the slot was seen at {} positions", seen.len());
    println!("{} transactions", writers.stop().await);
    rig.wait_level(&rig.host).await;
    rig.assert_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_source_never_hears_of_more_than_the_target_has() {
    confirmed_positions_stay_behind(POSTGRES, times(400)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_source_never_hears_of_more_than_the_target_has_into_mysql() {
    confirmed_positions_stay_behind(POSTGRES_TO_MYSQL, times(100)).await;
}

/// The last transaction of each server, or domain and server, in a set of GTIDs without gaps: `uuid:1-7` and `0-1-7` alike.
fn gtids(set: &str) -> BTreeMap<String, u64> {
    let last = |gtid: &str| {
        let (server, numbers) = gtid.split_once(':').unwrap_or_else(|| gtid.rsplit_once('-').expect("a GTID has a number"));
        let number = numbers.rsplit_once('-').map_or(numbers, |(_, last)| last);
        (server.to_owned(), number.parse().unwrap_or_else(|error| panic!("{gtid}: {error}")))
    };
    set.split(',').map(str::trim).filter(|gtid| !gtid.is_empty()).map(last).collect()
}

/// EO-007 for a source that is told nothing: the target never has more than the log, and never goes back. The checkpoint is read first:
/// the log can only have grown since.
async fn checkpoints_are_part_of_the_log(pair: Pair, polls: u64) {
    let rig = Rig::between(pair, 5_000, json!({"chunk_rows": 1000})).await;
    let writers = write_while_it_loads(&rig).await;
    let (mut seen, mut last) = (BTreeSet::new(), BTreeMap::new());
    let mut polls = Polls::new(polls);
    while let Some(poll) = polls.next(seen.len()) {
        let rows = rig.target.rows("select position from tidegate.checkpoint where task = 't'").await;
        let Some(checkpoint) = rows.into_iter().flatten().next().flatten() else { continue };
        let executed = rig.source.gtids().await;
        let (kind, set) = checkpoint.split_once(':').expect("a position has a kind");
        assert_eq!(kind, rig.source.position_kind());
        let (applied, logged) = (gtids(set), gtids(&executed));
        for (server, number) in &applied {
            assert!(logged.get(server) >= Some(number), "poll {poll}: the checkpoint is {checkpoint}, the log {executed}");
        }
        for (server, number) in &last {
            assert!(applied.get(server) >= Some(number), "poll {poll}: the checkpoint went back to {checkpoint}");
        }
        last = applied;
        seen.insert(checkpoint);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("{} checkpoints seen", seen.len());
    assert!(seen.len() >= SEEN_MIN, "{} checkpoints were seen", seen.len());
    println!("{} transactions", writers.stop().await);
    rig.wait_level(&rig.host).await;
    rig.assert_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_are_part_of_the_sources_log_and_never_go_back_from_mysql_to_mariadb() {
    checkpoints_are_part_of_the_log(MYSQL_TO_MARIADB, times(60)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_are_part_of_the_sources_log_and_never_go_back_from_mariadb_to_mysql() {
    checkpoints_are_part_of_the_log(MARIADB_TO_MYSQL, times(60)).await;
}

/// Starts the task, which must fail with this code.
async fn is_refused(rig: &Rig, code: &str) {
    rig.host.start_task().await;
    let failure: Value = rig.host.wait_failed().await;
    assert_eq!(failure["code"], code, "{failure}");
}

async fn set(rig: &Rig, column: &str, value: &str) {
    rig.target.sql(&format!("update tidegate.checkpoint set {column} = '{value}' where task = 't'")).await;
}

async fn records_are_changed(pair: Pair) {
    let rig = Rig::replicating_between(pair, 1_000, json!({})).await;
    rig.source.sql("insert into ledger values (1, 1, 'a')").await;
    rig.wait_level(&rig.host).await;
    let first = rig.checkpoint().await;

    // Another generation under a running worker: it stops at its next write.
    rig.target.sql(&format!("update {} set generation = generation + 10 where task = 't'", rig.fence_table())).await;
    rig.source.sql("insert into ledger values (1, 2, 'a')").await;
    let failure = rig.host.wait_failed().await;
    assert_eq!(failure["code"], "fenced", "{failure}");
    rig.host.start_task().await;
    rig.wait_level(&rig.host).await;
    rig.assert_equal().await;

    // A position that the source's log does not reach: as after a source that was set back.
    rig.host.stop_task().await;
    let kept = rig.checkpoint().await;
    let (ahead, discarded, kind) = match rig.source.position_kind() {
        "postgres" => ("postgres:FF/0".to_owned(), "postgres:0/1".to_owned(), "postgres:1/1:postgres"),
        kind => {
            let (server, number) = kept.rsplit_once('-').expect("a GTID has a number");
            let ahead = number.parse::<u64>().expect("a number") + 1_000_000;
            rig.source.discard_log().await;
            (format!("{server}-{ahead}"), first, if kind == "mysql" { "mysql:1" } else { "mariadb:1" })
        }
    };
    set(&rig, "position", &ahead).await;
    rig.source.sql("insert into ledger values (1, 3, 'a')").await;
    is_refused(&rig, "source_changed").await;

    // One that the source has discarded.
    set(&rig, "position", &discarded).await;
    is_refused(&rig, "position_lost").await;

    // One that is none.
    set(&rig, "position", "tomorrow").await;
    is_refused(&rig, "checkpoint_unreadable").await;

    // Another server or cluster under the source's address.
    set(&rig, "position", &kept).await;
    let identity = rig.target.value("select source_identity from tidegate.checkpoint where task = 't'").await;
    println!("{identity}");
    set(&rig, "source_identity", kind).await;
    is_refused(&rig, "source_changed").await;
    if rig.source.is_postgres() {
        // A record of a version that knew no timelines.
        let older = identity.replace("/1:", ":");
        assert_ne!(older, identity);
        set(&rig, "source_identity", &older).await;
        rig.host.start_task().await;
        rig.wait_level(&rig.host).await;
        assert_eq!(rig.target.value("select source_identity from tidegate.checkpoint where task = 't'").await, identity);
    } else {
        set(&rig, "source_identity", &identity).await;
        rig.host.start_task().await;
        rig.wait_level(&rig.host).await;
    }
    rig.assert_equal().await;

    // None: the task begins anew.
    rig.host.stop_task().await;
    rig.target.sql("delete from tidegate.checkpoint where task = 't'").await;
    rig.source.sql("insert into ledger values (1, 4, 'a')").await;
    rig.host.start_task().await;
    rig.wait_level(&rig.host).await;
    rig.assert_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_records_are_refused_or_begun_anew_and_never_believed() {
    records_are_changed(POSTGRES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_records_are_refused_or_begun_anew_and_never_believed_from_mysql_to_mariadb() {
    records_are_changed(MYSQL_TO_MARIADB).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_records_are_refused_or_begun_anew_and_never_believed_from_mariadb_to_mysql() {
    records_are_changed(MARIADB_TO_MYSQL).await;
}
