//! Where a task stands in its target when an attempt begins, and what follows for each of its tables.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tidegate_connector::{CaptureScope, CaptureStart, ConnectorError, ErrorClass, Snapshot, TablePreparation, TableRecord, TaskRecord};
use tidegate_model::{Fence, Position, StartPoint, TableName, TableState, Window};

use crate::attempt::Attempt;
use crate::backfill::Unloaded;
use crate::catalog_watch::is_shadow;
use crate::evolution::{DROPPED, Definition, SchemaChange, action, as_before, changed, differences_in_catalog};
use crate::plan::PlannedTable;
use crate::run::{Held, Selection, check_tables, preparation_when, refuse_errors};
use crate::run_settings::{PrimaryKeys, TransactionWait};
use crate::settings::DdlAction;
use crate::tables::Place;
use crate::task::TaskError;

/// Where the task stands after it was begun or resumed.
pub(crate) struct Standing {
    pub(crate) fence: Fence,
    pub(crate) checkpoint: Position,
    /// Where the stream starts: at the checkpoint, or earlier where a table has a place of its own.
    pub(crate) stream: Position,
    /// The places of all tables but the suspended ones.
    pub(crate) places: Vec<(Arc<PlannedTable>, Place)>,
    /// Tables to load, and the snapshot where there is one already.
    pub(crate) snapshot: Option<Arc<dyn Snapshot>>,
    pub(crate) unloaded: Vec<Unloaded>,
    /// Suspended tables with their reasons.
    pub(crate) suspended: Vec<(TableName, String)>,
    /// Tables that came later and that the policy for those leaves out.
    pub(crate) left_out: HashSet<TableName>,
}

