//! What a module answers to a batch, believed only after every part of it has been checked.

use serde::de::IgnoredAny;
use tidegate_model::{SqlType, Value, ValueColumn, Values};

use crate::contract::tidegate::transform::types as wit;
use crate::error::SandboxError;
use crate::layout::{Layout, bit, bitmap_bytes};
use crate::plan::Output;
use crate::told::cut;

/// Bytes that a module may return for each byte it was given, and for each row, and in any case: a module that
/// answers with more than that is broken or hostile. Chosen by guess; a SHA-256 in hexadecimal has 64 bytes.
const BYTES_PER_INPUT_BYTE: usize = 8;
const BYTES_PER_ROW: usize = 1024;
const BYTES_FREE: usize = 64 << 10;
/// Bytes kept of a row error's message, and of its code.
const MESSAGE_BYTES_MAX: usize = 1024;
const CODE_BYTES_MAX: usize = 64;

/// The answer to one batch.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchResult {
    rows: usize,
    keep: Vec<u8>,
    columns: Vec<ValueColumn>,
    errors: Vec<RowError>,
    bytes: usize,
}

/// A row that the module could not handle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowError {
    /// Index in the batch.
    pub row: usize,
    /// The module's own short code.
    pub code: String,
    /// The module's message, cut to 1 KiB.
    pub message: String,
}

/// What an answer must fit.
pub(crate) struct Wanted<'a> {
    pub(crate) rows: usize,
    pub(crate) input_bytes: usize,
    pub(crate) computed: &'a [Output],
    pub(crate) filters: bool,
    pub(crate) partial_images: bool,
}

impl BatchResult {
    /// Count of rows: that of the batch.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// True when the row stays. A row with an error has no such answer: look at [`BatchResult::errors`] first.
    #[inline]
    pub fn keeps(&self, row: usize) -> bool {
        self.keep.is_empty() || bit(&self.keep, row)
    }

    /// True when the module could not handle the row.
    #[inline]
    pub fn failed(&self, row: usize) -> bool {
        self.errors.binary_search_by_key(&row, |error| error.row).is_ok()
    }

    /// The computed outputs of the plan, in its order. Values of rows that are not kept, or have an error, are meaningless.
    #[inline]
    pub fn columns(&self) -> &[ValueColumn] {
        &self.columns
    }

    /// Likewise; none are left.
    pub fn take_columns(&mut self) -> Vec<ValueColumn> {
        std::mem::take(&mut self.columns)
    }

    /// Rows for the error table, in order, each at most once.
    pub fn errors(&self) -> &[RowError] {
        &self.errors
    }

    /// Count of rows that the module did not keep, those with errors aside.
    pub fn dropped(&self) -> usize {
        if self.keep.is_empty() {
            return 0;
        }
        let kept: usize = self.keep.iter().map(|byte| byte.count_ones() as usize).sum();
        // Bits after the last row mean nothing.
        let beyond = (self.rows..self.keep.len() * 8).filter(|row| bit(&self.keep, *row)).count();
        let failed = self.errors.iter().filter(|error| !bit(&self.keep, error.row)).count();
        self.rows + beyond - kept - failed
    }

    /// Bytes of the values of varying length.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn check(found: wit::BatchResult, wanted: &Wanted<'_>) -> Result<Self, SandboxError> {
        let rows = wanted.rows;
        check_bitmap(&found.keep, rows, "keep")?;
        let errors = check_errors(found.errors, rows)?;
        let failed = |row: usize| errors.binary_search_by_key(&row, |error: &RowError| error.row).is_ok();
        let keeps = |row: usize| found.keep.is_empty() || bit(&found.keep, row);
        if !wanted.filters && !found.keep.is_empty() && (0..rows).any(|row| !keeps(row) && !failed(row)) {
            return Err(SandboxError::malformed("it drops rows, but its plan does not say that it filters"));
        }
        if found.columns.len() != wanted.computed.len() {
            return Err(SandboxError::malformed(format!(
                "{} columns, and the plan has {} computed outputs",
                found.columns.len(),
                wanted.computed.len()
            )));
        }
        let live = |row: usize| keeps(row) && !failed(row);
        let mut bytes = 0;
        let mut columns = Vec::with_capacity(found.columns.len());
        for (column, output) in found.columns.into_iter().zip(wanted.computed) {
            let column = check_column(column, output, wanted, &live)
                .map_err(|problem| SandboxError::malformed(format!("column \"{}\": {problem}", output.name)))?;
            bytes += var_bytes(&column);
            columns.push(column);
        }
        let bytes_max = (wanted.input_bytes * BYTES_PER_INPUT_BYTE).max(rows * BYTES_PER_ROW) + BYTES_FREE;
        if bytes > bytes_max {
            return Err(SandboxError::malformed(format!("{bytes} bytes of values, more than {bytes_max} for this batch")));
        }
        Ok(Self { rows, keep: found.keep, columns, errors, bytes })
    }
}

