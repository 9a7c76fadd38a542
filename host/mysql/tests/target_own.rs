//! What is MySQL's and MariaDB's own: ids of zero, columns that change by themselves, warnings in place of errors,
//! collations, packets.

mod rights;
mod target_support;

use std::sync::Arc;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use target_support::{Bench, settings};
use tidegate_connector::conformance::{Bench as _, In, at, chunk, group, image, loaded, net, note, notes, table, task, window};
use tidegate_connector::{
    BuildStage, ErrorClass, Group, NetChange, Secret, ServerSettings, Severity, Strictness, TablePreparation, Target, TargetObjects,
    TargetTable,
};
use tidegate_harness::{Direction, Fault, MysqlFlavour, Proxy, wait_for};
use tidegate_model::objects::{
    ColumnObjects, Counter, CounterKind, Index, IndexBacking, IndexMethod, IndexPart, Sequence, SequencePosition,
};
use tidegate_model::{Engine, SqlType, TableName, TableObjects, TableState, Value};
use tidegate_mysql::target::MysqlTarget;

const TEXT: SqlType = SqlType::Text { chars_max: None };

async fn benches() -> [Bench; 2] {
    [
        Bench::start(MysqlFlavour::Mysql97, &["--local-infile=1", "--max-allowed-packet=16M"]).await,
        Bench::start(MysqlFlavour::Mariadb1011, &["--max-allowed-packet=16M"]).await,
    ]
}

/// The table as a PostgreSQL source would have it.
fn of_postgres(table: &Arc<TargetTable>) -> Arc<TargetTable> {
    let mut changed = (**table).clone();
    let mut source = (*changed.source).clone();
    source.schema.engine = Engine::Postgres;
    changed.source = Arc::new(source);
    Arc::new(changed)
}

/// Many tables that come to their place in the log together: their states are more than one packet takes.
#[tokio::test]
async fn states_of_many_tables_are_stored_with_one_group() {
    let bench = Bench::start(MysqlFlavour::Mariadb1011, &["--max-allowed-packet=1M"]).await;
    let name = |number: u32| TableName::new("app", format!("many_{number}"));
    let waiting: Vec<_> = (0..5_000).map(|number| (name(number), TableState::Waiting)).collect();
    bench.target.begin_task(&bench.fence, &at(0), "source", &waiting).await.unwrap();
    let state = TableState::Loaded { window: Some(window(7)) };
    let mut lane = bench.lane().await;
    let tables = waiting.into_iter().map(|(table, _)| (table, state.clone())).collect();
    lane.apply(&Group { tables, ..group(0, 1, Vec::new()) }).await.unwrap();
    let record = bench.target.take_over(&task()).await.unwrap();
    assert!(record.checkpoint == Some(at(1)) && record.tables.len() == 5_000);
    assert!(record.tables.iter().all(|table| table.state == state), "each is stored");
}

#[tokio::test]
async fn what_servers_do_by_themselves_changes_no_row() {
    for bench in benches().await {
        bench.run("create database app").await;
        bench
            .run(
                "create table app.auto (id bigint not null auto_increment primary key, note text,
                     at timestamp(6) not null default current_timestamp(6) on update current_timestamp(6), mine int default 5)",
            )
            .await;
        let columns = [("id", SqlType::Int64, false), ("note", TEXT, true), ("at", SqlType::TimestampTz, false)];
        let auto = table("auto", &columns, 1);
        bench.prepare(&auto).await.unwrap();
        let row = |id: i64, note: In<'static>| image(&[In::Is(Value::Int(id)), note, In::Is(Value::TimestampTz(1_000_000_000_000_001))]);
        let text = |text: &'static str| In::Is(Value::Text(text));
        let mut lane = bench.lane().await;
        let first = (0..3).map(|id| NetChange::Insert(row(id, text("a")))).collect();
        lane.apply(&group(0, 1, vec![net(&auto, Strictness::Strict, first)])).await.unwrap();
        bench.run("update app.auto set mine = 6, at = at").await;
        // Row 0 is updated as it is, row 1 without its text; the column of the target's own stays in both.
        let unknown = image(&[In::Is(Value::Int(2)), text("z"), In::Unchanged]);
        let second = vec![NetChange::Update(row(0, text("a"))), NetChange::Update(row(1, In::Unchanged)), NetChange::Update(unknown)];
        lane.apply(&group(1, 2, vec![net(&auto, Strictness::Strict, second)])).await.unwrap();
        let found = bench.rows("auto", &["id", "note", "unix_timestamp(at)", "mine"]).await;
        assert_eq!(found, ["0,a,1000000000.000001,6", "1,a,1000000000.000001,6", "2,z,1000000000.000001,6"]);
        a_counter_that_may_not_be_moved_is_told(&bench, &auto).await;
    }
}

