//! What counts as one client, and the networks it is part of.

use std::net::IpAddr;

/// One client, an IPv4 address or an IPv6 network of 64 bits, and the wider networks that it is part of:
/// an IPv4 /24; an IPv6 /56 and /48.
///
/// Customers get a /56 or a /48 of IPv6 (RIPE-690 §4.2), so a limit for each /64 alone is none: one
/// customer has 256 or 65,536 of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientNet(Net);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Net {
    V4([u8; 4]),
    V6([u8; 8]),
}

/// A network that is counted, by its leading octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Prefix {
    V4([u8; 4]),
    V4Wide([u8; 3]),
    V6([u8; 8]),
    V6Customer([u8; 7]),
    V6Wide([u8; 6]),
}

impl ClientNet {
    /// The client alone.
    pub(crate) fn own(self) -> Prefix {
        let [_, _, own] = self.levels();
        own
    }

    /// What an event of this client's counts for: the client, and its wider networks.
    pub(crate) fn prefixes(self) -> impl Iterator<Item = Prefix> + Clone {
        let [wide, middle, own] = self.levels();
        [Some(own), (middle != own).then_some(middle), Some(wide)].into_iter().flatten()
    }

    /// The same in three steps, the widest first. IPv4 has two, so the last stands there twice.
    pub(crate) fn levels(self) -> [Prefix; 3] {
        match self.0 {
            Net::V4(own @ [a, b, c, _]) => [Prefix::V4Wide([a, b, c]), Prefix::V4(own), Prefix::V4(own)],
            Net::V6(own @ [a, b, c, d, e, f, g, _]) => [
                Prefix::V6Wide([a, b, c, d, e, f]),
                Prefix::V6Customer([a, b, c, d, e, f, g]),
                Prefix::V6(own),
            ],
        }
    }

    /// The widest networks in which `self` and `other` differ; none: they are one client.
    pub(crate) fn first_difference(self, other: ClientNet) -> Option<(Prefix, Prefix)> {
        self.levels().into_iter().zip(other.levels()).find(|(mine, theirs)| mine != theirs)
    }
}

impl Prefix {
    /// How many times a client's limit is this network's.
    ///
    /// A /56 is what one customer gets, so it has no more than one client; a /48 may be one customer, or
    /// some. The hosts of an IPv4 /24 are mostly strangers to each other, or a large provider's senders.
    pub(crate) fn factor(self) -> u32 {
        match self {
            Prefix::V4(_) | Prefix::V6(_) | Prefix::V6Customer(_) => 1,
            Prefix::V6Wide(_) => 2,
            Prefix::V4Wide(_) => 8,
        }
    }

    /// What this network may have where a client may have `limit`; 0 stands for no limit.
    pub(crate) fn allowance(self, limit: usize) -> usize {
        limit.saturating_mul(self.factor() as usize)
    }
}

impl From<IpAddr> for ClientNet {
    /// An IPv4 address in IPv6 form (`::ffff:192.0.2.1`) is the IPv4 client.
    fn from(address: IpAddr) -> Self {
        ClientNet(match address.to_canonical() {
            IpAddr::V4(v4) => Net::V4(v4.octets()),
            IpAddr::V6(v6) => Net::V6(*v6.octets().first_chunk().expect("16 octets hold 8")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::client;
    use super::*;

    #[test]
    fn a_client_is_an_ipv4_address_or_an_ipv6_network_of_64_bits() {
        assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
        assert_eq!(client("2001:db8::1"), client("2001:db8::ffff:ffff:ffff:ffff"));
        assert_ne!(client("2001:db8::1"), client("2001:db8:0:1::1"));
        assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
    }

    /// How many networks two clients share.
    fn shared(one: &str, other: &str) -> usize {
        let others: Vec<_> = client(other).prefixes().collect();
        client(one).prefixes().filter(|prefix| others.contains(prefix)).count()
    }

    #[test]
    fn wider_networks_are_an_ipv4_24_and_an_ipv6_56_and_48() {
        assert_eq!((shared("192.0.2.1", "192.0.2.255"), shared("192.0.2.1", "192.0.3.1")), (1, 0));
        assert_eq!(shared("2001:db8::1", "2001:db8::2"), 3);
        assert_eq!(shared("2001:db8::1", "2001:db8:0:ff::1"), 2);
        assert_eq!(shared("2001:db8::1", "2001:db8:0:ffff::1"), 1);
        assert_eq!(shared("2001:db8::1", "2001:db8:1::1"), 0);
        assert_eq!(shared("192.0.2.1", "c000:0201::"), 0);
    }

    #[test]
    fn two_clients_differ_first_in_the_widest_network_that_they_do_not_share() {
        let difference = |one: &str, other: &str| client(one).first_difference(client(other));
        assert_eq!(difference("192.0.2.1", "192.0.2.1"), None);
        let (mine, theirs) = difference("2001:db8:0:1::1", "2001:db8:0:100::1").unwrap();
        assert!(matches!((mine, theirs), (Prefix::V6Customer(_), Prefix::V6Customer(_))));
        assert!(matches!(difference("192.0.2.1", "192.0.2.2").unwrap().0, Prefix::V4(_)));
        assert!(matches!(difference("192.0.2.1", "2001:db8::1").unwrap().0, Prefix::V4Wide(_)));
    }

    #[test]
    fn no_limit_stays_none_for_a_wider_network() {
        let allowances = |limit| client("2001:db8::1").prefixes().map(move |prefix| prefix.allowance(limit));
        assert_eq!(allowances(0).collect::<Vec<_>>(), [0, 0, 0]);
        assert_eq!(allowances(50).collect::<Vec<_>>(), [50, 50, 100]);
    }
}
