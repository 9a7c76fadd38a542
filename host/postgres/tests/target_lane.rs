//! Groups applied to a real server: effects, counts, and the checkpoint in the same transaction.

mod target_support;

use std::sync::Arc;

use target_support::{Bench, In, at, group, image, note, notes, only_id, table};
use tidegate_connector::{ColumnOrigin, ErrorClass, NetChange, OrderedChange, Step, Strictness, Target, TargetColumn, TargetTable};
use tidegate_model::{SqlType, Value};

fn net(table: &Arc<TargetTable>, strictness: Strictness, changes: Vec<NetChange>) -> Step {
    Step::Net { table: Arc::clone(table), strictness, changes }
}

fn ordered(table: &Arc<TargetTable>, changes: Vec<OrderedChange>) -> Step {
    Step::Ordered { table: Arc::clone(table), strictness: Strictness::Strict, changes }
}

/// Rows 0 to `count - 1`, each with the text `a`.
fn inserts(count: i64) -> Vec<NetChange> {
    (0..count).map(|id| NetChange::Insert(note(id, "a"))).collect()
}

/// The same changes as a few statements and as sets, by the count of unrelated rows beside them.
#[tokio::test]
async fn mixed_changes_have_the_same_effect_as_statements_and_as_sets() {
    let bench = Bench::new().await;
    for (name, fill) in [("few", 0), ("many", 1_000)] {
        let table = notes(name);
        bench.prepare(&table).await.unwrap();
        bench.target.begin_task(&bench.fence, &at(0), "source", &[]).await.unwrap();
        let mut lane = bench.lane().await;
        let applied = lane.apply(&group(0, 1, vec![net(&table, Strictness::Strict, inserts(4))])).await.unwrap();
        assert_eq!(applied.rows, 4);
        let mut changes = vec![
            NetChange::Delete(only_id(0)),
            NetChange::Update(note(1, "b")),
            NetChange::Update(image(&[In::Is(Value::Int(2)), In::Unchanged])),
            NetChange::Replace(image(&[In::Is(Value::Int(3)), In::Is(Value::Null)])),
            NetChange::Insert(note(4, "e")),
        ];
        changes.extend((0..fill).map(|id| NetChange::Insert(note(100 + id, "x"))));
        lane.apply(&group(1, 2, vec![net(&table, Strictness::Strict, changes)])).await.unwrap();
        assert_eq!(bench.one(&format!("select * from app.{name} where id < 100 order by id")).await, "(1,b)|(2,a)|(3,)|(4,e)");
        assert_eq!(bench.one(&format!("select count(*) from app.{name} where id >= 100")).await, format!("({fill})"));
        assert_eq!(bench.target.checkpoint(&bench.fence).await.unwrap(), Some(at(2)));
    }
}

#[tokio::test]
async fn unchanged_large_values_keep_what_the_target_has() {
    let bench = Bench::new().await;
    let columns = [("id", SqlType::Int64, false), ("big", SqlType::Text { chars_max: None }, true), ("n", SqlType::Int32, true)];
    let table = table("large", &columns, 1);
    bench.prepare(&table).await.unwrap();
    let mut lane = bench.lane().await;
    let big = "x".repeat(100_000);
    let row = |id, big: In<'static>, n| image(&[In::Is(Value::Int(id)), big, In::Is(Value::Int(n))]);
    let first = (0..40).map(|id| NetChange::Insert(image(&[In::Is(Value::Int(id)), In::Is(Value::Text(&big)), In::Is(Value::Int(0))])));
    lane.apply(&group(0, 1, vec![net(&table, Strictness::Strict, first.collect())])).await.unwrap();
    let mut second: Vec<NetChange> = (0..39).map(|id| NetChange::Update(row(id, In::Unchanged, 1))).collect();
    second.push(NetChange::Update(row(39, In::Is(Value::Text("short")), 2)));
    lane.apply(&group(1, 2, vec![net(&table, Strictness::Strict, second)])).await.unwrap();
    let found = bench.one("select n, length(big), count(*) from app.large group by 1, 2 order by 1").await;
    assert_eq!(found, "(1,100000,39)|(2,5,1)");
}

