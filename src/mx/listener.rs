//! Taking sessions: accept, count, hand over.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::wire::Wire;
use super::{Mx, reply, session};

/// Rest after an `accept` that failed for want of descriptors: trying at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a client that is turned away may take to read why.
const TURN_AWAY_TIMEOUT: Duration = Duration::from_secs(5);

/// Takes sessions on `listeners` until `shutdown`, and returns when the last of them has ended.
///
/// After `shutdown` sessions in the middle of a message may finish it, all others hear 421. The
/// caller bounds how long that may take.
pub async fn serve(listeners: Vec<TcpListener>, mx: Arc<Mx>, shutdown: CancellationToken) {
    let sessions = TaskTracker::new();
    let slots = match mx.limits.max_connections {
        0 => Semaphore::MAX_PERMITS,
        most => most,
    };
    let slots = Arc::new(Semaphore::new(slots));
    for listener in listeners {
        sessions.spawn(accept(listener, mx.clone(), slots.clone(), sessions.clone(), shutdown.clone()));
    }
    sessions.close();
    sessions.wait().await;
}

async fn accept(
    listener: TcpListener,
    mx: Arc<Mx>,
    slots: Arc<Semaphore>,
    sessions: TaskTracker,
    shutdown: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(cause) => {
                tracing::warn!(%cause, "cannot accept a session");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Answers are small and waited for; a failure here is the connection's, and shows soon enough.
        let _ = stream.set_nodelay(true);
        match slots.clone().try_acquire_owned() {
            Ok(slot) => {
                let (mx, shutdown) = (mx.clone(), shutdown.clone());
                sessions.spawn(async move {
                    session::run(mx, stream, peer.ip(), shutdown).await;
                    drop(slot);
                });
            }
            Err(_) => {
                sessions.spawn(turn_away(stream));
            }
        }
    }
}

/// 421 for one client too many.
async fn turn_away(stream: TcpStream) {
    let mut wire = Wire::new(stream, TURN_AWAY_TIMEOUT);
    wire.reply(&reply::TOO_MANY_SESSIONS);
    wire.close().await;
}
