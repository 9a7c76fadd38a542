//! What goes wrong in silence elsewhere: publications that somebody changed, logs that are gone, rows that a policy
//! hides, tables and statements of rare kinds.

mod changing;
mod cuts;
mod fixture;
mod many;

use std::time::Duration;

use fixture::{Fixture, public, read_until, rows_of, scope, text};
use tidegate_connector::{CaptureScope, ErrorClass, Severity, Source, StreamEvent};
use tidegate_harness::{PostgresVersion, wait_for};
use tidegate_model::{Change, Lsn, Position, RowChange};

const VERSIONS: [PostgresVersion; 2] = [PostgresVersion::V15, PostgresVersion::V18];

/// While a table is not published, its changes are in no stream, and the server says nothing of it afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_publication_that_was_changed_by_hand_is_refused() {
    for version in VERSIONS {
        let fixture = Fixture::start(version).await;
        fixture
            .run("create table a(id int primary key, v int); create table b(id int primary key); create table c(id int primary key)")
            .await;
        let tables = public(&["a", "b"]);
        let scope = scope(&tables);
        let with_c = fixture::scope(&public(&["a", "b", "c"]));
        let cases = [
            "alter publication tidegate_orders_1 drop table a; insert into a values (1); alter publication tidegate_orders_1 add table only a",
            "drop publication tidegate_orders_1; insert into a values (2);
             create publication tidegate_orders_1 for table only a, only b with (publish_via_partition_root = true)",
            "alter publication tidegate_orders_1 set (publish = 'insert, update, delete')",
            "alter publication tidegate_orders_1 set (publish_via_partition_root = false)",
            "alter publication tidegate_orders_1 set table a where (id > 5), b",
            "alter publication tidegate_orders_1 set table a (id), b",
            "alter publication tidegate_orders_1 drop table b",
        ];
        for sql in cases {
            let position = fixture.begin_without_load(&scope).await;
            let stream = fixture.source.open_stream(&scope, &position).await.expect("nobody has touched it");
            drop(stream);
            fixture.run(sql).await;
            // A table that is added afterwards does not cover it up, whether or not it is refused itself.
            let _ = fixture.source.extend_capture(&with_c, &public(&["c"])).await;
            let Err(error) = fixture.source.open_stream(&scope, &position).await else { panic!("{version:?} went unnoticed: {sql}") };
            assert_eq!((error.code(), error.class()), ("position_lost", ErrorClass::TaskDefinite), "{sql}: {}", error.chain());
            assert!(error.hint_text().is_some_and(|hint| hint.contains("reload")), "{sql}");
        }
        // The same while the stream runs: nothing that comes after the gap is told.
        let position = fixture.begin_without_load(&scope).await;
        let mut stream = fixture.source.open_stream(&scope, &position).await.expect("nobody has touched it");
        fixture.run("insert into a values (10)").await;
        assert_eq!(read_until(stream.as_mut(), &fixture.end().await).await.changes().count(), 1);
        for sql in ["drop table a", "add table only a"] {
            fixture.run(&format!("alter publication tidegate_orders_1 {sql}; insert into a select max(id) + 1 from a")).await;
        }
        let told = async {
            loop {
                match stream.next_events().await {
                    Ok(events) => assert!(!events.iter().any(|event| matches!(event, StreamEvent::Change { .. })), "{events:?}"),
                    Err(error) => return error,
                }
            }
        };
        let error = tokio::time::timeout(std::time::Duration::from_secs(60), told).await.expect("the gap is noticed");
        assert_eq!(error.code(), "position_lost", "{version:?} {}", error.chain());
        drop(stream);
        // Tables that the task itself adds and takes out are no such change.
        let position = fixture.begin_without_load(&scope).await;
        fixture.source.extend_capture(&with_c, &public(&["c"])).await.expect("the table is added");
        fixture.source.open_stream(&with_c, &position).await.expect("c was added by the task");
        fixture.source.extend_capture(&scope, &[]).await.expect("the table is taken out");
        fixture.source.open_stream(&scope, &position).await.expect("c was taken out by the task");
    }
}