fn var_bytes(column: &ValueColumn) -> usize {
    match &column.values {
        Values::Utf8(_, text) => text.len(),
        Values::Binary(_, data) => data.len(),
        Values::Bool8(_) | Values::Int32(_) | Values::Int64(_) | Values::UInt64(_) | Values::Float64(_) => 0,
    }
}

fn check_column(found: wit::Column, output: &Output, wanted: &Wanted<'_>, live: &impl Fn(usize) -> bool) -> Result<ValueColumn, String> {
    let rows = wanted.rows;
    let text = |error: SandboxError| error.to_string();
    check_bitmap(&found.nulls, rows, "nulls").map_err(text)?;
    check_bitmap(&found.absent, rows, "absent").map_err(text)?;
    let values = check_values(found.values, Layout::of(&output.sql_type), rows)?;
    let column = ValueColumn { sql_type: output.sql_type.clone(), nulls: found.nulls, absent: found.absent, values };
    let (has_nulls, has_absent) = (!column.nulls.is_empty(), !column.absent.is_empty());
    let checks_values = needs_value_check(&column.sql_type);
    if !has_nulls && !has_absent && !checks_values {
        return Ok(column);
    }
    for row in (0..rows).filter(|row| live(*row)) {
        if bit(&column.absent, row) {
            if !wanted.partial_images {
                return Err(format!("row {row} is absent, but the plan does not take partial images"));
            }
        } else if bit(&column.nulls, row) {
            if !output.nullable {
                return Err(format!("row {row} is NULL, but the plan declares it as not null"));
            }
        } else if checks_values {
            check_value(&column, row).map_err(|problem| format!("row {row}: {problem}"))?;
        }
    }
    Ok(column)
}

fn check_value(column: &ValueColumn, row: usize) -> Result<(), String> {
    let value = match &column.values {
        Values::Int32(list) => return check_range(i64::from(list[row]), &column.sql_type),
        Values::Int64(list) => return check_range(list[row], &column.sql_type),
        Values::Bool8(list) if list[row] > 1 => return Err("a boolean is neither 0 nor 1".to_owned()),
        _ => column.raw_value(row).ok_or("the value has not the length of its type")?,
    };
    let fits = match (&column.sql_type, &value) {
        (SqlType::Decimal { .. }, Value::Decimal(text)) => is_decimal(text),
        (SqlType::Json, Value::Json(text)) => is_json(text),
        (SqlType::Array(_), Value::Text(text)) => text.trim_start().starts_with('[') && is_json(text),
        (SqlType::Enumeration(labels), Value::Text(text)) => labels.iter().any(|label| label == text),
        (SqlType::SetOf(labels), Value::Text(text)) => {
            text.is_empty() || text.split(',').all(|part| labels.iter().any(|label| label == part))
        }
        (SqlType::Text { chars_max: Some(max) }, Value::Text(text)) => text.len() <= *max as usize || text.chars().count() <= *max as usize,
        (SqlType::Bytes { bytes_max: Some(max) }, Value::Bytes(bytes)) => bytes.len() <= *max as usize,
        (SqlType::Bits(count), Value::Bits(bytes)) => bytes.len() == count.div_ceil(8) as usize,
        _ => true,
    };
    if fits { Ok(()) } else { Err(format!("the value is not of the declared type {:?}", column.sql_type)) }
}

fn check_bitmap(bitmap: &[u8], rows: usize, name: &str) -> Result<(), SandboxError> {
    let wanted = bitmap_bytes(rows);
    if bitmap.is_empty() || bitmap.len() == wanted {
        return Ok(());
    }
    Err(SandboxError::malformed(format!("bitmap \"{name}\" has {} bytes, wanted 0 or {wanted}", bitmap.len())))
}

fn check_errors(found: Vec<wit::RowError>, rows: usize) -> Result<Vec<RowError>, SandboxError> {
    let mut errors = Vec::with_capacity(found.len());
    for error in found {
        let row = error.row as usize;
        if row >= rows {
            return Err(SandboxError::malformed(format!("an error for row {row} of {rows} rows")));
        }
        errors.push(RowError { row, code: cut(&error.code, CODE_BYTES_MAX), message: cut(&error.message, MESSAGE_BYTES_MAX) });
    }
    errors.sort_by_key(|error| error.row);
    errors.dedup_by_key(|error| error.row);
    Ok(errors)
}

