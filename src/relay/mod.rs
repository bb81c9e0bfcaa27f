//! The client side towards the smarthost.
//!
//! [`Smarthost::begin`] → [`Connection::data`] → [`Body::write`] … → [`Body::finish`]. Dropping a [`Connection`] or [`Body`] closes the socket
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
mod reply;
mod stream;

#[cfg(any(test, fuzzing))]
pub(crate) use body::stuffed;
pub use body::{Body, Outcome};
pub use connection::{Connection, Envelope, Unfit};
pub use hello::Capabilities;
pub use queue::{Busy, Claim, FairQueue, Lease};

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::rustls::ClientConfig;

use crate::config::{self, Dns, FileError, Tls};
use crate::metrics::{Metrics, seconds};
use crate::net::tls;
use crate::resolve::{ResolveError, Resolver};
use auth::Credentials;
use counters::Counters;
use pool::Pool;

/// Where the smarthost is and how to speak to it. Clones are cheap.
#[derive(Clone)]
pub struct Smarthost {
    inner: Arc<Inner>,
}

struct Inner {
    config: config::Smarthost,
    hostname: String,
    tls: Arc<ClientConfig>,
    credentials: Option<Credentials>,
    resolver: Resolver,
    pool: Arc<Pool>,
    /// What the last connection was told.
    learned: ArcSwapOption<Capabilities>,
    counters: Arc<Counters>,
}

/// What went wrong with the smarthost.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// It understood and said no, with this code (4xx or 5xx).
    #[error("the smarthost refused with {0}")]
    Refused(u16),
    /// No TLS with it, in our own words: certificate, name or protocol.
    #[error("the smarthost's TLS failed: {0}")]
    Tls(String),
    /// It cannot do what the message needs.
    #[error("the smarthost cannot: {0:?}")]
    Unfit(Unfit),
    /// It could not be reached, went away, was silent for too long, or spoke something else than SMTP.
    #[error("the smarthost failed: {0}")]
    Failed(String),
}

impl Smarthost {
    /// The smarthost of `config`, looked for with `dns`; says EHLO with `hostname`.
    ///
    /// # Errors
    /// When a file it names cannot be used.
    pub fn new(config: &config::Smarthost, dns: &Dns, hostname: &str) -> Result<Self, FileError> {
        Ok(Smarthost { inner: Arc::new(Inner::new(config, dns, hostname)?) })
    }

    /// As [`Smarthost::new`], in place of this one: what is counted goes on, and so does what is known
    /// of a smarthost that is the same.
    ///
    /// # Errors
    /// As there.
    pub fn renewed(&self, config: &config::Smarthost, dns: &Dns, hostname: &str) -> Result<Self, FileError> {
        let (old, mut new) = (&self.inner, Inner::new(config, dns, hostname)?);
        new.counters = old.counters.clone();
        if (&old.config.host, old.config.port) == (&config.host, config.port) {
            new.learned.store(old.learned.load_full());
        }
        Ok(Smarthost { inner: Arc::new(new) })
    }

    /// A connection, idle or new, that has taken `envelope`. An idle one that fails is replaced by a
    /// new one, also by [`Connection::data`].
    ///
    /// # Errors
    /// [`RelayError::Refused`] is about the recipient. Trouble with an idle connection is only a reason
    /// to make a new one.
    pub async fn begin(&self, envelope: Envelope) -> Result<Connection, RelayError> {
        if let Some(mut idle) = self.inner.pool.take() {
            match idle.begin(envelope.clone()).await {
                Err(cause) if cause.is_of_connection() => {
                    tracing::debug!(%cause, "an idle connection was of no use; trying a new one");
                }
                begun => return begun.map(|()| idle),
            }
        }
        self.begin_on_new(envelope).await
    }

    async fn begin_on_new(&self, envelope: Envelope) -> Result<Connection, RelayError> {
        let mut new = self.connect().await.map_err(|cause| cause.into_failure_with("the connection"))?;
        new.begin(envelope).await?;
        Ok(new)
    }

    /// What is counted of it.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.counters.metrics
    }

    /// Goes through all that comes before a message, and takes it back: nothing is sent.
    ///
    /// # Errors
    /// The step that failed, and why.
    pub async fn probe(&self, envelope: &Envelope) -> Result<(), (&'static str, RelayError)> {
        let at = |step: &'static str| move |cause: RelayError| (step, cause);
        let mut connection = self.connect().await.map_err(at("connecting"))?;
        connection.dry_run(envelope).await?;
        connection.quit().await.map_err(at("QUIT"))
    }

    /// What the smarthost can do, as last heard; `None` before the first connection.
    pub fn capabilities(&self) -> Option<Capabilities> {
        self.inner.learned.load().as_deref().copied()
    }

    /// A connection that is ready for MAIL, within `connect_timeout`.
    async fn connect(&self) -> Result<Connection, RelayError> {
        let limit = self.inner.config.connect_timeout;
        let opened = timeout(limit, async {
            match self.open(self.inner.config.tls).await {
                Err(RelayError::Tls(cause)) if self.inner.config.tls == Tls::Opportunistic => {
                    tracing::warn!(cause, "the smarthost offers TLS and fails at it; going on without");
                    self.open(Tls::None).await
                }
                opened => opened,
            }
        });
        let start = Instant::now();
        let opened = opened.await.unwrap_or_else(|_| Err(RelayError::timed_out("connecting", limit)));
        let counters = &self.inner.counters;
        counters.connect_seconds.observe(seconds(start.elapsed()));
        if opened.is_ok() { &counters.connected } else { &counters.not_connected }.inc();
        opened
    }

    async fn open(&self, tls: Tls) -> Result<Connection, RelayError> {
        Connection::open(self.dial().await?, tls, self.inner.clone()).await
    }

    /// A TCP connection to the first address that takes one. Each has its share of the time, so
    /// that one behind a black hole (an IPv6 address without IPv6) does not use up all of it.
    async fn dial(&self) -> Result<TcpStream, RelayError> {
        let config = &self.inner.config;
        let unknown = |cause: ResolveError| RelayError::Failed(format!("resolving {}: {cause}", config.host));
        let addresses = self.inner.resolver.addresses(&config.host).await.map_err(unknown)?;
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

impl Inner {
    fn new(config: &config::Smarthost, dns: &Dns, hostname: &str) -> Result<Self, FileError> {
        let tls = match config.tls {
            Tls::None | Tls::Opportunistic => tls::opportunistic_client(),
            Tls::Starttls | Tls::Implicit => {
                let trusted = tls::verifying_client(config.ca_file.as_deref());
                trusted.map_err(|cause| cause.under("smarthost.ca_file"))?
            }
        };
        Ok(Inner {
            config: config.clone(),
            hostname: hostname.to_owned(),
            tls: Arc::new(tls),
            credentials: credentials(config)?,
            resolver: Resolver::new(dns, |_| {}),
            pool: Arc::default(),
            learned: ArcSwapOption::empty(),
            counters: Arc::default(),
        })
    }
}

impl RelayError {
    /// Whether it says something of the connection, and nothing of the message or its recipient.
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
        RelayError::Failed("no answer in time".into())
    }

    fn timed_out(what: &str, limit: Duration) -> Self {
        RelayError::Failed(format!("no end of {what} within {} s", limit.as_secs_f32()))
    }
}

impl From<std::io::Error> for RelayError {
    fn from(error: std::io::Error) -> Self {
        RelayError::Failed(error.to_string())
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
