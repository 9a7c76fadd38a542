//! Named documents for the DMS API's own objects: replication instances, subnet groups, certificates, event
//! subscriptions, tags by ARN. The catalog knows nothing about what is in them.

use serde_json::Value;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use tidegate_model::TenantId;

use crate::error::is_duplicate;
use crate::{Catalog, CatalogError, now_us, tenant_of};

/// A document with a kind, an id and a name. Both id and name are unique within the kind.
#[derive(Debug, Clone, PartialEq)]
pub struct ResourceRecord {
    /// Whose it is.
    pub tenant: TenantId,
    /// The kind, chosen by the caller: `replication-instance`.
    pub kind: String,
    /// The id.
    pub id: String,
    /// The name.
    pub name: String,
    /// The document. Stored in clear.
    pub document: Value,
    /// Microseconds since 1970.
    pub created_at_us: i64,
    /// Microseconds since 1970.
    pub updated_at_us: i64,
}

impl Catalog {
    /// Creates a resource.
    ///
    /// # Errors
    /// [`CatalogError::AlreadyExists`] when the id or the name is taken within the kind.
    pub async fn create_resource(&self, kind: &str, id: &str, name: &str, document: &Value) -> Result<ResourceRecord, CatalogError> {
        sqlx::query("INSERT INTO resources (tenant, kind, id, name, document, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $6)")
            .bind(self.tenant.as_str())
            .bind(kind)
            .bind(id)
            .bind(name)
            .bind(document.to_string())
            .bind(now_us())
            .execute(&self.inner.pool)
            .await
            .map_err(|error| if is_duplicate(&error) { CatalogError::exists("resource", name) } else { error.into() })?;
        self.get_resource(kind, id).await
    }

    /// Creates a resource, or replaces the name and document of the one with this id.
    ///
    /// # Errors
    /// [`CatalogError::AlreadyExists`] when another resource has the name.
    pub async fn put_resource(&self, kind: &str, id: &str, name: &str, document: &Value) -> Result<ResourceRecord, CatalogError> {
        sqlx::query(
            "INSERT INTO resources (tenant, kind, id, name, document, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $6)
             ON CONFLICT (tenant, kind, id) DO UPDATE
             SET name = excluded.name, document = excluded.document, updated_at = excluded.updated_at",
        )
        .bind(self.tenant.as_str())
        .bind(kind)
        .bind(id)
        .bind(name)
        .bind(document.to_string())
        .bind(now_us())
        .execute(&self.inner.pool)
        .await
        .map_err(|error| if is_duplicate(&error) { CatalogError::exists("resource", name) } else { error.into() })?;
        self.get_resource(kind, id).await
    }

    /// The resource with this id.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`].
    pub async fn get_resource(&self, kind: &str, id: &str) -> Result<ResourceRecord, CatalogError> {
        let row = sqlx::query("SELECT * FROM resources WHERE tenant = $1 AND kind = $2 AND id = $3")
            .bind(self.tenant.as_str())
            .bind(kind)
            .bind(id)
            .fetch_optional(&self.inner.pool)
            .await?;
        resource_from(&row.ok_or_else(|| CatalogError::not_found("resource", id))?)
    }

    /// The resource with this name.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`].
    pub async fn get_resource_by_name(&self, kind: &str, name: &str) -> Result<ResourceRecord, CatalogError> {
        let row = sqlx::query("SELECT * FROM resources WHERE tenant = $1 AND kind = $2 AND name = $3")
            .bind(self.tenant.as_str())
            .bind(kind)
            .bind(name)
            .fetch_optional(&self.inner.pool)
            .await?;
        resource_from(&row.ok_or_else(|| CatalogError::not_found("resource", name))?)
    }

    /// Every resource of a kind, by name.
    ///
    /// # Errors
    /// [`CatalogError::Storage`].
    pub async fn list_resources(&self, kind: &str) -> Result<Vec<ResourceRecord>, CatalogError> {
        let rows = sqlx::query("SELECT * FROM resources WHERE tenant = $1 AND kind = $2 ORDER BY name")
            .bind(self.tenant.as_str())
            .bind(kind)
            .fetch_all(&self.inner.pool)
            .await?;
        rows.iter().map(resource_from).collect()
    }

    /// Replaces a resource's name and document.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`]; [`CatalogError::AlreadyExists`] when another resource has the name.
    pub async fn update_resource(&self, kind: &str, id: &str, name: &str, document: &Value) -> Result<ResourceRecord, CatalogError> {
        sqlx::query("UPDATE resources SET name = $4, document = $5, updated_at = $6 WHERE tenant = $1 AND kind = $2 AND id = $3")
            .bind(self.tenant.as_str())
            .bind(kind)
            .bind(id)
            .bind(name)
            .bind(document.to_string())
            .bind(now_us())
            .execute(&self.inner.pool)
            .await
            .map_err(|error| if is_duplicate(&error) { CatalogError::exists("resource", name) } else { error.into() })?;
        self.get_resource(kind, id).await
    }

    /// Deletes a resource.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`].
    pub async fn delete_resource(&self, kind: &str, id: &str) -> Result<(), CatalogError> {
        let done = sqlx::query("DELETE FROM resources WHERE tenant = $1 AND kind = $2 AND id = $3")
            .bind(self.tenant.as_str())
            .bind(kind)
            .bind(id)
            .execute(&self.inner.pool)
            .await?;
        if done.rows_affected() == 0 { Err(CatalogError::not_found("resource", id)) } else { Ok(()) }
    }
}

fn resource_from(row: &SqliteRow) -> Result<ResourceRecord, CatalogError> {
    let name: String = row.try_get("name")?;
    Ok(ResourceRecord {
        tenant: tenant_of(row)?,
        kind: row.try_get("kind")?,
        id: row.try_get("id")?,
        document: serde_json::from_str(row.try_get("document")?).map_err(|error| CatalogError::corrupt("resource", &name, error))?,
        name,
        created_at_us: row.try_get("created_at")?,
        updated_at_us: row.try_get("updated_at")?,
    })
}
