//! A session: the conversation with one client, from the greeting to the last reply.

use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::conversation::{Conversation, Hello};
use super::recipient::{Recipient, Refused};
use super::reply::{self, Extensions};
use super::transaction::{Transaction, envelope_timeout, max_size};
use super::wire::Wire;
use super::{Mx, Setup, message};
use crate::alias::AliasName;
use crate::bounce::BounceOf;
use crate::clock;
use crate::config::Smtp;
use crate::dnsbl::Listing;
use crate::events::{Event, Outcome, Refusal, Stage, network};
use crate::net::limits::is_reached;
use crate::net::transport::Transport;
use crate::smtp::command::{Command, Mail, Utf8};
use crate::smtp::headers::Received;
use crate::smtp::reply::Reply;

/// First words of clients that speak HTTP, not SMTP.
const HTTP_VERBS: [&str; 10] =
    ["GET ", "POST ", "HEAD ", "PUT ", "DELETE ", "OPTIONS ", "CONNECT ", "TRACE ", "PATCH ", "PRI "];

/// Junk commands (NOOP, RSET, EHLO, …) since the last message: after so many the client only keeps the
/// connection busy (Postfix's `smtpd_junk_command_limit`).
const MAX_JUNK_COMMANDS: usize = 100;

/// RCPTs that add no recipient (named twice, deferred, one too many) since the last message: honest
/// clients have some, for they may have more recipients than we take (RFC 5321 §4.5.3.1.10), so it
/// is more (Postfix's `smtpd_recipient_overshoot_limit`).
const MAX_RECIPIENT_OVERSHOOT: usize = 1000;

/// A session may go on without a message for so many times the wait for one command: 30 minutes,
/// or one when sessions are scarce.
const WAITS_WITHOUT_MESSAGE: u32 = 6;

/// One client's session.
pub(super) struct Session<'a> {
    setup: &'a Setup<'a>,
    wire: Wire<Transport>,
    peer: IpAddr,
    /// The client or its network has guessed at aliases too often: it is told nothing of them, but for
    /// those that it has delivered to.
    hides_aliases: bool,
    /// What the DNS lists say of the client; asked for since it has come.
    listing: Listing,
    conversation: Conversation<'a>,
    is_encrypted: bool,
    errors: usize,
    unknown: usize,
    transactions: usize,
    /// Since the last message.
    junk_commands: usize,
    /// Since the last message.
    recipient_overshoot: usize,
    /// When the client last delivered something, or else connected.
    last_delivery: Instant,
}

/// Whether the session goes on.
enum Next {
    GoOn,
    Close,
    StartTls,
}

/// Holds the whole conversation over `stream`; ends when the client, we or `shutdown` end it.
pub(super) async fn run(mx: Arc<Mx>, stream: Transport, peer: IpAddr, shutdown: CancellationToken) {
    let setup = mx.setup();
    let mut session = Session {
        setup: &setup,
        wire: Wire::new(stream, setup.config.smtp.idle_timeout),
        peer,
        hides_aliases: mx.guesses.is_exhausted(peer.into()),
        listing: mx.lists.ask(peer),
        conversation: Conversation::new(peer),
        is_encrypted: false,
        errors: 0,
        unknown: 0,
        transactions: 0,
        junk_commands: 0,
        recipient_overshoot: 0,
        last_delivery: Instant::now(),
    };
    if session.wire.has_spoken() {
        // A client that talks before the greeting does not listen (RFC 5321 §4.3.1).
        session.wire.reply(&reply::EARLY_TALKER);
        return session.wire.close().await;
    }
    session.wire.reply(&reply::greeting(setup.config.hostname.as_str()));
    while let Next::StartTls = session.converse(&shutdown).await {
        // Boxed: a handshake is large, and most sessions are idle without it.
        session = match Box::pin(session.encrypted()).await {
            Ok(session) => session,
            Err(cause) => return tracing::debug!(%cause, client = network(peer), "no TLS"),
        };
    }
    // First, so that nobody waits for its connection to the smarthost while the client reads the last reply.
    session.conversation.reset();
    session.wire.close().await;
}

impl<'a> Session<'a> {
    /// The session after STARTTLS: all that was said in clear text is forgotten (RFC 3207 §4.2).
    async fn encrypted(mut self) -> io::Result<Self> {
        let Some(identity) = &self.setup.identity else { return Err(io::ErrorKind::Unsupported.into()) };
        self.conversation = Conversation::new(self.peer);
        self.wire.flush().await?;
        let wire = self.wire.start_tls(identity).await?;
        self.setup.mx.counters.encrypted.inc();
        Ok(Session { wire, is_encrypted: true, ..self })
    }

