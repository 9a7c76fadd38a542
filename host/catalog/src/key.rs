//! Keys: who a request comes from.
//!
//! ```text
//!   bearer    tgk_<id>_<secret>                 kept: HMAC-SHA-256 of the secret, which cannot be turned back
//!   signing   access key <id>, secret <secret>  kept: the secret, sealed, since signatures are computed from it
//! ```
//!
//! A secret is 40 random letters and digits, 238 bits: nothing is gained by trying, so a fast digest is enough. It is
//! shown once, when the key is made. A deleted key is refused from the next request on: nothing is remembered here.

use hmac::{Hmac, KeyInit, Mac};
use rand::Rng;
use sha2::Sha256;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use tidegate_model::TenantId;

use crate::{Catalog, CatalogError, Secret, now_us};

/// Before every bearer key, so that scanners for leaked secrets can find it.
const BEARER_PREFIX: &str = "tgk_";

/// Before the id of every signing key; ids of AWS have other letters.
const SIGNING_PREFIX: &str = "TGAK";

const ID_CHARS: usize = 16;
const SECRET_CHARS: usize = 40;

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// Sent as it is: `Authorization: Bearer`.
    Bearer,
    /// Signs requests: Signature Version 4.
    Signing,
}

impl KeyKind {
    /// `bearer` or `sigv4`.
    pub fn as_str(self) -> &'static str {
        match self {
            KeyKind::Bearer => "bearer",
            KeyKind::Signing => "sigv4",
        }
    }
}

/// Whose a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyOwner {
    /// Whoever runs the server: figures of all tenants, and nothing of any.
    Operator,
    /// A tenant: everything of its own.
    Tenant(TenantId),
}

impl KeyOwner {
    fn column(&self) -> Option<&str> {
        match self {
            KeyOwner::Operator => None,
            KeyOwner::Tenant(tenant) => Some(tenant.as_str()),
        }
    }
}

/// A key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// What names it; of a signing key the access key.
    pub id: String,
    /// Whose it is.
    pub owner: KeyOwner,
    /// What it is for.
    pub kind: KeyKind,
    /// Microseconds since 1970.
    pub created_at_us: i64,
}

/// A key that was just made.
#[derive(Debug)]
pub struct NewKey {
    /// What names it.
    pub id: String,
    /// A bearer key as it is sent, or the secret of a signing key.
    pub secret: Secret,
}

