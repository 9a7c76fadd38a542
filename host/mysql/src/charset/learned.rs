//! Character sets whose tables the server itself is asked for.
//!
//! What a name stands for differs between servers, and from what other programs call so. So no table is compiled in: the server
//! that has the text converts every code that the character set may have, once, and a code that it makes one character of is text.
//! For codes without a character the server writes `?`; here they are no text, and refused.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, OnceLock};

use mysql_async::Conn;
use tidegate_connector::ConnectorError;
use tokio::sync::Mutex;

use super::Charset;
use crate::connect::{Connector, rows};

/// Of a character set that is learnt from the server, the most bytes that a code takes (`mbmaxlen`); `None` for every other.
fn bytes_per_char(name: &str) -> Option<u32> {
    Some(match name {
        "armscii8" | "cp1250" | "cp1251" | "cp1256" | "cp1257" | "cp850" | "cp852" | "cp866" | "dec8" | "geostd8" | "greek" | "hebrew"
        | "hp8" | "keybcs2" | "koi8r" | "koi8u" | "latin2" | "latin5" | "latin7" | "macce" | "macroman" | "swe7" | "tis620" => 1,
        "big5" | "cp932" | "euckr" | "gb2312" | "gbk" | "sjis" => 2,
        "eucjpms" | "ujis" => 3,
        "gb18030" => 4,
        _ => return None,
    })
}

/// True when the server can be asked for the character set's table.
pub(super) fn is_learnable(name: &str) -> bool {
    bytes_per_char(name).is_some()
}

/// The character sets that one source was asked for; all 32 together take less than 3 MB.
#[derive(Debug, Clone, Default)]
pub(crate) struct Charsets(Arc<Mutex<HashMap<String, Charset>>>);

impl Charsets {
    /// By the server's name; `None` for one that is not supported. Asks at most once for each.
    pub(crate) async fn get(&self, connector: &Connector, name: &str) -> Result<Option<Charset>, ConnectorError> {
        let Some(bytes_per_char) = bytes_per_char(name) else { return Ok(Charset::by_name(name)) };
        let mut known = self.0.lock().await;
        if let Some(charset) = known.get(name) {
            return Ok(Some(charset.clone()));
        }
        let mut conn = connector.open().await?;
        let charset = Charset::Learned(Learned(Arc::new(Table::learn(&mut conn, name, bytes_per_char).await?)));
        let _ = conn.disconnect().await;
        known.insert(name.to_owned(), charset.clone());
        Ok(Some(charset))
    }
}

/// A table that was learnt; equal only to itself.
#[derive(Clone)]
pub(crate) struct Learned(Arc<Table>);

impl std::ops::Deref for Learned {
    type Target = Table;

    fn deref(&self) -> &Table {
        &self.0
    }
}

impl PartialEq for Learned {
    fn eq(&self, other: &Learned) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Learned {}

impl fmt::Debug for Learned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.name)
    }
}

/// What a byte is, behind those that led to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    NoText,
    /// It completes the code of a character.
    Char(char),
    /// Another byte follows, which this page tells of.
    Page(u16),
}

/// The characters of a character set by their codes.
pub(crate) struct Table {
    name: String,
    bytes_per_char: u32,
    /// The first page is that of first bytes.
    pages: Vec<[Code; 256]>,
    /// Codes of four bytes of gb18030, by their number, as far as they stand for characters up to U+FFFF.
    fours: Vec<Option<char>>,
    /// Counted for the first key that asks.
    repeated: OnceLock<usize>,
}

/// Bytes of a gb18030 code of four bytes: the first and third, and the second and fourth. Source: GB 18030-2005.
const FOUR_ODD: (u8, u8) = (0x81, 0xfe);
const FOUR_EVEN: (u8, u8) = (0x30, 0x39);

/// The greatest first byte of a code of four bytes up to U+FFFF (84 31 a4 39), and the number of the code of U+10000 (90 30 81 30), from
/// which on numbers and characters rise together. Source: GB 18030-2005.
const FOUR_BASIC_LAST: u8 = 0x84;
const FOUR_SUPPLEMENTARY: u32 = (0x90 - 0x81) * 12_600;

/// The first byte of codes of three bytes, in `ujis` and `eucjpms` alone (JIS X 0212).
const THREE_FIRST: u8 = 0x8f;

impl Table {
    fn new(name: &str, bytes_per_char: u32) -> Table {
        Table { name: name.to_owned(), bytes_per_char, pages: vec![[Code::NoText; 256]], fours: Vec::new(), repeated: OnceLock::new() }
    }

