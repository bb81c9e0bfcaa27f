//! A connection in clear text, and from some point on perhaps under TLS: either end of it.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use tokio_rustls::rustls::{Connection, Stream};

/// What carries the octets.
pub struct Channel {
    tcp: TcpStream,
    // Boxed: most have none.
    tls: Option<Box<Connection>>,
}

impl Channel {
    /// In clear text.
    pub fn new(tcp: TcpStream) -> Self {
        Channel { tcp, tls: None }
    }

    /// Goes through the whole handshake; what is read and written from now on is encrypted.
    pub fn encrypt(&mut self, connection: impl Into<Connection>) -> io::Result<()> {
        let mut connection = connection.into();
        while connection.is_handshaking() {
            connection.complete_io(&mut self.tcp)?;
        }
        self.tls = Some(Box::new(connection));
        Ok(())
    }

    /// What is below.
    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// What is known about the encryption, once there is one.
    pub fn tls(&self) -> Option<&Connection> {
        self.tls.as_deref()
    }
}

impl Read for Channel {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.tls.as_deref_mut() {
            None => self.tcp.read(out),
            Some(Connection::Client(tls)) => Stream::new(tls, &mut self.tcp).read(out),
            Some(Connection::Server(tls)) => Stream::new(tls, &mut self.tcp).read(out),
        }
    }
}

impl Write for Channel {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self.tls.as_deref_mut() {
            None => self.tcp.write(data),
            Some(Connection::Client(tls)) => Stream::new(tls, &mut self.tcp).write(data),
            Some(Connection::Server(tls)) => Stream::new(tls, &mut self.tcp).write(data),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.tls.as_deref_mut() {
            None => self.tcp.flush(),
            Some(Connection::Client(tls)) => Stream::new(tls, &mut self.tcp).flush(),
            Some(Connection::Server(tls)) => Stream::new(tls, &mut self.tcp).flush(),
        }
    }
}
