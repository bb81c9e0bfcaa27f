//! How much one client may ask of us: so much at a time ([`Slots`]), so much in a span of time
//! ([`Rate`]).
//!
//! A client is a [`ClientNet`], because in IPv6 everybody has a whole /64 of addresses. All of it
//! is in memory, bounded whatever comes from outside, and forgotten when the program ends.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};

/// Clients of a [`Rate`] in one generation; there are two. A table for so many takes 1.6 MiB.
const GENERATION: usize = 50_000;

/// One client: an IPv4 address, or an IPv6 network of 64 bits (RFC 6177: nobody gets less).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientNet(Net);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Net {
    V4([u8; 4]),
    V6([u8; 8]),
}

impl From<IpAddr> for ClientNet {
    /// An IPv4 address in IPv6 clothes (`::ffff:192.0.2.1`) is the IPv4 client.
    fn from(address: IpAddr) -> Self {
        ClientNet(match address.to_canonical() {
            IpAddr::V4(v4) => Net::V4(v4.octets()),
            IpAddr::V6(v6) => Net::V6(*v6.octets().first_chunk().expect("16 octets hold 8")),
        })
    }
}

/// A number of places, of which no client may take too many.
pub struct Slots {
    most: usize,
    most_per_client: usize,
    taken: Mutex<Taken>,
}

/// Clients without a slot are not in the table, so it is never longer than there are slots.
#[derive(Default)]
struct Taken {
    all: usize,
    by_client: HashMap<ClientNet, usize>,
}

/// A place that was taken; given back when it is dropped.
pub struct Slot {
    slots: Arc<Slots>,
    client: ClientNet,
}

/// Why there is no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// All are taken.
    ForAll,
    /// This client has all it may have.
    ForClient,
}

impl Slots {
    /// `most` in all, `most_per_client` for each; 0 stands for no limit.
    pub fn new(most: usize, most_per_client: usize) -> Arc<Self> {
        Arc::new(Slots { most, most_per_client, taken: Mutex::default() })
    }

    /// Takes one for `client`.
    ///
    /// # Errors
    /// When there is none left.
    pub fn take(self: &Arc<Self>, client: ClientNet) -> Result<Slot, Full> {
        let mut taken = self.taken();
        if is_reached(self.most, taken.all) {
            return Err(Full::ForAll);
        }
        let of_client = taken.by_client.get(&client).copied().unwrap_or(0);
        if is_reached(self.most_per_client, of_client) {
            return Err(Full::ForClient);
        }
        taken.all += 1;
        taken.by_client.insert(client, of_client + 1);
        Ok(Slot { slots: self.clone(), client })
    }

    /// Whether more than 80 % are taken: time to be short with everybody.
    pub fn are_scarce(&self) -> bool {
        self.most > 0 && self.taken().all * 5 > self.most * 4
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().expect("nobody panics while counting")
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.taken();
        taken.all -= 1;
        let of_client = taken.by_client.get_mut(&self.client).expect("a client with a slot is counted");
        *of_client -= 1;
        if *of_client == 0 {
            taken.by_client.remove(&self.client);
        }
    }
}

/// Whether `count` has come up to a `limit`, of which 0 stands for none.
pub fn is_reached(limit: usize, count: usize) -> bool {
    limit > 0 && count >= limit
}

/// So many events of each client in a span of time.
///
/// Who has been quiet may have them all at once; then they come back one by one, evenly over the
/// span (the generic cell rate algorithm, in [`governor`]).
pub struct Rate<C: Clock = MonotonicClock> {
    /// None: no limit.
    limiter: Option<Limiter<C>>,
}

type Limiter<C> = RateLimiter<Question, Recent, C, NoOpMiddleware<<C as Clock>::Instant>>;

impl Rate {
    /// `most` events in `span`; 0 stands for no limit.
    pub fn new(most: u32, span: Duration) -> Self {
        Rate::with_clock(most, span, MonotonicClock)
    }

