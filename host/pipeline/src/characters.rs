//! Characters that a task replaces or leaves out in text columns, and the character set that the target's texts are kept to.
//!
//! ```text
//!   row of the source ─▶ replace characters ─▶ limit large values ─▶ modules ─▶ target
//! ```
//!
//! First each character that is named becomes its replacement, then each character outside of the set becomes another one.
//! Both happen before anything else sees the row, as if the source had it so: what comes out is a function of the value alone,
//! and the same in a load, in an insert and in the old and new images of updates and deletes. So a row whose key is concerned is
//! found again. Two keys that become equal are two rows with one key, which the target refuses.
//!
//! Text columns are those of the source whose type is text; JSON, arrays, enumerations and bytes are none. Tables without such
//! columns, and tasks that ask for nothing, pay nothing; others pay a look at each byte of their texts.

use std::collections::HashMap;
use std::sync::Arc;

use encoding_rs::Encoding;
use tidegate_connector::{Finding, SourceTable};
use tidegate_model::{Cell, Row, RowBatch, RowBuilder, RowChange, SqlType};

/// The character sets by the names that settings have for them. Those of one or two bytes are what browsers understand by the
/// name (WHATWG, "Encoding"), which fills the holes of the Windows sets with the control characters of the same number.
const SETS: [(&str, Set); 36] = [
    ("utf-8", Set::Unicode),
    ("utf-16", Set::UpTo('\u{ffff}')),
    ("us-ascii", Set::UpTo('\u{7f}')),
    ("iso-8859-1", Set::UpTo('\u{ff}')),
    ("iso-8859-2", Set::Coded(encoding_rs::ISO_8859_2)),
    ("iso-8859-3", Set::Coded(encoding_rs::ISO_8859_3)),
    ("iso-8859-4", Set::Coded(encoding_rs::ISO_8859_4)),
    ("iso-8859-5", Set::Coded(encoding_rs::ISO_8859_5)),
    ("iso-8859-6", Set::Coded(encoding_rs::ISO_8859_6)),
    ("iso-8859-7", Set::Coded(encoding_rs::ISO_8859_7)),
    ("iso-8859-8", Set::Coded(encoding_rs::ISO_8859_8)),
    ("iso-8859-10", Set::Coded(encoding_rs::ISO_8859_10)),
    ("iso-8859-13", Set::Coded(encoding_rs::ISO_8859_13)),
    ("iso-8859-14", Set::Coded(encoding_rs::ISO_8859_14)),
    ("iso-8859-15", Set::Coded(encoding_rs::ISO_8859_15)),
    ("iso-8859-16", Set::Coded(encoding_rs::ISO_8859_16)),
    ("windows-1250", Set::Coded(encoding_rs::WINDOWS_1250)),
    ("windows-1251", Set::Coded(encoding_rs::WINDOWS_1251)),
    ("windows-1252", Set::Coded(encoding_rs::WINDOWS_1252)),
    ("windows-1253", Set::Coded(encoding_rs::WINDOWS_1253)),
    ("windows-1254", Set::Coded(encoding_rs::WINDOWS_1254)),
    ("windows-1255", Set::Coded(encoding_rs::WINDOWS_1255)),
    ("windows-1256", Set::Coded(encoding_rs::WINDOWS_1256)),
    ("windows-1257", Set::Coded(encoding_rs::WINDOWS_1257)),
    ("windows-1258", Set::Coded(encoding_rs::WINDOWS_1258)),
    ("windows-874", Set::Coded(encoding_rs::WINDOWS_874)),
    ("koi8-r", Set::Coded(encoding_rs::KOI8_R)),
    ("koi8-u", Set::Coded(encoding_rs::KOI8_U)),
    ("ibm866", Set::Coded(encoding_rs::IBM866)),
    ("macintosh", Set::Coded(encoding_rs::MACINTOSH)),
    ("gbk", Set::Coded(encoding_rs::GBK)),
    ("big5", Set::Coded(encoding_rs::BIG5)),
    ("euc-jp", Set::Coded(encoding_rs::EUC_JP)),
    ("shift-jis", Set::Coded(encoding_rs::SHIFT_JIS)),
    ("euc-kr", Set::Coded(encoding_rs::EUC_KR)),
    ("gb18030", Set::Unicode),
];

