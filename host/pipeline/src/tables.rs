//! The tables of a task while changes are applied to them: which plan a change follows, and how strictly.
//!
//! ```text
//!   loading ──last chunk──▶ catching up ──level with the others──▶ in the stream
//!      ▲                                                               │
//!      └────────────────────── reload ─────────────────────────────────┘
//! ```
//!
//! The checkpoint holds for tables in the stream. A table that is loading or catching up has a place of its own in the
//! log; its changes are set aside until it is loaded and are then applied beside the stream, so that it holds nobody up.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tidegate_connector::{ConnectorError, SourceTable, Strictness};
use tidegate_model::change::RelationId;
use tidegate_model::{Position, TableName, TableState, TxMark, Window};

use crate::evolution::{Definition, action, as_before, changed, differences};
use crate::plan::PlannedTable;
use crate::relations::Relations;
use crate::settings::{DdlAction, DdlPolicy};
use crate::task::TaskError;
use crate::transform::Transformer;

/// Where a table of the task stands beside the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// Its rows are being copied. What it covers is in every copied row, or will be.
    Loading { since: Position },
    /// It is loaded; the window's low is its place in the log.
    CatchingUp { window: Window },
    /// The checkpoint holds for it. The window, until the stream is past it, is its load's place in the log.
    InStream { window: Option<Window> },
}

/// A table that takes part in the task.
#[derive(Debug)]
struct TaskTable {
    planned: Arc<PlannedTable>,
    place: Place,
    /// The relation that was resolved last. The log describes a table anew and never goes back, so those before it are not needed.
    resolved: Option<RelationId>,
}

/// The plan of the task's table that a relation describes, for this description; `None`: not a table of the task.
type Resolved = Option<Arc<PlannedTable>>;

/// What to do with a change.
#[derive(Debug)]
pub(crate) enum Route {
    /// It does not concern the target: the table is not in the task, or has the transaction already.
    Skip,
    /// Apply it by this plan.
    Apply(Arc<PlannedTable>, Strictness),
    /// The table is not in the stream yet.
    Aside(Arc<PlannedTable>),
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Tables {
    /// In the order of their names, so that what is done for several is done in the same order each time.
    tables: BTreeMap<TableName, TaskTable>,
    /// What is asked for with each group must not look at all tables. Since where those that are loading need their changes, and how many
    /// do from there: many tables share few places.
    loading: Vec<(Position, usize)>,
    /// Those that catch up.
    behind: BTreeSet<TableName>,
    /// Those in the stream whose windows the checkpoint has not passed.
    windowed: BTreeSet<TableName>,
    resolved: HashMap<RelationId, Resolved>,
    described: HashMap<RelationId, Arc<SourceTable>>,
    relations: Relations,
    policy: DdlPolicy,
}

impl Tables {
    pub(crate) fn new(relations: Relations, policy: DdlPolicy) -> Self {
        Self {
            tables: BTreeMap::new(),
            loading: Vec::new(),
            behind: BTreeSet::new(),
            windowed: BTreeSet::new(),
            resolved: HashMap::new(),
            described: HashMap::new(),
            relations,
            policy,
        }
    }

    /// What follows when tables' definitions change.
    pub(crate) fn policy(&self) -> &DdlPolicy {
        &self.policy
    }

    /// Adds a table, or gives it another place.
    pub(crate) fn insert(&mut self, planned: Arc<PlannedTable>, place: Place) {
        let name = planned.source.schema.name.clone();
        if let Some(before) = self.tables.remove(&name) {
            self.leave(&name, &before.place);
        }
        self.arrive(&name, &place);
        // Its loads and the attempt have the plan as well, and go on having it when the log describes the table anew.
        let planned = Arc::new(planned.used_apart());
        self.tables.insert(name, TaskTable { planned, place, resolved: None });
        self.resolved.clear();
    }

    /// The table's plan; `None` while the table is being loaded.
    pub(crate) fn planned(&self, name: &TableName) -> Option<Arc<PlannedTable>> {
        let table = self.tables.get(name).filter(|table| !matches!(table.place, Place::Loading { .. }))?;
        Some(table.planned.clone())
    }

