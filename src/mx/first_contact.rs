//! Response times at RCPT are padded against a timing side channel: a client that writes to an alias for
//! the first time cannot tell by them how well the smarthost knows the mailbox behind it.
//!
//! Smarthosts look recipients up, and remember what they have found: a mailbox at a host that was asked
//! for a moment ago is answered sooner. Anybody may make an alias for a mailbox at a host that they guess,
//! write to it, and then measure how long RCPT takes for an alias of somebody else. So the answer to it
//! comes at whole steps of time. Each message that the client delivers to the alias lets one later answer
//! come at its own time: so senders that go on delivering are not delayed, and each exact measurement
//! costs a use of the alias, which its holder sees.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::DELIVERY_REMEMBERED;
use crate::alias::AliasName;
use crate::net::limits::{ClientNet, Credits};

/// An answer comes at a multiple of this after the smarthost was asked. It covers look-ups in the DNS that
/// are not in a cache (a few round trips across the world, tens of milliseconds each), and is nothing to a
/// mail server that waits for it.
const RESPONSE_STEP: Duration = Duration::from_millis(500);

/// Who has delivered to which alias, and how many answers about it need not be padded.
pub(super) struct FirstContact {
    deliveries: Credits<u64>,
    /// Keeps nobody's network, and no alias, in memory.
    hasher: RandomState,
}

impl Default for FirstContact {
    fn default() -> Self {
        FirstContact { deliveries: Credits::new(DELIVERY_REMEMBERED), hasher: RandomState::new() }
    }
}

impl FirstContact {
    /// Remembers that `client` has delivered to `alias`, or to the postmaster.
    pub(super) fn note_delivery(&self, client: ClientNet, alias: Option<&AliasName>) {
        self.deliveries.give(self.key(client, alias));
    }

    /// Ends at a whole step of time after `asked`, unless `client` has delivered to `alias` since its last
    /// answer that was not padded.
    pub(super) async fn pad_response_time(
        &self,
        client: ClientNet,
        alias: Option<&AliasName>,
        asked: Instant,
    ) {
        if !self.deliveries.take(self.key(client, alias)) {
            sleep_until(asked + next_step(asked.elapsed())).await;
        }
    }

    /// Whether `client` has delivered to `alias` lately, so that naming it is no guess.
    pub(super) fn has_delivered(&self, client: ClientNet, alias: &AliasName) -> bool {
        self.deliveries.has_been_given(&self.key(client, Some(alias)))
    }

    /// Forgets the deliveries of long ago.
    pub(super) fn forget(&self) {
        self.deliveries.forget();
    }

    fn key(&self, client: ClientNet, alias: Option<&AliasName>) -> u64 {
        self.hasher.hash_one((client, alias))
    }
}

/// The step that `taken` falls into, up to its end.
fn next_step(taken: Duration) -> Duration {
    let steps = taken.as_nanos() / RESPONSE_STEP.as_nanos() + 1;
    RESPONSE_STEP * u32::try_from(steps).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use tokio::time::sleep;

    use super::*;

    fn client(address: &str) -> ClientNet {
        address.parse::<IpAddr>().unwrap().into()
    }

    /// How long `client` waits for the answer about `alias` when the smarthost takes `millis`.
    async fn waits(contact: &FirstContact, client: ClientNet, alias: &str, millis: u64) -> u128 {
        let asked = Instant::now();
        sleep(Duration::from_millis(millis)).await;
        contact.pad_response_time(client, Some(&alias.parse().unwrap()), asked).await;
        asked.elapsed().as_millis()
    }

    /// docs/smtp.md §3: what the smarthost has in a cache, and what it has not.
    #[tokio::test(start_paused = true)]
    async fn what_the_smarthost_knows_and_what_it_looks_up_takes_the_same_time() {
        let (contact, stranger) = (FirstContact::default(), client("192.0.2.1"));
        for millis in [0, 1, 20, 499] {
            assert_eq!(waits(&contact, stranger, "k7m2q1", millis).await, 500, "{millis}");
        }
        for millis in [500, 999] {
            assert_eq!(waits(&contact, stranger, "k7m2q1", millis).await, 1000, "{millis}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_delivery_lets_one_answer_about_that_alias_come_at_its_own_time() {
        let (contact, shop) = (FirstContact::default(), client("192.0.2.1"));
        contact.note_delivery(shop, Some(&"k7m2q1".parse().unwrap()));
        assert_eq!(waits(&contact, shop, "k7m2q2", 2).await, 500);
        assert_eq!(waits(&contact, client("192.0.2.2"), "k7m2q1", 2).await, 500);
        assert_eq!(waits(&contact, shop, "k7m2q1", 2).await, 2);
        assert_eq!(waits(&contact, shop, "k7m2q1", 2).await, 500, "a second measurement costs another use");
        contact.note_delivery(shop, None);
        assert_eq!(waits(&contact, shop, "k7m2q2", 2).await, 500);
    }

    #[test]
    fn a_client_knows_the_aliases_that_it_has_delivered_to() {
        let contact = FirstContact::default();
        let [sender, neighbour] = [client("192.0.2.1"), client("192.0.2.2")];
        let [shop, news]: [AliasName; 2] = ["k7m2q1", "k7m2q2"].map(|name| name.parse().unwrap());
        contact.note_delivery(sender, Some(&shop));
        contact.forget();
        assert!(contact.has_delivered(sender, &shop));
        assert!(!contact.has_delivered(sender, &news) && !contact.has_delivered(neighbour, &shop));
    }
}
