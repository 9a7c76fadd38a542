//! The rest of the tables' definitions: described at the source, carried to the target's names, built after the load,
//! and counters moved on.
//!
//! ```text
//!   plan ─▶ attach ─▶ load, catch up ─▶ build Loaded ─▶ (stream until the load's windows are behind) ─▶ build Exact ─▶ stream
//!                                            └─ counters                                                   └─ counters at stop and cut-over
//! ```
//!
//! What refuses rows waits for the stage `Exact`: rows of a load that was read at several moments, and changes that are
//! replayed over it, pass through states that the source never had. The stream rests while such objects are built,
//! because a build locks its tables against it; changes wait in the cache meanwhile.

use std::sync::Arc;
use std::time::Duration;

use tidegate_connector::{BuildStage, ConnectorError, CountersSet, Source, TargetObjects, TargetTable};
use tidegate_model::{Engine, Fence, Position, TableName, Window};
use tokio::sync::oneshot;

use crate::assemble::Assembler;
use crate::attempt::Attempt;
use crate::carry::{carry, minimal};
use crate::plan::PlannedTable;
use crate::rest::Rest;
use crate::run_settings::AfterLoad;
use crate::settings::SchemaScope;
use crate::task::{CutOver, StopCause, TaskError};

/// The most that the counters may hold up a stop: a source that is gone must not.
const COUNTERS_AT_STOP: Duration = Duration::from_secs(5);

/// Adds to planned tables what else the target shall have of them.
pub(crate) async fn attach(
    scope: SchemaScope,
    source: &dyn Source,
    target: Engine,
    planned: &mut [PlannedTable],
) -> Result<(), ConnectorError> {
    let names: Vec<TableName> = planned.iter().map(|table| table.source.schema.name.clone()).collect();
    let described = source.describe_objects(&names).await?;
    let objects = match scope {
        SchemaScope::Full => carry(planned, &described, target),
        SchemaScope::Minimal => minimal(planned, &described),
    };
    for (table, objects) in planned.iter_mut().zip(objects) {
        table.target = with_objects(&table.target, objects);
    }
    Ok(())
}

fn with_objects(table: &TargetTable, objects: TargetObjects) -> Arc<TargetTable> {
    Arc::new(TargetTable { objects: Arc::new(objects), ..table.clone() })
}

/// Until where the stream must come before the rows of these windows are those of one moment; `None` when they are.
pub(crate) fn exact_from<'a>(windows: impl IntoIterator<Item = &'a Window>, at: &Position) -> Option<Position> {
    let highs = windows.into_iter().map(|window| &window.high);
    let until = highs.fold(None, |all: Option<Position>, high| Some(all.map_or_else(|| high.clone(), |all| all.union(high))));
    until.filter(|until| !at.covers_position(until))
}

/// What waits until the stream has come to a place in the log.
#[derive(Default)]
pub(crate) struct Awaited {
    /// What is built; `None` after the start and after a load.
    built: Option<BuildStage>,
    /// The source's end when somebody asked for the cut-over, and who.
    cut_overs: Vec<(Position, oneshot::Sender<Result<CutOver, ConnectorError>>)>,
    /// Whether the run ends with its load.
    after_load: AfterLoad,
}

impl Awaited {
    pub(crate) fn new(after_load: AfterLoad) -> Self {
        Self { after_load, ..Self::default() }
    }

    /// Why the run ends here, if it does.
    pub(crate) fn ends(&self, assembler: &Assembler) -> Option<StopCause> {
        match self.after_load {
            AfterLoad::GoOn => None,
            AfterLoad::StopBeforeChanges => assembler.rests_loaded().then_some(StopCause::LoadedBeforeChanges),
            AfterLoad::StopAfterChanges => (self.built.is_some() && assembler.is_level_with_load()).then_some(StopCause::LoadedWithChanges),
        }
    }

    /// A cut-over waits for this place.
    pub(crate) fn cut_over_at(&mut self, position: Position, done: oneshot::Sender<Result<CutOver, ConnectorError>>) {
        self.cut_overs.push((position, done));
    }

    /// Tells the assembler when to rest.
    pub(crate) fn prepare(&mut self, assembler: &mut Assembler) {
        if !assembler.is_whole() {
            self.built = None;
        }
        self.cut_overs.retain(|(_, done)| !done.is_closed());
        assembler.rest_for(Rest {
            loaded: self.after_load == AfterLoad::StopBeforeChanges,
            level: self.after_load == AfterLoad::StopAfterChanges,
            whole: self.built.is_none(),
            exact: self.built == Some(BuildStage::Loaded),
            at: self.cut_overs.first().map(|(position, _)| position.clone()),
        });
    }
}

