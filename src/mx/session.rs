//! A session: the conversation with one client, from the banner to the last word.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Mx;
use super::command::{Command, Mail, Utf8};
use super::conversation::{Conversation, Verb};
use super::reply::{self, Extensions, Reply};
use super::transaction::Transaction;
use super::verdict::Verdict;
use super::wire::{LineError, Wire};
use crate::alias::AliasName;
use crate::dnsbl::Listing;
use crate::net::limits::is_reached;
use crate::net::tls::Identity;
use crate::net::transport::Transport;

/// First words of clients that speak HTTP, not SMTP.
const HTTP_VERBS: &[&[u8]] = &[
    b"GET ",
    b"POST ",
    b"HEAD ",
    b"PUT ",
    b"DELETE ",
    b"OPTIONS ",
    b"CONNECT ",
    b"TRACE ",
    b"PATCH ",
    b"PRI ",
];

/// Commands that lead nowhere (NOOP, RSET, EHLO, …) without a message in between: so many, and
/// somebody only keeps the line busy (Postfix's `smtpd_junk_command_limit`).
const MAX_IDLE_COMMANDS: usize = 100;

/// RCPTs that add nobody (named twice, deferred, one too many) without a message in between: honest
/// clients have some, for they may have more recipients than we take (RFC 5321 §4.5.3.1.10), so it
/// is more (Postfix's `smtpd_recipient_overshoot_limit`).
const MAX_VAIN_RECIPIENTS: usize = 1000;

/// One client's session.
pub(super) struct Session<'a> {
    pub(super) mx: &'a Mx,
    pub(super) wire: Wire<Transport>,
    pub(super) peer: IpAddr,
    /// It or its network has guessed at aliases too often: it is told nothing of them, but for those that
    /// it has delivered to.
    pub(super) hides_aliases: bool,
    /// What the DNS lists say of the client; asked for since it has come.
    pub(super) listing: Listing,
    pub(super) conversation: Conversation,
    /// What the client called itself, and whether by EHLO.
    pub(super) hello: Option<(String, Protocol)>,
    pub(super) transaction: Option<Transaction<'a>>,
    pub(super) is_encrypted: bool,
    pub(super) errors: usize,
    pub(super) unknown: usize,
    pub(super) transactions: usize,
    /// Commands that lead nowhere, since the last message.
    pub(super) idle_commands: usize,
    /// RCPTs that added nobody, since the last message.
    pub(super) vain_recipients: usize,
    /// The start, or the last message.
    pub(super) fruitless_since: Instant,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Protocol {
    Smtp,
    Esmtp,
}

/// Whether the session goes on.
pub(super) enum Next {
    GoOn,
    Close,
    StartTls,
}

/// Holds the whole conversation over `stream`; ends when the client, we or `shutdown` end it.
pub(super) async fn run(mx: Arc<Mx>, stream: Transport, peer: IpAddr, shutdown: CancellationToken) {
    let mut session = Session {
        mx: &mx,
        wire: Wire::new(stream, mx.limits.idle_timeout),
        peer,
        hides_aliases: mx.guesses.is_exhausted(peer.into()),
        listing: mx.lists.ask(peer),
        conversation: Conversation::new(peer),
        hello: None,
        transaction: None,
        is_encrypted: false,
        errors: 0,
        unknown: 0,
        transactions: 0,
        idle_commands: 0,
        vain_recipients: 0,
        fruitless_since: Instant::now(),
    };
    if session.wire.has_spoken() {
        // Whoever talks before the greeting does not listen (RFC 5321 §4.3.1).
        session.wire.reply(&reply::OUT_OF_TURN);
        return session.wire.close().await;
    }
    session.wire.reply(&reply::greeting(&mx.hostname));
    while let (Next::StartTls, Some(identity)) = (session.converse(&shutdown).await, &mx.identity) {
        // Boxed: a handshake is large, and most sessions are idle without it.
        session = match Box::pin(session.encrypted(identity)).await {
            Ok(session) => session,
            Err(cause) => return tracing::debug!(%cause, client = network(peer), "no TLS"),
        };
    }
    // First, so that nobody waits for its connection to the smarthost while the client reads our last words.
    session.reset();
    session.wire.close().await;
}

