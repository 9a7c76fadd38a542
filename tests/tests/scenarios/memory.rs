//! Memory has a ceiling that a transaction of any size keeps.

use serde_json::json;
use tidegate_harness::{MysqlFlavour, PostgresVersion};

use crate::world::{Source, World};

const MIB: u64 = 1 << 20;

/// The issue's own figure.
const PEAK_MAX: u64 = 400 * MIB;

async fn two_million_rows(source: Source, insert: &str) {
    let world = World::start(source, PostgresVersion::V17).await;
    world.source_sql("create table big (id bigint not null primary key, a integer not null, b varchar(100) not null)").await;
    world.create_task("big", "full-load-and-cdc", "drop-and-create", json!({"cache_mib": 64})).await;
    world.start_task("big").await;
    world.wait_phase("big", "replicating").await;
    world.source_sql(insert).await;
    world.wait_target_count("big", 2_000_000).await;
    let peak = world.peak_rss_bytes();
    println!("peak {} MiB", peak / MIB);
    let sums = "select count(*), sum(id), sum(a) from big";
    assert_eq!(world.target_row(sums).await, ["2000000", "2000001000000", "999000000"].map(str::to_owned));
    assert!(peak < PEAK_MAX, "the peak is {} MiB", peak / MIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_million_row_transaction_stays_below_400_mib_from_postgres() {
    let insert = "insert into big select g, g % 1000, 'row number ' || g || repeat('x', 30) from generate_series(1, 2000000) g";
    two_million_rows(Source::postgres(PostgresVersion::V15).await, insert).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_million_row_transaction_stays_below_400_mib_from_mariadb() {
    let insert = "insert into big select seq, seq % 1000, concat('row number ', seq, repeat('x', 30)) from seq_1_to_2000000";
    two_million_rows(Source::mysql(MysqlFlavour::Mariadb1011).await, insert).await;
}
