//! Tenants' modules: their versions, and their bytes.
//!
//! A version is the SHA-256 of its bytes. The bytes lie in `modules/` under that name, written once and checked when
//! read; the database says which names have which versions. The host compiles a pending version and gives the verdict.
//! `latest` is the newest upload that was not rejected.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use tidegate_model::TenantId;

use crate::aside::aside;
use crate::tenant::{Addition, check_quotas};
use crate::{Catalog, CatalogError, now_us, tenant_of};

const PREFIX: &str = "sha256:";

/// Whether a version can be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum ModuleState {
    /// The host has not looked at it yet.
    Pending,
    /// It compiles and keeps the contract.
    Ready,
    /// It does not.
    Rejected {
        /// What was found and what is wanted.
        message: String,
        /// What to do about it.
        #[serde(default)]
        hint: Option<String>,
    },
}

/// Which version of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModuleVersion {
    /// The newest upload that was not rejected.
    Latest,
    /// The one with this digest, in the form `sha256:<64 hex digits>`.
    Digest(String),
    /// The one that this alias points to.
    Alias(String),
}

impl ModuleVersion {
    /// As table mappings and requests write it: `latest`, `sha256:…`, or the name of an alias.
    pub fn new(text: &str) -> Self {
        match text {
            "latest" => ModuleVersion::Latest,
            digest if digest.starts_with(PREFIX) => ModuleVersion::Digest(digest.to_owned()),
            alias => ModuleVersion::Alias(alias.to_owned()),
        }
    }
}

/// One version of a module.
#[derive(Debug, Clone, PartialEq)]
pub struct ModuleRecord {
    /// Whose it is.
    pub tenant: TenantId,
    /// The module's name.
    pub name: String,
    /// `sha256:<64 hex digits>` of its bytes.
    pub digest: String,
    /// Size.
    pub bytes_len: u64,
    /// Whether it can be used.
    pub state: ModuleState,
    /// What the host found out about it.
    pub info: Value,
    /// The last upload of these bytes under this name, microseconds since 1970.
    pub uploaded_at_us: i64,
}

impl Catalog {
    /// Stores a version. Bytes that were rejected are looked at again; bytes that are there become the latest version.
    ///
    /// # Errors
    /// [`CatalogError::Quota`]; [`CatalogError::File`] when they cannot be written.
    pub async fn put_module(&self, name: &str, bytes: Vec<u8>) -> Result<ModuleRecord, CatalogError> {
        let (catalog, name) = (self.clone(), name.to_owned());
        // Whoever hangs up meanwhile must not let go of the lock on files: another upload of the same bytes would write the same one.
        let work = tokio::spawn(async move { catalog.store_module(&name, bytes).await });
        work.await.expect("an upload does not panic, and nothing aborts it")
    }

    async fn store_module(&self, name: &str, bytes: Vec<u8>) -> Result<ModuleRecord, CatalogError> {
        let bytes_len = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        let (digest, bytes) = digested(&self.inner.modules_dir, bytes).await?;
        let path = self.module_path(&digest).expect("the digest was made here");
        let addition = Addition::Module { name, digest: &digest, bytes_len };
        let _files = self.inner.module_files.lock().await;
        check_quotas(&mut self.write().await?, &self.tenant, addition).await?;
        // Before the transaction in which it is named: nobody's writes wait for it. What goes wrong afterwards leaves a file without a name.
        write_once(path, bytes).await?;
        let named = self.name_module(name, &digest, bytes_len).await;
        if named.is_err() {
            self.remove_unnamed(&digest).await?;
        }
        named?;
        self.wake_host();
        self.get_module(name, &ModuleVersion::Digest(digest)).await
    }

    async fn name_module(&self, name: &str, digest: &str, bytes_len: i64) -> Result<(), CatalogError> {
        let mut tx = self.write().await?;
        check_quotas(&mut tx, &self.tenant, Addition::Module { name, digest, bytes_len }).await?;
        let pending = state_text(&ModuleState::Pending);
        // Two uploads within a microsecond would leave open which one is the latest.
        let last: Option<i64> = sqlx::query("SELECT MAX(uploaded_at) FROM modules WHERE tenant = $1 AND name = $2")
            .bind(self.tenant.as_str())
            .bind(name)
            .fetch_one(&mut *tx)
            .await?
            .try_get(0)?;
        sqlx::query(
            "INSERT INTO modules (tenant, name, digest, bytes_len, state, info, uploaded_at) VALUES ($1, $2, $3, $4, $5, 'null', $6)
             ON CONFLICT (tenant, name, digest) DO UPDATE SET uploaded_at = excluded.uploaded_at,
               state = CASE WHEN modules.state = $7 THEN modules.state ELSE excluded.state END",
        )
        .bind(self.tenant.as_str())
        .bind(name)
        .bind(digest)
        .bind(bytes_len)
        .bind(pending)
        .bind(now_us().max(last.unwrap_or(0) + 1))
        .bind(state_text(&ModuleState::Ready))
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }

