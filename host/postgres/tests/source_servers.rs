//! What happens to the server of a source: it is promoted, killed, shared with others; it ends sessions and slots.

mod fixture;

use std::time::Duration;

use fixture::{Fixture, public, read_until, read_while, rows_of, scope, settings, text};
use tidegate_connector::{CaptureScope, ErrorClass, ServerSettings, Severity, Source, StreamEvent, TablePreparation, Target};
use tidegate_harness::pooler::{PoolMode, Pooler};
use tidegate_harness::{PostgresVersion, wait_for};
use tidegate_model::{Change, Lsn, Position, RowChange};
use tidegate_postgres::source::PostgresSource;
use tidegate_postgres::target::PostgresTarget;

const PATIENCE: Duration = Duration::from_secs(60);

/// The ids that a stream brings from a position up to the log's end.
async fn ids_from(fixture: &Fixture, scope: &CaptureScope, from: &Position) -> Vec<String> {
    let mut stream = fixture.source.open_stream(scope, from).await.expect("a stream");
    let seen = read_until(stream.as_mut(), &fixture.end().await).await;
    let ids = seen.changes().map(|change| match change {
        Change::Row { relation, change: RowChange::Insert { new } } => text(seen.table(*relation), new, "id"),
        other => panic!("only inserts: {other:?}"),
    });
    ids.collect()
}

/// Waits until a standby has applied the log up to a position.
async fn wait_applied(standby: &Fixture, position: &Position) {
    let lsn = position.to_string().replace("postgres:", "");
    wait_for("the standby to be level", PATIENCE, async || {
        let row = standby.sql.query_one("select pg_last_wal_replay_lsn() >= $1::text::pg_lsn", &[&lsn]).await.expect("answer");
        if row.get(0) { Ok(()) } else { Err("it is behind") }
    })
    .await;
}

/// PG-073, PG-103, PG-104: a promoted standby goes on where the primary was, for whoever has read no further than it did.
#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_standby_goes_on_and_one_that_lacks_what_was_read_is_refused() {
    let old = Fixture::start_with(PostgresVersion::V17, &["wal_keep_size=64MB"]).await;
    old.run("select pg_create_physical_replication_slot('standby', true)").await;
    let new = old.standby("standby", &["hot_standby_feedback = on"]).await;
    old.run("create table a(id int primary key)").await;
    let scope = scope(&public(&["a"]));
    let position = old.begin_without_load(&scope).await;
    let before = old.source.identity().await.expect("the server is up");
    old.run("insert into a values (1)").await;
    let end = old.end().await;
    assert_eq!(ids_from(&old, &scope, &position).await, ["1"]);

    // A standby is no source of changes.
    wait_applied(&new, &end).await;
    let findings = new.source.check(&scope.task, &[], true).await.expect("checked");
    assert!(findings.iter().any(|finding| finding.code == "in_recovery"), "{findings:?}");
    assert!(new.source.begin_capture(&scope).await.is_err());
    // It keeps a copy of the task's slot, which becomes whole once the slot has moved.
    let kept = "select count(*) from pg_replication_slots where slot_name = 'tidegate_orders_1' and not temporary";
    let mut stream = old.source.open_stream(&scope, &end).await.expect("a stream");
    wait_for("the slot to be copied", PATIENCE, async || {
        old.run("select pg_log_standby_snapshot()").await;
        read_until(stream.as_mut(), &old.end().await).await;
        // Longer than a confirmed place waits to be sent.
        let _ = tokio::time::timeout(Duration::from_millis(700), stream.next_events()).await;
        let told = new.sql.batch_execute("select pg_sync_replication_slots()").await;
        let row = new.sql.query_one(kept, &[]).await.expect("answer");
        if row.get::<_, i64>(0) > 0 { Ok(()) } else { Err(format!("it is not there: {told:?}")) }
    })
    .await;
    drop(stream);
    let confirmed = "select 'postgres:' || confirmed_flush_lsn from pg_replication_slots where slot_name = 'tidegate_orders_1'";
    let shared: String = old.sql.query_one(confirmed, &[]).await.expect("a slot").get(0);
    let shared: Position = shared.parse().expect("a position");
    wait_applied(&new, &shared).await;

    // The primary goes on and is read, and the standby does not get it any more.
    new.run("alter system set primary_conninfo = ''").await;
    new.run("select pg_reload_conf()").await;
    wait_for("the standby to be cut off", PATIENCE, async || {
        let row = new.sql.query_one("select count(*) from pg_stat_wal_receiver", &[]).await.expect("answer");
        if row.get::<_, i64>(0) == 0 { Ok(()) } else { Err("it still receives") }
    })
    .await;
    old.run("insert into a values (2)").await;
    let lost = old.end().await;
    assert_eq!(ids_from(&old, &scope, &shared).await, ["2"]);
    new.run("select pg_promote()").await;
    new.run("insert into a values (3)").await;
    new.run("select pg_logical_emit_message(false, 'fill', repeat('x', 1000000))").await;
    assert!(new.end().await.covers_position(&lost), "the log of the new primary passes the place that was read");

    assert_ne!(new.source.identity().await.expect("the server is up"), before);
    new.source.succeeds(&before, std::slice::from_ref(&shared)).await.expect("both have the log up to there");
    let error = new.source.succeeds(&before, &[shared.clone(), lost.clone()]).await.expect_err("row 2 is in the target alone");
    assert_eq!((error.code(), error.class()), ("source_changed", ErrorClass::TaskDefinite), "{}", error.chain());
    assert!(error.hint_text().is_some_and(|hint| hint.contains("reload")), "{}", error.chain());
    // The old primary comes back by the address: it lacks what the new one wrote.
    let later = new.source.identity().await.expect("the server is up");
    let error = old.source.succeeds(&later, std::slice::from_ref(&shared)).await.expect_err("it is behind");
    assert_eq!(error.code(), "source_changed", "{}", error.chain());
    let error = new.source.succeeds("postgres:1/1:postgres", &[]).await.expect_err("another cluster");
    assert_eq!((error.code(), error.class()), ("source_changed", ErrorClass::TaskDefinite), "{}", error.chain());
    new.source.succeeds(&before.replace("/1:", ":"), &[lost]).await.expect("an earlier version knew no timelines");

    assert_eq!(ids_from(&new, &scope, &shared).await, ["3"], "nothing is lost and nothing comes twice");
}

