//! Mail loops, told by the trace fields of a message as its header section streams by.

use crate::message_id::MessageId;

/// So many `Received` fields are a loop (Postfix's `hopcount_limit`).
const MAX_HOPS: usize = 50;

/// A message that was here so often is a loop: once it may have been forwarded to us on purpose.
const MAX_OWN: usize = 2;

/// Largest header section in octets (Exim's `header_maxsize`).
const MAX_HEADER: usize = 1024 * 1024;

/// Octets of a header line that are examined.
const EXAMINED: usize = 1024;

/// Why a message is refused for its header section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderFault {
    /// It was here before, or at too many hosts.
    Loop,
    /// Over a mebibyte.
    TooLarge,
}

/// Reads the header section as it streams by.
#[derive(Default)]
pub struct HeaderWatch {
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
    /// Words of `by HOST with PROTOCOL id ID` that have come in a row, in this field.
    own_words: usize,
    is_over: bool,
}

impl HeaderWatch {
    /// For a server called `hostname`, and a message to `alias`, an address.
    pub fn new(hostname: &str, alias: Option<&str>) -> Self {
        HeaderWatch {
            hostname: hostname.to_owned(),
            alias: alias.map(str::to_owned),
            ..HeaderWatch::default()
        }
    }

    /// Examines the next piece of the message.
    ///
    /// # Errors
    /// The message is to be refused.
    pub fn examine(&mut self, piece: &[u8]) -> Result<(), HeaderFault> {
        let mut rest = piece;
        while !self.is_over && !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest).map(|at| at + 1);
            let (part, behind) = rest.split_at(end.unwrap_or(rest.len()));
            rest = behind;
            self.octets += part.len();
            if self.octets > MAX_HEADER {
                return Err(HeaderFault::TooLarge);
            }
            let free = EXAMINED.saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(free)]);
            if end.is_some() {
                self.end_line()?;
            }
        }
        Ok(())
    }

    /// A whole line has been gathered. `Received` is folded, and other hosts may fold it anew.
    fn end_line(&mut self) -> Result<(), HeaderFault> {
        let line = String::from_utf8_lossy(&self.line).into_owned();
        self.line.clear();
        if line.trim_end_matches(['\r', '\n']).is_empty() {
            self.is_over = true;
            return Ok(());
        }
        if !line.starts_with([' ', '\t']) {
            self.in_received = value_of(&line, "received").is_some();
            self.own_words = 0;
            self.hops += usize::from(self.in_received);
        }
        if self.in_received {
            self.received_here += line.split_ascii_whitespace().filter(|word| self.is_ours(word)).count();
        }
        let address = value_of(&line, "delivered-to");
        if address.zip(self.alias.as_ref()).is_some_and(|(to, alias)| to.trim().eq_ignore_ascii_case(alias)) {
            self.delivered_here += 1;
        }
        if self.hops > MAX_HOPS || self.received_here >= MAX_OWN || self.delivered_here >= MAX_OWN {
            Err(HeaderFault::Loop)
        } else {
            Ok(())
        }
    }

    /// Whether `word` completes what identifies our own `Received` ([`super::Received::fields`]). Our host
    /// name is not enough: a smarthost on the same host writes it, too, so that one pass would look like two.
    fn is_ours(&mut self, word: &str) -> bool {
        let fits = match self.own_words {
            1 => word.eq_ignore_ascii_case(&self.hostname),
            2 => word.eq_ignore_ascii_case("with"),
            3 => true,
            4 => word.eq_ignore_ascii_case("id"),
            5 if word.trim_end_matches(';').parse::<MessageId>().is_ok() => {
                self.own_words = 0;
                return true;
            }
            _ => false,
        };
        self.own_words = if fits { self.own_words + 1 } else { usize::from(word.eq_ignore_ascii_case("by")) };
        false
    }
}

