//! docs/smtp.md §3: who must not learn what. Every path is driven with marked secrets, and then everything
//! that clients heard, every header field of ours and every line of the log is searched for them.
//!
//! | secret | whose |
//! |---|---|
//! | targets, and what the smarthost says | nobody's but the holder's |
//! | subject, text, sender, client's address | not the log's |
//! | whole alias names, manage keys, passwords | not the log's |

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::process::Output;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use tempalias::alias::Limits;
use tempfile::NamedTempFile;

use crate::support::appliance::{Alias, Appliance};
use crate::support::certificates::{Authority, replace};
use crate::support::client::{Client, Reply};
use crate::support::dns::{Answer, NameServer};
use crate::support::network::isolated;
use crate::support::program::said;
use crate::support::smarthost::{Behaviour, Smarthost, Stage};
use crate::support::wait::PATIENCE;
use crate::support::{LEAK_MARKER, TARGET_DOMAIN};

const TARGET: &str = "marked-target@mailbox.test";
const SENDER: &str = "marked-sender@client.test";
const SUBJECT: &str = "marked-subject";
const TEXT: &str = "marked-text";
const USER: &str = "marked-user";
const PASSWORD: &str = "marked-password";

/// Where clients are, and how much of it the log may have.
const CLIENT: &str = "127.77.88.99";
const NETWORK: &str = "127.77.88.0/24";

/// What nobody may hear: parts of all targets, and of all that the smarthost says.
const FOR_NOBODY: [&str; 3] = ["marked-target", TARGET_DOMAIN, LEAK_MARKER];

/// What is not for the log either.
const NOT_LOGGED: [&str; 6] = ["marked-sender", SUBJECT, TEXT, PASSWORD, USER, CLIENT];

/// So that a smarthost's silence is a matter of a second.
const IMPATIENT: &[(&str, &str)] = &[
    ("postmaster", "\"marked-target+postmaster@mailbox.test\""),
    ("smarthost.connect_timeout", "\"1s\""),
    ("smarthost.command_timeout", "\"1s\""),
    ("smarthost.final_timeout", "\"1s\""),
    ("smtp.connections_per_minute", "0"),
    ("smtp.unknown_recipients_per_hour", "0"),
];

struct Scene {
    smarthost: Smarthost,
    appliance: Appliance,
    source: IpAddr,
    /// All that clients were told.
    heard: String,
    aliases: Vec<Alias>,
}

impl Scene {
    fn new(smarthost: Smarthost, settings: &[(&str, &str)]) -> Self {
        let appliance = Appliance::start_with(smarthost.address(), &[IMPATIENT, settings].concat());
        let source = CLIENT.parse().expect("this is an address");
        Scene { smarthost, appliance, source, heard: String::new(), aliases: Vec::new() }
    }

    fn alias(&mut self, uses: u32) -> Alias {
        let alias = self.appliance.alias(TARGET, uses);
        self.aliases.push(alias.clone());
        alias
    }

