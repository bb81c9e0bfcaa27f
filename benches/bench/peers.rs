//! Those we are compared with, configured by the files in `benches/peers`.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const CONFIGURATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers");

/// A peer in a process of its own; stopped when it is dropped.
pub struct Peer {
    pub address: SocketAddr,
    child: Child,
    /// What stops those who do not end with their first process.
    stop: Option<Command>,
}

impl Peer {
    /// The bench's own sink.
    pub fn sink() -> Self {
        let address = free_address();
        let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
        command.args(["--sink", &address.port().to_string()]);
        Peer::spawn(command, address)
    }

    /// Postfix's sink.
    pub fn smtp_sink() -> Self {
        let address = free_address();
        let mut command = Command::new("smtp-sink");
        command.args(["-u", "nobody", &address.to_string(), "1024"]);
        Peer::spawn(command, address)
    }

    /// Postfix as an MX that refuses the unknown, and queues for `known@bench.test`.
    pub fn postfix(dir: &Path) -> Self {
        let address = free_address();
        let etc = configure(dir, "postfix-main.cf", "main.cf", address);
        configure(dir, "postfix-master.cf", "master.cf", address);
        for (directory, owner) in [("queue", "root"), ("data", "postfix")] {
            fs::create_dir(dir.join(directory)).expect("a directory can be made");
            succeed(Command::new("chown").arg(owner).arg(dir.join(directory)));
        }
        let control = |verb| {
            let mut command = Command::new("postfix");
            command.arg("-c").arg(&etc).arg(verb).stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        let mut peer = Peer::spawn(control("start-fg"), address);
        peer.stop = Some(control("stop"));
        peer
    }

    /// nginx with `page` and its compressed form as its only file.
    pub fn nginx(dir: &Path, page: &[u8], compressed: &[u8]) -> Self {
        let address = free_address();
        let etc = configure(dir, "nginx.conf", "nginx.conf", address);
        fs::create_dir(dir.join("root")).expect("a directory can be made");
        fs::write(dir.join("root/index.html"), page).expect("a file can be written");
        fs::write(dir.join("root/index.html.gz"), compressed).expect("a file can be written");
        let nginx = || {
            let mut command = Command::new("nginx");
            command.arg("-c").arg(etc.join("nginx.conf")).arg("-e").arg(dir.join("error.log"));
            command
        };
        let mut peer = Peer::spawn(nginx(), address);
        let mut stop = nginx();
        stop.args(["-s", "stop"]);
        peer.stop = Some(stop);
        peer
    }

    fn spawn(mut command: Command, address: SocketAddr) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let mut child = child.unwrap_or_else(|cause| panic!("{:?}: {cause}", command.get_program()));
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(address).is_err() {
            let ended = child.try_wait().expect("a child can be waited for");
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "{:?} does not listen",
                command.get_program()
            );
            thread::sleep(Duration::from_millis(20));
        }
        Peer { address, child, stop: None }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(stop) = &mut self.stop {
            let _ = stop.status();
        } else {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// Writes a file of `benches/peers` with its own directory and port into `dir`; that of the configuration.
fn configure(dir: &Path, from: &str, to: &str, address: SocketAddr) -> PathBuf {
    let etc = dir.join("etc");
    fs::create_dir_all(&etc).expect("a directory can be made");
    let text = fs::read_to_string(Path::new(CONFIGURATION).join(from)).expect("the configuration is there");
    let text =
        text.replace("@DIR@", &dir.display().to_string()).replace("@PORT@", &address.port().to_string());
    fs::write(etc.join(to), text).expect("a file can be written");
    etc
}

fn succeed(command: &mut Command) {
    let status = command.status().expect("the program is installed");
    assert!(status.success(), "{command:?}");
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    listener.local_addr().expect("it is bound")
}
