//! Frames of the protocol: a tag, a length, a body.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tidegate_connector::ConnectorError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::connect::Stream;
use crate::fault::{ServerFault, io_error};

/// Greatest frame: the server's own limit for one allocation, MaxAllocSize.
const FRAME_BYTES_MAX: usize = 1 << 30;
/// How much one read may bring at most: a burst of small messages costs one wake-up.
const READ_BYTES: usize = 256 << 10;
/// How much one read may bring after a quiet time. Room doubles when a read fills it, and halves when one leaves most of it
/// empty, so that a stream on which nothing happens holds a few kilobytes.
const READ_BYTES_MIN: usize = 4 << 10;

/// One message of the server.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    /// Its kind.
    pub(crate) tag: u8,
    /// Its body.
    pub(crate) body: Bytes,
}

/// A connection on which frames are read and written.
pub(crate) struct WireConnection {
    stream: Stream,
    inbox: BytesMut,
    outbox: BytesMut,
    /// Room for the next read.
    read_bytes: usize,
}

impl WireConnection {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, inbox: BytesMut::new(), outbox: BytesMut::new(), read_bytes: READ_BYTES_MIN }
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.stream.is_encrypted()
    }

    /// Where to write messages; [`WireConnection::flush`] sends them.
    pub(crate) fn outbox(&mut self) -> &mut BytesMut {
        &mut self.outbox
    }

    /// Sends what is in the outbox. Safe to cancel: what was not sent stays there.
    pub(crate) async fn flush(&mut self) -> Result<(), ConnectorError> {
        let attempted = "send to replication connection";
        while !self.outbox.is_empty() {
            let sent = self.stream.write_buf(&mut self.outbox).await.map_err(|error| io_error(attempted, error))?;
            if sent == 0 {
                return Err(ConnectorError::transient("connection_failed", "replication connection takes no more bytes"));
            }
        }
        self.stream.flush().await.map_err(|error| io_error(attempted, error))
    }

    /// The next frame, if it has arrived as a whole.
    pub(crate) fn arrived(&mut self) -> Result<Option<Frame>, ConnectorError> {
        take_frame(&mut self.inbox)
    }

    /// Waits for more bytes. Safe to cancel.
    pub(crate) async fn receive(&mut self) -> Result<(), ConnectorError> {
        if self.inbox.is_empty() && self.inbox.capacity() > 2 * self.read_bytes {
            self.inbox = BytesMut::new();
        }
        self.inbox.reserve(self.read_bytes);
        let mut room = (&mut self.inbox).limit(self.read_bytes);
        let count = self.stream.read_buf(&mut room).await.map_err(|error| io_error("read from replication connection", error))?;
        if count == 0 {
            return Err(ConnectorError::transient("connection_failed", "server closed the replication connection"));
        }
        self.read_bytes = next_read_bytes(self.read_bytes, count);
        Ok(())
    }

    /// Waits for the next frame; notices and parameter reports are left out, errors of the server are errors.
    pub(crate) async fn next(&mut self, attempted: &str) -> Result<Frame, ConnectorError> {
        loop {
            match self.arrived()? {
                Some(Frame { tag: b'N' | b'S', .. }) => {}
                Some(Frame { tag: b'E', body }) => return Err(fault(&body).into_error(attempted)),
                Some(frame) => return Ok(frame),
                None => self.receive().await?,
            }
        }
    }
}

fn next_read_bytes(room: usize, count: usize) -> usize {
    match count {
        count if count >= room => (room * 2).min(READ_BYTES),
        count if count < room / 4 => (room / 2).max(READ_BYTES_MIN),
        _ => room,
    }
}

fn take_frame(inbox: &mut BytesMut) -> Result<Option<Frame>, ConnectorError> {
    let Some(head) = inbox.first_chunk::<5>() else { return Ok(None) };
    let tag = head[0];
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if !(4..=FRAME_BYTES_MAX).contains(&length) {
        return Err(malformed("a frame's length is below 4 bytes or above 1 GiB"));
    }
    if inbox.len() < length + 1 {
        inbox.reserve((length + 1 - inbox.len()).min(READ_BYTES));
        return Ok(None);
    }
    inbox.advance(5);
    Ok(Some(Frame { tag, body: inbox.split_to(length - 4).freeze() }))
}

/// Bytes of the server that are not of the protocol's form.
pub(crate) fn malformed(what: &str) -> ConnectorError {
    ConnectorError::definite("malformed_log", format!("read the server's messages: {what}"))
        .hint("check that nothing between Tidegate and the server changes the stream; report it otherwise")
}

/// The fields of an error response that may be shown; fields that are not UTF-8 are replaced letter by letter.
pub(crate) fn fault(body: &[u8]) -> ServerFault {
    let mut fault = ServerFault::default();
    let mut rest = body;
    while let Some((kind, after)) = rest.split_first() {
        let Some(end) = after.iter().position(|byte| *byte == 0).filter(|_| *kind != 0) else { break };
        let text = String::from_utf8_lossy(&after[..end]).into_owned();
        rest = &after[end + 1..];
        match kind {
            b'V' => fault.severity = text,
            b'C' => fault.sqlstate = text,
            b'M' => fault.message = text,
            b's' => fault.schema = Some(text),
            b't' => fault.table = Some(text),
            b'c' => fault.column = Some(text),
            b'n' => fault.constraint = Some(text),
            b'F' => fault.file = Some(text),
            _ => {}
        }
    }
    fault
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_taken_when_it_is_whole() {
        let mut inbox = BytesMut::from(&b"d\0\0\0\x06ab"[..]);
        let cut = inbox.split_off(6);
        assert!(take_frame(&mut inbox).expect("well formed").is_none());
        inbox.unsplit(cut);
        let frame = take_frame(&mut inbox).expect("well formed").expect("whole");
        assert_eq!((frame.tag, &frame.body[..]), (b'd', &b"ab"[..]));
        assert!(inbox.is_empty());
    }

    #[test]
    fn room_for_reads_follows_what_comes() {
        let mut room = READ_BYTES_MIN;
        for _ in 0..10 {
            room = next_read_bytes(room, room);
        }
        assert_eq!(room, READ_BYTES);
        assert_eq!(next_read_bytes(room, room / 2), room, "half full is no reason to change");
        for _ in 0..10 {
            room = next_read_bytes(room, 18);
        }
        assert_eq!(room, READ_BYTES_MIN);
    }

    #[test]
    fn impossible_lengths_are_errors() {
        for head in [&b"d\0\0\0\x03"[..], b"d\xff\xff\xff\xff", b"d\x40\0\0\x01"] {
            assert_eq!(take_frame(&mut BytesMut::from(head)).expect_err("refused").code(), "malformed_log");
        }
    }

    #[test]
    fn detail_of_an_error_is_left_out() {
        let fault = fault(b"SFEHLER\0VERROR\0C23505\0Mduplicate\0DKey (a)=(secret)\0tT.a\0\0");
        let error = fault.into_error("try");
        assert_eq!(error.chain(), "try: ERROR 23505: duplicate, table \"T.a\"");
    }
}
