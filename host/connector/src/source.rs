//! What a source must do: describe tables, read them in chunks from a consistent snapshot, and stream its log.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tidegate_model::change::RelationId;
use tidegate_model::{
    Cell, Change, Engine, LogPlace, Position, RowBatch, SqlType, TableName, TableObjects, TableSchema, TaskId, TxMark, Value, ValueFault,
    Window,
};

use crate::{ConnectorError, Finding, TableCut, Unfit};

/// Log that a source keeps for a task beyond which people are warned: a finding of the checks, an event of a running task.
/// 64 segments of PostgreSQL's log, as much as it keeps for itself by default (`max_wal_size`).
pub const LOG_HELD_WARNED_BYTES: u64 = 1 << 30;

/// Most rows that a reader of a load brings at once, however small they are.
pub const LOADED_ROWS_MAX: usize = 4_096;

/// A cell that is not of the form that its column's type asks for. Never shows the bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column \"{column}\": {reason}")]
pub struct CellError {
    /// The column's name.
    pub column: String,
    /// What does not fit, without the value.
    pub reason: String,
    /// The kind of value, where a task may have a word about it.
    pub unfit: Option<Unfit>,
}

impl CellError {
    /// Of a cell that the source could not read.
    pub fn unread(column: &str, fault: ValueFault) -> Self {
        Self { column: column.to_owned(), reason: format!("found {}", fault.as_str()), unfit: Some(Unfit::Unread(fault)) }
    }
}

/// Reads typed values out of a source's rows.
pub trait CellDecoder: Send + Sync + fmt::Debug {
    /// The value of a known cell (`Null`, `Binary` or `Text`) of the column at `column`.
    ///
    /// # Errors
    /// [`CellError`] for bytes that are not of the column's form, and for `Unchanged`, `Absent` and `Faulty` cells.
    fn decode<'a>(&self, column: usize, cell: Cell<'a>) -> Result<Value<'a>, CellError>;

    /// What a target of another kind gets of a column's values.
    fn reading(&self, column: usize) -> Reading;

    /// What stands in a column's cells, where it is plain: who reads many of them need not ask for each.
    fn form(&self, column: usize) -> CellForm;
}

/// What is read of a column's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Each value.
    Value,
    /// The bytes of its binary form, as hexadecimal digits: its type is known to its own server alone.
    BinaryForm,
    /// Nothing: its cells can only be passed on to a target of the same kind.
    Nothing,
}

/// What the bytes of a column's cells are. [`CellDecoder::decode`] says the same of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CellForm {
    /// The text, in UTF-8.
    Utf8,
    /// A signed integer of two bytes, big-endian.
    Int16Be,
    /// Likewise, of four bytes.
    Int32Be,
    /// Likewise, of eight bytes.
    Int64Be,
    /// A signed integer of eight bytes, little-endian.
    Int64Le,
    /// Something that has to be decoded.
    Decoded,
}

impl CellForm {
    /// The number of an integer's bytes; `None` for other lengths and forms.
    #[inline]
    pub fn integer(self, bytes: &[u8]) -> Option<i64> {
        Some(match self {
            CellForm::Int16Be => i16::from_be_bytes(bytes.try_into().ok()?).into(),
            CellForm::Int32Be => i32::from_be_bytes(bytes.try_into().ok()?).into(),
            CellForm::Int64Be => i64::from_be_bytes(bytes.try_into().ok()?),
            CellForm::Int64Le => i64::from_le_bytes(bytes.try_into().ok()?),
            CellForm::Utf8 | CellForm::Decoded => return None,
        })
    }
}

/// Decoder of rows in the neutral form.
#[derive(Debug)]
pub struct NeutralDecoder {
    columns: Vec<(String, SqlType)>,
}

impl NeutralDecoder {
    /// A decoder for rows with these columns.
    pub fn new(columns: impl IntoIterator<Item = (String, SqlType)>) -> Self {
        Self { columns: columns.into_iter().collect() }
    }
}

impl CellDecoder for NeutralDecoder {
    fn decode<'a>(&self, column: usize, cell: Cell<'a>) -> Result<Value<'a>, CellError> {
        let Some((name, sql_type)) = self.columns.get(column) else {
            return Err(CellError {
                column: format!("#{column}"),
                reason: "the row has more cells than the table has columns".into(),
                unfit: None,
            });
        };
        let error = |reason: String| CellError { column: name.clone(), reason, unfit: None };
        match cell {
            Cell::Null => Ok(Value::Null),
            Cell::Binary(bytes) => Value::from_neutral(sql_type, bytes).map_err(|cause| error(cause.to_string())),
            Cell::Text(bytes) => std::str::from_utf8(bytes).map(Value::Text).map_err(|_| error("text is not UTF-8".into())),
            Cell::Unchanged | Cell::Absent => Err(error("the source did not send the value".into())),
            Cell::Faulty(fault) => Err(CellError::unread(name, fault)),
        }
    }

    fn reading(&self, column: usize) -> Reading {
        if column < self.columns.len() { Reading::Value } else { Reading::Nothing }
    }

    fn form(&self, column: usize) -> CellForm {
        match self.columns.get(column) {
            Some((_, SqlType::Text { .. })) => CellForm::Utf8,
            Some((_, SqlType::Int8 | SqlType::Int16 | SqlType::Int32 | SqlType::Int64)) => CellForm::Int64Le,
            _ => CellForm::Decoded,
        }
    }
}

