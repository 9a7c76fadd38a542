//! Connections of our own, for what is read in large amounts: the rows of a load, and the binary log.
//!
//! The driver has a packet twice while it makes values or events of it, and unfolds and parses events by itself. Here a packet
//! of a gigabyte is in the process once, and rows share it. Everything else (catalogues, settings, targets) stays with the driver.

mod field;
mod login;
mod packets;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mysql_async::Error;
use mysql_common::proto::MySerialize;
use rustls::ClientConfig;
use tidegate_connector::tls::client_config;
use tidegate_connector::{ConnectorError, ServerSettings};

pub(crate) use self::field::{Column, Field, fields};
pub(crate) use self::login::server_error;
use self::login::{login, serialized, unexpected};
use self::packets::FRAME_BYTES_MAX;
pub(crate) use self::packets::Packets;
use crate::binlog::bytes::{Fault, Reader};
use crate::fault;

const COM_QUIT: u8 = 0x01;
const COM_QUERY: u8 = 0x03;
const COM_STMT_PREPARE: u8 = 0x16;
const COM_STMT_EXECUTE: u8 = 0x17;

/// What opens a connection.
#[derive(Debug, Clone)]
pub(crate) struct RawConnector {
    server: ServerSettings,
    tls: Option<Arc<ClientConfig>>,
    /// Statements that every session begins with.
    setup: Vec<String>,
    timeout: Duration,
}

impl RawConnector {
    /// # Errors
    /// `tls_settings` when the authorities cannot be read.
    pub(crate) fn new(server: &ServerSettings, setup: Vec<String>, timeout: Duration) -> Result<Self, ConnectorError> {
        Ok(Self { server: server.clone(), tls: client_config(&server.tls)?, setup, timeout })
    }

    /// A new session.
    pub(crate) async fn open(&self) -> Result<RawConn, ConnectorError> {
        let what = format!("connect to {}:{}", self.server.host, self.server.port);
        let opening = async {
            let found = login(&self.server, self.tls.as_ref()).await.map_err(|error| fault::driver(&what, error))?;
            let mut conn = RawConn { packets: found.packets, ends_with_ok: found.ends_with_ok, columns: Vec::new() };
            for statement in &self.setup {
                conn.run(&what, statement).await?;
            }
            Ok(conn)
        };
        match tokio::time::timeout(self.timeout, opening).await {
            Ok(result) => result,
            Err(_) => Err(ConnectorError::transient("connect_timeout", format!("{what}: no login within {} s", self.timeout.as_secs()))),
        }
    }
}

/// A session.
pub(crate) struct RawConn {
    packets: Packets,
    ends_with_ok: bool,
    /// Of the rows that are being read.
    columns: Vec<Column>,
}

impl RawConn {
    /// Runs a statement without an answer.
    pub(crate) async fn run(&mut self, what: &str, sql: &str) -> Result<(), ConnectorError> {
        self.ask(COM_QUERY, sql.as_bytes()).await.and_then(|answer| done(&answer)).map_err(|error| fault::driver(what, error))
    }

    /// Rows of a statement as the server's text: for small answers.
    pub(crate) async fn texts(&mut self, what: &str, sql: &str) -> Result<Vec<Vec<Option<String>>>, ConnectorError> {
        self.text_rows(sql).await.map_err(|error| fault::driver(what, error))
    }

    /// The first value of a statement that always has one row.
    pub(crate) async fn text(&mut self, what: &str, sql: &str) -> Result<Option<String>, ConnectorError> {
        let first = self.texts(what, sql).await?.into_iter().next().and_then(|row| row.into_iter().next());
        first.ok_or_else(|| ConnectorError::definite("unexpected_answer", format!("{what}: the server answered no row")))
    }

