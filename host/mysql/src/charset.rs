//! Character sets of columns: the binlog carries text as its column stores it.
//!
//! What cannot be turned into UTF-8 exactly is refused, at the check and at run time: a replacement character would be
//! another value.

mod learned;

use std::collections::HashMap;

pub(crate) use self::learned::Charsets;
use self::learned::Learned;
use crate::binlog::bytes::Fault;

/// A character set that we read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Charset {
    /// No text at all.
    Binary,
    /// UTF-8 of up to three or four bytes, and ASCII.
    Utf8 { bytes_per_char: u32 },
    /// MySQL's latin1 is Windows-1252 with its five holes filled by the control characters of the same number.
    Latin1,
    /// UCS-2 and UTF-16, big-endian.
    Utf16 { bytes_per_char: u32 },
    /// UTF-16, little-endian.
    Utf16Le,
    /// UTF-32, big-endian.
    Utf32,
    /// By a table of the server's own.
    Learned(Learned),
}

/// Windows-1252 from 0x80 to 0x9f, as in MySQL's `latin1` table (share/charsets/latin1.xml).
const LATIN1_UPPER: [u16; 32] = [
    0x20AC, 0x0081, 0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160, 0x2039, 0x0152, 0x008D, 0x017D, 0x008F, 0x0090,
    0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0x009D, 0x017E, 0x0178,
];

impl Charset {
    /// True for the names of all that we read.
    pub(crate) fn is_supported(name: &str) -> bool {
        Charset::by_name(name).is_some() || learned::is_learnable(name)
    }

    /// How many codes share their character with another one.
    pub(crate) fn repeated(&self) -> usize {
        if let Charset::Learned(table) = self { table.repeated() } else { 0 }
    }

    /// By the server's name, without those that the server must be asked for.
    pub(crate) fn by_name(name: &str) -> Option<Charset> {
        Some(match name {
            "binary" => Charset::Binary,
            "ascii" => Charset::Utf8 { bytes_per_char: 1 },
            "utf8" | "utf8mb3" => Charset::Utf8 { bytes_per_char: 3 },
            "utf8mb4" => Charset::Utf8 { bytes_per_char: 4 },
            "latin1" => Charset::Latin1,
            "ucs2" => Charset::Utf16 { bytes_per_char: 2 },
            "utf16" => Charset::Utf16 { bytes_per_char: 4 },
            "utf16le" => Charset::Utf16Le,
            "utf32" => Charset::Utf32,
            _ => return None,
        })
    }

    /// Greatest count of bytes that a character takes (`mbmaxlen`).
    pub(crate) fn bytes_per_char(&self) -> u32 {
        match self {
            Charset::Binary | Charset::Latin1 => 1,
            Charset::Utf8 { bytes_per_char } | Charset::Utf16 { bytes_per_char } => *bytes_per_char,
            Charset::Utf16Le | Charset::Utf32 => 4,
            Charset::Learned(table) => table.bytes_per_char(),
        }
    }

    /// What is stored in a column of UTF-8 must be that.
    pub(crate) fn check_utf8(&self, bytes: &[u8]) -> Result<(), Fault> {
        let fault = |_| Fault::value("charset_bytes", "bytes that are no text of the column's character set");
        std::str::from_utf8(bytes).map(|_| ()).map_err(fault)
    }

