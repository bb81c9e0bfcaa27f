//! What an operator has besides `serve`: check, health, moving aliases, the manual.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use hickory_resolver::proto::rr::rdata::{A, MX, PTR, TXT};
use hickory_resolver::proto::rr::{Name, RData};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::appliance::Appliance;
use crate::support::certificates::{Authority, Validity};
use crate::support::dns::{Answer, NameServer};
use crate::support::process::Process;
use crate::support::program::{is_root, said, succeed};
use crate::support::smarthost::{Behaviour, Smarthost, Stage};

/// A configuration that no server uses, with further settings.
struct Setup {
    dir: TempDir,
}

impl Setup {
    fn new(settings: &[(&str, &str)]) -> Self {
        let dir = TempDir::new().unwrap();
        let data_dir = dir.path().join("data");
        fs::create_dir(&data_dir).unwrap();
        chmod(&data_dir, 0o700);
        let port = [("smarthost.port", "9")];
        let port = port.into_iter().filter(|(port, _)| settings.iter().all(|(key, _)| key != port));
        let settings = settings.iter().copied().chain(port).map(|(key, value)| format!("{key} = {value}\n"));
        let text = format!(
            "hostname = 'mx.alias.test'\ndomains = ['alias.test']\npostmaster = 'admin@mailbox.test'\n\
             data_dir = {data_dir:?}\nsmarthost.host = '127.0.0.1'\nsmarthost.tls = 'none'\n{}",
            settings.collect::<String>()
        );
        fs::write(dir.path().join("tempalias.toml"), text).unwrap();
        chmod(&dir.path().join("tempalias.toml"), 0o640);
        Setup { dir }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tempalias"));
        command.args(arguments).arg("--config").arg(self.dir.path().join("tempalias.toml"));
        command.stdin(Stdio::null()).output().unwrap()
    }

