//! What tables are called in a task's target, for whoever asks whether tasks meet. Nothing is written, and no row is read.

use std::sync::Arc;

use tidegate_connector::{Source, SourceTable};
use tidegate_model::{Engine, TableName};

use crate::modules::ModuleSet;
use crate::row_errors::RowErrors;
use crate::run::table_names;
use crate::task::{TaskError, TaskSpec};
use crate::transform::Transformer;

/// The names that a task's modules give to tables.
pub struct Naming {
    modules: ModuleSet,
    transformer: Transformer,
}

impl Naming {
    /// Those of a task into a target of this kind.
    pub fn of(spec: &TaskSpec, target: Engine) -> Self {
        let row_errors = Arc::new(RowErrors::new(spec.row_errors, Arc::default()));
        let transformer = Transformer::new(spec.modules.for_target(target, spec.values.clone()), row_errors);
        Self { modules: spec.modules.clone(), transformer }
    }

    /// The table's name in the target; `None` when the task leaves the table out. A table whose name no rule includes costs nothing.
    ///
    /// # Errors
    /// As for a task that plans the table.
    pub async fn in_target(&mut self, table: Arc<SourceTable>) -> Result<Option<TableName>, TaskError> {
        if !self.modules.selected().may_have(&table.schema.name) {
            return Ok(None);
        }
        Ok(self.transformer.plan(table).await?.map(|planned| planned.target.name.clone()))
    }
}

/// The first `count_max` tables of the source that the task may select, by their names.
///
/// # Errors
/// The source's.
pub async fn selected_tables(spec: &TaskSpec, source: &dyn Source, count_max: usize) -> Result<Vec<Arc<SourceTable>>, TaskError> {
    let mut names = table_names(spec, source).await?;
    names.retain(|name| spec.modules.selected().may_have(name));
    names.sort();
    names.truncate(count_max);
    Ok(source.describe(&names).await?)
}
