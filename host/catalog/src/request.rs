//! Questions to the host that have one answer: test a connection, list tables, check a task, reload tables, cut over.
//!
//! ```text
//!   waiting ──take_request──▶ taken ──finish_request──▶ succeeded | failed
//!      ▲                        │
//!      └──── requeue_taken ─────┘   by a host that starts: the one that took it is dead
//! ```
//!
//! A request that equals a waiting one is not doubled. Of finished ones the last few of each subject are kept, so that
//! the last result of a connection test can be read later.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use tidegate_model::TenantId;

use crate::task::Failure;
use crate::{Catalog, CatalogError, now_us, tenant_of};

/// Finished requests kept for each kind and subject. By guess.
const FINISHED_KEPT: i64 = 10;

/// A waiter looks again after this long even when nobody woke it, for a host in another process.
const POLL: Duration = Duration::from_millis(500);

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RequestKind {
    /// Connect to an endpoint. Subject: endpoint id. Payload: null. Result: [`ConnectionReport`].
    TestConnection,
    /// List an endpoint's schemas and tables. Subject: endpoint id. Payload: null. Result: [`TableListing`].
    ListTables,
    /// Find what would stop a task. Subject: task name. Payload: null. Result: [`CheckReport`].
    CheckTask,
    /// Load tables of a running task again. Subject: task name. Payload: [`ReloadPayload`]. Result: null.
    ReloadTables,
    /// Run a module on rows. Subject: module name. Payload: [`crate::ModuleTestPayload`]. Result: the host's report. Never
    /// kept: see [`Catalog::submit_module_test`].
    TestModule,
    /// List rows that a task rejected. Subject: task name. Payload: [`ErrorsPayload`]. Result: [`ErrorListing`].
    ListErrors,
    /// Replay rows that a running task rejected. Subject: task name. Payload: [`ReloadPayload`], empty for every table.
    /// Result: [`ReplayCounts`].
    ReplayErrors,
    /// Swap the version of a module of a running task. Subject: task name. Payload: [`SwapPayload`]. Result: [`SwapReport`].
    SwapModule,
    /// Bring a running task to its source's end and move the target's counters. Subject: task name. Payload: null.
    /// Result: [`CutOverReport`].
    CutOver,
}

impl RequestKind {
    const ALL: [RequestKind; 9] = [
        RequestKind::TestConnection,
        RequestKind::ListTables,
        RequestKind::CheckTask,
        RequestKind::ReloadTables,
        RequestKind::ListErrors,
        RequestKind::ReplayErrors,
        RequestKind::TestModule,
        RequestKind::SwapModule,
        RequestKind::CutOver,
    ];

    /// The kind in lower case with hyphens: `test-connection`.
    pub fn as_str(self) -> &'static str {
        match self {
            RequestKind::TestConnection => "test-connection",
            RequestKind::ListTables => "list-tables",
            RequestKind::CheckTask => "check-task",
            RequestKind::ReloadTables => "reload-tables",
            RequestKind::TestModule => "test-module",
            RequestKind::ListErrors => "list-errors",
            RequestKind::ReplayErrors => "replay-errors",
            RequestKind::SwapModule => "swap-module",
            RequestKind::CutOver => "cut-over",
        }
    }

    fn named(text: &str) -> Option<RequestKind> {
        RequestKind::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// Where a request is.
#[derive(Debug, Clone, PartialEq)]
pub enum RequestState {
    /// Nobody has it yet.
    Waiting,
    /// A host works on it.
    Taken,
    /// Done, with the result that its kind names.
    Succeeded(Value),
    /// Not done.
    Failed(Failure),
}

impl RequestState {
    /// True when there is a result or a failure.
    pub fn is_finished(&self) -> bool {
        matches!(self, RequestState::Succeeded(_) | RequestState::Failed(_))
    }
}

/// A request.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestRecord {
    /// Who asks.
    pub tenant: TenantId,
    /// Grows with each request.
    pub id: i64,
    /// What is asked.
    pub kind: RequestKind,
    /// About what; see [`RequestKind`].
    pub subject: String,
    /// Details; see [`RequestKind`].
    pub payload: Value,
    /// Where it is.
    pub state: RequestState,
    /// Microseconds since 1970.
    pub created_at_us: i64,
    /// Microseconds since 1970.
    pub finished_at_us: Option<i64>,
}

