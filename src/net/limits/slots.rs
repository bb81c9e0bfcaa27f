//! So much for each client at a time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::client::ClientNet;
use super::is_reached;
use super::shares::Shares;

/// A number of slots, of which no client, and none of its wider networks, may take too many.
pub struct Slots {
    taken: Mutex<Taken>,
}

struct Taken {
    most: usize,
    most_per_client: usize,
    all: usize,
    shares: Shares,
}

/// A slot that was taken; given back when it is dropped.
pub struct Slot {
    slots: Arc<Slots>,
    client: ClientNet,
}

/// Why there is no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// All are taken.
    ForAll,
    /// This client, or one of its wider networks, has all it may have.
    ForClient,
}

impl Slots {
    /// `most` in all, `most_per_client` for each; 0 stands for no limit.
    pub fn new(most: usize, most_per_client: usize) -> Arc<Self> {
        let taken = Taken { most, most_per_client, all: 0, shares: Shares::default() };
        Arc::new(Slots { taken: Mutex::new(taken) })
    }

    /// From now on `most` in all, `most_per_client` for each. Slots that are taken stay taken.
    pub fn set_limits(&self, most: usize, most_per_client: usize) {
        let mut taken = self.taken();
        (taken.most, taken.most_per_client) = (most, most_per_client);
    }

    /// Takes one for `client`.
    ///
    /// # Errors
    /// When there is none left.
    pub fn take(self: &Arc<Self>, client: ClientNet) -> Result<Slot, Full> {
        let mut taken = self.taken();
        if is_reached(taken.most, taken.all) {
            return Err(Full::ForAll);
        }
        if !taken.shares.has_room(client, taken.most_per_client) {
            return Err(Full::ForClient);
        }
        taken.all += 1;
        taken.shares.add(client);
        Ok(Slot { slots: self.clone(), client })
    }

    /// Whether more than 80 % are taken: then time-outs are short.
    pub fn are_scarce(&self) -> bool {
        let taken = self.taken();
        is_scarce(taken.most, taken.all)
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // The figures are whole whatever happened to the thread that held them.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.taken();
        taken.all -= 1;
        taken.shares.remove(self.client);
    }
}

/// Whether more than 80 % of `most` (0: no limit) are taken.
pub(crate) fn is_scarce(most: usize, taken: usize) -> bool {
    most > 0 && taken * 5 > most * 4
}

#[cfg(test)]
mod tests {
    use super::super::tests::{client, nth};
    use super::*;

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
        drop((_first, _second, third));
        assert!(slots.taken().shares.is_empty(), "clients without slots stay in the table");
    }

    /// Slots that the networks of `addresses` get, each as many as there are, of 50 for a client.
    fn taken_by(addresses: impl Iterator<Item = String>) -> usize {
        let slots = Slots::new(0, 50);
        let greedy = addresses.flat_map(|address| vec![client(&address); 60]);
        greedy.filter_map(|client| slots.take(client).ok()).collect::<Vec<_>>().len()
    }

    /// docs/smtp.md §2: a customer has as many as one client, or as two.
    #[test]
    fn an_ipv6_56_has_the_slots_of_one_client_and_a_48_those_of_two() {
        assert_eq!(taken_by(["2001:db8::1".to_owned()].into_iter()), 50);
        assert_eq!(taken_by((0..256).map(|n| format!("2001:db8:0:{n:x}::1"))), 50);
        assert_eq!(taken_by((0..256).map(|n| format!("2001:db8:0:{n:x}00::1"))), 100);
    }

    #[test]
    fn an_ipv4_24_has_the_slots_of_eight_clients() {
        assert_eq!(taken_by((0..8).map(|n| format!("192.0.2.{n}"))), 400);
        assert_eq!(taken_by((0..256).map(|n| format!("192.0.2.{n}"))), 400);
    }

    #[test]
    fn slots_without_a_limit_do_not_end() {
        let slots = Slots::new(0, 0);
        let _all: Vec<_> = (0..1000).map(|_| slots.take(nth(1)).unwrap()).collect();
        assert!(!slots.are_scarce());
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
    fn a_panic_while_counting_leaves_the_slots_usable() {
        let slots = Slots::new(1, 1);
        let poisoner = slots.clone();
        let panicked = std::thread::spawn(move || {
            let _taken = poisoner.taken();
            panic!("for the test's sake");
        });
        assert!(panicked.join().is_err());
        drop(slots.take(nth(1)).unwrap());
        slots.take(nth(2)).unwrap();
    }

    #[test]
    fn another_limit_holds_from_now_on_and_takes_no_slot_away() {
        let slots = Slots::new(2, 0);
        let taken = [1, 2].map(|n| slots.take(nth(n)).ok().unwrap());
        slots.set_limits(1, 1);
        assert!(slots.take(nth(3)).is_err());
        drop(taken);
        let _one = slots.take(nth(1)).ok().unwrap();
        assert!(slots.take(nth(2)).is_err());
    }
}
