//! The trace fields that we add to a message (RFC 5321 §4.4).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jiff::tz::TimeZone;

use crate::clock::Timestamp;

/// What `Received` tells about a message.
pub struct Received<'a> {
    /// What the client calls itself, as it came.
    pub helo: &'a str,
    /// Its address.
    pub peer: IpAddr,
    /// Ours.
    pub hostname: &'a str,
    /// ESMTP or SMTP (RFC 3848).
    pub protocol: &'static str,
    /// The message's.
    pub id: &'a str,
    /// The alias; none for the postmaster's mail.
    pub alias: Option<&'a str>,
    /// The date.
    pub at: Timestamp,
}

impl Received<'_> {
    /// The fields `Received` and, for an alias, `Delivered-To`; CRLF at each line's end
    /// (RFC 5321 §4.4).
    pub fn fields(&self) -> String {
        let Received { helo, peer, hostname, protocol, id, alias, at } = self;
        let helo = printable(helo);
        let peer = match peer.to_canonical() {
            IpAddr::V4(v4) => format!("[{v4}]"),
            IpAddr::V6(v6) => format!("[IPv6:{v6}]"),
        };
        let date = jiff::fmt::rfc2822::to_string(&at.to_zoned(TimeZone::UTC))
            .expect("the present is a year that RFC 5322 can write");
        let (delivered_to, for_clause) = match alias {
            Some(alias) => (format!("Delivered-To: {alias}\r\n"), format!("\r\n\tfor <{alias}>")),
            None => Default::default(),
        };
        format!(
            "{delivered_to}Received: from {helo} ({peer})\r\n\
             \tby {hostname} with {protocol} id {id}{for_clause};\r\n\t{date}\r\n"
        )
    }
}

/// What a client calls itself, as it may stand in `Received` (RFC 5321 §4.1.2, §4.1.3): a domain or an address
/// literal; everything else is `unknown`.
pub fn printable(helo: &str) -> &str {
    let name = helo.strip_suffix('.').unwrap_or(helo);
    if is_domain(name) {
        name
    } else if is_address_literal(helo) {
        helo
    } else {
        "unknown"
    }
}

/// RFC 5321 §4.1.2, with the lengths of RFC 1035 §2.3.4.
fn is_domain(name: &str) -> bool {
    let is_label = |label: &str| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        (1..=63).contains(&label.len())
            && label.bytes().all(fits)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 255 && name.split('.').all(is_label)
}

fn is_address_literal(helo: &str) -> bool {
    let Some(address) = helo.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else { return false };
    match address.split_at_checked("IPv6:".len()) {
        Some((tag, v6)) if tag.eq_ignore_ascii_case("IPv6:") => v6.parse::<Ipv6Addr>().is_ok(),
        _ => address.parse::<Ipv4Addr>().is_ok(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) const ID: &str = "d7m2q3pqrabcdef4";

    pub(in super::super) fn received<'a>(helo: &'a str, peer: &str, alias: Option<&'a str>) -> String {
        let at = "2026-06-12T14:00:00Z".parse().unwrap();
        let peer = peer.parse().unwrap();
        Received { helo, peer, hostname: "mx.example.com", protocol: "ESMTP", id: ID, alias, at }.fields()
    }

    #[test]
    fn the_alias_is_named() {
        assert_eq!(
            received("client.example.org", "192.0.2.1", Some("k7m2q1@example.com")),
            "Delivered-To: k7m2q1@example.com\r\n\
             Received: from client.example.org ([192.0.2.1])\r\n\
             \tby mx.example.com with ESMTP id d7m2q3pqrabcdef4\r\n\
             \tfor <k7m2q1@example.com>;\r\n\
             \tFri, 12 Jun 2026 14:00:00 +0000\r\n"
        );
    }

    #[test]
    fn the_mail_of_the_postmaster_names_no_alias() {
        let fields = received("c", "2001:db8::1", None);
        assert!(fields.starts_with("Received: from c ([IPv6:2001:db8::1])\r\n\tby mx.example.com with "));
        assert!(fields.contains(&format!(" id {ID};\r\n")) && !fields.contains("Delivered-To"), "{fields}");
    }

    #[test]
    fn a_hello_that_is_no_name_does_not_reach_the_header() {
        let (label, name) = ("x".repeat(64), "x.".repeat(128) + "x");
        for helo in [
            "a\r\nX-Evil: 1",
            "(comment)",
            "a;b",
            "",
            "ü",
            "-",
            ".",
            "..",
            "a..b",
            ".a",
            "-a.example",
            "a-.example",
            "a_b.example",
            "a:b",
            &label,
            &name,
            "[",
            "[]",
            "[127.0.0.1",
            "127.0.0.1]",
            "[127.0.0]",
            "[127.0.0.256]",
            "[::1]",
            "[IPv6:]",
            "[IPv6:127.0.0.1]",
            "[IPv6:::1",
            "[IPv6:fe80::1%eth0]",
            "[a]",
            "[[127.0.0.1]]",
        ] {
            assert!(received(helo, "192.0.2.1", None).starts_with("Received: from unknown ("), "{helo}");
        }
        for helo in [
            "a",
            "localhost",
            "A-1.example",
            "xn--bcher-kva.example",
            "127.0.0.1",
            "[127.0.0.1]",
            "[IPv6:2001:db8::1]",
            "[ipv6:::1]",
        ] {
            assert!(
                received(helo, "192.0.2.1", None).starts_with(&format!("Received: from {helo} (")),
                "{helo}"
            );
        }
        assert_eq!(printable("a.example."), "a.example");
    }
}
