//! The plans of a target's tables, shared by its loaders and lanes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tidegate_connector::{ConnectorError, TargetTable};
use tidegate_model::TableName;

use super::fault::misfit;
use super::plan::TablePlan;
use super::real::read_real;
use super::session::Server;

/// Plans by the table's names in the target and at the source.
#[derive(Debug, Default)]
pub(crate) struct Plans(Mutex<HashMap<(TableName, TableName), Arc<TablePlan>>>);

impl Plans {
    /// The plan of exactly this definition, if there is one.
    fn find(&self, table: &Arc<TargetTable>) -> Option<Arc<TablePlan>> {
        let plans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        plans.get(&key(table)).filter(|plan| plan.table.is_same(table)).cloned()
    }

    pub(crate) fn put(&self, plan: Arc<TablePlan>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key(&plan.table), plan);
    }

    /// The plan of this definition; made from the target's catalog when the definition is new.
    pub(crate) async fn get(&self, server: &mut Server, table: &Arc<TargetTable>) -> Result<Arc<TablePlan>, ConnectorError> {
        if let Some(plan) = self.find(table) {
            return Ok(plan);
        }
        let plan = Arc::new(learn(server, table).await?);
        self.put(Arc::clone(&plan));
        Ok(plan)
    }
}

/// Makes a table's plan out of what the target's catalog says.
pub(crate) async fn learn(server: &mut Server, table: &Arc<TargetTable>) -> Result<TablePlan, ConnectorError> {
    let real = read_real(server, &table.name).await?.ok_or_else(|| misfit(table, "table_missing", "found none, wanted one".into()))?;
    TablePlan::new(table, &real, server.facts())
}

fn key(table: &TargetTable) -> (TableName, TableName) {
    (table.name.clone(), table.source.schema.name.clone())
}
