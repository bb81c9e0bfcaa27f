//! The command line and the daemon, through the real binary.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use tempalias::clock;
use tempalias::ledger::{Ledger, LedgerError};

use crate::support::process::Process;
use crate::support::program::said;
use crate::support::wait;

/// A configuration on free ports with a directory of its own.
struct Setup {
    dir: TempDir,
}

impl Setup {
    fn new() -> Self {
        let setup = Setup { dir: tempfile::tempdir().unwrap() };
        let text = format!(
            "hostname = 'mx.example.com'\ndomains = ['example.com', 'example.org']\n\
             postmaster = 'admin@example.net'\ndata_dir = '{}'\n\
             [http]\nlisten = ['127.0.0.1:0']\n[smtp]\nlisten = ['127.0.0.1:0']\n\
             [smarthost]\nhost = '127.0.0.1'\nport = 9\n",
            setup.dir.path().display()
        );
        std::fs::write(setup.config(), text).unwrap();
        setup
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("tempalias.toml")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = tempalias(arguments);
        command.arg("--config").arg(self.config());
        command
    }

    /// The output of a command that succeeds.
    fn done(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The words of a command that fails.
    fn failed(&self, arguments: &[&str]) -> String {
        failure(&self.command(arguments).output().unwrap(), 1)
    }

    fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let output = self.done(&[arguments, &["--json"]].concat());
        output.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Whether SQLite's write-ahead log holds anything.
    fn has_write_ahead_log(&self) -> bool {
        std::fs::metadata(self.dir.path().join("tempalias.db-wal")).is_ok_and(|log| log.len() > 0)
    }
}

/// Waits for its end; exit code, and what it has said since it was ready.
#[track_caller]
fn end(mut process: Process) -> (Option<i32>, Vec<String>) {
    (process.wait().code(), process.said_since())
}

fn tempalias(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tempalias"));
    command.args(arguments).env_clear();
    command
}

fn failure(output: &Output, code: i32) -> String {
    let shown = said(output);
    assert_eq!(output.status.code(), Some(code), "{shown}");
    assert_eq!(shown.lines().count(), 1, "{shown}");
    shown.trim_end().to_owned()
}

#[test]
fn wrong_arguments_exit_with_2() {
    for arguments in [&["dance"][..], &[], &["alias", "add"], &["alias", "show", "no.such.name"]] {
        assert_eq!(tempalias(arguments).output().unwrap().status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn an_alias_is_added_shown_listed_and_revoked() {
    let setup = Setup::new();
    let added =
        &setup.json(&["alias", "add", "--target", "me@target.example", "--days", "3", "--max-usage", "5"])[0];
    let name = added["aid"].as_str().unwrap();
    assert_eq!(added["email"], format!("{name}@example.com"));
    assert_eq!(added["updatekey"].as_str().unwrap().len(), 32);
    assert_eq!(
        (&added["days"], &added["max_usage"], &added["usage_left"]),
        (&3.into(), &5.into(), &5.into())
    );

    let shown = &setup.json(&["alias", "show", name])[0];
    assert_eq!((&shown["target"], &shown["state"]), (&"me@target.example".into(), &"active".into()));
    assert!(shown.get("updatekey").is_none(), "the key is shown only once");
    let human = setup.done(&["alias", "show", added["email"].as_str().unwrap()]);
    assert!(
        human.contains("target      me@target.example\n") && human.contains("uses        0 of 5\n"),
        "{human}"
    );

    let other = &setup.json(&[
        "alias",
        "add",
        "--target",
        "me@target.example",
        "--domain",
        "example.org",
        "--max-usage",
        "1",
    ])[0];
    assert!(other["email"].as_str().unwrap().ends_with("@example.org"));
    assert_eq!(setup.json(&["alias", "list"]).len(), 2);
    let table = setup.done(&["alias", "list"]);
    assert!(table.starts_with("ADDRESS") && table.lines().count() == 3, "{table}");

    setup.done(&["alias", "revoke", name]);
    assert_eq!(setup.failed(&["alias", "show", name]), format!("tempalias: there is no alias {name}"));
    assert_eq!(setup.failed(&["alias", "revoke", name]), format!("tempalias: there is no alias {name}"));
    assert_eq!(setup.json(&["alias", "list"]).len(), 1);
}

#[test]
fn an_alias_of_another_domain_is_another_alias() {
    let setup = Setup::new();
    let added = &setup.json(&["alias", "add", "--target", "me@target.example", "--days", "1"])[0];
    let elsewhere = format!("{}@example.org", added["aid"].as_str().unwrap());
    for action in ["show", "revoke"] {
        let said = setup.failed(&["alias", action, &elsewhere]);
        assert_eq!(said, format!("tempalias: there is no alias {elsewhere}"));
    }
    setup.done(&["alias", "revoke", added["email"].as_str().unwrap()]);
}

#[test]
fn an_alias_may_have_a_start_and_an_end() {
    let setup = Setup::new();
    let instant = |days: u64| (clock::now() + Duration::from_secs(days * 24 * 3600)).to_string();
    let (start, end) = (instant(2), instant(5));
    let add = ["alias", "add", "--target", "me@target.example"];
    let limits = ["--valid-from", &start, "--valid-until", &end];
    let added = &setup.json(&[&add[..], &limits].concat())[0];
    assert_eq!((&added["valid_from"], &added["valid_until"]), (&json!(start), &json!(end)));
    assert_eq!((&added["days"], &added["state"]), (&json!(3), &json!("pending")));

    let refused = |limits: &[&str]| setup.failed(&[&add[..], limits].concat());
    assert_eq!(
        refused(&["--days", "1", "--valid-until", &end]),
        "tempalias: give either days or valid-until, not both"
    );
    assert!(refused(&["--valid-until", "2020-01-01T00:00:00Z"]).contains("past"));
    let output = setup.command(&[&add[..], &["--valid-until", "tomorrow"]].concat()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn an_added_alias_is_printed_with_its_manage_key() {
    let setup = Setup::new();
    let text = setup.done(&["alias", "add", "--target", "me@target.example", "--max-usage", "1"]);
    let key = text.lines().find_map(|line| line.strip_prefix("manage key  ")).unwrap();
    assert_eq!(key.split(' ').next().unwrap().len(), 32);
}

#[test]
fn what_the_api_would_refuse_the_command_line_refuses() {
    let setup = Setup::new();
    let add = |arguments: &[&str]| setup.failed(&[&["alias", "add"], arguments].concat());
    assert_eq!(
        add(&["--target", "me@example.org", "--days", "1"]),
        "tempalias: the address must be a real one, not one of this service"
    );
    assert_eq!(
        add(&["--target", "root@MX.example.com", "--days", "1"]),
        "tempalias: the address must be a real one, not one of this service"
    );
    for target in ["me@corp.example", "ME@Corp.Example.", "Boss@target.example", "boss+x@target.example"] {
        let output = setup
            .command(&["alias", "add", "--target", target, "--days", "1"])
            .env("TEMPALIAS_ALIASES__FORBIDDEN_TARGETS", "corp.example,boss@target.example")
            .output()
            .unwrap();
        assert_eq!(failure(&output, 1), "tempalias: this service does not forward to that address");
    }
    assert_eq!(
        add(&["--target", "me@target.example"]),
        "tempalias: a limit is needed: days, valid-until or max-usage"
    );
    assert_eq!(add(&["--target", "me@target.example", "--days", "0"]), "tempalias: days must be at least 1");
    assert_eq!(
        add(&["--target", "me@target.example", "--days", "1", "--domain", "example.info"]),
        "tempalias: domain must be one of ours: example.com, example.org"
    );
    assert!(setup.json(&["alias", "list"]).is_empty());
}

#[test]
fn a_backup_is_a_file_and_cannot_be_piped() {
    let setup = Setup::new();
    setup.done(&["alias", "add", "--target", "me@target.example", "--days", "1"]);
    for command in ["backup", "restore"] {
        let output = setup.command(&[command, "-"]).current_dir(setup.dir.path()).output().unwrap();
        let words = "invalid value '-' for '<FILE>': a backup is a file, it cannot be piped; ./- is a file of that name";
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains(words), "{}", said(&output));
        assert!(!setup.dir.path().join("-").exists());
    }
    let output = setup.command(&["backup", "./-"]).current_dir(setup.dir.path()).output().unwrap();
    assert!(output.status.success() && setup.dir.path().join("-").exists(), "{}", said(&output));
}

#[test]
fn a_limit_over_the_cap_is_cut_and_that_is_said() {
    let setup = Setup::new();
    let output = setup
        .command(&["alias", "add", "--json", "--target", "me@target.example", "--days", "61"])
        .output()
        .unwrap();
    let added: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(added["days"], 60);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said, "tempalias: days was cut to the largest value the configuration allows\n");
}

#[test]
fn looking_for_aliases_makes_no_ledger() {
    let setup = Setup::new();
    let said = setup.failed(&["alias", "list"]);
    assert!(said.ends_with("tempalias.db: there is no ledger yet"), "{said}");
    assert!(!setup.dir.path().join("tempalias.db").exists());
}

#[test]
fn a_file_that_is_not_a_ledger_is_left_alone() {
    let setup = Setup::new();
    let path = setup.dir.path().join("tempalias.db");
    std::fs::write(&path, "this is not a database, but something dear to somebody").unwrap();
    let said = setup.failed(&["serve"]);
    assert!(said.contains("not a database"), "{said}");
    assert_eq!(std::fs::read(&path).unwrap(), b"this is not a database, but something dear to somebody");
}

#[test]
fn serve_says_where_it_listens_and_a_signal_ends_it_with_the_ledger_closed() {
    for signal in [Signal::TERM, Signal::INT] {
        let setup = Setup::new();
        let running = Process::start(&mut setup.command(&["serve"]));
        for label in ["SMTP on ", "HTTP on "] {
            TcpStream::connect(running.address(label)).unwrap();
        }
        running.signal(signal);
        let (code, rest) = end(running);
        assert_eq!(code, Some(0), "{rest:?}");
        assert!(setup.dir.path().join("tempalias.db").exists());
        assert!(!setup.has_write_ahead_log(), "the write-ahead log was left behind");
    }
}

#[tokio::test]
async fn a_closed_ledger_leaves_no_write_ahead_log_though_handles_are_left() {
    let setup = Setup::new();
    let ledger = Ledger::open(setup.dir.path(), 6).unwrap();
    ledger.check(tempalias::clock::now()).await.unwrap();
    assert!(setup.has_write_ahead_log());
    let other = ledger.clone();
    ledger.close().await;
    assert!(!setup.has_write_ahead_log());
    assert!(matches!(other.check(tempalias::clock::now()).await, Err(LedgerError::Closed)));
}

#[test]
fn aliases_are_added_and_revoked_while_the_server_runs() {
    let setup = Setup::new();
    let running = Process::start(&mut setup.command(&["serve"]));
    let added = &setup.json(&["alias", "add", "--target", "me@target.example", "--days", "1"])[0];
    setup.done(&["alias", "revoke", added["aid"].as_str().unwrap()]);
    running.signal(Signal::TERM);
    assert_eq!(end(running).0, Some(0));
}

#[test]
fn what_is_over_is_purged_at_start() {
    let setup = Setup::new();
    setup.done(&["alias", "add", "--target", "me@target.example", "--days", "1"]);
    let database = rusqlite::Connection::open(setup.dir.path().join("tempalias.db")).unwrap();
    database.execute("UPDATE aliases SET valid_until = 1", []).unwrap();
    drop(database);

    let running = Process::start(&mut setup.command(&["serve"]));
    wait::until_equal("aliases", 0, || setup.json(&["alias", "list"]).len());
    running.signal(Signal::TERM);
    assert!(end(running).1.iter().any(|line| line.contains("purged expired=1")));
}

#[test]
fn a_taken_port_is_named_with_the_key_that_changes_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let port = address.port();
    let setup = Setup::new();
    for (service, variable, key) in
        [("SMTP", "TEMPALIAS_SMTP__LISTEN", "smtp.listen"), ("HTTP", "TEMPALIAS_HTTP__LISTEN", "http.listen")]
    {
        let output = setup.command(&["serve"]).env(variable, address.to_string()).output().unwrap();
        assert_eq!(
            failure(&output, 1),
            format!(
                "tempalias: {service} cannot listen on {address}: port {port} is already in use; \
                 choose another address with {key}"
            )
        );
    }
}

#[test]
fn a_taken_port_of_the_demo_is_named_with_the_option_that_changes_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let dir = tempfile::tempdir().unwrap();
    for (service, option, other) in [("SMTP", "--smtp", "--http"), ("HTTP", "--http", "--smtp")] {
        let output = tempalias(&["demo", option, &address.to_string(), other, "127.0.0.1:0", "--dir"])
            .arg(dir.path())
            .output()
            .unwrap();
        let said = failure(&output, 1);
        assert!(said.starts_with(&format!("tempalias: {service} cannot listen on {address}: ")), "{said}");
        assert!(said.ends_with(&format!("choose another address with {option}")), "{said}");
    }
}

#[test]
fn a_directory_that_cannot_be_used_is_named_with_the_option_that_changes_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "not a directory").unwrap();
    let foreign = dir.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("tempalias.db"), "not a database").unwrap();
    for (taken, messages) in [(&file, mail(&file)), (&foreign, foreign.display().to_string())] {
        let ports = ["demo", "--smtp", "127.0.0.1:0", "--http", "127.0.0.1:0", "--dir"];
        let said = failure(&tempalias(&ports).arg(taken).output().unwrap(), 1);
        assert!(said.starts_with(&format!("tempalias: cannot keep messages in {messages}: ")), "{said}");
        assert!(said.ends_with("; choose another directory with --dir"), "{said}");
    }
}

