//! What the program says to systemd, and the sockets it takes from it: without systemd, over the
//! same interfaces (sd_notify(3), sd_listen_fds(3)).

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::support::appliance::Appliance;
use crate::support::program::said;
use crate::support::smarthost::Smarthost;
use crate::support::wait::PATIENCE;

const PROGRAM: &str = env!("CARGO_BIN_EXE_tempalias");

/// The end of the service manager's.
struct Manager {
    socket: UnixDatagram,
    dir: TempDir,
}

impl Manager {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Manager { socket, dir }
    }

    fn address(&self) -> String {
        self.dir.path().join("notify").display().to_string()
    }

    /// The next that it hears, but for signs of life.
    fn hears(&self) -> String {
        loop {
            let heard = self.hears_anything();
            if heard != "WATCHDOG=1" {
                return heard;
            }
        }
    }

    fn hears_anything(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).expect("something is said in time");
        String::from_utf8_lossy(&buffer[..length]).trim().to_owned()
    }
}

#[test]
fn systemd_hears_of_start_reload_and_stop() {
    let manager = Manager::new();
    let smarthost = Smarthost::start();
    let mut appliance = Appliance::start(&smarthost);
    appliance.stop();
    appliance.restart_with(&[("NOTIFY_SOCKET", &manager.address())]);
    let ready = format!("READY=1\nSTATUS=SMTP on {}, HTTP on {}", appliance.smtp, appliance.http);
    assert_eq!(manager.hears(), ready);
    appliance.hang_up();
    assert_eq!(manager.hears(), "RELOADING=1");
    assert_eq!(manager.hears(), ready);
    appliance.configure(&[("smtp.max_size", "\"huge\"")]);
    appliance.hang_up();
    assert_eq!(manager.hears(), "RELOADING=1");
    let refused = manager.hears();
    assert!(refused.starts_with(&format!("{ready}; reload refused: ")), "{refused}");
    assert!(refused.contains("smtp.max_size"), "{refused}");
    appliance.terminate();
    assert_eq!(manager.hears(), "STOPPING=1\nSTATUS=finishing messages in flight");
    assert_eq!(appliance.end().code(), Some(0));
}

#[test]
fn the_watchdog_is_fed_while_the_appliance_lives_and_not_when_it_hangs() {
    let manager = Manager::new();
    let smarthost = Smarthost::start();
    let mut appliance = Appliance::start(&smarthost);
    appliance.stop();
    let environment = [("NOTIFY_SOCKET", manager.address()), ("WATCHDOG_USEC", "100000".into())];
    appliance.restart_with(&environment.each_ref().map(|(name, value)| (*name, value.as_str())));
    manager.hears();
    for _ in 0..3 {
        assert_eq!(manager.hears_anything(), "WATCHDOG=1");
    }
    appliance.hold();
    // What it has said before may still be in the pipe.
    manager.socket.set_nonblocking(true).unwrap();
    while manager.socket.recv(&mut [0; 64]).is_ok() {}
    manager.socket.set_nonblocking(false).unwrap();
    manager.socket.set_read_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
    assert!(manager.socket.recv(&mut [0; 64]).is_err(), "it is fed by a process that does nothing");
    appliance.release();
}

/// `serve`, with these sockets as 3 and 4, under these names.
fn serve_on(config: &str, names: &str, sockets: [TcpListener; 2]) -> Command {
    let [first, second] = sockets.map(OwnedFd::from);
    let mut command = Command::new("sh");
    // A shell is the way to give descriptors a number without unsafe code.
    command.args(["-c", "exec 3<&0 4<&1 </dev/null >/dev/null; exec \"$@\"", "sh", PROGRAM, "serve"]);
    command.args(["--config", config]).env("LISTEN_FDS", "2").env("LISTEN_FDNAMES", names);
    command.stdin(first).stdout(second).stderr(Stdio::piped());
    command
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A configuration that listens where nobody may, not even root.
fn config(dir: &TempDir, smarthost: &Smarthost) -> String {
    let file = dir.path().join("tempalias.toml");
    let text = format!(
        "hostname = \"mx.alias.test\"\ndomains = [\"alias.test\"]\npostmaster = \"admin@mailbox.test\"\n\
         data_dir = {:?}\nhttp.listen = [\"192.0.2.1:80\"]\nsmtp.listen = [\"192.0.2.1:25\"]\n\
         smarthost = {{ host = \"127.0.0.1\", port = {} }}\n",
        dir.path(),
        smarthost.address().port()
    );
    std::fs::write(&file, text).unwrap();
    file.display().to_string()
}

#[test]
fn sockets_from_systemd_are_served_by_their_names_and_nothing_else_is_bound() {
    let (smarthost, dir) = (Smarthost::start(), tempfile::tempdir().unwrap());
    let config = config(&dir, &smarthost);
    let ((http, http_address), (smtp, smtp_address)) = (listener(), listener());
    let child = serve_on(&config, "http:smtp", [http, smtp]).spawn().unwrap();
    let page = ureq::get(format!("http://{http_address}/healthz")).call();
    let mut client = crate::support::client::Client::connect(smtp_address);
    client.expect("220");
    client.command("QUIT", "221");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(page.is_ok(), "{page:?}: {}", said(&output));
    let ready = format!("ready, SMTP on {smtp_address}, HTTP on {http_address}");
    assert!(said(&output).contains(&ready), "{}", said(&output));
}

#[test]
fn a_socket_that_cannot_be_served_is_named() {
    let (smarthost, dir) = (Smarthost::start(), tempfile::tempdir().unwrap());
    let config = config(&dir, &smarthost);
    for (names, sentence) in [
        (
            "smtp:web",
            "tempalias: systemd: FileDescriptorName= of a socket unit must be smtp or http, not \"web\"",
        ),
        ("", "tempalias: systemd: FileDescriptorName= of a socket unit must be smtp or http, not \"\""),
    ] {
        let Output { status, stderr, .. } =
            serve_on(&config, names, [listener().0, listener().0]).output().unwrap();
        assert_eq!(status.code(), Some(1));
        assert_eq!(String::from_utf8(stderr).unwrap().trim(), sentence);
    }
}
