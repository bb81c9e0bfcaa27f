//! The id of a message: in the log, in `Received`, in the 250 reply and in its bounce address.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_DNSSEC;
use rand::RngExt;

use crate::clock::Timestamp;

/// Octets of an id.
const LEN: usize = 10;

/// The first of them, which hold the time.
const TIME_LEN: usize = 4;

/// The second in which the message began, 32 bits, and 48 random bits: ids are in the order of
/// time, and two of one second differ.
///
/// As text it has 16 characters: the extended hex alphabet of base 32 in lower case (RFC 4648 §7),
/// which keeps the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId([u8; LEN]);

/// The string is not the id of any message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a message id")]
pub struct MessageIdError;

impl MessageId {
    /// The id of a message that begins `now`.
    pub fn new(now: Timestamp) -> Self {
        let mut octets = [0; LEN];
        octets[..TIME_LEN].copy_from_slice(&seconds(now).to_be_bytes());
        rand::rng().fill(&mut octets[TIME_LEN..]);
        MessageId(octets)
    }

    /// The first octets of the earliest possible id at `instant`: ids of that second and later ones are not
    /// less, earlier ones are.
    pub fn earliest_at(instant: Timestamp) -> [u8; TIME_LEN] {
        seconds(instant).to_be_bytes()
    }

    /// When the message began.
    pub fn began(&self) -> Timestamp {
        let [a, b, c, d, ..] = self.0;
        Timestamp::from_second(u32::from_be_bytes([a, b, c, d]).into())
            .expect("32 bits of seconds end in 2106")
    }

    /// The octets, in the order of time.
    pub fn as_octets(&self) -> &[u8] {
        &self.0
    }
}

/// 1970 to 2106; before and after, the first and the last second.
fn seconds(instant: Timestamp) -> u32 {
    instant.as_second().clamp(0, u32::MAX.into()) as u32
}

/// In lower case only, as it is displayed.
impl FromStr for MessageId {
    type Err = MessageIdError;

    fn from_str(text: &str) -> Result<Self, MessageIdError> {
        if text.bytes().any(|octet| octet.is_ascii_uppercase()) {
            return Err(MessageIdError);
        }
        let octets = BASE32_DNSSEC.decode(text.as_bytes()).map_err(|_| MessageIdError)?;
        octets.try_into().map(MessageId).map_err(|_| MessageIdError)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE32_DNSSEC.encode(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn ids_are_in_the_order_of_time_and_never_the_same() {
        let ids = [0, 1, 1_800_000_000, 1_800_000_001, i64::from(u32::MAX)]
            .map(|second| MessageId::new(at(second)));
        assert!(ids.is_sorted(), "{ids:?}");
        assert!(ids.map(|id| id.to_string()).is_sorted(), "{ids:?}");
        assert_ne!(MessageId::new(at(1)), MessageId::new(at(1)));
        assert!(ids[2].as_octets() >= &MessageId::earliest_at(at(1_800_000_000))[..]);
        assert!(ids[2].as_octets() < &MessageId::earliest_at(at(1_800_000_001))[..]);
    }

    #[test]
    fn an_id_is_read_back_and_knows_its_second() {
        let id = MessageId::new(at(1_800_000_000));
        let text = id.to_string();
        assert!(text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'v')), "{text}");
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(id.began(), at(1_800_000_000));
    }

    #[test]
    fn what_is_no_id_is_not_read() {
        for text in [
            "ABCDEFGHIJKLMNOP",
            "",
            "0",
            "000000000000000",
            "00000000000000000",
            "000000000000000w",
            "00000000000000é",
        ] {
            assert_eq!(text.parse::<MessageId>(), Err(MessageIdError), "{text}");
        }
    }
}
