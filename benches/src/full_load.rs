//! How long does it take to copy one table, against `psql COPY TO STDOUT | psql COPY FROM STDIN` in binary?

use std::process::Command;
use std::time::Instant;

use tidegate_harness::{PostgresServer, PostgresVersion};

use crate::measured::Measurement;
use crate::tidegate;

const DEFINITION: &str = "create table load (id bigint primary key, account integer not null, kind text not null, note text,
    amount numeric(12,2) not null, created_at timestamptz not null)";

/// Both tools, `repeat` times each, alternating; the best of each.
pub(crate) async fn measure(rows: u64, repeat: u32) -> Vec<Measurement> {
    let source = PostgresServer::start(PostgresVersion::V17).await;
    let target = PostgresServer::start(PostgresVersion::V17).await;
    fill(&source, rows).await;
    let from = source.client().await;
    let bytes: i64 = from.query_one("select pg_table_size('load')", &[]).await.expect("sizes can be read").get(0);
    let to = target.client().await;
    let (mut best_psql, mut best_tidegate) = (None, None);
    for number in 0..repeat {
        to.batch_execute("drop table if exists load; checkpoint").await.expect("the target can be emptied");
        to.batch_execute(DEFINITION).await.expect("the table can be made");
        let began = Instant::now();
        psql_pipe(&source, &target);
        let psql = Measurement {
            work: "full load",
            tool: "psql COPY | psql COPY",
            rows,
            bytes: bytes as u64,
            time: began.elapsed(),
            peak_bytes: None,
        };
        check_count(&to, rows).await;
        best_psql = Some(psql.best(best_psql));

        to.batch_execute("drop table load; checkpoint").await.expect("the target can be emptied");
        let began = Instant::now();
        let ended = tidegate::start(&source, &target, "load", "full-load", &format!("load-{number}")).wait();
        let time = began.elapsed();
        assert!(ended.success, "the task ended well");
        check_count(&to, rows).await;
        let ours = Measurement { work: "full load", tool: "tidegate", rows, bytes: bytes as u64, time, peak_bytes: ended.peak_bytes };
        best_tidegate = Some(ours.best(best_tidegate));
    }
    best_psql.into_iter().chain(best_tidegate).collect()
}

/// Makes and fills the table `load`.
pub(crate) async fn fill(source: &PostgresServer, rows: u64) {
    let from = source.client().await;
    from.batch_execute(DEFINITION).await.expect("the table can be made");
    from.batch_execute(&format!(
        "insert into load select g, g % 1000, 'kind ' || g % 7, repeat('x', (g % 60)::int), g % 100000 / 100.0,
         timestamptz '2026-01-01 00:00:00+00' + g * interval '1 second' from generate_series(1, {rows}) g"
    ))
    .await
    .expect("rows can be made");
    // One by one: VACUUM refuses to run among other statements.
    from.batch_execute("vacuum (analyze, freeze) load").await.expect("the table can be vacuumed");
    from.batch_execute("checkpoint").await.expect("a superuser may ask for a checkpoint");
}

fn psql_pipe(source: &PostgresServer, target: &PostgresServer) {
    let psql = |server: &PostgresServer, sql: &str| format!("psql -X -q -h {} -p {} -U postgres -c '{sql}'", server.host(), server.port());
    let pipe =
        format!("{} | {}", psql(source, "copy load to stdout (format binary)"), psql(target, "copy load from stdin (format binary)"));
    let status =
        Command::new("bash").args(["-o", "pipefail", "-c", &pipe]).status().expect("bash and psql are there; run cargo xtask setup");
    assert!(status.success(), "psql copies the table");
}

pub(crate) async fn check_count(client: &tokio_postgres::Client, rows: u64) {
    let found: i64 = client.query_one("select count(*) from load", &[]).await.expect("rows can be counted").get(0);
    assert_eq!(found as u64, rows, "the target has every row");
}
