//! EO-002: the host is killed at named points, and again at points of the recovery from there.
//!
//! | point | what holds the host there | what is seen before the kill |
//! |---|---|---|
//! | rows of a chunk sent | a lock on the target's table | the loader waits for it |
//! | an index asked for | a lock on the target's table | the statement waits for it |
//! | changes read, nothing written | what goes to the target is held | bytes of the source came |
//! | a group written, not committed | a lock on the target's table | the lane waits for it |
//! | COMMIT sent, the answer not heard | a lock on the checkpoint's row until what comes from the target is held | the checkpoint moved |
//! | committed, the source not told | what goes to the source is held | the checkpoint is ahead of the slot |
//! | a take-over asked for | a lock on the checkpoint's row | the session waits for it |
//! | taken over, nothing read | nothing | the generation rose |
//!
//! No point needs anything from the host: what it waits for is outside of it.

use serde_json::json;
use tidegate_harness::{Direction, Fault, wait_for};
use tokio_postgres::Client;

use crate::rig::{PATIENCE, Rig};

/// A rig, and how many kills it took.
struct Killed {
    rig: Rig,
    kills: u32,
    entries: u64,
}

impl Killed {
    /// Kills the host, without another.
    async fn kill(&mut self) {
        self.rig.host.process.kill().await;
        self.kills += 1;
    }

    async fn restart(&mut self) {
        self.rig.host.process.restart().await;
    }

    /// Two transactions: rows that show when they are doubled, and numbers that show half a transaction.
    async fn write(&mut self) {
        for _ in 0..2 {
            self.entries += 1;
            let entry = self.entries;
            let sql = format!(
                "begin; insert into ledger values (55, {entry}, 'x'), (55, -{entry}, 'y'); \
                 update counter set n = n + {entry} where writer = 1; delete from fill where id = {entry}; commit"
            );
            self.rig.source.sql(&sql).await;
        }
    }

    /// Holds something in the target until the client's transaction ends.
    async fn hold(&self, statement: &str) -> Client {
        let client = self.rig.target.client().await;
        client.batch_execute("begin").await.expect("the server is up");
        // A session of a killed host may have it, until it finds that nobody listens.
        client.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        client
    }

    /// Waits until a session of the host's present generation waits for a lock in the target.
    async fn wait_blocked(&self, purpose: &str, statement: &str) {
        let sql = format!(
            "select count(*)::text from pg_stat_activity where wait_event_type = 'Lock' and application_name like 'tidegate {purpose} t%'
                and query ilike '%{statement}%'
                and (application_name like 'tidegate take%'
                     or split_part(application_name, ' ', 4) = (select max(generation)::text from tidegate.checkpoint))"
        );
        wait_for(&format!("{purpose} to wait for a lock"), PATIENCE, async || {
            let found = self.rig.target.value(&sql).await;
            if found != "0" {
                return Ok(());
            }
            let waiting = "select coalesce(string_agg(application_name || ': ' || left(query, 90), '; '), '') from pg_stat_activity where wait_event_type = 'Lock'";
            Err((self.rig.host.task().await["phase"].clone(), self.rig.target.value(waiting).await))
        })
        .await;
    }

    async fn generation(&self) -> String {
        self.rig.target.value("select generation::text from tidegate.checkpoint where task = 't'").await
    }

    async fn wait_generation_after(&self, before: &str) {
        wait_for("a take-over", PATIENCE, async || if self.generation().await == before { Err(()) } else { Ok(()) }).await;
    }

    async fn wait_checkpoint_after(&self, before: &str) {
        wait_for("the checkpoint to move", PATIENCE, async || if self.rig.checkpoint().await == before { Err(()) } else { Ok(()) }).await;
    }

    /// The checkpoint is ahead of what the source was told.
    async fn is_ahead_of_the_slot(&self) -> bool {
        let checkpoint = self.rig.checkpoint().await.replace("postgres:", "");
        let sql = format!("select confirmed_flush_lsn < '{checkpoint}' from pg_replication_slots where slot_name like 'tidegate_t%'");
        self.rig.source.value(&sql).await == "t"
    }

    async fn release(&self, holder: Client) {
        holder.batch_execute("rollback").await.expect("the server is up");
    }
}

