//! docs/smtp.md §4: `kill -9` at any moment: an alias never delivers more than it was granted, what was answered with
//! 250 was delivered, and a crash costs at most the uses of the messages in flight.

#[expect(dead_code, reason = "each test program uses its part of the kit")]
mod support;

use std::collections::BTreeMap;
use std::env;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use support::appliance::{Alias, Appliance};
use support::client::Client;
use support::smarthost::Smarthost;
use support::wait;

const ROUNDS: u32 = 12;
const ALIASES: u32 = 40;
/// Clients at the same time, so also the most messages in flight.
const CLIENTS: usize = 8;

/// Every other alias has few uses, so that its last one is fought for; the others never end.
fn uses(number: u32) -> u32 {
    if number.is_multiple_of(2) { 15 } else { 100 }
}

/// Messages that were answered with 250, by alias.
type Answered = BTreeMap<String, u64>;

#[test]
fn a_killed_appliance_never_delivers_one_too_many() {
    let seed = seed();
    println!("to see the same moments again: TEMPALIAS_TEST_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let smarthost = Smarthost::start();
    let mut appliance = Appliance::start(&smarthost);
    let target = |number| format!("t{number}@mailbox.test");
    let aliases: Vec<_> = (0..ALIASES).map(|number| appliance.alias(&target(number), uses(number))).collect();

    let mut answered = Answered::new();
    for _ in 0..ROUNDS {
        let moment = Duration::from_millis(rng.random_range(20..600));
        let over = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let rng = StdRng::seed_from_u64(rng.random());
                spawn_client(rng, appliance.smtp, aliases.clone(), over.clone())
            })
            .collect();
        // Not a wait for anything: the moment of the crash.
        thread::sleep(moment);
        over.store(true, Ordering::Relaxed);
        appliance.kill();
        for client in clients {
            for (alias, messages) in client.join().expect("a client does not panic") {
                *answered.entry(alias).or_default() += messages;
            }
        }
        wait::until_equal("open connections", 0, || smarthost.count(|record| record.open));
        appliance.restart();
    }

    let delivered = delivered(&smarthost);
    let mut in_doubt = 0;
    for (number, alias) in (0..).zip(&aliases) {
        let granted = u64::from(uses(number));
        let left = appliance.uses_left(alias);
        let delivered = delivered.get(&target(number)).copied().unwrap_or_default();
        let answered = answered.get(&alias.email).copied().unwrap_or_default();
        println!("granted {granted}, left {left}, delivered {delivered}, answered with 250 {answered}");
        assert!(delivered + left <= granted, "one too many was, or could still be, delivered");
        assert!(answered <= delivered, "250 was said to a message that was not delivered");
        in_doubt += granted - left - delivered;
    }
    let in_flight = u64::from(ROUNDS) * CLIENTS as u64;
    assert!(in_doubt <= in_flight, "{in_doubt} uses lost, by at most {in_flight} messages in flight");
    assert!(
        delivered.values().sum::<u64>() > u64::from(ROUNDS),
        "next to nothing happened between the crashes"
    );
}

/// A client that delivers to random aliases until the appliance is gone. It begins no session once
/// it is `over`: the port could be somebody else's by then.
fn spawn_client(
    mut rng: StdRng,
    to: SocketAddr,
    aliases: Vec<Alias>,
    over: Arc<AtomicBool>,
) -> thread::JoinHandle<Answered> {
    thread::spawn(move || {
        let mut answered = Answered::new();
        while !over.load(Ordering::Relaxed) {
            let Ok(mut client) = Client::try_connect(to) else { break };
            // A greeting, an EHLO, a few messages.
            if client.reply_or_end().is_none() {
                break;
            }
            client.send("EHLO client.test\r\n");
            if client.reply_or_end().is_none() {
                break;
            }
            for _ in 0..5 {
                let alias = &aliases[rng.random_range(0..aliases.len())].email;
                match client.try_deliver(alias) {
                    Some(reply) if reply.code() == 250 => *answered.entry(alias.clone()).or_default() += 1,
                    _ => break,
                }
            }
        }
        answered
    })
}

/// Messages whose final dot the smarthost has seen, by target.
fn delivered(smarthost: &Smarthost) -> BTreeMap<String, u64> {
    let mut delivered = BTreeMap::new();
    for message in smarthost.record().messages {
        for recipient in message.recipients {
            *delivered.entry(recipient).or_default() += 1;
        }
    }
    delivered
}

/// Given, or the present moment.
fn seed() -> u64 {
    let given = env::var("TEMPALIAS_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("1970 is past");
        now.as_secs()
    })
}
