//! Everything at once for a long time: descriptors, threads and memory must not grow. `cargo test`
//! soaks for some seconds, `scripts/soak` for two hours.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::appliance::{Appliance, CROWD};
use crate::support::certificates::Authority;
use crate::support::client::Client;
use crate::support::smarthost::Smarthost;
use crate::support::wait;

/// Between two rounds of one kind: a steady load, and ports enough for all connections.
const PAUSE: Duration = Duration::from_millis(25);

/// The same for what is rare.
const LONG_PAUSE: Duration = Duration::from_millis(500);

/// Sessions that say nothing; each round another takes the place of the oldest.
const IDLE: usize = 50;

const SETTINGS: &[(&str, &str)] = &[
    ("aliases.max_usage", "100000000"),
    ("aliases.purge_interval", "\"3s\""),
    ("smtp.unknown_recipients_per_hour", "0"),
    ("metrics.listen", "[\"127.0.0.1:0\"]"),
    ("log.level", "\"error\""),
];

/// How long, and what is flat.
struct Plan {
    /// All of it.
    time: Duration,
    /// Between two samples.
    period: Duration,
    /// Samples that do not count: caches fill, the allocator finds its size.
    warm_up: usize,
    /// What the memory of the last third may have on top of the first third's: a share, and KiB.
    growth: (f64, f64),
}

/// What the process took at one moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    descriptors: usize,
    threads: usize,
    /// In KiB.
    memory: u64,
}

impl Sample {
    fn of(appliance: &Appliance) -> Self {
        Sample {
            descriptors: appliance.descriptors(),
            threads: appliance.threads(),
            memory: appliance.memory(),
        }
    }
}

/// One kind of load, done round after round.
struct Kind {
    name: &'static str,
    round: fn(&Load),
    pause: Duration,
}

const KINDS: [Kind; 8] = [
    Kind { name: "delivered", round: Load::deliver, pause: PAUSE },
    Kind { name: "refused", round: Load::refuse, pause: PAUSE },
    Kind { name: "aborted", round: Load::abort, pause: PAUSE },
    Kind { name: "tls", round: Load::encrypt, pause: PAUSE },
    Kind { name: "api", round: Load::use_the_api, pause: PAUSE },
    Kind { name: "page", round: Load::look_at_the_page, pause: PAUSE },
    Kind { name: "metrics", round: Load::scrape, pause: LONG_PAUSE },
    Kind { name: "reload", round: Load::reload, pause: LONG_PAUSE },
];

/// What the rounds need, and how many there were of each kind.
struct Load {
    appliance: Appliance,
    smarthost: Smarthost,
    authority: Authority,
    alias: String,
    is_over: AtomicBool,
    rounds: [AtomicU64; KINDS.len()],
}

impl Load {
    fn deliver(&self) {
        let mut client = Client::hello(self.appliance.smtp);
        for _ in 0..3 {
            assert_eq!(client.deliver(&self.alias).code(), 250);
        }
        client.command("QUIT", "221");
        self.smarthost.forget();
    }

    fn refuse(&self) {
        let mut client = Client::hello(self.appliance.smtp);
        client.command("MAIL FROM:<sender@client.test>", "250");
        for name in ["nobody", "nobody-else"] {
            client.command(&format!("RCPT TO:<{name}@alias.test>"), "550");
        }
        client.command("RCPT TO:<somebody@elsewhere.test>", "550");
        client.command("QUIT", "221");
    }

    fn abort(&self) {
        let mut client = Client::hello(self.appliance.smtp);
        client.begin(&self.alias);
        client.send("Subject: never ends\r\n\r\nhalf a ");
    }

    fn encrypt(&self) {
        let mut client = Client::encrypted(self.appliance.smtp, &self.authority.client());
        assert_eq!(client.deliver(&self.alias).code(), 250);
    }

    fn use_the_api(&self) {
        let url = format!("http://{}/aliases", self.appliance.http);
        let order = json!({"target": "target@mailbox.test", "days": 1, "max-usage": 3});
        let made = ureq::post(&url).send_json(order).expect("the API hands out an alias");
        let made: serde_json::Value = made.into_body().read_json().expect("the answer is JSON");
        let field = |name: &str| made[name].as_str().expect("it is text").to_owned();
        let (alias, key) = (format!("{url}/{}", field("aid")), format!("Bearer {}", field("updatekey")));
        ureq::get(&alias).header("Authorization", &key).call().expect("its holder sees it");
        ureq::delete(&alias).header("Authorization", &key).call().expect("its holder deletes it");
        let refused = ureq::get(&alias).header("Authorization", &key).call();
        assert!(matches!(refused, Err(ureq::Error::StatusCode(404))), "{refused:?}");
    }

    fn look_at_the_page(&self) {
        for path in ["/", "/de/about", "/site.json", "/healthz", "/readyz"] {
            let url = format!("http://{}{path}", self.appliance.http);
            ureq::get(&url).call().expect("it is there").into_body().read_to_vec().expect("it can be read");
        }
    }

    fn scrape(&self) {
        let url = format!("http://{}/metrics", self.appliance.metrics());
        let text = ureq::get(&url).call().expect("they are there").into_body().read_to_string();
        assert!(text.expect("it is text").contains("tempalias_smtp_sessions_open "));
    }

