//! The DNS: docs/smtp.md §9 (what they are asked, which answers count, and what follows at
//! RCPT), and the smarthost's name.

use std::fs::{self, Permissions};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempalias::config::Dns;
use tempalias::dnsbl::Lists;
use tempfile::TempDir;
use tokio::time::{Instant, timeout};

use crate::support::appliance::Appliance;
use crate::support::client::Client;
use crate::support::dns::{Answer, NameServer};
use crate::support::network::isolated;
use crate::support::postfix::free_address;
use crate::support::smarthost::Smarthost;
use crate::support::wait;

const LISTED: Answer = Answer::A(Ipv4Addr::new(127, 0, 0, 4), 300);

/// 192.0.2.99 and 2001:db8:1:2:3:4:567:89ab, as RFC 5782 §2.1 and §2.4 have them.
const V4_ENTRY: &str = "99.2.0.192";
const V6_ENTRY: &str = "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2";

fn v4() -> IpAddr {
    "192.0.2.99".parse().unwrap()
}

fn v6() -> IpAddr {
    "2001:db8:1:2:3:4:567:89ab".parse().unwrap()
}

fn lists_at(server: SocketAddr, zones: &[&str]) -> Lists {
    let zones: Vec<_> = zones.iter().map(|zone| zone.parse().unwrap()).collect();
    Lists::new(&zones, &Dns { servers: vec![server] })
}

/// A server with lists in good order at `zones`, and the lists after their test.
async fn lists(zones: &[&str]) -> (NameServer, Lists) {
    let server = NameServer::start();
    zones.iter().for_each(|zone| server.list(zone));
    let lists = lists_at(server.address(), zones);
    assert!(lists.test().await);
    (server, lists)
}

#[tokio::test]
async fn a_client_is_listed_when_its_reversed_address_is() {
    let (server, lists) = lists(&["one.test", "two.test"]).await;
    server.set(&format!("{V4_ENTRY}.two.test"), LISTED);
    server.set(&format!("{V6_ENTRY}.one.test"), LISTED);
    assert_eq!(lists.find(v4()).await.as_deref(), Some("two.test"));
    assert_eq!(lists.find(v6()).await.as_deref(), Some("one.test"));
    assert_eq!(lists.find("192.0.2.98".parse().unwrap()).await, None);
    assert_eq!(lists.find("::ffff:192.0.2.99".parse().unwrap()).await.as_deref(), Some("two.test"));
}

#[tokio::test]
async fn only_answers_in_127_count_and_aliases_are_followed() {
    let (server, lists) = lists(&["list.test"]).await;
    for (n, answer, is_listed) in [
        (1, Answer::A(Ipv4Addr::new(1, 2, 3, 4), 300), false),
        (2, Answer::A(Ipv4Addr::new(127, 255, 255, 254), 300), false),
        (3, Answer::Failure, false),
        (4, Answer::Alias("moved.test.", Ipv4Addr::new(127, 0, 0, 2)), true),
        (5, Answer::Alias("moved.test.", Ipv4Addr::new(10, 0, 0, 1)), false),
        (6, Answer::A(Ipv4Addr::new(127, 9, 9, 9), 300), true),
    ] {
        server.set(&format!("{n}.2.0.192.list.test"), answer.clone());
        let found = lists.find(Ipv4Addr::new(192, 0, 2, n).into()).await;
        assert_eq!(found.is_some(), is_listed, "{answer:?}");
        assert_ne!(server.asked(&format!("{n}.2.0.192.list.test")), 0, "{answer:?} was never heard");
    }
}

/// The self-test: what fails it is off, whatever it says of clients.
#[tokio::test]
async fn a_list_that_fails_its_test_is_not_asked() {
    let server = NameServer::start();
    let zones = ["empty.test", "all.test", "broken.test", "refusing.test", "parked.test"];
    server.set("all.test", LISTED);
    server.set("broken.test", Answer::Failure);
    server.set("refusing.test", Answer::A(Ipv4Addr::new(127, 255, 255, 254), 300));
    server.set("parked.test", Answer::A(Ipv4Addr::new(1, 2, 3, 4), 300));
    let lists = lists_at(server.address(), &zones);
    assert_eq!(lists.find(v4()).await, None, "a list is in use before its test");
    assert!(!lists.test().await, "one of them gives no answer");
    for zone in zones {
        assert_ne!(server.asked(&format!("2.0.0.127.{zone}")), 0, "{zone} was not tested");
        server.set(&format!("{V4_ENTRY}.{zone}"), LISTED);
        server.set(&format!("{V6_ENTRY}.{zone}"), LISTED);
    }
    assert_eq!((lists.find(v4()).await, lists.find(v6()).await), (None, None));
    for zone in zones {
        assert_eq!(server.asked(&format!("{V4_ENTRY}.{zone}")), 0, "{zone} was asked");
    }
}

