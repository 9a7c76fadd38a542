//! Tenants, and what each may have.
//!
//! These functions are the operator's: they work the same through every handle. Quotas are checked in the transaction that
//! would go beyond one, so that two requests at once cannot. A quota that is lowered takes nothing away: what is beyond it
//! stays, and nothing is added.

use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, Transaction};
use tidegate_model::TenantId;

use crate::error::is_duplicate;
use crate::module_limits::ModuleLimits;
use crate::{Catalog, CatalogError, now_us};

/// What a tenant may have; `None` stands for no bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TenantQuotas {
    /// Share of a node's units relative to other tenants' when there are too few; unset counts as 1.
    pub weight: Option<u32>,
    /// Units of all its tasks on a node together.
    pub units: Option<u32>,
    /// Tasks.
    pub tasks: Option<u32>,
    /// Modules, by name.
    pub modules: Option<u32>,
    /// Bytes of all versions of all its modules, MiB.
    pub module_mib: Option<u32>,
    /// Sandboxes of its modules on a node at once.
    pub sandboxes: Option<u32>,
    /// Linear memory of all its sandboxes on a node, MiB.
    pub sandbox_memory_mib: Option<u32>,
    /// The most that any of its modules may use. The server's own ceilings hold too.
    pub module_ceilings: ModuleLimits,
}

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantRecord {
    /// Its name.
    pub name: TenantId,
    /// What it may have.
    pub quotas: TenantQuotas,
    /// Microseconds since 1970; 0 for the default tenant.
    pub created_at_us: i64,
}

impl Catalog {
    /// Creates a tenant.
    ///
    /// # Errors
    /// [`CatalogError::AlreadyExists`].
    pub async fn create_tenant(&self, name: &TenantId, quotas: &TenantQuotas) -> Result<TenantRecord, CatalogError> {
        sqlx::query("INSERT INTO tenants (name, quotas, created_at) VALUES ($1, $2, $3)")
            .bind(name.as_str())
            .bind(quotas_text(quotas))
            .bind(now_us())
            .execute(&self.inner.pool)
            .await
            .map_err(|error| if is_duplicate(&error) { CatalogError::exists("tenant", name.as_str()) } else { error.into() })?;
        self.get_tenant(name).await
    }

    /// The tenant with this name.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`].
    pub async fn get_tenant(&self, name: &TenantId) -> Result<TenantRecord, CatalogError> {
        let row = sqlx::query("SELECT * FROM tenants WHERE name = $1").bind(name.as_str()).fetch_optional(&self.inner.pool).await?;
        tenant_from(&row.ok_or_else(|| CatalogError::not_found("tenant", name.as_str()))?)
    }

    /// Every tenant, by name.
    ///
    /// # Errors
    /// [`CatalogError::Storage`].
    pub async fn list_tenants(&self) -> Result<Vec<TenantRecord>, CatalogError> {
        let rows = sqlx::query("SELECT * FROM tenants ORDER BY name").fetch_all(&self.inner.pool).await?;
        rows.iter().map(tenant_from).collect()
    }

    /// Replaces what a tenant may have.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`].
    pub async fn set_tenant_quotas(&self, name: &TenantId, quotas: &TenantQuotas) -> Result<(), CatalogError> {
        let done = sqlx::query("UPDATE tenants SET quotas = $2 WHERE name = $1")
            .bind(name.as_str())
            .bind(quotas_text(quotas))
            .execute(&self.inner.pool)
            .await?;
        if done.rows_affected() == 0 { Err(CatalogError::not_found("tenant", name.as_str())) } else { Ok(()) }
    }

    /// Deletes a tenant with its keys, events and other records.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`]; [`CatalogError::InUse`] while it has a task, an endpoint or a module;
    /// [`CatalogError::Conflict`] for the default tenant, which is who everybody is without keys.
    pub async fn delete_tenant(&self, name: &TenantId) -> Result<(), CatalogError> {
        if *name == TenantId::default() {
            return Err(CatalogError::conflict("tenant", name.as_str(), "the default one", "another tenant to delete"));
        }
        let mut tx = self.write().await?;
        for (kind, statement) in [
            ("task", "SELECT name FROM tasks WHERE tenant = $1 LIMIT 1"),
            ("endpoint", "SELECT name FROM endpoints WHERE tenant = $1 LIMIT 1"),
            ("module", "SELECT name FROM modules WHERE tenant = $1 LIMIT 1"),
        ] {
            if let Some(row) = sqlx::query(statement).bind(name.as_str()).fetch_optional(&mut *tx).await? {
                let by = format!("its {kind} \"{}\"", row.try_get::<String, _>(0)?);
                return Err(CatalogError::InUse { kind: "tenant", name: name.to_string(), by });
            }
        }
        for statement in [
            "DELETE FROM keys WHERE tenant = $1",
            "DELETE FROM events WHERE tenant = $1",
            "DELETE FROM requests WHERE tenant = $1",
            "DELETE FROM resources WHERE tenant = $1",
        ] {
            sqlx::query(statement).bind(name.as_str()).execute(&mut *tx).await?;
        }
        let done = sqlx::query("DELETE FROM tenants WHERE name = $1").bind(name.as_str()).execute(&mut *tx).await?;
        tx.commit().await?;
        if done.rows_affected() == 0 { Err(CatalogError::not_found("tenant", name.as_str())) } else { Ok(()) }
    }

