//! A cursor over bytes that a server sent: every read is checked, nothing panics.

use std::fmt;

use tidegate_model::ValueFault;

/// Why bytes or a value could not be decoded. Never shows the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The bytes are not of the form that the protocol asks for.
    Malformed(&'static str),
    /// The bytes are well formed, but hold a value that no target could be given without changing it.
    Value {
        /// Stable code.
        code: &'static str,
        /// What the value is, without showing it.
        reason: String,
    },
    /// The server must be asked for the table of this character set, and the bytes read again.
    Unlearned(String),
}

impl Fault {
    pub(crate) fn value(code: &'static str, reason: impl Into<String>) -> Self {
        Fault::Value { code, reason: reason.into() }
    }

    /// The fault of one value, whose row alone is concerned. Others are of a column, and of every row.
    pub(crate) fn of_a_value(&self) -> Option<ValueFault> {
        match self {
            Fault::Value { code, .. } => ValueFault::by_code(code),
            Fault::Malformed(_) | Fault::Unlearned(_) => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Malformed(what) => write!(f, "malformed {what}"),
            Fault::Value { reason, .. } => f.write_str(reason),
            Fault::Unlearned(charset) => write!(f, "character set \"{charset}\", whose table is not known"),
        }
    }
}

/// Reads forward through a slice.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    /// What is being read, for the error.
    what: &'static str,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: bytes, what }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn fault(&self) -> Fault {
        Fault::Malformed(self.what)
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or(Fault::Malformed(self.what))?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn remaining(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(Fault::Malformed(self.what))?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Fault> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Fault> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Fault> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Fault> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Little-endian integer of up to eight bytes.
    pub(crate) fn uint_le(&mut self, bytes: usize) -> Result<u64, Fault> {
        Ok(self.take(bytes.min(8))?.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// Big-endian integer of up to eight bytes.
    pub(crate) fn uint_be(&mut self, bytes: usize) -> Result<u64, Fault> {
        Ok(self.take(bytes.min(8))?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// The protocol's length-encoded integer.
    pub(crate) fn length(&mut self) -> Result<u64, Fault> {
        match self.u8()? {
            number @ 0..=250 => Ok(u64::from(number)),
            252 => self.uint_le(2),
            253 => self.uint_le(3),
            254 => self.uint_le(8),
            251 | 255 => Err(self.fault()),
        }
    }

    /// A length-encoded count that must fit what is left, one byte a piece.
    pub(crate) fn count(&mut self) -> Result<usize, Fault> {
        let count = self.length()?;
        usize::try_from(count).map_err(|_| self.fault())
    }

    /// Bytes after their length-encoded count.
    pub(crate) fn prefixed(&mut self) -> Result<&'a [u8], Fault> {
        let count = self.count()?;
        self.take(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_in_all_their_forms() {
        let bytes = [250, 252, 1, 2, 253, 1, 0, 1, 254, 1, 0, 0, 0, 0, 0, 0, 0, 251];
        let mut reader = Reader::new(&bytes, "test");
        assert_eq!(reader.length(), Ok(250));
        assert_eq!(reader.length(), Ok(0x201));
        assert_eq!(reader.length(), Ok(0x10001));
        assert_eq!(reader.length(), Ok(1));
        assert_eq!(reader.length(), Err(Fault::Malformed("test")));
        assert!(reader.u8().is_err());
    }
}
