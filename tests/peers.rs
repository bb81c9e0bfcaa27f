//! docs/smtp.md §11: the programs that mail really comes from and goes to: Postfix on both sides, swaks,
//! curl, and Python's smtplib. Messages are counted at the far end.

use tempfile::NamedTempFile;

use crate::support::appliance::{Alias, Appliance};
use crate::support::client::Client;
use crate::support::postfix::{Postfix, free_address, next_hop};
use crate::support::program::{is_root, run, said, succeed};
use crate::support::smarthost::{Behaviour, Smarthost, Stage};
use crate::support::wait;

/// What a peer's text must come through as it is: dots, 8 bits, a long line, no line end too many.
const TEXT: &str = "Subject: through and through\r\n\r\n.\r\n..\r\nfür alle\r\n.hidden\r\n";

/// Appliance, smarthost, and an alias with `uses`.
fn scene(uses: u32) -> (Smarthost, Appliance, Alias) {
    let smarthost = Smarthost::start();
    let appliance = Appliance::start(&smarthost);
    let alias = appliance.alias("target@mailbox.test", uses);
    (smarthost, appliance, alias)
}

/// Says so when Postfix cannot run here; `scripts/test` says it too.
fn postfix_may_run() -> bool {
    let root = is_root();
    if !root {
        eprintln!("SKIPPED: Postfix starts with root's rights only");
    }
    root
}

fn swaks(appliance: &Appliance, to: &str, more: &[&str]) -> std::process::Output {
    let (host, port) = (appliance.smtp.ip().to_string(), appliance.smtp.port().to_string());
    let arguments = [
        "--server",
        &host,
        "--port",
        &port,
        "--helo",
        "client.test",
        "--from",
        "sender@client.test",
        "--to",
        to,
    ];
    run("swaks", arguments.iter().chain(more), b"")
}

#[test]
fn swaks_delivers_until_the_last_use() {
    let (smarthost, appliance, alias) = scene(2);
    for left in [1, 0] {
        let output = swaks(&appliance, &alias.email, &["--body", ".\\n..\\nhello"]);
        assert!(output.status.success(), "{}", said(&output));
        assert_eq!(appliance.uses_left(&alias), left);
    }
    let output = swaks(&appliance, &alias.email, &[]);
    // swaks(1): 24 is an error at RCPT.
    assert_eq!(output.status.code(), Some(24), "{}", said(&output));
    assert!(said(&output).contains("550 5.1.1"), "{}", said(&output));
    let record = smarthost.record();
    assert_eq!(record.accepted(), 2);
    assert!(record.connections <= 2, "a refused recipient is no reason to connect");
    let text = String::from_utf8(record.messages[0].body()).expect("swaks sends ASCII");
    assert!(text.contains("\r\n.\r\n..\r\nhello\r\n"), "{text}");
}

#[test]
fn swaks_that_hangs_up_spends_a_use_only_for_a_whole_message() {
    let (smarthost, appliance, alias) = scene(5);
    for point in ["CONNECT", "HELO", "MAIL", "RCPT", "DATA"] {
        for how in ["--drop-after", "--drop-after-send"] {
            if (how, point) != ("--drop-after-send", "CONNECT") {
                swaks(&appliance, &alias.email, &[how, point]);
                wait::until_equal("open connections", 0, || smarthost.count(|record| record.open));
                assert_eq!(appliance.uses_left(&alias), 5, "{how} {point}");
            }
        }
    }
    assert_eq!(smarthost.count(|record| record.messages.len()), 0);
    // Gone after the final dot, with the answer unread: delivered all the same.
    swaks(&appliance, &alias.email, &["--drop-after-send", "DOT"]);
    wait::until_equal("messages", 1, || smarthost.accepted());
    wait::until_equal("uses left", 4, || appliance.uses_left(&alias));
}

#[test]
fn curl_delivers_text_unchanged() {
    let (smarthost, appliance, alias) = scene(1);
    let file = NamedTempFile::new().expect("a temporary file can be made");
    std::fs::write(file.path(), TEXT).expect("a file can be written");
    let url = format!("smtp://{}/client.test", appliance.smtp);
    let path = file.path().to_string_lossy();
    let arguments = [
        "-sS",
        &url,
        "--mail-from",
        "sender@client.test",
        "--mail-rcpt",
        &alias.email,
        "--upload-file",
        &path,
    ];
    succeed("curl", arguments, b"");
    let message = smarthost.record().messages.pop().expect("the message is at the smarthost");
    assert!(message.body().ends_with(TEXT.as_bytes()), "{:?}", String::from_utf8_lossy(&message.raw));
    assert_eq!(message.recipients, ["target@mailbox.test"]);

    let again = run("curl", arguments, b"");
    assert!(!again.status.success());
    assert_eq!((appliance.uses_left(&alias), smarthost.accepted()), (0, 1));
}

