//! Groups: effects, counts, and the checkpoint in the same transaction.

use tidegate_model::{ComputedCells, SqlType, Value, ValueColumn, Values};

use super::*;
use crate::ErrorClass;
use Strictness::{Idempotent, Strict};

/// The same changes as a few statements and as sets, by the count of unrelated rows beside them.
pub async fn mixed_changes_have_the_same_effect_as_statements_and_as_sets(bench: &dyn Bench) {
    for (name, fill) in [("few", 0), ("many", 1_000)] {
        let table = notes(name);
        prepare(bench, &table).await;
        let mut lane = new_lane(bench).await;
        assert_eq!(apply(&mut *lane, 0, vec![net(&table, Strict, inserts(4))]).await.unwrap(), 4);
        let mut changes = vec![
            NetChange::Delete(only_id(0)),
            NetChange::Update(note(1, "b")),
            NetChange::Update(image(&[In::Is(Value::Int(2)), In::Unchanged])),
            NetChange::Replace(image(&[In::Is(Value::Int(3)), In::Is(Value::Null)])),
            NetChange::Insert(note(4, "e")),
        ];
        changes.extend((0..fill).map(|id| NetChange::Insert(note(100 + id, "x"))));
        apply(&mut *lane, 1, vec![net(&table, Strict, changes)]).await.unwrap();
        let mut rows = bench.rows(name, &["id", "note"]).await;
        rows.retain(|row| !row.ends_with(",x"));
        assert_eq!(rows, ["1,b", "2,a", "3,NULL", "4,e"]);
        assert_eq!(count(bench, name).await as i64, 4 + fill);
        assert_eq!(bench.target().checkpoint(bench.fence()).await.unwrap(), Some(at(2)));
    }
}

/// A large value that was not sent again.
pub async fn unchanged_large_values_keep_what_the_target_has(bench: &dyn Bench) {
    let columns = [("id", SqlType::Int64, false), ("big", SqlType::Text { chars_max: None }, true), ("n", SqlType::Int32, true)];
    let table = table("large", &columns, 1);
    prepare(bench, &table).await;
    let mut lane = new_lane(bench).await;
    let big = "x".repeat(100_000);
    let row = |id, big: In<'static>, n| image(&[In::Is(Value::Int(id)), big, In::Is(Value::Int(n))]);
    let first = (0..40).map(|id| NetChange::Insert(image(&[In::Is(Value::Int(id)), In::Is(Value::Text(&big)), In::Is(Value::Int(0))])));
    apply(&mut *lane, 0, vec![net(&table, Strict, first.collect())]).await.unwrap();
    let mut second: Vec<NetChange> = (0..39).map(|id| NetChange::Update(row(id, In::Unchanged, 1))).collect();
    second.push(NetChange::Update(row(39, In::Is(Value::Text("short")), 2)));
    apply(&mut *lane, 1, vec![net(&table, Strict, second)]).await.unwrap();
    let found = bench.rows("large", &["n", "length(big)"]).await;
    assert_eq!((found.len(), &*found[0], &*found[38], &*found[39]), (40, "1,100000", "1,100000", "2,5"));
}