#[derive(Clone, Copy)]
enum Set {
    Unicode,
    UpTo(char),
    Coded(&'static Encoding),
}

/// A set of characters that texts of a target are kept to.
#[derive(Clone, Copy)]
pub struct CharacterSet {
    name: &'static str,
    set: Set,
}

impl CharacterSet {
    /// By the name in a task's settings.
    pub fn by_name(name: &str) -> Option<Self> {
        SETS.iter().find(|(known, _)| *known == name).map(|(name, set)| Self { name, set: *set })
    }

    /// All names, in the order of the documentation.
    pub fn names() -> impl Iterator<Item = &'static str> {
        SETS.iter().map(|(name, _)| *name)
    }

    /// True for a character of the set.
    pub fn has(self, character: char) -> bool {
        match self.set {
            Set::Unicode => true,
            Set::UpTo(last) => character <= last,
            Set::Coded(encoding) => character.is_ascii() || has_all(encoding, character.encode_utf8(&mut [0; 4])),
        }
    }

    /// True when there is nothing outside of it in the text, or nothing can be.
    fn has_all(self, text: &str) -> bool {
        match self.set {
            Set::Unicode => true,
            Set::UpTo(_) => text.chars().all(|character| self.has(character)),
            Set::Coded(encoding) => has_all(encoding, text),
        }
    }

    /// True for a byte of UTF-8 with which a character outside of the set may begin.
    fn may_leave(self, lead: u8) -> bool {
        match self.set {
            Set::Unicode => false,
            Set::UpTo('\u{ffff}') => lead >= 0xf0,
            Set::UpTo(_) | Set::Coded(_) => lead >= 0xc0,
        }
    }
}

impl std::fmt::Debug for CharacterSet {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.name)
    }
}

impl PartialEq for CharacterSet {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for CharacterSet {}

fn has_all(encoding: &'static Encoding, text: &str) -> bool {
    let (_, _, has_others) = encoding.encode(text);
    !has_others
}

/// What a task wants of the characters in its text columns. DMS: `CharacterSetSettings`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Characters {
    /// What each of these becomes; `None` leaves it out.
    pub replacements: HashMap<char, Option<char>>,
    /// Characters outside of the set, after the replacements, become the other one; `None` leaves them out.
    pub kept_to: Option<(CharacterSet, Option<char>)>,
}

impl Characters {
    /// True when every text stays as it is.
    pub fn is_nothing(&self) -> bool {
        self.replacements.is_empty() && self.kept_to.is_none_or(|(set, _)| matches!(set.set, Set::Unicode))
    }

    /// The text as the target gets it; `None`: as it is.
    fn of_text(&self, text: &str) -> Option<String> {
        let is_named = |character: char| self.replacements.contains_key(&character);
        let leaves = |text: &str| self.kept_to.is_some_and(|(set, _)| !set.has_all(text));
        if !text.chars().any(is_named) && !leaves(text) {
            return None;
        }
        let one = |character: char| {
            let replaced = self.replacements.get(&character).copied().unwrap_or(Some(character))?;
            match self.kept_to {
                Some((set, instead)) if !set.has(replaced) => instead,
                _ => Some(replaced),
            }
        };
        Some(text.chars().filter_map(one).collect())
    }
}

/// What happens to the characters of one table's rows.
#[derive(Debug, Clone, Default)]
pub(crate) struct CharacterPlan {
    /// Indexes of source columns, ascending; none in most tasks.
    columns: Vec<usize>,
    characters: Arc<Characters>,
    /// Bytes that a character which is replaced may begin with; empty without columns.
    leads: Vec<bool>,
}

