//! What happened, for people: a bounded log of each task.

use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::{Catalog, CatalogError, now_us};

/// Events kept for each task, and as many for everything outside tasks. By guess: months of an ordinary task.
pub const EVENTS_KEPT: i64 = 10_000;

/// A message is cut to this many characters, so that a hostile server's error cannot fill the catalog.
const MESSAGE_CHARS_MAX: usize = 4_000;

/// The kind of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventCategory {
    /// Something was created.
    Creation,
    /// Something was deleted.
    Deletion,
    /// A definition was changed.
    ConfigurationChange,
    /// A task started, stopped, or entered another phase.
    StateChange,
    /// A task or table failed.
    Failure,
    /// Something about one table: reloaded, schema changed.
    Table,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventSeverity {
    /// Worth knowing.
    Info,
    /// Somebody should look.
    Warning,
    /// Something does not work.
    Error,
}

/// An event to be recorded now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// The task it is about.
    pub task: Option<String>,
    /// Its kind.
    pub category: EventCategory,
    /// How bad it is.
    pub severity: EventSeverity,
    /// One sentence, without row values or passwords.
    pub message: String,
}

/// A recorded event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EventRecord {
    /// Grows with each event.
    pub seq: i64,
    /// Microseconds since 1970.
    pub at_us: i64,
    /// The task it is about.
    pub task: Option<String>,
    /// Its kind.
    pub category: EventCategory,
    /// How bad it is.
    pub severity: EventSeverity,
    /// One sentence.
    pub message: String,
}

/// Which events to list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventFilter {
    /// Only of this task.
    pub task: Option<String>,
    /// Only later ones than this.
    pub after_seq: Option<i64>,
    /// Only at or after this time, microseconds since 1970.
    pub since_us: Option<i64>,
    /// Only before this time.
    pub until_us: Option<i64>,
}

impl Catalog {
    /// Records an event and forgets those of the same task beyond [`EVENTS_KEPT`]. Answers its number.
    ///
    /// # Errors
    /// [`CatalogError::Storage`].
    pub async fn append_event(&self, event: &NewEvent) -> Result<i64, CatalogError> {
        let message: String = event.message.chars().take(MESSAGE_CHARS_MAX).collect();
        let mut tx = self.write().await?;
        let row =
            sqlx::query("INSERT INTO events (tenant, at, task, category, severity, message) VALUES ($1, $2, $3, $4, $5, $6) RETURNING seq")
                .bind(self.tenant.as_str())
                .bind(now_us())
                .bind(&event.task)
                .bind(word(&event.category))
                .bind(word(&event.severity))
                .bind(message)
                .fetch_one(&mut *tx)
                .await?;
        sqlx::query(
            "DELETE FROM events WHERE tenant = $1 AND task IS NOT DISTINCT FROM $2 AND seq <=
               (SELECT seq FROM events WHERE tenant = $1 AND task IS NOT DISTINCT FROM $2 ORDER BY seq DESC LIMIT 1 OFFSET $3)",
        )
        .bind(self.tenant.as_str())
        .bind(&event.task)
        .bind(EVENTS_KEPT)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        self.wake_api();
        Ok(row.try_get(0)?)
    }

    /// At most `limit` events, oldest first. Go on with `after_seq` of the last one.
    ///
    /// # Errors
    /// [`CatalogError::Storage`].
    pub async fn list_events(&self, filter: &EventFilter, limit: u32) -> Result<Vec<EventRecord>, CatalogError> {
        let rows = sqlx::query(
            "SELECT seq, at, task, category, severity, message FROM events
             WHERE tenant = $1 AND ($2 IS NULL OR task = $2) AND seq > $3 AND at >= $4 AND at < $5 ORDER BY seq LIMIT $6",
        )
        .bind(self.tenant.as_str())
        .bind(&filter.task)
        .bind(filter.after_seq.unwrap_or(0))
        .bind(filter.since_us.unwrap_or(0))
        .bind(filter.until_us.unwrap_or(i64::MAX))
        .bind(limit)
        .fetch_all(&self.inner.pool)
        .await?;
        rows.iter().map(event_from).collect()
    }

    /// The newest `limit` events, oldest first.
    ///
    /// # Errors
    /// [`CatalogError::Storage`].
    pub async fn latest_events(&self, task: Option<&str>, limit: u32) -> Result<Vec<EventRecord>, CatalogError> {
        let rows = sqlx::query(
            "SELECT seq, at, task, category, severity, message FROM events
             WHERE tenant = $1 AND ($2 IS NULL OR task = $2) ORDER BY seq DESC LIMIT $3",
        )
        .bind(self.tenant.as_str())
        .bind(task)
        .bind(limit)
        .fetch_all(&self.inner.pool)
        .await?;
        rows.iter().rev().map(event_from).collect()
    }
}

fn event_from(row: &SqliteRow) -> Result<EventRecord, CatalogError> {
    let seq: i64 = row.try_get("seq")?;
    let corrupt = |error| CatalogError::corrupt("event", &seq.to_string(), error);
    let category: String = row.try_get("category")?;
    let severity: String = row.try_get("severity")?;
    Ok(EventRecord {
        seq,
        at_us: row.try_get("at")?,
        task: row.try_get("task")?,
        category: serde_json::from_value(category.into()).map_err(corrupt)?,
        severity: serde_json::from_value(severity.into()).map_err(corrupt)?,
        message: row.try_get("message")?,
    })
}

/// The kebab-case word of a unit variant.
fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        Ok(_) | Err(_) => unreachable!("unit variants become strings"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn oldest_events_of_a_task_go_and_others_stay() {
        let dir = tempfile::TempDir::new().unwrap();
        let catalog = Catalog::open(dir.path()).await.unwrap();
        // Written in one statement: ten thousand appends would wait for the disk ten thousand times.
        sqlx::query(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
             INSERT INTO events (tenant, at, task, category, severity, message)
             SELECT 'default', i, CASE WHEN i = 5 THEN NULL ELSE 'orders' END, 'creation', 'info', 'm' FROM n",
        )
        .bind(EVENTS_KEPT + 50)
        .execute(&catalog.inner.pool)
        .await
        .unwrap();
        let event = NewEvent {
            task: Some("orders".into()),
            category: EventCategory::Failure,
            severity: EventSeverity::Error,
            message: "new".into(),
        };
        catalog.append_event(&event).await.unwrap();
        let count = async |task: Option<&str>| {
            let row = sqlx::query("SELECT COUNT(*), MIN(seq) FROM events WHERE task IS NOT DISTINCT FROM $1").bind(task);
            let row = row.fetch_one(&catalog.inner.pool).await.unwrap();
            (row.get::<i64, _>(0), row.get::<i64, _>(1))
        };
        assert_eq!(count(Some("orders")).await, (EVENTS_KEPT, 52));
        assert_eq!(count(None).await, (1, 5));
    }
}
