//! Rows as statements, collected into batches.

use std::sync::Arc;

use tidegate_connector::{ConnectorError, Image};

use super::batch::{Batch, Expected};
use super::load_data::LoadData;
use super::plan::TablePlan;
use super::session::{Facts, Server};
use super::sql::{self, DeleteSet};

/// Statements that are on their way at once.
const STATEMENTS_MAX: usize = 256;

/// Rows of one insert. The protocol has no bound for values that stand in the text; packets have.
const INSERT_ROWS_MAX: u64 = 2_000;

/// Pieces that a large value is sent in: each costs the server a copy of what it has so far.
const PIECES: usize = 32;

/// Bytes of a piece; it is in memory several times over.
const PIECE_BYTES_MIN: usize = 1 << 20;
const PIECE_BYTES_MAX: usize = 16 << 20;

/// A session and the statements that wait to be sent on it.
#[derive(Debug)]
pub(crate) struct Writer {
    /// `None` after a LOAD DATA that failed: its connection is closed, and the transaction gone with it.
    session: Option<Server>,
    pub(crate) batch: Batch,
}

impl Writer {
    pub(crate) fn new(session: Server) -> Writer {
        Writer { session: Some(session), batch: Batch::default() }
    }

    /// # Errors
    /// Transient when the connection is gone.
    pub(crate) fn session(&mut self) -> Result<&mut Server, ConnectorError> {
        self.session.as_mut().ok_or_else(gone)
    }

    /// # Errors
    /// As for [`Writer::session`].
    pub(crate) fn into_session(self) -> Result<Server, ConnectorError> {
        self.session.ok_or_else(gone)
    }

    fn facts(&self) -> Result<&Facts, ConnectorError> {
        self.session.as_ref().map(Server::facts).ok_or_else(gone)
    }

    /// Sends what waits; the counts of all of it are right after `Ok`.
    pub(crate) async fn flush(&mut self) -> Result<(), ConnectorError> {
        self.session.as_mut().ok_or_else(gone)?.send(&mut self.batch).await.map(|_| ())
    }

    pub(crate) async fn push(&mut self, statement: &[u8], expected: Expected) -> Result<(), ConnectorError> {
        let bytes = self.batch.bytes() + statement.len();
        let (part_bytes, bytes_max, packet) = {
            let facts = self.facts()?;
            (facts.part_bytes(), facts.statement_bytes_max(), facts.packet_bytes_max)
        };
        if self.batch.statements() > 0 && (bytes > part_bytes || self.batch.statements() >= STATEMENTS_MAX) {
            self.flush().await?;
        }
        if statement.len() > bytes_max {
            return Err(expected.too_large(packet));
        }
        self.batch.push(statement, expected);
        Ok(())
    }

    /// Sends what waits and then the statement, and returns its count of rows.
    pub(crate) async fn ask(&mut self, statement: &[u8], expected: Expected) -> Result<u64, ConnectorError> {
        self.flush().await?;
        self.batch.push(statement, expected);
        let answers = self.session.as_mut().ok_or_else(gone)?.send(&mut self.batch).await?;
        Ok(answers.first().map_or(0, |answer| answer.rows))
    }

    /// Sends what waits and then these statements, as many at once as fit, and returns the count of rows of each.
    pub(crate) async fn ask_all(&mut self, statements: &[Vec<u8>], expected: &Expected) -> Result<Vec<u64>, ConnectorError> {
        self.flush().await?;
        let part = self.facts()?.part_bytes();
        let mut counts = Vec::with_capacity(statements.len());
        for (index, statement) in statements.iter().enumerate() {
            self.batch.push(statement, expected.clone());
            let next = statements.get(index + 1).map_or(part, Vec::len);
            if self.batch.bytes() + next >= part {
                let answers = self.session.as_mut().ok_or_else(gone)?.send(&mut self.batch).await?;
                counts.extend(answers.iter().map(|answer| answer.rows));
            }
        }
        Ok(counts)
    }

    /// Deletes the rows that the images identify; all of them must be there when the deletion is strict.
    pub(crate) async fn delete_all(&mut self, plan: &Arc<TablePlan>, images: &[&Image], is_strict: bool) -> Result<(), ConnectorError> {
        let part = self.facts()?.part_bytes();
        let mut set = DeleteSet::new(plan);
        for image in images {
            set.add(image)?;
            if set.rows >= set.rows_max() || set.sql.len() >= part {
                let (statement, rows) = set.take();
                self.push(&statement, Expected::rows(plan, "delete", is_strict.then_some(rows))).await?;
            }
        }
        if set.rows > 0 {
            let (statement, rows) = set.take();
            self.push(&statement, Expected::rows(plan, "delete", is_strict.then_some(rows))).await?;
        }
        Ok(())
    }

