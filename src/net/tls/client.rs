//! The client's side of TLS: whom to trust, and what went wrong in a handshake.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::WebPkiSupportedAlgorithms;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme, WantsVerifier,
};

use super::{TlsError, certificates, error, provider};

/// What makes TLS connections. Clones are cheap.
#[derive(Clone)]
pub struct Client {
    connector: TlsConnector,
}

impl Client {
    /// Trusts the authorities in `ca_file`, or the system's when there is none.
    ///
    /// # Errors
    /// When the file cannot be read or holds no certificate.
    pub fn verifying(ca_file: Option<&Path>) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        match ca_file {
            Some(path) => {
                for certificate in certificates(path)? {
                    roots.add(certificate).map_err(|cause| error(path, cause))?;
                }
            }
            None => {
                let found = rustls_native_certs::load_native_certs();
                let (_, ignored) = roots.add_parsable_certificates(found.certs);
                tracing::debug!(known = roots.len(), ignored, errors = ?found.errors, "the system's authorities");
            }
        }
        Ok(Client::new(builder().with_root_certificates(roots).with_no_client_auth()))
    }

    /// Encrypts without verifying the server's certificate (RFC 7435): against listeners on the line, not
    /// against somebody in the middle.
    pub fn opportunistic() -> Self {
        let verifier = AcceptAny(provider().signature_verification_algorithms);
        let config = builder().dangerous().with_custom_certificate_verifier(Arc::new(verifier));
        Client::new(config.with_no_client_auth())
    }

    fn new(config: ClientConfig) -> Self {
        Client { connector: TlsConnector::from(Arc::new(config)) }
    }

    /// The handshake with `host`, a name or an address, on a connection to it. It has no deadline of its
    /// own: it is one step of connecting, whose time the caller limits.
    ///
    /// # Errors
    /// See [`fault`].
    pub async fn connect(&self, host: &str, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|cause| io::Error::new(io::ErrorKind::InvalidInput, cause))?;
        self.connector.connect(name, tcp).await
    }
}

/// Why [`Client::connect`] has failed, without rustls's words: they hold names of the peer's.
pub fn fault(cause: &io::Error) -> &'static str {
    if cause.kind() == io::ErrorKind::InvalidInput {
        return "no certificate can be for its host name";
    }
    match cause.get_ref().and_then(|cause| cause.downcast_ref()) {
        Some(Error::InvalidCertificate(fault)) => certificate_fault(fault),
        Some(Error::AlertReceived(_)) => "it aborted the handshake",
        Some(Error::PeerIncompatible(_)) => "no TLS version or cipher in common",
        Some(_) => "TLS protocol error",
        None => "it hung up during the handshake",
    }
}

fn certificate_fault(fault: &CertificateError) -> &'static str {
    match fault {
        CertificateError::UnknownIssuer => "no trusted authority has signed its certificate",
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "its certificate has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its certificate is for another name"
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its certificate is not for servers"
        }
        CertificateError::Revoked => "its certificate was revoked",
        _ => "its certificate cannot be verified",
    }
}

fn builder() -> ConfigBuilder<ClientConfig, WantsVerifier> {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("aws-lc-rs knows the default versions")
}

/// Accepts any certificate; the handshake must still be sound.
#[derive(Debug)]
struct AcceptAny(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        tokio_rustls::rustls::crypto::verify_tls12_signature(message, cert, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        tokio_rustls::rustls::crypto::verify_tls13_signature(message, cert, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
