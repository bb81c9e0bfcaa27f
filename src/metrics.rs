//! What is counted, and how it is written down for Prometheus.
//!
//! Each room declares its metrics where it counts, in a struct of its own over one [`Metrics`], and
//! knows nobody who reads them. Counting is an atomic addition. No label has a value from outside:
//! no address, no alias, no client. `docs/metrics.md` lists them all.

use std::time::Duration;

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};

pub use prometheus::{Histogram, IntCounter, IntGauge, TEXT_FORMAT};

/// Upper bounds in seconds for what a disk or a neighbour answers: 1 ms to 10 s.
pub const SHORT_TIMES: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Upper bounds in seconds for what may come over the Internet: 5 ms to 5 min.
pub const LONG_TIMES: &[f64] = &[0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// The metrics of one room. Clones are the same metrics.
///
/// # Panics
/// Declaring one panics when its name is malformed or was declared before: names are constants.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    registry: Registry,
}

/// Counters for each value of one label. All values are known when it is declared, so that each is
/// there, with 0, before it first happens.
#[derive(Debug)]
pub struct Tally {
    counters: Vec<(&'static str, IntCounter)>,
}

/// A gauge that counts for as long as it exists.
#[derive(Debug)]
pub struct Presence(IntGauge);

impl Metrics {
    /// What only grows; its name ends in `_total`.
    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.declare(IntCounter::new(name, help))
    }

    /// What goes up and down.
    pub fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.declare(IntGauge::new(name, help))
    }

    /// A gauge that is always 1; what matters is in its labels.
    pub fn info(&self, name: &str, help: &str, label: &str, value: &str) {
        self.declare(IntGauge::with_opts(Opts::new(name, help).const_label(label, value))).set(1);
    }

    /// How often which sizes occur, by their upper `bounds`.
    pub fn histogram(&self, name: &str, help: &str, bounds: &[f64]) -> Histogram {
        self.declare(Histogram::with_opts(HistogramOpts::new(name, help).buckets(bounds.to_vec())))
    }

    /// Counters for words: one for each of `values`.
    pub fn tally(&self, name: &str, help: &str, label: &str, values: &[&'static str]) -> Tally {
        let family = self.declare(IntCounterVec::new(Opts::new(name, help), &[label]));
        Tally { counters: values.iter().map(|&value| (value, family.with_label_values(&[value]))).collect() }
    }

    /// Counters, one for each value of a label, in the order of the values.
    pub fn counters<const N: usize>(
        &self,
        name: &str,
        help: &str,
        (label, values): (&str, [&str; N]),
    ) -> [IntCounter; N] {
        self.family(IntCounterVec::new(Opts::new(name, help), &[label]), values)
    }

    /// Gauges, in the same way.
    pub fn gauges<const N: usize>(
        &self,
        name: &str,
        help: &str,
        (label, values): (&str, [&str; N]),
    ) -> [IntGauge; N] {
        self.family(IntGaugeVec::new(Opts::new(name, help), &[label]), values)
    }

    /// Histograms, in the same way.
    pub fn histograms<const N: usize>(
        &self,
        name: &str,
        help: &str,
        (label, values): (&str, [&str; N]),
        bounds: &[f64],
    ) -> [Histogram; N] {
        let options = HistogramOpts::new(name, help).buckets(bounds.to_vec());
        self.family(HistogramVec::new(options, &[label]), values)
    }

    /// One for each of `values`, so that each is there, with 0, before it first happens.
    fn family<B: MetricVecBuilder + Clone + 'static, const N: usize>(
        &self,
        made: prometheus::Result<MetricVec<B>>,
        values: [&str; N],
    ) -> [B::M; N] {
        let family = self.declare(made);
        values.map(|value| family.with_label_values(&[value]))
    }

    fn declare<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let made = made.expect("names of metrics are well-formed");
        self.registry.register(Box::new(made.clone())).expect("a metric is declared once");
        made
    }
}

impl Tally {
    /// Counts one of `value`.
    ///
    /// # Panics
    /// In debug builds, when the value was not declared. A release counts it nowhere.
    pub fn count(&self, value: &str) {
        let known = self.counters.iter().find(|(known, _)| *known == value);
        debug_assert!(known.is_some(), "{value} is not declared");
        if let Some((_, counter)) = known {
            counter.inc();
        }
    }
}

impl Presence {
    /// One more, as long as the value lives.
    pub fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Presence(gauge.clone())
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// All that was counted, in Prometheus' text format ([`TEXT_FORMAT`]).
pub fn text<'a>(rooms: impl IntoIterator<Item = &'a Metrics>) -> String {
    let mut families: Vec<_> = rooms.into_iter().flat_map(|room| room.registry.gather()).collect();
    families.sort_by(|one, other| one.name().cmp(other.name()));
    TextEncoder::new().encode_to_string(&families).expect("what was declared can be written down")
}

/// For [`Histogram::observe`].
pub fn seconds(span: Duration) -> f64 {
    span.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_declared_is_written_down_before_it_first_happens() {
        let (one, other) = (Metrics::default(), Metrics::default());
        let tally = one.tally("t_refused_total", "Refused.", "reason", &["late", "full"]);
        let open = other.gauge("t_open", "Open.");
        let took = other.histogram("t_seconds", "Took.", &[0.5, 1.0]);
        let before = text([&one, &other]);
        assert!(
            before.contains("# HELP t_refused_total Refused.\n# TYPE t_refused_total counter\n"),
            "{before}"
        );
        assert!(before.contains("t_refused_total{reason=\"full\"} 0\n"), "{before}");
        tally.count("late");
        took.observe(seconds(Duration::from_millis(700)));
        let _presence = Presence::new(&open);
        let after = text([&one, &other]);
        for line in ["t_refused_total{reason=\"late\"} 1", "t_seconds_bucket{le=\"1\"} 1", "t_open 1"] {
            assert!(after.lines().any(|found| found == line), "{line} is not in {after}");
        }
    }

    #[test]
    fn presence_ends() {
        let open = Metrics::default().gauge("t_open", "Open.");
        drop(Presence::new(&open));
        assert_eq!(open.get(), 0);
    }

    #[test]
    #[should_panic(expected = "lost is not declared")]
    fn a_value_that_nobody_declared_is_a_mistake_of_ours() {
        Metrics::default().tally("t_total", "T.", "reason", &["late"]).count("lost");
    }
}
