//! Connections to a PostgreSQL server: one byte stream for every use, and the settings that each session pins.
//!
//! Roles and databases carry settings of their own (`alter role … set datestyle = …`), and many of them change the
//! text of values or end a quiet session. Every session that reads or writes rows therefore sets them itself.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tidegate_connector::tls::client_config;
use tidegate_connector::{ConnectorError, ServerSettings};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::fault::io_error;
pub(crate) use crate::fault::pg_error;

/// How long a connection may take from the first packet to a ready session. DMS waits as long by default (by guess
/// good enough for a server in another region).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A dead peer is noticed after 30 + 5 × 6 = 60 seconds, PostgreSQL's own `wal_sender_timeout`.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(6);
const KEEPALIVE_RETRIES: u32 = 5;

/// Bytes that were sent and not acknowledged for so long end the connection; keep-alives pause while bytes are on
/// their way, and the kernel itself would go on for a quarter of an hour.
#[cfg(target_os = "linux")]
const SENT_TIMEOUT: Duration = Duration::from_secs(60);

/// Settings of every session, with the reason for each. Those that a server does not know are left out.
const PINNED: &[(&str, &str)] = &[
    // The text forms of values.
    ("datestyle", "ISO, YMD"),
    ("intervalstyle", "postgres"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("timezone", "UTC"),
    ("lc_monetary", "C"),
    ("xmloption", "content"),
    // A policy hides rows silently; off makes it an error.
    ("row_security", "off"),
    // How literals and names are read.
    ("standard_conforming_strings", "on"),
    ("escape_string_warning", "off"),
    ("search_path", ""),
    // Limits that a role may carry and that would cut a long load.
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", "0"),
    ("transaction_timeout", "0"),
    // A checkpoint that a crash of the target takes back must not have been confirmed to the source. Only raised from
    // "off": stronger settings stay.
    ("synchronous_commit", "on"),
    // The server notices a worker that vanished, and frees its locks.
    ("tcp_keepalives_idle", "30"),
    ("tcp_keepalives_interval", "6"),
    ("tcp_keepalives_count", "5"),
];

/// Somebody else's statement may come between two questions.
const POOLER_LOOKS: u32 = 5;

/// A connected stream of bytes, encrypted as the endpoint asks for.
pub(crate) enum Stream {
    /// Plain text.
    Plain(TcpStream),
    /// TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// True when nobody on the way can read along.
    pub(crate) fn is_encrypted(&self) -> bool {
        matches!(self, Stream::Tls(_))
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// A session with pinned settings. The connection ends when the client is dropped.
///
/// # Errors
/// Transient when the server cannot be reached; definite when it refuses the user, the password or the database.
pub(crate) async fn client(server: &ServerSettings, purpose: &str) -> Result<Client, ConnectorError> {
    let attempted = format!("connect to server \"{}:{}\"", server.host, server.port);
    within_timeout(&attempted, async {
        let stream = open_raw(server).await?;
        let mut config = Config::new();
        config.user(&server.user).application_name(format!("tidegate {purpose}")).ssl_mode(SslMode::Disable);
        if !server.password.reveal().is_empty() {
            config.password(server.password.reveal());
        }
        config.dbname(database(server)?);
        let (client, connection) = config.connect_raw(stream, NoTls).await.map_err(|error| login_error(&attempted, server, error))?;
        let purpose = purpose.to_owned();
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                let error = pg_error("serve connection", error);
                tracing::debug!(purpose, error = error.chain(), "connection ended");
            }
        });
        client.batch_execute(&pin_sql()).await.map_err(|error| pg_error("pin session settings", error))?;
        Ok(client)
    })
    .await
}

/// [`client`] of a server that keeps a session for each connection.
///
/// A pooler that lends sessions for one transaction each would have values read and written under settings that nobody pinned. Two connections
/// that are open at once are in one session of the server there, since the one that was given back last is lent first.
///
/// # Errors
/// As [`client`]'s; definite for such a pooler.
pub(crate) async fn unpooled_client(server: &ServerSettings, purpose: &str) -> Result<Client, ConnectorError> {
    let (one, other) = (client(server, purpose).await?, client(server, purpose).await?);
    for _ in 0..POOLER_LOOKS {
        if session_id(&one).await? == session_id(&other).await? {
            let found = format!("found a pooler at \"{}:{}\" that lends sessions for transactions", server.host, server.port);
            return Err(ConnectorError::definite("pooler", format!("{found}, wanted connections that keep their sessions"))
                .hint("name the server itself in the endpoint, or a pooler of the mode \"session\""));
        }
    }
    Ok(one)
}

/// By the simple protocol: a prepared statement would be one of another session.
async fn session_id(client: &Client) -> Result<String, ConnectorError> {
    let attempted = "ask for the session";
    let answer = client.simple_query("select pg_catalog.pg_backend_pid()").await.map_err(|error| pg_error(attempted, error))?;
    let id = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    id.ok_or_else(|| ConnectorError::transient("unexpected_answer", attempted))
}

