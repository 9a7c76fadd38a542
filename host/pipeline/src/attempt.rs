//! One attempt of a run: from the target's checkpoint until something ends it.
//!
//! ```text
//!   take over ─▶ plan tables ─▶ begin (first time) or resume ─▶ capture ─▶ change cache ─▶ stream
//!                                                        └────▶ load what is not loaded ──────┘ tables join it
//! ```
//!
//! Tables are loaded beside the stream. A reload lets the stream come to the end of a group, so that nothing of the
//! table is on its way to the target, takes the table out, and goes on: the table comes back as it did the first time.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_connector::{CaptureScope, ConnectorError, ErrorClass, Snapshot, Source, TablePreparation, Target};
use tidegate_model::{Engine, Fence, Position, StopPoint, TableName, Upheaval};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::apply::{Paused, Stream};
use crate::assemble::{Assembler, Beginning, Parts};
use crate::backfill::{Backfill, Order, Unloaded, backfill};
use crate::board::InFlight;
use crate::cache::{self, Aside, Budget, CacheReader};
use crate::capture::{Capture, cache_error};
use crate::catalog_watch::Watch;
use crate::evolution::upheaved;
use crate::gate::Gate;
use crate::lanes::Lanes;
use crate::load::{LoadContext, LoadEvent};
use crate::partition_watch::Looked;
use crate::plan::PlannedTable;
use crate::plane::{self, Plane};
use crate::relations::Relations;
use crate::replay::replay;
use crate::row_errors::REJECTED_MAX;
use crate::run::{Reload, Watched, plan_tables};
use crate::run_settings::{AfterLoad, PrimaryKeys};
use crate::schema::Awaited;
use crate::standing::Standing;
use crate::stop_at::{StopAt, stop_cause};
use crate::swap::{Swapped, agree};
use crate::tables::{Place, Tables};
use crate::task::{Control, Outcome, StopCause, TaskError, TaskSpec};
use crate::transform::Transformer;
use crate::{Phase, TableStage};

/// What an attempt works with; the run owns all of it.
pub(crate) struct Attempt<'a> {
    pub(crate) spec: &'a TaskSpec,
    pub(crate) source: &'a Arc<dyn Source>,
    pub(crate) target: &'a Arc<dyn Target>,
    pub(crate) watched: &'a Arc<Watched>,
    pub(crate) cancel: &'a CancellationToken,
}

/// How an attempt ended without an error.
pub(crate) enum Ended {
    /// The run is over.
    Run(Outcome),
    /// The set of the task's tables is another: the next attempt begins with it at once.
    TablesChanged,
    /// The next attempt begins with a module's new version.
    Swapped(Box<Swapped>),
}

/// Capture while it runs, and the other end of its cache.
struct Capturing {
    reader: CacheReader,
    aside: Aside,
    relations: Relations,
    confirmed: watch::Sender<Option<Position>>,
    log_bytes: Arc<AtomicU64>,
    task: AbortOnDropHandle<Result<(), ConnectorError>>,
}

/// What runs while the stream goes on.
struct Running {
    fence: Fence,
    planned: Vec<Arc<PlannedTable>>,
    suspended: Vec<TableName>,
    capture: AbortOnDropHandle<Result<(), ConnectorError>>,
    backfill: Backfill,
    stream: Stream,
    assembler: Assembler,
}

impl Running {
    /// The task's tables without those that are suspended.
    fn in_task(&self) -> Vec<Arc<PlannedTable>> {
        let wanted = |table: &&Arc<PlannedTable>| !self.suspended.contains(&table.source.schema.name);
        self.planned.iter().filter(wanted).cloned().collect()
    }
}

