//! Facts that hold for every target, whatever its database: each connector's tests run them on a real server.
//!
//! A fact takes a [`Bench`], makes tables of its own in the schema `app`, and panics where the target does otherwise. It
//! says nothing about how values of single types are written; the connectors' own tests do.

mod control_tables;
mod lane;
mod load;

use std::sync::Arc;

use async_trait::async_trait;
use tidegate_model::schema::RowEncoding;
use tidegate_model::{
    BeforeImages, Cell, Column, Engine, Fence, Lsn, Position, RowBatch, RowBuilder, SqlType, TableName, TableSchema, TaskId, Value, Window,
};

pub use control_tables::*;
pub use lane::*;
pub use load::*;

use crate::{
    Chunk, ColumnOrigin, ConnectorError, Group, Image, Lane, LoadBatch, NetChange, NeutralDecoder, OrderedChange, SourceTable, Step,
    Strictness, TablePreparation, Target, TargetColumn, TargetTable,
};

/// A target on a server of its own, with the task [`task`] taken over and begun at [`at`]`(0)`.
#[async_trait]
pub trait Bench: Send + Sync {
    /// The target.
    fn target(&self) -> &dyn Target;

    /// The task's fence.
    fn fence(&self) -> &Fence;

    /// Values of columns of a table of the schema `app`, joined by commas, NULL as `NULL`; rows in the order of these texts.
    async fn rows(&self, table: &str, columns: &[&str]) -> Vec<String>;

    /// Runs a statement; `{table}` stands for a quoted table name, as [`Bench::statement`] gives it.
    async fn run(&self, sql: &str);

    /// The quoted name of a table of the schema `app`.
    fn name(&self, table: &str) -> String;

    /// Raises the stored generation behind everybody's back.
    async fn raise_generation(&self);

    /// Ends the sessions of lanes from outside, and returns when they are gone.
    async fn end_lanes(&self);
}

/// The task of every bench.
pub fn task() -> TaskId {
    TaskId::new("shop").expect("a name of the form")
}

/// A position.
pub fn at(lsn: u64) -> Position {
    Position::Postgres(Lsn(lsn))
}

/// A window at one position.
pub fn window(lsn: u64) -> Window {
    Window { low: at(lsn), high: at(lsn) }
}

/// A chunk.
pub fn chunk(index: u32) -> Chunk {
    Chunk { index, bounds: format!("part {index}") }
}

/// A group between two positions.
pub fn group(from: u64, to: u64, steps: Vec<Step>) -> Group {
    Group::new(at(from), at(to), steps)
}

/// A set-based step.
pub fn net(table: &Arc<TargetTable>, strictness: Strictness, changes: Vec<NetChange>) -> Step {
    Step::Net { table: Arc::clone(table), strictness, changes }
}

/// Columns by name, type and whether they may be NULL; the first `key` of them are the key.
pub fn table(name: &str, columns: &[(&str, SqlType, bool)], key: usize) -> Arc<TargetTable> {
    encoded_table(name, columns, key, RowEncoding::Neutral, &[])
}

/// Likewise, with the source's native types and its encoding.
pub fn encoded_table(
    name: &str,
    columns: &[(&str, SqlType, bool)],
    key: usize,
    encoding: RowEncoding,
    natives: &[&str],
) -> Arc<TargetTable> {
    let engine = if encoding == RowEncoding::Postgres { Engine::Postgres } else { Engine::Mysql };
    let source_columns = columns.iter().enumerate().map(|(index, (name, sql_type, nullable))| Column {
        name: (*name).into(),
        sql_type: sql_type.clone(),
        native_type: natives.get(index).copied().unwrap_or_default().into(),
        collation: None,
        nullable: *nullable,
        generated: false,
    });
    let schema = TableSchema {
        name: TableName::new("app", name),
        engine,
        columns: source_columns.collect(),
        primary_key: (0..key).collect(),
        unique_keys: Vec::new(),
        identity: (0..key).collect(),
        before_images: BeforeImages::Full,
        encoding,
        version: 1,
    };
    let decoder = NeutralDecoder::new(columns.iter().map(|(name, sql_type, _)| ((*name).to_owned(), sql_type.clone())));
    let target_columns = columns.iter().enumerate().map(|(index, (name, sql_type, nullable))| TargetColumn {
        name: (*name).into(),
        sql_type: sql_type.clone(),
        nullable: *nullable,
        origin: ColumnOrigin::Source(index),
    });
    Arc::new(TargetTable {
        name: TableName::new("app", name),
        columns: target_columns.collect(),
        primary_key: (0..key).collect(),
        identity: (0..key).collect(),
        source: Arc::new(SourceTable { schema, decoder: Arc::new(decoder), rows_estimate: 0, lineage: None }),
        objects: Arc::default(),
        unfit: Default::default(),
        computed: Vec::new(),
    })
}

/// `id bigint`, `note text`.
pub fn notes(name: &str) -> Arc<TargetTable> {
    table(name, &[("id", SqlType::Int64, false), ("note", SqlType::Text { chars_max: None }, true)], 1)
}

/// A cell for [`image`].
pub enum In<'a> {
    /// A value, NULL among them.
    Is(Value<'a>),
    /// Not sent again.
    Unchanged,
    /// Not known.
    Absent,
}

/// An image of cells in the neutral form.
pub fn image(cells: &[In<'_>]) -> Image {
    let mut builder = RowBuilder::default();
    for cell in cells {
        match cell {
            In::Is(Value::Null) => builder.push(Cell::Null),
            In::Is(value) => builder.push_with(|out| value.write_neutral(out)),
            In::Unchanged => builder.push(Cell::Unchanged),
            In::Absent => builder.push(Cell::Absent),
        }
    }
    Image::new(builder.finish(), None)
}

/// A row of [`notes`].
pub fn note(id: i64, text: &str) -> Image {
    image(&[In::Is(Value::Int(id)), In::Is(Value::Text(text))])
}

/// Rows for a load. None of them has computed cells.
pub fn loaded(images: impl IntoIterator<Item = Image>) -> LoadBatch {
    images.into_iter().map(|image| image.row).collect::<RowBatch>().into()
}

/// A row of [`notes`] of which only the key is known.
pub fn only_id(id: i64) -> Image {
    image(&[In::Is(Value::Int(id)), In::Absent])
}

/// Rows 0 to `count - 1` of [`notes`], each with the text `a`.
pub fn inserts(count: i64) -> Vec<NetChange> {
    (0..count).map(|id| NetChange::Insert(note(id, "a"))).collect()
}

fn ordered(table: &Arc<TargetTable>, changes: Vec<OrderedChange>) -> Step {
    Step::Ordered { table: Arc::clone(table), strictness: Strictness::Strict, changes }
}

async fn prepare(bench: &dyn Bench, table: &Arc<TargetTable>) {
    bench.target().prepare_table(bench.fence(), table, TablePreparation::Keep).await.expect("the table is ours");
}

/// A lane on a checkpoint at 0, beside whatever other facts did.
async fn new_lane(bench: &dyn Bench) -> Box<dyn Lane> {
    bench.target().begin_task(bench.fence(), &at(0), "source", &[]).await.expect("the fence holds");
    bench.target().lane(bench.fence()).await.expect("the lane connects")
}

async fn apply(lane: &mut dyn Lane, from: u64, steps: Vec<Step>) -> Result<u64, ConnectorError> {
    lane.apply(&group(from, from + 1, steps)).await.map(|applied| applied.rows)
}

async fn count(bench: &dyn Bench, table: &str) -> usize {
    bench.rows(table, &["1"]).await.len()
}
