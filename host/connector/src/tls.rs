//! TLS as the endpoint asks for it, and nothing less: there is no fallback from one mode to another.
//!
//! `Require` encrypts and checks that the server holds the key of the certificate that it shows, but not who it is;
//! `VerifyCa` checks the chain but not the name; `VerifyFull` both. Source of the meaning of the modes: PostgreSQL
//! manual, "Protection Provided in Different Modes" (libpq).

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::{ConnectorError, TlsMode};

/// The client's side of TLS for a mode; `None` for plain text.
///
/// # Errors
/// `tls_settings` when the authorities cannot be read, or there are none.
pub fn client_config(mode: &TlsMode) -> Result<Option<Arc<ClientConfig>>, ConnectorError> {
    let provider = Arc::new(ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match mode {
        TlsMode::Disable => return Ok(None),
        TlsMode::Require => Arc::new(AnyName { chain: None, provider: Arc::clone(&provider) }),
        TlsMode::VerifyCa { authorities_pem } => {
            let chain = Some(chain_verifier(authorities_pem.as_deref(), &provider)?);
            Arc::new(AnyName { chain, provider: Arc::clone(&provider) })
        }
        TlsMode::VerifyFull { authorities_pem } => chain_verifier(authorities_pem.as_deref(), &provider)?,
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|cause| ConnectorError::definite("tls_settings", "choose TLS versions").caused_by(cause))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(Some(Arc::new(config)))
}

fn chain_verifier(pem: Option<&str>, provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, ConnectorError> {
    let roots = Arc::new(authorities(pem)?);
    WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider))
        .build()
        .map_err(|cause| ConnectorError::definite("tls_settings", "use certificate authorities").caused_by(cause))
}

fn authorities(pem: Option<&str>) -> Result<RootCertStore, ConnectorError> {
    let mut roots = RootCertStore::empty();
    match pem {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let certificate = certificate.map_err(|cause| {
                    ConnectorError::definite("tls_settings", "read the endpoint's certificate authorities as PEM").caused_by(cause)
                })?;
                roots
                    .add(certificate)
                    .map_err(|cause| ConnectorError::definite("tls_settings", "use a certificate authority").caused_by(cause))?;
            }
        }
        None => {
            // One unreadable file among the system's must not stop the others.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err(ConnectorError::definite("tls_settings", "found no certificate authority, wanted at least one")
            .hint("give the endpoint the PEM of its authority, or install the system's (apt-get install ca-certificates)"));
    }
    Ok(roots)
}

/// Checks less than `VerifyFull` does: that the server holds the key of its certificate, and the chain where one is asked for.
#[derive(Debug)]
struct AnyName {
    /// `None`: any certificate will do.
    chain: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        // The name is checked last, after the chain, so a wrong name alone means that the rest is right.
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. })) => {
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
