//! Names that point to a version of a module, and who uses which version.
//!
//! An alias (`stable`, `canary`) is moved by pointing it to another version. A task whose table mappings name an alias
//! takes the version that it points to when the task begins; what becomes of a running task when an alias moves is the
//! scheduler's business. Nothing that is in use can be deleted: not a version that an alias or a task has, not an alias
//! that a task names.

use std::collections::BTreeSet;

use serde_json::Value;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, Transaction};
use tidegate_model::TenantId;

use crate::module::{ModuleState, ModuleVersion};
use crate::task_modules::modules_named;
use crate::{Catalog, CatalogError, now_us};

/// The kind of the resource that holds, by the name of a task, the digests that the task runs with.
pub const TASK_PINS: &str = "task-modules";
/// The kind of the resource that holds, by the name of a task, the digests that it goes back to when a new version fails.
pub const TASK_PINS_BEFORE: &str = "task-modules-before";

/// A name for a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleAlias {
    /// The name.
    pub alias: String,
    /// The version that it points to: `sha256:<64 hex digits>`.
    pub digest: String,
    /// When it was pointed there, microseconds since 1970.
    pub moved_at_us: i64,
}

impl Catalog {
    /// Points an alias to a version that is ready, and makes it if there is none of that name.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`] for module or version; [`CatalogError::Conflict`] for a version that is not ready.
    pub async fn put_module_alias(&self, name: &str, alias: &str, version: &ModuleVersion) -> Result<ModuleAlias, CatalogError> {
        let record = self.get_module(name, version).await?;
        let refused = |found: &str| CatalogError::conflict("module version", &format!("{name}@{}", record.digest), found, "ready");
        match record.state {
            ModuleState::Ready => {}
            ModuleState::Pending => return Err(refused("pending")),
            ModuleState::Rejected { .. } => return Err(refused("rejected")),
        }
        let moved = ModuleAlias { alias: alias.to_owned(), digest: record.digest, moved_at_us: now_us() };
        // The foreign key refuses a version that was deleted meanwhile.
        sqlx::query(
            "INSERT INTO module_aliases (tenant, module_name, alias, digest, moved_at) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (tenant, module_name, alias) DO UPDATE SET digest = excluded.digest, moved_at = excluded.moved_at",
        )
        .bind(self.tenant.as_str())
        .bind(name)
        .bind(alias)
        .bind(&moved.digest)
        .bind(moved.moved_at_us)
        .execute(&self.inner.pool)
        .await?;
        self.wake_host();
        Ok(moved)
    }

    /// The aliases of a module, by name; none for a module that does not exist.
    ///
    /// # Errors
    /// [`CatalogError::Storage`].
    pub async fn module_aliases(&self, name: &str) -> Result<Vec<ModuleAlias>, CatalogError> {
        let rows = sqlx::query("SELECT * FROM module_aliases WHERE tenant = $1 AND module_name = $2 ORDER BY alias")
            .bind(self.tenant.as_str())
            .bind(name)
            .fetch_all(&self.inner.pool)
            .await?;
        rows.iter().map(alias_from).collect()
    }

    /// Deletes an alias; the version stays.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`]; [`CatalogError::InUse`] while a task's table mappings name it.
    pub async fn delete_module_alias(&self, name: &str, alias: &str) -> Result<(), CatalogError> {
        let full_name = format!("{name}@{alias}");
        let mut tx = self.write().await?;
        if let Some(user) = users(&mut tx, &self.tenant, name).await?.into_iter().find(|user| user.versions.contains(alias)) {
            return Err(CatalogError::InUse { kind: "module alias", name: full_name, by: user.shown() });
        }
        let done = sqlx::query("DELETE FROM module_aliases WHERE tenant = $1 AND module_name = $2 AND alias = $3")
            .bind(self.tenant.as_str())
            .bind(name)
            .bind(alias)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        if done.rows_affected() == 0 { Err(CatalogError::not_found("module alias", &full_name)) } else { Ok(()) }
    }