    /// Says each of `lines` after EHLO and hears the answers, up to the end or a DATA that is refused; the last.
    fn talk<'a>(&mut self, lines: impl IntoIterator<Item = &'a str>) -> Reply {
        let mut client = Client::connect_from(self.source, self.appliance.smtp);
        let mut last = client.reply();
        for line in ["EHLO client.test"].into_iter().chain(lines) {
            client.send(format!("{line}\r\n"));
            let Some(reply) = client.reply_or_end() else { break };
            self.heard.push_str(&format!("{}\n", reply.text));
            last = reply;
            if line == "DATA" && last.code() != 354 {
                break;
            }
        }
        last
    }

    /// A message of `text` from `from` to `to`; the last answer.
    fn send(&mut self, from: &str, to: &[&str], text: &str) -> Reply {
        let recipients: Vec<_> = to.iter().map(|to| format!("RCPT TO:<{to}>")).collect();
        let mail = format!("MAIL FROM:<{from}>");
        let envelope = [mail.as_str()].into_iter().chain(recipients.iter().map(String::as_str));
        self.talk(envelope.chain(["DATA", text]))
    }

    /// A marked message to `to`, on a fresh connection upstream, and the answer to it.
    #[track_caller]
    fn delivers(&mut self, to: &[&str], answer: &str) -> Reply {
        self.smarthost.hang_up();
        let reply = self.send(SENDER, to, &format!("Subject: {SUBJECT}\r\n\r\n{TEXT}\r\n."));
        assert!(reply.text.starts_with(answer), "{to:?}: {reply:?}");
        reply
    }

    /// The answer to an HTTP request, its head included; heard, unless it is the holder's own.
    #[track_caller]
    fn http(&mut self, method: &str, path: &str, key: &str, body: &str, status: &str) -> String {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket can be had");
        socket.bind(&SocketAddr::new(self.source, 0).into()).expect("the source is an address of ours");
        socket.connect(&self.appliance.http.into()).expect("the appliance takes connections");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        let mut stream = std::net::TcpStream::from(socket);
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).expect("a request can be sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer comes to its end");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{method} {path} {body}: {answer}");
        if !status.starts_with('2') {
            self.heard.push_str(&answer);
        }
        answer
    }

    /// What the command line says about it when it fails.
    fn command(&mut self, arguments: &[&str]) -> Output {
        let output = self.appliance.run(arguments);
        self.heard.push_str(&String::from_utf8_lossy(&output.stderr));
        output
    }

    /// The end: nobody has heard a secret, and the log has none.
    #[track_caller]
    fn ends(mut self) -> Vec<String> {
        assert!(self.appliance.stop().success());
        for secret in FOR_NOBODY {
            assert!(!self.heard.contains(secret), "{secret} was said: {}", self.heard);
        }
        for message in &self.smarthost.record().messages {
            let raw = String::from_utf8_lossy(&message.raw).into_owned();
            let (ours, _) = raw.split_once("Subject: ").expect("the text begins with its subject");
            assert!(ours.contains("Received: from client.test"), "{ours}");
            for secret in FOR_NOBODY.iter().chain(&["marked-sender", "@client.test"]) {
                assert!(!ours.contains(secret), "{secret} is in a field of ours: {ours}");
            }
            assert!(!message.sender.contains("marked"), "{}", message.sender);
        }
        let log = self.appliance.stderr();
        let names = self.aliases.iter().flat_map(|alias| [alias.name(), alias.key.as_str()]);
        let secrets = FOR_NOBODY.into_iter().chain(NOT_LOGGED).chain(names);
        for secret in secrets {
            let found: Vec<_> = log.iter().filter(|line| line.contains(secret)).collect();
            assert!(found.is_empty(), "{secret} was logged: {found:#?}");
        }
        log
    }
}

/// A report of failure as a smarthost writes it: full of secrets.
fn report() -> String {
    format!(
        "Subject: Undelivered: {SUBJECT}\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n\r\n{TEXT}\r\n--b\r\n\
         Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; relay.test\r\n\r\n\
         Final-Recipient: rfc822; {TARGET}\r\nAction: failed\r\nStatus: 5.1.1\r\nDiagnostic-Code: smtp; {LEAK_MARKER}\r\n\r\n\
         --b--\r\n."
    )
}