impl<'a> Session<'a> {
    /// The session after STARTTLS: all that was said in clear text is forgotten (RFC 3207 §4.2).
    async fn encrypted(mut self, identity: &Identity) -> io::Result<Self> {
        self.reset();
        self.wire.flush().await?;
        let wire = self.wire.start_tls(identity.acceptor()).await?;
        let conversation = Conversation::new(self.peer);
        self.mx.counters.encrypted.inc();
        Ok(Session { wire, conversation, hello: None, transaction: None, is_encrypted: true, ..self })
    }

    /// Carries out commands, up to the last or to STARTTLS.
    async fn converse(&mut self, shutdown: &CancellationToken) -> Next {
        let mut first = true;
        loop {
            let patience = self.mx.patience(self.fruitless_since.elapsed());
            let waiting = self.transaction.as_ref().and_then(Transaction::smarthost_waits_since);
            if patience.is_zero() {
                return self.close_with(&reply::IDLE);
            }
            let line = tokio::select! {
                biased;
                () = shutdown.cancelled() => return self.close_with(&reply::SHUTTING_DOWN),
                () = preempted(self.transaction.as_ref()) => return self.give_way(),
                line = self.wire.line(patience) => line,
                () = self.mx.envelope_is_over(waiting) => return self.close_with(&reply::IDLE),
            };
            let line = match line {
                Ok(line) => line,
                Err(LineError::Gone) => return Next::Close,
                Err(LineError::Idle) => return self.close_with(&reply::IDLE),
                Err(LineError::TooLong) => return self.close_with(&reply::LINE_TOO_LONG),
                Err(LineError::Malformed) => return self.close_with(&reply::NOT_A_LINE),
            };
            if std::mem::take(&mut first) && HTTP_VERBS.iter().any(|verb| line.starts_with(verb)) {
                return Next::Close;
            }
            let command = Command::parse(&line, self.utf8());
            let is_message = matches!(command, Ok(Command::Data));
            // Boxed: the work is large, and most sessions are idle.
            let answer = Box::pin(self.answer(command));
            let next = match is_message {
                true => Some(answer.await),
                // Waiting for the smarthost at RCPT is no reason to stay: nothing has been sent yet.
                false => shutdown.run_until_cancelled(answer).await,
            };
            match next {
                Some(Next::GoOn) => {}
                Some(end) => return end,
                None => return self.close_with(&reply::SHUTTING_DOWN),
            }
        }
    }

    /// Carries out one command and says what became of it.
    async fn answer(&mut self, command: Result<Command, Reply>) -> Next {
        if is_reached(self.mx.limits.max_errors, self.errors) {
            return self.say(&reply::TOO_MANY_ERRORS);
        }
        if is_reached(self.mx.limits.max_unknown_recipients, self.unknown) {
            return self.say(&reply::TOO_MANY_UNKNOWN);
        }
        if self.idle_commands >= MAX_IDLE_COMMANDS || self.vain_recipients >= MAX_VAIN_RECIPIENTS {
            return self.say(&reply::TOO_MANY_ERRORS);
        }
        match command {
            Ok(Command::Data) => self.data().await,
            Ok(Command::StartTls) => self.start_tls(),
            Ok(command) => {
                let reply = self.carry_out(command).await.unwrap_or_else(|refusal| refusal);
                self.say(&reply)
            }
            Err(refusal) => self.say(&refusal),
        }
    }

    fn utf8(&self) -> Utf8 {
        Utf8 {
            is_offered: self.mx.smarthost.capabilities().is_some_and(|smarthost| smarthost.utf8),
            is_wanted: self.transaction.as_ref().is_some_and(Transaction::is_utf8),
        }
    }

