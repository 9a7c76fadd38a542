//! Endpoints: how to reach a source or a target.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use tidegate_model::{Engine, TenantId};

use crate::error::is_duplicate;
use crate::{Catalog, CatalogError, Secret, new_id, now_us, tenant_of};

/// Which side of a task an endpoint can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Read from.
    Source,
    /// Written to.
    Target,
}

impl Role {
    /// `source` or `target`.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Source => "source",
            Role::Target => "target",
        }
    }
}

/// How a connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// Plain text.
    Disable,
    /// TLS without checking who answers.
    Require,
    /// TLS with a certificate of a known authority.
    VerifyCa,
    /// TLS with a certificate of a known authority for this host name.
    VerifyFull,
}

impl TlsMode {
    /// `disable`, `require`, `verify-ca` or `verify-full`.
    pub fn as_str(self) -> &'static str {
        match self {
            TlsMode::Disable => "disable",
            TlsMode::Require => "require",
            TlsMode::VerifyCa => "verify-ca",
            TlsMode::VerifyFull => "verify-full",
        }
    }
}

/// Protection of a connection, and who is trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsChoice {
    /// How.
    pub mode: TlsMode,
    /// PEM of the authorities; `None` uses the system's.
    pub authorities_pem: Option<String>,
}

/// What a user says about an endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointSpec {
    /// Unique name.
    pub name: String,
    /// Source or target.
    pub role: Role,
    /// Kind of server.
    pub engine: Engine,
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// User.
    pub username: String,
    /// Password; encrypted at rest, never in an answer.
    pub password: Secret,
    /// Database to connect to.
    pub database: Option<String>,
    /// Protection of the connection.
    pub tls: TlsChoice,
    /// What the DMS API has to echo. Stored in clear: it must not hold secrets.
    pub dms: Value,
}

/// An endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointRecord {
    /// Whose it is.
    pub tenant: TenantId,
    /// 26 characters of `A-Z0-9`, never reused; the last part of its ARN.
    pub id: String,
    /// What the user said.
    pub spec: EndpointSpec,
    /// Raised by each update; an update names the one it read.
    pub revision: i64,
    /// Microseconds since 1970.
    pub created_at_us: i64,
    /// Microseconds since 1970.
    pub updated_at_us: i64,
}

/// The engine with this name (`postgres`, `mysql`, `mariadb`).
pub fn engine_named(text: &str) -> Option<Engine> {
    [Engine::Postgres, Engine::Mysql, Engine::Mariadb].into_iter().find(|engine| engine.as_str() == text)
}

/// The stored document: everything but name and password, which have columns of their own.
#[derive(Serialize, Deserialize)]
struct StoredSpec {
    role: Role,
    engine: String,
    host: String,
    port: u16,
    username: String,
    database: Option<String>,
    tls: TlsChoice,
    dms: Value,
}

impl StoredSpec {
    fn text(spec: &EndpointSpec) -> String {
        let stored = StoredSpec {
            role: spec.role,
            engine: spec.engine.as_str().to_owned(),
            host: spec.host.clone(),
            port: spec.port,
            username: spec.username.clone(),
            database: spec.database.clone(),
            tls: spec.tls.clone(),
            dms: spec.dms.clone(),
        };
        serde_json::to_string(&stored).expect("the document has string keys only")
    }
}

impl Catalog {
    /// Creates an endpoint with a fresh id.
    ///
    /// # Errors
    /// [`CatalogError::AlreadyExists`] when the name is taken.
    pub async fn create_endpoint(&self, spec: &EndpointSpec) -> Result<EndpointRecord, CatalogError> {
        self.create_endpoint_with_id(&new_id(), spec).await
    }

    /// Creates an endpoint with an id of the caller's choice (DMS: `ResourceIdentifier`).
    ///
    /// # Errors
    /// [`CatalogError::AlreadyExists`] when the name or the id is taken.
    pub async fn create_endpoint_with_id(&self, id: &str, spec: &EndpointSpec) -> Result<EndpointRecord, CatalogError> {
        let now = now_us();
        sqlx::query(
            "INSERT INTO endpoints (tenant, id, name, spec, password, revision, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, 1, $6, $6)",
        )
        .bind(self.tenant.as_str())
        .bind(id)
        .bind(&spec.name)
        .bind(StoredSpec::text(spec))
        .bind(self.inner.cipher.seal(&spec.password, id))
        .bind(now)
        .execute(&self.inner.pool)
        .await
        .map_err(|error| if is_duplicate(&error) { CatalogError::exists("endpoint", &spec.name) } else { error.into() })?;
        Ok(EndpointRecord {
            tenant: self.tenant.clone(),
            id: id.to_owned(),
            spec: spec.clone(),
            revision: 1,
            created_at_us: now,
            updated_at_us: now,
        })
    }

    /// The endpoint with this name.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`].
    pub async fn get_endpoint(&self, name: &str) -> Result<EndpointRecord, CatalogError> {
        let row = sqlx::query("SELECT * FROM endpoints WHERE tenant = $1 AND name = $2")
            .bind(self.tenant.as_str())
            .bind(name)
            .fetch_optional(&self.inner.pool)
            .await?;
        self.endpoint_from(&row.ok_or_else(|| CatalogError::not_found("endpoint", name))?)
    }

