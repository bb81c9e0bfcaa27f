//! The web from outside: a real ledger behind, HTTP as octets in front.

#![expect(clippy::unwrap_used, reason = "a helper that panics fails its test, as it should")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempalias::alias::{AliasName, Limits};
use tempalias::clock::{self, Timestamp};
use tempalias::config::{Aliases, Config, Http, Smarthost, Smtp};
use tempalias::ledger::{Issued, Ledger, NewAlias, SpendOutcome};
use tempalias::web::{self, Web};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longer than any time limit of the server's.
const PATIENCE: Duration = Duration::from_secs(40);

const TARGET: &str = "hidden.person@mailbox.example";

/// A running web side.
struct Site {
    runtime: Runtime,
    addresses: Vec<SocketAddr>,
    ledger: Ledger,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
    _directory: tempfile::TempDir,
}

/// What came back.
#[derive(Clone, Debug, PartialEq)]
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

fn config(data_dir: &Path) -> Config {
    Config {
        hostname: "mx.demo.test".parse().unwrap(),
        domains: vec!["demo.test".parse().unwrap(), "second.test".parse().unwrap()],
        postmaster: "admin@mailbox.example".parse().unwrap(),
        data_dir: data_dir.to_owned(),
        http: Http { listen: vec![] },
        smtp: Smtp::default(),
        smarthost: Smarthost::default(),
        aliases: Aliases::default(),
    }
}

impl Site {
    fn start() -> Self {
        Site::with_listeners(1)
    }

    fn with_listeners(count: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let ledger = Ledger::open(directory.path(), 6).unwrap();
        let shutdown = CancellationToken::new();
        let listeners: Vec<_> = (0..count)
            .map(|_| runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap())
            .collect();
        let addresses = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        let web = Arc::new(Web::new(&config(directory.path()), ledger.clone()));
        let serving = runtime.spawn(web::serve(listeners, web, shutdown.clone()));
        Site { runtime, addresses, ledger, shutdown, serving, _directory: directory }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addresses[0]).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends `octets` as they are, reads to the end.
    fn raw(&self, octets: &[u8]) -> Answer {
        let mut stream = self.connect();
        stream.write_all(octets).unwrap();
        read_answer(&mut stream)
    }

    fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> Answer {
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        if let Some(body) = body {
            text += &format!("Content-Length: {}\r\n", body.len());
        }
        self.raw(format!("{text}\r\n{}", body.unwrap_or("")).as_bytes())
    }

    fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], None)
    }

    fn post(&self, body: &str) -> Answer {
        self.request("POST", "/aliases", &[("Content-Type", "application/json")], Some(body))
    }

    fn create(&self, body: Value) -> Value {
        let answer = self.post(&body.to_string());
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()
    }

    fn manage(&self, method: &str, aid: &str, key: &str, body: Option<Value>) -> Answer {
        let bearer = format!("Bearer {key}");
        let mut headers = vec![("Authorization", bearer.as_str())];
        if body.is_some() {
            headers.push(("Content-Type", "application/json"));
        }
        let body = body.map(|body| body.to_string());
        self.request(method, &format!("/aliases/{aid}"), &headers, body.as_deref())
    }

    /// An alias past its end, that no purge has seen yet.
    fn expired(&self) -> Issued {
        let then: Timestamp = "2020-01-01T00:00:00Z".parse().unwrap();
        let limits = Limits { valid_from: then, valid_until: Some(clock::now()), max_usage: Some(5) };
        let new = NewAlias { domain: "demo.test".parse().unwrap(), target: TARGET.parse().unwrap(), limits };
        self.runtime.block_on(self.ledger.issue(new, then)).unwrap()
    }

    fn spend(&self, aid: &str) {
        let names: Vec<AliasName> = vec![aid.parse().unwrap()];
        let spent = self.runtime.block_on(self.ledger.spend(names, clock::now())).unwrap();
        assert!(matches!(spent, SpendOutcome::Spent(_)), "{spent:?}");
    }

    /// Asks the server to stop, and how long it took; fails when it does not.
    fn stop(self) -> Duration {
        let asked = Instant::now();
        self.shutdown.cancel();
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, self.serving).await }).unwrap().unwrap();
        asked.elapsed()
    }
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|cause| panic!("{cause}: {self:?}"))
    }

    /// The description of the error `code` with `status`, having checked its form.
    fn problem(&self, status: u16, code: &str) -> String {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.header("content-type").starts_with("application/json"), "{self:?}");
        let body = self.json();
        assert_eq!(body["error"], code, "{self:?}");
        assert_eq!(body.as_object().unwrap().len(), 2, "{self:?}");
        let description = body["description"].as_str().unwrap().to_owned();
        assert!(description.ends_with('.') && description.len() > 10, "{description}");
        description
    }
}

fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut octets = Vec::new();
    stream.read_to_end(&mut octets).expect("an answer and an orderly end");
    let text = String::from_utf8(octets).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    Answer { status, headers, body: body.to_owned() }
}

fn instant(value: &Value) -> Timestamp {
    let text = value.as_str().unwrap();
    assert!(text.ends_with('Z'), "{text}");
    text.parse().unwrap()
}

fn seconds_between(earlier: &Value, later: &Value) -> i64 {
    instant(later).duration_since(instant(earlier)).as_secs()
}

// Creating

#[test]
fn the_request_of_the_2010_browser_extension_is_understood() {
    let site = Site::start();
    let body = r#"{"target":"t@example.com","days":3,"max-usage":5}"#;
    let answer = site.request(
        "POST",
        "/aliases",
        &[
            ("Origin", "chrome-extension://jbkcgpmjkbibnljgcdlckkmlhcmilcoi"),
            ("Content-Type", "application/json; charset=UTF-8"),
        ],
        Some(body),
    );
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    let alias = answer.json();
    assert_eq!(alias["aid"].as_str().unwrap().len(), 6);
    instant(&alias["currentDate"]);
}

#[test]
fn a_new_alias_is_described_in_full() {
    let site = Site::start();
    let answer = site.post(&json!({"target": TARGET, "days": 3, "max-usage": 5}).to_string());
    let alias = answer.json();
    let aid = alias["aid"].as_str().unwrap();
    assert_eq!(answer.header("location"), format!("/aliases/{aid}"));
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(alias["email"], format!("{aid}@demo.test"));
    assert_eq!(alias["updatekey"].as_str().unwrap().len(), 32);
    assert_eq!(seconds_between(&alias["valid_from"], &alias["valid_until"]), 3 * 86_400);
    for (field, value) in [
        ("domain", json!("demo.test")),
        ("target", json!(TARGET)),
        ("state", json!("active")),
        ("max_usage", json!(5)),
        ("usage_left", json!(5)),
        ("used", json!(0)),
        ("days", json!(3)),
        ("clamped", json!([])),
    ] {
        assert_eq!(alias[field], value, "{field}");
    }
}

#[test]
fn one_limit_is_enough_and_the_other_is_null() {
    let site = Site::start();
    let alias = site.create(json!({"target": TARGET, "max-usage": 1}));
    assert_eq!((&alias["valid_until"], &alias["days"]), (&Value::Null, &Value::Null));
    let alias = site.create(json!({"target": TARGET, "days": 1}));
    assert_eq!((&alias["max_usage"], &alias["usage_left"]), (&Value::Null, &Value::Null));
}

#[test]
fn instants_are_taken_with_any_offset_and_answered_in_utc() {
    let site = Site::start();
    let from = clock::now().checked_add(jiff::SignedDuration::from_hours(48)).unwrap();
    let until = from.checked_add(jiff::SignedDuration::from_hours(36)).unwrap();
    let paris = jiff::tz::Offset::constant(2);
    let alias = site.create(json!({
        "target": TARGET,
        "valid-from": from.display_with_offset(paris).to_string(),
        "valid-until": until.display_with_offset(paris).to_string(),
    }));
    assert_eq!((instant(&alias["valid_from"]), instant(&alias["valid_until"])), (from, until));
    assert_eq!((&alias["days"], &alias["state"]), (&json!(2), &json!("pending")));
}

#[test]
fn more_than_the_operator_grants_is_cut_and_named() {
    let site = Site::start();
    let alias = site.create(json!({"target": TARGET, "days": 61, "max-usage": 4_294_967_295u32}));
    assert_eq!((&alias["days"], &alias["max_usage"]), (&json!(60), &json!(100)));
    assert_eq!(alias["clamped"], json!(["days", "max-usage"]));
    let alias = site.create(json!({"target": TARGET, "valid-until": "9999-12-30T00:00:00Z"}));
    assert_eq!((&alias["days"], &alias["clamped"]), (&json!(60), &json!(["valid-until"])));
}

#[test]
fn any_of_our_domains_can_be_chosen_in_any_spelling() {
    let site = Site::start();
    let alias = site.create(json!({"target": TARGET, "days": 1, "domain": "Second.TEST"}));
    assert_eq!(alias["domain"], "second.test");
    let foreign = site.post(&json!({"target": TARGET, "days": 1, "domain": "else.example"}).to_string());
    let why = foreign.problem(400, "invalid-data");
    assert_eq!(why, "Domain must be one of ours: demo.test, second.test.");
}

