//! What both ends of a connection need: bounded lines, and a peek at what has come without reading it.
//!
//! A read never goes beyond a line end, so that a reply too many is noticed ([`LineStream::peek`]) instead
//! of being dropped, or taken for the answer to a later command.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use memchr::memchr;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::task::coop::unconstrained;

/// Read at a time: commands and replies are short, idle connections many.
const CHUNK: usize = 512;

/// A connection whose input is read by lines.
pub struct LineStream<S> {
    /// The stream below. What was read from it and not taken is in `input`.
    pub inner: S,
    /// What has come and was not asked for yet.
    input: Vec<u8>,
}

/// What has come and was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peek {
    /// Nothing.
    Nothing,
    /// Something.
    Unread,
    /// The end of the connection.
    Ended,
}

impl<S: AsyncRead + AsyncWrite + Unpin> LineStream<S> {
    /// A stream of which nothing was read yet.
    pub fn new(inner: S) -> Self {
        LineStream { inner, input: Vec::new() }
    }

    /// What has come. Does not wait.
    pub fn peek(&mut self) -> Peek {
        // Nobody is woken by this: the next real read asks again. Unconstrained, since a task that has used
        // up its budget would be told to wait in any case.
        let read = pin!(unconstrained(poll_fn(|context| self.poll_input(context))));
        match read.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => Peek::Nothing,
            Poll::Ready(_) if self.input.is_empty() => Peek::Ended,
            Poll::Ready(_) => Peek::Unread,
        }
    }

    /// Whether a whole line has come.
    pub fn has_line(&self) -> bool {
        memchr(b'\n', &self.input).is_some()
    }

    /// The next line with its end, or what there is of it: `most` octets, or the last ones before the end of
    /// the connection.
    ///
    /// # Errors
    /// The connection is broken.
    pub async fn line(&mut self, most: usize) -> io::Result<Vec<u8>> {
        let mut searched = 0;
        loop {
            let end = memchr(b'\n', &self.input[searched..]).map_or(most, |at| searched + at + 1);
            if end <= self.input.len() {
                return Ok(self.take(end.min(most)));
            }
            searched = self.input.len();
            if self.read_into::<CHUNK>().await? == 0 {
                return Ok(self.take(searched.min(most)));
            }
        }
    }

    /// Reads up to `most` octets more into [`LineStream::input`]; 0 at the end of the connection.
    ///
    /// # Errors
    /// The connection is broken.
    pub async fn read(&mut self, most: usize) -> io::Result<usize> {
        self.input.reserve(most);
        (&mut self.inner).take(most as u64).read_buf(&mut self.input).await
    }

    /// The same, up to `N` octets, into memory that is there only once something has come.
    ///
    /// # Errors
    /// As there.
    pub async fn read_into<const N: usize>(&mut self) -> io::Result<usize> {
        poll_fn(|context| self.poll_read::<N>(context)).await
    }

    /// What has come and was not taken.
    pub fn input(&self) -> &[u8] {
        &self.input
    }

    /// Takes `len` octets off the front of [`LineStream::input`].
    pub fn consume(&mut self, len: usize) {
        self.input.drain(..len);
    }

    /// Gives back memory for input beyond `len` octets.
    pub fn shrink_to(&mut self, len: usize) {
        self.input.shrink_to(len);
    }

    /// Sends `data`.
    ///
    /// # Errors
    /// The connection is broken.
    pub async fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.inner.write_all(data).await?;
        self.inner.flush().await
    }

    /// Sends `data`. False when the peer says something, or hangs up, while it keeps us waiting: it need not
    /// read the rest.
    ///
    /// # Errors
    /// The connection is broken.
    pub async fn write_unless_answered(&mut self, mut data: &[u8]) -> io::Result<bool> {
        poll_fn(|context| {
            loop {
                let written = if data.is_empty() {
                    Pin::new(&mut self.inner).poll_flush(context).map_ok(|()| None)
                } else {
                    Pin::new(&mut self.inner).poll_write(context, data).map_ok(Some)
                };
                match written {
                    Poll::Ready(Ok(None)) => return Poll::Ready(Ok(true)),
                    Poll::Ready(Ok(Some(0))) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(Ok(Some(len))) => data = &data[len..],
                    Poll::Ready(Err(cause)) => return Poll::Ready(Err(cause)),
                    Poll::Pending => return self.poll_input(context).map_ok(|()| false),
                }
            }
        })
        .await
    }

    /// Ready when there is unread input, or the connection has ended.
    fn poll_input(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.input.is_empty() {
            ready!(self.poll_read::<CHUNK>(context))?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read<const N: usize>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut octets = [0; N];
        let mut buffer = ReadBuf::new(&mut octets);
        ready!(Pin::new(&mut self.inner).poll_read(context, &mut buffer))?;
        self.input.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    }

    fn take(&mut self, len: usize) -> Vec<u8> {
        let taken = self.input.drain(..len).collect();
        if self.input.is_empty() {
            self.input.shrink_to(CHUNK);
        }
        taken
    }
}

#[cfg(test)]
pub mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// Both ends of a connection.
    pub async fn pair() -> (LineStream<TcpStream>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (LineStream::new(near), listener.accept().await.unwrap().0)
    }

    async fn read(stream: &mut LineStream<TcpStream>) -> Vec<u8> {
        stream.line(256).await.unwrap()
    }

    #[tokio::test]
    async fn a_line_too_many_is_seen() {
        let (mut stream, mut far) = pair().await;
        far.write_all(b"250 one\r\n250 two\r\n").await.unwrap();
        assert_eq!(read(&mut stream).await, b"250 one\r\n");
        assert_eq!(stream.peek(), Peek::Unread);
        assert_eq!(read(&mut stream).await, b"250 two\r\n");
        assert_eq!(stream.peek(), Peek::Nothing);
    }

    #[tokio::test]
    async fn a_peer_that_hung_up_is_seen() {
        let (mut stream, far) = pair().await;
        assert_eq!(stream.peek(), Peek::Nothing);
        drop(far);
        stream.inner.readable().await.unwrap();
        assert_eq!(stream.peek(), Peek::Ended);
    }

    #[tokio::test]
    async fn a_peer_that_answers_instead_of_reading_ends_the_writing() {
        let (mut stream, mut far) = pair().await;
        assert!(stream.write_unless_answered(b"DATA\r\n").await.unwrap());
        // More than any buffer on the way holds.
        let text = vec![b'x'; 64 << 20];
        let (written, ()) = tokio::join!(stream.write_unless_answered(&text), async {
            far.read_exact(&mut [0; 1 << 16]).await.unwrap();
            far.write_all(b"552 too large\r\n").await.unwrap();
        });
        assert!(!written.unwrap());
        assert_eq!(stream.peek(), Peek::Unread);
        assert_eq!(read(&mut stream).await, b"552 too large\r\n");
    }
}
