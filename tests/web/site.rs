//! A running web side, and a client that sends exactly what it is told to.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use serde_json::Value;
use tempalias::alias::Limits;
use tempalias::clock::{self, Timestamp};
use tempalias::config::{Aliases, Config, Dns, Http, Log, Metrics, Settings, Smarthost, Smtp};
use tempalias::events::Events;
use tempalias::ledger::{Issued, Ledger, NewAlias, SpendOutcome};
use tempalias::message_id::MessageId;
use tempalias::web::{self, Listeners, Web};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longer than any time limit of the server's.
pub const PATIENCE: Duration = Duration::from_secs(40);

pub const TARGET: &str = "hidden.person@mailbox.example";

/// A running web side.
pub struct Site {
    pub runtime: Runtime,
    pub addresses: Vec<SocketAddr>,
    pub ledger: Ledger,
    pub shutdown: CancellationToken,
    serving: JoinHandle<()>,
    _directory: tempfile::TempDir,
}

/// What came back.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: String,
    pub octets: Vec<u8>,
}

fn config(data_dir: &Path) -> Config {
    Config {
        hostname: "mx.demo.test".parse().unwrap(),
        domains: vec!["demo.test".parse().unwrap(), "second.test".parse().unwrap()],
        postmaster: "admin@mailbox.example".parse().unwrap(),
        data_dir: data_dir.to_owned(),
        http: Http { create_interval: Duration::ZERO, ..Default::default() },
        smtp: Smtp::default(),
        smarthost: Smarthost::default(),
        aliases: Aliases::default(),
        dns: Dns::default(),
        metrics: Metrics::default(),
        log: Log::default(),
    }
}

impl Site {
    pub fn start() -> Self {
        Site::with_listeners(1)
    }

    pub fn with_listeners(count: usize) -> Self {
        Site::with(count, |_| {}, |_| {})
    }

    /// One whose operator has made changes to the configuration.
    pub fn configured(change: impl FnOnce(&mut Config)) -> Self {
        Site::with(1, change, |_| {})
    }

    /// One with other listeners than plain TCP.
    pub fn behind(build: impl FnOnce(&mut Listeners)) -> Self {
        Site::with(1, |_| {}, build)
    }

    fn with(count: usize, change: impl FnOnce(&mut Config), build: impl FnOnce(&mut Listeners)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let ledger = Ledger::open(directory.path(), 6).unwrap();
        let shutdown = CancellationToken::new();
        let listeners: Vec<_> = (0..count)
            .map(|_| runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap())
            .collect();
        let addresses = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        let mut config = config(directory.path());
        change(&mut config);
        let settings = Settings::new(ArcSwap::from_pointee(config));
        let web = Arc::new(Web::new(settings, ledger.clone(), Events::default()));
        let mut listeners = Listeners { tcp: listeners, ..Listeners::default() };
        {
            let _inside = runtime.enter();
            build(&mut listeners);
        }
        runtime.spawn(web.lists().clone().watch(shutdown.clone()));
        let serving = runtime.spawn(web::serve(listeners, web, shutdown.clone()));
        Site { runtime, addresses, ledger, shutdown, serving, _directory: directory }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addresses[0]).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends `octets` as they are, reads to the end.
    pub fn raw(&self, octets: &[u8]) -> Answer {
        let mut stream = self.connect();
        stream.write_all(octets).unwrap();
        read_answer(&mut stream)
    }

    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> Answer {
        let mut text = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "Host") {
            text += "Host: localhost\r\n";
        }
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        if let Some(body) = body {
            text += &format!("Content-Length: {}\r\n", body.len());
        }
        self.raw(format!("{text}\r\n{}", body.unwrap_or("")).as_bytes())
    }

    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], None)
    }

    pub fn post(&self, body: &str) -> Answer {
        self.request("POST", "/aliases", &[("Content-Type", "application/json")], Some(body))
    }

    pub fn create(&self, body: Value) -> Value {
        let answer = self.post(&body.to_string());
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()
    }

    pub fn manage(&self, method: &str, aid: &str, key: &str, body: Option<Value>) -> Answer {
        let bearer = format!("Bearer {key}");
        let mut headers = vec![("Authorization", bearer.as_str())];
        if body.is_some() {
            headers.push(("Content-Type", "application/json"));
        }
        let body = body.map(|body| body.to_string());
        self.request(method, &format!("/aliases/{aid}"), &headers, body.as_deref())
    }

    /// The form without a script, as a browser sends it.
    pub fn submit(&self, form: &str, headers: &[(&str, &str)]) -> Answer {
        let mut all = vec![
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("Accept", "text/html,application/xhtml+xml,*/*;q=0.8"),
        ];
        all.extend_from_slice(headers);
        self.request("POST", "/aliases", &all, Some(form))
    }

    /// What the page at `path` refers to on this site, the page itself first.
    pub fn parts(&self, path: &str) -> Vec<String> {
        let mut parts = vec![path.to_owned()];
        let mut seen = 0;
        while seen < parts.len() {
            let text = self.get(&parts[seen]).body;
            seen += 1;
            for quoted in text.split('"').filter(|quoted| quoted.starts_with('/') && quoted.contains('.')) {
                if !parts.iter().any(|part| part == quoted) && !quoted.contains(char::is_whitespace) {
                    parts.push(quoted.to_owned());
                }
            }
        }
        parts
    }

    /// An alias past its end, that no purge has seen yet.
    pub fn expired(&self) -> Issued {
        let then: Timestamp = "2020-01-01T00:00:00Z".parse().unwrap();
        let limits = Limits { valid_from: then, valid_until: Some(clock::now()), max_usage: Some(5) };
        let new = NewAlias { domain: "demo.test".parse().unwrap(), target: TARGET.parse().unwrap(), limits };
        self.runtime.block_on(self.ledger.issue(new, then)).unwrap()
    }

    /// Spends a use, and on which message.
    pub fn spend(&self, aid: &str) -> MessageId {
        let (name, message) = (aid.parse().unwrap(), MessageId::new(clock::now()));
        let spent = self.runtime.block_on(self.ledger.spend(name, message, clock::now())).unwrap();
        assert_eq!(spent, SpendOutcome::Spent);
        message
    }

    /// Asks the server to stop, and how long it took; fails when it does not.
    pub fn stop(self) -> Duration {
        let asked = Instant::now();
        self.shutdown.cancel();
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, self.serving).await }).unwrap().unwrap();
        asked.elapsed()
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|cause| panic!("{cause}: {self:?}"))
    }

    /// The description of the error `code` with `status`, having checked its form.
    pub fn problem(&self, status: u16, code: &str) -> String {
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

pub fn read_answer(stream: &mut impl Read) -> Answer {
    let mut octets = Vec::new();
    stream.read_to_end(&mut octets).expect("an answer and an orderly end");
    let end = octets.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(&octets)));
    let head = str::from_utf8(&octets[..end]).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let octets = octets[end + 4..].to_vec();
    let body = String::from_utf8_lossy(&octets).into_owned();
    Answer { status, headers, body, octets }
}

pub fn instant(value: &Value) -> Timestamp {
    let text = value.as_str().unwrap();
    assert!(text.ends_with('Z'), "{text}");
    text.parse().unwrap()
}

pub fn seconds_between(earlier: &Value, later: &Value) -> i64 {
    instant(later).duration_since(instant(earlier)).as_secs()
}
