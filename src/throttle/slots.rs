//! So much of each client at a time.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{ClientNet, is_reached};

/// Of fewer slots, more than 80 % are all of them.
const FEW: usize = 5;

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
    /// In the order of their coming.
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    client: ClientNet,
    /// Closed when it has given up.
    place: oneshot::Sender<Slot>,
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
        self.take_from(&mut self.taken(), client)
    }

    /// Takes one for `client`, or the first that comes free for it within `patience`. Who has waited
    /// longest is the first to get one.
    ///
    /// # Errors
    /// When none came free.
    pub async fn wait(self: &Arc<Self>, client: ClientNet, patience: Duration) -> Result<Slot, Full> {
        let (full, slot) = {
            let mut taken = self.taken();
            let full = match self.take_from(&mut taken, client) {
                Ok(slot) => return Ok(slot),
                Err(full) => full,
            };
            let (place, slot) = oneshot::channel();
            taken.waiting.retain(|waiting| !waiting.place.is_closed());
            taken.waiting.push_back(Waiting { client, place });
            (full, slot)
        };
        match timeout(patience, slot).await {
            Ok(Ok(slot)) => Ok(slot),
            _ => Err(full),
        }
    }

    /// Whether more than 80 % are taken: time to be short with everybody.
    pub fn are_scarce(&self) -> bool {
        self.most > 0 && self.taken().all * 5 > self.most * 4
    }

    /// The same for slots that can be waited for. Of fewer than five there is no share in between:
    /// that all are taken harms nobody until somebody waits.
    pub fn are_wanted(&self) -> bool {
        let is_waited_for = || self.taken().waiting.iter().any(|waiting| !waiting.place.is_closed());
        self.are_scarce() && (self.most >= FEW || is_waited_for())
    }

    fn take_from(self: &Arc<Self>, taken: &mut Taken, client: ClientNet) -> Result<Slot, Full> {
        self.room(taken, client)?;
        taken.all += 1;
        *taken.by_client.entry(client).or_default() += 1;
        Ok(Slot { slots: self.clone(), client })
    }

    fn room(&self, taken: &Taken, client: ClientNet) -> Result<(), Full> {
        if is_reached(self.most, taken.all) {
            return Err(Full::ForAll);
        }
        let of_client = taken.by_client.get(&client).copied().unwrap_or(0);
        if is_reached(self.most_per_client, of_client) {
            return Err(Full::ForClient);
        }
        Ok(())
    }

    /// The first of those who wait that there is room for, with its slot.
    fn next(self: &Arc<Self>) -> Option<(oneshot::Sender<Slot>, Slot)> {
        let mut taken = self.taken();
        taken.waiting.retain(|waiting| !waiting.place.is_closed());
        let first = taken.waiting.iter().position(|one| self.room(&taken, one.client).is_ok())?;
        let Waiting { client, place } = taken.waiting.remove(first)?;
        let slot = self.take_from(&mut taken, client).ok()?;
        Some((place, slot))
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // The figures are whole whatever happened to the thread that held them.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        {
            let mut taken = self.slots.taken();
            taken.all -= 1;
            if let Some(of_client) = taken.by_client.get_mut(&self.client) {
                *of_client -= 1;
                if *of_client == 0 {
                    taken.by_client.remove(&self.client);
                }
            }
        }
        if let Some((place, slot)) = self.slots.next() {
            // Whoever gave up in this moment drops it, and the next one has it.
            let _ = place.send(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{client, nth};
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

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

    #[tokio::test(start_paused = true)]
    async fn of_fewer_than_five_slots_that_can_be_waited_for_none_is_scarce_until_somebody_waits() {
        for most in 1..=5 {
            let slots = Slots::new(most, 0);
            let taken: Vec<_> = (0..most).map(|_| slots.take(nth(1)).unwrap()).collect();
            assert_eq!(slots.are_wanted(), most == 5, "{most}");
            let waiting = tokio::spawn({
                let slots = slots.clone();
                async move { slots.wait(nth(2), MINUTE).await.map(drop) }
            });
            tokio::task::yield_now().await;
            assert!(slots.are_wanted(), "{most}");
            assert_eq!(waiting.await.unwrap(), Err(Full::ForAll));
            assert_eq!(slots.are_wanted(), most == 5, "{most}: it has given up");
            drop(taken);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_longest_has_the_next_slot_unless_its_client_has_its_share() {
        let slots = Slots::new(3, 2);
        let [first, second] = [(); 2].map(|()| slots.take(nth(1)).unwrap());
        let third = slots.take(nth(2)).unwrap();
        let wait = |n| {
            let slots = slots.clone();
            tokio::spawn(async move { slots.wait(nth(n), MINUTE).await })
        };
        let (greedy, patient, last) = (wait(1), wait(3), wait(4));
        tokio::task::yield_now().await;
        drop(third);
        let patient = patient.await.unwrap().unwrap();
        drop(first);
        let greedy = greedy.await.unwrap().unwrap();
        assert!(!last.is_finished());
        drop(second);
        let last = last.await.unwrap().unwrap();
        assert_eq!(slots.taken().all, 3);
        drop((patient, greedy, last));
        let taken = slots.taken();
        assert_eq!((taken.all, taken.by_client.len()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_gives_up_waiting_takes_no_slot_with_it() {
        let slots = Slots::new(2, 1);
        let taken = slots.take(nth(1)).unwrap();
        assert_eq!(slots.wait(nth(1), MINUTE).await.err(), Some(Full::ForClient));
        let other = slots.take(nth(2)).unwrap();
        assert_eq!(slots.wait(nth(3), MINUTE).await.err(), Some(Full::ForAll));
        drop((taken, other));
        assert_eq!(slots.taken().all, 0);
        assert!(slots.taken().waiting.is_empty());
    }

    #[test]
    fn a_panic_while_counting_takes_no_slot_from_anybody() {
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
}
