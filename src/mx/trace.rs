//! The trace: the header fields we put on top, and what the fields of others say about loops.

use std::net::IpAddr;

use jiff::tz::TimeZone;

use crate::clock::Timestamp;

/// So many `Received` fields are a loop (Postfix's `hopcount_limit`).
const MAX_HOPS: usize = 50;

/// Our own host name, or the alias, in the trace so often is a loop: once may be a message that
/// was forwarded to us on purpose.
const MAX_OWN: usize = 2;

/// Largest header section in octets (Exim's `header_maxsize`).
const MAX_HEADER: usize = 1024 * 1024;

/// As much of a header line as is looked at.
const LOOKED_AT: usize = 1024;

/// What `Received` tells about a message.
pub(super) struct Received<'a> {
    pub(super) helo: &'a str,
    pub(super) peer: IpAddr,
    pub(super) hostname: &'a str,
    /// ESMTP or SMTP (RFC 3848).
    pub(super) protocol: &'static str,
    pub(super) id: &'a str,
    /// The alias; none for the postmaster's mail.
    pub(super) alias: Option<&'a str>,
    pub(super) at: Timestamp,
}

impl Received<'_> {
    /// The fields `Received` and, for an alias, `Delivered-To`; CRLF at each line's end
    /// (RFC 5321 §4.4).
    pub(super) fn fields(&self) -> String {
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

/// A client's word for itself, fit for a header or a log: what is no host name or address literal
/// becomes `unknown`.
pub(super) fn printable(helo: &str) -> &str {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b);
    if !helo.is_empty() && helo.bytes().all(fits) { helo } else { "unknown" }
}

/// Why a message is sent back for its header section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderFault {
    Loop,
    TooLarge,
}

/// Reads the header section as it streams by.
pub(super) struct HeaderWatch {
    hostname: String,
    alias: Option<String>,
    line: Vec<u8>,
    octets: usize,
    hops: usize,
    /// `Received` fields of our own, and `Delivered-To` fields of this alias: one pass leaves one of
    /// each.
    received_here: usize,
    delivered_here: usize,
    /// The lines belong to a `Received` field.
    in_received: bool,
    /// The last word of such a line was `by`: the host stands on the next.
    is_after_by: bool,
    is_over: bool,
}

impl HeaderWatch {
    /// Looks for `hostname` and for `alias`, an address.
    pub(super) fn new(hostname: &str, alias: Option<&str>) -> Self {
        HeaderWatch {
            hostname: hostname.to_ascii_lowercase(),
            alias: alias.map(str::to_ascii_lowercase),
            line: Vec::new(),
            octets: 0,
            hops: 0,
            received_here: 0,
            delivered_here: 0,
            in_received: false,
            is_after_by: false,
            is_over: false,
        }
    }

    /// Looks at the next piece of the message.
    pub(super) fn see(&mut self, piece: &[u8]) -> Result<(), HeaderFault> {
        let mut rest = piece;
        while !self.is_over && !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest).map(|at| at + 1);
            let (part, behind) = rest.split_at(end.unwrap_or(rest.len()));
            rest = behind;
            self.octets += part.len();
            if self.octets > MAX_HEADER {
                return Err(HeaderFault::TooLarge);
            }
            let room = LOOKED_AT.saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            if end.is_some() {
                self.judge()?;
            }
        }
        Ok(())
    }

    /// A whole line has been gathered. `Received` is folded: its `by` may stand on a line of its own.
    fn judge(&mut self) -> Result<(), HeaderFault> {
        let line = String::from_utf8_lossy(&self.line).to_ascii_lowercase();
        self.line.clear();
        if line.trim_end_matches(['\r', '\n']).is_empty() {
            self.is_over = true;
            return Ok(());
        }
        if !line.starts_with([' ', '\t']) {
            self.in_received = line.starts_with("received:");
            self.is_after_by = false;
            self.hops += usize::from(self.in_received);
        }
        self.received_here += usize::from(self.in_received && self.is_by_us(&line));
        self.delivered_here += usize::from(self.is_delivered_here(&line));
        match self.hops > MAX_HOPS || self.received_here >= MAX_OWN || self.delivered_here >= MAX_OWN {
            true => Err(HeaderFault::Loop),
            false => Ok(()),
        }
    }

    fn is_delivered_here(&self, line: &str) -> bool {
        let address = line.strip_prefix("delivered-to:").map(str::trim);
        address.is_some() && address == self.alias.as_deref()
    }

    /// Whether our name follows `by` on a line of `Received`; between them the line may have ended.
    fn is_by_us(&mut self, line: &str) -> bool {
        let mut is_by_us = false;
        for word in line.split_ascii_whitespace() {
            is_by_us |= self.is_after_by && word.trim_end_matches(';') == self.hostname;
            self.is_after_by = word == "by";
        }
        is_by_us
    }
}

