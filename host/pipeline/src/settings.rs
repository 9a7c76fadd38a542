//! What a task asks of the pipeline.

use std::str::FromStr;

/// What a task does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MigrationType {
    /// Copy the rows that are there, once.
    FullLoad,
    /// Follow the log from now (or from a given position) on.
    Cdc,
    /// Copy, then follow.
    FullLoadAndCdc,
}

impl MigrationType {
    /// DMS's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            MigrationType::FullLoad => "full-load",
            MigrationType::Cdc => "cdc",
            MigrationType::FullLoadAndCdc => "full-load-and-cdc",
        }
    }

    /// True when existing rows are copied.
    pub fn loads(self) -> bool {
        matches!(self, MigrationType::FullLoad | MigrationType::FullLoadAndCdc)
    }

    /// True when the log is followed.
    pub fn captures(self) -> bool {
        matches!(self, MigrationType::Cdc | MigrationType::FullLoadAndCdc)
    }
}

/// A text that is none of `full-load`, `cdc`, `full-load-and-cdc`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("migration type \"{0}\" is none of full-load, cdc, full-load-and-cdc")]
pub struct UnknownMigrationType(pub String);

impl FromStr for MigrationType {
    type Err = UnknownMigrationType;

    fn from_str(text: &str) -> Result<Self, UnknownMigrationType> {
        match text {
            "full-load" => Ok(MigrationType::FullLoad),
            "cdc" => Ok(MigrationType::Cdc),
            "full-load-and-cdc" => Ok(MigrationType::FullLoadAndCdc),
            other => Err(UnknownMigrationType(other.chars().take(100).collect())),
        }
    }
}

/// What follows when a table cannot go on: its definition changed, its target does not fit, its log has a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TableErrorPolicy {
    /// The task stops with the error. DMS: `STOP_TASK`.
    #[default]
    Stop,
    /// The table is taken out of the task until it is reloaded, and the others go on. DMS: `SUSPEND_TABLE`.
    Suspend,
}

/// How much of the tables' definitions the target gets, of those that the task creates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SchemaScope {
    /// Everything that the target can have: defaults, counters, indexes, foreign keys, checks, sequences.
    #[default]
    Full,
    /// Columns, nullability and primary keys, as DMS does.
    Minimal,
}

/// A text that is neither `full` nor `minimal`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("schema \"{0}\" is none of full, minimal")]
pub struct UnknownSchemaScope(pub String);

impl FromStr for SchemaScope {
    type Err = UnknownSchemaScope;

    fn from_str(text: &str) -> Result<Self, UnknownSchemaScope> {
        match text {
            "full" => Ok(SchemaScope::Full),
            "minimal" => Ok(SchemaScope::Minimal),
            other => Err(UnknownSchemaScope(other.chars().take(100).collect())),
        }
    }
}

/// What follows when a table's definition changes at the source. In order of care: of several, the last decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DdlAction {
    /// The target stays as it is, as far as rows of the new definition still fit.
    Ignore,
    /// The target follows.
    Apply,
    /// The table is taken out of the task until it is reloaded.
    SuspendTable,
    /// The task stops.
    Stop,
}

/// [`DdlAction`] by kind of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DdlPolicy {
    /// A column is new.
    pub add_column: DdlAction,
    /// A column is gone.
    pub drop_column: DdlAction,
    /// A column has another name, or another column has its name.
    pub rename_column: DdlAction,
    /// A column has another type, or rows are identified by other columns.
    pub retype_column: DdlAction,
    /// A table was emptied.
    pub truncate_table: DdlAction,
    /// A table is gone. `Apply` drops it in the target.
    pub drop_table: DdlAction,
    /// A table has another name, or another table has its name.
    pub rename_table: DdlAction,
    /// A table is new and selected. Everything but `Apply` leaves it out until it is loaded on request.
    pub create_table: DdlAction,
}

impl Default for DdlPolicy {
    /// The target follows, but for tables that are dropped: what is gone there is gone.
    fn default() -> Self {
        let all = DdlAction::Apply;
        Self {
            add_column: all,
            drop_column: all,
            rename_column: all,
            retype_column: all,
            truncate_table: all,
            drop_table: DdlAction::Ignore,
            rename_table: all,
            create_table: all,
        }
    }
}

/// How much of the changes that wait is kept in memory, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheMemory {
    /// So much for each unit that the task has at the time, and for one when it has none.
    EachUnit(usize),
    /// The same whatever its units are.
    Fixed(usize),
}

/// Bounds of one task. All are hard: what does not fit waits or goes to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PipelineLimits {
    /// Connections that load chunks at once. DMS: `MaxFullLoadSubTasks`.
    pub load_lanes: usize,
    /// Rows that a chunk should have.
    pub chunk_rows: u64,
    /// Memory for changes that wait; beyond it they go to segment files.
    pub cache: CacheMemory,
    /// Bytes of changes that one target transaction may take up in memory, unless a single source transaction has more.
    pub group_bytes_max: usize,
}

impl Default for PipelineLimits {
    /// Four load lanes and 200,000 rows a chunk by guess; 64 MiB of cache for each capacity unit; groups of 8 MiB keep a
    /// target transaction well under a second.
    fn default() -> Self {
        Self { load_lanes: 4, chunk_rows: 200_000, cache: CacheMemory::EachUnit(64 << 20), group_bytes_max: 8 << 20 }
    }
}
