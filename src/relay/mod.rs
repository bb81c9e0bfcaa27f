//! The client side towards the smarthost.
//!
//! [`Smarthost::lease`] → [`Smarthost::begin`] → [`Connection::data`] → [`Body::write`] … → [`Body::finish`]. Dropping a [`Connection`] or [`Body`] closes the socket
//! without a final dot and without QUIT: the only way to cancel that no smarthost can mistake for
//! a message. The words of the smarthost go no further than the debug log; callers see a code.

mod auth;
mod body;
mod client;
mod connection;
mod counters;
mod hello;
mod pool;
mod queue;

pub use body::{Body, Outcome};
pub use connection::{Connection, Envelope, Unfit};
pub use hello::Capabilities;
pub use queue::{Busy, Claim, Lease};

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::config::{self, Config, FileError, Tls};
use crate::metrics::{Metrics, seconds};
use crate::net::tls;
use crate::resolve::{ResolveError, Resolver};
use crate::smtp::reply::Reply;
use auth::Credentials;
use counters::Counters;
use pool::Pool;
use queue::{FairQueue, Limits};

/// For QUIT and its reply.
const QUIT_TIMEOUT: Duration = Duration::from_secs(5);

/// A client may have one in so many of the connections.
const SHARES: usize = 4;

/// A client waits for a connection so many times as long, at least, as one is held before it may be
/// preempted. Otherwise it would have given up before.
const GRACES: u32 = 3;

/// Where the smarthost is and how to speak to it. Clones are the same.
#[derive(Clone)]
pub struct Smarthost(Arc<Inner>);

struct Inner {
    config: config::Smarthost,
    hostname: String,
    tls: tls::Client,
    credentials: Option<Credentials>,
    resolver: Resolver,
    pool: Arc<Pool>,
    /// Who may have one of `max_connections`.
    queue: Arc<FairQueue>,
    /// What the last connection was told.
    learned: ArcSwapOption<Capabilities>,
    counters: Arc<Counters>,
}

/// What went wrong with the smarthost.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// It refused, with this code (4xx or 5xx).
    #[error("the smarthost refused with {0}")]
    Refused(u16),
    /// TLS with it failed: certificate, name or protocol.
    #[error("the smarthost's TLS failed: {0}")]
    Tls(String),
    /// It cannot do what the message needs.
    #[error("the smarthost cannot: {0:?}")]
    Unfit(Unfit),
    /// It could not be reached, hung up, timed out, or does not speak SMTP.
    #[error("the smarthost failed: {0}")]
    Failed(String),
}

impl Smarthost {
    /// The smarthost of `config`.
    ///
    /// # Errors
    /// When a file it names cannot be used.
    pub fn new(config: &Config) -> Result<Self, FileError> {
        Ok(Smarthost(Arc::new(Inner::new(config)?)))
    }

    /// The smarthost of `config`, in the place of this one: what is counted goes on, and so does what is known of
    /// a smarthost that is the same; both share the queue for connections.
    ///
    /// # Errors
    /// As [`Smarthost::new`].
    pub fn replaced_by(&self, config: &Config) -> Result<Self, FileError> {
        let (old, mut new) = (&self.0, Inner::new(config)?);
        (new.counters, new.queue) = (old.counters.clone(), old.queue.clone());
        if (&old.config.host, old.config.port) == (&new.config.host, new.config.port) {
            new.learned.store(old.learned.load_full());
        }
        Ok(Smarthost(Arc::new(new)))
    }

    /// From now on there may be as many connections as `config` allows.
    pub fn set_limits(&self, config: &Config) {
        self.0.queue.set_limits(queue_limits(config));
    }

    /// What is counted of it.
    pub fn metrics(&self) -> &Metrics {
        &self.0.counters.metrics
    }