/// What stays the same of a table and its columns while their names change, and is never given again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lineage {
    /// The table's number (PostgreSQL: `pg_class.oid`).
    pub table: u32,
    /// The number of each column of the description, in its order (PostgreSQL: `pg_attribute.attnum`); 0 where the
    /// source no longer tells it.
    pub columns: Vec<u16>,
}

/// One version of a table's description, with the decoder of its rows.
#[derive(Debug, Clone)]
pub struct SourceTable {
    /// The description.
    pub schema: TableSchema,
    /// Reads typed values out of its rows.
    pub decoder: Arc<dyn CellDecoder>,
    /// Rows by the server's own estimate, for progress and for the choice of chunks.
    pub rows_estimate: u64,
    /// Where the source has such numbers, and still has the table.
    pub lineage: Option<Lineage>,
}

/// A partition of a table, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// The table at the root.
    pub of: TableName,
    /// Its own name.
    pub name: TableName,
    /// Its number (PostgreSQL: `pg_class.oid`).
    pub number: u32,
    /// The number of its file, which is another one after TRUNCATE and whatever else writes it anew; 0 without a file.
    pub storage: u32,
    /// It was a table before it was a partition of the root, and has rows now.
    pub brought_rows: bool,
    /// Another text when it, or what it is a part of, was detached and attached again (PostgreSQL: the transactions that attached it).
    pub attached: String,
}

/// Which tables a task captures.
#[derive(Debug, Clone)]
pub struct CaptureScope {
    /// The task: names of slots, publications and server ids derive from it.
    pub task: TaskId,
    /// The tables, by their names at the source.
    pub tables: Vec<TableName>,
}

/// The result of [`Source::begin_capture`].
pub struct CaptureStart {
    /// From here on the source keeps its log for the task.
    pub position: Position,
    /// A snapshot at that position or (MySQL) shortly after it.
    pub snapshot: Box<dyn Snapshot>,
}

/// A part of a table, as its source cuts it. `bounds` is the source's own text, stable over restarts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Chunk {
    /// 0-based, in table order.
    pub index: u32,
    /// The source's own description of the part.
    pub bounds: String,
}

/// A database that can be read. Methods open connections of their own and may be called concurrently.
#[async_trait]
pub trait Source: Send + Sync {
    /// The kind of database, as found on the server (MySQL and MariaDB share a connector).
    fn engine(&self) -> Engine;

    /// What makes this source this source, for comparison after a restart: PostgreSQL's system identifier, timeline and
    /// database, MySQL's and MariaDB's nothing but the kind (GTIDs survive a change of server).
    async fn identity(&self) -> Result<String, ConnectorError>;

    /// Whether this source is the one that gave the identity `before`, or goes on where that one was: its log is the same up
    /// to each of `places` (PostgreSQL: a promoted standby).
    ///
    /// # Errors
    /// Definite (`source_changed`) when it is another, or left that log before one of the places.
    async fn succeeds(&self, before: &str, places: &[Position]) -> Result<(), ConnectorError>;

    /// Names of all tables that the user may see, system schemas and tables that belong to the server's extensions left out.
    async fn table_names(&self) -> Result<Vec<TableName>, ConnectorError>;

    /// Those of `names` that are there and that the user may see, in any order: what [`Source::table_names`] has of them, and tables of
    /// extensions.
    async fn existing_tables(&self, names: &[TableName]) -> Result<Vec<TableName>, ConnectorError> {
        let names: HashSet<&TableName> = names.iter().collect();
        Ok(self.table_names().await?.into_iter().filter(|name| names.contains(name)).collect())
    }

    /// Descriptions of tables, in the order asked for.
    ///
    /// # Errors
    /// Table-definite when one does not exist or cannot be described.
    async fn describe(&self, tables: &[TableName]) -> Result<Vec<Arc<SourceTable>>, ConnectorError>;

    /// What these tables have beside columns and primary key, in the order asked for, with the positions of their
    /// counters right now. Nothing for a table that is gone.
    async fn describe_objects(&self, tables: &[TableName]) -> Result<Vec<TableObjects>, ConnectorError>;

