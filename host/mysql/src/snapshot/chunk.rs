//! Cuts tables into key ranges, and reads the ranges back from their stable text.
//!
//! Only keys are cut whose order is the same for everybody: integers, decimals, dates, bytes. A table with any other
//! leading key column is one chunk: text compares by a collation, which may change between two reads of the bounds.
//!
//! Bounds are `from..below`, each empty or literals joined by commas: `i:5,x:00ff..i:900,x:01`. The lower bound is in
//! the chunk, the upper one is not. They come back from the target's records, so each literal is checked again before
//! it becomes SQL.

use mysql_async::Conn;
use tidegate_connector::{Chunk, ConnectorError, Dialect, SourceTable};
use tidegate_model::{SqlType, TableSchema};

use crate::connect::rows;

/// The whole table.
const WHOLE: &str = "..";

/// Plans the chunks of a table.
pub(crate) async fn plan(conn: &mut Conn, table: &SourceTable, rows_wanted: u64) -> Result<Vec<Chunk>, ConnectorError> {
    let schema = &table.schema;
    let key = cut_columns(schema);
    if key.is_empty() || table.rows_estimate <= rows_wanted {
        return Ok(vec![Chunk { index: 0, bounds: WHOLE.to_owned() }]);
    }
    let what = format!("cut table \"{}\" into chunks", schema.name);
    let names = Dialect::MYSQL.identifiers(key.iter().map(|index| schema.columns[*index].name.as_str()));
    let literals: Vec<String> = key.iter().map(|index| literal_expression(schema, *index)).collect();
    let mut bounds: Vec<String> = vec![String::new()];
    loop {
        let last = bounds.last().cloned().unwrap_or_default();
        let mut next = None;
        // First a chunk's worth of rows on; when the key's leading columns have that many equal rows, past all of them.
        for (after, skipped) in [(Edge::From, rows_wanted.max(1)), (Edge::Beyond, 0)] {
            let condition = edge(schema, &key, &last, after).ok_or_else(|| malformed(schema))?;
            let sql = format!(
                "select concat_ws(',', {}) from {} where {condition} order by {names} limit 1 offset {skipped}",
                literals.join(", "),
                Dialect::MYSQL.table(&schema.name)
            );
            let found: Vec<String> = rows(conn, &what, &sql).await?;
            match found.into_iter().next() {
                None => break,
                Some(found) if found != last => {
                    next = Some(found);
                    break;
                }
                Some(_) => {}
            }
        }
        match next {
            Some(bound) => bounds.push(bound),
            None => break,
        }
    }
    let uppers = bounds.iter().skip(1).cloned().chain([String::new()]);
    let ranges = bounds.iter().zip(uppers);
    Ok(ranges.enumerate().map(|(index, (from, below))| Chunk { index: index as u32, bounds: format!("{from}..{below}") }).collect())
}

/// The condition that selects a chunk's rows; empty for the whole table.
pub(crate) fn condition(schema: &TableSchema, chunk: &Chunk) -> Result<String, ConnectorError> {
    let key = cut_columns(schema);
    let (from, below) = chunk.bounds.split_once("..").ok_or_else(|| malformed(schema))?;
    let lower = edge(schema, &key, from, Edge::From).ok_or_else(|| malformed(schema))?;
    let upper = edge(schema, &key, below, Edge::Below).ok_or_else(|| malformed(schema))?;
    Ok(match (from.is_empty(), below.is_empty()) {
        (true, true) => String::new(),
        (false, true) => format!(" where {lower}"),
        (true, false) => format!(" where {upper}"),
        (false, false) => format!(" where ({lower}) and ({upper})"),
    })
}

fn malformed(schema: &TableSchema) -> ConnectorError {
    ConnectorError::table(&schema.name, "chunk_bounds", format!("table \"{}\": chunk bounds do not fit its key", schema.name))
        .hint("reload the table")
}

/// The leading key columns whose order is plain.
fn cut_columns(schema: &TableSchema) -> Vec<usize> {
    let plain = |index: &&usize| kind(&schema.columns[**index].sql_type).is_some() && !schema.columns[**index].native_type.contains("blob");
    schema.primary_key.iter().take_while(plain).copied().collect()
}

fn kind(sql_type: &SqlType) -> Option<char> {
    match sql_type {
        SqlType::Int8 | SqlType::Int16 | SqlType::Int32 | SqlType::Int64 => Some('i'),
        SqlType::UInt8 | SqlType::UInt16 | SqlType::UInt32 | SqlType::UInt64 => Some('i'),
        SqlType::Decimal { .. } => Some('n'),
        SqlType::Date => Some('d'),
        SqlType::Bytes { bytes_max: Some(_) } => Some('x'),
        _ => None,
    }
}