/// The server gave up the log that the slot still needed, or will when the task stands still for too long.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_the_server_gave_up_is_refused_and_limits_are_told_before() {
    for version in VERSIONS {
        let fixture = Fixture::start(version).await;
        fixture.run("create table a(id int primary key)").await;
        let scope = scope(&public(&["a"]));
        let position = fixture.begin_without_load(&scope).await;
        fixture.run("alter system set max_slot_wal_keep_size = '1MB'").await;
        if version == PostgresVersion::V18 {
            fixture.run("alter system set idle_replication_slot_timeout = '1d'").await;
        }
        fixture.run("select pg_reload_conf()").await;
        let codes = wait_for("the limit to be in force", std::time::Duration::from_secs(90), async || {
            let findings = fixture.source.check(&scope.task, &[], true).await.expect("checked");
            assert!(findings.iter().all(|finding| finding.severity == Severity::Warning), "{findings:?}");
            let codes: Vec<&str> = findings.iter().map(|finding| finding.code).collect();
            if codes.contains(&"max_slot_wal_keep_size") { Ok(codes) } else { Err(codes) }
        })
        .await;
        assert_eq!(codes.contains(&"idle_replication_slot_timeout"), version == PostgresVersion::V18, "{version:?} {codes:?}");
        for id in 0..4 {
            fixture.run(&format!("insert into a values ({id})")).await;
            fixture.run("select pg_switch_wal()").await;
        }
        fixture.run("checkpoint").await;
        let Err(error) = fixture.source.open_stream(&scope, &position).await else { panic!("{version:?} went unnoticed") };
        assert_eq!((error.code(), error.class()), ("position_lost", ErrorClass::TaskDefinite), "{}", error.chain());
        assert!(error.chain().contains("wal_removed") && error.hint_text().is_some(), "{version:?} {}", error.chain());
    }
}

/// Amazon RDS gives nobody the attribute REPLICATION, and has a role in its place. Who publishes a table is its owner, or a member of it.
#[tokio::test(flavor = "multi_thread")]
async fn members_of_rds_replication_may_replicate_and_members_of_owners_publish() {
    for version in VERSIONS {
        members_may(&Fixture::start(version).await).await;
    }
}

async fn members_may(fixture: &Fixture) {
    fixture.run("create role rds_replication; create role member login; grant create on database postgres to member").await;
    let source = fixture.source_of("member", "postgres").await;
    let rights = async || {
        let found = source.check(&scope(&[]).task, &[], true).await.expect("checked");
        found.into_iter().filter(|finding| finding.code == "missing_privilege").collect::<Vec<_>>()
    };
    let found = rights().await;
    assert!(found.len() == 1 && found[0].fix.as_deref().is_some_and(|fix| fix.contains("grant rds_replication to")), "{found:?}");
    fixture.run("grant rds_replication to member").await;
    assert_eq!(rights().await, []);

    fixture
        .run("create role keeper; create table kept(id int primary key); create table supers(id int primary key); grant select on kept, supers to member;
              alter table kept owner to keeper")
        .await;
    let fixes = async |name: &str| {
        let tables = source.describe(&public(&[name])).await.expect("described");
        let found = source.check(&scope(&[]).task, &tables, true).await.expect("checked");
        found.into_iter().filter(|finding| finding.code == "missing_privilege").filter_map(|finding| finding.fix).collect::<Vec<_>>()
    };
    assert_eq!(fixes("kept").await, ["grant \"keeper\" to \"member\""]);
    fixture.run(&fixes("kept").await[0]).await;
    assert_eq!(fixes("kept").await, Vec::<String>::new());
    assert!(fixes("supers").await[0].contains("another role"), "nobody is made a member of a superuser");
}

/// A policy that hides rows from the user would make a snapshot without them, and a stream with them.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_policy_hides_are_an_error_and_never_left_out() {
    for version in VERSIONS {
        let fixture = Fixture::start(version).await;
        fixture
            .run(
                "create table a(id int primary key); insert into a values (1); alter table a enable row level security;
                 create role reader login replication; grant select on a to reader",
            )
            .await;
        let scope = scope(&public(&["a"]));
        let source = fixture.source_of("reader", "postgres").await;
        let tables = source.describe(&scope.tables).await.expect("described");
        let findings = source.check(&scope.task, &tables, false).await.expect("checked");
        assert!(findings.iter().any(|found| found.code == "row_security" && found.severity == Severity::Error), "{findings:?}");
        for (whose, hides) in [("alter table a owner to reader", false), ("alter table a force row level security", true)] {
            fixture.run(whose).await;
            let tables = source.describe(&scope.tables).await.expect("described");
            let findings = source.check(&scope.task, &tables, false).await.expect("checked");
            assert_eq!(findings.iter().any(|found| found.code == "row_security"), hides, "{whose}: {findings:?}");
        }
        let snapshot = source.snapshot(&scope).await.expect("a snapshot");
        let chunk = snapshot.chunks(&tables[0], 10).await.expect("chunks").remove(0);
        let read = async {
            let mut reader = snapshot.read(tables[0].clone(), &chunk).await?;
            while reader.next_rows().await?.is_some() {}
            Ok::<(), tidegate_connector::ConnectorError>(())
        };
        let error = read.await.expect_err("the policy would hide the row");
        assert_ne!(error.class(), ErrorClass::Transient, "{}", error.chain());
    }
}

