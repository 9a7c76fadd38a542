//! Rows of a chunk, out of `COPY … TO STDOUT (FORMAT binary)`.
//!
//! The format has a header and a trailer; a stream that ends without the trailer is a broken read, never an end.
//! Source: PostgreSQL manual, COPY, "Binary Format".

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, Bytes, BytesMut};
use futures_util::StreamExt;
use tidegate_connector::{ConnectorError, Decoding, LOADED_ROWS_MAX, RowReader};
use tidegate_model::{RowBatch, TableName, Window};
use tokio_postgres::{Client, CopyOutStream};

use super::too_large;
use crate::fault::{ROW_TOO_LARGE, pg_error};

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// A batch of rows is returned at about this size. Modules judge a batch in several calls, and are handed over to once for all of them.
const BATCH_BYTES: usize = 512 << 10;

/// Connections that one reader leaves to the next.
#[derive(Clone, Default)]
pub(crate) struct Readers(Arc<Mutex<Vec<Client>>>);

impl Readers {
    /// One that has nothing to do.
    pub(crate) fn take(&self) -> Option<Client> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|client| !client.is_closed());
        idle.pop()
    }

    fn leave(&self, client: Client) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(client);
    }
}

/// Reads one chunk. Dropping it before the end ends its connection, and with it the statement.
pub(crate) struct CopyReader {
    stream: Pin<Box<CopyOutStream>>,
    parser: CopyParser,
    /// The stream has ended, with its end mark; it must not be asked again.
    ended: bool,
    window: Window,
    decoding: Decoding,
    /// Keeps the connection, and on it the transaction that has imported the snapshot; there until the reader is dropped.
    client: Option<Client>,
    readers: Readers,
    table: TableName,
}

impl CopyReader {
    /// A reader of a COPY that was just started on `client`. `text` has a flag for each column that was cast to text.
    pub(crate) fn new(client: Client, readers: Readers, stream: CopyOutStream, text: Vec<bool>, window: Window, table: TableName) -> Self {
        let (stream, parser) = (Box::pin(stream), CopyParser::new(text));
        Self { stream, parser, ended: false, window, decoding: Decoding::default(), client: Some(client), readers, table }
    }
}

impl Drop for CopyReader {
    fn drop(&mut self) {
        if let Some(client) = self.client.take().filter(|_| self.ended) {
            self.readers.leave(client);
        }
    }
}

#[async_trait]
impl RowReader for CopyReader {
    fn window(&self) -> Window {
        self.window.clone()
    }