    /// Goes through all that comes before a message, and takes it back: nothing is sent.
    ///
    /// # Errors
    /// The step that failed, and why.
    pub async fn probe(&self, envelope: &Envelope) -> Result<(), (&'static str, RelayError)> {
        let at = |step: &'static str| move |cause: RelayError| (step, cause);
        let mut connection = self.0.connect().await.map_err(at("connecting"))?;
        connection.dry_run(envelope).await?;
        connection.quit().await.map_err(at("QUIT"))
    }

    /// The right to one of the connections, in turn: within `connect_timeout`, unless the client has `gone`
    /// by then.
    ///
    /// # Errors
    /// All are in use, and nobody with more than the client gives one up.
    pub async fn lease(&self, claim: Claim, gone: impl Future<Output = ()>) -> Result<Lease, Busy> {
        let inner = &self.0;
        tokio::select! {
            // What is free at once needs no queue, and a client that has ended its side may still read
            // (RFC 9293 §3.6): then it hears what becomes of the recipient.
            biased;
            lease = inner.queue.wait(claim, inner.config.connect_timeout) => lease,
            () = gone => Err(Busy::Gone),
        }
    }

    /// Whether connections are scarce: time to be short with clients that hold one.
    pub fn is_scarce(&self) -> bool {
        self.0.queue.are_scarce()
    }

    /// A connection, idle or new, that has taken `envelope` and holds the `lease` until it is dropped or
    /// idle. An idle one that fails is replaced by a new one, also by [`Connection::data`].
    ///
    /// # Errors
    /// [`RelayError::Refused`] is about the recipient. Trouble with an idle connection is only a reason
    /// to make a new one. The lease has ended.
    pub async fn begin(&self, envelope: Envelope, lease: Lease) -> Result<Connection, RelayError> {
        let inner = &self.0;
        if let Some(mut idle) = inner.pool.take() {
            match idle.begin(envelope.clone()).await {
                Err(cause) if cause.is_of_connection() => {
                    tracing::debug!(%cause, "an idle connection failed; trying a new one");
                }
                begun => return begun.map(|()| idle.with_lease(lease)),
            }
        }
        Ok(inner.begin_on_new(envelope).await?.with_lease(lease))
    }

    /// What the smarthost can do, as last heard; `None` before the first connection.
    pub fn capabilities(&self) -> Option<Capabilities> {
        self.0.learned.load().as_deref().copied()
    }
}

impl Inner {
    fn new(config: &Config) -> Result<Self, FileError> {
        let tls = match config.smarthost.tls {
            Tls::None | Tls::Opportunistic => tls::Client::opportunistic(),
            Tls::Starttls | Tls::Implicit => {
                let trusted = tls::Client::verifying(config.smarthost.ca_file.as_deref());
                trusted.map_err(|cause| cause.under("smarthost.ca_file"))?
            }
        };
        Ok(Inner {
            config: config.smarthost.clone(),
            hostname: config.hostname.to_string(),
            tls,
            credentials: credentials(&config.smarthost)?,
            resolver: Resolver::new(&config.dns, |_| {}),
            pool: Arc::default(),
            queue: FairQueue::new(queue_limits(config)),
            learned: ArcSwapOption::empty(),
            counters: Arc::default(),
        })
    }

    async fn begin_on_new(self: &Arc<Self>, envelope: Envelope) -> Result<Connection, RelayError> {
        let mut new = self.connect().await.map_err(|cause| cause.into_failure_with("the connection"))?;
        new.begin(envelope).await?;
        Ok(new)
    }

    /// A connection that is ready for MAIL, within `connect_timeout`.
    async fn connect(self: &Arc<Self>) -> Result<Connection, RelayError> {
        let limit = self.config.connect_timeout;
        let opened = timeout(limit, async {
            match self.open(self.config.tls).await {
                Err(RelayError::Tls(cause)) if self.config.tls == Tls::Opportunistic => {
                    tracing::warn!(cause, "TLS with the smarthost failed; continuing in clear text");
                    self.open(Tls::None).await
                }
                opened => opened,
            }
        });
        let start = Instant::now();
        let opened = opened.await.unwrap_or_else(|_| Err(RelayError::timed_out("connecting", limit)));
        let counters = &self.counters;
        counters.connect_seconds.observe(seconds(start.elapsed()));
        if opened.is_ok() { &counters.connected } else { &counters.not_connected }.inc();
        opened
    }

