//! What the catalog refuses, and what can go wrong with its files.

use std::path::{Path, PathBuf};

/// An error of the catalog. Messages name objects and states, never a password or a document's content.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// No such object.
    #[error("{kind} \"{name}\" does not exist")]
    NotFound {
        /// `endpoint`, `task`, `module`, …
        kind: &'static str,
        /// What was asked for.
        name: String,
    },
    /// The name or id is taken.
    #[error("{kind} \"{name}\" exists already")]
    AlreadyExists {
        /// `endpoint`, `task`, `module`, …
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// Another object needs it.
    #[error("{kind} \"{name}\" is used by {by}")]
    InUse {
        /// `endpoint`, `module`, …
        kind: &'static str,
        /// The name.
        name: String,
        /// The user, with its kind: `task "orders"`.
        by: String,
    },
    /// It would be more than the tenant may have.
    #[error("it would make {wanted} {what}, wanted at most {limit}")]
    Quota {
        /// `tasks`, `units`, `modules` or `module_bytes`.
        quota: &'static str,
        /// What is counted.
        what: &'static str,
        /// The quota.
        limit: u32,
        /// What there would be.
        wanted: u64,
    },
    /// The object's state does not allow it, or somebody else changed it meanwhile.
    #[error("{kind} \"{name}\" is {found}, wanted {wanted}")]
    Conflict {
        /// `task`, `endpoint`, …
        kind: &'static str,
        /// The name.
        name: String,
        /// Its state.
        found: String,
        /// The state in which it would work.
        wanted: &'static str,
    },
    /// A stored document is not what this version writes.
    #[error("stored {kind} \"{name}\" does not read back")]
    Corrupt {
        /// `endpoint`, `task`, …
        kind: &'static str,
        /// The name.
        name: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The key file does not fit the database.
    #[error("key file \"{}\" {problem}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is the matter.
        problem: &'static str,
    },
    /// A file of the data directory.
    #[error("use file \"{}\"", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The database.
    #[error("use the catalog's database")]
    Storage(#[source] sqlx::Error),
}

impl CatalogError {
    pub(crate) fn not_found(kind: &'static str, name: &str) -> Self {
        CatalogError::NotFound { kind, name: name.chars().take(200).collect() }
    }

    pub(crate) fn exists(kind: &'static str, name: &str) -> Self {
        CatalogError::AlreadyExists { kind, name: name.to_owned() }
    }

    pub(crate) fn conflict(kind: &'static str, name: &str, found: &str, wanted: &'static str) -> Self {
        CatalogError::Conflict { kind, name: name.to_owned(), found: found.to_owned(), wanted }
    }

    pub(crate) fn corrupt(kind: &'static str, name: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        CatalogError::Corrupt { kind, name: name.to_owned(), source: source.into() }
    }

    pub(crate) fn file(path: &Path, source: std::io::Error) -> Self {
        CatalogError::File { path: path.to_owned(), source }
    }
}

impl From<sqlx::Error> for CatalogError {
    fn from(source: sqlx::Error) -> Self {
        CatalogError::Storage(source)
    }
}

/// True when a unique constraint refused the row.
pub(crate) fn is_duplicate(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.is_unique_violation())
}
