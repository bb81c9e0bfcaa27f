//! What is measured, against whom, and how it should come out.

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use crate::appliance::{Alias, Appliance, PROGRAM};
use crate::peers::Peer;
use crate::report::Report;
use crate::report::Target::{AtLeast, AtMost};
use crate::smtp::{self, Idle, Talk, sessions_per_second};
use crate::{directory, http, ledger};

/// Rounds of each contestant; the median counts.
pub const ROUNDS: usize = 5;

/// How long a round takes.
pub const ROUND: Duration = Duration::from_secs(3);

/// Whom Postfix takes mail for; a sink takes it for everybody.
const KNOWN: &str = "known@bench.test";

type Row = fn(&mut Report);

/// Every row, by name.
pub const ALL: &[(&str, Row)] = &[
    ("refused", refused),
    ("delivered", delivered),
    ("large", large),
    ("api", api),
    ("page", page),
    ("memory", memory),
    ("idle", idle),
    ("crowd", crowd),
    ("ledger", ledger::row),
];

/// Lets the contestants take turns after one round to warm up; the median of each.
pub fn medians<const N: usize>(mut contestants: [&mut dyn FnMut() -> f64; N]) -> [f64; N] {
    let mut figures = [(); N].map(|()| Vec::with_capacity(ROUNDS));
    for round in 0..=ROUNDS {
        for (contestant, figures) in contestants.iter_mut().zip(&mut figures) {
            let figure = contestant();
            if round > 0 {
                figures.push(figure);
            }
        }
    }
    figures.map(|mut figures| {
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    })
}

pub fn directory_of(row: &str) -> PathBuf {
    let dir = directory().join(row);
    fs::create_dir_all(&dir).expect("a directory can be made");
    dir
}

/// Sessions that end with a refused RCPT: most of what an MX for throw-away addresses does.
fn refused(report: &mut Report) {
    let dir = directory_of("refused");
    let (sink, postfix) = (Peer::smtp_sink(), Peer::postfix(&dir.join("postfix")));
    let appliance = Appliance::start(&dir.join("tempalias"), sink.address);
    let refused = Talk::Envelope { rcpt: "unknown@bench.test".into(), code: *b"550" };
    let taken = Talk::Envelope { rcpt: "unknown@bench.test".into(), code: *b"250" };
    let [ours, theirs, bare] = medians([
        &mut || sessions_per_second(appliance.smtp, 50, ROUND, &refused),
        &mut || sessions_per_second(postfix.address, 50, ROUND, &refused),
        &mut || sessions_per_second(sink.address, 50, ROUND, &taken),
    ]);
    let figures = format!("{ours:.0}/s; Postfix {theirs:.0}/s; smtp-sink, which takes all, {bare:.0}/s");
    report.bar("refused_vs_postfix", ours / theirs, " ×", AtLeast(5.0), figures.clone());
    report.bar("refused_vs_smtp_sink", ours / bare, " ×", AtLeast(1.0), figures);
}

/// Messages of 4 KiB, one in a session, each counted durably before it is delivered.
fn delivered(report: &mut Report) {
    let dir = directory_of("delivered");
    let postfix = Peer::postfix(&dir.join("postfix"));
    let (fast, plain) =
        (Behind::start("delivered-fast", Peer::sink()), Behind::start("delivered-plain", Peer::smtp_sink()));
    let text = smtp::text(4096);
    let rate = |server, rcpt: &str| {
        sessions_per_second(server, 20, ROUND, &Talk::Message { rcpt: rcpt.to_owned(), text: text.clone() })
    };
    let mut answered = 0.0;
    let [ours, queued, direct, ours_plain, direct_plain] = medians([
        &mut || {
            let rate = rate(fast.appliance.smtp, &fast.alias.email);
            answered += rate * ROUND.as_secs_f64();
            rate
        },
        &mut || rate(postfix.address, KNOWN),
        &mut || rate(fast.sink.address, KNOWN),
        &mut || rate(plain.appliance.smtp, &plain.alias.email),
        &mut || rate(plain.sink.address, KNOWN),
    ]);
    // Rounds end a little late.
    assert!(fast.appliance.used(&fast.alias) as f64 >= answered, "a message was not counted");
    let figures = format!("{ours:.0}/s; Postfix into its queue {queued:.0}/s");
    report.bar("delivered_vs_postfix", ours / queued, " ×", AtLeast(3.0), figures);
    let figures = format!("{ours_plain:.0}/s; straight into smtp-sink {direct_plain:.0}/s");
    report.bar("delivered_vs_smtp_sink", ours_plain / direct_plain, " ×", AtLeast(0.6), figures);
    let figures = format!("{ours:.0}/s; straight into the bench's own sink {direct:.0}/s");
    report.bar("delivered_vs_fast_sink", ours / direct, " ×", AtLeast(0.6), figures);
}