/// Without a password the driver gives up by itself, in words that do not say so.
fn login_error(attempted: &str, server: &ServerSettings, error: tokio_postgres::Error) -> ConnectorError {
    let error = pg_error(attempted, error);
    if error.code() == "driver_refused" && server.password.reveal().is_empty() {
        return ConnectorError::definite("password_refused", format!("{attempted}: the server asks for a password, the endpoint has none"))
            .hint("set the endpoint's password");
    }
    error
}

/// A connected, if need be encrypted, stream on which nothing was said yet.
///
/// # Errors
/// Transient when the server cannot be reached; definite when it does not offer the TLS that was asked for.
pub(crate) async fn open_stream(server: &ServerSettings) -> Result<Stream, ConnectorError> {
    let attempted = format!("connect to server \"{}:{}\"", server.host, server.port);
    within_timeout(&attempted, open_raw(server)).await
}

/// The database to connect to.
pub(crate) fn database(server: &ServerSettings) -> Result<&str, ConnectorError> {
    server.database.as_deref().filter(|name| !name.is_empty()).ok_or_else(|| {
        ConnectorError::definite("database_missing", format!("endpoint of server \"{}:{}\" names no database", server.host, server.port))
            .hint("set the endpoint's database name")
    })
}

/// One statement that pins the settings which this server knows.
pub(crate) fn pin_sql() -> String {
    let dialect = tidegate_connector::Dialect::POSTGRES;
    let rows: Vec<String> = PINNED.iter().map(|(name, value)| format!("({}, {})", dialect.literal(name), dialect.literal(value))).collect();
    format!(
        "select pg_catalog.set_config(s.name, w.wanted, false) from (values {}) w(name, wanted) \
         join pg_catalog.pg_settings s on pg_catalog.lower(s.name) operator(pg_catalog.=) w.name \
         where w.name operator(pg_catalog.<>) 'synchronous_commit' or s.setting operator(pg_catalog.=) 'off'",
        rows.join(", ")
    )
}

/// Runs `work`, which makes a connection, within [`CONNECT_TIMEOUT`].
pub(crate) async fn within_timeout<T>(attempted: &str, work: impl Future<Output = Result<T, ConnectorError>>) -> Result<T, ConnectorError> {
    match tokio::time::timeout(CONNECT_TIMEOUT, work).await {
        Ok(result) => result,
        Err(_) => {
            let seconds = CONNECT_TIMEOUT.as_secs();
            Err(ConnectorError::transient("connect_timeout", format!("{attempted}: no answer within {seconds} seconds")))
        }
    }
}

async fn open_raw(server: &ServerSettings) -> Result<Stream, ConnectorError> {
    let attempted = format!("connect to server \"{}:{}\"", server.host, server.port);
    let broken = |error| io_error(&attempted, error);
    let mut tcp = TcpStream::connect((server.host.as_str(), server.port)).await.map_err(broken)?;
    tcp.set_nodelay(true).map_err(broken)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL).with_retries(KEEPALIVE_RETRIES);
    SockRef::from(&tcp).set_tcp_keepalive(&keepalive).map_err(broken)?;
    #[cfg(target_os = "linux")]
    SockRef::from(&tcp).set_tcp_user_timeout(Some(SENT_TIMEOUT)).map_err(broken)?;
    let Some(config) = client_config(&server.tls)? else {
        return Ok(Stream::Plain(tcp));
    };
    let mut request = bytes::BytesMut::new();
    postgres_protocol::message::frontend::ssl_request(&mut request);
    tcp.write_all(&request).await.map_err(broken)?;
    // Exactly one byte: anything that follows it before the handshake was put there by somebody else (CVE-2021-23222).
    let answer = tcp.read_u8().await.map_err(broken)?;
    if answer != b'S' {
        return Err(ConnectorError::definite("tls_not_offered", format!("{attempted}: found a server without TLS, wanted TLS"))
            .hint("set ssl = on in postgresql.conf, or choose tls \"disable\" for the endpoint"));
    }
    let name = ServerName::try_from(server.host.clone())
        .map_err(|cause| ConnectorError::definite("tls_settings", attempted.clone()).caused_by(cause))?;
    let tls = TlsConnector::from(config).connect(name, tcp).await.map_err(|error| tls_error(&attempted, error))?;
    Ok(Stream::Tls(Box::new(tls)))
}

/// A certificate that does not hold stays so until somebody acts; anything else may be the network.
fn tls_error(attempted: &str, error: io::Error) -> ConnectorError {
    let refused = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    match refused {
        Some(rustls::Error::InvalidCertificate(_)) => ConnectorError::definite("certificate_refused", format!("{attempted} with TLS"))
            .hint("give the endpoint the PEM of the server's authority, and the host name that its certificate is for")
            .caused_by(error),
        _ => io_error(&format!("{attempted} with TLS"), error),
    }
}
