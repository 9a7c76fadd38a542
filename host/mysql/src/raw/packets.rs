//! Packets: the protocol's frames over a stream of bytes.
//!
//! A small packet is a slice of what arrived. A large one gets memory of its own, which grows frame by frame as they arrive and
//! which the rows that are made of it share, so that it is in the process once.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tidegate_model::LARGE_BYTES;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsConnector;

/// Bytes that one frame holds at most; a packet that fills it goes on in the next. Source: MySQL's protocol documentation, "MySQL
/// Packets".
pub(super) const FRAME_BYTES_MAX: usize = 0xff_ffff;

/// Length and number in front of each frame.
const HEAD_BYTES: usize = 4;

/// Bytes of a packet that is taken: the old and the new row of an update, each of up to 1 GiB, the greatest
/// `max_allowed_packet` of all servers.
const PACKET_BYTES_MAX: usize = 2 << 30;

/// Bytes that are asked of the stream at a time.
const READ_BYTES: usize = 128 << 10;

/// What bytes come from and go to.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Wire for T {}

/// Reads and writes packets.
pub(crate) struct Packets {
    wire: Box<dyn Wire>,
    /// Bytes that arrived and were not handed out.
    arrived: BytesMut,
    /// A large packet that is on its way.
    begun: Option<Begun>,
    /// Of the next frame that is sent.
    number: u8,
    received: u64,
}

#[derive(Default)]
struct Begun {
    bytes: Vec<u8>,
    /// Bytes that its last frame lacks.
    missing: usize,
    /// Another frame follows.
    goes_on: bool,
}

impl Begun {
    fn frame(&mut self, length: usize) -> io::Result<()> {
        if self.bytes.len() + length > PACKET_BYTES_MAX {
            return Err(io::Error::new(ErrorKind::InvalidData, "a packet of more than 2 GiB"));
        }
        self.bytes.reserve_exact(length);
        self.missing = length;
        self.goes_on = length == FRAME_BYTES_MAX;
        Ok(())
    }
}

impl Packets {
    pub(super) fn over(wire: impl Wire + 'static) -> Packets {
        Packets { wire: Box::new(wire), arrived: BytesMut::new(), begun: None, number: 0, received: 0 }
    }

    /// The same, encrypted from here on.
    pub(super) async fn encrypted(self, config: Arc<ClientConfig>, name: ServerName<'static>) -> io::Result<Packets> {
        // What came in plain text before the handshake was put there by somebody else.
        if !self.arrived.is_empty() {
            return Err(io::Error::new(ErrorKind::InvalidData, "bytes in front of the TLS handshake"));
        }
        let wire = TlsConnector::from(config).connect(name, self.wire).await?;
        Ok(Packets { wire: Box::new(wire), ..self })
    }

    /// Bytes that came so far.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// The next packet. Safe to cancel.
    pub(crate) async fn next(&mut self) -> io::Result<Bytes> {
        loop {
            if let Some(packet) = self.cut()? {
                return Ok(packet);
            }
            let count = match &mut self.begun {
                Some(begun) if begun.missing > 0 => {
                    let count = self.wire.read_buf(&mut (&mut begun.bytes).limit(begun.missing)).await?;
                    begun.missing -= count;
                    count
                }
                _ => {
                    self.arrived.reserve(READ_BYTES);
                    self.wire.read_buf(&mut self.arrived).await?
                }
            };
            if count == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.received += count as u64;
        }
    }