    /// What to do with a change in this transaction. `seen`: the checkpoint covers the transaction.
    pub(crate) async fn route(
        &mut self,
        relation: RelationId,
        mark: &TxMark,
        seen: bool,
        transformer: &mut Transformer,
    ) -> Result<Route, TaskError> {
        let Some(described) = self.described(relation) else { return Ok(Route::Skip) };
        let Some(table) = self.tables.get(&described.schema.name) else { return Ok(Route::Skip) };
        match &table.place {
            Place::Loading { since: has } | Place::CatchingUp { window: Window { low: has, .. } } => {
                Ok(if has.covers(mark) { Route::Skip } else { Route::Aside(table.planned.clone()) })
            }
            Place::InStream { .. } if seen => Ok(Route::Skip),
            // What the table has already may be of an older definition.
            Place::InStream { window: Some(window) } if window.low.covers(mark) => Ok(Route::Skip),
            Place::InStream { window } => {
                let window = window.clone();
                let planned = self.resolve(relation, transformer).await?;
                Ok(planned.map_or(Route::Skip, |planned| by_window(planned, window.as_ref(), mark)))
            }
        }
    }

    /// What to do with a change that was set aside, now that its table is loaded.
    pub(crate) async fn route_aside(
        &mut self,
        relation: RelationId,
        mark: &TxMark,
        transformer: &mut Transformer,
    ) -> Result<Route, TaskError> {
        let Some(described) = self.described(relation) else { return Ok(Route::Skip) };
        let place = self.tables.get(&described.schema.name).map(|table| &table.place);
        let Some(Place::CatchingUp { window }) = place else { return Ok(Route::Skip) };
        if window.low.covers(mark) {
            return Ok(Route::Skip);
        }
        let window = window.clone();
        let planned = self.resolve(relation, transformer).await?;
        Ok(planned.map_or(Route::Skip, |planned| by_window(planned, Some(&window), mark)))
    }

    /// The last chunk of a table is in the target.
    pub(crate) fn loaded(&mut self, table: &TableName, window: Window) {
        self.put(table, Place::CatchingUp { window });
    }

    /// Names of the tables that are loaded and not in the stream.
    pub(crate) fn catching_up(&self) -> &BTreeSet<TableName> {
        &self.behind
    }

    /// True while a table is loaded and not in the stream.
    pub(crate) fn any_catching_up(&self) -> bool {
        !self.behind.is_empty()
    }

    /// True while a table is being loaded.
    pub(crate) fn any_loading(&self) -> bool {
        !self.loading.is_empty()
    }

    /// True while this table is being loaded.
    pub(crate) fn is_loading(&self, table: &TableName) -> bool {
        self.tables.get(table).is_some_and(|table| matches!(table.place, Place::Loading { .. }))
    }

    /// True when the checkpoint holds for every table.
    pub(crate) fn all_in_stream(&self) -> bool {
        !self.any_loading() && !self.any_catching_up()
    }

    /// A table that catches up has this transaction.
    pub(crate) fn advance(&mut self, table: &TableName, mark: &TxMark) {
        if let Some(TaskTable { place: Place::CatchingUp { window }, .. }) = self.tables.get_mut(table) {
            window.low.advance(mark);
        }
    }

    /// A table that catches up is level with the stream, which is at `position`.
    pub(crate) fn join(&mut self, table: &TableName, position: &Position) {
        let Some(TaskTable { place: Place::CatchingUp { window }, .. }) = self.tables.get(table) else { return };
        let window = Window { low: window.low.union(position), high: window.high.clone() };
        self.put(table, Place::InStream { window: Some(window) });
    }

    /// What the target is to remember of a table; `None` for one that is loading, whose load writes that itself.
    pub(crate) fn state(&self, table: &TableName) -> Option<TableState> {
        match &self.tables.get(table)?.place {
            Place::Loading { .. } => None,
            Place::CatchingUp { window } => Some(TableState::CatchingUp { window: window.clone() }),
            Place::InStream { window } => Some(TableState::Loaded { window: window.clone() }),
        }
    }

    /// The place in the log from which the source must keep it, when the target is at `checkpoint`.
    pub(crate) fn keep_from(&self, checkpoint: &Position) -> Position {
        let behind = self.behind.iter().filter_map(|name| match &self.tables.get(name)?.place {
            Place::CatchingUp { window } => Some(&window.low),
            Place::Loading { .. } | Place::InStream { .. } => None,
        });
        let places = self.loading.iter().map(|(since, _)| since).chain(behind);
        places.fold(checkpoint.clone(), |keep, from| keep.intersection(from))
    }

