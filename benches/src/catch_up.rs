//! How long does a backlog of transactions take, against PostgreSQL's native logical replication?
//!
//! Both start with the same rows in place and a slot that has waited while the backlog was written. The clock runs from
//! the start of the tool (or `ALTER SUBSCRIPTION … ENABLE`) until the last transaction's row is in the target.

use std::time::{Duration, Instant};

use tidegate_harness::{PostgresServer, PostgresVersion};
use tokio_postgres::Client;

use crate::measured::Measurement;
use crate::tidegate;

const DEFINITION: &str =
    "create table backlog (id bigint primary key, account integer not null, note text not null, amount numeric(12,2) not null)";

/// Rows in the table before the backlog; updates and deletes hit these.
const ROWS_BEFORE: u64 = 200_000;

/// Row changes of one transaction: 5 inserts, 4 updates, 1 delete.
const CHANGES: u64 = 10;

/// Both tools, `repeat` times each, alternating; the best of each.
pub(crate) async fn measure(transactions: u64, repeat: u32) -> Vec<Measurement> {
    let (mut best_native, mut best_tidegate) = (None, None);
    for number in 0..repeat {
        best_native = Some(native(transactions).await.best(best_native));
        best_tidegate = Some(ours(transactions, number).await.best(best_tidegate));
    }
    best_native.into_iter().chain(best_tidegate).collect()
}

async fn servers() -> (PostgresServer, PostgresServer, Client, Client) {
    let source = PostgresServer::start(PostgresVersion::V17).await;
    let target = PostgresServer::start(PostgresVersion::V17).await;
    let (from, to) = (source.client().await, target.client().await);
    from.batch_execute(DEFINITION).await.expect("the table can be made");
    from.batch_execute(&format!("insert into backlog select g, g % 1000, 'note ' || g, g % 1000 from generate_series(1, {ROWS_BEFORE}) g"))
        .await
        .expect("rows can be made");
    (source, target, from, to)
}

/// Writes the backlog in one session, one commit a transaction.
async fn write_backlog(from: &Client, transactions: u64) {
    // One by one: a block that commits cannot run among other statements.
    from.batch_execute("set synchronous_commit = off").await.expect("the setting exists");
    from.batch_execute(&format!(
        "do $$ begin for t in 1..{transactions} loop
           insert into backlog select 1000000 + t * 5 + g, g, 'inserted by ' || t, t % 1000 from generate_series(1, 5) g;
           update backlog set amount = amount + 1, note = 'updated by ' || t where id in (t % 50000 + 1, t % 50000 + 50001, t % 50000 + 100001, 1000000 + t * 5 + 1);
           delete from backlog where id = 1000000 + t * 5 + 2;
           commit;
         end loop; end $$"
    ))
    .await
    .expect("the backlog can be written");
    from.batch_execute("insert into backlog values (0, 0, 'last', 0); checkpoint").await.expect("the last row can be written");
}

async fn wait_for_last(to: &Client) {
    let deadline = Instant::now() + Duration::from_secs(900);
    while to.query_opt("select 1 from backlog where id = 0", &[]).await.ok().flatten().is_none() {
        assert!(Instant::now() < deadline, "the last row of the backlog arrives within 15 minutes");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn measured(tool: &'static str, transactions: u64, time: Duration, peak_bytes: Option<u64>) -> Measurement {
    // The text of one changed row is about this long.
    const ROW_BYTES: u64 = 40;
    let rows = transactions * CHANGES;
    Measurement { work: "catch-up", tool, rows, bytes: rows * ROW_BYTES, time, peak_bytes }
}

async fn native(transactions: u64) -> Measurement {
    let (source, _target, from, to) = servers().await;
    to.batch_execute(DEFINITION).await.expect("the table can be made");
    from.batch_execute("create publication p for table backlog").await.expect("the publication can be made");
    from.execute("select pg_create_logical_replication_slot('s', 'pgoutput')", &[]).await.expect("the slot can be made");
    to.batch_execute(&format!("insert into backlog select g, g % 1000, 'note ' || g, g % 1000 from generate_series(1, {ROWS_BEFORE}) g"))
        .await
        .expect("rows can be made");
    to.batch_execute(&format!(
        "create subscription s connection 'host={} port={} user=postgres dbname=postgres' publication p
         with (create_slot = false, slot_name = 's', copy_data = false, enabled = false, binary = true, streaming = on)",
        source.host(),
        source.port()
    ))
    .await
    .expect("the subscription can be made");
    write_backlog(&from, transactions).await;
    let began = Instant::now();
    to.batch_execute("alter subscription s enable").await.expect("the subscription can be enabled");
    wait_for_last(&to).await;
    measured("native logical replication", transactions, began.elapsed(), None)
}

async fn ours(transactions: u64, number: u32) -> Measurement {
    let (source, target, from, to) = servers().await;
    let name = format!("catch-up-{number}");
    let start = || tidegate::start(&source, &target, "backlog", "full-load-and-cdc", &name);
    let running = start();
    // A change that arrives proves that the load is done and the stream runs.
    from.batch_execute("insert into backlog values (-1, 0, 'first', 0)").await.expect("the first row can be written");
    let deadline = Instant::now() + Duration::from_secs(60);
    while to.query_opt("select 1 from backlog where id = -1", &[]).await.ok().flatten().is_none() {
        assert!(Instant::now() < deadline, "the task replicates within a minute");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(running.stop().success, "the task stops well");
    write_backlog(&from, transactions).await;
    let began = Instant::now();
    let running = start();
    wait_for_last(&to).await;
    let time = began.elapsed();
    let ended = running.stop();
    assert!(ended.success, "the task stops well");
    assert_eq!(counts(&from).await, counts(&to).await, "source and target are equal");
    measured("tidegate", transactions, time, ended.peak_bytes)
}

async fn counts(client: &Client) -> (i64, Option<String>) {
    let row = client.query_one("select count(*), sum(amount)::text from backlog", &[]).await.expect("rows can be counted");
    (row.get(0), row.get(1))
}