#[test]
fn deliveries_and_refusals_give_nothing_away() {
    let mut scene = Scene::new(Smarthost::start(), &[("smtp.max_size", "\"10 KiB\"")]);
    let shop = scene.alias(2);
    let reply = scene.delivers(&[&shop.email], "250 2.0.0");
    let id = reply.text.rsplit(' ').next().expect("a reply has words").to_owned();
    let news = scene.alias(10);
    scene.delivers(&[&shop.email, &news.email], "250 2.0.0");
    scene.delivers(&["postmaster", "abuse@second.test"], "250 2.0.0");
    scene.delivers(&["postmaster@alias.test", &shop.email], "250 2.0.0");

    // Nobody there any more, or never.
    scene.delivers(&[&shop.email], "503");
    let (revoked, paused) = (scene.alias(1), scene.alias(1));
    scene.appliance.revoke(&revoked);
    scene.appliance.pause(&paused);
    let then = "2020-01-01T00:00:00Z".parse().expect("this is an instant");
    let limits = Limits { valid_from: then, valid_until: Some(then), max_usage: None };
    let expired = scene.appliance.alias_issued_at(then, TARGET, limits);
    scene.aliases.push(expired.clone());
    for nobody in [&shop, &revoked, &paused, &expired] {
        let rcpt = format!("RCPT TO:<{}>", nobody.email);
        let reply = scene.talk([format!("MAIL FROM:<{SENDER}>").as_str(), &rcpt]);
        assert_eq!(reply.text, "550 5.1.1 no such alias here");
    }
    // Our secrets, said to us, are not said again.
    let mail = format!("MAIL FROM:<{SENDER}>");
    for refused in [
        format!("RCPT TO:<{TARGET}>"),
        format!("RCPT TO:<{TARGET}> NOTIFY={TARGET}"),
        format!("RCPT TO:{TARGET}"),
        TARGET.to_owned(),
        format!("VRFY {TARGET}"),
        format!("EXPN {TARGET}"),
        format!("MAIL FROM:<{TARGET}>"),
        format!("HELP {TARGET}"),
        format!("DATA {TARGET}"),
        format!("EHLO {TARGET}"),
    ] {
        scene.talk([mail.as_str(), &refused]);
    }
    // Texts that are refused.
    let rcpt = [news.email.as_str()];
    for (text, answer) in [
        (format!("Subject: {SUBJECT}\n\r\n{TEXT}\r\n."), "550 5.6.0"),
        (format!("Subject: {SUBJECT}\r\n\r\n{}\r\n.", TEXT.repeat(2000)), "552 5.3.4"),
        (format!("{}Subject: {SUBJECT}\r\n\r\n{TEXT}\r\n.", "Received: x\r\n".repeat(51)), "554 5.4.6"),
    ] {
        let reply = scene.send(SENDER, &rcpt, &text);
        assert!(reply.text.starts_with(answer), "{reply:?}");
    }
    // Bounces, up to the suspension.
    let sole = scene.alias(10);
    for _ in 0..5 {
        scene.delivers(&[&sole.email], "250");
        let bounce = scene.smarthost.record().messages.pop().expect("it was delivered").sender;
        let reply = scene.send(SENDER, &[&bounce], "");
        assert!(reply.text.starts_with("550 5.7.1"), "{reply:?}");
        let reply = scene.send("", &[&bounce], &report());
        assert_eq!(reply.code(), 250, "{reply:?}");
    }

    let name = &shop.name()[..2];
    let log = scene.ends();
    // Refused recipients: of an alias the beginning of its name, of no alias nothing.
    for (reason, code, alias) in [
        ("used-up", 550, Some(&shop)),
        ("paused", 550, Some(&paused)),
        ("expired", 550, Some(&expired)),
        ("no-alias", 550, None),
        ("relaying", 550, None),
    ] {
        let words = format!("recipient refused reason=\"{reason}\" code={code} ");
        let line = log.iter().find(|line| line.contains(&words)).expect("the refusal is in the log");
        assert!(line.contains(NETWORK), "{line}");
        match alias {
            Some(alias) => assert!(line.contains(&format!("alias=\"{}…\"", &alias.name()[..2])), "{line}"),
            None => assert!(!line.contains("alias="), "{line}"),
        }
    }
    let delivered = log.iter().find(|line| line.contains(&id)).expect("the message is in the log");
    for part in ["delivered id=", "code=250", &format!("{name}…"), NETWORK] {
        assert!(delivered.contains(part), "{part} is not in {delivered}");
    }
    for reason in ["no-alias", "relaying", "bad-line", "too-large", "loop", " bounced id=", " suspended id="]
    {
        assert!(log.iter().any(|line| line.contains(reason)), "{reason} is not in {log:#?}");
    }
}

