//! Delivery status notifications (RFC 3464): which recipients have not got the message, and why.

use std::collections::BTreeMap;

use super::fields::{Field, fields, mailbox, plain};
use super::status::{StatusCode, is_mailbox_fault};
use crate::address::Mailbox;
use crate::bounce::{Failed, Failure};

/// The fields that count. `Original-Recipient` does not: it names the target also when a forwarder behind it
/// reports of one of several copies.
const FIELDS: [&str; 4] = ["final-recipient", "action", "status", "diagnostic-code"];

/// What is said of one recipient: its [`FIELDS`].
#[derive(Default)]
struct Recipient(BTreeMap<String, String>);

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
    let is_readable =
        recipients.iter().all(|one| one.plain("final-recipient").is_none() || one.mailbox().is_some());
    let is_all = is_whole && is_readable && failed.len() == recipients.len();
    (!failed.is_empty()).then_some(Failure { failed, is_all })
}

/// The recipients of a delivery status. Each has a group of fields after a blank line; where that is
/// missing, a field that comes again is the next one's.
fn recipients(status: &str) -> Vec<Recipient> {
    let mut recipients = Vec::new();
    for group in status.replace("\r\n", "\n").split("\n\n") {
        let mut recipient = Recipient::default();
        for Field { name, value } in fields(group) {
            if !FIELDS.contains(&name.as_str()) {
                continue;
            }
            if recipient.0.contains_key(&name) {
                recipients.push(std::mem::take(&mut recipient));
            }
            recipient.0.insert(name, value);
        }
        recipients.push(recipient);
    }
    recipients.retain(|recipient| {
        recipient.plain("action").is_some() || recipient.plain("final-recipient").is_some()
    });
    recipients
}

impl Recipient {
    /// The field `name`, without comments.
    fn plain(&self, name: &str) -> Option<String> {
        self.0.get(name).map(|value| plain(value))
    }

    /// RFC 3464 §2.3.3: given up for good. Any other action may be followed by this one.
    fn has_failed(&self) -> bool {
        self.plain("action").is_some_and(|action| action.eq_ignore_ascii_case("failed"))
    }

    /// Behind the type of the address (RFC 3464 §2.3.2).
    fn mailbox(&self) -> Option<Mailbox> {
        let value = self.plain("final-recipient")?;
        mailbox(value.split_once(';').map_or(value.as_str(), |(_, address)| address))
    }

    /// Whether the mailbox is at fault, by the status; where that says no more than its class, as
    /// Exim's `5.0.0` does, by the next host's own words.
    fn is_gone(&self, is_at_rcpt: bool) -> bool {
        let status = self.plain("status");
        let status = status.and_then(|status| status.split_whitespace().next()?.parse().ok());
        match (status, self.0.get("diagnostic-code")) {
            (Some(code @ StatusCode { subject: 1.., .. }), _) => code.is_mailbox_fault(),
            (_, Some(words)) => is_mailbox_fault(words, is_at_rcpt),
            _ => false,
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
    fn an_unreadable_address_may_be_another_recipients_and_a_missing_one_is_not() {
        let unnamed = Failed { is_mailbox_fault: true, recipient: None };
        assert_eq!(of("Action: failed\r\nStatus: 5.1.1"), alone(unnamed.clone()));
        for address in ["x400; /G=a/S=b/", "x-local; a", "rfc822; a@b.example, c@d.example", "rfc822;", ""] {
            let failure = of(&format!("Final-Recipient: {address}\r\nAction: failed\r\nStatus: 5.1.1"));
            assert_eq!(failure, Some(Failure { failed: vec![unnamed.clone()], is_all: false }), "{address}");
        }
    }
}
