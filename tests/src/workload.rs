//! Seeded writers for a source: everything a replica gets wrong, in transactions of random size.
//!
//! | table | what happens to it |
//! |---|---|
//! | `accounts` | money moves between two rows; the sum of all balances never changes, at any commit; `email` is for masking |
//! | `ledger` | one new row for each transfer, never touched again: a lost or doubled transaction shows |
//! | `wide` | a column of most types; inserts, updates of some columns, deletes |
//! | `documents` | large texts, while most updates leave the text as it is |
//! | `composite` | a key of two columns |
//! | `moving` | updates of the key itself |
//! | `keyless` | no key, equal rows; in PostgreSQL with REPLICA IDENTITY FULL |
//!
//! The same seed does the same work; how the transactions of several writers interleave is up to the server. Some
//! transactions are rolled back. Each one is sent as one string of statements.

mod statements;
mod tables;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::compare::{Database, TablePair};
use statements::Writer;

/// Transactions per second of all writers together, unless the plan says otherwise: more than a debug build needs to
/// show its faults, and not so many that a busy machine of two cores falls behind for good.
const RATE: u32 = 300;

/// The two ways in which MySQL and PostgreSQL write the same statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tongue {
    Postgres,
    Mysql,
}

/// What the writers work on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadPlan {
    seed: u64,
    rows: u64,
    rate: u32,
}

impl WorkloadPlan {
    /// About `rows` first rows, over all tables.
    pub fn new(seed: u64, rows: u64) -> WorkloadPlan {
        WorkloadPlan { seed, rows, rate: RATE }
    }

    /// Sets the transactions per second of all writers together.
    #[must_use]
    pub fn rate(mut self, transactions_per_second: u32) -> WorkloadPlan {
        self.rate = transactions_per_second.max(1);
        self
    }

    /// Creates the tables in the schema `public` (PostgreSQL) or the database `test` (MySQL), with their first rows.
    pub async fn prepare(&self, database: &Database<'_>) {
        let mut session = Session::open(database).await;
        for statement in tables::create(session.tongue()) {
            session.run(&statement).await.unwrap_or_else(|error| panic!("{statement}\n{error}"));
        }
        let mut writer = Writer::new(session.tongue(), self.seed, 0, 1, FoundIds::default());
        for statement in writer.first_rows(self.rows) {
            session.run(&statement).await.unwrap_or_else(|error| panic!("insert the first rows: {error}"));
        }
    }

    /// Starts writers, each with a connection of its own, on tables made by [`WorkloadPlan::prepare`].
    pub async fn start(&self, database: &Database<'_>, writers: usize) -> Workload {
        println!("workload: seed {}, {writers} writers, {} transactions per second", self.seed, self.rate);
        let found = FoundIds::read(database).await;
        let pause = Duration::from_secs(1) * u32::try_from(writers).expect("a handful of writers") / self.rate;
        let shared = Arc::new(Shared::default());
        let mut running = JoinSet::new();
        for index in 0..writers {
            let session = Session::open(database).await;
            let writer = Writer::new(session.tongue(), self.seed, index as u64, writers as u64, found);
            running.spawn(write(session, writer, pause, shared.clone()));
        }
        Workload { running, shared }
    }

    /// A query for the sum that every state of the source has: a `bigint` in PostgreSQL.
    pub fn sum_query(schema: &str) -> String {
        format!("select coalesce(sum(balance), 0) from {schema}.accounts")
    }

    /// The tables with what they are called in the target.
    pub fn table_pairs(source_schema: &str, target_schema: &str) -> Vec<TablePair> {
        tables::TABLES.iter().map(|table| TablePair::new((source_schema, table), (target_schema, table))).collect()
    }
}

/// Running writers. Dropping them stops them in the middle of a transaction, which the server rolls back.
#[derive(Debug)]
pub struct Workload {
    running: JoinSet<()>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    committed: AtomicU64,
}

impl Workload {
    /// Transactions committed so far.
    pub fn committed(&self) -> u64 {
        self.shared.committed.load(Ordering::SeqCst)
    }

    /// Lets every writer finish its transaction and returns how many were committed; panics when a writer did.
    pub async fn stop(mut self) -> u64 {
        self.shared.stop.store(true, Ordering::SeqCst);
        while let Some(ended) = self.running.join_next().await {
            ended.expect("a writer goes on until it is stopped");
        }
        self.committed()
    }
}

