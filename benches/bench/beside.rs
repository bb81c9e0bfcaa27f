//! `--beside PROGRAM`: this build and another one of the same program, in turns, under the same load.
//!
//! Throughput on a machine that the load generator shares says little about a few per cent; the processor
//! time of the program itself for each operation says more. Two rounds that follow each other are compared
//! with each other, and of these ratios the median counts.

use std::path::Path;
use std::time::Duration;

use crate::appliance::{Alias, Appliance, PROGRAM};
use crate::http;
use crate::peers::Peer;
use crate::rows::directory_of;
use crate::smtp::{self, Idle, Talk, sessions_per_second};

/// Pairs of rounds, after one to warm up.
const PAIRS: usize = 11;
const ROUND: Duration = Duration::from_secs(2);

/// Puts load on a program for a round: operations a second.
type Load = fn(&Contestant) -> f64;

const LOADS: &[(&str, Load)] = &[
    ("refused", |contestant| {
        let talk = Talk::Envelope { rcpt: "unknown@bench.test".into(), code: *b"550" };
        sessions_per_second(contestant.appliance.smtp, 50, ROUND, &talk)
    }),
    ("delivered", |contestant| messages(contestant, 20, 4096)),
    ("large", |contestant| messages(contestant, 4, 10 << 20)),
    ("create", |contestant| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/create.lua");
        http::requests_per_second(&contestant.appliance.url("/aliases"), 100, ROUND, &["-s", script])
    }),
    ("look_up", |contestant| {
        let Alias { aid, key, .. } = &contestant.alias;
        let (url, key) =
            (contestant.appliance.url(&format!("/aliases/{aid}")), format!("Authorization: Bearer {key}"));
        http::requests_per_second(&url, 100, ROUND, &["-H", &key])
    }),
    ("page", |contestant| {
        let url = contestant.appliance.url("/");
        http::requests_per_second(&url, 100, ROUND, &["-H", "Accept-Encoding: gzip"])
    }),
];

/// A build of the program, running.
struct Contestant {
    appliance: Appliance,
    alias: Alias,
}

/// What a round has shown.
#[derive(Clone, Copy)]
struct Figures {
    per_second: f64,
    /// Processor time of the program for an operation, in microseconds.
    micros: f64,
}

/// Compares this build with `other` in the rows that are `wanted`.
pub fn run(other: &Path, wanted: impl Fn(&str) -> bool) {
    println!("| row | operations | processor time each | this build | the other |\n|---|---|---|---|---|");
    let sink = Peer::sink();
    let start = |program: &Path, name| {
        let appliance = Appliance::start_of(program, &directory_of(name), sink.address);
        let alias = appliance.alias();
        Contestant { appliance, alias }
    };
    for (name, load) in LOADS.iter().filter(|(name, _)| wanted(name)) {
        let (this, other) = (start(Path::new(PROGRAM), "this"), start(other, "other"));
        compare(name, *load, &this, &other);
    }
    if wanted("memory") {
        let [this, other] = [Path::new(PROGRAM), other].map(|program| {
            let contestant = start(program, "memory");
            let idle = contestant.appliance.memory("VmRSS");
            let crowd = Idle::open(contestant.appliance.smtp, 10_000);
            let crowded = contestant.appliance.memory("VmRSS");
            drop(crowd);
            format!("{idle:.1} MiB idle, {crowded:.1} MiB with 10,000 sessions")
        });
        println!("| memory | | | {this} | {other} |");
    }
}

fn messages(contestant: &Contestant, clients: usize, octets: usize) -> f64 {
    let talk = Talk::Message { rcpt: contestant.alias.email.clone(), text: smtp::text(octets) };
    sessions_per_second(contestant.appliance.smtp, clients, ROUND, &talk)
}

fn compare(name: &str, load: Load, this: &Contestant, other: &Contestant) {
    let mut pairs = Vec::with_capacity(PAIRS);
    for round in 0..=PAIRS {
        // Each goes first as often as the other.
        let pair = if round % 2 == 0 {
            let this = measure(load, this);
            (this, measure(load, other))
        } else {
            let other = measure(load, other);
            (measure(load, this), other)
        };
        if round > 0 {
            pairs.push(pair);
        }
    }
    let of = |figure: fn(&(Figures, Figures)) -> f64| median(pairs.iter().map(figure).collect());
    println!(
        "| {name} | {:.3} × | {:.3} × | {:.0}/s, {:.1} µs | {:.0}/s, {:.1} µs |",
        of(|(this, other)| this.per_second / other.per_second),
        of(|(this, other)| this.micros / other.micros),
        of(|(this, _)| this.per_second),
        of(|(this, _)| this.micros),
        of(|(_, other)| other.per_second),
        of(|(_, other)| other.micros),
    );
}

fn measure(load: Load, contestant: &Contestant) -> Figures {
    let before = contestant.appliance.processor_time();
    let begin = std::time::Instant::now();
    let per_second = load(contestant);
    let operations = per_second * begin.elapsed().as_secs_f64();
    let time = contestant.appliance.processor_time() - before;
    Figures { per_second, micros: time.as_secs_f64() * 1e6 / operations }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
