//! The smarthost's side of the wire, handed out a line at a time.
//!
//! mail-send reads a chunk, parses one reply out of it and drops the rest. Here a read never goes
//! beyond a line end, so that a reply too many is noticed ([`Lines::is_in_step`]) instead of
//! being dropped, or taken for the answer to a later command.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::task::coop::unconstrained;

use crate::transport::Transport;

/// The most a smarthost may say in answer to one command. Longer is not SMTP: RFC 5321 §4.5.3.1.5
/// has reply lines of 512 octets, and the longest sensible EHLO answer has a few dozen of them.
const MAX_REPLY: usize = 64 * 1024;

/// Read buffer; replies are short.
const BUFFER: usize = 1024;

/// A stream whose reads end at line ends.
pub(super) struct Lines {
    inner: BufReader<Transport>,
    said: usize,
}

impl Lines {
    pub(super) fn new(transport: Transport) -> Self {
        Lines { inner: BufReader::with_capacity(BUFFER, transport), said: 0 }
    }

    /// Whether the smarthost has said nothing that was not read, and not hung up.
    pub(super) fn is_in_step(&mut self) -> bool {
        // A read that would have to wait. Nobody is woken by it: the next real read asks again.
        // Unconstrained, since a task that has used up its turn would be told to wait in any case.
        let read = poll_fn(|context| Pin::new(&mut self.inner).poll_fill_buf(context).map(|_| ()));
        pin!(unconstrained(read)).poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    /// Whether something has come that was not read.
    pub(super) fn has_more(&mut self) -> bool {
        !self.is_in_step() && !self.inner.buffer().is_empty()
    }

    /// Writes `data` and flushes. False when the smarthost says something, or hangs up, while it keeps us waiting:
    /// it need not read the rest.
    pub(super) async fn write_unless_answered(&mut self, mut data: &[u8]) -> io::Result<bool> {
        poll_fn(|context| {
            loop {
                let written = match data.is_empty() {
                    true => Pin::new(&mut *self).poll_flush(context).map_ok(|()| None),
                    false => Pin::new(&mut *self).poll_write(context, data).map_ok(Some),
                };
                match written {
                    Poll::Ready(Ok(None)) => return Poll::Ready(Ok(true)),
                    Poll::Ready(Ok(Some(0))) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(Ok(Some(len))) => data = &data[len..],
                    Poll::Ready(Err(cause)) => return Poll::Ready(Err(cause)),
                    Poll::Pending => {
                        return Pin::new(&mut self.inner).poll_fill_buf(context).map_ok(|_| false);
                    }
                }
            }
        })
        .await
    }

    /// The transport, without what was read from it and not asked for.
    pub(super) fn into_transport(self) -> Transport {
        self.inner.into_inner()
    }
}

impl AsyncRead for Lines {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let available = ready!(Pin::new(&mut self.inner).poll_fill_buf(cx))?;
        let line = memchr::memchr(b'\n', available).map_or(available.len(), |end| end + 1);
        let len = line.min(out.remaining());
        out.put_slice(&available[..len]);
        Pin::new(&mut self.inner).consume(len);
        self.said += len;
        if self.said > MAX_REPLY {
            return Poll::Ready(Err(io::Error::other("endless reply")));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Lines {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.said = 0;
        Pin::new(&mut self.inner).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    async fn pair() -> (Lines, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Lines::new(Transport::Plain(near)), listener.accept().await.unwrap().0)
    }

    async fn read(lines: &mut Lines) -> Vec<u8> {
        let mut chunk = [0; 256];
        let len = lines.read(&mut chunk).await.unwrap();
        chunk[..len].to_vec()
    }

    #[tokio::test]
    async fn a_reply_too_many_puts_it_out_of_step() {
        let (mut lines, mut far) = pair().await;
        far.write_all(b"250 one\r\n250 two\r\n").await.unwrap();
        assert_eq!(read(&mut lines).await, b"250 one\r\n");
        assert!(!lines.is_in_step());
        assert_eq!(read(&mut lines).await, b"250 two\r\n");
        assert!(lines.is_in_step());
    }

    #[tokio::test]
    async fn a_peer_that_hung_up_is_out_of_step() {
        let (mut lines, far) = pair().await;
        assert!(lines.is_in_step());
        drop(far);
        let Transport::Plain(tcp) = lines.inner.get_ref() else { unreachable!("made so above") };
        tcp.readable().await.unwrap();
        assert!(!lines.is_in_step());
    }

    #[tokio::test]
    async fn a_peer_that_answers_instead_of_reading_ends_the_writing() {
        let (mut lines, mut far) = pair().await;
        assert!(lines.write_unless_answered(b"DATA\r\n").await.unwrap());
        // More than any buffer on the way holds.
        let text = vec![b'x'; 64 << 20];
        let (written, ()) = tokio::join!(lines.write_unless_answered(&text), async {
            far.read_exact(&mut [0; 1 << 16]).await.unwrap();
            far.write_all(b"552 too large\r\n").await.unwrap();
        });
        assert!(!written.unwrap());
        assert!(lines.has_more());
        assert_eq!(read(&mut lines).await, b"552 too large\r\n");
    }

    #[tokio::test]
    async fn an_endless_reply_is_an_error() {
        let (mut lines, mut far) = pair().await;
        let flood = tokio::spawn(async move { while far.write_all(b"250-\r\n").await.is_ok() {} });
        let mut chunk = [0; 256];
        let error = loop {
            if let Err(error) = lines.read(&mut chunk).await {
                break error;
            }
        };
        assert_eq!(error.to_string(), "endless reply");
        drop(lines);
        flood.await.unwrap();
    }
}
