//! Handshakes: what they may agree on, and those that come to nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, Connection, HandshakeKind};

use super::{NAMES, Scene};
use crate::support::client::Client;
use crate::support::program::{run, said};
use crate::support::wait;

#[test]
fn tls_1_2_and_1_3_are_spoken_without_tickets_and_nothing_is_resumed() {
    let scene = Scene::new();
    for version in [&TLS12, &TLS13] {
        // Each of these keeps what it could resume.
        let config = scene.authority.client_of(&[version]);
        for _ in 0..2 {
            let mut client = Client::encrypted(scene.appliance.smtp, &config);
            assert_eq!(client.deliver(&scene.alias.email).code(), 250);
            let Connection::Client(tls) = client.tls() else { unreachable!("it is the client's end") };
            assert_eq!(tls.protocol_version(), Some(version.version));
            assert_eq!(tls.handshake_kind(), Some(HandshakeKind::Full));
            assert_eq!(tls.tls13_tickets_received(), 0);
        }
    }
}

/// `openssl s_client` with `more` arguments, in a session that ends after the handshake.
fn openssl(scene: &Scene, more: &[&str]) -> String {
    let (address, ca) = (scene.appliance.smtp.to_string(), scene.authority.file());
    let arguments = ["s_client", "-starttls", "smtp", "-connect", &address, "-CAfile"];
    let ca = ca.to_string_lossy();
    said(&run("openssl", arguments.iter().copied().chain([&*ca]).chain(more.iter().copied()), b"QUIT\r\n"))
}

#[test]
fn old_protocols_and_weak_ciphers_are_refused() {
    let scene = Scene::new();
    for offer in [
        ["-tls1", "-cipher", "ALL:@SECLEVEL=0"],
        ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
        ["-tls1_2", "-cipher", "ALL:!AESGCM:!CHACHA20:@SECLEVEL=0"],
        ["-tls1_2", "-cipher", "ALL:!kECDHE:@SECLEVEL=0"],
        ["-tls1_2", "-cipher", "aNULL:eNULL:@SECLEVEL=0"],
    ] {
        let said = openssl(&scene, &offer);
        // It was us who refused, and not OpenSSL that did not ask.
        assert!(said.contains("SSL alert number") && said.contains("Cipher is (NONE)"), "{offer:?}: {said}");
    }
    for offer in [&["-tls1_2", "-cipher", "ALL:@SECLEVEL=0"][..], &["-tls1_3"]] {
        let said = openssl(&scene, offer);
        assert!(said.contains("Verify return code: 0 (ok)"), "{offer:?}: {said}");
        assert!(said.contains("GCM") || said.contains("CHACHA20"), "{offer:?}: {said}");
        assert!(!said.contains("session ticket:"), "{offer:?}: {said}");
    }
}

#[test]
fn a_server_name_may_be_unknown_or_an_address_and_ends_the_handshake_when_it_is_malformed() {
    let scene = Scene::new();
    // An address is not allowed there (RFC 6066 §3), and passed over. Underscores are in names of hosts.
    for name in [
        "mx.alias.test",
        "MX.Alias.Test.",
        "elsewhere.test",
        "single",
        "mail_1.alias.test",
        "192.0.2.1",
        "2001:db8::1",
    ] {
        let said = openssl(&scene, &["-servername", name]);
        assert!(said.contains("Verify return code: 0 (ok)"), "{name}: {said}");
    }
    let said = openssl(&scene, &["-noservername"]);
    assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
    // rustls ends the handshake over what cannot be a name at all, before anybody is asked.
    for name in [
        "[192.0.2.1]",
        "mx alias.test",
        "-mx.alias.test",
        "mx..alias.test",
        "mx.alias.test:25",
        "b\u{fc}cher.test",
    ] {
        let said = openssl(&scene, &["-servername", name]);
        assert!(
            said.contains("alert illegal parameter") && said.contains("Cipher is (NONE)"),
            "{name}: {said}"
        );
    }
    scene.is_well();
}

#[test]
fn a_handshake_that_does_not_come_is_cut_off_after_ten_seconds() {
    let scene = Scene::new();
    let hello = client_hello(&scene.authority.client());
    let start = Instant::now();
    let mut silent = scene.before_handshake();
    let mut slow = scene.before_handshake();
    slow.send(&hello[..hello.len() - 1]);
    assert!(silent.rest().is_empty());
    let waited = start.elapsed();
    assert!((Duration::from_secs(9)..Duration::from_secs(15)).contains(&waited), "{waited:?}");
    assert!(slow.rest().is_empty());
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    scene.is_well();
}

/// The first message of a handshake.
fn client_hello(config: &Arc<ClientConfig>) -> Vec<u8> {
    let name = NAMES[0].try_into().expect("this is a name");
    let mut connection = ClientConnection::new(config.clone(), name).expect("a client can be made");
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).expect("memory takes everything");
    hello
}

#[test]
fn whoever_speaks_no_tls_after_starttls_is_cut_off_and_harms_nobody() {
    let scene = Scene::new();
    let mut neighbour = scene.client();
    neighbour.begin(&scene.alias.email);
    let descriptors = scene.appliance.descriptors();
    for garbage in [
        &b"EHLO client.test\r\n"[..],
        b"GET / HTTP/1.1\r\n\r\n",
        &[0; 100],
        &[0xff; 20_000],
        b"\x16\x03\x01\xff\xff",
        b"\x16\x03\x01\x00\x05\x01\xff\xff\xff\xff",
        b"\x15\x03\x03\x00\x02\x02\x28",
    ] {
        let mut client = scene.before_handshake();
        client.send(garbage);
        client.end();
        let rest = client.rest();
        // An alert at most.
        assert!(rest.is_empty() || rest[0] == 0x15, "{garbage:?} was answered {rest:?}");
    }
    wait::until_equal("descriptors", descriptors, || scene.appliance.descriptors());
    neighbour.send("Subject: hello\r\n\r\nhello\r\n.\r\n");
    neighbour.expect("250 2.0.0");
}

#[test]
fn clients_that_hang_up_in_the_handshake_leave_nothing_behind() {
    let scene = Scene::new();
    let hello = client_hello(&scene.authority.client());
    let descriptors = scene.appliance.descriptors();
    for sent in [0, 1, 5, hello.len() / 2, hello.len()] {
        for _ in 0..10 {
            let mut client = scene.before_handshake();
            client.send(&hello[..sent]);
        }
    }
    wait::until_equal("descriptors", descriptors, || scene.appliance.descriptors());
    scene.is_well();
}
