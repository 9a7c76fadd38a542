//! Pieces, room and order. That two instances work at the same time is shown by making them meet; how much faster they are is
//! no matter of a test, because a busy machine has no second core to show it on.

use std::sync::Barrier;

use tidegate_connector::{CellDecoder, ConnectorError, Image, NeutralDecoder, OrderedChange, SourceTable, Strictness};
use tidegate_model::schema::RowEncoding;
use tidegate_model::{BeforeImages, Cell, Column, Engine as Database, Row, RowBuilder, RowChange, SqlType, TableName, TableSchema};
use tidegate_sandbox::{Compiled, Engine, EngineSettings, Limits, SandboxError, builtin_rules};

use super::*;
use crate::header::ImageHeader;
use crate::modules::ModuleSet;
use crate::policy::RowErrorPolicy;
use crate::transform::{Transformed, Transformer};

static ENGINE: LazyLock<Engine> = LazyLock::new(|| Engine::new(EngineSettings::default()).unwrap());
static RULES: LazyLock<Compiled> = LazyLock::new(|| ENGINE.compile(builtin_rules()).unwrap());

/// A column that only a module computes.
const MAPPINGS: &str = r#"{"rules": [
    {"rule-type": "selection", "rule-id": "1", "rule-name": "1", "rule-action": "include",
        "object-locator": {"schema-name": "%", "table-name": "%"}},
    {"rule-type": "transformation", "rule-id": "2", "rule-name": "2", "rule-target": "column", "rule-action": "add-column",
        "object-locator": {"schema-name": "%", "table-name": "%"}, "value": "digest",
        "expression": "hash_sha256($id || $note)",
        "data-type": {"type": "string", "length": 64}}]}"#;

fn modules() -> Arc<Modules> {
    // A call that took 20 ms goes on at the lowest priority, and beside a busy neighbour not before its time limit: no matter here.
    let limits = Limits { transform_cpu: Duration::from_secs(60), ..Limits::default() };
    let set = ModuleSet::new(ENGINE.clone(), limits, RULES.clone(), &Default::default(), MAPPINGS).unwrap();
    set.for_target(Database::Postgres, Default::default())
}

fn row_errors() -> Arc<RowErrors> {
    Arc::new(RowErrors::new(RowErrorPolicy::default(), Arc::default()))
}

fn instances(units: u32) -> Instances {
    Instances::new(modules(), row_errors(), Units::fixed(units))
}

fn ready(_: &mut Guests) -> Result<(), TaskError> {
    Ok(())
}

#[tokio::test]
async fn pieces_are_worked_on_side_by_side_and_come_back_in_order() {
    let mut instances = instances(4);
    let count = instances.allowed();
    assert_eq!(count, 4.min(*CORES));
    // Every piece waits until all are under way.
    let met = Arc::new(Barrier::new(count));
    let items: Vec<usize> = (0..count * PIECE_MIN + 7).collect();
    let work = move |_: &mut Guests, piece: Vec<usize>| {
        met.wait();
        Ok(piece)
    };
    let working = instances.in_pieces(items.clone(), ready, work);
    let found = tokio::time::timeout(Duration::from_secs(60), working).await.expect("all pieces are under way at once");
    assert_eq!(found.unwrap(), items);
    assert_eq!(instances.idle.len(), count, "they wait for the next batch");
}

#[tokio::test]
async fn without_room_for_more_the_first_instance_does_it_all_and_none_is_asked_for_again() {
    let mut instances = instances(4);
    let no_room = |_: &mut Guests| -> Result<(), TaskError> {
        Err(ConnectorError::transient(guests::NO_ROOM, SandboxError::NoSlot.to_string()).into())
    };
    let items: Vec<usize> = (0..4 * PIECE_MIN).collect();
    let found = instances.in_pieces(items.clone(), no_room, |_, piece| Ok(piece)).await.unwrap();
    assert_eq!(found, items);
    assert_eq!((instances.allowed(), instances.idle.len()), (1, 1));
}

#[tokio::test]
async fn the_first_piece_that_fails_is_what_is_told() {
    let mut instances = instances(4);
    let items: Vec<usize> = (0..4 * PIECE_MIN).collect();
    let fails = |_: &mut Guests, piece: Vec<usize>| -> Result<Vec<usize>, TaskError> { Err(TaskError::Panicked(piece[0].to_string())) };
    let error = instances.in_pieces(items, ready, fails).await.unwrap_err();
    assert!(matches!(&error, TaskError::Panicked(text) if text == "0"), "{error:?}");
}

#[test]
fn pieces_are_nearly_equal_and_nothing_is_lost() {
    for (length, count) in [(10, 3), (1_000, 7), (5, 5), (512, 1)] {
        let items: Vec<usize> = (0..length).collect();
        let pieces = pieces(items.clone(), count);
        let (least, most) = (pieces.iter().map(Vec::len).min().unwrap(), pieces.iter().map(Vec::len).max().unwrap());
        assert!(pieces.len() == count && most - least <= 1, "{length} in {count}: {pieces:?}");
        assert_eq!(pieces.concat(), items);
    }
}

