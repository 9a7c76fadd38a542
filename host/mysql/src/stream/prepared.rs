//! XA transactions that were prepared before a stream began: looked up in the log when they are committed.
//!
//! Between PREPARE and COMMIT there is time, and a task may be stopped in it. The log's files before tell what such a transaction
//! holds: `SHOW BINLOG EVENTS` names the tables of each one's rows, in front of its PREPARE.

use mysql_async::Conn;
use tidegate_connector::ConnectorError;
use tidegate_model::{LogPlace, TableName};

use super::scope::Scope;
use crate::binlog::statement::NameCase;
use crate::log_place::{self, Event};

/// Files that are looked through, the newest first: what was prepared long ago is found by people.
const FILES_MAX: usize = 4;

/// True for a transaction of which the log tells that it has no rows of the scope. `before` is the end of its COMMIT.
pub(super) async fn is_elsewhere(conn: &mut Conn, scope: &Scope, name: &str, before: &LogPlace) -> Result<bool, ConnectorError> {
    let files = log_place::file_names(conn).await?;
    let Some(newest) = files.iter().position(|file| *file == before.file) else { return Ok(false) };
    for file in files[..=newest].iter().rev().take(FILES_MAX) {
        let end = if *file == before.file { before.offset } else { u64::MAX };
        let mut search = Search::new(name);
        let mut from = log_place::FIRST_EVENT;
        loop {
            let events = log_place::events(conn, file, from, log_place::EVENTS_AT_A_TIME).await?;
            let count = events.len();
            events.iter().filter(|event| event.at < end).for_each(|event| search.take(event));
            let Some(last) = events.last().filter(|last| count == log_place::EVENTS_AT_A_TIME && last.at < end && last.end > from) else {
                break;
            };
            from = last.end;
        }
        if let Some(Rows { tables, is_hidden }) = search.found {
            return Ok(!is_hidden && !scope.names().any(|table| tables.iter().any(|told| is_told(told, table, scope.case()))));
        }
    }
    Ok(false)
}

/// What the server says of the rows of a transaction.
#[derive(Debug, Default, PartialEq, Eq)]
struct Rows {
    tables: Vec<String>,
    /// There may be others, of which it says nothing: those of a statement, or of a compressed transaction.
    is_hidden: bool,
}

/// The newest PREPARE of a name, and the rows before it.
struct Search<'a> {
    name: &'a str,
    open: Rows,
    found: Option<Rows>,
}

impl<'a> Search<'a> {
    fn new(name: &'a str) -> Self {
        Self { name, open: Rows::default(), found: None }
    }

    fn take(&mut self, event: &Event) {
        match event.kind.as_str() {
            kind if kind.starts_with("Gtid") => self.open = Rows::default(),
            "Table_map" => self.open.tables.push(event.text.clone()),
            "XA_prepare" => {
                let prepared = event.text.to_ascii_lowercase();
                if prepared.strip_prefix("xa prepare ").is_some_and(|prepared| prepared.trim() == self.name) {
                    self.found = Some(std::mem::take(&mut self.open));
                }
            }
            kind => self.open.is_hidden |= !tells_of_no_rows(kind, &event.text),
        }
    }
}

/// True for an event that brings no rows but those of the tables that were named before it.
fn tells_of_no_rows(kind: &str, text: &str) -> bool {
    match kind {
        // Rows, the statement that made them, and how the transaction begins and ends.
        "Query" => {
            ["xa start ", "xa end "].iter().any(|begin| text.get(..begin.len()).is_some_and(|text| text.eq_ignore_ascii_case(begin)))
        }
        "Rows_query" | "Annotate_rows" => true,
        kind => ["Write_rows", "Update_rows", "Delete_rows"].iter().any(|rows| kind.starts_with(rows)),
    }
}

/// True when a description such as `table_id: 18 (shop.orders)` may be of the table.
fn is_told(told: &str, table: &TableName, case: NameCase) -> bool {
    let (told, wanted) = (told.to_owned(), format!("({}.{})", table.schema, table.name));
    match case {
        NameCase::Exact => told.contains(&wanted),
        NameCase::Folded => told.to_lowercase().contains(&wanted.to_lowercase()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_transaction_of_the_name_counts_and_only_its_own_tables() {
        let event = |kind: &str, text: &str| Event { at: 4, kind: kind.into(), end: 5, text: text.into() };
        let mut search = Search::new("x'61',x'',1");
        for (kind, text) in [
            ("Gtid", ""),
            ("Table_map", "table_id: 1 (s.older)"),
            ("XA_prepare", "XA PREPARE X'61',X'',1"),
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
            ("Query", "XA COMMIT X'61',X'',1"),
        ] {
            search.take(&event(kind, text));
        }
        assert_eq!(search.found, Some(Rows { tables: vec!["table_id: 3 (s.other)".to_owned()], is_hidden: false }));
        let told = |table: &str, case| is_told("table_id: 3 (s.Other)", &TableName::new("s", table), case);
        assert_eq!([told("Other", NameCase::Exact), told("other", NameCase::Exact), told("other", NameCase::Folded)], [true, false, true]);
    }
}