/// PG-062, PG-071, PG-079: a crash leaves no record of the end of a transaction; a confirmed place is never taken back.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_a_crash_ends_brings_nothing_and_confirmed_places_stay() {
    for version in [PostgresVersion::V15, PostgresVersion::V18] {
        let mut fixture = Fixture::start(version).await;
        fixture.run("create table a(id int primary key, v text)").await;
        let scope = scope(&public(&["a"]));
        let position = fixture.begin_without_load(&scope).await;
        let confirmed = async |fixture: &Fixture| -> String {
            let sql = "select confirmed_flush_lsn::text from pg_replication_slots where slot_name = 'tidegate_orders_1'";
            fixture.sql.query_one(sql, &[]).await.expect("a slot").get(0)
        };
        fixture.run("insert into a values (1, 'before')").await;
        let first = fixture.end().await;
        let mut stream = fixture.source.open_stream(&scope, &position).await.expect("a stream");
        read_until(stream.as_mut(), &first).await;
        fixture.run("insert into a values (2, 'before')").await;
        let second = fixture.end().await;
        read_until(stream.as_mut(), &second).await;
        wait_for("the place to be confirmed", PATIENCE, async || {
            // Somebody who is late tells an earlier place.
            stream.confirm(&position);
            let _ = tokio::time::timeout(Duration::from_millis(100), stream.next_events()).await;
            let found = confirmed(&fixture).await;
            let is_there = format!("postgres:{found}").parse::<Position>().expect("a position").covers_position(&second);
            if is_there { Ok(()) } else { Err(found) }
        })
        .await;
        // For longer than a confirmation waits to be sent.
        for _ in 0..8 {
            stream.confirm(&position);
            let _ = tokio::time::timeout(Duration::from_millis(100), stream.next_events()).await;
        }
        let found = format!("postgres:{}", confirmed(&fixture).await).parse::<Position>().expect("a position");
        assert!(found.covers_position(&second), "{version:?}: {found} was {second}");

        // More than the server keeps in memory, so that parts are in the stream before the end, which never comes.
        let open = fixture.client().await;
        open.batch_execute("begin; insert into a select g, repeat('open', 100) from generate_series(1000, 2500) g").await.expect("rows");
        fixture.run("insert into a values (3, 'beside')").await;
        let seen = read_while(stream.as_mut(), |seen| seen.commits.is_empty()).await;
        assert!(seen.is_any_open(), "{version:?}: the open transaction is streamed");
        assert_eq!(seen.changes().count(), 1, "{version:?}");
        drop(stream);
        fixture.crash().await;
        // What is still running stands in the log from time to time, and with each checkpoint.
        for sql in ["insert into a values (4, 'after')", "checkpoint", "insert into a values (5, 'after')"] {
            fixture.run(sql).await;
        }
        let mut stream = fixture.source.open_stream(&scope, &second).await.expect("a stream");
        let seen = read_while(stream.as_mut(), |seen| seen.changes().count() < 3 || seen.is_any_open()).await;
        assert_eq!(seen.changes().count(), 3, "{version:?}: what the crash ended is void");

        // Bytes that are no text in UTF-8 are refused by the server itself, in both ways of reading.
        fixture.run("create database bytes encoding 'SQL_ASCII' locale 'C' template template0").await;
        let sql = fixture.client_of("bytes").await;
        sql.batch_execute("create table a(id int primary key, v text); insert into a values (1, 'é')").await.expect("a table");
        let source = fixture.source_of("postgres", "bytes").await;
        let task = CaptureScope { task: tidegate_model::TaskId::new("bytes").expect("a name"), tables: scope.tables.clone() };
        let described = source.describe(&task.tables).await.expect("described");
        let findings = source.check(&task.task, &described, true).await.expect("checked");
        assert!(findings.iter().any(|finding| finding.code == "server_encoding"), "{findings:?}");
        let start = source.begin_capture(&task).await.expect("capture begins");
        sql.batch_execute("insert into a values (2, 'ü')").await.expect("a row");
        let mut told: Vec<String> =
            rows_of(start.snapshot.as_ref(), &described[0], 10).await.iter().map(|row| text(&described[0], row, "v")).collect();
        let mut stream = source.open_stream(&task, &start.position).await.expect("a stream");
        let seen = read_until(stream.as_mut(), &source.log_end().await.expect("the server is up")).await;
        for change in seen.changes() {
            let Change::Row { relation, change: RowChange::Insert { new } } = change else { panic!("only inserts") };
            told.push(text(seen.table(*relation), new, "v"));
        }
        assert_eq!(told, ["é", "ü"], "{version:?}");
        sql.batch_execute("insert into a values (3, E'\\xfc')").await.expect("SQL_ASCII takes any bytes");
        let error = loop {
            match stream.next_events().await {
                Ok(events) => assert!(!events.iter().any(|event| matches!(event, StreamEvent::Change { .. })), "{events:?}"),
                Err(error) => break error,
            }
        };
        assert_eq!((error.code(), error.class()), ("data_refused", ErrorClass::TaskDefinite), "{version:?} {}", error.chain());
        let snapshot = source.snapshot(&task).await.expect("a snapshot");
        let chunk = snapshot.chunks(&described[0], 10).await.expect("chunks").remove(0);
        let mut reader = snapshot.read(described[0].clone(), &chunk).await.expect("a reader");
        let error = reader.next_rows().await.expect_err("the server does not hand the bytes out");
        assert_eq!(error.code(), "data_refused", "{version:?} {}", error.chain());
    }
}

