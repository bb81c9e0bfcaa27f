//! docs/smtp.md §4: `kill -9` at any moment, and at each step of a message's life: an alias never delivers
//! more than it was granted, what was answered is true for ever, and a crash costs at most the uses of the
//! messages in flight. `scripts/crash` runs it at length.

mod books;
mod load;

use std::collections::BTreeSet;
use std::env;
use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::support::appliance::{Appliance, CROWD};
use crate::support::smarthost::{Behaviour, Mood, Smarthost, Stage};
use crate::support::wait;
use books::Books;
use load::Load;

/// The steps of src/crash.rs.
const STEPS: &[&str] =
    &["envelope", "rcpt", "data", "text", "spent", "dot", "answered", "refused", "refunded"];

/// Clients at the same time, so also the most messages in flight.
const CLIENTS: usize = 8;

/// How one life of the appliance ends.
#[derive(Clone, Copy, Debug)]
enum Crash {
    /// At whatever it is doing then.
    After(Duration),
    /// When it has come so often to this step.
    At(&'static str, u32),
}

#[test]
fn a_killed_appliance_never_delivers_one_too_many() {
    run(2 * STEPS.len(), None);
}

#[test]
#[ignore = "takes minutes: scripts/crash"]
fn an_appliance_that_is_killed_hundreds_of_times_never_delivers_one_too_many() {
    run(variable("CRASH_ROUNDS").unwrap_or(200), Some(Duration::from_secs(1)));
}

/// So many lives, each of which has to begin within `start`.
fn run(rounds: usize, start: Option<Duration>) {
    let seed = variable("CRASH_SEED").unwrap_or_else(rand::random);
    eprintln!("to see the same crashes again: CRASH_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let smarthost = Smarthost::start();
    smarthost.moods(move |connection| mood(StdRng::seed_from_u64(seed ^ connection as u64)));
    let settings = [CROWD, &[("http.create_interval", "\"0s\""), ("aliases.max_usage", "100000")]].concat();
    let mut appliance = Appliance::start_with(smarthost.address(), &settings);
    let mut books = Books::open(&appliance, rounds);
    appliance.kill();

    let (mut slowest, mut came_to) = (Duration::ZERO, BTreeSet::new());
    for round in 0..rounds {
        let crash = match STEPS.get(round % (2 * STEPS.len())) {
            Some(step) => Crash::At(step, rng.random_range(1..8)),
            None => Crash::After(Duration::from_millis(rng.random_range(20..600))),
        };
        let begin = Instant::now();
        appliance.restart_with(&[("CRASH_AT", &crash.order())]);
        slowest = slowest.max(begin.elapsed());
        assert!(start.is_none_or(|most| begin.elapsed() <= most), "a start took {:?}", begin.elapsed());

        let load = Load::start(&appliance, &books, CLIENTS, rng.random());
        came_to.extend(crash.happen(&mut appliance));
        books.enter(load.stop());
        wait::until_equal("open connections", 0, || smarthost.count(|record| record.open));
        integrity(appliance.data_dir());
    }
    appliance.restart();
    assert_eq!(came_to.len(), STEPS.len().min(rounds), "only {came_to:?}");
    eprintln!("{rounds} crashes, the slowest start took {slowest:?}");
    books.balance(&appliance, &smarthost, rounds * CLIENTS);
}

impl Crash {
    /// For src/crash.rs.
    fn order(self) -> String {
        match self {
            Crash::After(_) => String::new(),
            Crash::At(step, times) => format!("{step}:{times}"),
        }
    }

    /// Waits for it; the step that was come to.
    fn happen(self, appliance: &mut Appliance) -> Option<&'static str> {
        let (patience, step) = match self {
            Crash::After(moment) => (moment, None),
            Crash::At(step, _) => (wait::PATIENCE, Some(step)),
        };
        let has_ended = appliance.ends_within(patience);
        appliance.kill();
        step.filter(|_| has_ended)
    }
}

/// One connection in ten refuses messages at the end, one in twenty a recipient.
fn mood(mut rng: StdRng) -> Mood {
    Box::new(move |stage| match stage {
        Stage::Dot if rng.random_bool(0.1) => Behaviour::Answer(451),
        Stage::Dot if rng.random_bool(0.03) => Behaviour::Drop,
        Stage::Rcpt if rng.random_bool(0.05) => Behaviour::Answer(550),
        _ => Behaviour::Accept,
    })
}

/// SQLite's own judgement of what the crash has left, on a copy: looking must not mend it.
fn integrity(data_dir: &Path) {
    let copy = TempDir::new().expect("a temporary directory can be made");
    for entry in std::fs::read_dir(data_dir).expect("the data directory can be listed").flatten() {
        // Another opener of the -shm file is not simulated: SQLite makes it anew from the log.
        let name = entry.file_name();
        if name.to_string_lossy().ends_with(".db") || name.to_string_lossy().ends_with("-wal") {
            std::fs::copy(entry.path(), copy.path().join(name)).expect("a file can be copied");
        }
    }
    let file = Connection::open(copy.path().join("tempalias.db")).expect("the copy opens");
    let verdict: String =
        file.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("SQLite can look");
    assert_eq!(verdict, "ok");
}

/// A number from the environment.
fn variable<T: std::str::FromStr>(name: &str) -> Option<T> {
    env::var(name).ok()?.parse().ok()
}
