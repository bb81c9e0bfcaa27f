//! How much one client may ask of us: so much at a time ([`Slots`]), so much in a span of time
//! ([`Rate`]).
//!
//! A client is a [`ClientNet`], because in IPv6 everybody has a whole /64 of addresses. All of it
//! is in memory, bounded whatever comes from outside, and forgotten when the program ends.

mod rate;
mod slots;

pub use rate::Rate;
pub use slots::{Full, Slot, Slots};

use std::net::IpAddr;

/// One client: an IPv4 address, or an IPv6 network of 64 bits (RFC 6177: nobody gets less).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientNet(Net);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Net {
    V4([u8; 4]),
    V6([u8; 8]),
}

impl From<IpAddr> for ClientNet {
    /// An IPv4 address in IPv6 clothes (`::ffff:192.0.2.1`) is the IPv4 client.
    fn from(address: IpAddr) -> Self {
        ClientNet(match address.to_canonical() {
            IpAddr::V4(v4) => Net::V4(v4.octets()),
            IpAddr::V6(v6) => Net::V6(*v6.octets().first_chunk().expect("16 octets hold 8")),
        })
    }
}

/// Whether `count` has come up to a `limit`, of which 0 stands for none.
pub fn is_reached(limit: usize, count: usize) -> bool {
    limit > 0 && count >= limit
}

/// The lesser of two limits, of which 0 stands for none.
pub fn lesser_limit(one: u64, other: u64) -> u64 {
    match (one, other) {
        (0, only) | (only, 0) => only,
        (one, other) => one.min(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn client(address: &str) -> ClientNet {
        address.parse::<IpAddr>().unwrap().into()
    }

    pub(super) fn nth(n: u32) -> ClientNet {
        IpAddr::from(n.to_be_bytes()).into()
    }

    #[test]
    fn a_client_is_an_ipv4_address_or_an_ipv6_network_of_64_bits() {
        assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
        assert_eq!(client("2001:db8::1"), client("2001:db8::ffff:ffff:ffff:ffff"));
        assert_ne!(client("2001:db8::1"), client("2001:db8:0:1::1"));
        assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
    }

    #[test]
    fn the_lesser_of_two_limits_is_the_only_one_when_the_other_is_0() {
        assert_eq!((lesser_limit(3, 2), lesser_limit(2, 3)), (2, 2));
        assert_eq!((lesser_limit(0, 3), lesser_limit(3, 0), lesser_limit(0, 0)), (3, 3, 0));
    }
}
