//! What is counted, and how it is written down for Prometheus.
//!
//! Each module declares its metrics where it counts, in a struct of its own over one [`Metrics`], and
//! does not know who reads them. Counting is an atomic addition. No label has a value from outside:
//! no address, no alias, no client. `docs/metrics.md` lists them all.

use std::marker::PhantomData;
use std::time::Duration;

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};

pub use prometheus::{Histogram, IntCounter, IntGauge, TEXT_FORMAT};

/// Upper bounds in seconds for what a disk or a host nearby answers: 1 ms to 10 s.
pub const SHORT_TIMES: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Upper bounds in seconds for what may come over the Internet: 5 ms to 5 min.
pub const LONG_TIMES: &[f64] = &[0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// The metrics of one module. Clones are the same metrics.
///
/// # Panics
/// Declaring one panics when its name is malformed or was declared before: names are constants.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    registry: Registry,
}

/// What may be counted by the values of one label; [`labels!`] declares one.
pub trait Label {
    /// The values, in no particular order; two variants may share one.
    const VALUES: &[&'static str];

    /// Its value, one of [`Label::VALUES`]; the log uses the same.
    fn as_str(&self) -> &'static str;
}

/// Declares an enum with the label's value of each variant, so that none can be forgotten.
macro_rules! labels {
    ($(#[$meta:meta])* pub enum $name:ident {
        $($(#[$doc:meta])* $variant:ident $(($data:ty))? => $value:literal,)+
    }) => {
        $(#[$meta])*
        pub enum $name { $($(#[$doc])* $variant $(($data))?,)+ }

        impl $crate::metrics::Label for $name {
            const VALUES: &[&'static str] = &[$($value),+];

            fn as_str(&self) -> &'static str {
                match self { $($name::$variant { .. } => $value,)+ }
            }
        }
    };
}
pub(crate) use labels;

/// Counters for each value of one label. All are there, with 0, before they first happen.
#[derive(Debug)]
pub struct Tally<L> {
    /// One for each of [`Label::VALUES`], in their order: finding one compares a few short words, where the
    /// family would lock and hash.
    counters: Vec<IntCounter>,
    label: PhantomData<fn(L)>,
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

    /// Counters for each value of `L`.
    pub fn tally<L: Label>(&self, name: &str, help: &str, label: &str) -> Tally<L> {
        let family = self.declare(IntCounterVec::new(Opts::new(name, help), &[label]));
        let counters = L::VALUES.iter().map(|value| family.with_label_values(&[value])).collect();
        Tally { counters, label: PhantomData }
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

impl<L: Label> Tally<L> {
    /// Counts one of `what`.
    pub fn count(&self, what: &L) {
        let index = L::VALUES.iter().position(|value| *value == what.as_str());
        self.counters[index.expect("`labels!` has the value of each variant among the values")].inc();
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
pub fn text<'a>(modules: impl IntoIterator<Item = &'a Metrics>) -> String {
    let mut families: Vec<_> = modules.into_iter().flat_map(|module| module.registry.gather()).collect();
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

    labels! {
        pub enum Why {
            Late => "late",
            Full => "full",
        }
    }

    #[test]
    fn everything_declared_is_written_down_before_it_first_happens() {
        let (one, other) = (Metrics::default(), Metrics::default());
        let tally = one.tally("t_refused_total", "Refused.", "reason");
        let open = other.gauge("t_open", "Open.");
        let took = other.histogram("t_seconds", "Took.", &[0.5, 1.0]);
        let before = text([&one, &other]);
        assert!(
            before.contains("# HELP t_refused_total Refused.\n# TYPE t_refused_total counter\n"),
            "{before}"
        );
        assert!(before.contains("t_refused_total{reason=\"full\"} 0\n"), "{before}");
        tally.count(&Why::Late);
        assert_eq!(Why::Full.as_str(), "full");
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
}
