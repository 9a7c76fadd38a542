//! Looks up places of the binary log that are not named by GTIDs: a file with an offset, and a time.
//!
//! The server tells with `SHOW BINLOG EVENTS` what stands in a file, beginning with the GTIDs of all files before it. It
//! does not tell times; for these the log is read as a replica reads it, from the last file that begins early enough.

use std::cmp::Ordering;

use mysql_async::{Conn, Row};
use tidegate_connector::{CaptureScope, ChangeStream, ConnectorError, Dialect, StreamEvent};
use tidegate_model::{Engine, LogPlace, Position, TaskId};

use crate::connect::{Connector, rows};
use crate::snapshot::position;
use crate::stream::ChangeReader;
use crate::stream::wire::HEARTBEAT;

/// Events that are asked for at a time: the server holds the log's lock while it answers.
pub(crate) const EVENTS_AT_A_TIME: usize = 2_000;

/// Bytes of a file's magic number, behind which its first event stands.
pub(crate) const FIRST_EVENT: u64 = 4;

/// A file of the log and its size.
struct LogFile {
    name: String,
    bytes: u64,
}

/// See [`tidegate_connector::Source::position_of`].
pub(crate) async fn position_of(conn: &mut Conn, engine: Engine, place: &LogPlace) -> Result<Option<Position>, ConnectorError> {
    let files = files(conn).await?;
    let Some(newest) = files.last() else { return Err(lost("the source has no binary log".into())) };
    let Some(file) = files.iter().find(|file| file.name == place.file) else {
        return match place.compared(&newest.name, newest.bytes) {
            Some(Ordering::Greater) if same_base(&place.file, &newest.name) => Ok(None),
            _ => Err(lost(format!("the source has no binary log file \"{}\"", place.file))),
        };
    };
    if place.offset > file.bytes && file.name == newest.name {
        return Ok(None);
    }
    let mut scan = Scan::new(engine, place.offset);
    let mut from = FIRST_EVENT;
    loop {
        let events = events(conn, &file.name, from, EVENTS_AT_A_TIME).await?;
        let count = events.len();
        for event in events {
            from = event.end;
            if scan.take(&event)? == Scanned::Enough {
                return Ok(Some(scan.finish()?));
            }
        }
        if count < EVENTS_AT_A_TIME || from < FIRST_EVENT {
            return Ok(Some(scan.finish()?));
        }
    }
}

/// See [`tidegate_connector::Source::position_at`].
pub(crate) async fn position_at(
    connector: &Connector,
    engine: Engine,
    task: &TaskId,
    time_us: i64,
    end: Position,
) -> Result<Position, ConnectorError> {
    let mut conn = connector.open().await?;
    let files = files(&mut conn).await?;
    let mut bases = Vec::with_capacity(files.len());
    for file in &files {
        bases.push(base(&mut conn, engine, file).await?);
    }
    let _ = conn.disconnect().await;
    let scope = CaptureScope { task: task.clone(), tables: Vec::new() };
    let mut log = Log { connector, engine, scope, end };
    for base in bases.iter().rev() {
        if log.begins_before(base, time_us).await? {
            return log.first_at(base, time_us).await;
        }
    }
    let empty = position(engine, "")?;
    match bases.first() {
        // Nothing was ever purged: the log's first transaction is the first at all.
        Some(oldest) if *oldest == empty => Ok(empty),
        _ => Err(lost("the source's oldest binary log begins after the start time".into())),
    }
}

/// The log as a reader gets it that is interested in no table.
struct Log<'a> {
    connector: &'a Connector,
    engine: Engine,
    scope: CaptureScope,
    /// Where it ended when it was asked.
    end: Position,
}