/// A text of another encoding is the same text in snapshot and stream.
#[tokio::test(flavor = "multi_thread")]
async fn text_of_a_database_in_latin1_is_read_as_utf8() {
    let fixture = Fixture::start(PostgresVersion::V15).await;
    fixture.run("create database latin encoding 'LATIN1' locale 'C' template template0").await;
    let sql = fixture.client_of("latin").await;
    sql.batch_execute("create table a(id int primary key, v text); insert into a values (1, 'é£')").await.expect("a table");
    let source = fixture.source_of("postgres", "latin").await;
    let scope = scope(&public(&["a"]));
    let table = source.describe(&scope.tables).await.expect("described").remove(0);
    let start = source.begin_capture(&scope).await.expect("capture begins");
    sql.batch_execute("insert into a values (2, 'é£')").await.expect("a row");
    let mut stream = source.open_stream(&scope, &start.position).await.expect("a stream");
    let seen = read_until(stream.as_mut(), &source.log_end().await.expect("the server is up")).await;
    let [Change::Row { relation, change: RowChange::Insert { new } }] = &seen.changes().collect::<Vec<_>>()[..] else {
        panic!("one insert")
    };
    assert_eq!(text(seen.table(*relation), new, "v"), "é£");
    let rows = rows_of(start.snapshot.as_ref(), &table, 10).await;
    assert_eq!(rows.iter().map(|row| text(&table, row, "v")).collect::<Vec<_>>(), ["é£"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rare_tables_and_statements_are_read_and_streamed() {
    for version in VERSIONS {
        let fixture = Fixture::start(version).await;
        fixture
            .run(
                r#"create table par(id int primary key, v int); create table kid(more int) inherits (par);
                 create table "Root"(id int, k int, v int, primary key (id, k)) partition by range (k);
                 create table "Mid" partition of "Root" for values from (0) to (10) partition by list (k);
                 create table "Leaf 1" partition of "Mid" for values in (1); create table "Leaf 2" partition of "Mid" for values in (2);
                 create table "Right" partition of "Root" for values from (10) to (20);
                 create table fast(id int primary key, v int); alter table fast replica identity full;
                 create table said(id int primary key, v int); create table turns(id int primary key, u int not null unique, v int);
                 create table unpublished(id int);
                 insert into par values (1, 1); insert into kid values (2, 2, 2); insert into "Root" values (1, 1, 1), (2, 2, 2), (3, 15, 3);
                 insert into fast values (1, 1); insert into turns values (1, 1, 1)"#,
            )
            .await;
        let names = ["par", "Root", "fast", "said", "turns"];
        let tables = public(&names);
        // PG-048: what no log carries is told by the check.
        fixture
            .run(
                "create view seen as select 1 one; create materialized view kept as select 1 one; create foreign data wrapper nothing;
                 create server nowhere foreign data wrapper nothing; create foreign table far(id int) server nowhere;
                 create table pictures(id int primary key, picture oid);
                 create extension hstore; create table made(id int primary key); alter extension hstore add table made",
            )
            .await;
        assert!(!fixture.source.table_names().await.expect("listed").contains(&public(&["made"])[0]), "a table of an extension");
        let pictures = fixture.source.describe(&public(&["pictures"])).await.expect("described");
        let told = async || {
            let findings = fixture.source.check(&scope(&tables).task, &pictures, true).await.expect("checked");
            assert!(findings.iter().all(|finding| finding.severity != Severity::Error), "{findings:?}");
            findings.iter().map(|finding| format!("{} {}", finding.code, finding.object)).collect::<Vec<_>>()
        };
        let beside = [
            "foreign table \"public.far\"",
            "materialized view \"public.kept\"",
            "table of an extension \"public.made\"",
            "view \"public.seen\"",
        ];
        let beside: Vec<String> = beside.iter().map(|object| format!("not_a_table {object}")).collect();
        assert_eq!(told().await, beside, "{version:?}");
        fixture.run("insert into pictures values (1, lo_from_bytea(0, 'bytes'))").await;
        assert_eq!(told().await[4..], ["large_objects column \"picture\" of table \"public.pictures\""], "{version:?}");
        fixture
            .run("drop foreign table far; drop table pictures; drop view seen; drop materialized view kept; drop extension hstore")
            .await;
        let start = fixture.source.begin_capture(&scope(&tables)).await.expect("capture begins");
        let described = fixture.source.describe(&tables).await.expect("described");
        for (place, wanted) in [(0, vec!["1"]), (1, vec!["1", "2", "3"])] {
            let rows = rows_of(start.snapshot.as_ref(), &described[place], 1).await;
            let mut ids: Vec<String> = rows.iter().map(|row| text(&described[place], row, "id")).collect();
            ids.sort();
            assert_eq!(ids, wanted, "{version:?} {}", names[place]);
        }
        // Who keeps rows outside of a table's file has no block in it and rows all the same.
        let of_heaps = described.iter().filter(|table| table.schema.name.name == "said").collect::<Vec<_>>();
        fixture
            .run("create access method own type table handler heap_tableam_handler; create table kept_own(id int primary key) using own")
            .await;
        let own = fixture.source.describe(&public(&["kept_own"])).await.expect("described");
        let snapshot = fixture.source.snapshot(&scope(&public(&["kept_own", "said"]))).await.expect("a snapshot");
        for (table, is_empty) in [(&own[0], false), (of_heaps[0], true)] {
            let chunks = snapshot.chunks(table, 10).await.expect("chunks");
            assert_eq!(chunks.iter().all(|chunk| snapshot.empty(chunk).is_some()), is_empty, "{version:?} {}", table.schema.name);
        }
        drop(snapshot);
        fixture.run("drop table kept_own").await;
        let position = start.position.clone();
        drop(start);
        fixture
            .run(
                r#"insert into kid values (4, 4, 4); update par set v = v + 10; update "Root" set k = 2 where id = 1; update "Root" set k = 12 where id = 2"#,
            )
            .await;
        fixture.run("alter table fast add c int default 5; update fast set v = 2").await;
        fixture
            .run(
                "select pg_logical_emit_message(true, 'x', 'said'); select pg_logical_emit_message(false, 'x', 'said');
                 insert into said values (1, 1) on conflict do nothing; insert into said values (1, 9) on conflict (id) do update set v = 2;
                 with gone as (delete from said returning id) insert into said select id + 1, 3 from gone;
                 merge into said using (values (2, 4), (3, 5)) new(id, v) on said.id = new.id
                     when matched then update set v = new.v when not matched then insert values (new.id, new.v);
                 update said set id = id; select * from said for update",
            )
            .await;
        fixture.run("update turns set v = 2").await;
        fixture.run("alter table turns replica identity full; update turns set v = 3").await;
        fixture.run("alter table turns replica identity using index turns_u_key; update turns set u = 7").await;
        fixture.run("alter table turns replica identity default; update turns set id = 9").await;
        // PG-049: rows that are visible to every snapshot, whatever its age, are in the log as others are.
        fixture.run("begin; truncate said; copy said from program 'printf \"7\\t7\\n\"' with (freeze); commit").await;
        fixture.run("insert into unpublished select generate_series(1, 1000)").await;
        let mut stream = fixture.source.open_stream(&scope(&tables), &position).await.expect("a stream");
        // What is read until the end shows, too, that changes of other tables move the position on.
        let seen = read_until(stream.as_mut(), &fixture.end().await).await;
        let mut told = Vec::new();
        for change in seen.changes() {
            let (relation, change) = match change {
                Change::Row { relation, change } => (relation, change),
                Change::Truncate { relations } => {
                    told.extend(relations.iter().map(|relation| format!("{} emptied", seen.table(*relation).schema.name.name)));
                    continue;
                }
                other => panic!("only rows and TRUNCATE: {other:?}"),
            };
            let table = seen.table(*relation);
            let show = |row| table.schema.columns.iter().map(|column| text(table, row, &column.name)).collect::<Vec<_>>().join(" ");
            let name = &table.schema.name.name;
            told.push(match change {
                RowChange::Insert { new } => format!("{name} + {}", show(new)),
                RowChange::Update { old: None, new } => format!("{name} ~ {}", show(new)),
                RowChange::Update { old: Some(old), new } => format!("{name} ~ {} -> {}", show(old), show(new)),
                RowChange::Delete { old } => format!("{name} - {}", show(old)),
            });
        }
        let wanted = [
            "par ~ 1 11",
            "Root - 1 1 (absent)",
            "Root + 1 2 1",
            "Root - 2 2 (absent)",
            "Root + 2 12 2",
            "fast ~ 1 1 5 -> 1 2 5",
            "said + 1 1",
            "said ~ 1 2",
            "said - 1 (absent)",
            "said + 2 3",
            "said ~ 2 4",
            "said + 3 5",
            "said ~ 2 4",
            "said ~ 3 5",
            "turns ~ 1 1 2",
            "turns ~ 1 1 2 -> 1 1 3",
            "turns ~ (absent) 1 (absent) -> 1 7 3",
            "turns ~ 1 (absent) (absent) -> 9 7 3",
            "said emptied",
            "said + 7 7",
        ];
        assert_eq!(told, wanted, "{version:?}");
        drop(stream);
        cuts::every_row_is_in_one_part(&fixture, version == PostgresVersion::V18).await;
    }
}

/// Where each transaction behind a position ends, and how many changes it has. Nothing behind the position is confirmed, so that it can be
/// asked from a later one again.
async fn read_from(fixture: &Fixture, task: &CaptureScope, from: Lsn, end: &Position) -> Vec<(Lsn, usize)> {
    let mut stream = fixture.source.open_stream(task, &Position::Postgres(from)).await.expect("a stream");
    let (mut commits, mut changes) = (Vec::new(), 0);
    let mut at = Position::Postgres(from);
    let reading = async {
        while !at.covers_position(end) {
            for event in stream.next_events().await.expect("the stream goes on") {
                match event {
                    StreamEvent::Change { .. } => changes += 1,
                    StreamEvent::Commit { mark, .. } => {
                        at.advance(&mark);
                        let Position::Postgres(place) = at else { panic!("a position of PostgreSQL") };
                        commits.push((place, std::mem::take(&mut changes)));
                    }
                    StreamEvent::Idle { position } => at = position,
                    StreamEvent::Relation { .. } | StreamEvent::Abort { .. } => {}
                }
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reading).await.expect("the stream comes to its end");
    commits
}

/// PG-074 to 076: transactions that overlap, and that end with a change of their key, from the end of each on, and a byte beside it.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_resumed_at_the_end_of_any_transaction_gives_each_later_one_once() {
    for version in VERSIONS {
        let fixture = Fixture::start(version).await;
        fixture.run("create table r (id integer primary key, v text)").await;
        let task = scope(&public(&["r"]));
        let Position::Postgres(start) = fixture.begin_without_load(&task).await else { panic!("a position of PostgreSQL") };
        let long = fixture.client().await;
        long.batch_execute("begin; insert into r values (1, 'first to begin')").await.expect("insert");
        fixture.run("insert into r values (2, 'a')").await;
        fixture.run("begin; insert into r values (3, 'b'); update r set id = 30 where id = 3; commit").await;
        long.batch_execute("insert into r values (4, 'last to end'); update r set id = 10 where id = 1; commit").await.expect("commit");
        fixture.run("update r set id = 20 where id = 2").await;
        fixture.run("delete from r where id = 30").await;
        let end = fixture.end().await;

        let all = read_from(&fixture, &task, start, &end).await;
        assert_eq!(all.iter().map(|(_, changes)| *changes).collect::<Vec<_>>(), [1, 2, 3, 1, 1], "{version:?}");
        for (index, (place, _)) in all.iter().enumerate() {
            let later = &all[index + 1..];
            let before = read_from(&fixture, &task, Lsn(place.0 - 1), &end).await;
            assert!(before == later || before == all[index..], "{version:?}, from before the end of {index}: {before:?}");
            assert_eq!(read_from(&fixture, &task, *place, &end).await, later, "{version:?}, from the end of {index}");
            if !later.is_empty() {
                assert_eq!(read_from(&fixture, &task, Lsn(place.0 + 1), &end).await, later, "{version:?}, from behind the end of {index}");
            }
        }
    }
}
