//! The first rows of a source table, read as a full load reads them.

use std::sync::Arc;

use tidegate_connector::{CaptureScope, Source, SourceTable};
use tidegate_model::{Cell, Row, TableName, TaskId, Value};

use super::table::Sample;
use super::value::owned;
use crate::exit::Failure;

/// Bytes of rows after which no more are taken: the answer has to fit into one HTTP response.
const BYTES_MAX: usize = 4 << 20;
/// The size of the chunks that the table is cut into: that of a full load, so that a large table has few. Of the first
/// chunk with rows, only the beginning is read.
const CHUNK_ROWS: u64 = 200_000;

/// Reads up to `limit` rows. Writes nothing at the source; which rows come first is the source's choice.
///
/// # Errors
/// The connector's.
pub(crate) async fn first_rows(source: &dyn Source, name: TableName, limit: usize) -> Result<Sample, Failure> {
    let failed = |error| Failure::from(&error);
    let tables = source.describe(std::slice::from_ref(&name)).await.map_err(failed)?;
    let table = tables.into_iter().next().ok_or_else(|| Failure::failed("table_not_found", format!("table \"{name}\" does not exist")))?;
    let task = TaskId::new("module-test".to_owned()).map_err(|_| Failure::failed("bug", "the name of the test's scope is not right"))?;
    let snapshot = source.snapshot(&CaptureScope { task, tables: vec![name] }).await.map_err(failed)?;
    let mut sample = Sample { schema: table.schema.clone(), rows: Vec::new() };
    let mut bytes = 0;
    for chunk in snapshot.chunks(&table, CHUNK_ROWS).await.map_err(failed)? {
        let mut reader = snapshot.read(table.clone(), &chunk).await.map_err(failed)?;
        while let Some(rows) = reader.next_rows().await.map_err(failed)? {
            for row in rows.iter() {
                if sample.rows.len() >= limit || bytes >= BYTES_MAX {
                    return Ok(sample);
                }
                bytes += row.bytes_held();
                sample.rows.push(decode(&table, &row));
            }
        }
    }
    Ok(sample)
}

fn decode(table: &Arc<SourceTable>, row: &Row) -> Result<Vec<Value<'static>>, String> {
    (0..table.schema.columns.len())
        .map(|index| match row.cell(index) {
            Some(Cell::Null) => Ok(Value::Null),
            Some(cell) => table.decoder.decode(index, cell).map(owned).map_err(|error| error.to_string()),
            None => Err("the row has fewer cells than the table has columns".to_owned()),
        })
        .collect()
}
