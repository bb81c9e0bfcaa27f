//! The connection to a client: strict CRLF, a deadline on every wait, replies gathered, messages read.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

use super::pace::Pace;
use super::{RECHECK, reply};
use crate::events::Outcome;
use crate::net::tls::Identity;
use crate::net::transport::Transport;
use crate::smtp::dot::{Decoder, Step, Violation};
use crate::smtp::reply::Reply;
use crate::smtp::wire::{LineStream, Peek};

/// Longest command line in octets, CRLF included: four times RFC 5321 §4.5.3.1.4, for the long
/// paths of forwarders.
pub(super) const MAX_LINE: usize = 2048;

/// Read at first inside a message: most are small, and the memory for more costs more than it saves …
const FIRST_CHUNK: usize = 8 * 1024;

/// … and then up to so much at a time: system calls are what large messages cost (docs/performance.md).
const DATA_CHUNK: usize = 64 * 1024;

/// … and inside one that nobody gets. It needs no connection to the smarthost, so there may be as many
/// as sessions: none of them holds a buffer while it waits.
const DISCARD_CHUNK: usize = 8 * 1024;

/// For sending the last reply, and closing our side.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// After that a client may go on sending for so long, and so much; it is dropped.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_OCTETS: u64 = 64 * 1024;

/// Answers to pipelined commands are gathered up to so many octets.
const MAX_OUTPUT: usize = 4096;

/// A connection with its buffers.
pub(super) struct Wire<S> {
    stream: LineStream<S>,
    output: Vec<u8>,
    write_timeout: Duration,
}

/// A message being read off a [`Wire`].
pub(super) struct Data<'a, S, P> {
    wire: &'a mut Wire<S>,
    decoder: Decoder,
    pace: P,
    most: u64,
    /// Nobody gets the message.
    is_discarded: bool,
    /// For the client: the time between its pieces is ours, or the smarthost's.
    waited: Duration,
    received: u64,
    consumed: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// A wire over `stream`; `write_timeout` bounds how long the client may leave replies unread.
    pub(super) fn new(stream: S, write_timeout: Duration) -> Self {
        Wire { stream: LineStream::new(stream), output: Vec::new(), write_timeout }
    }

    /// The next command line, CRLF included. The replies so far are sent before waiting.
    ///
    /// # Errors
    /// The session is over: the last reply; none for a client that has gone.
    pub(super) async fn line(&mut self, idle: Duration) -> Result<Vec<u8>, Option<Reply>> {
        let line = timeout(idle, async {
            // A client that does not read our replies is as idle as one that sends nothing.
            if !self.stream.has_line() || self.output.len() > MAX_OUTPUT {
                self.flush().await?;
            }
            self.stream.line(MAX_LINE).await
        });
        let line = line.await.map_err(|_| Some(reply::IDLE))?.map_err(|_| None)?;
        match line.strip_suffix(b"\r\n") {
            Some(text) if !text.contains(&b'\r') && !text.contains(&0) => Ok(line),
            _ if line.ends_with(b"\n") => Err(Some(reply::NOT_A_LINE)),
            _ if line.len() >= MAX_LINE => Err(Some(reply::LINE_TOO_LONG)),
            _ => Err(None),
        }
    }

    /// Whether the client has sent more than it was asked for, as far as it has arrived. Does not wait.
    pub(super) fn has_spoken(&mut self) -> bool {
        self.stream.peek() == Peek::Unread
    }

    /// The message that follows. What has been said so far is sent when the first piece is asked for.
    /// It must keep to `pace`, which is asked again and again; and it is read to its end even when it
    /// is to be refused, but not beyond `most` octets on the wire.
    pub(super) fn data<P: Fn() -> Pace>(&mut self, pace: P, most: u64) -> Data<'_, S, P> {
        let decoder = Decoder::new();
        let (is_discarded, waited) = (false, Duration::ZERO);
        Data { wire: self, decoder, pace, most, is_discarded, waited, received: 0, consumed: 0 }
    }

    /// Says `reply`; it is sent with the next [`Wire::flush`], so that answers to pipelined
    /// commands travel together (RFC 2920 §3.2).
    pub(super) fn reply(&mut self, reply: &Reply) {
        use std::io::Write;
        write!(self.output, "{reply}").expect("writing to memory cannot fail");
    }

    /// Sends what has been said.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        if self.output.is_empty() {
            return Ok(());
        }
        let sent = timeout(self.write_timeout, self.stream.write(&self.output));
        let result = sent.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        self.output = Vec::new();
        result
    }

    /// Sends what has been said and ends the connection. What the client still sends is read for a
    /// moment: closing over unread octets would reset the connection, and our last words with it.
    pub(super) async fn close(&mut self) {
        let _ = timeout(CLOSE_TIMEOUT, async {
            self.flush().await?;
            self.stream.inner.shutdown().await
        })
        .await; // the client may have gone before us; there is nobody to tell
        let mut left = (&mut self.stream.inner).take(LINGER_OCTETS);
        let _ = timeout(LINGER, tokio::io::copy(&mut left, &mut tokio::io::sink())).await;
    }
}

