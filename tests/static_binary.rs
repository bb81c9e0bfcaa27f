//! The program is one static binary: it needs nothing of the system it runs on.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::certificates::Authority;
use crate::support::client::Client;
use crate::support::dns::{Answer, NameServer};
use crate::support::process::Process;
use crate::support::program::{said, succeed};
use crate::support::smarthost::Smarthost;

const PROGRAM: &str = env!("CARGO_BIN_EXE_tempalias");

#[test]
fn the_binary_is_static() {
    assert!(succeed("ldd", [PROGRAM], b"").contains("statically linked"));
}

#[test]
fn in_an_empty_root_it_serves_finds_its_smarthost_by_name_and_trusts_the_systems_authorities() {
    let (server, smarthost, authority) = (NameServer::start(), Smarthost::start(), Authority::new());
    server.set("relay.test", Answer::A(Ipv4Addr::LOCALHOST, 300));
    smarthost.present(&authority.certify(&["relay.test"]));
    let root = root(&server, &smarthost, &authority);
    let Some(process) = InRoot::start(root.path()) else { return };

    let alias = json!({"target": "target@mailbox.test", "max-usage": 1});
    let answer = ureq::post(format!("http://{}/aliases", process.0.address("HTTP on "))).send_json(alias);
    let answer: Value = answer.unwrap().body_mut().read_json().unwrap();
    let email = answer["email"].as_str().unwrap();
    assert_eq!(Client::hello(process.0.address("SMTP on ")).deliver(email).code(), 250);
    assert_eq!(smarthost.accepted(), 1);
    assert_eq!(smarthost.count(|record| record.heard("STARTTLS")), 1);
    let known = ["tempalias", "tempalias.db-shm"].map(str::to_owned);
    assert_eq!(process.mapped_files(), BTreeSet::from(known));

    // As in the container.
    let listen = [("SMTP on ", "TEMPALIAS_SMTP__LISTEN"), ("HTTP on ", "TEMPALIAS_HTTP__LISTEN")];
    let listen = listen.map(|(door, key)| (key, process.0.address(door).to_string()));
    let health = ["/tempalias", "health", "--config", "/tempalias.toml"];
    let output = in_root(root.path(), &health).envs(listen).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn a_smarthost_in_the_hosts_file_needs_no_dns_and_a_changed_file_counts_at_once() {
    let (server, smarthost, authority) = (NameServer::start(), Smarthost::start(), Authority::new());
    smarthost.present(&authority.certify(&["relay.test"]));
    for answer in
        [Answer::Silence, Answer::None, Answer::Failure, Answer::A(Ipv4Addr::new(127, 0, 0, 3), 300)]
    {
        server.set("relay.test", answer.clone());
        let root = root(&server, &smarthost, &authority);
        let hosts = |line: &str| fs::write(root.path().join("etc/hosts"), line).unwrap();
        // For one family only; and nobody listens there.
        hosts("127.0.0.2 relay.test\n");
        let Some(process) = InRoot::start(root.path()) else { return };
        let alias = json!({"target": "target@mailbox.test", "max-usage": 1});
        let created =
            ureq::post(format!("http://{}/aliases", process.0.address("HTTP on "))).send_json(alias);
        let created: Value = created.unwrap().body_mut().read_json().unwrap();
        let deliver = || {
            let mut client = Client::hello(process.0.address("SMTP on "));
            client.deliver(created["email"].as_str().unwrap()).code()
        };
        assert_eq!(deliver(), 451, "{answer:?}");
        hosts("127.0.0.1\tlocalhost\n127.0.0.1\tanother.test Relay.test\n");
        assert_eq!(deliver(), 250, "{answer:?}");
        assert_eq!(server.asked("relay.test"), 0, "{answer:?}");
    }
    assert_eq!(smarthost.accepted(), 4);
}

/// The program, its configuration, the authorities, and an empty data directory; nothing else.
fn root(server: &NameServer, smarthost: &Smarthost, authority: &Authority) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| root.path().join(path);
    fs::create_dir_all(at("etc/ssl/certs")).unwrap();
    fs::create_dir(at("data")).unwrap();
    fs::copy(PROGRAM, at("tempalias")).unwrap();
    fs::copy(authority.file(), at("etc/ssl/certs/ca-certificates.crt")).unwrap();
    let config = format!(
        "hostname = \"mx.alias.test\"\ndomains = [\"alias.test\"]\npostmaster = \"admin@mailbox.test\"\n\
         data_dir = \"/data\"\nhttp.listen = [\"127.0.0.1:0\"]\nsmtp.listen = [\"127.0.0.1:0\"]\n\
         smarthost = {{ host = \"relay.test\", port = {}, tls = \"starttls\" }}\ndns.servers = [\"{}\"]\n",
        smarthost.address().port(),
        server.address()
    );
    fs::write(at("tempalias.toml"), config).unwrap();
    root
}

/// The program in a root of its own.
struct InRoot(Process);

impl InRoot {
    /// `None`, and a word about it, when this user may not change the root.
    fn start(root: &Path) -> Option<Self> {
        let allowed = in_root(root, &["/tempalias", "--version"]).output().unwrap();
        if !allowed.status.success() {
            eprintln!("SKIPPED: this user may not change the root: {}", said(&allowed));
            return None;
        }
        let serve = ["/tempalias", "serve", "--config", "/tempalias.toml"];
        Some(InRoot(Process::start(&mut in_root(root, &serve))))
    }

    /// The names of the files in its memory: a shared object would be one.
    fn mapped_files(&self) -> BTreeSet<String> {
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.0.id())).unwrap();
        maps.lines().filter_map(|line| line.rsplit_once('/')).map(|(_, name)| name.to_owned()).collect()
    }
}

/// `program` with `root` for its root, and no environment.
fn in_root(root: &Path, program: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.arg("--map-root-user").arg("--root").arg(root).args(program).env_clear();
    command
}