#[test]
fn a_demo_that_does_not_start_leaves_no_directory_behind() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output =
        tempalias(&["demo", "--http", &address, "--smtp", "127.0.0.1:0"]).env("TMPDIR", dir.path()).output();
    failure(&output.unwrap(), 1);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// A free port below those that the kernel hands out by itself (from 32768 on), so that no
/// neighbour gets it before we do.
fn quiet_port() -> u16 {
    let start = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap();
    (start..start + 1000).find(|port| TcpListener::bind(("0.0.0.0", *port)).is_ok()).unwrap()
}

#[test]
fn ipv4_and_ipv6_wildcards_listen_on_the_same_port() {
    if TcpListener::bind("[::1]:0").is_err() {
        eprintln!("skipped: no IPv6 on this machine");
        return;
    }
    let setup = Setup::new();
    let port = quiet_port();
    let listen = format!("0.0.0.0:{port},[::]:{port}");
    let running = Process::start(setup.command(&["serve"]).env("TEMPALIAS_SMTP__LISTEN", &listen));
    let ready = running.ready();
    assert!(ready.contains(&format!("SMTP on 0.0.0.0:{port} and [::]:{port},")), "{ready}");
    for address in [format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
        TcpStream::connect(address).unwrap();
    }
}

#[test]
fn the_demo_says_in_its_help_where_it_listens() {
    let help = String::from_utf8(tempalias(&["demo", "--help"]).output().unwrap().stdout).unwrap();
    for (option, default) in [("--http", "127.0.0.1:8080"), ("--smtp", "127.0.0.1:2525")] {
        let (_, about) = help.split_once(option).unwrap();
        let about: String = about.split("--").next().unwrap().into();
        assert!(about.contains(&format!("[default: {default}]")), "{help}");
    }
}