    /// The endpoint with this id.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`].
    pub async fn get_endpoint_by_id(&self, id: &str) -> Result<EndpointRecord, CatalogError> {
        let row = sqlx::query("SELECT * FROM endpoints WHERE tenant = $1 AND id = $2")
            .bind(self.tenant.as_str())
            .bind(id)
            .fetch_optional(&self.inner.pool)
            .await?;
        self.endpoint_from(&row.ok_or_else(|| CatalogError::not_found("endpoint", id))?)
    }

    /// Every endpoint, by name.
    ///
    /// # Errors
    /// [`CatalogError::Storage`].
    pub async fn list_endpoints(&self) -> Result<Vec<EndpointRecord>, CatalogError> {
        let rows = sqlx::query("SELECT * FROM endpoints WHERE tenant = $1 ORDER BY name")
            .bind(self.tenant.as_str())
            .fetch_all(&self.inner.pool)
            .await?;
        rows.iter().map(|row| self.endpoint_from(row)).collect()
    }

    /// Replaces what is said about the endpoint `id`, its name included, if it still has `revision`.
    /// A running task takes the change up when it starts the next time.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`]; [`CatalogError::Conflict`] when somebody else changed it since `revision` was read;
    /// [`CatalogError::AlreadyExists`] when the new name is taken.
    pub async fn update_endpoint(&self, id: &str, revision: i64, spec: &EndpointSpec) -> Result<EndpointRecord, CatalogError> {
        let done = sqlx::query(
            "UPDATE endpoints SET name = $4, spec = $5, password = $6, revision = revision + 1, updated_at = $7
             WHERE tenant = $1 AND id = $2 AND revision = $3",
        )
        .bind(self.tenant.as_str())
        .bind(id)
        .bind(revision)
        .bind(&spec.name)
        .bind(StoredSpec::text(spec))
        .bind(self.inner.cipher.seal(&spec.password, id))
        .bind(now_us())
        .execute(&self.inner.pool)
        .await
        .map_err(|error| if is_duplicate(&error) { CatalogError::exists("endpoint", &spec.name) } else { error.into() })?;
        let record = self.get_endpoint_by_id(id).await?;
        if done.rows_affected() == 0 {
            return Err(CatalogError::conflict("endpoint", &record.spec.name, "changed by somebody else", "unchanged since it was read"));
        }
        Ok(record)
    }

    /// Deletes an endpoint and the requests about it.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`]; [`CatalogError::InUse`] while a task names it.
    pub async fn delete_endpoint(&self, name: &str) -> Result<(), CatalogError> {
        let mut tx = self.write().await?;
        let row = sqlx::query("SELECT id FROM endpoints WHERE tenant = $1 AND name = $2")
            .bind(self.tenant.as_str())
            .bind(name)
            .fetch_optional(&mut *tx)
            .await?;
        let id: String = row.ok_or_else(|| CatalogError::not_found("endpoint", name))?.try_get(0)?;
        let user = sqlx::query("SELECT name FROM tasks WHERE tenant = $1 AND (source_id = $2 OR target_id = $2) ORDER BY name LIMIT 1")
            .bind(self.tenant.as_str())
            .bind(&id)
            .fetch_optional(&mut *tx)
            .await?;
        if let Some(row) = user {
            let by = format!("task \"{}\"", row.try_get::<String, _>(0)?);
            return Err(CatalogError::InUse { kind: "endpoint", name: name.to_owned(), by });
        }
        sqlx::query("DELETE FROM requests WHERE tenant = $1 AND subject = $2 AND kind IN ('test-connection', 'list-tables')")
            .bind(self.tenant.as_str())
            .bind(&id)
            .execute(&mut *tx)
            .await?;
        sqlx::query("DELETE FROM endpoints WHERE tenant = $1 AND id = $2").bind(self.tenant.as_str()).bind(&id).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(())
    }

    fn endpoint_from(&self, row: &SqliteRow) -> Result<EndpointRecord, CatalogError> {
        let name: String = row.try_get("name")?;
        let id: String = row.try_get("id")?;
        let stored: StoredSpec =
            serde_json::from_str(row.try_get("spec")?).map_err(|error| CatalogError::corrupt("endpoint", &name, error))?;
        let engine = engine_named(&stored.engine).ok_or_else(|| CatalogError::corrupt("endpoint", &name, "unknown engine"))?;
        let password = self
            .inner
            .cipher
            .open(row.try_get("password")?, &id)
            .ok_or_else(|| CatalogError::corrupt("endpoint", &name, "its password was not sealed with this key for this endpoint"))?;
        let spec = EndpointSpec {
            name,
            role: stored.role,
            engine,
            host: stored.host,
            port: stored.port,
            username: stored.username,
            password,
            database: stored.database,
            tls: stored.tls,
            dms: stored.dms,
        };
        Ok(EndpointRecord {
            tenant: tenant_of(row)?,
            id,
            spec,
            revision: row.try_get("revision")?,
            created_at_us: row.try_get("created_at")?,
            updated_at_us: row.try_get("updated_at")?,
        })
    }
}
