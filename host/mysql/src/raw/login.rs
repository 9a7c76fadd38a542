//! The login: greeting, TLS, and the two ways of proving a password that servers have by default.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mysql_async::consts::CapabilityFlags;
use mysql_async::{DriverError, Error, ServerError};
use mysql_common::io::ParseBuf;
use mysql_common::packets::{AuthPlugin, AuthSwitchRequest, HandshakePacket, HandshakeResponse, SslRequest};
use mysql_common::proto::MySerialize;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tidegate_connector::ServerSettings;
use tokio::net::TcpStream;

use super::packets::Packets;

/// After so long without a word the kernel asks whether the peer is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// What the server is told of our greatest packet: the protocol's own limit.
const PACKET_BYTES_MAX: u32 = 1 << 30;

/// `utf8mb4_general_ci`, which every server has.
const COLLATION: u8 = 45;

/// Packets of a session that is logged in.
pub(super) struct LoggedIn {
    pub(super) packets: Packets,
    /// Rows end with an OK packet, and nothing stands between the columns and them.
    pub(super) ends_with_ok: bool,
}

/// Logs in.
pub(super) async fn login(server: &ServerSettings, tls: Option<&Arc<ClientConfig>>) -> Result<LoggedIn, Error> {
    let tcp = TcpStream::connect((server.host.as_str(), server.port)).await?;
    tcp.set_nodelay(true)?;
    SockRef::from(&tcp).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
    let mut packets = Packets::over(tcp);
    let greeting = packets.next().await?;
    if greeting.first() == Some(&0xff) {
        return Err(server_error(&greeting));
    }
    let greeting = ParseBuf(&greeting).parse::<HandshakePacket<'_>>(())?.into_owned();
    let database = server.database.as_deref().filter(|name| !name.is_empty());
    let capabilities = greeting.capabilities() & wanted(tls.is_some(), database.is_some());
    if let Some(config) = tls {
        if !capabilities.contains(CapabilityFlags::CLIENT_SSL) {
            return Err(DriverError::NoClientSslFlagFromServer.into());
        }
        let name = ServerName::try_from(server.host.clone()).map_err(std::io::Error::other)?;
        packets.answer(&serialized(&SslRequest::new(capabilities, PACKET_BYTES_MAX, COLLATION))).await?;
        packets = packets.encrypted(Arc::clone(config), name).await?;
    }
    let plugin = match greeting.auth_plugin() {
        Some(AuthPlugin::CachingSha2Password) => AuthPlugin::CachingSha2Password,
        _ => AuthPlugin::MysqlNativePassword,
    };
    let mut proof = Proof { password: server.password.reveal(), plugin, nonce: greeting.nonce(), is_encrypted: tls.is_some() };
    let first = proof.first()?;
    let response = HandshakeResponse::new(
        Some(&first[..]),
        // Says only that the server knows utf8mb4.
        (8, 0, 0),
        Some(server.user.as_bytes()),
        database.map(str::as_bytes),
        Some(proof.plugin.borrow()),
        capabilities,
        None,
        PACKET_BYTES_MAX,
    );
    packets.answer(&serialized(&response)).await?;
    proof.finish(&mut packets).await?;
    Ok(LoggedIn { packets, ends_with_ok: capabilities.contains(CapabilityFlags::CLIENT_DEPRECATE_EOF) })
}

/// What is said in front of TLS is not taken back in it.
fn wanted(tls: bool, database: bool) -> CapabilityFlags {
    let mut wanted = CapabilityFlags::CLIENT_PROTOCOL_41
        | CapabilityFlags::CLIENT_LONG_PASSWORD
        | CapabilityFlags::CLIENT_LONG_FLAG
        | CapabilityFlags::CLIENT_TRANSACTIONS
        | CapabilityFlags::CLIENT_SECURE_CONNECTION
        | CapabilityFlags::CLIENT_PLUGIN_AUTH
        | CapabilityFlags::CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA
        | CapabilityFlags::CLIENT_DEPRECATE_EOF;
    wanted.set(CapabilityFlags::CLIENT_SSL, tls);
    wanted.set(CapabilityFlags::CLIENT_CONNECT_WITH_DB, database);
    wanted
}

