//! Bounces that come back: is this report one of failure?
//!
//! The envelope sender of what we forward also attracts delay notices and vacation replies; only
//! a delivery status of `Action: failed` (RFC 3464 §2.3.3) tells that the target is gone.

/// As much of a line as is looked at.
const LOOKED_AT: usize = 64;

/// Reads a report as it streams by, in a few octets of memory.
#[derive(Default)]
pub(super) struct Report {
    line: Vec<u8>,
    failed: bool,
}

impl Report {
    /// Looks at the next piece.
    pub(super) fn see(&mut self, piece: &[u8]) {
        for part in piece.split_inclusive(|b| *b == b'\n') {
            let room = LOOKED_AT.saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            if part.ends_with(b"\n") {
                let line = self.line.to_ascii_lowercase();
                self.line.clear();
                let action = line.strip_prefix(b"action:").map(<[u8]>::trim_ascii_start);
                self.failed |= action.is_some_and(|word| word.starts_with(b"failed"));
            }
        }
    }

    /// Whether some delivery has failed for good.
    pub(super) fn is_failure(&self) -> bool {
        self.failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_failure(message: &str) -> bool {
        let mut report = Report::default();
        message.as_bytes().chunks(5).for_each(|piece| report.see(piece));
        report.is_failure()
    }

    #[test]
    fn a_failed_delivery_is_one() {
        assert!(is_failure(
            "Subject: x\r\n\r\nFinal-Recipient: rfc822; a@b\r\nAction: failed\r\nStatus: 5.1.1\r\n"
        ));
        assert!(is_failure("action:FAILED\r\n"));
    }

    #[test]
    fn a_delay_or_a_vacation_reply_is_none() {
        assert!(!is_failure("Final-Recipient: rfc822; a@b\r\nAction: delayed\r\n"));
        assert!(!is_failure("Subject: out of office\r\n\r\nThe action: failed to find me.\r\n"));
    }
}
