//! A TCP connection, plain or under TLS: what both sides of the MX speak through.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_rustls::TlsStream;

/// What carries the octets.
pub enum Transport {
    /// In clear text.
    Plain(TcpStream),
    /// Encrypted. Boxed: a TLS connection is large, and most are idle without it.
    Tls(Box<TlsStream<TcpStream>>),
    /// Nothing: what is said is made up.
    #[cfg(any(test, fuzzing))]
    Script(super::script::Script),
}

impl Transport {
    /// An encrypted connection, as a server or a client has it.
    pub fn tls(stream: impl Into<TlsStream<TcpStream>>) -> Self {
        Transport::Tls(Box::new(stream.into()))
    }

    /// Ends when the peer has ended its side of the connection. Reads nothing; behind octets that nobody
    /// has read the end is looked for at every `interval`.
    pub async fn hung_up(&self, interval: Duration) {
        let tcp = match self {
            Transport::Plain(tcp) => tcp,
            Transport::Tls(tls) => tls.get_ref().0,
            #[cfg(any(test, fuzzing))]
            Transport::Script(_) => return std::future::pending().await,
        };
        while let Ok(1..) = tcp.peek(&mut [0]).await {
            if tcp.ready(Interest::READABLE).await.is_ok_and(|ready| ready.is_read_closed()) {
                return;
            }
            sleep(interval).await;
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Plain(tcp) => Pin::new(tcp).poll_read(cx, out),
            Transport::Tls(tls) => Pin::new(tls).poll_read(cx, out),
            #[cfg(any(test, fuzzing))]
            Transport::Script(script) => Pin::new(script).poll_read(cx, out),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Transport::Plain(tcp) => Pin::new(tcp).poll_write(cx, data),
            Transport::Tls(tls) => Pin::new(tls).poll_write(cx, data),
            #[cfg(any(test, fuzzing))]
            Transport::Script(script) => Pin::new(script).poll_write(cx, data),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Transport::Tls(tls) => Pin::new(tls).poll_flush(cx),
            #[cfg(any(test, fuzzing))]
            Transport::Script(script) => Pin::new(script).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Transport::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
            #[cfg(any(test, fuzzing))]
            Transport::Script(script) => Pin::new(script).poll_shutdown(cx),
        }
    }
}
