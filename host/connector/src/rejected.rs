//! Rows that did not reach the target, as the target remembers them: the task's error table.
//!
//! ```text
//!   rejected row ──▶ written with the rows around it ──▶ a later, complete change of its key replaces it: resolved
//!                      (same target transaction)      └─▶ replayed from its stored image: resolved
//! ```
//!
//! A row is named by its table and its [`RowId`]; of each there is at most one entry, about its latest change. So what
//! an entry stores is the newest state of the row at the source as far as the checkpoint goes.

use std::fmt;

use tidegate_model::TableName;

use crate::ControlRow;

/// Names a row within its table: a digest of its key, or of all its cells where the table has no key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowId(pub [u8; 32]);

impl RowId {
    /// 64 hexadecimal digits.
    pub fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Reads what [`RowId::to_hex`] wrote.
    pub fn from_hex(text: &str) -> Option<RowId> {
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
        }
        Some(RowId(bytes))
    }
}

impl fmt::Debug for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex()[..16])
    }
}

/// Code of an entry about a row that *is* in the target, with values that the task's limit has cut.
pub const CUT: &str = "value_cut";

/// An entry of the error table by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedId {
    /// The table, by its name at the source.
    pub table: TableName,
    /// Which row.
    pub row_id: RowId,
    /// The row is in the target all the same: its code is [`CUT`].
    pub is_cut: bool,
}

/// What was to be done with a rejected row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RejectedOperation {
    /// A row of the full load.
    Load,
    /// An insert of the log.
    Insert,
    /// An update of the log.
    Update,
    /// A delete of the log, or the old key of an update that changed it.
    Delete,
}

impl RejectedOperation {
    /// `load`, `insert`, `update` or `delete`.
    pub fn as_str(self) -> &'static str {
        match self {
            RejectedOperation::Load => "load",
            RejectedOperation::Insert => "insert",
            RejectedOperation::Update => "update",
            RejectedOperation::Delete => "delete",
        }
    }

    /// Reads what [`RejectedOperation::as_str`] wrote.
    pub fn named(text: &str) -> Option<RejectedOperation> {
        [RejectedOperation::Load, RejectedOperation::Insert, RejectedOperation::Update, RejectedOperation::Delete]
            .into_iter()
            .find(|operation| operation.as_str() == text)
    }
}

/// A row for the error table. Holds row values: for the target alone, never for a log or a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedRow {
    /// The table, by its name at the source.
    pub table: TableName,
    /// Which row.
    pub row_id: RowId,
    /// Its key as a JSON object; `None` for keyless tables.
    pub key: Option<String>,
    /// What was to be done with it.
    pub operation: RejectedOperation,
    /// The place in the log after its transaction; `None` for a row of the full load.
    pub position: Option<String>,
    /// The module at fault, if one was.
    pub module: Option<String>,
    /// The module's digest, `sha256:…`.
    pub digest: Option<String>,
    /// Stable code.
    pub code: String,
    /// What happened.
    pub message: String,
    /// The row as a JSON object, for people. `None` by the task's settings and for rows that are ignored.
    pub image: Option<String>,
    /// The row in the form in which it can be replayed. `None` likewise, and where the log did not tell the whole row.
    pub stored: Option<Vec<u8>>,
    /// False for a row that is ignored: it is remembered, since later changes of it must be known, and not listed.
    pub is_logged: bool,
    /// The row of DMS's control table that tells of it, for a task that asks for these. Written and never read.
    pub exception: Option<ControlRow>,
}

/// A rejected row as the error table has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRejection {
    /// Grows with each entry: where the next page of a listing starts.
    pub number: i64,
    /// The row.
    pub row: RejectedRow,
    /// How often it was rejected since it is in the table.
    pub times: u64,
    /// When it was rejected last, microseconds since 1970 on the target's clock.
    pub at_us: i64,
}

/// An entry of the error table that is settled: the target has what the source has.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Resolved {
    /// The table, by its name at the source.
    pub table: TableName,
    /// Which row; `None` for every row, since the table was emptied.
    pub row_id: Option<RowId>,
}

/// What of a row was refused; the row alone is at fault, whatever other rows there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RowFault {
    /// A value that the column's type cannot hold.
    Value,
    /// A value that is too long or too large for the column.
    Truncation,
    /// A constraint on the row itself: not null, check, foreign key.
    Constraint,
    /// A mask of the rules cannot be applied to a value. The target was not asked.
    Mask,
    /// The target is not what the source had: it has the row of an insert, or lacks that of an update.
    Conflict,
}
