//! Types whose values are read as the text that the server prints for them.
//!
//! Sources of the binary forms: `network.c`, `mac.c`, `mac8.c`, `varbit.c`, `date.c`, `pg_lsn.c`, `xml.c` of PostgreSQL.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::calendar::time_text;
use super::decode::{Reason, bits, fixed, utf8};
use super::ranges::{Bound, multirange, range};

/// A type that is read as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spelled {
    /// `inet` and `cidr`.
    Address,
    /// `macaddr` and `macaddr8`.
    Hardware,
    /// `oid`.
    ObjectId,
    /// `xid8`.
    TransactionId,
    /// `pg_lsn`.
    Lsn,
    /// `time with time zone`.
    TimeTz,
    /// `bit varying`.
    Bits,
    /// `xml`: the document as it is, in the session's UTF-8.
    Xml,
    /// A range.
    Range(Bound),
    /// A multirange.
    Multirange(Bound),
}

impl Spelled {
    /// By the type's object id. Source: pg_type.dat.
    pub(crate) fn by_oid(oid: u32) -> Option<Spelled> {
        Some(match oid {
            869 | 650 => Spelled::Address,
            829 | 774 => Spelled::Hardware,
            26 => Spelled::ObjectId,
            5069 => Spelled::TransactionId,
            3220 => Spelled::Lsn,
            1266 => Spelled::TimeTz,
            1562 => Spelled::Bits,
            142 => Spelled::Xml,
            _ => match Bound::by_oid(oid)? {
                (bound, false) => Spelled::Range(bound),
                (bound, true) => Spelled::Multirange(bound),
            },
        })
    }

    /// The text of a binary form.
    pub(crate) fn text(self, bytes: &[u8]) -> Result<String, Reason> {
        Ok(match self {
            Spelled::Address => address(bytes)?,
            Spelled::Hardware => bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":"),
            Spelled::ObjectId => u32::from_be_bytes(fixed(bytes)?).to_string(),
            Spelled::TransactionId => u64::from_be_bytes(fixed(bytes)?).to_string(),
            Spelled::Lsn => {
                let number = u64::from_be_bytes(fixed(bytes)?);
                format!("{:X}/{:X}", number >> 32, number & 0xffff_ffff)
            }
            Spelled::TimeTz => time_tz(fixed(bytes)?)?,
            Spelled::Xml => utf8(bytes)?.to_owned(),
            Spelled::Range(bound) => range(bound, bytes)?,
            Spelled::Multirange(bound) => multirange(bound, bytes)?,
            Spelled::Bits => {
                let (count, bytes) = bits(bytes)?;
                (0..count).map(|index| if bytes[index / 8] & (0x80 >> (index % 8)) == 0 { '0' } else { '1' }).collect()
            }
        })
    }
}

fn address(bytes: &[u8]) -> Result<String, Reason> {
    let [_family, prefix, is_cidr, length, address @ ..] = bytes else { return Err("address is cut off".into()) };
    if usize::from(*length) != address.len() {
        return Err("address has another length than it says".into());
    }
    let (text, most) = match address.len() {
        4 => (Ipv4Addr::from(fixed::<4>(address)?).to_string(), 32),
        16 => (Ipv6Addr::from(fixed::<16>(address)?).to_string(), 128),
        _ => return Err("address is neither of 4 nor of 16 bytes".into()),
    };
    Ok(if *prefix == most && *is_cidr == 0 { text } else { format!("{text}/{prefix}") })
}

fn time_tz(bytes: [u8; 12]) -> Result<String, Reason> {
    let time = i64::from_be_bytes(fixed(&bytes[..8])?);
    // Seconds west of Greenwich.
    let west = i32::from_be_bytes(fixed(&bytes[8..])?);
    let (sign, zone) = if west > 0 { ('-', west.unsigned_abs()) } else { ('+', west.unsigned_abs()) };
    let mut text = format!("{}{sign}{:02}", time_text(time), zone / 3_600);
    if zone % 3_600 != 0 {
        text.push_str(&format!(":{:02}", zone / 60 % 60));
    }
    if zone % 60 != 0 {
        text.push_str(&format!(":{:02}", zone % 60));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_that_the_server_prints() {
        let cases: [(Spelled, &[u8], &str); 9] = [
            (Spelled::Address, &[2, 8, 0, 4, 10, 0, 0, 1], "10.0.0.1/8"),
            (Spelled::Address, &[2, 32, 0, 4, 10, 0, 0, 1], "10.0.0.1"),
            (Spelled::Address, &[2, 32, 1, 4, 10, 0, 0, 1], "10.0.0.1/32"),
            (Spelled::Hardware, &[8, 0, 0x2b, 1, 2, 3], "08:00:2b:01:02:03"),
            (Spelled::ObjectId, &[255; 4], "4294967295"),
            (Spelled::TransactionId, &[255; 8], "18446744073709551615"),
            (Spelled::Lsn, &[0, 0, 0, 0x16, 0xb3, 0x74, 0xd8, 0x48], "16/B374D848"),
            (Spelled::TimeTz, &[0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xf1, 0xf0], "00:00:00+01"),
            (Spelled::Bits, &[0, 0, 0, 5, 0b0010_1000], "00101"),
        ];
        for (kind, bytes, text) in cases {
            assert_eq!(kind.text(bytes).as_deref(), Ok(text));
        }
        assert!(Spelled::Address.text(&[2, 8, 0, 4, 10]).is_err() && Spelled::Lsn.text(&[1]).is_err());
    }
}
