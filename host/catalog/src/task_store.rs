//! Tasks in the catalog: definitions, requests to start and stop, and what the host writes back.
//!
//! ```text
//!   user:  request_start ─▶ desired running, status starting      request_stop ─▶ desired stopped, status stopping
//!          request_delete ─▶ desired deleted, status deleting
//!   host:  running / stopped / failed by set_status; the record goes by remove_task
//! ```
//!
//! A status that contradicts what the user asked for meanwhile is not recorded: a worker's late "running" never hides
//! that a stop is under way.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, Transaction};
use tidegate_model::{TaskId, TenantId};

use crate::error::is_duplicate;
use crate::task::{Cleanup, Desired, Lease, Migration, Preparation, StartKind, TaskDefinition, TaskProgress, TaskRecord, TaskStatus};
use crate::task_change::{Change, change_of};
use crate::task_modules::store_modules;
use crate::tenant::{Addition, check_quotas};
use crate::{Catalog, CatalogError, new_id, now_us, tenant_of};

/// Endpoints by name: a task keeps their ids, so that renaming an endpoint changes no task.
macro_rules! select_tasks {
    ($rest:literal) => {
        concat!(
            "SELECT t.*, s.name AS source, g.name AS target, c.seq AS change, l.owner AS owner,
               max(coalesce(l.lease_until, 0), coalesce(n.alive_until, 0)) AS lease_until, coalesce(l.generation, 0) AS generation FROM tasks t
             JOIN endpoints s ON s.tenant = t.tenant AND s.id = t.source_id
             JOIN endpoints g ON g.tenant = t.tenant AND g.id = t.target_id
             JOIN task_changes c ON c.tenant = t.tenant AND c.task_id = t.id
             LEFT JOIN leases l ON l.tenant = t.tenant AND l.task_id = t.id
             LEFT JOIN nodes n ON n.name = l.owner
             WHERE ",
            $rest
        )
    };
}

/// The stored document: everything but name and endpoints, which have columns of their own.
#[derive(Serialize, Deserialize)]
struct StoredDefinition {
    migration: Migration,
    preparation: Preparation,
    table_mappings: String,
    settings: Value,
    start_position: Option<String>,
    #[serde(default)]
    stop_position: Option<String>,
    min_units: u32,
    max_units: u32,
    max_lag_seconds: Option<u32>,
    tags: BTreeMap<String, String>,
    dms: Value,
}

impl Catalog {
    /// Creates a task with a fresh id.
    ///
    /// # Errors
    /// [`CatalogError::AlreadyExists`] when the name is taken; [`CatalogError::Quota`]; [`CatalogError::NotFound`] when an endpoint, or a module,
    /// version or alias that the table mappings name, does not exist.
    pub async fn create_task(&self, definition: &TaskDefinition) -> Result<TaskRecord, CatalogError> {
        self.create_task_with_id(&new_id(), definition).await
    }

