use std::collections::BTreeMap;

use proptest::prelude::*;
use tidegate_connector::{NeutralDecoder, SourceTable, TargetColumn};
use tidegate_model::schema::RowEncoding;
use tidegate_model::{BeforeImages, Column, Engine, Row, RowBuilder, SqlType, TableSchema};

use super::*;
use crate::missing_deletes;

/// A table `id, a, b` with the key `id`, or without a key.
pub(crate) fn table(keyed: bool) -> Arc<TargetTable> {
    let names = ["id", "a", "b"];
    let columns: Vec<_> = names
        .iter()
        .map(|name| Column {
            name: (*name).into(),
            sql_type: SqlType::Int64,
            native_type: "bigint".into(),
            nullable: true,
            collation: None,
            generated: false,
        })
        .collect();
    let decoder = Arc::new(NeutralDecoder::new(columns.iter().map(|column| (column.name.clone(), column.sql_type.clone()))));
    let identity = if keyed { vec![0] } else { Vec::new() };
    let schema = TableSchema {
        name: TableName::new("s", "t"),
        engine: Engine::Mysql,
        columns,
        primary_key: identity.clone(),
        unique_keys: Vec::new(),
        identity: identity.clone(),
        before_images: BeforeImages::Full,
        encoding: RowEncoding::Neutral,
        version: 1,
    };
    let columns = names
        .iter()
        .enumerate()
        .map(|(index, name)| TargetColumn {
            name: (*name).into(),
            sql_type: SqlType::Int64,
            nullable: true,
            origin: ColumnOrigin::Source(index),
        })
        .collect();
    let source = Arc::new(SourceTable { schema, decoder, rows_estimate: 0, lineage: None });
    Arc::new(TargetTable {
        name: TableName::new("s", "t"),
        columns,
        primary_key: identity.clone(),
        identity,
        source,
        objects: Arc::default(),
        unfit: Default::default(),
        computed: Vec::new(),
    })
}

/// An image; `None` is an unchanged cell.
pub(crate) fn image(cells: [Option<u8>; 3]) -> Image {
    let mut builder = RowBuilder::default();
    for cell in cells {
        match &cell {
            Some(value) => builder.push(Cell::Binary(std::slice::from_ref(value))),
            None => builder.push(Cell::Unchanged),
        }
    }
    Image::new(builder.finish(), None)
}

pub(crate) type Rows = BTreeMap<u8, [u8; 3]>;

fn values(row: &Row) -> [Option<u8>; 3] {
    std::array::from_fn(|index| match row.cell(index) {
        Some(Cell::Binary([value])) => Some(*value),
        _ => None,
    })
}

pub(crate) fn complete(image: &Image) -> [u8; 3] {
    values(&image.row).map(|value| value.expect("the image is complete"))
}

fn update(rows: &mut Rows, key: u8, image: &Image) {
    let mut row = rows.remove(&key).expect("the row exists");
    for (cell, value) in row.iter_mut().zip(values(&image.row)) {
        *cell = value.unwrap_or(*cell);
    }
    assert!(rows.insert(row[0], row).is_none(), "key changes do not collide");
}

/// What a target does with the steps, with the strict checks that a target makes.
pub(crate) fn apply(rows: &mut Rows, steps: &[Step]) {
    for step in steps {
        match step {
            Step::Truncate { .. } => rows.clear(),
            Step::Ordered { changes, .. } => {
                for change in changes {
                    match change {
                        OrderedChange::Insert(new) => assert!(rows.insert(complete(new)[0], complete(new)).is_none()),
                        OrderedChange::Update { old, new } => {
                            let key = values(&old.as_ref().unwrap_or(new).row)[0].expect("key is known");
                            update(rows, key, new);
                        }
                        OrderedChange::Delete(old) => assert!(rows.remove(&values(&old.row)[0].expect("key is known")).is_some()),
                    }
                }
            }
            Step::Net { changes, .. } => {
                let key = |image: &Image| values(&image.row)[0].expect("key is known");
                for change in changes {
                    if let NetChange::Delete(old) | NetChange::Replace(old) = change {
                        assert!(rows.remove(&key(old)).is_some(), "deleted rows exist");
                    }
                }
                for change in changes {
                    if let NetChange::Update(new) = change {
                        update(rows, key(new), new);
                    }
                }
                for change in changes {
                    if let NetChange::Insert(new) | NetChange::Replace(new) = change {
                        assert!(rows.insert(key(new), complete(new)).is_none(), "inserted rows are new");
                    }
                }
            }
        }
    }
}

/// One random wish; whether it is possible depends on the rows at that moment.
#[derive(Debug, Clone)]
enum Wish {
    Put(u8, u8, Option<u8>),
    Move(u8, u8),
    Delete(u8),
    Truncate,
}

fn wishes() -> impl Strategy<Value = Vec<Wish>> {
    let key = 0..6_u8;
    let wish = prop_oneof![
        6 => (key.clone(), any::<u8>(), proptest::option::of(any::<u8>())).prop_map(|(key, a, b)| Wish::Put(key, a, b)),
        2 => (key.clone(), key.clone()).prop_map(|(from, to)| Wish::Move(from, to)),
        3 => key.prop_map(Wish::Delete),
        1 => Just(Wish::Truncate),
    ];
    proptest::collection::vec(wish, 0..60)
}