    /// One event in `interval`, or after a rest `burst` of them at once; an interval of 0 stands
    /// for no limit.
    pub fn every(interval: Duration, burst: u32) -> Self {
        Rate::new(burst, interval * burst)
    }
}

impl<C: Clock> Rate<C> {
    /// [`Rate::new`], with another clock.
    pub fn with_clock(most: u32, span: Duration, clock: C) -> Self {
        let quota = NonZeroU32::new(most)
            .and_then(|most| Some(Quota::with_period(span / most.get())?.allow_burst(most)));
        Rate { limiter: quota.map(|quota| RateLimiter::new(quota, Recent::default(), clock)) }
    }

    /// Counts an event of `client`'s.
    ///
    /// # Errors
    /// It was one too many, and is not counted; how long until the next may come.
    pub fn count(&self, client: ClientNet) -> Result<(), Duration> {
        self.ask(Question { client, is_event: true })
    }

    /// What [`Rate::count`] would say, without an event.
    ///
    /// # Errors
    /// As there.
    pub fn look(&self, client: ClientNet) -> Result<(), Duration> {
        self.ask(Question { client, is_event: false })
    }

    fn ask(&self, question: Question) -> Result<(), Duration> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        limiter.check_key(&question).map_err(|until| until.wait_time_from(limiter.clock().now()))
    }
}

/// What a [`Rate`] asks its table: about whom, and whether the answer is to be kept. Only events
/// are; a look leaves everything as it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Question {
    client: ClientNet,
    is_event: bool,
}

/// The clients that were seen last, in two generations.
///
/// When the young generation is full it becomes the old one, and the old one is forgotten: between
/// 50,000 and 100,000 clients are known, those that were asked about last. Whoever is forgotten
/// starts afresh like a stranger. That is no way around a limit: it takes 50,000 other clients
/// since one's last try, and who commands so many networks has the full measure of each anyway.
#[derive(Default)]
struct Recent {
    generations: Mutex<Generations>,
}

#[derive(Default)]
struct Generations {
    young: HashMap<ClientNet, Nanos>,
    old: HashMap<ClientNet, Nanos>,
}

impl Generations {
    fn find(&self, client: ClientNet) -> Option<Nanos> {
        self.young.get(&client).or_else(|| self.old.get(&client)).copied()
    }

    fn keep(&mut self, client: ClientNet, state: Nanos) {
        if self.young.len() >= GENERATION && !self.young.contains_key(&client) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(client, state);
    }
}

impl StateStore for Recent {
    type Key = Question;

