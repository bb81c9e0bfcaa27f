//! Taking sessions: accept, count, hand over.

use std::net::IpAddr;
use std::sync::Arc;

use socket2::SockRef;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Mx, session};
use crate::events::{Event, Rejection};
use crate::metrics::Presence;
use crate::net::accept::Acceptor;
use crate::net::limits::{ClientNet, Full, Slot};
use crate::net::transport::Transport;

/// Takes sessions on `listeners` until `shutdown`, and returns when the last of them has ended, and
/// the uses that it had to give back are given back.
///
/// After `shutdown` sessions in the middle of a message may finish it, all others hear 421. The
/// caller bounds how long that may take.
pub async fn serve(listeners: Vec<TcpListener>, mx: Arc<Mx>, shutdown: CancellationToken) {
    serve_with(session::run, listeners, mx, shutdown).await;
}

/// [`serve`], where `run` holds each conversation. It has a task of its own, so that one that panics
/// ends alone.
async fn serve_with<R, F>(run: R, listeners: Vec<TcpListener>, mx: Arc<Mx>, shutdown: CancellationToken)
where
    R: Fn(Arc<Mx>, Transport, IpAddr, CancellationToken) -> F + Copy + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let sessions = TaskTracker::new();
    // No sessions at all: when the caller loses patience and drops this future, they end with it.
    let abort = CancellationToken::new();
    let _end_of_all = abort.clone().drop_guard();
    for listener in listeners {
        let (mx, sessions, shutdown, abort) = (mx.clone(), sessions.clone(), shutdown.clone(), abort.clone());
        sessions.clone().spawn(async move {
            let mut acceptor = Acceptor::new("smtp", shutdown.clone());
            while let Some((stream, peer)) = acceptor.next(|| listener.accept()).await {
                let peer = peer.ip();
                // Answers are small and waited for; a failure here is the connection's, and shows soon enough.
                let _ = stream.set_nodelay(true);
                let slot = match admit(&mx, peer) {
                    Ok(slot) => slot,
                    Err(reason) => {
                        mx.events.tell(Event::Rejected { client: peer, reason });
                        // 421 instead of the greeting, at no cost: no task, no wait. A reply fits the empty
                        // buffer of a fresh connection; what does not go at once need not go at all.
                        let _ = SockRef::from(&stream).send(reason.reply().to_string().as_bytes());
                        continue;
                    }
                };
                mx.counters.sessions.inc();
                let presence = Presence::new(&mx.counters.open);
                let (mx, shutdown, abort) = (mx.clone(), shutdown.clone(), abort.clone());
                sessions.spawn(async move {
                    // Not `run_until_cancelled`, whose future would be as large as two sessions.
                    tokio::select! {
                        () = abort.cancelled() => {}
                        () = run(mx, Transport::Plain(stream), peer, shutdown) => {}
                    }
                    drop((slot, presence));
                });
            }
        });
    }
    sessions.close();
    sessions.wait().await;
    mx.refunds.close();
    mx.refunds.wait().await;
}

/// A slot for `peer`, or why it has none.
fn admit(mx: &Mx, peer: IpAddr) -> Result<Slot, Rejection> {
    let client = ClientNet::from(peer);
    mx.connections.count(client).map_err(|_| Rejection::TooManyConnections)?;
    if mx.guesses.is_rejected_at_greeting(client) {
        return Err(Rejection::Harvesting);
    }
    mx.slots.take(client).map_err(|full| match full {
        Full::ForAll => Rejection::Full,
        Full::ForClient => Rejection::FullForClient,
    })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
    use tokio::net::{TcpSocket, TcpStream};

    use super::super::fuzzing::lonely_mx;
    use super::*;

    async fn connect(source: &str, to: SocketAddr) -> BufReader<TcpStream> {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
        BufReader::new(socket.connect(to).await.unwrap())
    }

    async fn hear(client: &mut BufReader<TcpStream>) -> String {
        let mut line = String::new();
        client.read_line(&mut line).await.unwrap();
        line
    }

    #[tokio::test]
    async fn a_session_that_panics_takes_nobody_with_it_and_leaves_its_slot() {
        let (mx, _dir) = lonely_mx();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let run = |mx, stream, peer: IpAddr, shutdown| async move {
            assert_ne!(peer.to_string(), "127.0.0.2", "for the test's sake");
            session::run(mx, stream, peer, shutdown).await;
        };
        let serving = tokio::spawn(serve_with(run, vec![listener], mx, shutdown.clone()));

        let mut neighbour = connect("127.0.0.1", address).await;
        assert!(hear(&mut neighbour).await.starts_with("220 "));
        for _ in 0..3 {
            // It may have one session, so the second shows that the first has left none behind.
            let mut panicking = connect("127.0.0.2", address).await;
            assert_eq!(panicking.read_to_end(&mut Vec::new()).await.unwrap(), 0);
        }
        neighbour.write_all(b"NOOP\r\n").await.unwrap();
        assert!(hear(&mut neighbour).await.starts_with("250 "));
        assert!(hear(&mut connect("127.0.0.3", address).await).await.starts_with("220 "));
        shutdown.cancel();
        serving.await.unwrap();
    }
}
