//! The purge timer.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::clock;
use crate::ledger::Ledger;

/// Deletes what is over, now and after every `interval`, at once when that becomes another; and has
/// the clients forgotten of whom there is nothing to know.
pub(super) async fn purge(
    ledger: Ledger,
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
            Ok(purged) => info!(expired = purged.expired, used_up = purged.used_up, "purged"),
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
