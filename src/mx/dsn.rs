//! Bounces that come back: is this report one of failure?
//!
//! The envelope sender of what we forward also attracts delay notices and vacation replies. Only
//! the `message/delivery-status` part of a `multipart/report` counts, and in it only
//! `Action: failed` (RFC 3464 §2.3.3; RFC 6533 for messages in UTF-8); what a report quotes of the message itself proves nothing.

use mail_parser::{MessageParser, MessagePart, MimeHeaders};

/// As much of a report as is kept: the status comes before the returned message.
const KEPT: usize = 64 * 1024;

/// Gathers a report as it streams by.
#[derive(Default)]
pub(super) struct Report {
    kept: Vec<u8>,
}

impl Report {
    /// Looks at the next piece.
    pub(super) fn see(&mut self, piece: &[u8]) {
        let room = KEPT - self.kept.len();
        self.kept.extend_from_slice(&piece[..piece.len().min(room)]);
    }

    /// Whether some delivery has failed for good.
    pub(super) fn is_failure(&self) -> bool {
        let Some(report) = MessageParser::default().parse(&self.kept) else { return false };
        if !report.is_content_type("multipart", "report") {
            return false;
        }
        let is_status = |part: &&MessagePart<'_>| {
            ["delivery-status", "global-delivery-status"]
                .iter()
                .any(|sub| part.is_content_type("message", sub))
        };
        let status = report.parts.iter().find(is_status);
        status.is_some_and(|part| has_failed(part.contents()))
    }
}

/// Whether one of the fields of a delivery status says so.
fn has_failed(status: &[u8]) -> bool {
    status.split(|octet| *octet == b'\n').any(|line| {
        let line = line.to_ascii_lowercase();
        line.strip_prefix(b"action:").is_some_and(|action| action.trim_ascii() == b"failed")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_failure(message: &str) -> bool {
        let mut report = Report::default();
        message.as_bytes().chunks(5).for_each(|piece| report.see(piece));
        report.is_failure()
    }

    /// As Postfix writes them.
    fn report(action: &str, returned: &str) -> String {
        format!(
            "From: MAILER-DAEMON@relay.example (Mail Delivery System)\r\n\
             Subject: Undelivered Mail Returned to Sender\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"abc/relay.example\"\r\n\r\n\
             --abc/relay.example\r\nContent-Type: text/plain\r\n\r\nI'm sorry.\r\n\r\n\
             --abc/relay.example\r\nContent-Description: Delivery report\r\n\
             Content-Type: message/delivery-status\r\n\r\n\
             Reporting-MTA: dns; relay.example\r\n\r\nFinal-Recipient: rfc822; a@b.example\r\n\
             Action: {action}\r\nStatus: 5.1.1\r\n\r\n\
             --abc/relay.example\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\n{returned}\r\n\
             --abc/relay.example--\r\n"
        )
    }

    #[test]
    fn a_failed_delivery_is_one() {
        assert!(is_failure(&report("failed", "hello")));
        assert!(is_failure(&report("FAILED", "hello")));
    }

    #[test]
    fn a_failed_delivery_of_a_message_in_utf8_is_one() {
        let report = report("failed", "hello");
        assert!(is_failure(&report.replace("message/delivery-status", "message/global-delivery-status")));
    }

    #[test]
    fn a_delay_is_none_whatever_the_returned_message_says() {
        assert!(!is_failure(&report("delayed", "hello")));
        assert!(!is_failure(&report("delayed", "Action: failed\r\n")));
    }

    #[test]
    fn a_vacation_reply_is_none_whatever_it_quotes() {
        assert!(!is_failure("Subject: away\r\n\r\n> hello\r\nAction: failed\r\n"));
        assert!(!is_failure("Content-Type: message/delivery-status\r\n\r\nAction: failed\r\n"));
        assert!(!is_failure(""));
    }

    #[test]
    fn a_large_returned_message_is_not_kept() {
        let mut whole = Report::default();
        whole.see(report("failed", &"x".repeat(200_000)).as_bytes());
        assert!(whole.is_failure());
        assert_eq!(whole.kept.len(), KEPT);
    }
}
