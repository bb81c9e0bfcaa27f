//! How much one client may ask of us: so much at a time ([`Slots`]), so much in a span of time
//! ([`Rate`]).
//!
//! A client is a [`ClientNet`]; the wider network that it is part of is counted, too, with a larger
//! allowance. All of it is in memory, bounded whatever comes from outside, and forgotten when the
//! program ends.
//!
//! | file | what is in it |
//! |---|---|
//! | [`client`] | what counts as one client, and the networks it is part of |
//! | [`slots`], [`shares`] | so much at a time; how much each network has at the moment |
//! | [`rate`] | so much in a span of time |
//! | [`credits`] | what a client has earned by something good |
//! | [`recent`] | what is known of the keys that were seen last, in bounded memory |

mod client;
mod credits;
mod rate;
mod recent;
mod shares;
mod slots;

pub use client::ClientNet;
pub use credits::Credits;
pub use rate::Rate;
pub(crate) use shares::Shares;
pub(crate) use slots::is_scarce;
pub use slots::{Full, Slot, Slots};

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
pub(crate) mod tests {
    use std::net::IpAddr;

    use super::*;

    pub(crate) fn client(address: &str) -> ClientNet {
        address.parse::<IpAddr>().unwrap().into()
    }

    /// A client, in a /24 of its own.
    pub(crate) fn nth(n: u32) -> ClientNet {
        IpAddr::from((n << 8).to_be_bytes()).into()
    }

    #[test]
    fn the_lesser_of_two_limits_is_the_only_one_when_the_other_is_0() {
        assert_eq!((lesser_limit(3, 2), lesser_limit(2, 3)), (2, 2));
        assert_eq!((lesser_limit(0, 3), lesser_limit(3, 0), lesser_limit(0, 0)), (3, 3, 0));
    }
}