/// What is not there, or is there already, stops the group; nothing of it stays.
pub async fn divergence_is_refused_and_leaves_nothing_behind(bench: &dyn Bench) {
    let table = notes("strict");
    prepare(bench, &table).await;
    let mut lane = new_lane(bench).await;
    apply(&mut *lane, 0, vec![net(&table, Strict, inserts(2))]).await.unwrap();
    let rows = [0, 9, 1, 50].map(only_id);
    assert_eq!(lane.missing(&[], &table, &rows).await.unwrap(), [1, 3]);
    let before = [net(&table, Strict, vec![NetChange::Delete(only_id(1)), NetChange::Insert(note(50, "x"))])];
    assert_eq!(lane.missing(&before, &table, &rows).await.unwrap(), [1, 2], "as it is once these are applied");
    let missing = |count: i64| (50..50 + count).map(|id| NetChange::Delete(only_id(id))).collect::<Vec<_>>();
    let cases = [
        vec![NetChange::Delete(only_id(9))],
        vec![NetChange::Update(note(9, "b"))],
        vec![NetChange::Insert(note(1, "b"))],
        missing(30),
        inserts(30),
    ];
    for changes in cases {
        let good = net(&table, Strict, vec![NetChange::Insert(note(1_000, "new"))]);
        let error = apply(&mut *lane, 1, vec![good, net(&table, Strict, changes)]).await.unwrap_err();
        assert_eq!((error.class(), error.code()), (ErrorClass::TableDefinite, "target_diverged"), "{}", error.chain());
        assert_eq!(bench.rows("strict", &["id", "note"]).await, ["0,a", "1,a"]);
        assert_eq!(bench.target().checkpoint(bench.fence()).await.unwrap(), Some(at(1)));
    }
    apply(&mut *lane, 1, vec![net(&table, Strict, vec![NetChange::Delete(only_id(0))])]).await.unwrap();
}

/// Idempotent steps.
pub async fn changes_of_a_snapshots_window_may_have_happened_already(bench: &dyn Bench) {
    let table = notes("loose");
    prepare(bench, &table).await;
    let mut lane = new_lane(bench).await;
    apply(&mut *lane, 0, vec![net(&table, Strict, inserts(2))]).await.unwrap();
    for (from, fill) in [(1, 0), (2, 100)] {
        let mut changes = vec![
            NetChange::Insert(note(0, "again")),
            NetChange::Update(note(1, "b")),
            NetChange::Update(note(2, "was missing")),
            NetChange::Delete(only_id(77)),
            NetChange::Replace(note(3, "r")),
        ];
        changes.extend((0..fill).map(|id| NetChange::Delete(only_id(1_000 + id))));
        apply(&mut *lane, from, vec![net(&table, Idempotent, changes)]).await.unwrap();
        assert_eq!(bench.rows("loose", &["id", "note"]).await, ["0,again", "1,b", "2,was missing", "3,r"]);
    }
    let wide = super::table("loose3", &[("id", SqlType::Int64, false), ("a", SqlType::Int32, true), ("b", SqlType::Int32, true)], 1);
    prepare(bench, &wide).await;
    let missing = NetChange::Update(image(&[In::Is(Value::Int(8)), In::Is(Value::Int(1)), In::Unchanged]));
    let error = apply(&mut *lane, 3, vec![net(&wide, Idempotent, vec![missing])]).await.unwrap_err();
    assert_eq!(error.code(), "incomplete_image");
}

/// Changes of a key that may have happened already, with and without the whole row.
pub async fn identity_changes_of_a_snapshots_window_may_have_happened_already(bench: &dyn Bench) {
    let table = notes("moved");
    prepare(bench, &table).await;
    let mut lane = new_lane(bench).await;
    apply(&mut *lane, 0, vec![net(&table, Strict, inserts(2))]).await.unwrap();
    let moved = |old: i64, new: Image| OrderedChange::Update { old: Some(only_id(old)), new };
    let unknown = |id: i64| image(&[In::Is(Value::Int(id)), In::Unchanged]);
    for from in [1, 2] {
        // Row 0 moves to 10 and row 1 to 11, whose text is not told; the second time both have moved already.
        let changes =
            vec![moved(0, note(10, "m")), moved(1, unknown(11)), OrderedChange::Delete(only_id(99)), OrderedChange::Insert(note(5, "i"))];
        let step = Step::Ordered { table: Arc::clone(&table), strictness: Idempotent, changes };
        apply(&mut *lane, from, vec![step]).await.unwrap();
        assert_eq!(bench.rows("moved", &["id", "note"]).await, ["10,m", "11,a", "5,i"]);
    }
    let step = Step::Ordered { table: Arc::clone(&table), strictness: Idempotent, changes: vec![moved(70, unknown(71))] };
    assert_eq!(apply(&mut *lane, 3, vec![step]).await.unwrap_err().code(), "incomplete_image");
}