    /// Creates a task with an id of the caller's choice (DMS: `ResourceIdentifier`).
    ///
    /// # Errors
    /// As [`Catalog::create_task`]; [`CatalogError::AlreadyExists`] also when the id is taken.
    pub async fn create_task_with_id(&self, id: &str, definition: &TaskDefinition) -> Result<TaskRecord, CatalogError> {
        let name = definition.name.as_str();
        let mut tx = self.write().await?;
        let source_id = endpoint_id(&mut tx, &self.tenant, &definition.source).await?;
        let target_id = endpoint_id(&mut tx, &self.tenant, &definition.target).await?;
        check_quotas(&mut tx, &self.tenant, Addition::Task { min_units: definition.min_units }).await?;
        sqlx::query(
            "INSERT INTO tasks (tenant, id, name, source_id, target_id, definition, revision, desired, run_request, start_kind,
                                run_begun, status, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, 1, $7, 0, $8, 0, $9, $10, $10)",
        )
        .bind(self.tenant.as_str())
        .bind(id)
        .bind(name)
        .bind(source_id)
        .bind(target_id)
        .bind(definition_text(definition))
        .bind(json(&Desired::Stopped))
        .bind(json(&StartKind::Start))
        .bind(json(&TaskStatus::Created))
        .bind(now_us())
        .execute(&mut *tx)
        .await
        .map_err(|error| if is_duplicate(&error) { CatalogError::exists("task", name) } else { error.into() })?;
        store_modules(&mut tx, &self.tenant, id, &definition.table_mappings).await?;
        tx.commit().await?;
        self.get_task(name).await
    }

    /// The task with this name.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`].
    pub async fn get_task(&self, name: &str) -> Result<TaskRecord, CatalogError> {
        let row = sqlx::query(select_tasks!("t.tenant = $1 AND t.name = $2"))
            .bind(self.tenant.as_str())
            .bind(name)
            .fetch_optional(&self.inner.pool)
            .await?;
        Ok(self.as_told(task_from(&row.ok_or_else(|| CatalogError::not_found("task", name))?)?))
    }

    /// The task with this id.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`].
    pub async fn get_task_by_id(&self, id: &str) -> Result<TaskRecord, CatalogError> {
        let row = sqlx::query(select_tasks!("t.tenant = $1 AND t.id = $2"))
            .bind(self.tenant.as_str())
            .bind(id)
            .fetch_optional(&self.inner.pool)
            .await?;
        Ok(self.as_told(task_from(&row.ok_or_else(|| CatalogError::not_found("task", id))?)?))
    }

    /// Every task, by name.
    ///
    /// # Errors
    /// [`CatalogError::Storage`].
    pub async fn list_tasks(&self) -> Result<Vec<TaskRecord>, CatalogError> {
        let rows =
            sqlx::query(select_tasks!("t.tenant = $1 ORDER BY t.name")).bind(self.tenant.as_str()).fetch_all(&self.inner.pool).await?;
        rows.iter().map(|row| Ok(self.as_told(task_from(row)?))).collect()
    }

    /// Tasks of all tenants that changed in a way that the host must look at since the change with the number `after`, oldest change
    /// first, with the number to ask after next. 0 asks for every task. Tasks that were removed are not told of.
    ///
    /// # Errors
    /// [`CatalogError::Storage`].
    pub async fn changed_tasks(&self, after: i64) -> Result<(Vec<TaskRecord>, i64), CatalogError> {
        let rows = sqlx::query(select_tasks!("c.seq > $1 ORDER BY c.seq")).bind(after).fetch_all(&self.inner.pool).await?;
        let last = rows.last().map(|row| row.try_get("change")).transpose()?.unwrap_or(after);
        Ok((rows.iter().map(task_from).collect::<Result<_, _>>()?, last))
    }

    /// Replaces a task's definition, if it still has `revision`. Capacity bounds, objective, tags and what DMS echoes
    /// may change at any time. Table mappings and settings may too: a task that runs goes on with them from where it
    /// is. The rest changes only while nothing runs.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`] for the task, a named endpoint or module; [`CatalogError::Conflict`] while it runs or
    /// when somebody else changed it since `revision` was read.
    pub async fn update_task(&self, revision: i64, definition: &TaskDefinition) -> Result<TaskRecord, CatalogError> {
        let name = definition.name.as_str();
        let mut tx = self.write().await?;
        let record = load(&mut tx, &self.tenant, name).await?;
        if record.revision != revision {
            return Err(CatalogError::conflict("task", name, "changed by somebody else", "unchanged since it was read"));
        }
        let change = change_of(&record.definition, definition);
        let may_change = match change {
            Change::Aside => true,
            Change::OfTheWork => !record.status.is_active() || record.desired == Desired::Running,
            Change::OfTheEnds => !record.status.is_active(),
        };
        if !may_change {
            return Err(CatalogError::conflict("task", name, record.status.name(), "created, stopped or failed to change its definition"));
        }
        let source_id = endpoint_id(&mut tx, &self.tenant, &definition.source).await?;
        let target_id = endpoint_id(&mut tx, &self.tenant, &definition.target).await?;
        if definition.min_units > record.definition.min_units {
            check_quotas(&mut tx, &self.tenant, Addition::MinUnits { id: &record.id, min_units: definition.min_units }).await?;
        }
        sqlx::query(
            "UPDATE tasks SET source_id = $3, target_id = $4, definition = $5, revision = revision + 1, updated_at = $6
             WHERE tenant = $1 AND id = $2",
        )
        .bind(self.tenant.as_str())
        .bind(&record.id)
        .bind(source_id)
        .bind(target_id)
        .bind(definition_text(definition))
        .bind(now_us())
        .execute(&mut *tx)
        .await?;
        store_modules(&mut tx, &self.tenant, &record.id, &definition.table_mappings).await?;
        if change == Change::OfTheWork && record.desired == Desired::Running {
            // A new run, which begins as the one before would have gone on.
            sqlx::query("UPDATE tasks SET run_request = run_request + 1, start_kind = $3 WHERE tenant = $1 AND id = $2")
                .bind(self.tenant.as_str())
                .bind(&record.id)
                .bind(json(&record.next_start()))
                .execute(&mut *tx)
                .await?;
        }
        self.committed(tx, name).await
    }

    /// Asks for a run. The task is `starting` when this returns.
    ///
    /// # Errors
    /// [`CatalogError::Conflict`] unless it is created, stopped or failed.
    pub async fn request_start(&self, name: &str, kind: StartKind) -> Result<TaskRecord, CatalogError> {
        let mut tx = self.write().await?;
        let record = load(&mut tx, &self.tenant, name).await?;
        if record.status.is_active() {
            return Err(CatalogError::conflict("task", name, record.status.name(), "created, stopped or failed to start it"));
        }
        sqlx::query(
            "UPDATE tasks SET desired = $3, run_request = run_request + 1, start_kind = $4, status = $5, progress = NULL, started_at = $6
             WHERE tenant = $1 AND id = $2",
        )
        .bind(self.tenant.as_str())
        .bind(&record.id)
        .bind(json(&Desired::Running))
        .bind(json(&kind))
        .bind(json(&TaskStatus::Starting))
        .bind(now_us())
        .execute(&mut *tx)
        .await?;
        self.committed(tx, name).await
    }

    /// Asks for a stop. The task is `stopping` when this returns.
    ///
    /// # Errors
    /// [`CatalogError::Conflict`] unless it is starting or running.
    pub async fn request_stop(&self, name: &str) -> Result<TaskRecord, CatalogError> {
        let mut tx = self.write().await?;
        let record = load(&mut tx, &self.tenant, name).await?;
        if !matches!(record.status, TaskStatus::Starting | TaskStatus::Running { .. }) {
            return Err(CatalogError::conflict("task", name, record.status.name(), "starting or running to stop it"));
        }
        store_state(&mut tx, &self.tenant, &record.id, Desired::Stopped, &TaskStatus::Stopping).await?;
        self.committed(tx, name).await
    }

    /// Asks for the task's removal: the host cleans up at source and target and then calls [`Catalog::remove_task`],
    /// or reports by [`Catalog::set_status`] that it failed, which keeps the task. Asking again is allowed.
    ///
    /// # Errors
    /// [`CatalogError::Conflict`] while it is starting, running or stopping.
    pub async fn request_delete(&self, name: &str, cleanup: Cleanup) -> Result<TaskRecord, CatalogError> {
        let mut tx = self.write().await?;
        let record = load(&mut tx, &self.tenant, name).await?;
        if record.status.is_active() && record.status != TaskStatus::Deleting {
            return Err(CatalogError::conflict("task", name, record.status.name(), "created, stopped or failed to delete it"));
        }
        store_state(&mut tx, &self.tenant, &record.id, Desired::Deleted(cleanup), &TaskStatus::Deleting).await?;
        self.committed(tx, name).await
    }

    /// Commits a wish for a task, and answers the task as it is then: the host may carry the wish out at once, and what is read afterwards
    /// may be what became of it, or that the task is gone.
    async fn committed(&self, mut tx: Transaction<'static, Sqlite>, name: &str) -> Result<TaskRecord, CatalogError> {
        let task = self.as_told(load(&mut tx, &self.tenant, name).await?);
        tx.commit().await?;
        self.wake_host();
        Ok(task)
    }

    /// The host says what a task is doing. `Stopped` and `Failed` also settle the desired state on stopped, so that a
    /// task which could not go on is not started again by the next host.
    ///
    /// Returns false, and records nothing, when the user asked for something else meanwhile: `Starting` and `Running`
    /// count only while running is desired.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`].
    pub async fn set_status(&self, name: &str, status: &TaskStatus) -> Result<bool, CatalogError> {
        let mut tx = self.write().await?;
        let record = load(&mut tx, &self.tenant, name).await?;
        let desired = match status {
            TaskStatus::Starting | TaskStatus::Running { .. } if record.desired != Desired::Running => return Ok(false),
            TaskStatus::Starting | TaskStatus::Running { .. } | TaskStatus::Created | TaskStatus::Stopping | TaskStatus::Deleting => {
                record.desired
            }
            TaskStatus::Stopped { .. } | TaskStatus::Failed(_) => Desired::Stopped,
        };
        store_state(&mut tx, &self.tenant, &record.id, desired, status).await?;
        if !status.is_active() {
            sqlx::query("UPDATE tasks SET stopped_at = $3 WHERE tenant = $1 AND id = $2")
                .bind(self.tenant.as_str())
                .bind(&record.id)
                .bind(now_us())
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        self.wake_api();
        Ok(true)
    }

    /// The host has carried out the beginning of run `run_request`: whoever takes the task up from now on resumes.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`].
    pub async fn set_run_begun(&self, name: &str, run_request: i64) -> Result<(), CatalogError> {
        let done = sqlx::query("UPDATE tasks SET run_begun = $3 WHERE tenant = $1 AND name = $2")
            .bind(self.tenant.as_str())
            .bind(name)
            .bind(run_request)
            .execute(&self.inner.pool)
            .await?;
        if done.rows_affected() == 0 { Err(CatalogError::not_found("task", name)) } else { Ok(()) }
    }

    /// The host's numbers, stored; wakes nobody. Nothing happens when the task is gone. Between two calls
    /// [`Catalog::tell_progress`] keeps readers up to date.
    ///
    /// # Errors
    /// [`CatalogError::Storage`].
    pub async fn set_progress(&self, name: &str, progress: &TaskProgress) -> Result<(), CatalogError> {
        let done = sqlx::query("UPDATE tasks SET progress = $3 WHERE tenant = $1 AND name = $2")
            .bind(self.tenant.as_str())
            .bind(name)
            .bind(json(progress))
            .execute(&self.inner.pool)
            .await?;
        if done.rows_affected() > 0 {
            self.remember(name, progress);
        }
        Ok(())
    }

    /// With the numbers that the host told last, where they are newer than the stored ones.
    fn as_told(&self, mut record: TaskRecord) -> TaskRecord {
        if let Some(progress) = &mut record.progress {
            self.renew_progress(record.definition.name.as_str(), progress);
        }
        record
    }

    /// The host has cleaned up: the record, its table statuses and its requests go. Its events stay.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`]; [`CatalogError::Conflict`] unless the user asked for it.
    pub async fn remove_task(&self, name: &str) -> Result<(), CatalogError> {
        let mut tx = self.write().await?;
        let record = load(&mut tx, &self.tenant, name).await?;
        if !matches!(record.desired, Desired::Deleted(_)) {
            return Err(CatalogError::conflict("task", name, record.status.name(), "deleting to remove it"));
        }
        sqlx::query("DELETE FROM requests WHERE tenant = $1 AND subject = $2 AND kind IN ('check-task', 'reload-tables', 'cut-over')")
            .bind(self.tenant.as_str())
            .bind(name)
            .execute(&mut *tx)
            .await?;
        sqlx::query("DELETE FROM tasks WHERE tenant = $1 AND id = $2")
            .bind(self.tenant.as_str())
            .bind(&record.id)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        self.forget_history(name);
        self.wake_api();
        Ok(())
    }
}

