//! The running stream of a slot: messages in, events out.
//!
//! ```text
//!   Begin … Commit                      one transaction, whole, in commit order
//!   StreamStart … StreamStop            a part of a transaction that is still open; parts of several interleave
//!   StreamAbort(sub) / StreamAbort(top) a part is void / all of it is
//!   StreamCommit                        that transaction is complete
//! ```
//!
//! Everything that was read and not yet returned is state of the stream, so a cancelled call loses nothing.

use std::collections::HashSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use tidegate_connector::{ChangeStream, ConnectorError, StreamEvent, TxId};
use tidegate_model::{Change, Lsn, Position, Row, RowChange, TxMark};
use tokio::time::Instant;

use super::loopback::LeftOut;
use super::relations::{Known, Relations, unknown};
use crate::pgoutput::{Malformed, Message, OldTuple, Tuple, decode};
use crate::types::calendar::EPOCH_US;
use crate::wire::{CopyMessage, WireConnection};

/// Status messages go out at least this often; PostgreSQL's `wal_sender_timeout` is 60 seconds by default, and a
/// server may have it as low as a few seconds, in which case it asks for a reply in time.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);
/// After so much silence the server is asked for a reply.
const SILENCE_ASKED: Duration = Duration::from_secs(15);
/// After so much silence the connection counts as dead, though nothing on the way said so. PostgreSQL's own subscribers
/// wait as long (`wal_receiver_timeout`).
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// A confirmed position that moved is sent at most this often.
const CONFIRM_INTERVAL: Duration = Duration::from_millis(500);
/// A call returns after about this much.
const EVENTS_BYTES: usize = 1 << 20;

/// Where in the message stream we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Between,
    /// Between Begin and Commit of this transaction.
    Transaction(u32),
    /// Between Stream Start and Stream Stop of this top-level transaction.
    StreamBlock(u32),
}

/// See the module's documentation.
pub(crate) struct PostgresStream {
    wire: WireConnection,
    slot: String,
    relations: Relations,
    left_out: LeftOut,
    place: Place,
    /// Top-level transactions of which parts have come.
    streamed: HashSet<u32>,
    /// A message that is taken in but not yet worked off.
    pending: Option<Bytes>,
    events: Vec<StreamEvent>,
    events_bytes: usize,
    /// Where the stream began, and where it is.
    from: Lsn,
    end: Lsn,
    confirmed: Lsn,
    confirmed_sent: Lsn,
    status_sent: Instant,
    status_wanted: bool,
    /// When bytes last came.
    heard: Instant,
    /// Time in which messages were worked off.
    decoded: Duration,
}

impl PostgresStream {
    /// A stream that was just started from `from`.
    pub(crate) fn new(wire: WireConnection, slot: String, relations: Relations, from: Lsn, left_out: LeftOut) -> Self {
        Self {
            wire,
            slot,
            relations,
            left_out,
            place: Place::Between,
            streamed: HashSet::new(),
            pending: None,
            events: Vec::new(),
            events_bytes: 0,
            from,
            end: from,
            confirmed: from,
            confirmed_sent: Lsn(0),
            status_sent: Instant::now(),
            status_wanted: true,
            heard: Instant::now(),
            decoded: Duration::ZERO,
        }
    }

    /// Works off what has arrived, up to about [`EVENTS_BYTES`].
    async fn drain(&mut self) -> Result<(), ConnectorError> {
        while self.events_bytes < EVENTS_BYTES {
            if self.pending.is_none() {
                match self.wire.copied(&self.slot)? {
                    None => return Ok(()),
                    Some(CopyMessage::KeepAlive { end, reply }) => {
                        self.status_wanted |= reply;
                        self.idle(end);
                        continue;
                    }
                    Some(CopyMessage::Data(bytes)) => self.pending = Some(bytes),
                }
            }
            self.work_off().await?;
        }
        Ok(())
    }

    /// A keep-alive tells how far the server has decoded. It is a place to confirm only while no transaction is open
    /// here: everything before it was then delivered.
    fn idle(&mut self, end: Lsn) {
        self.end = self.end.max(end);
        if self.place != Place::Between || !self.streamed.is_empty() {
            return;
        }
        let event = StreamEvent::Idle { position: Position::Postgres(end) };
        match self.events.last_mut() {
            Some(last @ StreamEvent::Idle { .. }) => *last = event,
            _ => self.push(event, 0),
        }
    }