impl Log<'_> {
    /// True when the first transaction behind `base` was committed before the time.
    async fn begins_before(&mut self, base: &Position, time_us: i64) -> Result<bool, ConnectorError> {
        let mut first = None;
        self.read(base, |_, committed_at_us| {
            first = Some(committed_at_us);
            false
        })
        .await?;
        Ok(first.is_some_and(|first| first < time_us))
    }

    /// The position in front of the first transaction behind `base` that was committed at the time or later.
    async fn first_at(&mut self, base: &Position, time_us: i64) -> Result<Position, ConnectorError> {
        let mut before = base.clone();
        self.read(base, |mark, committed_at_us| {
            let goes_on = committed_at_us < time_us;
            if goes_on {
                before.advance(mark);
            }
            goes_on
        })
        .await?;
        Ok(before)
    }

    /// Shows the transactions behind `base` until told to stop, or until the log's end.
    async fn read(&mut self, base: &Position, mut goes_on: impl FnMut(&tidegate_model::TxMark, i64) -> bool) -> Result<(), ConnectorError> {
        let mut seen = base.clone();
        if seen.covers_position(&self.end) {
            return Ok(());
        }
        let mut reader = ChangeReader::open(self.connector, self.engine, &self.scope, base, HEARTBEAT).await?;
        loop {
            for event in reader.next_events().await? {
                match event {
                    StreamEvent::Commit { mark, committed_at_us, .. } => {
                        if !goes_on(&mark, committed_at_us) {
                            return Ok(());
                        }
                        seen.advance(&mark);
                    }
                    StreamEvent::Idle { position } => seen = seen.union(&position),
                    StreamEvent::Relation { .. } | StreamEvent::Change { .. } | StreamEvent::Abort { .. } => {}
                }
            }
            if seen.covers_position(&self.end) {
                return Ok(());
            }
        }
    }
}

/// An event, as the server describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) at: u64,
    pub(crate) kind: String,
    pub(crate) end: u64,
    pub(crate) text: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Scanned {
    GoesOn,
    Enough,
}

/// Collects the GTIDs of the transactions of one file that are complete before an offset.
struct Scan {
    engine: Engine,
    offset: u64,
    /// GTIDs of all files before, then of complete transactions.
    complete: Option<Position>,
    /// The transaction under way, in the server's own spelling.
    open: Option<String>,
}

impl Scan {
    fn new(engine: Engine, offset: u64) -> Self {
        Self { engine, offset, complete: None, open: None }
    }

    fn take(&mut self, event: &Event) -> Result<Scanned, ConnectorError> {
        if let Some(gtids) = before_file(event) {
            self.complete = Some(position(self.engine, &gtids)?);
            return Ok(Scanned::GoesOn);
        }
        if let Some(gtid) = gtid(event) {
            self.close()?;
            if event.at >= self.offset || event.end > self.offset {
                return Ok(Scanned::Enough);
            }
            self.open = Some(gtid);
            return Ok(Scanned::GoesOn);
        }
        let is_of_transaction =
            !matches!(event.kind.as_str(), "Rotate" | "Stop" | "Format_desc" | "Binlog_checkpoint" | "Start_encryption");
        if is_of_transaction && event.end > self.offset {
            self.open = None;
            return Ok(Scanned::Enough);
        }
        Ok(Scanned::GoesOn)
    }

