//! The envelope: greeting, EHLO, TLS, AUTH, MAIL, RCPT, and DATA's 354.

use std::io::Write;
use std::time::Duration;

use mail_send::SmtpClient;
use mail_send::smtp::AssertReply;
use smtp_proto::{EXT_8BIT_MIME, EXT_SIZE, EXT_START_TLS, EhloResponse};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::stream::Lines;
use super::{Body, Inner, RelayError};
use crate::address::Mailbox;
use crate::config::Tls;
use crate::transport::Transport;

/// A connection to the smarthost, before the message.
pub struct Connection {
    client: SmtpClient<Lines>,
    capabilities: EhloResponse<String>,
    write_timeout: Duration,
    final_timeout: Duration,
}

/// What MAIL says about a message.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// The reverse-path: one of our bounce addresses.
    pub sender: String,
    /// Octets, as declared by the client.
    pub size: Option<u64>,
    /// `BODY=8BITMIME`.
    pub is_8bit: bool,
}

impl Connection {
    /// Greeting, EHLO, TLS and AUTH as the configuration wants them.
    pub(super) async fn open(tcp: TcpStream, tls: Tls, smarthost: &Inner) -> Result<Self, RelayError> {
        // Small commands and their answers alternate: Nagle's algorithm would only delay them.
        tcp.set_nodelay(true)?;
        let Inner { config, hostname, credentials, .. } = smarthost;
        let mut transport = Transport::Plain(tcp);
        if tls == Tls::Implicit {
            transport = encrypt(transport, smarthost).await?;
        }
        let mut client = SmtpClient { stream: Lines::new(transport), timeout: config.connect_timeout };
        client.read().await?.assert_code(220)?;
        let mut capabilities = client.ehlo(hostname).await?;
        if tls == Tls::Starttls || tls == Tls::Opportunistic && capabilities.has_capability(EXT_START_TLS) {
            client = starttls(client, &capabilities, smarthost).await?;
            // What was said in clear text counts no more (RFC 3207 §4.2).
            capabilities = client.ehlo(hostname).await?;
        }
        if let Some(credentials) = credentials {
            client.authenticate(credentials, &capabilities).await?;
        }
        client.timeout = config.command_timeout;
        Ok(Connection {
            client,
            capabilities,
            write_timeout: config.write_timeout,
            final_timeout: config.final_timeout,
        })
    }

    /// Whether the smarthost takes 8-bit bodies (RFC 6152).
    pub fn takes_8bit(&self) -> bool {
        self.capabilities.has_capability(EXT_8BIT_MIME)
    }

    /// The largest message it takes, in octets (RFC 1870); `None` when it did not say.
    pub fn max_size(&self) -> Option<u64> {
        let size = u64::try_from(self.capabilities.size).unwrap_or(u64::MAX);
        (self.capabilities.has_capability(EXT_SIZE) && size > 0).then_some(size)
    }

    /// MAIL.
    pub async fn mail(&mut self, envelope: &Envelope) -> Result<(), RelayError> {
        let mut command = format!("MAIL FROM:<{}>", envelope.sender).into_bytes();
        let infallible = "writing to memory";
        if let Some(size) = envelope.size
            && self.capabilities.has_capability(EXT_SIZE)
        {
            write!(command, " SIZE={size}").expect(infallible);
        }
        if envelope.is_8bit && self.takes_8bit() {
            write!(command, " BODY=8BITMIME").expect(infallible);
        }
        write!(command, "\r\n").expect(infallible);
        self.command(command).await
    }

    /// RCPT.
    pub async fn rcpt(&mut self, recipient: &Mailbox) -> Result<(), RelayError> {
        self.command(format!("RCPT TO:<{}>\r\n", recipient.as_str())).await
    }

    /// RSET: forgets MAIL and RCPT.
    pub async fn rset(&mut self) -> Result<(), RelayError> {
        self.command("RSET\r\n").await
    }

    /// DATA; on its 354 the message may follow.
    ///
    /// # Errors
    /// The connection is gone with the error, refused or not.
    pub async fn data(mut self) -> Result<Body, RelayError> {
        self.check_step()?;
        self.client.cmd("DATA\r\n").await?.assert_code(354)?;
        self.check_step()?;
        Ok(Body::new(self.client, self.write_timeout, self.final_timeout))
    }

    async fn command(&mut self, command: impl AsRef<[u8]>) -> Result<(), RelayError> {
        self.check_step()?;
        Ok(self.client.cmd(command).await?.assert_positive_completion()?)
    }

    fn check_step(&mut self) -> Result<(), RelayError> {
        match self.client.stream.is_in_step() {
            true => Ok(()),
            false => Err(RelayError::Failed("it spoke out of turn, or hung up".into())),
        }
    }
}

/// STARTTLS (RFC 3207).
async fn starttls(
    mut client: SmtpClient<Lines>,
    capabilities: &EhloResponse<String>,
    smarthost: &Inner,
) -> Result<SmtpClient<Lines>, RelayError> {
    if !capabilities.has_capability(EXT_START_TLS) {
        return Err(RelayError::Failed("it offers no STARTTLS".into()));
    }
    client.cmd("STARTTLS\r\n").await?.assert_positive_completion()?;
    // Clear text behind the 220 would be taken for the smarthost's own words under TLS
    // (CVE-2011-0411, the client's side of it).
    if !client.stream.is_in_step() {
        return Err(RelayError::Failed("it sent clear text after STARTTLS".into()));
    }
    let transport = encrypt(client.stream.into_transport(), smarthost).await?;
    Ok(SmtpClient { stream: Lines::new(transport), timeout: client.timeout })
}

async fn encrypt(transport: Transport, smarthost: &Inner) -> Result<Transport, RelayError> {
    let Transport::Plain(tcp) = transport else {
        return Err(RelayError::Failed("TLS inside TLS".into()));
    };
    let host = smarthost.config.host.trim_matches(['[', ']']);
    let failed = |cause: &dyn std::fmt::Display| RelayError::Tls(cause.to_string());
    let name = ServerName::try_from(host.to_owned()).map_err(|cause| failed(&cause))?;
    let connector = TlsConnector::from(smarthost.tls.clone());
    let tls = connector.connect(name, tcp).await.map_err(|cause| failed(&cause))?;
    Ok(Transport::Tls(Box::new(tls.into())))
}
