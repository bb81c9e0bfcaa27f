//! docs/smtp.md §11 §3: real programs as smarthosts: Postfix's `smtp-sink` with its switches for faults,
//! and aiosmtpd; and smarthosts that say no more than they must, or much more, or know no extensions.

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::support::appliance::{Alias, Appliance, CROWD};
use crate::support::client::Client;
use crate::support::postfix::free_address;
use crate::support::script::Script;
use crate::support::wait;

const USES: u64 = 100;

/// A program that listens; stopped when it is dropped.
struct Running(Child);

impl Running {
    /// Starts `program`, and waits until it listens at `address`.
    #[track_caller]
    fn start(address: SocketAddr, program: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| panic!("{program} does not run: {error}"));
        let running = Running(child);
        wait::until("it listens", || TcpStream::connect(address).ok());
        running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// An appliance before a smarthost that is still to be started, and an alias.
fn scene() -> (SocketAddr, Appliance, Alias) {
    let address = free_address();
    let appliance = Appliance::start_with(address, CROWD);
    let alias = appliance.alias("target@mailbox.test", USES as u32);
    (address, appliance, alias)
}

/// `smtp-sink` at `address`, with `switches`.
#[track_caller]
fn smtp_sink(address: SocketAddr, switches: &[&str]) -> Running {
    let place = address.to_string();
    // As root it must be told for whom to work.
    Running::start(address, "smtp-sink", &[&["-u", "root"], switches, &[&place, "10"]].concat())
}

/// docs/smtp.md §3 §4: each fault at each command, and what it costs.
#[test]
fn every_fault_of_smtp_sink_is_answered_as_it_should_be() {
    let (address, appliance, alias) = scene();
    let mut left = USES;
    for (switch, command, answer, cost) in [
        ("-q", "CONNECT", "451 4.4.1", 0),
        ("-Q", "CONNECT", "451 4.4.1", 0),
        ("-r", "CONNECT", "451 4.4.1", 0),
        ("-f", "CONNECT", "451 4.4.1", 0),
        ("-q", "EHLO", "451 4.4.1", 0),
        ("-Q", "EHLO", "451 4.4.1", 0),
        ("-r", "EHLO", "451 4.4.1", 0),
        ("-f", "EHLO", "250 2.0.0", 1), // it hears HELO
        ("-f", "EHLO,HELO", "451 4.4.1", 0),
        ("-q", "MAIL", "451 4.4.1", 0),
        ("-Q", "MAIL", "451 4.4.1", 0),
        ("-r", "MAIL", "451 4.4.1", 0),
        ("-f", "MAIL", "451 4.4.1", 0),
        ("-q", "RCPT", "451 4.4.1", 0),
        ("-Q", "RCPT", "451 4.2.0", 0),
        ("-r", "RCPT", "451 4.2.0", 0),
        ("-f", "RCPT", "550 5.2.1", 0),
        ("-q", "DATA", "451 4.4.1", 0),
        ("-Q", "DATA", "451 4.3.0", 0),
        ("-r", "DATA", "451 4.3.0", 0),
        ("-f", "DATA", "554 5.0.0", 0),
        ("-q", ".", "451 4.4.2", 1), // in doubt
        ("-Q", ".", "451 4.3.0", 0),
        ("-r", ".", "451 4.3.0", 0),
        ("-f", ".", "554 5.0.0", 0),
    ] {
        let sink = smtp_sink(address, &[switch, command]);
        let reply = Client::hello(appliance.smtp).deliver(&alias.email);
        assert!(reply.text.starts_with(answer), "{switch} {command}: {reply:?}");
        left -= cost;
        assert_eq!(appliance.uses_left(&alias), left, "{switch} {command}");
        drop(sink);
    }
    let dir = TempDir::new().expect("a temporary directory can be made");
    let dump = dir.path().join("dump").to_string_lossy().into_owned();
    // With all it has, and with little.
    for switches in [&["-D", &dump][..], &["-8", "-p", "-E", "-N", "-D", &dump]] {
        let _sink = smtp_sink(address, switches);
        let reply = Client::hello(appliance.smtp).deliver(&alias.email);
        assert_eq!(reply.code(), 250, "{switches:?}: {reply:?}");
        left -= 1;
        assert_eq!(appliance.uses_left(&alias), left);
    }
    let dumped = std::fs::read_to_string(&dump).expect("it has dumped what it took");
    assert!(dumped.contains(&format!("Delivered-To: {}\n", alias.email)), "{dumped}");
    assert!(!dumped.contains("sender@client.test"), "the sender goes no further: {dumped}");
}

/// aiosmtpd, strict about lines, with SMTPUTF8: says what it got in its answer's code.
const AIOSMTPD: &str = r#"
import asyncio, sys
from aiosmtpd.controller import Controller

class Handler:
    async def handle_exception(self, error):
        return "554 5.3.0 LEAK-MARKER"

