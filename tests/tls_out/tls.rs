//! Each setting of `smarthost.tls`: whether there is TLS, whom it trusts, and what it does without.

use super::{NAMES, PASSWORD, Scene};
use crate::support::certificates::{Authority, Certificate, Validity};
use crate::support::client::Client;
use crate::support::smarthost::{Behaviour, Smarthost, Stage};

/// Certificates that prove nothing.
fn bad_certificates(authority: &Authority) -> [(&'static str, Certificate); 6] {
    [
        ("another name", authority.certify(&["other.test", "127.0.0.2"])),
        ("no name", authority.certify(&[])),
        ("not any more", authority.certify_when(&NAMES, Validity::Past)),
        ("not yet", authority.certify_when(&NAMES, Validity::Future)),
        ("another authority", Authority::new().certify(&NAMES)),
        ("no authority", Certificate::self_signed(&NAMES)),
    ]
}

/// Ways not to shake hands.
const NO_HANDSHAKE: [Behaviour; 3] = [Behaviour::Drop, Behaviour::Silent, Behaviour::Garbage];

#[test]
fn none_speaks_clear_text_whatever_is_offered() {
    let authority = Authority::new();
    let mut scene = Scene::new("none", &authority, Smarthost::start());
    scene.smarthost.present(&authority.certify(&NAMES));
    scene.delivers(false, "TLS is offered");
    assert_eq!(scene.smarthost.count(|record| record.heard("STARTTLS")), 0);
    scene.ends_well();
}

#[test]
fn opportunistic_encrypts_whatever_the_certificate() {
    let authority = Authority::new();
    let mut scene = Scene::new("opportunistic", &authority, Smarthost::start());
    scene.delivers(false, "TLS is not offered");
    scene.smarthost.present(&authority.certify(&NAMES));
    scene.delivers(true, "a good certificate");
    for (what, certificate) in bad_certificates(&authority) {
        scene.smarthost.present(&certificate);
        scene.delivers(true, what);
    }
    scene.ends_well();
}

#[test]
fn opportunistic_goes_on_in_clear_text_when_tls_fails() {
    let authority = Authority::new();
    let mut scene = Scene::new("opportunistic", &authority, Smarthost::start());
    scene.smarthost.present(&authority.certify(&NAMES));
    for refusal in [454, 500, 502, 554] {
        scene.smarthost.set(Stage::StartTls, Behaviour::Answer(refusal));
        scene.delivers(false, &format!("STARTTLS is refused with {refusal}"));
    }
    scene.smarthost.set(Stage::StartTls, Behaviour::Accept);
    for fault in [Behaviour::Drop, Behaviour::Garbage] {
        scene.smarthost.set(Stage::Handshake, fault);
        scene.delivers(false, &format!("{fault:?} in the handshake"));
    }
    scene.smarthost.set(Stage::Handshake, Behaviour::Accept);
    scene.delivers(true, "it is well again");
    assert_eq!(scene.appliance.logged("continuing in clear text"), 6);
    scene.ends_well();
}

#[test]
fn starttls_and_implicit_encrypt_and_verify_by_name_or_address() {
    let authority = Authority::new();
    let certificate = authority.certify(&NAMES);
    let ca_file = format!("{:?}", authority.file());
    for host in ["\"localhost\"", "\"127.0.0.1\""] {
        let settings = [("smarthost.ca_file", ca_file.as_str()), ("smarthost.host", host)];
        let smarthost = Smarthost::start();
        smarthost.present(&certificate);
        let mut starttls = Scene::with("starttls", smarthost, PASSWORD, &settings);
        starttls.delivers(true, host);
        assert_eq!(starttls.smarthost.count(|record| record.heard("STARTTLS")), 1);
        starttls.ends_well();
        let mut implicit = Scene::with("implicit", Smarthost::under_tls(&certificate), PASSWORD, &settings);
        implicit.delivers(true, host);
        assert_eq!(implicit.smarthost.count(|record| record.heard("STARTTLS")), 0);
        implicit.ends_well();
    }
}

#[test]
fn a_certificate_that_proves_nothing_means_try_again() {
    let authority = Authority::new();
    let good = authority.certify(&NAMES);
    for (tls, smarthost) in [("starttls", Smarthost::start()), ("implicit", Smarthost::under_tls(&good))] {
        let mut scene = Scene::new(tls, &authority, smarthost);
        for (what, certificate) in bad_certificates(&authority) {
            scene.smarthost.present(&certificate);
            scene.refuses_to_talk(what);
        }
        assert_eq!(scene.smarthost.count(|record| record.handshakes), 0);
        for (words, times) in [
            ("its certificate is for another name", 2),
            ("its certificate has expired", 1),
            ("its certificate is not valid yet", 1),
            ("no trusted authority has signed its certificate", 1),
            ("its certificate ", 5),
            ("TLS failed", 6),
            ("other.test", 0),
        ] {
            assert_eq!(scene.appliance.logged(words), times, "{words}: {:#?}", scene.appliance.stderr());
        }
        scene.smarthost.present(&good);
        scene.delivers(true, tls);
        scene.ends_well();
    }
}

#[test]
fn without_a_ca_file_the_system_says_whom_to_trust() {
    let authority = Authority::new();
    let smarthost = Smarthost::start();
    smarthost.present(&authority.certify(&NAMES));
    let mut scene = Scene::with("starttls", smarthost, PASSWORD, &[]);
    scene.refuses_to_talk("an authority the system does not know");
    scene.ends_well();
    // rustls-native-certs asks where OpenSSL asks: here for the system's list.
    scene.appliance.restart_with(&[("SSL_CERT_FILE", &authority.file().to_string_lossy())]);
    scene.delivers(true, "an authority the system knows");
    scene.ends_well();
}

#[test]
fn starttls_that_is_not_to_be_had_means_try_again() {
    let authority = Authority::new();
    let mut scene = Scene::new("starttls", &authority, Smarthost::start());
    scene.refuses_to_talk("not offered");
    assert_eq!(scene.smarthost.count(|record| record.heard("STARTTLS")), 0);
    scene.smarthost.present(&authority.certify(&NAMES));
    let refusals = [421, 454, 500, 502, 554].map(Behaviour::Answer);
    let faults = [&NO_HANDSHAKE[..], &[Behaviour::EndlessReply, Behaviour::EndlessLine], &refusals].concat();
    for fault in faults {
        scene.smarthost.set(Stage::StartTls, fault);
        scene.refuses_to_talk(&format!("{fault:?} at STARTTLS"));
    }
    scene.smarthost.set(Stage::StartTls, Behaviour::Accept);
    for fault in NO_HANDSHAKE {
        scene.smarthost.set(Stage::Handshake, fault);
        scene.refuses_to_talk(&format!("{fault:?} in the handshake"));
    }
    scene.smarthost.set(Stage::Handshake, Behaviour::Accept);
    scene.delivers(true, "it is well again");
    scene.ends_well();
}

#[test]
fn implicit_tls_that_is_not_to_be_had_means_try_again() {
    let authority = Authority::new();
    let mut scene = Scene::new("implicit", &authority, Smarthost::start());
    scene.refuses_to_talk("it speaks clear text");
    scene.ends_well();
    let smarthost = Smarthost::under_tls(&authority.certify(&NAMES));
    let mut scene = Scene::new("implicit", &authority, smarthost);
    for fault in NO_HANDSHAKE {
        scene.smarthost.set(Stage::Handshake, fault);
        scene.refuses_to_talk(&format!("{fault:?} in the handshake"));
    }
    scene.smarthost.set(Stage::Handshake, Behaviour::Accept);
    scene.delivers(true, "it is well again");
    scene.ends_well();
}

/// CVE-2011-0411, the client's side of it.
#[test]
fn clear_text_behind_the_220_ends_the_attempt() {
    let authority = Authority::new();
    for tls in ["starttls", "opportunistic"] {
        let mut scene = Scene::new(tls, &authority, Smarthost::start());
        scene.smarthost.present(&authority.certify(&NAMES));
        scene.smarthost.set(Stage::StartTls, Behaviour::Twice);
        scene.refuses_to_talk(tls);
        assert_eq!(scene.smarthost.count(|record| record.handshakes), 0);
        scene.smarthost.set(Stage::StartTls, Behaviour::Accept);
        scene.delivers(true, tls);
        scene.ends_well();
    }
}

#[test]
fn what_was_offered_in_clear_text_is_forgotten() {
    let authority = Authority::new();
    let mut scene = Scene::new("starttls", &authority, Smarthost::start());
    scene.smarthost.present(&authority.certify(&NAMES));

    scene.smarthost.offer(&["8BITMIME", "SIZE 10", "AUTH PLAIN"]);
    scene.smarthost.offer_under_tls(&["SIZE 100000", "AUTH LOGIN"]);
    scene.delivers(true, "over the size in clear text");
    assert_eq!(scene.smarthost.record().logins[0].mechanism, "LOGIN");
    let mut client = Client::hello(scene.appliance.smtp);
    client.command("MAIL FROM:<sender@client.test> BODY=8BITMIME", "250");
    client.command(&format!("RCPT TO:<{}>", scene.alias.email), "554 5.6.3");

    scene.smarthost.offer(&["AUTH PLAIN LOGIN", "SIZE 100000"]);
    scene.smarthost.offer_under_tls(&["8BITMIME", "SIZE 10", "AUTH PLAIN"]);
    scene.smarthost.hang_up();
    client.command("RSET", "250");
    client.command("MAIL FROM:<sender@client.test> BODY=8BITMIME SIZE=5", "250");
    client.command(&format!("RCPT TO:<{}>", scene.alias.email), "250");
    let commands = scene.smarthost.record().commands;
    assert!(commands.iter().any(|c| c.ends_with(" SIZE=5 BODY=8BITMIME")), "{commands:#?}");
    // What the smarthost can do is what we offer from now on.
    let offer = client.command("EHLO client.test", "250");
    assert!(offer.text.contains("\n250-SIZE 10\n"), "{offer:?}");
    client.command("MAIL FROM:<sender@client.test> SIZE=50", "552 5.3.4");

    // A way in that is offered in clear text only is none.
    scene.smarthost.offer_under_tls(&["8BITMIME"]);
    scene.refuses_to_talk("no AUTH under TLS");
    scene.ends_well();
}