#[tokio::test]
async fn divergence_is_refused_and_leaves_nothing_behind() {
    let bench = Bench::new().await;
    let table = notes("strict");
    bench.prepare(&table).await.unwrap();
    let mut lane = bench.lane().await;
    lane.apply(&group(0, 1, vec![net(&table, Strictness::Strict, inserts(2))])).await.unwrap();
    let missing = |count: i64| (50..50 + count).map(|id| NetChange::Delete(only_id(id))).collect::<Vec<_>>();
    let cases = [
        vec![NetChange::Delete(only_id(9))],
        vec![NetChange::Update(note(9, "b"))],
        vec![NetChange::Insert(note(1, "b"))],
        missing(30),
        inserts(30),
    ];
    for changes in cases {
        let good = net(&table, Strictness::Strict, vec![NetChange::Insert(note(1_000, "new"))]);
        let error = lane.apply(&group(1, 2, vec![good, net(&table, Strictness::Strict, changes)])).await.unwrap_err();
        assert_eq!((error.class(), error.code()), (ErrorClass::TableDefinite, "target_diverged"), "{}", error.chain());
        assert_eq!(bench.one("select * from app.strict order by id").await, "(0,a)|(1,a)");
        assert_eq!(bench.target.checkpoint(&bench.fence).await.unwrap(), Some(at(1)));
    }
    lane.apply(&group(1, 2, vec![net(&table, Strictness::Strict, vec![NetChange::Delete(only_id(0))])])).await.unwrap();
}

#[tokio::test]
async fn changes_of_a_snapshots_window_may_have_happened_already() {
    let bench = Bench::new().await;
    let table = notes("loose");
    bench.prepare(&table).await.unwrap();
    let mut lane = bench.lane().await;
    lane.apply(&group(0, 1, vec![net(&table, Strictness::Strict, inserts(2))])).await.unwrap();
    for (from, fill) in [(1, 0), (2, 100)] {
        let mut changes = vec![
            NetChange::Insert(note(0, "again")),
            NetChange::Update(note(1, "b")),
            NetChange::Update(note(2, "was missing")),
            NetChange::Delete(only_id(77)),
            NetChange::Replace(note(3, "r")),
        ];
        changes.extend((0..fill).map(|id| NetChange::Delete(only_id(1_000 + id))));
        lane.apply(&group(from, from + 1, vec![net(&table, Strictness::Idempotent, changes)])).await.unwrap();
        assert_eq!(bench.one("select * from app.loose order by id").await, "(0,again)|(1,b)|(2,\"was missing\")|(3,r)");
    }
    let columns = [("id", SqlType::Int64, false), ("a", SqlType::Int32, true), ("b", SqlType::Int32, true)];
    let wide = target_support::table("loose3", &columns, 1);
    bench.prepare(&wide).await.unwrap();
    let missing = NetChange::Update(image(&[In::Is(Value::Int(8)), In::Is(Value::Int(1)), In::Unchanged]));
    let error = lane.apply(&group(3, 4, vec![net(&wide, Strictness::Idempotent, vec![missing])])).await.unwrap_err();
    assert_eq!(error.code(), "incomplete_image");
}

#[tokio::test]
async fn identity_changes_and_duplicates_without_key_are_applied_in_order() {
    let bench = Bench::new().await;
    let keyed = notes("keyed");
    let columns = [("a", SqlType::Int64, true), ("j", SqlType::Json, true), ("f", SqlType::Float64, true)];
    let keyless = table("keyless", &columns, 0);
    for table in [&keyed, &keyless] {
        bench.prepare(table).await.unwrap();
    }
    let mut lane = bench.lane().await;
    lane.apply(&group(0, 1, vec![net(&keyed, Strictness::Strict, inserts(3))])).await.unwrap();
    // 0 -> 9, then 1 takes the place of 0, then 9 is changed again.
    let moved = |old: i64, new: i64, text: &str| OrderedChange::Update { old: Some(only_id(old)), new: note(new, text) };
    let changes = vec![moved(0, 9, "m"), moved(1, 0, "n"), OrderedChange::Update { old: None, new: note(9, "o") }];
    lane.apply(&group(1, 2, vec![ordered(&keyed, changes)])).await.unwrap();
    assert_eq!(bench.one("select * from app.keyed order by id").await, "(0,n)|(2,a)|(9,o)");

    let row = |a: i64, j: In<'static>| image(&[In::Is(Value::Int(a)), j, In::Is(Value::Float64(f64::NAN))]);
    let json = || In::Is(Value::Json("{\"k\": 1}"));
    let same = || row(1, json());
    let nulls = || image(&[In::Is(Value::Null), In::Is(Value::Null), In::Is(Value::Null)]);
    let changes = vec![
        OrderedChange::Insert(same()),
        OrderedChange::Insert(same()),
        OrderedChange::Insert(same()),
        OrderedChange::Insert(nulls()),
        OrderedChange::Insert(nulls()),
        OrderedChange::Delete(same()),
        OrderedChange::Delete(nulls()),
        OrderedChange::Update { old: Some(same()), new: row(2, json()) },
    ];
    lane.apply(&group(2, 3, vec![ordered(&keyless, changes)])).await.unwrap();
    assert_eq!(bench.one("select a, f, count(*) from app.keyless group by 1, 2 order by 1").await, "(1,NaN,1)|(2,NaN,1)|(,,1)");
    let gone = ordered(&keyless, vec![OrderedChange::Delete(row(7, json()))]);
    assert_eq!(lane.apply(&group(3, 4, vec![gone])).await.unwrap_err().code(), "target_diverged");
}

