//! Who asks, and how often: the rate of creations, proxies, DNS lists.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::json;
use tempalias::config::Dns;

use super::site::{Answer, Site, TARGET};
use crate::support::dns::{Answer as Record, NameServer};

const PROXY: &str = "127.0.0.1";

/// As a proxy in front of us sends it on for a client at `address`.
fn create_for(site: &Site, address: &str) -> Answer {
    let body = json!({"target": TARGET, "days": 1}).to_string();
    let headers = [("Content-Type", "application/json"), ("X-Forwarded-For", address)];
    site.request("POST", "/aliases", &headers, Some(&body))
}

fn limited(trusted: &[&str]) -> Site {
    let trusted = trusted.iter().map(|network| network.parse().unwrap()).collect();
    Site::configured(move |config| {
        config.http.create_interval = Duration::from_secs(3600);
        config.http.trusted_proxies = trusted;
    })
}

#[test]
fn a_client_gets_some_aliases_at_once_and_then_has_to_wait() {
    let site = limited(&[PROXY]);
    let statuses: Vec<_> = (0..4).map(|_| create_for(&site, "192.0.2.1").status).collect();
    assert_eq!(statuses, [201, 201, 201, 429]);
    let refused = create_for(&site, "192.0.2.1");
    let why = refused.problem(429, "rate-limited");
    let seconds: u64 = refused.header("retry-after").parse().unwrap();
    assert!((3500..=3600).contains(&seconds), "{seconds}");
    assert!(why.contains(&format!("{seconds} s")), "{why}");
    assert_eq!(create_for(&site, "192.0.2.2").status, 201, "another client");
}

#[test]
fn a_repeated_request_is_counted_once() {
    let site = limited(&[PROXY]);
    let body = json!({"target": TARGET, "days": 1}).to_string();
    let repeat = || {
        let headers = [
            ("Content-Type", "application/json"),
            ("X-Forwarded-For", "192.0.2.1"),
            ("Idempotency-Key", "the-same"),
        ];
        site.request("POST", "/aliases", &headers, Some(&body)).status
    };
    assert!((0..6).all(|_| repeat() == 201));
    let others: Vec<_> = (0..3).map(|_| create_for(&site, "192.0.2.1").status).collect();
    assert_eq!(others, [201, 201, 429]);
    assert_eq!(repeat(), 201, "also when the measure is full");
}

#[test]
fn a_wrong_guess_at_a_request_that_was_made_is_an_attempt() {
    let site = limited(&[PROXY]);
    let ask = |client: &str, days: u32| {
        let headers = [
            ("Content-Type", "application/json"),
            ("X-Forwarded-For", client),
            ("Idempotency-Key", "somebody-elses"),
        ];
        site.request("POST", "/aliases", &headers, Some(&json!({"target": TARGET, "days": days}).to_string()))
    };
    assert_eq!(ask("192.0.2.1", 1).status, 201);
    let guesses: Vec<_> = (2..6).map(|days| ask("192.0.2.2", days).status).collect();
    assert_eq!(guesses, [422, 422, 422, 429]);
    assert_eq!(create_for(&site, "192.0.2.2").status, 429);
    assert_eq!(ask("192.0.2.1", 1).status, 201);
}

#[test]
fn an_ipv6_network_of_56_bits_is_one_client() {
    let site = limited(&[PROXY]);
    for n in 0..3 {
        assert_eq!(create_for(&site, &format!("2001:db8::{n}")).status, 201);
    }
    assert_eq!(create_for(&site, "2001:db8::ffff:1").status, 429);
    assert_eq!(create_for(&site, "2001:db8:0:ff::1").status, 429);
    assert_eq!(create_for(&site, "2001:db8:0:100::1").status, 201);
}

/// RFC 9110 §5.6.1.2.
#[test]
fn empty_elements_of_a_proxys_list_are_ignored() {
    let site = limited(&[PROXY]);
    for list in ["192.0.2.1", "192.0.2.1,", "198.51.100.1,, 192.0.2.1, ,"] {
        assert_eq!(create_for(&site, list).status, 201, "{list}");
    }
    assert_eq!(create_for(&site, ",192.0.2.1").status, 429);
    assert_eq!(create_for(&site, "192.0.2.1,,192.0.2.2").status, 201, "another client");
}

#[test]
fn without_a_trusted_proxy_nobody_can_claim_another_address() {
    let site = limited(&["10.0.0.0/8"]);
    for n in 0..3 {
        assert_eq!(create_for(&site, &format!("192.0.2.{n}")).status, 201);
    }
    assert_eq!(create_for(&site, "192.0.2.200").status, 429);
}

#[test]
fn what_is_refused_for_its_content_costs_nothing() {
    let site = limited(&[]);
    for _ in 0..10 {
        site.post("{}").problem(400, "invalid-data");
    }
    assert_eq!(site.post(&json!({"target": TARGET, "days": 1}).to_string()).status, 201);
}

#[test]
fn the_form_and_jsonp_are_limited_too() {
    let site = Site::configured(|config| {
        config.http.create_interval = Duration::from_secs(3600);
        config.http.jsonp = true;
    });
    let form = "target=hidden.person%40mailbox.example&days=1";
    let script = format!("/aliases?callback=f&{form}");
    let page = site.submit(form, &[]);
    assert_eq!(page.status, 201);
    assert!(site.get(&script).body.contains("updatekey"));
    assert_eq!(site.submit(form, &[]).status, 201);
    let page = site.submit(form, &[("Accept-Language", "de")]);
    assert_eq!((page.status, page.header("content-type")), (429, "text/html; charset=utf-8"));
    let seconds: u64 = page.header("retry-after").parse().unwrap();
    assert!(page.body.contains("Den nächsten gibt es in 3"), "{} s: {}", seconds, page.body);
    let page = site.submit(form, &[]);
    assert!(page.body.contains("You can have the next one in 3"), "{}", page.body);
    let refused = site.get(&script);
    assert_eq!(refused.status, 200);
    assert!(refused.body.contains("rate-limited"), "{refused:?}");
}

#[test]
fn a_client_on_a_list_gets_no_alias() {
    let server = NameServer::start();
    server.list("list.test");
    server.set("99.2.0.192.list.test", Record::A(Ipv4Addr::new(127, 0, 0, 4), 300));
    let site = Site::configured(|config| {
        config.dns = Dns { servers: vec![server.address()] };
        config.http.rbls = vec!["list.test".parse().unwrap()];
        config.http.trusted_proxies = vec![PROXY.parse().unwrap()];
    });
    // The list counts once it has passed its test.
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    let refused = loop {
        let answer = create_for(&site, "192.0.2.99");
        if answer.status != 201 {
            break answer;
        }
        assert!(std::time::Instant::now() < deadline, "the list is never used");
    };
    let why = refused.problem(403, "rbl-check-failed");
    assert_eq!(why, "Your network is on list.test, a list of abused addresses.");
    assert_eq!(create_for(&site, "192.0.2.98").status, 201);
    for (language, said) in [("en", "Your network is on list.test"), ("de", "Dein Netz steht auf list.test")]
    {
        let headers = [("X-Forwarded-For", "192.0.2.99"), ("Accept-Language", language)];
        let page = site.submit("target=hidden.person%40mailbox.example&days=1", &headers);
        assert_eq!(page.status, 403);
        assert!(page.body.contains(said), "{}", page.body);
    }
}