#[tokio::test]
async fn the_test_is_one_for_each_family() {
    let server = NameServer::start();
    server.set("2.0.0.127.four.test", LISTED);
    let lists = lists_at(server.address(), &["four.test"]);
    assert!(lists.test().await);
    server.set(&format!("{V4_ENTRY}.four.test"), LISTED);
    server.set(&format!("{V6_ENTRY}.four.test"), LISTED);
    assert_eq!(lists.find(v4()).await.as_deref(), Some("four.test"));
    assert_eq!(lists.find(v6()).await, None);
}

#[tokio::test]
async fn a_list_that_breaks_later_is_switched_off_and_on_again_when_it_is_mended() {
    let (server, lists) = lists(&["list.test"]).await;
    server.set("list.test", LISTED);
    assert!(lists.test().await);
    assert_eq!(lists.find(v4()).await, None);
    server.list("list.test");
    server.set(&format!("{V4_ENTRY}.list.test"), LISTED);
    assert!(lists.test().await);
    assert_eq!(lists.find(v4()).await.as_deref(), Some("list.test"));
}

#[tokio::test]
async fn private_addresses_are_never_asked_for() {
    let (server, lists) = lists(&["list.test"]).await;
    let before = server.asked("list.test");
    server.set("list.test", LISTED);
    for client in ["127.0.0.1", "10.1.2.3", "192.168.1.1", "169.254.0.1", "::1", "fe80::1", "fd00::1"] {
        assert_eq!(lists.find(client.parse().unwrap()).await, None, "{client}");
        assert_eq!(lists.ask(client.parse().unwrap()).listed_by().await, None, "{client}");
    }
    assert_eq!(server.asked("list.test"), before);
}

/// Answers are kept for 60 s at least, whatever their TTL: also that there is none.
#[tokio::test]
async fn answers_are_kept() {
    let (server, lists) = lists(&["list.test"]).await;
    server.set(&format!("{V4_ENTRY}.list.test"), Answer::A(Ipv4Addr::new(127, 0, 0, 2), 0));
    for _ in 0..3 {
        assert!(lists.find(v4()).await.is_some());
        assert!(lists.find(v6()).await.is_none());
    }
    assert_eq!(server.asked(&format!("{V4_ENTRY}.list.test")), 1);
    assert_eq!(server.asked(&format!("{V6_ENTRY}.list.test")), 1);
}

#[tokio::test]
async fn a_list_that_is_silent_delays_no_other_and_lists_nobody_after_5_seconds() {
    let (server, lists) = lists(&["silent.test", "list.test"]).await;
    server.set(&format!("{V4_ENTRY}.list.test"), LISTED);
    server.set("2.0.192.silent.test", Answer::Silence);
    let start = Instant::now();
    assert_eq!(lists.find(v4()).await.as_deref(), Some("list.test"));
    assert!(start.elapsed() < Duration::from_secs(2), "it took {:?}", start.elapsed());
    assert_eq!(lists.find("192.0.2.1".parse().unwrap()).await, None);
    let took = start.elapsed();
    assert!((Duration::from_secs(5)..Duration::from_secs(6)).contains(&took), "it took {took:?}");
    assert!(server.asked("1.2.0.192.silent.test") > 1, "a lost question is not sent again");
}

#[tokio::test]
async fn a_question_ends_with_the_session() {
    let (server, lists) = lists(&["list.test"]).await;
    server.set(&format!("{V4_ENTRY}.list.test"), Answer::Silence);
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let listing = lists.ask(v4());
    assert!(tasks() > before);
    drop(listing);
    // Long before the 5 seconds that it might have taken.
    let ended = timeout(Duration::from_secs(2), async {
        while tasks() > before {
            tokio::task::yield_now().await;
        }
    });
    ended.await.expect("the question is still asked");
}

#[tokio::test]
async fn many_clients_at_once_all_get_their_answer() {
    let (server, lists) = lists(&["one.test", "two.test"]).await;
    server.set("2.0.192.two.test", LISTED);
    let listings: Vec<_> = (0..250).map(|n| lists.ask(Ipv4Addr::new(192, 0, 2, n).into())).collect();
    for mut listing in listings {
        assert_eq!(listing.listed_by().await, Some("two.test"));
        assert_eq!(listing.listed_by().await, Some("two.test"), "it is forgotten");
    }
}

