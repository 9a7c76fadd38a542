//! Cuts a table at boundaries that a user gave.
//!
//! MySQL compares a column with whatever it is given and converts what does not fit, so each boundary is checked here by its
//! column's type before it becomes SQL: at the cut, and again when it comes back from the target's records. Days that no calendar
//! has are left to the server, which takes no literal of them.

use mysql_async::Conn;
use tidegate_connector::cut::{Side, compared};
use tidegate_connector::{Chunk, ConnectorError, Dialect, ErrorClass, RangeCut, RangePart, TableCut};
use tidegate_model::{Column, SqlType, TableSchema};

use crate::charset::of_collation;
use crate::connect::row;

/// Plans the parts.
pub(crate) async fn plan(conn: &mut Conn, schema: &TableSchema, cut: &TableCut, ranges: &RangeCut) -> Result<Vec<Chunk>, ConnectorError> {
    let columns = columns(schema, &ranges.columns).map_err(|what| cut.refused(&schema.name, &what))?;
    let what = format!("look at the boundaries of table \"{}\"", schema.name);
    let mut before: Option<Vec<String>> = None;
    for (index, boundary) in ranges.boundaries.iter().enumerate() {
        let mut values = Vec::with_capacity(columns.len());
        for (column, value) in columns.iter().zip(boundary) {
            let refused = || {
                let (name, wanted) = (&column.name, &column.native_type);
                let text = format!("boundary {}: no value of column \"{name}\", wanted one of the type {wanted}", index + 1);
                cut.refused(&schema.name, &text)
            };
            let literal = literal(column, value).ok_or_else(refused)?;
            match row::<Option<i64>>(conn, &what, &format!("select {literal} is null")).await {
                Ok(_) => values.push(literal),
                Err(error) if error.class() == ErrorClass::Transient => return Err(error),
                Err(_) => return Err(refused()),
            }
        }
        if let Some(before) = before {
            let ascends: Option<i64> = row(conn, &what, &format!("select {}", compared(&before, &values, Side::Below))).await?;
            if ascends != Some(1) {
                return Err(cut.refused(&schema.name, &format!("boundary {} does not lie behind the one before it", index + 1)));
            }
        }
        before = Some(values);
    }
    let parts = ranges.parts(columns.iter().any(|column| column.nullable));
    Ok(parts.iter().zip(0..).map(|(part, index)| Chunk { index, bounds: part.to_string() }).collect())
}

/// The condition that selects a part's rows.
pub(crate) fn condition(schema: &TableSchema, part: &RangePart) -> Result<String, ConnectorError> {
    let outdated = |what: String| {
        let text = format!("table \"{}\" was cut before its definition changed: {what}", schema.name);
        ConnectorError::table(&schema.name, "chunks_outdated", text).hint("reload the table: its chunks are cut anew")
    };
    let columns = columns(schema, &part.columns).map_err(outdated)?;
    let bounds = [&part.from, &part.below].into_iter().flatten();
    let fits = |values: &Vec<String>| columns.iter().zip(values).all(|(column, value)| literal(column, value).is_some());
    if !bounds.into_iter().all(fits) {
        return Err(outdated("bounds of a part do not fit its columns".into()));
    }
    let spelled = |index: usize, value: &str| literal(columns[index], value).unwrap_or_default();
    Ok(format!(" where {}", part.condition(&Dialect::MYSQL, spelled, |index| columns[index].nullable)))
}

fn columns<'a>(schema: &'a TableSchema, names: &[String]) -> Result<Vec<&'a Column>, String> {
    let find = |name: &String| {
        let column = schema.column_index(name).map(|index| &schema.columns[index]);
        let column = column.ok_or_else(|| format!("the table has no column \"{name}\""))?;
        if is_ordered(&column.sql_type) {
            return Ok(column);
        }
        Err(format!("column \"{name}\" of the type {} cannot be cut into ranges", column.native_type))
    };
    names.iter().map(find).collect()
}

fn is_ordered(sql_type: &SqlType) -> bool {
    let others =
        matches!(sql_type, SqlType::Decimal { .. } | SqlType::Date | SqlType::Timestamp | SqlType::TimestampTz | SqlType::Text { .. });
    others || is_whole(sql_type)
}

