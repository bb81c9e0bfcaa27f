//! The envelope: greeting, EHLO, TLS, AUTH, MAIL, RCPT, and DATA's 354.

use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::auth::authenticate;
use super::client::Client;
use super::hello::{Capabilities, hello};
use super::{Inner, Lease, QUIT_TIMEOUT, RelayError};
use crate::address::Mailbox;
use crate::config::Tls;
use crate::metrics::seconds;
use crate::net::tls;
use crate::net::transport::Transport;
use crate::smtp::reply::Reply;
use crate::smtp::wire::{LineStream, Peek};

/// A connection to the smarthost, between messages or in an envelope.
pub struct Connection {
    pub(super) client: Client,
    pub(super) smarthost: Arc<Inner>,
    capabilities: Capabilities,
    messages: usize,
    /// The envelope that the smarthost has taken, until DATA.
    envelope: Option<Envelope>,
    /// None while it is idle. The last field: it ends when the socket is closed.
    lease: Option<Lease>,
}

/// What MAIL and RCPT say about a message.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// The reverse-path: one of our bounce addresses.
    pub sender: String,
    /// The one recipient.
    pub recipient: Mailbox,
    /// Octets, as declared by the client.
    pub size: Option<u64>,
    /// `BODY=8BITMIME`.
    pub is_8bit: bool,
    /// `SMTPUTF8`.
    pub utf8: bool,
}

/// What a message needs and the smarthost lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// A limit as high as its declared size.
    TooLarge,
    /// 8BITMIME.
    EightBit,
    /// SMTPUTF8.
    Utf8,
}

impl Envelope {
    fn check(&self, smarthost: &Capabilities) -> Result<(), Unfit> {
        if self.is_8bit && !smarthost.is_8bit {
            return Err(Unfit::EightBit);
        }
        if self.utf8 && !smarthost.utf8 {
            return Err(Unfit::Utf8);
        }
        match (self.size, smarthost.max_size) {
            (Some(size), Some(most)) if size > most => Err(Unfit::TooLarge),
            _ => Ok(()),
        }
    }
}

impl Connection {
    /// Greeting, EHLO, TLS and AUTH as the configuration wants them.
    pub(super) async fn open(tcp: TcpStream, tls: Tls, smarthost: Arc<Inner>) -> Result<Self, RelayError> {
        // Small commands and their answers alternate: Nagle's algorithm would only delay them.
        tcp.set_nodelay(true)?;
        let Inner { config, hostname, credentials, .. } = &*smarthost;
        let mut transport = Transport::Plain(tcp);
        if tls == Tls::Implicit {
            transport = encrypt(transport, &smarthost).await?;
        }
        let mut client = Client { stream: LineStream::new(transport), timeout: config.connect_timeout };
        client.reply().await?.expect(220)?;
        let mut capabilities = hello(&mut client, hostname).await?;
        if tls == Tls::Starttls || tls == Tls::Opportunistic && capabilities.starttls {
            client = starttls(client, &capabilities, &smarthost).await?;
            // What was said in clear text counts no more (RFC 3207 §4.2).
            capabilities = hello(&mut client, hostname).await?;
        }
        if let Some(credentials) = credentials {
            authenticate(&mut client, credentials, &capabilities).await?;
        }
        smarthost.learned.store(Some(Arc::new(capabilities)));
        Ok(Connection { client, smarthost, capabilities, messages: 0, envelope: None, lease: None })
    }

    /// What the smarthost said that it can do.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// MAIL and RCPT, if the smarthost can do what the message needs; together where it takes commands
    /// together (RFC 2920), a round trip earlier.
    ///
    /// # Errors
    /// [`RelayError::Refused`] is the answer to RCPT. A refusal of MAIL is not about the recipient: it is
    /// [`RelayError::Failed`], and the connection is of no more use.
    pub(super) async fn begin(&mut self, envelope: Envelope) -> Result<(), RelayError> {
        envelope.check(&self.capabilities).map_err(RelayError::Unfit)?;
        self.client.timeout = self.smarthost.config.command_timeout;
        if self.capabilities.pipelining {
            let together = [self.mail_command(&envelope), rcpt_command(&envelope.recipient)].concat();
            self.mail(together).await?;
            // Nothing more to be said: the answer to RCPT is on its way.
            self.timed("").await?.expect_positive()?;
        } else {
            self.mail(self.mail_command(&envelope)).await?;
            self.command(rcpt_command(&envelope.recipient)).await?;
        }
        self.envelope = Some(envelope);
        Ok(())
    }

    /// MAIL, RCPT and RSET, each answered before the next is sent: nothing is left of it.
    ///
    /// # Errors
    /// The command that failed, and why.
    pub(super) async fn dry_run(&mut self, envelope: &Envelope) -> Result<(), (&'static str, RelayError)> {
        envelope.check(&self.capabilities).map_err(|unfit| ("MAIL", RelayError::Unfit(unfit)))?;
        let rcpt = rcpt_command(&envelope.recipient);
        for (name, command) in
            [("MAIL", self.mail_command(envelope)), ("RCPT", rcpt), ("RSET", "RSET\r\n".into())]
        {
            self.command(command).await.map_err(|cause| (name, cause))?;
        }
        Ok(())
    }

    /// DATA, up to its 354.
    ///
    /// # Errors
    /// The connection is gone with the error, refused or not.
    pub(super) async fn start_data(mut self) -> Result<Connection, RelayError> {
        if let Err(cause) = self.try_data().await {
            self = self.replacement(cause).await?;
            self.try_data().await?;
        }
        self.messages += 1;
        self.envelope = None;
        Ok(self)
    }

