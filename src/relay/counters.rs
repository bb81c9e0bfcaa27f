//! What is counted of the smarthost.

use crate::metrics::{Histogram, IntCounter, LONG_TIMES, Metrics};

/// The smarthost's metrics.
pub(super) struct Counters {
    pub(super) metrics: Metrics,
    pub(super) connected: IntCounter,
    pub(super) not_connected: IntCounter,
    pub(super) connect_seconds: Histogram,
    pub(super) command_seconds: Histogram,
    pub(super) final_seconds: Histogram,
}

impl Default for Counters {
    fn default() -> Self {
        let metrics = Metrics::default();
        let [connected, not_connected] = metrics.counters(
            "tempalias_smarthost_connections_total",
            "Connections to the smarthost, up to the answer to EHLO or AUTH, by how that ended.",
            ("result", ["ready", "failed"]),
        );
        let [connect_seconds, command_seconds, final_seconds] = metrics.histograms(
            "tempalias_smarthost_seconds",
            "How long the smarthost took: until a new connection was ready; to answer MAIL, RCPT or DATA; to answer the final dot. Failures count, too.",
            ("stage", ["connect", "command", "final"]),
            LONG_TIMES,
        );
        Counters { metrics, connected, not_connected, connect_seconds, command_seconds, final_seconds }
    }
}
