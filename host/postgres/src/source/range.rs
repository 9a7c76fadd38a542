//! Cuts a table at boundaries that a user gave. The server itself says whether a boundary is a value of its column's type, how
//! values of the column are ordered, and how the value is spelled: `now` is another time at every look, and a row between two of
//! them would be in no part.

use tidegate_connector::cut::{Side, compared};
use tidegate_connector::{Chunk, ConnectorError, Dialect, ErrorClass, RangeCut, RangePart, SourceTable, TableCut};
use tidegate_model::SqlType;
use tokio_postgres::Client;

use super::catalog::get;
use crate::fault::pg_error;

/// A column: its type without the modifier, which would cut a boundary, and its collation where it has one. A NOT NULL that was
/// never validated (PostgreSQL 18) lets rows with NULL be.
const COLUMN: &str = "select c.oid::pg_catalog.oid, pg_catalog.format_type(a.atttypid, null)::pg_catalog.text, \
    not a.attnotnull or exists (select from pg_catalog.pg_constraint k where k.conrelid = c.oid and k.contype = 'n' \
      and not k.convalidated and a.attnum = any (k.conkey)), \
    case when l.oid is not null then pg_catalog.quote_ident(ln.nspname) || '.' || pg_catalog.quote_ident(l.collname) end::pg_catalog.text, \
    c.relkind = 'p' \
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
    join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped \
    left join pg_catalog.pg_collation l on l.oid = a.attcollation left join pg_catalog.pg_namespace ln on ln.oid = l.collnamespace \
    where n.nspname = $1 and c.relname = $2 and a.attname = $3";

struct CutColumn {
    name: String,
    oid: u32,
    sql_type: String,
    nullable: bool,
    collation: Option<String>,
    is_partitioned: bool,
}

impl CutColumn {
    fn literal(&self, value: &str) -> String {
        let collate = self.collation.as_ref().map(|collation| format!(" collate {collation}")).unwrap_or_default();
        format!("{}::{}{collate}", Dialect::POSTGRES.literal(value), self.sql_type)
    }
}

/// Plans the parts.
pub(crate) async fn plan(client: &Client, table: &SourceTable, cut: &TableCut, ranges: &RangeCut) -> Result<Vec<Chunk>, ConnectorError> {
    let name = &table.schema.name;
    let columns = columns(client, table, &ranges.columns, |what| cut.refused(name, what)).await?;
    let attempted = format!("look at the boundaries of table \"{name}\"");
    let mut boundaries: Vec<Vec<String>> = Vec::with_capacity(ranges.boundaries.len());
    for (index, boundary) in ranges.boundaries.iter().enumerate() {
        let mut values = Vec::with_capacity(columns.len());
        for (column, value) in columns.iter().zip(boundary) {
            let row = match client.query_one(&format!("select ({})::pg_catalog.text", column.literal(value)), &[]).await {
                Ok(row) => row,
                Err(error) => {
                    let error = pg_error(&attempted, error);
                    if error.class() == ErrorClass::Transient {
                        return Err(error);
                    }
                    // What the server says of it would show the value.
                    let (name, wanted) = (&column.name, &column.sql_type);
                    let text = format!("boundary {}: no value of column \"{name}\", wanted one of the type {wanted}", index + 1);
                    return Err(cut.refused(&table.schema.name, &text));
                }
            };
            values.push(get::<String>(&row, 0, &attempted)?);
        }
        if let Some(before) = boundaries.last() {
            let spelled =
                |values: &[String]| -> Vec<String> { columns.iter().zip(values).map(|(column, value)| column.literal(value)).collect() };
            let sql = format!("select coalesce({}, false)", compared(&spelled(before), &spelled(&values), Side::Below));
            let row = client.query_one(&sql, &[]).await.map_err(|error| pg_error(&attempted, error))?;
            if !get::<bool>(&row, 0, &attempted)? {
                return Err(cut.refused(name, &format!("boundary {} does not lie behind the one before it", index + 1)));
            }
        }
        boundaries.push(values);
    }
    let ranges = RangeCut { columns: ranges.columns.clone(), boundaries };
    let parts = ranges.parts(columns.iter().any(|column| column.nullable));
    Ok(parts.iter().zip(0..).map(|(part, index)| Chunk { index, bounds: part.to_string() }).collect())
}

/// The number of the table, and what selects a part's rows: `from … where …`.
pub(crate) async fn selection(client: &Client, table: &SourceTable, part: &RangePart) -> Result<(u32, String), ConnectorError> {
    let name = &table.schema.name;
    let outdated = |what: &str| {
        ConnectorError::table(name, "chunks_outdated", format!("table \"{name}\" was cut before its definition changed: {what}"))
            .hint("reload the table: its chunks are cut anew")
    };
    let columns = columns(client, table, &part.columns, outdated).await?;
    let first = columns.first().ok_or_else(|| outdated("no columns"))?;
    let condition = part.condition(&Dialect::POSTGRES, |index, value| columns[index].literal(value), |index| columns[index].nullable);
    // Tables that inherit from an ordinary one are tables of their own.
    let only = if first.is_partitioned { "" } else { "only " };
    Ok((first.oid, format!("from {only}{} where {condition}", Dialect::POSTGRES.table(name))))
}

async fn columns(
    client: &Client,
    table: &SourceTable,
    names: &[String],
    refused: impl Fn(&str) -> ConnectorError,
) -> Result<Vec<CutColumn>, ConnectorError> {
    let schema = &table.schema;
    let attempted = format!("look at the columns of table \"{}\"", schema.name);
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        let missing = || refused(&format!("the table has no column \"{name}\""));
        let described = schema.column_index(name).map(|index| &schema.columns[index]).ok_or_else(missing)?;
        if !is_ordered(&described.sql_type) {
            return Err(refused(&format!("column \"{name}\" of the type {} cannot be cut into ranges", described.native_type)));
        }
        let row = client.query_opt(COLUMN, &[&schema.name.schema, &schema.name.name, name]).await;
        let row = row.map_err(|error| pg_error(&attempted, error))?.ok_or_else(missing)?;
        found.push(CutColumn {
            name: name.clone(),
            oid: get(&row, 0, &attempted)?,
            sql_type: get(&row, 1, &attempted)?,
            nullable: get(&row, 2, &attempted)?,
            collation: get(&row, 3, &attempted)?,
            is_partitioned: get(&row, 4, &attempted)?,
        });
    }
    Ok(found)
}

fn is_ordered(sql_type: &SqlType) -> bool {
    let numbers = matches!(sql_type, SqlType::Int16 | SqlType::Int32 | SqlType::Int64 | SqlType::Decimal { .. });
    let times = matches!(sql_type, SqlType::Date | SqlType::Time | SqlType::Timestamp | SqlType::TimestampTz);
    numbers || times || matches!(sql_type, SqlType::Text { .. } | SqlType::Uuid)
}
