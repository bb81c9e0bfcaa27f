//! An SMTP client of few opinions: bytes out, replies in.

use std::fmt;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

use socket2::{Domain, Socket, Type};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, Connection};

use super::assert_no_leak;
use super::channel::Channel;
use super::wait::PATIENCE;

/// The longest reply line, with its CRLF (RFC 5321 §4.5.3.1.5).
const MAX_REPLY_LINE: usize = 512;

/// One SMTP connection to the appliance.
pub struct Client {
    reader: BufReader<Channel>,
}

/// A whole reply, all its lines.
#[derive(Clone, PartialEq, Eq)]
pub struct Reply {
    /// The lines without CRLF, joined by line feeds.
    pub text: String,
}

impl Client {
    /// Connects; the greeting is still to be read.
    pub fn connect(to: SocketAddr) -> Self {
        Client::try_connect(to).expect("the appliance takes connections")
    }

    /// Connects, or not: the appliance may be down.
    pub fn try_connect(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        // Where nobody listens any more, one in some ten thousand is given the very port it calls as
        // its own, and talks to itself (RFC 9293 §3.5, simultaneous open).
        if stream.local_addr()? == to {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        Ok(Client::over(stream))
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_nodelay(true).expect("segments can go out at once");
        Client { reader: BufReader::new(Channel::new(stream)) }
    }

    /// Whether anything comes, as long as one would wait for it.
    pub fn hears(&mut self) -> bool {
        self.reader.fill_buf().is_ok_and(|octets| !octets.is_empty())
    }

    /// Connects from `source`, another address of this machine.
    pub fn connect_from(source: IpAddr, to: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).expect("a socket can be had");
        socket.bind(&SocketAddr::new(source, 0).into()).expect("the source is an address of ours");
        socket.connect(&to.into()).expect("the appliance takes connections");
        Client::over(socket.into())
    }

    /// Connects, reads the greeting and says EHLO.
    #[track_caller]
    pub fn hello(to: SocketAddr) -> Self {
        let mut client = Client::connect(to);
        client.expect("220");
        client.command("EHLO client.test", "250");
        client
    }

    /// Connects, says EHLO, and again under TLS, for which `config` says whom to trust.
    #[track_caller]
    pub fn encrypted(to: SocketAddr, config: &Arc<ClientConfig>) -> Self {
        let mut client = Client::hello(to);
        client.start_tls(config);
        client.command("EHLO client.test", "250");
        client
    }

    /// STARTTLS and the handshake.
    #[track_caller]
    pub fn start_tls(&mut self, config: &Arc<ClientConfig>) {
        self.command("STARTTLS", "220");
        self.try_handshake(config).expect("the handshake succeeds");
    }

    /// The handshake alone.
    pub fn try_handshake(&mut self, config: &Arc<ClientConfig>) -> io::Result<()> {
        assert!(self.reader.buffer().is_empty(), "clear text after the 220: {:?}", self.reader.buffer());
        let name = "mx.alias.test".try_into().expect("this is a name");
        let connection = ClientConnection::new(config.clone(), name).expect("a client can be made");
        self.reader.get_mut().encrypt(connection)
    }

    /// What is known about the encryption.
    #[track_caller]
    pub fn tls(&self) -> &Connection {
        self.reader.get_ref().tls().expect("there is TLS")
    }

