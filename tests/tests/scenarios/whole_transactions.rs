//! Transactions stay whole: a reader of the target never sees a sum that the source never had.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use serde_json::json;
use tidegate_harness::{MysqlFlavour, PostgresVersion};

use crate::world::{Source, World, seed};

async fn sums_stay_whole(source: Source, target: Source, time: Duration) {
    let seed = seed();
    println!("seed {seed}");
    let world = World::between(source, target).await;
    world.prepare_workload(seed, 2_000).await;
    let wanted = world.source_sum().await;
    world.create_task("sums", "full-load-and-cdc", "drop-and-create", json!({})).await;
    world.set_units("sums", 4).await;
    world.start_task("sums").await;
    world.wait_phase("sums", "replicating").await;

    let stop = Arc::new(AtomicBool::new(false));
    let mut reader = Reader::of(&world.target).await;
    let query = world.target_sum_query();
    let stopped = stop.clone();
    let polling = tokio::spawn(async move {
        let mut polls = 0_u64;
        while !stopped.load(Ordering::Relaxed) {
            let sum = reader.sum(&query).await;
            assert_eq!(sum, wanted, "poll {polls}");
            polls += 1;
        }
        polls
    });
    let workload = world.run_workload(seed, 4).await;
    tokio::time::sleep(time).await;
    let transactions = workload.stop().await;
    world.wait_level("sums").await;
    stop.store(true, Ordering::Relaxed);
    let polls = polling.await.expect("every poll saw the sum");
    println!("{transactions} transactions, {polls} polls");
    assert!(polls > 100 && transactions > 100, "{polls} polls, {transactions} transactions");
    let comparison = world.compare().await;
    assert_eq!(comparison.differences, 0, "{comparison}");
}

/// A session of the target that reads.
enum Reader {
    Postgres(tokio_postgres::Client),
    Mysql(mysql_async::Conn),
}

impl Reader {
    async fn of(target: &Source) -> Reader {
        match target {
            Source::Postgres(server) => Reader::Postgres(server.client().await),
            Source::Mysql(server) => Reader::Mysql(server.client().await),
        }
    }

    async fn sum(&mut self, query: &str) -> i64 {
        match self {
            Reader::Postgres(client) => client.query_one(query, &[]).await.expect("the sum can be read").get(0),
            Reader::Mysql(conn) => conn.query_first(query).await.expect("the sum can be read").expect("there is one"),
        }
    }
}

const USUAL: Duration = Duration::from_secs(8);
const BESIDE: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread")]
async fn readers_never_see_half_a_transaction_from_postgres() {
    sums_stay_whole(Source::postgres(PostgresVersion::V18).await, Source::postgres(PostgresVersion::V17).await, USUAL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_never_see_half_a_transaction_from_mariadb() {
    sums_stay_whole(Source::mysql(MysqlFlavour::Mariadb1011).await, Source::postgres(PostgresVersion::V17).await, USUAL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_never_see_half_a_transaction_from_postgres_in_mysql() {
    sums_stay_whole(Source::postgres(PostgresVersion::V18).await, Source::mysql(MysqlFlavour::Mysql97).await, BESIDE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_never_see_half_a_transaction_from_mysql_in_mariadb() {
    sums_stay_whole(Source::mysql(MysqlFlavour::Mysql97).await, Source::mysql(MysqlFlavour::Mariadb118).await, BESIDE).await;
}