async fn while_it_loads(killed: &mut Killed) {
    killed.rig.source.sql("create index fill_a on fill (a)").await;
    killed.rig.host.start_task().await;
    // A table of which nothing is loaded would be made anew by the next attempt.
    wait_for("the first chunk", PATIENCE, async || {
        let made = killed.rig.target.value("select coalesce(to_regclass('tidegate.chunk')::text, '')").await;
        let loaded = "select count(*)::text from tidegate.chunk where table_name = 'fill' and loaded_at is not null";
        let found = if made.is_empty() { "0".to_owned() } else { killed.rig.target.value(loaded).await };
        if found == "0" { Err(found) } else { Ok(()) }
    })
    .await;
    let holder = killed.hold("lock table copy.fill in share row exclusive mode").await;
    for _ in 0..2 {
        killed.wait_blocked("load", "").await;
        killed.kill().await;
        if killed.kills == 2 {
            break;
        }
        killed.restart().await;
    }
    killed.release(holder).await;

    // Loads may write beside this lock, and indexes may not be built.
    let holder = killed.hold("lock table copy.fill in row exclusive mode").await;
    killed.restart().await;
    killed.wait_blocked("%", "create index").await;
    killed.kill().await;
    killed.release(holder).await;
    killed.restart().await;
    killed.rig.wait_level(&killed.rig.host).await;
    let indexes = "select count(*)::text from pg_indexes where schemaname = 'copy' and tablename = 'fill'";
    wait_for("the index", PATIENCE, async || {
        let found = killed.rig.target.value(indexes).await;
        if found == "2" { Ok(()) } else { Err(found) }
    })
    .await;
}

async fn while_it_follows(killed: &mut Killed) {
    // Written, not committed; then a take-over that waits.
    let holder = killed.hold("lock table copy.counter in share row exclusive mode").await;
    killed.write().await;
    killed.wait_blocked("lane", "").await;
    killed.kill().await;
    let row = killed.hold("select 1 from tidegate.checkpoint where task = 't' for update").await;
    killed.restart().await;
    killed.wait_blocked("take", "").await;
    killed.kill().await;
    killed.release(row).await;
    killed.release(holder).await;
    killed.restart().await;
    killed.rig.wait_level(&killed.rig.host).await;

    // Committed, and the answer not heard; then taken over.
    let before = killed.rig.checkpoint().await;
    let row = killed.hold("select 1 from tidegate.checkpoint where task = 't' for share").await;
    killed.write().await;
    killed.wait_blocked("lane", "commit").await;
    killed.rig.to_target.set(Fault::Hold(Direction::Down));
    killed.release(row).await;
    killed.wait_checkpoint_after(&before).await;
    killed.kill().await;
    killed.rig.to_target.set(Fault::Pass);
    let before = killed.generation().await;
    killed.restart().await;
    killed.wait_generation_after(&before).await;
    killed.kill().await;
    killed.restart().await;
    killed.rig.wait_level(&killed.rig.host).await;

    // Read, and nothing written; then written again, committed, and the source not told.
    let before = killed.rig.to_source.bytes_down();
    killed.rig.to_target.set(Fault::Hold(Direction::Up));
    killed.write().await;
    wait_for("the changes to be read", PATIENCE, async || match killed.rig.to_source.bytes_down() {
        now if now > before + 200 => Ok(()),
        now => Err(now),
    })
    .await;
    killed.kill().await;
    killed.rig.to_target.set(Fault::Pass);
    let holder = killed.hold("lock table copy.counter in share row exclusive mode").await;
    killed.restart().await;
    killed.wait_blocked("lane", "").await;
    killed.rig.to_source.set(Fault::Hold(Direction::Up));
    let before = killed.rig.checkpoint().await;
    killed.release(holder).await;
    killed.wait_checkpoint_after(&before).await;
    assert!(killed.is_ahead_of_the_slot().await, "the source was told of {}", killed.rig.checkpoint().await);
    killed.kill().await;
    killed.rig.to_source.set(Fault::Pass);
    killed.restart().await;
    killed.rig.wait_level(&killed.rig.host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_at_named_points_and_during_the_recovery_from_them_end_equal() {
    let rig = Rig::start(30_000, json!({"chunk_rows": 1000, "load_lanes": 2})).await;
    let mut killed = Killed { rig, kills: 0, entries: 0 };
    while_it_loads(&mut killed).await;
    while_it_follows(&mut killed).await;
    killed.write().await;
    killed.rig.wait_level(&killed.rig.host).await;
    killed.rig.assert_equal().await;
    let entries = killed.rig.target.value("select count(*) || ' ' || count(distinct entry) from copy.ledger").await;
    assert_eq!(entries, format!("{} {}", 2 * killed.entries, 2 * killed.entries));
    assert_eq!(killed.kills, 9);
}
