//! The catalog: endpoints, modules, tasks, their states and events, kept in SQLite in the data directory.
//!
//! It is the only place where the control plane and the data plane meet. The API writes what is wanted (a task's
//! [`Desired`] state, a [`RequestRecord`]); the host process reads that, does it, and writes back what is
//! (a [`TaskStatus`], a [`TaskProgress`], a request's result). Neither calls the other.
//!
//! ```text
//!   API  ── desired state, requests ──▶  catalog  ◀── status, progress, events, results ──  host
//!                                    work() wakes the host, news() wakes the API
//! ```
//!
//! Both sides may die at any moment: everything here is level-triggered, so a reader that missed a wake-up finds the
//! same facts when it polls. Passwords are encrypted under a key that lies beside the database ([`secret`]).
//! A handle sees one tenant's rows and no others; [`Catalog::of`] is the handle of another tenant. Whoever works for all
//! of them asks for all by name ([`Catalog::changed_tasks`], [`Catalog::take_request`]) and goes on with the tenant's own.
//!
//! It never talks to a source or a target, never compiles a module, and never decides when something runs.

mod aside;
pub mod capacity;
pub mod endpoint;
pub mod error;
pub mod event;
pub mod history;
pub mod key;
mod lease_store;
mod migrations;
pub mod module;
pub mod module_alias;
pub mod module_limits;
pub mod module_test;
pub mod request;
pub mod resource;
pub mod secret;
pub mod table_status;
pub mod task;
mod task_change;
mod task_modules;
mod task_store;
pub mod tenant;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::Rng;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous};
use sqlx::{Row, Sqlite, SqlitePool, Transaction};
use tidegate_model::TenantId;
use tokio::sync::{Mutex, watch};

pub use capacity::{CapacityStatus, StageShares};
pub use endpoint::{EndpointRecord, EndpointSpec, Role, TlsChoice, TlsMode, engine_named};
pub use error::CatalogError;
pub use event::{EventCategory, EventFilter, EventRecord, EventSeverity, NewEvent};
pub use history::{HistoryPoint, TaskHistory, UnitsChange};
pub use key::{KeyKind, KeyOwner, KeyRecord, NewKey};
pub use lease_store::HeldLease;
pub use module::{ModuleRecord, ModuleState, ModuleVersion};
pub use module_alias::{ModuleAlias, TASK_PINS, TASK_PINS_BEFORE};
pub use module_limits::ModuleLimits;
pub use module_test::{ModuleTestPayload, TestRows};
pub use request::{
    CheckReport, ConnectionReport, CutOverReport, ErrorListing, ErrorRecord, ErrorsPayload, FindingRecord, ListedTable, ReloadPayload,
    ReplayCounts, RequestKind, RequestRecord, RequestState, SwapPayload, SwapReport, TableListing,
};
pub use resource::ResourceRecord;
pub use secret::Secret;
pub use table_status::{StageName, TableStatusRecord};
pub use task::{
    Cleanup, Desired, Failure, Lease, Migration, ModuleLogLine, ModuleNumbers, Preparation, RunPhase, StartKind, StopReason,
    TaskDefinition, TaskProgress, TaskRecord, TaskStatus,
};

pub use tenant::{TenantQuotas, TenantRecord};

/// How long a writer waits for another one. SQLite has one writer at a time, and ours are done in milliseconds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// A handle to the catalog, as one tenant sees it. Clones share it.
#[derive(Clone)]
pub struct Catalog {
    inner: Arc<Inner>,
    tenant: TenantId,
}

struct Inner {
    pool: SqlitePool,
    cipher: secret::Cipher,
    modules_dir: PathBuf,
    /// Held while files in `modules_dir` come and go together with their rows.
    module_files: Mutex<()>,
    /// Digests of modules that nothing names any more, until the host asks for them; never held across an await.
    unnamed: std::sync::Mutex<Vec<String>>,
    /// By tenant and task; never held across an await.
    histories: std::sync::Mutex<HashMap<(TenantId, String), history::TaskHistory>>,
    work: watch::Sender<u64>,
    news: watch::Sender<u64>,
}