/// SQL that gives a column's literal with its kind in front.
fn literal_expression(schema: &TableSchema, index: usize) -> String {
    let column = &schema.columns[index];
    let name = Dialect::MYSQL.identifier(&column.name);
    match kind(&column.sql_type) {
        Some('x') => format!("concat('x:', hex({name}))"),
        Some(kind) => format!("concat('{kind}:', {name})"),
        None => "null".to_owned(),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edge {
    From,
    Below,
    Beyond,
}

/// The comparison of the key with a bound; `true` for no bound. `None` when the bound does not fit the key.
fn edge(schema: &TableSchema, key: &[usize], bound: &str, side: Edge) -> Option<String> {
    if bound.is_empty() {
        return Some("true".to_owned());
    }
    let literals: Vec<&str> = bound.split(',').collect();
    if literals.len() != key.len() {
        return None;
    }
    let mut parts = Vec::with_capacity(key.len());
    for (index, literal) in key.iter().zip(literals) {
        let column = &schema.columns[*index];
        parts.push((Dialect::MYSQL.identifier(&column.name), sql_literal(kind(&column.sql_type)?, literal)?));
    }
    let (strict, last) = match side {
        Edge::From => (">", ">="),
        Edge::Below => ("<", "<"),
        Edge::Beyond => (">", ">"),
    };
    // a > 1 or (a = 1 and (b > 2 or (b = 2 and c >= 3))), from the inside out.
    let (name, value) = parts.pop()?;
    let mut text = format!("{name} {last} {value}");
    for (name, value) in parts.into_iter().rev() {
        // The first half lets the server use the index for the whole.
        let loose = if strict == ">" { ">=" } else { "<=" };
        // Given the first half, what is not strictly beyond is equal.
        text = format!("{name} {loose} {value} and ({name} {strict} {value} or ({text}))");
    }
    Some(text)
}

/// A checked literal as SQL.
fn sql_literal(kind: char, text: &str) -> Option<String> {
    let value = text.strip_prefix(kind)?.strip_prefix(':')?;
    let allowed = |letters: &str| value.len() <= 8192 && value.chars().all(|letter| letters.contains(letter));
    match kind {
        'i' if !value.is_empty() && allowed("0123456789-") => Some(value.to_owned()),
        'n' if !value.is_empty() && allowed("0123456789-.") => Some(value.to_owned()),
        'd' if value.len() == 10 && allowed("0123456789-") => Some(format!("date'{value}'")),
        'x' if value.len().is_multiple_of(2) && allowed("0123456789ABCDEFabcdef") => Some(format!("x'{value}'")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use tidegate_model::schema::RowEncoding;
    use tidegate_model::{BeforeImages, Column, Engine, TableName};

    use super::*;

    fn schema(types: &[SqlType]) -> TableSchema {
        let column = |(index, sql_type): (usize, &SqlType)| Column {
            name: format!("k{index}"),
            sql_type: sql_type.clone(),
            native_type: String::new(),
            nullable: false,
            collation: None,
            generated: false,
        };
        TableSchema {
            name: TableName::new("s", "t"),
            engine: Engine::Mysql,
            columns: types.iter().enumerate().map(column).collect(),
            primary_key: (0..types.len()).collect(),
            unique_keys: Vec::new(),
            identity: (0..types.len()).collect(),
            before_images: BeforeImages::Full,
            encoding: RowEncoding::Neutral,
            version: 1,
        }
    }

    fn sql(types: &[SqlType], bounds: &str) -> Option<String> {
        condition(&schema(types), &Chunk { index: 0, bounds: bounds.into() }).ok()
    }

    #[test]
    fn bounds_become_conditions_on_the_key() {
        let key = [SqlType::Int32, SqlType::Bytes { bytes_max: Some(2) }];
        assert_eq!(sql(&key, "..").as_deref(), Some(""));
        assert_eq!(sql(&key[..1], "i:5..i:9").as_deref(), Some(" where (`k0` >= 5) and (`k0` < 9)"));
        assert_eq!(sql(&key, "i:-5,x:00FF..").as_deref(), Some(" where `k0` >= -5 and (`k0` > -5 or (`k1` >= x'00FF'))"));
    }

    #[test]
    fn bounds_that_are_no_literals_of_the_key_are_refused() {
        let key = [SqlType::Int32];
        for bounds in ["", "5..", "i:5 or 1..", "i:..", "i:5,i:6..", "x:00..", "i:5..n:7"] {
            assert_eq!(sql(&key, bounds), None, "{bounds}");
        }
        let text = [SqlType::Text { chars_max: Some(5) }];
        assert!(cut_columns(&schema(&text)).is_empty());
    }
}