    /// The windows that the checkpoint has not passed.
    pub(crate) fn windows(&self) -> Vec<&Window> {
        self.windowed.iter().filter_map(|name| self.window(name)).collect()
    }

    /// Forgets windows that the checkpoint has passed.
    pub(crate) fn passed(&mut self, position: &Position) {
        let is_passed = |window: &Window| position.covers_position(&window.high) && position.covers_position(&window.low);
        let passed: Vec<TableName> = self.windowed.iter().filter(|name| self.window(name).is_some_and(is_passed)).cloned().collect();
        for name in passed {
            self.put(&name, Place::InStream { window: None });
        }
    }

    fn window(&self, name: &TableName) -> Option<&Window> {
        match &self.tables.get(name)?.place {
            Place::InStream { window } => window.as_ref(),
            Place::Loading { .. } | Place::CatchingUp { .. } => None,
        }
    }

    /// Gives a table of the task another place.
    fn put(&mut self, name: &TableName, place: Place) {
        let Some(table) = self.tables.get_mut(name) else { return };
        let before = std::mem::replace(&mut table.place, place.clone());
        self.leave(name, &before);
        self.arrive(name, &place);
    }

    fn arrive(&mut self, name: &TableName, place: &Place) {
        match place {
            Place::Loading { since } => match self.loading.iter_mut().find(|(other, _)| other == since) {
                Some((_, count)) => *count += 1,
                None => self.loading.push((since.clone(), 1)),
            },
            Place::CatchingUp { .. } => drop(self.behind.insert(name.clone())),
            Place::InStream { window: Some(_) } => drop(self.windowed.insert(name.clone())),
            Place::InStream { window: None } => {}
        }
    }

    fn leave(&mut self, name: &TableName, place: &Place) {
        match place {
            Place::Loading { since } => {
                self.loading.iter_mut().filter(|(other, _)| other == since).for_each(|(_, count)| *count -= 1);
                self.loading.retain(|(_, count)| *count > 0);
            }
            Place::CatchingUp { .. } => drop(self.behind.remove(name)),
            Place::InStream { .. } => drop(self.windowed.remove(name)),
        }
    }

    /// The description behind a number, kept here: it is asked for with each change.
    fn described(&mut self, relation: RelationId) -> Option<Arc<SourceTable>> {
        if let Some(described) = self.described.get(&relation) {
            return Some(described.clone());
        }
        let described = self.relations.get(relation)?;
        self.described.insert(relation, described.clone());
        Some(described)
    }

    async fn resolve(&mut self, relation: RelationId, transformer: &mut Transformer) -> Result<Resolved, TaskError> {
        if let Some(resolved) = self.resolved.get(&relation) {
            return Ok(resolved.clone());
        }
        let resolved = self.resolve_anew(relation, transformer).await?;
        self.resolved.insert(relation, resolved.clone());
        if let Some(planned) = &resolved {
            self.replaced(relation, planned);
        }
        Ok(resolved)
    }

    /// What the relation before this one of the table was resolved to is not used any more, and modules are to forget it.
    fn replaced(&mut self, relation: RelationId, planned: &Arc<PlannedTable>) {
        let Some(table) = self.tables.get_mut(&planned.source.schema.name) else { return };
        let Some(before) = table.resolved.replace(relation).filter(|before| *before != relation) else { return };
        let before = self.resolved.remove(&before).flatten();
        // The plan of the load stays, for comparisons.
        if before.is_some_and(|before| Arc::ptr_eq(&before, &table.planned)) && !Arc::ptr_eq(planned, &table.planned) {
            table.planned = Arc::new(table.planned.used_apart());
        }
    }