    fn close(&mut self) -> Result<(), ConnectorError> {
        if let (Some(gtid), Some(complete)) = (self.open.take(), &mut self.complete) {
            let one = position(self.engine, &gtid)?;
            *complete = complete.union(&one);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Position, ConnectorError> {
        self.close()?;
        self.complete.ok_or_else(|| lost("the binary log file does not tell the GTIDs before it".into()))
    }
}

/// The GTIDs of all files before, where the event tells them: `Previous_gtids` of MySQL, `Gtid_list` of MariaDB.
fn before_file(event: &Event) -> Option<String> {
    match event.kind.as_str() {
        "Previous_gtids" => Some(event.text.replace(['\n', '\r'], "")),
        "Gtid_list" => Some(event.text.trim_start_matches('[').trim_end_matches(']').to_owned()),
        _ => None,
    }
}

/// The GTID of a transaction that begins: `SET @@SESSION.GTID_NEXT= 'uuid:5'` of MySQL, `BEGIN GTID 0-1-5` and
/// `XA START X'61',X'',1 GTID 0-1-5` of MariaDB.
fn gtid(event: &Event) -> Option<String> {
    match event.kind.as_str() {
        "Gtid" => match event.text.rsplit_once("GTID ") {
            Some((_, rest)) => Some(rest.split_whitespace().next().unwrap_or_default().to_owned()),
            None => event.text.split('\'').nth(1).map(str::to_owned),
        },
        "Gtid_tagged" => event.text.split('\'').nth(1).map(str::to_owned),
        _ => None,
    }
}

/// The GTIDs of all files before this one.
async fn base(conn: &mut Conn, engine: Engine, file: &LogFile) -> Result<Position, ConnectorError> {
    let events = events(conn, &file.name, FIRST_EVENT, 5).await?;
    let gtids = events.iter().find_map(before_file);
    position(engine, &gtids.ok_or_else(|| lost(format!("binary log file \"{}\" does not tell the GTIDs before it", file.name)))?)
}

/// The names of the log's files, oldest first.
pub(crate) async fn file_names(conn: &mut Conn) -> Result<Vec<String>, ConnectorError> {
    Ok(files(conn).await?.into_iter().map(|file| file.name).collect())
}

async fn files(conn: &mut Conn) -> Result<Vec<LogFile>, ConnectorError> {
    let what = "list the source's binary logs";
    let found: Vec<Row> = rows(conn, what, "show binary logs").await?;
    let read = |row: &Row| Some(LogFile { name: row.get_opt(0)?.ok()?, bytes: row.get_opt(1)?.ok()? });
    found.iter().map(|row| read(row).ok_or_else(|| ConnectorError::definite("unexpected_answer", what))).collect()
}

/// What stands in a file from an event on.
pub(crate) async fn events(conn: &mut Conn, file: &str, from: u64, most: usize) -> Result<Vec<Event>, ConnectorError> {
    let what = "read the source's binary log";
    let sql = format!("show binlog events in {} from {from} limit {most}", Dialect::MYSQL.literal(file));
    let found: Vec<Row> = rows(conn, what, &sql).await?;
    let read = |row: &Row| {
        let text = row.get_opt::<Vec<u8>, _>(5)?.ok()?;
        let (at, end): (u64, u64) = (row.get_opt(1)?.ok()?, row.get_opt(4)?.ok()?);
        Some(Event { at, kind: row.get_opt(2)?.ok()?, end: end_behind(at, end), text: String::from_utf8_lossy(&text).into_owned() })
    };
    found.iter().map(|row| read(row).ok_or_else(|| ConnectorError::definite("unexpected_answer", what))).collect()
}

/// Where an event ends that begins at `at`: the event itself tells the lowest 32 bits of it, and a file may be larger. Events inside
/// of a transaction tell nothing at all (0) in MariaDB from 11.8 on; then what is known is that it does not end before `at`.
fn end_behind(at: u64, told: u64) -> u64 {
    if told == 0 { at } else { at + u64::from((told as u32).wrapping_sub(at as u32)) }
}

fn same_base(one: &str, two: &str) -> bool {
    one.rsplit_once('.').map(|(base, _)| base) == two.rsplit_once('.').map(|(base, _)| base)
}

fn lost(text: String) -> ConnectorError {
    ConnectorError::definite("position_lost", text).hint("show binary logs tells what the source has")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(described: &[(u64, &str, u64, &str)]) -> Vec<Event> {
        described.iter().map(|(at, kind, end, text)| Event { at: *at, kind: (*kind).into(), end: *end, text: (*text).into() }).collect()
    }

    fn position_before(engine: Engine, events: &[Event], offset: u64) -> String {
        let mut scan = Scan::new(engine, offset);
        for event in events {
            if scan.take(event).unwrap() == Scanned::Enough {
                break;
            }
        }
        scan.finish().unwrap().to_string()
    }

    #[test]
    fn a_place_covers_the_transactions_that_are_complete_before_it() {
        let uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
        let (before, five, six) =
            (format!("{uuid}:1-4"), format!("SET @@SESSION.GTID_NEXT= '{uuid}:5'"), format!("SET @@SESSION.GTID_NEXT= '{uuid}:6'"));
        let log = events(&[
            (4, "Format_desc", 126, "Server ver"),
            (126, "Previous_gtids", 197, &before),
            (197, "Gtid", 276, &five),
            (276, "Query", 350, "BEGIN"),
            (350, "Table_map", 400, "table_id: 1 (s.t)"),
            (400, "Write_rows", 450, "table_id: 1"),
            (450, "Xid", 481, "COMMIT /* xid=1 */"),
            (481, "Gtid", 560, &six),
            (560, "Query", 640, "use `s`; create table u (id int)"),
            (640, "Rotate", 684, "binlog.000002;pos=4"),
        ]);
        for (offset, last) in [(4, 4), (197, 4), (276, 4), (480, 4), (481, 5), (500, 5), (639, 5), (640, 6), (700, 6)] {
            assert_eq!(position_before(Engine::Mysql, &log, offset), format!("mysql:{uuid}:1-{last}"), "{offset}");
        }
    }

    #[test]
    fn an_event_above_4_gib_ends_behind_its_beginning() {
        const GIB: u64 = 1 << 30;
        for (at, end) in [(4, 126), (3 * GIB, 4 * GIB + 7), (4 * GIB + 7, 4 * GIB + 50), (9 * GIB, 9 * GIB + 1)] {
            assert_eq!(end_behind(at, end & u64::from(u32::MAX)), end, "{at}");
            assert_eq!(end_behind(at, end), end, "{at}");
        }
        assert_eq!(end_behind(5 * GIB, 0), 5 * GIB, "an event that does not tell its end");
    }

    #[test]
    fn mariadb_spells_it_otherwise() {
        let log = events(&[
            (4, "Format_desc", 256, "Server ver"),
            (256, "Gtid_list", 299, "[0-1-7,2-1-3]"),
            (299, "Binlog_checkpoint", 342, "binlog.000001"),
            (342, "Gtid", 384, "BEGIN GTID 0-1-8"),
            (384, "Table_map", end_behind(384, 0), "table_id: 18 (s.t)"),
            (394, "Xid", 415, "COMMIT /* xid=9 */"),
            (415, "Gtid", 457, "GTID 2-1-4"),
            (457, "Query", 500, "use `s`; create table u (id int)"),
            (500, "Gtid", 550, "XA START X'61',X'47544944203120',1 GTID 0-1-9"),
            (550, "XA_prepare", 590, "XA PREPARE X'61',X'47544944203120',1"),
        ]);
        for (offset, wanted) in [
            (342, "mariadb:0-1-7,2-1-3"),
            (414, "mariadb:0-1-7,2-1-3"),
            (415, "mariadb:0-1-8,2-1-3"),
            (500, "mariadb:0-1-8,2-1-4"),
            (589, "mariadb:0-1-8,2-1-4"),
            (590, "mariadb:0-1-9,2-1-4"),
        ] {
            assert_eq!(position_before(Engine::Mariadb, &log, offset), wanted, "{offset}");
        }
        let first = events(&[(256, "Gtid_list", 285, "[]"), (285, "Gtid", 300, "BEGIN GTID 0-1-1 cid=5"), (300, "Xid", 331, "COMMIT")]);
        assert_eq!(position_before(Engine::Mariadb, &first, 331), "mariadb:0-1-1");
    }
}
