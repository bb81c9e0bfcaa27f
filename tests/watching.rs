//! Watching it: metrics, health, and the log's forms.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::appliance::Appliance;
use crate::support::client::Client;
use crate::support::smarthost::{Behaviour, Smarthost, Stage};
use crate::support::{assert_no_leak, program, wait};

const LISTEN: (&str, &str) = ("metrics.listen", "[\"127.0.0.1:0\"]");
const DOCUMENT: &str = "docs/metrics.md";
const TABLE: &str = "| name | type | labels | |\n|---|---|---|---|\n";

/// Status and body of a GET.
fn get(url: &str) -> (u16, String) {
    let request = ureq::get(url).config().http_status_as_error(false).timeout_global(Some(wait::PATIENCE));
    let mut response = request.build().call().unwrap();
    (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
}

fn exposition(appliance: &Appliance) -> String {
    let (status, text) = get(&format!("http://{}/metrics", appliance.metrics()));
    assert_eq!(status, 200);
    text
}

/// The value of each series, by its name with labels.
fn series(text: &str) -> BTreeMap<String, f64> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

/// A metric as it describes itself.
#[derive(Default)]
struct Family {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
}

/// All metrics by name. Fails on what is not in Prometheus' text format, or not after its
/// conventions (<https://prometheus.io/docs/practices/naming/>).
fn families(text: &str) -> BTreeMap<String, Family> {
    let mut families = BTreeMap::<String, Family>::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(help.ends_with('.'), "no sentence: {help}");
            assert!(!families.contains_key(name), "{name} is there twice");
            current = name.to_owned();
            families.entry(current.clone()).or_default().help = help.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, current, "TYPE without HELP");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
            families.get_mut(name).unwrap().kind = kind.to_owned();
        } else {
            let (name, rest) = line.split_once(['{', ' ']).unwrap();
            let family = families.get_mut(&current).unwrap();
            let part =
                name.strip_prefix(current.as_str()).unwrap_or_else(|| panic!("{line} under {current}"));
            let parts: &[&str] =
                if family.kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(parts.contains(&part), "{line}");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
            assert!(rest.rsplit(' ').next().unwrap().parse::<f64>().unwrap() >= 0.0, "{line}");
            let labels = rest.split_once('}').map(|(labels, _)| labels).unwrap_or_default();
            let names = labels.split(',').filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
            family.labels.extend(names.filter(|label| label != "le"));
        }
    }
    families
}

