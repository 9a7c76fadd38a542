//! Commands of the replication protocol and the messages of its copy stream.

use bytes::{BufMut, Bytes};
use postgres_protocol::message::frontend;
use tidegate_connector::{ConnectorError, Dialect};
use tidegate_model::Lsn;

use super::frame::{Frame, WireConnection, malformed};

/// From this version on, standbys can keep copies of logical slots. Source: PostgreSQL manual, "Logical Replication Failover".
const FAILOVER_SINCE: u32 = 170_000;

/// A row of a simple query's answer.
type TextRow = Vec<Option<String>>;

/// How long a slot lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SlotKind {
    /// Until it is dropped.
    Lasting,
    /// Until the connection ends.
    Temporary,
}

/// A new slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewSlot {
    /// Transactions whose commit record ends here or before are in the snapshot, all others are in the stream.
    pub(crate) consistent_point: Lsn,
    /// The exported snapshot; valid until the next command on this connection.
    pub(crate) snapshot: String,
}

/// A message of the copy stream.
#[derive(Debug, Clone)]
pub(crate) enum CopyMessage {
    /// A message of the output plugin.
    Data(Bytes),
    /// The server is alive.
    KeepAlive {
        /// End of what the server has decoded and sent.
        end: Lsn,
        /// It wants a status at once.
        reply: bool,
    },
}

impl WireConnection {
    /// Runs one statement and returns its rows.
    pub(crate) async fn query(&mut self, attempted: &str, sql: &str) -> Result<Vec<TextRow>, ConnectorError> {
        frontend::query(sql, self.outbox())
            .map_err(|cause| ConnectorError::definite("statement_refused", attempted.to_owned()).caused_by(cause))?;
        self.flush().await?;
        let mut rows = Vec::new();
        loop {
            let Frame { tag, body } = self.next(attempted).await?;
            match tag {
                b'Z' => return Ok(rows),
                b'D' => rows.push(text_row(&body).ok_or_else(|| malformed("a row of a query's answer"))?),
                b'T' | b'C' => {}
                _ => return Err(malformed("an unexpected message in a query's answer")),
            }
        }
    }

    /// System identifier, timeline and database of the server that this connection came to.
    pub(crate) async fn identify_system(&mut self) -> Result<(String, u32, String), ConnectorError> {
        let rows = self.query("identify the source's server", "IDENTIFY_SYSTEM").await?;
        let field = |index: usize| rows.first().and_then(|row| row.get(index)).and_then(Option::as_deref);
        match (field(0), field(1).and_then(|text| text.parse().ok()), field(3)) {
            (Some(system), Some(timeline), Some(database)) => Ok((system.to_owned(), timeline, database.to_owned())),
            _ => Err(malformed("the answer to IDENTIFY_SYSTEM")),
        }
    }

    /// The history of a timeline: a line with number, end and reason for each one before it.
    pub(crate) async fn timeline_history(&mut self, timeline: u32) -> Result<String, ConnectorError> {
        let rows = self.query(&format!("read the history of timeline {timeline}"), &format!("TIMELINE_HISTORY {timeline}")).await?;
        let content = rows.into_iter().next().and_then(|row| row.into_iter().nth(1)).flatten();
        content.ok_or_else(|| malformed("the answer to TIMELINE_HISTORY"))
    }

    /// Creates a logical slot for pgoutput and exports its snapshot. Waits for transactions that are open now.
    ///
    /// Where the server knows of it, a lasting slot is one that standbys keep a copy of, so that a promoted one goes on.
    pub(crate) async fn create_slot(&mut self, slot: &str, kind: SlotKind) -> Result<NewSlot, ConnectorError> {
        let name = Dialect::POSTGRES.identifier(slot);
        let sql = match kind {
            SlotKind::Lasting if self.version().await? >= FAILOVER_SINCE => {
                format!("CREATE_REPLICATION_SLOT {name} LOGICAL pgoutput (SNAPSHOT 'export', FAILOVER true)")
            }
            SlotKind::Lasting => format!("CREATE_REPLICATION_SLOT {name} LOGICAL pgoutput EXPORT_SNAPSHOT"),
            SlotKind::Temporary => format!("CREATE_REPLICATION_SLOT {name} TEMPORARY LOGICAL pgoutput EXPORT_SNAPSHOT"),
        };
        let rows = self.query(&format!("create replication slot \"{slot}\""), &sql).await?;
        let field = |index: usize| rows.first().and_then(|row| row.get(index)).and_then(Option::as_deref);
        match (field(1).and_then(|text| text.parse().ok()), field(2)) {
            (Some(consistent_point), Some(snapshot)) => Ok(NewSlot { consistent_point, snapshot: snapshot.to_owned() }),
            _ => Err(malformed("the answer to CREATE_REPLICATION_SLOT")),
        }
    }

