//! Signals: how a daemon is told to stop or to reload.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How a daemon is told to stop or to reload.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// Accept nothing new, finish what is in flight.
    pub orderly: CancellationToken,
    /// Do not wait any longer.
    pub at_once: CancellationToken,
    /// Read configuration and certificates again.
    pub reload: Arc<Notify>,
}

/// What SIGHUP does: a service reloads, a program in a terminal ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hangup {
    /// [`Stop::reload`].
    Reloads,
    /// [`Stop::orderly`].
    Ends,
}

impl Stop {
    /// The first SIGINT or SIGTERM asks for an orderly stop, the second for one at once. SIGHUP
    /// does what `hangup` says.
    ///
    /// # Errors
    /// When the operating system refuses the handlers.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn on_signals(hangup: Hangup) -> io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hung_up = signal(SignalKind::hangup())?;
        let stop = Stop::default();
        let Stop { orderly, at_once, reload } = stop.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hung_up.recv() => if hangup == Hangup::Reloads {
                        reload.notify_one();
                        continue;
                    },
                }
                if orderly.is_cancelled() {
                    at_once.cancel();
                }
                orderly.cancel();
            }
        });
        Ok(stop)
    }
}