#[test]
fn what_happens_is_counted_and_nobody_is_named() {
    let smarthost = Smarthost::start();
    let appliance = Appliance::start_with(smarthost.address(), &[LISTEN]);
    let alias = appliance.alias("target@mailbox.test", 9);
    let mut client = Client::hello(appliance.smtp);
    assert_eq!(client.deliver(&alias.email).code(), 250);
    client.command("MAIL FROM:<sender@client.test>", "250");
    client.command("RCPT TO:<nobody@alias.test>", "550 5.1.1");
    client.command("RCPT TO:<somebody@elsewhere.test>", "550 5.7.1");
    client.command("RSET", "250");
    smarthost.set(Stage::Dot, Behaviour::Answer(554));
    assert_eq!(client.deliver(&alias.email).code(), 554);
    smarthost.set(Stage::Dot, Behaviour::Accept);
    let order = |body: &Value| {
        let request = ureq::post(format!("http://{}/aliases", appliance.http)).config();
        request.http_status_as_error(false).build().send_json(body).unwrap().status().as_u16()
    };
    assert_eq!(order(&json!({"target": "target@mailbox.test", "days": 1})), 201);
    assert_eq!(order(&json!({"target": "nobody", "days": 1})), 400);

    let text = exposition(&appliance);
    assert_no_leak("the metrics", &text);
    for secret in [alias.name(), "127.0.0.1", "client.test", "alias.test"] {
        assert!(!text.contains(secret), "{secret} is in the metrics");
    }
    let counted = series(&text);
    for (name, value) in [
        ("tempalias_smtp_sessions_total", 1.0),
        ("tempalias_smtp_sessions_open", 1.0),
        ("tempalias_smtp_recipients_total", 2.0),
        ("tempalias_smtp_recipients_refused_total{reason=\"no-alias\"}", 1.0),
        ("tempalias_smtp_recipients_refused_total{reason=\"relaying\"}", 1.0),
        ("tempalias_smtp_messages_total{outcome=\"delivered\"}", 1.0),
        ("tempalias_smtp_messages_total{outcome=\"smarthost-refused-message\"}", 1.0),
        ("tempalias_ledger_uses_spent_total", 2.0),
        ("tempalias_ledger_uses_refunded_total", 1.0),
        ("tempalias_ledger_aliases", 1.0),
        ("tempalias_ledger_purges_total{result=\"done\"}", 1.0),
        ("tempalias_http_aliases_created_total", 1.0),
        ("tempalias_http_refused_total{code=\"invalid-data\"}", 1.0),
        ("tempalias_http_answers_total{status=\"2xx\"}", 1.0),
        ("tempalias_http_answers_total{status=\"4xx\"}", 1.0),
        ("tempalias_smarthost_seconds_count{stage=\"final\"}", 2.0),
        ("tempalias_config_is_current", 1.0),
    ] {
        assert_eq!(counted.get(name), Some(&value), "{name} in {text}");
    }
    assert!(counted["tempalias_smtp_delivered_bytes_total"] > 10.0);
    assert!(counted["tempalias_ledger_commit_seconds_count"] >= 3.0);
    assert!(counted["process_open_fds"] > 5.0 && counted["process_max_fds"] > 100.0);
    assert!(counted["process_resident_memory_bytes"] > 1e6 && counted["process_threads"] > 1.0);

    client.command("QUIT", "221");
    wait::until("the session is over", || {
        (series(&exposition(&appliance))["tempalias_smtp_sessions_open"] == 0.0).then_some(())
    });
}

/// docs/smtp.md §3: the log and the metrics know it, too.
#[test]
fn a_text_before_the_354_is_counted() {
    let smarthost = Smarthost::start();
    let appliance = Appliance::start_with(smarthost.address(), &[LISTEN]);
    let alias = appliance.alias("target@mailbox.test", 1);
    let mut client = Client::hello(appliance.smtp);
    client.command("MAIL FROM:<sender@client.test>", "250");
    client.command(&format!("RCPT TO:<{}>", alias.email), "250");
    client.send("DATA\r\nSubject: early\r\n\r\nhello\r\n.\r\n");
    client.expect("554 5.5.0");
    client.expect_close();
    let name = "tempalias_smtp_messages_total{outcome=\"out-of-turn\"}";
    assert_eq!(series(&exposition(&appliance))[name], 1.0);
    wait::until_equal("lines in the log", 1, || appliance.logged("out-of-turn"));
}

/// docs/smtp.md §3: a report about the postmaster's mail is held against nobody, but counted.
#[test]
fn a_bounce_of_the_postmasters_mail_is_counted() {
    let smarthost = Smarthost::start();
    let appliance = Appliance::start_with(smarthost.address(), &[LISTEN]);
    let mut client = Client::hello(appliance.smtp);
    client.command("MAIL FROM:<sender@client.test>", "250");
    client.command("RCPT TO:<postmaster>", "250");
    client.command("DATA", "354");
    client.send("Subject: hello\r\n\r\nhello\r\n.\r\n");
    client.expect("250");
    let sender = smarthost.record().messages[0].sender.clone();
    assert!(sender.starts_with("b.0."), "{sender}");
    client.command("MAIL FROM:<>", "250");
    client.command(&format!("RCPT TO:<{sender}>"), "250");
    client.command("DATA", "354");
    client.send(
        "Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n\
         Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; relay.test\r\n\r\n\
         Final-Recipient: rfc822; one@mailbox.test\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n--b--\r\n.\r\n",
    );
    client.expect("250");
    let name = "tempalias_smtp_messages_total{outcome=\"bounce-ignored\"}";
    assert_eq!(series(&exposition(&appliance))[name], 1.0);
}

