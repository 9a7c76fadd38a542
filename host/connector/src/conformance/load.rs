//! Chunks and their marks, and what a worker may do after another took over.

use tidegate_model::objects::{Index, IndexBacking, IndexMethod, IndexPart};
use tidegate_model::{ComputedCells, SqlType, TableObjects, TableState, Value, ValueColumn, Values};

use super::*;
use crate::{BuildStage, ChunkRecord, ErrorClass, LoadPlan, TargetObjects};

/// Rows of a chunk and the chunk's mark are in the target together or not at all.
pub async fn chunk_and_its_mark_arrive_together(bench: &dyn Bench) {
    let (table, name) = (notes("loaded"), TableName::new("app", "loaded"));
    let (target, fence) = (bench.target(), bench.fence());
    prepare(bench, &table).await;
    target.begin_task(fence, &at(0), "source", &[]).await.unwrap();
    target.save_chunks(fence, &name, &[chunk(0), chunk(1)]).await.unwrap();
    let mut loader = target.loader(fence).await.unwrap();
    loader.begin(&table, &chunk(0), false).await.unwrap();
    for part in 0..10 {
        loader.write(loaded((0..5_000).map(|id| note(part * 5_000 + id, "a text of some length")))).await.unwrap();
    }
    assert_eq!(target.chunk_mark(fence, &name, &chunk(0)).await.unwrap(), None);
    assert_eq!(loader.finish(&window(7)).await.unwrap(), 50_000);
    assert_eq!(count(bench, "loaded").await, 50_000);
    assert_eq!(target.chunk_mark(fence, &name, &chunk(0)).await.unwrap(), Some((window(7), 50_000)));
    bench.run(&format!("delete from {} where id > 9", bench.name("loaded"))).await;

    // A chunk that is begun again without being finished is void.
    loader.begin(&table, &chunk(1), false).await.unwrap();
    loader.write(loaded([note(60_000, "void")])).await.unwrap();
    loader.begin(&table, &chunk(1), false).await.unwrap();
    loader.write(loaded([note(60_001, "kept")])).await.unwrap();
    loader.finish(&window(8)).await.unwrap();
    let rows = async || {
        let mut rows = bench.rows("loaded", &["id", "note"]).await;
        rows.retain(|row| row.starts_with("6000"));
        rows
    };
    assert_eq!(rows().await, ["60001,kept"]);

    // The same chunk twice is refused, unless it replaces.
    loader.begin(&table, &chunk(1), false).await.unwrap();
    loader.write(loaded([note(60_002, "twice")])).await.unwrap();
    assert_eq!(loader.finish(&window(8)).await.unwrap_err().code(), "chunk_unknown");
    loader.begin(&table, &chunk(1), false).await.unwrap();
    let written = loader.write(loaded([note(60_001, "duplicate")])).await;
    let error = match written {
        Ok(()) => loader.finish(&window(8)).await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.code(), "target_diverged");
    loader.begin(&table, &chunk(1), true).await.unwrap();
    loader.write(loaded([note(60_001, "replaced"), note(60_003, "new")])).await.unwrap();
    assert_eq!(loader.finish(&window(9)).await.unwrap(), 2);
    assert_eq!(rows().await, ["60001,replaced", "60003,new"]);

    target.save_table(fence, &name, &TableState::Loaded { window: Some(window(9)) }).await.unwrap();
    target.save_identity(fence, "successor").await.unwrap();
    target.save_selection(fence, "all").await.unwrap();
    target.save_selection(fence, "some").await.unwrap();
    let left_out = TableName::new("shop", "z_came_later");
    target.save_table(fence, &left_out, &TableState::LeftOut).await.unwrap();
    let record = target.take_over(&task()).await.unwrap();
    assert_eq!((record.checkpoint, record.source_identity.as_deref()), (Some(at(0)), Some("successor")));
    assert_eq!(record.selection.as_deref(), Some("some"));
    assert_eq!(record.tables.last().map(|last| (&last.table, &last.state)), Some((&left_out, &TableState::LeftOut)));
    target.forget_table(&record.fence, &left_out).await.unwrap();
    assert!(target.take_over(&task()).await.unwrap().tables.iter().all(|record| record.table != left_out));
    let record = target.take_over(&task()).await.unwrap();
    assert_eq!(record.tables[0].state, TableState::Loaded { window: Some(window(9)) });
    assert_eq!(record.tables[0].chunks.iter().filter(|chunk| chunk.loaded.is_some()).count(), 2);
    assert_eq!(target.table_state(&record.fence, &name).await.unwrap(), TableState::Loaded { window: Some(window(9)) });
    target.save_table(&record.fence, &name, &TableState::Waiting).await.unwrap();
    assert_eq!(target.chunk_mark(&record.fence, &name, &chunk(0)).await.unwrap(), None);
    assert_eq!(target.known_task(&task()).await.unwrap(), Some(Some(at(0))));
    target.forget_task(&task()).await.unwrap();
    assert_eq!(target.known_task(&task()).await.unwrap(), None);
}

