//! The full load: tables cut into chunks, chunks copied by several lanes, each chunk with its mark in one target
//! transaction, so that an interrupted load goes on at the next chunk.
//!
//! ```text
//!   feeder: plan chunks, prepare tables ──▶ queue of chunks ──▶ lane: read ▶ transform ▶ load   (load_lanes of them)
//!                 └─ tables without rows ─┐                       └─ last chunk of a table
//!                                         └──────────▶ finisher ◀──────────┘
//!                                                         └─ state Loaded
//! ```
//!
//! Feeder and finisher work on many small tables at once, which would each cost dozens of requests otherwise.
//!
//! All lanes share one snapshot. A table's window joins the windows of all its chunks, those of an earlier,
//! interrupted load included. Several loads may run beside the stream; they share the task's load lanes, of which as many
//! work as there are units ([`Gate`]).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use tidegate_connector::{
    Chunk, ChunkRecord, ConnectorError, CutParts, LoadBatch, LoadPlan, Loader, RejectedOperation, RejectedRow, RowId, RowReader, Snapshot,
    Source, TablePreparation, Target, WithheldKey,
};
use tidegate_model::{Engine, Fence, Position, Row, TableName, TableState, Window};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use crate::TableStage;
use crate::backfill::refuse_older;
use crate::board::{Board, now_us};
use crate::evolution::{Definition, outdates};
use crate::gate::Gate;
use crate::large_values::{LimitedRows, Oversize};
use crate::meter::Stage;
use crate::modules::Modules;
use crate::plan::PlannedTable;
use crate::refused;
use crate::rejection::{Rejection, row_id};
use crate::row_errors::{Rejected, RowErrors};
use crate::settings::PipelineLimits;
use crate::task::TaskError;
use crate::transform::{SnapshotRows, Transformer};

/// Small tables that are prepared together.
const PREPARED_TOGETHER: usize = 64;

/// Tables of which the target is told together that they are loaded, if so many are by then.
const FINISHED_TOGETHER: usize = 256;

/// By the source's estimate; larger tables are prepared alone, so that their loads begin at once.
const SMALL_ROWS: u64 = 10_000;

/// A table that is to be loaded, or loaded further.
pub(crate) struct LoadTable {
    pub(crate) table: Arc<PlannedTable>,
    /// What to do before the first row.
    pub(crate) preparation: TablePreparation,
    /// The chunks of an interrupted load that goes on; empty to start afresh.
    pub(crate) chunks: Vec<ChunkRecord>,
}

/// What a load that runs beside the stream tells it.
#[derive(Debug)]
pub(crate) enum LoadEvent {
    /// Every chunk of the table is in the target, which knows.
    Table { table: TableName, window: Window },
    /// All tables of the load are in.
    AllLoaded {
        /// The end of the log by then.
        log_end: Position,
    },
}

/// Everything that a load needs besides its snapshot.
#[derive(Clone)]
pub(crate) struct LoadContext {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) target: Arc<dyn Target>,
    pub(crate) fence: Fence,
    pub(crate) limits: PipelineLimits,
    /// Rows that a chunk should have.
    pub(crate) chunk_rows: u64,
    pub(crate) modules: Arc<Modules>,
    pub(crate) board: Arc<Board>,
    pub(crate) row_errors: Arc<RowErrors>,
    /// Tables that are dropped and created get their primary keys when their rows are in.
    pub(crate) late_keys: bool,
    /// Lets the task's load lanes in.
    pub(crate) lanes: Arc<Gate>,
    /// Where a load beside the stream tells of its tables; `None` where there is no stream.
    pub(crate) events: Option<mpsc::UnboundedSender<LoadEvent>>,
}

/// One load.
pub(crate) struct Load {
    pub(crate) snapshot: Arc<dyn Snapshot>,
    pub(crate) context: LoadContext,
    /// From where on the stream brings the changes of these tables; `None` where there is no stream.
    pub(crate) since: Option<Position>,
}

/// A chunk in the queue.
struct Job {
    table: Arc<TableLoad>,
    chunk: Chunk,
}

/// A table while its chunks are copied.
struct TableLoad {
    planned: Arc<PlannedTable>,
    /// Rows of chunks loaded earlier may be met again.
    replace: bool,
    chunks_left: AtomicU32,
    window: Mutex<Option<Window>>,
    /// The primary key that the table is to get when its rows are in.
    late_key: Option<WithheldKey>,
}