#[test]
fn an_international_address_is_accepted() {
    let site = Site::start();
    let alias = site.create(json!({"target": "info@bücher.example", "days": 1}));
    assert_eq!(alias["target"], "info@xn--bcher-kva.example");
}

#[test]
fn impossible_wishes_are_refused_with_a_sentence_that_names_the_field() {
    let site = Site::start();
    let whole = "must be a whole number, without quotes, fraction or exponent.";
    for (limits, sentence) in [
        (r#""days":0"#, "Days must be at least 1.".to_owned()),
        (r#""days":-1"#, "Days must be at least 1.".into()),
        (r#""days":4294967296"#, "Days is far too large.".into()),
        (r#""days":18446744073709551615"#, "Days is far too large.".into()),
        (r#""days":99999999999999999999999"#, format!("Days {whole}")),
        (r#""days":5.0"#, format!("Days {whole}")),
        (r#""days":1e1"#, format!("Days {whole}")),
        (r#""days":"5""#, format!("Days {whole}")),
        (r#""days":null"#, format!("Days {whole}")),
        (r#""days":true"#, format!("Days {whole}")),
        (r#""days":[1]"#, format!("Days {whole}")),
        (r#""max-usage":0"#, "Max-usage must be at least 1.".into()),
        (r#""max-usage":-9223372036854775808"#, "Max-usage must be at least 1.".into()),
        (r#""max-usage":2.5"#, format!("Max-usage {whole}")),
        (
            r#""days":1,"valid-until":"2999-01-01T00:00:00Z""#,
            "Give either days or valid-until, not both.".into(),
        ),
        (r#""valid-until":"2020-01-01T00:00:00Z""#, "Valid-until lies in the past.".into()),
        (
            r#""valid-until":"tomorrow""#,
            "Valid-until must be an instant with its offset, like 2030-12-31T18:00:00Z.".into(),
        ),
        (
            r#""days":1,"valid-from":17"#,
            "Valid-from must be an instant with its offset, like 2030-12-31T18:00:00Z.".into(),
        ),
        (r#""days":1,"domain":7"#, "Domain must be a string.".into()),
    ] {
        let answer = site.post(&format!(r#"{{"target":"{TARGET}",{limits}}}"#));
        assert_eq!(answer.problem(400, "invalid-data"), sentence, "{limits}");
        assert!(!answer.body.contains("hidden"), "{answer:?}");
    }
    let none = site.post(&json!({"target": TARGET}).to_string());
    assert_eq!(none.problem(400, "invalid-data"), "A limit is needed: days, valid-until or max-usage.");
}

#[test]
fn a_target_that_cannot_be_one_is_refused_without_being_repeated() {
    let site = Site::start();
    for target in [
        json!("hidden"),
        json!(""),
        json!("hidden person@mailbox.example"),
        json!("hidden@mailbox.example@mailbox.example"),
        json!("hidden@mailbox.example\r\nRCPT TO:<v@t.example>"),
        json!("hidden@mailbox.example\u{0}"),
        json!("hidden@localhost"),
        json!("hidden@[127.0.0.1]"),
        json!(format!("hidden@{}example", "mailbox.".repeat(40))),
        json!("hidden@demo.test"),
        json!("hidden@DEMO.Test"),
        json!("hidden@second.test."),
        json!(["hidden@mailbox.example"]),
        json!(17),
        Value::Null,
    ] {
        let answer = site.post(&json!({"target": target, "days": 1}).to_string());
        answer.problem(400, "invalid-data");
        assert!(!answer.body.contains("hidden") && !answer.body.contains("RCPT"), "{answer:?}");
    }
    let answer = site.post(r#"{"days":1}"#);
    assert_eq!(answer.problem(400, "invalid-data"), "Target is missing.");
}

#[test]
fn what_is_not_exactly_one_object_of_known_fields_is_refused() {
    let site = Site::start();
    for (body, start) in [
        ("", "The body is not valid JSON"),
        ("{", "The body is not valid JSON (line 1, column 1)"),
        (r#"{"target":"hidden@mailbox.example","days":1}}"#, "The body is not valid JSON"),
        (r#"{"target":"hidden@mailbox.example","days":1,}"#, "The body is not valid JSON"),
        (r#"{'target':'hidden@mailbox.example'}"#, "The body is not valid JSON"),
        (r#"{"target":"hidden\ud800@mailbox.example","days":1}"#, "The body is not valid JSON"),
        (r#"{"days":NaN}"#, "The body is not valid JSON"),
        (&"[".repeat(1000), "The body must be a JSON object."),
        ("[]", "The body must be a JSON object."),
        ("null", "The body must be a JSON object."),
        (r#""hidden@mailbox.example""#, "The body must be a JSON object."),
        (r#"{"target":"hidden@mailbox.example","days":1,"days":2}"#, "Days is given twice."),
        (r#"{"target":"a@b.example","target":"hidden@mailbox.example"}"#, "Target is given twice."),
        (
            r#"{"target":"hidden@mailbox.example","max_usage":1}"#,
            "Unknown field max_usage; known are target, days, max-usage, valid-from, valid-until, domain.",
        ),
        (r#"{"hidden@mailbox.example":1}"#, "Unknown field; known are target, "),
        (r#"{"":1}"#, "Unknown field; known are target, "),
        (r#"{"days":{"a":[{"b":"hidden"}]}}"#, "Target is missing."),
    ] {
        let answer = site.post(body);
        let why = answer.problem(400, "invalid-data");
        assert!(why.starts_with(start), "{body}: {why}");
        assert!(!answer.body.contains("hidden"), "{answer:?}");
    }
}

#[test]
fn invalid_utf_8_is_refused() {
    let site = Site::start();
    let head = "POST /aliases HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
                Content-Type: application/json\r\nContent-Length: 13\r\n\r\n";
    let answer = site.raw(&[head.as_bytes(), b"{\"target\":\"\xff\""].concat());
    assert_eq!(answer.problem(400, "invalid-data"), "The body is not valid UTF-8.");
}

#[test]
fn only_json_is_taken() {
    let site = Site::start();
    let body = json!({"target": TARGET, "days": 1}).to_string();
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonx",
        "json",
        "",
        "multipart/form-data",
    ] {
        let answer = site.request("POST", "/aliases", &[("Content-Type", kind)], Some(&body));
        answer.problem(415, "invalid-request-type");
    }
    site.request("POST", "/aliases", &[], Some(&body)).problem(415, "invalid-request-type");
    for kind in ["application/json", "Application/JSON ; charset=utf-8"] {
        let answer = site.request("POST", "/aliases", &[("Content-Type", kind)], Some(&body));
        assert_eq!(answer.status, 201, "{kind}");
    }
}

#[test]
fn a_body_needs_a_length_and_keeps_to_1_kib() {
    let site = Site::start();
    let wish = json!({"target": TARGET, "days": 1}).to_string();
    let post = "POST /aliases HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n";

    let answer = site.raw(format!("{post}\r\n").as_bytes());
    answer.problem(411, "invalid-content-length");

    let padded = |length: usize| format!("{wish}{}", " ".repeat(length - wish.len()));
    assert_eq!(site.post(&padded(1024)).status, 201);
    site.post(&padded(1025)).problem(413, "too-much-data");

    let chunked = |body: &str| {
        let chunks: String = body
            .as_bytes()
            .chunks(100)
            .map(|chunk| format!("{:x}\r\n{}\r\n", chunk.len(), str::from_utf8(chunk).unwrap()))
            .collect();
        site.raw(format!("{post}Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n").as_bytes())
    };
    assert_eq!(chunked(&padded(1024)).status, 201);
    chunked(&padded(1025)).problem(413, "too-much-data");

    site.raw(format!("{post}Content-Length: 9223372036854775807\r\n\r\n").as_bytes())
        .problem(413, "too-much-data");
}

#[test]
fn a_client_that_sends_ten_megabytes_still_reads_why_that_was_too_much() {
    let site = Site::start();
    let mut stream = site.connect();
    let head = "POST /aliases HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                Content-Length: 10000000\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let all_written = stream.write_all(&vec![b' '; 10_000_000]);
    assert!(all_written.is_ok(), "{all_written:?}");
    read_answer(&mut stream).problem(413, "too-much-data");
}

#[test]
fn a_browser_may_ask_from_any_site_without_credentials() {
    let site = Site::start();
    let preflight = site.request(
        "OPTIONS",
        "/aliases",
        &[
            ("Origin", "https://shop.example"),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "content-type"),
        ],
        None,
    );
    let refused = site.post("{}");
    assert_eq!((preflight.status, preflight.body.as_str()), (204, ""));
    for answer in [&preflight, &refused] {
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        assert_eq!(answer.header("access-control-allow-methods"), "POST");
        assert_eq!(answer.header("access-control-allow-headers"), "content-type");
        assert!(answer.header("access-control-expose-headers").contains("location"));
        assert_eq!(answer.header("access-control-allow-credentials"), "");
    }
    assert_eq!(site.get("/aliases/k7m2q1").header("access-control-allow-origin"), "");
}

// Managing

#[test]
fn the_holder_sees_how_the_alias_is_doing() {
    let site = Site::start();
    let alias = site.create(json!({"target": TARGET, "days": 3, "max-usage": 5}));
    let (aid, key) = (alias["aid"].as_str().unwrap(), alias["updatekey"].as_str().unwrap());
    site.spend(aid);
    let answer = site.manage("GET", aid, key, None);
    assert_eq!(answer.status, 200);
    let seen = answer.json();
    for (field, value) in [
        ("email", &alias["email"]),
        ("target", &json!(TARGET)),
        ("state", &json!("active")),
        ("used", &json!(1)),
        ("usage_left", &json!(4)),
        ("paused", &json!(false)),
        ("bounces", &json!(0)),
        ("valid_until", &alias["valid_until"]),
    ] {
        assert_eq!(&seen[field], value, "{field}");
    }
    assert_eq!(seen.get("updatekey"), None, "the key is shown once");
    assert_eq!(site.manage("GET", &aid.to_uppercase(), &key.to_uppercase(), None).status, 200);
}

#[test]
fn without_the_right_key_nothing_can_be_told_apart() {
    let site = Site::start();
    let alias = site.create(json!({"target": TARGET, "days": 3}));
    let other = site.create(json!({"target": TARGET, "days": 3}));
    let aid = alias["aid"].as_str().unwrap();
    let (key, foreign) = (alias["updatekey"].as_str().unwrap(), other["updatekey"].as_str().unwrap());
    let over = site.expired();
    for method in ["GET", "PATCH", "DELETE"] {
        let body = (method == "PATCH").then(|| json!({"paused": true}));
        let ask = |aid: &str, key: &str| {
            let mut answer = site.manage(method, aid, key, body.clone());
            answer.headers.remove("date");
            answer
        };
        let unknown = ask("zzzzzzzz", key);
        unknown.problem(404, "not-found");
        assert_eq!(ask(aid, foreign), unknown, "a foreign key");
        assert_eq!(ask(aid, "x"), unknown, "no key at all");
        assert_eq!(ask(aid, ""), unknown, "an empty key");
        assert_eq!(ask(over.alias.name.as_str(), &over.key.to_string()), unknown, "an expired alias");
        for malformed in ["ä", "%ff", "%00", "a.b", "user", &"z".repeat(2000), "%2e%2e", "k7m2q1%0d%0ax"] {
            assert_eq!(ask(malformed, key), unknown, "{malformed}");
        }
    }
    let headless = site.request("GET", &format!("/aliases/{aid}"), &[], None);
    let basic =
        site.request("GET", &format!("/aliases/{aid}"), &[("Authorization", &format!("Basic {key}"))], None);
    assert_eq!(headless.body, basic.body);
    headless.problem(404, "not-found");
    basic.problem(404, "not-found");
    assert_eq!(site.manage("GET", aid, key, None).json()["paused"], false, "nothing has happened to it");
}

#[test]
fn pausing_leaves_the_limits_untouched() {
    let site = Site::start();
    let alias = site.create(json!({"target": TARGET, "days": 3, "max-usage": 5}));
    let (aid, key) = (alias["aid"].as_str().unwrap(), alias["updatekey"].as_str().unwrap());
    let paused = site.manage("PATCH", aid, key, Some(json!({"paused": true}))).json();
    assert_eq!((&paused["state"], &paused["paused"]), (&json!("paused"), &json!(true)));
    for field in ["valid_from", "valid_until", "max_usage", "usage_left", "days"] {
        assert_eq!(paused[field], alias[field], "{field}");
    }
    let again = site.manage("PATCH", aid, key, Some(json!({"paused": false}))).json();
    assert_eq!(again["state"], "active");
}

#[test]
fn resuming_forgets_the_bounces_that_suspended_an_alias() {
    let site = Site::start();
    let alias = site.create(json!({"target": TARGET, "days": 3}));
    let (aid, key) = (alias["aid"].as_str().unwrap(), alias["updatekey"].as_str().unwrap());
    for _ in 0..5 {
        site.runtime.block_on(site.ledger.bounced(aid.parse().unwrap())).unwrap();
    }
    let seen = site.manage("GET", aid, key, None).json();
    assert_eq!((&seen["state"], &seen["bounces"]), (&json!("suspended"), &json!(5)));
    let resumed = site.manage("PATCH", aid, key, Some(json!({"paused": false}))).json();
    assert_eq!((&resumed["state"], &resumed["bounces"]), (&json!("active"), &json!(0)));
}

#[test]
fn a_used_up_alias_goes_on_when_more_messages_are_granted() {
    let site = Site::start();
    let alias = site.create(json!({"target": TARGET, "max-usage": 1}));
    let (aid, key) = (alias["aid"].as_str().unwrap(), alias["updatekey"].as_str().unwrap());
    site.spend(aid);
    assert_eq!(site.manage("GET", aid, key, None).json()["state"], "used-up");
    let more = site.manage("PATCH", aid, key, Some(json!({"max-usage": 3, "days": 2}))).json();
    assert_eq!(
        (&more["state"], &more["used"], &more["usage_left"]),
        (&json!("active"), &json!(1), &json!(2))
    );
    assert_eq!(seconds_between(&more["currentDate"], &more["valid_until"]), 2 * 86_400);
}

#[test]
fn changes_keep_to_the_caps_and_to_sense() {
    let site = Site::start();
    let alias = site.create(json!({"target": TARGET, "days": 3, "max-usage": 5}));
    let (aid, key) = (alias["aid"].as_str().unwrap(), alias["updatekey"].as_str().unwrap());
    let most = site.manage("PATCH", aid, key, Some(json!({"days": 61, "max-usage": 101}))).json();
    assert_eq!((&most["clamped"], &most["max_usage"]), (&json!(["days", "max-usage"]), &json!(100)));
    for (wish, sentence) in [
        (json!({"days": 0}), "Days must be at least 1."),
        (json!({"paused": 1}), "Paused must be true or false."),
        (json!({"valid-until": "2020-01-01T00:00:00Z"}), "Valid-until lies in the past."),
        (
            json!({"days": 1, "valid-until": "2999-01-01T00:00:00Z"}),
            "Give either days or valid-until, not both.",
        ),
        (json!({"target": TARGET}), "Unknown field target; known are days, valid-until, max-usage, paused."),
    ] {
        let answer = site.manage("PATCH", aid, key, Some(wish));
        assert_eq!(answer.problem(400, "invalid-data"), sentence);
    }
    let now = site.manage("GET", aid, key, None).json();
    assert_eq!((&now["valid_until"], &now["paused"]), (&most["valid_until"], &json!(false)));
}

#[test]
fn a_revoked_alias_is_gone() {
    let site = Site::start();
    let alias = site.create(json!({"target": TARGET, "days": 3}));
    let (aid, key) = (alias["aid"].as_str().unwrap(), alias["updatekey"].as_str().unwrap());
    let answer = site.manage("DELETE", aid, key, None);
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    site.manage("DELETE", aid, key, None).problem(404, "not-found");
    site.manage("GET", aid, key, None).problem(404, "not-found");
    assert_eq!(site.ledger.lookup(&aid.parse().unwrap()).unwrap(), None);
}

// The page

#[test]
fn the_page_and_its_parts_are_cacheable_by_entity_tag() {
    let site = Site::start();
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/style.css", "text/css; charset=utf-8"),
        ("/app.js", "text/javascript; charset=utf-8"),
        ("/logo.svg", "image/svg+xml"),
    ] {
        let whole = site.get(path);
        assert_eq!((whole.status, whole.header("content-type")), (200, kind), "{path}");
        assert_eq!(whole.header("cache-control"), "no-cache");
        let tag = whole.header("etag");
        assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() > 10, "{tag}");

        let head = site.request("HEAD", path, &[], None);
        assert_eq!((head.status, head.body.as_str()), (200, ""));
        assert_eq!(head.header("content-length"), whole.body.len().to_string());
        assert_eq!((head.header("etag"), head.header("content-type")), (tag, kind));

        for known in [tag.to_owned(), format!("\"other\", W/{tag}"), "*".into()] {
            let unchanged = site.request("GET", path, &[("If-None-Match", &known)], None);
            assert_eq!((unchanged.status, unchanged.body.as_str()), (304, ""), "{known}");
            assert_eq!(unchanged.header("etag"), tag);
        }
        assert_eq!(site.request("GET", path, &[("If-None-Match", "\"other\"")], None).status, 200);
    }
}

#[test]
fn the_page_refers_to_nothing_but_files_of_ours_and_has_nothing_inline() {
    let site = Site::start();
    for page in ["/", "/404.html"] {
        let html = site.get(page).body;
        for forbidden in ["<style", "style=", " onclick", " onload", " onsubmit", "javascript:", "http://"] {
            assert!(!html.contains(forbidden), "{page}: {forbidden}");
        }
        for reference in html.split("src=\"").chain(html.split("href=\"")).skip(1) {
            let reference = reference.split('"').next().unwrap();
            if let Some(path) = reference.strip_prefix('/').filter(|path| !path.contains('<')) {
                assert_eq!(site.get(&format!("/{path}")).status, 200, "{page}: {reference}");
            }
        }
    }
}

#[test]
fn where_nothing_is_browsers_see_a_page_and_programs_json() {
    let site = Site::start();
    for path in ["/nothing", "/aliases/", "/aliases/a/b", "/index.html/", "/aliasesx"] {
        site.get(path).problem(404, "not-found");
        let accept = "text/html,application/xhtml+xml,*/*;q=0.8";
        let page = site.request("GET", path, &[("Accept", accept)], None);
        assert_eq!((page.status, page.header("content-type")), (404, "text/html; charset=utf-8"), "{path}");
        assert!(page.body.contains("<h1"), "{page:?}");
    }
}

#[test]
fn path_tricks_lead_nowhere() {
    let site = Site::start();
    for path in [
        "/../Cargo.toml",
        "/%2e%2e/Cargo.toml",
        "/..%2fCargo.toml",
        "/assets/../Cargo.toml",
        "/./style.css",
        "//style.css",
        "//",
        "/style.css%00",
        "/%00",
        "/%73tyle.css",
        "/style.css/",
        "/STYLE.CSS",
        "/..\\Cargo.toml",
        "/.git/config",
        "/aliases/../healthz",
    ] {
        site.get(path).problem(404, "not-found");
    }
    for (line, status) in [("OPTIONS * HTTP/1.1", 404), ("CONNECT demo.test:25 HTTP/1.1", 404)] {
        let answer = site.raw(format!("{line}\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes());
        answer.problem(status, "not-found");
    }
}

// All of it

#[test]
fn other_methods_are_refused_with_those_that_are_possible() {
    let site = Site::start();
    for (path, method, allowed) in [
        ("/aliases", "GET", "OPTIONS, POST"),
        ("/aliases", "HEAD", "OPTIONS, POST"),
        ("/aliases", "PUT", "OPTIONS, POST"),
        ("/aliases/k7m2q1", "POST", "DELETE, GET, HEAD, PATCH"),
        ("/aliases/k7m2q1", "OPTIONS", "DELETE, GET, HEAD, PATCH"),
        ("/", "POST", "GET, HEAD"),
        ("/style.css", "DELETE", "GET, HEAD"),
        ("/openapi.json", "POST", "GET, HEAD"),
        ("/healthz", "BREW", "GET, HEAD"),
    ] {
        let answer = site.request(method, path, &[], Some(""));
        assert_eq!((answer.status, answer.header("allow")), (405, allowed), "{method} {path}");
        if method != "HEAD" {
            answer.problem(405, "method-not-allowed");
        }
    }
}

#[test]
fn every_answer_carries_the_security_headers() {
    let site = Site::start();
    let answers = [
        site.get("/"),
        site.get("/app.js"),
        site.request("GET", "/", &[("If-None-Match", "*")], None),
        site.request("GET", "/nothing", &[("Accept", "text/html")], None),
        site.get("/nothing"),
        site.get("/healthz"),
        site.get("/openapi.json"),
        site.get("/aliases"),
        site.request("OPTIONS", "/aliases", &[], None),
        site.post("{}"),
        site.post(&json!({"target": TARGET, "days": 1}).to_string()),
    ];
    for answer in answers {
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none';") && policy.contains("frame-ancestors 'none'"));
        assert!(!policy.contains("unsafe"));
        for (name, value) in [
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), value, "{answer:?}");
        }
        assert!(answer.header("permissions-policy").contains("camera=()"));
        assert_ne!(answer.header("cache-control"), "");
    }
}

#[test]
fn health_and_readiness_are_told_and_a_closed_ledger_is_not_ready() {
    let site = Site::start();
    assert_eq!((site.get("/healthz").status, site.get("/readyz").status), (200, 200));
    let alias = site.create(json!({"target": TARGET, "days": 1}));
    site.runtime.block_on(site.ledger.close());
    assert_eq!(site.get("/healthz").status, 200);
    let post = site.post(&json!({"target": TARGET, "days": 1}).to_string());
    let (aid, key) = (alias["aid"].as_str().unwrap(), alias["updatekey"].as_str().unwrap());
    for answer in [site.get("/readyz"), post, site.manage("DELETE", aid, key, None)] {
        answer.problem(503, "server-error");
        assert!(answer.header("retry-after").parse::<u32>().is_ok(), "{answer:?}");
    }
}

#[test]
fn every_listener_is_served() {
    let site = Site::with_listeners(3);
    for &address in &site.addresses {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").unwrap();
        assert_eq!(read_answer(&mut stream).body, "ok\n");
    }
}

#[test]
fn a_connection_serves_several_requests_also_when_they_are_pipelined() {
    let site = Site::start();
    let next = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let last = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let mut stream = site.connect();
    stream.write_all(format!("{next}{next}{last}").as_bytes()).unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    assert_eq!(all.matches("HTTP/1.1 200").count(), 3, "{all}");
}

#[test]
fn slow_clients_are_not_waited_for() {
    let site = Site::start();
    let mut silent = site.connect();
    let mut in_head = site.connect();
    in_head.write_all(b"GET / HTTP/1.1\r\nHost: ").unwrap();
    let mut in_body = site.connect();
    let head =
        "POST /aliases HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n{";
    in_body.write_all(head.as_bytes()).unwrap();
    read_answer(&mut in_body).problem(408, "invalid-content-length");
    for mut stream in [silent.try_clone().unwrap(), in_head] {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("closed within its time");
    }
    assert_eq!(silent.read(&mut [0]).unwrap(), 0);
}

#[test]
fn stopping_does_not_wait_for_idle_connections() {
    let site = Site::start();
    let mut idle = site.connect();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut first = [0; 15];
    idle.read_exact(&mut first).unwrap();
    let silent = site.connect();
    drop(silent.try_clone().unwrap());
    let took = site.stop();
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn stopping_waits_for_a_request_that_has_begun() {
    let site = Site::start();
    let body = json!({"target": TARGET, "days": 1}).to_string();
    let mut stream = site.connect();
    let head = format!(
        "POST /aliases HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    // The server asks for the body: the request is in a handler's hands.
    let mut asked = [0; 25];
    stream.read_exact(&mut asked).unwrap();
    assert!(asked.starts_with(b"HTTP/1.1 100 "), "{}", String::from_utf8_lossy(&asked));
    site.shutdown.cancel();
    stream.write_all(body.as_bytes()).unwrap();
    assert_eq!(read_answer(&mut stream).status, 201);
    site.stop();
}

// The document

const GOLDEN: &str = "tests/openapi.json";

/// Written anew with `UPDATE_GOLDEN=1 cargo test --test web openapi`.
#[test]
fn the_openapi_document_is_the_one_we_know() {
    let site = Site::start();
    let answer = site.get("/openapi.json");
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    let document = format!("{}\n", serde_json::to_string_pretty(&answer.json()).unwrap());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(GOLDEN, &document).unwrap();
    }
    let golden = std::fs::read_to_string(GOLDEN).unwrap();
    assert!(document == golden, "it has changed: look at the difference after UPDATE_GOLDEN=1");
}

#[test]
fn the_openapi_document_names_the_fields_that_are_understood() {
    let site = Site::start();
    let document = site.get("/openapi.json").json();
    for (schema, answer) in [
        ("AliasRequest", site.post(r#"{"?":1}"#)),
        ("AliasChange", {
            let alias = site.create(json!({"target": TARGET, "days": 1}));
            let (aid, key) = (alias["aid"].as_str().unwrap(), alias["updatekey"].as_str().unwrap());
            site.manage("PATCH", aid, key, Some(json!({"?": 1})))
        }),
    ] {
        let mut described: Vec<_> =
            document["components"]["schemas"][schema]["properties"].as_object().unwrap().keys().collect();
        described.sort();
        let why = answer.problem(400, "invalid-data");
        let mut understood: Vec<_> =
            why.split("known are ").nth(1).unwrap().trim_end_matches('.').split(", ").collect();
        understood.sort();
        assert_eq!(described, understood);
    }
}

#[test]
fn the_openapi_document_lists_every_answer() {
    let site = Site::start();
    let document = site.get("/openapi.json").json();
    let statuses = |path: &str, method: &str| -> Vec<String> {
        document["paths"][path][method]["responses"].as_object().unwrap().keys().cloned().collect()
    };
    let body = ["400", "408", "411", "413", "415"];
    let ours = ["500", "503"];
    assert_eq!(statuses("/aliases", "post"), sorted(&[&["201"], &body[..], &ours]));
    let aid = "/aliases/{aid}";
    assert_eq!(statuses(aid, "get"), sorted(&[&["200", "404"], &ours]));
    assert_eq!(statuses(aid, "patch"), sorted(&[&["200", "404"], &body[..], &ours]));
    assert_eq!(statuses(aid, "delete"), sorted(&[&["204", "404"], &ours]));
}

fn sorted(parts: &[&[&str]]) -> Vec<String> {
    let mut all: Vec<String> = parts.concat().into_iter().map(str::to_owned).collect();
    all.sort();
    all
}
