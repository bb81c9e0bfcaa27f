//! The keys that were seen last, in bounded memory.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// Keys in one generation of a table of clients or the like; there are two. A table for so many takes 0.6
/// to 1.6 MB.
pub(super) const GENERATION: usize = 50_000;

/// Values by key, in two generations.
///
/// When the young generation is full, or as old as the span, it becomes the old one, and the old one is
/// forgotten. So no key is known for longer than two spans after the last event, and each for one, unless
/// the table is full: then as many as fit into one generation are known, those that were seen last, and
/// at most twice as many.
///
/// Times are since whatever the owner counts from.
pub(super) struct Recent<K, V> {
    span: Duration,
    generation: usize,
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    /// When the young one began.
    since: Duration,
}

impl<K: Eq + Hash, V: Copy> Recent<K, V> {
    /// Two generations of so many each.
    pub(super) fn new(generation: usize, span: Duration) -> Self {
        let (young, old) = (HashMap::new(), HashMap::new());
        Recent { span, generation, young, old, since: Duration::ZERO }
    }

    pub(super) fn find(&self, key: &K) -> Option<V> {
        self.young.get(key).or_else(|| self.old.get(key)).copied()
    }

    pub(super) fn keep(&mut self, key: K, value: V, now: Duration) {
        if self.young.len() >= self.generation && !self.young.contains_key(&key) {
            self.rotate(now);
        }
        self.young.insert(key, value);
    }

    /// Forgets keys that were not seen for two spans, and none that was seen within one.
    pub(super) fn age(&mut self, now: Duration) {
        let age = now.saturating_sub(self.since);
        if age >= self.span {
            self.rotate(now);
        }
        if age >= self.span + self.span {
            self.rotate(now);
        }
    }

    /// Forgets all values of which `is_wanted` is not true.
    pub(super) fn retain(&mut self, is_wanted: impl Fn(&V) -> bool) {
        for table in [&mut self.young, &mut self.old] {
            table.retain(|_, value| is_wanted(value));
            table.shrink_to_fit();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Octets that the tables take.
    #[cfg(test)]
    pub(super) fn octets(&self) -> usize {
        (self.young.capacity() + self.old.capacity()) * size_of::<(K, V)>()
    }

    fn rotate(&mut self, now: Duration) {
        self.old = std::mem::take(&mut self.young);
        self.since = now;
    }
}