    /// A packet out of what arrived; `None` while it is not complete.
    fn cut(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(begun) = &mut self.begun {
                let count = begun.missing.min(self.arrived.len());
                begun.bytes.extend_from_slice(&self.arrived[..count]);
                self.arrived.advance(count);
                begun.missing -= count;
                if begun.missing > 0 {
                    return Ok(None);
                }
                if !begun.goes_on {
                    return Ok(self.begun.take().map(|begun| begun.bytes.into()));
                }
            }
            let Some((length, number)) = head(&self.arrived) else { return Ok(None) };
            if self.begun.is_none() && length < LARGE_BYTES {
                if self.arrived.len() < HEAD_BYTES + length {
                    return Ok(None);
                }
                self.arrived.advance(HEAD_BYTES);
                self.number = number.wrapping_add(1);
                return Ok(Some(self.arrived.split_to(length).freeze()));
            }
            self.arrived.advance(HEAD_BYTES);
            self.number = number.wrapping_add(1);
            self.begun.get_or_insert_default().frame(length)?;
        }
    }

    /// Sends a packet in answer to the one that came last.
    pub(super) async fn answer(&mut self, payload: &[u8]) -> io::Result<()> {
        if payload.len() >= FRAME_BYTES_MAX {
            return Err(io::Error::new(ErrorKind::InvalidInput, "a statement of more than 16 MiB"));
        }
        let mut frame = Vec::with_capacity(HEAD_BYTES + payload.len());
        frame.put_uint_le(payload.len() as u64, 3);
        frame.put_u8(self.number);
        frame.extend_from_slice(payload);
        self.number = self.number.wrapping_add(1);
        self.wire.write_all(&frame).await?;
        self.wire.flush().await
    }

    /// Sends a command.
    pub(super) async fn command(&mut self, payload: &[u8]) -> io::Result<()> {
        self.number = 0;
        self.answer(payload).await
    }

    pub(super) async fn close(mut self) {
        let _ = self.wire.shutdown().await;
    }
}

/// Length and number of the frame at the start.
fn head(bytes: &[u8]) -> Option<(usize, u8)> {
    let [a, b, c, number, ..] = *bytes else { return None };
    Some((u32::from_le_bytes([a, b, c, 0]) as usize, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut parts: Vec<&[u8]> = payload.chunks(FRAME_BYTES_MAX).collect();
        if parts.last().is_none_or(|part| part.len() == FRAME_BYTES_MAX) {
            parts.push(b"");
        }
        for (number, part) in parts.into_iter().enumerate() {
            out.put_uint_le(part.len() as u64, 3);
            out.put_u8(number as u8);
            out.extend_from_slice(part);
        }
        out
    }

    #[tokio::test]
    async fn packets_of_any_size_arrive_whole_and_in_order() {
        let sizes =
            [0, 1, 300, LARGE_BYTES - 1, LARGE_BYTES, FRAME_BYTES_MAX - 1, FRAME_BYTES_MAX, FRAME_BYTES_MAX + 1, 2 * FRAME_BYTES_MAX, 5];
        let payloads: Vec<Vec<u8>> = sizes.iter().map(|size| (0..*size).map(|at| (at % 251) as u8).collect()).collect();
        let (near, mut far) = tokio::io::duplex(70_000);
        let sent: Vec<u8> = payloads.iter().flat_map(|payload| frames(payload)).collect();
        let sending = tokio::spawn(async move { far.write_all(&sent).await });
        let mut packets = Packets::over(near);
        for payload in payloads {
            let packet = loop {
                // A reader that is cancelled whenever it waits loses nothing.
                tokio::select! {
                    biased;
                    packet = packets.next() => break packet.expect("it is well formed"),
                    () = tokio::task::yield_now() => {}
                }
            };
            assert!(packet == payload, "{} bytes, wanted {}", packet.len(), payload.len());
        }
        sending.await.expect("it ends").expect("all was taken");
        assert_eq!(packets.next().await.expect_err("the stream has ended").kind(), ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn what_is_sent_has_the_next_number() {
        let (near, mut far) = tokio::io::duplex(1_000);
        let mut packets = Packets::over(near);
        far.write_all(&[1, 0, 0, 7, b'x']).await.expect("there is room");
        assert_eq!(&packets.next().await.expect("a packet")[..], b"x");
        packets.answer(b"yes").await.expect("there is room");
        packets.command(b"do").await.expect("there is room");
        let mut sent = vec![0; 13];
        far.read_exact(&mut sent).await.expect("it was sent");
        assert_eq!(sent, [3, 0, 0, 8, b'y', b'e', b's', 2, 0, 0, 0, b'd', b'o']);
    }
}
