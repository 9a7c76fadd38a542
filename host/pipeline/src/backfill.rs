//! Loads that run beside the stream: the first one, that of tables added later, and reloads.
//!
//! ```text
//!   attempt ──start──▶ backfill: snapshot ─▶ load ──events──▶ assembler
//!                          └──────── result ──▶ attempt
//! ```
//!
//! A snapshot may have to wait for the source's open transactions, so it is taken here too. All loads of a task share
//! its load lanes, so a small reload does not wait for the end of a large one.

use std::sync::Arc;

use tidegate_connector::{CaptureScope, ChunkRecord, ConnectorError, Snapshot, TablePreparation};
use tidegate_model::{Position, TableName, Window};
use tokio::task::JoinSet;

use crate::load::{Load, LoadContext, LoadEvent, LoadTable};
use crate::plan::PlannedTable;
use crate::task::TaskError;

/// A table that is not loaded, or not to its end.
pub(crate) struct Unloaded {
    pub(crate) table: Arc<PlannedTable>,
    pub(crate) preparation: TablePreparation,
    /// The chunks of an interrupted load.
    pub(crate) chunks: Vec<ChunkRecord>,
    /// Rows of an earlier load may be in the target's table.
    pub(crate) starts_over: bool,
}

impl Unloaded {
    /// What the target's table goes through, as far as it is known before there is a snapshot.
    pub(crate) fn expected(&self) -> TablePreparation {
        match self.preparation {
            // Its definition may be what changed.
            TablePreparation::Keep | TablePreparation::Truncate if self.starts_over => TablePreparation::Fit,
            other => other,
        }
    }

    /// How the table goes on from this snapshot. Chunks of two snapshots fit together only when rows have keys and the
    /// log brings both to the same place; otherwise the table starts over.
    /// A table whose key comes after its rows (`late_key`) starts over, too.
    pub(crate) fn onward(self, snapshot: &dyn Snapshot, captures: bool, late_key: bool) -> LoadTable {
        let expected = self.expected();
        let Unloaded { table, preparation, chunks, .. } = self;
        let some_loaded = chunks.iter().any(|record| record.loaded.is_some());
        let keyed = !table.target.identity.is_empty() && !table.target.primary_key.is_empty();
        let has_late_key = late_key && preparation == TablePreparation::DropAndCreate;
        if some_loaded && keyed && !has_late_key && captures && snapshot.resumable(&table.source) {
            return LoadTable { table, preparation: TablePreparation::Keep, chunks };
        }
        let preparation = match preparation {
            // Rows of an earlier load are in the table: they go, also where the task was to keep what it found.
            TablePreparation::Keep if some_loaded => TablePreparation::Truncate,
            _ => expected,
        };
        LoadTable { table, preparation, chunks: Vec::new() }
    }
}

/// Tables to load together.
pub(crate) struct Order {
    /// The snapshot, where there is one already.
    pub(crate) snapshot: Option<Arc<dyn Snapshot>>,
    pub(crate) scope: CaptureScope,
    pub(crate) tables: Vec<Unloaded>,
    /// From where on the stream brings the tables' changes, which a new snapshot must have reached.
    pub(crate) since: Position,
}

/// The loads under way. Dropping it stops them; what they did not commit is rolled back.
pub(crate) struct Backfill {
    context: LoadContext,
    running: JoinSet<Result<(), TaskError>>,
}

impl Backfill {
    pub(crate) fn new(context: LoadContext) -> Self {
        Self { context, running: JoinSet::new() }
    }

    /// Starts a load.
    pub(crate) fn start(&mut self, order: Order) {
        self.running.spawn_on(backfill(self.context.clone(), order), &crate::plane::control());
    }

    /// The end of one of the loads; for ever while none runs. Safe to cancel.
    pub(crate) async fn ended(&mut self) -> Result<(), TaskError> {
        match self.running.join_next().await {
            Some(Ok(result)) => result,
            Some(Err(error)) => Err(TaskError::Panicked(error.to_string())),
            None => std::future::pending().await,
        }
    }

    /// Stops all loads and waits until they have.
    pub(crate) async fn stop(&mut self) {
        self.running.shutdown().await;
    }
}

/// Runs one load to its end.
pub(crate) async fn backfill(context: LoadContext, order: Order) -> Result<(), TaskError> {
    let Order { snapshot, scope, tables, since } = order;
    let snapshot = match snapshot {
        Some(snapshot) => snapshot,
        None => {
            context.source.wait_shown(&since).await?;
            Arc::from(context.source.snapshot(&scope).await?)
        }
    };
    let (source, events, late_keys) = (context.source.clone(), context.events.clone(), context.late_keys);
    let tables = tables.into_iter().map(|table| table.onward(snapshot.as_ref(), events.is_some(), late_keys)).collect();
    let since = events.is_some().then_some(since);
    Load { snapshot, context, since }.run(tables).await?;
    if let Some(events) = events {
        let log_end = source.log_end().await?;
        let _ = events.send(LoadEvent::AllLoaded { log_end });
    }
    Ok(())
}

/// What a snapshot lacks, and the stream, which begins at `since`, does not bring, would be lost: another server may have answered.
pub(crate) fn refuse_older(since: Option<&Position>, table: &TableName, window: &Window) -> Result<(), ConnectorError> {
    let Some(since) = since.filter(|since| !window.low.covers_position(since)) else { return Ok(()) };
    let text = format!("table \"{table}\" was read as of {}, and the stream brings its changes from {since} on", window.low);
    Err(ConnectorError::transient("snapshot_behind", text).hint("let the endpoint's address lead to one server only"))
}

#[cfg(test)]
mod tests {
    use tidegate_model::Lsn;

    use super::*;

    #[test]
    fn a_snapshot_that_lacks_what_the_stream_does_not_bring_is_refused() {
        let at = |place| Position::Postgres(Lsn(place));
        let read = |since: Option<u64>, low| {
            let window = Window { low: at(low), high: at(90) };
            refuse_older(since.map(at).as_ref(), &TableName::new("s", "t"), &window).map_err(|error| error.code())
        };
        assert_eq!(read(Some(50), 50), Ok(()));
        assert_eq!(read(Some(50), 51), Ok(()));
        assert_eq!(read(Some(50), 49), Err("snapshot_behind"));
        assert_eq!(read(None, 0), Ok(()), "without a stream nothing is to be brought");
    }
}
