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
    "bounce-not-alone",
    "too-large",
    "no-8bit",
    "no-utf8",
    "too-busy",
    "too-busy-with-client",
    "smarthost-refused",
    "smarthost-failed",
    "ledger-failed",
];

/// What becomes of a message.
const MESSAGE: &[&str] = &[
    "delivered",
    "in-doubt",
    "used-up",
    "some-used-up",
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
    "bounce-ignored",
    ABORTED,
];

/// A message that did not come to its end: the client was gone, too slow, or sent far too much.
pub(super) const ABORTED: &str = "aborted";

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
            metrics,
        }
    }
}
