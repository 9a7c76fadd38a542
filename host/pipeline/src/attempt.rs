//! One attempt of a run: from the target's checkpoint until something ends it.
//!
//! ```text
//!   take over ─▶ plan tables ─▶ begin (first time) or resume ─▶ capture starts ─▶ load what is not loaded ─▶ stream
//!                                                                   └─────────── change cache ───────────────┘
//! ```
//!
//! Changes are applied when all tables are loaded; until then they wait in the cache. A reload pauses the stream at the
//! end of a group, loads the tables from a new snapshot, and goes on: their own windows tell which changes are in it.

use std::collections::HashMap;
use std::sync::Arc;

use tidegate_connector::{
    CaptureScope, CaptureStart, ChunkRecord, ConnectorError, ErrorClass, Snapshot, Source, TablePreparation, TableRecord, Target,
    TaskRecord,
};
use tidegate_model::{Engine, Fence, Position, TableName, TableState, Window};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::apply::{Paused, Stream};
use crate::assemble::Assembler;
use crate::board::InFlight;
use crate::cache::{self, CacheReader};
use crate::capture::{Capture, cache_error};
use crate::load::{Load, LoadTable};
use crate::plan::PlannedTable;
use crate::relations::Relations;
use crate::run::{Held, Reload, Watched, check_tables, plan_tables, preparation_when, refuse_errors};
use crate::tables::Tables;
use crate::task::{Control, Outcome, StopCause, TaskError, TaskSpec};
use crate::transform::Transformer;
use crate::{Phase, TableStage};

/// Codes of table errors after which loading the table from its first row helps: an update of a row that the load
/// missed does not tell the whole row (`incomplete_image`), or the table was rewritten since it was cut into chunks.
const LOAD_AGAIN: [&str; 2] = ["incomplete_image", "chunks_outdated"];

/// What an attempt works with; the run owns all of it.
pub(crate) struct Attempt<'a> {
    pub(crate) spec: &'a TaskSpec,
    pub(crate) source: &'a Arc<dyn Source>,
    pub(crate) target: &'a Arc<dyn Target>,
    pub(crate) watched: &'a Arc<Watched>,
    pub(crate) cancel: &'a CancellationToken,
}

/// Where the task stands after it was begun or resumed.
struct Standing {
    fence: Fence,
    position: Position,
    /// Tables to load, and the snapshot to load them from; `None` when all are loaded.
    load: Option<(Arc<dyn Snapshot>, Vec<LoadTable>)>,
    /// Windows of the tables that are loaded.
    windows: HashMap<TableName, Option<Window>>,
}

/// Capture while it runs, and the other end of its cache.
struct Capturing {
    reader: CacheReader,
    relations: Relations,
    confirmed: watch::Sender<Option<Position>>,
    task: AbortOnDropHandle<Result<(), ConnectorError>>,
}

