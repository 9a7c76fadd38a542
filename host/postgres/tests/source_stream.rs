//! The source against real servers: the hand-over from snapshot to stream, and what the stream makes of the log.

mod fixture;

use std::collections::BTreeMap;
use std::time::Duration;

use fixture::{Fixture, public, read_until, rows_of, scope, text};
use tidegate_connector::{ErrorClass, LoopMark, Source};
use tidegate_harness::PostgresVersion;
use tidegate_model::{Change, RowChange, TableName};

const VERSIONS: [PostgresVersion; 2] = [PostgresVersion::V15, PostgresVersion::V18];

#[tokio::test(flavor = "multi_thread")]
async fn hand_over_with_writers_in_flight_loses_and_doubles_nothing() {
    for version in VERSIONS {
        let fixture = Fixture::start(version).await;
        fixture.run("create table a(id int primary key, v text); insert into a select g, 'old' from generate_series(1000, 1999) g").await;
        let tables = public(&["a"]);
        let slow = fixture.client().await;
        slow.batch_execute("begin; insert into a values (1, 'before')").await.expect("insert");
        let busy = fixture.client().await;
        let writer = tokio::spawn(async move {
            for id in 10_000..10_400 {
                busy.execute("insert into a values ($1, 'busy')", &[&id]).await.expect("insert");
            }
        });
        let source = fixture.another_source().await;
        let task = scope(&tables);
        let begin = tokio::spawn(async move { source.begin_capture(&task).await });
        wait_for_slot(&fixture).await;
        slow.batch_execute("insert into a values (2, 'after'); commit").await.expect("insert");

        let start = begin.await.expect("no panic").expect("capture begins");
        let table = fixture.source.describe(&tables).await.expect("described").remove(0);
        let loaded = rows_of(start.snapshot.as_ref(), &table, 300).await;
        writer.await.expect("writes");
        let mut stream = fixture.source.open_stream(&scope(&tables), &start.position).await.expect("a stream");
        let seen = read_until(stream.as_mut(), &fixture.end().await).await;

        let mut ids: BTreeMap<String, u32> = BTreeMap::new();
        for row in &loaded {
            *ids.entry(text(&table, row, "id")).or_default() += 1;
        }
        for change in seen.changes() {
            let Change::Row { relation, change: RowChange::Insert { new } } = change else { panic!("only inserts: {change:?}") };
            *ids.entry(text(seen.table(*relation), new, "id")).or_default() += 1;
        }
        assert_eq!(ids.len(), 1402, "{version:?}");
        assert!(ids.values().all(|count| *count == 1), "{version:?}: {ids:?}");
    }
}

/// PG-080: of a transaction that is open while its table is added, the stream has only what comes after; the snapshot
/// must have the rest.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_is_open_while_its_table_is_added_loses_no_row() {
    for version in VERSIONS {
        let fixture = Fixture::start(version).await;
        fixture.run("create table a(id int primary key); create table b(id int primary key)").await;
        let position = fixture.begin_without_load(&scope(&public(&["a"]))).await;
        let writer = fixture.client().await;
        writer.batch_execute("begin; insert into b values (1)").await.expect("insert");

        let both = public(&["a", "b"]);
        let added = public(&["b"]);
        fixture.source.extend_capture(&scope(&both), &added).await.expect("the table is added");
        fixture.source.extend_capture(&scope(&both), &added).await.expect("once more changes nothing");
        let source = fixture.another_source().await;
        let task = scope(&added);
        let taking = tokio::spawn(async move { source.snapshot(&task).await });
        fixture.run("insert into a values (1)").await;
        writer.batch_execute("insert into b values (2); commit").await.expect("insert");
        let snapshot = taking.await.expect("no panic").expect("a snapshot");
        fixture.run("insert into b values (3)").await;

        let table = fixture.source.describe(&added).await.expect("described").remove(0);
        let mut window = None;
        let mut loaded = Vec::new();
        for chunk in snapshot.chunks(&table, 300).await.expect("chunks") {
            let mut reader = snapshot.read(table.clone(), &chunk).await.expect("a reader");
            window = Some(reader.window());
            while let Some(rows) = reader.next_rows().await.expect("rows") {
                loaded.extend(rows.iter().map(|row| text(&table, &row, "id")));
            }
        }
        let window = window.expect("a table has a chunk");
        let mut stream = fixture.source.open_stream(&scope(&both), &position).await.expect("a stream");
        let seen = read_until(stream.as_mut(), &fixture.end().await).await;
        let behind = seen.commits.iter().filter(|commit| !window.low.covers(commit.mark.as_ref().expect("a mark")));
        for change in behind.flat_map(|commit| &commit.changes) {
            let Change::Row { relation, change: RowChange::Insert { new } } = change else { panic!("only inserts: {change:?}") };
            let table = seen.table(*relation);
            if table.schema.name == added[0] {
                loaded.push(text(table, new, "id"));
            }
        }
        loaded.sort();
        assert_eq!(loaded, ["1", "2", "3"], "{version:?}");
    }
}

