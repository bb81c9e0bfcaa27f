//! The envelope of one mail transaction: MAIL, RCPT, and DATA up to its 354.
//!
//! RCPT only *reads* the ledger; the first recipient that is somebody opens the smarthost. What
//! comes after the 354 is in [`super::settlement`]. Dropping a [`Transaction`] closes the
//! smarthost's connection without a dot, and has spent nothing.

use super::Mx;
use super::command::Mail;
use super::recipient::{Recipient, resolve};
use super::reply::{self, Reply};
use super::settlement::Settlement;
use super::trace::HeaderWatch;
use super::verdict::Verdict;
use crate::address::Mailbox;
use crate::alias::AliasName;
use crate::bounce::BounceOf;
use crate::clock;
use crate::relay::{Connection, Envelope, RelayError};

/// What MAIL and RCPT have gathered.
pub(super) struct Transaction<'a> {
    mx: &'a Mx,
    mail: Mail,
    recipients: Vec<Recipient>,
    upstream: Upstream,
}

/// The smarthost's part in it.
enum Upstream {
    /// Not needed yet.
    Closed,
    /// MAIL was said for `sender`. Boxed: most sessions never get here.
    Open { connection: Box<Connection>, sender: BounceOf },
    /// It failed after we had accepted a recipient: the message cannot go anywhere any more.
    Failed,
}

impl<'a> Transaction<'a> {
    /// MAIL.
    ///
    /// # Errors
    /// When the declared size is over our limit.
    pub(super) fn begin(mx: &'a Mx, mail: Mail) -> Result<Self, Reply> {
        match mail.size {
            Some(size) if mx.limits.max_size > 0 && size > mx.limits.max_size => Err(reply::TOO_LARGE),
            _ => Ok(Transaction { mx, mail, recipients: Vec::new(), upstream: Upstream::Closed }),
        }
    }

    /// RCPT: ours to say first, then the smarthost's.
    pub(super) async fn rcpt(&mut self, path: &str) -> Result<(), Verdict> {
        if self.mx.limits.max_recipients > 0 && self.recipients.len() >= self.mx.limits.max_recipients {
            return Err(Verdict::new(reply::TOO_MANY_RECIPIENTS, "too-many-recipients"));
        }
        let recipient = resolve(self.mx, path, self.mail.null_sender, clock::now()).map_err(Verdict::from)?;
        if self.recipients.contains(&recipient) {
            return Ok(());
        }
        let target = match &recipient {
            Recipient::Alias { target, .. } | Recipient::Role { target } => target.clone(),
            Recipient::Bounce(_) if self.recipients.is_empty() => {
                self.recipients.push(recipient);
                return Ok(());
            }
            Recipient::Bounce(_) => return Err(Verdict::new(reply::BOUNCE_ALONE, "bounce-not-alone")),
        };
        if matches!(self.recipients.as_slice(), [Recipient::Bounce(_)]) {
            return Err(Verdict::new(reply::BOUNCE_ALONE, "bounce-not-alone"));
        }
        self.offer(&recipient, &target).await?;
        self.recipients.push(recipient);
        Ok(())
    }

    /// Whether MAIL has asked for SMTPUTF8.
    pub(super) fn is_utf8(&self) -> bool {
        self.mail.utf8
    }

    /// Whether this is a bounce, and of what.
    pub(super) fn bounce(&self) -> Option<&BounceOf> {
        match self.recipients.as_slice() {
            [Recipient::Bounce(whom)] => Some(whom),
            _ => None,
        }
    }

    /// The alias, when it is the only recipient.
    pub(super) fn sole_alias(&self) -> Option<String> {
        match self.recipients.as_slice() {
            [Recipient::Alias { name, domain, .. }] => Some(format!("{name}@{domain}")),
            _ => None,
        }
    }

    /// A word for the log: the first alias's name, shortened so that the log gives no alias away.
    pub(super) fn log_name(&self) -> String {
        self.aliases().next().map_or_else(|| "-".to_owned(), shortened)
    }

