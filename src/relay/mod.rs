//! The client side towards the smarthost: one connection, one message.
//!
//! [`Smarthost::connect`] → [`Connection::mail`] → [`Connection::rcpt`] … → [`Connection::data`] →
//! [`Body::write`] … → [`Body::finish`]. Dropping a [`Connection`] or [`Body`] closes the socket
//! without a final dot and without QUIT: the only way to cancel that no smarthost can mistake for
//! a message. The words of the smarthost go no further than the debug log; callers see a code.

mod body;
mod connection;
mod resolve;
mod stream;

pub use body::{Body, Outcome};
pub use connection::{Connection, Envelope};

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config;
use resolve::Resolver;

/// Where the smarthost is and how to speak to it. Clones are cheap.
#[derive(Clone)]
pub struct Smarthost {
    inner: Arc<Inner>,
}

struct Inner {
    config: config::Smarthost,
    hostname: String,
    resolver: Resolver,
}

/// What went wrong with the smarthost.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// It understood and said no, with this code (4xx or 5xx).
    #[error("the smarthost refused with {0}")]
    Refused(u16),
    /// It could not be reached, went away, was silent for too long, or spoke something else than SMTP.
    #[error("the smarthost failed: {0}")]
    Failed(String),
}

impl Smarthost {
    /// The smarthost of `config`; says EHLO with `hostname`.
    pub fn new(config: &config::Smarthost, hostname: &str) -> Self {
        let inner =
            Inner { config: config.clone(), hostname: hostname.to_owned(), resolver: Resolver::default() };
        Smarthost { inner: Arc::new(inner) }
    }

    /// A connection that has heard the greeting and said EHLO.
    ///
    /// # Errors
    /// Everything that goes wrong on the way, time included (`connect_timeout`).
    pub async fn connect(&self) -> Result<Connection, RelayError> {
        let config = &self.inner.config;
        timeout(config.connect_timeout, async {
            let tcp = self.dial().await?;
            Connection::greet(tcp, &self.inner.hostname, config).await
        })
        .await
        .unwrap_or_else(|_| Err(RelayError::timed_out("connecting", config.connect_timeout)))
    }

    /// A TCP connection to the first address that takes one.
    async fn dial(&self) -> Result<TcpStream, RelayError> {
        let config = &self.inner.config;
        let mut last = RelayError::Failed(format!("{} has no address", config.host));
        for address in self.inner.resolver.addresses(&config.host).await? {
            match TcpStream::connect((address, config.port)).await {
                Ok(tcp) => return Ok(tcp),
                Err(cause) => last = RelayError::Failed(format!("{address}:{}: {cause}", config.port)),
            }
        }
        Err(last)
    }
}

impl RelayError {
    fn timed_out(what: &str, limit: Duration) -> Self {
        RelayError::Failed(format!("no end of {what} within {} s", limit.as_secs_f32()))
    }
}

impl From<mail_send::Error> for RelayError {
    fn from(error: mail_send::Error) -> Self {
        match error {
            mail_send::Error::UnexpectedReply(reply) if (400..600).contains(&reply.code) => {
                tracing::debug!(code = reply.code, text = reply.message, "the smarthost refused");
                RelayError::Refused(reply.code)
            }
            mail_send::Error::UnexpectedReply(reply) => {
                RelayError::Failed(format!("unexpected reply {}", reply.code))
            }
            other => RelayError::Failed(other.to_string()),
        }
    }
}

impl From<std::io::Error> for RelayError {
    fn from(error: std::io::Error) -> Self {
        RelayError::Failed(error.to_string())
    }
}