    async fn text_rows(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>, Error> {
        let head = self.ask(COM_QUERY, sql.as_bytes()).await?;
        let count = self.columns(&head).await?;
        let mut rows = Vec::new();
        loop {
            let packet = self.answer().await?;
            if self.is_end(&packet) {
                return Ok(rows);
            }
            let mut reader = Reader::new(&packet, "row of text");
            let row = (0..count).map(|_| text_field(&mut reader)).collect::<Result<Vec<_>, Fault>>();
            rows.push(row.map_err(|_| unexpected())?);
        }
    }

    /// Prepares a statement and begins to read its rows in the binary protocol.
    pub(crate) async fn select(&mut self, sql: &str) -> Result<(), Error> {
        let prepared = self.ask(COM_STMT_PREPARE, sql.as_bytes()).await?;
        let mut reader = Reader::new(&prepared, "answer to PREPARE");
        let mut head = || -> Result<(u8, u32, u16, u16), Fault> { Ok((reader.u8()?, reader.u32()?, reader.u16()?, reader.u16()?)) };
        let Ok((0, statement, columns, 0)) = head() else { return Err(unexpected()) };
        self.definitions(usize::from(columns)).await?;
        // No cursor, one iteration.
        let execute = [&statement.to_le_bytes()[..], &[0, 1, 0, 0, 0]].concat();
        let answer = self.ask(COM_STMT_EXECUTE, &execute).await?;
        self.columns(&answer).await.map(|_| ())
    }

    /// The next row's packet; `None` after the last.
    pub(crate) async fn next_row(&mut self) -> Result<Option<Bytes>, Error> {
        let packet = self.answer().await?;
        Ok(if self.is_end(&packet) { None } else { Some(packet) })
    }

    /// Columns of the rows that are being read.
    pub(crate) fn row_columns(&self) -> &[Column] {
        &self.columns
    }

    /// Sends a command that the server answers with OK.
    pub(crate) async fn command(&mut self, what: &str, command: &impl MySerialize) -> Result<(), ConnectorError> {
        let answer = async {
            self.packets.command(&serialized(command)).await?;
            done(&self.answer().await?)
        };
        answer.await.map_err(|error: Error| fault::driver(what, error))
    }

    /// Sends a command whose answers the caller reads.
    pub(crate) async fn hand_over(mut self, what: &str, command: &impl MySerialize) -> Result<Packets, ConnectorError> {
        let sent = self.packets.command(&serialized(command)).await;
        sent.map_err(|error| fault::driver(what, error.into()))?;
        Ok(self.packets)
    }

    /// Ends the session.
    pub(crate) async fn quit(mut self) {
        let _ = self.packets.command(&[COM_QUIT]).await;
        self.packets.close().await;
    }

    async fn ask(&mut self, code: u8, body: &[u8]) -> Result<Bytes, Error> {
        self.packets.command(&[&[code], body].concat()).await?;
        self.answer().await
    }

    /// The next packet, unless it is an error.
    async fn answer(&mut self) -> Result<Bytes, Error> {
        let packet = self.packets.next().await?;
        if packet.first() == Some(&0xff) { Err(server_error(&packet)) } else { Ok(packet) }
    }

    /// Reads the columns that an answer announces.
    async fn columns(&mut self, head: &[u8]) -> Result<usize, Error> {
        let mut reader = Reader::new(head, "count of columns");
        let count = reader.length().ok().and_then(|count| u16::try_from(count).ok()).filter(|count| *count > 0 && reader.is_empty());
        let count = usize::from(count.ok_or_else(unexpected)?);
        self.definitions(count).await?;
        Ok(count)
    }

    async fn definitions(&mut self, count: usize) -> Result<(), Error> {
        self.columns.clear();
        for _ in 0..count {
            let packet = self.answer().await?;
            self.columns.push(Column::read(&packet).map_err(|_| unexpected())?);
        }
        if count == 0 || self.ends_with_ok {
            return Ok(());
        }
        // An EOF packet stands between the columns and what follows.
        let packet = self.answer().await?;
        if self.is_end(&packet) { Ok(()) } else { Err(unexpected()) }
    }

    /// True for what ends rows. A row of text may begin with the same byte, in front of a value that fills a frame.
    fn is_end(&self, packet: &[u8]) -> bool {
        packet.first() == Some(&0xfe) && packet.len() < if self.ends_with_ok { FRAME_BYTES_MAX } else { 9 }
    }
}

fn done(answer: &[u8]) -> Result<(), Error> {
    if answer.first() == Some(&0x00) { Ok(()) } else { Err(unexpected()) }
}

fn text_field(reader: &mut Reader<'_>) -> Result<Option<String>, Fault> {
    let mut ahead = reader.clone();
    if ahead.u8()? == 0xfb {
        *reader = ahead;
        return Ok(None);
    }
    let text = reader.prefixed()?;
    String::from_utf8(text.to_vec()).map(Some).map_err(|_| reader.fault())
}