/// One after the other, and one of several equal rows.
pub async fn identity_changes_and_duplicates_without_key_are_applied_in_order(bench: &dyn Bench) {
    let keyed = notes("keyed");
    let columns = [("a", SqlType::Int64, true), ("j", SqlType::Json, true), ("f", SqlType::Float64, true)];
    let keyless = table("keyless", &columns, 0);
    for table in [&keyed, &keyless] {
        prepare(bench, table).await;
    }
    let mut lane = new_lane(bench).await;
    apply(&mut *lane, 0, vec![net(&keyed, Strict, inserts(3))]).await.unwrap();
    // 0 -> 9, then 1 takes the place of 0, then 9 is changed again.
    let moved = |old: i64, new: i64, text: &str| OrderedChange::Update { old: Some(only_id(old)), new: note(new, text) };
    let changes = vec![moved(0, 9, "m"), moved(1, 0, "n"), OrderedChange::Update { old: None, new: note(9, "o") }];
    apply(&mut *lane, 1, vec![ordered(&keyed, changes)]).await.unwrap();
    assert_eq!(bench.rows("keyed", &["id", "note"]).await, ["0,n", "2,a", "9,o"]);

    let row = |a: i64, j: In<'static>| image(&[In::Is(Value::Int(a)), j, In::Is(Value::Float64(0.1))]);
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
    apply(&mut *lane, 2, vec![ordered(&keyless, changes)]).await.unwrap();
    assert_eq!(bench.rows("keyless", &["a", "f"]).await, ["1,0.1", "2,0.1", "NULL,NULL"]);
    let gone = ordered(&keyless, vec![OrderedChange::Delete(row(7, json()))]);
    assert_eq!(apply(&mut *lane, 3, vec![gone]).await.unwrap_err().code(), "target_diverged");
}

/// Parts of a group, tables emptied, and a group without steps.
pub async fn large_group_in_parts_and_truncate_are_one_transaction(bench: &dyn Bench) {
    const ROWS: i64 = 30_000;
    let (one, two) = (notes("one"), notes("two"));
    prepare(bench, &one).await;
    prepare(bench, &two).await;
    let mut lane = new_lane(bench).await;
    let started = std::time::Instant::now();
    lane.add_steps(vec![net(&one, Strict, inserts(ROWS))]).await.unwrap();
    let inserted = started.elapsed();
    assert_eq!(count(bench, "one").await, 0);
    assert_eq!(apply(&mut *lane, 0, vec![net(&two, Strict, inserts(1))]).await.unwrap(), ROWS as u64 + 1);
    let started = std::time::Instant::now();
    let updates = (0..ROWS).map(|id| NetChange::Update(note(id, "b"))).collect();
    apply(&mut *lane, 1, vec![net(&one, Strict, updates)]).await.unwrap();
    println!("{ROWS} rows: inserted in {inserted:?}, updated in {:?}", started.elapsed());
    // The parts of a group that fails later are void, and the lane goes on.
    lane.add_steps(vec![Step::Truncate { tables: vec![Arc::clone(&one), Arc::clone(&two)] }]).await.unwrap();
    let bad = net(&one, Strict, vec![NetChange::Delete(only_id(1))]);
    assert!(apply(&mut *lane, 2, vec![bad]).await.is_err());
    assert_eq!(bench.rows("one", &["count(*)", "min(note)"]).await, [format!("{ROWS},b")]);
    apply(&mut *lane, 2, vec![Step::Truncate { tables: vec![one.clone(), two] }, net(&one, Strict, inserts(1))]).await.unwrap();
    assert_eq!((count(bench, "one").await, count(bench, "two").await), (1, 0));
    apply(&mut *lane, 3, Vec::new()).await.unwrap();
    assert_eq!(bench.target().checkpoint(bench.fence()).await.unwrap(), Some(at(4)));
}

