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
        if let Some(tables) = search.found {
            return Ok(!scope.names().any(|table| tables.iter().any(|told| is_told(told, table, scope.case()))));
        }
    }
    Ok(false)
}

/// The newest PREPARE of a name, and what the server says of the tables before it.
struct Search<'a> {
    name: &'a str,
    open: Vec<String>,
    found: Option<Vec<String>>,
}

impl<'a> Search<'a> {
    fn new(name: &'a str) -> Self {
        Self { name, open: Vec::new(), found: None }
    }

    fn take(&mut self, event: &Event) {
        match event.kind.as_str() {
            "Gtid" | "Gtid_tagged" => self.open.clear(),
            "Table_map" => self.open.push(event.text.clone()),
            "XA_prepare" => {
                let prepared = event.text.to_ascii_lowercase();
                if prepared.strip_prefix("xa prepare ").is_some_and(|prepared| prepared.trim() == self.name) {
                    self.found = Some(std::mem::take(&mut self.open));
                }
            }
            _ => {}
        }
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
            ("Table_map", "table_id: 3 (s.other)"),
            ("XA_prepare", "XA PREPARE X'61',X'',1"),
            ("Gtid", ""),
            ("Query", "XA COMMIT X'61',X'',1"),
        ] {
            search.take(&event(kind, text));
        }
        assert_eq!(search.found, Some(vec!["table_id: 3 (s.other)".to_owned()]));
        let told = |table: &str, case| is_told("table_id: 3 (s.Other)", &TableName::new("s", table), case);
        assert_eq!([told("Other", NameCase::Exact), told("other", NameCase::Exact), told("other", NameCase::Folded)], [true, false, true]);
    }
}
