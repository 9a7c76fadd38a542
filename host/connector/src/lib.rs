//! What a database must be able to do to be a source or a target, in words that name no driver.
//!
//! ```text
//!   Source ── Snapshot ── RowReader ──▶ (pipeline) ──▶ Loader ──┐
//!      └───── ChangeStream ───────────▶ (pipeline) ──▶ Lane ────┴── Target
//! ```
//!
//! `host/postgres` and `host/mysql` implement these traits and never see each other; `host/pipeline` uses them and
//! never sees a driver. Methods that talk to a server return [`ConnectorError`], whose class decides what happens next.

// Facts panic where they do not hold: they are tests.
#[cfg(feature = "conformance")]
#[allow(clippy::unwrap_used)]
pub mod conformance;
mod control_table;
pub mod cut;
mod decoding;
mod error;
mod finding;
mod key_equality;
mod loaded;
mod loopback;
mod quote;
mod rejected;
mod server;
mod source;
mod spell;
mod target;
pub mod tls;
pub mod types;
mod unfit;

pub use control_table::{ControlRow, ControlTable, ControlTables, ControlValue, ControlWrite, is_table_of_dms};
pub use cut::{CutParts, RangeCut, RangePart, TableCut};
pub use decoding::{Decoding, Stretch};
pub use error::{ConnectorError, ErrorClass};
pub use finding::{Finding, Severity};
pub use key_equality::{TextEquality, foreign_key_parts, key_equality};
pub use loaded::{ImageCells, LoadBatch, Loaded};
pub use loopback::{LoopMark, Loopback};
pub use quote::Dialect;
pub use rejected::{CUT, RejectedId, RejectedOperation, RejectedRow, Resolved, RowFault, RowId, StoredRejection};
pub use server::{Secret, ServerSettings, TlsMode};
pub use source::{
    CaptureScope, CaptureStart, CellDecoder, CellError, CellForm, ChangeStream, Chunk, LOADED_ROWS_MAX, LOG_HELD_WARNED_BYTES, Lineage,
    NeutralDecoder, Partition, Reading, RowReader, Snapshot, Source, SourceTable, StreamEvent, TxId,
};
pub use spell::spell;
pub use target::{
    Applied, BuildStage, ChunkRecord, ColumnOrigin, CountersSet, Group, Image, Lane, LoadPlan, Loader, NetChange, OrderedChange, Step,
    Strictness, TablePreparation, TableRecord, Target, TargetColumn, TargetObjects, TargetTable, TaskRecord, WithheldKey,
};
pub use unfit::{Unfit, UnfitAction, UnfitPolicy};