/// Many tables at once become what each would alone: new ones are made, others dropped, kept or emptied as told; their plans are
/// stored, with the marks of chunks without rows; and their states.
pub async fn many_tables_are_prepared_and_planned_together(bench: &dyn Bench) {
    use TablePreparation::{DropAndCreate, Fit, Keep, Truncate};
    let (target, fence) = (bench.target(), bench.fence());
    let tables: Vec<_> = (0..150).map(|number| notes(&format!("many_{number}"))).collect();
    let name = |number: usize| tables[number].source.schema.name.clone();
    let there = [(3, Keep), (4, DropAndCreate), (100, Truncate), (101, Fit), (149, Keep)];
    for (number, _) in there {
        prepare(bench, &tables[number]).await;
        bench.run(&format!("insert into {} values (1, 'before')", bench.name(&format!("many_{number}")))).await;
    }
    let waiting: Vec<_> = tables.iter().map(|table| (table.source.schema.name.clone(), TableState::Waiting)).collect();
    target.begin_task(fence, &at(0), "source", &waiting).await.unwrap();
    let how = |number| there.iter().find(|(other, _)| *other == number).map_or(DropAndCreate, |(_, preparation)| *preparation);
    let wanted: Vec<_> = tables.iter().enumerate().map(|(number, table)| (table.clone(), how(number))).collect();
    target.prepare_tables(fence, &wanted).await.unwrap();
    for (number, rows) in [(0, 0), (3, 1), (4, 0), (64, 0), (100, 0), (101, 0), (148, 0), (149, 1)] {
        assert_eq!(count(bench, &format!("many_{number}")).await, rows, "table {number}");
    }

    target.save_chunks(fence, &name(7), &[chunk(0), chunk(1), chunk(2)]).await.unwrap();
    let plan = |number: usize| {
        let loaded = number.is_multiple_of(2).then(|| (window(5), 0));
        LoadPlan { table: name(number), definition: format!("of {number}"), chunks: vec![ChunkRecord { chunk: chunk(0), loaded }] }
    };
    let plans: Vec<LoadPlan> = (0..150).map(plan).collect();
    target.save_plans(fence, &plans).await.unwrap();
    let mut loader = target.loader(fence).await.unwrap();
    loader.begin(&tables[7], &chunk(0), false).await.unwrap();
    loader.write(loaded([note(1, "loaded")])).await.unwrap();
    assert_eq!(loader.finish(&window(6)).await.unwrap(), 1);
    loader.begin(&tables[8], &chunk(0), false).await.unwrap();
    assert_eq!(loader.finish(&window(6)).await.unwrap_err().code(), "chunk_unknown", "it was loaded before");
    let catching_up = || TableState::CatchingUp { window: window(5) };
    let states: Vec<_> = (0..150).step_by(2).map(|number| (name(number), catching_up())).collect();
    target.save_tables(fence, &states).await.unwrap();

    let record = target.take_over(&task()).await.unwrap();
    assert_eq!(record.tables.len(), 150);
    for table in record.tables {
        let number: usize = table.table.name.trim_start_matches("many_").parse().unwrap();
        let is_even = number.is_multiple_of(2);
        assert_eq!(table.state, if is_even { catching_up() } else { TableState::Loading }, "{}", table.table);
        assert_eq!(table.definition, Some(format!("of {number}")));
        let loaded = if number == 7 { Some((window(6), 1)) } else { is_even.then(|| (window(5), 0)) };
        assert_eq!(table.chunks, [ChunkRecord { chunk: chunk(0), loaded }], "{}", table.table);
    }
    for error in [
        target.prepare_tables(fence, &wanted).await.unwrap_err(),
        target.save_plans(fence, &plans).await.unwrap_err(),
        target.save_tables(fence, &states).await.unwrap_err(),
    ] {
        assert_eq!(error.class(), ErrorClass::Fenced, "{}", error.chain());
    }
}

