//! The envelope of one mail transaction: MAIL, RCPT, and DATA up to its 354.
//!
//! It has **one recipient**. With two of them the smarthost's answer to one, or the time that takes, would
//! depend on the mailbox of the other, and anybody may make an alias for a mailbox: so the owner of an
//! alias could be found out by guessing. Every further recipient hears 452, which senders answer with a
//! transaction of its own (RFC 5321 §4.5.3.1.10).
//!
//! RCPT only *reads* the ledger; a recipient that is somebody opens the smarthost. What comes after the
//! 354 is in [`super::settlement`]. Dropping a [`Transaction`] closes the smarthost's connection without a
//! dot, and has spent nothing.

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

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
use crate::crash;
use crate::dnsbl::Listing;
use crate::message_id::MessageId;
use crate::net::limits::{ClientNet, lesser_limit};
use crate::relay::{Claim, Connection, Envelope, Lease, RelayError};

/// What MAIL and RCPT have gathered.
pub(super) struct Transaction<'a> {
    mx: &'a Mx,
    client: ClientNet,
    id: MessageId,
    mail: Mail,
    recipient: Option<Recipient>,
    upstream: Upstream,
    preempted: CancellationToken,
}

/// The smarthost's part in it.
enum Upstream {
    /// Not needed yet, or it has refused everybody so far.
    Closed,
    /// It has taken the recipient. Boxed: most sessions never get here.
    Open { connection: Box<Connection>, lease: Lease, since: Instant },
    /// The message cannot go anywhere any more, and one attempt is enough: what every further
    /// recipient hears.
    Failed(Verdict),
}

impl<'a> Transaction<'a> {
    /// MAIL.
    ///
    /// # Errors
    /// When the declared size is over the limit, ours or the smarthost's.
    pub(super) fn begin(mx: &'a Mx, client: ClientNet, mail: Mail) -> Result<Self, Reply> {
        let limit = mx.max_size();
        if limit > 0 && mail.size.is_some_and(|size| size > limit) {
            return Err(reply::TOO_LARGE);
        }
        let (recipient, upstream, preempted) = (None, Upstream::Closed, CancellationToken::new());
        let id = MessageId::new(clock::now());
        Ok(Transaction { mx, client, id, mail, recipient, upstream, preempted })
    }

    /// RCPT, our part: who `path` is, and whether the message may go to them. `None`: they are the
    /// recipient already.
    pub(super) async fn admit(&self, path: &str) -> Result<Option<Recipient>, Verdict> {
        let recipient = resolve(self.mx, path, clock::now()).await.map_err(Verdict::from)?;
        match &self.recipient {
            None => Ok(Some(recipient)),
            Some(known) if known.is_same(&recipient) => Ok(None),
            Some(_) => Err(Verdict::new(reply::TOO_MANY_RECIPIENTS, "too-many-recipients")),
        }
    }

    /// RCPT, the others' part: the DNS lists', then the smarthost's. A client whose side of the connection
    /// has ended (`gone`) takes no place in the queue for the smarthost.
    pub(super) async fn offer(
        &mut self,
        recipient: Recipient,
        listing: &mut Listing,
        gone: impl Future<Output = ()>,
    ) -> Result<(), Verdict> {
        if let Some(list) = listing.listed_by().await {
            return Err(Verdict::new(reply::listed(list), "listed"));
        }
        if let Some(target) = recipient.target() {
            crash::point("envelope");
            self.open(&recipient, target, gone).await?;
            crash::point("rcpt");
        }
        self.recipient = Some(recipient);
        Ok(())
    }

    /// What the message is called.
    pub(super) fn id(&self) -> MessageId {
        self.id
    }

    /// Since when the smarthost is waiting for DATA.
    pub(super) fn smarthost_waits_since(&self) -> Option<Instant> {
        match self.upstream {
            Upstream::Open { since, .. } => Some(since),
            _ => None,
        }
    }

