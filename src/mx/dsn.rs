//! Delivery status notifications: which recipients have not got the message, and why.
//!
//! RFC 3464 for the fields, RFC 3463 for the codes. Fields may have comments, be folded and have
//! white space before the colon (RFC 3464 §2.1.1, RFC 5322 §4.5.8).

use std::str::FromStr;

use crate::address::Mailbox;
use crate::bounce::{Failed, Failure};

/// A field, unfolded; its name in lower case.
pub(super) struct Field {
    pub(super) name: String,
    pub(super) value: String,
}

/// A status code (RFC 3463 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Code {
    class: u16,
    subject: u16,
    detail: u16,
}

/// What is said of one recipient.
#[derive(Default)]
struct Recipient {
    address: Option<String>,
    action: Option<String>,
    status: Option<String>,
    diagnostic: Option<String>,
}

/// What has failed by the text of a delivery status, when something has; `is_whole`: this is all of
/// it; `is_at_rcpt`: the next host has refused the recipient, before there was a text.
pub(super) fn failure(status: &str, is_whole: bool, is_at_rcpt: bool) -> Option<Failure> {
    let recipients = recipients(status);
    let is_at_rcpt = is_at_rcpt && recipients.len() == 1;
    let failed = recipients.iter().filter(|recipient| recipient.has_failed());
    let failed: Vec<_> = failed
        .map(|recipient| Failed {
            recipient: recipient.mailbox(),
            is_mailbox_fault: recipient.is_gone(is_at_rcpt),
        })
        .collect();
    let is_readable = recipients.iter().all(|one| one.address.is_none() || one.mailbox().is_some());
    let is_all = is_whole && is_readable && failed.len() == recipients.len();
    (!failed.is_empty()).then_some(Failure { failed, is_all })
}

/// The fields of a header section or of one group of a status, without what is none.
pub(super) fn fields(text: &str) -> Vec<Field> {
    let mut fields: Vec<Field> = Vec::new();
    for line in text.lines() {
        if line.starts_with([' ', '\t']) {
            if let Some(last) = fields.last_mut() {
                last.value.push_str(line);
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push(Field { name: name.trim_end().to_ascii_lowercase(), value: value.to_owned() });
        }
    }
    fields
}

/// A field's value without comments (RFC 5322 §3.2.2) and the white space around it.
pub(super) fn plain(value: &str) -> String {
    let (mut plain, mut depth, mut is_quoted, mut is_escaped) = (String::new(), 0u32, false, false);
    for c in value.chars() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted || depth > 0 => is_escaped = true,
            '"' if depth == 0 => is_quoted = !is_quoted,
            '(' if !is_quoted => depth += 1,
            ')' if depth > 0 => {
                depth -= 1;
                continue;
            }
            _ => {}
        }
        if depth == 0 {
            plain.push(c);
        }
    }
    plain.trim().to_owned()
}

/// A mailbox, perhaps in angle brackets.
pub(super) fn mailbox(text: &str) -> Option<Mailbox> {
    let text = text.trim();
    text.strip_prefix('<').and_then(|text| text.strip_suffix('>')).unwrap_or(text).parse().ok()
}

/// The recipients of a delivery status. Each has a group of fields behind a blank line; where that is
/// missing, a field that comes again is the next one's.
fn recipients(status: &str) -> Vec<Recipient> {
    let mut recipients = Vec::new();
    for group in groups(status) {
        let mut recipient = Recipient::default();
        for Field { name, value } in fields(&group) {
            let Some(place) = recipient.place(&name) else { continue };
            if place.is_none() {
                *place = Some(value);
                continue;
            }
            recipients.push(std::mem::take(&mut recipient));
            if let Some(place) = recipient.place(&name) {
                *place = Some(value);
            }
        }
        recipients.push(recipient);
    }
    recipients.retain(|recipient| recipient.action.is_some() || recipient.address.is_some());
    recipients
}

/// What lies between blank lines.
fn groups(text: &str) -> Vec<String> {
    let mut groups = vec![String::new()];
    for line in text.lines() {
        match groups.last_mut() {
            Some(group) if !line.is_empty() => {
                group.push_str(line);
                group.push('\n');
            }
            _ => groups.push(String::new()),
        }
    }
    groups
}

impl Recipient {
    /// Where the field `name` is kept. `Original-Recipient` is not: it names the target also when a
    /// forwarder behind it reports of one of several copies.
    fn place(&mut self, name: &str) -> Option<&mut Option<String>> {
        match name {
            "final-recipient" => Some(&mut self.address),
            "action" => Some(&mut self.action),
            "status" => Some(&mut self.status),
            "diagnostic-code" => Some(&mut self.diagnostic),
            _ => None,
        }
    }