/// A key that is withheld from an empty table is there again behind its rows, and says which rows are two of one.
pub async fn withheld_key_comes_back_behind_the_rows(bench: &dyn Bench) {
    let (table, name) = (notes("late"), TableName::new("app", "late"));
    let (target, fence) = (bench.target(), bench.fence());
    target.prepare_table(fence, &table, TablePreparation::DropAndCreate).await.unwrap();
    let key = target.withhold_key(fence, &table).await.unwrap().expect("the table has a key");
    target.save_chunks(fence, &name, &[chunk(0), chunk(1)]).await.unwrap();
    let mut loader = target.loader(fence).await.unwrap();
    for (index, ids) in [(0, [2, 1]), (1, [3, 1])] {
        loader.begin(&table, &chunk(index), false).await.unwrap();
        loader.write(loaded(ids.map(|id| note(id, "late")))).await.unwrap();
        assert_eq!(loader.finish(&window(7)).await.unwrap(), 2, "nothing compares keys yet");
    }
    let error = target.return_key(fence, &table, &key).await.unwrap_err();
    assert_eq!((error.class(), error.code()), (ErrorClass::TableDefinite, "target_diverged"), "{}", error.chain());
    bench.run(&format!("delete from {} where id = 1", bench.name("late"))).await;
    target.return_key(fence, &table, &key).await.unwrap();
    let mut lane = new_lane(bench).await;
    let twice = net(&table, Strictness::Strict, vec![NetChange::Insert(note(3, "twice"))]);
    assert_eq!(lane.apply(&group(0, 1, vec![twice])).await.unwrap_err().code(), "target_diverged");
    let again = net(&table, Strictness::Idempotent, vec![NetChange::Insert(note(3, "again"))]);
    lane.apply(&group(0, 1, vec![again])).await.unwrap();
    assert_eq!(bench.rows("late", &["id", "note"]).await, ["2,late", "3,again"]);
}

/// Rows of a load may be of several moments, which together have a unique value twice until the log brought them to one. So a
/// unique index that the task built goes before the table is loaded again, however it is emptied, and comes back.
pub async fn a_unique_index_goes_before_a_table_is_loaded_again_and_comes_back(bench: &dyn Bench) {
    let (target, fence, name) = (bench.target(), bench.fence(), TableName::new("app", "again"));
    let columns = [("id", SqlType::Int64, false), ("code", SqlType::Int64, true)];
    let mut wanted = Arc::unwrap_or_clone(super::table("again", &columns, 1));
    let part = IndexPart { column: Some("code".into()), descending: false, prefix: None };
    let index = Index {
        name: "again_code".into(),
        unique: true,
        nulls_not_distinct: false,
        method: IndexMethod::Btree,
        parts: vec![part],
        include: Vec::new(),
        partial: false,
        hidden: false,
        backing: IndexBacking::Index,
        columns: vec!["code".into()],
        native: None,
    };
    let objects = TableObjects { indexes: vec![index], ..TableObjects::default() };
    wanted.objects = Arc::new(TargetObjects { wanted: objects, omitted: Vec::new() });
    let table = Arc::new(wanted);
    let row = |id: i64, code: i64| image(&[In::Is(Value::Int(id)), In::Is(Value::Int(code))]);
    prepare(bench, &table).await;
    for preparation in [TablePreparation::Truncate, TablePreparation::Fit] {
        assert_eq!(target.build_objects(fence, std::slice::from_ref(&table), BuildStage::Exact).await.unwrap(), []);
        target.release_tables(fence, &[(table.clone(), preparation)]).await.unwrap();
        target.prepare_table(fence, &table, preparation).await.unwrap();
        target.save_chunks(fence, &name, &[chunk(0), chunk(1)]).await.unwrap();
        let mut loader = target.loader(fence).await.unwrap();
        for part in [0, 1] {
            loader.begin(&table, &chunk(part), false).await.unwrap();
            loader.write(loaded([row(i64::from(part), 7)])).await.unwrap();
            loader.finish(&window(7)).await.unwrap_or_else(|error| panic!("{preparation:?}: {}", error.chain()));
        }
        bench.run(&format!("update {} set code = 8 where id = 1", bench.name("again"))).await;
    }
    assert_eq!(target.build_objects(fence, std::slice::from_ref(&table), BuildStage::Exact).await.unwrap(), []);
    let mut lane = new_lane(bench).await;
    let error = apply(&mut *lane, 0, vec![net(&table, Strictness::Strict, vec![NetChange::Insert(row(2, 7))])]).await.unwrap_err();
    assert_eq!(error.code(), "target_diverged");
}