    async fn work_off(&mut self) -> Result<(), ConnectorError> {
        let Some(bytes) = self.pending.clone() else { return Ok(()) };
        let message = decode(&bytes, matches!(self.place, Place::StreamBlock(_)))?;
        let top = self.top();
        if message.changes_rows() && self.xid().is_some_and(|xid| self.left_out.has(xid)) {
            self.pending = None;
            return Ok(());
        }
        // The catalog may be asked here. Until the message is worked off it stays pending, so that a cancelled call
        // asks again.
        match &message {
            Message::Insert { oid, .. } | Message::Update { oid, .. } | Message::Delete { oid, .. } => {
                self.relations.prepare(*oid, top, &mut self.events).await?;
            }
            Message::Truncate { oids, .. } => {
                for oid in oids {
                    self.relations.prepare(*oid, top, &mut self.events).await?;
                }
            }
            _ => {}
        }
        self.take(message, &bytes)?;
        self.pending = None;
        Ok(())
    }

    /// `bytes` are those of the message.
    fn take(&mut self, message: Message<'_>, bytes: &Bytes) -> Result<(), ConnectorError> {
        match message {
            Message::Ignored => {}
            Message::Logical { prefix, content } => {
                let xid = self.xid().ok_or(Malformed("a message of a transaction outside of one"))?;
                self.left_out.receive(xid, prefix, content);
            }
            Message::Begin { xid } => self.enter(Place::Transaction(xid))?,
            Message::StreamStart { xid } => {
                self.enter(Place::StreamBlock(xid))?;
                self.streamed.insert(xid);
            }
            Message::StreamStop => match self.place {
                Place::StreamBlock(_) => self.place = Place::Between,
                _ => return Err(Malformed("Stream Stop without Stream Start").into()),
            },
            Message::Commit { end, committed_at_us } => match self.place {
                Place::Transaction(xid) => {
                    self.place = Place::Between;
                    self.commit(xid, end, committed_at_us);
                }
                _ => return Err(Malformed("Commit without Begin").into()),
            },
            Message::StreamCommit { xid, end, committed_at_us } => {
                self.between("Stream Commit inside a transaction")?;
                self.streamed.remove(&xid);
                self.relations.committed(xid);
                self.commit(xid, end, committed_at_us);
            }
            Message::StreamAbort { xid, sub_xid } => {
                self.between("Stream Abort inside a transaction")?;
                if xid == sub_xid {
                    self.streamed.remove(&xid);
                    self.relations.aborted(xid);
                    self.left_out.end(xid);
                }
                self.push(StreamEvent::Abort { tx: tx_id(xid), sub: tx_id(sub_xid) }, 0);
            }
            Message::Relation { relation, .. } => self.relations.receive(self.top(), relation),
            Message::Insert { xid, oid, new } => {
                let known = self.known(oid)?;
                let change = RowChange::Insert { new: image(known, &new, None, bytes)? };
                let change = Change::Row { relation: known.id, change };
                self.change(xid, change)?;
            }
            Message::Update { xid, oid, old, new } => {
                let known = self.known(oid)?;
                let new = image(known, &new, None, bytes)?;
                let change = match old {
                    None => RowChange::Update { old: None, new },
                    Some(OldTuple::Key(key)) => RowChange::Update { old: Some(image(known, &key, Some(&known.key), bytes)?), new },
                    Some(OldTuple::Full(old)) => {
                        // Even with full old images the new one leaves out large values that did not change.
                        let old = image(known, &old, None, bytes)?;
                        let new = new.filled_from(&old);
                        RowChange::Update { old: Some(old), new }
                    }
                };
                let change = Change::Row { relation: known.id, change };
                self.change(xid, change)?;
            }
            Message::Delete { xid, oid, old } => {
                let known = self.known(oid)?;
                let old = match old {
                    OldTuple::Key(key) => image(known, &key, Some(&known.key), bytes)?,
                    OldTuple::Full(old) => image(known, &old, None, bytes)?,
                };
                let change = Change::Row { relation: known.id, change: RowChange::Delete { old } };
                self.change(xid, change)?;
            }
            Message::Truncate { xid, oids } => {
                let relations = oids.iter().map(|oid| Ok(self.known(*oid)?.id)).collect::<Result<Vec<_>, ConnectorError>>()?;
                self.change(xid, Change::Truncate { relations })?;
            }
        }
        Ok(())
    }

    fn top(&self) -> Option<u32> {
        match self.place {
            Place::StreamBlock(top) => Some(top),
            Place::Between | Place::Transaction(_) => None,
        }
    }

    /// The top-level transaction that we are in.
    fn xid(&self) -> Option<u32> {
        match self.place {
            Place::Transaction(xid) | Place::StreamBlock(xid) => Some(xid),
            Place::Between => None,
        }
    }

    fn known(&self, oid: u32) -> Result<&Known, ConnectorError> {
        self.relations.get(oid, self.top()).ok_or_else(|| unknown(oid))
    }