    /// Carries out commands, up to the last or to STARTTLS.
    async fn converse(&mut self, shutdown: &CancellationToken) -> Next {
        let mut is_first = true;
        // Once for all commands: all sessions wait for it, in one list under one lock.
        let mut stopping = pin!(shutdown.cancelled());
        loop {
            let token = |transaction: &Transaction<'_>| transaction.preempted.clone();
            // Who has no recipient has no connection to the smarthost.
            let with_recipient =
                self.conversation.transaction().filter(|transaction| transaction.recipient.is_some());
            let preempted = with_recipient.map(token);
            let line = tokio::select! {
                biased;
                () = &mut stopping => return self.say(&reply::SHUTTING_DOWN),
                () = cancelled(preempted.as_ref()) => return self.close_preempted(Stage::Idle),
                line = self.next_line() => line,
            };
            let line = match line {
                Ok(line) => line,
                Err(reply) => {
                    reply.iter().for_each(|reply| self.wire.reply(reply));
                    return Next::Close;
                }
            };
            if std::mem::take(&mut is_first)
                && HTTP_VERBS.iter().any(|verb| line.starts_with(verb.as_bytes()))
            {
                return Next::Close;
            }
            let utf8 = Utf8 {
                is_offered: self.setup.smarthost.capabilities().is_some_and(|smarthost| smarthost.utf8),
                is_wanted: self.conversation.transaction().is_some_and(|transaction| transaction.mail.utf8),
            };
            let command = Command::parse(&line, utf8).map_err(Reply::from);
            let stage = match command {
                Ok(Command::Data) => Stage::Message,
                Ok(Command::Rcpt(_)) => Stage::Recipient,
                _ => Stage::Idle,
            };
            let preempted = match stage {
                Stage::Recipient => self.conversation.transaction().map(token),
                _ => preempted,
            };
            // Boxed: the work is large, and most sessions are idle. From the end of a text on it is not
            // preempted, see `Settlement::settle`.
            let answer = Box::pin(self.answer(command));
            let next = tokio::select! {
                biased;
                () = cancelled(preempted.as_ref()) => return self.close_preempted(stage),
                // Waiting for the smarthost at RCPT is no reason to stay: nothing has been sent yet.
                () = &mut stopping, if stage != Stage::Message => {
                    return self.say(&reply::SHUTTING_DOWN);
                }
                next = answer => next,
            };
            if !matches!(next, Next::GoOn) {
                return next;
            }
        }
    }

    /// The next line, for as long as the client may take for it.
    async fn next_line(&mut self) -> Result<Vec<u8>, Option<Reply>> {
        let patience =
            patience(&self.setup.config.smtp, self.setup.mx.slots.are_scarce(), self.last_delivery.elapsed());
        if patience.is_zero() {
            return Err(Some(reply::IDLE));
        }
        let open_since = self.conversation.transaction().and_then(Transaction::open_since);
        tokio::select! {
            biased;
            line = self.wire.line(patience) => line,
            () = envelope_timeout(self.setup, open_since) => Err(Some(reply::IDLE)),
        }
    }

    /// Carries out one command and says what became of it.
    async fn answer(&mut self, command: Result<Command, Reply>) -> Next {
        let limits = &self.setup.config.smtp;
        if is_reached(limits.max_errors, self.errors)
            || self.junk_commands >= MAX_JUNK_COMMANDS
            || self.recipient_overshoot >= MAX_RECIPIENT_OVERSHOOT
        {
            return self.say(&reply::TOO_MANY_ERRORS);
        }
        if is_reached(limits.max_unknown_recipients, self.unknown) {
            return self.say(&reply::TOO_MANY_UNKNOWN);
        }
        if !matches!(
            command,
            Err(_)
                | Ok(Command::Mail(_) | Command::Rcpt(_) | Command::Data | Command::StartTls | Command::Quit)
        ) {
            self.junk_commands += 1;
        }
        let reply = match command {
            Ok(Command::Data) => return self.data().await,
            Ok(Command::StartTls) => return self.start_tls(),
            Ok(Command::Helo(name)) => self.hello(Hello { name, is_extended: false }),
            Ok(Command::Ehlo(name)) => self.hello(Hello { name, is_extended: true }),
            Ok(Command::Mail(mail)) => self.mail(mail).unwrap_or_else(|refusal| refusal),
            Ok(Command::Rcpt(path)) => self.rcpt(&path).await.unwrap_or_else(|refusal| refusal),
            Ok(Command::Rset) => {
                self.conversation.reset();
                reply::OK
            }
            Ok(Command::Noop) => reply::OK,
            Ok(Command::Help) => reply::HELP,
            Ok(Command::Vrfy) => reply::CANNOT_VRFY,
            Ok(Command::Quit) => reply::GOODBYE,
            Err(refusal) => refusal,
        };
        self.say(&reply)
    }