    async fn next_rows(&mut self) -> Result<Option<RowBatch>, ConnectorError> {
        let mut rows = self.parser.batch();
        let mut stretch = self.decoding.begin();
        while rows.bytes_held() < BATCH_BYTES && rows.len() < LOADED_ROWS_MAX && !self.ended {
            match self.parser.next(&mut rows)? {
                true => {}
                // After the end mark the stream must not be asked again: it would read the answer to the statement.
                false if self.parser.is_complete() => self.ended = true,
                false => match stretch.wait(self.stream.next()).await {
                    Some(data) => match data {
                        Ok(data) => self.parser.add(data)?,
                        Err(error) => return Err(failed(self.client.as_ref(), &self.table, error).await),
                    },
                    None => {
                        return Err(ConnectorError::transient("connection_failed", "rows of a chunk ended without the end mark of COPY"));
                    }
                },
            }
        }
        self.parser.row_bytes = rows.bytes_held() / rows.len().max(1);
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

/// Cuts the stream into rows. PostgreSQL sends each row as a message of its own, whose cells are copied as they are.
#[derive(Debug)]
pub(crate) struct CopyParser {
    buffer: Bytes,
    state: State,
    text: Vec<bool>,
    /// What a row held in the last batch, for the room of the next one.
    row_bytes: usize,
}

impl CopyParser {
    pub(crate) fn new(text: Vec<bool>) -> Self {
        Self { buffer: Bytes::new(), state: State::Header, text, row_bytes: 0 }
    }

    /// A batch for rows, with none yet.
    fn batch(&self) -> RowBatch {
        let rows = LOADED_ROWS_MAX.min(BATCH_BYTES / self.row_bytes.max(1));
        let bytes = (LOADED_ROWS_MAX * self.row_bytes).min(BATCH_BYTES);
        RowBatch::with_capacity(self.text.len(), rows, bytes).with_spelled(&self.text)
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

    /// Appends the next row to `rows`, if it has arrived as a whole.
    fn next(&mut self, rows: &mut RowBatch) -> Result<bool, ConnectorError> {
        if self.state == State::Header && !self.header()? {
            return Ok(false);
        }
        if self.state == State::Complete {
            return Ok(false);
        }
        let Some(count) = self.buffer.first_chunk::<2>().map(|count| i16::from_be_bytes(*count)) else { return Ok(false) };
        if count == -1 {
            self.state = State::Complete;
            self.buffer.advance(2);
            return if self.buffer.is_empty() { Ok(false) } else { Err(malformed("bytes after its end mark")) };
        }
        if usize::try_from(count).ok() != Some(self.text.len()) {
            return Err(malformed("a row with another count of columns than was asked for"));
        }
        let Some(end) = rows.push_framed(&self.buffer, 2).map_err(|error| malformed(&error.to_string()))? else { return Ok(false) };
        self.buffer.advance(end);
        Ok(true)
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
}

fn malformed(what: &str) -> ConnectorError {
    ConnectorError::definite("malformed_rows", format!("read COPY of a chunk: found {what}"))
}

/// A row that the server cannot send is a matter of its table.
async fn failed(client: Option<&Client>, table: &TableName, error: tokio_postgres::Error) -> ConnectorError {
    let error = pg_error(&format!("read rows of table \"{table}\""), error);
    let Some(client) = client else { return error };
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
    use tidegate_model::Cell;

    use super::*;

    fn copy() -> Vec<u8> {
        [SIGNATURE, &[0; 8], b"\0\x02\0\0\0\x02ab\xff\xff\xff\xff", b"\0\x02\0\0\0\0\0\0\0\x01c", b"\xff\xff"].concat()
    }

    #[test]
    fn rows_are_the_same_however_the_bytes_arrive() {
        for step in 1..copy().len() {
            let mut parser = CopyParser::new(vec![false, true]);
            let mut rows = parser.batch();
            for part in copy().chunks(step) {
                parser.add(Bytes::copy_from_slice(part)).expect("before the end mark");
                while parser.next(&mut rows).expect("well formed") {}
            }
            assert!(parser.is_complete());
            let wanted = [[Cell::Binary(b"ab"), Cell::Null], [Cell::Binary(b""), Cell::Text(b"c")]];
            let found: Vec<_> = rows.iter().collect();
            assert_eq!(found.iter().map(|row| row.cells().collect::<Vec<_>>()).collect::<Vec<_>>(), wanted);
        }
    }

    #[test]
    fn cut_or_wrong_streams_are_no_end() {
        let whole = copy();
        for cut in 0..whole.len() {
            let mut parser = CopyParser::new(vec![false, true]);
            parser.add(Bytes::copy_from_slice(&whole[..cut])).expect("before the end mark");
            let mut rows = parser.batch();
            while parser.next(&mut rows).expect("well formed so far") {}
            assert!(!parser.is_complete(), "cut at {cut}");
        }
        let mut other = CopyParser::new(vec![false]);
        other.add(whole.clone().into()).expect("before the end mark");
        assert!(other.next(&mut other.batch()).is_err());
        let mut more = CopyParser::new(vec![false, true]);
        more.add([&whole[..], b"x"].concat().into()).expect("before the end mark");
        let mut rows = more.batch();
        assert!((0..3).any(|_| more.next(&mut rows).is_err()));
    }
}