    fn reload(&self) {
        self.appliance.hang_up();
    }

    /// Goes on with one kind, round after round.
    fn repeat(&self, kind: usize) {
        let Kind { round, pause, .. } = KINDS[kind];
        while !self.is_over.load(Ordering::Relaxed) {
            round(self);
            self.rounds[kind].fetch_add(1, Ordering::Relaxed);
            thread::sleep(pause);
        }
    }

    /// Sessions that say nothing, one of them always the last to come.
    fn idle(&self) {
        let mut sessions = std::collections::VecDeque::new();
        while !self.is_over.load(Ordering::Relaxed) {
            sessions.push_back(Client::hello(self.appliance.smtp));
            if sessions.len() > IDLE {
                sessions.pop_front();
            }
            thread::sleep(PAUSE);
        }
    }
}

/// Under load for as long as `plan` says; afterwards nothing may be left of it.
fn soak(plan: &Plan) {
    let (smarthost, authority) = (Smarthost::start(), Authority::new());
    let files = authority.certify(&["mx.alias.test"]).files();
    let certificate = files.settings();
    let certificate = certificate.each_ref().map(|(key, value)| (*key, value.as_str()));
    let settings = [SETTINGS, CROWD, &certificate].concat();
    let appliance = Appliance::start_with(smarthost.address(), &settings);
    let alias = appliance.alias("target@mailbox.test", 100_000_000).email;
    let (is_over, rounds) = (AtomicBool::new(false), Default::default());
    let load = Arc::new(Load { appliance, smarthost, authority, alias, is_over, rounds });
    // All that is made when it is first needed is there now.
    for Kind { round, .. } in KINDS {
        round(&load);
    }
    let quiet = Sample::of(&load.appliance);

    let workers: Vec<_> = (0..KINDS.len())
        .map(|kind| (Arc::clone(&load), kind))
        .map(|(load, kind)| thread::spawn(move || load.repeat(kind)))
        .collect();
    let idle = Arc::clone(&load);
    let idle = thread::spawn(move || idle.idle());
    let samples = watch(&load, plan);
    load.is_over.store(true, Ordering::Relaxed);
    for worker in workers.into_iter().chain([idle]) {
        worker.join().expect("no round fails");
    }

    let samples = &samples[plan.warm_up..];
    let third = samples.len() / 3;
    assert!(third > 0, "too short: {} samples", samples.len());
    let (first, last) = (&samples[..third], &samples[samples.len() - third..]);
    let (before, after) = (median(first), median(last));
    let (share, more) = plan.growth;
    let bound = before.memory as f64 * share + more;
    assert!(after.memory as f64 <= bound, "memory grows: {before:?}, {after:?}");
    assert!(after.descriptors <= before.descriptors + IDLE, "descriptors grow: {before:?}, {after:?}");
    assert!(after.threads <= before.threads + 2, "threads grow: {before:?}, {after:?}");
    // Idle connections to the smarthost are kept for five seconds, those of the web for ten.
    wait::until("all descriptors are given back", || {
        (load.appliance.descriptors() <= quiet.descriptors).then_some(())
    });
}

/// Takes a sample after each period, and prints it.
fn watch(load: &Load, plan: &Plan) -> Vec<Sample> {
    let names: String = KINDS.iter().map(|kind| format!("{:>10}", kind.name)).collect();
    eprintln!("{:>8}{:>12}{:>9}{:>12}{names}", "s", "descriptors", "threads", "memory KiB");
    let start = Instant::now();
    let mut samples = Vec::new();
    while start.elapsed() < plan.time {
        thread::sleep(plan.period);
        let sample = Sample::of(&load.appliance);
        let rounds: String =
            load.rounds.iter().map(|rounds| format!("{:>10}", rounds.load(Ordering::Relaxed))).collect();
        let Sample { descriptors, threads, memory } = sample;
        eprintln!("{:>8}{descriptors:>12}{threads:>9}{memory:>12}{rounds}", start.elapsed().as_secs());
        samples.push(sample);
    }
    samples
}

/// The middle of each figure.
fn median(samples: &[Sample]) -> Sample {
    let middle = |figure: fn(&Sample) -> u64| {
        let mut figures: Vec<_> = samples.iter().map(figure).collect();
        figures.sort_unstable();
        figures[figures.len() / 2]
    };
    Sample {
        descriptors: middle(|sample| sample.descriptors as u64) as usize,
        threads: middle(|sample| sample.threads as u64) as usize,
        memory: middle(|sample| sample.memory),
    }
}

/// So short a time shows what leaks with each session, request or reload; the allocator is still
/// growing, which is what the tolerance is for.
#[test]
fn nothing_grows_under_a_mixed_load() {
    let period = Duration::from_secs(1);
    soak(&Plan { time: 20 * period, period, warm_up: 6, growth: (1.2, 8192.0) });
}

#[test]
#[ignore = "hours: scripts/soak"]
fn nothing_grows_for_hours() {
    let minutes = std::env::var("SOAK_MINUTES").ok().and_then(|minutes| minutes.parse().ok()).unwrap_or(120);
    let period = Duration::from_secs(60);
    soak(&Plan {
        time: minutes * period,
        period,
        warm_up: (minutes / 10).max(1) as usize,
        growth: (1.05, 4096.0),
    });
}
