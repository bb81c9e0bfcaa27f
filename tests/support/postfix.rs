//! A Postfix of the tests' own, with its configuration, queue and mailboxes in a temporary directory.
//!
//! It starts as root only.

use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::{process, thread};

use tempfile::TempDir;

use super::program::succeed;
use super::{TARGET_DOMAIN, wait};

/// The services that every Postfix needs (master(5)); its smtpd is added with its port.
const SERVICES: &str = "\
pickup    unix  n - n 1     1 pickup
cleanup   unix  n - n -     0 cleanup
qmgr      unix  n - n 1     1 qmgr
rewrite   unix  - - n -     - trivial-rewrite
bounce    unix  - - n -     0 bounce
defer     unix  - - n -     0 bounce
trace     unix  - - n -     0 bounce
verify    unix  - - n -     1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n -     - proxymap
smtp      unix  - - n -     - smtp
relay     unix  - - n -     - smtp
showq     unix  n - n -     - showq
error     unix  - - n -     - error
retry     unix  - - n -     - error
virtual   unix  - n n -     - virtual
anvil     unix  - - n -     1 anvil
scache    unix  - - n -     1 scache
tlsmgr    unix  - - n 1000? 1 tlsmgr
postlog   unix-dgram n - n - 1 postlogd
";

/// How its smtpd checks passwords: by a list of its own.
const SASL: &str = "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN LOGIN\n";

/// A running Postfix; stopped when it is dropped.
pub struct Postfix {
    dir: TempDir,
    address: SocketAddr,
}

impl Postfix {
    /// A smarthost at `address` that puts all mail for [`TARGET_DOMAIN`] into one mailbox; with
    /// further `settings`, and defaults for all that matters.
    pub fn smarthost(address: SocketAddr, settings: &str) -> Self {
        let mailbox = "virtual_mailbox_maps = static:mailbox/";
        Postfix::start(address, &format!("virtual_mailbox_domains = {TARGET_DOMAIN}\n{mailbox}\n{settings}"))
    }

    /// A mail server whose users' mail all goes to `mx`; with further `settings`.
    pub fn client(mx: SocketAddr, settings: &str) -> Self {
        Postfix::start(free_address(), &format!("relayhost = {}\n{settings}", next_hop(mx)))
    }

    #[track_caller]
    fn start(address: SocketAddr, settings: &str) -> Self {
        let dir = TempDir::new().expect("a temporary directory can be made");
        let path = dir.path();
        fs::set_permissions(path, Permissions::from_mode(0o755)).expect("it is our directory");
        for (directory, owner) in [
            ("etc", "root"),
            ("etc/sasl", "root"),
            ("queue", "root"),
            ("data", "postfix"),
            ("mail", "nobody"),
        ] {
            fs::create_dir(path.join(directory)).expect("a directory can be made");
            succeed("chown", [owner, &path.join(directory).to_string_lossy()], b"");
        }
        let at = |name: &str| path.join(name).display().to_string();
        let main = format!(
            "compatibility_level = 3.6\n\
             queue_directory = {}\n\
             data_directory = {}\n\
             maillog_file = {}\n\
             maillog_file_prefixes = {}\n\
             myhostname = postfix.test\n\
             mydestination =\n\
             alias_maps =\n\
             inet_interfaces = 127.0.0.1\n\
             inet_protocols = ipv4\n\
             mynetworks = 127.0.0.0/8\n\
             disable_dns_lookups = yes\n\
             smtp_host_lookup = native\n\
             smtpd_peername_lookup = no\n\
             biff = no\n\
             virtual_mailbox_base = {}\n\
             virtual_uid_maps = static:65534\n\
             virtual_gid_maps = static:65534\n\
             {settings}",
            at("queue"),
            at("data"),
            at("log"),
            path.display(),
            at("mail"),
        );
        let master = format!("{address} inet n - n - - smtpd\n{SERVICES}");
        // Debian's Postfix looks for it there; who asks for passwords is up to `settings`.
        let sasl = format!("{SASL}sasldb_path: {}\n", at("etc/sasldb"));
        fs::write(path.join("etc/sasl/smtpd.conf"), sasl).expect("a file can be written");
        fs::write(path.join("etc/main.cf"), main).expect("a file can be written");
        fs::write(path.join("etc/master.cf"), master).expect("a file can be written");
        let postfix = Postfix { dir, address };
        postfix.control("start");
        postfix
    }

    /// Where it speaks SMTP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whoever says `user` and `password` is let in from now on.
    pub fn admit(&self, user: &str, password: &str) {
        let list = format!("{}/sasldb", self.etc());
        succeed("saslpasswd2", ["-c", "-p", "-f", &list, "-u", "postfix.test", user], password.as_bytes());
        fs::set_permissions(list, Permissions::from_mode(0o644)).expect("it is our file");
    }

    /// Hands it a message, as a user of its machine would.
    #[track_caller]
    pub fn send(&self, to: &[&str], message: &str) {
        let etc = self.etc();
        let arguments = ["-C", &etc, "-i", "-f", "sender@client.test", "--"];
        succeed("sendmail", arguments.iter().chain(to), message.as_bytes());
    }

    /// Tries everything that is deferred once more.
    pub fn flush(&self) {
        succeed("postqueue", ["-c", &self.etc(), "-f"], b"");
    }

    /// Messages in its queue: the names of the queues they are in.
    pub fn queue(&self) -> Vec<String> {
        let listing = succeed("postqueue", ["-c", &self.etc(), "-j"], b"");
        let entries = listing.lines().map(serde_json::from_str::<serde_json::Value>);
        entries
            .map(|e| e.expect("the listing is JSON")["queue_name"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// Waits until there are `messages` in the mailbox and none in the queue; gives them.
    #[track_caller]
    pub fn mailbox(&self, messages: usize) -> Vec<String> {
        wait::until_equal("messages in the queue", 0, || self.queue().len());
        wait::until_equal("messages in the mailbox", messages, || self.read_mailbox().len());
        self.read_mailbox()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        read_lossy(&self.dir.path().join("log"))
    }

    fn read_mailbox(&self) -> Vec<String> {
        let Ok(files) = fs::read_dir(self.dir.path().join("mail/mailbox/new")) else { return Vec::new() };
        let paths = files.map(|file| file.expect("a directory can be listed").path());
        paths.map(|path| read_lossy(&path)).collect()
    }

    #[track_caller]
    fn control(&self, verb: &str) {
        succeed("postfix", ["-c", &self.etc(), verb], b"");
    }

    fn etc(&self) -> String {
        self.dir.path().join("etc").display().to_string()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("Postfix wrote: {}", self.log());
        }
        // By its own process id, which it keeps in its queue directory.
        drop(process::Command::new("postfix").args(["-c", &self.etc(), "stop"]).output());
    }
}

/// `address` as Postfix wants it in `relayhost` or a transport.
pub fn next_hop(address: SocketAddr) -> String {
    format!("[{}]:{}", address.ip(), address.port())
}

/// An address that is free now, and that no test will be given by chance: its port lies below those
/// that Linux hands out, and each test program has its own few.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + 12 * u16::try_from(process::id() % 1000).expect("less than 1000 fits");
    let next = |_| SocketAddr::from((Ipv4Addr::LOCALHOST, first + NEXT.fetch_add(1, Ordering::Relaxed)));
    let mut addresses = (0..12).map(next);
    addresses.find(|address| TcpListener::bind(address).is_ok()).expect("some port is free")
}

fn read_lossy(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}
