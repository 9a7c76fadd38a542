//! Rows as the file of LOAD DATA LOCAL, sent in parts of bounded size while they are made.
//!
//! With LOCAL the server cannot refuse a row: it adjusts values and leaves duplicates out, and tells of it by warnings
//! and counts alone. Both are compared with what was sent, and the caller rolls back when they differ.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::poll_fn;
use mysql_async::prelude::Queryable;
use tidegate_connector::{ConnectorError, ImageCells};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::batch::{Expected, diverged};
use super::fault;
use super::form::Field;
use super::plan::{Put, TablePlan};
use super::session::Server;
use super::sql;
use crate::connect::rows;

/// Bytes that are collected before they are handed to the connection. Chosen by guess.
const PART_BYTES: usize = 256 * 1024;

/// Parts that wait while one is being sent.
const PARTS_WAITING: usize = 2;

/// The server's number for a duplicate key.
const DUPLICATE: u16 = 1062;

/// The numbers for a violated check, of MySQL and of MariaDB. LOAD DATA LOCAL leaves such a row out with a warning.
const VIOLATED: [u16; 2] = [3819, 4025];

/// A running LOAD DATA. Dropped, its connection is closed, and the server forgets its transaction.
pub(crate) struct LoadData {
    plan: Arc<TablePlan>,
    parts: mpsc::Sender<Bytes>,
    part: Vec<u8>,
    raw: Vec<u8>,
    rows: u64,
    /// What the server keeps in memory of a field that it converts.
    packet_bytes_max: usize,
    running: Running,
}

struct Running(JoinHandle<Result<Server, ConnectorError>>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl LoadData {
    /// Starts on a session with an open transaction.
    pub(crate) fn start(server: Server, plan: Arc<TablePlan>) -> LoadData {
        let (parts, mut arrived) = mpsc::channel::<Bytes>(PARTS_WAITING);
        let statement = sql::load_data(&plan);
        let packet_bytes_max = server.facts().packet_bytes_max;
        let told = plan.clone();
        let running = tokio::spawn(async move {
            let mut server = server;
            server.conn.set_infile_handler(async move { Ok(poll_fn(move |context| arrived.poll_recv(context)).map(Ok).boxed()) });
            let attempted = format!("load rows into table \"{}\"", told.table.name);
            let done = server.conn.query_drop(statement).await;
            done.map_err(|error| fault::of_table(&told.table.source.schema.name, &attempted, error))?;
            Ok(server)
        });
        LoadData {
            plan,
            parts,
            part: Vec::with_capacity(PART_BYTES * 2),
            raw: Vec::new(),
            rows: 0,
            packet_bytes_max,
            running: Running(running),
        }
    }

    /// Adds a complete row.
    pub(crate) async fn add(&mut self, image: &impl ImageCells) -> Result<(), ConnectorError> {
        for column in 0..self.plan.columns.len() {
            if column > 0 {
                self.part.push(b'\t');
            }
            if let Some(bytes) = self.plan.large_cell(column, image) {
                self.add_large(column, bytes).await?;
                continue;
            }
            self.raw.clear();
            match self.plan.put_cell(column, image, &mut self.raw)? {
                Put::Null => self.part.extend_from_slice(b"\\N"),
                Put::Unknown => return Err(fault::incomplete(&self.plan)),
                Put::Value => sql::put_field(&self.raw, &mut self.part),
            }
        }
        self.part.push(b'\n');
        self.rows += 1;
        if self.part.len() >= PART_BYTES { self.send().await } else { Ok(()) }
    }

    /// A large cell goes into the parts piece by piece, out of the buffer that it came in.
    async fn add_large(&mut self, column: usize, bytes: &[u8]) -> Result<(), ConnectorError> {
        if self.plan.columns[column].field != Field::Direct && bytes.len() > self.packet_bytes_max {
            return Err(Expected::rows(&self.plan, "load", None).too_large(self.packet_bytes_max));
        }
        for piece in bytes.chunks(PART_BYTES) {
            sql::put_field(piece, &mut self.part);
            if self.part.len() >= PART_BYTES {
                self.send().await?;
            }
        }
        Ok(())
    }

    /// Ends the file; returns the session, whose transaction is still open, and the count of rows.
    pub(crate) async fn finish(mut self) -> Result<(Server, u64), ConnectorError> {
        self.send().await?;
        let LoadData { plan, parts, rows: sent, mut running, .. } = self;
        drop(parts);
        let mut server = ended((&mut running.0).await)?;
        let (loaded, warnings) = (server.conn.affected_rows(), server.conn.get_warnings());
        if warnings == 0 && loaded == sent {
            return Ok((server, sent));
        }
        let told: Vec<(String, u16, String)> = rows(&mut server.conn, "read warnings", "show warnings").await?;
        let is_told = |wanted: &[u16]| told.iter().any(|(_, code, _)| wanted.contains(code));
        if is_told(&VIOLATED) && !is_told(&[DUPLICATE]) {
            return Err(fault::violated(&plan, sent.saturating_sub(loaded)));
        }
        if loaded != sent || is_told(&[DUPLICATE]) {
            return Err(diverged(&plan, "load", loaded, sent));
        }
        Err(fault::altered(&plan, warnings))
    }

    async fn send(&mut self) -> Result<(), ConnectorError> {
        let part = Bytes::from(std::mem::replace(&mut self.part, Vec::with_capacity(PART_BYTES * 2)));
        for start in (0..part.len()).step_by(PART_BYTES) {
            let slice = part.slice(start..part.len().min(start + PART_BYTES));
            if self.parts.send(slice).await.is_err() {
                // The statement ended before its file: its answer tells why.
                let told = ended((&mut self.running.0).await).map(|_| ());
                let gone = || ConnectorError::transient("connection_lost", "the server ended LOAD DATA before its rows were sent");
                return Err(told.err().unwrap_or_else(gone));
            }
        }
        Ok(())
    }
}

fn ended(joined: Result<Result<Server, ConnectorError>, tokio::task::JoinError>) -> Result<Server, ConnectorError> {
    match joined {
        Ok(done) => done,
        Err(error) => {
            Err(ConnectorError::new(tidegate_connector::ErrorClass::Bug, "load_panicked", "the sender of rows panicked").caused_by(error))
        }
    }
}