impl Attempt<'_> {
    /// Begins the task at the target, or finds where it stands.
    pub(crate) async fn stand(&self, selection: &Selection) -> Result<Standing, TaskError> {
        let planned = &selection.tables;
        let identity = self.source.identity().await?;
        let known = self.target.known_task(&self.spec.id).await?;
        let is_new = known.is_none();
        if known.flatten().is_none() {
            self.check(planned, is_new).await?;
        }
        let TaskRecord { fence, checkpoint, source_identity, selection: selected, tables } = self.take_over().await?;
        match checkpoint {
            None => self.begin_task(fence, planned, &identity).await,
            Some(position) => {
                if let Some(before) = source_identity.filter(|before| *before != identity) {
                    self.source.succeeds(&before, &places(&position, &tables)).await?;
                    tracing::warn!(task = %self.spec.id, before, now = identity, "the source is another one, which has what the task has read");
                    self.target.save_identity(&fence, &identity).await?;
                }
                let standing = self.resume(fence, position, tables, selection, selected.as_deref()).await?;
                self.check_standing(&standing).await?;
                Ok(standing)
            }
        }
    }

    /// Tables that start over are made to fit when their load begins. One that is dropped first is checked as for a new
    /// task: a load that was cut off may have made it after a definition that has changed since.
    async fn check_standing(&self, standing: &Standing) -> Result<(), TaskError> {
        let drops = self.spec.preparation == TablePreparation::DropAndCreate;
        let late_keys = self.spec.run.primary_keys == PrimaryKeys::AfterLoad;
        let (mut anew, mut fitting) = (Vec::new(), Vec::new());
        let unloaded: HashMap<&TableName, &Unloaded> =
            standing.unloaded.iter().map(|unloaded| (&unloaded.table.source.schema.name, unloaded)).collect();
        for (table, _) in &standing.places {
            match unloaded.get(&table.source.schema.name) {
                Some(unloaded) if drops && (late_keys || unloaded.chunks.iter().all(|record| record.loaded.is_none())) => {
                    anew.push(table.clone());
                }
                Some(unloaded) if unloaded.starts_over => {}
                _ => fitting.push(table.clone()),
            }
        }
        self.check_as(&fitting, preparation_when(self.spec, true), false).await?;
        if anew.is_empty() { Ok(()) } else { self.check_as(&anew, self.spec.preparation, false).await }
    }

    async fn check(&self, tables: &[Arc<PlannedTable>], begins: bool) -> Result<(), TaskError> {
        self.check_as(tables, preparation_when(self.spec, !begins), begins).await
    }

    async fn check_as(&self, tables: &[Arc<PlannedTable>], preparation: TablePreparation, begins: bool) -> Result<(), TaskError> {
        let findings = check_tables(self.spec, self.source.as_ref(), self.target.as_ref(), tables, preparation).await?;
        refuse_errors(self.spec, findings, begins)
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

    async fn begin_task(&self, fence: Fence, planned: &[Arc<PlannedTable>], identity: &str) -> Result<Standing, TaskError> {
        let loads = self.spec.migration.loads();
        let (position, snapshot) = match (&self.spec.start_position, self.spec.migration.captures()) {
            (Some(point), true) if !loads => {
                let position = self.start_position(point).await?;
                self.source.adopt_capture(&self.scope(planned), &position).await?;
                (position, None)
            }
            (_, true) => {
                let CaptureStart { position, snapshot } = self.begin_capture(&self.scope(planned)).await?;
                (position, Some(snapshot))
            }
            (_, false) => (self.source.log_end().await?, Some(self.source.snapshot(&self.scope(planned)).await?)),
        };
        let state = if loads { TableState::Waiting } else { TableState::Loaded { window: None } };
        let states: Vec<_> = planned.iter().map(|table| (table.source.schema.name.clone(), state.clone())).collect();
        self.target.begin_task(&fence, &position, identity, &states).await?;
        self.target.save_selection(&fence, self.spec.modules.selection()).await?;
        self.found_left_out(HashSet::new());
        tracing::info!(task = %self.spec.id, %position, tables = planned.len(), "task begins");
        let mut standing = Standing::at(fence, position);
        standing.snapshot = snapshot.filter(|_| loads).map(Arc::from);
        for table in planned {
            if !loads {
                let name = &table.source.schema.name;
                self.target.save_definition(&standing.fence, name, &table.definition.to_text()).await?;
            }
            if loads {
                standing.load(self.unloaded(table, Vec::new(), false));
            } else {
                standing.places.push((table.clone(), Place::InStream { window: None }));
            }
        }
        Ok(standing)
    }

    /// The position that a start position names.
    async fn start_position(&self, point: &StartPoint) -> Result<Position, ConnectorError> {
        match point {
            StartPoint::Position(position) => Ok(position.clone()),
            StartPoint::Time(us) => self.source.position_at(&self.spec.id, *us).await,
            StartPoint::Place(place) => self.source.position_of(place).await?.ok_or_else(|| {
                ConnectorError::definite("position_ahead", format!("the source's log has not come to the start position \"{place}\""))
            }),
        }
    }

    /// Begins to capture; tells, or fails, when the source's open transactions hold that up for long.
    async fn begin_capture(&self, scope: &CaptureScope) -> Result<CaptureStart, ConnectorError> {
        let TransactionWait { limit, fails } = self.spec.run.transaction_wait;
        let mut begun = std::pin::pin!(self.source.begin_capture(scope));
        let Some(limit) = limit else { return begun.await };
        match tokio::time::timeout(limit, &mut begun).await {
            Ok(begun) => return begun,
            Err(_) if fails => {
                let text = format!("the source did not get ready to capture within {} s: transactions are open there", limit.as_secs());
                return Err(ConnectorError::definite("transactions_open", text)
                    .hint("end them at the source (pg_stat_activity, xact_start; pg_prepared_xacts), then start the task again"));
            }
            Err(_) => {}
        }
        let notice = format!("the start waits for transactions that are open at the source, since more than {} s", limit.as_secs());
        tracing::warn!(task = %self.spec.id, "{notice}");
        self.watched.board.update(|progress| progress.notices.push(notice));
        begun.await
    }

    async fn resume(
        &self,
        fence: Fence,
        checkpoint: Position,
        records: Vec<TableRecord>,
        selection: &Selection,
        selected: Option<&str>,
    ) -> Result<Standing, TaskError> {
        // Otherwise a table without a record may be one that the rules select since.
        let same_rules = selected == Some(self.spec.modules.selection());
        let mut records: HashMap<_, _> = records.into_iter().map(|record| (record.table.clone(), record)).collect();
        let mut standing = Standing::at(fence, checkpoint);
        // Tables whose changes up to now nobody needs.
        let mut added = Vec::new();
        for table in &selection.tables {
            let name = &table.source.schema.name;
            let record = match records.remove(name) {
                // The table that it is a copy of is in the task, or will be by that one's name.
                None if is_shadow(self.source.as_ref(), name, &selection.names) => {
                    tracing::info!(task = %self.spec.id, table = %name, "table of an online schema change is left out");
                    continue;
                }
                None if same_rules && !self.takes_newcomers() => {
                    self.leave_out(&standing.fence, name).await?;
                    standing.left_out.insert(name.clone());
                    continue;
                }
                record => record,
            };
            let (table, changes) = match &record {
                Some(record) => self.compare(&standing.fence, table, record).await?,
                None => (table.clone(), None),
            };
            if let Some((changes, action)) = changes {
                self.settle_changed(&mut standing, &table, &changes, action).await?;
                added.push(name.clone());
                continue;
            }
            match record.map(|record| (record.state, record.chunks)) {
                Some((TableState::Loaded { window }, _)) => standing.places.push((table, Place::InStream { window })),
                Some((TableState::CatchingUp { window }, _)) => {
                    standing.stream = standing.stream.intersection(&window.low);
                    standing.places.push((table, Place::CatchingUp { window }));
                }
                Some((TableState::Suspended { reason }, _)) => standing.suspended.push((name.clone(), reason)),
                Some((TableState::LeftOut, _)) => drop(standing.left_out.insert(name.clone())),
                Some((state @ (TableState::Waiting | TableState::Loading), chunks)) => {
                    let starts_over = state == TableState::Loading && chunks.is_empty();
                    if chunks.iter().all(|record| record.loaded.is_none()) {
                        added.push(name.clone());
                    }
                    standing.load(self.unloaded(&table, chunks, starts_over));
                }
                None => {
                    added.push(name.clone());
                    self.add(&mut standing, &table).await?;
                }
            }
        }
        // The selection knows only the tables that the rules name, where they name each; these are no longer among them, or gone.
        let left: Vec<TableName> = records.keys().cloned().collect();
        let existing: HashSet<TableName> =
            if left.is_empty() { HashSet::new() } else { self.source.existing_tables(&left).await?.into_iter().collect() };
        let (there, gone): (Vec<_>, Vec<_>) = records.into_values().partition(|record| existing.contains(&record.table));
        self.let_go(&standing, there.into_iter()).await?;
        self.settle_gone(&standing, gone).await?;
        if !same_rules {
            self.target.save_selection(&standing.fence, self.spec.modules.selection()).await?;
        }
        self.found_left_out(standing.left_out.clone());
        let Standing { checkpoint, stream, places, unloaded, suspended, .. } = &standing;
        tracing::info!(task = %self.spec.id, position = %checkpoint, stream = %stream, tables = places.len(),
            unloaded = unloaded.len(), suspended = suspended.len(), "task goes on");
        if self.spec.migration.captures() {
            self.source.extend_capture(&standing.scope(self), &added).await?;
            self.skip_before_now(&mut standing, &added).await?;
        }
        Ok(standing)
    }

    /// A table that is selected now and was not before.
    async fn add(&self, standing: &mut Standing, table: &Arc<PlannedTable>) -> Result<(), ConnectorError> {
        let name = &table.source.schema.name;
        tracing::info!(task = %self.spec.id, table = %name, "table is added to the task");
        if self.spec.migration.loads() {
            self.target.save_table(&standing.fence, name, &TableState::Waiting).await?;
            standing.load(self.unloaded(table, Vec::new(), false));
        } else {
            self.target.save_definition(&standing.fence, name, &table.definition.to_text()).await?;
            standing.places.push((table.clone(), Place::InStream { window: None }));
        }
        Ok(())
    }

    /// A table that is added to a task without a load begins with the transactions that begin from now on. The snapshot
    /// is taken for its wait alone: of a transaction that is still open the log may have only a part.
    async fn skip_before_now(&self, standing: &mut Standing, added: &[TableName]) -> Result<(), ConnectorError> {
        if self.spec.migration.loads() || added.is_empty() {
            return Ok(());
        }
        drop(self.source.snapshot(&CaptureScope { task: self.spec.id.clone(), tables: added.to_vec() }).await?);
        let now = self.source.log_end().await?;
        for (table, place) in &mut standing.places {
            let name = &table.source.schema.name;
            if added.contains(name) {
                let window = Some(Window { low: now.clone(), high: now.clone() });
                *place = Place::InStream { window: window.clone() };
                self.target.save_table(&standing.fence, name, &TableState::Loaded { window }).await?;
            }
        }
        Ok(())
    }

    /// The plan of a table for the definition that its rows in the target are of. With changes where something must
    /// follow from them first.
    async fn compare(
        &self,
        fence: &Fence,
        table: &Arc<PlannedTable>,
        record: &TableRecord,
    ) -> Result<(Arc<PlannedTable>, Option<(Vec<SchemaChange>, DdlAction)>), TaskError> {
        let has_rows = match &record.state {
            TableState::Loaded { .. } | TableState::CatchingUp { .. } => true,
            TableState::Loading => record.chunks.iter().any(|record| record.loaded.is_some()),
            TableState::Waiting | TableState::Suspended { .. } | TableState::LeftOut => false,
        };
        if !has_rows {
            return Ok((table.clone(), None));
        }
        let Some(text) = &record.definition else {
            // An earlier version began the task.
            self.target.save_definition(fence, &record.table, &table.definition.to_text()).await?;
            return Ok((table.clone(), None));
        };
        let before = Definition::parse(text)?;
        let changes = differences_in_catalog(&before, &table.definition);
        let action = action(&changes, &self.spec.ddl);
        let before = match before.with_parts_of(&table.definition) {
            Some(now) if action.is_none_or(|action| action == DdlAction::Ignore) => {
                self.target.save_definition(fence, &record.table, &now.to_text()).await?;
                now
            }
            _ => before,
        };
        let before = Arc::new(before);
        match action {
            None => Ok((table.clone(), None)),
            // Chunks to come would be of the new definition.
            Some(DdlAction::Ignore) if record.state == TableState::Loading => Ok((table.clone(), Some((changes, DdlAction::Apply)))),
            Some(DdlAction::Ignore) => Ok(match as_before(table, &changes, &before) {
                Some(planned) => (Arc::new(planned), None),
                None => (table.clone(), Some((changes, DdlAction::Apply))),
            }),
            Some(action) => Ok((table.clone(), Some((changes, action)))),
        }
    }

    async fn settle_changed(
        &self,
        standing: &mut Standing,
        table: &Arc<PlannedTable>,
        changes: &[SchemaChange],
        action: DdlAction,
    ) -> Result<(), TaskError> {
        let name = &table.source.schema.name;
        let error = changed(name, changes, action);
        match action {
            DdlAction::Stop => return Err(error),
            DdlAction::SuspendTable => {
                let reason = format!("{}: {}", error.code(), error.chain());
                tracing::error!(task = %self.spec.id, table = %name, code = error.code(), "table is suspended: {}", error.chain());
                self.target.save_table(&standing.fence, name, &TableState::Suspended { reason: reason.clone() }).await?;
                standing.suspended.push((name.clone(), reason));
            }
            DdlAction::Apply | DdlAction::Ignore => {
                tracing::warn!(task = %self.spec.id, table = %name, "{}; it is loaded again", error.chain());
                self.start_over(&standing.fence, name).await?;
                standing.load(self.unloaded(table, Vec::new(), true));
            }
        }
        Ok(())
    }

    /// Tables that the source no longer has by the name that it had. The target's table goes only where it is sure that
    /// the source's was dropped, and not renamed.
    async fn settle_gone(&self, standing: &Standing, records: Vec<TableRecord>) -> Result<(), TaskError> {
        for TableRecord { table, state, definition, .. } in records {
            match state {
                TableState::Waiting | TableState::Suspended { .. } => continue,
                TableState::LeftOut => {
                    self.target.forget_table(&standing.fence, &table).await?;
                    continue;
                }
                TableState::Loading | TableState::CatchingUp { .. } | TableState::Loaded { .. } => {}
            }
            let noted = self.watched.dropped.lock().expect("no holder of this lock panics").remove(&table);
            let (dropped, target) = self.fate(definition.as_deref(), noted).await?;
            let action = if dropped { self.spec.ddl.drop_table } else { self.spec.ddl.rename_table };
            let what = if dropped { "was dropped" } else { "has no longer its name" };
            let text = format!("table \"{table}\" {what} at the source");
            match (action, target) {
                (DdlAction::Stop, _) => {
                    return Err(ConnectorError::definite(DROPPED, text).hint("take the table out of the task").into());
                }
                (DdlAction::SuspendTable, _) => {
                    tracing::warn!(task = %self.spec.id, table = %table, "{text}");
                    self.target.save_table(&standing.fence, &table, &TableState::Suspended { reason: text }).await?;
                    continue;
                }
                (DdlAction::Apply, Some(target)) if dropped => {
                    tracing::warn!(task = %self.spec.id, table = %table, target = %target, "{text}; it is dropped in the target");
                    self.target.drop_table(&standing.fence, &target).await?;
                }
                (DdlAction::Apply | DdlAction::Ignore, _) => {
                    tracing::warn!(task = %self.spec.id, table = %table, "{text}; its rows stay in the target");
                }
            }
            self.target.save_table(&standing.fence, &table, &TableState::Waiting).await?;
        }
        Ok(())
    }

    /// Whether a table that is gone from its name was dropped, and the name that it has in the target.
    async fn fate(&self, definition: Option<&str>, noted: Option<TableName>) -> Result<(bool, Option<TableName>), TaskError> {
        let definition = definition.map(Definition::parse).transpose()?;
        let target = noted.clone().or_else(|| definition.as_ref().and_then(Definition::target));
        let dropped = match definition {
            Some(definition) if definition.lineage().is_some() => !self.is_renamed(&definition).await?,
            Some(_) | None => noted.is_some(),
        };
        Ok((dropped, target))
    }

    /// Tables that are no longer selected miss changes from now on: should they be selected again, they start over.
    async fn let_go(&self, standing: &Standing, records: impl Iterator<Item = TableRecord>) -> Result<(), ConnectorError> {
        let starts_over = |record: &TableRecord| match record.state {
            TableState::Waiting => true,
            TableState::Loading => record.chunks.is_empty(),
            TableState::CatchingUp { .. } | TableState::Loaded { .. } | TableState::Suspended { .. } | TableState::LeftOut => false,
        };
        for record in records.filter(|record| !starts_over(record)) {
            if record.state == TableState::LeftOut {
                self.target.forget_table(&standing.fence, &record.table).await?;
                continue;
            }
            tracing::info!(task = %self.spec.id, table = %record.table, "table is no longer in the task");
            self.target.save_chunks(&standing.fence, &record.table, &[]).await?;
        }
        Ok(())
    }

    fn unloaded(&self, table: &Arc<PlannedTable>, chunks: Vec<tidegate_connector::ChunkRecord>, starts_over: bool) -> Unloaded {
        Unloaded { table: table.clone(), preparation: self.spec.preparation, chunks, starts_over }
    }

    /// The capture's scope for these tables.
    pub(crate) fn scope(&self, tables: &[Arc<PlannedTable>]) -> CaptureScope {
        CaptureScope { task: self.spec.id.clone(), tables: tables.iter().map(|table| table.source.schema.name.clone()).collect() }
    }
}