async fn a_counter_that_may_not_be_moved_is_told(bench: &Bench, table: &TargetTable) {
    bench.run("create user plain@'%' identified by 'plain'").await;
    bench.run("grant select, insert, update, delete, create, drop on *.* to plain@'%'").await;
    let settings = ServerSettings { user: "plain".into(), password: Secret::new("plain"), ..settings(&bench.server) };
    let plain = MysqlTarget::connect(settings).await.expect("the user may connect");
    let sequence = Sequence {
        name: TableName::new("app", "auto_id"),
        owner: Some("id".into()),
        native_type: "bigint".into(),
        start: 1,
        increment: 1,
        min: 1,
        max: i64::MAX,
        cache: 1,
        cycle: false,
        position: Some(SequencePosition { value: 500, is_called: true }),
    };
    let counter = Some(Counter { kind: CounterKind::AutoIncrement, sequence: sequence.name.clone() });
    let columns = vec![ColumnObjects { column: "id".into(), counter, ..ColumnObjects::default() }];
    let wanted = TableObjects { columns, sequences: vec![sequence], ..TableObjects::default() };
    let table = Arc::new(TargetTable { objects: Arc::new(TargetObjects { wanted, omitted: Vec::new() }), ..table.clone() });
    let set = plain.set_counters(&bench.fence, std::slice::from_ref(&table)).await.expect("what is refused is no error");
    assert_eq!(set.moved, 0);
    let [refused] = &set.refused[..] else { panic!("one counter: {set:?}") };
    assert_eq!((refused.code, refused.fix.as_deref()), ("missing_privilege", Some("alter table `app`.`auto` auto_increment = 501")));
    let set = bench.target.set_counters(&bench.fence, &[table]).await.expect("the counter can be moved");
    assert_eq!(set.moved, 1, "whoever has the right moves it");
}

#[tokio::test]
async fn values_that_the_server_would_change_stop_the_table_in_load_and_apply() {
    for bench in benches().await {
        bench.run("create database app").await;
        bench.run("create table app.narrow (id bigint primary key, note varchar(3) character set latin1)").await;
        let narrow = notes("narrow");
        bench.prepare(&narrow).await.unwrap();
        let name = TableName::new("app", "narrow");
        bench.target.save_chunks(&bench.fence, &name, &[chunk(0)]).await.unwrap();
        let mut loader = bench.target.loader(&bench.fence).await.unwrap();
        for bad in ["four", "a   ", "ж"] {
            loader.begin(&narrow, &chunk(0), false).await.unwrap();
            let written = loader.write(loaded([note(1, "é€"), note(2, bad)])).await;
            let error = match written {
                Ok(()) => loader.finish(&window(1)).await.unwrap_err(),
                Err(error) => error,
            };
            assert_eq!(error.class(), ErrorClass::TableDefinite, "{}", error.chain());
            assert!(!error.chain().contains(bad), "{}", error.chain());
            let mut lane = bench.lane().await;
            bench.target.save_chunks(&bench.fence, &name, &[chunk(0)]).await.unwrap();
            let changes = vec![NetChange::Insert(note(1, "é€")), NetChange::Insert(note(2, bad))];
            let error = lane.apply(&group(0, 1, vec![net(&narrow, Strictness::Strict, changes)])).await.unwrap_err();
            assert_eq!(error.class(), ErrorClass::TableDefinite, "{}", error.chain());
            assert!(!error.chain().contains(bad), "{}", error.chain());
        }
        assert_eq!(bench.rows("narrow", &["id"]).await, [""; 0]);
        loader.begin(&narrow, &chunk(0), false).await.unwrap();
        loader.write(loaded([note(1, "é€"), note(2, "\t\\\n"), note(3, "\\N"), note(4, "\0\u{1a}'")])).await.unwrap();
        loader.finish(&window(1)).await.unwrap();
        assert_eq!(bench.rows("narrow", &["id", "hex(note)"]).await, ["1,E980", "2,095C0A", "3,5C4E", "4,001A27"]);
    }
}

