//! A row at fault: what happened, and how the error table names and keeps the row.

use bytes::{Bytes, BytesMut};
use serde_json::{Map, Value as Json};
use sha2::{Digest, Sha256};
use tidegate_connector::{ConnectorError, RejectedOperation, RowFault, RowId, SourceTable};
use tidegate_model::{Cell, Row, RowChange, Value};

use crate::task::TaskError;

/// Rows above this size are named in the error table but not kept there: entries are for looking at.
pub(crate) const IMAGE_BYTES_MAX: usize = 1 << 20;

/// First byte of a kept row: another form gets another number.
const STORED_FORM: u8 = 1;
/// Bytes of a description's digest in a kept row.
const DIGEST_BYTES: usize = 8;

/// Bytes of a message in the error table.
const MESSAGE_BYTES_MAX: usize = 4_096;

/// Why a row cannot be replicated.
#[derive(Debug)]
pub(crate) struct Rejection {
    pub(crate) fault: RowFault,
    pub(crate) code: String,
    pub(crate) message: String,
    /// Name and digest of the module at fault.
    pub(crate) module: Option<(String, String)>,
    /// How the task ends when its policy is to stop.
    pub(crate) stops_as: TaskError,
    /// What the target was asked, for people; `None` where it was not, and where nobody wants to know.
    pub(crate) statement: Option<String>,
}

impl Rejection {
    /// A row that the host itself finds at fault.
    pub(crate) fn by_host(error: TaskError) -> Self {
        let (code, message) = (error.code().to_owned(), error.chain());
        Self { fault: RowFault::Value, code, message, module: None, stops_as: error, statement: None }
    }

    /// A row with a value above the task's limit.
    pub(crate) fn of_size(error: TaskError) -> Self {
        Self { fault: RowFault::Truncation, ..Self::by_host(error) }
    }

    /// A row that the target refused.
    pub(crate) fn by_target(fault: RowFault, error: ConnectorError) -> Self {
        let (code, message) = (error.code().to_owned(), error.chain());
        Self { fault, code, message, module: None, stops_as: error.into(), statement: None }
    }

    /// The same with what the target was asked.
    pub(crate) fn of_statement(self, statement: Option<String>) -> Self {
        Self { statement, ..self }
    }

    /// The same about another row of the same change. How the task would stop stays with the first.
    pub(crate) fn copied(&self) -> Self {
        Self {
            fault: self.fault,
            code: self.code.clone(),
            message: self.message.clone(),
            module: self.module.clone(),
            stops_as: TaskError::Cancelled,
            statement: None,
        }
    }

    /// The message, cut to what the error table takes.
    pub(crate) fn short_message(&self) -> String {
        let mut end = self.message.len().min(MESSAGE_BYTES_MAX);
        while !self.message.is_char_boundary(end) {
            end -= 1;
        }
        self.message[..end].to_owned()
    }
}

/// The row's name in its table; `None` when the log does not tell its key.
pub(crate) fn row_id(table: &SourceTable, row: &Row) -> Option<RowId> {
    let mut digest = Sha256::new();
    let mut add = |cell: Cell<'_>| match cell {
        Cell::Null => digest.update([0]),
        Cell::Binary(bytes) | Cell::Text(bytes) => {
            digest.update([1]);
            digest.update((bytes.len() as u64).to_le_bytes());
            digest.update(bytes);
        }
        Cell::Unchanged | Cell::Absent => digest.update([2]),
        Cell::Faulty(fault) => digest.update([3, fault as u8]),
    };
    let identity = &table.schema.identity;
    if identity.is_empty() {
        row.cells().for_each(add);
    } else {
        for index in identity {
            let cell = row.cell(*index).filter(Cell::is_known)?;
            // A key that nobody can read may be any other row's, too. Without a key no change is told to be of a row anyway.
            if matches!(cell, Cell::Faulty(_)) && !table.schema.is_keyless() {
                return None;
            }
            add(cell);
        }
    }
    Some(RowId(digest.finalize().into()))
}

