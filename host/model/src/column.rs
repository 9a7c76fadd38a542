//! Values of many rows, column by column: what modules compute.

use crate::{SqlType, Value};

/// The values of one column, in the layout of its type.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// 0 or 1 each.
    Bool8(Vec<u8>),
    /// Also dates.
    Int32(Vec<i32>),
    /// Also times.
    Int64(Vec<i64>),
    /// Unsigned.
    UInt64(Vec<u64>),
    /// Also of 32 bits.
    Float64(Vec<f64>),
    /// Where each text begins, with the end of the last one, and all texts.
    Utf8(Vec<u32>, String),
    /// Likewise, bytes.
    Binary(Vec<u32>, Vec<u8>),
}

/// A column of values, some of which may be NULL or absent.
#[derive(Debug, Clone, PartialEq)]
pub struct ValueColumn {
    /// Says how the values are to be read.
    pub sql_type: SqlType,
    /// A bit for each row, the lowest of the first byte first; too short (empty) where no bit is set.
    pub nulls: Vec<u8>,
    /// Likewise: rows without a value, which is not NULL.
    pub absent: Vec<u8>,
    /// A place for every row, whatever the bits say.
    pub values: Values,
}

impl ValueColumn {
    /// The value of a row; NULL for an absent one too.
    #[inline]
    pub fn value(&self, row: usize) -> Value<'_> {
        if bit(&self.nulls, row) || bit(&self.absent, row) {
            return Value::Null;
        }
        self.raw_value(row).unwrap_or(Value::Null)
    }

    /// True for a row without a value.
    #[inline]
    pub fn is_absent(&self, row: usize) -> bool {
        bit(&self.absent, row)
    }

    /// What stands at a row's place, whatever the bits say; `None` for what is no value of the layout.
    #[inline]
    pub fn raw_value(&self, row: usize) -> Option<Value<'_>> {
        Some(match &self.values {
            Values::Bool8(list) => Value::Bool(*list.get(row)? == 1),
            Values::Int32(list) => {
                let number = *list.get(row)?;
                match self.sql_type {
                    SqlType::Date => Value::Date(number),
                    SqlType::UInt8 | SqlType::UInt16 => Value::UInt(u64::from(number.unsigned_abs())),
                    _ => Value::Int(i64::from(number)),
                }
            }
            Values::Int64(list) => {
                let number = *list.get(row)?;
                match self.sql_type {
                    SqlType::Time => Value::Time(number),
                    SqlType::Timestamp => Value::Timestamp(number),
                    SqlType::TimestampTz => Value::TimestampTz(number),
                    SqlType::UInt32 => Value::UInt(number.unsigned_abs()),
                    _ => Value::Int(number),
                }
            }
            Values::UInt64(list) => Value::UInt(*list.get(row)?),
            Values::Float64(list) => {
                let number = *list.get(row)?;
                // A float32 column: the declared type asks for the narrower value.
                if self.sql_type == SqlType::Float32 { Value::Float32(number as f32) } else { Value::Float64(number) }
            }
            Values::Utf8(offsets, text) => {
                let text = text.get(span(offsets, row)?)?;
                match self.sql_type {
                    SqlType::Decimal { .. } => Value::Decimal(text),
                    SqlType::Json => Value::Json(text),
                    _ => Value::Text(text),
                }
            }
            Values::Binary(offsets, data) => {
                let bytes = data.get(span(offsets, row)?)?;
                match self.sql_type {
                    SqlType::Uuid => Value::Uuid(bytes.try_into().ok()?),
                    SqlType::Bits(_) => Value::Bits(bytes),
                    _ => Value::Bytes(bytes),
                }
            }
        })
    }
}

/// A cell that was computed for many rows, in one go or in several.
#[derive(Debug, Clone, Default)]
pub struct ComputedCells {
    columns: Vec<ValueColumn>,
    places: Places,
}

/// Where the value of a row is.
#[derive(Debug, Clone)]
enum Places {
    /// The columns have the first `rows` rows one after the other, each but the last `1 << bits` of them.
    InOrder { rows: usize, bits: u32 },
    /// For each row its column and the place in it.
    Each(Vec<Option<(u32, u32)>>),
}

