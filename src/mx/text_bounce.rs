//! Bounces in plain text: qmail's, and those of Exim before it wrote delivery status notifications.

use super::fields::mailbox;
use super::status::is_mailbox_fault;
use crate::bounce::{Failed, Failure};

/// The first words of a bounce in qmail's form (<https://cr.yp.to/proto/qsbmf.txt>).
const QMAIL: &str = "Hi. This is the ";

/// What has failed by a `text` of qmail's, if it is one: behind an introduction each recipient has a
/// paragraph, then comes one that begins with a hyphen and the message. `is_whole`: this is all of it.
pub(super) fn of_qmail(text: &str, mut is_whole: bool) -> Option<Failure> {
    let text = text.replace("\r\n", "\n");
    if !text.starts_with(QMAIL) {
        return None;
    }
    let mut failed = Vec::new();
    for paragraph in text.split("\n\n").map(|paragraph| paragraph.trim_start_matches('\n')) {
        if paragraph.starts_with('-') {
            is_whole = true;
            break;
        }
        let (first, words) = paragraph.split_once('\n').unwrap_or((paragraph, ""));
        if let Some(recipient) = first.trim_end().strip_suffix(':').filter(|first| first.starts_with('<')) {
            failed.push(Failed {
                recipient: mailbox(recipient),
                is_mailbox_fault: is_mailbox_fault(words, words.contains("does not like recipient")),
            });
        }
    }
    let is_all = is_whole && failed.iter().all(|one| one.recipient.is_some());
    (!failed.is_empty()).then_some(Failure { failed, is_all })
}

/// What has failed by a text of Exim's about these `recipients`, which are joined by commas. The
/// message follows behind hyphens. Which of several a word is about cannot be told, so of several it
/// names none.
pub(super) fn of_exim(recipients: &str, text: &str, is_whole: bool) -> Option<Failure> {
    let (words, is_whole) = match text.find("\n------") {
        Some(end) => (&text[..end], true),
        None => (text, is_whole),
    };
    let recipient = mailbox(recipients);
    let is_all = is_whole && recipient.is_some();
    let is_mailbox_fault =
        words.contains("Unrouteable address") || is_mailbox_fault(words, words.contains("after RCPT TO:"));
    Some(Failure { failed: vec![Failed { recipient, is_mailbox_fault }], is_all })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(is_mailbox_fault: bool, recipient: Option<&str>) -> Failed {
        Failed { is_mailbox_fault, recipient: recipient.map(|one| one.parse().unwrap()) }
    }

    fn failure(is_mailbox_fault: bool, recipient: Option<&str>) -> Option<Failure> {
        Some(Failure { failed: vec![failed(is_mailbox_fault, recipient)], is_all: true })
    }

    /// Somebody else may be in it, too.
    fn failure_among_others(recipient: Option<&str>) -> Option<Failure> {
        Some(Failure { failed: vec![failed(true, recipient)], is_all: false })
    }

    fn qmail(paragraphs: &str) -> Option<Failure> {
        let text = format!(
            "Hi. This is the qmail-send program at relay.example.\n\
             I'm afraid I wasn't able to deliver your message to the following addresses.\n\
             This is a permanent error; I've given up. Sorry it didn't work out.\n\n{paragraphs}\n\n\
             --- Below this line is a copy of the message.\n\nReturn-Path: <b.x@y.example>\n\n\
             <z@quoted.example>:\n550 5.1.1\n"
        );
        let crlf = text.replace('\n', "\r\n");
        assert_eq!(of_qmail(&crlf, false), of_qmail(&text, true));
        of_qmail(&text, true)
    }

    #[test]
    fn a_bounce_of_qmails_is_read_paragraph_by_paragraph() {
        let said = |words: &str| qmail(&format!("<a@b.example>:\n{words}"));
        let gone = failure(true, Some("a@b.example"));
        assert_eq!(said("Sorry, no mailbox here by that name. (#5.1.1)"), gone);
        assert_eq!(said("Sorry, I couldn't find any host named b.example. (#5.1.2)"), gone);
        let refused = |reply: &str| {
            said(&format!(
                "192.0.2.1 does not like recipient.\nRemote host said: {reply}\nGiving up on 192.0.2.1."
            ))
        };
        assert_eq!(refused("550 5.1.1 unknown"), gone);
        assert_eq!(refused("550-5.1.1 unknown"), gone);
        assert_eq!(refused("550 unknown"), gone);
        let other = failure(false, Some("a@b.example"));
        assert_eq!(refused("550 5.7.1 not from there"), other);
        assert_eq!(refused("554 no"), other);
        assert_eq!(said("192.0.2.1 failed after I sent the message.\nRemote host said: 550 spam"), other);
        assert_eq!(said("The user's mailbox is full. (#5.2.2)"), other);
    }

    #[test]
    fn of_several_recipients_of_qmails_each_has_its_own_words() {
        let two = "<a@b.example>:\nmailbox full (#5.2.2)\n\n<c@d.example>:\nno mailbox (#5.1.1)";
        let two_failed = vec![failed(false, Some("a@b.example")), failed(true, Some("c@d.example"))];
        assert_eq!(qmail(two), Some(Failure { failed: two_failed, is_all: true }));
        let unreadable = "<not an address>:\nno mailbox (#5.1.1)";
        assert_eq!(qmail(unreadable), failure_among_others(None));
    }

    #[test]
    fn what_does_not_begin_as_qmails_bounces_do_is_none() {
        assert_eq!(qmail("nobody"), None);
        let text = "Hi. This is the qmail-send program.\n\n<a@b.example>:\nno (#5.1.1)\n";
        assert_eq!(of_qmail(text, false), failure_among_others(Some("a@b.example")), "the rest is not known");
        assert_eq!(of_qmail(&format!("I am away.\n\n{text}"), true), None);
        assert_eq!(of_qmail(&format!("> {text}"), true), None);
    }

    #[test]
    fn a_bounce_of_an_old_exim_is_read_up_to_the_message() {
        let exim = |words: &str| {
            let text = format!(
                "This message was created automatically by mail delivery software.\r\n\r\n\
                 A message that you sent could not be delivered to one or more of its\r\n\
                 recipients. This is a permanent error. The following address(es) failed:\r\n\r\n\
                 \x20 a@b.example\r\n    {words}\r\n\r\n\
                 ------ This is a copy of the message, including all the headers. ------\r\n\r\n\
                 Subject: 550 5.1.1 Unrouteable address\r\n"
            );
            of_exim(" a@b.example", &text, false)
        };
        let (gone, other) = (failure(true, Some("a@b.example")), failure(false, Some("a@b.example")));
        let host = "host mx.b.example [5.1.1.9]:";
        assert_eq!(exim("Unrouteable address"), gone);
        let refused = "SMTP error from remote mail server after RCPT TO:<a@b.example>:\r\n   ";
        assert_eq!(exim(&format!("{refused} {host} 550 5.1.1 unknown")), gone);
        assert_eq!(exim(&format!("{refused} {host} 550 unknown")), gone);
        assert_eq!(exim(&format!("{refused} {host} 550 5.7.1 not from there")), other);
        assert_eq!(
            exim(&format!("SMTP error from remote mail server after end of data:\r\n    {host} 550 spam")),
            other
        );
        assert_eq!(exim("retry timeout exceeded"), other);
        assert_eq!(
            of_exim("a@b.example, c@d.example", "Unrouteable address", true),
            failure_among_others(None)
        );
        let cut = of_exim("a@b.example", "Unrouteable address", false);
        assert_eq!(cut, failure_among_others(Some("a@b.example")));
    }
}