    async fn open(self: &Arc<Self>, tls: Tls) -> Result<Connection, RelayError> {
        Connection::open(self.dial().await?, tls, self.clone()).await
    }

    /// A TCP connection to the first address that takes one. Each has its share of the time, so
    /// that one behind a black hole (an IPv6 address without IPv6) does not use up all of it.
    async fn dial(&self) -> Result<TcpStream, RelayError> {
        let config = &self.config;
        let unknown = |cause: ResolveError| RelayError::Failed(format!("resolving {}: {cause}", config.host));
        let addresses = self.resolver.addresses(&config.host).await.map_err(unknown)?;
        let share = config.connect_timeout / u32::try_from(addresses.len() + 1).unwrap_or(u32::MAX);
        let mut last = RelayError::Failed(format!("{} has no address", config.host));
        for address in addresses {
            match timeout(share, TcpStream::connect((address, config.port))).await {
                Ok(Ok(tcp)) => return Ok(tcp),
                Ok(Err(cause)) => last = RelayError::Failed(format!("{address}:{}: {cause}", config.port)),
                Err(_) => last = RelayError::timed_out(&format!("connecting to {address}"), share),
            }
        }
        Err(last)
    }
}

impl RelayError {
    /// Whether the connection is the cause, and not the message or its recipient.
    fn is_of_connection(&self) -> bool {
        matches!(self, RelayError::Failed(_) | RelayError::Tls(_) | RelayError::Refused(421))
    }

    /// The same, where a refusal is one of `what`, and so not about the recipient or the command whose
    /// answer the client waits for.
    fn into_failure_with(self, what: &str) -> Self {
        match self {
            RelayError::Refused(code) => RelayError::Failed(format!("it refused {what} with {code}")),
            cause => cause,
        }
    }

    fn no_answer() -> Self {
        RelayError::Failed("no reply in time".into())
    }

    fn timed_out(what: &str, limit: Duration) -> Self {
        RelayError::Failed(format!("{what} timed out after {} s", limit.as_secs_f32()))
    }
}

impl From<std::io::Error> for RelayError {
    fn from(error: std::io::Error) -> Self {
        RelayError::Failed(error.to_string())
    }
}

fn queue_limits(config: &Config) -> Limits {
    let config::Smarthost { max_connections, connect_timeout, .. } = config.smarthost;
    Limits {
        most: max_connections,
        most_per_client: max_connections.div_ceil(SHARES),
        grace: config.smtp.stress_timeout.min(connect_timeout / GRACES),
    }
}

/// A reply that was not expected. What the smarthost said is for the debug log alone.
impl From<Reply> for RelayError {
    fn from(reply: Reply) -> Self {
        tracing::debug!(
            code = reply.code,
            text = reply.lines().next(),
            "an unexpected reply of the smarthost"
        );
        if reply.is_refusal() {
            RelayError::Refused(reply.code)
        } else {
            RelayError::Failed(format!("unexpected reply {}", reply.code))
        }
    }
}

/// User name and password: the one line of the password file, without its end.
fn credentials(config: &config::Smarthost) -> Result<Option<Credentials>, FileError> {
    let (Some(username), Some(path)) = (&config.username, &config.password_file) else {
        return Ok(None);
    };
    let refuse = |cause: &dyn Display| FileError {
        key: "smarthost.password_file",
        path: path.clone(),
        cause: cause.to_string(),
    };
    let secret = std::fs::read_to_string(path).map_err(|cause| refuse(&cause))?;
    let secret =
        secret.strip_prefix(config::BYTE_ORDER_MARK).unwrap_or(&secret).trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        return Err(refuse(&"holds no password"));
    }
    if secret.contains(['\r', '\n']) {
        return Err(refuse(&"holds more than one line"));
    }
    Ok(Some(Credentials { username: username.clone(), password: secret.to_owned() }))
}