pub(super) fn serialized(packet: &impl MySerialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.serialize(&mut bytes);
    bytes
}

/// Proves that the password is known.
struct Proof<'a> {
    password: &'a str,
    plugin: AuthPlugin<'static>,
    nonce: Vec<u8>,
    is_encrypted: bool,
}

impl Proof<'_> {
    /// What is sent without being asked again.
    fn first(&self) -> Result<Vec<u8>, Error> {
        match &self.plugin {
            AuthPlugin::CachingSha2Password | AuthPlugin::MysqlNativePassword => {
                let data = self.plugin.gen_data(Some(self.password), &self.nonce);
                Ok(data.as_deref().map(<[u8]>::to_vec).unwrap_or_default())
            }
            other => Err(DriverError::UnknownAuthPlugin { name: String::from_utf8_lossy(other.as_bytes()).into_owned() }.into()),
        }
    }

    async fn finish(&mut self, packets: &mut Packets) -> Result<(), Error> {
        let mut may_switch = true;
        loop {
            let packet = packets.next().await?;
            match (packet.first(), packet.get(1), &self.plugin) {
                (Some(0x00), ..) => return Ok(()),
                (Some(0xff), ..) => return Err(server_error(&packet)),
                (Some(0xfe), Some(_), _) if may_switch => {
                    may_switch = false;
                    let asked = ParseBuf(&packet).parse::<AuthSwitchRequest<'_>>(())?;
                    self.plugin = asked.auth_plugin().into_owned();
                    self.nonce = asked.plugin_data().to_vec();
                    packets.answer(&self.first()?).await?;
                }
                // The server knows the password's hash by heart; OK follows.
                (Some(0x01), Some(0x03), AuthPlugin::CachingSha2Password) => {}
                (Some(0x01), Some(0x04), AuthPlugin::CachingSha2Password) => self.whole(packets).await?,
                _ => return Err(unexpected()),
            }
        }
    }

    /// The server wants the password itself, which only it shall read.
    async fn whole(&self, packets: &mut Packets) -> Result<(), Error> {
        let mut password = self.password.as_bytes().to_vec();
        password.push(0);
        if !self.is_encrypted {
            packets.answer(&[0x02]).await?;
            let key = packets.next().await?;
            if key.first() == Some(&0xff) {
                return Err(server_error(&key));
            }
            if self.nonce.is_empty() || key.first() != Some(&0x01) {
                return Err(unexpected());
            }
            password.iter_mut().zip(self.nonce.iter().cycle()).for_each(|(byte, nonce)| *byte ^= nonce);
            // A key that is none makes it panic.
            let encrypt = AssertUnwindSafe(|| mysql_common::crypto::encrypt(&password, &key[1..]));
            password = catch_unwind(encrypt).map_err(|_| unexpected())?;
        }
        Ok(packets.answer(&password).await?)
    }
}

/// Something else than the protocol says. What it was may be a row, and is not kept.
pub(super) fn unexpected() -> Error {
    DriverError::UnexpectedPacket { payload: Vec::new() }.into()
}

/// The error of an error packet.
pub(crate) fn server_error(packet: &Bytes) -> Error {
    let Some((number, text)) = packet.get(1..).and_then(<[u8]>::split_first_chunk::<2>) else { return unexpected() };
    // Before the login errors have no state.
    let (state, text) = match text {
        [b'#', rest @ ..] if rest.len() >= 5 => rest.split_at(5),
        _ => (&b"HY000"[..], text),
    };
    let owned = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ServerError { code: u16::from_le_bytes(*number), message: owned(text), state: owned(state) }.into()
}
