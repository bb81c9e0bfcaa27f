//! The message: streamed with dot-stuffing, settled by the answer to the final dot.

use tokio::time::{Instant, timeout};

use super::{Connection, QUIT_TIMEOUT, RelayError};
use crate::crash;
use crate::metrics::seconds;
use crate::smtp::dot::Encoder;
use crate::smtp::reply::Reply;
use crate::smtp::wire::Peek;

/// Octets gathered before they are written: what `mx` reads at a time, and room for the dots.
const CHUNK: usize = 64 * 1024;

/// A connection in the middle of DATA.
pub struct Body {
    connection: Connection,
    dots: Encoder,
    pending: Vec<u8>,
}

/// The smarthost's decision about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 2xx: the message is the smarthost's now.
    Accepted,
    /// 4xx or 5xx, in answer to the dot or before it was sent: certainly not delivered.
    Refused(u16),
    /// No reply, or none with a meaning: it may have been delivered, or not.
    Unknown,
    /// The smarthost hung up before the dot, which was not sent, or sent a reply that is no refusal.
    NotSent,
}

impl Connection {
    /// DATA; on its 354 the message may follow.
    ///
    /// # Errors
    /// The connection is gone with the error, refused or not.
    pub async fn data(self) -> Result<Body, RelayError> {
        Ok(Body { connection: self.start_data().await?, dots: Encoder::new(), pending: Vec::new() })
    }
}

impl Body {
    /// Streams `piece`, whose line ends are all CRLF. Pieces may be cut anywhere.
    ///
    /// # Errors
    /// The smarthost is lost, or has refused the message before its end. No dot is to follow.
    pub async fn write(&mut self, piece: &[u8]) -> Result<(), RelayError> {
        self.dots.encode(piece, &mut self.pending);
        if self.pending.len() < CHUNK {
            return Ok(());
        }
        self.flush().await
    }

    /// Sends what is pending, and makes sure that the smarthost is still there: afterwards only the
    /// final dot is missing.
    ///
    /// # Errors
    /// As [`Body::write`].
    pub async fn flush(&mut self) -> Result<(), RelayError> {
        let limit = self.connection.smarthost.config.write_timeout;
        let stream = &mut self.connection.client.stream;
        let written = timeout(limit, stream.write_unless_answered(&self.pending)).await;
        self.pending.clear();
        match written {
            Ok(Ok(true)) if self.connection.is_in_step() => Ok(()),
            Ok(Ok(_)) => Err(self.interrupted().await),
            // It may have said why before it hung up.
            Ok(Err(cause)) => Err(self.refusal().await.unwrap_or_else(|| cause.into())),
            Err(_) => Err(RelayError::timed_out("writing", limit)),
        }
    }

    /// From here on the connection is not preempted: the message is to come to its end. False when it has
    /// been preempted already.
    pub fn keep(&self) -> bool {
        self.connection.keep()
    }

    /// The final dot, and the answer to it. To be called when the message, whole and flushed, is to
    /// be delivered. After a delivery the connection waits for another message.
    pub async fn finish(mut self) -> Outcome {
        let dot = self.dots.end();
        if !self.connection.is_in_step() {
            // An answer that came before the dot would be taken for the dot's.
            return match self.interrupted().await {
                RelayError::Refused(code) => Outcome::Refused(code),
                _ => Outcome::NotSent,
            };
        }
        match self.settle(dot).await {
            Outcome::Accepted => {
                let lease = self.connection.take_lease();
                self.connection.smarthost.pool.clone().put(self.connection);
                drop(lease); // now the next client finds an idle connection
                Outcome::Accepted
            }
            // A reply too many: which of them was the dot's?
            Outcome::Refused(_) if !self.connection.ends_in_step().await => Outcome::Unknown,
            outcome => outcome,
        }
    }

    async fn settle(&mut self, dot: &[u8]) -> Outcome {
        let Connection { client, smarthost, .. } = &mut self.connection;
        let start = Instant::now();
        let answer = async {
            client.stream.write(dot).await?;
            crash::point("dot");
            client.reply().await
        };
        let answer = timeout(smarthost.config.final_timeout, answer).await;
        smarthost.counters.final_seconds.observe(seconds(start.elapsed()));
        match answer.unwrap_or_else(|_| Err(RelayError::no_answer())) {
            Ok(reply) if reply.is_positive() => Outcome::Accepted,
            Ok(reply) if reply.is_refusal() => {
                tracing::debug!(
                    code = reply.code,
                    text = reply.lines().next(),
                    "the smarthost refused the message"
                );
                Outcome::Refused(reply.code)
            }
            Ok(Reply { code, .. }) => {
                tracing::warn!("unexpected reply {code} to the end of data");
                Outcome::Unknown
            }
            Err(cause) => {
                tracing::warn!(%cause, "no reply to the end of data");
                Outcome::Unknown
            }
        }
    }

    /// Why the smarthost interrupts the message. The final dot was not sent, and must not be.
    async fn interrupted(&mut self) -> RelayError {
        let unexplained = || RelayError::Failed("it replied before the end of data, or hung up".into());
        self.refusal().await.unwrap_or_else(unexplained)
    }

    /// The refusal that it has sent before the end of the message, as when that gets too large.
    async fn refusal(&mut self) -> Option<RelayError> {
        let client = &mut self.connection.client;
        if client.stream.peek() != Peek::Unread {
            return None;
        }
        let reply = timeout(QUIT_TIMEOUT, client.reply()).await.ok()?.ok()?;
        tracing::debug!(
            code = reply.code,
            text = reply.lines().next(),
            "the smarthost replied before the end of data"
        );
        reply.is_refusal().then_some(RelayError::Refused(reply.code))
    }
}
