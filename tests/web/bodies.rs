//! Request bodies as such: their kind, their size, where they come from.

use std::io::Write;

use serde_json::json;

use super::site::{Site, TARGET, read_answer};

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
        // No XML is ever parsed: deny.toml counts on it.
        "application/xml",
        "text/xml",
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
        assert_eq!(answer.header("access-control-allow-headers"), "content-type, idempotency-key");
        assert!(answer.header("access-control-expose-headers").contains("location"));
        assert_eq!(answer.header("access-control-allow-credentials"), "");
    }
    assert_eq!(site.get("/aliases/k7m2q1").header("access-control-allow-origin"), "");
}
