//! Reads one chunk and makes neutral rows of it.
//!
//! The binary protocol keeps floats exact. Texts come as their columns store them, as in the log: the server would put a question mark in
//! the place of what is no text. Enumerations and sets are read as numbers and labelled here, because the
//! server's text cannot tell the error value from an empty label.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tidegate_connector::{ConnectorError, Decoding, Dialect, LOADED_ROWS_MAX, RowReader, SourceTable};
use tidegate_model::{Cell, LARGE_BYTES, RowBatch, SqlType, TableName, Window};
use tokio::sync::mpsc;

use crate::binlog::bytes::Fault;
use crate::charset::{Charset, Collations, unsupported};
use crate::connect::Connector;
use crate::fault;
use crate::neutral;
use crate::raw::{Column, Field, RawConn, fields};

/// Bytes of rows in one batch.
const BATCH_BYTES: usize = 256 << 10;

/// Rows, `None` behind the last, and how long it took so far to make rows of what the driver brought.
type Batch = (Option<RowBatch>, Duration);

/// A read in progress. The rows come from a task of its own, so that the server is read while a target is written; the
/// channel's bound of one batch keeps it from running far ahead.
pub(crate) struct ChunkReader {
    window: Window,
    batches: mpsc::Receiver<Result<Batch, ConnectorError>>,
    decoded: Duration,
    reading: tokio::task::JoinHandle<()>,
    finished: bool,
}

impl ChunkReader {
    pub(crate) fn start(conn: RawConn, charsets: Charsets, table: Arc<SourceTable>, condition: String, window: Window) -> Self {
        let (sender, batches) = mpsc::channel(1);
        let reading = tokio::spawn(async move {
            if let Err(error) = read(conn, &charsets, &table, &condition, &sender).await {
                let _ = sender.send(Err(error)).await;
            } else {
                // This says that the end was reached; a channel that just closes does not.
                let _ = sender.send(Ok((None, Duration::ZERO))).await;
            }
        });
        Self { window, batches, decoded: Duration::ZERO, reading, finished: false }
    }
}

impl Drop for ChunkReader {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

#[async_trait]
impl RowReader for ChunkReader {
    fn window(&self) -> Window {
        self.window.clone()
    }

    async fn next_rows(&mut self) -> Result<Option<RowBatch>, ConnectorError> {
        if self.finished {
            return Ok(None);
        }
        match self.batches.recv().await {
            Some(Ok((None, _))) => {
                self.finished = true;
                Ok(None)
            }
            Some(Ok((Some(rows), decoded))) => {
                self.decoded = decoded;
                Ok(Some(rows))
            }
            Some(Err(error)) => Err(error),
            None => Err(ConnectorError::transient("read_stopped", "the read of a chunk stopped before its end")),
        }
    }

