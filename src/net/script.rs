//! A connection whose peer is made up, for tests and fuzzers.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// In the input of a [`Script`]: here the client waits until it has been answered.
pub const PAUSE: u8 = 0x1e;

/// A client that says what it was given, and keeps what it hears. At each [`PAUSE`] it lets one
/// read find nothing: a peek finds that it has said nothing.
#[derive(Clone)]
pub struct Script {
    /// The octets to be said, each part after a pause; the last part comes first.
    parts: Vec<Vec<u8>>,
    said: usize,
    /// The pause before the next part is over.
    has_paused: bool,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Script {
    /// Says `input` after the greeting.
    pub fn new(input: &[u8]) -> Self {
        let mut parts: Vec<_> = input.split(|&octet| octet == PAUSE).map(<[u8]>::to_vec).collect();
        parts.push(Vec::new()); // who speaks before the greeting is sent away
        parts[..].rotate_right(1);
        parts.reverse();
        Script { parts, said: 0, has_paused: false, heard: Arc::default() }
    }

    /// All that was heard so far.
    pub fn heard(&self) -> Vec<u8> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl AsyncRead for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.parts.last().is_some_and(|part| part.len() == self.said) {
            self.has_paused = !self.has_paused;
            if self.has_paused {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.parts.pop();
            self.said = 0;
        }
        let said = self.said;
        let Some(part) = self.parts.last() else { return Poll::Ready(Ok(())) };
        let len = out.remaining().min(part.len() - said);
        out.put_slice(&part[said..said + len]);
        self.said += len;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(octets);
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
