//! The envelope of one mail transaction: MAIL, RCPT, and DATA up to its 354.
//!
//! It has **one recipient**. With two of them the smarthost's answer to one, or the time that takes, would
//! depend on the mailbox of the other, and anybody may make an alias for a mailbox: so the owner of an
//! alias could be found out by guessing. Every further recipient hears 452, which senders answer with a
//! transaction of its own (RFC 5321 §4.5.3.1.10).
//!
//! RCPT only *reads* the ledger; a recipient that exists opens a connection to the smarthost. What comes after the
//! 354 is in [`super::settlement`]. Dropping a [`Transaction`] closes the smarthost's connection without a
//! dot, and has spent nothing.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::recipient::{Recipient, Refused, resolve};
use super::reply;
use super::settlement::Settlement;
use super::{RECHECK, Setup};
use crate::address::Mailbox;
use crate::alias::AliasName;
use crate::bounce::BounceOf;
use crate::clock;
use crate::crash;
use crate::dnsbl::Listing;
use crate::events::{Outcome, Refusal};
use crate::message_id::MessageId;
use crate::net::limits::{ClientNet, lesser_limit};
use crate::relay::{Claim, Connection, Envelope, RelayError};
use crate::smtp::command::Mail;
use crate::smtp::headers::HeaderWatch;
use crate::smtp::reply::Reply;

/// How long an envelope may keep the smarthost waiting between its recipient and DATA: as long as
/// RFC 5321 §4.5.3.2.7 wants a server to wait for a command.
const ENVELOPE_TIMEOUT: Duration = Duration::from_secs(300);

/// What MAIL and RCPT have gathered.
pub(super) struct Transaction<'a> {
    setup: &'a Setup<'a>,
    client: ClientNet,
    /// What the message is called.
    pub(super) id: MessageId,
    pub(super) mail: Mail,
    /// The one that RCPT has accepted.
    pub(super) recipient: Option<Recipient>,
    upstream: Upstream,
    /// Cancelled when another client needs the connection to the smarthost.
    pub(super) preempted: CancellationToken,
}

/// The smarthost's part in it.
enum Upstream {
    /// Not needed yet, or it has refused everybody so far.
    Closed,
    /// It has taken the recipient. Boxed: most sessions never get here.
    Open { connection: Box<Connection>, since: Instant },
    /// The message cannot go anywhere any more, and one attempt is enough: what every further
    /// recipient hears.
    Failed(Refusal),
}

impl<'a> Transaction<'a> {
    /// MAIL.
    ///
    /// # Errors
    /// When the declared size is over the limit, ours or the smarthost's.
    pub(super) fn begin(setup: &'a Setup<'a>, client: ClientNet, mail: Mail) -> Result<Self, Reply> {
        let limit = max_size(setup);
        if limit > 0 && mail.size.is_some_and(|size| size > limit) {
            return Err(reply::TOO_LARGE);
        }
        let (recipient, upstream, preempted) = (None, Upstream::Closed, CancellationToken::new());
        let id = MessageId::new(clock::now());
        Ok(Transaction { setup, client, id, mail, recipient, upstream, preempted })
    }

    /// RCPT, the ledger's part: what `path` is, and whether the message may go there. `None`: it is the
    /// recipient already.
    pub(super) async fn admit(&self, path: &str) -> Result<Option<Recipient>, Refused> {
        let recipient = resolve(self.setup, path, clock::now()).await?;
        match &self.recipient {
            None => Ok(Some(recipient)),
            Some(known) if known.is_same(&recipient) => Ok(None),
            Some(_) => Err(Refusal::TooManyRecipients.into()),
        }
    }

    /// RCPT, the part of others: the DNS lists', then the smarthost's. A client whose side of the connection
    /// has ended (`gone`) does not wait for the smarthost.
    pub(super) async fn offer(
        &mut self,
        recipient: Recipient,
        listing: &mut Listing,
        gone: impl Future<Output = ()>,
    ) -> Result<(), Refusal> {
        if let Some(list) = listing.listed_by().await {
            return Err(Refusal::Listed(list.to_owned()));
        }
        if let Some(target) = recipient.target() {
            crash::point("envelope");
            self.open(&recipient, target, gone).await?;
            crash::point("rcpt");
        }
        self.recipient = Some(recipient);
        Ok(())
    }

    /// Since when the smarthost has waited for DATA.
    pub(super) fn open_since(&self) -> Option<Instant> {
        match self.upstream {
            Upstream::Open { since, .. } => Some(since),
            _ => None,
        }
    }