/// The servers of the configuration are asked for everything.
#[test]
fn the_smarthost_is_found_by_name() {
    let (server, smarthost) = (NameServer::start(), Smarthost::start());
    server.set("relay.test", Answer::A(Ipv4Addr::LOCALHOST, 300));
    let servers = format!("[\"{}\"]", server.address());
    let settings = [("smarthost.host", "\"relay.test\""), ("dns.servers", &servers)];
    let appliance = Appliance::start_with(smarthost.address(), &settings);
    let alias = appliance.alias("target@mailbox.test", 1);
    assert_eq!(Client::hello(appliance.smtp).deliver(&alias.email).code(), 250);
    assert_eq!(smarthost.accepted(), 1);
}

/// Debian's list server, with data as operators have it.
struct Rbldnsd {
    child: Child,
    _dir: TempDir,
}

impl Rbldnsd {
    fn start(address: SocketAddr) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        fs::write(at("v4"), ":127.0.0.2:listed\n127.0.0.2\n192.0.2.0/25\n").unwrap();
        fs::write(at("v6"), ":127.0.0.2:listed\n::ffff:7f00:2\n2001:db8:1::/48\n").unwrap();
        let mut command = Command::new("rbldnsd");
        command.args(["-n", "-b", &format!("{}/{}", address.ip(), address.port())]);
        if crate::support::program::is_root() {
            // It will not run as root, and nobody must be able to read its data.
            command.args(["-u", "nobody"]);
            fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        }
        command.arg(format!("four.test:ip4set:{}", at("v4")));
        command.args([format!("both.test:ip4set:{}", at("v4")), format!("both.test:ip6trie:{}", at("v6"))]);
        let child = command.stdout(Stdio::null()).spawn().expect("rbldnsd: ./scripts/install-test-deps");
        Rbldnsd { child, _dir: dir }
    }
}

impl Drop for Rbldnsd {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test]
async fn rbldnsd_passes_the_test_and_its_clients_are_found() {
    let address = free_address();
    let _server = Rbldnsd::start(address);
    let lists = lists_at(address, &["four.test", "both.test"]);
    let ready = timeout(wait::PATIENCE, async { while !lists.test().await {} });
    ready.await.expect("rbldnsd answers");
    for (client, listed_by) in [
        ("192.0.2.99", &["four.test", "both.test"][..]),
        ("192.0.2.199", &[]),
        ("2001:db8:1:2::3", &["both.test"]),
        ("2001:db8:2::3", &[]),
    ] {
        let found = lists.find(client.parse().unwrap()).await;
        assert_eq!(found.is_some(), !listed_by.is_empty(), "{client}");
        assert!(found.is_none_or(|name| listed_by.contains(&&*name)), "{client}");
    }
}

/// The program with lists at `zones`, and an alias; in a network where clients have public addresses.
struct Scene {
    smarthost: Smarthost,
    appliance: Appliance,
    alias: String,
}

const ADDRESSES: &[&str] = &["203.0.113.7/32", "203.0.113.8/32", "2001:db8::7/128", "2001:db8::8/128"];

impl Scene {
    fn start(server: &NameServer, zones: &[&str], settings: &[(&str, &str)]) -> Self {
        let smarthost = Smarthost::start();
        let (zones, servers) = (format!("{zones:?}"), format!("[\"{}\"]", server.address()));
        let lists = [("smtp.rbls", zones.as_str()), ("dns.servers", &servers)];
        let appliance = Appliance::start_with(smarthost.address(), &[&lists[..], settings].concat());
        let alias = appliance.alias("target@mailbox.test", 5).email;
        Scene { smarthost, appliance, alias }
    }

    /// How many lines of the log hold `part`; waits for the first.
    fn logged(&self, part: &str) -> usize {
        let count = || self.appliance.stderr().iter().filter(|line| line.contains(part)).count();
        wait::until(part, || Some(count()).filter(|count| *count > 0))
    }

    /// A client at `source`, after MAIL.
    fn client(&self, source: &str) -> Client {
        let mut client = Client::connect_from(source.parse().unwrap(), self.appliance.smtp);
        client.expect("220");
        client.command("EHLO client.test", "250");
        client.command("MAIL FROM:<sender@client.test>", "250");
        client
    }

    fn rcpt(&self) -> String {
        format!("RCPT TO:<{}>", self.alias)
    }
}