async fn endpoint_id(tx: &mut Transaction<'static, Sqlite>, tenant: &TenantId, name: &str) -> Result<String, CatalogError> {
    let row = sqlx::query("SELECT id FROM endpoints WHERE tenant = $1 AND name = $2")
        .bind(tenant.as_str())
        .bind(name)
        .fetch_optional(&mut **tx)
        .await?;
    Ok(row.ok_or_else(|| CatalogError::not_found("endpoint", name))?.try_get(0)?)
}

async fn load(tx: &mut Transaction<'static, Sqlite>, tenant: &TenantId, name: &str) -> Result<TaskRecord, CatalogError> {
    let row =
        sqlx::query(select_tasks!("t.tenant = $1 AND t.name = $2")).bind(tenant.as_str()).bind(name).fetch_optional(&mut **tx).await?;
    task_from(&row.ok_or_else(|| CatalogError::not_found("task", name))?)
}

async fn store_state(
    tx: &mut Transaction<'static, Sqlite>,
    tenant: &TenantId,
    id: &str,
    desired: Desired,
    status: &TaskStatus,
) -> Result<(), CatalogError> {
    sqlx::query("UPDATE tasks SET desired = $3, status = $4 WHERE tenant = $1 AND id = $2")
        .bind(tenant.as_str())
        .bind(id)
        .bind(json(&desired))
        .bind(json(status))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

fn definition_text(definition: &TaskDefinition) -> String {
    json(&StoredDefinition {
        migration: definition.migration,
        preparation: definition.preparation,
        table_mappings: definition.table_mappings.clone(),
        settings: definition.settings.clone(),
        start_position: definition.start_position.clone(),
        stop_position: definition.stop_position.clone(),
        min_units: definition.min_units,
        max_units: definition.max_units,
        max_lag_seconds: definition.max_lag_seconds,
        tags: definition.tags.clone(),
        dms: definition.dms.clone(),
    })
}

fn task_from(row: &SqliteRow) -> Result<TaskRecord, CatalogError> {
    let name: String = row.try_get("name")?;
    let corrupt = |error: serde_json::Error| CatalogError::corrupt("task", &name, error);
    let stored: StoredDefinition = serde_json::from_str(row.try_get("definition")?).map_err(corrupt)?;
    let progress: Option<&str> = row.try_get("progress")?;
    let definition = TaskDefinition {
        name: TaskId::new(name.clone()).map_err(|error| CatalogError::corrupt("task", &name, error))?,
        source: row.try_get("source")?,
        target: row.try_get("target")?,
        migration: stored.migration,
        preparation: stored.preparation,
        table_mappings: stored.table_mappings,
        settings: stored.settings,
        start_position: stored.start_position,
        stop_position: stored.stop_position,
        min_units: stored.min_units,
        max_units: stored.max_units,
        max_lag_seconds: stored.max_lag_seconds,
        tags: stored.tags,
        dms: stored.dms,
    };
    Ok(TaskRecord {
        tenant: tenant_of(row)?,
        id: row.try_get("id")?,
        definition,
        revision: row.try_get("revision")?,
        desired: serde_json::from_str(row.try_get("desired")?).map_err(corrupt)?,
        run_request: row.try_get("run_request")?,
        start_kind: serde_json::from_str(row.try_get("start_kind")?).map_err(corrupt)?,
        run_begun: row.try_get("run_begun")?,
        status: serde_json::from_str(row.try_get("status")?).map_err(corrupt)?,
        progress: progress.map(serde_json::from_str).transpose().map_err(corrupt)?,
        lease: Lease { owner: row.try_get("owner")?, until_us: row.try_get("lease_until")?, generation: row.try_get("generation")? },
        created_at_us: row.try_get("created_at")?,
        updated_at_us: row.try_get("updated_at")?,
        started_at_us: row.try_get("started_at")?,
        stopped_at_us: row.try_get("stopped_at")?,
    })
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("our own types have string keys only")
}