/// A generation that was raised while a transaction was open.
pub async fn fence_holds_inside_an_open_transaction(bench: &dyn Bench) {
    let table = notes("open");
    prepare(bench, &table).await;
    let mut lane = new_lane(bench).await;
    lane.add_steps(vec![net(&table, Strict, inserts(30))]).await.unwrap();
    // Nobody ended the lane's session, which must find out by itself.
    bench.raise_generation().await;
    let error = apply(&mut *lane, 0, Vec::new()).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Fenced);
    assert_eq!(count(bench, "open").await, 0);
}

/// Columns that no source column feeds.
pub async fn computed_and_constant_columns_are_written_like_others(bench: &dyn Bench) {
    let mut wanted = (*notes("made")).clone();
    let made = |name: &str, sql_type, origin| TargetColumn { name: name.into(), sql_type, nullable: true, origin };
    wanted.columns.push(made("sum", SqlType::Int32, ColumnOrigin::Computed(0)));
    wanted.columns.push(made("day", SqlType::Date, ColumnOrigin::Constant(Some("2020-02-29".into()))));
    wanted.columns.push(made("nothing", SqlType::Date, ColumnOrigin::Constant(None)));
    wanted.computed = vec![SqlType::Int32];
    let table = Arc::new(wanted);
    prepare(bench, &table).await;
    let row = |id: i64| Image { computed: Some(image(&[In::Is(Value::Int(id * 10))]).row), ..note(id, "a") };
    let many = (0..50).map(|id| NetChange::Insert(row(id))).collect();
    let few = vec![NetChange::Update(row(1)), NetChange::Insert(row(50))];
    let mut lane = new_lane(bench).await;
    apply(&mut *lane, 0, vec![net(&table, Strict, many), net(&table, Strict, few)]).await.unwrap();
    let found = bench.rows("made", &["count(*)", "sum(sum)", "min(day)", "max(day)", "count(nothing)"]).await;
    assert_eq!(found, ["51,12750,2020-02-29,2020-02-29,0"]);
}

/// A module may copy what an earlier one computed to a column of another type: its values are converted, whichever way they come.
pub async fn computed_values_go_to_columns_of_another_type_in_loads_and_changes_alike(bench: &dyn Bench) {
    let mut wanted = (*notes("copied")).clone();
    let copied = |name: &str, sql_type| TargetColumn { name: name.into(), sql_type, nullable: true, origin: ColumnOrigin::Computed(0) };
    wanted.columns.push(copied("number", SqlType::Int64));
    wanted.columns.push(copied("spelled", SqlType::Text { chars_max: None }));
    wanted.columns.push(copied("exact", SqlType::Decimal { precision: Some(30), scale: Some(2) }));
    wanted.computed = vec![SqlType::Int64];
    let (table, name) = (Arc::new(wanted), TableName::new("app", "copied"));
    prepare(bench, &table).await;
    let mut lane = new_lane(bench).await;
    bench.target().save_chunks(bench.fence(), &name, &[chunk(0)]).await.unwrap();
    let mut loader = bench.target().loader(bench.fence()).await.unwrap();
    loader.begin(&table, &chunk(0), false).await.unwrap();
    // As text, each would be eight letters.
    let numbers = [0x6161_6161_6161_6161, -7];
    let mut computed = ComputedCells::default();
    let values = Values::Int64(numbers.to_vec());
    computed.take(ValueColumn { sql_type: SqlType::Int64, nulls: Vec::new(), absent: Vec::new(), values }, &[0, 1], 2, |_| true);
    loader.write(LoadBatch { computed: vec![computed], ..loaded([note(1, "loaded"), note(2, "loaded")]) }).await.unwrap();
    assert_eq!(loader.finish(&window(1)).await.unwrap(), 2);
    let row = |id: i64, number: i64| Image { computed: Some(image(&[In::Is(Value::Int(number))]).row), ..note(id, "changed") };
    let changes = vec![NetChange::Insert(row(3, numbers[0])), NetChange::Insert(row(4, numbers[1])), NetChange::Insert(row(5, 0))];
    apply(&mut *lane, 0, vec![net(&table, Strict, changes)]).await.unwrap();
    apply(&mut *lane, 1, vec![net(&table, Strict, vec![NetChange::Update(row(5, numbers[1]))])]).await.unwrap();
    let rows = bench.rows("copied", &["id", "number", "spelled", "exact"]).await;
    let wanted = [(1, numbers[0]), (2, -7), (3, numbers[0]), (4, -7), (5, -7)];
    assert_eq!(rows, wanted.map(|(id, number)| format!("{id},{number},{number},{number}.00")));
}