async fn write(mut session: Session, mut writer: Writer, pause: Duration, shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(pause);
    // A slow server is not made up for by a burst.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failures_in_row = 0;
    while !shared.stop.load(Ordering::SeqCst) {
        ticks.tick().await;
        let (statements, commits) = writer.transaction();
        match session.run(&statements).await {
            Ok(()) => {
                shared.committed.fetch_add(u64::from(commits), Ordering::SeqCst);
                failures_in_row = 0;
            }
            // A deadlock with another writer; anything that keeps failing is a fault of the workload.
            Err(error) => {
                failures_in_row += 1;
                assert!(failures_in_row < 20, "{error}");
                session.run("rollback").await.unwrap_or_else(|error| panic!("rollback: {error}"));
            }
        }
    }
}

/// Ids above this one are given by writers, ids below it by [`WorkloadPlan::prepare`].
const FIRST_ROWS_MAX: u64 = 1_000_000;

/// What the writers find when they start.
#[derive(Debug, Clone, Copy, Default)]
struct FoundIds {
    /// The highest id that `prepare` gave, for each table.
    first_rows: [u64; tables::TABLES.len()],
    /// The highest of all ids.
    highest: u64,
}

impl FoundIds {
    async fn read(database: &Database<'_>) -> FoundIds {
        let mut found = FoundIds::default();
        for (index, table) in tables::TABLES.iter().enumerate() {
            let highest = format!("select coalesce(max(id), 0) from {table}");
            found.first_rows[index] = number(database, &format!("{highest} where id <= {FIRST_ROWS_MAX}")).await;
            found.highest = found.highest.max(number(database, &highest).await);
        }
        found
    }
}

async fn number(database: &Database<'_>, query: &str) -> u64 {
    let text = match database {
        Database::Postgres(server) => server.value(query).await,
        Database::Mysql(server) => server.value(query).await,
    };
    text.parse().unwrap_or_else(|error| panic!("{query}: {text}: {error}"))
}

/// One connection that runs strings of statements.
enum Session {
    Postgres(tokio_postgres::Client),
    Mysql(mysql_async::Conn),
}

impl Session {
    async fn open(database: &Database<'_>) -> Session {
        match database {
            Database::Postgres(server) => Session::Postgres(server.client().await),
            Database::Mysql(server) => Session::Mysql(server.client().await),
        }
    }

    fn tongue(&self) -> Tongue {
        match self {
            Session::Postgres(_) => Tongue::Postgres,
            Session::Mysql(_) => Tongue::Mysql,
        }
    }

    async fn run(&mut self, statements: &str) -> Result<(), String> {
        match self {
            Session::Postgres(client) => client.batch_execute(statements).await.map_err(|error| format!("{error:?}")),
            Session::Mysql(client) => client.query_drop(statements).await.map_err(|error| error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MysqlFlavour, MysqlServer, PostgresServer, PostgresVersion};

    async fn check(database: Database<'_>, count: impl AsyncFn(&str) -> u64) {
        WorkloadPlan::new(7, 600).prepare(&database).await;
        for table in tables::TABLES {
            assert!(count(&format!("select count(*) from {table}")).await >= 25, "{table}");
        }
        let schema = if matches!(database, Database::Postgres(_)) { "public" } else { "test" };
        let sum = count(&WorkloadPlan::sum_query(schema)).await;
        let entries = count("select count(*) from ledger").await;

        // Twice: the second run must not meet the keys of the first.
        for seed in [7, 7] {
            let workload = WorkloadPlan::new(seed, 0).rate(500).start(&database, 3).await;
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert!(workload.stop().await > 50);
        }

        assert_eq!(count(&WorkloadPlan::sum_query(schema)).await, sum);
        assert!(count("select count(*) from ledger").await > entries + 50);
        assert!(count("select count(*) from moving where id > 1000000").await > 0);
    }

    #[tokio::test]
    async fn the_sum_of_balances_never_changes_in_postgresql() {
        let server = PostgresServer::start(PostgresVersion::V18).await;
        check(Database::Postgres(&server), async |query| server.value(query).await.parse().unwrap()).await;
    }

    #[tokio::test]
    async fn the_sum_of_balances_never_changes_in_mysql_and_mariadb() {
        for flavour in [MysqlFlavour::Mariadb1011, MysqlFlavour::Mysql97] {
            let server = MysqlServer::start(flavour).await;
            check(Database::Mysql(&server), async |query| server.value(query).await.parse().unwrap()).await;
        }
    }
}
