//! As many tables in one publication as hardly anybody has.

use std::time::{Duration, Instant};

use tidegate_connector::{ChangeStream, Source, StreamEvent};
use tidegate_harness::PostgresVersion;
use tidegate_model::{Change, Lsn, Position, TableName, TaskId};

use super::fixture::{Fixture, rows_of, scope};

const PARTITIONS: usize = 1000;

/// Row changes and emptied tables up to `end`.
async fn counted(stream: &mut dyn ChangeStream, end: &Position) -> (usize, usize) {
    let (mut at, mut rows, mut emptied) = (Position::Postgres(Lsn(0)), 0, 0);
    while !at.covers_position(end) {
        let events = tokio::time::timeout(Duration::from_secs(900), stream.next_events()).await.expect("the stream is not silent");
        for event in events.expect("the stream goes on") {
            match event {
                StreamEvent::Change { change: Change::Row { .. }, .. } => rows += 1,
                StreamEvent::Change { change: Change::Truncate { relations }, .. } => emptied += relations.len(),
                StreamEvent::Commit { mark, .. } => at.advance(&mark),
                StreamEvent::Idle { position } => at = position,
                StreamEvent::Relation { .. } | StreamEvent::Change { .. } | StreamEvent::Abort { .. } => {}
            }
        }
    }
    (rows, emptied)
}

/// PG-091, with a thousand partitions that are emptied at once.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "makes 30,000 tables: a minute and more"]
async fn thirty_thousand_tables_in_one_publication_are_described_captured_and_followed() {
    let count = std::env::var("TIDEGATE_TABLES").map_or(30_000, |text| text.parse().expect("TIDEGATE_TABLES is a number"));
    let fixture = Fixture::start_with(PostgresVersion::V17, &["max_locks_per_transaction=1024", "max_wal_size=8GB"]).await;
    let made = Instant::now();
    fixture
        .run(&format!(
            "do $$ begin for i in 1..{count} loop execute format('create table t_%s (id integer primary key)', i); \
             if i % 1000 = 0 then commit; end if; end loop; end $$"
        ))
        .await;
    fixture
        .run(&format!(
            "create table parts (id integer primary key) partition by range (id); do $$ begin for i in 1..{PARTITIONS} loop \
             execute format('create table p_%s partition of parts for values from (%s) to (%s)', i, i * 10, i * 10 + 10); end loop; end $$"
        ))
        .await;
    fixture.run(&format!("insert into parts select i * 10 from generate_series(1, {PARTITIONS}) i; insert into t_7 values (1), (2)")).await;
    let names: Vec<TableName> =
        (1..=count).map(|number| format!("t_{number}")).chain(["parts".into()]).map(|name| TableName::new("public", name)).collect();
    let mut since = Instant::now();
    let mut took = |what: &str| println!("{what}: {:.1} s", std::mem::replace(&mut since, Instant::now()).elapsed().as_secs_f64());
    println!("{count} tables and {PARTITIONS} partitions were made in {:.1} s", made.elapsed().as_secs_f64());

    let described = fixture.source.describe(&names).await.expect("all are there");
    assert_eq!(described.len(), names.len());
    took("described");
    assert_eq!(fixture.source.describe_objects(&names).await.expect("all are there").len(), names.len());
    took("described with their objects");
    fixture.source.check(&TaskId::new("orders-1").expect("a task name"), &described, true).await.expect("the check can be done");
    took("checked");
    let scope = scope(&names);
    let start = fixture.source.begin_capture(&scope).await.expect("there is room for the locks");
    took("published, with a slot and a locked snapshot");
    assert_eq!(rows_of(start.snapshot.as_ref(), &described[6], 1000).await.len(), 2);
    drop(start.snapshot);

    let mut stream = fixture.source.open_stream(&scope, &start.position).await.expect("nobody has touched it");
    took("stream opened");
    let inserts: Vec<String> = (1..=count).step_by(count / 100).map(|number| format!("insert into t_{number} values (7)")).collect();
    fixture.run(&format!("{}; update parts set id = id + 1; truncate parts; insert into parts values (77)", inserts.join("; "))).await;
    let end = fixture.end().await;
    took("changes made");
    let wanted = (inserts.len() + PARTITIONS + 1, 1);
    assert_eq!(counted(stream.as_mut(), &end).await, wanted);
    took("changes followed");
    drop(stream);
    let mut again = fixture.source.open_stream(&scope, &start.position).await.expect("nothing was confirmed");
    assert_eq!(counted(again.as_mut(), &end).await, wanted);
    took("stream opened again and followed");
}
