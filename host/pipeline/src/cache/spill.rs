//! Segment files of the change cache: append, read back at an offset, gone when nobody refers to them.
//!
//! The files hold only what the source can send again, so they are never synced, and the directory is emptied when a
//! run starts. Each block carries a checksum: a torn or flipped block is an error, never a change.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::rope::Rope;

/// Size at which the next block starts a new file, in bytes. Chosen by guess: small enough that space comes back
/// while a long backlog is worked off.
const SEGMENT_BYTES_MAX: u64 = 64 << 20;

/// The directory of one run's segment files.
pub(crate) struct Spill {
    dir: PathBuf,
    current: Option<(Arc<Segment>, u64)>,
    next_number: u64,
    disk_bytes: Arc<AtomicU64>,
}

/// One file; removed when the last block that refers to it is dropped.
#[derive(Debug)]
struct Segment {
    file: File,
    path: PathBuf,
}

impl Drop for Segment {
    fn drop(&mut self) {
        // A file that cannot be removed now goes when the next run empties the directory.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A block that was written.
#[derive(Debug)]
pub(crate) struct Block {
    segment: Arc<Segment>,
    offset: u64,
    length: usize,
    checksum: u64,
    disk_bytes: Arc<AtomicU64>,
}

impl Drop for Block {
    fn drop(&mut self) {
        self.disk_bytes.fetch_sub(self.length as u64, Ordering::Relaxed);
    }
}

impl Spill {
    /// Empties the directory, or creates it.
    pub(crate) fn open(dir: &Path, disk_bytes: Arc<AtomicU64>) -> io::Result<Spill> {
        std::fs::create_dir_all(dir)?;
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "segment") {
                std::fs::remove_file(path)?;
            }
        }
        Ok(Spill { dir: dir.to_owned(), current: None, next_number: 0, disk_bytes })
    }

    /// Appends a block.
    pub(super) fn append(&mut self, rope: &Rope) -> io::Result<Block> {
        let (segment, offset) = match self.current.take() {
            Some((segment, offset)) if offset < SEGMENT_BYTES_MAX => (segment, offset),
            _ => (self.create()?, 0),
        };
        let (mut end, mut checksum) = (offset, Checksum::default());
        for part in rope.parts() {
            segment.file.write_all_at(part, end)?;
            end += part.len() as u64;
            checksum.add(part);
        }
        self.current = Some((segment.clone(), end));
        self.disk_bytes.fetch_add(rope.len() as u64, Ordering::Relaxed);
        Ok(Block { segment, offset, length: rope.len(), checksum: checksum.finish(), disk_bytes: self.disk_bytes.clone() })
    }

    fn create(&mut self) -> io::Result<Arc<Segment>> {
        let path = self.dir.join(format!("{:010}.segment", self.next_number));
        self.next_number += 1;
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        Ok(Arc::new(Segment { file, path }))
    }
}

impl Block {
    /// The bytes that were appended.
    pub(crate) fn read(&self) -> io::Result<Bytes> {
        let mut bytes = vec![0; self.length];
        self.segment.file.read_exact_at(&mut bytes, self.offset)?;
        let mut checksum = Checksum::default();
        checksum.add(&bytes);
        if checksum.finish() == self.checksum {
            Ok(bytes.into())
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("block at {} of {} was changed on disk", self.offset, self.segment.path.display()),
            ))
        }
    }
}

/// FNV-1a over 8-byte words, whatever the parts in which they come: enough to notice torn and flipped blocks, and cheap
/// beside the write.
struct Checksum {
    hash: u64,
    /// Bytes of a word that is not complete yet.
    begun: Vec<u8>,
    length: u64,
}

impl Default for Checksum {
    fn default() -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, begun: Vec::with_capacity(8), length: 0 }
    }
}

impl Checksum {
    const PRIME: u64 = 0x0000_0100_0000_01b3;

    fn add(&mut self, mut bytes: &[u8]) {
        self.length += bytes.len() as u64;
        if !self.begun.is_empty() {
            let (missing, rest) = bytes.split_at(bytes.len().min(8 - self.begun.len()));
            self.begun.extend_from_slice(missing);
            bytes = rest;
            if let Ok(word) = <[u8; 8]>::try_from(&self.begun[..]) {
                self.word(word);
                self.begun.clear();
            }
        }
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.word(*word));
        self.begun.extend_from_slice(rest);
    }

    fn word(&mut self, word: [u8; 8]) {
        let hash = (self.hash ^ u64::from_le_bytes(word)).wrapping_mul(Self::PRIME);
        self.hash = hash ^ (hash >> 29);
    }

    fn finish(self) -> u64 {
        let hash = self.begun.iter().fold(self.hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(Self::PRIME));
        hash ^ self.length
    }
}

#[cfg(test)]
mod tests {
    use tidegate_model::RowSink;

    use super::*;

    fn rope(bytes: &[u8]) -> Rope {
        let mut rope = Rope::default();
        rope.buffer().extend_from_slice(bytes);
        rope
    }

    fn spill(name: &str) -> (Spill, PathBuf, Arc<AtomicU64>) {
        let dir = std::env::temp_dir().join(format!("tidegate-spill-{name}-{}", std::process::id()));
        let disk_bytes = Arc::new(AtomicU64::new(0));
        (Spill::open(&dir, disk_bytes.clone()).unwrap(), dir, disk_bytes)
    }

    #[test]
    fn blocks_read_back_and_the_space_comes_back() {
        let (mut spill, dir, disk_bytes) = spill("back");
        let one = spill.append(&rope(b"one")).unwrap();
        let two = spill.append(&rope(&[7; 1000])).unwrap();
        assert_eq!((&one.read().unwrap()[..], &two.read().unwrap()[..]), (&b"one"[..], &[7; 1000][..]));
        assert_eq!(disk_bytes.load(Ordering::Relaxed), 1003);
        drop((one, two, spill));
        assert_eq!(disk_bytes.load(Ordering::Relaxed), 0);
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_block_in_parts_is_the_block_at_once() {
        let (mut spill, dir, _) = spill("parts");
        let bytes: Vec<u8> = (0..100).collect();
        for cut in 0..bytes.len() {
            let mut parts = rope(&bytes[..cut]);
            parts.put_large(&Bytes::copy_from_slice(&bytes[cut..]));
            let (one, other) = (spill.append(&parts).unwrap(), spill.append(&rope(&bytes)).unwrap());
            assert_eq!(one.checksum, other.checksum, "cut at {cut}");
            assert_eq!(&one.read().unwrap()[..], bytes);
        }
        drop(spill);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_flipped_bit_and_a_cut_file_are_errors() {
        let (mut spill, dir, _) = spill("flip");
        let block = spill.append(&rope(b"0123456789")).unwrap();
        block.segment.file.write_all_at(b"x", 4).unwrap();
        assert_eq!(block.read().unwrap_err().kind(), io::ErrorKind::InvalidData);
        block.segment.file.set_len(5).unwrap();
        assert!(block.read().is_err());
        drop((block, spill));
        std::fs::remove_dir_all(dir).unwrap();
    }
}
