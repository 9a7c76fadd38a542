//! What does a quiet task notice when another task of its node is flooded?
//!
//! One row at a time is written at the source of the quiet task and waited for in the target, first alone, then while the
//! other task has a flood to apply. Sizes are rows of each phase (`--rows`) and changes of the flood (`--changes`); answers
//! are milliseconds at the 50th and 99th percentile.

use std::time::{Duration, Instant};

use serde_json::json;
use tidegate_harness::neighbour::NeighbourReport;
use tidegate_harness::{PostgresServer, PostgresVersion, Tidegate};
use tokio_postgres::Client;

use crate::host::{postgres, start, task, wait};

/// Between two rows of the quiet task.
const PAUSE: Duration = Duration::from_millis(20);

/// Runs both phases and prints them.
pub(crate) async fn measure(rows: u32, changes: u64) {
    let source = PostgresServer::start(PostgresVersion::V17).await;
    let target = PostgresServer::start(PostgresVersion::V17).await;
    let host = Tidegate::serve_in_own_dir().await;
    source.sql("create table quiet (id integer primary key); create table flood (id bigint primary key, note text not null)").await;
    host.post("/v1/endpoints", &postgres("source", "source", source.port())).await.ok();
    host.post("/v1/endpoints", &postgres("target", "target", target.port())).await.ok();
    start(&host, &[task("quiet", "public", "quiet", 8), task("flood", "public", "flood", 8)]).await;
    for name in ["quiet", "flood"] {
        wait(&host, name, "follow its source", |task| task["phase"] == "replicating").await;
    }
    let (writer, reader) = (source.client().await, target.client().await);
    let alone = phase(&writer, &reader, 0, rows).await;
    let flooding = source.client().await;
    let flood = tokio::spawn(async move {
        let sql = format!(
            "do $$ begin for t in 0..{changes} / 100 - 1 loop insert into flood select t * 100 + g, repeat('x', 100) \
             from generate_series(1, 100) g; commit; end loop; end $$"
        );
        flooding.batch_execute(&sql).await.expect("the flood can be written");
    });
    wait(&host, "flood", "be flooded", |task| task["progress"]["changes_applied"].as_u64() > Some(changes / 100)).await;
    let beside = phase(&writer, &reader, rows, rows).await;
    let still = !flood.is_finished() || host.get("/v1/tasks/flood").await.ok()["progress"]["lag_seconds"].as_f64() > Some(0.0);
    flood.await.expect("the flood ends well");
    println!(
        "{}",
        json!({"work": "flood", "rows": rows, "changes": changes, "flooded_to_the_end": still, "alone_ms_p50": NeighbourReport::percentile(&alone, 50.0),
            "alone_ms_p99": NeighbourReport::percentile(&alone, 99.0), "beside_ms_p50": NeighbourReport::percentile(&beside, 50.0), "beside_ms_p99": NeighbourReport::percentile(&beside, 99.0)})
    );
}

/// Milliseconds from each commit to its sight, in their order.
async fn phase(writer: &Client, reader: &Client, from: u32, rows: u32) -> Vec<f64> {
    let mut waits = Vec::new();
    for id in from..from + rows {
        writer.batch_execute(&format!("insert into quiet values ({id})")).await.expect("a row can be written");
        let since = Instant::now();
        let query = format!("select 1 from copy.quiet where id = {id}");
        while reader.query_opt(&query, &[]).await.expect("the table can be read").is_none() {
            assert!(since.elapsed() < Duration::from_secs(120), "row {id} arrives within two minutes");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        waits.push(since.elapsed().as_secs_f64() * 1e3);
        tokio::time::sleep(PAUSE).await;
    }
    waits
}