/// Once the smarthost has taken an alias that was made for a guessed mailbox, nothing that it does tells
/// anything of a second alias: the answer is the same for one of the same mailbox, of one at the same host,
/// and of any other.
#[test]
fn the_answer_about_one_alias_tells_nothing_of_the_mailbox_of_another() {
    let scene = Scene::new(Smarthost::start(), &[]);
    let alias = |target: &str| scene.appliance.alias(target, 100).email;
    let guess = alias(TARGET);
    let victims = [TARGET, "neighbour@mailbox.test", "somebody@elsewhere.example"].map(alias);
    let silences = [Behaviour::Drop, Behaviour::Answer(450), Behaviour::LastWord(421), Behaviour::Silent];
    for afterwards in [Behaviour::Accept].into_iter().chain(silences) {
        let answers = victims.clone().map(|victim| {
            scene.smarthost.set(Stage::Rcpt, Behaviour::Accept);
            let mut client = Client::hello(scene.appliance.smtp);
            client.command("MAIL FROM:<sender@client.test>", "250");
            client.command(&format!("RCPT TO:<{guess}>"), "250");
            scene.smarthost.set(Stage::Rcpt, afterwards);
            let asked = scene.smarthost.count(|record| record.commands.len());
            client.send(format!("RCPT TO:<{victim}>\r\n"));
            let answer = client.reply().text;
            assert_eq!(
                scene.smarthost.count(|record| record.commands.len()),
                asked,
                "the smarthost was asked"
            );
            if afterwards == Behaviour::Drop {
                scene.smarthost.hang_up();
            }
            client.send(format!("RCPT TO:<{victim}>\r\n"));
            [answer, client.reply().text]
        });
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{afterwards:?}: {answers:?}");
        assert!(answers[0].iter().all(|answer| answer.starts_with("452 4.5.3")), "{answers:?}");
    }
}

/// The one test here that measures time: that of an answer is what must not tell. A smarthost that has to
/// look for a host takes a tenth of a second, and for one that it knows next to nothing.
#[test]
fn a_stranger_cannot_tell_by_the_time_what_the_smarthost_has_looked_up_before() {
    const STEP: Duration = Duration::from_millis(500);
    let scene = Scene::new(Smarthost::start(), &[]);
    let alias = |target: &str| scene.appliance.alias(target, 100).email;
    let [known, sought] = [TARGET, "somebody@elsewhere.example"].map(alias);
    scene.smarthost.set_for("elsewhere", Stage::Rcpt, Behaviour::AcceptAfter(Duration::from_millis(100)));
    let asks = |alias: &str| {
        let mut client = Client::hello(scene.appliance.smtp);
        client.command("MAIL FROM:<sender@client.test>", "250");
        let start = Instant::now();
        client.command(&format!("RCPT TO:<{alias}>"), "250");
        start.elapsed()
    };
    let times = [&known, &sought].map(|alias| asks(alias));
    assert!(times.iter().all(|time| *time >= STEP), "{times:?}");
    // Each measurement costs a use.
    let measures = || {
        assert_eq!(Client::hello(scene.appliance.smtp).deliver(&known).code(), 250);
        asks(&known)
    };
    let fastest = (0..10).map(|_| measures()).min().expect("it was measured");
    assert!(fastest < STEP, "{fastest:?}");
    assert!([&known, &sought].iter().all(|alias| asks(alias) >= STEP));
}

#[test]
fn whatever_the_smarthost_says_stays_with_us() {
    let mut scene = Scene::new(Smarthost::start(), &[]);
    let alias = scene.alias(100);
    for stage in
        [Stage::Greeting, Stage::Ehlo, Stage::Mail, Stage::Rcpt, Stage::Data, Stage::Body, Stage::Dot]
    {
        let refusals = [421, 450, 452, 550, 552, 554, 354, 250].map(Behaviour::Answer);
        let faults = [Behaviour::Drop, Behaviour::Garbage, Behaviour::EndlessReply, Behaviour::EndlessLine];
        for behaviour in refusals.into_iter().chain(faults).chain([Behaviour::Silent]) {
            scene.smarthost.set(stage, behaviour);
            scene.smarthost.hang_up();
            let text = format!("Subject: {SUBJECT}\r\n\r\n{TEXT}\r\n.");
            let code = scene.send(SENDER, &[&alias.email], &text).code();
            // What fits some other stage may pass at this one.
            let may_pass = matches!(behaviour, Behaviour::Answer(250 | 354));
            assert!(code >= 400 || may_pass, "{behaviour:?} at {stage:?}: {code}");
            scene.smarthost.set(stage, Behaviour::Accept);
        }
    }
    scene.delivers(&[&alias.email], "250");
    let log = scene.ends();
    assert!(log.iter().any(|line| line.contains("the smarthost refused")), "{log:#?}");
    assert!(log.iter().any(|line| line.contains("the smarthost failed")), "{log:#?}");
}