/// PG-101, PG-107, PG-112, SN-009: what the server does to sessions and slots that are quiet or somebody else's.
#[tokio::test(flavor = "multi_thread")]
async fn time_limits_of_the_role_end_no_session_and_slots_of_others_are_left_alone() {
    for version in [PostgresVersion::V15, PostgresVersion::V18] {
        let fixture = Fixture::start(version).await;
        let limits = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout"];
        let set: Vec<String> = limits.iter().map(|name| format!("alter role impatient set {name} = '300ms'")).collect();
        fixture
            .run(&format!(
                "create table a(id int primary key, v text); insert into a select g, 'x' from generate_series(1, 100) g;
                 create role impatient superuser login; {}",
                set.join("; ")
            ))
            .await;
        let scope = scope(&public(&["a"]));
        let source = fixture.source_of("impatient", "postgres").await;
        let start = source.begin_capture(&scope).await.expect("capture begins");
        let mut stream = source.open_stream(&scope, &start.position).await.expect("a stream");
        // A second and a half without a word on any of the sessions.
        let quiet = tokio::time::timeout(Duration::from_millis(1500), async {
            loop {
                stream.next_events().await.expect("the stream goes on");
            }
        });
        quiet.await.expect_err("it ends by the time-out alone");
        let table = source.describe(&scope.tables).await.expect("described").remove(0);
        assert_eq!(rows_of(start.snapshot.as_ref(), &table, 10).await.len(), 100, "{version:?}");
        fixture.run("insert into a values (101, 'y')").await;
        assert_eq!(read_until(stream.as_mut(), &fixture.end().await).await.changes().count(), 1, "{version:?}");

        // When the snapshot's holder is ended all the same, that is an error and never an end of rows.
        let chunk = start.snapshot.chunks(&table, 10).await.expect("chunks").remove(0);
        fixture
            .run("select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name = 'tidegate snapshot holder'")
            .await;
        let Err(error) = start.snapshot.read(table.clone(), &chunk).await else { panic!("the snapshot is gone") };
        assert_eq!((error.code(), error.class()), ("snapshot_lost", ErrorClass::Transient), "{}", error.chain());
        drop((stream, start));

        // A task of the same name in another database of the server: the slot is the other's.
        fixture.run("create database other").await;
        let sql = fixture.client_of("other").await;
        sql.batch_execute("create table a(id int primary key)").await.expect("a table");
        let other = fixture.source_of("postgres", "other").await;
        let findings = other.check(&scope.task, &[], true).await.expect("checked");
        assert!(findings.iter().any(|finding| finding.code == "slot_taken" && finding.fix.is_some()), "{findings:?}");
        let Err(error) = other.begin_capture(&scope).await else { panic!("the other's slot was replaced") };
        assert_eq!((error.code(), error.class()), ("slot_taken", ErrorClass::TaskDefinite), "{}", error.chain());
        let position = fixture.end().await;
        let Err(error) = other.open_stream(&scope, &position).await else { panic!("the other's slot was read") };
        assert_eq!(error.code(), "position_lost", "{}", error.chain());
        assert_eq!(other.log_held(&scope.task).await.expect("an answer"), None);
        other.end_capture(&scope.task).await.expect("there is nothing of its own");
        fixture.run("insert into a values (102, 'z')").await;
        assert_eq!(ids_from(&fixture, &scope, &position).await, ["102"], "{version:?}: the slot is still there");

        if version == PostgresVersion::V18 {
            fixture.run("alter system set idle_replication_slot_timeout = '1s'").await;
            fixture.run("select pg_reload_conf()").await;
            let error = wait_for("the server to give up the slot", PATIENCE, async || {
                fixture.run("checkpoint").await;
                match fixture.source.check_position(&scope, &position).await {
                    Ok(()) => Err("it is still good"),
                    Err(error) => Ok(error),
                }
            })
            .await;
            assert_eq!((error.code(), error.class()), ("position_lost", ErrorClass::TaskDefinite), "{}", error.chain());
            assert!(error.chain().contains("idle_timeout") && error.hint_text().is_some(), "{}", error.chain());
        }
    }
}