#[tokio::test]
async fn rows_larger_than_a_packet_travel_in_files_and_are_refused_in_statements() {
    for bench in benches().await {
        let columns = [("id", SqlType::Int64, false), ("body", SqlType::Bytes { bytes_max: None }, true), ("note", TEXT, true)];
        let table = table("large", &columns, 1);
        bench.prepare(&table).await.unwrap();
        let body: Vec<u8> = (0..20 << 20).map(|index: u32| (index % 251) as u8).collect();
        let large = || image(&[In::Is(Value::Int(1)), In::Is(Value::Bytes(&body)), In::Is(Value::Null)]);
        bench.target.save_chunks(&bench.fence, &TableName::new("app", "large"), &[chunk(0)]).await.unwrap();
        let mut loader = bench.target.loader(&bench.fence).await.unwrap();
        loader.begin(&table, &chunk(0), false).await.unwrap();
        loader.write(loaded([large()])).await.unwrap();
        assert_eq!(loader.finish(&window(1)).await.unwrap(), 1);
        assert_eq!(bench.rows("large", &["length(body)", "hex(substr(body, 252, 3))"]).await, ["20971520,000102"]);
        let mut lane = bench.lane().await;
        let update = |bytes: &[u8], note: In<'_>| {
            let changed = NetChange::Update(image(&[In::Is(Value::Int(1)), In::Is(Value::Bytes(bytes)), note]));
            group(0, 1, vec![net(&table, Strictness::Strict, vec![changed])])
        };
        // Nothing but a statement changes a part of a row.
        let error = lane.apply(&update(&body, In::Unchanged)).await.unwrap_err();
        assert_eq!((error.class(), error.code()), (ErrorClass::TableDefinite, "packet_too_large"));
        lane.apply(&update(&body[1..], In::Is(Value::Text("whole")))).await.unwrap();
        assert_eq!(bench.rows("large", &["length(body)", "hex(substr(body, 251, 3))", "note"]).await, ["20971519,000102,whole"]);
    }
}

#[tokio::test]
async fn texts_that_a_collation_holds_equal_stay_two_rows_or_are_refused() {
    for bench in benches().await {
        let words = of_postgres(&table("words", &[("word", TEXT, false), ("n", SqlType::Int32, true)], 1));
        bench.prepare(&words).await.unwrap();
        let row = |word: &'static str, n: i64| NetChange::Insert(image(&[In::Is(Value::Text(word)), In::Is(Value::Int(n))]));
        let mut lane = bench.lane().await;
        let all = ["a", "A", "a ", "ß", "ss", "é", "e"].into_iter().enumerate().map(|(n, word)| row(word, n as i64)).collect();
        lane.apply(&group(0, 1, vec![net(&words, Strictness::Strict, all)])).await.unwrap();
        let gone = NetChange::Delete(image(&[In::Is(Value::Text("A")), In::Absent]));
        lane.apply(&group(1, 2, vec![net(&words, Strictness::Strict, vec![gone])])).await.unwrap();
        assert_eq!(bench.rows("words", &["n"]).await, ["0", "2", "3", "4", "5", "6"]);
        let findings = async |sql: &str| {
            bench.run(sql).await;
            let found = bench.target.check(&task(), std::slice::from_ref(&words), TablePreparation::Truncate).await.unwrap();
            found
                .into_iter()
                .filter(|finding| finding.severity > Severity::Info)
                .map(|finding| (finding.severity, finding.code))
                .collect::<Vec<_>>()
        };
        let key = |collation: &str| {
            format!(
                "drop table app.words; create table app.words (word varchar(50) character set utf8mb4 collate {collation} primary key, n int)"
            )
        };
        let narrow = (Severity::Warning, "column_type");
        let others = |found: Vec<(Severity, &'static str)>| {
            found.into_iter().filter(|one| *one != narrow && one.1 != "max_allowed_packet").collect::<Vec<_>>()
        };
        assert_eq!(others(findings(&key("utf8mb4_general_ci")).await), [(Severity::Error, "key_collation")]);
        assert_eq!(others(findings(&key("utf8mb4_bin")).await), [(Severity::Warning, "key_collation")]);
    }
}

