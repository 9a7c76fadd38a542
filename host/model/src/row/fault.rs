//! Values that are in the source and that nobody can read as a value of their column's type.

/// Why a cell is no value of its column's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ValueFault {
    /// Index 0 of an enumeration of MySQL or MariaDB, which the server stores for what is none of the labels.
    EnumEmpty = 1,
    /// Bytes that are no text of the column's character set.
    CharsetBytes = 2,
}

impl ValueFault {
    const ALL: [ValueFault; 2] = [ValueFault::EnumEmpty, ValueFault::CharsetBytes];

    /// By its stable code.
    pub fn by_code(code: &str) -> Option<ValueFault> {
        Self::ALL.into_iter().find(|fault| fault.code() == code)
    }

    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            ValueFault::EnumEmpty => "enum_empty",
            ValueFault::CharsetBytes => "charset_bytes",
        }
    }

    /// What was found, for messages.
    pub fn as_str(self) -> &'static str {
        match self {
            ValueFault::EnumEmpty => "the enumeration's error value (index 0)",
            ValueFault::CharsetBytes => "bytes that are no text of the source's character set",
        }
    }

    pub(super) fn by_number(number: u8) -> Option<ValueFault> {
        Self::ALL.into_iter().find(|fault| *fault as u8 == number)
    }
}
