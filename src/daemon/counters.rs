//! Metrics of the process as a whole.

use crate::clock::Timestamp;
use crate::descriptors;
use crate::metrics::{IntCounter, IntGauge, Metrics};

/// The daemon's metrics. Those of the process have Prometheus' standard names
/// (<https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>).
#[derive(Clone)]
pub(super) struct Counters {
    pub(super) metrics: Metrics,
    reloads: [IntCounter; 2],
    reload_worked: IntGauge,
    expiry: [IntGauge; 2],
    open_files: IntGauge,
    max_files: IntGauge,
    memory: IntGauge,
    threads: IntGauge,
}

impl Counters {
    /// For a program that starts `now`.
    pub(super) fn new(now: Timestamp) -> Self {
        let metrics = Metrics::default();
        metrics.info(
            "tempalias_build_info",
            "Which tempalias this is.",
            "version",
            env!("CARGO_PKG_VERSION"),
        );
        let start =
            metrics.gauge("process_start_time_seconds", "When it was started, in seconds since 1970.");
        start.set(now.as_second());
        let counters = Counters {
            reloads: metrics.counters(
                "tempalias_config_reloads_total",
                "Reloads of the configuration, by how they ended.",
                ("result", ["done", "refused"]),
            ),
            reload_worked: metrics.gauge(
                "tempalias_config_is_current",
                "1 when the configuration was read without an error the last time, else 0.",
            ),
            expiry: metrics.gauges(
                "tempalias_certificate_expiry_timestamp_seconds",
                "When our certificate expires, in seconds since 1970; 0 without one.",
                ("listener", ["smtp", "http"]),
            ),
            open_files: metrics.gauge("process_open_fds", "Open file descriptors."),
            max_files: metrics.gauge("process_max_fds", "How many may be open; 0: any number."),
            memory: metrics.gauge("process_resident_memory_bytes", "Memory that is in use."),
            threads: metrics.gauge("process_threads", "Threads."),
            metrics,
        };
        counters.reload_worked.set(1);
        counters
    }

    /// A reload has ended.
    pub(super) fn reloaded(&self, worked: bool) {
        self.reloads[usize::from(!worked)].inc();
        self.reload_worked.set(worked.into());
    }

    /// When the certificates of SMTP and HTTP expire.
    pub(super) fn expire(&self, at: [Option<Timestamp>; 2]) {
        for (gauge, at) in self.expiry.iter().zip(at) {
            gauge.set(at.map_or(0, Timestamp::as_second));
        }
    }

    /// Reads the figures of the process.
    pub(super) fn measure(&self) {
        self.max_files.set(descriptors::limit().unwrap_or(0).try_into().unwrap_or(i64::MAX));
        let Some(usage) = descriptors::usage() else { return };
        self.open_files.set(usage.files);
        self.memory.set(usage.memory);
        self.threads.set(usage.threads);
    }
}