fn check_values(found: wit::Values, layout: Layout, rows: usize) -> Result<Values, String> {
    let (count, values) = match (found, layout) {
        (wit::Values::Bool8(list), Layout::Bool8) => (list.len(), Values::Bool8(list)),
        (wit::Values::Int32(list), Layout::Int32) => (list.len(), Values::Int32(list)),
        (wit::Values::Int64(list), Layout::Int64) => (list.len(), Values::Int64(list)),
        (wit::Values::Uint64(list), Layout::UInt64) => (list.len(), Values::UInt64(list)),
        (wit::Values::Float64(list), Layout::Float64) => (list.len(), Values::Float64(list)),
        (wit::Values::Utf8(var), Layout::Utf8) => {
            let (offsets, data) = check_offsets(var, rows)?;
            let text = String::from_utf8(data).map_err(|_| "text that is not UTF-8")?;
            // In ASCII a character begins at each byte.
            if !text.is_ascii() && !offsets.iter().all(|offset| text.is_char_boundary(*offset as usize)) {
                return Err("an offset inside a character".to_owned());
            }
            (rows, Values::Utf8(offsets, text))
        }
        (wit::Values::Binary(var), Layout::Binary) => {
            let (offsets, data) = check_offsets(var, rows)?;
            (rows, Values::Binary(offsets, data))
        }
        (wit::Values::Strings(list), Layout::Utf8) => {
            let mut offsets = Vec::with_capacity(list.len() + 1);
            offsets.push(0);
            let mut text = String::new();
            for part in &list {
                text.push_str(part);
                offsets.push(u32::try_from(text.len()).map_err(|_| "more than 4 GiB of text")?);
            }
            (list.len(), Values::Utf8(offsets, text))
        }
        (found, wanted) => return Err(format!("layout {}, wanted {wanted:?}", layout_name(&found))),
    };
    if count == rows { Ok(values) } else { Err(format!("{count} values, wanted {rows}")) }
}

fn check_offsets(var: wit::VarValues, rows: usize) -> Result<(Vec<u32>, Vec<u8>), String> {
    let offsets = &var.offsets;
    if offsets.len() != rows + 1 {
        return Err(format!("{} offsets, wanted {}", offsets.len(), rows + 1));
    }
    if offsets[0] != 0 || offsets[rows] as usize != var.data.len() || !offsets.is_sorted() {
        return Err("offsets that do not rise from 0 to the end of the data".to_owned());
    }
    Ok((var.offsets, var.data))
}

fn layout_name(values: &wit::Values) -> &'static str {
    match values {
        wit::Values::Bool8(_) => "bool8",
        wit::Values::Int32(_) => "int32",
        wit::Values::Int64(_) => "int64",
        wit::Values::Uint64(_) => "uint64",
        wit::Values::Float64(_) => "float64",
        wit::Values::Utf8(_) => "utf8",
        wit::Values::Binary(_) => "binary",
        wit::Values::Strings(_) => "strings",
    }
}

/// True for types whose layout allows more than the type does.
fn needs_value_check(sql_type: &SqlType) -> bool {
    match sql_type {
        SqlType::Int32
        | SqlType::Int64
        | SqlType::UInt64
        | SqlType::Float32
        | SqlType::Float64
        | SqlType::Text { chars_max: None }
        | SqlType::Bytes { bytes_max: None }
        | SqlType::Date
        | SqlType::Time
        | SqlType::Timestamp
        | SqlType::TimestampTz
        | SqlType::Interval
        | SqlType::Other(_) => false,
        SqlType::Boolean
        | SqlType::Int8
        | SqlType::Int16
        | SqlType::UInt8
        | SqlType::UInt16
        | SqlType::UInt32
        | SqlType::Decimal { .. }
        | SqlType::Text { chars_max: Some(_) }
        | SqlType::Bytes { bytes_max: Some(_) }
        | SqlType::Json
        | SqlType::Uuid
        | SqlType::Enumeration(_)
        | SqlType::SetOf(_)
        | SqlType::Bits(_)
        | SqlType::Array(_) => true,
    }
}

fn check_range(number: i64, sql_type: &SqlType) -> Result<(), String> {
    let (min, max) = match sql_type {
        SqlType::Int8 => (i64::from(i8::MIN), i64::from(i8::MAX)),
        SqlType::Int16 => (i64::from(i16::MIN), i64::from(i16::MAX)),
        SqlType::UInt8 => (0, i64::from(u8::MAX)),
        SqlType::UInt16 => (0, i64::from(u16::MAX)),
        SqlType::UInt32 => (0, i64::from(u32::MAX)),
        _ => return Ok(()),
    };
    if (min..=max).contains(&number) { Ok(()) } else { Err(format!("the number is outside {min} to {max}")) }
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if matches!(digits, "Infinity" | "NaN") {
        return digits != "NaN" || text == "NaN";
    }
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    !whole.is_empty() && all_digits(whole) && all_digits(fraction) && !digits.ends_with('.')
}

#[cfg(test)]
#[path = "result_tests.rs"]
mod tests;