/// SN-003: the snapshot would see a rewritten table empty, so nobody rewrites it while the snapshot stands.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_cannot_be_rewritten_between_its_snapshot_and_its_reading() {
    for version in VERSIONS {
        let fixture = Fixture::start(version).await;
        fixture.run("create table a(id int primary key, v int); insert into a select g, g from generate_series(1, 500) g").await;
        let tables = public(&["a"]);
        let table = fixture.source.describe(&tables).await.expect("described").remove(0);
        fixture.begin_without_load(&scope(&tables)).await;
        let snapshot = fixture.source.snapshot(&scope(&tables)).await.expect("a snapshot");
        let impatient = "set lock_timeout = '300ms'; alter table a alter v type bigint";
        let refused = fixture.sql.batch_execute(impatient).await.expect_err("the snapshot holds the table");
        assert_eq!(refused.code(), Some(&tokio_postgres::error::SqlState::LOCK_NOT_AVAILABLE), "{refused:?}");
        assert_eq!(rows_of(snapshot.as_ref(), &table, 100).await.len(), 500, "{version:?}");
        // Who waits for the snapshot stands before later readers of it: they give up, so that it can be given back.
        let emptying = fixture.client().await;
        let emptied = tokio::spawn(async move { emptying.batch_execute("truncate a; insert into a values (1, 1)").await });
        let waits = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like 'truncate a;%'";
        tidegate_harness::wait_for("the statement to wait", Duration::from_secs(60), async || {
            let row = fixture.sql.query_one(waits, &[]).await.expect("answer");
            if row.get::<_, i64>(0) > 0 { Ok(()) } else { Err("nobody waits") }
        })
        .await;
        let read = async {
            for chunk in snapshot.chunks(&table, 100).await? {
                let mut reader = snapshot.read(table.clone(), &chunk).await?;
                while reader.next_rows().await?.is_some() {}
            }
            Ok::<(), tidegate_connector::ConnectorError>(())
        };
        let told = tokio::time::timeout(Duration::from_secs(60), read).await.expect("readers do not wait for ever");
        let error = told.expect_err("somebody is before the readers");
        assert_eq!((error.code(), error.class()), ("object_busy", ErrorClass::Transient), "{}", error.chain());
        fixture.source.describe(&tables).await.expect("a description waits for nobody");
        drop(snapshot);
        emptied.await.expect("no panic").expect("nobody holds the table any more");
        fixture.run("set lock_timeout = '30s'; alter table a alter v type bigint").await;
    }
}

/// A slot waits for every open transaction. One of them that goes on to rewrite a table must not wait for us, or both wait
/// for ever; and what the snapshot has is the table as it is then.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_a_slot_waits_for_may_rewrite_a_table() {
    let fixture = Fixture::start(PostgresVersion::V18).await;
    fixture.run("create table a(id int primary key); insert into a select g from generate_series(1, 500) g").await;
    let tables = public(&["a"]);
    for (index, first) in [true, false].into_iter().enumerate() {
        let writer = fixture.client().await;
        writer.batch_execute(&format!("begin; insert into a values ({})", 1000 + index)).await.expect("insert");
        let (source, task) = (fixture.another_source().await, scope(&tables));
        let asked = tokio::spawn(async move {
            if first { source.begin_capture(&task).await.map(|start| start.snapshot) } else { source.snapshot(&task).await }
        });
        wait_for_slot(&fixture).await;
        let rewrite = format!("set lock_timeout = '10s'; truncate a; insert into a values ({}); commit", index + 1);
        writer.batch_execute(&rewrite).await.expect("nobody holds the table");
        let snapshot = asked.await.expect("no panic").expect("a snapshot");
        let table = fixture.source.describe(&tables).await.expect("described").remove(0);
        let rows: Vec<String> = rows_of(snapshot.as_ref(), &table, 100).await.iter().map(|row| text(&table, row, "id")).collect();
        assert_eq!(rows, [(index + 1).to_string()]);
    }
}