/// The rows that a change concerns: one, or two where the key changes. `None` when the log does not tell a key.
pub(crate) fn row_ids(table: &SourceTable, change: &RowChange) -> Option<Vec<RowId>> {
    Some(match change {
        RowChange::Insert { new: row } | RowChange::Delete { old: row } => vec![row_id(table, row)?],
        RowChange::Update { old: None, new } => vec![row_id(table, new)?],
        RowChange::Update { old: Some(old), new } => {
            let (before, after) = (row_id(table, old)?, row_id(table, &new.filled_from(old))?);
            if before == after { vec![after] } else { vec![before, after] }
        }
    })
}

/// The row's key as a JSON object; `None` for keyless tables.
pub(crate) fn key_json(table: &SourceTable, row: &Row) -> Option<String> {
    let identity = &table.schema.identity;
    (!identity.is_empty()).then(|| json(table, row, identity.iter().copied()))
}

/// The row as a JSON object; `None` when it is too large.
pub(crate) fn row_json(table: &SourceTable, row: &Row) -> Option<String> {
    (row.bytes_held() <= IMAGE_BYTES_MAX).then(|| json(table, row, 0..row.len()))
}

/// The row in the form that [`stored_row`] reads; `None` when it is too large, or not whole and more than its key counts.
pub(crate) fn store_row(table: &SourceTable, row: &Row, operation: RejectedOperation) -> Option<Vec<u8>> {
    let is_enough = operation == RejectedOperation::Delete || row.cells().all(|cell| cell.is_known());
    if row.bytes_held() > IMAGE_BYTES_MAX || !is_enough {
        return None;
    }
    let mut out = BytesMut::with_capacity(row.bytes_held() + 16);
    out.extend_from_slice(&[STORED_FORM]);
    out.extend_from_slice(&description_digest(table));
    row.write_to(&mut out);
    Some(out.to_vec())
}

/// Reads what [`store_row`] wrote; `None` when the table has another description now.
pub(crate) fn stored_row(table: &SourceTable, bytes: &[u8]) -> Option<Row> {
    let rest = bytes.strip_prefix(&[STORED_FORM])?.strip_prefix(&description_digest(table))?;
    let mut input = rest;
    Row::read_from(&mut input, &Bytes::new()).filter(|row| input.is_empty() && row.len() == table.schema.columns.len())
}

fn description_digest(table: &SourceTable) -> [u8; DIGEST_BYTES] {
    let mut digest = Sha256::new();
    digest.update(format!("{:?}", table.schema.encoding));
    for column in &table.schema.columns {
        digest.update(format!("{}\0{}\0{:?}\0", column.name, column.native_type, column.sql_type));
    }
    let all: [u8; 32] = digest.finalize().into();
    *all.first_chunk().expect("a SHA-256 has 32 bytes")
}

fn json(table: &SourceTable, row: &Row, columns: impl Iterator<Item = usize>) -> String {
    let mut object = Map::new();
    for index in columns {
        let (Some(column), Some(cell)) = (table.schema.columns.get(index), row.cell(index)) else { continue };
        // What nobody can read is left out like what the log lacks; the message says which column it is.
        if !cell.is_known() || matches!(cell, Cell::Faulty(_)) {
            continue;
        }
        let value = match table.decoder.decode(index, cell) {
            Ok(value) => json_value(&value),
            // Bytes that are not of the column's form may be why the row is here.
            Err(_) => match cell {
                Cell::Binary(bytes) | Cell::Text(bytes) => Json::String(hex(bytes)),
                Cell::Null | Cell::Unchanged | Cell::Absent | Cell::Faulty(_) => Json::Null,
            },
        };
        object.insert(column.name.clone(), value);
    }
    Json::Object(object).to_string()
}

