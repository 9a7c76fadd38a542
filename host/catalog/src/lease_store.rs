//! Leases of tasks: which host works on which.
//!
//! A lease is taken and given back task by task. A host renews all that it holds by one row of its own, which says until when it
//! is alive: a thousand sleeping tasks then cost what one costs. While that row was never out of date, nobody can have taken
//! a lease of the host's, so it looks at them one by one only when it was.

use std::collections::HashSet;

use sqlx::Row;
use tidegate_model::TenantId;

use crate::{Catalog, CatalogError, now_us, tenant_of};

/// A lease that a host holds, as [`Catalog::acquire_lease`] gave it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HeldLease {
    /// The task's tenant.
    pub tenant: TenantId,
    /// The task's name.
    pub task: String,
    /// The generation of the lease.
    pub generation: i64,
}

impl Catalog {
    /// Takes the task's lease for `owner` until `until_us`, when it is free, expired, or its own already. The answer is
    /// the generation of the lease, raised by one; `None` while another host holds it.
    ///
    /// # Errors
    /// [`CatalogError::Storage`].
    pub async fn acquire_lease(&self, name: &str, owner: &str, until_us: i64) -> Result<Option<i64>, CatalogError> {
        let row = sqlx::query(
            "INSERT INTO leases (tenant, task_id, owner, lease_until, generation)
             SELECT tenant, id, $3, $4, 1 FROM tasks WHERE tenant = $1 AND name = $2
             ON CONFLICT (tenant, task_id) DO UPDATE
             SET owner = excluded.owner, lease_until = excluded.lease_until, generation = leases.generation + 1
             WHERE leases.owner IS NULL OR leases.owner = excluded.owner OR (leases.lease_until < $5
               AND NOT EXISTS (SELECT 1 FROM nodes n WHERE n.name = leases.owner AND n.alive_until >= $5))
             RETURNING generation",
        )
        .bind(self.tenant.as_str())
        .bind(name)
        .bind(owner)
        .bind(until_us)
        .bind(now_us())
        .fetch_optional(&self.inner.pool)
        .await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// Renews the leases that `owner` holds, of any tenants, in one row. Answers those of `held` that were taken over meanwhile or
    /// are gone with their task: their holder must stop. `held` are leases that were acquired by this name and not given back.
    ///
    /// # Errors
    /// [`CatalogError::Storage`]; then it is not known whether they were renewed.
    pub async fn renew_leases(&self, owner: &str, held: &[HeldLease], until_us: i64) -> Result<Vec<HeldLease>, CatalogError> {
        let in_time = sqlx::query("UPDATE nodes SET alive_until = $2 WHERE name = $1 AND alive_until >= $3")
            .bind(owner)
            .bind(until_us)
            .bind(now_us())
            .execute(&self.inner.pool)
            .await?;
        if in_time.rows_affected() > 0 {
            return Ok(Vec::new());
        }
        let mut tx = self.write().await?;
        sqlx::query("INSERT INTO nodes (name, alive_until) VALUES ($1, $2) ON CONFLICT DO UPDATE SET alive_until = excluded.alive_until")
            .bind(owner)
            .bind(until_us)
            .execute(&mut *tx)
            .await?;
        let rows = sqlx::query(
            "SELECT l.tenant, t.name, l.generation FROM leases l JOIN tasks t ON t.tenant = l.tenant AND t.id = l.task_id WHERE l.owner = $1",
        )
        .bind(owner)
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        let mut still = HashSet::with_capacity(rows.len());
        for row in &rows {
            still.insert(HeldLease { tenant: tenant_of(row)?, task: row.try_get(1)?, generation: row.try_get(2)? });
        }
        Ok(held.iter().filter(|lease| !still.contains(lease)).cloned().collect())
    }

    /// Gives a lease back; nothing happens when it was taken over.
    ///
    /// # Errors
    /// [`CatalogError::Storage`].
    pub async fn release_lease(&self, name: &str, generation: i64) -> Result<(), CatalogError> {
        sqlx::query(
            "UPDATE leases SET owner = NULL, lease_until = 0
             WHERE tenant = $1 AND task_id = (SELECT id FROM tasks WHERE tenant = $1 AND name = $2) AND generation = $3",
        )
        .bind(self.tenant.as_str())
        .bind(name)
        .bind(generation)
        .execute(&self.inner.pool)
        .await?;
        Ok(())
    }
}