impl Attempt<'_> {
    /// Runs until the task ends, fails or is cancelled.
    pub(crate) async fn run(&self, control: &mut mpsc::Receiver<Control>) -> Result<Ended, TaskError> {
        let mut selection = self.stoppable(plan_tables(self.spec, self.source.as_ref(), self.target.as_ref())).await?;
        // Before any row of this attempt is read; what an earlier attempt saw counts on.
        let Looked { moved, .. } = self.stoppable(async { Ok(self.look_at_planned(&mut selection.tables).await?) }).await?;
        let planned = &selection.tables;
        let standing = self.stoppable(self.stand(&selection)).await?;
        let watch = Watch::new(&selection, &standing);
        self.watched.board.checkpoint(&standing.checkpoint);
        self.watched.row_errors.start_attempt(self.target.rejected_ids(&standing.fence, REJECTED_MAX).await?);
        self.stoppable(async { Ok(self.keep_control_tables(&standing).await?) }).await?;
        self.show_tables(&standing)?;
        let fence = standing.fence.clone();
        if let Some(error) = moved.iter().find_map(|table| upheaved(table, Upheaval::Moved, &self.spec.ddl)) {
            return self.or_go_on(&fence, planned, error).await;
        }
        let result = if self.spec.migration.captures() {
            plane::enter(Plane::Data).await;
            match self.stoppable(self.start(planned, standing)).await {
                Ok(mut running) => {
                    let result = self.follow(&mut running, watch, control).await;
                    running.backfill.stop().await;
                    result
                }
                Err(error) => Err(error),
            }
        } else {
            let context = self.load_context(&fence, None);
            let Standing { snapshot, unloaded, left_out, checkpoint, .. } = standing;
            let planned: Vec<_> = planned.iter().filter(|table| !left_out.contains(&table.source.schema.name)).cloned().collect();
            self.watched.board.update(|progress| progress.phase = Phase::Loading);
            let order = Order { snapshot, scope: self.scope(&planned), tables: unloaded, since: checkpoint };
            let tables = order.tables.iter().map(|load| (load.table.target.clone(), load.expected())).collect::<Vec<_>>();
            let loaded = self.stoppable(async {
                self.target.release_tables(&fence, &tables).await?;
                backfill(context, order).await?;
                self.finish_schema(&fence, &planned).await
            });
            loaded.await.map(|()| Ended::Run(Outcome { cause: StopCause::FullLoadFinished }))
        };
        match result {
            Ok(ended) => Ok(ended),
            Err(error) => self.or_go_on(&fence, planned, error).await,
        }
    }

    /// Opens the stream at its place, and starts to load what is not loaded.
    async fn start(&self, planned: &[Arc<PlannedTable>], standing: Standing) -> Result<Running, TaskError> {
        let Capturing { reader, aside, relations, confirmed, log_bytes, task } = self.capture(&standing).await?;
        let Standing { fence, checkpoint, stream, places, snapshot, unloaded, suspended, left_out } = standing;
        let (events, loads) = mpsc::unbounded_channel();
        let mut backfill = Backfill::new(self.load_context(&fence, Some(events)));
        let mut tables = Tables::new(relations, self.spec.ddl);
        let loaded = places.iter().filter(|(_, place)| !matches!(place, Place::Loading { .. }));
        let kept: Vec<_> = loaded.map(|(table, _)| (table.target.clone(), TablePreparation::Keep)).collect();
        self.target.prepare_tables(&fence, &kept).await?;
        for (table, place) in places {
            tables.insert(table, place);
        }
        let in_flight = Arc::new(InFlight::default());
        *self.watched.in_flight.lock().expect("no holder of this lock panics") = in_flight.clone();
        let parts = Parts {
            cache: reader,
            aside,
            tables,
            loads,
            transformer: Transformer::following(
                self.spec.modules.for_target(self.target.engine(), self.spec.values.clone()),
                self.watched.row_errors.clone(),
                self.spec.units.clone(),
            ),
            row_errors: self.watched.row_errors.clone(),
            recovery: self.spec.control_tables.as_ref().and_then(|tables| tables.recovery(self.target.engine())),
            group_bytes_max: self.spec.limits.group_bytes_max,
            batch: self.spec.run.batch,
            units: self.spec.units.clone(),
            in_flight: in_flight.clone(),
            log_bytes,
            cancel: self.cancel.clone(),
        };
        let since = checkpoint.clone();
        let mut assembler = Assembler::new(parts, Beginning { checkpoint, stream });
        // What an earlier attempt made durable may not have reached the source.
        let _ = confirmed.send(Some(assembler.confirmable()));
        let stream = Stream {
            lanes: Lanes::new(self.target.clone(), fence.clone(), self.spec.units.clone()),
            confirmed,
            board: self.watched.board.clone(),
            in_flight,
            row_errors: self.watched.row_errors.clone(),
            refused: HashSet::new(),
        };
        let backfill_starts = !unloaded.is_empty();
        if unloaded.is_empty() {
            // The stream begins behind the log's end; it is level when it gets there.
            let log_end = self.source.log_end().await?;
            // Whatever an earlier attempt loaded is older than that.
            assembler.loaded_at = Some(log_end.clone());
            assembler.catch_up_to(log_end);
            self.watched.board.update(|progress| progress.phase = Phase::CatchingUp);
        } else {
            self.release(&fence, &unloaded).await?;
            self.load(&mut backfill, snapshot, unloaded, since);
        }
        self.watched.loads.fetch_or(backfill_starts, Ordering::Relaxed);
        let suspended = suspended.into_iter().map(|(table, _)| table).collect();
        let planned = planned.iter().filter(|table| !left_out.contains(&table.source.schema.name)).cloned().collect();
        Ok(Running { fence, planned, suspended, capture: task, backfill, stream, assembler })
    }

    async fn follow(&self, running: &mut Running, watch: Watch, control: &mut mpsc::Receiver<Control>) -> Result<Ended, TaskError> {
        let rest = Notify::new();
        // A process that dies between the end of the load and that of the run goes on with the changes: from there on
        // nobody can tell it from one that was started again.
        let loads = self.watched.loads.load(Ordering::Relaxed);
        let mut awaited = Awaited::new(if loads { self.spec.run.after_load } else { AfterLoad::GoOn });
        let mut changed = std::pin::pin!(self.tables_changed(watch));
        loop {
            // Those that an earlier attempt did not come to are among them.
            if self.reload(running).await? {
                return Ok(Ended::TablesChanged);
            }
            awaited.prepare(&mut running.assembler);
            let paused = {
                let Running { capture, backfill, stream, assembler, .. } = running;
                let mut streaming = std::pin::pin!(stream.run(assembler, control, &rest, self.cancel));
                loop {
                    tokio::select! {
                        paused = &mut streaming => break paused?,
                        // A stop ends capture too, and maybe sooner.
                        ended = &mut *capture => match capture_ended(ended) {
                            TaskError::Cancelled => break Paused::Cancelled,
                            error => return Err(error),
                        },
                        told = &mut changed => {
                            told?;
                            return Ok(Ended::TablesChanged);
                        }
                        ended = backfill.ended() => {
                            ended?;
                            // A reload may wait for the end of the load that its table is in.
                            if !self.watched.reloads.lock().expect("no holder of this lock panics").is_empty() {
                                rest.notify_one();
                            }
                        }
                    }
                }
            };
            match paused {
                Paused::Cancelled => {
                    self.move_counters_at_stop(&running.fence, &running.in_task()).await;
                    return Ok(Ended::Run(Outcome { cause: StopCause::Cancelled }));
                }
                Paused::Reached => {
                    let planned = running.in_task();
                    if let Some(cause) = awaited.ends(&running.assembler) {
                        return Ok(Ended::Run(Outcome { cause }));
                    }
                    let end = self.spec.stop_position.as_ref().filter(|_| running.assembler.is_at_end());
                    if let Some(point) = end {
                        refuse_newer_load(&running.assembler, point)?;
                    }
                    let reached = self.reached(&running.fence, &planned, &running.assembler, &mut awaited);
                    self.with_capture(&mut running.capture, reached).await?;
                    if let Some(cause) = end.map(stop_cause).or_else(|| awaited.ends(&running.assembler)) {
                        self.move_counters_at_stop(&running.fence, &planned).await;
                        return Ok(Ended::Run(Outcome { cause }));
                    }
                }
                Paused::Control(Control::CutOver { done }) => awaited.cut_over_at(self.source.end_of_commits().await?, done),
                Paused::Rest => {}
                Paused::Control(Control::Swap(swap)) => {
                    let trials = &self.watched.row_errors.trials;
                    let agreed = agree(self.spec, &running.planned, self.source.as_ref(), self.target.as_ref(), *swap, trials);
                    if let Some(swapped) = self.stoppable(agreed).await? {
                        return Ok(Ended::Swapped(Box::new(swapped)));
                    }
                }
                Paused::Control(Control::Replay { tables, done }) => {
                    let (stream, assembler) = (&mut running.stream, &mut running.assembler);
                    match replay(&self.spec.id, &tables, self.target.as_ref(), stream, assembler).await {
                        Err(error) if matches!(error.class(), ErrorClass::Transient | ErrorClass::Fenced) => return Err(error),
                        // Whoever asked may have gone.
                        told => drop(done.send(told)),
                    }
                }
                Paused::Control(Control::Reload { tables, noted }) => {
                    self.watched.reloads.lock().expect("no holder of this lock panics").push(Reload { tables, noted });
                }
            }
        }
    }

    /// Starts the reloads that were asked for. The target knows of them before who asked is told, so that any later
    /// attempt loads what this one does not come to. True when a table that is suspended or left out is among them, which the
    /// stream does not carry.
    async fn reload(&self, running: &mut Running) -> Result<bool, TaskError> {
        let is_loading = |table: &TableName| running.assembler.tables.is_loading(table);
        let now: Vec<Reload> = {
            let mut reloads = self.watched.reloads.lock().expect("no holder of this lock panics");
            // Whoever asked during a long load may have given up meanwhile, and was told that nothing happens.
            reloads.retain(|reload| !reload.noted.is_closed());
            let (later, now) = reloads.drain(..).partition(|reload| reload.tables.iter().any(is_loading));
            *reloads = later;
            now
        };
        let wanted = |table: &&Arc<PlannedTable>| now.iter().any(|reload| reload.tables.contains(&table.source.schema.name));
        let tables: Vec<Arc<PlannedTable>> = running.planned.iter().filter(wanted).cloned().collect();
        let noted = async {
            for table in &tables {
                self.start_over(&running.fence, &table.source.schema.name).await?;
            }
            self.take_in(&running.fence, now.iter().flat_map(|reload| &reload.tables)).await
        };
        let comes_in = match noted.await {
            Ok(comes_in) => comes_in,
            Err(error) => {
                // The next attempt comes to them.
                self.watched.reloads.lock().expect("no holder of this lock panics").extend(now);
                return Err(error.into());
            }
        };
        for reload in now {
            let _ = reload.noted.send(());
        }
        if comes_in || tables.iter().any(|table| running.suspended.contains(&table.source.schema.name)) {
            return Ok(true);
        }
        if !tables.is_empty() {
            let unloaded = tables.iter().map(|table| Unloaded {
                table: table.clone(),
                preparation: TablePreparation::Truncate,
                chunks: Vec::new(),
                starts_over: true,
            });
            let unloaded: Vec<Unloaded> = unloaded.collect();
            self.release(&running.fence, &unloaded).await?;
            let since = running.assembler.load_beside(&tables);
            self.load(&mut running.backfill, None, unloaded, since);
        }
        Ok(false)
    }

    /// Takes away what a load of these tables cannot stand.
    async fn release(&self, fence: &Fence, tables: &[Unloaded]) -> Result<(), ConnectorError> {
        let tables: Vec<_> = tables.iter().map(|load| (load.table.target.clone(), load.expected())).collect();
        self.target.release_tables(fence, &tables).await
    }

    fn load(&self, backfill: &mut Backfill, snapshot: Option<Arc<dyn Snapshot>>, tables: Vec<Unloaded>, since: Position) {
        self.watched.board.update(|progress| progress.phase = Phase::Loading);
        let planned: Vec<_> = tables.iter().map(|unloaded| unloaded.table.clone()).collect();
        for table in &planned {
            self.watched.board.table(&table.source.schema.name, |progress| progress.stage = TableStage::BeforeLoad);
        }
        backfill.start(Order { snapshot, scope: self.scope(&planned), tables, since });
    }

    fn load_context(&self, fence: &Fence, events: Option<mpsc::UnboundedSender<LoadEvent>>) -> LoadContext {
        // Readers of MySQL and MariaDB each have a snapshot of their own; without a log to bring them to one place, a
        // table must be read by one of them.
        let exact = self.spec.migration.captures() || self.source.engine() == Engine::Postgres;
        LoadContext {
            source: self.source.clone(),
            target: self.target.clone(),
            fence: fence.clone(),
            limits: self.spec.limits,
            chunk_rows: if exact { self.spec.limits.chunk_rows } else { u64::MAX },
            modules: self.spec.modules.for_target(self.target.engine(), self.spec.values.clone()),
            board: self.watched.board.clone(),
            row_errors: self.watched.row_errors.clone(),
            lanes: Arc::new(Gate::new(self.spec.units.clone(), self.spec.limits.load_lanes)),
            late_keys: self.spec.run.primary_keys == PrimaryKeys::AfterLoad,
            events,
        }
    }

    async fn capture(&self, standing: &Standing) -> Result<Capturing, TaskError> {
        let budget = Budget { memory: self.spec.limits.cache, units: self.spec.units.clone() };
        let (writer, reader) = cache::open(&self.spec.spool_dir, budget).map_err(cache_error)?;
        let aside = reader.open_aside(&self.spec.spool_dir).map_err(cache_error)?;
        *self.watched.cache.lock().expect("no holder of this lock panics") = Some(reader.gauge());
        let stop = match &self.spec.stop_position {
            Some(point) => {
                let (checkpoint, stream) = (standing.checkpoint.clone(), standing.stream.clone());
                Some(StopAt::new(point, self.source.as_ref(), checkpoint, stream).await?)
            }
            None => None,
        };
        let scope: CaptureScope = standing.scope(self);
        let stream = self.source.open_stream(&scope, &standing.stream).await?;
        let (relations, log_bytes) = (Relations::default(), Arc::new(AtomicU64::new(0)));
        let (confirmed, confirmed_by) = watch::channel(None);
        let capture = Capture {
            stream,
            cache: writer,
            relations: relations.clone(),
            confirmed: confirmed_by,
            board: self.watched.board.clone(),
            source: self.source.clone(),
            stop,
            log_bytes: log_bytes.clone(),
        };
        let task = AbortOnDropHandle::new(tokio::spawn(capture.run(self.cancel.clone())));
        Ok(Capturing { reader, aside, relations, confirmed, log_bytes, task })
    }

    /// Notes that a table is to be emptied and loaded from its first row, whatever happens until then.
    pub(crate) async fn start_over(&self, fence: &Fence, table: &TableName) -> Result<(), ConnectorError> {
        self.watched.row_errors.forget_table(table);
        self.target.save_chunks(fence, table, &[]).await
    }

    /// # Errors
    /// When every table is suspended: nothing is left to do.
    fn show_tables(&self, standing: &Standing) -> Result<(), TaskError> {
        for (table, place) in &standing.places {
            self.watched.board.table(&table.source.schema.name, |progress| {
                progress.target = Some(table.target.name.clone());
                progress.rows_estimate = table.source.rows_estimate;
                progress.stage = if matches!(place, Place::Loading { .. }) { TableStage::BeforeLoad } else { TableStage::Completed };
            });
        }
        for (table, reason) in &standing.suspended {
            self.watched.board.table(table, |progress| progress.stage = TableStage::Failed(reason.clone()));
        }
        match standing.suspended.first() {
            Some((table, reason)) if standing.places.is_empty() => {
                let text = format!("every table of the task is suspended; table \"{table}\": {reason}");
                Err(ConnectorError::definite("table_suspended", text).hint("correct the cause, then reload the task").into())
            }
            _ => Ok(()),
        }
    }

    /// Work at the target while changes are captured: a capture that ends and a cancellation end it too.
    async fn with_capture<R>(
        &self,
        capture: &mut AbortOnDropHandle<Result<(), ConnectorError>>,
        work: impl Future<Output = Result<R, TaskError>>,
    ) -> Result<R, TaskError> {
        tokio::select! {
            () = self.cancel.cancelled() => Err(TaskError::Cancelled),
            result = work => result,
            ended = capture => Err(capture_ended(ended)),
        }
    }

    async fn stoppable<R>(&self, work: impl Future<Output = Result<R, TaskError>>) -> Result<R, TaskError> {
        tokio::select! {
            () = self.cancel.cancelled() => Err(TaskError::Cancelled),
            result = work => result,
        }
    }
}

/// Rows of a load that ended behind the stop position are not those of a moment before it.
fn refuse_newer_load(assembler: &Assembler, point: &StopPoint) -> Result<(), ConnectorError> {
    if assembler.is_exact() || assembler.is_level_with_load() {
        return Ok(());
    }
    let text = format!("the load read rows that are newer than the stop position {point}");
    Err(ConnectorError::definite("stop_position_passed", text).hint("give a later stop position, or none, and resume the task"))
}

/// Capture never ends well while the attempt goes on, unless both were cancelled.
fn capture_ended(ended: Result<Result<(), ConnectorError>, tokio::task::JoinError>) -> TaskError {
    match ended {
        Ok(Ok(())) => TaskError::Cancelled,
        Ok(Err(error)) => error.into(),
        Err(error) => TaskError::Panicked(error.to_string()),
    }
}