/// The result of [`RequestKind::TestConnection`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ConnectionReport {
    /// The server's own version text.
    pub version: String,
}

/// The result of [`RequestKind::ListTables`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TableListing {
    /// Schemas (databases), by name.
    pub schemas: Vec<String>,
    /// Tables, by schema and name.
    pub tables: Vec<ListedTable>,
}

/// A table of a [`TableListing`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListedTable {
    /// Schema or database.
    pub schema: String,
    /// Its own name.
    pub table: String,
}

/// The payload of [`RequestKind::ReloadTables`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReloadPayload {
    /// Names at the source.
    pub tables: Vec<ListedTable>,
}

/// The payload of [`RequestKind::ListErrors`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorsPayload {
    /// Entries with higher numbers are listed.
    pub after: i64,
    /// At most so many.
    pub limit: u32,
}

/// The result of [`RequestKind::ListErrors`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ErrorListing {
    /// Entries in the order of their numbers.
    pub errors: Vec<ErrorRecord>,
}

/// A row that a task rejected. Its values stay in the target, but for those of its key.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ErrorRecord {
    /// Grows with each entry.
    pub number: i64,
    /// Schema or database at the source.
    pub schema: String,
    /// The table's own name.
    pub table: String,
    /// The key as an object; null for keyless tables.
    pub key: Value,
    /// `load`, `insert`, `update` or `delete`.
    pub operation: String,
    /// The transaction at the source; null for a row of the full load.
    pub position: Option<String>,
    /// The module at fault.
    pub module: Option<String>,
    /// Its digest.
    pub digest: Option<String>,
    /// Stable code.
    pub code: String,
    /// What happened.
    pub message: String,
    /// True when the target keeps the row so that it can be replayed.
    pub replayable: bool,
    /// How often the row was rejected.
    pub times: u64,
    /// When last, microseconds since 1970 on the target's clock.
    pub at_us: i64,
}

/// The result of [`RequestKind::ReplayErrors`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReplayCounts {
    /// Rows that are level now.
    pub replayed: u64,
    /// Rows that were rejected again.
    pub rejected: u64,
    /// Rows that only a reload of their table brings.
    pub left: u64,
}

/// The payload of [`RequestKind::SwapModule`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwapPayload {
    /// The module's name.
    pub module: String,
    /// `latest`, or `sha256:` and the digest.
    pub version: String,
    /// Between 0 and 1: for the first of the module's tables by name; `None` for all.
    pub share_of_tables: Option<f64>,
}

/// The result of [`RequestKind::SwapModule`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SwapReport {
    /// The module's name.
    pub module: String,
    /// Digest of the version.
    pub digest: String,
    /// Tables that have it now.
    pub tables: Vec<ListedTable>,
}

/// The result of [`RequestKind::CutOver`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CutOverReport {
    /// The end of the source's log that the target came to.
    pub position: String,
    /// Counters of the target that were moved on.
    pub counters_moved: u64,
}

/// The result of [`RequestKind::CheckTask`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CheckReport {
    /// Everything found, worst first.
    pub findings: Vec<FindingRecord>,
}

/// One result of a check.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FindingRecord {
    /// `info`, `warning` or `error`.
    pub severity: String,
    /// Stable code.
    pub code: String,
    /// The object, with its kind.
    pub object: String,
    /// What was found.
    pub found: String,
    /// What is wanted.
    pub wanted: String,
    /// The command that fixes it.
    pub fix: Option<String>,
}

impl Catalog {
    /// Asks the host. A waiting request of the same kind, subject and payload is answered instead of a new one.
    ///
    /// # Errors
    /// [`CatalogError::Storage`]. Whether the subject exists is the caller's business.
    pub async fn submit_request(&self, kind: RequestKind, subject: &str, payload: &Value) -> Result<RequestRecord, CatalogError> {
        let payload = payload.to_string();
        let mut tx = self.write().await?;
        let same = sqlx::query(
            "SELECT id FROM requests WHERE tenant = $1 AND kind = $2 AND subject = $3 AND state = 'waiting' AND payload = $4 LIMIT 1",
        )
        .bind(self.tenant.as_str())
        .bind(kind.as_str())
        .bind(subject)
        .bind(&payload)
        .fetch_optional(&mut *tx)
        .await?;
        let id = match same {
            Some(row) => row.try_get(0)?,
            None => sqlx::query(
                "INSERT INTO requests (tenant, kind, subject, payload, state, created_at)
                     VALUES ($1, $2, $3, $4, 'waiting', $5) RETURNING id",
            )
            .bind(self.tenant.as_str())
            .bind(kind.as_str())
            .bind(subject)
            .bind(&payload)
            .bind(now_us())
            .fetch_one(&mut *tx)
            .await?
            .try_get(0)?,
        };
        tx.commit().await?;
        self.wake_host();
        self.get_request(id).await
    }