/// Messages of 10 MiB: octets a second.
fn large(report: &mut Report) {
    const SIZE: usize = 10 << 20;
    let (fast, plain) =
        (Behind::start("large-fast", Peer::sink()), Behind::start("large-plain", Peer::smtp_sink()));
    let text = smtp::text(SIZE);
    let rate = |server, rcpt: &str| {
        let talk = Talk::Message { rcpt: rcpt.to_owned(), text: text.clone() };
        sessions_per_second(server, 4, ROUND, &talk) * SIZE as f64 / f64::from(1 << 20)
    };
    let [ours, direct, ours_plain, direct_plain] = medians([
        &mut || rate(fast.appliance.smtp, &fast.alias.email),
        &mut || rate(fast.sink.address, KNOWN),
        &mut || rate(plain.appliance.smtp, &plain.alias.email),
        &mut || rate(plain.sink.address, KNOWN),
    ]);
    let figures = format!("{ours_plain:.0} MiB/s; straight into smtp-sink {direct_plain:.0} MiB/s");
    report.bar("large_vs_smtp_sink", ours_plain / direct_plain, " ×", AtLeast(0.7), figures);
    let figures = format!("{ours:.0} MiB/s; straight into the bench's own sink {direct:.0} MiB/s");
    report.bar("large_vs_fast_sink", ours / direct, " ×", AtLeast(0.7), figures);
}

/// An appliance in front of a sink, and an alias of it.
struct Behind {
    appliance: Appliance,
    alias: Alias,
    sink: Peer,
}

impl Behind {
    fn start(name: &str, sink: Peer) -> Self {
        let appliance = Appliance::start(&directory_of(name), sink.address);
        let alias = appliance.alias();
        Behind { appliance, alias, sink }
    }
}

/// The API against the least that the same server can answer.
fn api(report: &mut Report) {
    let dir = directory_of("api");
    let sink = Peer::sink();
    let appliance = Appliance::start(&dir.join("tempalias"), sink.address);
    let alias = appliance.alias();
    let (create, health) = (appliance.url("/aliases"), appliance.url("/healthz"));
    let alias_url = appliance.url(&format!("/aliases/{}", alias.aid));
    let key = format!("Authorization: Bearer {}", alias.key);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/create.lua");
    let [creations, look_ups, bare] = medians([
        &mut || http::requests_per_second(&create, 100, ROUND, &["-s", script]),
        &mut || http::requests_per_second(&alias_url, 100, ROUND, &["-H", &key]),
        &mut || http::requests_per_second(&health, 100, ROUND, &[]),
    ]);
    let figures = format!("POST /aliases {creations:.0}/s; GET /healthz {bare:.0}/s");
    report.bar("create_vs_healthz", creations / bare, " ×", AtLeast(0.4), figures);
    let figures = format!("GET /aliases/… {look_ups:.0}/s; GET /healthz {bare:.0}/s");
    report.bar("look_up_vs_healthz", look_ups / bare, " ×", AtLeast(0.7), figures);
}