    pub(super) fn say(&mut self, reply: &Reply) -> Next {
        if *reply == reply::NO_ALIAS {
            self.unknown += 1;
        } else if reply.is_permanent() {
            self.errors += 1;
        }
        self.wire.reply(reply);
        if reply.closes() { Next::Close } else { Next::GoOn }
    }

    pub(super) fn close_with(&mut self, reply: &Reply) -> Next {
        self.wire.reply(reply);
        Next::Close
    }

    /// Ends a transaction whose connection to the smarthost is wanted for somebody else.
    pub(super) fn give_way(&mut self) -> Next {
        self.mx.counters.preempted.inc();
        tracing::info!(client = network(self.peer), "it gives way to others who wait for the smarthost");
        self.close_with(&reply::PREEMPTED)
    }

    async fn carry_out(&mut self, command: Command) -> Result<Reply, Reply> {
        match command {
            Command::Mail(_) | Command::Rcpt(_) | Command::Quit => {}
            _ => self.idle_commands += 1,
        }
        match command {
            Command::Helo(name) => Ok(self.hello(name, Protocol::Smtp)),
            Command::Ehlo(name) => Ok(self.hello(name, Protocol::Esmtp)),
            Command::Mail(mail) => self.mail(mail),
            Command::Rcpt(path) => self.rcpt(&path).await,
            Command::Rset => {
                self.reset();
                Ok(reply::OK)
            }
            Command::Noop => Ok(reply::OK),
            Command::Help => Ok(reply::HELP),
            Command::Vrfy => Ok(reply::CANNOT_VRFY),
            Command::Quit => Ok(reply::GOODBYE),
            Command::Data | Command::StartTls => unreachable!("these have methods of their own"),
        }
    }

    fn hello(&mut self, name: String, protocol: Protocol) -> Reply {
        self.reset();
        self.conversation.advance(Verb::Hello);
        self.hello = Some((name, protocol));
        let hostname = &self.mx.hostname;
        match protocol {
            Protocol::Smtp => reply::helo(hostname),
            Protocol::Esmtp => {
                // What the smarthost cannot do we could only refuse later; nothing is known of it
                // before the first connection.
                let smarthost = self.mx.smarthost.capabilities();
                let extensions = Extensions {
                    max_size: self.mx.max_size(),
                    is_8bit: smarthost.is_none_or(|smarthost| smarthost.is_8bit),
                    utf8: smarthost.is_some_and(|smarthost| smarthost.utf8),
                    starttls: self.mx.identity.is_some() && !self.is_encrypted,
                };
                reply::ehlo(hostname, &extensions)
            }
        }
    }

    /// STARTTLS, also in the middle of a transaction, which it ends (RFC 3207 §4.2).
    fn start_tls(&mut self) -> Next {
        if self.mx.identity.is_none() {
            return self.say(&reply::NOT_IMPLEMENTED);
        }
        if self.is_encrypted || !matches!(self.hello, Some((_, Protocol::Esmtp))) {
            return self.say(&reply::BAD_SEQUENCE);
        }
        self.wire.reply(&reply::START_TLS);
        Next::StartTls
    }

    fn mail(&mut self, mail: Mail) -> Result<Reply, Reply> {
        self.in_order(Verb::Mail)?;
        if is_reached(self.mx.limits.max_messages, self.transactions) {
            return Err(reply::TOO_MANY_MESSAGES);
        }
        self.transaction = Some(Transaction::begin(self.mx, self.peer.into(), mail)?);
        self.transactions += 1;
        self.conversation.advance(Verb::Mail);
        Ok(reply::SENDER_OK)
    }

