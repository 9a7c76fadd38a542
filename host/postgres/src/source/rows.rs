//! Rows of a chunk, out of `COPY … TO STDOUT (FORMAT binary)`.
//!
//! The format has a header and a trailer; a stream that ends without the trailer is a broken read, never an end.
//! Source: PostgreSQL manual, COPY, "Binary Format".

use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, Bytes, BytesMut};
use futures_util::StreamExt;
use tidegate_connector::{ConnectorError, Decoding, RowReader};
use tidegate_model::{Cell, LARGE_BYTES, Row, RowBuilder, TableName, Window};
use tokio_postgres::{Client, CopyOutStream};

use super::too_large;
use crate::fault::{ROW_TOO_LARGE, pg_error};

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// A batch of rows is returned at about this size.
const BATCH_BYTES: usize = 256 << 10;

/// Reads one chunk. Dropping it ends its connection, and with it the statement.
pub(crate) struct CopyReader {
    stream: Pin<Box<CopyOutStream>>,
    parser: CopyParser,
    /// The stream has ended, with its end mark; it must not be asked again.
    ended: bool,
    window: Window,
    decoding: Decoding,
    /// Keeps the connection, and on it the transaction that has imported the snapshot.
    client: Client,
    table: TableName,
}

impl CopyReader {
    /// A reader of a COPY that was just started on `client`. `text` has a flag for each column that was cast to text.
    pub(crate) fn new(client: Client, stream: CopyOutStream, text: Vec<bool>, window: Window, table: TableName) -> Self {
        Self { stream: Box::pin(stream), parser: CopyParser::new(text), ended: false, window, decoding: Decoding::default(), client, table }
    }
}

#[async_trait]
impl RowReader for CopyReader {
    fn window(&self) -> Window {
        self.window.clone()
    }

    async fn next_rows(&mut self) -> Result<Option<Vec<Row>>, ConnectorError> {
        let mut rows = Vec::new();
        let mut bytes = 0;
        let mut stretch = self.decoding.begin();
        while bytes < BATCH_BYTES && !self.ended {
            match self.parser.next()? {
                Some(row) => {
                    bytes += row.bytes_held();
                    rows.push(row);
                }
                // After the end mark the stream must not be asked again: it would read the answer to the statement.
                None if self.parser.is_complete() => self.ended = true,
                None => match stretch.wait(self.stream.next()).await {
                    Some(data) => match data {
                        Ok(data) => self.parser.add(data)?,
                        Err(error) => return Err(failed(&self.client, &self.table, error).await),
                    },
                    None => {
                        return Err(ConnectorError::transient("connection_failed", "rows of a chunk ended without the end mark of COPY"));
                    }
                },
            }
        }
        Ok(if rows.is_empty() { None } else { Some(rows) })
    }

    fn decoded(&self) -> Duration {
        self.decoding.total()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Header,
    Rows,
    Complete,
}

/// Cuts the stream into rows. PostgreSQL sends each row as a message of its own, which is not copied then.
#[derive(Debug)]
pub(crate) struct CopyParser {
    buffer: Bytes,
    state: State,
    text: Vec<bool>,
}

impl CopyParser {
    pub(crate) fn new(text: Vec<bool>) -> Self {
        Self { buffer: Bytes::new(), state: State::Header, text }
    }

    fn add(&mut self, data: Bytes) -> Result<(), ConnectorError> {
        if self.state == State::Complete && !data.is_empty() {
            return Err(malformed("bytes after its end mark"));
        }
        if self.buffer.is_empty() {
            self.buffer = data;
            return Ok(());
        }
        let mut both = BytesMut::with_capacity(self.buffer.len() + data.len());
        both.extend_from_slice(&self.buffer);
        both.extend_from_slice(&data);
        self.buffer = both.freeze();
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.state == State::Complete
    }

    /// The next row, if it has arrived as a whole.
    fn next(&mut self) -> Result<Option<Row>, ConnectorError> {
        if self.state == State::Header && !self.header()? {
            return Ok(None);
        }
        if self.state == State::Complete {
            return Ok(None);
        }
        let Some(count) = self.buffer.first_chunk::<2>().map(|count| i16::from_be_bytes(*count)) else { return Ok(None) };
        if count == -1 {
            self.state = State::Complete;
            self.buffer.advance(2);
            return if self.buffer.is_empty() { Ok(None) } else { Err(malformed("bytes after its end mark")) };
        }
        if usize::try_from(count).ok() != Some(self.text.len()) {
            return Err(malformed("a row with another count of columns than was asked for"));
        }
        let Some(end) = self.row_end()? else { return Ok(None) };
        let row = self.row(end);
        self.buffer.advance(end);
        Ok(Some(row))
    }

