//! The words that every part of Tidegate shares: names, types, rows, changes, positions, checkpoints and states.
//!
//! Nothing here does I/O, knows a database driver, or reads a clock. A stranger should be able to proofread each
//! file alone; what a file knows stands in its name.

pub mod change;
pub mod column;
pub mod condition;
pub mod name;
pub mod objects;
pub mod point;
pub mod position;
pub mod row;
pub mod schema;
pub mod state;
pub mod value;

pub use change::{Change, ImageKind, RowChange, Upheaval};
pub use column::{ComputedCells, Texts, ValueColumn, Values};
pub use condition::{Condition, Operand};
pub use name::{TableName, TaskId, TenantId};
pub use objects::TableObjects;
pub use point::{LogPlace, StartPoint, StopPoint};
pub use position::{Lsn, Position, TxMark};
pub use row::{Cell, CellKind, LARGE_BYTES, NegativeLength, Row, RowBatch, RowBuilder, RowSink, RowsBuilder, ValueFault, shared_part};
pub use schema::{BeforeImages, Column, Engine, SqlType, TableSchema};
pub use state::{Checkpoint, Fence, TableState, Window};
pub use value::Value;