    /// Takes a row out of the table and keeps what its image does not know in variables of the session.
    pub(crate) async fn put_aside(&mut self, plan: &Arc<TablePlan>, image: &Image, number: usize) -> Result<(), ConnectorError> {
        if let Some(statement) = sql::keep_row(plan, image, number)? {
            self.push(&statement, Expected::rows(plan, "select", Some(1))).await?;
        }
        self.delete_all(plan, &[image], true).await
    }

    /// Inserts a row that was put aside under this number.
    pub(crate) async fn bring_back(&mut self, plan: &Arc<TablePlan>, image: &Image, number: usize) -> Result<(), ConnectorError> {
        let (insert, clear) = sql::insert_kept(plan, image, number)?;
        self.push_row(plan, image, &insert, Expected::rows(plan, "insert", Some(1))).await?;
        match clear {
            Some(clear) => self.push(&clear, Expected::Anything("forget a row that was put aside")).await,
            None => Ok(()),
        }
    }

    /// Inserts a complete row that a statement would hold several times over, and that may be larger than a packet.
    async fn load(&mut self, plan: &Arc<TablePlan>, image: &Image) -> Result<(), ConnectorError> {
        self.flush().await?;
        let session = self.session.take().ok_or_else(gone)?;
        let mut file = LoadData::start(session, plan.clone());
        file.add(image).await?;
        let (session, _) = file.finish().await?;
        self.session = Some(session);
        Ok(())
    }

    /// Sends a statement with the values of one image, of which the large ones go before it piece by piece.
    pub(crate) async fn push_row(
        &mut self,
        plan: &Arc<TablePlan>,
        image: &Image,
        statement: &[u8],
        expected: Expected,
    ) -> Result<(), ConnectorError> {
        let packet = self.facts()?.packet_bytes_max;
        let mut columns = Vec::new();
        for column in 0..plan.columns.len() {
            let Some(bytes) = plan.apart(column, image) else { continue };
            let sent = || Expected::rows(plan, "send", None);
            if bytes.len() > packet {
                return Err(sent().too_large(packet));
            }
            let piece_bytes = (bytes.len() / PIECES).clamp(PIECE_BYTES_MIN, PIECE_BYTES_MAX).min(packet / 4);
            for (number, piece) in bytes.chunks(piece_bytes).enumerate() {
                self.push(&sql::piece(column, number == 0, piece), sent()).await?;
            }
            columns.push(column);
        }
        self.push(statement, expected).await?;
        if columns.is_empty() {
            return Ok(());
        }
        self.push(&sql::forget_pieces(&columns), Expected::Anything("forget large values")).await
    }

    /// Inserts complete rows.
    pub(crate) async fn insert_all(&mut self, plan: &Arc<TablePlan>, images: &[&Image]) -> Result<(), ConnectorError> {
        let (part, takes_files) = (self.facts()?.part_bytes(), self.facts()?.takes_files);
        let head = sql::insert_head(plan);
        let (mut statement, mut row, mut rows) = (head.clone(), Vec::new(), 0);
        for image in images {
            if takes_files && image.row.has_large() && !plan.has_decimal_document(*image) {
                self.load(plan, image).await?;
                continue;
            }
            row.clear();
            if (0..plan.columns.len()).any(|column| plan.apart(column, image).is_some()) {
                row.extend_from_slice(&head);
                sql::put_row(plan, image, &mut row)?;
                self.push_row(plan, image, &row, Expected::rows(plan, "insert", Some(1))).await?;
                continue;
            }
            sql::put_row(plan, image, &mut row)?;
            if rows > 0 && (statement.len() + row.len() > part || rows >= INSERT_ROWS_MAX) {
                self.push(&statement, Expected::rows(plan, "insert", Some(rows))).await?;
                statement.truncate(head.len());
                rows = 0;
            }
            if rows > 0 {
                statement.push(b',');
            }
            statement.extend_from_slice(&row);
            rows += 1;
        }
        if rows > 0 {
            self.push(&statement, Expected::rows(plan, "insert", Some(rows))).await?;
        }
        Ok(())
    }
}

fn gone() -> ConnectorError {
    ConnectorError::transient("connection_lost", "the connection to the target ended with the rows that it was sent")
}

impl Expected {
    /// Rows of a table; `None` for any count.
    pub(crate) fn rows(plan: &Arc<TablePlan>, verb: &'static str, wanted: Option<u64>) -> Expected {
        Expected::Rows { plan: plan.clone(), verb, wanted, is_loose: false }
    }
}
