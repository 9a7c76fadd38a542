//! The dump connection: asks for the log, and hands out raw events whose checksums are right.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use mysql_async::binlog::BinlogChecksumAlg;
use mysql_async::{BinlogStream, BinlogStreamRequest, Conn, Error, GnoInterval, IoError, Sid};
use sha2::{Digest, Sha256};
use tidegate_connector::ConnectorError;
use tidegate_model::{Position, TaskId};

use crate::binlog::event::RawEvent;
use crate::connect::run;
use crate::fault;

/// How often an idle server says that it lives. As rarely as replicas ask for by default: nothing waits for it, and for a task that
/// sleeps it is most of what it does.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// Silence after which the connection counts as dead. More than three heartbeats, because a single event of a gigabyte
/// is silent for as long as it travels.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// The server id of a task's reader: the same for its successor, which so takes the stream over from a worker that
/// was thought dead. The highest bit keeps clear of ids that people give.
pub(crate) fn server_id(task: &TaskId) -> u32 {
    let digest = Sha256::digest(format!("tidegate:{task}"));
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]) | 0x8000_0000
}

/// A running dump.
pub(crate) struct Wire {
    stream: BinlogStream,
    /// The driver unfolds transaction payloads too and sends their events after the payload itself; we unfold them on
    /// our own, and so let these pass: code, time and size of each.
    repeated: VecDeque<(u8, u32, u32)>,
    log_bytes: u64,
}

impl Wire {
    /// Starts a dump of everything that `from` does not cover.
    pub(crate) async fn start(mut conn: Conn, task: &TaskId, from: &Position) -> Result<Wire, ConnectorError> {
        let what = "start the binary log stream";
        let heartbeat = HEARTBEAT.as_nanos();
        let server = server_id(task);
        let request = match from {
            Position::Mariadb(positions) => {
                // Without capability 4 the server turns GTID events into plain BEGINs.
                let sql = format!(
                    "set @mariadb_slave_capability = 4, @master_heartbeat_period = {heartbeat}, @slave_connect_state = '{positions}', \
                     @slave_gtid_strict_mode = 1, @slave_gtid_ignore_duplicates = 0"
                );
                run(&mut conn, what, &sql).await?;
                BinlogStreamRequest::new(server)
            }
            Position::Mysql(set) => {
                let sql = format!(
                    "set @master_heartbeat_period = {heartbeat}, @source_heartbeat_period = {heartbeat}, \
                     @source_binlog_checksum = @@global.binlog_checksum"
                );
                run(&mut conn, what, &sql).await?;
                let mut sids = Vec::new();
                for (source, ranges) in set.iter() {
                    // The protocol's ranges exclude their end.
                    let ranges = ranges.iter().map(|(start, end)| GnoInterval::new(*start, end.saturating_add(1))).collect();
                    let mut sid = Sid::new(source.uuid).with_intervals(ranges);
                    if !source.tag.is_empty() {
                        let tag = source.tag.clone().try_into();
                        sid = sid.with_tag(
                            tag.map_err(|_| ConnectorError::definite("position_kind", "the position has a GTID tag out of form"))?,
                        );
                    }
                    sids.push(sid);
                }
                BinlogStreamRequest::new(server).with_gtid().with_gtid_set(sids)
            }
            Position::Postgres(_) => {
                return Err(ConnectorError::definite("position_kind", "a position of PostgreSQL cannot be used with MySQL or MariaDB"));
            }
        };
        let stream = conn.get_binlog_stream(request).await.map_err(|error| fault::driver(what, error))?;
        Ok(Wire { stream, repeated: VecDeque::new(), log_bytes: 0 })
    }

    /// Bytes of the events that came from the log.
    pub(crate) fn log_bytes(&self) -> u64 {
        self.log_bytes
    }

    /// Names the events that the driver will repeat out of a payload.
    pub(crate) fn expect_repeated(&mut self, events: impl IntoIterator<Item = (u8, u32, u32)>) {
        self.repeated.extend(events);
    }

    /// The next event. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Result<RawEvent, ConnectorError> {
        let what = "read the binary log";
        loop {
            // The driver's own parser, which we cannot leave out, panics on some forms of damage.
            let polled = AssertUnwindSafe(self.stream.next()).catch_unwind();
            let event = match tokio::time::timeout(SILENCE_MAX, polled).await {
                Err(_) => {
                    let text = format!("{what}: the source was silent for {} s", SILENCE_MAX.as_secs());
                    return Err(ConnectorError::transient("source_silent", text));
                }
                Ok(Err(_)) => return Err(ConnectorError::definite("binlog_malformed", format!("{what}: an event is cut or malformed"))),
                Ok(Ok(None)) => return Err(ConnectorError::transient("connection_lost", format!("{what}: the source ended the stream"))),
                Ok(Ok(Some(Err(Error::Io(IoError::Io(error)))))) if matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::Other) => {
                    return Err(ConnectorError::definite("binlog_malformed", format!("{what}: an event is malformed")).caused_by(error));
                }
                Ok(Ok(Some(Err(error)))) => return Err(fault::driver(what, error)),
                Ok(Ok(Some(Ok(event)))) => event,
            };
            let header = event.header();
            let raw = RawEvent {
                timestamp: header.timestamp(),
                code: header.event_type_raw(),
                server: header.server_id(),
                size: header.event_size(),
                end: header.log_pos(),
                flags: header.flags_raw(),
                body: Bytes::copy_from_slice(event.data()),
            };
            if let Some(wanted) = self.repeated.pop_front() {
                if wanted == (raw.code, raw.timestamp, raw.size) {
                    continue;
                }
                return Err(ConnectorError::definite(
                    "binlog_malformed",
                    format!("{what}: a transaction payload does not unfold as declared"),
                ));
            }
            self.log_bytes += u64::from(raw.size);
            // A format description is sent anew by the server for each start, and checked by its length alone.
            let crc = matches!(event.footer().get_checksum_alg(), Ok(Some(BinlogChecksumAlg::BINLOG_CHECKSUM_ALG_CRC32))) && raw.code != 15;
            if let Some(checksum) = event.checksum().filter(|_| crc)
                && !raw.matches(checksum)
            {
                let text = format!("{what}: the checksum of the event that ends at {} is wrong", raw.end);
                return Err(ConnectorError::definite("checksum", text)
                    .hint("the event was damaged on its way or on the source's disk: use TLS, check the source's binary log with mysqlbinlog --verify-binlog-checksum, then resume"));
            }
            return Ok(raw);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_and_its_successor_have_one_server_id() {
        let id = |name: &str| server_id(&TaskId::new(name).expect("a task name"));
        assert_eq!(id("shop"), id("shop"));
        assert_ne!(id("shop"), id("shop-2"));
        assert!(id("shop") >= 0x8000_0000);
    }
}