    fn enter(&mut self, place: Place) -> Result<(), ConnectorError> {
        self.between("a transaction inside another")?;
        self.place = place;
        Ok(())
    }

    fn between(&self, otherwise: &'static str) -> Result<(), ConnectorError> {
        if self.place == Place::Between { Ok(()) } else { Err(Malformed(otherwise).into()) }
    }

    fn change(&mut self, xid: Option<u32>, change: Change) -> Result<(), ConnectorError> {
        let (tx, sub) = match (self.place, xid) {
            (Place::Transaction(xid), None) => (xid, xid),
            (Place::StreamBlock(top), Some(sub)) => (top, sub),
            _ => return Err(Malformed("a change outside a transaction").into()),
        };
        let bytes = change.bytes_held();
        self.push(StreamEvent::Change { tx: tx_id(tx), sub: tx_id(sub), change }, bytes);
        Ok(())
    }

    fn commit(&mut self, xid: u32, end: Lsn, committed_at_us: i64) {
        self.end = self.end.max(end);
        if self.left_out.end(xid) {
            // Nobody hears of it but as of a place that there is nothing before.
            self.idle(end);
            return;
        }
        self.push(StreamEvent::Commit { tx: tx_id(xid), mark: TxMark::Postgres { end }, committed_at_us, place: None }, 0);
    }

    fn push(&mut self, event: StreamEvent, bytes: usize) {
        self.events_bytes += bytes + size_of::<StreamEvent>();
        self.events.push(event);
    }

    async fn wait_for_events(&mut self) -> Result<Vec<StreamEvent>, ConnectorError> {
        loop {
            let since = Instant::now();
            self.drain().await?;
            self.decoded += since.elapsed();
            let due = self.status();
            self.relations.rest();
            self.wire.flush().await?;
            if !self.events.is_empty() {
                self.events_bytes = 0;
                return Ok(std::mem::take(&mut self.events));
            }
            // Bytes that wait are read before any time-out counts, however long this process stood still. The first
            // time-out only wakes the loop for the next status.
            match tokio::time::timeout_at(due.min(self.heard + SILENCE_MAX), self.wire.receive()).await {
                Ok(received) => {
                    received?;
                    self.heard = Instant::now();
                }
                Err(_) if self.heard.elapsed() >= SILENCE_MAX => {
                    let text = format!("read slot \"{}\": the source was silent for {} s", self.slot, SILENCE_MAX.as_secs());
                    return Err(ConnectorError::transient("source_silent", text));
                }
                Err(_) => {}
            }
        }
    }

    /// Writes a status message when one is due. Returns when the next one is.
    fn status(&mut self) -> Instant {
        let waited = self.status_sent.elapsed();
        let moved = self.confirmed > self.confirmed_sent;
        if self.status_wanted || waited >= STATUS_INTERVAL || (moved && waited >= CONFIRM_INTERVAL) {
            self.wire.put_status(self.confirmed, now_us(), self.heard.elapsed() >= SILENCE_ASKED);
            self.confirmed_sent = self.confirmed;
            self.status_sent = Instant::now();
            self.status_wanted = false;
        }
        let wait = if self.confirmed > self.confirmed_sent { CONFIRM_INTERVAL } else { STATUS_INTERVAL };
        self.status_sent + wait
    }
}

#[async_trait]
impl ChangeStream for PostgresStream {
    async fn next_events(&mut self) -> Result<Vec<StreamEvent>, ConnectorError> {
        match self.wait_for_events().await {
            Err(error) => Err(self.relations.explained(error).await),
            events => events,
        }
    }

    fn log_bytes(&self) -> u64 {
        self.end.0.saturating_sub(self.from.0)
    }

    fn confirm(&mut self, position: &Position) {
        if let Position::Postgres(lsn) = position {
            self.confirmed = self.confirmed.max(*lsn);
        }
    }

    fn decoded(&self) -> Duration {
        self.decoded
    }
}

/// The row of a tuple, whose count of cells must be the description's.
fn image(known: &Known, tuple: &Tuple<'_>, key: Option<&[bool]>, message: &Bytes) -> Result<Row, ConnectorError> {
    if tuple.len() != known.table.schema.columns.len() {
        return Err(Malformed("a row has another count of cells than its table's description").into());
    }
    Ok(tuple.row(key.unwrap_or_default(), message)?)
}

fn tx_id(xid: u32) -> TxId {
    TxId(u64::from(xid))
}

/// Microseconds since 2000-01-01, for the server's statistics alone.
fn now_us() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX).saturating_sub(EPOCH_US)
}