#[tokio::test]
async fn tables_that_do_not_fit_are_found_by_check_and_keep_their_rows() {
    for bench in benches().await {
        bench.run("create database app").await;
        for sql in [
            "create table app.a (id bigint primary key)",
            "insert into app.a values (1)",
            "create table app.b (id bigint primary key, note text, more int not null)",
            "create table app.c (id bigint, note text)",
            "create view app.d as select 1 as id, '' as note",
            "create table app.e (id bigint primary key, note text) engine = MyISAM",
            "create table app.f (id bigint primary key, note blob)",
            "create table app.t (id bigint primary key, note text)",
            "create trigger app.fires before insert on app.t for each row set new.note = 'x'",
            "create table app.ok (id bigint primary key, note longtext)",
        ] {
            bench.run(sql).await;
        }
        for (name, code) in [
            ("a", "column_missing"),
            ("b", "column_extra"),
            ("c", "key_missing"),
            ("d", "table_kind"),
            ("e", "storage_engine"),
            ("f", "column_type"),
            ("t", "trigger_fires"),
        ] {
            let findings = bench.target.check(&task(), &[notes(name)], TablePreparation::Keep).await.unwrap();
            assert!(findings.iter().any(|found| found.code == code && found.severity == Severity::Error), "{name}: {findings:?}");
            if name != "t" {
                let error = bench.target.prepare_table(&bench.fence, &notes(name), TablePreparation::Truncate).await.unwrap_err();
                assert_eq!((error.class(), error.code()), (ErrorClass::TableDefinite, code));
            }
        }
        assert_eq!(bench.rows("a", &["id"]).await, ["1"]);
        let long = "x".repeat(65);
        let clash = table("clash", &[("Id", SqlType::Int64, false), ("id", SqlType::Int64, false)], 1);
        for (table, code) in [(notes(&long), "name_too_long"), (clash, "column_name_clash")] {
            let findings = bench.target.check(&task(), &[table], TablePreparation::Keep).await.unwrap();
            assert!(findings.iter().any(|found| found.code == code && found.severity == Severity::Error), "{findings:?}");
        }
        check_limits(&bench).await;
        let findings = bench.target.check(&task(), &[notes("ok")], TablePreparation::DropAndCreate).await.unwrap();
        assert!(findings.iter().all(|found| found.severity < Severity::Error), "{findings:?}");
        bench.target.prepare_table(&bench.fence, &notes("ok"), TablePreparation::DropAndCreate).await.unwrap();
        rights::missing_rights_on_control_tables_are_told_before(&bench).await;
        rights::triggers_that_a_user_may_not_see_are_told(&bench).await;
        bench.run("set global read_only = on").await;
        let findings = bench.target.check(&task(), &[notes("ok")], TablePreparation::Keep).await.unwrap();
        assert!(findings.iter().any(|found| found.code == "read_only_server"), "{findings:?}");
    }
}