    async fn resolve_anew(&mut self, relation: RelationId, transformer: &mut Transformer) -> Result<Resolved, TaskError> {
        let Some(described) = self.described(relation) else { return Ok(None) };
        let Some(table) = self.tables.get(&described.schema.name) else { return Ok(None) };
        if table.planned.source.schema == described.schema && table.planned.source.lineage == described.lineage {
            return Ok(Some(table.planned.clone()));
        }
        // Rows of this description have other cells than the snapshot's: the plan is made again for them, and must
        // lead to the same table.
        let planned = plan_like(&table.planned, described, &self.policy, transformer).await?;
        Ok(Some(planned))
    }
}

fn by_window(planned: Arc<PlannedTable>, window: Option<&Window>, mark: &TxMark) -> Route {
    match window {
        Some(window) if window.low.covers(mark) => Route::Skip,
        Some(window) if window.high.covers(mark) => Route::Apply(planned, Strictness::Idempotent),
        Some(_) | None => Route::Apply(planned, Strictness::Strict),
    }
}

async fn plan_like(
    loaded: &PlannedTable,
    described: Arc<SourceTable>,
    policy: &DdlPolicy,
    transformer: &mut Transformer,
) -> Result<Arc<PlannedTable>, TaskError> {
    let name = described.schema.name.clone();
    let changes = differences(&loaded.definition, &Definition::of(&described));
    let follows = action(&changes, policy);
    if let Some(action @ (DdlAction::Apply | DdlAction::SuspendTable | DdlAction::Stop)) = follows {
        return Err(changed(&name, &changes, action));
    }
    let Some(planned) = transformer.plan(described).await? else {
        let text = format!("the rules leave out table \"{name}\" by its present definition");
        return Err(ConnectorError::table(&name, "table_changed", text).into());
    };
    if follows.is_none() {
        return Ok(Arc::new(planned));
    }
    as_before(&planned, &changes, &loaded.definition).map(Arc::new).ok_or_else(|| changed(&name, &changes, DdlAction::Apply))
}

#[cfg(test)]
mod tests {
    use tidegate_model::{Lsn, SqlType};

    use super::*;
    use crate::large_values::ValueSettings;
    use crate::plan::Draft;
    use crate::test_tables::source_table;

    fn planned(name: &str) -> Arc<PlannedTable> {
        let mut source = source_table(&[("id", SqlType::Int64)]);
        source.schema.name = TableName::new("s", name);
        Arc::new(Draft::new(Arc::new(source)).finish(ValueSettings::default()).expect("a plain table"))
    }

    fn at(lsn: u64) -> Position {
        Position::Postgres(Lsn(lsn))
    }

    fn window(low: u64, high: u64) -> Window {
        Window { low: at(low), high: at(high) }
    }

    /// What is asked with each group: whether any loads, who catches up, from where the log is kept, how many windows are open.
    fn seen(tables: &Tables) -> (bool, Vec<&str>, Position, usize) {
        let behind = tables.catching_up().iter().map(|name| name.name.as_str()).collect();
        (tables.any_loading(), behind, tables.keep_from(&at(90)), tables.windows().len())
    }

    #[test]
    fn places_of_tables_are_known_without_a_look_at_each() {
        let mut tables = Tables::new(Relations::default(), DdlPolicy::default());
        let name = |name: &str| TableName::new("s", name);
        for (table, since) in [("a", 10), ("b", 10), ("c", 20)] {
            tables.insert(planned(table), Place::Loading { since: at(since) });
        }
        tables.insert(planned("d"), Place::InStream { window: Some(window(30, 95)) });
        tables.insert(planned("e"), Place::InStream { window: None });
        assert_eq!(seen(&tables), (true, vec![], at(10), 1));
        tables.loaded(&name("a"), window(15, 40));
        tables.loaded(&name("b"), window(16, 40));
        tables.loaded(&name("unknown"), window(1, 1));
        assert_eq!(seen(&tables), (true, vec!["a", "b"], at(15), 1));
        tables.advance(&name("a"), &TxMark::Postgres { end: Lsn(50) });
        assert_eq!(seen(&tables), (true, vec!["a", "b"], at(16), 1));
        tables.join(&name("b"), &at(90));
        assert_eq!(seen(&tables), (true, vec!["a"], at(20), 2));
        tables.insert(planned("c"), Place::Loading { since: at(60) });
        assert_eq!(seen(&tables), (true, vec!["a"], at(50), 2));
        tables.loaded(&name("c"), window(60, 61));
        tables.join(&name("a"), &at(90));
        tables.join(&name("c"), &at(90));
        assert_eq!((seen(&tables), tables.all_in_stream()), ((false, vec![], at(90), 4), true));
        tables.passed(&at(90));
        assert_eq!(seen(&tables), (false, vec![], at(90), 1));
        tables.passed(&at(95));
        assert_eq!(seen(&tables), (false, vec![], at(90), 0));
        tables.insert(planned("e"), Place::Loading { since: at(80) });
        assert_eq!((seen(&tables), tables.all_in_stream()), ((true, vec![], at(80), 0), false));
    }
}
