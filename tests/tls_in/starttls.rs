//! The command: when it is offered and taken, and what is forgotten after it.

use super::{Scene, USES};
use crate::support::appliance::Appliance;
use crate::support::client::Client;

#[test]
fn starttls_is_offered_with_a_certificate_and_in_clear_text_only() {
    let scene = Scene::new();
    let mut client = Client::connect(scene.appliance.smtp);
    client.expect("220");
    let offer = client.command("EHLO client.test", "250");
    assert!(offer.text.contains("\n250-STARTTLS\n"), "{offer:?}");
    client.start_tls(&scene.authority.client());
    let offer = client.command("EHLO client.test", "250");
    assert!(!offer.text.contains("STARTTLS"), "{offer:?}");

    let without = Appliance::start(&scene.smarthost);
    let mut client = Client::connect(without.smtp);
    client.expect("220");
    let offer = client.command("EHLO client.test", "250");
    assert!(!offer.text.contains("STARTTLS"), "{offer:?}");
    client.command("STARTTLS", "502 5.5.1");
    client.command("NOOP", "250");
}

#[test]
fn starttls_comes_after_ehlo_without_an_argument_and_once() {
    let scene = Scene::new();
    let mut client = Client::connect(scene.appliance.smtp);
    client.expect("220");
    client.command("STARTTLS", "503 5.5.1");
    client.command("HELO client.test", "250");
    client.command("STARTTLS", "503 5.5.1");
    client.command("EHLO client.test", "250");
    client.command("STARTTLS now", "501 5.5.4");
    client.command("starttls", "220 2.0.0");
    client.try_handshake(&scene.authority.client()).expect("the handshake succeeds");
    client.command("EHLO client.test", "250");
    client.command("STARTTLS", "503 5.5.1");
    client.command("STARTTLS now", "501 5.5.4");
    assert_eq!(client.deliver(&scene.alias.email).code(), 250);
}

#[test]
fn what_was_said_in_clear_text_is_forgotten() {
    let scene = Scene::new();
    let mut client = Client::hello(scene.appliance.smtp);
    client.start_tls(&scene.authority.client());
    for command in ["MAIL FROM:<sender@client.test>", &format!("RCPT TO:<{}>", scene.alias.email), "DATA"] {
        client.command(command, "503 5.5.1");
    }
    client.command("EHLO client.test", "250");
    assert_eq!(client.deliver(&scene.alias.email).code(), 250);
}

#[test]
fn a_transaction_that_starttls_ends_spends_nothing() {
    let scene = Scene::new();
    let mut client = Client::hello(scene.appliance.smtp);
    client.command("MAIL FROM:<sender@client.test>", "250");
    client.command(&format!("RCPT TO:<{}>", scene.alias.email), "250");
    assert_eq!(scene.smarthost.count(|record| record.open), 1);
    client.start_tls(&scene.authority.client());
    scene.is_untouched();
    for command in ["DATA", &format!("RCPT TO:<{}>", scene.alias.email), "MAIL FROM:<sender@client.test>"] {
        client.command(command, "503 5.5.1");
    }
    client.command("EHLO client.test", "250");
    client.command("DATA", "503 5.5.1");
    scene.is_untouched();
    assert_eq!(client.deliver(&scene.alias.email).code(), 250);
    assert_eq!(scene.appliance.uses_left(&scene.alias), USES - 1);
}

#[test]
fn starttls_makes_nobody_a_new_client() {
    let scene = Scene::new();
    let mut client = Client::hello(scene.appliance.smtp);
    client.command("MAIL FROM:<sender@client.test>", "250");
    (0..5).for_each(|n| drop(client.command(&format!("RCPT TO:<guess{n}@alias.test>"), "550 5.1.1")));
    client.start_tls(&scene.authority.client());
    client.command("EHLO client.test", "250");
    client.command("MAIL FROM:<sender@client.test>", "250");
    (5..10).for_each(|n| drop(client.command(&format!("RCPT TO:<guess{n}@alias.test>"), "550 5.1.1")));
    client.command(&format!("RCPT TO:<{}>", scene.alias.email), "421 4.7.0");
    client.expect_close();
}

/// CVE-2011-0411.
#[test]
fn commands_that_came_with_starttls_in_clear_text_are_never_carried_out() {
    let scene = Scene::new();
    let message =
        format!("EHLO evil.test\r\nMAIL FROM:<evil@client.test>\r\nRCPT TO:<{}>\r\n", scene.alias.email);
    let mut client = Client::hello(scene.appliance.smtp);
    client.send(format!("STARTTLS\r\n{message}"));
    client.expect("220");
    client.try_handshake(&scene.authority.client()).expect("the handshake succeeds");
    // The first answer under TLS is to the first command under TLS.
    client.command("MAIL FROM:<sender@client.test>", "503 5.5.1");
    client.command("EHLO client.test", "250-mx.alias.test");
    client.command("DATA", "503 5.5.1");
    scene.is_untouched();
    assert_eq!(scene.smarthost.count(|record| record.connections), 0);

    // So many that they cannot all have been read with STARTTLS: they meet the handshake.
    let mut client = Client::hello(scene.appliance.smtp);
    client.send(format!("STARTTLS\r\n{}", message.repeat(100)));
    client.expect("220");
    let rest = client.rest();
    assert!(!rest.windows(3).any(|code| code == b"250"), "{:?}", String::from_utf8_lossy(&rest));
    scene.is_untouched();
    assert_eq!(scene.smarthost.count(|record| record.connections), 0);
}

#[test]
fn received_says_that_there_was_tls() {
    let scene = Scene::new();
    assert_eq!(Client::hello(scene.appliance.smtp).deliver(&scene.alias.email).code(), 250);
    assert_eq!(scene.client().deliver(&scene.alias.email).code(), 250);
    let record = scene.smarthost.record();
    for (message, protocol) in record.messages.iter().zip(["ESMTP", "ESMTPS"]) {
        let text = String::from_utf8(message.body()).expect("it was ASCII");
        assert!(text.contains(&format!(" with {protocol} id ")), "{text}");
    }
}
