//! docs/smtp.md §3 §11: what was signed before us still verifies behind us, by dkimpy.

#[expect(dead_code, reason = "each test program uses its part of the kit")]
mod support;

use tempfile::TempDir;

use support::appliance::{Appliance, CROWD};
use support::client::Client;
use support::program::succeed;
use support::smarthost::Smarthost;

/// `sign KEY MESSAGE HEADER BODY` writes the signed message; `verify KEY` says what it finds. The key is
/// looked up in no DNS but in a file.
const DKIM: &str = r#"
import base64, subprocess, sys
import dkim

action, key = sys.argv[1], sys.argv[2]
if action == "sign":
    forms = tuple(form.encode() for form in sys.argv[3:5])
    message = sys.stdin.buffer.read()
    with open(key, "rb") as file:
        signature = dkim.sign(message, b"s", b"client.test", file.read(), canonicalize=forms,
                              include_headers=[b"From", b"Subject", b"To"])
    sys.stdout.buffer.write(signature + message)
else:
    der = subprocess.run(["openssl", "rsa", "-in", key, "-pubout", "-outform", "DER"],
                         capture_output=True, check=True).stdout
    record = b"v=DKIM1; k=rsa; p=" + base64.b64encode(der)
    message = sys.stdin.buffer.read()
    print("good" if dkim.verify(message, dnsfunc=lambda name, timeout=5: record) else "bad")
"#;

/// Texts that a relay likes to mend.
fn messages() -> Vec<Vec<u8>> {
    let header =
        "From: Shop  <shop@client.test>\r\nTo: you@client.test\r\nSubject:  two  words\r\n\tfolded \r\n\r\n";
    let long = "x".repeat(5000);
    let bodies = [
        "hello\r\n".as_bytes().to_vec(),
        "f\u{fc}r alle \u{1f600}\r\n".as_bytes().to_vec(),
        b"eight bits: \xe4\xf6\xfc\xff\r\n".to_vec(),
        format!("{long}\r\n.{long}\r\n").into_bytes(),
        b".\r\n..\r\n.hidden\r\n...\r\nFrom the start\r\n.\r\n".to_vec(),
        b"trailing white space \t \r\n \r\n\t\r\n\r\n\r\n\r\n".to_vec(),
        b"no line at all, but blanks\r\n\r\n\r\n".to_vec(),
        Vec::new(),
    ];
    bodies.into_iter().map(|body| [header.as_bytes(), &body].concat()).collect()
}

/// `text` with its dots doubled, and the final one.
fn on_the_wire(text: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    for line in text.split_inclusive(|&octet| octet == b'\n') {
        wire.extend_from_slice(if line.starts_with(b".") { b"." } else { b"" });
        wire.extend_from_slice(line);
    }
    wire.extend_from_slice(b".\r\n");
    wire
}

#[test]
fn signatures_of_every_canonicalisation_hold_behind_us() {
    let dir = TempDir::new().expect("a temporary directory can be made");
    let key = dir.path().join("key.pem").to_string_lossy().into_owned();
    succeed("openssl", ["genrsa", "-traditional", "-out", &key, "2048"], b"");
    let python = |arguments: &[&str], input: &[u8]| {
        let output = support::program::run(
            "/usr/bin/python3", // Debian's: the module is Debian's, too
            ["-c", DKIM].iter().chain(arguments),
            input,
        );
        assert!(output.status.success(), "{}", support::program::said(&output));
        output.stdout
    };
    let smarthost = Smarthost::start();
    let appliance = Appliance::start_with(smarthost.address(), CROWD);
    let alias = appliance.alias("target@mailbox.test", 100);
    for forms in [["simple", "simple"], ["simple", "relaxed"], ["relaxed", "simple"], ["relaxed", "relaxed"]]
    {
        for message in messages() {
            let signed = python(&["sign", &key, forms[0], forms[1]], &message);
            let mut client = Client::hello(appliance.smtp);
            client.begin(&alias.email);
            client.send(on_the_wire(&signed));
            client.expect("250 2.0.0");
            let got = smarthost.record().messages.pop().expect("it was delivered").body();
            assert!(got.starts_with(b"Delivered-To: ") && got.ends_with(&signed));
            let what = String::from_utf8_lossy(&message).into_owned();
            assert_eq!(python(&["verify", &key], &got), b"good\n", "{forms:?}: {what:?}");
        }
    }
    // And it would tell.
    let mut got = smarthost.record().messages.pop().expect("there are some").body();
    got.extend_from_slice(b"more\r\n");
    assert_eq!(python(&["verify", &key], &got), b"bad\n");
}