/// Lengths of keys, of rows, and counts of columns, beyond what the server takes: made to fit without a loss, or refused.
async fn check_limits(bench: &Bench) {
    let names: Vec<String> = (0..1018).map(|index| format!("c{index}")).collect();
    let columns = |count: usize, sql_type: SqlType| -> Vec<(&str, SqlType, bool)> {
        names[..count].iter().map(|name| (name.as_str(), sql_type.clone(), false)).collect()
    };
    let wide = SqlType::Text { chars_max: Some(4000) };
    let long_key = of_postgres(&table("long_key", &columns(4, TEXT), 3));
    let long_row = of_postgres(&table("long_row", &columns(12, wide.clone()), 1));
    for (fits, warned) in [(&long_key, 3), (&long_row, 1)] {
        let findings = bench.target.check(&task(), std::slice::from_ref(fits), TablePreparation::Keep).await.expect("the server takes it");
        assert!(findings.iter().all(|found| found.severity < Severity::Error), "{findings:?}");
        assert_eq!(findings.iter().filter(|found| found.code == "key_length").count(), warned, "{findings:?}");
        bench.prepare(fits).await.expect("the server takes it");
    }
    let words: Vec<String> = (0..12).map(|index| format!("{index} {}", "é".repeat(3990))).collect();
    let cells: Vec<In<'_>> =
        words.iter().enumerate().map(|(index, word)| In::Is(Value::Text(if index == 0 { "key" } else { word }))).collect();
    let mut lane = bench.lane().await;
    lane.apply(&group(0, 1, vec![net(&long_row, Strictness::Strict, vec![NetChange::Insert(image(&cells))])]))
        .await
        .expect("the server takes it");
    assert_eq!(bench.rows("long_row", &["char_length(c1)", "char_length(c11)"]).await, ["3992,3993"]);
    let word = "é".repeat(256);
    let key = |last: &'static str| {
        image(&[In::Is(Value::Text(&word)), In::Is(Value::Text(&word)), In::Is(Value::Text(last)), In::Is(Value::Text("x"))])
    };
    let step = |row| vec![net(&long_key, Strictness::Strict, vec![NetChange::Insert(row)])];
    lane.apply(&group(1, 2, step(key("a")))).await.expect("the server takes it");
    let longer = image(&[In::Is(Value::Text(&words[0])), In::Is(Value::Text("b")), In::Is(Value::Text("b")), In::Is(Value::Text("x"))]);
    let error = lane.apply(&group(2, 3, step(longer))).await.expect_err("the server refuses it");
    assert_eq!(error.class(), ErrorClass::TableDefinite, "{}", error.chain());
    assert_eq!(bench.rows("long_key", &["char_length(c0)", "c2"]).await, ["256,a"]);
    for (columns, key) in [(columns(1018, SqlType::Int32), 1), (columns(17, SqlType::Int32), 17)] {
        let findings =
            bench.target.check(&task(), &[table("many", &columns, key)], TablePreparation::Keep).await.expect("the server takes it");
        assert!(findings.iter().any(|found| found.code == "too_many_columns" && found.severity == Severity::Error), "{findings:?}");
    }
}

#[tokio::test]
async fn workers_that_take_over_at_once_get_generations_of_their_own() {
    for bench in benches().await {
        bench.run("drop database tidegate").await;
        let task = task();
        for round in 0..20 {
            let taken = futures_util::future::join_all((0..6).map(|_| bench.target.take_over(&task))).await;
            let mut generations: Vec<i64> = taken.into_iter().map(|record| record.unwrap().fence.generation).collect();
            generations.sort_unstable();
            assert_eq!(generations, (6 * round + 1..=6 * round + 6).collect::<Vec<_>>());
        }
        assert_eq!(bench.target.known_task(&task).await.unwrap(), Some(None));
    }
}

