//! Start-up and password exchange of a replication connection.

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;
use tidegate_connector::{ConnectorError, ServerSettings};

use super::frame::{Frame, WireConnection, malformed};
use crate::connect::{database, open_stream, within_timeout};

/// The settings that change the text of values or end a quiet session, for servers from version 14. A replication
/// connection takes them at start-up, where they win over those of the role and the database.
const STARTUP_SETTINGS: &[(&str, &str)] = &[
    ("client_encoding", "UTF8"),
    ("datestyle", "ISO, YMD"),
    ("intervalstyle", "postgres"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("timezone", "UTC"),
    ("lc_monetary", "C"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", "0"),
    ("tcp_keepalives_idle", "30"),
    ("tcp_keepalives_interval", "6"),
    ("tcp_keepalives_count", "5"),
];

impl WireConnection {
    /// Opens a replication connection to the endpoint's database; `name` becomes its `application_name`, by which a
    /// later worker knows it for one of ours.
    pub(crate) async fn open(server: &ServerSettings, name: &str) -> Result<WireConnection, ConnectorError> {
        let attempted = format!("open replication connection to server \"{}:{}\"", server.host, server.port);
        let stream = open_stream(server).await?;
        within_timeout(&attempted, async {
            let mut connection = WireConnection::new(stream);
            let database = database(server)?;
            let own = [("user", server.user.as_str()), ("database", database), ("replication", "database"), ("application_name", name)];
            frontend::startup_message(own.into_iter().chain(STARTUP_SETTINGS.iter().copied()), connection.outbox())
                .map_err(|cause| ConnectorError::definite("endpoint_settings", attempted.clone()).caused_by(cause))?;
            connection.flush().await?;
            connection.authenticate(server, &attempted).await?;
            loop {
                match connection.next(&attempted).await?.tag {
                    b'Z' => return Ok(connection),
                    // The key for cancelling, which is never used here.
                    b'K' => {}
                    _ => return Err(malformed("an unexpected message during start-up")),
                }
            }
        })
        .await
    }

    async fn authenticate(&mut self, server: &ServerSettings, attempted: &str) -> Result<(), ConnectorError> {
        let password = server.password.reveal().as_bytes();
        let wanted = || {
            if password.is_empty() {
                return Err(ConnectorError::definite(
                    "password_refused",
                    format!("{attempted}: the server asks for a password, the endpoint has none"),
                )
                .hint("set the endpoint's password"));
            }
            Ok(())
        };
        match self.authentication(attempted).await? {
            Message::AuthenticationOk => return Ok(()),
            Message::AuthenticationSasl(body) => {
                wanted()?;
                let offered: Vec<String> =
                    body.mechanisms().map(|name| Ok(name.to_owned())).collect().map_err(|_| malformed("a list of SASL mechanisms"))?;
                if !offered.iter().any(|name| name == SCRAM_SHA_256) {
                    return Err(unsupported(attempted, &offered.join(", ")));
                }
                self.scram(password, attempted).await?;
            }
            Message::AuthenticationMd5Password(body) => {
                wanted()?;
                let hash = md5_hash(server.user.as_bytes(), password, body.salt());
                self.password(hash.as_bytes())?;
            }
            Message::AuthenticationCleartextPassword if self.is_encrypted() => {
                wanted()?;
                self.password(password)?;
            }
            Message::AuthenticationCleartextPassword => return Err(unsupported(attempted, "a password in plain text without TLS")),
            _ => return Err(unsupported(attempted, "another method")),
        }
        self.flush().await?;
        match self.authentication(attempted).await? {
            Message::AuthenticationOk => Ok(()),
            _ => Err(malformed("an unexpected message after the password")),
        }
    }

    async fn scram(&mut self, password: &[u8], attempted: &str) -> Result<(), ConnectorError> {
        let mut scram = ScramSha256::new(password, ChannelBinding::unsupported());
        let refused = |cause: std::io::Error| ConnectorError::definite("password_refused", attempted.to_owned()).caused_by(cause);
        frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), self.outbox()).map_err(refused)?;
        self.flush().await?;
        let Message::AuthenticationSaslContinue(body) = self.authentication(attempted).await? else {
            return Err(malformed("an unexpected message during SCRAM"));
        };
        scram.update(body.data()).map_err(refused)?;
        frontend::sasl_response(scram.message(), self.outbox()).map_err(refused)?;
        self.flush().await?;
        let Message::AuthenticationSaslFinal(body) = self.authentication(attempted).await? else {
            return Err(malformed("an unexpected message at the end of SCRAM"));
        };
        // Proves that the server knows the password too.
        scram.finish(body.data()).map_err(refused)
    }

    fn password(&mut self, password: &[u8]) -> Result<(), ConnectorError> {
        frontend::password_message(password, self.outbox())
            .map_err(|_| ConnectorError::definite("password_refused", "send password: found a zero byte in it, wanted none"))
    }

    async fn authentication(&mut self, attempted: &str) -> Result<Message, ConnectorError> {
        let Frame { tag, body } = self.next(attempted).await?;
        if tag != b'R' {
            return Err(malformed("an unexpected message during the password exchange"));
        }
        let mut whole = BytesMut::with_capacity(body.len() + 5);
        whole.extend_from_slice(&[tag]);
        whole.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        whole.extend_from_slice(&body);
        Message::parse(&mut whole).ok().flatten().ok_or_else(|| malformed("a message of the password exchange"))
    }
}

fn unsupported(attempted: &str, found: &str) -> ConnectorError {
    ConnectorError::definite("authentication_method", format!("{attempted}: the server asks for {found}, wanted SCRAM-SHA-256"))
        .hint("use scram-sha-256 in pg_hba.conf, and TLS for the endpoint")
}
