//! Idle connections to the smarthost, kept for the next message.
//!
//! A connection comes here only after a delivery, when both sides agree that nothing is under
//! way; it is taken out only when the smarthost has sent nothing since.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use super::{Connection, QUIT_TIMEOUT};

/// How long a connection may wait for its next message. Longer than the gaps within a burst,
/// shorter than the patience of any smarthost (Postfix under stress: 10 s).
const MAX_IDLE_TIME: Duration = Duration::from_secs(5);

/// How many may wait at once.
const MAX_IDLE: usize = 20;

/// Messages of one connection; smarthosts have limits of this kind, too.
const MAX_MESSAGES: usize = 100;

#[derive(Default)]
pub(super) struct Pool {
    /// In the order of their return, so the oldest is the first.
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    connection: Connection,
    until: Instant,
}

impl Pool {
    /// The connection used last of those on which the smarthost has sent nothing unexpected.
    pub(super) fn take(&self) -> Option<Connection> {
        let mut idle = self.lock();
        while let Some(Idle { mut connection, until }) = idle.pop() {
            if Instant::now() < until && connection.is_in_step() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection whose message has been answered, or ends it with QUIT.
    pub(super) fn put(self: &Arc<Self>, connection: Connection) {
        let mut idle = self.lock();
        if connection.messages() >= MAX_MESSAGES || idle.len() >= MAX_IDLE {
            tokio::spawn(quit(connection));
            return;
        }
        if idle.is_empty() {
            tokio::spawn(self.clone().sweep());
        }
        idle.push(Idle { connection, until: Instant::now() + MAX_IDLE_TIME });
    }

    /// Ends connections that were idle for too long, until none is left.
    async fn sweep(self: Arc<Self>) {
        loop {
            let Some(until) = self.lock().first().map(|oldest| oldest.until) else { return };
            sleep_until(until).await;
            let over: Vec<_> = {
                let mut idle = self.lock();
                let now = Instant::now();
                let alive = idle.iter().position(|one| now < one.until).unwrap_or(idle.len());
                idle.drain(..alive).collect()
            };
            for one in over {
                quit(one.connection).await;
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        // A list of connections is whole whatever happened to the thread that held it.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// QUIT, and a moment for the answer.
async fn quit(connection: Connection) {
    let _ = timeout(QUIT_TIMEOUT, connection.quit()).await; // it ends either way
}
