//! What the ledger counts.

use crate::metrics::{Histogram, IntCounter, IntGauge, LONG_TIMES, Metrics, SHORT_TIMES};

/// Upper bounds for the requests of one commit; 512 are the most.
const GROUPS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// The ledger's metrics.
pub(super) struct Counters {
    pub(super) metrics: Metrics,
    pub(super) commit_seconds: Histogram,
    pub(super) commit_requests: Histogram,
    pub(super) commits_failed: IntCounter,
    pub(super) spent: IntCounter,
    pub(super) refunded: IntCounter,
    pub(super) aliases: IntGauge,
    /// Done, failed.
    pub(super) purges: [IntCounter; 2],
    pub(super) purge_seconds: Histogram,
    pub(super) last_purge: IntGauge,
}

impl Default for Counters {
    fn default() -> Self {
        let metrics = Metrics::default();
        Counters {
            commit_seconds: metrics.histogram(
                "tempalias_ledger_commit_seconds",
                "How long a group of requests took, from the first of them until all were on the disk.",
                SHORT_TIMES,
            ),
            commit_requests: metrics.histogram(
                "tempalias_ledger_commit_requests",
                "Requests that were committed together.",
                GROUPS,
            ),
            commits_failed: metrics.counter(
                "tempalias_ledger_commits_failed_total",
                "Commits that failed, with all requests of their group: disk full, I/O error.",
            ),
            spent: metrics.counter("tempalias_ledger_uses_spent_total", "Uses of aliases that were spent."),
            refunded: metrics.counter(
                "tempalias_ledger_uses_refunded_total",
                "Uses that were given back because the smarthost did not take the message.",
            ),
            aliases: metrics.gauge(
                "tempalias_ledger_aliases",
                "Aliases that are alive, or over since the last purge. Counted at a purge; in between, those made \
                 and revoked on the command line are missing.",
            ),
            purges: metrics.counters(
                "tempalias_ledger_purges_total",
                "Purges, by how they ended.",
                ("result", ["done", "failed"]),
            ),
            purge_seconds: metrics.histogram(
                "tempalias_ledger_purge_seconds",
                "How long a purge took.",
                LONG_TIMES,
            ),
            last_purge: metrics.gauge(
                "tempalias_ledger_last_purge_timestamp_seconds",
                "When the last purge was done, in seconds since 1970; 0 before the first.",
            ),
            metrics,
        }
    }
}
