//! One list: its name, queries and answers.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::address::Domain;
use crate::resolve::{ResolveError, Resolver};

/// A label this long is the key of a customer, as providers of lists hand them out (Spamhaus' has
/// 26 characters). It is part of the query, and secret.
const KEY_LENGTH: usize = 20;

/// A list. Its answers count only while it is in use, which a test decides for each family of addresses.
pub(super) struct List {
    zone: Domain,
    /// What it is called: the zone without a customer's key.
    name: Arc<str>,
    resolver: Arc<Resolver>,
    pub(super) v4: Standing,
    pub(super) v6: Standing,
    /// That it refuses our queries is logged already.
    refusal_was_logged: AtomicBool,
}

/// Whether a list is in use.
#[derive(Default)]
pub(super) struct Standing {
    is_in_use: AtomicBool,
    was_tested: AtomicBool,
}

/// A list's answer about an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Listed,
    NotListed,
    /// It refuses *our* queries: too many, or through a public resolver.
    Refused,
}

impl List {
    pub(super) fn new(zone: &Domain, resolver: Arc<Resolver>) -> Self {
        let name = match zone.as_str().split_once('.') {
            Some((label, rest)) if label.len() >= KEY_LENGTH => rest,
            _ => zone.as_str(),
        };
        List {
            zone: zone.clone(),
            name: name.into(),
            resolver,
            v4: Standing::default(),
            v6: Standing::default(),
            refusal_was_logged: AtomicBool::new(false),
        }
    }