impl Default for Places {
    fn default() -> Self {
        Self::InOrder { rows: 0, bits: usize::BITS - 1 }
    }
}

impl ComputedCells {
    /// Takes the values of some of `all` rows: the row `rows[i]` gets the value at `i`, unless `is_computed` denies it. Rows ascend.
    pub fn take(&mut self, column: ValueColumn, rows: &[usize], all: usize, is_computed: impl Fn(usize) -> bool) {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return };
        let is_whole = last - first + 1 == rows.len() && (0..rows.len()).all(&is_computed);
        let count = self.columns.len();
        match &mut self.places {
            Places::InOrder { rows: known @ 0, bits } if is_whole && *first == 0 => {
                *known = rows.len();
                if rows.len().is_power_of_two() {
                    *bits = rows.len().trailing_zeros();
                }
            }
            Places::InOrder { rows: known, bits } if is_whole && first == known && *known == count << *bits && rows.len() <= 1 << *bits => {
                *known += rows.len();
            }
            _ => {
                let places = self.places_of_each(all);
                for (at, row) in rows.iter().enumerate().filter(|(at, _)| is_computed(*at)) {
                    places[*row] = Some((count as u32, at as u32));
                }
            }
        }
        self.columns.push(column);
    }

    /// The value of a row; `None` when there is none.
    #[inline]
    pub fn value(&self, row: usize) -> Option<Value<'_>> {
        let (column, row) = self.place(row)?;
        let column = self.columns.get(column)?;
        if column.is_absent(row) { None } else { Some(column.value(row)) }
    }

    /// The values as texts, when all that are not NULL are [`Value::Text`].
    pub fn texts(&self) -> Option<Texts<'_>> {
        let is_text = |column: &ValueColumn| {
            matches!(column.values, Values::Utf8(..)) && !matches!(column.sql_type, SqlType::Decimal { .. } | SqlType::Json)
        };
        self.columns.iter().all(is_text).then_some(Texts(self))
    }

    #[inline]
    fn place(&self, row: usize) -> Option<(usize, usize)> {
        match &self.places {
            Places::InOrder { rows, bits } => (row < *rows).then_some((row >> bits, row & ((1 << bits) - 1))),
            Places::Each(places) => {
                let (column, row) = (*places.get(row)?)?;
                Some((column as usize, row as usize))
            }
        }
    }

    fn places_of_each(&mut self, all: usize) -> &mut [Option<(u32, u32)>] {
        if matches!(self.places, Places::InOrder { .. }) {
            let place = |row| self.place(row).map(|(column, row)| (column as u32, row as u32));
            self.places = Places::Each((0..all).map(place).collect());
        }
        match &mut self.places {
            Places::Each(places) => places,
            Places::InOrder { .. } => &mut [],
        }
    }
}

/// Values of a computed cell that are all texts.
#[derive(Debug, Clone, Copy)]
pub struct Texts<'a>(&'a ComputedCells);

impl<'a> Texts<'a> {
    /// True when the character is in one of them.
    pub fn contain(&self, character: char) -> bool {
        self.0.columns.iter().any(|column| matches!(&column.values, Values::Utf8(_, text) if text.contains(character)))
    }

    /// A row's text; `Some(None)` for NULL, `None` when there is no value.
    #[inline]
    pub fn get(&self, row: usize) -> Option<Option<&'a str>> {
        let (column, row) = self.0.place(row)?;
        let ValueColumn { nulls, absent, values: Values::Utf8(offsets, text), .. } = self.0.columns.get(column)? else { return None };
        if bit(absent, row) {
            return None;
        }
        Some(if bit(nulls, row) { None } else { span(offsets, row).and_then(|span| text.get(span)) })
    }
}

/// True when bit `row` is set; a bitmap that is too short (an empty one) has no bit set there.
#[inline]
pub fn bit(bitmap: &[u8], row: usize) -> bool {
    bitmap.get(row / 8).is_some_and(|byte| byte >> (row % 8) & 1 == 1)
}

