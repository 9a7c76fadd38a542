//! What the names in a row plan's `inputs` stand for: columns, and what the host knows of an image besides them.

use tidegate_model::{SqlType, TableSchema};

/// Begins the name of an input that is a column's value before the update: `$BEFORE.qty`.
pub const BEFORE_PREFIX: &str = "$BEFORE.";

/// What a row plan's input stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputSource {
    /// The source column with this index, in the image itself.
    Column(usize),
    /// The same column before the change: of an update its old value, of a delete its last one, of every other image
    /// NULL. Absent where the log does not have it.
    Before(usize),
    /// A fact about the change.
    Header(Header),
}

/// A fact about a change that is no column of its table. Images of the full load have no place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// `$AR_H_TIMESTAMP`: when the change was made. Logs tell one time for a transaction, that of its commit. Of a
    /// loaded row, when its chunk was read.
    Timestamp,
    /// `$AR_H_COMMIT_TIMESTAMP`: when the transaction was committed; of a loaded row as above.
    CommitTimestamp,
    /// `$AR_H_STREAM_POSITION`: the transaction's LSN or GTID; empty for a loaded row.
    StreamPosition,
    /// `$AR_H_CHANGE_SEQ`: 16 digits of the commit's time (`YYYYMMDDhhmmssff`, UTC), then 19 digits that tell changes
    /// within it apart; empty for a loaded row.
    ChangeSequence,
}

impl Header {
    const ALL: [Header; 4] = [Header::Timestamp, Header::CommitTimestamp, Header::StreamPosition, Header::ChangeSequence];

    /// The name of the input.
    pub fn name(self) -> &'static str {
        match self {
            Header::Timestamp => "$AR_H_TIMESTAMP",
            Header::CommitTimestamp => "$AR_H_COMMIT_TIMESTAMP",
            Header::StreamPosition => "$AR_H_STREAM_POSITION",
            Header::ChangeSequence => "$AR_H_CHANGE_SEQ",
        }
    }

    /// The type of its values.
    pub fn sql_type(self) -> SqlType {
        match self {
            Header::Timestamp | Header::CommitTimestamp => SqlType::TimestampTz,
            Header::StreamPosition | Header::ChangeSequence => SqlType::Text { chars_max: None },
        }
    }
}

impl InputSource {
    /// What `name` stands for in plans of this table; a column of that very name comes first. `None` for nothing.
    pub fn find(name: &str, schema: &TableSchema) -> Option<InputSource> {
        let column = |name: &str| schema.column_index(name);
        column(name)
            .map(InputSource::Column)
            .or_else(|| name.strip_prefix(BEFORE_PREFIX).and_then(column).map(InputSource::Before))
            .or_else(|| Header::ALL.into_iter().find(|header| header.name() == name).map(InputSource::Header))
    }

    /// The type of the input's values.
    pub fn sql_type(self, schema: &TableSchema) -> SqlType {
        match self {
            InputSource::Column(index) | InputSource::Before(index) => schema.columns[index].sql_type.clone(),
            InputSource::Header(header) => header.sql_type(),
        }
    }
}