#[test]
fn python_delivers_many_on_one_connection_and_is_told_who_was_refused() {
    const SCRIPT: &str = r#"
import smtplib, sys
host, port, shop, news = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
smtp = smtplib.SMTP(host, port, timeout=20)
smtp.ehlo("client.test")
assert smtp.has_extn("size") and smtp.has_extn("8bitmime") and smtp.has_extn("pipelining")
text = b"Subject: hello\r\n\r\n.\r\n..\r\nf\xc3\xbcr alle\r\n"
# Who is not taken has a message of their own.
refused = smtp.sendmail("sender@client.test", [shop, news], text, ["BODY=8BITMIME"])
assert list(refused) == [news] and refused[news][0] == 452, refused
assert smtp.sendmail("sender@client.test", list(refused), text, ["BODY=8BITMIME"]) == {}
refused = smtp.sendmail("sender@client.test", [shop, "never@alias.test"], text)
assert list(refused) == ["never@alias.test"] and refused["never@alias.test"][0] == 550, refused
# The null sender, and a megabyte.
assert smtp.sendmail("", [news], text + (b"y" * 78 + b"\r\n") * 13000) == {}
try:
    smtp.sendmail("sender@client.test", [shop], text)
    raise SystemExit("the third message was taken")
except smtplib.SMTPRecipientsRefused as error:
    code, words = error.recipients[shop]
    assert code == 550 and words.startswith(b"5.1.1 "), error
assert smtp.verify(shop)[0] == 252
smtp.quit()
"#;
    let (smarthost, appliance, shop) = scene(2);
    let news = appliance.alias("news@mailbox.test", 5);
    let (host, port) = (appliance.smtp.ip().to_string(), appliance.smtp.port().to_string());
    succeed("python3", ["-c", SCRIPT, &host, &port, &shop.email, &news.email], b"");
    assert_eq!((appliance.uses_left(&shop), appliance.uses_left(&news)), (0, 3));
    let record = smarthost.record();
    assert_eq!(record.accepted(), 4);
    assert!(record.messages[0].body().ends_with("\r\n\r\n.\r\n..\r\nfür alle\r\n".as_bytes()));
    assert!(record.messages[3].body().len() > 1_000_000);
}

#[test]
fn postfix_as_a_client_tries_again_and_pays_once() {
    if !postfix_may_run() {
        return;
    }
    let (smarthost, appliance, alias) = scene(3);
    let postfix = Postfix::client(appliance.smtp, "");
    smarthost.set(Stage::Dot, Behaviour::Answer(451));
    postfix.send(&[&alias.email], "Subject: patience\n\n.\nhello\n");
    wait::until_equal("the queue", vec!["deferred".to_owned()], || postfix.queue());
    assert_eq!((appliance.uses_left(&alias), smarthost.accepted()), (3, 0));

    smarthost.set(Stage::Dot, Behaviour::Accept);
    postfix.flush();
    wait::until_equal("the queue", Vec::<String>::new(), || postfix.queue());
    assert_eq!((appliance.uses_left(&alias), smarthost.accepted()), (2, 1));
    let text = smarthost.record().messages.pop().expect("it was accepted").body();
    assert!(text.ends_with(b"\r\n\r\n.\r\nhello\r\n"), "{}", String::from_utf8_lossy(&text));
}

/// A Postfix that tries again after a second, and not after minutes.
const IMPATIENT: &str = "queue_run_delay = 1s\nminimal_backoff_time = 1s\nmaximal_backoff_time = 1s";

/// Five aliases, each with one use, and their addresses.
fn five_aliases(appliance: &Appliance) -> (Vec<Alias>, Vec<String>) {
    let aliases: Vec<_> = (1..=5).map(|n| appliance.alias(&format!("t{n}@mailbox.test"), 1)).collect();
    let addresses = aliases.iter().map(|alias| alias.email.clone()).collect();
    (aliases, addresses)
}