#[tokio::test]
async fn large_group_in_parts_and_truncate_are_one_transaction() {
    let bench = Bench::new().await;
    let (one, two) = (notes("one"), notes("two"));
    bench.prepare(&one).await.unwrap();
    bench.prepare(&two).await.unwrap();
    let mut lane = bench.lane().await;
    let started = std::time::Instant::now();
    lane.add_steps(vec![net(&one, Strictness::Strict, inserts(100_000))]).await.unwrap();
    let copied = started.elapsed();
    assert_eq!(bench.one("select count(*) from app.one").await, "(0)");
    let applied = lane.apply(&group(0, 1, vec![net(&two, Strictness::Strict, inserts(1))])).await.unwrap();
    assert_eq!(applied.rows, 100_001);
    let started = std::time::Instant::now();
    let updates = (0..100_000).map(|id| NetChange::Update(note(id, "b"))).collect();
    lane.apply(&group(1, 2, vec![net(&one, Strictness::Strict, updates)])).await.unwrap();
    println!("100000 rows: copy {copied:?}, staged update {:?}", started.elapsed());
    // The parts of a group that fails later are void, and the lane goes on.
    lane.add_steps(vec![Step::Truncate { tables: vec![Arc::clone(&one), Arc::clone(&two)] }]).await.unwrap();
    let bad = net(&one, Strictness::Strict, vec![NetChange::Delete(only_id(1))]);
    assert!(lane.apply(&group(2, 3, vec![bad])).await.is_err());
    assert_eq!(bench.one("select count(*), min(note) from app.one").await, "(100000,b)");
    lane.apply(&group(2, 3, vec![Step::Truncate { tables: vec![one, two] }])).await.unwrap();
    assert_eq!(bench.one("select (select count(*) from app.one) + (select count(*) from app.two)").await, "(0)");
    lane.apply(&group(3, 4, Vec::new())).await.unwrap();
    assert_eq!(bench.target.checkpoint(&bench.fence).await.unwrap(), Some(at(4)));
}

#[tokio::test]
async fn widest_table_fits_into_no_statement_but_is_applied() {
    let bench = Bench::new().await;
    let names: Vec<String> = (0..1_600).map(|index| format!("c{index}")).collect();
    let columns: Vec<_> = names.iter().map(|name| (name.as_str(), SqlType::Int16, false)).collect();
    let table = table("widest", &columns, 1);
    bench.prepare(&table).await.unwrap();
    let mut lane = bench.lane().await;
    let row = |id: i64, value: i64| {
        let cells: Vec<In<'_>> = (0..1_600).map(|index| In::Is(Value::Int(if index == 0 { id } else { value }))).collect();
        image(&cells)
    };
    let changes = (0..100).map(|id| NetChange::Insert(row(id, 1))).collect();
    lane.apply(&group(0, 1, vec![net(&table, Strictness::Strict, changes)])).await.unwrap();
    let changes = (0..100).map(|id| if id % 2 == 0 { NetChange::Update(row(id, 2)) } else { NetChange::Replace(row(id, 3)) }).collect();
    lane.apply(&group(1, 2, vec![net(&table, Strictness::Strict, changes)])).await.unwrap();
    assert_eq!(bench.one("select c1599, count(*) from app.widest group by 1 order by 1").await, "(2,50)|(3,50)");
}

#[tokio::test]
async fn fence_holds_inside_an_open_transaction() {
    let bench = Bench::new().await;
    let table = notes("open");
    bench.prepare(&table).await.unwrap();
    let mut lane = bench.lane().await;
    lane.add_steps(vec![net(&table, Strictness::Strict, inserts(30))]).await.unwrap();
    // Raised by hand: nobody ended the lane's session, which must find out by itself.
    bench.sql.batch_execute("update tidegate.checkpoint set generation = generation + 1").await.unwrap();
    let error = lane.apply(&group(0, 1, Vec::new())).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Fenced);
    assert_eq!(bench.one("select count(*) from app.open").await, "(0)");
}

