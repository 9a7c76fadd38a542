//! Tables prepared, checked and loaded on a real server: what is PostgreSQL's own.

mod target_support;

use std::sync::Arc;

use target_support::{Bench, In, binary, chunk, encoded_table, group, image, loaded, notes, table, task, window};
use tidegate_connector::{ControlTable, ControlTables, ErrorClass, NetChange, Step, Strictness, TablePreparation, Target};
use tidegate_model::schema::RowEncoding;
use tidegate_model::{SqlType, TableName, Value};
use tidegate_postgres::target::PostgresTarget;

const TEXT: SqlType = SqlType::Text { chars_max: None };

#[tokio::test]
async fn workers_that_take_over_at_once_get_generations_of_their_own() {
    let bench = Bench::new().await;
    bench.sql.batch_execute("drop schema tidegate cascade").await.unwrap();
    let task = task();
    for round in 0..20 {
        let taken = futures_util::future::join_all((0..6).map(|_| bench.target.take_over(&task))).await;
        let mut generations: Vec<i64> = taken.into_iter().map(|record| record.unwrap().fence.generation).collect();
        generations.sort_unstable();
        assert_eq!(generations, (6 * round + 1..=6 * round + 6).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn every_neutral_type_arrives_in_its_own_column() {
    let bench = Bench::new().await;
    let columns: Vec<(&str, SqlType, bool)> = vec![
        ("id", SqlType::UInt64, false),
        ("b", SqlType::Boolean, true),
        ("i", SqlType::Int8, true),
        ("f", SqlType::Float32, true),
        ("d", SqlType::Decimal { precision: Some(65), scale: Some(30) }, true),
        ("t", SqlType::Text { chars_max: Some(8) }, true),
        ("y", SqlType::Bytes { bytes_max: None }, true),
        ("day", SqlType::Date, true),
        ("tm", SqlType::Time, true),
        ("ts", SqlType::Timestamp, true),
        ("tz", SqlType::TimestampTz, true),
        ("j", SqlType::Json, true),
        ("u", SqlType::Uuid, true),
        ("e", SqlType::Enumeration(vec!["x".into()]), true),
        ("s", SqlType::SetOf(vec!["a".into(), "b".into()]), true),
        ("bits", SqlType::Bits(12), true),
    ];
    let table = table("types", &columns, 1);
    bench.prepare(&table).await.unwrap();
    let row = |id: u64| {
        image(&[
            In::Is(Value::UInt(id)),
            In::Is(Value::Bool(true)),
            In::Is(Value::Int(-128)),
            In::Is(Value::Float32(0.1)),
            In::Is(Value::Decimal("-12345678901234567890.000000000000000000000000000001")),
            In::Is(Value::Text("é\\\n")),
            In::Is(Value::Bytes(&[0, 255])),
            In::Is(Value::Date(-719_162)),
            In::Is(Value::Time(-3_020_399_000_000)),
            In::Is(Value::Timestamp(951_826_554_500_000)),
            In::Is(Value::TimestampTz(-1_000_000)),
            In::Is(Value::Json("{\"a\": [1, null]}")),
            In::Is(Value::Uuid([0x12; 16])),
            In::Is(Value::Text("x")),
            In::Is(Value::Text("a,b")),
            In::Is(Value::Bits(&[0x0a, 0xbc])),
        ])
    };
    let step = |ids: std::ops::Range<u64>| Step::Net {
        table: Arc::clone(&table),
        strictness: Strictness::Strict,
        changes: ids.map(|id| NetChange::Insert(row(u64::MAX - id))).collect(),
    };
    bench.lane().await.apply(&group(0, 1, vec![step(0..2), step(2..52)])).await.unwrap();
    let cells = "b, i, f, d, t, y, day, tm, ts, tz at time zone 'UTC', j, u, e, s, bits, count(*)";
    let found = bench.one(&format!("select concat_ws(' ', {cells}) from app.types group by {}", &cells[..cells.len() - 10])).await;
    let wanted = "t -128 0.1 -12345678901234567890.000000000000000000000000000001 é\\\n \\x00ff 0001-01-01 -838:59:59 2000-02-29 12:15:54.5 \
                  1969-12-31 23:59:59 {\"a\": [1, null]} 12121212-1212-1212-1212-121212121212 x {a,b} 101010111100 52";
    // A row's text doubles quotes and backslashes.
    assert_eq!(found.replace("\\\\", "\\").replace("\"\"", "\""), format!("(\"{wanted}\")"));
    assert_eq!(bench.one("select max(id) from app.types").await, "(18446744073709551615)");
}

#[tokio::test]
async fn existing_columns_of_other_types_are_converted_or_refused() {
    let bench = Bench::new().await;
    bench
        .sql
        .batch_execute(
            "create schema app; create domain app.small as text check (length(value) < 4);
             create table app.\"Odd \"\"Name\" (\"order\" int generated always as identity primary key, \"select\" inet, flag bool, d app.small, extra int default 5, twice int generated always as (\"order\" * 2) stored)",
        )
        .await
        .unwrap();
    let columns = [("order", SqlType::Int64, false), ("select", TEXT, true), ("flag", SqlType::Int8, true), ("d", TEXT, true)];
    let table = table("Odd \"Name", &columns, 1);
    bench.prepare(&table).await.unwrap();
    let row = |id, address: &'static str, flag, d: &'static str| {
        image(&[In::Is(Value::Int(id)), In::Is(Value::Text(address)), In::Is(Value::Int(flag)), In::Is(Value::Text(d))])
    };
    let step = |changes| Step::Net { table: Arc::clone(&table), strictness: Strictness::Strict, changes };
    let mut lane = bench.lane().await;
    let few = vec![NetChange::Insert(row(1, "10.0.0.1", 1, "abc")), NetChange::Insert(row(2, "::1", 0, "x"))];
    let many = (10..60).map(|id| NetChange::Insert(row(id, "10.0.0.0/8", 0, "y"))).collect();
    lane.apply(&group(0, 1, vec![step(few), step(many)])).await.unwrap();
    let many = (10..60).map(|id| NetChange::Update(row(id, "10.0.0.0/9", 1, "z"))).collect();
    lane.apply(&group(1, 2, vec![step(many), step(vec![NetChange::Update(row(1, "10.0.0.2", 1, "abc"))])])).await.unwrap();
    let found = bench.one("select * from app.\"Odd \"\"Name\" where \"order\" < 11 order by 1").await;
    assert_eq!(found, "(1,10.0.0.2,t,abc,5,2)|(2,::1,f,x,5,4)|(10,10.0.0.0/9,t,z,5,20)");
    for bad in [
        row(3, "no address", 1, "abc"),
        row(3, "::1", 7, "abc"),
        row(3, "::1", 1, "too long"),
        row(i64::MAX, "::1", 1, "abc"),
        row(3, "::1", 1, "a\0"),
    ] {
        let error = lane.apply(&group(2, 3, vec![step(vec![NetChange::Insert(bad)])])).await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::TableDefinite, "{}", error.chain());
        for value in ["no address", "too long"] {
            assert!(!error.chain().contains(value), "{}", error.chain());
        }
    }
    lane.apply(&group(2, 3, vec![step(vec![NetChange::Delete(row(1, "10.0.0.2", 1, "abc"))])])).await.unwrap();
}

/// MySQL's JSON may hold U+0000. A table made for it has jsonb and refuses such a row; one with json or text has it as it is.
#[tokio::test]
async fn json_with_a_zero_character_is_refused_or_kept_and_never_altered() {
    let bench = Bench::new().await;
    let columns = [("id", SqlType::Int32, false), ("j", SqlType::Json, true)];
    let sql = "create schema app; create table app.kept (id int primary key, j json); create table app.texts (id int primary key, j text)";
    bench.sql.batch_execute(sql).await.unwrap();
    let row = |id, json| NetChange::Insert(image(&[In::Is(Value::Int(id)), In::Is(Value::Json(json))]));
    let (zero, none) = (r#"{"a\u0000": ["\\\u0000"]}"#, r#"["\\u0000", "u0000"]"#);
    let mut at = 0;
    let mut lane = bench.lane().await;
    for name in ["made", "kept", "texts"] {
        let table = table(name, &columns, 1);
        bench.prepare(&table).await.unwrap();
        let step = |changes| Step::Net { table: Arc::clone(&table), strictness: Strictness::Strict, changes };
        lane.apply(&group(at, at + 1, vec![step(vec![row(1, none)])])).await.unwrap();
        at += 1;
        let applied = lane.apply(&group(at, at + 1, vec![step(vec![row(2, zero)])])).await;
        if name == "made" {
            let error = applied.unwrap_err();
            assert_eq!((error.class(), error.code()), (ErrorClass::TableDefinite, "value_refused"), "{}", error.chain());
            assert!(error.chain().contains("\"j\"") && error.chain().contains("jsonb cannot"), "{}", error.chain());
            assert_eq!(bench.one("select count(*), bool_and(jsonb_typeof(j) = 'array') from app.made").await, "(1,t)");
        } else {
            applied.unwrap();
            at += 1;
            let found: String = bench.sql.query_one(&format!("select j::text from app.{name} where id = 2"), &[]).await.unwrap().get(0);
            assert_eq!(found, zero, "{name}");
        }
    }
}

#[tokio::test]
async fn tables_that_do_not_fit_are_found_by_check_and_keep_their_rows() {
    let bench = Bench::new().await;
    let sql = "create schema app; create table app.a (id bigint primary key); insert into app.a values (1);
               create table app.b (id bigint primary key, note text, more int not null);
               create table app.c (id bigint, note text); create view app.d as select 1 as id, '' as note;
               create table app.ok (id bigint primary key, note varchar(5)); insert into app.ok values (1, 'x');
               create table app.child (id bigint references app.ok);";
    bench.sql.batch_execute(sql).await.unwrap();
    for (name, code) in [("a", "column_missing"), ("b", "column_extra"), ("c", "key_missing"), ("d", "table_kind")] {
        let findings = bench.target.check(&task(), &[notes(name)], TablePreparation::Keep).await.unwrap();
        assert!(
            findings.iter().any(|finding| finding.code == code && finding.severity == tidegate_connector::Severity::Error),
            "{findings:?}"
        );
        let error = bench.target.prepare_table(&bench.fence, &notes(name), TablePreparation::Truncate).await.unwrap_err();
        assert_eq!((error.class(), error.code()), (ErrorClass::TableDefinite, code));
    }
    assert_eq!(bench.one("select count(*) from app.a").await, "(1)");
    let codes = |preparation| {
        let (target, table) = (&bench.target, notes("ok"));
        async move { target.check(&task(), &[table], preparation).await.unwrap().iter().map(|finding| finding.code).collect::<Vec<_>>() }
    };
    assert_eq!(codes(TablePreparation::Keep).await, ["table_not_empty"]);
    let triggers = "create function app.again() returns trigger language plpgsql as 'begin return new; end';
                    create trigger ordinary after insert on app.ok for each row execute function app.again();
                    create trigger always after insert on app.ok for each row execute function app.again();
                    alter table app.ok enable always trigger always";
    bench.sql.batch_execute(triggers).await.unwrap();
    assert_eq!(codes(TablePreparation::Keep).await, ["trigger_always", "table_not_empty"]);
    bench.sql.batch_execute("drop trigger always on app.ok; drop trigger ordinary on app.ok").await.unwrap();
    assert_eq!(codes(TablePreparation::DropAndCreate).await, ["referenced_table"]);
    assert!(bench.target.prepare_table(&bench.fence, &notes("ok"), TablePreparation::DropAndCreate).await.is_err());
    assert_eq!(bench.one("select count(*) from app.ok").await, "(1)");
    bench.sql.batch_execute("drop table app.child").await.unwrap();
    bench.target.prepare_table(&bench.fence, &notes("ok"), TablePreparation::Truncate).await.unwrap();
    assert_eq!(bench.one("select count(*) from app.ok").await, "(0)");
    bench.target.prepare_table(&bench.fence, &notes("ok"), TablePreparation::DropAndCreate).await.unwrap();
    assert_eq!(
        bench
            .one("select format_type(atttypid, atttypmod) from pg_attribute where attrelid = 'app.ok'::regclass and attname = 'note'")
            .await,
        "(text)"
    );
    // A key that holds texts equal at the source: they are different rows here, which is said and no fault.
    let mut folded = (*table("folded", &[("word", TEXT, false)], 1)).clone();
    let mut source = (*folded.source).clone();
    source.schema.columns[0].collation = Some("utf8mb4_0900_ai_ci".into());
    folded.source = Arc::new(source);
    let findings = bench.target.check(&task(), &[Arc::new(folded)], TablePreparation::DropAndCreate).await.unwrap();
    let told: Vec<_> = findings.iter().map(|finding| (finding.severity, finding.code)).collect();
    assert_eq!(told, [(tidegate_connector::Severity::Info, "key_collation")], "{findings:?}");
    entries_that_no_index_takes_are_rows_at_fault(&bench).await;
    missing_rights_on_control_tables_are_told_before(&bench).await;
}

/// TM-G: an entry of a B-tree has 2,704 bytes at most, and no index has one of 8 KB. Loaded, by statements and by COPY.
async fn entries_that_no_index_takes_are_rows_at_fault(bench: &Bench) {
    // Letters in an order that no compression makes shorter.
    let mut state = 7_u64;
    let mut letter = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'0' + (state >> 58) as u8)
    };
    let words: Vec<String> = [2_600, 2_800, 9_000].map(|length| (0..length).map(|_| letter()).collect()).into();
    let table = table("long_words", &[("word", TEXT, false), ("n", SqlType::Int64, true)], 1);
    bench.prepare(&table).await.expect("the server does it");
    let row = |word| image(&[In::Is(Value::Text(word)), In::Is(Value::Int(1))]);
    let short: Vec<String> = (0..100).map(|number| format!("short {number}")).collect();
    let mut lane = bench.lane().await;
    let mut at = 0;
    for (word, fits) in words.iter().zip([true, false, false]) {
        for others in [0, 100] {
            let rows = short[..others].iter().map(String::as_str).chain([word.as_str()]).map(|word| NetChange::Insert(row(word)));
            let step = Step::Net { table: Arc::clone(&table), strictness: Strictness::Strict, changes: rows.collect() };
            let applied = lane.apply(&group(at, at + 1, vec![step])).await;
            if fits {
                applied.expect("the entry fits");
                at += 1;
                bench.sql.batch_execute("delete from app.long_words").await.expect("the server does it");
                continue;
            }
            let error = applied.expect_err("no index takes it");
            assert_eq!((error.class(), error.code()), (ErrorClass::TableDefinite, "index_entry_too_large"), "{}", error.chain());
            assert!(error.row_fault().is_some() && error.table_name().is_some_and(|name| name.name == "long_words"), "{}", error.chain());
            assert!(!error.chain().contains(word.as_str()), "{}", error.chain());
        }
        if !fits {
            bench.target.save_chunks(&bench.fence, &table.source.schema.name, &[chunk(0)]).await.expect("the server does it");
            let mut loader = bench.target.loader(&bench.fence).await.expect("the server does it");
            loader.begin(&table, &chunk(0), false).await.expect("the server does it");
            let written = match loader.write(loaded([row(word)])).await {
                Ok(()) => loader.finish(&window(1)).await.map(|_| ()),
                Err(error) => Err(error),
            };
            assert_eq!(written.expect_err("no index takes it").code(), "index_entry_too_large");
        }
    }
    assert_eq!(bench.one("select count(*) from app.long_words").await, "(0)");
}

/// TG-002, TG-040: a role that may not act as a replica is told; what it loses on one table concerns that table alone.
#[tokio::test]
async fn rights_that_a_role_lacks_are_told_and_concern_one_table_alone() {
    let bench = Bench::new().await;
    bench
        .sql
        .batch_execute(
            "create role writer login; create schema app authorization writer; grant create, usage on schema tidegate to writer;
             grant all on all tables in schema tidegate to writer; grant all on all sequences in schema tidegate to writer",
        )
        .await
        .unwrap();
    let settings = tidegate_connector::ServerSettings { user: "writer".into(), ..bench.settings.clone() };
    let target = tidegate_postgres::target::PostgresTarget::connect(settings).await.unwrap();
    let fence = target.take_over(&task()).await.unwrap().fence;
    let (kept, lost) = (notes("kept"), notes("lost"));
    let codes = async || {
        let findings = target.check(&task(), std::slice::from_ref(&kept), TablePreparation::DropAndCreate).await.unwrap();
        findings.into_iter().map(|finding| (finding.code, finding.fix.unwrap_or_default())).collect::<Vec<_>>()
    };
    assert_eq!(codes().await, [("replica_role", "grant set on parameter session_replication_role to \"writer\"".to_owned())]);
    bench.sql.batch_execute("grant set on parameter session_replication_role to writer").await.unwrap();
    assert_eq!(codes().await, []);

    for table in [&kept, &lost] {
        target.prepare_table(&fence, table, TablePreparation::Keep).await.unwrap();
    }
    let mut lane = target.lane(&fence).await.unwrap();
    let insert = |table: &Arc<tidegate_connector::TargetTable>, id| {
        let row = image(&[In::Is(Value::Int(id)), In::Is(Value::Text("x"))]);
        Step::Net { table: Arc::clone(table), strictness: Strictness::Strict, changes: vec![NetChange::Insert(row)] }
    };
    lane.apply(&group(0, 1, vec![insert(&kept, 1), insert(&lost, 1)])).await.unwrap();
    bench.sql.batch_execute("alter table app.lost owner to postgres").await.unwrap();
    let error = lane.apply(&group(1, 2, vec![insert(&kept, 2), insert(&lost, 2)])).await.unwrap_err();
    assert_eq!((error.class(), error.code()), (ErrorClass::TableDefinite, "missing_privilege"), "{}", error.chain());
    assert_eq!(error.table_name(), Some(&lost.source.schema.name));
    lane.apply(&group(1, 2, vec![insert(&kept, 2)])).await.unwrap();
    assert_eq!(bench.one("select (select count(*) from app.kept), (select count(*) from app.lost)").await, "(2,1)");
}

/// One type of one table that the server refuses is that table's error, however many are prepared with it.
#[tokio::test]
async fn a_type_that_the_server_refuses_concerns_its_table_alone() {
    let bench = Bench::new().await;
    let number = SqlType::Decimal { precision: None, scale: None };
    let columns = [("id", SqlType::Int32, false), ("n", number, true)];
    let of = |name: &str, native: &str| encoded_table(name, &columns, 1, RowEncoding::Postgres, &["integer", native]);
    let (good, bad) = (of("good", "numeric(5,2)"), of("bad", "numeric(1001,0)"));
    let both = [good.clone(), bad].map(|table| (table, TablePreparation::DropAndCreate));
    let error = bench.target.prepare_tables(&bench.fence, &both).await.unwrap_err();
    assert_eq!((error.class(), error.table_name()), (ErrorClass::TableDefinite, Some(&TableName::new("app", "bad"))), "{}", error.chain());
    bench.target.prepare_tables(&bench.fence, &both[..1]).await.unwrap();
    assert_eq!(bench.one("select count(*) from app.good").await, "(0)");
}

/// On the server of another test.
async fn missing_rights_on_control_tables_are_told_before(bench: &Bench) {
    bench.sql.batch_execute("create role writer login; create schema ops").await.expect("the server answers");
    let settings = tidegate_connector::ServerSettings { user: "writer".into(), ..bench.settings.clone() };
    let target = PostgresTarget::connect(settings).await.expect("the server answers");
    let tables = |schema: &str| ControlTables { schema: schema.into(), tables: vec![ControlTable::ApplyExceptions, ControlTable::Status] };
    let fixes = async |schema: &str| {
        let found = target.check_control_tables(&tables(schema)).await.expect("the server answers");
        assert!(found.iter().all(|finding| finding.code == "missing_privilege"), "{found:?}");
        found.into_iter().filter_map(|finding| finding.fix).collect::<Vec<_>>()
    };
    assert_eq!(fixes("nowhere").await, ["create schema \"nowhere\" authorization \"writer\""]);
    let grant = fixes("ops").await;
    assert_eq!(grant, ["grant create, usage on schema \"ops\" to \"writer\""]);
    bench.target.create_control_tables(&bench.fence, &tables("ops")).await.expect("the server answers");
    bench.sql.batch_execute("grant usage on schema ops to writer").await.expect("the server answers");
    let grants = fixes("ops").await;
    assert_eq!(grants[1], "grant select, insert, delete on \"ops\".\"awsdms_status\" to \"writer\"");
    bench.sql.batch_execute(&grants.join("; ")).await.expect("the server answers");
    assert_eq!(fixes("ops").await, Vec::<String>::new(), "who may write need not be able to create");
}

#[tokio::test]
async fn postgres_cells_pass_as_they_are() {
    let bench = Bench::new().await;
    let columns = [
        ("id", SqlType::Int32, false),
        ("n", SqlType::Decimal { precision: Some(6), scale: Some(2) }, true),
        ("mood", SqlType::Enumeration(vec!["sad".into(), "glad".into()]), true),
        ("tags", SqlType::Array(Box::new(TEXT)), true),
        ("p", SqlType::Other("point".into()), true),
    ];
    let natives = ["integer", "numeric(6,2)", "elsewhere.\"Mood\"", "text[]", "point"];
    let table = encoded_table("native", &columns, 1, RowEncoding::Postgres, &natives);
    bench.prepare(&table).await.unwrap();
    let row = bench.sql.query_one("select array_send(array['a', null]), point_send('(1,2)'), numeric_send(12.50)", &[]).await.unwrap();
    let (tags, point, number): (Vec<u8>, Vec<u8>, Vec<u8>) = (row.get(0), row.get(1), row.get(2));
    let native = |id: i32| binary(&[Some(&id.to_be_bytes()), Some(&number), Some(b"glad"), Some(&tags), Some(&point)]);
    let step = |ids: std::ops::Range<i32>| Step::Net {
        table: Arc::clone(&table),
        strictness: Strictness::Strict,
        changes: ids.map(|id| NetChange::Insert(native(id))).collect(),
    };
    let update = Step::Net {
        table: Arc::clone(&table),
        strictness: Strictness::Strict,
        changes: (0..50).map(|id| NetChange::Update(native(id))).collect(),
    };
    bench.lane().await.apply(&group(0, 1, vec![step(0..2), step(2..50), update])).await.unwrap();
    assert_eq!(
        bench.one("select n, mood, tags, p::text, count(*) from app.native group by 1, 2, 3, 4").await,
        "(12.50,glad,\"{a,NULL}\",\"(1,2)\",50)"
    );
    assert_eq!(bench.one("select to_regtype('app.\"Mood\"') is not null").await, "(t)");
}