#[tokio::test]
async fn a_right_that_a_user_loses_concerns_one_table_alone() {
    for bench in benches().await {
        bench.run("create user clerk identified by 'clerk'; grant all on tidegate.* to clerk; create database if not exists app").await;
        let settings = ServerSettings { user: "clerk".into(), password: Secret::new("clerk"), ..settings(&bench.server) };
        let [kept, lost] = ["kept", "lost"].map(|name| table(name, &[("id", SqlType::Int64, false)], 1));
        for table in [&kept, &lost] {
            bench.target.prepare_table(&bench.fence, table, TablePreparation::Keep).await.unwrap();
            bench.run(&format!("grant select, insert, update, delete on app.{} to clerk", table.name.name)).await;
        }
        let target = MysqlTarget::connect(settings).await.unwrap();
        let mut lane = target.lane(&bench.fence).await.unwrap();
        let insert =
            |table: &Arc<TargetTable>, id| net(table, Strictness::Strict, vec![NetChange::Insert(image(&[In::Is(Value::Int(id))]))]);
        lane.apply(&group(0, 1, vec![insert(&kept, 1), insert(&lost, 1)])).await.unwrap();
        bench.run("revoke insert on app.lost from clerk").await;
        let error = lane.apply(&group(1, 2, vec![insert(&kept, 2), insert(&lost, 2)])).await.unwrap_err();
        assert_eq!((error.class(), error.code()), (ErrorClass::TableDefinite, "missing_privilege"), "{}", error.chain());
        assert_eq!(error.table_name(), Some(&lost.source.schema.name));
        lane.apply(&group(1, 2, vec![insert(&kept, 2)])).await.unwrap();
        assert_eq!((bench.rows("kept", &["id"]).await.len(), bench.rows("lost", &["id"]).await.len()), (2, 1));
    }
}

/// The work is an insert into a table without a key, so that doing it twice would show.
#[tokio::test]
async fn an_answer_that_is_lost_leaves_rows_and_checkpoint_together() {
    for bench in benches().await {
        let proxy = Proxy::to_port(bench.server.port()).await;
        let target = MysqlTarget::connect(ServerSettings { port: proxy.port(), ..settings(&bench.server) }).await.unwrap();
        let mut fence = target.take_over(&task()).await.unwrap().fence;
        target.begin_task(&fence, &at(0), "source", &[]).await.unwrap();
        let entries = table("entries", &[("n", SqlType::Int64, true)], 0);
        target.prepare_table(&fence, &entries, TablePreparation::Keep).await.unwrap();
        let step = |n: u64| {
            let change = NetChange::Insert(image(&[In::Is(Value::Int(n as i64))]));
            group(n, n + 1, vec![net(&entries, Strictness::Strict, vec![change])])
        };
        let mut lane = target.lane(&fence).await.unwrap();
        lane.apply(&step(0)).await.unwrap();
        let before = proxy.bytes_down();
        lane.apply(&step(1)).await.unwrap();
        let bytes = proxy.bytes_down() - before;
        let (mut next, mut moved) = (2, 0);
        for cut in (0..bytes).step_by(4) {
            proxy.set(Fault::SwallowAfter(cut));
            let told = tokio::time::timeout(Duration::from_millis(500), lane.apply(&step(next))).await;
            assert!(!matches!(told, Ok(Ok(_))), "{cut} of {bytes} bytes of answers arrived");
            proxy.set(Fault::Cut);
            drop(lane);
            proxy.set(Fault::Pass);
            let record = target.take_over(&task()).await.unwrap();
            fence = record.fence;
            lane = target.lane(&fence).await.unwrap();
            if record.checkpoint == Some(at(next + 1)) {
                moved += 1;
            } else {
                assert_eq!(record.checkpoint, Some(at(next)));
                lane.apply(&step(next)).await.unwrap();
            }
            next += 1;
            assert_eq!(bench.rows("entries", &["count(*)", "count(distinct n)"]).await, [format!("{next},{next}")]);
        }
        println!("{moved} of {} groups were in although no answer said so", next - 2);
        assert!(moved > 0);
    }
}

/// A table with a key, an index and rows to be made in MySQL.
fn indexed() -> Arc<TargetTable> {
    let mut changed = (*of_postgres(&table("indexed", &[("id", SqlType::Int64, false), ("n", SqlType::Int64, true)], 1))).clone();
    let index = Index {
        name: "by_n".into(),
        unique: false,
        nulls_not_distinct: false,
        method: IndexMethod::Btree,
        parts: vec![IndexPart { column: Some("n".into()), descending: false, prefix: None }],
        include: Vec::new(),
        partial: false,
        hidden: false,
        backing: IndexBacking::Index,
        columns: vec!["n".into()],
        native: None,
    };
    let wanted = TableObjects { indexes: vec![index], ..TableObjects::default() };
    changed.objects = Arc::new(TargetObjects { wanted, omitted: Vec::new() });
    Arc::new(changed)
}

