//! Values near the servers' limits of 1 GB, and rows that PostgreSQL has and cannot send. On request, since each takes a
//! minute and gigabytes of disk ([docs/testing.md](../../../docs/testing.md)).

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tidegate_harness::{MysqlFlavour, MysqlServer, PostgresVersion, wait_for};

use crate::world::{Source, World};

const MIB: u64 = 1 << 20;

/// Bytes of a value near all limits: a statement, and a row with its head, have to fit into 1 GiB, too.
const HUGE_BYTES: u64 = 1_000 * MIB;

/// What a task takes beside its values.
const TASK_BYTES: u64 = 60 * MIB;

/// How long one value may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(900);

/// Waits until the target has so many rows.
async fn wait_rows(world: &World, count: usize) {
    wait_for(&format!("{count} rows to arrive"), PATIENCE, async || {
        let task = world.task("huge").await;
        assert_ne!(task["status"], "failed", "{}\n{}", task["failure"], world.host.log());
        match world.target.try_rows("select id from copy.huge").await {
            Ok(rows) if rows.len() == count => Ok(()),
            Ok(rows) => Err(format!("{} rows, {}", rows.len(), task["phase"])),
            Err(error) => Err(error),
        }
    })
    .await;
}

async fn server(flavour: Option<MysqlFlavour>) -> Arc<Source> {
    let Some(flavour) = flavour else { return Arc::new(Source::postgres(PostgresVersion::V17).await) };
    // The servers make the whole log at once, and take checkpoints while they write a value.
    let log = if flavour.is_mariadb() { "--innodb-log-file-size=3G" } else { "--innodb-redo-log-capacity=3G" };
    Arc::new(Source::Mysql(MysqlServer::start_with(flavour, &["--max-allowed-packet=1G", "--local-infile=1", log]).await))
}

async fn postgres() -> Arc<Source> {
    server(None).await
}

/// Loads a value of [`HUGE_BYTES`] and inserts another; answers the bytes by which the process had grown at most.
async fn carried(source: &Arc<Source>, target: &Arc<Source>) -> u64 {
    let world = World::with(source.clone(), target.clone()).await;
    let is_postgres = matches!(**source, Source::Postgres(_));
    let kind = if is_postgres { "bytea" } else { "longblob" };
    let value = |letters: &str| {
        let repeated = format!("repeat('{letters}', {})", HUGE_BYTES / 16);
        if is_postgres { format!("convert_to({repeated}, 'UTF8')") } else { repeated }
    };
    world
        .source_sql(&format!("create table huge (id integer primary key, data {kind}); create table marker (id integer primary key)"))
        .await;
    if is_postgres {
        // What is compressed would not fill a gigabyte.
        world.source_sql("alter table huge alter column data set storage external").await;
    }
    world.source_sql(&format!("insert into huge values (1, {})", value("0123456789abcdef"))).await;
    let before = world.peak_rss_bytes();
    world.create_task("huge", "full-load-and-cdc", "drop-and-create", json!({"cache_mib": 8, "load_lanes": 1})).await;
    world.start_task("huge").await;
    wait_rows(&world, 1).await;
    world.wait_phase("huge", "replicating").await;
    world.source_sql(&format!("insert into huge values (2, {})", value("abcdefghijklmnop"))).await;
    wait_rows(&world, 2).await;
    world.wait_level("huge").await;
    let grown = world.peak_rss_bytes() - before;
    let sums = |server: &Source, table: &str| format!("select id, {}, length(data) from {table} order by id", server.digest("data"));
    let wanted = source.rows(&sums(source, "huge")).await;
    assert_eq!(target.rows(&sums(target, "copy.huge")).await, wanted);
    assert_eq!((wanted.len(), wanted[1][2].as_deref()), (2, Some(&*HUGE_BYTES.to_string())));
    println!("MiB: {} before, grown by {}", before / MIB, grown / MIB);
    grown
}

/// `TIDEGATE_PAIRS` leaves some pairs alone.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes an hour and tens of gigabytes of disk"]
async fn values_of_a_gigabyte_pass_in_every_pair() {
    let wanted = std::env::var("TIDEGATE_PAIRS").ok();
    let kinds = [("postgres", None), ("mysql", Some(MysqlFlavour::Mysql97)), ("mariadb", Some(MysqlFlavour::Mariadb118))];
    for (from, flavour) in kinds {
        for (to, other) in kinds {
            let pair = format!("{from}-{to}");
            if wanted.as_ref().is_some_and(|wanted| !wanted.split(',').any(|wanted| wanted.trim() == pair)) {
                continue;
            }
            println!("{pair}");
            let (source, target) = tokio::join!(server(flavour), server(other));
            let grown = carried(&source, &target).await;
            assert!(grown < HUGE_BYTES + TASK_BYTES, "{pair}: {} MiB", grown / MIB);
        }
    }
}

/// PG-113: a message of PostgreSQL ends at 1 GB.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes and gigabytes of disk"]
async fn rows_that_postgres_cannot_send_are_told_with_table_and_column() {
    let (source, target) = tokio::join!(postgres(), postgres());
    let world = World::with(source.clone(), target.clone()).await;
    let value = format!("convert_to(repeat('0123456789abcdef', {}), 'UTF8')", 600 * MIB / 16);
    world
        .source_sql(&format!(
            "create table whole (id integer primary key, note text, data bytea); alter table whole replica identity full;
             create table marker (id integer primary key); insert into whole values (1, 'x', {value})"
        ))
        .await;
    world.create_task("changes", "full-load-and-cdc", "drop-and-create", json!({})).await;
    world.start_task("changes").await;
    world.wait_phase("changes", "replicating").await;
    // The old row and the new one are in one message.
    world.source_sql("update whole set data = data || '\\x00'").await;
    let failure = world.wait_failed("changes").await;
    let text = failure["message"].as_str().unwrap_or_default();
    assert_eq!(failure["code"], "row_too_large", "{failure}");
    assert!(text.contains("column \"data\" of table \"public.whole\""), "{failure}");

    world.source_sql("create table wide (id integer primary key, one bytea, other bytea); insert into wide select id, data, data from whole; drop table whole").await;
    world.create_task("load", "full-load", "drop-and-create", json!({})).await;
    world.start_task("load").await;
    let failure = world.wait_failed("load").await;
    let text = failure["message"].as_str().unwrap_or_default();
    assert_eq!(failure["code"], "row_too_large", "{failure}");
    assert!(text.contains("column \"one\" of table \"public.wide\""), "{failure}");
}