    /// One version of a module.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`] when there is no such module, no such version, or only rejected ones for `Latest`.
    pub async fn get_module(&self, name: &str, version: &ModuleVersion) -> Result<ModuleRecord, CatalogError> {
        let versions = self.module_versions(name).await?;
        let found = match version {
            ModuleVersion::Alias(alias) => {
                let aliases = self.module_aliases(name).await?;
                let digest = aliases.into_iter().find(|found| found.alias == *alias).map(|found| found.digest);
                versions.into_iter().find(|record| Some(&record.digest) == digest.as_ref())
            }
            ModuleVersion::Latest => versions.into_iter().find(|record| !matches!(record.state, ModuleState::Rejected { .. })),
            ModuleVersion::Digest(digest) => versions.into_iter().find(|record| record.digest == *digest),
        };
        found.ok_or_else(|| match version {
            ModuleVersion::Latest => CatalogError::not_found("usable version of module", name),
            ModuleVersion::Digest(digest) => CatalogError::not_found("module version", &format!("{name}@{digest}")),
            ModuleVersion::Alias(alias) => CatalogError::not_found("module alias", &format!("{name}@{alias}")),
        })
    }

    /// Every version of a module, newest upload first.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`].
    pub async fn module_versions(&self, name: &str) -> Result<Vec<ModuleRecord>, CatalogError> {
        let rows = sqlx::query("SELECT * FROM modules WHERE tenant = $1 AND name = $2 ORDER BY uploaded_at DESC")
            .bind(self.tenant.as_str())
            .bind(name)
            .fetch_all(&self.inner.pool)
            .await?;
        if rows.is_empty() {
            return Err(CatalogError::not_found("module", name));
        }
        rows.iter().map(module_from).collect()
    }

    /// Every version of every module, by name, newest upload first.
    ///
    /// # Errors
    /// [`CatalogError::Storage`].
    pub async fn list_modules(&self) -> Result<Vec<ModuleRecord>, CatalogError> {
        let rows = sqlx::query("SELECT * FROM modules WHERE tenant = $1 ORDER BY name, uploaded_at DESC")
            .bind(self.tenant.as_str())
            .fetch_all(&self.inner.pool)
            .await?;
        rows.iter().map(module_from).collect()
    }

    /// The versions of all tenants that wait for the host's verdict, oldest first.
    ///
    /// # Errors
    /// [`CatalogError::Storage`].
    pub async fn pending_modules(&self) -> Result<Vec<ModuleRecord>, CatalogError> {
        let rows = sqlx::query("SELECT * FROM modules WHERE state = $1 ORDER BY uploaded_at")
            .bind(state_text(&ModuleState::Pending))
            .fetch_all(&self.inner.pool)
            .await?;
        rows.iter().map(module_from).collect()
    }

    /// The host's verdict on the bytes with this digest, under whatever names the tenant has them.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`] when no module has them.
    pub async fn set_module_state(&self, digest: &str, state: &ModuleState, info: &Value) -> Result<(), CatalogError> {
        let done = sqlx::query("UPDATE modules SET state = $3, info = $4 WHERE tenant = $1 AND digest = $2")
            .bind(self.tenant.as_str())
            .bind(digest)
            .bind(state_text(state))
            .bind(info.to_string())
            .execute(&self.inner.pool)
            .await?;
        if done.rows_affected() == 0 {
            return Err(CatalogError::not_found("module version", digest));
        }
        self.wake_api();
        Ok(())
    }

