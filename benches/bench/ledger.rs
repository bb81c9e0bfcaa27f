//! Ten million aliases against next to none.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tempalias::alias::{AliasName, Limits};
use tempalias::clock::Timestamp;
use tempalias::ledger::{FILE_NAME, Ledger, NewAlias};
use tempalias::message_id::MessageId;
use tokio::runtime::Runtime;

use crate::appliance::Appliance;
use crate::directory;
use crate::peers::Peer;
use crate::report::Report;
use crate::report::Target::{AtLeast, AtMost};
use crate::rows::{ROUND, medians, milliseconds};
use crate::smtp::runtime;

const MANY: i64 = 10_000_000;
const FEW: i64 = 1_000;
/// Of the many, those that expire together.
const EXPIRED: i64 = 100_000;

/// When the aliases of the bench begin, and when the expired ones end.
const BEGIN: i64 = 1_800_000_000;
const END: i64 = BEGIN + 1_000;
/// The end of all the others.
const FAR: i64 = BEGIN + 5_000_000;

const LENGTH: usize = 10;

pub fn row(report: &mut Report) {
    let runtime = runtime();
    let [many_dir, few_dir] = ["ledger-many", "ledger-few"].map(|name| directory().join(name));
    let begin = Instant::now();
    let data = |dir: &Path| dir.join("data");
    fill(&data(&many_dir), MANY);
    fill(&data(&few_dir), FEW);
    println!("  filled with {MANY} aliases in {:.0} s", begin.elapsed().as_secs_f64());

    start(report, &many_dir);
    fs::create_dir_all(data(&few_dir)).expect("a directory can be made");
    let many = Loaded::open(&runtime, &data(&many_dir), MANY);
    let few = Loaded::open(&runtime, &data(&few_dir), FEW);
    let ratio = |[many, few]: [f64; 2]| (many / few, format!("{many:.0}/s; with {FEW} aliases {few:.0}/s"));
    let (value, figures) = ratio(medians([&mut || many.issues(), &mut || few.issues()]));
    report.bar("ten_million_creations", value, " ×", AtLeast(0.8), figures);
    let (value, figures) = ratio(medians([&mut || many.look_ups(), &mut || few.look_ups()]));
    report.bar("ten_million_look_ups", value, " ×", AtLeast(0.8), figures);
    let (value, figures) = ratio(medians([&mut || many.spends(), &mut || few.spends()]));
    report.bar("ten_million_spends", value, " ×", AtLeast(0.8), figures);

    let (calm, busy, purge) = many.spends_beside_a_purge();
    let figures = format!(
        "p99 of a spend while {EXPIRED} are purged in {:.1} s; {:.1} ms without",
        purge.as_secs_f64(),
        milliseconds(calm)
    );
    report.bar("purge_spend_p99", milliseconds(busy), " ms", AtMost(50.0), figures);
    runtime.block_on(async {
        many.ledger.close().await;
        few.ledger.close().await;
    });
    for dir in [many_dir, few_dir] {
        let _ = fs::remove_dir_all(dir);
    }
}

/// From the start of the program to its ready line, on ten million aliases.
fn start(report: &mut Report, dir: &Path) {
    let sink = Peer::sink();
    // The configuration goes beside the data, which outlives the appliance.
    let [start] = medians([&mut || milliseconds(Appliance::start_on(dir, sink.address).start)]);
    report.bar("ten_million_start", start, " ms", AtMost(300.0), "to the ready line".into());
}

/// A ledger of `aliases` whose names are known, written by SQL of the bench, which is faster.
fn fill(data: &Path, aliases: i64) {
    fs::create_dir_all(data).expect("a directory can be made");
    runtime().block_on(Ledger::open(data, LENGTH).expect("a ledger can be made").close());
    let mut file = Connection::open(data.join(FILE_NAME)).expect("the ledger is there");
    file.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -400000")
        .expect("SQLite knows these");
    let transaction = file.transaction().expect("no other connection is open");
    {
        let prepare = |sql| transaction.prepare(sql).expect("this is the ledger's schema");
        let mut names = prepare("INSERT INTO names (name) VALUES (?1)");
        let mut targets = prepare("INSERT INTO targets (id, address) VALUES (?1, ?2)");
        let mut rows = prepare(
            "INSERT INTO aliases (name, domain, target, key_hash, created, valid_from, valid_until)
             VALUES (?1, 'bench.test', ?2, zeroblob(32), ?3, ?3, ?4)",
        );
        let mut address = [0u8; 32];
        for number in 0..aliases {
            let name = name(number);
            let target = format!("someone{number}@mailbox.test");
            address.fill(0);
            address[..target.len()].copy_from_slice(target.as_bytes());
            // Spread over the names, as they would be.
            let is_expiring = aliases == MANY && number % (MANY / EXPIRED) == 0;
            let end = if is_expiring { END } else { FAR + number / 1000 };
            names.execute([&name]).expect("the name is free");
            targets.execute((number, &address[..])).expect("the slot is free");
            rows.execute((&name, number, BEGIN, end)).expect("the alias is new");
        }
    }
    transaction.commit().expect("the disk is not full");
    file.execute_batch("PRAGMA journal_mode = DELETE").expect("SQLite knows this");
}

