//! What a target must do: keep a task's records, prepare tables, load chunks, and apply groups, each in one
//! transaction with its own mark.
//!
//! The fence: every transaction that writes for a task checks, inside itself, that the task's generation in the
//! target is still the one it started with, and fails with [`ErrorClass::Fenced`](crate::ErrorClass) otherwise.
//!
//! Longer than 500 lines because one trait is what every target keeps to, and its words are read together.

use std::sync::Arc;

use async_trait::async_trait;
use tidegate_model::{Engine, Fence, Position, Row, SqlType, TableName, TableObjects, TableState, TaskId, Window};

use crate::{
    Chunk, ConnectorError, ControlTables, ControlWrite, Finding, LoadBatch, RejectedId, RejectedRow, Resolved, SourceTable,
    StoredRejection, UnfitPolicy,
};

/// Where a target column's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnOrigin {
    /// The source column at this index.
    Source(usize),
    /// The cell at this index of the image's computed row, in the neutral form of the type that [`TargetTable::computed`] tells. The
    /// column may have another type, to which its values are converted.
    Computed(usize),
    /// The same text for each row, converted to the column's type; `None` is NULL.
    Constant(Option<String>),
}

/// A column as the task's rules want it in the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetColumn {
    /// Name in the target.
    pub name: String,
    /// Wanted type. For `ColumnOrigin::Source` with the source column's own type, the connector may choose a native
    /// type that keeps more (same engine: the native type itself).
    pub sql_type: SqlType,
    /// May hold NULL.
    pub nullable: bool,
    /// Where its values come from.
    pub origin: ColumnOrigin,
}

/// A table as the task's rules want it in the target, and the source table that feeds it.
#[derive(Debug, Clone)]
pub struct TargetTable {
    /// Name in the target.
    pub name: TableName,
    /// Columns, in the order in which they are created.
    pub columns: Vec<TargetColumn>,
    /// Indexes into `columns`: the primary key to create; empty for none.
    pub primary_key: Vec<usize>,
    /// Indexes into `columns`: what identifies a row when changes are applied. Empty: the whole row does (keyless).
    /// All of them have values in every old image that the source sends.
    pub identity: Vec<usize>,
    /// The source table. Rows of images are in its encoding.
    pub source: Arc<SourceTable>,
    /// What else the table shall have; empty for a task that asks for no more than columns and keys.
    pub objects: Arc<TargetObjects>,
    /// What becomes of values that the target's types have no place for.
    pub unfit: UnfitPolicy,
    /// The type of each cell of images' computed rows.
    pub computed: Vec<SqlType>,
}

/// The rest of a table's definition as the target shall have it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TargetObjects {
    /// In the target's names. A `native` text stands only where source and target are of one kind.
    pub wanted: TableObjects,
    /// What the task's rules, or the kinds of the two databases, leave no way to carry.
    pub omitted: Vec<Finding>,
}

/// When objects are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BuildStage {
    /// The rows are loaded, but may be of different moments until the log has brought them together: defaults, counters,
    /// checks and indexes that refuse no row.
    Loaded,
    /// The rows are those of one moment of the source: unique and exclusion constraints too, and foreign keys where the
    /// changes to come can be applied without them.
    Exact,
    /// Likewise, and no changes are to come: every foreign key.
    Final,
}

impl TargetTable {
    /// True when what a connector planned for one serves the other.
    pub fn is_same(self: &Arc<Self>, other: &Arc<TargetTable>) -> bool {
        Arc::ptr_eq(self, other)
            || (self.columns == other.columns
                && self.primary_key == other.primary_key
                && self.identity == other.identity
                && self.unfit == other.unfit
                && self.computed == other.computed
                && (Arc::ptr_eq(&self.source, &other.source) || self.source.schema == other.source.schema))
    }
}

/// What to do with what is in the target before a table's first row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TablePreparation {
    /// Create the table when missing, keep rows and definition otherwise (also used to go on after a restart).
    Keep,
    /// Drop it and create it anew. A target whose tables carry what others put upon them may fit one that the task made instead.
    DropAndCreate,
    /// Remove its rows; create it when missing. A table that does not fit keeps them.
    Truncate,
    /// Remove its rows, add columns that are missing and widen narrow ones; columns that are there and not wanted may hold
    /// NULL from then on. Create it when missing. For a table whose definition changed at the source.
    Fit,
}