    fn say(&mut self, reply: &Reply) -> Next {
        if *reply == reply::NO_ALIAS {
            self.unknown += 1;
        } else if reply.is_permanent() {
            self.errors += 1;
        }
        self.wire.reply(reply);
        if reply.closes() { Next::Close } else { Next::GoOn }
    }

    /// Another client has been given the connection to the smarthost.
    fn close_preempted(&mut self, during: Stage) -> Next {
        self.setup.mx.events.tell(Event::Preempted { client: self.peer, during });
        self.say(&reply::PREEMPTED)
    }

    fn hello(&mut self, hello: Hello) -> Reply {
        let (is_extended, hostname) = (hello.is_extended, self.setup.config.hostname.as_str());
        self.conversation.greet(hello);
        if !is_extended {
            return reply::helo(hostname);
        }
        // What the smarthost cannot do we could only refuse later; nothing is known of it before the first
        // connection.
        let smarthost = self.setup.smarthost.capabilities();
        let extensions = Extensions {
            max_size: max_size(self.setup),
            is_8bit: smarthost.is_none_or(|smarthost| smarthost.is_8bit),
            utf8: smarthost.is_some_and(|smarthost| smarthost.utf8),
            starttls: self.setup.identity.is_some() && !self.is_encrypted,
        };
        reply::ehlo(hostname, &extensions)
    }

    /// STARTTLS, also in the middle of a transaction, which it ends (RFC 3207 §4.2).
    fn start_tls(&mut self) -> Next {
        if self.setup.identity.is_none() {
            return self.say(&reply::NOT_IMPLEMENTED);
        }
        if self.is_encrypted || !self.conversation.hello().is_some_and(|hello| hello.is_extended) {
            return self.say(&reply::BAD_SEQUENCE);
        }
        self.wire.reply(&reply::START_TLS);
        Next::StartTls
    }

    fn mail(&mut self, mail: Mail) -> Result<Reply, Reply> {
        let begun = if is_reached(self.setup.config.smtp.max_messages, self.transactions) {
            Err(reply::TOO_MANY_MESSAGES)
        } else {
            Transaction::begin(self.setup, self.peer.into(), mail)
        };
        self.conversation.mail(begun)?;
        self.transactions += 1;
        Ok(reply::SENDER_OK)
    }

    async fn rcpt(&mut self, path: &str) -> Result<Reply, Reply> {
        let (mx, client) = (self.setup.mx, self.peer.into());
        let is_strange = |alias: &AliasName| !mx.first_contact.has_delivered(client, alias);
        let transaction = self.conversation.rcpt()?;
        let result = match transaction.admit(path).await {
            Ok(None) => {
                self.recipient_overshoot += 1;
                Ok(())
            }
            Ok(Some(recipient)) if self.hides_aliases && recipient.alias().is_some_and(is_strange) => {
                Err(Refusal::Harvesting.into())
            }
            Ok(Some(recipient)) => {
                // What was answered so far must not wait for lists or the smarthost. A client that is gone
                // is noticed when it is to be read from.
                let _ = self.wire.flush().await;
                let alias = recipient.alias().cloned();
                // Boxed: it is much larger than anything that goes on without the smarthost.
                let offer = Box::pin(transaction.offer(recipient, &mut self.listing, self.wire.hung_up()));
                offer.await.map_err(|reason| Refused { reason, alias })
            }
            Err(refused) => Err(refused),
        };
        if let Err(refused) = result {
            return Err(self.refuse(refused));
        }
        self.setup.mx.counters.recipients.inc();
        self.conversation.recipient_accepted();
        Ok(reply::RECIPIENT_OK)
    }

    /// Says no to RCPT. Nobody guesses by mistake as often as a client may in an hour: then this session ends,
    /// and every other of the client ends at its next guess. An alias that the client has delivered to is no
    /// guess.
    fn refuse(&mut self, mut refused: Refused) -> Reply {
        let mut reply = refused.reason.reply();
        self.recipient_overshoot += usize::from(!reply.is_permanent());
        let Mx { guesses, first_contact, events, .. } = self.setup.mx;
        let client = self.peer.into();
        let is_known = |alias: &AliasName| first_contact.has_delivered(client, alias);
        if reply == reply::NO_ALIAS && !refused.alias.as_ref().is_some_and(is_known) {
            let has_recipient = |transaction: &Transaction| transaction.recipient.is_some();
            if self.hides_aliases && self.conversation.transaction().is_some_and(has_recipient) {
                // What a further recipient hears when it exists.
                refused = Refusal::TooManyRecipients.into();
            } else if self.hides_aliases || guesses.count_unknown_recipient(client) {
                refused = Refusal::Harvesting.into();
            }
            reply = refused.reason.reply();
        }
        let Refused { reason, alias } = &refused;
        events.tell(Event::Refused { client: self.peer, alias: alias.as_ref(), reason, code: reply.code });
        reply
    }

