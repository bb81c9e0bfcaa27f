//! A smarthost that does as it is told: takes messages, refuses, falls silent, goes away.
//!
//! It remembers what it was told. Each of its texts holds [`LEAK_MARKER`] and a target's domain, so
//! that whoever passes them on is caught.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use data_encoding::BASE64;
use tokio_rustls::rustls::{ServerConfig, ServerConnection};

use super::certificates::Certificate;
use super::channel::Channel;
use super::record::{Login, Message, Record};
use super::{LEAK_MARKER, TARGET_DOMAIN, wait};

/// Where in a session it can misbehave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Just connected: the greeting.
    Greeting,
    /// After EHLO or HELO.
    Ehlo,
    /// After STARTTLS.
    StartTls,
    /// Instead of its part of a TLS handshake.
    Handshake,
    /// After user name and password.
    Auth,
    /// After MAIL.
    Mail,
    /// After RCPT.
    Rcpt,
    /// After DATA.
    Data,
    /// When the first line of the message has come.
    Body,
    /// After the final dot.
    Dot,
}

/// What it does at a [`Stage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// What a smarthost should do.
    Accept,
    /// The same, after so long.
    AcceptAfter(Duration),
    /// Answers with this code, on two lines, and goes on.
    Answer(u16),
    /// Answers with this code and closes the connection, with what has come and was not read.
    LastWord(u16),
    /// Closes the connection.
    Drop,
    /// Reads on, but never answers.
    Silent,
    /// Says something that is not SMTP.
    Garbage,
    /// Answers as it should, and then once more: whoever does not notice is out of step from here on.
    Twice,
    /// Answers with this code, and at the next command, before anything else, as it should have: the
    /// first answer was to nothing.
    TakenBack(u16),
    /// Sends a reply whose lines never end.
    EndlessReply,
    /// Sends a reply whose first line never ends.
    EndlessLine,
}

/// How one connection behaves where no rule says so.
pub type Mood = Box<dyn FnMut(Stage) -> Behaviour + Send>;

/// The mood of the connection with this number.
type Moods = Box<dyn Fn(usize) -> Mood + Send>;

/// The smarthost; stops when it is dropped.
pub struct Smarthost {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    record: Mutex<Record>,
    rules: Mutex<Vec<Rule>>,
    moods: Mutex<Option<Moods>>,
    extensions: Mutex<Vec<String>>,
    /// Offered under TLS, if not the same as without.
    extensions_under_tls: Mutex<Option<Vec<String>>>,
    tls: Mutex<Option<Arc<ServerConfig>>>,
    tls_at_once: bool,
    streams: Mutex<Vec<TcpStream>>,
    stopped: Mutex<bool>,
}

/// At `stage`, when the command contains `about`, do `behaviour`; the latest rule that fits counts.
struct Rule {
    stage: Stage,
    about: String,
    behaviour: Behaviour,
}

/// One connection.
struct Session {
    shared: Arc<Shared>,
    reader: BufReader<Channel>,
    mood: Option<Mood>,
    sender: String,
    recipients: Vec<String>,
}

/// The session is over.
struct Over;

impl Smarthost {
    /// Starts one that accepts everything.
    pub fn start() -> Self {
        Smarthost::start_with(None)
    }

    /// Starts one that speaks TLS from the first octet, with `certificate`.
    pub fn under_tls(certificate: &Certificate) -> Self {
        Smarthost::start_with(Some(certificate))
    }

