//! Events as they come: header, checksum, and the small kinds (GTID, query).
//!
//! **Invariant:** a kind that [`Kind::of`] does not know is an error unless the server itself flags it as ignorable.

use ::bytes::Bytes;
use tidegate_model::TxMark;
use tidegate_model::position::GtidSource;

use super::bytes::{Fault, Reader};
use super::rows::RowsKind;
use super::words::SqlModes;

/// `LOG_EVENT_IGNORABLE_F`: readers that do not know the event may skip it.
const IGNORABLE: u16 = 0x80;
/// `LOG_EVENT_BINLOG_IN_USE_F`: cleared before the checksum is made.
const IN_USE: u16 = 0x01;

/// Bytes in front of an event's body.
const HEADER_BYTES: usize = 19;

const FORMAT_DESCRIPTION: u8 = 15;

/// `BINLOG_CHECKSUM_ALG_UNDEF`: of a server that knows no checksums.
const NO_CHECKSUM: u8 = 255;

/// One event without its checksum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawEvent {
    pub(crate) timestamp: u32,
    pub(crate) code: u8,
    pub(crate) server: u32,
    pub(crate) size: u32,
    pub(crate) end: u32,
    pub(crate) flags: u16,
    pub(crate) body: Bytes,
}

impl RawEvent {
    /// Reads an event as the server sends it, and its checksum where it has one: a format description says of the events behind
    /// it whether they end with one (`is_summed`).
    pub(crate) fn sent(bytes: &Bytes, is_summed: &mut bool) -> Result<(RawEvent, Option<[u8; 4]>), Fault> {
        let mut reader = Reader::new(bytes, "event");
        let (timestamp, code, server) = (reader.u32()?, reader.u8()?, reader.u32()?);
        let (size, end, flags) = (reader.u32()?, reader.u32()?, reader.u16()?);
        if size as usize != bytes.len() {
            return Err(reader.fault());
        }
        let mut body = bytes.slice(HEADER_BYTES..);
        let mut checksum = None;
        let footer = if code == FORMAT_DESCRIPTION { 5 } else { 4 * usize::from(*is_summed) };
        let footer = body.split_off(body.len().checked_sub(footer).ok_or_else(|| reader.fault())?);
        if code == FORMAT_DESCRIPTION {
            // The checksum of a format description, which the server makes anew for each dump, may be made before it does so.
            *is_summed = match footer[0] {
                0 | NO_CHECKSUM => false,
                1 => true,
                _ => return Err(Fault::Malformed("event: a checksum of an unknown kind")),
            };
        } else if let Ok(found) = <[u8; 4]>::try_from(&footer[..]) {
            checksum = Some(found);
        }
        Ok((RawEvent { timestamp, code, server, size, end, flags, body }, checksum))
    }

    /// Cuts the next event, which has no checksum, off a decompressed payload.
    pub(crate) fn inner(payload: &mut Bytes) -> Result<RawEvent, Fault> {
        let mut reader = Reader::new(payload, "transaction payload");
        let (timestamp, code, server) = (reader.u32()?, reader.u8()?, reader.u32()?);
        let (size, end, flags) = (reader.u32()?, reader.u32()?, reader.u16()?);
        let length = (size as usize).checked_sub(HEADER_BYTES).filter(|length| *length <= reader.len()).ok_or_else(|| reader.fault())?;
        let mut event = payload.split_to(HEADER_BYTES + length);
        Ok(RawEvent { timestamp, code, server, size, end, flags, body: event.split_off(HEADER_BYTES) })
    }

