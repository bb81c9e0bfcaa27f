//! The service manager's watchdog.

use std::pin::pin;
use std::time::Instant;

use tokio::time::{MissedTickBehavior, timeout};

use crate::clock;
use crate::ledger::Ledger;
use crate::systemd;

/// Reports to the service manager that we are alive while timers run and the ledger's writer answers. What it
/// answers does not matter: no restart repairs a full disk.
///
/// While an answer is outstanding, on a slow disk say, we are reported alive for half the manager's patience.
pub(super) async fn watchdog(ledger: Ledger) {
    let Some(patience) = systemd::watchdog_patience() else { return };
    let mut timer = tokio::time::interval(patience / 6);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        let asked = Instant::now();
        let mut answer = pin!(ledger.check(clock::now()));
        while timeout(patience / 6, &mut answer).await.is_err() {
            if asked.elapsed() < patience / 2 {
                systemd::alive();
            }
        }
        systemd::alive();
    }
}