    fn start_with(certificate: Option<&Certificate>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let shared = Arc::new(Shared {
            record: Mutex::default(),
            rules: Mutex::default(),
            moods: Mutex::default(),
            extensions: Mutex::new(["PIPELINING", "SIZE 52428800", "8BITMIME"].map(str::to_owned).to_vec()),
            extensions_under_tls: Mutex::default(),
            tls: Mutex::new(certificate.map(Certificate::server)),
            tls_at_once: certificate.is_some(),
            streams: Mutex::default(),
            stopped: Mutex::new(false),
        });
        let for_thread = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &for_thread));
        Smarthost { address, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on `behaviour` at `stage`.
    pub fn set(&self, stage: Stage, behaviour: Behaviour) {
        self.set_for("", stage, behaviour);
    }

    /// From now on `behaviour` at `stage` when the command contains `about`.
    pub fn set_for(&self, about: &str, stage: Stage, behaviour: Behaviour) {
        lock(&self.shared.rules).push(Rule { stage, about: about.to_owned(), behaviour });
    }

    /// From now on each new connection is in the mood that `moods` gives for its number.
    pub fn moods(&self, moods: impl Fn(usize) -> Mood + Send + 'static) {
        *lock(&self.shared.moods) = Some(Box::new(moods));
    }

    /// Offers these extensions instead of PIPELINING, SIZE and 8BITMIME.
    pub fn offer(&self, extensions: &[&str]) {
        *lock(&self.shared.extensions) = extensions.iter().map(|&e| e.to_owned()).collect();
    }

    /// Offers these instead of the same under TLS.
    pub fn offer_under_tls(&self, extensions: &[&str]) {
        *lock(&self.shared.extensions_under_tls) = Some(extensions.iter().map(|&e| e.to_owned()).collect());
    }

    /// Has `certificate` from now on, and offers STARTTLS where there is no TLS yet.
    pub fn present(&self, certificate: &Certificate) {
        *lock(&self.shared.tls) = Some(certificate.server());
    }

    /// Ends all connections: none is used for another message.
    pub fn hang_up(&self) {
        for stream in lock(&self.shared.streams).drain(..) {
            // It may be over already.
            drop(stream.shutdown(Shutdown::Both));
        }
        wait::until_equal("open connections", 0, || self.count(|record| record.open));
    }

    /// Forgets what has happened so far, and which connections there are: a long test must not fill
    /// the memory.
    pub fn forget(&self) {
        let mut record = lock(&self.shared.record);
        record.commands.clear();
        record.messages.clear();
        record.cut.clear();
        drop(record);
        lock(&self.shared.streams).clear();
    }

    /// A copy of what has happened so far.
    pub fn record(&self) -> Record {
        lock(&self.shared.record).clone()
    }

    /// One figure out of the record, without copying it.
    pub fn count(&self, figure: impl FnOnce(&Record) -> usize) -> usize {
        figure(&lock(&self.shared.record))
    }

    /// Messages it has accepted.
    pub fn accepted(&self) -> usize {
        self.count(Record::accepted)
    }
}

impl Drop for Smarthost {
    fn drop(&mut self) {
        *lock(&self.shared.stopped) = true;
        // Wakes the thread that accepts; when this fails it is gone already.
        drop(TcpStream::connect(self.address));
    }
}

impl Session {
    fn run(&mut self) -> Result<(), Over> {
        if self.shared.tls_at_once {
            self.encrypt()?;
        }
        self.answer(Stage::Greeting, "", "220 smarthost.test")?;
        loop {
            let command = self.line()?;
            let command = String::from_utf8_lossy(&command).trim_end().to_owned();
            lock(&self.shared.record).commands.push(command.clone());
            self.obey(&command)?;
        }
    }

    fn obey(&mut self, command: &str) -> Result<(), Over> {
        let upper = command.to_ascii_uppercase();
        if upper.starts_with("EHLO") || upper.starts_with("HELO") {
            let extensions = self.extensions().join("\r\n250-");
            self.answer(Stage::Ehlo, command, &format!("250-smarthost.test\r\n250-{extensions}\r\n250"))?;
        } else if upper == "STARTTLS" {
            if self.answer(Stage::StartTls, command, "220 2.0.0")? {
                self.encrypt()?;
            }
        } else if upper.starts_with("AUTH ") {
            self.auth(command)?;
        } else if upper.starts_with("MAIL FROM:") {
            if self.answer(Stage::Mail, command, "250 2.1.0")? {
                self.sender = path(command);
                self.recipients.clear();
            }
        } else if upper.starts_with("RCPT TO:") {
            if self.answer(Stage::Rcpt, command, "250 2.1.5")? {
                self.recipients.push(path(command));
            }
        } else if upper == "DATA" {
            if self.recipients.is_empty() {
                self.say("554 5.5.1 no recipients")?;
            } else if self.answer(Stage::Data, command, "354")? {
                self.message()?;
            }
        } else if upper == "RSET" || upper == "NOOP" {
            self.recipients.clear();
            self.say("250 2.0.0")?;
        } else if upper == "QUIT" {
            self.say("221 2.0.0")?;
            return Err(Over);
        } else {
            self.say("500 5.5.2")?;
        }
        Ok(())
    }