/// What stands behind the `name` of a field whose first line is `line`.
fn value_of<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (field, value) = line.split_once(':')?;
    // Before the colon RFC 5322 §4.5.8 allows blanks.
    field.trim_end_matches([' ', '\t']).eq_ignore_ascii_case(name).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::super::received::tests::{ID, received};
    use super::*;

    fn watch(message: &str) -> Result<(), HeaderFault> {
        let mut watch = HeaderWatch::new("MX.example.com", Some("k7m2q1@example.com"));
        // In small pieces, as a network might bring it.
        message.as_bytes().chunks(7).try_for_each(|piece| watch.examine(piece))
    }

    #[test]
    fn what_we_wrote_ourselves_may_come_back_once_but_not_twice() {
        let pass = received("client.example.org", "192.0.2.1", Some("k7m2q1@example.com"));
        assert_eq!(watch(&format!("{pass}Subject: x\r\n\r\n")), Ok(()));
        assert_eq!(watch(&format!("{pass}{pass}Subject: x\r\n\r\n")), Err(HeaderFault::Loop));
    }

    #[test]
    fn a_message_that_was_here_before_may_pass_once_but_not_twice() {
        let here = format!("Received: from a (b)\r\n\tby mx.example.com with SMTP id {ID};\r\n\tdate\r\n");
        assert_eq!(watch(&format!("{here}Subject: x\r\n\r\n")), Ok(()));
        assert_eq!(watch(&format!("{here}{here}Subject: x\r\n\r\n")), Err(HeaderFault::Loop));
        for delivered in ["delivered-to: K7M2Q1@example.com\r\n", "Delivered-To :k7m2q1@example.com \r\n"] {
            assert_eq!(watch(&format!("{delivered}\r\n")), Ok(()));
            assert_eq!(watch(&format!("{delivered}{delivered}\r\n")), Err(HeaderFault::Loop));
        }
    }

    #[test]
    fn our_field_counts_however_it_is_folded() {
        for here in [
            format!("Received: from a (b)\r\n\tby\r\n\tmx.example.com with ESMTPS id {ID}; date\r\n"),
            format!("Received: by\r\n mx.example.com with UTF8SMTPS\r\n id {ID}; date\r\n"),
            format!(
                "RECEIVED:\r\n from\r\n by\r\n by\r\n \r\n\tMX.Example.Com\r\n with\r\n ESMTP\r\n ID\r\n\t{ID}\r\n ;\r\n date\r\n"
            ),
            format!(
                "Received : from a by mx.example.com with ESMTP id {ID} for <k7m2q1@example.com>; date\r\n"
            ),
        ] {
            assert_eq!(watch(&format!("{here}Subject: x\r\n\r\n")), Ok(()), "{here}");
            assert_eq!(watch(&format!("{here}{here}\r\n")), Err(HeaderFault::Loop), "{here}");
        }
        let other = format!(
            "Received: from a by\r\nX-Host: mx.example.com\r\n mx.example.com with ESMTP id {ID}\r\n"
        );
        assert_eq!(watch(&format!("{other}{other}\r\n")), Ok(()));
    }

    #[test]
    fn another_server_of_our_name_is_not_us() {
        let fields = [
            "Received: from a (localhost [127.0.0.1])\r\n\tby mx.example.com (Postfix) with ESMTP id 4ABCDE0001\r\n\tfor <you@example.org>; date\r\n",
            "Received: from a (localhost [127.0.0.1])\r\n\tby mx.example.com (Postfix) with ESMTPS id 4ZcXd12bQvz9rZZ; date\r\n",
            "Received: from a ([127.0.0.1])\r\n\tby mx.example.com with esmtps (TLS1.3)\r\n\t(Exim 4.96)\r\n\tid 1rAbCd-0001Ab-2C; date\r\n",
            "Received: from a by mx.example.com with ESMTP id 1rAbCd-0000000Abcd-2CdE; date\r\n",
            "Received: from a (localhost [127.0.0.1])\r\n\tby mx.example.com (OpenSMTPD) with ESMTP id 0c1d2e3f; date\r\n",
            "Received: from a by mx.example.com with SMTP; date\r\n",
            "Received: from a by mx.example.com with ESMTP id D7M2Q3PQRABCDEF4; date\r\n",
            "Received: by mx.example.com id d7m2q3pqrabcdef4; date\r\n",
        ];
        let pass = received("client.example.org", "192.0.2.1", Some("another@example.com"));
        assert_eq!(watch(&format!("{}{pass}Subject: x\r\n\r\n", fields.concat())), Ok(()));
        let again = format!("{}{pass}", fields.concat());
        assert_eq!(watch(&format!("{again}{again}Subject: x\r\n\r\n")), Err(HeaderFault::Loop));
    }

    #[test]
    fn other_fields_may_speak_of_us() {
        let note = format!("X-Note: kept\r\n by mx.example.com with ESMTP id {ID}\r\n");
        assert_eq!(watch(&format!("{note}{note}{note}\r\n")), Ok(()));
    }

    #[test]
    fn the_text_below_the_header_is_not_examined() {
        let here = format!("Received: from a by mx.example.com with ESMTP id {ID}; date\r\n");
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
        let verdict = (0..2048).try_for_each(|_| watch.examine(&[b'x'; 1024]));
        assert_eq!(verdict, Err(HeaderFault::TooLarge));
        assert!(watch.line.capacity() < 4 * EXAMINED);
    }
}
