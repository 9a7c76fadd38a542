//! Passwords: how they are held in memory, and how they lie on disk.
//!
//! A secret is sealed with XChaCha20-Poly1305 under the key in `catalog.key`, bound to the id of the object it belongs
//! to, so that a ciphertext moved to another row does not open. The nonce is random: 24 bytes make a repetition
//! impossible in practice. Whoever has the key file and the database has the passwords; the key file alone or the
//! database alone gives nothing.
//!
//! Stored form: one byte of version (1), 24 bytes of nonce, ciphertext with tag.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use chacha20poly1305::aead::{Aead, Generate, Key, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use sqlx::{Row, SqlitePool};
use zeroize::{Zeroize, Zeroizing};

use crate::CatalogError;

const VERSION: u8 = 1;
const NONCE_BYTES: usize = 24;
const KEY_BYTES: usize = 32;

/// A text that is never shown: `Debug` prints a placeholder, there is no `Display`, and memory is wiped on drop.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The secret itself, for the one place that sends it to its server.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Seals and opens secrets.
pub(crate) struct Cipher(XChaCha20Poly1305);

impl Cipher {
    /// Seals a secret for the object `owner`.
    pub(crate) fn seal(&self, secret: &Secret, owner: &str) -> Vec<u8> {
        let nonce = XNonce::generate();
        let payload = Payload { msg: secret.reveal().as_bytes(), aad: owner.as_bytes() };
        let sealed = self.0.encrypt(&nonce, payload).expect("sealing fails only beyond 256 GiB");
        [&[VERSION][..], nonce.as_slice(), &sealed].concat()
    }

    /// Opens what was sealed for `owner`; `None` when it was not, or not with this key.
    pub(crate) fn open(&self, stored: &[u8], owner: &str) -> Option<Secret> {
        let (version, rest) = stored.split_first()?;
        if *version != VERSION || rest.len() < NONCE_BYTES {
            return None;
        }
        let (nonce, sealed) = rest.split_at(NONCE_BYTES);
        let nonce = XNonce::try_from(nonce).ok()?;
        let plain = self.0.decrypt(&nonce, Payload { msg: sealed, aad: owner.as_bytes() }).ok()?;
        match String::from_utf8(plain) {
            Ok(text) => Some(Secret::new(text)),
            Err(error) => {
                error.into_bytes().zeroize();
                None
            }
        }
    }
}

/// Reads the key, or creates it for a new database. A fact in the database, sealed with the key, tells whether the
/// two belong together: without it a lost key would show only when a task starts.
pub(crate) async fn open_cipher(pool: &SqlitePool, path: &Path) -> Result<Cipher, CatalogError> {
    const FACT: &str = "key_check";
    let check: Option<Vec<u8>> =
        sqlx::query("SELECT value FROM facts WHERE name = $1").bind(FACT).fetch_optional(pool).await?.map(|row| row.get(0));
    if check.is_some() && !path.exists() {
        return Err(CatalogError::Key {
            path: path.to_owned(),
            problem: "is missing; bring it back from the backup of the data directory",
        });
    }
    let cipher = Cipher(XChaCha20Poly1305::new(&read_or_create_key(path)?));
    match check {
        Some(stored) if cipher.open(&stored, FACT).is_none() => {
            Err(CatalogError::Key { path: path.to_owned(), problem: "is not the one that this database was written with" })
        }
        Some(_) => Ok(cipher),
        None => {
            let sealed = cipher.seal(&Secret::new("tidegate"), FACT);
            sqlx::query("INSERT INTO facts (name, value) VALUES ($1, $2)").bind(FACT).bind(sealed).execute(pool).await?;
            Ok(cipher)
        }
    }
}

fn read_or_create_key(path: &Path) -> Result<Key<XChaCha20Poly1305>, CatalogError> {
    let fail = |source| CatalogError::file(path, source);
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => {
            let key = Key::<XChaCha20Poly1305>::generate();
            file.write_all(key.as_slice()).and_then(|()| file.sync_all()).map_err(fail)?;
            Ok(key)
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_BYTES + 1));
            let file = OpenOptions::new().read(true).open(path).map_err(fail)?;
            file.take(KEY_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(fail)?;
            Key::<XChaCha20Poly1305>::try_from(bytes.as_slice())
                .map_err(|_| CatalogError::Key { path: path.to_owned(), problem: "does not have 32 bytes" })
        }
        Err(error) => Err(fail(error)),
    }
}

/// Creates a file that only its owner may read; leaves an existing one alone.
pub(crate) fn create_private(path: &Path) -> std::io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cipher(byte: u8) -> Cipher {
        Cipher(XChaCha20Poly1305::new(&Key::<XChaCha20Poly1305>::from([byte; 32])))
    }

    #[test]
    fn sealed_secret_opens_only_for_its_owner_and_key() {
        let sealed = cipher(1).seal(&Secret::new("canary"), "owner");
        assert_eq!(cipher(1).open(&sealed, "owner").unwrap().reveal(), "canary");
        assert!(cipher(1).open(&sealed, "other").is_none());
        assert!(cipher(2).open(&sealed, "owner").is_none());
        assert!(cipher(1).open(&sealed[..30], "owner").is_none());
        assert!(cipher(1).open(&[], "owner").is_none());
    }

    #[test]
    fn secret_is_not_shown() {
        assert_eq!(format!("{:?}", Secret::new("canary")), "Secret(…)");
    }
}
