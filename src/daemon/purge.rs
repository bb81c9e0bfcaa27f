//! The purge timer.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::clock;
use crate::events::{Event, Events};
use crate::ledger::{Ledger, Purged};

/// Deletes expired and used-up aliases now, after every `interval`, and when the interval changes; also calls
/// `forget_clients`, which drops the rate limiters' idle clients.
pub(super) async fn purge(
    ledger: Ledger,
    events: Events,
    forget_clients: impl Fn(),
    mut interval: watch::Receiver<Duration>,
    shutdown: CancellationToken,
) {
    loop {
        if let Some(seconds) = clock::behind() {
            warn!(
                seconds,
                "the system's clock was set back: until it has caught up, time stands still for aliases"
            );
        }
        match ledger.purge(clock::now()).await {
            Ok(purged) if purged.is_empty() => {}
            Ok(Purged { expired, used_up }) => events.tell(Event::Purged { expired, used_up }),
            Err(cause) => error!(%cause, "the purge failed; the next one will try again"),
        }
        forget_clients();
        let pause = *interval.borrow_and_update();
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = sleep(pause) => {}
            Ok(()) = interval.changed() => {}
        }
    }
}
