//! Tests of modules: a request that carries rows, and an answer that does.
//!
//! ```text
//!   submit_module_test ──▶ waiting ──take_request──▶ taken ──finish_request──▶ finished ──module_test_answer──▶ gone
//! ```
//!
//! Row values are a tenant's data, so nothing of a test stays: the record is deleted by whoever waited for it, answered
//! or not, and by the next test or the next start of the host when nobody waits any more. No two tests share a record.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::request::{RequestKind, RequestState};
use crate::task::Failure;
use crate::{Catalog, CatalogError, now_us};

/// A test that nobody took away by then is deleted: far longer than anybody waits.
const LEFT_BEHIND: Duration = Duration::from_secs(600);

/// The payload of [`RequestKind::TestModule`]. Its subject is the module's name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleTestPayload {
    /// `latest`, an alias, or `sha256:` and a digest.
    pub version: String,
    /// The module's configuration, as it is passed on.
    pub config: String,
    /// Kind of database that the rows would go to: `postgres`, `mysql` or `mariadb`.
    pub target: String,
    /// Where the rows come from.
    pub rows: TestRows,
}

/// Rows for a test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum TestRows {
    /// Written by the tenant.
    Given {
        /// The table's description, if it is not to be found out from the rows.
        table: Value,
        /// An array of objects.
        rows: Value,
    },
    /// The first rows of a table.
    Sample {
        /// Id of an endpoint.
        endpoint: String,
        /// Schema or database.
        schema: String,
        /// The table's own name.
        table: String,
        /// How many rows at most.
        limit: u32,
    },
}

impl Catalog {
    /// Asks the host to test a module; the request's id.
    ///
    /// # Errors
    /// [`CatalogError::Storage`]. Whether the module exists is the host's business.
    pub async fn submit_module_test(&self, module: &str, payload: &ModuleTestPayload) -> Result<i64, CatalogError> {
        let payload = serde_json::to_string(payload).expect("a test has string keys only");
        let left_behind = i64::try_from(LEFT_BEHIND.as_micros()).unwrap_or(i64::MAX);
        let mut tx = self.write().await?;
        sqlx::query("DELETE FROM requests WHERE tenant = $1 AND kind = $2 AND created_at < $3")
            .bind(self.tenant.as_str())
            .bind(RequestKind::TestModule.as_str())
            .bind(now_us() - left_behind)
            .execute(&mut *tx)
            .await?;
        let id = sqlx::query_scalar(
            "INSERT INTO requests (tenant, kind, subject, payload, state, created_at) VALUES ($1, $2, $3, $4, 'waiting', $5) RETURNING id",
        )
        .bind(self.tenant.as_str())
        .bind(RequestKind::TestModule.as_str())
        .bind(module)
        .bind(payload)
        .bind(now_us())
        .fetch_one(&mut *tx)
        .await?;
        tx.commit().await?;
        self.wake_host();
        Ok(id)
    }

    /// Waits for a test's answer, at most `patience`, and deletes the request in any case; `None` when there was none
    /// by then. A caller that is dropped while it waits leaves the request to the next test.
    ///
    /// # Errors
    /// [`CatalogError::Storage`].
    pub async fn module_test_answer(&self, id: i64, patience: Duration) -> Result<Option<Result<Value, Failure>>, CatalogError> {
        let record = self.wait_for_request(id, patience).await;
        sqlx::query("DELETE FROM requests WHERE tenant = $1 AND id = $2")
            .bind(self.tenant.as_str())
            .bind(id)
            .execute(&self.inner.pool)
            .await?;
        // The write-ahead file has the values still. When readers are in the way, the next checkpoint empties it.
        let _ = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&self.inner.pool).await;
        Ok(match record?.state {
            RequestState::Succeeded(report) => Some(Ok(report)),
            RequestState::Failed(failure) => Some(Err(failure)),
            RequestState::Waiting | RequestState::Taken => None,
        })
    }

    /// Deletes every test of every tenant. For a host that starts: whoever waited for them waits no more.
    pub(crate) async fn forget_module_tests(&self) -> Result<(), CatalogError> {
        sqlx::query("DELETE FROM requests WHERE kind = $1").bind(RequestKind::TestModule.as_str()).execute(&self.inner.pool).await?;
        Ok(())
    }
}