#[test]
fn a_listed_client_is_refused_at_rcpt_whomever_it_writes_to() {
    if !isolated("a_listed_client_is_refused_at_rcpt_whomever_it_writes_to", ADDRESSES) {
        return;
    }
    let server = NameServer::start();
    server.list("list.test");
    server.set("7.113.0.203.list.test", LISTED);
    let scene = Scene::start(&server, &["list.test"], &[]);
    assert_eq!(scene.logged("DNS list in use"), 2);

    let mut listed = scene.client("203.0.113.7");
    listed.command(&scene.rcpt(), "554 5.7.1 your address is on the list list.test");
    listed.command("RCPT TO:<nobody@alias.test>", "550 5.1.1");
    listed.command("RCPT TO:<somebody@elsewhere.test>", "550 5.7.1");
    listed.command("RCPT TO:<postmaster>", "554 5.7.1");
    listed.command("RCPT TO:<Abuse@second.test>", "554 5.7.1");
    listed.command(&scene.rcpt(), "554 5.7.1");
    assert_eq!(scene.smarthost.count(|record| record.connections), 0);
    assert_eq!(server.asked("7.113.0.203.list.test"), 1);

    scene.client("203.0.113.8").command(&scene.rcpt(), "250");
    assert_eq!(server.asked("8.113.0.203.list.test"), 1);
    scene.client("127.0.0.1").command(&scene.rcpt(), "250");
    assert_eq!(server.asked("1.0.0.127.list.test"), 1, "it was asked in the test, and never again");
}

#[test]
fn an_ipv6_client_is_listed_and_counted_by_its_network() {
    if !isolated("an_ipv6_client_is_listed_and_counted_by_its_network", ADDRESSES) {
        return;
    }
    let server = NameServer::start();
    server.list("list.test");
    server.set("7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.list.test", LISTED);
    let settings = [("smtp.listen", "[\"[::1]:0\"]"), ("smtp.max_connections_per_ip", "1")];
    let scene = Scene::start(&server, &["list.test"], &settings);
    assert_eq!(scene.logged("DNS list in use"), 2);
    let mut listed = scene.client("2001:db8::7");
    listed.command(&scene.rcpt(), "554 5.7.1");
    // One of the same /64.
    Client::connect_from("2001:db8::8".parse().unwrap(), scene.appliance.smtp).expect("421 4.7.0");
    scene.client("::1").command(&scene.rcpt(), "250");
}

#[test]
fn lists_that_fail_are_reported_once_and_refuse_nobody() {
    if !isolated("lists_that_fail_are_reported_once_and_refuse_nobody", ADDRESSES) {
        return;
    }
    let server = NameServer::start();
    server.set("broken.test", Answer::Failure);
    server.set("world.test", LISTED);
    server.list("moody.test");
    server.set("113.0.203.moody.test", Answer::A(Ipv4Addr::new(127, 255, 255, 254), 300));
    let scene = Scene::start(&server, &["broken.test", "world.test", "moody.test"], &[]);
    assert_eq!(scene.logged("DNS list in use"), 2);
    for source in ["203.0.113.7", "203.0.113.8"] {
        scene.client(source).command(&scene.rcpt(), "250");
    }
    assert_eq!(scene.logged("refuses our queries"), 1);
    for list in ["broken.test", "world.test"] {
        for family in ["IPv4", "IPv6"] {
            let report = |line: &String| {
                line.contains("WARN")
                    && line.contains("switched off")
                    && line.contains(list)
                    && line.contains(family)
            };
            assert_eq!(
                scene.appliance.stderr().iter().filter(|line| report(line)).count(),
                1,
                "{list} {family}"
            );
        }
    }
}

#[test]
fn a_list_that_is_silent_delays_the_first_recipient_5_seconds_at_most() {
    if !isolated("a_list_that_is_silent_delays_the_first_recipient_5_seconds_at_most", ADDRESSES) {
        return;
    }
    let server = NameServer::start();
    server.list("list.test");
    server.set("113.0.203.list.test", Answer::Silence);
    let scene = Scene::start(&server, &["list.test"], &[]);
    assert_eq!(scene.logged("DNS list in use"), 2);
    let start = std::time::Instant::now();
    let mut client = scene.client("203.0.113.7");
    // What needs no list does not wait for it.
    client.command("RCPT TO:<nobody@alias.test>", "550 5.1.1");
    assert!(start.elapsed() < Duration::from_secs(4), "it took {:?}", start.elapsed());
    client.command(&scene.rcpt(), "250");
    let took = start.elapsed();
    assert!((Duration::from_secs(4)..Duration::from_secs(7)).contains(&took), "it took {took:?}");
}