impl Load {
    /// Loads the tables and returns when all are in the target and marked so. Cancelled by dropping: what was not
    /// committed is rolled back.
    pub(crate) async fn run(self, mut tables: Vec<LoadTable>) -> Result<(), TaskError> {
        // By the rules' order; among equals the largest first, so that the lanes end at about the same time.
        let order = |load: &LoadTable| self.context.modules.loads().order(&load.table.source.schema.name);
        tables.sort_by_key(|load| std::cmp::Reverse((order(load), load.table.source.rows_estimate)));
        let shared = Arc::new(self);
        let (jobs, queue) = mpsc::channel(shared.context.limits.load_lanes.max(PREPARED_TOGETHER));
        let (loaded, ends) = mpsc::unbounded_channel();
        let queue = Arc::new(Mutex::new(queue));
        let mut lanes = JoinSet::new();
        for _ in 0..shared.context.limits.load_lanes.max(1) {
            lanes.spawn(lane(shared.clone(), queue.clone(), loaded.clone()));
        }
        // Without this, a queue whose lanes have all failed would never look closed to the feeder.
        drop(queue);
        let mut feeder = std::pin::pin!(feed(shared.clone(), tables, jobs, loaded));
        let mut finisher = std::pin::pin!(finish(shared, ends));
        let (mut fed, mut finished) = (false, false);
        while !(fed && finished && lanes.is_empty()) {
            tokio::select! {
                result = &mut feeder, if !fed => {
                    result?;
                    fed = true;
                }
                result = &mut finisher, if !finished => {
                    result?;
                    finished = true;
                }
                Some(result) = lanes.join_next() => result.map_err(|error| TaskError::Panicked(error.to_string()))??,
            }
        }
        Ok(())
    }
}