    /// DATA: the smarthost is ready for the text, which goes behind our own header `fields`.
    pub(super) async fn data(self, fields: String) -> Result<Settlement<'a>, Verdict> {
        let names = self.aliases().cloned().collect();
        let watch = HeaderWatch::new(&self.mx.hostname, self.sole_alias().as_deref());
        let Upstream::Open { connection, .. } = self.upstream else {
            return Err(Verdict::new(reply::SMARTHOST_UNAVAILABLE, "smarthost-failed"));
        };
        let max_size = [self.mx.limits.max_size, connection.capabilities().max_size.unwrap_or(0)];
        let max_size = max_size.into_iter().filter(|size| *size > 0).min().unwrap_or(u64::MAX);
        match connection.data().await {
            Ok(body) => Ok(Settlement::new(self.mx, names, body, fields, watch, max_size)),
            Err(cause) => Err(Verdict::upstream(&cause, "data", |code| match code {
                400..500 => reply::MESSAGE_LATER,
                _ => reply::MESSAGE_REFUSED,
            })),
        }
    }

    fn aliases(&self) -> impl Iterator<Item = &AliasName> {
        self.recipients.iter().filter_map(|recipient| match recipient {
            Recipient::Alias { name, .. } => Some(name),
            _ => None,
        })
    }

    /// Offers a recipient to the smarthost, opening or renewing the envelope as needed.
    async fn offer(&mut self, recipient: &Recipient, target: &Mailbox) -> Result<(), Verdict> {
        self.open(recipient).await?;
        let Upstream::Open { connection, .. } = &mut self.upstream else {
            return Err(Verdict::new(reply::SMARTHOST_UNAVAILABLE, "smarthost-failed"));
        };
        match connection.rcpt(target).await {
            Ok(()) => Ok(()),
            Err(cause) => {
                if !matches!(cause, RelayError::Refused(code) if code != 421) {
                    self.fail();
                }
                Err(Verdict::upstream(&cause, "rcpt", |code| match code {
                    400..500 | 552 => reply::RECIPIENT_LATER,
                    _ => reply::RECIPIENT_REFUSED,
                }))
            }
        }
    }

    /// Makes the smarthost's envelope fit all recipients so far and the `next`: a message for one
    /// alias bears that alias's bounce address, any other nobody's.
    async fn open(&mut self, next: &Recipient) -> Result<(), Verdict> {
        let wanted = match (next, self.recipients.is_empty()) {
            (Recipient::Alias { name, .. }, true) => BounceOf::Alias(name.clone()),
            _ => BounceOf::Nobody,
        };
        let envelope = self.envelope(&wanted, next);
        let result = match &mut self.upstream {
            Upstream::Failed => return Ok(()),
            Upstream::Open { sender, .. } if *sender == wanted => return Ok(()),
            Upstream::Open { connection, sender } => {
                *sender = wanted;
                renew(connection, &envelope, &self.recipients).await
            }
            Upstream::Closed => match self.mx.smarthost.begin(&envelope).await {
                Ok(connection) => {
                    self.upstream = Upstream::Open { connection: Box::new(connection), sender: wanted };
                    self.check_capabilities()?;
                    Ok(())
                }
                Err(cause) => Err(cause),
            },
        };
        result.map_err(|cause| {
            self.fail();
            Verdict::upstream(&cause, "connect", |_| reply::SMARTHOST_UNAVAILABLE)
        })
    }

    /// What the client declared must be what the smarthost can do.
    fn check_capabilities(&mut self) -> Result<(), Verdict> {
        let Upstream::Open { connection, .. } = &self.upstream else { return Ok(()) };
        let capabilities = connection.capabilities();
        let verdict = if self.mail.is_8bit && !capabilities.is_8bit {
            Verdict::new(reply::NO_8BIT, "no-8bit")
        } else if self.mail.utf8 && !capabilities.utf8 {
            Verdict::new(reply::NO_UTF8, "no-utf8")
        } else if capabilities.max_size.is_some_and(|most| self.mail.size.is_some_and(|size| size > most)) {
            Verdict::new(reply::TOO_LARGE, "too-large")
        } else {
            return Ok(());
        };
        self.upstream = Upstream::Closed;
        Err(verdict)
    }

    fn envelope(&self, sender: &BounceOf, next: &Recipient) -> Envelope {
        let domain = self.recipients.iter().chain([next]).find_map(Recipient::domain);
        let domain = domain.unwrap_or_else(|| self.mx.default_domain());
        Envelope {
            sender: self.mx.ledger.bounce_key().address(sender, domain),
            size: self.mail.size,
            is_8bit: self.mail.is_8bit,
            utf8: self.mail.utf8,
        }
    }

    /// The smarthost is lost. While no recipient has been accepted the next may try afresh.
    fn fail(&mut self) {
        self.upstream = if self.recipients.is_empty() { Upstream::Closed } else { Upstream::Failed };
    }
}

/// Starts the envelope anew for a sender that fits more than one recipient.
async fn renew(
    connection: &mut Connection,
    envelope: &Envelope,
    recipients: &[Recipient],
) -> Result<(), RelayError> {
    connection.rset().await?;
    connection.mail(envelope).await?;
    for target in recipients.iter().filter_map(Recipient::target) {
        connection.rcpt(target).await?;
    }
    Ok(())
}

/// The first two characters of a name: enough to follow one alias through an hour's log, too few
/// to write to it.
fn shortened(name: &AliasName) -> String {
    let start: String = name.as_str().chars().take(2).collect();
    format!("{start}…")
}