    /// Everything that would stop or falsify a load of these tables or, with `cdc`, the capture of their changes.
    /// Writes nothing. Problems are findings; an error means that the check itself could not be done.
    async fn check(&self, task: &TaskId, tables: &[Arc<SourceTable>], cdc: bool) -> Result<Vec<Finding>, ConnectorError>;

    /// Makes the source keep its log from now on (PostgreSQL: publication, then slot) and takes a snapshot there.
    /// What an earlier, unfinished call left behind for the same task is replaced.
    async fn begin_capture(&self, scope: &CaptureScope) -> Result<CaptureStart, ConnectorError>;

    /// Instead of [`Source::begin_capture`], for a task that starts at a position that the user gave: takes over what the
    /// user made so that the source keeps its log from there (PostgreSQL: slot and publication).
    ///
    /// # Errors
    /// Definite (`position_lost`) when it is not there, or does not reach back to the position.
    async fn adopt_capture(&self, scope: &CaptureScope, from: &Position) -> Result<(), ConnectorError>;

    /// Makes the log carry changes of `added` too, which are among the tables of `scope` (PostgreSQL: adds them to the
    /// publication, and takes out what is no longer in `scope`). A snapshot that is taken afterwards has everything
    /// that a stream does not bring. Nothing happens for tables that the log carries already.
    async fn extend_capture(&self, scope: &CaptureScope, added: &[TableName]) -> Result<(), ConnectorError>;

    /// Streams changes of transactions that `from` does not cover, in commit order.
    ///
    /// # Errors
    /// Definite (`position_lost`, `source_changed`) when the source no longer has the log from there, or has another
    /// history: never a silent gap.
    async fn open_stream(&self, scope: &CaptureScope, from: &Position) -> Result<Box<dyn ChangeStream>, ConnectorError>;

    /// Whether [`Source::open_stream`] would find the log from there, asked without opening a stream: the running
    /// worker of the task, if there is one, keeps its own.
    ///
    /// # Errors
    /// As for `open_stream`, as far as the source tells beforehand.
    async fn check_position(&self, scope: &CaptureScope, from: &Position) -> Result<(), ConnectorError>;

    /// Waits until snapshots from now on have all that this position covers, of which the caller heard by the log: a server may send a transaction
    /// before its engine shows it, and what a snapshot lacks and a stream from there on does not bring would be lost. Nothing to wait for
    /// where snapshots see to it themselves.
    ///
    /// # Errors
    /// Transient (`commit_waits`) when that takes too long.
    async fn wait_shown(&self, _position: &Position) -> Result<(), ConnectorError> {
        Ok(())
    }

    /// A new snapshot, with its place in the log: for full loads without capture, for resumed loads, for reloads.
    async fn snapshot(&self, scope: &CaptureScope) -> Result<Box<dyn Snapshot>, ConnectorError>;

    /// The end of the log right now: what a target must reach to be level.
    async fn log_end(&self) -> Result<Position, ConnectorError>;

    /// A position behind everything that the server has told a client to be committed: what a target must reach for a cut-over.
    async fn end_of_commits(&self) -> Result<Position, ConnectorError> {
        self.log_end().await
    }

    /// The server's clock, microseconds since 1970.
    async fn clock_us(&self) -> Result<i64, ConnectorError>;

    /// The position that covers every transaction which is complete before this place, and no other; `None` when the log
    /// has not come that far.
    ///
    /// # Errors
    /// Definite (`position_lost`) when the server no longer has that part of its log, or has no such files.
    async fn position_of(&self, place: &LogPlace) -> Result<Option<Position>, ConnectorError>;

    /// The position in front of the first transaction that was committed at this time (microseconds since 1970) or later,
    /// by the times in the log; its end when there is none.
    ///
    /// # Errors
    /// Definite (`position_lost`) when the log begins later, (`start_time_unknown`) where it cannot be read from any place.
    async fn position_at(&self, task: &TaskId, time_us: i64) -> Result<Position, ConnectorError>;

    /// Bytes of log that the source keeps because the task has not confirmed them, or because a transaction that is still open
    /// began there; `None` where nothing is kept for a task: MySQL and MariaDB keep their log by time and space.
    async fn log_held(&self, task: &TaskId) -> Result<Option<u64>, ConnectorError>;

    /// Whether the table of this lineage is still there, by whatever name. False where descriptions have none.
    async fn table_exists(&self, lineage: &Lineage) -> Result<bool, ConnectorError>;

    /// The partitions of those of these tables whose log tells nothing of what is done to a partition as a whole.
    async fn partitions(&self, tables: &[TableName]) -> Result<Vec<Partition>, ConnectorError>;

    /// Drops what [`Source::begin_capture`] made. Succeeds when there is nothing to drop.
    async fn end_capture(&self, task: &TaskId) -> Result<(), ConnectorError>;
}

