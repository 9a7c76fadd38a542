//! Rows as statements, collected into batches.

use std::sync::Arc;

use tidegate_connector::{ConnectorError, Image};

use super::batch::{Batch, Expected};
use super::plan::TablePlan;
use super::session::Server;
use super::sql::{self, DeleteSet};

/// Statements that are on their way at once.
const STATEMENTS_MAX: usize = 256;

/// Rows of one insert. The protocol has no bound for values that stand in the text; packets have.
const INSERT_ROWS_MAX: u64 = 2_000;

/// A session and the statements that wait to be sent on it.
#[derive(Debug)]
pub(crate) struct Writer {
    session: Server,
    pub(crate) batch: Batch,
}

impl Writer {
    pub(crate) fn new(session: Server) -> Writer {
        Writer { session, batch: Batch::default() }
    }

    pub(crate) fn session(&mut self) -> &mut Server {
        &mut self.session
    }

    pub(crate) fn into_session(self) -> Server {
        self.session
    }

    /// Sends what waits; the counts of all of it are right after `Ok`.
    pub(crate) async fn flush(&mut self) -> Result<(), ConnectorError> {
        self.session.send(&mut self.batch).await.map(|_| ())
    }

    pub(crate) async fn push(&mut self, statement: &[u8], expected: Expected) -> Result<(), ConnectorError> {
        let bytes = self.batch.bytes() + statement.len();
        if self.batch.statements() > 0 && (bytes > self.session.facts().part_bytes() || self.batch.statements() >= STATEMENTS_MAX) {
            self.flush().await?;
        }
        if statement.len() > self.session.facts().statement_bytes_max() {
            return Err(expected.too_large(self.session.facts().packet_bytes_max));
        }
        self.batch.push(statement, expected);
        Ok(())
    }

    /// Sends what waits and then the statement, and returns its count of rows.
    pub(crate) async fn ask(&mut self, statement: &[u8], expected: Expected) -> Result<u64, ConnectorError> {
        self.flush().await?;
        self.batch.push(statement, expected);
        let answers = self.session.send(&mut self.batch).await?;
        Ok(answers.first().map_or(0, |answer| answer.rows))
    }

    /// Deletes the rows that the images identify; all of them must be there when the deletion is strict.
    pub(crate) async fn delete_all(&mut self, plan: &Arc<TablePlan>, images: &[&Image], is_strict: bool) -> Result<(), ConnectorError> {
        let part = self.session.facts().part_bytes();
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
        self.push(&insert, Expected::rows(plan, "insert", Some(1))).await?;
        match clear {
            Some(clear) => self.push(&clear, Expected::Anything("forget a row that was put aside")).await,
            None => Ok(()),
        }
    }

    /// Inserts complete rows.
    pub(crate) async fn insert_all(&mut self, plan: &Arc<TablePlan>, images: &[&Image]) -> Result<(), ConnectorError> {
        let part = self.session.facts().part_bytes();
        let head = sql::insert_head(plan);
        let (mut statement, mut row, mut rows) = (head.clone(), Vec::new(), 0);
        for image in images {
            row.clear();
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

impl Expected {
    /// Rows of a table; `None` for any count.
    pub(crate) fn rows(plan: &Arc<TablePlan>, verb: &'static str, wanted: Option<u64>) -> Expected {
        Expected::Rows { plan: plan.clone(), verb, wanted, is_loose: false }
    }
}