#[test]
fn who_is_turned_away_is_counted_by_reason() {
    let settings = [LISTEN, ("smtp.max_connections_per_ip", "1")];
    let appliance = Appliance::start_with(Smarthost::start().address(), &settings);
    let _first = Client::hello(appliance.smtp);
    Client::connect(appliance.smtp).expect("421");
    let name = "tempalias_smtp_sessions_refused_total{reason=\"full-for-client\"}";
    assert_eq!(series(&exposition(&appliance))[name], 1.0);
}

#[test]
fn counters_go_on_across_a_reload_and_a_failed_one_shows() {
    let appliance = Appliance::start_with(Smarthost::start().address(), &[LISTEN]);
    drop(Client::hello(appliance.smtp));
    appliance.configure(&[("hostname", "\"new.alias.test\""), LISTEN]);
    appliance.hang_up();
    wait::until_equal("reloads", 1, || appliance.logged("configuration reloaded"));
    drop(Client::hello(appliance.smtp));
    appliance.configure(&[("hostname", "1")]);
    appliance.hang_up();
    wait::until("the reload is refused", || {
        let counted = series(&exposition(&appliance));
        (counted["tempalias_config_reloads_total{result=\"refused\"}"] == 1.0).then_some(())
    });
    let counted = series(&exposition(&appliance));
    assert_eq!(counted["tempalias_smtp_sessions_total"], 2.0);
    assert_eq!(counted["tempalias_config_reloads_total{result=\"done\"}"], 1.0);
    assert_eq!(counted["tempalias_config_is_current"], 0.0);
}

#[test]
fn the_format_is_prometheus_own() {
    let appliance = Appliance::start_with(Smarthost::start().address(), &[LISTEN]);
    let text = exposition(&appliance);
    assert!(families(&text).len() > 25);
    let has_promtool = Command::new("promtool").arg("--version").stdout(Stdio::null()).status().is_ok();
    if has_promtool {
        program::succeed("promtool", ["check", "metrics"], text.as_bytes());
        program::succeed("promtool", ["check", "rules", "packaging/prometheus-alerts.yml"], b"");
    }
}

#[test]
fn the_document_lists_every_metric_as_it_describes_itself() {
    let appliance = Appliance::start_with(Smarthost::start().address(), &[LISTEN]);
    let mut table = String::from(TABLE);
    for (name, Family { kind, help, labels }) in families(&exposition(&appliance)) {
        let labels = labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        table += &format!("| `{name}` | {kind} | {labels} | {help} |\n");
    }
    let document = fs::read_to_string(DOCUMENT).unwrap();
    let (before, rest) = document.split_once(TABLE).unwrap();
    let rows = rest.lines().take_while(|line| line.starts_with('|')).map(|line| line.len() + 1).sum();
    let after = &rest[rows..];
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(DOCUMENT, [before, &table, after].concat()).unwrap();
        return;
    }
    assert_eq!(table, format!("{TABLE}{}", &rest[..rows]), "UPDATE_GOLDEN=1 writes it anew");
}

/// Words in `text` that begin like one of our metrics.
fn mentioned(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let is_metric = |word: &&str| word.starts_with("tempalias_") || word.starts_with("process_");
    words.filter(is_metric).map(str::to_owned).collect()
}

#[test]
fn dashboard_and_alerts_know_no_metric_that_does_not_exist() {
    let document = fs::read_to_string(DOCUMENT).unwrap();
    let known: BTreeSet<_> = document.split('`').skip(1).step_by(2).collect();
    for file in ["packaging/grafana-dashboard.json", "packaging/prometheus-alerts.yml"] {
        let names = mentioned(&fs::read_to_string(file).unwrap());
        assert!(names.len() > 8, "{file}: {names:?}");
        for name in names {
            let parts = ["", "_bucket", "_sum", "_count"];
            let is_known =
                parts.iter().any(|part| name.strip_suffix(part).is_some_and(|family| known.contains(family)));
            assert!(is_known, "{file}: {name} is not in {DOCUMENT}");
        }
    }
    let dashboard = fs::read_to_string("packaging/grafana-dashboard.json").unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "two panels have one id");
}

