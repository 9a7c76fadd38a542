//! XA transactions that were prepared before a stream began: looked up in the log when they are committed.
//!
//! Between PREPARE and COMMIT there is time, and a task may be stopped in it. The log's files before hold such a transaction:
//! `SHOW BINLOG EVENTS` tells where its group begins, and names the tables of its rows. Where they may be ours, the group is read again
//! on a connection of its own ([`Replay`]), and its changes become those of the COMMIT.

use std::collections::VecDeque;

use mysql_async::Conn;
use tidegate_connector::ConnectorError;
use tidegate_model::{LogPlace, TableName};

use super::scope::Scope;
use super::wire::Wire;
use crate::binlog::event::RawEvent;
use crate::binlog::statement::NameCase;
use crate::log_place::{self, Event};

/// The most events that are asked for at a time where one compressed transaction holds more than usual.
const EVENTS_MAX: usize = 256 * log_place::EVENTS_AT_A_TIME;

/// What the log tells of a prepared transaction.
pub(super) enum Found {
    /// It has no rows of the scope.
    Elsewhere,
    /// It may have some; its group begins here.
    At(LogPlace),
    /// Nothing, or that it ended before: a server that crashes may have logged a COMMIT that it did not do.
    Nothing,
}

/// Looks for the newest transaction of a name. `before` is the end of its COMMIT.
pub(super) async fn look_up(conn: &mut Conn, scope: &Scope, name: &str, before: &LogPlace) -> Result<Found, ConnectorError> {
    let files = log_place::file_names(conn).await?;
    let Some(newest) = files.iter().position(|file| *file == before.file) else { return Ok(Found::Nothing) };
    for file in files[..=newest].iter().rev() {
        // The COMMIT itself ends at its end.
        let end = if *file == before.file { before.offset } else { u64::MAX };
        match search(conn, file, end, name).await? {
            Some(Seen::Prepared { at, rows }) => {
                let is_told = |table| rows.tables.iter().any(|told| is_told(told, table, scope.case()));
                let is_elsewhere = !rows.is_hidden && !scope.names().any(is_told);
                return Ok(if is_elsewhere { Found::Elsewhere } else { Found::At(LogPlace { file: file.clone(), offset: at }) });
            }
            Some(Seen::Ended) => return Ok(Found::Nothing),
            None => {}
        }
    }
    Ok(Found::Nothing)
}

/// The last that events of a file, which end before `end`, tell of a name.
async fn search(conn: &mut Conn, file: &str, end: u64, name: &str) -> Result<Option<Seen>, ConnectorError> {
    let mut search = Search::new(name);
    let (mut from, mut most) = (log_place::FIRST_EVENT, log_place::EVENTS_AT_A_TIME);
    let mut before: Option<Event> = None;
    loop {
        let events = log_place::events(conn, file, from, most).await?;
        let is_full = events.len() == most;
        if is_full && is_cut(&events) {
            if most >= EVENTS_MAX {
                return Ok(Some(Seen::Ended));
            }
            most *= 4;
            continue;
        }
        // An event that does not tell its end is answered again.
        let again = usize::from(before.is_some() && events.first() == before.as_ref());
        events[again.min(events.len())..].iter().filter(|event| event.end < end).for_each(|event| search.take(event));
        match events.last() {
            Some(last) if is_full && last.at < end && last.end > from => {
                from = last.end;
                before = Some(last.clone());
            }
            _ => return Ok(search.seen),
        }
    }
}

/// True when the last event lies in a compressed transaction, of whose events all have its end as their place: there is none from which
/// one could go on.
fn is_cut(events: &[Event]) -> bool {
    let Some(payload) = events.iter().rposition(|event| event.kind == "Transaction_payload") else { return false };
    events[payload..].iter().all(|event| event.end == events[payload].end)
}

/// What the server says of the rows of a transaction.
#[derive(Debug, Default, PartialEq, Eq)]
struct Rows {
    tables: Vec<String>,
    /// There may be others, of which it says nothing: those of a statement or of a compressed transaction, or with long names.
    is_hidden: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// `at`: where its group begins.
    Prepared { at: u64, rows: Rows },
    /// Committed or rolled back.
    Ended,
}

/// The newest PREPARE of a name with the rows before it, or its end.
struct Search<'a> {
    name: &'a str,
    begins: u64,
    open: Rows,
    seen: Option<Seen>,
}

impl<'a> Search<'a> {
    fn new(name: &'a str) -> Self {
        Self { name, begins: log_place::FIRST_EVENT, open: Rows::default(), seen: None }
    }

    fn take(&mut self, event: &Event) {
        match event.kind.as_str() {
            kind if kind.starts_with("Gtid") => (self.begins, self.open) = (event.at, Rows::default()),
            "Table_map" if is_whole(&event.text) => self.open.tables.push(event.text.clone()),
            "XA_prepare" if self.is_named(&event.text, "xa prepare ") => {
                self.seen = Some(Seen::Prepared { at: self.begins, rows: std::mem::take(&mut self.open) });
            }
            "Query" if self.is_named(&event.text, "xa commit ") || self.is_named(&event.text, "xa rollback ") => {
                self.seen = Some(Seen::Ended);
            }
            kind => self.open.is_hidden |= !tells_of_no_rows(kind, &event.text),
        }
    }

