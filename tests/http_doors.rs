//! Page and API through the doors that the configuration opens: HTTPS, and a Unix socket.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

#[expect(dead_code, reason = "each test program uses its part of the kit")]
mod support;

use std::path::Path;

use support::appliance::Appliance;
use support::program::{run, said, succeed};
use support::smarthost::Smarthost;
use tempfile::TempDir;

const NAME: &str = "mx.alias.test";

/// A certificate that signs itself, and its key; what is there is replaced.
fn write_certificate(dir: &Path) {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
}

#[test]
fn with_certificate_files_the_page_is_there_by_https_only() {
    let dir = TempDir::new().unwrap();
    write_certificate(dir.path());
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let smarthost = Smarthost::start();
    let settings = [("http.tls_cert", format!("{cert:?}")), ("http.tls_key", format!("{key:?}"))];
    let settings = settings.each_ref().map(|(key, value)| (*key, value.as_str()));
    let mut appliance = Appliance::start_with(smarthost.address(), &settings);

    let port = appliance.http.port();
    let url = format!("https://{NAME}:{port}/");
    let resolve = format!("{NAME}:{port}:127.0.0.1");
    let arguments = ["-sS", "-i", "--cacert", cert.to_str().unwrap(), "--resolve", &resolve, &url];
    let page = succeed("curl", arguments, b"");
    assert!(page.contains("strict-transport-security: ") && page.contains("<h1"), "{page}");
    let plain = run("curl", ["-sS", &format!("http://127.0.0.1:{port}/")], b"");
    assert!(!plain.status.success(), "{}", said(&plain));
    assert!(appliance.stop().success());
}

#[test]
fn the_unix_socket_is_there_again_after_a_crash() {
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("http.sock");
    let smarthost = Smarthost::start();
    let setting = format!("{socket:?}");
    let mut appliance = Appliance::start_with(smarthost.address(), &[("http.socket", &setting)]);
    let ask = || {
        let arguments = ["-sS", "--unix-socket", socket.to_str().unwrap(), "http://localhost/healthz"];
        succeed("curl", arguments, b"")
    };
    assert_eq!(ask(), "ok\n");
    appliance.kill();
    appliance.restart();
    assert_eq!(ask(), "ok\n");
    assert!(appliance.stop().success());
}
