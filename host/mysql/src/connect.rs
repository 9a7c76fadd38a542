//! Connections: TLS, limits and the pinned session.
//!
//! The session's settings are pinned, so that no default of the server or of the user changes how values are written:
//! no SQL modes, UTC, UTF-8, and network timeouts that outlast a reader which waits for its target.

use std::time::Duration;

use mysql_async::prelude::{FromRow, Queryable};
use mysql_async::{Conn, Opts, OptsBuilder, SslOpts};
use tidegate_connector::{ConnectorError, ServerSettings, TlsMode};

use crate::charset::{Charset, Charsets};
use crate::fault;
use crate::raw::{RawConn, RawConnector};

/// How long a login may take. By guess: a busy server across an ocean answers within a second or two.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Greatest packet: the protocol's own limit. A before and an after image together exceed the server's
/// `max_allowed_packet`, and it sends them all the same.
const PACKET_BYTES_MAX: usize = 1 << 30;

/// Seconds that the server waits for us to read or write. A SELECT whose reader waits for its target must not be cut
/// off; a day is longer than any wait that leads somewhere.
const NET_TIMEOUT_S: u32 = 86_400;

/// Opens connections to one server.
#[derive(Debug, Clone)]
pub(crate) struct Connector {
    opts: Opts,
    address: String,
    raw: RawConnector,
    charsets: Charsets,
}

impl Connector {
    /// # Errors
    /// `tls_roots` when the system's certificates are asked for and cannot be read.
    pub(crate) fn new(server: &ServerSettings) -> Result<Self, ConnectorError> {
        Self::with(server, false)
    }

    /// Connections that write: updates count the rows that they find, not those that they change.
    pub(crate) fn for_target(server: &ServerSettings) -> Result<Self, ConnectorError> {
        Self::with(server, true)
    }

    fn with(server: &ServerSettings, finds_rows: bool) -> Result<Self, ConnectorError> {
        // Both providers may be compiled in by other packages; the choice must be made before the first handshake.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // A load reads for as long as it takes. Each server has a limit of another name, and takes the other's for a comment; MariaDB also
        // passes over comments of the versions 50700 to 50999: <https://mariadb.com/kb/en/comment-syntax/>.
        let session = format!(
            "set session sql_mode = '', time_zone = '+00:00', net_write_timeout = {NET_TIMEOUT_S}, net_read_timeout = {NET_TIMEOUT_S}, \
             wait_timeout = {NET_TIMEOUT_S}, group_concat_max_len = 1048576 /*!50708 , max_execution_time = 0 */ \
             /*M!100101 , max_statement_time = 0 */"
        );
        let setup = vec!["set names utf8mb4".to_owned(), session];
        let opts = OptsBuilder::default()
            .ip_or_hostname(server.host.clone())
            .tcp_port(server.port)
            .user(Some(server.user.clone()))
            .pass(Some(server.password.reveal().to_owned()))
            .db_name(server.database.clone())
            .ssl_opts(ssl_opts(&server.tls)?)
            .prefer_socket(false)
            .tcp_keepalive(Some(Duration::from_secs(30)))
            .tcp_nodelay(true)
            .max_allowed_packet(Some(PACKET_BYTES_MAX))
            .wait_timeout(Some(NET_TIMEOUT_S as usize))
            .stmt_cache_size(0)
            .client_found_rows(finds_rows)
            .setup(setup.clone());
        let raw = RawConnector::new(server, setup, LOGIN_TIMEOUT)?;
        Ok(Self { opts: opts.into(), address: format!("{}:{}", server.host, server.port), raw, charsets: Charsets::default() })
    }

    /// A character set of the server by its name; `None` for one that is not supported.
    pub(crate) async fn charset(&self, name: &str) -> Result<Option<Charset>, ConnectorError> {
        self.charsets.get(self, name).await
    }

    /// A new connection of our own, with the pinned session.
    pub(crate) async fn open_raw(&self) -> Result<RawConn, ConnectorError> {
        self.raw.open().await
    }

    /// A new connection with the pinned session.
    pub(crate) async fn open(&self) -> Result<Conn, ConnectorError> {
        let what = format!("connect to {}", self.address);
        match tokio::time::timeout(LOGIN_TIMEOUT, Conn::new(self.opts.clone())).await {
            Ok(result) => result.map_err(|error| fault::driver(&what, error)),
            Err(_) => Err(ConnectorError::transient("connect_timeout", format!("{what}: no login within {} s", LOGIN_TIMEOUT.as_secs()))),
        }
    }
}

fn ssl_opts(tls: &TlsMode) -> Result<Option<SslOpts>, ConnectorError> {
    let with_roots = |authorities: &Option<String>| -> Result<SslOpts, ConnectorError> {
        let roots = match authorities {
            Some(pem) => vec![pem.clone().into_bytes().into()],
            None => {
                let found = rustls_native_certs::load_native_certs();
                if found.certs.is_empty() {
                    return Err(ConnectorError::definite("tls_roots", "no certificate authorities found on this system")
                        .hint("install ca-certificates, or give the endpoint its authorities"));
                }
                found.certs.iter().map(|certificate| certificate.as_ref().to_vec().into()).collect()
            }
        };
        Ok(SslOpts::default().with_disable_built_in_roots(true).with_root_certs(roots))
    };
    Ok(match tls {
        TlsMode::Disable => None,
        TlsMode::Require => Some(SslOpts::default().with_danger_accept_invalid_certs(true).with_danger_skip_domain_validation(true)),
        TlsMode::VerifyCa { authorities_pem } => Some(with_roots(authorities_pem)?.with_danger_skip_domain_validation(true)),
        TlsMode::VerifyFull { authorities_pem } => Some(with_roots(authorities_pem)?),
    })
}

/// All rows of a statement.
pub(crate) async fn rows<T>(conn: &mut Conn, what: &str, sql: &str) -> Result<Vec<T>, ConnectorError>
where
    T: FromRow + Send + 'static,
{
    let found = conn.query(sql).await.map_err(|error| fault::driver(what, error))?;
    whole(conn, what).await.map(|()| found)
}

/// The first row of a statement that always has one.
pub(crate) async fn row<T>(conn: &mut Conn, what: &str, sql: &str) -> Result<T, ConnectorError>
where
    T: FromRow + Send + 'static,
{
    let first = conn.query_first(sql).await.map_err(|error| fault::driver(what, error))?;
    whole(conn, what).await?;
    first.ok_or_else(|| ConnectorError::definite("unexpected_answer", format!("{what}: the server answered no row")))
}

/// MariaDB answers questions about its tables without those whose locks it waited for too long, and only warns of it.
async fn whole(conn: &mut Conn, what: &str) -> Result<(), ConnectorError> {
    const LOCK_WAIT: u16 = 1205;
    if conn.get_warnings() == 0 {
        return Ok(());
    }
    let warnings: Vec<(String, u16, String)> = conn.query("show warnings").await.map_err(|error| fault::driver(what, error))?;
    if warnings.iter().any(|(_, code, _)| *code == LOCK_WAIT) {
        let text = format!("{what}: another session has held a table's lock for too long");
        return Err(ConnectorError::transient("lock_wait", text));
    }
    Ok(())
}

/// A statement without an answer.
pub(crate) async fn run(conn: &mut Conn, what: &str, sql: &str) -> Result<(), ConnectorError> {
    conn.query_drop(sql).await.map_err(|error| fault::driver(what, error))
}