/// A consistent view of the source that several readers share.
#[async_trait]
pub trait Snapshot: Send + Sync {
    /// Cuts a table into parts of about `rows_wanted` rows; at least one, also for an empty table.
    async fn chunks(&self, table: &SourceTable, rows_wanted: u64) -> Result<Vec<Chunk>, ConnectorError>;

    /// The same for several tables, with as few requests as the source allows.
    async fn chunks_of(&self, tables: &[Arc<SourceTable>], rows_wanted: u64) -> Result<Vec<Vec<Chunk>>, ConnectorError> {
        let mut all = Vec::with_capacity(tables.len());
        for table in tables {
            all.push(self.chunks(table, rows_wanted).await?);
        }
        Ok(all)
    }

    /// The place in the log of a chunk that is known to have no rows, so that it need not be read; `None` for any other.
    fn empty(&self, _chunk: &Chunk) -> Option<Window> {
        None
    }

    /// Cuts a table as a rule says; what the rule leaves open, into parts of about `rows_wanted` rows. Each row is in exactly one
    /// part, rows with NULL included. A table that can only be read in one piece stays in one.
    ///
    /// # Errors
    /// Table-definite (`parallel_load`, with the rule's id) for a column that the table does not have or whose type has no plain
    /// order, a boundary that is no value of its column's type, boundaries that do not ascend, and partitions that are not there.
    async fn cut(&self, table: &SourceTable, cut: &TableCut, rows_wanted: u64) -> Result<Vec<Chunk>, ConnectorError>;

    /// Opens one part for reading, on a connection of its own.
    async fn read(&self, table: Arc<SourceTable>, chunk: &Chunk) -> Result<Box<dyn RowReader>, ConnectorError>;

    /// True when chunks that were loaded from an earlier snapshot stay valid beside chunks of this one: rows of the
    /// table are identified by a key. False for keyless tables, which start over.
    fn resumable(&self, table: &SourceTable) -> bool;
}

/// The rows of one chunk.
#[async_trait]
pub trait RowReader: Send {
    /// The place in the log of the rows that this reader returns.
    fn window(&self) -> Window;

    /// The next rows, a few hundred kilobytes and at most [`LOADED_ROWS_MAX`] at a time; `None` at the end. A broken read is an
    /// error, never an end.
    async fn next_rows(&mut self) -> Result<Option<RowBatch>, ConnectorError>;

    /// How long it made rows of what had arrived, over all calls so far: the rest of their time it waited.
    fn decoded(&self) -> Duration;
}

/// A number for a transaction within one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TxId(pub u64);

/// One event of a stream.
#[derive(Debug, Clone)]
pub enum StreamEvent {
    /// A table's description; always before the first change that uses its number. Numbers are new for each stream.
    Relation {
        /// The number.
        id: RelationId,
        /// The description.
        table: Arc<SourceTable>,
    },
    /// A step of a transaction. Steps of several transactions may interleave.
    Change {
        /// The transaction.
        tx: TxId,
        /// The subtransaction; equal to `tx` outside any.
        sub: TxId,
        /// The step.
        change: Change,
    },
    /// The transaction's changes are complete and final. Commits arrive in commit order.
    Commit {
        /// The transaction.
        tx: TxId,
        /// Its name in the log.
        mark: TxMark,
        /// Microseconds since 1970 on the source's clock.
        committed_at_us: i64,
        /// Where it ends in the binary log, where there is one.
        place: Option<LogPlace>,
    },
    /// The subtransaction's changes are void; the whole transaction's, when `sub` is `tx`.
    Abort {
        /// The transaction.
        tx: TxId,
        /// The subtransaction.
        sub: TxId,
    },
    /// Nothing up to this position is missing from what was delivered, and no transaction is open in the stream.
    Idle {
        /// Everything that it covers was delivered or does not concern the task.
        position: Position,
    },
}

/// A running stream. Dropping it closes the connection.
#[async_trait]
pub trait ChangeStream: Send {
    /// The next events, at least one; waits for them. As many as have arrived, up to about a megabyte. Answers the
    /// server's keep-alives meanwhile, so it must be polled; safe to cancel between calls and while waiting.
    async fn next_events(&mut self) -> Result<Vec<StreamEvent>, ConnectorError>;

    /// Bytes of the source's log between where the stream began and where it is, of whatever tables they are. Never falls.
    fn log_bytes(&self) -> u64;

    /// Tells the source that everything up to `position` is durable in the target, so that it may discard its log.
    /// Never goes back; sent with the next status message. Does not wait.
    fn confirm(&mut self, position: &Position);

    /// How long it made events of what had arrived, over all calls so far: the rest of their time it waited.
    fn decoded(&self) -> Duration;
}
