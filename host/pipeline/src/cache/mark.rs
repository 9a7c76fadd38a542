//! Transactions' names in segment files.

use bytes::{BufMut, BytesMut};
use tidegate_model::position::GtidSource;
use tidegate_model::{Lsn, TxMark};

use super::transaction::take;

/// Writes a mark in the form that [`take_mark`] reads.
pub(super) fn put_mark(mark: &TxMark, out: &mut BytesMut) {
    match mark {
        TxMark::Postgres { end } => {
            out.put_u8(1);
            out.put_u64_le(end.0);
        }
        TxMark::Mysql { source, sequence } => {
            out.put_u8(2);
            out.put_slice(&source.uuid);
            out.put_u64_le(*sequence);
            // The server allows tags of 32 characters.
            let tag = &source.tag.as_bytes()[..source.tag.len().min(usize::from(u8::MAX))];
            out.put_u8(tag.len() as u8);
            out.put_slice(tag);
        }
        TxMark::Mariadb { domain, server, sequence } => {
            out.put_u8(3);
            out.put_u32_le(*domain);
            out.put_u32_le(*server);
            out.put_u64_le(*sequence);
        }
    }
}

/// Reads a mark and moves `input` past it; `None` when `input` is cut or no such form.
pub(super) fn take_mark(input: &mut &[u8]) -> Option<TxMark> {
    let number = |input: &mut &[u8]| take(input).map(u64::from_le_bytes);
    let [tag] = take(input)?;
    Some(match tag {
        1 => TxMark::Postgres { end: Lsn(number(input)?) },
        2 => {
            let uuid = take(input)?;
            let sequence = number(input)?;
            let [length] = take(input)?;
            let (tag, rest) = input.split_at_checked(usize::from(length))?;
            *input = rest;
            TxMark::Mysql { source: GtidSource { uuid, tag: String::from_utf8(tag.to_vec()).ok()? }, sequence }
        }
        3 => TxMark::Mariadb {
            domain: take(input).map(u32::from_le_bytes)?,
            server: take(input).map(u32::from_le_bytes)?,
            sequence: number(input)?,
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_read_back_is_the_mark_written() {
        let marks = [
            TxMark::Postgres { end: Lsn(u64::MAX) },
            TxMark::Mysql { source: GtidSource { uuid: [7; 16], tag: String::new() }, sequence: 1 },
            TxMark::Mysql { source: GtidSource { uuid: [8; 16], tag: "blue".into() }, sequence: u64::MAX },
            TxMark::Mariadb { domain: 1, server: 2, sequence: 3 },
        ];
        let mut out = BytesMut::new();
        marks.iter().for_each(|mark| put_mark(mark, &mut out));
        let mut input = &out[..];
        for mark in &marks {
            assert_eq!(take_mark(&mut input).as_ref(), Some(mark));
        }
        assert!(input.is_empty());
        for length in 0..out.len() {
            let mut cut = &out[..length];
            while take_mark(&mut cut).is_some() {}
        }
    }
}