/// A worker whose task was taken over writes nothing any more, and is told why.
pub async fn older_worker_can_do_nothing_after_a_take_over(bench: &dyn Bench) {
    let (table, name) = (notes("fenced"), TableName::new("app", "fenced"));
    let (target, fence) = (bench.target(), bench.fence());
    prepare(bench, &table).await;
    let mut lane = new_lane(bench).await;
    target.save_chunks(fence, &name, &[chunk(0)]).await.unwrap();
    let mut loader = target.loader(fence).await.unwrap();
    // Both have a transaction open when the other worker comes, which does not wait for them for long.
    loader.begin(&table, &chunk(0), false).await.unwrap();
    loader.write(loaded([note(1, "zombie")])).await.unwrap();
    let insert = |id| net(&table, Strictness::Strict, vec![NetChange::Insert(note(id, "zombie"))]);
    lane.add_steps(vec![insert(2)]).await.unwrap();
    let started = std::time::Instant::now();
    let newer = target.take_over(&task()).await.unwrap().fence;
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());

    assert!(loader.finish(&window(1)).await.is_err());
    assert!(lane.apply(&group(0, 1, vec![insert(3)])).await.is_err());
    let mut errors = vec![lane.apply(&group(0, 1, vec![insert(4)])).await.unwrap_err()];
    errors.push(lane.apply(&group(0, 1, Vec::new())).await.unwrap_err());
    errors.push(loader.begin(&table, &chunk(0), false).await.unwrap_err());
    errors.push(target.checkpoint(fence).await.unwrap_err());
    errors.push(target.save_table(fence, &name, &TableState::Waiting).await.unwrap_err());
    errors.push(target.begin_task(fence, &at(9), "other", &[]).await.unwrap_err());
    errors.push(target.save_identity(fence, "other").await.unwrap_err());
    errors.push(target.prepare_table(fence, &table, TablePreparation::DropAndCreate).await.unwrap_err());
    for error in errors {
        assert_eq!(error.class(), ErrorClass::Fenced, "{}", error.chain());
        assert!(error.to_string().contains("another worker took over"));
    }
    assert_eq!(count(bench, "fenced").await, 0);
    let mut lane = target.lane(&newer).await.unwrap();
    // A position that is not the stored one is another worker's, too.
    assert_eq!(lane.apply(&group(5, 6, Vec::new())).await.unwrap_err().class(), ErrorClass::Fenced);
    lane.apply(&group(0, 1, vec![insert(5)])).await.unwrap();
    assert_eq!(bench.rows("fenced", &["id", "note"]).await, ["5,zombie"]);
}

