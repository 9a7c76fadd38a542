//! Fields of the binary protocol, which lie in their packet.

use crate::binlog::bytes::{Fault, Reader};

/// A value as the server sent it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Field<'a> {
    Null,
    Int(i64),
    UInt(u64),
    Float(f32),
    Double(f64),
    /// Everything that has no form of its own.
    Bytes(&'a [u8]),
    /// Year, month, day, and the time of day in microseconds.
    Date(u16, u8, u8, Clock),
    /// Negative, days, and the rest.
    Time(bool, u32, Clock),
}

/// Hours, minutes, seconds and microseconds.
pub(crate) type Clock = (u8, u8, u8, u32);

/// How a column's fields are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Column {
    /// The protocol's number of a type.
    type_code: u8,
    is_unsigned: bool,
    /// The number of the collation that texts have.
    pub(crate) collation: u16,
}

/// `UNSIGNED_FLAG`.
const UNSIGNED: u16 = 0x20;

impl Column {
    /// Reads a column's definition.
    pub(super) fn read(packet: &[u8]) -> Result<Column, Fault> {
        let mut reader = Reader::new(packet, "column definition");
        // Catalog, schema, table, original table, name, original name.
        for _ in 0..6 {
            reader.prefixed()?;
        }
        // The length of what follows; character set, length of values.
        reader.length()?;
        let collation = reader.u16()?;
        reader.take(4)?;
        let type_code = reader.u8()?;
        Ok(Column { type_code, is_unsigned: reader.u16()? & UNSIGNED != 0, collation })
    }

    fn field<'a>(self, reader: &mut Reader<'a>) -> Result<Field<'a>, Fault> {
        let int = |number: i64, unsigned: u64| if self.is_unsigned { Field::UInt(unsigned) } else { Field::Int(number) };
        Ok(match self.type_code {
            1 => {
                let [byte] = reader.array()?;
                int(i64::from(byte.cast_signed()), u64::from(byte))
            }
            // SHORT, YEAR.
            2 | 13 => {
                let number = reader.u16()?;
                int(i64::from(number.cast_signed()), u64::from(number))
            }
            // LONG, INT24.
            3 | 9 => {
                let number = reader.u32()?;
                int(i64::from(number.cast_signed()), u64::from(number))
            }
            8 => {
                let number = reader.u64()?;
                int(number.cast_signed(), number)
            }
            4 => Field::Float(f32::from_le_bytes(reader.array()?)),
            5 => Field::Double(f64::from_le_bytes(reader.array()?)),
            6 => Field::Null,
            // TIMESTAMP, DATE, DATETIME.
            7 | 10 | 12 => date(reader)?,
            11 => time(reader)?,
            // DECIMAL, VARCHAR, BIT, VECTOR, JSON, NEWDECIMAL, ENUM, SET, the blobs, VAR_STRING, STRING, GEOMETRY.
            0 | 15 | 16 | 242 | 245..=255 => Field::Bytes(reader.prefixed()?),
            _ => return Err(Fault::Malformed("row: a column of an unknown type")),
        })
    }
}

fn date<'a>(reader: &mut Reader<'_>) -> Result<Field<'a>, Fault> {
    let length = reader.u8()?;
    let mut rest = Reader::new(reader.take(usize::from(length))?, "date");
    // Zeros at the end are left out.
    if rest.is_empty() {
        return Ok(Field::Date(0, 0, 0, Clock::default()));
    }
    let (year, month, day) = (rest.u16()?, rest.u8()?, rest.u8()?);
    Ok(Field::Date(year, month, day, clock(&mut rest)?))
}

fn time<'a>(reader: &mut Reader<'_>) -> Result<Field<'a>, Fault> {
    let length = reader.u8()?;
    let mut rest = Reader::new(reader.take(usize::from(length))?, "time");
    if rest.is_empty() {
        return Ok(Field::Time(false, 0, Clock::default()));
    }
    let (negative, days) = (rest.u8()? == 1, rest.u32()?);
    Ok(Field::Time(negative, days, clock(&mut rest)?))
}

fn clock(rest: &mut Reader<'_>) -> Result<Clock, Fault> {
    if rest.is_empty() {
        return Ok(Clock::default());
    }
    let (hours, minutes, seconds) = (rest.u8()?, rest.u8()?, rest.u8()?);
    Ok((hours, minutes, seconds, if rest.is_empty() { 0 } else { rest.u32()? }))
}

/// The fields of a row, in order.
pub(crate) fn fields<'a>(packet: &'a [u8], columns: &'a [Column]) -> Result<impl Iterator<Item = Result<Field<'a>, Fault>>, Fault> {
    let mut reader = Reader::new(packet, "row");
    reader.u8()?;
    // The first two bits are reserved.
    let nulls = reader.take((columns.len() + 2).div_ceil(8))?;
    Ok(columns.iter().enumerate().map(move |(index, column)| {
        let bit = index + 2;
        if nulls[bit / 8] >> (bit % 8) & 1 == 1 { Ok(Field::Null) } else { column.field(&mut reader) }
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn column(type_code: u8, is_unsigned: bool) -> Column {
        Column { type_code, is_unsigned, collation: 63 }
    }

    fn read<'a>(columns: &'a [Column], packet: &'a [u8]) -> Vec<Field<'a>> {
        fields(packet, columns).expect("it has a head").map(|field| field.expect("well formed")).collect()
    }

    #[test]
    fn every_form_is_read() {
        let columns = [
            column(1, false),
            column(1, true),
            column(8, false),
            column(253, false),
            column(3, false),
            column(12, false),
            column(10, false),
            column(11, false),
            column(5, false),
        ];
        // The fifth is NULL: bit 6.
        let mut packet = vec![0, 0b0100_0000, 0];
        packet.extend([0xff, 0xff]);
        packet.extend((-2_i64).to_le_bytes());
        packet.extend([2, b'h', b'i']);
        packet.extend([11, 0xe9, 7, 12, 31, 23, 59, 58, 1, 0, 0, 0]);
        packet.extend([0]);
        packet.extend([8, 1, 34, 0, 0, 0, 22, 59, 59]);
        packet.extend(1.5_f64.to_le_bytes());
        let wanted = [
            Field::Int(-1),
            Field::UInt(255),
            Field::Int(-2),
            Field::Bytes(b"hi"),
            Field::Null,
            Field::Date(2025, 12, 31, (23, 59, 58, 1)),
            Field::Date(0, 0, 0, (0, 0, 0, 0)),
            Field::Time(true, 34, (22, 59, 59, 0)),
            Field::Double(1.5),
        ];
        assert_eq!(read(&columns, &packet), wanted);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(packet in proptest::collection::vec(any::<u8>(), 0..80), types in proptest::collection::vec(any::<(u8, bool)>(), 0..12)) {
            let columns: Vec<Column> = types.into_iter().map(|(type_code, is_unsigned)| column(type_code, is_unsigned)).collect();
            if let Ok(found) = fields(&packet, &columns) {
                let _ = found.count();
            }
            let _ = Column::read(&packet);
        }
    }
}
