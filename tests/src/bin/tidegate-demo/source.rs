//! The two source databases, and the clerks who write to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use tidegate_harness::{Database, MysqlServer, PostgresServer};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::shop::{Clerk, MARIADB_TABLES, POSTGRES_TABLES};

/// Clerks of each shop.
pub(crate) const CLERKS: u64 = 2;

/// Time from one transaction of a clerk to the next: a pace that a debug build keeps up with on two busy cores.
const PAUSE: Duration = Duration::from_millis(12);

/// A source server with a shop.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source<'a> {
    Mariadb(&'a MysqlServer),
    Postgres(&'a PostgresServer),
}

impl<'a> Source<'a> {
    /// Creates the shop and fills it.
    pub(crate) async fn prepare(self, seed: u64) -> Result<(), String> {
        match self {
            Source::Mariadb(server) => server.sql(MARIADB_TABLES).await,
            Source::Postgres(server) => server.sql(POSTGRES_TABLES).await,
        }
        let session = tokio::sync::Mutex::new(Session::open(self).await);
        Clerk::new(seed, 0, 1).fill(async |statement| session.lock().await.run(&statement).await).await
    }

    /// Writes the row that comes after everything that was committed before.
    pub(crate) async fn write_marker(self) -> Result<(), String> {
        Session::open(self).await.run("insert into shop.markers values (1)").await
    }

    pub(crate) async fn rows(self, query: &str) -> Vec<Vec<Option<String>>> {
        match self {
            Source::Mariadb(server) => server.rows(query).await,
            Source::Postgres(server) => server.rows(query).await,
        }
    }

    pub(crate) fn database(self) -> Database<'a> {
        match self {
            Source::Mariadb(server) => Database::Mysql(server),
            Source::Postgres(server) => Database::Postgres(server),
        }
    }
}

/// Clerks at work. Dropping them ends their transactions in the middle.
#[derive(Debug, Default)]
pub(crate) struct Clerks {
    running: JoinSet<Result<(), String>>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    committed: AtomicU64,
}

impl Clerks {
    /// Lets clerks write to a shop.
    pub(crate) async fn employ(&mut self, source: Source<'_>, seed: u64) {
        for index in 0..CLERKS {
            let session = Session::open(source).await;
            // The first one made the first rows.
            let clerk = Clerk::new(seed.wrapping_add(1), index, CLERKS);
            self.running.spawn(work(session, clerk, self.shared.clone()));
        }
    }

    /// Transactions committed so far.
    pub(crate) fn committed(&self) -> u64 {
        self.shared.committed.load(Ordering::Relaxed)
    }

    /// The error of a clerk who gave up.
    pub(crate) fn check(&mut self) -> Result<(), String> {
        self.running.try_join_next().map_or(Ok(()), ended)
    }

    /// Lets every clerk finish a transaction.
    pub(crate) async fn stop(&mut self) -> Result<(), String> {
        self.shared.stop.store(true, Ordering::Relaxed);
        while let Some(result) = self.running.join_next().await {
            ended(result)?;
        }
        Ok(())
    }
}

fn ended(result: Result<Result<(), String>, tokio::task::JoinError>) -> Result<(), String> {
    result.unwrap_or_else(|error| Err(error.to_string()))
}

async fn work(mut session: Session, mut clerk: Clerk, shared: Arc<Shared>) -> Result<(), String> {
    let mut ticks = tokio::time::interval(PAUSE);
    // A slow server is not made up for by a burst.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failures_in_row = 0;
    while !shared.stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let (statements, commits) = clerk.transaction();
        match session.run(&statements).await {
            Ok(()) => {
                shared.committed.fetch_add(u64::from(commits), Ordering::Relaxed);
                failures_in_row = 0;
            }
            // A deadlock with the other clerk passes; anything else comes again.
            Err(error) if failures_in_row == 10 => return Err(format!("a clerk's transaction failed ten times: {error}")),
            Err(_) => {
                failures_in_row += 1;
                session.run("rollback").await?;
            }
        }
    }
    Ok(())
}

/// One connection that runs strings of statements.
enum Session {
    Mariadb(mysql_async::Conn),
    Postgres(tokio_postgres::Client),
}

impl Session {
    async fn open(source: Source<'_>) -> Session {
        match source {
            Source::Mariadb(server) => Session::Mariadb(server.client().await),
            Source::Postgres(server) => Session::Postgres(server.client().await),
        }
    }

    async fn run(&mut self, statements: &str) -> Result<(), String> {
        match self {
            Session::Mariadb(client) => client.query_drop(statements).await.map_err(|error| error.to_string()),
            Session::Postgres(client) => client.batch_execute(statements).await.map_err(|error| format!("{error:?}")),
        }
    }
}
