//! What each table of a task is doing. The host writes the tables that changed; readers get them all.

use serde::{Deserialize, Serialize};
use sqlx::Row;
use tidegate_model::TableName;

use crate::{Catalog, CatalogError};

/// Tables whose records are written at a time. A task may have a hundred thousand, and whoever renews a lease waits meanwhile.
const WRITTEN_AT_A_TIME: usize = 500;

/// A table's stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StageName {
    /// Not started.
    #[default]
    BeforeLoad,
    /// Copying.
    Loading,
    /// Copied (or never loaded); changes are applied.
    Completed,
    /// Out of the task; see [`TableStatusRecord::failure`].
    Failed,
    /// It came later and is left out until it is loaded on request.
    LeftOut,
}

/// One table of a task. Counters are since the run began.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TableStatusRecord {
    /// Schema or database at the source.
    pub schema: String,
    /// Name at the source.
    pub table: String,
    /// Schema in the target.
    pub target_schema: Option<String>,
    /// Name in the target.
    pub target_table: Option<String>,
    /// The stage.
    pub stage: StageName,
    /// Why it is out of the task, without row values.
    pub failure: Option<String>,
    /// Rows by the source's estimate.
    pub rows_estimate: u64,
    /// Rows loaded so far.
    pub rows_loaded: u64,
    /// Chunks planned.
    pub chunks_total: u32,
    /// Chunks loaded.
    pub chunks_loaded: u32,
    /// Inserts captured.
    pub inserts: u64,
    /// Updates captured.
    pub updates: u64,
    /// Deletes captured.
    pub deletes: u64,
    /// Schema changes captured.
    pub ddls: u64,
    /// Inserts that reached the target.
    pub applied_inserts: u64,
    /// Updates that reached the target.
    pub applied_updates: u64,
    /// Deletes that reached the target.
    pub applied_deletes: u64,
    /// Schema changes that reached the target.
    pub applied_ddls: u64,
    /// Rows that went to the error table, or were ignored.
    pub rejected: u64,
    /// Rows that were written with values cut to the task's limit.
    pub cut: u64,
    /// When its load started, microseconds since 1970.
    pub load_started_us: Option<i64>,
    /// When its load ended.
    pub load_ended_us: Option<i64>,
    /// When any of this changed.
    pub updated_us: i64,
}

impl TableStatusRecord {
    /// The name at the source.
    pub fn name(&self) -> TableName {
        TableName::new(&self.schema, &self.table)
    }
}

impl Catalog {
    /// Writes the given tables of a task, leaving its other tables alone. Give only those that changed.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`] when the task does not exist.
    pub async fn put_table_statuses(&self, task: &str, tables: &[TableStatusRecord]) -> Result<(), CatalogError> {
        for part in tables.chunks(WRITTEN_AT_A_TIME) {
            let done = sqlx::query(
                "INSERT INTO table_statuses (tenant, task_id, schema_name, table_name, document)
                 SELECT t.tenant, t.id, one.value ->> '$.schema', one.value ->> '$.table', one.value FROM tasks t, json_each($3) one
                 WHERE t.tenant = $1 AND t.name = $2
                 ON CONFLICT (tenant, task_id, schema_name, table_name) DO UPDATE SET document = excluded.document",
            )
            .bind(self.tenant.as_str())
            .bind(task)
            .bind(serde_json::to_string(part).expect("the records have string keys only"))
            .execute(&self.inner.pool)
            .await?;
            if done.rows_affected() == 0 {
                return Err(CatalogError::not_found("task", task));
            }
        }
        Ok(())
    }

    /// Forgets a task's tables, before a run that selects anew.
    ///
    /// # Errors
    /// [`CatalogError::Storage`].
    pub async fn clear_table_statuses(&self, task: &str) -> Result<(), CatalogError> {
        sqlx::query("DELETE FROM table_statuses WHERE tenant = $1 AND task_id IN (SELECT id FROM tasks WHERE tenant = $1 AND name = $2)")
            .bind(self.tenant.as_str())
            .bind(task)
            .execute(&self.inner.pool)
            .await?;
        Ok(())
    }

    /// A task's tables, by schema and name.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`] when the task does not exist.
    pub async fn list_table_statuses(&self, task: &str) -> Result<Vec<TableStatusRecord>, CatalogError> {
        let id = self.get_task(task).await?.id;
        let rows = sqlx::query("SELECT document FROM table_statuses WHERE tenant = $1 AND task_id = $2 ORDER BY schema_name, table_name")
            .bind(self.tenant.as_str())
            .bind(&id)
            .fetch_all(&self.inner.pool)
            .await?;
        rows.iter()
            .map(|row| serde_json::from_str(row.try_get(0)?).map_err(|error| CatalogError::corrupt("table status of task", task, error)))
            .collect()
    }
}