    /// What this handle's tenant may have; unbounded for one that is not there.
    ///
    /// # Errors
    /// [`CatalogError::Storage`], [`CatalogError::Corrupt`].
    pub async fn quotas(&self) -> Result<TenantQuotas, CatalogError> {
        match self.get_tenant(&self.tenant).await {
            Ok(tenant) => Ok(tenant.quotas),
            Err(CatalogError::NotFound { .. }) => Ok(TenantQuotas::default()),
            Err(error) => Err(error),
        }
    }
}

/// What a transaction is about to add.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Addition<'a> {
    /// A task with this lower bound of units.
    Task { min_units: u32 },
    /// Another lower bound for the task with this id.
    MinUnits { id: &'a str, min_units: u32 },
    /// A version of a module.
    Module { name: &'a str, digest: &'a str, bytes_len: i64 },
}

/// Refuses what would go beyond a quota.
///
/// # Errors
/// [`CatalogError::Quota`].
pub(crate) async fn check_quotas(
    tx: &mut Transaction<'static, Sqlite>,
    tenant: &TenantId,
    addition: Addition<'_>,
) -> Result<(), CatalogError> {
    let row = sqlx::query("SELECT * FROM tenants WHERE name = $1").bind(tenant.as_str()).fetch_optional(&mut **tx).await?;
    let Some(quotas) = row.as_ref().map(tenant_from).transpose()?.map(|tenant| tenant.quotas) else { return Ok(()) };
    match addition {
        Addition::Task { min_units } => {
            let tasks = number(tx, "SELECT COUNT(*) FROM tasks WHERE tenant = $1", tenant, &[]).await?;
            within("tasks", "tasks", quotas.tasks, tasks + 1)?;
            let units = number(tx, MIN_UNITS, tenant, &[""]).await?;
            within("units", "units as lower bounds of tasks", quotas.units, units + i64::from(min_units))
        }
        Addition::MinUnits { id, min_units } => {
            let units = number(tx, MIN_UNITS, tenant, &[id]).await?;
            within("units", "units as lower bounds of tasks", quotas.units, units + i64::from(min_units))
        }
        Addition::Module { name, digest, bytes_len } => {
            let others = "SELECT COUNT(DISTINCT name) FROM modules WHERE tenant = $1 AND name <> $2";
            within("modules", "modules", quotas.modules, number(tx, others, tenant, &[name]).await? + 1)?;
            let others = "SELECT COALESCE(SUM(bytes_len), 0) FROM modules WHERE tenant = $1 AND NOT (name = $2 AND digest = $3)";
            let bytes = number(tx, others, tenant, &[name, digest]).await? + bytes_len;
            within("module_bytes", "MiB of modules", quotas.module_mib, (bytes + (1 << 20) - 1) >> 20)
        }
    }
}

/// The sum of the lower bounds of a tenant's other tasks.
const MIN_UNITS: &str = "SELECT COALESCE(SUM(json_extract(definition, '$.min_units')), 0) FROM tasks WHERE tenant = $1 AND id <> $2";

async fn number(
    tx: &mut Transaction<'static, Sqlite>,
    statement: &'static str,
    tenant: &TenantId,
    more: &[&str],
) -> Result<i64, CatalogError> {
    let query = more.iter().fold(sqlx::query(statement).bind(tenant.as_str()), |query, text| query.bind(*text));
    Ok(query.fetch_one(&mut **tx).await?.try_get(0)?)
}

fn within(quota: &'static str, what: &'static str, limit: Option<u32>, wanted: i64) -> Result<(), CatalogError> {
    match limit {
        Some(limit) if wanted > i64::from(limit) => Err(CatalogError::Quota { quota, what, limit, wanted: wanted.unsigned_abs() }),
        Some(_) | None => Ok(()),
    }
}

fn quotas_text(quotas: &TenantQuotas) -> String {
    serde_json::to_string(quotas).expect("quotas have string keys only")
}

fn tenant_from(row: &SqliteRow) -> Result<TenantRecord, CatalogError> {
    let name: &str = row.try_get("name")?;
    let quotas = serde_json::from_str(row.try_get("quotas")?).map_err(|error| CatalogError::corrupt("tenant", name, error))?;
    let name = TenantId::new(name).map_err(|error| CatalogError::corrupt("tenant", name, error))?;
    Ok(TenantRecord { name, quotas, created_at_us: row.try_get("created_at")? })
}