/// One row image: cells of the source, and cells that modules computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// In the source table's encoding.
    pub row: Row,
    /// In the neutral form; `None` when the table has no computed columns.
    pub computed: Option<Row>,
    /// The row is gone at the source, and stays in the target as this.
    pub is_deleted: bool,
}

impl Image {
    /// An image of a row that is there.
    pub fn new(row: Row, computed: Option<Row>) -> Self {
        Self { row, computed, is_deleted: false }
    }
}

/// How surprises are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Strictness {
    /// An insert of a row that exists, or an update or delete of one that does not, is an error: the target is not
    /// what the source had.
    Strict,
    /// Between a snapshot's low and high: an insert replaces, a delete of nothing is fine, an update of nothing
    /// inserts when the image is complete. An update of nothing with an incomplete image is the definite table error
    /// `incomplete_image`: the table must be loaded again.
    Idempotent,
}

/// The net effect of a group on one row, named by its identity. No two in a step have the same identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetChange {
    /// The row did not exist before the group and does after it. Complete.
    Insert(Image),
    /// The row existed and has new values; `Unchanged` cells keep theirs. The identity is the same.
    Update(Image),
    /// The row existed and is gone. Only the identity is known for sure.
    Delete(Image),
    /// The row existed, was deleted, and a new one has its identity. Complete.
    Replace(Image),
}

/// One change, applied in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderedChange {
    /// A new row. Complete.
    Insert(Image),
    /// A changed row, found by the identity in `old`, or in `new` when there is no old image.
    Update {
        /// The old image as far as it is known; complete for keyless tables.
        old: Option<Image>,
        /// The new image; `Unchanged` cells keep their values.
        new: Image,
    },
    /// A removed row; of several equal rows of a keyless table, exactly one.
    Delete(Image),
}

/// A part of a group, in order.
#[derive(Debug, Clone)]
pub enum Step {
    /// Set-based: at most one change a row, applied as deletes, then updates, then inserts.
    Net {
        /// The table.
        table: Arc<TargetTable>,
        /// How surprises are taken.
        strictness: Strictness,
        /// The changes.
        changes: Vec<NetChange>,
    },
    /// One after the other: keyless tables and changes of the identity.
    Ordered {
        /// The table.
        table: Arc<TargetTable>,
        /// How surprises are taken.
        strictness: Strictness,
        /// The changes.
        changes: Vec<OrderedChange>,
    },
    /// Tables emptied, all at once.
    Truncate {
        /// The tables.
        tables: Vec<Arc<TargetTable>>,
    },
}

/// Consecutive whole source transactions that become one target transaction.
#[derive(Debug, Clone)]
pub struct Group {
    /// The checkpoint before.
    pub from: Position,
    /// The checkpoint after.
    pub to: Position,
    /// What to do, in order. Empty to move the checkpoint alone.
    pub steps: Vec<Step>,
    /// States of tables, by their names at the source, to store in the same transaction: a table that catches up has
    /// its own place in the log, and then `from` and `to` are equal.
    pub tables: Vec<(TableName, TableState)>,
    /// Entries of the error table that the group settles.
    pub resolved: Vec<Resolved>,
    /// Rows of the group that go to the error table, after `resolved`; an entry of the same row is replaced.
    pub rejected: Vec<RejectedRow>,
    /// What DMS's control tables are told in the same transaction.
    pub control: Vec<ControlWrite>,
}

impl Group {
    /// A group of steps alone.
    pub fn new(from: Position, to: Position, steps: Vec<Step>) -> Self {
        Self { from, to, steps, tables: Vec::new(), resolved: Vec::new(), rejected: Vec::new(), control: Vec::new() }
    }
}

/// What an applied group did, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    /// Rows inserted, updated and deleted in the target.
    pub rows: u64,
    /// Microseconds spent in COMMIT.
    pub commit_us: u64,
}

/// A chunk of a table and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkRecord {
    /// The chunk.
    pub chunk: Chunk,
    /// The window and the count of rows when its load was committed; `None` before.
    pub loaded: Option<(Window, u64)>,
}

/// What the target remembers of one table of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableRecord {
    /// The name at the source.
    pub table: TableName,
    /// Its state.
    pub state: TableState,
    /// Its chunks, if they were planned.
    pub chunks: Vec<ChunkRecord>,
    /// What [`Target::save_definition`] stored; `None` for what an earlier version began.
    pub definition: Option<String>,
}

