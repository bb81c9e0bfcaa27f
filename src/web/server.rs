//! Connections: taken from the listeners, spoken HTTP/1.1 with, and ended in bounded time.
//!
//! hyper is driven directly. poem's own server gives a client for ever to send the head of its
//! request, waits for such a client when it shuts down, and spins when the process is out of
//! file descriptors.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
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

use super::room::{Place, Room};
use super::{MAX_FIELDS, MAX_HEAD};
use crate::net::accept::{Acceptor, LogThrottle};
use crate::net::limits::Full;
use crate::net::tls::Identity;

/// For the head of a request, and between two requests.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// Octets of a request's head, and its fields, that are read: twice what a [`Site`] may want, so
/// that it can say in its own words that they are too many. Of more nothing is read, and hyper answers.
const READ_HEAD: usize = 2 * MAX_HEAD;
const READ_FIELDS: usize = 2 * MAX_FIELDS;

/// A connection is kept for further requests so long …
const KEEP_FOR: Duration = Duration::from_secs(60);

/// … and cut after this, for clients that do not take their answer.
const CUT_AFTER: Duration = Duration::from_secs(120);

/// How long to read on after our last word, if there was one. Closing with unread octets resets the
/// connection, and a client that was still sending (a body too large) would lose our answer (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_secs(2);

/// At the stop, for the first request of a connection, and for a TLS handshake before it: whoever was let
/// in just now has it on the way, and there is nobody else who would answer it.
const FIRST_REQUEST_WITHIN: Duration = Duration::from_secs(2);

/// A connection in a reserved place is cut after this: no health check waits longer.
const RESERVED_FOR: Duration = Duration::from_secs(5);

/// Where requests come in.
#[derive(Default)]
pub struct Doors {
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

    /// How many connections it can bear, from its start to its end.
    fn room(&self) -> Room;

    /// Whether `peer` is a proxy with many clients behind it. That may change: it is asked about
    /// every connection.
    fn is_proxy(&self, peer: IpAddr) -> bool;
}

/// A [`Site`], as a connection needs it.
type Answer = dyn Fn(Request) -> Pin<Box<dyn Future<Output = Response> + Send>> + Send + Sync;

/// What is known of a connection before its first request.
#[derive(Clone)]
struct Peer {
    local: Addr,
    remote: Addr,
    scheme: Scheme,
    is_reserved: bool,
}

/// Among the data of a request: its connection is beyond all limits, and for health checks only. It ends
/// with the answer.
#[derive(Clone, Copy)]
pub struct Reserved;

/// What every connection needs.
#[derive(Clone)]
struct House {
    answer: Arc<Answer>,
    is_proxy: Arc<dyn Fn(IpAddr) -> bool + Send + Sync>,
    room: Arc<Room>,
    connections: TaskTracker,
    shutdown: CancellationToken,
}

/// Takes connections from one listener.
struct Porter {
    house: House,
    acceptor: Acceptor,
    full: LogThrottle,
}

/// Answers requests at `doors` until `shutdown`, and returns when the last answer is out.
///
/// After `shutdown` requests that have begun are still answered, and the first one of a connection
/// that was just accepted; a client that dawdles over its request or answer is cut as always. The
/// caller may bound it more tightly.
pub async fn serve<S: Site>(doors: Doors, site: Arc<S>, shutdown: CancellationToken) {
    let room = Arc::new(site.room());
    let gate = site.clone();
    let is_proxy = Arc::new(move |peer| gate.is_proxy(peer));
    let answer = move |request| -> Pin<Box<dyn Future<Output = Response> + Send>> {
        let site = site.clone();
        Box::pin(async move { site.answer(request).await })
    };
    let house = House { answer: Arc::new(answer), is_proxy, room, connections: TaskTracker::new(), shutdown };
    let mut open = JoinSet::new();
    for listener in doors.tcp {
        open.spawn(accept_tcp(listener, doors.identity.clone(), house.clone()));
    }
    if let Some(listener) = doors.unix {
        open.spawn(accept_unix(listener, house.clone()));
    }
    open.join_all().await;
    house.connections.close();
    house.connections.wait().await;
}

async fn accept_tcp(listener: TcpListener, identity: Option<Identity>, house: House) {
    let mut porter = Porter::new(&house);
    while let Some((stream, peer)) = porter.acceptor.next(|| listener.accept()).await {
        let is_local = || stream.local_addr().is_ok_and(|ours| is_this_host(peer.ip(), ours.ip()));
        let Some(place) = porter.place(Some(peer.ip()), is_local) else { continue };
        let (guests, identity, is_reserved) = (house.clone(), identity.clone(), place.is_reserved());
        let stay = async move { guests.welcome(stream, peer, identity, is_reserved).await };
        house.admit(stay, place);
    }
}

async fn accept_unix(listener: UnixListener, house: House) {
    let mut porter = Porter::new(&house);
    while let Some((stream, _)) = porter.acceptor.next(|| listener.accept()).await {
        let Some(place) = porter.place(None, || true) else { continue };
        let unnamed = || Addr::custom("unix", "");
        let is_reserved = place.is_reserved();
        let peer = Peer { local: unnamed(), remote: unnamed(), scheme: Scheme::HTTP, is_reserved };
        let guests = house.clone();
        let stay = async move { guests.converse(stream, peer).await };
        house.admit(stay, place);
    }
}