/// The recipients of all messages that were accepted, each of which has one.
fn recipients(smarthost: &Smarthost) -> Vec<String> {
    let messages = smarthost.record().messages.into_iter();
    let mut recipients: Vec<_> = messages
        .filter(|message| message.accepted)
        .flat_map(|message| <[String; 1]>::try_from(message.recipients).expect("a message has one recipient"))
        .collect();
    recipients.sort();
    recipients
}

const ALL_FIVE: [&str; 5] =
    ["t1@mailbox.test", "t2@mailbox.test", "t3@mailbox.test", "t4@mailbox.test", "t5@mailbox.test"];

/// docs/smtp.md §3: every further recipient hears 452.
#[test]
fn postfix_as_a_client_delivers_a_message_to_five_aliases_at_all_five() {
    if !postfix_may_run() {
        return;
    }
    let (smarthost, appliance, _) = scene(1);
    let (_, addresses) = five_aliases(&appliance);
    let postfix = Postfix::client(appliance.smtp, IMPATIENT);
    let to: Vec<_> = addresses.iter().map(String::as_str).collect();
    postfix.send(&to, "Subject: all five\n\nhello\n");
    wait::until_equal("messages", 5, || smarthost.accepted());
    wait::until_equal("the queue", Vec::<String>::new(), || postfix.queue());
    assert_eq!(recipients(&smarthost), ALL_FIVE);
    assert!(!postfix.log().contains("status=bounced"), "{}", postfix.log());

    // A sender who knows of it sends one message for each, at once.
    let (_, addresses) = five_aliases(&appliance);
    let postfix = Postfix::client(appliance.smtp, "smtp_destination_recipient_limit = 1");
    let to: Vec<_> = addresses.iter().map(String::as_str).collect();
    postfix.send(&to, "Subject: all five\n\nhello\n");
    wait::until_equal("messages", 10, || smarthost.accepted());
    wait::until_equal("the queue", Vec::<String>::new(), || postfix.queue());
    assert!(!postfix.log().contains("status=deferred"), "{}", postfix.log());
}

/// docs/smtp.md §3: swaks has no queue, and says who was not taken.
#[test]
fn swaks_delivers_a_message_to_five_aliases_when_it_is_asked_again_for_those_that_are_left() {
    let (smarthost, appliance, _) = scene(1);
    let (mut aliases, _) = five_aliases(&appliance);
    for round in 1..=5 {
        let to: Vec<_> = aliases.iter().map(|alias| alias.email.as_str()).collect();
        let output = swaks(&appliance, &to.join(","), &[]);
        assert!(output.status.success(), "{}", said(&output));
        assert_eq!(said(&output).matches("452 4.5.3").count(), 5 - round, "{}", said(&output));
        aliases.retain(|alias| appliance.uses_left(alias) == 1);
    }
    assert_eq!(recipients(&smarthost), ALL_FIVE);
}

#[test]
fn postfix_as_a_client_delivers_to_the_living_and_hears_of_the_dead() {
    if !postfix_may_run() {
        return;
    }
    let (smarthost, appliance, alias) = scene(3);
    let other = appliance.alias("other@mailbox.test", 3);
    let postfix = Postfix::client(appliance.smtp, IMPATIENT);
    postfix.send(&[&alias.email, &other.email, "never@alias.test"], "Subject: all of you\n\nhello\n");
    // It keeps nobody in its queue: the dead one is gone for good.
    wait::until_equal("messages", 2, || smarthost.accepted());
    wait::until_equal("the queue", Vec::<String>::new(), || postfix.queue());
    assert_eq!(recipients(&smarthost), ["other@mailbox.test", "target@mailbox.test"]);
    assert_eq!((appliance.uses_left(&alias), appliance.uses_left(&other)), (2, 2));
}

/// An appliance in front of a Postfix with `settings`.
fn before_postfix(settings: impl Fn(&Appliance) -> String) -> (Appliance, Postfix) {
    let address = free_address();
    let appliance = Appliance::start_with(address, &[]);
    let postfix = Postfix::smarthost(address, &settings(&appliance));
    (appliance, postfix)
}