/// Waits until the making of a slot waits for a transaction.
async fn wait_for_slot(fixture: &Fixture) {
    let waits = "select count(*) from pg_stat_activity where backend_type = 'walsender' and wait_event_type = 'Lock'";
    tidegate_harness::wait_for("the slot to wait", Duration::from_secs(60), async || {
        let row = fixture.sql.query_one(waits, &[]).await.expect("answer");
        if row.get::<_, i64>(0) > 0 { Ok(()) } else { Err("nobody waits") }
    })
    .await;
}

/// The task asks for tables anew after this code, and fails after others.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_goes_before_its_snapshot_is_read_is_missing() {
    let fixture = Fixture::start(PostgresVersion::V18).await;
    fixture.run("create table a(id int primary key)").await;
    let tables = public(&["a"]);
    let writer = fixture.client().await;
    writer.batch_execute("begin; insert into a values (1)").await.expect("insert");
    let (source, task) = (fixture.another_source().await, scope(&tables));
    let asked = tokio::spawn(async move { source.snapshot(&task).await });
    wait_for_slot(&fixture).await;
    writer.batch_execute("alter table a rename to b; commit").await.expect("nobody holds the table");
    let Err(error) = asked.await.expect("no panic") else { panic!("a snapshot of a table that is gone") };
    assert_eq!(error.code(), "table_missing", "{}", error.chain());

    let Err(error) = fixture.source.begin_capture(&scope(&tables)).await else { panic!("captures a table that is gone") };
    assert_eq!(error.code(), "table_missing", "{}", error.chain());
    let Err(error) = fixture.source.describe(&tables).await else { panic!("describes a table that is gone") };
    assert_eq!(error.code(), "table_missing", "{}", error.chain());
}

#[tokio::test(flavor = "multi_thread")]
async fn rolled_back_savepoints_of_streamed_transactions_are_voided() {
    for version in VERSIONS {
        let fixture = Fixture::start(version).await;
        fixture.run("create table s(id int primary key, v text)").await;
        let tables = public(&["s"]);
        let position = fixture.begin_without_load(&scope(&tables)).await;
        fixture
            .run(
                "begin; insert into s select g, repeat('a', 200) from generate_series(1, 700) g; savepoint a;
                 alter table s add column d int default 5;
                 insert into s select g, repeat('b', 200) from generate_series(1001, 1700) g;
                 rollback to a; insert into s values (9999, 'kept'); commit;
                 begin; insert into s select g, repeat('c', 200) from generate_series(20001, 20700) g; rollback;
                 begin; savepoint a; insert into s select g, repeat('d', 200) from generate_series(30001, 30700) g; rollback to a;
                 insert into s values (40000, 'kept'); commit",
            )
            .await;
        let mut stream = fixture.source.open_stream(&scope(&tables), &position).await.expect("a stream");
        let seen = read_until(stream.as_mut(), &fixture.end().await).await;

        assert!(seen.aborted_parts > 0, "the transaction was streamed");
        assert_eq!(seen.commits.iter().map(|commit| commit.changes.len()).collect::<Vec<_>>(), [701, 1], "{version:?}");
        for change in seen.changes() {
            let Change::Row { relation, .. } = change else { panic!("only rows") };
            assert!(seen.table(*relation).schema.column_index("d").is_none(), "column d was rolled back");
        }
        drop(stream);
        marked_transactions_are_left_out_whole(&fixture, &tables).await;
    }
}