    /// True when the header is behind.
    fn header(&mut self) -> Result<bool, ConnectorError> {
        // Signature, flags, length of an extension that no version has.
        let length = SIGNATURE.len() + 8;
        if self.buffer.len() < length {
            return Ok(false);
        }
        if !self.buffer.starts_with(SIGNATURE) || self.buffer[SIGNATURE.len()..length] != [0; 8] {
            return Err(malformed("a header that is not version 1 of the binary format"));
        }
        self.buffer.advance(length);
        self.state = State::Rows;
        Ok(true)
    }

    fn row_end(&self) -> Result<Option<usize>, ConnectorError> {
        let mut at = 2;
        for _ in 0..self.text.len() {
            let Some(length) = self.cell_length(at) else { return Ok(None) };
            at += 4 + match length {
                -1 => 0,
                length => usize::try_from(length).map_err(|_| malformed("a cell with a negative length"))?,
            };
        }
        Ok(if self.buffer.len() >= at { Some(at) } else { None })
    }

    fn row(&self, end: usize) -> Row {
        let mut builder = RowBuilder::with_capacity(self.text.len(), end.min(LARGE_BYTES));
        let mut at = 2;
        for text in &self.text {
            let length = self.cell_length(at).expect("row_end has walked over all cells");
            at += 4;
            match usize::try_from(length) {
                Err(_) => builder.push(Cell::Null),
                Ok(length) => {
                    let bytes = &self.buffer[at..at + length];
                    builder.push_within(if *text { Cell::Text(bytes) } else { Cell::Binary(bytes) }, &self.buffer);
                    at += length;
                }
            }
        }
        builder.finish()
    }

    fn cell_length(&self, at: usize) -> Option<i32> {
        self.buffer.get(at..)?.first_chunk::<4>().map(|length| i32::from_be_bytes(*length))
    }
}

fn malformed(what: &str) -> ConnectorError {
    ConnectorError::definite("malformed_rows", format!("read COPY of a chunk: found {what}"))
}

/// A row that the server cannot send is a matter of its table.
async fn failed(client: &Client, table: &TableName, error: tokio_postgres::Error) -> ConnectorError {
    let error = pg_error(&format!("read rows of table \"{table}\""), error);
    // The transaction that the connection is in is over.
    if error.code() != ROW_TOO_LARGE || client.batch_execute("rollback").await.is_err() {
        return error;
    }
    let hint = error.hint_text().map(str::to_owned);
    let of_table = ConnectorError::table(table, ROW_TOO_LARGE, error.chain());
    let of_table = match hint {
        Some(hint) => of_table.hint(hint),
        None => of_table,
    };
    too_large::explained(client, std::slice::from_ref(table), of_table).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy() -> Vec<u8> {
        [SIGNATURE, &[0; 8], b"\0\x02\0\0\0\x02ab\xff\xff\xff\xff", b"\0\x02\0\0\0\0\0\0\0\x01c", b"\xff\xff"].concat()
    }

    #[test]
    fn rows_are_the_same_however_the_bytes_arrive() {
        for step in 1..copy().len() {
            let mut parser = CopyParser::new(vec![false, true]);
            let mut cells = Vec::new();
            for part in copy().chunks(step) {
                parser.add(Bytes::copy_from_slice(part)).expect("before the end mark");
                while let Some(row) = parser.next().expect("well formed") {
                    cells.extend(row.cells().map(|cell| format!("{cell:?}")));
                }
            }
            assert!(parser.is_complete());
            let wanted = [Cell::Binary(b"ab"), Cell::Null, Cell::Binary(b""), Cell::Text(b"c")];
            assert_eq!(cells, wanted.map(|cell| format!("{cell:?}")));
        }
    }

    #[test]
    fn cut_or_wrong_streams_are_no_end() {
        let whole = copy();
        for cut in 0..whole.len() {
            let mut parser = CopyParser::new(vec![false, true]);
            parser.add(Bytes::copy_from_slice(&whole[..cut])).expect("before the end mark");
            while parser.next().expect("well formed so far").is_some() {}
            assert!(!parser.is_complete(), "cut at {cut}");
        }
        let mut other = CopyParser::new(vec![false]);
        other.add(whole.clone().into()).expect("before the end mark");
        assert!(other.next().is_err());
        let mut more = CopyParser::new(vec![false, true]);
        more.add([&whole[..], b"x"].concat().into()).expect("before the end mark");
        assert!((0..3).any(|_| more.next().is_err()));
    }
}