#[test]
fn metrics_are_nowhere_by_default_and_never_on_the_page() {
    let appliance = Appliance::start(&Smarthost::start());
    assert_eq!(appliance.logged("metrics on"), 0);
    assert_eq!(get(&format!("http://{}/metrics", appliance.http)).0, 404);
    let appliance = Appliance::start_with(Smarthost::start().address(), &[LISTEN]);
    let at = appliance.metrics();
    assert_eq!(get(&format!("http://{}/metrics", appliance.http)).0, 404);
    assert_eq!(get(&format!("http://{at}/")).0, 404);
    let refused = ureq::post(format!("http://{at}/metrics")).config().http_status_as_error(false).build();
    let refused = refused.send_empty().unwrap();
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["allow"]),
        (405, &"GET, HEAD".parse().unwrap())
    );
}

#[test]
fn it_is_alive_but_not_ready_while_the_ledger_cannot_be_written() {
    let appliance = Appliance::start(&Smarthost::start());
    let page = format!("http://{}", appliance.http);
    assert_eq!(get(&format!("{page}/readyz")), (200, "ok\n".to_owned()));
    let other = rusqlite::Connection::open(appliance.data_dir().join("tempalias.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (status, body) = get(&format!("{page}/readyz"));
    assert_eq!(status, 503, "{body}");
    assert_eq!(get(&format!("{page}/healthz")), (200, "ok\n".to_owned()));
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(get(&format!("{page}/readyz")).0, 200);
}

#[test]
fn the_log_can_be_json() {
    let mut appliance = Appliance::start_with(Smarthost::start().address(), &[("log.format", "\"json\"")]);
    let mut client = Client::hello(appliance.smtp);
    client.command("MAIL FROM:<sender@client.test>", "250");
    client.command("RCPT TO:<nobody@alias.test>", "550 5.1.1");
    wait::until_equal("refusals", 1, || appliance.logged("recipient refused"));
    appliance.stop();
    let lines: Vec<Value> =
        appliance.stderr().iter().map(|line| serde_json::from_str(line).expect(line)).collect();
    let refusal = lines.iter().find(|line| line["message"] == "recipient refused").unwrap();
    assert_eq!((&refusal["reason"], &refusal["level"]), (&json!("no-alias"), &json!("INFO")));
    assert!(refusal["timestamp"].is_string());
    assert!(lines.iter().any(|line| line["message"].as_str().unwrap().starts_with("ready, SMTP on ")));
}

#[test]
fn the_journal_gets_priorities_and_no_times() {
    let smarthost = Smarthost::start();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let file = File::create(&path).unwrap();
    let metadata = file.metadata().unwrap();
    let stream = format!("{}:{}", metadata.dev(), metadata.ino());
    let said = |appliance: &Appliance| {
        let mut client = Client::hello(appliance.smtp);
        client.command("MAIL FROM:<sender@client.test>", "250");
        client.command("RCPT TO:<nobody@alias.test>", "550 5.1.1");
        wait::until("the refusal is logged", || {
            let log = fs::read_to_string(&path).unwrap();
            log.lines().find(|line| line.contains("recipient refused")).map(str::to_owned)
        })
    };
    let environment = [("JOURNAL_STREAM", stream.as_str())];
    let appliance =
        Appliance::start_logging_with(file.try_clone().unwrap(), &environment, smarthost.address(), &[]);
    let line = said(&appliance);
    assert!(line.starts_with("<6>tempalias::events: recipient refused "), "{line}");

    // Redirected elsewhere, the variable still there: not the journal.
    file.set_len(0).unwrap();
    let environment = [("JOURNAL_STREAM", "1:1")];
    let appliance = Appliance::start_logging_with(file, &environment, smarthost.address(), &[]);
    let line = said(&appliance);
    assert!(!line.starts_with('<') && line.contains(" INFO "), "{line}");
}
