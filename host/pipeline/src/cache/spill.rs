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
    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<Block> {
        let (segment, offset) = match self.current.take() {
            Some((segment, offset)) if offset < SEGMENT_BYTES_MAX => (segment, offset),
            _ => (self.create()?, 0),
        };
        segment.file.write_all_at(bytes, offset)?;
        self.current = Some((segment.clone(), offset + bytes.len() as u64));
        self.disk_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(Block { segment, offset, length: bytes.len(), checksum: checksum(bytes), disk_bytes: self.disk_bytes.clone() })
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
    pub(crate) fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.length];
        self.segment.file.read_exact_at(&mut bytes, self.offset)?;
        if checksum(&bytes) == self.checksum {
            Ok(bytes)
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("block at {} of {} was changed on disk", self.offset, self.segment.path.display()),
            ))
        }
    }
}

/// FNV-1a over 8-byte words: enough to notice torn and flipped blocks, and cheap beside the write.
fn checksum(bytes: &[u8]) -> u64 {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        hash = (hash ^ u64::from_le_bytes(*word)).wrapping_mul(PRIME);
        hash ^= hash >> 29;
    }
    for byte in rest {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
    }
    hash ^ bytes.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spill(name: &str) -> (Spill, PathBuf, Arc<AtomicU64>) {
        let dir = std::env::temp_dir().join(format!("tidegate-spill-{name}-{}", std::process::id()));
        let disk_bytes = Arc::new(AtomicU64::new(0));
        (Spill::open(&dir, disk_bytes.clone()).unwrap(), dir, disk_bytes)
    }

    #[test]
    fn blocks_read_back_and_the_space_comes_back() {
        let (mut spill, dir, disk_bytes) = spill("back");
        let one = spill.append(b"one").unwrap();
        let two = spill.append(&[7; 1000]).unwrap();
        assert_eq!((one.read().unwrap(), two.read().unwrap()), (b"one".to_vec(), vec![7; 1000]));
        assert_eq!(disk_bytes.load(Ordering::Relaxed), 1003);
        drop((one, two, spill));
        assert_eq!(disk_bytes.load(Ordering::Relaxed), 0);
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_flipped_bit_and_a_cut_file_are_errors() {
        let (mut spill, dir, _) = spill("flip");
        let block = spill.append(b"0123456789").unwrap();
        block.segment.file.write_all_at(b"x", 4).unwrap();
        assert_eq!(block.read().unwrap_err().kind(), io::ErrorKind::InvalidData);
        block.segment.file.set_len(5).unwrap();
        assert!(block.read().is_err());
        drop((block, spill));
        std::fs::remove_dir_all(dir).unwrap();
    }
}
