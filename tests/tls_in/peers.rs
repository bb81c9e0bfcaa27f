//! Programs that speak TLS with a library of their own: OpenSSL, Python, Postfix.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use super::{NAMES, Scene, USES};
use crate::support::postfix::Postfix;
use crate::support::program::{is_root, succeed};
use crate::support::wait;

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
