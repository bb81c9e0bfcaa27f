//! Faults at random, on both sides at once: clients that hang up, dribble and dawdle, a smarthost
//! that refuses, falls silent and talks nonsense, holders who change their aliases meanwhile.
//! Afterwards the books must balance ([`books`]).
//!
//! A seed decides what each letter's client does ([`letter`]) and in what mood each connection to
//! the smarthost is ([`moods`]); who meets whom is left to the machine. `scripts/faults` runs it at
//! length.

mod books;
mod letter;
mod moods;
mod sender;

use std::env;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::support::appliance::{Alias, Appliance, CROWD};
use crate::support::smarthost::Smarthost;
use crate::support::wait;
use books::Books;
use letter::{Conduct, Letter, Plan};
use sender::Sender;

/// Letters on their way at the same time.
const SENDERS: usize = 12;

const ALIASES: usize = 20;

/// Largest message. Clients have some that are larger.
const MAX_SIZE: usize = 64 * 1024;

const SETTINGS: &[(&str, &str)] = &[
    ("smtp.max_size", "\"64 KiB\""),
    ("smtp.unknown_recipients_per_hour", "0"),
    ("aliases.max_usage", "100000"),
    // The one client that all senders are has a quarter: now and then one of them has to wait.
    ("smarthost.max_connections", "32"),
    // So that a silent smarthost does not make a slow test.
    ("smarthost.connect_timeout", "\"1s\""),
    ("smarthost.command_timeout", "\"1s\""),
    ("smarthost.write_timeout", "\"1s\""),
    ("smarthost.final_timeout", "\"1s\""),
];

/// What a run is made of.
struct Run {
    seed: u64,
    letters: usize,
    time: Duration,
}

/// One alias, and what was ever granted to it.
struct Account {
    alias: Alias,
    target: String,
    granted: AtomicUsize,
    revoked: AtomicBool,
}

#[test]
fn the_books_balance_after_faults_on_both_sides() {
    let letters = 400;
    Run { seed: variable("FAULTS_SEED", rand::random()), letters, time: Duration::from_secs(60) }.go();
}

#[test]
#[ignore = "takes minutes: scripts/faults"]
fn the_books_balance_after_many_faults() {
    let letters = variable("FAULTS_LETTERS", 12_000);
    let time = Duration::from_secs(variable("FAULTS_SECONDS", 1200));
    Run { seed: variable("FAULTS_SEED", rand::random()), letters, time }.go();
}

fn variable<T: std::str::FromStr>(name: &str, default: T) -> T {
    let Ok(text) = env::var(name) else { return default };
    text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}"))
}

impl Run {
    fn go(self) {
        eprintln!("seed {}: FAULTS_SEED repeats its choices", self.seed);
        let start = Instant::now();
        let smarthost = Smarthost::start();
        let mut appliance = Appliance::start_with(smarthost.address(), &[CROWD, SETTINGS].concat());
        let accounts = self.open_accounts(&appliance);
        let (sockets, descriptors) = (appliance.sockets(), appliance.descriptors());
        smarthost.moods(moods::by_number(self.seed));

        let letters = self.send(&appliance, &accounts);

        wait::until_equal("open sockets", sockets, || appliance.sockets());
        wait::until_equal("open connections", 0, || smarthost.count(|record| record.open));
        // The ledger keeps its 16 readers, of two files each, open once it has needed them.
        let after = appliance.descriptors();
        assert!(after <= descriptors + 32, "{after} descriptors are open, before it were {descriptors}");
        let books = Books::balance(&appliance, &accounts, &letters, &smarthost.record());
        eprintln!("seed {}: {} letters in {:.0?}", self.seed, letters.len(), start.elapsed());
        eprintln!("{books}");
        eprintln!(
            "descriptors: {descriptors} before, {after} after; memory: {} KiB now, {} KiB at most",
            appliance.memory(),
            appliance.peak_memory()
        );
        books.assert_eventful();
        assert_eq!(appliance.logged("panicked"), 0, "{:#?}", appliance.stderr());
        assert!(appliance.stop().success());
        assert!(letters.len() >= self.letters, "the time was up after {} letters", letters.len());
    }

    /// Some may be used up soon, and some never.
    fn open_accounts(&self, appliance: &Appliance) -> Vec<Account> {
        let mut rng = StdRng::seed_from_u64(self.seed);
        let mut open = |number| {
            let target = format!("t{number}@mailbox.test");
            let uses = if number % 4 == 0 { rng.random_range(1..20) } else { rng.random_range(50..10_000) };
            let (alias, revoked) = (appliance.alias(&target, uses), AtomicBool::new(false));
            Account { alias, target, granted: AtomicUsize::new(uses as usize), revoked }
        };
        (0..ALIASES).map(&mut open).collect()
    }

    /// Sends all letters, or as many as there is time for, while holders meddle with their aliases.
    fn send(&self, appliance: &Appliance, accounts: &[Account]) -> Vec<Letter> {
        let deadline = Instant::now() + self.time;
        let (sent, over) = (AtomicUsize::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| self.meddle(appliance, accounts, &sent, &over));
            let senders: Vec<_> = (0..SENDERS)
                .map(|sender| {
                    let sent = &sent;
                    scope.spawn(move || {
                        let mut letters = Vec::new();
                        let mut client = Sender::new(appliance.smtp);
                        for number in (sender..self.letters).step_by(SENDERS) {
                            if Instant::now() > deadline {
                                break;
                            }
                            letters.push(client.send(Plan::new(self.seed, number), accounts));
                            sent.fetch_add(1, Ordering::Relaxed);
                        }
                        letters
                    })
                })
                .collect();
            let letters = senders.into_iter().map(|sender| sender.join());
            let letters: Vec<_> = letters.collect();
            over.store(true, Ordering::Relaxed);
            letters.into_iter().flat_map(|letters| letters.expect("a sender does not panic")).collect()
        })
    }

    /// Every few letters: more or fewer uses, a pause or its end, a revocation, SIGHUP.
    fn meddle(&self, appliance: &Appliance, accounts: &[Account], sent: &AtomicUsize, over: &AtomicBool) {
        let mut rng = StdRng::seed_from_u64(self.seed ^ 0x6d65_6464_6c65);
        let mut next = 0;
        loop {
            next += rng.random_range(1..12);
            wait::until("a few more letters are sent", || {
                (over.load(Ordering::Relaxed) || sent.load(Ordering::Relaxed) >= next).then_some(())
            });
            if over.load(Ordering::Relaxed) {
                return;
            }
            let number = rng.random_range(0..accounts.len());
            let account = &accounts[number];
            let is_there = !account.revoked.load(Ordering::Relaxed);
            let wanted = if is_there { 200 } else { 404 };
            match rng.random_range(0..20) {
                0 => appliance.hang_up(),
                // Most of them stay, so that there is always somebody to write to.
                1 if is_there && number < 3 && next > self.letters / 4 => {
                    account.revoked.store(true, Ordering::Relaxed);
                    appliance.revoke(&account.alias);
                }
                2..9 => {
                    let most = if rng.random_ratio(1, 8) { 50 } else { 5000 };
                    let uses = rng.random_range(1..most);
                    account.granted.fetch_max(uses, Ordering::Relaxed);
                    let (status, answer) = appliance.amend(&account.alias, &json!({"max-usage": uses}));
                    assert_eq!(status, wanted, "{answer}");
                }
                choice => {
                    let (status, answer) = appliance.amend(&account.alias, &json!({"paused": choice == 9}));
                    assert_eq!(status, wanted, "{answer}");
                }
            }
        }
    }
}
