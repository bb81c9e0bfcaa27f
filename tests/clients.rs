//! docs/smtp.md §11 §7: further programs that bring mail, and one that looks for open relays.
//!
//! Debian allows one mail server at a time: those beside Postfix are not installed but unpacked, by
//! `scripts/install-test-deps`.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use tempfile::TempDir;

use crate::support::appliance::{Alias, Appliance, CROWD};
use crate::support::certificates::Authority;
use crate::support::program::{is_root, run, said, succeed};
use crate::support::smarthost::{Behaviour, Smarthost, Stage};

/// What must come through as it is. Line ends are a user's, not the wire's.
const TEXT: &str = "From: shop@client.test\nSubject: through and through\n\n.\n..\nfür alle\n.hidden\n\n\n";

/// The end of [`TEXT`] on the wire.
const BODY: &str = "\r\n\r\n.\r\n..\r\nfür alle\r\n.hidden\r\n\r\n\r\n";

/// Appliance, smarthost, and an alias with `uses`.
fn scene(uses: u32) -> (Smarthost, Appliance, Alias) {
    let smarthost = Smarthost::start();
    let appliance = Appliance::start_with(smarthost.address(), CROWD);
    let alias = appliance.alias("target@mailbox.test", uses);
    (smarthost, appliance, alias)
}

/// The program `path` of a package that was unpacked.
fn unpacked(path: &str) -> String {
    // From target/TUPLE/tmp.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).ancestors().nth(2);
    let target = target.expect("it is in the target directory");
    target.join("peers").join(path).to_string_lossy().into_owned()
}

#[track_caller]
fn was_delivered_whole(smarthost: &Smarthost, alias: &Alias) {
    let message = smarthost.record().messages.pop().expect("it is at the smarthost");
    assert!(message.body().ends_with(BODY.as_bytes()), "{:?}", String::from_utf8_lossy(&message.raw));
    assert!(message.sender.starts_with("b."), "{}", message.sender);
    assert!(String::from_utf8_lossy(&message.raw).starts_with(&format!("Delivered-To: {}\r\n", alias.email)));
}

/// An Exim without a daemon: it delivers what it is handed, and tries again when it is told.
struct Exim {
    dir: TempDir,
}

impl Exim {
    fn new(mx: SocketAddr) -> Self {
        let dir = TempDir::new().expect("a temporary directory can be made");
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("it is our directory");
        let spool = dir.path().join("spool");
        fs::create_dir(&spool).expect("a directory can be made");
        succeed("chown", ["Debian-exim:Debian-exim", &spool.to_string_lossy()], b"");
        let configuration = format!(
            "exim_path = {program}\n\
             spool_directory = {spool}\n\
             log_file_path = {spool}/%slog\n\
             primary_hostname = exim.test\n\
             keep_environment =\n\
             ignore_bounce_errors_after = 0s\n\
             begin routers\n\
             all:\n  driver = manualroute\n  route_list = * {ip} byname\n  self = send\n  transport = mx\n\
             begin transports\n\
             mx:\n  driver = smtp\n  port = {port}\n  allow_localhost\n\
             begin retry\n* * F,1h,1h\n",
            program = unpacked("usr/sbin/exim4"),
            spool = spool.display(),
            ip = mx.ip(),
            port = mx.port(),
        );
        fs::write(dir.path().join("exim.conf"), configuration).expect("a file can be written");
        Exim { dir }
    }

    fn run(&self, arguments: &[&str], input: &str) -> Output {
        let configuration = self.dir.path().join("exim.conf").to_string_lossy().into_owned();
        let arguments = ["-C", &configuration].into_iter().chain(arguments.iter().copied());
        run(&unpacked("usr/sbin/exim4"), arguments, input.as_bytes())
    }

    /// Hands it a message, and waits until it has tried to deliver it.
    #[track_caller]
    fn send(&self, to: &[&str], message: &str) {
        let arguments = ["-odf", "-i", "-f", "sender@client.test"];
        let output = self.run(&[&arguments, to].concat(), message);
        assert!(output.status.success(), "{}\n{}", said(&output), self.log());
    }

    /// Messages in its queue.
    fn queue(&self) -> String {
        said(&self.run(&["-bpc"], "")).trim().to_owned()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("spool/mainlog")).unwrap_or_default()
    }
}

#[test]
fn exim_delivers_and_tries_again_and_hears_when_it_is_over() {
    if !is_root() {
        return eprintln!("SKIPPED: Exim starts with root's rights only");
    }
    let (smarthost, appliance, alias) = scene(2);
    let exim = Exim::new(appliance.smtp);
    exim.send(&[&alias.email], TEXT);
    assert_eq!(appliance.uses_left(&alias), 1, "{}", exim.log());
    was_delivered_whole(&smarthost, &alias);

    smarthost.set(Stage::Dot, Behaviour::Answer(451));
    exim.send(&[&alias.email], TEXT);
    assert_eq!((exim.queue().as_str(), appliance.uses_left(&alias)), ("1", 1), "{}", exim.log());
    smarthost.set(Stage::Dot, Behaviour::Accept);
    exim.run(&["-qff"], "");
    assert_eq!((exim.queue().as_str(), appliance.uses_left(&alias)), ("0", 0), "{}", exim.log());
    was_delivered_whole(&smarthost, &alias);

    // Five recipients, who each have a message of their own.
    let five: Vec<_> = (1..=5).map(|n| appliance.alias(&format!("t{n}@mailbox.test"), 1)).collect();
    let to: Vec<_> = five.iter().map(|alias| alias.email.as_str()).collect();
    exim.send(&to, TEXT);
    println!("{}", exim.log());
    assert!(five.iter().all(|alias| appliance.uses_left(alias) == 0), "{}", exim.log());
    assert_eq!((exim.queue().as_str(), smarthost.accepted()), ("0", 7), "{}", exim.log());

    // Two recipients, one of whom is none any more.
    let other = appliance.alias("other@mailbox.test", 1);
    exim.send(&[&alias.email, &other.email], TEXT);
    assert_eq!(smarthost.accepted(), 8, "{}", exim.log());
    assert_eq!(appliance.uses_left(&other), 0);
    assert!(exim.log().contains("550 5.1.1 no such alias here"), "{}", exim.log());
}

