//! Connections: accepted from the listeners, served by HTTP/1.1, and ended in bounded time.
//!
//! hyper is driven directly. poem's own server sets no deadline for the head of a request, waits for such a client when it shuts down, and spins when the process is out of
//! file descriptors.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use poem::http::uri::Scheme;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy, sink};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connections::{ConnectionLimits, OnlyHealthCheck, Permit};
use super::middleware::{MAX_FIELDS, MAX_HEAD};
use crate::net::accept::{Acceptor, LogThrottle};
use crate::net::limits::Full;
use crate::net::tls::Identity;

/// For the head of a request, and between two requests.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// Octets of a request's head, and its fields, that are read: twice what a [`Site`] may want, so
/// that it can answer itself that they are too many. Beyond that hyper answers.
const READ_HEAD: usize = 2 * MAX_HEAD;
const READ_FIELDS: usize = 2 * MAX_FIELDS;

/// A connection is kept for further requests so long …
const KEEP_FOR: Duration = Duration::from_secs(60);

/// … and cut after this, for clients that do not take their answer.
const CUT_AFTER: Duration = Duration::from_secs(120);

/// How long to read on after the last answer, if there was one. Closing with unread octets resets the
/// connection, and a client that was still sending (a body too large) would lose our answer (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_secs(2);

/// At the stop, for the first request of a connection, and for a TLS handshake before it: a client that was
/// let in just now has sent it, and no other server would answer it.
const FIRST_REQUEST_WITHIN: Duration = Duration::from_secs(2);

/// A connection with a reserved permit is cut after this: no health check waits longer.
const RESERVED_FOR: Duration = Duration::from_secs(5);

/// Where requests come in.
#[derive(Default)]
pub struct Listeners {
    /// From the network.
    pub tcp: Vec<TcpListener>,
    /// From a proxy on this host.
    pub unix: Option<UnixListener>,
    /// With one, TCP is HTTPS only.
    pub identity: Option<Identity>,
}

/// What answers requests.
pub trait Site: Send + Sync + 'static {
    /// The answer to `request`, whatever it is.
    fn answer(&self, request: Request) -> impl Future<Output = Response> + Send;

    /// How many connections there may be. Asked once, at the start.
    fn connection_limits(&self) -> ConnectionLimits;

    /// Whether `peer` is a proxy with many clients behind it. That may change: it is asked about
    /// every connection.
    fn is_proxy(&self, peer: IpAddr) -> bool;
}

/// What is known of a connection before its first request.
#[derive(Clone)]
struct Peer {
    local: Addr,
    remote: Addr,
    scheme: Scheme,
    /// Whether its permit is a reserved one.
    is_reserved: bool,
}

/// What all connections share.
struct Server<S> {
    site: Arc<S>,
    limits: ConnectionLimits,
    connections: TaskTracker,
    shutdown: CancellationToken,
}

/// Answers requests at `listeners` until `shutdown`, and returns when the last answer is out.
///
/// After `shutdown` requests that have begun are still answered, and the first one of a connection
/// that was just accepted; a client that is slow with its request or answer is cut as always. The
/// caller may bound it more tightly.
pub async fn serve<S: Site>(listeners: Listeners, site: Arc<S>, shutdown: CancellationToken) {
    let limits = site.connection_limits();
    let server = Arc::new(Server { site, limits, connections: TaskTracker::new(), shutdown });
    let mut accepting = JoinSet::new();
    for listener in listeners.tcp {
        accepting.spawn(accept_tcp(listener, listeners.identity.clone(), server.clone()));
    }
    if let Some(listener) = listeners.unix {
        accepting.spawn(accept_unix(listener, server.clone()));
    }
    accepting.join_all().await;
    server.connections.close();
    server.connections.wait().await;
}

async fn accept_tcp<S: Site>(listener: TcpListener, identity: Option<Identity>, server: Arc<Server<S>>) {
    let mut acceptor = Acceptor::new("http", server.shutdown.clone());
    let mut full = LogThrottle::default();
    while let Some((stream, peer)) = acceptor.next(|| listener.accept()).await {
        let Ok(local) = stream.local_addr() else { continue }; // gone already
        // Nobody else can have a connection from an address of this host.
        let is_local = peer.ip() == local.ip() || peer.ip().to_canonical().is_loopback();
        let Some(permit) = server.permit(Some(peer.ip()), is_local, &mut full) else { continue };
        let scheme = if identity.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
        let is_reserved = permit.is_reserved();
        let peer = Peer { local: local.into(), remote: peer.into(), scheme, is_reserved };
        let (server, identity) = (server.clone(), identity.clone());
        server.clone().spawn(permit, async move {
            match identity {
                Some(identity) => server.serve_tls(stream, identity, peer).await,
                None => server.serve_connection(stream, peer).await,
            }
        });
    }
}

async fn accept_unix<S: Site>(listener: UnixListener, server: Arc<Server<S>>) {
    let mut acceptor = Acceptor::new("http", server.shutdown.clone());
    let mut full = LogThrottle::default();
    while let Some((stream, _)) = acceptor.next(|| listener.accept()).await {
        let Some(permit) = server.permit(None, true, &mut full) else { continue };
        let unnamed = || Addr::custom("unix", "");
        let is_reserved = permit.is_reserved();
        let peer = Peer { local: unnamed(), remote: unnamed(), scheme: Scheme::HTTP, is_reserved };
        let server = server.clone();
        server.clone().spawn(permit, async move { server.serve_connection(stream, peer).await });
    }
}