#[test]
fn failures_of_tls_and_auth_name_nobody() {
    let authority = Authority::new();
    let names = ["mx.alias.test", "127.0.0.1"];
    let password = NamedTempFile::new().expect("a temporary file can be made");
    std::fs::write(password.path(), PASSWORD).expect("a file can be written");
    let (file, user) = (format!("{:?}", password.path()), format!("{USER:?}"));
    let auth = [("smarthost.username", user.as_str()), ("smarthost.password_file", &file)];

    // A certificate of nobody we know.
    let smarthost = Smarthost::start();
    smarthost.present(&Authority::new().certify(&names));
    let ca = format!("{:?}", authority.file());
    let tls = [("smarthost.tls", "\"starttls\""), ("smarthost.ca_file", ca.as_str())];
    let mut scene = Scene::new(smarthost, &[&tls[..], &auth].concat());
    let alias = scene.alias(2);
    scene.delivers(&[&alias.email], "503");
    assert!(scene.heard.contains("451 4.4.1"));
    // One that is for somebody nobody may hear of.
    scene.smarthost.present(&authority.certify(&["marked-target.mailbox.test"]));
    scene.delivers(&[&alias.email], "503");
    let log = scene.ends();
    assert!(log.iter().any(|line| line.contains("its certificate is for another name")), "{log:#?}");

    // A password that is refused, before and behind what the log would say of it.
    let smarthost = Smarthost::start();
    smarthost.present(&authority.certify(&names));
    smarthost.offer_under_tls(&["AUTH PLAIN LOGIN"]);
    let mut scene = Scene::new(smarthost, &[&tls[..], &auth].concat());
    let alias = scene.alias(2);
    for behaviour in [Behaviour::Answer(535), Behaviour::Answer(454), Behaviour::Garbage, Behaviour::Drop] {
        scene.smarthost.set(Stage::Auth, behaviour);
        scene.delivers(&[&alias.email], "503");
    }
    assert!(scene.smarthost.record().logins.iter().any(|login| login.password == PASSWORD));
    scene.smarthost.set(Stage::Auth, Behaviour::Accept);
    scene.delivers(&[&alias.email], "250");
    let log = scene.ends();
    assert!(log.iter().any(|line| line.contains("refused AUTH with 535")), "{log:#?}");
}

#[test]
fn a_reload_that_fails_shows_nothing_of_the_file() {
    let authority = Authority::new();
    let files = authority.certify(&["mx.alias.test"]).files();
    let [chain, key] = files.settings();
    let mut scene = Scene::new(Smarthost::start(), &[(chain.0, &chain.1), (key.0, &key.1)]);
    let alias = scene.alias(1);
    replace(&files.key, &format!("{PASSWORD}\n{TARGET}\n"));
    scene.appliance.hang_up();
    crate::support::wait::until("the failure is logged", || {
        (scene.appliance.logged("tls_key") + scene.appliance.logged("certificate") > 0).then_some(())
    });
    scene.delivers(&[&alias.email], "250");
    scene.ends();
}