fn is_whole(sql_type: &SqlType) -> bool {
    let signed = matches!(sql_type, SqlType::Int8 | SqlType::Int16 | SqlType::Int32 | SqlType::Int64);
    signed || matches!(sql_type, SqlType::UInt8 | SqlType::UInt16 | SqlType::UInt32 | SqlType::UInt64)
}

/// A value as SQL, in the order of its column; `None` when it is none of the column's type.
fn literal(column: &Column, value: &str) -> Option<String> {
    match &column.sql_type {
        whole if is_whole(whole) => value.parse::<i128>().ok().map(|number| number.to_string()),
        SqlType::Decimal { .. } => {
            let digits = value.strip_prefix('-').unwrap_or(value);
            let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
            let plain = |text: &str| !text.is_empty() && text.len() <= 65 && text.bytes().all(|byte| byte.is_ascii_digit());
            (plain(whole) && plain(fraction)).then(|| value.to_owned())
        }
        SqlType::Date => has_form(value, "0000-00-00").then(|| format!("date'{value}'")),
        SqlType::Timestamp | SqlType::TimestampTz => {
            let text = value.replacen('T', " ", 1);
            let (seconds, fraction) = text.split_once('.').unwrap_or((&text, "0"));
            let is_fraction = (1..=6).contains(&fraction.len()) && fraction.bytes().all(|byte| byte.is_ascii_digit());
            (is_fraction && has_form(seconds, "0000-00-00 00:00:00")).then(|| format!("timestamp'{text}'"))
        }
        SqlType::Text { .. } => Some(collated(column, Dialect::MYSQL.literal(value))),
        _ => None,
    }
}

/// True when the text has a digit wherever the form has a zero, and is equal elsewhere.
fn has_form(text: &str, form: &str) -> bool {
    let fits = |(byte, form): (u8, u8)| if form == b'0' { byte.is_ascii_digit() } else { byte == form };
    text.len() == form.len() && text.bytes().zip(form.bytes()).all(fits)
}

fn collated(column: &Column, literal: String) -> String {
    let is_plain = |collation: &&String| collation.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match column.collation.as_ref().filter(is_plain) {
        Some(collation) => {
            let charset = of_collation(collation);
            format!("convert({literal} using {charset}) collate {collation}")
        }
        None => literal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(sql_type: SqlType, collation: Option<&str>) -> Column {
        let collation = collation.map(str::to_owned);
        Column { name: "c".into(), sql_type, native_type: String::new(), nullable: true, collation, generated: false }
    }

    #[test]
    fn boundaries_are_values_of_their_columns_or_nothing() {
        let spelled = |sql_type: SqlType, value: &str| literal(&column(sql_type, None), value);
        assert_eq!(spelled(SqlType::UInt64, "18446744073709551615").as_deref(), Some("18446744073709551615"));
        assert_eq!(spelled(SqlType::Date, "1824-02-29").as_deref(), Some("date'1824-02-29'"));
        assert_eq!(spelled(SqlType::Timestamp, "2024-02-29T10:00:00.5").as_deref(), Some("timestamp'2024-02-29 10:00:00.5'"));
        assert_eq!(spelled(SqlType::Text { chars_max: None }, "o'x").as_deref(), Some("'o''x'"));
        for (sql_type, value) in [
            (SqlType::Int32, "12a"),
            (SqlType::Int32, "1 or true"),
            (SqlType::Decimal { precision: None, scale: None }, "1e5"),
            (SqlType::Date, "2023-02-29'"),
            (SqlType::Timestamp, "2024-01-01"),
            (SqlType::Timestamp, "2024-01-01 00:00:00-05:00"),
            (SqlType::Timestamp, "2024-01-01 00:00:00.1234567"),
            (SqlType::Float64, "1.5"),
        ] {
            assert_eq!(spelled(sql_type, value), None, "{value}");
        }
    }

    #[test]
    fn texts_have_the_order_of_their_column() {
        let spelled = |collation: &str| literal(&column(SqlType::Text { chars_max: None }, Some(collation)), "EU").unwrap_or_default();
        assert_eq!(spelled("latin1_bin"), "convert('EU' using latin1) collate latin1_bin");
        assert_eq!(spelled("x; drop table t"), "'EU'");
    }
}