    /// True when `checksum` is the event's CRC32.
    pub(crate) fn matches(&self, checksum: [u8; 4]) -> bool {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.timestamp.to_le_bytes());
        hasher.update(&[self.code]);
        hasher.update(&self.server.to_le_bytes());
        hasher.update(&self.size.to_le_bytes());
        hasher.update(&self.end.to_le_bytes());
        hasher.update(&(self.flags & !IN_USE).to_le_bytes());
        hasher.update(&self.body);
        hasher.finalize() == u32::from_le_bytes(checksum)
    }

    /// The body of an event that came before the log's format, and so before anybody knew that a checksum ends it.
    pub(crate) fn without_checksum(&self) -> Bytes {
        let stripped = RawEvent { body: self.body.slice(..self.body.len().saturating_sub(4)), ..self.clone() };
        match self.body[stripped.body.len()..].try_into() {
            Ok(checksum) if stripped.matches(checksum) => stripped.body,
            _ => self.body.clone(),
        }
    }

    pub(crate) fn ignorable(&self) -> bool {
        self.flags & IGNORABLE != 0
    }
}

/// What an event is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Says nothing that rows need: rotations, format, annotations, lists of GTIDs, group replication's own.
    Passive,
    Heartbeat,
    MysqlGtid,
    MysqlTaggedGtid,
    AnonymousGtid,
    MariadbGtid,
    Query {
        compressed: bool,
    },
    Xid,
    XaPrepare,
    TableMap,
    Rows {
        kind: RowsKind,
        version: u8,
        compressed: bool,
    },
    PartialUpdate,
    Payload,
    Incident,
    /// Only the statement format writes them: LOAD DATA, INTVAR, RAND and USER_VAR.
    StatementFormat,
}

impl Kind {
    /// `None` for codes that we do not know.
    pub(crate) fn of(code: u8) -> Option<Kind> {
        use RowsKind::{Delete, Update, Write};
        let rows = |kind, version, compressed| Kind::Rows { kind, version, compressed };
        Some(match code {
            // STOP, ROTATE, FORMAT_DESCRIPTION, IGNORABLE, ROWS_QUERY, PREVIOUS_GTIDS, TRANSACTION_CONTEXT, VIEW_CHANGE;
            // MariaDB: ANNOTATE_ROWS, BINLOG_CHECKPOINT, GTID_LIST, START_ENCRYPTION.
            3 | 4 | 15 | 28 | 29 | 35 | 36 | 37 | 160 | 161 | 163 | 164 => Kind::Passive,
            27 | 41 => Kind::Heartbeat,
            33 => Kind::MysqlGtid,
            42 => Kind::MysqlTaggedGtid,
            34 => Kind::AnonymousGtid,
            162 => Kind::MariadbGtid,
            2 => Kind::Query { compressed: false },
            165 => Kind::Query { compressed: true },
            16 => Kind::Xid,
            38 => Kind::XaPrepare,
            19 => Kind::TableMap,
            23 => rows(Write, 1, false),
            24 => rows(Update, 1, false),
            25 => rows(Delete, 1, false),
            30 => rows(Write, 2, false),
            31 => rows(Update, 2, false),
            32 => rows(Delete, 2, false),
            166 => rows(Write, 1, true),
            167 => rows(Update, 1, true),
            168 => rows(Delete, 1, true),
            169 => rows(Write, 2, true),
            170 => rows(Update, 2, true),
            171 => rows(Delete, 2, true),
            39 => Kind::PartialUpdate,
            40 => Kind::Payload,
            26 => Kind::Incident,
            5 | 6 | 9 | 10 | 11 | 13 | 14 | 17 | 18 => Kind::StatementFormat,
            _ => return None,
        })
    }
}

/// A transaction's name, and what its event says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gtid {
    pub(crate) mark: TxMark,
    /// Microseconds since 1970, where the event has them.
    pub(crate) committed_at_us: Option<i64>,
    /// MariaDB: the group is one statement that ends by itself. MySQL says so by having no BEGIN.
    pub(crate) standalone: bool,
}