/// How a table is going to be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadPlan {
    /// The name at the source.
    pub table: TableName,
    /// As for [`Target::save_definition`].
    pub definition: String,
    /// Its chunks. One that is known to have no rows may be loaded already.
    pub chunks: Vec<ChunkRecord>,
}

/// What the target remembers of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRecord {
    /// The fence that this worker now holds.
    pub fence: Fence,
    /// `None` when the task never began here.
    pub checkpoint: Option<Position>,
    /// [`Source::identity`](crate::Source::identity) as it was when the task began.
    pub source_identity: Option<String>,
    /// What [`Target::save_selection`] stored; `None` for what an earlier version began.
    pub selection: Option<String>,
    /// Its tables.
    pub tables: Vec<TableRecord>,
}

/// What became of counters that were to be moved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CountersSet {
    /// Moved.
    pub moved: u64,
    /// Not moved, because the server did not allow it: the application would be given numbers that rows have.
    pub refused: Vec<Finding>,
}

/// A primary key that a table had and will have again: its definition in the target's own SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WithheldKey(pub String);

/// A database that can be written. Methods open connections of their own and may be called concurrently.
#[async_trait]
pub trait Target: Send + Sync {
    /// The kind of database.
    fn engine(&self) -> Engine;

    /// Everything that would stop or falsify writing these tables. Writes nothing.
    async fn check(
        &self,
        task: &TaskId,
        tables: &[Arc<TargetTable>],
        preparation: TablePreparation,
    ) -> Result<Vec<Finding>, ConnectorError>;

    /// The checkpoint of a task that the target remembers from before (`Some(None)` when it never began). Writes
    /// nothing, takes nothing over; `None` where the task or the control tables are missing.
    async fn known_task(&self, task: &TaskId) -> Result<Option<Option<Position>>, ConnectorError>;

    /// The stored state of one table; `Waiting` for one that was never stored.
    async fn table_state(&self, fence: &Fence, table: &TableName) -> Result<TableState, ConnectorError>;

    /// Takes the task over: creates the control tables (schema `tidegate`) when missing, raises the generation, and
    /// returns what is known. From then on every other worker of the task fails with `Fenced`.
    async fn take_over(&self, task: &TaskId) -> Result<TaskRecord, ConnectorError>;

    /// Stores the first checkpoint, the source's identity and the state of each of the task's tables, and forgets what
    /// was known of tables and chunks before: all in one transaction, because a checkpoint says that the task began.
    async fn begin_task(
        &self,
        fence: &Fence,
        position: &Position,
        source_identity: &str,
        tables: &[(TableName, TableState)],
    ) -> Result<(), ConnectorError>;

    /// Stores another identity of the source, which goes on where the one before was.
    async fn save_identity(&self, fence: &Fence, source_identity: &str) -> Result<(), ConnectorError>;

    /// Stores the rules by which the task's tables are selected.
    async fn save_selection(&self, fence: &Fence, selection: &str) -> Result<(), ConnectorError>;

    /// Forgets a table: it is one that was never seen.
    async fn forget_table(&self, fence: &Fence, table: &TableName) -> Result<(), ConnectorError>;

    /// Stores a table's state. `Waiting` forgets its chunks.
    async fn save_table(&self, fence: &Fence, table: &TableName, state: &TableState) -> Result<(), ConnectorError>;

    /// Stores the plan of a table's chunks, none of them loaded, and the state `Loading`, in one transaction. Entries of
    /// the table in the error table are forgotten: the load finds out anew.
    async fn save_chunks(&self, fence: &Fence, table: &TableName, chunks: &[Chunk]) -> Result<(), ConnectorError>;

    /// Stores the states of tables in one transaction, none of them `Waiting`.
    async fn save_tables(&self, fence: &Fence, tables: &[(TableName, TableState)]) -> Result<(), ConnectorError>;

    /// [`Target::save_definition`] and [`Target::save_chunks`] for several tables, in one transaction.
    async fn save_plans(&self, fence: &Fence, plans: &[LoadPlan]) -> Result<(), ConnectorError>;