    /// MAIL's part of [`Connection::begin`].
    async fn mail(&mut self, command: String) -> Result<(), RelayError> {
        self.command(command).await.map_err(|cause| cause.into_failure_with("MAIL"))
    }

    fn mail_command(&self, envelope: &Envelope) -> String {
        let Envelope { sender, size, is_8bit, utf8, .. } = envelope;
        let size = size.filter(|_| self.capabilities.size).map(|size| format!(" SIZE={size}"));
        let body = if *is_8bit { " BODY=8BITMIME" } else { "" };
        let utf8 = if *utf8 { " SMTPUTF8" } else { "" };
        format!("MAIL FROM:<{sender}>{}{body}{utf8}\r\n", size.unwrap_or_default())
    }

    async fn try_data(&mut self) -> Result<(), RelayError> {
        self.check_step()?;
        self.timed("DATA\r\n").await?.expect(354)?;
        self.check_step()
    }

    /// A new connection on which the envelope has been said once more, if `cause` may be no more than the
    /// age of this one. Nothing of the text has gone out before DATA's 354 was heard, so nothing can be
    /// delivered twice.
    ///
    /// # Errors
    /// `cause`, if it is about the message and not about the connection, or if that is new; else why
    /// the new one is of no use.
    async fn replacement(mut self, cause: RelayError) -> Result<Connection, RelayError> {
        let Some(envelope) = self.envelope.take_if(|_| cause.is_of_connection() && self.messages > 0) else {
            return Err(cause);
        };
        tracing::debug!(%cause, "an idle connection failed at DATA; trying a new one");
        let limit = self.smarthost.config.command_timeout;
        let smarthost = self.smarthost.clone();
        let lease = self.lease.take();
        drop(self); // before there is another: the smarthost may count them
        let new = timeout(limit, smarthost.begin_on_new(envelope))
            .await
            .unwrap_or_else(|_| Err(RelayError::timed_out("repeating the envelope", limit)));
        let new = new.map_err(|cause| cause.into_failure_with("the same envelope"))?;
        Ok(Connection { lease, ..new })
    }

    pub(super) fn with_lease(self, lease: Lease) -> Self {
        Connection { lease: Some(lease), ..self }
    }

    /// Ends the lease, which other clients may wait for.
    pub(super) fn take_lease(&mut self) -> Option<Lease> {
        self.lease.take()
    }

    /// From here on the connection is not preempted. False when it has been preempted already.
    pub(super) fn keep(&self) -> bool {
        self.lease.as_ref().is_none_or(Lease::keep)
    }

    /// Messages begun on this connection.
    pub(super) fn messages(&self) -> usize {
        self.messages
    }

    /// Whether the smarthost has sent no reply too many, and not hung up.
    pub(super) fn is_in_step(&mut self) -> bool {
        self.client.stream.peek() == Peek::Nothing
    }

    /// Whether all that was asked has been answered, and nothing else was said: after QUIT comes its
    /// own answer, or the end. A reply that came unasked would make each later one look like the
    /// answer to the command after its own.
    pub(super) async fn ends_in_step(&mut self) -> bool {
        self.client.timeout = QUIT_TIMEOUT;
        match self.client.command("QUIT\r\n").await {
            Ok(reply) => matches!(reply.code, 221 | 421),
            Err(_) => self.client.stream.peek() == Peek::Ended,
        }
    }

    /// QUIT, between messages.
    pub(super) async fn quit(mut self) -> Result<(), RelayError> {
        self.command("QUIT\r\n").await
    }

    async fn command(&mut self, command: impl AsRef<[u8]>) -> Result<(), RelayError> {
        self.check_step()?;
        Ok(self.timed(command).await?.expect_positive()?)
    }

    /// A command and its answer; how long that took is counted.
    async fn timed(&mut self, command: impl AsRef<[u8]>) -> Result<Reply, RelayError> {
        let start = Instant::now();
        let answer = self.client.command(command).await;
        self.smarthost.counters.command_seconds.observe(seconds(start.elapsed()));
        answer
    }

    fn check_step(&mut self) -> Result<(), RelayError> {
        if self.is_in_step() {
            Ok(())
        } else {
            Err(RelayError::Failed("unexpected reply, or it hung up".into()))
        }
    }
}

fn rcpt_command(recipient: &Mailbox) -> String {
    format!("RCPT TO:<{}>\r\n", recipient.as_str())
}

/// STARTTLS (RFC 3207).
async fn starttls(
    mut client: Client,
    capabilities: &Capabilities,
    smarthost: &Inner,
) -> Result<Client, RelayError> {
    if !capabilities.starttls {
        return Err(RelayError::Failed("it offers no STARTTLS".into()));
    }
    let reply = client.command("STARTTLS\r\n").await?;
    if !reply.is_positive() {
        return Err(RelayError::Tls(format!("STARTTLS was refused with {}", reply.code)));
    }
    // Clear text behind the 220 would be taken for the smarthost's own words under TLS
    // (CVE-2011-0411, the client's side of it). What comes later than this meets the handshake.
    if client.stream.peek() == Peek::Unread {
        return Err(RelayError::Failed("it sent clear text after STARTTLS".into()));
    }
    let transport = encrypt(client.stream.inner, smarthost).await?;
    Ok(Client { stream: LineStream::new(transport), timeout: client.timeout })
}

async fn encrypt(transport: Transport, smarthost: &Inner) -> Result<Transport, RelayError> {
    let Transport::Plain(tcp) = transport else {
        return Err(RelayError::Failed("TLS inside TLS".into()));
    };
    let tls = smarthost.tls.connect(&smarthost.config.host, tcp).await.map_err(|cause| {
        tracing::debug!(%cause, "the smarthost's TLS failed");
        RelayError::Tls(tls::fault(&cause).into())
    })?;
    Ok(Transport::tls(tls))
}
