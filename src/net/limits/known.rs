//! Keys seen recently, in bounded memory.

use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::recent::{GENERATION, Recent};

/// Clients, or others, that are remembered for a span of time after the last event, and for two at the most.
pub struct Known<K> {
    start: Instant,
    recent: Mutex<Recent<K, ()>>,
}

impl<K: Eq + Hash> Known<K> {
    /// Nobody is known yet.
    pub fn new(span: Duration) -> Self {
        Known { start: Instant::now(), recent: Mutex::new(Recent::new(GENERATION, span)) }
    }

    /// Remembers `who`.
    pub fn note(&self, who: K) {
        let now = self.start.elapsed();
        self.recent().keep(who, (), now);
    }

    /// Whether `who` is remembered.
    pub fn has(&self, who: &K) -> bool {
        self.recent().find(who).is_some()
    }

    /// Forgets those who have not been noted for so long that their time is over.
    pub fn forget(&self) {
        let now = self.start.elapsed();
        self.recent().age(now);
    }

    fn recent(&self) -> MutexGuard<'_, Recent<K, ()>> {
        // A table is whole whatever happened to the thread that held it.
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{client, nth};
    use super::*;

    #[test]
    fn a_client_is_known_when_it_was_noted_and_its_neighbours_are_not() {
        let known = Known::new(Duration::from_secs(3600));
        known.note(client("192.0.2.1"));
        known.forget();
        assert!(known.has(&client("192.0.2.1")) && !known.has(&client("192.0.2.2")));
    }

    #[test]
    fn a_client_is_forgotten_when_its_time_is_over() {
        let known = Known::new(Duration::ZERO);
        known.note(client("192.0.2.1"));
        known.forget();
        assert!(!known.has(&client("192.0.2.1")));
    }

    #[test]
    fn of_a_million_clients_the_last_are_remembered_and_the_table_stays_short() {
        let known = Known::new(Duration::from_secs(3600));
        (0..1_000_000).for_each(|n| known.note(nth(n)));
        assert!((950_000..1_000_000).all(|n| known.has(&nth(n))));
        let recent = known.recent();
        assert!(recent.len() <= 2 * GENERATION);
        assert!(recent.octets() < 2 << 20, "the tables take {} octets", recent.octets());
    }
}