/// An identity other than the primary key, one row of which is NULL.
pub async fn unique_key_with_nulls_identifies_rows(bench: &dyn Bench) {
    let mut wanted = (*table("nulls", &[("k", SqlType::Int64, true), ("v", SqlType::Int64, true)], 0)).clone();
    wanted.identity = vec![0];
    let table = Arc::new(wanted);
    prepare(bench, &table).await;
    let row = |k: Option<i64>, v: i64| image(&[In::Is(k.map_or(Value::Null, Value::Int)), In::Is(Value::Int(v))]);
    let mut lane = new_lane(bench).await;
    let first = (0..40).map(|k| NetChange::Insert(row((k > 0).then_some(k), 0))).collect();
    apply(&mut *lane, 0, vec![net(&table, Strict, first)]).await.unwrap();
    let many = (0..40).map(|k| NetChange::Update(row((k > 0).then_some(k), 1))).collect();
    let few = vec![NetChange::Update(row(None, 2)), NetChange::Delete(row(Some(5), 0))];
    apply(&mut *lane, 1, vec![net(&table, Strict, many), net(&table, Strict, few)]).await.unwrap();
    let found = bench.rows("nulls", &["v", "k"]).await;
    assert_eq!((found.len(), &*found[38]), (39, "2,NULL"));
}

/// Values of a unique key change hands within one group.
pub async fn values_of_a_unique_key_may_be_exchanged(bench: &dyn Bench) {
    let table = table("swap", &[("id", SqlType::Int64, false), ("u", SqlType::Int64, false)], 1);
    prepare(bench, &table).await;
    bench.run(&format!("alter table {} add unique (u)", bench.name("swap"))).await;
    let row = |id: i64, u: i64| image(&[In::Is(Value::Int(id)), In::Is(Value::Int(u))]);
    let mut lane = new_lane(bench).await;
    let first = (0..40).map(|id| NetChange::Insert(row(id, id))).collect();
    apply(&mut *lane, 0, vec![net(&table, Strict, first)]).await.unwrap();
    let few = vec![NetChange::Update(row(0, 1)), NetChange::Update(row(1, 0))];
    apply(&mut *lane, 1, vec![net(&table, Strict, few)]).await.unwrap();
    let many = (0..40).map(|id| NetChange::Update(row(id, 39 - id))).collect();
    apply(&mut *lane, 2, vec![net(&table, Strict, many)]).await.unwrap();
    assert_eq!(bench.rows("swap", &["min(id + u)", "max(id + u)", "count(*)"]).await, ["39,39,40"]);
    // A value that another row has is no reason to touch that row.
    for taken in [NetChange::Update(row(0, 5)), NetChange::Insert(row(77, 5))] {
        let error = apply(&mut *lane, 3, vec![net(&table, Strict, vec![taken])]).await.unwrap_err();
        assert_eq!(error.code(), "target_diverged");
    }
    assert_eq!(bench.rows("swap", &["min(id + u)", "max(id + u)", "count(*)"]).await, ["39,39,40"]);
}

/// The rows of the first part went with the connection, so neither the second part nor the checkpoint may follow.
pub async fn a_connection_that_ends_between_the_parts_of_a_group_takes_the_whole_group_with_it(bench: &dyn Bench) {
    let table = notes("parts");
    prepare(bench, &table).await;
    let part = |from: i64| vec![net(&table, Strict, (from..from + 40).map(|id| NetChange::Insert(note(id, "a"))).collect())];
    for ends_with_a_part in [true, false] {
        let mut lane = new_lane(bench).await;
        lane.add_steps(part(0)).await.unwrap();
        bench.end_lanes().await;
        let told = if ends_with_a_part { lane.add_steps(part(100)).await } else { lane.apply(&group(0, 1, part(100))).await.map(|_| ()) };
        assert_eq!(told.unwrap_err().class(), ErrorClass::Transient);
        assert_eq!(count(bench, "parts").await, 0);
        assert_eq!(bench.target().checkpoint(bench.fence()).await.unwrap(), Some(at(0)));
    }
}

