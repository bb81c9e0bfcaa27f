//! How often a client may guess at aliases, and what it hears then.

use std::time::Duration;

use super::DELIVERY_REMEMBERED;
use crate::net::limits::{ClientNet, Credits, Rate};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// Unknown recipients of each client.
///
/// A client with too many is rejected at the greeting, and a session that begins when one of its wider
/// networks has had too many is told nothing about aliases. But a host that sends for many people has some
/// who guess, and some whose aliases are over. So a client that has delivered a message is never rejected:
/// only the sessions that guess are ended. A client that guesses can deliver a message, too; so when it has
/// guessed as often once more it is told nothing either, except about the aliases that it has delivered to.
pub(super) struct Guesses {
    allowed: Rate,
    /// Those beyond.
    excess: Rate,
    delivered: Credits<ClientNet>,
}

impl Guesses {
    /// `per_hour` for each client; 0 stands for no limit.
    pub(super) fn new(per_hour: u32) -> Self {
        let rate = || Rate::new(per_hour, HOUR);
        Guesses { allowed: rate(), excess: rate(), delivered: Credits::new(DELIVERY_REMEMBERED) }
    }

    /// From now on `per_hour`.
    pub(super) fn set_limit(&self, per_hour: u32) {
        self.allowed.set_limit(per_hour, HOUR);
        self.excess.set_limit(per_hour, HOUR);
    }

    /// Counts an unknown recipient. Whether that is one too many: then the session is to end.
    pub(super) fn count_unknown_recipient(&self, client: ClientNet) -> bool {
        let is_excess = self.allowed.count(client).is_err();
        if is_excess && self.has_delivered(client) {
            let _ = self.excess.count(client); // there is no more to know than that
        }
        is_excess
    }

    /// Whether nothing is to be said to `client` about aliases, good or not, to which it has not delivered.
    pub(super) fn is_exhausted(&self, client: ClientNet) -> bool {
        let may_go_on = || self.has_delivered(client) && self.excess.peek(client).is_ok();
        self.allowed.peek(client).is_err() && !may_go_on()
    }

    /// Whether `client` is to be rejected at the greeting: it has guessed too often itself, and has
    /// delivered nothing.
    pub(super) fn is_rejected_at_greeting(&self, client: ClientNet) -> bool {
        self.allowed.peek_client(client).is_err() && !self.has_delivered(client)
    }

    /// Remembers that `client` has delivered a message.
    pub(super) fn note_delivery(&self, client: ClientNet) {
        self.delivered.give(client);
    }

    /// Forgets the clients whose allowance is full again.
    pub(super) fn forget(&self) {
        self.allowed.forget();
        self.excess.forget();
        self.delivered.forget();
    }

    fn has_delivered(&self, client: ClientNet) -> bool {
        self.delivered.has_been_given(&client)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn client(address: &str) -> ClientNet {
        address.parse::<IpAddr>().unwrap().into()
    }

    /// How often `client` can guess until nothing is said to it any more, and how often that ends its session.
    fn guesses(of: &Guesses, client: ClientNet) -> (usize, usize) {
        let (mut answered, mut ended) = (0, 0);
        while !of.is_exhausted(client) {
            *(if of.count_unknown_recipient(client) { &mut ended } else { &mut answered }) += 1;
        }
        (answered, ended)
    }

    /// docs/smtp.md §2: harvesting.
    #[test]
    fn a_client_that_has_delivered_guesses_twice_as_often_and_is_never_rejected() {
        let limit = Guesses::new(300);
        let [stranger, sender] = [client("192.0.2.1"), client("198.51.100.1")];
        limit.note_delivery(sender);
        assert_eq!(guesses(&limit, stranger), (300, 0));
        assert_eq!(guesses(&limit, sender), (300, 300));
        assert!(limit.is_rejected_at_greeting(stranger) && !limit.is_rejected_at_greeting(sender));
    }

    /// docs/design.md: what an IPv6 customer gains by having many networks.
    #[test]
    fn a_56_may_guess_300_times_an_hour_a_48_600_times_and_an_ipv4_24_2400_times() {
        let all = |addresses: &mut dyn Iterator<Item = String>| {
            let limit = Guesses::new(300);
            addresses.map(|address| guesses(&limit, client(&address)).0).sum::<usize>()
        };
        assert_eq!(all(&mut (0..256).map(|n| format!("2001:db8:0:{n:x}::1"))), 300);
        assert_eq!(all(&mut (0..=0xffff).map(|n| format!("2001:db8:0:{n:x}::1"))), 600);
        assert_eq!(all(&mut (0..256).map(|n| format!("192.0.2.{n}"))), 2400);
    }

    #[test]
    fn a_client_that_has_not_guessed_itself_is_greeted_and_told_nothing() {
        let limit = Guesses::new(300);
        let neighbour = client("2001:db8:0:2::1");
        assert_eq!(guesses(&limit, client("2001:db8:0:1::1")), (300, 0));
        assert!(!limit.is_rejected_at_greeting(neighbour) && limit.is_exhausted(neighbour));
        limit.note_delivery(neighbour);
        assert!(!limit.is_exhausted(neighbour));
    }

    #[test]
    fn the_deliveries_and_guesses_of_a_neighbour_do_not_count() {
        let limit = Guesses::new(300);
        limit.note_delivery(client("192.0.2.1"));
        assert_eq!(guesses(&limit, client("192.0.2.2")), (300, 0));
        assert!(!limit.is_exhausted(client("192.0.2.1")) && !limit.is_exhausted(client("192.0.2.3")));
    }

    #[test]
    fn another_limit_does_not_forget_who_has_delivered() {
        let limit = Guesses::new(300);
        limit.note_delivery(client("192.0.2.1"));
        limit.set_limit(5);
        assert_eq!(guesses(&limit, client("192.0.2.1")), (5, 5));
    }
}