    /// The bytes with this digest (`sha256:…`), checked against it.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`] when it is no digest or there are none; [`CatalogError::Corrupt`] when they changed on disk.
    pub async fn module_bytes(&self, digest: &str) -> Result<Vec<u8>, CatalogError> {
        let path = self.module_path(digest).ok_or_else(|| CatalogError::not_found("module version", digest))?;
        let from = path.clone();
        let read = move || std::fs::read(from).map(|bytes| (digest_text(&bytes), bytes));
        match aside(read).await.flatten() {
            Ok((found, bytes)) if found == digest => Ok(bytes),
            Ok(_) => Err(CatalogError::corrupt("module version", digest, "its bytes have another digest")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(CatalogError::not_found("module version", digest)),
            Err(error) => Err(CatalogError::file(&path, error)),
        }
    }

    /// Deletes a module with all its versions, aliases and limits.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`]; [`CatalogError::InUse`] while a task's table mappings name it.
    pub async fn delete_module(&self, name: &str) -> Result<(), CatalogError> {
        let _files = self.inner.module_files.lock().await;
        let digests: Vec<String> = self.module_versions(name).await?.into_iter().map(|record| record.digest).collect();
        let mut tx = self.write().await?;
        let user = sqlx::query(
            "SELECT t.name FROM task_modules m JOIN tasks t ON t.tenant = m.tenant AND t.id = m.task_id
             WHERE m.tenant = $1 AND m.module_name = $2 ORDER BY t.name LIMIT 1",
        )
        .bind(self.tenant.as_str())
        .bind(name)
        .fetch_optional(&mut *tx)
        .await?;
        if let Some(row) = user {
            let by = format!("task \"{}\"", row.try_get::<String, _>(0)?);
            return Err(CatalogError::InUse { kind: "module", name: name.to_owned(), by });
        }
        for statement in [
            "DELETE FROM module_aliases WHERE tenant = $1 AND module_name = $2",
            "DELETE FROM module_limits WHERE tenant = $1 AND module_name = $2",
            "DELETE FROM modules WHERE tenant = $1 AND name = $2",
        ] {
            sqlx::query(statement).bind(self.tenant.as_str()).bind(name).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        // After the commit: a crash here leaves a file that nothing names, never a name without its file.
        for digest in &digests {
            self.remove_unnamed(digest).await?;
        }
        Ok(())
    }

    /// The digests of the modules that were deleted with the last name that they had, since this was asked before. Only for deletions
    /// through this handle and its clones.
    pub fn take_unnamed_modules(&self) -> Vec<String> {
        std::mem::take(&mut *self.inner.unnamed.lock().expect("no holder of this lock panics"))
    }

    /// True when a module of any tenant has the bytes with this digest (`sha256:…`).
    ///
    /// # Errors
    /// [`CatalogError::Storage`].
    pub async fn names_module(&self, digest: &str) -> Result<bool, CatalogError> {
        let found = sqlx::query("SELECT name FROM modules WHERE digest = $1 LIMIT 1").bind(digest).fetch_optional(&self.inner.pool);
        Ok(found.await?.is_some())
    }

    /// The digests of every version of every module of all tenants.
    ///
    /// # Errors
    /// [`CatalogError::Storage`].
    pub async fn module_digests(&self) -> Result<Vec<String>, CatalogError> {
        let rows = sqlx::query("SELECT DISTINCT digest FROM modules").fetch_all(&self.inner.pool).await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// Deletes the bytes with a digest when no module has them. The caller holds the lock on files.
    pub(crate) async fn remove_unnamed(&self, digest: &str) -> Result<(), CatalogError> {
        if let (false, Some(path)) = (self.names_module(digest).await?, self.module_path(digest)) {
            self.inner.unnamed.lock().expect("no holder of this lock panics").push(digest.to_owned());
            self.wake_host();
            match tokio::fs::remove_file(&path).await {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(CatalogError::file(&path, error)),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// The file of a digest; `None` for a text that is none, so that no other path can be made of it.
    fn module_path(&self, digest: &str) -> Option<PathBuf> {
        let hex = digest.strip_prefix(PREFIX)?;
        let well_formed = hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        well_formed.then(|| self.inner.modules_dir.join(hex))
    }
}

/// Writes a file under its final name only when it is complete and on disk; leaves one that is there alone.
async fn write_once(path: PathBuf, bytes: Vec<u8>) -> Result<(), CatalogError> {
    let to = path.clone();
    let write = move || {
        if to.exists() {
            return Ok(());
        }
        let partial = to.with_extension("partial");
        std::fs::File::create(&partial)
            .and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()))
            .and_then(|()| std::fs::rename(&partial, &to))
    };
    aside(write).await.flatten().map_err(|error| CatalogError::file(&path, error))
}

/// The digest of bytes, and the bytes, which lie in `dir` afterwards.
async fn digested(dir: &Path, bytes: Vec<u8>) -> Result<(String, Vec<u8>), CatalogError> {
    aside(move || (digest_text(&bytes), bytes)).await.map_err(|error| CatalogError::file(dir, error))
}

fn digest_text(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{PREFIX}{hex}")
}

fn state_text(state: &ModuleState) -> String {
    serde_json::to_string(state).expect("a state has string keys only")
}

fn module_from(row: &SqliteRow) -> Result<ModuleRecord, CatalogError> {
    let name: String = row.try_get("name")?;
    let corrupt = |error| CatalogError::corrupt("module", &name, error);
    let bytes_len: i64 = row.try_get("bytes_len")?;
    Ok(ModuleRecord {
        tenant: tenant_of(row)?,
        digest: row.try_get("digest")?,
        bytes_len: bytes_len.unsigned_abs(),
        state: serde_json::from_str(row.try_get("state")?).map_err(corrupt)?,
        info: serde_json::from_str(row.try_get("info")?).map_err(corrupt)?,
        uploaded_at_us: row.try_get("uploaded_at")?,
        name,
    })
}