/// What somebody else commits while a group is open is what the rest of the group meets. MariaDB, which refuses that by default
/// since 11.6 where a transaction has one snapshot (`innodb_snapshot_isolation`), is no exception.
pub async fn rows_that_others_change_while_a_group_is_open_are_met_as_they_are(bench: &dyn Bench) {
    let table = notes("met");
    prepare(bench, &table).await;
    let mut lane = new_lane(bench).await;
    let inserts = vec![NetChange::Insert(note(1, "a")), NetChange::Insert(note(2, "a"))];
    lane.apply(&group(0, 1, vec![net(&table, Strict, inserts)])).await.unwrap();
    lane.add_steps(vec![net(&table, Strict, vec![NetChange::Update(note(1, "b"))])]).await.unwrap();
    bench.run(&format!("update {} set note = 'other' where id = 2", bench.name("met"))).await;
    lane.apply(&group(1, 2, vec![net(&table, Strict, vec![NetChange::Update(note(2, "c"))])])).await.unwrap();
    assert_eq!(bench.rows("met", &["id", "note"]).await, ["1,b", "2,c"]);
}

/// Written before the turn of an earlier group, committed after it; a lock of a later group does not stop an earlier one.
pub async fn groups_are_written_ahead_and_committed_in_their_turn(bench: &dyn Bench) {
    let table = table("ahead", &[("id", SqlType::Int64, false), ("u", SqlType::Int64, false)], 1);
    prepare(bench, &table).await;
    bench.run(&format!("alter table {} add unique (u)", bench.name("ahead"))).await;
    let row = |id: i64, u: i64| image(&[In::Is(Value::Int(id)), In::Is(Value::Int(u))]);
    let rows = |ids: std::ops::Range<i64>| vec![net(&table, Strict, ids.map(|id| NetChange::Insert(row(id, id))).collect())];
    let mut first = new_lane(bench).await;
    let mut second = bench.target().lane(bench.fence()).await.expect("the lane connects");
    second.write_ahead(&rows(100..140)).await.unwrap();
    assert_eq!(count(bench, "ahead").await, 0);
    // The earlier group trips over a value of the later one: it gives up soon, and goes on once the later one is rolled back.
    let in_the_way = vec![net(&table, Strict, vec![NetChange::Insert(row(1, 110))])];
    let error = first.write_ahead(&in_the_way).await.unwrap_err();
    assert!(error.is_contention(), "{}", error.chain());
    assert_eq!(error.table_name(), Some(&table.source.schema.name));
    second.roll_back().await;
    assert_eq!(apply(&mut *first, 0, in_the_way).await.unwrap(), 1);
    assert_eq!(second.write_ahead(&rows(100..140)).await.unwrap_err().code(), "target_diverged");
    // Both ways of ending, in turn, and out of turn.
    second.write_ahead(&rows(200..240)).await.unwrap();
    first.write_ahead(&rows(300..301)).await.unwrap();
    assert_eq!(second.apply(&group(2, 3, Vec::new())).await.unwrap_err().class(), ErrorClass::Fenced);
    first.apply(&group(1, 2, Vec::new())).await.unwrap();
    assert_eq!(count(bench, "ahead").await, 2);
    second.write_ahead(&rows(200..240)).await.unwrap();
    assert_eq!(second.apply(&group(2, 3, Vec::new())).await.unwrap().rows, 40);
    assert_eq!(count(bench, "ahead").await, 42);
    assert_eq!(bench.target().checkpoint(bench.fence()).await.unwrap(), Some(at(3)));
}
