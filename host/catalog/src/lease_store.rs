//! Leases of tasks: which host works on which.
//!
//! A lease is taken and given back task by task, and renewed for all tasks of a host in one statement: a thousand sleeping
//! tasks then cost one small transaction each time.

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

/// A statement about the leases of a JSON array of tenants, names and generations ($1) that nobody took since.
macro_rules! of_held {
    ($statement:literal) => {
        concat!(
            $statement,
            " WHERE l.owner IS NOT NULL AND (l.tenant, l.task_id, l.generation) IN
               (SELECT t.tenant, t.id, h.value ->> 2 FROM json_each($1) h
                JOIN tasks t ON t.tenant = h.value ->> 0 AND t.name = h.value ->> 1)"
        )
    };
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
             WHERE leases.owner IS NULL OR leases.owner = excluded.owner OR leases.lease_until < $5
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

    /// Renews leases, of any tenants, all in one statement. Answers those that were taken over or given back: their holder must stop.
    ///
    /// # Errors
    /// [`CatalogError::Storage`]; then it is not known whether any was renewed.
    pub async fn renew_leases(&self, held: &[HeldLease], until_us: i64) -> Result<Vec<HeldLease>, CatalogError> {
        let list =
            serde_json::to_string(&held.iter().map(|lease| (lease.tenant.as_str(), &lease.task, lease.generation)).collect::<Vec<_>>())
                .expect("names and numbers are JSON");
        let done =
            sqlx::query(of_held!("UPDATE leases AS l SET lease_until = $2")).bind(&list).bind(until_us).execute(&self.inner.pool).await?;
        if done.rows_affected() == held.len() as u64 {
            return Ok(Vec::new());
        }
        // A generation never comes again, so what is not there now was not there a moment ago either, or was lost since.
        let rows = sqlx::query(of_held!(
            "SELECT l.tenant, o.name, l.generation FROM leases l JOIN tasks o ON o.tenant = l.tenant AND o.id = l.task_id"
        ))
        .bind(&list)
        .fetch_all(&self.inner.pool)
        .await?;
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
