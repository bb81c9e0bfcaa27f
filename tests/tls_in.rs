//! TLS with those who bring mail (RFC 3207): offered, spoken, abused, and its certificate renewed.

#[expect(dead_code, reason = "each test program uses its part of the kit")]
mod support;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, Connection, HandshakeKind};

use support::appliance::{Alias, Appliance};
use support::certificates::{Authority, Certificate, Files, replace};
use support::client::Client;
use support::postfix::Postfix;
use support::program::{is_root, run, said, succeed};
use support::smarthost::Smarthost;
use support::wait;

/// Who we are, by name and by address.
const NAMES: [&str; 2] = ["mx.alias.test", "127.0.0.1"];

const USES: u64 = 100;

/// An appliance with a certificate, and an alias.
struct Scene {
    authority: Authority,
    certificate: Certificate,
    files: Files,
    smarthost: Smarthost,
    appliance: Appliance,
    alias: Alias,
}

impl Scene {
    fn new() -> Self {
        let authority = Authority::new();
        let certificate = authority.certify(&NAMES);
        let files = certificate.files();
        let smarthost = Smarthost::start();
        let [chain, key] = files.settings();
        let settings = [
            (chain.0, chain.1.as_str()),
            (key.0, key.1.as_str()),
            ("smtp.connections_per_minute", "0"),
            ("smtp.max_connections_per_ip", "0"),
        ];
        let appliance = Appliance::start_with(smarthost.address(), &settings);
        let alias = appliance.alias("target@mailbox.test", USES as u32);
        Scene { authority, certificate, files, smarthost, appliance, alias }
    }

    /// A session under TLS, after EHLO.
    #[track_caller]
    fn client(&self) -> Client {
        Client::encrypted(self.appliance.smtp, &self.authority.client())
    }

    /// One whose STARTTLS has been answered: a handshake should follow.
    #[track_caller]
    fn before_handshake(&self) -> Client {
        let mut client = Client::hello(self.appliance.smtp);
        client.command("STARTTLS", "220");
        client
    }

    /// Mail goes through, under TLS.
    #[track_caller]
    fn is_well(&self) {
        let before = self.smarthost.accepted();
        assert_eq!(self.client().deliver(&self.alias.email).code(), 250);
        assert_eq!(self.smarthost.accepted(), before + 1);
    }

    /// Nothing was spent, nothing delivered, and no connection upstream is left.
    #[track_caller]
    fn is_untouched(&self) {
        wait::until_equal("open connections", 0, || self.smarthost.count(|record| record.open));
        assert_eq!(self.smarthost.count(|record| record.messages.len()), 0, "a dot was sent");
        assert_eq!(self.appliance.uses_left(&self.alias), USES);
    }

    /// Whether a new session is shown `certificate`.
    fn presents(&self, certificate: &Certificate) -> bool {
        let client = self.client();
        let shown = client.tls().peer_certificates().expect("a server shows its certificate");
        shown == [certificate.der()]
    }

    /// Waits until the log tells of a new certificate, which must be `certificate`.
    #[track_caller]
    fn comes_to_present(&self, certificate: &Certificate) {
        wait::until_equal("renewals", 1, || self.appliance.logged("a new certificate is in use"));
        assert!(self.presents(certificate));
    }
}

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

/// A program whose standard input and output are an SMTP session.
struct Piped {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Piped {
    fn start(program: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{program} does not run: {error}"));
        let stdout = BufReader::new(child.stdout.take().expect("standard output is a pipe"));
        Piped { child, stdout }
    }

