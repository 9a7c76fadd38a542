//! Rows as a binary COPY stream, sent in parts of bounded size.
//!
//! Source of the form: PostgreSQL manual, "COPY", "Binary Format".

use std::ops::Range;
use std::pin::Pin;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::SinkExt;
use tidegate_connector::{ConnectorError, Image, LoadBatch, Loaded};
use tidegate_model::{TableName, Texts};
use tokio_postgres::{Client, CopyInSink};

use super::plan::{ColumnPlan, Large, TablePlan};
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

/// Neighbouring columns of a table that is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Piece {
    columns: Range<usize>,
    /// The source's neighbouring cells that they get as they are: one copy for all of them.
    cells: Option<Range<usize>>,
}

/// How a piece of the rows of one batch is written.
struct Way<'a> {
    piece: Piece,
    /// What its only column gets.
    texts: Option<Texts<'a>>,
}

impl<'a> Way<'a> {
    fn of(piece: &Piece, plan: &TablePlan, batch: &'a LoadBatch) -> Way<'a> {
        let cell = plan.columns[piece.columns.start].takes_texts().filter(|_| piece.columns.len() == 1);
        let texts = cell.and_then(|cell| batch.computed.get(cell)?.texts());
        // Looked for in all of them at once.
        Way { piece: piece.clone(), texts: texts.filter(|texts| !texts.contain('\0')) }
    }
}

/// How far rows were put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filled {
    /// A part is full; there may be more.
    Part,
    All,
}

/// A running COPY. Dropped, it is cancelled and the server discards its rows.
pub(crate) struct CopyRows {
    sink: Pin<Box<CopyInSink<Bytes>>>,
    part: BytesMut,
    pieces: Vec<Piece>,
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
        let pieces = pieces(plan.columns.iter().map(ColumnPlan::passes));
        Ok(CopyRows { sink: Box::pin(sink), part, pieces, table, attempted })
    }

    /// Adds a complete row. Columns that a staged row's mark does not need may be unknown.
    pub(crate) async fn add(&mut self, plan: &TablePlan, image: &Image, mark: Option<StageMark>) -> Result<(), ConnectorError> {
        begin_row(&mut self.part, plan, mark);
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

    /// Adds the rows of a load.
    pub(crate) async fn add_loaded(&mut self, plan: &TablePlan, batch: &LoadBatch, mark: Option<StageMark>) -> Result<(), ConnectorError> {
        if batch.rows.has_apart() {
            return self.add_with_large(plan, batch, mark).await;
        }
        let ways: Vec<Way<'_>> = self.pieces.iter().map(|piece| Way::of(piece, plan, batch)).collect();
        let mut rows = batch.loaded();
        while put_rows(&mut self.part, plan, &ways, &mut rows, mark)? == Filled::Part {
            self.send().await?;
        }
        Ok(())
    }

    /// The same where some cells may be large.
    async fn add_with_large(&mut self, plan: &TablePlan, batch: &LoadBatch, mark: Option<StageMark>) -> Result<(), ConnectorError> {
        for loaded in batch.loaded() {
            begin_row(&mut self.part, plan, mark);
            for index in 0..self.pieces.len() {
                let Piece { columns, cells } = self.pieces[index].clone();
                if let Some(bytes) = cells.and_then(|cells| loaded.run(cells)) {
                    self.part.extend_from_slice(bytes);
                    continue;
                }
                for column in columns {
                    if let Some(large) = plan.large_cell(column, &loaded)? {
                        self.add_large(large).await?;
                    } else if !plan.put_cell(column, &loaded, &mut self.part)? {
                        return Err(incomplete(plan));
                    }
                }
            }
            if self.part.len() >= PART_BYTES {
                self.send().await?;
            }
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

/// Appends rows without large cells until a part is full. Cells that are as they were at the source are copied in as few pieces as there are.
fn put_rows<'a>(
    part: &mut BytesMut,
    plan: &TablePlan,
    ways: &[Way<'_>],
    rows: &mut impl Iterator<Item = Loaded<'a>>,
    mark: Option<StageMark>,
) -> Result<Filled, ConnectorError> {
    while part.len() < PART_BYTES {
        let Some(loaded) = rows.next() else { return Ok(Filled::All) };
        begin_row(part, plan, mark);
        for Way { piece: Piece { columns, cells }, texts } in ways {
            if let Some(bytes) = cells.clone().and_then(|cells| loaded.run(cells)) {
                part.extend_from_slice(bytes);
                continue;
            }
            if let Some(texts) = texts {
                match texts.get(loaded.place()) {
                    Some(Some(text)) => plan.put_text(columns.start, text, part)?,
                    Some(None) => part.put_i32(-1),
                    None => return Err(incomplete(plan)),
                }
                continue;
            }
            for column in columns.clone() {
                if !plan.put_cell(column, &loaded, part)? {
                    return Err(incomplete(plan));
                }
            }
        }
    }
    Ok(Filled::Part)
}

fn begin_row(part: &mut BytesMut, plan: &TablePlan, mark: Option<StageMark>) {
    let head = if mark.is_some() { STAGE_HEAD } else { 0 };
    let count = i16::try_from(plan.columns.len()).expect("PostgreSQL has no table of more than 1600 columns") + head;
    part.put_i16(count);
    if let Some(mark) = mark {
        part.put_i32(1);
        part.put_u8(mark.operation);
        part.put_i32(4);
        part.put_i32(mark.mask);
    }
}

/// Of each column, the source's column whose cells it gets as they are.
fn pieces(columns: impl Iterator<Item = Option<usize>>) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    for (column, from) in columns.enumerate() {
        match (pieces.last_mut(), from) {
            (Some(Piece { columns, cells: Some(cells) }), Some(from)) if cells.end == from => {
                columns.end = column + 1;
                cells.end = from + 1;
            }
            _ => pieces.push(Piece { columns: column..column + 1, cells: from.map(|from| from..from + 1) }),
        }
    }
    pieces
}

/// An image that lacks values where a whole row is needed.
pub(crate) fn incomplete(plan: &TablePlan) -> ConnectorError {
    let message = format!("table \"{}\": found a row without all of its values, wanted a complete row", plan.table.name);
    ConnectorError::table(&plan.table.source.schema.name, "incomplete_image", message).hint("reload the table")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_at_the_source_and_in_the_target_are_one_piece() {
        let found = pieces([Some(0), Some(1), None, Some(3), Some(2), Some(3), None, None].into_iter());
        let piece = |columns, cells| Piece { columns, cells };
        let wanted = [
            piece(0..2, Some(0..2)),
            piece(2..3, None),
            piece(3..4, Some(3..4)),
            piece(4..6, Some(2..4)),
            piece(6..7, None),
            piece(7..8, None),
        ];
        assert_eq!(found, wanted);
        assert_eq!(pieces([].into_iter()), []);
    }
}
