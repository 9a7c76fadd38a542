//! Changes on their way to disk: what is small is copied together, large cells are shared with their rows.

use bytes::{Bytes, BytesMut};
use tidegate_model::RowSink;

/// Bytes in parts.
#[derive(Debug, Default)]
pub(super) struct Rope {
    parts: Vec<Bytes>,
    parts_bytes: usize,
    /// What was put last.
    tail: BytesMut,
}

impl Rope {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self { tail: BytesMut::with_capacity(bytes), ..Self::default() }
    }

    /// Bytes in all parts.
    pub(super) fn len(&self) -> usize {
        self.parts_bytes + self.tail.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn clear(&mut self) {
        self.parts.clear();
        self.parts_bytes = 0;
        self.tail.clear();
    }

    /// The parts in order.
    pub(super) fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.parts.iter().map(|part| &part[..]).chain(std::iter::once(&self.tail[..]))
    }

    /// All of it as one.
    pub(super) fn to_bytes(&self) -> Bytes {
        let mut all = BytesMut::with_capacity(self.len());
        self.parts().for_each(|part| all.extend_from_slice(part));
        all.freeze()
    }

    fn push(&mut self, part: Bytes) {
        self.parts_bytes += part.len();
        self.parts.push(part);
    }
}

impl RowSink for Rope {
    fn buffer(&mut self) -> &mut BytesMut {
        &mut self.tail
    }

    fn put_large(&mut self, bytes: &Bytes) {
        let before = self.tail.split().freeze();
        self.push(before);
        self.push(bytes.clone());
    }
}
