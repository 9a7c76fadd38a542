//! The plans of a target's tables, shared by its loaders and lanes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tidegate_connector::{ColumnOrigin, ConnectorError, Dialect, TargetTable};
use tidegate_model::TableName;
use tokio_postgres::GenericClient;

use super::plan::{TablePlan, misfit};
use super::real::{RealTable, read_real};
use super::session::table_error;

/// Plans by the table's names in the target and at the source.
#[derive(Debug, Default)]
pub(crate) struct Plans(Mutex<HashMap<(TableName, TableName), Arc<TablePlan>>>);

impl Plans {
    /// The plan of exactly this definition, if there is one.
    pub(crate) fn find(&self, table: &Arc<TargetTable>) -> Option<Arc<TablePlan>> {
        let plans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        plans.get(&key(table)).filter(|plan| plan.table.is_same(table)).cloned()
    }

    pub(crate) fn put(&self, plan: Arc<TablePlan>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key(&plan.table), plan);
    }

    /// The plan of this definition; made from the target's catalog when the definition is new.
    pub(crate) async fn get(&self, client: &impl GenericClient, table: &Arc<TargetTable>) -> Result<Arc<TablePlan>, ConnectorError> {
        if let Some(plan) = self.find(table) {
            return Ok(plan);
        }
        let plan = Arc::new(learn(client, table).await?);
        self.put(Arc::clone(&plan));
        Ok(plan)
    }
}

/// Makes a table's plan out of what the target's catalog says.
pub(crate) async fn learn(client: &impl GenericClient, table: &Arc<TargetTable>) -> Result<TablePlan, ConnectorError> {
    let real = read_real(client, &table.name).await?.ok_or_else(|| misfit(table, "table_missing", "found none, wanted one".into()))?;
    plan_of(client, table, &real).await
}

/// Likewise, for a table that was read already. Converts the constants, which changes nothing in the target.
pub(crate) async fn plan_of(client: &impl GenericClient, table: &Arc<TargetTable>, real: &RealTable) -> Result<TablePlan, ConnectorError> {
    let mut plan = TablePlan::new(table, real)?;
    for wanted in &table.columns {
        let ColumnOrigin::Constant(Some(text)) = &wanted.origin else { continue };
        let name_sql = Dialect::POSTGRES.identifier(&wanted.name);
        let Some(at) = plan.columns.iter().position(|column| column.name_sql == name_sql) else { continue };
        let Some(column) = real.columns.iter().find(|column| column.name == wanted.name).filter(|column| column.has_binary) else {
            continue;
        };
        let sql = format!("select {}($1::text::{})", column.send, plan.columns[at].wire_sql);
        let attempted = format!("convert the constant of column {name_sql}");
        let row = client.query_one(&sql, &[text]).await.map_err(|error| table_error(&table.source.schema.name, &attempted, error))?;
        plan.set_constant(at, Bytes::from(row.get::<_, Vec<u8>>(0)));
    }
    Ok(plan)
}

fn key(table: &TargetTable) -> (TableName, TableName) {
    (table.name.clone(), table.source.schema.name.clone())
}