/// Texts that modules computed: of two columns, NULL and empty ones among them, more than goes to the server at once. One with a NUL
/// character arrives or is an error of its row, and a row without a value is an error.
pub async fn computed_texts_of_loads_arrive(bench: &dyn Bench) {
    const ROWS: usize = 3_000;
    let mut wanted = (*notes("texts")).clone();
    let text = SqlType::Text { chars_max: None };
    let made =
        |name: &str, cell| TargetColumn { name: name.into(), sql_type: text.clone(), nullable: true, origin: ColumnOrigin::Computed(cell) };
    wanted.columns.extend([made("head", 0), made("tail", 1)]);
    wanted.computed = vec![text.clone(), text.clone()];
    let (table, name) = (Arc::new(wanted), TableName::new("app", "texts"));
    prepare(bench, &table).await;
    let chunks: Vec<_> = (0..3).map(chunk).collect();
    bench.target().save_chunks(bench.fence(), &name, &chunks).await.unwrap();
    let cells = |texts: &[String], nulls: &dyn Fn(usize) -> bool, absent: &dyn Fn(usize) -> bool| {
        let mut offsets = vec![0];
        offsets.extend(texts.iter().scan(0, |end, text| {
            *end += text.len() as u32;
            Some(*end)
        }));
        let bits = |of: &dyn Fn(usize) -> bool| {
            let mut bits = vec![0_u8; texts.len().div_ceil(8)];
            (0..texts.len()).filter(|row| of(*row)).for_each(|row| bits[row / 8] |= 1 << (row % 8));
            bits
        };
        let column =
            ValueColumn { sql_type: text.clone(), nulls: bits(nulls), absent: bits(absent), values: Values::Utf8(offsets, texts.concat()) };
        let mut cells = ComputedCells::default();
        cells.take(column, &(0..texts.len()).collect::<Vec<_>>(), texts.len(), |_| true);
        cells
    };
    let head: Vec<String> = (0..ROWS).map(|row| format!("{row}: é{}", "x".repeat(row % 250))).collect();
    let tail: Vec<String> = (0..ROWS).map(|row| if row % 7 == 1 { String::new() } else { row.to_string() }).collect();
    let (some, none) = (|row: usize| row % 5 == 2, |_: usize| false);
    let rows = || (0..ROWS as i64).map(|id| note(id, "n"));
    let mut loader = bench.target().loader(bench.fence()).await.unwrap();
    loader.begin(&table, &chunk(0), false).await.unwrap();
    let computed = vec![cells(&head, &some, &none), cells(&tail, &none, &none)];
    loader.write(LoadBatch { computed, kept: Some((1..ROWS as u32).collect()), ..loaded(rows()) }).await.unwrap();
    assert_eq!(loader.finish(&window(1)).await.unwrap(), ROWS as u64 - 1);
    let found = bench.rows("texts", &["id", "note", "head", "tail"]).await;
    let mut wanted: Vec<String> =
        (1..ROWS).map(|row| format!("{row},n,{},{}", if some(row) { "NULL" } else { &*head[row] }, tail[row])).collect();
    wanted.sort_unstable();
    assert_eq!(found, wanted);

    let with_nul = ["a\0b".to_owned()];
    loader.begin(&table, &chunk(1), false).await.unwrap();
    let computed = vec![cells(&with_nul, &none, &none), cells(&with_nul, &none, &none)];
    match loader.write(LoadBatch { computed, ..loaded([note(-1, "n")]) }).await {
        Ok(()) => {
            loader.finish(&window(1)).await.unwrap();
            let found = bench.rows("texts", &["id", "head", "tail"]).await;
            assert!(found.contains(&"-1,a\0b,a\0b".to_owned()));
        }
        Err(error) => assert_eq!((error.class(), error.code()), (ErrorClass::TableDefinite, "value_refused"), "{}", error.chain()),
    }
    let mut loader = bench.target().loader(bench.fence()).await.unwrap();
    loader.begin(&table, &chunk(2), false).await.unwrap();
    let computed = vec![cells(&[String::new()], &none, &none), cells(&[String::new()], &none, &|row| row == 0)];
    let error = loader.write(LoadBatch { computed, ..loaded([note(-2, "n")]) }).await.unwrap_err();
    assert_eq!((error.class(), error.code()), (ErrorClass::TableDefinite, "incomplete_image"), "{}", error.chain());
}