    /// Appends the text as UTF-8.
    ///
    /// # Errors
    /// `charset_bytes` for bytes that are no text of this character set.
    pub(crate) fn write_utf8(&self, bytes: &[u8], out: &mut impl Extend<u8>) -> Result<(), Fault> {
        let fault = || Fault::value("charset_bytes", "bytes that are no text of the column's character set");
        match self {
            Charset::Binary => return Err(Fault::Malformed("text in character set binary")),
            Charset::Utf8 { .. } => {
                self.check_utf8(bytes)?;
                out.extend(bytes.iter().copied());
            }
            Charset::Latin1 => {
                for byte in bytes {
                    let code = match byte {
                        0x80..=0x9f => LATIN1_UPPER[usize::from(*byte - 0x80)],
                        other => u16::from(*other),
                    };
                    write_char(char::from_u32(u32::from(code)).ok_or_else(fault)?, out);
                }
            }
            Charset::Utf16 { .. } | Charset::Utf16Le => {
                if !bytes.len().is_multiple_of(2) {
                    return Err(fault());
                }
                let units = bytes.chunks_exact(2).map(|pair| {
                    let pair = [pair[0], pair[1]];
                    if *self == Charset::Utf16Le { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) }
                });
                for letter in char::decode_utf16(units) {
                    write_char(letter.map_err(|_| fault())?, out);
                }
            }
            Charset::Utf32 => {
                if !bytes.len().is_multiple_of(4) {
                    return Err(fault());
                }
                for unit in bytes.chunks_exact(4) {
                    let code = u32::from_be_bytes([unit[0], unit[1], unit[2], unit[3]]);
                    write_char(char::from_u32(code).ok_or_else(fault)?, out);
                }
            }
            Charset::Learned(table) => {
                let mut rest = bytes;
                while !rest.is_empty() {
                    let (letter, length) = table.first_char(rest).ok_or_else(fault)?;
                    write_char(letter, out);
                    rest = &rest[length..];
                }
            }
        }
        Ok(())
    }

    /// The text as UTF-8.
    pub(crate) fn text(&self, bytes: &[u8]) -> Result<String, Fault> {
        let mut out = Vec::with_capacity(bytes.len());
        // Labels of a binary column are bytes; those that are UTF-8 are taken as such.
        let charset = if *self == Charset::Binary { &Charset::Utf8 { bytes_per_char: 4 } } else { self };
        charset.write_utf8(bytes, &mut out)?;
        String::from_utf8(out).map_err(|_| Fault::Malformed("text"))
    }
}

fn write_char(letter: char, out: &mut impl Extend<u8>) {
    out.extend(letter.encode_utf8(&mut [0; 4]).bytes());
}

/// The fault of a column in a character set that we do not read.
pub(crate) fn unsupported(name: &str) -> Fault {
    Fault::value("charset_unsupported", format!("character set \"{name}\", which is not supported"))
}

/// The name of a collation's character set.
pub(crate) fn of_collation(collation: &str) -> &str {
    collation.split('_').next().unwrap_or(collation)
}

/// The character set of each collation id of one server, by name, so that unknown ones can be named in errors.
///
/// Ids come from the server itself: MariaDB's reach above 255 and differ between versions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Collations {
    names: HashMap<u32, String>,
    /// Character sets that the server was asked for.
    learned: HashMap<String, Charset>,
}

impl Collations {
    pub(crate) fn new(pairs: impl IntoIterator<Item = (u32, String)>) -> Self {
        Self { names: pairs.into_iter().collect(), learned: HashMap::new() }
    }

    /// Takes in the answer to [`Fault::Unlearned`].
    pub(crate) fn learn(&mut self, name: String, charset: Charset) {
        self.learned.insert(name, charset);
    }

    /// # Errors
    /// `charset_unsupported`; [`Fault::Unlearned`] for a character set that the server must be asked for first.
    pub(crate) fn charset(&self, collation: u32) -> Result<Charset, Fault> {
        let name = match self.names.get(&collation) {
            Some(name) => name.as_str(),
            None if collation == 63 => "binary",
            None => return Err(Fault::value("charset_unsupported", format!("collation id {collation}, which the server does not list"))),
        };
        match Charset::by_name(name).or_else(|| self.learned.get(name).cloned()) {
            Some(charset) => Ok(charset),
            None if Charset::is_supported(name) => Err(Fault::Unlearned(name.to_owned())),
            None => Err(unsupported(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_each_character_set_becomes_utf8() {
        let cases: [(&str, &[u8], &str); 6] = [
            ("latin1", &[0x80, 0xe9, 0x81], "€é\u{81}"),
            ("utf8mb4", "é😀".as_bytes(), "é😀"),
            ("utf16", &[0xd8, 0x3d, 0xde, 0x00], "😀"),
            ("utf16le", &[0x3d, 0xd8, 0x00, 0xde], "😀"),
            ("ucs2", &[0x00, 0xe9], "é"),
            ("utf32", &[0, 1, 0xf6, 0], "😀"),
        ];
        for (name, bytes, text) in cases {
            assert_eq!(Charset::by_name(name).expect("listed").text(bytes).as_deref(), Ok(text), "{name}");
        }
    }

    #[test]
    fn bytes_outside_a_character_set_are_refused() {
        for (name, bytes) in [("utf8mb4", &[0xff_u8][..]), ("utf16", &[0xd8, 0x3d]), ("utf32", &[0, 0x11, 0, 0]), ("ucs2", &[1])] {
            assert!(Charset::by_name(name).expect("listed").text(bytes).is_err(), "{name}");
        }
    }
}
