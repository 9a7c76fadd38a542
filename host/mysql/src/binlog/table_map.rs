//! TABLE_MAP events with full metadata: what a table looked like when its rows were logged.
//!
//! Names, keys, signedness, character sets and labels come from the event itself, so no history of DDL is kept. The
//! traps: which columns count for the signedness bits (YEAR and DECIMAL do), which for character sets (GEOMETRY does
//! on MariaDB), and collation ids above 255. Format: MySQL's libs/mysql/binlog/event/rows_event.h.

use tidegate_model::TableName;

use super::bytes::{Fault, Reader};
use crate::charset::{Charset, Collations};

/// A column's type as the event gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WireType {
    /// The type code; the real one for ENUM and SET.
    pub(crate) code: u8,
    /// The first byte of metadata; for strings and VARCHAR, unused.
    pub(crate) first: u8,
    /// The second byte of metadata.
    pub(crate) second: u8,
    /// Greatest length in bytes, for strings, VARCHAR and the packed length of ENUM and SET.
    pub(crate) length: u16,
}

/// A column as the event describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WireColumn {
    pub(crate) name: String,
    pub(crate) wire: WireType,
    pub(crate) unsigned: bool,
    pub(crate) nullable: bool,
    /// Of character columns; `Err` keeps the reason for the column that needs it.
    pub(crate) charset: Option<Result<Charset, Fault>>,
    /// Of ENUM and SET columns.
    pub(crate) labels: Vec<String>,
}

/// A table as the event describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableMap {
    pub(crate) table: TableName,
    pub(crate) columns: Vec<WireColumn>,
    pub(crate) primary_key: Vec<usize>,
}

/// The head of the event: its number and name, read without the rest.
pub(crate) struct TableMapHead<'a> {
    pub(crate) id: u64,
    pub(crate) table: TableName,
    rest: Reader<'a>,
}

/// Reads number and name; enough for tables that no task asks for.
pub(crate) fn table_map_head(body: &[u8]) -> Result<TableMapHead<'_>, Fault> {
    let mut reader = Reader::new(body, "table map event");
    let id = reader.uint_le(6)?;
    reader.u16()?;
    let mut name = || -> Result<String, Fault> {
        let length = reader.count()?;
        let name = std::str::from_utf8(reader.take(length)?).map_err(|_| Fault::Malformed("table name"))?.to_owned();
        if reader.u8()? == 0 { Ok(name) } else { Err(Fault::Malformed("table name")) }
    };
    let (schema, name) = (name()?, name()?);
    Ok(TableMapHead { id, table: TableName { schema, name }, rest: reader })
}

#[derive(Default)]
struct Metadata<'a> {
    signedness: Option<&'a [u8]>,
    charsets: Option<Vec<u32>>,
    label_charsets: Option<Vec<u32>>,
    names: Option<Vec<String>>,
    set_labels: Vec<Vec<&'a [u8]>>,
    enum_labels: Vec<Vec<&'a [u8]>>,
    primary_key: Vec<usize>,
}

impl TableMapHead<'_> {
    /// Reads the rest. `mariadb` decides whether GEOMETRY counts as a character column.
    ///
    /// # Errors
    /// `row_metadata` when the event has no full metadata; [`Fault::Unlearned`].
    pub(crate) fn read(mut self, collations: &Collations, mariadb: bool) -> Result<TableMap, Fault> {
        let count = self.rest.count()?;
        let codes = self.rest.take(count)?;
        let mut meta = Reader::new(self.rest.prefixed()?, "column metadata");
        let wires = codes.iter().map(|code| wire_type(*code, &mut meta)).collect::<Result<Vec<_>, _>>()?;
        let null_bits = self.rest.take(count.div_ceil(8))?;
        let is_character = |wire: &WireType| matches!(wire.code, 15 | 140 | 141 | 249..=254) || (mariadb && wire.code == 255);
        let is_label = |wire: &WireType| matches!(wire.code, 247 | 248);
        let characters = wires.iter().filter(|wire| is_character(wire)).count();
        let labelled = wires.iter().filter(|wire| is_label(wire)).count();
        let metadata = read_metadata(&mut self.rest, characters, labelled)?;
        let absent = || Fault::value("row_metadata", "no full metadata in the binary log (binlog_row_metadata is not FULL)");
        let names = metadata.names.ok_or_else(absent)?;
        if names.len() != count || metadata.primary_key.iter().any(|index| *index >= count) {
            return Err(Fault::Malformed("table map metadata"));
        }
        let mut columns = Vec::with_capacity(count);
        let (mut numeric, mut character, mut label) = (0, 0, 0);
        let (mut enums, mut sets) = (metadata.enum_labels.into_iter(), metadata.set_labels.into_iter());
        for (index, (name, wire)) in names.into_iter().zip(wires).enumerate() {
            let mut column = WireColumn { name, wire, unsigned: false, nullable: bit(null_bits, index), charset: None, labels: Vec::new() };
            if is_numeric(wire.code) {
                let bits = metadata.signedness.ok_or_else(absent)?;
                column.unsigned = bits.get(numeric / 8).ok_or(Fault::Malformed("signedness"))? >> (7 - numeric % 8) & 1 == 1;
                numeric += 1;
            } else if is_character(&wire) {
                let collation = metadata.charsets.as_ref().and_then(|all| all.get(character)).ok_or_else(absent)?;
                column.charset = match collations.charset(*collation) {
                    Err(unlearned @ Fault::Unlearned(_)) => return Err(unlearned),
                    found => Some(found),
                };
                character += 1;
            } else if is_label(&wire) {
                let collation = metadata.label_charsets.as_ref().and_then(|all| all.get(label)).ok_or_else(absent)?;
                let raw = if wire.code == 247 { enums.next() } else { sets.next() };
                let charset = collations.charset(*collation)?;
                column.labels = raw.ok_or_else(absent)?.into_iter().map(|text| charset.text(text)).collect::<Result<_, _>>()?;
                label += 1;
            }
            columns.push(column);
        }
        Ok(TableMap { table: self.table, columns, primary_key: metadata.primary_key })
    }
}