    /// RFC 3464 §2.3.3: given up for good. Any other action may be followed by this one.
    fn has_failed(&self) -> bool {
        self.action.as_deref().is_some_and(|action| plain(action).eq_ignore_ascii_case("failed"))
    }

    /// Behind the type of the address (RFC 3464 §2.3.2).
    fn mailbox(&self) -> Option<Mailbox> {
        let value = plain(self.address.as_deref()?);
        mailbox(value.split_once(';').map_or(value.as_str(), |(_, address)| address))
    }

    /// Whether the mailbox is at fault, by the status; where that says no more than its class, as
    /// Exim's `5.0.0` does, by the next host's own words.
    fn is_gone(&self, is_at_rcpt: bool) -> bool {
        let status = self.status.as_deref().map(plain);
        let status = status.and_then(|status| status.split_whitespace().next()?.parse().ok());
        match (status, &self.diagnostic) {
            (Some(code @ Code { subject: 1.., .. }), _) => code.is_mailbox_fault(),
            (_, Some(words)) => is_mailbox_fault(words, is_at_rcpt),
            _ => false,
        }
    }
}

/// Whether the `words` of a host that refuses say that the mailbox is at fault: by the first code of
/// RFC 3463; without one, when it refuses the recipient, by a reply that means no mailbox (550, 551
/// and 553, RFC 5321 §4.2.3).
pub(super) fn is_mailbox_fault(words: &str, is_at_rcpt: bool) -> bool {
    let mut parts = words.split(|c: char| c.is_whitespace() || c == '-');
    match parts.clone().find_map(|part| part.trim_matches(|c: char| !c.is_ascii_digit()).parse().ok()) {
        Some(code) => Code::is_mailbox_fault(code),
        None => is_at_rcpt && parts.any(|part| ["550", "551", "553"].contains(&part)),
    }
}

impl Code {
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
    fn is_mailbox_fault(self) -> bool {
        let Code { class, subject, detail } = self;
        class == 5 && matches!((subject, detail), (1, 0..=4 | 6 | 10) | (2, 1) | (4, 1 | 4))
    }
}