/// Every place in the source's log that the target's rows are of.
fn places(checkpoint: &Position, tables: &[TableRecord]) -> Vec<Position> {
    let mut places = vec![checkpoint.clone()];
    for record in tables {
        let window = match &record.state {
            TableState::CatchingUp { window } => Some(window),
            TableState::Loaded { window } => window.as_ref(),
            TableState::Waiting | TableState::Loading | TableState::Suspended { .. } | TableState::LeftOut => None,
        };
        let chunks = record.chunks.iter().filter_map(|record| record.loaded.as_ref()).map(|(window, _)| window);
        places.extend(window.into_iter().chain(chunks).flat_map(|window| [window.low.clone(), window.high.clone()]));
    }
    places
}

impl Standing {
    fn at(fence: Fence, checkpoint: Position) -> Self {
        let stream = checkpoint.clone();
        Self {
            fence,
            checkpoint,
            stream,
            places: Vec::new(),
            snapshot: None,
            unloaded: Vec::new(),
            suspended: Vec::new(),
            left_out: HashSet::new(),
        }
    }

    /// The chunks that are in the target need the log from their own snapshot on; for other tables it is enough to have
    /// the changes from now on, because their snapshot is still to be taken.
    fn load(&mut self, unloaded: Unloaded) {
        let lows = unloaded.chunks.iter().filter_map(|record| record.loaded.as_ref()).map(|(window, _)| &window.low);
        let since = lows.fold(self.checkpoint.clone(), |since, low| since.intersection(low));
        self.stream = self.stream.intersection(&since);
        self.places.push((unloaded.table.clone(), Place::Loading { since }));
        self.unloaded.push(unloaded);
    }

    /// What the stream brings.
    pub(crate) fn scope(&self, attempt: &Attempt<'_>) -> CaptureScope {
        attempt.scope(&self.places.iter().map(|(table, _)| table.clone()).collect::<Vec<_>>())
    }
}