/// TG-031.
#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_lends_sessions_for_transactions_is_refused_and_one_that_keeps_them_is_a_target() {
    let fixture = Fixture::start_with(PostgresVersion::V17, &[]).await;
    let pooler = Pooler::of(&fixture.server, PoolMode::Transaction).await;
    let behind = |pooler: &Pooler| ServerSettings { port: pooler.port(), ..settings(&fixture.server) };
    let of_target = PostgresTarget::connect(behind(&pooler)).await.err();
    let of_source = PostgresSource::connect(behind(&pooler)).await.err();
    for error in [of_target, of_source] {
        let error = error.expect("refused");
        assert_eq!((error.code(), error.class()), ("pooler", ErrorClass::TaskDefinite), "{error:?}");
    }
    let pooler = Pooler::of(&fixture.server, PoolMode::Session).await;
    let target = PostgresTarget::connect(behind(&pooler)).await.expect("each connection has its session");
    assert_eq!(target.check(&scope(&[]).task, &[], TablePreparation::Keep).await.expect("checked"), []);
}

/// PG-109: a crash takes back commits that a snapshot has read.
#[tokio::test(flavor = "multi_thread")]
async fn commits_that_do_not_wait_for_the_log_are_a_warning() {
    let fixture = Fixture::start_with(PostgresVersion::V17, &["synchronous_commit=off"]).await;
    let found = fixture.source.check(&scope(&[]).task, &[], false).await.expect("checked");
    assert_eq!(
        found.iter().map(|finding| (finding.code, finding.severity)).collect::<Vec<_>>(),
        [("synchronous_commit", Severity::Warning)]
    );
}

/// A client hears of a commit before it is in the part of the log that is safe; nothing may be missing after a cut-over.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_for_a_cut_over_is_behind_commits_that_do_not_wait_for_the_log() {
    let fixture = Fixture::start_with(PostgresVersion::V17, &["wal_writer_delay=1500"]).await;
    let client = fixture.client().await;
    let lsn = async |function: &str| -> Lsn {
        let row = client.query_one(&format!("select {function}()::text"), &[]).await.expect("a plain statement");
        row.get::<_, String>(0).parse().expect("the server's own text")
    };
    client.batch_execute("create table t (id integer); set synchronous_commit = off").await.expect("plain statements");
    let mut ahead = 0;
    for number in 0..5 {
        client.batch_execute(&format!("insert into t values ({number})")).await.expect("a plain statement");
        let committed = lsn("pg_current_wal_insert_lsn").await;
        let Position::Postgres(safe) = fixture.source.log_end().await.expect("log end") else { panic!("of another kind") };
        let Position::Postgres(end) = fixture.source.end_of_commits().await.expect("log end") else { panic!("of another kind") };
        // Where a page is full, the next place is behind the header of another one.
        assert!(end.0 + 64 >= committed.0, "{end} lies before a commit that ends at {committed}");
        ahead += u32::from(safe < committed);
    }
    assert!(ahead > 0, "some commit was told before it was safe");
}
