//! What the MX counts. The words are those of the log.

use crate::metrics::{IntCounter, IntGauge, Metrics, Tally};

/// Why a client is turned away before the greeting.
const TURNED_AWAY: &[&str] = &["too-many-connections", "harvesting", "full", "full-for-client"];

/// Why a recipient is refused.
const RECIPIENT: &[&str] = &[
    "no-alias",
    "pending",
    "expired",
    "used-up",
    "paused",
    "suspended",
    "relaying",
    "listed",
    "harvesting",
    "too-many-recipients",
    "too-large",
    "no-8bit",
    "no-utf8",
    "too-busy",
    "too-busy-with-client",
    "too-busy-with-alias",
    "client-gone",
    PREEMPTED,
    "smarthost-refused",
    "smarthost-failed",
    "ledger-failed",
];

/// What becomes of a message.
const MESSAGE: &[&str] = &[
    "delivered",
    "in-doubt",
    "used-up",
    "smarthost-refused-message",
    "smarthost-deferred-message",
    "smarthost-refused",
    "smarthost-failed",
    "smarthost-lost",
    "ledger-failed",
    "too-large",
    "header-too-large",
    "bad-line",
    "out-of-turn",
    "loop",
    "no-8bit",
    "no-utf8",
    "bounce",
    "bounce-suspended-alias",
    "bounce-refunded",
    "bounce-ignored",
    "not-a-bounce",
    ABORTED,
    PREEMPTED,
];

/// A message that did not come to its end: the client was gone, too slow, or sent far too much.
pub(super) const ABORTED: &str = "aborted";

/// Its connection to the smarthost was wanted for somebody else.
pub(super) const PREEMPTED: &str = "preempted";

/// The MX's metrics.
pub(super) struct Counters {
    pub(super) metrics: Metrics,
    pub(super) sessions: IntCounter,
    pub(super) open: IntGauge,
    pub(super) turned_away: Tally,
    pub(super) encrypted: IntCounter,
    pub(super) recipients: IntCounter,
    pub(super) recipients_refused: Tally,
    pub(super) messages: Tally,
    pub(super) octets: IntCounter,
    pub(super) preempted: IntCounter,
}

impl Default for Counters {
    fn default() -> Self {
        let metrics = Metrics::default();
        Counters {
            sessions: metrics.counter("tempalias_smtp_sessions_total", "SMTP sessions that were let in."),
            open: metrics.gauge("tempalias_smtp_sessions_open", "SMTP sessions that go on now."),
            turned_away: metrics.tally(
                "tempalias_smtp_sessions_refused_total",
                "SMTP clients that heard 421 instead of the greeting.",
                "reason",
                TURNED_AWAY,
            ),
            encrypted: metrics.counter(
                "tempalias_smtp_sessions_encrypted_total",
                "SMTP sessions that have gone over to TLS.",
            ),
            recipients: metrics.counter("tempalias_smtp_recipients_total", "Recipients that were accepted."),
            recipients_refused: metrics.tally(
                "tempalias_smtp_recipients_refused_total",
                "Recipients that were refused, or put off.",
                "reason",
                RECIPIENT,
            ),
            messages: metrics.tally(
                "tempalias_smtp_messages_total",
                "Messages that came as far as DATA, by what became of them.",
                "outcome",
                MESSAGE,
            ),
            octets: metrics.counter(
                "tempalias_smtp_delivered_bytes_total",
                "Octets of the delivered messages, as their clients have sent them.",
            ),
            preempted: metrics.counter(
                "tempalias_smtp_preempted_total",
                "Sessions that had to give up their connection to the smarthost, because others waited.",
            ),
            metrics,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::iter::successors;

    use super::super::recipient::Refusal;
    use super::super::reply;
    use super::super::verdict::Verdict;
    use super::*;
    use crate::alias::State;
    use crate::ledger::LedgerError;
    use crate::relay::{RelayError, Unfit};
    use crate::smtp::headers::HeaderFault;

    /// The word in each `Verdict::new(…, "word")` of `source`.
    fn reasons(source: &str) -> Vec<&str> {
        let arguments = source.split("Verdict::new(").skip(1).map(|rest| {
            let mut depth = 1;
            let end = rest.find(|c| {
                depth += i32::from(c == '(') - i32::from(c == ')');
                depth == 0
            });
            &rest[..end.expect("a parenthesis is closed")]
        });
        arguments.filter_map(|arguments| arguments.split('"').nth(1)).collect()
    }

    fn after(state: State) -> Option<State> {
        match state {
            State::Active => Some(State::Pending),
            State::Pending => Some(State::Expired),
            State::Expired => Some(State::UsedUp),
            State::UsedUp => Some(State::Paused),
            State::Paused => Some(State::Suspended),
            State::Suspended => None,
        }
    }

    #[test]
    fn every_reason_that_is_written_down_is_declared() {
        let anywhere = [TURNED_AWAY, RECIPIENT, MESSAGE].concat();
        for (source, declared, found) in [
            (include_str!("listener.rs"), TURNED_AWAY, 4),
            (include_str!("transaction.rs"), RECIPIENT, 2),
            (include_str!("session.rs"), RECIPIENT, 1),
            (include_str!("settlement.rs"), MESSAGE, 6),
            (include_str!("message.rs"), MESSAGE, 5),
            (include_str!("verdict.rs"), &anywhere, 15),
            (include_str!("mod.rs"), &anywhere, 5),
        ] {
            let reasons = reasons(source);
            assert!(reasons.len() >= found, "not all were found: {reasons:?}");
            for reason in reasons {
                assert!(declared.contains(&reason), "{reason} is not declared");
            }
        }
    }

    #[test]
    fn why_an_alias_does_not_forward_is_declared() {
        let name = || "k7m2q1".parse().unwrap();
        let states = successors(Some(State::Pending), |state| after(*state));
        let inactive = states.map(|state| Refusal::Inactive(name(), state));
        let others = [Refusal::Relaying, Refusal::Unknown, Refusal::Ledger(LedgerError::Closed)];
        for refusal in inactive.chain(others) {
            let Verdict { reason, .. } = refusal.into();
            assert!(RECIPIENT.contains(&reason), "{reason} is not declared");
        }
    }

    #[test]
    fn what_the_smarthost_does_is_declared_of_recipients_and_of_messages() {
        let unfit = [Unfit::TooLarge, Unfit::EightBit, Unfit::Utf8].map(RelayError::Unfit);
        let others = [RelayError::Refused(451), RelayError::Tls("".into()), RelayError::Failed("".into())];
        let verdicts =
            unfit.iter().chain(&others).map(|cause| Verdict::upstream(cause, "test", |_| reply::OK));
        for Verdict { reason, .. } in verdicts.chain([Verdict::no_smarthost()]) {
            assert!(RECIPIENT.contains(&reason) && MESSAGE.contains(&reason), "{reason} is not declared");
        }
    }

    #[test]
    fn what_becomes_of_a_text_is_declared() {
        let lost = Verdict::lost(&RelayError::Failed("".into()));
        let refused = [421, 550, 552].map(|code| Verdict::lost(&RelayError::Refused(code)));
        let verdicts = [lost, Verdict::ledger(&LedgerError::Closed)].into_iter().chain(refused);
        let faults = [HeaderFault::Loop, HeaderFault::TooLarge].map(Verdict::from);
        for Verdict { reason, .. } in verdicts.chain(faults) {
            assert!(MESSAGE.contains(&reason), "{reason} is not declared");
        }
    }
}