    /// The alias's address, when the recipient is one.
    pub(super) fn alias_address(&self) -> Option<String> {
        match &self.recipient {
            Some(Recipient::Alias { name, domain, .. }) => Some(format!("{name}@{domain}")),
            _ => None,
        }
    }

    /// DATA: the smarthost is ready for the text, which goes behind our own header `fields`.
    pub(super) async fn data(self, fields: String) -> Result<Settlement<'a>, Outcome> {
        let alias = self.alias().cloned();
        let watch = HeaderWatch::new(self.setup.config.hostname.as_str(), self.alias_address().as_deref());
        let Upstream::Open { connection, .. } = self.upstream else { return Err(Outcome::SmarthostFailed) };
        let its_limit = connection.capabilities().max_size.unwrap_or(0);
        let max_size = lesser_limit(self.setup.config.smtp.max_size, its_limit);
        let body = connection.data().await.map_err(|cause| Outcome::at_data(&cause))?;
        crash::point("data");
        Ok(Settlement {
            mx: self.setup.mx,
            id: self.id,
            alias,
            body,
            fields: Some(fields),
            head: Vec::new(),
            watch,
            max_size,
            received: 0,
        })
    }

    /// The alias, when the recipient is one.
    pub(super) fn alias(&self) -> Option<&AliasName> {
        self.recipient.as_ref().and_then(Recipient::alias)
    }

    /// Offers the message for `recipient`, whose mailbox is `target`, to the smarthost.
    async fn open(
        &mut self,
        recipient: &Recipient,
        target: &Mailbox,
        gone: impl Future<Output = ()>,
    ) -> Result<(), Refusal> {
        if let Upstream::Failed(refusal) = &self.upstream {
            return Err(refusal.clone());
        }
        let (client, alias, preempted) = (self.client, recipient.alias().cloned(), self.preempted.clone());
        let lease = self.setup.smarthost.lease(Claim { client, alias, preempted }, gone).await?;
        let asked = Instant::now();
        // A refusal has given the lease back before it is answered.
        let begun = self.setup.smarthost.begin(self.envelope(recipient, target), lease).await.map(Box::new);
        self.setup.mx.first_contact.pad_response_time(client, recipient.alias(), asked).await;
        let connection = begun.map_err(|cause| {
            let refusal = Refusal::by_smarthost(&cause);
            if !matches!(cause, RelayError::Refused(code) if code != 421) {
                self.upstream = Upstream::Failed(refusal.clone());
            }
            refusal
        })?;
        self.upstream = Upstream::Open { connection, since: Instant::now() };
        Ok(())
    }

    fn envelope(&self, recipient: &Recipient, target: &Mailbox) -> Envelope {
        let (of, domain) = match recipient {
            Recipient::Alias { name, domain, .. } => (BounceOf::Message(name.clone(), self.id), domain),
            _ => (BounceOf::Nobody, &self.setup.config.domains[0]),
        };
        Envelope {
            sender: self.setup.mx.bounce_key.address(&of, domain),
            recipient: target.clone(),
            size: self.mail.size,
            is_8bit: self.mail.is_8bit,
            utf8: self.mail.utf8,
        }
    }
}

/// The largest message in octets, by our limit and the smarthost's as last heard; 0: no limit.
pub(super) fn max_size(setup: &Setup<'_>) -> u64 {
    let its_limit = setup.smarthost.capabilities().and_then(|smarthost| smarthost.max_size);
    lesser_limit(setup.config.smtp.max_size, its_limit.unwrap_or(0))
}

/// Ends when the smarthost has waited for DATA since `since` for as long as it may, if it waits. That may
/// become less meanwhile.
pub(super) async fn envelope_timeout(setup: &Setup<'_>, since: Option<Instant>) {
    let Some(since) = since else { return std::future::pending().await };
    loop {
        let stress_timeout = setup.config.smtp.stress_timeout;
        let limit =
            if setup.smarthost.is_scarce() { stress_timeout.min(ENVELOPE_TIMEOUT) } else { ENVELOPE_TIMEOUT };
        let (end, recheck) = (since + limit, Instant::now() + RECHECK);
        sleep_until(end.min(recheck)).await;
        if end <= recheck {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fuzzing::lonely_mx;
    use super::*;

    /// docs/smtp.md §2: an envelope that is left open while nobody else wants the smarthost.
    #[tokio::test(start_paused = true)]
    async fn an_envelope_without_data_is_over_after_five_minutes() {
        let (mx, _dir) = lonely_mx();
        let start = Instant::now();
        envelope_timeout(&mx.setup(), Some(start)).await;
        assert_eq!(start.elapsed(), Duration::from_secs(300));
    }
}
