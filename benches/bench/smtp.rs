//! SMTP clients, as many as wanted, each in a closed loop: the next session begins when the last is over.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

/// What the clients say in a session.
#[derive(Clone)]
pub enum Talk {
    /// EHLO, MAIL, RCPT, which is to be answered with this code, QUIT.
    Envelope { rcpt: String, code: [u8; 3] },
    /// A message: lines, the final dot included.
    Message { rcpt: String, text: Arc<[u8]> },
}

/// Sessions a second of `clients` clients at `server`, in `time`; one of each at the least.
///
/// # Panics
/// When a client is not answered as expected: then there is nothing to compare.
pub fn sessions_per_second(server: SocketAddr, clients: usize, time: Duration, talk: &Talk) -> f64 {
    let runtime = runtime();
    let done = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let tasks: Vec<_> = (0..clients)
        .map(|_| {
            let (talk, done) = (talk.clone(), done.clone());
            runtime.spawn(async move {
                let mut buffer = Vec::with_capacity(4096);
                loop {
                    session(server, &talk, &mut buffer).await;
                    done.fetch_add(1, Ordering::Relaxed);
                    if start.elapsed() >= time {
                        break;
                    }
                }
            })
        })
        .collect();
    runtime.block_on(async {
        for task in tasks {
            task.await.expect("a client is answered as expected");
        }
    });
    done.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64()
}

pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime can be built")
}

/// A text of about `octets` octets in lines of 76, and the final dot.
pub fn text(octets: usize) -> Arc<[u8]> {
    let mut text =
        b"From: somebody@sender.test\r\nSubject: hello\r\nMessage-ID: <1@sender.test>\r\n\r\n".to_vec();
    while text.len() < octets {
        text.extend_from_slice(&[b'x'; 74]);
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b".\r\n");
    text.into()
}

/// One session, from the connection to its end.
async fn session(server: SocketAddr, talk: &Talk, buffer: &mut Vec<u8>) {
    let mut stream = connect(server).await;
    expect(&mut stream, buffer, b"220").await;
    command(&mut stream, buffer, b"EHLO client.test\r\n", b"250").await;
    command(&mut stream, buffer, b"MAIL FROM:<somebody@sender.test>\r\n", b"250").await;
    match talk {
        Talk::Envelope { rcpt, code } => {
            command(&mut stream, buffer, format!("RCPT TO:<{rcpt}>\r\n").as_bytes(), code).await;
        }
        Talk::Message { rcpt, text } => {
            command(&mut stream, buffer, format!("RCPT TO:<{rcpt}>\r\n").as_bytes(), b"250").await;
            command(&mut stream, buffer, b"DATA\r\n", b"354").await;
            command(&mut stream, buffer, text, b"250").await;
        }
    }
    command(&mut stream, buffer, b"QUIT\r\n", b"221").await;
    // The server closes first. Then nothing has to be left behind in TIME-WAIT, of which there would
    // be more than ports.
    let _ = stream.read(&mut [0; 64]).await;
    let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
}

async fn connect(server: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(server).await.expect("the server takes connections");
    stream.set_nodelay(true).expect("a connection may be without delay");
    stream
}

async fn command(stream: &mut TcpStream, buffer: &mut Vec<u8>, line: &[u8], code: &[u8; 3]) {
    stream.write_all(line).await.expect("the server reads");
    expect(stream, buffer, code).await;
}

/// Reads a reply, all of its lines.
async fn expect(stream: &mut TcpStream, buffer: &mut Vec<u8>, code: &[u8; 3]) {
    buffer.clear();
    loop {
        let octets = stream.read_buf(buffer).await.expect("the server answers");
        assert!(octets > 0, "the server has closed the connection");
        if is_whole(buffer) {
            break;
        }
    }
    assert!(buffer.starts_with(code), "answered: {}", String::from_utf8_lossy(buffer));
}

/// Whether the last line has come: the one with a space after the code (RFC 5321 §4.2.1).
fn is_whole(reply: &[u8]) -> bool {
    let Some(lines) = reply.strip_suffix(b"\r\n") else { return false };
    let last = lines.iter().rposition(|&octet| octet == b'\n').map_or(0, |end| end + 1);
    lines.get(last + 3) != Some(&b'-')
}

/// Sessions that have been greeted and say nothing.
pub struct Idle {
    runtime: Runtime,
    streams: Vec<TcpStream>,
}

impl Idle {
    pub fn open(server: SocketAddr, sessions: usize) -> Self {
        let runtime = runtime();
        let streams = runtime.block_on(async {
            let mut streams = Vec::with_capacity(sessions);
            for _ in 0..sessions {
                let mut stream = connect(server).await;
                expect(&mut stream, &mut Vec::new(), b"220").await;
                streams.push(stream);
            }
            streams
        });
        Idle { runtime, streams }
    }

    /// How long each of so many further clients waits for the greeting, ascending.
    pub fn greetings(&self, server: SocketAddr, clients: usize) -> Vec<Duration> {
        assert!(!self.streams.is_empty());
        self.runtime.block_on(async {
            let mut delays = Vec::with_capacity(clients);
            for _ in 0..clients {
                let start = Instant::now();
                let mut stream = connect(server).await;
                expect(&mut stream, &mut Vec::new(), b"220").await;
                delays.push(start.elapsed());
            }
            delays.sort();
            delays
        })
    }
}