#[inline]
fn span(offsets: &[u32], row: usize) -> Option<std::ops::Range<usize>> {
    Some(*offsets.get(row)? as usize..*offsets.get(row + 1)? as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(from: i64, count: i64) -> ValueColumn {
        ValueColumn { sql_type: SqlType::Int64, nulls: vec![], absent: vec![], values: Values::Int64((from..from + count).collect()) }
    }

    fn found(cells: &ComputedCells, rows: usize) -> Vec<Option<Value<'_>>> {
        (0..rows).map(|row| cells.value(row)).collect()
    }

    #[test]
    fn a_column_of_all_rows_is_taken_as_it_is() {
        let mut cells = ComputedCells::default();
        assert_eq!(found(&cells, 2), [None, None]);
        cells.take(ValueColumn { nulls: vec![0b01], absent: vec![0b10], ..numbers(1, 3) }, &[0, 1, 2], 3, |_| true);
        assert!(matches!(cells.places, Places::InOrder { rows: 3, .. }));
        assert_eq!(found(&cells, 3), [Some(Value::Null), None, Some(Value::Int(3))]);
    }

    #[test]
    fn columns_one_after_the_other_are_taken_as_they_are() {
        for sizes in [vec![4, 4, 3], vec![4, 3], vec![3, 4], vec![2, 4], vec![4, 4, 2, 1], vec![1, 1, 1], vec![5]] {
            let (mut cells, mut next) = (ComputedCells::default(), 0);
            for size in &sizes {
                let rows: Vec<usize> = (next..next + size).collect();
                cells.take(numbers(next as i64, *size as i64), &rows, 20, |_| true);
                next += size;
            }
            let wanted: Vec<_> = (0..20).map(|row| (row < next).then_some(Value::Int(row as i64))).collect();
            assert_eq!(found(&cells, 20), wanted, "{sizes:?}");
        }
    }

    #[test]
    fn texts_are_the_values_of_a_cell_of_text() {
        let column = |sql_type, text: &str| {
            let values = Values::Utf8((0..=text.len() as u32).collect(), text.to_owned());
            ValueColumn { sql_type, nulls: vec![0b0001], absent: vec![0b0010], values }
        };
        let text = SqlType::Text { chars_max: None };
        let mut cells = ComputedCells::default();
        cells.take(column(text.clone(), "abcd"), &[0, 1, 2, 3], 8, |_| true);
        cells.take(column(text.clone(), "efg\0"), &[4, 5, 6, 7], 8, |_| true);
        let texts = cells.texts().expect("all are texts");
        assert!(texts.contain('c') && texts.contain('\0') && !texts.contain('h'));
        for row in 0..9 {
            let wanted = cells.value(row).map(|value| value.as_text().map(str::to_owned));
            assert_eq!(texts.get(row).map(|text| text.map(str::to_owned)), wanted, "row {row}");
        }
        for other in [SqlType::Json, SqlType::Decimal { precision: None, scale: None }] {
            let mut cells = cells.clone();
            cells.take(column(other, "1"), &[8], 9, |_| true);
            assert!(cells.texts().is_none());
        }
        cells.take(numbers(1, 1), &[8], 9, |_| true);
        assert!(cells.texts().is_none());
    }

    #[test]
    fn parts_are_put_where_their_rows_are() {
        let mut cells = ComputedCells::default();
        cells.take(numbers(10, 2), &[1, 2], 5, |_| true);
        cells.take(numbers(20, 2), &[3, 4], 5, |at| at == 1);
        assert_eq!(found(&cells, 5), [None, Some(Value::Int(10)), Some(Value::Int(11)), None, Some(Value::Int(21))]);
        cells.take(numbers(30, 1), &[0], 5, |_| true);
        assert_eq!(cells.value(0), Some(Value::Int(30)));
        // What comes later stands before what came first.
        let mut whole = ComputedCells::default();
        whole.take(numbers(1, 2), &[0, 1], 2, |_| true);
        whole.take(numbers(7, 1), &[1], 2, |_| true);
        assert_eq!(found(&whole, 2), [Some(Value::Int(1)), Some(Value::Int(7))]);
        assert_eq!(found(&ComputedCells::default(), 1), [None]);
    }
}
