//! Credits that are given for something, in bounded memory: taken one by one, or only remembered.

use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::recent::{GENERATION, Recent};

/// Credits by key; they are forgotten a span of time after the last change, or two spans at the most.
pub struct Credits<K> {
    start: Instant,
    recent: Mutex<Recent<K, u32>>,
}

impl<K: Eq + Hash> Credits<K> {
    /// No key has any yet.
    pub fn new(span: Duration) -> Self {
        Credits { start: Instant::now(), recent: Mutex::new(Recent::new(GENERATION, span)) }
    }

    /// Gives one to `key`.
    pub fn give(&self, key: K) {
        let (now, mut recent) = (self.start.elapsed(), self.recent());
        let credits = recent.find(&key).unwrap_or_default();
        recent.keep(key, credits.saturating_add(1), now);
    }

    /// Takes one from `key`; false when there is none.
    pub fn take(&self, key: K) -> bool {
        let (now, mut recent) = (self.start.elapsed(), self.recent());
        let left = recent.find(&key).and_then(|credits| credits.checked_sub(1));
        if let Some(left) = left {
            recent.keep(key, left, now);
        }
        left.is_some()
    }

    /// Whether `key` was given any, taken since or not.
    pub fn has_been_given(&self, key: &K) -> bool {
        self.recent().find(key).is_some()
    }

    /// Forgets those that have not changed for so long that their time is over.
    pub fn forget(&self) {
        let now = self.start.elapsed();
        self.recent().age(now);
    }

    fn recent(&self) -> MutexGuard<'_, Recent<K, u32>> {
        // A table is whole whatever happened to the thread that held it.
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{client, nth};
    use super::*;

    #[test]
    fn a_credit_can_be_taken_as_often_as_it_was_given() {
        let credits = Credits::new(Duration::from_secs(3600));
        assert!(!credits.take(1) && !credits.has_been_given(&1));
        credits.give(1);
        credits.give(1);
        assert!(!credits.take(2));
        assert_eq!([(); 3].map(|()| credits.take(1)), [true, true, false]);
        assert!(credits.has_been_given(&1) && !credits.has_been_given(&2));
        credits.give(1);
        credits.forget();
        assert!(credits.take(1));
    }

    #[test]
    fn credits_are_forgotten_when_their_time_is_over() {
        let credits = Credits::new(Duration::ZERO);
        credits.give(1);
        credits.forget();
        assert!(!credits.has_been_given(&1) && !credits.take(1));
    }

    #[test]
    fn a_client_has_credits_and_its_neighbours_have_none() {
        let credits = Credits::new(Duration::from_secs(3600));
        credits.give(client("192.0.2.1"));
        credits.forget();
        let has = |address| credits.has_been_given(&client(address));
        assert!(has("192.0.2.1") && !has("192.0.2.2"));
    }

    #[test]
    fn of_a_million_clients_the_last_are_remembered_and_the_table_stays_short() {
        let credits = Credits::new(Duration::from_secs(3600));
        (0..1_000_000).for_each(|n| credits.give(nth(n)));
        assert!((950_000..1_000_000).all(|n| credits.has_been_given(&nth(n))));
        let recent = credits.recent();
        assert!(recent.len() <= 2 * GENERATION);
        assert!(recent.octets() < 2 << 20, "the tables take {} octets", recent.octets());
    }
}
