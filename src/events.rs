//! What happens that is worth telling, each fact in one place: the line in the log and the metric are
//! drawn from it.
//!
//! No event holds an address, a target or a key; an alias is told by its shortened name.

use std::sync::Arc;

use crate::alias::AliasName;
use crate::metrics::{IntCounter, Metrics};

/// Something that has happened.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Page or API has handed out an alias.
    Created(&'a AliasName),
    /// Its holder has changed an alias.
    Changed(&'a AliasName),
    /// Its holder has revoked an alias.
    Revoked(&'a AliasName),
    /// Aliases that were over have been deleted for good.
    Purged {
        /// Past their last day.
        expired: usize,
        /// Without a use left.
        used_up: usize,
    },
}

/// Whom events are told to. Clones are the same.
#[derive(Clone, Default)]
pub struct Events(Arc<Counters>);

struct Counters {
    metrics: Metrics,
    created: IntCounter,
    /// Expired, used up.
    purged: [IntCounter; 2],
}

impl Events {
    /// Tells what has happened.
    pub fn tell(&self, event: Event<'_>) {
        self.0.count(event);
        log(event);
    }

    /// What is counted of events.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }
}

fn log(event: Event<'_>) {
    match event {
        Event::Created(alias) => tracing::info!(alias = alias.shortened(), "alias created"),
        Event::Changed(alias) => tracing::info!(alias = alias.shortened(), "alias changed"),
        Event::Revoked(alias) => tracing::info!(alias = alias.shortened(), "alias revoked"),
        Event::Purged { expired, used_up } => tracing::info!(expired, used_up, "purged"),
    }
}

impl Counters {
    fn count(&self, event: Event<'_>) {
        match event {
            Event::Created(_) => self.created.inc(),
            Event::Purged { expired, used_up } => {
                for (counter, count) in self.purged.iter().zip([expired, used_up]) {
                    counter.inc_by(count as u64);
                }
            }
            Event::Changed(_) | Event::Revoked(_) => {}
        }
    }
}

impl Default for Counters {
    fn default() -> Self {
        let metrics = Metrics::default();
        Counters {
            created: metrics.counter(
                "tempalias_http_aliases_created_total",
                "Aliases that were handed out by page and API.",
            ),
            purged: metrics.counters(
                "tempalias_ledger_aliases_purged_total",
                "Aliases that were deleted for good, by what was over.",
                ("reason", ["expired", "used-up"]),
            ),
            metrics,
        }
    }
}