/// In the order of the numbers, so that the rows are appended; far apart, so that new names fall between.
fn name(number: i64) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let spread = number * ((1 << (5 * LENGTH)) / MANY);
    (0..LENGTH).rev().map(|place| char::from(ALPHABET[(spread >> (5 * place)) as usize & 31])).collect()
}

/// A ledger under load.
struct Loaded<'a> {
    ledger: Ledger,
    aliases: i64,
    runtime: &'a Runtime,
}

impl<'a> Loaded<'a> {
    fn open(runtime: &'a Runtime, data: &Path, aliases: i64) -> Self {
        Loaded { ledger: Ledger::open(data, LENGTH).expect("the ledger opens"), aliases, runtime }
    }

    /// Creations a second, by 100 at once.
    fn issues(&self) -> f64 {
        self.rate(100, |ledger, _| async move {
            let limits = Limits { valid_from: at(BEGIN), valid_until: Some(at(FAR)), max_usage: None };
            let domain = "bench.test".parse().expect("this is a domain");
            let target = "someone@mailbox.test".parse().expect("this is a mailbox");
            ledger.issue(NewAlias { domain, target, limits }, at(BEGIN)).await.expect("an alias is issued");
        })
    }

    /// Look-ups a second, by 2 at once.
    fn look_ups(&self) -> f64 {
        self.rate(2, |ledger, name| async move {
            ledger.lookup(&name).await.expect("the ledger can be read").expect("the alias is there");
            tokio::task::consume_budget().await;
        })
    }

    /// Spends a second, by 20 at once.
    fn spends(&self) -> f64 {
        self.rate(20, |ledger, name| async move {
            ledger.spend(name, id(), at(BEGIN)).await.expect("the ledger can be written");
        })
    }

    fn rate<F>(&self, clients: usize, work: impl Fn(Ledger, AliasName) -> F + Copy + Send + 'static) -> f64
    where
        F: Future<Output = ()> + Send,
    {
        let (done, start, aliases) = (Arc::new(AtomicU64::new(0)), Instant::now(), self.aliases);
        self.runtime.block_on(async {
            let clients: Vec<_> = (0..clients)
                .map(|_| {
                    let (ledger, done) = (self.ledger.clone(), done.clone());
                    tokio::spawn(async move {
                        while start.elapsed() < ROUND {
                            work(ledger.clone(), any(aliases)).await;
                            done.fetch_add(1, Ordering::Relaxed);
                        }
                    })
                })
                .collect();
            for client in clients {
                client.await.expect("the ledger does its work");
            }
        });
        done.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64()
    }

    /// The 99th percentile of a spend among 20, in calm and while a purge goes on; how long that took.
    fn spends_beside_a_purge(&self) -> (Duration, Duration, Duration) {
        self.runtime.block_on(async {
            let calm = self.p99(tokio::time::sleep(ROUND)).await;
            let begin = Instant::now();
            let mut purge = Duration::ZERO;
            let busy = self
                .p99(async {
                    let purged = self.ledger.purge(at(END + 1)).await.expect("the purge succeeds");
                    purge = begin.elapsed();
                    assert_eq!(purged.expired as i64, EXPIRED);
                })
                .await;
            (calm, busy, purge)
        })
    }

    async fn p99(&self, meanwhile: impl Future<Output = ()>) -> Duration {
        let (over, aliases) = (Arc::new(AtomicBool::new(false)), self.aliases);
        let clients: Vec<_> = (0..20)
            .map(|_| {
                let (ledger, over) = (self.ledger.clone(), over.clone());
                tokio::spawn(async move {
                    let mut delays = Vec::new();
                    while !over.load(Ordering::Relaxed) {
                        let begin = Instant::now();
                        ledger.spend(any(aliases), id(), at(BEGIN)).await.expect("the ledger can be written");
                        delays.push(begin.elapsed());
                    }
                    delays
                })
            })
            .collect();
        meanwhile.await;
        over.store(true, Ordering::Relaxed);
        let mut delays = Vec::new();
        for client in clients {
            delays.extend(client.await.expect("the ledger does its work"));
        }
        delays.sort();
        delays[delays.len() * 99 / 100]
    }
}

/// One of the aliases.
fn any(aliases: i64) -> AliasName {
    name(rand::random_range(0..aliases)).parse().expect("this is a name")
}

/// A message in the time of the bench: their ids are in its order.
fn id() -> MessageId {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    MessageId::new(at(BEGIN) + START.elapsed())
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("this is an instant")
}