#[test]
fn the_demo_needs_nothing_and_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = tempalias(&["demo", "--smtp", "127.0.0.1:0", "--http", "127.0.0.1:0", "--dir"]);
    let mut running = Process::start(command.arg(dir.path().join("new")).stdout(Stdio::piped()));
    let (smtp, http) = (running.address("SMTP on "), running.address("HTTP on "));
    let mut stdout = running.stdout();
    running.signal(Signal::INT);
    assert_eq!(end(running).0, Some(0));
    let mut shown = String::new();
    stdout.read_to_string(&mut shown).unwrap();
    assert!(shown.contains(&format!("http://{http}/")), "{shown}");
    assert!(shown.lines().any(|line| line.starts_with("ALIAS=$(curl ")), "{shown}");
    assert!(shown.contains(&format!("curl -sS smtp://{smtp} ")), "{shown}");
    assert!(!shown.contains('\u{1b}'), "colours are for terminals");
    assert!(shown.trim_end().ends_with(&format!("stay in {}", mail(&dir.path().join("new")))), "{shown}");
}

#[test]
fn a_demo_that_cannot_end_at_once_says_why_and_ends_at_the_second_signal() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = tempalias(&["demo", "--smtp", "127.0.0.1:0", "--http", "127.0.0.1:0", "--dir"]);
    let running = Process::start(command.arg(dir.path()).stdout(Stdio::null()));
    let _in_data = begin_message(&running);
    running.signal(Signal::INT);
    let said = first_word(&running);
    assert_eq!(said, "tempalias: finishing what is in flight; Ctrl-C again ends at once");
    running.signal(Signal::INT);
    assert_eq!(end(running).0, Some(0));
}