#[test]
fn postfix_as_smarthost_delivers_with_our_sender() {
    if !postfix_may_run() {
        return;
    }
    let (appliance, postfix) = before_postfix(|_| String::new());
    let alias = appliance.alias("target@mailbox.test", 2);
    for left in [1, 0] {
        assert_eq!(Client::hello(appliance.smtp).deliver(&alias.email).code(), 250);
        assert_eq!(appliance.uses_left(&alias), left);
    }
    assert_eq!(Client::hello(appliance.smtp).deliver(&alias.email).code(), 550);
    for message in postfix.mailbox(2) {
        assert!(message.starts_with(&format!("Return-Path: <b.{}.", alias.name())), "{message}");
        assert!(message.contains(&format!("\nDelivered-To: {}\n", alias.email)), "{message}");
        assert!(message.contains("\nSubject: hello\n") && message.ends_with("\n\nhello\n"), "{message}");
        assert!(!message.contains("sender@client.test"), "the sender goes no further: {message}");
    }
}

/// docs/smtp.md §2: what the mailbox forwards to another alias has our name in it twice, once by Postfix.
#[test]
fn one_pass_through_us_and_a_postfix_of_our_name_is_no_loop_but_two_are() {
    if !postfix_may_run() {
        return;
    }
    let mailbox = Smarthost::start();
    let (appliance, _postfix) = before_postfix(|_| {
        let beyond = next_hop(mailbox.address());
        format!(
            "myhostname = mx.alias.test\ntransport_maps = inline:{{{{target@mailbox.test = smtp:{beyond}}}}}\n"
        )
    });
    let [first, second] = [2, 2].map(|uses| appliance.alias("target@mailbox.test", uses));
    assert_eq!(Client::hello(appliance.smtp).deliver(&first.email).code(), 250);
    for (arrived, answer) in [(1, "250 2.0.0"), (2, "554 5.4.6")] {
        wait::until_equal("messages in the mailbox", arrived, || mailbox.accepted());
        let mut text = mailbox.record().messages.remove(arrived - 1).raw;
        let passes = String::from_utf8_lossy(&text).matches("by mx.alias.test (Postfix) with ").count();
        assert_eq!(passes, arrived, "{}", String::from_utf8_lossy(&text));
        text.extend_from_slice(b".\r\n");
        let mut forwarder = Client::hello(appliance.smtp);
        forwarder.begin(&second.email);
        forwarder.send(text);
        forwarder.expect(answer);
    }
    assert_eq!((appliance.uses_left(&first), appliance.uses_left(&second)), (1, 1));
}

/// docs/smtp.md §3.
#[test]
fn bounces_of_a_postfix_smarthost_suspend_the_alias_in_the_end() {
    if !postfix_may_run() {
        return;
    }
    // It takes the message, and finds out only then that the mailbox is no more.
    let mailbox_host = Smarthost::start();
    mailbox_host.set(Stage::Rcpt, Behaviour::Answer(550));
    let (appliance, postfix) = before_postfix(|appliance| {
        let (mx, beyond) = (next_hop(appliance.smtp), next_hop(mailbox_host.address()));
        format!("relayhost = {mx}\ntransport_maps = inline:{{{{gone@mailbox.test = smtp:{beyond}}}}}\n")
    });
    let alias = appliance.alias("gone@mailbox.test", 100);
    let deliver = |times: u32| {
        for _ in 0..times {
            assert_eq!(Client::hello(appliance.smtp).deliver(&alias.email).code(), 250);
            // Its notice, if any, goes to our bounce address, and we take it.
            wait::until_equal("the queue", Vec::<String>::new(), || postfix.queue());
        }
    };
    let is_seen_by_its_holder = |bounces: u64, state: &str| {
        let seen = appliance.look_at(&alias).1;
        assert_eq!(
            (seen["bounces"].as_u64(), seen["state"].as_str()),
            (Some(bounces), Some(state)),
            "{seen}"
        );
    };
    deliver(4);
    is_seen_by_its_holder(4, "active");
    // The mailbox is back for a while: what comes after is a new row.
    mailbox_host.set(Stage::Rcpt, Behaviour::Accept);
    deliver(3);
    mailbox_host.set(Stage::Rcpt, Behaviour::Answer(550));
    deliver(1);
    is_seen_by_its_holder(1, "active");
    deliver(4);
    is_seen_by_its_holder(5, "suspended");
    let refused = Client::hello(appliance.smtp).deliver(&alias.email);
    assert!(refused.text.starts_with("550 5.1.1"), "{refused:?}");
    assert_eq!((appliance.uses_left(&alias), mailbox_host.accepted()), (97, 3));
    // Nobody but us has had a notice.
    assert!(mailbox_host.record().messages.iter().all(|message| !message.sender.is_empty()));
    postfix.mailbox(0);
}