    /// DATA: 354, the text, and the answer to it.
    async fn data(&mut self) -> Next {
        let transaction = match self.conversation.data() {
            Ok(transaction) => transaction,
            Err(refusal) => return self.say(&refusal),
        };
        let (id, alias) = match &transaction.recipient {
            Some(Recipient::Bounce(BounceOf::Message(name, id))) => (Some(*id), Some(name.clone())),
            Some(Recipient::Bounce(BounceOf::Nobody)) => (None, None),
            _ => (Some(transaction.id), transaction.alias().cloned()),
        };
        let outcome = self.take_message(transaction).await.unwrap_or_else(|outcome| outcome);
        if matches!(outcome, Outcome::Delivered(_)) {
            let client = self.peer.into();
            self.setup.mx.guesses.note_delivery(client);
            self.setup.mx.first_contact.note_delivery(client, alias.as_ref());
        }
        self.conversation.end_of_data();
        // One event, and one answer to the client, for every message.
        let reply = outcome.reply();
        let (client, alias, code) = (self.peer, alias.as_ref(), reply.as_ref().map(|reply| reply.code));
        self.setup.mx.events.tell(Event::Message { client, id, alias, outcome: &outcome, code });
        (self.junk_commands, self.recipient_overshoot) = (0, 0);
        if reply.as_ref().is_some_and(Reply::is_positive) {
            self.last_delivery = Instant::now();
        }
        let next = reply.map_or(Next::Close, |reply| self.say(&reply));
        if outcome == Outcome::EarlyData { Next::Close } else { next }
    }

    async fn take_message(&mut self, transaction: Transaction<'a>) -> Result<Outcome, Outcome> {
        if self.wire.has_spoken() {
            return Err(Outcome::EarlyData);
        }
        let _ = self.wire.flush().await; // as at RCPT
        match &transaction.recipient {
            Some(Recipient::Bounce(_)) if !transaction.mail.null_sender => Err(Outcome::NotABounce),
            Some(Recipient::Bounce(of)) => {
                self.wire.reply(&reply::START_DATA);
                message::take_bounce(&mut self.wire, self.setup, of).await
            }
            _ => {
                // Boxed, as at RCPT.
                let fields = self.received(&transaction);
                let settlement = Box::pin(transaction.data(fields)).await?;
                // Text before the 354 is no mail client's (RFC 2920 §3.1).
                if self.wire.has_spoken() {
                    return Err(Outcome::EarlyData);
                }
                self.wire.reply(&reply::START_DATA);
                Box::pin(message::forward(&mut self.wire, self.setup, settlement)).await
            }
        }
    }

    /// Our header fields for the message of `transaction`.
    fn received(&self, transaction: &Transaction<'a>) -> String {
        let hello = self.conversation.hello();
        // RFC 3848, RFC 6531 §4.3.
        let is_extended = hello.is_some_and(|hello| hello.is_extended);
        let protocol = match (is_extended, transaction.mail.utf8, self.is_encrypted) {
            (false, ..) => "SMTP",
            (true, true, true) => "UTF8SMTPS",
            (true, true, false) => "UTF8SMTP",
            (true, false, true) => "ESMTPS",
            (true, false, false) => "ESMTP",
        };
        Received {
            helo: hello.map_or("", |hello| &hello.name),
            peer: self.peer,
            hostname: self.setup.config.hostname.as_str(),
            protocol,
            id: &transaction.id.to_string(),
            alias: transaction.alias_address().as_deref(),
            at: clock::now(),
        }
        .fields()
    }
}

/// Ends when `token` is cancelled, if there is one.
async fn cancelled(token: Option<&CancellationToken>) {
    match token {
        Some(token) => token.cancelled().await,
        None => std::future::pending().await,
    }
}

/// How long to wait, from now, for the next command of a client that has delivered nothing for
/// `since_delivery`: commands to no end must not hold a slot for ever.
fn patience(smtp: &Smtp, are_slots_scarce: bool, since_delivery: Duration) -> Duration {
    let idle_timeout =
        if are_slots_scarce { smtp.stress_timeout.min(smtp.idle_timeout) } else { smtp.idle_timeout };
    idle_timeout.min((WAITS_WITHOUT_MESSAGE * idle_timeout).saturating_sub(since_delivery))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// docs/smtp.md §2: half an hour without a message.
    #[test]
    fn a_session_without_a_message_may_last_half_an_hour() {
        let (smtp, minute) = (Smtp::default(), Duration::from_secs(60));
        let after = |time| patience(&smtp, false, time);
        assert_eq!(after(Duration::ZERO), smtp.idle_timeout);
        assert_eq!(after(30 * minute - smtp.idle_timeout), smtp.idle_timeout);
        assert_eq!(after(29 * minute), minute);
        assert_eq!(after(30 * minute), Duration::ZERO);
    }
}