/// MySQL's untagged GTID event.
pub(crate) fn mysql_gtid(body: &[u8]) -> Result<Gtid, Fault> {
    let mut reader = Reader::new(body, "GTID event");
    reader.u8()?;
    let uuid = reader.array()?;
    let sequence = reader.u64()?;
    let mut committed = None;
    // Logical clock (type 2), then the immediate and, when bit 55 of it is set, the original commit time.
    if reader.len() >= 17 && reader.u8()? == 2 {
        reader.take(16)?;
        if reader.len() >= 7 {
            let immediate = reader.uint_le(7)?;
            committed = Some(immediate & !(1 << 55));
            if immediate >> 55 & 1 == 1 {
                committed = Some(reader.uint_le(7)?);
            }
        }
    }
    Ok(gtid(uuid, String::new(), sequence, committed))
}

/// MySQL's tagged GTID event (since 8.4): numbered fields in the server's serialization format, version 2.
pub(crate) fn mysql_tagged_gtid(body: &[u8]) -> Result<Gtid, Fault> {
    let mut reader = Reader::new(body, "tagged GTID event");
    if reader.u8()? != 2 {
        return Err(reader.fault());
    }
    varlen(&mut reader)?;
    let last_needed = varlen(&mut reader)?;
    let (mut uuid, mut tag, mut sequence) = (None, String::new(), None);
    let (mut immediate, mut original) = (None, None);
    while !reader.is_empty() {
        match varlen(&mut reader)? {
            // Flags, transaction length, server versions, commit group ticket.
            0 | 8..=11 => drop(varlen(&mut reader)?),
            1 => {
                let mut bytes = [0; 16];
                for byte in &mut bytes {
                    *byte = u8::try_from(varlen(&mut reader)?).map_err(|_| reader.fault())?;
                }
                uuid = Some(bytes);
            }
            2 => sequence = Some(varlen(&mut reader)? >> 1),
            3 => {
                let length = usize::try_from(varlen(&mut reader)?).map_err(|_| reader.fault())?;
                tag = String::from_utf8(reader.take(length)?.to_vec()).map_err(|_| reader.fault())?;
            }
            // Logical clock, signed.
            4 | 5 => drop(varlen(&mut reader)?),
            6 => immediate = Some(varlen(&mut reader)?),
            7 => original = Some(varlen(&mut reader)?),
            field if field <= last_needed => return Err(reader.fault()),
            _ => break,
        }
    }
    match (uuid, sequence) {
        (Some(uuid), Some(sequence)) => Ok(gtid(uuid, tag, sequence, original.or(immediate))),
        _ => Err(Fault::Malformed("tagged GTID event")),
    }
}

fn gtid(uuid: [u8; 16], tag: String, sequence: u64, committed: Option<u64>) -> Gtid {
    let mark = TxMark::Mysql { source: GtidSource { uuid, tag }, sequence };
    Gtid { mark, committed_at_us: committed.and_then(|us| i64::try_from(us).ok()), standalone: false }
}

/// An integer whose first byte counts its further bytes by its low one-bits.
fn varlen(reader: &mut Reader<'_>) -> Result<u64, Fault> {
    let first = reader.u8()?;
    let more = first.trailing_ones() as usize;
    let rest = reader.uint_le(more)?;
    if more >= 7 {
        return Ok(rest);
    }
    Ok(u64::from(first) >> (more + 1) | rest << (7 - more))
}

/// MariaDB's GTID event; the server's number stands in the header.
pub(crate) fn mariadb_gtid(body: &[u8], server: u32) -> Result<Gtid, Fault> {
    let mut reader = Reader::new(body, "GTID event");
    let (sequence, domain, flags) = (reader.u64()?, reader.u32()?, reader.u8()?);
    let mark = TxMark::Mariadb { domain, server, sequence };
    // FL_STANDALONE.
    Ok(Gtid { mark, committed_at_us: None, standalone: flags & 1 != 0 })
}

/// A statement as it was logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LoggedQuery<'a> {
    /// The session's default database.
    pub(crate) database: &'a [u8],
    pub(crate) modes: SqlModes,
    pub(crate) text: &'a [u8],
}