    fn extensions(&self) -> Vec<String> {
        let Shared { extensions, extensions_under_tls, tls, .. } = &*self.shared;
        let mut offered = lock(extensions).clone();
        if self.is_encrypted() {
            return lock(extensions_under_tls).clone().unwrap_or(offered);
        }
        offered.extend(lock(tls).is_some().then(|| "STARTTLS".to_owned()));
        offered
    }

    fn encrypt(&mut self) -> Result<(), Over> {
        let behaviour = self.behaviour(Stage::Handshake, "");
        if behaviour != Behaviour::Accept {
            // The client speaks first.
            self.reader.fill_buf().map_err(|_| Over)?;
            self.behave(behaviour, "")?;
            return Err(Over);
        }
        let config = lock(&self.shared.tls).clone().ok_or(Over)?;
        let connection = ServerConnection::new(config).expect("a server can be made");
        self.reader.get_mut().encrypt(connection).map_err(|_| Over)?;
        lock(&self.shared.record).handshakes += 1;
        Ok(())
    }

    fn is_encrypted(&self) -> bool {
        self.reader.get_ref().tls().is_some()
    }

    /// RFC 4954, with the mechanisms PLAIN (RFC 4616) and LOGIN.
    fn auth(&mut self, command: &str) -> Result<(), Over> {
        let login = |mechanism, user: &str, password: &str, encrypted| {
            let (user, password) = (user.to_owned(), password.to_owned());
            Login { mechanism, user, password, encrypted }
        };
        let login = if let Some(response) = command.strip_prefix("AUTH PLAIN ") {
            let text = decoded(response);
            let fields: Vec<_> = text.split('\0').collect();
            let ["", user, password] = fields[..] else { return self.say("501 5.5.2") };
            login("PLAIN", user, password, self.is_encrypted())
        } else if command == "AUTH LOGIN" {
            let [user, password] = [self.ask("Username:")?, self.ask("Password:")?];
            login("LOGIN", &user, &password, self.is_encrypted())
        } else {
            return self.say("504 5.5.4");
        };
        lock(&self.shared.record).logins.push(login);
        self.answer(Stage::Auth, command, "235 2.7.0").map(drop)
    }

    fn ask(&mut self, question: &str) -> Result<String, Over> {
        self.send(format!("334 {}\r\n", BASE64.encode(question.as_bytes())).as_bytes())?;
        let line = self.line()?;
        Ok(decoded(String::from_utf8_lossy(&line).trim_end()))
    }

    fn message(&mut self) -> Result<(), Over> {
        let mut raw = Vec::new();
        loop {
            let Ok(line) = self.line() else {
                lock(&self.shared.record).cut.push(raw);
                return Err(Over);
            };
            if line == b".\r\n" {
                break;
            }
            let first = raw.is_empty();
            raw.extend_from_slice(&line);
            if first {
                let behaviour = self.behaviour(Stage::Body, "");
                if behaviour != Behaviour::Accept {
                    lock(&self.shared.record).cut.push(raw.clone());
                    self.behave(behaviour, "")?;
                }
            }
        }
        let (sender, recipients) = (self.sender.clone(), std::mem::take(&mut self.recipients));
        let behaviour = self.behaviour(Stage::Dot, "");
        let accepted = matches!(behaviour, Behaviour::Accept | Behaviour::Twice | Behaviour::TakenBack(_));
        let encrypted = self.is_encrypted();
        let message = Message { sender, recipients, raw, accepted, behaviour, encrypted };
        lock(&self.shared.record).messages.push(message);
        self.behave(behaviour, "250 2.0.0 taken").map(drop)
    }