/// On the server of another test, where transactions of some size are streamed before they end.
async fn marked_transactions_are_left_out_whole(fixture: &Fixture, tables: &[TableName]) {
    let position = fixture.end().await;
    let mark = |mark: &str| format!("begin; select pg_logical_emit_message(true, 'tidegate.loopback', '{mark}')");
    let many = |from: u32| format!("insert into s select g, repeat('x', 200) from generate_series({from}, {from} + 700) g");
    let sql = [
        format!("{}; {}; savepoint a; {}; rollback to a; commit", mark("b"), many(50_001), many(60_001)),
        format!("{}; {}; rollback", mark("b"), many(70_001)),
        format!("{}; {}; commit", mark("a"), many(80_001)),
        format!("{}; truncate s; commit", mark("b")),
        "select pg_logical_emit_message(false, 'tidegate.loopback', 'b'); insert into s values (1, 'no transaction has this mark')".into(),
    ];
    for statements in sql {
        fixture.run(&statements).await;
    }
    let source = fixture.another_source().await.leaving_out(LoopMark::new("b"));
    let mut stream = source.open_stream(&scope(tables), &position).await.expect("a stream");
    let seen = read_until(stream.as_mut(), &fixture.end().await).await;
    assert_eq!(seen.commits.iter().map(|commit| commit.changes.len()).collect::<Vec<_>>(), [701, 1]);
    assert!(!seen.is_any_open(), "of the others no step came");
}