    fn measure_and_replace<T, F, E>(&self, question: &Question, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut generations = self.generations.lock().expect("nobody panics while measuring");
        let before = generations.find(question.client);
        let (answer, after) = match measure(before) {
            Ok((answer, after)) if question.is_event => (Ok(answer), Some(after)),
            Ok((answer, _)) => (Ok(answer), before),
            Err(refusal) => (Err(refusal), before),
        };
        // Also when nothing changes: whoever is asked about is young again.
        if let Some(state) = after {
            generations.keep(question.client, state);
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn client(address: &str) -> ClientNet {
        address.parse::<IpAddr>().unwrap().into()
    }

    fn nth(n: u32) -> ClientNet {
        IpAddr::from(n.to_be_bytes()).into()
    }

    /// How many events of `client`'s pass, of a thousand.
    fn passing(rate: &Rate<FakeRelativeClock>, client: ClientNet) -> usize {
        (0..1000).filter(|_| rate.count(client).is_ok()).count()
    }

    #[test]
    fn a_client_is_an_ipv4_address_or_an_ipv6_network_of_64_bits() {
        assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
        assert_eq!(client("2001:db8::1"), client("2001:db8::ffff:ffff:ffff:ffff"));
        assert_ne!(client("2001:db8::1"), client("2001:db8:0:1::1"));
        assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
    }

    #[test]
    fn slots_end_for_one_client_and_for_all_and_come_back() {
        let slots = Slots::new(3, 2);
        let (one, other) = (client("192.0.2.1"), client("192.0.2.2"));
        let first = slots.take(one).unwrap();
        let _second = slots.take(one).unwrap();
        assert_eq!(slots.take(one).err(), Some(Full::ForClient));
        let third = slots.take(other).unwrap();
        assert_eq!(slots.take(other).err(), Some(Full::ForAll));
        drop(first);
        let _first = slots.take(one).unwrap();
        drop(third);
        assert!(!slots.taken().by_client.contains_key(&other), "a client without slots stays in the table");
    }

    #[test]
    fn a_limit_of_0_is_none() {
        let slots = Slots::new(0, 0);
        let _all: Vec<_> = (0..1000).map(|_| slots.take(nth(1)).unwrap()).collect();
        assert!(!slots.are_scarce());
        assert_eq!(passing(&Rate::with_clock(0, MINUTE, FakeRelativeClock::default()), nth(1)), 1000);
        assert!((0..1000).all(|_| Rate::every(Duration::ZERO, 3).count(nth(1)).is_ok()));
    }

    #[test]
    fn slots_are_scarce_when_more_than_four_of_five_are_taken() {
        let slots = Slots::new(10, 0);
        let mut taken: Vec<_> = (0..8).map(|n| slots.take(nth(n)).unwrap()).collect();
        assert!(!slots.are_scarce());
        taken.push(slots.take(nth(8)).unwrap());
        assert!(slots.are_scarce());
        taken.pop();
        assert!(!slots.are_scarce());
    }

    #[test]
    fn events_pass_up_to_the_rate_and_come_back_evenly() {
        let clock = FakeRelativeClock::default();
        let rate = Rate::with_clock(300, MINUTE, clock.clone());
        assert_eq!(passing(&rate, nth(1)), 300);
        assert_eq!(rate.count(nth(1)), Err(MINUTE / 300));
        assert_eq!(passing(&rate, nth(2)), 300, "another client is not to blame");
        clock.advance(MINUTE / 10);
        assert_eq!(passing(&rate, nth(1)), 30);
        clock.advance(10 * MINUTE);
        assert_eq!(passing(&rate, nth(1)), 300, "a rest gives no more than the full measure");
    }

    #[test]
    fn a_look_counts_nothing() {
        let rate = Rate::with_clock(2, MINUTE, FakeRelativeClock::default());
        assert!((0..10).all(|_| rate.look(nth(1)).is_ok()));
        assert_eq!(passing(&rate, nth(1)), 2);
        assert_eq!(rate.look(nth(1)), Err(MINUTE / 2));
    }

    #[test]
    fn an_interval_lets_a_small_burst_pass_and_tells_how_long_to_wait() {
        let rate = Rate::every(Duration::from_secs(30), 3);
        assert!((0..3).all(|_| rate.count(nth(1)).is_ok()));
        let wait = rate.count(nth(1)).unwrap_err();
        assert!(wait > Duration::from_secs(25) && wait <= Duration::from_secs(30), "{wait:?}");
    }

    /// docs/smtp.md §2: a million distinct clients must not exhaust the memory.
    #[test]
    fn of_a_million_clients_the_last_are_known_and_the_table_stays_short() {
        let rate = Rate::with_clock(1, MINUTE, FakeRelativeClock::default());
        let busy = nth(u32::MAX);
        for n in 0..1_000_000 {
            rate.count(nth(n)).unwrap();
            if n % 40_000 == 0 {
                assert_eq!(rate.count(busy).is_ok(), n == 0, "a client that goes on trying was forgotten");
            }
        }
        let generations = rate.limiter.unwrap().into_state_store().generations.into_inner().unwrap();
        assert!(generations.young.len() + generations.old.len() <= 2 * GENERATION);
        assert!((950_000..1_000_000).all(|n| generations.find(nth(n)).is_some()));
        let room = |table: &HashMap<ClientNet, Nanos>| table.capacity() * size_of::<(ClientNet, Nanos)>();
        let octets = room(&generations.young) + room(&generations.old);
        assert!(octets < 4 << 20, "the tables take {octets} octets");
    }
}