#[test]
fn only_work_that_takes_long_is_worth_a_thread_of_its_own() {
    let of = |cpu_us, wall_us| Length::of(Duration::from_micros(cpu_us), Duration::from_micros(wall_us));
    assert_eq!((of(300, 300), of(3_000, 80_000)), (Length::AtOnce, Length::AtOnce), "waiting for a processor makes it no longer");
    assert_eq!((of(3_001, 10_000), of(3_001, 10_001)), (Length::Quick, Length::Long));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn work_moves_to_this_thread_when_it_is_quick_and_away_when_it_is_not() {
    let in_task = tokio::spawn(async {
        let mut instances = instances(1);
        let here = || std::thread::current().id();
        let mut was_here = Vec::new();
        for spins in [Duration::ZERO, Duration::ZERO, QUICK * 3, Duration::ZERO, Duration::ZERO] {
            let expected = here();
            let work = move |_: &mut Guests| {
                let since = thread_cpu();
                while thread_cpu() - since < spins {}
                Ok(std::thread::current().id() == expected)
            };
            was_here.push(instances.with_first_here(work).await.unwrap());
        }
        instances.with_first_here(|_| Err::<(), _>(TaskError::Panicked("it failed".into()))).await.unwrap_err();
        let expected = here();
        was_here.push(instances.with_first_here(move |_| Ok(std::thread::current().id() == expected)).await.unwrap());
        was_here
    });
    assert_eq!(in_task.await.unwrap(), [false, true, true, false, true, false], "nobody knows how long work takes that failed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn while_work_on_the_only_thread_waits_others_go_on() {
    let in_task = tokio::spawn(async {
        let mut instances = instances(1);
        instances.with_first_here(|_| Ok(())).await.unwrap();
        assert_eq!(instances.length, Length::AtOnce);
        let (went_on, has_gone_on) = std::sync::mpsc::channel();
        tokio::spawn(async move { went_on.send(()).unwrap() });
        let work = move |_: &mut Guests| {
            let mut found = None;
            others_go_on(&mut || found = Some(has_gone_on.recv_timeout(Duration::from_secs(60))));
            Ok(found)
        };
        instances.with_first_here(work).await.unwrap()
    });
    assert_eq!(in_task.await.unwrap(), Some(Ok(())));
}

fn table() -> Arc<SourceTable> {
    let column = |name: &str, sql_type| Column {
        name: name.to_owned(),
        sql_type,
        native_type: "a type".to_owned(),
        nullable: false,
        collation: None,
        generated: false,
    };
    let columns = vec![column("id", SqlType::Int64), column("note", SqlType::Text { chars_max: None })];
    let decoder: Arc<dyn CellDecoder> =
        Arc::new(NeutralDecoder::new(columns.iter().map(|column| (column.name.clone(), column.sql_type.clone()))));
    let schema = TableSchema {
        name: TableName::new("shop", "notes"),
        engine: Database::Mysql,
        columns,
        primary_key: vec![0],
        unique_keys: vec![],
        identity: vec![0],
        before_images: BeforeImages::Full,
        encoding: RowEncoding::Neutral,
        version: 1,
    };
    Arc::new(SourceTable { schema, decoder, rows_estimate: 0, lineage: None })
}

fn row(id: i64) -> Row {
    let mut builder = RowBuilder::default();
    builder.push(Cell::Binary(&id.to_le_bytes()));
    builder.push(Cell::Binary(format!("note of {id}").repeat(8).as_bytes()));
    builder.finish()
}

/// What comes of some thousand changes.
async fn transformed(units: u32) -> Vec<Image> {
    const CHANGES: i64 = 8_192;
    let mut transformer = Transformer::following(modules(), row_errors(), Units::fixed(units));
    let planned = Arc::new(transformer.plan(table()).await.unwrap().expect("the table is selected"));
    let changes = (0..CHANGES).map(|id| (RowChange::Insert { new: row(id) }, ImageHeader::None)).collect();
    let all = transformer.changes(&planned, Strictness::Strict, changes).await.unwrap();
    let inserted = all.into_iter().filter_map(|one| match one {
        Transformed::Apply(OrderedChange::Insert(image), false) => Some(image),
        _ => None,
    });
    let found: Vec<Image> = inserted.collect();
    assert_eq!(found.len() as i64, CHANGES);
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn two_units_transform_the_same_as_one() {
    let (of_one, of_two) = (transformed(1).await, transformed(2).await);
    assert!(of_one[0].computed.is_some() && of_one == of_two, "what comes of the changes, or their order, is another with two instances");
}
