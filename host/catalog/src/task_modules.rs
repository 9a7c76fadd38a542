//! Which modules a task's table mappings name, kept beside the task.

use std::collections::BTreeSet;

use serde_json::Value;
use sqlx::{Sqlite, Transaction};
use tidegate_model::TenantId;

use crate::CatalogError;
use crate::module::ModuleVersion;

/// Replaces what is kept for a task.
///
/// # Errors
/// [`CatalogError::NotFound`] for a module, version or alias that does not exist.
pub(crate) async fn store_modules(
    tx: &mut Transaction<'static, Sqlite>,
    tenant: &TenantId,
    task_id: &str,
    table_mappings: &str,
) -> Result<(), CatalogError> {
    sqlx::query("DELETE FROM task_modules WHERE tenant = $1 AND task_id = $2")
        .bind(tenant.as_str())
        .bind(task_id)
        .execute(&mut **tx)
        .await?;
    for (module, version) in modules_named(table_mappings) {
        check_module(tx, tenant, &module, &version).await?;
        // A module may be named twice, in two versions.
        sqlx::query("INSERT INTO task_modules (tenant, task_id, module_name) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
            .bind(tenant.as_str())
            .bind(task_id)
            .bind(&module)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

async fn check_module(tx: &mut Transaction<'static, Sqlite>, tenant: &TenantId, module: &str, version: &str) -> Result<(), CatalogError> {
    let known = sqlx::query("SELECT name FROM modules WHERE tenant = $1 AND name = $2 LIMIT 1");
    if known.bind(tenant.as_str()).bind(module).fetch_optional(&mut **tx).await?.is_none() {
        return Err(CatalogError::not_found("module", module));
    }
    let (kind, statement) = match ModuleVersion::new(version) {
        ModuleVersion::Latest => return Ok(()),
        ModuleVersion::Digest(_) => ("module version", "SELECT name FROM modules WHERE tenant = $1 AND name = $2 AND digest = $3"),
        ModuleVersion::Alias(_) => {
            ("module alias", "SELECT alias FROM module_aliases WHERE tenant = $1 AND module_name = $2 AND alias = $3")
        }
    };
    match sqlx::query(statement).bind(tenant.as_str()).bind(module).bind(version).fetch_optional(&mut **tx).await? {
        Some(_) => Ok(()),
        None => Err(CatalogError::not_found(kind, &format!("{module}@{version}"))),
    }
}

/// The modules that a table-mapping document names, with their versions as it writes them. A document that does not
/// parse names none: the checks refuse it.
pub(crate) fn modules_named(table_mappings: &str) -> BTreeSet<(String, String)> {
    let document: Value = serde_json::from_str(table_mappings).unwrap_or_default();
    let rules = document.get("rules").and_then(Value::as_array).into_iter().flatten();
    let text = |rule: &Value, key: &str| rule.get(key).and_then(Value::as_str).map(str::to_owned);
    rules
        .filter(|rule| rule.get("rule-type").and_then(Value::as_str) == Some("module"))
        .filter_map(|rule| Some((text(rule, "module")?, text(rule, "version").unwrap_or_else(|| "latest".to_owned()))))
        .collect()
}