impl Catalog {
    /// Makes a key. This is the only time that its secret is seen.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`] for a tenant that is not there.
    pub async fn create_key(&self, owner: &KeyOwner, kind: KeyKind) -> Result<NewKey, CatalogError> {
        if let KeyOwner::Tenant(tenant) = owner {
            self.get_tenant(tenant).await?;
        }
        let secret = Secret::new(random(SECRET_CHARS, b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"));
        let name = random(ID_CHARS, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789");
        let (id, kept, shown) = match kind {
            KeyKind::Bearer => {
                let kept = digest(&name, secret.reveal()).finalize().into_bytes().to_vec();
                let shown = Secret::new(format!("{BEARER_PREFIX}{name}_{}", secret.reveal()));
                (name, kept, shown)
            }
            KeyKind::Signing => {
                let id = format!("{SIGNING_PREFIX}{name}");
                (id.clone(), self.inner.cipher.seal(&secret, &id), secret)
            }
        };
        sqlx::query("INSERT INTO keys (id, tenant, kind, secret, created_at) VALUES ($1, $2, $3, $4, $5)")
            .bind(&id)
            .bind(owner.column())
            .bind(kind.as_str())
            .bind(kept)
            .bind(now_us())
            .execute(&self.inner.pool)
            .await?;
        Ok(NewKey { id, secret: shown })
    }

    /// True when there is any key: then nobody is served without one.
    ///
    /// # Errors
    /// [`CatalogError::Storage`].
    pub async fn has_keys(&self) -> Result<bool, CatalogError> {
        Ok(sqlx::query("SELECT 1 FROM keys LIMIT 1").fetch_optional(&self.inner.pool).await?.is_some())
    }

    /// Every key, by owner and age.
    ///
    /// # Errors
    /// [`CatalogError::Storage`].
    pub async fn list_keys(&self) -> Result<Vec<KeyRecord>, CatalogError> {
        let rows = sqlx::query("SELECT * FROM keys ORDER BY tenant, created_at, id").fetch_all(&self.inner.pool).await?;
        rows.iter().map(key_from).collect()
    }

    /// Deletes a key.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`].
    pub async fn delete_key(&self, id: &str) -> Result<(), CatalogError> {
        let done = sqlx::query("DELETE FROM keys WHERE id = $1").bind(id).execute(&self.inner.pool).await?;
        if done.rows_affected() == 0 { Err(CatalogError::not_found("key", id)) } else { Ok(()) }
    }

    /// Whose bearer key this is; `None` for a text that is none. Secrets are compared in constant time.
    ///
    /// # Errors
    /// [`CatalogError::Storage`].
    pub async fn owner_of_bearer(&self, key: &Secret) -> Result<Option<KeyOwner>, CatalogError> {
        let Some((id, secret)) = key.reveal().strip_prefix(BEARER_PREFIX).and_then(|rest| rest.split_once('_')) else {
            return Ok(None);
        };
        let row = sqlx::query("SELECT * FROM keys WHERE id = $1 AND kind = 'bearer'").bind(id).fetch_optional(&self.inner.pool).await?;
        let Some(row) = row else { return Ok(None) };
        let kept: &[u8] = row.try_get("secret")?;
        if digest(id, secret).verify_slice(kept).is_err() {
            return Ok(None);
        }
        Ok(Some(key_from(&row)?.owner))
    }

    /// The secret of a signing key and the tenant that it stands for; `None` when there is no such key.
    ///
    /// # Errors
    /// [`CatalogError::Storage`]; [`CatalogError::Corrupt`] when it was not sealed with this catalog's key.
    pub async fn signing_key(&self, id: &str) -> Result<Option<(TenantId, Secret)>, CatalogError> {
        let row = sqlx::query("SELECT * FROM keys WHERE id = $1 AND kind = 'sigv4'").bind(id).fetch_optional(&self.inner.pool).await?;
        let Some(row) = row else { return Ok(None) };
        let secret = self
            .inner
            .cipher
            .open(row.try_get("secret")?, id)
            .ok_or_else(|| CatalogError::corrupt("key", id, "its secret was not sealed with this key file for this key"))?;
        match key_from(&row)?.owner {
            KeyOwner::Tenant(tenant) => Ok(Some((tenant, secret))),
            KeyOwner::Operator => Ok(None),
        }
    }
}

/// A message authentication code is used for its comparison in constant time; its key binds the secret to its id.
fn digest(id: &str, secret: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(id.as_bytes()).expect("a key of any length is accepted");
    mac.update(secret.as_bytes());
    mac
}

fn random(count: usize, alphabet: &[u8]) -> String {
    let mut random = rand::rng();
    (0..count).map(|_| char::from(alphabet[random.random_range(0..alphabet.len())])).collect()
}

fn key_from(row: &SqliteRow) -> Result<KeyRecord, CatalogError> {
    let id: String = row.try_get("id")?;
    let owner = match row.try_get::<Option<&str>, _>("tenant")? {
        None => KeyOwner::Operator,
        Some(name) => KeyOwner::Tenant(TenantId::new(name).map_err(|error| CatalogError::corrupt("key", &id, error))?),
    };
    let kind = match row.try_get::<&str, _>("kind")? {
        "bearer" => KeyKind::Bearer,
        "sigv4" => KeyKind::Signing,
        other => return Err(CatalogError::corrupt("key", &id, format!("unknown kind {other}"))),
    };
    Ok(KeyRecord { id, owner, kind, created_at_us: row.try_get("created_at")? })
}
