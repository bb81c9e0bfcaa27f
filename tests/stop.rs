//! The orderly stop: nothing new is taken, what is in DATA is finished, the rest is told to come
//! again.

#[expect(dead_code, reason = "each test program uses its part of the kit")]
mod support;

use support::appliance::Appliance;
use support::client::Client;
use support::smarthost::{Behaviour, Smarthost, Stage};
use support::wait;

#[test]
fn a_message_in_the_middle_of_its_text_is_finished_and_everybody_else_told_to_come_again() {
    let smarthost = Smarthost::start();
    let mut appliance = Appliance::start(&smarthost);
    let alias = appliance.alias("target@mailbox.test", 2);
    let mut busy = Client::hello(appliance.smtp);
    let mut idle = Client::hello(appliance.smtp);
    let mut waiting = Client::hello(appliance.smtp);
    waiting.command("MAIL FROM:<sender@client.test>", "250");
    waiting.command(&format!("RCPT TO:<{}>", alias.email), "250");
    busy.begin(&alias.email);
    busy.send("Subject: the last\r\n\r\n");

    appliance.terminate();
    for client in [&mut idle, &mut waiting] {
        client.expect("421 4.3.2");
        client.expect_close();
    }
    wait::until("nobody new is let in", || Client::try_connect(appliance.smtp).err());
    busy.send("word\r\n.\r\n");
    busy.expect("250 2.0.0");
    busy.expect("421 4.3.2");
    busy.expect_close();
    assert_eq!(appliance.end().code(), Some(0));

    assert_eq!(smarthost.accepted(), 1);
    appliance.restart();
    assert_eq!(appliance.uses_left(&alias), 1);
}

#[test]
fn the_second_signal_ends_it_at_once_and_costs_nothing() {
    let smarthost = Smarthost::start();
    let mut appliance = Appliance::start(&smarthost);
    let alias = appliance.alias("target@mailbox.test", 1);
    let mut busy = Client::hello(appliance.smtp);
    let mut idle = Client::hello(appliance.smtp);
    busy.begin(&alias.email);
    busy.send("Subject: never ends\r\n\r\n");

    appliance.terminate();
    idle.expect("421 4.3.2");
    appliance.terminate();
    assert_eq!(appliance.end().code(), Some(0));
    busy.expect_close();
    assert_eq!(smarthost.count(|record| record.messages.len()), 0);
    appliance.restart();
    assert_eq!(appliance.uses_left(&alias), 1);
}

#[test]
fn a_session_that_waits_for_a_silent_smarthost_is_no_reason_to_stay() {
    let smarthost = Smarthost::start();
    smarthost.set(Stage::Rcpt, Behaviour::Silent);
    // Longer than the kit's patience with a stop.
    let settings = [("smarthost.command_timeout", "\"5m\"")];
    let mut appliance = Appliance::start_with(smarthost.address(), &settings);
    let alias = appliance.alias("target@mailbox.test", 1);
    let mut client = Client::hello(appliance.smtp);
    client.command("MAIL FROM:<sender@client.test>", "250");
    client.send(format!("RCPT TO:<{}>\r\n", alias.email));
    wait::until_equal("recipients", 1, || smarthost.count(|record| record.heard("RCPT")));

    appliance.terminate();
    client.expect("421 4.3.2");
    client.expect_close();
    assert_eq!(appliance.end().code(), Some(0));
}