impl Wire<Transport> {
    /// Ends when the client has hung up. What it has sent before that stays where it is.
    pub(super) async fn hung_up(&self) {
        self.stream.inner.hung_up(RECHECK).await;
    }

    /// The client's side of TLS. What it has sent in clear text is forgotten: after this, it would
    /// be taken for something said under TLS (CVE-2011-0411).
    ///
    /// # Errors
    /// When the handshake fails, takes too long, or there is TLS already. The connection is of no
    /// more use.
    pub(super) async fn start_tls(self, identity: &Identity) -> io::Result<Self> {
        let Transport::Plain(tcp) = self.stream.inner else {
            return Err(io::Error::other("TLS inside TLS"));
        };
        let tls = identity.accept(tcp).await?;
        Ok(Wire::new(Transport::tls(tls), self.write_timeout))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, P: Fn() -> Pace> Data<'_, S, P> {
    /// The next piece of the text; `None` at the end of the message.
    ///
    /// # Errors
    /// The message did not come to its end, and so the session is over.
    pub(super) async fn next(&mut self) -> Result<Option<&[u8]>, Outcome> {
        loop {
            let base = self.consumed;
            let (len, step) = self.decoder.step(&self.wire.stream.input()[base..]);
            self.consumed += len;
            match step {
                Step::Text(text) if text.is_empty() => {}
                Step::Text(text) => {
                    return Ok(Some(&self.wire.stream.input()[base + text.start..base + text.end]));
                }
                Step::Incomplete => self.read().await?,
                Step::End => {
                    self.wire.stream.consume(self.consumed);
                    self.wire.stream.shrink_to(0);
                    return Ok(None);
                }
            }
        }
    }

    /// From here on nobody gets the message: it is read without a buffer of its own.
    pub(super) fn discard(&mut self) {
        self.is_discarded = true;
    }

    /// What the message must be refused for; final when [`Data::next`] has come to its end.
    pub(super) fn violation(&self) -> Option<Violation> {
        self.decoder.violation()
    }

    async fn read(&mut self) -> Result<(), Outcome> {
        if self.received > self.most {
            return Err(Outcome::Endless);
        }
        self.wire.stream.consume(self.consumed);
        self.consumed = 0;
        if self.is_discarded {
            self.wire.stream.shrink_to(0);
        }
        self.wire.flush().await.map_err(|_| Outcome::ClientGone)?;
        let start = Instant::now();
        loop {
            let deadline = start + (self.pace)().patience(self.received, self.waited);
            let recheck = Instant::now() + RECHECK;
            let read = async {
                if self.is_discarded {
                    self.wire.stream.read_into::<DISCARD_CHUNK>().await
                } else {
                    let as_much_again = usize::try_from(self.received).unwrap_or(DATA_CHUNK);
                    self.wire.stream.read(as_much_again.clamp(FIRST_CHUNK, DATA_CHUNK)).await
                }
            };
            match timeout_at(deadline.min(recheck), read).await {
                Err(_) if deadline <= recheck => return Err(Outcome::TooSlow),
                Err(_) => {}
                Ok(Ok(len @ 1..)) => {
                    self.received += len as u64;
                    self.waited += start.elapsed();
                    return Ok(());
                }
                Ok(_) => return Err(Outcome::ClientGone),
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use tokio::io::{DuplexStream, duplex};

    const SECOND: Duration = Duration::from_secs(1);

    /// A wire, and its far end.
    pub(in crate::mx) fn pair() -> (Wire<DuplexStream>, DuplexStream) {
        let (near, far) = duplex(64 * 1024);
        (Wire::new(near, SECOND), far)
    }

    async fn line_of(octets: &[u8]) -> Result<Vec<u8>, Option<Reply>> {
        let (mut wire, mut far) = pair();
        far.write_all(octets).await.unwrap();
        drop(far);
        wire.line(SECOND).await
    }

    #[tokio::test]
    async fn lines_come_one_by_one_however_they_were_sent() {
        let (mut wire, mut far) = pair();
        far.write_all(b"NOOP\r\nQUIT\r\nrest").await.unwrap();
        assert_eq!(wire.line(SECOND).await.unwrap(), b"NOOP\r\n");
        assert!(wire.has_spoken());
        assert_eq!(wire.line(SECOND).await.unwrap(), b"QUIT\r\n");
        far.write_all(b" of it\r\n").await.unwrap();
        assert_eq!(wire.line(SECOND).await.unwrap(), b"rest of it\r\n");
        assert!(!wire.has_spoken());
    }

    #[tokio::test]
    async fn a_line_may_have_2048_octets_and_no_more() {
        let line = [&[b'x'; MAX_LINE - 2][..], b"\r\n"].concat();
        assert_eq!(line_of(&line).await.unwrap(), line);
        assert_eq!(line_of(&[b"x", line.as_slice()].concat()).await, Err(Some(reply::LINE_TOO_LONG)));
        assert_eq!(line_of(&[b'x'; 60_000]).await, Err(Some(reply::LINE_TOO_LONG)));
    }

    #[tokio::test]
    async fn a_line_with_bare_cr_lf_or_nul_is_malformed() {
        for octets in [&b"NOOP\n"[..], b"NO\rOP\r\n", b"NO\0OP\r\n", b"NOOP\r\r\n", b"\n"] {
            assert_eq!(line_of(octets).await, Err(Some(reply::NOT_A_LINE)), "{octets:?}");
        }
        assert_eq!(line_of(b"NOOP").await, Err(None));
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_for_a_line_is_over_after_the_idle_time_however_it_drips() {
        let (mut wire, mut far) = pair();
        let drip = tokio::spawn(async move {
            while far.write_all(b"x").await.is_ok() {
                tokio::time::sleep(SECOND).await;
            }
        });
        let start = Instant::now();
        assert_eq!(wire.line(10 * SECOND).await, Err(Some(reply::IDLE)));
        assert_eq!(start.elapsed().as_secs(), 10);
        drop(wire);
        drip.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_no_last_reply_is_left_after_a_few_seconds() {
        let (near, _far) = duplex(16);
        let mut wire = Wire::new(near, 300 * SECOND);
        wire.reply(&reply::GOODBYE);
        wire.reply(&reply::GOODBYE);
        let start = Instant::now();
        wire.close().await;
        assert_eq!(start.elapsed(), CLOSE_TIMEOUT + LINGER);
    }

    #[tokio::test]
    async fn what_follows_a_message_is_the_next_command() {
        let (mut wire, mut far) = pair();
        far.write_all(b"hello\r\n..\r\n.\r\nQUIT\r\n").await.unwrap();
        let (mut text, mut data) = (Vec::new(), wire.data(|| Pace::new(0), u64::MAX));
        while let Some(piece) = data.next().await.unwrap() {
            text.extend_from_slice(piece);
        }
        assert_eq!((data.violation(), text.as_slice()), (None, &b"hello\r\n.\r\n"[..]));
        assert_eq!(wire.line(SECOND).await.unwrap(), b"QUIT\r\n");
    }
}
