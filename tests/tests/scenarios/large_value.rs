//! A value of 200 MiB passes in a load and in changes, and the process grows by its budget and one value.
//!
//! On request, since each pair takes a minute and gigabytes of disk. Two pairs have every source and target of the two kinds
//! between them ([docs/testing.md](../../../docs/testing.md)).

use std::sync::Arc;

use serde_json::json;
use tidegate_harness::{MysqlFlavour, MysqlServer, PostgresVersion};

use crate::world::{Source, World};

const MIB: u64 = 1 << 20;

/// Bytes of the value.
const VALUE_BYTES: u64 = 200 * MIB;

/// The task's memory for changes that wait.
const CACHE_MIB: u64 = 8;

/// What a task takes beside its changes, by measurement: its module, connections and their buffers, threads' stacks.
const TASK_MIB: u64 = 40;

async fn mysql(flavour: MysqlFlavour) -> Arc<Source> {
    let log = if flavour.is_mariadb() { "--innodb-log-file-size=2G" } else { "--innodb-redo-log-capacity=4G" };
    Arc::new(Source::Mysql(MysqlServer::start_with(flavour, &["--max-allowed-packet=1G", "--local-infile=1", log]).await))
}

async fn postgres() -> Arc<Source> {
    Arc::new(Source::postgres(PostgresVersion::V17).await)
}

/// A value as SQL: sixteen letters, repeated.
fn value(source: &Source, letters: &str) -> String {
    let repeats = VALUE_BYTES / 16;
    match source {
        Source::Postgres(_) => format!("convert_to(repeat('{letters}', {repeats}), 'UTF8')"),
        Source::Mysql(_) => format!("repeat('{letters}', {repeats})"),
    }
}

/// Bytes by which the process had grown at most after each step.
struct Growth {
    load: u64,
    insert: u64,
    update: u64,
}

impl Growth {
    fn check(&self, insert_values: u64, update_values: u64) {
        let most = |values: u64| values * VALUE_BYTES + (CACHE_MIB + TASK_MIB) * MIB;
        for (step, grown, values) in
            [("load", self.load, 1), ("insert", self.insert, insert_values), ("update", self.update, update_values)]
        {
            assert!(grown < most(values), "{step}: it grew by {} MiB, wanted less than {}", grown / MIB, most(values) / MIB);
        }
    }
}

/// Loads one value, inserts one and updates one.
async fn growth(source: &Arc<Source>, target: &Arc<Source>) -> Growth {
    let world = World::with(source.clone(), target.clone()).await;
    let kind = if matches!(**source, Source::Postgres(_)) { "bytea" } else { "longblob" };
    let (first, second, third) = ("0123456789abcdef", "abcdefghijklmnop", "ABCDEFGHIJKLMNOP");
    let create =
        format!("create table big (id integer primary key, data {kind}, note varchar(10)); create table marker (id integer primary key)");
    world.source_sql(&create).await;
    world.source_sql(&format!("insert into big values (1, {}, 'loaded')", value(source, first))).await;
    let before = world.peak_rss_bytes();
    world.create_task("big", "full-load-and-cdc", "drop-and-create", json!({"cache_mib": CACHE_MIB, "load_lanes": 1})).await;
    world.start_task("big").await;
    world.wait_phase("big", "replicating").await;
    let load = world.peak_rss_bytes() - before;
    world.source_sql(&format!("insert into big values (2, {}, 'inserted')", value(source, second))).await;
    world.wait_level("big").await;
    let insert = world.peak_rss_bytes() - before;
    world.source_sql(&format!("update big set data = {}, note = 'updated' where id = 1", value(source, third))).await;
    world.wait_level("big").await;
    let update = world.peak_rss_bytes() - before;
    println!("MiB: {} before; grown by {} (load), {} (insert), {} (update)", before / MIB, load / MIB, insert / MIB, update / MIB);

    let sums = |server: &Source, table: &str| format!("select id, {}, note from {table} order by id", server.digest("data"));
    let wanted = source.rows(&sums(source, "big")).await;
    assert_eq!(target.rows(&sums(target, "copy.big")).await, wanted);
    assert_eq!(wanted.len(), 2);
    Growth { load, insert, update }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes and gigabytes of disk"]
async fn a_200_mib_value_passes_within_the_budget_and_one_value() {
    let (one, other) = tokio::join!(postgres(), mysql(MysqlFlavour::Mysql97));
    growth(&one, &other).await.check(1, 1);
    growth(&other, &one).await.check(2, 4);
}

/// On request: minutes, and gigabytes of disk. `TIDEGATE_PAIRS` leaves some pairs alone, such as `mariadb-mariadb`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes ten minutes and gigabytes of disk"]
async fn a_200_mib_value_passes_within_the_budget_in_every_pair() {
    let wanted = std::env::var("TIDEGATE_PAIRS").ok();
    let kinds = [("postgres", None), ("mysql", Some(MysqlFlavour::Mysql97)), ("mariadb", Some(MysqlFlavour::Mariadb118))];
    let start = async |flavour| match flavour {
        Some(flavour) => mysql(flavour).await,
        None => postgres().await,
    };
    for (from, flavour) in kinds {
        for (to, other) in kinds {
            let pair = format!("{from}-{to}");
            if wanted.as_ref().is_some_and(|wanted| !wanted.split(',').any(|wanted| wanted.trim() == pair)) {
                continue;
            }
            println!("{pair}");
            let (source, target) = tokio::join!(start(flavour), start(other));
            let of_log = if flavour.is_none() { (1, 1) } else { (2, 4) };
            growth(&source, &target).await.check(of_log.0, of_log.1);
        }
    }
}
