//! The tables of a task while changes are applied to them: which plan a change follows, and how strictly.

use std::collections::HashMap;
use std::sync::Arc;

use tidegate_connector::{ConnectorError, SourceTable, Strictness};
use tidegate_model::change::RelationId;
use tidegate_model::{Position, TableName, TableSchema, TxMark, Window};

use crate::plan::PlannedTable;
use crate::relations::Relations;
use crate::task::TaskError;
use crate::transform::Transformer;

/// A table that takes part in the stream.
#[derive(Debug)]
struct TaskTable {
    planned: Arc<PlannedTable>,
    /// The load's place in the log, until the stream is past it.
    window: Option<Window>,
}

/// What to do with changes of one relation.
#[derive(Debug, Clone)]
enum Route {
    /// Not a table of the task.
    Skip,
    /// The task's table of that name, by the plan for this description.
    Table(TableName, Arc<PlannedTable>),
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Tables {
    tables: HashMap<TableName, TaskTable>,
    routes: HashMap<RelationId, Route>,
    relations: Relations,
}

impl Tables {
    pub(crate) fn new(relations: Relations) -> Self {
        Self { tables: HashMap::new(), routes: HashMap::new(), relations }
    }

    /// Adds a table, or takes it anew after a reload.
    pub(crate) fn insert(&mut self, planned: Arc<PlannedTable>, window: Option<Window>) {
        self.tables.insert(planned.source.schema.name.clone(), TaskTable { planned, window });
        self.routes.clear();
    }

    /// The plan and the strictness for a change in this transaction; `None` when it does not concern the target:
    /// the table is not in the task, or its snapshot has the transaction already.
    pub(crate) async fn route(
        &mut self,
        relation: RelationId,
        mark: &TxMark,
        transformer: &mut Transformer,
    ) -> Result<Option<(Arc<PlannedTable>, Strictness)>, TaskError> {
        if !self.routes.contains_key(&relation) {
            let route = self.resolve(relation, transformer).await?;
            self.routes.insert(relation, route);
        }
        let Some(Route::Table(name, planned)) = self.routes.get(&relation) else { return Ok(None) };
        let strictness = match self.tables.get(name).and_then(|table| table.window.as_ref()) {
            None => Strictness::Strict,
            Some(window) if window.low.covers(mark) => return Ok(None),
            Some(window) if window.high.covers(mark) => Strictness::Idempotent,
            Some(_) => Strictness::Strict,
        };
        Ok(Some((planned.clone(), strictness)))
    }

    /// Forgets windows that the checkpoint has passed.
    pub(crate) fn passed(&mut self, position: &Position) {
        for table in self.tables.values_mut() {
            if table.window.as_ref().is_some_and(|window| position.covers_position(&window.high)) {
                table.window = None;
            }
        }
    }

    async fn resolve(&self, relation: RelationId, transformer: &mut Transformer) -> Result<Route, TaskError> {
        let Some(described) = self.relations.get(relation) else { return Ok(Route::Skip) };
        let name = described.schema.name.clone();
        let Some(table) = self.tables.get(&name) else { return Ok(Route::Skip) };
        if table.planned.source.schema == described.schema {
            return Ok(Route::Table(name, table.planned.clone()));
        }
        // Rows of this description have other cells than the snapshot's: the plan is made again for them, and must
        // lead to the same table.
        let planned = plan_like(&table.planned, described, transformer).await?;
        Ok(Route::Table(name, planned))
    }
}

async fn plan_like(
    loaded: &PlannedTable,
    described: Arc<SourceTable>,
    transformer: &mut Transformer,
) -> Result<Arc<PlannedTable>, TaskError> {
    let name = described.schema.name.clone();
    if let Some(difference) = difference(&loaded.source.schema, &described.schema) {
        return Err(ConnectorError::table(
            &name,
            "table_changed",
            format!("the definition of table \"{name}\" changed at the source: {difference}"),
        )
        .hint("apply the change to the target and reload the table, or run the task again with drop-and-create")
        .into());
    }
    match transformer.plan(described).await? {
        Some(planned) => Ok(Arc::new(planned)),
        None => {
            Err(ConnectorError::table(&name, "table_changed", format!("the rules leave out table \"{name}\" by its present definition"))
                .into())
        }
    }
}

/// What makes rows of two descriptions lead to different target tables. The order of columns, generated columns that
/// the log does not carry, and facts that only help (native spelling, nullability) do not.
fn difference(loaded: &TableSchema, described: &TableSchema) -> Option<String> {
    for column in &described.columns {
        match loaded.columns.iter().find(|known| known.name == column.name) {
            None => return Some(format!("column \"{}\" is new", column.name)),
            Some(known) if known.sql_type != column.sql_type => {
                return Some(format!("column \"{}\" was {} and is {}", column.name, known.native_type, column.native_type));
            }
            Some(_) => {}
        }
    }
    let missing = loaded.columns.iter().find(|known| !known.generated && described.column_index(&known.name).is_none());
    if let Some(column) = missing {
        return Some(format!("column \"{}\" is gone", column.name));
    }
    let names = |schema: &TableSchema| {
        schema.identity.iter().filter_map(|index| schema.columns.get(*index)).map(|column| column.name.clone()).collect::<Vec<_>>()
    };
    if names(loaded) != names(described) {
        return Some(format!("rows were identified by ({}) and are by ({})", names(loaded).join(", "), names(described).join(", ")));
    }
    None
}