    async fn learn(conn: &mut Conn, name: &str, bytes_per_char: u32) -> Result<Table, ConnectorError> {
        let mut table = Table::new(name, bytes_per_char);
        let every: Vec<u8> = (0..=255).collect();
        let high: Vec<u8> = (0x80..=0xff).collect();
        for (code, letter) in ask(conn, name, &[&every]).await? {
            table.put(&code, letter);
        }
        if bytes_per_char > 1 {
            let first: Vec<u8> = every.iter().copied().filter(|byte| table.pages[0][usize::from(*byte)] == Code::NoText).collect();
            for (code, letter) in ask(conn, name, &[&first, &every]).await? {
                table.put(&code, letter);
            }
        }
        if bytes_per_char == 3 {
            for (code, letter) in ask(conn, name, &[&[THREE_FIRST], &high, &high]).await? {
                table.put(&code, letter);
            }
        }
        if bytes_per_char == 4 {
            let first: Vec<u8> = (FOUR_ODD.0..=FOUR_BASIC_LAST).collect();
            let odd: Vec<u8> = (FOUR_ODD.0..=FOUR_ODD.1).collect();
            let even: Vec<u8> = (FOUR_EVEN.0..=FOUR_EVEN.1).collect();
            table.fours = vec![None; first.len() * even.len() * odd.len() * even.len()];
            for (code, letter) in ask(conn, name, &[&first, &even, &odd, &even]).await? {
                if let Some(place) = four_number(&code).and_then(|number| table.fours.get_mut(number as usize)) {
                    *place = Some(letter);
                }
            }
        }
        Ok(table)
    }

    fn put(&mut self, code: &[u8], letter: char) {
        let Some((last, before)) = code.split_last() else { return };
        let mut page = 0;
        for byte in before {
            page = match self.pages[page][usize::from(*byte)] {
                Code::Page(next) => usize::from(next),
                Code::NoText | Code::Char(_) => {
                    let next = self.pages.len();
                    self.pages[page][usize::from(*byte)] = Code::Page(u16::try_from(next).expect("two bytes lead to fewer pages"));
                    self.pages.push([Code::NoText; 256]);
                    next
                }
            };
        }
        self.pages[page][usize::from(*last)] = Code::Char(letter);
    }

    pub(super) fn bytes_per_char(&self) -> u32 {
        self.bytes_per_char
    }

    /// The first character of `bytes`, and the bytes that it takes; `None` when they begin with no character.
    pub(super) fn first_char(&self, bytes: &[u8]) -> Option<(char, usize)> {
        let mut page = self.pages.first()?;
        for (index, byte) in bytes.iter().enumerate() {
            match page[usize::from(*byte)] {
                Code::Char(letter) => return Some((letter, index + 1)),
                Code::Page(next) => page = self.pages.get(usize::from(next))?,
                Code::NoText => break,
            }
        }
        Some((self.of_four(bytes)?, 4))
    }

    fn of_four(&self, bytes: &[u8]) -> Option<char> {
        if self.fours.is_empty() {
            return None;
        }
        let number = four_number(bytes.get(..4)?)?;
        match number.checked_sub(FOUR_SUPPLEMENTARY) {
            Some(beyond) => char::from_u32(0x1_0000 + beyond),
            None => *self.fours.get(number as usize)?,
        }
    }

    /// How many codes stand for a character that an earlier code has: keys that differ in them are one text.
    pub(crate) fn repeated(&self) -> usize {
        *self.repeated.get_or_init(|| self.count_repeated())
    }

    fn count_repeated(&self) -> usize {
        let mut seen = HashSet::new();
        let pages = self.pages.iter().flatten().filter_map(|code| match code {
            Code::Char(letter) => Some(letter),
            Code::NoText | Code::Page(_) => None,
        });
        pages.chain(self.fours.iter().flatten()).filter(|letter| !seen.insert(**letter)).count()
    }
}

/// The number of a gb18030 code of four bytes, in their order.
fn four_number(code: &[u8]) -> Option<u32> {
    let digit = |byte: u8, (from, to): (u8, u8)| (from..=to).contains(&byte).then(|| u32::from(byte - from));
    let &[one, two, three, four] = code else { return None };
    let number = digit(one, FOUR_ODD)? * 10 + digit(two, FOUR_EVEN)?;
    Some((number * 126 + digit(three, FOUR_ODD)?) * 10 + digit(four, FOUR_EVEN)?)
}

/// Of all codes of these bytes, one list for each place, those that the server has a character for.
async fn ask(conn: &mut Conn, name: &str, places: &[&[u8]]) -> Result<Vec<(Vec<u8>, char)>, ConnectorError> {
    let what = format!("learn the codes of character set \"{name}\"");
    let found: Vec<(u64, Option<String>)> = rows(conn, &what, &codes_sql(name, places)).await?;
    let bytes = |code: u64| code.to_be_bytes()[8 - places.len()..].to_vec();
    Ok(found.into_iter().filter_map(|(code, text)| Some((bytes(code), only_char(code, &text?)?))).collect())
}

