//! Reads the source's log into the change cache, and tells the source how far the target is.
//!
//! ```text
//!   source log ──▶ capture ──▶ change cache
//!        ▲            ▲
//!        └─ confirm ──┴──── durable checkpoint (watch)
//! ```
//!
//! Capture decides nothing about rows. It ends with an error when the stream breaks: the run then starts again from
//! the checkpoint in the target, which is the only place that knows where to go on.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidegate_connector::{ChangeStream, ConnectorError, Source, StreamEvent};
use tidegate_model::change::RelationId;
use tidegate_model::{Change, Position, TxMark};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::board::{Board, ChangeCounts};
use crate::cache::{Arrived, CacheWriter};
use crate::meter::Stage;
use crate::relations::{Relations, StreamRelations};
use crate::stop_at::{StopAt, Verdict};

/// Decoding that is worth telling without changes: parts of a large transaction that is still open.
const DECODED_MIN: Duration = Duration::from_millis(5);

/// Everything that capture needs; owned by its task.
pub(crate) struct Capture {
    pub(crate) stream: Box<dyn ChangeStream>,
    pub(crate) cache: CacheWriter,
    pub(crate) relations: Relations,
    /// The checkpoint that is durable in the target.
    pub(crate) confirmed: watch::Receiver<Option<Position>>,
    pub(crate) board: Arc<Board>,
    pub(crate) source: Arc<dyn Source>,
    /// Where the stream ends, for a task that has a stop position.
    pub(crate) stop: Option<StopAt>,
    /// Where [`ChangeStream::log_bytes`] is told.
    pub(crate) log_bytes: Arc<AtomicU64>,
}

impl Capture {
    /// Runs until the stream fails or the token is cancelled.
    pub(crate) async fn run(mut self, cancel: CancellationToken) -> Result<(), ConnectorError> {
        let mut numbers = StreamRelations::new(self.relations.clone());
        let mut counts = HashMap::new();
        let mut idle_at = None;
        let board = self.board.clone();
        let mut decoded = self.stream.decoded();
        let mut has_ended = false;
        loop {
            if !has_ended && self.stop.as_ref().is_some_and(StopAt::is_reached) {
                has_ended = true;
                self.cache.end().map_err(cache_error)?;
            }
            let look_at = self.stop.as_ref().and_then(StopAt::look_at).filter(|_| !has_ended);
            let reading = board.meter.enter(Stage::Source);
            let events = tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(()),
                changed = self.confirmed.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    let position = self.confirmed.borrow_and_update().clone();
                    if let Some(position) = position {
                        self.stream.confirm(&position);
                    }
                    continue;
                }
                () = sleep_until(look_at) => {
                    if let Some(stop) = &mut self.stop {
                        stop.look(self.source.as_ref()).await?;
                    }
                    continue;
                }
                events = self.stream.next_events() => events?,
            };
            if has_ended {
                // Read on so that the connection lives until the target has everything before the end.
                continue;
            }
            drop(reading);
            let _storing = board.meter.enter(Stage::Store);
            let mut arrived = Arrived::default();
            let mut moved = false;
            let mut newest: Option<(TxMark, i64)> = None;
            for event in events {
                if let Some(stop) = &mut self.stop {
                    match verdict(stop, &event)? {
                        Verdict::Before => {}
                        Verdict::Last => has_ended = true,
                        Verdict::Behind => {
                            has_ended = true;
                            break;
                        }
                    }
                }
                if let StreamEvent::Idle { position } = &event {
                    // A keep-alive of a source at rest: whoever reads the cache sleeps on.
                    if idle_at.as_ref() == Some(position) {
                        continue;
                    }
                    idle_at = Some(position.clone());
                }
                moved = true;
                if let StreamEvent::Commit { mark, committed_at_us, .. } = &event {
                    newest = Some((mark.clone(), *committed_at_us));
                }
                self.take(&mut numbers, &mut counts, &mut arrived, event)?;
                if has_ended {
                    break;
                }
            }
            if has_ended {
                self.cache.end().map_err(cache_error)?;
            }
            if moved {
                board.log_moves();
            }
            self.log_bytes.store(self.stream.log_bytes(), Ordering::Relaxed);
            self.report(&mut counts);
            if let Some((mark, committed_at_us)) = newest {
                board.read_up_to(mark, committed_at_us);
            }
            // Keep-alives of a source at rest take microseconds, which wait for company: telling them would wake others.
            let now = self.stream.decoded();
            let is_told = arrived != Arrived::default() || now.saturating_sub(decoded) >= DECODED_MIN;
            let since = if is_told { now.saturating_sub(std::mem::replace(&mut decoded, now)) } else { Duration::ZERO };
            board.arrived(arrived, since);
            self.cache.flush().map_err(cache_error)?;
        }
    }

    fn take(
        &mut self,
        numbers: &mut StreamRelations,
        counts: &mut HashMap<RelationId, ChangeCounts>,
        arrived: &mut Arrived,
        event: StreamEvent,
    ) -> Result<(), ConnectorError> {
        match event {
            StreamEvent::Relation { id, table } => numbers.announce(id, table),
            StreamEvent::Change { tx, sub, change } => {
                let change = numbers.translate(change).ok_or_else(|| {
                    ConnectorError::new(
                        tidegate_connector::ErrorClass::Bug,
                        "unannounced_table",
                        "a change came for a table that the stream did not describe",
                    )
                })?;
                if let Change::Row { relation, change } = &change {
                    counts.entry(*relation).or_default().add(change);
                }
                self.cache.push(tx, sub, change).map_err(cache_error)?;
            }
            StreamEvent::Commit { tx, mark, committed_at_us, place: _ } => {
                let of_transaction = self.cache.commit(tx, mark, committed_at_us).map_err(cache_error)?;
                arrived.changes += of_transaction.changes;
                arrived.bytes += of_transaction.bytes;
            }
            StreamEvent::Abort { tx, sub } => self.cache.abort(tx, sub),
            StreamEvent::Idle { position } => self.cache.idle(position).map_err(cache_error)?,
        }
        Ok(())
    }

    fn report(&self, counts: &mut HashMap<RelationId, ChangeCounts>) {
        for (relation, counts) in counts.drain() {
            if let Some(table) = self.relations.get(relation) {
                self.board.captured(&table.schema.name, counts);
            }
        }
    }
}

/// Where an event lies beside the end of the stream. Steps of transactions behind it may come before their commit: they
/// stay open in the cache, and are never applied.
fn verdict(stop: &mut StopAt, event: &StreamEvent) -> Result<Verdict, ConnectorError> {
    match event {
        StreamEvent::Commit { mark, committed_at_us, place, .. } => {
            let verdict = stop.transaction(mark, *committed_at_us, place.as_ref());
            if verdict == Verdict::Behind {
                stop.refuse_missed()?;
            }
            Ok(verdict)
        }
        StreamEvent::Idle { position } => {
            stop.idle(position);
            Ok(Verdict::Before)
        }
        StreamEvent::Relation { .. } | StreamEvent::Change { .. } | StreamEvent::Abort { .. } => Ok(Verdict::Before),
    }
}

async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// A full or failing disk under the cache: what is there is dropped, and the run is tried again from the checkpoint.
pub(crate) fn cache_error(error: std::io::Error) -> ConnectorError {
    ConnectorError::transient("cache_storage", "write or read the change cache's segment files")
        .hint("free space in the data directory; the task goes on by itself")
        .caused_by(error)
}
