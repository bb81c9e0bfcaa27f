//! What is set is what happens: keys of the configuration, seen from outside. The limits of a session
//! are in `tests/dialogues/` and `tests/limits.rs`, the waits for the smarthost in
//! `tests/smarthost_faults.rs`.

use std::time::Duration;

use serde_json::{Value, json};
use tempalias::alias::Limits;
use tempalias::clock;

use crate::support::appliance::Appliance;
use crate::support::client::Client;
use crate::support::smarthost::Smarthost;
use crate::support::wait;

/// An appliance with `settings`; no message gets as far as its smarthost.
fn appliance(settings: &[(&str, &str)]) -> Appliance {
    Appliance::start_with(Smarthost::start().address(), settings)
}

/// An alias made through the API.
fn create(appliance: &Appliance, order: &Value) -> Value {
    let mut response = ureq::post(format!("http://{}/aliases", appliance.http))
        .send_json(order)
        .expect("the API hands out an alias");
    response.body_mut().read_json().expect("the answer is JSON")
}

#[test]
fn aliases_live_as_long_and_forward_as_often_as_the_operator_allows() {
    let appliance = appliance(&[("aliases.max_days", "7"), ("aliases.max_usage", "3")]);
    let made = create(&appliance, &json!({"target": "target@mailbox.test", "days": 8, "max-usage": 4}));
    assert_eq!((&made["days"], &made["max_usage"]), (&json!(7), &json!(3)));
    let output = appliance.run(&["alias", "add", "--target", "t@mailbox.test", "--days", "8", "--json"]);
    let made: Value = serde_json::from_slice(&output.stdout).expect("the answer is JSON");
    assert_eq!(made["days"], 7);
}

#[test]
fn names_have_the_length_that_is_set() {
    for length in ["5", "9"] {
        let appliance = appliance(&[("aliases.initial_length", length)]);
        let name = appliance.alias("target@mailbox.test", 1).name().len();
        assert_eq!(name.to_string(), length);
    }
}

#[test]
fn what_is_over_is_purged_again_and_again() {
    let appliance = appliance(&[("aliases.purge_interval", "\"1s\"")]);
    let start = clock::now() - Duration::from_secs(3600);
    let end = clock::now() - Duration::from_secs(60);
    let limits = Limits { valid_from: start, valid_until: Some(end), max_usage: None };
    let listed = || {
        let output = appliance.run(&["alias", "list", "--json"]);
        String::from_utf8(output.stdout).expect("the list is text").lines().count()
    };
    // The first may be caught by the purge at the start; the second cannot.
    for _ in 0..2 {
        appliance.alias_issued_at(start, "target@mailbox.test", limits);
        wait::until_equal("aliases", 0, listed);
    }
}

#[test]
fn a_client_may_be_idle_for_the_time_that_is_set() {
    let appliance = appliance(&[("smtp.idle_timeout", "\"1s\"")]);
    let mut client = Client::hello(appliance.smtp);
    client.expect("421 4.4.2");
    client.expect_close();
}

#[test]
fn a_message_may_be_as_large_as_is_set() {
    let smarthost = Smarthost::start();
    let appliance = Appliance::start_with(smarthost.address(), &[("smtp.max_size", "\"10 KiB\"")]);
    let alias = appliance.alias("target@mailbox.test", 1).email;
    let mut client = Client::connect(appliance.smtp);
    client.expect("220 mx.alias.test");
    let offers = client.command("EHLO client.test", "250").text;
    assert!(offers.lines().any(|line| line.ends_with("SIZE 10240")), "{offers}");
    client.command("MAIL FROM:<sender@client.test> SIZE=10241", "552 5.3.4");
    client.command("MAIL FROM:<sender@client.test> SIZE=10240", "250");
    client.command(&format!("RCPT TO:<{alias}>"), "250");
    client.command("DATA", "354");
    client.send(format!("Subject: large\r\n\r\n{}\r\n.\r\n", "x".repeat(10_240)));
    client.expect("552 5.3.4");
}

#[test]
fn the_postmaster_is_who_is_set() {
    let smarthost = Smarthost::start();
    let appliance =
        Appliance::start_with(smarthost.address(), &[("postmaster", "\"somebody.else@mailbox.test\"")]);
    assert_eq!(Client::hello(appliance.smtp).deliver("postmaster@second.test").code(), 250);
    assert_eq!(smarthost.record().messages[0].recipients, ["somebody.else@mailbox.test"]);
}

#[test]
fn a_smarthost_in_brackets_is_the_one_without() {
    let smarthost = Smarthost::start();
    let mut appliance = Appliance::start(&smarthost);
    let alias = appliance.alias("me@mailbox.test", 1);
    assert!(appliance.stop().success());
    appliance.restart_with(&[("TEMPALIAS_SMARTHOST__HOST", "[127.0.0.1]")]);
    assert_eq!(Client::hello(appliance.smtp).deliver(&alias.email).code(), 250);
    assert_eq!(smarthost.accepted(), 1);
}
