//! A rate limit for each client (the generic cell rate algorithm).

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use governor::clock::{Clock, MonotonicClock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;
use governor::{Quota, RateLimiter};

use super::client::{ClientNet, Prefix};
use super::recent::{GENERATION, Recent};

/// Wider networks of one size in one generation of a [`Rate`]. A table for so many takes 0.4 MB.
const WIDE_NETWORKS: usize = 12_500;

/// At most so many events of each client in a span of time, and [`Prefix::factor`] times as many of each
/// wider network.
///
/// A client that has been quiet may have them all at once; then they come back one by one, evenly over
/// the span (the generic cell rate algorithm, in [`governor`]).
///
/// A client that is evicted from the full table starts afresh. That does not bypass the limit: eviction
/// takes 50,000 other clients since its last try (12,500 networks for a wider one), and an attacker with so
/// many has the full allowance of each anyway. A refused event makes no entry, so one network cannot evict
/// others.
pub struct Rate<C: Clock = MonotonicClock> {
    limiters: ArcSwap<Limiters<C>>,
    clock: C,
}

/// For networks of each size.
struct Limiters<C: Clock> {
    most: u32,
    span: Duration,
    clients: Limiter<C>,
    v4_wide: Limiter<C>,
    v6_customers: Limiter<C>,
    v6_wide: Limiter<C>,
    start: C::Instant,
}

/// None: no limit.
type Limiter<C> = Option<RateLimiter<Query, Table, C, NoOpMiddleware<<C as Clock>::Instant>>>;

impl Rate {
    /// `most` events in `span`; 0 stands for no limit.
    pub fn new(most: u32, span: Duration) -> Self {
        Rate::with_clock(most, span, MonotonicClock)
    }

    /// One event in `interval`, or after a pause `burst` of them at once; an interval of 0 stands
    /// for no limit.
    pub fn every(interval: Duration, burst: u32) -> Self {
        Rate::new(burst, interval * burst)
    }

    /// [`Rate::set_limit`], with the arguments of [`Rate::every`].
    pub fn set_interval(&self, interval: Duration, burst: u32) {
        self.set_limit(burst, interval * burst);
    }
}

impl<C: Clock + Clone> Rate<C> {
    /// [`Rate::new`], with another clock.
    pub fn with_clock(most: u32, span: Duration, clock: C) -> Self {
        Rate { limiters: ArcSwap::from_pointee(Limiters::new(most, span, &clock)), clock }
    }

    /// From now on `most` events in `span`. Unless that is the limit already, all clients start afresh.
    pub fn set_limit(&self, most: u32, span: Duration) {
        let limiters = self.limiters.load();
        if (limiters.most, limiters.span) != (most, span) {
            self.limiters.store(Arc::new(Limiters::new(most, span, &self.clock)));
        }
    }

    /// Counts an event of `client`'s, which is one of its wider networks', too.
    ///
    /// # Errors
    /// It was one too many, and is not counted; how long until the next may come.
    pub fn count(&self, client: ClientNet) -> Result<(), Duration> {
        // The wider ones are checked before, so that what one network refuses does not count for another.
        let limiters = self.limiters.load();
        for wider in client.prefixes().skip(1) {
            limiters.check(wider, false)?;
        }
        client.prefixes().try_for_each(|prefix| limiters.check(prefix, true))
    }

    /// What [`Rate::count`] would say, without an event.
    ///
    /// # Errors
    /// As there.
    pub fn peek(&self, client: ClientNet) -> Result<(), Duration> {
        let limiters = self.limiters.load();
        let waits = client.prefixes().filter_map(|prefix| limiters.check(prefix, false).err());
        waits.max().map_or(Ok(()), Err)
    }

    /// The same, as if the client's wider networks had no limit.
    ///
    /// # Errors
    /// As there.
    pub fn peek_client(&self, client: ClientNet) -> Result<(), Duration> {
        self.limiters.load().check(client.own(), false)
    }

    /// Forgets the networks of which there is nothing to know: all their events have come back.
    pub fn forget(&self) {
        let limiters = self.limiters.load();
        let Limiters { clients, v4_wide, v6_customers, v6_wide, .. } = &**limiters;
        for limiter in [clients, v4_wide, v6_customers, v6_wide].into_iter().flatten() {
            limiter.retain_recent();
        }
    }
}

impl<C: Clock + Clone> Limiters<C> {
    fn new(most: u32, span: Duration, clock: &C) -> Self {
        let limiter = |example: Prefix, generation| {
            let most = NonZeroU32::new(most.saturating_mul(example.factor()))?;
            let quota = Quota::with_period(span / most.get())?.allow_burst(most);
            Some(RateLimiter::new(quota, Table::new(generation, span), clock.clone()))
        };
        Limiters {
            most,
            span,
            clients: limiter(Prefix::V4([0; 4]), GENERATION),
            v4_wide: limiter(Prefix::V4Wide([0; 3]), WIDE_NETWORKS),
            v6_customers: limiter(Prefix::V6Customer([0; 7]), WIDE_NETWORKS),
            v6_wide: limiter(Prefix::V6Wide([0; 6]), WIDE_NETWORKS),
            start: clock.now(),
        }
    }

    fn check(&self, prefix: Prefix, is_event: bool) -> Result<(), Duration> {
        let Some(limiter) = self.limiter(prefix) else { return Ok(()) };
        let at = limiter.clock().now().duration_since(self.start).into();
        let query = Query { prefix, is_event, at };
        limiter.check_key(&query).map_err(|until| until.wait_time_from(limiter.clock().now()))
    }

    fn limiter(&self, prefix: Prefix) -> &Limiter<C> {
        match prefix {
            Prefix::V4(_) | Prefix::V6(_) => &self.clients,
            Prefix::V4Wide(_) => &self.v4_wide,
            Prefix::V6Customer(_) => &self.v6_customers,
            Prefix::V6Wide(_) => &self.v6_wide,
        }
    }
}

/// What a [`Rate`] looks up in a table: a network, when (since the start), and whether that is an event. A
/// peek changes nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Query {
    prefix: Prefix,
    is_event: bool,
    at: Duration,
}