/// Prepares tables and queues their chunks, in the tables' order.
async fn feed(
    load: Arc<Load>,
    tables: Vec<LoadTable>,
    jobs: mpsc::Sender<Job>,
    loaded: mpsc::UnboundedSender<Arc<TableLoad>>,
) -> Result<(), TaskError> {
    let mut tables = tables.into_iter().peekable();
    while let Some(first) = tables.next() {
        let is_small = |load: &LoadTable| load.table.source.rows_estimate <= SMALL_ROWS;
        let mut some = vec![first];
        while some.len() < PREPARED_TOGETHER
            && is_small(&some[0])
            && let Some(next) = tables.next_if(is_small)
        {
            some.push(next);
        }
        for (table, records) in prepare(&load, some).await? {
            let left: Vec<ChunkRecord> = records.into_iter().filter(|record| record.loaded.is_none()).collect();
            if left.is_empty() {
                // A closed channel means that the finisher failed; its own error is the one to tell.
                let _ = loaded.send(table.clone());
            }
            for record in left {
                if jobs.send(Job { table: table.clone(), chunk: record.chunk }).await.is_err() {
                    // The lanes are gone; the one that failed tells why.
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// Makes tables ready for their rows. Returns each with its chunks.
async fn prepare(load: &Load, mut tables: Vec<LoadTable>) -> Result<Vec<(Arc<TableLoad>, Vec<ChunkRecord>)>, TaskError> {
    let LoadContext { target, fence, .. } = &load.context;
    let goes_on: Vec<bool> = tables.iter().map(|load| !load.chunks.is_empty()).collect();
    // A rule that a table cannot be cut by is told before the target's table is touched.
    plan_chunks(load, &mut tables).await?;
    let prepared: Vec<_> = tables.iter().map(|load| (load.table.target.clone(), load.preparation)).collect();
    target.prepare_tables(fence, &prepared).await?;
    let anew = tables.iter().zip(&goes_on).filter(|(_, goes_on)| !**goes_on);
    let plans: Vec<LoadPlan> = anew
        .map(|(load, _)| LoadPlan {
            table: load.table.source.schema.name.clone(),
            definition: load.table.definition.to_text(),
            chunks: load.chunks.clone(),
        })
        .collect();
    if !plans.is_empty() {
        target.save_plans(fence, &plans).await?;
    }
    let mut ready = Vec::with_capacity(tables.len());
    for (LoadTable { table, preparation, chunks }, goes_on) in tables.into_iter().zip(goes_on) {
        let replace = goes_on || rows_may_come_twice(load, &table);
        let done: Vec<&(Window, u64)> = chunks.iter().filter_map(|record| record.loaded.as_ref()).collect();
        let left = chunks.len() - done.len();
        // Rows that come twice are told by their key.
        let has_late_key = load.context.late_keys && preparation == TablePreparation::DropAndCreate && !replace && left > 0;
        let late_key = if has_late_key { target.withhold_key(fence, &table.target).await? } else { None };
        load.context.board.table(&table.source.schema.name, |progress| {
            progress.stage = TableStage::Loading;
            progress.target = Some(table.target.name.clone());
            progress.rows_estimate = table.source.rows_estimate;
            progress.chunks_total = chunks.len() as u32;
            progress.chunks_loaded = done.len() as u32;
            progress.rows_loaded = done.iter().map(|(_, rows)| rows).sum();
            progress.load_started_us.get_or_insert_with(now_us);
        });
        let window = done.iter().fold(None, |all, (window, _)| Some(join(all, window)));
        let (chunks_left, window) = (AtomicU32::new(left as u32), Mutex::new(window));
        ready.push((Arc::new(TableLoad { planned: table, replace, chunks_left, window, late_key }), chunks));
    }
    Ok(ready)
}

/// Cuts those of the tables that are loaded afresh.
async fn plan_chunks(load: &Load, tables: &mut [LoadTable]) -> Result<(), ConnectorError> {
    let rows_wanted = load.context.chunk_rows;
    let record = |chunk: Chunk| ChunkRecord { loaded: load.snapshot.empty(&chunk).map(|window| (window, 0)), chunk };
    let mut plain = Vec::new();
    for (place, planned) in tables.iter_mut().enumerate().filter(|(_, load)| load.chunks.is_empty()) {
        let source = &planned.table.source;
        // A table that only one reader can read consistently is not cut; what is wrong with its rule is told all the same.
        let chunks = match load.context.modules.loads().cut(&source.schema.name) {
            Some(cut) => Some(load.snapshot.cut(source, cut, rows_wanted).await?).filter(|_| rows_wanted != u64::MAX),
            None => None,
        };
        match chunks {
            Some(chunks) => planned.chunks = chunks.into_iter().map(record).collect(),
            None => plain.push((place, source.clone())),
        }
    }
    let sources: Vec<_> = plain.iter().map(|(_, source)| source.clone()).collect();
    let all = if sources.is_empty() { Vec::new() } else { load.snapshot.chunks_of(&sources, rows_wanted).await? };
    for ((place, _), chunks) in plain.into_iter().zip(all) {
        tables[place].chunks = chunks.into_iter().map(record).collect();
    }
    Ok(())
}

/// Where each reader has a moment of its own, a row that goes from one range to another in between is read twice. The log brings
/// it to one place; a row that went the other way comes by the log alone. Ranges of key columns are not concerned: such a row
/// has another key then.
fn rows_may_come_twice(load: &Load, table: &PlannedTable) -> bool {
    let schema = &table.source.schema;
    let is_key = |column: &String| schema.column_index(column).is_some_and(|index| schema.primary_key.contains(&index));
    match load.context.modules.loads().cut(&schema.name).map(|cut| &cut.parts) {
        Some(CutParts::Ranges(ranges)) => schema.engine != Engine::Postgres && !ranges.columns.iter().all(is_key),
        Some(CutParts::Whole | CutParts::Each { .. } | CutParts::Named(_)) | None => false,
    }
}

async fn lane(
    load: Arc<Load>,
    queue: Arc<Mutex<mpsc::Receiver<Job>>>,
    loaded: mpsc::UnboundedSender<Arc<TableLoad>>,
) -> Result<(), TaskError> {
    let mut loader = None;
    let mut transformer = Transformer::new(load.context.modules.clone(), load.context.row_errors.clone());
    loop {
        let Some(job) = queue.lock().await.recv().await else { return Ok(()) };
        let permit = load.context.lanes.enter().await;
        let _in_hand = load.context.board.meter.enter(Stage::Lane);
        let loader = match &mut loader {
            Some(loader) => loader,
            none => none.insert(load.context.target.loader(&load.context.fence).await?),
        };
        let (window, rows) = chunk(&load, loader.as_mut(), &job, &mut transformer).await?;
        drop(permit);
        load.context.board.chunk_loaded(&job.table.planned.source.schema.name, rows);
        {
            let mut joined = job.table.window.lock().await;
            *joined = Some(join(joined.take(), &window));
        }
        if job.table.chunks_left.fetch_sub(1, Ordering::AcqRel) == 1 {
            if job.table.late_key.is_some() {
                // A key takes its time: nobody waits for that of another table, nor loads again because of it.
                finish_tables(&load.context, std::slice::from_ref(&job.table)).await?;
                continue;
            }
            // As in the feeder.
            let _ = loaded.send(job.table);
        }
    }
}

/// Copies one chunk. Where the target refuses it for a row, and the policy is to go on without such rows, they are found
/// first, and the chunk is copied without them.
async fn chunk(load: &Load, loader: &mut dyn Loader, job: &Job, transformer: &mut Transformer) -> Result<(Window, u64), TaskError> {
    let mut found = HashMap::new();
    for _ in 0..refused::ROUNDS_MAX {
        let reader = load.snapshot.read(job.table.planned.source.clone(), &job.chunk).await?;
        match copy(load, loader, reader, job, transformer, &found).await {
            Err(error) if refused::is_findable(&load.context.row_errors, &error).is_some() => {
                let known = found.len();
                find_refused(load, job, transformer, &mut found).await?;
                if found.len() == known {
                    return Err(error);
                }
            }
            other => return other,
        }
    }
    let reader = load.snapshot.read(job.table.planned.source.clone(), &job.chunk).await?;
    copy(load, loader, reader, job, transformer, &found).await
}

/// Reads the chunk once more and tries its rows without keeping them.
async fn find_refused(
    load: &Load,
    job: &Job,
    transformer: &mut Transformer,
    found: &mut HashMap<RowId, ConnectorError>,
) -> Result<(), TaskError> {
    let table = &job.table.planned;
    let mut lane = load.context.target.lane(&load.context.fence).await?;
    let mut reader = load.snapshot.read(table.source.clone(), &job.chunk).await?;
    while let Some(rows) = reader.next_rows().await? {
        let rows = table.large.rows(&table.source, table.characters.rows(rows)).rows;
        let SnapshotRows { batch, .. } = transformer.snapshot_rows(table, rows, now_us()).await?;
        refused::of_load(lane.as_mut(), &table.target, &batch, found).await?;
    }
    Ok(())
}

/// Copies one chunk. The rows of a batch are decoded, judged and encoded by one thread, one step after the other, while they are in its core's
/// cache: a task that reads ahead would have each row cross to another core, which costs more than most of what is done to it. The
/// servers work meanwhile; the connections' own tasks and the sockets hold what is on its way. (A reader of MySQL still decodes in a task of its own.)
async fn copy(
    load: &Load,
    loader: &mut dyn Loader,
    mut reader: Box<dyn RowReader>,
    job: &Job,
    transformer: &mut Transformer,
    left_out: &HashMap<RowId, ConnectorError>,
) -> Result<(Window, u64), TaskError> {
    let board = &load.context.board;
    let planned = &job.table.planned;
    let window = reader.window();
    refuse_older(load.since.as_ref(), &planned.source.schema.name, &window)?;
    loader.begin(&planned.target, &job.chunk, job.table.replace).await?;
    let read_at_us = now_us();
    loop {
        let reading = board.meter.enter(Stage::Source);
        let (since, before) = (Instant::now(), reader.decoded());
        let Some(rows) = reader.next_rows().await? else { break };
        drop(reading);
        let decoded = reader.decoded().saturating_sub(before).min(since.elapsed());
        let bytes = rows.bytes_held();
        let transforming = board.meter.enter(Stage::Transform);
        let LimitedRows { rows, cut, too_large } = planned.large.rows(&planned.source, planned.characters.rows(rows));
        let SnapshotRows { mut batch, mut rejected } = transformer.snapshot_rows(planned, rows, read_at_us).await?;
        drop(transforming);
        rejected.extend(too_large);
        if !left_out.is_empty() {
            batch.retain(|loaded| {
                let image = loaded.image();
                let Some(error) = row_id(&planned.source, &image.row).and_then(|id| left_out.get(&id)) else { return true };
                let statement = load.context.row_errors.statement(&planned.target, RejectedOperation::Load, &image);
                rejected.push((image.row, refused::rejection(error).of_statement(statement)));
                false
            });
        }
        let mut entries = name_cut(load, planned, &batch, &cut)?;
        if rejected.is_empty() {
            load.context.row_errors.accepted(batch.len() as u64);
        } else {
            entries.extend(reject(load, planned, rejected, batch.len())?);
        }
        if !entries.is_empty() {
            loader.reject(entries).await?;
        }
        let _writing = board.meter.enter(Stage::Target);
        loader.write(batch).await?;
        board.update(|progress| {
            progress.bytes_written += bytes as u64;
            progress.bytes_loaded += bytes as u64;
            progress.time.decode += decoded.as_secs_f64();
        });
    }
    let _writing = board.meter.enter(Stage::Target);
    let rows = loader.finish(&window).await?;
    Ok((window, rows))
}

/// What goes to the error table of rows at fault. Where they stood among the accepted rows of their batch is not known
/// any more, so they are counted as if they were spread evenly.
fn reject(load: &Load, table: &PlannedTable, rows: Vec<(Row, Rejection)>, accepted: usize) -> Result<Vec<RejectedRow>, TaskError> {
    let source = table.source.as_ref();
    let between = (accepted / rows.len().max(1)) as u64;
    let one = |(row, rejection): (Row, Rejection)| {
        load.context.row_errors.accepted(between);
        let rejected = Rejected { table: source, operation: RejectedOperation::Load, position: None, row: &row };
        load.context.row_errors.reject(&rejected, rejection)
    };
    rows.into_iter().map(one).collect()
}

/// What goes to the error table of rows that were cut, of those that the modules left in.
fn name_cut(load: &Load, table: &PlannedTable, batch: &LoadBatch, cut: &HashMap<RowId, Oversize>) -> Result<Vec<RejectedRow>, TaskError> {
    let mut entries = Vec::new();
    if cut.is_empty() {
        return Ok(entries);
    }
    for row in batch.loaded().map(|loaded| loaded.row()) {
        let Some(oversize) = row_id(&table.source, &row).and_then(|id| cut.get(&id)) else { continue };
        let rejected = Rejected { table: &table.source, operation: RejectedOperation::Load, position: None, row: &row };
        entries.extend(load.context.row_errors.cut(&rejected, oversize)?);
    }
    Ok(entries)
}

/// Notes that tables are loaded, as many at once as are by then.
async fn finish(load: Arc<Load>, mut loaded: mpsc::UnboundedReceiver<Arc<TableLoad>>) -> Result<(), TaskError> {
    let mut some = Vec::new();
    while loaded.recv_many(&mut some, FINISHED_TOGETHER).await > 0 {
        finish_tables(&load.context, &some).await?;
        some.clear();
    }
    Ok(())
}

async fn finish_tables(context: &LoadContext, tables: &[Arc<TableLoad>]) -> Result<(), TaskError> {
    refuse_changed(context, tables).await?;
    let (mut states, mut events) = (Vec::with_capacity(tables.len()), Vec::with_capacity(tables.len()));
    for table in tables {
        if let Some(key) = &table.late_key {
            context.target.return_key(&context.fence, &table.planned.target, key).await?;
        }
        let name = &table.planned.source.schema.name;
        let window = table.window.lock().await.clone().ok_or_else(|| TaskError::Panicked("a table was loaded without chunks".into()))?;
        let state = match &context.events {
            Some(_) => TableState::CatchingUp { window: window.clone() },
            None => TableState::Loaded { window: Some(window.clone()) },
        };
        states.push((name.clone(), state));
        events.push(LoadEvent::Table { table: name.clone(), window });
    }
    context.target.save_tables(&context.fence, &states).await?;
    for (table, event) in states.into_iter().map(|(table, _)| table).zip(events) {
        context.board.table(&table, |progress| {
            progress.stage = TableStage::Completed;
            progress.load_ended_us = Some(now_us());
        });
        tracing::info!(table = %table, "table is loaded");
        if let Some(events) = &context.events {
            // The stream may have ended; then the next attempt finds the state.
            let _ = events.send(event);
        }
    }
    Ok(())
}

/// Chunks that were read while the table's definition changed fit neither the old one nor the new one; and a column
/// that came after the table was described is in none of them.
async fn refuse_changed(context: &LoadContext, tables: &[Arc<TableLoad>]) -> Result<(), TaskError> {
    let names: Vec<TableName> = tables.iter().map(|table| table.planned.source.schema.name.clone()).collect();
    let now = context.source.describe(&names).await?;
    for (table, now) in tables.iter().zip(&now) {
        let before = Definition::of(&table.planned.source);
        if let Some(change) = outdates(&before, &Definition::of(now), context.target.engine()) {
            let name = &table.planned.source.schema.name;
            let text = format!("the definition of table \"{name}\" changed while it was loaded: {change}");
            return Err(ConnectorError::table(name, "chunks_outdated", text).into());
        }
    }
    Ok(())
}

fn join(all: Option<Window>, window: &Window) -> Window {
    all.map_or_else(|| window.clone(), |all| all.joined(window))
}
