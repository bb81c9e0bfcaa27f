//! What the MX counts of sessions. What becomes of clients, recipients and messages are [`crate::events`].

use crate::metrics::{IntCounter, IntGauge, Metrics};

/// The MX's metrics.
pub(super) struct Counters {
    pub(super) metrics: Metrics,
    pub(super) sessions: IntCounter,
    pub(super) open: IntGauge,
    pub(super) encrypted: IntCounter,
    pub(super) recipients: IntCounter,
}

impl Default for Counters {
    fn default() -> Self {
        let metrics = Metrics::default();
        Counters {
            sessions: metrics.counter("tempalias_smtp_sessions_total", "SMTP sessions that were let in."),
            open: metrics.gauge("tempalias_smtp_sessions_open", "SMTP sessions that go on now."),
            encrypted: metrics.counter(
                "tempalias_smtp_sessions_encrypted_total",
                "SMTP sessions that have gone over to TLS.",
            ),
            recipients: metrics.counter("tempalias_smtp_recipients_total", "Recipients that were accepted."),
            metrics,
        }
    }
}