impl<S: Site> Server<S> {
    /// A permit for the connection from `peer`; `None`: a proxy, on this host. When all are taken, one from this
    /// host (`is_local`) gets a reserved permit, for health checks, and any other is closed at once, without an
    /// answer: before its request, and perhaps TLS, an answer would be no answer. `full` throttles the warning.
    fn permit(&self, peer: Option<IpAddr>, is_local: bool, full: &mut LogThrottle) -> Option<Permit> {
        let client = peer.filter(|ip| !self.site.is_proxy(*ip));
        let limit = match self.limits.take(client) {
            Ok(permit) => return Some(permit),
            Err(limit) => limit,
        };
        if limit == Full::ForAll && full.is_due() {
            tracing::warn!("all of http.max_connections are taken; further ones are closed");
        }
        if !is_local {
            tracing::debug!(?limit, "a web connection was closed at once");
            return None;
        }
        Some(self.limits.reserve())
    }

    /// Runs `connection` while it has its `permit`, for a limited time.
    fn spawn(&self, permit: Permit, connection: impl Future<Output = ()> + Send + 'static) {
        let longest = if permit.is_reserved() { RESERVED_FOR } else { CUT_AFTER };
        self.connections.spawn(async move {
            // A slow client is not logged.
            tokio::select! {
                _ = timeout(longest, connection) => {}
                () = permit.displaced() => {}
            }
        });
    }

    /// One connection, from its TLS handshake to its end.
    async fn serve_tls(&self, stream: TcpStream, identity: Identity, peer: Peer) {
        let shutdown_grace = async {
            self.shutdown.cancelled().await;
            sleep(FIRST_REQUEST_WITHIN).await;
        };
        let accepted = tokio::select! {
            accepted = identity.accept(stream) => accepted,
            () = shutdown_grace => return,
        };
        match accepted {
            Ok(stream) => self.serve_connection(stream, peer).await,
            Err(cause) => tracing::debug!(%cause, "a TLS handshake failed"),
        }
    }

    /// One connection, from its first request to its end.
    async fn serve_connection<C>(&self, stream: C, peer: Peer)
    where
        C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (site, begun) = (self.site.clone(), CancellationToken::new());
        let (begins, is_reserved) = (begun.clone(), peer.is_reserved);
        let service = service_fn(move |request| {
            begins.cancel();
            let (site, peer) = (site.clone(), peer.clone());
            let mut request: Request =
                (request, LocalAddr(peer.local), RemoteAddr(peer.remote), peer.scheme).into();
            if is_reserved {
                request.set_data(OnlyHealthCheck);
            }
            Box::pin(async move { Ok::<_, Infallible>(site.answer(request).await.into()) })
        });
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .keep_alive(!is_reserved)
            // A client that has sent everything, and closed its half, still waits for the answer
            // (RFC 9112 §9.6). One that is gone costs no more than an answer in any case may take.
            .half_close(true)
            .header_read_timeout(HEAD_WITHIN)
            .max_buf_size(READ_HEAD)
            .max_headers(READ_FIELDS)
            .serve_connection(TokioIo::new(stream), service);

        let enough = async {
            tokio::select! {
                () = self.shutdown.cancelled() => {}
                () = sleep(KEEP_FOR) => return,
            }
            // hyper closes at once what it has heard nothing on yet.
            let _ = timeout(FIRST_REQUEST_WITHIN, begun.cancelled()).await;
        };
        let ended = tokio::select! {
            ended = poll_fn(|cx| connection.poll_without_shutdown(cx)) => ended,
            () = enough => {
                std::pin::Pin::new(&mut connection).graceful_shutdown();
                poll_fn(|cx| connection.poll_without_shutdown(cx)).await
            }
        };
        // A client that has sent nothing, not even a malformed head, has no answer to lose.
        let was_silent = ended.is_ok() && !begun.is_cancelled();
        if let Err(cause) = ended {
            tracing::debug!(%cause, "a web connection ended early");
        }
        let mut stream = connection.into_parts().io.into_inner();
        // Failures from here on have no consequence: the answer is out.
        if stream.shutdown().await.is_ok() && !was_silent {
            let _ = timeout(LINGER, copy(&mut stream, &mut sink())).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, duplex};
    use tokio::time::Instant;

    use super::super::exposition::Exposition;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn at_the_stop_a_silent_connection_is_waited_for_and_then_closed_at_once() {
        let site = Arc::new(Exposition::new(Vec::new(), || ()));
        let (connections, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let server = Server { limits: site.connection_limits(), site, connections, shutdown };
        let unnamed = || Addr::custom("test", "");
        let peer = Peer { local: unnamed(), remote: unnamed(), scheme: Scheme::HTTP, is_reserved: false };
        let (ours, mut theirs) = duplex(1024);
        let start = Instant::now();
        server.shutdown.cancel();
        server.serve_connection(ours, peer).await;
        let took = start.elapsed();
        assert!(FIRST_REQUEST_WITHIN <= took && took < FIRST_REQUEST_WITHIN + LINGER, "{took:?}");
        assert_eq!(theirs.read(&mut [0]).await.unwrap(), 0, "it is not closed");
    }
}
