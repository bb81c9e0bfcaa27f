//! Accepting connections: one loop, with one policy for failures.

use std::io;
use std::time::{Duration, Instant};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Pause after a failed accept: out of descriptors, usually, so trying at once would only spin.
const PAUSE: Duration = Duration::from_millis(100);

/// A warning that may go on and on is logged no more often than this.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// Accepts the connections of one listener.
pub struct Acceptor {
    service: &'static str,
    shutdown: CancellationToken,
    failures: LogThrottle,
}

/// When a warning that may go on and on was logged last.
#[derive(Default)]
pub struct LogThrottle(Option<Instant>);

impl Acceptor {
    /// For `service`, as the log calls it, until `shutdown`.
    pub fn new(service: &'static str, shutdown: CancellationToken) -> Self {
        Acceptor { service, shutdown, failures: LogThrottle::default() }
    }

    /// The next connection, by `accept` of its listener; `None` after `shutdown`.
    ///
    /// A failure is logged, once a minute at most, and tried again after a pause.
    pub async fn next<T, F>(&mut self, accept: impl Fn() -> F) -> Option<T>
    where
        F: Future<Output = io::Result<T>>,
    {
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return None,
                accepted = accept() => accepted,
            };
            match accepted {
                Ok(connection) => return Some(connection),
                Err(cause) => {
                    if self.failures.is_due() {
                        tracing::warn!(%cause, service = self.service, "cannot accept connections");
                    }
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

impl LogThrottle {
    /// Whether a minute has passed since this was last true.
    pub fn is_due(&mut self) -> bool {
        let is_due = self.0.is_none_or(|last| last.elapsed() >= WARN_EVERY);
        if is_due {
            self.0 = Some(Instant::now());
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failed_accept_is_tried_again_after_a_pause_and_shutdown_ends_the_loop() {
        let shutdown = CancellationToken::new();
        let mut acceptor = Acceptor::new("test", shutdown.clone());
        let (start, tries) = (tokio::time::Instant::now(), Cell::new(0));
        let accept = || {
            tries.set(tries.get() + 1);
            ready(if tries.get() < 3 { Err(io::Error::other("no descriptors")) } else { Ok(()) })
        };
        assert_eq!(acceptor.next(accept).await, Some(()));
        assert_eq!(start.elapsed(), 2 * PAUSE);
        assert!(!acceptor.failures.is_due(), "it was logged within this minute");
        shutdown.cancel();
        assert_eq!(acceptor.next(pending::<io::Result<()>>).await, None);
    }
}