impl Catalog {
    /// Opens the catalog of a data directory, creating the directory, `catalog.sqlite`, `catalog.key` (mode 0600) and
    /// `modules/` where they are missing, and brings its tables up to date. The handle is the default tenant's.
    ///
    /// # Errors
    /// [`CatalogError::Key`] when the key file is missing or another one than the database was written with;
    /// [`CatalogError::File`] and [`CatalogError::Storage`] when files cannot be created or read.
    pub async fn open(data_dir: &Path) -> Result<Catalog, CatalogError> {
        let modules_dir = data_dir.join("modules");
        std::fs::create_dir_all(&modules_dir).map_err(|source| CatalogError::file(&modules_dir, source))?;
        let database = data_dir.join("catalog.sqlite");
        secret::create_private(&database).map_err(|source| CatalogError::file(&database, source))?;
        let options = SqliteConnectOptions::new()
            .filename(&database)
            .journal_mode(SqliteJournalMode::Wal)
            // NORMAL would lose the last answers that users got when the power fails.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            // What is deleted is overwritten: tests of modules carry rows of a tenant.
            .pragma("secure_delete", "ON")
            .busy_timeout(BUSY_TIMEOUT);
        let pool = SqlitePoolOptions::new().max_connections(4).connect_with(options).await?;
        migrations::migrator().run(&pool).await.map_err(|error| CatalogError::Storage(error.into()))?;
        let cipher = secret::open_cipher(&pool, &data_dir.join("catalog.key")).await?;
        let (work, _) = watch::channel(0);
        let (news, _) = watch::channel(0);
        Ok(Catalog {
            inner: Arc::new(Inner {
                pool,
                cipher,
                modules_dir,
                module_files: Mutex::new(()),
                unnamed: Default::default(),
                histories: Default::default(),
                work,
                news,
            }),
            tenant: TenantId::default(),
        })
    }

    /// The same catalog, as another tenant sees it.
    #[must_use]
    pub fn of(&self, tenant: &TenantId) -> Catalog {
        Catalog { inner: Arc::clone(&self.inner), tenant: tenant.clone() }
    }

    /// Whose rows this handle sees.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Changes whenever there may be something to do for the host: a desired state, a request, a pending module.
    /// Only for writes through this handle and its clones; another process is noticed by polling.
    pub fn work(&self) -> watch::Receiver<u64> {
        self.inner.work.subscribe()
    }

    /// Changes whenever the host has written something back: a status, a result, a module's verdict.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.inner.news.subscribe()
    }

    /// Answers when the database does.
    ///
    /// # Errors
    /// [`CatalogError::Storage`] when it does not.
    pub async fn ping(&self) -> Result<(), CatalogError> {
        sqlx::query("SELECT name FROM facts LIMIT 1").fetch_optional(&self.inner.pool).await?;
        Ok(())
    }

    /// Closes the database; waits for statements under way. Every later call through a clone fails.
    pub async fn close(&self) {
        self.inner.pool.close().await;
    }

    /// A transaction that holds SQLite's write lock from its start: one that upgrades later can fail at once.
    async fn write(&self) -> Result<Transaction<'static, Sqlite>, CatalogError> {
        Ok(self.inner.pool.begin_with("BEGIN IMMEDIATE").await?)
    }

    fn wake_host(&self) {
        self.inner.work.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn wake_api(&self) {
        self.inner.news.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// The tenant that a row belongs to.
fn tenant_of(row: &SqliteRow) -> Result<TenantId, CatalogError> {
    let text: &str = row.try_get("tenant")?;
    TenantId::new(text).map_err(|error| CatalogError::corrupt("tenant", text, error))
}

/// Microseconds since 1970, the catalog's time.
pub fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// A fresh id: 26 random characters of `A-Z0-9`, as in DMS's ARNs.
pub fn new_id() -> String {
    const ALPHABET: &[u8; 36] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    let mut random = rand::rng();
    (0..26).map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())])).collect()
}