/// What must stand between our fields and a message that begins with `first`, so that it neither
/// folds into our last field nor ends the header section (Postfix does the same).
pub(super) fn joint(first: &[u8]) -> &'static [u8] {
    if first.starts_with(b" ") || first.starts_with(b"\t") {
        b"\r\n"
    } else if first.starts_with(b"From ") || first.starts_with(b">From ") {
        b"X-Mailbox-Line: "
    } else {
        b""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received<'a>(helo: &'a str, peer: &str, alias: Option<&'a str>) -> String {
        let at = "2026-06-12T14:00:00Z".parse().unwrap();
        let peer = peer.parse().unwrap();
        Received { helo, peer, hostname: "mx.example.com", protocol: "ESMTP", id: "abc", alias, at }.fields()
    }

    fn watch(message: &str) -> Result<(), HeaderFault> {
        let mut watch = HeaderWatch::new("MX.example.com", Some("k7m2q1@example.com"));
        // In small pieces, as a network might bring it.
        message.as_bytes().chunks(7).try_for_each(|piece| watch.see(piece))
    }

    #[test]
    fn the_alias_is_named() {
        assert_eq!(
            received("client.example.org", "192.0.2.1", Some("k7m2q1@example.com")),
            "Delivered-To: k7m2q1@example.com\r\n\
             Received: from client.example.org ([192.0.2.1])\r\n\
             \tby mx.example.com with ESMTP id abc\r\n\
             \tfor <k7m2q1@example.com>;\r\n\
             \tFri, 12 Jun 2026 14:00:00 +0000\r\n"
        );
    }

    #[test]
    fn the_mail_of_the_postmaster_names_no_alias() {
        let fields = received("c", "2001:db8::1", None);
        assert!(
            fields.starts_with(
                "Received: from c ([IPv6:2001:db8::1])\r\n\tby mx.example.com with ESMTP id abc;"
            )
        );
    }

    #[test]
    fn a_hello_that_is_no_name_does_not_reach_the_header() {
        for helo in ["a\r\nX-Evil: 1", "(comment)", "a;b", "", "ü"] {
            assert!(received(helo, "192.0.2.1", None).starts_with("Received: from unknown ("), "{helo}");
        }
    }

    #[test]
    fn what_we_wrote_ourselves_may_come_back_once_but_not_twice() {
        let pass = received("client.example.org", "192.0.2.1", Some("k7m2q1@example.com"));
        assert_eq!(watch(&format!("{pass}Subject: x\r\n\r\n")), Ok(()));
        assert_eq!(watch(&format!("{pass}{pass}Subject: x\r\n\r\n")), Err(HeaderFault::Loop));
    }

    #[test]
    fn a_message_that_was_here_before_may_pass_once_but_not_twice() {
        let here = "Received: from a (b)\r\n\tby mx.example.com with ESMTP id x;\r\n\tdate\r\n";
        assert_eq!(watch(&format!("{here}Subject: x\r\n\r\n")), Ok(()));
        assert_eq!(watch(&format!("{here}{here}Subject: x\r\n\r\n")), Err(HeaderFault::Loop));
        let delivered = "delivered-to: K7M2Q1@example.com\r\n";
        assert_eq!(watch(&format!("{delivered}\r\n")), Ok(()));
        assert_eq!(watch(&format!("{delivered}{delivered}\r\n")), Err(HeaderFault::Loop));
    }

    #[test]
    fn our_name_counts_wherever_the_field_is_folded() {
        for here in [
            "Received: from a (b)\r\n\tby\r\n\tmx.example.com with ESMTP; date\r\n",
            "Received: by\r\n mx.example.com; date\r\n",
            "Received:\r\n from a\r\n by\r\n \r\n\tMX.Example.Com\r\n with ESMTP;\r\n date\r\n",
            "Received: from a by mx.example.com;\r\n date\r\n",
        ] {
            assert_eq!(watch(&format!("{here}Subject: x\r\n\r\n")), Ok(()), "{here}");
            assert_eq!(watch(&format!("{here}{here}\r\n")), Err(HeaderFault::Loop), "{here}");
        }
        let other = "Received: from a by\r\nX-Host: mx.example.com\r\n mx.example.com\r\n";
        assert_eq!(watch(&format!("{other}{other}\r\n")), Ok(()));
    }

    #[test]
    fn other_fields_may_speak_of_us() {
        let note = "X-Note: kept\r\n by mx.example.com\r\n";
        assert_eq!(watch(&format!("{note}{note}{note}\r\n")), Ok(()));
    }

    #[test]
    fn the_text_below_the_header_is_not_looked_at() {
        let here = "Received: from a by mx.example.com; date\r\n";
        assert_eq!(watch(&format!("Subject: x\r\n\r\n{here}{here}{here}")), Ok(()));
    }

    #[test]
    fn too_many_hops_are_a_loop() {
        let hop = "Received: from a by b.example; date\r\n";
        assert_eq!(watch(&format!("{}\r\n", hop.repeat(50))), Ok(()));
        assert_eq!(watch(&format!("{}\r\n", hop.repeat(51))), Err(HeaderFault::Loop));
    }

    #[test]
    fn a_header_section_of_over_a_mebibyte_is_refused_in_bounded_memory() {
        let mut watch = HeaderWatch::new("mx", None);
        let verdict = (0..2048).try_for_each(|_| watch.see(&[b'x'; 1024]));
        assert_eq!(verdict, Err(HeaderFault::TooLarge));
        assert!(watch.line.capacity() < 4 * LOOKED_AT);
    }

    #[test]
    fn a_first_line_that_would_fold_or_end_our_header_is_set_apart() {
        assert_eq!(joint(b" folded"), b"\r\n");
        assert_eq!(joint(b"\tfolded"), b"\r\n");
        assert_eq!(joint(b"From a@b Fri"), b"X-Mailbox-Line: ");
        assert_eq!(joint(b"From: a@b"), b"");
        assert_eq!(joint(b""), b"");
    }
}
