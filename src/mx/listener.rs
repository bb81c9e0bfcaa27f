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

/// Rest after an `accept` that failed for want of descriptors: trying at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Takes sessions on `listeners` until `shutdown`, and returns when the last of them has ended.
///
/// After `shutdown` sessions in the middle of a message may finish it, all others hear 421. The
/// caller bounds how long that may take.
pub async fn serve(listeners: Vec<TcpListener>, mx: Arc<Mx>, shutdown: CancellationToken) {
    let sessions = TaskTracker::new();
    for listener in listeners {
        sessions.spawn(accept(listener, mx.clone(), sessions.clone(), shutdown.clone()));
    }
    sessions.close();
    sessions.wait().await;
}

async fn accept(listener: TcpListener, mx: Arc<Mx>, sessions: TaskTracker, shutdown: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
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
                let (mx, shutdown) = (mx.clone(), shutdown.clone());
                sessions.spawn(async move {
                    session::run(mx, stream, peer, shutdown).await;
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