    /// Deletes one version of a module, and the module with its last one.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`]; [`CatalogError::InUse`] while an alias points to it, or a task names it, runs with it,
    /// goes back to it when a newer one fails, or would begin with it as the latest.
    pub async fn delete_module_version(&self, name: &str, digest: &str) -> Result<(), CatalogError> {
        let _files = self.inner.module_files.lock().await;
        let full_name = format!("{name}@{digest}");
        let versions = self.module_versions(name).await?;
        if !versions.iter().any(|record| record.digest == digest) {
            return Err(CatalogError::not_found("module version", &full_name));
        }
        let latest = versions.iter().find(|record| !matches!(record.state, ModuleState::Rejected { .. }));
        let is_latest = latest.is_some_and(|record| record.digest == digest);
        let mut tx = self.write().await?;
        if let Some(by) = version_user(&mut tx, &self.tenant, name, digest, is_latest).await? {
            return Err(CatalogError::InUse { kind: "module version", name: full_name, by });
        }
        sqlx::query("DELETE FROM modules WHERE tenant = $1 AND name = $2 AND digest = $3")
            .bind(self.tenant.as_str())
            .bind(name)
            .bind(digest)
            .execute(&mut *tx)
            .await?;
        if versions.len() == 1 {
            sqlx::query("DELETE FROM module_limits WHERE tenant = $1 AND module_name = $2")
                .bind(self.tenant.as_str())
                .bind(name)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        self.remove_unnamed(digest).await
    }
}

/// Who keeps a version from being deleted, with its kind.
async fn version_user(
    tx: &mut Transaction<'static, Sqlite>,
    tenant: &TenantId,
    name: &str,
    digest: &str,
    is_latest: bool,
) -> Result<Option<String>, CatalogError> {
    let alias =
        sqlx::query("SELECT alias FROM module_aliases WHERE tenant = $1 AND module_name = $2 AND digest = $3 ORDER BY alias LIMIT 1")
            .bind(tenant.as_str())
            .bind(name)
            .bind(digest)
            .fetch_optional(&mut **tx)
            .await?;
    if let Some(row) = alias {
        return Ok(Some(format!("alias \"{}\"", row.try_get::<String, _>(0)?)));
    }
    let uses = |user: &User| {
        let begins_with_latest = is_latest && user.pins == Value::Null && user.versions.contains("latest");
        user.versions.contains(digest) || holds(&user.pins, digest) || holds(&user.pins_before, digest) || begins_with_latest
    };
    Ok(users(tx, tenant, name).await?.iter().find(|user| uses(user)).map(User::shown))
}

/// A task that names a module.
struct User {
    task: String,
    /// As its table mappings write them.
    versions: BTreeSet<String>,
    /// The digests that it runs with, in whatever form the scheduler keeps them; null before it first ran.
    pins: Value,
    /// Those that it goes back to, likewise; null while no new version is on trial.
    pins_before: Value,
}

impl User {
    fn shown(&self) -> String {
        format!("task \"{}\"", self.task)
    }
}

async fn users(tx: &mut Transaction<'static, Sqlite>, tenant: &TenantId, module: &str) -> Result<Vec<User>, CatalogError> {
    let rows = sqlx::query(
        "SELECT t.name, t.definition, r.document, b.document AS before FROM task_modules m
         JOIN tasks t ON t.tenant = m.tenant AND t.id = m.task_id
         LEFT JOIN resources r ON r.tenant = m.tenant AND r.kind = $3 AND r.id = t.name
         LEFT JOIN resources b ON b.tenant = m.tenant AND b.kind = $4 AND b.id = t.name
         WHERE m.tenant = $1 AND m.module_name = $2 ORDER BY t.name",
    )
    .bind(tenant.as_str())
    .bind(module)
    .bind(TASK_PINS)
    .bind(TASK_PINS_BEFORE)
    .fetch_all(&mut **tx)
    .await?;
    rows.iter().map(|row| user_from(row, module)).collect()
}

fn user_from(row: &SqliteRow, module: &str) -> Result<User, CatalogError> {
    let task: String = row.try_get("name")?;
    let corrupt = |error| CatalogError::corrupt("task", &task, error);
    let definition: Value = serde_json::from_str(row.try_get("definition")?).map_err(corrupt)?;
    let mappings = definition.get("table_mappings").and_then(Value::as_str).unwrap_or_default();
    let named = modules_named(mappings).into_iter().filter(|(name, _)| name == module);
    let read = |document: Option<&str>| -> Result<Value, CatalogError> {
        Ok(document.map(serde_json::from_str).transpose().map_err(corrupt)?.unwrap_or(Value::Null))
    };
    let (pins, pins_before) = (read(row.try_get("document")?)?, read(row.try_get("before")?)?);
    Ok(User { versions: named.map(|(_, version)| version).collect(), pins, pins_before, task })
}

/// True when the text stands anywhere in the document.
fn holds(document: &Value, text: &str) -> bool {
    match document {
        Value::String(found) => found == text,
        Value::Array(items) => items.iter().any(|item| holds(item, text)),
        Value::Object(entries) => entries.values().any(|item| holds(item, text)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn alias_from(row: &SqliteRow) -> Result<ModuleAlias, CatalogError> {
    Ok(ModuleAlias { alias: row.try_get("alias")?, digest: row.try_get("digest")?, moved_at_us: row.try_get("moved_at")? })
}
