//! Listeners: TLS, a Unix socket.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use tempalias::net::tls::Identity;
use tempfile::TempDir;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::site::{Answer, PATIENCE, Site, read_answer};

const NAME: &str = "alias.test";

/// A certificate of its own in `dir`, and its key.
fn write_certificate(dir: &TempDir) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    std::fs::write(dir.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(dir.path().join("cert.pem"), made.cert.pem()).unwrap();
    CertificateDer::from_pem_file(dir.path().join("cert.pem")).unwrap()
}

/// GET over TLS, to a server that has to show `trusted`.
fn get(site: &Site, trusted: &CertificateDer<'static>, path: &str) -> std::io::Result<Answer> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connection = ClientConnection::new(Arc::new(config), ServerName::try_from(NAME).unwrap()).unwrap();
    let stream = TcpStream::connect(site.addresses[0])?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut tls = StreamOwned::new(connection, stream);
    tls.write_all(format!("GET {path} HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n").as_bytes())?;
    Ok(read_answer(&mut tls))
}

#[test]
fn with_a_certificate_everything_is_https_and_says_so() {
    let dir = TempDir::new().unwrap();
    let certificate = write_certificate(&dir);
    let identity = Identity::load(&dir.path().join("cert.pem"), &dir.path().join("key.pem")).unwrap();
    let site = Site::behind(|listeners| listeners.identity = Some(identity.clone()));
    let page = get(&site, &certificate, "/").unwrap();
    assert_eq!(page.status, 200);
    assert_eq!(page.header("strict-transport-security"), "max-age=31536000");

    // A new certificate is shown to the next client.
    let newer = write_certificate(&dir);
    assert!(identity.reload().unwrap());
    assert!(get(&site, &certificate, "/").is_err());
    assert_eq!(get(&site, &newer, "/healthz").unwrap().status, 200);

    // Who speaks plain HTTP hears nothing it could take for an answer.
    let mut plain = site.connect();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut said = Vec::new();
    let _ = plain.read_to_end(&mut said);
    assert!(!said.starts_with(b"HTTP/"), "{said:?}");
}

#[test]
fn who_does_not_finish_a_handshake_is_not_waited_for() {
    let dir = TempDir::new().unwrap();
    write_certificate(&dir);
    let identity = Identity::load(&dir.path().join("cert.pem"), &dir.path().join("key.pem")).unwrap();
    let site = Site::behind(|listeners| listeners.identity = Some(identity));
    let mut silent = site.connect();
    let mut said = Vec::new();
    silent.read_to_end(&mut said).expect("closed within its time");
    assert!(said.is_empty());
}

#[test]
fn strict_transport_is_asked_for_only_under_tls() {
    let site = Site::configured(|config| config.http.trusted_proxies = vec!["127.0.0.1".parse().unwrap()]);
    let asked = |scheme: &str| site.request("GET", "/", &[("X-Forwarded-Proto", scheme)], None);
    assert_eq!(site.get("/").header("strict-transport-security"), "");
    assert_eq!(asked("http").header("strict-transport-security"), "");
    assert_eq!(asked("https").header("strict-transport-security"), "max-age=31536000");
    let untrusting = Site::start();
    let claimed = untrusting.request("GET", "/", &[("X-Forwarded-Proto", "https")], None);
    assert_eq!(claimed.header("strict-transport-security"), "");
}

#[test]
fn a_proxy_can_come_through_a_unix_socket() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("http.sock");
    let site =
        Site::behind(|listeners| listeners.unix = Some(tokio::net::UnixListener::bind(&path).unwrap()));
    let mut stream = UnixStream::connect(&path).unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-Proto: https\r\nConnection: close\r\n\r\n")
        .unwrap();
    let page = read_answer(&mut stream);
    assert_eq!(page.status, 200);
    assert_ne!(page.header("strict-transport-security"), "");
    assert_eq!(site.get("/").status, 200);
}