    async fn rcpt(&mut self, path: &str) -> Result<Reply, Reply> {
        self.in_order(Verb::Rcpt)?;
        let (mx, client) = (self.mx, self.peer.into());
        let is_strange = |alias: &AliasName| !mx.first_contact.has_delivered(client, alias);
        let transaction = self.transaction.as_mut().expect("MAIL came before RCPT");
        let result = match transaction.admit(path).await {
            Ok(None) => {
                self.vain_recipients += 1;
                Ok(())
            }
            Ok(Some(recipient)) if self.hides_aliases && recipient.alias().is_some_and(is_strange) => {
                Err(Verdict::new(reply::TOO_MANY_UNKNOWN, "harvesting"))
            }
            Ok(Some(recipient)) => {
                // What was answered so far must not wait for lists or the smarthost. A client that is gone
                // is noticed when it is to be read from.
                let _ = self.wire.flush().await;
                let alias = recipient.alias().cloned();
                let preempted = transaction.preempted().clone();
                // Boxed: it is much larger than anything that goes on without the smarthost.
                let offer = Box::pin(transaction.offer(recipient, &mut self.listing, self.wire.hung_up()));
                let offered = tokio::select! {
                    offered = offer => offered,
                    () = preempted.cancelled() => {
                        self.mx.counters.preempted.inc();
                        Err(Verdict::new(reply::PREEMPTED, "preempted"))
                    }
                };
                offered.map_err(|verdict| verdict.about(alias.as_ref()))
            }
            Err(verdict) => Err(verdict),
        };
        match result {
            Ok(()) => {
                self.mx.counters.recipients.inc();
                self.conversation.advance(Verb::Rcpt);
                Ok(reply::RECIPIENT_OK)
            }
            Err(verdict) => {
                self.vain_recipients += usize::from(!verdict.reply.is_permanent());
                let Verdict { reply, reason, alias } = self.count_unknown(verdict);
                self.mx.counters.recipients_refused.count(reason);
                let client = network(self.peer);
                let alias = alias.as_ref().map(AliasName::shortened);
                tracing::info!(reason, code = reply.code, alias, client, "recipient refused");
                Err(reply)
            }
        }
    }

    /// Nobody guesses by mistake as often as a client may in an hour: then this session ends, and every other
    /// of the client ends at its next guess. An alias that the client has delivered to is no guess.
    fn count_unknown(&mut self, verdict: Verdict) -> Verdict {
        let Mx { guesses, first_contact, .. } = self.mx;
        let client = self.peer.into();
        let is_known = verdict.alias.as_ref().is_some_and(|alias| first_contact.has_delivered(client, alias));
        if verdict.reply != reply::NO_ALIAS || is_known {
            return verdict;
        }
        if self.hides_aliases && self.conversation.allows(Verb::Data) {
            // What a further recipient hears when it is somebody.
            return Verdict::new(reply::TOO_MANY_RECIPIENTS, "too-many-recipients");
        }
        if self.hides_aliases || guesses.count_unknown_recipient(client) {
            return Verdict::new(reply::TOO_MANY_UNKNOWN, "harvesting");
        }
        verdict
    }

    pub(super) fn in_order(&mut self, verb: Verb) -> Result<(), Reply> {
        if self.conversation.allows(verb) { Ok(()) } else { Err(reply::BAD_SEQUENCE) }
    }

    /// Forgets the transaction; its smarthost connection closes without a dot.
    fn reset(&mut self) {
        self.transaction = None;
        self.conversation.reset();
    }
}

/// Ends when `transaction` is to give way.
async fn preempted(transaction: Option<&Transaction<'_>>) {
    match transaction {
        Some(transaction) => transaction.preempted().cancelled().await,
        None => std::future::pending().await,
    }
}

/// The client's network, for the log: /24 or /48, no person's address.
pub(super) fn network(peer: IpAddr) -> String {
    match peer.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        IpAddr::V6(v6) => {
            let [a, b, c, ..] = v6.segments();
            format!("{a:x}:{b:x}:{c:x}::/48")
        }
    }
}