/// The events of the networks that were seen last. After one span without a try all of a network's
/// events have come back, and there is nothing to know of it.
struct Table(Mutex<Recent<Prefix, Nanos>>);

impl Table {
    fn new(generation: usize, span: Duration) -> Self {
        Table(Mutex::new(Recent::new(generation, span)))
    }

    fn lock(&self) -> MutexGuard<'_, Recent<Prefix, Nanos>> {
        // A table is whole whatever happened to the thread that held it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StateStore for Table {
    type Key = Query;

    fn measure_and_replace<T, F, E>(&self, query: &Query, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut recent = self.lock();
        recent.age(query.at);
        let before = recent.find(&query.prefix);
        let (answer, after) = match measure(before) {
            Ok((answer, after)) if query.is_event => (Ok(answer), Some(after)),
            Ok((answer, _)) => (Ok(answer), before),
            Err(refusal) => (Err(refusal), before),
        };
        // Also when nothing changes: the network is young again.
        if let Some(state) = after {
            recent.keep(query.prefix, state, query.at);
        }
        answer
    }
}

impl ShrinkableKeyedStateStore<Query> for Table {
    fn retain_recent(&self, drop_below: Nanos) {
        self.lock().retain(|state| *state >= drop_below);
    }

    fn len(&self) -> usize {
        self.lock().len()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::super::tests::{client, nth};
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// How many events of `client`'s pass, of a thousand.
    fn passing(rate: &Rate<FakeRelativeClock>, client: ClientNet) -> usize {
        (0..1000).filter(|_| rate.count(client).is_ok()).count()
    }

    fn limiters(rate: Rate<FakeRelativeClock>) -> Limiters<FakeRelativeClock> {
        Arc::into_inner(rate.limiters.into_inner()).unwrap()
    }

    #[test]
    fn a_limit_of_0_is_none() {
        assert_eq!(passing(&Rate::with_clock(0, MINUTE, FakeRelativeClock::default()), nth(1)), 1000);
        assert!((0..1000).all(|_| Rate::every(Duration::ZERO, 3).count(nth(1)).is_ok()));
    }

    #[test]
    fn events_pass_up_to_the_rate_and_come_back_evenly() {
        let clock = FakeRelativeClock::default();
        let rate = Rate::with_clock(300, MINUTE, clock.clone());
        assert_eq!(passing(&rate, nth(1)), 300);
        assert_eq!(rate.count(nth(1)), Err(MINUTE / 300));
        assert_eq!(passing(&rate, nth(2)), 300, "another client is not affected");
        clock.advance(MINUTE / 10);
        assert_eq!(passing(&rate, nth(1)), 30);
        clock.advance(10 * MINUTE);
        assert_eq!(passing(&rate, nth(1)), 300, "a pause gives no more than the full allowance");
    }

    #[test]
    fn another_limit_holds_from_now_on_and_the_same_one_changes_nothing() {
        let rate = Rate::with_clock(3, MINUTE, FakeRelativeClock::default());
        assert_eq!(passing(&rate, nth(1)), 3);
        rate.set_limit(3, MINUTE);
        assert_eq!(passing(&rate, nth(1)), 0);
        rate.set_limit(5, MINUTE);
        assert_eq!(passing(&rate, nth(1)), 5);
    }

    #[test]
    fn a_peek_counts_nothing() {
        let rate = Rate::with_clock(2, MINUTE, FakeRelativeClock::default());
        assert!((0..10).all(|_| rate.peek(nth(1)).is_ok()));
        assert_eq!(passing(&rate, nth(1)), 2);
        assert_eq!(rate.peek(nth(1)), Err(MINUTE / 2));
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
        let Limiters { clients, v4_wide, .. } = limiters(rate);
        let [clients, wide] =
            [clients, v4_wide].map(|limiter| limiter.unwrap().into_state_store().0.into_inner().unwrap());
        assert!(clients.len() <= 2 * GENERATION && wide.len() <= 2 * WIDE_NETWORKS);
        assert!((950_000..1_000_000).all(|n| clients.find(&nth(n).own()).is_some()));
        // There may be as many IPv6 networks, of two sizes.
        let octets = clients.octets() + 3 * wide.octets();
        assert!(octets < 6 << 20, "the tables take {octets} octets");
    }

    /// docs/smtp.md §2: what one customer gets, whatever it has of IPv6; and a whole IPv4 /24.
    #[test]
    fn a_56_has_the_events_of_one_client_a_48_of_two_and_an_ipv4_24_of_eight() {
        let rate = || Rate::with_clock(300, 60 * MINUTE, FakeRelativeClock::default());
        let all = |rate: &Rate<_>, addresses: &mut dyn Iterator<Item = String>| {
            addresses.map(|address| passing(rate, client(&address))).sum::<usize>()
        };
        assert_eq!(all(&rate(), &mut ["2001:db8::1".to_owned()].into_iter()), 300);
        assert_eq!(all(&rate(), &mut (0..16).map(|n| format!("2001:db8:0:{n:x}::1"))), 300);
        assert_eq!(all(&rate(), &mut (0..16).map(|n| format!("2001:db8:0:{n:x}00::1"))), 600);
        assert_eq!(all(&rate(), &mut (0..16).map(|n| format!("192.0.2.{n}"))), 2400);
    }

    #[test]
    fn the_excess_of_a_client_does_not_count_for_its_neighbours() {
        let rate = Rate::with_clock(3, MINUTE, FakeRelativeClock::default());
        assert_eq!(passing(&rate, client("192.0.2.1")), 3);
        assert_eq!(passing(&rate, client("192.0.2.2")), 3);
        assert!(rate.peek(client("192.0.2.3")).is_ok());
        assert_eq!(passing(&rate, client("2001:db8:0:100::1")), 3);
        assert_eq!(passing(&rate, client("2001:db8:0:200::1")), 3);
        assert_eq!(passing(&rate, client("2001:db8:0:300::1")), 0, "the /48 has used up its allowance");
        assert!(rate.peek_client(client("2001:db8:0:300::1")).is_ok());
    }

    /// A network whose allowance is used up makes no entries, so it cannot evict others.
    #[test]
    fn clients_of_a_network_whose_allowance_is_used_up_take_no_memory() {
        let rate = Rate::with_clock(3, MINUTE, FakeRelativeClock::default());
        for n in 0..16 {
            passing(&rate, client(&format!("2001:db8:0:{n:x}00::1")));
        }
        assert_eq!(limiters(rate).clients.unwrap().len(), 2);
    }

    /// Of three clients, those still in the tables when a fourth comes after `pause`.
    fn known_after(pause: Duration) -> usize {
        let clock = FakeRelativeClock::default();
        let rate = Rate::with_clock(1, MINUTE, clock.clone());
        for n in 0..3 {
            rate.count(nth(n)).unwrap();
            clock.advance(MINUTE / 6);
        }
        clock.advance(pause);
        rate.count(nth(3)).unwrap();
        let recent = limiters(rate).clients.unwrap().into_state_store().0.into_inner().unwrap();
        (0..3).filter(|n| recent.find(&nth(*n).own()).is_some()).count()
    }

    #[test]
    fn a_client_is_forgotten_after_two_spans_and_not_within_one() {
        assert_eq!(known_after(MINUTE / 2), 3);
        assert_eq!(known_after(MINUTE * 2), 0);
    }

    /// No address is kept because no other client comes.
    #[test]
    fn a_client_whose_allowance_is_full_again_is_forgotten() {
        let clock = FakeRelativeClock::default();
        let rate = Rate::with_clock(2, MINUTE, clock.clone());
        let known = || rate.limiters.load().clients.as_ref().map(RateLimiter::len);
        rate.count(nth(1)).unwrap();
        clock.advance(MINUTE + MINUTE / 2);
        assert_eq!(passing(&rate, nth(2)), 2);
        clock.advance(MINUTE / 2);
        assert_eq!(known(), Some(2));
        rate.forget();
        assert_eq!(known(), Some(1));
        assert_eq!(passing(&rate, nth(2)), 1, "half the allowance has come back");
        clock.advance(3 * MINUTE);
        assert_eq!(known(), Some(1));
        rate.forget();
        assert_eq!(known(), Some(0));
    }

    #[test]
    fn a_client_that_goes_on_trying_is_not_forgotten_by_age() {
        let clock = FakeRelativeClock::default();
        let rate = Rate::with_clock(2, MINUTE, clock.clone());
        assert_eq!(passing(&rate, nth(1)), 2);
        for _ in 0..20 {
            clock.advance(MINUTE / 4);
            let _ = rate.peek(nth(1));
            clock.advance(MINUTE / 4);
            assert_eq!(passing(&rate, nth(1)), 1, "half a span gives back half");
        }
    }
}
