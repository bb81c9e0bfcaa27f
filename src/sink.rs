//! The demo's built-in smarthost: accepts every message, stores it as a file and reports it.
//!
//! `mailin_embedded::Server` reads lines without a bound and holds one thread for each
//! connection. That is good enough here, and only here: its one client is our own relay, on the
//! loopback interface.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use mailin_embedded::response::{INTERNAL_ERROR, NO_STORAGE, OK, OUT_OF_SPACE};
use mailin_embedded::{Handler, Response, Server};

/// Connections at the same time: each holds a thread until its client is done.
const THREADS: u32 = 64;

/// A message that has arrived.
#[derive(Debug)]
pub struct Delivery<'a> {
    /// The envelope's recipients.
    pub recipients: &'a [String],
    /// Header and body as they came.
    pub message: &'a [u8],
    /// Where it is stored.
    pub path: &'a Path,
}

/// Where messages go.
pub struct Sink {
    dir: PathBuf,
    max_size: usize,
    on_delivery: Box<dyn Fn(&Delivery<'_>) + Send + Sync>,
    /// Number of the last file.
    last: AtomicU32,
}

/// The state of one connection; mailin clones it for each.
#[derive(Clone)]
struct Collector {
    sink: Arc<Sink>,
    recipients: Vec<String>,
    message: Vec<u8>,
    /// Over the limit: the rest is read and dropped.
    too_large: bool,
}

impl Sink {
    /// Stores messages of up to `max_size` octets in `dir`, which must exist, and reports each to
    /// `on_delivery`, from any thread.
    pub fn new(
        dir: PathBuf,
        max_size: usize,
        on_delivery: impl Fn(&Delivery<'_>) + Send + Sync + 'static,
    ) -> Self {
        Sink { dir, max_size, on_delivery: Box::new(on_delivery), last: AtomicU32::new(0) }
    }

    /// Serves `listener` on a thread of its own until the process ends: mailin's server has no
    /// way to be stopped.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(self, name: &str, listener: TcpListener) -> io::Result<()> {
        let handler =
            Collector { sink: Arc::new(self), recipients: Vec::new(), message: Vec::new(), too_large: false };
        let mut server = Server::new(handler);
        server.with_name(name).with_num_threads(THREADS).with_tcp_listener(listener);
        std::thread::Builder::new().name("sink".into()).spawn(move || {
            if let Err(cause) = server.serve() {
                tracing::error!(%cause, "the built-in smarthost has stopped");
            }
        })?;
        Ok(())
    }

    fn store(&self, message: &[u8]) -> io::Result<PathBuf> {
        let (mut file, path) = self.create()?;
        file.write_all(message)?;
        Ok(path)
    }

    /// The next free file: an earlier run may have left some in the same directory.
    fn create(&self) -> io::Result<(File, PathBuf)> {
        loop {
            let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
            let path = self.dir.join(format!("{number:04}.eml"));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok((file, path)),
                Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {}
                Err(cause) => return Err(cause),
            }
        }
    }
}

impl Handler for Collector {
    fn data_start(&mut self, _domain: &str, _from: &str, _is8bit: bool, to: &[String]) -> Response {
        self.recipients = to.to_vec();
        self.message = Vec::new();
        self.too_large = false;
        OK
    }

    /// Always fine: an error would be answered in the middle of DATA, and no reply would belong
    /// to its command any more. [`Self::data_end`] tells.
    fn data(&mut self, line: &[u8]) -> io::Result<()> {
        self.too_large |= self.message.len() + line.len() > self.sink.max_size;
        if self.too_large {
            self.message = Vec::new();
        } else {
            self.message.extend_from_slice(line);
        }
        Ok(())
    }

    fn data_end(&mut self) -> Response {
        if self.too_large {
            return refusal(NO_STORAGE);
        }
        let message = std::mem::take(&mut self.message);
        match self.sink.store(&message) {
            Ok(path) => {
                let recipients = &self.recipients;
                (self.sink.on_delivery)(&Delivery { recipients, message: &message, path: &path });
                OK
            }
            Err(cause) => {
                tracing::error!(dir = %self.sink.dir.display(), %cause, "cannot store a message");
                let full = cause.kind() == io::ErrorKind::StorageFull;
                refusal(if full { OUT_OF_SPACE } else { INTERNAL_ERROR })
            }
        }
    }
}

/// What mailin takes for an error at the end of data leaves its machine inside DATA, so that the
/// next commands would be read as text. The client sees only the code.
fn refusal(mut response: Response) -> Response {
    response.is_error = false;
    response
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::TcpStream;
    use std::sync::mpsc;

    use super::*;

    /// Recipients, message and file.
    type Report = (Vec<String>, Vec<u8>, PathBuf);

    /// A sink that takes messages of up to 100 octets, a client of it, and what it reports.
    fn start(dir: &Path) -> (Client, mpsc::Receiver<Report>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (reports, reported) = mpsc::channel();
        let sink = Sink::new(dir.to_owned(), 100, move |delivery| {
            let Delivery { recipients, message, path } = delivery;
            reports.send((recipients.to_vec(), message.to_vec(), path.to_path_buf())).unwrap();
        });
        sink.start("sink.test", listener).unwrap();
        let mut client = Client(BufReader::new(TcpStream::connect(address).unwrap()));
        assert_eq!(client.reply(), "220");
        assert_eq!(client.ask("HELO client.test\r\n"), "250");
        (client, reported)
    }

    struct Client(BufReader<TcpStream>);

    impl Client {
        fn ask(&mut self, text: &str) -> String {
            self.0.get_mut().write_all(text.as_bytes()).unwrap();
            self.reply()
        }

        fn reply(&mut self) -> String {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            line[..3].to_owned()
        }

        /// The reply to the end of data.
        fn send(&mut self, message: &str) -> String {
            assert_eq!(self.ask("MAIL FROM:<b.0.tag@demo.test>\r\n"), "250");
            assert_eq!(self.ask("RCPT TO:<you@example.com>\r\n"), "250");
            assert_eq!(self.ask("DATA\r\n"), "354");
            self.ask(&format!("{message}.\r\n"))
        }
    }

    #[test]
    fn a_message_is_stored_as_it_came_and_reported() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("0001.eml"), "of an earlier run").unwrap();
        let (mut client, reported) = start(dir.path());
        assert_eq!(client.send("Subject: x\r\n\r\n..\r\n"), "250");
        let (recipients, message, path) = reported.recv().unwrap();
        assert_eq!(recipients, ["you@example.com"]);
        assert_eq!(message, b"Subject: x\r\n\r\n.\r\n");
        assert_eq!(path, dir.path().join("0002.eml"));
        assert_eq!(std::fs::read(path).unwrap(), message);
    }

    #[test]
    fn after_a_message_that_is_too_large_replies_are_still_in_step() {
        let dir = tempfile::tempdir().unwrap();
        let (mut client, reported) = start(dir.path());
        assert_eq!(client.send(&"a line of text\r\n".repeat(100)), "552");
        assert_eq!(client.send("small\r\n"), "250");
        assert_eq!(reported.recv().unwrap().1, b"small\r\n");
    }

    #[test]
    fn a_message_that_cannot_be_stored_is_refused_temporarily() {
        let dir = tempfile::tempdir().unwrap();
        let (mut client, reported) = start(&dir.path().join("not-there"));
        assert_eq!(client.send("x\r\n"), "451");
        assert_eq!(client.ask("NOOP\r\n"), "250");
        assert!(reported.try_recv().is_err());
    }
}
