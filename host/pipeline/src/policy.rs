//! What a task does about single rows that cannot be replicated.

/// What happens with a row at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RowAction {
    /// It goes to the error table, and the task goes on. DMS: `LOG_ERROR`.
    Log,
    /// It is left out; the error table keeps no more than its key. DMS: `IGNORE_RECORD`.
    Ignore,
    /// Its table leaves the task until it is loaded again. DMS: `SUSPEND_TABLE`.
    SuspendTable,
    /// The task stops. DMS: `STOP_TASK`.
    Stop,
}

/// What happens when the target is not what the source had: an insert finds its row there, an update none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConflictAction {
    /// The task stops, or suspends the table: somebody else writes to the target. DMS: `STOP_TASK`, `SUSPEND_TABLE`.
    Stop,
    /// The change is made to hold all the same. DMS: `INSERT_RECORD`, `UPDATE_RECORD`.
    Upsert,
    /// The target keeps what it has, and the row goes to the error table. DMS: `LOG_ERROR`.
    Log,
    /// The same; the error table keeps no more than the row's key. DMS: `IGNORE_RECORD`.
    Ignore,
}

/// What happens when a delete finds no row in the target. The source has none either once it is applied, so that, unlike after
/// other conflicts, the target is level if the task goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MissingDelete {
    /// As with other conflicts. DMS: `SUSPEND_TABLE`, `STOP_TASK`.
    Conflict,
    /// The task goes on, and says once for each table that this happens. DMS: `LOG_ERROR`.
    Log,
    /// The task goes on. DMS: `IGNORE_RECORD`.
    Ignore,
}

/// A task's policy. The default stops at the first row: a wrong row is worse than a stopped task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowErrorPolicy {
    /// For rows that a module fails on or refuses, and values that the target cannot hold.
    pub data: RowAction,
    /// For values that are too long or too large for their column.
    pub truncation: RowAction,
    /// For values that a mask of the rules cannot be applied to; they are never copied as they are. DMS: `DataMaskingErrorPolicy`.
    pub masking: RowAction,
    /// For an insert that finds its row in the target. See [`ConflictAction`]. DMS: `ApplyErrorInsertPolicy`.
    pub insert_conflict: ConflictAction,
    /// For an update that finds no row in the target. DMS: `ApplyErrorUpdatePolicy`.
    pub update_conflict: ConflictAction,
    /// From so many conflicts of a table in a run that the target keeps its row in, what happens instead; `None`: never. DMS:
    /// `ApplyErrorEscalationCount`, `ApplyErrorEscalationPolicy`.
    pub conflict_escalation: Option<(u64, RowAction)>,
    /// See [`MissingDelete`]. Without meaning where every change is made to hold. DMS: `ApplyErrorDeletePolicy`.
    pub missing_delete: MissingDelete,
    /// From so many conflicts of a table in a run on that suspend the table, the task stops; `None`: never. DMS: `STOP_TASK` for conflicts.
    pub conflicts_max: Option<u32>,
    /// From so many rejected rows of a table on, what happens instead; `None`: never.
    pub escalation: Option<(u64, RowAction)>,
    /// Whether the error table gets the rows' values. Without them nothing can be replayed.
    pub images: bool,
    /// The task stops when more rows than this are rejected in a row, with none accepted between.
    pub consecutive_max: u64,
    /// The task stops when more than this share of the last 100,000 rows were rejected, in percent.
    pub share_percent_max: u32,
}

impl Default for RowErrorPolicy {
    /// 1,000 rows and 5 % by guess: that many are no single bad rows but a wrong rule.
    fn default() -> Self {
        Self {
            data: RowAction::Stop,
            truncation: RowAction::Stop,
            masking: RowAction::Stop,
            insert_conflict: ConflictAction::Stop,
            update_conflict: ConflictAction::Stop,
            conflict_escalation: None,
            missing_delete: MissingDelete::Conflict,
            conflicts_max: None,
            escalation: None,
            images: true,
            consecutive_max: 1_000,
            share_percent_max: 5,
        }
    }
}
