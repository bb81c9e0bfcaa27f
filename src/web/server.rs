//! Connections: taken from the listeners, spoken HTTP/1.1 with, and ended in bounded time.
//!
//! hyper is driven directly. poem's own server gives a client for ever to send the head of its
//! request, waits for such a client when it shuts down, and spins when the process is out of
//! file descriptors.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use poem::http::uri::Scheme;
use poem::web::{LocalAddr, RemoteAddr};
use tokio::io::{AsyncWriteExt, copy, sink};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Web;

/// For the head of a request, and between two requests.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// Octets of a request's head; browsers stay below 8 KiB.
const MAX_HEAD: usize = 16 * 1024;

/// A connection is kept for further requests so long …
const KEEP_FOR: Duration = Duration::from_secs(60);

/// … and cut after this, for clients that do not take their answer.
const CUT_AFTER: Duration = Duration::from_secs(120);

/// How long to read on after our last word. Closing with unread octets resets the connection, and
/// a client that was still sending (a body too large) would lose our answer (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_secs(2);

/// Pause after a failed accept: out of descriptors, usually.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Answers requests on `listeners` until `shutdown`, and returns when the last answer is out.
///
/// After `shutdown` requests that have begun are still answered; a client that dawdles over its
/// request or answer is cut as always. The caller may bound it more tightly.
pub async fn serve(listeners: Vec<TcpListener>, web: Arc<Web>, shutdown: CancellationToken) {
    let connections = TaskTracker::new();
    let mut doors = JoinSet::new();
    for listener in listeners {
        doors.spawn(accept(listener, web.clone(), connections.clone(), shutdown.clone()));
    }
    doors.join_all().await;
    connections.close();
    connections.wait().await;
}

async fn accept(listener: TcpListener, web: Arc<Web>, connections: TaskTracker, shutdown: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (web, shutdown) = (web.clone(), shutdown.clone());
                connections.spawn(timeout(CUT_AFTER, converse(stream, peer, web, shutdown)));
            }
            Err(cause) => {
                tracing::warn!(%cause, "a web connection could not be accepted");
                sleep(ACCEPT_AGAIN_AFTER).await;
            }
        }
    }
}

/// One connection, from its first request to its end.
async fn converse(stream: TcpStream, peer: SocketAddr, web: Arc<Web>, shutdown: CancellationToken) {
    let Ok(local) = stream.local_addr() else { return }; // gone already
    let service = service_fn(move |request| {
        let web = web.clone();
        let request = (request, LocalAddr(local.into()), RemoteAddr(peer.into()), Scheme::HTTP).into();
        Box::pin(async move { Ok::<_, Infallible>(web.answer(request).await.into()) })
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);

    let ended = tokio::select! {
        ended = poll_fn(|cx| connection.poll_without_shutdown(cx)) => Some(ended),
        () = shutdown.cancelled() => None,
        () = sleep(KEEP_FOR) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            Pin::new(&mut connection).graceful_shutdown();
            poll_fn(|cx| connection.poll_without_shutdown(cx)).await
        }
    };
    if let Err(cause) = ended {
        tracing::debug!(%cause, "a web connection ended early");
    }
    linger(connection.into_parts().io.into_inner()).await;
}

async fn linger(mut stream: TcpStream) {
    // What goes wrong here has no consequence: everything has been said.
    if stream.shutdown().await.is_ok() {
        let _ = timeout(LINGER, copy(&mut stream, &mut sink())).await;
    }
}
