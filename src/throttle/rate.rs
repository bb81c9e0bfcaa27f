//! So many events of each client in a span of time.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;
use governor::{Quota, RateLimiter};

use super::ClientNet;

/// Clients of a [`Rate`] in one generation; there are two. A table for so many takes 1.6 MiB.
const GENERATION: usize = 50_000;

/// So many events of each client in a span of time.
///
/// Who has been quiet may have them all at once; then they come back one by one, evenly over the
/// span (the generic cell rate algorithm, in [`governor`]).
pub struct Rate<C: Clock = MonotonicClock> {
    /// None: no limit.
    limiter: Option<Limiter<C>>,
    start: C::Instant,
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
        let start = clock.now();
        Rate { limiter: quota.map(|quota| RateLimiter::new(quota, Recent::new(span), clock)), start }
    }

    /// Counts an event of `client`'s.
    ///
    /// # Errors
    /// It was one too many, and is not counted; how long until the next may come.
    pub fn count(&self, client: ClientNet) -> Result<(), Duration> {
        self.ask(client, true)
    }

    /// What [`Rate::count`] would say, without an event.
    ///
    /// # Errors
    /// As there.
    pub fn look(&self, client: ClientNet) -> Result<(), Duration> {
        self.ask(client, false)
    }

    /// Forgets the clients of whom there is nothing to know: all their events have come back.
    pub fn forget(&self) {
        if let Some(limiter) = &self.limiter {
            limiter.retain_recent();
        }
    }

    fn ask(&self, client: ClientNet, is_event: bool) -> Result<(), Duration> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        let at = limiter.clock().now().duration_since(self.start).into();
        let question = Question { client, is_event, at };
        limiter.check_key(&question).map_err(|until| until.wait_time_from(limiter.clock().now()))
    }
}

/// What a [`Rate`] asks its table: about whom, when (since the start), and whether the answer is to
/// be kept. Only events are; a look leaves everything as it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Question {
    client: ClientNet,
    is_event: bool,
    at: Duration,
}

/// The clients that were seen last, in two generations.
///
/// When the young generation is full, or as old as the span of the rate, it becomes the old one, and
/// the old one is forgotten. Nobody is known for longer than two spans after the last try: after one
/// all events have come back, and there is nothing to know.
///
/// When it is full for want of room, between 50,000 and 100,000 clients are known, those that were
/// asked about last. Whoever is forgotten starts afresh like a stranger. That is no way around a
/// limit: it takes 50,000 other clients since one's last try, and who commands so many networks has
/// the full measure of each anyway.
struct Recent {
    span: Duration,
    generations: Mutex<Generations>,
}

#[derive(Default)]
struct Generations {
    young: HashMap<ClientNet, Nanos>,
    old: HashMap<ClientNet, Nanos>,
    /// When the young one began.
    since: Duration,
}

impl Recent {
    fn new(span: Duration) -> Self {
        Recent { span, generations: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        // A table is whole whatever happened to the thread that held it.
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn find(&self, client: ClientNet) -> Option<Nanos> {
        self.young.get(&client).or_else(|| self.old.get(&client)).copied()
    }

    fn keep(&mut self, client: ClientNet, state: Nanos, now: Duration) {
        if self.young.len() >= GENERATION && !self.young.contains_key(&client) {
            self.turn(now);
        }
        self.young.insert(client, state);
    }

    /// Forgets whoever was not seen for two spans, and for one at the least.
    fn age(&mut self, span: Duration, now: Duration) {
        let age = now.saturating_sub(self.since);
        if age >= span {
            self.turn(now);
        }
        if age >= span + span {
            self.turn(now);
        }
    }

    fn turn(&mut self, now: Duration) {
        self.old = std::mem::take(&mut self.young);
        self.since = now;
    }
}

impl StateStore for Recent {
    type Key = Question;

    fn measure_and_replace<T, F, E>(&self, question: &Question, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut generations = self.lock();
        generations.age(self.span, question.at);
        let before = generations.find(question.client);
        let (answer, after) = match measure(before) {
            Ok((answer, after)) if question.is_event => (Ok(answer), Some(after)),
            Ok((answer, _)) => (Ok(answer), before),
            Err(refusal) => (Err(refusal), before),
        };
        // Also when nothing changes: whoever is asked about is young again.
        if let Some(state) = after {
            generations.keep(question.client, state, question.at);
        }
        answer
    }
}

impl ShrinkableKeyedStateStore<Question> for Recent {
    fn retain_recent(&self, drop_below: Nanos) {
        let Generations { young, old, .. } = &mut *self.lock();
        for table in [young, old] {
            table.retain(|_, state| *state >= drop_below);
            table.shrink_to_fit();
        }
    }

    fn len(&self) -> usize {
        let generations = self.lock();
        generations.young.len() + generations.old.len()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::super::tests::nth;
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// How many events of `client`'s pass, of a thousand.
    fn passing(rate: &Rate<FakeRelativeClock>, client: ClientNet) -> usize {
        (0..1000).filter(|_| rate.count(client).is_ok()).count()
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
        let generations = rate.limiter.unwrap().into_state_store().generations.into_inner().unwrap();
        (0..3).filter(|n| generations.find(nth(*n)).is_some()).count()
    }

    #[test]
    fn whoever_has_not_come_for_two_spans_is_forgotten_and_nobody_within_one() {
        assert_eq!(known_after(MINUTE / 2), 3);
        assert_eq!(known_after(MINUTE * 2), 0);
    }

    /// Nobody's address stays for want of other clients.
    #[test]
    fn whoever_has_his_full_measure_again_is_forgotten_without_a_question() {
        let clock = FakeRelativeClock::default();
        let rate = Rate::with_clock(2, MINUTE, clock.clone());
        let known = || rate.limiter.as_ref().map(RateLimiter::len);
        rate.count(nth(1)).unwrap();
        clock.advance(MINUTE + MINUTE / 2);
        assert_eq!(passing(&rate, nth(2)), 2);
        clock.advance(MINUTE / 2);
        assert_eq!(known(), Some(2));
        rate.forget();
        assert_eq!(known(), Some(1));
        assert_eq!(passing(&rate, nth(2)), 1, "half a measure has come back");
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
            let _ = rate.look(nth(1));
            clock.advance(MINUTE / 4);
            assert_eq!(passing(&rate, nth(1)), 1, "half a span gives back half");
        }
    }
}
