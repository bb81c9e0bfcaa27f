//! Enhanced status codes (RFC 3463), and which of them say that a mailbox is gone.

use std::str::FromStr;

/// A status code (RFC 3463 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StatusCode {
    pub(super) class: u16,
    pub(super) subject: u16,
    pub(super) detail: u16,
}

/// Whether the `words` of a host that refuses say that the mailbox is at fault: by the first code of
/// RFC 3463; without one, when it refuses the recipient, by a reply that means no mailbox (550, 551
/// and 553, RFC 5321 §4.2.3).
pub(super) fn is_mailbox_fault(words: &str, is_at_rcpt: bool) -> bool {
    let mut parts = words.split(|c: char| c.is_whitespace() || c == '-');
    match parts.clone().find_map(|part| part.trim_matches(|c: char| !c.is_ascii_digit()).parse().ok()) {
        Some(code) => StatusCode::is_mailbox_fault(code),
        None => is_at_rcpt && parts.any(|part| ["550", "551", "553"].contains(&part)),
    }
}

impl StatusCode {
    /// Whether it says for good that the mailbox is no more, whatever the message: the sender of a
    /// message, who may wish the alias ill, has no influence on it.
    ///
    /// | | |
    /// |---|---|
    /// | 5.1.0–4, 6, 10 | no such mailbox or domain, moved, null MX (RFC 3463 §3.2, RFC 7505 §4.2); 7 and 8 are about the sender, 5 and 9 no failures |
    /// | 5.2.1 | disabled; 2, 3 and 4 are full, too long, a list |
    /// | 5.4.1 | Exchange Online's word for a recipient that it does not know; by RFC 3463 §3.5 a host that does not answer |
    /// | 5.4.4 | its host is not to be found in the DNS |
    ///
    /// The others of 5.4 are about time and about loops, which the fields of a message can feign
    /// (5.4.6). 5.3, 5.5, 5.6 and 5.7 are about the message, the hosts and their policies.
    pub(super) fn is_mailbox_fault(self) -> bool {
        let StatusCode { class, subject, detail } = self;
        class == 5 && matches!((subject, detail), (1, 0..=4 | 6 | 10) | (2, 1) | (4, 1 | 4))
    }
}

/// RFC 3463 §2: a digit, and twice up to three of them.
impl FromStr for StatusCode {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let number = |text: &str| match text.len() {
            1..=3 if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().map_err(|_| ()),
            _ => Err(()),
        };
        match text.split('.').map(number).collect::<Result<Vec<_>, _>>()?[..] {
            [class @ (2 | 4 | 5), subject, detail] => Ok(StatusCode { class, subject, detail }),
            _ => Err(()),
        }
    }
}