proptest! {
    /// Any history, cut into groups anywhere: the steps lead to the rows that the history leads to.
    #[test]
    fn net_effect_equals_the_history(
        wishes in wishes(),
        cuts in proptest::collection::vec(any::<bool>(), 60),
        full_images in any::<bool>(),
        deletes_apart in any::<bool>(),
    ) {
        let table = table(true);
        let taken = |builder: &mut NetBuilder| {
            let mut steps = builder.take_steps();
            if deletes_apart {
                missing_deletes::set_all_apart(&mut steps);
            }
            steps
        };
        let (mut source, mut target) = (Rows::new(), Rows::new());
        let mut builder = NetBuilder::default();
        for (number, wish) in wishes.into_iter().enumerate() {
            let old = |row: &[u8; 3]| full_images.then(|| image(row.map(Some)));
            let change = match wish {
                Wish::Put(key, a, b) => match source.get(&key).copied() {
                    Some(row) => {
                        let new = [key, a, b.unwrap_or(row[2])];
                        source.insert(key, new);
                        OrderedChange::Update { old: old(&row), new: image([Some(key), Some(a), b]) }
                    }
                    None => {
                        let new = [key, a, b.unwrap_or(0)];
                        source.insert(key, new);
                        OrderedChange::Insert(image(new.map(Some)))
                    }
                },
                Wish::Move(from, to) => {
                    if source.contains_key(&to) { continue; }
                    let Some(mut row) = source.remove(&from) else { continue };
                    let before = image([Some(from), None, None]);
                    row[0] = to;
                    source.insert(to, row);
                    OrderedChange::Update { old: Some(before), new: image([Some(to), Some(row[1]), None]) }
                }
                Wish::Delete(key) => {
                    if source.remove(&key).is_none() { continue; }
                    OrderedChange::Delete(image([Some(key), None, None]))
                }
                Wish::Truncate => {
                    source.clear();
                    builder.truncate(vec![table.clone()]);
                    continue;
                }
            };
            builder.add(&table, Strictness::Strict, change).unwrap();
            if cuts[number] {
                apply(&mut target, &taken(&mut builder));
                prop_assert_eq!(&target, &source);
            }
        }
        apply(&mut target, &taken(&mut builder));
        prop_assert_eq!(target, source);
    }
}

#[test]
fn a_row_inserted_and_deleted_in_one_group_is_never_written() {
    let table = table(true);
    let mut builder = NetBuilder::default();
    builder.add(&table, Strictness::Strict, OrderedChange::Insert(image([Some(1), Some(2), Some(3)]))).unwrap();
    builder.add(&table, Strictness::Strict, OrderedChange::Delete(image([Some(1), None, None]))).unwrap();
    assert!(builder.take_steps().is_empty());
}

#[test]
fn strict_contradictions_are_errors_and_idempotent_ones_are_not() {
    let table = table(true);
    let insert = || OrderedChange::Insert(image([Some(1), Some(2), Some(3)]));
    let mut builder = NetBuilder::default();
    builder.add(&table, Strictness::Strict, insert()).unwrap();
    assert_eq!(builder.add(&table, Strictness::Strict, insert()).unwrap_err().code(), "log_inconsistent");

    let mut builder = NetBuilder::default();
    builder.add(&table, Strictness::Idempotent, insert()).unwrap();
    builder.add(&table, Strictness::Idempotent, insert()).unwrap();
    assert!(
        matches!(&builder.take_steps()[..], [Step::Net { strictness: Strictness::Idempotent, changes, .. }] if matches!(changes[..], [NetChange::Replace(_)]))
    );
}

#[test]
fn an_idempotent_insert_and_delete_still_deletes() {
    let table = table(true);
    let mut builder = NetBuilder::default();
    builder.add(&table, Strictness::Idempotent, OrderedChange::Insert(image([Some(1), Some(2), Some(3)]))).unwrap();
    builder.add(&table, Strictness::Idempotent, OrderedChange::Delete(image([Some(1), None, None]))).unwrap();
    assert!(matches!(&builder.take_steps()[..], [Step::Net { changes, .. }] if matches!(changes[..], [NetChange::Delete(_)])));
}

#[test]
fn keyless_changes_stay_in_order() {
    let table = table(false);
    let mut builder = NetBuilder::default();
    for number in 0..4 {
        builder.add(&table, Strictness::Strict, OrderedChange::Insert(image([Some(number), Some(0), Some(0)]))).unwrap();
        builder.add(&table, Strictness::Strict, OrderedChange::Delete(image([Some(number), Some(0), Some(0)]))).unwrap();
    }
    assert!(matches!(&builder.take_steps()[..], [Step::Ordered { changes, .. }] if changes.len() == 8));
}

#[test]
fn a_group_over_the_end_of_a_window_leaves_a_table_in_one_step() {
    let table = table(true);
    let mut builder = NetBuilder::default();
    builder.add(&table, Strictness::Idempotent, OrderedChange::Delete(image([Some(1), Some(9), Some(3)]))).unwrap();
    builder.add(&table, Strictness::Strict, OrderedChange::Insert(image([Some(2), Some(9), Some(3)]))).unwrap();
    // The new row may have a unique value of the old one: the delete must not come later.
    let steps = builder.take_steps();
    let [Step::Net { strictness: Strictness::Idempotent, changes, .. }] = &steps[..] else { panic!("{steps:?}") };
    assert!(matches!(changes[..], [NetChange::Delete(_), NetChange::Insert(_)]));
}