    /// Sends `bytes` as they are. That the peer is gone is no failure: the next reply will tell.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        if let Err(error) = self.reader.get_mut().write_all(bytes.as_ref()) {
            let gone = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
            assert!(gone.contains(&error.kind()), "cannot send: {error}");
        }
    }

    /// Sends `line` with CRLF and wants a reply that starts with `prefix`.
    #[track_caller]
    pub fn command(&mut self, line: &str, prefix: &str) -> Reply {
        self.send(format!("{line}\r\n"));
        let reply = self.reply();
        assert!(reply.text.starts_with(prefix), "{line:?} was answered {reply:?}, not {prefix:?}");
        reply
    }

    /// Wants a reply that starts with `prefix`.
    #[track_caller]
    pub fn expect(&mut self, prefix: &str) -> Reply {
        let reply = self.reply();
        assert!(reply.text.starts_with(prefix), "got {reply:?}, not {prefix:?}");
        reply
    }

    /// The next reply.
    ///
    /// # Panics
    /// When there is none in time, the connection ends, it is malformed or it leaks.
    #[track_caller]
    pub fn reply(&mut self) -> Reply {
        self.reply_or_end().expect("the connection was closed, with no reply")
    }

    /// The next reply; `None` when the connection is over instead.
    #[track_caller]
    pub fn reply_or_end(&mut self) -> Option<Reply> {
        let mut text = String::new();
        loop {
            let line = self.reply_line()?;
            let more = line.as_bytes().get(3) == Some(&b'-');
            text.push_str(&line);
            if !more {
                assert_no_leak("a reply", &text);
                return Some(Reply { text });
            }
            text.push('\n');
        }
    }

    /// Wants the end of the connection, and nothing before it.
    #[track_caller]
    pub fn expect_close(&mut self) {
        let rest = self.rest();
        assert!(rest.is_empty(), "before the end came {:?}", String::from_utf8_lossy(&rest));
    }

    /// Waits for the end of the connection, and gives what came before it. Under TLS the end must
    /// have been announced.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.reader.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the connection does not end as it should: {error}"),
        }
        rest
    }

    /// Ends our side of the connection; the appliance's replies can still be read.
    pub fn end(&mut self) {
        // It may have ended the connection first.
        drop(self.reader.get_ref().tcp().shutdown(Shutdown::Write));
    }

    /// Goes through MAIL, RCPT and DATA up to the 354.
    #[track_caller]
    pub fn begin(&mut self, to: &str) {
        self.command("MAIL FROM:<sender@client.test>", "250");
        self.command(&format!("RCPT TO:<{to}>"), "250");
        self.command("DATA", "354");
    }

    /// The same for all `clients` at once: a stranger's first RCPT takes half a second.
    #[track_caller]
    pub fn begin_all(clients: &mut [Client], to: &str) {
        let envelope = format!("MAIL FROM:<sender@client.test>\r\nRCPT TO:<{to}>\r\nDATA\r\n");
        clients.iter_mut().for_each(|client| client.send(&envelope));
        for client in clients {
            for answer in ["250", "250", "354"] {
                client.expect(answer);
            }
        }
    }

    /// Sends a small message to `to` and gives the answer to it, or the one that refused it before.
    #[track_caller]
    pub fn deliver(&mut self, to: &str) -> Reply {
        self.try_deliver(to).expect("the connection was closed, with no reply")
    }

    /// As [`Client::deliver`]; `None` when the connection ends meanwhile.
    #[track_caller]
    pub fn try_deliver(&mut self, to: &str) -> Option<Reply> {
        for command in ["MAIL FROM:<sender@client.test>", &format!("RCPT TO:<{to}>"), "DATA"] {
            self.send(format!("{command}\r\n"));
            let reply = self.reply_or_end()?;
            if reply.code() >= 400 {
                return Some(reply);
            }
        }
        self.send("Subject: hello\r\n\r\nhello\r\n.\r\n");
        self.reply_or_end()
    }

    fn reply_line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        match self.reader.read_until(b'\n', &mut line) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
            Err(error) => panic!("no reply: {error}"),
        }
        let line = String::from_utf8(line).expect("a reply is text");
        let bare = line.strip_suffix("\r\n").unwrap_or_else(|| panic!("a reply line ends in CRLF: {line:?}"));
        let (code, rest) = bare.split_at_checked(3).unwrap_or((bare, ""));
        let well_formed = code.bytes().all(|b| b.is_ascii_digit())
            && (rest.is_empty() || rest.starts_with([' ', '-']))
            && bare.bytes().all(|b| matches!(b, b' '..=b'~'))
            && line.len() <= MAX_REPLY_LINE;
        assert!(well_formed, "not a reply line: {line:?}");
        Some(bare.to_owned())
    }
}

impl Reply {
    /// The three digits.
    pub fn code(&self) -> u16 {
        self.text[..3].parse().expect("the reply was checked")
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}