/// RFC 3463 §2: a digit, and twice up to three of them.
impl FromStr for Code {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let number = |text: &str| match text.len() {
            1..=3 if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().map_err(|_| ()),
            _ => Err(()),
        };
        let mut parts = text.split('.');
        let mut next = || number(parts.next().unwrap_or_default());
        let code = Code { class: next()?, subject: next()?, detail: next()? };
        match (code.class, parts.next()) {
            (2 | 4 | 5, None) => Ok(code),
            _ => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: &str = "a@b.example";

    /// A status with these fields for its recipient.
    fn of(fields: &str) -> Option<Failure> {
        failure(&format!("Reporting-MTA: dns; relay.example\r\n\r\n{fields}\r\n"), true, false)
    }

    fn failed(status: &str, diagnostic: &str) -> Failed {
        let failure = of(&format!(
            "Final-Recipient: rfc822; {TARGET}\r\nAction: failed\r\nStatus: {status}\r\nDiagnostic-Code: smtp; {diagnostic}"
        ));
        let Failure { failed, is_all: true } = failure.unwrap() else { panic!("nobody else is in it") };
        let [failed] = failed.try_into().unwrap();
        failed
    }

    fn alone(failed: Failed) -> Option<Failure> {
        Some(Failure { failed: vec![failed], is_all: true })
    }

    fn target() -> Option<Mailbox> {
        Some(TARGET.parse().unwrap())
    }

    #[test]
    fn only_a_mailbox_that_is_gone_for_good_is_at_fault() {
        for status in
            ["5.1.0", "5.1.1", "5.1.2", "5.1.3", "5.1.4", "5.1.6", "5.1.10", "5.2.1", "5.4.1", "5.4.4"]
        {
            assert_eq!(
                failed(status, ""),
                Failed { is_mailbox_fault: true, recipient: target() },
                "{status}"
            );
        }
        for status in [
            "5.0.0", "5.1.5", "5.1.7", "5.1.8", "5.1.9", "5.2.0", "5.2.2", "5.2.3", "5.2.4", "5.3.0",
            "5.3.4", "5.4.0", "5.4.2", "5.4.3", "5.4.5", "5.4.6", "5.4.7", "5.5.0", "5.6.0", "5.6.7",
            "5.7.1", "5.7.26", "4.1.1", "4.2.1", "4.4.1", "4.4.7", "2.1.5", "", "5", "5.1", "5.1.1.1",
            "5.1.1111", "failed",
        ] {
            assert_eq!(
                failed(status, ""),
                Failed { is_mailbox_fault: false, recipient: target() },
                "{status}"
            );
        }
    }

    #[test]
    fn a_status_that_says_nothing_is_read_from_the_next_hosts_own_words() {
        assert!(failed("5.0.0", "550 5.1.1 <a@b.example>: unknown").is_mailbox_fault);
        assert!(failed("5.0.0", "550-5.1.1 unknown").is_mailbox_fault);
        assert!(failed("", "550 5.2.1 disabled").is_mailbox_fault);
        assert!(!failed("5.0.0", "550 unknown").is_mailbox_fault);
        assert!(!failed("5.0.0", "550 5.7.1 see 5.1.1").is_mailbox_fault);
        assert!(!failed("5.7.1", "550 5.1.1 no").is_mailbox_fault, "a status that says something decides");
        assert!(!failed("5.0.0", "host [5.1.1.9] said no").is_mailbox_fault, "an address is no code");
    }

    #[test]
    fn comments_folding_and_space_before_the_colon_do_not_matter() {
        for fields in [
            "Final-Recipient: rfc822; a@b.example\r\nAction: failed (the mailbox (a) is gone)\r\nStatus: 5.1.1 (no such \\) mailbox)",
            "FINAL-RECIPIENT : RFC822;<a@b.example>\r\naction\t:\r\n failed\r\nSTATUS :\r\n\t5.1.1",
            "Final-Recipient:\r\n rfc822\r\n ;\r\n a@b.example (Ann)\r\nAction:(well)failed\r\nStatus:5.1.1",
            "Action: Failed\r\nX-Note: a\r\n b: c\r\nStatus: 5.1.1\r\nFinal-Recipient: rfc822;a@B.Example",
            "Final-Recipient: utf-8; a@b.example\r\nAction: failed\r\nStatus: 5.1.1",
        ] {
            assert_eq!(of(fields), alone(Failed { is_mailbox_fault: true, recipient: target() }), "{fields}");
        }
    }

    #[test]
    fn what_has_not_failed_is_no_failure() {
        for action in ["delayed", "delivered", "relayed", "expanded", "", "(failed)", "failed?", "not failed"]
        {
            assert_eq!(
                of(&format!("Final-Recipient: rfc822; {TARGET}\r\nAction: {action}\r\nStatus: 5.1.1")),
                None,
                "{action}"
            );
        }
        assert_eq!(of(&format!("Final-Recipient: rfc822; {TARGET}\r\nStatus: 5.1.1")), None);
        assert_eq!(of("X-Note: a\r\n Action: failed"), None);
        assert_eq!(of(""), None);
    }

    #[test]
    fn a_report_that_is_about_others_too_or_cut_off_is_not_about_one_alone() {
        let one = "Final-Recipient: rfc822; a@b.example\r\nAction: failed\r\nStatus: 5.1.1";
        let gone = Failed { is_mailbox_fault: true, recipient: target() };
        for other in [
            "Final-Recipient: rfc822; c@d.example\r\nAction: failed\r\nStatus: 5.1.1",
            "Final-Recipient: rfc822; a@b.example\r\nAction: delivered\r\nStatus: 2.1.5",
            "Final-Recipient: rfc822; c@d.example",
            "Action: relayed",
        ] {
            for text in [
                format!("{one}\r\n\r\n{other}"),
                format!("{other}\r\n\r\n{one}"),
                format!("{one}\r\n{other}"),
            ] {
                let Failure { failed, is_all } = of(&text).unwrap();
                assert!(failed.contains(&gone), "{text}");
                assert!(!is_all || failed.len() == 2, "{text}");
                assert!(!(Failure { failed, is_all }).is_only_of(&gone.recipient.clone().unwrap()), "{text}");
            }
        }
        let twice = Failure { failed: vec![gone.clone(), gone.clone()], is_all: true };
        assert_eq!(of(&format!("{one}\r\n\r\n{one}")), Some(twice));
        let cut = Failure { failed: vec![gone], is_all: false };
        assert_eq!(failure(one, false, false), Some(cut), "the rest is not known");
        let original = one.replace(
            "Final-Recipient: rfc822; a@b",
            "Original-Recipient: rfc822; a@b.example\r\nFinal-Recipient: rfc822; c@d",
        );
        assert_eq!(of(&original).unwrap().failed[0].recipient, Some("c@d.example".parse().unwrap()));
    }

    #[test]
    fn an_address_that_cannot_be_read_is_somebodys_and_a_missing_one_is_nobody_elses() {
        let unnamed = Failed { is_mailbox_fault: true, recipient: None };
        assert_eq!(of("Action: failed\r\nStatus: 5.1.1"), alone(unnamed.clone()));
        for address in ["x400; /G=a/S=b/", "x-local; a", "rfc822; a@b.example, c@d.example", "rfc822;", ""] {
            let failure = of(&format!("Final-Recipient: {address}\r\nAction: failed\r\nStatus: 5.1.1"));
            assert_eq!(failure, Some(Failure { failed: vec![unnamed.clone()], is_all: false }), "{address}");
        }
    }
}