#[test]
fn a_message_that_the_demo_cannot_keep_is_reported_with_its_directory() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = tempalias(&["demo", "--smtp", "127.0.0.1:0", "--http", "127.0.0.1:0", "--dir"]);
    let running = Process::start(command.arg(dir.path()).stdout(Stdio::null()));
    std::fs::remove_dir(mail(dir.path())).unwrap();
    begin_message(&running).get_mut().write_all(b".\r\n").unwrap();
    let said = first_word(&running);
    assert!(said.contains("cannot store a message") && said.contains(&mail(dir.path())), "{said}");
}

/// What it says next after it is ready.
fn first_word(process: &Process) -> String {
    wait::until("it says something", || process.said_since().into_iter().next())
}

/// A client of the demo's, up to the 354.
fn begin_message(demo: &Process) -> BufReader<TcpStream> {
    let mut client = BufReader::new(TcpStream::connect(demo.address("SMTP on ")).unwrap());
    for (command, reply) in [
        ("", "220"),
        ("HELO client.test\r\n", "250"),
        ("MAIL FROM:<a@client.test>\r\n", "250"),
        ("RCPT TO:<postmaster>\r\n", "250"),
        ("DATA\r\n", "354"),
    ] {
        client.get_mut().write_all(command.as_bytes()).unwrap();
        let mut line = String::new();
        client.read_line(&mut line).unwrap();
        assert!(line.starts_with(reply), "{command}: {line}");
    }
    client
}

