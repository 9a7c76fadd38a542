//! Rows as a binary COPY stream, sent in parts of bounded size.
//!
//! Source of the form: PostgreSQL manual, "COPY", "Binary Format".

use std::pin::Pin;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::SinkExt;
use tidegate_connector::{ConnectorError, Image};
use tidegate_model::TableName;
use tokio_postgres::{Client, CopyInSink};

use super::plan::{Large, TablePlan};
use super::session::table_error;
use super::statements::STAGE_HEAD;

/// Bytes that are collected before they are handed to the connection: large enough that the hand-over costs nothing,
/// small enough to be counted as nothing. Chosen by guess.
const PART_BYTES: usize = 256 * 1024;

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// What a staged row is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StageMark {
    /// `I`, `U`, `D` or `R`.
    pub(crate) operation: u8,
    /// Number of its set of known columns.
    pub(crate) mask: i32,
}

/// A running COPY. Dropped, it is cancelled and the server discards its rows.
pub(crate) struct CopyRows {
    sink: Pin<Box<CopyInSink<Bytes>>>,
    part: BytesMut,
    /// At the source, for errors.
    table: TableName,
    attempted: String,
}

impl CopyRows {
    pub(crate) async fn start(client: &Client, plan: &TablePlan, sql: &str) -> Result<CopyRows, ConnectorError> {
        let table = plan.table.source.schema.name.clone();
        let attempted = format!("copy rows into table \"{}\"", plan.table.name);
        let sink = client.copy_in(sql).await.map_err(|error| table_error(&table, &attempted, error))?;
        let mut part = BytesMut::with_capacity(PART_BYTES + PART_BYTES / 4);
        part.put_slice(SIGNATURE);
        Ok(CopyRows { sink: Box::pin(sink), part, table, attempted })
    }

    /// Adds a complete row. Columns that a staged row's mark does not need may be unknown.
    pub(crate) async fn add(&mut self, plan: &TablePlan, image: &Image, mark: Option<StageMark>) -> Result<(), ConnectorError> {
        let head = if mark.is_some() { STAGE_HEAD } else { 0 };
        let count = i16::try_from(plan.columns.len()).expect("PostgreSQL has no table of more than 1600 columns") + head;
        self.part.put_i16(count);
        if let Some(mark) = mark {
            self.part.put_i32(1);
            self.part.put_u8(mark.operation);
            self.part.put_i32(4);
            self.part.put_i32(mark.mask);
        }
        let needs_all = mark.is_none_or(|mark| matches!(mark.operation, b'I' | b'R'));
        let is_deleted = mark.is_some_and(|mark| mark.operation == b'D');
        for column in 0..plan.columns.len() {
            if is_deleted && !plan.identity.contains(&column) {
                // What finds the row is enough.
                self.part.put_i32(-1);
                continue;
            }
            if let Some(large) = plan.large_cell(column, image)? {
                self.add_large(large).await?;
                continue;
            }
            let is_known = plan.put_cell(column, image, &mut self.part)?;
            if !is_known && needs_all {
                return Err(incomplete(plan));
            }
        }
        if self.part.len() >= PART_BYTES {
            self.send().await?;
        }
        Ok(())
    }

    /// Ends the COPY and returns its rows.
    pub(crate) async fn finish(mut self) -> Result<u64, ConnectorError> {
        self.part.put_i16(-1);
        self.send().await?;
        self.sink.as_mut().finish().await.map_err(|error| table_error(&self.table, &self.attempted, error))
    }

    /// A large cell is handed over piece by piece, out of the buffer that it came in.
    async fn add_large(&mut self, large: Large) -> Result<(), ConnectorError> {
        let Large { length, head, mut bytes } = large;
        self.part.put_i32(length);
        self.part.extend(head);
        self.send().await?;
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(PART_BYTES));
            self.hand_over(piece).await?;
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<(), ConnectorError> {
        let part = self.part.split().freeze();
        let sent = self.hand_over(part).await;
        self.part.reserve(PART_BYTES);
        sent
    }

    async fn hand_over(&mut self, part: Bytes) -> Result<(), ConnectorError> {
        let sent = self.sink.send(part).await;
        if sent.is_ok() {
            return Ok(());
        }
        // The server has refused a row already: its answer tells why, the closed channel does not.
        let told = self.sink.as_mut().finish().await;
        let error = told.err().or(sent.err());
        Err(match error {
            Some(error) => table_error(&self.table, &self.attempted, error),
            None => ConnectorError::transient("connection_failed", self.attempted.clone()),
        })
    }
}

/// An image that lacks values where a whole row is needed.
pub(crate) fn incomplete(plan: &TablePlan) -> ConnectorError {
    let message = format!("table \"{}\": found a row without all of its values, wanted a complete row", plan.table.name);
    ConnectorError::table(&plan.table.source.schema.name, "incomplete_image", message).hint("reload the table")
}
