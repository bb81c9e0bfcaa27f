//! Our certificate and key, reloaded when their files change.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use tokio_rustls::rustls::sign::{CertifiedKey, SigningKey};
use tokio_rustls::rustls::{Error, InconsistentKeys, ServerConfig};
use tokio_rustls::server::TlsStream;
use x509_parser::extensions::GeneralName;
use x509_parser::time::ASN1Time;

use super::{TlsError, certificates, error, provider};
use crate::clock::{self, Timestamp};

/// Deadline of a handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Our certificate and key, for all listeners that share them. Clones share what is loaded.
#[derive(Clone)]
pub struct Identity {
    current: Arc<Current>,
    acceptor: TlsAcceptor,
}

/// What is presented to clients right now, and the files it was read from.
struct Current {
    certified: ArcSwap<CertifiedKey>,
    read_from: ArcSwap<Source>,
}

/// The files of certificate and key, and how they were when they were read.
#[derive(Clone, PartialEq)]
struct Source {
    cert: PathBuf,
    key: PathBuf,
    states: [Option<State>; 2],
}

/// A file as it was at some moment: inode and time of the last change to it, in seconds and
/// nanoseconds. The time of modification would not do: copies keep it, and it shows no change of
/// owner or permissions.
type State = (u64, i64, i64);

impl Identity {
    /// Loads the PEM files `cert` (the chain, our own first) and `key`.
    ///
    /// # Errors
    /// When one of them cannot be read, holds nothing of its kind, or they do not belong together.
    pub fn load(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        // Before reading: what changes meanwhile is read again.
        let source = Source::new(cert, key);
        let current = Arc::new(Current {
            certified: ArcSwap::new(read(cert, key)?),
            read_from: ArcSwap::from_pointee(source),
        });
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("aws-lc-rs knows the default versions")
            .with_no_client_auth()
            .with_cert_resolver(current.clone());
        // Outlook drops mail over session tickets (mox #237, chasquid #64, maddy #730).
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Identity { current, acceptor })
    }

    /// Reads the files again if they have changed; true when there is something new. Sessions that
    /// go on are not touched.
    ///
    /// # Errors
    /// As [`Identity::load`], or when the new certificate has expired and the old one has not; the
    /// old one stays in use.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let before = self.current.read_from.load_full();
        let source = Source::new(&before.cert, &before.key);
        if *before == source {
            return Ok(false);
        }
        // Noted even when it fails, so that a broken file is reported once and not every time.
        self.current.read_from.store(Arc::new(source));
        let certified = read(&before.cert, &before.key)?;
        let facts = Facts::of(&certified);
        if facts.have_expired() && !self.facts().have_expired() {
            return Err(error(&before.cert, "has expired"));
        }
        self.current.certified.store(certified);
        Ok(true)
    }

    /// What the certificate in use says of itself.
    pub fn facts(&self) -> Facts {
        Facts::of(&self.current.certified.load())
    }

    /// Presents what `other` does from now on, read from its files.
    pub fn become_like(&self, other: &Identity) {
        self.current.read_from.store(other.current.read_from.load_full());
        self.current.certified.store(other.current.certified.load_full());
    }

    /// The handshake on an accepted connection.
    ///
    /// # Errors
    /// When it fails, or takes longer than 10 seconds.
    pub async fn accept(&self, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        timeout(HANDSHAKE_TIMEOUT, self.acceptor.accept(tcp)).await?
    }
}

/// What a certificate says of itself, as far as clients look at it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Its first second, if it could be read.
    pub not_before: Option<Timestamp>,
    /// Its last second.
    pub not_after: Option<Timestamp>,
    /// The host names it is for, `*` as a first label included.
    pub names: Vec<String>,
}

impl Facts {
    fn of(certified: &CertifiedKey) -> Self {
        certified.cert.first().and_then(|own| Facts::read(own)).unwrap_or_default()
    }

    /// Whether its time is over.
    pub fn have_expired(&self) -> bool {
        self.not_after.is_some_and(|end| end < clock::now())
    }

    fn read(certificate: &[u8]) -> Option<Self> {
        let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let instant = |time: &ASN1Time| Timestamp::from_second(time.timestamp()).ok();
        let names = certificate.subject_alternative_name().ok().flatten();
        let names = names.iter().flat_map(|extension| &extension.value.general_names);
        let names = names.filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        });
        Some(Facts {
            not_before: instant(&certificate.validity().not_before),
            not_after: instant(&certificate.validity().not_after),
            names: names.collect(),
        })
    }

    /// Whether it is for `host`; `*` stands for one label (RFC 6125 §6.4.3).
    pub fn is_for(&self, host: &str) -> bool {
        let parent = host.split_once('.').map(|(_, parent)| parent);
        self.names
            .iter()
            .any(|name| name == host || name.strip_prefix("*.").is_some_and(|rest| Some(rest) == parent))
    }
}

impl Source {
    fn new(cert: &Path, key: &Path) -> Self {
        Source { cert: cert.to_owned(), key: key.to_owned(), states: [state(cert), state(key)] }
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.certified.load_full())
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current(…)")
    }
}

fn read(cert: &Path, key: &Path) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain = certificates(cert)?;
    let private = private_key(key)?;
    let certified = CertifiedKey::new(chain, private);
    match certified.keys_match() {
        // Some keys do not tell; the first handshake will.
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(Arc::new(certified)),
        Err(Error::InconsistentKeys(_)) => {
            Err(error(key, format!("does not belong to the certificate in {}", cert.display())))
        }
        Err(cause) => Err(error(cert, cause)),
    }
}

fn private_key(path: &Path) -> Result<Arc<dyn SigningKey>, TlsError> {
    let private = PrivateKeyDer::from_pem_file(path).map_err(|cause| match cause {
        pem::Error::NoItemsFound => error(path, "holds no private key, or an encrypted one"),
        cause => error(path, cause),
    })?;
    provider().key_provider.load_private_key(private).map_err(|cause| error(path, cause))
}

/// `None` while it cannot be looked at.
fn state(path: &Path) -> Option<State> {
    let file = std::fs::metadata(path).ok()?;
    Some((file.ino(), file.ctime(), file.ctime_nsec()))
}