    pub(super) fn zone(&self) -> &Domain {
        &self.zone
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Whether its answer about `client` counts.
    pub(super) fn is_in_use(&self, client: IpAddr) -> bool {
        let standing = if client.is_ipv4() { &self.v4 } else { &self.v6 };
        standing.is_in_use.load(Ordering::Relaxed)
    }

    /// Whether `client` is on it, as far as it answers.
    pub(super) async fn has(&self, client: IpAddr) -> bool {
        match self.query(client).await {
            Ok(Answer::Listed) => true,
            Ok(Answer::NotListed) => false,
            Ok(Answer::Refused) => {
                if !self.refusal_was_logged.swap(true, Ordering::Relaxed) {
                    tracing::warn!(list = %self.name, "the DNS list refuses our queries");
                }
                false
            }
            Err(cause) => {
                tracing::debug!(list = %self.name, %cause, "no answer from a DNS list");
                false
            }
        }
    }

    pub(super) async fn query(&self, address: IpAddr) -> Result<Answer, ResolveError> {
        Ok(Answer::from(self.resolver.a_records(&self.query_name(address)).await?.as_slice()))
    }

    /// Forgets its answer about `address`, so that the next query is sent.
    pub(super) fn forget(&self, address: IpAddr) {
        self.resolver.forget(&self.query_name(address));
    }

    /// The name whose A record tells about `address`: its octets, or its 32 nibbles, in reverse
    /// (RFC 5782 §2.1, §2.4).
    fn query_name(&self, address: IpAddr) -> String {
        let mut labels: Vec<String> = match address {
            IpAddr::V4(v4) => v4.octets().iter().map(u8::to_string).collect(),
            IpAddr::V6(v6) => format!("{:032x}", v6.to_bits()).chars().map(String::from).collect(),
        };
        labels.reverse();
        format!("{}.{}.", labels.join("."), self.zone)
    }
}

impl Standing {
    /// Whether that is a change, or the first result.
    pub(super) fn set(&self, is_in_use: bool) -> bool {
        let before = self.is_in_use.swap(is_in_use, Ordering::Relaxed);
        !self.was_tested.swap(true, Ordering::Relaxed) || before != is_in_use
    }
}

impl From<&[Ipv4Addr]> for Answer {
    /// Only 127.0.0.0/8 is an answer; other addresses come from parked domains and from
    /// resolvers that answer for names that do not exist. 127.255.255.0/24 is for error codes.
    fn from(answers: &[Ipv4Addr]) -> Self {
        let refuses = |answer: &Ipv4Addr| answer.octets().starts_with(&[127, 255, 255]);
        if answers.iter().any(|answer| answer.is_loopback() && !refuses(answer)) {
            Answer::Listed
        } else if answers.iter().any(refuses) {
            Answer::Refused
        } else {
            Answer::NotListed
        }
    }
}

/// Whether a list may know `address`. Private networks are never queried: the query would tell what goes
/// on inside.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => match v4.octets() {
            // This network, shared address space (RFC 6598), benchmarks (RFC 2544), protocol
            // assignments (RFC 6890), multicast and reserved.
            [0, ..] | [100, 64..128, ..] | [198, 18 | 19, ..] | [192, 0, 0, _] | [224..=255, ..] => false,
            _ => !(v4.is_private() || v4.is_loopback() || v4.is_link_local()),
        },
        // Global unicast (RFC 4291 §2.4, IANA); all else is local, or not in use.
        IpAddr::V6(v6) => v6.segments()[0] >> 13 == 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Dns;

    fn list(zone: &str) -> List {
        let resolver = Resolver::new(&Dns::default(), |_| {});
        List::new(&zone.parse().unwrap(), Arc::new(resolver))
    }

    fn query_name(address: &str) -> String {
        list("dnsbl.example").query_name(address.parse().unwrap())
    }

    #[test]
    fn an_ipv4_address_is_queried_in_reversed_octets() {
        assert_eq!(query_name("192.0.2.99"), "99.2.0.192.dnsbl.example.");
    }

    #[test]
    fn an_ipv6_address_is_queried_in_32_reversed_nibbles() {
        assert_eq!(
            query_name("2001:db8:1:2:3:4:567:89ab"),
            "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.dnsbl.example."
        );
        assert_eq!(
            query_name("::FFFF:7F00:2"),
            "2.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.dnsbl.example."
        );
    }

    #[test]
    fn only_127_is_an_answer_and_127_255_255_a_refusal() {
        for (answers, expected) in [
            (&["127.0.0.2"][..], Answer::Listed),
            (&["127.1.2.3"], Answer::Listed),
            (&[], Answer::NotListed),
            (&["1.2.3.4"], Answer::NotListed),
            (&["128.0.0.2", "10.0.0.1"], Answer::NotListed),
            (&["127.255.255.254"], Answer::Refused),
            (&["127.255.255.1", "1.2.3.4"], Answer::Refused),
            (&["127.255.254.1"], Answer::Listed),
            (&["127.255.255.254", "127.0.0.4"], Answer::Listed),
        ] {
            let addresses: Vec<Ipv4Addr> = answers.iter().map(|answer| answer.parse().unwrap()).collect();
            assert_eq!(Answer::from(addresses.as_slice()), expected, "{answers:?}");
        }
    }

    #[test]
    fn a_list_is_called_by_its_zone_without_the_customers_key() {
        for (zone, name) in [
            ("zen.spamhaus.example", "zen.spamhaus.example"),
            ("b.barracudacentral.example", "b.barracudacentral.example"),
            ("aip3yxkfe34ivlm6wirpwbupp4.zen.dq.spamhaus.example", "zen.dq.spamhaus.example"),
        ] {
            let list = list(zone);
            assert_eq!(&*list.name, name);
            assert!(list.query_name("192.0.2.1".parse().unwrap()).ends_with(&format!(".{zone}.")));
        }
    }

    #[test]
    fn only_public_addresses_are_queried() {
        for public in ["8.8.8.8", "100.63.0.1", "172.32.0.1", "223.255.255.255", "2600::1", "3fff::1"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for private in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.0.1",
            "127.0.0.1",
            "169.254.1.1",
            "172.16.0.1",
            "172.31.0.1",
            "192.0.0.8",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "64:ff9b::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
    }
}