/// TG-037: DDL commits by itself, and the record of it follows. Where the answer is lost in between, another worker ends with the table
/// and its index, once each.
#[tokio::test]
async fn definitions_whose_answers_are_lost_are_made_once() {
    async fn check(bench: &Bench) {
        let indexed = indexed();
        let proxy = Proxy::to_port(bench.server.port()).await;
        let settings = ServerSettings { port: proxy.port(), ..settings(&bench.server) };
        let taken = async || {
            let target = MysqlTarget::connect(settings.clone()).await.expect("the server lets us in");
            let fence = target.take_over(&task()).await.expect("older workers are gone").fence;
            (target, fence)
        };
        let anew = TablePreparation::DropAndCreate;
        let tables = std::slice::from_ref(&indexed);
        // Runs `work` until its statement waits for the table, and lets it happen without an answer; then its worker is gone.
        let lose_the_answer = async |statement: &str, happened: &str, work: &mut (dyn Future<Output = ()> + Unpin)| {
            let mut holder = bench.server.client().await;
            holder.query_drop("start transaction").await.expect("a plain statement");
            holder.query_drop("select * from app.indexed").await.expect("the table is there");
            let waits = format!(
                "select count(*) from information_schema.processlist where state like 'Waiting for table%' and info like '{statement}%'"
            );
            let seen = async |sql: &str| {
                wait_for(sql, Duration::from_secs(60), async || match bench.server.value(sql).await {
                    count if count == "1" => Ok(()),
                    count => Err(count),
                })
                .await;
            };
            let losing = async {
                seen(&waits).await;
                proxy.set(Fault::Hold(Direction::Down));
                holder.query_drop("rollback").await.expect("a plain statement");
                seen(happened).await;
            };
            tokio::select! {
                () = losing => {}
                () = work => panic!("an answer came to {statement}"),
            }
            proxy.set(Fault::Cut);
        };
        let (target, fence) = taken().await;
        target.prepare_table(&fence, &indexed, anew).await.expect("the table can be made");
        bench.server.sql("insert into app.indexed values (1, 1)").await;
        let gone = "select count(*) = 0 from information_schema.tables where table_schema = 'app' and table_name = 'indexed'";
        let mut work = Box::pin(async { drop(target.prepare_table(&fence, &indexed, anew).await) });
        lose_the_answer("drop table", gone, &mut work).await;
        drop(work);
        proxy.set(Fault::Pass);

        let (target, fence) = taken().await;
        target.prepare_table(&fence, &indexed, anew).await.expect("the table can be made");
        bench.server.sql("insert into app.indexed values (1, 1), (2, 2)").await;
        let indexes = "select count(distinct index_name) from information_schema.statistics \
                       where table_schema = 'app' and table_name = 'indexed' and index_name = 'by_n'";
        let records =
            "select count(*) from tidegate.object where table_name = 'indexed' and kind = 'index' and name = 'by_n' and state = 'built'";
        let mut work = Box::pin(async { drop(target.build_objects(&fence, tables, BuildStage::Final).await) });
        lose_the_answer("alter table `app`.`indexed` add", indexes, &mut work).await;
        drop(work);
        proxy.set(Fault::Pass);
        assert_eq!(bench.server.value(records).await, "0");

        let (target, fence) = taken().await;
        assert_eq!(target.build_objects(&fence, tables, BuildStage::Final).await.expect("it goes on"), []);
        assert_eq!((bench.server.value(indexes).await.as_str(), bench.server.value(records).await.as_str()), ("1", "1"));
        assert_eq!(bench.rows("indexed", &["id"]).await, ["1", "2"]);
    }
    let [one, two] = benches().await;
    tokio::join!(check(&one), check(&two));
}