/// The first two commands of a newcomer, as printed.
#[test]
fn the_lines_that_the_demo_prints_create_and_deliver_until_the_alias_is_used_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = tempalias(&["demo", "--smtp", "127.0.0.1:0", "--http", "127.0.0.1:0", "--dir"]);
    let mut running = Process::start(command.arg(dir.path()).stdout(Stdio::piped()));
    let mut stdout = BufReader::new(running.stdout());
    let mut line_with = |start: &str| {
        let mut line = String::new();
        while !line.starts_with(start) {
            line.clear();
            assert!(stdout.read_line(&mut line).unwrap() > 0, "no line begins with {start:?}");
        }
        line
    };
    let (create, send) = (line_with("ALIAS="), line_with("printf "));
    let shell = |script: &str| Command::new("sh").args(["-c", script]).output().unwrap();

    let created = shell(&create);
    let alias = String::from_utf8(created.stdout).unwrap();
    assert!(alias.trim_end().ends_with("@demo.test"), "{alias}{}", String::from_utf8_lossy(&created.stderr));
    let send = format!("ALIAS={}\n{send}", alias.trim_end());
    for nth in 1..=3 {
        let sent = shell(&send);
        assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
        let shown = line_with("Delivered ");
        assert!(
            shown.contains(&format!("{} -> you@example.com, use {nth} of 3", alias.trim_end())),
            "{shown}"
        );
        assert_eq!(line_with("  From "), "  From     A Shop <shop@example.org>\n");
        assert_eq!(line_with("  Subject "), "  Subject  Welcome\n");
        assert!(dir.path().join(format!("mail/000{nth}.eml")).exists());
    }
    let refused = shell(&send);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("550"));

    running.signal(Signal::INT);
    assert_eq!(end(running), (Some(0), Vec::new()));
}

fn mail(dir: &Path) -> String {
    dir.join("mail").display().to_string()
}