/// docs/smtp.md §3: what a stranger's message has caused costs the alias nothing. The smarthost takes it,
/// and the mailbox's host does not: for its text, or because it needs what that host lacks.
#[test]
fn messages_that_the_next_host_refuses_cost_no_use_and_suspend_nobody() {
    if !postfix_may_run() {
        return;
    }
    let mailbox_host = Smarthost::start();
    let (appliance, postfix) = before_postfix(|appliance| {
        let (mx, beyond) = (next_hop(appliance.smtp), next_hop(mailbox_host.address()));
        format!("relayhost = {mx}\ntransport_maps = inline:{{{{target@mailbox.test = smtp:{beyond}}}}}\n")
    });
    let alias = appliance.alias("target@mailbox.test", 2);
    let deliver = |mail: &str, subject: &str| {
        let mut stranger = Client::hello(appliance.smtp);
        stranger.command(mail, "250");
        stranger.command(&format!("RCPT TO:<{}>", alias.email), "250");
        stranger.command("DATA", "354");
        stranger.send(format!("Subject: {subject}\r\n\r\nhello\r\n.\r\n"));
        stranger.expect("250");
        wait::until_equal("the queue", Vec::<String>::new(), || postfix.queue());
    };
    // After this it is known what the smarthost can do.
    deliver("MAIL FROM:<sender@client.test>", "hello");
    assert_eq!(appliance.uses_left(&alias), 1);
    for (answer, mail, subject) in [
        (Behaviour::Accept, "MAIL FROM:<stranger@client.test> SMTPUTF8", "f\u{fc}r dich"),
        (Behaviour::Answer(550), "MAIL FROM:<stranger@client.test>", "GTUBE"),
        (Behaviour::Answer(552), "MAIL FROM:<stranger@client.test>", "large"),
    ] {
        mailbox_host.set(Stage::Dot, answer);
        for _ in 0..6 {
            deliver(mail, subject);
            assert_eq!(appliance.uses_left(&alias), 1, "{subject}");
        }
    }
    let seen = appliance.look_at(&alias).1;
    assert_eq!((seen["bounces"].as_u64(), seen["state"].as_str()), (Some(0), Some("active")), "{seen}");
    assert_eq!(mailbox_host.accepted(), 1);
    mailbox_host.set(Stage::Dot, Behaviour::Accept);
    deliver("MAIL FROM:<sender@client.test>", "hello");
    assert_eq!((appliance.uses_left(&alias), mailbox_host.accepted()), (0, 2));
}

/// What a lenient server takes for the end of a message (smtpd of Debian 12's Postfix, as it comes).
const FALSE_ENDS: [&str; 5] = ["\n.\n", "\n.\r\n", "\r\n.\n", "\r\n.\r\r\n", "\r\r\n.\r\r\n"];

/// A message that ends falsely, with another one behind.
fn smuggled(false_end: &str) -> String {
    format!(
        "Subject: outer\r\n\r\nouter{false_end}MAIL FROM:<evil@client.test>\r\n\
         RCPT TO:<victim@mailbox.test>\r\nDATA\r\nSubject: smuggled\r\n\r\nsmuggled\r\n.\r\n"
    )
}

#[test]
fn nothing_is_smuggled_through_us_into_a_lenient_postfix() {
    if !postfix_may_run() {
        return;
    }
    let (appliance, postfix) = before_postfix(|_| String::new());

    // The proof that it would be fooled: straight to it, one message becomes two.
    let mut direct = Client::hello(postfix.address());
    direct.begin("target@mailbox.test");
    direct.send(smuggled("\r\n.\n"));
    direct.expect("250");
    postfix.mailbox(2);

    let alias = appliance.alias("target@mailbox.test", 1);
    for false_end in FALSE_ENDS {
        let mut client = Client::hello(appliance.smtp);
        client.begin(&alias.email);
        client.send(smuggled(false_end));
        client.expect("550 5.6.0");
        client.command("NOOP", "250");
        client.command("QUIT", "221");
    }
    assert_eq!(appliance.uses_left(&alias), 1);
    postfix.mailbox(2);
}