    /// Behaves as set for `stage`; true when that was to accept, by saying `reply`.
    fn answer(&mut self, stage: Stage, command: &str, reply: &str) -> Result<bool, Over> {
        let behaviour = self.behaviour(stage, command);
        self.behave(behaviour, reply)
    }

    /// By the latest rule that fits, or else by mood.
    fn behaviour(&mut self, stage: Stage, command: &str) -> Behaviour {
        let rule = self.shared.rule(stage, command);
        rule.unwrap_or_else(|| self.mood.as_mut().map_or(Behaviour::Accept, |mood| mood(stage)))
    }

    fn behave(&mut self, behaviour: Behaviour, reply: &str) -> Result<bool, Over> {
        match behaviour {
            Behaviour::Accept => return self.say(reply).map(|()| true),
            Behaviour::AcceptAfter(time) => {
                thread::sleep(time);
                return self.say(reply).map(|()| true);
            }
            Behaviour::Answer(code) => self.say(&format!("{code}-refused\r\n{code}"))?,
            Behaviour::LastWord(code) => {
                self.say(&code.to_string())?;
                return Err(Over);
            }
            Behaviour::Drop => return Err(Over),
            Behaviour::Silent => self.listen_to_the_end(),
            Behaviour::Garbage => self.send(b"\x00\xff\x1b[31m LEAK-MARKER \xe2\x98\x83\r\n")?,
            Behaviour::TakenBack(code) => {
                self.say(&format!("{code}"))?;
                // The next command is waited for, and left where it is.
                self.reader.fill_buf().map_err(|_| Over)?;
                self.say(reply)?;
            }
            Behaviour::Twice => self.say(&format!("{reply} once\r\n{reply}"))?,
            Behaviour::EndlessReply => loop {
                self.send(format!("250-{LEAK_MARKER}\r\n").repeat(100).as_bytes())?;
            },
            Behaviour::EndlessLine => loop {
                self.send(LEAK_MARKER.repeat(100).as_bytes())?;
            },
        }
        Ok(false)
    }

    /// Says `reply`, and after it what must never be passed on.
    fn say(&mut self, reply: &str) -> Result<(), Over> {
        self.send(format!("{reply} {LEAK_MARKER} about somebody@{TARGET_DOMAIN}\r\n").as_bytes())
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Over> {
        self.reader.get_mut().write_all(bytes).map_err(|_| Over)
    }

    fn line(&mut self) -> Result<Vec<u8>, Over> {
        let mut line = Vec::new();
        match self.reader.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => Err(Over),
            Ok(_) => Ok(line),
        }
    }

    fn listen_to_the_end(&mut self) {
        // How it ends is all the same.
        drop(self.reader.read_to_end(&mut Vec::new()));
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Ends it for the peer even if it is still sending.
        drop(self.reader.get_ref().tcp().shutdown(Shutdown::Both));
        lock(&self.shared.record).open -= 1;
    }
}

impl Shared {
    fn rule(&self, stage: Stage, command: &str) -> Option<Behaviour> {
        let rules = lock(&self.rules);
        let rule = rules.iter().rev().find(|rule| rule.stage == stage && command.contains(&rule.about));
        rule.map(|rule| rule.behaviour)
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if *lock(&shared.stopped) {
            return;
        }
        let Ok(stream) = stream else { continue };
        lock(&shared.streams).extend(stream.try_clone());
        let mut record = lock(&shared.record);
        record.connections += 1;
        record.open += 1;
        let number = record.connections;
        drop(record);
        let mut session = Session {
            shared: Arc::clone(shared),
            reader: BufReader::new(Channel::new(stream)),
            mood: lock(&shared.moods).as_ref().map(|moods| moods(number)),
            sender: String::new(),
            recipients: Vec::new(),
        };
        thread::spawn(move || {
            // `Over` is how every session ends.
            let _ = session.run();
        });
    }
}

/// What stands between the brackets.
fn path(command: &str) -> String {
    let path = command.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    path.map_or_else(|| command.to_owned(), |(path, _)| path.to_owned())
}

/// What was meant by base 64; empty when it was none.
fn decoded(text: &str) -> String {
    let bytes = BASE64.decode(text.as_bytes()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
