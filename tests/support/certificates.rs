//! Certificates made for a test, good ones and bad ones, and the authority behind them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use tempfile::TempDir;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{
    ALL_VERSIONS, ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion,
};

/// Who certifies, with its own certificate in a file.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: TempDir,
}

/// A certificate with its key, both in PEM.
pub struct Certificate {
    /// The certificate.
    pub chain: String,
    /// Its private key.
    pub key: String,
}

/// When a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Not any more.
    Past,
    /// While the tests run.
    Now,
    /// Not yet.
    Future,
}

/// Where a certificate and its key are kept, for a program to find them.
pub struct Files {
    /// The certificate.
    pub chain: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    _dir: TempDir,
}

impl Authority {
    /// One that nobody knows yet.
    pub fn new() -> Self {
        let mut params = parameters(&[], Validity::Now);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "authority of the tests");
        let issuer = CertifiedIssuer::self_signed(params, new_key()).expect("an authority certifies itself");
        let dir = TempDir::new().expect("a temporary directory can be made");
        fs::write(dir.path().join("ca.pem"), issuer.pem()).expect("a file can be written");
        Authority { issuer, dir }
    }

    /// Its certificate's file.
    pub fn file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// A certificate for `names`, which may be addresses.
    pub fn certify(&self, names: &[&str]) -> Certificate {
        self.certify_when(names, Validity::Now)
    }

    /// One that is good at another time.
    pub fn certify_when(&self, names: &[&str], validity: Validity) -> Certificate {
        let key = new_key();
        let certificate = parameters(names, validity).signed_by(&key, &self.issuer);
        Certificate { chain: certificate.expect("an authority can sign").pem(), key: key.serialize_pem() }
    }

    /// A TLS client that trusts this authority.
    pub fn client(&self) -> Arc<ClientConfig> {
        self.client_of(ALL_VERSIONS)
    }

    /// One that speaks some `versions` of TLS only.
    pub fn client_of(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("it is a certificate");
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_protocol_versions(versions).expect("the provider knows them");
        Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
    }
}

impl Certificate {
    /// One that stands for itself.
    pub fn self_signed(names: &[&str]) -> Self {
        let key = new_key();
        let certificate = parameters(names, Validity::Now).self_signed(&key);
        Certificate {
            chain: certificate.expect("a key can sign its certificate").pem(),
            key: key.serialize_pem(),
        }
    }

    /// What is sent of it in a handshake.
    pub fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.chain.as_bytes()).expect("it is a certificate")
    }

    /// A TLS server with this certificate.
    pub fn server(&self) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("it is a key");
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("the provider knows them");
        let config = builder.with_no_client_auth().with_single_cert(vec![self.der()], key);
        Arc::new(config.expect("certificate and key belong together"))
    }

    /// Puts it into files of its own.
    pub fn files(&self) -> Files {
        let dir = TempDir::new().expect("a temporary directory can be made");
        let files = Files { chain: dir.path().join("mx.crt"), key: dir.path().join("mx.key"), _dir: dir };
        files.replace(self);
        files
    }
}

impl Files {
    /// Another certificate in the place of the one that is there.
    pub fn replace(&self, by: &Certificate) {
        replace(&self.chain, &by.chain);
        replace(&self.key, &by.key);
    }

    /// The settings that name them, for the MX.
    pub fn settings(&self) -> [(&'static str, String); 2] {
        [("smtp.tls_cert", format!("{:?}", self.chain)), ("smtp.tls_key", format!("{:?}", self.key))]
    }
}

/// Gives the file at `path` a new `text`, in one step: nobody ever reads half of it.
pub fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).expect("a file can be written");
    // `check` does not like keys that everybody may read.
    fs::set_permissions(&new, Permissions::from_mode(0o600)).expect("it is our file");
    fs::rename(new, path).expect("a file can be renamed");
}

fn new_key() -> KeyPair {
    KeyPair::generate().expect("a key can be made")
}

fn parameters(names: &[&str], validity: Validity) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("these can be names");
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.use_authority_key_identifier_extension = true;
    let (from, to) = match validity {
        Validity::Past => (2000, 2001),
        Validity::Now => (2000, 4000),
        Validity::Future => (3999, 4000),
    };
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(to, 1, 1);
    params
}