impl Attempt<'_> {
    /// Builds what a stage may have and shows what could not be carried.
    pub(crate) async fn build(&self, fence: &Fence, planned: &[Arc<PlannedTable>], stage: BuildStage) -> Result<(), TaskError> {
        let tables = targets(planned);
        let omitted = self.target.build_objects(fence, &tables, stage).await?;
        for finding in &omitted {
            tracing::warn!(task = %self.spec.id, code = finding.code, "not carried: {finding}");
        }
        self.watched.board.update(|progress| progress.not_carried.extend(omitted));
        Ok(())
    }

    /// Moves counters to where the source's are now. Returns how many moved.
    pub(crate) async fn move_counters(&self, fence: &Fence, planned: &[Arc<PlannedTable>]) -> Result<u64, TaskError> {
        if self.spec.schema == SchemaScope::Minimal {
            return Ok(0);
        }
        let names: Vec<TableName> = planned.iter().map(|table| table.source.schema.name.clone()).collect();
        let described = self.source.describe_objects(&names).await?;
        let plain: Vec<PlannedTable> = planned.iter().map(|table| PlannedTable::clone(table)).collect();
        let objects = carry(&plain, &described, self.target.engine());
        let tables: Vec<_> = planned.iter().zip(objects).map(|(table, objects)| with_objects(&table.target, objects)).collect();
        let CountersSet { moved, refused } = self.target.set_counters(fence, &tables).await?;
        for finding in refused {
            tracing::warn!(task = %self.spec.id, code = finding.code, "counter not moved: {finding}");
            let notice = format!("{finding}");
            self.watched.board.update(|progress| progress.notices.push(notice));
        }
        Ok(moved)
    }

    /// The same at the end of a run, which it must not hold up: what fails is only told.
    pub(crate) async fn move_counters_at_stop(&self, fence: &Fence, planned: &[Arc<PlannedTable>]) {
        match tokio::time::timeout(COUNTERS_AT_STOP, self.move_counters(fence, planned)).await {
            Ok(Ok(moved)) => tracing::info!(task = %self.spec.id, moved, "counters moved at the stop"),
            Ok(Err(error)) => tracing::warn!(task = %self.spec.id, code = error.code(), "counters not moved: {}", error.chain()),
            Err(_) => tracing::warn!(task = %self.spec.id, "counters not moved: no answer in time"),
        }
    }

    /// After a full load, when nothing follows.
    pub(crate) async fn finish_schema(&self, fence: &Fence, planned: &[Arc<PlannedTable>]) -> Result<(), TaskError> {
        self.build(fence, planned, BuildStage::Final).await?;
        self.move_counters(fence, planned).await.map(|_| ())
    }

    /// The stream rests where it was to: builds what may be there now, and answers who waited for the place.
    pub(crate) async fn reached(
        &self,
        fence: &Fence,
        planned: &[Arc<PlannedTable>],
        assembler: &Assembler,
        awaited: &mut Awaited,
    ) -> Result<(), TaskError> {
        let stage = if assembler.is_exact() { BuildStage::Exact } else { BuildStage::Loaded };
        if awaited.built.is_none() || (awaited.built == Some(BuildStage::Loaded) && stage == BuildStage::Exact) {
            let is_first = awaited.built.is_none();
            self.build(fence, planned, stage).await?;
            awaited.built = Some(stage);
            if is_first {
                self.move_counters(fence, planned).await?;
            }
        }
        let waiting = std::mem::take(&mut awaited.cut_overs);
        let (due, later): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(position, _)| assembler.has_come_to(position));
        awaited.cut_overs = later;
        if due.is_empty() {
            return Ok(());
        }
        // Writers rest, so nothing is to come that the load has seen already.
        self.build(fence, planned, BuildStage::Final).await?;
        awaited.built = Some(BuildStage::Final);
        let moved = self.move_counters(fence, planned).await?;
        for (position, done) in due {
            // Whoever asked may have given up; what was done stays done.
            let _ = done.send(Ok(CutOver { position, counters_moved: moved }));
        }
        Ok(())
    }
}

fn targets(planned: &[Arc<PlannedTable>]) -> Vec<Arc<TargetTable>> {
    planned.iter().map(|table| table.target.clone()).collect()
}
