//! Puts a table map and the catalog's description of the same table together.
//!
//! The event knows what the table was like when its rows were logged; the catalog knows how it is spelt now. Where
//! both describe the same columns, the catalog's description is taken, so that snapshot and stream agree. Where they
//! differ, the event wins, and the catalog only lends what the event cannot say about columns that are in both.

use std::sync::Arc;

use tidegate_connector::{ConnectorError, SourceTable};
use tidegate_model::schema::RowEncoding;
use tidegate_model::{BeforeImages, Column, Engine, SqlType, TableSchema};

use crate::binlog::bytes::Fault;
use crate::binlog::cell::{Layout, layout_as, layout_of};
use crate::binlog::rows::Logged;
use crate::binlog::table_map::TableMap;
use crate::catalog::{Described, source_table};
use crate::fault;

/// A table as its rows are read now.
#[derive(Debug, Clone)]
pub(crate) struct Resolved {
    pub(crate) table: Arc<SourceTable>,
    /// Every column of the log's rows, in their order.
    pub(crate) columns: Arc<[Logged]>,
    /// True when the catalog describes the same table.
    pub(crate) agrees: bool,
}

/// Describes the table of `map`. `catalog` is what the catalog says, if the table is still there.
pub(crate) fn resolve(map: &TableMap, catalog: Option<&Described>, engine: Engine, place: &str) -> Result<Resolved, ConnectorError> {
    let mut logged = Vec::with_capacity(map.columns.len());
    let mut columns = Vec::with_capacity(map.columns.len());
    let unlogged = catalog.map_or(&[][..], |found| &found.unlogged);
    let catalog = catalog.map(|found| &*found.table);
    let known = catalog.map(|found| &found.schema);
    let is_wanted: Vec<bool> = map.columns.iter().map(|wire| !unlogged.contains(&wire.name)).collect();
    // Places in the log's rows become places among the columns that are wanted.
    let place_of = |index: &usize| is_wanted[..*index].iter().filter(|wanted| **wanted).count();
    let primary_key: Vec<usize> = map.primary_key.iter().filter(|index| is_wanted[**index]).map(place_of).collect();
    let mut agrees = known.is_some_and(|schema| {
        schema.columns.len() == is_wanted.iter().filter(|wanted| **wanted).count()
            && primary_key.len() == map.primary_key.len()
            && schema.primary_key == primary_key
    });
    for (wire, is_wanted) in map.columns.iter().zip(is_wanted.iter().copied()) {
        let index = columns.len();
        let decode = |fault: &Fault| fault::decode(Some(&map.table), Some(&wire.name), place, fault);
        let (layout, sql_type) = layout_of(wire).map_err(|fault| decode(&fault))?;
        if !is_wanted {
            logged.push(Logged { layout, is_wanted, identifies: false, is_generated: false });
            continue;
        }
        let same_place = known.and_then(|schema| schema.columns.get(index)).is_some_and(|column| column.name == wire.name);
        let same_name = known.and_then(|schema| schema.columns.iter().find(|column| column.name == wire.name));
        let adopted = same_name.and_then(|column| Some((layout_as(layout.clone(), &sql_type, &column.sql_type)?, column.clone())));
        agrees &= same_place && adopted.is_some();
        let (layout, column) = adopted.unwrap_or_else(|| {
            let native_type = native_type(&sql_type);
            let name = wire.name.clone();
            (layout, Column { name, sql_type, native_type, collation: None, nullable: wire.nullable, generated: false })
        });
        if matches!(layout, Layout::OldTime | Layout::OldDateTime | Layout::OldTimestamp) && column.native_type.contains('(') {
            // The old form of these types has fractions that the event does not tell about.
            return Err(decode(&Fault::value("old_temporal", "fractional seconds in the format before MySQL 5.6"))
                .hint("set global mysql56_temporal_format = ON, then rebuild the table with ALTER TABLE ... FORCE and reload it"));
        }
        // MariaDB logs a unique key in place of a primary one; the catalog takes all columns then.
        let by_catalog = known.is_some_and(|schema| schema.identity.iter().any(|index| schema.columns[*index].name == wire.name));
        let identifies = by_catalog || primary_key.is_empty() || primary_key.contains(&index);
        logged.push(Logged { layout, is_wanted, identifies, is_generated: column.generated });
        columns.push(column);
    }
    let table = match catalog.filter(|_| agrees) {
        Some(found) => found.clone(),
        None => {
            let identity = if primary_key.is_empty() { (0..columns.len()).collect() } else { primary_key.clone() };
            let schema = TableSchema {
                name: map.table.clone(),
                engine,
                columns,
                primary_key,
                unique_keys: Vec::new(),
                identity,
                before_images: BeforeImages::Full,
                encoding: RowEncoding::Neutral,
                version: 1,
            };
            source_table(schema, catalog.map_or(0, |found| found.rows_estimate))
        }
    };
    Ok(Resolved { table: Arc::new(table), columns: logged.into(), agrees })
}

/// How the server spells a type, for columns that the catalog no longer has.
fn native_type(sql_type: &SqlType) -> String {
    let text = match sql_type {
        SqlType::Int8 => "tinyint",
        SqlType::Int16 => "smallint",
        SqlType::Int32 => "int",
        SqlType::Int64 => "bigint",
        SqlType::UInt8 => "tinyint unsigned",
        SqlType::UInt16 => "smallint unsigned",
        SqlType::UInt32 => "int unsigned",
        SqlType::UInt64 => "bigint unsigned",
        SqlType::Float32 => "float",
        SqlType::Float64 => "double",
        SqlType::Decimal { precision, scale } => {
            return format!("decimal({},{})", precision.unwrap_or(10), scale.unwrap_or(0));
        }
        SqlType::Text { chars_max: Some(length) } => return format!("varchar({length})"),
        SqlType::Text { chars_max: None } => "longtext",
        SqlType::Bytes { bytes_max: Some(length) } => return format!("varbinary({length})"),
        SqlType::Bytes { bytes_max: None } => "longblob",
        SqlType::Date => "date",
        SqlType::Time => "time(6)",
        SqlType::Timestamp => "datetime(6)",
        SqlType::TimestampTz => "timestamp(6)",
        SqlType::Json => "json",
        SqlType::Uuid => "uuid",
        SqlType::Bits(count) => return format!("bit({count})"),
        SqlType::Enumeration(_) => "enum",
        SqlType::SetOf(_) => "set",
        SqlType::Boolean | SqlType::Interval | SqlType::Array(_) => "text",
        SqlType::Other(name) => return name.clone(),
    };
    text.to_owned()
}
