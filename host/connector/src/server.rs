//! How to reach a server.

use std::fmt;

use tidegate_model::Engine;

/// A text that is never shown: `Debug` prints a placeholder, and there is no `Display`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that sends it to its server.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// How a connection is protected. There is no silent fallback from one to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsMode {
    /// Plain text; only by explicit choice.
    Disable,
    /// TLS without checking who answers (DMS: `require`).
    Require,
    /// TLS with a certificate of a known authority (DMS: `verify-ca`).
    VerifyCa {
        /// PEM of the authorities; `None` uses the system's.
        authorities_pem: Option<String>,
    },
    /// TLS with a certificate of a known authority for this host name (DMS: `verify-full`). The default.
    VerifyFull {
        /// PEM of the authorities; `None` uses the system's.
        authorities_pem: Option<String>,
    },
}

/// Everything needed to connect to one database server.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// The kind of server.
    pub engine: Engine,
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// User.
    pub user: String,
    /// Password.
    pub password: Secret,
    /// Database to connect to; needed by PostgreSQL, optional elsewhere.
    pub database: Option<String>,
    /// Protection of the connection.
    pub tls: TlsMode,
}
