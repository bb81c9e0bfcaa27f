//! Under TLS a message goes out as without: whole, or not at all, and paid for once.

use super::{NAMES, Scene, USES};
use crate::support::certificates::Authority;
use crate::support::client::Client;
use crate::support::smarthost::{Behaviour, Smarthost, Stage};
use crate::support::wait;

#[test]
fn an_idle_connection_is_used_again_with_its_tls_and_its_login() {
    let authority = Authority::new();
    let smarthost = Smarthost::start();
    smarthost.present(&authority.certify(&NAMES));
    let mut scene = Scene::new("starttls", &authority, smarthost);
    let mut client = Client::hello(scene.appliance.smtp);
    (0..3).for_each(|_| assert_eq!(client.deliver(&scene.alias.email).code(), 250));
    let record = scene.smarthost.record();
    assert_eq!((record.connections, record.handshakes, record.logins.len()), (1, 1, 1));
    assert!(record.accepted() == 3 && record.messages.iter().all(|message| message.encrypted));
    scene.ends_well();
}

#[test]
fn a_message_passes_through_tls_as_it_is() {
    let authority = Authority::new();
    let smarthost = Smarthost::start();
    smarthost.present(&authority.certify(&NAMES));
    let mut scene = Scene::new("starttls", &authority, smarthost);
    let lines = "für alle\r\n..\r\n..hidden\r\n".repeat(100_000);
    let mut client = Client::hello(scene.appliance.smtp);
    client.begin(&scene.alias.email);
    client.send(format!("Subject: hello\r\n\r\n{lines}.\r\n"));
    client.expect("250 2.0.0");
    let message = scene.smarthost.record().messages.remove(0);
    assert!(message.raw.ends_with(format!("\r\nSubject: hello\r\n\r\n{lines}").as_bytes()));
    assert!(message.encrypted);
    scene.ends_well();
}

#[test]
fn under_tls_too_a_use_is_spent_on_a_delivered_message_only() {
    let authority = Authority::new();
    let smarthost = Smarthost::start();
    smarthost.present(&authority.certify(&NAMES));
    let mut scene = Scene::new("starttls", &authority, smarthost);
    let mut left = USES;
    for (stage, behaviour, answer, spent) in [
        (Stage::Ehlo, Behaviour::Answer(550), "451 4.4.1", 0),
        (Stage::Mail, Behaviour::Twice, "451 4.4.1", 0),
        (Stage::Rcpt, Behaviour::Answer(550), "550 5.2.1", 0),
        (Stage::Rcpt, Behaviour::Drop, "451 4.4.1", 0),
        (Stage::Data, Behaviour::Answer(452), "451 4.3.0", 0),
        (Stage::Body, Behaviour::Drop, "451 4.4.1", 0),
        (Stage::Dot, Behaviour::Answer(451), "451 4.3.0", 0),
        (Stage::Dot, Behaviour::Answer(554), "554 5.0.0", 0),
        (Stage::Dot, Behaviour::Drop, "451 4.4.2", 1),
        (Stage::Dot, Behaviour::Silent, "451 4.4.2", 1),
        (Stage::Dot, Behaviour::Garbage, "451 4.4.2", 1),
    ] {
        scene.smarthost.set(stage, behaviour);
        let mut client = Client::hello(scene.appliance.smtp);
        let reply = match stage {
            Stage::Body => {
                client.begin(&scene.alias.email);
                client.send("Subject: half\r\n".repeat(6000));
                wait::until_equal("open connections", 0, || scene.smarthost.count(|record| record.open));
                client.send("\r\n.\r\n");
                client.reply()
            }
            _ => client.deliver(&scene.alias.email),
        };
        assert!(reply.text.starts_with(answer), "{behaviour:?} at {stage:?}: {reply:?}");
        drop(client);
        left -= spent;
        assert_eq!(scene.appliance.uses_left(&scene.alias), left, "{behaviour:?} at {stage:?}");
        wait::until_equal("open connections", 0, || scene.smarthost.count(|record| record.open));
        scene.smarthost.set(stage, Behaviour::Accept);
    }

    // After each of the two refusals of a whole message, and never to cancel one.
    assert_eq!(scene.smarthost.count(|record| record.heard("QUIT")), 2);

    let (messages, cut) =
        (scene.smarthost.count(|r| r.messages.len()), scene.smarthost.count(|r| r.cut.len()));
    let mut client = Client::hello(scene.appliance.smtp);
    client.begin(&scene.alias.email);
    client.send("Subject: half\r\n\r\nhalf of it\r\n");
    drop(client);
    wait::until_equal("messages cut", cut + 1, || scene.smarthost.count(|record| record.cut.len()));
    assert_eq!(scene.smarthost.count(|record| record.messages.len()), messages, "a dot was sent");
    assert_eq!(scene.smarthost.count(|record| record.heard("QUIT")), 2);
    assert_eq!(scene.appliance.uses_left(&scene.alias), left);
    scene.ends_well();
}