    /// True for such a statement about the transaction. A default database may stand before it; the name is in hexadecimal digits.
    fn is_named(&self, text: &str, verb: &str) -> bool {
        let text = text.rsplit("; ").next().unwrap_or(text).to_ascii_lowercase();
        text.strip_prefix(verb).is_some_and(|named| named.trim() == self.name)
    }
}

/// True for an event that brings no rows but those of the tables that were named before it.
fn tells_of_no_rows(kind: &str, text: &str) -> bool {
    match kind {
        // Rows, the statement that made them, and how the transaction begins and ends.
        "Query" => {
            ["xa start ", "xa end "].iter().any(|begin| text.get(..begin.len()).is_some_and(|text| text.eq_ignore_ascii_case(begin)))
        }
        "Rows_query" | "Annotate_rows" | "XA_prepare" => true,
        kind => ["Write_rows", "Update_rows", "Delete_rows"].iter().any(|rows| kind.starts_with(rows)),
    }
}

/// True for a description of a table that the server has not cut: it has room for 255 bytes, and MySQL fills it up with what lies behind
/// them (`Table_map_log_event::pack_info`). Names of 64 characters take more.
fn is_whole(told: &str) -> bool {
    told.len() < 255 && told.ends_with(')')
}

/// True when a description such as `table_id: 18 (shop.orders)` may be of the table.
fn is_told(told: &str, table: &TableName, case: NameCase) -> bool {
    let (told, wanted) = (told.to_owned(), format!("({}.{})", table.schema, table.name));
    match case {
        NameCase::Exact => told.contains(&wanted),
        NameCase::Folded => told.to_lowercase().contains(&wanted.to_lowercase()),
    }
}

/// A prepared group that is being read again.
pub(super) struct Replay {
    pub(super) name: String,
    pub(super) wire: Wire,
    /// Events that arrived and are not done.
    pub(super) pending: VecDeque<RawEvent>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn searched(events: &[(&str, &str)]) -> Option<Seen> {
        let mut search = Search::new("x'61',x'',1");
        for (at, (kind, text)) in events.iter().enumerate() {
            search.take(&Event { at: at as u64, kind: (*kind).into(), end: 5, text: (*text).into() });
        }
        search.seen
    }

    #[test]
    fn the_newest_transaction_of_the_name_counts_and_only_its_own_tables() {
        let log = [
            ("Gtid", ""),
            ("Table_map", "table_id: 1 (s.older)"),
            ("XA_prepare", "XA PREPARE X'61',X'',1"),
            ("Gtid", ""),
            ("Query", "use `s`; XA COMMIT X'61',X'',1"),
            ("Gtid", ""),
            ("Table_map", "table_id: 2 (s.t)"),
            ("XA_prepare", "XA PREPARE X'62',X'',1"),
            ("Gtid", ""),
            ("Query", "XA START X'61',X'',1"),
            ("Table_map", "table_id: 3 (s.other)"),
            ("Update_rows", "table_id: 3 flags: STMT_END_F"),
            ("Query", "XA END X'61',X'',1"),
            ("XA_prepare", "XA PREPARE X'61',X'',1"),
            ("Gtid", ""),
            ("Query", "XA ROLLBACK X'62',X'',1"),
        ];
        let rows = Rows { tables: vec!["table_id: 3 (s.other)".to_owned()], is_hidden: false };
        assert_eq!(searched(&log), Some(Seen::Prepared { at: 8, rows }));
        assert_eq!(searched(&log[..8]), Some(Seen::Ended), "a second COMMIT has no transaction");
        assert_eq!(searched(&log[5..8]), None);
        for cut in ["table_id: 3 (s.oth".to_owned(), format!("table_id: 3 (s.{})", "o".repeat(250))] {
            let log = [("Gtid", ""), ("Table_map", cut.as_str()), ("XA_prepare", "XA PREPARE X'61',X'',1")];
            let rows = Rows { tables: Vec::new(), is_hidden: true };
            assert_eq!(searched(&log), Some(Seen::Prepared { at: 0, rows }), "what is cut may be any table");
        }
        let told = |table: &str, case| is_told("table_id: 3 (s.Other)", &TableName::new("s", table), case);
        assert_eq!([told("Other", NameCase::Exact), told("other", NameCase::Exact), told("other", NameCase::Folded)], [true, false, true]);
    }

    #[test]
    fn a_list_that_ends_within_a_compressed_transaction_is_cut() {
        let event = |kind: &str, at, end| Event { at, kind: kind.into(), end, text: String::new() };
        let events = [event("Gtid", 10, 20), event("Transaction_payload", 20, 90), event("Table_map", 90, 90), event("Gtid", 90, 99)];
        assert_eq!([3, 4].map(|count| is_cut(&events[..count])), [true, false]);
        assert!(!is_cut(&events[3..]));
    }
}