/// Reads a query event's body.
pub(crate) fn query(body: &[u8]) -> Result<LoggedQuery<'_>, Fault> {
    let mut reader = Reader::new(body, "query event");
    reader.take(8)?;
    let database_length = usize::from(reader.u8()?);
    reader.u16()?;
    let variables = usize::from(reader.u16()?);
    let modes = sql_modes(reader.take(variables)?);
    let database = reader.take(database_length)?;
    reader.u8()?;
    Ok(LoggedQuery { database, modes, text: reader.remaining() })
}

/// The session's SQL modes out of a statement's status variables, which begin with its options (code 0, four bytes) and
/// its modes (code 1, eight bytes). Source: MySQL's libs/mysql/binlog/event/statement_events.h, class `Query_event`.
fn sql_modes(variables: &[u8]) -> SqlModes {
    let mut reader = Reader::new(variables, "status variables");
    let mut found = || -> Result<Option<u64>, Fault> {
        let mut code = reader.u8()?;
        if code == 0 {
            reader.take(4)?;
            code = reader.u8()?;
        }
        if code == 1 { reader.u64().map(Some) } else { Ok(None) }
    };
    SqlModes::of(found().ok().flatten().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varlen_integers_are_read_in_each_length() {
        for (bytes, number) in [(&[0x00_u8][..], 0), (&[0xfe], 127), (&[0x01, 0x02], 128), (&[0xff, 1, 0, 0, 0, 0, 0, 0, 0], 1)] {
            assert_eq!(varlen(&mut Reader::new(bytes, "test")), Ok(number));
        }
        assert!(varlen(&mut Reader::new(&[0x01], "test")).is_err());
    }

    #[test]
    fn the_sql_modes_of_a_statement_are_read() {
        let event = |variables: &[u8]| {
            let mut body = vec![0; 8];
            body.extend([1, 0, 0, variables.len() as u8, 0]);
            body.extend(variables);
            body.extend(b"d\0text");
            body
        };
        let mut variables = vec![0, 9, 9, 9, 9, 1];
        variables.extend((1_u64 << 2 | 1 << 20).to_le_bytes());
        let body = event(&variables);
        let found = query(&body).expect("well formed");
        assert_eq!((found.database, found.text), (&b"d"[..], &b"text"[..]));
        assert_eq!(found.modes, SqlModes { ansi_quotes: true, no_backslash_escapes: true });
        for variables in [&[][..], &[0, 9, 9], &[3, 1, 2], &[1, 4]] {
            assert_eq!(query(&event(variables)).map(|found| found.modes), Ok(SqlModes::default()), "{variables:?}");
        }
    }

    #[test]
    fn unknown_codes_have_no_kind() {
        for code in [0, 1, 43, 99, 172, 255] {
            assert_eq!(Kind::of(code), None);
        }
    }

    #[test]
    fn a_flipped_bit_breaks_the_checksum() {
        let mut event = RawEvent {
            timestamp: 1,
            code: 16,
            server: 1,
            size: 31,
            end: 99,
            flags: 0,
            body: Bytes::from_static(&[1, 0, 0, 0, 0, 0, 0, 0]),
        };
        let mut bytes = vec![1, 0, 0, 0, 16, 1, 0, 0, 0, 31, 0, 0, 0, 99, 0, 0, 0, 0, 0];
        bytes.extend_from_slice(&event.body);
        let checksum = crc32fast::hash(&bytes).to_le_bytes();
        assert!(event.matches(checksum));
        assert_eq!(event.without_checksum(), event.body);
        let ended = RawEvent { body: [&event.body[..], &checksum].concat().into(), ..event.clone() };
        assert_eq!(ended.without_checksum(), event.body);
        event.body = Bytes::from_static(&[1, 0, 0, 0, 0, 1, 0, 0]);
        assert!(!event.matches(checksum));
    }
}