impl CharacterPlan {
    pub(crate) fn new(characters: Option<&Arc<Characters>>, source: &SourceTable) -> Self {
        let Some(characters) = characters.filter(|characters| !characters.is_nothing()) else { return Self::default() };
        let is_text = |index: &usize| matches!(source.schema.columns[*index].sql_type, SqlType::Text { .. });
        let mut leads: Vec<bool> = (0..=u8::MAX).map(|lead| characters.kept_to.is_some_and(|(set, _)| set.may_leave(lead))).collect();
        for character in characters.replacements.keys() {
            leads[usize::from(character.encode_utf8(&mut [0; 4]).as_bytes()[0])] = true;
        }
        Self { columns: (0..source.schema.columns.len()).filter(is_text).collect(), characters: characters.clone(), leads }
    }

    /// The bytes as the target gets them; `None`: as they are. What is no text is left for others to refuse.
    fn replaced(&self, cell: Option<Cell<'_>>) -> Option<String> {
        let (Cell::Binary(bytes) | Cell::Text(bytes)) = cell? else { return None };
        if !bytes.iter().any(|byte| self.leads[usize::from(*byte)]) {
            return None;
        }
        self.characters.of_text(std::str::from_utf8(bytes).ok()?)
    }

    fn row(&self, row: Row) -> Row {
        let mut replaced = self.columns.iter().filter_map(|index| Some((*index, self.replaced(row.cell(*index))?))).peekable();
        if replaced.peek().is_none() {
            return row;
        }
        let mut builder = RowBuilder::with_capacity(row.len(), row.bytes_held());
        for (index, cell) in row.cells().enumerate() {
            match (replaced.next_if(|(at, _)| *at == index), cell) {
                (Some((_, text)), Cell::Text(_)) => builder.push(Cell::Text(text.as_bytes())),
                (Some((_, text)), _) => builder.push(Cell::Binary(text.as_bytes())),
                (None, _) => builder.push_of(&row, index),
            }
        }
        builder.finish()
    }

    /// The change as if the source had its characters so.
    pub(crate) fn change(&self, change: RowChange) -> RowChange {
        if self.columns.is_empty() {
            return change;
        }
        match change {
            RowChange::Insert { new } => RowChange::Insert { new: self.row(new) },
            RowChange::Update { old, new } => RowChange::Update { old: old.map(|old| self.row(old)), new: self.row(new) },
            RowChange::Delete { old } => RowChange::Delete { old: self.row(old) },
        }
    }

    /// Rows of a full load, likewise.
    pub(crate) fn rows(&self, rows: RowBatch) -> RowBatch {
        let is_concerned = |row: usize| self.columns.iter().any(|column| self.replaced(rows.cell(row, *column)).is_some());
        let Some(first) = (0..rows.len()).find(|row| is_concerned(*row)) else { return rows };
        let mut made = RowBatch::with_capacity(rows.cells(), rows.len(), 0);
        for (index, row) in rows.iter().enumerate() {
            let row = if index < first { row } else { self.row(row) };
            made.push_row(&row);
        }
        made
    }

    /// What the check says: keys that differ may become equal.
    pub(crate) fn finding(&self, source: &SourceTable) -> Option<Finding> {
        let schema = &source.schema;
        let keys = schema.unique_keys.iter().chain([&schema.primary_key]);
        let mut columns: Vec<usize> = keys.flatten().copied().filter(|index| self.columns.contains(index)).collect();
        columns.sort_unstable();
        columns.dedup();
        let names: Vec<String> = columns.iter().map(|index| format!("\"{}\"", schema.columns[*index].name)).collect();
        (!names.is_empty()).then(|| {
            Finding::warning(
                "characters_in_key",
                format!("table \"{}\"", schema.name),
                format!("text in keys, whose characters the task replaces: {}", names.join(", ")),
                "keys that stay different; two that become equal stop the table",
            )
        })
    }
}

#[cfg(test)]
#[path = "characters_tests.rs"]
mod tests;
