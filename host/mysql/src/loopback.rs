//! Marks of transactions ([`LoopMark`]) in a binary log.
//!
//! The log says of every row which table it is of, so a mark is a table of its own, `tidegate.loopback_MARK`: a transaction that
//! writes to it has the mark. Each session has one row there, so that sessions do not wait for each other; their count is bounded.
//! TRUNCATE, which no transaction holds, has the mark in a comment, which stands in the log with the statement.

use tidegate_connector::{ConnectorError, Dialect, LoopMark};
use tidegate_model::TableName;

use crate::connect::run;
use crate::target::session::Server;

/// The database of our own tables.
pub(crate) const DATABASE: &str = "tidegate";

/// The most rows that a mark's table has. Two sessions whose numbers meet wait for each other, which is harmless and rare.
const ROWS_MAX: u32 = 65_536;

/// The mark's table.
pub(crate) fn table(mark: &LoopMark) -> TableName {
    TableName::new(DATABASE, format!("loopback_{}", mark.as_str()))
}

/// Creates the mark's table where it is missing.
pub(crate) async fn create_table(server: &mut Server, mark: &LoopMark) -> Result<(), ConnectorError> {
    let what = "create the table of the loopback mark";
    let table = table(mark);
    let sql = format!(
        "create table if not exists {} (session bigint unsigned not null primary key, transactions bigint unsigned not null) \
         engine = InnoDB character set utf8mb4 collate utf8mb4_bin",
        Dialect::MYSQL.table(&table)
    );
    // Asked first, since whoever may write to it need not have the right to create some.
    let asked = format!(
        "select count(*) from information_schema.tables where table_schema = {} and table_name = {}",
        Dialect::MYSQL.literal(&table.schema),
        Dialect::MYSQL.literal(&table.name)
    );
    let there: u64 = crate::connect::row(&mut server.conn, what, &asked).await?;
    if there == 0 { run(&mut server.conn, what, &sql).await } else { Ok(()) }
}

/// The statement that marks the transaction which it is in. It has to be the first that writes.
pub(crate) fn mark_sql(mark: &LoopMark) -> String {
    format!(
        "insert into {} (session, transactions) values (connection_id() % {ROWS_MAX}, 1) on duplicate key update transactions = transactions + 1",
        Dialect::MYSQL.table(&table(mark))
    )
}

/// What stands behind a statement that commits by itself.
pub(crate) fn note(mark: Option<&LoopMark>) -> String {
    mark.map_or_else(String::new, |mark| format!(" /* tidegate loopback {} */", mark.as_str()))
}

/// What a stream leaves out.
#[derive(Debug)]
pub(crate) struct LeftOut {
    table: TableName,
    note: String,
}

impl LeftOut {
    pub(crate) fn new(mark: &LoopMark) -> Self {
        Self { table: table(mark), note: note(Some(mark)) }
    }

    /// True for the mark's table. Servers may fold the letters of names; a mark has small ones alone.
    pub(crate) fn is_mark(&self, logged: &TableName) -> bool {
        *logged == self.table
    }

    /// True for a statement with the mark.
    pub(crate) fn is_noted(&self, statement: &[u8]) -> bool {
        statement.ends_with(self.note.as_bytes())
    }
}
