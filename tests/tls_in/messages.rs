//! Under TLS a message is read as without: however it arrives, to its real end.

use super::{Scene, USES};
use crate::support::client::Client;
use crate::support::wait;

#[test]
fn a_dialogue_may_come_octet_by_octet_or_all_at_once() {
    let scene = Scene::new();
    let head = format!(
        "EHLO client.test\r\nMAIL FROM:<sender@client.test>\r\nRCPT TO:<{}>\r\nDATA\r\n",
        scene.alias.email
    );
    let text = "Subject: hello\r\n\r\n..\r\nhello\r\n.\r\nQUIT\r\n";
    for size in [1, 7, usize::MAX] {
        let mut client = Client::hello(scene.appliance.smtp);
        client.start_tls(&scene.authority.client());
        for (part, answers) in [
            (&head, &["250-", "250 2.1.0", "250 2.1.5", "354"][..]),
            (&text.to_owned(), &["250 2.0.0", "221"]),
        ] {
            part.as_bytes().chunks(size).for_each(|chunk| client.send(chunk));
            answers.iter().for_each(|answer| drop(client.expect(answer)));
        }
        client.expect_close();
        let message = scene.smarthost.record().messages.pop().expect("it was delivered");
        assert!(message.body().ends_with(b"\r\n\r\n.\r\nhello\r\n"), "{message:?}");
    }
    assert_eq!(scene.appliance.uses_left(&scene.alias), USES - 3);
}

/// docs/smtp.md §5.
#[test]
fn a_false_end_ends_no_message_under_tls() {
    const FALSE_ENDS: [&str; 12] = [
        "\n.\n",
        "\n.\r\n",
        "\r\n.\n",
        "\r.\r",
        "\r.\n",
        "\n.\r",
        "\r.\r\n",
        "\r\n.\r",
        "\r\n\0.\r\n",
        "\r\n.\0\r\n",
        "\r\n.\r\r\n",
        "\r\r\n.\r\r\n",
    ];
    const BEHIND: &str =
        "MAIL FROM:<evil@client.test>\r\nRCPT TO:<postmaster>\r\nDATA\r\n\r\nsmuggled\r\n.\r\n";
    let scene = Scene::new();
    for vector in FALSE_ENDS {
        let message = format!("Subject: outer\r\n\r\nouter{vector}{BEHIND}");
        // One record, one for each octet, and the vector in two parts.
        let middle = message.len() - BEHIND.len() - 1;
        for parts in [
            vec![message.as_bytes()],
            message.as_bytes().chunks(1).collect(),
            vec![&message.as_bytes()[..middle], &message.as_bytes()[middle..]],
        ] {
            let mut client = scene.client();
            client.begin(&scene.alias.email);
            parts.into_iter().for_each(|part| client.send(part));
            client.expect("550 5.6.0");
            client.command("DATA", "503");
            client.command("QUIT", "221");
            client.expect_close();
        }
    }
    scene.is_untouched();
}

#[test]
fn text_before_the_354_ends_the_session_under_tls_too() {
    let scene = Scene::new();
    let mut client = scene.client();
    client.command("MAIL FROM:<sender@client.test>", "250");
    client.command(&format!("RCPT TO:<{}>", scene.alias.email), "250");
    client.send("DATA\r\nSubject: too early\r\n\r\nhello\r\n.\r\n");
    client.expect("554 5.5.0");
    client.expect_close();
    scene.is_untouched();
}

#[test]
fn a_client_that_is_cut_off_under_tls_spends_nothing() {
    let scene = Scene::new();
    let mut client = scene.client();
    client.begin(&scene.alias.email);
    client.send("Subject: half\r\n\r\nhalf of it\r\n");
    drop(client); // without a word: no close_notify, no dot
    wait::until_equal("messages cut", 1, || scene.smarthost.count(|record| record.cut.len()));
    scene.is_untouched();
    scene.is_well();
}

#[test]
fn a_session_under_tls_hears_of_the_end() {
    let mut scene = Scene::new();
    let mut client = scene.client();
    assert!(scene.appliance.stop().success());
    client.expect("421 4.3.2");
    client.expect_close();
}