pub(crate) fn json_value(value: &Value<'_>) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(flag) => (*flag).into(),
        Value::Int(number) => (*number).into(),
        Value::UInt(number) => (*number).into(),
        Value::Float32(number) => float(f64::from(*number), number.to_string()),
        Value::Float64(number) => float(*number, number.to_string()),
        Value::Decimal(text) | Value::Text(text) => (*text).into(),
        Value::Json(text) => serde_json::from_str(text).unwrap_or_else(|_| (*text).into()),
        Value::OwnedText(text) => text.as_str().into(),
        Value::Bytes(bytes) | Value::Bits(bytes) => hex(bytes).into(),
        Value::OwnedBytes(bytes) => hex(bytes).into(),
        Value::Uuid(bytes) => hex(bytes).into(),
        Value::Date(days) => date(i64::from(*days)).into(),
        Value::Time(us) => time(*us).into(),
        Value::Timestamp(us) | Value::TimestampTz(us) => {
            const DAY_US: i64 = 86_400_000_000;
            format!("{}T{}", date(us.div_euclid(DAY_US)), time(us.rem_euclid(DAY_US))).into()
        }
    }
}

/// JSON has no infinities and no NaN.
fn float(number: f64, text: String) -> Json {
    serde_json::Number::from_f64(number).map_or(Json::String(text), Json::Number)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn time(us: i64) -> String {
    let (sign, us) = if us < 0 { ("-", us.unsigned_abs()) } else { ("", us.unsigned_abs()) };
    let (seconds, fraction) = (us / 1_000_000, us % 1_000_000);
    format!("{sign}{:02}:{:02}:{:02}.{fraction:06}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Year, month and day of the proleptic Gregorian calendar. Source: H. Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms", `civil_from_days`.
fn date(days: i64) -> String {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use tidegate_model::{RowBuilder, SqlType};

    use super::*;
    use crate::test_tables::source_table;

    fn row(values: &[Value<'_>]) -> Row {
        let mut builder = RowBuilder::default();
        for value in values {
            match value {
                Value::Null => builder.push(Cell::Null),
                value => builder.push_with(|out| value.write_neutral(out)),
            }
        }
        builder.finish()
    }

    #[test]
    fn a_kept_row_reads_back_under_the_same_description_only() {
        let table_now = source_table(&[("id", SqlType::Int64), ("at", SqlType::Timestamp), ("note", SqlType::Text { chars_max: None })]);
        let kept = row(&[Value::Int(7), Value::Timestamp(951_868_799_500_000), Value::Null]);
        let bytes = store_row(&table_now, &kept, RejectedOperation::Load).unwrap();
        assert_eq!(stored_row(&table_now, &bytes), Some(kept.clone()));
        assert_eq!(key_json(&table_now, &kept).unwrap(), r#"{"id":7}"#);
        assert_eq!(row_json(&table_now, &kept).unwrap(), r#"{"at":"2000-02-29T23:59:59.500000","id":7,"note":null}"#);
        let table_later = source_table(&[("id", SqlType::Int64), ("at", SqlType::Timestamp), ("note", SqlType::Json)]);
        assert_eq!(stored_row(&table_later, &bytes), None);
    }

    #[test]
    fn a_row_is_named_by_its_key_alone() {
        let table = source_table(&[("id", SqlType::Int64), ("note", SqlType::Text { chars_max: None })]);
        let id = |number, note: &str| row_id(&table, &row(&[Value::Int(number), Value::Text(note)])).unwrap();
        assert_eq!(id(1, "a"), id(1, "b"));
        assert_ne!(id(1, "a"), id(2, "a"));
        assert_eq!(RowId::from_hex(&id(1, "a").to_hex()), Some(id(1, "a")));
    }

    #[test]
    fn dates_and_times_are_written_for_people() {
        assert_eq!((date(0), date(-719_162), date(11_016)), ("1970-01-01".into(), "0001-01-01".into(), "2000-02-29".into()));
        assert_eq!(time(-3_020_399_000_000), "-838:59:59.000000");
    }
}
