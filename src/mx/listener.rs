//! Taking sessions: accept, count, hand over.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::reply::{self, Reply};
use super::{Mx, session};
use crate::throttle::{ClientNet, Full, Slot};
use crate::transport::Transport;

/// Rest after an `accept` that failed for want of descriptors: trying at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Takes sessions on `listeners` until `shutdown`, and returns when the last of them has ended.
///
/// After `shutdown` sessions in the middle of a message may finish it, all others hear 421. The
/// caller bounds how long that may take.
pub async fn serve(listeners: Vec<TcpListener>, mx: Arc<Mx>, shutdown: CancellationToken) {
    let sessions = TaskTracker::new();
    // When the caller loses patience and drops this future, the sessions end with it.
    let abort = CancellationToken::new();
    let _end_of_all = abort.clone().drop_guard();
    sessions.spawn(mx.lists.clone().watch(shutdown.clone()));
    for listener in listeners {
        let signals = Signals { shutdown: shutdown.clone(), abort: abort.clone() };
        sessions.spawn(accept(listener, mx.clone(), sessions.clone(), signals));
    }
    sessions.close();
    sessions.wait().await;
}

#[derive(Clone)]
struct Signals {
    /// No new sessions; those in the middle of a message may finish it.
    shutdown: CancellationToken,
    /// No sessions at all.
    abort: CancellationToken,
}

async fn accept(listener: TcpListener, mx: Arc<Mx>, sessions: TaskTracker, signals: Signals) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = signals.shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok((stream, peer)) => (stream, peer.ip()),
            Err(cause) => {
                tracing::warn!(%cause, "cannot accept a session");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Answers are small and waited for; a failure here is the connection's, and shows soon enough.
        let _ = stream.set_nodelay(true);
        match admit(&mx, peer) {
            Ok(slot) => {
                let (mx, signals) = (mx.clone(), signals.clone());
                sessions.spawn(async move {
                    let Signals { shutdown, abort } = signals;
                    // Not `run_until_cancelled`, which would keep room for two sessions.
                    tokio::select! {
                        () = abort.cancelled() => {}
                        () = session::run(mx, Transport::Plain(stream), peer, shutdown) => {}
                    }
                    drop(slot);
                });
            }
            Err(refusal) => turn_away(&stream, peer, &refusal),
        }
    }
}

/// A slot for `peer`, or what to say to it instead.
fn admit(mx: &Mx, peer: IpAddr) -> Result<Slot, Reply> {
    let client = ClientNet::from(peer);
    mx.connections.count(client).map_err(|_| reply::TOO_MANY_CONNECTIONS)?;
    mx.unknown_recipients.look(client).map_err(|_| reply::TOO_MANY_UNKNOWN)?;
    mx.slots.take(client).map_err(|full| match full {
        Full::ForAll => reply::TOO_MANY_SESSIONS,
        Full::ForClient => reply::TOO_MANY_OF_YOURS,
    })
}

/// 421 instead of the greeting, at no cost: no task, no wait. A reply fits the empty buffer of a
/// fresh connection; what does not go at once need not go at all.
fn turn_away(stream: &TcpStream, peer: IpAddr, refusal: &Reply) {
    let _ = SockRef::from(stream).send(refusal.to_string().as_bytes());
    tracing::debug!(client = session::network(peer), reply = %refusal, "turned away");
}