impl Attempt<'_> {
    /// Runs until the task ends, fails or is cancelled.
    pub(crate) async fn run(&self, control: &mut mpsc::Receiver<Control>) -> Result<Outcome, TaskError> {
        let cancelled = Outcome { cause: StopCause::Cancelled };
        let planned = self.stoppable(plan_tables(self.spec, self.source.as_ref(), self.target.as_ref())).await?;
        let standing = self.stoppable(self.stand(&planned)).await?;
        let Standing { fence, position, load, mut windows } = standing;
        self.watched.board.checkpoint(&position);
        self.show_tables(&planned, &windows);

        let capturing = if self.spec.migration.captures() { Some(self.stoppable(self.capture(&planned, &position)).await?) } else { None };
        let Some(mut capturing) = capturing else {
            self.load(&fence, load, None).await?;
            return Ok(Outcome { cause: StopCause::FullLoadFinished });
        };
        let loaded = load.as_ref().map(|(_, tables)| names(tables)).unwrap_or_default();
        if let Err(error) = self.load(&fence, load, Some(&mut capturing.task)).await {
            return Err(self.or_load_again(&fence, &planned, error).await);
        }
        windows.extend(self.windows_of(&fence, &loaded).await?);

        let mut tables = Tables::new(capturing.relations.clone());
        for table in &planned {
            let window = windows.remove(&table.source.schema.name).flatten();
            self.target.prepare_table(&fence, &table.target, TablePreparation::Keep).await?;
            tables.insert(table.clone(), window);
        }
        let in_flight = Arc::new(InFlight::default());
        *self.watched.in_flight.lock().expect("no holder of this lock panics") = in_flight.clone();
        let modules = self.spec.modules.for_target(self.target.engine());
        let limit = self.spec.limits.group_bytes_max;
        let Capturing { reader, confirmed, mut task, .. } = capturing;
        // What an earlier attempt made durable may not have reached the source.
        let _ = confirmed.send(Some(position.clone()));
        let mut assembler =
            Assembler::new(reader, tables, Transformer::new(modules), position, limit, in_flight.clone(), self.cancel.clone());
        let lane = self.target.lane(&fence).await?;
        let mut stream = Stream { lane, confirmed, board: self.watched.board.clone(), in_flight };
        self.catch_up(&mut assembler).await?;
        loop {
            // Those that an earlier attempt did not come to are among them.
            let wanted = self.note_reloads(&fence, &planned).await?;
            if !wanted.is_empty() {
                self.reload(&fence, &planned, &wanted, &mut assembler, &mut task).await?;
                self.catch_up(&mut assembler).await?;
            }
            let paused = tokio::select! {
                paused = stream.run(&mut assembler, control, self.cancel) => paused,
                ended = &mut task => return Err(capture_ended(ended)),
            };
            let paused = match paused {
                Ok(paused) => paused,
                Err(error) => return Err(self.or_load_again(&fence, &planned, error).await),
            };
            match paused {
                Paused::Cancelled => return Ok(cancelled),
                Paused::Control(Control::Reload { tables, noted }) => {
                    self.watched.reloads.lock().expect("no holder of this lock panics").push(Reload { tables, noted });
                }
            }
        }
    }

    /// The stream begins behind the log's end; it is level when it gets there.
    async fn catch_up(&self, assembler: &mut Assembler) -> Result<(), ConnectorError> {
        assembler.catch_up_to(self.source.log_end().await?);
        self.watched.board.update(|progress| progress.phase = Phase::CatchingUp);
        Ok(())
    }

    /// Begins the task at the target, or finds where it stands.
    async fn stand(&self, planned: &[Arc<PlannedTable>]) -> Result<Standing, TaskError> {
        let identity = self.source.identity().await?;
        let known = self.target.known_task(&self.spec.id).await?.is_some();
        let preparation = preparation_when(self.spec, known);
        let findings = check_tables(self.spec, self.source.as_ref(), self.target.as_ref(), planned, preparation).await?;
        refuse_errors(self.spec, findings, !known)?;
        let TaskRecord { fence, checkpoint, source_identity, tables } = self.take_over().await?;
        match checkpoint {
            None => self.begin(fence, planned, &identity).await,
            Some(position) => {
                if let Some(before) = source_identity.filter(|before| *before != identity) {
                    return Err(ConnectorError::definite(
                        "source_changed",
                        format!("the source is \"{identity}\", and the task began on \"{before}\""),
                    )
                    .hint("connect the endpoint to the database that the task began on, or reload the task")
                    .into());
                }
                self.resume(fence, position, tables, planned).await
            }
        }
    }

    /// Takes the task over, unless another worker did so since this run's last attempt: a run that lost its connection
    /// to a successor must not take the task back.
    async fn take_over(&self) -> Result<TaskRecord, ConnectorError> {
        let held = self.watched.fence.lock().expect("no holder of this lock panics").clone();
        if let Some(Held { mut fence, unsure }) = held {
            match self.target.checkpoint(&fence).await {
                // The answer to this run's own last take-over may have been lost on its way: then it holds the next.
                Err(error) if error.class() == ErrorClass::Fenced && unsure => {
                    fence.generation = fence.generation.saturating_add(1);
                    self.target.checkpoint(&fence).await?;
                }
                told => drop(told?),
            }
            self.hold(Held { fence, unsure: true });
        }
        let record = self.target.take_over(&self.spec.id).await?;
        self.hold(Held { fence: record.fence.clone(), unsure: false });
        Ok(record)
    }

    fn hold(&self, held: Held) {
        *self.watched.fence.lock().expect("no holder of this lock panics") = Some(held);
    }

    async fn begin(&self, fence: Fence, planned: &[Arc<PlannedTable>], identity: &str) -> Result<Standing, TaskError> {
        let loads = self.spec.migration.loads();
        let (position, snapshot) = match (&self.spec.start_position, self.spec.migration.captures()) {
            (Some(position), true) if !loads => (position.clone(), None),
            (_, true) => {
                let CaptureStart { position, snapshot } = self.source.begin_capture(&self.scope(planned)).await?;
                (position, Some(snapshot))
            }
            (_, false) => (self.source.log_end().await?, Some(self.source.snapshot(&self.scope(planned)).await?)),
        };
        let state = if loads { TableState::Waiting } else { TableState::Loaded { window: None } };
        let states: Vec<_> = planned.iter().map(|table| (table.source.schema.name.clone(), state.clone())).collect();
        self.target.begin_task(&fence, &position, identity, &states).await?;
        tracing::info!(task = %self.spec.id, %position, tables = planned.len(), "task begins");
        let mut windows = HashMap::new();
        let mut to_load = Vec::new();
        for table in planned {
            if loads {
                to_load.push(LoadTable { table: table.clone(), preparation: self.spec.preparation, chunks: Vec::new() });
            } else {
                windows.insert(table.source.schema.name.clone(), None);
            }
        }
        let load = snapshot.filter(|_| loads).map(|snapshot| (Arc::from(snapshot), to_load));
        Ok(Standing { fence, position, load, windows })
    }

    async fn resume(
        &self,
        fence: Fence,
        position: Position,
        records: Vec<TableRecord>,
        planned: &[Arc<PlannedTable>],
    ) -> Result<Standing, TaskError> {
        let mut records: HashMap<_, _> = records.into_iter().map(|record| (record.table.clone(), record)).collect();
        let mut windows = HashMap::new();
        let mut unfinished = Vec::new();
        for table in planned {
            let name = &table.source.schema.name;
            match records.remove(name) {
                Some(TableRecord { state: TableState::Loaded { window }, .. }) => {
                    windows.insert(name.clone(), window);
                }
                Some(TableRecord { state: TableState::Suspended { reason }, .. }) => {
                    return Err(ConnectorError::table(name, "table_suspended", format!("table \"{name}\" is suspended: {reason}"))
                        .hint("reload the table")
                        .into());
                }
                Some(TableRecord { state, chunks, .. }) => {
                    let starts_over = state == TableState::Loading && chunks.is_empty();
                    unfinished.push((table.clone(), chunks, starts_over));
                }
                None => {
                    return Err(ConnectorError::table(
                        name,
                        "table_added",
                        format!("table \"{name}\" is selected now and was not when the task began"),
                    )
                    .hint("exclude it, or reload the task: adding tables to a running task does not exist yet")
                    .into());
                }
            }
        }
        tracing::info!(task = %self.spec.id, %position, loaded = windows.len(), unfinished = unfinished.len(), "task goes on");
        if unfinished.is_empty() {
            return Ok(Standing { fence, position, load: None, windows });
        }
        let snapshot: Arc<dyn Snapshot> = Arc::from(self.source.snapshot(&self.scope(planned)).await?);
        let to_load = unfinished
            .into_iter()
            .map(|(table, chunks, starts_over)| self.load_further(snapshot.as_ref(), table, chunks, starts_over))
            .collect();
        Ok(Standing { fence, position, load: Some((snapshot, to_load)), windows })
    }

    /// How an unfinished table goes on. Chunks of two snapshots fit together only when rows have keys and the log
    /// brings both to the same place; otherwise the table starts over.
    fn load_further(&self, snapshot: &dyn Snapshot, table: Arc<PlannedTable>, chunks: Vec<ChunkRecord>, starts_over: bool) -> LoadTable {
        let some_loaded = chunks.iter().any(|record| record.loaded.is_some());
        let keyed = !table.target.identity.is_empty() && !table.target.primary_key.is_empty();
        if some_loaded && keyed && self.spec.migration.captures() && snapshot.resumable(&table.source) {
            return LoadTable { table, preparation: TablePreparation::Keep, chunks };
        }
        let preparation = match self.spec.preparation {
            // Rows of an earlier load are in the table: they go, also where the task was to keep what it found.
            TablePreparation::Keep if some_loaded || starts_over => TablePreparation::Truncate,
            other => other,
        };
        LoadTable { table, preparation, chunks: Vec::new() }
    }

    async fn load(
        &self,
        fence: &Fence,
        load: Option<(Arc<dyn Snapshot>, Vec<LoadTable>)>,
        capture: Option<&mut AbortOnDropHandle<Result<(), ConnectorError>>>,
    ) -> Result<(), TaskError> {
        let Some((snapshot, tables)) = load else { return Ok(()) };
        self.watched.board.update(|progress| progress.phase = Phase::Loading);
        // Readers of MySQL and MariaDB each have a snapshot of their own; without a log to bring them to one place, a
        // table must be read by one of them.
        let exact = self.spec.migration.captures() || self.source.engine() == Engine::Postgres;
        let load = Load {
            snapshot,
            target: self.target.clone(),
            fence: fence.clone(),
            limits: self.spec.limits,
            chunk_rows: if exact { self.spec.limits.chunk_rows } else { u64::MAX },
            modules: self.spec.modules.for_target(self.target.engine()),
            board: self.watched.board.clone(),
        };
        tokio::select! {
            () = self.cancel.cancelled() => Err(TaskError::Cancelled),
            result = load.run(tables) => result,
            ended = ended(capture) => Err(capture_ended(ended)),
        }
    }

    async fn capture(&self, planned: &[Arc<PlannedTable>], position: &Position) -> Result<Capturing, TaskError> {
        let (writer, reader) = cache::open(&self.spec.spool_dir, self.spec.limits.cache_bytes_max).map_err(cache_error)?;
        *self.watched.cache.lock().expect("no holder of this lock panics") = Some(reader.gauge());
        let stream = self.source.open_stream(&self.scope(planned), position).await?;
        let relations = Relations::default();
        let (confirmed, confirmed_by) = watch::channel(None);
        let capture =
            Capture { stream, cache: writer, relations: relations.clone(), confirmed: confirmed_by, board: self.watched.board.clone() };
        let task = AbortOnDropHandle::new(tokio::spawn(capture.run(self.cancel.clone())));
        Ok(Capturing { reader, relations, confirmed, task })
    }

    async fn reload(
        &self,
        fence: &Fence,
        planned: &[Arc<PlannedTable>],
        wanted: &[TableName],
        assembler: &mut Assembler,
        capture: &mut AbortOnDropHandle<Result<(), ConnectorError>>,
    ) -> Result<(), TaskError> {
        let tables: Vec<_> = planned.iter().filter(|table| wanted.contains(&table.source.schema.name)).cloned().collect();
        let snapshot = Arc::from(self.source.snapshot(&self.scope(planned)).await?);
        let to_load = tables
            .iter()
            .map(|table| LoadTable { table: table.clone(), preparation: TablePreparation::Truncate, chunks: Vec::new() })
            .collect();
        self.load(fence, Some((snapshot, to_load)), Some(capture)).await?;
        let loaded: Vec<_> = tables.iter().map(|table| table.source.schema.name.clone()).collect();
        let mut windows = self.windows_of(fence, &loaded).await?;
        for table in tables {
            let window = windows.remove(&table.source.schema.name).flatten();
            assembler.tables.insert(table, window);
        }
        Ok(())
    }

    /// Notes that a table is to be emptied and loaded from its first row, whatever happens until then.
    async fn start_over(&self, fence: &Fence, table: &TableName) -> Result<(), ConnectorError> {
        self.target.save_chunks(fence, table, &[]).await
    }

    /// Makes the target know of every reload that was asked for, and tells who asked; the tables concerned. Any later
    /// attempt loads what this one does not come to.
    async fn note_reloads(&self, fence: &Fence, planned: &[Arc<PlannedTable>]) -> Result<Vec<TableName>, ConnectorError> {
        let wanted: Vec<TableName> = {
            let mut reloads = self.watched.reloads.lock().expect("no holder of this lock panics");
            // Whoever asked during a long load may have given up meanwhile, and was told that nothing happens.
            reloads.retain(|reload| !reload.noted.is_closed());
            reloads.iter().flat_map(|reload| reload.tables.iter().cloned()).collect()
        };
        let names = planned.iter().map(|table| &table.source.schema.name);
        let wanted: Vec<TableName> = names.filter(|name| wanted.contains(name)).cloned().collect();
        for table in &wanted {
            self.start_over(fence, table).await?;
        }
        for reload in self.watched.reloads.lock().expect("no holder of this lock panics").drain(..) {
            let _ = reload.noted.send(());
        }
        Ok(wanted)
    }

    /// Where an interrupted load cannot be finished as it was begun, the next attempt loads the table from its first
    /// row. Other errors stay what they are.
    async fn or_load_again(&self, fence: &Fence, planned: &[Arc<PlannedTable>], error: TaskError) -> TaskError {
        let TaskError::Connector(error) = error else { return error };
        let concerned = |table: &&Arc<PlannedTable>| error.table_name() == Some(&table.source.schema.name);
        let table = planned.iter().find(concerned).filter(|_| LOAD_AGAIN.contains(&error.code()));
        let Some(table) = table else { return error.into() };
        let name = &table.source.schema.name;
        match self.start_over(fence, name).await {
            Ok(()) => ConnectorError::transient("load_again", format!("table \"{name}\" must be loaded again")).caused_by(error).into(),
            Err(failed) => failed.into(),
        }
    }

    /// The windows of tables as the target has them after their load.
    async fn windows_of(&self, fence: &Fence, tables: &[TableName]) -> Result<HashMap<TableName, Option<Window>>, TaskError> {
        let mut windows = HashMap::new();
        for table in tables {
            if let TableState::Loaded { window } = self.target.table_state(fence, table).await? {
                windows.insert(table.clone(), window);
            }
        }
        Ok(windows)
    }

    fn scope(&self, planned: &[Arc<PlannedTable>]) -> CaptureScope {
        CaptureScope { task: self.spec.id.clone(), tables: planned.iter().map(|table| table.source.schema.name.clone()).collect() }
    }

    fn show_tables(&self, planned: &[Arc<PlannedTable>], windows: &HashMap<TableName, Option<Window>>) {
        for table in planned {
            let name = &table.source.schema.name;
            self.watched.board.table(name, |progress| {
                progress.target = Some(table.target.name.clone());
                progress.rows_estimate = table.source.rows_estimate;
                progress.stage = if windows.contains_key(name) { TableStage::Completed } else { TableStage::BeforeLoad };
            });
        }
    }

    async fn stoppable<R>(&self, work: impl Future<Output = Result<R, TaskError>>) -> Result<R, TaskError> {
        tokio::select! {
            () = self.cancel.cancelled() => Err(TaskError::Cancelled),
            result = work => result,
        }
    }
}

fn names(tables: &[LoadTable]) -> Vec<TableName> {
    tables.iter().map(|load| load.table.source.schema.name.clone()).collect()
}

type Ended = Result<Result<(), ConnectorError>, tokio::task::JoinError>;

/// Waits for the end of capture; for ever where there is none.
async fn ended(capture: Option<&mut AbortOnDropHandle<Result<(), ConnectorError>>>) -> Ended {
    match capture {
        Some(capture) => capture.await,
        None => std::future::pending().await,
    }
}

/// Capture never ends well while the attempt goes on, unless both were cancelled.
fn capture_ended(ended: Ended) -> TaskError {
    match ended {
        Ok(Ok(())) => TaskError::Cancelled,
        Ok(Err(error)) => error.into(),
        Err(error) => TaskError::Panicked(error.to_string()),
    }
}