#[test]
fn msmtp_delivers_in_clear_text_and_under_tls() {
    let authority = Authority::new();
    let files = authority.certify(&["mx.alias.test", "127.0.0.1"]).files();
    let [chain, key] = files.settings();
    let smarthost = Smarthost::start();
    let settings = [(chain.0, chain.1.as_str()), (key.0, key.1.as_str())];
    let appliance = Appliance::start_with(smarthost.address(), &settings);
    let alias = appliance.alias("target@mailbox.test", 2);
    let (host, port) =
        (format!("--host={}", appliance.smtp.ip()), format!("--port={}", appliance.smtp.port()));
    let trust = format!("--tls-trust-file={}", authority.file().display());
    let send = |tls: &[&str]| {
        let arguments = ["--file=/dev/null", &host, &port, "--auth=off", "--from=sender@client.test"];
        run("msmtp", arguments.iter().chain(tls).chain(&[alias.email.as_str()]), TEXT.as_bytes())
    };
    for (tls, protocol) in
        [(&["--tls=off"][..], "ESMTP"), (&["--tls=on", "--tls-starttls=on", &trust], "ESMTPS")]
    {
        let output = send(tls);
        assert!(output.status.success(), "{}", said(&output));
        was_delivered_whole(&smarthost, &alias);
        let raw = smarthost.record().messages.pop().expect("it is there").raw;
        assert!(String::from_utf8_lossy(&raw).contains(&format!(" with {protocol} id ")));
    }
    let output = send(&["--tls=off"]);
    assert!(!output.status.success() && said(&output).contains("no such alias here"), "{}", said(&output));
    assert_eq!(smarthost.accepted(), 2);
}

#[test]
fn nullmailer_delivers_and_is_told_no() {
    let (smarthost, appliance, alias) = scene(1);
    let dir = TempDir::new().expect("a temporary directory can be made");
    let mail = dir.path().join("mail").to_string_lossy().into_owned();
    fs::write(&mail, format!("sender@client.test\n{}\n\n{TEXT}", alias.email))
        .expect("a file can be written");
    // Its protocol program wants the message as descriptor 3.
    let script = "export HELOHOST=client.test; exec \"$1\" --host=\"$2\" --port=\"$3\" 3<\"$4\" </dev/null";
    let (host, port) = (appliance.smtp.ip().to_string(), appliance.smtp.port().to_string());
    let program = unpacked("usr/lib/nullmailer/smtp");
    let send = || run("sh", ["-c", script, "sh", &program, &host, &port, &mail], b"");
    let output = send();
    assert!(output.status.success(), "{}", said(&output));
    was_delivered_whole(&smarthost, &alias);
    let output = send();
    assert!(!output.status.success() && said(&output).contains("no such alias here"), "{}", said(&output));
    assert_eq!((smarthost.accepted(), appliance.uses_left(&alias)), (1, 0));
}

#[test]
fn smtp_source_delivers_a_hundred_in_ten_sessions() {
    let (smarthost, appliance, alias) = scene(100);
    let to = format!("{}:{}", appliance.smtp.ip(), appliance.smtp.port());
    let flags = ["-s", "10", "-m", "100", "-l", "100000", "-f", "sender@client.test", "-t", &alias.email];
    // Each on a connection of its own, and then a few after each other.
    succeed("smtp-source", flags.iter().chain(&[to.as_str()]), b"");
    assert_eq!((smarthost.accepted(), appliance.uses_left(&alias)), (100, 0));
    let alias = appliance.alias("target@mailbox.test", 60);
    let flags = ["-d", "-s", "10", "-m", "60", "-l", "2000", "-f", "sender@client.test", "-t", &alias.email];
    succeed("smtp-source", flags.iter().chain(&[to.as_str()]), b"");
    assert_eq!((smarthost.accepted(), appliance.uses_left(&alias)), (160, 0));
}

/// What nmap makes of an SMTP server at `address`, in its sixteen tests for open relays.
fn open_relay_tests(address: SocketAddr) -> String {
    let port = address.port().to_string();
    let arguments = "smtp-open-relay.to=victim@elsewhere.test,smtp-open-relay.domain=client.test";
    succeed(
        "nmap",
        ["-Pn", "-n", "-p", &port, "--script", "+smtp-open-relay", "--script-args", arguments, "127.0.0.1"],
        b"",
    )
}

/// docs/smtp.md §7: and it would find one.
#[test]
fn nmap_finds_no_open_relay() {
    let (smarthost, appliance, alias) = scene(1);
    let found = open_relay_tests(smarthost.address());
    assert!(found.contains("Server is an open relay (16/16 tests)"), "{found}");
    let connections = smarthost.count(|record| record.connections);
    let strict = open_relay_tests(appliance.smtp);
    assert!(!strict.contains("is an open relay"), "{strict}");

    // And all sixteen, without our patience coming to its end before.
    let patient = Appliance::start_with(smarthost.address(), &[("smtp.max_errors", "0")]);
    let found = open_relay_tests(patient.smtp);
    assert!(found.contains("Server doesn't seem to be an open relay, all tests failed"), "{found}");
    assert_eq!(smarthost.count(|record| record.connections), connections);
    assert_eq!(appliance.uses_left(&alias), 1);
}