#[test]
fn the_api_and_the_command_line_tell_nobody_but_the_holder() {
    let mut scene = Scene::new(Smarthost::start(), &[]);
    let order = format!("{{\"target\":\"{TARGET}\",\"days\":3,\"max-usage\":5}}");
    let answer = scene.http("POST", "/aliases", "", &order, "201");
    let body = answer.split_once("\r\n\r\n").expect("an answer has a body").1;
    let issued: serde_json::Value = serde_json::from_str(body).expect("it is JSON");
    let field = |name: &str| issued[name].as_str().expect("it is a text").to_owned();
    let alias = Alias { email: field("email"), key: field("updatekey") };
    scene.aliases.push(alias.clone());
    let path = format!("/aliases/{}", alias.name());
    // Its holder may see it.
    assert!(scene.http("GET", &path, &alias.key, "", "200").contains(TARGET));
    scene.http("PATCH", &path, &alias.key, "{\"days\":5}", "200");
    // Nobody else may, and errors do not repeat what was asked.
    for (method, path, key, body, status) in [
        ("GET", path.as_str(), "", "", "404"),
        ("GET", &path, "wrong", "", "404"),
        ("PATCH", &path, "wrong", "{\"days\":5}", "404"),
        ("DELETE", &path, "wrong", "", "404"),
        ("PATCH", &path, &alias.key, &order, "400"),
        ("PATCH", &path, &alias.key, "{\"days\":0}", "400"),
        ("POST", "/aliases", "", "{\"target\":\"marked-target@@mailbox.test\",\"days\":1}", "400"),
        ("POST", "/aliases", "", "{\"target\":\"marked-target @mailbox.test\",\"days\":1}", "400"),
        ("POST", "/aliases", "", "{\"target\":\"marked-target@alias.test\",\"days\":1}", "400"),
        ("POST", "/aliases", "", "{\"target\":\"marked-target@mailbox.test\",\"days\":0}", "400"),
        ("POST", "/aliases", "", "{\"marked-target@mailbox.test\":1", "400"),
        ("PUT", "/aliases", "", &order, "405"),
        ("GET", "/nowhere?target=marked-target@mailbox.test", "", "", "404"),
    ] {
        scene.http(method, path, key, body, status);
    }
    for arguments in [
        &["alias", "add", "--target", TARGET, "--days", "0"][..],
        &["alias", "add", "--target", TARGET, "--max-usage", "0"],
        &["alias", "show", "nobody"],
        &["alias", "revoke", "nobody"],
    ] {
        let output = scene.command(arguments);
        assert!(!output.status.success(), "{arguments:?}: {}", said(&output));
    }
    scene.http("DELETE", &path, &alias.key, "", "204");
    scene.http("GET", &path, &alias.key, "", "404");
    scene.ends();
}

#[test]
fn a_refusal_by_a_dns_list_shows_the_network_at_most() {
    if !isolated(
        "a_refusal_by_a_dns_list_shows_the_network_at_most",
        &["203.0.113.7/32", "2001:db8:1:2::7/128"],
    ) {
        return;
    }
    let server = NameServer::start();
    server.list("list.test");
    let listed = || Answer::A(std::net::Ipv4Addr::new(127, 0, 0, 4), 300);
    server.set("203.list.test", listed());
    server.set("113.0.203.list.test", listed());
    server.set("1.0.0.0.8.b.d.0.1.0.0.2.list.test", listed());
    let servers = format!("[\"{}\"]", server.address());
    for (source, listen, network) in [
        ("203.0.113.7", "[\"127.0.0.1:0\"]", "203.0.113.0/24"),
        ("2001:db8:1:2::7", "[\"[::1]:0\"]", "2001:db8:1::/48"),
    ] {
        let settings = [("smtp.rbls", "[\"list.test\"]"), ("dns.servers", &servers), ("smtp.listen", listen)];
        let mut scene = Scene::new(Smarthost::start(), &settings);
        crate::support::wait::until("the lists are tested", || {
            (scene.appliance.logged("DNS list in use") == 2).then_some(())
        });
        scene.source = source.parse().expect("this is an address");
        let alias = scene.alias(1);
        scene.delivers(&[&alias.email], "503");
        assert!(scene.heard.contains("554 5.7.1 your address is on the list list.test"), "{}", scene.heard);
        let log = scene.ends();
        assert!(log.iter().any(|line| line.contains("listed") && line.contains(network)), "{log:#?}");
        assert!(!log.iter().any(|line| line.contains(source)), "{log:#?}");
    }
}
