//! The smarthost's side of the wire, handed out a line at a time.
//!
//! A read never goes beyond a line end, so that a reply too many is noticed ([`Lines::is_in_step`]) instead
//! of being dropped, or taken for the answer to a later command.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::task::coop::unconstrained;

use crate::net::transport::Transport;

/// Read buffer; replies are short.
const BUFFER: usize = 1024;

/// A stream whose reads end at line ends.
pub(super) struct Lines {
    inner: BufReader<Transport>,
}

impl Lines {
    pub(super) fn new(transport: Transport) -> Self {
        Lines { inner: BufReader::with_capacity(BUFFER, transport) }
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

    /// Whether the smarthost has hung up, and all that it said was read.
    pub(super) fn has_ended(&mut self) -> bool {
        !self.is_in_step() && self.inner.buffer().is_empty()
    }

    /// The next line with its end, or what there is of it: `most` octets, or the smarthost's last.
    pub(super) async fn line(&mut self, most: usize) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        (&mut self.inner).take(most as u64).read_until(b'\n', &mut line).await?;
        Ok(line)
    }

    /// Writes `data` and flushes.
    pub(super) async fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.inner.write_all(data).await?;
        self.inner.flush().await
    }

    /// Writes `data` and flushes. False when the smarthost says something, or hangs up, while it keeps us waiting:
    /// it need not read the rest.
    pub(super) async fn write_unless_answered(&mut self, mut data: &[u8]) -> io::Result<bool> {
        poll_fn(|context| {
            loop {
                let written = match data.is_empty() {
                    true => Pin::new(&mut self.inner).poll_flush(context).map_ok(|()| None),
                    false => Pin::new(&mut self.inner).poll_write(context, data).map_ok(Some),
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

/// Both ends of a connection.
#[cfg(test)]
pub(super) async fn pair() -> (Lines, tokio::net::TcpStream) {
    use tokio::net::{TcpListener, TcpStream};

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (Lines::new(Transport::Plain(near)), listener.accept().await.unwrap().0)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(lines: &mut Lines) -> Vec<u8> {
        lines.line(256).await.unwrap()
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
}