    /// Types `line`, and reads to the line that starts with `prefix`.
    #[track_caller]
    fn command(&mut self, line: &str, prefix: &str) {
        let stdin = self.child.stdin.as_mut().expect("standard input is a pipe");
        stdin.write_all(format!("{line}\r\n").as_bytes()).expect("it listens");
        let mut lines = (&mut self.stdout).lines().map_while(Result::ok);
        assert!(lines.any(|answer| answer.starts_with(prefix)), "{line:?} was not answered {prefix:?}");
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn openssl_delivers() {
    let scene = Scene::new();
    let (address, ca) = (scene.appliance.smtp.to_string(), scene.authority.file());
    for version in ["-tls1_2", "-tls1_3"] {
        let mut openssl = Piped::start(
            "openssl",
            &[
                "s_client",
                version,
                "-starttls",
                "smtp",
                "-connect",
                &address,
                "-quiet",
                "-CAfile",
                &ca.to_string_lossy(),
                "-verify_return_error",
                "-verify_hostname",
                NAMES[0],
            ],
        );
        openssl.command("EHLO client.test", "250 LIMITS");
        openssl.command("MAIL FROM:<sender@client.test>", "250 2.1.0");
        openssl.command(&format!("RCPT TO:<{}>", scene.alias.email), "250 2.1.5");
        openssl.command("DATA", "354");
        openssl.command("Subject: hello\r\n\r\nhello\r\n.", "250 2.0.0");
        openssl.command("QUIT", "221");
    }
    assert_eq!(scene.smarthost.accepted(), 2);
    assert_eq!(scene.appliance.uses_left(&scene.alias), USES - 2);
}

#[test]
fn python_delivers() {
    const SCRIPT: &str = r#"
import smtplib, ssl, sys
host, port, ca, to = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
smtp = smtplib.SMTP(host, port, timeout=20)
smtp.ehlo("client.test")
assert smtp.has_extn("starttls")
smtp.starttls(context=ssl.create_default_context(cafile=ca))
assert not smtp.does_esmtp
smtp.ehlo("client.test")
assert not smtp.has_extn("starttls") and smtp.has_extn("8bitmime")
text = "Subject: hello\r\n\r\n.\r\nfür alle\r\n".encode() + (b"y" * 78 + b"\r\n") * 13000
for _ in range(2):
    assert smtp.sendmail("sender@client.test", [to], text, ["BODY=8BITMIME"]) == {}
smtp.quit()
"#;
    let scene = Scene::new();
    let (host, port) = (scene.appliance.smtp.ip().to_string(), scene.appliance.smtp.port().to_string());
    let ca = scene.authority.file();
    succeed("python3", ["-c", SCRIPT, &host, &port, &ca.to_string_lossy(), &scene.alias.email], b"");
    let record = scene.smarthost.record();
    assert_eq!(record.accepted(), 2);
    for message in &record.messages {
        let body = message.body();
        let text = String::from_utf8_lossy(&body);
        assert!(text.contains("\r\nSubject: hello\r\n\r\n.\r\nfür alle\r\nyyy"), "{:.500}", text);
        assert!(text.ends_with("yyy\r\n") && body.len() > 13_000 * 80);
    }
    assert_eq!(scene.appliance.uses_left(&scene.alias), USES - 2);
}

#[test]
fn postfix_delivers_with_a_verified_certificate() {
    if !is_root() {
        eprintln!("SKIPPED: Postfix starts with root's rights only");
        return;
    }
    let scene = Scene::new();
    let settings = format!(
        "smtp_tls_security_level = secure\nsmtp_tls_secure_cert_match = {}\nsmtp_tls_CAfile = {}\n",
        NAMES[0],
        scene.authority.file().display()
    );
    let postfix = Postfix::client(scene.appliance.smtp, &settings);
    postfix.send(&[&scene.alias.email], "Subject: verified\n\nhello\n");
    wait::until_equal("messages", 1, || scene.smarthost.accepted());
    wait::until_equal("the queue", Vec::<String>::new(), || postfix.queue());
    let text = String::from_utf8(scene.smarthost.record().messages[0].body()).expect("it was ASCII");
    assert!(text.contains(" with ESMTPS id ") && text.ends_with("\r\n\r\nhello\r\n"), "{text}");
}

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

#[test]
fn a_false_end_ends_no_message_under_tls() {
    const FALSE_ENDS: [&str; 7] =
        ["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\0\r\n", "\r\n.\r\r\n", "\r\r\n.\r\r\n"];
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

#[test]
fn a_session_under_tls_hears_of_the_end() {
    let mut scene = Scene::new();
    let mut client = scene.client();
    assert!(scene.appliance.stop().success());
    client.expect("421 4.3.2");
    client.expect_close();
}

#[test]
fn a_new_certificate_is_used_at_sighup_and_disturbs_no_session() {
    let scene = Scene::new();
    let mut client = scene.client();
    client.begin(&scene.alias.email);
    client.send("Subject: hello\r\n\r\nhe");
    let mut early = scene.before_handshake();

    let new = scene.authority.certify(&NAMES);
    scene.files.replace(&new);
    scene.appliance.hang_up();
    scene.comes_to_present(&new);

    early.try_handshake(&scene.authority.client()).expect("the handshake succeeds");
    early.command("EHLO client.test", "250");
    client.send("llo\r\n.\r\n");
    client.expect("250 2.0.0");
    client.command("QUIT", "221");
    client.expect_close();
}

#[test]
fn a_new_certificate_is_found_without_a_signal_whatever_the_time_of_its_file() {
    let scene = Scene::new();
    let times = [&scene.files.chain, &scene.files.key].map(|path| {
        let file = path.metadata().expect("the file is there");
        file.modified().expect("files have times")
    });
    // Copied with their times, or from a store where all files have the same.
    let new = scene.authority.certify(&NAMES);
    let other = new.files();
    for ((from, to), time) in
        [(&other.chain, &scene.files.chain), (&other.key, &scene.files.key)].into_iter().zip(times)
    {
        let file = File::options().write(true).open(from).expect("the file is there");
        file.set_modified(time).expect("it is our file");
        std::fs::rename(from, to).expect("a file can be renamed");
    }
    scene.comes_to_present(&new);
}

#[test]
fn a_bad_certificate_changes_nothing_and_is_reported_once() {
    const COMPLAINT: &str = "the new certificate is no good; the old one stays in use";
    let scene = Scene::new();
    let other = scene.authority.certify(&NAMES);
    let complaints = || scene.appliance.logged(COMPLAINT);
    for (nth, (path, text)) in [
        (&scene.files.chain, "no certificate"),
        (&scene.files.chain, &other.chain),
        (&scene.files.key, &scene.certificate.chain),
    ]
    .into_iter()
    .enumerate()
    {
        replace(path, text);
        scene.appliance.hang_up();
        wait::until_equal("complaints", nth + 1, complaints);
        let log = scene.appliance.stderr();
        let complaint = log.iter().rfind(|line| line.contains(COMPLAINT)).expect("it was counted");
        assert!(complaint.contains(&*path.to_string_lossy()), "{complaint}");
        assert!(scene.presents(&scene.certificate));
        scene.appliance.hang_up();
    }
    scene.files.replace(&other);
    scene.appliance.hang_up();
    scene.comes_to_present(&other);
    // Between the two files' replacement one of them did not fit, if anybody looked just then.
    assert!((3..=4).contains(&complaints()), "{:#?}", scene.appliance.stderr());
}

/// What `arguments` say on standard error, and that they end with a configuration error.
#[track_caller]
fn refused(scene: &Scene, argument: &str) -> String {
    let output = scene.appliance.run(&[argument]);
    assert_eq!(output.status.code(), Some(78), "{}", said(&output));
    String::from_utf8(output.stderr).expect("it is text")
}

#[test]
fn check_and_serve_name_the_file_that_is_bad() {
    let scene = Scene::new();
    let Certificate { chain, key } = &scene.certificate;
    let other = scene.authority.certify(&NAMES);
    let (chain_file, key_file) = (scene.files.chain.display(), scene.files.key.display());
    let broken = |kind: &str| format!("-----BEGIN {kind}-----\nAAAA\n-----END {kind}-----\n");
    for (new_chain, new_key, complaint) in [
        ("", key.as_str(), format!("smtp.tls_cert: {chain_file}: holds no certificate\n")),
        (key, key, format!("smtp.tls_cert: {chain_file}: holds no certificate\n")),
        (&broken("CERTIFICATE"), key, format!("smtp.tls_cert: {chain_file}: ")),
        (chain, "", format!("smtp.tls_key: {key_file}: holds no private key, or an encrypted one\n")),
        (chain, chain, format!("smtp.tls_key: {key_file}: holds no private key, or an encrypted one\n")),
        (
            chain,
            &broken("ENCRYPTED PRIVATE KEY"),
            format!("smtp.tls_key: {key_file}: holds no private key, or an encrypted one\n"),
        ),
        (chain, &broken("PRIVATE KEY"), format!("smtp.tls_key: {key_file}: ")),
        (
            chain,
            &other.key,
            format!("smtp.tls_key: {key_file}: does not belong to the certificate in {chain_file}\n"),
        ),
    ] {
        replace(&scene.files.chain, new_chain);
        replace(&scene.files.key, new_key);
        for argument in ["check", "serve"] {
            let shown = refused(&scene, argument);
            assert!(shown.contains(&complaint) && shown.lines().count() == 1, "{shown}, not {complaint}");
        }
    }
    for file in [&scene.files.chain, &scene.files.key] {
        scene.files.replace(&scene.certificate);
        assert!(scene.appliance.run(&["check"]).status.success());
        std::fs::remove_file(file).expect("it was there");
        for argument in ["check", "serve"] {
            let shown = refused(&scene, argument);
            assert!(shown.contains(&format!("{}: ", file.display())), "{shown}");
        }
    }
}

#[test]
fn keys_of_every_common_form_are_taken() {
    let scene = Scene::new();
    let at = |file: &std::path::Path| file.to_string_lossy().into_owned();
    let (chain, key) = (at(&scene.files.chain), at(&scene.files.key));
    for (kind, option) in [("rsa", "rsa:2048"), ("ec", "ec"), ("ed25519", "ed25519")] {
        let curve = ["-pkeyopt", "ec_paramgen_curve:P-384"];
        let curve = if kind == "ec" { &curve[..] } else { &[] };
        let request = ["req", "-x509", "-newkey", option, "-nodes", "-subj", "/CN=mx.alias.test"];
        let files = ["-keyout", &key, "-out", &chain];
        succeed("openssl", [&request[..], curve, &files].concat(), b"");
        assert!(scene.appliance.run(&["check"]).status.success(), "PKCS #8, {kind}");
        if kind != "ed25519" {
            // PKCS #1 and SEC 1, as older programs write them.
            let old = scene.files.key.with_extension("old");
            succeed("openssl", ["pkey", "-traditional", "-in", &key, "-out", &at(&old)], b"");
            std::fs::rename(old, &scene.files.key).expect("a file can be renamed");
            assert!(scene.appliance.run(&["check"]).status.success(), "its own form, {kind}");
        }
    }
    // Both in one file, as some programs keep them.
    let both = [&*scene.certificate.key, &scene.certificate.chain].concat();
    replace(&scene.files.chain, &both);
    replace(&scene.files.key, &both);
    assert!(scene.appliance.run(&["check"]).status.success(), "one file");
}
