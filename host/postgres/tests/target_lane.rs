//! Groups applied to a real server: what is PostgreSQL's own. `target_facts.rs` has what all targets share.

mod target_support;

use std::sync::Arc;

use target_support::{Bench, In, group, image, table};
use tidegate_connector::{NetChange, OrderedChange, Step, Strictness, TargetTable};
use tidegate_model::{SqlType, Value};

fn net(table: &Arc<TargetTable>, strictness: Strictness, changes: Vec<NetChange>) -> Step {
    Step::Net { table: Arc::clone(table), strictness, changes }
}

#[tokio::test]
async fn rows_without_a_key_are_found_by_nan_too() {
    let bench = Bench::new().await;
    let keyless = table("keyless", &[("a", SqlType::Int64, true), ("f", SqlType::Float64, true)], 0);
    bench.prepare(&keyless).await.unwrap();
    let row = |a: i64| image(&[In::Is(Value::Int(a)), In::Is(Value::Float64(f64::NAN))]);
    let changes = vec![OrderedChange::Insert(row(1)), OrderedChange::Insert(row(1)), OrderedChange::Delete(row(1))];
    let step = Step::Ordered { table: Arc::clone(&keyless), strictness: Strictness::Strict, changes };
    bench.lane().await.apply(&group(0, 1, vec![step])).await.unwrap();
    assert_eq!(bench.one("select a, f, count(*) from app.keyless group by 1, 2").await, "(1,NaN,1)");
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
