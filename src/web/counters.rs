//! What the web counts.

use std::time::Duration;

use poem::Response;

use super::problem::Code;
use crate::metrics::{Histogram, IntCounter, Metrics, SHORT_TIMES, Tally, seconds};

/// Answers by the first digit of their status.
const STATUSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// The web's metrics.
pub(super) struct Counters {
    pub(super) metrics: Metrics,
    answers: [IntCounter; STATUSES.len()],
    refused: Tally<Code>,
    answer_seconds: Histogram,
}

impl Counters {
    /// Counts an answer, and what was refused with it.
    pub(super) fn count(&self, response: &Response, took: Duration) {
        let class = usize::from(response.status().as_u16() / 100).saturating_sub(2);
        if let Some(counter) = self.answers.get(class) {
            counter.inc();
        }
        if let Some(code) = response.data::<Code>() {
            self.refused.count(code);
        }
        self.answer_seconds.observe(seconds(took));
    }
}

impl Default for Counters {
    fn default() -> Self {
        let metrics = Metrics::default();
        Counters {
            answers: metrics.counters(
                "tempalias_http_answers_total",
                "Requests that were answered, by the class of the status.",
                ("status", STATUSES),
            ),
            refused: metrics.tally(
                "tempalias_http_refused_total",
                "Requests that were refused, by the API's error code.",
                "code",
            ),
            answer_seconds: metrics.histogram(
                "tempalias_http_answer_seconds",
                "How long it took from the head of a request to its answer.",
                SHORT_TIMES,
            ),
            metrics,
        }
    }
}