impl Porter {
    fn new(house: &House) -> Self {
        let acceptor = Acceptor::new("http", house.shutdown.clone());
        Porter { house: house.clone(), acceptor, full: LogThrottle::default() }
    }

    /// A place for the connection from `peer`; none: a proxy, on this host. When all are taken, one from this
    /// host has a reserved place, for health checks, and any other is closed at once, unheard: before its
    /// request, and perhaps TLS, an answer would be no answer.
    fn place(&mut self, peer: Option<IpAddr>, is_local: impl FnOnce() -> bool) -> Option<Place> {
        let client = peer.filter(|ip| !(self.house.is_proxy)(*ip));
        let full = match self.house.room.take(client) {
            Ok(place) => return Some(place),
            Err(full) => full,
        };
        if full == Full::ForAll && self.full.is_due() {
            tracing::warn!("all of http.max_connections are taken; further ones are closed");
        }
        let reserved = is_local().then(|| self.house.room.reserve());
        if reserved.is_none() {
            tracing::debug!(?full, "a web connection was closed at once");
        }
        reserved
    }
}

impl House {
    /// Holds `place` for the time of `stay`, and cuts it off when it is too long, or the place is lost.
    fn admit(&self, stay: impl Future<Output = ()> + Send + 'static, place: Place) {
        let longest = if place.is_reserved() { RESERVED_FOR } else { CUT_AFTER };
        self.connections.spawn(async move {
            // A client that dawdles is not worth a word.
            tokio::select! {
                _ = timeout(longest, stay) => {}
                () = place.lost() => {}
            }
        });
    }

    /// A connection from the network: TLS first, if we have a certificate.
    async fn welcome(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        identity: Option<Identity>,
        is_reserved: bool,
    ) {
        let Ok(local) = stream.local_addr() else { return }; // gone already
        let peer = |scheme| Peer { local: local.into(), remote: peer.into(), scheme, is_reserved };
        let Some(identity) = identity else { return self.converse(stream, peer(Scheme::HTTP)).await };
        let last_call = async {
            self.shutdown.cancelled().await;
            sleep(FIRST_REQUEST_WITHIN).await;
        };
        let shaken = tokio::select! {
            shaken = identity.accept(stream) => shaken,
            () = last_call => return,
        };
        match shaken {
            Ok(stream) => self.converse(stream, peer(Scheme::HTTPS)).await,
            Err(cause) => tracing::debug!(%cause, "a TLS handshake failed"),
        }
    }

    /// One connection, from its first request to its end.
    async fn converse<S>(&self, stream: S, peer: Peer)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (answer, begun) = (self.answer.clone(), CancellationToken::new());
        let (begins, is_reserved) = (begun.clone(), peer.is_reserved);
        let service = service_fn(move |request| {
            begins.cancel();
            let (answer, peer) = (answer.clone(), peer.clone());
            let mut request: Request =
                (request, LocalAddr(peer.local), RemoteAddr(peer.remote), peer.scheme).into();
            if is_reserved {
                request.set_data(Reserved);
            }
            Box::pin(async move { Ok::<_, Infallible>(answer(request).await.into()) })
        });
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .keep_alive(!is_reserved)
            // A client that has said everything, and closed its half, still waits for the answer
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
            ended = poll_fn(|cx| connection.poll_without_shutdown(cx)) => Some(ended),
            () = enough => None,
        };
        let ended = match ended {
            Some(ended) => ended,
            None => {
                Pin::new(&mut connection).graceful_shutdown();
                poll_fn(|cx| connection.poll_without_shutdown(cx)).await
            }
        };
        // Whoever has said nothing, not even something wrong, has no answer to lose.
        let was_silent = ended.is_ok() && !begun.is_cancelled();
        if let Err(cause) = ended {
            tracing::debug!(%cause, "a web connection ended early");
        }
        let mut stream = connection.into_parts().io.into_inner();
        // What goes wrong from here on has no consequence: everything has been said.
        if stream.shutdown().await.is_ok() && !was_silent {
            let _ = timeout(LINGER, copy(&mut stream, &mut sink())).await;
        }
    }
}

/// Whether `peer` is the host itself, to whose address `ours` it has connected. Nobody else can have a
/// connection from there.
fn is_this_host(peer: IpAddr, ours: IpAddr) -> bool {
    peer == ours || peer.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, duplex};
    use tokio::time::Instant;

    use super::*;
    use crate::config::Http;

    #[tokio::test(start_paused = true)]
    async fn at_the_stop_a_silent_connection_is_waited_for_and_then_closed_at_once() {
        let house = House {
            answer: Arc::new(|_| Box::pin(async { Response::default() })),
            is_proxy: Arc::new(|_| false),
            room: Arc::new(Room::new(&Http::default())),
            connections: TaskTracker::new(),
            shutdown: CancellationToken::new(),
        };
        let unnamed = || Addr::custom("test", "");
        let peer = Peer { local: unnamed(), remote: unnamed(), scheme: Scheme::HTTP, is_reserved: false };
        let (ours, mut theirs) = duplex(1024);
        let start = Instant::now();
        house.shutdown.cancel();
        house.converse(ours, peer).await;
        let took = start.elapsed();
        assert!(FIRST_REQUEST_WITHIN <= took && took < FIRST_REQUEST_WITHIN + LINGER, "{took:?}");
        assert_eq!(theirs.read(&mut [0]).await.unwrap(), 0, "it is not closed");
    }
}