/// The character that a code stands for. The server writes `?` for a code without one.
fn only_char(code: u64, text: &str) -> Option<char> {
    let mut letters = text.chars();
    let letter = letters.next()?;
    (letters.next().is_none() && (letter != '?' || code == u64::from(b'?'))).then_some(letter)
}

/// Every code as a number, with the text that the server makes of it.
fn codes_sql(name: &str, places: &[&[u8]]) -> String {
    let digits = (1..16).fold("select 0".to_owned(), |sql, digit| format!("{sql} union all select {digit}"));
    let (mut code, mut from, mut among) = ("0".to_owned(), Vec::new(), Vec::new());
    for (place, bytes) in places.iter().enumerate() {
        let list = bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
        code = format!("({code}) * 256 + b{place}.n");
        from.push(format!("bytes b{place}"));
        among.push(format!("b{place}.n in ({list})"));
    }
    let (from, among, digits_wanted) = (from.join(" cross join "), among.join(" and "), 2 * places.len());
    format!(
        "with digits (n) as ({digits}), bytes (n) as (select h.n * 16 + l.n from digits h cross join digits l) \
         select code, convert(convert(unhex(lpad(hex(code), {digits_wanted}, '0')) using {name}) using utf8mb4) \
         from (select {code} code from {from} where {among}) codes"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(codes: &[(&[u8], char)]) -> Table {
        let mut table = Table::new("some", 3);
        for (code, letter) in codes {
            table.put(code, *letter);
        }
        table
    }

    #[test]
    fn codes_of_several_lengths_are_told_apart() {
        let table = table(&[(b"a", 'a'), (&[0xa4, 0xa2], 'あ'), (&[0x8f, 0xb0, 0xa1], '丂'), (&[0x8e, 0xb1], 'ｱ')]);
        assert_eq!(table.first_char(b"a\xa4\xa2"), Some(('a', 1)));
        assert_eq!(table.first_char(b"\xa4\xa2a"), Some(('あ', 2)));
        assert_eq!(table.first_char(b"\x8f\xb0\xa1"), Some(('丂', 3)));
        assert_eq!(table.first_char(b"\x8e\xb1"), Some(('ｱ', 2)));
        for bytes in [&b""[..], b"b", b"\xa4", b"\xa4a", b"\x8f\xb0", b"\x8f\xb0a"] {
            assert_eq!(table.first_char(bytes), None, "{bytes:?}");
        }
        assert_eq!(table.repeated(), 0);
    }

    #[test]
    fn codes_that_share_a_character_are_counted() {
        assert_eq!(table(&[(&[0x81, 0xe0], '≒'), (&[0x87, 0x90], '≒'), (b"a", 'a')]).repeated(), 1);
    }

    #[test]
    fn codes_of_four_bytes_reach_to_the_last_character() {
        let mut table = table(&[(b"a", 'a'), (&[0x81, 0x40], '丂')]);
        table.fours = vec![None; 4 * 12_600];
        table.fours[four_number(&[0x84, 0x31, 0xa4, 0x37]).expect("a code") as usize] = Some('\u{fffd}');
        for (code, letter) in [
            ([0x84, 0x31, 0xa4, 0x37], Some('\u{fffd}')),
            ([0x84, 0x31, 0xa4, 0x38], None),
            ([0x85, 0x30, 0x81, 0x30], None),
            ([0x8f, 0x39, 0xfe, 0x39], None),
            ([0x90, 0x30, 0x81, 0x30], Some('\u{1_0000}')),
            ([0xe3, 0x32, 0x9a, 0x35], Some('\u{10_ffff}')),
            ([0xe3, 0x32, 0x9a, 0x36], None),
            ([0xfe, 0x39, 0xfe, 0x39], None),
            ([0x81, 0x30, 0x80, 0x30], None),
        ] {
            assert_eq!(table.first_char(&code), letter.map(|letter| (letter, 4)), "{code:x?}");
        }
        assert_eq!(table.first_char(&[0x90, 0x30, 0x81]), None);
    }

    #[test]
    fn a_question_mark_stands_for_itself_alone() {
        assert_eq!(only_char(0x3f, "?"), Some('?'));
        for (code, text) in [(0x81, "?"), (0x8130, "?0"), (0x4141, "AA"), (0x81, "")] {
            assert_eq!(only_char(code, text), None);
        }
        assert_eq!(only_char(0xa1a1, "　"), Some('　'));
    }
}