    /// The server's version, as `server_version_num`.
    async fn version(&mut self) -> Result<u32, ConnectorError> {
        let rows = self.query("read the server's version", "SHOW server_version_num").await?;
        let text = rows.first().and_then(|row| row.first()).and_then(Option::as_deref);
        text.and_then(|text| text.parse().ok()).ok_or_else(|| malformed("the answer to SHOW"))
    }

    /// Starts the stream of a slot, with or without logical messages. From then on only [`WireConnection::copied`] and [`WireConnection::put_status`]
    /// may be used.
    pub(crate) async fn start_replication(
        &mut self,
        slot: &str,
        publication: &str,
        from: Lsn,
        with_messages: bool,
    ) -> Result<(), ConnectorError> {
        // The option's value is a list of quoted names inside a literal.
        let publications = Dialect::POSTGRES.literal(&Dialect::POSTGRES.identifier(publication));
        let sql = format!(
            "START_REPLICATION SLOT {} LOGICAL {from} (proto_version '2', publication_names {publications}, \
             binary 'true', streaming 'on', messages '{with_messages}')",
            Dialect::POSTGRES.identifier(slot)
        );
        let attempted = format!("start replication from slot \"{slot}\"");
        frontend::query(&sql, self.outbox())
            .map_err(|cause| ConnectorError::definite("statement_refused", attempted.clone()).caused_by(cause))?;
        self.flush().await?;
        match self.next(&attempted).await?.tag {
            b'W' => Ok(()),
            _ => Err(malformed("an unexpected answer to START_REPLICATION")),
        }
    }

    /// The next message of the stream, if it has arrived.
    pub(crate) fn copied(&mut self, slot: &str) -> Result<Option<CopyMessage>, ConnectorError> {
        while let Some(Frame { tag, body }) = self.arrived()? {
            match tag {
                b'd' => return copy_message(&body).map(Some).ok_or_else(|| malformed("a message of the copy stream")),
                b'N' | b'S' => {}
                b'E' => return Err(super::frame::fault(&body).into_error(&format!("read slot \"{slot}\""))),
                b'c' | b'C' | b'Z' => {
                    return Err(ConnectorError::transient("stream_ended", format!("server ended the stream of slot \"{slot}\"")));
                }
                _ => return Err(malformed("an unexpected message in the copy stream")),
            }
        }
        Ok(None)
    }

    /// Writes a status message: everything up to `confirmed` is durable. `now_us` counts from 2000-01-01.
    pub(crate) fn put_status(&mut self, confirmed: Lsn, now_us: i64, reply: bool) {
        let out = self.outbox();
        out.put_u8(b'd');
        out.put_u32(4 + 1 + 8 * 4 + 1);
        out.put_u8(b'r');
        // Written, flushed and applied are one and the same: what the target has committed.
        for _ in 0..3 {
            out.put_u64(confirmed.0);
        }
        out.put_i64(now_us);
        out.put_u8(u8::from(reply));
    }
}

fn copy_message(body: &Bytes) -> Option<CopyMessage> {
    match *body.first()? {
        // 'w': start, end and clock (8 bytes each), then the data.
        b'w' if body.len() >= 25 => Some(CopyMessage::Data(body.slice(25..))),
        // 'k': end and clock (8 bytes each), then the wish for a reply.
        b'k' if body.len() == 18 => {
            let end = body[1..9].try_into().ok().map(u64::from_be_bytes)?;
            Some(CopyMessage::KeepAlive { end: Lsn(end), reply: body[17] != 0 })
        }
        _ => None,
    }
}

fn text_row(body: &[u8]) -> Option<TextRow> {
    let (count, mut rest) = body.split_first_chunk::<2>()?;
    let mut row = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, after) = rest.split_first_chunk::<4>()?;
        match i32::from_be_bytes(*length) {
            -1 => {
                row.push(None);
                rest = after;
            }
            length => {
                let (text, after) = after.split_at_checked(usize::try_from(length).ok()?)?;
                row.push(Some(std::str::from_utf8(text).ok()?.to_owned()));
                rest = after;
            }
        }
    }
    Some(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keep_alives_and_data_are_told_apart_and_cut_ones_refused() {
        let mut keepalive = vec![b'k'];
        keepalive.extend(7u64.to_be_bytes());
        keepalive.extend([0; 8]);
        keepalive.push(1);
        let read = |bytes: &[u8]| copy_message(&Bytes::copy_from_slice(bytes));
        assert!(matches!(read(&keepalive), Some(CopyMessage::KeepAlive { end: Lsn(7), reply: true })));
        assert!(read(&keepalive[..17]).is_none() && read(b"w123").is_none() && read(b"").is_none() && read(b"x").is_none());
    }
}