    /// Cancelled when the connection to the smarthost is wanted for somebody else.
    pub(super) fn preempted(&self) -> &CancellationToken {
        &self.preempted
    }

    /// Whether MAIL has asked for SMTPUTF8.
    pub(super) fn is_utf8(&self) -> bool {
        self.mail.utf8
    }

    /// Whether MAIL has named no sender, as that of a bounce does.
    pub(super) fn has_null_sender(&self) -> bool {
        self.mail.null_sender
    }

    /// Whether this is a bounce, and of what.
    pub(super) fn bounce(&self) -> Option<&BounceOf> {
        match &self.recipient {
            Some(Recipient::Bounce(of)) => Some(of),
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

    /// A word for the log: the alias's name, shortened.
    pub(super) fn log_name(&self) -> String {
        self.alias().map_or_else(|| "-".to_owned(), AliasName::shortened)
    }

    /// DATA: the smarthost is ready for the text, which goes behind our own header `fields`.
    pub(super) async fn data(self, fields: String) -> Result<Settlement<'a>, Verdict> {
        let alias = self.alias().cloned();
        let watch = HeaderWatch::new(&self.mx.hostname, self.alias_address().as_deref());
        let Upstream::Open { connection, lease, .. } = self.upstream else {
            return Err(Verdict::no_smarthost());
        };
        let its_limit = connection.capabilities().max_size.unwrap_or(0);
        let max_size = lesser_limit(self.mx.limits.max_size, its_limit);
        match connection.data().await {
            Ok(body) => {
                crash::point("data");
                Ok(Settlement::new(self.mx, self.id, alias, (body, lease), fields, watch, max_size))
            }
            Err(cause) => Err(Verdict::upstream(&cause, "data", |code| match code {
                400..500 => reply::MESSAGE_LATER,
                _ => reply::MESSAGE_REFUSED,
            })),
        }
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
    ) -> Result<(), Verdict> {
        if let Upstream::Failed(verdict) = &self.upstream {
            return Err(verdict.clone());
        }
        let (client, alias, preempted) = (self.client, recipient.alias().cloned(), self.preempted.clone());
        let lease = tokio::select! {
            // What is free at once needs no queue, and a client that has ended its side may still read
            // (RFC 9293 §3.6): then it hears what becomes of the recipient.
            biased;
            lease = self.mx.upstream_lease(Claim { client, alias, preempted }) => lease?,
            () = gone => return Err(Verdict::new(reply::TOO_BUSY, "client-gone")),
        };
        let asked = Instant::now();
        let begun = self.mx.smarthost.begin(self.envelope(recipient, target)).await;
        // A refusal gives the lease back before it is answered.
        let begun = begun.map(|connection| (Box::new(connection), lease));
        self.mx.first_contact.pad_response_time(client, recipient.alias(), asked).await;
        let (connection, lease) = begun.map_err(|cause| {
            let verdict = Verdict::upstream(&cause, "rcpt", |code| match code {
                400..500 | 552 => reply::RECIPIENT_LATER,
                _ => reply::RECIPIENT_REFUSED,
            });
            if !matches!(cause, RelayError::Refused(code) if code != 421) {
                self.upstream = Upstream::Failed(verdict.clone());
            }
            verdict
        })?;
        self.upstream = Upstream::Open { connection, lease, since: Instant::now() };
        Ok(())
    }

    fn envelope(&self, recipient: &Recipient, target: &Mailbox) -> Envelope {
        let (of, domain) = match recipient {
            Recipient::Alias { name, domain, .. } => (BounceOf::Message(name.clone(), self.id), domain),
            _ => (BounceOf::Nobody, self.mx.default_domain()),
        };
        Envelope {
            sender: self.mx.bounce_key.address(&of, domain),
            recipient: target.clone(),
            size: self.mail.size,
            is_8bit: self.mail.is_8bit,
            utf8: self.mail.utf8,
        }
    }
}
