//! How much each network has at the moment.

use std::collections::HashMap;

use super::client::{ClientNet, Prefix};
use super::is_reached;

/// What each network has of something that is given back. A network that has nothing is not in the
/// table, so it is never longer than three times what there is to have.
#[derive(Default)]
pub(crate) struct Shares(HashMap<Prefix, usize>);

impl Shares {
    /// What `prefix` has.
    pub(crate) fn of(&self, prefix: Prefix) -> usize {
        self.0.get(&prefix).copied().unwrap_or(0)
    }

    /// Whether `client` may have one more, where a client may have `limit` (0: any number), and so may
    /// its wider networks.
    pub(crate) fn has_room(&self, client: ClientNet, limit: usize) -> bool {
        client.prefixes().all(|prefix| self.has_room_in(prefix, limit))
    }

    /// The same of one network.
    pub(crate) fn has_room_in(&self, prefix: Prefix, limit: usize) -> bool {
        !is_reached(prefix.allowance(limit), self.of(prefix))
    }

    /// What `client` has, its widest network first.
    pub(crate) fn levels(&self, client: ClientNet) -> [usize; 3] {
        client.levels().map(|prefix| self.of(prefix))
    }

    /// How many more `other` has than `client`, where they first differ. None: at most one more, so that
    /// nothing is won when it changes hands.
    pub(crate) fn surplus(&self, other: ClientNet, client: ClientNet) -> Option<usize> {
        let (theirs, ours) = other.first_difference(client)?;
        self.of(theirs).checked_sub(self.of(ours)).filter(|surplus| *surplus >= 2)
    }

    /// `client` has one more.
    pub(crate) fn add(&mut self, client: ClientNet) {
        for prefix in client.prefixes() {
            *self.0.entry(prefix).or_default() += 1;
        }
    }

    /// `client` has one less.
    pub(crate) fn remove(&mut self, client: ClientNet) {
        for prefix in client.prefixes() {
            if let Some(share) = self.0.get_mut(&prefix) {
                *share -= 1;
                if *share == 0 {
                    self.0.remove(&prefix);
                }
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
