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
//! Only PostgreSQL is told: of the others, the sixth point is any after a commit. MySQL and MariaDB are held by other locks, and
//! are sent a COMMIT of its own, which is held on its way until what comes back is.
//!
//! No point needs anything from the host: what it waits for is outside of it.

use serde_json::json;
use tidegate_harness::{Direction, Fault, wait_for};

use crate::rig::{INNODB_TRX_AGE, MARIADB_TO_MYSQL, MYSQL_TO_MARIADB, PATIENCE, POSTGRES, Pair, Rig};
use crate::server::Session;

/// A rig, and how many kills it took.
struct Killed {
    rig: Rig,
    kills: u32,
    entries: u64,
}

/// What is held in the target.
enum Lock {
    /// Rows of `fill` cannot be written.
    Rows,
    /// `fill` cannot get an index, and rows can be written.
    Definition,
    /// `counter` cannot be written.
    Counter,
    /// The checkpoint cannot be moved.
    Checkpoint,
    /// Nobody can take over.
    Generation,
}

impl Lock {
    fn statement(&self, is_postgres: bool) -> &'static str {
        match (self, is_postgres) {
            (Lock::Rows, true) => "lock table copy.fill in share row exclusive mode",
            (Lock::Rows, false) => "lock tables copy.fill read",
            (Lock::Definition, true) => "lock table copy.fill in row exclusive mode",
            (Lock::Definition, false) => "select 1 from copy.fill limit 1",
            (Lock::Counter, true) => "lock table copy.counter in share row exclusive mode",
            (Lock::Counter, false) => "lock tables copy.counter read",
            (Lock::Checkpoint, true) => "select 1 from tidegate.checkpoint where task = 't' for share",
            (Lock::Checkpoint, false) | (Lock::Generation, true) => "select 1 from tidegate.checkpoint where task = 't' for update",
            (Lock::Generation, false) => "select 1 from tidegate.fence where task = 't' for update",
        }
    }
}

/// Who waits for a lock, and for which statement.
#[derive(Debug, Clone, Copy)]
enum Waiting {
    Load,
    Index,
    Lane,
    Commit,
    TakeOver,
}

impl Waiting {
    fn sql(self, is_postgres: bool) -> String {
        if is_postgres {
            let (purpose, statement) = match self {
                Waiting::Load => ("load", ""),
                Waiting::Index => ("%", "create index"),
                Waiting::Lane => ("lane", ""),
                Waiting::Commit => ("lane", "commit"),
                Waiting::TakeOver => ("take", ""),
            };
            return format!(
                "select count(*)::text from pg_stat_activity where wait_event_type = 'Lock' and application_name like 'tidegate {purpose} t%'
                    and query ilike '%{statement}%'
                    and (application_name like 'tidegate take%'
                         or split_part(application_name, ' ', 4) = (select max(generation)::text from tidegate.checkpoint))"
            );
        }
        let statement = match self {
            Waiting::TakeOver => {
                return "select count(*) from information_schema.processlist where info like 'update tidegate.fence%'".to_owned();
            }
            Waiting::Index => "alter table%",
            Waiting::Commit => "update tidegate.checkpoint%",
            // Sessions of one host wait for each other while it begins, too: only this one has read the changes.
            Waiting::Lane => "%counter%",
            Waiting::Load => "%",
        };
        format!(
            "select count(*) from information_schema.processlist p join tidegate.session s on p.id = is_used_lock(s.token)
                where s.generation = (select max(generation) from tidegate.fence) and p.info like '{statement}'
                and (p.state like 'Waiting for%lock'
                     or p.id in (select trx_mysql_thread_id from information_schema.innodb_trx where trx_state = 'LOCK WAIT'))"
        )
    }
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