#[tokio::test]
async fn computed_and_constant_columns_are_written_like_others() {
    let bench = Bench::new().await;
    let mut wanted = (*notes("made")).clone();
    let made = |name: &str, sql_type, origin| TargetColumn { name: name.into(), sql_type, nullable: true, origin };
    wanted.columns.push(made("sum", SqlType::Int32, ColumnOrigin::Computed(0)));
    wanted.columns.push(made("day", SqlType::Date, ColumnOrigin::Constant(Some("2020-02-29".into()))));
    wanted.columns.push(made("nothing", SqlType::Date, ColumnOrigin::Constant(None)));
    let table = Arc::new(wanted);
    bench.prepare(&table).await.unwrap();
    let row = |id: i64| {
        let computed = image(&[In::Is(Value::Int(id * 10))]).row;
        tidegate_connector::Image { computed: Some(computed), ..note(id, "a") }
    };
    let many = (0..50).map(|id| NetChange::Insert(row(id))).collect();
    let few = vec![NetChange::Update(row(1)), NetChange::Insert(row(50))];
    let steps = vec![net(&table, Strictness::Strict, many), net(&table, Strictness::Strict, few)];
    bench.lane().await.apply(&group(0, 1, steps)).await.unwrap();
    assert_eq!(bench.one("select count(*), sum(sum), day, nothing from app.made group by 3, 4").await, "(51,12750,2020-02-29,)");
}

#[tokio::test]
async fn unique_key_with_nulls_identifies_rows() {
    let bench = Bench::new().await;
    let mut wanted = (*table("nulls", &[("k", SqlType::Int64, true), ("v", SqlType::Int64, true)], 0)).clone();
    wanted.identity = vec![0];
    let table = Arc::new(wanted);
    bench.prepare(&table).await.unwrap();
    let row = |k: Option<i64>, v: i64| image(&[In::Is(k.map_or(Value::Null, Value::Int)), In::Is(Value::Int(v))]);
    let mut lane = bench.lane().await;
    let first = (0..40).map(|k| NetChange::Insert(row((k > 0).then_some(k), 0))).collect();
    lane.apply(&group(0, 1, vec![net(&table, Strictness::Strict, first)])).await.unwrap();
    let many = (0..40).map(|k| NetChange::Update(row((k > 0).then_some(k), 1))).collect();
    let few = vec![NetChange::Update(row(None, 2)), NetChange::Delete(row(Some(5), 0))];
    lane.apply(&group(1, 2, vec![net(&table, Strictness::Strict, many), net(&table, Strictness::Strict, few)])).await.unwrap();
    assert_eq!(bench.one("select v, count(*) from app.nulls group by 1 order by 1").await, "(1,38)|(2,1)");
}

#[tokio::test]
async fn values_of_a_unique_key_may_be_exchanged() {
    let bench = Bench::new().await;
    let table = table("swap", &[("id", SqlType::Int64, false), ("u", SqlType::Int64, false)], 1);
    bench.prepare(&table).await.unwrap();
    bench.sql.batch_execute("alter table app.swap add unique (u)").await.unwrap();
    let row = |id: i64, u: i64| image(&[In::Is(Value::Int(id)), In::Is(Value::Int(u))]);
    let mut lane = bench.lane().await;
    let first = (0..40).map(|id| NetChange::Insert(row(id, id))).collect();
    lane.apply(&group(0, 1, vec![net(&table, Strictness::Strict, first)])).await.unwrap();
    let few = vec![NetChange::Update(row(0, 1)), NetChange::Update(row(1, 0))];
    lane.apply(&group(1, 2, vec![net(&table, Strictness::Strict, few)])).await.unwrap();
    let many = (0..40).map(|id| NetChange::Update(row(id, 39 - id))).collect();
    lane.apply(&group(2, 3, vec![net(&table, Strictness::Strict, many)])).await.unwrap();
    assert_eq!(bench.one("select count(*) from app.swap where u = 39 - id").await, "(40)");
    let taken = vec![NetChange::Update(row(0, 5))];
    assert_eq!(lane.apply(&group(3, 4, vec![net(&table, Strictness::Strict, taken)])).await.unwrap_err().code(), "target_diverged");
}

/// The rows of the first part went with the connection, so neither the second part nor the checkpoint may follow.
#[tokio::test]
async fn a_connection_that_ends_between_the_parts_of_a_group_takes_the_whole_group_with_it() {
    let bench = Bench::new().await;
    let table = notes("parts");
    bench.prepare(&table).await.unwrap();
    let part = |from: i64| vec![net(&table, Strictness::Strict, (from..from + 40).map(|id| NetChange::Insert(note(id, "a"))).collect())];
    let end = "select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name like 'tidegate lane%' \
               and datname = current_database()";
    for ends_with_a_part in [true, false] {
        let mut lane = bench.lane().await;
        lane.add_steps(part(0)).await.unwrap();
        assert_eq!(bench.one(end).await, "(t)");
        // The client learns of it by itself, before it is used again.
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        let told = if ends_with_a_part { lane.add_steps(part(100)).await } else { lane.apply(&group(0, 1, part(100))).await.map(|_| ()) };
        assert_eq!(told.unwrap_err().class(), ErrorClass::Transient);
        assert_eq!(bench.one("select count(*) from app.parts").await, "(0)");
        assert_eq!(bench.target.checkpoint(&bench.fence).await.unwrap(), Some(at(0)));
    }
}