    /// A waiting request of one of these kinds, which is the caller's from now on. Tenants take turns, so that one who asks a lot holds up
    /// nobody else: the one that has the fewest taken is next, or else the one whose turn was the longest ago. Of its requests, the
    /// first kind comes first, and the oldest of it.
    ///
    /// # Errors
    /// [`CatalogError::Storage`].
    pub async fn take_request(&self, kinds: &[RequestKind]) -> Result<Option<RequestRecord>, CatalogError> {
        // Nothing is written where nothing waits, which is asked often.
        let waits = "SELECT 1 FROM requests WHERE state = 'waiting' LIMIT 1";
        if sqlx::query(waits).fetch_optional(&self.inner.pool).await?.is_none() {
            return Ok(None);
        }
        let mut tx = self.write().await?;
        let waiting = sqlx::query(
            "SELECT r.kind, COALESCE((SELECT t.last_turn FROM tenants t WHERE t.name = r.tenant), 0),
               (SELECT COUNT(*) FROM requests o WHERE o.tenant = r.tenant AND o.state = 'taken'), MIN(r.id)
             FROM requests r WHERE r.state = 'waiting' GROUP BY r.tenant, r.kind",
        )
        .fetch_all(&mut *tx)
        .await?;
        let mut next: Option<(i64, i64, usize, i64)> = None;
        for row in &waiting {
            let kind = RequestKind::named(row.try_get(0)?);
            let Some(place) = kind.and_then(|kind| kinds.iter().position(|one| *one == kind)) else { continue };
            let one = (row.try_get(2)?, row.try_get(1)?, place, row.try_get(3)?);
            next = Some(next.map_or(one, |next| next.min(one)));
        }
        let Some((.., id)) = next else { return Ok(None) };
        let row = sqlx::query("UPDATE requests SET state = 'taken' WHERE id = $1 RETURNING *").bind(id).fetch_one(&mut *tx).await?;
        let request = request_from(&row)?;
        sqlx::query("UPDATE tenants SET last_turn = (SELECT MAX(last_turn) + 1 FROM tenants) WHERE name = $1")
            .bind(request.tenant.as_str())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(Some(request))
    }

    /// Makes every taken request of every tenant waiting again, and forgets tests of modules. For a host that starts: whoever took them is
    /// dead. Answers how many.
    ///
    /// # Errors
    /// [`CatalogError::Storage`].
    pub async fn requeue_taken(&self) -> Result<u64, CatalogError> {
        self.forget_module_tests().await?;
        let done = sqlx::query("UPDATE requests SET state = 'waiting' WHERE state = 'taken'").execute(&self.inner.pool).await?;
        Ok(done.rows_affected())
    }