fn wire_type(code: u8, meta: &mut Reader<'_>) -> Result<WireType, Fault> {
    let mut wire = WireType { code, first: 0, second: 0, length: 0 };
    match code {
        // FLOAT, DOUBLE, TIMESTAMP2, DATETIME2, TIME2, compressed BLOB, VECTOR, JSON, the BLOBs, GEOMETRY.
        4 | 5 | 17 | 18 | 19 | 140 | 242 | 245 | 249..=252 | 255 => wire.first = meta.u8()?,
        // VARCHAR, compressed VARCHAR, VAR_STRING.
        15 | 141 | 253 => wire.length = meta.u16()?,
        // BIT, NEWDECIMAL, ENUM, SET.
        16 | 246 | 247 | 248 => {
            (wire.first, wire.second) = (meta.u8()?, meta.u8()?);
            wire.length = u16::from(wire.second);
        }
        // STRING hides ENUM and SET, and two bits of its length in its type.
        254 => {
            let (first, second) = (meta.u8()?, meta.u8()?);
            if first & 0x30 == 0x30 || first == 0 {
                wire.length = u16::from(second);
                wire.code = if first == 0 { 254 } else { first };
            } else {
                wire.length = u16::from(second) | u16::from((first & 0x30) ^ 0x30) << 4;
                wire.code = first | 0x30;
            }
            if !matches!(wire.code, 247 | 248 | 254) {
                return Err(Fault::Malformed("column metadata"));
            }
        }
        // Integers, old temporal types, YEAR.
        0..=3 | 7..=14 => {}
        _ => return Err(Fault::value("column_type", format!("column type code {code}, which is not supported"))),
    }
    Ok(wire)
}

/// Types that have a bit in the signedness field: integers, FLOAT, DOUBLE, YEAR, DECIMAL.
fn is_numeric(code: u8) -> bool {
    matches!(code, 0..=5 | 8 | 9 | 13 | 246)
}

fn bit(bits: &[u8], index: usize) -> bool {
    bits.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 1)
}

fn read_metadata<'a>(reader: &mut Reader<'a>, characters: usize, labelled: usize) -> Result<Metadata<'a>, Fault> {
    let mut metadata = Metadata::default();
    while !reader.is_empty() {
        let field = reader.u8()?;
        let bytes = reader.prefixed()?;
        let mut value = Reader::new(bytes, "table map metadata");
        match field {
            1 => metadata.signedness = Some(bytes),
            2 => metadata.charsets = Some(default_charsets(&mut value, characters)?),
            3 => metadata.charsets = Some(lengths(&mut value)?),
            4 => metadata.names = Some(names(&mut value)?),
            5 => metadata.set_labels = labels(&mut value)?,
            6 => metadata.enum_labels = labels(&mut value)?,
            8 => metadata.primary_key = lengths(&mut value)?.into_iter().map(|index| index as usize).collect(),
            9 => {
                // Pairs of column and prefix length.
                metadata.primary_key = lengths(&mut value)?.chunks(2).map(|pair| pair[0] as usize).collect();
            }
            10 => metadata.label_charsets = Some(default_charsets(&mut value, labelled)?),
            11 => metadata.label_charsets = Some(lengths(&mut value)?),
            // Geometry types, visibility, vector dimensions and what later versions add: nothing that rows need.
            _ => {}
        }
    }
    Ok(metadata)
}

fn small(reader: &mut Reader<'_>) -> Result<u32, Fault> {
    u32::try_from(reader.length()?).map_err(|_| reader.fault())
}

fn lengths(reader: &mut Reader<'_>) -> Result<Vec<u32>, Fault> {
    let mut all = Vec::new();
    while !reader.is_empty() {
        all.push(small(reader)?);
    }
    Ok(all)
}

/// A default collation, then pairs of index and collation for columns that differ.
fn default_charsets(reader: &mut Reader<'_>, count: usize) -> Result<Vec<u32>, Fault> {
    let mut all = vec![small(reader)?; count];
    while !reader.is_empty() {
        let index = small(reader)? as usize;
        *all.get_mut(index).ok_or(Fault::Malformed("character sets"))? = small(reader)?;
    }
    Ok(all)
}

fn names(reader: &mut Reader<'_>) -> Result<Vec<String>, Fault> {
    let mut all = Vec::new();
    while !reader.is_empty() {
        let name = std::str::from_utf8(reader.prefixed()?).map_err(|_| Fault::Malformed("column name"))?;
        all.push(name.to_owned());
    }
    Ok(all)
}

fn labels<'a>(reader: &mut Reader<'a>) -> Result<Vec<Vec<&'a [u8]>>, Fault> {
    let mut all = Vec::new();
    while !reader.is_empty() {
        let count = reader.count()?;
        if count > reader.len() {
            return Err(reader.fault());
        }
        all.push((0..count).map(|_| reader.prefixed()).collect::<Result<Vec<_>, _>>()?);
    }
    Ok(all)
}