/// The page, compressed, against nginx with the same octets on its disk.
fn page(report: &mut Report) {
    let dir = directory_of("page");
    let sink = Peer::sink();
    let appliance = Appliance::start(&dir.join("tempalias"), sink.address);
    let gzip = ["-H", "Accept-Encoding: gzip"];
    let mut response =
        ureq::get(appliance.url("/")).header("Accept-Encoding", "gzip").call().expect("the page is served");
    let compressed = response.body_mut().read_to_vec().expect("the page is whole");
    let mut whole = Vec::new();
    flate2::read::GzDecoder::new(compressed.as_slice())
        .read_to_end(&mut whole)
        .expect("the page is compressed with gzip");
    let nginx = Peer::nginx(&dir.join("nginx"), &whole, &compressed);
    let theirs = format!("http://{}/", nginx.address);
    let [ours, theirs] =
        medians([&mut || http::requests_per_second(&appliance.url("/"), 100, ROUND, &gzip), &mut || {
            http::requests_per_second(&theirs, 100, ROUND, &gzip)
        }]);
    let figures = format!("{ours:.0}/s; nginx {theirs:.0}/s, {} octets each", compressed.len());
    report.bar("page_vs_nginx", ours / theirs, " ×", AtLeast(1.0), figures);
}

/// What a hundred large messages at once take.
fn memory(report: &mut Report) {
    let dir = directory_of("memory");
    let sink = Peer::sink();
    let appliance = Appliance::start(&dir.join("tempalias"), sink.address);
    let alias = appliance.alias();
    let before = appliance.memory("VmRSS");
    appliance.forget_peak();
    let talk = Talk::Message { rcpt: alias.email.clone(), text: smtp::text(25 << 20) };
    // Each client one message, all begun at once.
    sessions_per_second(appliance.smtp, 100, Duration::ZERO, &talk);
    assert_eq!(appliance.used(&alias), 100);
    let peak = appliance.memory("VmHWM");
    let figures = format!("{before:.1} MiB before, {peak:.1} MiB at the peak");
    report.bar("hundred_large_messages_memory", peak - before, " MiB", AtMost(32.0), figures);
}

/// Nothing to do.
fn idle(report: &mut Report) {
    let dir = directory_of("idle");
    let sink = Peer::sink();
    let appliance = Appliance::start(&dir.join("tempalias"), sink.address);
    // The runtime's threads for blocking work end after ten seconds without any.
    thread::sleep(Duration::from_secs(12));
    let before = appliance.wake_ups();
    thread::sleep(Duration::from_secs(20));
    let wake_ups = appliance.wake_ups() - before;
    let memory = appliance.memory("VmRSS");
    report.bar("idle_memory", memory, " MiB", AtMost(20.0), "resident".into());
    report.bar("idle_wake_ups", wake_ups as f64, "", AtMost(0.0), "in 20 s, of all threads".into());
    let binary = fs::metadata(PROGRAM).expect("the program is a file").len();
    let figures = format!("{binary} octets");
    report.bar("binary_size", binary as f64 / f64::from(1 << 20), " MiB", AtMost(15.0), figures);
}

/// Ten thousand sessions that say nothing.
fn crowd(report: &mut Report) {
    let dir = directory_of("crowd");
    let sink = Peer::sink();
    let appliance = Appliance::start(&dir.join("tempalias"), sink.address);
    let crowd = Idle::open(appliance.smtp, 10_000);
    let memory = appliance.memory("VmRSS");
    report.bar("idle_sessions_memory", memory, " MiB", AtMost(64.0), "10,000 sessions, resident".into());
    let greetings = crowd.greetings(appliance.smtp, 1000);
    let (median, p99) = (milliseconds(greetings[500]), milliseconds(greetings[990]));
    let figures = format!("beside them; median {median:.2} ms");
    report.bar("idle_sessions_greeting_p99", p99, " ms", AtMost(50.0), figures);
}

pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