    fn decoded(&self) -> Duration {
        self.decoded
    }
}

async fn read(
    mut conn: RawConn,
    charsets: &Charsets,
    table: &SourceTable,
    condition: &str,
    sender: &mpsc::Sender<Result<Batch, ConnectorError>>,
) -> Result<(), ConnectorError> {
    let name = &table.schema.name;
    // The definition may have changed since it was read: then the table is described and loaded anew.
    let fault = |error| fault::driver(&format!("read table \"{name}\""), error).at_table(name);
    let expressions: Vec<String> = table
        .schema
        .columns
        .iter()
        .map(|column| {
            let quoted = Dialect::MYSQL.identifier(&column.name);
            match column.sql_type {
                SqlType::Enumeration(_) | SqlType::SetOf(_) => format!("cast({quoted} as unsigned)"),
                _ => quoted,
            }
        })
        .collect();
    let sql = format!("select {} from {}{condition}", expressions.join(", "), Dialect::MYSQL.table(name));
    conn.run(&format!("read table \"{name}\""), "set session character_set_results = null").await?;
    conn.select(&sql).await.map_err(fault)?;
    let charsets = charsets.of(table, conn.row_columns()).await?;
    let empty = || RowBatch::with_capacity(table.schema.columns.len(), 0, 0);
    let mut batch = empty();
    let mut decoding = Decoding::default();
    let mut stretch = decoding.begin();
    while let Some(packet) = stretch.wait(conn.next_row()).await.map_err(fault)? {
        push_row(table, &packet, conn.row_columns(), &charsets, &mut batch)?;
        if batch.bytes_held() >= BATCH_BYTES || batch.len() >= LOADED_ROWS_MAX {
            stretch.end();
            if sender.send(Ok((Some(std::mem::replace(&mut batch, empty())), decoding.total()))).await.is_err() {
                return Ok(());
            }
            stretch = decoding.begin();
        }
    }
    stretch.end();
    if !batch.is_empty() {
        let _ = sender.send(Ok((Some(batch), decoding.total()))).await;
    }
    conn.quit().await;
    Ok(())
}

/// Tells the character sets in which the server sends texts.
pub(crate) struct Charsets {
    pub(crate) connector: Connector,
    pub(crate) collations: Arc<Collations>,
}

impl Charsets {
    /// Of each column: of texts their own, while everything else is printed in ASCII or has none.
    async fn of(&self, table: &SourceTable, types: &[Column]) -> Result<Vec<Charset>, ConnectorError> {
        let mut all = Vec::with_capacity(types.len());
        for (column, found) in table.schema.columns.iter().zip(types) {
            let charset = match column.sql_type {
                SqlType::Text { .. } | SqlType::Json => self.collations.charset(found.collation.into()),
                _ => Ok(Charset::Binary),
            };
            let charset = match charset {
                Err(Fault::Unlearned(name)) => self.connector.charset(&name).await?.ok_or_else(|| unsupported(&name)),
                found => found,
            };
            all.push(match charset {
                Ok(Charset::Binary) => Charset::Utf8 { bytes_per_char: 4 },
                Ok(charset) => charset,
                Err(fault) => return Err(fault::decode(Some(&table.schema.name), Some(&column.name), "in the full load", &fault)),
            });
        }
        Ok(all)
    }
}

fn push_row(
    table: &SourceTable,
    packet: &Bytes,
    types: &[Column],
    charsets: &[Charset],
    batch: &mut RowBatch,
) -> Result<(), ConnectorError> {
    let columns = &table.schema.columns;
    let malformed = |fault| fault::decode(Some(&table.schema.name), None, "in the full load", &fault);
    let mut found = fields(packet, types).map_err(malformed)?;
    for (column, charset) in columns.iter().zip(charsets) {
        let at_fault = |fault: Fault| misread(&table.schema.name, &column.name, &fault);
        let field = found.next().unwrap_or(Err(MISFIT)).map_err(at_fault)?;
        match field {
            Field::Null => batch.push(Cell::Null),
            Field::Bytes(bytes) if bytes.len() >= LARGE_BYTES && is_verbatim(&column.sql_type, charset, bytes) => {
                batch.push_within(Cell::Binary(bytes), packet);
            }
            field => match odd_date(&column.sql_type, field).map_err(at_fault)? {
                Some(text) => batch.push(Cell::Text(text.as_bytes())),
                None => {
                    let mut result = Ok(());
                    batch.push_with(|out| result = write_value(&column.sql_type, charset, field, out));
                    if let Err(fault) = result {
                        batch.spoil_last(fault.of_a_value().ok_or_else(|| at_fault(fault))?);
                    }
                }
            },
        }
    }
    batch.end_row();
    Ok(())
}

/// A value that is not of its column's type is of another definition than was described: the server replaces a column at once,
/// and reads it by its name. The table is described and loaded anew then.
fn misread(table: &TableName, column: &str, fault: &Fault) -> ConnectorError {
    match fault {
        Fault::Value { .. } => fault::decode(Some(table), Some(column), "in the full load", fault),
        Fault::Malformed(_) | Fault::Unlearned(_) => {
            ConnectorError::table(table, "table_changed", format!("{fault} for table \"{table}\" column \"{column}\" in the full load"))
                .hint("reload the table")
        }
    }
}

/// True when the neutral form of a value is the bytes that the server sent.
fn is_verbatim(sql_type: &SqlType, charset: &Charset, bytes: &[u8]) -> bool {
    match sql_type {
        SqlType::Bytes { .. } => true,
        SqlType::Text { .. } | SqlType::Json => matches!(charset, Charset::Utf8 { .. }) && charset.check_utf8(bytes).is_ok(),
        _ => false,
    }
}

const MISFIT: Fault = Fault::Malformed("value: another type than its column's");

/// Appends the neutral form of a value of the binary protocol.
fn write_value(sql_type: &SqlType, charset: &Charset, value: Field<'_>, out: &mut impl Extend<u8>) -> Result<(), Fault> {
    match sql_type {
        SqlType::Int8 | SqlType::Int16 | SqlType::Int32 | SqlType::Int64 => out.extend(signed(value)?.to_le_bytes()),
        SqlType::UInt8 | SqlType::UInt16 | SqlType::UInt32 | SqlType::UInt64 => out.extend(unsigned(value)?.to_le_bytes()),
        SqlType::Float32 => match value {
            Field::Float(number) => out.extend(number.to_le_bytes()),
            _ => return Err(MISFIT),
        },
        SqlType::Float64 => match value {
            Field::Double(number) => out.extend(number.to_le_bytes()),
            _ => return Err(MISFIT),
        },
        SqlType::Date => {
            let (days, _) = date(value)?;
            out.extend(days.ok_or(MISFIT)?.to_le_bytes());
        }
        SqlType::Timestamp | SqlType::TimestampTz => {
            let (days, clock) = date(value)?;
            out.extend(neutral::datetime_us(days.ok_or(MISFIT)?, clock)?.to_le_bytes());
        }
        SqlType::Time => match value {
            Field::Time(negative, days, (hours, minutes, seconds, us)) => {
                let hours = days.checked_mul(24).and_then(|all| all.checked_add(u32::from(hours))).ok_or(MISFIT)?;
                out.extend(neutral::time_us(negative, hours, u32::from(minutes), u32::from(seconds), us)?.to_le_bytes());
            }
            _ => return Err(MISFIT),
        },
        SqlType::Enumeration(labels) => out.extend(neutral::enum_label(labels, unsigned(value)?)?.bytes()),
        SqlType::SetOf(labels) => out.extend(neutral::set_text(labels, unsigned(value)?)?.bytes()),
        SqlType::Bytes { .. } | SqlType::Bits(_) => out.extend(bytes(value)?.iter().copied()),
        SqlType::Uuid => out.extend(uuid(bytes(value)?)?),
        // One spelling for both ways of reading: the log carries addresses as bytes.
        SqlType::Other(name) if name == "inet6" => out.extend(text(value)?.parse::<Ipv6Addr>().map_err(|_| MISFIT)?.to_string().bytes()),
        SqlType::Other(name) if name == "inet4" => out.extend(text(value)?.parse::<Ipv4Addr>().map_err(|_| MISFIT)?.to_string().bytes()),
        SqlType::Text { .. } | SqlType::Json => match bytes(value)? {
            // Most texts, without a look at each letter.
            text if *charset == Charset::Latin1 && text.is_ascii() => out.extend(text.iter().copied()),
            text => charset.write_utf8(text, out)?,
        },
        SqlType::Decimal { .. } | SqlType::Other(_) => out.extend(text(value)?.bytes()),
        SqlType::Boolean | SqlType::Interval | SqlType::Array(_) => return Err(MISFIT),
    }
    Ok(())
}

fn signed(value: Field<'_>) -> Result<i64, Fault> {
    match value {
        Field::Int(number) => Ok(number),
        Field::UInt(number) => i64::try_from(number).map_err(|_| MISFIT),
        _ => Err(MISFIT),
    }
}

fn unsigned(value: Field<'_>) -> Result<u64, Fault> {
    match value {
        Field::UInt(number) => Ok(number),
        Field::Int(number) => u64::try_from(number).map_err(|_| MISFIT),
        _ => Err(MISFIT),
    }
}

fn bytes(value: Field<'_>) -> Result<&[u8], Fault> {
    match value {
        Field::Bytes(bytes) => Ok(bytes),
        _ => Err(MISFIT),
    }
}

fn text(value: Field<'_>) -> Result<&str, Fault> {
    std::str::from_utf8(bytes(value)?).map_err(|_| Fault::value("charset_bytes", "bytes that are no text of the column's character set"))
}

/// The server's text of a date that no calendar has; `None` for every other value.
fn odd_date(sql_type: &SqlType, value: Field<'_>) -> Result<Option<String>, Fault> {
    let Field::Date(year, month, day, _) = value else { return Ok(None) };
    let (days, clock) = date(value)?;
    let clock = (*sql_type != SqlType::Date).then_some(clock);
    Ok(if days.is_none() { Some(neutral::odd_date(u32::from(year), u32::from(month), u32::from(day), clock)) } else { None })
}

fn date(value: Field<'_>) -> Result<(Option<i32>, i64), Fault> {
    match value {
        Field::Date(year, month, day, (hours, minutes, seconds, us)) => {
            let days = neutral::date_days(u32::from(year), u32::from(month), u32::from(day))?;
            Ok((days, neutral::time_us(false, u32::from(hours), u32::from(minutes), u32::from(seconds), us)?))
        }
        _ => Err(MISFIT),
    }
}

fn uuid(text: &[u8]) -> Result<[u8; 16], Fault> {
    let digit = |letter: u8| char::from(letter).to_digit(16).map(|digit| digit as u8);
    let digits: Vec<u8> = text.iter().filter(|letter| **letter != b'-').filter_map(|letter| digit(*letter)).collect();
    let mut all = [0; 16];
    if digits.len() != 32 {
        return Err(MISFIT);
    }
    for (byte, pair) in all.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair[0] << 4 | pair[1];
    }
    Ok(all)
}