    fn findings(&self, arguments: &[&str]) -> Vec<Value> {
        let output = self.run(&[&["check", "--json"], arguments].concat());
        let object: Value = serde_json::from_slice(&output.stdout).unwrap();
        let findings = object["findings"].as_array().unwrap().clone();
        let errors = findings.iter().any(|finding| finding["severity"] == "error");
        assert_eq!(output.status.code(), Some(i32::from(errors)), "{}", said(&output));
        findings
    }
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Severity and words of what was found about `about`; its remedy is wanted unless all is well.
#[track_caller]
fn found(findings: &[Value], about: &str) -> Vec<(String, String)> {
    let about = findings.iter().filter(|finding| finding["about"] == about);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    about
        .map(|finding| {
            assert_eq!(finding["severity"] == "ok", finding["remedy"].is_null(), "{finding}");
            (text(&finding["severity"]), text(&finding["finding"]))
        })
        .collect()
}

#[track_caller]
fn assert_found(findings: &[Value], about: &str, severity: &str, words: &str) {
    let all = found(findings, about);
    assert!(all.iter().any(|(how, what)| how == severity && what.contains(words)), "{about}: {all:?}");
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

#[test]
fn check_finds_nothing_to_mend_where_all_is_well() {
    let (smarthost, dns) = (Smarthost::start(), NameServer::start());
    dns.set("mx.alias.test", Answer::Data(vec![RData::A(A(Ipv4Addr::new(192, 0, 2, 1)))]));
    dns.set("1.2.0.192.in-addr.arpa", Answer::Data(vec![RData::PTR(PTR(name("mx.alias.test.")))]));
    let mx = RData::MX(MX::new(10, name("MX.alias.test.")));
    let spf = RData::TXT(TXT::new(vec!["v=spf1 a:relay".into(), ".example.net ~all".into()]));
    dns.set("alias.test", Answer::Data(vec![mx, spf]));
    dns.set("mx.alias.test", Answer::Data(vec![RData::A(A(Ipv4Addr::new(192, 0, 2, 1)))]));
    let setup = Setup::new(&[
        ("smarthost.port", &smarthost.address().port().to_string()),
        ("dns.servers", &format!("['{}']", dns.address())),
    ]);
    let findings = setup.findings(&[]);
    assert!(findings.iter().all(|finding| finding["severity"] == "ok"), "{findings:#?}");
    for (about, words) in [
        ("mx.alias.test", "192.0.2.1"),
        ("192.0.2.1", "is called mx.alias.test"),
        ("alias.test", "its mail goes to mx.alias.test"),
        ("alias.test", "v=spf1 a:relay.example.net ~all"),
        ("smarthost", "nothing was sent"),
        ("ledger", "none yet"),
    ] {
        assert_found(&findings, about, "ok", words);
    }
    let record = smarthost.record();
    assert_eq!(["MAIL", "RCPT", "RSET", "QUIT", "DATA"].map(|verb| record.heard(verb)), [1, 1, 1, 1, 0]);
    assert!(!setup.dir.path().join("data/tempalias.db").exists(), "a check makes no ledger");
}

#[test]
fn check_says_what_the_dns_lacks() {
    let (smarthost, dns) = (Smarthost::start(), NameServer::start());
    let port = smarthost.address().port().to_string();
    let servers = format!("['{}']", dns.address());
    let setup = Setup::new(&[("smarthost.port", &port), ("dns.servers", &servers)]);
    let findings = setup.findings(&[]);
    assert_found(&findings, "mx.alias.test", "error", "no address");
    assert_found(&findings, "alias.test", "error", "no MX record");
    assert_found(&findings, "alias.test", "advice", "no SPF record");

    let elsewhere = RData::MX(MX::new(10, name("mail.elsewhere.test.")));
    let nobody = RData::TXT(TXT::new(vec!["v=spf1 -all".into()]));
    dns.set("alias.test", Answer::Data(vec![elsewhere, nobody]));
    dns.set("mx.alias.test", Answer::Data(vec![RData::A(A(Ipv4Addr::new(192, 0, 2, 1)))]));
    let findings = setup.findings(&[]);
    assert_found(&findings, "alias.test", "error", "goes to mail.elsewhere.test, not to mx.alias.test");
    assert_found(&findings, "alias.test", "error", "SPF allows nobody");
    assert_found(&findings, "192.0.2.1", "advice", "has no name");

    dns.set("alias.test", Answer::Failure);
    assert_found(&setup.findings(&[]), "alias.test", "advice", "could not be asked for");
}

#[test]
fn check_says_what_the_smarthost_will_not_do_without_its_words() {
    let (smarthost, dns) = (Smarthost::start(), NameServer::start());
    let port = smarthost.address().port().to_string();
    let servers = format!("['{}']", dns.address());
    let setup = Setup::new(&[("smarthost.port", &port), ("dns.servers", &servers)]);
    for (stage, words) in [(Stage::Mail, "refuses with 550 (MAIL)"), (Stage::Rcpt, "refuses with 550 (RCPT)")]
    {
        smarthost.set(stage, Behaviour::Answer(550));
        let output = setup.run(&["check"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains(words), "{}", said(&output));
        crate::support::assert_no_leak("check", &said(&output));
        smarthost.set(stage, Behaviour::Accept);
    }
    drop(smarthost);
    assert_found(&setup.findings(&[]), "smarthost", "error", "refused");
    let output = setup.run(&["check", "--offline"]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(!said(&output).contains("smarthost"), "{}", said(&output));
}

#[test]
fn check_looks_at_permissions() {
    let authority = Authority::new();
    let files = authority.certify(&["mx.alias.test"]).files();
    let [cert, key] = files.settings();
    let dir = TempDir::new().unwrap();
    let password = dir.path().join("password");
    let named = format!("{password:?}");
    let setup = Setup::new(&[
        (cert.0, &cert.1),
        (key.0, &key.1),
        ("http.tls_cert", &cert.1),
        ("http.tls_key", &key.1),
        ("smarthost.username", "'us'"),
        ("smarthost.password_file", &named),
    ]);
    fs::write(&password, "secret").unwrap();
    chmod(&files.key, 0o640);
    chmod(&password, 0o640);
    let offline = || setup.findings(&["--offline"]);
    assert!(offline().iter().all(|finding| finding["severity"] == "ok"), "{:#?}", offline());
    for (path, mode, about, severity) in [
        (setup.dir.path().join("tempalias.toml"), 0o644, "configuration", "advice"),
        (setup.dir.path().join("tempalias.toml"), 0o646, "configuration", "error"),
        (setup.dir.path().join("data"), 0o755, "data_dir", "advice"),
        (setup.dir.path().join("data"), 0o777, "data_dir", "error"),
        (files.key.clone(), 0o644, "smtp.tls_key", "error"),
        (files.key.clone(), 0o604, "http.tls_key", "error"),
        (password.clone(), 0o644, "smarthost.password_file", "error"),
    ] {
        let before = fs::metadata(&path).unwrap().permissions();
        chmod(&path, mode);
        assert_found(&offline(), about, severity, path.to_str().unwrap());
        fs::set_permissions(&path, before).unwrap();
    }
}

#[test]
fn check_by_root_judges_by_what_the_service_may_read() {
    if !is_root() {
        eprintln!("SKIPPED: needs root's rights");
        return;
    }
    let authority = Authority::new();
    let files = authority.certify(&["mx.alias.test"]).files();
    let [cert, key] = files.settings();
    let setup = Setup::new(&[(cert.0, &cert.1), (key.0, &key.1)]);
    let (config, service) = (setup.dir.path().join("tempalias.toml"), Some(4711));
    chown(setup.dir.path().join("data"), service, service).unwrap();
    for directory in [setup.dir.path(), files.key.parent().unwrap()] {
        chmod(directory, 0o755);
    }
    for (path, about) in [(&config, "configuration"), (&files.key, "smtp.tls_key")] {
        chmod(path, 0o640);
        assert_found(
            &setup.findings(&["--offline"]),
            about,
            "error",
            "the service (user 4711) cannot read it",
        );
        chown(path, None, service).unwrap();
        let all = found(&setup.findings(&["--offline"]), about);
        assert!(all.iter().all(|(severity, _)| severity == "ok"), "{all:?}");
    }
    chmod(setup.dir.path(), 0o700);
    assert_found(&setup.findings(&["--offline"]), "configuration", "error", "is closed to it");
}

#[test]
fn check_does_without_a_password_that_only_the_unit_has() {
    let password = [("smarthost.username", "'us'"), ("smarthost.password_file", "'smarthost-password'")];
    let setup = Setup::new(&password);
    let findings = setup.findings(&["--offline"]);
    assert_found(&findings, "smarthost.password_file", "advice", "a credential of the unit");
}

#[test]
fn check_looks_at_certificates() {
    let authority = Authority::new();
    let files = authority.certify(&["mx.alias.test"]).files();
    chmod(&files.key, 0o640);
    let [cert, key] = files.settings();
    let setup = Setup::new(&[(cert.0, &cert.1), (key.0, &key.1)]);
    let certified = |names: &[&str], validity| {
        files.replace(&authority.certify_when(names, validity));
        setup.findings(&["--offline"])
    };
    let ours = ["mx.alias.test"];
    assert_found(
        &certified(&ours, Validity::Now),
        "smtp.tls_cert",
        "ok",
        "for mx.alias.test, until 4000-01-01",
    );
    assert_found(&certified(&["*.alias.test"], Validity::Now), "smtp.tls_cert", "ok", "*.alias.test");
    assert_found(&certified(&ours, Validity::Past), "smtp.tls_cert", "error", "has expired on 2001-01-01");
    assert_found(&certified(&ours, Validity::Future), "smtp.tls_cert", "error", "not good before 3999-01-01");
    let other = certified(&["other.test"], Validity::Now);
    assert_found(&other, "smtp.tls_cert", "advice", "is not for mx.alias.test, but for other.test");
}

#[test]
fn health_asks_a_running_server_at_every_kind_of_door() {
    let smarthost = Smarthost::start();
    let authority = Authority::new();
    let files = authority.certify(&["mx.alias.test"]).files();
    let place = TempDir::new().unwrap();
    let socket = format!("{:?}", place.path().join("http.sock"));
    let tls = [("http.tls_cert", format!("{:?}", files.chain)), ("http.tls_key", format!("{:?}", files.key))];
    let tls: Vec<_> = tls.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let doors: [(&str, &[(&str, &str)]); 3] = [
        ("HTTP on 127.0.0.1", &[]),
        ("HTTPS on 127.0.0.1", &tls),
        ("http.sock", &[("http.socket", &socket)]),
    ];
    for (door, settings) in doors {
        let mut appliance = Appliance::start_with(smarthost.address(), settings);
        // The server chose its ports itself.
        let ask = |arguments: &[&str]| health(&appliance, appliance.smtp, appliance.http, arguments);
        let output = ask(&[]);
        assert!(output.status.success(), "{}", said(&output));
        assert!(said(&output).starts_with("healthy: ") && said(&output).contains(door), "{}", said(&output));
        let object: Value = serde_json::from_slice(&ask(&["--json"]).stdout).unwrap();
        assert_eq!(
            (&object["healthy"], &object["http"]["ok"], &object["smtp"]["ok"]),
            (&Value::Bool(true), &Value::Bool(true), &Value::Bool(true))
        );
        let (smtp, http) = (appliance.smtp, appliance.http);
        appliance.kill();
        let output = health(&appliance, smtp, http, &[]);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(said(&output).lines().count(), 1);
        assert!(said(&output).starts_with("tempalias: not healthy: HTTP"), "{}", said(&output));
    }
}

#[test]
fn page_and_api_can_be_on_a_unix_socket_alone() {
    let place = TempDir::new().unwrap();
    let socket = place.path().join("http.sock");
    let path = format!("{socket:?}");
    let setup =
        Setup::new(&[("smtp.listen", "'127.0.0.1:0'"), ("http.listen", "[]"), ("http.socket", &path)]);
    let mut serve = Command::new(env!("CARGO_BIN_EXE_tempalias"));
    serve.arg("serve").arg("--config").arg(setup.dir.path().join("tempalias.toml"));
    let server = Process::start(&mut serve);
    let ready = server.ready();
    let (smtp, http) = ready.strip_prefix("SMTP on ").unwrap().split_once(", HTTP on ").unwrap();
    let mut health = Command::new(env!("CARGO_BIN_EXE_tempalias"));
    health.arg("health").arg("--config").arg(setup.dir.path().join("tempalias.toml"));
    let output = health.env("TEMPALIAS_SMTP__LISTEN", smtp).output().unwrap();
    assert_eq!(http, socket.to_str().unwrap());
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn a_server_whose_ledger_cannot_be_written_is_not_healthy() {
    let appliance = Appliance::start(&Smarthost::start());
    let other = rusqlite::Connection::open(appliance.data_dir().join("tempalias.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let output = health(&appliance, appliance.smtp, appliance.http, &["--json"]);
    assert_eq!(output.status.code(), Some(1));
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&object["http"]["ok"], &object["smtp"]["ok"]), (&Value::Bool(false), &Value::Bool(true)));
}

fn health(appliance: &Appliance, smtp: SocketAddr, http: SocketAddr, arguments: &[&str]) -> Output {
    let listen = [("TEMPALIAS_SMTP__LISTEN", smtp), ("TEMPALIAS_HTTP__LISTEN", http)];
    let listen = listen.map(|(name, address)| (name, address.to_string()));
    appliance.run_with(&[&["health"], arguments].concat(), &listen.each_ref().map(|(n, a)| (*n, a.as_str())))
}

/// A ledger with an alias of every kind, and one that is gone.
fn varied() -> (Setup, PathBuf) {
    let setup = Setup::new(&[]);
    let add = |limits: &[&str]| {
        let output = setup.run(&[&["alias", "add", "--target", "me@target.test", "--json"], limits].concat());
        let added: Value = serde_json::from_slice(&output.stdout).unwrap();
        added["aid"].as_str().unwrap().to_owned()
    };
    add(&["--days", "3"]);
    add(&["--max-usage", "5"]);
    let odd = add(&["--days", "1", "--max-usage", "7", "--valid-from", "2099-01-01T00:00:00Z"]);
    let gone = add(&["--days", "1"]);
    assert!(setup.run(&["alias", "revoke", &gone]).status.success());
    let ledger = rusqlite::Connection::open(setup.dir.path().join("data/tempalias.db")).unwrap();
    let change =
        "UPDATE aliases SET used = 3, last_spent = 1800000000, paused = 1, bounces = 2, row_start = 1
                  WHERE name = ?1";
    assert_eq!(ledger.execute(change, [&odd]).unwrap(), 1);
    let file = setup.dir.path().join("aliases.jsonl");
    fs::write(&file, setup.run(&["alias", "export"]).stdout).unwrap();
    (setup, file)
}

/// All that is in the tables that move.
fn tables(setup: &Setup) -> Vec<String> {
    let ledger = rusqlite::Connection::open(setup.dir.path().join("data/tempalias.db")).unwrap();
    let all = "SELECT concat_ws('|', name, domain, address, hex(key_hash), created, valid_from, valid_until, max_usage,
                                used, last_spent, paused, bounces, row_start)
               FROM aliases JOIN targets ON id = target
               UNION ALL SELECT name FROM names ORDER BY 1";
    let mut statement = ledger.prepare(all).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn what_was_exported_is_imported_as_it_was_with_the_names_that_are_gone() {
    let (from, file) = varied();
    let to = Setup::new(&[]);
    let output = to.run(&["alias", "import", file.to_str().unwrap()]);
    assert_eq!(said(&output), "imported: 3 aliases, and 1 name whose alias is gone\n");
    assert_eq!(tables(&to), tables(&from));
    assert_eq!(tables(&from).len(), 3 + 4);
    assert_eq!(to.run(&["alias", "export"]).stdout, fs::read(&file).unwrap());
}

#[test]
fn an_import_may_begin_with_a_byte_order_mark() {
    let (_from, file) = varied();
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("\u{feff}{}", text.replace('\n', "\r\n"))).unwrap();
    let to = Setup::new(&[]);
    let output = to.run(&["alias", "import", file.to_str().unwrap()]);
    assert_eq!(said(&output), "imported: 3 aliases, and 1 name whose alias is gone\n");
    assert_eq!(to.run(&["alias", "export"]).stdout, text.as_bytes());
}

#[test]
fn an_import_with_a_wrong_line_names_it_and_takes_in_nothing() {
    let (_from, file) = varied();
    let good = fs::read_to_string(&file).unwrap();
    let line = good.lines().next().unwrap();
    let domain = line.replace("alias.test", "elsewhere.test");
    let own = line.replace("me@target.test", "me@alias.test");
    let host = line.replace("me@target.test", "me@mx.alias.test");
    let forbidden = line.replace("me@target.test", "me@corp.test");
    let never: String = line.replace("\"max_usage\":", "\"max_uses\":");
    let upper = line.replacen("\"name\":\"", "\"name\":\"K", 1);
    for (wrong, words) in [
        ("no JSON at all", "not a JSON object"),
        ("{}", "missing field"),
        ("{\"name\":\"!\"}", "not the name of any alias"),
        (&domain, "domain must be one of ours"),
        (&own, "must be a real one"),
        (&host, "must be a real one"),
        (&forbidden, "target: this service does not forward to that address"),
        (&never, "max_uses"),
        (&upper, "not the name of any alias"),
        (line, "is in line 1 already"),
    ] {
        let to = Setup::new(&[("aliases.forbidden_targets", "['corp.test']")]);
        fs::write(&file, format!("{good}\n{wrong}\n")).unwrap();
        let output = to.run(&["alias", "import", file.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1));
        let said = said(&output);
        assert!(said.contains(": line 6: ") && said.contains(words), "{wrong}: {said}");
        assert!(said.ends_with("1 line is wrong; nothing was imported\n"), "{said}");
        assert!(!said.contains("me@"), "{said}");
        assert!(tables(&to).is_empty());
    }
}

#[test]
fn a_name_that_was_handed_out_here_is_not_taken_in_again() {
    let (from, file) = varied();
    let before = tables(&from);
    let output = from.run(&["alias", "import", file.to_str().unwrap()]);
    let text = said(&output);
    assert_eq!(text.matches("there is an alias of this name here").count(), 3, "{text}");
    assert!(text.ends_with("3 lines are wrong; nothing was imported\n"), "{text}");
    assert_eq!(tables(&from), before);

    let first = fs::read_to_string(&file).unwrap().lines().next().unwrap().to_owned();
    let name = &first["{\"name\":\"".len()..][..6];
    assert!(from.run(&["alias", "revoke", name]).status.success());
    fs::write(&file, first).unwrap();
    let text = said(&from.run(&["alias", "import", file.to_str().unwrap()]));
    assert!(text.contains("line 1: ") && text.contains("its alias is gone"), "{text}");
}

#[test]
fn a_name_that_is_retired_there_and_alive_here_is_a_clash() {
    let (here, file) = varied();
    let before = tables(&here);
    let first = fs::read_to_string(&file).unwrap().lines().next().unwrap().to_owned();
    let name = &first["{\"name\":\"".len()..][..6];
    fs::write(&file, format!("{{\"name\":\"{name}\"}}\n")).unwrap();
    let text = said(&here.run(&["alias", "import", file.to_str().unwrap()]));
    assert!(text.contains("line 1: ") && text.contains("its alias is gone there"), "{text}");
    assert_eq!(tables(&here), before);
}

#[test]
fn the_manual_and_the_completions_know_every_command() {
    let program = env!("CARGO_BIN_EXE_tempalias");
    let manual = succeed(program, ["man"], b"");
    let page = succeed("man", ["--local-file", "-"], manual.as_bytes());
    for command in ["serve", "alias import", "backup", "restore", "health", "check", "completions"] {
        assert!(page.contains(&format!("tempalias {command}")), "{command}: {page}");
    }
    let documented = fs::read_to_string("docs/commands.md").unwrap();
    for heading in manual.lines().filter_map(|line| line.strip_prefix(".SS \"")) {
        assert!(documented.contains(&format!("`{}", heading.trim_end_matches('"'))), "{heading}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = succeed(program, ["completions", shell], b"");
        assert!(script.contains("restore") && script.contains("max-usage"), "{shell}");
    }
    let script = succeed(program, ["completions", "bash"], b"");
    let listing = format!(
        "{script}\nCOMP_WORDS=(tempalias he) COMP_CWORD=1; _tempalias tempalias he tempalias; echo \"${{COMPREPLY[@]}}\""
    );
    assert!(succeed("bash", ["-c", &listing], b"").contains("health"));
}