    /// Makes the table ready for rows and learns its real columns. Called once for each table before a loader or a
    /// lane gets rows for it, also after a restart (with `Keep`).
    ///
    /// # Errors
    /// Table-definite when the existing table does not fit.
    async fn prepare_table(&self, fence: &Fence, table: &Arc<TargetTable>, preparation: TablePreparation) -> Result<(), ConnectorError>;

    /// The same for several tables, with as few requests as the target allows. Some are ready when another one fails.
    async fn prepare_tables(&self, fence: &Fence, tables: &[(Arc<TargetTable>, TablePreparation)]) -> Result<(), ConnectorError> {
        for (table, preparation) in tables {
            self.prepare_table(fence, table, *preparation).await?;
        }
        Ok(())
    }

    /// Takes the primary key of an empty table that this task created away, so that rows are loaded without its index. The table
    /// is not prepared again before [`Target::return_key`]. `None`: it has none, or the server does not let it go.
    async fn withhold_key(&self, fence: &Fence, table: &Arc<TargetTable>) -> Result<Option<WithheldKey>, ConnectorError>;

    /// Gives the primary key back to the table, which has its rows by now.
    ///
    /// # Errors
    /// Table-definite when rows have equal keys.
    async fn return_key(&self, fence: &Fence, table: &Arc<TargetTable>, key: &WithheldKey) -> Result<(), ConnectorError>;

    /// Before tables are dropped, emptied or loaded again: takes away foreign keys between tables that are dropped, and what
    /// [`Target::build_objects`] made on these tables, or to them, and a load or a changed definition cannot stand. What the user made stays.
    async fn release_tables(&self, fence: &Fence, tables: &[(Arc<TargetTable>, TablePreparation)]) -> Result<(), ConnectorError>;

    /// Builds what `objects` of these tables say, on tables that this task created; tables of the user are left as they
    /// are. What is there already is not built again, so that a build that was cut off goes on. No rows are written to
    /// the tables meanwhile. Returns what could not be carried, each only once.
    ///
    /// # Errors
    /// Transient when the server or a lock is in the way. What the server refuses about an object is no error.
    async fn build_objects(&self, fence: &Fence, tables: &[Arc<TargetTable>], stage: BuildStage) -> Result<Vec<Finding>, ConnectorError>;

    /// Moves counters (sequences, identities, auto-increments) of these tables to the positions that `objects` tell, and
    /// behind every value in their columns; never back. Tables may be written meanwhile.
    async fn set_counters(&self, fence: &Fence, tables: &[Arc<TargetTable>]) -> Result<CountersSet, ConnectorError>;

    /// Closes connections that are kept for the next call: none may come for hours.
    fn close_idle(&self);

    /// Stores the definition at the source that a table's rows in the target are of, in the caller's own form.
    async fn save_definition(&self, fence: &Fence, table: &TableName, definition: &str) -> Result<(), ConnectorError>;

    /// Drops a table of the target, if it is there.
    async fn drop_table(&self, fence: &Fence, table: &TableName) -> Result<(), ConnectorError>;

    /// A connection that loads chunks.
    async fn loader(&self, fence: &Fence) -> Result<Box<dyn Loader>, ConnectorError>;

    /// A connection that applies groups.
    async fn lane(&self, fence: &Fence) -> Result<Box<dyn Lane>, ConnectorError>;

    /// The stored checkpoint: how to learn, after a connection broke in COMMIT, whether the group is in.
    ///
    /// # Errors
    /// `Fenced` when the stored generation is another.
    async fn checkpoint(&self, fence: &Fence) -> Result<Option<Position>, ConnectorError>;

    /// The stored mark of a chunk, likewise: window and rows when its load was committed.
    async fn chunk_mark(&self, fence: &Fence, table: &TableName, chunk: &Chunk) -> Result<Option<(Window, u64)>, ConnectorError>;

    /// Every rejected row that the task's error table has, ignored ones included, and rows that were cut.
    ///
    /// # Errors
    /// `Fenced` when the stored generation is another; definite (`too_many_rejected_rows`) above `max` rejected rows.
    async fn rejected_ids(&self, fence: &Fence, max: u32) -> Result<Vec<RejectedId>, ConnectorError>;

    /// Logged entries of the task's error table with numbers above `after`, in their order, at most `max`. Writes
    /// nothing, takes nothing over; none where the task or the control tables are missing.
    async fn rejected_rows(&self, task: &TaskId, after: i64, max: u32) -> Result<Vec<StoredRejection>, ConnectorError>;

