//! What holds for every request, and for connections as such.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

use super::site::{PATIENCE, Site, TARGET, read_answer};

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
        ("/de/about", "POST", "GET, HEAD"),
        ("/robots.txt", "DELETE", "GET, HEAD"),
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
        site.get(&site.parts("/")[1]),
        site.get("/site.json"),
        site.submit("target=hidden.person@mailbox.example&days=1", &[]),
        site.submit("", &[]),
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
            ("referrer-policy", "same-origin"),
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
fn who_closes_its_half_after_the_request_hears_the_answer() {
    let site = Site::start();
    let body = json!({"target": TARGET, "max-usage": 3}).to_string();
    let length = body.len();
    let post = format!(
        "POST /aliases HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    for (request, status) in [
        (post.as_str(), 201),
        ("GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        ("GET /about HTTP/1.1\r\nHost: x\r\n\r\n", 200),
    ] {
        for _ in 0..10 {
            let mut stream = site.connect();
            stream.write_all(request.as_bytes()).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(read_answer(&mut stream).status, status, "{request}");
        }
    }
}

#[test]
fn a_client_that_is_gone_holds_no_permit() {
    let site = Site::configured(|config| config.http.max_connections_per_ip = 1);
    let head =
        "POST /aliases HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n{";
    for begun in ["", "GET / HTTP/1.1\r\nHost: ", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", head] {
        let start = Instant::now();
        let mut stream = site.connect();
        stream.write_all(begun.as_bytes()).unwrap();
        drop(stream);
        // The next one is let in when the permit is free. Until then, as it comes from this host, it gets 503.
        while site.get("/").status != 200 {
            assert!(start.elapsed() < Duration::from_secs(5), "{begun:?} is waited for");
        }
    }
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

#[test]
fn a_thousand_idle_connections_do_not_keep_anybody_out() {
    // Both ends are in this process.
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).unwrap();
    let site = Site::configured(|config| {
        config.http.max_connections = 1010;
        config.http.max_connections_per_ip = 0;
    });
    let idle: Vec<_> = (0..1000).map(|_| site.connect()).collect();
    assert_eq!(site.get("/healthz").status, 200);
    assert_eq!(site.post(&json!({"target": TARGET, "days": 1}).to_string()).status, 201);
    drop(idle);
}

#[test]
fn a_head_that_is_too_long_is_refused_in_our_words() {
    let site = Site::start();
    let ask = |path: &str, fields: &str| {
        site.raw(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}\r\n").as_bytes())
    };
    for answer in [
        ask("/", &format!("X: {}\r\n", "a".repeat(20_000))),
        ask("/", &"X: a\r\n".repeat(150)),
        ask(&format!("/{}", "a".repeat(20_000)), ""),
    ] {
        answer.problem(431, "too-much-data");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_ne!(answer.header("content-security-policy"), "");
    }
    assert_eq!(ask("/", &"X: a\r\n".repeat(98)).status, 200);
    assert_eq!(ask("/", &format!("X: {}\r\n", "a".repeat(16_000))).status, 200);
}

#[test]
fn heads_without_end_are_refused() {
    let site = Site::start();
    for head in [
        format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(100_000)),
        format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: a\r\n".repeat(10_000)),
        format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(100_000)),
    ] {
        let mut stream = site.connect();
        // It may hang up before it has read everything.
        let _ = stream.write_all(head.as_bytes());
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        assert_bare(&String::from_utf8_lossy(&said));
    }
    assert_eq!(site.get("/healthz").status, 200);
}

#[test]
fn what_is_no_request_is_refused_in_bare_words() {
    let site = Site::start();
    for head in [
        "BROKEN\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
        "GET / HTTP/9.9\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: two\r\n\r\n",
        "\0\r\n\r\n",
    ] {
        let mut stream = site.connect();
        stream.write_all(head.as_bytes()).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        assert_bare(&said);
    }
}

/// docs/api.md: hyper answers such a head by itself, and hangs up. There is no content, so there is
/// nothing that a browser could take for a page.
#[track_caller]
fn assert_bare(said: &str) {
    let (head, body) = said.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {said:?}"));
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    assert!(["400", "414", "431"].contains(&status), "{said:?}");
    let names: Vec<_> = lines.filter_map(|line| line.split(':').next()).collect();
    assert_eq!((names.as_slice(), body), (&["connection", "content-length", "date"][..], ""), "{said:?}");
}

#[test]
fn a_request_names_its_host_once() {
    let site = Site::start();
    let ask = |hosts: &str, version: &str| {
        site.raw(format!("GET /healthz HTTP/{version}\r\n{hosts}Connection: close\r\n\r\n").as_bytes())
    };
    for hosts in
        ["", "Host: a\r\nHost: a\r\n", "Host: a b\r\n", "Host:\r\n", "Host: a/b\r\n", "Host: u@a\r\n"]
    {
        let answer = ask(hosts, "1.1");
        answer.problem(400, "invalid-data");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
    for host in ["a.example", "a.example:8080", "[::1]:80", "192.0.2.1", "under_score"] {
        assert_eq!(ask(&format!("Host: {host}\r\n"), "1.1").status, 200, "{host}");
    }
    assert_eq!(ask("", "1.0").status, 200, "HTTP/1.0 had no hosts");
    assert_eq!(ask("Host: a\r\nHost: b\r\n", "1.0").status, 400);
}

#[test]
fn only_the_window_of_the_bookmarklet_can_speak_to_who_opened_it() {
    let site = Site::start();
    let policy = |path: &str| site.get(path).header("cross-origin-opener-policy").to_owned();
    for path in ["/fill", "/de/fill", "/en/fill"] {
        assert_eq!(policy(path), "unsafe-none", "{path}");
    }
    for path in ["/", "/fr/fill", "/aliases/fill", "/de/de/fill", "/fill/", "//fill"] {
        assert_eq!(policy(path), "same-origin", "{path}");
    }
}