    /// Finishes a request: its result, or why there is none. A request whose subject was deleted meanwhile is ignored.
    ///
    /// # Errors
    /// [`CatalogError::Storage`].
    pub async fn finish_request(&self, id: i64, outcome: Result<Value, Failure>) -> Result<(), CatalogError> {
        let (state, result) = match &outcome {
            Ok(value) => ("succeeded", value.to_string()),
            Err(failure) => ("failed", serde_json::to_string(failure).expect("a failure has string keys only")),
        };
        let mut tx = self.write().await?;
        let row =
            sqlx::query("UPDATE requests SET state = $2, result = $3, finished_at = $4 WHERE id = $1 RETURNING kind, subject, tenant")
                .bind(id)
                .bind(state)
                .bind(result)
                .bind(now_us())
                .fetch_optional(&mut *tx)
                .await?;
        if let Some(row) = row {
            sqlx::query(
                "DELETE FROM requests WHERE tenant = $1 AND kind = $2 AND subject = $3 AND state IN ('succeeded', 'failed') AND id <=
                   (SELECT id FROM requests WHERE tenant = $1 AND kind = $2 AND subject = $3 AND state IN ('succeeded', 'failed')
                    ORDER BY id DESC LIMIT 1 OFFSET $4)",
            )
            .bind(row.try_get::<String, _>(2)?)
            .bind(row.try_get::<String, _>(0)?)
            .bind(row.try_get::<String, _>(1)?)
            .bind(FINISHED_KEPT)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        self.wake_api();
        Ok(())
    }

    /// A request by its number.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`]: never made, or forgotten since.
    pub async fn get_request(&self, id: i64) -> Result<RequestRecord, CatalogError> {
        let row = sqlx::query("SELECT * FROM requests WHERE tenant = $1 AND id = $2")
            .bind(self.tenant.as_str())
            .bind(id)
            .fetch_optional(&self.inner.pool)
            .await?;
        request_from(&row.ok_or_else(|| CatalogError::not_found("request", &id.to_string()))?)
    }

    /// The newest request about a subject.
    ///
    /// # Errors
    /// [`CatalogError::Storage`].
    pub async fn latest_request(&self, kind: RequestKind, subject: &str) -> Result<Option<RequestRecord>, CatalogError> {
        let row = sqlx::query("SELECT * FROM requests WHERE tenant = $1 AND kind = $2 AND subject = $3 ORDER BY id DESC LIMIT 1")
            .bind(self.tenant.as_str())
            .bind(kind.as_str())
            .bind(subject)
            .fetch_optional(&self.inner.pool)
            .await?;
        row.as_ref().map(request_from).transpose()
    }

    /// Forgets every request of a kind about a subject (DMS: `DeleteConnection`). Answers how many there were.
    ///
    /// # Errors
    /// [`CatalogError::Storage`].
    pub async fn forget_requests(&self, kind: RequestKind, subject: &str) -> Result<u64, CatalogError> {
        let done = sqlx::query("DELETE FROM requests WHERE tenant = $1 AND kind = $2 AND subject = $3")
            .bind(self.tenant.as_str())
            .bind(kind.as_str())
            .bind(subject)
            .execute(&self.inner.pool)
            .await?;
        Ok(done.rows_affected())
    }

    /// Waits until a request is finished, at most `patience`. What is returned then may still be waiting or taken.
    /// Safe to cancel: it only watches.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`] when the request was forgotten.
    pub async fn wait_for_request(&self, id: i64, patience: Duration) -> Result<RequestRecord, CatalogError> {
        let deadline = tokio::time::Instant::now() + patience;
        let mut news = self.news();
        loop {
            news.mark_unchanged();
            let record = self.get_request(id).await?;
            let now = tokio::time::Instant::now();
            if record.state.is_finished() || now >= deadline {
                return Ok(record);
            }
            // A closed channel cannot be: this handle holds the sender. A timeout is the poll.
            let _ = tokio::time::timeout(POLL.min(deadline - now), news.changed()).await;
        }
    }
}

fn request_from(row: &SqliteRow) -> Result<RequestRecord, CatalogError> {
    let id: i64 = row.try_get("id")?;
    let corrupt = |error: Box<dyn std::error::Error + Send + Sync>| CatalogError::corrupt("request", &id.to_string(), error);
    let kind: &str = row.try_get("kind")?;
    let result: Option<&str> = row.try_get("result")?;
    let state = match (row.try_get::<&str, _>("state")?, result) {
        ("waiting", _) => RequestState::Waiting,
        ("taken", _) => RequestState::Taken,
        ("succeeded", Some(text)) => RequestState::Succeeded(serde_json::from_str(text).map_err(|error| corrupt(error.into()))?),
        ("failed", Some(text)) => RequestState::Failed(serde_json::from_str(text).map_err(|error| corrupt(error.into()))?),
        (other, _) => return Err(corrupt(format!("unknown state {other}").into())),
    };
    Ok(RequestRecord {
        tenant: tenant_of(row)?,
        id,
        kind: RequestKind::named(kind).ok_or_else(|| corrupt(format!("unknown kind {kind}").into()))?,
        subject: row.try_get("subject")?,
        payload: serde_json::from_str(row.try_get("payload")?).map_err(|error| corrupt(error.into()))?,
        state,
        created_at_us: row.try_get("created_at")?,
        finished_at_us: row.try_get("finished_at")?,
    })
}