    /// Everything that would stop these of DMS's control tables from being made and filled. Writes nothing.
    async fn check_control_tables(&self, tables: &ControlTables) -> Result<Vec<Finding>, ConnectorError>;

    /// Creates those of DMS's control tables that are missing, and their schema. Tasks may do it at the same time.
    async fn create_control_tables(&self, fence: &Fence, tables: &ControlTables) -> Result<(), ConnectorError>;

    /// Writes to DMS's control tables, all in one transaction, and waits for locks only briefly: they tell of the work and
    /// must not hold it up.
    async fn write_control_tables(&self, fence: &Fence, writes: &[ControlWrite]) -> Result<(), ConnectorError>;

    /// Removes everything that is remembered of the task, its tables' rows and DMS's control tables excepted.
    async fn forget_task(&self, task: &TaskId) -> Result<(), ConnectorError>;
}

/// One connection that loads chunks, one after the other.
#[async_trait]
pub trait Loader: Send {
    /// Starts a chunk: a transaction in the target. With `replace`, rows whose primary key is there already replace
    /// those (chunks of a resumed load may overlap in rows that moved); otherwise they are an error.
    async fn begin(&mut self, table: &Arc<TargetTable>, chunk: &Chunk, replace: bool) -> Result<(), ConnectorError>;

    /// Adds rows to the chunk.
    async fn write(&mut self, batch: LoadBatch) -> Result<(), ConnectorError>;

    /// Adds rows to the error table, which are committed with the chunk; an entry of the same row is replaced.
    async fn reject(&mut self, rows: Vec<RejectedRow>) -> Result<(), ConnectorError>;

    /// Commits the rows together with the chunk's mark, and returns the count of rows. After an error, neither is in
    /// the target, or (a connection that broke in COMMIT) both are: the caller reads the mark to know.
    async fn finish(&mut self, window: &Window) -> Result<u64, ConnectorError>;
}

/// One connection that applies groups in order.
#[async_trait]
pub trait Lane: Send {
    /// Applies steps of a group that is too large to be held in memory at once: begins the group's transaction when
    /// none is open, and leaves it open. The next [`Lane::apply`] adds its own steps and commits all of it.
    ///
    /// # Errors
    /// As for `apply`; after an error nothing of the group is in the target and no transaction is open.
    async fn add_steps(&mut self, steps: Vec<Step>) -> Result<(), ConnectorError>;

    /// Whether the target takes these steps after one another: applies them in a transaction of their own and rolls it
    /// back, whatever comes of it. No group must be open.
    ///
    /// # Errors
    /// That of the first step that fails; [`ConnectorError::row_fault`] tells whether a row alone is at fault.
    async fn probe(&mut self, steps: &[Step]) -> Result<(), ConnectorError>;

    /// Which of these rows, told by their identity, the table does not have once `before` is applied, by their places in `rows`. Like
    /// [`Lane::probe`], it leaves nothing behind. No group must be open.
    ///
    /// # Errors
    /// As for `probe`.
    async fn missing(&mut self, before: &[Step], table: &Arc<TargetTable>, rows: &[Image]) -> Result<Vec<usize>, ConnectorError>;

    /// Writes the steps of a group before those of earlier groups are committed, on other lanes: begins the group's
    /// transaction and leaves it open. [`Lane::apply`] with the same group, but for its steps, ends it;
    /// [`Lane::roll_back`] gives it up. Waits for locks only briefly, since whoever holds one may wait for the end of
    /// this very transaction. No group must be open.
    ///
    /// # Errors
    /// As for `apply`. Whatever the error, nothing of the group is in the target and no transaction is open, and the
    /// steps may be right all the same: they were tried without those of the groups before.
    async fn write_ahead(&mut self, steps: &[Step]) -> Result<(), ConnectorError>;

    /// Gives up what is open, if anything is.
    async fn roll_back(&mut self);

    /// Applies the group, moves the checkpoint from `group.from` to `group.to` (they may be equal) and stores
    /// `group.tables`, all in one transaction. After an error, nothing of it happened, or (a connection that broke in COMMIT) all of it did: the caller reads the checkpoint to know.
    ///
    /// # Errors
    /// `Fenced` when the stored generation or position is not the one that the group starts from.
    async fn apply(&mut self, group: &Group) -> Result<Applied, ConnectorError>;
}