    async def handle_DATA(self, server, session, envelope):
        text = envelope.original_content
        if b"Subject: busy" in text:
            return "451 4.3.0 LEAK-MARKER"
        if b"Subject: spam" in text:
            return "554 5.7.1 LEAK-MARKER"
        if b"Subject: crash" in text:
            raise RuntimeError("LEAK-MARKER")
        with open(sys.argv[2], "wb") as file:
            file.write(text)
        return "250 2.0.0 LEAK-MARKER"

controller = Controller(Handler(), hostname="127.0.0.1", port=int(sys.argv[1]), enable_SMTPUTF8=True)
controller.start()
asyncio.new_event_loop().run_forever()
"#;

#[test]
fn aiosmtpd_takes_texts_as_they_are_and_its_refusals_cost_nothing() {
    let (address, appliance, alias) = scene();
    let dir = TempDir::new().expect("a temporary directory can be made");
    let (port, file) = (address.port().to_string(), dir.path().join("message"));
    let arguments = ["-c", AIOSMTPD, &port, &file.to_string_lossy()];
    // Debian's Python: the module is Debian's, too.
    let _aiosmtpd = Running::start(address, "/usr/bin/python3", &arguments);
    let deliver = |from: &str, text: &str, answer: &str| {
        let mut client = Client::hello(appliance.smtp);
        client.command(&format!("MAIL FROM:{from}"), "250");
        client.command(&format!("RCPT TO:<{}>", alias.email), "250");
        client.command("DATA", "354");
        client.send(text);
        client.expect(answer);
    };
    let text = "Subject: dots\r\n\r\n..\r\n..two\r\nfür alle\r\n \r\n\r\n.\r\n";
    deliver("<sender@client.test> BODY=8BITMIME", text, "250 2.0.0");
    let got = std::fs::read(&file).expect("it has kept what it took");
    let whole = "Subject: dots\r\n\r\n.\r\n.two\r\nfür alle\r\n \r\n\r\n";
    assert!(got.ends_with(whole.as_bytes()), "{:?}", String::from_utf8_lossy(&got));
    assert_eq!(appliance.uses_left(&alias), USES - 1);

    // What it can do we have learned.
    deliver(
        "<jürgen@client.test> SMTPUTF8 BODY=8BITMIME",
        "Subject: grüße\r\n\r\nhello\r\n.\r\n",
        "250 2.0.0",
    );
    let got = String::from_utf8(std::fs::read(&file).expect("it has kept what it took")).expect("UTF-8");
    assert!(got.contains("with UTF8SMTP id ") && got.contains("Subject: grüße\r\n"), "{got}");
    assert!(!got.contains("jürgen"), "{got}");

    for (subject, answer) in [("busy", "451 4.3.0"), ("spam", "554 5.0.0"), ("crash", "554 5.0.0")] {
        deliver("<sender@client.test>", &format!("Subject: {subject}\r\n\r\nhello\r\n.\r\n"), answer);
        assert_eq!(appliance.uses_left(&alias), USES - 2, "{subject}");
    }
}

/// Takes everything, with codes alone; `ehlo` is said as it is.
fn of_few_words(ehlo: &str) -> impl FnMut(&str) -> String + Clone + Send + use<> {
    let (ehlo, mut is_text) = (ehlo.to_owned(), false);
    move |line| match line {
        "." => {
            is_text = false;
            "250\r\n".into()
        }
        _ if is_text => String::new(),
        "DATA" => {
            is_text = true;
            "354\r\n".into()
        }
        "QUIT" => "221\r\n".into(),
        _ if line.starts_with("EHLO ") => ehlo.clone(),
        _ => "250\r\n".into(),
    }
}

/// Says MAIL with these parameters, and RCPT; the answer to that.
fn envelope(appliance: &Appliance, alias: &Alias, parameters: &str) -> (Client, String) {
    let mut client = Client::hello(appliance.smtp);
    client.command(&format!("MAIL FROM:<sender@client.test> {parameters}"), "250");
    client.send(format!("RCPT TO:<{}>\r\n", alias.email));
    let answer = client.reply().text;
    (client, answer)
}

/// RFC 5321 §4.2.1.
#[test]
fn a_reply_may_be_its_code_alone_and_that_to_ehlo_may_be_long() {
    let long = format!("250-{}\r\n", "X".repeat(500)).repeat(16);
    for (ehlo, has_size) in [
        ("250\r\n".to_owned(), false),
        ("250 \r\n".to_owned(), false),
        ("250-relay.test\r\n250-SIZE 1000\r\n250\r\n".to_owned(), true),
        ("250-\r\n250-\r\n250-SIZE\r\n250-PIPELINING\r\n250 \r\n".to_owned(), true),
        (format!("250-relay.test\r\n{long}250-SIZE 1000\r\n250 PIPELINING\r\n"), true),
        (format!("250-relay.test\r\n250-PIPELINING\r\n{long}{long}{long}250 SIZE\r\n"), true),
    ] {
        let script = Script::start("220\r\n", of_few_words(&ehlo));
        let appliance = Appliance::start_with(script.address(), CROWD);
        let alias = appliance.alias("target@mailbox.test", 3);
        for left in [2, 1] {
            let (mut client, answer) = envelope(&appliance, &alias, "SIZE=100");
            assert_eq!(&answer[..3], "250", "{ehlo}: {answer}");
            client.command("DATA", "354");
            client.send("Subject: hello\r\n\r\nhello\r\n.\r\n");
            client.expect("250 2.0.0");
            assert_eq!(appliance.uses_left(&alias), left, "{ehlo}");
        }
        let mails: Vec<_> = script.heard().into_iter().filter(|line| line.starts_with("MAIL ")).collect();
        assert_eq!(mails.len(), 2, "{mails:?}");
        assert!(mails.iter().all(|mail| mail.ends_with(" SIZE=100") == has_size), "{ehlo}: {mails:?}");
    }
}

/// Takes everything in few words, and what begins with `verb` (`.` is the end of a text) with `reply`.
fn of_few_words_but_at(verb: &'static str, reply: &str) -> impl FnMut(&str) -> String + Clone + Send + use<> {
    let (reply, mut few) = (reply.to_owned(), of_few_words("250\r\n"));
    move |line| {
        let usual = few(line);
        if !usual.is_empty() && line.starts_with(verb) { reply.clone() } else { usual }
    }
}

/// `code` in many lines, 16 KiB of them.
fn at_length(code: u16) -> String {
    format!("{}{code} end\r\n", format!("{code}-{}\r\n", "x".repeat(250)).repeat(64))
}

/// RFC 5321 §4.2.1 sets no limit to the lines of a reply.
#[test]
fn every_reply_may_be_long() {
    for (verb, code) in
        [("greeting", 220), ("EHLO", 250), ("MAIL", 250), ("RCPT", 250), ("DATA", 354), (".", 250)]
    {
        let greeting = if verb == "greeting" { at_length(code) } else { "220\r\n".into() };
        let script = Script::start(greeting.leak(), of_few_words_but_at(verb, &at_length(code)));
        let appliance = Appliance::start_with(script.address(), CROWD);
        let alias = appliance.alias("target@mailbox.test", 3);
        for left in [2, 1] {
            let reply = Client::hello(appliance.smtp).deliver(&alias.email);
            assert!(reply.text.starts_with("250 2.0.0"), "{verb}: {reply:?}");
            assert_eq!(appliance.uses_left(&alias), left, "{verb}");
        }
        assert_eq!(script.heard().iter().filter(|line| *line == ".").count(), 2, "{verb}");
    }
}

#[test]
fn a_long_refusal_costs_nothing() {
    for (verb, code, answer) in [
        ("MAIL", 550, "451 4.4.1"),
        ("RCPT", 450, "451 4.2.0"),
        ("RCPT", 550, "550 5.2.1"),
        ("DATA", 451, "451 4.3.0"),
        ("DATA", 554, "554 5."),
        (".", 451, "451 4.3.0"),
        (".", 550, "554 5."),
    ] {
        let script = Script::start("220\r\n", of_few_words_but_at(verb, &at_length(code)));
        let appliance = Appliance::start_with(script.address(), CROWD);
        let alias = appliance.alias("target@mailbox.test", 3);
        let reply = Client::hello(appliance.smtp).deliver(&alias.email);
        assert!(reply.text.starts_with(answer), "{verb} {code}: {reply:?}");
        assert_eq!(appliance.uses_left(&alias), 3, "{verb} {code}");
    }
}

/// RFC 5321 §3.2: what it cannot do then is found out before anything is sent.
#[test]
fn a_smarthost_that_knows_no_ehlo_hears_helo() {
    for code in [500, 501, 502, 504, 550] {
        let script = Script::start("220 relay.test\r\n", of_few_words(&format!("{code} what?\r\n")));
        let appliance = Appliance::start_with(script.address(), CROWD);
        let alias = appliance.alias("target@mailbox.test", 2);
        let (mut client, answer) = envelope(&appliance, &alias, "SIZE=100");
        assert_eq!(&answer[..3], "250", "{code}: {answer}");
        client.command("DATA", "354");
        client.send("Subject: hello\r\n\r\nhello\r\n.\r\n");
        client.expect("250 2.0.0");
        let heard = script.heard();
        assert_eq!(heard[..2], ["EHLO mx.alias.test", "HELO mx.alias.test"], "{code}");
        assert!(heard[2].starts_with("MAIL FROM:<b.") && heard[2].ends_with('>'), "{code}: {heard:?}");
        let (_, answer) = envelope(&appliance, &alias, "BODY=8BITMIME");
        assert!(answer.starts_with("554 5.6.3"), "{code}: {answer}");
        assert_eq!(appliance.uses_left(&alias), 1, "{code}");
    }
    // It knows EHLO, and has another reason.
    for code in [421, 451, 530, 554] {
        let script = Script::start("220 relay.test\r\n", of_few_words(&format!("{code} no\r\n")));
        let appliance = Appliance::start_with(script.address(), CROWD);
        let alias = appliance.alias("target@mailbox.test", 2);
        let (_, answer) = envelope(&appliance, &alias, "");
        assert!(answer.starts_with("451 4.4.1"), "{code}: {answer}");
        assert_eq!(script.heard(), ["EHLO mx.alias.test"], "{code}");
    }
}
