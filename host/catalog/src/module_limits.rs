//! What a module may use, as its tenant set it.

use serde::{Deserialize, Serialize};
use sqlx::Row;

use crate::{Catalog, CatalogError};

/// Limits of a module; `None` stands for the server's default. What they mean, and why the defaults are what they are,
/// stands in `docs/modules-limits.md`. A server has ceilings of its own, and the tighter of both holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModuleLimits {
    /// Linear memory of one instance, MiB.
    pub memory_mib: Option<u32>,
    /// CPU time to describe itself and to plan one table, milliseconds.
    pub plan_cpu_ms: Option<u32>,
    /// CPU time of a batch before its rows are counted, milliseconds.
    pub batch_cpu_ms: Option<u32>,
    /// CPU time that each row adds to its batch, microseconds.
    pub row_cpu_us: Option<u32>,
    /// Bytes of one answer, MiB.
    pub output_mib: Option<u32>,
    /// Instances in one process at once.
    pub instances: Option<u32>,
}

impl ModuleLimits {
    /// Field by field, this one's value or else that of `others`.
    #[must_use]
    pub fn or(self, others: ModuleLimits) -> ModuleLimits {
        self.joined(others, Option::or)
    }

    /// Field by field, the smaller value.
    #[must_use]
    pub fn tightest(self, others: ModuleLimits) -> ModuleLimits {
        self.joined(others, |one, two| match (one, two) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        })
    }

    fn joined(self, others: ModuleLimits, join: impl Fn(Option<u32>, Option<u32>) -> Option<u32>) -> ModuleLimits {
        ModuleLimits {
            memory_mib: join(self.memory_mib, others.memory_mib),
            plan_cpu_ms: join(self.plan_cpu_ms, others.plan_cpu_ms),
            batch_cpu_ms: join(self.batch_cpu_ms, others.batch_cpu_ms),
            row_cpu_us: join(self.row_cpu_us, others.row_cpu_us),
            output_mib: join(self.output_mib, others.output_mib),
            instances: join(self.instances, others.instances),
        }
    }
}

impl Catalog {
    /// The limits of a module; all unset when its tenant set none.
    ///
    /// # Errors
    /// [`CatalogError::Storage`], [`CatalogError::Corrupt`].
    pub async fn module_limits(&self, name: &str) -> Result<ModuleLimits, CatalogError> {
        let row = sqlx::query("SELECT document FROM module_limits WHERE tenant = $1 AND module_name = $2")
            .bind(self.tenant.as_str())
            .bind(name)
            .fetch_optional(&self.inner.pool)
            .await?;
        let Some(row) = row else { return Ok(ModuleLimits::default()) };
        serde_json::from_str(row.try_get(0)?).map_err(|error| CatalogError::corrupt("limits of module", name, error))
    }

    /// Replaces the limits of a module.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`].
    pub async fn put_module_limits(&self, name: &str, limits: &ModuleLimits) -> Result<(), CatalogError> {
        let document = serde_json::to_string(limits).expect("limits have string keys only");
        let done = sqlx::query(
            "INSERT INTO module_limits (tenant, module_name, document)
             SELECT $1, $2, $3 WHERE EXISTS (SELECT 1 FROM modules WHERE tenant = $1 AND name = $2)
             ON CONFLICT (tenant, module_name) DO UPDATE SET document = excluded.document",
        )
        .bind(self.tenant.as_str())
        .bind(name)
        .bind(document)
        .execute(&self.inner.pool)
        .await?;
        if done.rows_affected() == 0 { Err(CatalogError::not_found("module", name)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tighter_limit_wins_and_unset_ones_do_not_count() {
        let module = ModuleLimits { memory_mib: Some(32), row_cpu_us: Some(500), ..ModuleLimits::default() };
        let server = ModuleLimits { memory_mib: Some(512), row_cpu_us: Some(100), instances: Some(4), ..ModuleLimits::default() };
        let both = module.tightest(server);
        assert_eq!((both.memory_mib, both.row_cpu_us, both.instances, both.output_mib), (Some(32), Some(100), Some(4), None));
        assert_eq!(module.or(server).row_cpu_us, Some(500));
    }
}