    /// Holds something in the target until it is released.
    async fn hold(&self, lock: Lock) -> Session {
        let statement = lock.statement(self.rig.target.is_postgres());
        let mut session = self.rig.target.session().await;
        session.run("begin").await.expect("the server is up");
        // A session of a killed host may have it, until it finds that nobody listens.
        session.run(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
        session
    }

    async fn release(&self, mut holder: Session) {
        let end = if self.rig.target.is_postgres() { "rollback" } else { "rollback; unlock tables" };
        holder.run(end).await.expect("the server is up");
    }

    /// Waits until a session of the host's present generation waits for a lock in the target.
    async fn wait_blocked(&self, waiting: Waiting) {
        let is_postgres = self.rig.target.is_postgres();
        let sql = waiting.sql(is_postgres);
        wait_for(&format!("{waiting:?} to wait for a lock"), PATIENCE, async || {
            tokio::time::sleep(INNODB_TRX_AGE).await;
            if self.rig.target.value(&sql).await != "0" {
                return Ok(());
            }
            let seen = if is_postgres {
                "select application_name, left(query, 90) from pg_stat_activity where wait_event_type = 'Lock'"
            } else {
                "select state, left(info, 90) from information_schema.processlist where info is not null"
            };
            Err((self.rig.host.task().await["phase"].clone(), self.rig.target.rows(seen).await))
        })
        .await;
    }

    async fn wait_generation_after(&self, before: &str) {
        wait_for("a take-over", PATIENCE, async || if self.rig.generation().await == before { Err(()) } else { Ok(()) }).await;
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

    /// Lets the checkpoint move, and holds the answer to the COMMIT.
    async fn commit_without_an_answer(&self, row: Session) {
        let proxy = &self.rig.to_target;
        if self.rig.target.is_postgres() {
            proxy.set(Fault::Hold(Direction::Down));
            return self.release(row).await;
        }
        let (down, taken) = (proxy.bytes_down(), proxy.bytes_taken_up());
        proxy.set(Fault::Hold(Direction::Up));
        self.release(row).await;
        wait_for("the COMMIT to be on its way", PATIENCE, async || {
            let now = (proxy.bytes_down(), proxy.bytes_taken_up());
            if now.0 > down && now.1 > taken { Ok(()) } else { Err(now) }
        })
        .await;
        proxy.set(Fault::Hold(Direction::Down));
    }
}

async fn while_it_loads(killed: &mut Killed) {
    killed.rig.source.sql("create index fill_a on fill (a)").await;
    killed.rig.host.start_task().await;
    // A table of which nothing is loaded would be made anew by the next attempt.
    wait_for("the first chunk", PATIENCE, async || {
        let is_made = killed.rig.target.has_table("tidegate", "chunk").await;
        let loaded = "select count(*) from tidegate.chunk where table_name = 'fill' and loaded_at is not null";
        let found = if is_made { killed.rig.target.value(loaded).await } else { "0".to_owned() };
        if found == "0" { Err(found) } else { Ok(()) }
    })
    .await;
    let holder = killed.hold(Lock::Rows).await;
    for _ in 0..2 {
        killed.wait_blocked(Waiting::Load).await;
        killed.kill().await;
        if killed.kills == 2 {
            break;
        }
        killed.restart().await;
    }
    killed.release(holder).await;

    // Loads may write beside this lock, and indexes may not be built.
    let holder = killed.hold(Lock::Definition).await;
    killed.restart().await;
    killed.wait_blocked(Waiting::Index).await;
    killed.kill().await;
    killed.release(holder).await;
    killed.restart().await;
    killed.rig.wait_level(&killed.rig.host).await;
    let indexes = if killed.rig.target.is_postgres() {
        "select count(*)::text from pg_indexes where schemaname = 'copy' and tablename = 'fill'"
    } else {
        "select count(distinct index_name) from information_schema.statistics where table_schema = 'copy' and table_name = 'fill'"
    };
    wait_for("the index", PATIENCE, async || {
        let found = killed.rig.target.value(indexes).await;
        if found == "2" { Ok(()) } else { Err(found) }
    })
    .await;
}

async fn while_it_follows(killed: &mut Killed) {
    // Written, not committed; then a take-over that waits.
    let holder = killed.hold(Lock::Counter).await;
    killed.write().await;
    killed.wait_blocked(Waiting::Lane).await;
    killed.kill().await;
    let row = killed.hold(Lock::Generation).await;
    killed.restart().await;
    killed.wait_blocked(Waiting::TakeOver).await;
    killed.kill().await;
    killed.release(row).await;
    killed.release(holder).await;
    killed.restart().await;
    killed.rig.wait_level(&killed.rig.host).await;

    // Committed, and the answer not heard; then taken over.
    let before = killed.rig.checkpoint().await;
    let row = killed.hold(Lock::Checkpoint).await;
    killed.write().await;
    killed.wait_blocked(Waiting::Commit).await;
    killed.commit_without_an_answer(row).await;
    killed.wait_checkpoint_after(&before).await;
    killed.kill().await;
    killed.rig.to_target.set(Fault::Pass);
    let before = killed.rig.generation().await;
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
    let holder = killed.hold(Lock::Counter).await;
    killed.restart().await;
    killed.wait_blocked(Waiting::Lane).await;
    // The others are told nothing.
    if killed.rig.source.is_postgres() {
        killed.rig.to_source.set(Fault::Hold(Direction::Up));
    }
    let before = killed.rig.checkpoint().await;
    killed.release(holder).await;
    killed.wait_checkpoint_after(&before).await;
    if killed.rig.source.is_postgres() {
        assert!(killed.is_ahead_of_the_slot().await, "the source was told of {}", killed.rig.checkpoint().await);
    }
    killed.kill().await;
    killed.rig.to_source.set(Fault::Pass);
    killed.restart().await;
    killed.rig.wait_level(&killed.rig.host).await;
}

async fn is_killed_at_named_points(pair: Pair) {
    let rig = Rig::between(pair, 30_000, json!({"chunk_rows": 1000, "load_lanes": 2})).await;
    let mut killed = Killed { rig, kills: 0, entries: 0 };
    while_it_loads(&mut killed).await;
    while_it_follows(&mut killed).await;
    killed.write().await;
    killed.rig.wait_level(&killed.rig.host).await;
    killed.rig.assert_equal().await;
    let entries = killed.rig.target.value("select concat(count(*), ' ', count(distinct entry)) from copy.ledger").await;
    assert_eq!(entries, format!("{} {}", 2 * killed.entries, 2 * killed.entries));
    assert_eq!(killed.kills, 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_at_named_points_and_during_the_recovery_from_them_end_equal() {
    is_killed_at_named_points(POSTGRES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_at_named_points_and_during_the_recovery_from_them_end_equal_from_mysql_to_mariadb() {
    is_killed_at_named_points(MYSQL_TO_MARIADB).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_at_named_points_and_during_the_recovery_from_them_end_equal_from_mariadb_to_mysql() {
    is_killed_at_named_points(MARIADB_TO_MYSQL).await;
}
