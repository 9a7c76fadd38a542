//! Compressed events: MySQL's transaction payload (zstd), MariaDB's compressed queries and rows (zlib).
//!
//! The declared size is the sender's claim: output grows as bytes come out, and stops at a bound.

use std::io::Read;

use ::bytes::Bytes;

use super::bytes::{Fault, Reader};

/// Most bytes that one compressed event may unfold to: an event's own limit (`max_allowed_packet` ends at 1 GiB).
pub(crate) const UNFOLDED_BYTES_MAX: u64 = 1 << 30;

/// The events of a transaction payload, joined.
pub(crate) fn transaction_payload(body: &[u8], bytes_max: u64) -> Result<Bytes, Fault> {
    let mut reader = Reader::new(body, "transaction payload event");
    let (mut size, mut compression, mut unfolded) = (None, None, None);
    loop {
        match reader.length()? {
            0 => break,
            field => {
                let mut value = Reader::new(reader.prefixed()?, "transaction payload event");
                let number = value.length()?;
                match field {
                    1 => size = Some(number),
                    2 => compression = Some(number),
                    3 => unfolded = Some(number),
                    // Fields of later versions have their length.
                    _ => {}
                }
            }
        }
    }
    let size = size.and_then(|size| usize::try_from(size).ok()).ok_or_else(|| reader.fault())?;
    let payload = reader.take(size)?;
    match compression {
        Some(255) => Ok(Bytes::copy_from_slice(payload)),
        Some(0) => {
            let decoder = zstd::stream::read::Decoder::new(payload).map_err(|_| reader.fault())?;
            unfold(decoder, unfolded.ok_or_else(|| reader.fault())?, bytes_max)
        }
        _ => Err(Fault::value("payload_compression", "a transaction payload with an unknown compression")),
    }
}

/// What MariaDB compressed: a head with the unfolded length, then zlib.
pub(crate) fn mariadb_compressed(bytes: &[u8], bytes_max: u64) -> Result<Bytes, Fault> {
    let mut reader = Reader::new(bytes, "compressed event");
    let head = reader.u8()?;
    let length_bytes = usize::from(head & 7);
    if head & 0xf0 != 0x80 || !(1..=4).contains(&length_bytes) {
        return Err(reader.fault());
    }
    let unfolded = reader.uint_be(length_bytes)?;
    unfold(flate2::read::ZlibDecoder::new(reader.remaining()), unfolded, bytes_max)
}

fn unfold(decoder: impl Read, declared: u64, bytes_max: u64) -> Result<Bytes, Fault> {
    if declared > bytes_max {
        return Err(Fault::value("payload_size", format!("a compressed event of {declared} bytes, wanted at most {bytes_max}")));
    }
    let mut out = Vec::new();
    decoder.take(declared + 1).read_to_end(&mut out).map_err(|_| Fault::Malformed("compressed event"))?;
    if out.len() as u64 == declared { Ok(out.into()) } else { Err(Fault::Malformed("compressed event: length")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(declared: u8, data: &[u8]) -> Vec<u8> {
        let packed = zstd::encode_all(data, 3).expect("in memory");
        let mut body = vec![2, 1, 0, 3, 1, declared, 1, 1, packed.len() as u8, 0];
        body.extend_from_slice(&packed);
        body
    }

    #[test]
    fn payloads_unfold_to_their_declared_size_only() {
        assert_eq!(transaction_payload(&payload(5, b"hello"), 100).as_deref(), Ok(&b"hello"[..]));
        for declared in [4, 6] {
            assert!(transaction_payload(&payload(declared, b"hello"), 100).is_err());
        }
        assert!(matches!(transaction_payload(&payload(5, b"hello"), 4), Err(Fault::Value { code: "payload_size", .. })));
    }

    #[test]
    fn mariadb_data_unfolds() {
        let mut encoder = flate2::read::ZlibEncoder::new(&b"hello"[..], flate2::Compression::fast());
        let mut bytes = vec![0x81, 5];
        encoder.read_to_end(&mut bytes).expect("in memory");
        assert_eq!(mariadb_compressed(&bytes, 100).as_deref(), Ok(&b"hello"[..]));
        assert!(mariadb_compressed(&bytes[..bytes.len() - 3], 100).is_err());
        assert!(mariadb_compressed(&[0x91, 5, 0], 100).is_err());
    }
}
