//! The dump connection: asks for the log, and hands out raw events whose checksums are right.

use std::io::ErrorKind;
use std::time::Duration;

use bytes::Bytes;
use mysql_async::{Error, GnoInterval, IoError, Sid};
use mysql_common::packets::BinlogDumpFlags;
use mysql_common::packets::ComRegisterSlave;
use mysql_common::packets::binlog_request::BinlogRequest;
use sha2::{Digest, Sha256};
use tidegate_connector::ConnectorError;
use tidegate_model::{Engine, LogPlace, Position, TaskId};

use crate::binlog::event::RawEvent;
use crate::fault;
use crate::raw::{Packets, RawConn, server_error};

/// How often an idle server says that it lives. As rarely as replicas ask for by default: nothing waits for it, and for a task that
/// sleeps it is most of what it does.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(30);

/// Heartbeats that must fail to come for the connection to count as dead: four, because a server that writes a large event to its
/// log sends none.
const HEARTBEATS_MISSED: u32 = 4;

const START: &str = "start the binary log stream";

/// Tells the server id of a second reader from that of the first: of two with one id, a server ends the older.
const SECOND: u32 = 0x4000_0000;

/// The server id of a task's reader: the same for its successor, which so takes the stream over from a worker that
/// was thought dead. The highest bit keeps clear of ids that people give.
pub(crate) fn server_id(task: &TaskId) -> u32 {
    let digest = Sha256::digest(format!("tidegate:{task}"));
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]) | 0x8000_0000
}

/// A running dump.
pub(crate) struct Wire {
    packets: Packets,
    /// See [`RawEvent::sent`].
    is_summed: bool,
    log_bytes: u64,
    /// Silence after which the connection counts as dead.
    silence_max: Duration,
}

impl Wire {
    /// Starts a dump of everything that `from` does not cover, in which an idle server says as often as `heartbeat` that it lives.
    pub(crate) async fn start(mut conn: RawConn, task: &TaskId, from: &Position, heartbeat: Duration) -> Result<Wire, ConnectorError> {
        let what = START;
        let silence_max = heartbeat * HEARTBEATS_MISSED;
        let heartbeat = heartbeat.as_nanos();
        let server = server_id(task);
        let request = match from {
            Position::Mariadb(positions) => {
                // Without capability 4 the server turns GTID events into plain BEGINs.
                let sql = format!(
                    "set @mariadb_slave_capability = 4, @master_heartbeat_period = {heartbeat}, @slave_connect_state = '{positions}', \
                     @slave_gtid_strict_mode = 1, @slave_gtid_ignore_duplicates = 0"
                );
                conn.run(what, &sql).await?;
                BinlogRequest::new(server)
            }
            Position::Mysql(set) => {
                let sql = format!(
                    "set @master_heartbeat_period = {heartbeat}, @source_heartbeat_period = {heartbeat}, \
                     @source_binlog_checksum = @@global.binlog_checksum"
                );
                conn.run(what, &sql).await?;
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
                BinlogRequest::new(server).with_use_gtid(true).with_sids(sids)
            }
            Position::Postgres(_) => {
                return Err(ConnectorError::definite("position_kind", "a position of PostgreSQL cannot be used with MySQL or MariaDB"));
            }
        };
        Self::dump(conn, &request, silence_max).await
    }

    /// Starts a second dump beside a task's own, of what stands in the log from an event on.
    pub(crate) async fn at(
        mut conn: RawConn,
        engine: Engine,
        task: &TaskId,
        place: &LogPlace,
        heartbeat: Duration,
    ) -> Result<Wire, ConnectorError> {
        let silence_max = heartbeat * HEARTBEATS_MISSED;
        let heartbeat = heartbeat.as_nanos();
        if u32::try_from(place.offset).is_err() {
            let text = format!("XA COMMIT of a transaction that was prepared above 4 GiB of binary log \"{}\"", place.file);
            return Err(ConnectorError::definite("xa_unsupported", text).hint("load the task again"));
        }
        let capability = if engine == Engine::Mariadb { "@mariadb_slave_capability = 4, " } else { "" };
        conn.run(START, &format!("set {capability}@master_heartbeat_period = {heartbeat}, @source_heartbeat_period = {heartbeat}")).await?;
        // Where the log ends, this dump does: nobody has to find out that its reader is gone.
        let request = BinlogRequest::new(server_id(task) ^ SECOND)
            .with_filename(place.file.as_bytes())
            .with_pos(place.offset)
            .with_flags(BinlogDumpFlags::BINLOG_DUMP_NON_BLOCK);
        Self::dump(conn, &request, silence_max).await
    }

    async fn dump(mut conn: RawConn, request: &BinlogRequest<'_>, silence_max: Duration) -> Result<Wire, ConnectorError> {
        // Whatever sums the server makes, it shall send them.
        conn.run(START, "set @master_binlog_checksum = 'ALL'").await?;
        conn.command(START, &ComRegisterSlave::new(request.server_id())).await?;
        let packets = conn.hand_over(START, &request.as_cmd()).await?;
        Ok(Wire { packets, is_summed: false, log_bytes: 0, silence_max })
    }

    /// Bytes of the events that came from the log.
    pub(crate) fn log_bytes(&self) -> u64 {
        self.log_bytes
    }

    /// The next event. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Result<RawEvent, ConnectorError> {
        let what = "read the binary log";
        let packet = self.packet(what).await?;
        match packet.first() {
            Some(0x00) => {}
            Some(0xff) => return Err(fault::driver(what, server_error(&packet))),
            Some(0xfe) if packet.len() < 9 => {
                return Err(ConnectorError::transient("connection_lost", format!("{what}: the source ended the stream")));
            }
            _ => return Err(ConnectorError::definite("binlog_malformed", format!("{what}: found a packet that is no event"))),
        }
        let read = RawEvent::sent(&packet.slice(1..), &mut self.is_summed);
        let (event, checksum) = read.map_err(|fault| fault::decode(None, None, "in the stream of the binary log", &fault))?;
        self.log_bytes += u64::from(event.size);
        if checksum.is_none_or(|checksum| event.matches(checksum)) {
            return Ok(event);
        }
        let text = format!("{what}: the checksum of the event that ends at {} is wrong", event.end);
        Err(ConnectorError::definite("checksum", text)
            .hint("the event was damaged on its way or on the source's disk: use TLS, check the source's binary log with mysqlbinlog --verify-binlog-checksum, then resume"))
    }

    /// The next packet. A large one may take as long as it likes, as long as it comes.
    async fn packet(&mut self, what: &str) -> Result<Bytes, ConnectorError> {
        loop {
            let received = self.packets.received();
            match tokio::time::timeout(self.silence_max, self.packets.next()).await {
                Ok(Ok(packet)) => return Ok(packet),
                Ok(Err(error)) if error.kind() == ErrorKind::InvalidData => {
                    return Err(ConnectorError::definite("binlog_malformed", format!("{what}: a packet is malformed")).caused_by(error));
                }
                Ok(Err(error)) => return Err(fault::driver(what, Error::Io(IoError::Io(error)))),
                Err(_) if self.packets.received() > received => {}
                Err(_) => {
                    let text = format!("{what}: the source was silent for {} s", self.silence_max.as_secs());
                    return Err(ConnectorError::transient("source_silent", text));
                }
            }
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
