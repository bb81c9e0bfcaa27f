//! The message: streamed with our own dot-stuffing, settled by the answer to the final dot.

use tokio::time::{Instant, timeout};

use super::pool::QUIT_TIMEOUT;
use super::reply::{Reply, is_refusal};
use super::{Connection, RelayError};
use crate::crash;
use crate::metrics::seconds;

/// Octets gathered before they are written: what `mx` reads at a time, and room for the dots.
const CHUNK: usize = 64 * 1024;

/// A connection in the middle of DATA.
pub struct Body {
    connection: Connection,
    stuffing: Stuffing,
    pending: Vec<u8>,
}

/// What the smarthost made of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 2xx: the message is the smarthost's now.
    Accepted,
    /// 4xx or 5xx, in answer to the dot or before it was sent: certainly not delivered.
    Refused(u16),
    /// No answer that could be understood: it may have been delivered, or not.
    Unknown,
    /// The smarthost hung up before the dot, which was not sent, or said something else than a refusal.
    NotSent,
}

impl Body {
    pub(super) fn new(connection: Connection) -> Self {
        Body { connection, stuffing: Stuffing::new(), pending: Vec::new() }
    }

    /// Streams `piece`, whose line ends are all CRLF. Pieces may be cut anywhere.
    ///
    /// # Errors
    /// The smarthost is lost, or has refused the message before its end. No dot is to follow.
    pub async fn write(&mut self, piece: &[u8]) -> Result<(), RelayError> {
        self.stuffing.stuff(piece, &mut self.pending);
        if self.pending.len() < CHUNK {
            return Ok(());
        }
        self.flush().await
    }

    /// Hands all there is to the network, and makes sure that the smarthost is still listening:
    /// afterwards only the final dot is missing.
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
        let dot = self.stuffing.end();
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
            // An answer too many: which of them was the dot's?
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
            Ok(Reply { code, text }) if is_refusal(code) => {
                tracing::debug!(code, text, "the smarthost refused the message");
                Outcome::Refused(code)
            }
            Ok(reply) => {
                tracing::warn!(code = reply.code, "unexpected reply to the end of data");
                Outcome::Unknown
            }
            Err(cause) => {
                tracing::warn!(%cause, "no reply to the end of data");
                Outcome::Unknown
            }
        }
    }

    /// Why the smarthost interrupts the message. It has not heard the final dot, and must not hear it any more.
    async fn interrupted(&mut self) -> RelayError {
        let unexplained =
            || RelayError::Failed("it answered before the end of the message, or hung up".into());
        self.refusal().await.unwrap_or_else(unexplained)
    }

    /// The refusal that it has sent before the end of the message, as when that gets too large.
    async fn refusal(&mut self) -> Option<RelayError> {
        let client = &mut self.connection.client;
        if !client.stream.has_more() {
            return None;
        }
        let Reply { code, text } = timeout(QUIT_TIMEOUT, client.reply()).await.ok()?.ok()?;
        tracing::debug!(code, text, "the smarthost interrupted the message");
        is_refusal(code).then_some(RelayError::Refused(code))
    }
}

/// RFC 5321 §4.5.2: a line that starts with a dot gets another one.
struct Stuffing {
    at_line_start: bool,
}

impl Stuffing {
    fn new() -> Self {
        Stuffing { at_line_start: true }
    }

    fn stuff(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        if self.at_line_start && piece.first() == Some(&b'.') {
            out.push(b'.');
        }
        let mut copied = 0;
        for start in memchr::memmem::find_iter(piece, b"\n.").map(|at| at + 1) {
            out.extend_from_slice(&piece[copied..start]);
            out.push(b'.');
            copied = start;
        }
        out.extend_from_slice(&piece[copied..]);
        if let Some(&last) = piece.last() {
            self.at_line_start = last == b'\n';
        }
    }

    /// The final dot, on a line of its own.
    fn end(&self) -> &'static [u8] {
        if self.at_line_start { b".\r\n" } else { b"\r\n.\r\n" }
    }
}

/// A text that is written in `pieces` as the smarthost reads it, the final dot included.
#[cfg(any(test, fuzzing))]
pub(crate) fn stuffed(pieces: &[&[u8]]) -> Vec<u8> {
    let (mut stuffing, mut out) = (Stuffing::new(), Vec::new());
    for piece in pieces {
        stuffing.stuff(piece, &mut out);
    }
    out.extend_from_slice(stuffing.end());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_that_starts_with_a_dot_gets_another() {
        assert_eq!(stuffed(&[b".\r\n..\r\n.a\r\nb.\r\n\r\n."]), b"..\r\n...\r\n..a\r\nb.\r\n\r\n..\r\n.\r\n");
    }

    #[test]
    fn it_does_not_matter_where_the_message_is_cut() {
        let message: &[u8] = b".\r\n.a\r\n\r\n..b.\r\nc.d\r\n.\r\n";
        let whole = stuffed(&[message]);
        for first in 0..=message.len() {
            for second in first..=message.len() {
                let pieces = [&message[..first], &message[first..second], &message[second..]];
                assert_eq!(stuffed(&pieces), whole, "cut at {first} and {second}");
            }
        }
    }
}