#[tokio::test(flavor = "multi_thread")]
async fn old_images_and_large_values_are_what_the_identity_says() {
    for version in VERSIONS {
        let fixture = Fixture::start(version).await;
        fixture
            .run(
                "create table toast(id int primary key, a text, b text); alter table toast alter a set storage external;
                 create table idx(a int primary key, b text not null, c int); create unique index ix on idx(b);
                 alter table idx replica identity using index ix;
                 create table two(a int, b int, c int, primary key (b, a))",
            )
            .await;
        let tables = public(&["toast", "idx", "two"]);
        let position = fixture.begin_without_load(&scope(&tables)).await;
        fixture
            .run(
                "insert into toast values (1, repeat('x', 9000), 'b'); update toast set b = 'c'; update toast set id = 2;
                 alter table toast replica identity full; update toast set b = 'd';
                 insert into idx values (1, 'k', 1); update idx set a = 5; delete from idx;
                 insert into two values (1, 2, 3); update two set a = 9",
            )
            .await;
        let mut stream = fixture.source.open_stream(&scope(&tables), &position).await.expect("a stream");
        let seen = read_until(stream.as_mut(), &fixture.end().await).await;

        let mut told = Vec::new();
        for change in seen.changes() {
            let Change::Row { relation, change } = change else { panic!("only rows") };
            let table = seen.table(*relation);
            let show = |row| {
                let cells = table.schema.columns.iter().map(|column| text(table, row, &column.name));
                cells.map(|cell| if cell.len() == 9000 { "9000".into() } else { cell }).collect::<Vec<_>>().join(" ")
            };
            told.push(match change {
                RowChange::Insert { new } => format!("+ {}", show(new)),
                RowChange::Update { old: None, new } => format!("~ {}", show(new)),
                RowChange::Update { old: Some(old), new } => format!("~ {} -> {}", show(old), show(new)),
                RowChange::Delete { old } => format!("- {}", show(old)),
            });
        }
        let wanted = [
            "+ 1 9000 b",
            "~ 1 (unchanged) c",
            "~ 1 (absent) (absent) -> 2 (unchanged) c",
            "~ 2 9000 c -> 2 9000 d",
            "+ 1 k 1",
            "~ 5 k 1",
            "- (absent) k (absent)",
            "+ 1 2 3",
            "~ 1 2 (absent) -> 9 2 3",
        ];
        assert_eq!(told, wanted, "{version:?}");
        let described = fixture.source.describe(&tables).await.expect("described");
        assert_eq!(described[1].schema.identity, [1]);
        assert_eq!(described[1].schema.primary_key, [0]);
        assert_eq!(described[2].schema.identity, [1, 0]);
        let two = seen.tables.values().find(|table| table.schema.name.name == "two").expect("announced");
        assert_eq!(two.schema.primary_key, [1, 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_arrive_through_their_root_with_columns_by_name() {
    for version in VERSIONS {
        let fixture = Fixture::start(version).await;
        fixture
            .run(
                "create table part(id int, k int, v text, primary key (id, k)) partition by list (k);
                 create table part1 partition of part for values in (1);
                 create table part2(v text, junk int, k int not null, id int not null); alter table part2 drop column junk;
                 alter table part attach partition part2 for values in (2);
                 create table empty_part(id int) partition by list (id)",
            )
            .await;
        fixture.run("insert into part values (1, 1, 'a'), (2, 2, 'b')").await;
        let tables = public(&["part"]);
        assert_eq!(fixture.source.table_names().await.expect("listed"), public(&["empty_part", "part"]));
        let start = fixture.source.begin_capture(&scope(&tables)).await.expect("capture begins");
        fixture.run("insert into part values (3, 2, 'c'); update part set k = 2 where id = 1").await;
        let table = fixture.source.describe(&tables).await.expect("described").remove(0);
        let loaded = rows_of(start.snapshot.as_ref(), &table, 1000).await;
        let mut stream = fixture.source.open_stream(&scope(&tables), &start.position).await.expect("a stream");
        // TRUNCATE waits for the snapshot's locks.
        drop(start);
        fixture.run("truncate part").await;
        let seen = read_until(stream.as_mut(), &fixture.end().await).await;

        let mut rows: Vec<String> = loaded.iter().map(|row| format!("{} {}", text(&table, row, "id"), text(&table, row, "v"))).collect();
        rows.sort();
        assert_eq!(rows, ["1 a", "2 b"], "{version:?}");
        let kinds: Vec<String> = seen
            .changes()
            .map(|change| match change {
                Change::Row { relation, change } => {
                    let table = seen.table(*relation);
                    assert_eq!(table.schema.name, TableName::new("public", "part"));
                    let row = match change {
                        RowChange::Insert { new } | RowChange::Update { new, .. } => new,
                        RowChange::Delete { old } => old,
                    };
                    format!("{} {}", text(table, row, "id"), text(table, row, "v"))
                }
                Change::Truncate { relations } => format!("truncate {}", relations.len()),
                Change::Unlogged { .. } => panic!("PostgreSQL's log tells of no upheaval"),
            })
            .collect();
        assert_eq!(kinds, ["3 c", "1 (absent)", "1 a", "truncate 1"], "{version:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn truncate_names_all_tables_at_once() {
    let fixture = Fixture::start(PostgresVersion::V15).await;
    fixture.run("create table a(id int primary key); create table b(id int primary key); create table c(id int primary key)").await;
    let tables = public(&["a", "b"]);
    let position = fixture.begin_without_load(&scope(&tables)).await;
    fixture.run("begin; insert into a values (1); truncate a, b, c restart identity cascade; insert into a values (2); commit").await;
    let mut stream = fixture.source.open_stream(&scope(&tables), &position).await.expect("a stream");
    let seen = read_until(stream.as_mut(), &fixture.end().await).await;
    let [commit] = &seen.commits[..] else { panic!("one transaction") };
    assert!(matches!(&commit.changes[1], Change::Truncate { relations } if relations.len() == 2), "{commit:?}");
    assert_eq!(commit.changes.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_name_is_read_and_streamed() {
    let fixture = Fixture::start(PostgresVersion::V18).await;
    fixture
        .run(r#"create schema "r.""W"; create table "r.""W"."T.a""b'c 😀"("Col.1" int primary key, "select" text, "%s" int, "${x}" text)"#)
        .await;
    let tables = vec![TableName::new("r.\"W", "T.a\"b'c 😀")];
    fixture.run(r#"insert into "r.""W"."T.a""b'c 😀" values (1, 'a', 2, 'b')"#).await;
    let start = fixture.source.begin_capture(&scope(&tables)).await.expect("capture begins");
    let table = fixture.source.describe(&tables).await.expect("described").remove(0);
    assert_eq!(rows_of(start.snapshot.as_ref(), &table, 10).await.len(), 1);
    fixture.run(r#"insert into "r.""W"."T.a""b'c 😀" values (2, 'a', 2, 'b')"#).await;
    let mut stream = fixture.source.open_stream(&scope(&tables), &start.position).await.expect("a stream");
    let seen = read_until(stream.as_mut(), &fixture.end().await).await;
    assert_eq!(seen.changes().count(), 1);
    assert_eq!(seen.tables.values().next().expect("announced").schema, table.schema);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_place_in_the_log_is_refused() {
    for version in VERSIONS {
        let fixture = Fixture::start(version).await;
        fixture.run("create table a(id int primary key)").await;
        let tables = public(&["a"]);
        let scope = scope(&tables);
        let refused = |what: &'static str, from| {
            let scope = scope.clone();
            let source = &fixture.source;
            async move {
                let Err(error) = source.open_stream(&scope, &from).await else { panic!("{what} went unnoticed") };
                assert_eq!((error.code(), error.class()), ("position_lost", ErrorClass::TaskDefinite), "{what}: {}", error.chain());
                assert!(error.hint_text().is_some());
            }
        };

        let start = fixture.source.begin_capture(&scope).await.expect("capture begins");
        fixture.run("insert into a values (1)").await;
        fixture.run("select pg_replication_slot_advance('tidegate_orders_1', pg_current_wal_lsn())").await;
        refused("a slot that went on without us", start.position.clone()).await;

        let again = fixture.source.begin_capture(&scope).await.expect("a second start replaces what the first left");
        fixture.run("drop publication tidegate_orders_1").await;
        refused("a publication that is gone", again.position.clone()).await;

        fixture.source.end_capture(&scope.task).await.expect("what is there is dropped");
        fixture.source.end_capture(&scope.task).await.expect("nothing is there to drop");
        refused("a slot that is gone", again.position).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn log_that_is_kept_for_a_task_and_log_that_passes_are_counted() {
    let fixture = Fixture::start(PostgresVersion::V18).await;
    fixture.run("create table a(id int primary key)").await;
    let task = scope(&public(&["a"]));
    assert_eq!(fixture.source.log_held(&task.task).await.expect("an answer"), None, "there is no slot");
    let start = fixture.source.begin_capture(&task).await.expect("capture begins");
    drop(start.snapshot);
    let mut stream = fixture.source.open_stream(&task, &start.position).await.expect("a stream");
    let before = fixture.source.log_held(&task.task).await.expect("an answer").expect("a slot");
    let bytes = 8_u64 << 20;
    fixture.run(&format!("select pg_logical_emit_message(false, 'test', repeat('x', {bytes}))")).await;
    let end = fixture.end().await;
    read_until(stream.as_mut(), &end).await;
    assert!(stream.log_bytes() >= bytes, "{} bytes passed", stream.log_bytes());
    let held = fixture.source.log_held(&task.task).await.expect("an answer").expect("a slot");
    assert!(held >= before + bytes, "{before} before, {held} after");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_a_dead_worker_left_active_is_taken_over() {
    let fixture = Fixture::start(PostgresVersion::V18).await;
    fixture.run("create table a(id int primary key)").await;
    let tables = public(&["a"]);
    let start = fixture.source.begin_capture(&scope(&tables)).await.expect("capture begins");
    let _silent = fixture.source.open_stream(&scope(&tables), &start.position).await.expect("a stream");
    let mut stream = fixture.source.open_stream(&scope(&tables), &start.position).await.expect("the slot is released");
    fixture.run("insert into a values (1)").await;
    assert_eq!(read_until(stream.as_mut(), &fixture.end().await).await.changes().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_identity_is_never_published() {
    let fixture = Fixture::start(PostgresVersion::V15).await;
    fixture.run("create table k(a int); create table d(a int primary key deferrable)").await;
    for name in ["k", "d"] {
        let tables = public(&[name]);
        let described = fixture.source.describe(&tables).await.expect("described");
        let findings = fixture.source.check(&scope(&tables).task, &described, true).await.expect("checked");
        assert!(findings.iter().any(|finding| finding.code == "no_replica_identity" && finding.fix.is_some()), "{findings:?}");
        let Err(error) = fixture.source.begin_capture(&scope(&tables)).await else { panic!("published") };
        assert_eq!(error.code(), "no_replica_identity");
    }
    fixture.run("insert into k values (1); update k set a = 2").await;
    fixture.run("alter table k replica identity full").await;
    let tables = public(&["k"]);
    let described = fixture.source.describe(&tables).await.expect("described");
    assert_eq!(fixture.source.check(&scope(&tables).task, &described, true).await.expect("checked"), []);
}
