//! docs/smtp.md §3 §11: what was signed before us still verifies behind us, by dkimpy.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::support::appliance::{Appliance, CROWD};
use crate::support::client::Client;
use crate::support::program::succeed;
use crate::support::smarthost::Smarthost;

/// `sign DIR` signs each `DIR/*.eml` in every way, into `DIR/*.signed`; `verify DIR` prints the name of each
/// `DIR/*.got` that does not verify. The key is `DIR/key.pem`, and looked up in no DNS.
const DKIM: &str = r#"
import base64, itertools, pathlib, subprocess, sys
import dkim

action, directory = sys.argv[1], pathlib.Path(sys.argv[2])
key = directory / "key.pem"
if action == "sign":
    for file in directory.glob("*.eml"):
        message = file.read_bytes()
        for forms in itertools.product([b"simple", b"relaxed"], repeat=2):
            signature = dkim.sign(message, b"s", b"client.test", key.read_bytes(), canonicalize=forms,
                                  include_headers=[b"From", b"Subject", b"To"])
            name = f"{file.stem}-{b'-'.join(forms).decode()}.signed"
            (directory / name).write_bytes(signature + message)
else:
    der = subprocess.run(["openssl", "rsa", "-in", key, "-pubout", "-outform", "DER"],
                         capture_output=True, check=True).stdout
    record = b"v=DKIM1; k=rsa; p=" + base64.b64encode(der)
    for file in directory.glob("*.got"):
        if not dkim.verify(file.read_bytes(), dnsfunc=lambda name, timeout=5: record):
            print(file.stem)
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

/// The files in `directory` that end in `extension`: name and contents.
fn files(directory: &Path, extension: &str) -> Vec<(String, Vec<u8>)> {
    let paths =
        fs::read_dir(directory).expect("it can be listed").map(|file| file.expect("it can be listed").path());
    let wanted = paths.filter(|path| path.extension().is_some_and(|found| found == extension));
    let stem = |path: &Path| path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
    wanted.map(|path| (stem(&path), fs::read(&path).expect("it can be read"))).collect()
}

#[test]
fn signatures_of_every_canonicalisation_hold_behind_us() {
    let dir = TempDir::new().expect("a temporary directory can be made");
    let write =
        |name: String, text: &[u8]| fs::write(dir.path().join(name), text).expect("it can be written");
    // Debian's Python: the module is Debian's, too.
    let dkim =
        |action: &str| succeed("/usr/bin/python3", ["-c", DKIM, action, &dir.path().to_string_lossy()], b"");
    succeed(
        "openssl",
        ["genrsa", "-traditional", "-out", &dir.path().join("key.pem").to_string_lossy(), "2048"],
        b"",
    );
    for (number, message) in messages().iter().enumerate() {
        write(format!("{number}.eml"), message);
    }
    dkim("sign");

    let smarthost = Smarthost::start();
    let appliance = Appliance::start_with(smarthost.address(), CROWD);
    let alias = appliance.alias("target@mailbox.test", 100);
    let signed = files(dir.path(), "signed");
    assert_eq!(signed.len(), 4 * messages().len());
    for (name, signed) in &signed {
        let mut client = Client::hello(appliance.smtp);
        client.begin(&alias.email);
        client.send(on_the_wire(signed));
        client.expect("250 2.0.0");
        let got = smarthost.record().messages.pop().expect("it was delivered").body();
        assert!(got.starts_with(b"Delivered-To: ") && got.ends_with(signed), "{name}");
        write(format!("{name}.got"), &got);
    }
    // It would tell.
    let (_, first) = &signed[0];
    write("mended.got".to_owned(), &[first, &b"more\r\n"[..]].concat());
    assert_eq!(dkim("verify"), "mended\n");
}
